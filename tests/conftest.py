"""Fixtures that many tests share: the digits, and small classifiers that fit in a moment."""

import os
from contextlib import contextmanager

# scikit-learn skips its array-API check without it, and SciPy reads it when first imported.
os.environ.setdefault("SCIPY_ARRAY_API", "1")

# Pictures are drawn into memory, on machines with a screen too.
os.environ["MPLBACKEND"] = "Agg"

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from sklearn_cnn import CNNClassifier


def pytest_configure(config):
    """Hide GPUs: the suite is about the CPU, on machines with one too, but for ``-m gpu``."""
    config.stash[ON_A_GPU] = on_a_gpu = config.option.markexpr.split()[:1] == ["gpu"]
    if not on_a_gpu:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
        torch.backends.mps.is_available = lambda: False


ON_A_GPU = pytest.StashKey[bool]()


def pytest_runtest_setup(item):
    """Skip what is about a GPU where there is none, or where it is hidden."""
    if item.get_closest_marker("gpu") is None:
        return
    if not item.config.stash[ON_A_GPU]:
        pytest.skip("is about a GPU: scripts/test -m gpu")
    if not (torch.cuda.is_available() or torch.backends.mps.is_available()):
        pytest.skip("torch sees no GPU")


@pytest.fixture
def gpu():
    """The name of the device that tests marked ``gpu`` compute on."""
    return "cuda" if torch.cuda.is_available() else "mps"


# Workers of pytest-xdist share the cores; threads that wait for each other would take them all.
torch.set_num_threads(
    max(1, (os.cpu_count() or 1) // int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", 1)))
)


def pytest_ignore_collect(collection_path, config):
    """Leave two folders to scripts of the same names, whose environments have those libraries."""
    if collection_path.name not in ("clients", "scale"):
        return None
    is_asked_for = any(collection_path.name in argument for argument in config.args)
    return None if is_asked_for else True


@pytest.fixture(scope="session")
def digits():
    """The 1,797 handwritten digits: ``images`` (n, 8, 8) from 0 to 16, ``data`` (n, 64)."""
    bunch = load_digits()
    for array in (bunch.images, bunch.data, bunch.target):
        array.flags.writeable = False
    return bunch


@pytest.fixture
def small():
    """A function that makes a small, quick classifier; parameters override its own.

    Early stopping holds out 30 of 200 images: below that number it warns.
    """

    def make(**parameters):
        quick = {"conv_channels": 8, "dense_units": 16, "max_epochs": 3, "random_state": 0}
        quick["validation_fraction"] = 0.15
        return CNNClassifier(**{**quick, **parameters})

    return make


@pytest.fixture
def three_threads():
    """torch has three threads, and as many as before afterwards."""
    threads = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def left_alone():
    """A context in which a network must keep its weights and statistics, and gain no hook."""

    @contextmanager
    def check(network):
        before = {name: value.clone() for name, value in network.state_dict().items()}
        yield
        for module in network.modules():
            assert not module._forward_hooks
            assert not module._forward_pre_hooks
        for name, value in network.state_dict().items():
            assert torch.equal(value, before[name]), name

    return check


@pytest.fixture(scope="session")
def bars():
    """200 gray images of 8 x 6 with a bright row (class 0) or a bright column (class 1), uint8."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 100, (200, 8, 6), dtype=np.uint8)
    target = np.arange(200) % 2
    for image, label in zip(images, target, strict=True):
        if label:
            image[:, rng.integers(6)] = 250
        else:
            image[rng.integers(8), :] = 250
    images.flags.writeable = False
    return images, target
