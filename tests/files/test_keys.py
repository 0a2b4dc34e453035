"""Keys of image files: equal for what is the same, different for all else, and quickly found."""

import os
import shutil

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sklearn_cnn.files.segment import KEY_BYTES, NO_KEY, as_keys, file_keys, match_keys


def key(source):
    (only,) = file_keys([source])
    return only.tobytes()


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "image.png"
    path.write_bytes(b"12345")
    os.utime(path, ns=(10**18, 10**18))
    return path


def test_a_key_does_not_change_by_itself(file):
    """Would catch a key with the process, the access or the time of the call in it."""
    before = key(file)
    file.read_bytes()
    os.utime(file, ns=(2 * 10**18, 10**18))
    assert key(file) == before != NO_KEY
    assert len(before) == KEY_BYTES


def test_size_time_and_path_each_make_another_key(file, tmp_path):
    """Would catch a changed file that passes for the old one, to the nanosecond and the byte."""
    keys = [key(file)]
    os.utime(file, ns=(10**18, 10**18 + 1))
    keys.append(key(file))
    file.write_bytes(b"123456")
    os.utime(file, ns=(10**18, 10**18))
    keys.append(key(file))
    file.write_bytes(b"12345")
    os.utime(file, ns=(10**18, 10**18))
    assert key(file) == keys[0]
    other = tmp_path / "imagf.png"
    shutil.copy2(file, other)
    keys.append(key(other))
    assert len(set(keys)) == 4


def test_fields_of_a_key_do_not_run_into_each_other(tmp_path):
    """Would catch an identity written without separators: size 1 and time 23, size 12 and time 3.
    A path that starts with a digit is the third field."""
    one, two = tmp_path / "a", tmp_path / "b"
    one.write_bytes(b"x")
    two.write_bytes(b"x" * 12)
    os.utime(one, ns=(0, 23))
    os.utime(two, ns=(0, 3))
    keys_of_two = file_keys([one, two])
    two.rename(tmp_path / "c")
    one.rename(two)
    assert key(two) not in [row.tobytes() for row in keys_of_two]


def test_relative_absolute_str_and_path_are_one_file(file, monkeypatch):
    """Would catch a folder that is decoded again for every way to write its name."""
    monkeypatch.chdir(file.parent)
    assert key("image.png") == key(file) == key(str(file))


def test_the_same_relative_path_in_another_folder_is_another_file(file, tmp_path, monkeypatch):
    """Would catch pixels of one project that are used in another: size and time are equal."""
    other = tmp_path / "other"
    other.mkdir()
    shutil.copy2(file, other / file.name)
    monkeypatch.chdir(file.parent)
    here = key(file.name)
    monkeypatch.chdir(other)
    assert key(file.name) != here


def test_a_working_folder_that_was_removed_does_not_matter(file, tmp_path, monkeypatch):
    """Would catch os.getcwd() that fails although every path is absolute."""
    before = key(file)
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert key(file) == before
    assert key(file.name) == NO_KEY


def test_contents_are_their_own_identity(file):
    """Would catch contents taken for a path, or for a file's identity with the same bytes."""
    assert key(b"12345") == key(b"12345")
    status = file.stat()
    identity = b"%d %d %b" % (status.st_size, status.st_mtime_ns, os.fsencode(file))
    keys = [key(b"12345"), key(b"12346"), key(b""), key(os.fsencode(file)), key(identity)]
    assert len({*keys, key(file), NO_KEY}) == 7


@pytest.mark.parametrize("name", ["missing.png", "image.png/x", "nul\0nul", "x" * 5000, ""])
def test_what_is_no_file_has_no_key(file, name, monkeypatch):
    """Would catch an error before the reader can name the image, or a key for a missing file."""
    monkeypatch.chdir(file.parent)
    assert file_keys([name, file, name])[[0, 2]].tolist() == [[0, 0], [0, 0]]


def test_keys_of_none_are_an_empty_array():
    assert file_keys([]).shape == (0, 2)


@pytest.mark.parametrize("n_bytes", [0, 1, 15, 16, 17, 31, 32, 33])
def test_a_broken_last_key_is_left_out(n_bytes):
    """Both sides of each boundary: a key of which a byte is missing must not count."""
    keys = as_keys(bytes(range(n_bytes)))
    assert keys.shape == (n_bytes // 16, 2)
    assert keys.tobytes() == bytes(range(n_bytes // 16 * 16))


# Few different halves, so that keys repeat, and share one half while the other differs.
KEYS = st.lists(st.tuples(*[st.sampled_from([0, 1, 2, 2**63, 2**64 - 1])] * 2), max_size=30)


@given(stored=KEYS, wanted=KEYS)
@example(stored=[(0, 0)], wanted=[(0, 0)])
@example(stored=[(1, 0), (1, 1), (1, 2), (2, 0)], wanted=[(1, 1), (1, 2), (2, 0)])
@example(stored=[(1, 0), (0, 0)], wanted=[(1, 0), (0, 0)])
@example(stored=[(1, 2), (1, 0), (1, 2)], wanted=[(1, 0), (1, 1), (1, 2)])
def test_keys_are_found_as_in_a_dict(stored, wanted):
    """Would catch a key found where it is not, one missed because another begins alike, and zeros,
    which stand for no key, found at all."""
    rows = match_keys(
        np.array(stored, dtype=np.uint64).reshape(-1, 2),
        np.array(wanted, dtype=np.uint64).reshape(-1, 2),
    )
    there = set(stored) - {(0, 0)}
    assert [row >= 0 for row in rows] == [one in there for one in wanted]
    assert all(stored[row] == one for row, one in zip(rows, wanted, strict=True) if row >= 0)


def test_one_key_among_a_million():
    """Would catch an index that is lost on the way back from the sorted keys."""
    stored = np.random.default_rng(0).integers(0, 2**64, (1_000_000, 2), dtype=np.uint64)
    chosen = np.array([999_999, 0, 123_456])
    np.testing.assert_array_equal(match_keys(stored, stored[chosen]), chosen)
    assert match_keys(stored, stored[:1] + np.uint64(1)).tolist() == [-1]
