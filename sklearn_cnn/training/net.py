"""The skorch net: skorch's loop, history, callbacks and checkpoints over our batches and loss.

This is the only file that imports skorch.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from copy import copy, deepcopy
from pickle import PicklingError
from typing import Any

import numpy as np
import torch
from sklearn.base import ClassifierMixin
from skorch import NeuralNet
from skorch.callbacks import Callback, EarlyStopping, LRScheduler
from skorch.dataset import Dataset as SkorchDataset
from skorch.dataset import unpack_data
from skorch.exceptions import SkorchException
from torch import nn
from torch.nn.utils.parametrize import is_parametrized

from sklearn_cnn.augment.transforms import BatchAugmentation, Drawn
from sklearn_cnn.machine.device import CHUNK, resolve_device, send
from sklearn_cnn.network.modules import copy_together, keep_frozen_statistics
from sklearn_cnn.training.examples import (
    ImageDataset,
    ImagesOnDevice,
    IndexedBatches,
    PlainImages,
    TrainingData,
    placed,
)
from sklearn_cnn.training.parts import Lanes, images_per_part

__all__ = ["Callback", "ConvNet", "LRScheduler", "StopTraining"]


OF_ONE_TRAINING: dict[str, Any] = {
    "lanes_": None,
    "augmentation_": None,
    "weights_": (),
    "frozen_": None,
}
"""What a net has while it is trained, and no copy of it."""


CALLS_NOTED = 32
"""Entries of the history that ``partial_fit`` keeps: a call takes no longer for those before it."""


class StopTraining(Exception):
    """Raised by a callback at the end of an epoch: training is done, and done well."""


class LabelledImages(SkorchDataset):
    """A data set whose labels skorch's scoring callbacks find, also without a cache.

    Parameters
    ----------
    dataset : ImageDataset or ImagesOnDevice
        It gathers the batches.
    """

    def __init__(self, dataset: ImageDataset | ImagesOnDevice) -> None:
        self.X, self.y = dataset, dataset.targets

    def __len__(self) -> int:
        return len(self.X)

    def __getitem__(self, index: Any) -> Any:
        """Gather one image by its number, or a batch by an array of numbers."""
        return self.X[index]


class ConvNet(ClassifierMixin, NeuralNet):
    """A :class:`skorch.NeuralNet` that trains on indexed batches of weighted images.

    It differs from its parent in six ways: batches are gathered by index; the loss is weighted; a
    batch is computed in parts, side by side or in turn; the losses of batches stay on the device
    until the epoch ends; :class:`StopTraining` ends training and Ctrl-C is passed on; to a scorer
    it is a classifier, whose labels are the class numbers.

    Parameters
    ----------
    module : callable () -> torch.nn.Module
        Builds the network.
    optimizer : callable (named parameters) -> torch.optim.Optimizer
        Makes the optimizer.
    label_smoothing : float
        Share of each label's probability that is spread over all classes.
    n_classes : int
        Number of classes.
    batch_size : int
        Images of a training step, at most.
    device : torch.device
        Where to compute.
    """

    images_per_pass = CHUNK
    """Images that go through the network at once. ``fit_to_machine`` sets it, and what follows."""

    is_described = False
    """Whether the network is built of descriptions, so that threads may compute it at once."""

    is_cut = False
    """Whether a batch is cut into parts that threads compute side by side."""

    in_bfloat16 = False
    """Whether convolutions and dense layers multiply bfloat16 in training."""

    shuffler_: np.random.Generator | None = None
    weight_scale_ = 1.0
    n_epochs_of_fits = 0
    """Entries of the history that ``forget_calls`` keeps."""

    lanes_: Lanes | None = None
    weights_: tuple[nn.Parameter, ...] = ()
    frozen_: list[bool] | None = None
    augmentation_: BatchAugmentation | None = None
    optimizer: Any
    callbacks_: Any

    def __init__(
        self,
        module: Any,
        *,
        optimizer: Any,
        label_smoothing: float,
        n_classes: int,
        batch_size: int,
        device: Any,
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
        self.classes_ = np.arange(n_classes)

    def get_default_callbacks(self) -> list[Any]:
        """Return skorch's own callbacks, less the one that prints."""
        return [item for item in super().get_default_callbacks() if item[0] != "print_log"]

    def initialize_optimizer(self, triggered_directly: Any = None) -> "ConvNet":
        """Make the optimizer of the network's parameters."""
        self.optimizer_ = self.optimizer(self.get_all_learnable_params())
        return self

    @property
    def n_epochs(self) -> int:
        """Epochs run, also those that the history has forgotten."""
        return self.history[-1]["epoch"] if self.history else 0

    def on_epoch_begin(self, net: Any, **_: Any) -> None:
        """Begin an entry of the history, numbered after the last one."""
        number = self.n_epochs + 1
        self.history.new_epoch()
        self.history.record("epoch", number)

    def forget_moments(self) -> None:
        """Put the optimizer's state back to that of a new one; it is twice the weights of AdamW."""
        fresh = self.optimizer(self.get_all_learnable_params())
        self.optimizer_.state.clear()
        self.optimizer_.state.update(fresh.state)

    def forget_calls(self) -> None:
        """Keep no more than the last entries of ``partial_fit`` in the history."""
        del self.history[self.n_epochs_of_fits : -CALLS_NOTED]

    def train(
        self,
        data: TrainingData,
        callbacks: list[Any],
        epochs: int,
        seed: int,
        *,
        augmentation: BatchAugmentation | None = None,
        n_threads: int = 1,
    ) -> list[Exception]:
        """Run epochs, from the weights as they are.

        Parameters
        ----------
        data : TrainingData
            The images to learn from, and those to validate on.
        callbacks : list of skorch.callbacks.Callback
            In the order in which they are called, after skorch's own.
        epochs : int
            How many, unless a callback stops.
        seed : int
            Seed of the order of the images.
        augmentation : BatchAugmentation or None, default=None
            What changes the training images.
        n_threads : int, default=1
            Threads that may compute parts of a batch side by side; the result is the same.

        Returns
        -------
        list of Exception
            What user-defined callbacks raised once training was done: the network is trained.
        """
        self.callbacks = callbacks
        self._initialize_callbacks()
        self.shuffler_ = np.random.default_rng(seed)
        self.weight_scale_ = data.scale
        self.augmentation_ = augmentation
        self.weights_ = tuple(self.module_.parameters())
        self.notify("on_train_begin", X=data.training, y=None)
        if self.is_cut and images_per_part(self.images_per_pass):
            n_images, n_batches = len(data.training), -(-len(data.training) // self.batch_size)
            largest = -(-n_images // n_batches)
            self.lanes_ = Lanes(self.module_, largest, self.images_per_pass, n_threads, seed)
        try:
            self.fit_loop(data, epochs=epochs)
        except StopTraining:
            pass
        except (KeyError, ValueError, SkorchException) as error:
            is_missing = isinstance(error, KeyError) or "not found in history" in str(error)
            if data.validation is None and is_missing and "'valid" in str(error):
                raise ValueError(
                    f"A callback asks for a figure of validation images, and there are none: "
                    f"{error}. Use early_stopping=True, which holds some out, or have the callback "
                    "monitor 'train_loss'."
                ) from error
            raise
        finally:
            if self.lanes_ is not None:
                self.lanes_.close()
            for name, value in OF_ONE_TRAINING.items():
                setattr(self, name, value)
        return self._notify_of_end(data)

    def notify(self, method_name: str, **arguments: Any) -> None:
        """Call every callback, then stop if one of them asked for it.

        skorch's ``EarlyStopping`` asks by raising KeyboardInterrupt. It is told from Ctrl-C by its
        count of misses.
        """
        getattr(self, method_name)(self, **arguments)
        stop = False
        for name, callback in self.callbacks_:
            try:
                getattr(callback, method_name)(self, **arguments)
            except StopTraining:
                stop = True
            except KeyboardInterrupt:
                if method_name != "on_epoch_end" or not _has_lost_patience(callback):
                    raise
                stop = True
            except Exception as error:
                self._sign(error, name, callback, method_name)
                raise
        if stop:
            raise StopTraining

    def _notify_of_end(self, data: TrainingData) -> list[Exception]:
        """Tell every callback that training is done, whatever a user-defined one raises."""
        late = []
        for name, callback in self.callbacks_:
            try:
                callback.on_train_end(self, X=data.training, y=None)
            except Exception as error:
                self._sign(error, name, callback, "on_train_end")
                if not is_user_defined(callback):
                    raise
                late.append(error)
        return late

    def _sign(self, error: Exception, name: str, callback: Any, method_name: str) -> None:
        """Note in an error which user-defined callback raised it, and when."""
        if is_user_defined(callback):
            when = f" of epoch {self.n_epochs}" if "train" not in method_name else ""
            error.add_note(f"Raised by the callback {name!r} in its {method_name}{when}.")

    def get_dataset(self, X: Any, y: Any = None) -> Any:
        """Wrap an array of images (n, height, width, channels); a data set stays as it is.

        A batch as :class:`skorch.callbacks.BatchScoring` hands it out is wrapped, too.
        """
        if isinstance(X, dict):
            X = X["images"].permute(0, 2, 3, 1).cpu().numpy()
        return PlainImages(X) if isinstance(X, np.ndarray) else X

    def get_split_datasets(self, X: TrainingData, y: Any = None, **_: Any) -> tuple[Any, Any]:
        """Hand out the two sets, which were split before, and lie on the device if they may."""
        held_out = None
        if X.validation is not None:
            held_out = LabelledImages(placed(X.validation, self.device))
        return LabelledImages(placed(X.training, self.device)), held_out

    def get_iterator(self, dataset: Any, training: bool = False) -> IndexedBatches:
        """Iterate in batches: shuffled to train, in order to validate and predict."""
        if training:
            return IndexedBatches(dataset, self.batch_size, self.shuffler_)
        return IndexedBatches(dataset, min(CHUNK, self.images_per_pass))

    def run_single_epoch(
        self, iterator: Any, training: bool, prefix: str, step_fn: Any, **_: Any
    ) -> None:
        """Take a step a batch, and read the losses when all are queued.

        Reading a number waits until the device has computed it, so nothing is read in between.
        """
        if iterator is None:
            return
        losses = []
        for batch in iterator:
            self.notify("on_batch_begin", batch=batch, training=training)
            step = step_fn(batch)
            losses.append(step["loss"].detach())
            self.history.record_batch(f"{prefix}_batch_size", len(batch[1]))
            self.notify("on_batch_end", batch=batch, training=training, **step)
        scale = self.weight_scale_ if training else 1.0
        rows = self.history[-1]["batches"][-len(losses) :]
        for row, loss in zip(rows, torch.stack(losses).tolist(), strict=True):
            row[f"{prefix}_loss"] = loss / scale
        self.history.record(f"{prefix}_batch_count", len(losses))
        if training and self.lanes_ is not None:
            self.lanes_.merge_statistics()

    def infer(self, x: dict[str, torch.Tensor], **_: Any) -> torch.Tensor:
        """Compute logits of shape (n, n_classes)."""
        logits: torch.Tensor = self.module_(send(x["images"], self.device))
        return logits

    def get_loss(
        self, y_pred: torch.Tensor, y_true: torch.Tensor, X: Any = None, training: bool = False
    ) -> torch.Tensor:
        """Mean of weight * cross-entropy; the weights of a data set have a mean of 1."""
        losses: torch.Tensor = self.criterion_(y_pred, send(y_true, y_pred.device))
        weights = send(X["sample_weight"], losses.device).to(losses.dtype)
        return torch.mean(weights * losses)

    def train_step_single(self, batch: Any, **_: Any) -> dict[str, torch.Tensor]:
        """Compute loss and gradients of a batch, in parts that fit in memory."""
        frozen = [not weight.requires_grad for weight in self.weights_]
        if not self.module_.training or frozen != self.frozen_:
            # which takes as long as a layer of a small network
            self._set_training(True)
            keep_frozen_statistics(self.module_)
        if frozen != self.frozen_:  # a callback may freeze and unfreeze
            self._note_frozen(frozen)
        inputs, targets = unpack_data(batch)
        pixels, drawn = send(inputs["images"], self.device), list[Drawn]()
        if self.augmentation_ is not None:
            pixels, drawn = self.augmentation_.start(pixels)

        def compute(network: nn.Module, rows: slice) -> tuple[torch.Tensor, torch.Tensor]:
            part = {name: values[rows] for name, values in inputs.items()}
            images = BatchAugmentation.finish(pixels[rows], drawn, rows)
            with torch.autocast(
                self.device.type, torch.bfloat16, enabled=self.in_bfloat16, cache_enabled=False
            ):
                try:
                    y_pred = network(images)
                except ValueError as error:
                    if "more than 1 value per channel" not in str(error):
                        raise
                    raise ValueError(
                        f"Batch normalisation of the module that layers returned cannot learn from "
                        f"a single image at a time: {error}. Give more images at once, a "
                        "batch_size above 1, or use a norm that needs no batch, such as "
                        "torch.nn.GroupNorm."
                    ) from error
            if self.in_bfloat16:
                y_pred = y_pred.float()
            share = len(y_pred) / len(targets)
            return self.get_loss(y_pred, targets[rows], X=part, training=True) * share, y_pred

        run = self._in_turn if self.lanes_ is None else self._side_by_side
        losses, logits = zip(*run(compute, len(targets)), strict=True)
        return {"loss": torch.stack(losses).sum(), "y_pred": torch.cat(logits)}

    def _note_frozen(self, frozen: list[bool]) -> None:
        """Have the replicas and the optimizer follow what was frozen and unfrozen."""
        if all(frozen):
            raise ValueError(
                "The network has nothing left to learn: a callback, such as skorch's Freezer, has "
                "frozen all of its parameters. Leave its last layer, at least, unfrozen."
            )
        self.frozen_ = frozen
        if self.lanes_ is not None:
            self.lanes_.set_training()
        for group in self.optimizer_.param_groups:
            weights, state = group["params"], self.optimizer_.state
            if group.get("fused") and any("momentum_buffer" in state.get(w, ()) for w in weights):
                # torch's fused SGD fails on weights that it meets later than others
                for weight in weights:
                    state[weight].setdefault("momentum_buffer", torch.zeros_like(weight))

    def _in_turn(self, compute: Any, n_images: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Compute as many images at once as fit in memory; the gradients add up in the weights."""
        results, size = [], self.images_per_pass
        if n_images % size == 1 and size > 1:  # no pass of a single image, which has no variance
            size = -(-n_images // -(-n_images // size))
        for start in range(0, n_images, size):
            loss, y_pred = compute(self.module_, slice(start, start + size))
            torch.autograd.backward(loss)
            results.append((loss.detach(), y_pred.detach()))
        return results

    def _side_by_side(self, compute: Any, n_images: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Compute the parts in the threads there are, and add their gradients in fixed order."""
        weights = [weight for weight in self.weights_ if weight.requires_grad]

        def differentiate(network: nn.Module, rows: slice) -> tuple[Any, tuple[Any, ...]]:
            loss, y_pred = compute(network, rows)
            # a user-defined module may hold a weight that it does not use
            gradients = torch.autograd.grad(
                loss, weights, allow_unused=True, materialize_grads=True
            )
            return (loss.detach(), y_pred.detach()), gradients

        assert self.lanes_ is not None
        results, gradients = self.lanes_.run(differentiate, n_images)
        for weight, gradient in zip(weights, gradients, strict=True):
            if gradient.stride() != weight.stride():  # torch's fused optimizers do not look
                gradient = torch.empty_like(weight).copy_(gradient)
            weight.grad = gradient
        return results

    def predict(self, X: Any) -> np.ndarray:
        """Predict class numbers, so that skorch's scoring callbacks can compare them."""
        return np.asarray(self.predict_proba(X).argmax(axis=1))

    def copy_to_keep(self) -> "ConvNet":
        """Copy the net as it is now, with its optimizer and history, without its callbacks."""
        net = self._copied()
        net.__dict__.update(callbacks=[], callbacks_=[], history_=copy(self.history))
        return net

    def copy_to(self, device: torch.device, dtype: torch.dtype) -> "ConvNet":
        """Copy the net to a device, in a floating-point type; its history is the same object.

        The net itself stays as it is, for threads that compute with it meanwhile.
        """
        with torch.inference_mode(False):
            net = self._copied()
            net.device, optimizer = device, net.optimizer_
            weights, state = list(net.module_.parameters()), optimizer.state_dict()
            net.module_.to(device, dtype)
            net.criterion_.to(device)
            # which are other objects on some devices
            moved = dict(zip(weights, net.module_.parameters(), strict=True))
            for group in optimizer.param_groups:
                group["params"] = [moved[weight] for weight in group["params"]]
            optimizer.state.clear()
            optimizer.load_state_dict(state)  # moves the moments to the weights
        return net

    def _copied(self) -> "ConvNet":
        names = ("module_", "criterion_", "optimizer_")
        copies = copy_together(*(getattr(self, name) for name in names))
        net: ConvNet = object.__new__(type(self))
        net.__dict__.update(
            {**vars(self), **OF_ONE_TRAINING}, **dict(zip(names, copies, strict=True))
        )
        return net

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what lives for one training only, and callbacks: they may hold anything."""
        parametrized = [n for n, m in self.module_.named_modules() if is_parametrized(m)]
        if parametrized:
            raise PicklingError(
                "torch cannot pickle parametrized layers (torch.nn.utils.parametrize), and the "
                f"module that layers returned has one, {parametrized[0]!r}. Save the values of "
                "net_.module_.state_dict() instead, or return layers without parametrizations."
            )
        without: dict[str, Any] = {**OF_ONE_TRAINING, "callbacks": [], "callbacks_": []}
        state: dict[str, Any] = {**super().__getstate__(), **without}
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Unpickle onto the device of before, or onto the CPU where that is not."""
        try:
            device = resolve_device(state["device"])
        except ValueError:
            device = torch.device("cpu")
        super().__setstate__({**state, "device": device})

    @contextmanager
    def rollback_on_error(self) -> Iterator[None]:
        """Put all back if training further fails: weights, optimizer, history and callbacks."""
        weights = deepcopy(self.module_.state_dict())
        learning = [weight.requires_grad for weight in self.module_.parameters()]
        maker, made = self.optimizer, self.optimizer_
        optimizer = deepcopy(made.state_dict())
        n_epochs, callbacks = len(self.history), (self.callbacks, self.callbacks_)
        try:
            yield
        except BaseException:
            self.module_.load_state_dict(weights)
            for weight, may_learn in zip(self.module_.parameters(), learning, strict=True):
                weight.requires_grad_(may_learn)
            self.optimizer, self.optimizer_ = maker, made
            self.optimizer_.load_state_dict(optimizer)
            del self.history[n_epochs:]
            self.callbacks, self.callbacks_ = callbacks
            self.module_.eval()
            raise


def is_user_defined(callback: Any) -> bool:
    """Whether a callback is not one of this package's own."""
    return not type(callback).__module__.startswith("sklearn_cnn.")


def _has_lost_patience(callback: Any) -> bool:
    return isinstance(callback, EarlyStopping) and callback.misses_ >= callback.patience
