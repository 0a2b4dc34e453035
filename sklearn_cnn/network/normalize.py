"""The network's first layer: raw pixels of any dtype become standardised floats."""

import numpy as np
import torch
from torch import nn

from sklearn_cnn._messages import warn

OTHER_RANGE = 10
"""Pixels whose means or deviations differ by more than this factor are on different scales."""


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
    """Whether the output is contiguous on CPUs, in place of channels_last."""

    is_left_to_another = False
    """Whether a later layer standardises, so that this one passes the pixels on."""

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
        if self.is_left_to_another:
            standardised = pixels.to(self.mean.dtype, copy=True)  # a module may write into it
        else:
            standardised = (pixels.to(self.mean.dtype) - self.mean) * self.scale
        if self.is_contiguous_on_cpus and standardised.device.type == "cpu":
            # not contiguous(), which leaves the strides of images of one channel as they are
            return standardised.clone(memory_format=torch.contiguous_format)
        return standardised

    def leave_to(self, other: "Normalize") -> None:
        """Hand pixels on as they are, to another layer that standardises; take its statistics.

        Raises
        ------
        ValueError
            If that layer is for another number of channels.
        """
        if other.mean.numel() != self.mean.numel():
            raise ValueError(
                f"The module that layers returned holds the normalisation of a fitted network, for "
                f"images of {other.mean.numel()} channels, and these have {self.mean.numel()}. "
                "Leave its layer 'normalize' out, or give it images of as many channels."
            )
        near, far = 1 / OTHER_RANGE, OTHER_RANGE
        ratio = other.scale / self.scale
        apart = (self.mean - other.mean).abs() * other.scale
        if (ratio < near).any() or (ratio > far).any() or (apart > far).any():
            warn(
                "The module that layers returned holds the normalisation of a fitted network, "
                f"whose pixels had a mean of {other.mean.mean():.3g} and a standard deviation of "
                f"{(1 / other.scale).mean():.3g}; these have {self.mean.mean():.3g} and "
                f"{(1 / self.scale).mean():.3g}. Scale X as that network's images were, or leave "
                "the layer 'normalize' of the module out."
            )
        self.is_left_to_another = True
        self.mean, self.scale = other.mean.clone(), other.scale.clone()

    def extra_repr(self) -> str:
        """Say how many channels there are, in the printed module."""
        return f"channels={self.mean.numel()}"
