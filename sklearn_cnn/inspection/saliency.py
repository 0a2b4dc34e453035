"""Which pixels the prediction of an image rests on."""

from typing import Any

import numpy as np

from sklearn_cnn._choices import check_choice, did_you_mean
from sklearn_cnn._compat import check_matplotlib_support
from sklearn_cnn.inspection.attribution import grad_cam, gradient, occlusion
from sklearn_cnn.inspection.panels import image_style, own_axes
from sklearn_cnn.inspection.subject import (
    as_pictures,
    check_display_labels,
    choose_image,
    find_classifier,
    find_images,
    find_probabilities,
)
from sklearn_cnn.network.layers import as_pair
from sklearn_cnn.training.hardware.threads import threads_that_exist

METHODS = ("gradient", "grad_cam", "occlusion")

PERCENTILE = 99
"""Of the saliency above 0, what is drawn brightest: a few pixels may stand out far above others."""

DARKENED = 1.6
"""By how much more than its contrast an image is from white, so that bright colours show on it."""


class SaliencyDisplay:
    """Saliency: the pixels that a class score rests on, over the image.

    It is recommended to use :meth:`from_estimator`. All parameters are stored as attributes.

    Parameters
    ----------
    image : ndarray of shape (height, width), or (height, width, 3 or 4), between 0 and 1
        The image as matplotlib draws it.
    saliency : ndarray of shape (height, width)
        How much each pixel counts.
    title : str or None, default=None
        What stands above.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes with the image.
    im_ : matplotlib AxesImage
        The saliency, over the image.
    image_ : matplotlib AxesImage
        The image in gray.
    figure_ : matplotlib Figure
        The figure.

    Notes
    -----
    The image is drawn in gray, darkened, so that the saliency stands out. The number in the title
    is the probability of the class.

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

    def __init__(self, image: np.ndarray, saliency: np.ndarray, title: str | None = None) -> None:
        self.image = image
        self.saliency = saliency
        self.title = title

    def plot(
        self,
        *,
        cmap: Any = "inferno",
        alpha: float = 0.8,
        colorbar: bool = True,
        im_kw: dict[str, Any] | None = None,
        ax: Any = None,
    ) -> Any:
        """Draw the saliency over the image.

        Parameters
        ----------
        cmap : str or matplotlib Colormap, default="inferno"
            Colours of the saliency, from none to that which 1 % of the pixels above 0 exceed. What
            is below 0 counts as none.
        alpha : float, default=0.8
            Opacity of the highest saliency, between 0 and 1; none is transparent.
        colorbar : bool, default=True
            Whether to draw its scale.
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
        self.ax_ = own_axes(ax, type(self).__name__, 4.8, 4.2)
        self.figure_ = self.ax_.figure
        gray = self.image if self.image.ndim == 2 else self.image[..., :3].mean(axis=-1)
        dark, contrast = float(gray.min()), max(float(np.ptp(gray)), 1e-12)
        self.image_ = self.ax_.imshow(gray, cmap="gray", vmin=dark, vmax=dark + DARKENED * contrast)
        above = self.saliency[self.saliency > 0]
        highest = float(np.percentile(above, PERCENTILE)) if above.size else 1.0
        opacity = alpha * np.clip(self.saliency / highest, 0, 1)
        style = {"cmap": cmap, "alpha": opacity, "vmin": 0, "vmax": highest}
        self.im_ = self.ax_.imshow(self.saliency, **image_style(style, im_kw))
        self.ax_.set(xticks=[], yticks=[])
        if colorbar:
            self.figure_.colorbar(self.im_, ax=self.ax_, extend="max", label="saliency")
        if self.title is not None:
            self.ax_.set_title(self.title, fontsize=10)
        return self

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        *,
        image: int = 0,
        method: str = "gradient",
        target: Any = None,
        layer: str | None = None,
        window: Any = None,
        stride: Any = None,
        display_labels: Any = None,
        cmap: Any = "inferno",
        alpha: float = 0.8,
        colorbar: bool = True,
        im_kw: dict[str, Any] | None = None,
        ax: Any = None,
    ) -> "SaliencyDisplay":
        """Draw what the score of a class rests on in one image.

        Parameters
        ----------
        estimator : CNNClassifier, or Pipeline or search that ends in one
            A fitted one.
        X : array-like
            Images, as ``estimator.predict`` takes them.
        image : int, default=0
            Which of them; -1 is the last.
        method : {"gradient", "grad_cam", "occlusion"}, default="gradient"
            See the notes above.
        target : label or None, default=None
            The class, one of ``classes_``; None for the one that is predicted.
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
        check_choice(method, "method", METHODS)
        names = check_display_labels(display_labels, classifier.classes_)
        chosen = choose_image(find_images(estimator, X), image)
        probabilities = find_probabilities(classifier, chosen)[0]
        number = _number_of(target, classifier.classes_, probabilities)
        network = classifier.net_.module_
        with threads_that_exist():
            if method == "gradient":
                saliency = gradient(network, chosen, number)
            elif method == "grad_cam":
                saliency = grad_cam(network, chosen, number, _layer_with_maps(classifier, layer))
            else:
                part = _part_of(chosen.shape[1:3], window)
                half = (max(1, part[0] // 2), max(1, part[1] // 2))
                step = half if stride is None else as_pair(stride, "stride")
                saliency = occlusion(network, chosen, number, part, step, classifier._chunk)
        title = f"{method}: {names[number]} ({100 * probabilities[number]:.0f} %)"
        display = cls(as_pictures(chosen, classifier)[0], saliency, title)
        display.plot(cmap=cmap, alpha=alpha, colorbar=colorbar, im_kw=im_kw, ax=ax)
        return display


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
