"""The net trains as a plain loop does; skorch's callbacks work in it; interrupts pass through."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from skorch.callbacks import (
    Callback,
    Checkpoint,
    EarlyStopping,
    EpochScoring,
    GradientNormClipping,
)
from torch import nn
from torch.nn.functional import cross_entropy

from sklearn_cnn.training.optimizer import SCHEDULES

FIRST_SEED = int(np.random.RandomState(0).randint(2**31 - 1))
"""What random_state=0 draws: the seed of the first weights."""


def order_of(epoch, n):
    """The order of the images in an epoch, which follows from that seed and its number."""
    seed = int(np.random.SeedSequence([FIRST_SEED, epoch]).generate_state(1)[0])
    return np.random.default_rng(seed).permutation(n)


class PixelByPixel(nn.Module):
    """Flatten in the documented order."""

    def forward(self, maps):
        return torch.stack([image.permute(1, 2, 0).reshape(-1) for image in maps])


def plain_network(dtype):
    """The network of ``small`` without batch normalisation, for images of 8 x 6 and 2 classes."""
    torch_state = torch.get_rng_state()
    torch.manual_seed(FIRST_SEED)
    network = nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1, dtype=dtype),
        nn.MaxPool2d(2),
        nn.ReLU(),
        PixelByPixel(),
        nn.Linear(8 * 4 * 3, 16, dtype=dtype),
        nn.ReLU(),
        nn.Linear(16, 2, dtype=dtype),
    )
    torch.set_rng_state(torch_state)
    return network.to(memory_format=torch.channels_last)


def plain_loop(pixels, target, weights, *, optimizer, schedule, rate, epochs, dtype):
    """Train in plain PyTorch; return the network's logits and the loss of each epoch."""
    spread = np.repeat(weights, pixels[0].size)
    mean = np.average(pixels.ravel(), weights=spread)
    std = np.sqrt(np.average((pixels.ravel() - mean) ** 2, weights=spread))
    images = (torch.tensor(pixels)[:, None].to(dtype) - mean) / std
    labels, weights = torch.tensor(target), torch.from_numpy(weights / weights.mean()).to(dtype)
    network = plain_network(dtype)
    kernels = [p for p in network.parameters() if p.ndim > 1]
    biases = [p for p in network.parameters() if p.ndim == 1]
    groups = [{"params": kernels, "weight_decay": 0.01}, {"params": biases, "weight_decay": 0}]
    updates = {
        "adamw": lambda: torch.optim.AdamW(groups, lr=1),
        "sgd": lambda: torch.optim.SGD(groups, lr=1, momentum=0.9, nesterov=True),
    }[optimizer]()
    n_batches = -(-len(images) // 64)
    step, curve = 0, []
    for epoch in range(1, epochs + 1):
        total = 0.0
        for index in np.array_split(order_of(epoch, len(images)), n_batches):
            for group in updates.param_groups:
                group["lr"] = rate * SCHEDULES[schedule]((step + 0.5) / (epochs * n_batches))
            logits = network(images[index])
            losses = cross_entropy(logits, labels[index], reduction="none", label_smoothing=0.1)
            loss = (weights[index] * losses).mean()
            updates.zero_grad()
            loss.backward()
            updates.step()
            total += loss.item() * len(index)
            step += 1
        curve.append(total / len(images))
    with torch.no_grad():
        return network(images).numpy(), curve


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(
    ("optimizer", "schedule", "precision"),
    [
        ("adamw", "one_cycle", "float64"),
        ("sgd", "cosine", "float64"),
        ("adamw", "constant", "float32"),
    ],
)
def test_equals_a_plain_loop(small, bars, optimizer, schedule, precision, weighted):
    """First weights, order, rates, decay, smoothing, weights, statistics: all of them.

    Catches any step of the training that is not what the documentation says it is.
    """
    images, target = bars
    rate = {"adamw": 0.02, "sgd": 0.1}[optimizer]
    weights = np.random.default_rng(0).uniform(0.2, 2, len(images)) if weighted else np.ones(200)
    classifier = small(
        batch_norm=False,
        optimizer=optimizer,
        schedule=schedule,
        learning_rate=rate,
        weight_decay=0.01,
        batch_size=64,
        precision=precision,
    ).fit(images, target, sample_weight=weights)
    logits, curve = plain_loop(
        images,
        target,
        weights,
        optimizer=optimizer,
        schedule=schedule,
        rate=rate,
        epochs=3,
        dtype=getattr(torch, precision),
    )
    tolerance = 1e-10 if precision == "float64" else 2e-4
    assert curve[-1] < 0.9 * curve[0]  # it learns, so that the equality says something
    assert_allclose(classifier.loss_curve_, curve, rtol=tolerance)
    assert_allclose(
        classifier.decision_function(images), logits[:, 1] - logits[:, 0], atol=tolerance
    )


class KeepGradients(Callback):
    """Keep the gradients of the first step."""

    def on_grad_computed(self, net, named_parameters, **_):
        if not hasattr(net, "first_gradients"):
            net.first_gradients = {name: p.grad.clone() for name, p in named_parameters}


class SetImagesPerPass(Callback):
    """Make the memory look small."""

    def __init__(self, images_per_pass):
        self.images_per_pass = images_per_pass

    def on_train_begin(self, net, **_):
        net.images_per_pass_ = self.images_per_pass


@pytest.mark.parametrize("images_per_pass", [1, 7, 66, 67, 68])
def test_pieces_of_a_batch_have_the_gradients_of_the_whole(small, bars, images_per_pass):
    """Batches of 67: pieces that divide it, leave one over, hold it just so. All weights differ.

    Catches a mean over pieces of different sizes, and gradients that are not added up.
    """

    def gradients(callbacks):
        classifier = small(
            batch_norm=False, batch_size=67, precision="float64", max_epochs=1, callbacks=callbacks
        )
        net = classifier.fit(*bars, sample_weight=np.linspace(0.1, 3, 200)).net_
        return net.first_gradients, classifier.loss_curve_

    whole, whole_loss = gradients([KeepGradients()])
    pieces, pieces_loss = gradients([SetImagesPerPass(images_per_pass), KeepGradients()])
    assert_allclose(pieces_loss, whole_loss, rtol=1e-12)
    for name, gradient in whole.items():
        assert_allclose(pieces[name], gradient, atol=1e-12, err_msg=name)


def test_predictions_of_the_net_equal_those_of_the_estimator(small, digits):
    """Catches a net whose layout, softmax or chunks differ. 300 is no multiple of a chunk."""
    classifier = small().fit(digits.images[:300], digits.target[:300])
    images = digits.images[:300, ..., np.newaxis]
    expected = classifier.predict_proba(digits.images[:300])
    assert_allclose(classifier.net_.predict_proba(images), expected, atol=1e-6)
    assert_array_equal(classifier.net_.predict(images), expected.argmax(axis=1))


def test_history_tells_each_epoch(small, bars):
    """Catches a history that starts at zero, or lacks what skorch's own would have."""
    classifier = small(batch_size=50).fit(*bars)
    history = classifier.net_.history
    assert history is classifier.history_
    assert history[:, "epoch"] == [1, 2, 3]
    assert history[:, "train_batch_count"] == [4, 4, 4]
    assert history[:, "train_loss"] == classifier.loss_curve_
    by_hand = [
        np.average(
            [batch["train_loss"] for batch in epoch["batches"]],
            weights=[batch["train_batch_size"] for batch in epoch["batches"]],
        )
        for epoch in history
    ]
    assert_allclose(classifier.loss_curve_, by_hand)


def test_scoring_on_the_training_images(small, bars):
    """Catches scores of labels in another order than the predictions."""
    scoring = EpochScoring("accuracy", on_train=True, name="accuracy", lower_is_better=False)
    scores = small(callbacks=[scoring], max_epochs=20).fit(*bars).history_[:, "accuracy"]
    assert len(scores) == 20
    assert scores[-1] > 0.95


def test_scoring_on_the_images_held_out(small, bars):
    """Equal weights: skorch's accuracy is our score. Catches scoring of the training images."""
    scoring = EpochScoring("accuracy", name="by_skorch")
    classifier = small(callbacks=[("score", scoring)], early_stopping=True).fit(*bars)
    assert_allclose(classifier.history_[:, "by_skorch"], classifier.validation_scores_)


def test_gradients_can_be_clipped(small, bars):
    """With steps of plain SGD as long as the clipped gradient. Catches a hook never called."""
    options = {"optimizer": torch.optim.SGD, "weight_decay": 0, "max_epochs": 1, "batch_size": 200}
    before, after = (
        small(callbacks=[GradientNormClipping(clip)], learning_rate=rate, **options).fit(*bars)
        for clip, rate in ((1e-9, 1e-9), (1e-9, 1.0))
    )
    for name, weights in after.net_.module_.named_parameters():
        assert_allclose(
            weights.detach(), before.net_.module_.get_parameter(name).detach(), atol=1e-6
        )


def test_a_checkpoint_is_written_and_read_back(small, bars, tmp_path):
    """Catches a net that skorch cannot save, or that loads into other weights."""
    checkpoint = Checkpoint(monitor=None, dirname=str(tmp_path))
    images, _ = bars
    classifier = small(callbacks=[checkpoint]).fit(*bars)
    names = {"params.pt", "optimizer.pt", "criterion.pt", "history.json"}
    assert {path.name for path in tmp_path.iterdir()} == names
    expected = classifier.predict_proba(images)
    with torch.no_grad():
        for weights in classifier.net_.module_.parameters():
            weights.zero_()
    assert not np.allclose(classifier.predict_proba(images), expected)
    classifier.net_.load_params(checkpoint=checkpoint)
    assert_array_equal(classifier.predict_proba(images), expected)


def test_early_stopping_of_skorch_ends_training_well(small, bars):
    """No loss is 10 better than the first: two misses, so 3 epochs. Catches its interrupt."""
    stopping = EarlyStopping("train_loss", patience=2, threshold=10, threshold_mode="abs")
    classifier = small(callbacks=[stopping], max_epochs=20).fit(*bars)
    assert classifier.n_iter_ == 3
    assert len(classifier.predict(bars[0])) == 200


class Interrupt(Callback):
    """Ctrl-C in one of skorch's hooks."""

    def __init__(self, hook):
        self.hook = hook
        setattr(self, hook, self.interrupt)

    def interrupt(self, net, **_):
        raise KeyboardInterrupt


@pytest.mark.parametrize(
    "hook", ["on_train_begin", "on_batch_begin", "on_batch_end", "on_epoch_end", "on_train_end"]
)
def test_an_interrupt_escapes(small, bars, hook):
    """Also beside an EarlyStopping that still has patience. Catches a search that goes on."""
    classifier = small(callbacks=[EarlyStopping("train_loss", patience=3), Interrupt(hook)])
    with pytest.raises(KeyboardInterrupt):
        classifier.fit(*bars)
    assert not hasattr(classifier, "classes_")


def test_an_interrupt_escapes_when_early_stopping_stops_too(small, bars):
    """The two in one hook. Catches Ctrl-C taken for the end of patience."""
    stopping = EarlyStopping("train_loss", patience=1, threshold=10, threshold_mode="abs")

    class InterruptSecondEpoch(Callback):
        def on_epoch_end(self, net, **_):
            if len(net.history) == 2:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        small(callbacks=[stopping, InterruptSecondEpoch()]).fit(*bars)


@pytest.mark.parametrize("wrong", ["accuracy", print, Exception, ("name", 3)])
def test_what_is_no_callback_is_refused(small, bars, wrong):
    with pytest.raises(
        TypeError, match=r"callbacks\[1\] must be a skorch callback, such as .* Got"
    ):
        small(callbacks=[EarlyStopping("train_loss"), wrong]).fit(*bars)


class On(Callback):
    """Call a function of the net at one of skorch's notices."""

    def __init__(self, notice, call):
        setattr(self, notice, lambda net, **_: call(net))


def test_a_callback_may_set_the_label_smoothing(small, bars):
    """As skorch sets the parameters of a criterion. Catches a loss that forgets the weights."""
    weights = np.where(bars[1] == 0, 1.0, 1e-6)

    def soften(net):
        net.set_params(criterion__label_smoothing=0.5)

    model = small(label_smoothing=0, callbacks=[On("on_train_begin", soften)])
    model.fit(*bars, sample_weight=weights)
    assert model.net_.criterion_.reduction == "none"
    assert model.net_.criterion_.label_smoothing == 0.5
    smooth = small(label_smoothing=0.5).fit(*bars, sample_weight=weights)
    assert model.loss_curve_ == smooth.loss_curve_
    model.set_params(callbacks=None, label_smoothing=0.25).partial_fit(*bars)
    assert model.net_.criterion_.label_smoothing == 0.25


def test_a_callback_that_leaves_gradients_off(small, bars):
    """Training turns them on. Catches torch's "element 0 of tensors does not require grad"."""
    off = On("on_epoch_begin", lambda net: torch.set_grad_enabled(False))
    assert small(callbacks=[off]).fit(*bars).loss_curve_ == small().fit(*bars).loss_curve_
    assert torch.is_grad_enabled()


class AsksTwice(torch.optim.SGD):
    """A user-defined optimizer that looks at a second gradient, as sharpness-aware ones do."""

    def step(self, closure):
        closure()
        super().step()
        with torch.enable_grad():
            loss = closure()
        super().step()
        return loss


def test_a_user_defined_optimizer_gets_its_closure(small, bars):
    """Two steps a batch. Catches an optimizer that is called without it."""
    options = {"optimizer": AsksTwice, "schedule": "constant", "max_epochs": 1, "batch_size": 200}
    twice = small(**options).fit(*bars)
    once = small(**{**options, "optimizer": torch.optim.SGD, "max_epochs": 2}).fit(*bars)
    weights = [model.net_.module_.output.weight.detach() for model in (twice, once)]
    assert_allclose(*weights, atol=1e-6)
