"""SaliencyDisplay: what it asks of the attributions, and what it draws."""

import multiprocessing
import re

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from torch import nn

from sklearn_cnn import CNNClassifier, Flatten, SaliencyDisplay
from sklearn_cnn.inspection import saliency as module
from sklearn_cnn.inspection.saliency import grad_cam, gradient, occlusion

METHODS = ["gradient", "grad_cam", "occlusion"]


@pytest.fixture
def asked(monkeypatch):
    """What the attributions are asked for, apart from network and image; they compute nothing."""
    calls = []

    def note(network, image, *rest):
        calls.append(rest[:3])  # without the mean that occlusion covers by
        return np.ones(image.shape[1:3])

    for name in METHODS:
        monkeypatch.setattr(module, name, note)
    return calls


def test_saliency_is_that_of_the_attributions(fitted, numbers):
    """Of image 5, for the predicted class. Catches another image, class, layer or window."""
    images, _ = numbers
    network, image = fitted.net_.module_, images[5:6, ..., np.newaxis]
    winner = int(fitted.predict_proba(images[5:6]).argmax())
    predict, mean = fitted.net_.outputs, network.normalize.mean.ravel().numpy()
    expected = {
        "gradient": gradient(network, image, winner),
        "grad_cam": grad_cam(network, image, winner, "activation1"),
        "occlusion": occlusion(predict, image, winner, (2, 2), (1, 1), mean),
    }
    for method, values in expected.items():
        display = SaliencyDisplay.from_estimator(fitted, images, image=5, method=method)
        assert_allclose(display.saliency, values, rtol=1e-5, atol=1e-6)
        assert_array_equal(display.image, images[5] / 16)


@pytest.mark.parametrize("target", ["apple", "bee", "cat"])
def test_a_target_is_a_label(small, numbers, asked, target):
    """Classes are sorted, unlike their first images. Catches the number of a class for its name."""
    images, y = numbers
    names = np.array(["cat", "bee", "apple"])[y[y < 3]]
    model = small(max_epochs=1).fit(images[y < 3], names)
    display = SaliencyDisplay.from_estimator(model, images[:1], target=target)
    number = ["apple", "bee", "cat"].index(target)
    assert asked == [(number,)]
    probability = model.predict_proba(images[:1])[0, number]
    assert display.title == f"gradient: {target} ({100 * probability:.0f} %)"


def test_without_a_target_the_predicted_class_is_asked_for(fitted, numbers, asked):
    images, _ = numbers
    display = SaliencyDisplay.from_estimator(fitted, images, image=9)
    assert asked == [(fitted.predict_proba(images)[9].argmax(),)]
    assert display.title.startswith(f"gradient: {fitted.predict(images)[9]} (")


@pytest.mark.parametrize("target", [10, -1, "3", 2.5, [3], [3, 4]])
def test_a_class_that_is_none_is_refused(fitted, numbers, target):
    """Catches the last class for -1, and NumPy's error for a list."""
    text = "target must be None, for the predicted class, or one of 0, 1, 2, 3, 4, 5, 6, 7, 8, 9. "
    with pytest.raises(ValueError, match=re.escape(f"{text}Got target={target!r}.")):
        SaliencyDisplay.from_estimator(fitted, numbers[0], target=target)


@pytest.mark.parametrize("method", ["Gradient", "grad-cam", None, ["gradient"]])
def test_a_method_that_is_none_is_refused(fitted, numbers, method):
    text = f"method must be one of gradient, grad_cam, occlusion. Got method={method!r}."
    with pytest.raises(ValueError, match=re.escape(text)):
        SaliencyDisplay.from_estimator(fitted, numbers[0], method=method)


@pytest.mark.parametrize("layer", ["conv2", "flatten", "output", ""])
def test_a_layer_without_maps_is_refused(fitted, numbers, layer):
    text = (
        "layer must be a layer with feature maps: normalize, conv1, pool1, norm1, activation1. "
        f"Got layer={layer!r}."
    )
    with pytest.raises(ValueError, match=re.escape(text)):
        SaliencyDisplay.from_estimator(fitted, numbers[0], method="grad_cam", layer=layer)


def test_grad_cam_takes_the_layer_that_is_named(fitted, numbers, asked):
    SaliencyDisplay.from_estimator(fitted, numbers[0], method="grad_cam", layer="pool1", target=2)
    assert asked == [(2, "pool1")]


def test_grad_cam_passes_over_maps_of_one_pixel(fitted_module, numbers, asked):
    """After a global average the saliency is the same everywhere."""
    SaliencyDisplay.from_estimator(fitted_module, numbers[0], method="grad_cam", target=0)
    assert asked == [(0, "network.4")]


@pytest.mark.parametrize(("shape", "layer"), [((4, 4), "normalize"), ((1, 1), "normalize")])
def test_grad_cam_of_a_network_without_convolution(shape, layer, asked):
    """Catches an image of a single pixel, of which no maps are left to choose from."""
    images = np.arange(4 * shape[0] * shape[1]).reshape(4, *shape)
    model = CNNClassifier(layers=[Flatten()], max_epochs=1).fit(images, [0, 1, 0, 1])
    SaliencyDisplay.from_estimator(model, images, method="grad_cam", target=1)
    assert asked == [(1, layer)]


@pytest.mark.parametrize(
    ("kind", "window", "stride", "expected"),
    [
        ("1 channel", None, None, ((2, 2), (1, 1))),
        ("64 x 48", None, None, ((8, 6), (4, 3))),
        ("64 x 48", 5, None, ((5, 5), (2, 2))),
        ("64 x 48", (1, 3), None, ((1, 3), (1, 1))),
        ("64 x 48", [4, 2], (2, 3), ((4, 2), (2, 3))),
        ("64 x 48", None, 1, ((8, 6), (1, 1))),
        ("64 x 48", (64, 48), 100, ((64, 48), (100, 100))),
        ("64 x 48", (65, 49), None, ((64, 48), (32, 24))),
    ],
)
def test_windows_and_strides(sizes, asked, kind, window, stride, expected):
    """An eighth and half of it by default, at least 2 and 1; never more than the image."""
    model, images, _ = sizes[kind]
    SaliencyDisplay.from_estimator(
        model, images, method="occlusion", window=window, stride=stride, target=0
    )
    assert asked == [(0, *expected)]


def test_the_window_of_a_row_of_pixels(asked):
    """Sides of 1 and 5. Catches a window of two rows where there is one."""
    rows = np.arange(20).reshape(4, 5)
    model = CNNClassifier(layers=[Flatten()], max_epochs=1).fit(rows, [0, 1, 0, 1])
    SaliencyDisplay.from_estimator(model, rows, method="occlusion", target=1)
    assert asked == [(1, (1, 2), (1, 1))]


@pytest.mark.parametrize("name", ["window", "stride"])
@pytest.mark.parametrize("size", [0, -1, 1.5, True, (2, 0), (2,), (1, 2, 3), "2"])
def test_a_size_that_is_none_is_refused(fitted, numbers, name, size):
    text = rf"^{name} must be a whole number of at least 1, or a pair of them \(height, width\)\. "
    with pytest.raises(ValueError, match=text):
        SaliencyDisplay.from_estimator(fitted, numbers[0], method="occlusion", **{name: size})


def test_opacity_by_hand():
    """100 values above 0, of which 99.01 is the 99th percentile: full, above it too."""
    heat = np.arange(-19.0, 101).reshape(10, 12)
    display = SaliencyDisplay(np.zeros((10, 12)), heat).plot(alpha=0.5)
    (im,) = display.im_
    opacity = im.get_alpha().ravel()
    assert not opacity[:20].any()
    assert_allclose(
        opacity[[20, 69, 118, 119]], [0.5 / 99.01, 0.5 * 50 / 99.01, 0.5 * 99 / 99.01, 0.5]
    )
    assert_allclose(im.get_clim(), (0, 99.01))
    assert_array_equal(im.get_array(), heat)


def test_a_single_pixel_has_a_colour_of_its_own():
    """One of 400. Catches a scale that ends below all that is above 0."""
    heat = np.full((20, 20), -1.0)
    heat[3, 4], heat[3, 5] = 2, 0.2
    (im,) = SaliencyDisplay(np.zeros((20, 20)), heat).plot(alpha=1).im_
    assert im.get_alpha()[3, 4] == 1
    assert 0 < im.get_alpha()[3, 5] < 0.11
    assert 1.9 < im.get_clim()[1] < 2


@pytest.mark.parametrize("heat", [np.zeros((2, 3)), np.full((2, 3), -1.0)])
def test_no_saliency_at_all_is_transparent(heat):
    """Catches 0 / 0, and an image that is covered where no part is to be seen."""
    display = SaliencyDisplay(np.zeros((2, 3)), heat).plot()
    display.figure_.canvas.draw()
    assert not display.im_[0].get_alpha().any()


@pytest.mark.parametrize("n_channels", [3, 4])
def test_the_image_below_is_gray(n_channels):
    """The mean of red, green and blue. Catches an opacity that counts as a colour."""
    image = np.zeros((1, 2, n_channels))
    image[0, 0, :3] = [0.3, 0.6, 0.9]
    image[..., 3:] = 1
    display = SaliencyDisplay(image, np.ones((1, 2))).plot()
    (below,) = display.image_
    assert_allclose(below.get_array(), [[0.6, 0]])
    assert below.get_cmap().name == "gray"


def test_title_and_colour_bar():
    image = np.zeros((2, 2))
    display = SaliencyDisplay(image, image, "above").plot(colorbar=False)
    assert display.ax_.get_title() == "above"
    assert display.im_[0].colorbar is None
    assert len(display.figure_.axes) == 1
    other = SaliencyDisplay(image, image, unit="millivolts").plot()
    assert other.ax_.get_title() == ""
    assert other.im_[0].colorbar.ax.get_ylabel() == "millivolts"


@pytest.mark.parametrize(
    ("method", "unit"),
    [
        ("gradient", "score / pixel value"),
        ("grad_cam", "score"),
        ("occlusion", "fall of the score"),
    ],
)
def test_the_colour_bar_names_the_unit(fitted, numbers, method, unit):
    display = SaliencyDisplay.from_estimator(fitted, numbers[0], method=method)
    assert display.unit == display.im_[0].colorbar.ax.get_ylabel() == unit


@pytest.mark.parametrize("shape", [(5, 5), (5, 40), (40, 5)])
@pytest.mark.parametrize("n_images", [None, 1, 4])
def test_bar_and_title_do_not_run_into_the_next_panel(shape, n_images):
    """With long names and small values, whose numbers are long. Catches a label of the bar that is
    written over the neighbour, and titles wider than their panel."""
    figure, axes = plt.subplots(1, 3, figsize=(12, 4))
    heat = np.linspace(0, 1.234e-5, np.prod(shape)).reshape(shape)
    title = "grad_cam: a photograph of a very long name of a class, indeed (100 %)"
    if n_images is None:
        display = SaliencyDisplay(np.zeros(shape), heat, title, "fall of the score")
    else:
        pictures = np.zeros((n_images, *shape))
        heats, titles = np.stack([heat] * n_images), [title] * n_images
        display = SaliencyDisplay(pictures, heats, titles, "fall of the score")
    display.plot(ax=axes[1])
    figure.canvas.draw()
    frame, drawn = axes[1].get_window_extent(), axes[1].get_tightbbox()
    assert frame.x0 - 2 <= drawn.x0
    assert drawn.x1 <= frame.x1 + 2


@pytest.mark.parametrize("n_channels", [1, 3])
def test_the_original_stands_beside_its_map_in_its_colours(sizes, n_channels):
    """Catches a map without the image, a gray one, and one scaled by its own range."""
    model, images, _ = sizes["3 channels" if n_channels == 3 else "1 channel"]
    display = SaliencyDisplay.from_estimator(model, images, image=2)
    assert display.axes_.shape == (1, 2)
    ((left, right),) = display.axes_
    (picture,) = left.images
    low, high = int(images.min()), int(images.max())
    assert_allclose(picture.get_array(), (images[2] - float(low)) / (high - low))
    assert list(right.images) == [display.image_[0], display.im_[0]]
    display.figure_.canvas.draw()
    assert left.get_window_extent().x1 <= right.get_window_extent().x0
    alone = SaliencyDisplay.from_estimator(model, images, image=2, original=False)
    assert alone.axes_.shape == (1, 1)
    assert list(alone.axes_[0, 0].images) == [alone.image_[0], alone.im_[0]]


@pytest.mark.parametrize("method", METHODS)
def test_several_images_in_a_call(fitted, numbers, method):
    """Each as if it were asked for alone, in the order given. Catches the class of the first for
    all, and a scale of the first for all."""
    images, _ = numbers
    display = SaliencyDisplay.from_estimator(fitted, images, image=[3, 0, -1], method=method)
    assert display.image.shape == display.saliency.shape == (3, 8, 8)
    assert display.axes_.shape == (3, 2)
    assert display.im_.shape == display.image_.shape == (3,)
    for i, number in enumerate([3, 0, -1]):
        alone = SaliencyDisplay.from_estimator(fitted, images, image=number, method=method)
        assert alone.saliency.shape == (8, 8)
        assert_array_equal(display.image[i], alone.image)
        assert_allclose(display.saliency[i], alone.saliency, rtol=1e-5, atol=1e-6)
        assert display.title[i] == f"X[{number % len(images)}], {alone.title}"
        assert_allclose(display.im_[i].get_clim(), alone.im_[0].get_clim(), rtol=1e-5)


@pytest.mark.parametrize("image", [[2], (2,), np.array([2]), range(2, 3)])
def test_a_sequence_of_one_is_a_sequence(fitted, numbers, image):
    display = SaliencyDisplay.from_estimator(fitted, numbers[0], image=image)
    assert display.saliency.shape == (1, 8, 8)
    assert isinstance(display.title, list)


@pytest.mark.parametrize(
    ("image", "text"),
    [
        ([], "image must be the index of an image, or several. Got image=[]."),
        ([0, 200], "counted from the end. Got image=200."),
        ([0, 1.0], "counted from the end. Got image=1.0."),
        ([True], "counted from the end. Got image=True."),
        ("12", "counted from the end. Got image='12'."),
        ([[0, 1]], "counted from the end. Got image=[0, 1]."),
    ],
)
def test_sequences_of_no_numbers_are_refused(fitted, numbers, image, text):
    with pytest.raises(ValueError, match=re.escape(text)):
        SaliencyDisplay.from_estimator(fitted, numbers[0], image=image)


@pytest.mark.parametrize(
    ("n_images", "columns", "rows"), [(1, 1, 1), (2, 1, 2), (4, 2, 2), (9, 3, 3)]
)
def test_images_stand_in_rows(n_images, columns, rows):
    """Catches originals and maps that overlap, and a figure too small for many."""
    maps = np.ones((n_images, 4, 4))
    display = SaliencyDisplay(maps, maps, [f"image {i}" for i in range(n_images)]).plot()
    display.figure_.canvas.draw()
    boxes = [ax.get_window_extent() for ax in display.axes_.ravel()]
    assert len({round(box.x0) for box in boxes}) == 2 * columns
    assert len({round(box.y0) for box in boxes}) == rows
    for number, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[:number])


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", ["2 channels", "4 channels", "100 classes", "224 x 224"])
def test_every_method_takes_images_of_every_kind(sizes, kind, method):
    model, images, _ = sizes[kind]
    display = SaliencyDisplay.from_estimator(model, images, image=1, method=method, target=1)
    assert display.saliency.shape == images.shape[1:3]
    assert np.isfinite(display.saliency).all()
    assert display.saliency.any() or method == "grad_cam"  # which may find nothing for a class


@pytest.mark.parametrize("method", METHODS)
def test_dropout_is_off(small, numbers, method):
    """In a network that is left in training. Catches a saliency of random weights."""
    model = small(max_epochs=1, dropout=0.5).fit(*numbers)
    model.net_.module_.train()
    first = SaliencyDisplay.from_estimator(model, numbers[0], method=method)
    model.net_.module_.train()
    again = SaliencyDisplay.from_estimator(model, numbers[0], method=method)
    assert_array_equal(first.saliency, again.saliency)


class Keeping(nn.Module):
    """Keeps the maps of its last batch, as modules do that are looked into by hand."""

    def __init__(self, image_shape, n_outputs):
        super().__init__()
        self.conv = nn.Conv2d(image_shape[2], 2, 3)
        self.dense = nn.Linear(2 * 6 * 6, n_outputs)

    def forward(self, x):
        self.maps = self.conv(x)
        return self.dense(self.maps.flatten(1))


@pytest.mark.parametrize("method", METHODS)
def test_modules_that_keep_their_maps(small, numbers, method):
    """torch copies no value that a gradient goes through. Catches its error after training."""
    model = small(layers=Keeping, max_epochs=1).fit(*numbers)
    network = model.net_.module_.network
    network.train()(torch.zeros(1, 1, 8, 8))
    assert network.maps.grad_fn is not None
    display = SaliencyDisplay.from_estimator(model, numbers[0], method=method)
    assert display.saliency.any()


def _send_saliency(connection, model, images, method):
    connection.send(SaliencyDisplay.from_estimator(model, images, method=method).saliency)


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="forks")
@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
@pytest.mark.parametrize("method", METHODS)
def test_a_forked_process_does_not_hang(sizes, method):
    """Its parent computed in two threads, for which torch in the child would wait for ever."""
    model, images, _ = sizes["64 x 48"]
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        expected = SaliencyDisplay.from_estimator(model, images, method=method).saliency
        context = multiprocessing.get_context("fork")
        ours, theirs = context.Pipe()
        process = context.Process(target=_send_saliency, args=(theirs, model, images, method))
        process.start()
        try:
            assert ours.poll(30)
            assert_allclose(ours.recv(), expected, rtol=1e-5, atol=1e-6)
        finally:
            process.kill()
            process.join()
    finally:
        torch.set_num_threads(threads)
