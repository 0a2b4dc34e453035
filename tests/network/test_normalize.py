"""The first layer: raw pixels in, standardised floats out."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sklearn_cnn.network.modules import Normalize
from sklearn_cnn.pixels.scale import channel_statistics

MEAN, STD = np.array([10.0, 100.0]), np.array([2.0, 50.0])
PIXELS = [[[[10, 12], [6, 0]], [[100, 150], [0, 250]]]]
STANDARDISED = [[[[0, 1], [-2, -5]], [[0, 1], [-2, 3]]]]


@pytest.mark.parametrize(
    "dtype",
    ["uint8", "uint16", "int16", "int32", "int64", "float16", "float32", "float64"],
)
@pytest.mark.parametrize("out", [torch.float32, torch.float64])
def test_by_hand_from_any_dtype(dtype, out):
    """Would catch the channels' statistics swapped, arithmetic in uint8, or a wrong dtype."""
    pixels = torch.from_numpy(np.array(PIXELS, dtype=dtype))
    found = Normalize(MEAN, STD, out)(pixels)
    assert found.dtype == out
    np.testing.assert_allclose(found.numpy(), STANDARDISED, rtol=0, atol=1e-6)


def test_black_and_white():
    """Would catch booleans refused; (0 - 0.5) / 0.25 = -2 and (1 - 0.5) / 0.25 = 2."""
    normalize = Normalize(np.array([0.5]), np.array([0.25]), torch.float32)
    assert normalize(torch.tensor([[[[False, True]]]])).tolist() == [[[[-2.0, 2.0]]]]


def test_the_pixels_are_not_written_to():
    """Would catch arithmetic in place on a tensor that shares the user's memory."""
    pixels = torch.tensor(PIXELS, dtype=torch.float32)
    Normalize(MEAN, STD, torch.float32)(pixels)
    assert pixels.tolist() == PIXELS


def test_statistics_are_buffers_and_no_parameters():
    """Would catch statistics that are trained, or that do not travel with the weights."""
    normalize = Normalize(MEAN, STD, torch.float32)
    assert list(normalize.parameters()) == []
    state = normalize.state_dict()
    assert list(state) == ["mean", "scale"]
    np.testing.assert_allclose(state["mean"].flatten(), [10, 100])
    np.testing.assert_allclose(state["scale"].flatten(), [0.5, 0.02], rtol=1e-7)
    other = Normalize(np.zeros(2), np.ones(2), torch.float32)
    other.load_state_dict(state)
    pixels = torch.tensor(PIXELS)
    assert torch.equal(other(pixels), normalize(pixels))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_statistics_are_the_layers_own(dtype):
    """Would catch a network that changes with an array that it was built from, or changes it."""
    mean, std = MEAN.copy(), STD.copy()
    normalize = Normalize(mean, std, dtype)
    mean[:], std[:] = 7, 7
    np.testing.assert_allclose(normalize(torch.tensor(PIXELS)).numpy(), STANDARDISED, atol=1e-6)
    normalize.mean.fill_(3)
    assert mean.tolist() == [7, 7]


@given(offset=st.floats(-1000, 1000), spread=st.floats(0.01, 1000), channels=st.integers(1, 4))
@settings(max_examples=30, deadline=None, derandomize=True)
def test_training_images_get_mean_zero_and_standard_deviation_one(offset, spread, channels):
    """Would catch statistics and first layer that do not belong together."""
    images = np.random.default_rng(0).normal(offset, spread, (8, 5, 4, channels))
    mean, std = channel_statistics(images, np.arange(8), np.ones(8))
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2)
    found = Normalize(mean, std, torch.float64)(pixels).numpy()
    np.testing.assert_allclose(found.mean(axis=(0, 2, 3)), 0, atol=1e-8)
    np.testing.assert_allclose(found.std(axis=(0, 2, 3)), 1, atol=1e-8)


def test_it_prints_its_channels():
    """Would catch a printed network that says nothing of its first layer."""
    assert repr(Normalize(MEAN, STD, torch.float32)) == "Normalize(channels=2)"
