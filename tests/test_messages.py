"""Warnings name the line of the user's program, from however deep in the package they come."""

import warnings

import numpy as np
import torch
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from sklearn_cnn import CNNClassifier


def ends_in_softmax(image_shape, n_outputs):
    """Return a module that is warned of while skorch makes it."""
    linear = torch.nn.LazyLinear(n_outputs)
    return torch.nn.Sequential(torch.nn.Flatten(), linear, torch.nn.Softmax(dim=1))


def test_a_warning_within_skorch_and_a_pipeline_points_here():
    """Would catch a warning that names a line of this package, of scikit-learn or of skorch."""
    X, y = np.random.default_rng(0).integers(0, 255, (8, 4, 4)), [0, 1] * 4
    classifier = CNNClassifier(layers=ends_in_softmax, max_epochs=1, random_state=0)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        make_pipeline(FunctionTransformer(), classifier).fit(X, y)
    assert "as if it ended in a softmax" in str(caught[0].message)
    assert caught[0].filename == __file__
