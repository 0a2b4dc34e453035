"""Axes inside of axes, and what all Displays keep to when they draw."""

import inspect
import sys

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm

from sklearn_cnn import (
    FeatureMapDisplay,
    FilterDisplay,
    MistakesDisplay,
    SaliencyDisplay,
    TrainingCurveDisplay,
)
from sklearn_cnn.inspection.panels import as_array, image_style, own_axes, stack, tile

DISPLAYS = [
    FeatureMapDisplay,
    FilterDisplay,
    MistakesDisplay,
    SaliencyDisplay,
    TrainingCurveDisplay,
]

WITH_IMAGES = DISPLAYS[:-1]


def places(axes):
    """Left, bottom, width and height of each of the axes, as shares of the figure."""
    return [ax.get_position().bounds for ax in axes]


@pytest.fixture
def frame():
    """Axes that fill their figure, so that shares of the one are shares of the other."""
    figure = plt.figure()
    return figure.add_axes((0, 0, 1, 1))


def placed(ax, axes):
    """Their places, as laid out for drawing."""
    ax.figure.canvas.draw()
    return np.array(places(axes))


def test_a_stack_by_hand(frame):
    """Heights 1 and 2 and a gap of 1 are quarters. Catches panels from the bottom up."""
    panels = stack(frame, [1, 2], gap=1)
    np.testing.assert_allclose(placed(frame, panels), [[0, 0.75, 1, 0.25], [0, 0, 1, 0.5]])


def test_a_stack_of_one_fills_the_frame(frame):
    """Catches a gap below the last."""
    np.testing.assert_allclose(placed(frame, stack(frame, [3], gap=9)), [[0, 0, 1, 1]])


def test_tiles_by_hand(frame):
    """Three in rows of two: the third stands below the first, all with 0.06 left free."""
    expected = [[0, 0.5, 0.47, 0.47], [0.5, 0.5, 0.47, 0.47], [0, 0, 0.47, 0.47]]
    np.testing.assert_allclose(placed(frame, tile(frame, 3, 2)), expected)


def test_titles_take_from_the_height_of_a_tile(frame):
    np.testing.assert_allclose(placed(frame, tile(frame, 1, 1, title=0.2)), [[0, 0, 0.94, 0.74]])


def test_no_tiles(frame):
    """Catches a division by no rows."""
    assert tile(frame, 0, 1) == []
    assert not frame.axison


def test_tiles_have_no_ticks(frame):
    (made,) = tile(frame, 1, 1)
    assert made.get_xticks().size == made.get_yticks().size == 0


def test_new_axes_have_the_size_asked_for():
    ax = own_axes(None, "X", 3, 2)
    assert ax.figure.get_size_inches().tolist() == [3, 2]


def test_an_array_of_arrays_stays_one_dimensional():
    """Catches np.array, which would look inside of what it is given."""
    items = [np.zeros(3), np.ones(3)]
    array = as_array(items)
    assert array.shape == (2,)
    assert array[1] is items[1]


def test_keywords_of_the_user_go_first():
    style = {"cmap": "gray", "vmin": 0}
    assert image_style(style, {"vmin": 1, "alpha": 0.5}) == {
        "cmap": "gray",
        "vmin": 1,
        "alpha": 0.5,
    }
    assert image_style(style, None) == style
    assert image_style(style, {"norm": None}) == style | {"norm": None}


@pytest.mark.parametrize("display", DISPLAYS)
def test_the_constructor_stores_its_arguments_and_nothing_else(display):
    """Catches copies, conversions and checks, which belong to from_estimator."""
    given = {name: object() for name in list(inspect.signature(display).parameters)}
    assert vars(display(**given)) == given


@pytest.mark.parametrize("display", DISPLAYS)
def test_without_axes_a_figure_is_made(draw, fitted, numbers, display):
    made = draw(display, fitted, *numbers)
    assert plt.get_fignums() == [made.figure_.number]
    assert made.ax_ in made.figure_.axes


@pytest.mark.parametrize("display", DISPLAYS)
def test_axes_that_are_given_are_drawn_into(draw, fitted, numbers, display):
    """Catches a second figure, and what is drawn beside the axes, into those of a neighbour."""
    figure, (left, right) = plt.subplots(1, 2)
    made = draw(display, fitted, *numbers, ax=left)
    assert plt.get_fignums() == [figure.number]
    assert made.ax_ is left
    assert made.figure_ is figure
    assert left.child_axes or left.has_data()
    assert not right.child_axes
    assert not right.has_data()


@pytest.mark.parametrize("display", DISPLAYS)
def test_plot_can_be_called_again(draw, fitted, numbers, display):
    """Catches a plot that returns nothing, or that changes the data that it draws."""
    made = draw(display, fitted, *numbers)
    data = {name: value for name, value in vars(made).items() if not name.endswith("_")}
    first, other = made.figure_, plt.figure().add_subplot()
    assert made.plot(ax=other) is made
    assert made.ax_ is other
    assert made.figure_ is other.figure is not first
    assert {name: vars(made)[name] for name in data} == data


@pytest.mark.parametrize("display", DISPLAYS)
def test_every_part_lies_inside_of_the_axes(draw, fitted, numbers, display):
    """Catches parts that spill into the neighbours of the axes."""
    _, (ax, _) = plt.subplots(1, 2)
    made = draw(display, fitted, *numbers, ax=ax)
    made.figure_.canvas.draw()
    left, bottom, width, height = ax.get_position().bounds
    for x, y, wide, high in places(ax.child_axes):
        assert left - 1e-9 <= x <= x + wide <= left + width + 1e-9
        assert bottom - 1e-9 <= y <= y + high <= bottom + height + 1e-9


@pytest.mark.parametrize("display", DISPLAYS)
def test_without_matplotlib_the_error_names_the_display(
    draw, fitted, numbers, display, monkeypatch
):
    """Catches an error that comes only after minutes of computing what cannot be drawn."""
    made = draw(display, fitted, *numbers)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=rf"^{display.__name__}\.plot requires matplotlib"):
        made.plot()
    text = rf"^{display.__name__}\.from_estimator requires matplotlib"
    with pytest.raises(ImportError, match=text):
        draw(display, "no estimator, which nothing has looked at yet", *numbers)


@pytest.mark.parametrize("display", WITH_IMAGES)
def test_keywords_reach_every_picture(draw, fitted, numbers, display):
    """Catches a part of the picture that forgets im_kw, and defaults that win over it."""
    keywords = {"cmap": "hot", "interpolation": "bicubic", "alpha": 0.5}
    made = draw(display, fitted, *numbers, im_kw=keywords)
    im = made.im_
    if display is FeatureMapDisplay:
        im = np.concatenate([im["conv1"], im["pool1"], im["vector"]])
    for picture in np.atleast_1d(im):
        assert picture.get_cmap().name == "hot"
        assert picture.get_interpolation() == "bicubic"
        assert picture.get_alpha() == 0.5


@pytest.mark.parametrize("display", WITH_IMAGES)
def test_a_norm_takes_the_place_of_the_limits(draw, fitted, numbers, display):
    """Matplotlib refuses both at once. Catches limits of the Display's that stay beside it."""
    made = draw(display, fitted, *numbers, im_kw={"norm": LogNorm(0.5, 2)})
    made.figure_.canvas.draw()
    im = made.im_["conv1"] if display is FeatureMapDisplay else np.atleast_1d(made.im_)
    assert im.size
    assert all(picture.norm.vmin == 0.5 and picture.norm.vmax == 2 for picture in im)


@pytest.mark.parametrize("display", WITH_IMAGES)
def test_cmap_is_a_parameter(draw, fitted, numbers, display):
    made = draw(display, fitted, *numbers, cmap="hot")
    im = made.im_["conv1"] if display is FeatureMapDisplay else np.atleast_1d(made.im_)
    assert {picture.get_cmap().name for picture in im} == {"hot"}


@pytest.mark.parametrize(
    "kind",
    [
        "1 channel",
        "2 channels",
        "3 channels",
        "4 channels",
        "100 classes",
        "64 x 48",
        "224 x 224",
    ],
)
@pytest.mark.parametrize("display", DISPLAYS)
def test_images_of_every_kind_are_drawn(draw, sizes, display, kind):
    """Catches shapes that matplotlib cannot draw, and warnings of its layout."""
    made = draw(display, *sizes[kind])
    made.figure_.canvas.draw()
    assert isinstance(made.ax_, Axes)
    assert np.asarray(made.figure_.canvas.buffer_rgba())[..., :3].std() > 5
