"""A name that is none of those accepted: the error says which may have been meant."""

import numpy as np
import pytest
from sklearn.utils.estimator_checks import check_param_validation

from sklearn_cnn import (
    Activation,
    CNNClassifier,
    Conv,
    FeatureMapDisplay,
    FilterDisplay,
    ImageReader,
    Pool,
    RandomFlip,
    SaliencyDisplay,
    load_image_folder,
)
from sklearn_cnn._messages import did_you_mean


@pytest.mark.parametrize(
    ("parameter", "near", "meant"),
    [
        ("pooling", "avg", "mean"),
        ("pooling", "Max", "max"),
        ("pooling", "average", "mean"),
        ("activation", "ReLU", "relu"),
        ("activation", "swish", "silu"),
        ("activation", "leaky-relu", "leaky_relu"),
        ("optimizer", "Adam", "adam"),
        ("optimizer", "AdamW", "adamw"),
        ("optimizer", "SGD", "sgd"),
        ("optimizer", "rmsprob", "rmsprop"),
        ("schedule", "one-cycle", "one_cycle"),
        ("schedule", "OneCycle", "one_cycle"),
        ("schedule", "cos", "cosine"),
        ("data_format", "channel_last", "channels_last"),
        ("data_format", "NCHW", "channels_first"),
        ("precision", "bf16", "bfloat16"),
        ("precision", "float", "float32"),
        ("class_weight", "balance", "balanced"),
        ("max_epochs", "Auto", "auto"),
        ("conv_channels", "automatic", "auto"),
        ("device", "gpu", "cuda"),
        ("device", "CUDA", "cuda"),
        ("feature_layer", "Dense", "dense"),
        ("feature_layer", "conv_1", "conv1"),
    ],
)
def test_a_near_miss_of_the_classifier(small, bars, parameter, near, meant):
    """The name of another library, another case, a slip. Catches a list of names to guess from."""
    with pytest.raises(ValueError, match=rf"{parameter}.*Got .*Did you mean '{meant}'\?$"):
        small(**{parameter: near}).fit(*bars)


@pytest.mark.parametrize(
    ("parameter", "near", "meant"),
    [
        ("mode", "gray", "L"),
        ("mode", "rgb", "RGB"),
        ("resize", "letterbox", "pad"),
        ("resize", "centre_crop", "crop"),
        ("on_error", "ignore", "skip"),
    ],
)
def test_a_near_miss_of_the_reader(parameter, near, meant):
    with pytest.raises(ValueError, match=rf"{parameter}.*Got .*Did you mean '{meant}'\?$"):
        ImageReader(**{parameter: near}).fit([])


@pytest.mark.parametrize(
    ("call", "meant"),
    [
        (lambda _: Pool("avg"), "mean"),
        (lambda _: Activation("ReLU"), "relu"),
        (lambda _: Conv(8, padding="Same"), "same"),
        (lambda _: RandomFlip("horizontally"), "horizontal"),
        (lambda _: RandomFlip("left-right"), "horizontal"),
        (lambda _: load_image_folder(".", on_error="ignore"), "skip"),
        (lambda m: SaliencyDisplay.from_estimator(m, images(), method="GradCAM"), "grad_cam"),
        (lambda m: SaliencyDisplay.from_estimator(m, images(), method="ocklusion"), "occlusion"),
        (lambda m: FilterDisplay.from_estimator(m, layer="conv_1"), "conv1"),
        (lambda m: FeatureMapDisplay.from_estimator(m, images(), layers=["Pool1"]), "pool1"),
        (lambda m: m.feature_maps(images(), "norm"), "norm1"),
    ],
)
def test_a_near_miss_elsewhere(fitted, call, meant):
    with pytest.raises(ValueError, match=rf"must .*Got .*Did you mean '{meant}'\?$"):
        call(fitted)


def images():
    return np.zeros((1, 8, 6), np.uint8)


@pytest.fixture(scope="module")
def fitted(bars):
    return CNNClassifier(8, dense_units=16, max_epochs=1, random_state=0).fit(*bars)


@pytest.mark.parametrize("value", ["zzz", 3, None, ["max"], ""])
def test_what_is_near_to_nothing_is_not_asked_about(value):
    """Catches a question for every error."""
    assert did_you_mean(value, ["max", "mean", 7]) == ""


@pytest.mark.parametrize("value", ["zzz", 3])
def test_the_error_is_scikit_learns_then(small, bars, value):
    with pytest.raises(ValueError, match=r"The 'pooling' parameter of CNN.* Got .* instead.$"):
        small(pooling=value).fit(*bars)


@pytest.mark.parametrize("estimator", [CNNClassifier(), ImageReader()])
def test_every_parameter_is_still_checked(estimator):
    check_param_validation(type(estimator).__name__, estimator)
