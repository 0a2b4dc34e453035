"""A function of the user's among the augmentations, and what is checked of its batches."""

from collections.abc import Callable
from typing import Any

import torch

FACTOR = 20
"""A batch whose values spread so many times less, or more, than before is of another scale."""


class BatchFunction:
    """Call a function on batches of pixels; look at its first batch closely.

    Parameters
    ----------
    function : callable (tensor) -> tensor
        Takes and returns a batch of shape (n, channels, height, width).
    name : str
        What the function is called in errors, such as "augment[0]".
    """

    def __init__(self, function: Callable[[Any], Any], name: str) -> None:
        self.function = function
        self.name = name
        self.is_first = True

    def __call__(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return the changed batch.

        Parameters
        ----------
        pixels : tensor of shape (n, channels, height, width), any real dtype
            The function gets a copy, and may change it in place.

        Returns
        -------
        tensor of the same shape, any real dtype

        Raises
        ------
        TypeError, ValueError
            If the function returns something else than a batch of the same shape, or, in the first
            batch, values that are not finite or of another scale.
        """
        kind = f"{pixels.dtype} of shape {tuple(pixels.shape)}"
        before = _spread(pixels) if self.is_first else None
        try:
            result = self.function(pixels)
        except Exception as error:
            error.add_note(f"Raised by {self.name}, which was given a batch of {kind}.")
            raise
        batch = self._check_kind(result, pixels.shape)
        if before is not None:
            self._check_values(batch, before)
            self.is_first = False
        return batch

    def _check_kind(self, result: Any, shape: torch.Size) -> torch.Tensor:
        if not isinstance(result, torch.Tensor):
            raise TypeError(
                f"{self.name} must return a tensor of shape {tuple(shape)} (n, channels, height, "
                f"width), like the one it gets. Got {type(result).__name__}."
            )
        if result.shape != shape:
            raise ValueError(
                f"{self.name} must return images of the shape it gets, {tuple(shape)} (n, "
                f"channels, height, width). Got {tuple(result.shape)}."
            )
        if result.is_complex():
            raise TypeError(f"{self.name} must return real numbers. Got {result.dtype}.")
        return result

    def _check_values(self, result: torch.Tensor, before: float) -> None:
        if not bool(torch.isfinite(result).all()):
            raise ValueError(
                f"{self.name} must return finite numbers. It made NaN or infinity of a batch that "
                "has none: look for a division or a logarithm in it."
            )
        after = _spread(result)
        if before > 0 and after > 0 and not 1 / FACTOR <= after / before <= FACTOR:
            raise ValueError(
                f"{self.name} must keep the range of the pixels that it gets: validation and "
                f"prediction see the images without it. Their standard deviation went from "
                f"{before:.3g} to {after:.3g}. Leave out what scales or normalises them, which the "
                "network does by itself, or do that to X before fit and predict."
            )


def _spread(pixels: torch.Tensor) -> float:
    return float(pixels.float().std(correction=0))
