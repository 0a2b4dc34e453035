"""The cache of features: each image is computed once, over folds, candidates and runs."""

import numpy as np
import pytest
import torch
from joblib import Memory, parallel_config
from numpy.testing import assert_array_equal
from PIL import Image
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from torch import nn

from sklearn_cnn import ImageReader, PretrainedFeatures
from sklearn_cnn.pretrained import extractor, features

IMAGES = np.random.default_rng(0).integers(1, 256, (24, 6, 5, 3), dtype=np.uint8)
LABELS = np.arange(24) % 2

computed: list[bytes] = []


class Counting(nn.Module):
    """Notes each image that it computes, but for blank ones that fill up chunks, and noise."""

    def __init__(self, seed=0):
        super().__init__()
        torch.manual_seed(seed)
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, images):
        computed.extend(
            image.numpy().tobytes() for image in images if image.min() >= 0 < image.max()
        )
        return self.conv(images)


def make_other():
    return Counting(1)


@pytest.fixture
def cached(tmp_path, monkeypatch):
    monkeypatch.setattr(extractor, "_kept", [])
    computed.clear()
    # as many pixels a chunk as one image has; a mean of zero keeps blank images blank
    monkeypatch.setattr(features, "PIXELS_OF_A_CHUNK", 30)
    return PretrainedFeatures(Counting, mean=0, std=1, cache=tmp_path / "cache")


def test_a_search_computes_each_image_once(cached):
    model = make_pipeline(cached, LogisticRegression())

    search = GridSearchCV(model, {"logisticregression__C": [0.01, 0.1, 1, 10]}, cv=3)
    search.fit(IMAGES, LABELS)

    assert len(computed) == len(set(computed)) == 24
    assert search.best_estimator_.predict(IMAGES).shape == (24,)
    assert len(computed) == 24


def test_features_from_the_cache_are_those_that_were_computed(cached):
    expected = clone(cached).set_params(cache=None).transform(IMAGES)

    assert_array_equal(cached.transform(IMAGES), expected)
    assert_array_equal(cached.transform(IMAGES[::-1]), expected[::-1])
    assert_array_equal(clone(cached).transform(IMAGES[3:4]), expected[3:4])
    assert not cached.transform(IMAGES).flags.writeable


def test_equal_images_are_computed_once_in_any_layout_and_type(cached):
    cached.transform(np.concatenate([IMAGES[:2], IMAGES[:2]]))
    cached.transform(IMAGES[:2].transpose(0, 3, 1, 2))
    cached.transform(IMAGES[:2].astype("float64"))
    cached.transform(np.asfortranarray(IMAGES[:2]))

    assert len(computed) == 2


def test_what_makes_other_features_is_computed_anew(cached):
    cached.transform(IMAGES[:1])
    for other in (
        clone(cached).set_params(network=make_other),
        clone(cached).set_params(mean=0.1),
        clone(cached).set_params(std=0.5),
    ):
        found = other.transform(IMAGES[:1])
        assert_array_equal(found, clone(other).set_params(cache=None).transform(IMAGES[:1]))
    before = len(computed)
    cached.transform(IMAGES[:1, :, ::-1])
    cached.transform(IMAGES[:1].reshape(1, 5, 6, 3))

    assert len(computed) == before + 2


class First(Counting):
    def forward(self, images):
        return super().forward(images)[:, :, :2, :2]


class Last(Counting):
    def forward(self, images):
        return super().forward(images)[:, :, -2:, -2:]


Last.__name__ = "First"  # as in a notebook, whose cell was edited and has run again


def test_networks_that_differ_in_code_alone_do_not_share_features(cached):
    """Catches features of a forward that was edited since; its layers and weights are the same."""
    cached.set_params(network=First).transform(IMAGES)
    found = clone(cached).set_params(network=Last).transform(IMAGES)

    assert_array_equal(found, PretrainedFeatures(Last, mean=0, std=1).transform(IMAGES))


def test_folds_that_are_computed_side_by_side_wait_for_each_other(cached):
    """Catches images that two workers compute at once."""
    model = make_pipeline(cached, LogisticRegression())

    with parallel_config("threading", n_jobs=2):
        GridSearchCV(model, {"logisticregression__C": [0.1, 1]}, cv=3).fit(IMAGES, LABELS)

    assert len(computed) == len(set(computed)) == 24


def test_an_interrupted_run_keeps_what_was_computed(cached, monkeypatch):
    monkeypatch.setattr(features, "IMAGES_OF_A_WRITE", 5)
    forward = Counting.forward

    def interrupted(self, images):
        if len(computed) >= 12:
            raise KeyboardInterrupt
        return forward(self, images)

    monkeypatch.setattr(Counting, "forward", interrupted)
    with pytest.raises(KeyboardInterrupt):
        cached.set_params(n_jobs=1).transform(IMAGES)
    monkeypatch.setattr(Counting, "forward", forward)
    computed.clear()

    found = cached.transform(IMAGES)

    assert len(computed) == 24 - 10  # two whole writes of five
    assert_array_equal(found, clone(cached).set_params(cache=None).transform(IMAGES))


def test_the_folder_may_be_that_of_an_image_reader(cached, tmp_path):
    """Catches entries of one that the other takes for its own."""
    paths = [tmp_path / f"{number}.png" for number in range(4)]
    for path, image in zip(paths, IMAGES[:4], strict=True):
        Image.fromarray(image).save(path)
    reader = ImageReader(size=(6, 5), cache=cached.cache)
    model = make_pipeline(reader, cached)

    first = model.fit_transform(paths)

    assert_array_equal(first, clone(cached).set_params(cache=None).transform(IMAGES[:4]))
    computed.clear()
    assert_array_equal(clone(model).fit_transform(paths[::-1]), first[::-1])
    assert_array_equal(clone(reader).transform(paths), IMAGES[:4])
    assert not computed


def test_the_folder_may_be_a_joblib_memory(cached, tmp_path):
    cached.set_params(cache=Memory(tmp_path / "memory", verbose=0)).transform(IMAGES)
    cached.transform(IMAGES)
    assert len(computed) == 24

    cached.set_params(cache=Memory(None)).transform(IMAGES)
    assert len(computed) == 48


def test_a_folder_that_cannot_be_written_to_is_named(cached, tmp_path):
    path = tmp_path / "file"
    path.write_text("")

    with pytest.raises(OSError, match=r"in the folder of cache=.*space for the features"):
        cached.set_params(cache=path / "cache").transform(IMAGES)


def test_a_limit_that_is_too_small_is_named(cached):
    with pytest.raises(ValueError, match="Increase cache_limit"):
        cached.set_params(cache_limit=100).transform(IMAGES)


def test_verbose_says_what_the_cache_holds(cached, capsys):
    cached.set_params(verbose=1).transform(IMAGES)

    assert "PretrainedFeatures's cache: 24 images" in capsys.readouterr().out
