"""Convolutional networks for images, the scikit-learn way."""

from sklearn_cnn.classifier import CNNClassifier
from sklearn_cnn.images.augment import (
    RandomErasing,
    RandomFlip,
    RandomRotation,
    RandomShear,
    RandomShift,
    RandomZoom,
)
from sklearn_cnn.images.folder import load_image_folder
from sklearn_cnn.images.reader import ImageReader
from sklearn_cnn.network.layers import (
    Activation,
    BatchNorm,
    Conv,
    Dense,
    Dropout,
    Flatten,
    Pool,
)

__all__ = [
    "Activation",
    "BatchNorm",
    "CNNClassifier",
    "Conv",
    "Dense",
    "Dropout",
    "Flatten",
    "ImageReader",
    "Pool",
    "RandomErasing",
    "RandomFlip",
    "RandomRotation",
    "RandomShear",
    "RandomShift",
    "RandomZoom",
    "__version__",
    "load_image_folder",
]

__version__ = "0.1.0"
