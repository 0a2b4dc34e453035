"""Forks: what a forked child needs anew, since the threads of its parent do not exist there.

It inherits their locks as they were held, that of tqdm's bars too, and nobody would release them.
"""

import os
import threading
import warnings
from collections.abc import Callable

from tqdm.std import TqdmDefaultWriteLock, TqdmWarning

with warnings.catch_warnings():  # of a notebook without ipywidgets, where bars are text
    warnings.simplefilter("ignore", TqdmWarning)
    from tqdm.auto import tqdm

__all__ = ["ProcessLock", "call_in_forks", "forks_wait", "tqdm"]

forks_wait = threading.RLock()
"""Held for moments in which no child may be forked, since it would inherit what is half done.

An import is one: the child would wait for Python's own lock.
"""

if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=forks_wait.acquire,
        after_in_parent=forks_wait.release,
        after_in_child=forks_wait.release,
    )


def call_in_forks(function: Callable[[], None]) -> None:
    """Have a function called in every forked child; Windows forks none."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=function)


class ProcessLock:
    """A reentrant lock that may be held for long: a fork does not wait, and the child has its own.

    Use it by ``with lock.held:``.
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
