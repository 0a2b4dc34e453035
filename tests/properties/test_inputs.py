"""P1 and P2: any array of images gives sound predictions or an error of ours, in any layout."""

import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sklearn_cnn import CNNClassifier, CNNRegressor

SETTINGS = settings(max_examples=60, deadline=None, derandomize=True)

DTYPES = [
    *("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
    *("float16", "float32", "float64"),
]
LAYOUTS = ["rows", "gray", "channels_last", "channels_first"]
STRIDES = ["c", "fortran", "negative", "read_only", "every_second"]


def quick(make=CNNClassifier, **parameters):
    return make(
        **{"conv_channels": 4, "dense_units": 8, "max_epochs": 1, "random_state": 0, **parameters}
    )


@SETTINGS
@given(
    kind=st.sampled_from(["labels", "number", "numbers"]),
    dtype=st.sampled_from(DTYPES),
    layout=st.sampled_from(["rows", "gray", "channels_last"]),
    side=st.integers(5, 12),
    n=st.integers(2, 9),
    seed=st.integers(0, 1000),
)
def test_other_targets_of_any_type_give_predictions_of_their_shape(
    kind, dtype, layout, side, n, seed
):
    """P1 for several labels and numbers: shapes, types, and targets that are not written to."""
    rng = np.random.default_rng(seed)
    X = arrange((rng.random((n, side, side, 1)) * 250).astype(np.uint8), layout)
    if kind == "labels":
        y = (rng.random((n, 3)) < 0.5).astype(dtype)
        y[0] = 1, 1, 0  # at least two of the first image, so that it is no class
    else:
        y = rng.random(n if kind == "number" else (n, 2)) * 100 + 2
        y = y.astype("int8" if dtype == "bool" else dtype)  # bools would be an indicator matrix
    y.flags.writeable = False
    model = quick(CNNClassifier if kind == "labels" else CNNRegressor).fit(X, y)
    predicted = model.predict(X)
    assert predicted.shape == y.shape
    assert predicted.dtype == (np.int64 if kind == "labels" else np.float64)
    assert np.isfinite(predicted).all()
    if kind == "labels":
        assert ((model.predict_proba(X) > 0.5) == predicted).all()


def arrange(images, layout):
    """Lay out images of shape (n, H, W, C)."""
    n, _, _, channels = images.shape
    if layout == "rows":
        return images.reshape(n, -1)
    if layout == "gray" and channels == 1:
        return images[..., 0]
    return images.transpose(0, 3, 1, 2) if layout == "channels_first" else images


def stride(X, how):
    if how == "fortran":
        return np.asfortranarray(X)
    if how == "negative":
        return X[::-1]
    if how == "every_second":
        return np.repeat(X, 2, axis=0)[::2]
    X = np.ascontiguousarray(X)
    X.flags.writeable = how != "read_only"
    return X


def is_ambiguous(shape):
    """Whether a 4-D shape has no axis of 1 to 4 channels, or two that differ."""
    if len(shape) != 4 or shape[1:] == (1, 1, 1):
        return False
    return (shape[1] in range(1, 5)) == (shape[3] in range(1, 5))


@SETTINGS
@given(
    dtype=st.sampled_from(DTYPES),
    layout=st.sampled_from(LAYOUTS),
    strides=st.sampled_from(STRIDES),
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    channels=st.integers(1, 5),
    n=st.integers(2, 9),
    seed=st.integers(0, 1000),
)
def test_any_array_gives_sound_predictions_or_our_error(
    dtype, layout, strides, height, width, channels, n, seed
):
    """P1: shapes, probabilities, labels; the bytes of the input; never an error of torch's."""
    rng = np.random.default_rng(seed)
    images = (rng.random((n, height, width, channels)) * 250).astype(dtype)
    X = stride(arrange(images, layout), strides)
    y = np.array(["cat", "dog"])[np.arange(n) % 2]
    before = X.tobytes()
    if is_ambiguous(X.shape):
        with pytest.raises(ValueError, match="data_format"):
            quick().fit(X, y)
        return
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "X.shape=.* is read as channels-first images")
        model = quick().fit(X, y)
    probabilities = model.predict_proba(X)
    assert probabilities.shape == (n, 2)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    assert set(model.predict(X)) <= {"cat", "dog"}
    assert np.prod(model.image_shape_) == height * width * channels
    assert getattr(model, "n_features_in_", None) == (X.shape[1] if X.ndim == 2 else None)
    assert X.tobytes() == before


def containers(images):
    """The same images, (n, H, W, C), in every form that a user may hold them in."""
    rows = images.reshape(len(images), -1)
    yield "channels_first", images.transpose(0, 3, 1, 2), {}
    yield "contiguous channels_first", np.ascontiguousarray(images.transpose(0, 3, 1, 2)), {}
    yield "rows", rows, {"image_shape": images.shape[1:]}
    yield "nested list", images.tolist(), {}
    yield "list of arrays", list(images), {}
    yield "int64", images.astype(np.int64), {}
    yield "float32", images.astype(np.float32), {}
    yield "float64", images.astype(np.float64), {}
    yield "DataFrame", pd.DataFrame(rows).add_prefix("pixel"), {"image_shape": images.shape[1:]}
    yield "torch tensor", torch.tensor(images), {}


@pytest.fixture(scope="module")
def colour():
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (40, 7, 9, 3), dtype=np.uint8), np.arange(40) % 3


def test_same_pixels_in_any_container_give_the_same_model(colour):
    """P2: layout, container and dtype are the user's business, the model is not theirs."""
    images, y = colour
    expected = quick().fit(images, y).predict_proba(images)
    for name, X, parameters in containers(images):
        model = quick(**parameters).fit(X, y)
        np.testing.assert_array_equal(model.predict_proba(X), expected, err_msg=name)
        if name != "DataFrame":
            np.testing.assert_array_equal(model.predict_proba(images), expected, err_msg=name)


def test_a_model_predicts_from_any_container(colour):
    """P2: a model fitted on one form predicts from all others."""
    images, y = colour
    model = quick().fit(images, y)
    expected = model.predict_proba(images)
    for name, X, _ in containers(images):
        X = X.to_numpy() if name == "DataFrame" else X
        np.testing.assert_array_equal(model.predict_proba(X), expected, err_msg=name)


def test_rows_are_read_channels_first_when_told_so(colour):
    images, y = colour
    rows = images.transpose(0, 3, 1, 2).reshape(40, -1)
    model = quick(image_shape=(7, 9, 3), data_format="channels_first").fit(rows, y)
    expected = quick().fit(images, y).predict_proba(images)
    np.testing.assert_array_equal(model.predict_proba(rows), expected)


@pytest.mark.parametrize(
    "names", [np.array([7, -1, 3]), np.array(["b", "c", "a"]), np.array(["b", "c", "a"], object)]
)
def test_labels_of_any_type_give_the_same_predictions(colour, names):
    """P2: integer and string labels; the order of the classes is that of sorted labels."""
    images, y = colour
    by_number = quick().fit(images, np.argsort(np.argsort(names))[y])
    by_name = quick().fit(images, names[y])
    np.testing.assert_array_equal(by_name.classes_, np.sort(names))
    np.testing.assert_array_equal(
        by_name.predict(images), np.sort(names)[by_number.predict(images)]
    )
