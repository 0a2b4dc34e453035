"""The ``feature_layer`` parameter: which values a name stands for, and names that are refused."""

import re

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn.base import clone
from sklearn.utils._param_validation import InvalidParameterError
from skorch.callbacks import Callback
from torch import nn

from sklearn_cnn.network.build import build_network
from sklearn_cnn.network.layers import Activation, Conv, Dense, Flatten, Pool
from sklearn_cnn.network.outputs import (
    LayerRow,
    Source,
    check_feature_layer,
    feature_source,
    layer_table,
    n_values,
)


def built(layers):
    """A network for gray images of 8 x 6 and three classes, and the table of its layers."""
    network = build_network(layers, (8, 6, 1), 3, np.zeros(1), np.ones(1))
    return network, layer_table(network, (8, 6, 1))


def own(*modules):
    """A function as a user passes it for layers."""
    return lambda image_shape, n_outputs: nn.Sequential(*modules)


class Mean(nn.Module):
    """The mean of each map, without a layer that flattens."""

    def forward(self, maps):
        return maps.mean((2, 3))


WITH_DENSE = [Conv(4), Pool(), Activation(), Flatten(), Dense(7), Activation()]
WITHOUT = [Conv(4), Pool(), Flatten()]
DENSE_ONLY = own(nn.Flatten(), nn.Linear(48, 3), nn.ReLU(), nn.Linear(3, 3), nn.Dropout(0.1))
FLATTENS_TWICE = own(
    nn.Conv2d(1, 2, 1), nn.Flatten(2), nn.Linear(48, 3), nn.Flatten(), nn.Linear(6, 3)
)


@pytest.mark.parametrize(
    ("layers", "feature_layer", "source", "n_features"),
    [
        (WITH_DENSE, "dense", Source("output", is_input=True), 7),
        (WITH_DENSE, "flatten", Source("flatten"), 4 * 3 * 4),
        (WITH_DENSE, "dense1", Source("dense1"), 7),
        (WITH_DENSE, "activation1", Source("activation1"), 4 * 3 * 4),
        (WITH_DENSE, "conv1", Source("conv1"), 8 * 6 * 4),
        (WITH_DENSE, "normalize", Source("normalize"), 8 * 6),
        (WITH_DENSE, "output", Source("output"), 3),
        (WITHOUT, "dense", Source("output", is_input=True), 4 * 3 * 4),
        (WITHOUT, "flatten", Source("flatten"), 4 * 3 * 4),
        ([Flatten()], "dense", Source("output", is_input=True), 8 * 6),
        (DENSE_ONLY, "dense", Source("network.3", is_input=True), 3),
        (DENSE_ONLY, "network.3", Source("network.3"), 3),
        (DENSE_ONLY, "flatten", Source("network.0"), 48),
        (FLATTENS_TWICE, "dense", Source("network.4", is_input=True), 6),
        (FLATTENS_TWICE, "flatten", Source("network.3"), 6),
        (FLATTENS_TWICE, "network.2", Source("network.2"), 2 * 3),
    ],
)
def test_what_a_name_stands_for(layers, feature_layer, source, n_features):
    """Catches the first dense or flattening layer for the last, a hidden layer with as many outputs
    for the output layer, and a count of features that is not that of the values."""
    network, rows = built(layers)
    found = feature_source(feature_layer, network, rows, 3)
    assert found == source
    assert n_values(found, network, rows) == n_features


@pytest.mark.parametrize(
    ("modules", "feature_layer", "kind"),
    [
        ([nn.Conv2d(1, 3, (8, 6)), nn.Flatten()], "dense", "torch.nn.Linear(..., 3)"),
        ([nn.Flatten(), nn.Linear(48, 6), nn.GLU()], "dense", "torch.nn.Linear(..., 3)"),
        ([nn.Conv2d(1, 3, 1), Mean()], "flatten", "torch.nn.Flatten"),
    ],
)
def test_a_user_defined_module_without_such_a_layer(modules, feature_layer, kind):
    """Catches a dense layer that is taken for the output layer, and an error without a remedy."""
    network, rows = built(own(*modules))
    names = ", ".join(f"network.{position}" for position in range(len(modules)))
    text = (
        f"feature_layer={feature_layer!r} needs a layer {kind}, but the module that layers "
        f"returned has none. Use the name of a layer: normalize, {names}."
    )
    with pytest.raises(ValueError, match=f"^{re.escape(text)}$"):
        feature_source(feature_layer, network, rows, 3)


ROWS = [LayerRow(name, "ReLU", (3,), 0) for name in ("first", "again", "again")]
MESSAGE = (
    "feature_layer must be 'dense' (the input of the output layer), 'flatten', or the name of a "
    "layer: {}. Got feature_layer={!r}."
)


@pytest.mark.parametrize("name", ["dense", "flatten", "first", "again"])
def test_names_that_there_are(name):
    assert check_feature_layer(name, ROWS) is None


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("dense2", "dense"),
        ("Dense", "dense"),
        ("first ", "first"),
        ("", ""),
        ("ReLU", ""),
        ("0", ""),
    ],
)
def test_names_that_there_are_not(name, meant):
    """Catches a name that is guessed at, and one that the message lists twice."""
    question = f" Did you mean {meant!r}?" if meant else ""
    text = MESSAGE.format("first, again", name) + question
    with pytest.raises(ValueError, match=f"^{re.escape(text)}$"):
        check_feature_layer(name, ROWS)


class Training(Callback):
    """Says that a training began."""

    def on_train_begin(self, net, **_):
        raise AssertionError("the training began")


NAMES = "normalize, conv1, pool1, norm1, activation1, flatten, dense1, activation2, output"


@pytest.fixture
def fitted(small, bars):
    """A model of the bars, whose next training fails."""
    return small(max_epochs=1).fit(*bars).set_params(callbacks=[Training()])


def assert_fails_and_changes_nothing(model, error, match, fit, *arguments):
    before = dict(vars(model))
    with pytest.raises(error, match=match):
        fit(*arguments)
    assert vars(model) == before


def test_fit_refuses_a_bad_name_before_it_trains(fitted, bars):
    """Catches an hour of training that ends in this error, and a model that it leaves half made."""
    text = re.escape(MESSAGE.format(NAMES, "conv9"))
    fitted.set_params(feature_layer="conv9")
    new = clone(fitted)
    for fit in (fitted.fit, new.fit, new.fit_transform):
        assert_fails_and_changes_nothing(fit.__self__, ValueError, text, fit, *bars)
    assert_fails_and_changes_nothing(new, ValueError, text, new.partial_fit, *bars, [0, 1])
    fitted.set_params(warm_start=True)  # these two go on with a network that is there
    for fit in (fitted.fit, fitted.partial_fit):
        assert_fails_and_changes_nothing(fitted, ValueError, text, fit, *bars)
    fitted.set_params(feature_layer="conv1")
    assert fitted.transform(bars[0]).shape == (200, 8 * 6 * 8)


@pytest.mark.parametrize("value", [None, 1, ["dense"]])
def test_fit_refuses_what_is_no_name(fitted, bars, value):
    fitted.set_params(feature_layer=value)
    text = "The 'feature_layer' parameter of CNNClassifier must be an instance of 'str'. Got"
    assert_fails_and_changes_nothing(fitted, InvalidParameterError, text, fitted.fit, *bars)


@pytest.mark.parametrize("value", ["conv9", None, 1, ["dense"]])
def test_a_bad_name_set_after_fit_is_refused_where_it_is_used(fitted, bars, value):
    """And nowhere else. Catches a KeyError, and a prediction, a drawing or a list of attributes
    that needs features."""
    expected = fitted.predict_proba(bars[0])
    fitted.set_params(feature_layer=value)
    text = re.escape(MESSAGE.format(NAMES, value))
    for use in (lambda: fitted.transform(bars[0]), fitted.get_feature_names_out):
        assert_fails_and_changes_nothing(fitted, ValueError, text, use)
    assert_array_equal(fitted.predict_proba(bars[0]), expected)
    assert fitted.feature_maps(bars[0][:2], "pool1").shape == (2, 4, 3, 8)
    assert fitted.summary().n_parameters > 0
    assert "sklearn-cnn-layers" in fitted._repr_html_()
    assert "predict" in dir(fitted)
    assert not hasattr(fitted, "_n_features_out")


def test_a_name_set_after_fit_counts_at_once(fitted, bars):
    """Catches a source that fit has fixed, and names of features that are those of another layer's:
    the training would fail."""
    maps = fitted.feature_maps(bars[0])
    assert list(maps) == NAMES.split(", ")
    for name, values in maps.items():
        fitted.set_params(feature_layer=name)
        assert_array_equal(fitted.transform(bars[0]), values.reshape(200, -1))
        n_features = values[0].size
        names = [f"cnnclassifier{position}" for position in range(n_features)]
        assert fitted.get_feature_names_out().tolist() == names


def test_a_layer_whose_maps_are_asked_for_must_be_there(fitted, bars):
    """Catches "dense" and "flatten", which are names of features and not of layers."""
    for layer, meant in (("dense", "dense1"), ("conv9", "conv1"), (1, "")):
        question = f" Did you mean {meant!r}?" if meant else ""
        text = f"layer must be None, for all layers, or one of {NAMES}. Got "
        text += f"layer={layer!r}.{question}"
        with pytest.raises(ValueError, match=f"^{re.escape(text)}$"):
            fitted.feature_maps(bars[0], layer)
