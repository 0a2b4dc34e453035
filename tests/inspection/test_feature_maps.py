"""FeatureMapDisplay: the four steps of one image, which maps of them, and what stands above."""

import re
from itertools import pairwise

import matplotlib.pyplot as plt
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from torch import nn

from sklearn_cnn import CNNClassifier, Conv, Dense, FeatureMapDisplay, Flatten, Pool
from sklearn_cnn.inspection.feature_maps import _as_strip, _most_varied


def titles(display):
    """Above each of the parts that are one picture, and above each row of maps."""
    ax = display.ax_
    return [child.get_title() for child in ax.child_axes]


def shown_channels(display, layer):
    return [int(ax.get_title()) for ax in display.axes_[layer]]


def by_hand(maps=None, probabilities=(0.25, 0.75), vector=(1.0, 2, 3), names=("a", "b")):
    """A Display of a blank image."""
    maps, image = {} if maps is None else maps, np.zeros((4, 6))
    return FeatureMapDisplay(
        image, maps, np.array(vector), np.array(probabilities), np.array(names)
    )


def test_parts_are_what_the_classifier_computes(fitted, numbers):
    """Of image 4. Catches another image, a layer under another name, and values in batches."""
    images, _ = numbers
    display = FeatureMapDisplay.from_estimator(fitted, images, image=4)
    given = fitted.feature_maps(images[4:5])
    assert list(display.maps) == ["conv1", "pool1"]
    for name, maps in display.maps.items():
        assert_array_equal(maps, given[name][0])
    assert_array_equal(display.image, images[4] / 16)
    assert_array_equal(display.vector, given["flatten"][0])
    assert_array_equal(display.predictions, fitted.predict_proba(images[4:5])[0])
    assert display.display_labels is fitted.classes_


def test_pictures_show_the_values(fitted, numbers):
    """Each with a scale of its own. Catches maps of one channel under the number of another."""
    display = FeatureMapDisplay.from_estimator(fitted, numbers[0], n_maps=3)
    assert list(display.axes_) == ["input", "conv1", "pool1", "vector", "probabilities"]
    assert list(display.im_) == ["input", "conv1", "pool1", "vector"]
    for name in ("conv1", "pool1"):
        channels = shown_channels(display, name)
        for picture, channel in zip(display.im_[name], channels, strict=True):
            values = display.maps[name][..., channel]
            assert_array_equal(picture.get_array(), values)
            assert picture.get_clim() == (values.min(), values.max())
    assert_array_equal(display.im_["input"][0].get_array(), display.image)
    assert display.im_["input"][0].get_clim() == (0, 1)
    assert_array_equal(display.im_["vector"][0].get_array(), [display.vector])


def test_the_most_varied_channels_in_their_order():
    """Standard deviations 0, 3, 1, 2, 1. Catches the order of size, and the last of equal ones."""
    maps = np.array([[[0.0, 3, -1, 2, 1], [0, -3, 1, -2, -1]]])
    assert _most_varied(maps, 1).tolist() == [1]
    assert _most_varied(maps, 3).tolist() == [1, 2, 3]
    assert _most_varied(maps, 9).tolist() == [0, 1, 2, 3, 4]


def maps_of(channels, shape, most_varied):
    """Blank maps, but for those channels, whose first pixel is 1."""
    maps = np.zeros((*shape, channels))
    maps[0, 0, most_varied] = 1
    return maps


def test_pooled_maps_stand_below_their_own():
    """Until a layer makes others. Catches a row whose channels are chosen anew, or never."""
    display = by_hand(
        {
            "conv1": maps_of(5, (4, 4), [0, 3]),
            "pool1": maps_of(5, (2, 2), [1, 2]),
            "pool2": maps_of(5, (1, 1), [4]),
            "conv2": maps_of(5, (1, 1), [2, 4]),
            "conv3": maps_of(6, (1, 1), [1, 5]),
        }
    ).plot(n_maps=2)
    assert shown_channels(display, "conv1") == [0, 3]
    assert shown_channels(display, "pool1") == [0, 3]
    assert shown_channels(display, "pool2") == [0, 3]
    assert shown_channels(display, "conv2") == [0, 1]  # of one pixel, none of which varies
    assert shown_channels(display, "conv3") == [0, 1]


def test_maps_of_the_same_size_are_chosen_anew():
    """A convolution of as many channels keeps the size, and its maps are others."""
    first, second = maps_of(5, (4, 4), [0, 3]), maps_of(5, (4, 4), [1, 2])
    display = by_hand({"conv1": first, "conv2": second}).plot(n_maps=2)
    assert shown_channels(display, "conv2") == [1, 2]


@pytest.mark.parametrize(("n_maps", "n_shown"), [(1, 1), (np.int64(4), 4), (5, 5), (1000, 5)])
def test_how_many_maps_are_shown(n_maps, n_shown):
    """Tiles are as wide as the most of a row allow. Catches room for maps that are not there."""
    figure = plt.figure()
    display = by_hand({"conv1": np.ones((4, 4, 5)), "conv2": np.ones((4, 4, 2))})
    display.plot(n_maps=n_maps, ax=figure.add_axes((0, 0, 1, 1)), im_kw={"aspect": "auto"})
    figure.canvas.draw()
    assert len(display.axes_["conv1"]) == n_shown
    assert len(display.axes_["conv2"]) == min(2, n_shown)
    for tile in (*display.axes_["conv1"], *display.axes_["conv2"]):
        assert_allclose(tile.get_position().width, 0.94 / n_shown)


@pytest.mark.parametrize("n_maps", [0, -1, 2.0, True, "8", None])
def test_a_count_that_is_none_is_refused(fitted, numbers, n_maps):
    text = f"n_maps must be a whole number of at least 1. Got n_maps={n_maps!r}."
    with pytest.raises(ValueError, match=re.escape(text)):
        FeatureMapDisplay.from_estimator(fitted, numbers[0], n_maps=n_maps)


def test_what_stands_above_the_parts():
    maps = {"conv1": np.ones((4, 6, 5)), "pool1": np.ones((2, 3, 2))}
    assert titles(by_hand(maps).plot(n_maps=3)) == [
        "",
        "conv1: 4 x 6, 3 of 5 maps",
        "pool1: 2 x 3, 2 maps",
        "flattened: 3 values",
        "probabilities",
    ]


def test_the_image_has_its_size_above_it():
    assert by_hand().plot().axes_["input"][0].get_title() == "input: 4 x 6"


def test_parts_stand_one_below_the_other():
    """Catches panels that overlap, and rows in another order than the layers."""
    maps = {"b": np.ones((2, 2, 1)), "a": np.ones((2, 2, 1))}
    display = by_hand(maps).plot()
    display.figure_.canvas.draw()
    places = [display.axes_[name][0].get_position() for name in display.axes_]
    assert list(display.axes_) == ["input", "b", "a", "vector", "probabilities"]
    for above, below in pairwise(places):
        assert above.y0 > below.y1


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        (None, ["conv1", "pool1"]),
        (["pool1"], ["pool1"]),
        (("activation1", "normalize"), ["activation1", "normalize"]),
        ([], []),
    ],
)
def test_the_layers_that_are_named(fitted, numbers, layers, expected):
    """In the order in which they are named; None for convolutions and poolings."""
    display = FeatureMapDisplay.from_estimator(fitted, numbers[0], layers=layers)
    assert list(display.maps) == expected
    assert list(display.axes_) == ["input", *expected, "vector", "probabilities"]


@pytest.mark.parametrize("layers", [["conv1", "conv2"], ["flatten"], ["output"], ["conv1", ""]])
def test_a_layer_without_maps_is_refused(fitted, numbers, layers):
    text = (
        "layers must hold names of layers with feature maps: normalize, conv1, pool1, norm1, "
        f"activation1. Got {layers[-1]!r}."
    )
    with pytest.raises(ValueError, match=re.escape(text)):
        FeatureMapDisplay.from_estimator(fitted, numbers[0], layers=layers)


def test_a_network_without_maps(numbers):
    """Catches a maximum of nothing."""
    model = CNNClassifier(layers=[Flatten(), Dense(5)], max_epochs=1).fit(*numbers)
    display = FeatureMapDisplay.from_estimator(model, numbers[0])
    assert display.maps == {}
    assert display.vector.shape == (64,)


def test_a_module_of_the_users(fitted_module, numbers):
    """Convolutions and all kinds of poolings. Catches maps that the activation has written over."""
    display = FeatureMapDisplay.from_estimator(fitted_module, numbers[0])
    sides = {name: maps.shape for name, maps in display.maps.items()}
    assert sides == {
        "network.0": (8, 8, 6),
        "network.2": (4, 4, 6),
        "network.3": (4, 4, 5),
        "network.5": (1, 1, 5),
    }
    assert display.maps["network.0"].min() < 0
    assert_array_equal(display.vector, display.maps["network.5"].ravel())


class WithoutVector(nn.Module):
    """Two maps, whose means are the scores of two classes."""

    def __init__(self, image_shape, n_outputs):
        super().__init__()
        self.conv = nn.Conv2d(image_shape[2], n_outputs, 3)

    def forward(self, x):
        return self.conv(x).mean(dim=(2, 3))


def test_a_module_none_of_whose_layers_gives_a_vector(sizes):
    """Then it is the last maps, one after the other."""
    _, images, y = sizes["1 channel"]
    model = CNNClassifier(layers=WithoutVector, max_epochs=1).fit(images, y)
    display = FeatureMapDisplay.from_estimator(model, images)
    assert_array_equal(display.vector, display.maps["network.conv"].ravel())


@pytest.mark.parametrize(
    ("size", "shape"), [(1, (1, 1)), (256, (1, 256)), (257, (2, 129)), (513, (3, 171))]
)
def test_a_long_vector_is_broken_into_lines(size, shape):
    """Of equal length, the last filled up. Catches values that are lost or out of order."""
    strip = _as_strip(np.arange(size))
    assert strip.shape == shape
    assert_array_equal(strip.ravel()[:size], np.arange(size))
    assert np.isnan(strip.ravel()[size:]).all()


def bars(display):
    """Name, height and colour of each, and the texts that stand upon them."""
    ax = display.axes_["probabilities"][0]
    names = [label.get_text() for label in ax.get_xticklabels()]
    heights = [bar.get_height() for bar in display.bars_]
    winners = [bar.get_facecolor()[:3] for bar in display.bars_]
    return names, heights, winners, [text.get_text() for text in ax.texts]


def test_probabilities_of_two_classes():
    """The highest has another colour; what rounds to 0.00 has no number."""
    names, heights, colours, texts = bars(by_hand(probabilities=[0.996, 0.004]).plot())
    assert (names, heights, texts) == (["a", "b"], [0.996, 0.004], ["1.00"])
    assert colours[0] != colours[1]


@pytest.mark.parametrize(("n_classes", "title"), [(12, ""), (13, ", the highest 12 of 13")])
def test_of_many_classes_the_highest(n_classes, title):
    """In the order of the classes. Catches the first ones, names beside their bars, and one too
    many."""
    shares = np.ones(n_classes)
    shares[3], shares[5] = 0.5, 4
    shares /= shares.sum()
    classes = np.array([f"c{number}" for number in range(n_classes)])
    display = by_hand(probabilities=shares, names=classes).plot()
    kept = [number for number in range(n_classes) if n_classes == 12 or number != 3]
    names, heights, colours, _ = bars(display)
    assert names == classes[kept].tolist()
    assert_allclose(heights, shares[kept])
    assert colours.index(max(colours, key=colours.count)) == 0
    assert colours.count(colours[kept.index(5)]) == 1
    assert display.axes_["probabilities"][0].get_title() == f"probabilities{title}"


def test_names_of_the_users(sizes):
    model, images, _ = sizes["1 channel"]
    display = FeatureMapDisplay.from_estimator(model, images, display_labels=["no", "yes"])
    assert bars(display)[0] == ["no", "yes"]


@pytest.mark.parametrize(
    ("n_classes", "length", "rotation", "shown"),
    [(2, 40, 0, 40), (2, 60, 0, 40), (12, 6, 0, 6), (12, 7, 30, 7), (12, 60, 30, 20)],
)
def test_long_names_are_turned_and_very_long_ones_lose_their_middle(
    n_classes, length, rotation, shown
):
    """Catches names that overlap, and names longer than the picture is high."""
    names = ["a", *["b" * (length - 1) + "c"] * (n_classes - 1)]
    display = by_hand(names=names, probabilities=[1 / n_classes] * n_classes).plot()
    labels = display.axes_["probabilities"][0].get_xticklabels()
    assert [label.get_rotation() for label in labels] == [rotation] * n_classes
    assert [len(label.get_text()) for label in labels] == [1, *[shown] * (n_classes - 1)]
    assert labels[1].get_text()[-1] == "c"


def test_a_large_image(sizes):
    """224 x 224 in colours: 12,544 values in 49 lines."""
    model, images, _ = sizes["224 x 224"]
    display = FeatureMapDisplay.from_estimator(model, images, image=-1)
    assert display.maps["conv1"].shape == (56, 56, 4)
    assert display.im_["vector"][0].get_array().shape == (49, 256)
    assert display.im_["input"][0].get_array().shape == (224, 224, 3)


def test_mean_pooling_is_a_step_too(numbers):
    layers = [Conv(2), Pool("mean"), Flatten()]
    model = CNNClassifier(layers=layers, max_epochs=1).fit(*numbers)
    assert list(FeatureMapDisplay.from_estimator(model, numbers[0]).maps) == ["conv1", "pool1"]
