"""The images that early stopping holds out."""

from math import ceil

import numpy as np

from sklearn_cnn._messages import warn

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
