"""Files of more than eight bits, of other types, of more channels, and of more than one page."""

import io
import re
import struct
import zlib
from itertools import product

import numpy as np
import PIL
import pytest
from PIL import Image

from sklearn_cnn import ImageReader
from sklearn_cnn.files.decode import decode
from sklearn_cnn.files.formats import UnreadableImage
from sklearn_cnn.files.options import ReadOptions
from sklearn_cnn.files.structure import count_tiff_pages

HEIGHT, WIDTH = 12, 10
KINDS = {"u": 1, "i": 2, "f": 3, "c": 6}
RNG = np.random.default_rng(0)


def tiff(
    pixels, *, order="<", photometric=None, planar=False, extra=(), big=False, pages=1, **more
):
    """Write uncompressed pixels of any type as a TIFF file, with further tags by number."""
    planes = pixels if planar else np.moveaxis(np.atleast_3d(pixels), -1, 0)
    n_channels, height, width = planes.shape
    data = [pixels.astype(pixels.dtype.newbyteorder(order)).tobytes()]
    if planar:
        data = [plane.astype(plane.dtype.newbyteorder(order)).tobytes() for plane in planes]
    if more.pop("deflate", False):
        data = [zlib.compress(piece) for piece in data]
        more["tag_259"] = 8
    bits, kind = 8 * pixels.dtype.itemsize, KINDS[pixels.dtype.kind]
    tags = {256: width, 257: height, 258: [bits] * n_channels, 259: 1,
            262: (2 if n_channels == 3 else 1) if photometric is None else photometric,
            273: [0] * len(data), 277: n_channels, 278: height,
            279: [len(piece) for piece in data], 284: 2 if planar else 1,
            339: [kind] * n_channels}  # fmt: skip
    if extra:
        tags[338] = list(extra)
    tags |= {int(name[4:]): value for name, value in more.items()}
    number, entry, pointer = ("Q", "HHQ", "Q") if big else ("H", "HHI", "I")
    room = struct.calcsize(pointer)
    content = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}H", 43 if big else 42)
    content += struct.pack(f"{order}HHQ", 8, 0, 0) if big else struct.pack(f"{order}I", 0)
    link = len(content) - room
    for _ in range(pages):
        places = []
        for piece in data:
            places.append(len(content))
            content += piece + b"\0" * (len(piece) % 2)
        fields = b""
        for tag, value in sorted({**tags, 273: places}.items()):
            if isinstance(value, bytes):
                form, count, packed = 2, len(value), value
            else:
                values = value if isinstance(value, list) else [value]
                form, count, packed = 4, len(values), struct.pack(f"{order}{len(values)}I", *values)
            if len(packed) > room:
                place, content = len(content), content + packed + b"\0" * (len(packed) % 2)
                packed = struct.pack(order + pointer, place)
            fields += struct.pack(order + entry, tag, form, count) + packed.ljust(room, b"\0")
        content = (
            content[:link] + struct.pack(order + pointer, len(content)) + content[link + room :]
        )
        n_tags = len({**tags, 273: 0})
        content += struct.pack(order + number, n_tags) + fields
        link = len(content)
        content += bytes(room)
    return content


def png(pixels, colour_type, transparent=None, interlaced=False):
    """Write pixels of 16 bits as a PNG file: Pillow writes gray of 16 bits alone."""

    def chunk(kind, content):
        check = zlib.crc32(kind + content)
        return struct.pack(">I4s", len(content), kind) + content + struct.pack(">I", check)

    height, width = pixels.shape[:2]
    rows = pixels.astype(">u2").reshape(height, -1)
    packed = b"".join(b"\1" + subtract(row, pixels.shape[2] * 2) for row in rows)
    header = struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0)
    trns = b"" if transparent is None else chunk(b"tRNS", struct.pack(">3H", *transparent))
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + trns
        + chunk(b"IDAT", zlib.compress(packed)) + chunk(b"IEND", b"")
    )  # fmt: skip


def subtract(row, step):
    """The filter "Sub" of PNG, so that a wrong width of a pixel shows."""
    values = np.frombuffer(row.tobytes(), np.uint8)
    return (values - np.concatenate([np.zeros(step, np.uint8), values[:-step]])).tobytes()


def read(
    source, mode="L", dtype="uint16", value_range=None, size=(HEIGHT, WIDTH), resize="stretch"
):
    return decode(source, ReadOptions(*size, mode, resize, (255, 255, 255), dtype, value_range))[0]


def levels(dtype, high, *channels):
    return RNG.integers(0, high, (HEIGHT, WIDTH, *channels)).astype(dtype)


def saved(image, name, **options):
    file = io.BytesIO()
    image.save(file, name, **options)
    return file.getvalue()


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "TIFF big-endian", "BigTIFF", "Deflate", "image"])
def test_gray_of_16_bits_is_kept_exactly(kind):
    """Would catch 16 bits that go through eight on their way to dtype="uint16" or "float32"."""
    pixels = levels("u2", 65536)
    source = {
        "PNG": lambda: saved(Image.fromarray(pixels), "PNG"),
        "TIFF": lambda: tiff(pixels),
        "TIFF big-endian": lambda: tiff(pixels, order=">"),
        "BigTIFF": lambda: tiff(pixels, big=True),
        "Deflate": lambda: tiff(pixels, deflate=True, order=">"),
        "image": lambda: Image.fromarray(pixels),
    }[kind]()
    for given in (source, pixels, pixels[..., None]):
        np.testing.assert_array_equal(read(given)[..., 0], pixels)
        np.testing.assert_array_equal(read(given, "RGB"), np.repeat(pixels[..., None], 3, axis=2))
        shares = read(given, dtype="float32")
        assert shares.dtype == np.float32
        np.testing.assert_array_equal(np.rint(shares[..., 0] * 65535.0), pixels)
        np.testing.assert_array_equal(read(given, dtype="uint8")[..., 0], np.rint(pixels / 257))


@pytest.mark.parametrize(
    ("order", "form"),
    [
        *product("<>", [{}, {"deflate": True}, {"planar": True}]),
        ("<", {"big": True}),  # Pillow opens no other one
    ],
)
def test_colour_of_16_bits_in_tiff_is_kept_exactly(order, form):
    """Would catch the high bytes alone, which are what Pillow gives, and planes read as bytes."""
    pixels = levels("u2", 65536, 3)
    content = tiff(pixels.transpose(2, 0, 1) if form.get("planar") else pixels, order=order, **form)
    np.testing.assert_array_equal(read(content, "RGB"), pixels)
    np.testing.assert_array_equal(read(content, 3), pixels)
    np.testing.assert_array_equal(read(content, "RGB", "uint8"), np.rint(pixels / 257))
    gray = read(content, "L")[..., 0]
    assert np.abs(gray - pixels @ (0.299, 0.587, 0.114)).max() <= 0.51


@pytest.mark.parametrize(("colour_type", "n_channels"), [(2, 3), (4, 2), (6, 4)])
def test_colour_and_alpha_of_16_bits_in_png_are_kept_exactly(colour_type, n_channels):
    """Would catch 16-bit RGB, gray with alpha or RGBA that is decoded as eight bits in silence."""
    pixels = levels("u2", 65536, n_channels)
    content = png(pixels, colour_type)
    np.testing.assert_array_equal(read(content, n_channels), pixels)
    expected = pixels if n_channels != 2 else pixels[..., [0, 0, 0, 1]]
    alpha = expected[..., 3:] if n_channels != 3 else np.full_like(pixels[..., :1], 65535)
    np.testing.assert_array_equal(
        read(content, "RGBA"), np.concatenate([expected[..., :3], alpha], axis=2)
    )
    share = alpha / 65535
    np.testing.assert_allclose(
        read(content, "RGB"), expected[..., :3] * share + 65535 * (1 - share), atol=0.6
    )


def test_colour_of_16_bits_beside_a_damaged_chunk():
    """Would catch a second decoding, of the low bytes, that trips over what the first left out."""
    pixels = levels("u2", 65536, 3)
    content = png(pixels, 2)
    damaged = content[:33] + struct.pack(">I4s", 3, b"tEXt") + b"a\0b" + bytes(4) + content[33:]
    np.testing.assert_array_equal(read(damaged, "RGB"), pixels)


def test_planes_beyond_the_end_of_a_file():
    """Would catch rows of zeros, or NumPy's words, where a file of planes ends too early."""
    pixels = levels("u2", 65536, 3).transpose(2, 0, 1)
    content = tiff(pixels, planar=True)
    place = content.index(struct.pack("<III", *(8 + 2 * HEIGHT * WIDTH * i for i in range(3))))
    cut = content[:place] + struct.pack("<III", 8, 8, 10**6) + content[place + 12 :]
    with pytest.raises(UnreadableImage, match="it is truncated; copy or download"):
        read(cut, "RGB")


def test_a_transparent_colour_of_16_bits():
    """Would catch a colour compared with eight of its bits, of which many pixels have the same."""
    pixels = np.full((HEIGHT, WIDTH, 3), 1000, dtype=np.uint16)
    pixels[0, 0] = 1001
    alpha = read(png(pixels, 2, transparent=(1001, 1001, 1001)), "RGBA")[..., 3]
    assert alpha[0, 0] == 0
    assert alpha.ravel()[1:].min() == 65535


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (tiff(levels("u2", 65536, 4), photometric=5), "Pillow keeps 8 bits of this kind of 16-bit"),
        (
            tiff(levels("u2", 65536, 3).transpose(2, 0, 1), planar=True, deflate=True),
            "Pillow keeps 8 bits of this kind of 16-bit",
        ),
    ],
    ids=["CMYK", "planes, compressed"],
)
def test_colour_of_16_bits_that_is_not_decoded_whole_is_refused(content, text):
    """Would catch eight bits in the place of sixteen, without a word."""
    for asked in ({"dtype": "uint16"}, {"dtype": "float32"}, {"value_range": (0, 4095)}):
        with pytest.raises(UnreadableImage, match=text):
            read(content, "RGB", **asked)
    assert read(content, "RGB", "uint8").shape == (HEIGHT, WIDTH, 3)


def test_an_open_image_of_16_bit_colour_is_refused():
    """Would catch an image of which Pillow has kept eight bits, given for sixteen."""
    with Image.open(io.BytesIO(png(levels("u2", 65536, 3), 2))) as image:
        with pytest.raises(UnreadableImage, match="Pillow keeps 8 bits; pass its path"):
            read(image, "RGB")
        assert read(image, "RGB", "uint8").shape == (HEIGHT, WIDTH, 3)


@pytest.mark.parametrize(
    ("dtype", "order"),
    [*product(["i1", "i2", "i4", "f4"], "<>"), ("u4", "<")],  # Pillow opens no other "u4"
)
@pytest.mark.parametrize("deflate", [False, True])
def test_files_of_other_types_follow_the_rules_of_arrays(dtype, order, deflate):
    """Would catch signed values read as unsigned ones, bytes in the wrong order, or a refusal."""
    pixels = levels(dtype, 100) if dtype != "f4" else RNG.random((HEIGHT, WIDTH), dtype=dtype)
    content = tiff(pixels, order=order, deflate=deflate)
    for asked in ({}, {"dtype": "uint8"}, {"dtype": "float32"}, {"value_range": (0, 77)}):
        np.testing.assert_array_equal(read(content, **asked), read(pixels, **asked))
        with Image.open(io.BytesIO(content)) as image:
            np.testing.assert_array_equal(read(image, **asked), read(pixels, **asked))
    low = -50 if dtype != "u4" else 0
    pixels = levels(dtype, 100) + np.asarray(low).astype(dtype)
    pixels[0, 0], pixels[0, 1] = low, 100 + low
    wide = pixels.astype(float) * (1 if dtype == "i1" else 30_000_000 if dtype[1] == "4" else 300)
    content = tiff(wide.astype(dtype), order=order, deflate=deflate)
    with pytest.raises(
        UnreadableImage, match=rf"its {np.dtype(dtype)} pixels range from .*value_range"
    ):
        read(content)
    ends = (float(wide.min()), float(wide.max()))
    expected = (wide - ends[0]) / (ends[1] - ends[0])
    found = read(content, dtype="float32", value_range=ends)[..., 0]
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_fractions_of_any_range_stay_as_they_are_in_float32():
    """Would catch a height map that is refused, scaled or clipped."""
    pixels = RNG.normal(0, 1000, (HEIGHT, WIDTH)).astype(np.float32)
    for source in (tiff(pixels), pixels, Image.fromarray(pixels)):
        np.testing.assert_array_equal(read(source, dtype="float32")[..., 0], pixels)
    pixels[3, 4] = np.nan
    with pytest.raises(UnreadableImage, match="its pixels hold NaN"):
        read(tiff(pixels), dtype="float32")


def test_gray_with_premultiplied_alpha_is_read():
    """Would catch Pillow's mode "La", which has no conversion to colour."""
    pixels = np.full((HEIGHT, WIDTH, 2), (64, 128), dtype=np.uint8)
    if int(PIL.__version__.split(".")[0]) < 13:  # does not know the mode
        with pytest.raises(UnreadableImage, match=r"2 channels \(gray\), 8-bit .*; pass"):
            read(tiff(pixels, photometric=1, extra=[1]), "RGBA", "uint8")
        return
    found = read(tiff(pixels, photometric=1, extra=[1]), "RGBA", "uint8")
    assert np.abs(found.astype(int) - (127, 127, 127, 128)).max() <= 1
    straight = read(tiff(pixels, photometric=1, extra=[2]), "RGBA", "uint8")
    assert straight[0, 0].tolist() == [64, 64, 64, 128]


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (tiff(levels("u2", 9, 13), photometric=1), "10 x 12, 13 channels (gray), 16-bit unsigned "
         "integers; pass ImageReader(decoder=tifffile.imread, mode=13), or"),
        (tiff(levels("u1", 9, 4), photometric=1), "4 channels (gray), 8-bit unsigned integers;"),
        (tiff(levels("u1", 9, 7), photometric=2), "7 channels (RGB), 8-bit unsigned integers"),
        (tiff(levels("f2", 2)), "1 channel (gray), 16-bit floating-point numbers; pass ImageReader("
         "decoder=tifffile.imread, mode='L', value_range=(low, high))"),
        (tiff(levels("f8", 2)), "64-bit floating-point numbers"),
        (tiff(levels("f4", 2, 3)), "3 channels (RGB), 32-bit floating-point numbers; pass "
         "ImageReader(decoder=tifffile.imread, mode='RGB', value_range=(low, high))"),
        (tiff(levels("i8", 2)), "64-bit signed integers"),
        (tiff(levels("c8", 2)), "64-bit complex numbers; pass ImageReader(decoder=...) that calls "
         "tifffile.imread, and returns real numbers"),
        (tiff(levels("u2", 9), tag_258=10), "10-bit unsigned integers"),
        (tiff(levels("u2", 9), tag_258=14), "14-bit unsigned integers"),
        (tiff(levels("u1", 9, 3), tag_258=[5, 6, 5]), "5/6-bit unsigned integers"),
        (tiff(levels("u1", 9), order=">", big=True), "BigTIFF of big-endian order"),
        (tiff(levels("u1", 9), tag_32997=4), "10 x 12 x 4, 1 channel (gray), 8-bit unsigned "
         "integers; pass ImageReader(decoder=...) that calls tifffile.imread, and takes a slice"),
        (tiff(levels("u2", 9), photometric=32803), "1 channel (of a camera's sensor)"),
        (tiff(levels("f2", 2), deflate=True), "numbers, compression Deflate; pass"),
    ],
)  # fmt: skip
def test_a_tiff_file_that_pillow_cannot_read_is_described(content, text, capfd):
    """Would catch "no image, or damaged" said of a sound file, and a line on stderr."""
    with pytest.raises(
        UnreadableImage, match="^it is a TIFF image that Pillow.*" + re.escape(text)
    ):
        read(content)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("tags", [{"tag_50706": 66_820}, {"tag_254": 1, "tag_330": 8}])
def test_the_preview_of_a_raw_file_of_a_camera_is_not_its_image(tags):
    """Would catch the thumbnail of a DNG or NEF file, read in the place of the photograph."""
    with pytest.raises(UnreadableImage, match=r"a raw file of a camera; develop it .* calls rawpy"):
        read(tiff(levels("u1", 9, 3), **tags))


@pytest.mark.parametrize("length", range(0, 200, 7))
def test_a_tiff_file_cut_anywhere_has_a_reason(length):
    """Would catch a struct.error, or a walk without an end."""
    content = tiff(levels("f2", 2, 5))
    with pytest.raises(UnreadableImage):
        read(content[:length])
    with pytest.raises(UnreadableImage):
        read(content[-200:][:length])
    looping = tiff(levels("u1", 9))
    place = struct.unpack_from("<I", looping, 4)[0]
    assert count_tiff_pages(looping[:-4] + struct.pack("<I", place)) == 1


def has_more_pages(content):
    notes = decode(content, ReadOptions(4, 4, "RGB", "fit", (0, 0, 0)))[1]
    return notes.has_more_pages


FRAMES = [Image.fromarray(levels("u1", 256, 3)) for _ in range(3)]
ANIMATED = {"save_all": True, "append_images": FRAMES[1:]}


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (saved(FRAMES[0], "TIFF", **ANIMATED), True),
        (saved(FRAMES[0], "PNG", **ANIMATED), True),
        (saved(FRAMES[0], "WEBP", **ANIMATED), True),
        (saved(FRAMES[0], "GIF", **ANIMATED), True),
        (saved(FRAMES[0], "AVIF", **ANIMATED), True),
        (tiff(levels("u1", 9), pages=3), True),
        (tiff(levels("u1", 9), pages=3, big=True), True),
        (tiff(levels("u1", 9), tag_270=b"ImageJ=1.54f\nimages=5\nslices=5\n\0"), True),
        (tiff(levels("u1", 9), tag_270=b'{"shape": [5, 12, 10]}\0'), True),
        (saved(FRAMES[0], "MPO", **ANIMATED), False),
        *(
            (saved(FRAMES[0], name), False)
            for name in ("TIFF", "PNG", "WEBP", "GIF", "AVIF", "JPEG")
        ),
        (tiff(levels("u1", 9), tag_270=b"ImageJ=1.54f\nunit=micron\n\0"), False),
        (tiff(levels("u1", 9), tag_270=b'{"shape": [12, 10]}\0'), False),
        (tiff(levels("u1", 9), pages=3, tag_254=1), False),
        (tiff(levels("u1", 9), pages=2, tag_254=4), False),
    ],
    ids=lambda value: "" if isinstance(value, bytes) else str(value),
)
def test_further_pages_are_seen(content, expected):
    """Would catch a stack of which the first page is read in silence, or a warning of a preview."""
    assert has_more_pages(content) is expected


def test_one_warning_names_the_files_of_several_pages(tmp_path):
    """Would catch a warning for each of thousands of files, or one that names none."""
    paths = [tmp_path / f"{i:02}.tif" for i in range(13)]
    for path in paths:
        path.write_bytes(tiff(levels("u1", 9), pages=2))
    single = tmp_path / "single.tif"
    single.write_bytes(tiff(levels("u1", 9)))
    reader = ImageReader(4, n_jobs=2)
    with pytest.warns(UserWarning, match="have more than one page") as caught:
        pixels = reader.transform([single, *paths])
    assert len(caught) == 1
    text = str(caught[0].message)
    assert text.startswith("13 of 14 images have more than one page or frame, of which only")
    assert "09.tif' and 3 more. To select a page" in text
    assert "single" not in text
    assert "10.tif" not in text
    assert caught[0].filename == __file__
    reader.set_params(decoder=Image.open)
    np.testing.assert_array_equal(reader.transform([single, *paths]), pixels)  # and no warning
