"""The time of each layer, by a clock that the layers set: no test reads a real one."""

import pytest
import torch
from torch import nn

from sklearn_cnn.network import summary as measuring
from sklearn_cnn.network.outputs import layer_table
from sklearn_cnn.network.summary import ROUNDS, layer_times

SHAPE = (4, 3, 2)
"""Height, width, channels of the blank images."""


class Clock:
    """Stands still until a layer moves it."""

    def __init__(self):
        self.now = 0.0

    def __deepcopy__(self, memo):
        return self

    def perf_counter(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    made = Clock()
    monkeypatch.setattr(measuring, "time", made)
    return made


class Takes(nn.Module):
    """Takes the given seconds, pass by pass."""

    def __init__(self, clock, *seconds):
        super().__init__()
        self.clock, self.seconds = clock, list(seconds)

    def forward(self, x):
        self.clock.now += self.seconds.pop(0)
        return x


class Network(nn.Sequential):
    """Layers that run in turn, with a buffer, as every network of the package has."""

    def __init__(self, *layers):
        super().__init__(*layers)
        self.register_buffer("zero", torch.zeros(()))


def test_the_median_of_the_passes_after_the_first(clock):
    """Catches the first pass, which sets up memory, a mean that one slow pass moves, and the time
    of all images for that of one."""
    network = Network(
        Takes(clock, 1000, 3, 1, 500, 2, 4), nn.Identity(), Takes(clock, 0, 8, 8, 8, 8, 8)
    )
    assert ROUNDS == 5
    assert layer_times(network, SHAPE, 4) == (3 / 4, 0, 8 / 4)


class Branches(nn.Module):
    """Runs what it lists last first, a layer twice, and one that gives a tuple."""

    def __init__(self, clock):
        super().__init__()
        self.second = nn.Sequential(Takes(clock, *[5] * 6), nn.Flatten())
        self.first = Takes(clock, *[1, 10] * 6)
        self.gru = nn.GRU(3, 3, batch_first=True)
        self.unused = nn.Linear(3, 3)
        self.register_buffer("zero", torch.zeros(()))

    def forward(self, x):
        x = self.first(self.first(x.float()))
        self.gru(x[:, 0])
        return self.second(x)


def test_one_time_for_each_row_of_the_table(clock):
    """Catches a container that is counted beside its layers, and times in the order of listing."""
    times = layer_times(Branches(clock), SHAPE, 1)
    assert times == (1, 10, 5, 0)
    rows = layer_table(Branches(clock), SHAPE)
    assert [row.name for row in rows] == ["first", "first", "second.0", "second.1"]


class Found(list):
    """A list that is shared with the copies of its owner."""

    def __deepcopy__(self, memo):
        return self


class Notes(nn.Module):
    """Notes what each pass is like, and gives floats."""

    def __init__(self):
        super().__init__()
        self.found = Found()
        self.register_buffer("zero", torch.zeros(()))

    def forward(self, x):
        threads, graph = torch.get_num_threads(), torch.is_grad_enabled()
        self.found.append((tuple(x.shape), x.dtype, int(x.max()), self.training, graph, threads))
        return x.float()


@pytest.mark.usefixtures("three_threads")
def test_blank_images_at_prediction_in_one_thread():
    """Catches channels last, dropout at work, and threads that are left at one."""
    network = Notes().train()
    layer_times(network, SHAPE, 7)
    assert network.found == [((7, 2, 4, 3), torch.uint8, 0, False, False, 1)] * (1 + ROUNDS)
    assert torch.get_num_threads() == 3


@pytest.mark.usefixtures("three_threads")
@pytest.mark.parametrize("fails", [False, True])
def test_the_network_is_left_alone(left_alone, fails):
    """Catches hooks that stay, also after an error, and statistics that blank images move."""
    network = Network(Notes(), nn.BatchNorm2d(2), nn.Conv2d(2, 1, 9 if fails else 1)).train()
    with left_alone(network):
        if fails:
            with pytest.raises(RuntimeError, match="Kernel size"):
                layer_times(network, SHAPE, 2)
        else:
            layer_times(network, SHAPE, 2)
    assert torch.get_num_threads() == 3
    assert network.training


def test_a_real_clock_gives_a_time_to_each_layer(small, bars):
    """However short. Catches a summary whose times are those of other rows."""
    summary = small(max_epochs=1).fit(*bars).summary()
    assert len(summary.seconds) == len(summary.rows) == 9
    assert min(summary.seconds) >= 0
    assert sum(summary.time_shares) == pytest.approx(1)
    assert summary.n_parameters == 8 * 9 + 2 * 8 + 16 * (4 * 3 * 8 + 1) + 2 * (16 + 1)
