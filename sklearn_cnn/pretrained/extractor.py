"""Networks that compute features: making, checking, caching and running them."""

import inspect
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import nn
from torch.nn.parameter import is_lazy

from sklearn_cnn._forks import ProcessLock
from sklearn_cnn.machine.isolation import isolated
from sklearn_cnn.network.modules import fold_norms
from sklearn_cnn.network.pretrained import digest_of, load_pretrained, published, read_tensors
from sklearn_cnn.training.optimizer import as_value

COLOUR = 3
"""Number of channels of a network, unless ``mean`` or ``std`` has another length."""

CONFIGS = ("pretrained_cfg", "preprocess_cfg")
"""Attributes of timm's and open_clip's modules with the mean and standard deviation."""

LARGEST_FRACTION = 2
"""A larger mean or standard deviation refers to pixels from 0 to 255."""

EQUAL = 1e-3
"""Tolerance for features of the same image: rounding on GPUs; random features differ more."""

NETWORKS_KEPT = 2
"""Number of most recently used networks that a process keeps."""

NetworkMaker = str | Callable[[], nn.Module]
"""The name of a published network, or a callable that makes a user-defined one."""

Values = float | Sequence[float] | np.ndarray
"""One number, or one per channel."""


class Probe(NamedTuple):
    """Output of a network for a noise image."""

    n_features: int
    answer: str
    """Hash of the features, which distinguishes networks with equal layers and weights."""


class FeatureNetwork:
    """A network on its device, with its properties.

    Parameters
    ----------
    network : str or callable () -> torch.nn.Module
        Name of a published network, or a callable that makes a user-defined one.
    weights : path or None
        Weights file, used instead of the weights of the package or the callable.
    device : torch.device
        Device of the network.

    Raises
    ------
    ImportError
        If the package of a published network is not installed.
    ValueError, TypeError
        If the weights belong to another network, or the callable does not return a module.
    OSError
        If the file cannot be read.
    """

    def __init__(
        self, network: NetworkMaker, weights: str | os.PathLike[str] | None, device: torch.device
    ) -> None:
        self.smallest_side = 1
        self.memory_format = torch.channels_last
        self.probes: dict[tuple[int, ...], Probe] = {}  # by the shape of an image
        self.n_features: int | None = None  # before a probe
        config: Mapping[str, Values] = {}
        if isinstance(network, str):
            known = published(network)
            self.smallest_side, self.n_features = known.shrinks, known.n_features
            config = {"mean": known.mean, "std": known.std}
            module: nn.Module = load_pretrained(network, weights)
            fold_norms(module)
        else:
            module = _made_module(network)
            if weights is not None:
                _load_by_name(module, Path(weights).expanduser())
            for name in CONFIGS:
                found = getattr(module, name, None)
                config = found if isinstance(found, Mapping) else config
        self.mean, self.std = config.get("mean"), config.get("std")
        # not to(float32), which makes complex weights real
        self.module = module.float().eval().requires_grad_(False).to(device)
        self._lay_out(torch.channels_last)
        try:
            self.replicate()
            self.has_replicas = True
        except Exception:  # of any type: it holds a lock, a file, tensors with a gradient
            self.has_replicas = False

    def replicate(self) -> nn.Module:
        """Copy the module for another thread; the weights are shared."""
        return deepcopy(self.module, {id(tensor): tensor for tensor in _tensors_of(self.module)})

    def probe(self, channels: int, height: int, width: int, device: torch.device) -> "Probe":
        """Compute a noise image, and check that its features only depend on this image.

        Convolutions are fastest in channels_last memory. Modules that view their maps as vectors do
        not support it, and compute in contiguous memory.

        Raises
        ------
        ValueError, TypeError
            If the network cannot take such images, or its outputs are not features, or are random
            or depend on other images.
        """
        shape = channels, height, width
        with _lock.held:
            if shape not in self.probes:
                noise = np.random.RandomState(0).standard_normal((3, *shape)).astype(np.float32)
                images = torch.from_numpy(noise).to(device)
                with isolated(device), torch.inference_mode():
                    first = self._compute_in_either_memory(images[[0, 1]])
                    again = self.compute(self.module, images[[0, 2]])
                self.probes[shape] = _compare(first[0].cpu().numpy(), again[0].cpu().numpy())
            return self.probes[shape]

    def _compute_in_either_memory(self, images: torch.Tensor) -> torch.Tensor:
        try:
            return self.compute(self.module, images)
        except ValueError:
            self._lay_out(torch.contiguous_format)
            try:
                return self.compute(self.module, images)
            except ValueError:  # for another reason
                self._lay_out(torch.channels_last)
                raise

    def compute(self, module: nn.Module, images: torch.Tensor) -> torch.Tensor:
        """Compute the features (n, k) of standardised images with the module or its replica."""
        images = images.contiguous(memory_format=self.memory_format)
        try:
            outputs: object = module(images)
        except (RuntimeError, ValueError, TypeError, AssertionError) as error:
            if isinstance(error, torch.OutOfMemoryError):
                raise
            _, channels, height, width = images.shape
            raise ValueError(
                f"The network cannot take images of {height} x {width} pixels with {channels} "
                f"channels: {str(error).rstrip('.')}. Read images of the size that it was trained "
                "for, for example with ImageReader(size=224). If it needs another number of "
                "channels, pass mean= and std= with one value per channel."
            ) from error
        return _as_features(outputs, images.shape)

    def _lay_out(self, memory_format: torch.memory_format) -> None:
        self.memory_format = memory_format
        for tensor in self.module.parameters():
            if tensor.ndim == 4:
                tensor.data = tensor.data.contiguous(memory_format=memory_format)

    @cached_property
    def digest(self) -> str:
        """Hash that identifies the network."""
        return digest_of(self.module)


class FeatureExtractor(nn.Module):
    """Standardise images, run a network on them, and average its maps.

    Each thread computes with a replica of the network that shares its weights, so that a
    user-defined module may set attributes.

    Parameters
    ----------
    network : FeatureNetwork
        Network that returns features (n, k), or maps (n, channels, height, width).
    mean, std : ndarray of shape (channels,), float64
        Mean and standard deviation, as fractions of white.
    white : float
        Pixel value of white.
    image_shape : tuple of int
        Height, width and channels of the images.
    device : torch.device
        Device of the network.

    Attributes
    ----------
    n_features : int
        Number of features.
    has_replicas : bool
        Whether threads may compute in parallel: a module that cannot be copied is not shared.
    """

    n_features: int
    mean: torch.Tensor
    scale: torch.Tensor

    def __init__(
        self,
        network: FeatureNetwork,
        mean: np.ndarray,
        std: np.ndarray,
        white: float,
        image_shape: tuple[int, ...],
        device: torch.device,
    ) -> None:
        super().__init__()
        for name, values in (("mean", mean * white), ("scale", 1 / (std * white))):
            tensor = torch.tensor(values, dtype=torch.float32, device=device)
            self.register_buffer(name, tensor.reshape(1, -1, 1, 1))
        self.network = network.module
        self.white = white
        self.has_replicas = network.has_replicas
        self._replicas = threading.local()
        self._fractions = mean.tolist(), std.tolist()
        self._source = network
        self._answer = ""
        if network.n_features is None:
            height, width, _ = image_shape
            self.n_features, self._answer = network.probe(len(mean), height, width, device)
        else:
            self.n_features = network.n_features

    def key(self) -> str:
        """Return a text that identifies the computation of features."""
        return f"{self._source.digest} {self._answer} {self._fractions}"

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Compute the features (n, k) of pixels (n, channels, height, width), any real dtype.

        Images of one channel are repeated in all channels of the network.
        """
        if not self.has_replicas:
            replica = self.network
        elif hasattr(self._replicas, "network"):
            replica = self._replicas.network
        else:
            replica = self._replicas.network = self._source.replicate()
        return self._source.compute(replica, (pixels.to(self.mean.dtype) - self.mean) * self.scale)


def find_network(
    network: NetworkMaker, weights: str | os.PathLike[str] | None, device: torch.device
) -> FeatureNetwork:
    """Make a network, or return it if it is one of the last that this process has used.

    A callable is the same if it is equal, or a partial of equal parts. A weights file is the same
    if neither its size nor its modification time has changed.
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
    """Compare keys; keys with values that cannot be compared, such as arrays, differ."""
    try:
        return bool(key == other)
    except (ValueError, TypeError):
        return False


def statistics_of_images(
    network: FeatureNetwork, mean: Values | None, std: Values | None
) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean and standard deviation of each channel, as fractions of white.

    Raises
    ------
    ValueError
        If they are neither passed nor known by the network, or are invalid.
    """
    found: dict[str, np.ndarray] = {}
    for name, given, known in (("mean", mean, network.mean), ("std", std, network.std)):
        value = known if given is None else given
        if value is None:
            raise ValueError(
                f"The module that network returned does not state the {name} that its images were "
                "standardised with (it has no pretrained_cfg, unlike those of timm). Pass mean= "
                "and std= as fractions of white, such as mean=(0.485, 0.456, 0.406), std=(0.229, "
                "0.224, 0.225), the values of most torchvision networks."
            )
        found[name] = np.asarray(value, dtype=np.float64)
        if found[name].ndim > 1 or not found[name].size or not np.isfinite(found[name]).all():
            raise ValueError(
                f"{name} must be a number, or one number per channel. Got {name}={value!r}."
            )
        if found[name].max() > LARGEST_FRACTION:
            raise ValueError(
                f"{name} must be a fraction of white, for any range of X. Got {name}={value!r}. "
                "Divide it by 255."
            )
    if found["std"].min() <= 0:
        raise ValueError(f"std must be above 0. Got std={std!r}.")
    lengths = [values.size for values in found.values() if values.ndim]
    n_channels = max(lengths, default=COLOUR)
    if min(lengths, default=n_channels) != n_channels:
        raise ValueError(
            f"mean and std must have one value per channel. Got mean={mean!r} and std={std!r}."
        )
    means, stds = (np.broadcast_to(values, n_channels) for values in found.values())
    return means, stds


def _made_module(network: Callable[[], nn.Module]) -> nn.Module:
    """Call a user-defined function, and raise if it does not return a module."""
    if isinstance(network, nn.Module):
        raise TypeError(
            "network must be the name of a network, or a callable () that returns a "
            f"torch.nn.Module. Got a module, {type(network).__name__}. Pass a function that makes "
            "it, so that clones and pickles of the estimator stay small."
        )
    try:
        inspect.signature(network).bind()
    except TypeError as error:
        raise TypeError(
            f"network must be callable as network(). Got {network!r}: {error}."
        ) from error
    except ValueError:
        pass  # a callable written in C may have no signature
    module: object = network()
    if not isinstance(module, nn.Module):
        raise TypeError(
            f"network must return a torch.nn.Module. {network!r} returned {type(module).__name__}."
        )
    if any(is_lazy(tensor) for tensor in _tensors_of(module)):
        raise ValueError(
            "The module that network returned has lazy layers, whose weights do not exist until "
            "they see an image. Call the module once, or specify the input sizes of the layers."
        )
    if any(tensor.is_meta for tensor in _tensors_of(module)):
        raise ValueError(
            "The module that network returned has weights on the 'meta' device, which holds no "
            "values. Make it on the CPU."
        )
    return module


def _load_by_name(module: nn.Module, path: Path) -> None:
    """Load a weights file into a user-defined module."""
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


def _compare(features: np.ndarray, again: np.ndarray) -> Probe:
    """Raise if the features of an image are random, or depend on the other images of a batch."""
    is_finite = np.isfinite(features) & np.isfinite(
        again
    )  # others raise an error later, for all images
    first, second = features[is_finite], again[is_finite]
    if np.abs(first - second).max(initial=0) > EQUAL * np.abs(first).max(initial=0):
        raise ValueError(
            "The features of the module that network returned are random, or depend on the other "
            "images of a batch, even in eval mode. Pass training=self.training to "
            "functional.dropout, and remove track_running_stats=False from its norms."
        )
    digest = blake2b(np.ascontiguousarray(features).data, digest_size=16)
    return Probe(len(features), digest.hexdigest())


def _as_features(outputs: object, shape: torch.Size) -> torch.Tensor:
    """Average maps, return vectors unchanged, and raise for other outputs."""
    n_images, _, height, width = shape
    hint = "the first of several outputs, or the class token of (n, tokens, k)"
    if isinstance(outputs, torch.Tensor) and outputs.shape[:1] == (n_images,):
        if outputs.ndim == 4:
            _, first, second, last = outputs.shape
            stretch = _stretch(height / second, width / last)
            stretch_of_last = _stretch(height / first, width / second)
            if stretch <= stretch_of_last or (stretch < 2 and stretch_of_last > 1):
                return outputs.mean((2, 3)).float()
            hint = "the maps with their channels first, maps.permute(0, 3, 1, 2)"  # as Swin's
        elif outputs.ndim == 2:
            return outputs.float()
    found = tuple(outputs.shape) if isinstance(outputs, torch.Tensor) else type(outputs).__name__
    raise TypeError(
        "The module that network returned must return features of shape (n, k), or maps of shape "
        f"(n, channels, height, width), which are averaged. For {n_images} images, it returned "
        f"{found}. Return a module whose forward returns {hint}."
    )


def _stretch(vertical: float, horizontal: float) -> float:
    """Return how much more maps shrink an image in one direction than in the other."""
    return max(vertical, horizontal) / min(vertical, horizontal)
