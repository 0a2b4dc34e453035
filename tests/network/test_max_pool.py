"""Maximum pooling: by slices at prediction, by torch's search in training; the same numbers."""

import pytest
import torch
from torch import nn
from torch.nn.functional import max_pool2d

from sklearn_cnn.network.modules import MaxPool2d

WINDOWS = [(1, 1), (1, 2), (2, 1), (2, 2), (2, 3), (3, 2), (3, 3), (4, 4), (5, 1)]


def values(*shape, seed=0, dtype=torch.float32):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def same(found, expected):
    """Equal shapes, dtypes and values; NaN equals NaN."""
    assert found.dtype == expected.dtype
    torch.testing.assert_close(found, expected, rtol=0, atol=0, equal_nan=True)


def test_by_hand():
    """A row and a column are left over. Catches windows that begin at the wrong side."""
    grid = torch.tensor([[1.0, 5, 2, 0, 99], [3, 4, 8, 6, 99], [9, 7, 1, 1, 99], [0, 0, 2, 4, 99]])
    with torch.no_grad():
        assert MaxPool2d((2, 2), (2, 2))(grid[None, None]).tolist() == [[[[5, 8], [9, 4]]]]
        assert MaxPool2d((3, 2), (3, 2))(grid[None, None]).tolist() == [[[[9, 8]]]]


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("stride", [None, (1, 1), (2, 2), (3, 1)])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_prediction_equals_torchs_for_every_side(window, stride, memory_format):
    """All sides that the window fits in, up to two windows and some rows left over.

    Catches leftover rows that count, and steps that are not the window's.
    """
    pool = MaxPool2d(window, stride or window)
    for height in range(window[0], 2 * window[0] + 2):
        for width in range(window[1], 2 * window[1] + 2):
            maps = values(2, 3, height, width).contiguous(memory_format=memory_format)
            with torch.no_grad():
                same(pool(maps), max_pool2d(maps, window, stride or window))
            with torch.inference_mode():
                same(pool(maps), max_pool2d(maps, window, stride or window))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("window", [(2, 2), (3, 2)])
def test_nan_and_infinity_come_through_as_torchs_do(dtype, window):
    """Catches a NaN that is lost, and with it the error that names the images."""
    maps = values(20, 4, 7, 9, dtype=dtype)
    odd = torch.tensor([float("nan"), float("inf"), -float("inf"), 0.0], dtype=dtype)
    drawn = torch.randint(0, 12, maps.shape, generator=torch.Generator().manual_seed(1))
    maps = torch.where(drawn < 4, odd[drawn.clamp(max=3)], maps)
    expected = max_pool2d(maps, window)
    assert 0 < int(expected.isnan().sum()) < expected.numel()
    with torch.no_grad():
        same(MaxPool2d(window, window)(maps), expected)
        same(MaxPool2d(window, window)(torch.full_like(maps, -float("inf")))[0, 0, 0, 0], -odd[1])


@pytest.mark.parametrize("window", WINDOWS)
def test_with_and_without_a_gradient_are_the_same(window):
    """Bit for bit: training, validation and prediction see one network."""
    maps = values(3, 2, 11, 13).requires_grad_()
    pool = MaxPool2d(window, window)
    searched = pool(maps)
    assert searched.requires_grad
    with torch.no_grad():
        same(pool(maps), searched.detach())


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("stride", [None, (1, 2)])
def test_the_gradient_is_torchs(window, stride):
    """Also of ties, which go to the first. Catches a gradient that is shared among equals."""
    gradients = []
    for kind in (MaxPool2d, nn.MaxPool2d):
        maps = values(2, 2, 11, 9).round().requires_grad_()
        pooled = kind(window, stride or window)(maps)
        (pooled * values(*pooled.shape, seed=2)).sum().backward()
        gradients.append(maps.grad)
    assert gradients[0].any()
    same(*gradients)


def test_the_input_is_not_written_to():
    maps = values(2, 2, 5, 5)
    before = maps.clone()
    with torch.no_grad():
        pooled = MaxPool2d((1, 1), (1, 1))(maps)
        MaxPool2d((2, 2), (2, 2))(maps)
        assert torch.equal(pooled, before)
    assert torch.equal(maps, before)


def test_no_images_are_no_maps():
    with torch.no_grad():
        assert MaxPool2d((2, 2), (2, 2))(torch.empty(0, 3, 6, 6)).shape == (0, 3, 3, 3)
