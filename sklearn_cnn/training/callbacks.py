"""The callbacks of a training: learning rate, early stopping, progress, scikit-learn's tasks."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch.nn.modules.batchnorm import _NormBase

from sklearn_cnn._forks import tqdm
from sklearn_cnn.training.net import Callback, ConvNet, StopTraining
from sklearn_cnn.training.optimizer import LearningRateSchedule

# TODO doc of training/stopping: When training ends before its last epoch: the best validation
# score, or numbers that broke.

# TODO doc of training/progress: A progress bar over all batches of a training, with the loss and
# the time left.

# TODO doc of training/epoch_tasks: scikit-learn's callbacks: each epoch is a task of a fit, and
# one of them may stop it.
#
# The callbacks themselves are scikit-learn's; they come with a context, which calls them.
#


class ValidationScore(Callback):
    """Score each epoch on the images held out, stop when it stalls, and restore the best weights.

    Parameters
    ----------
    patience : int
        Epochs without a better score before training cools down and stops.
    tol : float
        By how much a score must beat the best one to count as better for ``patience``.
    schedule : LearningRateSchedule
        What lets the learning rate fall to zero before training stops.
    """

    def __init__(self, patience: int, tol: float, schedule: LearningRateSchedule) -> None:
        self.patience = patience
        self.tol = tol
        self.schedule = schedule

    def initialize(self) -> "ValidationScore":
        """Begin without a best score."""
        self.best_score_ = self.highest_ = -np.inf
        self.best_epoch_ = (-np.inf, -np.inf)
        self.misses_ = 0
        self.epochs_left_: int | None = None
        self.weights_: dict[str, torch.Tensor] = {}
        return self

    def on_epoch_begin(self, net: Any, **_: Any) -> None:
        """Begin an epoch's counts."""
        self.right_ = self.total_ = torch.zeros((), dtype=torch.float64)

    def on_batch_end(
        self, net: Any, batch: Any = None, training: Any = None, y_pred: Any = None, **_: Any
    ) -> None:
        """Count the right predictions of a validation batch, by weight."""
        if not training:
            inputs, targets = batch
            right = y_pred.argmax(dim=1).to(targets.device) == targets
            self.right_ = self.right_.to(targets.device) + (right * inputs["sample_weight"]).sum()
            self.total_ = self.total_.to(targets.device) + inputs["sample_weight"].sum()

    def on_epoch_end(self, net: Any, **_: Any) -> None:
        """Record the score, keep the weights of the best, and stop a while after it stalls."""
        score = float(self.right_ / self.total_)
        del self.right_, self.total_
        for name in ("validation_score", "valid_acc"):  # the second as skorch's classifier names it
            net.history.record(name, score)
            net.history.record(f"{name}_best", score > self.highest_)
        self.highest_ = max(self.highest_, score)
        epoch = rank_of_epoch(net.history[-1])
        if epoch > self.best_epoch_:
            self.best_epoch_ = epoch
            self.weights_ = {k: v.clone() for k, v in net.module_.state_dict().items()}
        if score > self.best_score_ + self.tol:
            self.best_score_, self.misses_ = score, 0
        else:
            self.misses_ += 1
        if self.epochs_left_ is not None:
            self.epochs_left_ -= 1
        elif self.misses_ >= self.patience and not self.schedule.is_climbing:
            self.epochs_left_ = self.schedule.cool_down(net.history[-1]["train_batch_count"])
        if self.epochs_left_ == 0:
            raise StopTraining

    def on_train_end(self, net: Any, **_: Any) -> None:
        """Put the best weights back, and let go of the copy."""
        net.module_.load_state_dict(self.weights_)
        self.weights_ = {}


def rank_of_epoch(epoch: dict[str, Any]) -> tuple[float, float]:
    """Return what is highest for the best of some epochs of a history.

    Few images give few different scores: of equal ones, the lower validation loss is better.
    """
    return epoch["validation_score"], -epoch["valid_loss"]


class FiniteGuard(Callback):
    """Refuse a loss or a weight that is not finite, at the end of the epoch that made it."""

    def on_epoch_end(self, net: Any, **_: Any) -> None:
        """Look at the epoch's losses, and at the weights.

        Raises
        ------
        ValueError
            Naming the epoch and the likely remedy.
        """
        epoch = net.history[-1]
        values = [*net.module_.parameters()]
        for module in net.module_.modules():
            if isinstance(module, _NormBase):  # a mask, such as a transformer's, may be infinite
                values += [value for value in module.buffers() if value.is_floating_point()]
        if not np.isfinite(epoch["train_loss"]):
            broken = f"the training loss became {epoch['train_loss']}"
        elif not np.isfinite(epoch.get("valid_loss", 0.0)):
            broken = f"the validation loss became {epoch['valid_loss']}"
        elif not all(bool(torch.isfinite(value).all()) for value in values):
            broken = "some weights became infinite or NaN"
        else:
            return
        group = net.optimizer_.param_groups[0]
        rate, decay = group["lr"], group.get("weight_decay", 0.0)
        remedy = "Use a smaller learning_rate, a tenth of it to begin with"
        if rate < 1 <= rate * decay:  # a step takes more from a weight than there is
            remedy = f"Use a smaller weight_decay (it is {decay:g})"
        raise ValueError(
            f"Training diverged: {broken} in epoch {epoch['epoch']}, at a learning rate of "
            f"{rate:.3g}. {remedy}; where layers or augment is code of your own, look for a "
            "logarithm or a division in it."
        )


class Progress(Callback):
    """Show a progress bar on standard error.

    Parameters
    ----------
    n_epochs : int
        Epochs of the whole training.
    n_batches : int
        Batches of an epoch.
    """

    def __init__(self, n_epochs: int, n_batches: int) -> None:
        self.n_epochs = n_epochs
        self.n_batches = n_batches

    def on_train_begin(self, net: Any, **_: Any) -> None:
        """Draw the empty bar."""
        self.epoch_ = 0
        self.bar_ = tqdm(total=self.n_epochs * self.n_batches, unit="batch", leave=True)

    def on_epoch_begin(self, net: Any, **_: Any) -> None:
        """Name the epoch."""
        self.epoch_ += 1
        self.bar_.set_description(f"epoch {self.epoch_}/{self.n_epochs}", refresh=False)

    def on_batch_end(self, net: Any, training: Any = None, **_: Any) -> None:
        """Move on by one batch."""
        if training:
            self.bar_.update()

    def on_epoch_end(self, net: Any, **_: Any) -> None:
        """Show the epoch's loss, and its validation score where there is one."""
        epoch = net.history[-1]
        shown = {"loss": f"{epoch['train_loss']:.4f}"}
        if "validation_score" in epoch:
            shown["validation"] = f"{epoch['validation_score']:.4f}"
        self.bar_.set_postfix(shown)

    def close(self) -> None:
        """Leave the bar as it stands, whether training ended well or not."""
        if hasattr(self, "bar_"):
            self.bar_.close()
            del self.bar_


class EpochTasks(Callback):
    """Tell scikit-learn's callbacks where each epoch begins and ends.

    Parameters
    ----------
    context : sklearn.callback.CallbackContext
        That of the fit.
    estimator : CNNClassifier
        The one that is being fitted.
    given : dict
        ``X``, ``y`` and ``metadata`` of the fit, as the user gave them.
    fitted_attributes : callable (net) -> dict
        Returns the attributes that an estimator with that net has.
    """

    def __init__(
        self,
        context: Any,
        estimator: Any,
        given: dict[str, Any],
        fitted_attributes: Callable[[ConvNet], dict[str, Any]],
    ) -> None:
        self.context = context
        self.estimator = estimator
        self.given = given
        self.fitted_attributes = fitted_attributes

    def on_epoch_begin(self, net: Any, **_: Any) -> None:
        """Open a task."""
        self.task_ = self.context.subcontext(task_name="epoch")
        self.task_.call_on_fit_task_begin(estimator=self.estimator, **self.given)

    def on_epoch_end(self, net: Any, **_: Any) -> None:
        """Close the task, and stop training if a callback says so.

        A callback may ask for the estimator as if ``fit`` had stopped here; it is made then only.
        """
        asked_to_stop = self.task_.call_on_fit_task_end(
            estimator=self.estimator,
            reconstruction_attributes=lambda: self.fitted_attributes(as_if_stopped(net)),
            **self.given,
        )
        if asked_to_stop:
            raise StopTraining

    def let_go(self) -> None:
        """Forget the images and all else, since the net keeps its callbacks."""
        self.__dict__.clear()


def as_if_stopped(net: ConvNet) -> ConvNet:
    """Copy a net in the midst of training, or at its end: the copy does not change any more.

    It has the weights that ``fit`` would keep: with early stopping, those of the best epoch.
    """
    copy = net.copy_to_keep()
    copy.forget_moments()
    for _, callback in net.callbacks_:
        if isinstance(callback, ValidationScore) and callback.weights_:
            copy.module_.load_state_dict(callback.weights_)
    copy.module_.eval()
    return copy
