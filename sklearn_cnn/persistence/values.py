"""Parameters as JSON: numbers, text, lists, tuples, dicts, and descriptions from a closed table."""

from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from math import isfinite
from typing import Any

import numpy as np
import torch

from sklearn_cnn.augment.descriptions import (
    RandomErasing,
    RandomFlip,
    RandomRotation,
    RandomShear,
    RandomShift,
    RandomZoom,
)
from sklearn_cnn.network.layers import (
    Activation,
    Backbone,
    BatchNorm,
    Conv,
    Dense,
    Dropout,
    Flatten,
    Pool,
)

DESCRIPTIONS: dict[str, Callable[..., Any]] = {
    cls.__name__: cls
    for cls in (
        *(Activation, Backbone, BatchNorm, Conv, Dense, Dropout, Flatten, Pool),
        *(RandomErasing, RandomFlip, RandomRotation, RandomShear, RandomShift, RandomZoom),
    )
}
"""Classes of descriptions in files, by name; names in files create nothing else."""

DEEPEST = 20
"""Maximum nesting depth of values."""


LARGEST = (1 << 31) - 1
"""The largest number of a layer: torch's kernels count in 32 bits."""


class NotKept(ValueError):
    """A value that cannot be saved; the text is the end of a sentence about it."""


def encode_value(value: object, depth: int = 0) -> Any:
    """Convert a parameter to JSON values.

    Raises
    ------
    NotKept
        If it is a function, a class, an array with more than one axis, or any other unsupported
        value.
    """
    if depth > DEEPEST:
        raise NotKept("is nested too deeply")
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, np.generic):
        return encode_value(value.item(), depth)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        if not isfinite(value):
            raise NotKept(f"is {value}, which is not a finite number")
        return float(value)
    if isinstance(value, torch.device):
        return str(value)
    if isinstance(value, list):
        return [encode_value(item, depth + 1) for item in value]
    if isinstance(value, tuple):
        return {"tuple": [encode_value(item, depth + 1) for item in value]}
    if isinstance(value, np.ndarray) and value.ndim == 1:
        return encode_value(tuple(value.tolist()), depth)
    if isinstance(value, Mapping):
        pairs = [[encode_value(item, depth + 1) for item in pair] for pair in value.items()]
        return {"dict": pairs}
    name = type(value).__name__
    if is_dataclass(value) and DESCRIPTIONS.get(name) is type(value):
        own = {field.name: getattr(value, field.name) for field in fields(value)}
        if name == "Backbone":
            own["weights"] = None  # they are in the file
        return {
            "description": name,
            **{key: encode_value(item, depth + 1) for key, item in own.items()},
        }
    if callable(value):
        raise NotKept(f"is {getattr(value, '__name__', name)}, but files hold no code")
    raise NotKept(f"is of the type {name}")


def decode_value(value: Any) -> Any:
    """Convert JSON values back to a parameter.

    Raises
    ------
    ValueError
        If the value was not returned by ``encode_value``.
    """
    if isinstance(value, list):
        return [decode_value(item) for item in value]
    if not isinstance(value, dict):
        return value
    if set(value) == {"tuple"} and isinstance(value["tuple"], list):
        return tuple(decode_value(item) for item in value["tuple"])
    if set(value) == {"dict"} and isinstance(value["dict"], list):
        pairs = [decode_value(pair) for pair in value["dict"]]
        if all(isinstance(pair, list) and len(pair) == 2 for pair in pairs):
            try:
                return dict(pairs)
            except TypeError as error:
                raise ValueError(f"a key of a dict is invalid: {error}") from error
    kind = value.get("description")
    if isinstance(kind, str) and kind in DESCRIPTIONS:
        own = {name: decode_value(item) for name, item in value.items() if name != "description"}
        if kind == "Backbone" and own.get("weights") is not None:
            raise ValueError("it names another file, of weights")
        if any(isinstance(n, int) and abs(n) > LARGEST for n in _numbers_in(own)):
            raise ValueError(f"a number of {kind} is too large")
        try:
            return DESCRIPTIONS[kind](**own)
        except (TypeError, ValueError, OverflowError) as error:
            raise ValueError(f"{kind} cannot be made: {error}") from error
    raise ValueError(f"it holds the unknown value {str(value)[:100]}")


def _numbers_in(own: Mapping[str, object]) -> list[object]:
    """Return the values of a description, including those in pairs."""
    values = list(own.values())
    return values + [item for value in values if isinstance(value, tuple | list) for item in value]


def encode_labels(labels: np.ndarray) -> dict[str, Any]:
    """Convert an array of labels or names (n,) to JSON values, with its type.

    Raises
    ------
    NotKept
        If the labels are neither text nor numbers nor dates.
    """
    kind = labels.dtype.kind
    if kind == "M":
        text = labels.astype("datetime64[ns]").astype(np.int64).tolist()
        return {"dtype": labels.dtype.str, "values": text}
    values = labels.tolist()
    if kind not in "biufUO" or (kind == "O" and not all(isinstance(v, str) for v in values)):
        raise NotKept(f"has labels of the type {labels.dtype}")
    return {"dtype": "O" if kind == "O" else labels.dtype.str, "values": encode_value(values)}


def decode_labels(value: Any) -> np.ndarray:
    """Convert the result of ``encode_labels`` back to an array (n,).

    Raises
    ------
    ValueError
        If the value was not returned by ``encode_labels``.
    """
    if not isinstance(value, dict) or set(value) != {"dtype", "values"}:
        raise ValueError("labels are missing")
    name, values = value["dtype"], value["values"]
    if not isinstance(values, list) or not isinstance(name, str):
        raise ValueError("labels are damaged")
    try:
        dtype = np.dtype(name)
    except TypeError as error:
        raise ValueError(f"labels of the type {name!r} are unknown") from error
    expected = {"b": bool, "i": int, "u": int, "f": float, "U": str, "O": str, "M": int}
    if dtype.kind not in expected or dtype.names or dtype.subdtype:
        raise ValueError(f"labels of the type {name!r} are unknown")
    if any(type(item) is not expected[dtype.kind] for item in values):
        raise ValueError(f"labels are not all of the type {name!r}")
    if dtype.kind == "U" and dtype.itemsize > 4 * max(1, max(map(len, values), default=1)):
        raise ValueError("labels are shorter than their type states")
    try:
        if dtype.kind == "M":
            return np.array(values, dtype=np.int64).view("datetime64[ns]").astype(dtype)
        return np.array(values, dtype=dtype)
    except (OverflowError, ValueError, TypeError) as error:
        raise ValueError(f"labels do not fit the type {name!r}: {error}") from error
