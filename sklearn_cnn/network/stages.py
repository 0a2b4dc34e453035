"""The stages of a pretrained network within another one: which of them are trained, and how.

Norms keep the statistics of the images of the pretraining. Statistics of a few small batches would
be worse.
"""

from collections import OrderedDict
from itertools import takewhile
from typing import Self

import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from sklearn_cnn.network.layers import Backbone
from sklearn_cnn.network.modules import Flatten, Normalize
from sklearn_cnn.network.pretrained import load_pretrained

LAST_STAGE, EACH_BEFORE = 0.3, 0.7
"""Learning rate of the last stage relative to that of new layers, and of each earlier stage
relative to the next one, because early layers are the most general."""


class PretrainedStage(nn.Sequential):
    """Some layers of a pretrained network, which are all frozen or all trained.

    A frozen stage computes no gradients during training. At prediction, it computes them if
    requested, for saliency maps.
    """

    def train(self, mode: bool = True) -> Self:
        """Set the mode, except for norms, which stay in eval mode."""
        super().train(mode)
        for module in self.modules():
            if isinstance(module, _NormBase):
                module.eval()
        return self

    @property
    def is_frozen(self) -> bool:
        """Whether none of its weights is trained."""
        return not any(weight.requires_grad for weight in self.parameters())

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """Compute maps of shape (n, channels, height, width)."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self._skips_gradients):
            for module in self:
                maps = module(maps)
        return maps

    @property
    def _skips_gradients(self) -> bool:
        return self.training and self.is_frozen


class MeanOfMaps(nn.AdaptiveAvgPool2d):
    """Average each map to a single pixel."""

    def __init__(self) -> None:
        super().__init__(1)


def backbone_modules(backbone: Backbone, dtype: torch.dtype) -> dict[str, nn.Module]:
    """Load a pretrained network as named modules: its stages, averaging and flattening."""
    stages: dict[str, nn.Module] = {}
    children = list(load_pretrained(backbone.network, backbone.weights).named_children())
    n_frozen = 0 if backbone.trainable == "all" else len(children) - int(backbone.trainable)
    for number, (name, stage) in enumerate(children):
        layers = OrderedDict(stage.named_children())
        stages[name] = PretrainedStage(layers).to(dtype).requires_grad_(number >= n_frozen)
    return {**stages, "mean": MeanOfMaps(), "flatten": Flatten()}


def learning_stages(network: nn.Module) -> list[PretrainedStage]:
    """Return the trained stages of a pretrained network, in order."""
    children = (module for module in network.children() if isinstance(module, PretrainedStage))
    return [stage for stage in children if not stage.is_frozen]


def count_fixed(network: nn.Module) -> int:
    """Count the first layers of a network whose output for an image is fixed during training."""

    def is_fixed(module: nn.Module) -> bool:
        if isinstance(module, PretrainedStage):
            return module.is_frozen
        return isinstance(module, Normalize | MeanOfMaps)

    fixed = list(takewhile(is_fixed, network.children()))
    return len(fixed) if any(isinstance(module, PretrainedStage) for module in fixed) else 0


def rate_shares(network: nn.Module) -> dict[str, float]:
    """Return the learning rate of each weight of a stage relative to that of new layers."""
    shares: dict[str, float] = {}
    share = LAST_STAGE
    for name, module in reversed(list(network.named_children())):
        if isinstance(module, PretrainedStage):
            shares |= {f"{name}.{weight}": share for weight, _ in module.named_parameters()}
            share *= EACH_BEFORE
    return shares
