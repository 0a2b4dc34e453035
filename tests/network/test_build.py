"""The module that is built: its arithmetic by hand, its names, and user-defined callables."""

import re

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from sklearn_cnn.network.build import build_network
from sklearn_cnn.network.layers import Activation, BatchNorm, Conv, Dense, Dropout, Flatten, Pool


def built(layers, image_shape, n_outputs=2, dtype=torch.float32):
    """A network that leaves the pixels as they are: mean 0, standard deviation 1."""
    mean, std = np.zeros(image_shape[2]), np.ones(image_shape[2])
    return build_network(layers, image_shape, n_outputs, mean, std, dtype)


def gray(rows):
    """One gray image as a tensor of shape (1, 1, height, width)."""
    return torch.tensor(rows, dtype=torch.float32)[None, None]


def set_weights(module, weight, bias=None):
    module.weight.data.copy_(torch.tensor(weight))
    if bias is not None:
        module.bias.data.copy_(torch.tensor(bias))


IMAGE = [[1, 2, 3], [4, 5, 6], [7, 8, 9]]
PLUS = [[0, 1, 0], [2, 3, 4], [0, 5, 0]]


@pytest.mark.parametrize(
    ("layer", "kernel", "expected"),
    [
        # 1*2 + 2*4 + 3*5 + 4*6 + 5*8, the kernel not turned over
        (Conv(1, 3, padding="valid"), PLUS, [[89]]),
        # top left: 3*1 + 4*2 + 5*4; bottom right: 1*6 + 2*8 + 3*9
        (Conv(1, 3), PLUS, [[31, 45, 43], [68, 89, 76], [57, 79, 49]]),
        (Conv(1, 3, 2), PLUS, [[31, 43], [57, 49]]),
        (Conv(1, (1, 3), padding="valid"), [[1, 0, -1]], [[-2], [-2], [-2]]),
        (Conv(1, (3, 1), padding="valid"), [[1], [0], [-1]], [[-6, -6, -6]]),
        (Conv(1, 2, padding="valid"), [[1, 2], [3, 4]], [[37, 47], [67, 77]]),
        # an even kernel finds its zeros below and to the right: 1*3 + 3*6, 1*7 + 2*8, 1*9
        (Conv(1, 2), [[1, 2], [3, 4]], [[37, 47, 21], [67, 77, 33], [23, 26, 9]]),
        (Conv(1, (1, 2)), [[1, 10]], [[21, 32, 3], [54, 65, 6], [87, 98, 9]]),
        (Conv(1, (2, 1), (1, 2)), [[1], [10]], [[41, 63], [74, 96], [7, 9]]),
    ],
)
def test_convolution_by_hand(layer, kernel, expected):
    """Would catch a kernel turned over, padding on the wrong side, and a step that is off."""
    network = built([layer, Flatten()], (3, 3, 1))
    set_weights(network.conv1, [[kernel]], [0.5])
    found = network.conv1(gray(IMAGE))
    assert found[0, 0].tolist() == [[value + 0.5 for value in row] for row in expected]


def test_convolution_sums_over_the_channels_by_hand():
    """Would catch channels that are convolved each alone, or mixed up."""
    network = built([Conv(2, 1, bias=False), Flatten()], (1, 2, 3))
    set_weights(network.conv1, [[[[1]], [[10]], [[100]]], [[[0]], [[0]], [[-1]]]])
    image = torch.tensor([[[[1.0, 2.0]], [[3.0, 4.0]], [[5.0, 6.0]]]])
    assert network.conv1(image).tolist() == [[[[531, 642]], [[-5, -6]]]]
    assert network.conv1.bias is None


GRID = [[1, 5, 2, 0], [3, 4, 8, 6], [9, 7, 1, 1], [0, 0, 2, 4]]


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        (Pool(), [[5, 8], [9, 4]]),
        (Pool("mean"), [[13 / 4, 16 / 4], [16 / 4, 8 / 4]]),
        (Pool("max", (1, 2)), [[5, 2], [4, 8], [9, 1], [0, 4]]),
        (Pool("mean", (4, 1)), [[13 / 4, 16 / 4, 13 / 4, 11 / 4]]),
        (Pool("max", 3), [[9]]),
        (Pool("mean", 3), [[40 / 9]]),
        (Pool("max", 3, 1), [[9, 8], [9, 8]]),
        (Pool("max", 1, 2), [[1, 2], [9, 1]]),
    ],
)
def test_pooling_by_hand(layer, expected):
    """Would catch max for mean, a border that is padded, and a step that is not the window's."""
    network = built([layer, Flatten()], (4, 4, 1))
    torch.testing.assert_close(network.pool1(gray(GRID))[0, 0], torch.tensor(expected).float())


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_flattening_goes_row_by_row_pixel_by_pixel(memory_format):
    """Would catch an order that follows the memory in place of the documented one."""
    channels, height, width = 3, 4, 5
    maps = torch.randn(2, channels, height, width).contiguous(memory_format=memory_format)
    vector = built([Flatten()], (height, width, channels)).flatten(maps)
    for c, row, column in np.ndindex(channels, height, width):
        index = (row * width + column) * channels + c
        assert torch.equal(vector[:, index], maps[:, c, row, column])


def test_dense_layers_by_hand():
    """Would catch a transposed weight, a lost bias, or an activation after the output."""
    network = built([Flatten(), Dense(2), Activation()], (1, 3, 1))
    set_weights(network.dense1, [[1, 2, 3], [-1, 0, 1]], [0.5, -4])
    set_weights(network.output, [[1, 10], [-1, 1]], [100, 0])
    # [1, 2, 4]: 1 + 4 + 12 + 0.5 = 17.5; -1 + 4 - 4 = -1, which relu makes 0
    assert network(gray([[1, 2, 4]])).tolist() == [[117.5, -17.5]]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("relu", [0, 0, 2]),
        ("leaky_relu", [-0.01, 0, 2]),
        ("elu", [np.exp(-1) - 1, 0, 2]),
        ("gelu", [-0.158655, 0, 1.954500]),  # x times the normal distribution function at x
        ("silu", [-1 / (1 + np.e), 0, 2 / (1 + np.exp(-2))]),
        ("tanh", [np.tanh(-1), 0, np.tanh(2)]),
        ("sigmoid", [1 / (1 + np.e), 0.5, 1 / (1 + np.exp(-2))]),
    ],
)
def test_activations_by_hand(name, expected):
    """Would catch a name that stands for another function."""
    network = built([Activation(name), Flatten()], (1, 3, 1))
    found = network.activation1(gray([[-1, 0, 2]])).flatten()
    torch.testing.assert_close(found, torch.tensor(expected).float(), rtol=0, atol=1e-6)


def test_names_and_order():
    """Would catch names that move, on which weights, tables and checkpoints depend."""
    layers = [Conv(2), BatchNorm(), Activation(), Conv(2), Pool(), Dropout(0.1), Flatten()]
    network = built([*layers, Dense(3), BatchNorm(), Activation("tanh"), Dense(4)], (4, 4, 1), 5)
    names = (
        "normalize conv1 norm1 activation1 conv2 pool1 dropout1 flatten "
        "dense1 norm2 activation2 dense2 output"
    )
    assert list(dict(network.named_children())) == names.split()
    assert isinstance(network.norm1, nn.BatchNorm2d)
    assert isinstance(network.norm2, nn.BatchNorm1d)
    assert network.dropout1.p == 0.1


def test_a_network_equals_plain_torch():
    """Would catch anything between the layers that is not in their list."""
    layers = [Conv(4), Pool("mean"), BatchNorm(), Activation("gelu"), Flatten(), Dense(5)]
    mean, std = np.array([3.0, 5.0]), np.array([2.0, 4.0])
    network = build_network(layers, (6, 5, 2), 3, mean, std, torch.float64)
    pixels = torch.randint(0, 256, (7, 2, 6, 5), dtype=torch.uint8)
    weights = network.state_dict()
    x = (pixels.double() - torch.tensor([[[3.0]], [[5.0]]])) / torch.tensor([[[2.0]], [[4.0]]])
    x = functional.conv2d(x, weights["conv1.weight"], weights["conv1.bias"], padding=1)
    x = functional.avg_pool2d(x, 2)
    x = functional.batch_norm(x, None, None, training=True)
    x = functional.gelu(x).permute(0, 2, 3, 1).flatten(1)
    x = functional.linear(x, weights["dense1.weight"], weights["dense1.bias"])
    x = functional.linear(x, weights["output.weight"], weights["output.bias"])
    torch.testing.assert_close(network(pixels), x)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("default", [torch.float32, torch.float64, torch.float16])
@pytest.mark.parametrize("own", [False, True], ids=["described", "callable"])
def test_dtype_is_the_one_asked_for(dtype, default, own):
    """Would catch weights in torch's global default dtype, or a default that is changed."""
    described = [Conv(2), Conv(2, 2), Pool(), BatchNorm(), Flatten(), Dense(3), BatchNorm()]
    torch.set_default_dtype(default)
    try:
        network = built(small_module if own else described, (4, 4, 1), 2, dtype)
        assert torch.get_default_dtype() == default
        outputs = network(torch.ones(3, 1, 4, 4, dtype=torch.uint8))
    finally:
        torch.set_default_dtype(torch.float32)
    assert outputs.dtype == dtype
    floating = [v for v in network.state_dict().values() if v.is_floating_point()]
    assert {values.dtype for values in floating} == {dtype}


def test_kernels_lie_channels_last():
    """Would catch a lost memory format, which makes convolution on a CPU slower."""
    network = built([Conv(8), Flatten()], (4, 4, 3))
    assert network.conv1.weight.is_contiguous(memory_format=torch.channels_last)


def small_module(image_shape, n_outputs):
    return nn.Sequential(nn.Flatten(), nn.Linear(int(np.prod(image_shape)), n_outputs))


def test_a_callable_gets_shape_and_outputs_and_standardised_images():
    """Would catch arguments in another order, and raw pixels."""
    seen = []

    def factory(image_shape, n_outputs):
        seen.append((image_shape, n_outputs))
        return small_module(image_shape, n_outputs)

    network = build_network(factory, (2, 3, 1), 4, np.array([5.0]), np.array([2.0]))
    assert seen == [((2, 3, 1), 4)]
    assert list(dict(network.named_children())) == ["normalize", "network"]
    pixels = torch.full((1, 1, 2, 3), 9, dtype=torch.uint8)  # (9 - 5) / 2 = 2
    torch.testing.assert_close(network(pixels), network.network(torch.full((1, 1, 2, 3), 2.0)))


def test_a_class_of_modules_is_a_callable():
    """Would catch a class that is taken for something else than what makes its instances."""

    class Own(nn.Sequential):
        def __init__(self, image_shape, n_outputs):
            super().__init__(small_module(image_shape, n_outputs))

    assert isinstance(built(Own, (2, 2, 1)).network, Own)


def test_lazy_modules_take_their_size_from_the_image():
    """Would catch torch's refusal to move weights that have no shape yet."""
    lazy = nn.Sequential(nn.LazyConv2d(4, 3), nn.Flatten(), nn.LazyLinear(2))
    network = built(lambda image_shape, n_outputs: lazy, (5, 5, 3), dtype=torch.float64)
    assert network.network[2].weight.shape == (2, 4 * 3 * 3)
    assert network.network[2].weight.dtype == torch.float64


@pytest.mark.parametrize(
    ("outputs", "got"),
    [
        (lambda n: nn.Linear(4, n - 1), "(1, 2)"),
        (lambda n: nn.Linear(4, n + 1), "(1, 4)"),
        (lambda n: nn.Unflatten(1, (1, 4)), "(1, 1, 4)"),
        (lambda n: nn.Flatten(0), "(4,)"),
    ],
)
def test_a_module_with_another_number_of_outputs(outputs, got):
    """Would catch labels that index out of the logits, or classes that cannot be predicted."""
    text = (
        "The module that layers returned must return 3 outputs per image, one for each class or "
        f"target: expected shape (1, 3) for one image, got {got}."
    )
    with pytest.raises(ValueError, match=f"^{re.escape(text)}$"):
        built(lambda _, n: nn.Sequential(nn.Flatten(), outputs(n)), (2, 2, 1), 3)


@pytest.mark.parametrize(
    ("returned", "kind"), [(None, "NoneType"), ([nn.Flatten()], "list"), (nn.Linear, "type")]
)
def test_a_callable_that_returns_no_module(returned, kind):
    """Would catch an error of nn.Sequential, which does not name ``layers``."""
    text = f"returns a torch.nn.Module. The callable returned {kind}."
    with pytest.raises(TypeError, match=re.escape(text)):
        built(lambda image_shape, n_outputs: returned, (2, 2, 1))


def test_a_module_in_place_of_a_callable():
    """Would catch a module, itself callable, that is called with a shape in place of images."""
    module = small_module((2, 2, 1), 2)
    with pytest.raises(TypeError, match=r"layers must be .*callable"):
        built(module, (2, 2, 1))


@pytest.mark.parametrize(
    ("inner", "cause"),
    [
        (nn.Linear(5, 2), "mat1 and mat2"),  # a RuntimeError
        (nn.Module(), "forward"),  # a NotImplementedError
        (nn.BatchNorm2d(4), "expected 4D input"),  # a ValueError
        (nn.Bilinear(4, 4, 2), "missing 1 required positional argument"),  # a TypeError
    ],
)
def test_a_module_that_cannot_take_the_images(inner, cause):
    """Would catch torch's own error alone, which names neither ``layers`` nor the images."""
    text = "The module that layers returned cannot take images of shape (1, 1, 2, 2)"
    with pytest.raises(ValueError, match=re.escape(text)) as caught:
        built(lambda *_: nn.Sequential(nn.Flatten(), inner), (2, 2, 1))
    assert cause in str(caught.value)
    assert caught.value.__cause__ is not None


def test_an_error_inside_the_callable_passes_through():
    """Would catch an error of user code that is dressed up as one of ours."""

    def factory(image_shape, n_outputs):
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        built(factory, (2, 2, 1))


def test_a_trial_run_leaves_no_trace():
    """Would catch running statistics, or random numbers, that the blank image has used up."""
    norm = nn.BatchNorm2d(1)
    state = torch.get_rng_state()
    built(lambda *_: nn.Sequential(norm, nn.Dropout(0.5), nn.Flatten()), (1, 2, 1))
    assert norm.num_batches_tracked == 0
    assert norm.running_mean.tolist() == [0]
    assert torch.equal(torch.get_rng_state(), state)
