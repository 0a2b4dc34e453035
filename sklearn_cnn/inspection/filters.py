"""Visualization of the kernels of a convolution."""

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Self

import numpy as np
from sklearn.base import BaseEstimator
from torch import nn

from sklearn_cnn._compat import check_matplotlib_support
from sklearn_cnn._messages import check_count, did_you_mean
from sklearn_cnn.inspection import panels
from sklearn_cnn.inspection.target import Target
from sklearn_cnn.network.modules import SamePaddedConv2d
from sklearn_cnn.network.outputs import Source

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap

IMAGES_AT_ONCE = 256  # images whose feature maps are in memory during the search for patches


class FilterDisplay:
    """Visualization of the kernels of a convolution, the patterns that activate its feature maps.

    It is recommended to use :meth:`from_estimator`. All parameters are stored as attributes.

    Kernels with three channels are drawn in colours, with zero in gray: reddish pixels mean that
    red activates the map. Other kernels are drawn with a diverging colormap, with zero in white.
    Kernels whose number of channels is neither 1 nor 3, such as those after the first convolution,
    are averaged over the channels.

    Parameters
    ----------
    filters : ndarray of shape (n_filters, height, width, channels)
        The kernels.
    layer : str or None, default=None
        Name of the layer, for the title.
    patches : ndarray of shape (n_filters, n_patches, height, width, 4) or None, default=None
        Image patches with the highest activation of each kernel, in descending order, as RGBA
        between 0 and 1. Pixels outside of the image are transparent.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes that contain the tiles.
    axes_ : ndarray of matplotlib Axes
        One tile per kernel drawn.
    im_ : ndarray of matplotlib AxesImage
        Images of the kernels.
    patches_ : ndarray of matplotlib AxesImage
        Patches of each kernel drawn, side by side in one image; empty without patches.
    figure_ : matplotlib Figure
        Figure that contains the axes.

    Notes
    -----
    Kernels of 3 x 3 pixels that are trained on photographs look like coloured noise, because
    training changes only a part of their initial values. To see what activates them, pass images as
    ``X`` to :meth:`from_estimator`, which draws the patches with the highest activation beside each
    kernel. Kernels of 5 x 5 or more show patterns after training with a large ``weight_decay``; see
    ``examples/plot_filters.py``.

    References
    ----------
    Krizhevsky, Sutskever and Hinton, "ImageNet classification with deep convolutional neural
    networks", NeurIPS 2012, figure 3.

    Girshick, Donahue, Darrell and Malik, "Rich feature hierarchies for accurate object detection
    and semantic segmentation", CVPR 2014, section 3.1: patches by the highest activation.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn_cnn import CNNClassifier, FilterDisplay
    >>> images, y = load_digits().images[:300], load_digits().target[:300]
    >>> classifier = CNNClassifier(16, max_epochs=2).fit(images, y)
    >>> FilterDisplay.from_estimator(classifier).filters.shape
    (16, 3, 3, 1)
    """

    def __init__(
        self, filters: np.ndarray, layer: str | None = None, patches: np.ndarray | None = None
    ) -> None:
        self.filters = filters
        self.layer = layer
        self.patches = patches

    def plot(
        self,
        *,
        n_filters: int = 64,
        cmap: "str | Colormap" = "RdBu_r",
        colorbar: bool = True,
        im_kw: Mapping[str, object] | None = None,
        ax: "Axes | None" = None,
    ) -> Self:
        """Plot the kernels, in the order of the feature maps, with their patches if available.

        Parameters
        ----------
        n_filters : int, default=64
            Maximum number of kernels to draw.
        cmap : str or matplotlib Colormap, default="RdBu_r"
            Colormap of kernels that do not have three channels.
        colorbar : bool, default=True
            Whether to draw a colorbar.
        im_kw : dict or None, default=None
            Keyword arguments passed to ``matplotlib.pyplot.imshow``.
        ax : matplotlib Axes or None, default=None
            Axes to plot in. If None, a new figure is created.

        Returns
        -------
        display : FilterDisplay
            Object that stores the computed values.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            If ``n_filters`` is not a whole number of at least 1.
        """
        check_count(n_filters, "n_filters")
        filters = np.asarray(self.filters)[:n_filters]
        n_drawn, height, width, n_channels = filters.shape
        is_coloured = n_channels == 3
        pictures = filters if is_coloured else filters.mean(axis=-1)
        largest = float(np.abs(pictures).max()) or 1.0
        style: dict[str, object] = {"cmap": cmap, "vmin": -largest, "vmax": largest}
        if is_coloured:
            pictures, style = 0.5 + pictures / (2 * largest), {}
        has_bar = colorbar and not is_coloured
        if self.patches is None:
            n_columns, side, n_squares = int(np.ceil(np.sqrt(2 * n_drawn))), 0.7, 1.0
        else:
            n_columns, side = 1 if n_drawn <= 8 else 2, 0.42
            n_squares = 1.25 + self.patches.shape[1]
        inches = side * n_squares * n_columns + panels.BAR_WIDTH * has_bar
        size = max(3.2, inches), side * -(-n_drawn // n_columns) + 0.5
        self.ax_ = panels.own_axes(ax, type(self).__name__, *size)
        self.figure_ = self.ax_.figure
        self.ax_.set_axis_off()
        inside = self.ax_.inset_axes((0, 0, 1 - panels.bar_share(self.ax_) * has_bar, 1))
        tiles, strips = panels.tile(inside, n_drawn, n_columns), []
        if self.patches is not None:
            frames, start = tiles, 1.25 / n_squares
            tiles = [panels.part(frame, 0, 0, 1 / n_squares, 1) for frame in frames]
            for frame, patches in zip(frames, self.patches, strict=False):
                frame.set_axis_off()
                strip = panels.part(frame, start, 0, (n_squares - 1.25) / n_squares, 1)
                strip.set_facecolor("0.85")
                strips.append(strip.imshow(_side_by_side(patches), interpolation="nearest"))
        colours = panels.image_style(style, im_kw)
        images = [made.imshow(each, **colours) for made, each in zip(tiles, pictures, strict=True)]
        if has_bar:
            panels.draw_bar(self.ax_, images[0], "weight")
        of = "" if n_drawn == len(self.filters) else f" of {len(self.filters)}"
        name = "kernels" if self.layer is None else f"kernels of {self.layer}"
        mean = "" if n_channels in (1, 3) else f", mean of {n_channels} channels"
        end = "" if self.patches is None else "\nand what they answer to"
        panels.set_title(self.ax_, f"{n_drawn}{of} {name}, {height} x {width} pixels{mean}{end}")
        self.axes_, self.im_ = panels.as_array(tiles), panels.as_array(images)
        self.patches_ = panels.as_array(strips)
        return self

    @classmethod
    def from_estimator(
        cls,
        estimator: BaseEstimator,
        *,
        layer: str | None = None,
        X: Collection[object] | None = None,
        n_filters: int = 64,
        n_patches: int = 8,
        cmap: "str | Colormap" = "RdBu_r",
        colorbar: bool = True,
        im_kw: Mapping[str, object] | None = None,
        ax: "Axes | None" = None,
    ) -> Self:
        """Plot the kernels of a fitted estimator.

        Parameters
        ----------
        estimator : CNNClassifier or CNNRegressor, or Pipeline or search that ends in one
            The fitted estimator.
        layer : str or None, default=None
            Name of a convolution in ``layers_``. If None, the first convolution.
        X : array-like or None, default=None
            Images, as ``estimator.predict`` takes them, whose patches are drawn beside the kernels
            of the first convolution. If None, only the kernels are drawn.
        n_filters : int, default=64
            Maximum number of kernels to draw.
        n_patches : int, default=8
            Maximum number of patches per kernel. They are from the images with the highest
            activations, one patch per image.
        cmap : str or matplotlib Colormap, default="RdBu_r"
            Colormap of kernels that do not have three channels.
        colorbar : bool, default=True
            Whether to draw a colorbar.
        im_kw : dict or None, default=None
            Keyword arguments passed to ``matplotlib.pyplot.imshow``.
        ax : matplotlib Axes or None, default=None
            Axes to plot in. If None, a new figure is created.

        Returns
        -------
        display : FilterDisplay
            Object that stores the computed values.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        TypeError
            If ``estimator`` is not supported.
        ValueError
            If the network has no convolution of that name, or ``X`` is passed and the convolution
            is not the first layer that changes the images, or a count is not a whole number of at
            least 1.
        NotFittedError
            If ``estimator`` is not fitted.
        """
        check_matplotlib_support(f"{cls.__name__}.from_estimator")
        target = Target(estimator)
        rows = target.learner.layers_
        names = [row.name for row in rows]
        modules = ((name, target.net.module_.get_submodule(name)) for name in names)
        convolutions = {name: module for name, module in modules if isinstance(module, nn.Conv2d)}
        if not convolutions:
            raise ValueError("The network has no convolution, so there are no kernels to draw.")
        first = next(iter(convolutions))
        layer = first if layer is None else layer
        if layer not in convolutions:
            raise ValueError(
                f"layer must be one of the convolutions {', '.join(convolutions)}. Got "
                f"layer={layer!r}.{did_you_mean(layer, convolutions)}"
            )
        check_count(n_filters, "n_filters")
        check_count(n_patches, "n_patches")
        weights, patches = convolutions[layer].weight.detach().cpu().numpy(), None
        if X is not None:
            shapes = {row.output_shape for row in rows[: names.index(layer)]}
            if shapes - {target.learner.image_shape_}:
                raise ValueError(
                    f"X is only supported for a convolution that takes the images themselves. Got "
                    f"layer={layer!r}, after layers that change their shape. Omit X, or use "
                    f"layer={first!r} if that is the first layer of the network."
                )
            patches = _find_patches(target, layer, convolutions[layer], target.read(X), n_patches)
        display = cls(weights.transpose(0, 2, 3, 1).copy(), layer, patches)  # training may continue
        return display.plot(n_filters=n_filters, cmap=cmap, colorbar=colorbar, im_kw=im_kw, ax=ax)


def _find_patches(
    target: Target, layer: str, conv: nn.Conv2d, images: np.ndarray, n_patches: int
) -> np.ndarray:
    """Cut out the patches where the map of each kernel is highest, in descending order, as RGBA."""
    answers, places = [], []
    for first in range(0, len(images), IMAGES_AT_ONCE):
        block = images[first : first + IMAGES_AT_ONCE]
        (maps,) = target.net.layer_outputs(block, [Source(layer)])
        flat = maps.reshape(len(maps), -1, maps.shape[-1])  # (images, places, kernels)
        answers.append(flat.max(axis=1))
        places.append(flat.argmax(axis=1))
    strongest = np.argsort(-np.concatenate(answers), axis=0, kind="stable")[:n_patches]
    place = np.take_along_axis(np.concatenate(places), strongest, axis=0)
    is_same = isinstance(conv, SamePaddedConv2d) or conv.padding == "same"
    padding = (0, 0) if isinstance(conv.padding, str) else conv.padding
    reach = np.multiply(conv.dilation, np.subtract(conv.kernel_size, 1))
    before = reach // 2 if is_same else padding
    corners = np.stack(np.unravel_index(place.T, maps.shape[1:3]), axis=-1) * conv.stride - before
    patches = [
        _cut(target.pictures(images[[image]])[0], *corner, *(reach + 1))
        for image, corner in zip(strongest.T.flat, corners.reshape(-1, 2), strict=True)
    ]
    return np.reshape(patches, (*strongest.T.shape, *(reach + 1), 4))


def _cut(picture: np.ndarray, top: int, left: int, height: int, width: int) -> np.ndarray:
    """Cut a part out of an image as RGBA, transparent outside of the image."""
    colours = np.dstack([picture] * 3) if picture.ndim == 2 else picture
    opaque = [(0, 0), (0, 0), (0, 4 - colours.shape[-1])]
    colours = np.pad(colours, opaque, constant_values=1)
    top, left = max(top, -height), max(left, -width)
    around = np.pad(colours, [(height, height), (width, width), (0, 0)])
    return around[top + height : top + 2 * height, left + width : left + 2 * width]


def _side_by_side(patches: np.ndarray) -> np.ndarray:
    """Join patches in a row, with a transparent gap of one pixel between them."""
    gap = [(0, 0), (0, 0), (0, 1), (0, 0)]
    return np.concatenate(list(np.pad(patches, gap)), axis=1)[:, :-1]
