"""MistakesDisplay: which images are the worst mistakes, by hand, and what is written above them."""

import re
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from PIL import Image
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import make_pipeline

from sklearn_cnn import CNNClassifier, ImageReader, MistakesDisplay
from sklearn_cnn.inspection.target import find_file_names

# Of classes 0, 1, 2: right, wrong by 0.5, wrong by 0.75, right, wrong by 0.5, wrong by 1.
Y_TRUE = [0, 1, 2, 1, 0, 2]
Y_PROBA = np.array(
    [
        [0.75, 0.25, 0.0],
        [0.5, 0.25, 0.25],
        [0.25, 0.75, 0.0],
        [0.25, 0.5, 0.25],
        [0.25, 0.25, 0.5],
        [1.0, 0.0, 0.0],
    ]
)

IMAGES = np.arange(6.0).reshape(6, 1, 1) * np.ones((6, 2, 3))
"""Each holds its own number; all together, 0 to 5."""


def worst(**keywords):
    return MistakesDisplay.from_predictions(IMAGES, Y_TRUE, Y_PROBA, **keywords)


def titles(display):
    return [ax.get_title().replace("\n", " ") for ax in display.axes_]


def test_the_worst_mistakes_by_hand():
    """Of equal ones, the first first. Catches right ones, the least sure first, and ties turned."""
    display = worst()
    assert np.multiply(display.images, 5)[:, 0, 0].tolist() == [5, 2, 1, 4]
    assert list(display.y_true) == [2, 2, 1, 0]
    assert list(display.y_pred) == [0, 1, 0, 2]
    assert list(display.confidence) == [1, 0.75, 0.5, 0.5]
    assert (display.n_mistakes, display.n_images) == (4, 6)


def test_what_stands_above_the_images():
    display = worst()
    assert titles(display) == [
        "X[5] 2 taken for 0 (100 %)",
        "X[2] 2 taken for 1 (75 %)",
        "X[1] 1 taken for 0 (50 %)",
        "X[4] 0 taken for 2 (50 %)",
    ]
    assert display.ax_.get_title() == "all 4 mistakes on 6 images"


def test_names_with_a_per_cent_sign_stay_as_they_are():
    """Catches a space that is put into the name of a class."""
    display = worst(display_labels=["5%", "b", "c"], n_shown=1)
    assert titles(display) == ["X[5] c taken for 5% (100 %)"]


def test_without_positions_the_titles_have_none():
    """Of a Display that is made by hand. Catches an error in place of a picture."""
    display = MistakesDisplay(np.zeros((1, 2, 2)), ["a"], ["b"], [0.5], 1, 2).plot()
    assert titles(display) == ["a taken for b (50 %)"]


def test_positions_are_those_in_x(fitted, numbers):
    """Catches positions among the mistakes, or in the order of the images."""
    assert worst().indices_.tolist() == [5, 2, 1, 4]
    images, y = numbers
    shifted = (y + 1) % 10
    display = MistakesDisplay.from_estimator(fitted, images, shifted, n_shown=200)
    assert_array_equal(display.images, images[display.indices_] / 16)
    assert_array_equal(display.y_true, shifted[display.indices_])
    assert display.file_names is None
    assert_array_equal(np.sort(display.indices_), np.flatnonzero(fitted.predict(images) != shifted))


def test_file_names_given_by_the_user():
    paths = [f"folder/{letter}.png" for letter in "abcdef"]
    series = pd.Series(paths, index=range(6, 0, -1))
    for given in (paths, np.array(paths), series, [Path(path) for path in paths]):
        display = worst(file_names=given, n_shown=2)
        assert display.file_names == ["folder/f.png", "folder/c.png"]
        assert titles(display) == ["f.png 2 taken for 0 (100 %)", "c.png 2 taken for 1 (75 %)"]


def test_file_names_must_be_as_many_as_images():
    text = "file_names must have one name for each of the 6 images. Got 5."
    with pytest.raises(ValueError, match=re.escape(text)):
        worst(file_names=list("abcde"))


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Files of two classes that a pipeline has learnt from, and their labels."""
    folder = tmp_path_factory.mktemp("files")
    pixels = np.random.default_rng(0).integers(0, 256, (12, 8, 8), dtype=np.uint8)
    paths = [folder / ("cat" if i % 2 else "dog") / f"{i}.png" for i in range(12)]
    for path, image in zip(paths, pixels, strict=True):
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(image).save(path)
    y = np.array(["dog", "cat"] * 6)
    model = make_pipeline(ImageReader(8), CNNClassifier(4, max_epochs=1, random_state=0))
    return model.fit(paths, y), paths, y


@pytest.mark.parametrize(
    "collect",
    [
        list,
        lambda paths: list(map(str, paths)),
        lambda paths: np.array(list(map(str, paths))),
        lambda paths: np.array(list(map(str, paths)))[:, np.newaxis],
        lambda paths: pd.Series(list(map(str, paths)), index=range(50, 62)),
        lambda paths: pd.DataFrame({"path": list(map(str, paths))}),
    ],
    ids=["Path", "str", "array", "column", "Series", "DataFrame"],
)
def test_titles_name_the_files_that_x_holds(files, collect):
    """All labels are turned, so some are mistakes. Catches names in another order, those of all
    images, and columns of a table taken for names."""
    model, paths, y = files
    turned = np.where(y == "cat", "dog", "cat")
    display = MistakesDisplay.from_estimator(model, collect(paths), turned)
    assert len(display.indices_)
    assert display.file_names == [str(paths[i]) for i in display.indices_]
    assert [title.split()[0] for title in titles(display)] == [
        paths[i].name for i in display.indices_
    ]


@pytest.mark.parametrize(
    "X",
    [
        np.zeros((2, 64)),
        pd.DataFrame(np.zeros((2, 3)), columns=["a.png", "b.png", "c.png"]),
        [b"bytes", b"more"],
        ["a.png", b"bytes"],
        [np.zeros((8, 8)), np.zeros((8, 8))],
    ],
    ids=["rows", "columns", "contents", "mixed", "arrays"],
)
def test_what_holds_no_paths_has_no_file_names(X):
    assert find_file_names(X) is None


def test_long_names_keep_their_ends_and_do_not_overlap():
    """Catches titles that run into their neighbours, in a narrow panel too."""
    names = np.array(["a very long name of the first class", "a very long name of the second one"])
    paths = [f"IMG_2024_11_26_holiday_number_{i:04}.jpeg" for i in range(9)]
    for ax in (None, plt.figure(figsize=(6, 5)).add_subplot()):
        display = MistakesDisplay(
            np.zeros((9, 5, 5)), names[[0] * 9], names[[1] * 9], np.ones(9), 9, 30, paths
        ).plot(ax=ax)
        display.figure_.canvas.draw()
        boxes = [ax.title.get_window_extent() for ax in display.axes_]
        for number, box in enumerate(boxes):
            assert not any(box.overlaps(other) for other in boxes[:number])
        assert [ax.get_title()[:3] for ax in display.axes_] == ["IMG"] * 9
        first, second, third = display.axes_[4].get_title().split("\n")
        assert first.endswith("4.jpeg")
        assert second.endswith("ss taken for")
        assert third.endswith("ne (100 %)")


@pytest.mark.parametrize(
    ("images", "drawn"),
    [
        (np.array([0, 51, 255], dtype=np.uint8), [0, 0.2, 1]),
        (np.array([0, 13107, 65535], dtype=np.uint16), [0, 0.2, 1]),
        (np.array([-1000.0, 0, 3000]), [0, 0.25, 1]),
        (np.array([0.25, 0.5, 1]), [0.25, 0.5, 1]),
        (np.array([0, 0.5, 255], dtype=np.float32), [0, 0.5 / 255, 1]),
        (np.array([False, True, True]), [0, 1, 1]),
    ],
    ids=["uint8", "uint16", "Hounsfield", "fractions", "float of 255", "bool"],
)
def test_colours_of_every_dtype_are_drawn(images, drawn):
    """Catches colours above 255, which matplotlib cuts off: a white picture of uint16."""
    pictures = np.repeat(images, 12).reshape(3, 2, 2, 3)
    display = MistakesDisplay.from_predictions(pictures, [0, 1, 1], [[0, 1], [1, 0], [1, 0]])
    assert_allclose(display.images[:, 0, 0, 0], drawn, rtol=1e-6)
    for picture in display.im_:
        colours = picture.make_image(None, unsampled=True)[0][0, 0, :3]
        assert_allclose(colours, np.full(3, 255 * picture.get_array()[0, 0, 0]), atol=1)


@pytest.mark.parametrize("n_channels", [1, 2, 5])
def test_other_channels_are_drawn_as_their_mean(n_channels):
    """Catches the error of matplotlib for two channels, and for one that has an axis of its own."""
    images = np.arange(3.0 * n_channels).reshape(3, 1, 1, n_channels)
    display = MistakesDisplay.from_predictions(images, [0, 1, 1], [[0, 1], [1, 0], [1, 0]])
    expected = images.mean(axis=-1) / (3 * n_channels - 1)
    assert_allclose(display.images, expected)


def test_pictures_show_the_images():
    """Gray from 0 to 1 for all. Catches a scale for each, in which a dark image is as bright."""
    display = worst()
    for picture, number in zip(display.im_, [5, 2, 1, 4], strict=True):
        assert_allclose(picture.get_array(), np.full((2, 3), number / 5))
        assert picture.get_clim() == (0, 1)


@pytest.mark.parametrize(
    ("n_shown", "n_drawn", "which"),
    [
        (1, 1, "the worst 1 of 4"),
        (np.int64(3), 3, "the worst 3 of 4"),
        (4, 4, "all 4"),
        (5, 4, "all 4"),
    ],
)
def test_how_many_are_shown(n_shown, n_drawn, which):
    display = worst(n_shown=n_shown)
    assert len(display.axes_) == len(display.im_) == len(display.images) == n_drawn
    assert display.ax_.get_title() == f"{which} mistakes on 6 images"
    assert display.n_mistakes == 4


@pytest.mark.parametrize("n_shown", [0, -1, 2.0, True, "8", None])
def test_a_count_that_is_none_is_refused(fitted, numbers, n_shown):
    text = f"n_shown must be a whole number of at least 1. Got n_shown={n_shown!r}."
    with pytest.raises(ValueError, match=re.escape(text)):
        worst(n_shown=n_shown)
    with pytest.raises(ValueError, match=re.escape(text)):
        MistakesDisplay.from_estimator(fitted, *numbers, n_shown=n_shown)


def test_no_mistakes():
    """Catches a maximum, a mean or a number of columns of nothing."""
    display = MistakesDisplay.from_predictions(IMAGES[:3], [0, 1, 2], np.eye(3))
    display.figure_.canvas.draw()
    assert display.ax_.get_title() == "no mistakes on 3 images"
    assert display.axes_.shape == display.im_.shape == (0,)
    assert (display.n_mistakes, display.n_images) == (0, 3)


def test_columns_follow_the_classes_that_are_given():
    """Not sorted. Catches labels that are looked up in a sorted list."""
    classes, y_true = np.array(["b", "c", "a"]), np.array(["b", "c", "a", "c", "b", "a"])
    display = MistakesDisplay.from_predictions(IMAGES, y_true, Y_PROBA, classes=classes)
    assert list(display.y_true) == ["a", "a", "c", "b"]
    assert list(display.y_pred) == ["b", "c", "b", "a"]


def test_names_of_the_users():
    display = worst(display_labels=["zero", "one", "two"])
    assert list(display.y_true) == ["two", "two", "one", "zero"]
    assert list(display.y_pred) == ["zero", "one", "zero", "two"]


def test_many_classes_and_many_equal_mistakes():
    """Sure of even labels, less of odd ones. Catches 10 before 2, and a sort that is not stable."""
    y_proba = np.roll(np.eye(40), 1, axis=1)
    y_proba[1::2] *= 0.75
    images = np.zeros((40, 2, 2))
    display = MistakesDisplay.from_predictions(images, range(40), y_proba, n_shown=40)
    assert list(display.y_true) == [*range(0, 40, 2), *range(1, 40, 2)]
    assert list(display.y_pred) == [*range(1, 41, 2), *range(2, 40, 2), 0]


@pytest.mark.parametrize("n_channels", [3, 4])
def test_colours_stay_as_they_are(n_channels):
    """Catches a range that is stretched over the images at hand."""
    images = np.full((6, 2, 3, n_channels), 0.5)
    display = MistakesDisplay.from_predictions(images, Y_TRUE, Y_PROBA)
    assert_array_equal(display.images, images[:4])


def test_blank_images():
    """Catches a division by a range of zero."""
    display = MistakesDisplay.from_predictions(np.full((6, 2, 3), 7), Y_TRUE, Y_PROBA)
    assert not display.images.any()


def test_a_classifier_and_its_predictions_give_the_same(fitted, digits):
    """Catches two ways to choose. The images have the range of those seen at fit, 0 to 16."""
    images, y = digits.images[1000:1400], digits.target[1000:1400]
    display = MistakesDisplay.from_estimator(fitted, images, y)
    probabilities = fitted.predict_proba(images)
    other = MistakesDisplay.from_predictions(images, y, probabilities, classes=fitted.classes_)
    assert display.n_mistakes == (fitted.predict(images) != y).sum() > 18
    assert len(display.images) == 18
    assert (np.diff(display.confidence) <= 0).all()
    for name in ("images", "y_true", "y_pred", "confidence"):
        assert_array_equal(getattr(display, name), getattr(other, name))
    assert (display.n_mistakes, display.n_images) == (other.n_mistakes, other.n_images)
    first = probabilities[y != fitted.predict(images)].max()
    assert display.confidence[0] == first


@pytest.mark.parametrize(
    "make",
    [list, pd.Series, pd.DataFrame, lambda y: y[:, np.newaxis], lambda y: y.astype(float)],
    ids=["list", "Series", "DataFrame", "column", "float"],
)
def test_labels_of_every_kind(fitted, numbers, make):
    """Catches a column that is compared with every prediction, not with its own."""
    images, y = numbers
    expected = MistakesDisplay.from_estimator(fitted, images, y)
    display = MistakesDisplay.from_estimator(fitted, images, make(y))
    assert display.n_mistakes == expected.n_mistakes
    assert_array_equal(display.y_true, expected.y_true)
    assert_array_equal(display.images, expected.images)


@pytest.mark.parametrize(
    ("y", "unknown"),
    [([3, 10, 11, 10], "10, 11"), (["3", "5", "3", "5"], "'3', '5'"), ([0.5, 1, 1, 1], "0.5")],
)
def test_labels_that_are_no_class_are_refused(fitted, numbers, y, unknown):
    """Catches text that is taken for the number that it spells, and labels between two classes."""
    text = (
        f"y has labels that are not in classes: {unknown}. The classes are 0, 1, 2, 3, 4, "
        "5, 6, 7, 8, 9."
    )
    with pytest.raises(ValueError, match=re.escape(text)):
        MistakesDisplay.from_estimator(fitted, numbers[0][:4], y)


def test_text_is_no_number_among_many_classes_either(sizes):
    """NumPy compares text and numbers otherwise where there are many of them."""
    model, images, y = sizes["100 classes"]
    with pytest.raises(ValueError, match="y has labels that are not in classes: '0', '1'"):
        MistakesDisplay.from_estimator(model, images, y.astype(str))


@pytest.mark.parametrize("n_labels", [199, 201])
def test_labels_must_be_as_many_as_images(fitted, numbers, n_labels):
    images, y = numbers
    text = (
        "There must be one label and 10 probabilities for each image. Got "
        f"{n_labels} labels, and probabilities of shape (200, 10)."
    )
    with pytest.raises(ValueError, match=re.escape(text)):
        MistakesDisplay.from_estimator(fitted, images, np.resize(y, n_labels))


def test_labels_in_several_columns_are_refused(fitted, numbers):
    images, y = numbers
    with pytest.raises(ValueError, match="1d array"):
        MistakesDisplay.from_estimator(fitted, images, np.stack([y, y], axis=1))


def test_images_must_be_as_many_as_predictions():
    text = r"^images and y_pred must have the same length\. Got 5 images and 6 predictions\."
    with pytest.raises(ValueError, match=text):
        MistakesDisplay.from_predictions(IMAGES[:5], Y_TRUE, Y_PROBA)


@pytest.mark.parametrize(
    ("y_proba", "shape"), [(Y_PROBA[:, :2], "(6, 2)"), (Y_PROBA[:, 0], "(6,)")]
)
def test_every_class_needs_a_column(y_proba, shape):
    """As of decision_function for two classes, or of labels that lack a class."""
    text = f"Got 6 labels, and probabilities of shape {shape}. If y "
    with pytest.raises(ValueError, match=re.escape(text)):
        MistakesDisplay.from_predictions(IMAGES, Y_TRUE, y_proba)


def test_predictions_of_a_cross_validation(small, numbers):
    """All images, each predicted by a classifier that has not seen it."""
    images, y = numbers
    model = small(max_epochs=2)
    probabilities = cross_val_predict(model, images, y, cv=2, method="predict_proba")
    display = MistakesDisplay.from_predictions(images, y, probabilities)
    assert display.n_images == 200
    assert display.n_mistakes == (probabilities.argmax(axis=1) != y).sum()


def test_tiles_do_not_overlap():
    """18 images in rows of six. Catches titles of three lines without room for them."""
    images = np.zeros((18, 5, 5))
    figure = plt.figure(figsize=(10, 7))
    display = MistakesDisplay(images, ["a"] * 18, ["b"] * 18, np.ones(18), 20, 30)
    display.plot(ax=figure.add_axes((0, 0, 1, 1)))
    figure.canvas.draw()
    boxes = [ax.get_tightbbox() for ax in display.axes_]
    corners = {round(box.y0) for box in boxes}
    assert len(corners) == 3
    for number, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[:number])


def test_predictions_without_matplotlib(monkeypatch):
    """Catches an error that comes only after the arguments have been worked on."""
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"^MistakesDisplay\.from_predictions requires"):
        MistakesDisplay.from_predictions("no images", None, None)


@pytest.mark.parametrize("images", [["a.png", "b.png"], np.zeros((2, 64))], ids=["paths", "rows"])
def test_images_that_are_no_pixels_are_refused(images):
    """Catches the message of a NumPy function, and rows that are drawn as a line."""
    with pytest.raises(ValueError, match=r"images must hold pixels.*ImageReader.*file_names=paths"):
        MistakesDisplay.from_predictions(images, [0, 1], np.eye(2))
