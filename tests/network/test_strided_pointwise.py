"""Strided convolutions of one pixel: equal to torch's, and found in whatever module runs them."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from sklearn_cnn import Conv, Flatten
from sklearn_cnn.network.build import build_network
from sklearn_cnn.network.modules import ModuleWatch, StridedPointwise

LAST = torch.channels_last


@pytest.mark.parametrize("stride", [(2, 2), (1, 3), (4, 1)])
@pytest.mark.parametrize("bias", [True, False])
def test_equal_to_torchs_layer(stride, bias):
    """Output and gradients. Catches rows and columns swapped, a bias that is lost."""
    ours = StridedPointwise(3, 5, (1, 1), stride=stride, bias=bias).double()
    torchs = nn.Conv2d(3, 5, 1, stride=stride, bias=bias).double()
    torchs.load_state_dict(ours.state_dict())
    images = torch.randn(4, 3, 9, 8, dtype=torch.float64, requires_grad=True)
    found, expected = ours(images), torchs(images)
    torch.testing.assert_close(found, expected)
    slopes = torch.randn_like(expected)
    for mine, its in zip(
        torch.autograd.grad(found, [images, *ours.parameters()], slopes),
        torch.autograd.grad(expected, [images, *torchs.parameters()], slopes),
        strict=True,
    ):
        torch.testing.assert_close(mine, its)


@pytest.mark.parametrize(
    ("layer", "kind"),
    [
        (Conv(4, 1, 2), StridedPointwise),
        (Conv(4, 1, (1, 2), padding="valid"), StridedPointwise),
        (Conv(4, 1), nn.Conv2d),
        (Conv(4, 3, 2), nn.Conv2d),
        (Conv(4, (1, 3), 2), nn.Conv2d),
    ],
)
def test_which_descriptions_become_one(layer, kind):
    network = build_network([layer, Flatten()], (6, 6, 2), 3, np.zeros(2), np.ones(2))
    assert type(network.conv1) is kind


class Own(nn.Module):
    """A convolution as it is called, and a dense layer."""

    def __init__(self, call, n_outputs):
        super().__init__()
        self.call = call
        self.weight = nn.Parameter(torch.randn(4, 2, 1, 1))
        self.last = nn.LazyLinear(n_outputs)

    def forward(self, x):
        return self.last(self.call(self, x).flatten(1))


CALLS = {
    "a stride": (lambda own, x: functional.conv2d(x, own.weight, stride=2), True, False),
    "in one direction": (lambda own, x: torch.conv2d(x, own.weight, stride=(1, 2)), True, False),
    "images turned round": (
        lambda own, x: functional.conv2d(x.to(memory_format=LAST), own.weight, stride=2),
        True,
        True,
    ),
    "a weight turned round": (
        lambda own, x: functional.conv2d(x, own.weight.to(memory_format=LAST), stride=2),
        True,
        True,
    ),
    "no stride": (
        lambda own, x: functional.conv2d(x.to(memory_format=LAST), own.weight),
        False,
        False,
    ),
    "a larger kernel": (
        lambda own, x: functional.conv2d(x, own.weight.expand(4, 2, 1, 3), stride=2),
        False,
        False,
    ),
    "transposed": (
        lambda own, x: functional.conv_transpose2d(x, own.weight.transpose(0, 1), stride=2),
        False,
        False,
    ),
}


@pytest.mark.parametrize("name", CALLS)
def test_functions_are_seen(name):
    """Catches a look at modules alone, and contiguous memory where channels_last is sound."""
    call, is_one, is_unsound = CALLS[name]
    made = (lambda shape, n: Own(call, n), (6, 7, 2), 3, np.zeros(2), np.ones(2))
    if is_unsound:
        with pytest.raises(ValueError, match=r"channels_last memory before a .* stride of 1\.$"):
            build_network(*made)
    network = build_network(*made, device=torch.device("cuda"))
    assert network.normalize.is_contiguous_on_cpus is is_one
    images = torch.zeros(2, 6, 7, 2).permute(0, 3, 1, 2)
    assert network.normalize(images).is_contiguous() is is_one


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("sides", [(1, 1), (1, 4), (3, 1), (3, 4)])
@pytest.mark.parametrize("kind", ["plain", "turned", "viewed", "stepped", "repeated"])
def test_torchs_rule_for_memory(channels, sides, kind):
    """By the layout of what torch itself puts out, given what was noted of what went in.

    Catches is_contiguous, which is true of maps of one channel in either order.
    """
    images = torch.randn(5, channels, *sides)
    images = {
        "plain": images,
        "turned": images.to(memory_format=LAST),
        "viewed": torch.randn(5, *sides, channels).permute(0, 3, 1, 2),
        "stepped": torch.randn(5, *sides, 2 * channels).permute(0, 3, 1, 2)[:, ::2],
        "repeated": torch.randn(5, 1, *sides).expand(5, channels, *sides),
    }[kind]
    weight = torch.randn(3, channels, 1, 1)
    with ModuleWatch() as watch:
        output = functional.conv2d(images, weight, stride=(1, 2))
    assert watch.has_strided_pointwise
    if max(output.shape[2:]) > 1:  # else both orders are the same
        assert watch.is_unsound is (output.stride(1) == 1)
