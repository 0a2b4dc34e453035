"""A grid search of 4 candidates in 3 folds, against the same search over plain skorch.

Run ``python benchmarks/search.py [ROUNDS] --fashion FOLDER``. Both search two learning rates and
two widths of the dense layer on 6,000 images with ``n_jobs=2``, and fit the best candidate again.
Plain skorch takes five epochs a fit, and searches around its usual learning rate; CNNClassifier,
with as many maps, takes two, which bring it further, and searches around its own.
"""

import gc
import statistics
import time
from typing import Any

from measuring.data import Images
from measuring.results import answer, ask, ratio_row
from measuring.sides import Fit, Side, module_of, prepared

SEARCHES: dict[str, tuple[dict[str, Any], dict[str, list[Any]]]] = {
    "ours": (
        {"conv_channels": (32, 64), "max_epochs": 2, "random_state": 0},
        {"learning_rate": [0.004, 0.008], "dense_units": [64, 128]},
    ),
    "plain_skorch": (
        {"epochs": 5, "seed": 0},
        {"lr": [0.001, 0.002], "module__units": [64, 128]},
    ),
}


def search(contender: str, images: Images, n_images: int) -> Fit:
    """Time a search on the first images, and return its best score."""
    from sklearn.model_selection import GridSearchCV

    options, grid = SEARCHES[contender]
    data = prepared(contender, images)
    model = GridSearchCV(module_of(contender).make(**options), grid, cv=3, n_jobs=2)
    gc.collect()
    start = time.perf_counter()
    model.fit(data.X[:n_images], data.y[:n_images])
    return Fit(time.perf_counter() - start, float(model.best_score_))


def main() -> None:
    """Print a row."""
    arguments = ask(__doc__, needs="fashion")
    n_images = 900 if arguments.quick else 6_000
    images = Images(arguments.fashion, n_images, 1)
    sides = {name: Side(name) for name in SEARCHES}
    results: dict[str, list[Fit]] = {name: [] for name in SEARCHES}
    for side in sides.values():
        side(search, images, 300)  # starts the processes, which stay for the searches that count
    for _ in range(arguments.rounds):
        for name, side in sides.items():
            results[name].append(side(search, images, n_images))
    for side in sides.values():
        side.close()
    best = {name: statistics.median(f.accuracy for f in fits) for name, fits in results.items()}
    row = ratio_row(
        "10",
        f"search of 4 candidates in 3 folds, {n_images:,} images, best scores "
        f"{best['ours']:.4f} and {best['plain_skorch']:.4f}, against plain skorch",
        [done.seconds for done in results["ours"]],
        [done.seconds for done in results["plain_skorch"]],
        at_least=5,
        condition=("score no lower", best["ours"] >= best["plain_skorch"]),
    )
    answer(arguments, [row])


if __name__ == "__main__":
    main()
