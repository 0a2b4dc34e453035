"""Flattening that copies nothing where the maps lie in memory pixel by pixel.

The convolutions keep their maps so (torch's ``channels_last``), and a vector in the order of
channels, as :class:`torch.nn.Flatten` makes it, has to gather every value, and its gradient to
scatter them.
"""

import torch
from torch import nn


class Flatten(nn.Module):
    """Make a vector of each image's feature maps, pixel by pixel, as ``numpy.reshape`` does.

    Examples
    --------
    >>> import torch
    >>> from sklearn_cnn.network.flatten import Flatten
    >>> maps = torch.tensor([[[[0, 1]], [[10, 11]]]])  # an image of 1 x 2 pixels in two channels
    >>> Flatten()(maps)
    tensor([[ 0, 10,  1, 11]])
    """

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """Flatten.

        Parameters
        ----------
        maps : tensor of shape (n, channels, height, width)

        Returns
        -------
        tensor of shape (n, height * width * channels)
        """
        return maps.permute(0, 2, 3, 1).flatten(1)
