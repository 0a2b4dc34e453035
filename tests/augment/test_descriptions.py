"""Descriptions of augmentations: their values, what is refused, and the list of them."""

import pickle
import re
from copy import deepcopy
from dataclasses import FrozenInstanceError
from fractions import Fraction

import numpy as np
import pytest

from sklearn_cnn import (
    RandomErasing,
    RandomFlip,
    RandomRotation,
    RandomShear,
    RandomShift,
    RandomZoom,
)
from sklearn_cnn.augment.descriptions import AUGMENTATIONS, check_augment

NUMBERS = [
    # class, parameter, lowest, highest
    (RandomShift, "size", 0, 0.9),
    (RandomZoom, "factor", 0, 0.9),
    (RandomRotation, "degrees", 0, 180),
    (RandomShear, "factor", 0, 1),
    (RandomErasing, "probability", 0, 1),
]

NO_NUMBERS = [None, "0.1", True, False, np.True_, np.nan, np.inf, -np.inf, 0.1j, {}, np.zeros(1)]


def message(name, value):
    return rf"^{name} must .*Got {name}={re.escape(repr(value))}"


@pytest.mark.parametrize(("kind", "name", "lowest", "highest"), NUMBERS)
def test_both_ends_of_every_range(kind, name, lowest, highest):
    """The ends are in, the next float is out. Catches an open interval, and a check of one side."""
    for value in (lowest, highest, np.float32(0.5), np.float64(0.25), Fraction(1, 2)):
        assert getattr(kind(**{name: value}), name) == value
    for value in (np.nextafter(lowest, -1), np.nextafter(highest, 1000), -1, 181):
        with pytest.raises(ValueError, match=message(name, value)):
            kind(**{name: value})


@pytest.mark.parametrize("value", NO_NUMBERS, ids=repr)
@pytest.mark.parametrize(("kind", "name"), [case[:2] for case in NUMBERS])
def test_what_is_no_number_is_refused_by_name(kind, name, value):
    """Catches a bool that counts as 1, NaN that no comparison refuses, and an array."""
    with pytest.raises(ValueError, match=message(name, value)):
        kind(**{name: value})


@pytest.mark.parametrize(("kind", "name"), [case[:2] for case in NUMBERS])
def test_a_whole_number_too_large_for_a_float_is_refused_like_any_other(kind, name):
    """Catches the OverflowError of ``math.isfinite``, which names no parameter."""
    with pytest.raises(ValueError, match=rf"^{name} must"):
        kind(**{name: 10**400})


@pytest.mark.parametrize("kind", [RandomShift, RandomErasing])
@pytest.mark.parametrize(
    "size",
    [
        (),
        (0.1,),
        (0.1, 0.2, 0.3),
        ("a", 0.1),
        (0.1, None),
        (0.1, True),
        (0, 1.01),
        (-0.01, 1),
        (0.1, np.nan),
        [(0, 1), 1],
    ],
    ids=repr,
)
def test_pairs_that_are_none(kind, size):
    """Catches a triple that is cut short, and numbers of a pair that nobody checks."""
    with pytest.raises(ValueError, match=r"^size must "):
        kind(size=size)


def test_a_pair_keeps_its_values_and_becomes_a_tuple():
    """Also at both ends. Catches a list inside a frozen value, which could change after all."""
    assert RandomShift([0, 0.9]).size == (0, 0.9)
    assert RandomErasing(size=[0.1, 0.1]).size == (0.1, 0.1)
    assert isinstance(RandomShift([0.1, 0.2]).size, tuple)
    assert RandomShift([0.1, 0.2]) == RandomShift((0.1, 0.2))
    assert len({RandomShift([0.1, 0.2]), RandomShift((0.1, 0.2)), RandomShift(0.1)}) == 2


def test_an_area_with_the_largest_first_names_the_remedy():
    text = "size must hold the smallest fraction first. Got size=(0.3, 0.1); use size=(0.1, 0.3)."
    with pytest.raises(ValueError, match=f"^{re.escape(text)}$"):
        RandomErasing(size=[0.3, 0.1])


@pytest.mark.parametrize("direction", ["", "Horizontal", "left", None, 1, True, ("horizontal",)])
def test_directions_that_are_none(direction):
    with pytest.raises(ValueError, match=message("direction", direction)):
        RandomFlip(direction)


@pytest.mark.parametrize(("kind", "highest"), [(RandomShift, "0.9"), (RandomErasing, "1")])
def test_an_error_says_what_the_numbers_are(kind, highest):
    """The whole text, once. Catches a message that gives no range, or half of a pair."""
    with pytest.raises(ValueError, match=rf"from 0 to {highest}\. Got size=\(0, 2\)\.$"):
        kind(size=(0, 2))


def test_a_shift_by_one_pixel_is_no_shift_by_the_whole_image():
    with pytest.raises(ValueError, match=r"for pixels, divide by them.*Got size=1\.$"):
        RandomShift(1)


@pytest.mark.parametrize("kind", AUGMENTATIONS)
def test_descriptions_are_values(kind):
    """Equal, hashable, printed as they are written, copied, pickled, and never changed."""
    made = kind()
    assert made == kind()
    assert hash(made) == hash(kind())
    assert eval(repr(made)) == made
    assert deepcopy(made) == pickle.loads(pickle.dumps(made)) == made
    field = next(iter(vars(made)))
    with pytest.raises(FrozenInstanceError):
        setattr(made, field, getattr(made, field))


def test_none_one_and_several():
    """Catches a lone augmentation that is iterated, and an order that is not kept."""
    flip, shift = RandomFlip(), RandomShift()
    assert check_augment(None) == check_augment(()) == check_augment([]) == ()
    assert check_augment(flip) == check_augment([flip]) == (flip,)
    assert check_augment([shift, print, flip]) == (shift, print, flip)


@pytest.mark.parametrize("kind", [*AUGMENTATIONS, dict])
def test_a_class_in_place_of_one_of_its_instances(kind):
    """A class is callable, and would be called with a batch at the first step."""
    text = f"augment is the class {kind.__name__}. Call it: {kind.__name__}()."
    with pytest.raises(TypeError, match=f"^{re.escape(text)}$"):
        check_augment(kind)
    with pytest.raises(TypeError, match=rf"^augment\[1\] is the class {kind.__name__}\. "):
        check_augment([RandomFlip(), kind])


@pytest.mark.parametrize("step", ["flip", 0.1, None, (RandomFlip(),), ("flip", RandomFlip())])
def test_an_element_that_is_no_step_is_named_with_its_place(step):
    text = r"^augment\[1\] must be one of RandomFlip, .*RandomErasing, or a callable .*Got "
    with pytest.raises(TypeError, match=text + re.escape(f"{step!r}.")):
        check_augment([RandomFlip(), step])


@pytest.mark.parametrize("augment", ["flip", 0.1, {"a": RandomFlip()}, {RandomFlip()}])
def test_the_estimator_refuses_what_is_no_sequence(small, bars, augment):
    """Catches a string that is taken for a sequence of letters."""
    with pytest.raises(TypeError, match=r"^augment must be one of RandomFlip, .* or a callable"):
        small(augment=augment).fit(*bars)


@pytest.mark.parametrize("augment", [RandomFlip, [RandomFlip], (RandomFlip(), "flip")])
def test_the_estimator_stays_unfitted_after_a_wrong_step(small, bars, augment):
    model = small(augment=augment)
    with pytest.raises(TypeError, match=r"^augment(\[\d\])? "):
        model.fit(*bars)
    assert not hasattr(model, "classes_")
