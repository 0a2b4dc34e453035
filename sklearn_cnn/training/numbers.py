"""The targets of a regressor: checking, standardising, and restoring their units."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from scipy.sparse import issparse
from sklearn.utils import assert_all_finite, column_or_1d

from sklearn_cnn.pixels.arrays import to_host
from sklearn_cnn.training.examples import check_same_targets


def check_numbers(y: object, name: str) -> np.ndarray:
    """Return the target values as an array, or raise if they are not numbers.

    Parameters
    ----------
    y : array-like of shape (n,) or (n, n_targets)
        Target values.
    name : str
        Name of the estimator, for the message.

    Returns
    -------
    ndarray of shape (n,) or (n, n_targets), float64
        Target values. A single column becomes 1-D, with a warning, as in scikit-learn.

    Raises
    ------
    ValueError, TypeError
        If ``y`` is None, holds text, complex numbers, NaN, infinity, or is an indicator matrix.
    """
    if y is None:
        raise ValueError(
            f"This {name} estimator requires y to be passed, but the target y is None."
        )
    if issparse(y):
        raise TypeError(
            f"y must be a dense array of numbers. Got {type(y).__name__}. Pass y.toarray()."
        )
    values = np.asarray(to_host(y))
    if values.ndim == 2 and values.shape[1] == 1:
        values = column_or_1d(y, warn=True)
    if values.ndim not in (1, 2) or 0 in values.shape[1:]:
        raise ValueError(
            "y must hold one number per image, in shape (n,), or several, in shape (n, n_targets). "
            f"Got shape {values.shape}."
        )
    if values.dtype.kind in "cmM":
        raise ValueError(
            f"y must hold real numbers. Got {values.dtype}. Complex data not supported. Convert "
            "times to numbers, such as seconds."
        )
    try:
        numbers: np.ndarray = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"y must hold numbers. Got values such as {values.ravel()[:1].tolist()[0]!r}. Use "
            "CNNClassifier to predict classes."
        ) from error
    assert_all_finite(numbers, input_name="y")
    if numbers.ndim == 2 and len(numbers) > 1 and np.isin(numbers, (0, 1)).all():
        raise ValueError(
            f"y is an indicator matrix of 0 and 1, in shape {numbers.shape}. Use CNNClassifier to "
            "predict several labels per image."
        )
    return numbers


@dataclass(frozen=True, eq=False)
class TargetScale:
    """Mean and standard deviation of the targets, which standardise them for the network.

    Parameters
    ----------
    mean : ndarray of shape (n_targets,), float64
        Mean of each target, in its own units.
    scale : ndarray of shape (n_targets,), float64
        Standard deviation of each target. It is 0 for a constant target, whose value is predicted.
    is_single : bool
        Whether targets and predictions have shape (n,).
    """

    mean: np.ndarray
    scale: np.ndarray
    is_single: bool

    @classmethod
    def learn(cls, y: np.ndarray, weights: np.ndarray) -> Self:
        """Learn the scale from targets of shape (n,) or (n, n_targets), and weights above 0."""
        numbers = y.reshape(len(y), -1)
        shares = weights / weights.max()
        largest = np.abs(numbers).max(axis=0)
        unit = np.where(largest > 0, largest, 1.0)  # so that no square overflows
        relative = numbers / unit
        mean = np.average(relative, axis=0, weights=shares)
        scale = np.sqrt(np.average((relative - mean) ** 2, axis=0, weights=shares)) * unit
        is_constant = (numbers == numbers[0]).all(axis=0)
        return cls(
            np.where(is_constant, numbers[0], mean * unit),
            np.where(is_constant, 0.0, scale),
            is_single=y.ndim == 1,
        )

    @property
    def n_targets(self) -> int:
        """Number of targets."""
        return len(self.mean)

    def check_shape(self, y: np.ndarray) -> None:
        """Raise if the number of targets differs from that of the scale.

        Raises
        ------
        ValueError
            If the shapes differ.
        """
        check_same_targets(y, () if self.is_single else (self.n_targets,))

    def continued(self, y: np.ndarray, weights: np.ndarray) -> "TargetScale":
        """Return the scale for further targets; it only changes for targets that were constant."""
        self.check_shape(y)
        fresh, was_constant = TargetScale.learn(y, weights), self.scale == 0
        return TargetScale(
            np.where(was_constant, fresh.mean, self.mean),
            np.where(was_constant, fresh.scale, self.scale),
            self.is_single,
        )

    def standardise(self, y: np.ndarray) -> np.ndarray:
        """Return targets (n, n_targets) with mean 0 and standard deviation 1; zeros if constant."""
        divisor = np.where(self.scale > 0, self.scale, 1.0)
        standardised: np.ndarray = (y.reshape(len(y), -1) - self.mean) / divisor
        return standardised

    def restore(self, outputs: np.ndarray) -> np.ndarray:
        """Return outputs (n, n_targets) in the units of the targets, in the shape of ``y``."""
        numbers: np.ndarray = outputs * self.scale + self.mean
        return numbers[:, 0] if self.is_single else numbers
