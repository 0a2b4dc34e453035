"""State of the whole process: torch's threads, modes and generators, as found afterwards."""

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import numpy as np
import torch
from sklearn.utils import check_random_state
from torch.backends import cuda, cudnn

from sklearn_cnn._forks import ProcessLock

# TODO doc of training/hardware/threads: How many threads compute, and the number put back as it
# was found.

# TODO doc of training/hardware/modes: torch's modes and settings while a network computes, and
# as they were found afterwards.

# TODO doc of training/seeding: Randomness: one seed in, every draw from it, and the global
# generators as they were found.

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


Setting = tuple[Any, str, Any]
"""The object that holds a setting of torch, the attribute's name, and the value it must have."""


@contextmanager
def ordinary_modes(device: torch.device) -> Iterator[None]:
    """Leave what the caller may have switched on: autocast, inference, no gradients, TF32.

    TF32 rounds the factors of a float32 product to 10 bits on CUDA, where convolutions use it
    unless told otherwise; a model would then predict something else on a GPU than on a CPU.
    """
    with (
        torch.inference_mode(False),
        torch.enable_grad(),
        torch.autocast(device.type, enabled=False),
        _whole_float32.held() if device.type == "cuda" else nullcontext(),
    ):
        yield


def _settings_of_float32() -> list[Setting]:
    if hasattr(cudnn, "conv"):  # since torch 2.9, which refuses a mix of these and the older ones
        holders = (cuda.matmul, cudnn.conv, cudnn.rnn)
        return [(holder, "fp32_precision", "ieee") for holder in holders]
    return [(cuda.matmul, "allow_tf32", False), (cudnn, "allow_tf32", False)]


class SharedSettings:
    """Settings of the whole process: the first one inside sets them, the last one restores them.

    Threads that each put back what they found would leave the settings of another in place.

    Parameters
    ----------
    find : callable () -> list of (holder, name, value)
        The settings.
    """

    def __init__(self, find: Callable[[], list[Setting]]) -> None:
        self.find = find
        self.found: list[Setting] = []
        self.n_inside = 0
        self.lock = threading.Lock()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._forget)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Have the settings while inside."""
        self._enter()
        try:
            yield
        finally:
            self._leave()

    def _enter(self) -> None:
        with self.lock:
            if self.n_inside == 0:
                wanted = self.find()
                self.found = [(holder, name, getattr(holder, name)) for holder, name, _ in wanted]
                _set(wanted)
            self.n_inside += 1

    def _leave(self) -> None:
        with self.lock:
            self.n_inside -= 1
            if self.n_inside <= 0:
                self.n_inside = 0
                _set(self.found)

    def _forget(self) -> None:
        """Begin anew in a forked child, where other threads do not exist."""
        self.lock = threading.Lock()
        if self.n_inside:
            self.n_inside = 0
            _set(self.found)


def _set(settings: list[Setting]) -> None:
    for holder, name, value in settings:
        setattr(holder, name, value)


_whole_float32 = SharedSettings(_settings_of_float32)
_deterministic_cudnn = SharedSettings(
    lambda: [(cudnn, "deterministic", True), (cudnn, "benchmark", False)]
)


def reproducible_arithmetic(device: torch.device) -> AbstractContextManager[None]:
    """Compute gradients in one fixed order, and put torch's settings back afterwards.

    On a CPU torch sums the gradient of a convolution over the batch in as many parts as it has
    threads, so a different number of threads gives other roundings, then other weights. It gets one
    here; more compute side by side in :mod:`sklearn_cnn.training.parts`, where the cut is fixed.
    """
    if device.type == "cpu":
        return one_thread()
    return _deterministic_cudnn.held() if device.type == "cuda" else nullcontext()


_turn = ProcessLock(threading.RLock)


def draw_seed(random_state: Any) -> int:
    """Draw one seed from a ``random_state``.

    Parameters
    ----------
    random_state : int, RandomState instance or None
        None draws from the operating system, so that NumPy's global state stays as it was; an
        instance moves on.

    Returns
    -------
    int
        At least 0.
    """
    if random_state is None:
        return int(np.random.SeedSequence().generate_state(1)[0])
    return int(check_random_state(random_state).randint(np.iinfo(np.int32).max))


def derive_seed(seed: int, number: int) -> int:
    """Return one of many seeds that a seed gives, such as that of the training after n epochs."""
    return int(np.random.SeedSequence([seed, number]).generate_state(1)[0])


@contextmanager
def isolated_rng(seed: int, device: torch.device) -> Iterator[None]:
    """Run with torch's generators seeded, and put them back as they were, also after an error.

    Torch layers draw from generators that belong to the whole process, so threads take turns.
    """
    cuda = [device] if device.type == "cuda" else []
    with _turn.held, torch.random.fork_rng(devices=cuda):
        mps_state = torch.mps.get_rng_state() if device.type == "mps" else None
        try:
            torch.default_generator.manual_seed(seed)
            if device.type == "cuda":
                with torch.cuda.device(device):
                    torch.cuda.manual_seed(seed)
            elif device.type == "mps":
                torch.mps.manual_seed(seed)
            yield
        finally:
            if mps_state is not None:
                torch.mps.set_rng_state(mps_state)
