"""A fit of 20 epochs on digits of 8 x 8 pixels, against plain skorch.

Run ``python benchmarks/tiny_images.py [ROUNDS]``. CNNClassifier is timed with the same layers, and
with its own.
"""

from measuring.data import Images
from measuring.results import answer, ask, ratio_row
from measuring.sides import Side, fit, warm_up


def main() -> None:
    """Print a row for each of our networks."""
    arguments = ask(__doc__, rounds=5)
    images, epochs = Images(None, 1_797, 300), 5 if arguments.quick else 20
    same = {"layers": "tutorial"}
    network = {"shape": images.shape}
    ours, skorch = Side("ours"), Side("plain_skorch")
    for options in (same, {}):
        ours(warm_up, images, max_epochs=1, **options)
    skorch(warm_up, images, epochs=1, **network)
    times: dict[str, list[float]] = {"same": [], "default": [], "skorch": []}
    for seed in range(arguments.rounds):
        turn = {
            "same": ours(fit, images, max_epochs=epochs, random_state=seed, **same),
            "default": ours(fit, images, max_epochs=epochs, random_state=seed),
            "skorch": skorch(fit, images, epochs=epochs, seed=seed, **network),
        }
        for name, done in turn.items():
            times[name].append(done.seconds)
    ours.close()
    skorch.close()
    what = f"digits of 8 x 8, {epochs} epochs of fit"
    rows = [
        ratio_row(
            "5",
            f"{what}, {name} layers, against plain skorch",
            times[name],
            times["skorch"],
            at_least=2 if name == "same" else None,
        )
        for name in ("same", "default")
    ]
    answer(arguments, rows)


if __name__ == "__main__":
    main()
