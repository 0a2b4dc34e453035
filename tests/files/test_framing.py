import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sklearn_cnn.files.framing import Framing, frame_image
from sklearn_cnn.files.options import RESIZE_WAYS

SETTINGS = settings(max_examples=200, deadline=None, derandomize=True)
SIZES = st.tuples(st.integers(1, 70), st.integers(1, 70))


@pytest.mark.parametrize("resize", RESIZE_WAYS)
def test_an_image_of_the_frame_s_size_is_left_alone(resize):
    """Would catch an image that is resampled to its own size."""
    framing = frame_image((7, 5), (7, 5), resize)
    assert framing == Framing((0, 0, 7, 5), (7, 5), (0, 0))
    assert framing.only_cuts


@pytest.mark.parametrize(
    ("image", "frame", "box"),
    [
        ((8, 4), (2, 2), (2, 0, 6, 4)),
        ((4, 8), (2, 2), (0, 2, 4, 6)),
        ((8, 4), (4, 2), (0, 0, 8, 4)),
        ((7, 4), (4, 4), (1.5, 0, 5.5, 4)),
        ((2, 1), (4, 4), (0.5, 0, 1.5, 1)),
        ((1, 1), (4, 2), (0, 0.25, 1, 0.75)),
        ((1, 5000), (64, 64), (0, 2499.5, 1, 2500.5)),
        ((5000, 1), (64, 64), (2499.5, 0, 2500.5, 1)),
    ],
)
def test_fit_takes_the_middle_in_the_frame_s_proportions(image, frame, box):
    """Would catch width and height that are swapped, or margins that are rounded to pixels."""
    assert frame_image(image, frame, "fit") == Framing(box, frame, (0, 0))


@pytest.mark.parametrize(
    ("image", "frame", "box", "scaled", "offset"),
    [
        ((8, 6), (4, 2), (2, 2, 6, 4), (4, 2), (0, 0)),
        ((7, 4), (4, 4), (1, 0, 5, 4), (4, 4), (0, 0)),
        ((2, 3), (5, 4), (0, 0, 2, 3), (2, 3), (1, 0)),
        ((2, 9), (4, 4), (0, 2, 2, 6), (2, 4), (1, 0)),
        ((1, 5000), (64, 64), (0, 2468, 1, 2532), (1, 64), (31, 0)),
    ],
)
def test_crop_takes_whole_pixels_of_the_middle(image, frame, box, scaled, offset):
    """Would catch half pixels at odd margins, which resampling would blur."""
    framing = frame_image(image, frame, "crop")
    assert framing == Framing(box, scaled, offset)
    assert framing.only_cuts


@pytest.mark.parametrize(
    ("image", "frame", "scaled", "offset"),
    [
        ((8, 4), (4, 4), (4, 2), (0, 1)),
        ((4, 8), (4, 4), (2, 4), (1, 0)),
        ((8, 4), (4, 3), (4, 2), (0, 0)),
        ((4, 7), (10, 10), (6, 10), (2, 0)),
        ((7, 4), (10, 10), (10, 6), (0, 2)),
        ((7, 5), (3, 9), (3, 2), (0, 3)),
        ((2, 1), (6, 6), (6, 3), (0, 1)),
        ((4, 2), (2, 1), (2, 1), (0, 0)),
        ((1, 5000), (64, 64), (1, 64), (31, 0)),
        ((5000, 1), (64, 64), (64, 1), (0, 31)),
    ],
)
def test_pad_keeps_all_of_the_image(image, frame, scaled, offset):
    """Would catch a side of no pixels, and an image that is not in the middle."""
    width, height = image
    assert frame_image(image, frame, "pad") == Framing((0, 0, width, height), scaled, offset)


@pytest.mark.parametrize("image", [(9, 4), (1, 5000), (2, 2)])
def test_stretch_takes_all_and_fills_all(image):
    """Would catch proportions that are kept."""
    framing = frame_image(image, (6, 5), "stretch")
    assert framing == Framing((0, 0, *image), (6, 5), (0, 0))
    assert not framing.only_cuts


def test_only_whole_pixels_of_their_own_size_are_a_mere_cut():
    """Would catch a box of the right size that lies between the pixels, and is not blurred."""
    assert frame_image((8, 4), (4, 4), "fit").only_cuts
    assert not frame_image((7, 4), (4, 4), "fit").only_cuts
    assert not frame_image((4, 7), (4, 4), "fit").only_cuts
    assert not frame_image((8, 4), (2, 2), "fit").only_cuts


@SETTINGS
@given(image=SIZES, frame=SIZES, resize=st.sampled_from(RESIZE_WAYS))
@example(image=(1, 5000), frame=(64, 64), resize="pad")
def test_box_and_place_lie_within_image_and_frame(image, frame, resize):
    """Would catch a box beyond the image, which Pillow refuses, or an image beside its frame."""
    framing = frame_image(image, frame, resize)
    left, upper, right, lower = framing.box
    assert 0 <= left < right <= image[0]
    assert 0 <= upper < lower <= image[1]
    for side in range(2):
        before = framing.offset[side]
        after = frame[side] - framing.scaled[side] - before
        assert framing.scaled[side] >= 1
        assert before >= 0
        assert after - before in (0, 1)
    assert abs(left - (image[0] - right)) <= 1
    assert abs(upper - (image[1] - lower)) <= 1


@SETTINGS
@given(image=SIZES, frame=SIZES)
def test_fit_keeps_proportions_and_one_whole_side(image, frame):
    """Would catch an image that is distorted, or cut more than is needed."""
    left, upper, right, lower = frame_image(image, frame, "fit").box
    assert (right - left) * frame[1] == pytest.approx((lower - upper) * frame[0])
    touches = [right - left == pytest.approx(image[0]), lower - upper == pytest.approx(image[1])]
    assert any(touches)
