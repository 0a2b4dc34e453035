"""On a GPU: fits, predictions and all that looks inside, beside the same on the CPU.

``scripts/test -m gpu`` runs these on CUDA or MPS. They are skipped elsewhere, and without it.
"""

import pickle
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

from sklearn_cnn import (
    CNNClassifier,
    RandomErasing,
    RandomFlip,
    RandomRotation,
    RandomShift,
    SaliencyDisplay,
)

pytestmark = pytest.mark.gpu


@pytest.fixture(scope="module")
def trained(bars):
    """A model that was fitted on the CPU."""
    images, y = bars
    return CNNClassifier(8, dense_units=16, max_epochs=5, random_state=0, device="cpu").fit(
        images, y
    )


@pytest.fixture
def moved(trained, gpu):
    """The same, on the GPU at its next use."""
    return deepcopy(trained).set_params(device=gpu)


def device_of(model):
    return next(model.net_.module_.parameters()).device.type


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "int64", "float32", "float64"])
@pytest.mark.parametrize("parameters", [{}, {"early_stopping": True}, {"batch_norm": False}])
def test_fit_and_predict(small, bars, gpu, dtype, parameters):
    """Catches a dtype that the device cannot hold, and a network that learns nothing there."""
    images, y = bars
    model = small(device=gpu, max_epochs=20, **parameters)
    model.fit(images.astype(dtype), y)
    assert device_of(model) == gpu
    assert model.score(images.astype(dtype), y) > 0.9


@pytest.mark.parametrize("dtype", ["uint8", "int64", "float32"])
@pytest.mark.parametrize(
    "step", [RandomFlip(), RandomShift(), RandomRotation(), RandomErasing()], ids=repr
)
def test_augmentation(small, bars, gpu, dtype, step):
    """Catches a mean in float64, and a padding mode, that MPS does not have."""
    images, y = bars
    small(device=gpu, augment=step).fit(images.astype(dtype), y)


@pytest.mark.parametrize(
    "method", ["predict_proba", "predict_log_proba", "decision_function", "transform"]
)
def test_a_moved_model_gives_what_it_gave(trained, moved, bars, gpu, method):
    """``set_params(device=...)`` after fit."""
    images, _ = bars
    assert_allclose(getattr(moved, method)(images), getattr(trained, method)(images), atol=1e-4)
    assert device_of(moved) == gpu


def test_feature_maps_and_summary(trained, moved, bars):
    images, _ = bars
    maps = moved.feature_maps(images[:9])
    for name, expected in trained.feature_maps(images[:9]).items():
        assert_allclose(maps[name], expected, atol=1e-4)
    assert moved.summary().n_parameters == trained.summary().n_parameters


@pytest.mark.parametrize("method", ["gradient", "grad_cam", "occlusion"])
def test_saliency(trained, moved, bars, method):
    """Catches a map that becomes float64 before it leaves the device."""
    images, _ = bars
    here, there = (
        SaliencyDisplay.from_estimator(model, images, image=1, method=method)
        for model in (trained, moved)
    )
    assert_allclose(there.saliency, here.saliency, atol=1e-3)


def test_training_goes_on_where_it_was_moved(moved, bars, gpu):
    images, y = bars
    moved.partial_fit(images, y)
    assert device_of(moved) == gpu
    moments = [v for state in moved.net_.optimizer_.state.values() for v in state.values()]
    assert {value.device.type for value in moments if value.ndim} == {gpu}
    moved.set_params(warm_start=True, max_epochs=2).fit(images, y)
    assert moved.n_iter_ == 8


def test_a_model_comes_back_to_the_cpu(moved, bars):
    """A pickle on the GPU, and one that is moved back."""
    images, _ = bars
    expected = moved.predict_proba(images)
    assert_array_equal(pickle.loads(pickle.dumps(moved)).predict_proba(images), expected)
    back = moved.set_params(device="cpu")
    assert_allclose(back.predict_proba(images), expected, atol=1e-4)
    assert device_of(back) == "cpu"


def test_sixteen_threads_and_the_settings_of_torch(moved, bars):
    """Catches TF32 that one thread leaves on for another, or off for the user."""
    images, _ = bars
    expected, before = moved.predict_proba(images), torch.backends.cuda.matmul.fp32_precision
    with ThreadPoolExecutor(16) as pool:
        for probabilities in pool.map(lambda _: moved.predict_proba(images), range(64)):
            assert_array_equal(probabilities, expected)
    assert torch.backends.cuda.matmul.fp32_precision == before


def test_a_row_does_not_depend_on_its_neighbours(moved, bars):
    images, _ = bars
    assert_array_equal(moved.predict_proba(images[:3]), moved.predict_proba(images)[:3])


def test_one_seed_gives_one_model(small, bars, gpu):
    images, y = bars
    first, second = (small(device=gpu).fit(images, y).predict_proba(images) for _ in range(2))
    assert np.array_equal(first, second)
