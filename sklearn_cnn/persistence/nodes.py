"""The representation of an estimator in a file: a node of its kind, parameters and arrays.

The names of the arrays of an estimator begin with the position of the estimator in the model.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import isfinite
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator

from sklearn_cnn.persistence.container import DTYPES, Container
from sklearn_cnn.persistence.values import (
    NotKept,
    decode_labels,
    decode_value,
    encode_labels,
    encode_value,
)

Node = dict[str, Any]

NEVER_KEPT = {"callbacks", "cache", "checkpoint"}
"""Parameters that are not saved; a loaded model has their defaults."""

Shape = tuple[str, ...]
"""Names of the lengths of axes; the same name always means the same length."""


@dataclass
class Written:
    """The arrays of a model that is being saved."""

    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    fortran: list[str] = field(default_factory=list)

    def put(self, name: str, array: np.ndarray) -> None:
        """Add an array under a name.

        Raises
        ------
        NotKept
            If its type is not supported.
        """
        if array.dtype.type not in DTYPES.values():
            raise NotKept(f"has an array of the type {array.dtype}, {name}")
        if array.flags.f_contiguous and not array.flags.c_contiguous:
            self.fortran.append(name)  # the rounding of matrix products depends on the memory order
        self.arrays[name] = array


class Read:
    """The arrays of a file that is being loaded, each of which must be taken exactly once."""

    def __init__(self, container: Container, fortran: Iterable[object]) -> None:
        self.container = container
        self.left = set(container.declared)
        self.fortran = set(fortran)

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the declared shape of an array.

        Raises
        ------
        ValueError
            If the array does not exist.
        """
        if name not in self.container.declared:
            raise ValueError(f"the array {name!r} is missing")
        return self.container.declared[name].shape

    def check(self, name: str, dtypes: Iterable[str], shape: tuple[int, ...]) -> None:
        """Compare the declared type and shape of an array with the expected ones.

        Raises
        ------
        ValueError
            If they differ.
        """
        found, dtype = self.shape(name), self.container.declared[name].dtype
        if found != shape:
            raise ValueError(f"the array {name!r} has the shape {found} instead of {shape}")
        if dtype.name not in dtypes:
            raise ValueError(f"the array {name!r} has the type {dtype}")

    def take(self, name: str, *, finite: bool = True) -> np.ndarray:
        """Return an array whose declaration was checked.

        Raises
        ------
        ValueError
            If it holds values that are not finite, or was already taken.
        """
        if name not in self.left:
            raise ValueError(f"the array {name!r} is used twice")
        array = self.container.array(name)
        if finite and array.dtype.kind == "f" and not np.isfinite(array).all():
            raise ValueError(f"the array {name!r} holds values that are not finite")
        self.left.remove(name)
        return np.asfortranarray(array) if name in self.fortran else array


@contextmanager
def about(what: str) -> Iterator[None]:
    """Prefix the reason why a model cannot be saved with the name of the part."""
    try:
        yield
    except NotKept as error:
        raise NotKept(f"{what} {error}") from error


def encode_parameters(estimator: BaseEstimator, **replaced: object) -> dict[str, Any]:
    """Return the parameters of an estimator, except those that are never saved.

    Raises
    ------
    NotKept
        If a parameter cannot be saved, with its name.
    """
    found = {}
    for name, value in {**estimator.get_params(deep=False), **replaced}.items():
        if name in NEVER_KEPT:
            continue
        if name == "random_state" and not isinstance(value, int | np.integer | None):
            continue  # the state of a generator
        with about(f"{name}="):
            found[name] = encode_value(value)
    return found


def make_estimator(cls: type[BaseEstimator], parameters: object, **replaced: object) -> Any:
    """Make an estimator with decoded parameters, and validate them.

    Raises
    ------
    ValueError
        If a parameter does not exist, or its value is invalid.
    """
    if not isinstance(parameters, dict):
        raise ValueError(f"the parameters of {cls.__name__} are missing")
    known = set(cls().get_params(deep=False)) - NEVER_KEPT
    unknown = sorted(set(parameters) - known)
    if unknown:
        raise ValueError(
            f"{cls.__name__} of this version has no parameter {unknown[0]!r}; see written_by"
        )
    values = {name: decode_value(value) for name, value in parameters.items()}
    try:
        estimator = cls(**{**values, **replaced})
        estimator._validate_params()
    except (TypeError, ValueError, OverflowError, ArithmeticError) as error:
        raise ValueError(f"the parameters of {cls.__name__} are invalid: {error}") from error
    return estimator


def match_shape(
    declared: tuple[int, ...], expected: Shape, lengths: dict[str, int], name: str
) -> None:
    """Compare a shape with an expected one, whose names get their length at first use.

    Raises
    ------
    ValueError
        If they differ.
    """
    matches = len(declared) == len(expected) and all(
        length == lengths.setdefault(axis, length)
        for length, axis in zip(declared, expected, strict=True)
    )
    if not matches:
        raise ValueError(f"the array {name!r} has the shape {declared} instead of {expected}")


def encode_names(estimator: BaseEstimator) -> Node:
    """Return the number and names of the features that an estimator has seen."""
    node: Node = {}
    if hasattr(estimator, "n_features_in_"):
        node["n_features"] = int(estimator.n_features_in_)
    if hasattr(estimator, "feature_names_in_"):
        node["feature_names"] = encode_labels(estimator.feature_names_in_)
    output = getattr(estimator, "_sklearn_output_config", {})
    if output.get("transform") in ("pandas", "polars"):
        node["output"] = output["transform"]
    return node


def decode_names(node: Mapping[str, Any], estimator: Any) -> None:
    """Set the attributes returned by ``encode_names``.

    Raises
    ------
    ValueError
        If the number of names differs from the number of features.
    """
    n_features = node.get("n_features")
    if n_features is not None:
        estimator.n_features_in_ = count_of(node, "n_features")
    if "feature_names" in node:
        names = decode_labels(node["feature_names"])
        if names.dtype != object or len(names) != n_features:
            raise ValueError("the number of feature names differs from the number of features")
        estimator.feature_names_in_ = names
    output = node.get("output")
    if output is not None:
        if output not in ("pandas", "polars"):
            raise ValueError(f"the output {str(output)[:50]!r} is unknown")
        estimator.set_output(transform=output)


def number_of(node: Mapping[str, Any], name: str) -> float:
    """Return a finite number from a node.

    Raises
    ------
    ValueError
        If it is something else.
    """
    value = node.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
        raise ValueError(f"{name} must be a number, but is {str(value)[:50]}")
    return float(value)


def count_of(node: Mapping[str, Any], name: str, least: int = 1) -> int:
    """Return a whole number from a node, of at least ``least``.

    Raises
    ------
    ValueError
        If it is something else.
    """
    value = node.get(name)
    if type(value) is not int or not least <= value < 1 << 62:
        raise ValueError(f"{name} must be a count, but is {str(value)[:50]}")
    return value


def check_keys(node: object, required: Iterable[str], allowed: Iterable[str] = ()) -> Node:
    """Return a node after checking that it has all required keys, and only allowed others.

    Raises
    ------
    ValueError
        If a key is missing or unknown, with its name.
    """
    if not isinstance(node, dict):
        raise ValueError("a part of the document is missing")
    required = set(required)
    for key in sorted(required - set(node)):
        raise ValueError(f"{key!r} is missing from the document")
    for key in sorted(set(node) - required - set(allowed)):
        raise ValueError(f"the document holds the unknown entry {key[:50]!r}")
    return node
