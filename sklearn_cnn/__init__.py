"""Convolutional networks for images, the scikit-learn way."""

from sklearn_cnn.augment.descriptions import (
    RandomErasing,
    RandomFlip,
    RandomRotation,
    RandomShear,
    RandomShift,
    RandomZoom,
)
from sklearn_cnn.classifier import CNNClassifier
from sklearn_cnn.files.folder import load_image_folder
from sklearn_cnn.files.reader import ImageReader
from sklearn_cnn.inspection.feature_maps import FeatureMapDisplay
from sklearn_cnn.inspection.filters import FilterDisplay
from sklearn_cnn.inspection.mistakes import MistakesDisplay
from sklearn_cnn.inspection.saliency import SaliencyDisplay
from sklearn_cnn.inspection.training_curve import TrainingCurveDisplay
from sklearn_cnn.network.layers import (
    Activation,
    Backbone,
    BatchNorm,
    Conv,
    Dense,
    Dropout,
    Flatten,
    Pool,
)
from sklearn_cnn.persistence.export import export_onnx
from sklearn_cnn.persistence.models import load_model, save_model
from sklearn_cnn.pretrained.features import PretrainedFeatures
from sklearn_cnn.regressor import CNNRegressor
from sklearn_cnn.training.processes import data_parallel

__all__ = [
    "Activation",
    "Backbone",
    "BatchNorm",
    "CNNClassifier",
    "CNNRegressor",
    "Conv",
    "Dense",
    "Dropout",
    "FeatureMapDisplay",
    "FilterDisplay",
    "Flatten",
    "ImageReader",
    "MistakesDisplay",
    "Pool",
    "PretrainedFeatures",
    "RandomErasing",
    "RandomFlip",
    "RandomRotation",
    "RandomShear",
    "RandomShift",
    "RandomZoom",
    "SaliencyDisplay",
    "TrainingCurveDisplay",
    "__version__",
    "data_parallel",
    "export_onnx",
    "load_image_folder",
    "load_model",
    "save_model",
]

__version__ = "0.1.0"
