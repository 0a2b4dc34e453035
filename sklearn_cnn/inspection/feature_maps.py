"""One image on its way through the network: maps, pooled maps, the vector, the probabilities."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from torch import nn

from sklearn_cnn._compat import check_matplotlib_support
from sklearn_cnn._messages import check_count, did_you_mean
from sklearn_cnn.inspection.panels import (
    as_array,
    letter_width,
    own_axes,
    shorten,
    stack,
    tile,
)
from sklearn_cnn.inspection.target import (
    as_pictures,
    check_display_labels,
    choose_image,
    find_classifier,
    find_images,
    find_outputs,
    find_probabilities,
)

STEPS = (
    nn.Conv2d,
    nn.MaxPool2d,
    nn.AvgPool2d,
    nn.AdaptiveMaxPool2d,
    nn.AdaptiveAvgPool2d,
)
"""Layers whose maps are shown unless others are named: the first two of the four steps."""

GAP = 0.36
"""Height between two rows, in inches, for the title of the lower one."""

MOST_CLASSES = 12
"""How many probabilities are shown, at most; the highest of them."""

LONGEST_NAME, LETTERS_IN_LINE = 20, 80
"""Letters of a class's name that are shown, at most, where names are turned; letters of all names
for which there is room where they are not."""


class FeatureMapDisplay:
    """One image through the four steps: convolution, pooling, flattening, full connection.

    It is recommended to use :meth:`from_estimator`. All parameters are stored as attributes.

    A row of maps holds those that differ most from pixel to pixel, in the order of the channels,
    whose numbers stand above them; below it stand the same channels while the maps only shrink.
    Each map has a scale of its own, from its lowest value (dark) to its highest (bright).

    Parameters
    ----------
    image : ndarray of shape (height, width), or (height, width, 3 or 4), between 0 and 1
        The image as matplotlib draws it.
    maps : dict of str to ndarray of shape (height, width, channels)
        What the layers give, by their names, in the order in which they run.
    vector : ndarray of shape (values,)
        What flattening gives.
    probabilities : ndarray of shape (n_classes,)
        What the network predicts.
    display_labels : ndarray of shape (n_classes,)
        Names of the classes.

    Attributes
    ----------
    ax_ : matplotlib Axes
        The frame around all.
    axes_ : dict of str to ndarray of matplotlib Axes
        Those of the parts: "input", the layers by their names, "vector", "probabilities".
    im_ : dict of str to ndarray of matplotlib AxesImage
        Their pictures.
    bars_ : matplotlib BarContainer
        The probabilities.
    figure_ : matplotlib Figure
        The figure.

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
        probabilities: np.ndarray,
        display_labels: np.ndarray,
    ) -> None:
        self.image = image
        self.maps = maps
        self.vector = vector
        self.probabilities = probabilities
        self.display_labels = display_labels

    def plot(
        self,
        *,
        n_maps: int = 8,
        cmap: Any = "viridis",
        im_kw: dict[str, Any] | None = None,
        ax: Any = None,
    ) -> Any:
        """Draw the image, its maps, the vector and the probabilities, from top to bottom.

        Parameters
        ----------
        n_maps : int, default=8
            Maps of a layer, at most.
        cmap : str or matplotlib Colormap, default="viridis"
            Colours of the maps and of the vector.
        im_kw : dict or None, default=None
            Keywords of ``matplotlib.pyplot.imshow`` for them.
        ax : matplotlib Axes or None, default=None
            Where to draw; None makes a new figure.

        Returns
        -------
        display : FeatureMapDisplay
            This object.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            If ``n_maps`` is no count.
        """
        check_count(n_maps, "n_maps")
        n_columns = min(n_maps, max((maps.shape[-1] for maps in self.maps.values()), default=1))
        style = {"cmap": cmap} | (im_kw or {})
        strip = _as_strip(self.vector)
        strip_height = 0.35 + min(0.06 * len(strip), 1.2)
        heights = [1.3, *(1.15 for _ in self.maps), strip_height, 1.2]
        total = sum(heights) + GAP * len(heights)
        self.ax_ = own_axes(ax, type(self).__name__, 9.0, total)
        self.figure_ = self.ax_.figure
        inches = self.ax_.get_window_extent().height / self.figure_.dpi
        size = 9 * min(1.0, max(0.5, inches / total))  # letters in axes that are given
        top, *rows, below, bottom = stack(self.ax_, heights, gap=GAP)

        (frame,) = tile(top, 1, 1)
        self.axes_ = {"input": as_array([frame])}
        self.im_ = {"input": as_array([frame.imshow(self.image, cmap="gray", vmin=0, vmax=1)])}
        height, width = self.image.shape[:2]
        frame.set_title(f"input: {height} x {width}", fontsize=size)
        chosen, before = np.arange(0), tuple[int, ...]()
        for row, (name, maps) in zip(rows, self.maps.items(), strict=True):
            if not _is_shrunk(maps.shape, before):
                chosen = _most_varied(maps, n_maps)
            self._draw_maps(row, name, maps, chosen, n_columns, style, size)
            before = maps.shape
        stretched = {"aspect": "auto", "interpolation": "nearest"} | style
        self.im_["vector"] = as_array([below.imshow(strip, **stretched)])
        below.set(xticks=[], yticks=[])
        below.set_title(f"flattened: {self.vector.size} values", fontsize=size)
        self._draw_probabilities(bottom, size)
        self.axes_ |= {"vector": as_array([below]), "probabilities": as_array([bottom])}
        return self

    def _draw_maps(
        self,
        row: Any,
        name: str,
        maps: np.ndarray,
        chosen: np.ndarray,
        n_columns: int,
        style: dict[str, Any],
        size: float,
    ) -> None:
        height, width, n_channels = maps.shape
        tiles = tile(row, len(chosen), n_columns, title=0.08)
        images = []
        for made, channel in zip(tiles, chosen, strict=True):
            images.append(made.imshow(maps[..., channel], **style))
            made.set_title(str(channel), fontsize=size - 2, pad=2)
        few = "" if len(chosen) == n_channels else f"{len(chosen)} of "
        row.set_title(f"{name}: {height} x {width}, {few}{n_channels} maps", fontsize=size, pad=3)
        self.axes_[name], self.im_[name] = as_array(tiles), as_array(images)

    def _draw_probabilities(self, ax: Any, size: float) -> None:
        shown = np.sort(np.argsort(-self.probabilities, kind="stable")[:MOST_CLASSES])
        places = np.arange(len(shown))
        winner = self.probabilities.argmax()
        colors = ["C1" if index == winner else "C0" for index in shown]
        self.bars_ = ax.bar(places, self.probabilities[shown], color=colors)
        ax.set(ylim=(0, 1.15), yticks=[0, 1], xlim=(-0.6, len(shown) - 0.4))
        ax.tick_params(labelsize=size - 1)
        room = max(LONGEST_NAME, LETTERS_IN_LINE // len(shown)) * letter_width(8)
        names = [shorten(str(self.display_labels[index]), room, 8) for index in shown]
        is_tight = max(map(len, names)) * len(names) > LETTERS_IN_LINE
        ax.set_xticks(places, names, rotation=30 if is_tight else 0, fontsize=size - 1)
        if is_tight:
            for label in ax.get_xticklabels():
                label.set_horizontalalignment("right")
        for place, index in zip(places, shown, strict=True):
            if self.probabilities[index] >= 0.005:
                text = f"{self.probabilities[index]:.2f}"
                ax.text(
                    place, self.probabilities[index] + 0.02, text, ha="center", fontsize=size - 2
                )
        n_classes = len(self.probabilities)
        which = "" if len(shown) == n_classes else f", the highest {len(shown)} of {n_classes}"
        ax.set_title(f"probabilities{which}", fontsize=size)
        ax.spines[["top", "right"]].set_visible(False)

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        *,
        image: int = 0,
        layers: Sequence[str] | None = None,
        display_labels: Any = None,
        n_maps: int = 8,
        cmap: Any = "viridis",
        im_kw: dict[str, Any] | None = None,
        ax: Any = None,
    ) -> "FeatureMapDisplay":
        """Draw the way of one image through a fitted classifier.

        Parameters
        ----------
        estimator : CNNClassifier, or Pipeline or search that ends in one
            A fitted one.
        X : array-like
            Images, as ``estimator.predict`` takes them.
        image : int, default=0
            Which of them; -1 is the last.
        layers : sequence of str or None, default=None
            Names of layers that give maps; None for all convolutions and poolings.
        display_labels : array-like of shape (n_classes,) or None, default=None
            Names of the classes, in the order of ``classes_``; None for their labels.
        n_maps : int, default=8
            Maps of a layer, at most.
        cmap : str or matplotlib Colormap, default="viridis"
            Colours of the maps and of the vector.
        im_kw : dict or None, default=None
            Keywords of ``matplotlib.pyplot.imshow`` for them.
        ax : matplotlib Axes or None, default=None
            Where to draw; None makes a new figure.

        Returns
        -------
        FeatureMapDisplay

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        TypeError
            If ``estimator`` is something else.
        ValueError
            If there is no such image or layer, or not a name for each class.
        NotFittedError
            If it is not fitted.
        """
        check_matplotlib_support(f"{cls.__name__}.from_estimator")
        classifier = find_classifier(estimator)
        names = check_display_labels(display_labels, classifier.classes_)
        chosen = choose_image(find_images(estimator, X), image)
        given, flattened = find_outputs(classifier, chosen)
        display = cls(
            as_pictures(chosen, classifier)[0],
            {name: given[name] for name in _choose_layers(classifier, given, layers)},
            flattened,
            find_probabilities(classifier, chosen)[0],
            names,
        )
        display.plot(n_maps=n_maps, cmap=cmap, im_kw=im_kw, ax=ax)
        return display


def _choose_layers(
    classifier: Any, given: Mapping[str, np.ndarray], layers: Sequence[str] | None
) -> list[str]:
    with_maps = [name for name, values in given.items() if values.ndim == 3]
    if layers is None:
        network = classifier.net_.module_
        return [name for name in with_maps if isinstance(network.get_submodule(name), STEPS)]
    for name in layers:
        if name not in with_maps:
            raise ValueError(
                f"layers must hold names of layers that give maps: {', '.join(with_maps)}. Got "
                f"{name!r}.{did_you_mean(name, with_maps)}"
            )
    return list(layers)


def _most_varied(maps: np.ndarray, n_maps: int) -> np.ndarray:
    """Return the channels that differ most from pixel to pixel, in their order."""
    return np.sort(np.argsort(-maps.std(axis=(0, 1)), kind="stable")[:n_maps])


def _is_shrunk(shape: tuple[int, ...], before: tuple[int, ...]) -> bool:
    """Tell whether maps of as many channels have become smaller, as pooling makes them."""
    return shape[-1:] == before[-1:] and shape[0] * shape[1] < before[0] * before[1]


def _as_strip(vector: np.ndarray) -> np.ndarray:
    """Break a vector into lines of at most 256 values; the last is filled up with nothing."""
    n_lines = -(-vector.size // 256)
    length = -(-vector.size // n_lines)
    strip = np.full(n_lines * length, np.nan)
    strip[: vector.size] = vector
    return strip.reshape(n_lines, length)
