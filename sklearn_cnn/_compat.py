"""The private names of scikit-learn that this package leans on, in one place.

Each entry says when it can go.
"""

from collections.abc import Callable, Mapping
from functools import wraps
from inspect import signature
from typing import Any

import numpy as np
from sklearn import get_config

# Public in spirit (scikit-learn's developer guide shows them to third parties) but not in name.
# They go when scikit-learn offers parameter validation under a public name.
from sklearn.base import _fit_context

# Goes when scikit-learn's Displays can ask for matplotlib by a public name.
from sklearn.utils._optional_dependencies import check_matplotlib_support
from sklearn.utils._param_validation import (
    HasMethods,
    Interval,
    StrOptions,
    validate_parameter_constraints,
)

# Goes when a transformer can learn by a public name which container it is asked for.
from sklearn.utils._set_output import _get_output_config

# They go when `sklearn.utils.validation` names them without the underscore.
from sklearn.utils.validation import _check_sample_weight
from sklearn.utils.validation import _get_feature_names as _names_of_frame

from sklearn_cnn._messages import did_you_mean

try:
    from sklearn.callback import CallbackSupportMixin, ProgressBar, with_callbacks
except ImportError:  # goes with scikit-learn 1.8, the last one without callbacks
    from sklearn import __version__

    class CallbackSupportMixin:  # type: ignore[no-redef]
        """Say that there are no callbacks, to whoever asks."""

        @property
        def set_callbacks(self) -> Any:
            """Refuse, so that ``hasattr`` says no."""
            raise AttributeError(
                f"set_callbacks needs scikit-learn 1.9 or newer, and this is {__version__}. "
                f"{type(self).__name__}(verbose=1) shows a progress bar with any version, and "
                "callbacks= takes those of skorch."
            )

    ProgressBar = ()

    def with_callbacks(method: Any) -> Any:
        """Leave the method as it is."""
        return method


def check_parameters(constraints: Any, values: Mapping[str, Any], caller: str) -> None:
    """Check parameters as scikit-learn does, and suggest the name that may have been meant.

    Parameters
    ----------
    constraints : dict of str to list
        In the form of scikit-learn's parameter validation.
    values : mapping of str to object
        The parameters.
    caller : str
        Whose parameters they are.
    """
    for name, value in values.items():
        try:
            validate_parameter_constraints(constraints, {name: value}, caller)
        except ValueError as error:
            kinds = [kind for kind in constraints[name] if isinstance(kind, StrOptions)]
            meant = did_you_mean(value, (option for kind in kinds for option in kind.options))
            raise type(error)(f"{error}{meant}") from None


class CheckedParametersMixin:
    """Check the parameters of an estimator by :func:`check_parameters`."""

    def _validate_params(self) -> None:
        estimator: Any = self
        values = estimator.get_params(deep=False)
        check_parameters(estimator._parameter_constraints, values, type(self).__name__)


def validate_params(constraints: dict[str, Any]) -> Callable[[Any], Any]:
    """Check the parameters of a function by :func:`check_parameters` when it is called."""

    def decorate(function: Any) -> Any:
        @wraps(function)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            if not get_config()["skip_parameter_validation"]:
                given = signature(function).bind(*args, **kwargs)
                given.apply_defaults()
                check_parameters(constraints, given.arguments, function.__qualname__)
            return function(*args, **kwargs)

        return wrapper

    return decorate


class FittedHTMLMixin:
    """Show more than parameters in the notebook, below them, once an estimator is fitted.

    The estimator has a method ``_fitted_html()``, which returns a table in HTML.
    """

    _fitted_html: Any

    def _get_fitted_attr_html(self, doc_link: str = "") -> Any:
        """Add to the table of fitted attributes, which scikit-learn draws since 1.9.

        It asks the parts of a fitted estimator, too, which may not be fitted themselves.
        """
        base: Any = super()
        attributes = base._get_fitted_attr_html(doc_link)
        if hasattr(self, "classes_"):
            html, drawn = self._fitted_html(), attributes._repr_html_inner
            attributes._repr_html_inner = lambda: f"{html}{drawn()}"
        return attributes

    # The two below go with scikit-learn 1.8, whose diagram has no such table.

    def _repr_html_inner(self) -> str:
        base: Any = super()
        return f"{base._repr_html_inner()}{self._html_below()}"

    def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, str]:
        base: Any = super()
        bundle: dict[str, str] = base._repr_mimebundle_(**kwargs)
        if "text/html" in bundle:
            bundle["text/html"] += self._html_below()
        return bundle

    def _html_below(self) -> str:
        has_table = hasattr(super(), "_get_fitted_attr_html")
        return self._fitted_html() if hasattr(self, "classes_") and not has_table else ""


def _get_feature_names(X: Any) -> Any:
    """Return the names of the columns, if all are strings; None otherwise.

    Goes with scikit-learn 1.6, which does not know newer frames of polars.
    """
    names = _names_of_frame(X)
    columns = list(getattr(X, "columns", ())) if names is None else []
    if columns and all(isinstance(name, str) for name in columns):
        return np.asarray(columns, dtype=object)
    return names


__all__ = [
    "CallbackSupportMixin",
    "CheckedParametersMixin",
    "FittedHTMLMixin",
    "HasMethods",
    "Interval",
    "ProgressBar",
    "StrOptions",
    "_check_sample_weight",
    "_fit_context",
    "_get_feature_names",
    "_get_output_config",
    "check_matplotlib_support",
    "validate_params",
    "with_callbacks",
]
