"""From hyperparameters and the shape of an image to a list of layer descriptions."""

from math import log2
from numbers import Integral

import numpy as np

from sklearn_cnn._messages import is_count
from sklearn_cnn.network.layers import (
    Activation,
    ActivationName,
    BatchNorm,
    Conv,
    Dense,
    Dropout,
    Flatten,
    Layer,
    Pool,
    PoolKind,
    as_pair,
)

WIDTHS = (24, 48, 96, 192)
"""Channels of the first blocks of "auto"; further blocks keep the last width."""

FINAL_SIDE = 4
"""The side, in pixels, that "auto" shrinks the maps to; it pools none to less."""


def design_network(
    image_shape: tuple[int, int, int],
    *,
    conv_channels: object = "auto",
    kernel_size: object = 3,
    pooling: PoolKind = "max",
    pool_size: object = 2,
    dense_units: object = (128,),
    activation: ActivationName = "relu",
    batch_norm: bool = True,
    dropout: float = 0.0,
) -> tuple[Layer, ...]:
    """List the layers of a convolution, pooling, flattening, full-connection network.

    A block is convolution, maximum pooling, normalisation, activation; or convolution,
    normalisation, activation, mean pooling. A side too short to be pooled is left as it is, and a
    kernel is cut to what can touch the image, so every image has a network.

    Parameters
    ----------
    image_shape : tuple of int
        Height, width, channels.
    conv_channels : "auto", int or sequence of int
        Feature maps of each block. "auto" makes as many blocks as halving takes to come near to
        maps of 4 x 4, and the last of them does not pool where that would leave less.
    kernel_size, pool_size : int or (height, width)
        Sizes of the kernel and of the pooling window.
    pooling : {"max", "mean"}
        Kind of pooling, and with it the place in the block.
    dense_units : int or sequence of int
        Units of each hidden dense layer.
    activation : str
        Name of the activation.
    batch_norm : bool
        Whether a block normalises its maps.
    dropout : float
        Rate before every dense layer after the first, the output layer included.

    Returns
    -------
    tuple of layer descriptions
        Without the output layer.

    Raises
    ------
    ValueError
        If a value is out of range.

    Examples
    --------
    >>> from sklearn_cnn.network.design import design_network
    >>> for layer in design_network((8, 8, 1)):
    ...     print(layer)
    Conv(channels=24, kernel_size=(3, 3), stride=1, padding='same', bias=False)
    Pool(kind='max', size=(2, 2), stride=None)
    BatchNorm()
    Activation(name='relu')
    Flatten()
    Dense(units=128)
    Activation(name='relu')
    """
    height, width, _ = image_shape
    kernel = as_pair(kernel_size, "kernel_size")
    pool = as_pair(pool_size, "pool_size")
    layers: list[Layer] = []
    blocks = _block_channels(conv_channels, max(height, width), max(pool))
    for block, channels in enumerate(blocks, start=1):
        reach = (min(kernel[0], 2 * height - 1), min(kernel[1], 2 * width - 1))
        layers.append(Conv(channels, reach, bias=not batch_norm))
        window = (pool[0] if pool[0] <= height else 1, pool[1] if pool[1] <= width else 1)
        if isinstance(conv_channels, str) and 1 < block == len(blocks):
            left = max(height // window[0], width // window[1])
            window = window if left >= FINAL_SIDE else (1, 1)
        pools = [] if window == (1, 1) else [Pool(pooling, window)]
        norms = [BatchNorm()] if batch_norm else []
        if pooling == "mean":  # which does not commute with the activation, as the maximum does
            layers += [*norms, Activation(activation), *pools]
        else:
            layers += [*pools, *norms, Activation(activation)]
        height, width = height // window[0], width // window[1]
    layers.append(Flatten())
    for units in _counts(dense_units, "dense_units"):
        layers += [Dense(units), Activation(activation)]
        if dropout > 0:
            layers.append(Dropout(dropout))
    return tuple(layers)


def _block_channels(conv_channels: object, side: int, pool: int) -> tuple[int, ...]:
    if not isinstance(conv_channels, str):
        return _counts(conv_channels, "conv_channels")
    shrinkings = log2(max(side / FINAL_SIDE, 1)) / log2(max(pool, 2))
    n_blocks = max(1, round(shrinkings))
    return tuple(WIDTHS[min(block, len(WIDTHS) - 1)] for block in range(n_blocks))


def _counts(value: object, name: str) -> tuple[int, ...]:
    counts = (value,) if isinstance(value, Integral) else value
    if not (
        isinstance(counts, tuple | list | np.ndarray)
        and np.ndim(counts) == 1
        and all(map(is_count, counts))
    ):
        raise ValueError(f"{name} must hold whole numbers of at least 1. Got {name}={value!r}.")
    return tuple(int(count) for count in counts)
