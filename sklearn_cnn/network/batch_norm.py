"""Batch normalisation for few and small batches.

It differs from PyTorch's in two ways. The running statistics are a plain mean over the first ten
batches, before they become a moving one, so that a network predicts well after a single batch and
not only once the zeros and ones that it began with have faded. And a batch of a single value for
each channel, whose variance is zero, is normalised by the running statistics where PyTorch raises;
it comes up where a batch, or the piece of it that fits in memory, is one image with maps of 1 x 1.
"""

from typing import Any

import torch
from torch import nn
from torch.nn import functional

MOMENTUM = 0.1
"""Weight of a new batch in the running statistics, from the tenth batch on."""


class BatchNorm2d(nn.BatchNorm2d):
    """Normalise maps of shape (n, channels, height, width)."""

    def __init__(self, num_features: int, **options: Any) -> None:
        super().__init__(num_features, momentum=1.0, **options)
        _after_loading(self)(_count_batches_again)

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Normalise by the batch while training, and by the running statistics else."""
        if _is_single_value(self, input):
            return _by_running_statistics(self, input)
        _set_momentum(self)
        return super().forward(input)


class BatchNorm1d(nn.BatchNorm1d):
    """Normalise vectors of shape (n, values)."""

    def __init__(self, num_features: int, **options: Any) -> None:
        super().__init__(num_features, momentum=1.0, **options)
        _after_loading(self)(_count_batches_again)

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Normalise by the batch while training, and by the running statistics else."""
        if _is_single_value(self, input):
            return _by_running_statistics(self, input)
        _set_momentum(self)
        return super().forward(input)


_BatchNorm = nn.BatchNorm1d | nn.BatchNorm2d


def _is_single_value(norm: _BatchNorm, x: torch.Tensor) -> bool:
    return norm.training and x.numel() == norm.num_features


def _by_running_statistics(norm: _BatchNorm, x: torch.Tensor) -> torch.Tensor:
    return functional.batch_norm(
        x, norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=norm.eps
    )


def _set_momentum(norm: _BatchNorm) -> None:
    """Weigh batch number k by 1 / k, as a mean does, until that falls to ``MOMENTUM``.

    The batches are counted on the device; they are asked for during the first ten only.
    """
    seen = norm.num_batches_tracked
    if norm.training and seen is not None and norm.momentum != MOMENTUM:
        norm.momentum = max(MOMENTUM, 1 / (int(seen) + 1))


def _after_loading(norm: nn.Module) -> Any:
    return norm.register_load_state_dict_post_hook  # torch leaves it without annotations


def _count_batches_again(norm: Any, _: Any) -> None:
    """Let weights that were loaded say how many batches their statistics have seen."""
    norm.momentum = 1.0
