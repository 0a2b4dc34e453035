"""What counts as a count, for the shape of an image as for the size of a layer."""

from numbers import Integral
from typing import Any


def is_count(value: Any) -> bool:
    """Whether a value is a whole number of at least 1, and no boolean."""
    return isinstance(value, Integral) and not isinstance(value, bool) and int(value) >= 1


def check_count(value: Any, name: str) -> None:
    """Refuse what is no count, with an error that names the parameter."""
    if not is_count(value):
        raise ValueError(f"{name} must be a whole number of at least 1. Got {name}={value!r}.")
