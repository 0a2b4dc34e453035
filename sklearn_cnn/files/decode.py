"""One image, from wherever it comes, to pixels of the stated shape; the only import of Pillow.

Files come from strangers. Only seven formats are opened, and HEIC where pillow-heif is installed,
told by content, whatever the name says; the number of pixels is read from the header and capped
before anything is decoded; and what is wrong with a file becomes one error,
:class:`UnreadableImage`, with a reason in words.
"""

import errno
import io
import os
import re
import stat
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from operator import index
from typing import Any, BinaryIO, NamedTuple

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
    WebPImagePlugin,
    features,
)

from sklearn_cnn._forks import ProcessLock
from sklearn_cnn.files.fast_jpeg import decode_plain_jpeg
from sklearn_cnn.files.formats import (
    CONVERT,
    describe_content,
    describe_jpeg_frame,
    describe_raw_or_deep,
    is_heif,
)
from sklearn_cnn.files.framing import REDUCING_GAP, Size, frame_image, shrink_divisor
from sklearn_cnn.files.levels import (
    Span,
    channels_last,
    find_levels,
    find_span,
    from_eight_bits,
    from_shares,
    to_shares,
)
from sklearn_cnn.files.options import Reading
from sklearn_cnn.files.structure import (
    SHRINKABLE,
    Tag,
    count_tiff_pages,
    is_tiff,
    orientation_as_exif,
    read_gif_size,
    read_jpeg_frame,
    read_orientation,
    strip,
)

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

_BITS_PER_SAMPLE, _PHOTOMETRIC, _ARRANGEMENT, _SAMPLE_FORMAT = 258, 262, 284, 339
_WHITE_IS_ZERO, _PLANE_BY_PLANE, _UNSIGNED, _SIGNED = 0, 2, 1, 2

_SWAPPED = ("BF", "BS") if sys.byteorder == "little" else (";32F", "S")
"""Endings of raw modes of the other byte order, which Pillow undoes twice in compressed pixels."""

_LUMINANCE = (0.299, 0.587, 0.114)
"""Weights of red, green and blue, as in Pillow."""

_CUT_OFF = re.compile("truncated|not enough", re.IGNORECASE)
"""What Pillow says of a file that ends too early."""

_sharing = ProcessLock()

OUT_OF_RESOURCES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EIO})
"""Errors of the machine, and not of an image."""


@dataclass
class Notes:
    """What to warn of in an image that was read.

    Attributes
    ----------
    has_more_pages : bool
        Whether its file holds further pages or frames.
    span : Span or None
        Which values it uses, where they are brought to eight bits from more.
    """

    has_more_pages: bool = False
    span: Span | None = None


class Depth(NamedTuple):
    """The type of the values of an image that does not have eight bits.

    Attributes
    ----------
    dtype : str
        Their type in the file; Pillow holds some in another one.
    white : int or None
        What white is, where the file says it.
    is_negative : bool
        Whether white is zero.
    is_swapped : bool
        Whether Pillow gives their bytes in the wrong order.
    low_bytes : str
        Of colour of 16 bits, which Pillow decodes to eight, the raw mode that gives the others;
        "planes" where its channels lie one after the other, "none" where nothing gives them.
    """

    dtype: str
    white: int | None = None
    is_negative: bool = False
    is_swapped: bool = False
    low_bytes: str = ""


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


def decode(source: Any, reading: Reading, notes: Notes | None = None) -> np.ndarray:
    """Read one image.

    Parameters
    ----------
    source : str, os.PathLike, bytes, PIL.Image.Image or ndarray
        A path, the content of a file, an image, or pixels of shape (height, width), (height,
        width, channels) or (channels, height, width). An image or array is not changed.
    reading : Reading
        What shall come out.
    notes : Notes or None, default=None
        Filled in.

    Returns
    -------
    ndarray of shape (height, width, channels), of the type that ``reading`` says

    Raises
    ------
    UnreadableImage
        Whatever is wrong with it.
    OSError, MemoryError
        Where the machine has no more memory or file handles, which is no fault of the image.
    """
    notes = notes or Notes()
    try:
        if reading.decoder is not None and isinstance(source, (str, bytes, os.PathLike)):
            source = _call_decoder(reading.decoder, source)
            if isinstance(source, Image.Image):
                with source:  # closes its file
                    return _decode_image(source, reading, notes)
        if isinstance(source, np.ndarray):
            return _decode_array(source, reading, notes)
        if isinstance(source, Image.Image):
            return _decode_image(source, reading, notes)
        content = source if isinstance(source, bytes) else _read_file(source)
        if reading.keeps_eight_bits:
            pixels = decode_plain_jpeg(content, partial(_divisor, reading))
            if pixels is not None:
                return _fill_frame(_wrap(pixels), reading)
        with _open_image(content) as image:
            if isinstance(image, JpegImagePlugin.JpegImageFile):  # MPO is one, too
                _shrink(image, content, reading)
            elif isinstance(image, PngImagePlugin.PngImageFile):
                _settle_transparency(image, content)
            notes.has_more_pages = _has_more_pages(image, content)
            return _finish(image, reading, notes, _depth(image), content)
    except (UnreadableImage, MemoryError):
        raise
    except OSError as error:
        if error.errno in OUT_OF_RESOURCES:
            raise
        is_address = isinstance(source, str) and "://" in source[:10]
        remedy = "; it is an address: download the image first" if is_address else ""
        raise UnreadableImage(f"{error.strerror or error}{remedy}") from error
    except Exception as error:  # what decoders raise on damaged files is not documented
        is_ours = type(error) in (ValueError, TypeError)  # what decoders say is for themselves
        reason = str(error) if is_ours else ""
        raise UnreadableImage(reason or "it is damaged; copy or download it again") from error


def _call_decoder(decoder: Callable[[Any], Any], source: Any) -> Any:
    """Return the array or the image that a user-defined decoder makes of a path."""
    try:
        made = decoder(source)
        if isinstance(made, Image.Image):
            return made
        array = np.asarray(made.detach().cpu() if hasattr(made, "detach") else made)
    except MemoryError:
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno in OUT_OF_RESOURCES:
            raise
        raise UnreadableImage(f"decoder raised {type(error).__name__}: {error}") from error
    if array.dtype.kind not in "biuf":
        raise UnreadableImage(
            f"decoder returned {type(made).__name__} of dtype {array.dtype}, and an array of real "
            "numbers or a PIL image was expected"
        )
    return array


def _decode_array(array: np.ndarray, reading: Reading, notes: Notes) -> np.ndarray:
    values = channels_last(array, reading)
    _check_pixel_count(values.shape[1], values.shape[0])
    if values.dtype == bool:
        values = values.astype(np.uint8) * np.uint8(255)
    if values.dtype == np.uint8 and reading.keeps_eight_bits:
        return _fill_frame(_wrap(values), reading)
    return _fill_deep_frame(values, reading, notes)


def _decode_image(source: Image.Image, reading: Reading, notes: Notes) -> np.ndarray:
    with _sharing.held:  # reading pixels changes the image, and others may hold the same one
        _check_pixel_count(*source.size)
        depth = _depth(source)
        copy = source.copy()
    return _finish(copy, reading, notes, depth)


def _read_file(path: Any) -> bytes:
    # A FIFO would keep an ordinary open waiting for ever.
    if b"\0" in os.fsencode(path):
        raise UnreadableImage("a path holds no zero byte; contents of files are passed as bytes")
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
    whole = content
    content, exif, xmp = strip(whole)
    if (size := read_gif_size(content)) is not None:
        _check_pixel_count(*size)
    image = (is_heif(content) and _open_heif(io.BytesIO(content))) or _open_plugin(content, whole)
    if not is_tiff(content):  # which Pillow turns upright itself
        exif, xmp = image.info.pop("exif", exif), image.info.pop("xmp", xmp)
        if (orientation := read_orientation(exif, xmp)) != 1:
            image.info["exif"] = orientation_as_exif(orientation)
    return image


def _open_plugin(content: bytes, whole: bytes) -> Image.Image:
    """Open as Image.open does, but without its warnings, which name no file."""
    for name in FORMATS:
        plugin, accept = Image.OPEN[name]
        if accept is None or accept(content[:16]) is not True:
            continue
        try:
            return plugin(io.BytesIO(content), "")
        except MemoryError:
            raise
        except Image.DecompressionBombError:
            reason = "its header asks for too many pixels; make it smaller first"
            raise UnreadableImage(reason) from None
        except Exception:  # what plugins raise on damaged headers is not documented
            break
    raise UnreadableImage(
        describe_jpeg_frame(whole)
        or describe_content(whole)
        or f"it is no image of the formats {', '.join(FORMATS)}, or its header is damaged; copy or "
        "download it again, convert it, or pass an ImageReader(decoder=...) that reads it"
    )


def _open_heif(file: BinaryIO) -> Image.Image | None:
    """Open a HEIC image with pillow-heif, which stays unregistered; None where it is missing.

    The image stands upright, since pillow-heif turns it.
    """
    try:
        from pillow_heif import HeifImageFile
    except ImportError:  # not installed, or without its library
        return None
    try:
        image: Image.Image = HeifImageFile(file)
    except SyntaxError as error:
        raise UnreadableImage(
            "it is a HEIC image, but its header is damaged, or of a kind that pillow-heif cannot "
            f"read; {CONVERT}, or copy or download it again"
        ) from error
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


def _has_more_pages(image: Image.Image, content: bytes) -> bool:
    """Whether a file holds more than one image, other than previews and second views."""
    if image.format == "MPO":  # a camera's second view or preview
        return False
    if is_tiff(content):
        return count_tiff_pages(content) > 1
    if not isinstance(image, GifImagePlugin.GifImageFile):
        return bool(getattr(image, "is_animated", False))
    try:
        with _open_image(content) as other:  # which has to move on
            return bool(getattr(other, "is_animated", False))
    except Exception:  # damage after the first frame
        return False


def _depth(image: Image.Image) -> Depth | None:
    """Return the type of the values of an opened image; None for eight bits or fewer."""
    tags = image.tag_v2 if isinstance(image, TiffImagePlugin.TiffImageFile) else {}
    bits, kind = (int(tags.get(tag, (0,))[0]) for tag in (_BITS_PER_SAMPLE, _SAMPLE_FORMAT))
    is_negative = tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PNG"):
        # Pillow turns negatives of up to eight bits into positives, but not those of 16.
        return Depth("uint16", 2 ** min(16, max(8, bits or 16)) - 1, is_negative)
    rawmode, compression = _rawmode(image), image.info.get("compression")
    if image.mode in ("I", "F"):
        is_swapped = rawmode.endswith(_SWAPPED) and compression != "raw"
        if image.mode == "F":
            return Depth("float32", None, is_negative, is_swapped)
        signed = "int16" if bits == 16 else "int32"
        dtype = "uint32" if kind == _UNSIGNED and bits == 32 else signed
        return Depth(dtype, is_swapped=is_swapped)
    if image.mode == "L" and kind == _SIGNED:
        return Depth("int8")
    if bits == 16 and tags.get(_ARRANGEMENT) == _PLANE_BY_PLANE:
        return Depth("uint16", low_bytes="planes" if compression == "raw" else "none")
    if ";16" not in rawmode:
        return None
    form, order = rawmode.split(";16")
    if form == "LA":
        return Depth("uint16", low_bytes="RGBA")  # two bytes of gray and two of alpha
    if form not in ("RGB", "RGBX", "RGBA"):
        return Depth("uint16", low_bytes="none")
    is_little = order == "L" or (order == "N" and sys.byteorder == "little")
    return Depth("uint16", low_bytes=f"{form};16{'B' if is_little else 'L'}")


def _rawmode(image: Image.Image) -> str:
    """Return the raw mode of the pixels in an opened file, "" for an image without a file."""
    tiles: Any = getattr(image, "tile", None)
    args = tiles[0].args if tiles else ""
    return str(args[0]) if isinstance(args, tuple) and args else str(args)


def _shrink(image: JpegImagePlugin.JpegImageFile, content: bytes, reading: Reading) -> None:
    """Have a JPEG image decoded at a half, a quarter or an eighth, if that is large enough.

    Only frames that are made of blocks can be: libjpeg ignores the wish for others, or refuses.
    """
    width, height = image.size
    if not reading.keeps_eight_bits:  # which maps values before it shrinks
        return
    frame = read_jpeg_frame(content)
    if frame is None or frame.marker not in SHRINKABLE or frame[2:4] != (height, width):
        return
    divisor = _divisor(reading, width, height, turned=_orientation(image) in _TURNED)
    if divisor > 1:
        image.draft(None, (width // divisor, height // divisor))


def _settle_transparency(image: PngImagePlugin.PngImageFile, content: bytes) -> None:
    """Bring what is transparent in a PNG file to the eight bits that Pillow makes of its pixels."""
    wanted = image.info.get("transparency")
    if image.mode == "P" and isinstance(wanted, bytes):  # entries beyond all palettes do not count
        image.info["transparency"] = wanted[:256]
    elif image.mode == "P" and isinstance(wanted, int) and wanted > 255:
        del image.info["transparency"]
    if image.mode not in ("1", "L", "RGB") or wanted is None:
        return
    bits = content[24]
    if bits < 16:  # those of 16 are compared with all of their bits
        largest = 2**bits - 1
        scaled = [(level & largest) * 255 // largest for level in np.atleast_1d(wanted).tolist()]
        image.info["transparency"] = scaled[0] if len(scaled) == 1 else tuple(scaled)


def _finish(
    image: Image.Image,
    reading: Reading,
    notes: Notes,
    depth: Depth | None,
    content: bytes | None = None,
) -> np.ndarray:
    """Decode an opened image whole, turn it upright, and bring it into the frame."""
    _check_pixel_count(*image.size)
    if depth is not None and depth.low_bytes:
        if content is not None and depth.low_bytes != "none":
            values = _load_sixteen_bits(image, depth.low_bytes, content)
            upright = _UPRIGHT.get(_orientation(image))
            opaque = _transparency(image, values)
            return _fill_deep_frame(values, reading, notes, depth, opaque, upright)
        if reading.dtype != "uint8" or not reading.keeps_eight_bits or depth.low_bytes == "planes":
            raise UnreadableImage(
                "it is an open image of 16-bit colour, of which Pillow keeps 8 bits: pass its path"
                if content is None
                else "Pillow keeps 8 bits of this kind of 16-bit colour: pass "
                "ImageReader(decoder=tifffile.imread), or convert it"
            )
        depth = None
    _load(image, content)
    upright = _UPRIGHT.get(_orientation(image))
    if depth is not None:
        values = np.asarray(image)
        values = values.view(depth.dtype) if depth.dtype in ("int8", "uint32") else values
        values = values.astype(depth.dtype, copy=False)[:, :, np.newaxis]
        values = values.byteswap() if depth.is_swapped else values
        return _fill_deep_frame(
            values, reading, notes, depth, _transparency(image, values), upright
        )
    if reading.keeps_eight_bits:
        return _fill_frame(_flatten(image), reading, upright)
    flat = _flatten(image) if isinstance(reading.mode, str) else _unfold(image)
    values = np.atleast_3d(np.asarray(flat))
    return _fill_deep_frame(values, reading, notes, upright=upright)


def _load(image: Image.Image, content: bytes | None) -> None:
    """Decode an opened image; where the content is given, say in words what is wrong with it."""
    try:
        image.load()
    except Exception as error:
        is_ours = not isinstance(error, MemoryError) and getattr(error, "errno", None) is None
        if content is None or not is_ours:
            raise
        reason = describe_jpeg_frame(content)
        if "raw mode" in str(error):  # a kind that Pillow opens, and has no way to decode
            reason = describe_content(content)
        elif reason is None and (isinstance(error, EOFError) or _CUT_OFF.search(str(error))):
            reason = "it ends before its pixels do; copy or download it again"
        raise UnreadableImage(
            reason or "its pixels are damaged; copy or download it again"
        ) from error


def _load_sixteen_bits(image: Image.Image, low_bytes: str, content: bytes) -> np.ndarray:
    """Decode colour of 16 bits, or gray with alpha, of which Pillow gives eight bits at a time.

    Returns
    -------
    ndarray of shape (height, width, 2, 3 or 4), uint16
    """
    if low_bytes == "RGBA":
        _reset_rawmode(image, low_bytes)
        _load(image, content)
        return np.asarray(image).copy().view(">u2").astype(np.uint16)
    if low_bytes == "planes":
        return _load_planes(image, content)
    _load(image, content)
    values = np.asarray(image).astype(np.uint16) << 8
    with _open_image(content) as again:
        _reset_rawmode(again, low_bytes)
        _load(again, content)
        values |= np.asarray(again)
    return values


def _load_planes(image: Any, content: bytes) -> np.ndarray:
    """Read the uncompressed 16-bit planes of a TIFF file."""
    order = "<u2" if content[:2] == b"II" else ">u2"
    width, height = (max(tile.extents[side] for tile in image.tile) for side in (2, 3))
    planes: list[np.ndarray] = []
    for _, (left, upper, right, lower), offset, (_, stride, _) in image.tile:
        if (left, upper) == (0, 0) or not planes:
            planes.append(np.zeros((height, width), dtype=np.uint16))
        n_rows, n_columns = lower - upper, stride // 2 or right - left
        if offset + n_rows * n_columns * 2 > len(content):
            raise UnreadableImage("it ends before its pixels do; copy or download it again")
        rows = np.frombuffer(content, order, n_rows * n_columns, offset)
        planes[-1][upper:lower, left:right] = rows.reshape(n_rows, -1)[:, : right - left]
    return np.stack(planes, axis=-1)


def _reset_rawmode(image: Any, rawmode: str) -> None:
    """Have an opened file decoded by another raw mode."""
    image.tile = [
        tile._replace(args=(rawmode, *tile.args[1:]) if isinstance(tile.args, tuple) else rawmode)
        for tile in image.tile
    ]


def _transparency(image: Image.Image, values: np.ndarray) -> np.ndarray | None:
    """Return where values are not those that the file calls transparent; None if it names none."""
    if "transparency" not in image.info:
        return None
    opaque: np.ndarray = (values != np.asarray(image.info["transparency"])).any(axis=-1)
    return opaque


def _unfold(image: Image.Image) -> Image.Image:
    """Bring palettes, single bits and premultiplied alpha to channels, and leave others alone."""
    mode = {"1": "L", "La": "LA", "PA": "RGBA", "YCbCr": "RGB", "HSV": "RGB"}.get(image.mode)
    if image.mode == "P":
        mode = "RGBA" if image.has_transparency_data else "RGB"
    return image if mode is None else image.convert(mode)


def _orientation(image: Image.Image) -> Any:
    """Return the EXIF orientation, 1 where there is none, or none that can be read."""
    exif, xmp = image.info.get("exif"), image.info.get("xmp", b"")
    if isinstance(exif, bytes) and isinstance(xmp, bytes):  # Pillow warns of damage, without a name
        return read_orientation(exif, xmp)
    try:
        return image.getexif().get(Tag.ORIENTATION, 1)
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
    if image.mode == "La":
        image = image.convert("LA")
    if image.has_transparency_data:
        return image.convert("RGBA")
    if image.mode in ("L", "RGB"):
        return image
    return image.convert("L" if image.mode == "1" else "RGB")


def _wrap(pixels: np.ndarray) -> Image.Image:
    """Make an image of uint8 pixels of shape (height, width) or (height, width, channels)."""
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[:, :, 0]
    return Image.fromarray(np.ascontiguousarray(pixels))


def _fill_frame(
    image: Image.Image, reading: Reading, upright: Image.Transpose | None = None
) -> np.ndarray:
    """Turn, resize, composite and convert an image of mode L, RGB or RGBA."""
    mode, frame = str(reading.mode), (reading.width, reading.height)
    if image.mode not in ("RGBA", mode):
        image = image.convert(mode)
    image, offset = _fit(image, reading, upright)
    if image.mode != mode:  # composited when it is small, which takes less memory
        behind = Image.new("RGBA", image.size, (*reading.background, 255))
        image = Image.alpha_composite(behind, image).convert(mode)
    if image.size != frame:
        whole = Image.new(mode, frame, _colour_in_mode(reading))
        whole.paste(image, offset)
        image = whole
    return from_eight_bits(np.asarray(image).reshape(reading.shape), reading.dtype)


def _fit(
    image: Image.Image, reading: Reading, upright: Image.Transpose | None
) -> tuple[Image.Image, Size]:
    """Turn an image upright, resize and cut it; return where it lies in the frame, too."""
    if upright is not None:
        image = image.transpose(upright)
    frame = (reading.width, reading.height)
    framing = frame_image(image.size, frame, reading.resize)
    if image.size == frame:
        return image, (0, 0)
    if framing.only_cuts:
        left, upper, right, lower = framing.box
        return image.crop((int(left), int(upper), int(right), int(lower))), framing.offset
    resized = image.resize(framing.scaled, Image.Resampling.BILINEAR, framing.box, REDUCING_GAP)
    return resized, framing.offset


def _fill_deep_frame(
    values: np.ndarray,
    reading: Reading,
    notes: Notes,
    depth: Depth | None = None,
    opaque: np.ndarray | None = None,
    upright: Image.Transpose | None = None,
) -> np.ndarray:
    """Map the values of an image to shares of white, and turn, resize and composite those.

    Shares become eight bits first, where those come out: fractions of an image of eight bits then
    give the same as that image.

    Parameters
    ----------
    values : ndarray of shape (height, width, channels), integer or floating point
        A second or fourth channel is alpha, unless ``reading.mode`` is a number.
    reading : Reading
    notes : Notes
        Gets the span of the values.
    depth : Depth or None, default=None
        What the file says of them.
    opaque : ndarray of shape (height, width), bool, or None, default=None
        Where the image is not transparent.
    upright : Image.Transpose or None, default=None
        What turns the image upright.
    """
    is_alike = not isinstance(reading.mode, str)
    if is_alike and values.shape[2] != reading.mode:
        raise UnreadableImage(f"it has {values.shape[2]} channels, and mode={reading.mode}")
    alpha = None if opaque is None or is_alike else to_shares(opaque, (0, 1))
    if values.shape[2] in (2, 4) and not is_alike:
        plane, whole = values[:, :, -1], replace(reading, value_range=None, dtype="uint8")
        alpha = to_shares(plane, find_levels(plane, whole))
        values = values[:, :, :-1]
    levels = find_levels(values, reading, depth.white if depth else None)
    is_cut = reading.dtype == "uint8" and reading.value_range is None
    if is_cut and levels is not None and levels[1] != 255:
        notes.span = find_span(values, levels[1])

    def shares(channel: int) -> np.ndarray:
        plane = to_shares(values[:, :, channel], levels)
        return 1 - plane if depth and depth.is_negative else plane

    if reading.dtype == "uint8" and not is_alike:
        colour = [from_shares(shares(channel), "uint8") for channel in range(values.shape[2])]
        if alpha is not None:
            colour = [*(colour * 3)[:3], from_shares(alpha, "uint8")]
        return _fill_frame(_wrap(np.stack(colour, axis=-1)), reading, upright)
    offset: Size = (0, 0)

    def fit(plane: np.ndarray) -> np.ndarray:
        nonlocal offset
        image, offset = _fit(Image.fromarray(plane), reading, upright)
        return np.asarray(image)

    opacity = 1.0 if alpha is None else fit(alpha)
    planes = [
        fit(shares(i) if alpha is None else shares(i) * alpha) for i in range(values.shape[2])
    ]
    if reading.mode == "L" and len(planes) == 3:
        planes = [np.tensordot(_LUMINANCE, planes, axes=1).astype(np.float32)]
    frame = np.empty(reading.shape, dtype=np.float32)
    frame[...] = behind = _background(reading)
    height, width = planes[0].shape
    part = frame[offset[1] : offset[1] + height, offset[0] : offset[0] + width]
    for channel in range(3 if reading.mode == "RGBA" else reading.shape[2]):
        plane = planes[channel % len(planes)]
        if reading.mode != "RGBA":
            part[:, :, channel] = plane + (1 - opacity) * behind[channel]
        elif alpha is None:
            part[:, :, channel] = plane
        else:  # where nothing is seen, the colour is that of the file
            hidden = fit(shares(channel % len(planes)))
            part[:, :, channel] = np.divide(plane, opacity, out=hidden.copy(), where=opacity > 0)
    if reading.mode == "RGBA":
        part[:, :, 3] = opacity
    return from_shares(frame, reading.dtype)


def _background(reading: Reading) -> np.ndarray:
    """Return the background as shares of white, an ndarray of shape (channels,), float32."""
    levels = np.broadcast_to(_colour_in_mode(reading), reading.shape[2])
    return levels.astype(np.float32) / np.float32(255)


def _colour_in_mode(reading: Reading) -> Any:
    mode = reading.mode if isinstance(reading.mode, str) else "L"
    one = Image.new("RGB", (1, 1), reading.background).convert(mode)
    return one.getpixel((0, 0))


def blank_image(reading: Reading) -> np.ndarray:
    """Return an image of nothing but background, of shape (height, width, channels)."""
    return np.broadcast_to(from_shares(_background(reading), reading.dtype), reading.shape)
