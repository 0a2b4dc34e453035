"""Prediction in padded chunks: a row's logits and features are its own, to the last bit."""

import re

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from torch import nn

from sklearn_cnn.network.outputs import LayerOutputs, Source
from sklearn_cnn.training.prediction import predict_layers, predict_outputs

CHUNK = 16
IMAGES = np.random.default_rng(0).integers(0, 256, (50, 8, 8, 3), dtype=np.uint8)
IMAGES.flags.writeable = False


class Network(nn.Module):
    """Convolution, norm, two dense layers; notes the shapes of what it is given."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.Flatten(), nn.Linear(512, 5)
        )
        self.shapes = []

    def forward(self, pixels):
        self.shapes.append(tuple(pixels.shape))
        return self.layers(pixels.to(torch.float32) / 255)


@pytest.fixture
def network():
    state = torch.get_rng_state()
    torch.manual_seed(0)
    made = Network()
    torch.set_rng_state(state)
    return made.eval()


@pytest.fixture
def expected(network):
    return predict_outputs(network, IMAGES, CHUNK)


@pytest.mark.parametrize("n", [1, 2, 15, 16, 17, 31, 32, 33, 50])
def test_a_row_does_not_depend_on_how_many_there_are(network, expected, n):
    """Below, at and above whole chunks. Catches a last chunk of another size, and its rounding."""
    assert_array_equal(predict_outputs(network, IMAGES[:n], CHUNK), expected[:n])
    assert_array_equal(predict_outputs(network, IMAGES[-n:], CHUNK), expected[-n:])


def test_a_row_does_not_depend_on_its_place_or_its_neighbours(network, expected):
    """Catches statistics of the chunk, and a vectorised remainder loop."""
    order = np.random.default_rng(1).permutation(50)
    assert_array_equal(predict_outputs(network, IMAGES[order], CHUNK), expected[order])
    for row in (0, 7, 15, 16, 49):
        among_noise = np.full((CHUNK, 8, 8, 3), 255, np.uint8)
        among_noise[row % CHUNK] = IMAGES[row]
        assert_array_equal(predict_outputs(network, among_noise, CHUNK)[row % CHUNK], expected[row])


def test_equals_one_pass_over_all(network, expected):
    """Catches padding rows that are handed out, and rows lost between chunks."""
    pixels = torch.from_numpy(IMAGES.transpose(0, 3, 1, 2).copy())
    with torch.no_grad():
        whole = network(pixels).numpy()
    assert expected.shape == (50, 5)
    assert expected.dtype == np.float64
    assert_allclose(expected, whole, atol=1e-5)


@pytest.mark.parametrize(("chunk", "n_passes"), [(1, 50), (49, 2), (50, 1), (51, 1), (7, 8)])
def test_every_pass_has_the_size_of_a_chunk(network, expected, chunk, n_passes):
    """Catches a last pass that is not filled up."""
    logits = predict_outputs(network, IMAGES, chunk)
    assert network.shapes[-n_passes:] == [(chunk, 3, 8, 8)] * n_passes
    assert_allclose(logits, expected, atol=1e-5)


@pytest.mark.parametrize(
    "view",
    [
        np.asfortranarray(IMAGES),
        IMAGES[::-1].copy()[::-1],
        IMAGES.transpose(0, 3, 1, 2).copy().transpose(0, 2, 3, 1),
        IMAGES.astype(np.uint16),
        IMAGES.astype(">i4"),
        IMAGES.astype(np.longdouble),
    ],
    ids=["Fortran order", "negative strides", "channels first", "uint16", ">i4", "longdouble"],
)
def test_any_layout_and_dtype_of_the_same_pixels(network, expected, view):
    """Read-only, and the same bytes afterwards."""
    view = view.view()
    view.flags.writeable = False
    before = view.tobytes()
    assert_array_equal(predict_outputs(network, view, CHUNK), expected)
    assert view.tobytes() == before


def test_a_network_in_training_mode_is_put_in_evaluation_mode(network, expected):
    """Catches logits of batch statistics, and running statistics moved by a prediction."""
    state = {name: value.clone() for name, value in network.state_dict().items()}
    network.train()
    assert_array_equal(predict_outputs(network, IMAGES, CHUNK), expected)
    assert not network.training
    for name, value in network.state_dict().items():
        assert_array_equal(value, state[name])


@pytest.mark.parametrize("n", [1, 127, 128, 129])
def test_the_estimator_predicts_rows_one_by_one_the_same(small, digits, n):
    """Around its chunk of 128. Catches a chunk that depends on the number of images."""
    classifier = small(max_epochs=1).fit(digits.images[:100], digits.target[:100])
    together = classifier.predict_proba(digits.images[:n])
    apart = [
        classifier.predict_proba(digits.images[row : row + 1])[0] for row in (0, n // 2, n - 1)
    ]
    assert_array_equal(together[[0, n // 2, n - 1]], apart)


@pytest.mark.parametrize("seed", range(3))
def test_probabilities_are_the_softmax_of_the_logits(small, digits, seed):
    """Catches probabilities in float32, whose rows miss a sum of 1 by 1e-7."""
    classifier = small(max_epochs=2, random_state=seed)
    classifier.fit(digits.images[:100], digits.target[:100])
    logits = classifier.decision_function(digits.images[:40])
    by_hand = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    proba = classifier.predict_proba(digits.images[:40])
    assert_allclose(proba, by_hand, rtol=1e-12)
    assert_allclose(proba.sum(axis=1), 1, rtol=1e-14)
    assert_allclose(np.exp(classifier.predict_log_proba(digits.images[:40])), proba, rtol=1e-12)
    assert_array_equal(classifier.predict(digits.images[:40]), logits.argmax(axis=1))


def test_two_classes_have_one_decision(small, bars):
    """Positive where the second class is predicted. Catches the reverse sign."""
    images, target = bars
    classifier = small(max_epochs=4).fit(images, np.where(target, "b", "a"))
    decision = classifier.decision_function(images)
    assert decision.shape == (200,)
    assert_array_equal(classifier.predict(images), np.where(decision > 0, "b", "a"))
    assert_allclose(classifier.predict_proba(images)[:, 1], 1 / (1 + np.exp(-decision)), rtol=1e-12)


SOURCES = Source("layers.1"), Source("layers.3", is_input=True), Source("layers.3")


def outputs(network, images, chunk=CHUNK, n_at_once=1):
    return predict_layers(LayerOutputs(network, SOURCES), images, chunk, n_at_once)


def assert_equal_outputs(found, expected):
    for values, others in zip(found, expected, strict=True):
        assert_array_equal(values, others)


def test_outputs_of_layers_equal_one_pass_over_all(network, expected):
    """Catches padding rows among the maps, channels first, and logits of another pass."""
    pixels = torch.from_numpy(IMAGES.transpose(0, 3, 1, 2).copy()).float() / 255
    with torch.no_grad():
        behind_norm = network.layers[:2](pixels)
    maps, vector, logits = outputs(network, IMAGES)
    assert [values.dtype for values in (maps, vector, logits)] == [np.float32] * 3
    assert_allclose(maps, behind_norm.permute(0, 2, 3, 1).numpy(), atol=1e-5)
    assert_array_equal(vector, maps.transpose(0, 3, 1, 2).reshape(50, -1))
    assert_array_equal(logits, expected)


@pytest.mark.parametrize("n", [1, 15, 16, 17, 50])
def test_a_rows_outputs_do_not_depend_on_the_others(network, n):
    """Below, at and above whole chunks, and in another order."""
    expected = outputs(network, IMAGES)
    assert_equal_outputs(outputs(network, IMAGES[-n:]), [values[-n:] for values in expected])
    order = np.random.default_rng(n).permutation(50)
    assert_equal_outputs(outputs(network, IMAGES[order]), [values[order] for values in expected])


@pytest.mark.usefixtures("three_threads")
@pytest.mark.parametrize("n_at_once", [2, 3, 9])
def test_chunks_side_by_side_give_the_same_outputs(network, n_at_once):
    """Catches chunks in the order in which their threads end, or values that threads exchange."""
    expected = outputs(network, IMAGES, 5)
    assert_equal_outputs(outputs(network, IMAGES, 5, n_at_once), expected)
    assert torch.get_num_threads() == 3


def wide_module(image_shape, n_outputs):
    height, width, channels = image_shape
    return nn.Sequential(nn.Flatten(), nn.Linear(height * width * channels, n_outputs))


@pytest.mark.usefixtures("three_threads")
@pytest.mark.parametrize("layers", [None, wide_module])
def test_one_chunk_does_not_depend_on_the_number_of_threads(small, layers):
    """A dense layer on 1,152 values and more. Catches threads that share a matrix product and split
    its sums, so that few images are rounded otherwise than many; seen on a processor with AMX."""
    images = np.random.default_rng(0).integers(0, 256, (130, 24, 24, 3), dtype=np.uint8)
    classifier = small(layers=layers, max_epochs=1).fit(images[:40], np.arange(40) % 2)
    expected = classifier.predict_proba(images)
    for n_threads in (3, 2, 1):
        torch.set_num_threads(n_threads)
        for n in (1, 40, 64, 65):
            assert_array_equal(classifier.predict_proba(images[:n]), expected[:n])
            assert torch.get_num_threads() == n_threads


@pytest.mark.usefixtures("three_threads")
@pytest.mark.parametrize("n", [10, 50])
@pytest.mark.parametrize("n_at_once", [1, 2])
def test_outputs_lie_pixel_by_pixel_and_may_be_written_to(n, n_at_once):
    """Catches a view of maps that lie channel by channel, and arrays that are read-only."""
    network = nn.Sequential(nn.Flatten(), nn.Unflatten(1, (3, 8, 8)))
    network.register_buffer("zero", torch.zeros(()))
    (maps,) = predict_layers(LayerOutputs(network, [Source("1")]), IMAGES[:n], 16, n_at_once)
    assert_array_equal(maps, IMAGES[:n])
    assert maps.flags.c_contiguous
    maps += 1


def test_outputs_have_the_type_of_the_network(network):
    """Catches float32 in between, which loses what was asked for."""
    double = nn.Sequential(nn.Conv2d(3, 2, 1), nn.Flatten()).double()
    double.register_buffer("zero", torch.zeros(()))
    images = np.random.default_rng(0).random((20, 4, 4, 3))
    (vector,) = predict_layers(LayerOutputs(double, [Source("1")]), images, 8)
    assert vector.dtype == np.float64
    with torch.no_grad():
        whole = double(torch.from_numpy(images.transpose(0, 3, 1, 2).copy())).numpy()
    assert_allclose(vector, whole, rtol=1e-12)


@pytest.mark.parametrize(
    ("rows", "text"), [([7, 30], "2 of 50 images, the first of them X[7]"), ([49], "1 of 50 ")]
)
def test_outputs_that_are_not_finite_are_an_error(network, rows, text):
    """Catches features that stop a later step of a pipeline with an error of its own, and rows that
    are counted within their chunk. The layer asked for counts, not what lies behind it."""
    images = IMAGES.astype(np.float64)
    images[rows] = 1e308
    with pytest.raises(ValueError, match=re.escape(text)) as caught:
        outputs(network, images)
    assert str(caught.value).endswith("from those seen during fit. Scale them in the same way.")
    images[rows] = 1e38
    network.layers[3].weight.data *= 1e9
    finite = predict_layers(LayerOutputs(network, SOURCES[:2]), images, CHUNK)
    assert all(np.isfinite(values).all() for values in finite)
    with pytest.raises(ValueError, match=re.escape(text)):
        outputs(network, images)


def test_outputs_of_a_network_in_training_mode(network):
    """Catches statistics of the chunk, and a mode that stays changed: predict works beside it."""
    expected = outputs(network, IMAGES)
    network.train()
    assert_equal_outputs(outputs(network, IMAGES), expected)
    assert network.training


class NeedsMemory(nn.Sequential):
    """Runs out of memory above 5 images, as a GPU does."""

    def forward(self, pixels):
        if len(pixels) > 5:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return super().forward(pixels)


def test_memory_that_runs_out_halves_the_chunk_of_outputs(network):
    """Catches an image that is lost or doubled where the chunk changes."""
    tight = NeedsMemory(network)
    sources = [Source(f"0.{layer}", is_input) for layer, is_input in SOURCES]
    found = predict_layers(LayerOutputs(tight, sources), IMAGES, 16)
    for values, others in zip(found, outputs(network, IMAGES), strict=True):
        assert_allclose(values, others, atol=1e-5)
