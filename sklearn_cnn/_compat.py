"""Private names of scikit-learn that this package uses, and differences between its versions.

Each entry states when it can be removed.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from inspect import signature
from typing import NoReturn, ParamSpec, Protocol, TypeVar, cast

from sklearn import __version__, get_config

# Recommended to third parties in scikit-learn's developer guide, but private.
# To be removed when scikit-learn has public parameter validation.
from sklearn.base import _fit_context

# Formerly in scikit-learn's API reference; to be removed when it is public again.
from sklearn.utils import _safe_indexing

# To be removed when scikit-learn has a public check for matplotlib.
from sklearn.utils._optional_dependencies import check_matplotlib_support
from sklearn.utils._param_validation import (
    HasMethods,
    Interval,
    StrOptions,
    validate_parameter_constraints,
)

# To be removed when scikit-learn has a public function for the requested output container.
from sklearn.utils._set_output import _get_output_config

# To be removed when `sklearn.utils.validation` has them without the underscore.
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
"""The valid values of each parameter, in the form of scikit-learn's parameter validation."""

try:
    from sklearn.callback import CallbackSupportMixin, ProgressBar, with_callbacks
except ImportError:  # to be removed with scikit-learn 1.8, the last version without callbacks

    class CallbackSupportMixin:  # type: ignore[no-redef]
        """Report that scikit-learn callbacks are not available."""

        @property
        def set_callbacks(self) -> NoReturn:
            """Raise AttributeError, so that ``hasattr`` returns False."""
            raise AttributeError(
                f"set_callbacks needs scikit-learn 1.9 or newer, but this is {__version__}. "
                f"{type(self).__name__}(verbose=1) shows a progress bar with any version, and "
                "callbacks= accepts skorch callbacks."
            )

    ProgressBar = ()

    def with_callbacks(method: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
        """Return the method unchanged."""
        return method


def check_parameters(constraints: Constraints, values: Mapping[str, object], caller: str) -> None:
    """Check parameters as scikit-learn does, and suggest similar names."""
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
    """Check the parameters of an estimator with :func:`check_parameters`."""

    def _validate_params(self: _Estimator) -> None:
        values = self.get_params(deep=False)
        check_parameters(self._parameter_constraints, values, type(self).__name__)


def validate_params(
    constraints: Constraints,
) -> Callable[[Callable[Arguments, Result]], Callable[Arguments, Result]]:
    """Check the parameters of a function with :func:`check_parameters` when it is called."""

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
    """An object with an HTML representation: an estimator, or the table of its attributes."""

    _repr_html_inner: Callable[[], str]

    def _get_fitted_attr_html(self, doc_link: str) -> "_Drawn": ...

    def _repr_mimebundle_(self, **kwargs: object) -> dict[str, str]: ...


class FittedHTMLMixin:
    """Show additional HTML below the parameters of a fitted estimator in a notebook.

    The estimator has a method ``_fitted_html()``, which returns a table in HTML. All methods here
    except the first can be removed with scikit-learn 1.8, whose diagram has no fitted attributes.
    """

    _fitted_html: Callable[[], str]

    def _get_fitted_attr_html(self, doc_link: str = "") -> _Drawn:
        """Add the HTML to the table of fitted attributes.

        scikit-learn also calls this for parts of a fitted estimator, which may not be fitted.
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
    """Return the names of the columns if all are strings, and None otherwise.

    To be removed with scikit-learn 1.6, which does not support newer polars DataFrames.
    """
    names: Sequence[str] | None = _names_of_frame(X)
    columns = list(getattr(X, "columns", ())) if names is None else []
    if columns and all(isinstance(name, str) for name in columns):
        return columns
    return names
