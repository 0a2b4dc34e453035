"""P2 and P3 for ``transform`` and ``feature_maps``: the network's own values, row by row."""

import pickle
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from sklearn_cnn import Activation, CNNClassifier, Conv, Flatten, Pool
from sklearn_cnn.pixels.scale import SURELY

SETTINGS = settings(max_examples=10, deadline=None, derandomize=True)
LAYERS = ("dense", "flatten", "conv1", "activation2", "output")


@pytest.fixture(scope="module")
def trained(digits):
    """Two blocks and a dense layer, trained on 300 digits."""
    model = CNNClassifier((8, 16), dense_units=16, max_epochs=2, random_state=0)
    return model.fit(digits.images[:300], digits.target[:300])


@pytest.fixture
def fitted(trained):
    """A copy of it, whose parameters a test may set."""
    return pickle.loads(pickle.dumps(trained))


def with_layer(model, feature_layer):
    """The same fitted model with other features."""
    return pickle.loads(pickle.dumps(model)).set_params(feature_layer=feature_layer)


def forward(network, images):
    """Run the layers in turn, by hand; ``dense`` is what enters the last of them."""
    values, x = {}, torch.tensor(images)[:, None]
    with torch.no_grad():
        for name, layer in network.named_children():
            values["dense"], x = x, layer(x)
            values[name] = x
    return {
        name: (value.permute(0, 2, 3, 1) if value.ndim == 4 else value).numpy()
        for name, value in values.items()
    }


@pytest.mark.parametrize("feature_layer", LAYERS)
def test_features_are_those_of_a_forward_pass(fitted, digits, feature_layer):
    """Catches another layer's values, training mode, and an order other than pixel by pixel."""
    images = digits.images[300:450]
    expected = forward(fitted.net_.module_, images)[feature_layer].reshape(150, -1)
    features = fitted.set_params(feature_layer=feature_layer).transform(images)
    assert features.dtype == np.float32
    assert_allclose(features, expected, rtol=1e-6, atol=1e-6)
    assert len(fitted.get_feature_names_out()) == features.shape[1]


def test_maps_of_all_layers_are_those_of_a_forward_pass(trained, digits):
    """Catches a layer that is left out, and the wrong order."""
    images = digits.images[:20]
    expected = forward(trained.net_.module_, images)
    maps = trained.feature_maps(images)
    assert list(maps) == [row.name for row in trained.layers_]
    for row in trained.layers_:
        assert maps[row.name].shape == (20, *row.output_shape)
        assert maps[row.name].dtype == np.float32
        assert_allclose(maps[row.name], expected[row.name], rtol=1e-6, atol=1e-6)
        assert_array_equal(trained.feature_maps(images, row.name), maps[row.name])


def test_the_output_layers_values_are_the_logits(trained, digits):
    """Catches features and predictions that come from different weights."""
    logits = with_layer(trained, "output").transform(digits.images)
    assert_array_equal(logits, trained.decision_function(digits.images))


def test_flattening_goes_row_by_row_pixel_by_pixel(fitted, digits):
    """Catches the order of torch.nn.Flatten, channel by channel."""
    images = digits.images[:7]
    vector = fitted.set_params(feature_layer="flatten").transform(images)
    maps = fitted.feature_maps(images, "activation2")
    _, height, width, channels = maps.shape
    assert_array_equal(vector, maps.reshape(7, -1))
    for row, column, channel in np.ndindex(height, width, channels):
        index = (row * width + column) * channels + channel
        assert_array_equal(vector[:, index], maps[:, row, column, channel])


@SETTINGS
@given(
    order=st.permutations(range(40)),
    cut=st.integers(1, 39),
    copies=st.integers(1, 5),
    feature_layer=st.sampled_from(LAYERS),
)
def test_permuting_splitting_and_duplicating_rows(
    trained, digits, order, cut, copies, feature_layer
):
    """Bit for bit, whatever the neighbours."""
    model, X, order = with_layer(trained, feature_layer), digits.images[300:340], list(order)
    expected = model.transform(X)
    assert_array_equal(model.transform(X[order]), expected[order])
    parts = np.concatenate([model.transform(X[:cut]), model.transform(X[cut:])])
    assert_array_equal(parts, expected)
    doubled = model.transform(np.repeat(X, copies, axis=0))
    assert_array_equal(doubled, np.repeat(expected, copies, axis=0))


@pytest.mark.parametrize("n", [1, 2, 127, 128, 129, 256, 257])
def test_both_sides_of_a_chunk(trained, digits, n):
    """Catches the zeros that fill up the last chunk, among the features or in their rounding."""
    X, rows = digits.images[:n], sorted({0, n // 2, n - 1})
    one_by_one = [trained.transform(X[row : row + 1])[0] for row in rows]
    assert_array_equal(trained.transform(X)[rows], one_by_one)
    maps = [trained.feature_maps(X[row : row + 1], "pool2")[0] for row in rows]
    assert_array_equal(trained.feature_maps(X, "pool2")[rows], maps)


@pytest.fixture(scope="module")
def colour():
    """60 images of 6 x 5 in three colours, and two classes."""
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (60, 6, 5, 3), dtype=np.uint8), np.arange(60) % 2


def test_the_same_features_from_every_layout(small, colour):
    """Catches an order of axes that only predict understands, and names that change the numbers."""
    X, y = colour
    rows = X.reshape(60, -1)
    frame = pd.DataFrame(rows, columns=[f"pixel{i}" for i in range(90)])
    make = small(image_shape=(6, 5, 3), max_epochs=1)
    from_images, from_rows, from_frame = (clone(make).fit(data, y) for data in (X, rows, frame))
    for layer in ("dense", "pool1"):
        for model in (from_images, from_rows, from_frame):
            model.set_params(feature_layer=layer)
        expected = from_images.transform(X)
        for data in (X.transpose(0, 3, 1, 2), rows, X.tolist(), np.asfortranarray(X)):
            assert_array_equal(from_images.transform(data), expected)
        assert_array_equal(from_rows.transform(rows), expected)
        assert_array_equal(from_frame.transform(frame), expected)
    assert from_frame.get_feature_names_out(frame.columns).tolist() == [
        f"cnnclassifier{position}" for position in range(3 * 2 * 8)
    ]


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_two_channels_by_hand(small, data_format):
    """Images of 2 x 3 with set weights. Catches rows for columns, and channels mixed up, on the way
    from the array to the features."""
    X = np.array([[[[1, 10], [2, 20], [3, 30]], [[4, 40], [5, 50], [6, 60]]]], dtype=np.uint8)
    given = X if data_format == "channels_last" else X.transpose(0, 3, 1, 2)
    layers = [Conv(2, (1, 2)), Activation(), Pool("max", (2, 1)), Flatten()]
    model = small(layers=layers, data_format=data_format, feature_layer="flatten", max_epochs=1)
    model.fit(np.repeat(given, 4, axis=0), [0, 1, 0, 1])
    network = model.net_.module_
    network.normalize.mean.copy_(torch.tensor([[[1.0]], [[10.0]]]))
    network.normalize.scale.copy_(torch.tensor([[[2.0]], [[0.1]]]))
    # the first map takes a value of channel 0 from its right neighbour, the second sums channel 1
    network.conv1.weight.data.copy_(torch.tensor([[[[-1, 1]], [[0, 0]]], [[[0, 0]], [[1, 1]]]]))
    network.conv1.bias.data.zero_()
    whole = [[[0, 0], [2, 1], [4, 2]], [[6, 3], [8, 4], [10, 5]]]
    maps = [[[2, 1], [2, 3], [-4, 2]], [[2, 7], [2, 9], [-10, 5]]]
    assert_allclose(model.feature_maps(given, "normalize")[0], whole, atol=1e-6)
    assert_allclose(model.feature_maps(given, "conv1")[0], maps, atol=1e-6)
    assert_allclose(model.transform(given)[0], [2, 7, 2, 9, 0, 5], atol=1e-6)


@pytest.mark.parametrize("names", [np.array(["bar", "rod"]), np.array([True, False])])
def test_labels_of_any_kind_give_the_same_features(small, bars, names):
    """Catches features that depend on what the classes are called."""
    images, y = bars
    expected = small(max_epochs=1).fit(images, y).transform(images)
    order = np.sort(names)
    assert_array_equal(small(max_epochs=1).fit(images, order[y]).transform(images), expected)


def test_copies_give_the_same_features(trained, digits):
    """Catches a parameter that is lost, and a copy that was not trained alike."""
    images = digits.images[:300]
    model = with_layer(trained, "pool1")
    expected = model.transform(images)
    again = pickle.loads(pickle.dumps(model))
    retrained = clone(model).fit(images, digits.target[:300])
    for copy in (again, retrained):
        assert copy.feature_layer == "pool1"
        assert_array_equal(copy.transform(images), expected)


def test_fit_transform_is_fit_and_transform(small, bars):
    """Catches features of the network in training mode."""
    images, y = bars
    model = small(max_epochs=2, dropout=0.3)
    features = model.fit_transform(images, y)
    assert_array_equal(features, model.transform(images))
    assert_array_equal(features, clone(model).fit(images, y).transform(images))


def test_float64_network_gives_float64(small, bars):
    """Catches float32 on the way."""
    images, y = bars
    model = small(max_epochs=1, precision="float64").fit(images, y)
    expected = forward(model.net_.module_, images)["dense"]
    features = model.transform(images)
    assert features.dtype == model.feature_maps(images, "conv1").dtype == np.float64
    assert_allclose(features, expected, rtol=1e-13, atol=1e-13)
    assert not np.array_equal(features, features.astype(np.float32))


def test_sixteen_threads_at_once_equal_one(trained, digits):
    """Catches threads that share what the layers gave."""
    models = [with_layer(trained, layer) for layer in LAYERS[:4]]
    chunks = [digits.images[start : start + 150] for start in range(0, 1200, 300)]
    jobs = [(model, images) for model in models for images in chunks]
    expected = [model.transform(images) for model, images in jobs]

    def transform(job):
        model, images = job
        maps = trained.feature_maps(images, "pool1")  # all threads with one model, too
        return model.transform(images), maps

    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(transform, jobs))
    alone = [trained.feature_maps(images, "pool1") for images in chunks]
    for (features, maps), (position, values) in zip(found, enumerate(expected), strict=True):
        assert_array_equal(features, values)
        assert_array_equal(maps, alone[position % 4])


def test_the_model_is_as_it_was(trained, digits, left_alone):
    """Catches hooks that stay, attributes that are set, weights and modes that change."""
    network, before = trained.net_.module_, dict(vars(trained))
    with left_alone(network):
        for was_training in (True, False):
            network.train(was_training)
            trained.transform(digits.images[:200])
            trained.feature_maps(digits.images[:200])
            trained.summary()
            assert network.training is was_training
    assert vars(trained) == before


def test_values_that_overflow_are_an_error(small, digits):
    """Catches infinite features, which the next step of a pipeline refuses in words of its own."""
    images = (digits.images[:100] - 8) / 800
    model = small(max_epochs=1).fit(images, digits.target[:100])
    model.image_spec_ = replace(
        model.image_spec_, low=-1e38, high=1e38, whole=False, doubt=SURELY
    )  # as if such had been seen at fit
    images[3, 4, 4] = -3e37  # a float32, and no longer one when divided by the deviation
    for feature_layer in ("dense", "conv1"):
        model.set_params(feature_layer=feature_layer)
        for compute in (model.transform, model.feature_maps):
            with pytest.raises(ValueError, match=r"not finite for 1 of 100 images, .* X\[3\]"):
                compute(images)


@pytest.mark.parametrize(
    ("method", "arguments"),
    [
        ("transform", [np.zeros((1, 8, 8))]),
        ("feature_maps", [np.zeros((1, 8, 8))]),
        ("feature_maps", [np.zeros((1, 8, 8)), "conv1"]),
        ("get_feature_names_out", []),
        ("summary", []),
    ],
)
def test_before_fit(method, arguments):
    """Catches an AttributeError on net_."""
    with pytest.raises(NotFittedError, match="This CNNClassifier instance is not fitted yet"):
        getattr(CNNClassifier(), method)(*arguments)


@pytest.mark.parametrize("method", ["transform", "feature_maps"])
def test_images_unlike_those_of_fit_are_refused(trained, digits, method):
    """In the words of predict. Catches a layer's own error on images of another size."""
    for images, text in (
        (digits.images[:3, :7], r"expected \(8, 8, 1\) .* got X.shape=\(3, 7, 8\)"),
        (digits.data[:3, :60], r"expected \(8, 8, 1\) .* got X.shape=\(3, 60\)"),
        (digits.images[:3] / 16, "range of the pixels changed"),
        (digits.images[:0], "0 sample"),
    ):
        with pytest.raises(ValueError, match=text):
            getattr(trained, method)(images)
