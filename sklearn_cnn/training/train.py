"""One training: assemble the callbacks, isolate the randomness, run the net."""

from math import log, prod
from typing import Any, NamedTuple

import torch
from sklearn.exceptions import ConvergenceWarning

from sklearn_cnn._messages import warn
from sklearn_cnn.augment.descriptions import Step
from sklearn_cnn.augment.transforms import BatchAugmentation
from sklearn_cnn.machine.device import MEMORY_FOR_ACTIVATIONS
from sklearn_cnn.machine.isolation import isolated
from sklearn_cnn.network.outputs import LayerRow, n_multiplications
from sklearn_cnn.training.callbacks import EpochTasks, FiniteGuard, Progress, ValidationScore
from sklearn_cnn.training.examples import TrainingData
from sklearn_cnn.training.net import Callback, ConvNet
from sklearn_cnn.training.optimizer import LearningRateSchedule

EPOCHS_TO_JUDGE = 5
"""A training of fewer epochs, or one that was stopped, may end before its loss has come down."""

FEW_STEPS = 50
"""Steps of a training, fewer than which may be why nothing was learnt."""


LONG_TRAINING = 1e14
"""Multiply-adds forward: hours on a CPU. Fashion-MNIST, nothing set, takes 3.5e12, in minutes."""

LARGE_IMAGE, LONG_FOR_LARGE = 5e9, 1e12
"""Multiply-adds of an image beyond which a shorter training warns, too: above 512 x 512."""


class TrainingPlan(NamedTuple):
    """What one training does, worked out from the estimator's parameters.

    Attributes
    ----------
    epochs : int
        Epochs, at most.
    schedule : str
        Shape of the learning rate over time.
    learning_rate : float
        Its highest value.
    patience : int
        Epochs without a better validation score before training stops.
    tol : float
        What counts as better.
    callbacks : list
        Those of the user.
    augment : tuple
        Steps that change the training images.
    verbose : int
        0 for silence, 1 for a progress bar.
    epoch_tasks : EpochTasks or None
        What tells scikit-learn's callbacks of the epochs.
    """

    epochs: int
    schedule: str
    learning_rate: float
    patience: int
    tol: float
    callbacks: list[Any]
    augment: tuple[Step, ...]
    verbose: int
    epoch_tasks: EpochTasks | None = None


def train_network(
    net: ConvNet, data: TrainingData, plan: TrainingPlan, seed: int
) -> list[Exception]:
    """Train a net from the weights it has.

    Parameters
    ----------
    net : ConvNet
        An initialized one.
    data : TrainingData
        Images to learn from, and to validate on.
    plan : TrainingPlan
        What to do.
    seed : int
        Seed of the order of the images, of augmentation and of dropout.

    Returns
    -------
    list of Exception
        What callbacks raised once training was done.

    Raises
    ------
    ValueError
        If training diverges.
    KeyboardInterrupt
        On Ctrl-C.
    """
    n_batches = len(net.get_iterator(data.training, training=True))
    n_steps = plan.epochs * n_batches
    schedule = LearningRateSchedule(plan.schedule, plan.learning_rate, n_steps)
    callbacks: list[Callback] = [FiniteGuard(), schedule]
    if data.validation is not None:
        callbacks.append(ValidationScore(plan.patience, plan.tol, schedule))
    progress = Progress(plan.epochs, n_batches)
    if plan.verbose:
        callbacks.append(progress)
    callbacks += plan.callbacks
    if plan.epoch_tasks is not None:
        callbacks.append(plan.epoch_tasks)
    net.verbose = plan.verbose
    net.lr, net.max_epochs = plan.learning_rate, plan.epochs  # which loggers of skorch write down
    device = torch.device(net.device)
    try:
        with isolated(device, seed) as n_threads:
            augmentation = None
            if plan.augment:
                augmentation = BatchAugmentation(plan.augment, seed, device)
            late = net.train(
                data,
                callbacks,
                plan.epochs,
                seed,
                augmentation=augmentation,
                n_threads=n_threads,
            )
    finally:
        progress.close()
    net.module_.eval()
    return late


def warn_if_long(
    net: ConvNet, layers: tuple[LayerRow, ...], image_shape: tuple[int, ...], n: int, epochs: int
) -> None:
    """Warn before a training that takes hours on a CPU, or more memory than most machines spare.

    Parameters
    ----------
    net : ConvNet
        An initialized one.
    layers : tuple of LayerRow
        Its layers.
    image_shape : tuple of int
        Height, width, channels.
    n, epochs : int
        Images to learn from, and how often.
    """
    each = n_multiplications(layers)
    values = sum(prod(layer.output_shape) for layer in layers)
    n_bytes = 3 * values * next(net.module_.buffers()).dtype.itemsize
    total = float(each) * n * epochs
    is_long = total > LONG_TRAINING or (each > LARGE_IMAGE and total > LONG_FOR_LARGE)
    if torch.device(net.device).type == "cpu" and (is_long or n_bytes > MEMORY_FOR_ACTIVATIONS):
        height, width, _ = image_shape
        warn(
            f"Training takes about {total:.1e} multiply-adds forward, which may be hours on a CPU: "
            f"{n} images of {height} x {width}, {each:.1e} each, in up to {epochs} epochs. An "
            f"image takes {n_bytes / 2**30:.2g} GiB of memory. Make the images smaller, as "
            "ImageReader(size=(64, 64)) does, lower max_epochs, or begin layers with a Conv of "
            "stride 2 or 4."
        )


def warn_if_nothing_was_learnt(net: ConvNet, plan: TrainingPlan, n_classes: int) -> None:
    """Warn where the loss ends no lower than that of giving all classes the same probability.

    Parameters
    ----------
    net : ConvNet
        A trained one.
    plan : TrainingPlan
        What was done.
    n_classes : int
        Number of classes, which tells what guessing loses.
    """
    loss, guessing = net.history[-1]["train_loss"], log(n_classes)
    if loss >= guessing:
        n_steps = plan.epochs * net.history[-1]["train_batch_count"]
        remedy = "Try"
        if n_steps < FEW_STEPS:
            remedy = (
                f"Training took {n_steps} steps, in {plan.epochs} epochs: raise max_epochs, or "
                "leave it at 'auto'. If that does not help, try"
            )
        warn(
            f"The training loss ended at {loss:.3f}, no better than the {guessing:.3f} of giving "
            f"all classes the same probability. {remedy} a smaller learning_rate (it is "
            f"{plan.learning_rate:g}), or look whether the labels belong to the images.",
            ConvergenceWarning,
        )


def warn_after_training(late: list[Exception]) -> None:
    """Warn of what callbacks raised once training was done: no reason to lose the network."""
    for error in late:
        notes = "".join(f" {note}" for note in getattr(error, "__notes__", ()))
        warn(
            f"A callback failed once training was done; the model is trained, and kept. "
            f"{type(error).__name__}: {error}.{notes}"
        )
