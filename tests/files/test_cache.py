"""The cache of decoded pixels against a table in memory: order, limit, and what is decoded when."""

import os
import tempfile
from collections import Counter
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sklearn_cnn.files import cache as cache_module
from sklearn_cnn.files.cache import ArrayCache, CacheFolder
from sklearn_cnn.files.opening import decoder_version
from sklearn_cnn.files.options import ReadOptions

OPTIONS = ReadOptions(2, 3, "RGB", "fit", (255, 255, 255))
IMAGE_BYTES = 18
STORED_BYTES = IMAGE_BYTES + 16
BLANK = 255
PLENTY = 10**6


def keys_of(numbers):
    numbers = np.asarray(numbers, dtype=np.uint64)
    return np.column_stack([numbers * np.uint64(7919), numbers + np.uint64(1)])


def pixels_of(numbers):
    """Pixels that tell which image they are of, and which of its rows."""
    pixels = np.empty((len(numbers), *OPTIONS.shape), dtype=np.uint8)
    pixels[:] = np.asarray(numbers, dtype=np.uint8)[:, np.newaxis, np.newaxis, np.newaxis]
    pixels[:, 1] += 100
    return pixels


class Images:
    """Numbered images, some of them damaged, read through a cache; counts what is decoded."""

    def __init__(self, folder, limit=PLENTY, options=OPTIONS, version="1", damaged=()):
        self.cache = ArrayCache(folder, limit, options, version)
        self.damaged = set(damaged)
        self.decoded = Counter()
        self.blocks = []

    def fetch(self, numbers, stand_in=lambda: np.full(OPTIONS.shape, BLANK, np.uint8)):
        numbers = list(numbers)

        def decode(positions):
            block = [numbers[position] for position in positions]
            self.blocks.append(block)
            self.decoded.update(block)
            read = np.array([number not in self.damaged for number in block])
            return read, np.where(read[:, None, None, None], pixels_of(block), np.uint8(BLANK))

        return self.cache.fetch(keys_of(numbers), decode, stand_in)

    def check(self, numbers):
        """Fetch images and compare them with what they should be."""
        pixels = self.fetch(numbers)
        expected = pixels_of(list(numbers))
        expected[np.isin(list(numbers), list(self.damaged))] = BLANK
        np.testing.assert_array_equal(pixels, expected)
        assert pixels.shape == expected.shape
        assert pixels.dtype == np.uint8
        return pixels

    def files(self, suffix):
        return sorted(self.cache.folder.glob(f"*{suffix}"))


@pytest.fixture
def images(tmp_path):
    return Images(tmp_path)


@pytest.fixture
def few(monkeypatch):
    """More than three images are large; two are decoded or copied at once."""
    monkeypatch.setattr(cache_module, "IN_MEMORY_BYTES", 3 * IMAGE_BYTES)
    monkeypatch.setattr(cache_module, "BLOCK_BYTES", 2 * IMAGE_BYTES)


@pytest.fixture
def copied(monkeypatch):
    """A list that gets the number of images in each block that is copied."""
    blocks = []
    gather = ArrayCache._gather

    def counting(self, *arguments):
        for block in gather(self, *arguments):
            blocks.append(len(block))
            yield block

    monkeypatch.setattr(ArrayCache, "_gather", counting)
    return blocks


def origin(pixels):
    """The memory map that an array lies in, and the array's first byte in its file."""
    base = pixels
    while isinstance(base.base, np.memmap):
        base = base.base
    start = pixels.__array_interface__["data"][0] - base.__array_interface__["data"][0]
    return Path(base.filename), base.offset + start


def age(paths):
    """Make files older than all others: the last of them the youngest."""
    for seconds, path in enumerate(paths):
        os.utime(path, (1000 + seconds, 1000 + seconds))


def test_images_come_back_in_the_order_asked_for(images):
    """Would catch rows in the order of the file, or of sorted keys."""
    images.check([4, 1, 3])
    images.check([3, 4, 1])
    images.check([1])
    images.check([9, 3, 8, 4])
    assert images.decoded == Counter([4, 1, 3, 9, 8])


def test_an_image_asked_for_twice_is_decoded_once(images):
    """Would catch a bootstrap sample that pays for its repetitions, or moves rows by them."""
    images.check([2, 2, 5, 2, 5])
    images.check([5, 5])
    images.check([7, 2, 7, 2])
    assert images.decoded == Counter([2, 5, 7])


def test_what_lies_in_one_piece_is_mapped_where_it_lies(images):
    """Would catch a copy: the array must be the segment itself, at the right place, read-only."""
    images.check(range(10))
    (segment,) = images.files(".pixels")
    for part in (range(10), range(3, 7), [9]):
        pixels = images.check(part)
        assert isinstance(pixels, np.memmap)
        assert origin(pixels) == (segment, part[0] * IMAGE_BYTES)
        assert not pixels.flags.writeable
    assert images.files(".view") == []


def test_a_few_scattered_images_come_back_in_memory(few, images):
    """Both sides of the boundary: three images are few, four are mapped from a view."""
    images.check(range(8))
    few_pixels = images.check([6, 0, 3])
    assert not isinstance(few_pixels, np.memmap)
    assert images.files(".view") == []
    many_pixels = images.check([6, 0, 3, 5])
    assert isinstance(many_pixels, np.memmap)
    assert not many_pixels.flags.writeable
    assert origin(many_pixels) == (images.files(".view")[0], 0)


def test_a_view_is_written_once(few, images, copied):
    """Would catch candidates of a search that each write the pixels of a fold again."""
    images.check(range(8))
    first = images.check([0, 2, 4, 6, 7])
    second = images.check([0, 2, 4, 6, 7])
    assert origin(first) == origin(second)
    assert sum(copied) == 5


@pytest.mark.parametrize("order", [[0, 2, 4, 6], [6, 4, 2, 0], [0, 0, 2, 4], [0, 0, 4, 2]])
def test_views_of_other_images_or_another_order_are_others(few, images, order):
    """Would catch a view that is named for a set of images: its rows are in an order."""
    images.check(range(8))
    images.check([2, 0, 6, 4])
    images.check(order)
    assert len(images.files(".view")) == 2


def test_images_scattered_over_segments(few, images, monkeypatch):
    """Would catch rows that are looked up in the segment of another image."""
    monkeypatch.setattr(cache_module, "SEGMENTS", PLENTY // (2 * STORED_BYTES))
    for numbers in ([0, 1], [2, 3], [4, 5], [6, 7]):
        images.check(numbers)
    assert len(images.files(".pixels")) == 4
    images.check([7, 0, 2])
    images.check([1, 6, 2, 5, 3])
    images.check([3, 9, 0])
    assert images.decoded == Counter(range(8)) + Counter([9])


@pytest.mark.parametrize(("room", "n_segments"), [(2, 2), (3, 1), (4, 1)])
def test_small_reads_are_put_together(images, monkeypatch, room, n_segments):
    """Both sides of a segment's size, when one image follows two: a file for each small read would
    be many files."""
    images.cache.whole.limit = room * STORED_BYTES * 100
    monkeypatch.setattr(cache_module, "SEGMENTS", 100)
    images.check([0, 1])
    images.check([2])
    assert len(images.files(".pixels")) == n_segments
    images.check([2, 1, 0])


def test_files_open_at_once_are_bounded_by_the_limit(tmp_path):
    """Would catch thousands of segments, and with them too many open files, after many reads."""
    images = Images(tmp_path, limit=400 * STORED_BYTES)
    for number in range(0, 200, 2):
        images.check([number, number + 1])
    assert len(images.files(".pixels")) <= 2 * cache_module.SEGMENTS
    assert sum(images.decoded.values()) == 200


@pytest.mark.parametrize("n_images", [1, 2, 3, 4, 5])
def test_blocks(few, images, n_images):
    """Both sides of a block's end, two images: would catch a last block that is left out."""
    numbers = list(range(n_images))
    images.check(numbers)
    assert images.blocks == [numbers[start : start + 2] for start in range(0, n_images, 2)]
    images.check(numbers[::-1])


def test_an_image_larger_than_a_block_is_one_block(images, monkeypatch):
    """Would catch a block of no rows, and with it an endless loop or an error."""
    monkeypatch.setattr(cache_module, "BLOCK_BYTES", IMAGE_BYTES - 1)
    images.check([3, 1, 2])
    images.check([2, 3])


# What cannot be read


def test_what_cannot_be_read_is_blank_and_not_kept(images):
    """Would catch background that is kept as if it were the image."""
    images.damaged = {1, 3}
    images.check([0, 1, 2, 3])
    images.check([1, 0])
    images.damaged = {3}
    images.check([0, 1, 2, 3])
    assert images.decoded == Counter({0: 1, 1: 3, 2: 1, 3: 2})


def test_what_cannot_be_read_is_blank_in_a_view(few, images):
    """Would catch a view with background that is found again after the file was repaired."""
    images.damaged = {1}
    images.check(range(5))
    images.check(range(5))
    assert images.decoded[1] == 2
    images.damaged = set()
    images.check(range(5))
    images.check(range(5))
    assert images.decoded == Counter({0: 1, 1: 3, 2: 1, 3: 1, 4: 1})


def test_nothing_can_be_read(few, images):
    """Would catch a first row of -1 that passes for the beginning of a run."""
    images.damaged = set(range(6))
    for numbers in ([0], [0, 1], range(6)):
        images.check(numbers)
    assert images.cache.whole.count()[0] == 0


def test_an_error_of_the_stand_in_comes_before_copies(few, images):
    """Would catch a view of gigabytes, written although an error follows: the good ones are kept,
    and nothing else is."""
    images.check([4, 0])
    images.damaged = {1}

    def refuse():
        raise ValueError("image 1 cannot be read")

    with pytest.raises(ValueError, match="image 1 cannot be read"):
        images.fetch(range(6), stand_in=refuse)
    assert images.files(".view") == []
    images.damaged = set()
    images.fetch(range(6), stand_in=refuse)
    assert images.decoded == Counter({0: 1, 1: 2, 2: 1, 3: 1, 4: 1, 5: 1})


def test_the_stand_in_is_asked_for_only_if_needed(images):
    """Would catch an error for images that are all there."""
    images.fetch([0, 1], stand_in=lambda: pytest.fail("all can be read"))
    images.fetch([0, 1], stand_in=lambda: pytest.fail("all are there"))


def test_images_without_a_key_are_each_read_every_time(images):
    """Zeros stand for a missing file: two of them are not the same image, and neither is kept."""
    keys = np.zeros((3, 2), dtype=np.uint64)
    keys[1] = keys_of([5])
    decoded = []

    def decode(positions):
        decoded.append(positions.tolist())
        return positions == 1, pixels_of([5] * len(positions))

    for _ in range(2):
        pixels = images.cache.fetch(keys, decode, lambda: np.full(OPTIONS.shape, BLANK, np.uint8))
        assert pixels[:, 0, 0, 0].tolist() == [BLANK, 5, BLANK]
    assert decoded == [[0, 1, 2], [0, 2]]


# The limit


def fill(images, *groups):
    """Read groups of images, each into a segment of its own, the first used longest ago."""
    paths = []
    for group in groups:
        before = set(images.files(".keys"))
        images.check(group)
        paths += set(images.files(".keys")) - before
    assert len(paths) == len(groups)
    age(paths)
    images.decoded.clear()
    return paths


@pytest.fixture
def narrow(tmp_path):
    """Room for six images, in segments of one request each."""
    return Images(tmp_path, limit=6 * STORED_BYTES)


def test_what_was_not_used_for_longest_goes_first(narrow):
    """Would catch the oldest that goes although it was used since."""
    a, b, c = fill(narrow, [0, 1], [2, 3], [4, 5])
    narrow.check([1])  # a is used again
    narrow.check([6])
    left = narrow.files(".keys")
    assert a in left
    assert b not in left
    assert c in left
    assert not b.with_suffix(".pixels").exists()
    narrow.check([0, 1])
    narrow.check([4, 5])
    assert narrow.decoded == Counter([6])
    narrow.check([2, 3])
    assert narrow.decoded == Counter([6, 2, 3])


@pytest.mark.parametrize(("n_new", "n_left"), [(2, 3), (3, 2), (4, 2), (5, 1)])
def test_no_more_goes_than_must(tmp_path, n_new, n_left):
    """Both sides of the limit, eight images of which six are in use: nothing goes while there is
    room to the byte, and one segment goes for one byte more."""
    images = Images(tmp_path, limit=8 * STORED_BYTES)
    fill(images, [0, 1], [2, 3], [4, 5])
    images.check(range(10, 10 + n_new))
    assert len(images.files(".keys")) == n_left + 1


def test_what_a_request_needs_does_not_go_for_it(narrow):
    """Would catch an eviction of images that the same request has already found."""
    a, b, _ = fill(narrow, [0, 1], [2, 3], [4, 5])
    narrow.check([0, 1, 6])
    assert a.exists()
    assert not b.exists()
    assert narrow.decoded == Counter([6])


@pytest.mark.parametrize("n_images", [6, 7])
def test_too_small_a_limit_is_an_error_before_anything_is_decoded(narrow, n_images):
    """Both sides: six images fit to the byte; seven do not, and nothing may go for them."""
    fill(narrow, [20, 21], [22, 23], [24, 25])
    before = narrow.files("")
    if n_images == 6:
        narrow.check(range(6))
        return
    with pytest.raises(ValueError, match=r"need 238 bytes in the cache, but cache_limit=204 leav"):
        narrow.check(range(n_images))
    assert not narrow.decoded
    assert narrow.files("") == before


@pytest.mark.parametrize("spare", [0, -1])
def test_room_for_a_view_is_made_before_anything_is_decoded(tmp_path, few, spare):
    """Both sides of the limit, when repeated images need a view beside the segment: an error after
    hours of decoding would be too late."""
    images = Images(tmp_path, limit=4 * STORED_BYTES + 8 * IMAGE_BYTES + spare)
    numbers = [0, 1, 2, 3] * 2
    if spare < 0:
        with pytest.raises(ValueError, match="cache_limit"):
            images.check(numbers)
        assert not images.decoded
    else:
        images.check(numbers)
        images.check(numbers)
        assert images.decoded == Counter(range(4))


def test_a_request_spread_over_too_much_else_is_read_anew(tmp_path):
    """Would catch an error for six images in a cache of twelve, because each lies among others
    that may not go for its sake."""
    images = Images(tmp_path, limit=12 * STORED_BYTES)
    fill(images, [0, 1, 2], [3, 4, 5], [6, 7, 8], [9, 10, 11])
    images.check([0, 3, 6, 9, 20])
    images.check([0, 3, 6, 9, 20])
    assert images.decoded == Counter([0, 3, 6, 9, 20])
    assert images.cache.whole.count()[1] <= 12 * STORED_BYTES


def test_a_view_fits_although_its_images_fill_the_cache(tmp_path, few):
    """Would catch a search that ends in an error at its refit, because a view does not fit beside
    the segments that it is copied from."""
    images = Images(tmp_path, limit=8 * STORED_BYTES)
    fill(images, [0, 1, 2, 3], [4, 5, 6, 7])
    for _ in range(2):
        images.check([7, 0, 6, 1, 5, 2, 4, 3])
        assert images.cache.whole.count()[1] <= 8 * STORED_BYTES


def test_a_view_goes_before_the_segments_it_was_copied_from(tmp_path, few):
    """Would catch decoded pixels that go first, and leave a copy that does not save decoding."""
    images = Images(tmp_path, limit=10 * STORED_BYTES)
    images.check(range(5))
    images.check([4, 0, 3, 1])
    images.check([4, 0, 3, 1])
    images.check(range(10, 15))
    assert images.files(".view") == []
    images.check(range(5))
    assert set(images.decoded.values()) == {1}


def test_a_view_goes_before_a_segment_used_in_the_same_moment(tmp_path, few, monkeypatch):
    """Would catch the order of names, or of a listing, that decides where a clock is coarse."""
    images = Images(tmp_path, limit=20 * STORED_BYTES)
    images.check(range(4))
    images.check([3, 1, 2, 0])
    for path in images.files(""):
        os.utime(path, (1000, 1000))
    sizes = CacheFolder.sizes
    monkeypatch.setattr(
        CacheFolder,
        "sizes",
        lambda self: dict(sorted(sizes(self).items(), key=lambda file: file[0].suffix)),
    )
    images.check(range(10, 25))
    assert images.files(".view") == []
    images.check(range(4))
    assert set(images.decoded.values()) == {1}


def test_the_last_segment_may_go_for_others(tmp_path, monkeypatch):
    """Would catch a limit that cannot be kept because what is added to may not go."""
    monkeypatch.setattr(cache_module, "SEGMENTS", 1)
    images = Images(tmp_path, limit=6 * STORED_BYTES)
    images.check(range(4))
    images.check(range(10, 14))
    images.check(range(10, 14))
    assert images.decoded == Counter([*range(4), *range(10, 14)])


def test_the_last_segment_does_not_grow_if_it_has_to_go(tmp_path, monkeypatch):
    """Would catch images added to a segment of others, which then takes the room that the request
    needs: five found, four of others, and three new ones, in room for ten."""
    monkeypatch.setattr(cache_module, "SEGMENTS", 1)
    images = Images(tmp_path, limit=10 * STORED_BYTES)
    images.check(range(5))
    monkeypatch.setattr(cache_module, "SEGMENTS", 2)
    images.check(range(20, 24))
    assert len(images.files(".keys")) == 2
    monkeypatch.setattr(cache_module, "SEGMENTS", 1)
    images.check([*range(5), 5, 6, 7])
    assert set(images.decoded.values()) == {1}
    images.check([20])
    assert images.decoded[20] == 2


def test_other_options_count_and_go(narrow, tmp_path):
    """Would catch a limit that holds for each size of images alone."""
    fill(narrow, [0, 1], [2, 3], [4, 5])
    other = Images(tmp_path, narrow.cache.whole.limit, OPTIONS, version="2")
    other.check(range(10, 14))
    assert other.cache.whole.count()[1] <= narrow.cache.whole.limit
    narrow.check([4, 5])
    assert not narrow.decoded


@pytest.mark.parametrize("name", ["f" * 32, "0123456789abcdef" * 2])
def test_what_dead_processes_left_is_removed(images, name):
    """Would catch a disk that fills with unfinished views and pixels without keys."""
    images.check([0])
    old = images.cache.whole.path / name
    old.mkdir()
    for left in (old / "1.pixels", old / "view.tmp", images.cache.folder / "view-2.tmp"):
        left.write_bytes(b"x" * 100)
    images.check([1])
    assert list(old.iterdir()) == []
    assert images.files(".tmp") == []
    images.check([0, 1])


def test_other_files_in_the_folder_are_left_alone(tmp_path):
    """Would catch a cache in a folder of data, cache=".", that removes the data for want of room,
    or counts them towards its limit."""
    kept = {}
    for name in ("a.tmp", "b.pixels", "c.keys", "d.view", "cats/1.pixels", "cats/2.tmp", "lock"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"x" * 1000)
        kept[path] = 1000
    hashed = tmp_path / ("0" * 32) / "image.png"
    hashed.parent.mkdir()
    hashed.write_bytes(b"x" * 1000)
    images = Images(tmp_path, limit=4 * STORED_BYTES)
    for numbers in ([0, 1, 2], [3, 4, 5], [6, 7, 8]):
        images.check(numbers)
    assert {path: path.stat().st_size for path in kept} == kept
    assert hashed.stat().st_size == 1000
    assert images.cache.whole.count()[1] == 3 * STORED_BYTES


def test_images_and_bytes_are_counted(tmp_path, few):
    """Would catch a count of views as images, or of one set of options alone."""
    images = Images(tmp_path)
    whole = images.cache.whole
    assert (*whole.count(), whole.limit) == (0, 0, PLENTY)
    images.check(range(5))
    Images(tmp_path, version="2").check([0, 1])
    images.check([3, 0, 2, 1])
    assert whole.count() == (7, 7 * STORED_BYTES + 4 * IMAGE_BYTES)
    assert (str(whole.path), whole.limit) == (str(tmp_path), PLENTY)
    n_bytes = sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file())
    assert whole.count()[1] == n_bytes
    assert str(whole) == f"7 images, 0.0 MB of at most 1.0 MB, in {tmp_path}"


def test_counting_makes_no_folder(tmp_path):
    images = Images(tmp_path / "none")
    assert images.cache.whole.count()[1] == 0
    assert list(tmp_path.iterdir()) == []


# Options


@pytest.mark.parametrize(
    "other",
    [
        ReadOptions(3, 2, "RGB", "fit", (255, 255, 255)),
        ReadOptions(2, 3, "RGB", "crop", (255, 255, 255)),
        ReadOptions(2, 3, "RGB", "fit", (255, 255, 254)),
        ReadOptions(2, 9, "L", "fit", (255, 255, 255)),
        "another version",
    ],
    ids=str,
)
def test_other_options_find_nothing(images, tmp_path, other):
    """Would catch pixels of another size, fitting, background, mode or decoder, all of 18 bytes."""
    images.check([0, 1, 2])
    options, version = (OPTIONS, other) if isinstance(other, str) else (other, "1")
    cache = ArrayCache(tmp_path, PLENTY, options, version)
    seen = []

    def decode(positions):
        seen.extend(positions.tolist())
        return np.ones(3, dtype=bool), np.full((3, *options.shape), 7, np.uint8)

    pixels = cache.fetch(keys_of([0, 1, 2]), decode, lambda: np.zeros(1))
    assert seen == [0, 1, 2]
    np.testing.assert_array_equal(pixels, np.full((3, *options.shape), 7))
    images.check([0, 1, 2])


# Others at work


def between(monkeypatch, name, act):
    """Have something happen once, before the next call of a method of the cache."""
    method = getattr(ArrayCache, name)

    def first_act(self, *arguments):
        monkeypatch.setattr(ArrayCache, name, method)
        act()
        return method(self, *arguments)

    monkeypatch.setattr(ArrayCache, name, first_act)


def test_images_removed_between_looking_and_reading_are_read_again(images, tmp_path, monkeypatch):
    """Would catch an error, because another process made room just then: reading takes no lock."""
    images.check(range(4))

    def make_room():
        other = Images(tmp_path, 5 * STORED_BYTES)
        other.check(range(10, 15))

    between(monkeypatch, "_collect", make_room)
    images.check(range(4))
    assert images.decoded == Counter(dict.fromkeys(range(4), 2))


def test_a_segment_put_in_the_place_of_a_removed_one_is_not_taken_for_it(
    images, tmp_path, monkeypatch
):
    """Would catch numbers of segments that are given again: a reader that has looked up its rows in
    the first would find other images in the second."""
    images.check(range(4))
    (before,) = images.files(".keys")

    def replace():
        Images(tmp_path, 4 * STORED_BYTES, version="2").check(range(20, 24))
        assert not before.exists()
        Images(tmp_path, 4 * STORED_BYTES).check(range(10, 14))
        assert len(images.files(".keys")) == 1

    between(monkeypatch, "_collect", replace)
    images.check(range(4))


def test_a_view_written_by_another_is_taken(few, images, tmp_path, copied, monkeypatch):
    """Would catch processes that wait for each other, and then each write the same view."""
    images.check(range(8))
    map_view = ArrayCache._map_view

    def map_or_lose_time(self, view):
        monkeypatch.setattr(ArrayCache, "_map_view", map_view)
        with suppress(FileNotFoundError):
            pytest.fail(f"{map_view(self, view)} was there before")
        Images(tmp_path).check([0, 2, 4, 6])
        raise FileNotFoundError

    monkeypatch.setattr(ArrayCache, "_map_view", map_or_lose_time)
    images.check([0, 2, 4, 6])
    assert sum(copied) == 4


def test_a_cache_emptied_under_way_is_an_error(images, monkeypatch):
    """Would catch background in place of images, when someone removes the folder's files between
    writing and reading: a model would be trained on it without a word."""
    store = ArrayCache._store

    def store_and_lose(self, *arguments):
        n_unread = store(self, *arguments)
        for path in self.folder.iterdir():
            path.unlink()
        return n_unread

    monkeypatch.setattr(ArrayCache, "_store", store_and_lose)
    with pytest.raises(FileNotFoundError, match="newly cached images have disappeared"):
        images.check([0, 1])


def test_a_map_outlives_its_file(narrow):
    """Would catch an array whose pixels change or go when room is made for others."""
    pixels = narrow.check(range(6))
    narrow.check(range(10, 16))
    np.testing.assert_array_equal(pixels, pixels_of(range(6)))


# All at once

NUMBERS = st.integers(0, 11)
REQUESTS = st.lists(st.lists(NUMBERS, min_size=1, max_size=14), min_size=1, max_size=8)


@settings(max_examples=150, deadline=None)
@given(
    requests=REQUESTS,
    limit=st.integers(1, 30) | st.just(10**4),
    damaged=st.sets(NUMBERS, max_size=3),
    in_memory=st.integers(0, 6),
    block=st.integers(1, 4),
    segments=st.sampled_from([1, 4, 64]),
)
def test_any_requests_equal_a_table_in_memory(requests, limit, damaged, in_memory, block, segments):
    """Would catch any order of reading, adding, viewing and removing that gives other pixels, takes
    more than the limit, refuses what fits, or decodes again what is there."""
    limit *= STORED_BYTES
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as folder:
        patch.setattr(cache_module, "IN_MEMORY_BYTES", in_memory * IMAGE_BYTES)
        patch.setattr(cache_module, "BLOCK_BYTES", block * IMAGE_BYTES)
        patch.setattr(cache_module, "SEGMENTS", segments)
        images = Images(folder, limit, damaged=damaged)
        for request in requests:
            distinct, copies = len(set(request)), len(request) * IMAGE_BYTES
            needed = distinct * STORED_BYTES
            if len(request) > max(distinct, in_memory):
                needed += copies
            if needed <= limit:
                images.check(request)
            else:
                check_or_refuse(images, request)
            n_bytes = images.cache.whole.count()[1]
            assert n_bytes <= limit
            files = [path for path in Path(folder).rglob("*") if path.is_file()]
            assert sum(path.stat().st_size for path in files) == n_bytes
            assert not images.files(".tmp")
        if limit == 10**4 * STORED_BYTES:  # nothing had to go
            assert {images.decoded[n] for n in images.decoded if n not in damaged} <= {1}


def check_or_refuse(images, request):
    """What needs more than the limit is refused before decoding, unless enough of it is there."""
    before = images.decoded.copy()
    with suppress(ValueError):
        images.check(request)
        return
    assert images.decoded == before


def test_another_version_of_a_plug_in_of_pillow_finds_nothing(tmp_path, monkeypatch):
    """HEIC files are decoded by pillow-heif. Catches pixels of the version before."""
    before = decoder_version()
    (tmp_path / "pillow_heif.py").touch()
    metadata = tmp_path / "pillow_heif-1.2.dist-info" / "METADATA"
    metadata.parent.mkdir()
    metadata.write_text("Metadata-Version: 2.1\nName: pillow_heif\nVersion: 1.2\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert decoder_version() == f"{before}, pillow-heif 1.2"
