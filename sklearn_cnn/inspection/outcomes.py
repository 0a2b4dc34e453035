"""Predictions in words: a class, several labels, or numbers."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

Kind = Literal["classes", "labels", "numbers"]


@dataclass(frozen=True, eq=False)
class Outcomes:
    """The names of the outputs of a network, and the text of a prediction.

    Parameters
    ----------
    kind : {"classes", "labels", "numbers"}
        One of several classes, several labels, or numbers.
    keys : ndarray of shape (n_outputs,)
        Valid values of ``target``: the classes, or the indices of labels and numbers.
    names : ndarray of shape (n_outputs,)
        Names of the outputs in plots.
    """

    kind: Kind
    keys: np.ndarray
    names: np.ndarray

    @classmethod
    def named(cls, kind: Kind, keys: np.ndarray, display_labels: ArrayLike | None) -> "Outcomes":
        """Take the names from ``display_labels``, or from the keys.

        Raises
        ------
        ValueError
            If there is not one name for each key.
        """
        if display_labels is not None:
            names = np.asarray(display_labels)
        elif kind == "numbers" and len(keys) == 1:
            names = np.array(["prediction"])
        elif kind == "numbers":
            names = np.array([f"target {key}" for key in keys])
        else:
            names = keys
        if names.shape != keys.shape:
            each, order = {
                "classes": ("classes", ", in the order of classes_"),
                "labels": ("labels", ", in the order of the columns of y"),
                "numbers": ("targets", ", in the order of the columns of y"),
            }[kind]
            raise ValueError(
                f"display_labels must have one name for each of the {len(keys)} {each}{order}, in "
                f"shape {keys.shape}. Got an array of shape {names.shape}."
            )
        return cls(kind, keys, names)

    def choose(self, target: object, predictions: np.ndarray) -> int:
        """Return the index of the output ``target``; of the predicted one for None.

        Raises
        ------
        ValueError
            If the class, label or target does not exist.
        """
        if target is None:
            return 0 if self.kind == "numbers" else int(predictions.argmax())
        is_single = np.asarray(target).ndim == 0
        found = np.flatnonzero(self.keys == target) if is_single else np.arange(0)
        if not len(found):
            default = {
                "classes": "for the predicted class",
                "labels": "for the label with the highest probability",
                "numbers": "for the first",
            }[self.kind]
            raise ValueError(
                f"target must be None, {default}, or one of {', '.join(map(str, self.keys))}. Got "
                f"target={target!r}."
            )
        return int(found[0])

    def say(self, number: int, predictions: np.ndarray) -> str:
        """Return the name of an output with its prediction."""
        value = predictions[number]
        if self.kind == "numbers":
            return f"{self.names[number]}: {value:.4g}"
        return f"{self.names[number]} ({100 * value:.0f} %)"
