"""Validation images, held out or user-defined, and the score of an epoch."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import ceil

import numpy as np

from sklearn_cnn._messages import warn
from sklearn_cnn.training.examples import Examples

ENOUGH = 30
"""With fewer held-out images than this, a warning says that their score is too noisy."""

FEWEST = 2
"""Minimum number of held-out images of a regressor: R2 compares with their mean."""


def check_validation_data(
    X_val: object, y_val: object, sample_weight_val: object, *, early_stopping: bool
) -> None:
    """Raise for validation images without targets or early stopping, as scikit-learn's boosting.

    Raises
    ------
    ValueError
        If one is passed without the others, or without ``early_stopping``.
    """
    given = {"X_val": X_val, "y_val": y_val, "sample_weight_val": sample_weight_val}
    came = [name for name, value in given.items() if value is not None]
    if not came:
        return
    for name in ("X_val", "y_val"):
        if name not in came:
            raise ValueError(f"{came[0]} is provided, but {name} was not provided.")
    if not early_stopping:
        raise ValueError(
            "X_val and y_val are passed to fit while at the same time early_stopping is False. "
            "When passing X_val and y_val to fit, early_stopping should be set to True."
        )


@contextmanager
def errors_named(name: str) -> Iterator[None]:
    """Prefix the text of errors about ``X`` or ``y`` with the name of the argument."""
    try:
        yield
    except (TypeError, ValueError) as error:
        raise type(error)(f"{name}: {error}") from error


def split_validation(
    targets: np.ndarray, fraction: float, seed: int, classes: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Hold out a fraction of the images, with each class on both sides if the fraction allows.

    Parameters
    ----------
    targets : ndarray of shape (n,), int64
        Class indices.
    fraction : float
        Fraction to hold out, above 0 and below 1.
    seed : int
        Seed of the draw.
    classes : ndarray of shape (n_classes,)
        The classes, for the message.

    Returns
    -------
    training, validation : ndarray of int
        Row indices. Every class is in training; a class with a single image is only in training. If
        fewer images than classes are held out, the seed determines which.

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
            "early_stopping=True holds out images for validation, but every class, such as "
            f"{classes[targets].tolist()[0]!r}, has a single image. Pass more images, or use "
            "early_stopping=False."
        )
    by_class = rows[np.argsort(targets[rows], kind="stable")]
    place_in_class = np.arange(len(rows)) - (np.cumsum(counts) - counts)[targets[by_class]]
    held_out = by_class[place_in_class < shares[targets[by_class]]]
    return np.setdiff1d(rows, held_out), np.sort(held_out)


def _shares(counts: np.ndarray, fraction: float, rng: np.random.Generator) -> np.ndarray:
    """Return how many images of each class to hold out, by the method of largest remainders.

    A class with images keeps at least one in training, and has at least one held out if there are
    enough held-out images for all classes. The numbers of the others are as close to their share as
    possible, with random ties.
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


def split_at_random(
    n: int, fraction: float, seed: int, fewest: int
) -> tuple[np.ndarray, np.ndarray]:
    """Hold out a random fraction of n images.

    Parameters
    ----------
    n : int
        Number of images.
    fraction : float
        Fraction to hold out, above 0 and below 1, rounded up.
    seed : int
        Seed of the draw.
    fewest : int
        Minimum number of images to hold out.

    Returns
    -------
    training, validation : ndarray of int
        Row indices.

    Raises
    ------
    ValueError
        If no training images would be left.
    """
    n_held_out = max(min(ceil(round(fraction * n, 9)), n - 1), fewest)
    if n_held_out >= n:
        raise ValueError(
            f"early_stopping=True holds out at least {fewest} images for validation and trains on "
            f"the others, but there are only {n}. Pass more images, or use "
            "early_stopping=False."
        )
    rows = np.random.default_rng(seed).permutation(n)
    return np.sort(rows[n_held_out:]), np.sort(rows[:n_held_out])


def divide(examples: Examples, kept: np.ndarray, held_out: np.ndarray) -> tuple[Examples, Examples]:
    """Split examples into training and validation examples, the latter with a mean weight of 1."""
    if len(held_out) < ENOUGH:
        images = "image determines" if len(held_out) == 1 else "images determine"
        warn(
            f"{len(held_out)} held-out {images} the best epoch, which is therefore largely random: "
            f"below {ENOUGH}, each image is more than 3 % of the score. Pass more images, use a "
            "larger validation_fraction, or use early_stopping=False."
        )
    return examples.take(kept), examples.take(held_out).scaled()


def check_enough_for_r2(n_images: int) -> None:
    """Raise if there are too few images for R2.

    Raises
    ------
    ValueError
        If there is a single image.
    """
    if n_images < FEWEST:
        raise ValueError(
            f"scoring=None computes R2, which needs at least {FEWEST} validation images. Got "
            f"{n_images}. Pass more validation images, or use scoring='loss'."
        )


def score_by(
    scorer: Callable[..., float],
    scoring: object,
    estimator: object,
    X: object,
    y: np.ndarray,
    sample_weight: np.ndarray | None,
) -> Callable[[np.ndarray], float]:
    """Return the function that scores an epoch with a scikit-learn scorer.

    It raises a ValueError if the score is not finite.

    Parameters
    ----------
    scorer : callable (estimator, X, y) or (estimator, X, y, sample_weight) -> float
        The scorer.
    scoring : object
        The parameter ``scoring``, for the error.
    estimator : object
        The estimator during its fit, which predicts with the current weights.
    X, y, sample_weight
        The validation images, their targets, and their weights or None.
    """
    weights = {} if sample_weight is None else {"sample_weight": sample_weight}

    name = getattr(scoring, "__name__", repr(scoring))

    def score(_: np.ndarray) -> float:
        try:
            value = float(scorer(estimator, X, y, **weights))
        except Exception as error:
            error.add_note(f"Raised by scoring={name}, on the validation images.")
            raise
        if not np.isfinite(value):
            raise ValueError(
                f"scoring={name} returned {value} on the validation images. Use validation images "
                "for which it is defined, such as some of each class, or another scoring."
            )
        return value

    return score
