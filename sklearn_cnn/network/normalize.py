"""The network's first layer: raw pixels of any dtype become standardised floats."""

import numpy as np
import torch
from torch import nn


class Normalize(nn.Module):
    """Subtract each channel's mean and divide by its standard deviation.

    The two are buffers, so they travel with the weights, and a model that is exported carries its
    own preprocessing.

    Parameters
    ----------
    mean, std : ndarray of shape (channels,), float64
        Statistics of the training pixels; ``std`` above 0.
    dtype : torch.dtype
        Floating-point type of the output.
    """

    mean: torch.Tensor
    scale: torch.Tensor
    is_contiguous_on_cpus = False
    """Whether the output is to lie channel by channel, where it would lie pixel by pixel."""

    def __init__(self, mean: np.ndarray, std: np.ndarray, dtype: torch.dtype) -> None:
        super().__init__()
        shape = (1, -1, 1, 1)
        self.register_buffer("mean", torch.tensor(mean, dtype=dtype).reshape(shape))
        self.register_buffer("scale", torch.tensor(1 / std, dtype=dtype).reshape(shape))

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Standardise pixels.

        Parameters
        ----------
        pixels : tensor of shape (n, channels, height, width), any real dtype

        Returns
        -------
        tensor of shape (n, channels, height, width), in the dtype of the network
        """
        standardised = (pixels.to(self.mean.dtype) - self.mean) * self.scale
        if self.is_contiguous_on_cpus and standardised.device.type == "cpu":
            # not contiguous(), which leaves the strides of images of one channel as they are
            return standardised.clone(memory_format=torch.contiguous_format)
        return standardised

    def extra_repr(self) -> str:
        """Say how many channels there are, in the printed module."""
        return f"channels={self.mean.numel()}"
