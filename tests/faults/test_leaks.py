"""Hundreds of fits leave nothing behind, and a pickle does not hold the training data."""

import gc
import os
import pickle
import tempfile
import threading
from pathlib import Path

import numpy as np
import pytest


def resources():
    gc.collect()
    rss_pages = int(Path("/proc/self/statm").read_text().split()[1])
    return {
        "bytes": rss_pages * os.sysconf("SC_PAGE_SIZE"),
        "handles": len(os.listdir("/proc/self/fd")),
        "threads": threading.active_count(),
        "tasks": len(os.listdir("/proc/self/task")),
    }


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads Linux's /proc")
def test_three_hundred_fits_do_not_grow(small, tmp_path, monkeypatch):
    """A megabyte a fit, a handle a fit or a thread a fit would show."""
    rng = np.random.default_rng(0)
    X, y = rng.integers(0, 256, (64, 8, 8), dtype=np.uint8), np.arange(64) % 2
    model = small(max_epochs=1, early_stopping=True, validation_fraction=0.5)
    model.fit(X, y)  # a process's first optimizer makes a folder of PyTorch's
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    for _ in range(30):
        pickle.loads(pickle.dumps(model.fit(X, y))).predict(X)
    before = resources()
    for _ in range(300):
        pickle.loads(pickle.dumps(model.fit(X, y))).predict(X)
    after = resources()
    assert after["bytes"] - before["bytes"] < 30 << 20
    assert after["handles"] <= before["handles"]
    assert after["threads"] <= before["threads"]
    assert after["tasks"] <= before["tasks"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("early_stopping", [False, True])
def test_the_pickle_does_not_hold_the_training_data(small, early_stopping):
    rng = np.random.default_rng(0)
    X, y = rng.integers(0, 256, (4000, 16, 16), dtype=np.uint8), np.arange(4000) % 2
    model = small(max_epochs=1, batch_size=4000, early_stopping=early_stopping)
    model.set_params(validation_fraction=0.3)
    few = len(pickle.dumps(model.fit(X[:100], y[:100])))
    many = len(pickle.dumps(model.fit(X, y)))
    assert many < few + 1000
    assert few < X.nbytes / 4
