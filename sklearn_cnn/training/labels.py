"""The targets of a classifier: encoding labels, and combining sample and class weights."""

from collections.abc import Mapping, Sequence
from math import log
from numbers import Integral, Real
from typing import Any

import numpy as np
from scipy.sparse import issparse
from sklearn.utils import assert_all_finite, column_or_1d
from sklearn.utils.class_weight import compute_class_weight
from sklearn.utils.multiclass import check_classification_targets

from sklearn_cnn._messages import warn
from sklearn_cnn.pixels.arrays import to_host
from sklearn_cnn.training.examples import Examples

ClassWeight = Mapping[object, float] | Sequence[Mapping[int, float]] | str | None
"""{label: weight}, one {0: weight, 1: weight} per label, "balanced" or None."""


def check_labels(y: object, name: str) -> np.ndarray:
    """Return labels as an array, or raise if ``y`` does not hold labels.

    Parameters
    ----------
    y : array-like of shape (n,), or array-like or sparse matrix of shape (n, n_labels)
        Labels, as strings, whole numbers or booleans; or an indicator matrix of 0 and 1.
    name : str
        Name of the estimator, for the message.

    Returns
    -------
    ndarray of shape (n,), or of shape (n, n_labels) and type int64
        The labels, or an indicator matrix of at least two columns.

    Raises
    ------
    ValueError
        If ``y`` is None, or has NaN, continuous values or several classes per image.
    """
    if y is None:
        raise ValueError(
            f"This {name} estimator requires y to be passed, but the target y is None."
        )
    y = _as_numpy(y)
    _refuse_lists_of_labels(y)
    shape = y.shape if hasattr(y, "shape") else np.asarray(y).shape
    if len(shape) > 2:
        raise ValueError(
            "y must hold one label per image, in shape (n,), or an indicator matrix of shape "
            f"(n, n_labels). Got shape {shape}."
        )
    if len(shape) == 2 and shape[1] > 1:
        return _check_indicators(np.asarray(y))
    labels: np.ndarray = _of_one_type(column_or_1d(y, warn=True))
    assert_all_finite(labels, input_name="y")
    if labels.dtype.kind == "O" and not _are_text(labels):
        raise ValueError(
            "y must hold text, whole numbers, booleans or NumPy dates. Got objects of type "
            f"{type(labels[0]).__name__}. Convert them to text: [str(label) for label in y]."
        )
    if labels.dtype.kind == "f" and (labels != np.floor(labels)).any():
        raise ValueError(
            "Unknown label type: continuous. y holds numbers with fractions, such as "
            f"{labels[labels != np.floor(labels)][0]:g}, which are not classes. Use CNNRegressor "
            "to predict numbers."
        )
    check_classification_targets(labels)
    return labels


def _refuse_lists_of_labels(y: Any) -> None:
    """Raise for lists of several labels per image, which need an indicator matrix."""
    listed = y.tolist() if isinstance(y, np.ndarray) and y.dtype.kind in "OUS" else y
    if hasattr(y, "iloc") and len(y.shape) == 1 and y.dtype == object:
        listed = list(y)
    if not isinstance(listed, list | tuple):
        return
    of_image = [item for item in listed if isinstance(item, list | tuple | set | frozenset)]
    are_text = any(isinstance(label, str) for item in of_image for label in item)
    if any(len(item) != 1 for item in of_image) and (
        are_text or len({len(item) for item in of_image}) > 1
    ):
        example = next(item for item in of_image if len(item) != 1)
        raise ValueError(
            f"y holds lists of labels, such as {example!r}. Several labels per image need an "
            "indicator matrix: pass sklearn.preprocessing.MultiLabelBinarizer().fit_transform(y)."
        )


def _check_indicators(y: np.ndarray) -> np.ndarray:
    """Return an indicator matrix as integers, or raise for another matrix."""
    if y.dtype.kind == "O":
        y = np.array([_of_one_type(column) for column in y.T]).T
    if y.dtype.kind not in "biuf":
        raise ValueError(
            f"y with several columns must be an indicator matrix of 0 and 1. Got shape "
            f"{y.shape} and values such as {y.flat[0]!r}. Pass one label per image, in shape (n,), "
            "or sklearn.preprocessing.MultiLabelBinarizer().fit_transform(y)."
        )
    assert_all_finite(y, input_name="y")
    others = y[~np.isin(y, (0, 1))]
    if len(others):
        is_continuous = y.dtype.kind == "f" and (y != np.floor(y)).any()
        way = (
            "Use CNNRegressor to predict several numbers per image."
            if is_continuous
            else "For several columns of classes, use "
            "sklearn.multioutput.MultiOutputClassifier(CNNClassifier()). For several numbers per "
            "image, use CNNRegressor."
        )
        raise ValueError(
            f"Unknown label type: {'continuous' if is_continuous else 'multiclass'}-multioutput. y "
            f"with several columns must be an indicator matrix of 0 and 1. Got shape "
            f"{y.shape} and the value {others.flat[0]:g}. {way}"
        )
    if (y.sum(axis=1) == 1).all():
        warn(
            "Each row of y has a single 1. It is treated as a multilabel target, with several "
            "labels per image. For one class per image, pass y.argmax(axis=1)."
        )
    return y.astype(np.int64)


def _as_numpy(y: Any) -> Any:
    """Return labels as an array of the same values if scikit-learn would convert them to float.

    scikit-learn does so for nullable types of pandas, types of arrow, labels on another device, and
    lists of integers beyond 64 bits.
    """
    y = y.toarray() if issparse(y) else to_host(y)
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


MISSING = (
    "y must hold a label for each image, but {} is missing. Remove the images without a label."
)


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
            " and some are not. Convert all of them to text: [str(label) for label in y]."
        )
    if kinds == {bool}:
        return labels.astype(bool)
    if kinds == {Integral}:
        for dtype in (np.int64, np.uint64):
            limits = np.iinfo(dtype)
            if limits.min <= min(labels) and max(labels) <= limits.max:
                return labels.astype(dtype)
        raise ValueError(
            "y holds whole numbers beyond 64 bits. Convert them to text: "
            "[str(label) for label in y]."
        )
    return labels.astype(float) if kinds <= {Integral, Real} else labels


def plain_labels(y: object) -> np.ndarray:
    """Return labels with the NumPy types that ``fit`` uses, without further checks."""
    return _of_one_type(np.asarray(_as_numpy(y)))


def find_classes(y: object) -> np.ndarray:
    """Return the sorted classes of labels, or raise if there is only one.

    Raises
    ------
    ValueError
        If all labels are the same.
    """
    classes = np.unique(plain_labels(y))
    if len(classes) < 2:
        raise ValueError(
            f"The labels y must hold at least 2 classes, but there is only one class: "
            f"{classes.tolist()[0]!r}. (Images of zero weight are ignored.)"
        )
    return classes


def check_partial_classes(classes: object, known: np.ndarray | None, labels: np.ndarray) -> None:
    """Raise if the ``classes`` parameter of ``partial_fit`` is missing or has changed.

    Parameters
    ----------
    classes : array-like of shape (n_classes,) or None
        The parameter of this call.
    known : ndarray of shape (n_classes,) or None
        The classes of the earlier calls; None in the first call.
    labels : ndarray of shape (n,) or (n, n_labels)
        The labels of this call. An indicator matrix determines the number of labels.

    Raises
    ------
    ValueError
        If ``classes`` is missing in the first call, or differs in a later one.
    """
    if classes is not None and np.ndim(np.asarray(classes)) != 1:
        raise ValueError(
            f"classes must be the list of all labels, such as classes=np.unique(y). Got "
            f"classes={classes!r}."
        )
    if labels.ndim == 2 and known is None:
        known = np.arange(labels.shape[1])
    if classes is None:
        if known is None:
            raise ValueError(
                "The first call of partial_fit needs classes, the labels of all classes that can "
                "occur in any call, such as classes=np.unique(y)."
            )
    elif known is not None:
        given = np.unique(plain_labels(classes))
        if not np.array_equal(known, given):
            of = (
                "the columns of y" if labels.ndim == 2 else "those of the first call of partial_fit"
            )
            raise ValueError(
                f"classes={given.tolist()} differ from {of}, {known.tolist()}. Omit classes, or "
                "call fit to start again."
            )


def check_partial_class_weight(class_weight: ClassWeight) -> None:
    """Raise for "balanced" in ``partial_fit``, which does not see all labels.

    Raises
    ------
    ValueError
        If ``class_weight`` is "balanced".
    """
    if class_weight == "balanced":
        raise ValueError(
            "class_weight='balanced' is not supported for partial_fit, which only sees the labels "
            "of one call. Compute the weights from all labels, or from many of them, "
            "weights = sklearn.utils.class_weight.compute_class_weight('balanced', "
            "classes=classes, y=y), and pass class_weight=dict(zip(classes, weights))."
        )


def encode_labels(y: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Return the class index of each label.

    Parameters
    ----------
    y : ndarray of shape (n,)
        Labels.
    classes : ndarray of shape (n_classes,)
        The classes, sorted.

    Returns
    -------
    ndarray of shape (n,), int64
        Class indices from 0 to n_classes - 1.

    Raises
    ------
    ValueError
        If a label is not in ``classes``.
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
            f"y holds labels that are not in the classes: {np.unique(unseen)[:5].tolist()}. The "
            f"classes are {classes[:10].tolist()}{' and more' if len(classes) > 10 else ''}. "
            "Call fit with warm_start=False on images of all classes, or pass all classes to the "
            "first call of partial_fit."
        )
    return numbers.astype(np.int64)


def _are_text(labels: np.ndarray) -> bool:
    """Tell whether labels are text, which NumPy would compare with numbers digit by digit."""
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
    """Encode the labels of the images with non-zero weight, and combine their weights.

    Parameters
    ----------
    images : ndarray of shape (n_images, height, width, channels)
        All images.
    rows : ndarray of shape (n,), int
        Indices of the images whose sample weight is not zero.
    labels : ndarray of shape (n_images,)
        Labels of all images.
    sample_weight : ndarray of shape (n_images,), float64, at least 0
        Weights of all images.
    class_weight : dict, "balanced" or None
        Weights of the classes.
    classes : ndarray of shape (n_classes,)
        The classes.

    Raises
    ------
    ValueError
        If a label is not in ``classes``, or ``class_weight`` is zero for all images.
    """
    targets, given = encode_labels(labels[rows], classes), sample_weight[rows]
    by_class = class_weights(targets, given, class_weight, classes)[targets]
    counts = by_class > 0
    rows, targets, given, by_class = rows[counts], targets[counts], given[counts], by_class[counts]
    # no weight underflows to zero: all held-out images may have such weights
    smallest = np.finfo(np.float64).tiny
    weights = np.maximum(loss_weights(targets, given, class_weight, classes), smallest)
    heaviest = weights.argmax()
    log_unit = log(given[heaviest]) + log(by_class[heaviest]) - log(weights[heaviest])
    return Examples(images, rows, targets, weights, log_unit=log_unit)


def label_weights(
    targets: np.ndarray, weights: np.ndarray, class_weight: ClassWeight
) -> tuple[tuple[float, ...] | None, tuple[float, ...] | None]:
    """Return the weights of labels in the loss, where absent and where present.

    Parameters
    ----------
    targets : ndarray of shape (n, n_labels), 0 and 1
        Indicator matrix.
    weights : ndarray of shape (n,), float64
        Weights of the images, above 0.
    class_weight : sequence of dict, "balanced" or None
        One dict {0: weight, 1: weight} per label.

    Returns
    -------
    absent, present : tuple of float, or None
        Weights scaled to a weighted mean of 1 over all images and labels; None if all are 1. With
        "balanced", each label has the same total weight where it is present and where it is absent.

    Raises
    ------
    ValueError
        If there is not one dict per label, a weight is negative or not finite, or all are zero.
    """
    if class_weight is None:
        return None, None
    share = np.average(targets, axis=0, weights=weights).clip(0, 1)  # of the images with the label
    if isinstance(class_weight, str):
        with np.errstate(divide="ignore"):
            absent, present = (np.where(s > 0, 0.5 / s, 0.0) for s in (1 - share, share))
        missing = (absent == 0) | (present == 0)
        absent[missing & (absent > 0)] = present[missing & (present > 0)] = 1.0
    else:
        dicts = [d for d in class_weight if isinstance(d, Mapping) and set(d) <= {0, 1}]
        if not len(dicts) == len(class_weight) == targets.shape[1]:
            raise ValueError(
                f"For an indicator matrix y, class_weight must be a list of {targets.shape[1]} "
                "dicts, one {0: weight, 1: weight} per label, or 'balanced'. Got "
                f"class_weight={class_weight!r}."
            )
        absent, present = (np.array([float(d.get(k, 1.0)) for d in dicts]) for k in (0, 1))
        of_all = np.concatenate([absent, present])
        if not (np.isfinite(of_all) & (of_all >= 0)).all():
            raise ValueError(
                "class_weight must hold finite weights of at least 0. Got "
                f"class_weight={class_weight!r}."
            )
    mean = float((absent * (1 - share) + present * share).mean())
    if not mean > 0:
        raise ValueError(
            "class_weight must give a weight above 0 to a label of at least one image. Got "
            f"class_weight={class_weight!r}."
        )
    return tuple((absent / mean).tolist()), tuple((present / mean).tolist())


def loss_weights(
    targets: np.ndarray, sample_weight: np.ndarray, class_weight: ClassWeight, classes: np.ndarray
) -> np.ndarray:
    """Combine sample weights and class weights, and scale them to a mean of 1.

    With this scale, the mean of weight * loss over all images is the weighted mean loss,
    sum(w * l) / sum(w), for any batches.

    Parameters
    ----------
    targets : ndarray of shape (n,), int64
        Class indices.
    sample_weight : ndarray of shape (n,), float64
        Weights of the images, above 0.
    class_weight : dict, "balanced" or None
        As in scikit-learn; "balanced" takes sample weights into account.
    classes : ndarray of shape (n_classes,)
        The classes.

    Returns
    -------
    ndarray of shape (n,), float64
        Weights with mean 1.

    Raises
    ------
    ValueError
        If a class weight is negative or not finite, or zero for all classes among ``targets``.
    """
    if class_weight == "balanced":  # class by class, because their scales may differ widely
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
    if isinstance(class_weight, list):
        raise ValueError(
            "class_weight must be a dict {label: weight}, 'balanced' or None if each image has one "
            f"label. A list of dicts needs an indicator matrix y. Got {class_weight!r}."
        )
    values = class_weight.values() if isinstance(class_weight, Mapping) else ()
    if all(isinstance(value, Real) and 0 <= float(value) < np.inf for value in values):
        by_class: np.ndarray = compute_class_weight(class_weight, classes=classes, y=classes)
        if by_class[targets].any():
            return by_class
    raise ValueError(
        "class_weight must hold finite weights of at least 0, and be above 0 for at least one "
        f"class in y. Got class_weight={class_weight!r}."
    )
