"""Fashion-MNIST: time to an accuracy, time of an epoch, and the accuracy with nothing set.

Run ``python benchmarks/fashion_mnist.py [ROUNDS] --fashion FOLDER``. In each round, plain skorch
and Keras train the tutorials' network until they reach 0.900 on the test images, plain skorch for
5 epochs at least; the clock stops while they are scored. Then CNNClassifier is fitted four times:
with the fewest epochs that reach 0.900, with a small network too, for one epoch with the same
layers as theirs, and with nothing set but ``random_state``. Each round has a seed of its own.

The fewest epochs are found before the clock starts. Where a round does not reach 0.900 with them,
one more is tried from the start, and both fits count. Plain skorch does not shuffle; in the first
round it is run another time, and told to.
"""

import statistics
from math import inf
from typing import Any

from measuring.data import Images
from measuring.results import Row, add, answer, ask, format_seconds, missing_row, ratio_row
from measuring.sides import Fit, Side, fit, fit_in_epochs, is_installed, warm_up

EPOCHS_OF_TUTORIALS = 5
EPOCHS_AT_MOST = 12

SMALL = {"conv_channels": (16, 32), "learning_rate": 0.008}
"""What one sets who is in a hurry."""

Results = dict[str, list[Any]]


def fewest_epochs(ours: Side, images: Images, enough: float) -> int:
    """Find the lowest ``max_epochs`` that reaches an accuracy."""
    for epochs in range(1, EPOCHS_AT_MOST):
        if ours(fit, images, max_epochs=epochs, random_state=0).accuracy >= enough:
            return epochs
    raise RuntimeError(f"CNNClassifier reaches {enough} in no {EPOCHS_AT_MOST - 1} epochs")


def fit_until(
    ours: Side, images: Images, enough: float, epochs: int, seed: int, **options: Any
) -> Fit:
    """Fit with more and more epochs, each time from the start, until the accuracy is reached."""
    seconds = 0.0
    for more in range(EPOCHS_AT_MOST):
        done = ours(fit, images, max_epochs=epochs + more, random_state=seed, **options)
        seconds += done.seconds
        if done.accuracy >= enough:
            return Fit(seconds, done.accuracy)
    raise RuntimeError(f"CNNClassifier does not reach {enough} with random_state={seed}")


def time_to(curve: list[Fit], enough: float) -> float:
    """Return the seconds after which a curve reaches an accuracy, or infinity."""
    return next((done.seconds for done in curve if done.accuracy >= enough), inf)


def run(images: Images, enough: float, rounds: int) -> Results:
    """Let all sides take their turns."""
    contenders = {"plain skorch": Side("plain_skorch"), "Keras": Side("keras_tutorial")}
    if not is_installed("tensorflow"):
        del contenders["Keras"]
    ours = Side("ours")
    for side in contenders.values():
        side(warm_up, images, epochs=1)
    ours(warm_up, images, max_epochs=1)
    epochs = fewest_epochs(ours, images, enough)
    results: Results = {"epochs": [epochs]}
    for seed in range(rounds):
        turn: dict[str, Any] = {
            name: side(
                fit_in_epochs,
                images,
                enough=enough,
                at_least=EPOCHS_OF_TUTORIALS if name == "plain skorch" else 1,
                epochs=EPOCHS_AT_MOST,
                seed=seed,
            )
            for name, side in contenders.items()
        }
        turn["sooner"] = fit_until(ours, images, enough, epochs, seed)
        turn["soonest"] = fit_until(ours, images, enough, epochs, seed, **SMALL)
        turn["same layers"] = ours(fit, images, layers="tutorial", max_epochs=1, random_state=seed)
        turn["nothing set"] = ours(fit, images, random_state=seed)
        if seed == 0:
            turn["plain skorch, shuffling"] = contenders["plain skorch"](
                fit_in_epochs,
                images,
                enough=enough,
                at_least=1,
                epochs=EPOCHS_AT_MOST,
                shuffle=True,
            )
        for name, value in turn.items():
            results.setdefault(name, []).append(value)
    for side in (ours, *contenders.values()):
        side.close()
    return results


def time_rows(results: Results, enough: float, note: str) -> list[Row]:
    """Compare the times to an accuracy, of a small network and of the default one."""
    rows = []
    small = ", ".join(f"{name}={value}" for name, value in SMALL.items())
    targets = {"plain skorch": 12, "plain skorch, shuffling": None, "Keras": 8}
    for turn, settings, has_target in (("soonest", f", {small}", True), ("sooner", "", False)):
        ours = [done.seconds for done in results[turn]]
        for name, target in targets.items():
            least = target if has_target else None
            what = f"time to {enough:.3f} (max_epochs={results['epochs'][0]}{settings})"
            what += f", against {name}{note}"
            if name in results:
                times = [time_to(curve, enough) for curve in results[name]]
                if inf in times:
                    what += f" (inf: not in {EPOCHS_AT_MOST} epochs)"
                rows.append(ratio_row("1", what, ours[: len(times)], times, at_least=least))
            elif least:
                rows.append(missing_row("1", what, format_seconds(ours), f"at least {least}"))
    return rows


def epoch_row(results: Results, note: str) -> Row:
    """Compare the times of one epoch with the same layers."""
    return ratio_row(
        "2",
        f"the same layers, one epoch of fit, against plain skorch's first{note}",
        [done.seconds for done in results["same layers"]],
        [curve[0].seconds for curve in results["plain skorch"]],
        at_least=2.5,
    )


def defaults_row(results: Results, note: str) -> Row:
    """Compare the accuracy with nothing set, and its time."""
    defaults = results["nothing set"]
    theirs = [curve[EPOCHS_OF_TUTORIALS - 1] for curve in results["plain skorch"]]
    mean, their_mean = (statistics.mean(f.accuracy for f in fits) for fits in (defaults, theirs))
    times, their_times = ([done.seconds for done in fits] for fits in (defaults, theirs))
    ratio = statistics.median(a / b for a, b in zip(times, their_times, strict=True))
    accuracies = [done.accuracy for done in defaults]
    return Row(
        "7",
        f"nothing set, mean accuracy of {len(defaults)} seeds, and time, against plain skorch's "
        f"{EPOCHS_OF_TUTORIALS} epochs{note}",
        f"{mean:.4f} ({min(accuracies):.4f} to {max(accuracies):.4f}), {format_seconds(times)}",
        f"{their_mean:.4f}, {format_seconds(their_times)}",
        f"{ratio:.2f} of its time",
        "0.935, in at most its time",
        mean >= 0.935 and ratio <= 1,
    )


def curves(results: Results) -> dict[str, list[Fit]]:
    """Return accuracy against seconds in the first round, by the name of the contender."""
    found = {
        f"{name}, two-block network": results[name][0]
        for name in ("plain skorch", "plain skorch, shuffling", "Keras")
        if name in results
    }
    return found | {
        "CNNClassifier": [results["soonest"][0], results["sooner"][0], results["nothing set"][0]]
    }


def setting(folder: str, quick: bool) -> tuple[Images, float]:
    """Return the images, and the accuracy to reach."""
    if quick:
        return Images(folder, 4_000, 2_000), 0.75
    return Images(folder, 60_000, 10_000), 0.9


def main() -> None:
    """Print the rows."""
    arguments = ask(__doc__, needs="fashion")
    images, enough = setting(arguments.fashion, arguments.quick)
    note = f", {images.n_train:,} images"
    results = run(images, enough, arguments.rounds)
    rows = [
        *time_rows(results, enough, note),
        epoch_row(results, note),
        defaults_row(results, note),
    ]
    answer(arguments, rows)
    for curve in curves(results).items():
        add(arguments, "curve", curve)


if __name__ == "__main__":
    main()
