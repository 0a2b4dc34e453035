"""Pixels of other types as eight bits: scaled, never clipped or cut off."""

from math import prod

import numpy as np

from sklearn_cnn.images.scale import row_blocks


def to_eight_bits(pixels: np.ndarray, largest: int | None = None) -> np.ndarray:
    """Scale the pixels of one image to 0..255.

    Parameters
    ----------
    pixels : ndarray of any shape, bool, integer or floating point
        uint8 stays as it is, uint16 runs from 0 to 65535, fractions from 0 to 1; other integers
        must lie in 0..255.
    largest : int or None, default=None
        What white is in integers, where it is known; at most 65535.

    Returns
    -------
    ndarray of the same shape, uint8

    Raises
    ------
    ValueError
        If a value lies outside its range, or is NaN.
    TypeError
        If they are no numbers.
    """
    kind = pixels.dtype.kind
    if kind == "b":
        return pixels.astype(np.uint8) * np.uint8(255)
    if largest is None and pixels.dtype == np.uint8:
        return pixels
    largest = check_levels(pixels, largest)
    if kind == "f":
        return np.rint(pixels * 255.0).astype(np.uint8)
    if largest == 255:
        return pixels.astype(np.uint8)
    scaled = np.empty(pixels.shape, dtype=np.uint8)
    for block in row_blocks(len(pixels), prod(pixels.shape[1:])):
        scaled[block] = (pixels[block].astype(np.uint32) * 255 + largest // 2) // largest
    return scaled


def check_levels(pixels: np.ndarray, largest: int | None = None) -> int:
    """Return what white is in the pixels of one image or several.

    Parameters and errors are those of ``to_eight_bits``.
    """
    kind = pixels.dtype.kind
    if kind == "b":
        return 1
    if kind not in "uif":
        raise TypeError(f"its pixels are no real numbers, but of dtype {pixels.dtype}")
    if largest is None:
        is_uint16 = kind == "u" and pixels.dtype.itemsize == 2  # in either order of bytes
        largest = 1 if kind == "f" else 65535 if is_uint16 else 255
    low, high = (pixels.min(), pixels.max()) if pixels.size else (0, 0)
    if not (low >= 0 and high <= largest):
        raise ValueError(
            f"its {pixels.dtype} pixels run from {low:g} to {high:g}, and 0 to {largest} was "
            "expected: uint8 takes 0 to 255, uint16 0 to 65535, floating point 0 to 1. Scale or "
            "convert the array"
        )
    return largest


def array_to_image(array: np.ndarray) -> np.ndarray:
    """Bring one image to eight bits, its channels last where it has several.

    Parameters
    ----------
    array : ndarray of shape (height, width), (height, width, channels) or (channels, height, width)
        With 1, 3 or 4 channels, of any type that ``to_eight_bits`` takes. Where both the first and
        the last axis could be the channels, the last is.

    Returns
    -------
    ndarray of shape (height, width) or (height, width, channels), uint8

    Raises
    ------
    ValueError, TypeError
        If it is no image.
    """
    if array.ndim == 3 and array.shape[2] not in (1, 3, 4) and array.shape[0] in (1, 3, 4):
        array = array.transpose(1, 2, 0)
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (1, 3, 4)):
        raise ValueError(
            f"an array of shape {array.shape} is no image of shape (height, width) or (height, "
            "width, channels) with 1, 3 or 4 channels"
        )
    if 0 in array.shape:
        raise ValueError(f"an array of shape {array.shape} has no pixels")
    return to_eight_bits(array)
