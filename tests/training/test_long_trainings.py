"""A training that would take hours says so before it begins; ordinary ones do not."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from sklearn_cnn import CNNClassifier, Conv, Flatten, Pool
from sklearn_cnn.network.build import build_network
from sklearn_cnn.network.design import design_network
from sklearn_cnn.network.outputs import layer_table
from sklearn_cnn.training.net import ConvNet
from sklearn_cnn.training.optimizer import warn_if_long


class StopBeforeTraining(Exception):
    pass


@pytest.fixture
def stopped(monkeypatch):
    """Whatever is warned of is warned of before this stops the fit."""

    def stop(*_, **__):
        raise StopBeforeTraining

    monkeypatch.setattr(ConvNet, "train", stop)


@pytest.mark.parametrize(
    ("shape", "parameters"),
    [
        ((6, 900, 1100), {}),
        ((2, 1024, 1024, 3), {"early_stopping": False}),
        ((6, 800, 800), {"max_epochs": 30}),
        ((4, 700, 700), {"layers": [Conv(64, 15), Pool("max", 50), Flatten()]}),
    ],
)
def test_large_images_are_warned_of_before_training(stopped, shape, parameters):
    """Catches minutes an epoch without a word, and a warning that comes when training is done."""
    message = rf"hours on a CPU: {shape[0]} images of {shape[1]} x {shape[2]}, .*ImageReader\(size="
    model = CNNClassifier(random_state=0, **parameters)
    with pytest.warns(UserWarning, match=message) as caught, pytest.raises(StopBeforeTraining):
        model.fit(np.zeros(shape, np.uint8), np.arange(shape[0]) % 2)
    assert caught[0].filename == __file__


def table(height, width, channels):
    """The table of layers of the default design, and the shape of the images."""
    network = build_network(
        design_network((height, width, channels)), (height, width, channels), 10,
        np.zeros(channels), np.ones(channels), torch.float32,
    )  # fmt: skip
    return layer_table(network, (height, width, channels)), (height, width, channels)


MACHINE = (torch.float32, torch.device("cpu"))


@pytest.mark.parametrize(
    ("shape", "n", "epochs"),
    [
        ((28, 28, 1), 60_000, 11),
        ((64, 64, 3), 2_000, 50),
        ((64, 64, 3), 2_000, 100),
        ((32, 32, 3), 50_000, 14),
        ((128, 128, 3), 10_000, 22),
        ((512, 512, 3), 2, 1),
        ((560, 560, 1), 20, 1),
    ],
)
def test_ordinary_trainings_are_not_warned_of(shape, n, epochs):
    """The other side; a warning would be an error here."""
    warn_if_long(*table(*shape), n, epochs, *MACHINE)


@pytest.mark.parametrize(
    ("shape", "n", "epochs"),
    [((28, 28, 1), 60_000, 400), ((64, 64, 3), 100_000, 50), ((560, 560, 1), 20, 20)],
)
def test_many_images_for_many_epochs_are_warned_of(shape, n, epochs):
    """Catches a rule of the image's size alone."""
    with pytest.warns(UserWarning, match="multiply-adds forward"):
        warn_if_long(*table(*shape), n, epochs, *MACHINE)


def test_memory_alone_is_warned_of():
    """An image whose maps take 3 GiB, for a single epoch. Catches a rule of the time alone."""
    rows = [SimpleNamespace(n_parameters=1, output_shape=(2**14, 2**14, 1))]
    with pytest.warns(UserWarning, match="An image takes 3 GiB of memory"):
        warn_if_long(rows, (2**14, 2**14, 1), 1, 1, *MACHINE)
    warn_if_long(rows, (2**14, 2**14, 1), 1, 1, torch.float32, torch.device("cuda"))
