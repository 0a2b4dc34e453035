"""Keras's way from a folder of class folders to batches of images."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")

import keras


def open_folder(folder: Path, size: int) -> Iterable[tuple[Any, Any]]:
    """Return the batches, which are decoded anew whenever they are iterated."""
    return keras.utils.image_dataset_from_directory(
        folder, image_size=(size, size), batch_size=128, shuffle=False, verbose=False
    )
