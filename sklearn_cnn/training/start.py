"""A new net, built for the images, with its first weights; or an earlier one, to be trained on."""

import warnings
from functools import partial
from itertools import zip_longest
from math import prod
from typing import Any

import torch

from sklearn_cnn.machine.device import (
    WORTH_IT,
    images_per_chunk,
    images_per_pass,
    resolve_device,
    trains_in_bfloat16,
    weights_dtype,
)
from sklearn_cnn.machine.isolation import isolated
from sklearn_cnn.network.build import build_network, may_train_in_parts
from sklearn_cnn.network.outputs import LayerRow, bfloat16_hazard, n_multiplications
from sklearn_cnn.pixels.scale import channel_statistics
from sklearn_cnn.training.examples import Examples
from sklearn_cnn.training.net import ConvNet
from sklearn_cnn.training.optimizer import make_optimizer


def start_net(estimator: Any, layers: Any, training: Examples, seed: int) -> ConvNet:
    """Build a network for some images, and draw its first weights.

    Parameters
    ----------
    estimator : CNNClassifier
        Gives the parameters of the training and the machine, and ``classes_``.
    layers : sequence of layer descriptions, or callable
        The network.
    training : Examples
        The training images, whose mean and standard deviation the network's first layer takes.
    seed : int
        Seed of the weights.

    Returns
    -------
    ConvNet
        Initialized, not trained.

    Raises
    ------
    ValueError, TypeError
        If the layers do not fit the images, or the device is not available.
    """
    device = resolve_device(estimator.device)
    dtype = weights_dtype(estimator.precision, device)
    mean, std = channel_statistics(training.images, training.rows, training.weights)
    build = partial(
        build_network,
        layers,
        training.images.shape[1:],
        len(estimator.classes_),
        mean,
        std,
        dtype,
        device,
    )
    net = ConvNet(
        build,
        optimizer=_optimizer(estimator),
        label_smoothing=estimator.label_smoothing,
        n_classes=len(estimator.classes_),
        batch_size=estimator.batch_size,
        device=device,
    )
    # torch's first optimizer imports its compiler, which adds a filter of warnings for good
    with (
        isolated(device, seed),
        torch.device("cpu"),  # built there, then moved, whatever the default device
        warnings.catch_warnings(),
    ):
        net.initialize()
    return net


def fit_to_machine(
    net: ConvNet, layers: tuple[LayerRow, ...], precision: str, *, is_described: bool
) -> int:
    """Fit the arithmetic and the parts of a batch to the machine, and the chunks of prediction.

    Parameters
    ----------
    net : ConvNet
        An initialized one.
    layers : tuple of LayerRow
        Its layers, whose outputs take the memory, and whose parameters multiply.
    precision : str
        The estimator's parameter.
    is_described : bool
        Whether the network is built of descriptions; a user-defined module may not be safe to
        replicate.

    Returns
    -------
    int
        Images of a chunk of prediction.
    """
    network, device = net.module_, torch.device(net.device)
    values_of_maps = [prod(layer.output_shape) for layer in layers]
    dtype = next(network.buffers()).dtype
    net.images_per_pass = images_per_pass(sum(values_of_maps), dtype, passes=3)
    multiplications = n_multiplications(layers)
    hazard = bfloat16_hazard(network, layers)
    net.in_bfloat16 = trains_in_bfloat16(precision, device, multiplications, hazard)
    net.is_described = is_described
    may_be_cut = is_described or may_train_in_parts(network.get_submodule("network"))
    net.is_cut = device.type == "cpu" and may_be_cut and multiplications >= WORTH_IT
    return images_per_chunk(values_of_maps, dtype, device)


def adjust_net(estimator: Any, net: ConvNet, *, new_optimizer: bool, keep_rates: bool) -> None:
    """Bring a trained net in line with the estimator's parameters, before it is trained further.

    Parameters
    ----------
    estimator : CNNClassifier
        Gives the parameters of the training.
    net : ConvNet
        The net, which keeps its weights.
    new_optimizer : bool
        Whether the optimizer begins anew, as a warm start's does, or goes on, as that of a partial
        fit does unless its parameters have changed.
    keep_rates : bool
        Whether the learning rates, and whatever else a scheduler has set, stay as they are, unless
        the parameters have changed.
    """
    net.batch_size = estimator.batch_size
    net.criterion_.label_smoothing = estimator.label_smoothing
    made, net.optimizer = _as_value(net.optimizer), _optimizer(estimator)
    wanted, rate = _as_value(net.optimizer), {"learning_rate": None}
    keep_rates = keep_rates and made == wanted
    groups = net.optimizer_.param_groups
    if new_optimizer or (made[1], made[2] | rate) != (wanted[1], wanted[2] | rate):
        net.initialize_optimizer()
        if keep_rates:
            for group, before in zip(net.optimizer_.param_groups, groups, strict=True):
                group.update({name: before[name] for name in before if name != "params"})
    elif not keep_rates:
        for group in groups:
            group["lr"] = group["initial_lr"] = estimator.learning_rate
    for group in net.optimizer_.param_groups:  # a scheduler that goes on asks for it
        group.setdefault("initial_lr", estimator.learning_rate)


def _as_value(maker: Any) -> Any:
    """Return the parts of a partial, which can be compared; partials themselves cannot."""
    if not isinstance(maker, partial):
        return maker
    return _as_value(maker.func), tuple(map(_as_value, maker.args)), maker.keywords


def check_same_network(requested: Any, fitted: Any) -> None:
    """Refuse to train a net further when the parameters ask for another network by now.

    Parameters
    ----------
    requested, fitted : tuple of layer descriptions, or callable
        What the parameters ask for, and what the net was built of.

    Raises
    ------
    ValueError
        Naming the first layer that differs.
    """
    if requested == fitted:
        return
    difference = "the function given as layers is another one"
    if not callable(requested) and not callable(fitted):
        pairs = zip_longest(requested, fitted, fillvalue="the output layer")
        now, before = next(pair for pair in pairs if pair[0] != pair[1])
        difference = f"{now} in place of {before}"
    raise ValueError(
        "warm_start and partial_fit go on with the network of the first fit, but the parameters "
        f"now ask for another one: {difference}. Set them back, or call fit with warm_start=False "
        "to start anew."
    )


def _optimizer(estimator: Any) -> Any:
    """Return what makes the estimator's optimizer of named parameters."""
    return partial(
        make_optimizer,
        estimator.optimizer,
        learning_rate=estimator.learning_rate,
        weight_decay=estimator.weight_decay,
    )
