"""Mean and standard deviation of each channel, against numbers worked out by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from sklearn_cnn.pixels import scale
from sklearn_cnn.pixels.scale import channel_statistics

EPS = float(np.finfo(np.float32).eps)


def all_of(images):
    """Statistics of all images, each counted once."""
    images = np.asarray(images)
    return channel_statistics(images, np.arange(len(images)), np.ones(len(images)))


def two_values(mean, spread):
    """Two gray images of one pixel each, ``spread`` below and above ``mean``."""
    return np.array([mean - spread, mean + spread]).reshape(2, 1, 1, 1)


def test_mean_and_standard_deviation_by_hand():
    """Would catch n - 1 for n, a variance for its root, and channels that are mixed."""
    images = np.array(
        [
            [[[1, 10], [2, 10]], [[3, 10], [4, 30]]],
            [[[5, 30], [6, 30]], [[7, 50], [8, 30]]],
        ]
    )
    # channel 0: 1 to 8, mean 36 / 8, squares about it 2 * (12.25 + 6.25 + 2.25 + 0.25) = 42
    # channel 1: mean 200 / 8, squares about it 3 * 225 + 4 * 25 + 625 = 1400
    mean, std = all_of(images)
    np.testing.assert_allclose(mean, [4.5, 25], rtol=1e-15)
    np.testing.assert_allclose(std, [5.25**0.5, 175**0.5], rtol=1e-15)


def test_weighted_by_hand():
    """Would catch weights that are not divided by their sum, or that count in one pass only."""
    images = np.array([0.0, 4.0, 100.0]).reshape(3, 1, 1, 1)
    # weights 3 and 1: mean 4 / 4 = 1, variance (3 * 1 + 1 * 9) / 4 = 3; the third does not count
    mean, std = channel_statistics(images, np.array([0, 1]), np.array([3.0, 1.0]))
    np.testing.assert_allclose(mean, [1], rtol=1e-15)
    np.testing.assert_allclose(std, [3**0.5], rtol=1e-15)


@given(counts=st.lists(st.integers(0, 3), min_size=4, max_size=4).filter(any))
@settings(max_examples=30, deadline=None, derandomize=True)
def test_weights_equal_repeated_images(counts):
    """Would catch a weight of 2 that is not the image given twice, or of 0 that counts."""
    images = np.random.default_rng(0).normal(7, 3, (4, 3, 2, 2))
    weighted = channel_statistics(images, np.arange(4), np.array(counts, float))
    repeated = all_of(images.repeat(counts, axis=0))
    np.testing.assert_allclose(weighted, repeated, rtol=1e-12)


@pytest.mark.parametrize("factor", [1e-6, 0.5, 1e6])
def test_only_the_proportion_of_weights_counts(factor):
    """Would catch statistics that move when all weights are multiplied."""
    images = np.random.default_rng(0).normal(7, 3, (4, 3, 2, 2))
    weights = np.array([1.0, 2.0, 3.0, 4.0])
    once = channel_statistics(images, np.arange(4), weights)
    scaled = channel_statistics(images, np.arange(4), factor * weights)
    np.testing.assert_allclose(scaled, once, rtol=1e-12)


@given(rows=st.lists(st.integers(0, 8), min_size=1, max_size=12), at_once=st.integers(1, 60))
@settings(max_examples=30, deadline=None, derandomize=True)
def test_rows_and_blocks_equal_numpy(rows, at_once):
    """Would catch rows left out at a block's edge, in any order and with repeats."""
    images = np.random.default_rng(1).normal(size=(9, 2, 3, 2))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scale, "VALUES_AT_ONCE", at_once)
        mean, std = channel_statistics(images, np.array(rows), np.ones(len(rows)))
    np.testing.assert_allclose(mean, images[rows].mean(axis=(0, 1, 2)), rtol=1e-9)
    np.testing.assert_allclose(std, images[rows].std(axis=(0, 1, 2)), rtol=1e-9)


@pytest.mark.parametrize("value", [0, 1, 0.1, -0.1, 255, 1e8])
def test_a_constant_channel_has_a_standard_deviation_of_one(value):
    """Would catch a division by zero, or by the rounding of a mean, in the first layer."""
    mean, std = all_of(np.full((10, 3, 3, 1), float(value)))
    np.testing.assert_allclose(mean, [value], rtol=1e-14)
    assert std == [1.0]


@pytest.mark.parametrize("mean", [1.0, -1.0, 2.0**20])
@pytest.mark.parametrize(("ratio", "constant"), [(0.5, True), (1, True), (1.5, False)])
def test_both_sides_of_what_float32_can_tell(mean, ratio, constant):
    """Would catch rounding that is blown up to a signal, or a faint signal that is dropped."""
    spread = ratio * EPS * abs(mean)
    _, std = all_of(two_values(mean, spread))
    assert std == [1.0 if constant else spread]


@pytest.mark.parametrize("spread", [1e-30, 1e-100, 1e-300])
def test_a_spread_can_be_divided_by_in_float32(spread):
    """Would catch a first layer that multiplies by infinity and makes the loss NaN."""
    _, std = all_of(two_values(0.0, spread))
    assert np.isfinite(np.float32(1 / std[0]))


def test_only_the_constant_channel_is_mended():
    """Would catch a test of all channels at once."""
    images = np.stack([np.full((2, 2, 2), 9.0), np.arange(8.0).reshape(2, 2, 2)], axis=-1)
    _, std = all_of(images)
    np.testing.assert_allclose(std, [1, 5.25**0.5], rtol=1e-15)


def test_two_passes_keep_the_digits_of_a_faint_signal():
    """Would catch the mean of squares less the square of the mean, which is all rounding here."""
    _, std = all_of(two_values(1e6, 1.0))
    np.testing.assert_allclose(std, [1], rtol=1e-12)


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int16", "float16", "float32", ">f8"])
def test_any_dtype_and_a_read_only_array(dtype):
    """Would catch sums that overflow in uint8 or float16, or a write into the images."""
    values = np.tile([0, 1], 5000).reshape(100, 10, 10, 1)
    images = (values * (1 if dtype == "bool" else 100)).astype(dtype)
    images.flags.writeable = False
    mean, std = all_of(images)
    half = 0.5 if dtype == "bool" else 50
    np.testing.assert_allclose([*mean, *std], [half, half], rtol=1e-12)
    assert mean.dtype == std.dtype == np.float64


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, bool])
@pytest.mark.parametrize("view", ["whole", "channels first", "some rows"])
def test_bytes_are_read_once_and_right(dtype, view):
    """Against numpy, with weights. Catches sums of rows or channels that are mixed up."""
    rng = np.random.default_rng(0)
    images = rng.integers(-100, 100, (50, 7, 9, 3))
    images = images > 0 if dtype is bool else images.astype(dtype)
    if view == "channels first":
        images = images.transpose(0, 3, 1, 2).copy().transpose(0, 2, 3, 1)
    rows = np.arange(50) if view != "some rows" else np.array([3, 3, 41, 7])
    weights = rng.uniform(0.1, 2, len(rows))
    mean, std = channel_statistics(images, rows, weights)
    values = images[rows].astype(float)
    spread = np.broadcast_to(weights[:, None, None, None], values.shape)
    expected = np.average(values, axis=(0, 1, 2), weights=spread)
    variance = np.average((values - expected) ** 2, axis=(0, 1, 2), weights=spread)
    assert_allclose(mean, expected, rtol=1e-13)
    assert_allclose(std, np.sqrt(variance), rtol=1e-10)


@pytest.mark.parametrize("value", [0, 1, 7, 200, 255])
def test_constant_bytes_have_no_spread(value):
    """And one pixel of a million that differs has. Catches a difference of two large squares."""
    images = np.full((4, 500, 500, 2), value, dtype=np.uint8)
    images[1, 3, 4, 1] ^= 1
    weights = np.array([0.3, 1.7, 0.9, 1.1])
    mean, std = channel_statistics(images, np.arange(4), weights)
    assert std[0] == 1
    share = 1.7 / 4 / 250_000
    assert_allclose(std[1], np.sqrt(share - share**2), rtol=1e-3)
    assert_allclose(mean, value, atol=1e-5)
