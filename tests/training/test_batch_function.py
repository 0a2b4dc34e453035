"""A function of the user's on batches: called on each, looked at closely on the first."""

import re

import numpy as np
import pytest
import torch

from sklearn_cnn import CNNClassifier
from sklearn_cnn.training.batch_function import FACTOR, BatchFunction

BATCH = torch.arange(2 * 3 * 4 * 4, dtype=torch.float32).reshape(2, 3, 4, 4)


def checked(function, batch=BATCH):
    return BatchFunction(function, "augment[1]")(batch)


@pytest.mark.parametrize(
    "function",
    [
        lambda batch: batch,
        lambda batch: batch.flip(3),
        lambda batch: batch.double(),
        lambda batch: batch.to(torch.uint8),
        lambda batch: batch * 0.5 + 10,
        lambda batch: batch / (FACTOR - 0.01),
        lambda batch: batch * (FACTOR - 0.01),
        lambda batch: torch.zeros_like(batch),  # blank images have no scale
    ],
)
def test_what_may_be_returned(function):
    assert torch.equal(checked(function), function(BATCH))


@pytest.mark.parametrize(
    "function",
    [
        lambda batch: batch / 255,
        lambda batch: (batch - batch.mean()) / batch.std(),
        lambda batch: batch > 40,
        lambda batch: batch / (FACTOR + 0.01),
        lambda batch: batch * (FACTOR + 0.01),
    ],
)
def test_another_scale_is_refused(function):
    """Catches a model that learns one range of pixels and is asked about another."""
    with pytest.raises(ValueError, match=r"^augment\[1\] must keep the range of the pixels"):
        checked(function)


def test_an_error_gives_both_spreads():
    """Values 0 and 2: a standard deviation of 1, then of 1/100."""
    batch = torch.tensor([0.0, 2.0]).reshape(2, 1, 1, 1)
    with pytest.raises(ValueError, match=re.escape("deviation went from 1 to 0.01. Leave out")):
        checked(lambda pixels: pixels / 100, batch)


def test_a_blank_batch_may_become_anything():
    """Catches a division by the spread of images of one colour."""
    blank = torch.full((2, 1, 3, 3), 7, dtype=torch.uint8)
    noise = torch.arange(18.0).reshape(2, 1, 3, 3)
    assert torch.equal(checked(lambda _: noise, blank), noise)


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_values_that_are_not_finite_are_laid_to_the_function(value):
    """Catches a NaN that is blamed on the learning rate."""

    def spoil(batch):
        batch = batch.clone()
        batch[1, 2, 3, 3] = value
        return batch

    with pytest.raises(ValueError, match=r"^augment\[1\] must return finite numbers"):
        checked(spoil)


def test_complex_numbers_are_refused():
    with pytest.raises(TypeError, match=r"^augment\[1\] must return real numbers.*complex64"):
        checked(lambda batch: batch * 1j)


def test_only_the_first_batch_is_read():
    """Reading a value waits for a GPU. Catches a check of every batch."""
    function = BatchFunction(lambda batch: batch * scale, "augment")
    scale = 1.0
    function(BATCH)
    scale = 1e-6
    assert torch.equal(function(BATCH), BATCH * 1e-6)
    function.function = lambda batch: batch[:1]
    with pytest.raises(ValueError, match="must return images of the shape"):
        function(BATCH)


def test_an_error_in_the_function_says_whose_it_is():
    """Gaussian noise on whole numbers. Catches an error of torch's that names no parameter."""
    images = np.arange(2 * 8 * 8, dtype=np.uint8).reshape(2, 8, 8)
    model = CNNClassifier(augment=lambda batch: batch + torch.randn_like(batch))
    with pytest.raises(NotImplementedError) as caught:
        model.fit(images, [0, 1])
    expected = "Raised by augment, which was given a batch of torch.uint8 of shape (2, 1, 8, 8)."
    assert caught.value.__notes__ == [expected]
