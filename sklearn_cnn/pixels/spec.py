"""The specification of a model's images, inferred from an array: shape, channel order, range.

The positions of height, width and channels follow from the shape of the array and the parameters
``image_shape`` and ``data_format``, or from the names that ImageReader gives to the columns of a
table. Images are viewed channels last. They are never copied, converted or modified.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from math import inf, isqrt, prod
from typing import NoReturn

import numpy as np

from sklearn_cnn._messages import check_choice, is_count, warn
from sklearn_cnn.pixels.arrays import check_images
from sklearn_cnn.pixels.scale import PixelScale, check_scale

ImageShape = tuple[int, int, int]
"""Height, width, channels."""

DATA_FORMATS = ("auto", "channels_last", "channels_first")

CHANNEL_COUNTS = range(1, 5)
"""The lengths of a channel axis: gray, gray + alpha, RGB, RGBA."""

PIXEL_NAME = re.compile(r"(.*__)?pixel_(\d+)_(\d+)(?:_([^_]+))?")
"""ImageReader's name for a row, column and channel, after the prefix of a FeatureUnion."""

SMALLEST_SIDE_TO_DOUBT = 8
"""Smallest side for which a number of features is unlikely to match an image by chance."""


@dataclass(frozen=True)
class ImageSpec:
    """Specification of the images of a model: their shape, channel order and value range.

    Parameters
    ----------
    shape : tuple of int
        Height, width and number of channels of an image.
    channels_first : bool, default=False
        Whether the channels came before the height, in a 4-D array or in a flattened row.
    low, high : float
        Smallest and largest pixel value. By default, the range is empty.
    whole : bool, default=True
        Whether all values are whole numbers, as in uint8 images.
    doubt : {0, 1, 2}, default=0
        Whether one of the training images alone looks as if it was scaled differently: no, perhaps,
        or surely. Similar images are then accepted.

    Notes
    -----
    ``X`` is an array-like of shape (n, height, width), (n, height, width, channels), (n, channels,
    height, width) or (n, features), of any real dtype. In all methods, ``image_shape`` and
    ``data_format`` are those of :class:`sklearn_cnn.CNNClassifier`.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn_cnn import CNNClassifier
    >>> images, y = load_digits().images[:200], load_digits().target[:200]
    >>> spec = CNNClassifier(16, max_epochs=1).fit(images, y).image_spec_
    >>> spec
    ImageSpec(shape=(8, 8, 1), channels_first=False, low=0.0, high=16.0, whole=True)
    >>> spec.read(images.reshape(200, 64)).shape
    (200, 8, 8, 1)
    >>> spec.read(images / 16)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ...
    ValueError: The range of the pixels changed since fit, which saw whole numbers from 0 to 16: ...
    """

    shape: ImageShape
    channels_first: bool = False
    low: float = inf
    high: float = -inf
    whole: bool = True
    doubt: int = field(default=0, repr=False)

    @classmethod
    def learn(
        cls, X: object, *, image_shape: Sequence[int] | None = None, data_format: str = "auto"
    ) -> "ImageSpec":
        """Infer the shape and channel order of training images; the range is empty.

        :meth:`widened` then adds the range of the images with non-zero weight.

        Parameters
        ----------
        X : array-like or PixelArray
            The images.
        image_shape : sequence of int or None, default=None
            Shape of an image, if it is passed as a flattened row.
        data_format : {"auto", "channels_last", "channels_first"}, default="auto"
            Position of the channels.

        Returns
        -------
        ImageSpec
            The specification.

        Raises
        ------
        ValueError, TypeError
            If ``X`` does not hold images, or their layout is ambiguous.
        """
        check_choice(data_format, "data_format", DATA_FORMATS)
        values, names = check_images(X)
        asked = normalise_image_shape(image_shape)
        named = read_names(names, asked, data_format)
        if named is not None:
            return named
        found = read_layout(values.shape, asked, data_format)
        if asked is None and values.ndim == 2:
            _warn_of_doubtful_rows(values.shape[1])
        if asked is None and values.ndim == 4 and data_format == "auto":
            _warn_of_slices(values.shape, found)
        if asked is None or data_format == "auto":
            _warn_of_swapped_axes(found)
        return found

    def view(
        self, X: object, *, image_shape: Sequence[int] | None = None, data_format: str = "auto"
    ) -> np.ndarray:
        """Check the shape of images, and view them channels last.

        Parameters
        ----------
        X : array-like or PixelArray
            The images. Their layout may differ from that during ``fit``, but not the shape of an
            image.
        image_shape : sequence of int or None, default=None
            None, or the shape seen during ``fit``.
        data_format : {"auto", "channels_last", "channels_first"}, default="auto"
            Position of the channels. "auto" reads flattened rows as during ``fit``.

        Returns
        -------
        ndarray of shape (n, height, width, channels)
            A view of ``X`` if it is an array, in its own dtype.

        Raises
        ------
        ValueError, TypeError
            If ``X`` does not hold images, or holds images of another shape.
        """
        check_choice(data_format, "data_format", DATA_FORMATS)
        values, names = check_images(X, shape=self.shape)
        asked = normalise_image_shape(image_shape)
        if asked not in (None, self.shape):
            raise ValueError(
                f"image_shape={asked} was passed, but the estimator was fitted on images of "
                f"shape {self.shape} (height, width, channels). Reset it, or call fit again."
            )
        named = read_names(names, asked, data_format)
        if named is not None and named.shape != self.shape:
            _refuse_shape((len(values), *named.shape), self, data_format)
        return to_channels_last(values, named or self, data_format)

    def read(
        self,
        X: object,
        *,
        image_shape: Sequence[int] | None = None,
        data_format: str = "auto",
        dtype: str = "float32",
    ) -> np.ndarray:
        """Check the shape and range of images, and view them channels last.

        Parameters
        ----------
        X : array-like or PixelArray
            The images, as for :meth:`view`.
        image_shape : sequence of int or None, default=None
            None, or the shape seen during ``fit``.
        data_format : {"auto", "channels_last", "channels_first"}, default="auto"
            Position of the channels, as for :meth:`view`.
        dtype : str, default="float32"
            Floating-point type of the network, which must hold the values.

        Returns
        -------
        ndarray of shape (n, height, width, channels)
            A view of ``X`` if it is an array, in its own dtype.

        Raises
        ------
        ValueError, TypeError
            If ``X`` does not hold images, or holds images of another shape or range.
        """
        images = self.view(X, image_shape=image_shape, data_format=data_format)
        check_scale(images, self._scale, dtype)
        return images

    def widened(
        self, images: np.ndarray, rows: np.ndarray | None = None, dtype: str = "float32"
    ) -> "ImageSpec":
        """Return a specification whose range includes that of training images.

        Parameters
        ----------
        images : ndarray of shape (n, height, width, channels)
            Images returned by :meth:`view`.
        rows : ndarray of shape (n_rows,), int, or None, default=None
            Indices of the images to include; None for all.
        dtype : str, default="float32"
            Floating-point type of the network, which must hold the values.

        Returns
        -------
        ImageSpec
            The widened specification.

        Raises
        ------
        ValueError
            If the images were scaled differently from those seen before.
        """
        more = check_scale(images, self._scale, dtype, rows, to_train=True)
        return replace(self, **self._scale.widened(more)._asdict())

    @property
    def _scale(self) -> PixelScale:
        return PixelScale(self.low, self.high, self.whole, self.doubt)


def normalise_image_shape(image_shape: Sequence[int] | None) -> ImageShape | None:
    """Return ``image_shape`` as (height, width, channels), or None if it is None."""
    if image_shape is None:
        return None
    sides = tuple(image_shape) if np.ndim(image_shape) == 1 else ()
    if len(sides) not in (2, 3) or not all(map(is_count, sides)):
        raise ValueError(
            f"image_shape must be (height, width) or (height, width, channels) in whole numbers "
            f"of at least 1. Got image_shape={image_shape!r}."
        )
    height, width, *channels = (int(side) for side in sides)
    return height, width, channels[0] if channels else 1


def read_layout(
    shape: tuple[int, ...], image_shape: ImageShape | None, data_format: str
) -> ImageSpec:
    """Infer the layout of an array of images from its shape and the parameters."""
    if len(shape) == 2:
        return ImageSpec(_shape_of_rows(shape[1], image_shape), data_format == "channels_first")
    if len(shape) == 3:
        found = ImageSpec((shape[1], shape[2], 1))
    elif len(shape) == 4:
        found = _read_4d(shape, image_shape, data_format)
    else:
        raise ValueError(
            f"X must hold images as (n, height, width), (n, height, width, channels), "
            f"(n, channels, height, width) or flattened rows (n, features). Got {len(shape)} "
            f"dimensions, X.shape={shape}. For videos, classify their frames one by one."
        )
    if image_shape is not None and found.shape != image_shape:
        raise ValueError(
            f"image_shape={image_shape} was passed, but X.shape={shape} holds images of shape "
            f"{found.shape} (height, width, channels). Correct image_shape, or leave it as "
            "None: it is only needed for flattened rows."
        )
    return found


def read_names(
    names: Sequence[str], image_shape: ImageShape | None, data_format: str
) -> ImageSpec | None:
    """Infer the layout of flattened rows from the column names that ImageReader gives.

    None means that no column has such a name, or that the names are not those of one image and
    ``image_shape`` determines the layout.
    """
    matches = [match for match in map(PIXEL_NAME.fullmatch, names) if match]
    if not matches:
        return None
    places = [(int(match[2]), int(match[3]), match[4]) for match in matches]
    rows, columns, channels = map(set, zip(*places, strict=True))
    shape = (1 + max(rows), 1 + max(columns), len(channels))
    problem, prefixes = "", {match[1] for match in matches}
    if len(matches) < len(names):
        other = next(name for name in names if not PIXEL_NAME.fullmatch(name))
        problem = (
            f"{len(places)} columns of X have ImageReader's names of pixels, but others, such as "
            f"{other!r}, do not"
        )
    elif len(prefixes) > 1:
        problem = f"the columns of X are named as the pixels of {len(prefixes)} images per row"
    elif len(places) != prod(shape) or len(set(places)) != len(places):
        problem = (
            f"the columns of X are named as the pixels of images of {shape[0]} x {shape[1]} x "
            f"{shape[2]}, but there are {len(places)} columns instead of {prod(shape)}"
        )
    if problem and image_shape is not None:
        return None
    if problem:
        raise ValueError(
            f"The shape of the images is ambiguous: {problem}. Pass the columns of one complete "
            "image, or, if each row is an image nevertheless, pass image_shape=(height, width) or "
            "(height, width, channels)."
        )
    if image_shape not in (None, shape):
        raise ValueError(
            f"image_shape={image_shape} was passed, but the columns of X are named as the "
            f"pixels of images of shape {shape} (height, width, channels). Correct image_shape, "
            "or leave it as None."
        )
    order = _read_order(places, shape)
    if shape[2] > 1 and data_format not in ("auto", order):
        raise ValueError(
            f"data_format={data_format!r} was passed, but the columns of X are named "
            f"{order.replace('_', ' ')}. Use data_format='auto' or {order!r}."
        )
    return ImageSpec(shape, channels_first=order == "channels_first")


def _read_order(places: list[tuple[int, int, str]], shape: ImageShape) -> str:
    """Infer the position of the channels from the (row, column, channel) of each value."""
    rows, columns = range(shape[0]), range(shape[1])
    channels = list(dict.fromkeys(channel for *_, channel in places))
    if places == list(product(rows, columns, channels)):
        return "channels_last"
    if places == [(row, column, name) for name, row, column in product(channels, rows, columns)]:
        return "channels_first"
    raise ValueError(
        "The columns of X are named as the pixels of an image, but are not in row order, as "
        "ImageReader returns them. Reorder them, or pass X.to_numpy() if the names are wrong."
    )


def _warn_of_doubtful_rows(n_features: int) -> None:
    """Warn if a row has as many values as a square colour image, or an image and a label."""
    for n_values, channels in ((n_features, 3), (n_features - 1, 1), (n_features - 1, 3)):
        side = isqrt(max(n_values, 0) // channels)
        if side < SMALLEST_SIDE_TO_DOUBT or channels * side * side != n_values:
            continue
        if n_features == n_values:
            count = f"{n_features} = {side} x {side} x 3 features per row"
            remedy = f"If they are colour images, pass image_shape=({side}, {side}, 3)."
        else:
            sides = f"{side} x {side}" + " x 3" * (channels == 3)
            count = f"{n_features} features per row, one more than {sides},"
            remedy = "If one of them is a column of labels, remove it from X."
        warn(
            f"X has {count} and image_shape is None, so each row is treated as an image with a "
            f"single row of {n_features} pixels. {remedy}"
        )


def _warn_of_slices(shape: tuple[int, ...], spec: ImageSpec) -> None:
    """Warn if an axis of length 2 or 4, which may be slices or frames, is read as channels."""
    height, width, channels = spec.shape
    if spec.channels_first and channels in (2, 4):
        warn(
            f"X.shape={shape} is read as channels-first images of {height} x {width} with "
            f"{channels} channels. If this is correct, pass data_format='channels_first'. If the "
            "channels are slices or frames, classify each separately: pass X.reshape(-1, "
            f"{height}, {width}), with a label for each."
        )


def _warn_of_swapped_axes(spec: ImageSpec) -> None:
    """Warn if there are many channels and a side of 1 to 4, as if the two were swapped."""
    height, width, channels = spec.shape
    if channels not in CHANNEL_COUNTS and min(height, width) in CHANNEL_COUNTS:
        warn(
            f"The images are read as {height} high and {width} wide with {channels} channels. If "
            "this is wrong, correct image_shape, which is (height, width, channels) for every "
            "layout of X, or data_format, which is the position of the channels in X. If it is "
            "correct, pass both parameters."
        )


def _shape_of_rows(n_features: int, image_shape: ImageShape | None) -> ImageShape:
    """Return ``image_shape``, or the shape of a square grayscale image or one row of pixels."""
    if image_shape is None:
        side = isqrt(n_features)
        return (side, side, 1) if side * side == n_features else (1, n_features, 1)
    if prod(image_shape) != n_features:
        raise ValueError(
            f"image_shape={image_shape} needs {' x '.join(map(str, image_shape))} = "
            f"{prod(image_shape)} values per image, but X has {n_features} features per row."
            + " If one of them is a column of labels, remove it from X."
            * (n_features == prod(image_shape) + 1)
        )
    return image_shape


def _read_4d(shape: tuple[int, ...], image_shape: ImageShape | None, data_format: str) -> ImageSpec:
    """Infer whether the channels of a 4-D array come first or last."""
    _, first, middle, last = shape
    as_last = ImageSpec((first, middle, last))
    as_first = ImageSpec((middle, last, first), channels_first=True)
    if data_format == "channels_first":
        return as_first
    if data_format == "channels_last" or first == middle == last == 1:
        return as_last  # a single value is the same in both
    asked = [spec for spec in (as_last, as_first) if spec.shape == image_shape]
    likely = [spec for spec in (as_last, as_first) if spec.shape[2] in CHANNEL_COUNTS]
    for fitting in (asked, likely):
        if len(fitting) == 1:
            return fitting[0]
    if last in CHANNEL_COUNTS:
        problem = f"its second axis ({first}) and its last ({last}) could both be the channels"
    else:
        problem = f"neither its second axis ({first}) nor its last ({last}) has length 1 to 4"
    raise ValueError(
        f"The position of the channels in X.shape={shape} is ambiguous: {problem}. Pass "
        "data_format='channels_last' or data_format='channels_first'."
    )


def to_channels_last(X: np.ndarray, spec: ImageSpec, data_format: str = "auto") -> np.ndarray:
    """View an array of images as (n, height, width, channels), without a copy.

    With "auto", a 4-D array may have either layout if its shape is unambiguous, and flattened rows
    have the layout seen during fit.
    """
    height, width, channels = spec.shape
    first_shape = (channels, height, width)
    if X.ndim == 2 and X.shape[1] == prod(spec.shape):
        if spec.channels_first if data_format == "auto" else data_format == "channels_first":
            return X.reshape(-1, *first_shape).transpose(0, 2, 3, 1)
        return X.reshape(-1, *spec.shape)
    if X.shape[1:] == (height, width) and channels == 1:
        return X[..., np.newaxis]
    takes_last = X.shape[1:] == spec.shape and data_format != "channels_first"
    takes_first = X.shape[1:] == first_shape and data_format != "channels_last"
    if takes_last and not (takes_first and spec.channels_first):
        return X
    if takes_first:
        return X.transpose(0, 2, 3, 1)
    _refuse_shape(X.shape, spec, data_format)


def _refuse_shape(shape: tuple[int, ...], spec: ImageSpec, data_format: str) -> NoReturn:
    """Raise for images of another shape than those seen during fit."""
    message = (
        f"X holds images of another shape than those seen during fit: expected {spec.shape} "
        f"(height, width, channels), got X.shape={shape}. Resize and convert them like the "
        "training images."
    )
    height, width, channels = spec.shape
    if tuple(shape) in (spec.shape, (height, width), (channels, height, width)):
        message += " A single image needs a batch axis: pass X[np.newaxis]."
    elif len(shape) == 4 and data_format != "auto":
        message += f" The array is read with data_format={data_format!r}."
    raise ValueError(message)
