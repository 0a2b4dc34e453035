"""Batches by index: one array of pixels in its own dtype, and a list of row numbers a batch."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.utils.data import Dataset

Batch = tuple[dict[str, torch.Tensor], torch.Tensor]
"""({"images": (n, channels, height, width), "sample_weight": (n,)}, class numbers (n,))."""


def as_pixels(images: np.ndarray) -> torch.Tensor:
    """View images of shape (n, height, width, channels) as a tensor, channels first.

    Types that torch cannot compute with become the next wider one that it can.
    """
    wider = {"uint16": np.int32, "uint32": np.int64, "uint64": np.float64}
    dtype = wider.get(images.dtype.name, images.dtype)
    if images.dtype.kind == "f" and images.dtype.itemsize > 8:
        dtype = np.float64
    images = np.ascontiguousarray(images, dtype=np.dtype(dtype).newbyteorder("="))
    return torch.from_numpy(images).permute(0, 3, 1, 2)


class ImageDataset(Dataset):
    """Some rows of an array of images, with their class numbers and weights.

    Parameters
    ----------
    images : ndarray of shape (n_images, height, width, channels), any real dtype
        All images; never copied whole, never written to.
    rows : ndarray of shape (n,), int
        Which images belong to the data set.
    targets : ndarray of shape (n,), int64
        Their class numbers.
    weights : ndarray of shape (n,), float
        Their weights in the loss.
    """

    def __init__(
        self, images: np.ndarray, rows: np.ndarray, targets: np.ndarray, weights: np.ndarray
    ) -> None:
        self.images = images
        self.rows = rows
        self.targets = torch.from_numpy(targets)
        self.weights = torch.from_numpy(weights)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: Any) -> Batch:
        """Gather one image by its number, or a batch by an array of numbers, into fresh memory."""
        index = np.atleast_1d(index)
        pixels = as_pixels(self.images[self.rows[index]])
        picked = {"images": pixels, "sample_weight": self.weights[index]}
        return picked, self.targets[index]


class PlainImages(Dataset):
    """Images without labels, as ``net_.predict_proba(images)`` gets them.

    Parameters
    ----------
    images : ndarray of shape (n, height, width, channels), any real dtype
    """

    def __init__(self, images: np.ndarray) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: Any) -> Batch:
        """Gather a batch; its labels are zeros, since skorch wants some."""
        index = np.atleast_1d(index)
        pixels = as_pixels(self.images[index])
        return {"images": pixels}, torch.zeros(len(index), dtype=torch.int64)


class TrainingData(NamedTuple):
    """What one training reads.

    Attributes
    ----------
    training : ImageDataset
    validation : ImageDataset or None
    """

    training: ImageDataset
    validation: ImageDataset | None


class IndexedBatches:
    """Iterate a data set in batches of nearly equal size, in a new order each time if shuffled.

    Equal sizes spare the weights a last step on a handful of images, and batch normalisation a
    batch of one.

    Parameters
    ----------
    dataset : ImageDataset or PlainImages
        What to iterate.
    batch_size : int
        Images of a batch, at most.
    generator : numpy.random.Generator or None, default=None
        Draws each pass's order; None keeps the order of the data set.
    """

    def __init__(
        self,
        dataset: ImageDataset | PlainImages,
        batch_size: int,
        generator: np.random.Generator | None = None,
    ) -> None:
        self.dataset = dataset
        self.batch_size = batch_size
        self.generator = generator

    def __len__(self) -> int:
        return -(-len(self.dataset) // self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        n = len(self.dataset)
        order = np.arange(n) if self.generator is None else self.generator.permutation(n)
        for index in np.array_split(order, len(self)):
            yield self.dataset[index]
