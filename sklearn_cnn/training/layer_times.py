"""How long each layer of a network computes, measured on a few blank images."""

import statistics
import time
from typing import Any

import torch
from torch import nn

from sklearn_cnn.network.copying import copy_network
from sklearn_cnn.network.table import innermost_modules
from sklearn_cnn.training.hardware.modes import ordinary_modes
from sklearn_cnn.training.hardware.threads import one_thread

ROUNDS = 5
"""Passes whose median counts, after one that does not."""


def layer_times(
    network: nn.Module, image_shape: tuple[int, int, int], n_images: int
) -> tuple[float, ...]:
    """Measure the time of each innermost module at prediction, on one thread where it is a CPU.

    Parameters
    ----------
    network : torch.nn.Module
        A module that takes pixels of shape (n, channels, height, width).
    image_shape : tuple of int
        Height, width, channels.
    n_images : int
        Images of a pass.

    Returns
    -------
    tuple of float
        Seconds for one image, in the order in which the modules run.
    """
    copy = copy_network(network).eval()  # others may compute with the network meanwhile
    device = next(copy.buffers()).device
    starts: list[float] = []
    passes: list[list[float]] = []

    def start(*_: Any) -> None:
        _wait(device)
        starts.append(time.perf_counter())

    def stop(_: nn.Module, __: Any, output: Any) -> None:
        _wait(device)
        seconds = time.perf_counter() - starts.pop()
        if isinstance(output, torch.Tensor):
            passes[-1].append(seconds / n_images)

    for _, module in innermost_modules(copy):
        module.register_forward_pre_hook(start)
        module.register_forward_hook(stop)
    height, width, channels = image_shape
    pixels = torch.zeros((n_images, channels, height, width), dtype=torch.uint8, device=device)
    with one_thread(), ordinary_modes(device), torch.inference_mode():
        for _ in range(1 + ROUNDS):
            passes.append([])
            copy(pixels)
    return tuple(statistics.median(times) for times in zip(*passes[1:], strict=True))


def _wait(device: torch.device) -> None:
    """Wait until a GPU has computed what it was told to."""
    if device.type != "cpu":
        module = getattr(torch, device.type)
        module.synchronize(*([] if device.type == "mps" else [device]))  # MPS is one device
