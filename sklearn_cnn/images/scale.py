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
    kind : {"whole", "unit", "other"}
        "whole": whole numbers 0, 1, 2, ... with some above 1, as in uint8 images. "unit":
        fractions between 0 and 1. "other": anything else, standardised images among them.
    low, high : float
        The smallest and the largest value.
    """

    kind: Literal["whole", "unit", "other"]
    low: float
    high: float

    def describe(self) -> str:
        """Say the kind and range in words."""
        kind = {"whole": "whole numbers", "unit": "fractions", "other": "numbers"}[self.kind]
        return f"{kind} from {self.low:g} to {self.high:g}"


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
    if low < 0 or (high <= 1 and _all_whole(X)):
        return PixelScale("other", low, high)
    if high <= 1:
        return PixelScale("unit", low, high)
    return PixelScale("whole" if _all_whole(X) else "other", low, high)


def _all_whole(X: np.ndarray) -> bool:
    if X.dtype.kind != "f":
        return True
    blocks = row_blocks(len(X), prod(X.shape[1:]))
    return all(bool((X[block] == np.rint(X[block])).all()) for block in blocks)


def check_scale(X: np.ndarray, fitted: PixelScale) -> None:
    """Refuse images whose range cannot be the one seen at fit.

    Parameters
    ----------
    X : ndarray of shape (n, height, width, channels), any real dtype
        The images to predict.
    fitted : PixelScale
        What ``fit`` saw.

    Raises
    ------
    ValueError
        If the model was fitted on whole numbers (0 to 255, say) and ``X`` holds fractions between
        0 and 1, or the reverse.
    """
    if fitted.kind == "other":
        return
    scale = read_scale(X)
    if {scale.kind, fitted.kind} == {"whole", "unit"}:
        remedy = (
            "multiply X by the factor it was divided by"
            if scale.kind == "unit"
            else "divide X as the training images were divided"
        )
        raise ValueError(
            f"The range of the pixels changed between fit and predict: fit saw "
            f"{fitted.describe()}, X now holds {scale.describe()}. Give both in the same range: "
            f"{remedy}."
        )


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
