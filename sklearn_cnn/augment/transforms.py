"""Random transforms of a batch: drawn for all images at once, then applied part by part."""

from collections.abc import Sequence
from copy import deepcopy
from math import log, pi
from typing import Any, NamedTuple

import torch
from torch.nn import functional

from sklearn_cnn.augment.descriptions import (
    Augmentation,
    Geometric,
    RandomErasing,
    RandomFlip,
    RandomRotation,
    RandomShear,
    RandomShift,
    RandomZoom,
    Step,
)
from sklearn_cnn.augment.functions import BatchFunction
from sklearn_cnn.machine.isolation import derive_seed

# TODO doc of training/affine: Affine maps of a batch of images, one map an image: composed first, then resampled once.
#
# A map says, for each pixel of the new image, where in the old one it comes from. Positions are in
# pixels, (row, column), counted from the centre of the image.
#

# TODO doc of training/augmentation: Augmentation of training batches: draws for the whole batch, then work that parts can share.


class AffineMaps(NamedTuple):
    """One affine map an image: old position = matrix @ new position + offset.

    Attributes
    ----------
    matrix : tensor of shape (n, 2, 2)
    offset : tensor of shape (n, 2)
    is_whole : bool
        Whether every new pixel comes from a whole pixel of a row and column, as with flips and
        shifts.
    """

    matrix: torch.Tensor
    offset: torch.Tensor
    is_whole: bool

    def take(self, rows: slice) -> "AffineMaps":
        """Return the maps of some of the images."""
        return AffineMaps(self.matrix[rows], self.offset[rows], self.is_whole)

    def then(self, later: "AffineMaps") -> "AffineMaps":
        """Return the maps that do these first, and others to what comes out."""
        offset = (self.matrix @ later.offset[:, :, None])[:, :, 0] + self.offset
        whole = self.is_whole and later.is_whole
        return AffineMaps(self.matrix @ later.matrix, offset, whole)

    def apply(self, pixels: torch.Tensor) -> torch.Tensor:
        """Resample images of shape (n, channels, height, width).

        Whole pixels are copied, in their own dtype; else values are interpolated between the four
        pixels around a position, as floats. Outside the image, its nearest pixel stands.
        """
        return _copy(pixels, self) if self.is_whole else _interpolate(pixels, self)


def draw_maps(step: Geometric, shape: torch.Size, generator: torch.Generator) -> AffineMaps:
    """Draw one map for each image.

    Parameters
    ----------
    step : RandomFlip, RandomShift, RandomZoom, RandomRotation or RandomShear
    shape : torch.Size
        (n, channels, height, width).
    generator : torch.Generator
        Its device is that of the maps.

    Returns
    -------
    AffineMaps
    """
    n, _, *sides = shape
    device = generator.device

    def uniform(low: float, high: float, *more: int) -> torch.Tensor:
        share = torch.rand((n, *more), generator=generator, device=device)
        return low + (high - low) * share

    matrix = torch.eye(2, device=device).repeat(n, 1, 1)
    offset = torch.zeros((n, 2), device=device)
    match step:
        case RandomFlip():
            signs = torch.sign(uniform(-1, 1, 2) + 1e-12)
            fixed = {"horizontal": 0, "vertical": 1}.get(step.direction)
            if fixed is not None:
                signs[:, fixed] = 1
            matrix = torch.diag_embed(signs)
        case RandomShift():
            size = step.size if isinstance(step.size, tuple) else (step.size, step.size)
            for axis, (share, side) in enumerate(zip(size, sides, strict=True)):
                most = max(1, round(share * side)) if share > 0 else 0
                offset[:, axis] = torch.floor(uniform(-most, most + 1)).clamp(-most, most)
        case RandomZoom():
            matrix = matrix / uniform(1 - step.factor, 1 + step.factor)[:, None, None]
        case RandomRotation():
            angle = uniform(-step.degrees, step.degrees) * (pi / 180)
            cos, sin = torch.cos(angle), torch.sin(angle)
            matrix = torch.stack([cos, -sin, sin, cos], dim=1).reshape(n, 2, 2)
        case RandomShear():
            matrix[:, 1, 0] = uniform(-step.factor, step.factor)
    return AffineMaps(matrix, offset, isinstance(step, RandomFlip | RandomShift))


def _from_centre(side: int, device: torch.device) -> torch.Tensor:
    return torch.arange(side, device=device) - (side - 1) / 2


def _copy(pixels: torch.Tensor, maps: AffineMaps) -> torch.Tensor:
    n, channels, height, width = pixels.shape
    places = []
    for axis, side in enumerate((height, width)):
        old = maps.matrix[:, axis, axis, None] * _from_centre(side, pixels.device)
        old = old + maps.offset[:, axis, None] + (side - 1) / 2
        places.append(old.round().long().clamp(0, side - 1))
    rows, columns = places
    first = torch.arange(n, device=pixels.device)[:, None] * height
    index = (first + rows)[:, :, None] * width + columns[:, None, :]
    flat = pixels.permute(0, 2, 3, 1).reshape(-1, channels)
    copied = flat.index_select(0, index.flatten())
    return copied.reshape(n, height, width, channels).permute(0, 3, 1, 2)


def _interpolate(pixels: torch.Tensor, maps: AffineMaps) -> torch.Tensor:
    if pixels.dtype not in (torch.float32, torch.float64):
        pixels = pixels.float()
    height, width = pixels.shape[2:]
    y = _from_centre(height, pixels.device)[None, :, None]
    x = _from_centre(width, pixels.device)[None, None, :]
    matrix, offset = maps.matrix[:, :, :, None, None], maps.offset[:, :, None, None]
    old_y = matrix[:, 0, 0] * y + matrix[:, 0, 1] * x + offset[:, 0]
    old_x = matrix[:, 1, 0] * y + matrix[:, 1, 1] * x + offset[:, 1]
    # functional.grid_sample counts from -1, the first pixel of a side, to 1, the last
    half = [max(side - 1, 1) / 2 for side in (width, height)]
    grid = torch.stack([old_x / half[0], old_y / half[1]], dim=3).to(pixels.dtype)
    # as padding_mode="border" does, which MPS has not had before torch 2.13
    sampled = functional.grid_sample(pixels, grid.clamp(-1, 1), align_corners=True)
    return sampled.contiguous(memory_format=torch.channels_last)


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
