"""Augmentation of training batches: draws for the whole batch, then work that parts can share."""

from collections.abc import Sequence
from copy import deepcopy
from math import log
from typing import Any, NamedTuple

import torch

from sklearn_cnn.images.augment import Augmentation, Geometric, RandomErasing, Step
from sklearn_cnn.training.affine import AffineMaps, draw_maps
from sklearn_cnn.training.batch_function import BatchFunction
from sklearn_cnn.training.seeding import derive_seed


class Boxes(NamedTuple):
    """One rectangle an image, to be painted with the image's mean colour.

    Attributes
    ----------
    top, bottom, left, right : tensor of shape (n,)
        Rows and columns, the second and fourth after the last one; an empty rectangle is none.
    """

    top: torch.Tensor
    bottom: torch.Tensor
    left: torch.Tensor
    right: torch.Tensor

    def take(self, rows: slice) -> "Boxes":
        """Return the rectangles of some of the images."""
        return Boxes(*(edge[rows] for edge in self))

    def apply(self, pixels: torch.Tensor) -> torch.Tensor:
        """Paint images of shape (n, channels, height, width), in their own dtype."""
        y = torch.arange(pixels.shape[2], device=pixels.device)[None, :, None]
        x = torch.arange(pixels.shape[3], device=pixels.device)[None, None, :]
        top, bottom, left, right = (edge[:, None, None] for edge in self)
        inside = (top <= y) & (y < bottom) & (left <= x) & (x < right)
        is_exact = pixels.dtype in (torch.uint8, torch.bool, torch.float32, torch.float16)
        has_double = pixels.device.type != "mps"
        wide = pixels.float() if is_exact or not has_double else pixels.double()
        colour = wide.mean(dim=(2, 3), keepdim=True)
        if not pixels.is_floating_point():
            colour = colour.round()
        return torch.where(inside[:, None], colour.to(pixels.dtype), pixels)


Drawn = AffineMaps | Boxes

STREAM = 1000
"""Tells the draws of augmentation from all others that one seed gives."""


class BatchAugmentation:
    """The steps of the ``augment`` parameter, applied to batches of raw pixels.

    Parameters
    ----------
    steps : sequence of augmentations and callables
        In the order in which they are applied. Callables are copied.
    seed : int
        Seed of the draws. Callables draw from torch's own generators.
    device : torch.device
        Device of the batches.
    """

    def __init__(self, steps: Sequence[Step], seed: int, device: torch.device) -> None:
        self.steps = [
            step
            if isinstance(step, Augmentation)
            else _as_batch_function(step, f"augment[{i}]" if len(steps) > 1 else "augment")
            for i, step in enumerate(steps)
        ]
        self.generator = torch.Generator(device).manual_seed(derive_seed(seed, STREAM))

    def start(self, pixels: torch.Tensor) -> tuple[torch.Tensor, list[Drawn]]:
        """Do what needs the whole batch, and draw what can be done part by part.

        Parameters
        ----------
        pixels : tensor of shape (n, channels, height, width), any real dtype

        Returns
        -------
        pixels : tensor of the same shape
        drawn : list
            What is left to do, for :meth:`finish`: all that follows the last callable.

        Raises
        ------
        TypeError, ValueError
            If a callable returns something else than a batch of the same shape and range.
        """
        drawn: list[Drawn] = []
        for step in self.steps:
            if isinstance(step, RandomErasing):
                drawn.append(_draw_boxes(step, pixels.shape, self.generator))
            elif isinstance(step, Geometric):
                maps = draw_maps(step, pixels.shape, self.generator)
                if drawn and isinstance(before := drawn[-1], AffineMaps):
                    drawn[-1] = before.then(maps)
                else:
                    drawn.append(maps)
            else:
                pixels, drawn = step(self.finish(pixels, drawn)), []
        return pixels, drawn

    @staticmethod
    def finish(pixels: torch.Tensor, drawn: list[Drawn], rows: slice = slice(None)) -> torch.Tensor:
        """Apply what was drawn to some images of the batch.

        Parameters
        ----------
        pixels : tensor of shape (n, channels, height, width)
            Those images.
        drawn : list
            What was drawn for the whole batch.
        rows : slice, default=slice(None)
            Which images of the batch they are.
        """
        for each in drawn:
            pixels = each.take(rows).apply(pixels)
        return pixels


def _as_batch_function(step: Any, name: str) -> BatchFunction:
    try:
        return BatchFunction(deepcopy(step), name)
    except Exception as error:
        raise TypeError(
            f"{name} cannot be copied, as every fit does, so that no state goes from one to the "
            f"next: {error}. Use a function that refers to what cannot be copied: it is not copied."
        ) from error


def _draw_boxes(step: RandomErasing, shape: torch.Size, generator: torch.Generator) -> Boxes:
    """Draw whether, how large, how tall and where, for each image."""
    n, _, height, width = shape
    draws = torch.rand((5, n), generator=generator, device=generator.device)
    smallest, largest = step.size
    area = (smallest + (largest - smallest) * draws[1]) * height * width
    aspect = torch.exp(log(10 / 3) * (2 * draws[2] - 1))
    tall = (area * aspect).sqrt().round().clamp(1, height) * (draws[0] < step.probability)
    wide = (area / aspect).sqrt().round().clamp(1, width)
    top = torch.floor(draws[3] * (height - tall + 1))
    left = torch.floor(draws[4] * (width - wide + 1))
    return Boxes(top, top + tall, left, left + wide)
