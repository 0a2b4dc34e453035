"""Image files and open images through Pillow: opened safely, and decoded with all of their bits.

Files are untrusted. Only seven formats are opened, and HEIC if pillow-heif is installed. They are
identified by content, regardless of the file name. The number of pixels is read from the header and
limited before anything is decoded. Problems with a file are described in words.
"""

import io
import re
import sys
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any, NamedTuple

import numpy as np
import PIL

# The plugins of the allowed formats, so that no others are loaded.
from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageFile,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
    features,
)

from sklearn_cnn._forks import ProcessLock
from sklearn_cnn.files import formats, framing, structure
from sklearn_cnn.files.formats import UnreadableImage
from sklearn_cnn.files.framing import DeepImage, Notes
from sklearn_cnn.files.options import ReadOptions
from sklearn_cnn.files.structure import Tag

# The supported formats, the most likely first.
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

# Maximum number of pixels to decode, above which Pillow warns of decompression bombs. A JPEG file
# may have twice as many, if it is shrunk below the limit while it is decoded.
MAX_PIXELS = 89_478_485

_WHITE_IS_ZERO, _PLANE_BY_PLANE, _UNSIGNED, _SIGNED = 0, 2, 1, 2

# Suffixes of raw modes in the other byte order, which Pillow swaps twice in compressed pixels.
_SWAPPED = ("BF", "BS") if sys.byteorder == "little" else (";32F", "S")

_CUT_OFF = re.compile(
    "truncated|not enough", re.IGNORECASE
)  # Pillow's messages for truncated files
_ENDS_EARLY = "it is truncated; copy or download it again"

_sharing = ProcessLock()


class Depth(NamedTuple):
    """The type of the values of an image that is not 8-bit.

    Attributes
    ----------
    dtype : str
        Type of the values in the file; Pillow converts some of them.
    white : int or None
        Value of white, if the file states it.
    is_negative : bool
        Whether white is zero.
    is_swapped : bool
        Whether Pillow returns the bytes in the wrong order.
    low_bytes : str
        For 16-bit colour, of which Pillow decodes the high 8 bits: the raw mode that decodes the
        low 8 bits, "planes" if the channels are separate planes, or "none" if there is no way.
    """

    dtype: str
    white: int | None = None
    is_negative: bool = False
    is_swapped: bool = False
    low_bytes: str = ""


def decoder_version() -> str:
    """Return a version that changes whenever the same file may be decoded to other pixels."""
    lenient = ", truncated files" if ImageFile.LOAD_TRUNCATED_IMAGES else ""  # as others may set it
    heif = f", pillow-heif {version('pillow_heif')}" if find_spec("pillow_heif") else ""
    return f"1, Pillow {PIL.__version__}{heif}{lenient}"


def decode_content(content: bytes, options: ReadOptions) -> tuple[np.ndarray, Notes]:
    """Decode the first image in the content of a file."""
    with _open(content) as image:
        if isinstance(image, JpegImagePlugin.JpegImageFile):
            _shrink(image, content, options)
        elif isinstance(image, PngImagePlugin.PngImageFile):
            _settle_transparency(image, content)
        has_more_pages = _has_more_pages(image, content)
        pixels, notes = _finish(image, options, _depth(image), content)
        return pixels, notes._replace(has_more_pages=has_more_pages)


def decode_image(source: Image.Image, options: ReadOptions) -> tuple[np.ndarray, Notes]:
    """Decode an open image, without changing it."""
    with _sharing.held:  # reading pixels changes the image, and others may hold the same one
        check_pixel_count(*source.size)
        depth = _depth(source)
        copy = source.copy()
    return _finish(copy, options, depth)


def _open(content: bytes) -> Image.Image:
    """Read the header of a file."""
    if not content:
        raise UnreadableImage("it is empty")
    if (
        structure.is_tiff(content)
        and (reason := formats.describe_misread_tiff(content)) is not None
    ):
        raise UnreadableImage(reason)
    stripped, exif, xmp = structure.strip(content)
    if (size := structure.read_gif_size(stripped)) is not None:
        check_pixel_count(*size)
    heif = _open_heif(stripped) if formats.is_heif(stripped) else None
    image = _open_plugin(stripped, content) if heif is None else heif
    if not structure.is_tiff(content):  # which Pillow turns upright itself
        exif, xmp = image.info.pop("exif", exif), image.info.pop("xmp", xmp)
        if (orientation := structure.read_orientation(exif, xmp)) != 1:
            image.info["exif"] = structure.orientation_as_exif(orientation)
    return image


def _open_plugin(stripped: bytes, content: bytes) -> Image.Image:
    """Open an image like Image.open, but without its warnings, which do not name the file."""
    for name in FORMATS:
        plugin, accept = Image.OPEN[name]
        if accept is None or accept(stripped[:16]) is not True:
            continue
        try:
            return plugin(io.BytesIO(stripped), "")
        except MemoryError:
            raise
        except Image.DecompressionBombError:
            reason = "its header states too many pixels; reduce its size first"
            raise UnreadableImage(reason) from None
        except Exception:  # errors of plugins for damaged headers are not documented
            break
    raise UnreadableImage(
        formats.describe_jpeg_frame(content)
        or formats.describe_content(content)
        or f"it is not an image of the formats {', '.join(FORMATS)}, or its header is damaged; "
        "copy or download it again, convert it, or pass an ImageReader(decoder=...) that reads it"
    )


def _open_heif(content: bytes) -> Image.Image | None:
    """Open a HEIC image with pillow-heif, without registering it; None if it is not installed.

    The image is upright, because pillow-heif rotates it.
    """
    try:
        from pillow_heif import HeifImageFile
    except ImportError:  # not installed, or without its library
        return None
    try:
        image: Image.Image = HeifImageFile(io.BytesIO(content))
    except SyntaxError as error:
        raise UnreadableImage(
            "it is a HEIC image, but its header is damaged or not supported by pillow-heif; "
            f"{formats.CONVERT}, or copy or download it again"
        ) from error
    return image


def check_pixel_count(width: int, height: int, divisor: int = 1) -> None:
    """Raise for an image with too many pixels, before anything is decoded."""
    limit = MAX_PIXELS * (1 if divisor == 1 else 2)
    decoded = -(-width // divisor) * -(-height // divisor)
    if width * height > limit or decoded > MAX_PIXELS:
        raise UnreadableImage(
            f"it has {width} x {height} pixels, more than the limit of {limit:,}; reduce its size "
            "first"
        )


def _has_more_pages(image: Image.Image, content: bytes) -> bool:
    """Tell whether a file holds more than one image, except previews and second views."""
    if structure.is_tiff(content):
        return structure.count_tiff_pages(content) > 1
    if not isinstance(image, GifImagePlugin.GifImageFile):
        return bool(getattr(image, "is_animated", False))
    try:
        with _open(content) as other:  # which must read on
            return bool(getattr(other, "is_animated", False))
    except Exception:  # damage after the first frame
        return False


def _shrink(image: JpegImagePlugin.JpegImageFile, content: bytes, options: ReadOptions) -> None:
    """Decode a JPEG image at a half, a quarter or an eighth, if that is large enough.

    Only frames made of blocks support this: for others, libjpeg ignores it or raises.
    """
    width, height = image.size
    if not options.keeps_eight_bits:  # which maps values before shrinking
        return
    frame = structure.read_jpeg_frame(content)
    if frame is None or frame.marker not in structure.SHRINKABLE or frame[2:4] != (height, width):
        return
    divisor = choose_divisor(options, width, height, turned=_upright(image) in framing.TURNED)
    if divisor > 1:
        image.draft(None, (width // divisor, height // divisor))


def choose_divisor(options: ReadOptions, width: int, height: int, *, turned: bool = False) -> int:
    """Return the factor by which a JPEG image is shrunk while decoding; raise if too large."""
    frame = (options.height, options.width) if turned else (options.width, options.height)
    divisor = framing.shrink_divisor((width, height), frame, options.resize)
    check_pixel_count(width, height, divisor)
    return divisor


def _settle_transparency(image: PngImagePlugin.PngImageFile, content: bytes) -> None:
    """Scale the transparent colour of a PNG file to Pillow's 8 bits."""
    wanted = image.info.get("transparency")
    if image.mode == "P" and isinstance(wanted, bytes):  # entries beyond all palettes are ignored
        image.info["transparency"] = wanted[:256]
    elif image.mode == "P" and isinstance(wanted, int) and wanted > 255:
        del image.info["transparency"]
    if image.mode not in ("1", "L", "RGB") or wanted is None:
        return
    bits = content[24]
    if bits < 16:  # 16-bit values are compared with all of their bits
        largest = 2**bits - 1
        scaled = [(level & largest) * 255 // largest for level in np.atleast_1d(wanted).tolist()]
        image.info["transparency"] = scaled[0] if len(scaled) == 1 else tuple(scaled)


def _depth(image: Image.Image) -> Depth | None:
    """Return the type of the values of an opened image; None for eight bits or fewer."""
    tags = image.tag_v2 if isinstance(image, TiffImagePlugin.TiffImageFile) else {}
    bits, kind = (int(tags.get(tag, (0,))[0]) for tag in (Tag.BITS, Tag.SAMPLE_FORMAT))
    is_negative = tags.get(Tag.PHOTOMETRIC) == _WHITE_IS_ZERO
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PNG"):
        # Pillow inverts negatives of up to 8 bits, but not those of 16.
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
    if bits == 16 and tags.get(Tag.ARRANGEMENT) == _PLANE_BY_PLANE:
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
    if not isinstance(image, ImageFile.ImageFile) or not image.tile:
        return ""
    args = image.tile[0].args
    return str(args[0]) if isinstance(args, tuple) and args else str(args)


def _finish(
    image: Image.Image, options: ReadOptions, depth: Depth | None, content: bytes | None = None
) -> tuple[np.ndarray, Notes]:
    """Decode an opened image completely, turn it upright, and fit it into the frame."""
    check_pixel_count(*image.size)
    if depth is not None and depth.low_bytes and (content is None or depth.low_bytes == "none"):
        if options.dtype != "uint8" or not options.keeps_eight_bits or depth.low_bytes == "planes":
            raise UnreadableImage(
                "it is an open image of 16-bit colour, of which Pillow keeps 8 bits; pass its path"
                if content is None
                else "Pillow keeps 8 bits of this kind of 16-bit colour; pass "
                "ImageReader(decoder=tifffile.imread), or convert it"
            )
        depth = None  # only the high bytes are needed
    if depth is None:
        _load(image, content)
        upright = _upright(image)
        if options.keeps_eight_bits:
            return framing.fill_frame(_flatten(image), options, upright), Notes()
        flat = _flatten(image) if isinstance(options.mode, str) else _unfold(image)
        deep = DeepImage(np.atleast_3d(np.asarray(flat)), upright=upright)
    else:
        values = _load_values(image, depth, content)
        opaque, upright = _opaque(image, values), _upright(image)
        deep = DeepImage(values, opaque, depth.white, depth.is_negative, upright)
    return framing.fill_deep_frame(deep, options)


def _load(image: Image.Image, content: bytes | None) -> None:
    """Decode an opened image; with its content, describe problems in words."""
    try:
        image.load()
    except Exception as error:
        is_ours = not isinstance(error, MemoryError) and getattr(error, "errno", None) is None
        if content is None or not is_ours:
            raise
        reason = formats.describe_jpeg_frame(content)
        if "raw mode" in str(error):  # Pillow can open, but not decode it
            reason = formats.describe_content(content)
        elif reason is None and (isinstance(error, EOFError) or _CUT_OFF.search(str(error))):
            reason = _ENDS_EARLY
        reason = reason or "its pixels are damaged; copy or download it again"
        raise UnreadableImage(reason) from error


def _load_values(image: Image.Image, depth: Depth, content: bytes | None) -> np.ndarray:
    """Decode an image that is not 8-bit.

    Pillow decodes 16-bit colour, and gray with alpha, only 8 bits at a time.

    Returns
    -------
    ndarray of shape (height, width, 1, 2, 3 or 4), of the type of ``depth``
    """
    if content is None or not depth.low_bytes:
        _load(image, content)
        values = np.asarray(image)
        values = values.view(depth.dtype) if depth.dtype in ("int8", "uint32") else values
        values = values.astype(depth.dtype, copy=False)[:, :, np.newaxis]
        return values.byteswap() if depth.is_swapped else values
    if depth.low_bytes == "planes":
        return _load_planes(image, content)
    if depth.low_bytes == "RGBA":
        _reset_rawmode(image, depth.low_bytes)
        _load(image, content)
        return np.asarray(image).copy().view(">u2").astype(np.uint16)
    _load(image, content)
    values = np.asarray(image).astype(np.uint16) << 8
    with _open(content) as again:
        _reset_rawmode(again, depth.low_bytes)
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
            raise UnreadableImage(_ENDS_EARLY)
        rows = np.frombuffer(content, order, n_rows * n_columns, offset)
        planes[-1][upper:lower, left:right] = rows.reshape(n_rows, -1)[:, : right - left]
    return np.stack(planes, axis=-1)


def _reset_rawmode(image: Any, rawmode: str) -> None:
    """Set another raw mode for decoding an opened file."""
    image.tile = [
        tile._replace(args=(rawmode, *tile.args[1:]) if isinstance(tile.args, tuple) else rawmode)
        for tile in image.tile
    ]


def _opaque(image: Image.Image, values: np.ndarray) -> np.ndarray | None:
    """Return where values are not the transparent ones of the file; None if it has none."""
    if "transparency" not in image.info:
        return None
    opaque: np.ndarray = (values != np.asarray(image.info["transparency"])).any(axis=-1)
    return opaque


def _upright(image: Image.Image) -> Image.Transpose | None:
    """Return the transposition that turns an image upright, by its EXIF orientation."""
    exif, xmp = image.info.get("exif"), image.info.get("xmp", b"")
    if isinstance(exif, bytes) and isinstance(
        xmp, bytes
    ):  # Pillow's warnings of damage do not name the file
        return framing.UPRIGHT.get(structure.read_orientation(exif, xmp))
    try:
        return framing.UPRIGHT.get(image.getexif().get(Tag.ORIENTATION, 1))
    except Exception:  # a damaged EXIF block does not make the pixels unreadable
        return None


def _flatten(image: Image.Image) -> Image.Image:
    """Convert any of Pillow's modes to 8-bit gray or colour, with alpha if present."""
    if image.mode == "La":
        image = image.convert("LA")
    if image.has_transparency_data:
        return image.convert("RGBA")
    if image.mode in ("L", "RGB"):
        return image
    return image.convert("L" if image.mode == "1" else "RGB")


def _unfold(image: Image.Image) -> Image.Image:
    """Convert palettes, single bits and premultiplied alpha to channels; keep other modes."""
    mode = {"1": "L", "La": "LA", "PA": "RGBA", "YCbCr": "RGB", "HSV": "RGB"}.get(image.mode)
    if image.mode == "P":
        mode = "RGBA" if image.has_transparency_data else "RGB"
    return image if mode is None else image.convert(mode)
