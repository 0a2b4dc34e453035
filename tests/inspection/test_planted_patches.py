"""Where saliency points, in images whose deciding pixels are known."""

import matplotlib.pyplot as plt
import numpy as np
import pytest

from sklearn_cnn import CNNClassifier, SaliencyDisplay

LEAST_SHARES = {"gradient": 0.2, "grad_cam": 0.3, "occlusion": 0.6}
"""Of the saliency near a patch, a ninth of the image; the gradient is spread over all pixels."""


def draw_patches(n, seed, n_channels):
    """Noise of 16 x 20 pixels with a patch of 4 x 4 in the last channel: bright in class 1, dark
    in class 0. ``near`` marks the patches and the pixels around them, a ninth of an image."""
    rng = np.random.default_rng(seed)
    images = rng.integers(60, 120, (n, 16, 20, n_channels), dtype=np.uint8)
    y, near = np.arange(n) % 2, np.zeros(images.shape[:3], dtype=bool)
    for image, label, mark, (top, left) in zip(
        images, y, near, rng.integers(1, (12, 16), (n, 2)), strict=True
    ):
        image[top : top + 4, left : left + 4, -1] = 250 * label
        mark[top - 1 : top + 5, left - 1 : left + 5] = True
    return images, y, near


@pytest.fixture(scope="module", params=[1, 3], ids=["gray", "colour"])
def learnt(request):
    """A classifier of such images that knows them, and 20 others."""
    images, y, _ = draw_patches(200, 0, request.param)
    model = CNNClassifier(
        (8, 8), dense_units=16, max_epochs=8, batch_size=32, learning_rate=0.01, random_state=0
    )
    return model.fit(images, y), draw_patches(20, 1, request.param)


def saliency(model, images, number, method, target=None):
    display = SaliencyDisplay.from_estimator(
        model, images, image=number, method=method, target=target, colorbar=False
    )
    plt.close("all")
    return display.saliency


@pytest.mark.parametrize("method", LEAST_SHARES)
def test_saliency_points_at_what_decides(learnt, method):
    """By chance 2 of 20 maxima would. Catches turned axes, wrong signs, and shifted maps."""
    model, (images, y, near) = learnt
    assert model.score(images, y) == 1
    heats = [np.clip(saliency(model, images, i, method), 0, None) for i in range(20)]
    shares = [heat[mark].sum() / heat.sum() for heat, mark in zip(heats, near, strict=True)]
    n_hits = sum(mark.flat[heat.argmax()] for heat, mark in zip(heats, near, strict=True))
    assert np.mean(shares) > LEAST_SHARES[method]
    assert n_hits >= 10


def test_occlusion_tells_for_a_class_from_against_it(learnt):
    """What is for the one class of two is against the other. Catches a target that is left out."""
    model, (images, y, near) = learnt
    falls = [
        saliency(model, images, i, "occlusion", target)[near[i]].mean()
        for i in range(4)
        for target in (y[i], 1 - y[i])
    ]
    assert np.mean(falls[::2]) > 0 > np.mean(falls[1::2])


@pytest.mark.parametrize("method", LEAST_SHARES)
def test_saliency_moves_with_the_image(learnt, method):
    """Two steps down and to the right, without the rims. Catches maps laid out the wrong way."""
    model, _ = learnt
    channels = model.image_shape_[2]
    image = np.full((1, 16, 20, channels), 90, dtype=np.uint8)
    image[0, 4:8, 6:10, -1] = 250
    moved = np.roll(image, (4, 4), axis=(1, 2))
    before = saliency(model, image, 0, method, target=1)
    after = saliency(model, moved, 0, method, target=1)
    np.testing.assert_array_less(
        np.abs(np.argwhere(after == after.max())[0] - np.argwhere(before == before.max())[0] - 4), 3
    )
