"""The range of the pixel values, so that a change of range between fit and predict is seen."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

import numpy as np

VALUES_AT_ONCE = 1 << 22
"""How many pixel values a scan holds in a temporary array."""


@dataclass(frozen=True)
class PixelScale:
    """The range of the pixel values of some images.

    Attributes
    ----------
    low, high : float
        The smallest and the largest value.
    whole : bool
        Whether all are whole numbers, as in uint8 images.
    """

    low: float
    high: float
    whole: bool

    def describe(self) -> str:
        """Say kind and range in words."""
        words = "whole numbers" if self.whole else "fractions"
        return f"{words} from {self.low:.4g} to {self.high:.4g}"

    def is_unscaled(self) -> bool:
        """Whether this looks like pixels as files hold them: 0 to 255, or other whole numbers."""
        return self.low >= 0 and (self.high > 10 or (self.whole and self.high > 1))

    def is_scaled(self, unscaled: "PixelScale") -> bool:
        """Whether this looks like ``unscaled`` divided by its maximum, or standardised."""
        if self.low >= 0:
            return self.high <= 1
        return 10 * max(-self.low, self.high) < unscaled.high


def row_blocks(n_rows: int, values_per_row: int) -> Iterator[slice]:
    """Cut rows into slices of about ``VALUES_AT_ONCE`` values, so that scans need little memory."""
    rows = max(1, VALUES_AT_ONCE // max(1, values_per_row))
    for start in range(0, n_rows, rows):
        yield slice(start, start + rows)


def read_scale(images: np.ndarray, rows: np.ndarray | None = None) -> PixelScale:
    """Tell the range of pixel values, block by block.

    Parameters
    ----------
    images : ndarray of shape (n_images, height, width, channels), any real dtype
        The images, at least one.
    rows : ndarray of shape (n,), int, or None
        Which images count; None for all.

    Returns
    -------
    PixelScale
    """
    lows, highs, whole = [], [], True
    n_rows = len(images) if rows is None else len(rows)
    for block in row_blocks(n_rows, prod(images.shape[1:])):
        values = images[block] if rows is None else images[rows[block]]
        lows.append(float(values.min()))
        highs.append(float(values.max()))
        whole = whole and (values.dtype.kind != "f" or bool((values == np.rint(values)).all()))
    return PixelScale(min(lows), max(highs), whole)


def check_scale(scale: PixelScale, fitted: PixelScale) -> None:
    """Refuse images whose range cannot be the one seen at fit.

    A model fitted on unscaled pixels (0 to 255, say) refuses fractions from 0 to 1, and fractions
    around zero of less than a tenth of its range; a model fitted on such pixels refuses unscaled
    ones. Anything else passes: a black image is in any range.

    Parameters
    ----------
    scale : PixelScale
        The range of the images given now.
    fitted : PixelScale
        The range that ``fit`` saw.

    Raises
    ------
    ValueError
        If the range changed so.
    """
    if fitted.is_unscaled() and not scale.whole and scale.is_scaled(fitted):
        remedy = "leave X as it is, or scale the training images too"
    elif scale.is_unscaled() and scale.high > 10 * fitted.high and fitted.is_scaled(scale):
        remedy = "scale X as the training images were scaled"
    else:
        return
    raise ValueError(
        f"The range of the pixels changed since fit, which saw {fitted.describe()}: X now holds "
        f"{scale.describe()}. Give both in the same range: {remedy}."
    )


def check_representable(scale: PixelScale, dtype: str) -> None:
    """Refuse values that become infinite in the floating-point type of the network."""
    largest = max(abs(scale.low), abs(scale.high))
    if largest > float(np.finfo(dtype).max):
        raise ValueError(
            f"X contains infinity or a value too large for dtype('{dtype}'), in which the network "
            f"computes: the largest magnitude is {largest:g}. Scale the pixels down."
        )
