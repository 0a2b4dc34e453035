"""What some layers of a network give, in place of its logits."""

import threading
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import nn

from sklearn_cnn.network.copying import copy_network
from sklearn_cnn.network.feature_layer import Source


class LayerOutputs(nn.Module):
    """Run a network, and give what enters or leaves some of its layers.

    It works on a copy, since others may compute with the network meanwhile, and keeps apart what
    several threads compute with that copy at once.

    Parameters
    ----------
    network : torch.nn.Module
        Takes pixels of shape (n, channels, height, width).
    sources : sequence of Source
        Where to take values.

    Examples
    --------
    >>> import torch
    >>> from sklearn_cnn.network.feature_layer import Source
    >>> from sklearn_cnn.network.layer_outputs import LayerOutputs
    >>> network = torch.nn.Sequential(torch.nn.ReLU(), torch.nn.Flatten())
    >>> maps, vector = LayerOutputs(network, [Source("0"), Source("1")])(torch.ones(1, 3, 4, 5))
    >>> maps.shape, vector.shape
    (torch.Size([1, 4, 5, 3]), torch.Size([1, 60]))
    """

    def __init__(self, network: nn.Module, sources: Sequence[Source]) -> None:
        super().__init__()
        self.network = copy_network(network)
        self.sources = tuple(sources)
        self._seen = threading.local()
        for source in self.sources:
            layer = self.network.get_submodule(source.layer)
            if source.is_input:
                note = partial(_note_input, self._seen, source)
                layer.register_forward_pre_hook(note, with_kwargs=True)
            else:
                layer.register_forward_hook(partial(_note_output, self._seen, source))

    def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Run the network.

        Parameters
        ----------
        pixels : tensor of shape (n, channels, height, width), any real dtype

        Returns
        -------
        tuple of tensors of shape (n, height, width, channels) or (n, values)
            One for each source, in the type of the logits; of a layer that runs several times, the
            last.

        Raises
        ------
        ValueError
            If a layer's output has no row for each image.
        """
        self._seen.values = {}
        dtype = self.network(pixels).dtype
        values = [self._seen.values[source].to(dtype) for source in self.sources]
        del self._seen.values
        for source, value in zip(self.sources, values, strict=True):
            if value.shape[:1] != pixels.shape[:1]:
                raise ValueError(
                    f"Layer {source.layer!r} gives values of shape {tuple(value.shape)} for "
                    f"{len(pixels)} images, not one row for each. Choose another layer."
                )
        return tuple(value.permute(0, 2, 3, 1) if value.ndim == 4 else value for value in values)


# A hook that knew its LayerOutputs would keep the copy in memory until Python looks for cycles.


def _note_input(seen: Any, source: Source, _: nn.Module, inputs: Any, named: Any) -> None:
    seen.values[source] = (*inputs, *named.values())[0].clone()


def _note_output(seen: Any, source: Source, _: nn.Module, __: Any, output: Any) -> None:
    seen.values[source] = output.clone()  # the next layer may write into it
