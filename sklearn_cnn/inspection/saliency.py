"""Saliency: the pixels that determine a score, by gradient, Grad-CAM or occlusion."""

from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import product
from typing import TYPE_CHECKING, Self

import numpy as np
import torch
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator
from torch.nn import functional

from sklearn_cnn._compat import check_matplotlib_support
from sklearn_cnn._messages import check_choice, did_you_mean
from sklearn_cnn.inspection import panels
from sklearn_cnn.inspection.target import Target, choose_images, name_images
from sklearn_cnn.machine.isolation import isolated
from sklearn_cnn.network.layers import as_pair
from sklearn_cnn.network.modules import copy_network
from sklearn_cnn.network.outputs import LayerRow

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap
    from matplotlib.image import AxesImage

# the methods, and the units of their results
UNITS = {"gradient": "score / pixel value", "grad_cam": "score", "occlusion": "fall of the score"}

SIDE = 2.2  # inches of an image in a new figure
MOST_COLUMNS = 3  # maximum number of images side by side in a new figure
LEAST_BAR = 1.3  # minimum height of a colorbar in inches, for its label

PERCENTILE = 99  # percentile of the positive saliency that is drawn brightest

# factor of the contrast of the gray image, which darkens it so that bright colours stand out
DARKENED = 1.6

VALUES_AT_ONCE = 2**24  # pixel values of occluded images in memory at once


class SaliencyDisplay:
    """Saliency visualization: the pixels that determine a prediction, drawn over the image.

    It is recommended to use :meth:`from_estimator`. All parameters are stored as attributes.

    Parameters
    ----------
    image : ndarray of shape (height, width), or (height, width, 3 or 4), between 0 and 1
        The image, as drawn by matplotlib. Several images are stacked along an additional first
        axis.
    saliency : ndarray of shape (height, width), or (n_images, height, width)
        Importance of each pixel.
    title : str, sequence of str of length n_images, or None, default=None
        Title of each image.
    unit : str, default="saliency"
        Unit of the saliency, for the colorbars.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes that contain all others.
    axes_ : ndarray of matplotlib Axes, of shape (n_images, 2), or (n_images, 1) without originals
        Axes of each original image, and of its saliency.
    im_ : ndarray of matplotlib AxesImage, of shape (n_images,)
        Saliency of each image.
    image_ : ndarray of matplotlib AxesImage, of shape (n_images,)
        Gray images below the saliency.
    figure_ : matplotlib Figure
        Figure that contains the axes.

    Notes
    -----
    The original image is on the left, in colour. Below the saliency, the image is drawn in gray and
    darkened, so that the saliency stands out. Each saliency map has its own scale. The number in
    the title is the probability of the class. The score is the logit of the class, which
    ``decision_function`` returns for more than two classes. For a regressor, the number in the
    title is the prediction, and the score is the prediction in standard deviations of the target
    during ``fit``.

    "gradient" is the magnitude of the gradient of the score with respect to each pixel [1]_. It is
    fast, detailed and noisy. "grad_cam" is the sum of the last feature maps, weighted by their
    importance for the class [2]_. It is smooth, and as coarse as these maps. "occlusion" covers
    each part of the image with the mean of the training images, and measures how far the score
    falls [3]_. It is slow, and the easiest to interpret.

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
        self,
        image: np.ndarray,
        saliency: np.ndarray,
        title: str | Sequence[str] | None = None,
        unit: str = "saliency",
    ) -> None:
        self.image = image
        self.saliency = saliency
        self.title = title
        self.unit = unit

    def plot(
        self,
        *,
        cmap: "str | Colormap" = "inferno",
        alpha: float = 0.8,
        colorbar: bool = True,
        original: bool = True,
        im_kw: Mapping[str, object] | None = None,
        ax: "Axes | None" = None,
    ) -> Self:
        """Plot the image with its saliency.

        Parameters
        ----------
        cmap : str or matplotlib Colormap, default="inferno"
            Colormap of the saliency. It ranges from 0 to the 99th percentile of the positive
            values. Negative values are drawn as 0.
        alpha : float, default=0.8
            Opacity of the highest saliency, between 0 and 1. A saliency of 0 is transparent.
        colorbar : bool, default=True
            Whether to draw a colorbar.
        original : bool, default=True
            Whether to draw the original image beside it.
        im_kw : dict or None, default=None
            Keyword arguments passed to ``matplotlib.pyplot.imshow`` for the saliency.
        ax : matplotlib Axes or None, default=None
            Axes to plot in. If None, a new figure is created.

        Returns
        -------
        display : SaliencyDisplay
            Object that stores the computed values.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        """
        is_one = np.ndim(self.saliency) == 2
        images, maps = ([x] if is_one else x for x in (self.image, self.saliency))
        height, width = np.shape(maps[0])
        n_columns = min(MOST_COLUMNS, int(np.ceil(np.sqrt(len(maps) / 2))))
        inches = SIDE * (1 + original) + panels.BAR_WIDTH * colorbar
        row = min(max(SIDE * height / width, 1.2), 2 * SIDE) + 0.4
        n_rows = -(-len(maps) // n_columns)
        self.ax_ = panels.own_axes(ax, type(self).__name__, inches * n_columns, row * n_rows)
        self.figure_ = self.ax_.figure
        frames = [self.ax_] if is_one else panels.tile(self.ax_, len(maps), n_columns, title=0.1)
        axes, below, above = [], [], []
        for frame, image, saliency in zip(frames, images, maps, strict=True):
            frame.set_axis_off()
            share = (1 - panels.bar_share(frame) * colorbar) / (1 + original)
            pair = [panels.part(frame, i * share, 0, 0.96 * share, 1) for i in range(1 + original)]
            if original:
                pair[0].imshow(image, cmap="gray", vmin=0, vmax=1)
            below.append(_draw_gray(pair[-1], image))
            highest = _highest_of(saliency)
            opacity = alpha * np.clip(saliency / highest, 0, 1)
            style = {"cmap": cmap, "alpha": opacity, "vmin": 0, "vmax": highest}
            above.append(pair[-1].imshow(saliency, **panels.image_style(style, im_kw)))
            if colorbar:
                pair[-1].set_anchor("E")
                extent, dpi = frame.get_window_extent(), self.figure_.dpi
                drawn = 0.96 * share * (extent.width / dpi) * height / width
                high = min(1.0, max(drawn, LEAST_BAR) / (extent.height / dpi))
                panels.draw_bar(frame, above[-1], self.unit, high, extend="max")
            axes.append(panels.as_array(pair))
        self.axes_ = np.stack(axes)
        self.image_, self.im_ = panels.as_array(below), panels.as_array(above)
        if self.title is not None:
            titles = [self.title] if isinstance(self.title, str) else self.title
            for frame, title in zip(frames, titles, strict=False):
                panels.set_title(frame, title)
        return self

    @classmethod
    def from_estimator(
        cls,
        estimator: BaseEstimator,
        X: Collection[object],
        *,
        image: int | Sequence[int] | np.ndarray = 0,
        method: str = "gradient",
        target: object = None,
        layer: str | None = None,
        window: int | Sequence[int] | None = None,
        stride: int | Sequence[int] | None = None,
        display_labels: ArrayLike | None = None,
        cmap: "str | Colormap" = "inferno",
        alpha: float = 0.8,
        colorbar: bool = True,
        original: bool = True,
        im_kw: Mapping[str, object] | None = None,
        ax: "Axes | None" = None,
    ) -> Self:
        """Plot the saliency of one or several images from a fitted estimator.

        Parameters
        ----------
        estimator : CNNClassifier or CNNRegressor, or Pipeline or search that ends in one
            The fitted estimator.
        X : array-like
            Images, as ``estimator.predict`` takes them.
        image : int or sequence of int, default=0
            Index of the image in ``X``; -1 is the last. For a sequence of indices, even of length
            one, the attributes of the display have an additional first axis, and the titles contain
            the file names or the indices in ``X``.
        method : {"gradient", "grad_cam", "occlusion"}, default="gradient"
            Method of computing the saliency, described in the notes of the class.
        target : label, int or None, default=None
            Class to explain, one of ``classes_``. If None, the predicted class of each image. If
            ``y`` was an indicator matrix or had several targets, the column index. If None, the
            label with the highest probability, or the first target.
        layer : str or None, default=None
            Name of a layer in ``layers_`` with feature maps, only used by "grad_cam". If None, the
            last layer whose maps are larger than a single pixel.
        window : int, (height, width) or None, default=None
            Size of the part that is covered, in pixels, only used by "occlusion". If None, an
            eighth of each image side, but at least 2.
        stride : int, (height, width) or None, default=None
            Stride of the window, in pixels, only used by "occlusion". If None, half of the window.
        display_labels : array-like of shape (n_outputs,) or None, default=None
            Names of the classes, in the order of ``classes_``, or of the labels or targets, in the
            order of the columns of ``y``. If None, the class labels or column indices are used.
        cmap : str or matplotlib Colormap, default="inferno"
            Colormap of the saliency.
        alpha : float, default=0.8
            Opacity of the highest saliency, between 0 and 1.
        colorbar : bool, default=True
            Whether to draw a colorbar.
        original : bool, default=True
            Whether to draw the original image beside the saliency.
        im_kw : dict or None, default=None
            Keyword arguments passed to ``matplotlib.pyplot.imshow`` for the saliency.
        ax : matplotlib Axes or None, default=None
            Axes to plot in. If None, a new figure is created.

        Returns
        -------
        display : SaliencyDisplay
            Object that stores the computed values.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        TypeError
            If ``estimator`` is not supported.
        ValueError
            If the image, method, class or layer does not exist, a class has no name, or ``window``
            or ``stride`` is not a size.
        NotFittedError
            If ``estimator`` is not fitted.
        """
        check_matplotlib_support(f"{cls.__name__}.from_estimator")
        shown = Target(estimator)
        check_choice(method, "method", UNITS)
        outcomes = shown.outcomes(display_labels)
        which = list(image) if isinstance(image, Collection) and np.ndim(image) else [image]
        if not which:
            raise ValueError(f"image must be the index of an image, or several. Got {image=}.")
        chosen = choose_images(shown.read(X), which)
        predictions = shown.predictions(chosen)
        numbers = [outcomes.choose(target, row) for row in predictions]
        attribute = _attribution(shown, method, chosen.shape[1:3], layer, window, stride)
        maps = [attribute(chosen[i : i + 1], number) for i, number in enumerate(numbers)]
        titles = [
            f"{method}: {outcomes.say(number, row)}"
            for row, number in zip(predictions, numbers, strict=True)
        ]
        pictures = shown.pictures(chosen)
        if isinstance(image, Collection):
            titles = list(map(", ".join, zip(name_images(X, image), titles, strict=True)))
            display = cls(pictures, np.stack(maps), titles, UNITS[method])
        else:
            display = cls(pictures[0], maps[0], titles[0], UNITS[method])
        return display.plot(
            cmap=cmap, alpha=alpha, colorbar=colorbar, original=original, im_kw=im_kw, ax=ax
        )


def _draw_gray(ax: "Axes", image: np.ndarray) -> "AxesImage":
    gray = image if image.ndim == 2 else image[..., :3].mean(axis=-1)
    dark, contrast = float(gray.min()), max(float(np.ptp(gray)), 1e-12)
    return ax.imshow(gray, cmap="gray", vmin=dark, vmax=dark + DARKENED * contrast)


def _highest_of(saliency: np.ndarray) -> float:
    """Return the value drawn brightest: a percentile, because a few pixels may be far higher."""
    positive = saliency[saliency > 0]
    return float(np.percentile(positive, PERCENTILE)) if positive.size else 1.0


def _attribution(
    shown: Target,
    method: str,
    sides: tuple[int, ...],
    layer: str | None,
    window: int | Sequence[int] | None,
    stride: int | Sequence[int] | None,
) -> Callable[[np.ndarray, int], np.ndarray]:
    """Return a function of an image (1, height, width, channels) and the index of a class."""
    network = shown.net.module_
    if method == "gradient":
        return lambda image, number: gradient(network, image, number)
    if method == "grad_cam":
        name = _layer_with_maps(shown.learner.layers_, layer)
        return lambda image, number: grad_cam(network, image, number, name)
    eighth = tuple(max(2, round(side / 8)) for side in sides)
    asked = as_pair(eighth if window is None else window, "window")
    size = min(asked[0], sides[0]), min(asked[1], sides[1])
    half = max(1, size[0] // 2), max(1, size[1] // 2)
    step = half if stride is None else as_pair(stride, "stride")
    mean = network.get_buffer("normalize.mean").ravel().cpu().numpy()
    return lambda image, number: occlusion(shown.net.outputs, image, number, size, step, mean)


def _layer_with_maps(rows: Sequence[LayerRow], layer: str | None) -> str:
    maps = {row.name: row.output_shape for row in rows if len(row.output_shape) == 3}
    if layer is None:
        wide = [name for name, shape in maps.items() if shape[:2] != (1, 1)]
        return (wide or list(maps))[-1]
    if layer not in maps:
        raise ValueError(
            f"layer must be a layer with feature maps: {', '.join(maps)}. Got layer={layer!r}."
            f"{did_you_mean(layer, maps)}"
        )
    return layer


def gradient(network: torch.nn.Module, image: np.ndarray, target: int) -> np.ndarray:
    """Return the gradient of a logit by each pixel (height, width), the maximum of its channels.

    The image has the shape (1, height, width, channels), here and below.
    """
    with isolated(next(network.buffers()).device):
        pixels = _as_input(network, image)
        (slope,) = torch.autograd.grad(copy_network(network)(pixels)[0, target], pixels)
        return slope[0].abs().amax(dim=0).cpu().double().numpy()


def grad_cam(network: torch.nn.Module, image: np.ndarray, target: int, layer: str) -> np.ndarray:
    """Add up the maps of a layer, weighted by their gradients: (height, width), at least 0."""
    seen = []

    def keep(_: object, __: object, output: torch.Tensor) -> torch.Tensor:
        seen.append(output)
        return output.clone()  # the next layer may write into it

    with isolated(next(network.buffers()).device):
        copy = copy_network(network)
        copy.get_submodule(layer).register_forward_hook(keep)
        score = copy(_as_input(network, image))[0, target]
        (slope,) = torch.autograd.grad(score, seen[-1])
        worth = slope.mean(dim=(2, 3), keepdim=True)
        heat = torch.relu((worth * seen[-1].detach()).sum(dim=1, keepdim=True))
        heat = functional.interpolate(heat, size=image.shape[1:3], mode="bilinear")
        return heat[0, 0].cpu().double().numpy()


def occlusion(
    predict: Callable[[np.ndarray], np.ndarray],
    image: np.ndarray,
    target: int,
    window: tuple[int, int],
    stride: tuple[int, int],
    mean: np.ndarray,
) -> np.ndarray:
    """Cover each part of the image with the mean pixel, and measure how far a logit falls.

    ``predict`` returns the outputs of images. Each pixel gets the mean fall of the parts that
    contain it, negative where the score rises: (height, width), float64.
    """
    pixels = image.astype(mean.dtype)
    parts = list(product(*map(_parts_of, image.shape[1:3], window, stride)))
    whole = predict(pixels)[0, target]
    fall, n_covers = np.zeros(image.shape[1:3]), np.zeros(image.shape[1:3])
    n_at_once = max(1, VALUES_AT_ONCE // image.size)
    for first in range(0, len(parts), n_at_once):
        some = parts[first : first + n_at_once]
        covered = np.repeat(pixels, len(some), axis=0)
        for picture, place in zip(covered, some, strict=True):
            picture[place] = mean
        for place, score in zip(some, predict(covered)[:, target], strict=True):
            fall[place] += whole - score
            n_covers[place] += 1
    return fall / np.maximum(n_covers, 1)


def _parts_of(side: int, size: int, step: int) -> list[slice]:
    """Divide a side into parts; the last part may extend beyond it."""
    stop = side - size + step if side > size else 1
    return [slice(start, start + size) for start in range(0, stop, step)]


def _as_input(network: torch.nn.Module, image: np.ndarray) -> torch.Tensor:
    """Return pixels (1, channels, height, width) for the network, which require a gradient.

    This also gives networks with frozen weights a gradient.
    """
    mean = next(network.buffers())
    pixels = torch.from_numpy(np.array(image, dtype=np.float64)).permute(0, 3, 1, 2)
    pixels = pixels.to(mean.dtype).to(mean.device)  # in this order: MPS has no float64
    return pixels.contiguous(memory_format=torch.channels_last).requires_grad_()
