import os
import re
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from scipy.sparse import csr_array
from sklearn.utils import Bunch

from sklearn_cnn.files.options import ReadOptions
from sklearn_cnn.files.sources import list_sources, name_source

PATHS = ["b.png", "a.png"]
IMAGE = Image.new("L", (3, 2))
PIXELS = np.arange(6, dtype=np.uint8).reshape(2, 3)
listed = partial(list_sources, options=ReadOptions(4, 4, "L", "fit", (0, 0, 0)))


@pytest.mark.parametrize(
    "X",
    [
        PATHS,
        tuple(PATHS),
        np.array(PATHS),
        np.array(PATHS, dtype=object),
        np.array(PATHS)[:, None],
        np.array(PATHS, dtype=object)[:, None],
        pd.Series(PATHS, index=[7, 3]),
        pd.Series(PATHS, dtype="string"),
        pd.Series(PATHS, dtype="category"),
        pd.DataFrame({"path": PATHS}, index=[7, 3]),
    ],
    ids=lambda X: type(X).__name__,
)
def test_paths_in_any_container(X):
    """Would catch paths that are sorted, looked up by label, or left as NumPy's strings."""
    sources = listed(X)
    assert sources == PATHS
    assert all(type(source) is str for source in sources)


def test_all_kinds_of_sources_may_be_mixed():
    """Would catch a kind that is refused beside another, and contents that stay mutable."""
    X = [Path("a.png"), "a.png", b"content", bytearray(b"c"), memoryview(b"d"), IMAGE, PIXELS]
    expected = [Path("a.png"), "a.png", b"content", b"c", b"d", IMAGE, PIXELS]
    for given, source in zip(expected, listed(X), strict=True):
        assert source is given or source == given
        assert type(source) is type(given)


@pytest.mark.parametrize(
    "X",
    [
        np.stack([PIXELS, PIXELS]),
        [PIXELS, PIXELS],
        [PIXELS.tolist(), PIXELS.tolist()],
        (tuple(map(tuple, PIXELS.tolist())),) * 2,
        torch.tensor(np.stack([PIXELS, PIXELS])),
        [torch.tensor(PIXELS), torch.tensor(PIXELS)],
        np.array([None, PIXELS, PIXELS], dtype=object)[1:],
    ],
    ids=["array", "list", "nested list", "nested tuple", "tensor", "list of tensors", "objects"],
)
def test_pixels_in_any_container(X):
    """Would catch a batch that is taken for one image, or tensors that Pillow has to read."""
    sources = listed(X)
    assert len(sources) == 2
    for source in sources:
        assert isinstance(source, np.ndarray)
        np.testing.assert_array_equal(source, PIXELS)


def test_images_of_several_sizes():
    """Would catch a list that is stacked to one array."""
    assert [source.shape for source in listed([PIXELS, PIXELS.T])] == [(2, 3), (3, 2)]


def test_a_batch_in_colour():
    assert [source.shape for source in listed(np.zeros((4, 5, 6, 3)))] == [(5, 6, 3)] * 4


def test_contents_in_an_array_keep_their_length():
    """Would catch the zeros at the end of a file, which NumPy drops."""
    contents = [b"ends\0\0", b"longer\0"]
    assert listed(np.array(contents, dtype=object)) == contents
    assert [len(content) for content in listed(np.array([b"abc\0", b"ab\0\0"]))] == [4, 4]


@pytest.mark.parametrize(
    ("X", "error", "text"),
    [
        (
            "a.png",
            TypeError,
            "Got the single path 'a.png'. Pass it in a list, or, if it is a folder",
        ),
        (Path("a.png"), TypeError, "Got the single path 'a.png'. Pass it in a list"),
        (b"abc", TypeError, "Got a single one. Pass [b'abc']."),
        (bytearray(b"abc"), TypeError, "Got a single one. Pass [bytearray(b'abc')]."),
        (IMAGE, TypeError, "X must be a collection of images. Got a single one. Pass ["),
        (Bunch(data=PATHS), TypeError, "Got Bunch. Pass its .data."),
        ({"a": 1}, TypeError, "X must be a collection of images. Got dict."),
        (None, TypeError, "X must be a list or an array of paths (str or pathlib.Path), contents"),
        (7, TypeError, "Got int."),
        (iter(PATHS), TypeError, "Got list_iterator."),
        (set(PATHS), TypeError, "Got set."),
        (csr_array((2, 3)), TypeError, "X must be "),
        ([], ValueError, "X is empty. It must hold at least one image or path."),
        (np.array([], dtype=str), ValueError, "X is empty"),
        (np.zeros((0, 2, 3)), ValueError, "X is empty"),
        (pd.Series([], dtype=object), ValueError, "X is empty"),
        (PIXELS, ValueError, "Got X.shape=(2, 3), dtype uint8."),
        (np.zeros(3), ValueError, "Got X.shape=(3,), dtype float64."),
        (np.zeros((1, 2, 3, 4, 1)), ValueError, "Got X.shape=(1, 2, 3, 4, 1), dtype float64."),
        (np.array([PATHS, PATHS]), ValueError, "Got X.shape=(2, 2), dtype <U5."),
        (np.array("a.png"), ValueError, "Got X.shape=(), dtype <U5."),
        ([*PATHS, None], TypeError, "X[2] is None. X must hold paths (str or pathlib.Path)"),
        ([*PATHS, 3], TypeError, "X[2] is 3. X must hold paths"),
        (pd.Series([*PATHS, np.nan]), TypeError, "X[2] is nan."),
        ([PATHS], TypeError, "X[0] is ['b.png', 'a.png']."),
        ([[]], TypeError, "X[0] is []."),
        ([{"path": "a.png" * 20}], TypeError, "X[0] is dict {'path': 'a.pnga.pnga.pnga.png...."),
        ([[[1, 2], [3]]], ValueError, "X[0] has rows of different lengths."),
        (
            pd.DataFrame({"path": PATHS, "label": [0, 1]}),
            ValueError,
            "X must be a DataFrame with one column, of paths. Got 2 columns ('path', 'label'). "
            "Select one with X[['path']]",
        ),
    ],
    ids=lambda value: None if isinstance(value, str) else "",
)
def test_what_is_no_collection_of_images(X, error, text):
    """Would catch an error from within that does not say what to pass instead."""
    with pytest.raises(error, match=re.escape(text)):
        listed(X)


def test_nothing_is_opened(tmp_path):
    """Would catch a fit that reads files: those here do not exist."""
    assert listed([tmp_path / "missing.png"]) == [tmp_path / "missing.png"]


def test_names_of_sources():
    """Would catch a whole file, or all pixels, printed in an error."""
    assert name_source("folder/a.png", 3) == "'folder/a.png'"
    assert name_source(Path("folder", "a.png"), 3) == repr(os.path.join("folder", "a.png"))
    assert name_source("a\nb", 0) == r"'a\nb'"
    assert name_source(b"content", 3) == "X[3] (bytes)"
    assert name_source(IMAGE, 4) == "X[4] (Image)"
    assert name_source(PIXELS, 5) == "X[5] (ndarray)"


@pytest.mark.parametrize("shape", [(9, 9, 3), (480, 640, 4)])
def test_one_colour_image_is_not_taken_for_many_gray_ones(shape):
    """Would catch 480 answers for one photograph; both sides: gray images stay a batch."""
    with pytest.raises(ValueError, match=r"shape of one colour image.*Pass X\[np.newaxis\]"):
        listed(np.zeros(shape, np.uint8))
    assert len(listed(np.zeros((1, *shape), np.uint8))) == 1
    assert len(listed(np.zeros((3, 9, 9), np.uint8))) == 3
    assert len(listed(list(np.zeros(shape, np.uint8)))) == shape[0]


def test_pixels_out_of_range_of_a_batch_are_one_error():
    """Would catch a line for each of 60,000 images."""
    with pytest.raises(ValueError, match="X cannot be read: its float64 pixels range from 0 to"):
        listed(np.linspace(0, 255, 2 * 8 * 8).reshape(2, 8, 8))
    assert len(listed(np.linspace(0, 1, 2 * 8 * 8).reshape(2, 8, 8))) == 2
