"""The classifier as a step, a copy, a file and a picture: what users do before any search."""

import io
import pickle

import joblib
import numpy as np
import pandas as pd
import pytest
import skorch.callbacks
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler
from sklearn.utils import estimator_html_repr

from sklearn_cnn import Activation, CNNClassifier, Conv, Flatten, Pool

STEPS = [Conv(4), Pool(), Activation(), Flatten()]


def through_pickle(model):
    """Write a model to bytes and read it back."""
    return pickle.loads(pickle.dumps(model))


def through_joblib(model):
    """The same as a compressed joblib file."""
    file = io.BytesIO()
    joblib.dump(model, file, compress=3)
    file.seek(0)
    return joblib.load(file)


@pytest.mark.parametrize(
    "scaler", [StandardScaler(), MinMaxScaler()], ids=lambda s: type(s).__name__
)
def test_behind_a_scaler(scaler, quick, split):
    """Catches a net that wants raw pixels: a scaler makes negative ones, and fractions."""
    X_train, X_test, y_train, y_test = split
    model = make_pipeline(scaler, quick()).fit(X_train, y_train)
    assert model.score(X_test, y_test) > 0.8
    np.testing.assert_allclose(model.predict_proba(X_test).sum(axis=1), 1.0, atol=1e-6)
    np.testing.assert_array_equal(model.classes_, np.arange(10))


def test_column_transformer_picks_the_pixels_of_a_data_frame(quick, split):
    """Catches pixels that change their order or dtype on the way from a data frame."""
    X_train, X_test, y_train, _ = split
    pixels = [f"pixel_{i}" for i in range(64)]
    train, test = (pd.DataFrame(X, columns=pixels) for X in (X_train, X_test))
    for frame in (train, test):
        frame.insert(0, "writer", [f"writer {i % 7}" for i in range(len(frame))])
    model = make_pipeline(ColumnTransformer([("pixels", "passthrough", pixels)]), quick())
    model.fit(train, y_train)
    alone = quick().fit(X_train, y_train)
    np.testing.assert_array_equal(model.predict_proba(test), alone.predict_proba(X_test))


def test_names_of_pandas_output_reach_the_net(quick, split):
    """Catches a net that does not notice columns in another order."""
    X_train, _, y_train, _ = split
    pixels = [f"pixel_{i}" for i in range(64)]
    train = pd.DataFrame(X_train, columns=pixels)
    model = make_pipeline(StandardScaler(), quick(max_epochs=1)).set_output(transform="pandas")
    model.fit(train, y_train)
    net = model[-1]
    assert net.feature_names_in_.tolist() == pixels
    with pytest.raises(ValueError, match="feature names should match those that were passed"):
        net.predict(model[:-1].transform(train)[pixels[::-1]])


def test_frozen_is_never_trained_again(quick, split):
    """Catches a copy of a frozen net that forgets its weights, or a fit that moves them."""
    X_train, X_test, y_train, y_test = split
    net = quick().fit(X_train, y_train)
    frozen = clone(FrozenEstimator(net)).fit(X_train[:20], y_train[:20] % 2)
    np.testing.assert_array_equal(frozen.predict_proba(X_test), net.predict_proba(X_test))
    assert frozen.score(X_test, y_test) > 0.8


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"layers": STEPS},
        {"conv_channels": np.array([4, 8]), "dense_units": ()},
        {"class_weight": {digit: 1.0 + digit for digit in range(10)}},
        {"random_state": np.random.RandomState(3)},
        {"callbacks": [skorch.callbacks.EpochTimer()]},
    ],
    ids=["plain", "layers", "array", "class_weight", "RandomState", "callbacks"],
)
def test_a_clone_learns_the_same(parameters, quick, split):
    """Catches parameters that a fit changes in place, or that a copy shares with its model."""
    X_train, X_test, y_train, _ = split
    net = quick(max_epochs=2, **parameters)
    before = clone(net)
    net.fit(X_train, y_train)
    after = clone(net)
    with pytest.raises(NotFittedError):
        after.predict(X_test)
    expected = net.predict_proba(X_test)
    copies = [before] if "random_state" in parameters else [before, after]  # fit moved the state
    for copy in copies:
        np.testing.assert_array_equal(copy.fit(X_train, y_train).predict_proba(X_test), expected)


@pytest.mark.parametrize("copy", [through_pickle, through_joblib])
@pytest.mark.parametrize("layers", [None, STEPS], ids=["designed", "described"])
def test_a_pipeline_read_from_a_file_predicts_the_same(copy, layers, quick, split):
    """Catches anything that prediction needs and the file does not hold."""
    X_train, X_test, y_train, _ = split
    model = make_pipeline(StandardScaler(), quick(layers=layers)).fit(X_train, y_train)
    loaded = copy(model)
    for method in ("predict", "predict_proba", "predict_log_proba", "decision_function"):
        np.testing.assert_array_equal(
            getattr(loaded, method)(X_test), getattr(model, method)(X_test)
        )
    assert loaded[-1].loss_curve_ == model[-1].loss_curve_


def test_a_net_read_from_a_file_goes_on_learning(quick, split):
    """Catches an optimizer whose state stays behind: the next epoch would differ."""
    X_train, X_test, y_train, _ = split
    net = quick(max_epochs=2).fit(X_train, y_train)
    loaded = through_pickle(net)
    for model in (net, loaded):
        model.partial_fit(X_train, y_train)
    np.testing.assert_array_equal(loaded.predict_proba(X_test), net.predict_proba(X_test))


@pytest.mark.parametrize("early_stopping", [False, True])
def test_a_file_does_not_hold_the_training_images(early_stopping, quick, digits):
    """Catches images, labels or weights kept for no use: 1,500 more digits are 768,000 bytes."""

    def size(n):
        net = quick(batch_size=10_000, max_epochs=2, early_stopping=early_stopping)
        net.fit(digits.data[:n], digits.target[:n], sample_weight=np.ones(n))
        return len(pickle.dumps(net))

    assert abs(size(1700) - size(200)) < 1000


def test_every_parameter_goes_round(quick):
    """Catches a parameter that __init__ renames, copies or forgets."""
    net = quick(layers=STEPS, class_weight={0: 2.0}, callbacks=[])
    parameters = net.get_params()
    assert len(parameters) > 20
    again = CNNClassifier().set_params(**parameters).get_params()
    assert set(again) == set(parameters)
    assert all(again[name] is value for name, value in parameters.items())


def test_nested_parameters(quick):
    """Catches names that a pipeline cannot reach, and wrong ones that pass."""
    pipeline = Pipeline([("scale", StandardScaler()), ("cnn", quick())])
    pipeline.set_params(cnn__conv_channels=(4, 8), cnn__dropout=0.2)
    assert pipeline["cnn"].conv_channels == pipeline.get_params()["cnn__conv_channels"] == (4, 8)
    assert pipeline["cnn"].dropout == 0.2
    with pytest.raises(ValueError, match="Invalid parameter 'filters' for estimator CNNClassifier"):
        pipeline.set_params(cnn__filters=8)


def test_parameters_set_after_fit_wait_for_the_next(quick, split):
    """Catches a prediction that reads parameters the fitted net was not built with."""
    X_train, X_test, y_train, _ = split
    net = quick(max_epochs=2).fit(X_train, y_train)
    expected = net.predict_proba(X_test)
    net.set_params(conv_channels=(16, 16), activation="tanh", dense_units=(), layers=STEPS)
    np.testing.assert_array_equal(net.predict_proba(X_test), expected)
    net.fit(X_train, y_train)
    assert not np.allclose(net.predict_proba(X_test), expected)


def test_text_shows_what_differs_from_the_defaults():
    """Catches a text that hides what was chosen, or lists everything."""
    net = CNNClassifier(layers=STEPS[:2], learning_rate=0.01)
    without_breaks = "".join(repr(net).split())
    assert without_breaks == (
        "CNNClassifier(layers=[Conv(channels=4,kernel_size=3,stride=1,padding='same',bias=True),"
        "Pool(kind='max',size=2,stride=None)],learning_rate=0.01)"
    )


def test_notebooks_draw_it_before_and_after_fit(quick, split):
    """Catches a parameter or a fitted attribute that the drawing of a notebook cannot show."""
    X_train, _, y_train, _ = split
    model = make_pipeline(StandardScaler(), quick(layers=STEPS, max_epochs=1))
    before = estimator_html_repr(model)
    after = estimator_html_repr(model.fit(X_train, y_train))
    for html, state in ((before, "Not fitted"), (after, "Fitted")):
        assert "CNNClassifier" in html
        assert "Conv(channels=4" in html
        assert f"<span>{state}</span>" in html
    assert model._repr_mimebundle_().keys() == {"text/plain", "text/html"}
