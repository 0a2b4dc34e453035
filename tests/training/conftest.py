"""The digits that the tests of further training learn from, and a number of threads."""

import pytest
import torch


@pytest.fixture
def images(digits):
    return digits.images[:200]


@pytest.fixture
def target(digits):
    return digits.target[:200]


@pytest.fixture
def three_threads():
    """torch has three threads, and as many as before afterwards."""
    threads = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(threads)
