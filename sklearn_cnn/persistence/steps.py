"""The scikit-learn estimators that can be saved, with their fitted arrays.

The table is closed. The private names of these estimators depend on the version of scikit-learn;
those needed for prediction are the same from 1.6 to 1.9.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from sklearn.utils.validation import check_is_fitted

from sklearn_cnn.persistence.nodes import (
    Node,
    Read,
    Shape,
    Written,
    check_keys,
    decode_names,
    encode_names,
    encode_parameters,
    make_estimator,
    match_shape,
)
from sklearn_cnn.persistence.values import NotKept, decode_labels, encode_labels

FLOATS, INTS = ("float64", "float32"), ("int64", "int32")


@dataclass(frozen=True)
class Attribute:
    """A fitted attribute: an array, or a number if ``shapes`` contains (), or None if allowed.

    Parameters
    ----------
    dtypes : tuple of str
        Possible types of its values.
    shapes : tuple of tuple
        Possible shapes; the same name always means the same length.
    may_be_none : bool, default=False
        Whether it may be None.
    """

    dtypes: tuple[str, ...]
    shapes: tuple[Shape, ...]
    may_be_none: bool = False


@dataclass(frozen=True)
class Step:
    """An estimator of scikit-learn: its fitted attributes, and checks of them."""

    cls: type[BaseEstimator]
    attributes: Mapping[str, Attribute]
    has_classes: bool = False
    check: Callable[[Any, dict[str, int]], None] | None = None


def _check_classes(estimator: Any, lengths: dict[str, int]) -> None:
    n_classes, n_rows = lengths["classes"], lengths["rows"]
    if n_classes < 2 or n_rows != (1 if n_classes == 2 else n_classes):
        raise ValueError(f"{n_rows} rows of coefficients do not match {n_classes} classes")


def _check_support(estimator: Any, lengths: dict[str, int]) -> None:
    """Check the values that libsvm, which is written in C, does not check."""
    n_classes, n_support = lengths["classes"], lengths["support"]
    counts = estimator._n_support
    if (counts < 0).any() or int(counts.sum()) != n_support or n_classes < 2:
        raise ValueError("the number of support vectors is inconsistent")
    if lengths["rows"] != n_classes - 1 or lengths["pairs"] != n_classes * (n_classes - 1) // 2:
        raise ValueError("the number of coefficients of support vectors is inconsistent")
    if lengths["sigmoids"] not in (0, lengths["pairs"]):
        raise ValueError("the number of probabilities of SVC is inconsistent")
    if estimator.kernel not in ("linear", "poly", "rbf", "sigmoid"):
        raise ValueError(f"the kernel {estimator.kernel!r} is not supported in files")
    # further attributes of scikit-learn, which follow from these and from the parameters
    estimator._sparse, estimator._effective_probability = False, estimator.probability
    estimator.fit_status_ = 0
    estimator.shape_fit_ = (n_support, lengths["features"])
    sign = -1.0 if n_classes == 2 else 1.0
    estimator.intercept_ = estimator._intercept_ * sign
    estimator.dual_coef_ = estimator._dual_coef_ * sign


STEPS = {
    "StandardScaler": Step(
        StandardScaler,
        {
            "mean_": Attribute(FLOATS, (("features",),), may_be_none=True),
            "var_": Attribute(FLOATS, (("features",),), may_be_none=True),
            "scale_": Attribute(FLOATS, (("features",),), may_be_none=True),
            "n_samples_seen_": Attribute((*INTS, *FLOATS), ((), ("features",))),
        },
    ),
    "PCA": Step(
        PCA,
        {
            "mean_": Attribute(FLOATS, (("features",),)),
            "components_": Attribute(FLOATS, (("components", "features"),)),
            "explained_variance_": Attribute(FLOATS, (("components",),)),
            "explained_variance_ratio_": Attribute(FLOATS, (("components",),)),
            "singular_values_": Attribute(FLOATS, (("components",),)),
            "noise_variance_": Attribute(FLOATS, ((),)),
            "n_components_": Attribute(INTS, ((),)),
            "n_samples_": Attribute(INTS, ((),)),
        },
    ),
    "LogisticRegression": Step(
        LogisticRegression,
        {
            "coef_": Attribute(FLOATS, (("rows", "features"),)),
            "intercept_": Attribute(FLOATS, (("rows",),)),
            "n_iter_": Attribute(INTS, (("solvers",),)),
        },
        has_classes=True,
        check=_check_classes,
    ),
    "SVC": Step(
        SVC,
        {
            "support_": Attribute(("int32",), (("support",),)),
            "support_vectors_": Attribute(("float64",), (("support", "features"),)),
            "_n_support": Attribute(("int32",), (("classes",),)),
            "_dual_coef_": Attribute(("float64",), (("rows", "support"),)),
            "_intercept_": Attribute(("float64",), (("pairs",),)),
            "_probA": Attribute(("float64",), (("sigmoids",),)),
            "_probB": Attribute(("float64",), (("sigmoids",),)),
            "_gamma": Attribute(FLOATS, ((),)),
            "class_weight_": Attribute(FLOATS, (("classes",),)),
            "_num_iter": Attribute(INTS, (("pairs",),)),
            "n_iter_": Attribute(INTS, (("pairs",),)),
        },
        has_classes=True,
        check=_check_support,
    ),
    "Ridge": Step(
        Ridge,
        {
            "coef_": Attribute(FLOATS, (("features",), ("targets", "features"))),
            "intercept_": Attribute(FLOATS, ((), ("targets",))),
            "n_iter_": Attribute(INTS, (("targets",), ()), may_be_none=True),
        },
    ),
}
"""Kinds of nodes, by name."""


def kind_of(estimator: object) -> str | None:
    """Return the kind of an estimator in the table; None for any other one, or a subclass."""
    name = type(estimator).__name__
    return name if name in STEPS and STEPS[name].cls is type(estimator) else None


def describe_step(estimator: Any, place: str, written: Written) -> Node:
    """Return the node of a fitted estimator, and write its arrays.

    Raises
    ------
    NotKept
        If it holds values that cannot be saved.
    NotFittedError
        If the estimator is not fitted.
    """
    check_is_fitted(estimator)
    kind = type(estimator).__name__
    # others depend on the version of scikit-learn, which renames parameters and changes defaults
    parameters, defaults = map(encode_parameters, (estimator, type(estimator)()))
    own = {name: value for name, value in parameters.items() if value != defaults.get(name)}
    node: Node = {"kind": kind, "parameters": own}
    node |= encode_names(estimator)
    if kind == "SVC" and (estimator._sparse or estimator.kernel == "precomputed"):
        raise NotKept("was fitted on a sparse or precomputed matrix")
    values: Node = {}
    for name in STEPS[kind].attributes:
        value = getattr(estimator, name)
        if isinstance(value, np.ndarray | np.generic):  # also a single number, which has a type
            written.put(f"{place}{name}", np.asarray(value))
        else:
            values[name] = value
    if STEPS[kind].has_classes:
        node["classes"] = encode_labels(estimator.classes_)
    if kind == "Ridge":
        node["solver"] = estimator.solver_
    return {**node, "values": values}


def rebuild_step(node: Node, place: str, read: Read) -> Any:
    """Make the fitted estimator of a node.

    Raises
    ------
    ValueError
        If the node and the arrays are inconsistent.
    """
    step = STEPS[node["kind"]]
    optional = ("n_features", "feature_names", "output", "classes", "solver")
    check_keys(node, ("kind", "parameters", "values"), optional)
    estimator = make_estimator(step.cls, node["parameters"])
    decode_names(node, estimator)
    values, lengths = check_keys(node["values"], (), step.attributes), dict[str, int]()
    if hasattr(estimator, "n_features_in_"):
        lengths["features"] = estimator.n_features_in_
    if step.has_classes:
        estimator.classes_ = decode_labels(node.get("classes"))
        lengths["classes"] = len(estimator.classes_)
    for name, attribute in step.attributes.items():
        setattr(
            estimator, name, _value_of(name, attribute, values, f"{place}{name}", read, lengths)
        )
    if lengths.get("features") != getattr(estimator, "n_features_in_", None):
        raise ValueError("the number of features is missing")
    if step.check is not None:
        step.check(estimator, lengths)
    if node["kind"] == "Ridge":
        if np.ndim(estimator.coef_) - 1 != np.ndim(estimator.intercept_) and np.any(
            estimator.intercept_
        ):
            raise ValueError("the intercept of Ridge does not match its coefficients")
        estimator.solver_ = str(node.get("solver"))
    if node["kind"] == "PCA" and estimator.n_components_ != lengths["components"]:
        raise ValueError("the number of components of PCA is inconsistent")
    return estimator


def _value_of(
    name: str,
    attribute: Attribute,
    values: Node,
    key: str,
    read: Read,
    lengths: dict[str, int],
) -> Any:
    if name not in values:
        declared = read.shape(key)
        fitting = [shape for shape in attribute.shapes if len(shape) == len(declared)]
        match_shape(declared, (fitting or attribute.shapes)[0], lengths, key)
        read.check(key, attribute.dtypes, declared)
        return read.take(key)[()]
    value = values[name]
    if value is None and attribute.may_be_none:
        return None
    if () not in attribute.shapes or isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{name} has the invalid value {str(value)[:50]}")
    return value
