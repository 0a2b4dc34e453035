"""What values the parameters of CNNClassifier may take."""

import inspect
from copy import copy
from numbers import Integral, Real
from typing import Any

import numpy as np
import torch

from sklearn_cnn._compat import Interval, StrOptions
from sklearn_cnn._messages import did_you_mean
from sklearn_cnn.machine.device import WEIGHTS
from sklearn_cnn.network.layers import ACTIVATION_NAMES, POOL_KINDS
from sklearn_cnn.training.net import Callback, LRScheduler
from sklearn_cnn.training.optimizer import OPTIMIZERS, SCHEDULES

_COUNT = Interval(Integral, 1, None, closed="left")
_SHARE = Interval(Real, 0, 1, closed="left")

PARAMETER_CONSTRAINTS: dict[str, Any] = {
    "conv_channels": [StrOptions({"auto"}), _COUNT, tuple, list, np.ndarray],
    "kernel_size": [_COUNT, tuple, list],
    "pooling": [StrOptions(set(POOL_KINDS))],
    "pool_size": [_COUNT, tuple, list],
    "dense_units": [_COUNT, tuple, list, np.ndarray],
    "activation": [StrOptions(set(ACTIVATION_NAMES))],
    "batch_norm": ["boolean"],
    "dropout": [_SHARE],
    "layers": [list, tuple, callable, None],
    "feature_layer": [str],
    "image_shape": [tuple, list, np.ndarray, None],
    "augment": "no_validation",  # check_augment says it better
    "data_format": [StrOptions({"auto", "channels_last", "channels_first"})],
    "optimizer": [StrOptions(set(OPTIMIZERS)), callable],
    "learning_rate": [Interval(Real, 0, None, closed="neither")],
    "weight_decay": [Interval(Real, 0, None, closed="left")],
    "label_smoothing": [_SHARE],
    "schedule": [StrOptions(set(SCHEDULES))],
    "batch_size": [_COUNT],
    "max_epochs": [StrOptions({"auto"}), _COUNT],
    "early_stopping": ["boolean"],
    "validation_fraction": [Interval(Real, 0, 1, closed="neither")],
    "n_iter_no_change": [_COUNT],
    "tol": [Interval(Real, 0, None, closed="left")],
    "class_weight": [StrOptions({"balanced"}), dict, None],
    "warm_start": ["boolean"],
    "callbacks": [list, tuple, None],
    "device": [str, torch.device],
    "precision": [StrOptions(set(WEIGHTS))],
    "random_state": ["random_state"],
    "verbose": ["verbose"],
}
"""In the form of scikit-learn's parameter validation."""


def check_callbacks(callbacks: Any, schedule: str) -> list[Any]:
    """Return the ``callbacks`` parameter as a list, or say which element is no callback.

    Parameters
    ----------
    callbacks : sequence or None
        skorch callbacks, their classes, or (name, callback) pairs.
    schedule : str
        The ``schedule`` parameter.

    Returns
    -------
    list

    Raises
    ------
    TypeError
        If an element is none of these.
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
                f"{item!r}. Callbacks of scikit-learn go to set_callbacks()."
            )
        if issubclass(cls, LRScheduler) and schedule != "constant":
            raise ValueError(
                f"callbacks[{position}] is an LRScheduler, and schedule={schedule!r} sets the "
                "learning rate too. Use schedule='constant' with it, or leave it out."
            )
    return list(callbacks or ())


def copy_callbacks(callbacks: Any) -> Any:
    """Copy the callback objects of a ``callbacks`` parameter; the copies share what they hold.

    What a callback holds may be a file, a lock or a run of an experiment, of which there is one.
    """
    if isinstance(callbacks, list | tuple):
        return type(callbacks)(copy_callbacks(item) for item in callbacks)
    return copy(callbacks) if isinstance(callbacks, Callback) else callbacks


def set_callback_parameter(callbacks: Any, key: str, value: Any) -> None:
    """Set one parameter of one of the callback objects of a ``callbacks`` parameter.

    Parameters
    ----------
    callbacks : sequence or None
    key : str
        As ``callbacks__NAME__PARAMETER``.
    value : object

    Raises
    ------
    ValueError
        If there is no callback object of that name, or it has no such parameter.
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
            f"Invalid parameter {key!r} for the callbacks {callbacks!r}. Those of callback objects "
            f"are: {', '.join(settable) or 'none'}.{did_you_mean(key, settable)}"
        )
    callback, parameter = settable[key]
    callback.set_params(**{parameter: value})
