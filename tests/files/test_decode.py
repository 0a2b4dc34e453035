import errno
import io
import os
import struct
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from image_files import chunk, decode, png
from PIL import Image, ImageFile

from sklearn_cnn.files import decode as decoder
from sklearn_cnn.files import opening
from sklearn_cnn.files.formats import UnreadableImage
from sklearn_cnn.files.framing import blank_image, frame_image, parse_colour
from sklearn_cnn.files.options import CHANNELS, RESIZE_WAYS, ReadOptions

WHITE, BLACK, BLUE = (255, 255, 255), (0, 0, 0), (0, 0, 255)


def read(source, size=None, mode="RGB", resize="stretch", background=WHITE):
    """Decode to (height, width), by default those of an image or of pixels."""
    if size is None:
        size = source.size[::-1] if isinstance(source, Image.Image) else source.shape[:2]
    return decode(source, ReadOptions(*size, mode, resize, background))


def pixel(source, mode="RGB", background=WHITE):
    """Decode an image of one colour to a single pixel."""
    return read(source, (1, 1), mode, "stretch", background).ravel().tolist()


def save(image, name, **options):
    file = io.BytesIO()
    image.copy().save(file, name, **options)
    return file.getvalue()


def tiff(pixels, *, bits, width, height, photometric=1, order="<"):
    """Write gray of kinds that Pillow reads and does not write."""
    shorts = {256: width, 257: height, 258: bits, 259: 1, 262: photometric, 273: 8, 277: 1}
    shorts |= {278: height, 279: len(pixels)}
    entries = [
        struct.pack(f"{order}HHIHH", tag, 3, 1, *(value, 0)) for tag, value in shorts.items()
    ]
    start = 8 + len(pixels) + len(pixels) % 2
    header = struct.pack(f"{order}2sHI", b"II" if order == "<" else b"MM", 42, start)
    directory = struct.pack(f"{order}H", len(entries)) + b"".join(entries) + bytes(4)
    return header + pixels.ljust(start - 8, b"\0") + directory


@pytest.fixture(scope="module")
def colours():
    """Noise of 9 x 14 pixels, RGB."""
    return np.random.default_rng(0).integers(0, 256, (9, 14, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def photo():
    """A smooth picture of 800 x 600, RGB, that is symmetrical in no way."""
    y, x = np.mgrid[:600, :800] / 100
    waves = [np.sin(x * 1.1 + y), np.cos(x - y * 1.7), np.sin(x / 2) * np.cos(y / 3)]
    return Image.fromarray(
        (np.stack(waves, axis=-1) * 100 + 128 + y[..., None] * 4).astype("uint8")
    )


def one(mode, colour):
    return Image.new(mode, (3, 2), colour)


def palette_image(**info):
    """Red on the left, green on the right, as a palette image."""
    image = Image.new("P", (2, 1))
    image.putpalette([255, 0, 0, 0, 255, 0])
    image.putpixel((1, 0), 1)
    image.info.update(info)
    return image


RED, GRAY_OF_RED = [255, 0, 0], [76]  # 0.299 * 255 = 76.2


@pytest.mark.parametrize(
    ("image", "gray", "rgb"),
    [
        (one("1", 1), [255], [255, 255, 255]),
        (one("1", 0), [0], [0, 0, 0]),
        (one("L", 77), [77], [77, 77, 77]),
        (one("LA", (77, 255)), [77], [77, 77, 77]),
        (palette_image().crop((0, 0, 1, 1)), GRAY_OF_RED, RED),
        (one("RGB", (10, 20, 30)), [18], [10, 20, 30]),  # 2.99 + 11.74 + 3.42 = 18.15
        (one("RGBA", (10, 20, 30, 255)), [18], [10, 20, 30]),
        (one("RGBa", (10, 20, 30, 255)), [18], [10, 20, 30]),
        (one("RGBX", (10, 20, 30, 0)), [18], [10, 20, 30]),
        (one("PA", (0, 255)), [0], [0, 0, 0]),
        (one("CMYK", (0, 255, 255, 0)), GRAY_OF_RED, RED),
        (one("CMYK", (0, 0, 0, 155)), [100], [100, 100, 100]),
        (one("YCbCr", (90, 128, 128)), [90], [90, 90, 90]),
        (one("LAB", (255, 128, 128)), [255], [255, 255, 255]),
        (one("LAB", (0, 128, 128)), [0], [0, 0, 0]),
        (one("HSV", (0, 255, 255)), GRAY_OF_RED, RED),
        (one("HSV", (0, 0, 90)), [90], [90, 90, 90]),
        (one("I;16", 65535), [255], [255, 255, 255]),
        (one("I;16", 129), [1], [1, 1, 1]),
        (one("I;16", 128), [0], [0, 0, 0]),
        (one("I;16B", 32768), [128], [128, 128, 128]),
    ],
    ids=lambda value: value.mode if isinstance(value, Image.Image) else None,
)
def test_every_mode_becomes_every_other(image, gray, rgb):
    """Would catch a mode that is refused, clipped, or read as another."""
    tolerance = 1 if image.mode == "LAB" else 0  # through colour profiles
    assert pixel(image, "L") == pytest.approx(gray, abs=tolerance)
    assert pixel(image, "RGB") == pytest.approx(rgb, abs=tolerance)
    assert pixel(image, "RGBA") == pytest.approx([*rgb, 255], abs=tolerance)


@pytest.mark.parametrize(("mode", "white"), [("I", 255), ("F", 1)])
@pytest.mark.parametrize("target", CHANNELS)
def test_32_bits_out_of_range_are_refused(mode, white, target):
    """Would catch pixels of unknown range that Pillow clips to white without a word."""
    text = f"range from 1000 to 1000, but 0 to {white} was expected: .*value_range="
    with pytest.raises(UnreadableImage, match=text):
        pixel(one(mode, 1000), target)
    with pytest.raises(UnreadableImage, match=text):
        pixel(save(one(mode, 1000), "TIFF"), target)


@pytest.mark.parametrize(("mode", "value"), [("I", 128), ("F", 0.5)])
def test_32_bits_in_range_are_taken_as_an_array_is(mode, value):
    """Would catch a file of fractions refused while the array of its pixels is read."""
    for source in (one(mode, value), save(one(mode, value), "TIFF"), np.asarray(one(mode, value))):
        assert pixel(source, "RGB") == [128, 128, 128]


@pytest.mark.parametrize(
    ("background", "rgb", "gray"),
    [
        # 128 of 255 parts are red; the background shows through with 127 of 255.
        (WHITE, [255, 127, 127], 165),  # 76.2 + 0.701 * 127 = 165.3
        (BLACK, [128, 0, 0], 38),
        (BLUE, [128, 0, 127], 53),  # 38.3 + 0.114 * 127 = 52.8
    ],
)
def test_half_of_alpha_shows_half_of_the_background(background, rgb, gray):
    """Would catch alpha that is dropped, or composited on a colour of Pillow's choice."""
    for image in (one("RGBA", (255, 0, 0, 128)), save(one("RGBA", (255, 0, 0, 128)), "PNG")):
        assert pixel(image, "RGB", background) == rgb
        assert pixel(image, "L", background) == [gray]
        assert pixel(image, "RGBA", background) == [255, 0, 0, 128]


def test_what_is_wholly_transparent_is_background():
    """Would catch the colour that lies hidden below alpha 0."""
    for image in (one("RGBA", (9, 99, 199, 0)), one("LA", (9, 0)), one("PA", (9, 0))):
        assert pixel(image, "RGB", (1, 2, 3)) == [1, 2, 3]
        assert pixel(image, "RGBA")[3] == 0


def test_half_transparent_gray():
    """Would catch alpha that counts for colour alone: 100 * 128 / 255 + 127 = 177.2."""
    assert pixel(one("LA", (100, 128)), "L") == [177]
    assert pixel(one("LA", (100, 128)), "RGB", BLUE) == [50, 50, 177]


@pytest.mark.parametrize(
    ("name", "image", "transparency", "rgb"),
    [
        ("PNG", palette_image(), b"\x80\xff", [[255, 127, 127], [0, 255, 0]]),
        ("PNG", palette_image(), b"\x00", [[255, 255, 255], [0, 255, 0]]),
        ("PNG", palette_image(), 1, [[255, 0, 0], [255, 255, 255]]),
        ("GIF", palette_image(), 1, [[255, 0, 0], [255, 255, 255]]),
        ("PNG", palette_image().convert("RGB"), (255, 0, 0), [[255, 255, 255], [0, 255, 0]]),
        ("PNG", palette_image().convert("L"), 76, [[255, 255, 255], [150, 150, 150]]),
        ("PNG", palette_image().convert("L").convert("1"), 0, [[255] * 3, [255] * 3]),
        ("PNG", Image.fromarray(np.array([[257, 514]], "u2")), 514, [[1] * 3, [255] * 3]),
    ],
)
def test_one_transparent_colour(name, image, transparency, rgb):
    """Would catch a palette's or a header's transparency that is dropped."""
    content = save(image, name, transparency=transparency)
    assert read(content, (1, 2))[0].tolist() == rgb
    assert (read(content, (1, 2), "RGBA")[0, :, 3] < 255).any()
    with Image.open(io.BytesIO(content)) as opened:
        assert read(opened)[0].tolist() == rgb


def alpha(content, size):
    return read(content, size, "RGBA")[..., 3].tolist()


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_the_transparent_level_of_few_bits(bits):
    """Would catch pixels that are scaled to eight bits, and a transparent level that is not."""
    last = 2**bits - 1
    for level in {0, 1, last // 2, last}:
        transparency = chunk(b"tRNS", struct.pack(">H", level))
        levels = [0, level, last, 1]
        row = sum(value << bits * (7 - i) for i, value in enumerate([*levels, 0, 0, 0, 0]))
        content = png(
            4, 1, bits, 0, b"\0" + row.to_bytes(bits)[: -(-bits // 2)], before=transparency
        )
        assert alpha(content, (1, 4)) == [[255 * (value != level) for value in levels]]
        gray = [255 if value == level else value * 255 // last for value in levels]
        assert read(content, (1, 4), "L").ravel().tolist() == gray  # on white


def test_the_transparent_colour_of_sixteen_bits():
    """Would catch a comparison of the upper bytes alone, or of sixteen bits with eight."""
    colours = [(1000, 2000, 3000), (1001, 2000, 3000), (1000, 2000, 2999), (65535, 0, 257)]
    transparency = chunk(b"tRNS", struct.pack(">3H", *colours[0]))
    row = struct.pack(">12H", *np.ravel(colours))
    content = png(4, 2, 16, 2, (b"\0" + row) * 2, before=transparency)
    assert alpha(content, (2, 4)) == [[0, 255, 255, 255]] * 2
    assert read(content, (2, 4))[0].tolist() == [[255] * 3, [4, 8, 12], [4, 8, 12], [255, 0, 1]]
    filtered = b"\1" + row[:6] + bytes(x - y & 255 for x, y in zip(row[6:], row, strict=False))
    again = png(4, 2, 16, 2, filtered + b"\2" + bytes(24), before=transparency)
    np.testing.assert_array_equal(read(again, (2, 4), "RGBA"), read(content, (2, 4), "RGBA"))


def test_the_transparent_colour_of_eight_bits_and_of_gray_of_sixteen():
    """Right without scaling; the upper bits that a header may hold do not count."""
    content = png(
        2, 1, 8, 2, b"\0" + bytes([1, 2, 3, 4, 5, 6]), before=chunk(b"tRNS", b"\7\1\0\2\0\3")
    )
    assert alpha(content, (1, 2)) == [[0, 255]]
    content = png(2, 1, 16, 0, b"\0" + bytes([1, 2, 1, 3]), before=chunk(b"tRNS", b"\1\3"))
    assert alpha(content, (1, 2)) == [[255, 0]]


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_transparent_entries_of_a_palette(bits):
    """Would catch entries that are scaled as levels are; those that are not listed are opaque."""
    palette = chunk(b"PLTE", bytes([255, 0, 0, 0, 255, 0])) + chunk(b"tRNS", bytes([100]))
    content = png(2, 1, bits, 3, b"\0" + (1 << 16 - 2 * bits).to_bytes(2), before=palette)
    assert read(content, (1, 2), "RGBA")[0].tolist() == [[255, 0, 0, 100], [0, 255, 0, 255]]
    for level, more in ((255, b"\xff" * 257 + b"\0"), (7, b"\7" + b"\xff" * 260)):
        beyond = palette[:18] + chunk(b"tRNS", more)  # of more entries than a palette has
        content = png(2, 1, bits, 3, b"\0" + (1 << 16 - 2 * bits).to_bytes(2), before=beyond)
        expected = [[255, 0, 0, level], [0, 255, 0, 255]]
        assert read(content, (1, 2), "RGBA")[0].tolist() == expected


def test_sixteen_bits_of_a_file_are_scaled():
    """Would catch Pillow's own conversion, which clips all above 255 to white."""
    values = np.array([[0, 128, 129], [257, 32768, 65535]], dtype=np.uint16)
    expected = [[0, 0, 1], [1, 128, 255]]
    for name in ("PNG", "TIFF"):
        content = save(Image.fromarray(values), name)
        assert read(content, (2, 3), "L")[..., 0].tolist() == expected
    for order in "<>":
        content = tiff(
            values.astype(f"{order}u2").tobytes(), bits=16, width=3, height=2, order=order
        )
        assert read(content, (2, 3), "L")[..., 0].tolist() == expected


def test_sixteen_bits_whose_zero_is_white():
    """Would catch a negative: Pillow turns those of 8 bits into positives, and not of 16."""
    values = np.array([[0, 257, 65535]], dtype="<u2")
    deep = tiff(values.tobytes(), bits=16, width=3, height=1, photometric=0)
    assert read(deep, (1, 3), "L").ravel().tolist() == [255, 254, 0]
    flat = tiff(bytes([0, 1, 255]), bits=8, width=3, height=1, photometric=0)
    assert read(flat, (1, 3), "L").ravel().tolist() == [255, 254, 0]


def test_twelve_bits_are_scaled_to_their_own_white():
    """Would catch a 12-bit scan that comes out sixteen times too dark, opened by whomever."""
    packed = bytes([0x00, 0x00, 0x09, 0x80, 0x0F, 0xFF])  # 0, 9, 2048 and 4095
    content = tiff(packed, bits=12, width=4, height=1)
    assert read(content, (1, 4), "L").ravel().tolist() == [0, 1, 128, 255]
    with Image.open(io.BytesIO(content)) as image:
        assert read(image, mode="L").ravel().tolist() == [0, 1, 128, 255]


VISUAL_SIDES = {
    1: ("top", "left"),
    2: ("top", "right"),
    3: ("bottom", "right"),
    4: ("bottom", "left"),
    5: ("left", "top"),
    6: ("right", "top"),
    7: ("right", "bottom"),
    8: ("left", "bottom"),
}
"""Where the first stored row and the first stored column are seen, from the EXIF standard."""


def stored_as(upright, orientation):
    """Turn upright pixels into what a camera stores, by the words of the standard."""
    first_row, first_column = VISUAL_SIDES[orientation]
    stored = upright if first_row in ("top", "bottom") else upright.swapaxes(0, 1)
    if first_row in ("bottom", "right"):
        stored = stored[::-1]
    return stored[:, ::-1] if first_column in ("bottom", "right") else stored


def with_orientation(pixels, orientation, name, **options):
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = Image.fromarray(np.ascontiguousarray(pixels))
    return save(image, name, exif=exif, **options)


@pytest.mark.parametrize("orientation", VISUAL_SIDES)
@pytest.mark.parametrize(
    ("name", "options"), [("PNG", {}), ("TIFF", {}), ("WEBP", {"lossless": True})]
)
def test_every_orientation_is_turned_upright(colours, name, options, orientation):
    """Would catch a turn the wrong way round, or a size that is not turned with it."""
    content = with_orientation(stored_as(colours, orientation), orientation, name, **options)
    for size in ((9, 14), (5, 4), (20, 30)):
        for resize in RESIZE_WAYS:
            expected = read(colours, size, resize=resize)
            np.testing.assert_array_equal(read(content, size, resize=resize), expected)
    with Image.open(io.BytesIO(content)) as image:
        np.testing.assert_array_equal(read(image, (9, 14)), colours)


@pytest.mark.parametrize("orientation", VISUAL_SIDES)
@pytest.mark.parametrize("resize", RESIZE_WAYS)
def test_every_orientation_of_a_photograph_that_is_shrunk(photo, orientation, resize):
    """Would catch a JPEG file that is shrunk for the wrong side, or turned before its size is."""
    small = np.asarray(photo.resize((200, 120)))
    content = with_orientation(stored_as(small, orientation), orientation, "JPEG", quality=95)
    for size in ((30, 12), (12, 30)):
        pixels = read(content, size, resize=resize).astype(int)
        difference = np.abs(pixels - read(small, size, resize=resize))
        assert difference.mean() < 1.5
        assert difference.max() < 12


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_an_orientation_that_is_none_is_left_alone(colours, orientation):
    """Would catch a damaged header that makes a sound image unreadable."""
    content = with_orientation(colours, orientation, "PNG")
    np.testing.assert_array_equal(read(content, (9, 14)), colours)


def test_damaged_exif_leaves_the_pixels(colours):
    """Would catch an error for what does not concern the pixels."""
    exif = b"Exif\0\0II*\0\x08\0\0\0\xff\xff\x12\x01"
    content = save(Image.fromarray(colours), "WEBP", lossless=True, exif=exif)
    np.testing.assert_array_equal(read(content, (9, 14)), colours)
    with Image.open(io.BytesIO(content)) as image:
        np.testing.assert_array_equal(read(image), colours)


@pytest.mark.parametrize("tag", ['tiff:Orientation="6"', "<tiff:Orientation>6</tiff:Orientation>"])
def test_an_orientation_in_xmp_counts_too(colours, tag):
    """Would catch files of programs that write no EXIF, by either route."""
    xmp = f"<x:xmpmeta xmlns:x='adobe:ns:meta/'>{tag}</x:xmpmeta>".encode()
    stored = np.ascontiguousarray(stored_as(colours, 6))
    image = Image.fromarray(stored)
    content = save(image, "WEBP", lossless=True, xmp=xmp)
    np.testing.assert_array_equal(read(content, (9, 14)), colours)
    upright, lying = save(Image.fromarray(colours), "JPEG"), save(image, "JPEG", xmp=xmp)
    difference = read(lying, (3, 3)).astype(int) - read(upright, (3, 3))
    assert np.abs(difference).max() < 20


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("GIF", {}),
        ("GIF", {"disposal": 2}),
        ("WEBP", {"lossless": True}),
        ("PNG", {}),
        ("TIFF", {}),
        ("MPO", {"quality": 100}),
    ],
)
def test_the_first_frame_counts(name, options):
    """Would catch the last frame, or frames laid over one another."""
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "lime", "blue")]
    content = save(frames[0], name, save_all=True, append_images=frames[1:], **options)
    with Image.open(io.BytesIO(content)) as image:
        assert image.n_frames == 3
    np.testing.assert_allclose(pixel(content), [255, 0, 0], atol=2)


def test_a_user_s_own_frame_counts():
    """Would catch an opened animation that is wound back, in the result or for its owner."""
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "lime", "blue")]
    content = save(frames[0], "GIF", save_all=True, append_images=frames[1:])
    with Image.open(io.BytesIO(content)) as image:
        image.seek(1)
        assert pixel(image) == [0, 255, 0]
        assert image.tell() == 1


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16", "LAB"])
def test_an_image_of_the_user_s_is_not_changed(mode):
    """Would catch an image that is resized, converted or composited in place."""
    image = Image.new(mode, (40, 30))
    image.info["note"] = "mine"
    before = (image.mode, image.size, image.info.copy(), image.tobytes())
    read(image, (5, 5), "L", "pad")
    assert (image.mode, image.size, image.info, image.tobytes()) == before


def test_a_lazily_opened_image_is_not_shrunk(photo, tmp_path):
    """Would catch a photograph that its owner finds at an eighth of its size."""
    photo.save(tmp_path / "photo.jpg")
    with Image.open(tmp_path / "photo.jpg") as image:
        pixels = read(image, (20, 20))
        assert image.size == (800, 600)
        with Image.open(tmp_path / "photo.jpg") as again:
            np.testing.assert_array_equal(np.asarray(image), np.asarray(again))
        np.testing.assert_array_equal(read(image, (20, 20)), pixels)


def test_the_same_image_in_many_threads(photo, tmp_path):
    """Would catch two threads that load one lazily opened image at the same time."""
    photo.resize((300, 200)).save(tmp_path / "photo.png")
    barrier = threading.Barrier(8)

    def decode_together(image):
        barrier.wait()
        return read(image, (30, 30))

    expected = read(os.fspath(tmp_path / "photo.png"), (30, 30))
    with ThreadPoolExecutor(8) as pool:
        for _ in range(5):
            with Image.open(tmp_path / "photo.png") as image:
                for pixels in pool.map(decode_together, [image] * 8):
                    np.testing.assert_array_equal(pixels, expected)


def test_a_closed_image_is_an_error(tmp_path):
    """Would catch an exception of Pillow's that stops the whole batch."""
    Image.new("L", (2, 2)).save(tmp_path / "closed.png")
    image = Image.open(tmp_path / "closed.png")
    image.close()
    with pytest.raises(UnreadableImage):
        pixel(image)


@pytest.mark.parametrize(
    ("shape", "channels"),
    [
        ((9, 14), "gray"),
        ((9, 14, 1), "last"),
        ((9, 14, 3), "last"),
        ((9, 14, 4), "last"),
        ((1, 9, 14), "first"),
        ((3, 9, 14), "first"),
        ((4, 9, 14), "first"),
        ((3, 9, 3), "last"),
        ((3, 3, 3), "last"),
        ((4, 9, 1), "last"),
        ((1, 1, 1), "last"),
        ((1, 3), "gray"),
    ],
)
def test_arrays_of_any_usual_shape(shape, channels):
    """Would catch channels that are taken for rows; of two readings, channels come last."""
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    if channels == "gray":
        whole = pixels[..., None]
    else:
        whole = pixels.transpose(1, 2, 0) if channels == "first" else pixels
    mode = {1: "L", 3: "RGB", 4: "RGBA"}[whole.shape[2]]
    for array in (pixels, np.asfortranarray(pixels), pixels.astype(np.int64), pixels / 255):
        np.testing.assert_array_equal(read(array, whole.shape[:2], mode), whole)


@pytest.mark.parametrize("shape", [(4,), (9, 14, 2), (2, 9, 14), (9, 14, 5), (1, 9, 14, 3), ()])
def test_arrays_of_other_shapes_are_refused(shape):
    """Would catch an error of Pillow's, or an image of two channels taken for gray."""
    with pytest.raises(UnreadableImage, match="is not an image of shape"):
        read(np.zeros(shape), (2, 2))


@pytest.mark.parametrize("shape", [(0, 4), (4, 0), (4, 0, 3), (0, 0, 1)])
def test_arrays_without_pixels_are_refused(shape):
    """Would catch a division by a side of zero."""
    with pytest.raises(UnreadableImage, match="has no pixels"):
        read(np.zeros(shape), (2, 2))


@pytest.mark.parametrize(
    ("pixels", "text"),
    [
        (np.full((2, 2), 1.5), "its float64 pixels range from 1.5 to 1.5, but 0 to 1 was expected"),
        (np.full((2, 2), np.nan), "its pixels hold NaN; replace it"),
        (np.zeros((2, 2), dtype=object), "its pixels are not real numbers, but of dtype object"),
    ],
)
def test_arrays_of_other_values_are_refused(pixels, text):
    """Would catch a TypeError that stops the batch instead of naming the image."""
    with pytest.raises(UnreadableImage, match=text):
        read(pixels)


def test_an_array_is_not_changed(colours):
    """Would catch a resize in place, and a result that is a view of the user's array."""
    pixels = colours.copy()
    pixels.flags.writeable = False
    result = read(pixels)
    read(pixels, (3, 3), "L")
    np.testing.assert_array_equal(pixels, colours)
    assert not np.shares_memory(result, pixels)


def test_shrinking_takes_the_mean():
    """Would catch a single pixel that stands for many."""
    board = np.array([[0, 200], [200, 0]], dtype=np.uint8)
    assert read(board, (1, 1), "L").item() == 100
    assert read(np.tile(board, (32, 32)), (1, 1), "L").item() == pytest.approx(100, abs=1)
    stripes = np.tile(np.array([0, 200], dtype=np.uint8), (64, 32))
    np.testing.assert_allclose(read(stripes, (4, 4), "L"), 100, atol=5)
    halves = np.repeat(np.array([[50, 150]], dtype=np.uint8), 8, axis=1)
    assert read(halves, (1, 1), "L").item() == 100


def test_transparent_pixels_do_not_bleed():
    """Would catch the hidden black of a transparent border in a resized RGBA image."""
    pixels = np.zeros((4, 4, 4), dtype=np.uint8)
    pixels[:, :2] = (200, 100, 50, 255)
    assert read(pixels, (1, 1), "RGBA").ravel().tolist() == pytest.approx(
        [200, 100, 50, 128], abs=1
    )


@pytest.mark.parametrize(
    ("mode", "background", "beside"),
    [
        ("RGB", (10, 20, 30), [10, 20, 30]),
        ("L", (10, 20, 30), [18]),
        ("RGBA", (10, 20, 30), [10, 20, 30, 255]),
    ],
)
def test_what_is_beside_a_smaller_image_is_background(mode, background, beside):
    """Would catch black bars, or a background of other channels than the image."""
    white = Image.new("RGB", (4, 2), "white")
    padded = read(white, (4, 4), mode, "pad", background)
    assert [row[0].tolist() == beside for row in padded] == [True, False, False, True]
    cropped = read(white, (4, 6), mode, "crop", background)
    assert [row[1].tolist() == beside for row in cropped] == [True, False, False, True]
    assert [column.tolist() == beside for column in cropped[1]] == [True, *[False] * 4, True]
    blank = blank_image(ReadOptions(3, 2, mode, "fit", background))
    assert blank.shape == (3, 2, len(beside))
    assert (blank == np.array(beside)).all()


def test_crop_copies_pixels(colours):
    """Would catch resampling where none is asked for: (14 - 5) // 2 = 4, (9 - 3) // 2 = 3."""
    np.testing.assert_array_equal(read(colours, (3, 5), resize="crop"), colours[3:6, 4:9])


@pytest.mark.parametrize("size", [(5000, 1), (1, 5000)])
@pytest.mark.parametrize("resize", RESIZE_WAYS)
def test_the_thinnest_of_images(size, resize):
    """Would catch a side that is rounded to nothing."""
    image = Image.new("RGB", size[::-1], (10, 20, 30))
    for source in (image, save(image, "PNG"), save(image, "JPEG", quality=100)):
        pixels = read(source, (64, 64), resize=resize)
        assert np.abs(pixels[31, 31].astype(int) - (10, 20, 30)).max() <= 2


PHOTO = (800, 600)


@pytest.mark.parametrize(
    ("image", "frame", "resize", "divisor"),
    [
        (PHOTO, (64, 64), "fit", 4),  # 150 of 600 pixels are more than 2 * 64, 75 are not
        (PHOTO, (64, 64), "stretch", 4),
        (PHOTO, (64, 64), "pad", 4),  # to 64 x 48, so that 200 and 150 are enough
        (PHOTO, (64, 64), "crop", 1),
        ((256, 256), (64, 64), "fit", 2),
        ((255, 255), (64, 64), "fit", 1),
        ((255, 256), (64, 64), "fit", 1),
        ((512, 512), (64, 64), "fit", 4),
        ((511, 511), (64, 64), "fit", 2),
        ((1024, 1024), (64, 64), "fit", 8),
        ((1023, 1024), (64, 64), "fit", 4),
        ((9000, 9000), (64, 64), "fit", 8),
        ((1024, 256), (64, 64), "fit", 2),
        ((1024, 256), (64, 64), "stretch", 2),
        ((1, 5000), (64, 64), "pad", 1),
        ((16, 16), (1, 1), "fit", 8),
        ((15, 15), (1, 1), "fit", 4),
    ],
)
def test_how_far_a_photograph_is_shrunk(image, frame, resize, divisor):
    """Would catch a photograph that is decoded larger than needed, or smaller."""
    options = ReadOptions(frame[1], frame[0], "RGB", resize, WHITE)
    assert opening.choose_divisor(options, *image) == divisor


def test_a_lying_photograph_is_shrunk_for_its_upright_frame():
    """Would catch the frame's sides swapped: 1024 x 512 stands in a frame of 64 x 128."""
    options = ReadOptions(128, 64, "RGB", "stretch", WHITE)
    assert opening.choose_divisor(options, 1024, 512, turned=True) == 4
    assert opening.choose_divisor(options, 1024, 512) == 2


@settings(max_examples=300, deadline=None, derandomize=True)
@given(
    image=st.tuples(st.integers(1, 3000), st.integers(1, 3000)),
    frame=st.tuples(st.integers(1, 300), st.integers(1, 300)),
    resize=st.sampled_from(RESIZE_WAYS),
)
def test_never_shrunk_below_twice_what_is_needed(image, frame, resize):
    """Would catch blur: at least two decoded pixels a side for each that comes out."""
    divisor = opening.choose_divisor(ReadOptions(frame[1], frame[0], "RGB", resize, WHITE), *image)
    assert divisor in (1, 2, 4, 8)
    if divisor > 1:
        framing = frame_image(image, frame, resize)
        left, upper, right, lower = framing.box
        assert (right - left) / divisor >= 2 * framing.scaled[0] * (1 - 1e-12)
        assert (lower - upper) / divisor >= 2 * framing.scaled[1] * (1 - 1e-12)


@pytest.mark.parametrize("resize", RESIZE_WAYS)
@pytest.mark.parametrize("route", ["simplejpeg", "Pillow"])
def test_shrinking_while_decoding_changes_little(photo, monkeypatch, resize, route):
    """Would catch a shift or a blur: below half a level on average, a few at most."""
    if route == "Pillow":
        monkeypatch.setattr(decoder, "simplejpeg", None)
    content = save(photo, "JPEG", quality=90)
    quick = read(content, (64, 64), resize=resize).astype(int)
    monkeypatch.setattr(opening, "choose_divisor", lambda *_, **__: 1)
    difference = np.abs(quick - read(content, (64, 64), resize=resize))
    assert difference.mean() < 0.5
    assert difference.max() <= 4


def test_the_cap_on_pixels_has_two_sides(monkeypatch):
    """Would catch an image that is decoded before it is measured, from any kind of source."""
    monkeypatch.setattr(opening, "MAX_PIXELS", 12)
    for width, height in ((4, 3), (12, 1)):
        image = Image.new("RGB", (width, height))
        for source in (image, np.asarray(image), *(save(image, name) for name in ("PNG", "JPEG"))):
            read(source, (2, 2))
    image = Image.new("RGB", (13, 1))
    for source in (image, *(save(image, name) for name in opening.FORMATS)):
        with pytest.raises(UnreadableImage, match="it has 13 x 1 pixels, more than"):
            read(source, (2, 2))
    with pytest.raises(UnreadableImage, match="it has 13 x 1 pixels, more than the limit of 12"):
        read(np.asarray(image), (2, 2))


@pytest.mark.parametrize("route", ["simplejpeg", "Pillow"])
def test_a_jpeg_file_that_is_shrunk_may_be_twice_as_large(monkeypatch, route):
    """Would catch photographs of large cameras that are refused, and bombs that are not."""
    if route == "Pillow":
        monkeypatch.setattr(decoder, "simplejpeg", None)
    monkeypatch.setattr(opening, "MAX_PIXELS", 1000)
    read(save(Image.new("RGB", (50, 40)), "JPEG"), (4, 4))
    for size, name, wanted in (
        ((50, 41), "JPEG", (4, 4)),  # more than twice
        ((50, 40), "JPEG", (30, 30)),  # not shrunk
        ((50, 40), "PNG", (4, 4)),
    ):
        with pytest.raises(UnreadableImage, match="pixels, more than the"):
            read(save(Image.new("RGB", size), name), wanted)


def test_what_the_machine_lacks_is_not_blamed_on_the_image(monkeypatch, tmp_path):
    """Would catch good images that are left out while there are too many open files."""
    path = tmp_path / "good.png"
    Image.new("RGB", (3, 3)).save(path)
    real = os.open

    def fail(error):
        def open_file(*args, **options):
            raise error

        monkeypatch.setattr(os, "open", open_file)
        return type(error)

    for error in (OSError(errno.EMFILE, "Too many open files"), MemoryError()):
        with pytest.raises(fail(error)) as caught:
            read(path, (2, 2))
        assert not isinstance(caught.value, UnreadableImage)
    monkeypatch.setattr(os, "open", real)
    read(path, (2, 2))


def test_pillow_s_settings_are_not_touched(colours):
    """Would catch a limit that is set for the whole process, and not set back after an error."""
    before = (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES)
    content = save(Image.fromarray(colours), "PNG")
    read(content, (9, 14))
    with pytest.raises(UnreadableImage):
        read(content[:-30], (9, 14))
    assert before == (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES) == (89478485, False)


@pytest.mark.parametrize(
    ("given", "colour"),
    [
        ("white", (255, 255, 255)),
        ("#102030", (16, 32, 48)),
        ("rgb(1, 2, 3)", (1, 2, 3)),
        (0, (0, 0, 0)),
        (255, (255, 255, 255)),
        (np.uint8(7), (7, 7, 7)),
        ((1, 2, 3), (1, 2, 3)),
        ([1, 2, 3], (1, 2, 3)),
        (np.array([1, 2, 3]), (1, 2, 3)),
    ],
)
def test_colours(given, colour):
    """Would catch red and blue that are swapped, or a level of gray that is not."""
    assert parse_colour(given) == colour


@pytest.mark.parametrize(
    "given", ["whyte", "", (1, 2), (1, 2, 3, 4), 256, -1, (0, 0, 256), None, "#12345", [], object()]
)
def test_what_is_no_colour(given):
    """Would catch an error of Pillow's that does not name the parameter."""
    with pytest.raises(ValueError, match="background must be a colour: a name such as 'white'"):
        parse_colour(given)
