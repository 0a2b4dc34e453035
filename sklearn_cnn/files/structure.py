"""The structure of an image file, read before decoding, and the file without its metadata.

A decoder only gets pixels and what is needed to read them, so damaged or huge texts, colour
profiles and thumbnails are harmless. Nothing is decoded here. TIFF is the only format whose tags
are read, because they show what Pillow would misread.
"""

import dataclasses
import re
import struct
import zlib
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from math import prod
from typing import NamedTuple

# JPEG frames that are made of blocks of 8 x 8: baseline, extended, progressive, arithmetic.
SHRINKABLE = frozenset({0xC0, 0xC1, 0xC2, 0xC9, 0xCA})
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

_ORIENTATION_IN_XMP = re.compile(rb'tiff:Orientation(?:="|>)([0-9])')


class JpegFrame(NamedTuple):
    """The frame header of a JPEG file."""

    marker: int
    bits: int
    height: int
    width: int
    n_components: int


class Stripped(NamedTuple):
    """A file reduced to its pixels, and the EXIF and XMP data that may hold its orientation."""

    content: bytes
    exif: bytes = b""
    xmp: bytes = b""


def strip(content: bytes) -> Stripped:
    """Reduce a JPEG, PNG, WebP, GIF or TIFF file to its pixels, which may still be damaged."""
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


def read_jpeg_frame(content: bytes) -> JpegFrame | None:
    """Find the frame header as libjpeg does; None if there is none before the first scan."""
    for marker, start, end in _jpeg_segments(content):
        if 0xC0 <= marker <= 0xCF and marker not in _NO_FRAME and end - start >= 8:
            return JpegFrame(marker, *struct.unpack_from(">BHHB", content, start + 4))
    return None


def _jpeg_segments(content: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield marker, start and end of each complete segment before the first scan.

    Fill bytes and garbage between segments are skipped.
    """
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
    """Return the keyword and the text of a chunk; no text if it is damaged or too large."""
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
    """Remove the extensions before the first frame, except those that control its drawing."""
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


class Tag:
    """Numbers of TIFF tags; plain ints, because comparing members of an enum is slower."""

    SUBFILE = 254
    WIDTH = 256
    HEIGHT = 257
    BITS = 258
    COMPRESSION = 259
    PHOTOMETRIC = 262
    DESCRIPTION = 270
    ORIENTATION = 274
    SAMPLES = 277
    ARRANGEMENT = 284
    SUB_IFDS = 330
    SAMPLE_FORMAT = 339
    DEPTH = 32997
    DNG = 50706


# The tags for the pixels of a TIFF file: sizes, coding, strips, tiles, colours, orientation.
_TIFF_KEPT = frozenset(
    {254, 256, 257, 258, 259, 262, 266, 273, 274, 277, 278, 279, 284, 292, 293, 317, 320, 322, 323}
    | {324, 325, 332, 338, 339, 347, *range(512, 522), 529, 530, 531, 532, 700, 32997}
)
_TIFF_HARMLESS = frozenset({255, 269, 270, 271, 272, 280, 281, 305, 306, 315, 316})
_TIFF_SINGLE = frozenset({282, 283, 296})
_OPTIONAL = frozenset({Tag.DESCRIPTION, Tag.SUB_IFDS, Tag.DNG})
_READ = _OPTIONAL | {
    Tag.SUBFILE, Tag.WIDTH, Tag.HEIGHT, Tag.BITS, Tag.COMPRESSION, Tag.PHOTOMETRIC, Tag.SAMPLES,
    Tag.SAMPLE_FORMAT, Tag.DEPTH,
}  # fmt: skip

_TEXT, _SHORT, _LONG = 2, 3, 4
_TYPES = {1: "B", 2: "s", 3: "H", 4: "I", 8: "h", 9: "i", 13: "I", 16: "Q", 17: "q", 18: "Q"}
_TYPE_BYTES = {kind: struct.calcsize("<" + form) for kind, form in _TYPES.items()} | {
    5: 8, 6: 1, 7: 1, 10: 8, 11: 4, 12: 8,
}  # fmt: skip

# Of pointers, counts and tags, by order of bytes and whether the file is BigTIFF.
_TIFF_FORMS = {
    (order, is_big): tuple(struct.Struct(order + form) for form in forms)
    for order in "<>"
    for is_big, forms in ((False, ("I", "H", "HHI4s")), (True, ("Q", "Q", "HHQ8s")))
}

_REDUCED_OR_MASK = 1 | 4
_MOST_PAGES, _MOST_TAGS, _MOST_VALUES = 1000, 4096, 1024


@dataclasses.dataclass
class TiffPage:
    """The valid tags of a page.

    Attributes
    ----------
    values : dict of int to tuple
        Values of each tag in ``_READ`` that the page has; a string is a tuple of one bytes.
    is_cut : bool
        Whether the file ends before the list of tags does.
    lacks_values : bool
        Whether the values of a tag that its pixels need lie beyond the end of the file.
    """

    values: dict[int, tuple] = dataclasses.field(default_factory=dict)
    is_cut: bool = False
    lacks_values: bool = False

    def first(self, tag: int, default: int = 1) -> int:
        """Return the first value of a tag."""
        return int(self.values.get(tag, (default,))[0])


def is_tiff(content: bytes) -> bool:
    """Tell whether this is a TIFF or BigTIFF file."""
    return content[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


class _TiffReader:
    """Reader of lists of tags, of TIFF and BigTIFF in either byte order."""

    def __init__(self, content: bytes) -> None:
        self.order, is_big = "<" if content[:2] == b"II" else ">", 43 in content[2:4]
        self.content, self.start = content, 8 if is_big else 4
        self.pointer, self.counter, self.entry = _TIFF_FORMS[self.order, is_big]

    def pointer_at(self, place: int) -> int:
        """Return the pointer at a position."""
        (pointer,) = self.pointer.unpack_from(self.content, place)
        return int(pointer)

    def tags_at(self, place: int) -> tuple[int, Iterator[tuple[int, int, int, bytes]]]:
        """Return the stated number of tags at a position, and the parts of each entry.

        These are tag, type, number of values and field. The iterator raises struct.error at the
        end of the file.
        """
        (n_tags,) = self.counter.unpack_from(self.content, place)
        start, step = place + self.counter.size, self.entry.size
        places = range(start, start + n_tags * step, step)
        return n_tags, (self.entry.unpack_from(self.content, at) for at in places)

    def values(self, kind: int, number: int, field: bytes) -> tuple:
        """Return the values of a tag, which are in its field or at the position it points to."""
        form = f"{self.order}{min(number, _MOST_VALUES)}{_TYPES[kind]}"
        if struct.calcsize(form) <= len(field):
            return struct.unpack_from(form, field)
        return struct.unpack_from(form, self.content, *self.pointer.unpack(field))


def _strip_tiff(content: bytes) -> bytes:
    """Remove the tags of the first page that are damaged or not needed for its pixels."""
    reader = _TiffReader(content)
    pointer, counter, entry, start = reader.pointer, reader.counter, reader.entry, reader.start
    place = reader.pointer_at(start)
    n_tags, tags = reader.tags_at(place)
    kept = []
    with suppress(struct.error):  # of a list that is cut
        for tag, kind, number, field in tags:
            n_bytes = number * _TYPE_BYTES.get(kind, 0)
            (where,) = pointer.unpack(field)
            is_whole = n_bytes <= pointer.size or where + n_bytes <= len(content)
            is_known = tag in _TIFF_KEPT or tag in _TIFF_HARMLESS
            if n_bytes and is_whole and (is_known or (tag in _TIFF_SINGLE and number == 1)):
                kept.append(entry.pack(tag, kind, number, field))
    end = place + counter.size + n_tags * entry.size + pointer.size
    if len(kept) == n_tags and end <= len(content):
        return content
    body = content[start + pointer.size :]
    body += bytes(len(content) % 2)
    where = pointer.pack(start + pointer.size + len(body))
    return b"".join(
        [content[:start], where, body, counter.pack(len(kept)), *kept, bytes(pointer.size)]
    )


def read_tiff_pages(content: bytes) -> Iterator[TiffPage]:
    """Read the tags of each page of a TIFF or BigTIFF file, up to the first damage."""
    reader = _TiffReader(content)
    seen: set[int] = set()
    with suppress(struct.error, OverflowError):
        place = reader.pointer_at(reader.start)
        while place and place not in seen and len(seen) < _MOST_PAGES:
            seen.add(place)
            page, n_tags = _read_page(reader, place)
            yield page
            if page.is_cut:
                return
            place = reader.pointer_at(place + reader.counter.size + n_tags * reader.entry.size)


def _read_page(reader: _TiffReader, place: int) -> tuple[TiffPage, int]:
    """Return the page at a position, and the number of its tags that were read."""
    n_tags, tags = reader.tags_at(place)
    page = TiffPage()
    try:
        for tag, kind, number, field in islice(tags, _MOST_TAGS):
            is_text = kind == _TEXT
            if tag not in _READ or kind not in _TYPES or is_text != (tag == Tag.DESCRIPTION):
                continue
            try:
                values = reader.values(kind, number, field)
            except struct.error:  # it points out of the file
                page.lacks_values |= tag not in _OPTIONAL
            else:
                page.values |= {tag: values} if values else {}
    except struct.error:
        page.is_cut = True
    return page, min(n_tags, _MOST_TAGS)


def count_tiff_pages(content: bytes) -> int:
    """Count the images of a TIFF file, without previews, smaller copies and masks."""
    n_pages = 0
    for number, page in enumerate(read_tiff_pages(content)):
        n_pages += number == 0 or not page.first(Tag.SUBFILE, 0) & _REDUCED_OR_MASK
        if number == 0:
            n_pages = max(n_pages, _count_listed(page))
    return n_pages


def _count_listed(page: TiffPage) -> int:
    """Count the images that ImageJ or tifffile has stored after a single list of tags."""
    (text,) = page.values.get(Tag.DESCRIPTION, (b"",))
    if text.startswith(b"ImageJ="):
        listed = re.search(rb"images=(\d+)", text)
        return int(listed[1]) if listed else 1
    shape = re.match(rb'{"shape": \[([\d, ]+)\]', text)
    a_page = page.first(Tag.WIDTH) * page.first(Tag.HEIGHT) * page.first(Tag.SAMPLES)
    return prod(map(int, shape[1].split(b","))) // max(1, a_page) if shape else 1


def read_orientation(exif: bytes, xmp: bytes) -> int:
    """Read the orientation from an EXIF block, which is a TIFF file, or otherwise from XMP.

    Returns
    -------
    int
        1 to 8, as EXIF numbers them; 1 for upright, and if nothing valid is stated.
    """
    exif = exif.removeprefix(b"Exif\0\0")
    with suppress(struct.error):
        if exif[:2] in (b"II", b"MM"):
            reader = _TiffReader(exif[:2] + bytes(2) + exif[4:])  # EXIF is never BigTIFF
            for tag, kind, number, field in reader.tags_at(reader.pointer_at(reader.start))[1]:
                if tag == Tag.ORIENTATION:
                    is_one = kind in (_SHORT, _LONG) and number == 1
                    (value,) = reader.values(kind, 1, field) if is_one else (1,)
                    return int(value) if 1 <= value <= 8 else 1
    found = _ORIENTATION_IN_XMP.search(xmp)
    return int(found[1]) if found and found[1] in b"12345678" else 1


def orientation_as_exif(orientation: int) -> bytes:
    """Write an EXIF block that only holds the orientation."""
    entry = struct.pack(">HHIHH", Tag.ORIENTATION, _SHORT, 1, orientation, 0)
    return b"Exif\0\0MM\0*\0\0\0\x08\0\1" + entry + bytes(4)
