"""Whatever belongs to the whole process is left as it was found, also after an exception."""

import os
import random
import threading
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from skorch.callbacks import Callback

from sklearn_cnn.pixels.scale import SURELY


class Boom(Callback):
    """Fails in the middle of training."""

    def on_batch_end(self, net, training=False, **_):
        raise RuntimeError("boom")


def state_of_the_process():
    return {
        "torch generator": torch.get_rng_state().numpy().tobytes(),
        "numpy generator": str(np.random.mtrand._rand.get_state()),
        "python generator": random.getstate(),
        "threads": torch.get_num_threads(),
        "default dtype": torch.get_default_dtype(),
        "grad": torch.is_grad_enabled(),
        "inference": torch.is_inference_mode_enabled(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "cudnn": (torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic),
        "matmul precision": torch.get_float32_matmul_precision(),
        "warning filters": list(warnings.filters),
        "numpy errors": np.geterr(),
        "environment": {k: v for k, v in os.environ.items() if not k.startswith("TORCHINDUCTOR")},
        "threads of python": threading.active_count(),
        "folder": os.getcwd(),
    }


@pytest.mark.parametrize("random_state", [0, None])
def test_fit_and_predict_leave_the_process_as_it_was(small, bars, random_state):
    images, y = bars
    model = small(random_state=random_state, early_stopping=True, dropout=0.2)
    before = state_of_the_process()
    model.fit(images, y).predict(images)
    assert state_of_the_process() == before


def test_looking_inside_leaves_the_process_as_it_was(small, bars):
    """Also where the features are not finite, which is seen when all is computed."""
    images, y = bars
    model = small(precision="float32").fit(images / 25_000 - 0.005, y)
    broken = np.full((3, 8, 6), -3e37)
    model.image_spec_ = replace(
        model.image_spec_, low=-1e38, high=1e38, whole=False, doubt=SURELY
    )  # as if such had been seen at fit
    before = state_of_the_process()
    model.transform(images / 25_000 - 0.005)
    model.feature_maps(images / 25_000 - 0.005)
    model.summary()
    model._repr_mimebundle_()
    with pytest.raises(ValueError, match="not finite for 3 of 3 images"):
        model.transform(broken)
    assert state_of_the_process() == before


def test_a_failing_fit_leaves_the_process_as_it_was(small, bars):
    before = state_of_the_process()
    with pytest.raises(RuntimeError, match="boom"):
        small(callbacks=[Boom()]).fit(*bars)
    assert state_of_the_process() == before


def test_the_process_does_not_steer_the_fit(small, bars):
    """Seeds, default types and thread counts of the process must not change a seeded model."""
    images, y = bars
    expected = small().fit(images, y).predict_proba(images)
    threads, dtype = torch.get_num_threads(), torch.get_default_dtype()
    try:
        torch.set_num_threads(3)
        torch.set_default_dtype(torch.float64)
        with torch.random.fork_rng():
            torch.manual_seed(12345)
            again = small().fit(images, y).predict_proba(images)
    finally:
        torch.set_num_threads(threads)
        torch.set_default_dtype(dtype)
    np.testing.assert_array_equal(again, expected)


def test_two_fits_in_two_threads_equal_two_in_turn(small, bars):
    """Torch's generator belongs to the process: without turns the threads would share its draws."""
    images, y = bars
    expected = {seed: small(random_state=seed).fit(images, y) for seed in (0, 1)}
    models = {seed: small(random_state=seed) for seed in (0, 1)}
    threads = [threading.Thread(target=m.fit, args=(images, y)) for m in models.values()]
    before = torch.get_rng_state()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for seed, model in models.items():
        np.testing.assert_array_equal(
            model.predict_proba(images), expected[seed].predict_proba(images)
        )
    assert torch.equal(torch.get_rng_state(), before)


def test_a_random_state_instance_moves_on(small, bars):
    """As everywhere in scikit-learn: an instance gives another model at each fit."""
    images, y = bars
    model = small(random_state=np.random.RandomState(0))
    first = model.fit(images, y).predict_proba(images)
    assert not np.array_equal(model.fit(images, y).predict_proba(images), first)
