"""The recipe: learning rate at points worked out by hand, epochs, groups of the optimizer."""

import pickle
from functools import partial
from math import cos, pi, sqrt

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from skorch.callbacks import Callback, LRScheduler
from torch import nn, optim

from sklearn_cnn import RandomFlip
from sklearn_cnn.training.callbacks import LearningRateSchedule
from sklearn_cnn.training.net import ConvNet
from sklearn_cnn.training.optimizer import (
    OPTIMIZERS,
    SCHEDULES,
    OptimizerRecipe,
    constant,
    cosine,
    one_cycle,
    resolve_max_epochs,
)


@pytest.mark.parametrize(
    ("progress", "factor"),
    [
        (0.0, 0.04),
        (0.075, 0.04 + 0.96 * (1 - sqrt(0.5)) / 2),
        (0.15, 0.52),
        (0.3, 1.0),
        (0.475, (1 + sqrt(0.5)) / 2),
        (0.65, 0.5),
        (1.0, 0.0),
    ],
)
def test_one_cycle_by_hand(progress, factor):
    """Catches a warm-up of another length, and halves that do not meet."""
    assert_allclose(one_cycle(progress), factor, atol=1e-15)


def test_one_cycle_peaks_at_three_tenths():
    """Both sides of the peak. Catches a jump where the climb ends and the fall begins."""
    points = np.linspace(0, 1, 10_001)
    factors = np.array([one_cycle(point) for point in points])
    assert points[factors.argmax()] == 0.3
    assert (np.diff(factors[points <= 0.3]) > 0).all()
    assert (np.diff(factors[points >= 0.3]) < 0).all()
    assert one_cycle(np.nextafter(0.3, 0)) == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize(
    ("progress", "factor"), [(0.0, 1.0), (1 / 3, 0.75), (0.5, 0.5), (2 / 3, 0.25), (1.0, 0.0)]
)
def test_cosine_by_hand(progress, factor):
    assert_allclose(cosine(progress), factor, atol=1e-15)


@pytest.mark.parametrize("progress", [0.0, 0.3, 1.0])
def test_constant_is_constant(progress):
    assert constant(progress) == 1


@pytest.mark.parametrize(
    ("n_images", "batch_size", "epochs"),
    [
        (1, 128, 100),
        (128, 128, 100),
        (129, 128, 99),  # 140 / sqrt(2) = 98.99; 100 is the most
        (256, 128, 99),
        (257, 128, 81),  # 140 / sqrt(3) = 80.8
        (100, 1, 14),
        (125, 1, 13),  # 12.52
        (126, 1, 12),  # 12.47
        (177, 1, 11),  # 10.52
        (178, 1, 11),  # 10.49, and 11 is the least
        (10**9, 1, 11),
    ],
)
def test_auto_epochs_by_hand(n_images, batch_size, epochs):
    """Both sides of a whole number of batches, and of the least number of epochs."""
    options = {"n_images": n_images, "batch_size": batch_size}
    assert resolve_max_epochs("auto", **options, is_augmented=False) == epochs
    assert resolve_max_epochs("auto", **options, is_augmented=True) == 2 * epochs


@pytest.mark.parametrize("max_epochs", [1, 7, np.int64(1000)])
def test_a_number_of_epochs_is_taken_as_it_is(max_epochs):
    epochs = resolve_max_epochs(max_epochs, 10, 1, is_augmented=True)
    assert epochs == max_epochs
    assert type(epochs) is int


def network():
    torch_state = torch.get_rng_state()
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, 3))
    torch.set_rng_state(torch_state)
    return net


def groups_of(optimizer="adamw", net=None):
    net = net or network()
    made = OptimizerRecipe(optimizer, 0.5, 0.25).make(net.named_parameters())
    return made, made.param_groups


@pytest.mark.parametrize("optimizer", ["adamw", "sgd", optim.Adam, optim.RMSprop])
def test_biases_and_norms_do_not_decay(optimizer):
    """2 kernels decay; 2 biases, a norm's scale and shift do not. Catches decay of them all."""
    _, (decayed, spared) = groups_of(optimizer)
    assert [tuple(p.shape) for p in decayed["params"]] == [(2, 1, 3, 3), (3, 8)]
    assert [tuple(p.shape) for p in spared["params"]] == [(2,), (2,), (2,), (3,)]
    assert (decayed["weight_decay"], spared["weight_decay"]) == (0.25, 0)
    assert decayed["lr"] == spared["lr"] == 0.5


def test_the_names_mean_adamw_and_nesterov_sgd():
    assert type(groups_of("adamw")[0]) is optim.AdamW
    sgd, (group, _) = groups_of("sgd")
    assert type(sgd) is optim.SGD
    assert (group["momentum"], group["nesterov"]) == (0.9, True)


def test_frozen_parameters_are_there_to_be_unfrozen_and_empty_groups_are_left_out():
    """Catches an unfrozen parameter that no optimizer knows, torch's error for an empty group."""
    net = network()
    for parameter in net.parameters():
        parameter.requires_grad_(parameter.ndim > 1)
    _, groups = groups_of(net=net)
    assert [len(group["params"]) for group in groups] == [2, 4]
    whole_numbers = nn.Parameter(torch.arange(3), requires_grad=False)
    _, groups = groups_of(net=nn.ParameterList([net[0].weight, whole_numbers]))
    assert [len(group["params"]) for group in groups] == [1]


@pytest.mark.parametrize("wrong", [int, nn.Linear])
def test_a_class_that_is_no_optimizer_is_refused(wrong):
    message = "optimizer must be one of adamw, sgd, .*, a subclass of .*Optimizer.* Got <class '"
    with pytest.raises(TypeError, match=message):
        groups_of(wrong)


def test_a_class_that_takes_no_groups_is_refused_by_name(small, bars):
    """L-BFGS has one learning rate for all parameters. Catches torch's own text."""
    with pytest.raises(ValueError, match=r"optimizer=LBFGS does not train a network in batches"):
        small(optimizer=optim.LBFGS).fit(*bars)
    with pytest.raises(ValueError, match=r"SparseAdam does not train.*'adamw', 'sgd'"):
        small(optimizer=partial(optim.SparseAdam, betas=(0.5, 0.9))).fit(*bars)


@pytest.mark.parametrize("name", sorted(set(OPTIMIZERS) - {"adamw", "sgd"}))
def test_a_name_of_torch_means_its_class(small, bars, name):
    """Catches "adam" refused, and options of one optimizer passed on to another."""
    made = small(optimizer=name, max_epochs=1).fit(*bars).net_.optimizer_
    assert type(made).__name__.lower() == name
    assert type(made).__module__.startswith("torch.optim")


MOMENTUM = partial(optim.SGD, momentum=0.5)


@pytest.mark.parametrize(
    ("optimizer", "momentum"),
    [
        (MOMENTUM, 0.5),
        (partial(MOMENTUM, nesterov=True), 0.5),
        (partial(MOMENTUM, momentum=0.25), 0.25),
        (lambda groups, lr: optim.SGD(groups, lr, momentum=0.75), 0.75),
    ],
)
def test_a_partial_of_an_optimizer(small, bars, optimizer, momentum):
    """The parameters' rate and decay with the partial's own options."""
    model = small(optimizer=optimizer, max_epochs=1, learning_rate=0.01, weight_decay=0.5)
    decayed, spared = model.fit(*bars).net_.optimizer_.param_groups
    assert decayed["momentum"] == spared["momentum"] == momentum
    assert (decayed["weight_decay"], spared["weight_decay"]) == (0.5, 0)
    assert decayed["lr"] == 0.01


def test_a_partial_is_cloned_pickled_and_searched(small, bars):
    models = [partial(optim.SGD, momentum=momentum) for momentum in (0.0, 0.9)]
    search = GridSearchCV(small(max_epochs=1), {"optimizer": models}, cv=2).fit(*bars)
    best = pickle.loads(pickle.dumps(search.best_estimator_))
    assert best.optimizer.keywords == search.best_params_["optimizer"].keywords
    assert clone(best).fit(*bars).loss_curve_ == best.loss_curve_


def test_an_equal_partial_goes_on_with_the_optimizer(small, bars):
    """Two partials of the same are never equal in Python. Catches moments lost at each call."""

    def model():
        return partial(optim.SGD, momentum=0.5)

    classifier = small(optimizer=model()).partial_fit(*bars, classes=[0, 1])
    first = classifier.net_.optimizer_
    classifier.set_params(optimizer=model()).partial_fit(*bars)
    assert classifier.net_.optimizer_ is first
    classifier.set_params(optimizer=partial(optim.SGD, momentum=0.6)).partial_fit(*bars)
    assert classifier.net_.optimizer_ is not first
    assert classifier.net_.optimizer_.param_groups[0]["momentum"] == 0.6


@pytest.mark.parametrize(
    ("optimizer", "message"),
    [
        (partial(optim.SGD, lr=0.1), "optimizer sets lr=0.1, .* use learning_rate=0.1"),
        (partial(optim.Adam, differentiable=True), "optimizer sets differentiable=True, .* it out"),
        (partial(optim.SGD, differentiable=True), "optimizer sets differentiable=True, .* it out"),
        (partial(optim.SGD, weight_decay=1), "sets weight_decay=1, .* use weight_decay=1"),
        (partial(optim.SGD, [1]), "must have its options by name"),
        (partial(optim.SGD, mometum=0.5), "optimizer=SGD cannot be made .* 'mometum'"),
        (optim.Muon if hasattr(optim, "Muon") else optim.LBFGS, "optimizer=(Muon|LBFGS) "),
        (partial(dict), r"must be one of adamw, .*partial of one\. Got functools"),
        (lambda groups, lr: None, "optimizer=<lambda> must make a torch.optim.Optimizer"),
    ],
)
def test_an_optimizer_that_cannot_be_made_says_why(small, bars, optimizer, message):
    with pytest.raises((TypeError, ValueError), match=message):
        small(optimizer=optimizer).fit(*bars)


@pytest.mark.parametrize("optimizer", [optim.RMSprop, optim.Adam, optim.NAdam])
def test_a_class_trains(small, bars, optimizer):
    """Catches options of the named optimizers passed on to a class that lacks them."""
    classifier = small(optimizer=optimizer, max_epochs=8).fit(*bars)
    assert type(classifier.net_.optimizer_) is optimizer
    assert classifier.loss_curve_[-1] < classifier.loss_curve_[0]


class NoteRates(Callback):
    """Note the learning rate of all groups as each step finds it."""

    rates = ()

    def on_grad_computed(self, net, **_):
        self.rates = (*self.rates, *(group["lr"] for group in net.optimizer_.param_groups))

    def on_train_end(self, net, **_):
        net.noted_rates = self.rates


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_every_step_has_the_rate_of_its_middle(small, bars, schedule):
    """3 epochs of 4 batches: step k of 12 has the factor at (k + 1/2) / 12.

    Catches a rate set an epoch or a step late, of one group alone, or with the wrong total.
    """
    classifier = small(
        schedule=schedule, batch_size=50, learning_rate=0.01, callbacks=[NoteRates()]
    ).fit(*bars)
    expected = [0.01 * SCHEDULES[schedule]((step + 0.5) / 12) for step in range(12)]
    assert_allclose(classifier.net_.noted_rates, np.repeat(expected, 2), rtol=1e-12)
    assert_allclose(classifier.history_[:, "learning_rate"], expected[3::4], rtol=1e-12)


def test_last_step_of_cosine_by_hand(small, bars):
    """5 steps: the last is at 9/10 of the way. Catches a rate of zero, a step for nothing."""
    classifier = small(schedule="cosine", max_epochs=5, learning_rate=1e-2, batch_size=200)
    rate = classifier.fit(*bars).history_[-1, "learning_rate"]
    assert rate == pytest.approx(1e-2 * (1 + cos(0.9 * pi)) / 2)


def test_the_schedule_starts_over_when_initialized():
    """Catches a warm start that goes on where the last schedule ended."""
    schedule = LearningRateSchedule("cosine", 1.0, 2).initialize()
    net = type("Net", (), {"optimizer_": torch.optim.SGD([torch.zeros(1)], lr=9.0)})
    for _ in range(2):
        schedule.on_batch_begin(net, training=True)
    assert net.optimizer_.param_groups[0]["lr"] == pytest.approx((1 + cos(0.75 * pi)) / 2)
    schedule.initialize().on_batch_begin(net, training=False)
    assert schedule.step_ == 0
    schedule.on_batch_begin(net, training=True)
    assert net.optimizer_.param_groups[0]["lr"] == pytest.approx((1 + cos(0.25 * pi)) / 2)


def test_a_scheduler_of_skorch_works_or_is_refused(small, bars):
    """With schedule="constant" the rates must be 0.01, 0.001, 0.0001, or an error say why not.

    Catches a callback that is taken, called, and without any effect.
    """
    scheduler = LRScheduler("StepLR", step_size=1, gamma=0.1)
    classifier = small(schedule="constant", learning_rate=0.01, callbacks=[scheduler])
    try:
        rates = classifier.fit(*bars).history_[:, "learning_rate"]
    except (TypeError, ValueError) as error:
        assert "LRScheduler" in str(error)  # noqa: PT017
        assert "schedule" in str(error)  # noqa: PT017
    else:
        assert_allclose(rates, [1e-2, 1e-3, 1e-4])


@pytest.fixture
def epochs_of(monkeypatch, small):
    """A function that fits a classifier as far as its training, and returns how many epochs."""

    class Stop(Exception):
        pass

    def stop(net, *_, n_epochs, **__):
        raise Stop(n_epochs)

    monkeypatch.setattr(ConvNet, "train", stop)

    def fit(images, target, sample_weight=None, **parameters):
        with pytest.raises(Stop) as caught:
            small(max_epochs="auto", **parameters).fit(images, target, sample_weight)
        return caught.value.args[0]

    return fit


@pytest.mark.parametrize(
    ("parameters", "weight", "epochs"),
    [
        ({}, 1, 81),
        ({"early_stopping": True, "validation_fraction": 0.25}, 1, 99),
        ({"class_weight": {0: 0}}, 1, 99),
        ({}, 0, 99),
        ({"batch_size": 32}, 1, 63),
        ({"batch_size": 32, "early_stopping": True, "validation_fraction": 0.25}, 1, 70),
    ],
)
def test_auto_epochs_count_the_images_that_are_learnt_from(
    epochs_of, bars, parameters, weight, epochs
):
    """130 images are three batches; those held out, or of weight zero, are in none of them."""
    images, target = bars[0][:130], bars[1][:130]
    weights = np.where(np.arange(130) < 10, weight, 1)
    assert epochs_of(images, target, weights, **parameters) == epochs


@pytest.mark.parametrize(
    ("augment", "epochs"), [(None, 70), ([], 70), ((), 70), (RandomFlip(), 140), ([abs], 140)]
)
def test_no_augmentation_does_not_double_the_epochs(epochs_of, bars, augment, epochs):
    """Catches an empty list taken for an augmentation."""
    assert epochs_of(*bars, augment=augment) == epochs
