"""PretrainedFeatures: features that depend on an image alone, in all layouts and ranges."""

import pickle
import threading
from functools import partial

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from torch import nn

from sklearn_cnn import ImageReader, PretrainedFeatures
from sklearn_cnn.network.pretrained import load_pretrained
from sklearn_cnn.pretrained import extractor, features

IMAGES = np.random.default_rng(0).integers(0, 256, (10, 6, 5, 3), dtype=np.uint8)


def make_tiny(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU())


def make_vectors():
    return nn.Sequential(make_tiny(), nn.AdaptiveAvgPool2d(1), nn.Flatten())


TINY = PretrainedFeatures(make_tiny, mean=0.5, std=0.25)


@pytest.fixture(autouse=True)
def no_network_kept(monkeypatch):
    monkeypatch.setattr(extractor, "_kept", [])


@pytest.fixture(scope="module")
def expected():
    """The features by hand: standardised as fractions, then averaged maps."""
    pixels = torch.from_numpy(IMAGES).permute(0, 3, 1, 2).double() / 255
    with torch.inference_mode():
        return make_tiny().double().eval()((pixels - 0.5) / 0.25).mean((2, 3)).numpy()


def test_features_are_those_of_the_network(expected):
    found = TINY.transform(IMAGES)

    assert found.dtype == np.float32
    assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    vectors = clone(TINY).set_params(network=make_vectors).transform(IMAGES)
    assert_allclose(vectors, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "images",
    [
        IMAGES.astype("int64"),
        IMAGES.astype("float32"),
        IMAGES / 255,
        IMAGES.transpose(0, 3, 1, 2),
        IMAGES[:, ::-1][:, ::-1],
        torch.from_numpy(IMAGES),
        list(IMAGES),
    ],
    ids=["int64", "levels", "fractions", "channels_first", "view", "tensor", "list"],
)
def test_layout_and_range_do_not_matter(images, expected):
    assert_allclose(TINY.transform(images), expected, rtol=1e-5, atol=1e-5)


def test_rows_need_the_shape_of_their_images(expected):
    rows = clone(TINY).set_params(image_shape=(6, 5, 3))

    assert_allclose(rows.fit_transform(IMAGES.reshape(10, -1)), expected, rtol=1e-5, atol=1e-5)
    assert rows.n_features_in_ == 90
    with pytest.raises(ValueError, match="features"):
        rows.transform(IMAGES.reshape(10, -1)[:, :80])


def test_gray_is_repeated_in_all_channels():
    gray = IMAGES[..., :1]

    assert_allclose(
        TINY.transform(gray), TINY.transform(np.repeat(gray, 3, axis=3)), rtol=1e-5, atol=1e-6
    )
    assert_array_equal(TINY.transform(gray[..., 0]), TINY.transform(gray))


@pytest.mark.parametrize("n_jobs", [None, 1, 2, 3, -1])
def test_features_do_not_depend_on_neighbours_or_threads(n_jobs, monkeypatch):
    monkeypatch.setattr(features, "PIXELS_OF_A_CHUNK", 4 * 30)
    everything = clone(TINY).set_params(n_jobs=1).transform(IMAGES)

    found = clone(TINY).set_params(n_jobs=n_jobs)
    assert_array_equal(found.transform(IMAGES), everything)
    for row in range(10):
        assert_array_equal(found.transform(IMAGES[row : row + 1])[0], everything[row])
    assert_array_equal(found.transform(IMAGES[::-1]), everything[::-1])


class Notes(nn.Module):
    """Keeps what it computes as an attribute, which threads must not share."""

    def __init__(self):
        super().__init__()
        self.layers = make_tiny()

    def forward(self, images):
        self.seen = images
        maps = self.layers(images)
        return maps + 0 * self.seen[:, :1]


def test_a_module_that_keeps_what_it_computes_is_replicated_for_each_thread(monkeypatch):
    monkeypatch.setattr(features, "PIXELS_OF_A_CHUNK", 30)
    many = np.concatenate([IMAGES] * 8)

    found = clone(TINY).set_params(network=Notes)
    assert_array_equal(
        found.set_params(n_jobs=3).transform(many), found.set_params(n_jobs=1).transform(many)
    )


def test_nothing_is_written_to():
    images = IMAGES / 255
    images.flags.writeable = False
    before = dict(vars(TINY))

    TINY.transform(images)

    assert vars(TINY) == before
    assert torch.is_grad_enabled()


def test_a_pickle_holds_no_weights(expected):
    fitted = clone(TINY).fit(IMAGES)

    data = pickle.dumps(fitted)

    assert len(data) < 2000
    assert_array_equal(pickle.loads(data).transform(IMAGES), fitted.transform(IMAGES))


def test_names_and_frames(expected):
    named = PretrainedFeatures()
    assert named.get_feature_names_out()[[0, -1]].tolist() == [
        "pretrainedfeatures0",
        "pretrainedfeatures1279",
    ]
    with pytest.raises(NotFittedError):
        TINY.get_feature_names_out()
    frame = clone(TINY).fit(IMAGES).set_output(transform="pandas").transform(IMAGES)
    assert frame.columns.tolist() == [f"pretrainedfeatures{i}" for i in range(4)]
    assert_allclose(frame, expected, rtol=1e-5, atol=1e-6)


def test_mean_and_std_of_each_channel(expected):
    each = clone(TINY).set_params(mean=[0.5] * 3, std=(0.25, 0.25, 0.25))

    assert_array_equal(each.transform(IMAGES), TINY.transform(IMAGES))


def test_other_numbers_of_channels_come_with_their_means():
    network = partial(nn.Conv2d, 13, 2, 1)
    bands = np.random.default_rng(0).random((3, 6, 5, 13))

    with pytest.raises(ValueError, match=r"13 channels, but the network needs 3.*Pass mean="):
        PretrainedFeatures(network, mean=0, std=1, data_format="channels_last").transform(bands)
    found = PretrainedFeatures(network, mean=[0] * 13, std=1, data_format="channels_last")
    assert found.transform(bands).shape == (3, 2)


class LikeTimm(nn.Module):
    pretrained_cfg = {"mean": (0.5, 0.5, 0.5), "std": (0.25, 0.25, 0.25)}  # noqa: RUF012

    def __init__(self):
        super().__init__()
        self.layers = make_tiny()

    def forward(self, images):
        return self.layers(images)


class LikeOpenClip(LikeTimm):
    pretrained_cfg = None
    preprocess_cfg = LikeTimm.pretrained_cfg


def test_a_module_may_say_how_its_images_are_standardised(expected):
    found = PretrainedFeatures(LikeTimm).transform(IMAGES)

    assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    assert_array_equal(PretrainedFeatures(LikeOpenClip).transform(IMAGES), found)
    assert not np.allclose(PretrainedFeatures(LikeTimm, mean=0.4).transform(IMAGES), expected)


class LikeSwin(nn.Module):
    """Gives maps with the channels last."""

    def __init__(self):
        super().__init__()
        self.layers = make_tiny()

    def forward(self, images):
        return self.layers(images).permute(0, 2, 3, 1)


class Chance(nn.Module):
    def forward(self, images):
        return nn.functional.dropout(images)


class Views(nn.Module):
    """Views its maps as vectors, which those in channels_last memory cannot be."""

    def __init__(self):
        super().__init__()
        self.layers = make_tiny()

    def forward(self, images):
        return self.layers(images).view(len(images), -1)


class Locked(Notes):
    """Cannot be copied, and must not be shared by threads."""

    def __init__(self):
        super().__init__()
        self.lock = threading.Lock()


@pytest.mark.parametrize(
    ("sides", "maps", "is_first"),
    [
        ((224, 224), (768, 7, 7), True),
        ((224, 224), (7, 7, 768), False),
        ((224, 224), (7, 7, 8), False),
        ((96, 160), (3, 5, 768), False),
        ((96, 160), (768, 3, 5), True),
        ((33, 63), (4, 2, 2), True),  # rounded up
        ((8, 8), (1, 1, 1), True),
        ((8, 8), (3, 1, 1), True),
    ],
)
def test_where_the_channels_of_maps_stand(sides, maps, is_first):
    outputs, shape = torch.ones(2, *maps), torch.Size((2, 3, *sides))
    if is_first:
        assert extractor._as_features(outputs, shape).shape == (2, maps[0])
    else:
        with pytest.raises(TypeError, match=r"permute\(0, 3, 1, 2\)"):
            extractor._as_features(outputs, shape)


def test_a_module_that_needs_contiguous_memory_has_it():
    found = clone(TINY).set_params(network=Views).transform(IMAGES)

    assert_allclose(found.reshape(10, 4, 30).mean(2), TINY.transform(IMAGES), atol=1e-5)


def test_images_of_a_wrong_size_do_not_change_those_to_come():
    """Catches a network that is left in contiguous memory, where sums round otherwise."""
    tiny = clone(TINY).set_params(network=make_wide, data_format="channels_last")
    expected = clone(tiny).transform(IMAGES)
    extractor._kept.clear()

    with pytest.raises(ValueError, match="cannot take images of 4 x 5"):
        tiny.transform(IMAGES[:, :4])

    assert_array_equal(tiny.transform(IMAGES), expected)
    assert extractor._kept[0][1].memory_format is torch.channels_last


def make_wide():
    torch.manual_seed(0)
    return nn.Conv2d(3, 64, 5)


def test_a_module_that_cannot_be_copied_computes_in_one_thread(monkeypatch):
    monkeypatch.setattr(features, "PIXELS_OF_A_CHUNK", 30)
    many = np.concatenate([IMAGES] * 8)

    found = clone(TINY).set_params(network=Locked, n_jobs=3).transform(many)

    assert_array_equal(found, clone(TINY).set_params(network=Notes, n_jobs=1).transform(many))


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"mean": None}, "Pass mean= and std= as fractions"),
        ({"mean": 127.5}, "Divide it by 255"),
        ({"mean": [0.5, 0.5]}, "images with 3 channels, but the network needs 2"),
        ({"mean": [0.5, 0.5], "std": [1, 1, 1]}, "one value per channel"),
        ({"mean": [[0.5]]}, "a number, or one number per channel"),
        ({"std": 0}, "std must be above 0"),
        ({"std": float("nan")}, "a number, or one number per channel"),
        ({"network": "resnet"}, "network must be one of efficientnet_lite0"),
        ({"network": lambda: nn.Flatten(0)}, r"features of shape \(n, k\)"),
        ({"network": lambda: nn.Flatten(2)}, r"class token of \(n, tokens, k\)"),
        ({"network": lambda: nn.Conv2d(3, 2, 9)}, "cannot take images of 6 x 5 pixels"),
        ({"network": make_tiny()}, "Pass a function that makes it"),
        ({"network": lambda: 3}, "returned int"),
        ({"network": lambda size: make_tiny()}, r"callable as network\(\)"),
        ({"network": partial(nn.Conv2d, 3, 2, 1, device="meta")}, "'meta' device"),
        ({"network": LikeSwin}, r"maps\.permute\(0, 3, 1, 2\)"),
        ({"network": Chance}, r"training=self\.training to functional\.dropout"),
        (
            {"network": partial(nn.BatchNorm2d, 3, track_running_stats=False)},
            "depend on the other images of a batch",
        ),
        ({"network": partial(nn.LazyConv2d, 2, 3)}, "Call the module once"),
        (
            {"network": partial(nn.Conv2d, 1, 2, 1)},
            "If it needs another number of channels, pass mean=",
        ),
        ({"cache": ""}, "cache='' is not a folder"),
        ({"device": "gpu"}, "Did you mean 'cuda'"),
    ],
)
@pytest.mark.parametrize("method", ["fit", "transform"])
def test_what_is_wrong_is_named(parameters, message, method):
    wrong = clone(TINY).set_params(**parameters)
    if method == "fit" and "cache" in parameters:
        return  # which fit does not open

    with pytest.raises((ValueError, TypeError), match=message):
        getattr(wrong, method)(IMAGES[:, :5] if wrong.network is LikeSwin else IMAGES)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((2, 1, 1), np.uint8), r"images of 1 x 1 pixels, .* at least 32 x 32"),
        (np.zeros((2, 200, 31, 3), np.uint8), r"ImageReader\(size=224\)"),
        (np.zeros((2, 32, 32, 4), np.uint8), r"with 4 channels.*ImageReader\(mode='RGB'\)"),
        (np.zeros((2, 32, 32, 2), np.uint8), r"with 2 channels.*ImageReader\(mode='RGB'\)"),
        (np.full((2, 32, 32, 3), 300), "whole numbers from 0 to 255"),
        (np.full((2, 32, 32, 3), np.nan), "NaN"),
        (["a.jpg"], "Use ImageReader to read the files"),
    ],
)
def test_images_that_a_published_network_cannot_take(images, message):
    with pytest.raises((ValueError, TypeError), match=message):
        PretrainedFeatures().transform(images)


def test_features_that_are_not_finite_are_refused():
    with pytest.raises(ValueError, match=r"10 of 10 images are not finite, .*X\[0\]"):
        clone(TINY).set_params(network=Infinite).transform(IMAGES)


class Infinite(nn.Module):
    def forward(self, images):
        return images[:, :2] * float("inf")


def test_weights_of_a_user_defined_network_come_from_a_file(tmp_path):
    path = tmp_path / "weights.pth"
    torch.save(make_tiny(1).state_dict(), path)

    found = clone(TINY).set_params(weights=path).transform(IMAGES)

    other = clone(TINY).set_params(network=partial(make_tiny, 1)).transform(IMAGES)
    assert_array_equal(found, other)
    torch.save(make_tiny(2).state_dict(), path)  # another file under the name is another network
    changed = clone(TINY).set_params(weights=path).transform(IMAGES)
    assert not np.array_equal(changed, found)
    torch.save(nn.Linear(2, 1).state_dict(), path)
    with pytest.raises(ValueError, match="are not the weights of the module"):
        clone(TINY).set_params(weights=path).transform(IMAGES)
    with pytest.raises(FileNotFoundError):
        clone(TINY).set_params(weights=tmp_path / "missing.pth").transform(IMAGES)


def test_the_last_networks_are_kept_for_the_next_call():
    made = []

    def make(seed):
        made.append(seed)
        return make_tiny(seed)

    for seed in (0, 0, 1, 0, 2, 1):
        clone(TINY).set_params(network=partial(make, seed)).transform(IMAGES)

    assert made == [0, 1, 2, 1]


def test_threads_may_transform_at_once():
    expected = TINY.transform(IMAGES)
    found = []
    threads = [
        threading.Thread(target=lambda: found.append(clone(TINY).transform(IMAGES)))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(found) == 4
    assert all(np.array_equal(values, expected) for values in found)


def test_the_published_network_with_its_norms_folded():
    images = np.random.default_rng(0).integers(0, 256, (3, 40, 33, 3), dtype=np.uint8)
    pixels = (torch.from_numpy(images).permute(0, 3, 1, 2).float() - 127.5) / 127.5
    with torch.inference_mode():
        expected = load_pretrained("efficientnet_lite0")(pixels).mean((2, 3)).numpy()

    found = PretrainedFeatures().transform(images)

    assert found.shape == (3, 1280)
    assert_allclose(found, expected, atol=2e-5)


def test_a_pipeline_from_images_to_labels():
    rng = np.random.default_rng(0)
    dark, light = rng.integers(0, 90, (12, 40, 40, 3)), rng.integers(160, 256, (12, 40, 40, 3))
    images = np.concatenate([dark, light]).astype(np.uint8)
    labels = np.repeat(["dark", "light"], 12)
    model = make_pipeline(ImageReader(size=32), PretrainedFeatures(), LogisticRegression())

    search = GridSearchCV(model, {"imagereader__size": [32, 40]}, cv=3).fit(list(images), labels)

    assert search.best_score_ > 0.9
    assert search.predict(list(images[:1])).tolist() == ["dark"]


def test_a_bar_shows_the_images(capsys):
    clone(TINY).set_params(verbose=1).transform(IMAGES)

    assert "10/10" in capsys.readouterr().err
