"""A copy of a network shares nothing with it but what torch refuses to copy."""

from copy import deepcopy

import pytest
import torch
from torch import nn

from sklearn_cnn.network.modules import copy_network


class Keeps(nn.Module):
    """Keeps its maps for whoever wants to see them: bare, in a list, and in a dict of tuples."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 1)
        self.kept, self.in_list, self.in_dict = None, [], {}

    def forward(self, x):
        self.kept = self.conv(x)
        self.in_list.append([self.kept * 2])
        self.in_dict["maps"] = (self.kept * 3, "a word")
        return self.kept.mean((2, 3))


@pytest.fixture
def network():
    """One that has just made a training step."""
    made = nn.Sequential(Keeps(), nn.BatchNorm1d(2), nn.Linear(2, 3))
    made(torch.arange(16.0).reshape(4, 1, 2, 2)).sum().backward()
    return made


def test_maps_of_a_training_step_do_not_stop_the_copy(network):
    """The first assertion says when the module can go: once torch copies such values itself."""
    with pytest.raises(RuntimeError, match="created explicitly by the user"):
        deepcopy(network)
    copy = copy_network(network)
    assert copy[0].kept is network[0].kept
    images = torch.ones(5, 1, 2, 2)
    torch.testing.assert_close(copy.eval()(images), network.eval()(images), rtol=0, atol=0)


def test_the_copy_has_weights_lists_and_hooks_of_its_own(network):
    """Catches a memo that shares more than it must."""
    before = {name: value.clone() for name, value in network.state_dict().items()}
    copy = copy_network(network)
    copy[2].register_forward_hook(lambda *_: None)
    with torch.no_grad():
        for value in (*copy.parameters(), *copy.buffers()):
            value += 1
    copy(torch.ones(5, 1, 2, 2))
    assert len(copy[0].in_list) == 2
    assert len(network[0].in_list) == 1
    assert len(network[0].kept) == len(network[0].in_dict["maps"][0]) == 4
    assert not network[2]._forward_hooks
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_a_layer_that_stands_twice_stands_twice_in_the_copy():
    """Catches a copy of shared weights that are shared no longer."""
    layer = nn.Linear(2, 2)
    copy = copy_network(nn.Sequential(layer, nn.ReLU(), layer))
    assert copy[0] is copy[2]
    assert copy[0] is not layer
