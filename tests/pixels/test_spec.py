"""ImageSpec: what is learnt of images, without an estimator, and what it says of later ones."""

from dataclasses import FrozenInstanceError, replace
from math import inf

import numpy as np
import pytest

from sklearn_cnn.pixels.arrays import check_images
from sklearn_cnn.pixels.spec import ImageSpec

COLOUR = np.arange(4 * 3 * 6 * 5, dtype="uint8").reshape(4, 3, 6, 5)


def learnt(X, rows=None):
    """What is learnt of training images, and of their range."""
    spec = ImageSpec.learn(X)
    return spec.widened(spec.view(X), rows)


def test_shape_order_and_range_are_learnt():
    """Would catch a spec that mixes up its fields, or numbers of NumPy that print as such."""
    spec = learnt(COLOUR)
    assert spec == ImageSpec((6, 5, 3), True, 0, 255, True)
    assert repr(spec) == (
        "ImageSpec(shape=(6, 5, 3), channels_first=True, low=0.0, high=255.0, whole=True)"
    )
    with pytest.raises(FrozenInstanceError):
        spec.low = 1


def test_rows_that_do_not_count_leave_the_range():
    """Would catch images of no weight that widen the range."""
    images = np.stack([np.full((4, 5), value) for value in (3.0, 0.5, 9.0)])
    spec = learnt(images, np.array([0, 2]))
    assert (spec.low, spec.high, spec.whole) == (3, 9, True)


def test_the_shape_alone_has_an_empty_range_until_it_is_widened():
    """Would catch a range that begins at 0, or a first one that is refused as a change."""
    first = ImageSpec.learn(COLOUR)
    assert first == ImageSpec((6, 5, 3), channels_first=True)
    assert (first.low, first.high) == (inf, -inf)
    spec = first.widened(first.view(COLOUR) / 255, None, "float32")
    assert (spec.low, spec.high, spec.whole) == (0, 1, False)
    assert spec == learnt(COLOUR / 255)


def test_further_images_widen_the_range_and_others_are_refused():
    """Would catch a training that goes on in another range, or a spec that changes in place."""
    spec = learnt(COLOUR // 2)
    wider = spec.widened(spec.view(COLOUR), None, "float32")
    assert (spec.high, wider.high) == (127, 255)
    with pytest.raises(ValueError, match="scale the training images as well"):
        wider.widened(wider.view(COLOUR / 255), None, "float32")
    with pytest.raises(ValueError, match="too large for dtype"):
        wider.widened(wider.view(COLOUR * 1e300), None, "float32")


def test_read_checks_the_range_and_view_does_not():
    """Would catch a view that reads all pixels, or a range that nobody checks."""
    spec = learnt(COLOUR)
    np.testing.assert_array_equal(spec.view(COLOUR / 255), COLOUR.transpose(0, 2, 3, 1) / 255)
    with pytest.raises(ValueError, match="The range of the pixels changed since fit"):
        spec.read(COLOUR / 255)
    assert np.shares_memory(spec.read(COLOUR), COLOUR)
    large = replace(spec, high=255e38)
    assert large.read(COLOUR * 1e38, dtype="float64").shape == (4, 6, 5, 3)
    with pytest.raises(ValueError, match="too large for dtype"):
        large.read(COLOUR * 1e38)


def test_checked_images_are_not_checked_again():
    """Would catch a second pass over a large array, or names of columns that are lost."""
    images = check_images(COLOUR)
    assert images.values is COLOUR
    assert check_images(images) is images
    assert learnt(images) == learnt(COLOUR)


def test_a_single_image_is_told_from_rows_by_the_shape_at_fit():
    """Would catch words about features alone, where the batch axis is missing."""
    spec = ImageSpec.learn(np.zeros((2, 4, 5)))
    with pytest.raises(ValueError, match=r"is expecting 20 features as input.*X\[np.newaxis\]"):
        spec.view(np.zeros((4, 5)))


@pytest.mark.parametrize("method", [ImageSpec.learn, ImageSpec((6, 5, 3)).read])
def test_other_data_formats_are_refused(method):
    """Would catch a name of another library that is read as "auto"."""
    with pytest.raises(ValueError, match=r"data_format must be one of.*mean 'channels_first'"):
        method(COLOUR, data_format="NCHW")
