"""FilterDisplay: kernels by hand, their scale of colours, and which layer they are of."""

import re

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from torch import nn

from sklearn_cnn import CNNClassifier, Conv, FilterDisplay, Flatten, Pool


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
