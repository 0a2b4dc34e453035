"""The target of a display: the estimator, its images, and its predictions."""

import os
from collections.abc import Collection, Iterable
from numbers import Integral
from pathlib import PurePath
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from sklearn_cnn.base import BaseCNN
from sklearn_cnn.classifier import CNNClassifier
from sklearn_cnn.inspection.outcomes import Outcomes
from sklearn_cnn.network.outputs import Source, flattened_source, layer_names
from sklearn_cnn.regressor import CNNRegressor


class Target:
    """The fitted classifier or regressor at the end of pipelines and searches.

    ``read`` takes the input of ``estimator.predict``. The other methods take images returned by
    ``read``, of shape (n, height, width, channels). Reading them again could transpose
    channels-first images, and a single image could seem to have another range.
    """

    def __init__(self, estimator: BaseEstimator) -> None:
        self.transformers, last = _take_apart(estimator)
        if not isinstance(last, CNNClassifier | CNNRegressor):
            ends = f", which ends in {type(last).__name__}" if self.transformers else ""
            before = self.transformers[-1][-1] if self.transformers else None
            if isinstance(before, BaseCNN):
                name = type(before).__name__
                ends += f". Without its last step, pipeline[:-1], it ends in a {name}"
            raise TypeError(
                "estimator must be a fitted CNNClassifier or CNNRegressor, or a Pipeline or search "
                f"that ends in one. Got {type(estimator).__name__}{ends}. "
                "MistakesDisplay.from_predictions takes the predictions of any estimator."
            )
        check_is_fitted(last)
        last._follow_parameters()
        self.learner, self.net = last, last.net_
        self.value_range = last.image_spec_.low, last.image_spec_.high

    def read(self, X: object) -> np.ndarray:
        """Return images in the form that the learner uses, of any real dtype."""
        for transformer in self.transformers:
            X = transformer.transform(X)
        return self.learner._images(X)

    def outcomes(self, display_labels: ArrayLike | None) -> Outcomes:
        """Return the possible predictions, with the display labels as names."""
        learner = self.learner
        if isinstance(learner, CNNRegressor):
            return Outcomes.named("numbers", np.arange(learner.n_outputs_), display_labels)
        kind: Literal["labels", "classes"] = "labels" if learner.multilabel_ else "classes"
        return Outcomes.named(kind, learner.classes_, display_labels)

    def predictions(self, images: np.ndarray) -> np.ndarray:
        """Compute probabilities (n, n_classes), or numbers (n, n_targets) in their units."""
        outputs, learner = self.net.outputs(images), self.learner
        if isinstance(learner, CNNRegressor):
            return learner.target_scale_.restore(outputs).reshape(len(images), -1)
        return self.net.objective.probabilities(outputs)

    def layer_outputs(self, image: np.ndarray) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """Compute the outputs of each layer for a single image, and its flattened maps."""
        rows = self.learner.layers_
        names = layer_names(rows)
        sources = [*map(Source, names), flattened_source(self.net.module_, rows)]
        *outputs, flattened = (values[0] for values in self.net.layer_outputs(image, sources))
        return dict(zip(names, outputs, strict=True)), flattened.ravel()

    def pictures(self, images: np.ndarray) -> np.ndarray:
        """Scale images for matplotlib, by the range seen during fit."""
        return as_pictures(images, *self.value_range)


def _take_apart(estimator: BaseEstimator) -> tuple[list[Pipeline], BaseEstimator]:
    """Return the transformers before the final estimator, and the final estimator."""
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
    """Scale images (n, height, width, channels) to values between 0 and 1, for matplotlib.

    3 and 4 channels are colours. Any other number of channels is averaged: (n, height, width).
    """
    pictures = np.clip((images.astype(np.float64) - low) / max(high - low, 1e-12), 0, 1)
    return pictures if pictures.shape[-1] in (3, 4) else pictures.mean(axis=-1)


def choose_images(images: np.ndarray, numbers: Iterable[object]) -> np.ndarray:
    """Return the images with the given indices, after checking each index."""
    chosen, n = [], len(images)
    for image in numbers:
        if not isinstance(image, Integral) or isinstance(image, bool) or not -n <= int(image) < n:
            raise ValueError(
                f"image must be the index of an image in X, from 0 to {n - 1}, or from -{n} to "
                f"-1 counted from the end. Got image={image!r}."
            )
        chosen.append(int(image))
    return images[chosen]


def find_file_names(X: Any) -> list[str] | None:
    """Return the paths in ``X`` as text; None if it holds anything else."""
    if hasattr(X, "columns"):
        if X.shape[1] != 1:
            return None
        X = X[X.columns[0]]
    elif isinstance(X, np.ndarray) and X.shape[1:] == (1,):
        X = X[:, 0]
    is_path = [isinstance(item, (str, os.PathLike)) for item in X]
    return [str(os.fspath(item)) for item in X] if all(is_path) else None


def name_images(X: Collection[object], numbers: Iterable[int]) -> list[str]:
    """Name some images of ``X`` by their files, or otherwise by their indices."""
    files = find_file_names(X)
    if files is None:
        return [f"X[{number % len(X)}]" for number in numbers]
    return [PurePath(files[number]).name for number in numbers]
