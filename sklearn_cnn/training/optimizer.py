"""How the weights are learnt: optimizer, learning rate over time, number of epochs."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import cos, pi, prod, sqrt
from typing import Any

import torch
from torch import nn, optim

from sklearn_cnn._messages import warn
from sklearn_cnn.machine.device import MEMORY_FOR_ACTIVATIONS
from sklearn_cnn.network.outputs import LayerRow, n_multiplications

OPTIMIZERS: dict[str, tuple[type[optim.Optimizer], dict[str, Any]]] = {
    "adamw": (optim.AdamW, {"fused": True}),
    "sgd": (optim.SGD, {"momentum": 0.9, "nesterov": True, "fused": True}),
    "adadelta": (optim.Adadelta, {}),
    "adagrad": (optim.Adagrad, {}),
    "adam": (optim.Adam, {}),
    "adamax": (optim.Adamax, {}),
    "asgd": (optim.ASGD, {}),
    "nadam": (optim.NAdam, {}),
    "radam": (optim.RAdam, {}),
    "rmsprop": (optim.RMSprop, {}),
}

FEWEST_EPOCHS, MOST_EPOCHS = 11, 100
"""Epochs that "auto" gives the largest data, and the smallest."""

WARM_UP = 0.3
"""Share of the one-cycle schedule in which the learning rate climbs."""

COOLING = 0.3
"""Share of the whole training in which the learning rate falls once the validation score stalls."""

FIRST_PHASE = 0.3
"""Share of the epochs in which the new layers after a pretrained network learn alone."""

SHARE = "rate_share"
"""What a group of parameters has of the learning rate, under this name; without it, all."""

LONG_TRAINING = 1e14
"""Multiply-adds forward: hours on a CPU. Fashion-MNIST, nothing set, takes 3.2e12, in minutes."""

LARGE_IMAGE, LONG_FOR_LARGE = 2.8e9, 1e12
"""Multiply-adds of an image beyond which a shorter training warns, too: above 512 x 512."""


def one_cycle(progress: float) -> float:
    """Climb from near zero to 1 in the first 0.3 of training, then fall to zero, as cosines."""
    if progress < WARM_UP:
        return 0.04 + 0.96 * (1 - cos(pi * progress / WARM_UP)) / 2
    return cosine((progress - WARM_UP) / (1 - WARM_UP))


def cosine(progress: float) -> float:
    """Fall from 1 to zero as a cosine."""
    return (1 + cos(pi * progress)) / 2


def constant(progress: float) -> float:
    """Stay at 1."""
    return 1.0


SCHEDULES: dict[str, Callable[[float], float]] = {
    "one_cycle": one_cycle,
    "cosine": cosine,
    "constant": constant,
}


def set_rate(optimizer: optim.Optimizer, rate: float, *names: str) -> None:
    """Set the learning rate of each group to its share of a rate, under one name or several."""
    for group in optimizer.param_groups:
        for name in names or ("lr",):
            group[name] = rate * group.get(SHARE, 1.0)


def resolve_max_epochs(
    max_epochs: str | int, n_images: int, batch_size: int, *, is_augmented: bool
) -> int:
    """Return the number of epochs; "auto" gives small data more passes and large data fewer.

    Parameters
    ----------
    max_epochs : "auto" or int
        What the user asked for.
    n_images, batch_size : int
        Size of the training set, and of a batch.
    is_augmented : bool
        Whether the images change from pass to pass, so that more passes still teach something.

    Returns
    -------
    int
        With "auto", from 100 epochs for one or two batches down to 11 for many; twice as many with
        augmentation.
    """
    if max_epochs != "auto":
        return int(max_epochs)
    n_batches = -(-n_images // batch_size)
    epochs = min(max(FEWEST_EPOCHS, round(140 / sqrt(n_batches))), MOST_EPOCHS)
    return 2 * epochs if is_augmented else epochs


def warn_if_long(
    layers: Sequence[LayerRow],
    image_shape: tuple[int, ...],
    n_images: int,
    n_epochs: int,
    dtype: torch.dtype,
    device: torch.device,
) -> None:
    """Warn before a training that takes hours on a CPU, or more memory than most machines spare."""
    each = n_multiplications(layers)
    values = sum(prod(layer.output_shape) for layer in layers)
    n_bytes = 3 * values * dtype.itemsize
    total = float(each) * n_images * n_epochs
    is_long = total > LONG_TRAINING or (each > LARGE_IMAGE and total > LONG_FOR_LARGE)
    if device.type == "cpu" and (is_long or n_bytes > MEMORY_FOR_ACTIVATIONS):
        height, width, _ = image_shape
        warn(
            f"Training takes about {total:.1e} multiply-adds forward, which may be hours on a CPU: "
            f"{n_images} images of {height} x {width}, {each:.1e} each, in up to {n_epochs} "
            f"epochs. An image takes {n_bytes / 2**30:.2g} GiB of memory. Make the images smaller, "
            "as ImageReader(size=(64, 64)) does, lower max_epochs, or begin layers with a Conv of "
            "stride 2 or 4."
        )


@dataclass(frozen=True)
class OptimizerRecipe:
    """What makes an optimizer that decays weights, and leaves biases and norms alone.

    Parameters
    ----------
    optimizer : str or callable
        A name, a subclass of :class:`torch.optim.Optimizer` that takes ``lr`` and
        ``weight_decay``, or a partial of one.
    learning_rate, weight_decay : float
        As for the optimizer.
    """

    optimizer: object
    learning_rate: float
    weight_decay: float

    @property
    def rule(self) -> object:
        """All but the learning rate, in a form that can be compared."""
        return as_value(self.optimizer), self.weight_decay

    def make(
        self,
        parameters: Iterable[tuple[str, nn.Parameter]],
        rate_shares: Mapping[str, float] | None = None,
    ) -> optim.Optimizer:
        """Make the optimizer of a network's named parameters.

        Those with a share learn at that share of the learning rate, in groups of their own, which
        note it as ``rate_share``.

        Raises
        ------
        TypeError, ValueError
            If the callable makes no optimizer of groups of parameters, or sets what is a parameter.
        """
        cls, options = _read_optimizer(self.optimizer)
        # frozen ones too: without a gradient, nothing changes them until they are unfrozen
        named = [(n, p) for n, p in parameters if p.is_floating_point() or p.is_complex()]
        weights, shares = [p for _, p in named], rate_shares or {}
        groups: list[dict[str, Any]] = []
        for share in sorted({1.0, *shares.values()}, reverse=True):
            here = [p for n, p in named if shares.get(n, 1.0) == share]
            own = {} if share == 1 else {"lr": self.learning_rate * share, SHARE: share}
            groups += [
                {
                    "params": [p for p in here if p.ndim > 1],
                    "weight_decay": self.weight_decay,
                    **own,
                },
                {"params": [p for p in here if p.ndim <= 1], "weight_decay": 0.0, **own},
            ]
        groups = [group for group in groups if group["params"]]
        if not any(weight.requires_grad for weight in weights):
            raise ValueError(
                "The network has nothing to learn: no parameter of the module that layers returned "
                "requires a gradient. Leave its last layer, at least, unfrozen."
            )
        if options.get("fused") and any(weight.is_complex() for weight in weights):
            options = {**options, "fused": False}
        try:
            made = cls(groups, lr=self.learning_rate, **options)
        except (TypeError, ValueError) as error:
            raise type(error)(
                f"optimizer={_name_of(cls)} cannot be made with lr={self.learning_rate} and two "
                f"groups of parameters, with and without weight_decay={self.weight_decay}: {error}"
            ) from error
        if not isinstance(made, optim.Optimizer):
            raise TypeError(
                f"optimizer={_name_of(cls)} must make a torch.optim.Optimizer. It made {made!r}."
            )
        return made


def as_value(maker: object) -> object:
    """Return the parts of a partial, which can be compared; partials themselves cannot."""
    if not isinstance(maker, partial):
        return maker
    return as_value(maker.func), tuple(map(as_value, maker.args)), maker.keywords


def _read_optimizer(optimizer: object) -> tuple[Callable[..., object], dict[str, Any]]:
    """Return the class, or another callable, and its options."""
    if isinstance(optimizer, str):
        return OPTIMIZERS[optimizer]
    cls, options = optimizer, dict[str, Any]()
    while isinstance(cls, partial):
        if cls.args:
            raise ValueError(
                f"optimizer must have its options by name. Got optimizer={optimizer!r}."
            )
        options, cls = {**cls.keywords, **options}, cls.func
    for name, parameter in (("lr", "learning_rate"), ("weight_decay", "weight_decay")):
        if name in options:
            raise ValueError(
                f"optimizer sets {name}={options[name]!r}, which is the parameter {parameter}: "
                f"leave it out, and use {parameter}={options[name]!r}."
            )
    if options.get("differentiable"):
        raise ValueError(
            "optimizer sets differentiable=True, with which torch takes no step on the weights of "
            "a network. Leave it out."
        )
    if not callable(cls) or (isinstance(cls, type) and not issubclass(cls, optim.Optimizer)):
        raise TypeError(
            f"optimizer must be one of {', '.join(OPTIMIZERS)}, a subclass of "
            f"torch.optim.Optimizer, or a functools.partial of one. Got {optimizer!r}."
        )
    if isinstance(cls, type) and issubclass(cls, optim.LBFGS | optim.SparseAdam):
        raise ValueError(
            f"optimizer={cls.__name__} does not train a network in batches: it takes one group of "
            "parameters, or sparse gradients. Use 'adamw', 'sgd' or another one of torch.optim."
        )
    return cls, options


def _name_of(maker: object) -> str:
    return str(getattr(maker, "__name__", repr(maker)))
