"""Any array-like of images becomes one array (n, height, width, channels), and one ImageSpec.

scikit-learn's own checks come first, so that its words are those of the errors. Each image is then
viewed channels last: nothing is copied, converted or written to.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from math import inf, prod
from numbers import Number
from typing import Any, NamedTuple, TypeVar

import numpy as np
from scipy.sparse import issparse
from sklearn.utils import check_array
from sklearn.utils.validation import validate_data

from sklearn_cnn._compat import _get_feature_names
from sklearn_cnn._messages import check_choice
from sklearn_cnn.pixels.layout import (
    DATA_FORMATS,
    ImageShape,
    Layout,
    learn_layout,
    normalise_image_shape,
    read_names,
    refuse_shape,
    to_channels_last,
)
from sklearn_cnn.pixels.scale import PixelScale, check_scale

ARRAY_LIKE = (list, tuple, range, Number, type(None))
"""What NumPy makes an array of, beside what says so itself; numbers are left to scikit-learn."""

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
    names: Sequence[str] | None = None


@dataclass(frozen=True)
class ImageSpec:
    """What a model knows of its images: their shape, the order of their values, their range.

    Parameters
    ----------
    shape : tuple of int
        Height, width, channels of an image.
    channels_first : bool, default=False
        Whether the channels came before the height, in a 4-D array or in a flattened row.
    low, high : float
        The smallest and the largest pixel value. Without them, the range is empty.
    whole : bool, default=True
        Whether all values are whole numbers, as in uint8 images.
    doubt : {0, 1, 2}, default=0
        How much one of the training images by itself looks as if it were scaled differently:
        not at all, perhaps, surely. Others like it then pass.

    Notes
    -----
    ``X`` is an array-like of shape (n, height, width), (n, height, width, channels),
    (n, channels, height, width) or (n, features), of any real dtype. ``image_shape`` and
    ``data_format`` mean in each method what they mean in :class:`sklearn_cnn.CNNClassifier`.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn_cnn.pixels.arrays import ImageSpec
    >>> images = load_digits().images
    >>> spec = ImageSpec.learn(images)
    >>> spec
    ImageSpec(shape=(8, 8, 1), channels_first=False, low=0.0, high=16.0, whole=True)
    >>> spec.read(images.reshape(-1, 64)).shape
    (1797, 8, 8, 1)
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
        cls,
        X: object,
        *,
        image_shape: Sequence[int] | None = None,
        data_format: str = "auto",
        dtype: str = "float32",
        rows: np.ndarray | None = None,
    ) -> "ImageSpec":
        """Tell shape, order and range of training images.

        Parameters
        ----------
        X : array-like or PixelArray
            The images.
        image_shape : sequence of int or None, default=None
            Shape of an image, where it comes as a flattened row.
        data_format : {"auto", "channels_last", "channels_first"}, default="auto"
            Where the channels stand.
        dtype : str, default="float32"
            Floating-point type of the network, which must hold the values.
        rows : ndarray of shape (n_rows,), int, or None, default=None
            Which images count for the range; None for all.

        Returns
        -------
        ImageSpec

        Raises
        ------
        ValueError, TypeError
            If ``X`` holds no images, their layout cannot be told, or the network cannot represent
            a value.
        """
        images = check_images(X)
        spec = cls.learn_shape(images, image_shape=image_shape, data_format=data_format)
        viewed = spec.view(images, image_shape=image_shape, data_format=data_format)
        return spec.widened(viewed, rows, dtype)

    @classmethod
    def learn_shape(
        cls, X: object, *, image_shape: Sequence[int] | None = None, data_format: str = "auto"
    ) -> "ImageSpec":
        """Tell shape and order alone, as :meth:`learn` does; the range is empty.

        :meth:`widened` then gives it the range of the images that count.
        """
        check_choice(data_format, "data_format", DATA_FORMATS)
        values, names = check_images(X)
        asked = normalise_image_shape(image_shape)
        return cls(*learn_layout(values.shape, names, asked, data_format))

    def view(
        self, X: object, *, image_shape: Sequence[int] | None = None, data_format: str = "auto"
    ) -> np.ndarray:
        """View images channels last, whatever their layout, after a check of their shape.

        Parameters
        ----------
        X : array-like or PixelArray
            The images; their layout may differ from that at fit, the shape of an image may not.
        image_shape : sequence of int or None, default=None
            None, or the shape seen at fit.
        data_format : {"auto", "channels_last", "channels_first"}, default="auto"
            Where the channels stand; "auto" reads flattened rows as at fit.

        Returns
        -------
        ndarray of shape (n, height, width, channels)
            A view of ``X`` where that is an array, in its own dtype.

        Raises
        ------
        ValueError, TypeError
            If ``X`` holds no images, or images of another shape.
        """
        check_choice(data_format, "data_format", DATA_FORMATS)
        values, names = check_images(X, shape=self.shape)
        asked = normalise_image_shape(image_shape)
        if asked not in (None, self.shape):
            raise ValueError(
                f"image_shape={asked} was asked for, but the estimator was fitted on images of "
                f"shape {self.shape} (height, width, channels). Set it back, or call fit anew."
            )
        seen = Layout(self.shape, self.channels_first)
        named = read_names(names, asked, data_format)
        if named is not None and named.shape != self.shape:
            refuse_shape((len(values), *named.shape), seen, data_format)
        return to_channels_last(values, named or seen, data_format)

    def read(
        self,
        X: object,
        *,
        image_shape: Sequence[int] | None = None,
        data_format: str = "auto",
        dtype: str = "float32",
    ) -> np.ndarray:
        """View images channels last, as :meth:`view` does, after a check of their range, too.

        Parameters
        ----------
        X, image_shape, data_format
            As for :meth:`view`.
        dtype : str, default="float32"
            Floating-point type of the network, which must hold the values.

        Returns
        -------
        ndarray of shape (n, height, width, channels)
            A view of ``X`` where that is an array, in its own dtype.

        Raises
        ------
        ValueError, TypeError
            If ``X`` holds no images, or images of another shape or range.
        """
        images = self.view(X, image_shape=image_shape, data_format=data_format)
        check_scale(images, self._scale, dtype)
        return images

    def widened(self, images: np.ndarray, rows: np.ndarray | None, dtype: str) -> "ImageSpec":
        """Return the spec with the range of further training images in it.

        Parameters
        ----------
        images : ndarray of shape (n, height, width, channels)
            What :meth:`view` gives.
        rows : ndarray of shape (n_rows,), int, or None
            Which images count; None for all.
        dtype : str
            Floating-point type of the network, which must hold the values.

        Returns
        -------
        ImageSpec

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


def check_images(
    X: object,
    *,
    shape: ImageShape | None = None,
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
    return PixelArray(values, names)


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
        host: np.ndarray = tensor.float().numpy() if is_short else tensor.resolve_neg().numpy()
        return host
    if hasattr(values, "__array_namespace__") and hasattr(values, "__dlpack__"):
        if hasattr(values, "get"):  # CuPy's
            host = values.get()
            return host
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


def read_training_images(estimator: Any, X: Any) -> tuple[np.ndarray, Layout]:
    """Check images for ``fit`` on behalf of an estimator."""
    check_rows = partial(validate_data, estimator, reset=True)
    images = check_images(X, name=type(estimator).__name__, check_rows=check_rows)
    parameters = {"image_shape": estimator.image_shape, "data_format": estimator.data_format}
    spec = ImageSpec.learn_shape(images, **parameters)
    if images.values.ndim > 2:
        for name in ("n_features_in_", "feature_names_in_"):
            vars(estimator).pop(name, None)
    return spec.view(images, **parameters), Layout(spec.shape, spec.channels_first)


def read_images(estimator: Any, X: Any, layout: Layout) -> np.ndarray:
    """Check images for ``predict`` on behalf of an estimator."""
    check_rows, name = partial(validate_data, estimator, reset=False), type(estimator).__name__
    images = check_images(X, shape=layout.shape, name=name, check_rows=check_rows)
    return ImageSpec(*layout).view(
        images, image_shape=estimator.image_shape, data_format=estimator.data_format
    )
