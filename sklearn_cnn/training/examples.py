"""Examples: images with targets and weights, and the batches gathered from them."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from itertools import zip_longest
from math import exp, log
from typing import Self

import numpy as np
import torch
from sklearn.utils import check_consistent_length
from skorch.dataset import Dataset

from sklearn_cnn._compat import _check_sample_weight
from sklearn_cnn.machine.device import is_out_of_memory, lies_on, send
from sklearn_cnn.pixels.arrays import to_host
from sklearn_cnn.training.read_ahead import MappedRows

Batch = tuple[dict[str, torch.Tensor], torch.Tensor]
"""({"images": (n, channels, height, width), "sample_weight": (n,)}, targets (n, ...)).

If the first layers of a network are fixed, their output "maps" may replace "images".
"""

Index = int | list[int] | np.ndarray | torch.Tensor
"""The index of an image, or the indices of a batch."""

Expect = Callable[[np.ndarray], None]
"""(indices of the images of the next batch) -> None."""

HEAVIEST = 1e12
"""Maximum weight relative to the first call; beyond, the optimizer's averages would break."""

ROWS_OF_A_BLOCK = 4096
"""Images that are copied at once, to a device or for fixed layers."""


class ImageDataset(Dataset):
    """Training images of a net, which gather their own batches."""

    mean_weight: float
    holds: str
    """Content of the batches: "images", or the "maps" that fixed layers of a network output."""

    def read_at_random(self) -> AbstractContextManager[Expect]:
        """Prepare for batches in any order, and yield a function that is told each next batch."""
        return nullcontext(lambda index: None)

    @property
    def X(self) -> Self:
        """Input of skorch's scoring callbacks, whose predictions are compared with ``y``."""
        return self


@dataclass(frozen=True, eq=False, repr=False)
class Examples(ImageDataset):
    """Some rows of an array of images, with a target and a weight for each.

    Parameters
    ----------
    images : ndarray of shape (n_images, height, width, channels), any real dtype
        All images, which are never modified, and never copied as a whole.
    rows : ndarray of shape (n,), int
        Indices of the images to use.
    targets : ndarray of shape (n,), or (n, n_outputs)
        Encoded targets of these images, for the objective of the net.
    weights : ndarray of shape (n,), float64
        Weights in the loss, above 0.
    log_unit : float, default=0
        Logarithm of the mean weight before scaling.
    mean_weight : float, default=1
        Mean of the weights. The history divides the loss of an epoch by it.
    holds : {"images", "maps"}, default="images"
        Whether ``images`` are images, or the output maps of fixed layers.
    """

    images: np.ndarray
    rows: np.ndarray
    targets: np.ndarray
    weights: np.ndarray
    log_unit: float = 0.0
    mean_weight: float = 1.0
    holds: str = "images"

    @classmethod
    def weighted(
        cls, images: np.ndarray, rows: np.ndarray, targets: np.ndarray, sample_weight: np.ndarray
    ) -> Self:
        """Select images and their targets, and scale their weights to a mean of 1.

        Parameters
        ----------
        images : ndarray of shape (n_images, height, width, channels)
            All images.
        rows : ndarray of shape (n,), int
            Indices of the images whose weight is not zero.
        targets : ndarray of shape (n,) or (n, n_outputs)
            Encoded targets of these images.
        sample_weight : ndarray of shape (n_images,), float64, at least 0
            Weights of all images.
        """
        weights = sample_weight[rows]
        heaviest = (
            weights.max()
        )  # divided by it first, so that the sum of huge weights stays finite
        shares = weights / heaviest
        mean = shares.mean()
        scaled = np.maximum(shares / mean, np.finfo(np.float64).tiny)
        return cls(images, rows, targets, scaled, log_unit=log(heaviest) + log(mean))

    @classmethod
    def unlabelled(cls, images: np.ndarray, holds: str = "images") -> Self:
        """Wrap images without targets, for ``net_.predict_proba(images)``; skorch needs targets."""
        n = len(images)
        return cls(images, np.arange(n), np.zeros(n, np.int64), np.ones(n), holds=holds)

    def with_maps(self, maps: np.ndarray) -> Self:
        """Return the examples with maps (n, height, width, channels) instead of images."""
        return replace(self, images=maps, rows=np.arange(len(maps)), holds="maps")

    @contextmanager
    def read_at_random(self) -> Iterator[Expect]:
        """Let the operating system read ahead the images of a memory map, if they are in one."""
        mapped = MappedRows.of(self.images)
        if mapped is None:
            yield lambda index: None
            return
        with mapped.read_at_random():
            yield lambda index: mapped.expect(self.rows[index])

    @property
    def y(self) -> torch.Tensor:
        """The targets as a tensor."""
        return torch.from_numpy(self.targets)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: Index) -> Batch:
        """Gather one image by its index, or a batch by an array of indices, into new memory."""
        index = np.atleast_1d(index)
        inputs = {
            self.holds: as_pixels(self.images[self.rows[index]]),
            "sample_weight": torch.from_numpy(self.weights[index]),
        }
        return inputs, torch.from_numpy(self.targets[index])

    def take(self, positions: np.ndarray) -> Self:
        """Return some of the examples; the images are shared."""
        return replace(
            self,
            rows=self.rows[positions],
            targets=self.targets[positions],
            weights=self.weights[positions],
        )

    def scaled(self, mean_weight: float = 1.0) -> Self:
        """Return the examples with their weights scaled to the given mean."""
        weights = self.weights / self.weights.mean() * mean_weight
        return replace(self, weights=weights, mean_weight=mean_weight)

    def weight_relative_to(self, log_unit: float) -> float:
        """Return the mean weight of these examples relative to that of the first call.

        Raises
        ------
        ValueError
            If it is so large that training would break.
        """
        times = exp(min(max(self.log_unit - log_unit, -60.0), 60.0))
        if times > HEAVIEST:
            raise ValueError(
                f"sample_weight and class_weight give the images {times:.2g} times the weight of "
                "those of the first call of partial_fit, or of fit. Use weights of the same scale "
                "in all calls."
            )
        return times


class ExamplesOnDevice(ImageDataset):
    """A copy of examples in the memory of a device, which gathers its own batches."""

    def __init__(self, examples: Examples, device: torch.device) -> None:
        sample = as_pixels(examples.images[:1].copy())
        self.pixels = torch.empty(
            (len(examples), *sample.shape[1:]),
            dtype=sample.dtype,
            device=device,
            memory_format=torch.channels_last,
        )
        for start in range(0, len(examples), ROWS_OF_A_BLOCK):
            block = as_pixels(examples.images[examples.rows[start : start + ROWS_OF_A_BLOCK]])
            self.pixels[start : start + len(block)] = send(block, device)
        self.y = send(examples.y, device)
        self.weights = send(torch.from_numpy(examples.weights), device)
        self.mean_weight, self.holds = examples.mean_weight, examples.holds

    def __len__(self) -> int:
        return len(self.y)

    def __getitem__(self, index: Index) -> Batch:
        """Gather one image by its index, or a batch by an array or tensor of indices."""
        if not isinstance(index, torch.Tensor):
            index = torch.from_numpy(np.atleast_1d(index))
        index = send(index, self.y.device)
        return {self.holds: self.pixels[index], "sample_weight": self.weights[index]}, self.y[index]


@dataclass(frozen=True, eq=False)
class IndexedBatches:
    """Iterate over examples in batches of nearly equal size, optionally in another order.

    Equal sizes avoid a last step on very few images, and batch normalisation of a single one.

    Parameters
    ----------
    examples : ImageDataset
        Examples to iterate over.
    batch_size : int
        Maximum number of images per batch.
    order : callable (n) -> ndarray of shape (n,), or None, default=None
        Function that returns the order of an epoch, such as the ``permutation`` of a generator.
        None keeps the order of the examples.
    """

    examples: ImageDataset
    batch_size: int
    order: Callable[[int], np.ndarray] | None = None

    def __len__(self) -> int:
        return -(-len(self.examples) // self.batch_size)

    @property
    def sizes(self) -> list[int]:
        """Number of images of each batch."""
        return [len(index) for index in np.array_split(np.arange(len(self.examples)), len(self))]

    def __iter__(self) -> Iterator[Batch]:
        n = len(self.examples)
        order = np.arange(n) if self.order is None else self.order(n)
        batches = np.array_split(order, len(self))
        if self.order is None:  # the operating system reads ahead by itself
            yield from (self.examples[index] for index in batches)
            return
        with self.examples.read_at_random() as expect:
            for index, following in zip_longest(batches, batches[1:]):
                if following is not None:
                    expect(following)
                yield self.examples[index]


def as_pixels(images: np.ndarray) -> torch.Tensor:
    """View images of shape (n, height, width, channels) as a tensor, channels first.

    Types that torch cannot compute with become the next wider type that it can.
    """
    wider = {"uint16": np.int32, "uint32": np.int64, "uint64": np.float64}
    dtype = wider.get(images.dtype.name, images.dtype)
    if images.dtype.kind == "f" and images.dtype.itemsize > 8:
        dtype = np.float64
    images = np.ascontiguousarray(images, dtype=np.dtype(dtype).newbyteorder("="))
    return torch.from_numpy(images).permute(0, 3, 1, 2)


def placed(examples: Examples, device: torch.device) -> ImageDataset:
    """Return a copy of the examples in the memory of a device if they fit, or the examples."""
    n_bytes = len(examples) * as_pixels(examples.images[:1].copy()).nbytes  # once widened
    if lies_on(device, n_bytes):
        try:
            return ExamplesOnDevice(examples, device)
        except RuntimeError as error:  # the memory is now in use, or fragmented
            if not is_out_of_memory(error):
                raise
    return examples


def check_same_targets(targets: np.ndarray, shape: tuple[int, ...]) -> None:
    """Raise for targets of another kind or number than those that a net has learnt.

    ``shape`` is that of the targets of one image: () for a single target.

    Raises
    ------
    ValueError
        If the shapes differ.
    """
    if targets.shape[1:] != shape:
        expected = f"(n, {shape[0]})" if shape else "(n,)"
        raise ValueError(
            f"y must have the shape {expected}, as in the first call. Got {targets.shape}. Call "
            "fit with warm_start=False to start again."
        )


def check_weights(sample_weight: object, X: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return one weight, at least 0, for each image; ones if ``sample_weight`` is None.

    Raises
    ------
    ValueError
        If the lengths differ, a weight is negative or not finite, or all are zero.
    """
    check_consistent_length(X, y)
    if sample_weight is None:
        return np.ones(len(y))
    weights: np.ndarray = _check_sample_weight(
        to_host(sample_weight), X, dtype=np.float64, ensure_non_negative=True
    )
    if not weights.any():  # scikit-learn 1.9 and newer checks this
        raise ValueError("Sample weights must contain at least one non-zero number.")
    return weights
