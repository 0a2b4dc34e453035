"""The progress bar: on standard error if asked for, nothing at all if not, and always closed."""

import re

import pytest
from skorch.callbacks import Callback

from sklearn_cnn._forks import tqdm
from sklearn_cnn.training.callbacks import Progress


class FailInSecondEpoch(Callback):
    def on_epoch_end(self, net, **_):
        if len(net.history) == 2:
            raise RuntimeError("on purpose")


def test_silence_is_silent(small, bars, capfd):
    """Both streams, below Python too. Catches a print left behind, and skorch's table."""
    small(early_stopping=True).fit(*bars).predict(bars[0])
    assert capfd.readouterr() == ("", "")


def test_a_bar_shows_epochs_batches_and_loss_on_standard_error(small, bars, capfd):
    """3 epochs of 4 batches are 12 steps. Catches a bar on standard output."""
    classifier = small(verbose=1, batch_size=50).fit(*bars)
    out, err = capfd.readouterr()
    assert out == ""
    last = re.split(r"[\r\n]+", err.strip())[-1]
    assert "epoch 3/3" in last
    assert "12/12" in last
    assert f"loss={classifier.loss_curve_[-1]:.4f}" in last
    assert "validation" not in last
    assert err.endswith("\n")


def test_a_bar_shows_the_validation_score(small, bars, capfd):
    """Catches a bar called before the score is there."""
    classifier = small(verbose=1, early_stopping=True, max_epochs=2).fit(*bars)
    assert f"validation={classifier.validation_scores_[-1]:.4f}" in capfd.readouterr().err


def test_validation_batches_do_not_move_the_bar(small, bars, capfd):
    """180 images to train on are 4 batches of 45. Catches a bar beyond its end."""
    small(verbose=1, early_stopping=True, batch_size=50, max_epochs=2).fit(*bars)
    err = capfd.readouterr().err
    assert "8/8" in err
    assert "9/8" not in err


def test_a_warm_start_counts_its_own_epochs(small, bars, capfd):
    """Catches "epoch 4/3" in the second fit."""
    classifier = small(verbose=1, warm_start=True).fit(*bars)
    capfd.readouterr()
    err = classifier.fit(*bars) and capfd.readouterr().err
    assert "epoch 3/3" in err
    assert "epoch 4" not in err


def test_the_bar_is_closed_after_an_error(small, bars, capfd):
    """Catches an error message written into the middle of a bar, and a bar that stays open."""
    with pytest.raises(RuntimeError, match="on purpose"):
        small(verbose=1, callbacks=[FailInSecondEpoch()]).fit(*bars)
    assert not list(getattr(tqdm, "_instances", ()))
    err = capfd.readouterr().err
    assert "epoch 2/3" in err
    assert err.endswith("\n")


def test_closing_twice_or_before_the_start_is_no_error():
    progress = Progress(1, 1)
    progress.close()
    progress.on_train_begin(None)
    progress.close()
    progress.close()


@pytest.mark.parametrize("verbose", [0, 1])
def test_a_bar_changes_nothing_in_the_result(small, bars, verbose, capfd):
    assert small(verbose=verbose).fit(*bars).loss_curve_ == small().fit(*bars).loss_curve_
    capfd.readouterr()
