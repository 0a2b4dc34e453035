"""A network that turns images into features: made, checked, kept for the next call, and run."""

import inspect
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import nn

from sklearn_cnn._forks import ProcessLock
from sklearn_cnn.network.modules import fold_norms
from sklearn_cnn.network.pretrained import digest_of, load_pretrained, published, read_tensors
from sklearn_cnn.training.optimizer import as_value
from sklearn_cnn.training.prediction import compute_in_chunks

COLOUR = 3
"""Channels that a network takes, unless ``mean`` or ``std`` has another number of values."""

LARGEST_FRACTION = 2
"""A larger mean or standard deviation is one of 0 to 255."""

NETWORKS_KEPT = 2
"""Networks that a process keeps for the next call: those that were used last."""

NetworkMaker = str | Callable[[], nn.Module]
"""The name of a published network, or what makes a user-defined one."""

Values = float | Sequence[float] | np.ndarray
"""One number, or one for each channel."""


class FeatureNetwork:
    """A network on its device, with what is known of it.

    Parameters
    ----------
    network : str or callable () -> torch.nn.Module
        A published network, or what makes a user-defined one.
    weights : path or None
        A file of weights, in place of those of the package or the callable.
    device : torch.device
        Where it computes.

    Raises
    ------
    ImportError
        If the package of a published network is not installed.
    ValueError, TypeError
        If the weights are of another network, or the callable makes no module.
    OSError
        If the file cannot be read.
    """

    def __init__(
        self, network: NetworkMaker, weights: str | os.PathLike[str] | None, device: torch.device
    ) -> None:
        self.smallest_side = 1
        self.n_features: dict[tuple[int, ...], int] = {}  # by the shape of an image
        config: Mapping[str, Values] = {}
        if isinstance(network, str):
            known = published(network)
            self.smallest_side = known.shrinks
            config = {"mean": known.mean, "std": known.std}
            module: nn.Module = load_pretrained(network, weights)
            fold_norms(module)
        else:
            module = _made_module(network)
            if weights is not None:
                _load_by_name(module, Path(weights).expanduser())
            found = getattr(module, "pretrained_cfg", None)  # timm's
            if isinstance(found, Mapping):
                config = found
        self.mean, self.std = config.get("mean"), config.get("std")
        # not to(float32), which makes complex weights real
        self.module = module.float().eval().requires_grad_(False).to(device)
        for tensor in self.module.parameters():
            if tensor.ndim == 4:
                tensor.data = tensor.data.contiguous(memory_format=torch.channels_last)

    @cached_property
    def digest(self) -> str:
        """Tell what the network computes from what others do."""
        return digest_of(self.module)


class FeatureExtractor(nn.Module):
    """Standardise images, run a network on them, and average its maps.

    Each thread computes with a replica of the network that shares its weights, so that a
    user-defined module may keep what it likes as attributes.

    Parameters
    ----------
    network : FeatureNetwork
        Gives features (n, k), or maps (n, channels, height, width).
    mean, std : ndarray of shape (channels,), float64
        As fractions of white.
    white : float
        Which value of a pixel is white.
    image : ndarray of shape (1, height, width, channels)
        One of those to come.
    device : torch.device
        That of the network.

    Attributes
    ----------
    n_features : int
        How many features it gives.
    """

    mean: torch.Tensor
    scale: torch.Tensor

    def __init__(
        self,
        network: FeatureNetwork,
        mean: np.ndarray,
        std: np.ndarray,
        white: float,
        image: np.ndarray,
        device: torch.device,
    ) -> None:
        super().__init__()
        for name, values in (("mean", mean * white), ("scale", 1 / (std * white))):
            tensor = torch.tensor(values, dtype=torch.float32, device=device)
            self.register_buffer(name, tensor.reshape(1, -1, 1, 1))
        self.network = network.module
        self.white = white
        self._replicas = threading.local()
        self._fractions = mean.tolist(), std.tolist()
        self._source = network
        shape = image.shape[1:]
        if shape not in network.n_features:
            blank = np.zeros_like(image)
            (features,) = compute_in_chunks(self, blank, 1, 1, device)
            network.n_features[shape] = features.shape[1]
        self.n_features: int = network.n_features[shape]

    def key(self) -> str:
        """Tell what it computes of an image from what others do."""
        return f"{self._source.digest} {self._fractions}"

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Compute the features (n, k) of pixels (n, channels, height, width), any real dtype.

        Images of one channel become those of as many as there are means.
        """
        if not hasattr(self._replicas, "network"):
            weights = {id(tensor): tensor for tensor in _tensors_of(self.network)}
            self._replicas.network = deepcopy(self.network, weights)
        images = (pixels.to(self.mean.dtype) - self.mean) * self.scale
        images = images.contiguous(memory_format=torch.channels_last)
        try:
            outputs: object = self._replicas.network(images)
        except (RuntimeError, ValueError, TypeError, AssertionError) as error:
            if isinstance(error, torch.OutOfMemoryError):
                raise
            _, channels, height, width = images.shape
            raise ValueError(
                f"The network cannot take images of {height} x {width} pixels with {channels} "
                f"channels: {error}. Read them in the size that it was trained for, by "
                "ImageReader(size=224) for example."
            ) from error
        return _as_features(outputs, len(pixels))


def find_network(
    network: NetworkMaker, weights: str | os.PathLike[str] | None, device: torch.device
) -> FeatureNetwork:
    """Make a network, or return it if it was one of the last that this process has made.

    A callable counts as the same if it is equal, or a partial of equal parts; a file of weights,
    if neither its size nor its time of modification has changed.
    """
    key: list[object] = [as_value(network), device]
    if weights is not None:
        status = os.stat(Path(weights).expanduser())
        key += [os.fspath(weights), status.st_size, status.st_mtime_ns, status.st_ino]
    with _lock.held:
        for number, (kept_key, kept) in enumerate(_kept):
            if _is_same(kept_key, key):
                _kept.append(_kept.pop(number))
                return kept
        made = FeatureNetwork(network, weights, device)
        _kept.append((key, made))
        del _kept[:-NETWORKS_KEPT]
        return made


_kept: list[tuple[list[object], FeatureNetwork]] = []
_lock = ProcessLock()


def _is_same(key: list[object], other: list[object]) -> bool:
    """Compare keys; those with values that give no answer, such as arrays, differ."""
    try:
        return bool(key == other)
    except (ValueError, TypeError):
        return False


def statistics_of_images(
    network: FeatureNetwork, mean: Values | None, std: Values | None
) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and standard deviation, as fractions of white, for each channel of a network.

    Raises
    ------
    ValueError
        If they are not given and the network does not know them, or are no such numbers.
    """
    found: dict[str, np.ndarray] = {}
    for name, given, known in (("mean", mean, network.mean), ("std", std, network.std)):
        value = known if given is None else given
        if value is None:
            raise ValueError(
                f"The module that network returned does not say which {name} its images were "
                "standardised with (it has no pretrained_cfg, as timm's have). Pass mean= and "
                "std= as fractions of white, such as mean=(0.485, 0.456, 0.406), std=(0.229, "
                "0.224, 0.225), which most networks of torchvision were trained with."
            )
        found[name] = np.asarray(value, dtype=np.float64)
        if found[name].ndim > 1 or not found[name].size or not np.isfinite(found[name]).all():
            raise ValueError(
                f"{name} must be a number, or one for each channel. Got {name}={value!r}."
            )
        if found[name].max() > LARGEST_FRACTION:
            raise ValueError(
                f"{name} is a fraction of white, whatever the values of X are. Got {name}="
                f"{value!r}: divide it by 255."
            )
    if found["std"].min() <= 0:
        raise ValueError(f"std must be above 0. Got std={std!r}.")
    lengths = [values.size for values in found.values() if values.ndim]
    n_channels = max(lengths, default=COLOUR)
    if min(lengths, default=n_channels) != n_channels:
        raise ValueError(
            f"mean and std must have a value for each channel. Got mean={mean!r} and std={std!r}."
        )
    means, stds = (np.broadcast_to(values, n_channels) for values in found.values())
    return means, stds


def _made_module(network: Callable[[], nn.Module]) -> nn.Module:
    """Call a user-defined function, and refuse what is no module."""
    if isinstance(network, nn.Module):
        raise TypeError(
            "network must be the name of a network, or a callable () that returns a "
            f"torch.nn.Module. Got a module, {type(network).__name__}: pass a function that makes "
            "it, so that clones and pickles of the estimator stay small."
        )
    try:
        inspect.signature(network).bind()
    except TypeError as error:
        raise TypeError(
            f"network must be callable as network(). Got {network!r}: {error}."
        ) from error
    except ValueError:
        pass  # a callable written in C may not tell its signature
    module: object = network()
    if not isinstance(module, nn.Module):
        raise TypeError(
            f"network must return a torch.nn.Module. {network!r} returned {type(module).__name__}."
        )
    if any(tensor.is_meta for tensor in _tensors_of(module)):
        raise ValueError(
            "The module that network returned has weights on the 'meta' device, which holds no "
            "values. Make it on the CPU."
        )
    return module


def _load_by_name(module: nn.Module, path: Path) -> None:
    """Load a file of weights into a user-defined module."""
    tensors = read_tensors(path.read_bytes(), path)
    try:
        module.load_state_dict(tensors)
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise ValueError(
            f"weights={str(path)!r} are not the weights of the module that network returned: "
            f"{reason}"
        ) from error


def _tensors_of(module: nn.Module) -> Iterator[torch.Tensor]:
    yield from module.parameters()
    yield from module.buffers()


def _as_features(outputs: object, n_images: int) -> torch.Tensor:
    """Average maps, leave vectors, and refuse what is neither."""
    if isinstance(outputs, torch.Tensor) and outputs.shape[:1] == (n_images,):
        if outputs.ndim == 4:
            return outputs.mean((2, 3)).float()
        if outputs.ndim == 2:
            return outputs.float()
    shape = tuple(outputs.shape) if isinstance(outputs, torch.Tensor) else type(outputs).__name__
    raise TypeError(
        "The module that network returned must give features of shape (n, k), or maps of shape "
        f"(n, channels, height, width), which are averaged. For {n_images} images it gave {shape}. "
        "Return a module whose forward picks one value: the first of several outputs, or the class "
        "token of (n, tokens, k)."
    )
