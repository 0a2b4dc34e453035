"""PretrainedFeatures as a transformer of scikit-learn's: every check that is yielded is run.

The checks hand random numbers to an estimator, and pixels are whole numbers from 0 to 255 or
fractions from 0 to 1. So the instance under test squashes the numbers to fractions once they have
been checked, and has a network that takes rows of any length.
"""

from unittest import SkipTest

import numpy as np
import pytest
import torch
from sklearn.utils import get_tags
from sklearn.utils.estimator_checks import (
    check_dataframe_column_names_consistency,
    check_global_output_transform_pandas,
    check_global_set_output_transform_polars,
    check_param_validation,
    check_set_output_transform,
    check_set_output_transform_pandas,
    check_set_output_transform_polars,
    check_transformer_get_feature_names_out_pandas,
    estimator_checks_generator,
)
from torch import nn

from sklearn_cnn import PretrainedFeatures


def make_network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 5, 3, padding=1), nn.ReLU())


class OnFractions(PretrainedFeatures):
    """Takes any numbers as the checks give them."""

    def __init__(self, network=make_network, *, mean=0.5, std=0.5, n_jobs=None):
        super().__init__(network, mean=mean, std=std, n_jobs=n_jobs)

    def _view(self, X, *, reset):
        return 1 / (1 + np.exp(-super()._view(X, reset=reset)))


def check_name(check):
    return getattr(check, "func", check).__name__


CASES = [
    pytest.param(estimator, check, id=check_name(check))
    for estimator, check in estimator_checks_generator(OnFractions())
]


@pytest.mark.parametrize(("estimator", "check"), CASES)
def test_the_contract(estimator, check):
    try:
        check(estimator)
    except SkipTest as skip:
        pytest.fail(f"{check_name(check)} skipped itself: {skip}")


def test_no_check_went_missing():
    """A tag that turns checks off would show here; scikit-learn 1.6 and 1.9 yield as many."""
    assert len(CASES) >= 43


def test_tags_are_honest():
    tags = get_tags(PretrainedFeatures())
    assert not tags.requires_fit
    assert tags.input_tags.two_d_array
    assert tags.input_tags.three_d_array
    assert not tags.input_tags.sparse
    assert not tags.no_validation
    assert not tags.non_deterministic
    assert tags.transformer_tags.preserves_dtype == []
    assert not tags.target_tags.required
    assert not tags._skip_test


# The checks mix frames and arrays at fit and at transform, to which scikit-learn has a word.
@pytest.mark.filterwarnings("ignore:X (has|does not have valid) feature names:UserWarning")
@pytest.mark.parametrize(
    "check",
    [
        check_transformer_get_feature_names_out_pandas,
        check_set_output_transform,
        check_set_output_transform_pandas,
        check_set_output_transform_polars,
        check_global_output_transform_pandas,
        check_global_set_output_transform_polars,
        check_dataframe_column_names_consistency,
    ],
)
def test_checks_that_are_not_yielded(check):
    check("PretrainedFeatures", OnFractions())


def test_parameters_are_validated():
    check_param_validation("PretrainedFeatures", PretrainedFeatures())
