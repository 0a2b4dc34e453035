"""The outputs of a network for one image: maps, pooled maps, the vector, the probabilities."""

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator
from torch import nn

from sklearn_cnn._compat import check_matplotlib_support
from sklearn_cnn._messages import check_count, did_you_mean
from sklearn_cnn.inspection import panels
from sklearn_cnn.inspection.target import Target, choose_images

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap

# layers whose maps are shown by default: the first two of the four steps
STEPS = (nn.Conv2d, nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveMaxPool2d, nn.AdaptiveAvgPool2d)

GAP = 0.36  # inches between two rows, for the title of the lower one

MOST_CLASSES = 12  # maximum number of classes shown, those with the highest probabilities

LONGEST_NAME = 20  # letters of a class name that are shown if names are rotated
LETTERS_IN_LINE = 80  # letters of all names that fit if names are not rotated


class FeatureMapDisplay:
    """Feature map visualization of one image: convolution, pooling, flattening, full connection.

    It is recommended to use :meth:`from_estimator`. All parameters are stored as attributes.

    Each row shows the maps of a layer that vary most between pixels, in the order of their
    channels, with the channel numbers above them. Pooled maps show the same channels as the row
    above. Each map has its own scale, from its lowest value (dark) to its highest (bright).

    Parameters
    ----------
    image : ndarray of shape (height, width), or (height, width, 3 or 4), between 0 and 1
        The image, as drawn by matplotlib.
    maps : dict of str to ndarray of shape (height, width, channels)
        Feature maps of the layers, by layer name, in the order of computation.
    vector : ndarray of shape (values,)
        Output of the flattening layer.
    predictions : ndarray of shape (n_outputs,)
        Predictions of the network: probabilities, or target values.
    display_labels : ndarray of shape (n_outputs,)
        Names of the classes, labels or targets.
    title : {"probabilities", "predictions"}, default="probabilities"
        Kind of the predictions. Probabilities are drawn from 0 to 1.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes that contain all others.
    axes_ : dict of str to ndarray of matplotlib Axes
        Axes of each part: "input", the names of the layers, "vector", and "probabilities" or, for a
        regressor, "predictions".
    im_ : dict of str to ndarray of matplotlib AxesImage
        Images in these axes.
    bars_ : matplotlib BarContainer
        Bars of the predictions.
    figure_ : matplotlib Figure
        Figure that contains the axes.

    References
    ----------
    Zeiler and Fergus, "Visualizing and understanding convolutional networks", ECCV 2014.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn_cnn import CNNClassifier, FeatureMapDisplay
    >>> images, y = load_digits().images[:300], load_digits().target[:300]
    >>> classifier = CNNClassifier(16, max_epochs=2).fit(images, y)
    >>> display = FeatureMapDisplay.from_estimator(classifier, images, image=3)
    >>> list(display.axes_)
    ['input', 'conv1', 'pool1', 'vector', 'probabilities']
    """

    def __init__(
        self,
        image: np.ndarray,
        maps: Mapping[str, np.ndarray],
        vector: np.ndarray,
        predictions: np.ndarray,
        display_labels: np.ndarray,
        title: str = "probabilities",
    ) -> None:
        self.image = image
        self.maps = maps
        self.vector = vector
        self.predictions = predictions
        self.display_labels = display_labels
        self.title = title

    def plot(
        self,
        *,
        n_maps: int = 8,
        cmap: "str | Colormap" = "viridis",
        im_kw: Mapping[str, object] | None = None,
        ax: "Axes | None" = None,
    ) -> Self:
        """Plot the image, its feature maps, the vector and the predictions, from top to bottom.

        Parameters
        ----------
        n_maps : int, default=8
            Maximum number of maps to show per layer.
        cmap : str or matplotlib Colormap, default="viridis"
            Colormap of the maps and of the vector.
        im_kw : dict or None, default=None
            Keyword arguments passed to ``matplotlib.pyplot.imshow`` for the maps and the vector.
        ax : matplotlib Axes or None, default=None
            Axes to plot in. If None, a new figure is created.

        Returns
        -------
        display : FeatureMapDisplay
            Object that stores the computed values.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            If ``n_maps`` is not a whole number of at least 1.
        """
        check_count(n_maps, "n_maps")
        n_columns = min(n_maps, max((maps.shape[-1] for maps in self.maps.values()), default=1))
        strip = _as_strip(self.vector)
        heights = [1.3, *(1.15 for _ in self.maps), 0.35 + min(0.06 * len(strip), 1.2), 1.2]
        total = sum(heights) + GAP * len(heights)
        self.ax_ = panels.own_axes(ax, type(self).__name__, 9.0, total)
        self.figure_ = self.ax_.figure
        inches = self.ax_.get_window_extent().height / self.figure_.dpi
        size = 9 * min(1.0, max(0.5, inches / total))  # font size in user-defined axes
        top, *rows, below, bottom = panels.stack(self.ax_, heights, gap=GAP)

        (frame,) = panels.tile(top, 1, 1)
        picture = frame.imshow(self.image, cmap="gray", vmin=0, vmax=1)
        height, width = self.image.shape[:2]
        frame.set_title(f"input: {height} x {width}", fontsize=size)
        axes, images = {"input": [frame]}, {"input": [picture]}
        style = panels.image_style({"cmap": cmap}, im_kw)
        channels, before = np.arange(0), tuple[int, ...]()
        for row, (name, maps) in zip(rows, self.maps.items(), strict=True):
            height, width, n_channels = maps.shape
            is_pooled = before[-1:] == (n_channels,) and height * width < before[0] * before[1]
            if not is_pooled:  # which shows the same channels, smaller
                channels = _most_varied(maps, n_maps)
            before = maps.shape
            axes[name] = panels.tile(row, len(channels), n_columns, title=0.08)
            pairs = list(zip(axes[name], channels, strict=True))
            images[name] = [made.imshow(maps[..., channel], **style) for made, channel in pairs]
            for made, channel in pairs:
                made.set_title(str(channel), fontsize=size - 2, pad=2)
            few = "" if len(channels) == n_channels else f"{len(channels)} of "
            title = f"{name}: {height} x {width}, {few}{n_channels} maps"
            row.set_title(title, fontsize=size, pad=3)
        stretched = {"aspect": "auto", "interpolation": "nearest"} | style
        images["vector"] = [below.imshow(strip, **stretched)]
        below.set(xticks=[], yticks=[])
        below.set_title(f"flattened: {self.vector.size} values", fontsize=size)
        self._draw_predictions(bottom, size)
        axes |= {"vector": [below], self.title: [bottom]}
        self.axes_ = {name: panels.as_array(each) for name, each in axes.items()}
        self.im_ = {name: panels.as_array(each) for name, each in images.items()}
        return self

    def _draw_predictions(self, ax: "Axes", size: float) -> None:
        are_shares, n_outputs = self.title == "probabilities", len(self.predictions)
        heights = self.predictions if are_shares else np.abs(self.predictions)
        shown = np.sort(np.argsort(-heights, kind="stable")[:MOST_CLASSES])
        places, values = np.arange(len(shown)), self.predictions[shown]
        highest = are_shares & (shown == self.predictions.argmax())
        self.bars_ = ax.bar(places, values, color=np.where(highest, "C1", "C0").tolist())
        ax.set(xlim=(-0.6, len(shown) - 0.4))
        if are_shares:
            ax.set(ylim=(0, 1.15), yticks=[0, 1])
        else:
            ax.margins(y=0.25)
            ax.axhline(0, color="gray", linewidth=0.8)
            ax.locator_params(axis="y", nbins=3)
        ax.tick_params(labelsize=size - 1)
        room = max(LONGEST_NAME, LETTERS_IN_LINE // len(shown)) * panels.letter_width(8)
        names = [panels.shorten(str(self.display_labels[index]), room, 8) for index in shown]
        is_tight = max(map(len, names)) * len(names) > LETTERS_IN_LINE
        rotation, side = (30, "right") if is_tight else (0, "center")
        ax.set_xticks(places, names, rotation=rotation, ha=side, fontsize=size - 1)
        for place, value in enumerate(values):
            text = f"{value:.2f}" if are_shares else f"{value:.4g}"
            if value >= 0.005 or not are_shares:
                side = "bottom" if value >= 0 else "top"
                ax.annotate(
                    text,
                    (place, value),
                    (0, 1 if value >= 0 else -1),
                    textcoords="offset points",
                    ha="center",
                    va=side,
                    fontsize=size - 2,
                )
        which = "" if len(shown) == n_outputs else f", the highest {len(shown)} of {n_outputs}"
        ax.set_title(f"{self.title}{which}", fontsize=size)
        ax.spines[["top", "right"]].set_visible(False)

    @classmethod
    def from_estimator(
        cls,
        estimator: BaseEstimator,
        X: Collection[object],
        *,
        image: int = 0,
        layers: Sequence[str] | None = None,
        display_labels: ArrayLike | None = None,
        n_maps: int = 8,
        cmap: "str | Colormap" = "viridis",
        im_kw: Mapping[str, object] | None = None,
        ax: "Axes | None" = None,
    ) -> Self:
        """Plot the feature maps of one image from a fitted estimator.

        Parameters
        ----------
        estimator : CNNClassifier or CNNRegressor, or Pipeline or search that ends in one
            The fitted estimator.
        X : array-like
            Images, as ``estimator.predict`` takes them.
        image : int, default=0
            Index of the image in ``X``; -1 is the last.
        layers : sequence of str or None, default=None
            Names of layers with feature maps. If None, all convolution and pooling layers.
        display_labels : array-like of shape (n_outputs,) or None, default=None
            Names of the classes, in the order of ``classes_``, or of the labels or targets, in the
            order of the columns of ``y``. If None, the class labels or column indices are used.
        n_maps : int, default=8
            Maximum number of maps to show per layer.
        cmap : str or matplotlib Colormap, default="viridis"
            Colormap of the maps and of the vector.
        im_kw : dict or None, default=None
            Keyword arguments passed to ``matplotlib.pyplot.imshow`` for the maps and the vector.
        ax : matplotlib Axes or None, default=None
            Axes to plot in. If None, a new figure is created.

        Returns
        -------
        display : FeatureMapDisplay
            Object that stores the computed values.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        TypeError
            If ``estimator`` is not supported.
        ValueError
            If the image or a layer does not exist, or a class has no name.
        NotFittedError
            If ``estimator`` is not fitted.
        """
        check_matplotlib_support(f"{cls.__name__}.from_estimator")
        target = Target(estimator)
        outcomes = target.outcomes(display_labels)
        chosen = choose_images(target.read(X), [image])
        outputs, vector = target.layer_outputs(chosen)
        (picture,) = target.pictures(chosen)
        maps = {name: outputs[name] for name in _choose_layers(target.net.module_, outputs, layers)}
        (predictions,) = target.predictions(chosen)
        are_numbers = outcomes.kind == "numbers"
        title = "predictions" if are_numbers else "probabilities"
        display = cls(picture, maps, vector, predictions, outcomes.names, title)
        return display.plot(n_maps=n_maps, cmap=cmap, im_kw=im_kw, ax=ax)


def _choose_layers(
    network: nn.Module, outputs: Mapping[str, np.ndarray], layers: Sequence[str] | None
) -> list[str]:
    with_maps = [name for name, values in outputs.items() if values.ndim == 3]
    if layers is None:
        return [name for name in with_maps if isinstance(network.get_submodule(name), STEPS)]
    for name in layers:
        if name not in with_maps:
            raise ValueError(
                f"layers must hold names of layers with feature maps: {', '.join(with_maps)}. Got "
                f"{name!r}.{did_you_mean(name, with_maps)}"
            )
    return list(layers)


def _most_varied(maps: np.ndarray, n_maps: int) -> np.ndarray:
    """Return the channels that vary most between pixels, in their order."""
    return np.sort(np.argsort(-maps.std(axis=(0, 1)), kind="stable")[:n_maps])


def _as_strip(vector: np.ndarray) -> np.ndarray:
    """Break a vector into lines of at most 256 values, and pad the last line with NaN."""
    n_lines = -(-vector.size // 256)
    length = -(-vector.size // n_lines)
    strip = np.full(n_lines * length, np.nan)
    strip[: vector.size] = vector
    return strip.reshape(n_lines, length)
