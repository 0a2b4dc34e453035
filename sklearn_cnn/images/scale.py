"""The range of the pixel values, so that a change of range between fit and predict is seen."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import Literal

import numpy as np

VALUES_AT_ONCE = 1 << 22
"""How many pixel values a scan holds in a temporary array."""


@dataclass(frozen=True)
class PixelScale:
    """The kind and range of the pixel values seen at fit.

    Attributes
    ----------
    kind : {"whole", "unit", "centred", "other"}
        "whole": whole numbers 0, 1, 2, ... with some above 1, as in uint8 images. "unit":
        fractions between 0 and 1. "centred": fractions with some below 0, as in standardised
        images. "other": anything else.
    low, high : float
        The smallest and the largest value.
    """

    kind: Literal["whole", "unit", "centred", "other"]
    low: float
    high: float

    def describe(self) -> str:
        """Say the kind and range in words."""
        words = "whole numbers" if self.kind == "whole" else "fractions"
        return f"{words} from {self.low:.4g} to {self.high:.4g}"


def row_blocks(n_rows: int, values_per_row: int) -> Iterator[slice]:
    """Cut rows into slices of about ``VALUES_AT_ONCE`` values, so that scans need little memory."""
    rows = max(1, VALUES_AT_ONCE // max(1, values_per_row))
    for start in range(0, n_rows, rows):
        yield slice(start, start + rows)


def read_scale(X: np.ndarray) -> PixelScale:
    """Tell the kind and range of the pixel values.

    Parameters
    ----------
    X : ndarray of shape (n, height, width, channels), any real dtype
        The images.

    Returns
    -------
    PixelScale
        Kind, smallest and largest value.
    """
    low, high = float(X.min()), float(X.max())
    if _all_whole(X):
        return PixelScale("whole" if low >= 0 and high > 1 else "other", low, high)
    if high > 1 or low < 0:
        return PixelScale("centred" if low < 0 else "other", low, high)
    return PixelScale("unit", low, high)


def _all_whole(X: np.ndarray) -> bool:
    if X.dtype.kind != "f":
        return True
    blocks = row_blocks(len(X), prod(X.shape[1:]))
    return all(bool((X[block] == np.rint(X[block])).all()) for block in blocks)


def check_scale(X: np.ndarray, fitted: PixelScale) -> None:
    """Refuse images whose range cannot be the one seen at fit.

    A model fitted on whole numbers (0 to 255, say) refuses fractions between 0 and 1, and fractions
    around zero of less than a tenth of its range; a model fitted on either of these refuses whole
    numbers, where they are ten times larger than what it saw. Anything else passes: a dark image,
    or a resized one with its fractions, is none of these.

    Parameters
    ----------
    X : ndarray of shape (n, height, width, channels), any real dtype
        The images to predict.
    fitted : PixelScale
        What ``fit`` saw.

    Raises
    ------
    ValueError
        If the range changed so.
    """
    if fitted.kind == "other":
        return
    scale = read_scale(X)
    if _is_divided(scale, fitted):
        remedy = "leave X as it is, or scale the training images too"
    elif _is_divided(fitted, scale):
        remedy = "scale X as the training images were scaled"
    else:
        return
    raise ValueError(
        f"The range of the pixels changed since fit, which saw {fitted.describe()}: X now holds "
        f"{scale.describe()}. Give both in the same range: {remedy}."
    )


def _is_divided(scale: PixelScale, whole: PixelScale) -> bool:
    """Whether ``scale`` looks like what ``whole`` becomes by division or standardisation."""
    if whole.kind != "whole" or scale.kind == "whole":
        return False
    is_small = 10 * max(-scale.low, scale.high) < whole.high
    return scale.kind == "unit" or (scale.kind == "centred" and is_small)


def check_representable(X: np.ndarray, dtype: str) -> None:
    """Refuse values that become infinite in the floating-point type of the network."""
    limit = float(np.finfo(dtype).max)
    if X.dtype.kind == "f" and X.dtype.itemsize > np.dtype(dtype).itemsize:
        largest = max(abs(float(X.min())), abs(float(X.max())))
        if largest > limit:
            raise ValueError(
                f"X contains infinity or a value too large for dtype('{dtype}'), in which the "
                f"network computes: the largest magnitude is {largest:g}. Scale the pixels down."
            )
