"""Fingerprint of everything that determines a fit: one hash each for parameters, images and so on.

Two fits with equal fingerprints have bit-identical results. The fingerprint names the files of
checkpoints, and lets processes that train together check that they train the same.
"""

import os
from collections.abc import Iterable, Mapping
from functools import partial
from hashlib import sha256
from types import FunctionType

import numpy as np
import torch
from torch import nn

import sklearn_cnn
from sklearn_cnn.machine.device import processor
from sklearn_cnn.training.examples import ROWS_OF_A_BLOCK, Examples

Fingerprint = dict[str, str]
"""A hash or a short text for each kind of input of a fit."""

NO_MATTER = (
    "callbacks", "checkpoint", "data_format", "device", "feature_layer", "image_shape",
    "max_epochs", "random_state", "verbose", "warm_start",
)  # fmt: skip
"""Parameters that do not change a fit, or that are hashed otherwise: in the seed or images."""


def parameters_that_matter(parameters: Mapping[str, object]) -> str:
    """Hash the parameters of an estimator, except ``NO_MATTER``."""
    named = sorted((n, v) for n, v in parameters.items() if n not in NO_MATTER)
    return _hash(text_of(named).encode())


def text_of(value: object) -> str:
    """Describe the value of a parameter by its content, not by its address in memory.

    A function is described by its name and its code, a class by its name.
    """
    match value:
        case partial():
            return f"partial({text_of([value.func, value.args, value.keywords])})"
        case FunctionType():
            code = value.__code__
            held = [text_of(cell.cell_contents) for cell in value.__closure__ or ()]
            constants = [c for c in code.co_consts if not hasattr(c, "co_code")]
            digest = _hash(code.co_code + repr((constants, code.co_names, held)).encode())
            return f"{value.__module__}.{value.__qualname__}:{digest}"
        case type():
            return f"{value.__module__}.{value.__qualname__}"
        case np.ndarray() | np.generic():
            return text_of(value.tolist())
        case dict():
            return f"{{{', '.join(f'{text_of(k)}: {text_of(v)}' for k, v in value.items())}}}"
        case list() | tuple():
            return (
                f"[{', '.join(map(text_of, value))}]"  # a list of layers is equivalent to a tuple
            )
        case os.PathLike():
            return str(os.fspath(value))
    if type(value).__repr__ is object.__repr__:  # it would show an address
        return f"{text_of(type(value))}({text_of(getattr(value, '__dict__', {}))})"
    return repr(value)


def of_examples(examples: Examples | None) -> Fingerprint:
    """Hash the images, targets and weights of the examples."""
    if examples is None:
        return {}
    blocks = range(0, len(examples), ROWS_OF_A_BLOCK)
    pixels = (examples.images[examples.rows[i : i + ROWS_OF_A_BLOCK]] for i in blocks)
    return {
        "images": _hash_arrays(pixels),
        "targets": _hash_arrays([examples.targets]),
        "weights": _hash_arrays([examples.weights]),
    }


def of_network(network: nn.Module) -> str:
    """Hash the state and the structure of a network."""
    state = [value.detach() for value in network.state_dict().values()]
    shapes = [tuple(value.shape) for value in state]
    learns = [weight.requires_grad for weight in network.parameters()]
    # cloned, because torch can only view values as bytes if the strides are plain
    flat = (value.reshape(-1).clone() for value in state)
    values = (value.cpu().view(torch.uint8).numpy() for value in flat)
    return _hash(f"{network} {shapes} {learns} {_hash_arrays(values)}".encode())


def of_machine(device: torch.device, in_bfloat16: bool) -> Fingerprint:
    """Describe the machine: another processor sums in another order."""
    versions = (
        f"sklearn_cnn {sklearn_cnn.__version__}, torch {torch.__version__}, numpy {np.__version__}"
    )
    arithmetic = "bfloat16" if in_bfloat16 else "as the weights"
    return {"processor": processor(device), "arithmetic": arithmetic, "versions": versions}


def joined(fingerprint: Fingerprint) -> str:
    """Return a single hash of the fingerprint."""
    return _hash(text_of(sorted(fingerprint.items())).encode())


def _hash(content: bytes) -> str:
    return sha256(content).hexdigest()


def _hash_arrays(arrays: Iterable[np.ndarray]) -> str:
    digest = sha256()
    for array in arrays:
        digest.update(f"{array.dtype.str} {array.shape[1:]} ".encode())
        digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return digest.hexdigest()
