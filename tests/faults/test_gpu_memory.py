"""A GPU out of memory. Prediction halves its chunk; every other error passes through."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from torch import nn

from sklearn_cnn.training.prediction import predict_outputs

IMAGES = np.random.default_rng(0).integers(0, 256, (50, 6, 6, 1), dtype=np.uint8)
IMAGES.flags.writeable = False


class Network(nn.Module):
    """Runs out of memory above some images at once, as a GPU does; notes how many it is given."""

    def __init__(self, most, error=torch.OutOfMemoryError, text="CUDA out of memory"):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.layers = nn.Sequential(
                nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(64, 3)
            )
        self.most, self.error, self.text, self.sizes = most, error, text, []

    def forward(self, pixels):
        self.sizes.append(len(pixels))
        if len(pixels) > self.most:
            raise self.error(f"{self.text}. Tried to allocate 20.00 GiB.")
        return self.layers(pixels.float() / 255)


def network(most, **options):
    return Network(most, **options).eval()


@pytest.mark.parametrize("n", [1, 15, 16, 17, 50])
@pytest.mark.parametrize(
    ("most", "chunk", "tried"),
    [
        (16, 16, [16]),
        (15, 16, [16, 8]),
        (8, 16, [16, 8]),
        (7, 16, [16, 8, 4]),
        (1, 16, [16, 8, 4, 2, 1]),
        (1, 5, [5, 3, 2, 1]),
        (2, 7, [7, 4, 2]),
        (1, 2, [2, 1]),
        (1, 1, [1]),
    ],
)
def test_chunks_are_halved_until_they_fit(n, most, chunk, tried):
    """Both sides of what fits, odd chunks, and all images once, in order.

    Catches an image lost or doubled where the chunk changes, a chunk that grows again, and one of
    zero images, which is a loop without end.
    """
    small = network(most)
    logits = predict_outputs(small, IMAGES[:n], chunk)
    assert logits.shape == (n, 3)
    assert_allclose(logits, predict_outputs(network(1000), IMAGES[:n], chunk), atol=1e-5)
    fits = tried[-1]
    assert small.sizes == tried[:-1] + [fits] * -(-n // fits)


def test_memory_that_runs_out_half_way():
    """Two chunks fit, then another program takes the memory. What was computed is kept.

    Catches a prediction that begins again, and rows that are counted by the new chunk.
    """
    shrinking = network(16)
    forward = shrinking.layers.forward

    def take_memory(pixels):
        if len(shrinking.sizes) == 2:
            shrinking.most = 5
        return forward(pixels)

    shrinking.layers.forward = take_memory
    logits = predict_outputs(shrinking, IMAGES, 16)
    assert shrinking.sizes == [16, 16, 16, 8, 4, 4, 4, 4, 4]  # 18 images are left for the last
    assert_allclose(logits, predict_outputs(network(1000), IMAGES, 16), atol=1e-5)


def test_a_single_image_that_does_not_fit_raises():
    """Catches a loop without end, and an error that hides that memory was short."""
    small = network(0)
    with pytest.raises(torch.OutOfMemoryError, match="Tried to allocate"):
        predict_outputs(small, IMAGES, 8)
    assert small.sizes == [8, 4, 2, 1]


@pytest.mark.parametrize(
    "error", [RuntimeError, NotImplementedError, MemoryError, ValueError, KeyboardInterrupt]
)
def test_other_errors_pass_through_at_once(error):
    """A RuntimeError is the parent of torch's. Catches an error of a kernel that is tried again."""
    broken = network(4, error=error)
    with pytest.raises(error, match="Tried to allocate") as caught:
        predict_outputs(broken, IMAGES, 16)
    assert caught.type is error
    assert broken.sizes == [16]


def test_memory_that_runs_out_on_mps():
    """It raises a RuntimeError, and says so in words alone."""
    small = network(5, error=RuntimeError, text="MPS backend out of memory")
    logits = predict_outputs(small, IMAGES, 16)
    assert small.sizes[:3] == [16, 8, 4]
    assert_allclose(logits, predict_outputs(network(1000), IMAGES, 16), atol=1e-5)


def test_the_next_prediction_begins_with_a_whole_chunk():
    """Memory may be free again. Catches a model that stays slow, and one that predict changes."""
    small = network(3)
    first = predict_outputs(small, IMAGES[:4], 8)
    tried, small.sizes = small.sizes, []
    assert_array_equal(predict_outputs(small, IMAGES[:4], 8), first)
    assert small.sizes == tried == [8, 4, 2, 2]
    small.most, small.sizes = 8, []
    predict_outputs(small, IMAGES[:4], 8)
    assert small.sizes == [8]


def own_network(image_shape, n_outputs):
    made = network(1000)
    made.layers[3] = nn.Linear(64, n_outputs)
    return made


def test_the_estimator_predicts_the_same_in_less_memory(small):
    """And is not changed by it. Catches a fitted attribute that prediction sets."""
    y = np.arange(50) % 3
    model = small(layers=own_network, max_epochs=1).fit(IMAGES, y)
    expected, before = model.predict_proba(IMAGES), dict(vars(model))
    inner = model.net_.module_.network
    inner.most, inner.sizes = 10, []
    assert_allclose(model.predict_proba(IMAGES), expected, atol=1e-6)
    assert inner.sizes[0] > 10 >= inner.sizes[-1]
    assert vars(model) == before
    inner.most = 0
    with pytest.raises(torch.OutOfMemoryError):
        model.predict(IMAGES)
    inner.most = 1000
    assert_array_equal(model.predict_proba(IMAGES), expected)
