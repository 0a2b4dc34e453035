"""Training curve: loss, validation score and learning rate of each epoch."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Self

import numpy as np
from sklearn.base import BaseEstimator

from sklearn_cnn._compat import check_matplotlib_support
from sklearn_cnn.inspection.panels import as_array, own_axes, stack
from sklearn_cnn.inspection.target import Target
from sklearn_cnn.training.callbacks import rank_of_epoch

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLORS = {"training loss": "C0", "validation score": "C1", "learning rate": "C2"}


class TrainingCurveDisplay:
    """Training curve visualization: loss, validation score and learning rate of each epoch.

    It is recommended to use :meth:`from_estimator`. All parameters are stored as attributes.

    Parameters
    ----------
    loss : array-like of shape (n_epochs,)
        Training loss of each epoch.
    validation_score : array-like of shape (n_last_epochs,) or None, default=None
        Score on the held-out images in the last epochs. None without early stopping.
    learning_rate : array-like of shape (n_epochs,) or None, default=None
        Learning rate at the end of each epoch.
    best_epoch : int or None, default=None
        Epoch whose weights were kept, counted from 1. If None, it is not marked.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes that contain the panels.
    axes_ : ndarray of matplotlib Axes
        One panel per curve.
    lines_ : ndarray of matplotlib Line2D
        Curves in the panels.
    figure_ : matplotlib Figure
        Figure that contains the axes.

    See Also
    --------
    sklearn.model_selection.LearningCurveDisplay : Score against the number of training samples.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn_cnn import CNNClassifier, TrainingCurveDisplay
    >>> images, y = load_digits().images[:300], load_digits().target[:300]
    >>> classifier = CNNClassifier(16, max_epochs=3, early_stopping=True).fit(images, y)
    >>> display = TrainingCurveDisplay.from_estimator(classifier)
    >>> [ax.get_ylabel() for ax in display.axes_]
    ['training loss', 'validation score', 'learning rate']
    """

    def __init__(
        self,
        loss: Sequence[float] | np.ndarray,
        validation_score: Sequence[float] | np.ndarray | None = None,
        learning_rate: Sequence[float] | np.ndarray | None = None,
        best_epoch: int | None = None,
    ) -> None:
        self.loss = loss
        self.validation_score = validation_score
        self.learning_rate = learning_rate
        self.best_epoch = best_epoch

    def plot(
        self, *, ax: "Axes | None" = None, line_kw: Mapping[str, object] | None = None
    ) -> Self:
        """Plot the curves.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            Axes to plot in. If None, a new figure is created.
        line_kw : dict or None, default=None
            Keyword arguments passed to ``matplotlib.pyplot.plot``.

        Returns
        -------
        display : TrainingCurveDisplay
            Object that stores the computed values.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        """
        given = zip(COLORS, (self.loss, self.validation_score, self.learning_rate), strict=True)
        curves = {name: values for name, values in given if values is not None}
        heights = [0.6 if name == "learning rate" else 1.0 for name in curves]
        self.ax_ = own_axes(ax, type(self).__name__, 6.4, 1.2 + 1.8 * sum(heights))
        self.figure_ = self.ax_.figure
        panels, lines, n_epochs = stack(self.ax_, heights, gap=0.12), [], len(self.loss)
        for panel, (name, values) in zip(panels, curves.items(), strict=True):
            epochs = np.arange(n_epochs - len(values) + 1, n_epochs + 1)
            marker = "." if n_epochs <= 30 else None
            (line,) = panel.plot(epochs, values, color=COLORS[name], marker=marker)
            line.set(**(line_kw or {}))
            lines.append(line)
            panel.set(ylabel=name, xlim=(0.5, n_epochs + 0.5))
            panel.grid(alpha=0.3)
            panel.tick_params(labelbottom=panel is panels[-1])
            panel.locator_params(axis="x", integer=True, min_n_ticks=1)
            if name == "validation score" and self.best_epoch is not None:
                score = values[self.best_epoch - epochs[0]]
                label = f"best: {score:.4f} in epoch {self.best_epoch}"
                panel.axvline(self.best_epoch, color="gray", linestyle=":", label=label)
                panel.legend(loc="lower right")
        panels[-1].set_xlabel("epoch")
        self.axes_, self.lines_ = as_array(panels), as_array(lines)
        return self

    @classmethod
    def from_estimator(
        cls,
        estimator: BaseEstimator,
        *,
        ax: "Axes | None" = None,
        line_kw: Mapping[str, object] | None = None,
    ) -> Self:
        """Plot the training curve of a fitted estimator.

        Parameters
        ----------
        estimator : CNNClassifier or CNNRegressor, or Pipeline or search that ends in one
            The fitted estimator.
        ax : matplotlib Axes or None, default=None
            Axes to plot in. If None, a new figure is created.
        line_kw : dict or None, default=None
            Keyword arguments passed to ``matplotlib.pyplot.plot``.

        Returns
        -------
        display : TrainingCurveDisplay
            Object that stores the computed values.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        TypeError
            If ``estimator`` is not supported.
        NotFittedError
            If ``estimator`` is not fitted.
        """
        check_matplotlib_support(f"{cls.__name__}.from_estimator")
        learner = Target(estimator).learner
        epochs, losses = list(learner.history_), list(learner.loss_curve_)
        rates, scores = np.full(len(losses), np.nan), learner.validation_scores_
        for epoch in epochs:  # the history forgets the first of many calls of partial_fit
            rates[epoch["epoch"] - 1] = epoch["learning_rate"]
        best = None if scores is None else max(epochs[-len(scores) :], key=rank_of_epoch)["epoch"]
        return cls(losses, scores, rates, best).plot(ax=ax, line_kw=line_kw)
