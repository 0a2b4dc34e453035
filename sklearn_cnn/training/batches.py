"""Batches by index: one array of pixels in its own dtype, and a list of row numbers a batch."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.utils.data import Dataset

from sklearn_cnn.training.hardware.device import send
from sklearn_cnn.training.hardware.memory import is_out_of_memory, lies_on

Batch = tuple[dict[str, torch.Tensor], torch.Tensor]
"""({"images": (n, channels, height, width), "sample_weight": (n,)}, class numbers (n,))."""


ROWS_OF_A_BLOCK = 4096
"""Images that go to a device at once, where all of them are to lie there."""


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


class ImagesOnDevice(Dataset):
    """A copy of a data set in the memory of a device, which gathers its batches itself.

    Parameters
    ----------
    dataset : ImageDataset
        What to copy, a block at a time.
    device : torch.device
        Where to.
    """

    def __init__(self, dataset: ImageDataset, device: torch.device) -> None:
        sample = as_pixels(dataset.images[:1].copy())
        self.pixels = torch.empty(
            (len(dataset), *sample.shape[1:]),
            dtype=sample.dtype,
            device=device,
            memory_format=torch.channels_last,
        )
        for start in range(0, len(dataset), ROWS_OF_A_BLOCK):
            block = as_pixels(dataset.images[dataset.rows[start : start + ROWS_OF_A_BLOCK]])
            self.pixels[start : start + len(block)] = send(block, device)
        self.targets = send(dataset.targets, device)
        self.weights = send(dataset.weights, device)

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: Any) -> Batch:
        """Gather one image by its number, or a batch by an array or tensor of numbers."""
        if not isinstance(index, torch.Tensor):
            index = torch.from_numpy(np.atleast_1d(index))
        index = send(index, self.targets.device)
        picked = {"images": self.pixels[index], "sample_weight": self.weights[index]}
        return picked, self.targets[index]


def placed(dataset: ImageDataset, device: torch.device) -> ImageDataset | ImagesOnDevice:
    """Return a data set in the memory of a device if it belongs there and fits, or itself."""
    n_bytes = len(dataset) * as_pixels(dataset.images[:1].copy()).nbytes  # once widened
    if lies_on(device, n_bytes):
        try:
            return ImagesOnDevice(dataset, device)
        except RuntimeError as error:  # memory that was free a moment ago, or is in pieces
            if not is_out_of_memory(error):
                raise
    return dataset


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
    scale : float, default=1.0
        Mean weight of the training images, by which their loss is divided in the history.
    """

    training: ImageDataset
    validation: ImageDataset | None
    scale: float = 1.0


class IndexedBatches:
    """Iterate a data set in batches of nearly equal size, in a new order each time if shuffled.

    Equal sizes spare the weights a last step on a handful of images, and batch normalisation a
    batch of one.

    Parameters
    ----------
    dataset : ImageDataset, ImagesOnDevice or PlainImages
        What to iterate.
    batch_size : int
        Images of a batch, at most.
    generator : numpy.random.Generator or None, default=None
        Draws each pass's order; None keeps the order of the data set.
    """

    def __init__(
        self,
        dataset: ImageDataset | ImagesOnDevice | PlainImages,
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
