import re

import numpy as np
import pytest

from sklearn_cnn.images.eight_bits import to_eight_bits


def convert(values, dtype, largest=None):
    pixels = to_eight_bits(np.array(values, dtype=dtype), largest)
    assert pixels.dtype == np.uint8
    return pixels.tolist()


def test_uint8_stays_as_it_is():
    """Would catch a copy of every image that is 8 bits already, or a scaling of dark ones."""
    pixels = np.array([0, 1, 254, 255], dtype=np.uint8)
    assert to_eight_bits(pixels) is pixels


@pytest.mark.parametrize("dtype", ["<u2", ">u2"])
def test_uint16_is_scaled_and_rounded_to_the_nearest(dtype):
    """Would catch clipping, the high byte alone, and another order of bytes taken for 8 bits."""
    values = [0, 128, 129, 257, 385, 386, 32767, 32768, 65406, 65407, 65535]
    assert convert(values, dtype) == [0, 0, 1, 1, 1, 2, 127, 128, 254, 255, 255]


def test_every_uint16_is_the_nearest_level():
    """Would catch an overflow somewhere within the range."""
    values = np.arange(65536, dtype=np.uint16)
    np.testing.assert_array_equal(to_eight_bits(values), np.rint(values / 257))


def test_bool_is_black_and_white():
    """Would catch True as the darkest gray."""
    assert convert([False, True], bool) == [0, 255]


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", ">f4", "longdouble"])
def test_fractions_run_from_0_to_1(dtype):
    """Would catch fractions that are cut off instead of rounded, at both ends of the range."""
    assert convert([0, -0.0, 0.25, 0.75, 0.999, 1], dtype) == [0, 0, 64, 191, 255, 255]


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_every_level_survives_a_way_through_fractions(dtype):
    """Would catch levels that shift by one on the way uint8 / 255 and back."""
    levels = np.arange(256, dtype=np.uint8)
    np.testing.assert_array_equal(to_eight_bits((levels / 255).astype(dtype)), levels)


@pytest.mark.parametrize("dtype", ["int8", "int16", "int32", "int64", "uint32", "uint64"])
def test_other_integers_are_levels_already(dtype):
    """Would catch 0 to 255 in a wider type that is scaled down to black."""
    highest = min(255, np.iinfo(dtype).max)
    assert convert([0, 1, highest], dtype) == [0, 1, highest]


@pytest.mark.parametrize(
    ("values", "dtype", "text"),
    [
        ([0, 256], "int64", "its int64 pixels run from 0 to 256, and 0 to 255 was expected"),
        ([-1, 255], "int16", "its int16 pixels run from -1 to 255, and 0 to 255 was expected"),
        ([0, 256], "uint32", "its uint32 pixels run from 0 to 256"),
        ([0, 1.0001], "float64", "its float64 pixels run from 0 to 1.0001, and 0 to 1 was"),
        ([-0.001, 1], "float32", "its float32 pixels run from -0.001 to 1"),
        ([0, 255], "float32", "its float32 pixels run from 0 to 255"),
        ([0.5, np.nan], "float64", "its float64 pixels run from nan to nan"),
        ([0, np.inf], "float64", "its float64 pixels run from 0 to inf"),
        ([0, -np.inf], "float64", "its float64 pixels run from -inf to 0"),
    ],
)
def test_values_out_of_range_are_refused(values, dtype, text):
    """Would catch pixels that wrap around, and NaN that passes a comparison."""
    with pytest.raises(ValueError, match=re.escape(text)):
        convert(values, dtype)


@pytest.mark.parametrize("dtype", ["complex64", object, "U1", "M8[s]"])
def test_what_is_no_number_is_refused(dtype):
    """Would catch the real part of complex numbers, or an error of NumPy's."""
    with pytest.raises(TypeError, match="its pixels are no real numbers, but of dtype"):
        to_eight_bits(np.zeros((2, 2), dtype=dtype))


@pytest.mark.parametrize("dtype", ["uint16", ">u2", "int32"])
def test_a_known_white_of_twelve_bits(dtype):
    """Would catch a scanner's 12 bits that come out nearly black."""
    assert convert([0, 8, 9, 2047, 2048, 4095], dtype, 4095) == [0, 0, 1, 127, 128, 255]
    with pytest.raises(ValueError, match="run from 0 to 4096, and 0 to 4095 was expected"):
        convert([0, 4096], dtype, 4095)


def test_no_pixels_are_no_error():
    """Would catch the minimum of nothing."""
    assert to_eight_bits(np.empty((0, 3), dtype=np.float32)).shape == (0, 3)
