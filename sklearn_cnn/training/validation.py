"""Validation images: those that are held out, those that users bring, and the score of an epoch."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import ceil

import numpy as np

from sklearn_cnn._messages import warn
from sklearn_cnn.training.examples import Examples

ENOUGH = 30
"""Fewer held-out images than this warn: chance has too large a part in their score."""

FEWEST = 2
"""Held-out images with numbers, at least: R2 compares with their mean."""


def check_validation_data(
    X_val: object, y_val: object, sample_weight_val: object, *, early_stopping: bool
) -> None:
    """Refuse validation images without targets, or without use, as scikit-learn's boosting does.

    Raises
    ------
    ValueError
        If one of them comes without the others, or without ``early_stopping``.
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
    """Say which argument an error is about, where the text speaks of ``X`` or ``y``."""
    try:
        yield
    except (TypeError, ValueError) as error:
        raise type(error)(f"{name}: {error}") from error


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

    A class with images keeps one in training, and has one held out if as many are to be held out as
    there are classes. The others come as near their share as possible; chance breaks ties.
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
    """Hold out a share of n images.

    Parameters
    ----------
    n : int
        Number of images.
    fraction : float
        Share to hold out, above 0 and below 1, rounded up.
    seed : int
        Seed of the draw.
    fewest : int
        Images to hold out, at least.

    Returns
    -------
    training, validation : ndarray of int
        Row numbers.

    Raises
    ------
    ValueError
        If none would be left to learn from.
    """
    n_held_out = max(min(ceil(round(fraction * n, 9)), n - 1), fewest)
    if n_held_out >= n:
        raise ValueError(
            f"early_stopping=True holds out {fewest} images for validation, at least, and learns "
            f"from the others, but there are only {n}. Give more images, or use "
            "early_stopping=False."
        )
    rows = np.random.default_rng(seed).permutation(n)
    return np.sort(rows[n_held_out:]), np.sort(rows[:n_held_out])


def divide(examples: Examples, kept: np.ndarray, held_out: np.ndarray) -> tuple[Examples, Examples]:
    """Divide examples into those to learn from and those to validate on, whose mean weight is 1."""
    if len(held_out) < ENOUGH:
        images = "image chooses" if len(held_out) == 1 else "images choose"
        warn(
            f"{len(held_out)} held-out {images} the best epoch, so that chance has a large part in "
            f"it: below {ENOUGH}, an image is more than 3 % of the score. Give more images or "
            "a larger validation_fraction, or use early_stopping=False."
        )
    return examples.take(kept), examples.take(held_out).scaled()


def check_enough_for_r2(n_images: int) -> None:
    """Refuse to compute R2 of a single image.

    Raises
    ------
    ValueError
        With the way out.
    """
    if n_images < FEWEST:
        raise ValueError(
            f"scoring=None validates by R2, which needs at least {FEWEST} validation images. Got "
            f"{n_images}: give more, or use scoring='loss'."
        )


def score_by(
    scorer: Callable[..., float],
    scoring: object,
    estimator: object,
    X: object,
    y: np.ndarray,
    sample_weight: np.ndarray | None,
) -> Callable[[np.ndarray], float]:
    """Return what scores an epoch by one of scikit-learn's scorers, or one of that form.

    Parameters
    ----------
    scorer : callable (estimator, X, y) or (estimator, X, y, sample_weight) -> float
    scoring : object
        The parameter that it comes from, for the error.
    estimator : object
        What it scores: the estimator during its fit, which predicts with the weights of the moment.
    X, y, sample_weight
        The validation images, their targets, and their weights or None.

    Raises
    ------
    ValueError
        When it is called, if the score is not finite.
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
                f"scoring={name} gave {value} on the validation images. Validate on images that "
                "it is defined for, such as some of each class, or use another scoring."
            )
        return value

    return score
