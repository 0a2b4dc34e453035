"""Where the height, width and channels of an array of images stand.

The shape of the array tells it, with the parameters ``image_shape`` and ``data_format``, and so do
the names that ImageReader gives the columns of a table.
"""

import re
from collections.abc import Sequence
from itertools import product
from math import isqrt, prod
from typing import NamedTuple, NoReturn

import numpy as np

from sklearn_cnn._messages import is_count, warn

ImageShape = tuple[int, int, int]
"""Height, width, channels."""

DATA_FORMATS = ("auto", "channels_last", "channels_first")

CHANNEL_COUNTS = range(1, 5)
"""The lengths that tell an axis of channels: gray, gray + alpha, RGB, RGBA."""

PIXEL_NAME = re.compile(r"(.*__)?pixel_(\d+)_(\d+)(?:_([^_]+))?")
"""How ImageReader names the value of a row, a column and a channel, after a union's prefix."""

SMALLEST_SIDE_TO_DOUBT = 8
"""From this side on, a number of features is unlikely to fit an image by chance."""


class Layout(NamedTuple):
    """The shape of one image as (height, width, channels), and whether its channels come first."""

    shape: ImageShape
    channels_first: bool = False


def normalise_image_shape(image_shape: Sequence[int] | None) -> ImageShape | None:
    """Return ``image_shape`` as (height, width, channels), or None where none is given."""
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


def learn_layout(
    shape: tuple[int, ...],
    names: Sequence[str] | None,
    image_shape: ImageShape | None,
    data_format: str,
) -> Layout:
    """Tell the layout of training images, and warn where another one is likely."""
    named = read_names(names, image_shape, data_format)
    if named is not None:
        return named
    layout = read_layout(shape, image_shape, data_format)
    if image_shape is None and len(shape) == 2:
        warn_of_doubtful_rows(shape[1])
    elif image_shape is None and len(shape) == 4:
        warn_of_slices(shape, layout, data_format)
    warn_of_swapped_axes(layout, image_shape, data_format)
    return layout


def read_layout(shape: tuple[int, ...], image_shape: ImageShape | None, data_format: str) -> Layout:
    """Tell the layout of an array of images from its shape and the parameters."""
    if len(shape) == 2:
        return Layout(
            _shape_of_rows(shape[1], image_shape), channels_first=data_format == "channels_first"
        )
    if len(shape) == 3:
        found = Layout((shape[1], shape[2], 1))
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
            f"image_shape={image_shape} was asked for, but X.shape={shape} holds images of shape "
            f"{found.shape} (height, width, channels). Correct image_shape, or leave it as "
            "None: it is only needed for flattened rows."
        )
    return found


def read_names(
    names: Sequence[str] | None, image_shape: ImageShape | None, data_format: str
) -> Layout | None:
    """Tell the layout of flattened rows from the names that ImageReader gives their columns.

    None means that no column has such a name, or that ``image_shape`` decides what the rows are
    since the names are not those of one image.
    """
    names = () if names is None else names
    found = [PIXEL_NAME.fullmatch(name) for name in names]
    matches = [match for match in found if match is not None]
    if not matches:
        return None
    places = [(int(match[2]), int(match[3]), match[4]) for match in matches]
    prefixes = {match[1] for match in matches}
    channels = list(dict.fromkeys(channel for *_, channel in places))
    height = 1 + max(row for row, *_ in places)
    width = 1 + max(column for _, column, _ in places)
    shape = (height, width, len(channels))
    if not all(found):
        other = next(name for name, match in zip(names, found, strict=True) if not match)
        problem = (
            f"{len(places)} columns of X are named as ImageReader names pixels, and others are "
            f"not, {other!r} among them"
        )
    elif len(prefixes) > 1:
        problem = f"the columns of X are named as the pixels of {len(prefixes)} images a row"
    elif len(places) != prod(shape) or len(set(places)) != len(places):
        problem = (
            f"the columns of X are named as pixels of images of {height} x {width} x "
            f"{len(channels)}, but are {len(places)} and not {prod(shape)}"
        )
    else:
        return _check_names(places, channels, Layout(shape), image_shape, data_format)
    if image_shape is not None:
        return None
    raise ValueError(
        f"The shape of the images cannot be told: {problem}. Give the columns of one whole image, "
        "or pass image_shape=(height, width) or (height, width, channels) if each row is an image "
        "all the same."
    )


def _check_names(
    places: list[tuple[int, int, str]],
    channels: list[str],
    named: Layout,
    image_shape: ImageShape | None,
    data_format: str,
) -> Layout:
    """Return the layout of an image that is named whole, unless the parameters contradict it."""
    if image_shape is not None and image_shape != named.shape:
        raise ValueError(
            f"image_shape={image_shape} was asked for, but the columns of X are named as the "
            f"pixels of images of shape {named.shape} (height, width, channels). Correct "
            "image_shape, or leave it as None."
        )
    rows, columns = (range(side) for side in named.shape[:2])
    if places == list(product(rows, columns, channels)):
        order = "channels_last"
    elif places == [(row, column, name) for name, row, column in product(channels, rows, columns)]:
        order = "channels_first"
    else:
        raise ValueError(
            "The columns of X are named as the pixels of an image, but do not stand row by row, as "
            "ImageReader gives them. Put them in that order, or pass X.to_numpy() if the names are "
            "wrong."
        )
    if len(channels) > 1 and data_format not in ("auto", order):
        raise ValueError(
            f"data_format={data_format!r} was asked for, but the columns of X are named "
            f"{order.replace('_', ' ')}. Use data_format='auto' or {order!r}."
        )
    return Layout(named.shape, channels_first=order == "channels_first")


def warn_of_doubtful_rows(n_features: int) -> None:
    """Warn where a row of no stated shape has as many values as a colour image, or one too many."""
    for n_values, channels in ((n_features, 3), (n_features - 1, 1), (n_features - 1, 3)):
        side = isqrt(max(n_values, 0) // channels)
        if side < SMALLEST_SIDE_TO_DOUBT or channels * side * side != n_values:
            continue
        if n_features == n_values:
            count = f"{n_features} = {side} x {side} x 3 features a row"
            remedy = f"If they are colour images, pass image_shape=({side}, {side}, 3)."
        else:
            sides = f"{side} x {side}" + " x 3" * (channels == 3)
            count = f"{n_features} features a row, one more than {sides},"
            remedy = "If one of them is a column of labels, leave it out of X."
        warn(
            f"X has {count} and image_shape is None, so each row is taken for a single row of "
            f"{n_features} pixels. {remedy}"
        )


def warn_of_slices(shape: tuple[int, ...], layout: Layout, data_format: str) -> None:
    """Warn where an axis of 2 or 4, which may be slices or frames, is read as channels."""
    if data_format == "auto" and layout.channels_first and layout.shape[2] in (2, 4):
        height, width, channels = layout.shape
        warn(
            f"X.shape={shape} is read as images of {height} x {width} with {channels} channels, "
            "which come first. If these are slices or frames, the network sees them as the "
            "channels of one image; to classify each by itself, pass X.reshape(-1, "
            f"{height}, {width}) with a label for each. If it is right, pass "
            "data_format='channels_first'."
        )


def warn_of_swapped_axes(layout: Layout, image_shape: ImageShape | None, data_format: str) -> None:
    """Warn where the channels are many and a side is 1 to 4 long, as if the two were swapped.

    Both parameters together leave no doubt.
    """
    height, width, channels = layout.shape
    doubtful = channels not in CHANNEL_COUNTS and min(height, width) in CHANNEL_COUNTS
    if doubtful and (image_shape is None or data_format == "auto"):
        warn(
            f"The images are read as {height} high and {width} wide with {channels} channels. If "
            "that is wrong: image_shape is (height, width, channels), whatever the layout of X, "
            "and data_format says where the channels of X stand. If it is right, pass both "
            "parameters."
        )


def _shape_of_rows(n_features: int, image_shape: ImageShape | None) -> ImageShape:
    if image_shape is None:
        side = isqrt(n_features)
        return (side, side, 1) if side * side == n_features else (1, n_features, 1)
    if prod(image_shape) != n_features:
        height, width, channels = image_shape
        raise ValueError(
            f"image_shape={image_shape} asks for {height} x {width} x {channels} = "
            f"{prod(image_shape)} values an image, but X has {n_features} features a row."
            + " If one of them is a column of labels, leave it out of X."
            * (n_features == prod(image_shape) + 1)
        )
    return image_shape


def _read_4d(shape: tuple[int, ...], image_shape: ImageShape | None, data_format: str) -> Layout:
    _, first, middle, last = shape
    as_last = Layout((first, middle, last))
    as_first = Layout((middle, last, first), channels_first=True)
    if data_format == "channels_last":
        return as_last
    if data_format == "channels_first":
        return as_first
    if first == middle == last == 1:
        return as_last  # both readings are the same
    asked = [layout for layout in (as_last, as_first) if layout.shape == image_shape]
    likely = [layout for layout in (as_last, as_first) if layout.shape[2] in CHANNEL_COUNTS]
    for fitting in (asked, likely):
        if len(fitting) == 1:
            return fitting[0]
    if last in CHANNEL_COUNTS:
        problem = f"its second axis ({first}) and its last ({last}) could both be the channels"
    else:
        problem = f"neither its second axis ({first}) nor its last ({last}) is 1 to 4 long"
    raise ValueError(
        f"Where the channels of X.shape={shape} stand cannot be told: {problem}. Pass "
        "data_format='channels_last' or data_format='channels_first'."
    )


def to_channels_last(X: np.ndarray, layout: Layout, data_format: str = "auto") -> np.ndarray:
    """View an array of images as (n, height, width, channels), without a copy.

    With "auto" a 4-D array may come in either layout, as long as its shape tells which, and
    flattened rows come as at fit.
    """
    height, width, channels = layout.shape
    if X.ndim == 2 and X.shape[1] == prod(layout.shape):
        if layout.channels_first if data_format == "auto" else data_format == "channels_first":
            return X.reshape(-1, channels, height, width).transpose(0, 2, 3, 1)
        return X.reshape(-1, height, width, channels)
    if X.ndim == 3 and X.shape[1:] == (height, width) and channels == 1:
        return X[..., np.newaxis]
    if X.ndim == 4:
        fits_last = X.shape[1:] == (height, width, channels)
        fits_first = X.shape[1:] == (channels, height, width)
        takes_last = fits_last and data_format != "channels_first"
        takes_first = fits_first and data_format != "channels_last"
        if takes_last and not (takes_first and layout.channels_first):
            return X
        if takes_first:
            return X.transpose(0, 2, 3, 1)
    refuse_shape(X.shape, layout, data_format)


def refuse_shape(shape: tuple[int, ...], layout: Layout, data_format: str) -> NoReturn:
    """Refuse images of another shape than those seen at fit."""
    message = (
        f"X holds images of another shape than those seen at fit: expected {layout.shape} "
        f"(height, width, channels), got X.shape={shape}. Resize and convert them as the training "
        "images were."
    )
    height, width, channels = layout.shape
    if tuple(shape) in (layout.shape, (height, width), (channels, height, width)):
        message += " A single image needs a batch axis: pass X[np.newaxis]."
    elif len(shape) == 4 and data_format != "auto":
        message += f" The array is read with data_format={data_format!r}."
    raise ValueError(message)
