"""Affine maps of a batch of images, one map an image: composed first, then resampled once.

A map says, for each pixel of the new image, where in the old one it comes from. Positions are in
pixels, (row, column), counted from the centre of the image.
"""

from math import pi
from typing import NamedTuple

import torch
from torch.nn import functional

from sklearn_cnn.images.augment import (
    Geometric,
    RandomFlip,
    RandomRotation,
    RandomShear,
    RandomShift,
    RandomZoom,
)


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
