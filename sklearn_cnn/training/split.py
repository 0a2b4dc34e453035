"""The images that early stopping holds out."""

from math import ceil

import numpy as np
from sklearn.model_selection import train_test_split


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
    counts = np.bincount(targets)
    rows = np.arange(len(targets))
    single = counts[targets] == 1
    shared, n_shared_classes = rows[~single], int((counts > 1).sum())
    if n_shared_classes == 0:
        raise ValueError(
            "early_stopping=True holds out images for validation, but every class has a single "
            f"image, the class {classes.tolist()[0]!r} for one. Give more images, or use "
            "early_stopping=False."
        )
    n_validation = max(ceil(fraction * len(shared)), n_shared_classes)
    n_validation = min(n_validation, len(shared) - n_shared_classes)
    training, validation = train_test_split(
        shared, test_size=n_validation, stratify=targets[shared], random_state=seed % 2**32
    )
    return np.sort(np.concatenate([training, rows[single]])), np.sort(validation)
