"""ImageReader: its parameters and constraints, and the way from files to an array."""

import os
from collections.abc import Callable, Sequence
from numbers import Integral, Real
from typing import TYPE_CHECKING

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils import Tags

from sklearn_cnn._compat import (
    CallbackSupportMixin,
    CheckedParametersMixin,
    HasMethods,
    Interval,
    StrOptions,
    _fit_context,
    _get_output_config,
    with_callbacks,
)
from sklearn_cnn._forks import forks_wait
from sklearn_cnn.files.options import (
    CHANNELS,
    DTYPES,
    RESIZE_WAYS,
    ReadOptions,
    check_size,
    check_value_range,
)
from sklearn_cnn.files.sources import list_sources

if TYPE_CHECKING:
    from joblib import Memory

    from sklearn_cnn.files.read_many import ImageBatch


class ImageReader(CheckedParametersMixin, CallbackSupportMixin, TransformerMixin, BaseEstimator):
    """Read image files into an array, as the first step of a pipeline.

    Stateless: nothing is learnt, and ``transform`` works without ``fit``. PNG, JPEG, WebP, BMP,
    GIF, TIFF and AVIF are read, and HEIC if pillow-heif is installed, recognised by content and not
    by name. EXIF orientation is applied. Other files are read by a ``decoder``.

    Parameters
    ----------
    size : int or (height, width), default=(64, 64)
        Size of the images that come out, in pixels.
    mode : {"RGB", "L", "RGBA"} or int, default="RGB"
        Colour, gray, or colour with alpha: 3, 1 or 4 channels. Alpha is composited on the
        background, except in "RGBA". An int takes images of that number of channels, of any kind,
        as they are; others cannot be read.
    resize : {"fit", "crop", "pad", "stretch"}, default="fit"
        How an image of another size becomes one of this size:

        - "fit" scales it, keeping its aspect ratio, until it covers the size, and center-crops it;
        - "crop" center-crops it without scaling, with background around a smaller image;
        - "pad" scales it, keeping its aspect ratio, until it lies within the size, and pads it with
          background (letterbox);
        - "stretch" scales it without keeping its aspect ratio.
    background : str, int or (red, green, blue), default="white"
        Colour of transparent pixels, and around smaller images: a name, "#rrggbb", a level of
        gray from 0 to 255, or three levels; scaled to the range of ``dtype``. If ``mode`` is a
        number, the colour's level of gray.
    dtype : {"uint8", "uint16", "float32"}, default="uint8"
        Type of the values that come out. They run from 0 to 255, from 0 to 65535, or from 0 to 1,
        whatever the type in the file: the 255 of a file of 8 bits becomes 65535 in "uint16", the
        65535 of one of 16 bits becomes 255 in "uint8". Files of fractions keep their values in
        "float32".
    value_range : (low, high) or None, default=None
        Values of the files that become black and white in the result; those between are mapped
        linearly, others are clipped. None takes the range of the type: 0 to 255 for uint8, 0 to
        65535 for uint16 (less where a TIFF file says that it has 10 bits, for example), 0 to 1 for
        fractions; other integers must lie in 0..255. Examples: (0, 4095) for 12 bits in files of
        16, (-1000, 3000) for Hounsfield units. Alpha is not mapped.
    decoder : callable or None, default=None
        Takes a path (or content, if ``X`` holds bytes), and returns an array of shape (height,
        width), (height, width, channels) or (channels, height, width), or a PIL image, which is
        closed afterwards. It is called in place of Pillow, in parallel by the threads of
        ``n_jobs``. An error that it raises becomes the reason why that image cannot be read. To be
        pickled with the estimator, it must be a function of a module, or a partial of one.
    cache : path, joblib.Memory or None, default=None
        Folder in which decoded pixels are kept, so that folds, candidates and processes decode each
        file once. A file is identified by its path, inode, size and time of modification; one that
        was changed is decoded again. A decoder is identified by its name, its code and the values
        that it holds, but not by what it calls. The result is read-only: a memory map, if the
        images lie in one piece or take more than 64 MB. A list that holds PIL images or arrays is
        not kept. Set it to None before sharing a model.
    cache_limit : float, default=10e9
        Bytes that the cache may take, ``float("inf")`` for no limit; the least recently used
        entries are removed first. Each further list of images that takes more than 64 MB, such as
        the training part of a fold, takes its size once more.
    n_jobs : int or None, default=None
        Number of threads that decode; None is 1, unless in a :func:`joblib.parallel_config`, and -1
        all cores. Threads speed up photographs, and slow down images of some 32 x 32 pixels.
    on_error : {"raise", "skip"}, default="raise"
        How to handle images that cannot be read. "raise" names all of them in one error; "skip"
        names all of them in one warning, and puts an image of background alone in their place, so
        that rows stay aligned with labels and weights. To leave such files out together with their
        labels, use ``load_image_folder(..., on_error="skip")``.
    verbose : int, default=0
        1 shows a progress bar, and what the cache holds.

    See Also
    --------
    load_image_folder : Lists the files and labels of a folder of class folders.
    CNNClassifier : Takes the array that comes out.

    Notes
    -----
    Images are resized bilinearly, with antialiasing (Pillow's ``BILINEAR``). Before that, JPEG
    files are decoded at a half, a quarter or an eighth of their size, and others are reduced by
    whole numbers, if they stay twice as large as needed. Images of more than 89,478,485
    pixels are refused by their header; JPEG files that are shrunk while they are decoded may have
    twice as many. Colour profiles are not applied. Only the first page or frame of a
    file is read; a warning names files with more, previews, smaller copies and the second views of
    cameras aside. A warning also names the range of images of 16 bits or fractions that use less
    than an eighth of theirs while ``dtype="uint8"``. Images from the cache do not warn again.

    Texts, profiles, thumbnails and EXIF data, except the orientation, are ignored, and may be
    damaged. A file whose pixels are cut off is refused, and so is a JPEG file that lacks only its
    end marker, since its pixels may be incomplete, too. For damaged compressed TIFF data, libtiff
    itself writes a line to standard error.

    Each decoding thread holds one image whole: near the limit of pixels that takes 0.3 GB for
    colour, up to 1.4 GB for a CMYK TIFF file, and 1.7 GB for WebP with alpha.

    A ``decoder`` reads what Pillow does not, such as (``pip install`` what is imported)::

        def read_dicom(path):  # with mode="L", value_range=(-1000, 3000), dtype="uint16"
            return pydicom.dcmread(path).pixel_array

        def read_raw(path):
            with rawpy.imread(path) as raw:
                return raw.postprocess(output_bps=16)

        def read_third_page(path):
            image = PIL.Image.open(path)
            image.seek(2)
            return image

    and ``decoder=tifffile.imread, mode=13`` images of 13 bands.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from PIL import Image
    >>> from sklearn_cnn import ImageReader
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "red.png")
    ...     Image.new("RGB", (40, 30), "red").save(path)
    ...     pixels = ImageReader(size=(16, 16)).transform([path, path])
    >>> pixels.shape, pixels.dtype, pixels[0, 0, 0].tolist()
    ((2, 16, 16, 3), dtype('uint8'), [255, 0, 0])

    Twelve bits in files of sixteen keep all of their levels:

    >>> import numpy as np
    >>> reader = ImageReader(size=(2, 2), mode="L", dtype="uint16", value_range=(0, 4095))
    >>> scan = np.array([[0, 1], [2048, 4095]], dtype="uint16")
    >>> reader.transform([scan]).ravel().tolist()
    [0, 16, 32776, 65535]
    """

    _parameter_constraints: dict[str, list[object]] = {  # noqa: RUF012
        "size": [Interval(Integral, 1, None, closed="left"), tuple, list, np.ndarray],
        "mode": [StrOptions(set(CHANNELS)), Interval(Integral, 1, None, closed="left")],
        "resize": [StrOptions(set(RESIZE_WAYS))],
        "background": [str, Interval(Integral, 0, 255, closed="both"), tuple, list, np.ndarray],
        "dtype": [StrOptions(set(DTYPES))],
        "value_range": [tuple, list, np.ndarray, None],
        "decoder": [callable, None],
        "cache": [str, os.PathLike, HasMethods(["cache"]), None],
        "cache_limit": [Interval(Real, 0, None, closed="right")],
        "n_jobs": [Integral, None],
        "on_error": [StrOptions({"raise", "skip"})],
        "verbose": ["verbose"],
    }

    def __init__(
        self,
        size: int | Sequence[int] = (64, 64),
        *,
        mode: str | int = "RGB",
        resize: str = "fit",
        background: str | int | Sequence[int] = "white",
        dtype: str = "uint8",
        value_range: tuple[float, float] | None = None,
        decoder: Callable[..., object] | None = None,
        cache: "str | os.PathLike[str] | Memory | None" = None,
        cache_limit: float = 10e9,
        n_jobs: int | None = None,
        on_error: str = "raise",
        verbose: int = 0,
    ) -> None:
        self.size = size
        self.mode = mode
        self.resize = resize
        self.background = background
        self.dtype = dtype
        self.value_range = value_range
        self.decoder = decoder
        self.cache = cache
        self.cache_limit = cache_limit
        self.n_jobs = n_jobs
        self.on_error = on_error
        self.verbose = verbose

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.requires_fit = False
        tags.input_tags.two_d_array = False
        tags.input_tags.one_d_array = True
        tags.input_tags.three_d_array = True
        tags.input_tags.string = True
        tags.transformer_tags.preserves_dtype = []
        return tags

    @with_callbacks
    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: object, y: object = None) -> "ImageReader":
        """Check the parameters and the kind of input; opens no file and learns nothing.

        Parameters
        ----------
        X : collection of images
            As for ``transform``.
        y : None
            Ignored.

        Returns
        -------
        self : ImageReader
            The estimator.

        Raises
        ------
        ValueError, TypeError
            If a parameter is wrong, or X is no collection of images.
        """
        self._batch(X)
        if hasattr(self, "_init_callback_context"):  # since scikit-learn 1.9
            context = self._init_callback_context()
            context.call_on_fit_task_begin(estimator=self, X=X, y=y)
            context.call_on_fit_task_end(estimator=self, X=X, y=y)
        return self

    def transform(self, X: object) -> np.ndarray:
        """Read the images.

        Parameters
        ----------
        X : list, tuple, 1-D array, Series or one-column DataFrame
            Of paths (str or pathlib.Path), contents of image files (bytes), PIL images, or arrays
            of shape (height, width), (height, width, channels) or (channels, height, width), of
            any sizes: integers from 0 to 255, uint16 from 0 to 65535, floating point from 0 to 1,
            or booleans; of any values with ``value_range``. An array of shape (n, height, width) or
            (n, height, width, channels) is a collection too.

        Returns
        -------
        ndarray of shape (n_images, height, width, channels), of type ``dtype``
            In the order of X; read-only with a cache. After ``set_output(transform="pandas")``, a
            DataFrame of flattened rows.

        Raises
        ------
        ValueError
            If images cannot be read; all of them are named. Or if a parameter is wrong.
        TypeError
            If X is no collection of images.
        OSError
            If the cache cannot be written.
        """
        self._validate_params()
        pixels = self._read(self._batch(X))
        if _get_output_config("transform", self)["dense"] != "default":
            return pixels.reshape(len(pixels), -1)
        return pixels

    def get_feature_names_out(self, input_features: object = None) -> np.ndarray:
        """Name the values of an image, in the order of its flattened row.

        Parameters
        ----------
        input_features : None
            Ignored.

        Returns
        -------
        ndarray of shape (height * width * channels,), object
            "pixel_0_0", ... of gray images, "pixel_0_0_R", ... of colour, "pixel_0_0_0", ... where
            ``mode`` is a number: row, column, channel.
        """
        self._validate_params()
        options = self._options()
        channels = options.mode if isinstance(options.mode, str) else range(options.mode)
        suffixes = [""] if options.mode == "L" else [f"_{channel}" for channel in channels]
        names = [
            f"pixel_{row}_{column}{suffix}"
            for row in range(options.height)
            for column in range(options.width)
            for suffix in suffixes
        ]
        return np.array(names, dtype=object)

    def _options(self) -> ReadOptions:
        with forks_wait:  # for Pillow, which ``import sklearn_cnn`` does not load
            from sklearn_cnn.files.framing import parse_colour

        size = check_size(self.size)
        mode = self.mode if isinstance(self.mode, str) else int(self.mode)
        colour, values = parse_colour(self.background), check_value_range(self.value_range)
        return ReadOptions(*size, mode, self.resize, colour, self.dtype, values, self.decoder)

    def _batch(self, X: object) -> "ImageBatch":
        """Check X and the parameters, and put them together; opens no image."""
        options = self._options()
        with forks_wait:
            from sklearn_cnn.files.cache import open_cache
            from sklearn_cnn.files.opening import decoder_version
            from sklearn_cnn.files.read_many import ImageBatch

        cache = open_cache(self.cache, self.cache_limit, options, decoder_version())
        sources, skip = list_sources(X, options), self.on_error == "skip"
        return ImageBatch(sources, options, cache, self.n_jobs, skip)

    def _read(self, batch: "ImageBatch") -> np.ndarray:
        """Read a batch, and name the parameter that an error of the machine is about."""
        from sklearn_cnn.files.cache import cache_named_in_errors

        try:
            with cache_named_in_errors(self.cache, "pixels"):  # errors of images are told apart
                return batch.read(self.verbose)
        except MemoryError as error:
            if batch.cache is not None:
                raise
            n_images, shape = len(batch.sources), batch.options.shape
            raise MemoryError(
                f"{n_images:,} images of shape {shape} take "
                f"{n_images * batch.options.n_bytes / 1e6:,.1f} MB of memory. Set cache=FOLDER, "
                "and they lie in a file instead, or choose a smaller size."
            ) from error
