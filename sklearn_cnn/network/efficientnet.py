"""EfficientNet-Lite: networks for photographs, small enough for the CPU of a phone.

Liu, "Higher accuracy on vision models with EfficientNet-Lite", TensorFlow blog (2020), after Tan
and Le, "EfficientNet: rethinking model scaling for convolutional neural networks", ICML 2019. Its
blocks are those of MobileNetV2 (Sandler et al., CVPR 2018): inverted residuals with ReLU6.
"""

from collections import OrderedDict
from math import ceil

import torch
from torch import nn
from torch.nn import functional

BLOCKS = (
    # blocks, kernel, stride, expansion, channels
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
"""The stages of EfficientNet-Lite0; those of the larger ones are wider and deeper."""

STAGES = ("stem", *(f"stage{number}" for number in range(1, len(BLOCKS) + 1)), "head")

STEM_CHANNELS, HEAD_CHANNELS = 32, 1280

EPS = 1e-3
"""TensorFlow's, with which the published networks were trained."""


class SameConv2d(nn.Conv2d):
    """Convolve with zero padding that keeps height and width, except for the stride.

    As in TensorFlow, and unlike torch's ``padding``, an odd zero goes to the bottom and right.
    """

    kernel_size: tuple[int, int]
    stride: tuple[int, int]

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Convolve maps of shape (n, channels, height, width)."""
        zeros: list[int] = []
        for axis in (1, 0):  # pad takes the last axis first
            side, kernel, stride = input.shape[2 + axis], self.kernel_size[axis], self.stride[axis]
            total = max((ceil(side / stride) - 1) * stride + kernel - side, 0)
            zeros += [total // 2, total - total // 2]
        padded = functional.pad(input, zeros) if any(zeros) else input
        return functional.conv2d(padded, self.weight, self.bias, self.stride, groups=self.groups)


class InvertedResidual(nn.Sequential):
    """Expand the channels, convolve each separately, project them; with a residual if it fits."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
        middle = inputs * expansion
        expand = _unit(inputs, middle, "expand") if expansion > 1 else {}
        depthwise = _unit(middle, middle, "depthwise", kernel, stride, groups=middle)
        project = _unit(middle, outputs, "project", is_linear=True)
        super().__init__(OrderedDict(**expand, **depthwise, **project))
        self.is_residual = stride == 1 and inputs == outputs

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Compute maps of shape (n, channels, height, width)."""
        maps = input
        for module in self:
            maps = module(maps)
        return input + maps if self.is_residual else maps


def efficientnet_lite(width: float = 1.0, depth: float = 1.0) -> nn.Sequential:
    """Build the convolutional part of an EfficientNet-Lite, with random weights.

    Parameters
    ----------
    width, depth : float, default=1
        Factors of the number of channels and blocks of EfficientNet-Lite0. The stem, the head, and
        the number of blocks of the first and last stage are the same in all EfficientNet-Lites.

    Returns
    -------
    torch.nn.Sequential
        Network whose children are the stages: ``stem``, ``stage1`` to ``stage7``, ``head``. It
        takes standardised images of shape (n, 3, height, width), and returns maps of shape (n,
        1280, height / 32, width / 32), rounded up.

    Examples
    --------
    >>> import torch
    >>> from sklearn_cnn.network.efficientnet import efficientnet_lite
    >>> efficientnet_lite().eval()(torch.zeros(1, 3, 64, 65)).shape
    torch.Size([1, 1280, 2, 3])
    """
    stages: OrderedDict[str, nn.Module] = OrderedDict()
    stages["stem"] = nn.Sequential(_unit(3, STEM_CHANNELS, "conv", 3, 2))
    inputs = STEM_CHANNELS
    for number, (blocks, kernel, stride, expansion, channels) in enumerate(BLOCKS, start=1):
        outputs = _rounded(channels * width)
        repeats = blocks if number in (1, len(BLOCKS)) else ceil(blocks * depth)
        steps = [stride] + [1] * (repeats - 1)
        widths = [inputs] + [outputs] * (repeats - 1)
        stages[f"stage{number}"] = nn.Sequential(
            *(
                InvertedResidual(each, outputs, kernel, step, expansion)
                for each, step in zip(widths, steps, strict=True)
            )
        )
        inputs = outputs
    stages["head"] = nn.Sequential(_unit(inputs, HEAD_CHANNELS, "conv"))
    return nn.Sequential(stages)


def _unit(
    inputs: int,
    outputs: int,
    name: str,
    kernel: int = 1,
    stride: int = 1,
    *,
    groups: int = 1,
    is_linear: bool = False,
) -> "OrderedDict[str, nn.Module]":
    """Make a convolution with its norm, and its activation unless it is linear."""
    modules: OrderedDict[str, nn.Module] = OrderedDict()
    modules[name] = SameConv2d(inputs, outputs, kernel, stride, groups=groups, bias=False)
    modules[f"{name}_norm"] = nn.BatchNorm2d(outputs, eps=EPS)
    if not is_linear:
        modules[f"{name}_activation"] = nn.ReLU6(inplace=True)
    return modules


def _rounded(channels: float) -> int:
    """Round to a multiple of 8, but not down by more than a tenth."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded if rounded >= 0.9 * channels else rounded + 8
