"""What a fitted classifier predicts: labels, probabilities, the network's outputs."""

from typing import Any

import numpy as np
from scipy.special import log_softmax, softmax
from sklearn.metrics import accuracy_score
from sklearn.utils.validation import check_is_fitted

from sklearn_cnn.fitting import images_at_once, read_pixels
from sklearn_cnn.pixels.arrays import to_host
from sklearn_cnn.training.labels import plain_labels
from sklearn_cnn.training.net import ConvNet
from sklearn_cnn.training.prediction import predict_logits


class PredictionMixin:
    """``predict`` and its relatives, for a class that has fitted ``net_`` and ``classes_``."""

    classes_: np.ndarray
    net_: ConvNet
    _chunk: int

    def predict(self, X: Any) -> np.ndarray:
        """Predict the label of each image.

        Parameters
        ----------
        X : array-like of shape (n, H, W), (n, H, W, C), (n, C, H, W) or (n, features)
            Images of the shape and range seen at fit, in that layout or another.

        Returns
        -------
        ndarray of shape (n,)
            Labels, each from ``classes_``.

        Raises
        ------
        NotFittedError
            If ``fit`` was not called before.
        ValueError, TypeError
            If ``X`` holds no images of the shape and range seen at fit.
        """
        winners = self._logits(X).argmax(axis=1)
        labels: np.ndarray = self.classes_[winners]
        return labels

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Return the share of images whose label is predicted right.

        Parameters
        ----------
        X : array-like
            Images, as for ``predict``.
        y : array-like of shape (n,)
            Their labels, of any type that ``fit`` takes.
        sample_weight : array-like of shape (n,) or None, default=None
            How much each image counts.

        Returns
        -------
        float
            0 to 1.

        Raises
        ------
        NotFittedError
            If ``fit`` was not called before.
        ValueError, TypeError
            If ``X`` holds no images of the shape and range seen at fit, or ``y`` no labels.
        """
        predicted = self.predict(X)
        labels = y if y is None else plain_labels(y)
        return float(accuracy_score(labels, predicted, sample_weight=to_host(sample_weight)))

    def predict_proba(self, X: Any) -> np.ndarray:
        """Predict the probability of each class for each image.

        Parameters
        ----------
        X : array-like of shape (n, H, W), (n, H, W, C), (n, C, H, W) or (n, features)
            Images of the shape and range seen at fit, in that layout or another.

        Returns
        -------
        ndarray of shape (n, n_classes), float64
            Between 0 and 1; rows sum to 1; columns follow ``classes_``.

        Raises
        ------
        NotFittedError
            If ``fit`` was not called before.
        ValueError, TypeError
            If ``X`` holds no images of the shape and range seen at fit.
        """
        return np.asarray(softmax(self._logits(X), axis=1))

    def predict_log_proba(self, X: Any) -> np.ndarray:
        """Predict the logarithm of the probability of each class for each image.

        Parameters
        ----------
        X : array-like of shape (n, H, W), (n, H, W, C), (n, C, H, W) or (n, features)
            Images of the shape and range seen at fit, in that layout or another.

        Returns
        -------
        ndarray of shape (n, n_classes), float64
            At most 0; columns follow ``classes_``.

        Raises
        ------
        NotFittedError
            If ``fit`` was not called before.
        ValueError, TypeError
            If ``X`` holds no images of the shape and range seen at fit.
        """
        return np.asarray(log_softmax(self._logits(X), axis=1))

    def decision_function(self, X: Any) -> np.ndarray:
        """Compute the network's outputs, before they become probabilities.

        Parameters
        ----------
        X : array-like of shape (n, H, W), (n, H, W, C), (n, C, H, W) or (n, features)
            Images of the shape and range seen at fit, in that layout or another.

        Returns
        -------
        ndarray of shape (n, n_classes), or (n,) for two classes, float64
            Logits; for two classes, that of ``classes_[1]`` less that of ``classes_[0]``, which
            is positive where ``classes_[1]`` is predicted.

        Raises
        ------
        NotFittedError
            If ``fit`` was not called before.
        ValueError, TypeError
            If ``X`` holds no images of the shape and range seen at fit.
        """
        logits = self._logits(X)
        return logits[:, 1] - logits[:, 0] if len(self.classes_) == 2 else logits

    def _logits(self, X: Any) -> np.ndarray:
        check_is_fitted(self)
        return self._logits_of(read_pixels(self, X))

    def _logits_of(self, images: np.ndarray) -> np.ndarray:
        """Compute logits of images that were read before."""
        return predict_logits(self.net_.module_, images, self._chunk, images_at_once(self))
