"""The range of the pixel values, and the mean and standard deviation of each channel.

The range shows whether pixels were scaled differently between fit and predict. Mean and standard
deviation normalise them. Both read the images block by block, and never copy them as a whole.
"""

from collections.abc import Iterator
from math import prod
from typing import NamedTuple

import numpy as np

from sklearn_cnn._messages import warn

VALUES_AT_ONCE = 1 << 22
"""Number of pixel values in the temporary arrays of a scan."""

NEARLY_ONE = 0.9
"""Fractions from 0 to 1 reach this value; dark images of a larger range rarely do."""

PERHAPS, SURELY = 1, 2
"""How likely it is that an image was scaled differently from those seen during fit."""


class PixelScale(NamedTuple):
    """The range of the pixel values of some images, and whether all are whole numbers.

    ``doubt`` is 0, PERHAPS or SURELY: whether one of the images alone looks as if it was scaled
    differently. Similar images are then accepted.
    """

    low: float
    high: float
    whole: bool
    doubt: int = 0

    @property
    def magnitude(self) -> float:
        """Largest distance of a value from 0."""
        return max(-self.low, self.high)

    def describe(self) -> str:
        """Describe the kind of the values and their range in words."""
        if self.whole:
            return f"whole numbers from {self.low:.6g} to {self.high:.6g}"
        return f"fractions from {self.low:.4g} to {self.high:.4g}"

    def is_unscaled(self) -> bool:
        """Tell whether this looks like unscaled pixels: 0 to 255, or other whole numbers."""
        if self.low < 0:
            return self.magnitude > (10 if self.whole else 100)
        return self.high > 10 or (self.whole and self.high > 1)

    def is_scaled(self, unscaled: "PixelScale") -> bool:
        """Tell whether this looks like ``unscaled`` divided by its maximum, or standardised."""
        return self.high <= 1 if self.low >= 0 else 10 * self.magnitude < unscaled.magnitude

    def is_far_beyond(self, seen: "PixelScale") -> bool:
        """Tell whether a value is more than ten times as far from 0 as all seen."""
        return self.magnitude > 10 * seen.magnitude

    def is_below(self, seen: "PixelScale") -> bool:
        """Tell whether a value is far below 0, although no value below 0 was seen."""
        return seen.low >= 0 and self.low < -seen.high / 4

    def widened(self, more: "PixelScale") -> "PixelScale":
        """Return the combined range of these images and others."""
        low, high = min(self.low, more.low), max(self.high, more.high)
        return PixelScale(low, high, self.whole and more.whole, max(self.doubt, more.doubt))


def row_blocks(n_rows: int, values_per_row: int) -> Iterator[slice]:
    """Divide rows into slices of about ``VALUES_AT_ONCE`` values, to limit the memory of scans."""
    rows = max(1, VALUES_AT_ONCE // max(1, values_per_row))
    for start in range(0, n_rows, rows):
        yield slice(start, start + rows)


def read_scale(images: np.ndarray, rows: np.ndarray | None = None) -> PixelScale:
    """Compute the range of pixel values, block by block."""
    lows, highs, whole = [], [], True
    for values in blocks_of(images, rows):
        lows.append(float(values.min()))
        highs.append(float(values.max()))
        whole = whole and _are_whole(values)
    return PixelScale(min(lows), max(highs), whole)


def read_training_scale(images: np.ndarray, rows: np.ndarray | None = None) -> PixelScale:
    """Compute the range of pixel values, and how narrow that of a single image may be."""
    scale = read_scale(images, rows)
    return scale._replace(doubt=_judge(images, rows, scale, scale, may_grow=False).doubt)


def blocks_of(images: np.ndarray, rows: np.ndarray | None) -> Iterator[np.ndarray]:
    """Divide images, or some rows of them, into blocks of about ``VALUES_AT_ONCE`` values."""
    n_rows = len(images) if rows is None else len(rows)
    for block in row_blocks(n_rows, prod(images.shape[1:])):
        yield images[block] if rows is None else images[rows[block]]


def check_scale(
    images: np.ndarray,
    seen: PixelScale,
    dtype: str,
    rows: np.ndarray | None = None,
    *,
    to_train: bool = False,
) -> PixelScale:
    """Return the range of images, and raise if it contradicts the range seen during fit.

    Each image is judged alone, so that no result depends on the other images:

    - a model fitted on unscaled pixels (0 to 255, -1000 to 3000) raises for an image that was
      divided (fractions from 0 to 1 with many levels or a wide range) or standardised;
    - a model fitted on such pixels raises for unscaled ones, and any model raises for images whose
      mean magnitude is ten times the largest seen;
    - an image without contrast, or with a range as narrow as one seen during fit, is accepted. So
      are dark images of fractions, but a call with only such images warns.

    With ``to_train``, the images widen the range. The range seen may be narrow by chance, so larger
    values only raise if it filled 0 to 1 with fractions.
    """
    scale = read_training_scale(images, rows) if to_train else read_scale(images, rows)
    check_representable(scale, dtype)
    may_grow = to_train and (seen.whole or seen.magnitude < NEARLY_ONE)
    verdict = _judge(images, rows, scale, seen, may_grow)
    if not verdict.doubt or (verdict.doubt == PERHAPS and (to_train or not verdict.all)):
        return scale
    remedy = "Do not scale X, or scale the training images as well"
    if verdict.scale.magnitude > seen.magnitude:
        remedy = "Scale X like the training images"
    if verdict.doubt == PERHAPS:
        below = scale.is_below(seen)
        where = (
            "have values below 0, but those seen during fit have none"
            if below
            else "are so dark that they may have been divided"
        )
        warn(
            f"All images in X {where}: fit saw {seen.describe()}, and X now holds "
            f"{scale.describe()}. If X was scaled or shifted, training and prediction need the "
            f"same range. {remedy}."
        )
        return scale
    raise ValueError(
        f"The range of the pixels changed since fit, which saw {seen.describe()}: "
        f"X[{verdict.row}] now holds {verdict.scale.describe()}. Training and prediction need the "
        f"same range. {remedy}."
    )


class _Verdict(NamedTuple):
    """The doubt about the most doubtful image, its row and range, and whether all share it."""

    doubt: int
    row: int
    scale: PixelScale
    all: bool


def _judge(
    images: np.ndarray, rows: np.ndarray | None, scale: PixelScale, seen: PixelScale, may_grow: bool
) -> _Verdict:
    """Find the image that most looks as if it was scaled differently from those seen during fit."""
    worst = _Verdict(0, -1, scale, False)
    may_be_small = seen.is_unscaled() and not scale.whole
    may_be_large = not may_grow and (scale.is_far_beyond(seen) or scale.is_below(seen))
    if seen.low >= seen.high or not (may_be_small or may_be_large):
        return worst
    first = n_plain = 0
    for block in blocks_of(images, rows):
        values = block.reshape(len(block), -1)
        lows = values.min(axis=1).astype(np.float64)
        highs = values.max(axis=1).astype(np.float64)
        magnitudes, largest = np.maximum(-lows, highs), seen.magnitude
        is_plain = (largest / 10 <= magnitudes) & (magnitudes <= 10 * largest) & (magnitudes > 1)
        is_plain &= (lows >= 0) | (seen.low < 0)
        n_plain += int((is_plain & (lows < highs)).sum())
        for row in map(int, np.flatnonzero(~is_plain)):
            low, high = float(lows[row]), float(highs[row])
            own, doubt = PixelScale(low, high, False), 0
            if may_be_large and (own.is_far_beyond(seen) or own.is_below(seen)):
                own = own._replace(whole=_are_whole(values[row]))
                doubt = _doubt_of_large(values[row], own, seen)
            elif may_be_small and low < high and own.is_scaled(seen):
                doubt = _doubt_of_small(values[row].astype(np.float64), own, seen)
            n_plain += doubt == 0 and low < high
            if doubt > worst.doubt:
                index = first + row if rows is None else int(rows[first + row])
                worst = _Verdict(doubt, index, own, False)
            if doubt == SURELY:
                return worst
        first += len(block)
    return worst._replace(all=n_plain == 0)


def _are_whole(values: np.ndarray) -> bool:
    return values.dtype.kind != "f" or bool((values == np.rint(values)).all())


def _doubt_of_large(values: np.ndarray, own: PixelScale, seen: PixelScale) -> int:
    """Judge an image with values far beyond those seen, or far below 0 if none were seen."""
    if own.is_far_beyond(seen):
        unscaled = own.low >= 0 and own.is_unscaled() and seen.is_scaled(own)
        mean = np.abs(values.astype(np.float64)).mean()
        return SURELY if unscaled or mean > 10 * seen.magnitude else 0
    return PERHAPS


def _doubt_of_small(values: np.ndarray, own: PixelScale, seen: PixelScale) -> int:
    """Judge an image with values far below the largest seen."""
    if _are_whole(values):
        return 0
    if own.low >= 0:
        fills = own.high >= NEARLY_ONE and own.low <= 1 - NEARLY_ONE
        doubt = SURELY if fills or _is_divided(values) else PERHAPS
    elif seen.low < 0:
        ratio = seen.magnitude / own.magnitude
        doubt = SURELY if ratio > 500 else PERHAPS if ratio > 100 else 0
    else:
        is_centred = own.low <= -0.4 and -8 * own.low >= own.high  # interpolation overshoots less
        doubt = SURELY if is_centred else 0
    return doubt if doubt > seen.doubt else 0


def _is_divided(values: np.ndarray) -> bool:
    """Tell whether these are 8-bit or 16-bit levels, divided by the largest possible level."""
    for largest in (255, 65535):
        levels = np.rint(values * largest)
        if np.abs(values * largest - levels).max() < 0.01:  # as exact as float32
            found = np.unique(levels).astype(np.int64)
            # means of dark images have fractions too, of a few levels
            if len(found) >= 4 and np.gcd.reduce(found) == 1:
                return True
    return False


def check_representable(scale: PixelScale, dtype: str) -> None:
    """Raise for values that become infinite in the floating-point type of the network."""
    if scale.magnitude > float(np.finfo(dtype).max):
        raise ValueError(
            f"X contains infinity or a value too large for dtype('{dtype}'), the dtype of the "
            f"network: the largest magnitude is {scale.magnitude:g}. Scale the pixels down."
        )


def channel_statistics(
    images: np.ndarray, rows: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Compute each channel's weighted mean and standard deviation.

    8-bit images are read once, because their sums and sums of squares are exact; others twice.

    Parameters
    ----------
    images : ndarray of shape (n_images, height, width, channels), any real dtype
        All images; they are read block by block and never copied whole.
    rows : ndarray of shape (n_rows,), int
        Indices of the images to include.
    weights : ndarray of shape (n_rows,), float64
        Weights of these images. A weight of 2 is equivalent to passing the image twice.

    Returns
    -------
    mean, std : ndarray of shape (channels,), float64
        Mean and standard deviation. Channels that are constant in float32 precision have a standard
        deviation of 1.
    """
    if images.dtype.itemsize == 1:
        mean, square = _moments_of_bytes(images, rows, weights)
        std = np.sqrt(np.maximum(square - mean**2, 0))
    else:
        mean = _weighted_mean(images, rows, weights, 0.0, 1)
        std = np.sqrt(_weighted_mean(images, rows, weights, mean, 2))
    float32 = np.finfo(np.float32)
    return mean, np.where(std > np.maximum(float32.eps * np.abs(mean), float32.tiny), std, 1.0)


def _moments_of_bytes(
    images: np.ndarray, rows: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Mean of the pixels and of their squares over images and positions, for each channel.

    Sums along a row of pixels are a matrix product, several times as fast as a sum over an axis.
    They are whole numbers below 2**53, so the order of addition does not change them.
    """
    _, height, width, channels = images.shape
    by_channel = np.tile(np.eye(channels), (width, 1))
    totals = np.zeros((2, channels))
    for block in row_blocks(len(rows), prod(images.shape[1:])):
        values = images[rows[block]].astype(np.float64, order="C").reshape(-1, width * channels)
        for total in totals:
            sums = (values @ by_channel).reshape(-1, height, channels).sum(axis=1)
            total += weights[block] @ sums
            np.square(values, out=values)
    mean, square = totals / (weights.sum() * height * width)
    return mean, square


def _weighted_mean(
    images: np.ndarray,
    rows: np.ndarray,
    weights: np.ndarray,
    centre: np.ndarray | float,
    power: int,
) -> np.ndarray:
    """Mean over images and positions of ``(pixel - centre) ** power``, for each channel."""
    _, height, width, channels = images.shape
    total = np.zeros(channels)
    for block in row_blocks(len(rows), prod(images.shape[1:])):
        values = images[rows[block]].astype(np.float64)
        values -= centre
        values **= power
        total += weights[block] @ values.sum(axis=(1, 2))
    return np.asarray(total / (weights.sum() * height * width))
