"""Convert array-likes of images in any layout to one array, with scikit-learn's checks."""

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
"""Types that NumPy converts, besides those with ``__array__``; scikit-learn rejects numbers."""

_SHOW_PIPELINE = (
    "X must hold the pixels of images, not {what}. Use ImageReader to read the files, as the first "
    "step of a pipeline:\n\n"
    "    model = make_pipeline(ImageReader(size=(64, 64)), CNNClassifier())\n"
    "    model.fit({paths}, y)"
)

T = TypeVar("T")


class PixelArray(NamedTuple):
    """Checked images, with the column names if they were passed as a table."""

    values: np.ndarray
    names: Sequence[str] = ()


def check_images(
    X: object,
    *,
    shape: tuple[int, ...] | None = None,
    name: str = "ImageSpec",
    check_rows: Callable[..., np.ndarray] | None = None,
) -> PixelArray:
    """Check that an array-like holds images, with scikit-learn's array checks.

    Parameters
    ----------
    X : array-like or PixelArray
        The images. A PixelArray is already checked.
    shape : tuple of int or None, default=None
        Shape of an image during fit, so that a single image is not treated as rows.
    name : str, default="ImageSpec"
        Name of the caller, for the messages.
    check_rows : callable or None, default=None
        Function that checks flattened rows instead of :func:`sklearn.utils.check_array`, such as
        ``partial(validate_data, estimator, reset=True)``.

    Returns
    -------
    PixelArray
        Checked images, whose values are ``X`` itself if it is an array.

    Raises
    ------
    ValueError, TypeError
        If ``X`` does not hold images.
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
        raise TypeError(f"X must hold the numeric values of pixels. Got dtype {values.dtype}.")
    return PixelArray(values, () if names is None else names)


def _as_array(X: Any) -> Any:
    """Convert lists and other array-likes to arrays, and explain common mistakes."""
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
            raise TypeError(f"X must hold the pixels of images, not {what}. Pass its .data.")
        raise TypeError(_SHOW_PIPELINE.format(what=what, paths="folder.data"))
    X = to_host(X)
    if isinstance(X, np.ndarray) and X.dtype == object and X.ndim == 1:
        X = list(X)
    if hasattr(X, "shape"):
        return X
    if not isinstance(X, ARRAY_LIKE) and not hasattr(X, "__array__"):
        raise TypeError(
            f"X must be an array, or a list of images as arrays. Got {type(X).__name__}. Convert a "
            "torch Dataset or another collection to an array first: np.stack(images)."
        )
    try:
        return np.asarray(X)
    except ValueError as error:
        raise ValueError(_describe_ragged(X)) from error


def to_host(values: T) -> T | np.ndarray:
    """Return a tensor or array API array on any device as a NumPy array."""
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
    """Tell whether a list or an array begins with a path."""
    if not isinstance(X, (list, tuple, np.ndarray)) or not getattr(X, "ndim", 1) or len(X) == 0:
        return False
    first = X[0]
    return _is_path(first) or (np.shape(first) == (1,) and _is_path(first[0]))


def _is_path(value: object) -> bool:
    return isinstance(value, (str, os.PathLike, bytes))


def _describe_ragged(X: Any) -> str:
    """Describe images of different shapes, or images that are not rectangular."""
    try:
        shapes = sorted({np.shape(image) for image in X})
    except ValueError:
        shapes = []
    if len(shapes) < 2:
        return "The images in X have rows of different lengths. Images must be rectangular."
    return (
        f"The images in X have different shapes, such as {shapes[0]} and {shapes[1]}. Convert them "
        "to the same height, width and number of channels, with ImageReader(size=(64, 64)) as the "
        "first step of a pipeline."
    )
