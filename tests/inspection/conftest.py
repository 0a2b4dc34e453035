"""What the tests of this folder share: fitted classifiers, one function that makes any Display."""

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from torch import nn

from sklearn_cnn import (
    Activation,
    CNNClassifier,
    Conv,
    FilterDisplay,
    Flatten,
    MistakesDisplay,
    TrainingCurveDisplay,
)


@pytest.fixture(autouse=True)
def _no_figure_stays():
    """Draw without a screen, and close what a test has drawn."""
    mpl.use("Agg")
    yield
    plt.close("all")


def own_module(image_shape, n_outputs):
    """A network as a user of torch writes it, with an activation in place."""
    return nn.Sequential(
        nn.Conv2d(image_shape[2], 6, 3, padding=1),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 5, 3, padding=1),
        nn.ReLU(inplace=True),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(5, n_outputs),
    )


def quick(**parameters):
    """A classifier that fits in a moment."""
    own = {"conv_channels": 8, "dense_units": 16, "max_epochs": 3, "random_state": 0}
    return CNNClassifier(**{**own, **parameters})


@pytest.fixture(scope="session")
def numbers(digits):
    """200 digits (200, 8, 8), float64 from 0 to 16, and their labels."""
    return digits.images[:200], digits.target[:200]


@pytest.fixture(scope="session")
def fitted(numbers):
    """A classifier of digits. No test may train it further."""
    return quick().fit(*numbers)


@pytest.fixture(scope="session")
def fitted_module(numbers):
    """A classifier of digits whose network is a user-defined torch module."""
    return quick(layers=own_module).fit(*numbers)


def upside_down(images):
    return images[:, ::-1]


@pytest.fixture(scope="session")
def around(numbers):
    """What may stand around a classifier, fitted on digits, by its name."""
    turn = FunctionTransformer(upside_down)
    pipeline = make_pipeline(turn, quick(max_epochs=1))
    inside = {"cnnclassifier__dropout": [0.0]}
    bare = {"dropout": [0.0]}
    forms = {
        "pipeline": pipeline,
        "search": GridSearchCV(quick(max_epochs=1), bare, cv=2),
        "pipeline in a search": GridSearchCV(pipeline, inside, cv=2),
        "search in a pipeline": make_pipeline(turn, GridSearchCV(quick(max_epochs=1), bare, cv=2)),
        "pipeline in a pipeline": make_pipeline("passthrough", turn, pipeline),
    }
    return {name: clone(form).fit(*numbers) for name, form in forms.items()}


def strided(*, n_classes, n=16, shape):
    """A classifier of random images, whose four maps are a quarter as high and wide."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (n, *shape), dtype=np.uint8)
    network = [Conv(4, stride=4), Activation(), Flatten()]
    classifier = CNNClassifier(layers=network, max_epochs=1, random_state=0)
    return classifier.fit(images, np.arange(n) % n_classes), images, np.arange(n) % n_classes


@pytest.fixture(scope="session")
def sizes():
    """Classifiers of images of all kinds, with images and labels, by a name."""
    return {
        "1 channel": strided(n_classes=2, shape=(8, 8)),
        "2 channels": strided(n_classes=2, shape=(8, 8, 2)),
        "3 channels": strided(n_classes=3, shape=(8, 8, 3)),
        "4 channels": strided(n_classes=2, shape=(8, 8, 4)),
        "100 classes": strided(n_classes=100, n=200, shape=(8, 8)),
        "64 x 48": strided(n_classes=2, shape=(64, 48, 3)),
        "224 x 224": strided(n_classes=2, n=4, shape=(224, 224, 3)),
    }


@pytest.fixture
def draw():
    """A function that calls ``from_estimator`` of a Display with what it takes."""

    def call(display, estimator, images, y, **keywords):
        given = {FilterDisplay: (), TrainingCurveDisplay: (), MistakesDisplay: (images, y)}
        return display.from_estimator(estimator, *given.get(display, (images,)), **keywords)

    return call


@pytest.fixture
def fixed():
    """A function that gives a fitted classifier the weights of a test, by the layers' names."""

    def put(classifier, **weights):
        network = classifier.net_.module_
        with torch.no_grad():
            for name, (weight, bias) in weights.items():
                layer = network.get_submodule(name)
                layer.weight.copy_(torch.as_tensor(weight))
                if bias is not None:
                    layer.bias.copy_(torch.as_tensor(bias))
        return classifier

    return put
