"""torch's modes and settings while a network computes, and as they were found afterwards."""

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch.backends import cuda, cudnn

from sklearn_cnn.training.hardware.threads import one_thread

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
