"""Attributions by hand, beside those of captum, and on images whose deciding pixels are known."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from captum.attr import LayerAttribution, LayerGradCam, Occlusion, Saliency
from numpy.testing import assert_allclose, assert_array_equal
from torch import nn

from sklearn_cnn import Activation, BatchNorm, Conv, Dense, Flatten, Pool
from sklearn_cnn.inspection import saliency
from sklearn_cnn.inspection.saliency import grad_cam, gradient, occlusion
from sklearn_cnn.network.build import build_network

MEAN, STD = np.array([10.0, 20, 30]), np.array([2.0, 4, 5])

DESCRIBED = [Conv(6), Pool(), BatchNorm(), Activation(), Conv(5), Activation(), Flatten(), Dense(7)]


def own_module(image_shape, n_outputs):
    """With a batch norm, a stride and an average over all pixels, unlike the network above."""
    return nn.Sequential(
        nn.Conv2d(image_shape[2], 6, 3, stride=2, padding=1),
        nn.BatchNorm2d(6),
        nn.SiLU(),
        nn.Conv2d(6, 4, 2),
        nn.Tanh(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(16, n_outputs),
    )


def built(layers, shape=(9, 7, 3), n_outputs=4, dtype=torch.float64, seed=0):
    """A network for images of that shape, its weights drawn without a trace, ready to predict."""
    channels = shape[2]
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = build_network(layers, shape, n_outputs, MEAN[:channels], STD[:channels], dtype)
    return network.eval()


def linear(shape, weights):
    """A network of no layers: what each pixel weighs is known, (n_classes, *shape)."""
    network = built([Flatten()], shape, len(weights))
    with torch.no_grad():
        network.output.weight.copy_(torch.as_tensor(weights.reshape(len(weights), -1)))
    return network


def draw_image(shape=(9, 7, 3), seed=0):
    image = np.random.default_rng(seed).integers(0, 50, (1, *shape), dtype=np.uint8)
    image.flags.writeable = False
    return image


def occlude(network, image, target, window, stride):
    """The occlusion of a network as it is, whose parts are covered by the mean that it knows."""

    def predict(images):
        with torch.no_grad():
            return network(torch.from_numpy(images).permute(0, 3, 1, 2)).double().numpy()

    mean = network.normalize.mean.ravel().numpy()
    return occlusion(predict, image, target, window, stride, mean)


def as_tensor(image):
    return torch.from_numpy(image.transpose(0, 3, 1, 2).astype(np.float64)).requires_grad_()


@pytest.mark.parametrize("target", [0, 1])
def test_the_gradient_of_a_linear_network_by_hand(target):
    """|W| / std, the largest of the channels. Catches a sum of them, a sign, and turned axes."""
    weights = np.array([[[[1.0, 2, 5]], [[-8, 0, 0]]], [[[0, 4, 5]], [[3, -8, 0]]]])
    expected = [[[1], [4]], [[1], [2]]][target]
    assert gradient(linear((2, 1, 3), weights), draw_image((2, 1, 3)), target).tolist() == expected


def test_the_gradient_is_a_slope():
    """Beside the change of the score for a small step, pixel by pixel."""
    network = built([Conv(4), Activation("tanh"), Flatten()], (4, 3, 2))
    image, step = draw_image((4, 3, 2)).astype(float), 1e-4
    slopes = np.zeros((4, 3, 2))
    for place in np.ndindex(slopes.shape):
        scores = []
        for change in (-step, step):
            moved = image.copy()
            moved[0][place] += change
            scores.append(network(as_tensor(moved))[0, 2].item())
        slopes[place] = np.diff(scores)[0] / (2 * step)
    assert_allclose(gradient(network, image, 2), np.abs(slopes).max(axis=2), rtol=1e-6)


def small_cam_network():
    """Two maps, pixel values 2 and -1 times, of standardised pixels; weights of class 1 below."""
    network = built([Conv(2, 1, bias=False), Flatten()], (2, 2, 1), 2)
    with torch.no_grad():
        network.conv1.weight.copy_(torch.tensor([2.0, -1]).reshape(2, 1, 1, 1))
        pixel_by_pixel = torch.tensor([[1.0, 4], [1, 0], [3, 4], [3, 8]])  # (pixel, map)
        network.output.weight[1] = pixel_by_pixel.flatten()
    return network


def test_grad_cam_by_hand():
    """Worth 2 and 4: four times the pixel less four times the pixel is nothing.

    At "normalize" the worth is the mean of 2 V1 - V2: -2, 2, 2, -2, which is 0, too.
    """
    network, image = small_cam_network(), np.array([[10, 12], [14, 6]]).reshape(1, 2, 2, 1)
    assert grad_cam(network, image, 1, "conv1").tolist() == [[0, 0], [0, 0]]
    assert grad_cam(network, image, 1, "normalize").tolist() == [[0, 0], [0, 0]]
    with torch.no_grad():
        network.output.weight[1, 1::2] = torch.tensor([1.0, 0, 1, 2])  # now worth 2 and 1
    # standardised pixels 0, 1, 2, -2; maps 2 x and -x; 2 * 2 x + 1 * -x = 3 x
    assert grad_cam(network, image, 1, "conv1").tolist() == [[0, 3], [6, 0]]


def test_small_maps_are_interpolated_to_the_size_of_the_image():
    """Maps [0, 1] over 4 pixels: 0, 1/4, 3/4, 1. Catches corners that are aligned."""
    network = built([Pool("mean", (1, 2)), Flatten()], (1, 4, 1), 2)
    with torch.no_grad():
        network.output.weight[:] = torch.tensor([[1.0, 1], [-1, -1]])
    image = np.array([10, 10, 12, 12]).reshape(1, 1, 4, 1)
    assert_allclose(grad_cam(network, image, 0, "pool1"), [[0, 0.25, 0.75, 1]])
    assert grad_cam(network, image, 1, "pool1").tolist() == [[0, 0, 0, 0]]  # nothing below 0


class Twice(nn.Module):
    """Makes 2 x + 1 of the pixels, and that again by the same layer; the score is their sum."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 1, 1)
        nn.init.constant_(self.conv.weight, 2)
        nn.init.constant_(self.conv.bias, 1)

    def forward(self, x):
        total = self.conv(self.conv(x)).sum(dim=(1, 2, 3))
        return torch.stack([total, -total], dim=1)


def test_grad_cam_of_a_layer_that_runs_twice_takes_the_last():
    """Standardised pixels 1 and 2. The first maps, 3 and 5, are worth twice as much: 6 and 10."""
    network = built(lambda image_shape, n_outputs: Twice(), (1, 2, 1), 2)
    image = np.array([12, 14]).reshape(1, 1, 2, 1)
    assert grad_cam(network, image, 0, "network.conv").tolist() == [[7, 11]]


def test_an_activation_in_place_does_not_reach_the_maps_before():
    """Catches maps that hold what the activation after them has written."""

    def factory(in_place):
        def make(image_shape, n_outputs):
            conv, relu = nn.Conv2d(3, 4, 3), nn.ReLU(inplace=in_place)
            return nn.Sequential(conv, relu, nn.Flatten(), nn.Linear(140, n_outputs))

        return make

    found, expected = (
        grad_cam(built(factory(in_place)), draw_image(), 1, "network.0")
        for in_place in (True, False)
    )
    assert expected.any()
    assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("window", "stride"),
    [((1, 1), (1, 1)), ((2, 2), (1, 1)), ((2, 3), (2, 2)), ((3, 2), (2, 1)), ((4, 5), (3, 4))],
)
def test_occlusion_of_a_linear_network_by_hand(window, stride):
    """A part covered up takes away what its pixels add to the score above the mean."""
    shape, rng = (4, 5, 3), np.random.default_rng(0)
    weights = rng.normal(size=(2, *shape))
    image = draw_image(shape)
    adds = (weights[1] * (image[0] - MEAN) / STD).sum(axis=2)
    fall, n_covers = np.zeros((4, 5)), np.zeros((4, 5))
    for top in range(0, 4 - window[0] + stride[0], stride[0]):
        for left in range(0, 5 - window[1] + stride[1], stride[1]):
            part = slice(top, top + window[0]), slice(left, left + window[1])
            fall[part] += adds[part].sum()
            n_covers[part] += 1
    found = occlude(linear(shape, weights), image, 1, window, stride)
    assert n_covers.all()
    assert_allclose(found, fall / n_covers, rtol=1e-10, atol=1e-10)


def test_a_step_beyond_the_window_leaves_gaps():
    """Pixels 1 and 4 of seven are in no part, and get 0. Catches a division by none."""
    weights = np.ones((2, 1, 7, 1))
    image = np.full((1, 1, 7, 1), 12)  # each pixel adds 1
    found = occlude(linear((1, 7, 1), weights), image, 0, (1, 2), (1, 3))
    assert_allclose(found, [[2, 2, 0, 2, 2, 0, 1]], atol=1e-12)


def test_a_part_of_the_size_of_the_image_is_the_only_one():
    """Catches a range of starts that is empty where nothing is left to step over."""
    weights = np.ones((2, 2, 3, 1))
    image = np.full((1, 2, 3, 1), 14)
    found = occlude(linear((2, 3, 1), weights), image, 0, (2, 3), (1, 1))
    assert_allclose(found, np.full((2, 3), 12))


def test_what_hides_a_class_is_below_zero():
    weights = np.full((2, 1, 2, 1), -1.0)
    image = np.full((1, 1, 2, 1), 12)
    found = occlude(linear((1, 2, 1), weights), image, 1, (1, 1), (1, 1))
    assert_allclose(found, [[-1, -1]])


@pytest.mark.parametrize("chunk", [1, 5, 24, 25])
def test_parts_at_once_change_nothing(monkeypatch, chunk):
    """25 parts. Catches one that is lost between two chunks."""
    network, image = built(DESCRIBED, (5, 5, 3)), draw_image((5, 5, 3))
    expected = occlude(network, image, 0, (1, 1), (1, 1))
    monkeypatch.setattr(saliency, "VALUES_AT_ONCE", chunk * image.size)
    found = occlude(network, image, 0, (1, 1), (1, 1))
    assert_allclose(found, expected, rtol=1e-9, atol=1e-12)


NETWORKS = {"described": (DESCRIBED, "conv2"), "module": (own_module, "network.4")}


@pytest.mark.parametrize("target", [0, 3])
@pytest.mark.parametrize("name", NETWORKS)
def test_gradient_beside_captum(name, target):
    network, image = built(NETWORKS[name][0]), draw_image()
    theirs = Saliency(network).attribute(as_tensor(image), target=target)[0].amax(dim=0)
    assert_allclose(gradient(network, image, target), theirs.detach(), rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize("target", [0, 1, 2, 3])
@pytest.mark.parametrize("name", NETWORKS)
def test_grad_cam_beside_captum(name, target):
    layers, layer = NETWORKS[name]
    network, image = built(layers), draw_image()
    cam = LayerGradCam(network, network.get_submodule(layer))
    maps = cam.attribute(as_tensor(image), target=target, relu_attributions=True)
    theirs = LayerAttribution.interpolate(maps, (9, 7), interpolate_mode="bilinear")[0, 0]
    found = grad_cam(network, image, target, layer)
    assert_allclose(found, theirs.detach(), rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize(
    ("window", "stride"),
    [((3, 3), (3, 3)), ((3, 2), (2, 2)), ((2, 3), (1, 2)), ((4, 4), (4, 3)), ((9, 7), (1, 1))],
)
@pytest.mark.parametrize("name", NETWORKS)
def test_occlusion_beside_captum(name, window, stride):
    """Windows and steps that divide the 9 x 7 pixels, and such that hang over their edges."""
    network, image = built(NETWORKS[name][0]), draw_image()
    mean = torch.as_tensor(MEAN).reshape(1, 3, 1, 1).expand(1, 3, 9, 7)
    theirs = Occlusion(network).attribute(
        as_tensor(image).detach(),
        sliding_window_shapes=(3, *window),
        strides=(3, *stride),
        baselines=mean,
        target=2,
    )
    found = occlude(network, image, 2, window, stride)
    # theirs is summed up in float32
    assert_allclose(found, theirs[0].mean(dim=0), rtol=1e-6, atol=1e-7)


METHODS = {
    "gradient": gradient,
    "grad_cam": lambda network, image, target: grad_cam(network, image, target, "activation2"),
    "occlusion": lambda network, image, target: occlude(network, image, target, (3, 3), (2, 2)),
}


@pytest.mark.parametrize("method", METHODS)
def test_the_kind_of_numbers_of_an_image_does_not_matter(method):
    """float32 networks, which predict in it. Catches arithmetic in the bytes of the image."""
    network, image = built(DESCRIBED, dtype=torch.float32), draw_image()
    expected = METHODS[method](network, image, 1)
    assert expected.dtype == np.float64
    assert expected.shape == (9, 7)
    for dtype in (np.uint16, np.int64, np.float32, np.float64):
        assert_array_equal(METHODS[method](network, image.astype(dtype), 1), expected)


@pytest.mark.parametrize("method", METHODS)
def test_frozen_weights(method):
    """Catches a gradient that only exists because the weights have one."""
    network, image = built(DESCRIBED), draw_image()
    expected = METHODS[method](network, image, 1)
    network.requires_grad_(False)
    assert_allclose(METHODS[method](network, image, 1), expected, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("method", METHODS)
def test_eight_threads_give_what_one_gives(method):
    """Catches hooks, maps or gradients that meet on a network that is shared."""
    network = built(DESCRIBED, dtype=torch.float32)
    jobs = [(draw_image(seed=seed), target) for seed in range(8) for target in range(4)]
    expected = [METHODS[method](network, *job) for job in jobs]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda job: METHODS[method](network, *job), jobs))
    for ours, theirs in zip(found, expected, strict=True):
        assert_allclose(ours, theirs, rtol=1e-5, atol=1e-7)
    assert not any(module._forward_hooks for module in network.modules())
    assert all(parameter.grad is None for parameter in network.parameters())
