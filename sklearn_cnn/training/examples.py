"""Examples: images with class numbers and weights, their division, and batches of them."""

from collections.abc import Iterator
from math import ceil, exp, log
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.utils.data import Dataset

from sklearn_cnn._messages import warn
from sklearn_cnn.machine.device import is_out_of_memory, lies_on, send
from sklearn_cnn.training.labels import class_weights, encode_labels, loss_weights

# TODO doc of training/batches: Batches by index: one array of pixels in its own dtype, and a
# list of row numbers a batch.

# TODO doc of training/split: The images that early stopping holds out.

# TODO doc of training/examples: Images with their class numbers and weights, and their division
# into training and validation.

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


ENOUGH = 30
"""Fewer held-out images than this warn: each moves the accuracy by more than 3 percent."""


def split_validation(
    targets: np.ndarray, fraction: float, seed: int, classes: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Hold out a share of the images, each class on both sides as far as that share allows.

    Parameters
    ----------
    targets : ndarray of shape (n,), int64
        Class numbers.
    fraction : float
        Share to hold out, above 0 and below 1.
    seed : int
        Seed of the draw.
    classes : ndarray of shape (n_classes,)
        The classes, for the message.

    Returns
    -------
    training, validation : ndarray of int
        Row numbers. Every class is in training, a class with a single image in training alone.
        Where the share is smaller than the number of classes, the seed draws those held out.

    Raises
    ------
    ValueError
        If no class has two images.
    """
    counts = np.bincount(targets, minlength=len(classes))
    rng = np.random.default_rng(seed)
    rows = rng.permutation(len(targets))
    shares = _shares(np.where(counts > 1, counts, 0), fraction, rng)
    if not shares.any():
        raise ValueError(
            "early_stopping=True holds out images for validation, but every class has a single "
            f"image, the class {classes[targets].tolist()[0]!r} for one. Give more images, or use "
            "early_stopping=False."
        )
    by_class = rows[np.argsort(targets[rows], kind="stable")]
    place_in_class = np.arange(len(rows)) - (np.cumsum(counts) - counts)[targets[by_class]]
    held_out = by_class[place_in_class < shares[targets[by_class]]]
    return np.setdiff1d(rows, held_out), np.sort(held_out)


def _shares(counts: np.ndarray, fraction: float, rng: np.random.Generator) -> np.ndarray:
    """Return how many images of each class to hold out, by the method of largest remainders.

    A class with images keeps one in training. It has one held out, too, if there are as many to
    hold out as classes. The others come as near their share as they can; chance breaks ties.
    """
    present = counts > 0
    total, n_classes = int(counts.sum()), int(present.sum())
    n_held_out = min(ceil(round(fraction * total, 9)), total - n_classes)
    if total:
        n_held_out = max(n_held_out, 1)
    fewest = present.astype(int) if n_held_out >= n_classes else np.zeros_like(counts)
    most = np.maximum(counts - 1, 0)
    ideal = counts * (n_held_out / max(total, 1))
    shares = np.clip(np.floor(ideal), fewest, most)
    order = rng.permutation(len(counts))
    while shares.sum() < n_held_out:
        short = np.where(shares < most, ideal - shares, -np.inf)
        shares[order[np.argmax(short[order])]] += 1
    while shares.sum() > n_held_out:
        over = np.where(shares > fewest, shares - ideal, -np.inf)
        shares[order[np.argmax(over[order])]] -= 1
    return shares.astype(int)


def warn_if_few(n_held_out: int) -> None:
    """Warn where chance decides which epoch the held-out images call the best."""
    if n_held_out < ENOUGH:
        images = "image chooses" if n_held_out == 1 else "images choose"
        warn(
            f"{n_held_out} held-out {images} the best epoch, so that chance has a large part in "
            f"it: below {ENOUGH}, an image is more than 3 % of the accuracy. Give more images or "
            "a larger validation_fraction, or use early_stopping=False."
        )


HEAVIEST = 1e12
"""Times the weight of the first call; gradients beyond would break the optimizer's averages."""


class Examples(NamedTuple):
    """What ``fit`` was given, checked and encoded.

    Attributes
    ----------
    images : ndarray of shape (n_images, height, width, channels), any real dtype
        All images.
    rows : ndarray of shape (n,), int
        Those whose weight is not zero; the attributes below follow them.
    targets : ndarray of shape (n,), int64
        Class numbers.
    weights : ndarray of shape (n,), float64
        Weights of images and classes together, above 0, with a mean of 1.
    log_unit : float
        Logarithm of the mean weight as the user gave it.
    """

    images: np.ndarray
    rows: np.ndarray
    targets: np.ndarray
    weights: np.ndarray
    log_unit: float = 0.0

    def take(self, positions: np.ndarray) -> "Examples":
        """Return some of the examples; the images are shared."""
        return Examples(
            self.images,
            self.rows[positions],
            self.targets[positions],
            self.weights[positions],
            self.log_unit,
        )

    def as_dataset(self, scale: float = 1.0) -> ImageDataset:
        """Make the data set that batches are drawn from; the mean of its weights is ``scale``."""
        weights = self.weights / self.weights.mean() * scale
        return ImageDataset(self.images, self.rows, self.targets, weights)

    def weight_relative_to(self, log_unit: float) -> float:
        """Return how many times as much these examples weigh as those of a first call.

        Raises
        ------
        ValueError
            If it is so much that training would break.
        """
        times = exp(min(max(self.log_unit - log_unit, -60.0), 60.0))
        if times > HEAVIEST:
            raise ValueError(
                f"sample_weight and class_weight weigh the images {times:.2g} times as much as "
                "those of the first call of partial_fit, or of fit. Their scale holds for all "
                "later calls: give weights of the same scale."
            )
        return times


def encode_examples(
    images: np.ndarray,
    rows: np.ndarray,
    labels: np.ndarray,
    sample_weight: np.ndarray,
    class_weight: Any,
    classes: np.ndarray,
) -> Examples:
    """Leave out the images of zero weight, encode the labels of the others, join the weights.

    Parameters
    ----------
    images : ndarray of shape (n_images, height, width, channels)
    rows : ndarray of shape (n,), int
        Those whose sample weight is not zero.
    labels : ndarray of shape (n_images,)
    sample_weight : ndarray of shape (n_images,), float64, at least 0
    class_weight : dict, "balanced" or None
    classes : ndarray of shape (n_classes,)

    Raises
    ------
    ValueError
        If a label is not among the classes, or ``class_weight`` leaves no image any weight.
    """
    targets, given = encode_labels(labels[rows], classes), sample_weight[rows]
    by_class = class_weights(targets, given, class_weight, classes)[targets]
    counts = by_class > 0
    rows, targets, given, by_class = rows[counts], targets[counts], given[counts], by_class[counts]
    # none is so small that it is zero: an image may be held out among others of such weights
    smallest = np.finfo(np.float64).tiny
    weights = np.maximum(loss_weights(targets, given, class_weight, classes), smallest)
    heaviest = weights.argmax()
    log_unit = log(given[heaviest]) + log(by_class[heaviest]) - log(weights[heaviest])
    return Examples(images, rows, targets, weights, log_unit)


def divide_examples(
    examples: Examples, validation_fraction: float | None, seed: int, classes: np.ndarray
) -> tuple[Examples, TrainingData]:
    """Hold out the validation images, if any.

    Parameters
    ----------
    examples : Examples
    validation_fraction : float or None
        Share to hold out; None for none.
    seed : int
        Seed of the draw.
    classes : ndarray of shape (n_classes,)
        The classes, for a message.

    Returns
    -------
    training : Examples
    data : TrainingData
        The same as data sets, with the validation images.
    """
    if validation_fraction is None:
        return examples, TrainingData(examples.as_dataset(), None)
    kept, held_out = split_validation(examples.targets, validation_fraction, seed, classes)
    warn_if_few(len(held_out))
    training = examples.take(kept)
    return training, TrainingData(training.as_dataset(), examples.take(held_out).as_dataset())
