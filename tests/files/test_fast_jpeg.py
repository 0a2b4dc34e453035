import io

import numpy as np
import pytest
from image_files import decode
from PIL import Image

from sklearn_cnn.files import decode as decoder
from sklearn_cnn.files.decode import decode_plain_jpeg
from sklearn_cnn.files.formats import UnreadableImage
from sklearn_cnn.files.options import RESIZE_WAYS, ReadOptions

pytest.importorskip("simplejpeg")

KINDS = {
    "4:4:4": {"subsampling": 0},
    "4:2:2": {"subsampling": 1},
    "4:2:0": {"subsampling": 2},
    "gray": {},
    "progressive": {"progressive": True},
    "progressive gray": {"progressive": True},
    "restarts": {"restart_marker_blocks": 1},
    "optimised": {"optimize": True, "quality": 30},
}
SIZES = [(1, 1), (2, 3), (7, 5), (8, 8), (16, 16), (33, 17), (97, 64)]


def noise(width, height):
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def save(image, name="JPEG", **options):
    file = io.BytesIO()
    image.copy().save(file, name, **options)
    return file.getvalue()


def jpeg(kind, width, height):
    image = noise(width, height)
    return save(image.convert("L") if "gray" in kind else image, **KINDS[kind])


def decode_plain(content, divisor=1):
    return decode_plain_jpeg(content, lambda width, height: divisor)


def both_routes(content, options, monkeypatch):
    """Decode as it is, and with Pillow alone; None for what is refused."""
    results = []
    for module in (decoder.simplejpeg, None):
        with monkeypatch.context() as patch:
            patch.setattr(decoder, "simplejpeg", module)
            try:
                results.append(decode(content, options))
            except UnreadableImage:
                results.append(None)
    return results


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("width", "height"), SIZES)
@pytest.mark.parametrize("divisor", [1, 2, 4, 8])
def test_the_same_pixels_as_pillow_s(kind, width, height, divisor):
    """Would catch another upsampling, another DCT, or another size of what is shrunk."""
    content = jpeg(kind, width, height)
    with Image.open(io.BytesIO(content)) as image:
        image.draft(None, (max(1, width // divisor), max(1, height // divisor)))
        smaller = image.size
        expected = np.asarray(image).reshape(smaller[1], smaller[0], -1)
    if smaller != (-(-width // divisor), -(-height // divisor)):
        assert min(width, height) < divisor  # which is never asked for
        return
    pixels = decode_plain(content, divisor)
    assert pixels is not None
    np.testing.assert_array_equal(pixels, expected)


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_images_by_either_route(kind, monkeypatch):
    """Would catch a way to shrink that differs, for frames that ask for every divisor."""
    content = jpeg(kind, 97, 64)
    for size in ((1, 1), (4, 4), (8, 8), (16, 16), (20, 30), (64, 97), (100, 100)):
        for resize in RESIZE_WAYS:
            options = ReadOptions(*size, "RGB", resize, (255, 255, 255))
            fast, plain = both_routes(content, options, monkeypatch)
            np.testing.assert_array_equal(fast, plain)


@pytest.mark.parametrize("size", [(1, 1), (3, 5), (8, 8)])
@pytest.mark.parametrize("frames", ["one", "two"])
def test_an_mpo_file_is_shrunk_alike(monkeypatch, size, frames):
    """Would catch files of two pictures that Pillow alone decodes whole, and resizes then."""
    more = [noise(97, 64).rotate(180)] if frames == "two" else []
    content = save(noise(97, 64), "MPO", save_all=True, append_images=more)
    assert decode_plain(content) is not None
    fast, plain = both_routes(content, ReadOptions(*size, "RGB", "fit", (0, 0, 0)), monkeypatch)
    np.testing.assert_array_equal(fast, plain)


def test_width_and_height_are_asked_for_in_this_order():
    """Would catch a divisor that is chosen for an image lying on its side."""
    asked = []
    decode_plain_jpeg(jpeg("4:2:0", 33, 17), lambda *size: asked.append(size) or 1)
    assert asked == [(33, 17)]


def test_the_number_of_pixels_is_capped_before_decoding(monkeypatch):
    """Would catch a bomb that simplejpeg decodes, since whoever chooses the divisor may refuse."""

    def refuse(width, height):
        raise UnreadableImage(f"{width} x {height}")

    monkeypatch.setattr(decoder.simplejpeg, "decode_jpeg", None)
    with pytest.raises(UnreadableImage, match="33 x 17"):
        decode_plain_jpeg(jpeg("4:2:0", 33, 17), refuse)


def exif_of(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


@pytest.mark.parametrize(
    "content",
    [
        save(noise(9, 7), exif=exif_of(6)),
        save(noise(9, 7), xmp=b"<x tiff:Orientation='6'/>"),
        save(noise(9, 7).convert("CMYK")),
        save(noise(9, 7), keep_rgb=True),
        save(noise(9, 7), "PNG"),
        b"",
        b"\xff\xd8\xff",
        b"\xff\xd8\xff\xe0 no picture",
    ],
    ids=["EXIF", "XMP", "CMYK", "RGB", "PNG", "empty", "no more than a start", "text"],
)
def test_what_is_not_plain_is_left_to_pillow(content):
    """Would catch a turned, inverted or damaged picture that is taken as it is."""
    assert decode_plain(content) is None


@pytest.mark.parametrize("options", [{"keep_rgb": True}, {"exif": exif_of(6)}])
def test_what_is_left_to_pillow_is_read(options, monkeypatch):
    """Would catch a route that ends there."""
    content = save(noise(9, 7), **options)
    fast, plain = both_routes(content, ReadOptions(7, 9, "RGB", "pad", (0, 0, 0)), monkeypatch)
    assert fast is not None
    np.testing.assert_array_equal(fast, plain)


@pytest.mark.parametrize("kind", ["4:2:0", "gray", "progressive", "restarts"])
def test_no_part_of_a_truncated_picture(kind):
    """Would catch rows of gray where a file ends too early."""
    content = jpeg(kind, 33, 17)
    whole = decode_plain(content)
    for length in range(0, len(content), 7):
        pixels = decode_plain(content[:length])
        assert pixels is None or (pixels == whole).all()


def test_damage_is_judged_alike(monkeypatch):
    """Would catch flipped bits that one route reads and the other refuses, or reads otherwise."""
    rng = np.random.default_rng(0)
    options = ReadOptions(5, 6, "RGB", "fit", (0, 0, 0))
    contents = [jpeg(kind, 33, 17) for kind in KINDS]
    n_read = 0
    for _ in range(300):
        damaged = bytearray(contents[rng.integers(len(contents))])
        damaged[rng.integers(len(damaged))] ^= 1 << int(rng.integers(8))
        fast, plain = both_routes(bytes(damaged), options, monkeypatch)
        assert (fast is None) == (plain is None)
        if fast is not None:
            n_read += 1
            np.testing.assert_array_equal(fast, plain)
    assert 100 < n_read < 300


def test_without_simplejpeg_pillow_reads(monkeypatch):
    """Would catch an optional dependency that is required."""
    monkeypatch.setattr(decoder, "simplejpeg", None)
    content = jpeg("4:2:0", 9, 7)
    assert decode_plain(content) is None
    assert decode(content, ReadOptions(7, 9, "RGB", "fit", (0, 0, 0))).shape == (7, 9, 3)
