"""The smallest and the largest images, and classes with hardly a member."""

import resource

import numpy as np
import pytest

from sklearn_cnn import CNNClassifier
from sklearn_cnn.machine import device as memory


@pytest.mark.parametrize(
    "shape", [(1, 1), (1, 2), (2, 1), (1, 50), (50, 1), (2, 2), (3, 3), (5, 4), (1, 1, 3)]
)
@pytest.mark.parametrize("parameters", [{}, {"kernel_size": 7, "pool_size": 5}])
def test_images_smaller_than_kernels_and_pools(small, shape, parameters):
    rng = np.random.default_rng(0)
    y = np.arange(20) % 2
    X = rng.normal(y.reshape(-1, *[1] * len(shape)), 0.1, (20, *shape))
    model = small(
        data_format="channels_last" if len(shape) == 3 else "auto",
        conv_channels="auto",
        max_epochs=40,
        learning_rate=0.02,
        **parameters,
    ).fit(X, y)
    assert model.image_shape_ == (*shape, 1)[:3]
    assert model.score(X, y) == 1


def test_a_batch_of_one_tiny_image(small):
    """PyTorch's batch normalisation refuses a single value for each channel."""
    model = small().partial_fit(np.zeros((1, 1, 1)), [0], classes=[0, 1])
    assert model.predict(np.zeros((3, 1, 1))).shape == (3,)


def test_huge_images_go_through_in_pieces(small, monkeypatch):
    """A batch that would not fit in the memory is cut; without the cut this takes 1.3 GB more."""
    monkeypatch.setattr(memory, "MEMORY_FOR_ACTIVATIONS", 100 << 20)
    X = np.random.default_rng(0).integers(0, 256, (32, 512, 512), dtype=np.uint8)
    model = small(conv_channels=[4], dense_units=(), max_epochs=1)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    model.fit(X, np.arange(32) % 2).predict(X)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    values = sum(np.prod(row.output_shape) for row in model.layers_)
    assert model.net_.images_per_pass == (100 << 20) // (values * 4 * 3) < 32
    assert grown < 800 << 20


def test_pieces_do_not_change_a_prediction(small, bars, monkeypatch):
    images, y = bars
    model = small().fit(images, y)
    expected = model.predict_proba(images)
    monkeypatch.setattr(memory, "CHUNK", 3)
    assert model.net_.chunk == 3
    np.testing.assert_allclose(model.predict_proba(images), expected, rtol=1e-5)


def test_a_class_with_one_member_trains_beside_a_validation_split(small, bars):
    images, y = bars
    labels = np.where(np.arange(200) == 7, "rare", np.array(["row", "column"])[y])
    model = small(early_stopping=True).fit(images, labels)
    assert list(model.classes_) == ["column", "rare", "row"]


def test_classes_of_one_member_each_cannot_be_split(bars):
    images, _ = bars
    model = CNNClassifier(early_stopping=True)
    with pytest.raises(ValueError, match="every class, such as 'a', has a single image"):
        model.fit(images[:3], ["a", "b", "c"])


def test_more_classes_than_images_in_a_batch(small):
    rng = np.random.default_rng(0)
    X, y = rng.random((60, 4, 4)), np.arange(60) // 2
    model = small(batch_size=5, early_stopping=True, validation_fraction=0.5).fit(X, y)
    assert model.predict_proba(X).shape == (60, 30)
