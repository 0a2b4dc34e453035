"""scikit-learn's network of dense layers alone, stopped early."""

from typing import Any

import numpy as np
from sklearn.neural_network import MLPClassifier


def prepare(images: np.ndarray) -> np.ndarray:
    """Scale to 0..1 as float32, one row an image."""
    return images.reshape(len(images), -1).astype(np.float32) / 255


def make(seed: int = 0) -> Any:
    """Return the estimator."""
    return MLPClassifier((256, 128), early_stopping=True, random_state=seed)
