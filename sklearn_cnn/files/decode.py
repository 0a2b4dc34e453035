"""Decode one image - a path, the content of a file, an open image, an array - to pixels.

Plain JPEG files are decoded with simplejpeg, if it is installed: it returns the same pixels as
Pillow, faster. Both use libjpeg-turbo, but for small images Pillow spends most of its time on
inspecting the file in Python. Everything else goes to Pillow, whose result is authoritative.
"""

import os
import stat
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from typing import Any

import numpy as np
from PIL import Image

from sklearn_cnn.files import framing, opening
from sklearn_cnn.files.formats import UnreadableImage
from sklearn_cnn.files.framing import Notes
from sklearn_cnn.files.options import ReadOptions
from sklearn_cnn.files.sources import OUT_OF_RESOURCES, File, Source
from sklearn_cnn.files.structure import SHRINKABLE, read_jpeg_frame

try:
    import simplejpeg
except ImportError:  # an extra
    simplejpeg = None

MAX_FILE_BYTES = 1 << 30

# A file that contains these bytes may have an orientation.
_EXIF, _XMP = b"Exif\x00", b"tiff:Orientation"


def decode(source: Source, options: ReadOptions) -> tuple[np.ndarray, Notes]:
    """Read one image.

    Parameters
    ----------
    source : str, os.PathLike, bytes, PIL.Image.Image or ndarray
        A path, the content of a file, an image, or pixels of shape (height, width), (height,
        width, channels) or (channels, height, width). Images and arrays are not modified.
    options : ReadOptions
        Options for reading.

    Returns
    -------
    pixels : ndarray of shape (height, width, channels), of type ``options.dtype``
        Pixels of the image.
    notes : Notes
        Notes for warnings.

    Raises
    ------
    UnreadableImage
        If it cannot be read; the message says why.
    OSError, MemoryError
        If the machine lacks memory or file handles.
    """
    try:
        if options.decoder is None or not isinstance(source, (str, bytes, os.PathLike)):
            return _decode_any(source, options)
        made = _call_decoder(options.decoder, source)
        with made if isinstance(made, Image.Image) else nullcontext():  # closes its file
            return _decode_any(made, options)
    except Exception as error:  # what decoders raise on damaged files is not documented
        if isinstance(error, UnreadableImage) or _is_of_machine(error):
            raise
        if isinstance(error, OSError):
            is_address = isinstance(source, str) and "://" in source[:10]
            remedy = "; it is a URL: download the image first" if is_address else ""
            raise UnreadableImage(f"{error.strerror or error}{remedy}") from error
        is_ours = type(error) in (ValueError, TypeError)  # messages of decoders do not help users
        reason = str(error) if is_ours else ""
        raise UnreadableImage(reason or "it is damaged; copy or download it again") from error


def _is_of_machine(error: Exception) -> bool:
    """Tell whether the machine lacks memory or file handles."""
    is_short = isinstance(error, OSError) and error.errno in OUT_OF_RESOURCES
    return is_short or isinstance(error, MemoryError)


def _call_decoder(decoder: Callable[..., object], source: File) -> np.ndarray | Image.Image:
    """Return the array or the image that a user-defined decoder returns."""
    try:
        made = decoder(source)
        if isinstance(made, Image.Image):
            return made
        array = np.asarray(made.detach().cpu() if hasattr(made, "detach") else made)
    except Exception as error:
        if _is_of_machine(error):
            raise
        raise UnreadableImage(f"decoder raised {type(error).__name__}: {error}") from error
    if array.dtype.kind not in "biuf":
        raise UnreadableImage(
            f"decoder returned {type(made).__name__} of dtype {array.dtype}, but an array of real "
            "numbers or a PIL image was expected"
        )
    return array


def _decode_any(source: Source, options: ReadOptions) -> tuple[np.ndarray, Notes]:
    if isinstance(source, np.ndarray):
        return _decode_array(source, options)
    if isinstance(source, Image.Image):
        return opening.decode_image(source, options)
    content = source if isinstance(source, bytes) else _read_file(source)
    if options.keeps_eight_bits:
        pixels = decode_plain_jpeg(content, partial(opening.choose_divisor, options))
        if pixels is not None:
            return _decode_array(pixels, options)
    return opening.decode_content(content, options)


def _decode_array(array: np.ndarray, options: ReadOptions) -> tuple[np.ndarray, Notes]:
    values = framing.channels_last(array, options)
    opening.check_pixel_count(values.shape[1], values.shape[0])
    if values.dtype == bool:
        values = values.astype(np.uint8) * np.uint8(255)
    if values.dtype == np.uint8 and options.keeps_eight_bits:
        return framing.fill_frame(framing.as_image(values), options), Notes()
    return framing.fill_deep_frame(framing.DeepImage(values), options)


def _read_file(path: Any) -> bytes:
    # A FIFO would block an ordinary open forever.
    if b"\0" in os.fsencode(path):
        raise UnreadableImage("paths cannot contain a zero byte; pass contents of files as bytes")
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    descriptor = os.open(path, flags)
    try:
        status = os.fstat(descriptor)
        if stat.S_ISDIR(status.st_mode):
            raise UnreadableImage("it is a folder; load_image_folder(folder).data lists its images")
        if not stat.S_ISREG(status.st_mode):
            raise UnreadableImage("it is not a regular file")
        if status.st_size > MAX_FILE_BYTES:
            raise UnreadableImage(
                f"it has {status.st_size:,} bytes, more than the limit of {MAX_FILE_BYTES:,}"
            )
        content = os.read(descriptor, status.st_size)
        while len(content) < status.st_size and (more := os.read(descriptor, status.st_size)):
            content += more
        return content
    finally:
        os.close(descriptor)


def decode_plain_jpeg(
    content: bytes, choose_divisor: Callable[[int, int], int]
) -> np.ndarray | None:
    """Decode a JPEG file that needs no further treatment.

    Parameters
    ----------
    content : bytes
        Content of the file.
    choose_divisor : callable
        Function of width and height that returns 1, 2, 4 or 8, the factor to shrink by while
        decoding, or raises an error if they are too large.

    Returns
    -------
    ndarray of shape (height, width, 3) or (height, width, 1), uint8, or None
        None if Pillow has to decode the file.
    """
    if simplejpeg is None or content[:3] != b"\xff\xd8\xff":
        return None
    if _EXIF in content or _XMP in content:
        return None
    frame = read_jpeg_frame(content)
    # It decodes other frames at full size into memory of the requested size.
    if frame is None or frame.marker not in SHRINKABLE or frame.bits != 8:
        return None
    try:
        height, width, colours, _ = simplejpeg.decode_jpeg_header(content)
    except (ValueError, KeyError):  # damaged, or of unknown sampling or colours
        return None
    if colours not in ("YCbCr", "Gray") or (height, width) != (frame.height, frame.width):
        return None
    divisor = choose_divisor(width, height)
    try:
        shape = (-(-height // divisor), -(-width // divisor), 1 if colours == "Gray" else 3)
        pixels: np.ndarray = simplejpeg.decode_jpeg(
            content, "GRAY" if colours == "Gray" else "RGB", min_height=shape[0], min_width=shape[1]
        )
    except ValueError:  # damaged, or unsupported
        return None
    return pixels if pixels.shape == shape else None
