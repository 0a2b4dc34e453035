"""How the weights are learnt: optimizer, learning rate over time, number of epochs."""

from collections.abc import Callable, Iterable
from functools import partial
from math import ceil, cos, pi, sqrt
from typing import Any

from torch import nn, optim

from sklearn_cnn.training.net import Callback

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

FEWEST_EPOCHS = 7
"""What "auto" gives the largest data."""

WARM_UP = 0.3
"""Share of the one-cycle schedule that the learning rate climbs."""


COOLING = 0.3
"""Share of the whole training in which the learning rate falls once the validation score stalls."""


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


def resolve_max_epochs(
    max_epochs: Any, n_images: int, batch_size: int, *, is_augmented: bool
) -> int:
    """Return the number of epochs; "auto" gives small data more passes and large data fewer.

    Parameters
    ----------
    max_epochs : "auto" or int
        What the user asked for.
    n_images, batch_size : int
        Size of the training set, and of a batch.
    is_augmented : bool
        Whether no image comes twice as it was, so that more passes do not wear the images out.

    Returns
    -------
    int
        With "auto", from 100 epochs for a single batch down to 7 for many; twice as many with
        augmentation.
    """
    if max_epochs != "auto":
        return int(max_epochs)
    n_batches = -(-n_images // batch_size)
    epochs = max(FEWEST_EPOCHS, round(100 / sqrt(n_batches)))
    return 2 * epochs if is_augmented else epochs


def make_optimizer(
    optimizer: Any,
    parameters: Iterable[tuple[str, nn.Parameter]],
    *,
    learning_rate: float,
    weight_decay: float,
) -> optim.Optimizer:
    """Make an optimizer that decays weights, and leaves biases and norms alone.

    Parameters
    ----------
    optimizer : str or callable
        A name, a subclass of :class:`torch.optim.Optimizer` that takes ``lr`` and
        ``weight_decay``, or a partial of one.
    parameters : iterable of (str, torch.nn.Parameter)
        Those of the network.
    learning_rate, weight_decay : float
        As for the optimizer.

    Returns
    -------
    torch.optim.Optimizer

    Raises
    ------
    TypeError, ValueError
        If the callable makes no optimizer of groups of parameters, or sets what is a parameter.
    """
    cls, options = _read_optimizer(optimizer)
    # frozen ones too: they have no gradient, so that nothing changes them until they are unfrozen
    weights = [p for _, p in parameters if p.is_floating_point() or p.is_complex()]
    groups = [
        {"params": [p for p in weights if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in weights if p.ndim <= 1], "weight_decay": 0.0},
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
        made: optim.Optimizer = cls(groups, lr=learning_rate, **options)
    except (TypeError, ValueError) as error:
        raise type(error)(
            f"optimizer={_name_of(cls)} cannot be made with lr={learning_rate} and two groups of "
            f"parameters, with and without weight_decay={weight_decay}: {error}"
        ) from error
    if not isinstance(made, optim.Optimizer):
        raise TypeError(
            f"optimizer={_name_of(cls)} must make a torch.optim.Optimizer. It made {made!r}."
        )
    return made


def _read_optimizer(optimizer: Any) -> tuple[Any, dict[str, Any]]:
    """Return the class, or another callable, and its options."""
    if isinstance(optimizer, str):
        return OPTIMIZERS[optimizer]
    cls: Any = optimizer
    options: dict[str, Any] = {}
    while isinstance(cls, partial):
        if cls.args:
            raise ValueError(
                f"optimizer must have its options by name. Got optimizer={optimizer!r}."
            )
        cls, options = cls.func, {**cls.keywords, **options}
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
    is_class = isinstance(cls, type)
    if not callable(cls) or (is_class and not issubclass(cls, optim.Optimizer)):
        raise TypeError(
            f"optimizer must be one of {', '.join(OPTIMIZERS)}, a subclass of "
            f"torch.optim.Optimizer, or a functools.partial of one. Got {optimizer!r}."
        )
    if is_class and issubclass(cls, optim.LBFGS | optim.SparseAdam):
        raise ValueError(
            f"optimizer={cls.__name__} does not train a network in batches: it takes one group of "
            "parameters, or sparse gradients. Use 'adamw', 'sgd' or another one of torch.optim."
        )
    return cls, options


def _name_of(maker: Any) -> str:
    return getattr(maker, "__name__", repr(maker))


class LearningRateSchedule(Callback):
    """Set the learning rate before each batch, and note it in the history after each epoch.

    Parameters
    ----------
    schedule : {"one_cycle", "cosine", "constant"}
        Its shape over the whole training.
    learning_rate : float
        Its highest value.
    n_steps : int
        Number of batches of the whole training.

    References
    ----------
    Smith and Topin, "Super-convergence: very fast training of neural networks using large
    learning rates" (2019), arXiv:1708.07120, for "one_cycle". Loshchilov and Hutter, "SGDR:
    stochastic gradient descent with warm restarts", ICLR 2017, for the cosine.
    """

    def __init__(self, schedule: str, learning_rate: float, n_steps: int) -> None:
        self.schedule = schedule
        self.learning_rate = learning_rate
        self.n_steps = n_steps

    def initialize(self) -> "LearningRateSchedule":
        """Begin at the first step."""
        self.step_ = 0
        self.cooling_: tuple[int, int, float] | None = None
        return self

    @property
    def is_climbing(self) -> bool:
        """Whether the learning rate has not reached its highest value."""
        return self.schedule == "one_cycle" and self.step_ < WARM_UP * self.n_steps

    def cool_down(self, steps_of_an_epoch: int) -> int:
        """Let the learning rate fall to zero from what it is, as a cosine.

        Parameters
        ----------
        steps_of_an_epoch : int
            Batches.

        Returns
        -------
        int
            Epochs that this takes: a share of ``COOLING``, or those that are left. A constant rate
            does not fall, and takes none.
        """
        if self.schedule == "constant":
            return 0
        n_epochs = ceil(COOLING * self.n_steps / steps_of_an_epoch)
        n_steps = min(n_epochs * steps_of_an_epoch, self.n_steps - self.step_)
        self.cooling_ = self.step_, n_steps, self.rate_ / self.learning_rate
        return n_steps // steps_of_an_epoch

    def on_batch_begin(self, net: Any, batch: Any = None, training: Any = None, **_: Any) -> None:
        """Set the learning rate of the step that follows.

        A constant one is that of the optimizer, so that a user-defined callback may change it.
        """
        if training and self.cooling_ is not None:
            first, n_steps, factor = self.cooling_
            self._set(net, factor * cosine((self.step_ - first + 0.5) / n_steps))
        elif training and self.schedule != "constant":
            self._set(net, SCHEDULES[self.schedule]((self.step_ + 0.5) / self.n_steps))
        self.step_ += bool(training)

    def on_batch_end(self, net: Any, training: Any = None, **_: Any) -> None:
        """Remember the learning rate of the step, before a callback sets the next one."""
        if training:
            self.rate_ = net.optimizer_.param_groups[0]["lr"]

    def on_epoch_end(self, net: Any, **_: Any) -> None:
        """Note the learning rate of the epoch's last step."""
        net.history.record("learning_rate", self.rate_)

    def on_train_end(self, net: Any, **_: Any) -> None:
        """Leave the optimizer with the learning rate that it was made with."""
        if self.schedule != "constant":
            self._set(net, 1.0)

    def _set(self, net: Any, factor: float) -> None:
        for group in net.optimizer_.param_groups:
            group["lr"] = self.learning_rate * factor
