"""Isolation from the state of the process: torch's threads, arithmetic, modes and generators.

All computation runs inside :func:`isolated`, with the settings of this package, and leaves the
state of the process unchanged. Seeds are also drawn and derived here.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from threading import Thread, get_ident, local
from typing import Generic, TypeVar

import numpy as np
import torch
from sklearn.utils import check_random_state
from torch.backends import cuda, cudnn

from sklearn_cnn._forks import ProcessLock, call_in_forks, forks_wait


@contextmanager
def isolated(device: torch.device, seed: int | None = None) -> Iterator[int]:
    """Compute with the settings of this package, and restore those of the process, also on errors.

    - Threads: torch has one on a CPU. With more threads, it splits sums, such as that of the
      gradient of a convolution over the batch, into as many parts. Another number of threads then
      rounds differently, and leads to other weights. Thread pools compute in parallel where the
      division is fixed. In a forked child, torch has one thread on any device: OpenMP's threads do
      not survive a fork, and GNU's implementation waits for those of the parent forever.
    - TF32: off on CUDA, where convolutions use it by default. It rounds the factors of a float32
      product to 10 bits, so predictions on a GPU would differ from those on a CPU.
    - Modes: autocast and inference mode are off, and gradients are on.
    - Randomness, with a seed: torch's generators are seeded, and cuDNN sums in a fixed order. The
      generators belong to the whole process, so threads take turns.

    Threads share the settings: the first thread that enters sets them, the last one that leaves
    restores them. A thread that starts in between has one torch thread, and keeps it. Modes are
    per thread, and a new thread has those that are set here.

    Parameters
    ----------
    device : torch.device
        Device to compute on.
    seed : int or None, default=None
        Seed of torch's generators; None if nothing is drawn.

    Yields
    ------
    int
        Number of threads of a pool that may compute in parallel: the number of torch threads in
        this thread outside of the outermost such context.
    """
    n_outside = getattr(_here, "n_threads", None)
    n_threads = 1 if _is_forked else n_outside or torch.get_num_threads()
    with (
        nullcontext() if seed is None else _seeded(device, seed),
        _one_thread() if device.type == "cpu" or _is_forked else nullcontext(),
        _whole_float32.held() if device.type == "cuda" else nullcontext(),
        torch.inference_mode(False),
        torch.enable_grad(),
        torch.autocast(device.type, enabled=False),
    ):
        _here.n_threads = n_threads
        try:
            yield n_threads
        finally:
            _here.n_threads = n_outside


_here = local()
"""The ``n_threads`` that a thread inside the context had outside."""

_is_forked = False
"""Whether this process was forked after importing this module."""


def _note_fork() -> None:
    global _is_forked
    _is_forked = True


call_in_forks(_note_fork)

State = TypeVar("State")


class Shared(Generic[State]):
    """A state of the process that threads share while they are inside a context.

    The first thread that enters sets it, the last one that leaves restores the previous state. If
    each thread restored the state it found, one could restore a state set by another.

    Parameters
    ----------
    enter : callable () -> state
        Function that sets the state inside, and returns the previous one.
    restore : callable (state)
        Function that sets the previous state.
    renew : callable () -> object
        Function that sets the state inside again, for other threads, when a thread leaves.
    """

    outside: State

    def __init__(
        self,
        enter: Callable[[], State],
        restore: Callable[[State], None],
        renew: Callable[[], object],
    ) -> None:
        self.enter = enter
        self.restore = restore
        self.renew = renew
        self.threads: list[int] = []  # threads inside, once per entry
        call_in_forks(self._forget_others)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the state while inside."""
        thread = get_ident()
        with forks_wait:
            if not self.threads:
                self.outside = self.enter()
            self.threads.append(thread)
        try:
            yield
        finally:
            with forks_wait:
                self.threads.remove(thread)
                if not self.threads:
                    self.restore(self.outside)
                elif thread not in self.threads:
                    self.renew()  # the thread may have restored its own state

    def is_held_by_others(self) -> bool:
        """Tell whether other threads are inside, and this one is not."""
        return bool(self.threads) and get_ident() not in self.threads

    def _forget_others(self) -> None:
        """Leave on behalf of the threads that do not exist in a forked child."""
        was_held = bool(self.threads)
        self.threads = [thread for thread in self.threads if thread == get_ident()]
        if was_held and not self.threads:
            self.restore(self.outside)


Setting = tuple[object, str, object]
"""The object that holds a setting of torch, the attribute's name, and its value."""


def shared_settings(wanted: list[Setting]) -> Shared[list[Setting]]:
    """Make a shared state of settings that every thread sees."""

    def enter() -> list[Setting]:
        found = [(holder, name, getattr(holder, name)) for holder, name, _ in wanted]
        restore(wanted)
        return found

    def restore(settings: list[Setting]) -> None:
        for holder, name, value in settings:
            setattr(holder, name, value)

    return Shared(enter, restore, renew=enter)


def _settings_of_float32() -> list[Setting]:
    if hasattr(
        cudnn, "conv"
    ):  # since torch 2.9, which raises if these and the older ones are mixed
        holders = (cuda.matmul, cudnn.conv, cudnn.rnn)
        return [(holder, "fp32_precision", "ieee") for holder in holders]
    return [(cuda.matmul, "allow_tf32", False), (cudnn, "allow_tf32", False)]


_whole_float32 = shared_settings(_settings_of_float32())
_fixed_order = shared_settings([(cudnn, "deterministic", True), (cudnn, "benchmark", False)])


@contextmanager
def _one_thread() -> Iterator[None]:
    """Limit torch to one thread, in this thread and in new threads."""
    found = torch.get_num_threads()
    if found == 1 and _threads_to_come.is_held_by_others():  # this thread started in between
        found = _threads_to_come.outside
    with _threads_to_come.held():
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(found)


def begin_in_one_thread() -> None:
    """Limit torch to one thread in a new thread, as the initializer of a pool."""
    torch.get_num_threads()  # the first call takes the number of the process
    torch.set_num_threads(1)


def _in_new_thread(call: Callable[[], None]) -> None:
    """Call in a new thread, where torch's number of threads is that of new threads."""
    thread = Thread(target=call)
    thread.start()
    thread.join()


def _set_threads_to_come(number: int = 1) -> None:
    if torch.get_num_threads() == number:
        torch.set_num_threads(number)  # a thread that sets its own sets both
    else:
        _in_new_thread(lambda: torch.set_num_threads(number))


def _have_threads_compute_alone() -> int:
    """Limit this and new threads to one torch thread; return the number for new threads."""
    found: list[int] = []
    _in_new_thread(lambda: found.append(torch.get_num_threads()))  # Ctrl-C here changes nothing
    torch.set_num_threads(1)
    return found[0]


_threads_to_come = Shared(
    _have_threads_compute_alone, _set_threads_to_come, renew=_set_threads_to_come
)

_turn = ProcessLock()


@contextmanager
def _seeded(device: torch.device, seed: int) -> Iterator[None]:
    """Seed torch's generators, and restore their states."""
    on_cuda = device.type == "cuda"
    with (
        _turn.held,
        torch.random.fork_rng(devices=[device] if on_cuda else []),
        _fixed_order.held() if on_cuda else nullcontext(),
    ):
        mps_state = torch.mps.get_rng_state() if device.type == "mps" else None
        try:
            seed_generators(device, seed)
            yield
        finally:
            if mps_state is not None:
                torch.mps.set_rng_state(mps_state)


def seed_generators(device: torch.device, seed: int) -> None:
    """Seed torch's generators of the CPU and of a device, inside :func:`isolated` with a seed."""
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        with torch.cuda.device(device):
            torch.cuda.manual_seed(seed)
    elif device.type == "mps":
        torch.mps.manual_seed(seed)


def draw_seed(random_state: object) -> int:
    """Draw one seed, at least 0, from a ``random_state``.

    Parameters
    ----------
    random_state : int, RandomState instance or None
        None draws from the operating system, without changing NumPy's global state. An instance is
        advanced.
    """
    if random_state is None:
        return int(np.random.SeedSequence().generate_state(1)[0])
    return int(check_random_state(random_state).randint(np.iinfo(np.int32).max))


def derive_seed(seed: int, number: int) -> int:
    """Derive one of many seeds from a seed, such as that of the nth epoch."""
    return int(np.random.SeedSequence([seed, number]).generate_state(1)[0])
