"""Forks: what a forked child needs anew, since the threads of its parent do not exist there.

It inherits their locks as they were held, which nobody would release; that of tqdm's bars is one.
"""

import os
import threading
import warnings

from tqdm.std import TqdmDefaultWriteLock, TqdmWarning

with warnings.catch_warnings():  # of a notebook without ipywidgets, where bars are text
    warnings.simplefilter("ignore", TqdmWarning)
    from tqdm.auto import tqdm

__all__ = ["ProcessLock", "forks_wait", "tqdm"]

forks_wait = threading.RLock()
"""Held for moments in which no child must be forked: it would find a state that is half set.

An import is one, since the child would wait for Python's own lock.
"""

if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=forks_wait.acquire,
        after_in_parent=forks_wait.release,
        after_in_child=forks_wait.release,
    )


class ProcessLock:
    """A reentrant lock that may be held for long: a fork does not wait, and the child has its own.

    Use it by ``with lock.held:``.
    """

    def __init__(self) -> None:
        self._renew()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._renew)

    def _renew(self) -> None:
        self.held = threading.RLock()


def _renew_lock_of_bars() -> None:
    if isinstance(getattr(tqdm, "_lock", None), TqdmDefaultWriteLock):
        tqdm.set_lock(threading.RLock())


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock_of_bars)
