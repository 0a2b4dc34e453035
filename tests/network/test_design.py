"""From hyperparameters to layers: how deep, how wide, and what thin images do to it."""

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sklearn_cnn.network.design import design_network
from sklearn_cnn.network.layers import (
    Activation,
    BatchNorm,
    Conv,
    Dense,
    Dropout,
    Flatten,
    Pool,
    output_shapes,
)


def channels_of(layers):
    return [layer.channels for layer in layers if isinstance(layer, Conv)]


def kernels_of(layers):
    return [layer.kernel_size for layer in layers if isinstance(layer, Conv)]


def windows_of(layers):
    return [layer.size for layer in layers if isinstance(layer, Pool)]


def last_maps(layers, image_shape):
    """Height and width of the maps that are flattened."""
    return output_shapes(layers, image_shape)[layers.index(Flatten()) - 1][1:]


@pytest.mark.parametrize(
    ("side", "n_blocks", "final_side"),
    [
        (1, 1, 1),
        (2, 1, 1),
        (3, 1, 1),
        (4, 1, 2),
        (5, 1, 2),
        (8, 1, 4),
        (10, 1, 5),
        (11, 1, 5),
        (12, 2, 6),
        (16, 2, 4),
        (22, 2, 5),
        (23, 3, 5),
        (24, 3, 6),
        (28, 3, 7),
        (31, 3, 7),
        (32, 3, 4),
        (64, 4, 4),
        (63, 4, 7),
        (224, 6, 7),
    ],
)
def test_auto_halves_down_to_four_pixels_and_not_below(side, n_blocks, final_side):
    """Would catch a depth that is off by one, or a last pool to maps of less than 4 x 4."""
    layers = design_network((side, side, 3))
    assert channels_of(layers) == [24, 48, 96, 192, 192, 192][:n_blocks]
    assert last_maps(layers, (side, side, 3)) == (final_side, final_side)


def test_every_block_pools_where_the_channels_are_given():
    """28 -> 14 -> 7 -> 3. Catches the rule of "auto" where the user says what there is."""
    layers = design_network((28, 28, 1), conv_channels=(32, 64, 128))
    assert last_maps(layers, (28, 28, 1)) == (3, 3)


@pytest.mark.parametrize(
    ("width", "n_blocks", "final_width"), [(1, 1, 1), (7, 1, 3), (28, 3, 7), (64, 4, 4)]
)
def test_images_of_one_row_or_column(width, n_blocks, final_width):
    """Would catch signals that stop at the first pool since their height is 1."""
    for turn in (1, -1):
        image_shape = (*(1, width)[::turn], 1)
        layers = design_network(image_shape)
        assert len(channels_of(layers)) == n_blocks
        assert last_maps(layers, image_shape) == (1, final_width)[::turn]
        assert set(kernels_of(layers)) <= {(1, 3)[::turn], (1, 1)}
        assert set(windows_of(layers)) <= {(1, 2)[::turn]}


@pytest.mark.parametrize(
    ("pool_size", "n_blocks"), [(1, 4), (2, 4), (3, 3), (4, 2), ((1, 4), 2), (64, 1), (65, 1)]
)
def test_larger_pools_make_fewer_blocks(pool_size, n_blocks):
    """Would catch a depth that supposes pools of 2, and a division by log2(1)."""
    assert len(channels_of(design_network((64, 64, 1), pool_size=pool_size))) == n_blocks


@pytest.mark.parametrize(
    ("conv_channels", "expected"),
    [
        (8, [8]),
        (np.int64(8), [8]),
        ((8,), [8]),
        ([8, 16, 4], [8, 16, 4]),
        (np.array([8, 16]), [8, 16]),
        ((), []),
    ],
)
def test_channels_as_given(conv_channels, expected):
    """Would catch a form of the parameter that is lost, or "auto" that overrules it."""
    assert channels_of(design_network((64, 64, 1), conv_channels=conv_channels)) == expected


@pytest.mark.parametrize(
    ("dense_units", "expected"),
    [
        ((), []),
        (8, [Dense(8)]),
        ([8, 4], [Dense(8), Dense(4)]),
        (np.array([8, 4]), [Dense(8), Dense(4)]),
    ],
)
def test_dense_units_as_given(dense_units, expected):
    """Would catch a hidden layer that cannot be left out."""
    layers = design_network((8, 8, 1), dense_units=dense_units)
    assert [layer for layer in layers if isinstance(layer, Dense)] == expected
    after = layers[layers.index(Flatten()) + 1 :]
    assert list(after) == [layer for dense in expected for layer in (dense, Activation())]


@pytest.mark.parametrize("name", ["conv_channels", "dense_units"])
@pytest.mark.parametrize(
    "value", [0, -1, True, (8, 0), [8, 2.0], ("8",), np.array([[8]]), np.array(8)], ids=repr
)
def test_invalid_counts(name, value):
    """Would catch an error that names an inner layer's parameter, or none."""
    text = f"{name} must hold whole numbers of at least 1. Got {name}={value!r}."
    with pytest.raises(ValueError, match=f"^{re.escape(text)}$"):
        design_network((8, 8, 1), **{name: value})


@pytest.mark.parametrize("name", ["kernel_size", "pool_size"])
@pytest.mark.parametrize("value", [0, (3, 0), (3, 3, 3), 2.0], ids=repr)
def test_invalid_sizes(name, value):
    """Would catch "size" in the message where the user wrote pool_size."""
    with pytest.raises(ValueError, match=f"^{name} must be .* {re.escape(f'{name}={value!r}')}"):
        design_network((8, 8, 1), **{name: value})


@pytest.mark.parametrize(
    ("image_shape", "pool_size", "windows", "maps"),
    [
        ((4, 4, 1), 2, [(2, 2), (2, 2)], (1, 1)),
        ((3, 3, 1), 2, [(2, 2)], (1, 1)),
        ((5, 5, 1), 5, [(5, 5)], (1, 1)),
        ((5, 5, 1), 6, [], (5, 5)),
        ((2, 9, 1), 3, [(1, 3), (1, 3)], (2, 1)),
        ((9, 2, 1), 3, [(3, 1), (3, 1)], (1, 2)),
        ((8, 8, 1), 1, [], (8, 8)),
    ],
)
def test_a_side_shorter_than_the_pool_is_left_alone(image_shape, pool_size, windows, maps):
    """Would catch a network that cannot be built for small images, or pools too early."""
    layers = design_network(image_shape, conv_channels=(4, 4, 4), pool_size=pool_size)
    assert windows_of(layers) == windows
    assert last_maps(layers, image_shape) == maps
    assert channels_of(layers) == [4, 4, 4]


@pytest.mark.parametrize(
    ("image_shape", "kernel_size", "expected"),
    [
        ((8, 8, 1), 3, (3, 3)),
        ((8, 8, 1), 15, (15, 15)),
        ((8, 8, 1), 16, (15, 15)),
        ((2, 9, 1), 5, (3, 5)),
        ((9, 2, 1), 5, (5, 3)),
        ((1, 9, 1), (3, 4), (1, 4)),
        ((1, 1, 1), 7, (1, 1)),
    ],
)
def test_a_kernel_is_cut_to_what_can_touch_the_image(image_shape, kernel_size, expected):
    """Would catch weights that only ever meet padding, or a kernel cut too short."""
    layers = design_network(image_shape, conv_channels=4, kernel_size=kernel_size)
    assert kernels_of(layers) == [expected]


def test_kernels_are_cut_by_the_maps_that_reach_them():
    """Would catch a cut by the image where pools have shrunk it."""
    layers = design_network((4, 4, 1), conv_channels=(4, 4, 4), kernel_size=5)
    assert kernels_of(layers) == [(5, 5), (3, 3), (1, 1)]


@pytest.mark.parametrize("pooling", ["max", "mean"])
def test_a_block_in_order(pooling):
    """Would catch layers in another order, and other values than the parameters.

    The mean is taken last: a mean of what a convolution gives is but a wider convolution.
    """
    layers = design_network(
        (8, 8, 1),
        conv_channels=(4, 6),
        kernel_size=5,
        pooling=pooling,
        dense_units=(7, 3),
        activation="tanh",
        dropout=0.25,
    )
    block = (Pool("max", (2, 2)), BatchNorm(), Activation("tanh"))
    if pooling == "mean":
        block = (BatchNorm(), Activation("tanh"), Pool("mean", (2, 2)))
    assert layers == (
        *(Conv(4, (5, 5), bias=False), *block),
        *(Conv(6, (5, 5), bias=False), *block),
        Flatten(),
        *(Dense(7), Activation("tanh"), Dropout(0.25)),
        *(Dense(3), Activation("tanh"), Dropout(0.25)),
    )


def test_without_batch_norm_the_kernels_have_a_bias():
    """Would catch maps without any offset."""
    layers = design_network((8, 8, 1), conv_channels=4, batch_norm=False)
    assert layers[:3] == (Conv(4, (3, 3), bias=True), Pool("max", (2, 2)), Activation())
    layers = design_network((8, 8, 1), conv_channels=4, batch_norm=False, pooling="mean")
    assert layers[:3] == (Conv(4, (3, 3), bias=True), Activation(), Pool("mean", (2, 2)))


@pytest.mark.parametrize(("dropout", "n_dropouts"), [(0, 0), (0.0, 0), (0.01, 2), (0.99, 2)])
def test_dropout_of_zero_adds_no_layer(dropout, n_dropouts):
    """Would catch a layer that does nothing, or a small rate that is dropped."""
    layers = design_network((8, 8, 1), dense_units=(4, 4), dropout=dropout)
    assert [layer for layer in layers if isinstance(layer, Dropout)] == (
        [Dropout(dropout)] * n_dropouts
    )


def test_dropout_without_hidden_layers():
    """Would catch dropout on the pixels' own maps, which the parameter does not promise."""
    layers = design_network((8, 8, 1), dense_units=(), dropout=0.5)
    assert layers[-1] == Flatten()


SIZES = st.integers(1, 20) | st.tuples(st.integers(1, 20), st.integers(1, 20))


@given(
    image_shape=st.tuples(st.integers(1, 300), st.integers(1, 300), st.integers(1, 4)),
    conv_channels=st.just("auto") | st.lists(st.integers(1, 9), max_size=8),
    kernel_size=SIZES,
    pool_size=SIZES,
    batch_norm=st.booleans(),
    pooling=st.sampled_from(["max", "mean"]),
)
@settings(max_examples=50, deadline=None, derandomize=True)
def test_every_image_has_a_network(image_shape, **parameters):
    """Would catch any image, kernel and pool that do not go together."""
    layers = design_network(image_shape, **parameters)
    shapes = output_shapes(layers, image_shape)
    assert min(min(shape) for shape in shapes) >= 1
