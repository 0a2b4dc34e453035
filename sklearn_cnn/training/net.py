"""The skorch net: skorch's loop, history, callbacks and checkpoints over our batches and loss.

This is the only file that imports skorch.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from typing import Any

import numpy as np
import torch
from skorch import NeuralNet
from skorch.callbacks import Callback, EarlyStopping, LRScheduler
from skorch.dataset import unpack_data
from skorch.exceptions import SkorchException
from torch import nn

from sklearn_cnn.training.batches import (
    ImageDataset,
    IndexedBatches,
    PlainImages,
    TrainingData,
)
from sklearn_cnn.training.hardware import CHUNK, resolve_device, send_pixels

__all__ = ["Callback", "ConvNet", "LRScheduler", "StopTraining"]


class StopTraining(Exception):
    """Raised by a callback at the end of an epoch: training is done, and done well."""


class ConvNet(NeuralNet):
    """A :class:`skorch.NeuralNet` that trains on indexed batches of weighted images.

    It differs from its parent in five ways: batches are gathered by index; the loss is weighted; a
    batch too large for the memory is computed in pieces; :class:`StopTraining` ends training and
    Ctrl-C is passed on; predictions are class numbers.

    Parameters
    ----------
    module : callable () -> torch.nn.Module
        Builds the network.
    optimizer : callable (named parameters) -> torch.optim.Optimizer
        Makes the optimizer.
    label_smoothing : float
        Share of each label's probability that is spread over all classes.
    batch_size : int
        Images of a training step, at most.
    device : torch.device
        Where to compute.
    """

    images_per_pass = CHUNK
    """Images that go through the network at once; ``fit_to_memory`` sets it."""

    shuffler_: np.random.Generator | None = None
    optimizer: Any

    def __init__(
        self, module: Any, *, optimizer: Any, label_smoothing: float, batch_size: int, device: Any
    ) -> None:
        super().__init__(
            module,
            criterion=nn.CrossEntropyLoss,
            criterion__reduction="none",
            criterion__label_smoothing=label_smoothing,
            optimizer=optimizer,
            batch_size=batch_size,
            device=device,
            train_split=None,
            verbose=0,
        )

    def get_default_callbacks(self) -> list[Any]:
        """Return skorch's own callbacks, less the one that prints."""
        return [item for item in super().get_default_callbacks() if item[0] != "print_log"]

    def initialize_optimizer(self, triggered_directly: Any = None) -> "ConvNet":
        """Make the optimizer of the network's parameters."""
        self.optimizer_ = self.optimizer(self.get_all_learnable_params())
        return self

    def train(self, data: TrainingData, callbacks: list[Any], epochs: int, seed: int) -> None:
        """Run epochs, from the weights as they are.

        Parameters
        ----------
        data : TrainingData
            The images to learn from, and those to validate on.
        callbacks : list of skorch.callbacks.Callback
            In the order in which they are called, behind skorch's own.
        epochs : int
            How many, unless a callback stops.
        seed : int
            Seed of the order of the images.
        """
        self.callbacks = callbacks
        self._initialize_callbacks()
        self.shuffler_ = np.random.default_rng(seed)
        self.notify("on_train_begin", X=data.training, y=None)
        try:
            self.fit_loop(data, epochs=epochs)
        except StopTraining:
            pass
        except (KeyError, SkorchException) as error:
            if data.validation is None and "valid" in str(error):
                raise ValueError(
                    f"A callback asks for a figure of validation images, and there are none: "
                    f"{error}. Use early_stopping=True, which holds some out, or have the callback "
                    "monitor 'train_loss'."
                ) from error
            raise
        self.notify("on_train_end", X=data.training, y=None)

    def notify(self, method_name: str, **arguments: Any) -> None:
        """Call every callback, then stop if one of them asked for it.

        skorch's ``EarlyStopping`` asks by raising KeyboardInterrupt. It is told from Ctrl-C by its
        count of misses.
        """
        getattr(self, method_name)(self, **arguments)
        stop = False
        for _, callback in self.callbacks_:
            try:
                getattr(callback, method_name)(self, **arguments)
            except StopTraining:
                stop = True
            except KeyboardInterrupt:
                if method_name != "on_epoch_end" or not _has_lost_patience(callback):
                    raise
                stop = True
        if stop:
            raise StopTraining

    def get_dataset(self, X: Any, y: Any = None) -> Any:
        """Wrap an array of images (n, height, width, channels); a data set stays as it is."""
        return PlainImages(X) if isinstance(X, np.ndarray) else X

    def get_split_datasets(
        self, X: TrainingData, y: Any = None, **_: Any
    ) -> tuple[ImageDataset, ImageDataset | None]:
        """Hand out the two sets, which were split before."""
        return X.training, X.validation

    def get_iterator(
        self, dataset: ImageDataset | PlainImages, training: bool = False
    ) -> IndexedBatches:
        """Iterate in batches: shuffled to train, in order to validate and predict."""
        if training:
            return IndexedBatches(dataset, self.batch_size, self.shuffler_)
        return IndexedBatches(dataset, min(CHUNK, self.images_per_pass))

    def infer(self, x: dict[str, torch.Tensor], **_: Any) -> torch.Tensor:
        """Compute logits of shape (n, n_classes)."""
        logits: torch.Tensor = self.module_(send_pixels(x["images"], torch.device(self.device)))
        return logits

    def get_loss(
        self, y_pred: torch.Tensor, y_true: torch.Tensor, X: Any = None, training: bool = False
    ) -> torch.Tensor:
        """Mean of weight * cross-entropy; the weights of a data set have a mean of 1."""
        losses: torch.Tensor = self.criterion_(y_pred, y_true.to(y_pred.device))
        weights = X["sample_weight"].to(losses.dtype).to(losses.device)
        return torch.mean(weights * losses)

    def train_step_single(self, batch: Any, **_: Any) -> dict[str, torch.Tensor]:
        """Compute loss and gradients of a batch, in pieces that fit in memory."""
        self._set_training(True)
        inputs, targets = unpack_data(batch)
        losses, logits = [], []
        for start in range(0, len(targets), self.images_per_pass):
            piece = slice(start, start + self.images_per_pass)
            part = {name: values[piece] for name, values in inputs.items()}
            y_pred = self.infer(part)
            share = len(y_pred) / len(targets)
            loss = self.get_loss(y_pred, targets[piece], X=part, training=True) * share
            torch.autograd.backward(loss)
            losses.append(loss.detach())
            logits.append(y_pred.detach())
        return {"loss": torch.stack(losses).sum(), "y_pred": torch.cat(logits)}

    def predict(self, X: Any) -> np.ndarray:
        """Predict class numbers, so that skorch's scoring callbacks can compare them."""
        return np.asarray(self.predict_proba(X).argmax(axis=1))

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Unpickle onto the device of before, or onto the CPU where that is not."""
        try:
            device = resolve_device(state["device"])
        except ValueError:
            device = torch.device("cpu")
        super().__setstate__({**state, "device": device})

    @contextmanager
    def rollback_on_error(self) -> Iterator[None]:
        """Put weights, optimizer and history back as they were if training them further fails."""
        weights = deepcopy(self.module_.state_dict())
        maker, made = self.optimizer, self.optimizer_
        optimizer = deepcopy(made.state_dict())
        n_epochs = len(self.history)
        try:
            yield
        except BaseException:
            self.module_.load_state_dict(weights)
            self.optimizer, self.optimizer_ = maker, made
            self.optimizer_.load_state_dict(optimizer)
            del self.history[n_epochs:]
            self.module_.eval()
            raise


def _has_lost_patience(callback: Any) -> bool:
    return isinstance(callback, EarlyStopping) and callback.misses_ >= callback.patience
