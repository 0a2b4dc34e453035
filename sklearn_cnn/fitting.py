"""The stages of a fit: read the examples, start a net, train it; each takes the estimator.

They read its parameters and set its fitted attributes, in the order in which ``fit`` calls them.
"""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any

import numpy as np
import torch

from sklearn_cnn._compat import ProgressBar, with_callbacks
from sklearn_cnn._forks import ProcessLock
from sklearn_cnn._messages import warn
from sklearn_cnn.augment.descriptions import check_augment
from sklearn_cnn.machine.device import name_of_dtype, resolve_device, weights_dtype
from sklearn_cnn.machine.isolation import derive_seed, isolated
from sklearn_cnn.network.design import design_network
from sklearn_cnn.network.outputs import check_feature_layer, layer_table
from sklearn_cnn.parameters import check_callbacks
from sklearn_cnn.pixels.scale import check_representable, check_scale, read_training_scale
from sklearn_cnn.pixels.spec import read_images, read_training_images
from sklearn_cnn.training.callbacks import EpochTasks, as_if_stopped
from sklearn_cnn.training.examples import Examples, TrainingData, encode_examples
from sklearn_cnn.training.labels import check_labels, check_weights, find_classes
from sklearn_cnn.training.net import ConvNet
from sklearn_cnn.training.start import (
    adjust_net,
    check_same_network,
    fit_to_machine,
    start_net,
)
from sklearn_cnn.training.train import (
    EPOCHS_TO_JUDGE,
    TrainingPlan,
    train_network,
    warn_after_training,
    warn_if_long,
    warn_if_nothing_was_learnt,
)


def read_examples(
    estimator: Any, X: Any, y: Any, sample_weight: Any, *, reset: bool, classes: Any = None
) -> Examples:
    """Check and encode what ``fit`` or ``partial_fit`` was given.

    Parameters
    ----------
    estimator : CNNClassifier
        With ``reset``, gets the shape and range of the images and the classes; else gives them.
    X, y, sample_weight : array-like
        As given.
    reset : bool
        Whether the estimator begins anew.
    classes : array-like of shape (n_classes,) or None, default=None
        With ``reset``, all classes; None for those among the labels.

    Returns
    -------
    Examples

    Raises
    ------
    ValueError, TypeError
        If they do not go together, or not with what the estimator has seen.
    """
    labels = check_labels(y, type(estimator).__name__)
    if reset:
        images, estimator._layout = read_training_images(estimator, X)
    else:
        follow_parameters(estimator)
        images = read_images(estimator, X, estimator._layout)
    weights = check_weights(sample_weight, images, labels)
    rows = np.flatnonzero(weights)
    if reset:
        scale = read_training_scale(images, rows)
        check_representable(scale, name_of_dtype(estimator.precision))
        estimator.image_shape_ = estimator._layout.shape
        estimator._pixel_scale = scale
        estimator.classes_ = find_classes(labels[rows] if classes is None else classes)
    else:
        seen = estimator._pixel_scale
        scale = check_scale(images, seen, estimator._dtype, rows, to_train=True)
        estimator._pixel_scale = seen.widened(scale)
    return encode_examples(
        images, rows, labels, weights, estimator.class_weight, estimator.classes_
    )


def read_pixels(estimator: Any, X: Any) -> np.ndarray:
    """Check images to predict, and view them channels last; add no fitted attribute.

    Parameters
    ----------
    estimator : CNNClassifier
        A fitted one.
    X : array-like
        As given.

    Returns
    -------
    ndarray of shape (n, height, width, channels), any real dtype

    Raises
    ------
    ValueError, TypeError
        If they are no images of the shape and range seen at fit.
    """
    follow_parameters(estimator)
    images = read_images(estimator, X, estimator._layout)
    check_scale(images, estimator._pixel_scale, estimator._dtype)
    return images


def start(estimator: Any, training: Examples, seed: int) -> None:
    """Make a new net for the training images.

    Parameters
    ----------
    estimator : CNNClassifier
        Gets ``net_`` and ``layers_``.
    training : Examples
        The training images.
    seed : int
        Seed of the first weights.
    """
    estimator._network = _requested_network(estimator)
    estimator.net_ = start_net(estimator, estimator._network, training, seed)
    estimator.layers_ = layer_table(estimator.net_.module_, estimator.image_shape_)
    _settle(estimator, estimator.net_)


def follow_parameters(estimator: Any) -> None:
    """Move the net to the device and the precision that were set after the fit.

    Parameters that did not change move nothing: a model may be loaded where its device is absent.
    Threads that are computing go on with the former net.

    Parameters
    ----------
    estimator : CNNClassifier
        A fitted one.

    Raises
    ------
    ValueError
        If a parameter has no such value, or the device is absent.
    """
    if estimator.data_format not in ("auto", "channels_last", "channels_first"):
        estimator._validate_params()
    if _circumstances(estimator, estimator.net_) == estimator._settled_for:
        return
    with _turn_to_move.held:
        before, net = estimator._settled_for, estimator.net_
        if _circumstances(estimator, net) == before:
            return
        estimator._validate_params()
        at = torch.device(net.device)
        device = at if estimator.device == before[0] else resolve_device(estimator.device)
        dtype = weights_dtype(estimator.precision, device)
        if (device, dtype) != (at, next(net.module_.buffers()).dtype):
            net = net.copy_to(device, dtype)
        _settle(estimator, net)


def _circumstances(estimator: Any, net: ConvNet) -> tuple[Any, str, Any]:
    """Return what decides how a net is computed: the parameters, and where it lies."""
    return estimator.device, estimator.precision, net.device


def _settle(estimator: Any, net: ConvNet) -> None:
    """Fit a net to its machine, then have the estimator compute with it."""
    described = not callable(estimator._network)
    precision = estimator.precision
    chunk = fit_to_machine(net, estimator.layers_, precision, is_described=described)
    vars(estimator).update(
        net_=net,
        _chunk=chunk,
        _dtype=name_of_dtype(precision),
        _settled_for=_circumstances(estimator, net),
    )


_turn_to_move = ProcessLock()


def _requested_network(estimator: Any) -> Any:
    """Return the callable or the descriptions that the parameters ask for."""
    if estimator.layers is not None:
        return estimator.layers if callable(estimator.layers) else tuple(estimator.layers)
    return design_network(
        estimator.image_shape_,
        conv_channels=estimator.conv_channels,
        kernel_size=estimator.kernel_size,
        pooling=estimator.pooling,
        pool_size=estimator.pool_size,
        dense_units=estimator.dense_units,
        activation=estimator.activation,
        batch_norm=estimator.batch_norm,
        dropout=estimator.dropout,
    )


def train(
    estimator: Any,
    data: TrainingData,
    epochs: int,
    schedule: str,
    seed: int,
    *,
    given: dict[str, Any] | None = None,
    new_optimizer: bool = False,
) -> None:
    """Train the estimator's net further, and tell how it went.

    Parameters
    ----------
    estimator : CNNClassifier
        Gives ``net_``; gets ``history_``, ``n_iter_``, ``loss_curve_`` and the validation scores.
    data : TrainingData
        Images to learn from, and to validate on.
    epochs : int
        How many, at most.
    schedule : str
        Shape of the learning rate over time.
    seed : int
        Seed of this fit.
    given : dict or None, default=None
        ``X``, ``y`` and ``sample_weight`` of the user, for scikit-learn's callbacks; None to leave
        those out.
    new_optimizer : bool, default=False
        Whether a net trained before begins with a new optimizer.

    Raises
    ------
    ValueError
        If the parameters ask for another network than the net's, or training diverges.
    """
    net = estimator.net_
    check_same_network(_requested_network(estimator), estimator._network)
    check_feature_layer(estimator.feature_layer, estimator.layers_)
    plan = TrainingPlan(
        epochs,
        schedule,
        estimator.learning_rate,
        estimator.n_iter_no_change,
        estimator.tol,
        check_callbacks(estimator.callbacks, schedule),
        check_augment(estimator.augment),
        estimator.verbose,
    )
    warn_if_long(net, estimator.layers_, estimator.image_shape_, len(data.training), epochs)
    n_before = net.n_epochs
    losses = estimator.loss_curve_ if n_before else []
    rollback = net.rollback_on_error() if n_before else nullcontext()
    with isolated(torch.device(net.device)), rollback:
        if n_before:
            keep_rates = bool(plan.callbacks) and schedule == "constant"
            adjust_net(estimator, net, new_optimizer=new_optimizer, keep_rates=keep_rates)
        run_seed = derive_seed(seed, n_before)
        if given is None or not hasattr(estimator, "_init_callback_context"):
            late = train_network(net, data, plan, run_seed)
        else:
            late = _train_as_task(estimator, data, plan, run_seed, given, losses)
        was_stopped = net.n_epochs - n_before < epochs
        if epochs >= EPOCHS_TO_JUDGE and not was_stopped:
            warn_if_nothing_was_learnt(net, plan, len(estimator.classes_))
        warn_after_training(late)
    if given is None:  # no call of partial_fit takes longer than the one before it
        net.forget_calls()
        losses.append(float(net.history[-1]["train_loss"]))
        attributes: dict[str, Any] = {"history_": net.history, "n_iter_": net.n_epochs}
        attributes |= {"validation_scores_": None, "best_validation_score_": None}
        vars(estimator).update(attributes, loss_curve_=losses)
    else:
        net.forget_moments()
        net.n_epochs_of_fits = len(net.history)
        vars(estimator).update(_fitted_attributes(net, n_before, losses, data))


def _train_as_task(
    estimator: Any,
    data: TrainingData,
    plan: TrainingPlan,
    seed: int,
    given: dict[str, Any],
    losses: list[float],
) -> list[Exception]:
    """Train, and call scikit-learn's callbacks; return what they raised after training."""
    late: list[Exception] = []
    is_trained = False

    @with_callbacks
    def train_and_tell(estimator: Any) -> None:
        nonlocal is_trained
        net, weights = estimator.net_, given["sample_weight"]
        told = {
            "X": given["X"],
            "y": given["y"],
            "metadata": None if weights is None else {"sample_weight": weights},
        }
        attributes = partial(_fitted_attributes, n_before=net.n_epochs, losses=losses, data=data)
        context = estimator._init_callback_context(max_subtasks=plan.epochs)
        context.call_on_fit_task_begin(estimator=estimator, **told)
        tasks = EpochTasks(context, estimator, told, attributes)
        try:
            late.extend(train_network(net, data, plan._replace(epoch_tasks=tasks), seed))
        finally:
            tasks.let_go()
        is_trained = True
        context.call_on_fit_task_end(
            estimator=estimator,
            reconstruction_attributes=lambda: attributes(as_if_stopped(net)),
            **told,
        )

    try:
        with _one_progress_bar(estimator):
            train_and_tell(estimator)
    except Exception as error:
        if not is_trained:
            raise
        error.add_note("Raised by one of scikit-learn's callbacks, set by set_callbacks.")
        late.append(error)
    return late


@contextmanager
def _one_progress_bar(estimator: Any) -> Iterator[None]:
    """Leave out all but the first ProgressBar: scikit-learn's second never ends its thread."""
    callbacks = getattr(estimator, "_skl_callbacks", [])
    _, *others = [c for c in callbacks if isinstance(c, ProgressBar)] or [None]
    if not others:
        yield
        return
    warn(
        f"set_callbacks was given {1 + len(others)} ProgressBars. scikit-learn shows one "
        "a fit, and the first is shown."
    )
    estimator._skl_callbacks = [c for c in callbacks if c not in others]
    try:
        yield
    finally:
        estimator._skl_callbacks = callbacks


def _fitted_attributes(
    net: ConvNet, n_before: int, losses: list[float], data: TrainingData
) -> dict[str, Any]:
    """Return what an estimator has once its net is trained beyond epochs with those losses."""
    # a callback may load the history of another training, or go back to an earlier epoch
    epochs = [epoch for epoch in net.history if epoch["epoch"] > n_before]
    names = ["validation_score"] * (data.validation is not None)
    scores = [epoch[name] for name in names for epoch in epochs if name in epoch] or None
    return {
        "net_": net,
        "history_": net.history,
        "n_iter_": net.n_epochs,
        "loss_curve_": losses[: net.n_epochs] + [float(epoch["train_loss"]) for epoch in epochs],
        "validation_scores_": scores,
        "best_validation_score_": None if scores is None else max(scores),
    }


def images_at_once(estimator: Any) -> int:
    """Return how many chunks of prediction may be computed side by side."""
    net = estimator.net_
    return int(net.images_per_pass // estimator._chunk) if net.is_described else 1
