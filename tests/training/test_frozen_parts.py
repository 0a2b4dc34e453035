"""Frozen parts of a network: nothing of them changes until they are unfrozen; then they learn."""

import pytest
import torch
from numpy.testing import assert_array_equal
from skorch.callbacks import Callback, Freezer, Unfreezer
from torch import nn

from sklearn_cnn import BatchNorm, Conv, Dense, Flatten

NORMS = {
    "BatchNorm2d": lambda: nn.BatchNorm2d(4),
    "BatchNorm2d without weights": lambda: nn.BatchNorm2d(4, affine=False),
    "InstanceNorm2d": lambda: nn.InstanceNorm2d(4, affine=True, track_running_stats=True),
    "InstanceNorm2d without weights": lambda: nn.InstanceNorm2d(4, track_running_stats=True),
    "SyncBatchNorm": lambda: nn.SyncBatchNorm(4),
    "a cumulative mean": lambda: nn.BatchNorm2d(4, momentum=None),
}


def body(norm, channels=1):
    return nn.Sequential(nn.Conv2d(channels, 4, 3), nn.Sequential(NORMS[norm](), nn.ReLU()))


class HalfFrozen:
    """Makes a body whose weights are frozen, and a head that learns."""

    def __init__(self, norm="BatchNorm2d"):
        self.norm = norm

    def __call__(self, image_shape, n_outputs):
        frozen = body(self.norm).requires_grad_(False)
        return nn.Sequential(frozen, nn.Flatten(), nn.LazyLinear(n_outputs))


def state_of(model, part):
    module = model.net_.module_.get_submodule(part)
    return {name: value.clone() for name, value in module.state_dict().items()}


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    for name, value in found.items():
        assert torch.equal(value, expected[name]), name


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_frozen_part_keeps_weights_and_statistics(small, bars, norm, precision):
    """Weight decay included, in a fit, a warm start and a partial fit; the head learns.

    Catches running statistics that drift away from the weights that were frozen with them.
    """
    model = small(layers=HalfFrozen(norm), precision=precision, max_epochs=1, weight_decay=0.5)
    with torch.random.fork_rng():
        model.fit(*bars)
        before, head = state_of(model, "network.0"), state_of(model, "network.2")
        assert before["1.0.running_mean"].tolist() == [0] * 4
        assert before["1.0.num_batches_tracked"] == 0
        model.set_params(warm_start=True).fit(*bars).partial_fit(*bars)
    assert_same(state_of(model, "network.0"), before)
    assert not torch.equal(state_of(model, "network.2")["weight"], head["weight"])
    assert not model.net_.module_.training


def test_norms_that_learn_go_on_as_before(small, bars):
    """Also beside frozen weights, and half frozen. Catches one frozen layer that stops all."""

    def layers(image_shape, n_outputs):
        first = nn.Conv2d(1, 4, 3).requires_grad_(False)
        half = nn.BatchNorm2d(4)
        half.weight.requires_grad_(False)
        bare = nn.BatchNorm2d(4, affine=False)
        head = nn.Linear(4 * 6 * 4, n_outputs)
        return nn.Sequential(first, half, bare, nn.Flatten(), head)

    model = small(layers=layers, max_epochs=1, batch_size=128).fit(*bars)
    for part in ("network.1", "network.2"):
        assert state_of(model, part)["num_batches_tracked"] == 2
    assert state_of(model, "network.1")["weight"].tolist() == [1] * 4
    assert state_of(model, "network.1")["bias"].abs().max() > 0


class Watch(Callback):
    """Notes a part's state at the end of each epoch."""

    def __init__(self, part):
        self.part = part
        self.seen = []

    def on_epoch_end(self, net, **_):
        module = net.module_.get_submodule(self.part)
        self.seen.append({name: value.clone() for name, value in module.state_dict().items()})


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_unfreezing_takes_effect(small, bars, optimizer):
    """At the third epoch, not before. Catches a parameter that never reached the optimizer."""
    watch = Watch("network.0")
    unfreeze = Unfreezer("network.0.*", at=3)
    small(layers=HalfFrozen(), max_epochs=4, callbacks=[unfreeze, watch], optimizer=optimizer).fit(
        *bars
    )
    first, second, third, last = watch.seen
    assert_same(second, first)
    for earlier, later in ((second, third), (third, last)):
        for name in ("0.weight", "1.0.weight", "1.0.running_mean", "1.0.num_batches_tracked"):
            assert not torch.equal(earlier[name], later[name]), name


@pytest.mark.parametrize("channels", [8, (64, 64)])
def test_freezing_a_described_network_while_it_trains(small, bars, channels):
    """In one piece, and cut into parts, where replicas have norms of their own; with threads, too.

    Catches a gradient asked for what has none, and statistics that replicas go on to gather.
    """
    images, target = bars
    images = images.repeat(4, axis=1).repeat(5, axis=2)
    found = []
    threads = torch.get_num_threads()
    for n_threads in (1, 2):
        watch = Watch("norm1")
        freeze = Freezer(["conv1*", "norm1*"], at=2)
        torch.set_num_threads(n_threads)
        try:
            model = small(
                conv_channels=channels, callbacks=[freeze, Unfreezer("norm1*", at=4), watch],
                max_epochs=4, precision="float32",
            ).fit(images, target)  # fmt: skip
        finally:
            torch.set_num_threads(threads)
        assert model.net_.is_cut is (channels != 8)
        first, second, third, last = watch.seen
        assert_same(second, first)
        assert_same(third, first)
        assert not torch.equal(last["running_mean"], first["running_mean"])
        found.append(model.predict_proba(images))
    assert_array_equal(*found)


def test_freezing_all_says_so(small, bars):
    """Catches torch's "element 0 of tensors does not require grad"; nothing is fitted."""
    model = small(max_epochs=2, callbacks=[Freezer("*", at=1)])
    with pytest.raises(ValueError, match=r"nothing left to learn.* Freezer.*Leave its last layer"):
        model.fit(*bars)
    assert not hasattr(model, "net_")


def test_a_failure_thaws_what_it_froze(small, bars):
    """Catches a network that has less to learn after a partial fit that failed."""

    class Fails(Callback):
        def on_epoch_end(self, net, **_):
            raise RuntimeError("on purpose")

    model = small(max_epochs=1).fit(*bars)
    model.set_params(callbacks=[Freezer("conv*", at=1), Fails()])
    with pytest.raises(RuntimeError, match="on purpose"):
        model.partial_fit(*bars)
    assert all(weight.requires_grad for weight in model.net_.module_.parameters())


def test_frozen_parameters_are_counted_apart(small, bars):
    """1 x 3 x 3 x 4 + 4 of the convolution and 8 of its norm are frozen."""
    model = small(layers=HalfFrozen(), max_epochs=1).fit(*bars)
    summary = model.summary()
    assert summary.n_trainable == (4 * 6 * 4 + 1) * 2
    assert summary.n_parameters == summary.n_trainable + 40 + 8
    assert {row.name: row.n_parameters for row in model.layers_}["network.0.0"] == 40
    assert "194 trainable" in repr(summary)
    assert "194 trainable" in summary._repr_html_()


def test_described_layers_freeze_by_pattern(small, bars):
    """A pattern of skorch's Freezer, from the first epoch on. Catches decay of frozen weights."""
    layers = [Conv(4), BatchNorm(), Flatten(), Dense(5)]
    freeze = Freezer("conv*", at=lambda net: True)
    model = small(layers=layers, max_epochs=1, weight_decay=0.5, callbacks=[freeze]).fit(*bars)
    first = model.net_.module_.conv1.weight.detach().clone().numpy()
    model.set_params(max_epochs=3, warm_start=True).fit(*bars)
    assert_array_equal(model.net_.module_.conv1.weight.detach().numpy(), first)
