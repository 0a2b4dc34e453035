"""A folder of image files, read and classified by a pipeline of this package."""

from pathlib import Path
from typing import Any

from sklearn.pipeline import make_pipeline

from sklearn_cnn import CNNClassifier, ImageReader, RandomFlip, RandomShift, load_image_folder


class FolderModel:
    """The pipeline, which is fitted on a folder of class folders and scored on another."""

    def __init__(self, size: int, **parameters: Any) -> None:
        classifier = CNNClassifier(augment=(RandomFlip(), RandomShift()), **parameters)
        self.pipeline = make_pipeline(ImageReader(size), classifier)

    def fit(self, folder: Path) -> "FolderModel":
        files = load_image_folder(folder)
        self.names = files.target_names
        self.pipeline.fit(files.data, files.target)
        return self

    def score(self, folder: Path) -> float:
        files = load_image_folder(folder, classes=self.names)
        return float(self.pipeline.score(files.data, files.target))


def make(*, size: int, epochs: int | str = "auto", seed: int = 0) -> FolderModel:
    """Return the pipeline, with nothing else set."""
    return FolderModel(size, max_epochs=epochs, random_state=seed)
