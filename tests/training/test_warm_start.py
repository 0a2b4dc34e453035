"""warm_start: fit goes on from its own weights, or says why it cannot."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from skorch.callbacks import Callback
from torch import optim

from sklearn_cnn import Flatten


def test_the_loss_goes_on_from_where_it_was(small, images, target):
    """Catches weights drawn anew: the loss would jump back to that of the first epoch."""
    classifier = small(warm_start=True, schedule="constant", max_epochs=12).fit(images, target)
    first = list(classifier.loss_curve_)
    second = classifier.fit(images, target).loss_curve_
    assert second[:12] == first
    assert len(second) == classifier.n_iter_ == len(classifier.history_) == 24
    assert abs(second[12] - first[-1]) < 0.1 * (first[0] - first[-1])
    assert second[-1] < first[-1]


def test_without_warm_start_fit_starts_anew(small, images, target):
    """The other side. Catches history or weights left over."""
    classifier = small().fit(images, target)
    first = classifier.loss_curve_
    assert classifier.fit(images, target).loss_curve_ == first


def test_warm_start_may_be_turned_on_after_a_fit(small, images, target):
    classifier = small().fit(images, target).set_params(warm_start=True, max_epochs=2)
    assert classifier.fit(images, target).n_iter_ == 5


def test_a_first_warm_fit_is_a_fit(small, images, target):
    warm = small(warm_start=True).fit(images, target)
    assert warm.loss_curve_ == small().fit(images, target).loss_curve_


def test_another_image_shape_is_refused_and_changes_nothing(small, images, target):
    """Catches a shape taken over by a fit that then fails."""
    classifier = small(warm_start=True).fit(images, target)
    expected = classifier.predict_proba(images)
    with pytest.raises(ValueError, match=r"another shape .* expected \(8, 8, 1\) .*\(200, 6, 8\)"):
        classifier.fit(images[:, :6], target)
    assert classifier.image_shape_ == (8, 8, 1)
    assert classifier.n_iter_ == 3
    assert_array_equal(classifier.predict_proba(images), expected)


def test_other_labels_are_refused_with_a_remedy_that_works(small, images, target):
    """Catches the remedy "call fit to start again": with warm_start, it is fit that was called."""
    classifier = small(warm_start=True).fit(images, target)
    with pytest.raises(ValueError, match=r"not in the classes: \[10\].*warm_start=False"):
        classifier.fit(images, target + 1)
    assert_array_equal(classifier.classes_, np.arange(10))


def test_fewer_labels_are_fine(small, images, target):
    """The other side: a class that is absent this time keeps its column."""
    few = target < 5
    classifier = small(warm_start=True).fit(images, target).fit(images[few], target[few])
    assert classifier.predict_proba(images).shape == (200, 10)


@pytest.mark.parametrize(
    ("name", "value"),
    [("conv_channels", 16), ("dense_units", 24), ("activation", "tanh"), ("layers", [Flatten()])],
)
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_another_network_is_refused_and_changes_nothing(small, images, target, name, value, method):
    """Catches a changed parameter without effect: get_params would tell of a network not there."""
    classifier = small(warm_start=True).fit(images, target)
    expected = classifier.predict_proba(images)
    classifier.set_params(**{name: value})
    with pytest.raises(ValueError, match=r"parameters now describe another .* warm_start=False"):
        getattr(classifier, method)(images, target)
    assert_array_equal(classifier.predict_proba(images), expected)
    assert classifier.n_iter_ == 3


def test_the_refusal_of_another_network_names_what_was_asked_for(small, images, target):
    """Catches an error that leaves the user to guess which of nine parameters it means."""
    classifier = small(warm_start=True).fit(images, target).set_params(conv_channels=16)
    with pytest.raises(ValueError, match=r"channels=\(?16"):
        classifier.fit(images, target)


def test_another_way_to_write_the_same_network_is_fine(small, images, target):
    """The other side. Catches parameters compared rather than the networks that they mean."""
    classifier = small(warm_start=True).fit(images, target)
    classifier.set_params(conv_channels=[8], dense_units=(16,), kernel_size=(3, 3))
    assert classifier.fit(images, target).n_iter_ == 6


def n_batches(classifier):
    return classifier.history_[-1, "train_batch_count"]


def test_another_batch_size_counts(small, images, target):
    """Catches the batch size of the first fit kept for ever."""
    classifier = small(warm_start=True, batch_size=200).fit(images, target)
    assert n_batches(classifier) == 1
    assert n_batches(classifier.set_params(batch_size=50).fit(images, target)) == 4


def test_another_learning_rate_and_schedule_count(small, images, target):
    classifier = small(warm_start=True).fit(images, target)
    classifier.set_params(learning_rate=0.125, schedule="constant").fit(images, target)
    assert classifier.history_[-1, "learning_rate"] == 0.125


def test_another_label_smoothing_counts(small, images, target):
    """At 0.9 the loss cannot come near zero; without, it can. Catches the first one kept."""
    classifier = small(warm_start=True, label_smoothing=0.9, learning_rate=1e-12).fit(
        images, target
    )
    anew = small(label_smoothing=0.0, learning_rate=1e-12).fit(images, target)
    classifier.set_params(label_smoothing=0.0).fit(images, target)
    assert classifier.loss_curve_[-1] == pytest.approx(anew.loss_curve_[-1], rel=1e-3)


@pytest.mark.parametrize(
    ("name", "value"), [("optimizer", "sgd"), ("optimizer", optim.RMSprop), ("weight_decay", 0.5)]
)
def test_another_optimizer_counts_or_is_refused(small, images, target, name, value):
    """Catches a changed parameter without effect."""
    classifier = small(warm_start=True).fit(images, target)
    anew = small(**{name: value}).fit(images, target).net_.optimizer_
    try:
        classifier.set_params(**{name: value}).fit(images, target)
    except ValueError as error:
        assert name in str(error)  # noqa: PT017
        assert "warm_start" in str(error)  # noqa: PT017
    else:
        made = classifier.net_.optimizer_
        assert type(made) is type(anew)
        decays = [group["weight_decay"] for group in made.param_groups]
        assert decays == [group["weight_decay"] for group in anew.param_groups]


def test_early_stopping_may_be_turned_on(small, images, target):
    """Catches a comparison of scores with the None of epochs that had none."""
    classifier = small(warm_start=True).fit(images, target)
    classifier.set_params(early_stopping=True).fit(images, target)
    assert classifier.n_iter_ == 6
    scores = [score for score in classifier.validation_scores_ if score is not None]
    assert len(scores) == 3
    assert classifier.best_validation_score_ == max(scores)


def test_early_stopping_may_follow_partial_fit(small, images, target):
    classifier = small(warm_start=True).partial_fit(images, target, classes=np.arange(10))
    classifier.set_params(early_stopping=True).fit(images, target)
    assert classifier.best_validation_score_ is not None


def test_the_best_score_is_that_of_the_weights_kept(small, images, target):
    """The second fit's labels are shuffled, so that it ends far below the first.

    Catches the maximum over both fits: the weights that had it are gone.
    """
    classifier = small(warm_start=True, early_stopping=True, max_epochs=12, learning_rate=0.02)
    first = classifier.fit(images, target).best_validation_score_
    classifier.fit(images, np.random.default_rng(0).permutation(target))
    second_scores = classifier.validation_scores_[-(classifier.n_iter_ - 12) :]
    assert max(second_scores) < first
    assert classifier.best_validation_score_ == max(second_scores)


def test_an_interrupted_schedule_is_not_resumed(small, images, target):
    """Every fit runs its own schedule in full: the rates of the second are those of the first."""
    rates = small(warm_start=True).fit(images, target).fit(images, target).history_
    assert rates[:3, "learning_rate"] == rates[3:, "learning_rate"]


def test_a_failed_refit_with_another_optimizer_leaves_no_trace(small, images, target):
    """Catches moments of one optimizer put back into another, or lost."""
    failed, untouched = (small(warm_start=True).fit(images, target) for _ in range(2))
    with pytest.raises(ValueError, match="diverged"):
        failed.set_params(optimizer="sgd", learning_rate=1e30, batch_size=50).fit(images, target)
    failed.set_params(**untouched.get_params())
    assert failed.fit(images, target).loss_curve_ == untouched.fit(images, target).loss_curve_


class NoteSteps(Callback):
    """Note how many steps the optimizer has taken at the end of each epoch."""

    def __init__(self):
        self.steps = []

    def on_epoch_end(self, net, **_):
        self.steps.append({int(state["step"]) for state in net.optimizer_.state.values()})


@pytest.mark.parametrize("schedule", ["constant", "one_cycle"])
def test_every_warm_start_has_a_new_optimizer(small, images, target, schedule):
    """Catches moments of the last fit, and its last learning rate, in the next one."""
    noted = NoteSteps()
    classifier = small(warm_start=True, schedule=schedule, callbacks=[noted], batch_size=100)
    for n_fits in range(1, 4):
        classifier.fit(images, target)
        assert classifier.n_iter_ == 3 * n_fits
    assert noted.steps == [{2}, {4}, {6}] * 3
    rates = classifier.history_[:, "learning_rate"]
    assert rates[:3] == rates[3:6] == rates[6:]


def test_a_warm_start_begins_a_new_optimizer_after_partial_fit(small, images, target):
    """Catches moments of partial_fit, at its constant rate, carried into the schedule of a fit."""
    one, other = (small(warm_start=True, precision="float64") for _ in range(2))
    for model in (one, other):
        for _ in range(3):
            model.partial_fit(images, target, classes=np.arange(10))
    assert len(one.net_.optimizer_.state) > 0
    other.net_.optimizer_.state.clear()
    for model in (one, other):
        model.fit(images, target)
    assert_array_equal(one.predict_proba(images), other.predict_proba(images))


def test_another_optimizer_between_partial_fits_counts(small, images, target):
    """By hand: a step of plain SGD is minus rate times gradient. Catches the first one kept."""
    options = {"batch_size": 200, "precision": "float64", "weight_decay": 0.0}
    model = small(**options).partial_fit(images, target, classes=np.arange(10))
    model.set_params(optimizer=optim.SGD, learning_rate=0.125)
    weight = model.net_.module_.output.weight
    before = weight.detach().clone()
    model.partial_fit(images, target)
    assert type(model.net_.optimizer_) is optim.SGD
    np.testing.assert_allclose(
        weight.detach().numpy(), (before - 0.125 * weight.grad).numpy(), rtol=1e-12
    )


def test_partial_fits_after_a_fit_begin_a_new_optimizer(small, images, target):
    """Catches the moments of the last epoch, where early stopping went back to the best one."""
    model = small(early_stopping=True, max_epochs=4).fit(images, target)
    assert len(model.net_.optimizer_.state) == 0
    model.set_params(early_stopping=False).partial_fit(images, target)
    assert len(model.net_.optimizer_.state) > 0
    assert model.validation_scores_ is None


def test_the_unit_of_sample_weights_is_that_of_each_fit(small, images, target):
    """Catches the unit of the first fit kept by a warm start, which would hardly move."""
    one, other = (small(warm_start=True, precision="float64") for _ in range(2))
    for model, unit in ((one, 1.0), (other, 1e-6)):
        model.fit(images, target, sample_weight=np.ones(200))
        model.fit(images, target, sample_weight=np.full(200, unit))
    np.testing.assert_allclose(one.predict_proba(images), other.predict_proba(images), rtol=1e-9)
    for model, unit in ((one, 1.0), (other, 1e-6)):
        model.partial_fit(images, target, sample_weight=np.full(200, unit))
    np.testing.assert_allclose(one.predict_proba(images), other.predict_proba(images), rtol=1e-9)


def test_class_weights_may_change_between_warm_starts(small, images, target):
    """Catches the weights of the first fit kept."""
    model = small(warm_start=True).fit(images, target)
    share = (model.predict(images) == 0).mean()
    model.set_params(class_weight={0: 1000.0}, learning_rate=0.02).fit(images, target)
    assert share < 0.5 < (model.predict(images) == 0).mean()
    model.set_params(class_weight="balanced").fit(images, target)
    assert (model.predict(images) == 0).mean() < 0.5
