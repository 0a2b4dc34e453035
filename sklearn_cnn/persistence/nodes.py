"""What stands in a file for an estimator: a node of its kind, parameters and fitted arrays.

A node is written into, and read from, a scope: the arrays of one estimator, under names that begin
with the place of the estimator in the model.
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
"""Parameters that a file does not hold; a loaded model has their defaults."""

Shape = tuple[str, ...]
"""Names of the lengths of axes; a name stands for the same length wherever it stands."""


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
            If its type is none of the file's.
        """
        if array.dtype.type not in DTYPES.values():
            raise NotKept(f"has an array of the type {array.dtype}, {name}")
        if array.flags.f_contiguous and not array.flags.c_contiguous:
            self.fortran.append(name)  # products of matrices round by the order of memory
        self.arrays[name] = array


class Read:
    """The arrays of a file that is being loaded; each is taken once, and none is left."""

    def __init__(self, container: Container, fortran: Iterable[object]) -> None:
        self.container = container
        self.left = set(container.declared)
        self.fortran = set(fortran)

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape that the header declares.

        Raises
        ------
        ValueError
            If there is no such array.
        """
        if name not in self.container.declared:
            raise ValueError(f"the array {name!r} is missing")
        return self.container.declared[name].shape

    def check(self, name: str, dtypes: Iterable[str], shape: tuple[int, ...]) -> None:
        """Compare what is declared of an array with what is expected.

        Raises
        ------
        ValueError
            If it differs.
        """
        found, dtype = self.shape(name), self.container.declared[name].dtype
        if found != shape:
            raise ValueError(f"the array {name!r} has the shape {found}, and not {shape}")
        if dtype.name not in dtypes:
            raise ValueError(f"the array {name!r} has the type {dtype}")

    def take(self, name: str, *, finite: bool = True) -> np.ndarray:
        """Return an array whose header was checked.

        Raises
        ------
        ValueError
            If it holds what is no finite number, or was taken before.
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
    """Say which part of a model cannot be saved, in front of the reason."""
    try:
        yield
    except NotKept as error:
        raise NotKept(f"{what} {error}") from error


def encode_parameters(estimator: BaseEstimator, **replaced: object) -> dict[str, Any]:
    """Return the parameters of an estimator, but for those that are never kept.

    Raises
    ------
    NotKept
        Naming the parameter, if a file cannot hold it.
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
    """Make an estimator of decoded parameters, and have it check them.

    Raises
    ------
    ValueError
        If it has no such parameter, or refuses a value.
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
        raise ValueError(f"{cls.__name__} refuses its parameters: {error}") from error
    return estimator


def match_shape(
    declared: tuple[int, ...], expected: Shape, lengths: dict[str, int], name: str
) -> None:
    """Compare a shape with an expected one, whose names take their length where they first stand.

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
        raise ValueError(f"the array {name!r} has the shape {declared}, and not {expected}")


def encode_names(estimator: BaseEstimator) -> Node:
    """Return the features that an estimator has seen: how many, and their names."""
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
    """Set what ``encode_names`` returns.

    Raises
    ------
    ValueError
        If the names are not as many as the features.
    """
    n_features = node.get("n_features")
    if n_features is not None:
        estimator.n_features_in_ = count_of(node, "n_features")
    if "feature_names" in node:
        names = decode_labels(node["feature_names"])
        if names.dtype != object or len(names) != n_features:
            raise ValueError("the names of features are not as many as the features")
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
        raise ValueError(f"{name} must be a number, and is {str(value)[:50]}")
    return float(value)


def count_of(node: Mapping[str, Any], name: str, least: int = 1) -> int:
    """Return a whole number from a node, not too small.

    Raises
    ------
    ValueError
        If it is something else.
    """
    value = node.get(name)
    if type(value) is not int or not least <= value < 1 << 62:
        raise ValueError(f"{name} must be a count, and is {str(value)[:50]}")
    return value


def check_keys(node: object, required: Iterable[str], allowed: Iterable[str] = ()) -> Node:
    """Return a node that has some keys, may have others, and has no more.

    Raises
    ------
    ValueError
        Naming the first key that is missing or unknown.
    """
    if not isinstance(node, dict):
        raise ValueError("a part of the document is missing")
    required = set(required)
    for key in sorted(required - set(node)):
        raise ValueError(f"{key!r} is missing from the document")
    for key in sorted(set(node) - required - set(allowed)):
        raise ValueError(f"the document holds the unknown entry {key[:50]!r}")
    return node
