"""Three ways to keep a model: the size of the file, seconds to load it, predictions in a second.

Run ``python benchmarks/keeping.py [ROUNDS]``. The models have the default network for images of
28 x 28 and of 64 x 64 in colour. All are loaded and used in one process, in which torch and
onnxruntime are imported, with all cores; sides take turns, and figures are medians of the rounds.
"""

import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import onnxruntime
from measuring.results import ask

from sklearn_cnn import CNNClassifier, export_onnx, load_model, save_model

Loader = Callable[[Path], Callable[[np.ndarray], Any]]


def by_joblib(path: Path) -> Callable[[np.ndarray], Any]:
    """Load a pickle."""
    return joblib.load(path).predict_proba


def by_load_model(path: Path) -> Callable[[np.ndarray], Any]:
    """Load a file of save_model."""
    return load_model(path).predict_proba


def by_onnxruntime(path: Path) -> Callable[[np.ndarray], Any]:
    """Load an ONNX file."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return lambda images: session.run(["probabilities"], {"pixels": images})[0]


WAYS: dict[str, tuple[Callable[[Any, Path], Any], Loader]] = {
    "joblib": (joblib.dump, by_joblib),
    "save_model": (save_model, by_load_model),
    "export_onnx": (export_onnx, by_onnxruntime),
}


def seconds_of(run: Callable[[], Any], repeats: int) -> float:
    """Return the seconds of one run, the mean of some."""
    start = time.perf_counter()
    for _ in range(repeats):
        run()
    return (time.perf_counter() - start) / repeats


def main() -> None:
    """Print a table a size of images."""
    arguments = ask(__doc__ or "", rounds=5)
    rng = np.random.default_rng(0)
    for shape in ((28, 28, 1), (64, 64, 3)):
        images = rng.integers(0, 256, (1000, *shape), dtype=np.uint8)
        model = CNNClassifier(max_epochs=1, random_state=0).fit(images, np.arange(1000) % 10)
        found: dict[str, list[list[float]]] = {name: [] for name in WAYS}
        with tempfile.TemporaryDirectory() as folder:
            paths = {name: Path(folder, name) for name in WAYS}
            for name, (keep, _) in WAYS.items():
                keep(model, paths[name])
            sizes = {name: path.stat().st_size / 1e6 for name, path in paths.items()}
            predict = {name: load(paths[name]) for name, (_, load) in WAYS.items()}
            expected = model.predict_proba(images)
            for name in WAYS:
                assert np.abs(predict[name](images) - expected).max() < 1e-5, name
            for _ in range(arguments.rounds):
                for name, (_, load) in WAYS.items():
                    found[name].append(
                        [
                            seconds_of(partial(load, paths[name]), 3),
                            seconds_of(partial(predict[name], images[:1]), 20),
                            seconds_of(partial(predict[name], images), 1),
                        ]
                    )
            print(f"\n{' x '.join(map(str, shape))}")
            print("file           size     to load   1 image   1,000 images")
            for name, rounds in found.items():
                loading, one, many = (
                    1e3 * statistics.median(each) for each in zip(*rounds, strict=True)
                )
                times = f"{loading:8.1f} ms {one:7.2f} ms {many:9.0f} ms"
                print(f"{name:<12}{sizes[name]:5.2f} MB {times}")


if __name__ == "__main__":
    main()
