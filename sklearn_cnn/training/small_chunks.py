"""Incomplete chunks, computed at a smaller size if this does not change any bit.

A sum may round differently for another number of images, so a whole chunk would have to be computed
for a single image. Convolutions process the images one by one, and dense layers multiply all rows
at once. The sizes for which each of the two rounds as in a whole chunk depend on the processor.
They are determined with noise images, once for each network and size.
"""

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from sklearn_cnn.network.modules import Flatten, Normalize

Layers = Sequence[nn.Module]


def compute_filled(network: nn.Module, pixels: torch.Tensor, chunk: int) -> object:
    """Compute the outputs of at most a chunk of images, bit-identical to those in a whole chunk.

    Parameters
    ----------
    network : torch.nn.Module
        Network in eval mode.
    pixels : tensor of shape (n, channels, height, width), any real dtype
        At least one image, and at most ``chunk``.
    chunk : int
        Number of images in a whole chunk.

    Returns
    -------
    tensor, or tuple of tensors, of at least n rows
        Outputs. Rows after the first n belong to padding.
    """
    n, values = len(pixels), pixels
    parts = split_at_vectors(network) if pixels.device.type == "cpu" and 2 * n <= chunk else []
    if not parts:
        return network(_fill(pixels, chunk))
    for part, size in zip(parts, _sizes(network, parts, pixels, chunk), strict=True):
        values = _run(part, _fill(values[:n], size))
    return values


def split_at_vectors(network: nn.Module) -> list[Layers]:
    """Return the layers up to the vectors, and those after; none if not a plain sequence.

    Such a network may compute incomplete chunks at a smaller size.
    """
    layers = list(network) if isinstance(network, nn.Sequential) else []
    for number, layer in enumerate(layers, 1):
        if isinstance(layer, Flatten):
            return [layers[:number], layers[number:]]
    return []


def _run(layers: Layers, values: torch.Tensor) -> torch.Tensor:
    with _ConvolvedAsMany() if len(values) == 1 and values.ndim == 4 else nullcontext():
        for layer in layers:
            values = layer(values)
    return values


class _ConvolvedAsMany(TorchFunctionMode):
    """Use oneDNN to convolve a single image, as for several.

    torch uses its own matrix product for a single image, which rounds differently.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Replace torch's convolution by oneDNN's."""
        if func is torch.conv2d and not kwargs and _is_for_onednn(*args):
            images, weight, bias, stride, padding, dilation, groups = args
            if padding == "same":
                padding = [side // 2 for side in weight.shape[2:]]
            return torch.mkldnn_convolution(images, weight, bias, padding, stride, dilation, groups)
        return func(*args, **(kwargs or {}))


def _is_for_onednn(images: torch.Tensor, weight: torch.Tensor, *others: Any) -> bool:
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    if images.dtype != torch.float32 or len(others) != 5:
        return False
    _, _, padding, dilation, _ = others
    if padding == "same":
        return all(side % 2 == 1 for side in weight.shape[2:]) and set(dilation) == {1}
    return not isinstance(padding, str)


def _fill(values: torch.Tensor, size: int) -> torch.Tensor:
    """Pad with zeros to a size, in the memory order of the images."""
    n_missing = size - len(values)
    if n_missing == 0:
        return values
    pixel_by_pixel = values.movedim(1, -1)  # vectors stay as they are
    zeros = pixel_by_pixel.new_zeros((n_missing, *pixel_by_pixel.shape[1:]))
    return torch.cat([pixel_by_pixel, zeros]).movedim(-1, 1)


_known: WeakKeyDictionary[nn.Module, dict[tuple[object, ...], list[int]]] = WeakKeyDictionary()
"""For each network, the sizes at which its parts compute, by the number of images."""


def _sizes(network: nn.Module, parts: list[Layers], pixels: torch.Tensor, chunk: int) -> list[int]:
    fewest = 1 << (len(pixels) - 1).bit_length()
    known = _known.setdefault(network, {})
    key = (fewest, chunk, pixels.shape[1:])
    if key not in known:
        noise = _noise(parts[0][0], chunk, pixels.shape[1:])
        inputs = (noise, _run(parts[0], noise))
        known[key] = [
            _smallest(part, values, fewest) for part, values in zip(parts, inputs, strict=True)
        ]
    return known[key]


def _smallest(part: Layers, values: torch.Tensor, fewest: int) -> int:
    """Return the smallest size, by doubling, for which all layers are bit-identical."""
    size = fewest
    while size < len(values) and not _rounds_alike(part, values, size):
        size *= 2
    return min(size, len(values))


def _rounds_alike(part: Layers, values: torch.Tensor, size: int) -> bool:
    for layer in part:  # each layer, because the last may have too few outputs to show a difference
        expected = layer(values)
        for start in range(0, len(values) - size + 1, size):
            some = slice(start, start + size)
            if not torch.equal(_run([layer], values[some]), expected[some]):
                return False
        values = expected
    return True


def _noise(normalize: nn.Module, chunk: int, shape: torch.Size) -> torch.Tensor:
    """Draw images with the mean and scale of the training images, in their memory order."""
    assert isinstance(normalize, Normalize)  # the first layer of every network
    channels, height, width = shape
    drawn = torch.randn(
        (chunk, height, width, channels),
        generator=torch.Generator("cpu").manual_seed(0),
        dtype=normalize.mean.dtype,
        device="cpu",  # torch.set_default_device may name another
    )
    return drawn.permute(0, 3, 1, 2) / normalize.scale + normalize.mean
