"""Early stopping keeps the best epoch; numbers that broke are an error and are never kept."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from skorch.callbacks import Callback
from skorch.history import History
from torch import nn

from sklearn_cnn.machine.isolation import draw_seed
from sklearn_cnn.training.callbacks import (
    FiniteGuard,
    LearningRateSchedule,
    StopTraining,
    ValidationScore,
)
from sklearn_cnn.training.optimizer import cosine
from sklearn_cnn.training.validation import split_validation


def run(epochs, patience=10, tol=0.0):
    """Feed (score, validation loss) pairs to a ValidationScore.

    Returns the number of epochs run, and the number of the one whose weights were restored.
    """
    net = SimpleNamespace(history=History(), module_=nn.Linear(1, 1, bias=False))
    schedule = LearningRateSchedule("constant", 1.0, 1)
    callback = ValidationScore(patience, tol, schedule, lambda outputs: outputs.item()).initialize()
    for number, (score, loss) in enumerate(epochs, start=1):
        net.history.new_epoch()
        net.history.record("valid_loss", loss)
        net.history.record("train_batch_count", 1)
        nn.init.constant_(net.module_.weight, number)
        callback.on_epoch_begin(net)
        callback.on_batch_end(net, training=False, y_pred=torch.tensor([[score]]))
        try:
            callback.on_epoch_end(net)
        except StopTraining:
            break
    callback.on_train_end(net)
    return len(net.history), int(net.module_.weight.item())


@pytest.mark.parametrize("patience", [1, 2, 5])
def test_training_stops_after_epochs_without_a_better_score(patience):
    """The best is epoch 3. Catches patience counted from the start, or one too many."""
    scores = [(0.25, 1), (0.5, 1), (0.75, 1)] + [(0.5, 1)] * 9
    assert run(scores, patience) == (3 + patience, 3)


def test_a_better_score_renews_the_patience():
    """Both sides: two misses of three, then a hit; then three misses."""
    scores = [(0.25, 1), (0.125, 1), (0.125, 1), (0.5, 1), (0.375, 1), (0.375, 1), (0.375, 1)]
    assert run([*scores, (1.0, 0)], patience=3) == (7, 4)


@pytest.mark.parametrize(("tol", "n_epochs"), [(0.25, 2), (0.25 - 1e-9, 3)])
def test_tol_must_be_exceeded(tol, n_epochs):
    """A score higher by just tol is no progress; by a bit more, it is. Patience is 1."""
    assert run([(0.25, 1), (0.5, 1), (0.5, 1)], patience=1, tol=tol)[0] == n_epochs


def test_with_no_tol_an_equal_score_is_no_progress():
    assert run([(0.5, 1), (0.5, 0.5), (0.5, 0.25)], patience=2)[0] == 3


def test_small_steps_add_up_against_the_last_score_that_counted():
    """Steps of 1/8 with a tol of 3/16: every second one counts, so nothing stops.

    Catches a comparison with the last score rather than the best.
    """
    scores = [(k / 8, 1) for k in range(1, 9)]
    assert run(scores, patience=2, tol=3 / 16) == (8, 8)


def test_the_best_weights_are_kept_even_where_tol_says_no_progress():
    """Catches weights kept by the rule for patience."""
    assert run([(0.5, 1), (0.625, 1)], tol=0.5) == (2, 2)


@pytest.mark.parametrize(
    ("losses", "kept"), [([1, 0.5, 0.75], 2), ([0.5, 0.5, 0.5], 1), ([0.5, 0.75, 1], 1)]
)
def test_of_equal_scores_the_lower_loss_is_kept(losses, kept):
    """And the first of equal losses. Catches the first, or the last, of equal scores."""
    assert run([(0.5, loss) for loss in losses]) == (3, kept)


def test_a_higher_score_beats_a_lower_loss():
    assert run([(0.5, 0.1), (0.625, 9.0), (0.5, 0.1)]) == (3, 2)


def held_out(classifier, images, target):
    """The rows that ``fit`` held out, worked out again from random_state=0."""
    seed = draw_seed(0)
    return split_validation(target, classifier.validation_fraction, seed, classifier.classes_)[1]


@pytest.mark.parametrize("weighted", [False, True])
def test_restored_weights_have_the_best_score(small, digits, weighted):
    """Recomputed on the held-out rows. Catches the last weights, and scores without weights."""
    images, target = digits.images[:300], digits.target[:300]
    weights = np.random.default_rng(0).uniform(0.1, 5, 300) if weighted else np.ones(300)
    classifier = small(
        early_stopping=True, max_epochs=12, learning_rate=0.05, validation_fraction=0.25
    ).fit(images, target, sample_weight=weights)
    rows = held_out(classifier, images, target)
    score = classifier.score(images[rows], target[rows], sample_weight=weights[rows])
    assert len(rows) == 75
    assert score == pytest.approx(classifier.best_validation_score_)
    assert classifier.best_validation_score_ == max(classifier.validation_scores_)
    assert_allclose(classifier.history_[:, "validation_score"], classifier.validation_scores_)


def test_validation_loss_is_that_of_the_weights_at_the_epochs_end(small, bars):
    """One epoch, so the weights are the restored ones. Catches train-mode statistics in it."""
    images, target = bars
    classifier = small(early_stopping=True, max_epochs=1, label_smoothing=0.0).fit(images, target)
    rows = held_out(classifier, images, target)
    log_proba = classifier.predict_log_proba(images[rows])
    by_hand = -log_proba[np.arange(len(rows)), target[rows]].mean()
    assert classifier.history_[-1, "valid_loss"] == pytest.approx(by_hand, rel=1e-5)


def stalled(small, bars, **parameters):
    """Fit with tol=1: the first score counts, none after it. Return rates, in parts of 0.004."""
    options = {"early_stopping": True, "tol": 1.0, "n_iter_no_change": 1, "batch_size": 200}
    classifier = small(**{**options, **parameters}).fit(*bars)
    assert classifier.n_iter_ == len(classifier.validation_scores_)
    return np.array(classifier.history_[:, "learning_rate"]) / 0.004


@pytest.mark.parametrize("n_iter_no_change", [1, 3])
def test_a_score_that_cannot_rise_stops_training(small, bars, n_iter_no_change):
    """A constant rate has nothing to bring down. Catches an ignored parameter."""
    options = {"n_iter_no_change": n_iter_no_change, "schedule": "constant", "max_epochs": 30}
    assert_array_equal(stalled(small, bars, **options), np.ones(1 + n_iter_no_change))


@pytest.mark.parametrize("n_iter_no_change", [1, 3])
def test_the_rate_falls_to_zero_before_training_stops(small, bars, n_iter_no_change):
    """Patience of 1 or 3 ends at epoch 2 or 4 of 20; then the rate falls in 6 epochs, by hand.

    Catches a schedule that is cut off at its height, which costs accuracy.
    """
    options = {"n_iter_no_change": n_iter_no_change, "schedule": "cosine", "max_epochs": 20}
    rates, n = stalled(small, bars, **options), 1 + n_iter_no_change
    assert len(rates) == n + 6
    assert_allclose(rates[:n], [cosine((k + 0.5) / 20) for k in range(n)])
    assert_allclose(rates[n:], [rates[n - 1] * cosine((k + 0.5) / 6) for k in range(6)])


def test_training_does_not_stop_while_the_rate_climbs(small, bars):
    """Epoch 6 of 20 ends the climb; 6 more cool down. Catches a stop at a rate of nearly zero.

    A score may stall at first, as that of a rare class does.
    """
    rates = stalled(small, bars, max_epochs=20)
    assert len(rates) == 12
    assert rates.argmax() == 5
    assert (np.diff(rates[5:]) < 0).all()
    assert rates[-1] < 0.05


def test_training_that_cools_down_ends_with_its_last_epoch(small, bars):
    """Patience ends at epoch 9 of 10, with one left. Catches more epochs than max_epochs."""
    rates = stalled(small, bars, max_epochs=10, n_iter_no_change=8, schedule="cosine")
    assert len(rates) == 10
    assert rates[-1] == pytest.approx(rates[-2] / 2)
    at_the_end = stalled(small, bars, max_epochs=10, n_iter_no_change=9, schedule="cosine")
    assert_allclose(at_the_end, [cosine((k + 0.5) / 10) for k in range(10)])


@pytest.mark.parametrize("max_epochs", [1, 2, 3])
def test_the_shortest_trainings_stop_early_too(small, bars, max_epochs):
    """Catches a share of the epochs that is rounded to none."""
    rates = stalled(small, bars, max_epochs=max_epochs, schedule="cosine")
    assert len(rates) == max_epochs


def test_without_early_stopping_there_are_no_scores(small, bars):
    classifier = small().fit(*bars)
    assert classifier.validation_scores_ is None
    assert classifier.best_validation_score_ is None


@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_divergence_names_the_epoch_the_rate_and_the_remedy(small, bars, optimizer, early_stopping):
    """Catches a network of NaN that predicts the first class, handed over as fitted."""
    classifier = small(learning_rate=1e10, optimizer=optimizer, early_stopping=early_stopping)
    classifier.set_params(batch_norm=False, batch_size=20)
    message = r"Training diverged: .* in epoch \d+, at a learning rate of .*smaller learning_rate"
    with pytest.raises(ValueError, match=message):
        classifier.fit(*bars)
    assert not hasattr(classifier, "net_")


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_divergence_by_weight_decay_names_it(small, bars, optimizer):
    """Catches the advice to lower the learning rate, which is as usual."""
    message = r"Training diverged: .* Use a smaller weight_decay \(it is 1e\+20\)"
    with pytest.raises(ValueError, match=message):
        small(weight_decay=1e20, optimizer=optimizer).fit(*bars)


@pytest.mark.parametrize(("light", "heavy"), [(1e-300, 1e300), (1e-200, 1e200), (1.0, 1e250)])
def test_held_out_images_that_weigh_next_to_nothing_beside_others(small, bars, light, heavy):
    """Catches a validation loss of 0 / 0, said to be a divergence, where all of them are light."""
    X, y = bars
    weights = np.full(len(y), light)
    weights[[np.flatnonzero(y == label)[0] for label in np.unique(y)]] = heavy
    model = small(early_stopping=True, max_epochs=2)
    for seed in range(5):
        model.set_params(random_state=seed).fit(X, y, sample_weight=weights)
        assert np.isfinite([epoch["valid_loss"] for epoch in model.history_]).all()
        assert 0 <= model.best_validation_score_ <= 1


class BreakWeights(Callback):
    """Set a weight in the second epoch's last step, behind its loss."""

    def __init__(self, value):
        self.value = value

    def on_batch_end(self, net, training=None, **_):
        if training and len(net.history) == 2:
            with torch.no_grad():
                next(net.module_.parameters()).view(-1)[0] = self.value


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_broken_weight_is_seen_where_the_loss_was_still_sound(small, bars, value):
    classifier = small(callbacks=[BreakWeights(value)], batch_size=200)
    with pytest.raises(ValueError, match="some weights became infinite or NaN in epoch 2"):
        classifier.fit(*bars)


def test_a_huge_weight_is_no_divergence(small, bars):
    """The other side of the boundary: finite is enough."""
    small(callbacks=[BreakWeights(1e30)], max_epochs=2, batch_size=200).fit(*bars)


class NanWhenValidating(nn.Module):
    """Sound in training; NaN in every evaluation of an image that is not blank."""

    def __init__(self, image_shape, n_outputs):
        super().__init__()
        height, width, channels = image_shape
        self.dense = nn.Linear(height * width * channels, n_outputs)

    def forward(self, x):
        logits = self.dense(x.flatten(1))
        return logits if self.training else logits * float("nan")


def test_a_validation_loss_that_is_not_finite_is_an_error(small, bars):
    """Catches the weights of an epoch kept as best though its validation loss is NaN."""
    with pytest.raises(ValueError, match="diverged: the validation loss became nan in epoch 1"):
        small(layers=NanWhenValidating, early_stopping=True).fit(*bars)


@pytest.mark.parametrize("loss", [float("nan"), float("inf")])
def test_guard_by_hand(loss):
    history = History()
    history.new_epoch()
    history.record("epoch", 7)
    history.record("train_loss", loss)
    optimizer = SimpleNamespace(param_groups=[{"lr": 0.125}])
    net = SimpleNamespace(history=history, module_=nn.Linear(1, 1), optimizer_=optimizer)
    message = rf"training loss became {loss} in epoch 7, at a learning rate of 0\.125\. "
    with pytest.raises(ValueError, match=message):
        FiniteGuard().on_epoch_end(net)
    history.record("train_loss", 1e300)
    FiniteGuard().on_epoch_end(net)


@pytest.mark.parametrize("name", ["running_mean", "running_var"])
@pytest.mark.parametrize("norm", [nn.BatchNorm1d(3), nn.SyncBatchNorm(3)])
def test_an_infinite_running_statistic_is_a_divergence(name, norm):
    """With a finite loss. Catches a model whose every prediction is NaN."""
    history = History()
    history.new_epoch()
    history.record("epoch", 1)
    history.record("train_loss", 0.5)
    optimizer = SimpleNamespace(param_groups=[{"lr": 0.125}])
    net = SimpleNamespace(history=history, module_=nn.Sequential(norm), optimizer_=optimizer)
    FiniteGuard().on_epoch_end(net)
    norm.get_buffer(name)[1] = float("inf")
    with pytest.raises(
        ValueError, match="diverged: some weights became infinite or NaN in epoch 1"
    ):
        FiniteGuard().on_epoch_end(net)
    norm.reset_running_stats()


def test_an_infinite_mask_is_no_divergence(small, bars):
    """Catches a refusal of a transformer's mask, whose buffer is minus infinity on purpose."""

    class Masked(nn.Module):
        def __init__(self, image_shape, n_outputs):
            super().__init__()
            self.register_buffer("mask", torch.full((48,), float("-inf")).index_fill(0, PART, 0))
            self.dense = nn.Linear(48, n_outputs)

        def forward(self, x):
            return self.dense(torch.softmax(x.flatten(1) + self.mask, dim=1))

    small(layers=Masked, max_epochs=1).fit(*bars)


PART = torch.arange(24)


def test_a_diverged_refit_keeps_the_first_fit(small, bars):
    """Catches weights of NaN left in an estimator that was fitted well before."""
    images, target = bars
    classifier = small(warm_start=True).fit(images, target)
    expected = classifier.predict_proba(images)
    with pytest.raises(ValueError, match="diverged"):
        classifier.set_params(learning_rate=1e30).fit(images, target)
    assert classifier.n_iter_ == len(classifier.history_) == 3
    assert_array_equal(classifier.predict_proba(images), expected)


def test_a_finite_loss_with_broken_statistics_is_a_divergence():
    """The running variance is a buffer, no parameter. Catches a guard of the parameters alone."""
    module, history = nn.BatchNorm2d(1), History()
    history.new_epoch()
    history.record("epoch", 2)
    history.record("train_loss", 0.5)
    optimizer = SimpleNamespace(param_groups=[{"lr": 0.125}])
    net = SimpleNamespace(history=history, module_=module, optimizer_=optimizer)
    FiniteGuard().on_epoch_end(net)
    module.running_var.fill_(float("inf"))
    with pytest.raises(ValueError, match="some weights became infinite or NaN in epoch 2"):
        FiniteGuard().on_epoch_end(net)


@pytest.mark.parametrize("heaviest", [1, 60, 1e50])
def test_the_validation_loss_is_the_weighted_mean_over_the_images_held_out(small, bars, heaviest):
    """Whatever the weights of the others. Catches weights of a mean other than 1 in the loss."""
    images, target = bars
    training, rows = split_validation(target, 0.15, draw_seed(0), np.arange(2))
    weights = np.linspace(1, 9, 200)
    weights[training[0]] = heaviest
    model = small(early_stopping=True, label_smoothing=0, max_epochs=1)
    model.fit(images, target, sample_weight=weights)
    losses = -model.predict_log_proba(images[rows])[np.arange(len(rows)), target[rows]]
    expected = np.average(losses, weights=weights[rows])
    assert_allclose(model.history_[:, "valid_loss"], [expected], rtol=1e-5)
