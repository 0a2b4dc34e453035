"""Files that are built from their structure, so that each part of it can be chosen, right or wrong.

Used by tests, and by scripts/fuzz_decoder.
"""

import struct
import zlib

from sklearn_cnn.files import decode as decoder


def decode(source, options):
    """The pixels of one image, without notes."""
    return decoder.decode(source, options)[0]


def segment(marker, data):
    """One segment of a JPEG file."""
    return struct.pack(">BBH", 0xFF, marker, len(data) + 2) + data


def huffman_table(kind, number, counts=(1,), symbols=b"\0"):
    """A table of codes, the counts of each length first; by default, one bit stands for 0."""
    return segment(0xC4, bytes([kind << 4 | number, *counts, *bytes(16 - len(counts))]) + symbols)


def n_units(width, height, sampling, components, side):
    """Blocks, or samples of side 1, in a scan of some components."""
    widest, highest = (max(factors) for factors in zip(*sampling, strict=True))
    if len(components) == 1:
        across, down = sampling[components[0]]
        return -(-width * across // (widest * side)) * -(-height * down // (highest * side))
    mcus = -(-width // (widest * side)) * -(-height // (highest * side))
    return mcus * sum(sampling[i][0] * sampling[i][1] for i in components)


def jpeg(
    width,
    height,
    marker=0xC0,
    sampling=((1, 1),),
    *,
    bits=8,
    interleaved=True,
    before=b"",
    end=b"\xff\xd9",
):
    """A JPEG file of any kind of frame, whose pixels are all of the middle level.

    Arithmetic coding apart, whose zeros stand for something else in a sequential frame.
    """
    lossless, progressive = marker & 3 == 3, marker & 3 == 2
    frame = struct.pack(">BHHB", bits, height, width, len(sampling))
    frame += b"".join(bytes([i, h << 4 | v, 0]) for i, (h, v) in enumerate(sampling, 1))
    parts = [b"\xff\xd8", before, segment(0xDB, b"\0" + b"\1" * 64), segment(marker, frame)]
    parts += [huffman_table(kind, 0) for kind in (0, 1)]
    everything = list(range(len(sampling)))
    for scan in [everything] if interleaved else [[i] for i in everything]:
        spectrum = b"\1\0\0" if lossless else b"\0\0\0" if progressive else b"\0\x3f\0"
        chosen = b"".join(bytes([i + 1, 0]) for i in scan)
        parts.append(segment(0xDA, bytes([len(scan)]) + chosen + spectrum))
        units = n_units(width, height, sampling, scan, 1 if lossless else 8)
        n_bits = units * (1 if lossless or progressive else 2)
        padding = 0xFF >> n_bits % 8 if n_bits % 8 else 0
        parts.append(bytes(n_bits // 8) + bytes([padding] if padding else []))
    return b"".join([*parts, end])


def chunk(name, data=b"", checksum=None):
    """One chunk of a PNG file."""
    checksum = zlib.crc32(name + data) if checksum is None else checksum
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", checksum)


def png(width, height, bits, colour_type, rows, *, before=b"", after=b"", interlaced=0):
    """A PNG file of rows of bytes, each after its filter; ``before`` and ``after`` its IDAT."""
    header = struct.pack(">IIBBBBB", width, height, bits, colour_type, 0, 0, interlaced)
    parts = [b"\x89PNG\r\n\x1a\n", chunk(b"IHDR", header), before]
    return b"".join([*parts, chunk(b"IDAT", zlib.compress(rows)), after, chunk(b"IEND")])


def tiff(entries, data=b"", *, order="<", big=False, following=0):
    """A TIFF or BigTIFF file of one page.

    ``entries`` are tuples of tag, type and value: one number or several, or the bytes of the field.
    Offsets into ``data``, which stands after the header, begin at 8 or, in BigTIFF, at 16.
    """
    start = 16 if big else 8
    sizes = {1: "B", 3: "H", 4: "I", 16: "Q"}
    count, number, field = ("Q", "HHQ", 8) if big else ("H", "HHI", 4)
    directory = start + len(data) + len(data) % 2
    beyond = directory + struct.calcsize(count) + len(entries) * (4 + 2 * field) + field
    rows, outside = [], b""
    for tag, kind, value, *n in entries:
        if not isinstance(value, bytes):
            values = value if isinstance(value, tuple) else (value,)
            n = n or [len(values)]
            value = struct.pack(f"{order}{len(values)}{sizes[kind]}", *values)
        if len(value) > field:
            where, outside = beyond + len(outside), outside + value
            value = struct.pack(order + ("Q" if big else "I"), where)
        rows.append(struct.pack(order + number, tag, kind, *n) + value.ljust(field, b"\0"))
    header = (b"II" if order == "<" else b"MM") + struct.pack(order + "H", 43 if big else 42)
    header += (
        struct.pack(order + "HHQ", 8, 0, directory) if big else struct.pack(order + "I", directory)
    )
    end = struct.pack(order + ("Q" if big else "I"), following)
    body = data + bytes(len(data) % 2) + struct.pack(order + count, len(rows)) + b"".join(rows)
    return header + body + end + outside


def riff(chunks, claimed=None):
    """A WebP file of chunks: tuples of a name and its bytes."""
    body = b"WEBP" + b"".join(
        name + struct.pack("<I", len(data)) + data + bytes(len(data) % 2) for name, data in chunks
    )
    return b"RIFF" + struct.pack("<I", len(body) if claimed is None else claimed) + body
