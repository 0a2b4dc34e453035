"""Messages of errors and warnings: their stack level, lists of items, and suggested names.

Checks that many modules share are also here: of choices among names, and of counts.
"""

import sys
import warnings
from collections.abc import Iterable
from difflib import get_close_matches
from numbers import Integral

_PASSED_OVER = ("sklearn_cnn", "sklearn", "skorch", "joblib", "contextlib")
"""Packages whose frames a warning skips, to point at the code that called them."""


def warn(message: str, category: type[Warning] = UserWarning) -> None:
    """Warn at the line that called this package, or a pipeline or search around it.

    Remove this when Python 3.12 is the minimum, whose ``warnings.warn`` skips files by name.
    """
    level, frame = 1, sys._getframe()
    while frame.f_back is not None:
        if frame.f_globals.get("__name__", "").partition(".")[0] not in _PASSED_OVER:
            break
        level, frame = level + 1, frame.f_back
    warnings.warn(message, category, stacklevel=level)


def name_some(items: Iterable[object], limit: int = 10) -> str:
    """List items for a message: the first ones, and the number of others."""
    shown = list(items)
    more = f", and {len(shown) - limit:,} more" if len(shown) > limit else ""
    return f"[{', '.join(map(repr, shown[:limit]))}]{more}"


def name_lines(lines: list[str], limit: int = 10) -> str:
    """List lines as :func:`name_some` lists items, without the middle of very long lines."""
    more = [f"  ... and {len(lines) - limit:,} more"] if len(lines) > limit else []
    shown = (
        line if len(line) <= 1000 else f"{line[:500]}...{line[-500:]}" for line in lines[:limit]
    )
    return "\n".join([*shown, *more])


def join_some(texts: list[str], limit: int = 10) -> str:
    """List words as :func:`name_some` lists items, without quotes and brackets."""
    more = f" and {len(texts) - limit:,} more" if len(texts) > limit else ""
    return ", ".join(texts[:limit]) + more


OTHER_NAMES = {
    "mean": ("avg", "average", "avgpool", "averagepooling"),
    "max": ("maximum",),
    "silu": ("swish",),
    "constant": ("none", "fixed", "flat"),
    "channels_last": ("nhwc", "hwc"),
    "channels_first": ("nchw", "chw"),
    "float32": ("fp32", "single", "float"),
    "float64": ("fp64", "double"),
    "bfloat16": ("bf16", "half", "fp16"),
    "cuda": ("gpu", "nvidia"),
    "sgd": ("momentum", "nesterov"),
    "L": ("gray", "grey", "grayscale", "greyscale", "mono"),
    "fit": ("cover",),
    "pad": ("contain", "letterbox"),
    "stretch": ("squash", "squeeze", "distort"),
    "skip": ("ignore", "warn"),
    "raise": ("error", "strict"),
    "horizontal": ("h", "lr", "leftright"),
    "vertical": ("v", "ud", "updown"),
    "gradient": ("saliency", "vanilla", "gradients"),
    "grad_cam": ("cam",),
}
"""Names of the same things in other libraries, in lower case, only letters and digits."""


def did_you_mean(value: object, choices: Iterable[object]) -> str:
    """Return the end of an error message: "Did you mean ...?", or "" if no choice is close.

    Parameters
    ----------
    value : object
        The invalid value.
    choices : iterable
        The valid values, of which only names are compared.

    Examples
    --------
    >>> from sklearn_cnn._messages import did_you_mean
    >>> did_you_mean("one-cycle", ["one_cycle", "cosine"])
    " Did you mean 'one_cycle'?"
    """
    if not isinstance(value, str):
        return ""
    asked = _plain(value)
    names = {_plain(name): name for name in choices if isinstance(name, str)}
    meant = [name for name in names.values() if asked in OTHER_NAMES.get(name, ())]
    meant += [names[plain] for plain in get_close_matches(asked, names, 1)]
    meant += [name for plain, name in names.items() if len(plain) > 2 and plain in asked]
    return f" Did you mean {meant[0]!r}?" if meant else ""


def _plain(name: str) -> str:
    return "".join(filter(str.isalnum, name.lower()))


def check_choice(value: object, name: str, choices: Iterable[str]) -> None:
    """Raise an error that names the parameter, unless the value is one of the choices."""
    choices = tuple(choices)
    if not isinstance(value, str) or value not in choices:
        raise ValueError(
            f"{name} must be one of {', '.join(choices)}. Got {name}={value!r}."
            f"{did_you_mean(value, choices)}"
        )


def is_count(value: object) -> bool:
    """Tell whether a value is a whole number of at least 1, and not a boolean."""
    return isinstance(value, Integral) and not isinstance(value, bool) and int(value) >= 1


def check_count(value: object, name: str) -> None:
    """Raise an error that names the parameter, unless the value is a count."""
    if not is_count(value):
        raise ValueError(f"{name} must be a whole number of at least 1. Got {name}={value!r}.")
