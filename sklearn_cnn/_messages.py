"""Warnings that point at the code that called this package, and long lists in messages."""

import sys
import warnings
from collections.abc import Iterable
from typing import Any

_PASSED_OVER = ("sklearn_cnn", "sklearn", "skorch", "joblib", "contextlib")
"""Packages whose frames a warning passes over, to point at the code that called them."""


def warn(message: str, category: type[Warning] = UserWarning) -> None:
    """Warn at the line that called this package, or a pipeline or search around it.

    Goes when Python 3.12 is the oldest one, whose ``warnings.warn`` skips files by their names.
    """
    level, frame = 1, sys._getframe()
    while frame.f_back is not None:
        if frame.f_globals.get("__name__", "").partition(".")[0] not in _PASSED_OVER:
            break
        level, frame = level + 1, frame.f_back
    warnings.warn(message, category, stacklevel=level)


def name_some(items: Iterable[Any], limit: int = 10) -> str:
    """List items for a message: all of a few; of many the first, and how many more there are."""
    shown = list(items)
    more = f", and {len(shown) - limit:,} more" if len(shown) > limit else ""
    return f"[{', '.join(map(repr, shown[:limit]))}]{more}"


def name_lines(lines: list[str], limit: int = 10) -> str:
    """List lines for a message, likewise, without the middle of very long ones."""
    more = [f"  ... and {len(lines) - limit:,} more"] if len(lines) > limit else []
    shown = (
        line if len(line) <= 1000 else f"{line[:500]}...{line[-500:]}" for line in lines[:limit]
    )
    return "\n".join([*shown, *more])


def join_some(texts: list[str], limit: int = 10) -> str:
    """List words for a message, likewise."""
    more = f" and {len(texts) - limit:,} more" if len(texts) > limit else ""
    return ", ".join(texts[:limit]) + more
