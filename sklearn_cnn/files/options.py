"""How image files are to be read: size, mode, fitting, background, type and range, as one value."""

from collections.abc import Callable
from dataclasses import dataclass, field
from math import isfinite, prod
from typing import Any

import numpy as np

from sklearn_cnn._messages import is_count

CHANNELS = {"L": 1, "RGB": 3, "RGBA": 4}
"""Channels of each mode, which is Pillow's name for a kind of pixels."""

RESIZE_WAYS = ("fit", "crop", "pad", "stretch")

DTYPES = ("uint8", "uint16", "float32")


@dataclass(frozen=True)
class Reading:
    """The checked options of reading.

    Attributes
    ----------
    height, width : int
        Size of the images that come out, in pixels.
    mode : {"L", "RGB", "RGBA"} or int
        Their kind of pixels, or the number of their channels, which are then taken as they are.
    resize : {"fit", "crop", "pad", "stretch"}
        How an image of another size becomes one of this size.
    background : tuple of int
        Red, green and blue, 0 to 255, of what lies behind and beside an image.
    dtype : {"uint8", "uint16", "float32"}
        Type of their values.
    value_range : tuple of float, or None
        Values of files that become black and white; None for the range of their type.
    decoder : callable or None
        Makes an array or an image of a path.
    """

    height: int
    width: int
    mode: str | int
    resize: str
    background: tuple[int, int, int]
    dtype: str = "uint8"
    value_range: tuple[float, float] | None = None
    decoder: Callable[[Any], Any] | None = field(default=None, repr=False)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of one image: height, width, channels."""
        channels = CHANNELS[self.mode] if isinstance(self.mode, str) else self.mode
        return self.height, self.width, channels

    @property
    def n_bytes(self) -> int:
        """Bytes of one image."""
        return prod(self.shape) * np.dtype(self.dtype).itemsize

    @property
    def keeps_eight_bits(self) -> bool:
        """Whether the values of an image of eight bits are not mapped before it is resized."""
        return isinstance(self.mode, str) and self.value_range in (None, (0, 255))

    def pixel_names(self) -> np.ndarray:
        """Name every value of an image, in the order of its flattened row.

        Returns
        -------
        ndarray of shape (height * width * channels,), object
            "pixel_0_0", ... of gray images, "pixel_0_0_R", ... of colour, "pixel_0_0_0", ... where
            the mode is a number: row, column, channel.
        """
        channels = self.mode if isinstance(self.mode, str) else range(self.mode)
        suffixes = [""] if self.mode == "L" else [f"_{channel}" for channel in channels]
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


def check_value_range(value_range: Any) -> tuple[float, float] | None:
    """Return the ``value_range`` parameter as two numbers, or None.

    Raises
    ------
    ValueError
        If it is not two finite numbers, the lower first.
    """
    if value_range is None:
        return None
    try:
        low, high = map(float, value_range)
    except (TypeError, ValueError):
        low = high = 0.0
    if not (isfinite(low) and isfinite(high) and low < high):
        raise ValueError(
            "value_range must be two finite numbers (low, high), the values that become black and "
            f"white, with low < high. Got value_range={value_range!r}."
        )
    return low, high
