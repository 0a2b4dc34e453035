"""Chunks that images do not fill, computed at a smaller size where the bits stay the same.

A sum may round differently for another number of images, so that a whole chunk would have to be
computed for a single one. Convolutions go through the images one by one, and dense layers multiply
all rows at once; for which sizes each of the two rounds as it does in a whole chunk depends on the
processor. It is tried out on noise, once for each network and size.
"""

from weakref import WeakKeyDictionary

import torch
from torch import nn

from sklearn_cnn.network.modules import Flatten, Normalize

FEWEST = 2
"""Images, at least: a single one takes other kernels of torch, which round differently."""


def compute_filled(network: nn.Module, pixels: torch.Tensor, chunk: int) -> object:
    """Compute what a network gives for at most a chunk of images, with the bits of a whole chunk.

    Parameters
    ----------
    network : torch.nn.Module
        In eval mode.
    pixels : tensor of shape (n, channels, height, width), any real dtype
        At least one image, and at most ``chunk``.
    chunk : int
        Images of a whole chunk.

    Returns
    -------
    tensor, or tuple of tensors, of at least n rows
        Rows after the first n belong to zeros that fill up.
    """
    parts = _parts(network) if pixels.device.type == "cpu" and 2 * len(pixels) <= chunk else []
    if not parts:
        return network(_fill(pixels, chunk))
    n, values = len(pixels), pixels
    sizes = _sizes(network, parts, pixels, chunk)
    for part, size in zip(parts, sizes, strict=True):
        values = part(_fill(values[:n], size))
    return values


def _parts(network: nn.Module) -> list[nn.Sequential]:
    """Return the layers up to the vectors, and those after; none if it is not a plain sequence."""
    if isinstance(network, nn.Sequential):
        for number, layer in enumerate(network, 1):
            if isinstance(layer, Flatten):
                return [network[:number], network[number:]]
    return []


def _fill(values: torch.Tensor, size: int) -> torch.Tensor:
    """Add zeros up to a size, pixel by pixel as images lie in memory."""
    if len(values) == size:
        return values
    pixel_by_pixel = values.movedim(1, -1)  # vectors stay as they are
    filled = pixel_by_pixel.new_zeros((size, *pixel_by_pixel.shape[1:]))
    filled[: len(values)] = pixel_by_pixel
    return filled.movedim(-1, 1)


_known: WeakKeyDictionary[nn.Module, dict[tuple[object, ...], list[int]]] = WeakKeyDictionary()
"""For each network: how many images its parts compute at once, by how many there are."""


def _sizes(
    network: nn.Module, parts: list[nn.Sequential], pixels: torch.Tensor, chunk: int
) -> list[int]:
    fewest = max(FEWEST, 1 << (len(pixels) - 1).bit_length())
    known = _known.setdefault(network, {})
    key = (fewest, chunk, pixels.shape[1:])
    if key not in known:
        values = _noise(parts[0][0], chunk, pixels.shape[1:])
        sizes = []
        for part in parts:
            sizes.append(_smallest(part, values, fewest))
            values = part(values)
        known[key] = sizes
    return known[key]


def _smallest(part: nn.Sequential, values: torch.Tensor, fewest: int) -> int:
    """Return the smallest size, doubling, with which each layer gives the bits of a whole chunk."""
    size = fewest
    while size < len(values) and not _rounds_alike(part, values, size):
        size *= 2
    return min(size, len(values))


def _rounds_alike(part: nn.Sequential, values: torch.Tensor, size: int) -> bool:
    for layer in part:  # each, since the last may have too few outputs to show a difference
        expected = layer(values)
        for start in range(0, len(values) - size + 1, size):
            some = slice(start, start + size)
            if not torch.equal(layer(values[some]), expected[some]):
                return False
        values = expected
    return True


def _noise(normalize: Normalize, chunk: int, shape: torch.Size) -> torch.Tensor:
    """Draw images that are standardised as those seen at fit, in the order of memory of images."""
    channels, height, width = shape
    drawn = torch.randn(
        (chunk, height, width, channels),
        generator=torch.Generator().manual_seed(0),
        dtype=normalize.mean.dtype,
    )
    return drawn.permute(0, 3, 1, 2) / normalize.scale + normalize.mean
