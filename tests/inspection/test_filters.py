"""FilterDisplay: kernels by hand, their scale of colours, and which layer they are of."""

import re

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from torch import nn

from sklearn_cnn import CNNClassifier, Conv, FilterDisplay, Flatten, Pool
from sklearn_cnn.inspection import filters


def pictures(display):
    return [picture.get_array() for picture in display.im_]


def test_kernels_are_the_weights_with_the_channels_last(fixed):
    """Values 0 to 35 of torch's (filters, channels, height, width). Catches any other order."""
    images = np.random.default_rng(0).random((8, 5, 6, 3))
    layers = [Conv(2, (2, 3)), Flatten()]
    model = CNNClassifier(layers=layers, max_epochs=1).fit(images, np.arange(8) % 2)
    fixed(model, conv1=(np.arange(36.0).reshape(2, 3, 2, 3), None))
    filters = FilterDisplay.from_estimator(model).filters
    assert filters.shape == (2, 2, 3, 3)
    assert filters[0, 0, 0].tolist() == [0, 6, 12]
    assert filters[1, 1, 2].tolist() == [23, 29, 35]


def test_training_that_goes_on_does_not_reach_a_display(small, numbers):
    """Catches kernels that are a view of the network's weights."""
    model = small(max_epochs=1).fit(*numbers)
    display = FilterDisplay.from_estimator(model)
    before = display.filters.copy()
    model.partial_fit(*numbers)
    assert_array_equal(display.filters, before)
    display.filters[:] = 0
    assert model.net_.module_.conv1.weight.any()


def test_gray_kernels_have_a_scale_with_zero_in_the_middle():
    filters = np.array([[1.0, -4], [0, 2]]).reshape(1, 2, 2, 1)
    display = FilterDisplay(filters).plot()
    assert_array_equal(pictures(display)[0], [[1, -4], [0, 2]])
    assert display.im_[0].get_clim() == (-4, 4)


def test_all_kernels_have_one_scale():
    """Catches a scale for each tile, beside a single colour bar."""
    filters = np.array([1.0, -3]).reshape(2, 1, 1, 1)
    assert [picture.get_clim() for picture in FilterDisplay(filters).plot().im_] == [(-3, 3)] * 2


def test_coloured_kernels_have_gray_for_zero():
    """From -4 to 4 of the largest, over 0 to 1. Catches a scale for each channel."""
    filters = np.array([[[0.0, 2, -4]], [[4, 0, 0]]]).reshape(1, 1, 2, 3)
    (picture,) = pictures(FilterDisplay(filters).plot())
    assert_allclose(picture, [[[0.5, 0.75, 0], [1, 0.5, 0.5]]])


@pytest.mark.parametrize("n_channels", [2, 4, 8])
def test_other_kernels_are_drawn_by_their_mean(n_channels):
    """0, 1, 2, ...; its scale is that of the means, not of the values."""
    filters = np.arange(float(n_channels)).reshape(1, 1, 1, n_channels)
    display = FilterDisplay(filters).plot()
    mean = (n_channels - 1) / 2
    assert_array_equal(pictures(display)[0], [[mean]])
    assert display.im_[0].get_clim() == (-mean, mean)


@pytest.mark.parametrize("n_channels", [1, 2, 3])
def test_kernels_of_zeros(n_channels):
    """Catches a division by the largest of them."""
    display = FilterDisplay(np.zeros((2, 3, 3, n_channels))).plot()
    display.figure_.canvas.draw()
    expected = np.full((3, 3, 3), 0.5) if n_channels == 3 else np.zeros((3, 3))
    for picture in pictures(display):
        assert_array_equal(picture, expected)


@pytest.mark.parametrize(
    ("n_filters", "n_drawn", "title"),
    [
        (1, 1, "1 of 5 kernels of conv7, 3 x 2 pixels"),
        (np.int64(4), 4, "4 of 5 kernels of conv7, 3 x 2 pixels"),
        (5, 5, "5 kernels of conv7, 3 x 2 pixels"),
        (64, 5, "5 kernels of conv7, 3 x 2 pixels"),
    ],
)
def test_how_many_are_drawn(n_filters, n_drawn, title):
    """The first of them. Catches tiles without a picture, and a title that counts others."""
    filters = np.arange(30.0).reshape(5, 3, 2, 1)
    display = FilterDisplay(filters, "conv7").plot(n_filters=n_filters)
    display.figure_.canvas.draw()
    assert len(display.axes_) == len(display.im_) == n_drawn
    assert display.ax_.get_title() == title
    assert_array_equal(np.stack(pictures(display)), filters[:n_drawn, ..., 0])


@pytest.mark.parametrize("n_filters", [0, -1, 2.0, True, "8", None])
def test_a_count_that_is_none_is_refused(fitted, n_filters):
    text = f"n_filters must be a whole number of at least 1. Got n_filters={n_filters!r}."
    with pytest.raises(ValueError, match=re.escape(text)):
        FilterDisplay.from_estimator(fitted, n_filters=n_filters)


def test_a_title_without_a_layer():
    assert FilterDisplay(np.ones((2, 3, 3, 1))).plot().ax_.get_title() == "2 kernels, 3 x 3 pixels"


def test_a_colour_bar_where_there_is_a_scale():
    """Catches one beside kernels that are colours themselves."""
    gray, coloured = np.ones((2, 3, 3, 1)), np.ones((2, 3, 3, 3))
    assert FilterDisplay(gray).plot().im_[0].colorbar is not None
    assert FilterDisplay(gray).plot(colorbar=False).im_[0].colorbar is None
    assert len(FilterDisplay(coloured).plot().figure_.axes) == 1


def test_tiles_lie_in_rows_twice_as_long_as_high(fitted):
    """8 kernels in two rows of four."""
    figure = plt.figure()
    display = FilterDisplay.from_estimator(
        fitted, ax=figure.add_axes((0, 0, 1, 1)), colorbar=False, im_kw={"aspect": "auto"}
    )
    figure.canvas.draw()
    corners = [ax.get_position().bounds[:2] for ax in display.axes_]
    assert_allclose(corners, [(x / 4, y) for y in (0.5, 0) for x in range(4)], atol=1e-12)


@pytest.fixture(scope="module")
def two_convolutions():
    images = np.random.default_rng(0).random((8, 8, 8))
    layers = [Conv(3), Pool(), Conv(4, 5), Flatten()]
    return CNNClassifier(layers=layers, max_epochs=1).fit(images, np.arange(8) % 2)


@pytest.mark.parametrize(
    ("layer", "name", "shape"),
    [
        (None, "conv1", (3, 3, 3, 1)),
        ("conv1", "conv1", (3, 3, 3, 1)),
        ("conv2", "conv2", (4, 5, 5, 3)),
    ],
)
def test_the_layer_is_the_first_or_that_which_is_named(two_convolutions, layer, name, shape):
    display = FilterDisplay.from_estimator(two_convolutions, layer=layer)
    assert display.layer == name
    assert display.filters.shape == shape


@pytest.mark.parametrize("layer", ["conv3", "pool1", "output", ""])
def test_a_layer_without_kernels_is_refused(two_convolutions, layer):
    text = f"layer must be one of the convolutions conv1, conv2. Got layer={layer!r}."
    with pytest.raises(ValueError, match=re.escape(text)):
        FilterDisplay.from_estimator(two_convolutions, layer=layer)


@pytest.mark.parametrize("layer", [None, "flatten"])
def test_a_network_without_convolutions_is_refused(numbers, layer):
    model = CNNClassifier(layers=[Flatten()], max_epochs=1).fit(*numbers)
    with pytest.raises(ValueError, match=r"^The network has no convolution, so there are no ker"):
        FilterDisplay.from_estimator(model, layer=layer)


def test_kernels_of_a_module_of_the_users(fitted_module):
    """By the path of the layer inside of it."""
    first = FilterDisplay.from_estimator(fitted_module)
    assert (first.layer, first.filters.shape) == ("network.0", (6, 3, 3, 1))
    second = FilterDisplay.from_estimator(fitted_module, layer="network.3")
    assert second.filters.shape == (5, 3, 3, 6)


def grouped(image_shape, n_outputs):
    """Each of four maps sees one of two channels; the second layer is made of complete rows."""
    conv = nn.Conv2d(2, 4, 3, groups=2)
    return nn.Sequential(conv, nn.Flatten(), nn.LazyLinear(n_outputs))


def test_kernels_in_groups(sizes):
    """Catches a number of channels taken from the image instead of the weights."""
    _, images, y = sizes["2 channels"]
    model = CNNClassifier(layers=grouped, max_epochs=1).fit(images, y)
    display = FilterDisplay.from_estimator(model)
    assert display.filters.shape == (4, 3, 3, 1)
    with torch.no_grad():
        expected = model.net_.module_.network[0].weight.numpy()[:, 0]
    assert_array_equal(np.stack(pictures(display)), expected)


@pytest.mark.parametrize("kernel_size", [(1, 1), (4, 4), (1, 7)])
def test_kernels_of_every_size(numbers, kernel_size):
    """Even ones are a layer class of their own; catches that they are passed over."""
    model = CNNClassifier(layers=[Conv(2, kernel_size), Flatten()], max_epochs=1).fit(*numbers)
    assert FilterDisplay.from_estimator(model).filters.shape == (2, *kernel_size, 1)


def dots():
    """Three black images of 5 x 6, with a brighter dot each: in a corner, within, at an edge."""
    images = np.zeros((3, 5, 6))
    images[0, 0, 0], images[1, 2, 3], images[2, 3, 0] = 50, 100, 75
    return images


def test_patches_by_hand(fixed):
    """A kernel that answers to its middle, and one to its upper left. Catches patches that are
    shifted, of another image, or not the strongest first, and an edge that is drawn as black."""
    model = CNNClassifier(layers=[Conv(2), Flatten()], max_epochs=1).fit(dots(), [0, 1, 1])
    weight = np.zeros((2, 1, 3, 3))
    weight[0, 0, 1, 1] = weight[1, 0, 0, 0] = 1
    fixed(model, conv1=(weight, [0, 0]))
    patches = FilterDisplay.from_estimator(model, X=dots()).patches
    assert patches.shape == (2, 3, 3, 3, 4)
    for kernel, (row, column) in enumerate([(1, 1), (0, 0)]):
        assert_allclose(patches[kernel, :, row, column], [[v, v, v, 1] for v in (1, 0.75, 0.5)])
        assert patches[kernel, ..., :3].sum() == pytest.approx(3 * 2.25)
    opaque = patches[0, ..., 3]
    assert opaque[0].all()
    assert opaque[1].tolist() == [[0, 1, 1]] * 3
    assert opaque[2].tolist() == [[0, 0, 0], [0, 1, 1], [0, 1, 1]]


def spread(image_shape, n_outputs):
    """A convolution with holes, as a user of torch writes it."""
    conv = nn.Conv2d(image_shape[2], 3, 3, dilation=2, padding=1, stride=(2, 1))
    return nn.Sequential(conv, nn.Flatten(), nn.LazyLinear(n_outputs))


def by_name(image_shape, n_outputs):
    conv = nn.Conv2d(image_shape[2], 3, (3, 2), padding="same")
    return nn.Sequential(conv, nn.Flatten(), nn.LazyLinear(n_outputs))


@pytest.mark.parametrize("n_channels", [1, 3])
@pytest.mark.parametrize(
    "layers",
    [
        [Conv(3), Flatten()],
        [Conv(3, (2, 4)), Flatten()],
        [Conv(3, 3, stride=2), Flatten()],
        [Conv(3, 4, stride=(1, 3)), Flatten()],
        [Conv(3, (3, 2), padding="valid"), Flatten()],
        [Conv(3, 1), Flatten()],
        [Conv(3, 1, stride=(2, 3)), Flatten()],
        spread,
        by_name,
    ],
    ids=[
        "same",
        "even",
        "stride",
        "even, stride",
        "valid",
        "1 x 1",
        "1 x 1, stride",
        "dilation",
        "own same",
    ],
)
@pytest.mark.filterwarnings("ignore:Using padding='same':UserWarning")
def test_a_patch_times_its_kernel_is_the_highest_of_the_map(layers, n_channels):
    """By hand, with zeros beyond the edge, image by image. Catches an offset of any layout."""
    images = np.random.default_rng(0).random((8, 7, 9, n_channels))
    model = CNNClassifier(layers=layers, max_epochs=1, random_state=0).fit(images, [0, 1] * 4)
    display = FilterDisplay.from_estimator(model, X=images)
    network = model.net_.module_
    conv, norm = network.get_submodule(display.layer), network.normalize
    maps = model.feature_maps(images, display.layer)
    highest = -np.sort(-maps.reshape(8, -1, 3).max(axis=1), axis=0)
    mean, scale = (values.numpy().ravel() for values in (norm.mean, norm.scale))
    low, high = images.min(), images.max()
    patches = display.patches[..., :: conv.dilation[0], :: conv.dilation[1], :]
    pixels = (low + patches[..., :n_channels] * (high - low) - mean) * scale * patches[..., 3:]
    answers = np.einsum("knhwc,khwc->nk", pixels, display.filters)
    assert_allclose(answers + conv.bias.detach().numpy(), highest, rtol=1e-4, atol=1e-5)


def test_patches_are_drawn_beside_their_kernels(fitted, numbers):
    """Catches a row of patches beside another kernel, and gaps that are a colour."""
    images, _ = numbers
    display = FilterDisplay.from_estimator(fitted, X=images, n_filters=3, n_patches=2)
    assert display.patches.shape == (8, 2, 3, 3, 4)
    assert display.patches_.shape == display.im_.shape == (3,)
    for picture, patches, ax in zip(display.patches_, display.patches, display.axes_, strict=False):
        drawn = picture.get_array()
        assert_array_equal(drawn[:, :3], patches[0])
        assert_array_equal(drawn[:, 4:], patches[1])
        assert not drawn[:, 3].any()
        assert ax.get_position().y0 == pytest.approx(picture.axes.get_position().y0)
    text = "3 of 8 kernels of conv1, 3 x 3 pixels\nand what they answer to"
    assert display.ax_.get_title() == text
    assert FilterDisplay.from_estimator(fitted).patches_.shape == (0,)


def test_patches_of_fewer_images_and_of_many(fitted, numbers, monkeypatch):
    """Catches a count beyond the images, and a strongest that only one block of images knows."""
    images, _ = numbers
    assert FilterDisplay.from_estimator(fitted, X=images[:2]).patches.shape[1] == 2
    expected = FilterDisplay.from_estimator(fitted, X=images).patches
    monkeypatch.setattr(filters, "IMAGES_AT_ONCE", 7)
    assert_array_equal(FilterDisplay.from_estimator(fitted, X=images).patches, expected)


def test_patches_through_a_pipeline(around, numbers):
    images, _ = numbers
    seen = FilterDisplay.from_estimator(around["pipeline"][-1], X=images[:, ::-1]).patches
    assert_array_equal(FilterDisplay.from_estimator(around["pipeline"], X=images).patches, seen)


def test_patches_of_a_deeper_layer_are_refused(two_convolutions):
    text = "Got layer='conv2', after layers that change their shape. Omit X, or use "
    with pytest.raises(ValueError, match=re.escape(text)):
        FilterDisplay.from_estimator(two_convolutions, X=np.zeros((2, 8, 8)), layer="conv2")


@pytest.mark.parametrize("n_patches", [0, 2.0, None])
def test_a_count_of_patches_that_is_none_is_refused(fitted, numbers, n_patches):
    text = f"n_patches must be a whole number of at least 1. Got n_patches={n_patches!r}."
    with pytest.raises(ValueError, match=re.escape(text)):
        FilterDisplay.from_estimator(fitted, X=numbers[0], n_patches=n_patches)
