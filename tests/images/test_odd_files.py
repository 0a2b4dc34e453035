import io
import os
import socket
import struct
import subprocess
import sys
import tempfile
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile

from sklearn_cnn import ImageReader
from sklearn_cnn.images import decode as decoder
from sklearn_cnn.images.decode import UnreadableImage, decode
from sklearn_cnn.images.reading import Reading

SCRIPT = Path(__file__).parents[2] / "scripts" / "fuzz_decoder"
READING = Reading(7, 9, "RGB", "stretch", (255, 255, 255))
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
    whole = decode(content, READING)
    n_refused = 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Pillow's, about the damage
        for percent in range(100):
            try:
                pixels = decode(content[: len(content) * percent // 100], READING)
            except UnreadableImage:
                n_refused += 1
            else:  # what is missing are no pixels
                np.testing.assert_array_equal(pixels, whole)
    assert n_refused >= 90


@pytest.mark.parametrize("kind", FILES)
def test_what_follows_a_file_is_ignored(picture, kind):
    """Would catch sound files that are refused for a camera's trailer."""
    content = make_file(picture, kind)
    np.testing.assert_array_equal(
        decode(content + b"trailing bytes", READING), decode(content, READING)
    )


@pytest.mark.parametrize("kind", FILES)
def test_a_single_pixel(kind):
    """Would catch a file of the least size that is too small for something."""
    pixels = decode(make_file(Image.new("RGB", (1, 1), (255, 255, 255)), kind), READING)
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


@pytest.mark.parametrize("name", decoder.FORMATS)
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
            UnreadableImage, match=r"asks for too many pixels|it has \d+ x \d+ pixels"
        ):
            decode(content, READING)
    assert not loaded


def test_an_opened_bomb_is_refused(picture, monkeypatch):
    """Would catch an image of the user's that is copied, and so decoded, before it is measured."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    with Image.open(io.BytesIO(bomb(picture, "PNG", 60_000))) as image:
        monkeypatch.setattr(image, "load", None)
        with pytest.raises(UnreadableImage, match="it has 60000 x 60000 pixels"):
            decode(image, READING)


def test_a_bomb_is_refused_where_warnings_are_errors(picture):
    """Would catch Pillow's own warning, which is raised for what is somewhat too large."""
    with pytest.raises(UnreadableImage, match="its header asks for too many pixels"):
        decode(bomb(picture, "PNG", 13_000), READING)


def test_the_cap_lies_where_pillow_begins_to_warn():
    assert Image.MAX_IMAGE_PIXELS == decoder.MAX_PIXELS
    assert 9_459**2 <= decoder.MAX_PIXELS < 9_460**2


@pytest.mark.parametrize("name", ["ICO", "TGA", "PCX", "SGI", "DDS", "JPEG2000", "PPM", "PDF"])
def test_other_formats_are_refused_whatever_their_name(tmp_path, picture, name):
    """Would catch a decoder that nobody asked for, or a name that is believed."""
    path = tmp_path / "picture.jpg"
    path.write_bytes(save(picture, name))
    with pytest.raises(UnreadableImage, match=r"^it is an? .* to PNG"):
        decode(path, READING)


@pytest.mark.parametrize("name", decoder.FORMATS)
@pytest.mark.parametrize("ending", ["png", "jpg", "tif", "txt", ""])
def test_the_content_counts_and_not_the_name(tmp_path, picture, name, ending):
    """Would catch a TIFF file called .png that is refused."""
    content = save(picture, name)
    path = tmp_path / f"picture.{ending}"
    path.write_bytes(content)
    np.testing.assert_array_equal(decode(path, READING), decode(content, READING))


def test_no_decoder_of_other_formats_is_loaded(tmp_path):
    """Would catch Pillow's forty other decoders, which strangers' files could reach."""
    path = tmp_path / "picture.png"
    path.write_bytes(b"no picture at all")
    code = (
        "import sys\n"
        "from PIL import Image\n"
        "from sklearn_cnn.images.decode import UnreadableImage, decode\n"
        "from sklearn_cnn.images.reading import Reading\n"
        "try:\n"
        f"    decode({os.fspath(path)!r}, Reading(1, 1, 'L', 'fit', (0, 0, 0)))\n"
        "except UnreadableImage:\n"
        "    print(sorted(Image.OPEN))\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    formats = set(run.stdout.strip("[]\n").replace("'", "").split(", "))
    assert formats >= set(decoder.FORMATS)
    assert formats <= {*decoder.FORMATS, "DIB", "PPM", "MPO"}  # Pillow itself imports some


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
        (fifo, "it is no regular file"),
        (device, "it is no regular file"),
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
        decode(path, READING)
    assert open_handles() == before


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts handles as Linux does")
@pytest.mark.parametrize("kind", FILES)
def test_no_handle_stays_open(tmp_path, picture, kind):
    """Would catch files that stay open until the garbage is collected."""
    content = make_file(picture, kind)
    (tmp_path / "whole").write_bytes(content)
    (tmp_path / "cut").write_bytes(content[: len(content) // 2])
    before = open_handles()
    decode(tmp_path / "whole", READING)
    for _ in range(3):
        with pytest.raises(UnreadableImage):
            decode(tmp_path / "cut", READING)
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
            assert decode(public, READING).shape == READING.shape
            with pytest.raises(UnreadableImage, match="Permission denied"):
                decode(secret, READING)
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
    decode(path, READING)
    monkeypatch.setattr(decoder, "MAX_FILE_BYTES", size - 1)
    with pytest.raises(UnreadableImage, match="bytes, more than the"):
        decode(path, READING)


def test_a_link_that_the_user_names_is_followed(tmp_path, picture):
    """Would catch paths that are refused though they were named, one by one."""
    (tmp_path / "picture.png").write_bytes(save(picture, "PNG"))
    (tmp_path / "link.png").symlink_to(tmp_path / "picture.png")
    assert decode(tmp_path / "link.png", READING).shape == READING.shape


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
