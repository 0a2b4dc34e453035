"""The input images - paths, contents of files, images, arrays - as one list."""

import errno
import os
from collections.abc import Iterable, Sequence, Set
from typing import Protocol, TypeGuard, runtime_checkable

import numpy as np
from scipy.sparse import issparse

from sklearn_cnn._forks import forks_wait
from sklearn_cnn.files.options import ReadOptions


@runtime_checkable
class PillowImage(Protocol):
    """A PIL.Image.Image, which is recognised without importing Pillow."""

    def getexif(self) -> object:
        """Return the EXIF data, which arrays do not have."""


class Frame(Protocol):
    """A DataFrame, of pandas or another library."""

    @property
    def columns(self) -> Sequence[object]:
        """Names of the columns."""

    def __getitem__(self, name: object) -> object:
        """Return a column."""


File = str | os.PathLike[str] | bytes
"""A path, or the content of a file."""

Source = File | PillowImage | np.ndarray

OUT_OF_RESOURCES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EIO})
"""Errors of the machine, not of an image."""

_ACCEPTED = (
    "paths (str or pathlib.Path), contents of image files (bytes), PIL images, or arrays of shape "
    "(height, width) or (height, width, channels)"
)


def is_frame(X: object) -> TypeGuard[Frame]:
    """Tell whether X is a DataFrame."""
    return hasattr(X, "columns")


def list_sources(X: object, options: ReadOptions) -> list[Source]:
    """Check the images to read, without opening any.

    ``X`` may be a list, tuple, array, Series or one-column DataFrame. An array of three or four
    dimensions is a batch of images. In the returned list, contents are bytes, and torch tensors and
    nested lists are arrays.
    """
    sources = [_check_source(item, i) for i, item in enumerate(_as_items(X, options))]
    if not sources:
        raise ValueError("X is empty. It must hold at least one image or path.")
    return sources


def _as_items(X: object, options: ReadOptions) -> Iterable[object]:
    if issparse(X):
        raise TypeError("X must be dense. Images cannot be read from sparse data.")
    if isinstance(X, (str, os.PathLike)):
        raise TypeError(
            f"X must be a collection of images. Got the single path {os.fspath(X)!r}. Pass it in a "
            "list, or, if it is a folder, pass load_image_folder(folder).data."
        )
    if isinstance(X, (bytes, bytearray, memoryview, PillowImage)):
        raise TypeError(f"X must be a collection of images. Got a single one. Pass [{_short(X)}].")
    if isinstance(X, dict):
        hint = " Pass its .data." if "data" in X else ""
        raise TypeError(f"X must be a collection of images. Got {type(X).__name__}.{hint}")
    if is_frame(X) and hasattr(X, "shape"):
        names = list(X.columns)
        if X.shape[1] != 1:
            raise ValueError(
                f"X must be a DataFrame with one column, of paths. Got {X.shape[1]} columns "
                f"({', '.join(map(repr, names[:10]))}). Select one with X[['path']], or with a "
                "ColumnTransformer and a list of one name."
            )
        X = X[names[0]]
    if hasattr(X, "to_numpy"):  # a Series
        values: Iterable[object] = X.to_numpy()
        return values
    if hasattr(X, "detach"):  # a torch tensor
        X = X.detach().cpu().numpy()
    if isinstance(X, np.ndarray):
        if X.dtype.kind not in "OUS" and X.ndim in (3, 4):
            _check_batch(X, options)
            return X
        if X.dtype.kind in "OUS" and (X.ndim == 1 or X.shape[1:] == (1,)):
            items: list[bytes] = X.ravel().tolist()
            if X.dtype.kind == "S":  # NumPy drops trailing zeros, which some formats need
                return [content.ljust(X.itemsize, b"\0") for content in items]
            return items
        raise ValueError(
            f"X must be a 1-D array of paths, contents or images, or a 3-D or 4-D array of pixels. "
            f"Got X.shape={X.shape}, dtype {X.dtype}."
        )
    if not (hasattr(X, "__len__") and isinstance(X, Iterable)) or isinstance(X, Set):
        # A set has no order that labels could follow.
        raise TypeError(f"X must be a list or an array of {_ACCEPTED}. Got {type(X).__name__}.")
    return X


def _check_batch(X: np.ndarray, options: ReadOptions) -> None:
    """Raise for a single image, and for invalid pixel values."""
    if X.ndim == 3 and X.shape[2] in (3, 4) and X.shape[1] > 4:
        raise ValueError(
            f"X must hold several images. X.shape={X.shape} is the shape of one colour image. Pass "
            "X[np.newaxis], or, for several grayscale images, list(X)."
        )
    if X.dtype != np.uint8:
        with forks_wait:
            from sklearn_cnn.files.framing import find_levels

        try:
            find_levels(X, options)
        except (TypeError, ValueError) as error:
            raise type(error)(f"X cannot be read: {error}.") from None


def _check_source(item: object, position: int) -> Source:
    if isinstance(item, (str, bytes, os.PathLike, np.ndarray, PillowImage)):
        return item
    if isinstance(item, (bytearray, memoryview)):
        return bytes(item)
    if hasattr(item, "detach"):
        pixels: np.ndarray = item.detach().cpu().numpy()
        return pixels
    if isinstance(item, (list, tuple)) and item:
        try:
            pixels = np.array(item)
        except ValueError:
            raise ValueError(f"X[{position}] has rows of different lengths.") from None
        if pixels.dtype.kind in "biuf":
            return pixels
    raise TypeError(f"X[{position}] is {_short(item)}. X must hold {_ACCEPTED}.")


def name_source(source: Source, position: int) -> str:
    """Name one source in an error: its path, or its position in ``X``."""
    if isinstance(source, (str, os.PathLike)):
        return repr(os.fspath(source))
    return f"X[{position}] ({type(source).__name__})"


def _short(item: object) -> str:
    text = repr(item)
    return text if len(text) <= 40 else f"{type(item).__name__} {text[:30]}..."
