"""Convolutions of 1 x 1 with a stride, whose gradient in torch can end the process.

Where such a layer, its input or its weight lies in memory pixel by pixel (``channels_last``), the
gradient of its weights writes beyond a buffer on CPUs: without AVX512 for 2 to 7 channels, and with
AVX512 where the layer has a dilation. ``scripts/map_crashes`` maps the family. Our own layer leaves
the pixels out first, and convolves with a stride of 1. A user-defined module that holds one keeps
to torch's default order of memory on CPUs, in which the gradient is sound.
"""

from typing import Any

import torch
from torch import nn
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode


class StridedPointwise(nn.Conv2d):
    """Convolve with a kernel of 1 x 1 and any stride."""

    stride: tuple[int, int]

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Convolve maps of shape (n, channels, height, width)."""
        rows, columns = self.stride
        return functional.conv2d(input[:, :, ::rows, ::columns], self.weight, self.bias)


class ModuleWatch(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """A context that notes strided pointwise convolutions and random draws, however called.

    Attributes
    ----------
    has_seen_one : bool
        Whether one ran.
    is_unsound : bool
        Whether one ran with its input or weight in channels_last memory.
    draws : str
        An operation that drew random numbers from torch's own generator, or "".
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.has_seen_one = self.is_unsound = False
        self.draws = ""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Look at the arguments of a convolution, and run whatever it is."""
        if func is torch.ops.aten.convolution.default:
            images, weight, _, stride, _, _, is_transposed = args[:7]
            if tuple(weight.shape[2:]) == (1, 1) and max(stride) > 1 and not is_transposed:
                self.has_seen_one = True
                self.is_unsound |= any(map(_is_pixel_by_pixel, (images, weight)))
        options = kwargs or {}
        if torch.Tag.nondeterministic_seeded in func.tags and options.get("generator") is None:
            self.draws = str(func)
        return func(*args, **options)

    def check(self) -> None:
        """Refuse a module that puts images in channels_last memory by itself."""
        if self.is_unsound:
            raise ValueError(
                "The module that layers returned puts images in channels_last memory before a "
                "convolution of 1 x 1 with a stride, whose gradient corrupts memory on CPUs. Leave "
                "that conversion out, or convolve x[:, :, ::s, ::s] with a stride of 1."
            )


def _is_pixel_by_pixel(values: torch.Tensor) -> bool:
    """Tell whether torch convolves in channels_last memory on account of these values.

    It looks at the strides alone, so that it may do so for what counts as contiguous, too: maps of
    one channel, and kernels of one pixel.
    """
    if values.ndim != 4 or values.stride(1) == 0:
        return False
    least = 0
    for axis in (1, 3, 2):
        if values.stride(axis) < least:
            return False
        least = values.stride(axis) * values.shape[axis]
    return values.stride(0) >= least and least != values.stride(1)
