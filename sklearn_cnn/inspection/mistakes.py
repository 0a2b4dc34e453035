"""The images that a classifier is surest about, and wrong."""

from pathlib import Path
from typing import Any

import numpy as np
from sklearn.utils import column_or_1d

from sklearn_cnn._compat import check_matplotlib_support
from sklearn_cnn._messages import check_count
from sklearn_cnn.inspection.panels import (
    as_array,
    image_style,
    letter_width,
    own_axes,
    set_title,
    shorten,
    tile,
    width_in_inches,
)
from sklearn_cnn.inspection.target import (
    as_pictures,
    check_display_labels,
    find_classifier,
    find_file_names,
    find_images,
    find_probabilities,
    scale_pictures,
)

AROUND = len(" taken for")
"""Letters that stand beside the name of a class."""

MOST_LETTERS = 40
"""Letters of a line for which a new figure has room."""


class MistakesDisplay:
    """The worst mistakes: their images, true labels, predictions and confidence.

    It is recommended to use :meth:`from_estimator` or :meth:`from_predictions`. All parameters are
    stored as attributes.

    Parameters
    ----------
    images : sequence of ndarray of shape (height, width), or (height, width, 3 or 4)
        The images of the worst mistakes as matplotlib draws them, the worst first.
    y_true, y_pred : array-like of shape (n_shown,)
        Names of their true and predicted classes.
    confidence : array-like of shape (n_shown,)
        Probability of the predicted class, between 0 and 1.
    n_mistakes, n_images : int
        How many mistakes there are, shown or not, among how many images.
    file_names : sequence of str or None, default=None
        Paths of their files, of which the titles have the last part.

    Attributes
    ----------
    indices_ : ndarray of shape (n_shown,), int
        Their positions in ``X``, or among the ``images`` of :meth:`from_predictions`, which alone
        set it.
    ax_ : matplotlib Axes
        The frame around the tiles.
    axes_ : ndarray of matplotlib Axes
        A tile for each mistake.
    im_ : ndarray of matplotlib AxesImage
        Their pictures.
    figure_ : matplotlib Figure
        The figure.

    See Also
    --------
    sklearn.metrics.ConfusionMatrixDisplay : Which class is taken for which, and how often.

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
        images: Any,
        y_true: Any,
        y_pred: Any,
        confidence: Any,
        n_mistakes: int,
        n_images: int,
        file_names: Any = None,
    ) -> None:
        self.images = images
        self.y_true = y_true
        self.y_pred = y_pred
        self.confidence = confidence
        self.n_mistakes = n_mistakes
        self.n_images = n_images
        self.file_names = file_names

    def plot(
        self, *, cmap: Any = "gray", im_kw: dict[str, Any] | None = None, ax: Any = None
    ) -> Any:
        """Draw the images, the worst first.

        Parameters
        ----------
        cmap : str or matplotlib Colormap, default="gray"
            Colours of gray images.
        im_kw : dict or None, default=None
            Keywords of ``matplotlib.pyplot.imshow``.
        ax : matplotlib Axes or None, default=None
            Where to draw; None makes a new figure.

        Returns
        -------
        display : MistakesDisplay
            This object.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        """
        n_shown = len(self.images)
        n_columns = min(6, max(1, int(np.ceil(np.sqrt(1.5 * n_shown)))))
        n_rows = max(1, -(-n_shown // n_columns))
        heads, names = self._heads(), [*map(str, self.y_true), *map(str, self.y_pred)]
        n_letters = max(
            [len(head) for head in heads] + [len(name) + AROUND for name in names], default=0
        )
        width = max(1.6, letter_width(9) * min(n_letters, MOST_LETTERS))
        self.ax_ = own_axes(ax, type(self).__name__, max(4, width * n_columns), 2.2 * n_rows + 0.5)
        self.figure_ = self.ax_.figure
        tiles, pictures = tile(self.ax_, n_shown, n_columns, title=0.24), []
        width = width_in_inches(self.ax_) / n_columns
        size = min(8, 8 * width / (letter_width(8) * max(AROUND, min(n_letters, 8 + AROUND))))
        for made, image, head, true, predicted, confidence in zip(
            tiles, self.images, heads, self.y_true, self.y_pred, self.confidence, strict=True
        ):
            style = {"cmap": cmap} | ({"vmin": 0, "vmax": 1} if np.ndim(image) == 2 else {})
            pictures.append(made.imshow(image, **image_style(style, im_kw)))
            room = width - AROUND * letter_width(size)
            true, predicted = (shorten(str(name), room, size) for name in (true, predicted))
            lines = [f"{true} taken for", f"{predicted} ({100 * confidence:.0f} %)"]
            if head:
                lines.insert(0, shorten(head, width, size))
            made.set_title("\n".join(lines), fontsize=size, pad=3)
        which = "all" if n_shown == self.n_mistakes else f"the worst {n_shown} of"
        which = f"{which} {self.n_mistakes}" if self.n_mistakes else "no"
        set_title(self.ax_, f"{which} mistakes on {self.n_images} images")
        self.axes_, self.im_ = as_array(tiles), as_array(pictures)
        return self

    def _heads(self) -> list[str]:
        """Say which image each is: its file, or where it stands in ``X``, as far as is known."""
        if self.file_names is not None:
            return [Path(name).name for name in self.file_names]
        if hasattr(self, "indices_"):
            return [f"X[{index}]" for index in self.indices_]
        return [""] * len(self.images)

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        y: Any,
        *,
        n_shown: int = 18,
        display_labels: Any = None,
        cmap: Any = "gray",
        im_kw: dict[str, Any] | None = None,
        ax: Any = None,
    ) -> "MistakesDisplay":
        """Draw the worst mistakes of a fitted classifier.

        Parameters
        ----------
        estimator : CNNClassifier, or Pipeline or search that ends in one
            A fitted one.
        X : array-like
            Images, as ``estimator.predict`` takes them. Titles name the files where they are
            paths, and otherwise the positions, as ``X[17]``.
        y : array-like of shape (n,)
            Their true labels.
        n_shown : int, default=18
            How many mistakes to show, at most.
        display_labels : array-like of shape (n_classes,) or None, default=None
            Names of the classes, in the order of ``classes_``; None for their labels.
        cmap : str or matplotlib Colormap, default="gray"
            Colours of gray images.
        im_kw : dict or None, default=None
            Keywords of ``matplotlib.pyplot.imshow``.
        ax : matplotlib Axes or None, default=None
            Where to draw; None makes a new figure.

        Returns
        -------
        MistakesDisplay

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        TypeError
            If ``estimator`` is something else.
        ValueError
            If ``y`` does not go with ``X`` or has labels that the classifier does not know, or a
            parameter is out of range.
        NotFittedError
            If it is not fitted.
        """
        check_matplotlib_support(f"{cls.__name__}.from_estimator")
        classifier = find_classifier(estimator)
        images = find_images(estimator, X)
        return cls._from_images(
            lambda rows: as_pictures(images[rows], classifier),
            y,
            find_probabilities(classifier, images),
            classes=classifier.classes_,
            n_shown=n_shown,
            display_labels=display_labels,
            file_names=find_file_names(X),
            plot_kw={"cmap": cmap, "im_kw": im_kw, "ax": ax},
        )

    @classmethod
    def from_predictions(
        cls,
        images: Any,
        y_true: Any,
        y_proba: Any,
        *,
        classes: Any = None,
        n_shown: int = 18,
        display_labels: Any = None,
        file_names: Any = None,
        cmap: Any = "gray",
        im_kw: dict[str, Any] | None = None,
        ax: Any = None,
    ) -> "MistakesDisplay":
        """Draw the worst mistakes among predictions, such as those of a cross-validation.

        Parameters
        ----------
        images : array-like of shape (n, height, width) or (n, height, width, channels)
            The images, of any real dtype. Colours are drawn as they are where they are bytes, or
            fractions from 0 to 1; others, and gray images, are scaled by their range. Another
            number of channels than 1, 3 or 4 is drawn as their mean.
        y_true : array-like of shape (n,)
            Their true labels.
        y_proba : array-like of shape (n, n_classes)
            Probabilities, as :func:`sklearn.model_selection.cross_val_predict` gives them with
            ``method="predict_proba"``.
        classes : array-like of shape (n_classes,) or None, default=None
            Labels of the columns of ``y_proba``; None for the sorted ones of ``y_true``.
        n_shown : int, default=18
            How many mistakes to show, at most.
        display_labels : array-like of shape (n_classes,) or None, default=None
            Names of the classes, in the order of ``classes``; None for their labels.
        file_names : array-like of shape (n,) or None, default=None
            Paths of the images' files, for the titles; None for their positions.
        cmap : str or matplotlib Colormap, default="gray"
            Colours of gray images.
        im_kw : dict or None, default=None
            Keywords of ``matplotlib.pyplot.imshow``.
        ax : matplotlib Axes or None, default=None
            Where to draw; None makes a new figure.

        Returns
        -------
        MistakesDisplay

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            If the arguments do not go together, or a parameter is out of range.
        """
        check_matplotlib_support(f"{cls.__name__}.from_predictions")
        pictures = scale_pictures(np.asarray(images))
        labels = np.unique(np.asarray(y_true)) if classes is None else np.asarray(classes)
        if len(pictures) != len(np.asarray(y_proba)):
            raise ValueError(
                f"images and y_proba must have the same length. Got {len(pictures)} images and "
                f"{len(np.asarray(y_proba))} rows of probabilities."
            )
        return cls._from_images(
            lambda rows: pictures[rows],
            y_true,
            y_proba,
            classes=labels,
            n_shown=n_shown,
            display_labels=display_labels,
            file_names=None if file_names is None else list(file_names),
            plot_kw={"cmap": cmap, "im_kw": im_kw, "ax": ax},
        )

    @classmethod
    def _from_images(
        cls,
        pictures_of: Any,
        y_true: Any,
        y_proba: Any,
        *,
        classes: np.ndarray,
        n_shown: int,
        display_labels: Any,
        file_names: Any,
        plot_kw: dict[str, Any],
    ) -> "MistakesDisplay":
        check_count(n_shown, "n_shown")
        names = check_display_labels(display_labels, classes)
        probabilities = np.asarray(y_proba)
        true = _numbers_of(column_or_1d(y_true), classes)
        if probabilities.shape != (len(true), len(classes)):
            raise ValueError(
                f"There must be a label and a row of {len(classes)} probabilities for each image. "
                f"Got {len(true)} labels, and probabilities of shape {probabilities.shape}. Where "
                "some class has no label here, name all of them with classes=."
            )
        if file_names is not None and len(file_names) != len(true):
            raise ValueError(
                f"file_names must have a name for each of the {len(true)} images. Got "
                f"{len(file_names)}."
            )
        predicted, confidence = probabilities.argmax(axis=1), probabilities.max(axis=1)
        wrong = np.flatnonzero(predicted != true)
        worst = wrong[np.argsort(-confidence[wrong], kind="stable")][:n_shown]
        if file_names is not None:
            file_names = [str(file_names[row]) for row in worst]
        display = cls(
            pictures_of(worst),
            names[true[worst]],
            names[predicted[worst]],
            confidence[worst],
            len(wrong),
            len(true),
            file_names,
        )
        display.indices_ = worst
        display.plot(**plot_kw)
        return display


def _numbers_of(labels: np.ndarray, classes: np.ndarray) -> np.ndarray:
    numbers = {label: number for number, label in enumerate(classes.tolist())}
    unknown = list(dict.fromkeys(label for label in labels.tolist() if label not in numbers))
    if unknown:
        raise ValueError(
            f"y has labels that are not among the classes: {', '.join(map(repr, unknown[:5]))}. "
            f"The classes are {', '.join(map(repr, classes[:20].tolist()))}."
        )
    return np.array([numbers[label] for label in labels.tolist()], dtype=int)
