import re

import numpy as np
import pytest

from sklearn_cnn.files.framing import (
    Span,
    channels_last,
    find_levels,
    find_span,
    from_eight_bits,
    from_shares,
    to_shares,
)
from sklearn_cnn.files.options import ReadOptions


def read_options(dtype="uint8", value_range=None, mode="L"):
    return ReadOptions(2, 2, mode, "fit", (0, 0, 0), dtype, value_range)


def scale(values, white=None, **options):
    how = read_options(**options)
    plane = np.atleast_2d(values)
    return from_shares(to_shares(plane, find_levels(plane, how, white)), how.dtype)


def convert(values, given, white=None, **options):
    """Scale values of the type that is given."""
    pixels = scale(np.array(values, dtype=given), white, **options)
    assert pixels.dtype == options.get("dtype", "uint8")
    return pixels[0].tolist()


def to_eight_bits(values):
    return scale(values).reshape(np.shape(values))


def test_uint8_stays_as_it_is():
    """Would catch a copy of every image that is 8 bits already, or a scaling of dark ones."""
    pixels = np.array([0, 1, 254, 255], dtype=np.uint8)
    assert from_eight_bits(pixels, "uint8") is pixels
    assert convert(pixels, "uint8") == [0, 1, 254, 255]


def test_eight_bits_take_the_whole_range_of_other_types():
    """Would catch a white of 255 in uint16, beside files whose white is 65535."""
    pixels = np.array([0, 1, 254, 255], dtype=np.uint8)
    for wide, expected in (
        ("uint16", [0, 257, 65278, 65535]),
        ("float32", [0, 1 / 255, 254 / 255, 1]),
    ):
        values = from_eight_bits(pixels, wide)
        assert values.dtype == wide
        np.testing.assert_array_equal(values, np.array(expected, dtype=wide))
        assert convert(pixels, "uint8", dtype=wide) == values.tolist()


def test_every_uint16_survives():
    """Would catch a level of 16 bits that float32 does not hold apart from its neighbour."""
    values = np.arange(65536, dtype=np.uint16)
    np.testing.assert_array_equal(scale(values, dtype="uint16")[0], values)
    shares = scale(values, dtype="float32")[0]
    np.testing.assert_array_equal(shares, (values / 65535).astype(np.float32))
    assert shares[-1] == 1


def test_a_range_of_values_is_stretched_and_clipped():
    """Would catch Hounsfield units that wrap around, or a range that is not linear."""
    values = [-32768, -1001, -1000, 0, 1000, 2999, 3000, 32767]
    stretched = {"value_range": (-1000, 3000)}
    assert convert(values, "int16", **stretched) == [0, 0, 0, 64, 128, 255, 255, 255]
    deep = convert(values, "int16", dtype="uint16", **stretched)
    assert deep == [0, 0, 0, 16384, 32768, 65519, 65535, 65535]
    shares = convert(values, "int16", dtype="float32", **stretched)
    np.testing.assert_allclose(shares, [0, 0, 0, 0.25, 0.5, 0.99975, 1, 1])


@pytest.mark.parametrize(
    ("dtype", "values"),
    [("uint32", [0, 2**31, 2**32 - 1]), ("float64", [0, 2**31, 2**32 - 1]), ("uint8", [0, 1, 2])],
)
def test_a_range_of_any_type(dtype, values):
    """Would catch integers of 32 bits that overflow, and eight bits that are left as they are."""
    assert convert(values, dtype, value_range=(0, values[2])) == [0, 128, 255]


def test_fractions_stay_as_they_are_in_float32():
    """Would catch fractions that are clipped to 0..1, or doubles that overflow."""
    assert convert([-1000, 0.5, 3000], "float64", dtype="float32") == [-1000, 0.5, 3000]
    for dtype, value in (("float64", 1e39), ("float32", np.inf), ("float32", -np.inf)):
        with pytest.raises(ValueError, match="its pixels hold infinity, or values too large"):
            scale(np.array([0, value], dtype=dtype), dtype="float32")


@pytest.mark.parametrize("options", [{}, {"dtype": "float32"}, {"value_range": (0, 9)}])
def test_nan_is_refused_whatever_is_asked_for(options):
    """Would catch NaN that passes a comparison, and becomes some level."""
    with pytest.raises(ValueError, match="its pixels hold NaN; replace it"):
        scale(np.array([0.5, np.nan]), **options)


def test_the_span_of_an_image():
    """Would catch a hot pixel, or a few dots on a plain ground, that hide what an image uses."""
    values = np.full((100, 100, 1), 500, dtype=np.uint16)
    assert find_span(values, 65535) is None
    values[0, 0] = 65535
    assert find_span(values, 65535) == Span(500, 65535, 65535)
    values[::2] = 530
    assert find_span(values, 65535) == Span(500, 530, 65535)
    values[:20] = 9000
    assert find_span(values, 65535) == Span(500, 9000, 65535)


def test_as_many_channels_as_the_mode_says():
    """Would catch bands that are taken for rows, or two channels read as gray."""
    assert channels_last(np.zeros((5, 6, 13)), read_options(mode=13)).shape == (5, 6, 13)
    assert channels_last(np.zeros((13, 5, 6)), read_options(mode=13)).shape == (5, 6, 13)
    assert channels_last(np.zeros((2, 5, 2)), read_options(mode=2)).shape == (2, 5, 2)
    assert channels_last(np.zeros((5, 6)), read_options(mode=1)).shape == (5, 6, 1)
    with pytest.raises(ValueError, match=r"with 13 channels$"):
        channels_last(np.zeros((5, 6, 3)), read_options(mode=13))
    with pytest.raises(ValueError, match=r"with 1, 3 or 4 channels; ImageReader\(mode=n\) reads n"):
        channels_last(np.zeros((5, 6, 13)), read_options())


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
        ([0, 256], "int64", "its int64 pixels range from 0 to 256, but 0 to 255 was expected"),
        ([-1, 255], "int16", "its int16 pixels range from -1 to 255, but 0 to 255 was expected"),
        ([0, 256], "uint32", "its uint32 pixels range from 0 to 256"),
        ([0, 1.0001], "float64", "its float64 pixels range from 0 to 1.0001, but 0 to 1 was"),
        ([-0.001, 1], "float32", "its float32 pixels range from -0.001 to 1"),
        ([0, 255], "float32", "its float32 pixels range from 0 to 255"),
        ([0.5, np.nan], "float64", "its pixels hold NaN"),
        ([0, np.inf], "float64", "its float64 pixels range from 0 to inf"),
        ([0, -np.inf], "float64", "its float64 pixels range from -inf to 0"),
    ],
)
def test_values_out_of_range_are_refused(values, dtype, text):
    """Would catch pixels that wrap around, and NaN that passes a comparison."""
    with pytest.raises(ValueError, match=re.escape(text)):
        convert(values, dtype)


@pytest.mark.parametrize("dtype", ["complex64", object, "U1", "M8[s]"])
def test_what_is_no_number_is_refused(dtype):
    """Would catch the real part of complex numbers, or an error of NumPy's."""
    with pytest.raises(TypeError, match="its pixels are not real numbers, but of dtype"):
        to_eight_bits(np.zeros((2, 2), dtype=dtype))


@pytest.mark.parametrize("dtype", ["uint16", ">u2", "int32"])
def test_a_known_white_of_twelve_bits(dtype):
    """Would catch a scanner's 12 bits that come out nearly black."""
    assert convert([0, 8, 9, 2047, 2048, 4095], dtype, 4095) == [0, 0, 1, 127, 128, 255]
    with pytest.raises(ValueError, match="range from 0 to 4096, but 0 to 4095 was expected"):
        convert([0, 4096], dtype, 4095)


def test_no_pixels_are_no_error():
    """Would catch the minimum of nothing."""
    assert to_eight_bits(np.empty((0, 3), dtype=np.float32)).shape == (0, 3)
