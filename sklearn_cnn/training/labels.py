"""The targets of a classifier: labels become class numbers, two kinds of weight become one."""

from collections.abc import Mapping
from math import log
from numbers import Integral, Real
from typing import Any

import numpy as np
from sklearn.utils import assert_all_finite, column_or_1d
from sklearn.utils.class_weight import compute_class_weight
from sklearn.utils.multiclass import check_classification_targets

from sklearn_cnn.pixels.arrays import to_host
from sklearn_cnn.training.examples import Examples

ClassWeight = Mapping[object, float] | str | None
"""{label: weight}, "balanced" or None."""


def check_labels(y: object, name: str) -> np.ndarray:
    """Return labels as a 1-D array, or refuse what cannot be class labels.

    Parameters
    ----------
    y : array-like of shape (n,)
        Labels: strings, whole numbers, booleans.
    name : str
        Name of the estimator, for the message.

    Returns
    -------
    ndarray of shape (n,)

    Raises
    ------
    ValueError
        If ``y`` is None, has NaN, more than one column, or continuous values.
    """
    if y is None:
        raise ValueError(
            f"This {name} estimator requires y to be passed, but the target y is None."
        )
    y = _as_numpy(y)
    shape = y.shape if hasattr(y, "shape") else np.asarray(y).shape
    if len(shape) > 2:
        raise ValueError(
            f"y must hold one label an image, in shape (n,). Got shape {shape}: images come first, "
            "labels second."
        )
    if len(shape) == 2 and shape[1] > 1 and _is_one_hot(np.asarray(y)):
        raise ValueError(
            f"y must hold one label an image, in shape (n,). Got shape {shape}, with a single 1 a "
            "row: pass y.argmax(axis=1), or the labels themselves."
        )
    labels: np.ndarray = _of_one_type(column_or_1d(y, warn=True))
    assert_all_finite(labels, input_name="y")
    if labels.dtype.kind == "O" and not _are_text(labels):
        raise ValueError(
            "y must hold text, whole numbers, booleans or dates of NumPy, and holds objects of "
            f"type {type(labels[0]).__name__}. Make text of them: [str(label) for label in y]."
        )
    check_classification_targets(labels)
    return labels


def _as_numpy(y: Any) -> Any:
    """Return labels as an array of the same values, where scikit-learn would make floats of them.

    It does so for nullable types of pandas, types of arrow, labels on another device, and lists of
    whole numbers beyond 64 bits.
    """
    y = to_host(y)
    if isinstance(y, (list, tuple)):
        are_whole = all(isinstance(label, Integral) for label in y)
        return np.array(y, dtype=object) if are_whole and np.asarray(y).dtype.kind == "f" else y
    if hasattr(y, "iloc") and len(y.shape) == 2 and y.shape[1] == 1:
        column = _as_numpy(y.iloc[:, 0])
        return np.asarray(column)[:, np.newaxis]
    missing = getattr(y, "null_count", None) if len(getattr(y, "shape", "1")) == 1 else None
    if missing is not None and (missing() if callable(missing) else missing):
        raise ValueError(MISSING.format("one of them"))
    dtype = getattr(y, "dtype", None)
    if hasattr(y, "isna") and not isinstance(dtype, np.dtype):  # an extension type of pandas
        _refuse_missing(np.asarray(y.isna()))
        plain = getattr(dtype, "numpy_dtype", None)
        return np.asarray(y) if plain is None else y.to_numpy(dtype=plain)
    if isinstance(y, np.ndarray) and y.dtype.kind == "T":  # NumPy's StringDType
        return y.astype(object)
    return y


MISSING = "y must hold a label for each image, but {} is missing. Leave out the images without one."


def _refuse_missing(missing: np.ndarray) -> None:
    if missing.any():
        raise ValueError(MISSING.format(f"y[{int(missing.ravel().argmax())}]"))


def _of_one_type(labels: np.ndarray) -> np.ndarray:
    """Convert Python objects of one type to an array of that type; text stays as it is."""
    if labels.dtype.kind != "O":
        return labels
    _refuse_missing(
        np.array(
            [x is None or type(x).__name__ in ("NAType", "NaTType") for x in labels], dtype=bool
        )
    )
    kinds = {
        next((kind for kind in (str, bool, Integral, Real) if isinstance(label, kind)), object)
        for label in (x.item() if isinstance(x, np.generic) else x for x in labels)
    }
    if len(kinds) > 1 and (str in kinds or bool in kinds):
        raise ValueError(
            f"y must hold labels of one type, but some are {'text' if str in kinds else 'booleans'}"
            " and some are not. Make text of all of them: [str(label) for label in y]."
        )
    if kinds == {bool}:
        return labels.astype(bool)
    if kinds == {Integral}:
        for dtype in (np.int64, np.uint64):
            limits = np.iinfo(dtype)
            if limits.min <= min(labels) and max(labels) <= limits.max:
                return labels.astype(dtype)
        raise ValueError(
            "y holds whole numbers that 64 bits cannot hold. Make text of them: "
            "[str(label) for label in y]."
        )
    return labels.astype(float) if kinds <= {Integral, Real} else labels


def _is_one_hot(y: np.ndarray) -> bool:
    if y.dtype.kind not in "biuf":
        return False
    return bool(np.isin(y, (0, 1)).all() and (y.sum(axis=1) == 1).all())


def plain_labels(y: object) -> np.ndarray:
    """Return labels as those of ``fit`` are kept, of NumPy's types, without further checks."""
    return _of_one_type(np.asarray(_as_numpy(y)))


def find_classes(y: object) -> np.ndarray:
    """Return the sorted classes among labels, or refuse a single one.

    Raises
    ------
    ValueError
        If all labels are the same.
    """
    classes = np.unique(plain_labels(y))
    if len(classes) < 2:
        raise ValueError(
            f"The labels y must hold at least 2 classes to tell apart, but there is only one "
            f"class: {classes.tolist()[0]!r}. (Images of zero weight do not count.)"
        )
    return classes


def check_partial_classes(classes: object, known: np.ndarray | None) -> None:
    """Refuse a ``classes`` parameter of ``partial_fit`` that is missing, or has changed.

    Parameters
    ----------
    classes : array-like of shape (n_classes,) or None
        What this call was given.
    known : ndarray of shape (n_classes,) or None
        The classes of the earlier calls; None at the first.

    Raises
    ------
    ValueError
        If the first call has none, or a later one has others.
    """
    if classes is not None and np.ndim(np.asarray(classes)) != 1:
        raise ValueError(
            f"classes must be the list of all labels, such as classes=np.unique(y). Got "
            f"classes={classes!r}."
        )
    if classes is None:
        if known is None:
            raise ValueError(
                "The first call of partial_fit needs classes: the labels of all classes that any "
                "call will bring, such as classes=np.unique(y)."
            )
    elif known is not None:
        given = np.unique(plain_labels(classes))
        if not np.array_equal(known, given):
            raise ValueError(
                f"classes={given.tolist()} differ from those of the first call of partial_fit, "
                f"{known.tolist()}. Leave them out, or call fit to start anew."
            )


def check_partial_class_weight(class_weight: ClassWeight) -> None:
    """Refuse "balanced" for ``partial_fit``, which does not see all labels.

    Raises
    ------
    ValueError
        With the way out.
    """
    if class_weight == "balanced":
        raise ValueError(
            "class_weight='balanced' is not supported for partial_fit, which sees the labels of "
            "one call alone. Compute the weights from all labels, or from many of them, "
            "weights = sklearn.utils.class_weight.compute_class_weight('balanced', "
            "classes=classes, y=y), and pass class_weight=dict(zip(classes, weights))."
        )


def encode_labels(y: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Return the number of each label's class.

    Parameters
    ----------
    y : ndarray of shape (n,)
        Labels.
    classes : ndarray of shape (n_classes,)
        The classes, sorted.

    Returns
    -------
    ndarray of shape (n,), int64
        0 to n_classes - 1.

    Raises
    ------
    ValueError
        If a label is not among ``classes``.
    """
    if _are_text(y) != _are_text(classes):
        unseen = y
    else:
        if {y.dtype.kind, classes.dtype.kind} == {"i", "u"}:  # NumPy compares them as floats
            y, classes = y.astype(object), classes.astype(object)
        numbers = np.minimum(np.searchsorted(classes, y), len(classes) - 1)
        unseen = y[classes[numbers] != y]
    if len(unseen):
        raise ValueError(
            f"y holds labels that are not among the classes: {np.unique(unseen)[:5].tolist()}; the "
            f"classes are {classes[:10].tolist()}{' and more' if len(classes) > 10 else ''}. Pass "
            "all classes to the first call of partial_fit, or start anew by fit with "
            "warm_start=False."
        )
    return numbers.astype(np.int64)


def _are_text(labels: np.ndarray) -> bool:
    """Whether labels are text, which NumPy would otherwise compare with numbers by their digits."""
    return labels.dtype.kind in "UST" or (
        labels.dtype.kind == "O" and any(isinstance(label, str) for label in labels)
    )


def encode_examples(
    images: np.ndarray,
    rows: np.ndarray,
    labels: np.ndarray,
    sample_weight: np.ndarray,
    class_weight: ClassWeight,
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
    # no weight underflows to zero: all images held out may weigh as little
    smallest = np.finfo(np.float64).tiny
    weights = np.maximum(loss_weights(targets, given, class_weight, classes), smallest)
    heaviest = weights.argmax()
    log_unit = log(given[heaviest]) + log(by_class[heaviest]) - log(weights[heaviest])
    return Examples(images, rows, targets, weights, log_unit=log_unit)


def loss_weights(
    targets: np.ndarray, sample_weight: np.ndarray, class_weight: ClassWeight, classes: np.ndarray
) -> np.ndarray:
    """Join sample weights and class weights, and scale them to a mean of 1.

    The scale makes the mean of weight * loss over all images the weighted mean loss,
    sum(w * l) / sum(w), whatever the batches.

    Parameters
    ----------
    targets : ndarray of shape (n,), int64
        Class numbers.
    sample_weight : ndarray of shape (n,), float64
        Above 0.
    class_weight : dict, "balanced" or None
        As in scikit-learn; "balanced" counts sample weights.
    classes : ndarray of shape (n_classes,)
        The classes.

    Returns
    -------
    ndarray of shape (n,), float64
        Mean 1.

    Raises
    ------
    ValueError
        If a class weight is negative or not finite, or zero for all classes among ``targets``.
    """
    if class_weight == "balanced":  # class by class, since the scales of two may be far apart
        heaviest = np.zeros(len(classes))
        np.maximum.at(heaviest, targets, sample_weight)
        shares = sample_weight / heaviest[targets]
        weights = shares / np.bincount(targets, weights=shares)[targets]
    else:
        by_class = class_weights(targets, sample_weight, class_weight, classes)[targets]
        # divided by the largest first, so that the sum of huge weights stays finite
        weights = sample_weight / sample_weight.max() * (by_class / by_class.max())
    return np.asarray(weights / weights.mean())


def class_weights(
    targets: np.ndarray, sample_weight: np.ndarray, class_weight: ClassWeight, classes: np.ndarray
) -> np.ndarray:
    """Return the weight of each class, of shape (n_classes,); see ``loss_weights``."""
    if class_weight == "balanced":
        counts = np.bincount(
            targets, weights=sample_weight / sample_weight.max(), minlength=len(classes)
        )
        return np.asarray(counts.sum() / np.where(counts > 0, counts, 1) / (counts > 0).sum())
    values = class_weight.values() if isinstance(class_weight, Mapping) else ()
    if all(isinstance(value, Real) and 0 <= float(value) < np.inf for value in values):
        by_class: np.ndarray = compute_class_weight(class_weight, classes=classes, y=classes)
        if by_class[targets].any():
            return by_class
    raise ValueError(
        "class_weight must hold finite weights of at least 0, and above 0 for a class among the "
        f"labels. Got class_weight={class_weight!r}."
    )
