"""Shapes worked out before anything is built, against numbers by hand and against torch."""

import re

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sklearn_cnn.network.build import build_network
from sklearn_cnn.network.layers import (
    ACTIVATION_NAMES,
    Activation,
    BatchNorm,
    Conv,
    Dense,
    Dropout,
    Flatten,
    Pool,
    check_layers,
    output_shapes,
)


def shape_after(layer, height, width, channels=3):
    """Shape of the maps that one layer makes of an image."""
    return output_shapes([layer, Flatten()], (height, width, channels))[0]


@pytest.mark.parametrize(
    ("layer", "height", "width", "expected"),
    [
        (Conv(8), 7, 10, (8, 7, 10)),
        (Conv(8), 1, 1, (8, 1, 1)),
        (Conv(8, 11), 2, 3, (8, 2, 3)),
        (Conv(8, 2), 7, 10, (8, 7, 10)),
        (Conv(8, 3, 2), 7, 10, (8, 4, 5)),
        (Conv(8, 3, (1, 3)), 7, 10, (8, 7, 4)),
        (Conv(8, (2, 3), (1, 2)), 7, 10, (8, 7, 5)),
        (Conv(8, 3, padding="valid"), 7, 10, (8, 5, 8)),
        (Conv(8, 7, padding="valid"), 7, 10, (8, 1, 4)),
        (Conv(8, (2, 5), padding="valid"), 7, 10, (8, 6, 6)),
        (Conv(8, 3, 2, "valid"), 7, 10, (8, 3, 4)),
        (Conv(8, 3, 20, "valid"), 7, 10, (8, 1, 1)),
        (Pool(), 6, 8, (3, 3, 4)),
        (Pool(), 7, 9, (3, 3, 4)),
        (Pool(size=1), 7, 9, (3, 7, 9)),
        (Pool(size=(7, 9)), 7, 9, (3, 1, 1)),
        (Pool(size=3, stride=2), 7, 8, (3, 3, 3)),
        (Pool(size=2, stride=3), 7, 8, (3, 2, 3)),
        (Pool("mean", (1, 2)), 7, 9, (3, 7, 4)),
        (Dropout(0.5), 7, 9, (3, 7, 9)),
        (BatchNorm(), 7, 9, (3, 7, 9)),
        (Activation(), 7, 9, (3, 7, 9)),
    ],
)
def test_shapes_by_hand(layer, height, width, expected):
    """Would catch rounding up where torch rounds down, and height and width swapped."""
    assert shape_after(layer, height, width) == expected


def test_a_whole_network_by_hand():
    """Would catch a shape that is not handed on from layer to layer."""
    layers = [Conv(8), Pool(), Activation(), Conv(4, 3, padding="valid"), Flatten(), Dense(5)]
    assert output_shapes(layers, (10, 6, 3)) == [
        (8, 10, 6),
        (8, 5, 3),
        (8, 5, 3),
        (4, 3, 1),
        (12,),
        (5,),
    ]


def test_vectors_keep_their_shape_through_the_rest():
    """Would catch a layer that is only known on maps."""
    layers = [Flatten(), Dropout(0.5), BatchNorm(), Activation()]
    assert output_shapes(layers, (2, 3, 4)) == [(24,)] * 4


@pytest.mark.parametrize(
    ("layer", "window", "maps"),
    [
        (Pool(size=(3, 1)), "3 x 1", (2, 5)),
        (Pool(size=(1, 6)), "1 x 6", (2, 5)),
        (Conv(8, (3, 1), padding="valid"), "3 x 1", (2, 5)),
        (Conv(8, (1, 6), padding="valid"), "1 x 6", (2, 5)),
    ],
)
def test_a_window_one_pixel_too_large(layer, window, maps):
    """Would catch maps without pixels; the fitting side is in the test of shapes by hand."""
    text = (
        f"layers[1] = {layer} does not fit: its window is {window}, but its input maps are "
        f"{maps[0]} x {maps[1]}. Use a smaller window"
    )
    with pytest.raises(ValueError, match=re.escape(text)):
        output_shapes([Activation(), layer, Flatten()], (*maps, 3))


@pytest.mark.parametrize("layer", [Conv(8), Pool(), Flatten()])
def test_layers_of_maps_after_flatten(layer):
    """Would catch a raw torch error at the first batch."""
    text = (
        f"layers[2] = {layer} needs feature maps, but it follows Flatten(), which returns a "
        "vector of 24 values. Put it before Flatten()."
    )
    with pytest.raises(ValueError, match=re.escape(text)):
        output_shapes([Activation(), Flatten(), layer], (2, 3, 4))


def test_a_dense_layer_without_flatten():
    """Would catch torch's dense layer along the width alone."""
    text = (
        "layers[1] = Dense(units=5) needs a vector, but the layer before it returns feature maps "
        "of shape (8, 2, 3) (channels, height, width). Put Flatten() before it."
    )
    with pytest.raises(ValueError, match=re.escape(text)):
        output_shapes([Conv(8), Dense(5)], (2, 3, 4))


def test_a_network_of_no_layers():
    with pytest.raises(ValueError, match=r"layers is empty. The smallest network is layers="):
        output_shapes([], (2, 3, 4))
    assert output_shapes([Flatten()], (2, 3, 4)) == [(24,)]


@pytest.mark.parametrize(("layers", "shape"), [([Conv(8)], (8, 2, 3)), ([Activation()], (4, 2, 3))])
def test_a_network_that_ends_in_maps(layers, shape):
    """Would catch an output layer of another size than the maps flattened."""
    text = f"feature maps of shape {shape} (channels, height, width). Add Flatten() at the end."
    with pytest.raises(ValueError, match=re.escape(text)):
        output_shapes(layers, (2, 3, 4))


@pytest.mark.parametrize("element", [Conv, Flatten])
def test_a_class_of_layers(element):
    """Forgotten brackets."""
    text = rf"layers\[1\] is the class {element.__name__}. Call it: {element.__name__}\(\.\.\.\)"
    with pytest.raises(ValueError, match=text):
        check_layers([Flatten(), element])


@pytest.mark.parametrize("element", ["conv", 8, None, [Flatten()], torch.nn.ReLU()], ids=repr)
def test_an_element_that_is_no_layer(element):
    """Would catch an AttributeError, and torch modules in the list without a word on callables."""
    kinds = "Conv, Pool, Flatten, Dense, Dropout, BatchNorm, Activation, Backbone"
    text = f"layers[1] must be one of {kinds}. Got {element!r}. To use PyTorch modules, pass a "
    with pytest.raises(ValueError, match=re.escape(text)) as caught:
        check_layers([Flatten(), element])
    assert "callable (image_shape, n_outputs) -> torch.nn.Module" in str(caught.value)


def test_layers_become_a_tuple():
    """Would catch a list that the user can change after it was checked."""
    assert check_layers([Flatten(), Dense(2)]) == (Flatten(), Dense(2))


SIDES = st.integers(1, 4)
SIZES = SIDES | st.tuples(SIDES, SIDES)


@st.composite
def convolutions(draw):
    kernel, stride = draw(SIZES), draw(SIZES)
    padding = draw(st.sampled_from(["same", "valid"]))
    return Conv(draw(st.integers(1, 5)), kernel, stride, padding, draw(st.booleans()))


SIMPLE = (
    st.just(BatchNorm())
    | st.builds(Dropout, st.floats(0, 0.9))
    | st.builds(Activation, st.sampled_from(ACTIVATION_NAMES))
)
POOLS = st.builds(Pool, st.sampled_from(["max", "mean"]), SIZES, st.none() | SIZES)
ON_MAPS = st.lists(convolutions() | POOLS | SIMPLE, min_size=1, max_size=5)
ON_VECTORS = st.lists(st.builds(Dense, st.integers(1, 5)) | SIMPLE, max_size=3)


def fits(layers, image_shape):
    """Whether every window finds maps that are large enough."""
    try:
        output_shapes([*layers, Flatten()], image_shape)
    except ValueError:
        return False
    return True


@given(
    on_maps=ON_MAPS,
    on_vectors=ON_VECTORS,
    image_shape=st.tuples(st.integers(1, 16), st.integers(1, 16), st.integers(1, 4)),
)
@settings(max_examples=50, deadline=None, derandomize=True)
def test_shapes_are_those_that_torch_gives(on_maps, on_vectors, image_shape):
    """Would catch any stack whose output layer does not fit what reaches it."""
    layers = []
    for layer in on_maps:
        layers += [layer] if fits([*layers, layer], image_shape) else []
    layers += [Flatten(), *on_vectors]
    height, width, channels = image_shape
    network = build_network(layers, image_shape, 2, np.zeros(channels), np.ones(channels))
    values = network.normalize(torch.zeros(2, channels, height, width))
    found = []
    for module in list(network)[1:]:
        values = module(values)
        found.append(tuple(values.shape[1:]))
    assert found == [*output_shapes(layers, image_shape), (2,)]


SIDE_AND_WINDOW = st.tuples(*[st.integers(1, 6)] * 4)


@given(sides=SIDE_AND_WINDOW, kind=st.sampled_from(["pool", "conv"]))
@settings(max_examples=50, deadline=None, derandomize=True)
def test_a_window_is_refused_exactly_where_torch_refuses_it(sides, kind):
    """Would catch a stack that torch takes and we refuse, or the reverse."""
    height, width, *window = sides
    if kind == "pool":
        layer, module = Pool(size=tuple(window)), torch.nn.MaxPool2d(window)
    else:
        layer = Conv(1, tuple(window), padding="valid")
        module = torch.nn.Conv2d(1, 1, tuple(window))
    try:
        module(torch.zeros(1, 1, height, width))
        taken = True
    except RuntimeError:
        taken = False
    assert fits([layer], (height, width, 1)) == taken
