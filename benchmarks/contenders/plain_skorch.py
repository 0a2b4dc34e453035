"""The network of the tutorials in skorch, with its defaults, but for the images it would hold out.

Its batches of 128 and its loss are the defaults, and Adam with its usual learning rate is what the
tutorials take. skorch does not shuffle unless told to: images come in the order of the data set,
which in Fashion-MNIST is random, but the same in each epoch. ``shuffle`` tells it to.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from skorch import NeuralNetClassifier
from skorch.callbacks import Callback
from torch import nn


class TutorialNetwork(nn.Module):
    """Two blocks of convolution, ReLU and maximum pooling, then two dense layers."""

    def __init__(self, shape: tuple[int, int, int], n_classes: int, units: int):
        super().__init__()
        height, width, channels = shape
        self.layers = nn.Sequential(
            nn.Conv2d(channels, 32, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(32, 64, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(64 * (height // 4) * (width // 4), units),
            nn.ReLU(),
            nn.Linear(units, n_classes),
            nn.Softmax(dim=-1),
        )

    def forward(self, X: torch.Tensor) -> torch.Tensor:
        return self.layers(X)


class AfterEpoch(Callback):
    """Call a function after each epoch, and stop where it says so."""

    def __init__(self, function: Callable[[Any], bool]) -> None:
        self.function = function

    def on_epoch_end(self, net: NeuralNetClassifier, **_: Any) -> None:
        if self.function(net.predict):
            raise KeyboardInterrupt  # which skorch takes as the wish to stop


def prepare(images: np.ndarray) -> np.ndarray:
    """Scale to 0..1 as float32, channels first."""
    channels = 1 if images.ndim == 3 else images.shape[3]
    scaled = images.reshape(*images.shape[:3], channels).astype(np.float32) / 255
    return np.ascontiguousarray(scaled.transpose(0, 3, 1, 2))


def make(
    *,
    shape: tuple[int, int, int] = (28, 28, 1),
    epochs: int = 5,
    seed: int = 0,
    units: int = 128,
    shuffle: bool = False,
    after_epoch: Callable[[Any], bool] | None = None,
) -> NeuralNetClassifier:
    """Return the net for images of ten classes."""
    torch.manual_seed(seed)
    return NeuralNetClassifier(
        TutorialNetwork,
        module__shape=shape,
        module__n_classes=10,
        module__units=units,
        optimizer=torch.optim.Adam,
        lr=1e-3,
        max_epochs=epochs,
        train_split=None,
        iterator_train__shuffle=shuffle,
        verbose=0,
        callbacks=[AfterEpoch(after_epoch)] if after_epoch else None,
    )
