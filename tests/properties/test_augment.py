"""Any images, any steps: the same shape, the range never left, one map the sum of its parts."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sklearn_cnn import (
    CNNClassifier,
    RandomErasing,
    RandomFlip,
    RandomRotation,
    RandomShear,
    RandomShift,
    RandomZoom,
)
from sklearn_cnn.augment.transforms import BatchAugmentation

SETTINGS = settings(max_examples=60, deadline=None, derandomize=True)
CPU = torch.device("cpu")

SHARES = st.floats(0, 1)
FLIPS = st.builds(RandomFlip, st.sampled_from(["horizontal", "vertical", "both"]))
PARTS = st.floats(0, 0.9)
SHIFTS = st.builds(RandomShift, st.one_of(PARTS, st.tuples(PARTS, PARTS)))
ERASINGS = st.builds(RandomErasing, SHARES, st.tuples(SHARES, SHARES).map(sorted).map(tuple))
INTERPOLATED = st.one_of(
    st.builds(RandomZoom, PARTS),
    st.builds(RandomRotation, st.floats(0, 180)),
    st.builds(RandomShear, SHARES),
)
COPIED = st.lists(st.one_of(FLIPS, SHIFTS, ERASINGS), min_size=1, max_size=4)
ANY = st.lists(st.one_of(FLIPS, SHIFTS, ERASINGS, INTERPOLATED), min_size=1, max_size=5)

SHAPES = st.tuples(*(st.integers(1, most) for most in (6, 4, 11, 11)))
DTYPES = st.sampled_from(
    [
        torch.uint8,
        torch.bool,
        torch.int8,
        torch.int16,
        torch.int32,
        torch.int64,
        torch.float16,
        torch.float32,
        torch.float64,
    ]
)


def drawn(shape, dtype, seed):
    generator = torch.Generator().manual_seed(seed)
    low, high = (0, 2) if dtype in (torch.bool, torch.uint8) else (-100, 100)
    whole = torch.randint(low, high, shape, generator=generator)
    return (whole + 0.25).to(dtype) if dtype.is_floating_point else whole.to(dtype)


def augmented(steps, pixels, seed):
    augmentation = BatchAugmentation(steps, seed, CPU)
    return augmentation.finish(*augmentation.start(pixels))


@SETTINGS
@given(COPIED, SHAPES, DTYPES, st.integers(0, 99))
def test_flips_shifts_and_rectangles_keep_dtype_and_range(steps, shape, dtype, seed):
    """No value that is not between the least and the largest of its channel; X as it was.

    Catches whole numbers that wrap around, an edge that is padded, and a write in place.
    """
    pixels = drawn(shape, dtype, seed)
    before = pixels.clone()
    found = augmented(steps, pixels, seed)
    assert found.dtype == dtype
    assert found.shape == pixels.shape
    assert torch.equal(pixels, before)
    least, largest = (
        function(pixels.double(), dim=(2, 3), keepdim=True) for function in (torch.amin, torch.amax)
    )
    assert (found.double() >= least - 1e-4).all()
    assert (found.double() <= largest + 1e-4).all()
    if not any(isinstance(step, RandomErasing) for step in steps):
        for image, old in zip(found, pixels, strict=True):
            for channel, old_channel in zip(image, old, strict=True):
                assert set(channel.flatten().tolist()) <= set(old_channel.flatten().tolist())


@SETTINGS
@given(ANY, SHAPES, DTYPES, st.integers(0, 99))
def test_any_steps_keep_shape_and_range(steps, shape, dtype, seed):
    """Interpolation stays between the values around, up to rounding. Catches a blank border."""
    pixels = drawn(shape, dtype, seed)
    found = augmented(steps, pixels, seed)
    assert found.shape == pixels.shape
    least, largest = (
        function(pixels.double(), dim=(2, 3), keepdim=True) for function in (torch.amin, torch.amax)
    )
    assert (found.double() >= least - 1e-3).all()
    assert (found.double() <= largest + 1e-3).all()


@SETTINGS
@given(ANY, SHAPES, DTYPES, st.integers(0, 99), st.data())
def test_parts_of_a_batch_are_cut_out_of_the_whole(steps, shape, dtype, seed, data):
    """Bit for bit, wherever the cut is. Catches a draw, or a mean, that other images move."""
    pixels = drawn(shape, dtype, seed)
    whole, left = BatchAugmentation(steps, seed, CPU).start(pixels)
    cut = data.draw(st.integers(0, len(pixels)))
    parts = [
        BatchAugmentation.finish(whole[rows], left, rows)
        for rows in (slice(0, cut), slice(cut, None))
        if len(whole[rows])
    ]
    assert torch.equal(torch.cat(parts), augmented(steps, pixels, seed))


@SETTINGS
@given(ANY, st.integers(0, 99))
def test_an_even_image_stays_as_it_is(steps, seed):
    """Whatever is done to one colour. Catches weights of an interpolation that do not sum to 1."""
    pixels = torch.full((3, 2, 7, 6), 100.0)
    pixels[:, 1] = -3
    torch.testing.assert_close(augmented(steps, pixels, seed), pixels, rtol=1e-5, atol=1e-5)


@settings(max_examples=15, deadline=None, derandomize=True)
@given(
    ANY,
    st.integers(1, 9),
    st.integers(1, 9),
    st.sampled_from(["bool", "uint8", ">u2", "int64", "float16", ">f4", "float64"]),
)
def test_any_images_of_any_size_can_be_fitted_with_any_steps(steps, height, width, dtype):
    """The same model twice, and the bytes of X unchanged. Catches a raw error of torch's."""
    rng = np.random.default_rng(height * 10 + width)
    images = rng.integers(0, 2, (12, height, width)).astype(dtype)
    images.flags.writeable = False
    before = images.tobytes()
    model = CNNClassifier(2, dense_units=(), max_epochs=1, augment=steps, random_state=0)
    first = model.fit(images, np.arange(12) % 2).predict_proba(images)
    assert np.isfinite(first).all()
    np.testing.assert_array_equal(model.fit(images, np.arange(12) % 2).predict_proba(images), first)
    assert images.tobytes() == before
