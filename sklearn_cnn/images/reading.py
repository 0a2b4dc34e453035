"""How image files are to be read: size, mode, fitting and background, as one value."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from sklearn_cnn._counts import is_count

CHANNELS = {"L": 1, "RGB": 3, "RGBA": 4}
"""Channels of each mode, which is Pillow's name for a kind of pixels."""

RESIZE_WAYS = ("fit", "crop", "pad", "stretch")


@dataclass(frozen=True)
class Reading:
    """The checked options of reading.

    Attributes
    ----------
    height, width : int
        Size of the images that come out, in pixels.
    mode : {"L", "RGB", "RGBA"}
        Their kind of pixels.
    resize : {"fit", "crop", "pad", "stretch"}
        How an image of another size becomes one of this size.
    background : tuple of int
        Red, green and blue, 0 to 255, of what lies behind and beside an image.
    """

    height: int
    width: int
    mode: str
    resize: str
    background: tuple[int, int, int]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of one image: height, width, channels."""
        return self.height, self.width, CHANNELS[self.mode]

    @property
    def n_bytes(self) -> int:
        """Bytes of one image."""
        height, width, channels = self.shape
        return height * width * channels

    def pixel_names(self) -> np.ndarray:
        """Name every value of an image, in the order of its flattened row.

        Returns
        -------
        ndarray of shape (height * width * channels,), object
            "pixel_0_0", ... of gray images, "pixel_0_0_R", ... of others: row, column, channel.
        """
        suffixes = [""] if self.mode == "L" else [f"_{letter}" for letter in self.mode]
        names = [
            f"pixel_{row}_{column}{suffix}"
            for row in range(self.height)
            for column in range(self.width)
            for suffix in suffixes
        ]
        return np.array(names, dtype=object)


def check_size(size: Any) -> tuple[int, int]:
    """Return the ``size`` parameter as (height, width).

    Raises
    ------
    ValueError
        If it is not one or two whole numbers of at least 1.
    """
    sides = (size, size) if np.ndim(size) == 0 else tuple(size)
    if len(sides) != 2 or not all(map(is_count, sides)):
        raise ValueError(
            "size must be (height, width) in whole numbers of at least 1, or one such number for "
            f"both. Got size={size!r}."
        )
    return int(sides[0]), int(sides[1])
