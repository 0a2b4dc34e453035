"""The docstrings of both learners name every parameter, in order, with its true default."""

import inspect
import re

import pytest

import sklearn_cnn
from sklearn_cnn import CNNClassifier, CNNRegressor

LEARNERS = [CNNClassifier, CNNRegressor]

ENTRY = re.compile(r"^    (\w+) : (.+)$", re.MULTILINE)


def section(learner, name):
    """The text between a heading of the docstring and the next."""
    heading = rf"    {name}\n    -+\n(.*?)\n\n    \w[\w ]+\n    -+\n"
    return re.search(heading, learner.__doc__, re.DOTALL)[1]


@pytest.mark.parametrize("learner", LEARNERS)
def test_every_parameter_is_documented_with_its_default(learner):
    documented = {
        name: text.split("default=")[1]
        for name, text in ENTRY.findall(section(learner, "Parameters"))
    }
    signature = inspect.signature(learner).parameters
    assert list(documented) == list(signature)
    for name, parameter in signature.items():
        assert eval(documented[name]) == parameter.default, name


@pytest.mark.parametrize("learner", LEARNERS)
def test_every_fitted_attribute_is_documented(learner, bars):
    documented = {name for name, _ in ENTRY.findall(section(learner, "Attributes"))}
    model = learner(8, dense_units=16, max_epochs=1)
    images, y = bars
    rows = images.reshape(len(images), -1)
    for X, absent in (
        (images, {"n_features_in_", "feature_names_in_"}),
        (rows, {"feature_names_in_"}),
    ):
        fitted = {name for name in vars(model.fit(X, y)) if re.fullmatch(r"[a-z]\w*_", name)}
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
@pytest.mark.parametrize("learner", LEARNERS)
def test_every_method_documents_its_arguments(learner, name):
    method = getattr(learner, name, None)
    if method is None:
        assert name in ("predict_proba", "predict_log_proba", "decision_function")
        return
    for parameter in list(inspect.signature(method).parameters)[1:]:
        kind = "str or None" if parameter == "layer" else "array-like"
        assert f"        {parameter} : {kind}" in method.__doc__
