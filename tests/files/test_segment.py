"""A segment: what counts is whole, whatever was broken off, cut or removed."""

import numpy as np
import pytest

from sklearn_cnn.files.options import ReadOptions
from sklearn_cnn.files.segment import Segment

SHAPE = (2, 3, 3)
IMAGE_BYTES = 18
OPTIONS = ReadOptions(2, 3, "RGB", "fit", (0, 0, 0))


def images(first, n_images):
    """Keys and pixels that both tell which image it is: (n, 2) and (n, 2, 3, 3)."""
    numbers = np.arange(first, first + n_images)
    keys = np.column_stack([numbers + 1000, numbers]).astype(np.uint64)
    pixels = np.broadcast_to(numbers[:, np.newaxis, np.newaxis, np.newaxis], (n_images, *SHAPE))
    return keys, pixels.astype(np.uint8)


@pytest.fixture
def segment(tmp_path):
    """A segment of three images, 0 to 2."""
    segment = Segment(tmp_path / "7.keys", OPTIONS)
    segment.append(*images(0, 3))
    return segment


def holds(segment, numbers):
    keys = segment.keys()
    assert keys[:, 1].tolist() == numbers
    assert segment.pixels()[: len(keys), 0, 0, 0].tolist() == numbers


def test_images_are_added_after_the_last(segment):
    """Would catch an append that writes over what is there."""
    segment.append(*images(3, 2))
    holds(segment, [0, 1, 2, 3, 4])
    assert segment.number == 7


def test_pixels_in_another_order_of_memory_are_written_in_theirs(tmp_path):
    """Would catch Fortran order, or every second row, written as it lies in memory."""
    segment = Segment(tmp_path / "1.keys", OPTIONS)
    pixels = np.arange(4 * IMAGE_BYTES, dtype=np.uint8).reshape(4, *SHAPE)
    segment.append(images(0, 4)[0][::2], np.asfortranarray(pixels)[::2])
    np.testing.assert_array_equal(segment.pixels(), pixels[::2])
    np.testing.assert_array_equal(segment.keys(), images(0, 4)[0][::2])


def test_the_map_is_read_only(segment):
    """Would catch a user who writes into the pixels of all other processes."""
    pixels = segment.pixels()
    assert isinstance(pixels, np.memmap)
    assert pixels.mode == "r"
    with pytest.raises(ValueError, match="read-only"):
        pixels[0] = 0


@pytest.mark.parametrize("n_bytes", [1, 15, 16])
def test_a_torn_last_key_does_not_count(segment, n_bytes):
    """Would catch keys whose end was not written, and a next image that is written after it."""
    whole = segment.path.read_bytes()
    segment.path.write_bytes(whole[:-n_bytes])
    assert segment.keys()[:, 1].tolist() == [0, 1]
    segment.trim()
    segment.append(*images(3, 1))
    holds(segment, [0, 1, 3])


@pytest.mark.parametrize("n_bytes", [1, IMAGE_BYTES - 1, IMAGE_BYTES, 3 * IMAGE_BYTES + 5])
def test_pixels_without_a_key_do_not_count(segment, n_bytes):
    """Would catch a write that broke off before its keys: the next image would lie beside them."""
    with open(segment.pixel_path, "ab") as file:
        file.write(b"\xff" * n_bytes)
    assert segment.keys()[:, 1].tolist() == [0, 1, 2]
    segment.trim()
    assert segment.pixel_path.stat().st_size == 3 * IMAGE_BYTES
    segment.append(*images(3, 1))
    holds(segment, [0, 1, 2, 3])


@pytest.mark.parametrize(
    ("n_bytes", "n_whole"), [(0, 0), (17, 0), (18, 1), (19, 1), (53, 2), (54, 3)]
)
def test_keys_without_pixels_do_not_count(segment, n_bytes, n_whole):
    """Both sides of each image's end, if someone has cut the file: a map would end too early."""
    with open(segment.pixel_path, "r+b") as file:
        file.truncate(n_bytes)
    assert segment.keys()[:, 1].tolist() == list(range(n_whole))
    segment.trim()
    segment.append(*images(8, 1))
    holds(segment, [*range(n_whole), 8])


@pytest.mark.parametrize("missing", ["path", "pixel_path"])
def test_a_segment_without_one_of_its_files_is_empty(segment, missing):
    """Would catch an error, or old keys that come to stand beside new pixels."""
    getattr(segment, missing).unlink()
    assert segment.keys().shape == (0, 2)
    segment.trim()
    segment.append(*images(5, 2))
    holds(segment, [5, 6])


def test_a_segment_that_is_not_there_is_empty(tmp_path):
    segment = Segment(tmp_path / "1.keys", OPTIONS)
    assert segment.keys().shape == (0, 2)
    assert list(tmp_path.iterdir()) == []


def test_a_sound_segment_is_not_trimmed(segment):
    """Would catch a trim that cuts what is whole."""
    before = segment.path.read_bytes(), segment.pixel_path.read_bytes()
    segment.trim()
    assert (segment.path.read_bytes(), segment.pixel_path.read_bytes()) == before


def test_pixels_added_while_keys_are_read_do_not_count(segment, monkeypatch):
    """Would catch a reader, which takes no lock, that joins keys of before a repair with pixels of
    after it: another process cuts image 2, and writes image 9 in its place."""
    with open(segment.pixel_path, "r+b") as file:
        file.truncate(2 * IMAGE_BYTES)
    other = Segment(segment.path, OPTIONS)
    read_bytes = type(segment.path).read_bytes

    def repair_meanwhile(path):
        monkeypatch.undo()
        before = read_bytes(path)
        other.trim()
        other.append(*images(9, 1))
        return before

    monkeypatch.setattr(type(segment.path), "read_bytes", repair_meanwhile)
    assert segment.keys()[:, 1].tolist() == [0, 1]
    holds(segment, [0, 1, 9])


def test_pixels_are_on_the_disk_before_their_keys(segment, monkeypatch):
    """Would catch keys that reach the disk first: after a power failure they would stand for pixels
    that are not there."""
    synced = []
    monkeypatch.setattr(
        "sklearn_cnn.files.segment.sync",
        lambda file: synced.append((file.name, segment.path.stat().st_size)),
    )
    segment.append(*images(3, 1))
    assert synced[0] == (str(segment.pixel_path), 3 * 16)
    assert synced[1][0] == str(segment.path)


@pytest.mark.parametrize("dtype", ["uint16", "float32"])
def test_images_of_wider_values(tmp_path, dtype):
    """Would catch rows that are counted in bytes of eight bits, or values that are cut to those."""
    options = ReadOptions(2, 3, "RGB", "fit", (0, 0, 0), dtype)
    keys, pixels = images(0, 5)
    pixels = (pixels * 1000.5).astype(dtype)
    segment = Segment(tmp_path / "1.keys", options)
    segment.append(keys, pixels)
    assert segment.pixel_path.stat().st_size == 5 * IMAGE_BYTES * np.dtype(dtype).itemsize
    with open(segment.pixel_path, "ab") as file:
        file.write(bytes(IMAGE_BYTES + 1))  # broken off
    segment.trim()
    segment.append(keys[:1], pixels[4:])
    assert len(segment.keys()) == 6
    np.testing.assert_array_equal(segment.pixels(), np.concatenate([pixels, pixels[4:]]))
