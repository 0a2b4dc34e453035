"""What early stopping holds out: stratified, every class on both sides, seeded."""

from math import ceil

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from sklearn_cnn.training.validation import split_validation

SMALLEST, LARGEST = np.nextafter(0, 1), np.nextafter(1, 0)


def split(counts, fraction, seed=0):
    """Split targets with ``counts[k]`` images of class k, shuffled; return the counts too."""
    targets = np.random.default_rng(1).permutation(np.repeat(np.arange(len(counts)), counts))
    training, validation = split_validation(targets, fraction, seed, np.arange(len(counts)))
    n_classes = len(counts)
    return (
        training,
        validation,
        np.bincount(targets[training], minlength=n_classes).tolist(),
        np.bincount(targets[validation], minlength=n_classes).tolist(),
    )


@pytest.mark.parametrize(
    ("counts", "fraction", "held_out"),
    [
        ([40, 60], 0.1, [4, 6]),
        ([40, 60], 0.5, [20, 30]),
        ([40, 60], 0.9, [36, 54]),
        ([10, 20, 70], 0.2, [2, 4, 14]),
    ],
)
def test_shares_are_those_of_the_classes(counts, fraction, held_out):
    """Catches a split that is drawn without regard to the classes."""
    _, _, kept, out = split(counts, fraction)
    assert out == held_out
    assert kept == [n - k for n, k in zip(counts, held_out, strict=True)]


@pytest.mark.parametrize("fraction", [SMALLEST, 0.1, 0.5, 0.9, LARGEST])
@pytest.mark.parametrize("counts", [[2], [2, 2], [3, 2], [2, 2, 2, 2], [5, 2], [3, 3, 3]])
def test_tiny_sets_have_two_sides_and_every_class_to_learn_from(counts, fraction):
    """Catches an empty side at either end of the range of validation_fraction."""
    training, validation, kept, out = split(counts, fraction)
    assert min(kept) >= 1
    assert sum(out) >= 1
    assert min(out) >= (fraction > 0.5)
    assert_array_equal(np.sort(np.concatenate([training, validation])), np.arange(sum(counts)))


@pytest.mark.parametrize(
    ("counts", "fraction", "n_held_out"),
    [
        ([2] * 100, 0.1, 20),
        ([2] * 100, 0.01, 2),
        ([2] * 100, 0.5, 100),
        ([2] * 100, 0.9, 100),
        ([3, 2] * 50, 0.2, 50),
        ([2] * 1000, 0.1, 200),
        ([2, *[1] * 999], 0.1, 1),
    ],
)
def test_many_classes_of_two_images_do_not_hold_out_half(counts, fraction, n_held_out):
    """Catches an image of each class held out, which takes half of what there is to learn from."""
    _, _, kept, out = split(counts, fraction)
    assert sum(out) == n_held_out
    assert min(kept) >= 1
    assert max(out) == 1


def test_where_not_all_classes_can_be_held_out_the_large_ones_are():
    """24 of the 300 of 51 classes: 16 of the one of 200, and 8 of the 50 classes of two.

    Catches one image of each of the first classes, whatever their size.
    """
    _, _, _, out = split([200, *[1 + k % 2 for k in range(100)]], 0.08)
    assert sum(out) == 24
    assert out[0] == 16
    assert set(out[1:]) == {0, 1}


def test_the_seed_decides_which_classes_are_held_out():
    """Catches the first classes held out for every seed, or another draw in a second fit."""
    first, again, other = (split([2] * 100, 0.1, seed)[3] for seed in (7, 7, 8))
    assert first == again != other
    assert first[:20] != [1] * 20


@pytest.mark.parametrize(
    ("counts", "fraction", "held_out"),
    [([11, 2, 2, 10], 0.2, [2, 1, 1, 1]), ([2, 3, 8], 0.4, [1, 1, 4])],
)
def test_shares_that_do_not_round_nicely_by_hand(counts, fraction, held_out):
    """Shares of 2.2, 0.4, 0.4 and 2, and of 0.9, 1.4 and 3.7. Catches a wrong class rounded."""
    assert split(counts, fraction)[3] == held_out


@pytest.mark.parametrize("fraction", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("counts", [[100, 2], [50, 3, 2], [200, 2, 2, 2], [1000, 9]])
def test_rare_classes_are_on_both_sides(counts, fraction):
    """Catches proportional shares, rounded, which give a rare class nothing on one side.

    At 0.1 the class is never validated; at 0.9 it is never trained on, and never predicted.
    """
    _, _, kept, out = split(counts, fraction)
    assert min(kept) >= 1
    assert min(out) >= 1


def test_a_class_of_one_image_is_in_training_alone():
    """Both sides of two images. Catches scikit-learn's error for a class with a single member."""
    _, _, kept, out = split([10, 1, 2, 1], 0.5)
    assert kept[1] == kept[3] == 1
    assert out[1] == out[3] == 0
    assert kept[2] == out[2] == 1


def test_single_images_do_not_raise_the_number_held_out():
    """20 % of the 10 that can be held out, not of the 20. Catches a share of all images."""
    _, validation, _, _ = split([10, *[1] * 10], 0.2)
    assert len(validation) == 2


def test_no_class_with_two_images_names_one_and_a_remedy():
    message = (
        r"early_stopping=True holds out .* every class, such as 'cat', has a single image"
        r"\. Pass more images, or use early_stopping=False\."
    )
    with pytest.raises(ValueError, match=message):
        split_validation(np.array([0, 1]), 0.1, 0, np.array(["cat", "dog"]))


def test_the_named_class_is_one_that_has_an_image():
    """Catches ``classes[0]`` where that class is not among the targets."""
    with pytest.raises(ValueError, match="every class, such as 'dog', has a single image"):
        split_validation(np.array([1]), 0.1, 0, np.array(["cat", "dog"]))


@pytest.mark.parametrize(("n", "held_out"), [(9, 1), (10, 1), (11, 2), (20, 2), (21, 3)])
def test_the_number_held_out_is_rounded_up(n, held_out):
    """Both sides of a whole tenth, by hand."""
    _, validation, _, _ = split([n], 0.1)
    assert len(validation) == held_out


def test_the_seed_decides():
    """Catches a draw from the global state, or the same draw for every seed."""
    first, second, other = (split([50, 50], 0.2, seed)[1] for seed in (7, 7, 8))
    assert_array_equal(first, second)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("seed", [0, 2**32 - 1, 2**32, 2**63])
def test_any_seed_that_is_not_negative_will_do(seed):
    """Both sides of 2**32, which NumPy's older generator refuses."""
    assert len(split([50, 50], 0.2, seed)[1]) == 20


def test_rows_come_sorted():
    """Catches an order that depends on the split, and so a training that does."""
    training, validation, _, _ = split([30, 30], 0.3)
    assert (np.diff(training) > 0).all()
    assert (np.diff(validation) > 0).all()


@settings(max_examples=60, deadline=None)
@given(
    counts=st.lists(st.integers(1, 60), min_size=1, max_size=6),
    fraction=st.floats(0, 1, exclude_min=True, exclude_max=True),
)
@example(counts=[60, 2], fraction=0.9)
def test_every_split_is_a_partition_with_each_class_where_it_can_be(counts, fraction):
    """Catches any combination of class sizes and share that loses a class or an image."""
    if max(counts) == 1:
        counts = [2, *counts]
    training, validation, kept, out = split(counts, fraction)
    assert_array_equal(np.sort(np.concatenate([training, validation])), np.arange(sum(counts)))
    divisible = [count for count in counts if count > 1]
    wanted = max(ceil(round(fraction * sum(divisible), 9)), 1)
    assert sum(out) == min(wanted, sum(divisible) - len(divisible))
    for count, n_kept, n_out in zip(counts, kept, out, strict=True):
        assert n_kept >= 1
        if count == 1 or sum(out) >= len(divisible):
            assert (n_out >= 1) == (count > 1)


@pytest.mark.parametrize(("n_images", "n_held_out"), [(20, 2), (160, 16), (281, 29), (2, 1)])
def test_few_held_out_images_are_warned_of(small, bars, n_images, n_held_out):
    """Catches 16 images that choose the best epoch without a word; and 30, which are enough."""
    images, target = np.resize(bars[0], (300, 8, 6)), np.resize(bars[1], 300)
    images, target = images[:n_images], target[:n_images]
    if n_images == 2:
        images, target = np.resize(images, (3, 8, 6)), np.array([0, 1, 1])
    message = (
        rf"^{n_held_out} held-out images? determines? the best epoch, .* larger "
        r"validation_fraction, or use early_stopping=False"
    )
    model = small(early_stopping=True, max_epochs=1, validation_fraction=0.1)
    with pytest.warns(UserWarning, match=message) as caught:
        model.fit(images, target)
    assert caught[0].filename == __file__


def test_thirty_held_out_images_are_enough(small, bars):
    """The other side of the boundary; images of zero weight do not count."""
    images, target = np.resize(bars[0], (310, 8, 6)), np.resize(bars[1], 310)
    weights = np.arange(310) < 300
    model = small(early_stopping=True, max_epochs=1, validation_fraction=0.1)
    model.fit(images, target, sample_weight=weights)
    assert sum(batch.get("valid_batch_size", 0) for batch in model.history_[-1, "batches"]) == 30
