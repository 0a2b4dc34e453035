"""Losses, scores and decisions of classes, labels and numbers, against NumPy and by hand."""

from math import log

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

from sklearn_cnn import CNNClassifier, CNNRegressor
from sklearn_cnn.training.objectives import Numbers, OneClass, SeveralLabels

OUTPUTS = np.array([[2.0, -1.0, 0.5], [-3.0, 0.25, 4.0]])
INDICATORS = np.array([[1, 0, 0], [0, 1, 1]], dtype=np.float32)


def losses_of(objective, outputs, targets):
    """The losses of images, as the net computes them."""
    made = objective.criterion()
    return made(torch.from_numpy(outputs), torch.from_numpy(targets)).numpy()


def cross_entropy(logits, targets):
    p = 1 / (1 + np.exp(-logits))
    return -(targets * np.log(p) + (1 - targets) * np.log(1 - p))


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.5])
def test_the_loss_of_labels_is_the_mean_cross_entropy(smoothing):
    """Catches a sum over labels, and smoothing toward another value than 0.5."""
    smooth = INDICATORS * (1 - smoothing) + smoothing / 2
    expected = cross_entropy(OUTPUTS, smooth).mean(axis=1)
    assert_allclose(losses_of(SeveralLabels(3, smoothing), OUTPUTS, INDICATORS), expected)


def test_labels_weigh_by_whether_they_are_present():
    """Catches the weights of present labels taken for those of absent ones."""
    absent, present = (1.0, 2.0, 3.0), (10.0, 20.0, 30.0)
    weights = np.where(INDICATORS > 0, present, absent)
    expected = (weights * cross_entropy(OUTPUTS, INDICATORS)).mean(axis=1)
    found = losses_of(SeveralLabels(3, 0.0, absent, present), OUTPUTS, INDICATORS)
    assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        ("squared_error", [(0.25 + 4) / 2, (0 + 9) / 2]),
        ("absolute_error", [(0.5 + 2) / 2, (0 + 3) / 2]),
        ("huber", [(0.125 + 1.5) / 2, (0 + 2.5) / 2]),
    ],
)
def test_losses_of_numbers_by_hand(loss, expected):
    """Errors of 0.5, 2, 0, 3; Huber's is e**2 / 2 up to 1, and e - 1/2 beyond."""
    outputs, targets = np.array([[0.5, 2.0], [1.0, -3.0]]), np.array([[0.0, 0.0], [1.0, 0.0]])
    assert_allclose(losses_of(Numbers(2, loss), outputs, targets), expected)


@pytest.mark.parametrize("loss", ["squared_error", "absolute_error", "huber"])
def test_the_loss_of_an_epoch_is_weighted(loss):
    """The first epoch of a net that hardly learns, against NumPy.

    Catches weights that are left out, or a mean over batches of unequal weight.
    """
    rng = np.random.default_rng(0)
    images, y = rng.random((40, 6, 6)), rng.normal(size=(40, 2)) * (3, 100) + (7, -20)
    weights = rng.uniform(0.1, 4, 40)
    model = CNNRegressor(
        4, dense_units=8, loss=loss, max_epochs=1, batch_norm=False, learning_rate=1e-12,
        weight_decay=0, precision="float64", random_state=0, batch_size=16,
    ).fit(images, y, sample_weight=weights)  # fmt: skip
    mean = np.average(y, axis=0, weights=weights)
    std = np.sqrt(np.average((y - mean) ** 2, axis=0, weights=weights))
    error = np.abs((model.predict(images) - y) / std)
    of_target = {
        "squared_error": error**2,
        "absolute_error": error,
        "huber": np.where(error <= 1, error**2 / 2, error - 0.5),
    }[loss]
    expected = np.average(of_target.mean(axis=1), weights=weights)
    assert_allclose(model.loss_curve_, [expected], rtol=1e-6)


def test_probabilities_of_labels_are_sigmoids(digits):
    y = np.column_stack([digits.target % 2, digits.target > 4, digits.target > 6])[:100]
    model = CNNClassifier(8, max_epochs=2, random_state=0).fit(digits.images[:100], y)
    logits = model.decision_function(digits.images[:100])
    assert logits.shape == (100, 3)
    assert_allclose(model.predict_proba(digits.images[:100]), 1 / (1 + np.exp(-logits)))
    log_probabilities = model.predict_log_proba(digits.images[:100])
    assert_allclose(np.exp(log_probabilities), 1 / (1 + np.exp(-logits)))
    assert_array_equal(model.predict(digits.images[:100]), (logits > 0).astype(int))


def test_decisions():
    assert OneClass(3, 0.0).decide(OUTPUTS).tolist() == [0, 2]
    assert SeveralLabels(3, 0.0).decide(OUTPUTS).tolist() == [[1, 0, 1], [0, 1, 1]]
    assert Numbers(3, "huber").decide(OUTPUTS) is OUTPUTS


def test_scores_by_hand():
    """Weights of 3 and 1: the first image is right of classes, the second of labels."""
    weights = np.array([3.0, 1.0])
    assert OneClass(3, 0.0).score(OUTPUTS, np.array([0, 1]), weights) == 0.75
    assert SeveralLabels(3, 0.0).score(OUTPUTS, INDICATORS, weights) == 0.25
    # weighted mean of 0 and 4 is 1: residuals 1 and 1 of deviations 1 and 3 -> 1 - 4 / 12
    found = Numbers(1, "huber").score(np.array([[1.0], [3.0]]), np.array([[0.0], [4.0]]), weights)
    assert found == pytest.approx(1 - 4 / 12)


def test_what_guessing_loses():
    ones = np.ones(2)
    assert OneClass(4, 0.1).loss_of_guess(np.array([0, 1]), ones) == log(4)
    assert SeveralLabels(3, 0.1).loss_of_guess(INDICATORS, ones) == log(2)
    weighted = SeveralLabels(3, 0.0, (1.0, 1.0, 1.0), (3.0, 3.0, 3.0))
    assert weighted.loss_of_guess(INDICATORS, ones) == pytest.approx(log(2) * (5 / 3 + 7 / 3) / 2)
    numbers = np.array([[1.0, -1.0], [-2.0, 2.0]])
    assert Numbers(2, "absolute_error").loss_of_guess(numbers, np.array([3, 1])) == 1.25
    assert Numbers(2, "squared_error").loss_of_guess(numbers, np.array([1, 1])) == 2.5


@pytest.mark.parametrize(
    "objective", [OneClass(3, 0.1), SeveralLabels(3, 0.1), Numbers(3, "huber")]
)
def test_skorch_gets_what_the_estimator_predicts(objective):
    """In float64, whatever the outputs' type. Catches probabilities of numbers."""
    outputs = torch.tensor(OUTPUTS, dtype=torch.float32)
    assert_allclose(objective.interpret(outputs), objective.probabilities(OUTPUTS))
