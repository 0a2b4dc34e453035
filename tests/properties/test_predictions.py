"""P3: a row's prediction is its own; copies of an estimator are the estimator."""

import pickle

import joblib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone

SETTINGS = settings(max_examples=25, deadline=None, derandomize=True)


@pytest.fixture(scope="module")
def fitted(digits):
    from sklearn_cnn import CNNClassifier

    model = CNNClassifier((8, 16), dense_units=16, max_epochs=2, random_state=0)
    return model.fit(digits.images[:300], digits.target[:300])


@SETTINGS
@given(order=st.permutations(range(40)), cut=st.integers(1, 39), copies=st.integers(1, 5))
def test_permuting_splitting_and_duplicating_rows(fitted, digits, order, cut, copies):
    """Bit for bit, whatever the neighbours; chunks of another size would round otherwise."""
    X = digits.images[300:340]
    expected = fitted.predict_proba(X)
    order = list(order)
    np.testing.assert_array_equal(fitted.predict_proba(X[order]), expected[order])
    parts = np.concatenate([fitted.predict_proba(X[:cut]), fitted.predict_proba(X[cut:])])
    np.testing.assert_array_equal(parts, expected)
    doubled = fitted.predict_proba(np.repeat(X, copies, axis=0))
    np.testing.assert_array_equal(doubled, np.repeat(expected, copies, axis=0))


@pytest.mark.parametrize("n", [1, 127, 128, 129, 257])
def test_both_sides_of_a_chunk(fitted, digits, n):
    X = digits.images[:n]
    expected = np.concatenate([fitted.predict_proba(row[np.newaxis]) for row in X])
    np.testing.assert_array_equal(fitted.predict_proba(X), expected)


def test_a_clone_fits_to_the_same_model(fitted, digits):
    copy = clone(fitted).fit(digits.images[:300], digits.target[:300])
    np.testing.assert_array_equal(
        copy.predict_proba(digits.images), fitted.predict_proba(digits.images)
    )


def test_refitting_gives_the_same_model(fitted, digits):
    """All of it is drawn anew from the seed: weights, order, split, dropout."""
    model = clone(fitted).set_params(dropout=0.3, early_stopping=True)
    X, y = digits.images[:300], digits.target[:300]
    first = model.fit(X, y).predict_proba(X)
    np.testing.assert_array_equal(model.fit(X, y).predict_proba(X), first)


def test_different_seeds_give_different_models(fitted, digits):
    other = clone(fitted).set_params(random_state=1).fit(digits.images[:300], digits.target[:300])
    assert not np.array_equal(
        other.predict_proba(digits.images), fitted.predict_proba(digits.images)
    )


def test_saved_and_loaded_equals_the_original(fitted, digits, tmp_path):
    expected = fitted.predict_proba(digits.images)
    again = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(again.predict_proba(digits.images), expected)
    joblib.dump(fitted, tmp_path / "model.joblib")
    loaded = joblib.load(tmp_path / "model.joblib")
    np.testing.assert_array_equal(loaded.predict_proba(digits.images), expected)
    assert loaded.score(digits.images, digits.target) == fitted.score(digits.images, digits.target)


def test_the_four_predictions_agree(fitted, digits):
    X = digits.images
    probabilities = fitted.predict_proba(X)
    np.testing.assert_allclose(np.exp(fitted.predict_log_proba(X)), probabilities)
    logits = fitted.decision_function(X)
    np.testing.assert_array_equal(fitted.predict(X), fitted.classes_[logits.argmax(axis=1)])
    np.testing.assert_allclose(
        np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True), probabilities
    )
    assert probabilities.dtype == logits.dtype == np.float64


def test_two_classes_have_one_decision_value(small, bars):
    X, y = bars
    model = small().fit(X, y)
    decision, probabilities = model.decision_function(X), model.predict_proba(X)
    assert decision.shape == (len(X),)
    np.testing.assert_array_equal(model.predict(X), (decision > 0).astype(int))
    np.testing.assert_allclose(
        decision, np.log(probabilities[:, 1] / probabilities[:, 0]), atol=1e-10
    )


@pytest.fixture(scope="module", params=["labels", "number", "numbers"])
def other(request, digits):
    """A fitted learner of several labels, or of numbers, with its targets and what it gives."""
    from sklearn_cnn import CNNClassifier, CNNRegressor

    y = digits.target[:300]
    common = {"dense_units": 16, "max_epochs": 2, "random_state": 0}
    if request.param == "labels":
        model = CNNClassifier((8, 16), **common).fit(
            digits.images[:300], np.c_[y % 2, y > 4, y > 6]
        )
        return model, np.c_[y % 2, y > 4, y > 6], model.predict_proba
    y = y * 10.0 if request.param == "number" else np.c_[y, y**2]
    model = CNNRegressor((8, 16), **common).fit(digits.images[:300], y)
    return model, y, model.predict


@SETTINGS
@given(order=st.permutations(range(20)), cut=st.integers(1, 19))
def test_rows_of_other_targets_are_their_own(other, digits, order, cut):
    """P3 for several labels and numbers, bit for bit."""
    _, _, predict = other
    X, order = digits.images[300:320], list(order)
    expected = predict(X)
    np.testing.assert_array_equal(predict(X[order]), expected[order])
    np.testing.assert_array_equal(np.concatenate([predict(X[:cut]), predict(X[cut:])]), expected)


def test_copies_of_learners_of_other_targets(other, digits):
    model, y, predict = other
    expected = predict(digits.images)
    name = predict.__name__
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(getattr(again, name)(digits.images), expected)
    copy = clone(model).fit(digits.images[:300], y)
    np.testing.assert_array_equal(getattr(copy, name)(digits.images), expected)
    assert again.score(digits.images[:300], y) == model.score(digits.images[:300], y)
