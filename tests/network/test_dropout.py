"""Dropout with a generator of its own: its share, its scale, its seed; nothing at prediction."""

import pytest
import torch
from torch import nn

from sklearn_cnn.network.modules import Dropout


def seeded(rate, seed=0):
    dropout = Dropout(rate)
    dropout.generator = torch.Generator().manual_seed(seed)
    return dropout


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.5, 0.9])
@pytest.mark.parametrize("own", [True, False])
def test_the_share_that_is_dropped_and_the_scale_of_the_rest(rate, own):
    """10,000 values, five standard deviations. Catches the share kept for the share dropped."""
    dropout = seeded(rate) if own else Dropout(rate)
    state = torch.get_rng_state()
    torch.manual_seed(0)
    values = torch.linspace(1, 2, 10_000)
    dropped = dropout(values)
    torch.set_rng_state(state)
    kept = dropped != 0
    torch.testing.assert_close(dropped[kept], values[kept] / (1 - rate))
    assert abs(int((~kept).sum()) - 10_000 * rate) <= 5 * (10_000 * rate * (1 - rate)) ** 0.5


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("shape", [(4,), (3, 5), (2, 3, 4, 5), (0, 3)])
def test_shape_and_dtype_stay(dtype, shape):
    values = torch.ones(shape, dtype=dtype)
    dropped = seeded(0.5)(values)
    assert dropped.shape == values.shape
    assert dropped.dtype == dtype
    assert set(dropped.flatten().tolist()) <= {0.0, 2.0}


def test_the_generator_decides_and_torchs_own_stays_as_it_was():
    """Catches draws from the generator that all threads of a process share."""
    values = torch.ones(1000)
    state = torch.get_rng_state()
    dropout = seeded(0.5, 3)
    first, second = dropout(values), dropout(values)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(seeded(0.5, 3)(values), first)
    assert not torch.equal(second, first)
    assert not torch.equal(seeded(0.5, 4)(values), first)


def test_without_a_generator_it_is_torchs_dropout():
    """The very draws of torch's layer, so that seeds keep their meaning."""
    values = torch.ones(1000)
    with torch.random.fork_rng():
        results = []
        for layer in (Dropout(0.3), nn.Dropout(0.3)):
            torch.manual_seed(5)
            results.append(layer(values))
    assert torch.equal(*results)


@pytest.mark.parametrize("own", [True, False])
def test_nothing_is_dropped_at_prediction_and_nothing_drawn(own):
    """Catches a model that predicts something else each time."""
    dropout = (seeded(0.9) if own else Dropout(0.9)).eval()
    values = torch.linspace(-1, 1, 100)
    before = dropout.generator.get_state() if own else torch.get_rng_state()
    assert torch.equal(dropout(values), values)
    after = dropout.generator.get_state() if own else torch.get_rng_state()
    assert torch.equal(before, after)


def test_the_gradient_is_the_mask():
    """Catches a gradient through values that were dropped, or one without the scale."""
    values = torch.linspace(1, 2, 100, requires_grad=True)
    dropped = seeded(0.75)(values)
    dropped.sum().backward()
    expected = torch.where(dropped.detach() != 0, 4.0, 0.0)
    assert 0 < int((expected > 0).sum()) < 100
    assert torch.equal(values.grad, expected)


def test_the_input_is_not_written_to():
    values = torch.ones(100)
    seeded(0.5)(values)
    assert torch.equal(values, torch.ones(100))
