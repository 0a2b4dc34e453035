"""Which part of an image goes where in a frame of another size; whole pixels, no Pillow."""

from dataclasses import dataclass

Size = tuple[int, int]
"""Width and height in pixels, in Pillow's order."""

REDUCING_GAP = 2.0
"""How many times larger than needed an image is still made by cheap means, before resizing."""


@dataclass(frozen=True)
class Framing:
    """What to take of an image, how large to make it, and where to put it.

    Attributes
    ----------
    box : tuple of float
        Left, upper, right and lower edge of what is taken, in pixels of the image.
    scaled : tuple of int
        Width and height that it is resized to.
    offset : tuple of int
        Where its upper left corner lies in the frame: (0, 0), but for padding.
    """

    box: tuple[float, float, float, float]
    scaled: Size
    offset: Size

    @property
    def only_cuts(self) -> bool:
        """Whether the part is taken as it is, without resizing."""
        left, upper, right, lower = self.box
        return (right - left, lower - upper) == self.scaled and left % 1 == upper % 1 == 0


def frame_image(image: Size, frame: Size, resize: str) -> Framing:
    """Place an image in a frame.

    Parameters
    ----------
    image, frame : (width, height)
        Sizes in pixels.
    resize : {"fit", "crop", "pad", "stretch"}
        - "fit": scaled until it covers the frame, and cut evenly where it sticks out;
        - "pad": scaled until it lies within the frame, in its middle;
        - "stretch": scaled to the frame, whatever becomes of its proportions;
        - "crop": not scaled; its middle, in the middle of the frame.

    Returns
    -------
    Framing
    """
    width, height = image
    frame_width, frame_height = frame
    whole = (0.0, 0.0, float(width), float(height))
    if image == frame or resize == "stretch":
        return Framing(whole, frame, (0, 0))
    if resize == "crop":
        left, kept_width, x = _cut_side(width, frame_width)
        upper, kept_height, y = _cut_side(height, frame_height)
        box = (float(left), float(upper), float(left + kept_width), float(upper + kept_height))
        return Framing(box, (kept_width, kept_height), (x, y))
    if resize == "pad":
        scale = min(frame_width / width, frame_height / height)
        scaled = (max(1, round(width * scale)), max(1, round(height * scale)))
        return Framing(
            whole, scaled, ((frame_width - scaled[0]) // 2, (frame_height - scaled[1]) // 2)
        )
    scale = max(frame_width / width, frame_height / height)
    margin_x = max(0.0, (width - frame_width / scale) / 2)
    margin_y = max(0.0, (height - frame_height / scale) / 2)
    return Framing((margin_x, margin_y, width - margin_x, height - margin_y), frame, (0, 0))


def _cut_side(side: int, frame: int) -> tuple[int, int, int]:
    """Return where the middle of a side begins, how much is kept, and where the frame has it."""
    return max(0, (side - frame) // 2), min(side, frame), max(0, (frame - side) // 2)


def shrink_divisor(image: Size, frame: Size, resize: str) -> int:
    """Tell whether an eighth, a quarter or half of an image is large enough to be resized from.

    Parameters
    ----------
    image, frame : (width, height)
        Sizes in pixels.
    resize : {"fit", "crop", "pad", "stretch"}

    Returns
    -------
    {1, 2, 4, 8}
    """
    if resize == "crop" or any(side < 2 * kept for side, kept in zip(image, frame, strict=True)):
        return 1
    framing = frame_image(image, frame, resize)
    left, upper, right, lower = framing.box
    scales = framing.scaled[0] / (right - left), framing.scaled[1] / (lower - upper)
    return next((n for n in (8, 4, 2) if n * max(scales) * REDUCING_GAP <= 1), 1)
