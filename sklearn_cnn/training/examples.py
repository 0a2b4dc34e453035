"""Images with their class numbers and weights, and their division into training and validation."""

from math import exp, log
from typing import Any, NamedTuple

import numpy as np

from sklearn_cnn.training.batches import ImageDataset, TrainingData
from sklearn_cnn.training.labels import class_weights, encode_labels, loss_weights
from sklearn_cnn.training.split import split_validation, warn_if_few

HEAVIEST = 1e12
"""Times the weight of the first call; gradients beyond would break the optimizer's averages."""


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
    weights : ndarray of shape (n,), float64
        Weights of images and classes together, above 0, with a mean of 1.
    log_unit : float
        Logarithm of the mean weight as the user gave it.
    """

    images: np.ndarray
    rows: np.ndarray
    targets: np.ndarray
    weights: np.ndarray
    log_unit: float = 0.0

    def take(self, positions: np.ndarray) -> "Examples":
        """Return some of the examples; the images are shared."""
        return Examples(
            self.images,
            self.rows[positions],
            self.targets[positions],
            self.weights[positions],
            self.log_unit,
        )

    def as_dataset(self, scale: float = 1.0) -> ImageDataset:
        """Make the data set that batches are drawn from; the mean of its weights is ``scale``."""
        weights = self.weights / self.weights.mean() * scale
        return ImageDataset(self.images, self.rows, self.targets, weights)

    def weight_relative_to(self, log_unit: float) -> float:
        """Return how many times as much these examples weigh as those of a first call.

        Raises
        ------
        ValueError
            If it is so much that training would break.
        """
        times = exp(min(max(self.log_unit - log_unit, -60.0), 60.0))
        if times > HEAVIEST:
            raise ValueError(
                f"sample_weight and class_weight weigh the images {times:.2g} times as much as "
                "those of the first call of partial_fit, or of fit. Their scale holds for all "
                "later calls: give weights of the same scale."
            )
        return times


def encode_examples(
    images: np.ndarray,
    rows: np.ndarray,
    labels: np.ndarray,
    sample_weight: np.ndarray,
    class_weight: Any,
    classes: np.ndarray,
) -> Examples:
    """Leave out the images of zero weight, encode the labels of the others, join the weights.

    Parameters
    ----------
    images : ndarray of shape (n_images, height, width, channels)
    rows : ndarray of shape (n,), int
        Those whose sample weight is not zero.
    labels : ndarray of shape (n_images,)
    sample_weight : ndarray of shape (n_images,), float64, at least 0
    class_weight : dict, "balanced" or None
    classes : ndarray of shape (n_classes,)

    Raises
    ------
    ValueError
        If a label is not among the classes, or ``class_weight`` leaves no image any weight.
    """
    targets, given = encode_labels(labels[rows], classes), sample_weight[rows]
    by_class = class_weights(targets, given, class_weight, classes)[targets]
    counts = by_class > 0
    rows, targets, given, by_class = rows[counts], targets[counts], given[counts], by_class[counts]
    # none is so small that it is zero: an image may be held out among others of such weights
    smallest = np.finfo(np.float64).tiny
    weights = np.maximum(loss_weights(targets, given, class_weight, classes), smallest)
    heaviest = weights.argmax()
    log_unit = log(given[heaviest]) + log(by_class[heaviest]) - log(weights[heaviest])
    return Examples(images, rows, targets, weights, log_unit)


def divide_examples(
    examples: Examples, validation_fraction: float | None, seed: int, classes: np.ndarray
) -> tuple[Examples, TrainingData]:
    """Hold out the validation images, if any.

    Parameters
    ----------
    examples : Examples
    validation_fraction : float or None
        Share to hold out; None for none.
    seed : int
        Seed of the draw.
    classes : ndarray of shape (n_classes,)
        The classes, for a message.

    Returns
    -------
    training : Examples
    data : TrainingData
        The same as data sets, with the validation images.
    """
    if validation_fraction is None:
        return examples, TrainingData(examples.as_dataset(), None)
    kept, held_out = split_validation(examples.targets, validation_fraction, seed, classes)
    warn_if_few(len(held_out))
    training = examples.take(kept)
    return training, TrainingData(training.as_dataset(), examples.take(held_out).as_dataset())
