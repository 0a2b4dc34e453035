"""partial_fit: one epoch a call, over classes and a shape that the first call fixes."""

import pickle
from copy import deepcopy
from functools import partial

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn.exceptions import NotFittedError
from sklearn.utils.class_weight import compute_class_weight
from skorch.history import History
from torch import optim
from torch.optim import SGD, Adagrad

from sklearn_cnn import CNNClassifier, RandomFlip, TrainingCurveDisplay

CLASSES = np.arange(10)


def test_the_first_call_needs_classes(small, images, target):
    """Catches classes taken from the first batch, which may lack some."""
    classifier = small()
    with pytest.raises(ValueError, match=r"first call of partial_fit needs classes, .*np\.unique"):
        classifier.partial_fit(images, target)
    assert not hasattr(classifier, "classes_")
    classifier.partial_fit(images, target, classes=CLASSES).partial_fit(images, target)


def test_after_fit_no_classes_are_needed(small, images, target):
    """Catches a first call told by a flag of partial_fit's own, and weights thrown away."""
    classifier = small().fit(images, target)
    loss = classifier.loss_curve_[-1]
    classifier.partial_fit(images, target)
    assert classifier.n_iter_ == 4
    assert classifier.loss_curve_[-1] < loss + 0.05


def test_classes_without_images_are_predicted_with_columns(small, images, target):
    """Catches a network with outputs for the labels at hand."""
    few = target < 3
    classifier = small().partial_fit(images[few], target[few], classes=[*CLASSES[::-1], 3, 3])
    assert_array_equal(classifier.classes_, CLASSES)
    assert classifier.predict_proba(images).shape == (200, 10)


def test_a_batch_of_one_class_and_one_image_will_do(small, images, target):
    """Catches the rule of two classes applied to the labels of one call."""
    classifier = small().partial_fit(images, target, classes=CLASSES)
    classifier.partial_fit(images[:1], target[:1])
    assert np.isfinite(classifier.loss_curve_).all()


@pytest.mark.parametrize("first", [True, False])
def test_an_unseen_label_is_refused(small, images, target, first):
    """At the first call and later. Catches its silent encoding as the class next to it."""
    classifier = small()
    if not first:
        classifier.partial_fit(images[target < 9], target[target < 9], classes=CLASSES[:9])
    with pytest.raises(ValueError, match=r"not in the classes: \[9\]\. .* first call of partial"):
        classifier.partial_fit(images, target, classes=CLASSES[:9])
    assert hasattr(classifier, "net_") != first


@pytest.mark.parametrize("classes", [CLASSES[:9], np.arange(11), CLASSES + 1, list("abc")])
def test_other_classes_later_are_refused(small, images, target, classes):
    classifier = small().partial_fit(images, target, classes=CLASSES)
    message = r"classes=\[.*\] differ from those of the first .*\[0, 1, .* call fit to start again"
    with pytest.raises(ValueError, match=message):
        classifier.partial_fit(images, target, classes=classes)
    assert classifier.n_iter_ == 1


def test_the_same_classes_later_in_another_order_are_fine(small, images, target):
    classifier = small().partial_fit(images, target, classes=CLASSES)
    classifier.partial_fit(images, target, classes=CLASSES[::-1].tolist())
    assert classifier.n_iter_ == 2


def test_another_shape_is_refused_and_changes_nothing(small, images, target):
    """Catches a network broken, or a shape replaced, by a call that failed."""
    classifier = small().partial_fit(images, target, classes=CLASSES)
    expected = classifier.predict_proba(images)
    with pytest.raises(ValueError, match=r"another shape .* expected \(8, 8, 1\) .*\(200, 6, 8\)"):
        classifier.partial_fit(images[:, :6], target)
    assert classifier.image_shape_ == (8, 8, 1)
    assert classifier.n_iter_ == 1
    assert_array_equal(classifier.predict_proba(images), expected)


def test_early_stopping_has_no_partial_fit(small):
    """Catches a method that is there and cannot work."""
    assert hasattr(small(), "partial_fit")
    assert not hasattr(small(early_stopping=True), "partial_fit")
    with pytest.raises(AttributeError) as caught:
        small(early_stopping=True).partial_fit  # noqa: B018
    reasons = f"{caught.value} {caught.value.__cause__}"
    assert "partial_fit" in reasons
    assert "Use early_stopping=False, or call fit." in reasons


def test_calls_go_on_training(small, images, target):
    """Catches weights drawn anew, or an optimizer that forgets, in every call."""
    classifier = small(conv_channels=16)
    for n_calls in range(1, 16):
        assert classifier.partial_fit(images, target, classes=CLASSES) is classifier
        assert classifier.n_iter_ == len(classifier.loss_curve_) == n_calls
        assert len(classifier.history_) == n_calls
    curve = np.array(classifier.loss_curve_)
    assert (np.diff(curve[:5]) < 0).all()
    assert curve[-1] < 0.6 * curve[0]
    assert classifier.validation_scores_ is None


def test_every_call_is_one_epoch_at_the_full_rate(small, images, target):
    """Catches the schedule of ``fit``, whose single epoch would end at a rate of zero."""
    classifier = small(schedule="one_cycle", learning_rate=0.003, batch_size=64)
    for _ in range(3):
        classifier.partial_fit(images, target, classes=CLASSES)
    assert classifier.history_[:, "learning_rate"] == [0.003] * 3
    assert classifier.history_[:, "train_batch_count"] == [4] * 3


def test_calls_equal_one_fit_at_a_constant_rate_but_for_the_order(small, images, target):
    """A single batch an epoch has no order that matters: three calls are three epochs.

    Catches optimizer state that is lost between calls.
    """
    options = {"batch_size": 200, "precision": "float64", "schedule": "constant"}
    fitted = small(**options).fit(images, target)
    in_parts = small(**options)
    for _ in range(3):
        in_parts.partial_fit(images, target, classes=CLASSES)
    np.testing.assert_allclose(in_parts.loss_curve_, fitted.loss_curve_, rtol=1e-9)
    np.testing.assert_allclose(
        in_parts.predict_proba(images), fitted.predict_proba(images), atol=1e-9
    )


def test_calls_with_one_seed_shuffle_differently(small, images, target):
    """Catches the same order in every epoch, since random_state is a number."""
    rates = {"learning_rate": 1e-9, "batch_size": 20, "batch_norm": False}
    classifier = small(**rates).partial_fit(images, target, classes=CLASSES)
    classifier.partial_fit(images, target)
    first, second = classifier.history_[:, "batches", :, "train_loss"]
    assert not np.allclose(first, second)
    assert np.mean(first) == pytest.approx(np.mean(second), rel=1e-5)


def test_calls_are_the_epochs_of_a_fit_at_a_constant_rate(small, images, target):
    """To the bit, with augmentation and dropout: all draws follow from the seed and the epoch.

    Catches draws that go on from one epoch to the next.
    """
    options = {"schedule": "constant", "dropout": 0.3, "augment": RandomFlip(), "max_epochs": 3}
    whole = small(**options).fit(images, target)
    in_calls = small(**options)
    for _ in range(3):
        in_calls.partial_fit(images, target, classes=CLASSES)
    assert_array_equal(in_calls.predict_proba(images), whole.predict_proba(images))
    assert in_calls.loss_curve_ == whole.loss_curve_


def test_sample_weights_count(small, images, target):
    """Catches weights taken and dropped."""
    weights = np.where(target == 0, 100.0, 1e-3)
    classifier = small()
    for _ in range(10):
        classifier.partial_fit(images, target, classes=CLASSES, sample_weight=weights)
    assert (classifier.predict(images) == 0).mean() > 0.9


def test_fit_after_partial_fit_starts_anew(small, images, target):
    """Catches classes, weights or history left over from the calls before."""
    classifier = small().partial_fit(images, target, classes=np.arange(20))
    classifier.fit(images, target)
    assert_array_equal(classifier.classes_, CLASSES)
    assert classifier.loss_curve_ == small().fit(images, target).loss_curve_


def test_a_first_call_that_fails_leaves_nothing(small, images, target):
    """Catches an estimator that is half fitted."""
    classifier = small(learning_rate=1e30)
    with pytest.raises(ValueError, match="diverged"):
        classifier.partial_fit(images, target, classes=CLASSES)
    with pytest.raises(NotFittedError):
        classifier.predict(images)


def moved(model, images, target, **weights):
    """Return the largest change of a weight of the last layer in one more call."""
    before = model.net_.module_.output.weight.detach().clone()
    model.partial_fit(images, target, **weights)
    return float((model.net_.module_.output.weight.detach() - before).abs().max())


@pytest.mark.parametrize("begin", ["partial_fit", "fit"])
@pytest.mark.parametrize("weights", [1e-6, np.float32(1e-6), 0.0])
def test_the_scale_of_the_first_weights_holds(small, images, target, weights, begin):
    """A millionth of a weight is a millionth of a gradient. Catches each call scaled by itself.

    SGD without momentum to carry on, and without decay, moves by as much as the gradient.
    """
    options = {"optimizer": SGD, "weight_decay": 0.0, "precision": "float64"}
    models = [small(**options, learning_rate=0.01) for _ in range(2)]
    for model in models:
        if begin == "fit":
            model.fit(images, target)
        else:
            model.partial_fit(images, target, classes=CLASSES)
    light = np.full(200, weights)
    light[0] = light[0] or 1e-9
    full = moved(models[0], images, target, sample_weight=np.ones(200))
    assert moved(models[1], images, target, sample_weight=light) < 2e-6 * full
    assert full > 1e-4


@pytest.mark.parametrize("unit", [1e-6, 1, 7, 1e6])
def test_the_unit_of_the_weights_does_not_matter(small, images, target, unit):
    """The other side: in any unit, all calls in the same. Catches an absolute scale."""
    plain, weighted = small(precision="float64"), small(precision="float64")
    for start in (0, 100):
        part = slice(start, start + 100)
        weights = [unit * (1 + start / 100)] * 100
        weighted.partial_fit(images[part], target[part], CLASSES, weights)
        weights = np.full(100, 1 + start // 100)
        plain.partial_fit(images[part], target[part], CLASSES, weights)
    np.testing.assert_allclose(plain.predict_proba(images), weighted.predict_proba(images))
    np.testing.assert_allclose(plain.loss_curve_, weighted.loss_curve_)


def test_a_light_call_has_the_loss_of_its_images(small, images, target):
    """Catches a loss of nearly zero in the curve, which would look as if all was learnt."""
    light, plain = (small(batch_size=200) for _ in range(2))
    for model in (light, plain):
        model.partial_fit(images, target, CLASSES)
    light.partial_fit(images, target, sample_weight=np.full(200, 1e-6))
    plain.partial_fit(images, target)
    assert light.loss_curve_ == pytest.approx(plain.loss_curve_, rel=1e-5)


def test_one_image_a_call_keeps_its_weight(small, images, target):
    """Catches a single image scaled to a weight of 1, whatever was given."""
    model = small(optimizer=SGD, weight_decay=0.0).partial_fit(images, target, CLASSES)
    copy = deepcopy(model)
    whole = moved(model, images[:1], target[:1])
    quarter = moved(copy, images[:1], target[:1], sample_weight=[0.25])
    assert quarter == pytest.approx(whole / 4, rel=1e-4)


def test_class_weights_keep_their_scale_from_call_to_call(small, images, target):
    """A call of class 3 alone, which weighs a quarter. Catches a balance of each call alone."""
    model = small(optimizer=SGD, weight_decay=0.0).partial_fit(images, target, CLASSES)
    copy, only = deepcopy(model), target == 3
    whole = moved(model, images[only], target[only])
    quarter = moved(copy.set_params(class_weight={3: 0.25}), images[only], target[only])
    assert quarter == pytest.approx(whole / 4, rel=1e-4)


def test_weights_of_another_scale_altogether_are_refused(small, images, target):
    """Catches gradients whose squares are infinite, after which AdamW never moves again."""
    model = small().partial_fit(images, target, CLASSES)
    with pytest.raises(ValueError, match=r"sample_weight .* 1e\+15 times .* weights of the same"):
        model.partial_fit(images, target, sample_weight=np.full(200, 1e15))
    with pytest.raises(ValueError, match="at least one non-zero"):
        model.partial_fit(images, target, sample_weight=np.zeros(200))
    assert model.n_iter_ == 1


@pytest.mark.parametrize("after_fit", [False, True])
def test_balanced_weights_are_refused(small, images, target, after_fit):
    """As SGDClassifier does. Catches a balance of each call alone."""
    model = small(class_weight="balanced")
    if after_fit:
        model.fit(images, target)
    message = "class_weight='balanced' is not supported for partial_fit.*compute_class_weight"
    with pytest.raises(ValueError, match=message):
        model.partial_fit(images, target, classes=CLASSES)
    weights = compute_class_weight("balanced", classes=CLASSES, y=target)
    model.set_params(class_weight=dict(zip(CLASSES, weights, strict=True)))
    model.partial_fit(images, target, classes=CLASSES)


def test_many_calls_cost_no_more_than_few(small, images, target, monkeypatch):
    """All that grows is the loss curve, by nine bytes a call in a pickle.

    Catches a history that grows, is read and is copied from its first entry on at every call.
    """
    model, sizes, visited = small(), {}, {}
    item = History.__getitem__

    def noting(history, index):
        epochs = index[0] if isinstance(index, tuple) else index
        visited[n_calls] += len(range(len(history))[epochs]) if isinstance(epochs, slice) else 1
        return item(history, index)

    monkeypatch.setattr(History, "__getitem__", noting)
    for n_calls in range(1, 121):
        visited[n_calls] = 0
        model.partial_fit(images[:20], target[:20], classes=CLASSES)
        sizes[n_calls] = len(pickle.dumps(model)) if n_calls in (40, 120) else 0
    assert visited[120] == visited[2]
    assert sizes[120] - sizes[40] < 80 * 15
    assert model.n_iter_ == len(model.loss_curve_) == 120
    assert len(model.history_) < 40
    assert [epoch["epoch"] for epoch in model.history_] == list(range(89, 121))


def test_calls_forget_no_epoch_of_a_fit(small, images, target):
    """Catches a bound on the history that counts the epochs of fit, or numbers them anew."""
    model = small(max_epochs=40, batch_size=200, warm_start=True).fit(images, target)
    for _ in range(35):
        model.partial_fit(images[:20], target[:20])
    numbers = [epoch["epoch"] for epoch in model.history_]
    assert numbers == [*range(1, 41), *range(44, 76)]
    model.set_params(early_stopping=True, max_epochs=3).fit(images, target)
    assert model.n_iter_ == len(model.loss_curve_) == 78
    assert len(model.validation_scores_) == 3
    assert model.history_[-1]["epoch"] == 78
    rates = TrainingCurveDisplay.from_estimator(model).learning_rate
    assert len(rates) == 78
    assert np.flatnonzero(np.isnan(rates)).tolist() == [40, 41, 42]


def test_a_call_that_fails_after_many_leaves_the_curve(small, images, target):
    """Catches a loss that was appended before the call failed."""
    model = small()
    for _ in range(40):
        model.partial_fit(images[:20], target[:20], classes=CLASSES)
    curve = list(model.loss_curve_)
    with pytest.raises(ValueError, match="diverged"):
        model.set_params(learning_rate=1e30).partial_fit(images, target)
    assert model.loss_curve_ == curve
    assert model.n_iter_ == model.history_[-1]["epoch"] == 40


@pytest.mark.parametrize("optimizer", ["adamw", "sgd", Adagrad])
def test_fit_leaves_no_moments_of_the_optimizer(small, images, target, optimizer):
    """Catches a pickle of three times the weights; and another model after it is loaded.

    Calls of partial_fit go on with the moments, so the second call adds them.
    """
    model = small(conv_channels=(32, 64), optimizer=optimizer).fit(images, target)
    state = model.net_.module_.state_dict().values()
    weights = sum(value.numel() * value.element_size() for value in state)
    assert len(pickle.dumps(model)) < 1.3 * weights or optimizer is Adagrad
    loaded = pickle.loads(pickle.dumps(model))
    for one in (model, loaded):
        one.partial_fit(images, target)
    assert_array_equal(model.predict_proba(images), loaded.predict_proba(images))
    assert len(pickle.dumps(model)) > 1.8 * weights
    again = pickle.loads(pickle.dumps(model))
    for one in (model, again):
        one.partial_fit(images, target)
    assert_array_equal(model.predict_proba(images), again.predict_proba(images))


@pytest.mark.parametrize("parameters", [{}, {"early_stopping": True}, {"augment": RandomFlip()}])
def test_a_pickle_is_little_more_than_the_weights(images, target, parameters):
    """The default network, its early stopping and its augmentation. Catches copies of weights."""
    model = CNNClassifier(max_epochs=2, validation_fraction=0.2, random_state=0, **parameters)
    model.fit(images, target)
    state = model.net_.module_.state_dict().values()
    weights = sum(value.numel() * value.element_size() for value in state)
    assert weights < len(pickle.dumps(model)) < 1.2 * weights


def n_steps(classifier):
    """How many steps the optimizer has taken."""
    states = classifier.net_.optimizer_.state.values()
    return {int(state["step"]) for state in states}


def test_another_optimizer_between_two_calls_begins_anew(small, images, target):
    """Catches the first one kept for ever, and moments of one handed to another."""
    classifier = small(batch_size=100).partial_fit(images, target, classes=np.arange(10))
    classifier.partial_fit(images, target)
    assert n_steps(classifier) == {4}
    for optimizer in (optim.RMSprop, "adam", partial(optim.Adam, betas=(0.5, 0.9))):
        classifier.set_params(optimizer=optimizer).partial_fit(images, target)
        assert n_steps(classifier) == {2}
    assert classifier.net_.optimizer_.param_groups[0]["betas"] == (0.5, 0.9)
    classifier.set_params(weight_decay=0.5).partial_fit(images, target)
    assert n_steps(classifier) == {2}
    assert classifier.net_.optimizer_.param_groups[0]["weight_decay"] == 0.5
    classifier.set_params(learning_rate=0.5).partial_fit(images, target)
    assert n_steps(classifier) == {4}
    assert classifier.net_.optimizer_.param_groups[0]["lr"] == 0.5
