"""The network of the tutorials in Keras on TensorFlow: Adam, batches of 128."""

import os
from collections.abc import Callable
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")

import keras
import numpy as np
from keras import layers

BATCH = 128


def tutorial_layers() -> list[Any]:
    """Two blocks of convolution and maximum pooling, then two dense layers for ten classes."""
    return [
        layers.Conv2D(32, 3, padding="same", activation="relu"),
        layers.MaxPooling2D(),
        layers.Conv2D(64, 3, padding="same", activation="relu"),
        layers.MaxPooling2D(),
        layers.Flatten(),
        layers.Dense(128, activation="relu"),
        layers.Dense(10, activation="softmax"),
    ]


class AfterEpoch(keras.callbacks.Callback):
    """Call a function after each epoch, and stop where it says so."""

    def __init__(self, function: Callable[[Any], bool], predict: Callable[[Any], Any]) -> None:
        super().__init__()
        self.function, self.predict = function, predict

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.model.stop_training = self.function(self.predict)


def compile_step(model: Any, *batches: Any, **options: Any) -> None:
    """Have TensorFlow compile a training step, and undo what was learnt."""
    model.optimizer.build(model.trainable_variables)
    variables = [*model.variables, *model.optimizer.variables]
    values = [np.array(variable) for variable in variables]
    model.fit(*batches, epochs=1, verbose=0, **options)
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)


class Tutorial:
    """A compiled Keras model, with the methods of a scikit-learn classifier.

    Parameters
    ----------
    shape : tuple of int
        Height, width, channels.
    epochs, seed : int
        How long to train, and the seed of the weights and the order of the images.
    after_epoch : callable or None
        See ``AfterEpoch``.
    """

    def __init__(self, shape: Any, epochs: int, seed: int, after_epoch: Any) -> None:
        keras.utils.set_random_seed(seed)
        self.model = keras.Sequential([layers.Input(shape), *tutorial_layers()])
        self.model.compile("adam", "sparse_categorical_crossentropy")
        self.epochs = epochs
        self.callbacks = [AfterEpoch(after_epoch, self.predict)] if after_epoch else []

    def compile_first(self, X: np.ndarray, y: np.ndarray) -> None:
        """Compile the step, for both sizes of batch."""
        few = min(len(X), BATCH + len(X) % BATCH)
        compile_step(self.model, X[:few], y[:few], batch_size=BATCH)

    def fit(self, X: np.ndarray, y: np.ndarray) -> "Tutorial":
        self.model.fit(
            X, y, batch_size=BATCH, epochs=self.epochs, verbose=0, callbacks=self.callbacks
        )
        return self

    def predict_proba(self, X: np.ndarray) -> np.ndarray:
        return self.model.predict(X, verbose=0)

    def predict(self, X: np.ndarray) -> np.ndarray:
        return self.predict_proba(X).argmax(axis=1)


def prepare(images: np.ndarray) -> np.ndarray:
    """Scale to 0..1 as float32, channels last."""
    scaled = images.astype(np.float32) / 255
    return scaled[..., np.newaxis] if scaled.ndim == 3 else scaled


def make(
    *,
    shape: tuple[int, int, int] = (28, 28, 1),
    epochs: int = 5,
    seed: int = 0,
    after_epoch: Callable[[Any], bool] | None = None,
) -> Tutorial:
    """Return the model for images of ten classes."""
    return Tutorial(shape, epochs, seed, after_epoch)
