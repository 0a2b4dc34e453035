"""Which value is white: what each type of pixels tells, and what cannot be told."""

import numpy as np
import pytest

from sklearn_cnn.pixels.white import find_white


def images_of(*values, dtype):
    """An image of two pixels for each pair of values."""
    return np.array(values, dtype=dtype).reshape(len(values), 1, 2, 1)


@pytest.mark.parametrize(
    ("images", "white"),
    [
        (images_of((0, 1), dtype="uint8"), 255),
        (images_of((0, 255), dtype="uint8"), 255),
        (images_of((False, True), dtype=bool), 1),
        (images_of((0, 255), dtype="int64"), 255),
        (images_of((0, 2), dtype="uint16"), 255),
        (images_of((0, 0), dtype="int32"), 255),
        (images_of((0, 255), dtype="float32"), 255),
        (images_of((0, 0), (0, 255), dtype="float64"), 255),
        (images_of((0, 1), dtype="float32"), 1),
        (images_of((0, 0), dtype="float16"), 1),
        (images_of((0.25, 0.5), dtype="float64"), 1),
        (images_of((-1e-6, 1 + 1e-6), dtype="float32"), 1),
    ],
)
def test_the_white_of_a_type_and_its_values(images, white):
    assert find_white(images) == white


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (images_of((0, 256), dtype="int64"), r"whole numbers from 0 to 256, in int64.*X / 65535"),
        (images_of((0, 65536), dtype="int64"), "Divide X by the value of white"),
        (images_of((0, 65535), dtype="uint16"), r"ImageReader\(dtype='uint8'\)"),
        (images_of((-1, 255), dtype="int64"), "before standardisation"),
        (images_of((-1, 1), dtype="float32"), r"before standardisation.*pass np\.clip\(X, 0, 1\)"),
        (
            images_of((-3, 250), dtype="float32"),
            r"np\.rint\(np\.clip\(X, 0, 255\)\)\.astype\('uint8'",
        ),
        (images_of((0, 1.001), dtype="float32"), r"above 1, pass np\.clip\(X, 0, 1\)"),
        (images_of((0, 1), (0, np.inf), dtype="float32"), r"to inf in X\[1\].*not finite"),
        (images_of((0, np.nan), dtype="float32"), r"nan in X\[0\].*not finite"),
        (images_of((0, 127.4), dtype="float32"), r"np\.rint\(X\)\.astype\('uint8'\)"),
        (images_of((0, 1.5), dtype="float32"), r"fractions from 0 to 1\.5"),
        (images_of((0, 300.5), dtype="float32"), "Divide X by the value of white"),
        (
            images_of((0, 0.5), (0, 255), dtype="float64"),
            r"X\[1\] holds whole.* but X\[0\] holds no value",
        ),
        (images_of((0, 3), (0, 2.5), dtype="float64"), r"fractions from 0 to 2\.5 in X\[1\]"),
    ],
)
def test_other_values_are_refused_with_the_remedy(images, message):
    with pytest.raises(ValueError, match=message):
        find_white(images)


def test_an_image_that_would_be_fractions_alone_is_refused_among_whole_numbers():
    images = images_of((0, 255), (0, 0), (0, 1), dtype="float32")

    with pytest.raises(
        ValueError, match=r"X\[0\] holds.*X\[2\] holds no value above 1.*X\.astype\('uint8'\)"
    ):
        find_white(images)
    with pytest.raises(ValueError, match=r"X\[2\]"):
        find_white(images, np.array([1, 0, 2]))
    assert find_white(images, np.array([0, 1])) == 255
    assert find_white(images.astype(np.int64)) == 255  # the type tells


def test_zeros_and_ones_in_whole_numbers_warn():
    with pytest.warns(UserWarning, match=r"pass X\.astype\(bool\)"):
        assert find_white(images_of((0, 1), dtype="int64")) == 255


def test_images_are_read_in_blocks(monkeypatch):
    monkeypatch.setattr("sklearn_cnn.pixels.scale.VALUES_AT_ONCE", 4)
    images = np.full((9, 1, 2, 1), 7.0)
    images[8] = 1

    with pytest.raises(ValueError, match=r"X\[0\] holds.*X\[8\] holds no value"):
        find_white(images)
    with pytest.raises(ValueError, match=r"fractions from 7 to 7\.5 in X\[7\]"):
        find_white(np.where(np.arange(18).reshape(9, 1, 2, 1) == 15, 7.5, 7.0))
