"""What a forked child needs anew: locks of this package, and that of tqdm's bars."""

import os
import threading
import warnings
from collections.abc import Callable
from typing import Any

from tqdm.std import TqdmDefaultWriteLock, TqdmWarning

# TODO doc of _locks: Locks of one process: a forked child gets its own.

# TODO doc of _progress: The one place where tqdm is imported: a progress bar on standard error,
# or in a notebook.

forks_wait = threading.RLock()
"""Held while a module is imported late: a child forked then would wait for Python's own lock."""

if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=forks_wait.acquire,
        after_in_parent=forks_wait.release,
        after_in_child=forks_wait.release,
    )


class ProcessLock:
    """Hold a lock, and renew it in a forked child: a thread that held it does not exist there.

    Use it by ``with lock.held:``.
    """

    def __init__(self, make: Callable[[], Any] = threading.Lock) -> None:
        self.make = make
        self._renew()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._renew)

    def _renew(self) -> None:
        self.held = self.make()


with warnings.catch_warnings():  # of a notebook without ipywidgets, where bars are text
    warnings.simplefilter("ignore", TqdmWarning)
    from tqdm.auto import tqdm

__all__ = ["tqdm"]


def _renew_lock() -> None:
    """Give a forked child a lock of its own: a thread that was drawing does not exist there."""
    if isinstance(getattr(tqdm, "_lock", None), TqdmDefaultWriteLock):
        tqdm.set_lock(threading.RLock())


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock)
