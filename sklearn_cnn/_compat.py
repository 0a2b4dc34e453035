"""The private names of scikit-learn that this package leans on, and what its versions differ in.

Each entry says when it can go.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from inspect import signature
from typing import NoReturn, ParamSpec, Protocol, TypeVar, cast

from sklearn import __version__, get_config

# Public in spirit (scikit-learn's developer guide shows them to third parties) but not in name.
# They go when scikit-learn offers parameter validation under a public name.
from sklearn.base import _fit_context

# Was once in the reference of scikit-learn; goes when it is again, without the underscore.
from sklearn.utils import _safe_indexing

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
from sklearn.utils.validation import _check_sample_weight, _is_fitted
from sklearn.utils.validation import _get_feature_names as _names_of_frame

from sklearn_cnn._messages import did_you_mean

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
    "_safe_indexing",
    "check_matplotlib_support",
    "check_parameters",
    "validate_params",
    "with_callbacks",
]

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")
Constraints = Mapping[str, Sequence[object]]
"""In the form of scikit-learn's parameter validation: what each parameter may be."""

try:
    from sklearn.callback import CallbackSupportMixin, ProgressBar, with_callbacks
except ImportError:  # goes with scikit-learn 1.8, the last one without callbacks

    class CallbackSupportMixin:  # type: ignore[no-redef]
        """Say that there are no callbacks, to whoever asks."""

        @property
        def set_callbacks(self) -> NoReturn:
            """Refuse, so that ``hasattr`` says no."""
            raise AttributeError(
                f"set_callbacks needs scikit-learn 1.9 or newer, and this is {__version__}. "
                f"{type(self).__name__}(verbose=1) shows a progress bar with any version, and "
                "callbacks= takes those of skorch."
            )

    ProgressBar = ()

    def with_callbacks(method: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
        """Leave the method as it is."""
        return method


def check_parameters(constraints: Constraints, values: Mapping[str, object], caller: str) -> None:
    """Check parameters as scikit-learn does, and suggest the name that may have been meant."""
    for name, value in values.items():
        try:
            validate_parameter_constraints(constraints, {name: value}, caller)
        except ValueError as error:
            kinds = [kind for kind in constraints[name] if isinstance(kind, StrOptions)]
            meant = did_you_mean(value, (option for kind in kinds for option in kind.options))
            raise type(error)(f"{error}{meant}") from None


class _Estimator(Protocol):
    _parameter_constraints: Constraints

    def get_params(self, deep: bool) -> dict[str, object]: ...


class CheckedParametersMixin:
    """Check the parameters of an estimator by :func:`check_parameters`."""

    def _validate_params(self: _Estimator) -> None:
        values = self.get_params(deep=False)
        check_parameters(self._parameter_constraints, values, type(self).__name__)


def validate_params(
    constraints: Constraints,
) -> Callable[[Callable[Arguments, Result]], Callable[Arguments, Result]]:
    """Check the parameters of a function by :func:`check_parameters` when it is called."""

    def decorate(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
        @wraps(function)
        def wrapper(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
            if not get_config()["skip_parameter_validation"]:
                given = signature(function).bind(*args, **kwargs)
                given.apply_defaults()
                check_parameters(constraints, given.arguments, function.__qualname__)
            return function(*args, **kwargs)

        return wrapper

    return decorate


class _Drawn(Protocol):
    """What scikit-learn draws in a notebook: an estimator, or the table of its attributes."""

    _repr_html_inner: Callable[[], str]

    def _get_fitted_attr_html(self, doc_link: str) -> "_Drawn": ...

    def _repr_mimebundle_(self, **kwargs: object) -> dict[str, str]: ...


class FittedHTMLMixin:
    """Show more than parameters in the notebook, below them, once an estimator is fitted.

    The estimator has a method ``_fitted_html()``, which returns a table in HTML. Of the methods
    here, all but the first go with scikit-learn 1.8, whose diagram has no fitted attributes.
    """

    _fitted_html: Callable[[], str]

    def _get_fitted_attr_html(self, doc_link: str = "") -> _Drawn:
        """Add to the table of fitted attributes.

        scikit-learn also asks the parts of a fitted estimator, which may not be fitted themselves.
        """
        attributes = cast(_Drawn, super())._get_fitted_attr_html(doc_link)
        if _is_fitted(self):
            html, drawn = self._fitted_html(), attributes._repr_html_inner
            attributes._repr_html_inner = lambda: f"{html}{drawn()}"
        return attributes

    def _repr_html_inner(self) -> str:
        return f"{cast(_Drawn, super())._repr_html_inner()}{self._html_below()}"

    def _repr_mimebundle_(self, **kwargs: object) -> dict[str, str]:
        bundle = cast(_Drawn, super())._repr_mimebundle_(**kwargs)
        if "text/html" in bundle:
            bundle["text/html"] += self._html_below()
        return bundle

    def _html_below(self) -> str:
        has_table = hasattr(super(), "_get_fitted_attr_html")
        return self._fitted_html() if _is_fitted(self) and not has_table else ""


def _get_feature_names(X: object) -> Sequence[str] | None:
    """Return the names of the columns, if all are strings; None otherwise.

    Goes with scikit-learn 1.6, which does not know newer frames of polars.
    """
    names: Sequence[str] | None = _names_of_frame(X)
    columns = list(getattr(X, "columns", ())) if names is None else []
    if columns and all(isinstance(name, str) for name in columns):
        return columns
    return names
