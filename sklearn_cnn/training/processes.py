"""Processes that train one model together: their groups, messages and consistency checks.

Each fit has its own process group. A process that fails closes the group, so that the others, which
wait for a message, fail at once. The next fit starts a new group.
"""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import timedelta

import torch
from torch import distributed

from sklearn_cnn.training.fingerprint import Fingerprint, joined


@dataclass(frozen=True)
class Processes:
    """The processes of a group, seen from one of them.

    Parameters
    ----------
    group : torch.distributed.ProcessGroup
        Group that transmits their messages.
    rank : int
        Rank of this process, from 0.
    n_processes : int
        Number of processes.
    """

    group: "distributed.ProcessGroup"
    rank: int
    n_processes: int

    def gather(self, message: torch.Tensor) -> list[torch.Tensor]:
        """Return the messages of all processes, of the same shape, in the order of the ranks.

        Raises
        ------
        RuntimeError
            If another process has left.
        """
        sent = _where_the_backend_sends(message)
        messages = [torch.empty_like(sent) for _ in range(self.n_processes)]
        with _parting_explained():
            distributed.all_gather(messages, sent, group=self.group)
        return [received.to(message.device) for received in messages]

    def add(self, message: torch.Tensor) -> torch.Tensor:
        """Return the sum of the messages of all processes; the backend chooses the order."""
        total = _where_the_backend_sends(message)
        with _parting_explained():
            distributed.all_reduce(total, group=self.group)
        return total.to(message.device)

    def content_of_first(self, content: bytes | None) -> bytes | None:
        """Return the content of the first process, which may be None."""
        held = content if self.rank == 0 else None
        n_bytes = torch.tensor([-1 if held is None else len(held)])
        (length, *_) = self.gather(n_bytes)
        if length.item() < 0:
            return None
        buffer = torch.zeros(int(length.item()), dtype=torch.uint8)
        if held:
            buffer.copy_(torch.frombuffer(bytearray(held), dtype=torch.uint8))
        with _parting_explained():
            distributed.broadcast(buffer, src=0, group=self.group)
        return bytes(buffer.numpy())

    def number_of_first(self, number: int) -> int:
        """Return the number of the first process."""
        return int(self.gather(torch.tensor([number]))[0].item())

    def check_alike(self, fingerprint: Fingerprint, what: str) -> None:
        """Raise if the fingerprints of the processes differ.

        Raises
        ------
        ValueError
            In all processes, with the names of the kinds that differ.
        """
        if self._n_different(fingerprint) == 1:
            return
        fingerprints: list[Fingerprint] = [{}] * self.n_processes
        with _parting_explained():
            distributed.all_gather_object(fingerprints, fingerprint, group=self.group)
        kinds = sorted({kind for of_process in fingerprints for kind in of_process})
        unlike = [kind for kind in kinds if len({of.get(kind) for of in fingerprints}) > 1]
        raise ValueError(
            f"The {self.n_processes} processes of data_parallel() {what}. They differ in: "
            f"{', '.join(unlike)}. Every process must call the same fit, with the same data and "
            "parameters, on processors of one kind. Pass a random_state to train_test_split and "
            "to everything else that draws random numbers."
        )

    def check_own_gpu(self, device: torch.device) -> None:
        """Raise if processes share a GPU, which NCCL does not support.

        Raises
        ------
        ValueError
            In all processes, with the number of GPUs.
        """
        name = str(torch.cuda.get_device_properties(device).uuid)
        n_gpus = self._n_different({"gpu": name})
        if n_gpus < self.n_processes:
            raise ValueError(
                f"The {self.n_processes} processes of data_parallel() have {n_gpus} GPU"
                f"{'s' if n_gpus > 1 else ''} in total, but each process needs its own. Start as "
                "many processes on each machine as it has GPUs (torchrun --nproc-per-node), or "
                "pass device='cpu' to the estimator."
            )

    def _n_different(self, fingerprint: Fingerprint) -> int:
        """Count the different fingerprints of the processes."""
        digest = torch.frombuffer(bytearray.fromhex(joined(fingerprint)), dtype=torch.uint8)
        return len({bytes(other.numpy()) for other in self.gather(digest)})


def is_first(processes: Processes | None) -> bool:
    """Tell whether this process writes files and shows a progress bar."""
    return processes is None or processes.rank == 0


@dataclass(frozen=True)
class Session:
    """State inside :func:`data_parallel`.

    Parameters
    ----------
    processes : Processes
        All processes, which synchronise when a fit begins.
    timeout : timedelta
        How long a process waits for the others.
    pid : int
        The process that entered the context; a forked child did not.
    """

    processes: Processes
    timeout: timedelta
    pid: int


_session: ContextVar[Session | None] = ContextVar("session", default=None)
_fit: ContextVar[Processes | None] = ContextVar("fit", default=None)


def processes_of_fit() -> Processes | None:
    """Return the processes that share this fit; None for a single process."""
    return _fit.get()


@contextmanager
def data_parallel(timeout: float = 1800.0) -> Iterator[Processes | None]:
    """Context manager that distributes each ``fit`` and ``partial_fit`` over several processes.

    Start the processes with torchrun, on one machine or several, and run the same script in each.
    The processes share the work of each training step, and each ends with the same fitted
    estimator. Other methods, such as ``predict``, are not distributed.

    Parameters
    ----------
    timeout : float, default=1800.0
        Number of seconds that a process waits for the others before it raises an error. It must be
        above 0.

    Yields
    ------
    Processes or None
        Object with the attributes ``rank``, from 0, and ``n_processes``. None if there is only one
        process.

    Raises
    ------
    ValueError
        If ``timeout`` is not above 0. ``fit`` raises it in all processes if their data, parameters
        or processors differ, or if the network is trained on CPUs and the number of processes is
        not 1, 2, 4 or 8.
    RuntimeError
        ``fit`` raises it if another process has failed or exited.

    Notes
    -----
    On CPUs, networks built from layer descriptions are bit-identical to those of a single process,
    for each of these numbers of processes and any number of threads. User-defined modules, and all
    networks on GPUs, split each batch and add the gradients. Batch normalisation then uses the
    statistics of each share, so the result differs as much as with another seed. Networks of less
    than a million multiplications per image are trained completely by every process, because
    messages would take longer.

    An existing ``torch.distributed`` group is used. Otherwise, a group is initialised from the
    environment set by torchrun, with gloo on CPUs and NCCL on GPUs, and destroyed on exit.
    ``n_jobs`` of a search is local to each process, and its workers fit without the other
    processes.

    References
    ----------
    Li et al., "PyTorch Distributed: experiences on accelerating data parallel training", VLDB
    2020, https://arxiv.org/abs/2006.15704.

    Examples
    --------
    Save this as ``train.py``, and run it with ``torchrun --nproc-per-node=2 train.py``. With
    ``python train.py``, it trains in one process.

    >>> from sklearn.datasets import load_digits
    >>> from sklearn_cnn import CNNClassifier, data_parallel
    >>> images, y = load_digits(return_X_y=True)
    >>> with data_parallel() as processes:
    ...     model = CNNClassifier(16, max_epochs=1, random_state=0).fit(images[:500], y[:500])
    >>> if processes is None or processes.rank == 0:
    ...     print(model.predict(images[:5]).shape)
    (5,)
    """
    if not timeout > 0:
        raise ValueError(f"timeout must be above 0 seconds. Got timeout={timeout!r}.")
    wait = timedelta(seconds=timeout)
    with ExitStack() as stack:
        if not _has_default_group():
            if int(os.environ.get("WORLD_SIZE", "1")) == 1:
                yield None
                return
            stack.enter_context(_default_group(wait))
        if distributed.get_world_size() == 1:
            yield None
            return
        processes = stack.enter_context(_new_group(wait))
        token = _session.set(Session(processes, wait, os.getpid()))
        stack.callback(_session.reset, token)
        yield processes


@contextmanager
def one_fit() -> Iterator[None]:
    """Share the fit inside among the processes of :func:`data_parallel`, if it is active.

    An error in one process ends the fit in all of them.
    """
    session = _session.get()
    if session is None or session.pid != os.getpid():
        yield
        return
    session.processes.gather(torch.zeros(1))  # raises if a process has exited
    with _new_group(session.timeout) as processes:
        token = _fit.set(processes)
        try:
            yield
        finally:
            _fit.reset(token)


def agreed_seed(seed: int) -> int:
    """Return the seed drawn by the first process of this fit."""
    processes = processes_of_fit()
    return seed if processes is None else processes.number_of_first(seed)


def _has_default_group() -> bool:
    return bool(distributed.is_available() and distributed.is_initialized())


def _backend() -> str:
    """Return gloo for CPU tensors, and NCCL for tensors on CUDA devices, if available."""
    on_cuda = torch.cuda.is_available() and distributed.is_nccl_available()
    return "cpu:gloo,cuda:nccl" if on_cuda else "gloo"


def _where_the_backend_sends(message: torch.Tensor) -> torch.Tensor:
    """Return a message unchanged from the CPU or CUDA, and on the CPU from other devices."""
    return message if message.device.type == "cuda" else message.cpu()


@contextmanager
def _default_group(wait: timedelta) -> Iterator[None]:
    """Initialise the group of all processes of torchrun, each with a GPU if available."""
    former = torch.cuda.current_device() if torch.cuda.is_available() else None
    if former is not None:
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())
    distributed.init_process_group(_backend(), timeout=wait)
    try:
        yield
    finally:
        distributed.destroy_process_group()
        if former is not None:
            torch.cuda.set_device(former)


@contextmanager
def _new_group(wait: timedelta) -> Iterator[Processes]:
    """Create a group of all processes, and destroy it, so that waiting processes fail."""
    with _parting_explained():
        group = distributed.new_group(timeout=wait, backend=_backend())
    try:
        yield Processes(group, distributed.get_rank(), distributed.get_world_size())
    finally:
        distributed.destroy_process_group(group)


@contextmanager
def _parting_explained() -> Iterator[None]:
    """Explain errors caused by a missing message."""
    try:
        yield
    except RuntimeError as error:
        raise RuntimeError(
            "Another process of data_parallel() has failed or exited. Read the output of that "
            "process. All processes must call the same fits, in the same order. "
            f"({str(error).splitlines()[0]})"
        ) from error
