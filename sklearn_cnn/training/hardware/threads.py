"""How many threads compute, and the number put back as it was found."""

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import torch

_forked = False
"""Whether this process is a forked child of one that had imported this module."""


def _note_fork() -> None:
    global _forked, _outside
    _forked = True
    _outside = _Outside()  # a thread that was inside, or held the lock, does not exist here


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_note_fork)


@contextmanager
def one_thread() -> Iterator[None]:
    """Have torch compute in one thread, and put the number of threads back afterwards.

    torch keeps a number for each thread, and one for threads to come; the latter is put back when
    the last of those inside leaves. A thread that began meanwhile has found 1, not its own number.
    """
    _outside.enter()
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        yield
    finally:
        torch.set_num_threads(threads if threads > 1 else _outside.default)
        _outside.leave()


class _Outside:
    """The number of threads to come, outside of all that compute in one."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.n_inside = 0
        self.default = 1

    def enter(self) -> None:
        with self.lock:
            if self.n_inside == 0:
                self.default = _in_new_thread(torch.get_num_threads)
            self.n_inside += 1

    def leave(self) -> None:
        with self.lock:
            self.n_inside -= 1
            default = self.default if self.n_inside == 0 else 1
            _in_new_thread(lambda: torch.set_num_threads(default))


@contextmanager
def threads_that_exist() -> Iterator[None]:
    """Compute in one thread in a forked child, and put the number of threads back afterwards.

    OpenMP's threads do not survive a fork, and GNU's waits for those of the parent for ever. No
    result depends on it: that of training never, and that of prediction row by row.
    """
    threads = torch.get_num_threads()
    if not _forked or threads == 1:
        yield
        return
    try:
        torch.set_num_threads(1)
        yield
    finally:
        torch.set_num_threads(threads)


def _in_new_thread(call: Callable[[], Any]) -> Any:
    """Call in a thread that has no setting of its own, so that it reads or sets the default."""
    with ThreadPoolExecutor(max_workers=1) as pool:
        return pool.submit(call).result()


_outside = _Outside()
