"""A user-defined function on batches: called on each, looked at closely on the first."""

import random
import re
from functools import partial

import numpy as np
import pytest
import torch

from sklearn_cnn import CNNClassifier
from sklearn_cnn.augment.functions import FACTOR, BatchFunction

BATCH = torch.arange(2 * 3 * 4 * 4, dtype=torch.float32).reshape(2, 3, 4, 4)


def checked(function, batch=BATCH):
    return BatchFunction(function, "augment[1]")(batch.clone())


@pytest.mark.parametrize(
    "function",
    [
        lambda batch: batch,
        lambda batch: batch.flip(3),
        lambda batch: batch.double(),
        lambda batch: batch.to(torch.uint8),
        lambda batch: batch * 0.5 + 10,
        lambda batch: batch / (FACTOR - 0.01),
        lambda batch: batch * (FACTOR - 0.01),
        lambda batch: torch.zeros_like(batch),  # blank images have no scale
    ],
)
def test_what_may_be_returned(function):
    assert torch.equal(checked(function), function(BATCH))


@pytest.mark.parametrize(
    "function",
    [
        lambda batch: batch / 255,
        lambda batch: (batch - batch.mean()) / batch.std(),
        lambda batch: batch > 40,
        lambda batch: batch / (FACTOR + 0.01),
        lambda batch: batch * (FACTOR + 0.01),
    ],
)
def test_another_scale_is_refused(function):
    """Catches a model that learns one range of pixels and is asked about another."""
    with pytest.raises(ValueError, match=r"^augment\[1\] must keep the range of the pixels"):
        checked(function)


def test_an_error_gives_both_spreads():
    """Values 0 and 2: a standard deviation of 1, then of 1/100."""
    batch = torch.tensor([0.0, 2.0]).reshape(2, 1, 1, 1)
    with pytest.raises(ValueError, match=re.escape("deviation changed from 1 to 0.01. Remove")):
        checked(lambda pixels: pixels / 100, batch)


def test_a_blank_batch_may_become_anything():
    """Catches a division by the spread of images of one colour."""
    blank = torch.full((2, 1, 3, 3), 7, dtype=torch.uint8)
    noise = torch.arange(18.0).reshape(2, 1, 3, 3)
    assert torch.equal(checked(lambda _: noise, blank), noise)


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_values_that_are_not_finite_are_laid_to_the_function(value):
    """Catches a NaN that is blamed on the learning rate."""

    def spoil(batch):
        batch = batch.clone()
        batch[1, 2, 3, 3] = value
        return batch

    with pytest.raises(ValueError, match=r"^augment\[1\] must return finite numbers"):
        checked(spoil)


def test_complex_numbers_are_refused():
    with pytest.raises(TypeError, match=r"^augment\[1\] must return real numbers.*complex64"):
        checked(lambda batch: batch * 1j)


def test_only_the_first_batch_is_read():
    """Reading a value waits for a GPU. Catches a check of every batch."""
    function = BatchFunction(lambda batch: batch * scale, "augment")
    scale = 1.0
    function(BATCH)
    scale = 1e-6
    assert torch.equal(function(BATCH), BATCH * 1e-6)
    function.function = lambda batch: batch[:1]
    with pytest.raises(ValueError, match="must return images with the shape"):
        function(BATCH)


def test_an_error_in_the_function_says_whose_it_is():
    """Gaussian noise on whole numbers. Catches an error of torch's that names no parameter."""
    images = np.arange(2 * 8 * 8, dtype=np.uint8).reshape(2, 8, 8)
    model = CNNClassifier(augment=lambda batch: batch + torch.randn_like(batch))
    with pytest.raises(NotImplementedError) as caught:
        model.fit(images, [0, 1])
    expected = "Raised by augment, which was called with a batch of torch.uint8 of shape (2, 1, 8"
    (note,) = caught.value.__notes__
    assert note.startswith(expected)


def flip_all(batch, share=0.5):
    """One draw for all images, as torchvision's transforms make it."""
    return batch.flip(3) if torch.rand(()) < share else batch


class Flip(torch.nn.Module):
    """A transform of torchvision's, in the way it draws."""

    def __init__(self, share=0.5):
        super().__init__()
        self.share = share

    def forward(self, batch):
        return batch.flip(3) if torch.rand(1) < self.share else batch


RNG = np.random.default_rng(0)


def flip_by_numpy(batch):
    return batch.flip(3) if RNG.random() < 0.5 else batch


def rotate_all(batch):
    return batch.rot90(int(torch.randint(4, ())), (2, 3))


def rarely_dark(batch):
    return batch * 0.5 if torch.rand(()) < 0.15 else batch


ONCE = {
    "module": Flip(),
    "sequence": torch.nn.Sequential(torch.nn.Identity(), Flip()),
    "seldom": Flip(0.02),
    "function": flip_all,
    "partial": partial(flip_all, share=0.6),
    "lambda": lambda batch: Flip()(batch),
    "with noise for each": lambda batch: Flip()(batch.float()) + torch.randn_like(batch.float()),
    "numpy": lambda batch: batch.flip(3) if np.random.random() < 0.5 else batch,  # noqa: NPY002
    "python": lambda batch: batch.flip(3) if random.random() < 0.5 else batch,
    "rotation": lambda batch: batch.rot90(int(torch.randint(4, ())), (2, 3)),
    "brightness": lambda batch: batch * torch.empty(1).uniform_(0.5, 1.5),
    "order of two": lambda batch: batch.flip(int(torch.randperm(2)[0]) + 2),
    "a choice": lambda batch: batch.flip(2 + int(torch.multinomial(torch.ones(2), 1))),
    "noise of one image": lambda batch: batch + torch.randn(batch.shape[1:]),
    "normal": lambda batch: batch * torch.distributions.Normal(1.0, 0.1).sample(),
}


def noise(n, size=6):
    generator = torch.Generator().manual_seed(3)
    return torch.randint(0, 256, (1, 3, size, size), generator=generator).float().repeat(n, 1, 1, 1)


@pytest.mark.parametrize("name", ONCE)
def test_a_function_that_draws_once_is_called_for_each_image(name):
    """Equal images must not stay equal. Catches a whole batch that is flipped, or not.

    So draw the transforms of torchvision, which the README names, however they are wrapped.
    """
    function = BatchFunction(ONCE[name], "augment")
    torch.manual_seed(0)
    for _ in range(2):  # the first batch is watched
        result = function(noise(200))
        assert result.shape == (200, 3, 6, 6)
        assert len(torch.unique(result.flatten(1), dim=0)) > 1
    assert function.is_one_by_one


def flip_each(batch):
    """A draw for each image, as kornia makes it."""
    drawn = torch.rand(len(batch)) < 0.5
    return torch.where(drawn[:, None, None, None], batch.flip(3), batch)


AT_ONCE = {
    "a draw for each": flip_each,
    "several draws for each": lambda batch: (
        batch + torch.rand(2, len(batch))[1, :, None, None, None]
    ),
    "noise for each": lambda batch: batch + torch.randn_like(batch),
    "noise by the batch's spread": lambda batch: batch + batch.std() * torch.randn_like(batch) / 9,
    "dropped pixels": torch.nn.Dropout(0.2),
    "half of them": lambda batch: batch.index_fill(0, torch.randperm(len(batch))[::2], 0.0),
    "nothing drawn": lambda batch: batch.flip(3),
    "statistics of the batch": lambda batch: (batch - batch.mean()) * 0.5 + batch.mean(),
    "own generator": lambda batch: batch + torch.from_numpy(RNG.random((len(batch), 1, 1, 1))),
    "beta": lambda batch: batch * torch.distributions.Beta(9.0, 1.0).sample((len(batch), 1, 1, 1)),
}


@pytest.mark.parametrize("name", AT_ONCE)
def test_a_function_that_draws_for_each_image_gets_the_batch(name):
    """The other side. Catches a loop over images where a batch would do, 100 times as slow."""
    sizes = []

    def counted(batch):
        sizes.append(len(batch))
        return AT_ONCE[name](batch)

    function = BatchFunction(counted, "augment")
    for _ in range(2):
        function(noise(50))
    assert sizes[0] == sizes[-1] == 50
    assert not function.is_one_by_one


def mixup(batch):
    share = torch.rand(())
    return share * batch + (1 - share) * batch[torch.randperm(len(batch))]


def cut_mix(batch):
    batch, left = batch.clone(), int(torch.randint(3, ()))
    batch[:, :, :3, left:] = batch.roll(1, 0)[:, :, :3, left:]
    return batch


def mix_each(batch):
    share = torch.rand(len(batch), 1, 1, 1)
    return share * batch + (1 - share) * batch[torch.randperm(len(batch))]


def mix_by_sorting(batch):
    """As kornia does, which draws no permutation by its name."""
    share = torch.rand(len(batch), 1, 1, 1)
    return share * batch + (1 - share) * batch[torch.rand(len(batch)).argsort()]


@pytest.mark.parametrize(
    "function",
    [
        mix_by_sorting,
        mixup,
        cut_mix,
        mix_each,
        lambda batch: mixup(flip_each(batch)),
        lambda b: Flip()(mixup(b)),
    ],
)
def test_a_function_that_mixes_images_is_refused(function):
    """Catches mixed images with the label of one, and a loop that makes mixing do nothing."""
    with pytest.raises(ValueError, match=r"^augment\[1\] mixes several images into one, like"):
        checked(function, noise(8))


def mix_every_other(batch):
    """The first image stays as it is."""
    mixed = batch.clone()
    mixed[1::2] = (batch[1::2] + batch[0::2][: len(batch[1::2])]) / 2
    return mixed


def write_over(batch):
    batch[:-1] = batch[1:].clone()
    return batch


@pytest.mark.parametrize(
    "function",
    [
        lambda batch: batch.roll(1, 0),
        lambda batch: batch.flip(0),
        lambda batch: (batch + batch.mean(0)) / 2,
        lambda batch: batch.sort(0, descending=True).values,
        write_over,
        mix_every_other,
        lambda batch: torch.cat([batch[:1], batch[:-1]]),
    ],
)
def test_a_function_that_mixes_images_without_a_draw_is_refused(function):
    """Catches images in each other's places, under labels that stay where they are."""
    with pytest.raises(ValueError, match=r"^augment\[1\] mixes several images into one, like"):
        checked(function)


@pytest.mark.parametrize(
    "function",
    [
        lambda batch: batch.flip(3) * 0.9,
        lambda batch: batch - batch.mean((0, 2, 3), keepdim=True),
        lambda batch: batch / batch.max() * 90,
        lambda batch: (batch + batch.mean((1, 2, 3), keepdim=True)) / 2,
        lambda batch: batch.clamp(10, 60).round().to(torch.uint8),
    ],
)
def test_a_function_without_a_draw_may_change_each_image(function):
    """Catches a false alarm: statistics of a batch, too, are no mixing of images."""
    assert checked(function).shape == BATCH.shape


@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (1, 3, 6, 6), (5, 1, 1, 9)])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.bool, torch.int64, torch.float16])
def test_batches_of_every_kind_are_looked_at(shape, dtype):
    """One image, one pixel, one level. Catches noise that cannot be drawn in their range."""
    blank = torch.ones(shape, dtype=dtype)
    assert torch.equal(BatchFunction(flip_each, "augment")(blank), blank)


def test_looking_changes_no_draw_and_no_state():
    """A generator as it was, and a count in the function's object. Catches draws used up."""

    class Count:
        calls = 0

        def __call__(self, batch):
            self.calls += 1
            return batch + torch.randn_like(batch)

    count = Count()
    torch.manual_seed(5)
    function = BatchFunction(count, "augment")
    found = function(BATCH)
    assert function.function.calls == 1
    torch.manual_seed(5)
    assert torch.equal(found, BATCH + torch.randn_like(BATCH))


def test_an_image_of_another_size_in_a_loop_is_refused():
    def crop(batch):
        return batch[..., int(torch.randint(1, 2, ())) :]

    with pytest.raises(
        ValueError, match=r"must return images with the shape of its input, \(1, 3, 4, 4\)"
    ):
        checked(crop)


@pytest.mark.parametrize(
    "function",
    [
        lambda batch: batch.convert("L"),  # a PIL image has it
        lambda batch: np.flip(batch, 2)[..., ::-1].shape["image"],  # an array of (h, w, c)
    ],
)
def test_functions_of_pil_images_and_arrays_are_told_what_they_get(function):
    with pytest.raises((AttributeError, TypeError, ValueError)) as caught:
        checked(function)
    assert "PIL images or arrays" in caught.value.__notes__[0]


def test_a_fit_mirrors_image_by_image(small, bars):
    """Through the estimator, in two epochs. Catches whole batches that were mirrored, or not."""
    seen = []

    def note(batch):
        seen.append((batch[:, :, :, 0] == 250).all(dim=(1, 2)))
        return batch

    images = np.zeros((40, 8, 6), np.uint8)
    images[:, :, 0] = 250
    small(augment=[Flip(), note], max_epochs=2, batch_size=40).fit(images, np.arange(40) % 2)
    shares = [float(is_left.float().mean()) for is_left in seen if len(is_left) == 40]
    assert len(shares) == 2
    assert all(0.2 < share < 0.8 for share in shares)


def test_a_function_that_draws_once_and_works_in_place_runs_once_on_each_image():
    """Its first call is only watched. Catches a first batch that is changed twice."""

    def halve(pixels):
        torch.rand(())
        return pixels.mul_(0.5)

    made = BatchFunction(halve, "augment")
    batch = torch.arange(1.0, 49.0).reshape(3, 1, 4, 4)
    for _ in range(2):
        assert torch.equal(made(batch.clone()), batch / 2)
    assert made.is_one_by_one
