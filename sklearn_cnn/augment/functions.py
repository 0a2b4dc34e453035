"""User-defined augmentation functions, and the checks of their batches."""

import random
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import numpy as np
import torch
from torch._ops import OpOverload
from torch.utils._python_dispatch import TorchDispatchMode

from sklearn_cnn.machine.isolation import isolated

FACTOR = 20
"""A batch whose standard deviation changes by more than this factor has another scale."""

SEEDS = 4
"""Number of draws in which to test whether an image depends on the others of its batch."""

SHARED = [0, 3]
"""Indices among five images: no shift or reversal maps both to each other's positions."""

REPEATS = 8
"""Number of repeats of this test: a function may use generators that are not seeded."""


class DrawWatch(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """A context that records whether a function draws once per image, or once for several.

    Parameters
    ----------
    n_images : int
        Number of images in the batch.
    """

    def __init__(self, n_images: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.n_images = n_images
        self.is_any = self.is_once = False

    def __torch_dispatch__(
        self, func: OpOverload, types: object, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> object:
        """Run an operation of torch, and check the shape of its random numbers."""
        result = func(*args, **(kwargs or {}))
        if torch.Tag.nondeterministic_seeded in func.tags:
            drawn = result[0] if isinstance(result, tuple) else result
            self.is_any = True
            self.is_once |= not self._is_for_each(drawn.shape)
        return result

    def _is_for_each(self, shape: torch.Size) -> bool:
        if not shape:
            return self.n_images == 1
        is_last = len(shape) <= 2 and shape[-1] % self.n_images == 0
        return shape[0] == self.n_images or is_last


class BatchFunction:
    """Call a copy of a function on batches of pixels, with more checks of the first batch.

    A function that draws once for all images in a batch is called on one image at a time.

    Parameters
    ----------
    function : callable (tensor) -> tensor
        Function that takes and returns a batch of shape (n, channels, height, width).
    name : str
        Name of the function in errors, such as "augment[0]".

    Raises
    ------
    TypeError
        If the function cannot be copied.
    """

    def __init__(self, function: Callable[[torch.Tensor], object], name: str) -> None:
        try:
            self.function = deepcopy(function)
        except Exception as error:
            raise TypeError(
                f"{name} cannot be copied, as needed to keep fits independent: {error}. Use a "
                "function that refers to the object that cannot be copied; functions are not "
                "copied themselves."
            ) from error
        self.name = name
        self.is_first = True
        self.is_one_by_one = self.draws = False

    def __call__(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return the augmented batch.

        Parameters
        ----------
        pixels : tensor of shape (n, channels, height, width), any real dtype
            The batch. The function gets a copy, which it may modify in place.

        Returns
        -------
        tensor of the same shape, any real dtype

        Raises
        ------
        TypeError, ValueError
            If the function does not return a batch of the same shape, or mixes images, or if the
            first batch has values that are not finite or of another scale.
        """
        kind = f"{pixels.dtype} of shape {tuple(pixels.shape)}"
        before = pixels.clone() if self.is_first else None
        try:
            results = self._results(pixels) if before is None else self._first_results(pixels)
        except Exception as error:
            error.add_note(
                f"Raised by {self.name}, which was called with a batch of {kind}. It gets tensors "
                "(n, channels, height, width). To use a function of PIL images or arrays (height, "
                "width, channels), wrap it in a function that converts image by image."
            )
            raise
        shape = torch.Size([len(pixels) // len(results), *pixels.shape[1:]])
        checked = [self._check_kind(result, shape) for result in results]
        batch = torch.cat(checked) if self.is_one_by_one else checked[0]
        if before is not None:
            self._check_values(batch, _spread(before))
            has_changed = self.draws or not torch.equal(batch, before.to(batch.dtype))
            n_seeds = SEEDS if self.draws else 1
            if has_changed and _mixes(deepcopy(self.function), before, n_seeds):
                raise ValueError(
                    f"{self.name} mixes several images into one, like mixup and CutMix, but keeps "
                    "the label of one of them. Remove operations that mix images."
                )
            self.is_first = False
        return batch

    def _results(self, pixels: torch.Tensor) -> list[object]:
        if self.is_one_by_one:
            return [self.function(pixels[i : i + 1]) for i in range(len(pixels))]
        return [self.function(pixels)]

    def _first_results(self, pixels: torch.Tensor) -> list[object]:
        """Call the function on its first batch, and record how it draws."""
        states = _global_states()
        with DrawWatch(len(pixels)) as watch:
            results = self._results(pixels.clone())  # it may modify them in place
        self.is_one_by_one = watch.is_once or states != _global_states()
        self.draws = self.is_one_by_one or watch.is_any
        return self._results(pixels) if self.is_one_by_one else results

    def _check_kind(self, result: object, shape: torch.Size) -> torch.Tensor:
        if not isinstance(result, torch.Tensor):
            raise TypeError(
                f"{self.name} must return a tensor of shape {tuple(shape)} (n, channels, height, "
                f"width), like its input. Got {type(result).__name__}."
            )
        if result.shape != shape:
            raise ValueError(
                f"{self.name} must return images with the shape of its input, {tuple(shape)} (n, "
                f"channels, height, width). Got {tuple(result.shape)}."
            )
        if result.is_complex():
            raise TypeError(f"{self.name} must return real numbers. Got {result.dtype}.")
        return result

    def _check_values(self, result: torch.Tensor, before: float) -> None:
        if not bool(torch.isfinite(result).all()):
            raise ValueError(
                f"{self.name} must return finite numbers. It returned NaN or infinity for a batch "
                "of finite numbers. Check its divisions and logarithms."
            )
        after = _spread(result)
        if before > 0 and after > 0 and not 1 / FACTOR <= after / before <= FACTOR:
            raise ValueError(
                f"{self.name} must keep the range of the pixels, because it is not applied in "
                f"validation and prediction. Their standard deviation changed from {before:.3g} "
                f"to {after:.3g}. Remove operations that scale or normalise, which the network "
                "does itself, or apply them to X before fit and predict."
            )


def _global_states() -> tuple[object, str]:
    """Return the states of the generators of Python and NumPy."""
    return random.getstate(), str(np.random.get_state())  # noqa: NPY002


def _spread(pixels: torch.Tensor) -> float:
    return float(pixels.float().std(correction=0))


def _mixes(function: Callable[[torch.Tensor], Any], pixels: torch.Tensor, n_seeds: int) -> bool:
    """Tell whether an image depends on the others of its batch.

    The function is tested on two batches of noise that share some images. A function that fails on
    them is assumed not to mix.
    """
    batch, other = _batches_of_noise(pixels)
    tolerance = 1e-3 * _spread(batch)

    def shared_of(images: torch.Tensor, seed: int) -> torch.Tensor:
        with isolated(pixels.device, seed):
            results: torch.Tensor = function(images.clone())
        return results[SHARED].cpu().double()

    def are_equal(first: torch.Tensor, *others: torch.Tensor) -> bool:
        return all(torch.allclose(first, each, 1e-3, tolerance) for each in others)

    def depend_on_others(seed: int, repeats: int) -> bool:
        ones = [shared_of(batch, seed) for _ in range(repeats)]
        twos = [shared_of(other, seed) for _ in range(repeats)]
        return are_equal(*ones) and are_equal(*twos) and not are_equal(ones[0], twos[0])

    try:
        seeds = range(n_seeds)
        return any(depend_on_others(seed, 1) and depend_on_others(seed, REPEATS) for seed in seeds)
    except Exception:
        return False


def _batches_of_noise(pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Make two batches of noise with the range of some pixels, which share some images.

    The other images have the same values in both batches, at other positions. The batches therefore
    differ for functions that mix images, but have the same statistics.
    """
    generator = torch.Generator().manual_seed(0)
    low = float(pixels.min())
    spread = float(pixels.max()) - low
    shape = (5, *pixels.shape[1:])
    noise = torch.rand(shape, generator=generator, dtype=torch.float64)
    noise = low + noise * (spread if spread >= 1e-6 else 1.0)
    if not pixels.is_floating_point():
        noise = noise.round()
    batch = noise.to(pixels.dtype).to(pixels.device)
    other = batch.roll((1, 1), (2, 3))
    other[SHARED] = batch[SHARED]
    return batch, other
