"""User-defined modules as people have them: each trains, or says what to change."""

import pickle
import warnings
from copy import deepcopy

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal
from torch import nn
from torch.nn.utils import parametrizations

from sklearn_cnn import CNNClassifier
from sklearn_cnn.inspection.saliency import gradient

SHAPE = (8, 6)
"""Of the images of ``bars``."""


class Made(nn.Module):
    """A convolution and a dense layer; ``forward`` is what a test makes of them."""

    def __init__(self, forward, *, n_outputs=2, parts=()):
        super().__init__()
        self.conv = nn.Conv2d(1, 3, 3)
        self.last = nn.Linear(3 * 6 * 4, n_outputs)
        self.parts = nn.ModuleList(parts)
        self.made = forward

    def plain(self, x):
        return self.last(self.conv(x).relu().flatten(1))

    def forward(self, x):
        return self.made(self, x)


def made(forward, **options):
    """Make a factory of such modules."""
    return lambda image_shape, n_outputs: Made(forward, n_outputs=n_outputs, **options)


def with_aux(self, x):
    return (self.plain(x), self.plain(x)) if self.training else self.plain(x)


def as_dict(self, x):
    return {"logits": self.plain(x)} if self.training else self.plain(x)


def other_shape_in_training(self, x):
    return self.plain(x)[:, :1] if self.training else self.plain(x)


def without_gradient(self, x):
    with torch.no_grad():
        return self.plain(x)


REFUSED = {
    "a tuple in training": (with_aux, r"\(2, 2\) for 2 images in training, got tuple\. The module"),
    "a dict in training": (as_dict, r"in training, got dict\. The module must only return"),
    "a tuple always": (lambda self, x: (self.plain(x),), r"for one image, got tuple\. The module"),
    "another shape in training": (other_shape_in_training, r"in training, got \(2, 1\)\.$"),
    "no gradient": (without_gradient, r"without a gradient.* torch\.no_grad\(\)"),
    "detached": (lambda self, x: self.plain(x).detach(), r"without a gradient.* detach\(\)"),
    "bfloat16": (lambda self, x: self.plain(x).bfloat16(), r"got torch\.bfloat16\. Convert"),
    "whole numbers": (lambda self, x: self.plain(x).long(), r"float32, got torch\.int64\. Conv"),
    "complex numbers": (lambda self, x: self.plain(x) * 1j, r"got torch\.complex64\. Convert"),
    "fails in training": (
        lambda self, x: self.plain(x) / (0 if self.training else 1) if not self.training
        else self.plain(x[:, :, :2]),
        r"cannot be trained on images of shape \(2, 1, 8, 6\) \(n, channels, height, width\): ",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_a_module_gives_is_refused_with_a_remedy(small, bars, name):
    """Also what it gives in training alone. Catches torch's own errors, or none."""
    forward, text = REFUSED[name]
    model = small(layers=made(forward))
    with pytest.raises(ValueError, match=text) as caught:
        model.fit(*bars)
    assert str(caught.value).startswith("The module that layers returned")
    assert not hasattr(model, "net_")


def test_modules_that_cannot_be_taken(small, bars):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        script = torch.jit.script(nn.Flatten())
    with pytest.raises(TypeError, match=r"a TorchScript module\. Return the module from"):
        small(layers=lambda s, n: script).fit(*bars)
    with pytest.raises(ValueError, match=r"'meta' device, .* Make it on the CPU"):
        small(layers=lambda s, n: made(Made.plain)(s, n).to("meta")).fit(*bars)
    with pytest.raises(TypeError, match=r"Got a module, Linear. Pass a function that makes"):
        small(layers=nn.Linear(2, 2)).fit(*bars)
    with pytest.raises(ValueError, match="The network has nothing to learn"):
        small(layers=lambda s, n: nn.Sequential(nn.Flatten(), nn.AdaptiveAvgPool1d(n))).fit(*bars)
    with pytest.raises(ValueError, match=r"^Training diverged"):
        small(layers=made(lambda self, x: self.plain(x) / (x * 0).sum())).fit(*bars)


class FiveDimensions(nn.Module):
    """A convolution over a third direction, and a scale of five axes."""

    def __init__(self, image_shape, n_outputs):
        super().__init__()
        self.conv = nn.Conv3d(1, 2, (1, 3, 3))
        self.scale = nn.Parameter(torch.ones(1, 2, 1, 1, 1))
        self.last = nn.LazyLinear(n_outputs)

    def forward(self, x):
        return self.last((self.conv(x[:, :, None]) * self.scale).flatten(1))


class Spectrum(nn.Module):
    """Complex weights on the Fourier transform of an image."""

    def __init__(self, image_shape, n_outputs):
        super().__init__()
        self.filter = nn.Parameter(torch.ones(8, 4, dtype=torch.complex64) * (1 + 1j))
        self.last = nn.Linear(48, n_outputs)

    def forward(self, x):
        filtered = torch.fft.rfft2(x) * self.filter
        return self.last(torch.fft.irfft2(filtered, s=SHAPE).flatten(1))


class WritesIntoItsInput(nn.Module):
    """Subtracts the mean in place."""

    def __init__(self, image_shape, n_outputs):
        super().__init__()
        self.last = nn.Linear(48, n_outputs)

    def forward(self, x):
        x -= x.mean()
        return self.last(x.flatten(1))


def own_norm(image_shape, n_outputs):
    return nn.Sequential(
        nn.Flatten(), nn.Linear(48, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Linear(5, n_outputs)
    )


def hooked_norm(image_shape, n_outputs):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        conv = nn.utils.weight_norm(nn.Conv2d(1, 3, 3))
    return nn.Sequential(conv, nn.Flatten(), nn.LazyLinear(n_outputs))


TRAINED = {
    "five dimensions": FiveDimensions,
    "complex weights": Spectrum,
    "writes into its input": WritesIntoItsInput,
    "weight norm by a hook": hooked_norm,
    "lazy": lambda s, n: nn.Sequential(
        nn.LazyConv2d(2, 3), nn.LazyBatchNorm2d(), nn.Flatten(), nn.LazyLinear(n)
    ),
}


@pytest.mark.parametrize("name", TRAINED)
def test_unusual_modules_train_on(small, bars, name):
    """In a fit, a warm start, a copy and a drawing; the images stay as they are.

    Catches channels_last asked of five axes, complex weights that lose their imaginary part.
    """
    images, target = bars
    images = images.astype(np.float32)
    before = images.copy()
    model = small(layers=TRAINED[name], max_epochs=2, warm_start=True).fit(images, target)
    if name == "complex weights":
        assert model.net_.module_.network.filter.imag.abs().min() > 0
    expected = deepcopy(model).predict_proba(images)
    assert_array_equal(model.predict_proba(images), expected)
    model.fit(images, target)
    assert not np.array_equal(model.predict_proba(images), expected)
    gradient(model.net_.module_, images[:1, ..., None], target=0)
    assert_array_equal(images, before)


def test_a_batch_of_one_image_before_a_norm(small, bars):
    """65 images of which 64 fit in memory: no pass has one alone. One alone says what to do."""
    images, target = bars
    model = small(layers=own_norm, max_epochs=1, batch_size=65).fit(images[:65], target[:65])
    model.net_.images_per_pass_ = 64
    model.partial_fit(images[:65], target[:65])
    text = r"a single image at a time.* a batch_size above 1, .* torch\.nn\.GroupNorm"
    with pytest.raises(ValueError, match=text):
        model.partial_fit(images[:1], target[:1])
    with pytest.raises(ValueError, match=text):
        small(layers=own_norm, batch_size=1).fit(images[:8], target[:8])


def test_parametrized_layers(small, bars):
    """They train, and pickle says what to do. Catches torch's own text."""

    def layers(image_shape, n_outputs):
        conv = parametrizations.weight_norm(nn.Conv2d(1, 3, 3))
        return nn.Sequential(conv, nn.Flatten(), nn.Linear(72, n_outputs))

    model = small(layers=layers, early_stopping=True).fit(*bars)
    expected = model.predict_proba(bars[0])
    with pytest.raises(pickle.PicklingError, match=r"'network\.0'.*\.state_dict\(\) instead"):
        pickle.dumps(model.net_)
    fresh = small(layers=layers, max_epochs=1).fit(*bars)
    fresh.net_.module_.load_state_dict(model.net_.module_.state_dict())
    assert_array_equal(fresh.predict_proba(bars[0]), expected)


def test_one_instance_at_each_call(small, bars):
    """Catches fits that go on with each other's weights, and an instance that changes."""
    instance = Made(Made.plain)
    weights = deepcopy(instance.state_dict())
    model = small(layers=lambda image_shape, n_outputs: instance, max_epochs=1)
    first = model.fit(*bars).predict_proba(bars[0])
    assert_array_equal(model.fit(*bars).predict_proba(bars[0]), first)
    for name, value in instance.state_dict().items():
        assert torch.equal(value, weights[name]), name


def fitted_body(model):
    """A copy of all layers but the last."""
    return deepcopy(model.net_.module_[:-1]).requires_grad_(False)


WRAPPED = {
    "the whole, with another end": lambda model, n: nn.Sequential(
        *fitted_body(model), nn.LazyLinear(n)
    ),
    "a body in a Sequential": lambda model, n: nn.Sequential(fitted_body(model), nn.LazyLinear(n)),
    "a body deep inside": lambda model, n: nn.Sequential(
        nn.ModuleDict({"body": nn.Sequential(nn.Sequential(fitted_body(model)))})["body"],
        nn.LazyLinear(n),
    ),
}


@pytest.mark.parametrize("name", WRAPPED)
def test_pixels_are_normalised_once(small, bars, name):
    """A copy of a fitted network, or of its body, in another. Catches chance level, silently."""
    images, target = bars
    first = small(max_epochs=5).fit(images, target)
    wrap = WRAPPED[name]
    model = CNNClassifier(layers=lambda s, n: wrap(first, n), max_epochs=1, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.fit(images, target)
    normalize = model.net_.module_.normalize
    pixels = torch.from_numpy(images.copy())[:, None]
    assert torch.equal(normalize(pixels), pixels.float())
    assert torch.equal(normalize.mean, first.net_.module_.normalize.mean)
    expected = first.net_.module_[:-1](pixels)
    assert torch.equal(model.net_.module_.network[:-1](normalize(pixels)), expected)
    again = pickle.loads(pickle.dumps(model.net_.module_))
    assert torch.equal(again.network[:-1](again.normalize(pixels)), expected)

    def copied(image_shape, n_outputs):
        return nn.Sequential(*deepcopy(again.requires_grad_(False)), nn.Linear(2, n_outputs))

    third = CNNClassifier(layers=copied, max_epochs=1).fit(images, target).net_.module_
    torch.testing.assert_close(third.network[:-1](third.normalize(pixels)), again(pixels))


def test_a_fitted_body_that_knows_other_pixels(small, bars):
    """Warned of where the scale is another; refused where the channels are. Both say what to do."""
    images, target = bars
    body = fitted_body(small(max_epochs=1).fit(images, target))
    model = small(layers=lambda s, n: nn.Sequential(body, nn.LazyLinear(n)), max_epochs=1)
    with pytest.warns(UserWarning, match=r"network, whose pixels had .*Scale X like the images"):
        model.fit(images / 255.0, target)
    colour = images[..., None].repeat(3, axis=3)
    with pytest.raises(ValueError, match=r"images of 1 channels, but these images have 3\. Remove"):
        model.fit(colour, target)
    without = small(layers=lambda s, n: nn.Sequential(body[1:], nn.LazyLinear(n)), max_epochs=1)
    assert not without.fit(images, target).net_.module_.normalize.is_left_to_another


class InParts(nn.Sequential):
    """A network of some size that may be trained in parts."""

    trains_in_parts = True

    def __init__(self, n_outputs, drops):
        super().__init__(
            nn.Conv2d(1, 16, 3), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 64, 3), drops,
            nn.InstanceNorm2d(64, track_running_stats=True), nn.Flatten(), nn.LazyLinear(n_outputs),
        )  # fmt: skip
        self.unused = nn.Parameter(torch.ones(3, 3))


def test_a_module_trains_in_parts_if_it_says_so(small, bars):
    """The result is equal for any number of threads, dropout and statistics included.

    Catches a module that has no way out of one thread.
    """
    images, target = bars
    images = images.repeat(2, axis=1).repeat(3, axis=2)
    found, cut = [], []
    before = torch.get_num_threads()
    for n_threads, drops in ((1, nn.Dropout(0.3)), (2, nn.Dropout(0.3)), (2, nn.Dropout2d(0.3))):
        torch.set_num_threads(n_threads)
        try:
            model = small(layers=lambda s, n, d=drops: InParts(n, d), max_epochs=2)
            if isinstance(drops, nn.Dropout2d):
                with pytest.raises(
                    ValueError, match=r"random numbers in training \(aten\.\w.*torch\.nn\.Dropout"
                ):
                    model.fit(images, target)
                continue
            model.fit(images, target)
        finally:
            torch.set_num_threads(before)
        cut.append(model.net_.is_cut)
        found.append(model.predict_proba(images))
        assert model.net_.module_.network[5].running_mean.abs().max() > 0
        assert type(model.net_.module_.network[4]) is nn.Dropout
    assert cut == [True, True]
    assert_array_equal(*found)
    silent = small(layers=lambda s, n: nn.Sequential(*InParts(n, nn.Dropout2d())), max_epochs=1)
    assert not silent.fit(images, target).net_.is_cut
