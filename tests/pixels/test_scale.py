"""The range of the pixels: what counts as which kind, and which changes are refused."""

import re
from contextlib import nullcontext

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sklearn_cnn.pixels import scale
from sklearn_cnn.pixels.scale import (
    PixelScale,
    check_representable,
    check_scale,
    read_scale,
    read_training_scale,
    row_blocks,
)


def image_of(*values, dtype="float64"):
    """One image, a row of gray pixels."""
    return np.array(values, dtype=dtype).reshape(1, 1, -1, 1)


def just_above(value):
    return np.nextafter(value, np.inf)


WHOLE = image_of(0, 7, 255)
UNIT = image_of(0, 0.5, 1)


@pytest.mark.parametrize(
    ("values", "dtype", "expected"),
    [
        ((0, 255), "uint8", PixelScale(0, 255, True)),
        ((0, 2), "uint8", PixelScale(0, 2, True)),
        ((0, 1), "uint8", PixelScale(0, 1, True)),
        ((0, 65535), "uint16", PixelScale(0, 65535, True)),
        ((0, 1), "bool", PixelScale(0, 1, True)),
        ((-1, 255), "int16", PixelScale(-1, 255, True)),
        ((0, 255), "float32", PixelScale(0, 255, True)),
        ((0, 2), "float64", PixelScale(0, 2, True)),
        ((0, 1.5), "float64", PixelScale(0, 1.5, False)),
        ((0.5, 255), "float64", PixelScale(0.5, 255, False)),
        ((0, 0.5, 1), "float64", PixelScale(0, 1, False)),
        ((0.25,), "float16", PixelScale(0.25, 0.25, False)),
        ((0, 1), "float64", PixelScale(0, 1, True)),
        ((0, 0), "float64", PixelScale(0, 0, True)),
        ((-0.5, 0.5), "float64", PixelScale(-0.5, 0.5, False)),
        ((-0.0, 0.5), "float64", PixelScale(0, 0.5, False)),
    ],
)
def test_kind_and_range(values, dtype, expected):
    """Would catch black and white images that count as fractions, or 0 to 16 that does not."""
    assert read_scale(image_of(*values, dtype=dtype)) == expected


def test_only_the_rows_asked_for_are_read():
    """Would catch images of zero weight that steer the range, and images past the first block."""
    X = np.zeros((500, 2, 2, 1))
    X[3], X[470] = 9, 0.5
    assert read_scale(X) == PixelScale(0, 9, False)
    assert read_scale(X, np.array([0, 3, 499])) == PixelScale(0, 9, True)
    assert read_scale(X, np.array([0, 470])) == PixelScale(0, 0.5, False)


@pytest.mark.parametrize(
    ("values", "unscaled"),
    [
        ((0, 255), True),
        ((0, 2), True),
        ((0, 1), False),
        ((0, 1.5), False),
        ((0, 10.0, 0.5), False),
        ((0, just_above(10.0)), True),
        ((-1, 10), False),
        ((-1, 11), True),
        ((-1, 100.0, 0.5), False),
        ((-1, just_above(100.0)), True),
    ],
)
def test_both_sides_of_unscaled(values, unscaled):
    """Would catch "<" where "<=" is meant."""
    assert read_scale(image_of(*values)).is_unscaled() == unscaled


def test_kind_and_range_in_words():
    """Would catch a range printed to sixteen digits."""
    assert read_scale(WHOLE).describe() == "whole numbers from 0 to 255"
    assert read_scale(image_of(0, 1 / 3)).describe() == "fractions from 0 to 0.3333"
    assert read_scale(image_of(-2.5, 2)).describe() == "fractions from -2.5 to 2"


@pytest.mark.parametrize(
    ("seen", "given", "text"),
    [
        (
            WHOLE,
            UNIT,
            "since fit, which saw whole numbers from 0 to 255: X[0] now holds fractions from 0 to "
            "1. Training and prediction need the same range. Do not scale X, or scale the training "
            "images as well.",
        ),
        (
            UNIT,
            WHOLE,
            "since fit, which saw fractions from 0 to 1: X[0] now holds whole numbers from 0 to "
            "255. Training and prediction need the same range. Scale X like the training images.",
        ),
        (WHOLE, image_of(-2.1, 2.6), "X[0] now holds fractions from -2.1 to 2.6. Training and"),
        (WHOLE, image_of(-25.4, 25.4), "X[0] now holds fractions from -25.4 to 25.4. Training and"),
        (image_of(-0.5, 0.5), WHOLE, "which saw fractions from -0.5 to 0.5: X[0] now holds whole"),
        (image_of(0.5, 254.5), UNIT, "which saw fractions from 0.5 to 254.5: X[0] now holds fract"),
        (UNIT, image_of(0.5, 254.5), "which saw fractions from 0 to 1: X[0] now holds fractions"),
        (image_of(0, 1), WHOLE, "which saw whole numbers from 0 to 1: X[0] now holds whole"),
        (image_of(-1, 1), WHOLE, "which saw whole numbers from -1 to 1: X[0] now holds whole"),
    ],
)
def test_a_change_between_whole_numbers_and_fractions_is_refused(seen, given, text):
    """Would catch silent nonsense at predict, and the two remedies the wrong way round."""
    with pytest.raises(ValueError, match=re.escape(text)):
        check_scale(given, read_training_scale(seen), "float32")


@pytest.mark.parametrize(
    ("seen", "given"),
    [
        (WHOLE, WHOLE),
        (WHOLE, image_of(0, 0)),
        (WHOLE, image_of(0, 1)),
        (WHOLE, image_of(0, 1000)),
        (WHOLE, image_of(0.5, 254.5)),
        (WHOLE, image_of(-1, 255)),
        (UNIT, UNIT),
        (UNIT, image_of(0, 0)),
        (UNIT, image_of(1, 1)),
        (UNIT, image_of(0, 1.5)),
        (WHOLE, image_of(-25.6, 25.5)),
        (image_of(-25.6, 25.5), WHOLE),
        (image_of(-2.1, 2.6), UNIT),
        (image_of(0, 1), UNIT),
        (image_of(-1, 1), UNIT),
    ],
)
def test_what_may_be_the_same_range_passes(seen, given):
    """Would catch a black image, an augmented one or a standardised one that is refused."""
    check_scale(given, read_training_scale(seen), "float32")


NOISE = np.random.default_rng(0)
PICTURES = NOISE.integers(0, 256, (20, 6, 6, 1), dtype=np.uint8)
HOUNSFIELD = NOISE.integers(-1000, 3001, (20, 6, 6, 1), dtype=np.int16)
DARK = NOISE.random((1, 6, 6, 1)) * 0.7  # a nearly black frame: fractions, of no more than a level


@pytest.mark.parametrize("seen", [PICTURES, PICTURES + 0.25], ids=["whole", "fractions"])
def test_the_answer_for_a_dark_frame_does_not_depend_on_its_neighbours(seen):
    """Would catch a nearly black frame that is refused alone, and accepted among others."""
    fitted = read_training_scale(seen)
    for frame in (DARK, DARK / 10, np.zeros_like(DARK), np.full_like(DARK, 0.4)):
        check_scale(np.concatenate([frame, PICTURES]), fitted, "float32")
        has_contrast = np.ptp(frame) > 0
        warns = pytest.warns(UserWarning, match="so dark that they may have been divided")
        with warns if has_contrast else nullcontext():
            check_scale(frame, fitted, "float32")


@pytest.mark.parametrize("at_once", [1, 36 * 4, 1 << 22])
def test_an_image_that_was_divided_is_refused_among_any_others(monkeypatch, at_once):
    """Would catch a scaled image that slips in among others, in a block of its own or not."""
    monkeypatch.setattr(scale, "VALUES_AT_ONCE", at_once)
    fitted = read_training_scale(PICTURES)
    mixed = np.concatenate([PICTURES, DARK, PICTURES[:1] / 255, PICTURES])
    with pytest.raises(ValueError, match=r"X\[21\] now holds fractions from 0"):
        check_scale(mixed, fitted, "float32")
    kept = np.flatnonzero(np.arange(len(mixed)) != 21)
    check_scale(mixed, fitted, "float32", kept)
    with pytest.raises(ValueError, match=r"X\[21\] now holds"):
        check_scale(mixed, fitted, "float32", np.arange(10, 30))


def test_levels_that_were_divided_are_known_in_dim_images():
    """Would catch a dim photograph of 0 to 0.6 that is taken for a dark one of 0 to 255."""
    fitted = read_training_scale(PICTURES)
    for dim in (np.minimum(PICTURES[:1], 150) / 255, np.float32(PICTURES[:1] // 3) / 255):
        with pytest.raises(ValueError, match="Do not scale X"):
            check_scale(dim, fitted, "float32")
    few_levels = np.mean([DARK > 0.1, DARK > 0.3, DARK > 0.5], axis=0) * 0.8  # a mean of frames
    with pytest.warns(UserWarning, match="so dark that they may have been divided"):
        check_scale(few_levels, fitted, "float32")


def test_images_like_one_seen_at_fit_pass():
    """Would catch training images that are refused when they are predicted."""
    seen = np.concatenate([PICTURES, PICTURES[:1] / 255, DARK])
    fitted = read_training_scale(seen)
    for images in (seen, seen[-2:-1], seen[-1:], PICTURES / 255):
        check_scale(images, fitted, "float32")


@pytest.mark.parametrize(
    "given",
    [DARK / 0.7, PICTURES / 255, PICTURES / 127.5 - 1, (PICTURES - 127.5) / 74],
    ids=["noise", "divided", "around zero", "standardised"],
)
def test_values_below_zero_at_fit_have_a_range_too(given):
    """Would catch Hounsfield units at fit, and 0 to 1 or around zero at predict; or the reverse."""
    with pytest.raises(ValueError, match="saw whole numbers from -999 to 2986: X"):
        check_scale(given, read_training_scale(HOUNSFIELD), "float32")
    with pytest.raises(ValueError, match="Scale X like the training images"):
        check_scale(HOUNSFIELD, read_training_scale(given), "float32")


@pytest.mark.parametrize(
    "given",
    [HOUNSFIELD[:1], HOUNSFIELD + 0.5, PICTURES, np.zeros_like(HOUNSFIELD), HOUNSFIELD / 30.0],
)
def test_part_of_a_range_with_values_below_zero_passes(given):
    """Would catch soft tissue refused, or a black slice."""
    check_scale(given, read_training_scale(HOUNSFIELD), "float32")


def test_values_far_beyond_those_seen_are_refused():
    """Would catch 16 bits at predict where fit saw 8; a single hot pixel may be."""
    fitted = read_training_scale(PICTURES)
    with pytest.raises(ValueError, match="holds whole numbers from"):
        check_scale(PICTURES.astype(np.uint16) * 257, fitted, "float32")
    hot = PICTURES[:1].astype(np.uint16)
    hot[0, 0, 0] = 65535
    check_scale(hot, fitted, "float32")


@pytest.mark.parametrize(("seen", "given"), [(PICTURES, PICTURES - 128.0), (UNIT, 2 * UNIT - 1)])
def test_values_below_zero_where_fit_saw_none_warn(seen, given):
    """Would catch a shift of the range without a word."""
    with pytest.warns(UserWarning, match="All images in X have values below 0, but those seen"):
        check_scale(given, read_training_scale(seen), "float32")


@pytest.mark.parametrize(
    "first",
    [np.zeros_like(PICTURES), np.zeros(DARK.shape), PICTURES // 50, PICTURES // 128, DARK],
    ids=["black", "black floats", "dim", "black and white", "dark floats"],
)
def test_a_narrow_first_batch_is_widened_by_later_ones(first):
    """Would catch partial_fit whose first batch is black, and which refuses all others."""
    fitted = read_training_scale(first)
    wider = fitted.widened(check_scale(PICTURES, fitted, "float32", to_train=True))
    assert (wider.low, wider.high) == (0, 255)
    check_scale(PICTURES, wider, "float32")
    with pytest.raises(ValueError, match="The range of the pixels changed"):
        check_scale(PICTURES / 255, wider, "float32", to_train=True)


def test_a_first_batch_of_0_to_1_is_not_widened_to_255():
    """Would catch a training that goes on with pixels of another scale."""
    with pytest.raises(ValueError, match="Scale X like the training images"):
        check_scale(PICTURES, read_training_scale(PICTURES / 255), "float32", to_train=True)


@given(
    n_rows=st.integers(0, 40),
    per_row=st.integers(0, 12),
    at_once=st.integers(1, 30),
)
@settings(max_examples=50, deadline=None, derandomize=True)
def test_blocks_cover_every_row_once_and_stay_small(n_rows, per_row, at_once):
    """Would catch a row lost or read twice at a block's edge, or a block of unbounded size."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scale, "VALUES_AT_ONCE", at_once)
        blocks = [range(n_rows)[block] for block in row_blocks(n_rows, per_row)]
    assert [row for block in blocks for row in block] == list(range(n_rows))
    assert all(len(block) * per_row <= at_once or len(block) == 1 for block in blocks)


@pytest.mark.parametrize("position", range(5))
def test_a_fraction_in_any_block_is_seen(monkeypatch, position):
    """Would catch a scan that stops after the first block or leaves out the last."""
    monkeypatch.setattr(scale, "VALUES_AT_ONCE", 2 * 4)
    X = np.full((5, 2, 2, 1), 9.0)
    assert read_scale(X) == PixelScale(9, 9, True)
    X[position, 1, 1, 0] = 8.5
    assert read_scale(X) == PixelScale(8.5, 9, False)


LARGEST32 = float(np.finfo("float32").max)
TEXT = "X contains infinity or a value too large for dtype('float32'), the dtype of the network"


@pytest.mark.parametrize("sign", [1, -1])
def test_both_sides_of_the_largest_float32(sign):
    """Would catch float64 pixels that turn into infinity, of either sign."""
    check_representable(read_scale(image_of(0, sign * LARGEST32)), "float32")
    with pytest.raises(ValueError, match=re.escape(TEXT)) as caught:
        check_representable(read_scale(image_of(0, sign * just_above(LARGEST32))), "float32")
    assert "the largest magnitude is 3.40282e+38. Scale the pixels down." in str(caught.value)


def test_a_wider_network_takes_what_a_narrower_one_refuses():
    """Would catch a limit that does not depend on the network's dtype."""
    check_representable(read_scale(image_of(1e300)), "float64")
    with pytest.raises(ValueError, match="largest magnitude is 1e\\+300"):
        check_representable(read_scale(image_of(1e300)), "float32")


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int64", "float16", "float32"])
def test_dtypes_that_always_fit_pass(dtype):
    """Would catch a check that fails on dtypes without a floating-point range."""
    check_representable(read_scale(image_of(0, 1, dtype=dtype)), "float32")
