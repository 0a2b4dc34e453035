"""The private names of scikit-learn that this package leans on, in one place.

Each entry says when it can go.
"""

# Public in spirit (scikit-learn's developer guide shows them to third parties) but not in name.
# They go when scikit-learn offers parameter validation under a public name.
from sklearn.base import _fit_context
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions, validate_params

# Goes when a transformer can learn by a public name which container it is asked for.
from sklearn.utils._set_output import _get_output_config

# Goes when `sklearn.utils.validation` names it without the underscore.
from sklearn.utils.validation import _check_sample_weight

__all__ = [
    "HasMethods",
    "Interval",
    "StrOptions",
    "_check_sample_weight",
    "_fit_context",
    "_get_output_config",
    "validate_params",
]
