"""Callbacks of skorch do to CNNClassifier what they do to skorch's own classifier."""

import pickle
import re
import threading
from functools import partial

import numpy as np
import pytest
from joblib import parallel_config
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.metrics import average_precision_score, get_scorer, log_loss, roc_auc_score
from sklearn.model_selection import GridSearchCV, cross_val_score
from skorch import NeuralNetClassifier
from skorch.callbacks import (
    BatchScoring,
    Callback,
    Checkpoint,
    EarlyStopping,
    EpochScoring,
    EpochTimer,
    LoadInitState,
    LRScheduler,
    PassthroughScoring,
    TensorBoard,
    WarmRestartLR,
)
from torch import nn, optim
from torch.optim import lr_scheduler

from sklearn_cnn.machine.isolation import draw_seed
from sklearn_cnn.training.validation import split_validation


class NoteRates(Callback):
    """Note the learning rates of all groups as each step finds them."""

    def __init__(self):
        self.rates = []

    def on_grad_computed(self, net, **_):
        self.rates.append([group["lr"] for group in net.optimizer_.param_groups])


def sequence(optimizer, **last_epoch):
    """A warm-up, then a decay, as one scheduler."""
    first = lr_scheduler.LinearLR(optimizer, total_iters=2, **last_epoch)
    second = lr_scheduler.ExponentialLR(optimizer, 0.5, **last_epoch)
    return lr_scheduler.SequentialLR(optimizer, [first, second], [2], **last_epoch)


SCHEDULERS = {
    "linear": {"policy": lr_scheduler.LinearLR},
    "linear each batch": {"policy": lr_scheduler.LinearLR, "step_every": "batch"},
    "step": {"policy": "StepLR", "step_size": 1, "gamma": 0.1},
    "lambda": {"policy": lr_scheduler.LambdaLR, "lr_lambda": lambda epoch: 1 / (1 + epoch)},
    "cosine": {"policy": "CosineAnnealingLR", "T_max": 4},
    "cosine restarts": {"policy": lr_scheduler.CosineAnnealingWarmRestarts, "T_0": 2},
    "exponential": {"policy": "ExponentialLR", "gamma": 0.7},
    "one cycle": {
        "policy": lr_scheduler.OneCycleLR,
        "max_lr": 0.05,
        "total_steps": 100,
        "step_every": "batch",
    },
    "cyclic": {
        "policy": "CyclicLR",
        "base_lr": 0.001,
        "max_lr": 0.01,
        "step_size_up": 3,
        "cycle_momentum": False,
        "step_every": "batch",
    },
    "plateau": {
        "policy": "ReduceLROnPlateau",
        "monitor": lambda net: len(net.history),
        "patience": 0,
    },
    "warm restart": {"policy": WarmRestartLR, "max_lr": 0.02, "base_period": 2},
    "sequence": {"policy": sequence},
}


def rates_of_skorch(optimizer, scheduler, runs, epochs=4):
    """What skorch's own classifier does in ``runs`` trainings of epochs of four batches."""
    noted = NoteRates()
    net = NeuralNetClassifier(
        lambda: nn.Sequential(nn.Flatten(), nn.Linear(3, 2), nn.Softmax(1)),
        optimizer=optimizer,
        lr=0.01,
        max_epochs=epochs,
        batch_size=10,
        train_split=None,
        callbacks=[LRScheduler(**SCHEDULERS[scheduler]), noted],
        verbose=0,
    )
    X, y = np.ones((40, 3), np.float32), np.arange(40) % 2
    for _ in range(runs):
        net.partial_fit(X, y)
    return np.array(noted.rates)


@pytest.mark.filterwarnings("ignore:The epoch parameter in `scheduler.step.:UserWarning")
@pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler.step.:UserWarning")
@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_a_scheduler_sets_the_rates_that_it_sets_in_skorch(small, bars, scheduler, optimizer):
    """Catches a first rate that is overwritten, from which LinearLR climbs to 100 times the rate.

    All steps of two warm starts are compared, in both groups of parameters.
    """
    of_skorch = {"adamw": optim.AdamW, "sgd": partial(optim.SGD, momentum=0.9)}[optimizer]
    expected = rates_of_skorch(of_skorch, scheduler, runs=2)
    noted = NoteRates()
    classifier = small(
        optimizer=optimizer,
        schedule="constant",
        learning_rate=0.01,
        max_epochs=4,
        batch_size=10,
        warm_start=True,
        callbacks=[LRScheduler(**SCHEDULERS[scheduler]), noted],
    )
    images, target = bars[0][:40], bars[1][:40]
    classifier.fit(images, target).fit(images, target)
    assert_allclose(noted.rates, np.repeat(expected, 2, axis=1), rtol=1e-12)
    assert_allclose(classifier.history_[:, "learning_rate"], expected[3::4, 0], rtol=1e-12)


def test_a_scheduler_goes_on_from_one_partial_fit_to_the_next(small, bars):
    """As in skorch. Catches a schedule that begins anew, or stands still, at each call."""
    expected = rates_of_skorch(optim.AdamW, "step", runs=3, epochs=1)
    noted = NoteRates()
    classifier = small(
        learning_rate=0.01,
        batch_size=10,
        callbacks=[LRScheduler(**SCHEDULERS["step"]), noted],
    )
    for _ in range(3):
        classifier.partial_fit(bars[0][:40], bars[1][:40], classes=[0, 1])
    assert_allclose(noted.rates, np.repeat(expected, 2, axis=1), rtol=1e-12)


class SetRate(Callback):
    """Set the learning rate by hand before the first step, and halve it after each epoch."""

    def on_train_begin(self, net, **_):
        for group in net.optimizer_.param_groups:
            group["lr"] = 0.25

    def on_epoch_end(self, net, **_):
        for group in net.optimizer_.param_groups:
            group["lr"] /= 2


def test_a_callback_sets_the_rate_by_hand(small, bars):
    noted = NoteRates()
    model = small(schedule="constant", batch_size=200, callbacks=[SetRate(), noted]).fit(*bars)
    assert noted.rates == [[0.25] * 2, [0.125] * 2, [0.0625] * 2]
    assert model.history_[:, "learning_rate"] == [0.25, 0.125, 0.0625]


@pytest.mark.parametrize("schedule", ["one_cycle", "cosine", "constant"])
def test_partial_fit_without_a_scheduler_has_the_parameters_rate(small, bars, schedule):
    """Catches the end of a schedule, or what a callback since taken off has left."""
    first = [SetRate()] if schedule == "constant" else None
    model = small(schedule=schedule, callbacks=first).fit(*bars)
    noted = NoteRates()
    if first is None:
        model.set_params(callbacks=[noted])
    else:
        model.set_params(callbacks=None)
    model.partial_fit(*bars)
    assert model.history_[-1, "learning_rate"] == model.learning_rate
    model.set_params(learning_rate=0.5, callbacks=[noted]).partial_fit(*bars)
    assert model.history_[-1, "learning_rate"] == 0.5
    assert noted.rates[-1] == [0.5, 0.5]


def test_a_scheduler_that_comes_with_a_warm_start(small, bars):
    """Catches torch's KeyError: 'initial_lr' is not specified."""
    model = small(schedule="constant", warm_start=True, learning_rate=0.01).fit(*bars)
    halving = LRScheduler(lr_scheduler.LambdaLR, lr_lambda=lambda epoch: 0.5**epoch)
    model.set_params(callbacks=[halving]).fit(*bars)
    assert_allclose(model.history_[3:, "learning_rate"], 0.01 * 0.5 ** np.arange(3, 6))


class Collect(Callback):
    """Keep losses in a list of its own, a count, and an attribute that it makes while training."""

    def __init__(self, losses):
        self.losses = losses
        self.n_epochs = 0
        self.lock = threading.Lock()

    def on_train_begin(self, net, **_):
        self.first_ = len(self.losses)

    def on_epoch_end(self, net, **_):
        with self.lock:
            self.losses.append(net.history[-1, "train_loss"])
        self.n_epochs += 1


@pytest.mark.parametrize("named", [False, True])
def test_the_users_callback_itself_is_called(small, bars, named):
    """Catches a deep copy: its list stays empty, and a lock ends the fit."""
    collect, stopping = Collect([]), EarlyStopping("train_loss")
    callbacks = [("collect", collect), stopping] if named else [collect, stopping]
    model = small(callbacks=callbacks).fit(*bars)
    assert collect.losses == model.loss_curve_
    assert (collect.n_epochs, collect.first_) == (3, 0)
    assert stopping.misses_ == 0
    assert model.callbacks is callbacks
    assert dict(model.net_.callbacks_)["collect" if named else "Collect"] is collect


class Trial:
    """What optuna's in-memory trial is to its SkorchPruningCallback."""

    def __init__(self):
        self.reported = {}

    def report(self, value, step):
        self.reported[step] = value

    def should_prune(self):
        return len(self.reported) == 2


class Pruned(Exception):
    pass


class Pruning(Callback):
    """As optuna's SkorchPruningCallback."""

    def __init__(self, trial, monitor):
        self._trial = trial
        self._monitor = monitor

    def on_epoch_end(self, net, **_):
        epoch = net.history[-1]["epoch"]
        self._trial.report(net.history[-1, self._monitor], epoch)
        if self._trial.should_prune():
            raise Pruned(f"Trial was pruned at epoch {epoch}.")


@pytest.mark.parametrize("monitor", ["valid_loss", "valid_acc", "train_loss"])
def test_a_trial_is_told_and_pruned(small, bars, monitor):
    trial = Trial()
    model = small(early_stopping=True, callbacks=[Pruning(trial, monitor)])
    with pytest.raises(Pruned, match="pruned at epoch 2"):
        model.fit(*bars)
    assert sorted(trial.reported) == [1, 2]
    assert not hasattr(model, "net_")


class Writer:
    """What a SummaryWriter, or a run of an experiment, is: it holds what cannot be copied."""

    def __init__(self, path):
        self.file, self.lock, self.scalars = path.open("w"), threading.Lock(), {}

    def add_scalar(self, tag, scalar_value, global_step):
        with self.lock:
            self.scalars.setdefault(tag, []).append(scalar_value)

    def close(self):
        self.file.close()


def test_a_writer_with_a_file_and_a_lock(small, bars, tmp_path):
    writer = Writer(tmp_path / "log")
    callbacks = [TensorBoard(writer), Checkpoint(None, dirname=str(tmp_path), f_pickle="net.pkl")]
    model = small(callbacks=callbacks).fit(*bars)
    assert_allclose(writer.scalars["Loss/train_loss"], model.loss_curve_)
    assert writer.file.closed
    assert (tmp_path / "net.pkl").stat().st_size > 0


def test_a_fitted_model_is_kept_without_what_a_callback_holds(small, bars, tmp_path):
    """Catches a net that still holds the callbacks when the parameter has let go of them."""
    model = small(callbacks=[Collect([])]).fit(*bars)
    with pytest.raises(TypeError, match="lock"):
        pickle.dumps(model)
    kept = pickle.loads(pickle.dumps(model.set_params(callbacks=None)))
    assert_array_equal(kept.predict_proba(bars[0]), model.predict_proba(bars[0]))
    kept.partial_fit(*bars)


def test_a_clone_has_callbacks_of_its_own_that_share_what_they_hold(small):
    """scikit-learn's clone would copy the list, fail at the lock, and drop what no __init__ takes.

    Catches callbacks that two folds share, with one's count in the other's.
    """
    collect = Collect([])
    model = small(callbacks=(collect, ("timer", EpochTimer)))
    cloned = clone(model)
    (copied, named) = cloned.callbacks
    assert type(cloned.callbacks) is tuple
    assert copied is not collect
    assert copied.losses is collect.losses
    assert copied.lock is collect.lock
    assert named == ("timer", EpochTimer)
    assert model.callbacks[0] is collect
    assert clone(small()).callbacks is None


@pytest.mark.parametrize("search", [False, True])
def test_folds_and_searches_fill_what_the_callbacks_hold(small, bars, search):
    """Beside each other, in threads, too; each fold counts for itself."""
    collect = Collect([])
    model = small(callbacks=[collect, EarlyStopping("train_loss")], max_epochs=2)
    if search:
        grid = {"pooling": ["max", "mean"]}
        with parallel_config("threading", n_jobs=2):
            GridSearchCV(model, grid, cv=2, refit=False).fit(*bars)
    else:
        cross_val_score(model, *bars, cv=4)
    assert len(collect.losses) == 8
    assert collect.n_epochs == 0


def test_fits_side_by_side_with_the_same_callback_stay_apart(small, bars):
    """Catches an EarlyStopping whose count of misses goes up in two fits at once."""

    def fit(rate):
        model = small(learning_rate=rate, callbacks=callbacks, max_epochs=8).fit(*bars)
        return model.loss_curve_

    rates = [1e-3, 3e-2, 1e-4]
    callbacks = [EarlyStopping("train_loss", patience=2, threshold=0.2)]
    expected, found = [fit(rate) for rate in rates], {}
    threads = [
        threading.Thread(target=lambda rate=rate: found.update({rate: fit(rate)})) for rate in rates
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [found[rate] for rate in rates] == expected


def held_out(model, target):
    """The rows that ``fit`` held out, worked out again from random_state=0."""
    return split_validation(target, model.validation_fraction, draw_seed(0), model.classes_)[1]


SCORES = {
    "roc_auc": lambda target, proba: roc_auc_score(target, proba[:, 1]),
    "average_precision": lambda target, proba: average_precision_score(target, proba[:, 1]),
    "neg_log_loss": lambda target, proba: -log_loss(target, proba),
    "accuracy": lambda target, proba: np.mean(proba.argmax(1) == target),
}


@pytest.mark.parametrize("use_caching", [True, False])
@pytest.mark.parametrize("scoring", SCORES)
def test_scores_of_a_binary_classifier_by_hand(small, bars, scoring, use_caching):
    """On the held-out images, of one epoch, so that the weights are those kept.

    Catches a net that is no classifier to a scorer, the wrong class taken for the positive one,
    and labels that are not found without the cache.
    """
    images, names = bars[0], np.array(["right", "down"])[bars[1]]
    score = EpochScoring(scoring, name="score", use_caching=use_caching, lower_is_better=False)
    batch = BatchScoring(scoring, name="batch", use_caching=use_caching, lower_is_better=False)
    model = small(
        early_stopping=True,
        validation_fraction=0.2,
        max_epochs=1,
        callbacks=[score, ("batch", batch)],
    ).fit(images, names)
    numbers = np.searchsorted(model.classes_, names)
    rows = held_out(model, numbers)
    expected = SCORES[scoring](numbers[rows], model.predict_proba(images[rows]))
    assert model.history_[-1, "score"] == pytest.approx(expected, rel=1e-5)
    assert model.history_[-1, "batch"] == pytest.approx(expected, rel=1e-5)  # a single batch


@pytest.mark.parametrize("use_caching", [True, False])
@pytest.mark.parametrize(
    "scoring", ["top_k_accuracy", "roc_auc_ovr", "f1_macro", get_scorer("balanced_accuracy")]
)
def test_scores_of_many_classes_on_the_training_images(small, digits, scoring, use_caching):
    """Of all training images after the epoch, or as the steps predicted them."""
    images, target = digits.images[:200], digits.target[:200]
    score = EpochScoring(scoring, name="score", on_train=True, use_caching=use_caching)
    model = small(max_epochs=1, callbacks=[score]).fit(images, target)
    scorer = get_scorer(scoring) if isinstance(scoring, str) else scoring
    if use_caching:
        assert 0 <= model.history_[-1, "score"] <= 1
    else:
        expected = scorer(model, images, target)
        assert model.history_[-1, "score"] == pytest.approx(expected, rel=1e-4)


def score_of_a_function(net, dataset, target):
    """A scorer as skorch's users write it."""
    return float((net.predict(dataset) == target).mean())


def test_a_function_scores_and_a_batch_level_score_is_passed_through(small, bars):
    class Sizes(Callback):
        def on_batch_end(self, net, training=None, **_):
            if not training:
                net.history.record_batch("size", net.history[-1, "batches", -1, "valid_batch_size"])

    callbacks = [EpochScoring(score_of_a_function), Sizes(), PassthroughScoring("size")]
    model = small(early_stopping=True, callbacks=callbacks).fit(*bars)
    assert model.history_[:, "score_of_a_function"] == model.validation_scores_
    assert model.history_[:, "size"] == [30, 30, 30]


@pytest.mark.parametrize("monitor", ["valid_acc_best", "validation_score_best", "valid_loss_best"])
def test_checkpoint_of_the_best_validation_figure(small, bars, tmp_path, monitor):
    """The names that skorch's classifier has, and ours. Catches a KeyError after an epoch."""
    checkpoint = Checkpoint(monitor=monitor, dirname=str(tmp_path), event_name="saved")
    model = small(early_stopping=True, callbacks=[checkpoint]).fit(*bars)
    name = monitor.removesuffix("_best")
    figures, sign = model.history_[:, name], -1 if name == "valid_loss" else 1
    running = [-np.inf, *np.maximum.accumulate(sign * np.array(figures))[:-1]]
    assert model.history_[:, "saved"] == [
        sign * f > r for f, r in zip(figures, running, strict=True)
    ]
    assert model.history_[:, "valid_acc"] == model.validation_scores_


def test_the_net_is_a_classifier_of_class_numbers(small, bars):
    images, names = bars[0][..., None], np.array(["a", "b"])[bars[1]]
    model = small().fit(images, names)
    assert_array_equal(model.net_.classes_, [0, 1])
    assert model.net_.score(images, bars[1]) == model.score(images, names)
    assert_allclose(model.net_.predict_proba(images).sum(axis=1), 1, rtol=1e-6)


class Breaks(Callback):
    """Raise in one hook."""

    def __init__(self, hook, error=OSError):
        self.error = error
        setattr(self, hook, self.fail)

    def fail(self, net, **_):
        raise self.error("no space left on the disk")


@pytest.mark.parametrize("early_stopping", [False, True])
def test_a_callback_that_fails_after_the_last_epoch_keeps_the_model(small, bars, early_stopping):
    """Catches hours of training lost because a log could not be closed; others are still told."""
    collect = Collect([])
    collect.on_train_end = lambda net, **_: collect.losses.append("end")
    model = small(
        early_stopping=early_stopping,
        callbacks=[("log", Breaks("on_train_end")), collect],
    )
    said = "trained model is kept. OSError: no space .* by the callback 'log' in its on_train"
    with pytest.warns(UserWarning, match=said) as caught:
        model.fit(*bars)
    assert caught[0].filename == __file__
    assert collect.losses[-1] == "end"
    sound = small(early_stopping=early_stopping).fit(*bars)
    assert_array_equal(model.predict_proba(bars[0]), sound.predict_proba(bars[0]))
    with pytest.warns(UserWarning, match="failed after training was finished"):
        model.partial_fit(*bars) if not early_stopping else model.fit(*bars)


@pytest.mark.parametrize(
    ("hook", "where"),
    [
        ("on_train_begin", r"in its on_train_begin\.$"),
        ("on_epoch_begin", r"in its on_epoch_begin of epoch 1\.$"),
        ("on_batch_end", r"in its on_batch_end of epoch 1\.$"),
        ("on_epoch_end", r"in its on_epoch_end of epoch 1\.$"),
    ],
)
def test_a_callback_that_fails_before_says_which_and_when(small, bars, hook, where):
    model = small(callbacks=[Breaks(hook)])
    with pytest.raises(OSError, match="no space") as caught:
        model.fit(*bars)
    (note,) = caught.value.__notes__
    assert note.startswith("Raised by the callback 'Breaks' ")
    assert re.search(where, note)
    assert not hasattr(model, "net_")


def test_parameters_of_callbacks_are_set_and_searched(small, bars):
    """By the name of the pair, or of the class. Catches 'list' object has no attribute."""
    stopping = EarlyStopping("train_loss", patience=5)
    model = small(callbacks=[("stop", stopping), EpochScoring("accuracy", on_train=True)])
    assert model.set_params(callbacks__stop__patience=1, max_epochs=2) is model
    assert (stopping.patience, model.max_epochs) == (1, 2)
    model.set_params(callbacks__EpochScoring__name="train_accuracy", callbacks__stop__threshold=9)
    grid = {"callbacks__stop__patience": [1, 2], "callbacks__stop__threshold_mode": ["abs"]}
    search = GridSearchCV(model.set_params(max_epochs=9), grid, cv=2).fit(*bars)
    assert stopping.patience == 1
    assert search.best_estimator_.n_iter_ == 1 + search.best_params_["callbacks__stop__patience"]
    assert len(search.best_estimator_.history_[:, "train_accuracy"]) > 0


@pytest.mark.parametrize(
    ("key", "meant"),
    [
        ("callbacks__stop__patiense", "callbacks__stop__patience"),
        ("callbacks__stopp__patience", "callbacks__stop__patience"),
        ("callbacks__stop", "callbacks__stop__sink"),
        ("callbacks__timer__x", None),
    ],
)
def test_a_parameter_that_no_callback_has_is_refused(small, key, meant):
    model = small(callbacks=[("stop", EarlyStopping()), ("timer", EpochTimer)])
    with pytest.raises(ValueError, match=f"Invalid parameter '{key}' for the callbacks") as caught:
        model.set_params(**{key: 3})
    assert (f"Did you mean {meant!r}?" in str(caught.value)) == (meant is not None)
    with pytest.raises(ValueError, match=r"Valid parameters are: none\."):
        small().set_params(**{key: 3})


def test_loggers_write_down_the_rate_and_the_epochs(small, bars):
    """skorch's NeptuneLogger reads them of the net. Catches skorch's own defaults, 0.01 and 10."""
    seen = []

    class Log(Callback):
        def on_train_begin(self, net, **_):
            seen.append((net.lr, net.max_epochs, net.batch_size))

    small(learning_rate=0.25, max_epochs=2, batch_size=50, callbacks=[Log()]).fit(*bars)
    assert seen == [(0.25, 2, 50)]


@pytest.mark.parametrize("early_stopping", [False, True])
def test_a_history_that_a_callback_loads_has_epochs_without_scores(
    small, bars, tmp_path, early_stopping
):
    """Catches a KeyError after training, where the state of a training without scores is loaded."""
    checkpoint = Checkpoint(dirname=tmp_path, monitor=None)
    model = small(max_epochs=2, callbacks=[checkpoint, LoadInitState(checkpoint)]).fit(*bars)
    assert model.n_iter_ == 2
    model.set_params(early_stopping=early_stopping).fit(*bars)
    assert model.n_iter_ == len(model.history_) == len(model.loss_curve_) == 4
    assert len(model.validation_scores_ or ()) == 2 * early_stopping


@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize("n_fits", [2, 3])
def test_a_callback_goes_back_to_an_epoch_of_an_earlier_fit(
    small, bars, tmp_path, early_stopping, n_fits
):
    """Catches losses counted twice, and an error, where a warm start ends before it began."""
    checkpoint = Checkpoint(
        dirname=tmp_path, monitor=lambda net: len(net.history) <= 2, load_best=True
    )
    model = small(max_epochs=2, warm_start=True, early_stopping=early_stopping)
    model.set_params(callbacks=[checkpoint])
    for _ in range(n_fits):
        model.fit(*bars)
    assert model.n_iter_ == len(model.history_) == len(model.loss_curve_) == 2
    assert model.validation_scores_ is model.best_validation_score_ is None


@pytest.mark.parametrize(
    "callback",
    [
        LRScheduler("ReduceLROnPlateau", monitor="valid_loss"),
        LRScheduler("ReduceLROnPlateau", monitor="valid_acc"),
        EarlyStopping(),
        Checkpoint(monitor="valid_acc_best"),
    ],
)
def test_a_figure_of_validation_images_that_are_not_there(small, bars, callback, tmp_path):
    """Catches the advice to place another callback before, where images must be held out."""
    if isinstance(callback, Checkpoint):
        callback.set_params(dirname=tmp_path)
    model = small(schedule="constant", callbacks=[callback])
    with pytest.raises(
        ValueError, match=r"there are none: .* Use early_stopping=True, which holds"
    ):
        model.fit(*bars)


def test_a_value_error_of_a_callback_is_its_own(small, bars):
    """The other side: what speaks of something 'valid' asks for no images."""
    model = small(callbacks=[Breaks("on_epoch_end", ValueError)])
    with pytest.raises(ValueError, match=r"^no space left on the disk"):
        model.fit(*bars)
