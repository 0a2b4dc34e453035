"""The one place where tqdm is imported: a progress bar on standard error, or in a notebook."""

import os
import threading
import warnings

from tqdm.std import TqdmDefaultWriteLock, TqdmWarning

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
