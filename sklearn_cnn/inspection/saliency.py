"""Which pixels a score rests on: by its gradient, by the last maps, by covering parts up."""

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

# the methods, and the units of what they give
UNITS = {"gradient": "score / pixel value", "grad_cam": "score", "occlusion": "fall of the score"}

SIDE = 2.2  # inches of a picture in a new figure
MOST_COLUMNS = 3  # images that stand side by side there
LEAST_BAR = 1.3  # inches of a colour bar's height, for its label

PERCENTILE = 99  # of the saliency above 0, which is drawn brightest

# By how much more than its contrast an image is from white, so that bright colours show on it.
DARKENED = 1.6

VALUES_AT_ONCE = 2**24  # pixel values of the covered images that lie in memory together


class SaliencyDisplay:
    """Saliency: the pixels that a prediction rests on, over the image and beside it.

    It is recommended to use :meth:`from_estimator`. All parameters are stored as attributes.

    Parameters
    ----------
    image : ndarray of shape (height, width), or (height, width, 3 or 4), between 0 and 1
        The image as matplotlib draws it. Several images have one more axis, the first.
    saliency : ndarray of shape (height, width), or (n_images, height, width)
        How much each pixel counts.
    title : str, sequence of str of length n_images, or None, default=None
        Title of each image.
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
    title is the probability of the class. The score is its logit, which ``decision_function`` gives
    for more than two classes. For a regressor, the number is the prediction, and the score the
    same in standard deviations of the target at fit.

    "gradient" is how fast the score changes with a pixel [1]_: quick, fine and noisy. "grad_cam"
    adds up the last feature maps, weighted by their worth for the class [2]_: smooth, and as coarse
    as those maps are. "occlusion" covers the image up part by part, with the mean of the training
    images, and measures how far the score falls [3]_: slow, and the easiest to believe.

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
        """Draw the image, and the saliency over it.

        Parameters
        ----------
        cmap : str or matplotlib Colormap, default="inferno"
            Colours of the saliency, from 0 to the value that 1 % of the pixels above 0 exceed.
            Values below 0 are drawn as 0.
        alpha : float, default=0.8
            Opacity of the highest saliency, between 0 and 1; a saliency of 0 is transparent.
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
        display : SaliencyDisplay
            This object.

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
        """Draw what a prediction rests on in an image, or in each of several.

        Parameters
        ----------
        estimator : CNNClassifier or CNNRegressor, or Pipeline or search that ends in one
            The fitted estimator.
        X : array-like
            Images, as ``estimator.predict`` takes them.
        image : int or sequence of int, default=0
            Which of them; -1 is the last. With a sequence, even of one, the attributes of the
            Display have one more axis, and the titles name the files, or the positions in ``X``.
        method : {"gradient", "grad_cam", "occlusion"}, default="gradient"
            See the notes above.
        target : label, int or None, default=None
            The class, one of ``classes_``; None for the one that is predicted, of each image. The
            number of the column, where ``y`` was an indicator matrix or several numbers; None for
            the label of the highest probability, or the first number.
        layer : str or None, default=None
            The layer of "grad_cam", a name of ``layers_`` that gives maps; None for the last whose
            maps are more than a single pixel.
        window : int, (height, width) or None, default=None
            The part that "occlusion" covers, in pixels; None for an eighth of the image's sides, or
            2 if that is less.
        stride : int, (height, width) or None, default=None
            Its step; None for half of the window.
        display_labels : array-like of shape (n_outputs,) or None, default=None
            Names of the classes, in the order of ``classes_``; or of the labels or numbers, in the
            order of the columns of ``y``. None for their labels or positions.
        cmap : str or matplotlib Colormap, default="inferno"
            Colours of the saliency, from 0 to the value that 1 % of the pixels above 0 exceed.
            Values below 0 are drawn as 0.
        alpha : float, default=0.8
            Opacity of the highest saliency, between 0 and 1; a saliency of 0 is transparent.
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
            raise ValueError(f"image must be the number of an image, or several. Got {image=}.")
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
    """Return what is drawn brightest; a few pixels may stand out far above others."""
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
    """Return what takes an image of shape (1, height, width, channels) and the class's number."""
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
            f"layer must be one that gives maps: {', '.join(maps)}. Got layer={layer!r}."
            f"{did_you_mean(layer, maps)}"
        )
    return layer


def gradient(network: torch.nn.Module, image: np.ndarray, target: int) -> np.ndarray:
    """Return how fast a logit changes with each pixel (height, width), the most of its channels.

    The image has the shape (1, height, width, channels), here and below.
    """
    with isolated(next(network.buffers()).device):
        pixels = _as_input(network, image)
        (slope,) = torch.autograd.grad(copy_network(network)(pixels)[0, target], pixels)
        return slope[0].abs().amax(dim=0).cpu().double().numpy()


def grad_cam(network: torch.nn.Module, image: np.ndarray, target: int, layer: str) -> np.ndarray:
    """Add up the maps of a layer by what each is worth for a class: (height, width), at least 0."""
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
    """Cover the image up part by part by the mean pixel, and see how far a logit falls.

    ``predict`` takes images and gives outputs. A pixel has the mean fall of the parts that it
    is in, below 0 where the score rises: (height, width), float64.
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
    """Cut a side into parts, the last of which may reach beyond it."""
    stop = side - size + step if side > size else 1
    return [slice(start, start + size) for start in range(0, stop, step)]


def _as_input(network: torch.nn.Module, image: np.ndarray) -> torch.Tensor:
    """Return pixels (1, channels, height, width) as the network takes them, with a gradient.

    They have one so that a network of frozen weights gives one, too.
    """
    mean = next(network.buffers())
    pixels = torch.from_numpy(np.array(image, dtype=np.float64)).permute(0, 3, 1, 2)
    pixels = pixels.to(mean.dtype).to(mean.device)  # in this order: MPS has no float64
    return pixels.contiguous(memory_format=torch.channels_last).requires_grad_()
