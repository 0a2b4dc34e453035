"""What a Display shows: the classifier, the images as it sees them, and what it makes of them."""

import os
from collections.abc import Collection, Iterable
from numbers import Integral
from pathlib import PurePath
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import softmax
from sklearn.base import BaseEstimator
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from sklearn_cnn.classifier import CNNClassifier
from sklearn_cnn.network.outputs import Source, flattened_source, layer_names


class Target:
    """The fitted classifier that pipelines and searches end in.

    ``read`` takes what ``estimator.predict`` takes. The other methods take images that were read,
    of shape (n, height, width, channels): read again, they might be turned where they come channels
    first, and one alone could look like another range.
    """

    def __init__(self, estimator: BaseEstimator) -> None:
        self.transformers, last = _take_apart(estimator)
        if not isinstance(last, CNNClassifier):
            ends = f", which ends in {type(last).__name__}" if self.transformers else ""
            if self.transformers and isinstance(self.transformers[-1][-1], CNNClassifier):
                ends += "; without its last step, pipeline[:-1], it ends in a CNNClassifier"
            raise TypeError(
                "estimator must be a fitted CNNClassifier, or a Pipeline or search that ends in "
                f"one. Got {type(estimator).__name__}{ends}."
            )
        check_is_fitted(last)
        last._follow_parameters()
        self.classifier, self.net = last, last.net_
        self.value_range = last.image_spec_.low, last.image_spec_.high

    def read(self, X: object) -> np.ndarray:
        """Return images as the classifier sees them, of any real dtype."""
        for transformer in self.transformers:
            X = transformer.transform(X)
        return self.classifier._images(X)

    def probabilities(self, images: np.ndarray) -> np.ndarray:
        """Compute what ``predict_proba`` gives."""
        return np.asarray(softmax(self.net.logits(images), axis=1))

    def outputs(self, image: np.ndarray) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """Compute what each layer gives of the only image, and what its maps are flattened to."""
        rows = self.classifier.layers_
        names = layer_names(rows)
        sources = [*map(Source, names), flattened_source(self.net.module_, rows)]
        *outputs, flattened = (values[0] for values in self.net.outputs(image, sources))
        return dict(zip(names, outputs, strict=True)), flattened.ravel()

    def pictures(self, images: np.ndarray) -> np.ndarray:
        """Scale images to what matplotlib draws, by the range that was seen at fit."""
        return as_pictures(images, *self.value_range)


def _take_apart(estimator: BaseEstimator) -> tuple[list[Pipeline], BaseEstimator]:
    """Return the transformers before the last step, and what pipelines and searches end in."""
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


def as_pictures(images: np.ndarray, low: float, high: float) -> np.ndarray:
    """Scale images (n, height, width, channels) to what matplotlib draws, between 0 and 1.

    3 and 4 channels are colours. Another number is drawn as their mean (n, height, width).
    """
    pictures = np.clip((images.astype(np.float64) - low) / max(high - low, 1e-12), 0, 1)
    return pictures if pictures.shape[-1] in (3, 4) else pictures.mean(axis=-1)


def choose_images(images: np.ndarray, numbers: Iterable[object]) -> np.ndarray:
    """Return the images of those numbers, after a look at each, for the error."""
    chosen, n = [], len(images)
    for image in numbers:
        if not isinstance(image, Integral) or isinstance(image, bool) or not -n <= int(image) < n:
            raise ValueError(
                f"image must be the number of an image in X, from 0 to {n - 1}, or from -{n} to "
                f"-1 counted from its end. Got image={image!r}."
            )
        chosen.append(int(image))
    return images[chosen]


def find_file_names(X: Any) -> list[str] | None:
    """Return the paths in ``X``, as text; None where it holds anything else."""
    if hasattr(X, "columns"):
        if X.shape[1] != 1:
            return None
        X = X[X.columns[0]]
    elif isinstance(X, np.ndarray) and X.shape[1:] == (1,):
        X = X[:, 0]
    is_path = [isinstance(item, (str, os.PathLike)) for item in X]
    return [str(os.fspath(item)) for item in X] if all(is_path) else None


def name_images(X: Collection[object], numbers: Iterable[int]) -> list[str]:
    """Name some images of ``X`` by their files, or otherwise by their positions from its start."""
    files = find_file_names(X)
    if files is None:
        return [f"X[{number % len(X)}]" for number in numbers]
    return [PurePath(files[number]).name for number in numbers]


def name_classes(display_labels: ArrayLike | None, classes: np.ndarray) -> np.ndarray:
    """Return the names under which the classes are drawn, their labels where none are given."""
    names = classes if display_labels is None else np.asarray(display_labels)
    if names.shape != classes.shape:
        raise ValueError(
            f"display_labels must have a name for each of the {len(classes)} classes, in the order "
            f"of classes_: shape {classes.shape}. Got an array of shape {names.shape}."
        )
    return names
