"""One image, from wherever it comes, to pixels of the stated shape; the only import of Pillow.

Files come from strangers. Only seven formats are opened, and HEIC where pillow-heif is installed,
told by content, whatever the name says; the number of pixels is read from the header and capped
before anything is decoded; and what is wrong with a file becomes one error,
:class:`UnreadableImage`, with a reason in words.
"""

import errno
import io
import os
import stat
import threading
from functools import partial
from operator import index
from typing import Any, BinaryIO

import numpy as np
import PIL

# The plugins of the allowed formats, so that none of the others is ever loaded.
from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageColor,
    ImageFile,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    UnidentifiedImageError,
    WebPImagePlugin,
    features,
)

from sklearn_cnn.images.eight_bits import array_to_image, to_eight_bits
from sklearn_cnn.images.fast_jpeg import decode_plain_jpeg
from sklearn_cnn.images.formats import describe_content, describe_raw_or_deep, is_heif, is_tiff
from sklearn_cnn.images.framing import REDUCING_GAP, frame_image, shrink_divisor
from sklearn_cnn.images.reading import CHANNELS, Reading
from sklearn_cnn.images.structure import SHRINKABLE, read_jpeg_frame

FORMATS = tuple(
    str(plugin.format)
    for plugin in (
        JpegImagePlugin.JpegImageFile,
        PngImagePlugin.PngImageFile,
        WebPImagePlugin.WebPImageFile,
        BmpImagePlugin.BmpImageFile,
        GifImagePlugin.GifImageFile,
        TiffImagePlugin.TiffImageFile,
        *([AvifImagePlugin.AvifImageFile] if features.check("avif") else []),
    )
)
"""What is opened, the likeliest first."""

MAX_PIXELS = 89_478_485
"""Pixels that are decoded, at most: where Pillow begins to warn of bombs.

A JPEG file may have twice as many, if it is shrunk below that while it is decoded.
"""

MAX_FILE_BYTES = 1 << 30
"""Bytes of the largest file that is opened."""

_ORIENTATION = 0x0112

_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What turns an image of each EXIF orientation upright."""

_TURNED = (5, 6, 7, 8)
"""The orientations whose height and width change places."""

_BITS_PER_SAMPLE, _PHOTOMETRIC, _WHITE_IS_ZERO = 258, 262, 0
_sharing = threading.Lock()


def _renew_sharing() -> None:
    """Give a forked child a lock of its own: a thread that held it does not exist there."""
    global _sharing
    _sharing = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_sharing)

OUT_OF_RESOURCES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EIO})
"""Errors of the machine, and not of an image."""


class UnreadableImage(ValueError):
    """An image that cannot be read; the message is a reason, without the image's name."""


def decoder_version() -> str:
    """Return what changes whenever the same file may give other pixels."""
    lenient = ", truncated files" if ImageFile.LOAD_TRUNCATED_IMAGES else ""  # as others may set it
    return f"1, Pillow {PIL.__version__}{lenient}"


def parse_colour(colour: Any) -> tuple[int, int, int]:
    """Return a colour as red, green and blue, 0 to 255.

    Parameters
    ----------
    colour : str, int or sequence of three int
        A name or "#rrggbb", a level of gray, or the three levels.

    Raises
    ------
    ValueError
        If it is no colour.
    """
    try:
        levels = ImageColor.getrgb(colour) if isinstance(colour, str) else np.atleast_1d(colour)
        red, green, blue = map(index, levels if len(levels) > 1 else [*levels] * 3)
        if not all(0 <= level <= 255 for level in (red, green, blue)):
            raise ValueError
    except (TypeError, ValueError):
        raise ValueError(
            "background must be a colour: a name such as 'white', '#rrggbb', a level of gray from "
            f"0 to 255, or three levels (red, green, blue). Got background={colour!r}."
        ) from None
    return red, green, blue


def decode(source: Any, reading: Reading) -> np.ndarray:
    """Read one image.

    Parameters
    ----------
    source : str, os.PathLike, bytes, PIL.Image.Image or ndarray
        A path, the content of a file, an image, or pixels of shape (height, width), (height,
        width, channels) or (channels, height, width). An image or array is not changed.
    reading : Reading
        What shall come out.

    Returns
    -------
    ndarray of shape (height, width, channels), uint8

    Raises
    ------
    UnreadableImage
        Whatever is wrong with it.
    OSError, MemoryError
        Where the machine has no more memory or file handles, which is no fault of the image.
    """
    try:
        if isinstance(source, np.ndarray):
            image = _wrap(array_to_image(source))
            _check_pixel_count(*image.size)
            return _fill_frame(image, reading)
        if isinstance(source, Image.Image):
            with _sharing:  # reading pixels changes the image, and others may hold the same one
                _check_pixel_count(*source.size)
                copy = source.copy()
            return _finish(copy, reading, _deep_gray(source))
        content = source if isinstance(source, bytes) else _read_file(source)
        pixels = decode_plain_jpeg(content, partial(_divisor, reading))
        if pixels is not None:
            return pixels if pixels.shape == reading.shape else _fill_frame(_wrap(pixels), reading)
        with _open_image(content) as image:
            if isinstance(image, JpegImagePlugin.JpegImageFile):  # MPO is one, too
                _shrink(image, content, reading)
            elif isinstance(image, PngImagePlugin.PngImageFile):
                _settle_transparency(image, content)
            return _finish(image, reading, _deep_gray(image))
    except (UnreadableImage, MemoryError):
        raise
    except OSError as error:
        if error.errno in OUT_OF_RESOURCES:
            raise
        raise UnreadableImage(error.strerror or str(error)) from error
    except Exception as error:  # what decoders raise on damaged files is not documented
        raise UnreadableImage(str(error) or type(error).__name__) from error


def _read_file(path: Any) -> bytes:
    # A FIFO would keep an ordinary open waiting for ever.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    descriptor = os.open(path, flags)
    try:
        status = os.fstat(descriptor)
        if stat.S_ISDIR(status.st_mode):
            raise UnreadableImage("it is a folder; load_image_folder(folder).data lists its images")
        if not stat.S_ISREG(status.st_mode):
            raise UnreadableImage("it is no regular file")
        if status.st_size > MAX_FILE_BYTES:
            raise UnreadableImage(
                f"it has {status.st_size:,} bytes, more than the {MAX_FILE_BYTES:,} that are read"
            )
        content = os.read(descriptor, status.st_size)
        while len(content) < status.st_size and (more := os.read(descriptor, status.st_size)):
            content += more
        return content
    finally:
        os.close(descriptor)


def _open_image(content: bytes) -> Image.Image:
    """Read the header."""
    if not content:
        raise UnreadableImage("it is empty")
    if is_tiff(content) and (reason := describe_raw_or_deep(content)) is not None:
        raise UnreadableImage(reason)
    file = io.BytesIO(content)
    try:
        return (is_heif(content) and _open_heif(file)) or Image.open(file, formats=FORMATS)
    except UnidentifiedImageError:
        raise UnreadableImage(
            describe_content(content)
            or f"it is no image of the formats {', '.join(FORMATS)}, or its header is damaged"
        ) from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise UnreadableImage(f"its header asks for too many pixels: {error}") from None


def _open_heif(file: BinaryIO) -> Image.Image | None:
    """Open a HEIC image with pillow-heif, which is not made known to all of Pillow; None without.

    The image stands upright, since pillow-heif turns it.
    """
    try:
        from pillow_heif import HeifImageFile
    except ImportError:  # not installed, or without its library
        return None
    try:
        image: Image.Image = HeifImageFile(file)
    except SyntaxError as error:
        raise UnreadableImage(f"its HEIC header is damaged: {error}") from None
    return image


def _check_pixel_count(width: int, height: int, divisor: int = 1) -> None:
    """Refuse an image by its header, before anything is decoded."""
    limit = MAX_PIXELS * (1 if divisor == 1 else 2)
    decoded = -(-width // divisor) * -(-height // divisor)
    if width * height > limit or decoded > MAX_PIXELS:
        raise UnreadableImage(
            f"it has {width} x {height} pixels, more than the {limit:,} that are read; make it "
            "smaller first"
        )


def _deep_gray(image: Image.Image) -> tuple[int, bool] | None:
    """Return the largest value of gray of 16 bits, and whether it is black; None of others."""
    if not (image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PNG")):
        return None
    if not isinstance(image, TiffImagePlugin.TiffImageFile):
        return 65535, False
    bits = int(image.tag_v2.get(_BITS_PER_SAMPLE, (16,))[0])
    # Pillow turns negatives of up to eight bits into positives, but not those of 16.
    return 2 ** min(16, max(8, bits)) - 1, image.tag_v2.get(_PHOTOMETRIC) == _WHITE_IS_ZERO


def _shrink(image: JpegImagePlugin.JpegImageFile, content: bytes, reading: Reading) -> None:
    """Have a JPEG image decoded at a half, a quarter or an eighth, if that is large enough.

    Only frames that are made of blocks can be: libjpeg ignores the wish for others, or refuses.
    """
    width, height = image.size
    frame = read_jpeg_frame(content)
    if frame is None or frame.marker not in SHRINKABLE or frame[2:4] != (height, width):
        return
    divisor = _divisor(reading, width, height, turned=_orientation(image) in _TURNED)
    if divisor > 1:
        image.draft(None, (width // divisor, height // divisor))


def _settle_transparency(image: PngImagePlugin.PngImageFile, content: bytes) -> None:
    """Bring what is transparent in a PNG file to the eight bits that Pillow makes of its pixels."""
    wanted = image.info.get("transparency")
    if image.mode not in ("1", "L", "RGB") or wanted is None:
        return
    bits = content[24]
    if bits < 16:
        largest = 2**bits - 1
        scaled = [(level & largest) * 255 // largest for level in np.atleast_1d(wanted).tolist()]
        image.info["transparency"] = scaled[0] if len(scaled) == 1 else tuple(scaled)
        return
    _check_pixel_count(*image.size)
    with PngImagePlugin.PngImageFile(io.BytesIO(content)) as low:
        low.tile = [tile._replace(args="RGB;16L") for tile in low.tile]  # of each sample, low byte
        levels = np.asarray(image).astype(np.uint16) << 8 | np.asarray(low)
    del image.info["transparency"]
    image.putalpha(Image.fromarray((levels != wanted).any(axis=2)).convert("L"))


def _finish(image: Image.Image, reading: Reading, deep: tuple[int, bool] | None) -> np.ndarray:
    """Decode an opened image whole, turn it upright, and bring it into the frame."""
    _check_pixel_count(*image.size)
    image.load()
    upright = _UPRIGHT.get(_orientation(image))
    flat = _flatten(image) if deep is None else _flatten_deep_gray(image, *deep)
    return _fill_frame(flat, reading, upright)


def _orientation(image: Image.Image) -> Any:
    """Return the EXIF orientation, 1 where there is none, or none that can be read."""
    try:
        return image.getexif().get(_ORIENTATION, 1)
    except Exception:  # a damaged EXIF block does not make the pixels unreadable
        return 1


def _divisor(reading: Reading, width: int, height: int, *, turned: bool = False) -> int:
    """Tell by how much a JPEG image is to be shrunk while it is decoded, if it is decoded."""
    frame = (reading.width, reading.height)
    divisor = shrink_divisor((width, height), frame[::-1] if turned else frame, reading.resize)
    _check_pixel_count(width, height, divisor)
    return divisor


def _flatten(image: Image.Image) -> Image.Image:
    """Bring any of Pillow's modes to gray or colour of eight bits, with alpha where there is."""
    if image.mode in ("I", "F"):
        raise UnreadableImage(
            "its pixels have 32 bits, whose range the file does not tell; convert it to 8 or 16"
        )
    if image.has_transparency_data:
        return image.convert("RGBA")
    if image.mode in ("L", "RGB"):
        return image
    return image.convert("L" if image.mode == "1" else "RGB")


def _flatten_deep_gray(image: Image.Image, largest: int, is_negative: bool) -> Image.Image:
    """Bring gray of 16 bits to eight, with alpha where one level of it is transparent."""
    pixels = np.asarray(image)
    gray = to_eight_bits(pixels, largest)
    flat = Image.fromarray(255 - gray if is_negative else gray)
    if "transparency" in image.info:
        flat.putalpha(Image.fromarray(to_eight_bits(pixels != image.info["transparency"])))
    return flat if flat.mode == "L" else flat.convert("RGBA")


def _wrap(pixels: np.ndarray) -> Image.Image:
    """Make an image of uint8 pixels of shape (height, width) or (height, width, channels)."""
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[:, :, 0]
    return Image.fromarray(np.ascontiguousarray(pixels))


def _fill_frame(
    image: Image.Image, reading: Reading, upright: Image.Transpose | None = None
) -> np.ndarray:
    """Turn, resize, composite and convert an image of mode L, RGB or RGBA."""
    if upright is not None:
        image = image.transpose(upright)
    if image.mode != "RGBA" and image.mode != reading.mode:
        image = image.convert(reading.mode)
    frame = (reading.width, reading.height)
    framing = frame_image(image.size, frame, reading.resize)
    if image.size != frame:
        if framing.only_cuts:
            left, upper, right, lower = framing.box
            image = image.crop((int(left), int(upper), int(right), int(lower)))
        else:
            image = image.resize(
                framing.scaled, Image.Resampling.BILINEAR, framing.box, REDUCING_GAP
            )
    if image.mode != reading.mode:  # composited when it is small, which takes less memory
        behind = Image.new("RGBA", image.size, (*reading.background, 255))
        image = Image.alpha_composite(behind, image).convert(reading.mode)
    if framing.scaled != frame:
        whole = Image.new(reading.mode, frame, _colour_in_mode(reading))
        whole.paste(image, framing.offset)
        image = whole
    return np.asarray(image).reshape(reading.shape)


def _colour_in_mode(reading: Reading) -> Any:
    one = Image.new("RGB", (1, 1), reading.background).convert(reading.mode)
    return one.getpixel((0, 0))


def blank_image(reading: Reading) -> np.ndarray:
    """Return an image of nothing but background, of shape (height, width, channels), uint8."""
    pixel = np.array(_colour_in_mode(reading), dtype=np.uint8).reshape(CHANNELS[reading.mode])
    return np.broadcast_to(pixel, reading.shape)
