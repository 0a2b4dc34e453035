"""Forks: renewing the locks of a forked child, in which the threads of its parent do not exist.

A child inherits locks as its parent's threads held them, including tqdm's, and none would release
them.
"""

import os
import threading
import warnings
from collections.abc import Callable

from tqdm.std import TqdmDefaultWriteLock, TqdmWarning

with warnings.catch_warnings():  # about notebooks without ipywidgets, where bars are text
    warnings.simplefilter("ignore", TqdmWarning)
    from tqdm.auto import tqdm

__all__ = ["ProcessLock", "call_in_forks", "forks_wait", "tqdm"]

forks_wait = threading.RLock()
"""Held while no child may be forked, because it would inherit an incomplete state.

An example is an import: the child would wait for Python's import lock.
"""

if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=forks_wait.acquire,
        after_in_parent=forks_wait.release,
        after_in_child=forks_wait.release,
    )


def call_in_forks(function: Callable[[], None]) -> None:
    """Call a function in every forked child; Windows has no forks."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=function)


class ProcessLock:
    """A reentrant lock that may be held for long: a fork does not wait, and the child has its own.

    Use it as ``with lock.held:``.
    """

    def __init__(self) -> None:
        self._renew()
        call_in_forks(self._renew)

    def _renew(self) -> None:
        self.held = threading.RLock()


def _renew_lock_of_bars() -> None:
    if isinstance(getattr(tqdm, "_lock", None), TqdmDefaultWriteLock):
        tqdm.set_lock(threading.RLock())


call_in_forks(_renew_lock_of_bars)
