"""Convolution that keeps height and width with a kernel of even size.

PyTorch's ``padding="same"`` does so too, but warns of the padded copy that it makes.
"""

from typing import Any

import torch
from torch import nn
from torch.nn import functional


class SamePaddedConv2d(nn.Conv2d):
    """Pad with zeros so that a stride of 1 keeps the sides, the odd zero below and to the right.

    Parameters
    ----------
    in_channels, out_channels : int
        Channels of input and output.
    kernel_size : (height, width)
        Size of the kernel; even where it pays to use this class.
    **options
        As for :class:`torch.nn.Conv2d`, less ``padding``.
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: tuple[int, int], **options: Any
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, **options)
        height, width = kernel_size
        self.zeros = ((width - 1) // 2, width // 2, (height - 1) // 2, height // 2)

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Convolve maps of shape (n, channels, height, width)."""
        return super().forward(functional.pad(input, self.zeros))
