"""The most confident mistakes of a classifier, or the largest errors of a regressor."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike
from scipy.sparse import issparse
from sklearn.base import BaseEstimator
from sklearn.utils import column_or_1d

from sklearn_cnn._compat import check_matplotlib_support
from sklearn_cnn._messages import check_count
from sklearn_cnn.inspection import panels
from sklearn_cnn.inspection.outcomes import Outcomes
from sklearn_cnn.inspection.target import Target, as_pictures, find_file_names

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap

AROUND = len(" taken for")  # letters next to the name of a class
MOST_LETTERS = 40  # letters of a line that fit in a new figure


class Mistakes(NamedTuple):
    """Mistakes of predictions, in descending order of error."""

    rows: np.ndarray
    """Indices of their images."""

    true: Sequence[str]
    predicted: Sequence[str]

    confidence: np.ndarray | None
    """Probabilities of the predictions; None for numbers."""


class MistakesDisplay:
    """Visualization of the worst mistakes, with true values, predictions and confidence.

    For classes, the worst mistakes are those that the classifier is most confident about. With
    several labels per image, the label with the largest error counts. For numbers, the worst
    mistakes have the largest absolute errors, in standard deviations if there are several targets.

    It is recommended to use :meth:`from_estimator` or :meth:`from_predictions`. All parameters are
    stored as attributes.

    Parameters
    ----------
    images : sequence of ndarray of shape (height, width), or (height, width, 3 or 4)
        Images of the worst mistakes, as drawn by matplotlib, the worst first.
    y_true, y_pred : array-like of shape (n_shown,)
        Names of the true and predicted classes, or the true and predicted numbers.
    confidence : array-like of shape (n_shown,) or None
        Probability of each prediction, between 0 and 1. None for numbers.
    n_mistakes, n_images : int
        Total number of mistakes, including those not shown, and of images.
    file_names : sequence of str or None, default=None
        Paths of the image files. Titles show the file name.

    Attributes
    ----------
    indices_ : ndarray of shape (n_shown,), int
        Indices of the mistakes in ``X``, or in the ``images`` of :meth:`from_predictions`. Only
        defined by the two class methods.
    ax_ : matplotlib Axes
        Axes that contain the tiles.
    axes_ : ndarray of matplotlib Axes
        One tile per mistake.
    im_ : ndarray of matplotlib AxesImage
        Images in the tiles.
    figure_ : matplotlib Figure
        Figure that contains the axes.

    See Also
    --------
    sklearn.metrics.ConfusionMatrixDisplay : Confusion matrix visualization.
    sklearn.metrics.PredictionErrorDisplay : Predicted values against true values.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn_cnn import CNNClassifier, MistakesDisplay
    >>> images, y = load_digits().images, load_digits().target
    >>> classifier = CNNClassifier(16, max_epochs=2, random_state=0).fit(images[:300], y[:300])
    >>> display = MistakesDisplay.from_estimator(classifier, images[300:], y[300:])
    >>> display.n_images
    1497
    """

    indices_: np.ndarray

    def __init__(
        self,
        images: Sequence[np.ndarray] | np.ndarray,
        y_true: Collection[object],
        y_pred: Collection[object],
        confidence: Collection[float] | None,
        n_mistakes: int,
        n_images: int,
        file_names: Sequence[str] | None = None,
    ) -> None:
        self.images = images
        self.y_true = y_true
        self.y_pred = y_pred
        self.confidence = confidence
        self.n_mistakes = n_mistakes
        self.n_images = n_images
        self.file_names = file_names

    def plot(
        self,
        *,
        cmap: "str | Colormap" = "gray",
        im_kw: Mapping[str, object] | None = None,
        ax: "Axes | None" = None,
    ) -> Self:
        """Plot the images, the worst first.

        Parameters
        ----------
        cmap : str or matplotlib Colormap, default="gray"
            Colormap of grayscale images.
        im_kw : dict or None, default=None
            Keyword arguments passed to ``matplotlib.pyplot.imshow``.
        ax : matplotlib Axes or None, default=None
            Axes to plot in. If None, a new figure is created.

        Returns
        -------
        display : MistakesDisplay
            Object that stores the computed values.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        """
        n_shown = len(self.images)
        n_columns = min(6, max(1, int(np.ceil(np.sqrt(1.5 * n_shown)))))
        heads, names = self._heads(), [*map(str, self.y_true), *map(str, self.y_pred)]
        n_letters = max([*map(len, heads), *(len(name) + AROUND for name in names)], default=0)
        width = max(1.6, panels.letter_width(9) * min(n_letters, MOST_LETTERS))
        inches = max(4, width * n_columns), 2.2 * max(1, -(-n_shown // n_columns)) + 0.5
        self.ax_ = panels.own_axes(ax, type(self).__name__, *inches)
        self.figure_ = self.ax_.figure
        tiles, pictures = panels.tile(self.ax_, n_shown, n_columns, title=0.24), []
        width = panels.width_in_inches(self.ax_) / n_columns
        most = max(AROUND, min(n_letters, 8 + AROUND))
        size = min(8, 8 * width / (panels.letter_width(8) * most))
        room = width - AROUND * panels.letter_width(size)
        are_numbers = self.confidence is None
        shares = [None] * n_shown if self.confidence is None else self.confidence
        for made, image, head, true, predicted, share in zip(
            tiles, self.images, heads, self.y_true, self.y_pred, shares, strict=True
        ):
            style = {"cmap": cmap} | ({"vmin": 0, "vmax": 1} if np.ndim(image) == 2 else {})
            pictures.append(made.imshow(image, **panels.image_style(style, im_kw)))
            true, predicted = (panels.shorten(str(name), room, size) for name in (true, predicted))
            lines = [panels.shorten(head, width, size)] if head else []
            if share is None:
                lines += [f"{true},", f"predicted {predicted}"]
            else:
                lines += [f"{true} taken for", f"{predicted} ({100 * share:.0f} %)"]
            made.set_title("\n".join(lines), fontsize=size, pad=3)
        which = "all" if n_shown == self.n_mistakes else f"the worst {n_shown} of"
        which = f"{which} {self.n_mistakes}" if self.n_mistakes else "no"
        text = (
            f"{which} predictions" if are_numbers else f"{which} mistakes on {self.n_images} images"
        )
        panels.set_title(self.ax_, text)
        self.axes_, self.im_ = panels.as_array(tiles), panels.as_array(pictures)
        return self

    def _heads(self) -> list[str]:
        """Return the file name or index in ``X`` of each image, if known."""
        if self.file_names is not None:
            return [Path(name).name for name in self.file_names]
        if hasattr(self, "indices_"):
            return [f"X[{index}]" for index in self.indices_]
        return [""] * len(self.images)

    @classmethod
    def from_estimator(
        cls,
        estimator: BaseEstimator,
        X: Collection[object],
        y: ArrayLike,
        *,
        n_shown: int = 18,
        display_labels: ArrayLike | None = None,
        cmap: "str | Colormap" = "gray",
        im_kw: Mapping[str, object] | None = None,
        ax: "Axes | None" = None,
    ) -> Self:
        """Plot the worst mistakes of a fitted estimator.

        Parameters
        ----------
        estimator : CNNClassifier or CNNRegressor, or Pipeline or search that ends in one
            The fitted estimator.
        X : array-like
            Images, as ``estimator.predict`` takes them. If they are paths, titles are the file
            names, and otherwise the indices, such as ``X[17]``.
        y : array-like of shape (n,), (n, n_labels) or (n, n_targets)
            True values: labels, an indicator matrix, or numbers.
        n_shown : int, default=18
            Maximum number of mistakes to show.
        display_labels : array-like of shape (n_outputs,) or None, default=None
            Names of the classes, in the order of ``classes_``, or of the labels or targets, in the
            order of the columns of ``y``. If None, the class labels or column indices are used.
        cmap : str or matplotlib Colormap, default="gray"
            Colormap of grayscale images.
        im_kw : dict or None, default=None
            Keyword arguments passed to ``matplotlib.pyplot.imshow``.
        ax : matplotlib Axes or None, default=None
            Axes to plot in. If None, a new figure is created.

        Returns
        -------
        display : MistakesDisplay
            Object that stores the computed values.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        TypeError
            If ``estimator`` is not supported.
        ValueError
            If ``y`` does not match ``X`` or has labels unknown to the classifier, or a parameter is
            out of range.
        NotFittedError
            If ``estimator`` is not fitted.
        """
        check_matplotlib_support(f"{cls.__name__}.from_estimator")
        target = Target(estimator)
        images = target.read(X)
        outcomes, predictions = target.outcomes(display_labels), target.predictions(images)
        files = find_file_names(X)
        display = cls._of_worst(
            images, target.value_range, y, predictions, outcomes, n_shown, files
        )
        return display.plot(cmap=cmap, im_kw=im_kw, ax=ax)

    @classmethod
    def from_predictions(
        cls,
        images: ArrayLike,
        y_true: ArrayLike,
        y_pred: ArrayLike,
        *,
        classes: ArrayLike | None = None,
        n_shown: int = 18,
        display_labels: ArrayLike | None = None,
        file_names: Iterable[object] | None = None,
        cmap: "str | Colormap" = "gray",
        im_kw: Mapping[str, object] | None = None,
        ax: "Axes | None" = None,
    ) -> Self:
        """Plot the worst mistakes of given predictions, such as those of a cross-validation.

        Parameters
        ----------
        images : array-like of shape (n, height, width) or (n, height, width, channels)
            Images, of any real dtype. Colours of type uint8, or from 0 to 1, are drawn unchanged.
            Other colours and grayscale images are scaled by their range. If the number of channels
            is not 1, 3 or 4, their mean is drawn.
        y_true : array-like of shape (n,), (n, n_labels) or (n, n_targets)
            True values: labels, an indicator matrix, or numbers.
        y_pred : array-like of shape (n, n_classes), (n, n_labels), (n,) or (n, n_targets)
            Probabilities of classes or labels, as returned by
            :func:`sklearn.model_selection.cross_val_predict` with ``method="predict_proba"``, or
            predicted numbers in the shape of ``y_true``, which must then be floating point.
        classes : array-like of shape (n_classes,) or None, default=None
            Class labels of the columns of ``y_pred``. If None, the sorted labels in ``y_true``.
        n_shown : int, default=18
            Maximum number of mistakes to show.
        display_labels : array-like of shape (n_classes,) or None, default=None
            Names of the classes, in the order of ``classes``. If None, the class labels are used.
        file_names : array-like of shape (n,) or None, default=None
            Paths of the image files, for the titles. If None, titles are the indices.
        cmap : str or matplotlib Colormap, default="gray"
            Colormap of grayscale images.
        im_kw : dict or None, default=None
            Keyword arguments passed to ``matplotlib.pyplot.imshow``.
        ax : matplotlib Axes or None, default=None
            Axes to plot in. If None, a new figure is created.

        Returns
        -------
        display : MistakesDisplay
            Object that stores the computed values.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            If the arguments do not match, or a parameter is out of range.
        """
        check_matplotlib_support(f"{cls.__name__}.from_predictions")
        images, predictions = np.asarray(images), np.asarray(y_pred)
        if images.ndim not in (3, 4) or images.dtype.kind not in "buif":
            raise ValueError(
                "images must hold pixels, of shape (n, height, width) or (n, height, width, "
                f"channels). Got an array of shape {images.shape} and dtype {images.dtype}. Read "
                "files with ImageReader(size=64).transform(paths), and pass file_names=paths."
            )
        if images.ndim == 3:
            images = images[..., np.newaxis]
        value_range = _range_to_draw(images)
        if len(images) != len(predictions):
            raise ValueError(
                f"images and y_pred must have the same length. Got {len(images)} images and "
                f"{len(predictions)} predictions."
            )
        outcomes = _outcomes_of(np.asarray(y_true), predictions, classes, display_labels)
        files = None if file_names is None else list(file_names)
        if outcomes.kind == "numbers":
            predictions = predictions.reshape(len(predictions), -1)
        display = cls._of_worst(images, value_range, y_true, predictions, outcomes, n_shown, files)
        return display.plot(cmap=cmap, im_kw=im_kw, ax=ax)

    @classmethod
    def _of_worst(
        cls,
        images: np.ndarray,
        value_range: tuple[float, float],
        y_true: ArrayLike,
        predictions: np.ndarray,
        outcomes: Outcomes,
        n_shown: int,
        file_names: Sequence[object] | None,
    ) -> Self:
        check_count(n_shown, "n_shown")
        n_images = len(predictions)
        if file_names is not None and len(file_names) != n_images:
            raise ValueError(
                f"file_names must have one name for each of the {n_images} images. Got "
                f"{len(file_names)}."
            )
        find = {"classes": _wrong_classes, "labels": _wrong_labels, "numbers": _errors}
        found = find[outcomes.kind](y_true, predictions, outcomes)
        worst = found.rows[:n_shown]
        display = cls(
            as_pictures(images[worst], *value_range),
            found.true[:n_shown],
            found.predicted[:n_shown],
            None if found.confidence is None else found.confidence[:n_shown],
            len(found.rows),
            n_images,
            None if file_names is None else [str(file_names[row]) for row in worst],
        )
        display.indices_ = worst
        return display


def _outcomes_of(
    y_true: np.ndarray,
    predictions: np.ndarray,
    classes: ArrayLike | None,
    display_labels: ArrayLike | None,
) -> Outcomes:
    """Infer the kind of the predictions from their shapes."""
    is_matrix = y_true.ndim == 2 and y_true.shape[1] > 1
    if is_matrix and np.isin(y_true, (0, 1)).all():
        return Outcomes.named("labels", np.arange(y_true.shape[1]), display_labels)
    if is_matrix or (y_true.dtype.kind == "f" and predictions.ndim == 1):
        n_targets = y_true.shape[1] if is_matrix else 1
        return Outcomes.named("numbers", np.arange(n_targets), display_labels)
    keys = np.unique(y_true) if classes is None else np.asarray(classes)
    return Outcomes.named("classes", keys, display_labels)


def _wrong_classes(y_true: ArrayLike, predictions: np.ndarray, outcomes: Outcomes) -> Mistakes:
    """Find the images with a wrong class, the most confident first."""
    true = _numbers_of(column_or_1d(y_true), outcomes.keys)
    if predictions.shape != (len(true), len(outcomes.keys)):
        raise ValueError(
            f"There must be one label and {len(outcomes.keys)} probabilities for each image. Got "
            f"{len(true)} labels, and probabilities of shape {predictions.shape}. If y does not "
            "contain all classes, pass them all as classes=. If y holds numbers instead of "
            "classes, pass them as floats."
        )
    predicted, confidence = predictions.argmax(axis=1), predictions.max(axis=1)
    wrong = np.flatnonzero(predicted != true)
    rows = wrong[np.argsort(-confidence[wrong], kind="stable")]
    names = outcomes.names
    return Mistakes(rows, names[true[rows]], names[predicted[rows]], confidence[rows])


def _wrong_labels(y_true: ArrayLike, predictions: np.ndarray, outcomes: Outcomes) -> Mistakes:
    """Find the images with a wrong label, the largest error first."""
    true = _matrix_like(y_true, predictions) > 0
    error = np.where(true, 1 - predictions, predictions)
    labels, largest = error.argmax(axis=1), error.max(axis=1)
    wrong = np.flatnonzero(((predictions > 0.5) != true).any(axis=1))
    rows = wrong[np.argsort(-largest[wrong], kind="stable")]
    has, names = true[rows, labels[rows]], outcomes.names[labels[rows]]
    pairs = [(f"{name}", f"no {name}") for name in names]
    texts = [pair if has_it else pair[::-1] for pair, has_it in zip(pairs, has, strict=True)]
    return Mistakes(rows, [a for a, _ in texts], [b for _, b in texts], largest[rows])


def _errors(y_true: ArrayLike, predictions: np.ndarray, outcomes: Outcomes) -> Mistakes:
    """Order all images by the error of their numbers, the largest first."""
    true = _matrix_like(y_true, predictions).astype(np.float64)
    unit = true.std(axis=0)
    error = np.abs(predictions - true) / np.where(unit > 0, unit, 1.0)
    targets, rows = error.argmax(axis=1), np.argsort(-error.max(axis=1), kind="stable")
    one = len(outcomes.keys) == 1
    names = ["" if one else f"{outcomes.names[target]}: " for target in targets]
    shown = [(names[row], true[row, targets[row]], predictions[row, targets[row]]) for row in rows]
    true_texts = [f"{name}{value:.4g}" for name, value, _ in shown]
    return Mistakes(rows, true_texts, [f"{value:.4g}" for *_, value in shown], None)


def _matrix_like(y_true: Any, predictions: np.ndarray) -> np.ndarray:
    """Return the true values in the shape of the predictions."""
    true = y_true.toarray() if issparse(y_true) else np.asarray(y_true)
    true = true.reshape(len(true), -1)
    if true.shape != predictions.shape:
        raise ValueError(
            f"y must have the shape of the predictions, {predictions.shape}. Got {true.shape}."
        )
    return true


def _range_to_draw(images: np.ndarray) -> tuple[float, float]:
    """Return the values drawn darkest and brightest in images of unknown range.

    Colours of type uint8, or from 0 to 1, are drawn unchanged.
    """
    low, high = float(images.min()), float(images.max())
    has_colours = images.shape[-1] in (3, 4)
    if has_colours and images.dtype == np.uint8:
        return 0.0, 255.0
    if has_colours and low >= 0 and high <= 1:
        return 0.0, 1.0
    return low, high


def _numbers_of(labels: np.ndarray, classes: np.ndarray) -> np.ndarray:
    numbers = {label: number for number, label in enumerate(classes.tolist())}
    unknown = list(dict.fromkeys(label for label in labels.tolist() if label not in numbers))
    if unknown:
        raise ValueError(
            f"y has labels that are not in classes: {', '.join(map(repr, unknown[:5]))}. "
            f"The classes are {', '.join(map(repr, classes[:20].tolist()))}."
        )
    return np.array([numbers[label] for label in labels.tolist()], dtype=int)
