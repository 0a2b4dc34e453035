"""Batch normalisation that can train on a batch of a single value for each channel.

PyTorch refuses such a batch, since its variance is zero. It comes up where a batch, or the piece
of a batch that fits in memory, is one image whose maps are 1 x 1. The running statistics stand in.
"""

import torch
from torch import nn
from torch.nn import functional


class BatchNorm2d(nn.BatchNorm2d):
    """Normalise maps of shape (n, channels, height, width)."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Normalise by the batch while training, if it has more than one value a channel."""
        if _is_single_value(self, input):
            return _by_running_statistics(self, input)
        return super().forward(input)


class BatchNorm1d(nn.BatchNorm1d):
    """Normalise vectors of shape (n, values)."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Normalise by the batch while training, if it has more than one value a channel."""
        if _is_single_value(self, input):
            return _by_running_statistics(self, input)
        return super().forward(input)


_BatchNorm = nn.BatchNorm1d | nn.BatchNorm2d


def _is_single_value(norm: _BatchNorm, x: torch.Tensor) -> bool:
    return norm.training and x.numel() == norm.num_features


def _by_running_statistics(norm: _BatchNorm, x: torch.Tensor) -> torch.Tensor:
    return functional.batch_norm(
        x, norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=norm.eps
    )
