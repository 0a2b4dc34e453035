"""The meaning of a network's outputs: their loss in training, their score, and the predictions.

An objective is a plain value. Its targets are an array with one row per image, and its outputs an
array of shape (n, n_outputs).
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from math import log
from typing import ClassVar

import numpy as np
import torch
from scipy.special import expit, softmax
from sklearn.metrics import r2_score
from skorch.utils import to_numpy
from torch import nn
from torch.nn import functional

LOSSES: dict[str, Callable[..., torch.Tensor]] = {
    "squared_error": functional.mse_loss,
    "absolute_error": functional.l1_loss,
    "huber": functional.huber_loss,
}
"""Losses of numbers: (outputs, targets, reduction) -> losses. Huber is linear above 1."""


@dataclass(frozen=True)
class Objective(ABC):
    """Learning objective of a network with ``n_outputs`` outputs.

    Parameters
    ----------
    n_outputs : int
        Number of outputs.
    """

    n_outputs: int

    estimator_type: ClassVar[str]
    """Type of the net for scikit-learn: "classifier" or "regressor"."""

    guess: ClassVar[str]
    """Predictions of a network that has learnt nothing, for a warning."""

    score_names: ClassVar[tuple[str, ...]] = ()
    """Additional names of the validation score in skorch."""

    @property
    def classes(self) -> np.ndarray | list[np.ndarray]:
        """Classes of the targets, for scikit-learn's scorers.

        Raises
        ------
        AttributeError
            If the targets are not classes.
        """
        raise AttributeError("The net of a regressor has no classes_.")

    @property
    @abstractmethod
    def criterion(self) -> "partial[nn.Module]":
        """Function that makes the module (outputs, targets) -> losses of shape (n,)."""

    @abstractmethod
    def loss_of_guess(self, targets: np.ndarray, weights: np.ndarray) -> float:
        """Return the weighted mean loss of a network that has learnt nothing."""

    @abstractmethod
    def decide(self, outputs: np.ndarray) -> np.ndarray:
        """Convert outputs to predictions in the form of targets."""

    @abstractmethod
    def score(self, outputs: np.ndarray, targets: np.ndarray, weights: np.ndarray | None) -> float:
        """Return the weighted score of outputs; higher is better."""

    def probabilities(self, outputs: np.ndarray) -> np.ndarray:
        """Convert outputs to probabilities, or return them for a regressor."""
        return outputs

    def interpret(self, outputs: torch.Tensor) -> torch.Tensor:
        """Convert outputs to probabilities, as the nonlinearity of skorch."""
        return torch.from_numpy(self.probabilities(to_numpy(outputs).astype(np.float64)))


@dataclass(frozen=True)
class OneClass(Objective):
    """One of several classes per image. Targets are class indices of shape (n,), int64.

    Parameters
    ----------
    n_outputs : int
        Number of classes.
    label_smoothing : float
        Fraction of the target probability that is spread over all classes.
    """

    label_smoothing: float

    estimator_type = "classifier"
    guess = "predicting the same probability for all classes"
    score_names = ("valid_acc",)

    @property
    def classes(self) -> np.ndarray:
        """The class indices."""
        return np.arange(self.n_outputs)

    @property
    def criterion(self) -> "partial[nn.Module]":
        """Cross-entropy."""
        loss: type[nn.Module] = nn.CrossEntropyLoss
        return partial(loss, reduction="none", label_smoothing=self.label_smoothing)

    def loss_of_guess(self, targets: np.ndarray, weights: np.ndarray) -> float:
        """Return the logarithm of the number of classes."""
        return log(self.n_outputs)

    def decide(self, outputs: np.ndarray) -> np.ndarray:
        """Return the class with the highest output."""
        return np.asarray(outputs.argmax(axis=1))

    def score(self, outputs: np.ndarray, targets: np.ndarray, weights: np.ndarray | None) -> float:
        """Return the accuracy."""
        return float(np.average(self.decide(outputs) == targets, weights=weights))

    def probabilities(self, outputs: np.ndarray) -> np.ndarray:
        """Return the probability of each class."""
        return np.asarray(softmax(outputs, axis=1))


@dataclass(frozen=True)
class SeveralLabels(Objective):
    """Several labels per image. Targets are an indicator matrix (n, n_labels), float32.

    Parameters
    ----------
    n_outputs : int
        Number of labels.
    label_smoothing : float
        Fraction by which each target moves towards 0.5.
    absent, present : tuple of float or None
        Weight of each label in the loss for images without and with it; None for 1.
    """

    label_smoothing: float
    absent: tuple[float, ...] | None = None
    present: tuple[float, ...] | None = None

    estimator_type = "classifier"
    guess = "predicting the probability 0.5 for each label"

    @property
    def classes(self) -> list[np.ndarray]:
        """Two classes for each label; the indices of two labels would look like two classes."""
        return [np.arange(2)] * self.n_outputs

    @property
    def criterion(self) -> "partial[nn.Module]":
        """Binary cross-entropy, averaged over the labels."""
        loss: type[nn.Module] = LossOfLabels
        return partial(
            loss,
            label_smoothing=self.label_smoothing,
            absent=self.absent,
            present=self.present,
        )

    def loss_of_guess(self, targets: np.ndarray, weights: np.ndarray) -> float:
        """Return log 2, times the mean weight of the labels."""
        if self.absent is None or self.present is None:
            return log(2)
        of_labels = np.where(targets > 0, self.present, self.absent).mean(axis=1)
        return log(2) * float(np.average(of_labels, weights=weights))

    def decide(self, outputs: np.ndarray) -> np.ndarray:
        """Return the labels whose probability is above 0.5."""
        return (outputs > 0).astype(np.int64)

    def score(self, outputs: np.ndarray, targets: np.ndarray, weights: np.ndarray | None) -> float:
        """Return the fraction of images whose labels are all correct."""
        return float(np.average((self.decide(outputs) == targets).all(axis=1), weights=weights))

    def probabilities(self, outputs: np.ndarray) -> np.ndarray:
        """Return the probability of each label."""
        return np.asarray(expit(outputs))


@dataclass(frozen=True)
class Numbers(Objective):
    """One or several numbers per image. Targets are standardised, of shape (n, n_targets).

    Parameters
    ----------
    n_outputs : int
        Number of targets.
    loss : {"squared_error", "absolute_error", "huber"}
        Loss of a target, in units of its standard deviation.
    """

    loss: str

    estimator_type = "regressor"
    guess = "predicting the mean of y"

    @property
    def criterion(self) -> "partial[nn.Module]":
        """Loss averaged over the targets."""
        loss: type[nn.Module] = LossOfNumbers
        return partial(loss, loss=self.loss)

    def loss_of_guess(self, targets: np.ndarray, weights: np.ndarray) -> float:
        """Return the loss of predicting zeros, which are the means."""
        numbers = torch.from_numpy(targets)
        losses = self.criterion()(torch.zeros_like(numbers), numbers).numpy()
        return float(np.average(losses, weights=weights))

    def decide(self, outputs: np.ndarray) -> np.ndarray:
        """Return the outputs unchanged."""
        return outputs

    def score(self, outputs: np.ndarray, targets: np.ndarray, weights: np.ndarray | None) -> float:
        """Return R2, averaged over the targets."""
        return float(r2_score(targets, outputs, sample_weight=weights))


class LossOfLabels(nn.Module):
    """Binary cross-entropy of logits and an indicator matrix, averaged over the labels.

    Parameters
    ----------
    label_smoothing : float
        Fraction by which each target moves towards 0.5.
    absent, present : sequence of float or None
        Weights of the labels for target 0 and 1.
    """

    absent: torch.Tensor | None
    present: torch.Tensor | None

    def __init__(
        self,
        label_smoothing: float,
        absent: tuple[float, ...] | None,
        present: tuple[float, ...] | None,
    ) -> None:
        super().__init__()
        self.label_smoothing = label_smoothing
        for name, weights in (("absent", absent), ("present", present)):
            self.register_buffer(name, None if weights is None else torch.tensor(weights))

    def forward(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Return losses of shape (n,) for outputs and targets of shape (n, n_labels)."""
        targets = targets.to(outputs.dtype)
        smooth = targets + self.label_smoothing * (0.5 - targets)
        losses = functional.binary_cross_entropy_with_logits(outputs, smooth, reduction="none")
        if self.absent is not None and self.present is not None:
            losses = losses * torch.where(targets > 0, self.present, self.absent)
        return losses.mean(dim=1)


class LossOfNumbers(nn.Module):
    """Loss of numbers and standardised targets, averaged over the targets.

    Parameters
    ----------
    loss : {"squared_error", "absolute_error", "huber"}
        Name of the loss.
    """

    def __init__(self, loss: str) -> None:
        super().__init__()
        self.loss = loss

    def forward(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Return losses of shape (n,) for outputs and targets of shape (n, n_targets)."""
        targets = targets.to(outputs.dtype)
        return LOSSES[self.loss](outputs, targets, reduction="none").mean(dim=1)
