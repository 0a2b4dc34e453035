"""The classifier that a Display is about, the images as it sees them, and what it makes of them."""

import os
from collections.abc import Sized
from numbers import Integral
from pathlib import PurePath
from typing import Any

import numpy as np
from scipy.special import softmax
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from sklearn_cnn.classifier import CNNClassifier
from sklearn_cnn.fitting import follow_parameters, read_pixels
from sklearn_cnn.network.outputs import Source, flattened_source, layer_names


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
    transformers, last = _take_apart(estimator)
    if not isinstance(last, CNNClassifier):
        raise TypeError(
            "estimator must be a fitted CNNClassifier, or a Pipeline or search that ends in one. "
            f"Got {type(estimator).__name__}{_where_it_ends(transformers, last)}."
        )
    check_is_fitted(last)
    follow_parameters(last)
    return last


def _where_it_ends(transformers: list[Any], last: Any) -> str:
    if not transformers:
        return ""
    where = f", which ends in {type(last).__name__}"
    if isinstance(transformers[-1][-1], CNNClassifier):
        where += "; without its last step, pipeline[:-1], it ends in a CNNClassifier"
    return where


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
    classifier = find_classifier(estimator)
    transformers, _ = _take_apart(estimator)
    for transformer in transformers:
        X = transformer.transform(X)
    return read_pixels(classifier, X)


def choose_image(images: np.ndarray, image: Any) -> np.ndarray:
    """Return one of the images, still with the axis of images.

    Raises
    ------
    ValueError
        If there is no image of that number.
    """
    is_number = isinstance(image, Integral) and not isinstance(image, bool)
    if not is_number or not -len(images) <= image < len(images):
        raise ValueError(
            f"image must be the number of an image in X, from 0 to {len(images) - 1}, or from "
            f"-{len(images)} to -1 counted from its end. Got image={image!r}."
        )
    return np.asarray(images[int(image)])[np.newaxis]


def choose_images(images: np.ndarray, image: Any) -> np.ndarray:
    """Return one or several of the images, with the axis of images.

    Raises
    ------
    ValueError
        If there is no image of such a number, or no number.
    """
    has_length = isinstance(image, Sized) and not isinstance(image, str)
    numbers: Any = image if has_length and getattr(image, "shape", None) != () else [image]
    chosen = [choose_image(images, number) for number in numbers]
    if not chosen:
        raise ValueError(f"image must be the number of an image, or several. Got image={image!r}.")
    return np.concatenate(chosen)


def find_file_names(X: Any) -> list[str] | None:
    """Return the paths in ``X``, as text; None where it holds anything else.

    Parameters
    ----------
    X : array-like
        What the ``predict`` of a pipeline takes.
    """
    if hasattr(X, "columns"):
        if X.shape[1] != 1:
            return None
        X = X[X.columns[0]]
    elif isinstance(X, np.ndarray) and X.shape[1:] == (1,):
        X = X[:, 0]
    is_path = [isinstance(item, (str, os.PathLike)) for item in X]
    return [str(os.fspath(item)) for item in X] if all(is_path) else None


def name_images(X: Any, numbers: Any) -> list[str]:
    """Name some images of ``X`` by their files, or else by their positions from its start."""
    files = find_file_names(X)
    if files is None:
        return [f"X[{number % len(X)}]" for number in numbers]
    return [PurePath(files[number]).name for number in numbers]


def find_probabilities(classifier: CNNClassifier, images: np.ndarray) -> np.ndarray:
    """Compute what ``predict_proba`` gives, of images that were read before.

    They would be read otherwise the second time where they come channels first.

    Parameters
    ----------
    images : ndarray of shape (n, height, width, channels), any real dtype

    Returns
    -------
    ndarray of shape (n, n_classes), float64
    """
    return np.asarray(softmax(classifier._logits_of(images), axis=1))


def find_outputs(
    classifier: CNNClassifier, image: np.ndarray
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Compute what ``feature_maps`` gives, of an image that was read before.

    Parameters
    ----------
    image : ndarray of shape (1, height, width, channels), any real dtype

    Returns
    -------
    outputs : dict of str to ndarray of shape (height, width, channels) or (values,)
        What each layer gives, by its name, in their order.
    flattened : ndarray of shape (values,)
        What the maps are flattened to.
    """
    names, network = layer_names(classifier.layers_), classifier.net_.module_
    sources = [*map(Source, names), flattened_source(network, classifier.layers_)]
    *outputs, flattened = (values[0] for values in classifier._outputs_of(image, sources))
    return dict(zip(names, outputs, strict=True)), flattened.ravel()


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


def scale_pictures(images: np.ndarray) -> np.ndarray:
    """Scale images of unknown range to what matplotlib draws.

    Parameters
    ----------
    images : ndarray of shape (n, height, width) or (n, height, width, channels), any real dtype

    Returns
    -------
    ndarray of shape (n, height, width), or (n, height, width, 3 or 4), float64
        Between 0 and 1: gray images by their range; colours as they are where they are fractions,
        of 255 where they are bytes, and otherwise by their range. Another number of channels is
        drawn as their mean.
    """
    has_colours = images.ndim == 4 and images.shape[-1] in (3, 4)
    pictures = images.astype(np.float64)
    low, high = float(pictures.min()), float(pictures.max())
    if has_colours and images.dtype == np.uint8:
        low, high = 0.0, 255.0
    elif has_colours and low >= 0 and high <= 1:
        low, high = 0.0, 1.0
    pictures = (pictures - low) / max(high - low, 1e-12)
    return pictures if has_colours or images.ndim == 3 else pictures.mean(axis=-1)


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
            f"of classes_: shape {classes.shape}. Got an array of shape {names.shape}."
        )
    return names


def _take_apart(estimator: Any) -> tuple[list[Pipeline], Any]:
    """Return the transformers in front, and what the pipelines and searches end in."""
    transformers: list[Pipeline] = []
    while True:
        if hasattr(estimator, "error_score") or hasattr(estimator, "best_estimator_"):  # a search
            message = "This %(name)s has no best_estimator_. Call fit, with refit=True."
            check_is_fitted(estimator, "best_estimator_", msg=message)
            estimator = estimator.best_estimator_
        elif isinstance(estimator, Pipeline):
            if len(estimator) > 1:
                transformers.append(estimator[:-1])
            estimator = estimator[-1]
        else:
            return transformers, estimator
