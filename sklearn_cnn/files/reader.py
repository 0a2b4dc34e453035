"""ImageReader: parameters, constraints, and reading files into an array."""

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

    The reader is stateless, and ``transform`` works without ``fit``. It reads PNG, JPEG, WebP, BMP,
    GIF, TIFF and AVIF files, and HEIC files if pillow-heif is installed. The format is recognised
    by content, not by file name. EXIF orientation is applied. A ``decoder`` can read other files.

    Parameters
    ----------
    size : int or (height, width), default=(64, 64)
        Size of the output images, in pixels.
    mode : {"RGB", "L", "RGBA"} or int, default="RGB"
        Channels of the output images: "RGB" has 3, "L" (grayscale) 1, and "RGBA" (with alpha) 4.
        Except in "RGBA", transparent images are composited on the background. An int reads images
        with exactly this number of channels, of any kind, without converting the channels. Images
        with another number of channels cannot be read.
    resize : {"fit", "crop", "pad", "stretch"}, default="fit"
        How to convert images of other sizes to ``size``:

        - "fit" scales the image to cover ``size``, keeping its aspect ratio, and center-crops it;
        - "crop" center-crops the image without scaling, and pads a smaller image with background;
        - "pad" scales the image to fit within ``size``, keeping its aspect ratio, and pads it with
          background (letterbox);
        - "stretch" scales the image without keeping its aspect ratio.
    background : str, int or (red, green, blue), default="white"
        Colour of transparent pixels and of padding: a name, "#rrggbb", a gray level from 0 to 255,
        or three such levels. It is scaled to the range of ``dtype``. If ``mode`` is an int, the
        gray level of the colour is used.
    dtype : {"uint8", "uint16", "float32"}, default="uint8"
        Type of the output values. They range from 0 to 255, from 0 to 65535, or from 0 to 1,
        regardless of the type in the file: the value 255 of an 8-bit file becomes 65535 in
        "uint16", and the value 65535 of a 16-bit file becomes 255 in "uint8". Floating-point files
        keep their values in "float32".
    value_range : (low, high) or None, default=None
        File values that are mapped to black and white. Values in between are mapped linearly, and
        values outside are clipped. If None, the range of the file's type is used: 0 to 255 for
        uint8, 0 to 65535 for uint16 (less if a TIFF file states fewer bits, 10 for example), and 0
        to 1 for floating point. Other integers must be in 0..255. Examples: (0, 4095) for 12 bits
        in 16-bit files, (-1000, 3000) for Hounsfield units. Alpha is not mapped.
    decoder : callable or None, default=None
        User-defined function that replaces Pillow. It takes a path (or the content, if ``X`` holds
        bytes) and returns a PIL image, which is closed afterwards, or an array of shape (height,
        width), (height, width, channels) or (channels, height, width). The ``n_jobs`` threads call
        it in parallel. If it raises an error, the image cannot be read, and the error is given as
        the reason. To be pickled with the estimator, it must be a function of a module, or a
        partial of one.
    cache : path, joblib.Memory or None, default=None
        Folder that caches decoded pixels, so that cross-validation folds, candidates and processes
        decode each file once. A file is identified by its path, inode, size and modification time;
        a changed file is decoded again. A decoder is identified by its name, its code and the
        values that it holds, but not by the functions that it calls. With a cache, the output is
        read-only. It is a memory map if the images are contiguous in the cache or take more than 64
        MB. Lists that hold PIL images or arrays are not cached. Set ``cache`` to None before
        sharing a model.
    cache_limit : float, default=10e9
        Maximum size of the cache in bytes, ``float("inf")`` for no limit. The least recently used
        entries are removed first. Each additional list of images of more than 64 MB, such as the
        training part of a cross-validation fold, is stored again at its full size.
    n_jobs : int or None, default=None
        Number of decoding threads. ``None`` means 1 unless in a :func:`joblib.parallel_config`
        context. ``-1`` means using all cores. More threads speed up reading photographs, and slow
        down reading images of about 32 x 32 pixels.
    on_error : {"raise", "skip"}, default="raise"
        How to handle images that cannot be read. "raise" raises one error that names all of them.
        "skip" raises one warning that names all of them, and replaces each with an image of the
        background colour, so that rows stay aligned with labels and weights. To remove such files
        together with their labels, use ``load_image_folder(..., on_error="skip")``.
    verbose : int, default=0
        Verbosity level. 1 shows a progress bar and the content of the cache.

    See Also
    --------
    load_image_folder : List the files and labels of a folder of class folders.
    CNNClassifier : Classifier that takes the output array.

    Notes
    -----
    Images are resized bilinearly, with antialiasing (Pillow's ``BILINEAR``). Before that, JPEG
    files are decoded at a half, a quarter or an eighth of their size, and other images are reduced
    by integer factors, if they stay at least twice as large as needed. Images of more than
    89,478,485 pixels raise an error based on their header; JPEG files that are reduced during
    decoding may have twice as many. Colour profiles are not applied. Only the first page or frame
    of a file is read. A warning names files with more pages or frames, except for previews, smaller
    copies and the second views of cameras. With ``dtype="uint8"``, a warning also gives the range
    of 16-bit or floating-point images that use less than an eighth of their type's range. Cached
    images do not warn again.

    Texts, profiles, thumbnails and EXIF data except the orientation are ignored, and may be
    damaged. A file with truncated pixel data is an error. So is a JPEG file that only lacks its end
    marker, because its pixels may be incomplete as well. For damaged compressed TIFF data, libtiff
    writes a line to standard error.

    Each decoding thread holds one full image in memory. Near the pixel limit, this takes 0.3 GB for
    a colour image, up to 1.4 GB for a CMYK TIFF file, and 1.7 GB for WebP with alpha.

    A ``decoder`` reads files that Pillow cannot, for example (``pip install`` the imported
    package)::

        def read_dicom(path):  # with mode="L", value_range=(-1000, 3000), dtype="uint16"
            return pydicom.dcmread(path).pixel_array

        def read_raw(path):
            with rawpy.imread(path) as raw:
                return raw.postprocess(output_bps=16)

        def read_third_page(path):
            image = PIL.Image.open(path)
            image.seek(2)
            return image

    For images of 13 bands, use ``decoder=tifffile.imread, mode=13``.

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

    12-bit values in 16-bit files keep all of their levels:

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
        """Check the parameters and the type of ``X``, without opening files.

        Parameters
        ----------
        X : collection of images
            Images, as for ``transform``.
        y : object, default=None
            Not used, present for API consistency by convention.

        Returns
        -------
        self : ImageReader
            The reader itself.

        Raises
        ------
        ValueError, TypeError
            If a parameter is invalid, or ``X`` is not a collection of images.
        """
        self._batch(X)
        if hasattr(self, "_init_callback_context"):  # since scikit-learn 1.9
            context = self._init_callback_context()
            context.call_on_fit_task_begin(estimator=self, X=X, y=y)
            context.call_on_fit_task_end(estimator=self, X=X, y=y)
        return self

    def transform(self, X: object) -> np.ndarray:
        """Read the images into an array.

        Parameters
        ----------
        X : list, tuple, 1-D array, Series or one-column DataFrame
            Images as paths (str or pathlib.Path), contents of image files (bytes), PIL images, or
            arrays of shape (height, width), (height, width, channels) or (channels, height, width),
            of any sizes. Arrays hold integers from 0 to 255, uint16 from 0 to 65535, floating point
            from 0 to 1, or booleans; with ``value_range``, any values. An array of shape (n,
            height, width) or (n, height, width, channels) is also a collection of images.

        Returns
        -------
        ndarray of shape (n_images, height, width, channels), of type ``dtype``
            Pixels, in the order of ``X``; read-only with a cache. With
            ``set_output(transform="pandas")``, a DataFrame of flattened rows.

        Raises
        ------
        ValueError
            If images cannot be read, with the names of all of them, or if a parameter is invalid.
        TypeError
            If ``X`` is not a collection of images.
        OSError
            If the cache cannot be written.
        """
        self._validate_params()
        pixels = self._read(self._batch(X))
        if _get_output_config("transform", self)["dense"] != "default":
            return pixels.reshape(len(pixels), -1)
        return pixels

    def get_feature_names_out(self, input_features: object = None) -> np.ndarray:
        """Get the names of the values of an image, in the order of its flattened row.

        Parameters
        ----------
        input_features : object, default=None
            Not used, present for API consistency by convention.

        Returns
        -------
        ndarray of shape (height * width * channels,), object
            Names of row, column and channel: "pixel_0_0", ... for grayscale images, "pixel_0_0_R",
            ... for colour images, and "pixel_0_0_0", ... if ``mode`` is an int.
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
        with forks_wait:  # for Pillow, which ``import sklearn_cnn`` does not import
            from sklearn_cnn.files.framing import parse_colour

        size = check_size(self.size)
        mode = self.mode if isinstance(self.mode, str) else int(self.mode)
        colour, values = parse_colour(self.background), check_value_range(self.value_range)
        return ReadOptions(*size, mode, self.resize, colour, self.dtype, values, self.decoder)

    def _batch(self, X: object) -> "ImageBatch":
        """Check X and the parameters, and combine them into a batch, without opening images."""
        options = self._options()
        with forks_wait:
            from sklearn_cnn.files.cache import open_cache
            from sklearn_cnn.files.opening import decoder_version
            from sklearn_cnn.files.read_many import ImageBatch

        cache = open_cache(self.cache, self.cache_limit, options, decoder_version())
        sources, skip = list_sources(X, options), self.on_error == "skip"
        return ImageBatch(sources, options, cache, self.n_jobs, skip)

    def _read(self, batch: "ImageBatch") -> np.ndarray:
        """Read a batch; memory and cache errors name the parameter to change."""
        from sklearn_cnn.files.cache import cache_named_in_errors

        try:
            with cache_named_in_errors(self.cache, "pixels"):  # not those of images
                return batch.read(self.verbose)
        except MemoryError as error:
            if batch.cache is not None:
                raise
            n_images, shape = len(batch.sources), batch.options.shape
            raise MemoryError(
                f"{n_images:,} images of shape {shape} take "
                f"{n_images * batch.options.n_bytes / 1e6:,.1f} MB of memory. Set cache=FOLDER "
                "to store them in a file instead, or choose a smaller size."
            ) from error
