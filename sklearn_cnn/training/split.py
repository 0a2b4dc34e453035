"""The images that early stopping holds out."""

from math import ceil

import numpy as np


def split_validation(
    targets: np.ndarray, fraction: float, seed: int, classes: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Hold out a share of the images, with every class that has two of them on both sides.

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
        Row numbers. A class with a single image is in training alone.

    Raises
    ------
    ValueError
        If no class has two images.
    """
    counts = np.bincount(targets, minlength=len(classes))
    rows = np.random.default_rng(seed).permutation(len(targets))
    shares = _shares(np.where(counts > 1, counts, 0), fraction)
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


def _shares(counts: np.ndarray, fraction: float) -> np.ndarray:
    """Return how many images of each class to hold out, by the method of largest remainders.

    A class with images keeps one on each side; the others come as near their share as they can.
    """
    present = counts > 0
    total, n_classes = int(counts.sum()), int(present.sum())
    n_held_out = min(max(ceil(round(fraction * total, 9)), n_classes), total - n_classes)
    ideal = counts * (n_held_out / max(total, 1))
    shares = np.where(present, np.clip(np.floor(ideal), 1, np.maximum(counts - 1, 1)), 0)
    while shares.sum() < n_held_out:
        shares[np.argmax(np.where(shares < counts - 1, ideal - shares, -np.inf))] += 1
    while shares.sum() > n_held_out:
        shares[np.argmax(np.where(shares > 1, shares - ideal, -np.inf))] -= 1
    return shares.astype(int)
