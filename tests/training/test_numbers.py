"""Numbers to learn: what is refused, and how they are standardised and put back."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.testing import assert_allclose, assert_array_equal
from scipy.sparse import csr_array
from sklearn.exceptions import DataConversionWarning

from sklearn_cnn.training.examples import Examples
from sklearn_cnn.training.numbers import TargetScale, check_numbers


@pytest.mark.parametrize(
    "y",
    [
        [1, 2.5, -3],
        np.array([1, 2.5, -3], dtype=object),
        pd.Series([1, 2.5, -3]),
        pl.Series([1.0, 2.5, -3.0]),
        torch.tensor([1, 2.5, -3]),
        np.array([1, 2.5, -3], dtype=">f4"),
    ],
    ids=["list", "objects", "pandas", "polars", "torch", "another byte order"],
)
def test_numbers_in_any_container(y):
    found = check_numbers(y, "CNNRegressor")
    assert found.dtype == np.float64
    assert found.tolist() == [1, 2.5, -3]


def test_a_single_column_becomes_flat_with_a_warning():
    with pytest.warns(DataConversionWarning, match="column-vector y was passed"):
        assert check_numbers([[1], [2]], "CNNRegressor").shape == (2,)


@pytest.mark.parametrize(
    ("y", "text"),
    [
        (None, "This CNNRegressor estimator requires y to be passed, but the target y is None"),
        (
            ["old", "young"],
            r"y must hold numbers\. Got values such as 'old'\. Use CNNClassifier to",
        ),
        ([[0, 1], [1, 0], [1, 1]], r"indicator matrix.* shape \(3, 2\)\. Use CNNClassifier to"),
        ([1, np.nan], "Input y contains NaN"),
        ([1, np.inf], "Input y contains infinity"),
        ([1, None], "Input y contains NaN"),
        (np.zeros((3, 8, 8)), r"Got shape \(3, 8, 8\)\."),
        (np.zeros((3, 0)), r"Got shape \(3, 0\)\."),
        ([1 + 2j, 3], "Complex data not supported"),
        (np.array(["2020-01-01"], "datetime64[D]"), "Convert times to numbers, such as seconds"),
        ([[1, 2], [3]], "inhomogeneous"),
    ],
)
def test_what_is_no_number(y, text):
    with pytest.raises(ValueError, match=text):
        check_numbers(y, "CNNRegressor")


def test_sparse_numbers_are_refused():
    with pytest.raises(
        TypeError, match=r"dense array of numbers\. Got csr_array\. Pass y\.toarray\(\)"
    ):
        check_numbers(csr_array([[1.0, 2.0]]), "CNNRegressor")


def test_mean_and_scale_by_hand():
    """Weights 3 and 1 of 0 and 4: mean 1, variance (3 * 1 + 9) / 4 = 3."""
    scale = TargetScale.learn(np.array([0.0, 4.0]), np.array([3.0, 1.0]))
    assert scale.mean.tolist() == [1.0]
    assert_allclose(scale.scale, [np.sqrt(3)], rtol=1e-15)
    assert_allclose(scale.standardise(np.array([1.0, 4.0])), [[0], [np.sqrt(3)]], rtol=1e-15)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    y=hnp.arrays(
        np.float64,
        st.tuples(st.integers(1, 6), st.integers(1, 3)),
        elements=st.floats(-1e300, 1e300, allow_subnormal=False),
    )
)
def test_standardising_can_be_undone(y):
    """Whatever their size; catches squares that overflow, and divisions by a scale of 0."""
    scale = TargetScale.learn(y, np.ones(len(y)))
    standardised = scale.standardise(y)
    assert np.isfinite(standardised).all()
    largest = np.abs(y).max(axis=0)
    assert_allclose(scale.restore(standardised), y, rtol=1e-9, atol=float(1e-12 * largest.max()))
    is_constant = (y == y[0]).all(axis=0)
    assert (scale.scale[is_constant] == 0).all()
    assert_array_equal(scale.restore(np.full_like(y, 3.5))[:, is_constant], y[:, is_constant])


def test_a_target_that_was_constant_learns_its_scale_later():
    """And the other does not change. Catches predictions that stay constant for ever."""
    first = TargetScale.learn(np.array([[5.0, 1.0], [5.0, 3.0]]), np.ones(2))
    assert first.scale.tolist() == [0, 1]
    second = first.continued(np.array([[0.0, 10.0], [2.0, 20.0]]), np.ones(2))
    assert second.mean.tolist() == [1, 2]
    assert second.scale.tolist() == [1, 1]


@pytest.mark.parametrize(
    ("y", "shape"), [(np.zeros((2, 2)), r"\(n,\)"), (np.zeros(2), r"\(n, 2\)")]
)
def test_another_number_of_targets_is_refused(y, shape):
    other = np.zeros(2) if y.ndim == 2 else np.zeros((2, 2))
    scale = TargetScale.learn(other, np.ones(2))
    with pytest.raises(ValueError, match=rf"^y must have the shape {shape}, as in the first call"):
        scale.continued(y, np.ones(2))


def test_images_of_zero_weight_are_left_out():
    images, y = np.zeros((3, 2, 2, 1)), np.array([0.0, 100.0, 4.0])
    weights = np.array([1.0, 0.0, 1.0])
    scale = TargetScale.learn(y[[0, 2]], np.ones(2))
    rows = np.array([0, 2])
    targets = scale.standardise(y[rows]).astype(np.float32)
    examples = Examples.weighted(images, rows, targets, weights)
    assert examples.targets.tolist() == [[-1.0], [1.0]]
    assert examples.targets.dtype == np.float32
    assert examples.weights.tolist() == [1.0, 1.0]
