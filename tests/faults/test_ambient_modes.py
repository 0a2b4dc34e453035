"""Modes that the caller has switched on do not reach inside, and threads keep their settings."""

import threading

import numpy as np
import pytest
import torch
from skorch.callbacks import Callback

MODES = {
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    "inference": torch.inference_mode,
    "no gradients": torch.no_grad,
    "default device": lambda: torch.device("meta"),
}


@pytest.mark.parametrize("mode", MODES)
def test_modes_of_the_caller_change_nothing(small, bars, mode):
    """Autocast would train and predict in bfloat16, and the others stop with torch's errors."""
    images, y = bars
    expected = small().fit(images, y).predict_proba(images)
    with MODES[mode]():
        model = small().fit(images, y)
        inside = model.predict_proba(images)
    np.testing.assert_array_equal(inside, expected)
    np.testing.assert_array_equal(model.predict_proba(images), expected)


@pytest.mark.parametrize("mode", MODES)
def test_modes_of_the_caller_do_not_reach_the_features(small, bars, mode):
    """Catches maps in bfloat16, and a copy of the network that lies nowhere."""
    images, y = bars
    model = small().fit(images, y)
    expected = model.feature_maps(images)
    with MODES[mode]():
        found = model.feature_maps(images)
        features = model.transform(images)
        assert min(model.summary().seconds) >= 0
    for name, values in found.items():
        np.testing.assert_array_equal(values, expected[name])
    np.testing.assert_array_equal(features, model.transform(images))


class Meanwhile(Callback):
    """Starts a thread in the middle of a fit, which fits too, and is done after it."""

    def __init__(self, work):
        self.work = work

    def __deepcopy__(self, memo):
        return self

    def on_train_begin(self, net, **_):
        self.began_ = threading.Event()
        self.thread_ = threading.Thread(target=self.run)
        self.thread_.start()
        assert self.began_.wait(30)

    def run(self):
        torch.get_num_threads()  # the thread takes its setting from the process here
        self.began_.set()
        self.work()


def threads_of_a_new_thread():
    found = []
    thread = threading.Thread(target=lambda: found.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    return found[0]


def test_a_thread_that_begins_during_a_fit_does_not_keep_its_single_thread(small, bars):
    """It finds 1, and must not take that for the setting to go back to."""
    images, y = bars
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        beside = Meanwhile(lambda: small().fit(images, y))
        small(callbacks=[beside]).fit(images, y)
        beside.thread_.join(30)
        assert torch.get_num_threads() == 3
        assert threads_of_a_new_thread() == 3
    finally:
        torch.set_num_threads(before)
