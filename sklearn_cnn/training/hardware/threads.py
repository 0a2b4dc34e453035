"""How many threads compute, and the number put back as it was found."""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import torch

_forked = False
"""Whether this process is a forked child of one that had imported this module."""


def _note_fork() -> None:
    global _forked
    _forked = True


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_note_fork)


@contextmanager
def one_thread() -> Iterator[None]:
    """Have torch compute in one thread, and put the number of threads back afterwards."""
    threads = torch.get_num_threads()
    default = _in_new_thread(torch.get_num_threads)
    try:
        torch.set_num_threads(1)
        yield
    finally:
        # a thread that began while another trained has found 1, which is not its own
        torch.set_num_threads(threads if threads > 1 else default)
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


@contextmanager
def this_many_threads(n_threads: int) -> Iterator[None]:
    """Have torch compute in some threads of its own, and put the number back afterwards."""
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(n_threads)
        yield
    finally:
        torch.set_num_threads(before)


def _in_new_thread(call: Callable[[], Any]) -> Any:
    """Call in a thread that has no setting of its own, so that it reads or sets the default."""
    with ThreadPoolExecutor(max_workers=1) as pool:
        return pool.submit(call).result()
