"""The kernels of a convolution, as pictures."""

from typing import Any

import numpy as np
import torch

from sklearn_cnn._compat import check_matplotlib_support
from sklearn_cnn._messages import check_count, did_you_mean
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
from sklearn_cnn.inspection.target import as_pictures, find_classifier, find_images
from sklearn_cnn.network.modules import SamePaddedConv2d
from sklearn_cnn.network.outputs import Source

IMAGES_AT_ONCE = 256
"""Images whose feature maps lie in memory while patches are looked for."""


class FilterDisplay:
    """Kernels of a convolution: what pattern each feature map answers to.

    It is recommended to use :meth:`from_estimator`. All parameters are stored as attributes.

    Kernels of colour images are drawn in colours, gray being zero: where one is reddish, the map
    answers to red. Others are drawn by a scale of two colours, white being zero. Where a kernel has
    any other number of channels than 1 or 3, as those after the first convolution, its mean over
    the channels is drawn.

    Parameters
    ----------
    filters : ndarray of shape (n_filters, height, width, channels)
        The kernels.
    layer : str or None, default=None
        Name of the layer, for the title.
    patches : ndarray of shape (n_filters, n_patches, height, width, 4) or None, default=None
        The parts of images to which each kernel answers most, the strongest first, as RGBA between
        0 and 1; transparent beyond the edge of the image.

    Attributes
    ----------
    ax_ : matplotlib Axes
        The frame around the tiles.
    axes_ : ndarray of matplotlib Axes
        A tile for each kernel drawn.
    im_ : ndarray of matplotlib AxesImage
        Their pictures.
    patches_ : ndarray of matplotlib AxesImage
        The patches of each kernel drawn, side by side in one picture; none without patches.
    figure_ : matplotlib Figure
        The figure.

    Notes
    -----
    Kernels of 3 x 3 pixels on photographs look like noise in colours, and say little to the eye:
    training needs to change only some of what they began with. What they answer to can be seen,
    though: give :meth:`from_estimator` images as ``X``, and each kernel stands beside the patches
    where its map is highest. Kernels of 5 x 5 or more show patterns of their own after training
    with much ``weight_decay``; see ``examples/plot_filters.py``.

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
        cmap: Any = "RdBu_r",
        colorbar: bool = True,
        im_kw: dict[str, Any] | None = None,
        ax: Any = None,
    ) -> Any:
        """Draw the kernels, in the order of the feature maps, beside patches if there are any.

        Parameters
        ----------
        n_filters : int, default=64
            How many, at most.
        cmap : str or matplotlib Colormap, default="RdBu_r"
            Colours of kernels that are not of three channels.
        colorbar : bool, default=True
            Whether to draw their scale.
        im_kw : dict or None, default=None
            Keywords of ``matplotlib.pyplot.imshow``.
        ax : matplotlib Axes or None, default=None
            Where to draw; None makes a new figure.

        Returns
        -------
        display : FilterDisplay
            This object.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            If ``n_filters`` is no count.
        """
        check_count(n_filters, "n_filters")
        drawn = np.asarray(self.filters)[:n_filters]
        is_coloured = drawn.shape[-1] == 3
        largest = float(np.abs(drawn).max()) or 1.0
        if is_coloured:
            pictures, style = 0.5 + drawn / (2 * largest), {}
        else:
            pictures = drawn.mean(axis=-1)
            largest = float(np.abs(pictures).max()) or 1.0
            style = {"cmap": cmap, "vmin": -largest, "vmax": largest}
        has_bar = colorbar and not is_coloured
        n_squares = 1.0 if self.patches is None else 1.25 + self.patches.shape[1]
        if self.patches is None:
            n_columns, side = int(np.ceil(np.sqrt(2 * len(drawn)))), 0.7
        else:
            n_columns, side = 1 if len(drawn) <= 8 else 2, 0.42
        n_rows = -(-len(drawn) // n_columns)
        inches = side * n_squares * n_columns + BAR_WIDTH * has_bar
        self.ax_ = own_axes(ax, type(self).__name__, max(3.2, inches), side * n_rows + 0.5)
        self.figure_ = self.ax_.figure
        inside = self.ax_.inset_axes((0, 0, 1 - bar_share(self.ax_) * has_bar, 1))
        frames = tile(inside, len(drawn), n_columns)
        self.ax_.set_axis_off()
        tiles = (
            frames if self.patches is None else [_part(frame, 0, 1, n_squares) for frame in frames]
        )
        images = [
            made.imshow(picture, **image_style(style, im_kw))
            for made, picture in zip(tiles, pictures, strict=True)
        ]
        strips = []
        for frame, patches in zip(
            frames, () if self.patches is None else self.patches, strict=False
        ):
            frame.set_axis_off()
            strip = _part(frame, 1.25, n_squares, n_squares)
            strip.set_facecolor("0.85")
            strips.append(strip.imshow(_side_by_side(patches), interpolation="nearest"))
        self.patches_ = as_array(strips)
        if has_bar:
            draw_bar(self.ax_, images[0], "weight")
        height, width = drawn.shape[1:3]
        name = "kernels" if self.layer is None else f"kernels of {self.layer}"
        n_channels = drawn.shape[-1]
        mean = "" if n_channels in (1, 3) else f", mean of {n_channels} channels"
        of = "" if len(drawn) == len(self.filters) else f" of {len(self.filters)}"
        title = f"{len(drawn)}{of} {name}, {height} x {width} pixels{mean}"
        if self.patches is not None:
            title += "\nand what they answer to"
        set_title(self.ax_, title)
        self.axes_, self.im_ = as_array(tiles), as_array(images)
        return self

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        *,
        layer: str | None = None,
        X: Any = None,
        n_filters: int = 64,
        n_patches: int = 8,
        cmap: Any = "RdBu_r",
        colorbar: bool = True,
        im_kw: dict[str, Any] | None = None,
        ax: Any = None,
    ) -> "FilterDisplay":
        """Draw the kernels of a fitted classifier.

        Parameters
        ----------
        estimator : CNNClassifier, or Pipeline or search that ends in one
            A fitted one.
        layer : str or None, default=None
            Name of a convolution in ``layers_``; None for the first.
        X : array-like or None, default=None
            Images, as ``estimator.predict`` takes them, whose patches are drawn beside the kernels
            of the first convolution; None draws kernels alone.
        n_filters : int, default=64
            How many, at most.
        n_patches : int, default=8
            Patches of a kernel, at most: the strongest of each image, of the images where it is
            strongest.
        cmap : str or matplotlib Colormap, default="RdBu_r"
            Colours of kernels that are not of three channels.
        colorbar : bool, default=True
            Whether to draw their scale.
        im_kw : dict or None, default=None
            Keywords of ``matplotlib.pyplot.imshow``.
        ax : matplotlib Axes or None, default=None
            Where to draw; None makes a new figure.

        Returns
        -------
        FilterDisplay

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        TypeError
            If ``estimator`` is something else.
        ValueError
            If the network has no convolution of that name, or with ``X``, it is not the first.
        NotFittedError
            If it is not fitted.
        """
        check_matplotlib_support(f"{cls.__name__}.from_estimator")
        classifier = find_classifier(estimator)
        convolutions = {
            row.name: module
            for row in classifier.layers_
            if isinstance(
                module := classifier.net_.module_.get_submodule(row.name), torch.nn.Conv2d
            )
        }
        if not convolutions:
            raise ValueError("The network has no convolution, so there are no kernels to draw.")
        if layer is None:
            layer = next(iter(convolutions))
        if layer not in convolutions:
            raise ValueError(
                f"layer must be one of the convolutions {', '.join(convolutions)}. Got "
                f"layer={layer!r}.{did_you_mean(layer, convolutions)}"
            )
        check_count(n_filters, "n_filters")
        check_count(n_patches, "n_patches")
        weights = convolutions[layer].weight.detach().cpu().numpy()
        patches = None
        if X is not None:
            _check_sees_images(classifier, layer, next(iter(convolutions)))
            images = find_images(estimator, X)
            patches = _find_patches(classifier, layer, convolutions[layer], images, n_patches)
        display = cls(weights.transpose(0, 2, 3, 1).copy(), layer, patches)  # training may go on
        display.plot(n_filters=n_filters, cmap=cmap, colorbar=colorbar, im_kw=im_kw, ax=ax)
        return display


def _check_sees_images(classifier: Any, layer: str, first: str) -> None:
    names = [row.name for row in classifier.layers_]
    shapes = {row.output_shape for row in classifier.layers_[: names.index(layer)]}
    if shapes - {classifier.image_shape_}:
        raise ValueError(
            f"X gives patches of images, which only a convolution that sees the images themselves "
            f"answers to. Got layer={layer!r}, after layers that change their shape: leave X out, "
            f"or take layer={first!r} if that is the network's first layer."
        )


def _find_patches(
    classifier: Any, layer: str, conv: Any, images: np.ndarray, n_patches: int
) -> np.ndarray:
    """Cut out where the map of each kernel is highest, as RGBA, the highest first."""
    answers, places = [], []
    for first in range(0, len(images), IMAGES_AT_ONCE):
        block = images[first : first + IMAGES_AT_ONCE]
        (maps,) = classifier._outputs_of(block, [Source(layer)])
        flat = maps.reshape(len(maps), -1, maps.shape[-1])  # (images, places, kernels)
        answers.append(flat.max(axis=1))
        places.append(flat.argmax(axis=1))
    strongest = np.argsort(-np.concatenate(answers), axis=0, kind="stable")[:n_patches]
    place = np.take_along_axis(np.concatenate(places), strongest, axis=0)
    is_same = isinstance(conv, SamePaddedConv2d) or conv.padding == "same"
    corners, sides = [], []
    for axis, position in enumerate(np.unravel_index(place, maps.shape[1:3])):
        reach = conv.dilation[axis] * (conv.kernel_size[axis] - 1)
        before = reach // 2 if is_same else 0 if conv.padding == "valid" else conv.padding[axis]
        corners.append(position * conv.stride[axis] - before)
        sides.append(reach + 1)
    return np.stack(
        [
            [
                _cut(as_pictures(images[image : image + 1], classifier)[0], top, left, *sides)
                for image, top, left in zip(*chosen, strict=True)
            ]
            for chosen in zip(strongest.T, corners[0].T, corners[1].T, strict=True)
        ]
    )


def _cut(picture: np.ndarray, top: int, left: int, height: int, width: int) -> np.ndarray:
    """Cut a part out of a picture as RGBA, transparent where it lies beyond the edge."""
    colours = np.dstack([picture] * 3) if picture.ndim == 2 else picture
    if colours.shape[-1] == 3:
        colours = np.dstack([colours, np.ones(colours.shape[:2])])
    top, left = max(top, -height), max(left, -width)
    around = np.pad(colours, [(height, height), (width, width), (0, 0)])
    part: np.ndarray = around[top + height : top + 2 * height, left + width : left + 2 * width]
    return part


def _part(ax: Any, start: float, stop: float, of: float) -> Any:
    """Return axes without ticks in a part of the width of others."""
    part = ax.inset_axes((start / of, 0, (stop - start) / of, 1))
    part.set(xticks=[], yticks=[])
    return part


def _side_by_side(patches: np.ndarray) -> np.ndarray:
    """Lay patches in a row, with a transparent gap of a pixel between two."""
    gap = [(0, 0), (0, 0), (0, 1), (0, 0)]
    row: np.ndarray = np.concatenate(list(np.pad(patches, gap)), axis=1)[:, :-1]
    return row
