"""Images with their class numbers and weights, and their division into training and validation."""

from typing import Any, NamedTuple

import numpy as np

from sklearn_cnn.training.batches import ImageDataset, TrainingData
from sklearn_cnn.training.labels import encode_labels, loss_weights
from sklearn_cnn.training.split import split_validation, warn_if_few


class Examples(NamedTuple):
    """What ``fit`` was given, checked and encoded.

    Attributes
    ----------
    images : ndarray of shape (n_images, height, width, channels), any real dtype
        All images.
    rows : ndarray of shape (n,), int
        Those whose weight is not zero; the attributes below follow them.
    targets : ndarray of shape (n,), int64
        Class numbers.
    sample_weight : ndarray of shape (n,), float64
        Weights of the user, above 0, the largest of them 1.
    """

    images: np.ndarray
    rows: np.ndarray
    targets: np.ndarray
    sample_weight: np.ndarray

    def take(self, positions: np.ndarray) -> "Examples":
        """Return some of the examples; the images are shared."""
        return Examples(
            self.images,
            self.rows[positions],
            self.targets[positions],
            self.sample_weight[positions],
        )

    def as_dataset(self, class_weight: Any, classes: np.ndarray) -> ImageDataset:
        """Join the weights, and make the data set that batches are drawn from."""
        weights = loss_weights(self.targets, self.sample_weight, class_weight, classes)
        return ImageDataset(self.images, self.rows, self.targets, weights)


def encode_examples(
    images: np.ndarray,
    rows: np.ndarray,
    labels: np.ndarray,
    weights: np.ndarray,
    classes: np.ndarray,
) -> Examples:
    """Leave out the images of zero weight, and encode the labels of the others.

    Parameters
    ----------
    images : ndarray of shape (n_images, height, width, channels)
    rows : ndarray of shape (n,), int
        Those whose weight is not zero.
    labels : ndarray of shape (n_images,)
    weights : ndarray of shape (n_images,), float64, at least 0
    classes : ndarray of shape (n_classes,)

    Raises
    ------
    ValueError
        If a label is not among the classes.
    """
    weights = weights[rows] / weights.max()  # their ratios count, and their sum stays finite
    return Examples(images, rows, encode_labels(labels[rows], classes), weights)


def divide_examples(
    examples: Examples, validation_fraction: float | None, seed: int, estimator: Any
) -> tuple[Examples, TrainingData]:
    """Hold out the validation images, if any.

    Parameters
    ----------
    examples : Examples
    validation_fraction : float or None
        Share to hold out; None for none.
    seed : int
        Seed of the draw.
    estimator : CNNClassifier
        Gives ``classes_`` and ``class_weight``.

    Returns
    -------
    training : Examples
    data : TrainingData
        The same as data sets, with the validation images.
    """
    classes, class_weight = estimator.classes_, estimator.class_weight
    if validation_fraction is None:
        return examples, TrainingData(examples.as_dataset(class_weight, classes), None)
    kept, held_out = split_validation(examples.targets, validation_fraction, seed, classes)
    warn_if_few(len(held_out), stacklevel=5)
    training = examples.take(kept)
    return training, TrainingData(
        training.as_dataset(class_weight, classes),
        examples.take(held_out).as_dataset(class_weight, classes),
    )
