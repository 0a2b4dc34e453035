"""The classifier that a Display is about, and the images as it sees them."""

from typing import Any

import numpy as np
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from sklearn_cnn.classifier import CNNClassifier
from sklearn_cnn.fitting import read_pixels


def find_classifier(estimator: Any) -> CNNClassifier:
    """Look through searches and pipelines for the classifier that they end in.

    Parameters
    ----------
    estimator : CNNClassifier, Pipeline or search
        A fitted one; a search has refitted its best candidate.

    Returns
    -------
    CNNClassifier

    Raises
    ------
    TypeError
        If there is none at its end.
    NotFittedError
        If it is not fitted.
    """
    inner = _without_searches(estimator)
    last = _without_searches(inner[-1]) if isinstance(inner, Pipeline) else inner
    if not isinstance(last, CNNClassifier):
        raise TypeError(
            "estimator must be a fitted CNNClassifier, or a Pipeline or search that ends in one. "
            f"Got {type(estimator).__name__}."
        )
    check_is_fitted(last)
    return last


def find_images(estimator: Any, X: Any) -> np.ndarray:
    """Return images as the classifier at the end of a pipeline sees them.

    Parameters
    ----------
    estimator : CNNClassifier, Pipeline or search
        A fitted one.
    X : array-like
        What its ``predict`` takes.

    Returns
    -------
    ndarray of shape (n, height, width, channels), any real dtype
    """
    classifier, inner = find_classifier(estimator), _without_searches(estimator)
    if isinstance(inner, Pipeline) and len(inner) > 1:
        X = inner[:-1].transform(X)
    return read_pixels(classifier, X)


def choose_image(images: np.ndarray, image: Any) -> np.ndarray:
    """Return one of the images, still with the axis of images.

    Raises
    ------
    ValueError
        If there is no image of that number.
    """
    if not isinstance(image, int | np.integer) or not -len(images) <= image < len(images):
        raise ValueError(
            f"image must be the number of an image in X, from 0 to {len(images) - 1}. Got "
            f"image={image!r}."
        )
    return np.asarray(images[int(image) % len(images)])[np.newaxis]


def as_pictures(images: np.ndarray, classifier: CNNClassifier) -> np.ndarray:
    """Scale images to what matplotlib draws, by the range of the training images.

    Parameters
    ----------
    images : ndarray of shape (n, height, width, channels), any real dtype

    Returns
    -------
    ndarray of shape (n, height, width), or (n, height, width, 3 or 4), float64
        Between 0 and 1. Another number of channels is drawn as their mean.
    """
    low, high = classifier._pixel_scale.low, classifier._pixel_scale.high
    pictures = np.clip((images.astype(np.float64) - low) / max(high - low, 1e-12), 0, 1)
    return pictures if pictures.shape[-1] in (3, 4) else pictures.mean(axis=-1)


def check_display_labels(display_labels: Any, classes: np.ndarray) -> np.ndarray:
    """Return the names under which the classes are drawn, their labels where none are given.

    Raises
    ------
    ValueError
        If there are not as many names as classes.
    """
    if display_labels is None:
        return classes
    names = np.asarray(display_labels)
    if names.shape != classes.shape:
        raise ValueError(
            f"display_labels must have a name for each of the {len(classes)} classes, in the order "
            f"of classes_. Got {len(names)}."
        )
    return names


def _without_searches(estimator: Any) -> Any:
    while hasattr(estimator, "best_estimator_"):
        estimator = estimator.best_estimator_
    return estimator
