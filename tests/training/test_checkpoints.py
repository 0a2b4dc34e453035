"""Checkpoints: a fit goes on with equal bits, and another one never takes its file."""

import os
import signal
import subprocess
import sys
import textwrap
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal
from sklearn.model_selection import GridSearchCV
from skorch.callbacks import Callback, EarlyStopping, EpochScoring
from torch.optim import SGD

from sklearn_cnn import CNNClassifier, CNNRegressor, RandomFlip, RandomRotation
from sklearn_cnn.training import checkpoints
from sklearn_cnn.training.fingerprint import text_of


class Crash(Exception):
    pass


class CrashAfter(Callback):
    """End the process, as far as a test can, at the end of an epoch."""

    def __init__(self, epoch):
        self.epoch = epoch

    def on_epoch_begin(self, net, **_):
        if net.history[-1]["epoch"] == self.epoch + 1:
            raise Crash


class CountEpochs(Callback):
    """Count the epochs that are run in this process."""

    def on_train_begin(self, net, **_):
        self.n_epochs = 0

    def on_epoch_begin(self, net, **_):
        self.n_epochs += 1


@pytest.fixture(autouse=True)
def _every_epoch(monkeypatch):
    monkeypatch.setattr(checkpoints, "SECONDS", 0)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "a folder" / "checkpoints"


def bits_of(model):
    """Everything that a fit leaves: weights, statistics, optimizer, and the figures of epochs."""
    state = model.net_.module_.state_dict()
    figures = [
        {name: value for name, value in epoch.items() if name not in ("dur", "batches")}
        for epoch in model.history_
    ]
    batches = [epoch["batches"] for epoch in model.history_]
    arrays = {name: value.cpu().numpy().tobytes() for name, value in state.items()}
    return arrays, figures, batches, model.loss_curve_, model.validation_scores_


def crashed_and_gone_on(make, folder, epoch, *data):
    with pytest.raises(Crash):
        make(checkpoint=folder, callbacks=[CrashAfter(epoch)]).fit(*data)
    counter = CountEpochs()
    model = make(checkpoint=folder, callbacks=[counter]).fit(*data)
    return model, model.net_.callbacks_, counter.n_epochs


CASES = {
    "plain": {},
    "early stopping": {"early_stopping": True, "n_iter_no_change": 1, "max_epochs": 12},
    "augmented, dropout": {"augment": [RandomFlip(), RandomRotation(9)], "dropout": 0.3},
    "sgd": {"optimizer": "sgd", "schedule": "cosine", "learning_rate": 0.05},
    "own optimizer": {
        "optimizer": partial(SGD, momentum=0.9),
        "schedule": "constant",
        "learning_rate": 0.05,
    },
    "balanced": {"class_weight": "balanced", "precision": "float64"},
    "in parts": {"conv_channels": (32, 64), "batch_size": 100, "dropout": 0.2},
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("epoch", [1, 4])
def test_goes_on_with_equal_bits(small, images, target, folder, case, epoch):
    """Catches a moment, a rate, a patience or a generator that is not as it was."""
    if case == "in parts":
        images = np.repeat(np.repeat(images, 2, axis=1), 2, axis=2)
    make = partial(small, **{"max_epochs": 5, "random_state": 0, **CASES[case]})
    expected = make().fit(images, target)
    model, _, n_epochs = crashed_and_gone_on(make, folder, epoch, images, target)
    assert n_epochs == expected.n_iter_ - epoch
    assert bits_of(model) == bits_of(expected)
    if case == "in parts":
        assert model.net_.is_cut


def test_a_regressor_goes_on(images, target, folder):
    make = partial(CNNRegressor, 8, dense_units=8, max_epochs=4, random_state=0)
    expected = make().fit(images, target / 3)
    model, _, n_epochs = crashed_and_gone_on(make, folder, 2, images, target / 3)
    assert n_epochs == 2
    assert bits_of(model) == bits_of(expected)


def test_a_finished_fit_is_read(small, images, target, folder):
    """No epoch is run again, also of a fit that early stopping ended."""
    make = partial(small, early_stopping=True, n_iter_no_change=1, max_epochs=20, checkpoint=folder)
    first = make().fit(images, target)
    assert first.n_iter_ < 20
    counter = CountEpochs()
    again = make(callbacks=[counter]).fit(images, target)
    assert counter.n_epochs == 0
    assert bits_of(again) == bits_of(first)
    assert len(list(folder.iterdir())) == 1


def test_a_longer_fit_at_a_constant_rate_goes_on_from_a_shorter_one(small, images, target, folder):
    """The next rung of a halving search. The file of the shorter one stays, for that rung."""
    make = partial(small, schedule="constant", random_state=0)
    make(checkpoint=folder, max_epochs=2).fit(images, target)
    counter = CountEpochs()
    longer = make(checkpoint=folder, max_epochs=5, callbacks=[counter]).fit(images, target)
    assert counter.n_epochs == 3
    assert bits_of(longer) == bits_of(make(max_epochs=5).fit(images, target))
    shorter = make(checkpoint=folder, max_epochs=2, callbacks=[counter]).fit(images, target)
    assert (counter.n_epochs, shorter.n_iter_) == (0, 2)
    between = make(checkpoint=folder, max_epochs=4, callbacks=[counter]).fit(images, target)
    assert (counter.n_epochs, between.n_iter_) == (2, 4)


def test_with_one_cycle_epochs_decide(small, images, target, folder):
    """The shape of the learning rate spans them. Catches the start of another shape."""
    small(checkpoint=folder, max_epochs=2, random_state=0).fit(images, target)
    longer = small(checkpoint=folder, max_epochs=4, random_state=0).fit(images, target)
    expected = small(max_epochs=4, random_state=0).fit(images, target)
    assert bits_of(longer) == bits_of(expected)


@pytest.mark.parametrize(
    "change",
    [
        {"learning_rate": 0.02},
        {"dropout": 0.1},
        {"random_state": 1},
        {"conv_channels": 9},
        {"augment": RandomFlip()},
        {"precision": "float64"},
        {"class_weight": {0: 2.0}},
        "a pixel",
        "a label",
        "a weight",
    ],
)
def test_what_matters_has_a_file_of_its_own(small, images, target, folder, change):
    """Catches a fit that returns the model of another one."""
    weights = np.ones(len(images))
    make = partial(small, max_epochs=1, checkpoint=folder)
    make(random_state=0).fit(images, target, weights)
    images, target, options = images.copy(), target.copy(), {"random_state": 0}
    match change:
        case "a pixel":
            images[7, 3, 3] += 1
        case "a label":
            target[7] = (target[7] + 1) % 3
        case "a weight":
            weights[7] = 2
        case _:
            options |= change
    make(**options).fit(images, target, weights)
    assert len(list(folder.iterdir())) == 2


@pytest.mark.parametrize("change", [{"verbose": 1}, {"callbacks": [EpochScoring("f1_macro")]}])
def test_what_does_not_matter_shares_a_file(small, images, target, folder, change):
    first = small(random_state=0, checkpoint=folder).fit(images, target)
    again = small(random_state=0, checkpoint=folder, **change).fit(images, target)
    assert_array_equal(again.predict_proba(images), first.predict_proba(images))
    assert len(list(folder.iterdir())) == 1


def test_a_search_does_what_is_missing(small, images, target, folder):
    """The second search runs the candidate that the first did not have, and the same scores."""
    grid = {"conv_channels": [8, 12]}
    model = small(random_state=0, max_epochs=2, checkpoint=folder)
    first = GridSearchCV(model, {"conv_channels": [8]}, cv=2, refit=False).fit(images, target)
    assert len(list(folder.iterdir())) == 2
    second = GridSearchCV(model, grid, cv=2, refit=False).fit(images, target)
    assert len(list(folder.iterdir())) == 4
    name = "mean_test_score"
    assert second.cv_results_[name][0] == first.cv_results_[name][0]
    plain = GridSearchCV(model.set_params(checkpoint=None), grid, cv=2, refit=False)
    assert_array_equal(plain.fit(images, target).cv_results_[name], second.cv_results_[name])


def test_a_warm_start_has_a_file_of_its_own(small, images, target, folder):
    """Catches one that begins with the network of the first fit."""
    make = partial(small, random_state=0, warm_start=True)
    model = make(checkpoint=folder).fit(images, target)
    expected = make().fit(images, target).fit(images, target)
    assert bits_of(model.fit(images, target)) == bits_of(expected)
    assert len(list(folder.iterdir())) == 2


def test_skorch_stopping_counts_as_long_as_it_is_called(small, images, target, folder):
    """Catches a fit that ends where a callback stopped it that is no longer set."""
    stop = EarlyStopping("train_loss", patience=1, threshold=10)
    make = partial(small, random_state=0, max_epochs=6, checkpoint=folder)
    stopped = make(callbacks=[stop]).fit(images, target)
    assert stopped.n_iter_ == 2
    assert make(callbacks=[stop]).fit(images, target).n_iter_ == 2
    whole = make().fit(images, target)
    assert whole.n_iter_ == 6
    expected = small(random_state=0, max_epochs=6).fit(images, target)
    assert bits_of(whole) == bits_of(expected)


def test_no_seed_is_refused(small, images, target, folder):
    with pytest.raises(ValueError, match=r"checkpoint='.*' needs a random_state: .*random_state=0"):
        small(random_state=None, checkpoint=folder).fit(images, target)
    assert not folder.exists()


def test_a_damaged_file_is_named(small, images, target, folder):
    make = partial(small, random_state=0, checkpoint=folder)
    make().fit(images, target)
    (file,) = folder.iterdir()
    for content in (b"", b"no", file.read_bytes()[:-100]):
        file.write_bytes(content)
        with pytest.raises(ValueError, match=rf"The checkpoint .*{file.name} is damaged. Remove"):
            make().fit(images, target)


class Runs:
    """Would run code when it is unpickled."""

    def __reduce__(self):
        return os.mkdir, ("ran",)


def test_a_file_runs_no_code(small, images, target, folder, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    make = partial(small, random_state=0, checkpoint=folder)
    make().fit(images, target)
    (file,) = folder.iterdir()
    torch.save({"history": Runs()}, file)
    with pytest.raises(ValueError, match="is damaged"):
        make().fit(images, target)
    assert not Path("ran").exists()


class Odd(SGD):
    """An optimizer with a state that is code."""

    def step(self, closure=None):
        for weight in self.param_groups[0]["params"]:
            self.state[weight]["odd"] = Runs()
        return super().step(closure)


def test_an_optimizer_that_keeps_objects_is_refused(small, images, target, folder):
    model = small(random_state=0, checkpoint=folder, optimizer=Odd, weight_decay=0)
    with pytest.raises(TypeError, match="state of the optimizer Odd"):
        model.fit(images, target)
    assert not folder.exists()


def test_at_most_every_ten_seconds(small, images, target, folder, monkeypatch):
    """A clock of 3 seconds an epoch: after epochs 4 and 8, and at the end."""
    assert checkpoints.SECONDS == 0
    monkeypatch.setattr(checkpoints, "SECONDS", 10)
    clock = iter(range(0, 1000, 3))
    monkeypatch.setattr(checkpoints, "monotonic", lambda: next(clock))
    written = []
    write = checkpoints.write_atomically

    def note(path, content):
        written.append(len(checkpoints.read_state(content)["history"]))
        write(path, content)

    monkeypatch.setattr(checkpoints, "write_atomically", note)
    small(random_state=0, checkpoint=folder, max_epochs=10).fit(images, target)
    assert written == [4, 8, 10]


KILLED = """
import os, signal, sys
import numpy as np
from sklearn.datasets import load_digits
from skorch.callbacks import Callback
from sklearn_cnn import CNNClassifier
from sklearn_cnn.training import checkpoints

class Kill(Callback):
    def on_batch_end(self, net, training, **_):
        self.n = getattr(self, "n", 0) + 1
        if self.n == int(sys.argv[2]):
            os.kill(os.getpid(), signal.SIGKILL)

checkpoints.SECONDS = 0
images, y = load_digits(return_X_y=True)
CNNClassifier(8, dense_units=8, max_epochs=4, random_state=0, checkpoint=sys.argv[1],
              callbacks=[Kill()]).fit(images[:300], y[:300])
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL")
def test_a_killed_process_goes_on(folder, monkeypatch):
    """In the third epoch. Catches a file that is half written, or a state that only lives here."""
    from sklearn.datasets import load_digits

    images, y = load_digits(return_X_y=True)
    command = [sys.executable, "-c", textwrap.dedent(KILLED), str(folder), "13"]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    make = partial(CNNClassifier, 8, dense_units=8, max_epochs=4, random_state=0)
    counter = CountEpochs()
    model = make(checkpoint=folder, callbacks=[counter]).fit(images[:300], y[:300])
    assert counter.n_epochs == 2
    assert bits_of(model) == bits_of(make().fit(images[:300], y[:300]))


def test_functions_are_described_by_what_they_do():
    """Two of one name and other code, or other constants, differ; an address does not count."""

    def make(constant):
        return lambda x: x + constant

    one, other = (lambda x: x + 1), (lambda x: x + 2)
    assert text_of(one) != text_of(other)
    assert text_of(make(1)) != text_of(make(2))
    assert text_of(make(1)) == text_of(make(1))
    assert text_of(partial(SGD, momentum=0.9)) != text_of(partial(SGD, momentum=0.8))
    assert text_of(np.array([1, 2])) == text_of([1, 2]) == text_of((1, 2))
    assert "0x" not in text_of([object(), one, SGD, np.float64(1)])
