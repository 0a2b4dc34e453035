"""Descriptions of augmentations: immutable values that can be compared and printed.

An augmentation applies small random changes to the training images, drawn again in every epoch,
that keep their class. Each image has its own draws. Prediction uses the images unchanged.
"""

from collections.abc import Callable
from dataclasses import dataclass
from numbers import Real
from typing import TYPE_CHECKING, Literal, get_args

from sklearn_cnn._messages import check_choice

if TYPE_CHECKING:
    from torch import Tensor

Direction = Literal["horizontal", "vertical", "both"]
DIRECTIONS: tuple[str, ...] = get_args(Direction)


def _is_number(value: object, highest: float) -> bool:
    if not isinstance(value, Real) or isinstance(value, bool):
        return False
    return not value < 0 and value <= highest  # false for NaN


def _check_number(value: object, name: str, highest: float, what: str) -> None:
    if not _is_number(value, highest):
        raise ValueError(f"{name} must be {what}, from 0 to {highest:g}. Got {name}={value!r}.")


def _check_pair(value: object, name: str, highest: float, what: str) -> tuple[float, float]:
    """Return two numbers as a tuple, so that the description is immutable."""
    if not isinstance(value, tuple | list) or len(value) != 2:
        raise ValueError(f"{name} must be a pair of numbers, {what}. Got {name}={value!r}.")
    if not all(_is_number(number, highest) for number in value):
        raise ValueError(f"{name} must be {what}, from 0 to {highest:g}. Got {name}={value!r}.")
    return value[0], value[1]


@dataclass(frozen=True)
class RandomFlip:
    """Flip each image with probability 0.5.

    Parameters
    ----------
    direction : {"horizontal", "vertical", "both"}, default="horizontal"
        Direction of the flip. "horizontal" swaps left and right, "vertical" swaps top and bottom,
        and "both" draws each of the two independently.

    Raises
    ------
    ValueError
        If ``direction`` is invalid.

    Examples
    --------
    >>> from sklearn_cnn import RandomFlip
    >>> RandomFlip()
    RandomFlip(direction='horizontal')
    """

    direction: Direction = "horizontal"

    def __post_init__(self) -> None:
        check_choice(self.direction, "direction", DIRECTIONS)


@dataclass(frozen=True)
class RandomShift:
    """Shift the image by whole pixels, and fill the uncovered border by repeating the edge.

    Parameters
    ----------
    size : float or (height, width), default=0.1
        Maximum distance, as a fraction of the height and of the width, from 0 to 0.9. It is rounded
        to whole pixels, and is at least one pixel. All distances in both directions are equally
        likely.

    Raises
    ------
    ValueError
        If ``size`` is out of range.

    Examples
    --------
    >>> from sklearn_cnn import RandomShift
    >>> RandomShift(0.125)
    RandomShift(size=0.125)
    """

    size: float | tuple[float, float] = 0.1

    def __post_init__(self) -> None:
        what = "a fraction of the height and width (for pixels, divide by them)"
        if isinstance(self.size, tuple | list):
            object.__setattr__(self, "size", _check_pair(self.size, "size", 0.9, what))
        else:
            _check_number(self.size, "size", 0.9, what)


@dataclass(frozen=True)
class RandomZoom:
    """Scale the image about its centre, and fill the uncovered border by repeating the edge.

    Parameters
    ----------
    factor : float, default=0.2
        The scale is drawn between ``1 - factor`` and ``1 + factor``. ``factor`` is from 0 to 0.9.

    Raises
    ------
    ValueError
        If ``factor`` is out of range.

    Examples
    --------
    >>> from sklearn_cnn import RandomZoom
    >>> RandomZoom()
    RandomZoom(factor=0.2)
    """

    factor: float = 0.2

    def __post_init__(self) -> None:
        what = "one number, a fraction of the image size (0.2 means 0.8 to 1.2 times)"
        _check_number(self.factor, "factor", 0.9, what)


@dataclass(frozen=True)
class RandomRotation:
    """Rotate the image about its centre, and fill the uncovered border by repeating the edge.

    Parameters
    ----------
    degrees : float, default=15
        Maximum angle in either direction, from 0 to 180 degrees.

    Raises
    ------
    ValueError
        If ``degrees`` is out of range.

    Examples
    --------
    >>> from sklearn_cnn import RandomRotation
    >>> RandomRotation(10)
    RandomRotation(degrees=10)
    """

    degrees: float = 15

    def __post_init__(self) -> None:
        what = "one number, an angle in degrees (15 means -15 to 15)"
        _check_number(self.degrees, "degrees", 180, what)


@dataclass(frozen=True)
class RandomShear:
    """Shear the image: shift each row sideways, in proportion to its height above the centre.

    Parameters
    ----------
    factor : float, default=0.2
        Maximum shift to either side, in pixels per pixel of height, from 0 to 1. A factor of 1 is a
        shear of 45 degrees.

    Raises
    ------
    ValueError
        If ``factor`` is out of range.

    Examples
    --------
    >>> from sklearn_cnn import RandomShear
    >>> RandomShear()
    RandomShear(factor=0.2)
    """

    factor: float = 0.2

    def __post_init__(self) -> None:
        _check_number(self.factor, "factor", 1, "sideways pixels per pixel of height")


@dataclass(frozen=True)
class RandomErasing:
    """Fill a random rectangle of some images with the mean colour of the image.

    Parameters
    ----------
    probability : float, default=0.5
        Probability that an image gets a rectangle, from 0 to 1.
    size : (smallest, largest), default=(0.02, 0.33)
        Range of the area of the rectangle, as a fraction of the image area. The ratio of its sides
        is at most 10 to 3.

    Raises
    ------
    ValueError
        If a value is out of range.

    References
    ----------
    Zhong, Zheng, Kang, Li and Yang, "Random erasing data augmentation", AAAI 2020.

    Examples
    --------
    >>> from sklearn_cnn import RandomErasing
    >>> RandomErasing(0.25)
    RandomErasing(probability=0.25, size=(0.02, 0.33))
    """

    probability: float = 0.5
    size: tuple[float, float] = (0.02, 0.33)

    def __post_init__(self) -> None:
        _check_number(self.probability, "probability", 1, "a fraction of the images")
        what = "the smallest and largest fraction of the image area"
        object.__setattr__(self, "size", _check_pair(self.size, "size", 1, what))
        if self.size[0] > self.size[1]:
            raise ValueError(
                f"size must hold the smallest fraction first. Got size={self.size!r}; use "
                f"size={self.size[::-1]!r}."
            )


Geometric = RandomFlip | RandomShift | RandomZoom | RandomRotation | RandomShear
Augmentation = Geometric | RandomErasing
AUGMENTATIONS: tuple[type, ...] = get_args(Augmentation)
Step = Augmentation | Callable[["Tensor"], object]


def check_augment(augment: object) -> tuple[Step, ...]:
    """Return the ``augment`` parameter as a tuple of steps, or raise for an invalid element.

    Parameters
    ----------
    augment : augmentation, callable, sequence of these, or None
        The parameter.

    Returns
    -------
    tuple
        The steps in the order of their application; empty for None.

    Raises
    ------
    TypeError
        If an element is neither an augmentation nor a callable.
    """
    if isinstance(augment, list | tuple):
        return tuple(_check_step(step, f"augment[{i}]") for i, step in enumerate(augment))
    return () if augment is None else (_check_step(augment, "augment"),)


def _check_step(step: object, name: str) -> Step:
    if isinstance(step, type):
        raise TypeError(f"{name} is the class {step.__name__}. Call it: {step.__name__}().")
    if isinstance(step, Augmentation) or callable(step):
        return step
    kinds = ", ".join(kind.__name__ for kind in AUGMENTATIONS)
    raise TypeError(
        f"{name} must be one of {kinds}, or a callable that takes and returns a batch, a tensor of "
        f"shape (n, channels, height, width). Got {step!r}."
    )
