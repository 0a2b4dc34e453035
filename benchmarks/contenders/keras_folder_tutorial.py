"""A folder of image files, read by Keras and classified by the network of the tutorials.

Files are decoded once and kept in memory, as in TensorFlow's tutorial on loading images. With
``augment``, Keras's own layers flip and shift each image anew in every epoch; the tutorials'
network has none.
"""

from pathlib import Path
from typing import Any

from contenders.keras_tutorial import BATCH, compile_step, tutorial_layers  # sets up Keras

import keras  # isort: skip
from keras import layers  # isort: skip


class FolderModel:
    """The model, which is fitted on a folder of class folders and scored on another."""

    def __init__(self, size: int, epochs: int, seed: int, augment: bool) -> None:
        keras.utils.set_random_seed(seed)
        self.size, self.epochs, self.seed = size, epochs, seed
        changes = [layers.RandomFlip("horizontal"), layers.RandomTranslation(0.125, 0.125)]
        self.model = keras.Sequential(
            [
                layers.Input((size, size, 3)),
                *(changes if augment else []),
                layers.Rescaling(1 / 255),
                *tutorial_layers(),
            ]
        )
        self.model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])

    def open(self, folder: Path, shuffle: bool) -> Any:
        files = keras.utils.image_dataset_from_directory(
            folder,
            image_size=(self.size, self.size),
            batch_size=None if shuffle else BATCH,
            shuffle=False,
            verbose=False,
        )
        if shuffle:
            files = files.cache().shuffle(10_000, seed=self.seed).batch(BATCH)
        return files.prefetch(2)

    def compile_first(self, folder: Path) -> None:
        """Compile the step."""
        compile_step(self.model, self.open(folder, shuffle=True), shuffle=False)

    def fit(self, folder: Path) -> "FolderModel":
        files = self.open(folder, shuffle=True)
        self.model.fit(files, epochs=self.epochs, shuffle=False, verbose=0)
        return self

    def score(self, folder: Path) -> float:
        return float(self.model.evaluate(self.open(folder, shuffle=False), verbose=0)[1])


def make(*, size: int, epochs: int = 25, seed: int = 0, augment: bool = False) -> FolderModel:
    """Return the model for images of ten classes."""
    return FolderModel(size, epochs, seed, augment)
