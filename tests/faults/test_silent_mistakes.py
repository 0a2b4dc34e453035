"""Mistakes that would give a poor model without a word: each gets one."""

import warnings

import numpy as np
import pytest
import torch
from sklearn.exceptions import ConvergenceWarning
from skorch.callbacks import Checkpoint, EpochScoring, PrintLog

RNG = np.random.default_rng(0)
COLOUR = RNG.integers(0, 256, (12, 16, 12, 3), dtype=np.uint8)
LABELS = np.arange(12) % 2


@pytest.mark.parametrize(
    ("X", "parameters"),
    [
        (COLOUR.transpose(0, 3, 1, 2), {"image_shape": (3, 16, 12)}),
        (COLOUR.reshape(12, -1), {"image_shape": (3, 16, 12)}),
        (COLOUR, {"data_format": "channels_first"}),
        (COLOUR[..., :1].transpose(0, 3, 1, 2), {"image_shape": (1, 16, 12)}),
    ],
)
def test_axes_that_look_swapped_are_warned_of(small, X, parameters):
    """The shape of other libraries, (3, 16, 12), would be an image 3 high with 12 channels."""
    with pytest.warns(UserWarning, match=r"image_shape, which is \(height, width, channels\)"):
        small(max_epochs=1, **parameters).fit(X, LABELS)


@pytest.mark.parametrize(
    ("X", "parameters"),
    [
        (COLOUR, {"image_shape": (16, 12, 3)}),
        (COLOUR.transpose(0, 3, 1, 2), {"image_shape": (16, 12, 3)}),
        (RNG.random((12, 2, 9, 7)), {"image_shape": (2, 9, 7), "data_format": "channels_last"}),
        (RNG.random((12, 9, 9, 7)), {"data_format": "channels_last"}),
    ],
)
def test_axes_that_do_not_are_not(small, X, parameters):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        small(max_epochs=1, **parameters).fit(X, LABELS)


def head(*last):
    return lambda shape, n: torch.nn.Sequential(
        torch.nn.Flatten(), torch.nn.Linear(int(np.prod(shape)), n), *last
    )


def test_a_softmax_at_the_end_is_warned_of(small):
    """Cross-entropy on probabilities trains, and badly."""
    with pytest.warns(UserWarning, match="Remove the softmax"):
        small(layers=head(torch.nn.Softmax(1)), max_epochs=1).fit(COLOUR, LABELS)
    small(layers=head(torch.nn.LogSoftmax(1)), max_epochs=1).fit(COLOUR, LABELS)


def test_a_training_that_learns_nothing_is_warned_of(small, bars):
    """A learning rate of 10 does not break anything; it just learns nothing."""
    images, y = bars
    model = small(max_epochs=6, learning_rate=10.0)
    with pytest.warns(ConvergenceWarning, match=r"no better than the 0\.693 of predicting the"):
        model.fit(images, y)
    assert model.loss_curve_[-1] >= np.log(2)
    small(max_epochs=6).fit(images, y)


@pytest.mark.parametrize(("batch_size", "asks_for_epochs"), [(21, False), (25, True)])
def test_a_training_of_few_steps_is_told_to_take_more(small, bars, batch_size, asks_for_epochs):
    """60 and 48 steps. Catches advice on the rate alone, where max_epochs was the mistake."""
    model = small(max_epochs=6, learning_rate=10.0, batch_size=batch_size)
    with pytest.warns(ConvergenceWarning, match="a smaller learning_rate") as caught:
        model.fit(*bars)
    text = "Training took 48 steps, in 6 epochs. Increase max_epochs, or use max_epochs='auto'."
    assert (text in str(caught[0].message)) == asks_for_epochs


@pytest.mark.parametrize(
    "callback", [Checkpoint(monitor="valid_loss_best"), EpochScoring("accuracy", on_train=False)]
)
def test_a_callback_without_validation_images(small, bars, callback, tmp_path, monkeypatch):
    """skorch's KeyError would not say where validation images come from."""
    monkeypatch.chdir(tmp_path)
    images, y = bars
    model = small(callbacks=[callback, Checkpoint(monitor="valid_loss_best")])
    with pytest.raises(ValueError, match="Use early_stopping=True, which holds some out"):
        model.fit(images, y)


@pytest.mark.parametrize("verbose", [0, 1])
def test_print_log_prints_when_verbose(small, bars, verbose, capsys):
    small(callbacks=[PrintLog()], verbose=verbose).fit(*bars)
    assert ("train_loss" in capsys.readouterr().out) == bool(verbose)
