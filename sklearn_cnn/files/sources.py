"""What a user gives to be read - paths, contents of files, images, arrays - as one list."""

import os
from collections.abc import Set
from typing import Any

import numpy as np
from scipy.sparse import issparse

from sklearn_cnn.files.levels import find_levels
from sklearn_cnn.files.options import Reading

Source = Any
"""A str, an os.PathLike, bytes, a PIL.Image.Image or an ndarray."""

_ACCEPTED = (
    "paths (str or pathlib.Path), contents of image files (bytes), PIL images, or arrays of shape "
    "(height, width) or (height, width, channels)"
)


def list_sources(X: Any, reading: Reading) -> list[Source]:
    """Check what is to be read, without opening anything.

    Parameters
    ----------
    X : list, tuple, array, Series or one-column DataFrame
        Of paths, contents of files, images or arrays. An array of three or four dimensions is a
        batch of images.
    reading : Reading
        Which values of pixels are taken.

    Returns
    -------
    list
        One source an image; contents as bytes, and torch tensors and nested lists as arrays.

    Raises
    ------
    TypeError, ValueError
        If it is no such collection, is empty, or an element is none of these.
    """
    items = _as_items(X, reading)
    sources: list[Source]
    if isinstance(items, np.ndarray) and items.dtype.kind == "U":
        sources = items.tolist()
    elif isinstance(items, np.ndarray) and items.dtype.kind == "S":
        # NumPy drops zeros at the end, which some formats need, and to which others are blind.
        sources = [content.ljust(items.dtype.itemsize, b"\0") for content in items.tolist()]
    else:
        sources = [_check_source(item, i) for i, item in enumerate(items)]
    if not sources:
        raise ValueError("X is empty: it must hold at least one image or path.")
    return sources


def _as_items(X: Any, reading: Reading) -> Any:
    """Return a sized iterable of images."""
    if issparse(X):
        raise TypeError("X must be dense: images cannot be read from sparse data.")
    if isinstance(X, (str, os.PathLike)):
        raise TypeError(
            f"X must be a collection of images. Got the single path {os.fspath(X)!r}: pass it in a "
            "list, or, if it is a folder, load_image_folder(folder).data."
        )
    if isinstance(X, (bytes, bytearray, memoryview)) or hasattr(X, "getexif"):
        raise TypeError(f"X must be a collection of images. Got a single one: pass [{_short(X)}].")
    if isinstance(X, dict):
        hint = ": pass its .data" if "data" in X else ""
        raise TypeError(f"X must be a collection of images. Got {type(X).__name__}{hint}.")
    if hasattr(X, "columns") and hasattr(X, "shape"):
        return _only_column(X)
    if hasattr(X, "to_numpy"):  # a Series
        return X.to_numpy()
    if hasattr(X, "detach"):  # a torch tensor
        X = X.detach().cpu().numpy()
    if isinstance(X, np.ndarray):
        if X.ndim == 2 and X.shape[1] == 1 and X.dtype.kind in "OUS":
            return X[:, 0]
        numbers = X.dtype.kind not in "OUS"
        if numbers and X.ndim in (3, 4):
            _check_batch(X, reading)
        if X.ndim in ((3, 4) if numbers else (1,)):
            return X
        raise ValueError(
            f"X must be a 1-D array of paths, contents or images, or a 3-D or 4-D array of pixels. "
            f"Got X.shape={X.shape}, dtype {X.dtype}."
        )
    is_sized = hasattr(X, "__len__") and hasattr(X, "__iter__")
    if not is_sized or isinstance(X, Set):  # a set has no order for labels to follow
        raise TypeError(f"X must be a list or an array of {_ACCEPTED}. Got {type(X).__name__}.")
    return X


def _check_batch(X: np.ndarray, reading: Reading) -> None:
    """Refuse one image in the place of several, and pixels that none of the images could have."""
    if X.ndim == 3 and X.shape[2] in (3, 4) and X.shape[1] > 4:
        raise ValueError(
            f"X.shape={X.shape} is the shape of one colour image, and several were expected: pass "
            "X[np.newaxis]. Of gray images, make a list: list(X)."
        )
    if X.dtype != np.uint8:
        try:
            find_levels(X, reading)
        except (TypeError, ValueError) as error:
            raise type(error)(f"X cannot be read: {error}.") from None


def _only_column(X: Any) -> Any:
    """Return the values of a DataFrame of one column."""
    if X.shape[1] != 1:
        names = ", ".join(map(repr, list(X.columns)[:10]))
        raise ValueError(
            f"X is a DataFrame of {X.shape[1]} columns ({names}), and one was expected, of paths. "
            "Choose it: X[['path']], or a ColumnTransformer with a list of one name."
        )
    return X[X.columns[0]].to_numpy()


def _check_source(item: Any, position: int) -> Source:
    if isinstance(item, (str, bytes, os.PathLike)) or hasattr(item, "getexif"):
        return item
    if isinstance(item, (bytearray, memoryview)):
        return bytes(item)
    if hasattr(item, "detach"):
        return item.detach().cpu().numpy()
    if isinstance(item, np.ndarray):
        return item
    if isinstance(item, (list, tuple)) and item:
        try:
            pixels = np.array(item)
        except ValueError:
            raise ValueError(f"X[{position}] has rows of different lengths.") from None
        if pixels.dtype.kind in "biuf":
            return pixels
    raise TypeError(f"X[{position}] is {_short(item)}. X must hold {_ACCEPTED}.")


def name_source(source: Source, position: int) -> str:
    """Name one source in an error: its path, or where it stands in ``X``."""
    if isinstance(source, (str, os.PathLike)):
        return repr(os.fspath(source))
    return f"X[{position}] ({type(source).__name__})"


def _short(item: Any) -> str:
    text = repr(item)
    return text if len(text) <= 40 else f"{type(item).__name__} {text[:30]}..."
