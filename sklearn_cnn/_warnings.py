"""Warnings that point at the user's own line."""

import sys
import warnings

_PASSED_OVER = ("sklearn_cnn", "sklearn", "skorch", "joblib", "contextlib")
"""Packages between a line of the user's program and a warning of this package."""


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
