"""Options for reading images: size, mode, resizing, background, type and range."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from math import isfinite, prod
from types import CodeType, FunctionType, MethodType

import numpy as np
from joblib import hash as joblib_hash

from sklearn_cnn._messages import is_count

CHANNELS = {"L": 1, "RGB": 3, "RGBA": 4}
"""Number of channels of each of Pillow's modes."""

RESIZE_WAYS = ("fit", "crop", "pad", "stretch")

DTYPES = ("uint8", "uint16", "float32")


@dataclass(frozen=True)
class ReadOptions:
    """Validated options, used by every step from a file to pixels.

    Attributes
    ----------
    height, width : int
        Size of the output images, in pixels.
    mode : {"L", "RGB", "RGBA"} or int
        Mode of the output images, or the number of their channels, which are then unchanged.
    resize : {"fit", "crop", "pad", "stretch"}
        How to convert images of other sizes.
    background : tuple of int
        Red, green and blue, 0 to 255, of transparent pixels and padding.
    dtype : {"uint8", "uint16", "float32"}
        Type of the output values.
    value_range : tuple of float, or None
        File values that are mapped to black and white; None for the range of their type.
    decoder : callable or None
        Function that makes an array or an image from a path.
    """

    height: int
    width: int
    mode: str | int
    resize: str
    background: tuple[int, int, int]
    dtype: str = "uint8"
    value_range: tuple[float, float] | None = None
    decoder: Callable[..., object] | None = field(default=None, repr=False)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of one image: height, width, channels."""
        channels = CHANNELS[self.mode] if isinstance(self.mode, str) else self.mode
        return self.height, self.width, channels

    @property
    def n_bytes(self) -> int:
        """Size of one image in bytes."""
        return prod(self.shape) * np.dtype(self.dtype).itemsize

    @property
    def keeps_eight_bits(self) -> bool:
        """Whether the values of an 8-bit image are not mapped before it is resized."""
        return isinstance(self.mode, str) and self.value_range in (None, (0, 255))

    def key(self) -> str:
        """Return a text that identifies these options and the decoder, and names caches on disk."""
        decoder = "" if self.decoder is None else _decoder_key(self.decoder)
        return f"{decoder} Reading{repr(self).removeprefix(type(self).__name__)}"


def check_size(size: int | Sequence[int] | np.ndarray) -> tuple[int, int]:
    """Return the ``size`` parameter as (height, width)."""
    sides = tuple(size) if isinstance(size, Iterable) and np.ndim(size) else (size, size)
    if len(sides) != 2 or not all(map(is_count, sides)):
        raise ValueError(
            "size must be (height, width) in whole numbers of at least 1, or one such number for "
            f"both. Got size={size!r}."
        )
    return int(sides[0]), int(sides[1])


def check_value_range(value_range: Iterable[float] | None) -> tuple[float, float] | None:
    """Return the ``value_range`` parameter as two numbers, or None."""
    if value_range is None:
        return None
    try:
        low, high = map(float, value_range)
    except (TypeError, ValueError):
        low = high = 0.0
    if not (isfinite(low) and isfinite(high) and low < high):
        raise ValueError(
            "value_range must be two finite numbers (low, high) with low < high, the values of "
            f"black and white. Got value_range={value_range!r}."
        )
    return low, high


def _decoder_key(decoder: Callable[..., object]) -> str:
    """Compute a key of the name, code and held values of a callable, not of what it calls."""
    try:
        return str(joblib_hash(_identity(decoder)))
    except Exception as error:  # of any type, depending on the pickled value
        raise ValueError(
            f"cache needs a decoder whose values can be pickled, to identify it. Got "
            f"decoder={decoder!r} ({type(error).__name__}: {error}). Define such a function in a "
            "module, or set cache=None."
        ) from error


def _identity(value: object) -> object:
    """Describe a callable by values that joblib can hash; return other values unchanged."""
    if isinstance(value, partial):
        keywords = sorted(value.keywords.items())
        held = [*value.args, *(item for pair in keywords for item in pair)]
        return ["partial", _identity(value.func), *map(_identity, held)]
    if isinstance(value, MethodType):
        return ["method", _identity(value.__func__), _identity(value.__self__)]
    if isinstance(value, FunctionType):
        cells = [cell.cell_contents for cell in value.__closure__ or ()]
        held = [*cells, *(value.__defaults__ or ()), *(value.__kwdefaults__ or {}).values()]
        code = _describe_code(value.__code__)
        return [value.__module__, value.__qualname__, code, *map(_identity, held)]
    kind = type(value)
    if isinstance(value, type) or not callable(value) or hasattr(value, "__self__"):
        return value
    if not isinstance(kind.__call__, FunctionType):
        return value
    attributes = sorted(getattr(value, "__dict__", {}).items())
    held = [kind.__call__, *(item for pair in attributes for item in pair)]
    return [kind.__module__, kind.__qualname__, *map(_identity, held)]


def _describe_code(code: CodeType) -> str:
    """Describe compiled code without the location of its source."""
    constants = [
        _describe_code(constant)
        if isinstance(constant, CodeType)
        else repr(sorted(constant, key=repr) if isinstance(constant, frozenset) else constant)
        for constant in code.co_consts
    ]
    return repr([code.co_code, code.co_names, code.co_varnames, constants])
