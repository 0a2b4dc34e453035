"""A chunk that images do not fill is computed smaller, and no bit changes."""

import numpy as np
import pytest
import torch
from torch import nn

from sklearn_cnn import CNNClassifier, Conv, Dense, Flatten, Pool
from sklearn_cnn.training import small_chunks
from sklearn_cnn.training.prediction import WORTH_SHARING

SHAPES = [(8, 8), (28, 28), (32, 32, 3), (15, 40, 2)]


@pytest.fixture(scope="module", params=SHAPES, ids=str)
def fitted(request):
    images = np.random.default_rng(0).integers(0, 256, (150, *request.param), dtype=np.uint8)
    model = CNNClassifier((8, 16), dense_units=16, max_epochs=1, random_state=0)
    return model.fit(images, np.arange(150) % 3), images


def test_any_number_of_images_has_the_same_bits(fitted):
    model, images = fitted
    expected = model.predict_proba(images)
    for n in (*range(1, 19), 31, 32, 33, 47, 63, 64, 65, 128, 129):
        np.testing.assert_array_equal(model.predict_proba(images[-n:]), expected[-n:], str(n))


@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("n_classes", [2, 5])
def test_other_arithmetic(n_classes, precision):
    images = np.random.default_rng(1).normal(size=(70, 12, 12)).astype(np.float32)
    layers = [Conv(6, 5), Pool("mean", 2), Flatten(), Dense(7)]
    model = CNNClassifier(layers=layers, precision=precision, max_epochs=1, random_state=0)
    model.fit(images, np.arange(70) % n_classes)
    expected = model.predict_proba(images)
    for n in (1, 2, 3, 5, 9, 17):
        np.testing.assert_array_equal(model.predict_proba(images[:n]), expected[:n], str(n))


def sizes_seen(layer, call):
    seen = []
    handle = layer.register_forward_hook(lambda _, values, __: seen.append(len(values[0])))
    call()
    handle.remove()
    return seen


def test_few_images_compute_few(fitted):
    """A chunk has 64; the processors known so far convolve as many images as there are."""
    model, images = fitted
    convolution = model.net_.module_.conv1
    for n in (1, 8):
        model.predict(images[:n])  # finds the size
        assert sizes_seen(convolution, lambda n=n: model.predict(images[:n]))[0] <= 2 * n


def test_sizes_are_tried_once(fitted):
    model, images = fitted
    convolution = model.net_.module_.conv1
    model.predict(images[:3])
    assert len(sizes_seen(convolution, lambda: model.predict(images[:4]))) == 1


class SumOfAll(nn.Module):
    """Adds what the images have together, in which every size differs."""

    def forward(self, values):
        return values + values.sum()


class LeastTogether(nn.Module):
    """Rounds otherwise below a number of images, as a matrix product may."""

    def forward(self, values):
        return values * (3 if len(values) < 16 else 1)


@pytest.mark.parametrize(("layer", "size"), [(SumOfAll(), 40), (LeastTogether(), 16)])
def test_a_size_that_rounds_otherwise_is_not_taken(layer, size):
    values = torch.randn((40, 3), generator=torch.Generator().manual_seed(0))
    assert small_chunks._smallest([nn.Identity(), layer], values, 2) == size


def test_values_that_are_not_numbers_take_the_whole_chunk():
    values = torch.full((40, 3), torch.nan)
    assert small_chunks._smallest([nn.Identity()], values, 2) == 40


def test_nothing_is_drawn_from_torch(fitted):
    model, images = fitted
    before = torch.get_rng_state()
    small_chunks._known.clear()
    model.predict(images[:1])
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("n_threads", [1, 2, 3, 4])
def test_threads_share_a_chunk(fitted, n_threads):
    model, images = fitted
    expected = model.predict_proba(images)
    found = torch.get_num_threads()
    torch.set_num_threads(n_threads)
    try:
        for n in (15, 16, 17, 40, 64, 100):
            np.testing.assert_array_equal(model.predict_proba(images[:n]), expected[:n], str(n))
        model.predict(images[:64])
        seen = sizes_seen(model.net_.module_.conv1, lambda: model.predict(images[:64]))
    finally:
        torch.set_num_threads(found)
    assert len(seen) == (n_threads if images[:64].size >= WORTH_SHARING else 1)
