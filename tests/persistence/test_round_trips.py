"""A loaded model is the one that was saved: parameters, predictions, training that goes on."""

import json
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from model_files import IMAGES, NAMES, images_for
from numpy.testing import assert_array_equal
from sklearn.calibration import CalibratedClassifierCV
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from skorch.callbacks import EpochScoring, LRScheduler

from sklearn_cnn import (
    Activation,
    Backbone,
    BatchNorm,
    CNNClassifier,
    CNNRegressor,
    Conv,
    Dense,
    Dropout,
    FilterDisplay,
    Flatten,
    ImageReader,
    Pool,
    PretrainedFeatures,
    RandomErasing,
    RandomFlip,
    RandomZoom,
    TrainingCurveDisplay,
    load_model,
    save_model,
)

# scikit-learn 1.6 uses what SciPy has deprecated since
pytestmark = pytest.mark.filterwarnings("ignore:scipy.optimize:DeprecationWarning")


def again(model, folder, **options):
    save_model(model, folder / "model.safetensors")
    return load_model(folder / "model.safetensors", **options)


def predictions(model, X):
    methods = ("predict", "predict_proba", "decision_function", "transform")
    return {name: getattr(model, name)(X) for name in methods if hasattr(model, name)}


def assert_same(model, loaded, X):
    """Every prediction to the bit, the parameters, and what is told of the fit."""
    expected, found = predictions(model, X), predictions(loaded, X)
    assert expected.keys() == found.keys()
    for name, values in expected.items():
        assert_array_equal(found[name], values)
        assert found[name].dtype == values.dtype
    assert str(model.get_params()) == str(loaded.get_params())


@pytest.mark.parametrize(
    "name", ["classes", "labels", "number", "numbers", "svc", "logistic", "ridge"]
)
def test_each_kind(models, saved, tmp_path, name):
    (tmp_path / "model").write_bytes(saved[name])
    assert_same(models[name], load_model(tmp_path / "model"), images_for(name))


LAYERS = st.lists(
    st.sampled_from(
        [Conv(3), Conv(2, (2, 3), 2, bias=False), Conv(2, 1, padding="valid"), BatchNorm(),
         Activation("tanh"), Pool("max", 1), Pool("mean", 1, 1), Dropout(0.3)]
    ),
    max_size=4,
).map(lambda layers: [*layers, Flatten(), Dense(3)])  # fmt: skip

PARAMETERS = {
    "conv_channels": st.sampled_from(["auto", 3, (2, 3), [4], np.array([2, 2])]),
    "kernel_size": st.sampled_from([1, 2, (3, 1), [2, 3]]),
    "pooling": st.sampled_from(["max", "mean"]),
    "dense_units": st.sampled_from([(), 3, (4, 3), np.int64(5)]),
    "activation": st.sampled_from(["relu", "gelu", "silu", "leaky_relu"]),
    "batch_norm": st.booleans(),
    "dropout": st.sampled_from([0.0, 0.5, np.float32(0.25)]),
    "layers": st.none() | LAYERS | LAYERS.map(tuple),
    "augment": st.sampled_from(
        [None, RandomFlip("both"), (RandomZoom(0.1), RandomErasing(0.5, (0.1, 0.2)))]
    ),
    "optimizer": st.sampled_from(["adamw", "sgd", "rmsprop", "adagrad", "nadam"]),
    "learning_rate": st.sampled_from([1e-3, 0.01]),
    "schedule": st.sampled_from(["one_cycle", "cosine", "constant"]),
    "early_stopping": st.booleans(),
    "scoring": st.sampled_from([None, "loss"]),
    "precision": st.sampled_from(["auto", "float32", "float64", "bfloat16"]),
    "random_state": st.sampled_from([0, np.int32(3)]),
    "device": st.sampled_from(["auto", "cpu", torch.device("cpu")]),
}

TARGETS = {
    "text": NAMES,
    "objects": NAMES.astype(object),
    "numbers": np.arange(24) % 3 - 1,
    "bytes": (np.arange(24) % 2).astype(np.uint8),
    "booleans": np.arange(24) % 2 == 0,
    "dates": np.array(["2020-01-01", "2021-05-06"], "datetime64[D]")[np.arange(24) % 2],
    "labels": np.stack([np.arange(24) % 2, np.arange(24) > 5], axis=1).astype(int),
    "number": np.arange(24) * 2.5,
    "several": np.stack([np.arange(24.0), np.ones(24)], axis=1),
}


@pytest.mark.filterwarnings("ignore:.*held-out images? determines? the best epoch")
@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    parameters=st.fixed_dictionaries({}, optional=PARAMETERS),
    target=st.sampled_from(list(TARGETS)),
    dtype=st.sampled_from(["uint8", "float32", "int16"]),
    goes_on=st.sampled_from(["fit", "partial_fit"]),
)
def test_any_parameters_and_targets(tmp_path_factory, parameters, target, dtype, goes_on):
    """Loaded, and trained further: to the bit."""
    make = CNNRegressor if target in ("number", "several") else CNNClassifier
    X, y = IMAGES.astype(dtype), TARGETS[target]
    model = make(**{"max_epochs": 1, "random_state": 0, **parameters}, warm_start=True)
    if goes_on == "partial_fit":
        model.set_params(early_stopping=False)
        classes = {"classes": np.unique(y)} if make is CNNClassifier and y.ndim == 1 else {}
        model.partial_fit(X, y, **classes)
    else:
        model.fit(X, y)
    loaded = again(model, tmp_path_factory.mktemp("round"))
    expected, found = predictions(model, X), predictions(loaded, X)
    for name, values in expected.items():
        assert_array_equal(found[name], values)
        assert found[name].dtype == values.dtype
    getattr(model, goes_on)(X, y)
    getattr(loaded, goes_on)(X, y)
    assert_array_equal(loaded.predict(X), model.predict(X))
    assert_array_equal(loaded.transform(X), model.transform(X))
    assert loaded.loss_curve_ == model.loss_curve_


def test_what_is_told_of_a_fit(tmp_path):
    model = CNNClassifier(
        4, dense_units=5, max_epochs=3, early_stopping=True, validation_fraction=0.3, random_state=0
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(IMAGES, NAMES)
    loaded = again(model, tmp_path)
    for name in ("n_iter_", "loss_curve_", "validation_scores_", "best_validation_score_",
                 "layers_", "image_shape_", "image_spec_", "multilabel_"):  # fmt: skip
        assert getattr(loaded, name) == getattr(model, name), name
    assert loaded.history_[:, "valid_loss"] == model.history_[:, "valid_loss"]
    assert str(loaded.summary()).split("\n")[0] == str(model.summary()).split("\n")[0]
    one, other = map(TrainingCurveDisplay.from_estimator, (model, loaded))
    assert one.best_epoch == other.best_epoch
    assert FilterDisplay.from_estimator(loaded, X=IMAGES).figure_


def test_names_of_features_and_output(tmp_path):
    import pandas as pd

    X = pd.DataFrame(IMAGES.reshape(24, -1), columns=[f"p{i}" for i in range(30)])
    model = CNNClassifier(4, dense_units=5, max_epochs=1, image_shape=(6, 5), random_state=0)
    model.fit(X, NAMES).set_output(transform="pandas")
    loaded = again(model, tmp_path)
    assert loaded.feature_names_in_.tolist() == X.columns.tolist()
    pd.testing.assert_frame_equal(loaded.transform(X), model.transform(X))
    with pytest.raises(ValueError, match="feature names should match"):
        loaded.predict(X.rename(columns={"p0": "q0"}))


@pytest.mark.parametrize(
    "steps",
    [
        [StandardScaler(with_mean=False), SVC(probability=True)],
        [StandardScaler(with_std=False), SVC(kernel="poly", class_weight="balanced")],
        [PCA(0.9, whiten=True), LogisticRegression(C=0.1, class_weight={"cat": 2})],
        ["passthrough", LogisticRegression(solver="newton-cg")],
        [make_pipeline(StandardScaler(), PCA(2)), SVC(kernel="linear", gamma="auto")],
    ],
    ids=str,
)
@pytest.mark.filterwarnings("ignore:.*probability.*:FutureWarning")
@pytest.mark.parametrize("n_classes", [2, 3])
def test_pipelines(tmp_path, steps, n_classes):
    names = NAMES if n_classes == 3 else np.where(NAMES == "cat", "cat", "dog")
    network = CNNClassifier(4, dense_units=5, max_epochs=1, random_state=0)
    pipeline = Pipeline([("cnn", network), *((f"step {i}", s) for i, s in enumerate(steps))])
    assert_same(pipeline.fit(IMAGES, names), again(pipeline, tmp_path), IMAGES)


@pytest.mark.parametrize("y", [np.arange(24.0), np.stack([np.arange(24.0)] * 2, axis=1)])
@pytest.mark.parametrize("ridge", [Ridge(), Ridge(fit_intercept=False, solver="lsqr")], ids=str)
def test_ridge(tmp_path, y, ridge):
    network = CNNRegressor(4, dense_units=5, max_epochs=1, random_state=0)
    pipeline = make_pipeline(network, StandardScaler(), ridge).fit(IMAGES, y)
    assert_same(pipeline, again(pipeline, tmp_path), IMAGES)


def test_a_pretrained_network(tmp_path):
    """Of PretrainedFeatures, its parameters; of a Backbone, its weights, whatever is installed."""
    colours = np.random.default_rng(0).integers(0, 256, (6, 32, 32, 3), dtype=np.uint8)
    y = np.arange(6) % 2
    features = make_pipeline(ImageReader(32), PretrainedFeatures(), LogisticRegression())
    loaded = again(features.fit(list(colours), y), tmp_path)
    assert (tmp_path / "model.safetensors").stat().st_size < 40_000
    assert_same(features, loaded, list(colours))
    model = CNNClassifier(layers=[Backbone(trainable=1)], max_epochs=2, random_state=0)
    model.set_params(warm_start=True).fit(colours, y)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sklearn_cnn.network.pretrained._package_file", None)
        loaded = again(model, tmp_path)
    assert_same(model, loaded, colours)
    frozen = [not weight.requires_grad for weight in model.net_.module_.parameters()]
    assert [not weight.requires_grad for weight in loaded.net_.module_.parameters()] == frozen
    assert_array_equal(
        loaded.fit(colours, y).predict_proba(colours), model.fit(colours, y).predict_proba(colours)
    )


def own_module(image_shape, n_outputs):
    return torch.nn.Sequential(
        torch.nn.Conv2d(image_shape[2], 3, 3),
        torch.nn.BatchNorm2d(3),
        torch.nn.Flatten(),
        torch.nn.LazyLinear(n_outputs),
    )


def other_module(image_shape, n_outputs):
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.LazyLinear(n_outputs))


def test_a_function_of_layers_is_named_by_the_caller(tmp_path):
    model = CNNClassifier(layers=own_module, max_epochs=1, random_state=0).fit(IMAGES, NAMES)
    assert_same(model, again(model, tmp_path, layers=own_module), IMAGES)
    path = tmp_path / "model.safetensors"
    with pytest.raises(ValueError, match=r"'own_module', and files hold no code. Pass it with"):
        load_model(path)
    with pytest.raises(ValueError, match="the weights belong to another network"):
        load_model(path, layers=other_module)
    save_model(CNNClassifier(4, max_epochs=1).fit(IMAGES, NAMES), path)
    with pytest.raises(ValueError, match=r"layers= is only for models with a callable.*Omit"):
        load_model(path, layers=own_module)


def test_what_is_left_out(tmp_path):
    """Callbacks, folders and generators are this machine's."""
    callbacks = [EpochScoring("accuracy", on_train=True)]
    model = CNNClassifier(4, dense_units=5, max_epochs=1, callbacks=callbacks)
    model.set_params(random_state=np.random.RandomState(0)).fit(IMAGES, NAMES)
    reader = ImageReader((6, 5), mode="L", cache=tmp_path / "cache")
    pipeline = make_pipeline(reader, model).fit(list(IMAGES), NAMES)
    loaded = again(pipeline, tmp_path)
    assert loaded[0].cache is None
    assert loaded[1].callbacks is None
    assert loaded[1].random_state is None
    content = (tmp_path / "model.safetensors").read_bytes()
    assert str(tmp_path).encode() not in content
    assert b"EpochScoring" not in content


def test_rates_that_a_scheduler_has_set_go_on(tmp_path):
    """Of partial_fit, whose optimizer and rate live from call to call."""
    model = CNNClassifier(4, dense_units=5, schedule="constant", random_state=0)
    model.set_params(callbacks=[LRScheduler("StepLR", step_size=1, gamma=0.5)])
    model.partial_fit(IMAGES, NAMES, classes=np.unique(NAMES)).partial_fit(IMAGES, NAMES)
    loaded = again(model, tmp_path)
    groups = [m.net_.optimizer_.param_groups[0]["lr"] for m in (model, loaded)]
    assert groups[0] == groups[1] < 0.004


class Subclass(CNNClassifier):
    pass


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (
            lambda: CNNClassifier(4, augment=torch.clone),
            r"augment= .* no code\. After set_params\(augment",
        ),
        (lambda: CNNClassifier(4, optimizer=torch.optim.Adam), r"optimizer= is Adam, .* no code"),
        (
            lambda: CNNClassifier(4, scoring=lambda m, X, y: 0.0),
            r"scoring= is <lambda>.*set_params",
        ),
        (
            lambda: Subclass(4),
            "Subclass is not one of the supported estimators: Pipeline, CNN",
        ),
        (
            lambda: make_pipeline(CNNClassifier(4), SVC(kernel=np.dot)),
            r"its step 'svc': kernel= is",
        ),
        (
            lambda: Pipeline([("a", CNNClassifier(4))], memory="folder"),
            r"memory= is a folder of this machine. Use set_params\(memory=None\)",
        ),
    ],
)
def test_what_cannot_be_saved(tmp_path, make, text):
    """It says so before anything is written."""
    model = make()
    last = model[-1] if isinstance(model, Pipeline) else model
    if not isinstance(last, SVC):
        last.set_params(max_epochs=1)
    if isinstance(last, SVC):
        model[0].set_params(max_epochs=1)
        model[0].fit(IMAGES, NAMES)
        last.set_params(kernel="rbf").fit(model[0].transform(IMAGES), NAMES).set_params(
            kernel=np.dot
        )
    else:
        model.fit(IMAGES, NAMES)
    with pytest.raises(ValueError, match=f"^model cannot be saved: .*{text}"):
        save_model(model, tmp_path / "model")
    assert not list(tmp_path.iterdir())


def test_of_a_search_the_best_estimator_is_saved(tmp_path):
    """And a calibrated model is kept otherwise. Catches an error without a way out."""
    model = CNNClassifier(4, max_epochs=1, random_state=0)
    search = GridSearchCV(model, {"dense_units": [4]}, cv=2).fit(IMAGES, NAMES)
    with pytest.raises(ValueError, match=r"GridSearchCV is not one .* Save its best_estimator_\.$"):
        save_model(search, tmp_path / "model")
    save_model(search.best_estimator_, tmp_path / "model")
    calibrated = CalibratedClassifierCV(search.best_estimator_, cv=2)
    with pytest.raises(ValueError, match=r"CalibratedClassifierCV is not one .* with joblib"):
        save_model(calibrated.fit(IMAGES, NAMES), tmp_path / "model")


def test_models_that_are_not_fitted(tmp_path):
    with pytest.raises(NotFittedError):
        save_model(CNNClassifier(), tmp_path / "model")
    with pytest.raises(NotFittedError):
        save_model(make_pipeline(StandardScaler(), SVC()), tmp_path / "model")
    loaded = again(ImageReader(8, mode="L", background=(1, 2, 3)), tmp_path)
    assert loaded.background == (1, 2, 3)


def test_the_file_is_safetensors_with_a_document(models, saved):
    """As other programs read it."""
    import safetensors.numpy

    arrays = safetensors.numpy.load(saved["classes"])
    module = models["classes"].net_.module_
    assert_array_equal(arrays["net.conv1.weight"], module.conv1.weight.detach().numpy())
    length = int.from_bytes(saved["classes"][:8], "little")
    header = json.loads(saved["classes"][8 : 8 + length])
    document = json.loads(header["__metadata__"]["sklearn_cnn"])
    assert document["format"] == 1
    assert document["model"]["kind"] == "CNNClassifier"
    assert document["model"]["classes"]["values"] == ["cat", "dog", "eel"]
