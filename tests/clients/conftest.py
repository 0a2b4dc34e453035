"""What every client is given: a small classifier, and images as each of the four kinds of X."""

import numpy as np
import pytest
from PIL import Image
from sklearn.pipeline import make_pipeline

from sklearn_cnn import CNNClassifier, ImageReader

KINDS = ["3-D", "4-D", "rows", "paths"]


@pytest.fixture(scope="session")
def examples(tmp_path_factory):
    """By kind: a classifier that takes it, X and y. Three classes of bright, middling and dark."""
    rng = np.random.default_rng(0)
    y = np.arange(60) % 3
    colours = rng.integers(0, 80, (60, 8, 8, 3), dtype=np.uint8)
    colours += (60 * y[:, np.newaxis, np.newaxis, np.newaxis]).astype(np.uint8)
    gray = colours[..., 0].copy()
    folder = tmp_path_factory.mktemp("images")
    paths = np.array([str(folder / f"{i}.png") for i in range(60)])
    for path, pixels in zip(paths, colours, strict=True):
        Image.fromarray(pixels).save(path)
    net = CNNClassifier(4, dense_units=16, max_epochs=20, random_state=0)
    files = make_pipeline(ImageReader(8), net)
    return {
        "3-D": (net, gray, y),
        "4-D": (net, colours, y),
        "rows": (net, gray.reshape(60, -1).astype(float), y),
        "paths": (files, paths, y),
    }


@pytest.fixture(params=KINDS)
def example(request, examples):
    """Each of the kinds."""
    return examples[request.param]


@pytest.fixture
def rows(examples):
    """Flattened rows, for what takes nothing else."""
    return examples["rows"]
