"""The layers of a built network: a table of their outputs, and their values for images."""

import threading
from collections.abc import Sequence
from functools import partial
from math import prod
from typing import Any, NamedTuple

import torch
from torch import nn

from sklearn_cnn._messages import did_you_mean
from sklearn_cnn.machine.isolation import isolated
from sklearn_cnn.network.modules import StridedPointwise, copy_network

DENSE, FLATTEN = "dense", "flatten"
"""The names of features that every network has, regardless of the names of its layers."""


class LayerRow(NamedTuple):
    """One layer of a built network, and its output for one image.

    Attributes
    ----------
    name : str
        Name of the module, as in ``net_.module_.named_modules()``.
    kind : str
        Class of the module.
    output_shape : tuple of int
        (height, width, channels) of feature maps, or (values,) of a vector.
    n_parameters : int
        Number of parameters, including frozen ones.
    """

    name: str
    kind: str
    output_shape: tuple[int, ...]
    n_parameters: int


class Source(NamedTuple):
    """A position where values are taken: after a layer, or before it."""

    layer: str
    is_input: bool = False


def innermost_modules(network: nn.Module) -> list[tuple[str, nn.Module]]:
    """Return the modules without submodules, which are the rows of the table, with their names."""
    return [item for item in network.named_modules() if not any(item[1].children())]


def blank_images(
    n: int, image_shape: tuple[int, int, int], device: torch.device | None = None
) -> torch.Tensor:
    """Make images of shape (n, channels, height, width), uint8, of zeros."""
    height, width, channels = image_shape
    return torch.zeros((n, channels, height, width), dtype=torch.uint8, device=device)


def layer_table(network: nn.Module, image_shape: tuple[int, int, int]) -> tuple[LayerRow, ...]:
    """Run a blank image through a network, and record the output of each innermost module.

    On the meta device, nothing is computed, and the rows are the same.

    Parameters
    ----------
    network : torch.nn.Module
        A module that takes pixels of shape (n, channels, height, width).
    image_shape : tuple of int
        Height, width, channels.

    Returns
    -------
    tuple of LayerRow
        The rows, in the order of computation.
    """
    rows: list[LayerRow] = []

    def note(name: str, module: nn.Module, _: object, output: object) -> None:
        if isinstance(output, torch.Tensor):
            n_parameters = sum(weight.numel() for weight in module.parameters())
            shape = _channels_last(output).shape[1:]
            rows.append(LayerRow(name, type(module).__name__, tuple(shape), n_parameters))

    handles = [
        module.register_forward_hook(partial(note, name))
        for name, module in innermost_modules(network)
    ]
    try:
        network.eval()
        device = next(network.buffers()).device
        computes_on = torch.device("cpu") if device.type == "meta" else device
        with isolated(computes_on), torch.no_grad():
            network(blank_images(1, image_shape, device))
    finally:
        for handle in handles:
            handle.remove()
    return tuple(rows)


def layer_names(rows: Sequence[LayerRow]) -> list[str]:
    """Return the names in the order of the rows, without duplicates."""
    return list(dict.fromkeys(row.name for row in rows))


def n_multiplications(rows: Sequence[LayerRow]) -> int:
    """Return the number of multiplications of the layers for one image."""
    return sum(row.n_parameters * prod(row.output_shape[:-1]) for row in rows)


def bfloat16_hazard(network: nn.Module, rows: Sequence[LayerRow] = ()) -> str | None:
    """Name a convolution that torch computes wrongly or slowly in bfloat16 on CPUs, if any.

    Its stride exceeds its kernel, or it is dilated or grouped, or strides to maps one pixel wide,
    which the rows show.
    """
    one_pixel_wide = {row.name for row in rows if row.output_shape[1:-1] == (1,)}
    modules: dict[str, nn.Module] = dict(network.named_modules())
    for name, module in modules.items():
        if isinstance(module, nn.Conv2d) and not isinstance(module, StridedPointwise):
            steps_over = any(
                step > size for step, size in zip(module.stride, module.kernel_size, strict=True)
            )
            steps_to_a_line = name in one_pixel_wide and module.stride[1] > 1
            if steps_over or steps_to_a_line or module.groups > 1 or max(module.dilation) > 1:
                return name
    return None


def check_feature_layer(feature_layer: str, rows: Sequence[LayerRow]) -> None:
    """Raise if no layer has this name, with the names of the layers."""
    names = layer_names(rows)
    choices = (DENSE, FLATTEN, *names)
    if feature_layer not in choices:
        raise ValueError(
            f"feature_layer must be {DENSE!r} (the input of the output layer), {FLATTEN!r}, or the "
            f"name of a layer: {', '.join(names)}. Got feature_layer={feature_layer!r}."
            f"{did_you_mean(feature_layer, choices)}"
        )


def feature_source(
    feature_layer: str, network: nn.Module, rows: Sequence[LayerRow], n_outputs: int
) -> Source:
    """Find the source of the values selected by the ``feature_layer`` parameter.

    Parameters
    ----------
    feature_layer : str
        "dense" for the input of the output layer, "flatten" for the output of flattening, or the
        name of a layer for its output.
    network : torch.nn.Module
        The built network.
    rows : sequence of LayerRow
        Layers of the network, in the order of computation.
    n_outputs : int
        Number of outputs, which identifies the output layer of a user-defined module.

    Returns
    -------
    Source
        Layer, and whether its input or its output is taken.

    Raises
    ------
    ValueError
        If the network has no such layer.
    """
    check_feature_layer(feature_layer, rows)
    if feature_layer in (row.name for row in rows):
        return Source(feature_layer)
    for row in reversed(rows):
        module = network.get_submodule(row.name)
        if feature_layer == FLATTEN and isinstance(module, nn.Flatten):
            return Source(row.name)
        is_output = isinstance(module, nn.Linear) and row.output_shape == (n_outputs,)
        if feature_layer == DENSE and is_output:
            return Source(row.name, is_input=True)
    kind = "torch.nn.Flatten" if feature_layer == FLATTEN else f"torch.nn.Linear(..., {n_outputs})"
    raise ValueError(
        f"feature_layer={feature_layer!r} needs a layer {kind}, but the module that layers "
        f"returned has none. Use the name of a layer: {', '.join(row.name for row in rows)}."
    )


def flattened_source(network: nn.Module, rows: Sequence[LayerRow]) -> Source:
    """Find the vector to which the feature maps are flattened.

    It is the output of the first flattening layer. If a user-defined module flattens with a
    function, it is the input of the first layer that returns a vector.
    """
    for row in rows:
        if row.name == FLATTEN or isinstance(network.get_submodule(row.name), nn.Flatten):
            return Source(row.name)
    for row in rows:
        if len(row.output_shape) == 1:
            return Source(row.name, is_input=True)
    return Source(rows[-1].name)


def n_values(source: Source, network: nn.Module, rows: Sequence[LayerRow]) -> int:
    """Return the number of values per image of a source."""
    if source.is_input:
        layer = network.get_submodule(source.layer)
        assert isinstance(layer, nn.Linear)
        return layer.in_features
    shapes = {row.name: row.output_shape for row in rows}  # of a layer that ran twice, the last
    return prod(shapes[source.layer])


class LayerOutputs(nn.Module):
    """Run a network, and return the inputs or outputs of some of its layers.

    It uses a copy, because others may compute with the network at the same time. Several threads
    can use this copy at once.

    Parameters
    ----------
    network : torch.nn.Module
        Network, which takes pixels of shape (n, channels, height, width).
    sources : sequence of Source
        Positions where values are taken.

    Examples
    --------
    >>> import torch
    >>> from sklearn_cnn.network.outputs import LayerOutputs, Source
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
            note = partial(_note, self._seen, source)
            if source.is_input:
                layer.register_forward_pre_hook(note, with_kwargs=True)
            else:
                layer.register_forward_hook(note)

    def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Run the network.

        Parameters
        ----------
        pixels : tensor of shape (n, channels, height, width), any real dtype

        Returns
        -------
        tuple of tensors of shape (n, height, width, channels) or (n, values)
            Values of each source, in the dtype of the logits; the last ones if a layer runs several
            times.

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
                    f"Layer {source.layer!r} returns values of shape {tuple(value.shape)} for "
                    f"{len(pixels)} images, not one row per image. Choose another layer."
                )
        return tuple(map(_channels_last, values))


def _note(seen: threading.local, source: Source, _: nn.Module, inputs: Any, last: Any) -> None:
    """Keep a copy of the input or output of a layer, because the next layer may modify it.

    ``last`` is the output of the layer for a hook after it, or its keyword arguments for a hook
    before it. A hook that refers to its LayerOutputs would keep the network in memory until garbage
    collection.
    """
    values = (*inputs, *last.values())[0] if source.is_input else last
    seen.values[source] = values.clone()


def _channels_last(values: torch.Tensor) -> torch.Tensor:
    return values.permute(0, 2, 3, 1) if values.ndim == 4 else values
