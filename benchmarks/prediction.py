"""Probabilities of 10,000 images, against plain skorch and Keras with the same layers.

Run ``python benchmarks/prediction.py [ROUNDS] --fashion FOLDER``. The contenders get pixels that
were scaled to float32 before the clock starts; CNNClassifier gets bytes, and scales them itself.
"""

from measuring.data import Images
from measuring.results import answer, ask, format_seconds, missing_row, ratio_row
from measuring.sides import Side, fit_and_keep, is_installed, predict_seconds

SIDES = {
    "same layers": ("ours", {"layers": "tutorial", "max_epochs": 1}),
    "default layers": ("ours", {"max_epochs": 1}),
    "plain skorch": ("plain_skorch", {"epochs": 1}),
    "Keras": ("keras_tutorial", {"epochs": 1}),
}


def main() -> None:
    """Print a row for each contender and each of our networks."""
    arguments = ask(__doc__, rounds=5, needs="fashion")
    images = Images(arguments.fashion, 1_000, 10_000)
    sides = {}
    for name, (contender, options) in SIDES.items():
        if name != "Keras" or is_installed("tensorflow"):
            sides[name] = Side(contender)
            sides[name](fit_and_keep, images, **options)
            sides[name](predict_seconds, images)  # warms up
    times: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(arguments.rounds):
        for name, side in sides.items():
            times[name].append(side(predict_seconds, images))
    rows = []
    for ours, least in (("same layers", 4), ("default layers", None)):
        for theirs in ("plain skorch", "Keras"):
            what = f"predict_proba of 10,000 of 28 x 28, {ours}, against {theirs}"
            if theirs in times:
                rows.append(ratio_row("4", what, times[ours], times[theirs], at_least=least))
            else:
                target = f"at least {least}" if least else ""
                rows.append(missing_row("4", what, format_seconds(times[ours]), target))
    answer(arguments, rows)
    for side in sides.values():
        side.close()


if __name__ == "__main__":
    main()
