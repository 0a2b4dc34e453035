"""The images of the benchmarks, named by plain values so that any process can load them."""

import gzip
from pathlib import Path
from typing import NamedTuple

import numpy as np


class Images(NamedTuple):
    """Which images to load.

    Attributes
    ----------
    folder : str or None
        Folder of the four gzipped IDX files of Fashion-MNIST; None for scikit-learn's digits.
    n_train, n_test : int
        How many of the first ones to train and test on.
    """

    folder: str | None
    n_train: int
    n_test: int

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height, width and channels of an image."""
        return (28, 28, 1) if self.folder else (8, 8, 1)


class Split(NamedTuple):
    """Images and class numbers (n,), int64, to train and test on.

    Images are uint8, of shape (n, height, width), or (n, height, width, 3) from a folder.
    """

    X: np.ndarray
    y: np.ndarray
    X_test: np.ndarray
    y_test: np.ndarray


def load(images: Images) -> Split:
    """Read images into memory."""
    n_train, n_test = images.n_train, images.n_test
    if images.folder is None:
        from sklearn.datasets import load_digits

        digits = load_digits()
        X, y = digits.images.astype(np.uint8), digits.target.astype(np.int64)
        return Split(X[:n_train], y[:n_train], X[-n_test:], y[-n_test:])
    folder = Path(images.folder)
    return Split(
        _read(folder / "train-images-idx3-ubyte.gz")[:n_train],
        _read(folder / "train-labels-idx1-ubyte.gz")[:n_train].astype(np.int64),
        _read(folder / "t10k-images-idx3-ubyte.gz")[:n_test],
        _read(folder / "t10k-labels-idx1-ubyte.gz")[:n_test].astype(np.int64),
    )


def load_folder(folder: str, size: int) -> Split:
    """Read the images of train/ and test/, which hold class folders, at one size."""
    from sklearn_cnn import ImageReader, load_image_folder

    training = load_image_folder(Path(folder) / "train")
    test = load_image_folder(Path(folder) / "test", classes=training.target_names)
    reader = ImageReader(size=(size, size))
    X, X_test = reader.fit_transform(training.data), reader.fit_transform(test.data)
    return Split(X, training.target, X_test, test.target)


def _read(path: Path) -> np.ndarray:
    """Read an IDX file: two zeros, the type (8 for bytes), the number of axes, their lengths."""
    with gzip.open(path, "rb") as file:
        content = file.read()
    n_axes = content[3]
    shape = np.frombuffer(content, ">i4", count=n_axes, offset=4)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * n_axes).reshape(shape).copy()
