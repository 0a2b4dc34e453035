"""Any array-like of images becomes one array, in any layout, checked as scikit-learn checks it."""

import os
from collections.abc import Callable, Sequence
from functools import partial
from math import prod
from numbers import Number
from typing import Any, NamedTuple, TypeVar

import numpy as np
from scipy.sparse import issparse
from sklearn.utils import check_array

from sklearn_cnn._compat import _get_feature_names

ARRAY_LIKE = (list, tuple, range, Number, type(None))
"""Types that NumPy converts, beside those with an ``__array__``; scikit-learn refuses numbers."""

_SHOW_PIPELINE = (
    "X must hold the pixels of images, not {what}. ImageReader opens the files, as the first step "
    "of a pipeline:\n\n"
    "    model = make_pipeline(ImageReader(size=(64, 64)), CNNClassifier())\n"
    "    model.fit({paths}, y)"
)

T = TypeVar("T")


class PixelArray(NamedTuple):
    """Images that were checked, with the names of the columns where they came as a table."""

    values: np.ndarray
    names: Sequence[str] = ()


def check_images(
    X: object,
    *,
    shape: tuple[int, ...] | None = None,
    name: str = "ImageSpec",
    check_rows: Callable[..., np.ndarray] | None = None,
) -> PixelArray:
    """Check that an array-like holds images, as scikit-learn checks its arrays.

    Parameters
    ----------
    X : array-like or PixelArray
        The images; a PixelArray was checked before.
    shape : tuple of int or None, default=None
        Shape of an image at fit, so that a single image is not taken for rows.
    name : str, default="ImageSpec"
        Whose input it is, for the messages.
    check_rows : callable or None, default=None
        Checks flattened rows in place of :func:`sklearn.utils.check_array`, such as
        ``partial(validate_data, estimator, reset=True)``.

    Returns
    -------
    PixelArray
        The values are ``X`` itself where that is an array.

    Raises
    ------
    ValueError, TypeError
        If ``X`` holds no images.
    """
    if isinstance(X, PixelArray):
        return X
    array, names = _as_array(X), None
    check = partial(check_array, estimator=name, input_name="X")
    if len(array.shape) > 2:
        values = check(array, dtype="numeric", allow_nd=True)
        if 0 in values.shape:
            raise ValueError(f"X holds images without pixels: X.shape={values.shape}.")
    else:
        if shape is not None and (*array.shape, 1) == shape and array.shape[1] != prod(shape):
            raise ValueError(
                f"X has {array.shape[1]} features, but {name} is expecting {prod(shape)} features "
                f"as input. X.shape={array.shape} is the shape of one image: pass X[np.newaxis] "
                "to predict a single image."
            )
        values = (check_rows or check)(array, dtype="numeric")
        names = _get_feature_names(array)
    if values.dtype.kind not in "biuf":
        raise TypeError(f"X must hold numbers, the values of pixels. Got dtype {values.dtype}.")
    return PixelArray(values, () if names is None else names)


def _as_array(X: Any) -> Any:
    """Turn lists and other array-likes into arrays, and explain what is passed by mistake."""
    if issparse(X):
        return X
    if hasattr(X, "iloc") and len(X.shape) == 2 and 0 not in X.shape:
        first = X.iloc[0].tolist()
        if all(map(_is_path, first)) or (len(first) == 1 and np.ndim(first[0]) > 1):
            X = X.iloc[:, 0]  # a table of paths, or one whose only column holds images
    if hasattr(X, "to_numpy") and len(X.shape) == 1:  # a Series
        X = X.to_numpy()
    if _is_path(X) or _holds_paths(X):
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


def to_host(values: T) -> T | np.ndarray:
    """Return a tensor, or an array of the array API, as a NumPy array, from any device."""
    if hasattr(values, "detach") and hasattr(values, "cpu"):  # torch's
        tensor = values.detach().cpu()
        is_short = str(tensor.dtype) == "torch.bfloat16"
        return np.asarray(tensor.float() if is_short else tensor.resolve_neg())
    if hasattr(values, "__array_namespace__") and hasattr(values, "__dlpack__"):
        if hasattr(values, "get"):  # CuPy's
            return np.asarray(values.get())
        try:
            return np.asarray(values)
        except (TypeError, RuntimeError):  # on another device
            return np.from_dlpack(values, device="cpu", copy=True)
    return values


def _holds_paths(X: object) -> bool:
    """Whether a list or an array begins with a path."""
    if not isinstance(X, (list, tuple, np.ndarray)) or not getattr(X, "ndim", 1) or len(X) == 0:
        return False
    first = X[0]
    return _is_path(first) or (np.shape(first) == (1,) and _is_path(first[0]))


def _is_path(value: object) -> bool:
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
