"""Batches: sizes, order, dtypes that torch lacks, and an input that is never copied or written."""

import tracemalloc

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal

from sklearn_cnn.training.examples import Examples, IndexedBatches, as_pixels

SIZE = 4


def dataset(images, rows=None):
    rows = np.arange(len(images)) if rows is None else rows
    return Examples(images, rows, np.arange(len(rows)), np.linspace(1, 2, len(rows)))


def numbered(n):
    """n images of one pixel that holds the image's number."""
    return np.arange(n, dtype=np.int32).reshape(n, 1, 1, 1)


@pytest.mark.parametrize(
    ("n", "sizes"),
    [
        (1, [1]),
        (3, [3]),
        (4, [4]),
        (5, [3, 2]),
        (11, [4, 4, 3]),
        (12, [4, 4, 4]),
        (13, [4, 3, 3, 3]),
    ],
)
@pytest.mark.parametrize("seed", [None, 0])
def test_batches_are_of_nearly_equal_size(n, sizes, seed):
    """n = k*b - 1, k*b, k*b + 1 for b = 4. Catches a last batch of a single image."""
    order = None if seed is None else np.random.default_rng(seed).permutation
    batches = IndexedBatches(dataset(numbered(n)), SIZE, order)
    assert len(batches) == len(sizes)
    assert [len(targets) for _, targets in batches] == sizes


@pytest.mark.parametrize("n", [1, 11, 12, 13])
def test_every_row_comes_once_an_epoch_with_its_label_and_weight(n):
    """Catches drawing with replacement, dropped remainders, and labels of other images."""
    batches = IndexedBatches(dataset(numbered(n)), SIZE, np.random.default_rng(0).permutation)
    for _ in range(3):
        seen = []
        for inputs, targets in batches:
            assert_array_equal(inputs["images"].ravel(), targets)
            weights = np.linspace(1, 2, n)[targets]
            assert_array_equal(inputs["sample_weight"], weights)
            seen += targets.tolist()
        assert sorted(seen) == list(range(n))


def order_of(batches):
    return [int(target) for _, targets in batches for target in targets]


def test_the_order_differs_between_epochs_and_repeats_with_the_seed():
    """Catches one permutation used for all epochs, and a generator that nobody seeded."""
    first = IndexedBatches(dataset(numbered(20)), SIZE, np.random.default_rng(5).permutation)
    again = IndexedBatches(dataset(numbered(20)), SIZE, np.random.default_rng(5).permutation)
    epochs = [order_of(first) for _ in range(3)]
    assert epochs[0] != epochs[1] != epochs[2] != epochs[0]
    assert epochs == [order_of(again) for _ in range(3)]
    assert epochs[0] == np.random.default_rng(5).permutation(20).tolist()


def test_without_an_order_it_is_that_of_the_data():
    batches = IndexedBatches(dataset(numbered(9)), SIZE)
    assert order_of(batches) == order_of(batches) == list(range(9))


def test_rows_choose_images_and_targets_follow_rows():
    """Catches targets looked up by image number rather than by position among the rows."""
    (inputs, targets), *_ = IndexedBatches(dataset(numbered(50), np.array([40, 3, 7])), SIZE)
    assert inputs["images"].ravel().tolist() == [40, 3, 7]
    assert targets.tolist() == [0, 1, 2]


def test_axes_go_from_channels_last_to_channels_first():
    """One value by hand. Catches a reshape in place of a permutation."""
    images = np.arange(2 * 3 * 4 * 2, dtype=np.uint8).reshape(2, 3, 4, 2)
    pixels = as_pixels(images)
    assert pixels.shape == (2, 2, 3, 4)
    assert pixels[1, 1, 2, 3] == images[1, 2, 3, 1] == 47


@pytest.mark.parametrize(
    ("dtype", "wider"),
    [
        ("bool", torch.bool),
        ("uint8", torch.uint8),
        ("int8", torch.int8),
        ("int16", torch.int16),
        ("uint16", torch.int32),
        ("int32", torch.int32),
        ("uint32", torch.int64),
        ("int64", torch.int64),
        ("uint64", torch.float64),
        ("float16", torch.float16),
        ("float32", torch.float32),
        ("float64", torch.float64),
        ("longdouble", torch.float64),
        (">u2", torch.int32),
        (">u4", torch.int64),
        (">i4", torch.int32),
        (">f4", torch.float32),
        (">f8", torch.float64),
    ],
)
def test_every_real_dtype_becomes_one_that_torch_computes_with(dtype, wider):
    """The type's largest value survives. Catches a wrap to negative, and swapped bytes."""
    dtype = np.dtype(dtype)
    largest = 1.5 if dtype.kind == "f" else 1 if dtype.kind == "b" else np.iinfo(dtype).max
    images = np.array([0, 1, largest], dtype=dtype).reshape(3, 1, 1, 1)
    (inputs, _), *_ = IndexedBatches(dataset(images), SIZE)
    pixels = inputs["images"]
    assert pixels.dtype == wider
    assert pixels.ravel().tolist() == [0, 1, float(largest) if dtype == "uint64" else largest]


RNG = np.random.default_rng(0)
BASE = RNG.integers(0, 255, (30, 5, 6, 3), dtype=np.uint8)
LAYOUTS = {
    "C order": BASE.copy(),
    "Fortran order": np.asfortranarray(BASE),
    "channels first seen channels last": BASE.transpose(0, 3, 1, 2).copy().transpose(0, 2, 3, 1),
    "negative strides": BASE[::-1, ::-1, ::-1, ::-1].copy()[::-1, ::-1, ::-1, ::-1],
    "every other row of a wider array": np.repeat(BASE, 2, axis=0)[::2],
    "broadcast": np.broadcast_to(BASE[:1], BASE.shape),
}


@pytest.mark.parametrize("name", LAYOUTS)
@pytest.mark.parametrize("make", [dataset, Examples.unlabelled])
def test_any_layout_gives_the_same_pixels_and_stays_as_it_was(name, make):
    """Read-only input too. Catches writes in place, and torch's refusal of negative strides."""
    images = LAYOUTS[name].view()
    images.flags.writeable = False
    before = images.copy()
    for start, (inputs, _) in zip(range(0, 30, 10), IndexedBatches(make(images), 10), strict=True):
        expected = images[start : start + 10].transpose(0, 3, 1, 2)
        assert_array_equal(inputs["images"], expected)
        inputs["images"].fill_(7)  # fresh memory: nothing of this reaches the input
    assert_array_equal(images, before)


BIG = np.zeros((500, 32, 32, 3), np.uint8)


@pytest.mark.parametrize(
    "images",
    [
        pytest.param(BIG, id="C order"),
        pytest.param(BIG.transpose(0, 3, 1, 2).copy().transpose(0, 2, 3, 1), id="channels first"),
        pytest.param(np.asfortranarray(BIG), id="Fortran order"),
        pytest.param(BIG[::-1], id="negative strides"),
        pytest.param(BIG.astype(">u2"), id="big-endian"),
    ],
)
@pytest.mark.parametrize("make", [dataset, Examples.unlabelled])
def test_a_batch_takes_the_memory_of_a_batch(images, make):
    """A batch is 1/50 of the images, so an epoch at its peak must hold far less than all.

    Catches a copy of the whole array for every batch, which ``np.take`` makes of an array that
    is not contiguous.
    """
    batches = IndexedBatches(make(images), 10, np.random.default_rng(0).permutation)
    share = images.nbytes / 4
    tracemalloc.start()
    try:
        for _ in batches:
            pass
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < share


def test_the_data_set_shares_the_images():
    assert np.shares_memory(dataset(BIG).images, BIG)
