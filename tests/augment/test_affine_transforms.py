"""Affine transforms of images: sampled in their ranges, composed into one, applied by hand."""

from math import cos, pi, radians, sin

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from torch.nn import functional

from sklearn_cnn import RandomFlip, RandomRotation, RandomShear, RandomShift, RandomZoom
from sklearn_cnn.augment.transforms import AffineTransforms

IDENTITY = ((1, 0), (0, 1))
LEFT_RIGHT = ((1, 0), (0, -1))
TOP_BOTTOM = ((-1, 0), (0, 1))


def one_transform(matrix=IDENTITY, offset=(0, 0), is_whole=True, n=1):
    """The same transform for n images; matrix and offset are in (row, column)."""
    return AffineTransforms(
        torch.tensor(matrix, dtype=torch.float32).repeat(n, 1, 1),
        torch.tensor(offset, dtype=torch.float32).repeat(n, 1),
        is_whole,
    )


def applied(transforms, rows, dtype=torch.float32):
    """Apply to one gray image given as a list of rows."""
    return transforms.apply(torch.tensor(rows, dtype=dtype)[None, None])[0, 0].tolist()


def sampled(step, n=2000, height=8, width=12, seed=0):
    return AffineTransforms.sample(step, (n, 1, height, width), torch.Generator().manual_seed(seed))


GRID = [[1, 2, 3], [4, 5, 6]]


@pytest.mark.parametrize("is_whole", [True, False])
@pytest.mark.parametrize(
    ("matrix", "offset", "expected"),
    [
        (IDENTITY, (0, 0), GRID),
        (LEFT_RIGHT, (0, 0), [[3, 2, 1], [6, 5, 4]]),
        (TOP_BOTTOM, (0, 0), [[4, 5, 6], [1, 2, 3]]),
        (((-1, 0), (0, -1)), (0, 0), [[6, 5, 4], [3, 2, 1]]),
        # a pixel comes from one column to the right: the last column is repeated
        (IDENTITY, (0, 1), [[2, 3, 3], [5, 6, 6]]),
        (IDENTITY, (0, -1), [[1, 1, 2], [4, 4, 5]]),
        (IDENTITY, (1, 0), [[4, 5, 6], [4, 5, 6]]),
        (IDENTITY, (-1, 2), [[3, 3, 3], [3, 3, 3]]),
        (IDENTITY, (-9, -9), [[1, 1, 1], [1, 1, 1]]),
        (IDENTITY, (9, 9), [[6, 6, 6], [6, 6, 6]]),
    ],
)
def test_flips_and_shifts_by_hand(matrix, offset, expected, is_whole):
    """An odd and an even side, both ways of resampling.

    Catches a centre that is half a pixel off, rows taken for columns, and an edge that is blank.
    """
    assert_allclose(applied(one_transform(matrix, offset, is_whole), GRID), expected, atol=1e-5)


@pytest.mark.parametrize("rows", [[[7]], [[1, 2]], [[1], [2]], [[1, 2, 3]], [[1], [2], [3]]])
@pytest.mark.parametrize("is_whole", [True, False])
def test_sides_of_one_pixel(rows, is_whole):
    """Catches a division by a side less one."""
    both = [row[::-1] for row in rows[::-1]]
    assert_allclose(
        applied(one_transform(((-1, 0), (0, -1)), (0, 0), is_whole), rows), both, atol=1e-6
    )
    corner = [[rows[-1][-1]] * len(rows[0])] * len(rows)
    assert_allclose(applied(one_transform(IDENTITY, (5, 5), is_whole), rows), corner)


@pytest.mark.parametrize("side", [2, 3, 4, 5, 8])
def test_quarter_turns_equal_numpys(side):
    """Old (row, column) = (-column, row) new turns clockwise. Catches a transposed sine."""
    image = np.random.default_rng(side).uniform(0, 1, (2, side, side)).astype(np.float32)
    pixels = torch.from_numpy(image)[None]
    for turns in range(-3, 5):
        angle = turns * pi / 2
        matrix = ((cos(angle), -sin(angle)), (sin(angle), cos(angle)))
        found = one_transform(matrix, is_whole=False).apply(pixels)[0]
        assert_allclose(found, np.rot90(image, -turns, axes=(1, 2)), atol=1e-5)


def test_a_quarter_turn_of_an_oblong_image_repeats_the_edges():
    """By hand: new (row, column) comes from old (-column, row), about the centre (0, 1).

    The outer columns come from one row above and below the image, whose only row stands in.
    Catches a turn in shares of the sides, which would squeeze the image.
    """
    quarter = ((0, -1), (1, 0))
    assert_allclose(applied(one_transform(quarter, is_whole=False), [[1, 2, 3]]), [[2, 2, 2]])
    # a column: the rows come from columns beside it, which repeat it; all from the middle row
    assert_allclose(
        applied(one_transform(quarter, is_whole=False), [[1], [2], [3]]), [[2], [2], [2]]
    )
    # 2 x 4 by hand: columns -1.5 .. 1.5 are rows 1.5 .. -1.5, cut at 0.5 and -0.5
    found = applied(one_transform(quarter, is_whole=False), [[1, 2, 3, 4], [5, 6, 7, 8]])
    assert_allclose(found, [[6, 6, 2, 2], [7, 7, 3, 3]], atol=1e-5)


def test_zoom_by_hand():
    """Twice as large: positions -1.5, -0.5, 0.5, 1.5 come from -0.75, -0.25, 0.25, 0.75.

    Catches a factor for its inverse, and a centre that is a corner.
    """
    half = one_transform(((0.5, 0), (0, 0.5)), is_whole=False)
    assert_allclose(applied(half, [[0, 10, 20, 30]]), [[7.5, 12.5, 17.5, 22.5]], atol=1e-5)
    double = one_transform(
        ((2, 0), (0, 2)), is_whole=False
    )  # -3, -1, 1, 3: the outer ones are edges
    assert_allclose(applied(double, [[0, 10, 20, 30]]), [[0, 5, 25, 30]], atol=1e-5)


def test_shear_by_hand():
    """Old column = column + 1 * row, about the centre: the top row moves right, the bottom left.

    Catches columns slanted in place of rows.
    """
    image = [[1, 2, 3], [4, 5, 6], [7, 8, 9]]
    sheared = one_transform(((1, 0), (1, 1)), is_whole=False)
    assert_allclose(applied(sheared, image), [[1, 1, 2], [4, 5, 6], [8, 9, 9]], atol=1e-5)


def test_interpolation_by_hand():
    """A quarter of a row down, half a column right, of the four pixels around."""
    moved = one_transform(IDENTITY, (0.25, 0.5), is_whole=False)
    # 0.75 * (1 + 3) / 2 + 0.25 * (5 + 9) / 2 = 1.5 + 1.75; the next column is at the edge
    assert_allclose(applied(moved, [[1, 3], [5, 9]]), [[3.25, 4.5], [7, 9]], atol=1e-5)


@pytest.mark.parametrize(
    "dtype",
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
    ],
)
def test_whole_pixels_keep_their_dtype_and_interpolated_ones_are_floats(dtype):
    """Catches uint8 pixels that are cut to whole numbers, and float64 that becomes float32."""
    pixels = torch.arange(2 * 3 * 2 * 3).reshape(2, 3, 2, 3).to(dtype)
    copied = one_transform(LEFT_RIGHT, n=2).apply(pixels)
    assert copied.dtype == dtype
    assert torch.equal(copied, pixels.flip(3))
    mixed = one_transform(LEFT_RIGHT, is_whole=False, n=2).apply(pixels)
    assert mixed.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    torch.testing.assert_close(mixed, pixels.flip(3).to(mixed.dtype), atol=1e-4, rtol=1e-5)


def test_extreme_whole_pixels_are_copied_exactly():
    """Catches values that go through float32, which holds no int64 and no float64 of this size."""
    for values in ([2**62 + 1, -(2**62) - 1], [2**31 - 1, -(2**31)]):
        assert applied(one_transform(LEFT_RIGHT), [values], torch.int64) == [values[::-1]]
    fine = [1 + 2**-52, 1e300]
    assert applied(one_transform(LEFT_RIGHT), [fine], torch.float64) == [fine[::-1]]


def test_each_image_has_its_own_map_and_all_its_channels_share_it():
    """Catches transforms of one image used for the batch, and channels drawn apart."""
    transforms = AffineTransforms(
        torch.tensor([IDENTITY, LEFT_RIGHT, IDENTITY], dtype=torch.float32),
        torch.tensor([[0.0, 0], [0, 0], [1, 0]]),
        True,
    )
    pixels = torch.randint(0, 256, (3, 2, 4, 5), dtype=torch.uint8)
    found = transforms.apply(pixels)
    assert torch.equal(found[0], pixels[0])
    assert torch.equal(found[1], pixels[1].flip(2))
    assert torch.equal(found[2], pixels[2, :, [1, 2, 3, 3]])


def test_the_pixels_are_not_written_to():
    pixels = torch.randint(0, 256, (2, 1, 3, 3), dtype=torch.uint8)
    before = pixels.clone()
    for whole in (True, False):
        one_transform(LEFT_RIGHT, (1, 1), whole, n=2).apply(pixels)
        assert torch.equal(pixels, before)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_the_layout_in_memory_does_not_matter(memory_format):
    """Catches a reshape that follows the memory."""
    pixels = torch.randint(0, 256, (4, 3, 5, 6), dtype=torch.uint8)
    laid = pixels.contiguous(memory_format=memory_format)
    for transforms in (sampled(RandomShift(0.5), 4, 5, 6), sampled(RandomRotation(90), 4, 5, 6)):
        assert torch.equal(transforms.apply(laid), transforms.apply(pixels))


GEOMETRIC = [
    RandomFlip(),
    RandomFlip("vertical"),
    RandomFlip("both"),
    RandomShift(0.25),
    RandomZoom(0.3),
    RandomRotation(40),
    RandomShear(0.5),
]


@pytest.mark.parametrize("later", GEOMETRIC, ids=repr)
@pytest.mark.parametrize("first", GEOMETRIC, ids=repr)
def test_one_transform_after_another_is_the_composed_one(first, later):
    """Positions by hand, for both orders. Catches a product of matrices the wrong way round."""
    one, two = sampled(first, 50, seed=1), sampled(later, 50, seed=2)
    both = one.then(two)
    new = torch.randn(50, 2, 1)
    between = two.matrix @ new + two.offset[:, :, None]
    old = one.matrix @ between + one.offset[:, :, None]
    torch.testing.assert_close(both.matrix @ new + both.offset[:, :, None], old)
    whole = [isinstance(step, RandomFlip | RandomShift) for step in (first, later)]
    assert both.is_whole == all(whole)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (4, 5), (7, 4)])
@pytest.mark.parametrize(
    "steps",
    [
        (RandomFlip(), RandomShift(0.5)),
        (RandomShift(0.5), RandomFlip()),
        (RandomFlip("vertical"), RandomShift((0.5, 0)), RandomFlip("both")),
        (RandomShift((0.5, 0)), RandomShift((0, 0.5))),
    ],
)
def test_whole_pixels_of_a_composed_transform_are_those_of_one_after_another(steps, height, width):
    """Bit for bit. Catches a flip after a shift that forgets that the shift now goes back."""
    pixels = torch.randint(0, 256, (200, 2, height, width), dtype=torch.uint8)
    transforms = [sampled(step, 200, height, width, seed) for seed, step in enumerate(steps)]
    in_turn, composed = pixels, transforms[0]
    for each in transforms:
        in_turn = each.apply(in_turn)
    for each in transforms[1:]:
        composed = composed.then(each)
    assert torch.equal(composed.apply(pixels), in_turn)


def test_a_shift_there_and_back_leaves_the_image_whole():
    """Composed first, resampled once: no edge is lost on the way, as it would be in two steps."""
    there = one_transform(IDENTITY, (0, 2))
    back = one_transform(IDENTITY, (0, -2))
    assert applied(there.then(back), [[1, 2, 3]]) == [[1, 2, 3]]


def test_flips_are_drawn_for_each_image_and_direction():
    """About half of 2,000: five standard deviations of a binomial are 112.

    Catches every image flipped alike, the wrong axis, and "both" as one draw for the two.
    """
    for direction, axes in (("horizontal", {1}), ("vertical", {0}), ("both", {0, 1})):
        transforms = sampled(RandomFlip(direction))
        assert not transforms.matrix[:, 0, 1].any()
        assert not transforms.matrix[:, 1, 0].any()
        assert not transforms.offset.any()
        for axis in (0, 1):
            signs = transforms.matrix[:, axis, axis]
            assert set(signs.tolist()) == ({-1, 1} if axis in axes else {1})
            if axis in axes:
                assert abs(int((signs < 0).sum()) - 1000) <= 112
    agree = (transforms.matrix[:, 0, 0] == transforms.matrix[:, 1, 1]).sum()
    assert abs(int(agree) - 1000) <= 112


@pytest.mark.parametrize(
    ("size", "height", "width", "most"),
    [
        (0.25, 8, 12, (2, 3)),
        (0.9, 3, 2, (3, 2)),  # 2.7 and 1.8
        (0.1, 8, 12, (1, 1)),  # 0.8 and 1.2
        (0.01, 8, 12, (1, 1)),  # up to one pixel
        (1e-9, 1, 1, (1, 1)),
        (0, 8, 12, (0, 0)),
        ((0, 0.5), 8, 12, (0, 6)),
        ((0.5, 0), 8, 12, (4, 0)),
        (0.2, 13, 7, (3, 1)),  # 2.6 and 1.4
    ],
)
def test_every_distance_comes_up_and_none_beyond(size, height, width, most):
    """Each as often as the others: five standard deviations of its count.

    Catches a largest distance that never comes, one too far, halves of pixels, and sides swapped.
    """
    transforms = sampled(RandomShift(size), 3000, height, width)
    assert torch.equal(transforms.matrix, torch.eye(2).repeat(3000, 1, 1))
    for axis, k in enumerate(most):
        values, counts = np.unique(transforms.offset[:, axis].numpy(), return_counts=True)
        assert_array_equal(values, np.arange(-k, k + 1))
        share = 1 / (2 * k + 1)
        assert abs(counts - 3000 * share).max() <= 5 * np.sqrt(3000 * share * (1 - share))
    if min(most) > 0:
        assert abs(np.corrcoef(transforms.offset.T)[0, 1]) < 0.1  # each axis has a draw of its own


def test_zooms_fill_their_range():
    """Scales from 0.7 to 1.3, both sides alike. Catches a range of one side, and a stretch."""
    transforms = sampled(RandomZoom(0.3))
    scale = 1 / transforms.matrix[:, 0, 0]
    assert torch.equal(transforms.matrix, transforms.matrix[:, :1, :1] * torch.eye(2))
    assert 0.7 - 1e-6 <= scale.min() < 0.71
    assert 1.29 < scale.max() <= 1.3 + 1e-6
    assert abs(float(scale.mean()) - 1) < 0.02  # its standard error is 0.004
    assert not transforms.offset.any()


def test_rotations_fill_their_range_either_way():
    """Angles from -40 to 40 degrees. Catches radians for degrees, and a mirror for a turn."""
    transforms = sampled(RandomRotation(40))
    torch.testing.assert_close(torch.linalg.det(transforms.matrix), torch.ones(2000))
    product = transforms.matrix @ transforms.matrix.transpose(1, 2)
    torch.testing.assert_close(product, torch.eye(2).expand(2000, 2, 2), atol=1e-6, rtol=0)
    angle = torch.atan2(transforms.matrix[:, 1, 0], transforms.matrix[:, 0, 0])
    assert radians(-40) - 1e-6 <= angle.min() < radians(-39)
    assert radians(39) < angle.max() <= radians(40) + 1e-6
    assert abs(float(angle.mean())) < radians(3)  # its standard error is 0.5


def test_shears_fill_their_range_either_way():
    """Rows move, columns do not."""
    transforms = sampled(RandomShear(0.5))
    slant = transforms.matrix[:, 1, 0]
    assert -0.5 <= slant.min() < -0.49
    assert 0.49 < slant.max() <= 0.5
    assert abs(float(slant.mean())) < 0.04  # its standard error is 0.0065
    rest = transforms.matrix.clone()
    rest[:, 1, 0] = 0
    assert torch.equal(rest, torch.eye(2).repeat(2000, 1, 1))
    assert not transforms.offset.any()


@pytest.mark.parametrize(
    "step", [RandomShift(0), RandomZoom(0), RandomRotation(0), RandomShear(0)], ids=repr
)
def test_nothing_asked_for_is_nothing_done(step):
    """The lower end of every range."""
    pixels = torch.rand(5, 2, 6, 7)
    torch.testing.assert_close(sampled(step, 5, 6, 7).apply(pixels), pixels, atol=1e-5, rtol=0)


@pytest.mark.parametrize("step", GEOMETRIC, ids=repr)
def test_the_generator_decides(step):
    """The same seed the same draws, another seed others, the next batch others again.

    Catches draws from torch's own generator.
    """
    state = torch.get_rng_state()
    generator = torch.Generator().manual_seed(3)
    first, second = (AffineTransforms.sample(step, (40, 1, 8, 8), generator) for _ in range(2))
    again = sampled(step, 40, 8, 8, seed=3)
    assert torch.equal(first.matrix, again.matrix)
    assert torch.equal(first.offset, again.offset)
    for other in (second, sampled(step, 40, 8, 8, seed=4)):
        assert not (
            torch.equal(first.matrix, other.matrix) and torch.equal(first.offset, other.offset)
        )
    assert torch.equal(torch.get_rng_state(), state)


def test_some_of_the_transforms():
    """Catches rows that lose their own transform when a batch is cut."""
    transforms, pixels = sampled(RandomShift(0.5), 10), torch.rand(10, 1, 8, 12)
    part = slice(3, 7)
    assert torch.equal(transforms.take(part).apply(pixels[part]), transforms.apply(pixels)[part])
    assert transforms.take(part).is_whole


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("sides", [(1, 1), (1, 7), (2, 2), (8, 6), (33, 20)])
def test_positions_beyond_the_edge_as_torchs_border_gives_them(monkeypatch, dtype, sides):
    """MPS has had no padding_mode="border" before torch 2.13. Equal bit for bit."""
    generator = torch.Generator().manual_seed(0)
    pixels = torch.rand((50, 3, *sides), generator=generator, dtype=dtype) * 255
    transforms = AffineTransforms.sample(RandomRotation(170), pixels.shape, generator)
    transforms = transforms.then(AffineTransforms.sample(RandomZoom(0.9), pixels.shape, generator))
    transforms = transforms.then(AffineTransforms.sample(RandomShift(0.9), pixels.shape, generator))
    found, sample = transforms.apply(pixels), functional.grid_sample
    grids = []
    monkeypatch.setattr(
        functional, "grid_sample", lambda *a, **k: grids.append(a[1]) or sample(*a, **k)
    )
    with monkeypatch.context() as patch:
        patch.setattr(torch.Tensor, "clamp", lambda values, *_: values)
        transforms.apply(pixels)
    assert (grids[0].abs() > 1).any()
    expected = sample(pixels, grids[0], padding_mode="border", align_corners=True)
    assert torch.equal(found, expected)
