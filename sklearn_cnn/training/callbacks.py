"""The callbacks of a training: learning rate, early stopping, progress, and scikit-learn's tasks.

These are skorch callbacks, called in the order of the list in ``ConvNet.train``. User-defined
callbacks come after those of this package.
"""

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy
from math import ceil
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from skorch import NeuralNet
from skorch.callbacks import Callback, LRScheduler
from torch.nn.modules.batchnorm import _NormBase

from sklearn_cnn._forks import tqdm
from sklearn_cnn._messages import did_you_mean, warn
from sklearn_cnn.network.stages import learning_stages
from sklearn_cnn.training.examples import Batch
from sklearn_cnn.training.optimizer import COOLING, SCHEDULES, WARM_UP, cosine, set_rate

if TYPE_CHECKING:
    from sklearn_cnn.training.net import ConvNet

Weights = dict[str, torch.Tensor]
"""State dict of a network."""

Score = Callable[[np.ndarray], float]
"""Function of the outputs of the validation images, (n, n_outputs), that scores an epoch."""

EPOCHS_TO_JUDGE = 5
"""Minimum number of epochs to judge the loss: shorter trainings may end before it decreases."""

FEW_STEPS = 50
"""With fewer steps than this, the number of steps may be why nothing was learnt."""


class StopTraining(Exception):
    """Raised by a callback at the end of an epoch to end training regularly.

    Parameters
    ----------
    by : str, default=""
        Class name of the callback, set by the net.
    """

    def __init__(self, by: str = "") -> None:
        self.by = by


class LearningRateSchedule(Callback):
    """Set the learning rate before each batch, and record it in the history after each epoch.

    Parameters
    ----------
    schedule : {"one_cycle", "cosine", "constant"}
        Shape of the learning rate over the whole training.
    learning_rate : float
        Maximum learning rate.
    n_steps : int
        Number of batches of the whole training.
    n_first_steps : int, default=0
        Number of batches of a first phase. Each phase has the full shape.

    References
    ----------
    Smith and Topin, "Super-convergence: very fast training of neural networks using large
    learning rates" (2019), arXiv:1708.07120, for "one_cycle". Loshchilov and Hutter, "SGDR:
    stochastic gradient descent with warm restarts", ICLR 2017, for the cosine.
    """

    def __init__(
        self, schedule: str, learning_rate: float, n_steps: int, n_first_steps: int = 0
    ) -> None:
        self.schedule = schedule
        self.learning_rate = learning_rate
        self.n_steps = n_steps
        self.n_first_steps = n_first_steps

    def initialize(self) -> "LearningRateSchedule":
        """Start at the first step."""
        self.step_ = 0
        self.cooling_: tuple[int, int, float] | None = None
        return self

    @property
    def is_climbing(self) -> bool:
        """Whether the learning rate has not yet reached its maximum."""
        first, n_steps = self.n_first_steps, self.n_steps - self.n_first_steps
        if first and self.step_ < first:
            return True  # the layers of the second phase are not yet training
        return self.schedule == "one_cycle" and self.step_ < first + WARM_UP * n_steps

    def cool_down(self, steps_of_an_epoch: int) -> int:
        """Let the learning rate fall from its current value to zero, as a cosine.

        Return the number of epochs that this takes: the fraction ``COOLING`` of all epochs, or the
        remaining ones. A constant rate does not fall, and takes none.
        """
        if self.schedule == "constant":
            return 0
        n_epochs = ceil(COOLING * self.n_steps / steps_of_an_epoch)
        n_steps = min(n_epochs * steps_of_an_epoch, self.n_steps - self.step_)
        self.cooling_ = self.step_, n_steps, self.rate_ / self.learning_rate
        return n_steps // steps_of_an_epoch

    def on_batch_begin(
        self, net: NeuralNet, batch: Batch | None = None, training: bool = False, **_: object
    ) -> None:
        """Set the learning rate of the next step.

        A constant rate is left to the optimizer, so that a user-defined callback may change it.
        """
        if training and self.cooling_ is not None:
            first, n_steps, factor = self.cooling_
            self._set(net, factor * cosine((self.step_ - first + 0.5) / n_steps))
        elif training and self.schedule != "constant":
            first, last = 0, self.n_first_steps
            if self.step_ >= last:
                first, last = last, self.n_steps
            progress = (self.step_ + 0.5 - first) / (last - first)
            self._set(net, SCHEDULES[self.schedule](progress))
        self.step_ += bool(training)

    def on_batch_end(self, net: NeuralNet, training: bool = False, **_: object) -> None:
        """Store the learning rate of the step, before a callback sets the next one."""
        if training:
            self.rate_: float = net.optimizer_.param_groups[0]["lr"]

    def on_epoch_end(self, net: NeuralNet, **_: object) -> None:
        """Record the learning rate of the last step of the epoch."""
        net.history.record("learning_rate", self.rate_)

    def state_dict(self) -> dict[str, object]:
        """Return the position in the schedule."""
        return {"step": self.step_, "cooling": self.cooling_, "rate": self.rate_}

    def load_state_dict(self, state: Mapping[str, Any], net: NeuralNet) -> None:
        """Continue from that position."""
        self.step_, self.cooling_, self.rate_ = state["step"], state["cooling"], state["rate"]

    def on_train_end(self, net: NeuralNet, **_: object) -> None:
        """Reset the learning rate of the optimizer to its initial value."""
        if self.schedule != "constant":
            self._set(net, 1.0)

    def _set(self, net: NeuralNet, factor: float) -> None:
        set_rate(net.optimizer_, self.learning_rate * factor)


class HeadFirst(Callback):
    """Freeze the stages of a pretrained network for some epochs, and train only the new layers.

    Parameters
    ----------
    n_epochs : int
        Number of epochs of the first phase.
    """

    def __init__(self, n_epochs: int) -> None:
        self.n_epochs = n_epochs

    def on_train_begin(self, net: NeuralNet, **_: object) -> None:
        """Start counting epochs."""
        self.epoch_ = 0
        self.weights_: list[torch.nn.Parameter] = []

    def state_dict(self) -> dict[str, object]:
        """Return the number of epochs so far."""
        return {"epoch": self.epoch_}

    def load_state_dict(self, state: Mapping[str, Any], net: NeuralNet) -> None:
        """Continue after that number of epochs."""
        self.epoch_ = state["epoch"]
        self._take_weights(net)
        self._set(self.epoch_ > self.n_epochs)

    def on_epoch_begin(self, net: NeuralNet, **_: object) -> None:
        """Freeze the trainable weights of the stages in the first phase, and unfreeze them after.

        Weights that another callback froze before stay frozen.
        """
        self.epoch_ += 1
        if self.epoch_ == 1:
            self._take_weights(net)
            self._set(False)
        elif self.epoch_ == self.n_epochs + 1:
            self._set(True)

    def on_train_end(self, net: NeuralNet, **_: object) -> None:
        """Unfreeze the stages if training stopped in the first phase."""
        if self.epoch_ <= self.n_epochs:
            self._set(True)
        self.weights_ = []

    def _take_weights(self, net: NeuralNet) -> None:
        stages = learning_stages(net.module_)
        self.weights_ = [w for stage in stages for w in stage.parameters() if w.requires_grad]

    def _set(self, learns: bool) -> None:
        for weight in self.weights_:
            weight.requires_grad_(learns)


class ValidationScore(Callback):
    """Score each epoch on validation images, stop without improvement, restore the best weights.

    Parameters
    ----------
    patience : int
        Number of epochs without a better score before training cools down and stops.
    tol : float
        Minimum increase over the best score that counts as an improvement for ``patience``.
    schedule : LearningRateSchedule
        Schedule that lets the learning rate fall to zero before training stops.
    score : callable (outputs) -> float, or None
        Function that scores an epoch. If None, the negative validation loss.
    names : tuple of str
        Additional names of the score in the history.
    """

    def __init__(
        self,
        patience: int,
        tol: float,
        schedule: LearningRateSchedule,
        score: Score | None,
        names: tuple[str, ...] = (),
    ) -> None:
        self.patience = patience
        self.tol = tol
        self.schedule = schedule
        self.score = score
        self.names = names

    def initialize(self) -> "ValidationScore":
        """Start without a best score."""
        self.best_score_ = self.highest_ = -np.inf
        self.best_epoch_ = (-np.inf, -np.inf)
        self.misses_ = 0
        self.epochs_left_: int | None = None
        self.weights_: Weights = {}
        return self

    def state_dict(self) -> dict[str, object]:
        """Return the best epoch so far, and the remaining patience."""
        names = ("best_score_", "highest_", "best_epoch_", "misses_", "epochs_left_", "weights_")
        return {name: getattr(self, name) for name in names}

    def load_state_dict(self, state: Mapping[str, Any], net: NeuralNet) -> None:
        """Continue from that state."""
        weights = {name: value.to(net.device) for name, value in state["weights_"].items()}
        self.__dict__.update({**state, "weights_": weights})

    def on_epoch_begin(self, net: NeuralNet, **_: object) -> None:
        """Start collecting the outputs of an epoch."""
        self.outputs_: list[torch.Tensor] = []

    def on_batch_end(
        self, net: NeuralNet, training: bool, y_pred: torch.Tensor, **_: object
    ) -> None:
        """Keep the outputs of a validation batch on the device, since reading them would block."""
        if not training:
            self.outputs_.append(y_pred.detach())

    def on_epoch_end(self, net: NeuralNet, **_: object) -> None:
        """Record the score, keep the best weights, and stop some epochs after the last improvement.

        Raises
        ------
        ValueError
            If the score is not finite.
        """
        outputs = torch.cat(self.outputs_).cpu().double().numpy()
        del self.outputs_
        score = -net.history[-1]["valid_loss"] if self.score is None else self.score(outputs)
        score = float(score)
        for name in ("validation_score", *self.names):
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

    def on_train_end(self, net: NeuralNet, **_: object) -> None:
        """Restore the best weights, and release the copy."""
        net.module_.load_state_dict(self.weights_)
        self.weights_ = {}


def rank_of_epoch(epoch: Mapping[str, float]) -> tuple[float, float]:
    """Return the key that ranks the epochs of a history: the best epoch has the highest key.

    With few images, scores are often equal. The lower validation loss is then better.
    """
    return epoch["validation_score"], -epoch["valid_loss"]


class FiniteGuard(Callback):
    """Raise for a loss or weight that is not finite, at the end of its epoch.

    Frozen weights and the statistics of frozen norms do not change, and are not checked.
    """

    def on_epoch_end(self, net: NeuralNet, **_: object) -> None:
        """Check the losses of the epoch, and the weights.

        Raises
        ------
        ValueError
            If one is not finite, with the epoch and a likely remedy.
        """
        epoch = net.history[-1]
        values = [weight for weight in net.module_.parameters() if weight.requires_grad]
        for module in net.module_.modules():
            is_norm = isinstance(module, _NormBase)  # a transformer's mask may be infinite
            if is_norm and (module.weight is None or module.weight.requires_grad):
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
        remedy = "Use a smaller learning_rate, for example a tenth of it"
        if rate < 1 <= rate * decay:  # a step removes more than the whole weight
            remedy = f"Use a smaller weight_decay (it is {decay:g})"
        raise ValueError(
            f"Training diverged: {broken} in epoch {epoch['epoch']}, at a learning rate of "
            f"{rate:.3g}. {remedy}. If layers or augment is user-defined, check its logarithms and "
            "divisions."
        )


class Progress(Callback):
    """Show a progress bar over all batches of a training, with the loss and the remaining time.

    Parameters
    ----------
    n_epochs : int
        Number of epochs of the whole training.
    n_batches : int
        Number of batches per epoch.
    """

    def __init__(self, n_epochs: int, n_batches: int) -> None:
        self.n_epochs = n_epochs
        self.n_batches = n_batches

    def on_train_begin(self, net: NeuralNet, **_: object) -> None:
        """Draw an empty bar."""
        self.epoch_ = 0
        self.bar_ = tqdm(total=self.n_epochs * self.n_batches, unit="batch", leave=True)

    def skip(self, n_epochs: int) -> None:
        """Count epochs that ran before this process."""
        self.epoch_ = n_epochs
        self.bar_.n = self.bar_.initial = n_epochs * self.n_batches

    def on_epoch_begin(self, net: NeuralNet, **_: object) -> None:
        """Show the number of the epoch."""
        self.epoch_ += 1
        self.bar_.set_description(f"epoch {self.epoch_}/{self.n_epochs}", refresh=False)

    def on_batch_end(self, net: NeuralNet, training: bool = False, **_: object) -> None:
        """Advance by one batch."""
        if training:
            self.bar_.update()

    def on_epoch_end(self, net: NeuralNet, **_: object) -> None:
        """Show the loss of the epoch, and its validation score if available."""
        epoch = net.history[-1]
        shown = {"loss": f"{epoch['train_loss']:.4f}"}
        if "validation_score" in epoch:
            shown["validation"] = f"{epoch['validation_score']:.4f}"
        self.bar_.set_postfix(shown)

    def close(self) -> None:
        """Close the bar, whether or not training succeeded."""
        if hasattr(self, "bar_"):
            self.bar_.close()
            del self.bar_


class Task(Protocol):
    """A fit or an epoch, as a task of scikit-learn's callbacks."""

    def subcontext(self, task_name: str) -> "Task":
        """Open a task within this one."""

    def call_on_fit_task_begin(self, **told: object) -> None:
        """Notify the callbacks that the task begins."""

    def call_on_fit_task_end(self, **told: object) -> bool:
        """Notify the callbacks that the task has ended, and return whether to stop."""


class EpochTasks(Callback):
    """Notify scikit-learn's callbacks of the beginning and end of the fit and of each epoch.

    scikit-learn's context calls the callbacks. A callback may request the estimator as if ``fit``
    had stopped at an epoch, which is only created on request.

    Parameters
    ----------
    estimator : object
        The estimator that is fitted.
    given : mapping
        ``X``, ``y`` and ``sample_weight``, as passed to ``fit``.
    fitted_attributes : callable (net) -> dict
        Function that returns the fitted attributes of an estimator with that net.
    """

    are_done = False
    """Whether training is finished, so that an error does not discard the network."""

    def __init__(
        self,
        estimator: object,
        given: Mapping[str, object],
        fitted_attributes: Callable[["ConvNet"], dict[str, object]],
    ) -> None:
        weights = given["sample_weight"]
        metadata = None if weights is None else {"sample_weight": weights}
        self.told = {"estimator": estimator, "X": given["X"], "y": given["y"], "metadata": metadata}
        self.fitted_attributes = fitted_attributes

    @contextmanager
    def late_errors_kept(self, late: list[Exception]) -> Iterator[None]:
        """Add an error to a list if it is raised after training, and re-raise it otherwise."""
        try:
            yield
        except Exception as error:
            if not self.are_done:
                raise
            error.add_note("Raised by one of scikit-learn's callbacks, set by set_callbacks.")
            late.append(error)

    def begin(self, context: Task) -> None:
        """Begin the task of the fit."""
        self.context = context
        context.call_on_fit_task_begin(**self.told)

    def on_epoch_begin(self, net: NeuralNet, **_: object) -> None:
        """Begin the task of an epoch."""
        self.task_ = self.context.subcontext(task_name="epoch")
        self.task_.call_on_fit_task_begin(**self.told)

    def on_epoch_end(self, net: "ConvNet", **_: object) -> None:
        """End the task of the epoch, and stop training if a callback requests it."""
        if self._end(self.task_, net):
            raise StopTraining

    def end(self, net: "ConvNet") -> None:
        """End the task of the fit."""
        self.are_done = True
        self._end(self.context, net)

    def _end(self, task: Task, net: "ConvNet") -> bool:
        attributes = self.fitted_attributes
        return task.call_on_fit_task_end(
            reconstruction_attributes=lambda: attributes(net.as_if_stopped()), **self.told
        )

    def let_go(self) -> None:
        """Release the images and other references, because the net keeps its callbacks."""
        del self.told, self.fitted_attributes
        for name in ("context", "task_"):
            self.__dict__.pop(name, None)


def check_callbacks(callbacks: Sequence[object] | None, schedule: str) -> list[object]:
    """Return the ``callbacks`` parameter as a list, or raise for an invalid element.

    Raises
    ------
    TypeError
        If an element is not a skorch callback, a class of one, or a (name, callback) pair.
    ValueError
        If a callback and the schedule would both set the learning rate.
    """
    for position, item in enumerate(callbacks or ()):
        callback = item[1] if isinstance(item, tuple) and len(item) == 2 else item
        cls = callback if inspect.isclass(callback) else type(callback)
        if not issubclass(cls, Callback):
            raise TypeError(
                f"callbacks[{position}] must be a skorch callback, such as "
                f"skorch.callbacks.EpochScoring('accuracy'), or a pair (name, callback). Got "
                f"{item!r}. Pass scikit-learn callbacks to set_callbacks()."
            )
        if issubclass(cls, LRScheduler) and schedule != "constant":
            raise ValueError(
                f"callbacks[{position}] is an LRScheduler, but schedule={schedule!r} also sets the "
                "learning rate. Use schedule='constant', or remove the callback."
            )
    return list(callbacks or ())


def copy_callbacks(callbacks: Any) -> Any:
    """Copy the callback objects of a ``callbacks`` parameter; the copies share what they hold.

    A callback may hold an object that cannot be copied: a file, a lock or an experiment run.
    """
    if isinstance(callbacks, list | tuple):
        return type(callbacks)(copy_callbacks(item) for item in callbacks)
    return copy(callbacks) if isinstance(callbacks, Callback) else callbacks


def set_callback_parameter(callbacks: Iterable[object] | None, key: str, value: object) -> None:
    """Set a parameter of a callback object, given as ``callbacks__NAME__PARAMETER``.

    Raises
    ------
    ValueError
        If the callback object or its parameter does not exist.
    """
    pairs = [
        item if isinstance(item, tuple) else (type(item).__name__, item) for item in callbacks or ()
    ]
    settable = {
        f"callbacks__{name}__{parameter}": (callback, parameter)
        for name, callback in pairs
        if isinstance(callback, Callback)
        for parameter in callback.get_params(deep=False)
    }
    if key not in settable:
        raise ValueError(
            f"Invalid parameter {key!r} for the callbacks {callbacks!r}. Valid parameters are: "
            f"{', '.join(settable) or 'none'}.{did_you_mean(key, settable)}"
        )
    callback, parameter = settable[key]
    callback.set_params(**{parameter: value})


def is_user_defined(callback: object) -> bool:
    """Tell whether a callback is not part of this package."""
    return not type(callback).__module__.startswith("sklearn_cnn.")


def warn_if_nothing_was_learnt(
    history: Sequence[Mapping[str, Any]],
    n_epochs: int,
    learning_rate: float,
    guess: str,
    loss_of_guess: float,
) -> None:
    """Warn if the final loss is not lower than that of a network that has learnt nothing.

    Parameters
    ----------
    history : skorch.history.History
        History of a training that ran all of its epochs.
    n_epochs : int
        Number of these epochs.
    learning_rate : float
        Maximum learning rate.
    guess : str
        Description of the predictions of such a network.
    loss_of_guess : float
        Loss of such a network.
    """
    loss = history[-1]["train_loss"]
    if n_epochs < EPOCHS_TO_JUDGE or loss < loss_of_guess:
        return
    n_steps, remedy = n_epochs * history[-1]["train_batch_count"], "Try"
    if n_steps < FEW_STEPS:
        remedy = (
            f"Training took {n_steps} steps, in {n_epochs} epochs. Increase max_epochs, or use "
            "max_epochs='auto'. If this does not help, try"
        )
    warn(
        f"The training loss ended at {loss:.3f}, no better than the {loss_of_guess:.3f} of "
        f"{guess}. {remedy} a smaller learning_rate (it is {learning_rate:g}), or check that y "
        "matches the images.",
        ConvergenceWarning,
    )


def warn_of_late_errors(late: Iterable[Exception]) -> None:
    """Warn of errors that callbacks raised after training, which do not discard the network."""
    for error in late:
        notes = "".join(f" {note}" for note in getattr(error, "__notes__", ()))
        warn(
            f"A callback failed after training was finished. The trained model is kept. "
            f"{type(error).__name__}: {error}.{notes}"
        )
