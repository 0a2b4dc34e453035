"""Files of random structure, most of them readable, for scripts/fuzz_decoder.

Each function takes a generator of random numbers and returns a file. What a file is made of is
valid in most places, so that decoders get far, and anything at all in the others.
"""

import struct
import zlib

from image_files import chunk, huffman_table, n_units, png, riff, segment, tiff

FRAMES = (0xC0, 0xC0, 0xC1, 0xC2, 0xC2, 0xC3, 0xC3, 0xC9, 0xCA)
OTHER_FRAMES = (0xC5, 0xC6, 0xC7, 0xCB, 0xCD, 0xCE, 0xCF)
SAMPLINGS = (
    ((1, 1),),
    ((2, 2),),
    ((1, 1),) * 3,
    ((2, 1), (1, 1), (1, 1)),
    ((2, 2), (1, 1), (1, 1)),
    ((1, 2), (1, 1), (1, 1)),
    ((4, 1), (1, 1), (1, 1)),
    ((1, 4), (1, 1), (1, 1)),
    ((1, 1),) * 4,
    ((2, 2), (1, 1), (1, 1), (2, 2)),
)


def rarely(rng, one_in=12):
    return not rng.integers(one_in)


def pick(rng, values):
    return values[int(rng.integers(len(values)))]


def sides(rng):
    """Width and height: small, and sometimes nothing, or as large as a header can say."""
    most = pick(rng, (4, 20, 70, 300))
    width, height = (int(side) for side in rng.integers(1, most + 1, 2))
    if rarely(rng, 40):
        width = pick(rng, (0, 16383, 65500, 65535))
    return width, height


def random_jpeg(rng):
    """Frames of every kind, with tables, scans and restarts; now and then two frames or images."""
    marker = pick(rng, OTHER_FRAMES) if rarely(rng, 20) else pick(rng, FRAMES)
    sampling = pick(rng, SAMPLINGS)
    if rarely(rng):
        sampling = tuple(tuple(rng.integers(1, 5, 2).tolist()) for _ in range(rng.integers(1, 5)))
    width, height = sides(rng)
    bits = pick(rng, (2, 7, 10, 12, 16)) if rarely(rng, 20) else 8
    ids = rng.integers(0, 256, 4).tolist() if rarely(rng) else [1, 2, 3, 4]
    frame = struct.pack(">BHHB", bits, height, width, len(sampling))
    for name, (across, down) in zip(ids, sampling, strict=False):
        frame += bytes([name, across << 4 | down, int(rarely(rng))])
    parts = [jpeg_sides(rng)]
    if not rarely(rng, 20):
        deep = int(rarely(rng))
        table = rng.integers(1, 256, 128 if deep else 64, dtype="u1").tobytes()
        parts += [segment(0xDB, bytes([deep << 4 | i]) + table) for i in range(2)]
    parts += [segment(marker, frame)] * (2 if rarely(rng, 40) else 1)
    if not rarely(rng, 20):
        parts += [random_huffman_table(rng, kind, i) for kind in (0, 1) for i in (0, 1)]
    interval = int(rng.integers(1, 9)) if rarely(rng, 4) else 0
    if interval:
        parts.append(segment(0xDD, struct.pack(">H", interval)))
    lossless, progressive = marker & 3 == 3, marker & 3 == 2
    everything = list(range(len(sampling)))
    scans = [everything] if rng.integers(3) else [[i] for i in everything]
    for scan in scans * (int(rng.integers(1, 5)) if progressive else 1):
        spectrum = (int(rng.integers(1, 8)), 0, 0) if lossless else (0, 63, 0)
        if progressive:
            first = int(rng.integers(0, 64)) if len(scan) == 1 and rng.integers(2) else 0
            last = 0 if first == 0 else int(rng.integers(first, 64))
            spectrum = (first, last, pick(rng, (0, 1, 0x10, 0x21)))
        if rarely(rng, 20):
            spectrum = tuple(rng.integers(0, 256, 3).tolist())
        chosen = b"".join(bytes([ids[i], pick(rng, (0, 0, 0x11))]) for i in scan)
        parts.append(segment(0xDA, bytes([len(scan)]) + chosen + bytes(spectrum)))
        units = n_units(width, height, sampling, scan, 1 if lossless else 8)
        parts.append(entropy(rng, units, interval))
    end = b"" if rarely(rng) else b"\xff\xd9"
    content = b"\xff\xd8" + b"".join(parts) + end
    return content + random_jpeg(rng) if rarely(rng, 30) else content


def jpeg_sides(rng):
    """What may stand before a frame."""
    parts = []
    for _ in range(rng.integers(0, 4)):
        data = rng.bytes(int(rng.integers(0, 20)))
        kind = int(rng.integers(8))
        start = (b"JFIF\0", b"Adobe", b"Exif\0\0", b"ICC_PROFILE\0", b"MPF\0", b"Photoshop 3.0\0")
        if kind < 6:
            markers = (0xE0, 0xEE, 0xE1, 0xE2, 0xE2, 0xED)
            parts.append(segment(markers[kind], start[kind] + data))
        elif kind == 6:
            transform = pick(rng, (0, 1, 2))
            parts.append(segment(0xEE, b"Adobe" + bytes(6) + bytes([transform])))
        else:
            odd = (b"\xff" * 5, b"\xff\xd0", b"junk", segment(0xDE, data), segment(0xDC, b"\0\5"))
            parts.append(pick(rng, odd))
    return b"".join(parts)


def random_huffman_table(rng, kind, number):
    """A table of few codes, or of as many as fit; the counts are not always possible."""
    if rng.integers(2):
        return huffman_table(kind, number)
    counts, room = [], 1
    for _ in range(16):
        room *= 2
        count = int(rng.integers(0, min(room, 40))) if room > 1 else 0
        counts.append(min(count, 255 - sum(counts)))
        room = min(room - counts[-1], 10**6)
    if rarely(rng, 30):
        counts[0] = 9
    largest = 12 if kind == 0 and not rarely(rng) else 256
    symbols = rng.integers(0, largest, sum(counts), dtype="u2").astype("u1").tobytes()
    return huffman_table(kind, number, counts, symbols)


def entropy(rng, units, interval):
    """The coded pixels of a scan: zeros or noise, of about the right length, with restarts."""
    length = min(units * pick(rng, (1, 1, 2, 9)) // 4 + 1, 5000)
    data = bytes(length) if rng.integers(2) else rng.bytes(length).replace(b"\xff", b"\xff\x00")
    if not interval:
        return data
    step = max(1, length // 5)
    pieces = [data[i : i + step] for i in range(0, length, step)]
    return b"".join(piece + bytes([0xFF, 0xD0 + i % 8]) for i, piece in enumerate(pieces))


PNG_KINDS = [(0, b) for b in (1, 2, 4, 8, 16)] + [(3, b) for b in (1, 2, 4, 8)]
PNG_KINDS += [(colour, bits) for colour in (2, 4, 6) for bits in (8, 16)]
PASSES = (
    (0, 0, 8, 8),
    (4, 0, 8, 8),
    (0, 4, 4, 8),
    (2, 0, 4, 4),
    (0, 2, 2, 4),
    (1, 0, 2, 2),
    (0, 1, 1, 2),
)


def random_png(rng):
    """Every bit depth and kind of colour, interlaced or not, with palettes and transparency."""
    colour, bits = pick(rng, PNG_KINDS)
    if rarely(rng, 30):
        colour, bits = int(rng.integers(0, 8)), int(rng.integers(0, 20))
    width, height = sides(rng)
    interlaced = int(rarely(rng, 4))
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}.get(colour, 1)
    rows = b""
    for left, top, across, down in PASSES if interlaced else ((0, 0, 1, 1),):
        n_columns, n_rows = -(-(width - left) // across), -(-(height - top) // down)
        n_bytes = -(-max(n_columns, 0) * channels * bits // 8)
        if n_bytes * n_rows > 200_000:
            break
        for _ in range(max(n_rows, 0) if n_bytes else 0):
            kind = int(rng.integers(0, 6 if rarely(rng, 200) else 5))
            rows += bytes([kind]) + (rng.bytes(n_bytes) if rng.integers(2) else bytes(n_bytes))
    before = []
    if colour == 3 or rarely(rng):
        before.append(chunk(b"PLTE", rng.bytes(3 * int(rng.integers(0, 260)))))
    if rarely(rng, 3):
        length = {0: 2, 2: 6}.get(colour, int(rng.integers(0, 260)))
        before.append(chunk(b"tRNS", rng.bytes(int(rng.integers(9)) if rarely(rng) else length)))
    for _ in range(rng.integers(0, 3)):
        name = pick(
            rng,
            (
                b"tEXt",
                b"zTXt",
                b"iTXt",
                b"iCCP",
                b"eXIf",
                b"gAMA",
                b"cHRM",
                b"acTL",
                b"fcTL",
                b"fdAT",
                b"IDAT",
                b"IEND",
                b"IHDR",
                b"abCd",
            ),
        )
        before.append(chunk(name, rng.bytes(int(rng.integers(0, 40))), 0 if rarely(rng) else None))
    rng.shuffle(before)
    after = chunk(b"IDAT", rng.bytes(9)) if rarely(rng) else b""
    options = {"before": b"".join(before), "after": after, "interlaced": interlaced}
    return png(width, height, bits, colour, rows[: -5 if rarely(rng, 20) else None], **options)


TIFF_KINDS = [(1, bits, 1) for bits in (1, 2, 4, 8, 8, 8, 12, 16, 16, 32)]
TIFF_KINDS += [(1, 8, 0), (1, 8, 3), (1, 4, 3), (2, 8, 1), (3, 8, 2), (3, 8, 2), (3, 16, 2)]
TIFF_KINDS += [(3, 8, 6), (3, 8, 8), (4, 8, 2), (4, 16, 2), (4, 8, 5)]
TIFF_COMPRESSIONS = (2, 3, 4, 5, 6, 7, 34712, 34925, 50000, 50001)


def random_tiff(rng):
    """Strips and tiles, planes, bits, sample formats, compressions, both orders, BigTIFF."""
    order, big = pick(rng, "<>"), rarely(rng, 5)
    width, height = sides(rng)
    samples, bits, photometric = pick(rng, TIFF_KINDS)
    if rarely(rng):
        bits, samples = pick(rng, (1, 2, 4, 8, 12, 16, 32, 64)), int(rng.integers(1, 10))
    compression = pick(rng, (1, 8, 32773)) if rng.integers(4) else pick(rng, TIFF_COMPRESSIONS)
    planar, tiled = 1 + int(samples > 1 and rarely(rng, 4)), rarely(rng, 4)
    fewest = height // (40 // samples) + 1
    step = 16 * int(rng.integers(1, 3)) if tiled else int(rng.integers(fewest, height + fewest))
    across = step if tiled else max(width, 1)
    n_pieces = -(-height // step) * (-(-width // across) if tiled else 1)
    n_bytes = min(-(-across * bits * (samples if planar == 1 else 1) // 8) * step, 20_000)
    pieces = []
    for _ in range(min(n_pieces * (samples if planar == 2 else 1), 40)):
        data = rng.bytes(n_bytes) if rng.integers(2) else bytes(n_bytes)
        if compression in (8, 32946) and not rarely(rng):
            data = zlib.compress(data)
        elif compression == 32773:
            data = b"".join(
                b"\x7f" + data[i : i + 128].ljust(128) for i in range(0, len(data), 128)
            )
        pieces.append(data[: int(rng.integers(len(data) + 1)) if rarely(rng, 20) else None])
    base = 16 if big else 8
    offsets = tuple(base + sum(map(len, pieces[:i])) for i in range(len(pieces)))
    counts = tuple(map(len, pieces))
    if rarely(rng, 20):
        offsets = tuple(rng.integers(0, 2**32, len(offsets)).tolist())
    tags = {256: (4, width), 257: (4, height), 258: (3, (bits,) * samples), 259: (3, compression)}
    tags |= {262: (3, photometric), 277: (3, samples), 284: (3, planar)}
    if tiled:
        tags |= {322: (3, step), 323: (3, step), 324: (4, offsets), 325: (4, counts)}
    else:
        tags |= {273: (4, offsets), 278: (4, step), 279: (4, counts)}
    if photometric == 3:
        tags[320] = (3, tuple(rng.integers(0, 65536, 3 * 2 ** min(bits, 8)).tolist()))
    if samples in (2, 4, 5) and photometric != 5:
        tags[338] = (3, (pick(rng, (0, 1, 2)),) * (samples - (1 if samples == 2 else 3)))
    for tag, values in ((339, (1, 2, 3, 4, 6)), (317, (1, 2, 3)), (266, (1, 2)), (274, range(10))):
        if rarely(rng, 4 if tag == 274 else 12):
            tags[tag] = (3, pick(rng, values))
    if rarely(rng):
        tags[int(rng.integers(250, 700))] = (pick(rng, (1, 3, 4)), int(rng.integers(0, 256)))
    if rarely(rng, 20):
        del tags[pick(rng, list(tags))]
    entries = [(tag, *tags[tag]) for tag in sorted(tags)]
    content = tiff(
        entries, b"".join(pieces), order=order, big=big, following=8 if rarely(rng) else 0
    )
    return content


def random_webp(rng, corpus):
    """Chunks of real pictures, as they are or in an extended file, with flags that may be wrong."""
    content = pick(rng, [other for other in corpus if other[8:15] == b"WEBPVP8"])
    found, place = [], 12
    while place + 8 <= len(content):
        name, length = struct.unpack_from("<4sI", content, place)
        found.append((name, content[place + 8 : place + 8 + length]))
        place += 8 + length + length % 2
    width, height = sides(rng) if rarely(rng) else (26, 19)  # as in the corpus
    canvas = (max(width, 1) - 1).to_bytes(3, "little") + (max(height, 1) - 1).to_bytes(3, "little")
    picture = [(name, data) for name, data in found if name in (b"VP8 ", b"VP8L", b"ALPH")]
    if rarely(rng, 4) or not picture:
        sizes = struct.pack("<I", 25 | 18 << 14 | int(rng.integers(2)) << 28)
        picture = [(b"VP8L", b"\x2f" + sizes + rng.bytes(60))]
    if rarely(rng):
        filtered = (b"ALPH", bytes([pick(rng, (0, 1, 4, 8))]) + rng.bytes(26 * 19))
        picture = [filtered, *picture[-1:]]
    extra = [(name, rng.bytes(9)) for name in (b"ICCP", b"EXIF", b"XMP ", b"ANIM", b"what")]
    frame = (rng.bytes(6) if rarely(rng) else bytes(6)) + canvas + bytes([1, 0, 0, 0])
    inner = b"".join(
        name + struct.pack("<I", len(data)) + data + bytes(len(data) % 2) for name, data in picture
    )
    animated = [(b"ANIM", bytes(6)), *[(b"ANMF", frame + inner)] * int(rng.integers(1, 4))]
    is_animated = rarely(rng, 4)
    flags = int(rng.integers(64)) if rarely(rng) else 0x12 if is_animated else 0x10
    chunks = animated if is_animated else picture
    for _ in range(rng.integers(0, 3)):
        place = int(rng.integers(len(chunks) + 1)) if rarely(rng) else len(chunks)
        chunks = [
            *chunks[:place],
            pick(rng, [*extra, *found] if rarely(rng) else extra),
            *chunks[place:],
        ]
    if is_animated or len(chunks) > 1 or rng.integers(2):
        chunks = [(b"VP8X", bytes([flags, 0, 0, 0]) + canvas), *chunks]
    return riff(chunks, int(rng.integers(2**32)) if rarely(rng, 20) else None)


def random_gif(rng):
    """Frames inside and outside of the screen, palettes, disposal, transparency, comments."""
    width, height = sides(rng)
    flags = int(rng.integers(256)) if rng.integers(4) else 0x80
    parts = [
        pick(rng, (b"GIF87a", b"GIF89a")),
        struct.pack("<HHBBB", width, height, flags, int(rng.integers(256)), 0),
    ]
    parts.append(rng.bytes(3 << (flags & 7) + 1) if flags & 0x80 else b"")
    for _ in range(rng.integers(0, 4)):
        if rng.integers(2):
            control = bytes([int(rng.integers(32)), 0, 0, int(rng.integers(256))])
            parts.append(b"!\xf9\4" + control + b"\0")
        if rarely(rng, 5):
            text = rng.bytes(int(rng.integers(1, 40)))
            parts.append(
                b"!"
                + pick(rng, (b"\xfe", b"\xff", b"\1", b"\x99"))
                + bytes([len(text)])
                + text
                + b"\0"
            )
        left, top = rng.integers(0, 5, 2).tolist()
        wide, high = (width, height) if rng.integers(2) else sides(rng)
        local = int(rng.integers(256)) if rarely(rng, 3) else 0
        parts.append(struct.pack("<cHHHHB", b",", left, top, wide, high, local))
        parts.append(rng.bytes(3 << (local & 7) + 1) if local & 0x80 else b"")
        depth = int(rng.integers(2, 9)) if not rarely(rng) else int(rng.integers(0, 256))
        parts += [bytes([depth]), gif_pixels(rng, depth, min(wide * high, 5000)), b"\0"]
    return b"".join(parts) + (b"" if rarely(rng) else b";")


def gif_pixels(rng, depth, n_pixels):
    """Blocks of codes, none of which stands for more than a pixel."""
    if not 2 <= depth <= 8 or rarely(rng):
        return b"".join(bytes([len(data)]) + data for data in [rng.bytes(99)] * 3)
    codes, clear = [], 1 << depth
    for i in range(n_pixels):
        if i % (clear - 2) == 0:
            codes.append(clear)
        codes.append(int(rng.integers(clear)))
    bits = sum(code << i * (depth + 1) for i, code in enumerate([*codes[:2000], clear + 1]))
    data = bits.to_bytes((len(codes) + 1) * (depth + 1) // 8 + 2, "little")
    pieces = (data[i : i + 255] for i in range(0, len(data), 255))
    return b"".join(bytes([len(piece)]) + piece for piece in pieces)


def random_bmp(rng):
    """Headers of all ages, bits, run lengths, masks and palettes, rows up or down."""
    size = pick(rng, (12, 40, 40, 40, 52, 56, 64, 108, 124))
    bits = pick(rng, (1, 4, 8, 16, 24, 32)) if not rarely(rng) else int(rng.integers(0, 65))
    packing = {4: pick(rng, (0, 2)), 8: pick(rng, (0, 1)), 16: 3, 32: pick(rng, (0, 3))}.get(
        bits, 0
    )
    packing = int(rng.integers(0, 8)) if rarely(rng) else packing
    width, height = sides(rng)
    n_colours = int(rng.integers(0, 257)) if bits <= 8 else 0
    if size == 12:
        header = struct.pack("<IHHHH", size, width, height, 1, bits)
        colours = rng.bytes(3 << min(bits, 8)) if bits <= 8 else b""
    else:
        upside = -height if rarely(rng, 3) else height
        header = struct.pack(
            "<IiiHHIIiiII", size, width, upside, 1, bits, packing, 0, 0, 0, n_colours, 0
        )
        masks = pick(
            rng,
            (
                (0x7C00, 0x3E0, 0x1F, 0),
                (0xF800, 0x7E0, 0x1F, 0),
                (0xFF0000, 0xFF00, 0xFF, 0xFF000000),
                (255, 0, 7, 1),
            ),
        )
        header = (header + struct.pack("<4I", *masks)).ljust(size, b"\0")[: max(size, 52)]
        colours = rng.bytes(4 * (n_colours or (1 << bits if bits <= 8 else 0)))
    length = min(-(-width * bits // 32) * 4 * height, 60_000)
    pixels = rng.bytes(length) if rng.integers(2) else bytes(length)
    start = 14 + len(header) + len(colours)
    start = int(rng.integers(2**32)) if rarely(rng, 30) else start
    return struct.pack("<2sIHHI", b"BM", start + length, 0, 0, start) + header + colours + pixels


def random_file(rng, corpus):
    """A file of one of the six formats."""
    makers = (
        random_jpeg,
        random_jpeg,
        random_jpeg,
        random_png,
        random_tiff,
        random_gif,
        random_bmp,
    )
    kind = int(rng.integers(len(makers) + 1))
    return random_webp(rng, corpus) if kind == len(makers) else makers[kind](rng)
