"""The kernels of a convolution, as pictures."""

from typing import Any

import numpy as np
import torch

from sklearn_cnn._choices import did_you_mean
from sklearn_cnn._compat import check_matplotlib_support
from sklearn_cnn._counts import check_count
from sklearn_cnn.inspection.panels import as_array, image_style, own_axes, tile
from sklearn_cnn.inspection.subject import find_classifier


class FilterDisplay:
    """Kernels of a convolution: what pattern each feature map answers to.

    It is recommended to use :meth:`from_estimator`. All parameters are stored as attributes.

    Kernels of colour images are drawn in colours, gray being zero: where one is reddish, the map
    answers to red. Others are drawn by a scale of two colours, white being zero. Where a kernel has
    any other number of channels than 1 or 3, as those behind the first convolution, its mean over
    the channels is drawn.

    Parameters
    ----------
    filters : ndarray of shape (n_filters, height, width, channels)
        The kernels.
    layer : str or None, default=None
        Name of the layer, for the title.

    Attributes
    ----------
    ax_ : matplotlib Axes
        The frame around the tiles.
    axes_ : ndarray of matplotlib Axes
        A tile for each kernel drawn.
    im_ : ndarray of matplotlib AxesImage
        Their pictures.
    figure_ : matplotlib Figure
        The figure.

    References
    ----------
    Krizhevsky, Sutskever and Hinton, "ImageNet classification with deep convolutional neural
    networks", NeurIPS 2012, figure 3.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn_cnn import CNNClassifier, FilterDisplay
    >>> images, y = load_digits().images[:300], load_digits().target[:300]
    >>> classifier = CNNClassifier(16, max_epochs=2).fit(images, y)
    >>> FilterDisplay.from_estimator(classifier).filters.shape
    (16, 3, 3, 1)
    """

    def __init__(self, filters: np.ndarray, layer: str | None = None) -> None:
        self.filters = filters
        self.layer = layer

    def plot(
        self,
        *,
        n_filters: int = 64,
        cmap: Any = "RdBu_r",
        colorbar: bool = True,
        im_kw: dict[str, Any] | None = None,
        ax: Any = None,
    ) -> Any:
        """Draw the kernels, in the order of the feature maps.

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
        n_columns = int(np.ceil(np.sqrt(2 * len(drawn))))
        n_rows = -(-len(drawn) // n_columns)
        self.ax_ = own_axes(ax, type(self).__name__, 0.7 * n_columns, 0.7 * n_rows + 0.5)
        self.figure_ = self.ax_.figure
        tiles = tile(self.ax_, len(drawn), n_columns)
        images = [
            made.imshow(picture, **image_style(style, im_kw))
            for made, picture in zip(tiles, pictures, strict=True)
        ]
        if colorbar and not is_coloured:
            self.figure_.colorbar(images[0], ax=self.ax_)
        height, width = drawn.shape[1:3]
        name = "kernels" if self.layer is None else f"kernels of {self.layer}"
        n_channels = drawn.shape[-1]
        mean = "" if n_channels in (1, 3) else f", mean of {n_channels} channels"
        of = "" if len(drawn) == len(self.filters) else f" of {len(self.filters)}"
        self.ax_.set_title(f"{len(drawn)}{of} {name}, {height} x {width} pixels{mean}", fontsize=10)
        self.axes_, self.im_ = as_array(tiles), as_array(images)
        return self

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        *,
        layer: str | None = None,
        n_filters: int = 64,
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
        FilterDisplay

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        TypeError
            If ``estimator`` is something else.
        ValueError
            If the network has no convolution of that name.
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
        weights = convolutions[layer].weight.detach().cpu().numpy()
        display = cls(weights.transpose(0, 2, 3, 1).copy(), layer)  # training may go on
        display.plot(n_filters=n_filters, cmap=cmap, colorbar=colorbar, im_kw=im_kw, ax=ax)
        return display
