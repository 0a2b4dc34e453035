"""A copy of a network, whatever its modules keep of the last batch."""

from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import UninitializedBuffer


def copy_network(network: nn.Module) -> nn.Module:
    """Copy a network as it is, trained or not.

    A user-defined module may keep the maps of a training step as an attribute. torch copies no
    value with a gradient function, so the copy shares these with the network, until it runs.

    Parameters
    ----------
    network : torch.nn.Module
        It is not changed.

    Returns
    -------
    torch.nn.Module
        With weights of its own.

    Examples
    --------
    >>> import torch
    >>> from sklearn_cnn.network.copying import copy_network
    >>> network = torch.nn.Linear(2, 1)
    >>> network.kept = network(torch.ones(1, 2))
    >>> copy_network(network)
    Linear(in_features=2, out_features=1, bias=True)
    """
    copied: nn.Module = copy_together(network)[0]
    return copied


def copy_together(network: nn.Module, *others: Any) -> tuple[Any, ...]:
    """Copy a network, and what refers to it, such as its optimizer, so that the copies do likewise.

    Parameters
    ----------
    network : torch.nn.Module
        It is not changed.
    *others : object
        What is copied along.

    Returns
    -------
    tuple
        The network's copy, and those of the others.
    """
    kept = (value for module in network.modules() for value in _with_gradient(vars(module)))
    memo = {id(value): value for value in kept}
    make: Any = UninitializedBuffer  # its annotations do not know its arguments
    for buffer in network.buffers():
        if isinstance(buffer, UninitializedBuffer):  # of a lazy norm, which torch does not copy
            memo[id(buffer)] = make(device=buffer.device, dtype=buffer.dtype)
    return deepcopy((network, *others), memo)


def _with_gradient(attributes: Any) -> Iterator[torch.Tensor]:
    """Find the values that have a gradient function, in lists and dicts too."""
    if isinstance(attributes, torch.Tensor):
        if attributes.grad_fn is not None:
            yield attributes
    elif isinstance(attributes, dict):
        yield from _with_gradient(list(attributes.values()))
    elif isinstance(attributes, list | tuple):
        for value in attributes:
            yield from _with_gradient(value)
