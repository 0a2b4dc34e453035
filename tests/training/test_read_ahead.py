"""Images in a memory map: the next batch is read ahead, and nothing else changes."""

import mmap

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from sklearn_cnn import CNNClassifier
from sklearn_cnn.training import read_ahead
from sklearn_cnn.training.read_ahead import CAN_ADVISE, MappedRows

pytestmark = pytest.mark.skipif(not CAN_ADVISE, reason="a system without madvise")

N, SIDE = 40, 50  # 2,500 bytes an image: less than a page, and no multiple of one


@pytest.fixture
def images(tmp_path):
    """Images in a file of numpy.save, whose header shifts them."""
    path = tmp_path / "images.npy"
    rng = np.random.default_rng(0)
    np.save(path, rng.integers(0, 256, (N, SIDE, SIDE), dtype=np.uint8))
    return np.load(path, mmap_mode="r")


class Told:
    """Stands for a map, and notes what it is told."""

    def __init__(self):
        self.advice = []

    def madvise(self, *advice):
        self.advice.append(advice)


def test_whole_pages_around_each_row_by_hand():
    """Rows of 100 bytes from byte 4,090: the first lies in two pages."""
    told = Told()
    MappedRows(told, 4090, 100, 100).expect(np.array([40, 0]))
    page = mmap.PAGESIZE
    first = 4090 // page * page
    forty = 8090 // page * page
    assert told.advice == [
        (mmap.MADV_WILLNEED, first, 4190 - first),
        (mmap.MADV_WILLNEED, forty, 8190 - forty),
    ]


@pytest.mark.parametrize(
    ("view", "first", "step", "length"),
    [
        (lambda X: X, 0, 2500, 2500),
        (lambda X: X[3:], 7500, 2500, 2500),
        (lambda X: X[1::2], 2500, 5000, 2500),
        (lambda X: X[:, 2:10, 5:8], 105, 2500, 353),
        (lambda X: X.transpose(0, 2, 1)[..., None], 0, 2500, 2500),
        (lambda X: np.asarray(X).reshape(N, -1), 0, 2500, 2500),
    ],
)
def test_where_the_rows_of_a_view_lie(images, view, first, step, length):
    """Catches the rows of the whole map in place of those of a view."""
    whole = MappedRows.of(images)
    found = MappedRows.of(view(images))
    assert (found.first - whole.first, found.step, found.length) == (first, step, length)
    content = np.frombuffer(found.mapping, np.uint8)
    row = view(images)[1]
    start = found.first + found.step
    assert content[start] == row.flat[0]
    assert content[start + length - 1] == row.flat[-1]


@pytest.mark.parametrize(
    "view", [np.array, lambda X: X[::-1], lambda X: X.transpose(1, 0, 2), lambda X: X[:0]]
)
def test_what_is_not_rows_of_a_map_is_left_alone(images, view):
    assert MappedRows.of(view(images)) is None


def test_the_next_batch_is_expected_and_the_map_left_as_it_was(images, monkeypatch):
    """Each batch but the first of an epoch, once; the bits are those of an array."""
    expected, advised = [], []
    monkeypatch.setattr(
        MappedRows, "expect", lambda self, rows: expected.append(sorted(rows.tolist()))
    )

    class Noting(MappedRows):
        @property
        def mapping(self):
            told = Told()
            told.advice = advised
            return told

    find = MappedRows.of
    monkeypatch.setattr(
        read_ahead.MappedRows, "of", lambda array: Noting.__new__(Noting) if find(array) else None
    )
    make = CNNClassifier(4, dense_units=4, batch_size=15, max_epochs=2, random_state=0)
    y = np.arange(N) % 2
    mapped = make.fit(images, y).predict_proba(images)
    assert len(expected) == 4
    assert all(len(rows) == 13 for rows in expected)
    assert advised == [(mmap.MADV_RANDOM,), (mmap.MADV_NORMAL,)] * 2
    assert_array_equal(make.fit(np.array(images), y).predict_proba(images), mapped)
