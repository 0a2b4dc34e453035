"""What is given after the first fit meets the same border as what was given to it."""

import numpy as np
import pytest
import torch
from skorch.callbacks import Callback


class Fail(Callback):
    """Fails in the second epoch's last hook, or in the first where there is one."""

    def on_epoch_end(self, net, **_):
        raise RuntimeError("boom")


@pytest.mark.parametrize("method", ["predict", "partial_fit", "warm start"])
@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda X: X / 255, "The range of the pixels changed since fit"),
        (lambda X: (X - X.mean()) / X.std(), "The range of the pixels changed since fit"),
        (lambda X: X * 1e300, r"too large for dtype\('float32'\)"),
    ],
)
def test_pixels_of_another_range(small, bars, method, change, text):
    """Would catch silent nonsense at predict, and in a further fit."""
    images, y = bars
    model = small().fit(images, y)
    changed = change(images.astype(np.float64))
    model.set_params(warm_start=method == "warm start")
    call = {"predict": lambda X, y: model.predict(X), "partial_fit": model.partial_fit}
    with pytest.raises(ValueError, match=text):
        call.get(method, model.fit)(changed, y)


def test_values_that_overflow_inside_the_network(small):
    """Representable in float32, and in the range seen, but not once the network has computed."""
    X, y = np.float32([[-1, 1], [1, -1]] * 5), [0, 1] * 5
    model = small(max_epochs=1).fit(X, y)
    with torch.no_grad():
        model.net_.module_.get_submodule("normalize").scale.fill_(1e38)
    with pytest.raises(ValueError, match=r"not finite for 1 of 3 images, the first of them X\[1\]"):
        model.predict(np.float32([[0, 0], [-9, 9], [0, 0]]))


def test_a_black_first_batch_does_not_stop_those_that_follow(small, bars):
    """partial_fit began with black images, and refused all others since."""
    images, y = bars
    model = small().partial_fit(np.zeros_like(images), y, classes=[0, 1])
    for _ in range(20):
        model.partial_fit(images, y)
    assert model.score(images, y) > 0.9
    with pytest.raises(ValueError, match="range of the pixels changed"):
        model.predict(images / 255)


@pytest.mark.parametrize("method", ["predict_proba", "transform", "feature_maps"])
def test_a_dark_frame_among_others_and_alone(small, bars, method):
    """A nearly black frame of floats was refused alone, and accepted among others."""
    images, y = bars
    model = small().fit(images, y)
    frame = np.float32(images[:1]) * 0.003
    compute = getattr(model, method)
    among = compute(np.concatenate([images, frame]))
    with pytest.warns(UserWarning, match="so dark that they may have been divided") as caught:
        alone = compute(frame)
    assert caught[0].filename == __file__
    for name in alone if isinstance(alone, dict) else [slice(None)]:
        np.testing.assert_array_equal(alone[name][0], among[name][-1])


def test_images_of_zero_weight_set_no_range(small, bars):
    """They do not count at all: not in the range, and not by values too large."""
    images, y = bars
    X = images.astype(np.float64)
    X[0] = 1e300
    weights = np.ones(len(y))
    weights[0] = 0
    model = small().fit(X, y, sample_weight=weights)
    np.testing.assert_array_equal(
        model.predict_proba(images), small().fit(images[1:], y[1:]).predict_proba(images)
    )


@pytest.mark.parametrize(
    ("classes", "labels"), [(np.arange(20), list("0123")), (np.array(list("abc")), [0, 1, 2])]
)
def test_labels_of_another_type(small, classes, labels):
    """NumPy compares numbers with text by their digits, and would find some class for each."""
    X = np.zeros((len(labels), 4, 4))
    model = small().partial_fit(np.zeros((len(classes), 4, 4)), classes, classes=classes)
    with pytest.raises(ValueError, match="labels that are not in the classes"):
        model.partial_fit(X, labels)


def test_labels_of_mixed_types(small):
    with pytest.raises(ValueError, match="some are text and some are not"):
        small().fit(np.zeros((3, 4, 4)), np.array(["a", 1, "b"], dtype=object))


def test_partial_fit_takes_up_another_optimizer(small, bars):
    """A changed parameter without effect would be a silent one."""
    images, y = bars
    model = small().partial_fit(images, y, classes=[0, 1])
    kept = model.net_.optimizer_
    assert model.set_params(learning_rate=0.01).partial_fit(images, y).net_.optimizer_ is kept
    model.set_params(optimizer="sgd", weight_decay=0.5).partial_fit(images, y)
    assert isinstance(model.net_.optimizer_, torch.optim.SGD)
    assert model.net_.optimizer_.param_groups[0]["weight_decay"] == 0.5


@pytest.mark.parametrize("parameters", [{}, {"optimizer": "sgd"}])
def test_a_failure_between_two_calls_leaves_no_trace(small, bars, parameters):
    """Weights, the optimizer and its state, batch statistics: all go back."""
    images, y = bars
    smooth, rough = small(), small()
    for model in (smooth, rough):
        model.partial_fit(images, y, classes=[0, 1])
    rough.set_params(callbacks=[Fail()], **parameters)
    with pytest.raises(RuntimeError, match="boom"):
        rough.partial_fit(images[::-1], y)
    rough.set_params(callbacks=None, optimizer="adamw")
    for model in (smooth, rough):
        model.partial_fit(images, y)
    np.testing.assert_array_equal(rough.predict_proba(images), smooth.predict_proba(images))


def test_a_module_that_is_returned_again_is_not_trained_again(small, bars):
    """Its weights would carry what one fold has learnt into the next."""
    images, y = bars
    module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(48, 2))
    before = module[1].weight.clone()
    model = small(layers=lambda shape, n: module)
    first = model.fit(images, y).predict_proba(images)
    np.testing.assert_array_equal(model.fit(images, y).predict_proba(images), first)
    assert torch.equal(module[1].weight, before)


def test_a_module_with_nothing_to_learn(small, bars):
    def frozen(shape, n):
        return torch.nn.Sequential(
            torch.nn.Flatten(), torch.nn.Linear(48, n)
        ).requires_grad_(False)  # fmt: skip

    with pytest.raises(ValueError, match="no parameter of the module that layers returned"):
        small(layers=frozen).fit(*bars)


def test_huge_weights_are_relative(small, bars):
    """Their sum is infinite in double precision; their ratios are not."""
    images, y = bars
    expected = small().fit(images, y).predict_proba(images)
    heavy = small(class_weight={0: 1e308, 1: 1e308})
    weights = np.full(len(y), 1e308)
    np.testing.assert_array_equal(
        heavy.fit(images, y, sample_weight=weights).predict_proba(images), expected
    )


def test_the_network_is_left_ready_to_predict(small, bars):
    """In training mode its dropout and batch statistics would answer net_.module_'s caller."""
    model = small(dropout=0.5).fit(*bars)
    assert not any(module.training for module in model.net_.module_.modules())
