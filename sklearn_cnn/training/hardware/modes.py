"""torch's modes and settings while a network computes, and as they were found afterwards."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch.backends import cuda, cudnn

from sklearn_cnn.training.hardware.threads import one_thread


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
        _whole_float32() if device.type == "cuda" else nullcontext(),
    ):
        yield


def _settings_of_float32() -> list[tuple[Any, str, Any]]:
    """Return where torch keeps them, by what name, and what they must be."""
    if hasattr(cudnn, "conv"):  # since torch 2.9, which refuses a mix of these and the older ones
        holders = (cuda.matmul, cudnn.conv, cudnn.rnn)
        return [(holder, "fp32_precision", "ieee") for holder in holders]
    return [(cuda.matmul, "allow_tf32", False), (cudnn, "allow_tf32", False)]


@contextmanager
def _whole_float32() -> Iterator[None]:
    settings = _settings_of_float32()
    before = [getattr(holder, name) for holder, name, _ in settings]
    try:
        for holder, name, value in settings:
            setattr(holder, name, value)
        yield
    finally:
        for (holder, name, _), value in zip(settings, before, strict=True):
            setattr(holder, name, value)


def reproducible_arithmetic(device: torch.device) -> AbstractContextManager[None]:
    """Compute gradients in one fixed order, and put torch's settings back afterwards.

    On a CPU torch sums the gradient of a convolution over the batch in as many parts as it has
    threads, so a different number of threads gives other roundings, then other weights. It gets one
    here; more compute side by side in :mod:`sklearn_cnn.training.parts`, where the cut is fixed.
    """
    if device.type == "cpu":
        return one_thread()
    return _deterministic_cudnn() if device.type == "cuda" else nullcontext()


@contextmanager
def _deterministic_cudnn() -> Iterator[None]:
    settings = cudnn.deterministic, cudnn.benchmark
    try:
        cudnn.deterministic, cudnn.benchmark = True, False
        yield
    finally:
        cudnn.deterministic, cudnn.benchmark = settings
