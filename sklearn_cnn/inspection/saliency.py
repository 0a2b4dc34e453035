"""Which pixels the prediction of an image rests on."""

from collections.abc import Callable
from typing import Any

import numpy as np

from sklearn_cnn._compat import check_matplotlib_support
from sklearn_cnn._messages import check_choice, did_you_mean
from sklearn_cnn.inspection.attribution import grad_cam, gradient, occlusion
from sklearn_cnn.inspection.panels import (
    BAR_WIDTH,
    as_array,
    bar_share,
    draw_bar,
    image_style,
    own_axes,
    set_title,
    tile,
)
from sklearn_cnn.inspection.target import (
    as_pictures,
    check_display_labels,
    choose_images,
    find_classifier,
    find_images,
    find_probabilities,
    name_images,
)
from sklearn_cnn.network.layers import as_pair

UNITS = {
    "gradient": "score / pixel value",
    "grad_cam": "score",
    "occlusion": "fall of the score",
}
"""The methods, and the units of what they give."""

SIDE, MOST_COLUMNS = 2.2, 3
"""Inches of a picture in a new figure, and how many images stand side by side there."""

PERCENTILE = 99
"""Of the saliency above 0, what is drawn brightest: a few pixels may stand out far above others."""

DARKENED = 1.6
"""By how much more than its contrast an image is from white, so that bright colours show on it."""


class SaliencyDisplay:
    """Saliency: the pixels that a class score rests on, over the image and beside it.

    It is recommended to use :meth:`from_estimator`. All parameters are stored as attributes.

    Parameters
    ----------
    image : ndarray of shape (height, width), or (height, width, 3 or 4), between 0 and 1
        The image as matplotlib draws it. Of several images, an array with an axis more, the first.
    saliency : ndarray of shape (height, width), or (n_images, height, width)
        How much each pixel counts.
    title : str, sequence of str of length n_images, or None, default=None
        What stands above.
    unit : str, default="saliency"
        What the saliency is measured in, for the colour bars.

    Attributes
    ----------
    ax_ : matplotlib Axes
        The frame around all.
    axes_ : ndarray of matplotlib Axes, of shape (n_images, 2), or (n_images, 1) without originals
        The original of each image, and its map.
    im_ : ndarray of matplotlib AxesImage, of shape (n_images,)
        The saliency of each, over the image.
    image_ : ndarray of matplotlib AxesImage, of shape (n_images,)
        The images in gray, below the saliency.
    figure_ : matplotlib Figure
        The figure.

    Notes
    -----
    The original stands at the left, in its colours. Below the map, the image is drawn in gray,
    darkened, so that the saliency stands out. Each map has a scale of its own. The number in the
    title is the probability of the class. The score is its logit, what ``decision_function`` gives
    where there are more than two classes.

    "gradient" is how fast the score changes with a pixel [1]_: quick, fine and noisy. "grad_cam"
    adds up the last feature maps by their worth for the class [2]_: smooth, and as coarse as those
    maps are. "occlusion" covers the image up part by part, with the mean of the training images,
    and sees how far the score falls [3]_: slow, and the easiest to believe.

    References
    ----------
    .. [1] Simonyan, Vedaldi and Zisserman, "Deep inside convolutional networks: visualising image
       classification models and saliency maps", ICLR 2014 workshop, arXiv:1312.6034.
    .. [2] Selvaraju et al., "Grad-CAM: visual explanations from deep networks via gradient-based
       localization", ICCV 2017.
    .. [3] Zeiler and Fergus, "Visualizing and understanding convolutional networks", ECCV 2014.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn_cnn import CNNClassifier, SaliencyDisplay
    >>> images, y = load_digits().images[:300], load_digits().target[:300]
    >>> classifier = CNNClassifier(16, max_epochs=2).fit(images, y)
    >>> display = SaliencyDisplay.from_estimator(classifier, images, method="occlusion")
    >>> display.saliency.shape
    (8, 8)
    """

    def __init__(
        self, image: np.ndarray, saliency: np.ndarray, title: Any = None, unit: str = "saliency"
    ) -> None:
        self.image = image
        self.saliency = saliency
        self.title = title
        self.unit = unit

    def plot(
        self,
        *,
        cmap: Any = "inferno",
        alpha: float = 0.8,
        colorbar: bool = True,
        original: bool = True,
        im_kw: dict[str, Any] | None = None,
        ax: Any = None,
    ) -> Any:
        """Draw the image, and the saliency over it.

        Parameters
        ----------
        cmap : str or matplotlib Colormap, default="inferno"
            Colours of the saliency, from none to that which 1 % of the pixels above 0 exceed. What
            is below 0 counts as none.
        alpha : float, default=0.8
            Opacity of the highest saliency, between 0 and 1; none is transparent.
        colorbar : bool, default=True
            Whether to draw its scale.
        original : bool, default=True
            Whether to draw the image itself beside it.
        im_kw : dict or None, default=None
            Keywords of ``matplotlib.pyplot.imshow`` for it.
        ax : matplotlib Axes or None, default=None
            Where to draw; None makes a new figure.

        Returns
        -------
        display : SaliencyDisplay
            This object.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        """
        is_one = np.ndim(self.saliency) == 2
        images, maps = ([x] if is_one else x for x in (self.image, self.saliency))
        titles = [self.title] if is_one or self.title is None else self.title
        height, width = np.shape(maps[0])
        n_columns = min(MOST_COLUMNS, int(np.ceil(np.sqrt(len(maps) / 2))))
        inches = SIDE * (1 + original) + BAR_WIDTH * colorbar
        row = min(max(SIDE * height / width, 1.2), 2 * SIDE) + 0.4
        n_rows = -(-len(maps) // n_columns)
        self.ax_ = own_axes(ax, type(self).__name__, inches * n_columns, row * n_rows)
        self.figure_ = self.ax_.figure
        frames = [self.ax_] if is_one else tile(self.ax_, len(maps), n_columns, title=0.1)
        style = {"cmap": cmap, "alpha": alpha}
        drawn = [
            self._draw_one(*each, style, im_kw, colorbar=colorbar, original=original)
            for each in zip(frames, images, maps, strict=True)
        ]
        self.axes_ = np.stack([as_array(axes) for axes, _, _ in drawn])
        self.image_, self.im_ = (as_array([each[i] for each in drawn]) for i in (1, 2))
        for frame, title in zip(frames, titles, strict=False):
            if title is not None:
                set_title(frame, title)
        return self

    def _draw_one(
        self,
        frame: Any,
        image: np.ndarray,
        saliency: np.ndarray,
        style: dict[str, Any],
        im_kw: dict[str, Any] | None,
        *,
        colorbar: bool,
        original: bool,
    ) -> tuple[list[Any], Any, Any]:
        """Draw an image beside its map within a frame; return the axes, the gray and the map."""
        frame.set_axis_off()
        room = bar_share(frame) if colorbar else 0.0
        share = (1 - room) / (1 + original)
        axes = [frame.inset_axes((i * share, 0, 0.96 * share, 1)) for i in range(1 + original)]
        for made in axes:
            made.set(xticks=[], yticks=[])
        if original:
            axes[0].imshow(image, cmap="gray", vmin=0, vmax=1)
        gray = image if image.ndim == 2 else image[..., :3].mean(axis=-1)
        dark, contrast = float(gray.min()), max(float(np.ptp(gray)), 1e-12)
        below = axes[-1].imshow(gray, cmap="gray", vmin=dark, vmax=dark + DARKENED * contrast)
        above = saliency[saliency > 0]
        highest = float(np.percentile(above, PERCENTILE)) if above.size else 1.0
        opacity = style["alpha"] * np.clip(saliency / highest, 0, 1)
        limits = {"alpha": opacity, "vmin": 0, "vmax": highest}
        im = axes[-1].imshow(saliency, **image_style(style | limits, im_kw))
        if colorbar:
            axes[-1].set_anchor("E")
            high = self._share_of_height(frame, share, saliency.shape)
            draw_bar(frame, im, self.unit, high, extend="max")
        return axes, below, im

    @staticmethod
    def _share_of_height(frame: Any, share: float, shape: tuple[int, ...]) -> float:
        """Say how high a picture of that share of the width is, at least what a label takes."""
        width, height = frame.get_window_extent().size / frame.figure.dpi
        picture = 0.96 * share * width * shape[0] / shape[1]
        return float(min(1.0, max(picture, 1.3) / height))

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        *,
        image: Any = 0,
        method: str = "gradient",
        target: Any = None,
        layer: str | None = None,
        window: Any = None,
        stride: Any = None,
        display_labels: Any = None,
        cmap: Any = "inferno",
        alpha: float = 0.8,
        colorbar: bool = True,
        original: bool = True,
        im_kw: dict[str, Any] | None = None,
        ax: Any = None,
    ) -> "SaliencyDisplay":
        """Draw what the score of a class rests on in an image, or in each of several.

        Parameters
        ----------
        estimator : CNNClassifier, or Pipeline or search that ends in one
            A fitted one.
        X : array-like
            Images, as ``estimator.predict`` takes them.
        image : int or sequence of int, default=0
            Which of them; -1 is the last. Of a sequence, also of one, the attributes of the Display
            have an axis more, and the titles name the files, or the positions in ``X``.
        method : {"gradient", "grad_cam", "occlusion"}, default="gradient"
            See the notes above.
        target : label or None, default=None
            The class, one of ``classes_``; None for the one that is predicted, of each image.
        layer : str or None, default=None
            The layer of "grad_cam", a name of ``layers_`` that gives maps; None for the last whose
            maps are more than a single pixel.
        window : int, (height, width) or None, default=None
            The part that "occlusion" covers, in pixels; None for an eighth of the image's sides, or
            2 if that is less.
        stride : int, (height, width) or None, default=None
            Its step; None for half of the window.
        display_labels : array-like of shape (n_classes,) or None, default=None
            Names of the classes, in the order of ``classes_``; None for their labels.
        cmap : str or matplotlib Colormap, default="inferno"
            Colours of the saliency, from none to that which 1 % of the pixels above 0 exceed.
        alpha : float, default=0.8
            Opacity of the highest saliency, between 0 and 1; none is transparent.
        colorbar : bool, default=True
            Whether to draw its scale.
        original : bool, default=True
            Whether to draw the image itself beside it.
        im_kw : dict or None, default=None
            Keywords of ``matplotlib.pyplot.imshow`` for the saliency.
        ax : matplotlib Axes or None, default=None
            Where to draw; None makes a new figure.

        Returns
        -------
        SaliencyDisplay

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        TypeError
            If ``estimator`` is something else.
        ValueError
            If there is no such image, method, class or layer, not a name for each class, or a size
            is no size.
        NotFittedError
            If it is not fitted.
        """
        check_matplotlib_support(f"{cls.__name__}.from_estimator")
        classifier: Any = find_classifier(estimator)
        check_choice(method, "method", tuple(UNITS))
        names = check_display_labels(display_labels, classifier.classes_)
        chosen = choose_images(find_images(estimator, X), image)
        probabilities = find_probabilities(classifier, chosen)
        numbers = [_number_of(target, classifier.classes_, row) for row in probabilities]
        attribute = _attribution(classifier, method, chosen.shape[1:3], layer, window, stride)
        saliency = [attribute(chosen[i : i + 1], number) for i, number in enumerate(numbers)]
        titles = [
            f"{method}: {names[number]} ({100 * row[number]:.0f} %)"
            for row, number in zip(probabilities, numbers, strict=True)
        ]
        pictures = as_pictures(chosen, classifier)
        if np.ndim(image) == 0:
            display = cls(pictures[0], saliency[0], titles[0], UNITS[method])
        else:
            pairs = zip(name_images(X, image), titles, strict=True)
            titles = [f"{name}, {title}" for name, title in pairs]
            display = cls(pictures, np.stack(saliency), titles, UNITS[method])
        display.plot(
            cmap=cmap, alpha=alpha, colorbar=colorbar, original=original, im_kw=im_kw, ax=ax
        )
        return display


def _attribution(
    classifier: Any, method: str, sides: tuple[int, ...], layer: Any, window: Any, stride: Any
) -> Callable[[np.ndarray, int], np.ndarray]:
    """Return what takes an image of shape (1, height, width, channels) and the class's number."""
    network = classifier.net_.module_
    if method == "gradient":
        return lambda image, number: gradient(network, image, number)
    if method == "grad_cam":
        name = _layer_with_maps(classifier, layer)
        return lambda image, number: grad_cam(network, image, number, name)
    part = _part_of(sides, window)
    half = (max(1, part[0] // 2), max(1, part[1] // 2))
    step = half if stride is None else as_pair(stride, "stride")
    chunk = classifier._chunk
    return lambda image, number: occlusion(network, image, number, part, step, chunk)


def _number_of(target: Any, classes: np.ndarray, probabilities: np.ndarray) -> int:
    if target is None:
        return int(probabilities.argmax())
    found = np.flatnonzero(classes == target) if np.ndim(target) == 0 else np.arange(0)
    if not len(found):
        raise ValueError(
            "target must be None, for the predicted class, or one of "
            f"{', '.join(map(str, classes))}. Got target={target!r}."
        )
    return int(found[0])


def _layer_with_maps(classifier: Any, layer: str | None) -> str:
    shapes: dict[str, tuple[int, ...]] = {row.name: row.output_shape for row in classifier.layers_}
    names = [name for name, shape in shapes.items() if len(shape) == 3]
    if layer is None:
        wide = [name for name in names if shapes[name][:2] != (1, 1)]
        return (wide or names)[-1]
    if layer not in names:
        raise ValueError(
            f"layer must be one that gives maps: {', '.join(names)}. Got layer={layer!r}."
            f"{did_you_mean(layer, names)}"
        )
    return layer


def _part_of(sides: tuple[int, ...], window: Any) -> tuple[int, int]:
    if window is None:
        height, width = (min(side, max(2, round(side / 8))) for side in sides)
        return height, width
    height, width = as_pair(window, "window")
    return min(height, sides[0]), min(width, sides[1])
