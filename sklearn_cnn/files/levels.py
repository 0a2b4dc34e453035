"""Values of any type to shares, 0 for black and 1 for white, and shares to the type that comes out.

Shares are float32, which holds each level of 16 bits apart.
"""

from typing import NamedTuple

import numpy as np

from sklearn_cnn.files.options import Reading
from sklearn_cnn.pixels.scale import row_blocks

Levels = tuple[float, float]
"""The values of black and white."""

_FULL = {"uint8": 255, "uint16": 65535}

SAMPLE = 1 << 16
"""Pixels that are looked at to tell which part of its range an image uses."""


class Span(NamedTuple):
    """The range of all but the outermost pixels of an image, and the value of white."""

    low: float
    high: float
    white: float


def find_levels(pixels: np.ndarray, reading: Reading, white: int | None = None) -> Levels | None:
    """Return the values of black and white in the pixels of one image or several.

    Parameters
    ----------
    pixels : ndarray of any shape, integer or floating point
        uint8 runs from 0 to 255, uint16 from 0 to 65535, fractions from 0 to 1; other integers must
        lie in 0..255; all unless ``reading.value_range`` is given.
    reading : Reading
        Its ``value_range`` and ``dtype`` count.
    white : int or None, default=None
        What white is in integers, where the file says it.

    Returns
    -------
    tuple of float, or None
        None for fractions that are kept as they are, because float32 comes out.

    Raises
    ------
    ValueError
        If a value lies outside its range, or is NaN.
    TypeError
        If they are no real numbers.
    """
    kind = pixels.dtype.kind
    if kind not in "buif":
        raise TypeError(f"its pixels are no real numbers, but of dtype {pixels.dtype}")
    if kind == "b":
        return 0, 1
    low, high = (pixels.min(), pixels.max()) if pixels.size else (0, 0)
    if np.isnan(low):
        raise ValueError("its pixels hold NaN: fill them, in a decoder or before they are passed")
    if reading.value_range is not None:
        return reading.value_range
    if kind == "f" and reading.dtype == "float32":
        if max(-low, high) > np.finfo(np.float32).max:
            raise ValueError("its pixels hold infinity, or values too large for float32")
        return None
    if white is None:
        is_uint16 = kind == "u" and pixels.dtype.itemsize == 2  # in either order of bytes
        white = 1 if kind == "f" else 65535 if is_uint16 else 255
    if not (low >= 0 and high <= white):
        raise ValueError(
            f"its {pixels.dtype} pixels run from {low:g} to {high:g}, and 0 to {white} was "
            "expected: uint8 takes 0 to 255, uint16 0 to 65535, floating point 0 to 1. Pass "
            "ImageReader(value_range=(low, high)), the values that become black and white in all "
            "images, or convert them"
        )
    return 0, white


def to_shares(plane: np.ndarray, levels: Levels | None) -> np.ndarray:
    """Map black to 0 and white to 1, and clip; without levels, fractions stay as they are.

    Parameters
    ----------
    plane : ndarray of shape (height, width), bool, integer or floating point
    levels : tuple of float, or None

    Returns
    -------
    ndarray of shape (height, width), float32
    """
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
    """Scale shares to the whole range of a type, rounded to the nearest."""
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


def find_span(values: np.ndarray, white: float) -> Span | None:
    """Return the range of an image without its outermost 1 % of pixels; None if it has one value.

    Parameters
    ----------
    values : ndarray of shape (height, width, channels)
    white : float
    """
    pixels = values.reshape(-1, values.shape[-1])
    some = np.sort(pixels[:: max(1, len(pixels) // SAMPLE)], axis=None)
    cut = len(some) // 200
    low, high = float(some[cut]), float(some[-1 - cut])
    if low == high:  # a few dots on a plain ground
        low, high = float(some[0]), float(some[-1])
    return Span(low, high, white) if low < high else None


def channels_last(array: np.ndarray, reading: Reading) -> np.ndarray:
    """View one image as (height, width, channels).

    Parameters
    ----------
    array : ndarray of shape (height, width), (height, width, channels) or (channels, height, width)
        With 1, 3 or 4 channels, or as many as ``reading.mode`` says. Where both the first and the
        last axis could be the channels, the last is.
    reading : Reading

    Raises
    ------
    ValueError
        If it is no image.
    """
    counts = (1, 3, 4) if isinstance(reading.mode, str) else (reading.mode,)
    whole = array[:, :, np.newaxis] if array.ndim == 2 else array
    if whole.ndim == 3 and whole.shape[2] not in counts and whole.shape[0] in counts:
        whole = whole.transpose(1, 2, 0)
    if whole.ndim != 3 or whole.shape[2] not in counts:
        listed = "1, 3 or 4 channels" if len(counts) > 1 else f"{counts[0]} channels"
        raise ValueError(
            f"an array of shape {array.shape} is no image of shape (height, width) or (height, "
            f"width, channels) with {listed}"
            + ("; ImageReader(mode=n) takes n channels" if len(counts) > 1 else "")
        )
    if 0 in array.shape:
        raise ValueError(f"an array of shape {array.shape} has no pixels")
    return whole
