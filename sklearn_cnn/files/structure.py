"""The structure of a file, read before a decoder sees it, and the file reduced to its pixels.

Nothing but pixels, and what is needed to read them, reaches a decoder: texts, colour profiles and
thumbnails may be damaged or huge without any harm.
"""

import re
import struct
import zlib
from collections.abc import Iterator
from contextlib import suppress
from typing import NamedTuple

SHRINKABLE = frozenset({0xC0, 0xC1, 0xC2, 0xC9, 0xCA})
"""JPEG frames that are made of blocks of 8 x 8: baseline, extended, progressive, arithmetic."""

LOSSLESS = 0xC3

_MARKER = re.compile(rb"\xff+([^\xff\x00])")
_WITHOUT_LENGTH = frozenset({0x01, *range(0xD0, 0xD8)})
_NO_FRAME = frozenset({0xC4, 0xC8, 0xCC})
_ENDS_OF_HEADER = frozenset({0xD8, 0xD9, 0xDA})
_APP0, _APP1, _APP14, _COMMENT = 0xE0, 0xE1, 0xEE, 0xFE
_XMP_START = b"http://ns.adobe.com/xap/1.0/\0"

_PNG_START = b"\x89PNG\r\n\x1a\n"
_PNG_KEPT = frozenset({b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"})
_LARGEST_TEXT = 1 << 20

_WEBP_DROPPED = frozenset({b"ICCP", b"EXIF", b"XMP "})
_WEBP_ALPHA_OR_FRAMES = 0x12

_GIF_STARTS = (b"GIF87a", b"GIF89a")
_GIF_EXTENSION, _GIF_CONTROL = 0x21, 0xF9

ORIENTATION = 0x0112
_SHORT, _LONG = 3, 4
_ORIENTATION_IN_XMP = re.compile(rb'tiff:Orientation(?:="|>)([0-9])')

# What tells the pixels of a TIFF file: its sizes, coding, strips, tiles, colours, and orientation.
_TIFF_KEPT = frozenset(
    {254, 256, 257, 258, 259, 262, 266, 273, 274, 277, 278, 279, 284, 292, 293, 317, 320, 322, 323}
    | {324, 325, 332, 338, 339, 347, *range(512, 522), 529, 530, 531, 532, 700, 32997}
)
_TIFF_HARMLESS = frozenset({255, 269, 270, 271, 272, 280, 281, 305, 306, 315, 316})
_TIFF_SINGLE = frozenset({282, 283, 296})
_TIFF_SIZES = dict(
    zip(range(1, 19), (1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8, 4, 0, 0, 8, 8, 8), strict=True)
)


class JpegFrame(NamedTuple):
    """The frame header of a JPEG file."""

    marker: int
    bits: int
    height: int
    width: int
    n_components: int


class Stripped(NamedTuple):
    """A file reduced to its pixels.

    Attributes
    ----------
    content : bytes
        The file that a decoder gets.
    exif, xmp : bytes
        What was taken out of it that may tell its orientation.
    """

    content: bytes
    exif: bytes = b""
    xmp: bytes = b""


def read_jpeg_frame(content: bytes) -> JpegFrame | None:
    """Find the frame header, as libjpeg does: segment by segment, over fill bytes and garbage.

    Parameters
    ----------
    content : bytes

    Returns
    -------
    JpegFrame or None
        None where there is none before the first scan.
    """
    for marker, start, end in _jpeg_segments(content):
        if 0xC0 <= marker <= 0xCF and marker not in _NO_FRAME and end - start >= 8:
            return JpegFrame(marker, *struct.unpack_from(">BHHB", content, start + 4))
    return None


def _jpeg_segments(content: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield the marker, start and end of each segment that comes whole before the first scan."""
    place = 2 if content.startswith(b"\xff\xd8\xff") else len(content)
    while (found := _MARKER.search(content, place)) is not None and found.end() + 2 <= len(content):
        marker, place = found[1][0], found.end()
        if marker in _WITHOUT_LENGTH:
            continue
        length = int.from_bytes(content[place : place + 2], "big")
        if marker in _ENDS_OF_HEADER or length < 2 or place + length > len(content):
            return
        yield marker, place - 2, place + length
        place += length


def describe_jpeg_frame(content: bytes) -> str | None:
    """Say why a JPEG file cannot be decoded, however sound it is; None where it can."""
    frame = read_jpeg_frame(content)
    if frame is None:
        return None
    if frame.bits != 8:
        return f"it is a JPEG image of {frame.bits} bits a sample, and 8 are read; save it with 8"
    if frame.n_components not in (1, 3, 4):
        return f"it is a JPEG image of {frame.n_components} channels, and 1, 3 or 4 are read"
    if frame.marker not in SHRINKABLE:
        kind = "lossless" if frame.marker == LOSSLESS else f"SOF{frame.marker - 0xC0}"
        return f"it is a JPEG image of a rare kind ({kind}), and is not read; save it as usual"
    return None


def strip(content: bytes) -> Stripped:
    """Reduce a JPEG, PNG, WebP, GIF or TIFF file to its pixels.

    Parameters
    ----------
    content : bytes
        The whole file; what is cut off or damaged among its pixels stays so.

    Returns
    -------
    Stripped
    """
    if content.startswith(b"\xff\xd8\xff"):
        return _strip_jpeg(content)
    if content.startswith(_PNG_START):
        return _strip_png(content)
    if content.startswith(b"RIFF") and content[8:16] == b"WEBPVP8X":
        return _strip_webp(content)
    with suppress(struct.error, IndexError, OverflowError):
        if content.startswith(_GIF_STARTS):
            return Stripped(_strip_gif(content))
        if is_tiff(content):
            return Stripped(_strip_tiff(content))
    return Stripped(content)


def _strip_jpeg(content: bytes) -> Stripped:
    parts, exif, xmp, end = [content[:2]], b"", b"", 2
    for marker, start, end in _jpeg_segments(content):
        data = content[start + 4 : end]
        if marker == _APP1 and data.startswith(b"Exif\0\0"):
            exif += data[6:]
        elif marker == _APP1 and data.startswith(_XMP_START):
            xmp = data
        if (
            (marker == _APP0 and data.startswith(b"JFIF\0") and len(data) >= 14)
            or (marker == _APP14 and data.startswith(b"Adobe") and len(data) >= 12)
            or not (_APP0 <= marker <= 0xEF or marker == _COMMENT)
        ):
            parts.append(content[start:end])
    return Stripped(b"".join([*parts, content[end:]]), exif, xmp)


def _strip_png(content: bytes) -> Stripped:
    parts, exif, xmp, place = [content[:8]], b"", b"", 8
    while place + 12 <= len(content):
        end = place + 12 + int.from_bytes(content[place : place + 4], "big")
        name, data = content[place + 4 : place + 8], content[place + 8 : end - 4]
        if name in _PNG_KEPT:
            parts.append(content[place:end])
        elif zlib.crc32(name + data) != int.from_bytes(content[end - 4 : end], "big"):
            pass
        elif name == b"eXIf":
            exif = data
        elif (
            name == b"acTL"
            and 2 <= int.from_bytes(data[:4], "big") < 1 << 31
            and not any(part[4:8] == b"acTL" for part in parts)
        ):
            parts.append(content[place:end])
        elif name in (b"tEXt", b"zTXt", b"iTXt"):
            keyword, text = _png_text(name, data)
            if keyword == b"XML:com.adobe.xmp":
                xmp = text
            elif keyword == b"Raw profile type exif" and not exif:  # as ImageMagick writes it
                with suppress(ValueError):
                    exif = bytes.fromhex("".join(text.decode("latin-1").split("\n")[3:]))
        if name == b"IEND":
            break
        place = end
    return Stripped(b"".join(parts), exif, xmp)


def _png_text(name: bytes, data: bytes) -> tuple[bytes, bytes]:
    """Return the keyword and the text of a chunk, empty where it is damaged or too large."""
    keyword, _, text = data.partition(b"\0")
    is_packed = name == b"zTXt"
    if is_packed:
        text = text[1:]
    elif name == b"iTXt":
        is_packed = text[:1] == b"\1"
        text = text[2:].split(b"\0", 2)[-1]
    if not is_packed:
        return keyword, text
    with suppress(zlib.error):
        return keyword, zlib.decompressobj().decompress(text, _LARGEST_TEXT)
    return keyword, b""


def _strip_webp(content: bytes) -> Stripped:
    parts, taken, place = [], {}, 12
    while place + 8 <= len(content):
        name, length = struct.unpack_from("<4sI", content, place)
        end = place + 8 + length + length % 2
        part = content[place:end]
        if name in _WEBP_DROPPED:
            taken[name] = part[8:]
        else:
            if name == b"VP8X" and len(part) > 8:
                part = part[:8] + bytes([part[8] & _WEBP_ALPHA_OR_FRAMES]) + part[9:]
            parts.append(part)
        place = end
    body = b"WEBP" + b"".join(parts)
    header = struct.pack("<4sI", b"RIFF", len(body))
    return Stripped(header + body, taken.get(b"EXIF", b""), taken.get(b"XMP ", b""))


def _strip_gif(content: bytes) -> bytes:
    """Leave out the extensions before the first frame, but those that say how it is drawn."""
    place = _gif_blocks(content)
    parts = [content[:place]]
    while content[place] not in b",;":
        start, place = place, place + 1
        if content[start] == _GIF_EXTENSION:  # a kind, and blocks up to an empty one
            place += 1
            while content[place]:
                place += 1 + content[place]
            place += 1
            if content[start + 1] == _GIF_CONTROL and place - start == 8:
                parts.append(content[start:place])
    return b"".join([*parts, content[place:]])


def _gif_blocks(content: bytes) -> int:
    """Return where the blocks of a GIF file begin, after its palette."""
    flags = content[10]
    return 13 + (3 << (flags & 7) + 1 if flags & 0x80 else 0)


def is_tiff(content: bytes) -> bool:
    """Whether this is a TIFF or BigTIFF file."""
    return content[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def read_tiff_form(content: bytes) -> tuple[str, str, str, int]:
    """Return the forms of an entry, a count and a pointer, and where the first pointer stands."""
    order = "<" if content[:2] == b"II" else ">"
    is_big = 43 in content[2:4]
    entry, count, pointer, start = ("HHQ8s", "Q", "Q", 8) if is_big else ("HHI4s", "H", "I", 4)
    return order + entry, order + count, order + pointer, start


def _strip_tiff(content: bytes) -> bytes:
    """Leave out the tags of the first page that are damaged or tell nothing of its pixels."""
    entry, count, pointer, start = read_tiff_form(content)
    (place,) = struct.unpack_from(pointer, content, start)
    (n_entries,) = struct.unpack_from(count, content, place)
    step, n_field, kept = struct.calcsize(entry), struct.calcsize(pointer), []
    first = place + struct.calcsize(count)
    end = first + n_entries * step
    for place in range(first, min(end, len(content) - step + 1), step):
        tag, kind, number, field = struct.unpack_from(entry, content, place)
        n_bytes = number * _TIFF_SIZES.get(kind, 0)
        is_whole = n_bytes <= n_field or struct.unpack(pointer, field)[0] + n_bytes <= len(content)
        is_known = tag in _TIFF_KEPT or tag in _TIFF_HARMLESS
        if n_bytes and is_whole and (is_known or (tag in _TIFF_SINGLE and number == 1)):
            kept.append(content[place : place + step])
    if len(kept) == n_entries and end + n_field <= len(content):
        return content
    body = content[start + n_field :]
    body += bytes(len(content) % 2)
    directory = struct.pack(count, len(kept)) + b"".join(kept) + bytes(n_field)
    where = struct.pack(pointer, start + n_field + len(body))
    return b"".join([content[:start], where, body, directory])


def read_orientation(exif: bytes, xmp: bytes) -> int:
    """Read the orientation of an image from an EXIF block or, if that does not say it, from XMP.

    Parameters
    ----------
    exif, xmp : bytes
        As long as they are sound; empty where there is none.

    Returns
    -------
    int
        1 to 8, in the words of EXIF; 1 for upright, and where nothing valid is told.
    """
    exif = exif.removeprefix(b"Exif\0\0")
    order = {b"II": "<", b"MM": ">"}.get(exif[:2])
    with suppress(struct.error):
        if order is not None:
            (place,) = struct.unpack_from(order + "I", exif, 4)
            (n_entries,) = struct.unpack_from(order + "H", exif, place)
            for start in range(place + 2, place + 2 + 12 * n_entries, 12):
                tag, kind, number, short = struct.unpack_from(order + "HHIH", exif, start)
                if tag == ORIENTATION:
                    (long,) = struct.unpack_from(order + "I", exif, start + 8)
                    value = {_SHORT: short, _LONG: long}.get(kind, 1)
                    return value if number == 1 and 1 <= value <= 8 else 1
    found = _ORIENTATION_IN_XMP.search(xmp)
    return int(found[1]) if found and found[1] in b"12345678" else 1


def orientation_as_exif(orientation: int) -> bytes:
    """Write an EXIF block that tells the orientation and nothing else."""
    entry = struct.pack(">HHIHH", ORIENTATION, _SHORT, 1, orientation, 0)
    return b"Exif\0\0MM\0*\0\0\0\x08\0\1" + entry + bytes(4)


def read_gif_size(content: bytes) -> tuple[int, int] | None:
    """Return width and height of the screen and first frame of a stripped GIF; None of others."""
    if not content.startswith(_GIF_STARTS):
        return None
    with suppress(struct.error, IndexError):
        width, height = struct.unpack_from("<HH", content, 6)
        place = _gif_blocks(content)
        while content[place] == _GIF_EXTENSION:
            place += 8
        left, upper, wide, high = struct.unpack_from("<4H", content, place + 1)
        return max(width, left + wide), max(height, upper + high)
    return None
