"""Features of networks that ``layers`` gives: descriptions, and whatever module a user writes."""

import pickle

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from torch import nn

from sklearn_cnn import Activation, Conv, Flatten, Pool

SHAPE = (8, 6)
"""Of the images of ``bars``."""


def pooled(image_shape, n_outputs):
    """The usual end of a network for images of any size."""
    return nn.Sequential(
        nn.Conv2d(image_shape[2], 5, 3, padding=1),
        nn.ReLU(inplace=True),
        nn.AdaptiveAvgPool2d((2, 1)),
        nn.Flatten(),
        nn.Linear(10, n_outputs),
    )


def convolutional(image_shape, n_outputs):
    """No dense layer at all."""
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, n_outputs, SHAPE), nn.Flatten()
    )


class RowsOfPatches(nn.Module):
    """A layer inside takes the rows of all images for images, and another gives one number."""

    def __init__(self, image_shape, n_outputs):
        super().__init__()
        self.cut = nn.Unflatten(0, (-1, 1))
        self.rows = nn.Flatten(0, 3)
        self.mean = Mean()
        self.last = nn.Linear(48, n_outputs)

    def forward(self, x):
        rows = self.rows(self.cut(x))
        return self.last(rows.reshape(len(x), -1) - self.mean(rows))


class Mean(nn.Module):
    """The mean over all images."""

    def forward(self, x):
        return x.mean()


class Twice(nn.Module):
    """One convolution and one activation that run two times, on smaller maps the second time."""

    def __init__(self, image_shape, n_outputs):
        super().__init__()
        self.conv = nn.Conv2d(1, 1, 3)
        self.activation = nn.Tanh()
        self.last = nn.Linear(4 * 2, n_outputs)

    def forward(self, x):
        for _ in range(2):
            x = self.activation(self.conv(x))
        return self.last(x.flatten(1))


class Keeps(nn.Module):
    """Keeps its maps, for whoever wants to look at them later."""

    def __init__(self, image_shape, n_outputs):
        super().__init__()
        self.conv = nn.Conv2d(1, 3, SHAPE)
        self.last = nn.Linear(3, n_outputs)

    def forward(self, x):
        self.maps = self.conv(x)
        return self.last(self.maps.flatten(1))


@pytest.fixture
def fitted(small, bars):
    """A function that fits a model of two epochs with given layers."""
    return lambda layers, **parameters: small(layers=layers, max_epochs=2, **parameters).fit(*bars)


def standardised(model, images):
    with torch.no_grad():
        return model.net_.module_.normalize(torch.tensor(images)[:, None])


def test_descriptions_without_dense_layers(fitted, bars):
    """Features are the flattened maps. Catches an error about a layer that nobody wants."""
    images = bars[0]
    model = fitted([Conv(4), Pool(), Activation(), Flatten()])
    maps = model.feature_maps(images, "activation1")
    assert maps.shape == (200, 4, 3, 4)
    for feature_layer in ("dense", "flatten", "activation1"):
        features = model.set_params(feature_layer=feature_layer).transform(images)
        assert_array_equal(features, maps.reshape(200, -1))
        assert len(model.get_feature_names_out()) == 48


def test_a_module_with_pooling_and_a_dense_layer(fitted, bars):
    """Catches values that the ReLU after a layer has overwritten."""
    images = bars[0]
    model = fitted(pooled)
    conv, _, pool, *_ = model.net_.module_.network
    with torch.no_grad():
        maps = conv(standardised(model, images))
        vector = pool(maps.relu()).flatten(1).numpy()
    assert maps.min() < 0
    found = model.feature_maps(images, "network.0")
    assert_allclose(found, maps.permute(0, 2, 3, 1).numpy(), rtol=1e-5, atol=1e-6)
    for feature_layer in ("dense", "flatten"):
        features = model.set_params(feature_layer=feature_layer).transform(images)
        assert_allclose(features, vector, rtol=1e-5, atol=1e-6)
    assert len(model.get_feature_names_out()) == 10
    pixels = model.set_params(feature_layer="network.2").transform(images)
    assert_allclose(pixels, vector.reshape(200, 5, 2).swapaxes(1, 2).reshape(200, 10), atol=1e-6)
    again = pickle.loads(pickle.dumps(model))
    assert_array_equal(again.transform(images), pixels)


def test_a_module_whose_last_layer_is_not_dense(fitted, bars):
    """The default asks for what it does not have. Catches an error that fit, predict, a drawing or
    a list of attributes runs into."""
    images, y = bars
    model = fitted(convolutional)
    text = r"feature_layer='dense' needs a layer torch\.nn\.Linear\(\.\.\., 2\), but the module"
    for use in (lambda: model.transform(images), model.get_feature_names_out):
        with pytest.raises(ValueError, match=text):
            use()
    with pytest.raises(ValueError, match=text):
        model.fit_transform(images, y)
    assert model.predict(images).shape == (200,)
    assert "predict" in dir(model)
    assert "network.1" in model._repr_html_()
    assert model.summary().n_parameters == 4 * 10 + 2 * (4 * 48 + 1)
    logits = model.set_params(feature_layer="flatten").transform(images)
    scores = model.decision_function(images)
    assert_allclose(logits[:, 1].astype(np.float64) - logits[:, 0], scores, atol=1e-5)
    assert model.set_params(feature_layer="network.0").transform(images).shape == (200, 8 * 6 * 4)


@pytest.mark.parametrize(
    ("layer", "shape"), [("network.mean", r"\(\)"), ("network.rows", r"\(\d+, 6\)")]
)
def test_a_layer_without_a_row_for_each_image(fitted, bars, layer, shape):
    """Catches features of the wrong image. The other layers can be had."""
    images = bars[0]
    model = fitted(RowsOfPatches, feature_layer=layer)
    text = rf"Layer '{layer}' returns values of shape {shape} for \d+ images, not one row per image"
    for use in (model.transform, lambda X: model.feature_maps(X, layer)):
        with pytest.raises(ValueError, match=text):
            use(images)
    with pytest.raises(ValueError, match="not one row per image"):
        model.feature_maps(images)
    values = standardised(model, images).flatten(1).numpy()
    assert model.feature_maps(images, "network.cut").shape == (200, 1, 1, 8, 6)
    centred = model.set_params(feature_layer="dense").transform(images)
    assert_allclose(np.ptp(centred, axis=1), np.ptp(values, axis=1), rtol=1e-4)
    assert layer in model._repr_html_()
    assert layer in str(model.summary())


def test_a_layer_that_runs_twice(fitted, bars):
    """Gives what it gave last. Catches names of features for the first, larger maps."""
    images = bars[0]
    model = fitted(Twice, feature_layer="network.conv")
    inner = model.net_.module_.network
    with torch.no_grad():
        first = inner.conv(standardised(model, images))
        second = inner.conv(first.tanh())
    expected = second.flatten(1).numpy()
    assert first.shape == (200, 1, 6, 4)
    assert_allclose(model.transform(images), expected, rtol=1e-5, atol=1e-6)
    assert len(model.get_feature_names_out()) == 4 * 2
    maps = model.feature_maps(images)
    names = ["normalize", "network.conv", "network.activation", "network.last"]
    assert list(maps) == names
    with pytest.raises(ValueError, match=f"for all layers, or one of {', '.join(names)}. Got"):
        model.feature_maps(images, "network.first")
    features = model.set_params(feature_layer="dense").transform(images)
    assert_allclose(features, np.tanh(expected), rtol=1e-5, atol=1e-6)
    summary = model.summary()
    assert [row.name for row in summary.rows].count("network.conv") == 2
    assert summary.n_parameters == 10 + 2 * 9


def test_a_module_that_keeps_its_maps(fitted, bars):
    """Right after training, when these have a gradient function. Catches torch's refusal to copy
    them, also in the notebook's drawing of what fit returns."""
    images = bars[0]
    model = fitted(Keeps)
    assert model.net_.module_.network.maps.grad_fn is not None
    assert "network.conv" in model._repr_html_()
    assert len(model.summary().seconds) == 3
    features = model.transform(images)
    maps = model.feature_maps(images, "network.conv")
    assert_array_equal(features, maps.reshape(200, 3))
    assert model.net_.module_.network.maps.grad_fn is not None


class WithOwnWeights(torch.nn.Module):
    """A weight that stands in no layer, flattening by a function, a layer in bfloat16."""

    def __init__(self, n_outputs):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(7))
        self.conv = torch.nn.Conv2d(1, 2, 3)
        self.last = torch.nn.Linear(2 * 6 * 4, n_outputs)

    def forward(self, images):
        maps = self.conv.bfloat16()(images.bfloat16()).float()
        return self.last(torch.flatten(maps, 1) * self.scale.mean())


def own_weights(image_shape, n_outputs):
    return WithOwnWeights(n_outputs)


def test_weights_outside_of_layers_and_half_precision_inside(small, bars):
    """Catches a total of the rows alone, and maps of a type that NumPy does not know."""
    model = small(layers=own_weights, precision="float32", max_epochs=1).fit(*bars)
    assert model.summary().n_parameters == 7 + 2 * 10 + 2 * 49
    assert model.feature_maps(bars[0], "network.conv").dtype == np.float32
    assert model.transform(bars[0]).shape == (200, 48)


def half_frozen(image_shape, n_outputs):
    """A frozen convolution, and a norm and a dense layer that learn."""
    frozen = nn.Conv2d(1, 4, 3, padding=1).requires_grad_(False)
    return nn.Sequential(frozen, nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(192, n_outputs))


def test_a_summary_counts_what_is_learnt_apart(small, bars):
    """Catches the 40 parameters of a frozen convolution among those that learn."""
    summary = small(layers=half_frozen).fit(*bars).summary()
    assert summary.n_trainable == 2 * 4 + 2 * (192 + 1)
    assert summary.n_parameters == 40 + summary.n_trainable
    assert sum(row.n_parameters for row in summary.rows) == summary.n_parameters
