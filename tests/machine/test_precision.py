"""bfloat16 in training: when "auto" takes it, what it refuses, and where it never is."""

import re

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from torch import nn

from sklearn_cnn import CNNClassifier, Conv, Dense, Flatten, Pool
from sklearn_cnn.machine.device import (
    WORTH_IT,
    name_of_dtype,
    trains_in_bfloat16,
    weights_dtype,
)
from sklearn_cnn.network.build import build_network
from sklearn_cnn.network.outputs import bfloat16_hazard, layer_table

CPU, CUDA, MPS = torch.device("cpu"), torch.device("cuda"), torch.device("mps")
PRECISIONS = ["auto", "float32", "bfloat16", "float64"]


@pytest.fixture
def capable(monkeypatch):
    """A function that makes processors look capable of what it is given, and of nothing else."""

    def make(cpu=(), cuda=(7, 5)):
        has = {name: name in cpu for name in ("avx2", "avx512_f", "avx512_bf16", "amx_bf16")}
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: has, raising=False)
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: cuda)

    return make


def network(*layers, image_shape=(16, 16, 1)):
    return build_network([*layers, Flatten()], image_shape, 3, np.zeros(1), np.ones(1))


PLAIN = [Conv(4), Pool()]


def decide(precision, device, made, multiplications, rows=()):
    """The rule, for a network whose layers are looked through for one that goes wrong."""
    hazard = bfloat16_hazard(made, rows)
    return trains_in_bfloat16(precision, device, multiplications, hazard)


@pytest.mark.parametrize(
    ("cpu", "expected"),
    [
        ([], False),
        (["avx2", "avx512_f"], False),
        (["avx512_bf16"], True),
        (["amx_bf16"], True),
        (["amx_bf16", "avx512_bf16", "avx2"], True),
    ],
)
def test_auto_on_processors(capable, cpu, expected):
    """Catches bfloat16 that is emulated, which is many times slower."""
    capable(cpu=cpu)
    assert decide("auto", CPU, network(*PLAIN), WORTH_IT) is expected


@pytest.mark.parametrize(
    ("capability", "expected"), [((7, 5), False), ((7, 9), False), ((8, 0), True), ((9, 0), True)]
)
def test_auto_on_gpus(capable, capability, expected):
    """Both sides of Ampere. Catches the processor asked for the GPU."""
    capable(cpu=[] if expected else ["amx_bf16"], cuda=capability)
    assert decide("auto", CUDA, network(*PLAIN), WORTH_IT) is expected


def test_auto_elsewhere(capable):
    capable(cpu=["amx_bf16"], cuda=(9, 0))
    assert decide("auto", MPS, network(*PLAIN), 10 * WORTH_IT) is False


@pytest.mark.parametrize("device", [CPU, CUDA])
@pytest.mark.parametrize(
    ("multiplications", "expected"), [(0, False), (WORTH_IT - 1, False), (WORTH_IT, True)]
)
def test_auto_leaves_small_networks_in_float32(capable, device, multiplications, expected):
    capable(cpu=["amx_bf16"], cuda=(9, 0))
    assert decide("auto", device, network(*PLAIN), multiplications) is expected


def test_an_older_torch_that_cannot_tell(monkeypatch):
    """torch 2.6 has no such function. Catches an AttributeError in every fit."""
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    assert decide("auto", CPU, network(*PLAIN), WORTH_IT) is False
    assert decide("bfloat16", CPU, network(*PLAIN), WORTH_IT) is True


@pytest.mark.parametrize("device", [CPU, CUDA, MPS])
@pytest.mark.parametrize("precision", PRECISIONS)
def test_names_are_obeyed(capable, device, precision):
    """Whatever the size and the machine. Catches a name that is taken for a hint."""
    for cpu, gpu, multiplications in (((), (7, 0), 1), (("amx_bf16",), (9, 0), WORTH_IT)):
        capable(cpu=cpu, cuda=gpu)
        found = decide(precision, device, network(*PLAIN), multiplications)
        if precision != "auto":
            assert found is (precision == "bfloat16")


@pytest.mark.parametrize(
    ("layer", "is_hazard"),
    [
        (Conv(4, 1, 2), False),  # a module of ours leaves the pixels out first
        (Conv(4, 1, (1, 3)), False),
        (Conv(4, (3, 1), (3, 2)), True),
        (Conv(4, (1, 3), (2, 3)), True),
        (Conv(4, 2, 3, padding="valid"), True),
        (Conv(4, 2, 3), True),  # an even kernel, which is padded by a module of ours
        (Conv(4, 1, 1), False),
        (Conv(4, 2, 2), False),
        (Conv(4, 3, 2), False),
        (Conv(4, (1, 3), (1, 2)), False),
    ],
)
def test_steps_beyond_the_kernel(capable, layer, is_hazard):
    """Both sides, either axis: torch leaves garbage in such a gradient on CPUs, not on GPUs.

    Catches a check of one axis, and a network of ten good layers and a bad one that passes.
    """
    capable(cpu=["amx_bf16"], cuda=(9, 0))
    made = network(Conv(4), layer, Conv(2))
    assert decide("auto", CPU, made, WORTH_IT) is not is_hazard
    assert decide("auto", CUDA, made, WORTH_IT) is True
    assert decide("bfloat16", CUDA, made, WORTH_IT) is True
    if is_hazard:
        with pytest.raises(ValueError, match=r"precision='bfloat16' is not .*conv2.*'float32'\.$"):
            decide("bfloat16", CPU, made, WORTH_IT)
    else:
        assert decide("bfloat16", CPU, made, WORTH_IT) is True


@pytest.mark.parametrize(
    ("sides", "layer", "is_hazard"),
    [
        ((16, 2), Conv(4, 3, 2), True),
        ((16, 3), Conv(4, 3, (1, 3), padding="valid"), True),
        ((16, 4), Conv(4, 2, 2), False),
        ((16, 3), Conv(4, 3, 2), False),
        ((16, 3), Conv(4, 3, (2, 1), padding="valid"), False),
        ((2, 16), Conv(4, 3, 2), False),
    ],
)
def test_a_stride_that_leaves_maps_one_pixel_wide(capable, sides, layer, is_hazard):
    """torch's bfloat16 puts out what memory held before. Catches a height taken for the width."""
    capable(cpu=["amx_bf16"])
    made = network(Conv(2), layer, image_shape=(*sides, 1))
    rows = layer_table(made, (*sides, 1))
    assert decide("auto", CPU, made, WORTH_IT, rows) is not is_hazard
    if is_hazard:
        with pytest.raises(ValueError, match=r"'conv2'.* strides to maps one pixel wide\."):
            decide("bfloat16", CPU, made, WORTH_IT, rows)


def test_narrow_images_asked_for_in_bfloat16_by_name(digits):
    """The table of layers reaches the check. Catches noise that is trained on."""
    model = made(layers=[Conv(17, 3, 2), Flatten()], precision="bfloat16", max_epochs=1)
    with pytest.raises(ValueError, match="one pixel wide"):
        model.fit(digits.images[:50, :, :2], digits.target[:50])


@pytest.mark.parametrize(
    ("options", "is_hazard"),
    [
        ({"groups": 2}, True),
        ({"dilation": 2}, True),
        ({"dilation": (1, 2)}, True),
        ({"dilation": (2, 1)}, True),
        ({"groups": 1, "dilation": 1, "stride": 3}, False),
        ({"stride": (1, 4)}, True),
    ],
)
def test_hazards_in_a_module_of_the_users(capable, options, is_hazard):
    """Deep inside. Catches a look at the top alone."""
    capable(cpu=["avx512_bf16"])
    inner = nn.Sequential(nn.ReLU(), nn.ModuleDict({"deep": nn.Conv2d(4, 4, 3, **options)}))
    assert decide("auto", CPU, inner, WORTH_IT) is not is_hazard
    if is_hazard:
        with pytest.raises(ValueError, match=re.escape("'1.deep'")):
            decide("bfloat16", CPU, inner, WORTH_IT)


def test_float32_and_float64_mind_no_hazard():
    made = network(Conv(4, 2, 3))
    assert decide("float32", CPU, made, WORTH_IT) is False
    assert decide("float64", CPU, made, WORTH_IT) is False


@pytest.mark.parametrize("precision", PRECISIONS)
def test_weights_are_never_bfloat16(precision):
    expected = torch.float64 if precision == "float64" else torch.float32
    assert weights_dtype(precision, CPU) == weights_dtype(precision, CUDA) == expected
    assert name_of_dtype(precision) == str(expected).removeprefix("torch.")


DIGITS = {"conv_channels": (16, 32), "dense_units": 32, "learning_rate": 0.005, "batch_size": 64}


def made(**parameters):
    return CNNClassifier(**{**DIGITS, "random_state": 0, **parameters})


@pytest.fixture(scope="module")
def doubled(digits):
    """400 digits of 16 x 16 pixels, each pixel four times, and 300 others."""
    images = digits.images.repeat(2, axis=1).repeat(2, axis=2)
    return images[:400], digits.target[:400], images[400:700], digits.target[400:700]


class WatchConvolutions:
    """What every convolution computed: (training, dtype of what comes out, of the weights)."""

    def __init__(self, monkeypatch):
        self.seen = set()
        forward = nn.Conv2d.forward

        def watch(module, maps):
            out = forward(module, maps)
            self.seen.add((torch.is_grad_enabled(), out.dtype, module.weight.dtype))
            return out

        monkeypatch.setattr(nn.Conv2d, "forward", watch)


@pytest.fixture
def convolutions(monkeypatch):
    return WatchConvolutions(monkeypatch)


@pytest.mark.parametrize("channels", [4, (32, 64)])
@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float64"])
def test_bfloat16_is_in_training_alone(doubled, convolutions, precision, channels):
    """Small networks in one piece, larger ones in parts; validation and prediction as ever.

    Catches validation scores of another arithmetic than that of predict, and autocast that is not
    on in other threads.
    """
    X, y, X_test, _ = doubled
    wide = torch.float64 if precision == "float64" else torch.float32
    model = made(
        conv_channels=channels,
        precision=precision,
        early_stopping=True,
        validation_fraction=0.3,
        max_epochs=1,
    ).fit(X[:100], y[:100])
    assert model.net_.is_cut == (channels != 4)
    multiplied = torch.bfloat16 if precision == "bfloat16" else wide
    assert convolutions.seen == {(True, multiplied, wide), (False, wide, wide)}
    convolutions.seen.clear()
    model.predict(X_test)
    model.net_.predict_proba(X_test[..., None])
    assert {dtype for _, *dtypes in convolutions.seen for dtype in dtypes} == {wide}
    assert {value.dtype for value in model.net_.module_.parameters()} == {wide}
    assert {value.dtype for value in model.net_.module_.norm1.buffers()} == {wide, torch.int64}
    assert {p.grad.dtype for p in model.net_.module_.parameters()} == {wide}
    assert model.net_.in_bfloat16 == (precision == "bfloat16")


def test_bfloat16_learns_as_well_as_float32(doubled):
    """Within 0.03 of each other on 300 digits. Catches gradients that are lost on the way."""
    X, y, X_test, y_test = doubled
    scores = {}
    for precision in ("float32", "bfloat16"):
        model = made(precision=precision, max_epochs=10, learning_rate=0.01).fit(X, y)
        scores[precision] = model.score(X_test, y_test)
    assert scores["float32"] > 0.85
    assert abs(scores["bfloat16"] - scores["float32"]) < 0.03


def test_bfloat16_is_another_arithmetic_close_to_float32(doubled):
    """The first losses differ, by less than a part in fifty. Catches a name without effect."""
    X, y, *_ = doubled
    losses = [
        made(precision=precision, max_epochs=1, batch_size=400, batch_norm=False)
        .fit(X, y)
        .loss_curve_[0]
        for precision in ("float32", "bfloat16")
    ]
    assert losses[0] != losses[1]
    assert_allclose(losses[1], losses[0], rtol=0.02)


def test_bfloat16_is_reproducible(doubled):
    X, y, X_test, _ = doubled
    options = {"precision": "bfloat16", "max_epochs": 1, "dropout": 0.3}
    first = made(**options).fit(X[:150], y[:150]).predict_proba(X_test)
    assert_array_equal(made(**options).fit(X[:150], y[:150]).predict_proba(X_test), first)


def test_a_hazard_asked_for_by_name_names_the_layer(doubled):
    """And leaves the estimator unfitted."""
    X, y, *_ = doubled
    layers = [Conv(4), Conv(4, 2, 3), Flatten(), Dense(4)]
    model = made(layers=layers, precision="bfloat16", device="cpu", max_epochs=1)
    text = "'conv2' wrongly or slowly in bfloat16. Its stride exceeds its kernel"
    with pytest.raises(ValueError, match=re.escape(text)):
        model.fit(X, y)
    assert not hasattr(model, "classes_")
    assert model.set_params(precision="auto").fit(X[:50], y[:50]).net_.in_bfloat16 is False


def test_autocast_of_the_callers_is_left_alone(doubled):
    """A fit and a prediction inside autocast compute in float32 all the same."""
    X, y, X_test, _ = doubled
    model = made(precision="float32", max_epochs=1, conv_channels=4)
    expected = model.fit(X[:100], y[:100]).predict_proba(X_test)
    with torch.autocast("cpu", torch.bfloat16):
        found = model.fit(X[:100], y[:100]).predict_proba(X_test)
        assert torch.is_autocast_enabled("cpu")
    assert_array_equal(found, expected)
