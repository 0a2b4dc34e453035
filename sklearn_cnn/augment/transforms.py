"""Transforms of a batch of images: sampled for all images at once, then applied part by part.

Consecutive affine transforms are composed, and the images are resampled once.
"""

from collections.abc import Sequence
from math import log, pi
from typing import NamedTuple, Self, assert_never

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

STREAM = 1000
"""Separates the draws of augmentation from other draws with the same seed."""


class AffineTransforms(NamedTuple):
    """One affine transform per image: old position = matrix @ new position + offset.

    It maps each pixel of the new image to its position in the old image. Positions are in pixels,
    (row, column), relative to the centre of the image.

    Attributes
    ----------
    matrix : tensor of shape (n, 2, 2)
    offset : tensor of shape (n, 2)
    is_whole : bool
        Whether every new pixel is exactly one old pixel, as with flips and shifts.
    """

    matrix: torch.Tensor
    offset: torch.Tensor
    is_whole: bool

    @classmethod
    def sample(cls, step: Geometric, shape: torch.Size, generator: torch.Generator) -> Self:
        """Draw a transform for each image of a batch of ``shape``, (n, channels, height, width).

        The transforms are on the device of the generator.
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
        return cls(matrix, offset, isinstance(step, RandomFlip | RandomShift))

    def take(self, rows: slice) -> "AffineTransforms":
        """Return the transforms of some of the images."""
        return AffineTransforms(self.matrix[rows], self.offset[rows], self.is_whole)

    def then(self, later: "AffineTransforms") -> "AffineTransforms":
        """Compose these transforms with others that are applied after them."""
        offset = (self.matrix @ later.offset[:, :, None])[:, :, 0] + self.offset
        is_whole = self.is_whole and later.is_whole
        return AffineTransforms(self.matrix @ later.matrix, offset, is_whole)

    def apply(self, pixels: torch.Tensor) -> torch.Tensor:
        """Resample images of shape (n, channels, height, width).

        Whole pixels are copied in their own dtype. Other values are interpolated between the four
        pixels around a position, as floats. Positions outside of the image take its nearest pixel.
        """
        return self._copy(pixels) if self.is_whole else self._interpolate(pixels)

    def _copy(self, pixels: torch.Tensor) -> torch.Tensor:
        n, channels, height, width = pixels.shape
        places = []
        for axis, side in enumerate((height, width)):
            old = self.matrix[:, axis, axis, None] * _from_centre(side, pixels.device)
            old = old + self.offset[:, axis, None] + (side - 1) / 2
            places.append(old.round().long().clamp(0, side - 1))
        rows, columns = places
        first = torch.arange(n, device=pixels.device)[:, None] * height
        index = (first + rows)[:, :, None] * width + columns[:, None, :]
        flat = pixels.permute(0, 2, 3, 1).reshape(-1, channels)
        copied = flat.index_select(0, index.flatten())
        return copied.reshape(n, height, width, channels).permute(0, 3, 1, 2)

    def _interpolate(self, pixels: torch.Tensor) -> torch.Tensor:
        if pixels.dtype not in (torch.float32, torch.float64):
            pixels = pixels.float()
        height, width = pixels.shape[2:]
        y = _from_centre(height, pixels.device)[None, :, None]
        x = _from_centre(width, pixels.device)[None, None, :]
        matrix, offset = self.matrix[:, :, :, None, None], self.offset[:, :, None, None]
        old_y = matrix[:, 0, 0] * y + matrix[:, 0, 1] * x + offset[:, 0]
        old_x = matrix[:, 1, 0] * y + matrix[:, 1, 1] * x + offset[:, 1]
        # functional.grid_sample counts from -1, the first pixel of a side, to 1, the last
        half = [max(side - 1, 1) / 2 for side in (width, height)]
        grid = torch.stack([old_x / half[0], old_y / half[1]], dim=3).to(pixels.dtype)
        # like padding_mode="border", which MPS only supports since torch 2.13
        sampled = functional.grid_sample(pixels, grid.clamp(-1, 1), align_corners=True)
        return sampled.contiguous(memory_format=torch.channels_last)


def _from_centre(side: int, device: torch.device) -> torch.Tensor:
    return torch.arange(side, device=device) - (side - 1) / 2


class Erasures(NamedTuple):
    """One rectangle per image, to be filled with the mean colour of the image.

    Attributes
    ----------
    top, bottom, left, right : tensor of shape (n,)
        Rows and columns of the rectangle. Bottom and right are exclusive, and an empty rectangle
        erases nothing.
    """

    top: torch.Tensor
    bottom: torch.Tensor
    left: torch.Tensor
    right: torch.Tensor

    @classmethod
    def sample(cls, step: RandomErasing, shape: torch.Size, generator: torch.Generator) -> Self:
        """Draw the presence, area, aspect and position for each image of a batch of ``shape``."""
        n, _, height, width = shape
        draws = torch.rand((5, n), generator=generator, device=generator.device)
        smallest, largest = step.size
        area = (smallest + (largest - smallest) * draws[1]) * height * width
        aspect = torch.exp(log(10 / 3) * (2 * draws[2] - 1))
        tall = (area * aspect).sqrt().round().clamp(1, height) * (draws[0] < step.probability)
        wide = (area / aspect).sqrt().round().clamp(1, width)
        top = torch.floor(draws[3] * (height - tall + 1))
        left = torch.floor(draws[4] * (width - wide + 1))
        return cls(top, top + tall, left, left + wide)

    def take(self, rows: slice) -> "Erasures":
        """Return the rectangles of some of the images."""
        return Erasures(*(edge[rows] for edge in self))

    def apply(self, pixels: torch.Tensor) -> torch.Tensor:
        """Erase the rectangles of images (n, channels, height, width), in their own dtype."""
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


Transform = AffineTransforms | Erasures
"""A sampled augmentation, for each image of one batch."""


class BatchAugmentation:
    """The steps of the ``augment`` parameter, applied to batches of raw pixels.

    Parameters
    ----------
    steps : sequence of augmentations and callables
        Steps in the order of application. Callables are copied.
    seed : int
        Seed of the draws. Callables draw from torch's own generators.
    device : torch.device
        Device of the batches.
    """

    def __init__(self, steps: Sequence[Step], seed: int, device: torch.device) -> None:
        self.steps = [
            step
            if isinstance(step, Augmentation)
            else BatchFunction(step, f"augment[{i}]" if len(steps) > 1 else "augment")
            for i, step in enumerate(steps)
        ]
        self.generator = torch.Generator(device)
        self.seed(seed)

    def seed(self, seed: int) -> None:
        """Seed the draws, except those of callables."""
        self.generator.manual_seed(derive_seed(seed, STREAM))

    def start(self, pixels: torch.Tensor) -> tuple[torch.Tensor, list[Transform]]:
        """Apply the steps up to the last callable to the whole batch, and sample the others.

        Parameters
        ----------
        pixels : tensor of shape (n, channels, height, width), any real dtype
            The batch.

        Returns
        -------
        pixels : tensor of the same shape
            The batch after the last callable.
        transforms : list
            The sampled steps after the last callable, for :meth:`finish`.

        Raises
        ------
        TypeError, ValueError
            If a callable does not return a batch of the same shape and range.
        """
        transforms: list[Transform] = []
        for step in self.steps:
            if isinstance(step, BatchFunction):
                pixels, transforms = step(self.finish(pixels, transforms)), []
            elif isinstance(step, RandomErasing):
                transforms.append(Erasures.sample(step, pixels.shape, self.generator))
            elif isinstance(step, Geometric):
                later = AffineTransforms.sample(step, pixels.shape, self.generator)
                if transforms and isinstance(earlier := transforms[-1], AffineTransforms):
                    transforms[-1] = earlier.then(later)
                else:
                    transforms.append(later)
            else:
                assert_never(step)
        return pixels, transforms

    @staticmethod
    def finish(
        pixels: torch.Tensor, transforms: list[Transform], rows: slice = slice(None)
    ) -> torch.Tensor:
        """Apply the sampled transforms to some images of the batch.

        Parameters
        ----------
        pixels : tensor of shape (n, channels, height, width)
            The images.
        transforms : list
            Transforms that were sampled for the whole batch.
        rows : slice, default=slice(None)
            Rows of the images in the batch.
        """
        for transform in transforms:
            pixels = transform.take(rows).apply(pixels)
        return pixels
