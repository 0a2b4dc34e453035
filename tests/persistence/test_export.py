"""ONNX files give what the model gives, in onnxruntime, whatever the network and the targets."""

import json
import sys

import numpy as np
import onnx
import onnxruntime
import pytest
import skl2onnx
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.decomposition import PCA
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.svm import SVC

from sklearn_cnn import (
    Activation,
    Backbone,
    BatchNorm,
    CNNClassifier,
    CNNRegressor,
    Conv,
    Dense,
    Dropout,
    Flatten,
    ImageReader,
    Pool,
    PretrainedFeatures,
    export_onnx,
)

RNG = np.random.default_rng(0)
GRAY = RNG.integers(0, 256, (40, 12, 9), dtype=np.uint8)
COLOUR = RNG.integers(0, 256, (40, 12, 9, 3), dtype=np.uint8)
NAMES = np.array(["cat", "dog", "eel"])[np.arange(40) % 3]
SMALL = {"conv_channels": (4, 5), "dense_units": 6, "max_epochs": 2, "random_state": 0}


def run(path, images):
    """What onnxruntime makes of images (n, height, width, channels)."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (pixels,) = session.get_inputs()
    dtype = {"tensor(uint8)": np.uint8, "tensor(float)": np.float32}[pixels.type]
    images = np.asarray(images).reshape(len(images), *pixels.shape[1:]).astype(dtype)
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(None, {"pixels": images}), strict=True))


def own_network():
    return torch.nn.Conv2d(3, 4, 1)


LAYERS = [
    [Conv(4, (2, 3), 2), BatchNorm(), Activation(), Pool("mean", 2), Flatten()],
    [Conv(4, 4), Activation("silu"), Conv(5, 1, 2), Pool("max", (2, 1)), Flatten(), Dense(7)],
    [Conv(3, 3, padding="valid", bias=False), Pool("max", 3, 2), Dropout(0.5), Flatten(), Dense(6),
     BatchNorm(), Activation("gelu")],
    [Flatten()],
]  # fmt: skip


@pytest.mark.parametrize(
    "parameters",
    [
        *({"activation": name} for name in ("relu", "leaky_relu", "elu", "gelu")),
        *({"activation": name, "pooling": "mean"} for name in ("silu", "tanh", "sigmoid")),
        {"batch_norm": False, "dropout": 0.5},
        *({"layers": layers} for layers in LAYERS),
        {"precision": "float64"},
    ],
    ids=str,
)
@pytest.mark.parametrize(
    "images", [GRAY, COLOUR, COLOUR / np.float32(255)], ids=["gray", "colour", "fractions"]
)
def test_networks_of_all_layers(tmp_path, parameters, images):
    """Within 1e-5; and every label whose two best probabilities differ by more."""
    model = CNNClassifier(**{**SMALL, **parameters}).fit(images, NAMES)
    export_onnx(model, tmp_path / "model.onnx")
    found, expected = run(tmp_path / "model.onnx", images), model.predict_proba(images)
    assert_allclose(found["probabilities"], expected, atol=1e-5)
    best = np.sort(expected, axis=1)
    clear = best[:, -1] - best[:, -2] > 1e-5
    assert clear.sum() > 30
    assert_array_equal(found["label"][clear], model.predict(images)[clear])


@pytest.mark.parametrize("n", [1, 2, 7])
def test_any_number_of_images(tmp_path, n):
    model = CNNClassifier(**SMALL).fit(COLOUR, NAMES)
    export_onnx(model, str(tmp_path / "model.onnx"))
    found = run(tmp_path / "model.onnx", COLOUR[:n])
    assert_allclose(found["probabilities"], model.predict_proba(COLOUR[:n]), atol=1e-5)


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (NAMES, NAMES.astype(object)),
        (np.arange(40) % 4 - 2, np.arange(40) % 4 - 2),
        (np.arange(40) % 2 == 0, np.arange(40) % 2 == 0),
        (np.arange(40) % 2 * 3.0, np.arange(40) % 2 * 3),
    ],
    ids=["text", "whole numbers", "booleans", "floats"],
)
def test_labels_of_any_type(tmp_path, labels, expected):
    """Text, or int64."""
    model = CNNClassifier(**SMALL).fit(COLOUR, labels)
    export_onnx(model, tmp_path / "model.onnx")
    found = run(tmp_path / "model.onnx", COLOUR)["label"]
    assert found.dtype == (object if expected.dtype == object else np.int64)
    assert_array_equal(found, model.predict(COLOUR).astype(found.dtype))
    assert set(found) <= set(expected.astype(found.dtype))


def test_several_labels(tmp_path):
    y = np.stack([np.arange(40) % 2, np.arange(40) > 9, np.arange(40) % 3 == 0], axis=1).astype(int)
    model = CNNClassifier(**SMALL).fit(COLOUR, y)
    export_onnx(model, tmp_path / "model.onnx")
    found = run(tmp_path / "model.onnx", COLOUR)
    assert_allclose(found["probabilities"], model.predict_proba(COLOUR), atol=1e-5)
    clear = np.abs(found["probabilities"] - 0.5) > 1e-5
    assert_array_equal(found["label"][clear], model.predict(COLOUR)[clear])


@pytest.mark.parametrize(
    "y", [np.arange(40.0), np.stack([np.arange(40.0), np.full(40, 7)], axis=1)]
)
def test_numbers_in_their_units(tmp_path, y):
    model = CNNRegressor(**SMALL).fit(COLOUR, y)
    export_onnx(model, tmp_path / "model.onnx")
    found = run(tmp_path / "model.onnx", COLOUR)["variable"]
    assert found.shape == (40, y.size // 40)
    assert_allclose(found.reshape(y.shape), model.predict(COLOUR), rtol=1e-5, atol=1e-4)


def test_features(tmp_path):
    model = CNNClassifier(**SMALL).fit(COLOUR, NAMES)
    export_onnx(model, tmp_path / "model.onnx", output="features")
    found = run(tmp_path / "model.onnx", COLOUR)
    assert list(found) == ["features"]
    assert_allclose(found["features"], model.transform(COLOUR), atol=1e-5)


@pytest.mark.parametrize("layer", ["flatten", "pool1", "activation2", "dense1", "normalize"])
def test_features_of_any_layer(tmp_path, layer):
    """Maps pixel by pixel, as ``transform`` gives them."""
    model = CNNClassifier(**SMALL, feature_layer=layer).fit(COLOUR, NAMES)
    export_onnx(model, tmp_path / "model.onnx", output="features")
    found = run(tmp_path / "model.onnx", COLOUR)["features"]
    assert found.shape == model.transform(COLOUR).shape
    assert_allclose(found, model.transform(COLOUR), atol=1e-4)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.parametrize(
    "after",
    [
        [SVC(probability=False)],
        [StandardScaler(), PCA(3), LogisticRegression()],
        [GradientBoostingClassifier(n_estimators=3)],
    ],
    ids=str,
)
def test_estimators_after_the_network(tmp_path, after):
    """They learn from its features: catches the labels of the network fed to them, or given."""
    reader = ImageReader((12, 9))
    model = make_pipeline(reader, CNNClassifier(**SMALL), *after).fit(list(COLOUR), NAMES)
    export_onnx(model, tmp_path / "model.onnx")
    found = run(tmp_path / "model.onnx", COLOUR)
    assert (found["label"] == model.predict(list(COLOUR))).mean() > 0.95
    if hasattr(model, "predict_proba"):
        expected = model.predict_proba(list(COLOUR))
        assert_allclose(found["probabilities"], expected, atol=1e-3)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_a_regressor_after_the_network(tmp_path):
    y = np.arange(40.0)
    model = make_pipeline(CNNRegressor(**SMALL), StandardScaler(), Ridge()).fit(COLOUR, y)
    export_onnx(model, tmp_path / "model.onnx")
    found = run(tmp_path / "model.onnx", COLOUR)["variable"].ravel()
    assert_allclose(found, model.predict(COLOUR), atol=1e-2)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_pretrained_features_and_what_learns_from_them(tmp_path, mode):
    """From pixels to labels in one file, the network included."""
    images = list(RNG.integers(0, 256, (12, 40, 33, 3), dtype=np.uint8))
    reader = ImageReader((40, 33), mode=mode)
    after = [StandardScaler(), LogisticRegression()]
    model = make_pipeline(reader, PretrainedFeatures(), *after).fit(images, NAMES[:12])
    export_onnx(model, tmp_path / "model.onnx")
    found = run(tmp_path / "model.onnx", reader.transform(images))
    assert_allclose(found["probabilities"], model.predict_proba(images), atol=1e-3)
    assert_array_equal(found["label"], model.predict(images))


@pytest.mark.parametrize("side", [32, 45])
def test_pretrained_features_of_any_size(tmp_path, side):
    export_onnx(PretrainedFeatures(), tmp_path / "model.onnx")
    images = RNG.integers(0, 256, (3, side, side + 1, 3), dtype=np.uint8)
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    (found,) = session.run(None, {"pixels": images})
    expected = PretrainedFeatures().transform(images)
    assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize(
    ("model", "text"),
    [
        (PretrainedFeatures(own_network), "writes published networks, such as"),
        (make_pipeline(ImageReader(32, dtype="float32"), PretrainedFeatures()), "dtype='uint8'"),
    ],
)
def test_pretrained_features_that_cannot_be_exported(tmp_path, model, text):
    with pytest.raises(ValueError, match=text):
        export_onnx(model, tmp_path / "model.onnx")


def test_skl2onnx_by_itself_refuses_the_network(tmp_path):
    """As the guide says: catches a network whose labels are fed to what follows it."""
    model = make_pipeline(CNNClassifier(**SMALL), SVC()).fit(COLOUR, NAMES)
    with pytest.raises(skl2onnx.common.exceptions.MissingShapeCalculator, match="CNNClassifier"):
        skl2onnx.to_onnx(model, COLOUR[:1].astype(np.float32))


def test_without_skl2onnx(tmp_path, monkeypatch):
    model = make_pipeline(CNNClassifier(**SMALL), SVC()).fit(COLOUR, NAMES)
    monkeypatch.setitem(sys.modules, "skl2onnx", None)
    with pytest.raises(ImportError, match=r"pip install skl2onnx\. Without it, output='features'"):
        export_onnx(model, tmp_path / "model.onnx")


def test_a_backbone(tmp_path):
    images = RNG.integers(0, 256, (6, 45, 32), dtype=np.uint8)
    model = CNNClassifier(layers=[Backbone()], max_epochs=1, random_state=0)
    model.fit(images, np.arange(6) % 2)
    export_onnx(model, tmp_path / "model.onnx")
    found = run(tmp_path / "model.onnx", images)
    assert_allclose(found["probabilities"], model.predict_proba(images), atol=1e-4)


def test_the_reader_stands_in_the_metadata(tmp_path):
    reader = ImageReader((12, 9), resize="pad", background=(1, 2, 3))
    pipeline = make_pipeline(reader, CNNClassifier(**SMALL)).fit(list(COLOUR), NAMES)
    export_onnx(pipeline, tmp_path / "model.onnx")
    made = onnx.load(tmp_path / "model.onnx")
    (described,) = (json.loads(p.value) for p in made.metadata_props if p.key == "sklearn_cnn")
    assert described["reader"] == {
        "size": [12, 9], "mode": "RGB", "resize": "pad", "background": [1, 2, 3],
        "dtype": "uint8", "value_range": None,
    }  # fmt: skip
    assert described["classes"] == ["cat", "dog", "eel"]
    assert described["image_shape"] == [12, 9, 3]
    assert described["range"] == [0, 255]
    assert (made.opset_import[0].version, made.ir_version) == (20, 10)


def own_module(image_shape, n_outputs):
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.LazyLinear(n_outputs))


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (
            lambda: make_pipeline(FunctionTransformer(np.asarray), CNNClassifier(**SMALL)),
            TypeError,
            "Got a Pipeline of FunctionTransformer -> CNNClassifier",
        ),
        (
            lambda: CNNClassifier(layers=own_module, max_epochs=1),
            ValueError,
            r"torch\.onnx\.export",
        ),
    ],
)
def test_what_cannot_be_exported(tmp_path, make, error, text):
    model = make().fit(list(COLOUR), NAMES)
    with pytest.raises(error, match=text):
        export_onnx(model, tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())


def test_without_onnx(tmp_path, monkeypatch):
    model = CNNClassifier(**SMALL).fit(COLOUR, NAMES)
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ImportError, match=r"pip install 'sklearn-cnn\[onnx\]'"):
        export_onnx(model, tmp_path / "model.onnx")


def test_an_output_that_there_is_not(tmp_path):
    with pytest.raises(
        ValueError, match=r"output must be one of probabilities, features\. Got output='probs'"
    ):
        export_onnx(CNNClassifier(), tmp_path / "model.onnx", output="probs")
