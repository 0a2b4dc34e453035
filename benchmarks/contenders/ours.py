"""CNNClassifier, on images as they are."""

from typing import Any

import numpy as np

from sklearn_cnn import Activation, CNNClassifier, Conv, Dense, Flatten, Pool


def prepare(images: np.ndarray) -> np.ndarray:
    """Leave images as they are."""
    return images


def make(*, layers: str = "auto", **parameters: Any) -> CNNClassifier:
    """Return the estimator; ``layers="tutorial"`` gives it the layers of the tutorials.

    They put the activation before the pooling, and here it comes after. The maximum of a window
    is the same either way.
    """
    if layers == "tutorial":
        parameters.setdefault("batch_size", 128)  # that of the others with these layers
        parameters["layers"] = [
            Conv(32, 3),
            Pool("max"),
            Activation("relu"),
            Conv(64, 3),
            Pool("max"),
            Activation("relu"),
            Flatten(),
            Dense(128),
            Activation("relu"),
        ]
    return CNNClassifier(**parameters)
