"""The docstring of the classifier names every parameter, in order, with its true default."""

import inspect
import re

import pytest

import sklearn_cnn
from sklearn_cnn import CNNClassifier

ENTRY = re.compile(r"^    (\w+) : (.+)$", re.MULTILINE)


def section(name):
    """The text between a heading of the docstring and the next."""
    found = re.search(rf"    {name}\n    -+\n(.*?)\n\n    \w[\w ]+\n    -+\n", DOCSTRING, re.DOTALL)
    return found[1]


DOCSTRING = CNNClassifier.__doc__


def test_every_parameter_is_documented_with_its_default():
    documented = {
        name: text.split("default=")[1] for name, text in ENTRY.findall(section("Parameters"))
    }
    signature = inspect.signature(CNNClassifier).parameters
    assert list(documented) == list(signature)
    for name, parameter in signature.items():
        assert eval(documented[name]) == parameter.default, name


def test_every_fitted_attribute_is_documented(small, bars):
    documented = {name for name, _ in ENTRY.findall(section("Attributes"))}
    images, y = bars
    rows = images.reshape(len(images), -1)
    for X, absent in (
        (images, {"n_features_in_", "feature_names_in_"}),
        (rows, {"feature_names_in_"}),
    ):
        fitted = {name for name in vars(small().fit(X, y)) if re.fullmatch(r"[a-z]\w*_", name)}
        assert fitted == documented - absent


@pytest.mark.parametrize("name", sorted(set(sklearn_cnn.__all__) - {"__version__"}))
def test_every_public_class_has_an_example(name):
    assert ">>> " in getattr(sklearn_cnn, name).__doc__


@pytest.mark.parametrize(
    "name",
    [
        "fit",
        "partial_fit",
        "predict",
        "predict_proba",
        "predict_log_proba",
        "decision_function",
        "transform",
        "feature_maps",
        "get_feature_names_out",
    ],
)
def test_every_method_documents_its_arguments(name):
    method = getattr(CNNClassifier, name)
    for parameter in list(inspect.signature(method).parameters)[1:]:
        kind = "str or None" if parameter == "layer" else "array-like"
        assert f"        {parameter} : {kind}" in method.__doc__
