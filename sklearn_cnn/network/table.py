"""One row a layer: its name, kind, output shape and parameters, seen on a blank image."""

from collections.abc import Sequence
from math import prod
from typing import Any, NamedTuple

import torch
from torch import nn


class LayerRow(NamedTuple):
    """What one layer of a built network does to one image.

    Attributes
    ----------
    name : str
        Name of the module, as in ``net_.module_.named_modules()``.
    kind : str
        Class of the module.
    output_shape : tuple of int
        (height, width, channels) of feature maps, or (values,) of a vector.
    n_parameters : int
        Number of trainable values.
    """

    name: str
    kind: str
    output_shape: tuple[int, ...]
    n_parameters: int


def layer_names(rows: Sequence[LayerRow]) -> list[str]:
    """Return the names in the order of the rows; of a layer that runs twice, once."""
    return list(dict.fromkeys(row.name for row in rows))


def n_multiplications(rows: Sequence[LayerRow]) -> int:
    """Return how many multiplications the layers take for one image."""
    return sum(row.n_parameters * prod(row.output_shape[:-1]) for row in rows)


def innermost_modules(network: nn.Module) -> list[tuple[str, nn.Module]]:
    """Return the modules that hold no others, which have the rows, with their names."""
    return [item for item in network.named_modules() if not any(item[1].children())]


def layer_table(network: nn.Module, image_shape: tuple[int, int, int]) -> tuple[LayerRow, ...]:
    """Run a blank image through a network, and note what each innermost module gives.

    Parameters
    ----------
    network : torch.nn.Module
        A module that takes pixels of shape (n, channels, height, width).
    image_shape : tuple of int
        Height, width, channels.

    Returns
    -------
    tuple of LayerRow
        In the order in which the modules ran.
    """
    rows: list[LayerRow] = []

    def note(name: str, module: nn.Module) -> Any:
        def hook(_: nn.Module, __: Any, output: Any) -> None:
            if isinstance(output, torch.Tensor):
                trainable = sum(p.numel() for p in module.parameters() if p.requires_grad)
                rows.append(LayerRow(name, type(module).__name__, _image_shape(output), trainable))

        return module.register_forward_hook(hook)

    handles = [note(name, module) for name, module in innermost_modules(network)]
    try:
        height, width, channels = image_shape
        device = next(network.buffers()).device
        network.eval()
        with torch.no_grad():
            network(torch.zeros((1, channels, height, width), dtype=torch.uint8, device=device))
    finally:
        for handle in handles:
            handle.remove()
    return tuple(rows)


def _image_shape(output: torch.Tensor) -> tuple[int, ...]:
    if output.ndim == 4:
        _, channels, height, width = output.shape
        return height, width, channels
    return tuple(output.shape[1:])
