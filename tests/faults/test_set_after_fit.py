"""Parameters of the machine that are set after fit count at the next use, or are refused."""

import pickle
import time
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy

import numpy as np
import pytest
import torch

from sklearn_cnn import FilterDisplay, MistakesDisplay, SaliencyDisplay, base

USES = {
    "predict": lambda model, X, y: model.predict(X),
    "predict_proba": lambda model, X, y: model.predict_proba(X),
    "predict_log_proba": lambda model, X, y: model.predict_log_proba(X),
    "decision_function": lambda model, X, y: model.decision_function(X),
    "transform": lambda model, X, y: model.transform(X),
    "feature_maps": lambda model, X, y: model.feature_maps(X, "conv1"),
    "summary": lambda model, X, y: model.summary(),
    "partial_fit": lambda model, X, y: model.partial_fit(X, y),
    "warm start": lambda model, X, y: model.set_params(warm_start=True).fit(X, y),
    "MistakesDisplay": lambda model, X, y: MistakesDisplay.from_estimator(model, X, 1 - y),
    "SaliencyDisplay": lambda model, X, y: SaliencyDisplay.from_estimator(model, X),
    "FilterDisplay": lambda model, X, y: FilterDisplay.from_estimator(model),
}


@pytest.fixture(scope="module")
def fitted(bars):
    from sklearn_cnn import CNNClassifier

    return CNNClassifier(8, dense_units=16, max_epochs=3, random_state=0, device="cpu").fit(*bars)


def dtype_of(model):
    return next(model.net_.module_.parameters()).dtype


@pytest.mark.parametrize("use", USES)
def test_no_use_ignores_what_was_set(fitted, bars, use):
    """``set_params(device=...)`` after fit was ignored, "nonsense" too."""
    images, y = bars[0][:40], bars[1][:40]
    for parameters, text in (
        ({"device": "nonsense"}, "device must be 'auto', 'cpu'"),
        ({"device": "cuda"}, "torch finds 0 CUDA devices"),
        ({"device": 3.5}, "The 'device' parameter"),
        ({"precision": "float16"}, "The 'precision' parameter"),
    ):
        model = deepcopy(fitted).set_params(**parameters)
        before = dict(vars(model))
        with pytest.raises(ValueError, match=text):
            USES[use](model, images, y)
        assert vars(model) == before | {"warm_start": model.warm_start}
    model = deepcopy(fitted).set_params(precision="float64")
    USES[use](model, images, y)
    assert dtype_of(model) == torch.float64
    for name in ("auto", torch.device("cpu")):
        USES[use](deepcopy(fitted).set_params(device=name), images, y)


def test_data_format_that_does_not_exist(fitted, bars):
    with pytest.raises(ValueError, match="The 'data_format' parameter of CNNClassifier must be"):
        deepcopy(fitted).set_params(data_format="last").predict(bars[0])


def test_the_precision_changes_and_changes_back(fitted, bars):
    """Catches outputs in another type than asked for, and a net that is copied at each call."""
    images, _ = bars
    model = deepcopy(fitted)
    expected, net = model.predict_proba(images), model.net_
    model.set_params(precision="float64")
    assert model.transform(images).dtype == np.float64
    np.testing.assert_allclose(model.predict_proba(images), expected, atol=1e-5)
    moved = model.net_
    assert model.history_ is moved.history
    model.predict(images)
    assert model.net_ is moved
    model.set_params(precision="auto")
    np.testing.assert_array_equal(model.predict_proba(images), expected)
    assert model.net_ is not moved
    assert dtype_of(model) == torch.float32
    assert next(net.module_.parameters()).dtype == torch.float32


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_training_goes_on_where_it_was_moved(bars, small, optimizer):
    """Catches an optimizer that goes on with the weights, or the moments, of before."""
    images, y = bars
    models = [small(optimizer=optimizer, precision="float64") for _ in range(2)]
    for model in models:
        model.partial_fit(images, y, classes=[0, 1])
    models[1].set_params(precision="float32").predict(images)
    models[1].set_params(precision="float64")
    for model in models:
        model.partial_fit(images, y)
    one, other = (model.predict_proba(images) for model in models)
    assert dtype_of(models[1]) == torch.float64
    np.testing.assert_allclose(one, other, atol=1e-4)
    assert models[1].n_iter_ == 2


def test_a_failed_fit_leaves_the_net_where_it_was(fitted, bars):
    """Catches an estimator that is half moved when training fails."""
    images, y = bars
    model = deepcopy(fitted).set_params(precision="float64", warm_start=True, learning_rate=1e30)
    before = dict(vars(model))
    with pytest.raises(ValueError, match="diverged"):
        model.set_params(optimizer="sgd").fit(images, y)
    assert vars(model) == before | {"optimizer": "sgd"}
    assert dtype_of(model) == torch.float32


def test_sixteen_threads_predict_while_the_net_moves(fitted, bars):
    """Catches a net that moves under a thread which computes with it."""
    images, _ = bars
    model = deepcopy(fitted)
    expected = model.predict_proba(images)
    nets = set()

    def predict(turn):
        if turn in (20, 40):
            model.set_params(precision="float64" if turn == 20 else "float32")
        probabilities = model.predict_proba(images)
        nets.add(id(model.net_))
        return probabilities

    with ThreadPoolExecutor(16) as pool:
        for probabilities in pool.map(predict, range(80)):
            np.testing.assert_allclose(probabilities, expected, atol=1e-5)


def test_a_copy_on_a_device_leaves_nothing_behind(fitted):
    """Weights, buffers and moments are moved, and the net of before stays where it is."""
    meta = torch.device("meta")
    net = fitted.net_.copy_to(meta, torch.float32)
    moments = [v for state in net.optimizer_.state.values() for v in state.values()]
    values = [*net.module_.parameters(), *net.module_.buffers(), *moments]
    assert {value.device for value in values} == {meta}
    assert set(map(id, net.module_.parameters())) == {
        id(weight) for group in net.optimizer_.param_groups for weight in group["params"]
    }
    assert {value.device.type for value in fitted.net_.module_.parameters()} == {"cpu"}
    assert torch.device(net.device) == meta


def test_a_model_whose_device_is_absent_computes_on_the_cpu(fitted, bars, monkeypatch):
    """As if fitted on a GPU and loaded elsewhere: the parameter stays, the chunks are a CPU's."""
    images, y = bars
    expected = fitted.predict_proba(images)
    model = deepcopy(fitted)
    model.device = "cuda:0"
    model._placed_by = ("cuda:0", "auto")
    model.net_.device = torch.device("cuda:0")
    loaded = pickle.loads(pickle.dumps(model))
    assert torch.device(loaded.net_.device).type == "cpu"
    np.testing.assert_array_equal(loaded.predict_proba(images), expected)
    assert loaded.net_.chunk == fitted.net_.chunk
    loaded.partial_fit(images, y)
    with pytest.raises(ValueError, match="torch finds 0 CUDA devices"):
        loaded.set_params(device="cuda").predict(images)
    np.testing.assert_array_equal(
        loaded.set_params(device="cpu").predict(images),
        loaded.set_params(device="auto").predict(images),
    )


def test_a_precision_set_while_another_thread_moves_the_net(fitted, bars):
    """It is read when the turn comes. Catches a note of a precision that the net does not have."""
    images, _ = bars
    model = deepcopy(fitted).set_params(precision="float64")
    with ThreadPoolExecutor(1) as pool:
        with base._turn_to_move.held:
            waiting = pool.submit(model.transform, images)
            time.sleep(0.3)  # it waits for its turn by now
            model.set_params(precision="float32")
        waiting.result()
    assert model.set_params(precision="float64").transform(images).dtype == np.float64
