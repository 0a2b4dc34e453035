"""Which values of a network are an image's features: what enters or leaves one of its layers."""

from collections.abc import Sequence
from math import prod
from typing import NamedTuple

from torch import nn

from sklearn_cnn._checks import did_you_mean
from sklearn_cnn.network.table import LayerRow, layer_names

DENSE, FLATTEN = "dense", "flatten"
"""The names that every network knows, whatever its layers are called."""


class Source(NamedTuple):
    """Where values are taken: after a layer, or before it."""

    layer: str
    is_input: bool = False


def check_feature_layer(feature_layer: str, rows: Sequence[LayerRow]) -> None:
    """Refuse a name that is no layer's.

    Parameters
    ----------
    feature_layer : str
        The parameter of the estimator.
    rows : sequence of LayerRow
        The layers of the network.

    Raises
    ------
    ValueError
        Naming those that there are.
    """
    names = layer_names(rows)
    choices = (DENSE, FLATTEN, *names)
    if feature_layer not in choices:
        raise ValueError(
            f"feature_layer must be {DENSE!r} (what feeds the output layer), {FLATTEN!r}, or the "
            f"name of a layer: {', '.join(names)}. Got feature_layer={feature_layer!r}."
            f"{did_you_mean(feature_layer, choices)}"
        )


def feature_source(
    feature_layer: str, network: nn.Module, rows: Sequence[LayerRow], n_outputs: int
) -> Source:
    """Find the values that the ``feature_layer`` parameter asks for.

    Parameters
    ----------
    feature_layer : str
        "dense" for what feeds the output layer, "flatten" for what flattening gives, or the name of
        a layer for what that gives.
    network : torch.nn.Module
        The built network.
    rows : sequence of LayerRow
        Its layers, in the order in which they run.
    n_outputs : int
        Number of classes, by which the output layer of a user-defined module is known.

    Returns
    -------
    Source

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
        f"feature_layer={feature_layer!r} looks for a layer {kind}, and the module that layers "
        f"returned has none. Name one of its layers: {', '.join(row.name for row in rows)}."
    )


def flattened_source(network: nn.Module, rows: Sequence[LayerRow]) -> Source:
    """Find the vector that the feature maps are flattened to.

    It leaves a flattening layer, the first there is; or enters the first layer that gives a vector,
    where a user-defined module flattens by a function.
    """
    for row in rows:
        if row.name == FLATTEN or isinstance(network.get_submodule(row.name), nn.Flatten):
            return Source(row.name)
    for row in rows:
        if len(row.output_shape) == 1:
            return Source(row.name, is_input=True)
    return Source(rows[-1].name)


def n_values(source: Source, network: nn.Module, rows: Sequence[LayerRow]) -> int:
    """Count the values of an image that are taken there."""
    if source.is_input:
        layer = network.get_submodule(source.layer)
        assert isinstance(layer, nn.Linear)
        return layer.in_features
    shapes = {row.name: row.output_shape for row in rows}  # of a layer that ran twice, the last
    return prod(shapes[source.layer])
