"""Convert an image of any size and type to the size and values that the options state.

Values that are not 8-bit are first converted to fractions of white, 0 for black and 1 for white,
and then resized and composited. Fractions are float32, which can represent all 16-bit levels.
"""

from dataclasses import replace
from operator import index
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from PIL import Image, ImageColor

from sklearn_cnn.files.options import ReadOptions
from sklearn_cnn.pixels.scale import row_blocks

Size = tuple[int, int]  # width and height in pixels, in Pillow's order
Levels = tuple[float, float]  # the values of black and white

# Transpositions to upright, by EXIF orientation. The last four swap height and width.
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
TURNED = frozenset(UPRIGHT[orientation] for orientation in (5, 6, 7, 8))

_FULL = {"uint8": 255, "uint16": 65535}
_LUMINANCE = (0.299, 0.587, 0.114)  # of red, green and blue, as in Pillow
_REDUCING_GAP = 2.0  # minimum factor above the final size after cheap reductions
_SPAN_SAMPLE = 1 << 16  # number of pixels from which the span of an image is estimated


class Framing(NamedTuple):
    """The part of an image to use, its scaled size, and its position in the frame.

    Attributes
    ----------
    box : tuple of float
        Left, upper, right and lower edge of the part, in pixels of the image.
    scaled : tuple of int
        Width and height after resizing.
    offset : tuple of int
        Position of its upper left corner in the frame: (0, 0) without padding.
    """

    box: tuple[float, float, float, float]
    scaled: Size
    offset: Size

    @property
    def only_cuts(self) -> bool:
        """Whether the part is used without resizing."""
        left, upper, right, lower = self.box
        return (right - left, lower - upper) == self.scaled and left % 1 == upper % 1 == 0


class Span(NamedTuple):
    """The range of all but the outermost pixels of an image, and the value of white."""

    low: float
    high: float
    white: float


class Notes(NamedTuple):
    """Notes on an image that was read, for warnings.

    Attributes
    ----------
    span : Span or None
        Range of its values, if they are reduced to 8 bits.
    has_more_pages : bool
        Whether its file has more pages or frames.
    """

    span: Span | None = None
    has_more_pages: bool = False


class DeepImage(NamedTuple):
    """An image that is not 8-bit, or whose values are mapped before it is resized.

    Attributes
    ----------
    values : ndarray of shape (height, width, channels), integer or floating point
        Pixel values. A second or fourth channel is alpha, unless the mode is an int.
    opaque : ndarray of shape (height, width), bool, or None
        Where the image is not transparent, if its file states it.
    white : int or None
        Value of white for integers, if its file states it.
    is_negative : bool
        Whether white is zero.
    upright : Image.Transpose or None
        Transposition that turns the image upright.
    """

    values: np.ndarray
    opaque: np.ndarray | None = None
    white: int | None = None
    is_negative: bool = False
    upright: Image.Transpose | None = None


def parse_colour(colour: ArrayLike) -> tuple[int, int, int]:
    """Convert a name, "#rrggbb", a gray level or three levels to red, green and blue, 0 to 255.

    Raises
    ------
    ValueError
        If it is not a colour.
    """
    try:
        levels = ImageColor.getrgb(colour) if isinstance(colour, str) else np.atleast_1d(colour)
        red, green, blue = map(index, levels if len(levels) > 1 else [*levels] * 3)
        if not all(0 <= level <= 255 for level in (red, green, blue)):
            raise ValueError
    except (TypeError, ValueError):
        raise ValueError(
            "background must be a colour: a name such as 'white', '#rrggbb', a gray level from 0 "
            f"to 255, or three levels (red, green, blue). Got background={colour!r}."
        ) from None
    return red, green, blue


def frame_image(image: Size, frame: Size, resize: str) -> Framing:
    """Place an image in a frame.

    Parameters
    ----------
    image, frame : (width, height)
        Sizes in pixels.
    resize : {"fit", "crop", "pad", "stretch"}
        - "fit": scaled to cover the frame, and center-cropped;
        - "pad": scaled to lie within the frame, and centered;
        - "stretch": scaled to the frame, without keeping its aspect ratio;
        - "crop": not scaled, and centered.

    Returns
    -------
    Framing
        Position of the image.
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
        offset = ((frame_width - scaled[0]) // 2, (frame_height - scaled[1]) // 2)
        return Framing(whole, scaled, offset)
    scale = max(frame_width / width, frame_height / height)
    margin_x = max(0.0, (width - frame_width / scale) / 2)
    margin_y = max(0.0, (height - frame_height / scale) / 2)
    return Framing((margin_x, margin_y, width - margin_x, height - margin_y), frame, (0, 0))


def _cut_side(side: int, frame: int) -> tuple[int, int, int]:
    """Return the start of the middle of a side, its length, and its position in the frame."""
    return max(0, (side - frame) // 2), min(side, frame), max(0, (frame - side) // 2)


def shrink_divisor(image: Size, frame: Size, resize: str) -> int:
    """Return the factor of a cheap reduction before resizing an image: 1, 2, 4 or 8."""
    if resize == "crop" or any(side < 2 * kept for side, kept in zip(image, frame, strict=True)):
        return 1
    framing = frame_image(image, frame, resize)
    left, upper, right, lower = framing.box
    scales = framing.scaled[0] / (right - left), framing.scaled[1] / (lower - upper)
    return next((n for n in (8, 4, 2) if n * max(scales) * _REDUCING_GAP <= 1), 1)


def channels_last(array: np.ndarray, options: ReadOptions) -> np.ndarray:
    """View one image of any layout as (height, width, channels), or raise ValueError.

    It may have 1, 3 or 4 channels, or ``options.mode`` channels. If both the first and the last
    axis could be the channels, the last axis is used.
    """
    counts = (1, 3, 4) if isinstance(options.mode, str) else (options.mode,)
    whole = array[:, :, np.newaxis] if array.ndim == 2 else array
    if whole.ndim == 3 and whole.shape[2] not in counts and whole.shape[0] in counts:
        whole = whole.transpose(1, 2, 0)
    if whole.ndim != 3 or whole.shape[2] not in counts:
        listed = "1, 3 or 4 channels" if len(counts) > 1 else f"{counts[0]} channels"
        raise ValueError(
            f"an array of shape {array.shape} is not an image of shape (height, width) or (height, "
            f"width, channels) with {listed}"
            + ("; ImageReader(mode=n) reads n channels" if len(counts) > 1 else "")
        )
    if 0 in array.shape:
        raise ValueError(f"an array of shape {array.shape} has no pixels")
    return whole


def find_levels(
    pixels: np.ndarray, options: ReadOptions, white: int | None = None
) -> Levels | None:
    """Return the values of black and white in the pixels of one image or several.

    Parameters
    ----------
    pixels : ndarray of any shape, integer or floating point
        Unless ``options.value_range`` is given, uint8 ranges from 0 to 255, uint16 from 0 to 65535,
        and floating point from 0 to 1; other integers must be in 0..255.
    options : ReadOptions
        Options, of which ``value_range`` and ``dtype`` are used.
    white : int or None, default=None
        Value of white for integers, if the file states it.

    Returns
    -------
    tuple of float, or None
        None for floating-point values that are kept, because the output is float32.

    Raises
    ------
    ValueError
        If a value is outside of its range, or NaN.
    TypeError
        If the values are not real numbers.
    """
    kind = pixels.dtype.kind
    if kind not in "buif":
        raise TypeError(f"its pixels are not real numbers, but of dtype {pixels.dtype}")
    if kind == "b":
        return 0, 1
    low, high = (pixels.min(), pixels.max()) if pixels.size else (0, 0)
    if np.isnan(low):
        raise ValueError("its pixels hold NaN; replace it, in a decoder or before passing them")
    if options.value_range is not None:
        return options.value_range
    if kind == "f" and options.dtype == "float32":
        if max(-low, high) > np.finfo(np.float32).max:
            raise ValueError("its pixels hold infinity, or values too large for float32")
        return None
    if white is None:
        is_uint16 = kind == "u" and pixels.dtype.itemsize == 2  # in either order of bytes
        white = 1 if kind == "f" else 65535 if is_uint16 else 255
    if not (low >= 0 and high <= white):
        raise ValueError(
            f"its {pixels.dtype} pixels range from {low:g} to {high:g}, but 0 to {white} was "
            "expected: uint8 ranges from 0 to 255, uint16 from 0 to 65535, floating point from 0 "
            "to 1. Pass ImageReader(value_range=(low, high)), the values of black and white in all "
            "images, or convert them"
        )
    return 0, white


def find_span(values: np.ndarray, white: float) -> Span | None:
    """Return the range of values without the outermost 1 % of pixels; None for a single value."""
    pixels = values.reshape(-1, values.shape[-1])
    some = np.sort(pixels[:: max(1, len(pixels) // _SPAN_SAMPLE)], axis=None)
    cut = len(some) // 200
    low, high = float(some[cut]), float(some[-1 - cut])
    if low == high:  # a few dots on a plain background
        low, high = float(some[0]), float(some[-1])
    return Span(low, high, white) if low < high else None


def to_shares(plane: np.ndarray, levels: Levels | None) -> np.ndarray:
    """Map a plane to float32, black to 0 and white to 1, and clip; only convert without levels."""
    if levels is None:
        return plane.astype(np.float32)
    low, high = levels
    shares = np.empty(plane.shape, dtype=np.float32)
    for block in row_blocks(*plane.shape):
        values = plane[block].astype(np.float64)
        values -= low
        values /= high - low
        np.clip(values, 0, 1, out=values)
        shares[block] = values
    return shares


def from_shares(shares: np.ndarray, dtype: str) -> np.ndarray:
    """Scale fractions to the whole range of a type, rounded to nearest."""
    if dtype == "float32":
        return shares.astype(np.float32, copy=False)
    scaled: np.ndarray = np.rint(np.clip(shares, 0, 1).astype(np.float64) * _FULL[dtype])
    return scaled.astype(dtype)


def from_eight_bits(pixels: np.ndarray, dtype: str) -> np.ndarray:
    """Scale uint8 to the whole range of a type."""
    if dtype == "uint8":
        return pixels
    if dtype == "uint16":
        return pixels * np.uint16(257)
    return pixels / np.float32(255)


def as_image(pixels: np.ndarray) -> Image.Image:
    """Make an image from uint8 pixels of shape (height, width, channels)."""
    pixels = pixels[:, :, 0] if pixels.shape[2] == 1 else pixels
    return Image.fromarray(np.ascontiguousarray(pixels))


def fill_frame(
    image: Image.Image, options: ReadOptions, upright: Image.Transpose | None = None
) -> np.ndarray:
    """Turn, resize, composite and convert an image of mode L, RGB or RGBA."""
    mode, frame = str(options.mode), (options.width, options.height)
    if image.mode not in ("RGBA", mode):
        image = image.convert(mode)
    framing = _place(image.size, options, upright)
    image = _fit(image, framing, upright)
    if image.mode != mode:  # composited after resizing, which takes less memory
        background = Image.new("RGBA", image.size, (*options.background, 255))
        image = Image.alpha_composite(background, image).convert(mode)
    if image.size != frame:
        whole = Image.new(mode, frame, _background_levels(options))
        whole.paste(image, framing.offset)
        image = whole
    return from_eight_bits(np.asarray(image).reshape(options.shape), options.dtype)


def _place(size: Size, options: ReadOptions, upright: Image.Transpose | None) -> Framing:
    size = size[::-1] if upright in TURNED else size
    return frame_image(size, (options.width, options.height), options.resize)


def _fit(image: Image.Image, framing: Framing, upright: Image.Transpose | None) -> Image.Image:
    """Turn an image upright, resize and crop it."""
    if upright is not None:
        image = image.transpose(upright)
    if image.size == framing.scaled:
        return image
    if framing.only_cuts:
        left, upper, right, lower = framing.box
        return image.crop((int(left), int(upper), int(right), int(lower)))
    return image.resize(framing.scaled, Image.Resampling.BILINEAR, framing.box, _REDUCING_GAP)


def fill_deep_frame(image: DeepImage, options: ReadOptions) -> tuple[np.ndarray, Notes]:
    """Map the values of an image to fractions of white, and turn, resize and composite it.

    For 8-bit output, fractions are converted to 8 bits first, so that an 8-bit image and the same
    image in fractions have equal results.

    Returns
    -------
    frame : ndarray of shape (height, width, channels), of type ``options.dtype``
    notes : Notes
        With the span of the values.
    """
    values, opaque, white, is_negative, upright = image
    has_bands = not isinstance(options.mode, str)
    if has_bands and values.shape[2] != options.mode:
        raise ValueError(f"it has {values.shape[2]} channels, but mode={options.mode}")
    alpha = None if opaque is None or has_bands else to_shares(opaque, (0, 1))
    if values.shape[2] in (2, 4) and not has_bands:
        plane, whole = values[:, :, -1], replace(options, value_range=None, dtype="uint8")
        alpha = to_shares(plane, find_levels(plane, whole))
        values = values[:, :, :-1]
    levels, n_planes = find_levels(values, options, white), values.shape[2]
    notes = Notes()
    if options.dtype == "uint8" and options.value_range is None and levels and levels[1] != 255:
        notes = Notes(find_span(values, levels[1]))

    def shares(channel: int) -> np.ndarray:
        plane = to_shares(values[:, :, channel], levels)
        return 1 - plane if is_negative else plane

    if options.dtype == "uint8" and not has_bands:
        colour = [from_shares(shares(channel), "uint8") for channel in range(n_planes)]
        if alpha is not None:
            colour = [*(colour * 3)[:3], from_shares(alpha, "uint8")]
        return fill_frame(as_image(np.stack(colour, axis=-1)), options, upright), notes
    framing = _place((values.shape[1], values.shape[0]), options, upright)

    def fit(plane: np.ndarray) -> np.ndarray:
        return np.asarray(_fit(Image.fromarray(plane), framing, upright))

    opacity = 1.0 if alpha is None else fit(alpha)
    planes = [fit(shares(i) if alpha is None else shares(i) * alpha) for i in range(n_planes)]
    if options.mode == "L" and n_planes == 3:
        planes = [np.tensordot(_LUMINANCE, planes, axes=1).astype(np.float32)]
    frame = np.empty(options.shape, dtype=np.float32)
    frame[...] = background = _background(options)
    (x, y), (height, width) = framing.offset, planes[0].shape
    part = frame[y : y + height, x : x + width]
    for channel in range(3 if options.mode == "RGBA" else options.shape[2]):
        plane = planes[channel % len(planes)]
        if options.mode != "RGBA":
            part[:, :, channel] = plane + (1 - opacity) * background[channel]
        elif alpha is None:
            part[:, :, channel] = plane
        else:  # where alpha is 0, the colour is that of the file
            hidden = fit(shares(channel % len(planes)))
            part[:, :, channel] = np.divide(plane, opacity, out=hidden.copy(), where=opacity > 0)
    if options.mode == "RGBA":
        part[:, :, 3] = opacity
    return from_shares(frame, options.dtype), notes


def _background(options: ReadOptions) -> np.ndarray:
    """Return the background as fractions of white, an ndarray of shape (channels,), float32."""
    levels = np.broadcast_to(_background_levels(options), options.shape[2])
    return levels.astype(np.float32) / np.float32(255)


def _background_levels(options: ReadOptions) -> tuple[int, ...]:
    mode = options.mode if isinstance(options.mode, str) else "L"
    return tuple(Image.new("RGB", (1, 1), options.background).convert(mode).tobytes())


def blank_image(options: ReadOptions) -> np.ndarray:
    """Return an image of the background colour, of shape (height, width, channels)."""
    return np.broadcast_to(from_shares(_background(options), options.dtype), options.shape)
