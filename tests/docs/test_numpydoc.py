"""The docstrings of all public names pass numpydoc's validation, as scikit-learn's do."""

import inspect

import pytest

import sklearn_cnn

validate = pytest.importorskip("numpydoc.validate")

LEFT_OUT = {
    "GL01",  # text may begin in the line of the quotes
    "GL02",
    "GL08",  # methods that scikit-learn's classes bring are theirs
    "EX01",  # an example for each class and function, not for each method
    "SA01",
    "ES01",
    "SA04",
    "RT02",  # a returned value has a type, or a name and a type
    "PR06",  # str in place of string, and the like
}
"""scikit-learn leaves out most of these, too (sklearn/tests/test_docstrings.py)."""

GROUPS = ("GL", "SS", "PR", "RT", "YD", "EX")


def public_names():
    for name in sklearn_cnn.__all__:
        value = getattr(sklearn_cnn, name)
        if not callable(value):
            continue
        yield name
        if inspect.isclass(value):
            for member, what in inspect.getmembers(value):
                if not callable(what) and not isinstance(what, property):
                    continue  # the default of a field
                owner = next((c for c in value.__mro__ if member in vars(c)), object)
                if not member.startswith("_") and owner.__module__.startswith("sklearn_cnn"):
                    yield f"{name}.{member}"


@pytest.mark.parametrize("name", list(public_names()))
def test_numpydoc(name):
    found = validate.validate(f"sklearn_cnn.{name}")["errors"]
    wrong = [
        f"{code}: {text}"
        for code, text in found
        if code.startswith(GROUPS) and code not in LEFT_OUT
    ]
    assert wrong == []
