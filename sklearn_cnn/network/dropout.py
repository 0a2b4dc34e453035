"""Dropout that can draw from a generator of its own, so that threads do not share one."""

import torch
from torch import nn


class Dropout(nn.Dropout):
    """Set a share of the values to zero while training, and scale the others up.

    Attributes
    ----------
    generator : torch.Generator or None
        What the draws come from; None for torch's own.
    """

    generator: torch.Generator | None = None

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Draw which values to keep, and divide them by the share that is kept."""
        if not self.training or self.generator is None:
            return super().forward(input)
        share = 1 - self.p
        kept = torch.empty_like(input).bernoulli_(share, generator=self.generator)
        return input * kept.div_(share)


def seed_dropout(network: nn.Module, seed: int) -> None:
    """Have all dropout of a network, torch's own layer included, draw from one new generator."""
    generator = torch.Generator().manual_seed(seed)
    for module in network.modules():
        if type(module) is nn.Dropout:
            module.__class__ = Dropout
        if isinstance(module, Dropout):
            module.generator = generator
