"""Any array-like of images, checked in scikit-learn's words and viewed channels last."""

import os
from math import prod
from numbers import Number
from typing import Any

import numpy as np
from scipy.sparse import issparse
from sklearn.utils import check_array
from sklearn.utils.validation import validate_data

from sklearn_cnn._compat import _get_feature_names
from sklearn_cnn.pixels.layout import (
    Layout,
    normalise_image_shape,
    read_layout,
    read_names,
    refuse_shape,
    to_channels_last,
    warn_of_doubtful_rows,
    warn_of_slices,
    warn_of_swapped_axes,
)

ARRAY_LIKE = (list, tuple, range, Number, type(None))
"""What NumPy makes an array of, beside what says so itself; numbers are left to scikit-learn."""

_SHOW_PIPELINE = (
    "X must hold the pixels of images, not {what}. ImageReader opens the files, as the first step "
    "of a pipeline:\n\n"
    "    model = make_pipeline(ImageReader(size=(64, 64)), CNNClassifier())\n"
    "    model.fit({paths}, y)"
)


def read_training_images(estimator: Any, X: Any) -> tuple[np.ndarray, Layout]:
    """Check the images given to ``fit``, tell their layout, and view them channels last.

    Sets ``n_features_in_`` where ``X`` has rows of features, as scikit-learn counts them, and
    ``feature_names_in_`` where it is a DataFrame.

    Parameters
    ----------
    estimator : CNNClassifier
        Gives ``image_shape`` and ``data_format``, and its name to the messages.
    X : array-like of shape (n, features), (n, H, W), (n, H, W, C) or (n, C, H, W)
        The images.

    Returns
    -------
    images : ndarray of shape (n, height, width, channels)
        A view of ``X`` where that is an array, in its own dtype.
    layout : Layout
        Shape of one image and order of its values.

    Raises
    ------
    ValueError, TypeError
        If ``X`` holds no images, or its layout cannot be told.
    """
    array, names = _check(estimator, X, reset=True)
    image_shape, data_format = normalise_image_shape(estimator.image_shape), estimator.data_format
    layout = read_names(names, image_shape, data_format)
    if layout is None:
        layout = read_layout(array.shape, image_shape, data_format)
        if image_shape is None and array.ndim == 2:
            warn_of_doubtful_rows(array.shape[1])
        elif image_shape is None and array.ndim == 4:
            warn_of_slices(array.shape, layout, data_format)
        warn_of_swapped_axes(layout, image_shape, data_format)
    if array.ndim > 2:
        for name in ("n_features_in_", "feature_names_in_"):
            vars(estimator).pop(name, None)
    return to_channels_last(array, layout, data_format), layout


def read_images(estimator: Any, X: Any, layout: Layout) -> np.ndarray:
    """Check images against the layout seen at fit, and view them channels last.

    Parameters
    ----------
    estimator : CNNClassifier
        A fitted one; nothing is set on it.
    X : array-like of shape (n, features), (n, H, W), (n, H, W, C) or (n, C, H, W)
        The images; the layout may differ from that of fit, the image's shape may not.
    layout : Layout
        What ``fit`` saw.

    Returns
    -------
    ndarray of shape (n, height, width, channels)
        A view of ``X`` where that is an array, in its own dtype.

    Raises
    ------
    ValueError, TypeError
        If ``X`` holds no images, or images of another shape.
    """
    array, names = _check(estimator, X, reset=False, image_shape=layout.image_shape)
    asked = normalise_image_shape(estimator.image_shape)
    if asked not in (None, layout.image_shape):
        raise ValueError(
            f"image_shape={asked} was asked for, but the estimator was fitted on images of shape "
            f"{layout.image_shape} (height, width, channels). Set it back, or call fit anew."
        )
    named = read_names(names, asked, estimator.data_format)
    if named is None:
        return to_channels_last(array, layout, estimator.data_format)
    if named.image_shape != layout.image_shape:
        refuse_shape((len(array), *named.image_shape), layout, estimator.data_format)
    return to_channels_last(array, named, estimator.data_format)


def _check(
    estimator: Any, X: Any, *, reset: bool, image_shape: tuple[int, ...] | None = None
) -> tuple[np.ndarray, Any]:
    """Return the array, and the names of its columns or None."""
    X, names = _as_array(X), None
    if len(X.shape) > 2:
        array: np.ndarray = check_array(
            X, allow_nd=True, estimator=estimator, input_name="X", dtype="numeric"
        )
        if 0 in array.shape:
            raise ValueError(f"X holds images without pixels: X.shape={array.shape}.")
    else:
        if image_shape is not None and (*X.shape, 1) == image_shape:
            _refuse_single_image(X.shape, prod(image_shape))
        array = validate_data(estimator, X, reset=reset, dtype="numeric")
        names = _get_feature_names(X)
    if array.dtype.kind not in "biuf":
        raise TypeError(f"X must hold numbers, the values of pixels. Got dtype {array.dtype}.")
    return array, names


def _refuse_single_image(shape: tuple[int, ...], n_features: int) -> None:
    if shape[1] != n_features:
        raise ValueError(
            f"X has {shape[1]} features, but CNNClassifier is expecting {n_features} features as "
            f"input. X.shape={shape} is the shape of one image: pass X[np.newaxis] to predict a "
            "single image."
        )


def _as_array(X: Any) -> Any:
    """Turn lists and other array-likes into arrays, with a word on what is often put there."""
    if issparse(X):
        return X
    if hasattr(X, "iloc") and len(X.shape) == 2 and 0 not in X.shape:
        first = X.iloc[0].tolist()
        if all(map(_is_path, first)) or (len(first) == 1 and np.ndim(first[0]) > 1):
            X = X.iloc[:, 0]  # a table of paths, or one whose only column holds images
    if hasattr(X, "to_numpy") and len(X.shape) == 1:  # a Series
        X = X.to_numpy()
    if isinstance(X, (str, bytes, os.PathLike)) or _holds_paths(X):
        raise TypeError(_SHOW_PIPELINE.format(what="paths or text", paths="paths"))
    if isinstance(X, dict) and "data" in X:  # a Bunch
        what = f"a {type(X).__name__}"
        if not _holds_paths(X["data"]):
            raise TypeError(f"X must hold the pixels of images, not {what}: pass its .data.")
        raise TypeError(_SHOW_PIPELINE.format(what=what, paths="folder.data"))
    X = to_host(X)
    if isinstance(X, np.ndarray) and X.dtype == object and X.ndim == 1:
        X = list(X)
    if hasattr(X, "shape"):
        return X
    if not isinstance(X, ARRAY_LIKE) and not hasattr(X, "__array__"):
        raise TypeError(
            f"X must be an array, or a list of images as arrays. Got {type(X).__name__}. Of a "
            "torch Dataset or another collection, make an array first: np.stack(images)."
        )
    try:
        return np.asarray(X)
    except ValueError as error:
        raise ValueError(_describe_ragged(X)) from error


def to_host(values: Any) -> Any:
    """Return a tensor, or an array of the array API, as a NumPy array, from any device."""
    if hasattr(values, "detach") and hasattr(values, "cpu"):  # torch's
        values = values.detach().cpu()
        is_short = str(values.dtype) == "torch.bfloat16"
        return values.float().numpy() if is_short else values.resolve_neg().numpy()
    if hasattr(values, "__array_namespace__") and hasattr(values, "__dlpack__"):
        if hasattr(values, "get"):  # CuPy's
            return values.get()
        try:
            return np.asarray(values)
        except (TypeError, RuntimeError):  # on another device
            return np.from_dlpack(values, device="cpu", copy=True)
    return values


def _holds_paths(X: Any) -> bool:
    """Whether a list or an array begins with a path."""
    if isinstance(X, np.ndarray) and X.ndim == 0:
        return False
    is_sequence = isinstance(X, (list, tuple, np.ndarray)) and len(X) > 0
    if not is_sequence:
        return False
    first = X[0]
    return _is_path(first) or (np.shape(first) == (1,) and _is_path(first[0]))


def _is_path(value: Any) -> bool:
    return isinstance(value, (str, os.PathLike, bytes))


def _describe_ragged(X: Any) -> str:
    """Name two shapes that differ among images, where each image has one."""
    try:
        shapes = sorted({np.shape(image) for image in X})
    except ValueError:
        shapes = []
    if len(shapes) < 2:
        return "The images in X have rows of different lengths: an image must be a rectangle."
    return (
        f"The images in X have different shapes, {shapes[0]} and {shapes[1]} among them: bring "
        "them to one height, width and number of channels, with ImageReader(size=(64, 64)) as the "
        "first step of a pipeline."
    )
