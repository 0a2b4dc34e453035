"""Which value of an image is white: pixels of photographs come as 0 to 255, or as fractions.

A network that was trained on other images knows its own range of pixels, so the values that come
in have to be told apart. What a type or an image by itself tells is taken; nothing depends on the
other images of an array.
"""

import numpy as np

from sklearn_cnn._messages import warn
from sklearn_cnn.pixels.scale import blocks_of

LEVELS, FRACTIONS = 255.0, 1.0
"""White, in pixels of 8 bits and in fractions."""

ROUNDING = 1e-5
"""How far beyond 0 and 1 interpolation in float32 may leave fractions."""


def find_white(images: np.ndarray, rows: np.ndarray | None = None) -> float:
    """Tell which value of images is white, 255 or 1.

    Parameters
    ----------
    images : ndarray of shape (n, height, width, channels), any real dtype
        Read block by block.
    rows : ndarray of shape (n_rows,), int, or None, default=None
        Which images count; None for all.

    Returns
    -------
    float
        255 for uint8 and for other whole numbers, 1 for booleans and for fractions.

    Raises
    ------
    ValueError
        If the values are neither whole numbers from 0 to 255 nor fractions from 0 to 1, or an image
        would be read as fractions alone, and stands among images of whole numbers.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_cnn.pixels.white import find_white
    >>> images = np.array([[[[0], [51]]]], dtype="uint8")
    >>> find_white(images), find_white(images / 255)
    (255.0, 1.0)
    """
    dtype = images.dtype
    if dtype == np.uint8:
        return LEVELS
    if dtype.kind == "b":
        return FRACTIONS
    low, high, whole = np.inf, -np.inf, True
    first, darkest = 0, -1  # the first image that alone would be read as fractions
    for block in blocks_of(images, rows):
        values = block.reshape(len(block), -1)
        highs = values.max(axis=1)
        low, high = min(low, float(values.min())), max(high, float(highs.max()))
        whole = whole and (dtype.kind != "f" or bool((values == np.rint(values)).all()))
        dark = np.flatnonzero((highs > 0) & (highs <= 1 + ROUNDING))
        if darkest < 0 and len(dark):
            darkest = first + int(dark[0])
        first += len(block)
    if low >= 0 and whole and high <= LEVELS and (dtype.kind != "f" or high > 1):
        if dtype.kind == "f" and darkest >= 0:
            row = darkest if rows is None else int(rows[darkest])
            raise ValueError(
                f"X holds whole numbers from 0 to {high:g} in {dtype}, and X[{row}] no value above "
                "1, so that it would be read as fractions by itself. Pass X.astype('uint8')."
            )
        if dtype.kind != "f" and 0 < high <= 1:
            warn(
                f"X holds zeros and ones in {dtype}, and 255 is white for whole numbers, so that "
                "all images are nearly black. If 1 is white, pass X.astype(bool)."
            )
        return LEVELS
    if low >= -ROUNDING and high <= 1 + ROUNDING:
        return FRACTIONS
    raise ValueError(_describe(dtype, low, high, whole))


def _describe(dtype: np.dtype, low: float, high: float, whole: bool) -> str:
    """Say what the values are, and how to bring them into a range that is known."""
    kind = "whole numbers" if whole else "fractions"
    if low < 0:
        remedy = "Pass the images before they were standardised or shifted"
    elif high > LEVELS:
        remedy = (
            "Of images of 16 bits, pass X / 65535, or read them by ImageReader(dtype='uint8')"
            if whole
            else "Divide X by the value of white"
        )
    else:
        remedy = "If 255 is white, as after interpolation, pass np.rint(X).astype('uint8')"
    return (
        f"X must hold whole numbers from 0 to 255 or fractions from 0 to 1, as photographs have "
        f"them. Got {kind} from {low:.6g} to {high:.6g} in {dtype}. {remedy}."
    )
