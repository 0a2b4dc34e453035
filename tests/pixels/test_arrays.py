"""What may hold images, what may not, and what is set on the estimator."""

import re
import warnings
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from scipy.sparse import csr_array
from sklearn.utils import Bunch
from sklearn.utils.validation import validate_data

from sklearn_cnn import CNNClassifier
from sklearn_cnn.pixels.arrays import check_images
from sklearn_cnn.pixels.spec import ImageSpec

GRAY = np.arange(2 * 4 * 5.0).reshape(2, 4, 5)


def parameters_of(estimator):
    """What an estimator says of the spec."""
    return {"image_shape": estimator.image_shape, "data_format": estimator.data_format}


def read_training_images(estimator, X):
    """Images and what is learnt of them, as ``fit`` reads them."""
    images = estimator._check_images(X, reset=True)
    spec = ImageSpec.learn(images, **parameters_of(estimator))
    return spec.view(images, **parameters_of(estimator)), spec


def read_images(estimator, X, spec):
    """Images as ``predict`` reads them."""
    check_rows = partial(validate_data, estimator, reset=False)
    images = check_images(X, shape=spec.shape, name="CNNClassifier", check_rows=check_rows)
    return spec.view(images, **parameters_of(estimator))


def fitted_on(X, **parameters):
    """An estimator that has seen ``X``, and the spec it found."""
    estimator = CNNClassifier(**parameters)
    _, spec = read_training_images(estimator, X)
    return estimator, spec


@pytest.mark.parametrize(
    "hold",
    [np.asarray, np.ndarray.tolist, list, tuple, torch.from_numpy, np.asfortranarray],
    ids=["array", "nested list", "list of arrays", "tuple of arrays", "tensor", "F order"],
)
def test_the_same_images_from_any_container(hold):
    """Would catch a container that is refused, or whose axes are mixed up."""
    images, spec = read_training_images(CNNClassifier(), hold(GRAY))
    np.testing.assert_array_equal(images, GRAY[..., np.newaxis])
    assert spec == ImageSpec((4, 5, 1))


def test_a_list_of_tensors_and_one_that_requires_grad():
    """Would catch ``numpy()`` called on a tensor in a graph."""
    tensors = [torch.from_numpy(image) for image in GRAY]
    images, _ = read_training_images(CNNClassifier(), tensors)
    np.testing.assert_array_equal(images[..., 0], GRAY)
    images, _ = read_training_images(CNNClassifier(), torch.from_numpy(GRAY).requires_grad_())
    np.testing.assert_array_equal(images[..., 0], GRAY)


def test_a_data_frame_gives_rows_and_names():
    """Would catch column names that are lost."""
    frame = pd.DataFrame(GRAY.reshape(2, 20), columns=[f"pixel{i}" for i in range(20)])
    estimator = CNNClassifier(image_shape=(4, 5))
    images, _ = read_training_images(estimator, frame)
    np.testing.assert_array_equal(images[..., 0], GRAY)
    assert list(estimator.feature_names_in_) == list(frame.columns)


def test_names_of_an_earlier_data_frame_go_when_arrays_follow():
    """Would catch feature names that outlive the data they belong to."""
    estimator, _ = fitted_on(pd.DataFrame(np.eye(4), columns=list("abcd")))
    assert hasattr(estimator, "feature_names_in_")
    read_training_images(estimator, GRAY)
    assert not hasattr(estimator, "feature_names_in_")


@pytest.mark.parametrize("shape", [(2, 6, 5), (2, 6, 5, 3), (2, 3, 6, 5)])
def test_images_with_axes_have_no_number_of_features(shape):
    """Would catch a count that wrappers compare with X.shape[1], and refuse the images."""
    estimator, spec = fitted_on(np.zeros((2, 90)), image_shape=None)
    assert estimator.n_features_in_ == 90
    images, spec = read_training_images(estimator, np.zeros(shape))
    assert not hasattr(estimator, "n_features_in_")
    assert read_images(estimator, images.reshape(2, -1), spec).shape == images.shape


@pytest.mark.parametrize("shape", [(2, 90), (2, 6, 15), (2, 6, 5, 3), (2, 3, 6, 5)])
@pytest.mark.parametrize("dtype", ["bool", "uint8", "uint16", "int64", "float16", "float32"])
def test_arrays_are_viewed_never_copied_or_written(shape, dtype):
    """Would catch a float64 copy of a large uint8 array, or a write into the user's."""
    X = (np.arange(180) % 2).reshape(shape).astype(dtype)
    X.flags.writeable = False
    images, spec = read_training_images(estimator := CNNClassifier(), X)
    again = read_images(estimator, X, spec)
    for found in (images, again):
        assert np.shares_memory(found, X)
        assert found.dtype == dtype
    assert X.tobytes() == (np.arange(180) % 2).astype(dtype).tobytes()


def named_table(height, width, channels="", prefix="", values=None):
    """A table as ImageReader gives it."""
    names = [
        f"{prefix}pixel_{row}_{column}{channel and '_' + channel}"
        for row in range(height)
        for column in range(width)
        for channel in (channels or [""])
    ]
    values = np.arange(2.0 * len(names)).reshape(2, -1) if values is None else values
    return pd.DataFrame(values, columns=names)


@pytest.mark.parametrize("frame", [pd.DataFrame, pl.from_pandas], ids=["pandas", "polars"])
@pytest.mark.parametrize("prefix", ["", "imagereader__", "union__left__"])
@pytest.mark.parametrize(
    ("height", "width", "channels"), [(6, 24, ""), (8, 8, "RGBA"), (20, 30, ""), (4, 4, "RGB")]
)
def test_the_shape_is_read_from_the_names_of_pixels(frame, prefix, height, width, channels):
    """Would catch rows of 6 x 24 read as 12 x 12, of 8 x 8 RGBA as 16 x 16, or as strips."""
    table = named_table(height, width, channels, prefix)
    estimator, spec = fitted_on(frame(table))
    assert spec == ImageSpec((height, width, len(channels) or 1))
    images = table.to_numpy().reshape(2, height, width, -1)
    np.testing.assert_array_equal(read_images(estimator, frame(table), spec), images)


def test_tables_of_pixels_that_are_no_whole_image_ask_for_the_shape():
    """Would catch a guess where pixels are missing, joined to others, or of two images."""
    whole = named_table(6, 24)
    two = pd.concat([named_table(6, 12, prefix="a__"), named_table(6, 12, prefix="b__")], axis=1)
    cases = {
        "143 columns instead of 144": whole.iloc[:, 1:],
        "100 columns instead of 144": whole.iloc[:, 44:],
        "others, such as 'age', do not": whole.iloc[:, 1:].assign(age=0.0),
        "the pixels of 2 images per row": two,
    }
    for problem, table in cases.items():
        with pytest.raises(ValueError, match=problem) as caught:
            read_training_images(CNNClassifier(), table)
        assert "pass image_shape=(height, width)" in str(caught.value)
    _, spec = read_training_images(CNNClassifier(image_shape=(12, 12)), two)
    assert spec == ImageSpec((12, 12, 1))


@pytest.mark.parametrize("parameters", [{}, {"image_shape": (6, 24)}])
def test_pixels_in_another_order_than_row_by_row_are_refused(parameters):
    """Would catch a scrambled image, where columns were sorted by name or reversed."""
    whole = named_table(6, 24)
    for table in (whole[sorted(whole)], whole.iloc[:, ::-1]):
        with pytest.raises(ValueError, match="are not in row order"):
            read_training_images(CNNClassifier(**parameters), table)
    _, spec = read_training_images(CNNClassifier(**parameters), whole.iloc[:, ::-1].to_numpy())
    assert spec.shape == ((6, 24, 1) if parameters else (12, 12, 1))


def test_names_of_pixels_that_contradict_the_parameters_are_refused():
    """Would catch an image_shape or a data_format that silently wins, or silently loses."""
    with pytest.raises(ValueError, match=r"image_shape=\(12, 12, 1\).*of shape \(6, 24, 1\)"):
        read_training_images(CNNClassifier(image_shape=(12, 12)), named_table(6, 24))
    colour = named_table(4, 6, "RGB")
    with pytest.raises(ValueError, match="columns of X are named channels last"):
        read_training_images(CNNClassifier(data_format="channels_first"), colour)
    first = colour[[f"pixel_{r}_{c}_{k}" for k in "RGB" for r in range(4) for c in range(6)]]
    for data_format in ("auto", "channels_first"):
        images, spec = read_training_images(CNNClassifier(data_format=data_format), first)
        assert spec == ImageSpec((4, 6, 3), channels_first=True)
        np.testing.assert_array_equal(images, colour.to_numpy().reshape(2, 4, 6, 3))


def test_names_of_pixels_of_another_shape_are_refused_at_predict():
    """Would catch as many pixels in another arrangement, where fit saw an array."""
    estimator, spec = fitted_on(np.zeros((2, 12, 12)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn's, of names that fit did not see
        with pytest.raises(
            ValueError, match=r"expected \(12, 12, 1\).*got X.shape=\(2, 6, 24, 1\)"
        ):
            read_images(estimator, named_table(6, 24), spec)
        assert read_images(estimator, named_table(12, 12), spec).shape == (2, 12, 12, 1)


@pytest.mark.parametrize("name", ["{}", "pixel{}", "pixel_{}", "1x{}", "f{}_0_0"])
def test_names_of_other_tools_leave_the_rule_of_squares(name):
    """Would catch the columns of OpenML's digits, pixel1 to pixel784, that are no longer square."""
    frame = pd.DataFrame(np.zeros((2, 64)), columns=[name.format(i) for i in range(1, 65)])
    assert fitted_on(frame)[1] == ImageSpec((8, 8, 1))


@pytest.mark.parametrize("channels", [2, 4])
def test_slices_that_are_read_as_channels_warn(channels):
    """Would catch four slices of 12 x 12 that become the channels of one image without a word."""
    X = np.zeros((20, channels, 12, 12))
    with pytest.warns(
        UserWarning, match=f"channels-first images of 12 x 12 with {channels} channels"
    ):
        read_training_images(CNNClassifier(), X)
    for parameters in ({"data_format": "channels_first"}, {"image_shape": (12, 12, channels)}):
        _, spec = read_training_images(CNNClassifier(**parameters), X)
        assert spec == ImageSpec((12, 12, channels), channels_first=True)


@pytest.mark.parametrize("shape", [(20, 3, 12, 12), (20, 1, 12, 12), (20, 12, 12, 4)])
def test_usual_channels_do_not_warn(shape):
    """Would catch a warning for each RGB or RGBA image."""
    assert read_training_images(CNNClassifier(), np.zeros(shape))[0].shape[1:3] == (12, 12)


def test_what_is_set_after_fit_counts_at_predict():
    """Would catch an image_shape or a data_format set after fit that is ignored."""
    rows = np.arange(2 * 60.0).reshape(2, 60)
    estimator, spec = fitted_on(rows, image_shape=(4, 5, 3))
    estimator.set_params(data_format="channels_first")
    expected = rows.reshape(2, 3, 4, 5).transpose(0, 2, 3, 1)
    np.testing.assert_array_equal(read_images(estimator, rows, spec), expected)
    for image_shape in ((5, 4, 3), (60, 1)):
        estimator.set_params(image_shape=image_shape)
        with pytest.raises(ValueError, match=r"fitted on images of shape \(4, 5, 3\)"):
            read_images(estimator, rows, spec)


def test_reading_to_predict_sets_nothing(small):
    """Would catch a ``predict`` that changes the estimator."""
    estimator = small(max_epochs=1).fit(GRAY, [0, 1])
    before = dict(vars(estimator))
    estimator._images(GRAY)
    estimator._images(GRAY.reshape(2, 20))
    assert vars(estimator) == before


@pytest.mark.parametrize(
    ("X", "error", "text"),
    [
        (np.float64(3), ValueError, "got scalar array instead"),
        (np.array(3.0), ValueError, "got scalar array instead"),
        (3, ValueError, "got scalar array instead"),
        (np.ones(5), ValueError, "got 1D array instead"),
        ([], ValueError, "got 1D array instead"),
        (np.ones((0, 5)), ValueError, r"0 sample\(s\)"),
        (np.ones((0, 4, 5)), ValueError, r"0 sample\(s\)"),
        (np.ones((5, 0)), ValueError, r"0 feature\(s\)"),
        (np.ones((5, 0, 4)), ValueError, r"images without pixels: X.shape=\(5, 0, 4\)"),
        (np.ones((5, 4, 4, 0)), ValueError, r"images without pixels: X.shape=\(5, 4, 4, 0\)"),
        (np.full((2, 4, 5), np.nan), ValueError, "Input X contains NaN"),
        (np.full((2, 4, 5), np.inf), ValueError, "Input X contains infinity"),
        (np.full((2, 4, 5), 1j), ValueError, "Complex data not supported"),
        (np.full((2, 4, 5), "a"), ValueError, "arrays of bytes/strings"),
        (csr_array(np.eye(4)), TypeError, "Sparse data was passed"),
        (np.ones((2, 3, 4, 5, 3)), ValueError, r"Got 5 dimensions, X.shape=\(2, 3, 4, 5, 3\)"),
    ],
)
def test_what_holds_no_images(X, error, text):
    """Would catch a raw NumPy or torch error, and words that are not scikit-learn's."""
    with pytest.raises(error, match=text):
        read_training_images(CNNClassifier(), X)


@pytest.mark.parametrize(
    "X",
    [
        "a.png",
        b"a.png",
        Path("a.png"),
        ["a.png", "b.png"],
        ("a.png",),
        [Path("a.png")],
        [b"a.png"],
        np.array(["a.png", "b.png"]),
        np.array([Path("a.png")], dtype=object),
        np.array([["a.png"], ["b.png"]]),
    ],
    ids=repr,
)
def test_paths_are_refused_with_the_way_to_open_them(X):
    """Would catch "could not convert string to float" where files are meant."""
    with pytest.raises(TypeError, match=r"not paths or text\. Use ImageReader to read") as caught:
        read_training_images(CNNClassifier(), X)
    assert str(caught.value).splitlines()[-2:] == [
        "    model = make_pipeline(ImageReader(size=(64, 64)), CNNClassifier())",
        "    model.fit(paths, y)",
    ]


def test_what_a_folder_gives_is_refused_with_the_attribute_to_pass():
    """Would catch a Bunch that is taken for a collection of its keys."""
    pandas = pytest.importorskip("pandas")
    with pytest.raises(TypeError, match="not a Bunch") as caught:
        read_training_images(CNNClassifier(), Bunch(data=np.array(["a.png"]), target=[0]))
    assert str(caught.value).endswith("    model.fit(folder.data, y)")
    with pytest.raises(TypeError, match=r"not a Bunch\. Pass its \.data"):
        read_training_images(CNNClassifier(), Bunch(data=np.ones((2, 8, 8)), target=[0, 1]))
    for frame in (
        pandas.DataFrame({"path": ["a.png", "b.png"]}),
        pandas.DataFrame({"path": ["a.png", "b.png"], "label": ["cat", "dog"]}),
    ):
        with pytest.raises(TypeError, match="not paths or text"):
            read_training_images(CNNClassifier(), frame)


@pytest.mark.parametrize("hold", [list, tuple])
def test_images_of_different_shapes_are_named(hold):
    """Would catch NumPy's "inhomogeneous shape", which names neither of them."""
    X = hold([np.ones((4, 5, 3)), np.ones((4, 6, 3)), np.ones((4, 5, 3))])
    with pytest.raises(
        ValueError, match=r"different shapes, such as \(4, 5, 3\) and \(4, 6, 3\)"
    ) as info:
        read_training_images(CNNClassifier(), X)
    assert "Convert them to the same height, width and number of channels" in str(info.value)
    assert "ImageReader(size=(64, 64))" in str(info.value)


def test_images_in_an_object_array_of_different_shapes_are_named():
    """Would catch "setting an array element with a sequence", from a data frame's column."""
    X = np.empty(2, dtype=object)
    X[:] = [np.ones((4, 5, 3)), np.ones((4, 6, 3))]
    with pytest.raises(ValueError, match=r"different shapes, such as \(4, 5, 3\) and \(4, 6, 3\)"):
        read_training_images(CNNClassifier(), X)


@pytest.mark.parametrize(
    ("fitted", "single"),
    [
        ((2, 4, 5), (4, 5)),
        ((2, 6, 5, 3), (6, 5, 3)),
        ((2, 5, 1), (5, 1)),
        ((2, 3, 6, 5), (3, 6, 5)),
    ],
)
def test_a_single_image_needs_a_batch_axis(fitted, single):
    """Would catch a message about features where X[np.newaxis] is the answer."""
    estimator, spec = fitted_on(np.zeros(fitted))
    with pytest.raises(ValueError, match=r"pass X\[np.newaxis\]"):
        read_images(estimator, np.zeros(single), spec)


@pytest.mark.parametrize(("fitted", "rows"), [((2, 1, 5), (1, 5)), ((2, 1, 1), (1, 1))])
def test_one_row_of_pixels_is_a_batch_of_one(fitted, rows):
    """Would catch a row refused since the image, 1 x n, has its shape."""
    estimator, spec = fitted_on(np.zeros(fitted))
    assert read_images(estimator, np.zeros(rows), spec).shape == (1, *spec.shape)


@pytest.mark.parametrize("n_features", [19, 21])
def test_rows_of_another_length_than_at_fit(n_features):
    """Would catch words other than scikit-learn's."""
    estimator, spec = fitted_on(GRAY.reshape(2, 20))
    text = f"X has {n_features} features, but CNNClassifier is expecting 20 features as input"
    with pytest.raises(ValueError, match=text):
        read_images(estimator, np.zeros((2, n_features)), spec)


@pytest.mark.parametrize(("side", "warned"), [(7, False), (8, True), (32, True)])
def test_rows_that_look_like_colour_images_warn(side, warned):
    """Would catch silence on flattened CIFAR, or a warning for every third table."""
    X = np.zeros((2, 3 * side * side))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        read_training_images(CNNClassifier(), X)
    assert [f"pass image_shape=({side}, {side}, 3)" in str(w.message) for w in caught] == (
        [True] if warned else []
    )


@pytest.mark.parametrize(
    ("n_features", "sides"),
    [(785, "28 x 28"), (145, "12 x 12"), (65, "8 x 8"), (3073, "32 x 32 x 3")],
)
def test_rows_with_one_value_too_many_warn_of_a_column_of_labels(n_features, sides):
    """Would catch a table with its labels that is read as strips of pixels, without a word."""
    text = f"X has {n_features} features per row, one more than {sides}, and image_shape is None"
    with pytest.warns(UserWarning, match=re.escape(text)) as caught:
        read_training_images(CNNClassifier(), np.zeros((2, n_features)))
    assert "column of labels, remove it" in str(caught[0].message)
    shape = tuple(map(int, sides.split(" x ")))
    with pytest.raises(ValueError, match=r"features per row\. If one of them is a column of"):
        read_training_images(CNNClassifier(image_shape=shape), np.zeros((2, n_features)))


@pytest.mark.parametrize("n_features", [191, 50, 26, 64, 66, 783, 784, 4 * 8 * 8])
def test_other_rows_do_not_warn(n_features):
    """Would catch a warning for 16 x 16 gray images, which are as long as 8 x 8 x 4."""
    read_training_images(CNNClassifier(), np.zeros((2, n_features)))


def test_rows_with_an_image_shape_do_not_warn():
    """Would catch advice that has been followed."""
    _, spec = read_training_images(CNNClassifier(image_shape=(8, 8, 3)), np.zeros((2, 192)))
    assert spec == ImageSpec((8, 8, 3))


def test_the_warning_points_at_the_line_that_called_fit():
    """Would catch a warning that shows a line of this package in place of the user's."""
    X, y, too_few_weights = np.zeros((4, 192)), [0, 1, 0, 1], [1.0]
    with (
        pytest.warns(UserWarning, match="192 = 8 x 8 x 3") as caught,
        pytest.raises(ValueError, match="sample_weight"),
    ):
        CNNClassifier().fit(X, y, too_few_weights)
    assert caught[0].filename == __file__
