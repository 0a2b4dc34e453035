"""The device, the floating-point type and the threads that a network computes on."""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch.backends import cudnn

MEMORY_FOR_ACTIVATIONS = 2 << 30
"""Bytes that the feature maps of one pass through the network may take."""

CHUNK = 128
"""Images of one pass at prediction: large enough for the arithmetic, small enough for the cache."""

_forked = False
"""Whether this process is a forked child of one that had imported this module."""


def _note_fork() -> None:
    global _forked
    _forked = True


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_note_fork)

DTYPES = {"auto": torch.float32, "float32": torch.float32, "float64": torch.float64}


def resolve_device(device: Any) -> torch.device:
    """Return the torch device that the ``device`` parameter asks for.

    Parameters
    ----------
    device : str or torch.device
        "auto" takes CUDA where there is one, then MPS, then the CPU.

    Returns
    -------
    torch.device
        One that is present.

    Raises
    ------
    ValueError
        If torch knows no such device, or this machine has none.
    """
    if device == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda", torch.cuda.current_device())
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        found = torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise ValueError(
            f"device must be 'auto', 'cpu', 'cuda', 'cuda:0', 'mps', or a torch.device. "
            f"Got device={device!r}."
        ) from error
    if found.type == "cuda" and (found.index or 0) >= torch.cuda.device_count():
        raise ValueError(
            f"device={device!r} was asked for, but torch sees {torch.cuda.device_count()} CUDA "
            "devices. Use device='auto' or device='cpu'."
        )
    if found.type == "mps" and not torch.backends.mps.is_available():
        raise ValueError(
            f"device={device!r} was asked for, but torch sees no MPS device. Use device='auto' or "
            "device='cpu'."
        )
    if found.type not in ("cpu", "cuda", "mps"):
        _check_that_it_computes(found)
    return found


def _check_that_it_computes(device: torch.device) -> None:
    try:
        torch.zeros(1, device=device).item()
    except Exception as error:  # of any type: not compiled in, no driver, no data
        reason = str(error).splitlines()[0].rstrip(".")
        raise ValueError(
            f"device='{device}' was asked for, but torch cannot compute there: {reason}. Use "
            "device='auto' or device='cpu'."
        ) from error


def resolve_dtype(precision: str, device: torch.device) -> torch.dtype:
    """Return the floating-point type that the ``precision`` parameter asks for on a device."""
    if precision == "float64" and device.type == "mps":
        raise ValueError(
            "precision='float64' was asked for, but MPS devices compute in float32 at most. Use "
            "device='cpu' or precision='float32'."
        )
    return DTYPES[precision]


def name_of_dtype(precision: str) -> str:
    """Return the name, as NumPy's, of the floating-point type of a ``precision``."""
    return str(DTYPES[precision]).removeprefix("torch.")


def send_pixels(pixels: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Move pixels to a device in their own dtype, or in float32 where it has no float64.

    The copy blocks: from memory that is not pinned another gains nothing, and on MPS it may read
    what has been overwritten since.
    """
    if device.type == "mps" and pixels.dtype == torch.float64:
        pixels = pixels.to(torch.float32)
    return pixels.to(device)


def images_per_pass(values_per_image: int, dtype: torch.dtype, passes: int = 1) -> int:
    """Return how many images fit in ``MEMORY_FOR_ACTIVATIONS`` at once, at least one.

    Parameters
    ----------
    values_per_image : int
        Values in all feature maps of one image.
    dtype : torch.dtype
        Type of a value.
    passes : int, default=1
        How often each is held: 1 at prediction, 3 in training (itself, for the gradient, and the
        gradient).
    """
    return max(1, MEMORY_FOR_ACTIVATIONS // (values_per_image * dtype.itemsize * passes))


@contextmanager
def ordinary_modes(device: torch.device) -> Iterator[None]:
    """Leave the modes that the caller may have switched on: autocast, inference, no gradients."""
    with (
        torch.inference_mode(False),
        torch.enable_grad(),
        torch.autocast(device.type, enabled=False),
    ):
        yield


def reproducible_arithmetic(device: torch.device) -> AbstractContextManager[None]:
    """Compute gradients in one fixed order, and put torch's settings back afterwards.

    On a CPU the gradient of a convolution sums over the batch in as many parts as there are
    threads, so a different number of threads gives other roundings, then other weights. Training
    runs in one thread, so that a search gives the same scores whatever its ``n_jobs``.
    """
    if device.type == "cpu":
        return _one_thread()
    return _deterministic_cudnn() if device.type == "cuda" else nullcontext()


@contextmanager
def _one_thread() -> Iterator[None]:
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
def _deterministic_cudnn() -> Iterator[None]:
    settings = cudnn.deterministic, cudnn.benchmark
    try:
        cudnn.deterministic, cudnn.benchmark = True, False
        yield
    finally:
        cudnn.deterministic, cudnn.benchmark = settings


def _in_new_thread(call: Callable[[], Any]) -> Any:
    """Call in a thread that has no setting of its own, so that it reads or sets the default."""
    with ThreadPoolExecutor(max_workers=1) as pool:
        return pool.submit(call).result()
