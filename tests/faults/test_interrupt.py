"""Ctrl-C ends everything at once; early stopping is no interrupt."""

import re
import signal
from pathlib import Path

import joblib
import numpy as np
import pytest
import sklearn
from numpy.testing import assert_array_equal
from sklearn.model_selection import GridSearchCV
from sklearn.utils.fixes import parse_version
from sklearn.utils.validation import check_is_fitted
from skorch.callbacks import Callback, EarlyStopping


@pytest.fixture(autouse=True)
def _interruptible():
    """Python's own handling of SIGINT, which a shell switches off for what it runs beside it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


class PressCtrlC(Callback):
    """Sends this process the signal of Ctrl-C after a batch."""

    def on_batch_end(self, net, training=False, **_):
        if training:
            signal.raise_signal(signal.SIGINT)


def test_ctrl_c_leaves_fit_as_keyboard_interrupt(small, bars):
    """skorch would take it for a normal end, and keep a half-trained net."""
    model = small(callbacks=[PressCtrlC()])
    with pytest.raises(KeyboardInterrupt):
        model.fit(*bars)
    assert [name for name in vars(model) if name.endswith("_")] == []


def test_ctrl_c_stops_a_whole_search(small, bars):
    """A search catches errors of a fit; an interrupt must not be one of them."""
    images, y = bars
    search = GridSearchCV(
        small(callbacks=[PressCtrlC()]), {"learning_rate": [1e-3, 1e-2]}, cv=2, error_score=0.0
    )
    with pytest.raises(KeyboardInterrupt):
        search.fit(images, y)
    assert not hasattr(search, "cv_results_")


@pytest.mark.parametrize("further", ["refit", "warm start", "partial fit"])
def test_an_interrupted_further_fit_leaves_the_earlier_one(small, bars, further):
    images, y = bars
    model = small().fit(images, y)
    before, epochs = model.predict_proba(images), model.n_iter_
    model.set_params(callbacks=[PressCtrlC()], warm_start=further == "warm start")
    with pytest.raises(KeyboardInterrupt):
        (model.partial_fit if further == "partial fit" else model.fit)(images, y)
    np.testing.assert_array_equal(model.predict_proba(images), before)
    assert model.n_iter_ == len(model.loss_curve_) == len(model.history_) == epochs
    check_is_fitted(model)


def test_early_stopping_ends_fit_well(small, bars):
    """Ours raises nothing to the outside; skorch's raises KeyboardInterrupt on the inside."""
    images, y = bars
    ours = small(max_epochs=50, early_stopping=True, n_iter_no_change=2, tol=0.5).fit(images, y)
    assert ours.n_iter_ < 50
    stopper = EarlyStopping(monitor="train_loss", patience=2, threshold=0.9, sink=noop)
    skorchs = small(max_epochs=50, callbacks=[stopper]).fit(images, y)
    assert skorchs.n_iter_ < 50
    assert len(ours.validation_scores_) == ours.n_iter_
    assert set(ours.predict(images)) <= set(skorchs.classes_)


def noop(*_):
    """Swallow what a callback would print."""


class PressCtrlCAtTheEnd(EarlyStopping):
    """An early stopping that has lost its patience, and is interrupted in its last hook."""

    def on_train_end(self, net, **_):
        signal.raise_signal(signal.SIGINT)


def test_ctrl_c_after_early_stopping_is_ctrl_c(small, bars):
    """An interrupt in the last hook of a stopper must not pass for one more stop."""
    stopper = PressCtrlCAtTheEnd(monitor="train_loss", patience=1, threshold=0.9, sink=noop)
    with pytest.raises(KeyboardInterrupt):
        small(callbacks=[stopper], max_epochs=20).fit(*bars)


def test_ctrl_c_under_skorchs_early_stopping_is_ctrl_c(small, bars):
    """An early stopping that has not lost patience must not hide the interrupt."""
    model = small(callbacks=[EarlyStopping(monitor="train_loss", sink=noop), PressCtrlC()])
    with pytest.raises(KeyboardInterrupt):
        model.fit(*bars)


class InEpoch(Callback):
    """Ctrl-C in a batch of an epoch."""

    def __init__(self, epoch):
        self.epoch = epoch

    def on_batch_end(self, net, **_):
        if len(net.history) == self.epoch:
            signal.raise_signal(signal.SIGINT)


def keep_epochs(path):
    """The callback of the user guide, as it is printed there."""
    page = Path(__file__).parents[2] / "docs" / "user_guide" / "watching.md"
    code = r"```python\n(import os\n.*?)\n\nclassifier ="
    block = re.search(code, page.read_text(), re.DOTALL)
    names = {}
    exec(block[1], names)
    return names["KeepEpochs"](path)


needs_callbacks = pytest.mark.skipif(
    parse_version(sklearn.__version__) < parse_version("1.9"),
    reason="scikit-learn has callbacks since 1.9",
)


@needs_callbacks
@pytest.mark.parametrize("early_stopping", [False, True])
def test_the_epochs_before_ctrl_c_are_kept(small, bars, tmp_path, early_stopping):
    """By the callback of the guide. Catches hours that are lost; and the fit is undone as ever."""
    options = {"schedule": "constant", "early_stopping": early_stopping}
    model = small(max_epochs=5, callbacks=[InEpoch(3)], **options)
    model.set_callbacks(keep_epochs(tmp_path / "kept.joblib"))
    with pytest.raises(KeyboardInterrupt):
        model.fit(*bars)
    assert not hasattr(model, "classes_")
    kept = joblib.load(tmp_path / "kept.joblib")
    shorter = small(max_epochs=2, **options).fit(*bars)
    assert_array_equal(kept.predict_proba(bars[0]), shorter.predict_proba(bars[0]))
    kept.set_params(callbacks=None, warm_start=True, max_epochs=4).fit(*bars)
    assert kept.n_iter_ == 6
    assert [path.name for path in tmp_path.iterdir()] == ["kept.joblib"]


@needs_callbacks
@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_an_end_while_an_epoch_is_written_leaves_the_one_before(
    small, bars, tmp_path, monkeypatch, error
):
    """Catches a file that is half written, which skorch's Checkpoint leaves."""
    synced = []

    def fails_the_second_time(number):
        synced.append(number)
        if len(synced) == 2:
            raise error("on purpose")

    monkeypatch.setattr("os.fsync", fails_the_second_time)
    model = small(max_epochs=5).set_callbacks(keep_epochs(tmp_path / "kept.joblib"))
    with pytest.raises(error, match="on purpose"):
        model.fit(*bars)
    assert joblib.load(tmp_path / "kept.joblib").n_iter_ == 1
