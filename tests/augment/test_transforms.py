"""Augmentation of batches: erasures by hand, steps in order, callables, and fits that use them."""

import pickle
import re
import threading
from math import sqrt

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal
from sklearn.base import clone
from skorch.callbacks import Callback

from sklearn_cnn import (
    CNNClassifier,
    RandomErasing,
    RandomFlip,
    RandomRotation,
    RandomShear,
    RandomShift,
    RandomZoom,
)
from sklearn_cnn.augment.transforms import STREAM, AffineTransforms, BatchAugmentation, Erasures
from sklearn_cnn.machine.isolation import derive_seed

CPU = torch.device("cpu")
ALL = (
    RandomFlip("both"),
    RandomShift(0.2),
    RandomErasing(),
    RandomZoom(),
    RandomRotation(),
    RandomShear(),
)


def augmented(steps, pixels, seed=0, rows=slice(None)):
    """One batch through all steps; its images of ``rows``."""
    whole, transforms = BatchAugmentation(steps, seed, CPU).start(pixels)
    return BatchAugmentation.finish(whole[rows], transforms, rows)


def numbers(*shape, dtype=torch.uint8):
    return torch.randint(0, 100, shape, generator=torch.Generator().manual_seed(1)).to(dtype)


def rectangle(top, bottom, left, right):
    return Erasures(*(torch.tensor([float(edge)]) for edge in (top, bottom, left, right)))


@pytest.mark.parametrize(
    ("edges", "expected"),
    [
        ((0, 1, 0, 1), [[4, 2, 3], [4, 5, 9]]),  # the mean is 4
        ((1, 2, 1, 3), [[1, 2, 3], [4, 4, 4]]),
        ((0, 2, 2, 3), [[1, 2, 4], [4, 5, 4]]),
        ((0, 2, 0, 3), [[4, 4, 4], [4, 4, 4]]),
        ((0, 0, 0, 3), [[1, 2, 3], [4, 5, 9]]),
    ],
)
def test_erasures_by_hand(edges, expected):
    """Each border, all of the image, and none. Catches an edge one off, and sides swapped."""
    found = rectangle(*edges).apply(torch.tensor([[[[1, 2, 3], [4, 5, 9]]]], dtype=torch.uint8))
    assert found.dtype == torch.uint8
    assert found[0, 0].tolist() == expected


def test_the_colour_of_a_rectangle_is_the_mean_of_its_channel():
    """Catches the mean over all channels, or over the batch."""
    pixels = torch.tensor([[[[1.0, 2]], [[10, 30]]], [[[5, 6]], [[0, 0]]]])
    erasures = Erasures(*(torch.tensor([float(edge)] * 2) for edge in (0, 1, 0, 1)))
    assert erasures.apply(pixels).tolist() == [[[[1.5, 2]], [[20, 30]]], [[[5.5, 6]], [[0, 0]]]]


@pytest.mark.parametrize(
    ("dtype", "values", "painted"),
    [
        (torch.uint8, [255, 255, 254], 255),  # 254.67 rounded, where a cut gives 254
        (torch.int8, [-3, -3, -2], -3),
        (torch.int32, [0, 0, 100_000], 33_333),
        (torch.bool, [1, 1, 0], 1),
        (torch.bool, [0, 1, 0], 0),
        (torch.float16, [0, 1, 0.5], 0.5),
        (torch.float64, [0, 0, 1], 1 / 3),
    ],
)
def test_erasures_keep_the_dtype_and_round_whole_numbers(dtype, values, painted):
    """Catches a colour that is cut off, True for every mean above 0, and float64 by float32."""
    found = rectangle(0, 1, 0, 1).apply(torch.tensor(values).to(dtype)[None, None, None])
    assert found.dtype == dtype
    assert found.flatten().tolist() == [painted, *torch.tensor(values).to(dtype)[1:].tolist()]


@pytest.mark.parametrize(
    ("dtype", "value"),
    [
        (torch.uint8, 255),
        (torch.int16, -(2**15)),
        (torch.int32, 2**16 - 1),
        (torch.int32, 2**31 - 1),
        (torch.int64, 2**32 - 1),
        (torch.float32, 0.1),
        (torch.float16, 65504.0),
    ],
)
def test_a_rectangle_on_an_even_image_is_of_its_colour(dtype, value):
    """At the ends of the types. Catches a mean in float32 that wraps around in whole numbers."""
    pixels = torch.full((1, 1, 7, 9), value, dtype=dtype)
    found = rectangle(0, 5, 0, 5).apply(pixels)
    torch.testing.assert_close(found.double(), pixels.double(), rtol=1e-6, atol=0)


def erased(step, n=3000, height=40, width=60):
    """Rectangles that were sampled, as top, bottom, left, right of the images that have one."""
    pixels = torch.empty(n, 1, height, width)
    erasures = BatchAugmentation([step], 0, CPU).start(pixels)[1][0]
    edges = torch.stack(list(erasures)).numpy()
    return edges[:, edges[0] < edges[1]]


@pytest.mark.parametrize("probability", [0, 0.25, 0.5, 1])
def test_the_share_of_images_that_are_erased(probability):
    """None and all are exact, else within five standard deviations."""
    n = erased(RandomErasing(probability)).shape[1]
    spread = sqrt(3000 * probability * (1 - probability))
    assert abs(n - 3000 * probability) <= 5 * spread


def test_rectangles_have_the_area_and_the_aspect_asked_for_and_lie_anywhere():
    """An image large enough that no rectangle is cut: 2% to 20% of 400 x 600, 3 to 10 at most.

    Whole pixels change a side of 38 by half a pixel at most. Catches an area of the side, an aspect
    of one kind, a rectangle over the edge, and corners that are never reached.
    """
    top, bottom, left, right = erased(RandomErasing(1, (0.02, 0.2)), 3000, 400, 600)
    tall, wide = bottom - top, right - left
    area, aspect = tall * wide / (400 * 600), tall / wide
    assert 0.02 * 0.98 <= area.min() < 0.021
    assert 0.199 < area.max() <= 0.2 * 1.02
    assert abs(area.mean() - 0.11) < 0.005  # its standard error is 0.001
    assert 0.3 * 0.98 <= aspect.min() < 0.303
    assert 3.3 < aspect.max() <= 10 / 3 * 1.02
    assert abs((aspect > 1).mean() - 0.5) < 0.05
    for values in (top, bottom, left, right):
        assert_array_equal(values, values.round())
    assert top.min() == left.min() == 0
    assert bottom.max() == 400
    assert right.max() == 600
    room = top[tall < 400] / (400 - tall[tall < 400])
    assert abs(room.mean() - 0.5) < 0.03  # as often high as low; the standard error is 0.005


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 9), (9, 1), (2, 2)])
@pytest.mark.parametrize("size", [(0, 0), (0.02, 0.33), (1, 1)])
def test_a_rectangle_fits_into_a_tiny_image_and_has_a_pixel(height, width, size):
    """Catches a rectangle of nothing, and one that begins after the last row."""
    top, bottom, left, right = erased(RandomErasing(1, size), 500, height, width)
    assert top.shape == (500,)
    assert (top >= 0).all()
    assert (left >= 0).all()
    assert (bottom <= height).all()
    assert (right <= width).all()
    assert (bottom - top >= 1).all()
    assert (right - left >= 1).all()


def test_steps_come_in_their_order():
    """Catches steps that are sorted, or taken from the end."""

    def double(pixels):
        return pixels * 2

    def add(pixels):
        return pixels + 1

    pixels = numbers(5, 1, 4, 4)
    assert torch.equal(augmented([double, add], pixels), pixels * 2 + 1)
    assert torch.equal(augmented([add, double], pixels), (pixels + 1) * 2)


@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_callable_sees_what_the_steps_before_it_made(place):
    """Catches transforms that are composed across a callable, and draws that are done twice."""
    seen = []

    def note(pixels):
        seen.append(pixels.clone())
        return 100 - pixels

    steps = [RandomFlip(), RandomErasing(1)]
    pixels = numbers(20, 2, 5, 6)
    expected = augmented(steps[:place], pixels)
    result = augmented([*steps[:place], note, *steps[place:]], pixels)
    assert torch.equal(seen[0], expected)
    if place == 2:
        assert torch.equal(result, 100 - expected)
    assert not torch.equal(result, pixels)


def test_geometric_steps_in_a_row_are_resampled_once():
    """Catches an image that is blurred twice; a callable or a rectangle between them parts them."""

    def left(steps):
        return len(BatchAugmentation(steps, 0, CPU).start(numbers(4, 1, 8, 8))[1])

    assert left([RandomFlip(), RandomShift(), RandomRotation(), RandomZoom(), RandomShear()]) == 1
    assert left([RandomFlip(), RandomErasing(), RandomShift()]) == 3
    assert left([RandomFlip(), abs, RandomShift()]) == 1
    assert left([RandomFlip(), RandomShift(), abs]) == left([]) == 0


@pytest.mark.parametrize("seed", [0, 3])
def test_two_resamplings_come_in_their_order(seed):
    """A new pixel at x is that of the zoom, x / z, and then of the shift, x / z + s, by hand.

    Catches transforms composed the other way round, (x + s) / z, which only a shift shows.
    """
    pixels = numbers(30, 1, 12, 9)
    generator = torch.Generator().manual_seed(derive_seed(seed, STREAM))
    shift = AffineTransforms.sample(RandomShift(0.25), pixels.shape, generator)
    zoom = AffineTransforms.sample(RandomZoom(0.5), pixels.shape, generator)
    steps = [RandomShift(0.25), RandomZoom(0.5)]
    (composed,) = BatchAugmentation(steps, seed, CPU).start(pixels)[1]
    assert torch.equal(composed.offset, shift.offset)
    assert torch.equal(composed.matrix, zoom.matrix)
    (turned,) = BatchAugmentation(steps[::-1], seed, CPU).start(pixels)[1]
    z, s = turned.matrix[:, 0, 0], turned.offset
    assert not torch.equal(s, s.round())
    torch.testing.assert_close(s / z[:, None], (s / z[:, None]).round())


def test_there_and_back_is_the_image_itself():
    """Two flips of 8 x 8: sharp at every pixel. Catches a resampling for each step."""
    pixels = numbers(50, 1, 8, 8)
    flips = augmented([RandomFlip("both"), RandomFlip("both")], pixels)
    turned = [pixels, pixels.flip(2), pixels.flip(3), pixels.flip(2, 3)]
    assert all(any(torch.equal(flips[i], way[i]) for way in turned) for i in range(50))


@pytest.mark.parametrize("rows", [slice(0, 7), slice(7, 30), slice(29, 30), slice(None)])
def test_a_part_of_a_batch_gets_its_share_of_the_draws(rows):
    """Bit for bit. Catches a part that takes the draws of the first images of the batch."""
    pixels = numbers(30, 3, 9, 8)
    assert torch.equal(augmented(ALL, pixels, rows=rows), augmented(ALL, pixels)[rows])


@pytest.mark.parametrize("step", ALL, ids=repr)
def test_the_seed_decides_and_batches_differ(step):
    """Catches a generator that is seeded anew for each batch, and one that nobody seeds."""
    pixels = torch.arange(64.0).reshape(1, 1, 8, 8).repeat(20, 1, 1, 1)
    augmentation = BatchAugmentation([step], 3, CPU)
    first, second = (augmentation.finish(*augmentation.start(pixels)) for _ in range(2))
    assert torch.equal(augmented([step], pixels, seed=3), first)
    assert not torch.equal(second, first)
    assert not torch.equal(augmented([step], pixels, seed=4), first)
    assert len({tuple(image.flatten().tolist()) for image in first}) > 1  # each image its own


class Shared:
    """A callable whose notes stay the test's own when a fit copies it.

    ``act`` takes a batch, and returns what to note and the batch.
    """

    def __init__(self, notes, act):
        self.notes, self.act = notes, act

    def __deepcopy__(self, memo):
        return Shared(self.notes, self.act)

    def __call__(self, pixels):
        noted, result = self.act(pixels)
        self.notes.append(noted)
        return result


def batches_into(notes):
    return Shared(notes, lambda pixels: (pixels.clone(), pixels))


def fit_tiny(images, augment, **parameters):
    quick = {"conv_channels": 2, "dense_units": (), "max_epochs": 1, "random_state": 0}
    model = CNNClassifier(augment=augment, **{**quick, **parameters})
    return model.fit(images, np.arange(len(images)) % 2)


def test_draws_of_steps_are_not_those_of_callables():
    """Both are seeded. Catches one stream used twice: what is mirrored would also be darkened."""
    images = np.zeros((60, 4, 4), dtype=np.uint8)
    images[:, :, 2:] = 200  # bright on the right, unless mirrored
    mirrored, draws = [], []
    note_mirrored = Shared(mirrored, lambda pixels: (pixels[:, 0, 0, 0] > 0, pixels))
    draw = Shared(draws, lambda pixels: (torch.rand(len(pixels), 2), pixels))
    fit_tiny(images, [RandomFlip(), note_mirrored, draw])
    assert 10 <= mirrored[0].sum() <= 50
    for column in (0, 1):
        agree = int((mirrored[0] == (draws[0][:, column] < 0.5)).sum())
        assert 10 <= agree <= 50  # five standard deviations around 30


@pytest.mark.parametrize("dtype", ["uint8", "bool", "int32", "float16", "float32", "float64"])
@pytest.mark.parametrize("shape", [(12, 5, 6), (12, 5, 6, 1), (12, 5, 6, 3), (12, 3, 5, 6)])
def test_a_callable_gets_batches_channels_first_in_the_dtype_of_the_images(dtype, shape):
    """Whatever the layout of X. Catches floats for bytes, and height for width."""
    images = np.random.default_rng(0).integers(0, 2, shape).astype(dtype)
    seen = []
    fit_tiny(images, [batches_into(seen)], batch_size=5, max_epochs=2)
    channels = 3 if 3 in shape else 1
    assert [tuple(batch.shape) for batch in seen] == [(4, channels, 5, 6)] * 6
    assert {str(batch.dtype) for batch in seen} == {f"torch.{dtype}"}
    per_image = sorted(float(image.double().sum()) for batch in seen[:3] for image in batch)
    by_hand = sorted(images.reshape(12, -1).astype(float).sum(axis=1))
    assert per_image == by_hand


@pytest.mark.parametrize(
    ("wrong", "got"),
    [
        (lambda pixels: pixels[:-1], "(6, 1, 8, 6)"),
        (lambda pixels: pixels[:, 0], "(7, 8, 6)"),
        (lambda pixels: pixels.transpose(2, 3), "(7, 1, 6, 8)"),
        (lambda pixels: pixels.repeat(1, 3, 1, 1), "(7, 3, 8, 6)"),
    ],
)
def test_a_callable_that_changes_the_shape_is_named(small, bars, wrong, got):
    """Catches labels of other images, and torch's error about a matrix product."""
    text = "augment[1] must return images with the shape of its input, (7, 1, 8, 6)"
    with pytest.raises(ValueError, match=rf"^{re.escape(text)}.*Got {re.escape(got)}\.$"):
        small(augment=[RandomFlip(), wrong], batch_size=7).fit(bars[0][:14], bars[1][:14])


@pytest.mark.parametrize(
    ("wrong", "got"),
    [
        (lambda pixels: None, "NoneType"),
        (lambda pixels: pixels.numpy(), "ndarray"),
        (lambda pixels: (pixels, pixels), "tuple"),
    ],
)
def test_a_callable_that_returns_no_tensor_is_named(small, bars, wrong, got):
    model = small(augment=(wrong,))
    with pytest.raises(TypeError, match=rf"^augment must return a tensor .* Got {got}\.$"):
        model.fit(*bars)
    assert not hasattr(model, "classes_")


def test_an_error_inside_a_callable_passes_through(small, bars):
    def fail(pixels):
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        small(augment=fail).fit(*bars)


class Counting:
    """A callable with state: each batch is made brighter than the one before."""

    def __init__(self):
        self.calls = 0

    def __call__(self, pixels):
        self.calls += 1
        return pixels.float() + self.calls


def test_a_callable_is_copied(small, bars):
    """Catches state that travels from one fit to the next, and makes it another one."""
    counting = Counting()
    model = small(augment=counting)
    first = model.fit(*bars).loss_curve_
    assert counting.calls == 0
    assert model.augment is counting
    assert model.fit(*bars).loss_curve_ == first
    assert first != small().fit(*bars).loss_curve_


def test_a_callable_that_writes_in_place_leaves_the_images_as_they_were(small, bars):
    """Catches an X that is darker after each epoch."""
    images = bars[0].copy()
    small(augment=[lambda pixels: pixels.zero_().add_(7), *ALL]).fit(images, bars[1])
    assert_array_equal(images, bars[0])


class TorchTransform(torch.nn.Module):
    """As torchvision's and kornia's: a module that draws from torch's global generator."""

    def forward(self, pixels):
        darker = torch.rand(()) * 0.5 + 0.5
        pixels = pixels.float() * darker
        return pixels + torch.randn_like(pixels)


def test_transforms_that_draw_from_torchs_generator_are_reproducible(small, bars):
    """And leave it as it was. Catches a model that depends on what the process drew before."""
    model = small(augment=[TorchTransform(), RandomFlip()])
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first = model.fit(*bars).predict_proba(bars[0])
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(2)
    assert_array_equal(clone(model).fit(*bars).predict_proba(bars[0]), first)
    other = clone(model).set_params(random_state=1).fit(*bars).predict_proba(bars[0])
    assert not np.array_equal(other, first)


def test_the_same_seed_gives_the_same_model_and_another_seed_another(small, bars):
    """With every step. Catches augmentation that is not seeded by ``random_state``."""
    model = small(augment=ALL)
    first = model.fit(*bars)
    weights = {name: value.clone() for name, value in first.net_.module_.state_dict().items()}
    for name, value in clone(model).fit(*bars).net_.module_.state_dict().items():
        assert_array_equal(value, weights[name], err_msg=name)
    assert first.loss_curve_ != small().fit(*bars).loss_curve_
    assert first.loss_curve_ != small(augment=ALL, random_state=1).fit(*bars).loss_curve_


def test_epochs_and_further_fits_draw_anew():
    """Catches images that are mirrored once and for all."""
    images = np.arange(8 * 3 * 4, dtype=np.uint8).reshape(8, 3, 4)
    seen = []
    model = fit_tiny(images, [RandomFlip(), batches_into(seen)], max_epochs=4, warm_start=True)
    model.set_params(max_epochs=1).fit(images, np.arange(8) % 2)
    model.set_params(warm_start=False).partial_fit(images, np.arange(8) % 2)
    assert len(seen) == 6
    mirrored = []
    for batch in seen:
        by_image = {int(image.min()): bool(image[0, 0, 0] > image[0, 0, 1]) for image in batch}
        mirrored.append(tuple(by_image[first] for first in sorted(by_image)))
    assert len(set(mirrored)) >= 5  # of 256 ways to mirror eight images


def test_no_augmentation_equals_none(small, bars):
    """Empty sequences and steps that never do anything: the very same weights."""
    expected = small().fit(*bars).predict_proba(bars[0])
    for augment in ((), [], [RandomShift(0)], [RandomErasing(0)], lambda pixels: pixels):
        found = small(augment=augment).fit(*bars).predict_proba(bars[0])
        assert_array_equal(found, expected, err_msg=repr(augment))


def test_augmented_training_equals_training_on_what_came_out(small, bars):
    """A transform that is always the same changes the images. The network sees nothing else.

    The mean and standard deviation of the pixels stay those of a mirrored image, so that all is
    equal to the last bit.
    """
    images, target = bars
    mirrored = small(augment=lambda pixels: pixels.flip(3)).fit(images, target)
    by_hand = small().fit(images[:, :, ::-1], target)
    assert mirrored.loss_curve_ == by_hand.loss_curve_
    test = images[:20]
    assert_array_equal(mirrored.predict_proba(test), by_hand.predict_proba(test))


def ruin(pixels):
    """Blank images: of no scale, so that they are let through."""
    return torch.zeros_like(pixels)


class NoteValidation(Callback):
    """Keep the sums of the images of validation."""

    seen = ()

    def on_batch_end(self, net, batch=None, training=False, **_):
        if not training:
            net.validated = [*getattr(net, "validated", []), int(batch[0]["images"].sum())]


def test_images_of_validation_and_prediction_stay_as_they_are(small, bars):
    """Training sees black images alone, and learns nothing; validation sees what was given.

    Catches a validation score of ruined images: its losses would be the same for every image.
    """
    images, target = bars
    seen = []
    model = small(
        augment=[ruin, batches_into(seen)],
        early_stopping=True,
        validation_fraction=0.25,
        callbacks=[NoteValidation()],
        batch_size=50,
        max_epochs=2,
    ).fit(images, target)
    assert len(seen) == 2 * 3  # 150 images: none of the 50 held out came by
    assert all(not batch.any() for batch in seen)
    assert all(total > 0 for total in model.net_.validated)
    assert len(np.unique(model.predict_proba(images)[:, 0])) > 100
    model.net_.predict_proba(images[..., None])
    model.score(images, target)
    assert len(seen) == 6


def test_augmentation_is_gone_from_a_fitted_model(small, bars):
    """A pickle holds the parameter and no generator; the copy trains and predicts the same."""
    model = small(augment=ALL).fit(*bars)
    assert model.net_.augmentation_ is None
    loaded = pickle.loads(pickle.dumps(model))
    assert loaded.augment == ALL
    assert_array_equal(loaded.predict_proba(bars[0]), model.predict_proba(bars[0]))
    assert loaded.partial_fit(*bars).loss_curve_ == model.partial_fit(*bars).loss_curve_


def test_an_error_while_training_lets_go_of_the_augmentation(small, bars):
    """A further fit that fails: the net is the old one, without a generator of the failed one."""
    model = small().fit(*bars)
    with pytest.raises(TypeError, match=r"^augment must return"):
        model.set_params(augment=[lambda pixels: None]).partial_fit(*bars)
    assert model.net_.augmentation_ is None
    assert model.net_.replicas_ is None
    assert model.set_params(augment=None).partial_fit(*bars).n_iter_ == 4


def test_shifts_help_where_test_images_are_shifted(digits):
    """What it is for. Digits in the middle at fit, moved by two pixels at the test.

    Catches an augmentation that does not reach the network.
    """
    X = np.pad(digits.images, ((0, 0), (2, 2), (2, 2)))
    moved = np.roll(X[600:], 2, axis=2)
    scores = []
    for augment in (None, RandomShift(2 / 12)):
        model = CNNClassifier(
            (8, 16),
            dense_units=32,
            learning_rate=0.01,
            max_epochs=15,
            batch_size=64,
            augment=augment,
            random_state=0,
        ).fit(X[:600], digits.target[:600])
        scores.append(model.score(moved, digits.target[600:]))
    assert scores[1] > scores[0] + 0.15


def test_a_callable_that_cannot_be_copied_is_refused_with_the_way_out(small, bars):
    """Catches "cannot pickle '_thread.lock' object", which names no parameter."""

    class Locked:
        def __init__(self):
            self.lock = threading.Lock()

        def __call__(self, batch):
            with self.lock:
                return batch.flip(3)

    locked = Locked()
    with pytest.raises(TypeError, match=r"augment cannot be copied, .*lock.* Use a function that"):
        small(augment=locked).fit(*bars)
    small(augment=lambda batch: locked(batch), max_epochs=1).fit(*bars)
