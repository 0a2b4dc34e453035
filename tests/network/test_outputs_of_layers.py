"""What enters and leaves the layers of a network: values by hand, and a network left alone."""

import gc
import re
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from torch import nn

from sklearn_cnn.network.build import build_network
from sklearn_cnn.network.layers import Activation, Conv, Dense, Flatten, Pool
from sklearn_cnn.network.outputs import LayerOutputs, Source


def set_weights(module, weight, bias):
    module.weight.data.copy_(torch.tensor(weight))
    module.bias.data.copy_(torch.tensor(bias))


def outputs(network, pixels, *sources):
    with torch.no_grad():
        return [value.tolist() for value in LayerOutputs(network.eval(), sources)(pixels)]


GRAY = [[1, 5, 2, 0], [3, 4, 8, 6], [9, 7, 1, 1], [0, 0, 2, 4]]


@pytest.mark.parametrize(
    ("kind", "pooled", "vector"),
    [
        ("max", [[6.5, 10.5], [12.5, 6.5]], [6.5, 10.5, 12.5, 6.5]),
        ("mean", [[-10 / 4, 18 / 4], [14 / 4, 4 / 4]], [0, 4.5, 3.5, 1]),
    ],
)
def test_one_channel_by_hand(kind, pooled, vector):
    """Catches maps of the layer before or after, raw pixels under the kernel, a zero that is
    padded before the normalisation, and max for mean."""
    layers = [Conv(1, (1, 2)), Pool(kind), Activation(), Flatten(), Dense(2), Activation()]
    network = build_network(layers, (4, 4, 1), 2, np.array([1.0]), np.array([0.5]))
    set_weights(network.conv1, [[[[1, -1]]]], [0.5])
    set_weights(network.dense1, [[1, 1, 1, 1], [0, 0, 0, -1]], [0, 0.5])
    set_weights(network.output, [[1, 0], [0, 1]], [0, 0])
    names = "normalize", "conv1", "pool1", "flatten", "dense1", "activation2"
    pixels = torch.tensor(GRAY, dtype=torch.uint8)[None, None]
    sources = [*map(Source, names), Source("output", is_input=True)]
    found = dict(zip([*names, "features"], outputs(network, pixels, *sources), strict=True))
    whole = [[0, 8, 2, -2], [4, 6, 14, 10], [16, 12, 0, 0], [-2, -2, 2, 6]]  # (pixel - 1) / 0.5
    differences = [  # of a value and its right neighbour, plus 0.5
        [-7.5, 6.5, 4.5, -1.5],
        [-1.5, -7.5, 4.5, 10.5],
        [4.5, 12.5, 0.5, 0.5],
        [0.5, -3.5, -3.5, 6.5],
    ]
    for name, expected in (("normalize", whole), ("conv1", differences), ("pool1", pooled)):
        assert np.squeeze(found[name], (0, 3)).tolist() == expected
    assert found["flatten"] == [vector]
    assert found["dense1"] == [[sum(vector), 0.5 - vector[3]]]
    assert found["activation2"] == found["features"] == [[sum(vector), 0]]


@pytest.mark.parametrize(("kind", "pooled"), [("max", [37, 0]), ("mean", [76 / 4, -6 / 4])])
def test_two_channels_by_hand(kind, pooled):
    """Catches channels first, and one channel's mean or deviation for the other's."""
    layers = [Conv(2, 1), Pool(kind), Flatten()]
    mean, std = np.array([1.0, 10.0]), np.array([0.5, 10.0])
    network = build_network(layers, (2, 2, 2), 2, mean, std)
    # the first map is channel 0 and ten times channel 1, plus 1; the second is channel 1 negated
    set_weights(network.conv1, [[[[1]], [[10]]], [[[0]], [[-1]]]], [1, 0])
    pixels = torch.tensor([[[[1, 2], [3, 4]], [[10, 20], [30, 40]]]], dtype=torch.uint8)
    found = outputs(network, pixels, *map(Source, ["normalize", "conv1", "pool1", "flatten"]))
    whole, maps, after_pool, vector = (value[0] for value in found)
    assert whole == [[[0, 0], [2, 1]], [[4, 2], [6, 3]]]
    assert maps == [[[1, 0], [13, -1]], [[25, -2], [37, -3]]]
    assert after_pool == [[pooled]]
    assert vector == pooled


class Wrapped(nn.Sequential):
    """As :func:`build_network` wraps a user-defined module, with a buffer and nothing else."""

    def __init__(self, *modules):
        super().__init__(*modules)
        self.register_buffer("zero", torch.zeros(()))


@pytest.mark.parametrize("is_input", [False, True])
def test_a_later_layer_that_writes_in_place_changes_nothing(is_input):
    """Catches values that are kept and not copied."""
    network = Wrapped(nn.Identity(), nn.Identity(), nn.ReLU(inplace=True))
    source = Source("1", is_input)
    assert outputs(network, torch.tensor([[-1.0, 2.0]]), source) == [[[-1, 2]]]


def test_of_a_layer_that_runs_twice_the_last():
    """Catches the first, and an input that is not the one of the last run."""
    double = nn.Linear(1, 1)
    set_weights(double, [[2]], [1])
    network = Wrapped(double, double, nn.Flatten())
    sources = Source("0"), Source("0", is_input=True)
    assert outputs(network, torch.tensor([[1.0], [5]]), *sources) == [[[7], [23]], [[3], [11]]]


class ByKeyword(nn.Module):
    """Calls its layer as no Sequential does."""

    def __init__(self):
        super().__init__()
        self.dense = nn.Linear(2, 1)

    def forward(self, x):
        return self.dense(input=x + 1)


def test_an_input_that_is_passed_by_keyword():
    """Catches an IndexError."""
    assert outputs(ByKeyword(), torch.ones(1, 2), Source("dense", is_input=True)) == [[[2, 2]]]


class Scalar(nn.Module):
    """One value for all images."""

    def forward(self, x):
        return x.mean()


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (Scalar(), "()"),
        (nn.Flatten(0), "(36,)"),
        (nn.Flatten(0, 1), "(6, 2, 3)"),
        (nn.Unflatten(0, (1, 3)), "(1, 3, 2, 2, 3)"),
    ],
    ids=["scalar", "one vector", "rows of channels", "a leading axis"],
)
def test_a_layer_without_a_row_for_each_image(layer, shape):
    """Catches features of other images, or torch's own error on a scalar."""
    text = f"Layer '0' returns values of shape {shape} for 3 images, not one row per image."
    with pytest.raises(ValueError, match=f"^{re.escape(text)} Choose another layer.$"):
        outputs(Wrapped(layer), torch.ones(3, 2, 2, 3), Source("0"))


def test_sequences_stay_as_they_are():
    """Catches axes that are moved in what are no maps."""
    network = Wrapped(nn.Flatten(1, 2))
    pixels = torch.arange(24.0).reshape(1, 2, 3, 4)
    assert outputs(network, pixels, Source("0")) == [pixels.reshape(1, 6, 4).tolist()]


def test_the_network_is_left_alone(left_alone):
    """Catches hooks, weights or running statistics of the network itself."""
    network = Wrapped(nn.Conv2d(2, 3, 1), nn.BatchNorm2d(3), nn.Flatten()).train()
    with left_alone(network):
        copy = LayerOutputs(network, [Source("0"), Source("2", is_input=True)])
        copy(torch.rand(4, 2, 2, 2))
    assert network.training


def test_the_copy_goes_with_its_owner():
    """Catches hooks that hold it, and with it a GPU's memory, until Python looks for cycles."""
    outputs_of_layers = LayerOutputs(Wrapped(nn.Identity()), [Source("0"), Source("0", True)])
    outputs_of_layers(torch.ones(1, 2))
    copy = weakref.ref(outputs_of_layers.network)
    gc.disable()
    try:
        del outputs_of_layers
        assert copy() is None
    finally:
        gc.enable()


MEETING = threading.Barrier(2, timeout=30)


class Meet(nn.Module):
    """Goes on when two threads are here."""

    def forward(self, x):
        MEETING.wait()
        return x


def test_two_threads_at_once_get_their_own_values():
    """Catches values that the threads keep in one place: both have gone through layer 0."""
    network = LayerOutputs(Wrapped(nn.Identity(), Meet()), [Source("0"), Source("1")])
    pixels = [torch.full((n, 2), float(n)) for n in (1, 2)]
    with ThreadPoolExecutor(2) as pool:
        for given, found in zip(pixels, pool.map(network, pixels), strict=True):
            assert all(torch.equal(value, given) for value in found)


def test_sources_come_in_the_order_asked_for():
    """Catches the order in which the layers run."""
    network = Wrapped(nn.Threshold(0, 5), nn.Threshold(9, 7))
    sources = Source("1"), Source("0"), Source("0", is_input=True)
    assert outputs(network, torch.tensor([[0.0]]), *sources) == [[[7]], [[5]], [[0]]]
