"""Gradient-boosted trees on pixels."""

from typing import Any

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier


def prepare(images: np.ndarray) -> np.ndarray:
    """One row an image."""
    return images.reshape(len(images), -1)


def make(seed: int = 0) -> Any:
    """Return the estimator."""
    return HistGradientBoostingClassifier(random_state=seed)
