"""One row a layer: names, kinds, shapes and counts, against numbers by hand."""

import numpy as np
import pytest
import torch
from torch import nn

from sklearn_cnn.network.build import build_network
from sklearn_cnn.network.layers import (
    Activation,
    BatchNorm,
    Conv,
    Dense,
    Dropout,
    Flatten,
    Pool,
)
from sklearn_cnn.network.outputs import LayerRow, layer_table

LAYERS = [
    Conv(8, (3, 5), bias=False),
    Pool(),
    BatchNorm(),
    Activation(),
    Conv(4, 3, padding="valid"),
    Flatten(),
    Dropout(0.5),
    Dense(10),
]


def built(layers, image_shape=(10, 8, 3), n_outputs=7):
    channels = image_shape[2]
    return build_network(layers, image_shape, n_outputs, np.zeros(channels), np.ones(channels))


def test_rows_by_hand():
    """Would catch counts that are off, shapes with the channels first, and rows out of order."""
    assert layer_table(built(LAYERS), (10, 8, 3)) == (
        LayerRow("normalize", "Normalize", (10, 8, 3), 0),
        LayerRow("conv1", "Conv2d", (10, 8, 8), 3 * 8 * 3 * 5),
        LayerRow("pool1", "MaxPool2d", (5, 4, 8), 0),
        LayerRow("norm1", "BatchNorm2d", (5, 4, 8), 2 * 8),
        LayerRow("activation1", "ReLU", (5, 4, 8), 0),
        LayerRow("conv2", "Conv2d", (3, 2, 4), 4 * (8 * 3 * 3 + 1)),
        LayerRow("flatten", "Flatten", (24,), 0),
        LayerRow("dropout1", "Dropout", (24,), 0),
        LayerRow("dense1", "Linear", (10,), 10 * (24 + 1)),
        LayerRow("output", "Linear", (7,), 7 * (10 + 1)),
    )


def test_counts_add_up_to_the_networks_parameters():
    """Would catch weights that no row counts, or that two do."""
    network = built(LAYERS)
    rows = layer_table(network, (10, 8, 3))
    assert sum(row.n_parameters for row in rows) == sum(p.numel() for p in network.parameters())


def test_frozen_weights_are_counted():
    """Would catch a count of what is trained alone, by which work and memory are planned."""
    network = built(LAYERS)
    counts = {row.name: row.n_parameters for row in layer_table(network, (10, 8, 3))}
    network.dense1.weight.requires_grad_(False)
    assert {row.name: row.n_parameters for row in layer_table(network, (10, 8, 3))} == counts


class Branches(nn.Module):
    """Two branches, run in another order than they are listed, and a leaf that never runs."""

    def __init__(self):
        super().__init__()
        self.second = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
        self.first = nn.Sequential(nn.Identity())
        self.unused = nn.Linear(3, 3)

    def forward(self, x):
        return self.second(self.first(x))


def test_a_user_defined_network_is_listed_by_its_innermost_modules():
    """Would catch containers among the rows, names without their path, or the order of listing."""
    network = built(lambda image_shape, n_outputs: Branches(), (2, 2, 1), 2)
    assert layer_table(network, (2, 2, 1)) == (
        LayerRow("normalize", "Normalize", (2, 2, 1), 0),
        LayerRow("network.first.0", "Identity", (2, 2, 1), 0),
        LayerRow("network.second.0", "Flatten", (4,), 0),
        LayerRow("network.second.1", "Linear", (2,), 10),
    )


class Recurrent(nn.Module):
    """Reads the rows of an image as a sequence; its inner module gives a tuple."""

    def __init__(self):
        super().__init__()
        self.gru = nn.GRU(3, 5, batch_first=True)
        self.last = nn.Linear(5, 2)

    def forward(self, x):
        values, _ = self.gru(x[:, 0])
        return self.last(values[:, -1])


def test_a_module_that_gives_a_tuple_is_left_out():
    """Would catch an AttributeError on whatever is no tensor."""
    rows = layer_table(built(lambda image_shape, n_outputs: Recurrent(), (4, 3, 1), 2), (4, 3, 1))
    assert [row.name for row in rows] == ["normalize", "network.last"]


@pytest.mark.parametrize("fails", [False, True])
def test_nothing_is_left_on_the_network(fails):
    """Would catch hooks that stay, after a failure too, and statistics that a blank image moved."""
    network = built(LAYERS)
    before = {name: values.clone() for name, values in network.state_dict().items()}
    if fails:
        with pytest.raises(RuntimeError):
            layer_table(network, (9, 9, 1))
    else:
        layer_table(network, (10, 8, 3))
    assert not any(module._forward_hooks for module in network.modules())
    for name, values in network.state_dict().items():
        assert torch.equal(values, before[name]), name


def test_no_gradient_and_no_random_number():
    """Would catch a table that changes the seed of the training after it."""
    network, state = built(LAYERS).train(), torch.get_rng_state()
    layer_table(network, (10, 8, 3))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(parameter.grad is None for parameter in network.parameters())
