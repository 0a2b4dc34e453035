import io
import os
import re
import socket
import struct
import subprocess
import sys
import tempfile
import warnings
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from image_files import chunk, decode, jpeg, riff, segment, tiff
from PIL import Image, ImageFile

from sklearn_cnn import ImageReader
from sklearn_cnn.files import decode as decoder
from sklearn_cnn.files import opening
from sklearn_cnn.files.formats import UnreadableImage
from sklearn_cnn.files.options import ReadOptions

SCRIPT = Path(__file__).parents[2] / "scripts" / "fuzz_decoder"
OPTIONS = ReadOptions(7, 9, "RGB", "stretch", (255, 255, 255))
HEIGHT, WIDTH = 23, 31


def save(image, name, **options):
    file = io.BytesIO()
    image.copy().save(file, name, **options)
    return file.getvalue()


@pytest.fixture(scope="module")
def picture():
    pixels = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


FILES = {
    "PNG": ("PNG", {}),
    "PNG in colours of a palette": ("PNG", {"mode": "P"}),
    "JPEG": ("JPEG", {}),
    "JPEG, progressive": ("JPEG", {"progressive": True}),
    "JPEG, CMYK": ("JPEG", {"mode": "CMYK"}),
    "WEBP": ("WEBP", {}),
    "WEBP, lossless": ("WEBP", {"lossless": True}),
    "BMP": ("BMP", {}),
    "BMP in colours of a palette": ("BMP", {"mode": "P"}),
    "GIF": ("GIF", {}),
    "TIFF": ("TIFF", {}),
    "TIFF, LZW": ("TIFF", {"compression": "tiff_lzw"}),
    "TIFF, JPEG": ("TIFF", {"compression": "jpeg"}),
    "AVIF": ("AVIF", {}),
}


def make_file(picture, kind):
    name, options = FILES[kind]
    options = dict(options)
    return save(picture.convert(options.pop("mode", "RGB")), name, **options)


@pytest.mark.parametrize("kind", FILES)
def test_no_part_of_a_truncated_file(picture, kind):
    """Would catch rows of black or gray where a file ends too early, at each 1 % of its length."""
    content = make_file(picture, kind)
    whole = decode(content, OPTIONS)
    n_refused = 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Pillow's, about the damage
        for percent in range(100):
            try:
                pixels = decode(content[: len(content) * percent // 100], OPTIONS)
            except UnreadableImage:
                n_refused += 1
            else:  # what is missing are no pixels
                np.testing.assert_array_equal(pixels, whole)
    assert n_refused >= 90


@pytest.mark.parametrize("kind", [*FILES, "extended WebP"])
def test_reasons_of_a_file_that_ends_within_its_header_are_in_words(picture, kind):
    """At each of the first 60 bytes. Catches "index out of range", which is Python's."""
    content = b"RIFF\xa4\1\0\0WEBPVP8X\x0a" + bytes(40)
    if kind in FILES:
        content = make_file(picture, kind)
    for n_bytes in range(1, min(60, len(content) // 2)):
        with pytest.raises(UnreadableImage) as caught:
            decode(content[:n_bytes], OPTIONS)
        assert "out of range" not in str(caught.value), n_bytes
        assert str(caught.value).startswith("it "), n_bytes


@pytest.mark.parametrize("kind", FILES)
def test_what_follows_a_file_is_ignored(picture, kind):
    """Would catch sound files that are refused for a camera's trailer."""
    content = make_file(picture, kind)
    np.testing.assert_array_equal(
        decode(content + b"trailing bytes", OPTIONS), decode(content, OPTIONS)
    )


@pytest.mark.parametrize("kind", FILES)
def test_a_single_pixel(kind):
    """Would catch a file of the least size that is too small for something."""
    pixels = decode(make_file(Image.new("RGB", (1, 1), (255, 255, 255)), kind), OPTIONS)
    assert pixels.shape == (7, 9, 3)
    assert pixels.min() >= 250


def in_header(content, place, form, *numbers):
    changed = bytearray(content)
    struct.pack_into(form, changed, place, *numbers)
    return bytes(changed)


def bomb(picture, name, side):
    """Write a small file whose header asks for a square of many pixels."""
    content = save(picture, name)
    if name == "PNG":
        content = in_header(content, 16, ">II", side, side)
        return in_header(content, 29, ">I", zlib.crc32(content[12:29]))
    if name == "JPEG":
        return in_header(content, content.index(b"\xff\xc0") + 5, ">HH", side, side)
    if name == "BMP":
        return in_header(content, 18, "<ii", side, side)
    if name == "GIF":
        return in_header(content, 6, "<HH", side, side)
    if name == "WEBP":
        content = save(picture, name, save_all=True, append_images=[picture.rotate(180)])
        sides = (side - 1).to_bytes(3, "little") * 2
        return in_header(content, content.index(b"VP8X") + 12, "6s", sides)
    if name == "AVIF":
        return in_header(content, content.index(b"ispe") + 8, ">II", side, side)
    for tag in (256, 257):  # TIFF
        content = in_header(content, content.index(struct.pack("<HHI", tag, 4, 1)) + 8, "<I", side)
    return content


@pytest.mark.parametrize("name", opening.FORMATS)
@pytest.mark.parametrize("side", [13_400, 20_000, 60_000])
@pytest.mark.parametrize("ambient", ["as it is", None, 10**12])
def test_a_bomb_is_refused_by_its_header(picture, monkeypatch, name, side, ambient):
    """Would catch gigabytes that a few bytes ask for, whatever limit Pillow has been set."""
    if ambient != "as it is":
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", ambient)
    loaded = []
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda image: loaded.append(image))
    content = bomb(picture, name, side)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(
            UnreadableImage, match=r"states too many pixels|it has \d+ x \d+ pixels"
        ):
            decode(content, OPTIONS)
    assert not loaded


def test_an_opened_bomb_is_refused(picture, monkeypatch):
    """Would catch a user's image that is copied, and so decoded, before it is measured."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    with Image.open(io.BytesIO(bomb(picture, "PNG", 60_000))) as image:
        monkeypatch.setattr(image, "load", None)
        with pytest.raises(UnreadableImage, match="it has 60000 x 60000 pixels"):
            decode(image, OPTIONS)


@pytest.mark.parametrize("name", sorted({*opening.FORMATS} - {"JPEG"}))  # which is shrunk
def test_a_bomb_is_refused_without_a_warning(picture, name):
    """Would catch Pillow's own warning, which names no file, of what is somewhat too large."""
    with pytest.raises(
        UnreadableImage, match="it has 13000 x 13000 pixels, more than the limit of 89,478"
    ):
        decode(bomb(picture, name, 13_000), OPTIONS)


def sides_of_png(content):
    """A PNG file with more in it than pixels, sound, damaged or huge."""
    end = content.index(b"IDAT") - 4
    head, tail = content[:end], content[end:]
    text = b"Comment\0\0" + zlib.compress(b"x" * (3 << 20))
    for name, side in {
        "a text of 3 MB": chunk(b"zTXt", text),
        "a text of 3 MB in UTF-8": chunk(b"iTXt", b"Comment\0\1\0\0\0" + text[9:]),
        "a hundred texts": chunk(b"zTXt", b"Comment\0\0" + zlib.compress(b"x" * 999_999)) * 100,
        "a text of a wrong checksum": chunk(b"tEXt", b"Comment\0text", checksum=0),
        "a text that is cut": chunk(b"zTXt", text[:40]),
        "a text of an unknown packing": chunk(b"zTXt", b"Comment\0\7text"),
        "a profile of a wrong checksum": chunk(b"iCCP", b"name\0\0" + text[9:], checksum=1),
        "a profile of 3 MB": chunk(b"iCCP", b"name\0\0" + text[9:]),
        "a profile of an unknown packing": chunk(b"iCCP", b"name\0\7text"),
        "a light level of a wrong checksum": chunk(b"cLLI", bytes(8), checksum=2),
        "short numbers": b"".join(chunk(x, b"\0") for x in (b"cHRM", b"gAMA", b"pHYs")),
        "no intent": chunk(b"sRGB"),
        "EXIF that is none": chunk(b"eXIf", b"II*\0\xff\xff\xff\xff"),
        "an animation of no frames": chunk(b"acTL", bytes(8)),
        "an animation twice": chunk(b"acTL", b"\0\0\0\2" + bytes(4)) * 2,
        "an animation that is cut": chunk(b"acTL", b"\0"),
        "frames out of order": chunk(b"fcTL", bytes([0, 0, 0, 9]) + bytes(22)),
        "a chunk of no name": chunk(b"\xff\0\1\2", b"data"),
    }.items():
        yield name, head + side + tail
        if b"acTL" not in side and b"fcTL" not in side:
            yield f"{name} at the end", content[:-12] + side + content[-12:]


def sides_of_jpeg(content):
    for name, side in {
        "an empty JFIF segment": segment(0xE0, b"JFIF\0"),
        "a JFIF segment of one byte": segment(0xE0, b"JFIF\0\1"),
        "a short Adobe segment": segment(0xEE, b"Adobe"),
        "EXIF that is none": segment(0xE1, b"Exif\0\0nothing of the kind"),
        "EXIF that is cut": segment(0xE1, b"Exif\0\0II*\0\x08\0\0\0\xff\xff\x12\1"),
        "EXIF without an end": segment(
            0xE1, b"Exif\0\0MM\0*\0\0\0\x08\0\1\1\x1a\0\5\0\0\0\1\0\0\xff\xff"
        ),
        "a profile of too few parts": segment(0xE2, b"ICC_PROFILE\0\1\7" + bytes(99)),
        "more pictures that are missing": segment(0xE2, b"MPF\0II*\0\x08\0\0\0\xff\xff"),
        "settings of Photoshop that are cut": segment(0xED, b"Photoshop 3.0\0" + b"8BIM\4"),
        "a comment": segment(0xFE, b"\xff\xd8\xff\xc3" * 9999),
        "a segment of each kind": b"".join(segment(0xE0 + i, bytes(i)) for i in range(16)),
    }.items():
        yield name, content[:2] + side + content[2:]
    jfif = content.index(b"\xff\xe0")
    yield "no JFIF segment at all", content[:jfif] + content[jfif + 18 :]
    yield "an empty one alone", content[:2] + segment(0xE0, b"JFIF\0") + content[jfif + 18 :]


def sides_of_webp(content):
    name, length = struct.unpack_from("<4sI", content, 12)
    picture = [(name, content[20 : 20 + length])]
    canvas = (WIDTH - 1).to_bytes(3, "little") + (HEIGHT - 1).to_bytes(3, "little")
    for what, flags, before, after in (
        ("EXIF that is none", 8, [], [(b"EXIF", b"nothing of the kind")]),
        ("EXIF that is cut", 8, [], [(b"EXIF", b"II*\0\x08\0\0\0\xff\xff\x12\1")]),
        ("XMP that is none", 4, [], [(b"XMP ", b"\xff\0")]),
        ("a profile that is none", 32, [(b"ICCP", b"profile")], []),
        ("a profile twice", 32, [(b"ICCP", b"profile")] * 2, []),
        ("sides of which no flag tells", 0, [(b"ICCP", b"p")], [(b"EXIF", b""), (b"XMP ", b"")]),
        ("flags without their chunks", 44, [], []),
        ("an unknown chunk", 0, [(b"what", b"data")], [(b"what", b"data")]),
    ):
        header = (b"VP8X", bytes([flags, 0, 0, 0]) + canvas)
        yield what, riff([header, *before, *picture, *after])
    cut = riff([(b"VP8X", bytes([8, 0, 0, 0]) + canvas), *picture, (b"EXIF", bytes(100))])
    yield "EXIF beyond the end", cut[:-60]


def sides_of_tiff(content):
    with Image.open(io.BytesIO(content)) as image:
        rows = np.asarray(image.convert("L")).tobytes()
    for order, big in (("<", False), (">", False), ("<", True)):
        tags = [(256, 3, WIDTH), (257, 3, HEIGHT), (258, 3, 8), (259, 3, 1), (262, 3, 1)]
        tags += [(273, 4, 16 if big else 8), (277, 3, 1), (278, 3, HEIGHT), (279, 4, len(rows))]
        beyond, three = struct.pack(order + ("Q" if big else "I"), 10**6), (1, 2, 3)
        options = {"order": order, "big": big}
        for name, more in {
            "nothing": [],
            "a profile beyond the end": [(34675, 7, beyond, 5000)],
            "a text beyond the end": [(270, 2, beyond, 5000)],
            "an unknown type": [(305, 99, beyond, 1)],
            "resolutions of three numbers": [(tag, 3, three) for tag in (282, 283, 296)],
            "EXIF beyond the end": [(34665, 4, 10**6)],
            "EXIF in the pixels": [(34665, 4, 20)],
            "a private tag of no length": [(65000, 7, b"", 0)],
        }.items():
            yield f"{name} {options}", tiff(tags + more, rows, **options)
        yield f"pages {options}", tiff(tags, rows, following=10**6, **options)
        yield f"no end of tags {options}", tiff(tags, rows, **options)[:-1]
        text = tiff([*tags, (305, 2, b"abc", 3)], rows, **options)
        yield f"tags that are cut {options}", text[: -14 if big else -9]


def sides_of_gif(content):
    end = content.index(b",", 13 + 768)
    for name, side in {
        "a comment": b"!\xfe" + b"\xff" + b"x" * 255 + b"\0",
        "comments": b"!\xfe\0" * 3,
        "an application that is none": b"!\xff\x0bNETSCAPE2.0\0",
        "an unknown block": b"!\x99\2ab\3abc\0",
        "bytes between the blocks": b"\0\0\0",
    }.items():
        yield name, content[:end] + side + content[end:]


SIDES = {
    "PNG": sides_of_png,
    "JPEG": sides_of_jpeg,
    "WEBP": sides_of_webp,
    "TIFF": sides_of_tiff,
    "GIF": sides_of_gif,
}


@pytest.mark.parametrize("name", SIDES)
def test_what_is_no_pixels_may_be_damaged_or_huge(picture, name, monkeypatch):
    """Would catch whole pixels that are refused, turned, or warned of for what stands beside them,
    and files that are read with simplejpeg and not without."""
    plain = save(picture.convert("L") if name == "TIFF" else picture, name)
    expected = decode(plain, OPTIONS)
    for route in (decoder.simplejpeg, None) if name == "JPEG" else (None,):
        monkeypatch.setattr(decoder, "simplejpeg", route)
        for what, content in SIDES[name](plain):
            assert content != plain
            pixels = decode(content, OPTIONS)
            np.testing.assert_array_equal(pixels, expected, err_msg=what)


REASON = re.compile(
    r"it is truncated; copy|its pixels are damaged; copy|it is an? \w+ image"
    r"|it is not an image of the formats|it has \d+ x \d+ pixels|its header states too many pixels"
    r"|its pixels have 32 bits|it is a video|it is a raw file"
    r"|it holds nothing but"
)
"""How what is wrong with a file's content may begin, in words of our own."""


@pytest.mark.parametrize("kind", FILES)
def test_reasons_are_in_plain_words(picture, kind, caplog):
    """Would catch "decoder error -2", "broken data stream" and other words of a decoder."""
    content, rng, reasons = make_file(picture, kind), np.random.default_rng(0), set()
    for number in range(120):
        damaged = bytearray(content)
        if number % 3 == 0:
            del damaged[int(rng.integers(len(content))) :]
        for place in rng.integers(len(damaged), size=8) if number % 3 and damaged else ():
            damaged[min(place, place // number + 8)] ^= int(rng.integers(1, 256))
        try:
            decode(bytes(damaged), OPTIONS)
        except UnreadableImage as error:
            reasons.add(str(error))
    assert reasons
    assert [reason for reason in reasons if not REASON.match(reason)] == []
    assert caplog.records == []


def test_what_a_file_lacks_is_told_from_what_is_wrong_with_it(picture):
    """Would catch one reason for all, or an unusual kind that is called damaged."""
    for content, reason in (
        (save(picture, "PNG")[:-300], "it is truncated; copy or download it again"),
        (save(picture, "BMP")[:-300], "it is truncated; copy or download it again"),
        (save(picture, "JPEG")[:-300], "it is truncated; copy or download it again"),
        (jpeg(8, 8, bits=12), "it is a JPEG image with 12 bits per sample instead of 8"),
        (jpeg(8, 8, sampling=((1, 1),) * 2), "it is a JPEG image with 2 channels instead of"),
        (jpeg(8, 8, 0xC5), r"it is a JPEG image of an unsupported kind \(SOF5\)"),
        (jpeg(8, 8, 0xC3, bits=16), "it is a JPEG image with 16 bits per sample instead of 8"),
        (
            b"BM" + save(picture, "BMP")[2:14] + b"\x42" + bytes(99),
            "it is a BMP image, but its hea",
        ),
    ):
        with pytest.raises(UnreadableImage, match=f"^{reason}"):
            decode(content, OPTIONS)


def test_nothing_is_written_to_standard_error_of_kinds_that_cannot_be_read(capfd, caplog):
    """Would catch libtiff's own lines, and records that logging prints where nobody listens."""
    tags = [
        (256, 3, 4),
        (257, 3, 4),
        (258, 3, 8),
        (262, 3, 1),
        (273, 4, 8),
        (278, 3, 4),
        (279, 4, 16),
    ]
    for more in (
        [(259, 3, 50001), (277, 3, 1)],  # WebP
        [(259, 3, 34676), (277, 3, 1)],  # LogLuv
        [(259, 3, 34887), (277, 3, 1)],  # LERC
        [(259, 3, 1), (277, 3, 13)],
        [(259, 3, 1), (277, 4, 10**9)],
        [(259, 3, 1), (277, 4, 10**9), (305, 2, b"\xff" * 4, 999)],  # beyond the end
    ):
        content = tiff(sorted(tags + more), bytes(16))
        with pytest.raises(UnreadableImage, match="it is a TIFF image that Pillow cannot read"):
            decode(content, OPTIONS)
    assert capfd.readouterr().err == ""
    assert caplog.records == []


def planar(pixels, order, *, strips=1, tile=None, photometric=2, orientation=1):
    """A TIFF file whose channels lie one after the other, in strips or in tiles."""
    height, width, n = pixels.shape
    bits = pixels.dtype.itemsize * 8
    pieces = []
    for plane in np.moveaxis(pixels.astype(pixels.dtype.newbyteorder(order)), -1, 0):
        if tile is None:
            pieces += [rows.tobytes() for rows in np.split(plane, strips)]
            continue
        padded = np.pad(plane, [(0, -side % tile) for side in plane.shape])
        for top in range(0, height, tile):
            for left in range(0, width, tile):
                pieces.append(padded[top : top + tile, left : left + tile].tobytes())
    offsets = tuple(8 + sum(map(len, pieces[:i])) for i in range(len(pieces)))
    counts = tuple(map(len, pieces))
    tags = [(256, 3, width), (257, 3, height), (258, 3, (bits,) * n), (259, 3, 1)]
    tags += [(262, 3, photometric), (274, 3, orientation), (277, 3, n), (284, 3, 2)]
    if tile is None:
        tags += [(273, 4, offsets), (278, 3, height // strips), (279, 4, counts)]
    else:
        tags += [(322, 3, tile), (323, 3, tile), (324, 4, offsets), (325, 4, counts)]
    if n in (2, 4):
        tags.append((338, 3, 2))
    return tiff(sorted(tags), b"".join(pieces), order=order)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("layout", [{}, {"strips": 4}, {"tile": 16}])
@pytest.mark.parametrize("n_channels", [2, 3, 4])
def test_channels_one_after_the_other(order, dtype, layout, n_channels):
    """Would catch planes of 16 bits read as 8, or strips of one plane taken for another."""
    largest = np.iinfo(dtype).max
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, largest + 1, (24, 40, n_channels), dtype=dtype)
    content = planar(pixels, order, photometric=1 if n_channels == 2 else 2, **layout)
    colours = pixels[..., [0, 0, 0, 1]] if n_channels == 2 else pixels
    mode = "RGB" if n_channels == 3 else "RGBA"
    options = ReadOptions(24, 40, mode, "stretch", (0, 0, 0))
    if n_channels == 2:
        with pytest.raises(UnreadableImage, match="a TIFF image that Pillow cannot read: 40 x 24"):
            decode(content, options)
        return
    expected = np.rint(colours / (largest / 255))
    assert np.abs(decode(content, options) - expected).max() <= 1
    lying = planar(pixels, order, orientation=6, **layout)
    turned = decode(lying, replace(options, height=40, width=24))
    assert np.abs(turned - np.rot90(expected, -1)).max() <= 1


def test_the_cap_lies_where_pillow_begins_to_warn():
    assert Image.MAX_IMAGE_PIXELS == opening.MAX_PIXELS
    assert 9_459**2 <= opening.MAX_PIXELS < 9_460**2


@pytest.mark.parametrize("name", ["ICO", "TGA", "PCX", "SGI", "DDS", "JPEG2000", "PPM", "PDF"])
def test_other_formats_are_refused_whatever_their_name(tmp_path, picture, name):
    """Would catch a decoder that nobody asked for, or a name that is believed."""
    path = tmp_path / "picture.jpg"
    path.write_bytes(save(picture, name))
    with pytest.raises(UnreadableImage, match=r"^it is an? .* to PNG"):
        decode(path, OPTIONS)


@pytest.mark.parametrize("name", opening.FORMATS)
@pytest.mark.parametrize("ending", ["png", "jpg", "tif", "txt", ""])
def test_the_content_counts_and_not_the_name(tmp_path, picture, name, ending):
    """Would catch a TIFF file called .png that is refused."""
    content = save(picture, name)
    path = tmp_path / f"picture.{ending}"
    path.write_bytes(content)
    np.testing.assert_array_equal(decode(path, OPTIONS), decode(content, OPTIONS))


def test_no_decoder_of_other_formats_is_loaded(tmp_path):
    """Would catch Pillow's forty other decoders, which strangers' files could reach."""
    path = tmp_path / "picture.png"
    path.write_bytes(b"no picture at all")
    code = (
        "import sys\n"
        "from PIL import Image\n"
        "from sklearn_cnn.files.decode import decode\n"
        "from sklearn_cnn.files.formats import UnreadableImage\n"
        "from sklearn_cnn.files.options import ReadOptions\n"
        "try:\n"
        f"    decode({os.fspath(path)!r}, ReadOptions(1, 1, 'L', 'fit', (0, 0, 0)))\n"
        "except UnreadableImage:\n"
        "    print(sorted(Image.OPEN))\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    formats = set(run.stdout.strip("[]\n").replace("'", "").split(", "))
    assert formats >= set(opening.FORMATS)
    assert formats <= {*opening.FORMATS, "DIB", "PPM", "MPO"}  # Pillow itself imports some


def open_handles():
    return len(os.listdir("/proc/self/fd"))


def fifo(path):
    os.mkfifo(path)


def bound_socket(path):
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.fspath(path))


def loop(path):
    path.symlink_to(path)


def empty(path):
    path.touch()


def missing(path):
    pass


def folder(path):
    path.mkdir()


def dangling(path):
    path.symlink_to(path.with_name("nowhere"))


def device(path):
    path.symlink_to("/dev/zero")


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts handles as Linux does")
@pytest.mark.parametrize(
    ("make", "text"),
    [
        (missing, "No such file or directory"),
        (dangling, "No such file or directory"),
        (empty, "it is empty"),
        (folder, r"it is a folder; load_image_folder\(folder\).data lists its images"),
        (fifo, "it is not a regular file"),
        (device, "it is not a regular file"),
        (bound_socket, "No such device or address"),
        (loop, "Too many levels of symbolic links"),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_what_is_no_file_is_refused_at_once(tmp_path, make, text):
    """Would catch a wait for ever for a FIFO's writer, endless zeros, and handles left open."""
    path = tmp_path / "odd.png"
    make(path)
    before = open_handles()
    with pytest.raises(UnreadableImage, match=f"^{text}$"):
        decode(path, OPTIONS)
    assert open_handles() == before


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts handles as Linux does")
@pytest.mark.parametrize("kind", FILES)
def test_no_handle_stays_open(tmp_path, picture, kind):
    """Would catch files that stay open until the garbage is collected."""
    content = make_file(picture, kind)
    (tmp_path / "whole").write_bytes(content)
    (tmp_path / "cut").write_bytes(content[: len(content) // 2])
    before = open_handles()
    decode(tmp_path / "whole", OPTIONS)
    for _ in range(3):
        with pytest.raises(UnreadableImage):
            decode(tmp_path / "cut", OPTIONS)
    assert open_handles() == before


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="permissions of Unix")
def test_a_file_that_may_not_be_read(picture):
    """Would catch an error that does not say why."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        public, secret = Path(folder, "public.png"), Path(folder, "secret.png")
        for path, mode in ((public, 0o644), (secret, 0)):
            path.write_bytes(save(picture, "PNG"))
            path.chmod(mode)
        is_root = os.geteuid() == 0
        if is_root:  # who may read all
            os.seteuid(65534)
        try:
            assert decode(public, OPTIONS).shape == OPTIONS.shape
            with pytest.raises(UnreadableImage, match="Permission denied"):
                decode(secret, OPTIONS)
        finally:
            if is_root:
                os.seteuid(0)


NAMES = ["猫 é.png", "new\nline.png", "'quotes\".png", " .png", "-rf.png", b"\xff\xfe.png"]


@pytest.mark.parametrize("name", NAMES)
def test_odd_names(tmp_path, picture, name):
    """Would catch names that are no UTF-8, or that break the list of what cannot be read."""
    path = os.path.join(os.fspath(tmp_path), os.fsdecode(name))
    with open(path, "wb") as file:
        file.write(save(picture, "PNG"))
    expected = ImageReader(5).transform([picture])
    np.testing.assert_array_equal(ImageReader(5).transform([path]), expected)
    np.testing.assert_array_equal(ImageReader(5).transform(np.array([path])), expected)
    os.truncate(path, 40)
    with pytest.raises(ValueError, match="1 of 1 images cannot be read:\n") as caught:
        ImageReader(5).transform([path])
    assert len(str(caught.value).splitlines()) == 3  # the count, the file, the remedy
    assert repr(path) in str(caught.value)


@pytest.mark.parametrize("path", ["nul\0byte.png", "x" * 10_000, ""])
def test_names_that_no_file_can_have(path):
    """Would catch a ValueError or an OSError that stops the whole batch."""
    with pytest.raises(ValueError, match="1 of 2 images cannot be read"):
        ImageReader(5).transform([path, np.zeros((2, 2))])


def test_the_cap_on_bytes_has_two_sides(tmp_path, picture, monkeypatch):
    """Would catch a file of a terabyte that is read into memory."""
    path = tmp_path / "picture.bmp"
    path.write_bytes(save(picture, "BMP"))
    size = path.stat().st_size
    monkeypatch.setattr(decoder, "MAX_FILE_BYTES", size)
    decode(path, OPTIONS)
    monkeypatch.setattr(decoder, "MAX_FILE_BYTES", size - 1)
    with pytest.raises(UnreadableImage, match="bytes, more than the"):
        decode(path, OPTIONS)


def test_a_link_that_the_user_names_is_followed(tmp_path, picture):
    """Would catch paths that are refused though they were named, one by one."""
    (tmp_path / "picture.png").write_bytes(save(picture, "PNG"))
    (tmp_path / "link.png").symlink_to(tmp_path / "picture.png")
    assert decode(tmp_path / "link.png", OPTIONS).shape == OPTIONS.shape


@pytest.fixture
def mixture(tmp_path, picture):
    """40 sources, of which every third cannot be read, in as many ways; and which."""
    sound = save(picture, "PNG")
    (tmp_path / "sound.png").write_bytes(sound)
    (tmp_path / "cut.png").write_bytes(sound[:-40])
    bad = [tmp_path / "cut.png", tmp_path / "missing.png", sound[:50], np.zeros((2, 2, 2)), b""]
    good = [tmp_path / "sound.png", sound, picture, np.asarray(picture)]
    is_bad = np.arange(40) % 3 == 1
    return [(bad if wrong else good)[i % (5 if wrong else 4)] for i, wrong in enumerate(is_bad)], (
        is_bad
    )


@pytest.mark.parametrize("n_jobs", [None, 2])
def test_all_bad_images_are_named_in_one_error(mixture, n_jobs):
    """Would catch the first alone that is named, or a sound one among them."""
    X, is_bad = mixture
    with pytest.raises(ValueError, match="13 of 40 images cannot be read:") as caught:
        ImageReader(6, n_jobs=n_jobs).transform(X)
    _, *lines, remedy = str(caught.value).splitlines()
    assert "on_error='skip'" in remedy
    assert len(lines) == is_bad.sum() == 13
    for line, position in zip(lines, np.flatnonzero(is_bad), strict=True):
        source = X[position]
        name = repr(os.fspath(source)) if isinstance(source, Path) else f"X[{position}] ("
        assert line.startswith(f"  {name}")
        assert len(line.split(": ", 1)[1]) > 5


@pytest.mark.parametrize("n_jobs", [None, 2])
def test_bad_images_that_are_skipped_stay_in_line(mixture, n_jobs, picture):
    """Would catch rows that move up, or memory of whatever was there before as pixels."""
    X, is_bad = mixture
    reader = ImageReader(6, background=(1, 2, 3), on_error="skip", n_jobs=n_jobs)
    with pytest.warns(UserWarning, match="13 of 40 images cannot be read") as caught:
        pixels = reader.transform(X)
    assert len(caught) == 1
    assert str(caught[0].message).count("\n") == 13
    assert caught[0].filename == __file__
    expected = ImageReader(6).transform([picture])[0]
    for row, wrong in zip(pixels, is_bad, strict=True):
        np.testing.assert_array_equal(
            row, np.broadcast_to([1, 2, 3], (6, 6, 3)) if wrong else expected
        )


def test_nothing_but_bad_images(tmp_path):
    """Would catch an array without rows."""
    with pytest.warns(UserWarning, match="2 of 2 images cannot be read"):
        pixels = ImageReader(4, mode="L", on_error="skip").transform([tmp_path, tmp_path / "none"])
    np.testing.assert_array_equal(pixels, np.full((2, 4, 4, 1), 255))


MISBEHAVE = """
import importlib.util
import os
import sys
import time
from importlib.machinery import SourceFileLoader

loader = SourceFileLoader("fuzz_decoder", sys.argv.pop(1))
fuzz = importlib.util.module_from_spec(importlib.util.spec_from_loader("fuzz_decoder", loader))
sys.modules["fuzz_decoder"] = fuzz
loader.exec_module(fuzz)
assert fuzz.main() == 0
sys.argv[1:] = ["--inputs", "40", "--workers", "1", "--alarm", "1", *sys.argv[-2:]]
actions = {
    "3": lambda: os.kill(os.getpid(), 11),
    "5": lambda: time.sleep(60),
    "7": lambda: {}["missing"],
    "20": lambda: os.open(os.devnull, os.O_RDONLY),
}
fuzz.make_input = lambda seed, number, corpus: (str(number).encode(), None)
fuzz.read_both_ways = lambda content, *_: actions.get(content.decode(), bool)()
sys.exit(fuzz.main())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the script reads /proc")
def test_the_fuzzer(tmp_path):
    """Would catch a script that no longer starts, or finds nothing where something is amiss."""
    folder = tmp_path / "findings"
    options = ["--inputs", "300", "--workers", "1", "--seed", "7", "--folder", os.fspath(folder)]
    run = subprocess.run(
        [sys.executable, "-c", MISBEHAVE, SCRIPT, *options], capture_output=True, text=True
    )
    assert run.returncode == 1, run.stdout + run.stderr
    sound, amiss = run.stdout.split("leaks\n")[:2]
    assert "300 inputs of seed 7" in sound
    assert sound.endswith(", 0 findings, 0 ")
    assert "0_3: crash: SIGSEGV" in amiss
    assert "0_5: hang" in amiss
    assert "0_7: KeyError: 'missing'" in amiss
    assert "file handles grew from" in amiss
    assert amiss.endswith(", 3 findings, 1 ")
    assert {path.name: path.read_text() for path in folder.iterdir()} == {
        "0_3": "3",
        "0_5": "5",
        "0_7": "7",
    }
