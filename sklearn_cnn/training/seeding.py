"""Randomness: one seed in, every draw from it, and the global generators as they were found."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from sklearn.utils import check_random_state

from sklearn_cnn._locks import ProcessLock

_turn = ProcessLock(threading.RLock)


def draw_seed(random_state: Any) -> int:
    """Draw one seed from a ``random_state``.

    Parameters
    ----------
    random_state : int, RandomState instance or None
        None draws from the operating system, so that NumPy's global state stays as it was; an
        instance moves on.

    Returns
    -------
    int
        At least 0.
    """
    if random_state is None:
        return int(np.random.SeedSequence().generate_state(1)[0])
    return int(check_random_state(random_state).randint(np.iinfo(np.int32).max))


def derive_seed(seed: int, number: int) -> int:
    """Return one of many seeds that a seed gives, such as that of the training after n epochs."""
    return int(np.random.SeedSequence([seed, number]).generate_state(1)[0])


@contextmanager
def isolated_rng(seed: int, device: torch.device) -> Iterator[None]:
    """Run with torch's generators seeded, and put them back as they were, also after an error.

    Torch layers draw from generators that belong to the whole process, so threads take turns.
    """
    cuda = [device] if device.type == "cuda" else []
    with _turn.held, torch.random.fork_rng(devices=cuda):
        mps_state = torch.mps.get_rng_state() if device.type == "mps" else None
        try:
            torch.default_generator.manual_seed(seed)
            if device.type == "cuda":
                with torch.cuda.device(device):
                    torch.cuda.manual_seed(seed)
            elif device.type == "mps":
                torch.mps.manual_seed(seed)
            yield
        finally:
            if mps_state is not None:
                torch.mps.set_rng_state(mps_state)
