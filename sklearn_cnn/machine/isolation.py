"""Isolation from what belongs to the whole process: torch's threads, arithmetic, modes, generators.

What computes does so inside :func:`isolated`: under the settings of this package, and without a
trace in the process. The seeds that it takes are drawn and derived here, too.
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
    """Compute under settings of this package, and leave the process as it was, also on an error.

    - Threads: torch has one on a CPU. With more it splits sums, such as that of the gradient of a
      convolution over the batch, in as many parts; another number of threads gives other roundings,
      then other weights. Pools of threads compute side by side, where the cut is fixed. In a forked
      child torch has one thread on any device: OpenMP's threads do not survive a fork, and GNU's
      implementation waits for those of the parent forever.
    - TF32: off on CUDA, where convolutions use it unless told otherwise. It rounds the factors of a
      float32 product to 10 bits, so a model would predict something else on a GPU than on a CPU.
    - Modes: autocast and inference mode are off, and gradients are on.
    - Randomness, with a seed: torch's generators are seeded, and cuDNN sums in one fixed order. The
      generators belong to the whole process, so threads take turns.

    Threads share the settings: the first one inside sets them, the last one out restores them. A
    thread that begins meanwhile has one of torch's threads, and keeps it. Modes belong to a thread,
    and a new one has those that are set here.

    Parameters
    ----------
    device : torch.device
        Where to compute.
    seed : int or None, default=None
        Seed of torch's generators; None if nothing is drawn.

    Yields
    ------
    int
        How many threads of a pool may compute side by side: as many as torch had in this thread
        before the outermost of such contexts.
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
"""For a thread that is inside: the ``n_threads`` that it had outside."""

_is_forked = False
"""Whether this process is a forked child of one that had imported this module."""


def _note_fork() -> None:
    global _is_forked
    _is_forked = True


call_in_forks(_note_fork)

State = TypeVar("State")


class Shared(Generic[State]):
    """A state of the process that threads share while they are inside.

    The first one in sets it, the last one out restores the one before. If each thread restored what
    it found, one might put back the state that another has set.

    Parameters
    ----------
    enter : callable () -> state
        Sets the state to have inside, and returns the one before.
    restore : callable (state)
        Sets the one before.
    renew : callable () -> object
        Sets the state to have inside again, for others, in a thread that leaves.
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
        self.threads: list[int] = []  # those inside, as often as each has entered
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
                    self.renew()  # it may have put back a state of its own

    def is_held_by_others(self) -> bool:
        """Whether threads are inside, and this one is not."""
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
    if hasattr(cudnn, "conv"):  # since torch 2.9, which refuses a mix of these and the older ones
        holders = (cuda.matmul, cudnn.conv, cudnn.rnn)
        return [(holder, "fp32_precision", "ieee") for holder in holders]
    return [(cuda.matmul, "allow_tf32", False), (cudnn, "allow_tf32", False)]


_whole_float32 = shared_settings(_settings_of_float32())
_fixed_order = shared_settings([(cudnn, "deterministic", True), (cudnn, "benchmark", False)])


@contextmanager
def _one_thread() -> Iterator[None]:
    """Limit torch to one thread, in this thread and in those to come."""
    found = torch.get_num_threads()
    if found == 1 and _threads_to_come.is_held_by_others():  # it has begun meanwhile
        found = _threads_to_come.outside
    with _threads_to_come.held():
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(found)


def begin_in_one_thread() -> None:
    """Limit torch to one thread in a new thread; the initializer of a pool."""
    torch.get_num_threads()  # the first call takes the number of the process
    torch.set_num_threads(1)


def _in_new_thread(call: Callable[[], None]) -> None:
    """Call in a thread without a number of its own, where torch's is that of threads to come."""
    thread = Thread(target=call)
    thread.start()
    thread.join()


def _set_threads_to_come(number: int = 1) -> None:
    if torch.get_num_threads() == number:
        torch.set_num_threads(number)  # a thread that sets its own sets both
    else:
        _in_new_thread(lambda: torch.set_num_threads(number))


def _have_threads_compute_alone() -> int:
    """Have this thread, and those to come, compute in one; return the number of those to come."""
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
    """Seed torch's generators, and put them back as they were."""
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
        None draws from the operating system, so that NumPy's global state stays as it was; an
        instance moves on.
    """
    if random_state is None:
        return int(np.random.SeedSequence().generate_state(1)[0])
    return int(check_random_state(random_state).randint(np.iinfo(np.int32).max))


def derive_seed(seed: int, number: int) -> int:
    """Return one of many seeds that a seed gives, such as that of the nth epoch."""
    return int(np.random.SeedSequence([seed, number]).generate_state(1)[0])
