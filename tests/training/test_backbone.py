"""A pretrained network as the first layer: what learns, what stays, and what is computed once."""

import hashlib
import pickle
import warnings

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from skorch.callbacks import Callback, EpochScoring, Freezer, Unfreezer
from torch import nn

from sklearn_cnn import Backbone, CNNClassifier, Conv, Dense, Dropout, Flatten, RandomFlip
from sklearn_cnn.inspection.saliency import SaliencyDisplay
from sklearn_cnn.network import pretrained
from sklearn_cnn.network.pretrained import Published, load_pretrained
from sklearn_cnn.training import net as net_module

STAGES = ("stem", "middle", "head")


def make_stages():
    def stage(inputs, outputs, stride=1):
        return nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU6(inplace=True),
        )

    network = nn.Sequential()
    for name, part in zip(STAGES, (stage(3, 4, 2), stage(4, 5), stage(5, 6)), strict=True):
        network.add_module(name, part)
    return network


@pytest.fixture(autouse=True)
def tiny(tmp_path, monkeypatch):
    """A published network of three stages, trained on something: its norms have statistics."""
    torch.manual_seed(0)
    network = make_stages()
    network(torch.randn(50, 3, 12, 12) * 2 + 1)
    folder = tmp_path / "tiny_model"
    folder.mkdir()
    torch.save(network.state_dict(), folder / "tiny.pth")
    digest = hashlib.sha256((folder / "tiny.pth").read_bytes()).hexdigest()
    known = Published(make_stages, STAGES, 6, 0.5, 0.25, 2, "tiny-model", "tiny.pth", digest)
    monkeypatch.setitem(pretrained.NETWORKS, "tiny", known)
    monkeypatch.syspath_prepend(tmp_path)


@pytest.fixture(scope="module")
def data():
    """Images that are more red or more blue, in noise."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 120, (40, 12, 10, 3))
    y = np.arange(40) % 2
    images[y == 0, ..., 0] += 120
    images[y == 0, ..., 1] += 100
    images[y == 1, ..., 2] += 120
    return images.astype(np.uint8), y


def model(trainable=0, **parameters):
    layers = [Backbone("tiny", trainable=trainable), Dropout(0.1)]
    defaults = {"max_epochs": 8, "batch_size": 16, "learning_rate": 0.02, "random_state": 0}
    return CNNClassifier(layers=layers, **{**defaults, **parameters})


def weights_of(module):
    return {name: value.clone() for name, value in module.state_dict().items()}


def changed_stages(fitted):
    """The names of the stages that have other weights or statistics than those published."""
    published = load_pretrained("tiny")
    changed = set()
    for name, value in published.state_dict().items():
        now = fitted.net_.module_.get_submodule(name.split(".")[0]).state_dict()
        if not torch.equal(now[name.partition(".")[2]], value):
            changed.add((name.split(".")[0], "running" in name))
    return changed


@pytest.mark.parametrize(
    ("trainable", "learnt"), [(0, ()), (1, ("head",)), (2, ("middle", "head")), ("all", STAGES)]
)
@pytest.mark.parametrize("augment", [None, RandomFlip()], ids=["plain", "augmented"])
def test_the_last_stages_learn_and_no_statistics_change(data, trainable, learnt, augment):
    fitted = model(trainable, augment=augment).fit(*data)

    assert changed_stages(fitted) == {(name, False) for name in learnt}
    assert fitted.net_.n_trainable == sum(
        weight.numel()
        for name in (*learnt, "output")
        for weight in fitted.net_.module_.get_submodule(name).parameters()
    )


def test_the_backbone_standardises_as_its_own_images_were(data):
    images, y = data
    fitted = model().fit(images, y)
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255

    with torch.inference_mode():
        expected = load_pretrained("tiny")((pixels - 0.5) / 0.25).mean((2, 3))
    assert_allclose(fitted.transform(images), expected, rtol=1e-4, atol=1e-5)
    fractions = model().fit(images / 255, y)
    assert_allclose(fractions.transform(images / 255), expected, rtol=1e-4, atol=1e-5)


def test_gray_images_are_repeated(data):
    images, y = data
    gray = images.mean(axis=3).astype(np.uint8)

    fitted = model().fit(gray, y)

    colour = model().fit(np.repeat(gray[..., np.newaxis], 3, axis=3), y)
    assert_allclose(fitted.transform(gray), colour.transform(np.stack([gray] * 3, axis=3)), 1e-5)
    assert fitted.image_shape_ == (12, 10, 1)


@pytest.mark.parametrize("trainable", [0, 1])
@pytest.mark.parametrize("early_stopping", [False, True])
def test_maps_that_are_computed_once_give_what_each_step_would(
    data, trainable, early_stopping, monkeypatch
):
    settings = {"early_stopping": early_stopping, "validation_fraction": 0.3}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        once = model(trainable, **settings).fit(*data)
        monkeypatch.setattr(net_module, "BYTES_OF_MAPS", 0)
        anew = model(trainable, **settings).fit(*data)

    assert_allclose(once.loss_curve_, anew.loss_curve_, rtol=1e-3)
    assert once.validation_scores_ == anew.validation_scores_
    assert_allclose(once.predict_proba(data[0]), anew.predict_proba(data[0]), atol=1e-3)


def test_frozen_stages_run_once_an_image(data):
    seen = []

    class Counts(Callback):
        def on_train_begin(self, net, **_):
            net.module_.stem.register_forward_hook(lambda *a: seen.append(len(a[1][0])))

    model(1, callbacks=[Counts()], max_epochs=5).fit(*data)

    assert sum(seen) < 40  # once before the callback, and not in five epochs


@pytest.mark.parametrize("trainable", [0, 1, "all"])
def test_two_threads_train_and_predict_as_one(data, trainable, monkeypatch):
    monkeypatch.setattr(net_module, "WORTH_IT", 1)
    before = torch.get_num_threads()
    results = []
    try:
        for n_threads in (1, 2):
            torch.set_num_threads(n_threads)
            fitted = model(trainable, batch_size=40, max_epochs=3).fit(*data)
            results.append((fitted.predict_proba(data[0]), fitted.loss_curve_))
    finally:
        torch.set_num_threads(before)

    assert_array_equal(results[0][0], results[1][0])
    assert results[0][1] == results[1][1]


class NotesStages(Callback):
    """Notes at the end of each epoch which stages learn, and the rates."""

    def on_train_begin(self, net, **_):
        self.learning, self.rates = [], []

    def on_batch_end(self, net, training=False, **_):
        if training:
            self.rates.append([group["lr"] for group in net.optimizer_.param_groups])

    def on_epoch_end(self, net, **_):
        named = net.module_.named_children()
        self.learning.append([n for n, m in named if any(w.requires_grad for w in m.parameters())])


def test_new_layers_learn_alone_in_the_first_phase(data):
    notes = NotesStages()

    model(2, max_epochs=10, callbacks=[notes]).fit(*data)

    assert notes.learning[:3] == [["output"]] * 3
    assert notes.learning[3:] == [["middle", "head", "output"]] * 7


def test_the_schedule_runs_in_each_phase_and_earlier_stages_learn_more_slowly(data):
    notes = NotesStages()

    fitted = model(2, max_epochs=10, callbacks=[notes]).fit(*data)

    rates = np.array(notes.rates)  # (30 steps, groups)
    shares = [group.get("rate_share", 1.0) for group in fitted.net_.optimizer_.param_groups]
    assert_allclose(rates, rates[:, :1] * np.array(shares))
    assert shares == sorted(shares, reverse=True)
    assert len(set(shares)) == 4  # new layers and three stages
    peak_of_first, peak_of_second = rates[:9, 0].argmax(), rates[9:, 0].argmax()
    assert 0 < peak_of_first < 8
    assert 0 < peak_of_second < 20
    assert rates[8, 0] < 0.2 * rates[:, 0].max() > rates[-1, 0]


def test_a_constant_rate_keeps_the_shares(data):
    notes = NotesStages()
    model("all", schedule="constant", callbacks=[notes]).fit(*data)

    rates = np.array(notes.rates)
    assert (rates == rates[0]).all()
    assert len(set(rates[0])) == 4


def test_partial_fit_and_warm_start_have_one_phase(data):
    images, y = data
    notes = NotesStages()
    fitted = model(1, callbacks=[notes]).partial_fit(images, y, classes=[0, 1])
    assert notes.learning == [["head", "output"]]
    fitted.partial_fit(images, y)
    assert fitted.net_.optimizer_.param_groups[0]["lr"] == 0.02

    warm = model(1, callbacks=[notes], warm_start=True).fit(images, y)
    warm.fit(images, y)
    assert notes.learning == [["head", "output"]] * 8


def test_stopping_in_the_first_phase_leaves_the_stages_unfrozen(data):
    class Stops(Callback):
        def on_epoch_end(self, net, **_):
            from sklearn_cnn.training.callbacks import StopTraining

            raise StopTraining

    fitted = model(1, callbacks=[Stops()]).fit(*data)

    assert fitted.n_iter_ == 1
    assert all(w.requires_grad for w in fitted.net_.module_.head.parameters())


def test_a_failed_warm_start_leaves_the_model_as_it_was(data):
    class Fails(Callback):
        def on_epoch_end(self, net, **_):
            raise RuntimeError("on purpose")

    fitted = model(1, warm_start=True).fit(*data)
    before = fitted.predict_proba(data[0])
    with pytest.raises(RuntimeError, match="on purpose"):
        fitted.set_params(callbacks=[Fails()]).fit(*data)
    assert_array_equal(fitted.predict_proba(data[0]), before)
    assert fitted.set_params(callbacks=None).fit(*data).n_iter_ == 16


def test_callbacks_that_freeze_and_unfreeze(data):
    frozen = model(2, callbacks=[Freezer("middle*", at=1)]).fit(*data)
    assert changed_stages(frozen) == {("head", False)}

    with pytest.raises(ValueError, match=r"Have them learn from the beginning, by Backbone"):
        model(1, callbacks=[Unfreezer("middle*", at=3)]).fit(*data)
    unfrozen = model(1, callbacks=[Unfreezer("middle*", at=3)], augment=RandomFlip()).fit(*data)
    assert changed_stages(unfrozen) == {("middle", False), ("head", False)}


def test_skorch_callbacks_score_images_and_maps_alike(data):
    images, y = data
    seen = []

    class Predicts(Callback):
        def on_epoch_end(self, net, **_):
            seen.append(net.predict_proba(images).shape)

    scoring = EpochScoring("accuracy", name="own", use_caching=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fitted = model(
            1, early_stopping=True, validation_fraction=0.5, callbacks=[scoring, Predicts()]
        ).fit(images, y)

    assert seen == [(40, 2)] * fitted.n_iter_
    assert [epoch["own"] for epoch in fitted.history_] == pytest.approx(fitted.validation_scores_)


def test_everything_that_a_classifier_can(data):
    images, y = data
    fitted = model(1, max_epochs=20).fit(images, y)

    assert fitted.score(images, y) == 1
    assert fitted.transform(images[:3]).shape == (3, 6)
    maps = fitted.feature_maps(images[:3])
    assert maps["head.2"].shape == (3, 6, 5, 6)
    assert maps["mean"].shape == (3, 1, 1, 6)
    assert_array_equal(maps["flatten"], fitted.transform(images[:3]))
    copy = pickle.loads(pickle.dumps(fitted))
    assert_array_equal(copy.predict_proba(images), fitted.predict_proba(images))
    assert clone(fitted).get_params()["layers"] == fitted.layers
    summary = fitted.summary()
    assert sum(row.n_parameters for row in summary.rows) == summary.n_parameters
    double = copy.set_params(precision="float64")
    assert_allclose(double.predict_proba(images), fitted.predict_proba(images), atol=1e-4)


def test_saliency_has_gradients_through_frozen_stages(data):
    images, y = data
    fitted = model(max_epochs=20).fit(images, y)

    shown = SaliencyDisplay.from_estimator(fitted, images[:1])

    assert np.asarray(shown.saliency).max() > 0


def test_a_search_over_what_learns(data):
    images, y = data
    grid = {"layers": [[Backbone("tiny", trainable=k)] for k in (0, 1)], "max_epochs": [5]}

    search = GridSearchCV(model(), grid, cv=2).fit(images, y)

    assert search.best_params_["layers"] in grid["layers"]


def test_weights_come_from_a_path(data, tmp_path):
    torch.manual_seed(1)
    other = make_stages().eval()
    path = tmp_path / "other.pth"
    torch.save(other.state_dict(), path)
    layers = [Backbone("tiny", weights=path)]

    fitted = model().set_params(layers=layers).fit(*data)

    kept = fitted.net_.module_.stem.state_dict()
    assert torch.equal(next(iter(kept.values())), other.stem[0].weight)


def test_a_head_of_several_layers(data):
    layers = [Backbone("tiny"), Dense(8), Dropout(0.1)]
    fitted = model().set_params(layers=layers).fit(*data)

    assert fitted.transform(data[0]).shape == (40, 8)
    assert fitted.set_params(feature_layer="flatten").transform(data[0]).shape == (40, 6)


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        (lambda: [Backbone("tiny"), Flatten()], r"follows Backbone\(\).*Remove it"),
        (lambda: [Backbone("tiny"), Conv(3)], r"follows Backbone\(\)"),
        (lambda: [Conv(3), Backbone("tiny")], r"layers\[1\] = Backbone.*Put it first"),
        (lambda: [Backbone("tiny"), Backbone("tiny")], r"layers\[1\] = Backbone.*Put it first"),
        (lambda: [Backbone], r"layers\[0\] is the class Backbone. Call it: Backbone\(\.\.\.\)"),
        (lambda: [Backbone()], r"at least 32 x 32 pixels. Got 12 x 10.*ImageReader\(size=224\)"),
    ],
)
def test_layers_that_do_not_fit(data, layers, message):
    with pytest.raises(ValueError, match=message):
        model().set_params(layers=layers()).fit(*data)


def test_images_that_do_not_fit(data):
    images, y = data
    with pytest.raises(ValueError, match=r"4 channels.*ImageReader\(mode='RGB'\)"):
        model().fit(np.concatenate([images, images[..., :1]], axis=3), y)
    with pytest.raises(ValueError, match=r"whole numbers from 0 to 255 or fractions"):
        model().fit(images - 100.0, y)
    fitted = model().fit(images, y)
    with pytest.raises(ValueError, match="The range of the pixels changed"):
        fitted.predict(images / 255)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"network": "resnet"}, "network must be one of efficientnet_lite0"),
        ({"network": torch.nn.Identity}, r"name of a published network.*as layers= of the est"),
        ({"trainable": 10}, "'all' or a whole number from 0 to 9"),
        ({"trainable": -1}, "'all' or a whole number from 0 to 9"),
        ({"trainable": True}, "'all' or a whole number from 0 to 9"),
        ({"trainable": "some"}, "Got trainable='some'"),
        ({"trainable": 1.0}, "Got trainable=1.0"),
        ({"weights": 3}, "weights must be a path or None"),
    ],
)
def test_descriptions_that_are_wrong(parameters, message):
    with pytest.raises(ValueError, match=message):
        Backbone(**parameters)


def test_the_published_network_learns_in_a_few_steps():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (24, 32, 32, 3), dtype=np.uint8)
    images[::2, :, :, 0] //= 4
    y = np.arange(24) % 2

    fitted = CNNClassifier(layers=[Backbone(trainable=1)], max_epochs=12, random_state=0)

    assert fitted.fit(images, y).score(images, y) > 0.9
    assert fitted.transform(images).shape == (24, 1280)
    with pytest.raises(ValueError, match="grouped"):
        clone(fitted).set_params(precision="bfloat16").fit(images, y)
