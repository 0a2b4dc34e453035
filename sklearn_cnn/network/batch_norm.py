"""Batch normalisation for few and small batches.

It differs from PyTorch's in two ways. The running statistics are a plain mean over the first ten
batches, before they become a moving one, so that a network predicts well after a single batch and
not only once the zeros and ones that it began with have faded. And a batch of a single value for
each channel, whose variance is zero, is normalised by the running statistics where PyTorch raises;
it comes up where a batch, or the piece of it that fits in memory, is one image with maps of 1 x 1.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm, _NormBase

MOMENTUM = 0.1
"""Weight of a new batch in the running statistics, from the tenth batch on."""


class _FromTheFirstBatch(_BatchNorm):
    """What the two classes below share."""

    def __init__(self, num_features: int, **options: Any) -> None:
        super().__init__(num_features, momentum=1.0, **options)
        after_loading: Any = self.register_load_state_dict_post_hook  # torch leaves it untyped
        after_loading(_count_batches_again)

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Normalise by the batch while training, and by the running statistics else."""
        if self.training and input.numel() == self.num_features:
            return functional.batch_norm(
                input, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps
            )
        if self.training and self.momentum != MOMENTUM and self.num_batches_tracked is not None:
            # batch number k weighs 1 / k, as in a mean; the device is asked for k ten times only
            self.momentum = max(MOMENTUM, 1 / (int(self.num_batches_tracked) + 1))
        return super().forward(input)


class BatchNorm2d(_FromTheFirstBatch, nn.BatchNorm2d):
    """Normalise maps of shape (n, channels, height, width)."""


class BatchNorm1d(_FromTheFirstBatch, nn.BatchNorm1d):
    """Normalise vectors of shape (n, values)."""


def _count_batches_again(norm: Any, _: Any) -> None:
    """Let weights that were loaded say how many batches their statistics have seen."""
    norm.momentum = 1.0


def keep_frozen_statistics(network: nn.Module) -> None:
    """Have the norms of frozen parts normalise by their running statistics, and keep those.

    A norm is frozen if all of its parameters are, and one without parameters if those of the module
    that holds it are. A network in training stays so in all else.
    """
    for norm in _frozen_norms(network, False):
        norm.eval()


def _frozen_norms(module: nn.Module, is_inside: bool) -> Iterator[nn.Module]:
    weights = list(module.parameters())
    is_frozen = not any(weight.requires_grad for weight in weights) if weights else is_inside
    if is_frozen and isinstance(module, _NormBase):
        yield module
    for child in module.children():
        yield from _frozen_norms(child, is_frozen)
