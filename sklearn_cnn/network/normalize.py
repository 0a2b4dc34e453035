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
        return (pixels.to(self.mean.dtype) - self.mean) * self.scale

    def extra_repr(self) -> str:
        """Say how many channels there are, in the printed module."""
        return f"channels={self.mean.numel()}"
