"""P5: any value that the constraints allow fits, or raises an error that names the parameter."""

import re

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.utils._param_validation import InvalidParameterError

from sklearn_cnn import (
    CNNClassifier,
    CNNRegressor,
    RandomErasing,
    RandomFlip,
    RandomRotation,
    RandomShear,
    RandomShift,
    RandomZoom,
)
from sklearn_cnn.network.layers import ACTIVATION_NAMES, Activation, Conv, Dense, Flatten, Pool

SIZES = st.integers(1, 12) | st.tuples(st.integers(1, 12), st.integers(1, 12))
COUNTS = st.integers(1, 9) | st.lists(st.integers(1, 9), max_size=3)

SHARES, PARTS = st.floats(0, 1), st.floats(0, 0.9)
AUGMENTATION = st.one_of(
    st.builds(RandomFlip, st.sampled_from(["horizontal", "vertical", "both"])),
    st.builds(RandomShift, PARTS | st.tuples(PARTS, PARTS)),
    st.builds(RandomZoom, PARTS),
    st.builds(RandomRotation, st.floats(0, 180)),
    st.builds(RandomShear, SHARES),
    st.builds(RandomErasing, SHARES, st.tuples(SHARES, SHARES).map(sorted)),
    st.just(torch.flip).map(lambda flip: lambda batch: flip(batch, dims=(2,))),
)

ALLOWED = {
    "conv_channels": st.just("auto") | COUNTS,
    "kernel_size": SIZES,
    "pooling": st.sampled_from(["max", "mean"]),
    "pool_size": SIZES,
    "dense_units": COUNTS | st.lists(st.integers(1, 9), max_size=3).map(np.array),
    "activation": st.sampled_from(ACTIVATION_NAMES),
    "batch_norm": st.booleans(),
    "dropout": st.floats(0, 0.99),
    "layers": st.sampled_from(
        [
            None,
            [Flatten()],
            (Conv(3, 5, 2), Activation("gelu"), Pool("mean", 2, 1), Flatten(), Dense(4)),
            lambda shape, n: torch.nn.Sequential(
                torch.nn.Flatten(), torch.nn.Linear(int(np.prod(shape)), n)
            ),
        ]
    ),
    "feature_layer": st.sampled_from(["dense", "flatten", "normalize"]),
    "image_shape": st.sampled_from([None, (6, 7), [6, 7, 1], np.array([6, 7])]),
    "data_format": st.sampled_from(["auto", "channels_last"]),
    "augment": st.none() | AUGMENTATION | st.lists(AUGMENTATION, max_size=4),
    "optimizer": st.sampled_from(["adamw", "sgd", torch.optim.RMSprop, torch.optim.Adam]),
    "learning_rate": st.floats(1e-6, 1e-2),
    "weight_decay": st.floats(0, 1),
    "label_smoothing": st.floats(0, 0.99),
    "schedule": st.sampled_from(["one_cycle", "cosine", "constant"]),
    "batch_size": st.integers(1, 100),
    "max_epochs": st.integers(1, 2),
    "early_stopping": st.booleans(),
    "scoring": st.sampled_from([None, "loss", "accuracy", lambda model, X, y: model.score(X, y)]),
    "validation_fraction": st.floats(0.01, 0.99),
    "n_iter_no_change": st.integers(1, 3),
    "tol": st.floats(0, 1),
    "class_weight": st.sampled_from([None, "balanced", {"a": 5}, {"a": 0.0, "b": 1.0, "c": 2}]),
    "precision": st.sampled_from(["auto", "float32", "bfloat16", "float64"]),
    "device": st.sampled_from(["auto", "cpu", torch.device("cpu")]),
}


def test_every_parameter_is_drawn():
    """A parameter that this property forgot would show here."""
    others = {"warm_start", "callbacks", "checkpoint", "random_state", "verbose"}
    assert set(ALLOWED) | others == set(CNNClassifier().get_params())


@pytest.mark.filterwarnings("ignore:.*held-out images? determines? the best epoch")
@settings(max_examples=150, deadline=None, derandomize=True)
@given(parameters=st.fixed_dictionaries({}, optional=ALLOWED))
def test_any_allowed_value_fits(parameters):
    rng = np.random.default_rng(0)
    X, y = rng.random((24, 6, 7)), np.repeat(["a", "b", "c"], 8)
    model = CNNClassifier(random_state=0).set_params(**{"max_epochs": 1, **parameters})
    probabilities = model.fit(X, y).predict_proba(X)
    assert probabilities.shape == (24, 3)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    assert model.transform(X).shape == (24, len(model.get_feature_names_out()))


OF_NUMBERS = {
    **{
        key: value
        for key, value in ALLOWED.items()
        if key not in ("label_smoothing", "class_weight")
    },
    "scoring": st.sampled_from([None, "loss", "neg_mean_absolute_error"]),
    "loss": st.sampled_from(["squared_error", "absolute_error", "huber"]),
}


def test_every_parameter_of_the_regressor_is_drawn():
    others = {"warm_start", "callbacks", "checkpoint", "random_state", "verbose"}
    assert set(OF_NUMBERS) | others == set(CNNRegressor().get_params())


@pytest.mark.filterwarnings("ignore:.*held-out images? determines? the best epoch")
@settings(max_examples=100, deadline=None, derandomize=True)
@given(parameters=st.fixed_dictionaries({}, optional=OF_NUMBERS))
def test_any_allowed_value_of_the_regressor_fits(parameters):
    rng = np.random.default_rng(0)
    X, y = rng.random((24, 6, 7)), rng.normal(size=(24, 2))
    model = CNNRegressor(random_state=0).set_params(**{"max_epochs": 1, **parameters})
    assert model.fit(X, y).predict(X).shape == (24, 2)
    assert model.transform(X).shape == (24, len(model.get_feature_names_out()))


@pytest.mark.filterwarnings("ignore:.*held-out images? determines? the best epoch")
@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    parameters=st.fixed_dictionaries(
        {},
        optional={
            **ALLOWED,
            "class_weight": st.sampled_from([None, "balanced", [{0: 2}, {1: 0.5}, {}]]),
        },
    )
)
def test_any_allowed_value_fits_several_labels(parameters):
    rng = np.random.default_rng(0)
    X, y = rng.random((24, 6, 7)), rng.integers(0, 2, (24, 3))
    model = CNNClassifier(random_state=0).set_params(**{"max_epochs": 1, **parameters})
    probabilities = model.fit(X, y).predict_proba(X)
    assert probabilities.shape == (24, 3)
    assert ((probabilities >= 0) & (probabilities <= 1)).all()


@pytest.mark.parametrize(
    ("parameter", "value"),
    [
        ("conv_channels", 0),
        ("conv_channels", [8, -1]),
        ("conv_channels", ["8"]),
        ("kernel_size", (3, 0)),
        ("kernel_size", (3, 3, 3)),
        ("pool_size", [2.5, 2]),
        ("pooling", "average"),
        ("dense_units", [True]),
        ("activation", "rely"),
        ("dropout", 1.0),
        ("layers", "conv"),
        ("layers", [3]),
        ("feature_layer", "dense9"),
        ("feature_layer", None),
        ("image_shape", (8,)),
        ("image_shape", (8, 0)),
        ("data_format", "NHWC"),
        ("optimizer", "Adam"),
        ("optimizer", dict),
        ("learning_rate", 0.0),
        ("learning_rate", -0.1),
        ("weight_decay", -1e-9),
        ("label_smoothing", 1.0),
        ("schedule", "linear"),
        ("batch_size", 0),
        ("max_epochs", 0),
        ("max_epochs", "many"),
        ("validation_fraction", 0.0),
        ("validation_fraction", 1.0),
        ("n_iter_no_change", 0),
        ("tol", -1),
        ("class_weight", "auto"),
        ("class_weight", {0: -1.0}),
        ("callbacks", [print]),
        ("scoring", "acuracy"),
        ("device", "gpu"),
        ("precision", "float16"),
        ("random_state", "zero"),
        ("verbose", -1),
    ],
)
def test_any_other_value_is_an_error_that_names_the_parameter_and_the_value(
    small, bars, parameter, value
):
    images, y = bars
    model = small().set_params(**{parameter: value})
    error = (InvalidParameterError, ValueError, TypeError)
    shown = "<built-in function print>" if value == [print] else repr(value)
    if isinstance(value, list) and parameter == "layers":
        shown = "Got 3"
    with pytest.raises(error, match=f"(?s){parameter}.*{re.escape(shown)}"):
        model.fit(images, y)
    assert not hasattr(model, "classes_")
