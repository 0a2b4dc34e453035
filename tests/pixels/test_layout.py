"""Which axis is which: every layout that can be told, every one that cannot, and views of them."""

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sklearn_cnn.pixels.spec import (
    ImageSpec,
    normalise_image_shape,
    read_layout,
    to_channels_last,
)

LAST, FIRST = False, True
BOTH = "Pass data_format='channels_last' or data_format='channels_first'"


@pytest.mark.parametrize(
    ("image_shape", "expected"),
    [
        (None, None),
        ((1, 1), (1, 1, 1)),
        ((28, 20), (28, 20, 1)),
        ((28, 20, 3), (28, 20, 3)),
        ([28, 20, 3], (28, 20, 3)),
        (np.array([28, 20, 3]), (28, 20, 3)),
        ((8, 8, 13), (8, 8, 13)),
    ],
)
def test_image_shape_becomes_height_width_channels(image_shape, expected):
    """Would catch a lost or swapped side, and NumPy integers that stay NumPy's."""
    found = normalise_image_shape(image_shape)
    assert found == expected
    assert found is None or all(type(side) is int for side in found)


@pytest.mark.parametrize(
    "image_shape",
    [
        (),
        (8,),
        (8, 8, 3, 1),
        (0, 8),
        (8, 0, 3),
        (8, 8, 0),
        (-8, 8),
        (8.0, 8.0),
        ("8", "8"),
        (None, 8),
        (True, 8),
        np.array(8),
        np.array([8.0, 8.0]),
        np.ones((2, 2), int),
    ],
    ids=repr,
)
def test_invalid_image_shape_names_the_parameter_and_the_value(image_shape):
    """Would catch a raw error, or a silent reading, of a shape that is none."""
    text = (
        "image_shape must be (height, width) or (height, width, channels) in whole numbers of at "
        f"least 1. Got image_shape={image_shape!r}."
    )
    with pytest.raises(ValueError, match=f"^{re.escape(text)}$"):
        normalise_image_shape(image_shape)


@pytest.mark.parametrize(
    ("n_features", "expected"),
    [
        (1, (1, 1, 1)),
        (2, (1, 2, 1)),
        (3, (1, 3, 1)),
        (4, (2, 2, 1)),
        (5, (1, 5, 1)),
        (63, (1, 63, 1)),
        (64, (8, 8, 1)),
        (65, (1, 65, 1)),
        (784, (28, 28, 1)),
    ],
)
def test_rows_are_square_gray_images_or_single_rows(n_features, expected):
    """Would catch a square root that is off by one at a perfect square."""
    assert read_layout((10, n_features), None, "auto") == ImageSpec(expected, LAST)


@pytest.mark.parametrize(
    ("data_format", "channels_first"),
    [("auto", LAST), ("channels_last", LAST), ("channels_first", FIRST)],
)
def test_rows_take_the_image_shape_and_the_format(data_format, channels_first):
    """Would catch a format that is lost on rows, or "auto" that reads them channels first."""
    found = read_layout((10, 60), (4, 5, 3), data_format)
    assert found == ImageSpec((4, 5, 3), channels_first)


@pytest.mark.parametrize("n_features", [59, 61])
def test_rows_of_another_length_than_image_shape(n_features):
    """Would catch a reshape error where the message should do the sum."""
    text = (
        "image_shape=(4, 5, 3) needs 4 x 5 x 3 = 60 values per image, but X has "
        f"{n_features} features per row."
    )
    with pytest.raises(ValueError, match=re.escape(text)):
        read_layout((10, n_features), (4, 5, 3), "auto")


@pytest.mark.parametrize("data_format", ["auto", "channels_last", "channels_first"])
@pytest.mark.parametrize("image_shape", [None, (4, 5, 1)])
def test_three_axes_are_gray_images_in_any_format(data_format, image_shape):
    """Would catch a third axis of 3 or 4 that is taken for channels."""
    assert read_layout((10, 4, 5), image_shape, data_format) == ImageSpec((4, 5, 1), LAST)
    assert read_layout((10, 4, 3), None, data_format) == ImageSpec((4, 3, 1), LAST)


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((10, 28, 20, 1), ImageSpec((28, 20, 1), LAST)),
        ((10, 28, 20, 4), ImageSpec((28, 20, 4), LAST)),
        ((10, 5, 20, 4), ImageSpec((5, 20, 4), LAST)),
        ((10, 1, 28, 20), ImageSpec((28, 20, 1), FIRST)),
        ((10, 4, 28, 20), ImageSpec((28, 20, 4), FIRST)),
        ((10, 4, 28, 5), ImageSpec((28, 5, 4), FIRST)),
        ((10, 5, 1, 1), ImageSpec((5, 1, 1), LAST)),
        ((10, 1, 1, 5), ImageSpec((1, 5, 1), FIRST)),
        ((10, 1, 1, 1), ImageSpec((1, 1, 1), LAST)),
    ],
)
def test_auto_finds_the_axis_of_one_to_four(shape, expected):
    """Would catch a range of channel counts that ends at 3 or at 5."""
    assert read_layout(shape, None, "auto") == expected


@pytest.mark.parametrize(
    ("shape", "axes"),
    [
        ((10, 4, 28, 4), "its second axis (4) and its last (4) could both be the channels"),
        ((10, 1, 28, 3), "its second axis (1) and its last (3) could both be the channels"),
        ((10, 3, 3, 3), "its second axis (3) and its last (3) could both be the channels"),
        ((10, 5, 28, 5), "neither its second axis (5) nor its last (5) has length 1 to 4"),
        ((10, 8, 8, 8), "neither its second axis (8) nor its last (8) has length 1 to 4"),
    ],
)
def test_auto_refuses_what_can_be_read_twice_or_not_at_all(shape, axes):
    """Would catch a guess; the message must name the two axes and the way out."""
    text = f"The position of the channels in X.shape={shape} is ambiguous: {axes}. {BOTH}."
    with pytest.raises(ValueError, match=f"^{re.escape(text)}$"):
        read_layout(shape, None, "auto")


@pytest.mark.parametrize(
    "shape", [(10, 4, 28, 4), (10, 5, 28, 6), (10, 28, 20, 3), (10, 3, 28, 20)]
)
def test_data_format_decides_whatever_the_sides(shape):
    """Would catch a guess that overrules what the user said."""
    _, a, b, c = shape
    assert read_layout(shape, None, "channels_last") == ImageSpec((a, b, c), LAST)
    assert read_layout(shape, None, "channels_first") == ImageSpec((b, c, a), FIRST)


@pytest.mark.parametrize(
    ("shape", "image_shape", "expected"),
    [
        ((10, 4, 28, 4), (4, 28, 4), ImageSpec((4, 28, 4), LAST)),
        ((10, 4, 28, 4), (28, 4, 4), ImageSpec((28, 4, 4), FIRST)),
        ((10, 13, 28, 20), (28, 20, 13), ImageSpec((28, 20, 13), FIRST)),
        ((10, 28, 20, 13), (28, 20, 13), ImageSpec((28, 20, 13), LAST)),
    ],
)
def test_image_shape_settles_what_auto_cannot(shape, image_shape, expected):
    """Would catch an image_shape that is ignored where the layout is ambiguous."""
    assert read_layout(shape, image_shape, "auto") == expected


@pytest.mark.parametrize("side", [2, 3, 8])
def test_image_shape_cannot_tell_the_readings_of_a_cube_apart(side):
    """Would catch a guess between two readings that differ, since both have that shape."""
    with pytest.raises(ValueError, match="is ambiguous") as caught:
        read_layout((10, side, side, side), (side, side, side), "auto")
    assert BOTH in str(caught.value)
    assert read_layout((10, 1, 1, 1), (1, 1, 1), "auto") == ImageSpec((1, 1, 1), LAST)


@pytest.mark.parametrize(
    ("shape", "held"),
    [
        ((10, 8, 8), (8, 8, 1)),
        ((10, 8, 8, 3), (8, 8, 3)),
        ((10, 3, 8, 8), (8, 8, 3)),
        ((10, 32, 32, 1), (32, 32, 1)),
    ],
)
def test_images_of_another_shape_than_image_shape(shape, held):
    """Would catch "ambiguous" where the trouble is that image_shape is wrong."""
    text = f"image_shape=(32, 32, 3) was passed, but X.shape={shape} holds images of shape {held}"
    with pytest.raises(ValueError, match=re.escape(text)) as caught:
        read_layout(shape, (32, 32, 3), "auto")
    assert "Correct image_shape, or leave it as None" in str(caught.value)


@pytest.mark.parametrize("shape", [(10,), (10, 4, 8, 8, 3), (10, 2, 4, 8, 8, 3)])
def test_other_numbers_of_axes(shape):
    """Would catch videos that are read as something else."""
    text = f"Got {len(shape)} dimensions, X.shape={shape}. For videos"
    with pytest.raises(ValueError, match=re.escape(text)):
        read_layout(shape, None, "auto")


IMAGES = np.arange(2 * 4 * 5 * 3).reshape(2, 4, 5, 3)
CHANNELS_FIRST = np.ascontiguousarray(IMAGES.transpose(0, 3, 1, 2))


@pytest.mark.parametrize("seen_first", [LAST, FIRST])
@pytest.mark.parametrize("X", [IMAGES, CHANNELS_FIRST], ids=["NHWC", "NCHW"])
def test_predict_takes_either_layout_whatever_fit_saw(X, seen_first):
    """Would catch images that are only taken in the layout of fit."""
    np.testing.assert_array_equal(to_channels_last(X, ImageSpec((4, 5, 3), seen_first)), IMAGES)


def test_rows_are_read_in_the_order_seen_at_fit():
    """Would catch rows of a channels-first model that are read channels last."""
    last, first = IMAGES.reshape(2, 60), CHANNELS_FIRST.reshape(2, 60)
    np.testing.assert_array_equal(to_channels_last(last, ImageSpec((4, 5, 3), LAST)), IMAGES)
    np.testing.assert_array_equal(to_channels_last(first, ImageSpec((4, 5, 3), FIRST)), IMAGES)


def test_a_cube_is_read_as_at_fit():
    """Would catch 3 x 3 x 3 images read one way at fit and the other at predict."""
    cube = np.arange(27).reshape(1, 3, 3, 3)
    read_first = cube.transpose(0, 2, 3, 1)
    np.testing.assert_array_equal(to_channels_last(cube, ImageSpec((3, 3, 3), LAST)), cube)
    np.testing.assert_array_equal(to_channels_last(cube, ImageSpec((3, 3, 3), FIRST)), read_first)
    np.testing.assert_array_equal(
        to_channels_last(cube, ImageSpec((3, 3, 3), LAST), "channels_first"), read_first
    )


@pytest.mark.parametrize("shape", [(2, 20), (2, 4, 5), (2, 4, 5, 1), (2, 1, 4, 5)])
def test_gray_images_come_with_or_without_a_channel_axis(shape):
    """Would catch a gray model that takes only the number of axes seen at fit."""
    gray = np.arange(40).reshape(shape)
    found = to_channels_last(gray, ImageSpec((4, 5, 1)))
    np.testing.assert_array_equal(found, np.arange(40).reshape(2, 4, 5, 1))


@given(
    sides=st.tuples(*[st.integers(1, 6)] * 4),
    form=st.sampled_from(["NHWC", "NCHW", "rows", "rows first"]),
    order=st.sampled_from("CF"),
    dtype=st.sampled_from(["bool", "uint8", ">i2", "float16", "float64"]),
)
@settings(max_examples=50, deadline=None, derandomize=True)
def test_every_layout_is_viewed_without_a_copy(sides, form, order, dtype):
    """Would catch a copy of a large training set, a changed dtype, or a wrong transposition."""
    images = (np.arange(np.prod(sides)) % 120).reshape(sides).astype(dtype)
    first = form in ("NCHW", "rows first")
    given_as = images.transpose(0, 3, 1, 2) if first else images
    if form.startswith("rows"):
        given_as = given_as.reshape(len(images), -1)
    X = np.array(given_as, order=order)[::-1]
    X.flags.writeable = False
    data_format = "channels_first" if first else "channels_last"
    found = to_channels_last(X, ImageSpec(sides[1:], first), data_format)
    np.testing.assert_array_equal(found, images[::-1])
    assert np.shares_memory(found, X)
    assert found.dtype == X.dtype


@pytest.mark.parametrize(
    ("shape", "layout", "data_format", "hint"),
    [
        ((10, 4, 6, 3), ImageSpec((4, 5, 3)), "auto", ""),
        ((10, 4, 5, 1), ImageSpec((4, 5, 3)), "auto", ""),
        ((10, 5, 4, 3), ImageSpec((4, 5, 3)), "auto", ""),
        ((10, 4, 5), ImageSpec((4, 5, 3)), "auto", ""),
        ((10, 59), ImageSpec((4, 5, 3)), "auto", ""),
        ((10, 2, 4, 5, 3), ImageSpec((4, 5, 3)), "auto", ""),
        ((10, 3, 4, 5), ImageSpec((4, 5, 3)), "channels_last", "data_format='channels_last'"),
        ((10, 4, 5, 3), ImageSpec((4, 5, 3)), "channels_first", "data_format='channels_first'"),
        ((4, 5, 3), ImageSpec((4, 5, 3)), "auto", "pass X[np.newaxis]"),
        ((4, 5, 1), ImageSpec((4, 5, 1)), "auto", "pass X[np.newaxis]"),
        ((3, 4, 5), ImageSpec((4, 5, 3), FIRST), "auto", "pass X[np.newaxis]"),
    ],
)
def test_images_of_another_shape_than_at_fit(shape, layout, data_format, hint):
    """Would catch an error without expected and got, or without the way out where one is known."""
    text = f"expected {layout.shape} (height, width, channels), got X.shape={shape}."
    with pytest.raises(ValueError, match=re.escape(text)) as caught:
        to_channels_last(np.zeros(shape), layout, data_format)
    assert hint in str(caught.value)
    assert ("newaxis" in str(caught.value)) == ("newaxis" in hint)
