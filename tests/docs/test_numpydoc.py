"""Docstrings of public names follow numpydoc, by the rules that scikit-learn enforces."""

import inspect

import pytest

import sklearn_cnn

validate = pytest.importorskip("numpydoc.validate").validate

IGNORED = {
    "ES01",  # no extended summary
    "GL01",  # the summary starts on the line of the quotes
    "GL02",  # the closing quotes of a single line
    "RT02",  # the returned value is named
    "SA01",  # no See Also
}

IGNORED_IN_METHODS = {"EX01"}  # the example of a class shows its methods


def is_documented(member):
    """Tell whether a member of a class is a public method or property."""
    return callable(member) or isinstance(member, (property, classmethod, staticmethod))


def public_names():
    """Return the dotted names of public objects, and of what their classes define here."""
    names = set()
    for name in set(sklearn_cnn.__all__) - {"__version__"}:
        names.add(f"sklearn_cnn.{name}")
        public = getattr(sklearn_cnn, name)
        for owner in inspect.getmro(public) if inspect.isclass(public) else ():
            if owner.__module__.partition(".")[0] == "sklearn_cnn":
                names.update(
                    f"sklearn_cnn.{name}.{member}"
                    for member, value in vars(owner).items()
                    if not member.startswith("_") and is_documented(value)
                )
    return sorted(names)


@pytest.mark.parametrize("name", public_names())
def test_docstring_follows_numpydoc(name):
    ignored = IGNORED | (IGNORED_IN_METHODS if name.count(".") > 1 else set())
    errors = [f"{code}: {text}" for code, text in validate(name)["errors"] if code not in ignored]
    assert not errors, "\n".join(errors)
