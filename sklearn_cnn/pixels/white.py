"""The value of white: pixels of photographs range from 0 to 255, or are fractions from 0 to 1.

A pretrained network has its own range of pixels, so the range of its input must be identified. It
follows from the type, or from each image alone, and never depends on the other images of an array.
"""

from math import isfinite
from typing import NoReturn

import numpy as np

from sklearn_cnn._messages import warn
from sklearn_cnn.pixels.scale import PixelScale, blocks_of, read_scale

LEVELS, FRACTIONS = 255.0, 1.0
"""White, in pixels of 8 bits and in fractions."""

ROUNDING = 1e-5
"""How far interpolation in float32 may exceed the range of fractions, 0 to 1."""

OVERSHOT = 2
"""Largest fraction that cubic interpolation may have raised above 1."""


def find_white(images: np.ndarray, rows: np.ndarray | None = None) -> float:
    """Return the value of white in images, 255 or 1.

    Parameters
    ----------
    images : ndarray of shape (n, height, width, channels), any real dtype
        The images, which are read block by block.
    rows : ndarray of shape (n_rows,), int, or None, default=None
        Indices of the images to include; None for all.

    Returns
    -------
    float
        255 for uint8 and for other whole numbers, 1 for booleans and for fractions.

    Raises
    ------
    ValueError
        If the values are neither whole numbers from 0 to 255 nor fractions from 0 to 1, or an image
        that looks like fractions is mixed with images of whole numbers.

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
    return _white_of_floats(images, rows) if dtype.kind == "f" else _check_levels(images, rows)


def _check_levels(images: np.ndarray, rows: np.ndarray | None) -> float:
    """Check integers other than uint8, whose type implies levels from 0 to 255."""
    scale = read_scale(images, rows)
    if scale.low < 0 or scale.high > LEVELS:
        _refuse(f"whole numbers from {scale.low:.0f} to {scale.high:.0f}", images.dtype, scale)
    if scale.high == 1:
        warn(
            f"X holds zeros and ones in {images.dtype}. For whole numbers, 255 is white, so all "
            "images are nearly black. If 1 is white, pass X.astype(bool)."
        )
    return LEVELS


def _white_of_floats(images: np.ndarray, rows: np.ndarray | None) -> float:
    """Classify each image by its largest value, and raise if both ranges are mixed."""
    first, n_seen = {LEVELS: -1, FRACTIONS: -1}, 0
    for block in blocks_of(images, rows):
        values = block.reshape(len(block), -1)
        lows, highs = values.min(axis=1), values.max(axis=1)
        is_fraction = highs <= 1 + ROUNDING
        is_whole = (values == np.rint(values)).all(axis=1)
        fits = is_fraction & (lows >= -ROUNDING) | is_whole & (lows >= 0) & (highs <= LEVELS)
        for i in np.flatnonzero(~fits)[:1].tolist():  # NaN fits nothing
            kind = "whole numbers" if is_whole[i] else "fractions"
            scale = PixelScale(float(lows[i]), float(highs[i]), bool(is_whole[i]))
            found = f"{kind} from {scale.low:.6g} to {scale.high:.6g}"
            _refuse(f"{found} in X[{_row(n_seen + i, rows)}]", images.dtype, scale)
        for white, where in ((LEVELS, ~is_fraction), (FRACTIONS, is_fraction & (highs > 0))):
            if first[white] < 0 and where.any():
                first[white] = _row(n_seen + int(np.argmax(where)), rows)
        n_seen += len(block)
    if min(first.values()) >= 0:
        raise ValueError(
            f"X[{first[LEVELS]}] holds whole numbers up to 255 in {images.dtype}, but "
            f"X[{first[FRACTIONS]}] holds no value above 1, so that alone, it would be read as "
            "fractions. If all images hold whole numbers, pass X.astype('uint8'). Otherwise, "
            "divide the images of whole numbers by 255."
        )
    return LEVELS if first[LEVELS] >= 0 else FRACTIONS


def _row(position: int, rows: np.ndarray | None) -> int:
    return position if rows is None else int(rows[position])


def _refuse(found: str, dtype: np.dtype, scale: PixelScale) -> NoReturn:
    """Raise for values in an unknown range, and explain how to convert them."""
    low, high = scale.low, scale.high
    if not (isfinite(low) and isfinite(high)):
        remedy = "Remove the images with values that are not finite"
    elif low < 0:
        is_fraction = dtype.kind == "f" and high <= OVERSHOT
        levels = "np.rint(np.clip(X, 0, 255)).astype('uint8')"
        remedy = (
            "Pass the images before standardisation or shifts. If interpolation produced values "
            f"below 0, pass {'np.clip(X, 0, 1)' if is_fraction else levels}"
        )
    elif high > LEVELS:
        remedy = (
            "For 16-bit images, pass X / 65535, or read them with ImageReader(dtype='uint8')"
            if scale.whole and high <= 65535
            else "Divide X by the value of white"
        )
    else:
        remedy = "If 255 is white, as after interpolation, pass np.rint(X).astype('uint8')"
        if high <= OVERSHOT:
            remedy = f"If interpolation produced values above 1, pass np.clip(X, 0, 1). {remedy}"
    raise ValueError(
        f"X must hold whole numbers from 0 to 255 or fractions from 0 to 1, like photographs. Got "
        f"{found}, in {dtype}. {remedy}."
    )
