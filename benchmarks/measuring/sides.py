"""The sides of a comparison, each in a process of its own, which waits while another computes.

So the threads and the memory of one library do not disturb another, and what a library does when it
is first used happens before the clock starts.
"""

import gc
import importlib
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from importlib.util import find_spec
from multiprocessing import active_children, get_context
from typing import Any, NamedTuple

from measuring.data import Images, Split, load

WARM_UP = 384
"""Images of the fit before the first that counts."""


class Fit(NamedTuple):
    """Seconds of training so far, and the accuracy on the test images by then."""

    seconds: float
    accuracy: float


class Side:
    """A process that runs the functions it is given, one at a time.

    Parameters
    ----------
    contender : str
        Module in ``benchmarks/contenders``, which only that process imports. It has
        ``prepare(images)``, for what is done to pixels before the clock starts, and
        ``make(**options)``, for an object with ``fit``, ``predict`` and ``predict_proba``; or what
        the functions run here ask of it.
    """

    def __init__(self, contender: str) -> None:
        self.contender = contender
        self.process = ProcessPoolExecutor(1, mp_context=get_context("spawn"))

    def __call__(self, function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        """Run ``function(contender, *arguments, **options)`` there, and return what it returns."""
        return self.process.submit(function, self.contender, *arguments, **options).result()

    def close(self) -> None:
        """End the process, and those that it started."""
        self(_end_children)
        self.process.shutdown()


def _end_children(contender: str) -> None:
    """End the processes of a search, which otherwise wait for minutes for another one."""
    for child in active_children():
        child.terminate()


def is_installed(library: str) -> bool:
    """Tell whether a library is there, without importing it."""
    return find_spec(library) is not None


def module_of(contender: str) -> Any:
    """Import the module of a contender."""
    return importlib.import_module(f"contenders.{contender}")


@cache
def prepared(contender: str, images: Images) -> Split:
    """Load images, and prepare them as the contender's user does."""
    split, prepare = load(images), module_of(contender).prepare
    return Split(prepare(split.X), split.y, prepare(split.X_test), split.y_test)


def warm_up(contender: str, images: Images, **options: Any) -> None:
    """Fit and predict once on a few images, so that libraries are loaded and threads started."""
    data = prepared(contender, images)
    model = module_of(contender).make(**options)
    model.fit(data.X[:WARM_UP], data.y[:WARM_UP])
    model.predict(data.X_test[:WARM_UP])


def fit(contender: str, images: Images, **options: Any) -> Fit:
    """Time one fit, and score its model."""
    model, seconds = _timed_fit(contender, images, options)
    data = prepared(contender, images)
    return Fit(seconds, _accuracy(model.predict, data))


def fit_in_epochs(
    contender: str, images: Images, *, enough: float, at_least: int, **options: Any
) -> list[Fit]:
    """Time one fit and stop the clock after each epoch to score the model.

    Parameters
    ----------
    contender : str
        Its ``make`` takes ``after_epoch``, a function that is called with ``predict`` after each
        epoch, and returns whether to stop.
    images : Images
        What to train and test on.
    enough : float
        Test accuracy at which to stop.
    at_least : int
        Epochs to run nevertheless.
    **options : object
        Of the contender.

    Returns
    -------
    list of Fit
        One an epoch.
    """
    data = prepared(contender, images)
    epochs: list[Fit] = []
    scoring = 0.0

    def after_epoch(predict: Callable[[Any], Any]) -> bool:
        nonlocal scoring
        stopped = time.perf_counter()
        epochs.append(Fit(stopped - start - scoring, _accuracy(predict, data)))
        scoring += time.perf_counter() - stopped
        return len(epochs) >= at_least and max(epoch.accuracy for epoch in epochs) >= enough

    model = module_of(contender).make(after_epoch=after_epoch, **options)
    _get_ready(model, data)
    start = time.perf_counter()
    model.fit(data.X, data.y)
    return epochs


def seconds(run: Callable[[], object]) -> float:
    """Time one call."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


_kept: list[Any] = []


def fit_and_keep(contender: str, images: Images, **options: Any) -> None:
    """Fit a model for ``predict_seconds``."""
    _kept[:] = [_timed_fit(contender, images, options)[0]]


def predict_seconds(contender: str, images: Images) -> float:
    """Time the probabilities of the test images, by the model that was kept."""
    X = prepared(contender, images).X_test
    gc.collect()
    return seconds(lambda: _kept[0].predict_proba(X))


def _timed_fit(contender: str, images: Images, options: dict[str, Any]) -> tuple[Any, float]:
    data = prepared(contender, images)
    model = module_of(contender).make(**options)
    _get_ready(model, data)
    return model, seconds(lambda: model.fit(data.X, data.y))


def _get_ready(model: Any, data: Split) -> None:
    """Do what is to happen before the clock starts."""
    if hasattr(model, "compile_first"):
        model.compile_first(data.X, data.y)
    gc.collect()


def _accuracy(predict: Callable[[Any], Any], data: Split) -> float:
    return float((predict(data.X_test) == data.y_test).mean())
