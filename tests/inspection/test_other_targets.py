"""What the Displays show of regressors and of several labels an image."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.model_selection import cross_val_predict

from sklearn_cnn import (
    CNNClassifier,
    CNNRegressor,
    FeatureMapDisplay,
    FilterDisplay,
    MistakesDisplay,
    SaliencyDisplay,
    TrainingCurveDisplay,
)

COMMON = {"conv_channels": 4, "dense_units": 8, "max_epochs": 2, "random_state": 0}


@pytest.fixture(scope="module")
def of_number(numbers):
    images, y = numbers
    return CNNRegressor(**COMMON).fit(images, 10.0 * y)


@pytest.fixture(scope="module")
def of_numbers(numbers):
    images, y = numbers
    return CNNRegressor(**COMMON).fit(images, np.column_stack([10.0 * y, -y]))


@pytest.fixture(scope="module")
def of_labels(numbers):
    images, y = numbers
    return CNNClassifier(**COMMON).fit(images, np.column_stack([y % 2, y > 4, y > 7]))


def titles(display):
    return [ax.get_title() for ax in display.axes_.ravel()]


def test_the_worst_residuals(of_number, numbers):
    """Catches small residuals first, or those of one sign alone."""
    images, y = numbers
    truth = 10.0 * y
    display = MistakesDisplay.from_estimator(of_number, images, truth, n_shown=5)
    error = np.abs(of_number.predict(images) - truth)
    assert display.indices_.tolist() == np.argsort(-error, kind="stable")[:5].tolist()
    assert display.confidence is None
    worst = display.indices_[0]
    predicted = of_number.predict(images)[worst]
    assert titles(display)[0] == f"X[{worst}]\n{truth[worst]:.4g},\npredicted {predicted:.4g}"
    assert display.ax_.get_title() == "the worst 5 of 200 predictions"


def test_residuals_of_several_numbers_are_compared_in_deviations(of_numbers, numbers):
    """The second target is ten times smaller. Catches the first one in every title."""
    images, y = numbers
    truth = np.column_stack([10.0 * y, -y])
    names = ["tens", "negative"]
    display = MistakesDisplay.from_estimator(of_numbers, images, truth, display_labels=names)
    error = np.abs(of_numbers.predict(images) - truth) / truth.std(axis=0)
    assert display.indices_.tolist() == np.argsort(-error.max(axis=1), kind="stable")[:18].tolist()
    expected = [names[target] for target in error[display.indices_].argmax(axis=1)]
    assert [text.split(":")[0] for text in display.y_true] == expected


def test_residuals_of_a_cross_validation(numbers):
    """By predictions alone: a number that is a float, in the shape of y_true."""
    images, y = numbers
    truth = 10.0 * y
    predicted = cross_val_predict(CNNRegressor(**COMMON), images, truth, cv=2)
    display = MistakesDisplay.from_predictions(images, truth, predicted, n_shown=3)
    assert display.indices_[0] == np.abs(predicted - truth).argmax()


def test_the_worst_labels(of_labels, numbers):
    """By hand: a label of 0.9 that is absent is worse than one of 0.2 that is present."""
    images, _ = numbers
    truth = np.array([[1, 0], [1, 1], [0, 0], [0, 1]])
    shares = np.array([[0.8, 0.9], [0.2, 0.9], [0.3, 0.4], [0.45, 0.55]])
    display = MistakesDisplay.from_predictions(
        images[:4], truth, shares, display_labels=["cat", "dog"]
    )
    assert display.indices_.tolist() == [0, 1]
    assert display.y_true == ["no dog", "cat"]
    assert display.y_pred == ["dog", "no cat"]
    assert_allclose(display.confidence, [0.9, 0.8])
    assert display.ax_.get_title() == "all 2 mistakes on 4 images"


def test_mistakes_of_labels_are_those_of_the_score(of_labels, numbers):
    images, y = numbers
    truth = np.column_stack([y % 2, y > 4, y > 7])
    display = MistakesDisplay.from_estimator(of_labels, images, truth)
    assert display.n_mistakes == round(200 * (1 - of_labels.score(images, truth)))


@pytest.mark.parametrize("wrong", [np.zeros((200, 2)), np.zeros(200)])
def test_truth_of_another_shape(of_labels, numbers, wrong):
    images, _ = numbers
    with pytest.raises(ValueError, match=r"y must have the shape of the predictions, \(200, 3\)"):
        MistakesDisplay.from_estimator(of_labels, images, wrong)


def test_saliency_of_a_number_is_its_gradient(of_numbers, numbers):
    """In deviations of the second target, by torch's own gradient of the module."""
    images, _ = numbers
    display = SaliencyDisplay.from_estimator(of_numbers, images, image=3, target=1)
    module = of_numbers.net_.module_
    pixels = torch.tensor(images[3:4, None], dtype=torch.float32, requires_grad=True)
    module(pixels)[0, 1].backward()
    assert_allclose(display.saliency, pixels.grad[0, 0].abs().numpy(), rtol=1e-4, atol=1e-7)
    predicted = of_numbers.predict(images[3:4])[0, 1]
    assert display.title == f"gradient: target 1: {predicted:.4g}"


@pytest.mark.parametrize("method", ["gradient", "grad_cam", "occlusion"])
def test_saliency_titles_name_what_is_shown(of_number, of_labels, numbers, method):
    """The only number; the label of the highest probability, or the one that is asked for."""
    images, _ = numbers
    display = SaliencyDisplay.from_estimator(of_number, images, method=method)
    assert display.title == f"{method}: prediction: {of_number.predict(images[:1])[0]:.4g}"
    shares = of_labels.predict_proba(images[:1])[0]
    names = np.array(["odd", "large", "huge"])
    display = SaliencyDisplay.from_estimator(of_labels, images, method=method, display_labels=names)
    best = shares.argmax()
    assert display.title == f"{method}: {names[best]} ({100 * shares[best]:.0f} %)"
    display = SaliencyDisplay.from_estimator(of_labels, images, method=method, target=2)
    assert display.title == f"{method}: 2 ({100 * shares[2]:.0f} %)"


@pytest.mark.parametrize(
    ("kind", "target", "text"),
    [
        ("of_numbers", 2, "target must be None, for the first, or one of 0, 1. Got target=2"),
        (
            "of_labels",
            3,
            "target must be None, for the label with the highest probability, or one of",
        ),
        ("of_labels", [0, 1], "or one of 0, 1, 2. Got target=[0, 1]"),
    ],
)
def test_targets_that_there_are_not(request, numbers, kind, target, text):
    import re

    model = request.getfixturevalue(kind)
    with pytest.raises(ValueError, match=re.escape(text)):
        SaliencyDisplay.from_estimator(model, numbers[0], target=target)


def test_the_predictions_of_numbers_are_bars(of_numbers, numbers):
    """Above and below zero, in the units of y."""
    images, _ = numbers
    display = FeatureMapDisplay.from_estimator(of_numbers, images, image=5)
    predicted = of_numbers.predict(images[5:6])[0]
    assert_array_equal(display.predictions, predicted)
    assert [bar.get_height() for bar in display.bars_] == predicted.tolist()
    (ax,) = display.axes_["predictions"]
    assert ax.get_title() == "predictions"
    assert [label.get_text() for label in ax.get_xticklabels()] == ["target 0", "target 1"]
    assert [text.get_text() for text in ax.texts] == [f"{value:.4g}" for value in predicted]


def test_the_probabilities_of_labels_are_bars(of_labels, numbers):
    images, _ = numbers
    display = FeatureMapDisplay.from_estimator(
        of_labels, images, display_labels=["odd", "large", "huge"]
    )
    assert_array_equal(display.predictions, of_labels.predict_proba(images[:1])[0])
    (ax,) = display.axes_["probabilities"]
    assert [label.get_text() for label in ax.get_xticklabels()] == ["odd", "large", "huge"]


@pytest.mark.parametrize(("kind", "each"), [("of_numbers", "2 targets"), ("of_labels", "3 labels")])
def test_a_name_for_each(request, numbers, kind, each):
    model = request.getfixturevalue(kind)
    text = f"must have one name for each of the {each}, in the order of the columns of y"
    with pytest.raises(ValueError, match=text):
        FeatureMapDisplay.from_estimator(model, numbers[0], display_labels=["a"])


def test_filters_and_curves_of_a_regressor(of_number, numbers):
    """Which ask nothing of the targets."""
    images, y = numbers
    assert FilterDisplay.from_estimator(of_number, X=images).figure_
    stopped = CNNRegressor(**COMMON, early_stopping=True, validation_fraction=0.2)
    display = TrainingCurveDisplay.from_estimator(stopped.fit(images, 1.0 * y))
    assert display.validation_score == stopped.validation_scores_
    best = max(stopped.history_, key=lambda e: (e["validation_score"], -e["valid_loss"]))
    assert display.best_epoch == best["epoch"]
