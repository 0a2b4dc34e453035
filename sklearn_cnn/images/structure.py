"""What the structure of a file says, before a decoder sees it."""

import re
import struct
from typing import NamedTuple

SHRINKABLE = frozenset({0xC0, 0xC1, 0xC2, 0xC9, 0xCA})
"""JPEG frames that are made of blocks of 8 x 8: baseline, extended, progressive, arithmetic."""

_MARKER = re.compile(rb"\xff+([^\xff\x00])")
_WITHOUT_LENGTH = frozenset({0x01, *range(0xD0, 0xD8)})
_NO_FRAME = frozenset({0xC4, 0xC8, 0xCC})
_ENDS_OF_HEADER = frozenset({0xD8, 0xD9, 0xDA})


class JpegFrame(NamedTuple):
    """The frame header of a JPEG file."""

    marker: int
    bits: int
    height: int
    width: int
    n_components: int


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
    place = 2 if content.startswith(b"\xff\xd8\xff") else len(content)
    while (found := _MARKER.search(content, place)) is not None and found.end() + 8 <= len(content):
        marker, place = found[1][0], found.end()
        if marker in _WITHOUT_LENGTH:
            continue
        length, bits, height, width, n_components = struct.unpack_from(">HBHHB", content, place)
        if 0xC0 <= marker <= 0xCF and marker not in _NO_FRAME:
            return JpegFrame(marker, bits, height, width, n_components)
        if marker in _ENDS_OF_HEADER or length < 2:
            break
        place += length
    return None
