"""What a Display is about: the classifier at the end, its images, and nothing that changes them."""

import random
from copy import deepcopy
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_array_equal, assert_equal
from PIL import Image
from sklearn.dummy import DummyClassifier
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, TunedThresholdClassifierCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from torch import nn

from sklearn_cnn import (
    CNNClassifier,
    FeatureMapDisplay,
    FilterDisplay,
    MistakesDisplay,
    SaliencyDisplay,
    TrainingCurveDisplay,
)
from sklearn_cnn.inspection.outcomes import Outcomes
from sklearn_cnn.inspection.target import Target, choose_images, name_images

DISPLAYS = [
    FeatureMapDisplay,
    FilterDisplay,
    MistakesDisplay,
    SaliencyDisplay,
    TrainingCurveDisplay,
]

TURNING = ["pipeline", "pipeline in a search", "search in a pipeline", "pipeline in a pipeline"]

METHODS = ["gradient", "grad_cam", "occlusion"]


def data_of(display):
    """What a Display holds, apart from what it has drawn."""
    return {name: value for name, value in vars(display).items() if not name.endswith("_")}


def test_the_classifier_that_others_end_in(fitted, around):
    """Catches another one: of an earlier fit, or the one that was cloned."""
    search, nested = around["search"], around["pipeline in a pipeline"]
    assert Target(fitted).learner is fitted
    assert Target(around["pipeline"]).learner is around["pipeline"][-1]
    assert Target(search).learner is search.best_estimator_
    whole = around["pipeline in a search"]
    assert Target(whole).learner is whole.best_estimator_[-1]
    last = around["search in a pipeline"][-1]
    assert Target(around["search in a pipeline"]).learner is last.best_estimator_
    assert Target(nested).learner is nested[-1][-1]


@pytest.mark.parametrize("form", TURNING)
def test_images_are_what_the_classifier_sees(around, numbers, form):
    """Catches a step that is left out, or taken twice: two turns are none."""
    images, _ = numbers
    times = 2 if form == "pipeline in a pipeline" else 1
    expected = images[:, :: (-1) ** times, :, np.newaxis]
    assert_array_equal(Target(around[form]).read(images), expected)


def test_images_without_a_pipeline_are_views(fitted, around, numbers):
    """Catches a copy of all images for a look at one."""
    images, _ = numbers
    for estimator in (fitted, around["search"]):
        seen = Target(estimator).read(images)
        assert seen.shape == (200, 8, 8, 1)
        assert np.shares_memory(seen, images)


@pytest.mark.parametrize("form", [*TURNING, "search"])
@pytest.mark.parametrize("display", DISPLAYS)
def test_displays_look_through_what_stands_around(draw, around, numbers, display, form):
    """The same picture as of the classifier inside, given the images as it sees them."""
    images, y = numbers
    estimator = around[form]
    seen = Target(estimator).read(images)
    expected = draw(display, Target(estimator).learner, seen, y)
    assert_equal(data_of(draw(display, estimator, images, y)), data_of(expected))


@pytest.mark.parametrize(
    "estimator",
    [
        DummyClassifier().fit([[0]], [0]),
        make_pipeline(FunctionTransformer(), DummyClassifier()),
        make_pipeline(CNNClassifier(), "passthrough"),
        CNNClassifier,
        "CNNClassifier",
        None,
    ],
    ids=["another", "pipeline", "not at the end", "class", "text", "None"],
)
@pytest.mark.parametrize("display", DISPLAYS)
def test_other_estimators_are_refused(draw, numbers, display, estimator):
    text = (
        "^estimator must be a fitted CNNClassifier or CNNRegressor, or a Pipeline or search that "
        r"ends in one\. "
    )
    with pytest.raises(TypeError, match=f"{text}Got {type(estimator).__name__}"):
        draw(display, estimator, *numbers)


@pytest.mark.parametrize(
    ("estimator", "text"),
    [
        (CNNClassifier(), "This CNNClassifier instance is not fitted yet"),
        (make_pipeline(FunctionTransformer(), CNNClassifier()), "This CNNClassifier instance is"),
        (
            GridSearchCV(CNNClassifier(), {"dropout": [0.0]}),
            r"This GridSearchCV has no best_estimator_\. Call fit, with refit=True",
        ),
        (
            make_pipeline("passthrough", GridSearchCV(CNNClassifier(), {"dropout": [0.0]})),
            r"This GridSearchCV has no best_estimator_\.",
        ),
    ],
    ids=["classifier", "pipeline", "search", "search in a pipeline"],
)
@pytest.mark.parametrize("display", DISPLAYS)
def test_what_is_not_fitted_is_refused(draw, numbers, display, estimator, text):
    with pytest.raises(NotFittedError, match=text):
        draw(display, estimator, *numbers)


def test_a_search_that_has_kept_no_classifier_is_refused(small, numbers):
    """Catches an error that says it is not fitted, and not why."""
    search = GridSearchCV(small(max_epochs=1), {"dropout": [0.0]}, cv=2, refit=False)
    with pytest.raises(NotFittedError, match=r"no best_estimator_\. Call fit, with refit=True"):
        Target(search.fit(*numbers))


@pytest.mark.parametrize(
    ("number", "position"), [(0, 0), (3, 3), (np.int64(2), 2), (-1, 3), (-4, 0)]
)
def test_an_image_is_chosen_by_its_number(number, position):
    images = np.arange(4.0).reshape(4, 1, 1, 1)
    assert choose_images(images, [number]).tolist() == [[[[position]]]]


@pytest.mark.parametrize("number", [4, -5, 1.0, True, "1", None, [0], np.array(0)])
def test_other_numbers_are_refused(number):
    """Catches an IndexError, and True taken for the second image."""
    text = (
        r"^image must be the index of an image in X, from 0 to 3, or from -4 to -1 .*\. Got image="
    )
    with pytest.raises(ValueError, match=text):
        choose_images(np.zeros((4, 1, 1, 1)), [number])


@pytest.mark.parametrize("display", [FeatureMapDisplay, SaliencyDisplay])
def test_displays_refuse_a_wrong_number(fitted, numbers, display):
    with pytest.raises(ValueError, match=r"from 0 to 199, .*\. Got image=200"):
        display.from_estimator(fitted, numbers[0], image=200)


def test_pictures_are_scaled_by_the_range_of_the_training_images(fitted):
    """0 to 16 at fit. Catches a range of the images at hand, and what leaves 0 to 1."""
    images = np.array([-8, 0, 4, 16, 20]).reshape(1, 1, 5, 1)
    assert Target(fitted).pictures(images).tolist() == [[[0, 0, 0.25, 1, 1]]]


def test_pictures_of_fractions(small):
    """From -0.25 to 0.25 at fit. Catches a range that is at least 1."""
    images = np.linspace(-0.25, 0.25, 64).reshape(4, 4, 4)
    model = small(max_epochs=1).fit(images, [0, 1, 0, 1])
    assert Target(model).pictures(np.array([[[[-0.25], [0], [0.125]]]])).tolist() == [
        [[0, 0.5, 0.75]]
    ]


@pytest.mark.parametrize("n_channels", [1, 2, 3, 4, 5])
def test_channels_of_a_picture(fitted, n_channels):
    """3 and 4 are colours; of others, the mean: 0, 0.25, ... of the range for channel 0, 1, ..."""
    images = np.arange(0, 4 * n_channels, 4).reshape(1, 1, 1, n_channels)
    values = [0, 0.25, 0.5, 0.75, 1.0][:n_channels]
    expected = values if n_channels in (3, 4) else np.mean(values)
    assert Target(fitted).pictures(images).tolist() == [[[expected]]]


def test_pictures_of_blank_training_images(small):
    """Catches a division by a range of zero."""
    model = small(max_epochs=1).fit(np.full((4, 4, 4), 7), [0, 1, 0, 1])
    assert Target(model).pictures(np.array([[[[7], [8]]]])).tolist() == [[[0, 1]]]


def test_classes_are_drawn_by_their_labels_or_other_names():
    classes = np.array([3, 5])
    assert Outcomes.named("classes", classes, None).names is classes
    named = Outcomes.named("classes", classes, ("three", "five"))
    assert named.names.tolist() == ["three", "five"]


@pytest.mark.parametrize("names", [["a"], ["a", "b", "c"], [["a"], ["b"]], "ab", []])
@pytest.mark.parametrize("display", [FeatureMapDisplay, MistakesDisplay])
def test_a_wrong_number_of_names_is_refused(draw, sizes, display, names):
    """Catches a name too few, a column of names, and text taken for a list."""
    text = r"^display_labels must have one name for each of the 2 classes, in the order of classes_"
    with pytest.raises(ValueError, match=text):
        draw(display, *sizes["1 channel"], display_labels=names)


def test_probabilities_and_outputs_are_those_of_the_classifier(fitted, numbers):
    """Catches a second way to compute them that differs."""
    images, _ = numbers
    target = Target(fitted)
    seen = target.read(images)
    assert_array_equal(target.predictions(seen), fitted.predict_proba(images))
    expected = {name: maps[0] for name, maps in fitted.feature_maps(images[:1]).items()}
    outputs, flattened = target.layer_outputs(seen[:1])
    assert_equal(outputs, expected)
    assert_array_equal(flattened, expected["flatten"])


@pytest.mark.parametrize("shape", [(3, 8, 8), (4, 4, 4)])
@pytest.mark.parametrize("display", [FeatureMapDisplay, MistakesDisplay, SaliencyDisplay])
def test_channels_that_come_first(draw, small, display, shape):
    """Catches an image that is turned twice: refused, or worse, taken where all sides are equal."""
    rng = np.random.default_rng(0)
    images, y = rng.random((30, *shape)), np.arange(30) % 2
    first = small(max_epochs=1, data_format="channels_first").fit(images, y)
    last = deepcopy(first).set_params(data_format="channels_last")
    expected = draw(display, last, np.moveaxis(images, 1, 3), y)
    assert_equal(data_of(draw(display, first, images, y)), data_of(expected))


@pytest.mark.parametrize("display", [FeatureMapDisplay, SaliencyDisplay])
def test_one_dark_image_among_bright_ones(small, display):
    """Fractions below 1 alone look like scaled pixels. Catches a check of the one image."""
    images = np.random.default_rng(0).random((30, 6, 6)) * 255
    images[7] /= 300
    model = small(max_epochs=1).fit(images, np.arange(30) % 2)
    assert display.from_estimator(model, images, image=7).image.max() < 0.01


@pytest.mark.parametrize("display", [FeatureMapDisplay, MistakesDisplay, SaliencyDisplay])
def test_tables_of_pixels(draw, small, digits, display):
    """Catches scikit-learn's warning that an array has lost its feature names."""
    table = pd.DataFrame(digits.data[:60]).add_prefix("pixel")
    model = small(max_epochs=1).fit(table, digits.target[:60])
    found = draw(display, model, table, digits.target[:60])
    expected = draw(display, model, digits.images[:60], digits.target[:60])
    assert_equal(data_of(found), data_of(expected))


def state_of(classifier):
    """All that a Display could change, of the classifier and of the process."""
    network = classifier.net_.module_
    return {
        "weights": {n: values.numpy().copy() for n, values in network.state_dict().items()},
        "hooks": [(len(m._forward_hooks), len(m._forward_pre_hooks)) for m in network.modules()],
        "training": [module.training for module in network.modules()],
        "trainable": [p.requires_grad for p in network.parameters()],
        "gradients": [p.grad is None for p in network.parameters()],
        "attributes": sorted(vars(classifier)),
        "torch": (torch.get_rng_state().numpy(), torch.is_grad_enabled(), torch.get_num_threads()),
        "numpy": np.random.get_state()[1].copy(),  # noqa: NPY002 - the state that is global
        "random": random.getstate(),
    }


@pytest.mark.parametrize(
    ("display", "keywords"),
    [
        *((display, {}) for display in DISPLAYS if display is not SaliencyDisplay),
        *((SaliencyDisplay, {"method": method}) for method in METHODS),
    ],
)
@pytest.mark.parametrize("kind", ["described", "module"])
def test_nothing_is_changed(draw, fitted, fitted_module, numbers, display, keywords, kind):
    """Catches hooks and gradients that stay, and random numbers or modes of others that move."""
    classifier = fitted if kind == "described" else fitted_module
    classifier.predict(numbers[0][:1])  # which ends the mode of training
    before = state_of(classifier)
    with torch.no_grad():
        draw(display, classifier, *numbers, **keywords)
        assert not torch.is_grad_enabled()
    assert_equal(state_of(classifier), before)


@pytest.mark.parametrize("mode", [torch.inference_mode, torch.no_grad])
@pytest.mark.parametrize("method", METHODS)
def test_modes_of_the_caller_change_nothing(fitted, numbers, method, mode):
    """Catches a copy of the network, or pixels, that torch allows no gradient of."""
    expected = SaliencyDisplay.from_estimator(fitted, numbers[0], method=method).saliency
    with mode():
        found = SaliencyDisplay.from_estimator(fitted, numbers[0], method=method).saliency
    assert_array_equal(found, expected)


@pytest.mark.parametrize("layers", [None, "function"])
def test_what_maps_are_flattened_to(small, numbers, layers):
    """Also by a function. Catches the first vector there is, such as the logits."""
    images, y = numbers
    model = small(max_epochs=1, layers=layers and by_function).fit(images, y)
    target = Target(model)
    _, flattened = target.layer_outputs(target.read(images)[:1])
    last = "activation1" if layers is None else "network.conv"
    assert_array_equal(np.sort(flattened), np.sort(model.feature_maps(images[:1], last).ravel()))


class ByFunction(nn.Module):
    """A convolution, flattened by a function of torch's."""

    def __init__(self, n_outputs):
        super().__init__()
        self.conv, self.last = nn.Conv2d(1, 2, 3), nn.Linear(72, n_outputs)

    def forward(self, images):
        return self.last(torch.flatten(self.conv(images), 1))


def by_function(image_shape, n_outputs):
    return ByFunction(n_outputs)


def test_a_pipeline_that_goes_on_after_the_network(small, numbers):
    """The remedy is named, and is one. Catches an error that says only what it is not."""
    model = make_pipeline(small(max_epochs=1), LogisticRegression(max_iter=5000)).fit(*numbers)
    with pytest.raises(TypeError, match=r"ends in LogisticRegression. .* pipeline\[:-1\]"):
        Target(model)
    assert Target(model[:-1]).learner is model[0]


def test_what_tunes_a_threshold_is_no_search(small, bars):
    """Catches advice to set refit."""
    model = TunedThresholdClassifierCV(small(max_epochs=1), cv=2).fit(*bars)
    with pytest.raises(TypeError, match=r"Got TunedThresholdClassifierCV\. Mis"):
        Target(model)


def test_images_are_named_by_their_files_or_positions():
    """Catches whole paths, positions counted from the end, and images that are no array."""
    assert name_images(["cats/a.png", Path("dogs/b.png")], [1, 0, -1]) == [
        "b.png",
        "a.png",
        "b.png",
    ]
    assert name_images(pd.DataFrame({"path": ["a.png", "b.png"]}), (1,)) == ["b.png"]
    assert name_images(np.zeros((5, 2, 2)), [0, -1]) == ["X[0]", "X[4]"]
    assert name_images([Image.new("L", (2, 3)), Image.new("L", (4, 5))], [-2]) == ["X[0]"]
