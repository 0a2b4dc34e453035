"""Accuracy on digits in 5-fold cross-validation with nothing set, against SVC.

Run ``python benchmarks/digits_accuracy.py [ROUNDS]``: a seed a round, for the folds and for the
network. Both sides see the same folds. SVC has no seed, so only its folds change.
"""

import os
import statistics

from measuring.data import Images
from measuring.results import Row, answer, ask
from measuring.sides import Side, module_of, prepared


def fold_scores(contender: str, images: Images, folds_seed: int, **options: object) -> list[float]:
    """Cross-validate in as many processes as there are cores."""
    from sklearn.model_selection import StratifiedKFold, cross_val_score

    data, model = prepared(contender, images), module_of(contender).make(**options)
    folds = StratifiedKFold(5, shuffle=True, random_state=folds_seed)
    scores = cross_val_score(model, data.X, data.y, cv=folds, n_jobs=os.cpu_count())
    return [float(score) for score in scores]


def main() -> None:
    """Print a row."""
    arguments = ask(__doc__)
    images = Images(None, 1_797, 300)
    sides = {"ours": Side("ours"), "svc": Side("svc")}
    means: dict[str, list[float]] = {"ours": [], "svc": []}
    for seed in range(arguments.rounds):
        means["ours"].append(
            statistics.mean(sides["ours"](fold_scores, images, seed, random_state=seed))
        )
        means["svc"].append(statistics.mean(sides["svc"](fold_scores, images, seed)))
    for side in sides.values():
        side.close()
    ours, svc = (statistics.mean(means[name]) for name in ("ours", "svc"))
    row = Row(
        "8",
        f"digits, 5-fold, nothing set, mean of {arguments.rounds} seeds, against SVC",
        f"{ours:.4f} ({min(means['ours']):.4f} to {max(means['ours']):.4f})",
        f"{svc:.4f} ({min(means['svc']):.4f} to {max(means['svc']):.4f})",
        f"{(ours - svc) * 100:+.2f} points",
        "0.993",
        ours >= 0.993,
    )
    answer(arguments, [row])


if __name__ == "__main__":
    main()
