"""One fit against a raw PyTorch loop with the same layers and the same tricks.

Run ``python benchmarks/raw_loop.py [ROUNDS] [--fashion FOLDER]``. What lies between the two is the
price of skorch's history and callbacks and of our own checks. On the 28 x 28 pixels of
Fashion-MNIST, CNNClassifier cuts a batch into parts that threads compute side by side, so there are
two raw loops: one that does the same, and one whose operations torch splits among as many threads.
On digits of 8 x 8, where overhead shows most, both compute in one thread, in float32.
"""

from typing import Any

from measuring.data import Images
from measuring.results import Row, answer, ask, end_without, ratio_row
from measuring.sides import Side, fit, warm_up


def compare(
    number: str,
    what: str,
    images: Images,
    epochs: int,
    rounds: int,
    raw_loops: dict[str, dict[str, Any]],
) -> list[Row]:
    """Compare with each raw loop; the first of them has a target."""
    ours, raw = Side("ours"), Side("raw_torch")
    ours(warm_up, images, max_epochs=1)
    for options in raw_loops.values():
        raw(warm_up, images, epochs=1, **options)
    times: dict[str, list[float]] = {}
    for seed in range(rounds):
        turn = {"ours": ours(fit, images, max_epochs=epochs, random_state=seed)}
        for name, options in raw_loops.items():
            turn[name] = raw(fit, images, epochs=epochs, seed=seed, **options)
        for name, done in turn.items():
            times.setdefault(name, []).append(done.seconds)
    ours.close()
    raw.close()
    targets = [1.05] + [None] * (len(raw_loops) - 1)
    return [
        ratio_row(
            number, f"{what}, against a raw loop {name}", times["ours"], times[name], at_most=most
        )
        if most
        else ratio_row(number, f"{what}, a raw loop {name} / ours", times["ours"], times[name])
        for name, most in zip(raw_loops, targets, strict=True)
    ]


def main() -> None:
    """Compare on tiny images first, which are always there."""
    arguments = ask(__doc__, rounds=5)
    digits = Images(None, 1_797, 300)
    one_thread = {
        "shape": (8, 8, 1),
        "widths": (24,),
        "mean": 4.9,
        "std": 6.0,
        "bfloat16": False,
        "in_parts": False,
        "n_threads": 1,
    }
    epochs = 5 if arguments.quick else 20
    what = f"the same layers and tricks, digits of 8 x 8, {epochs} epochs"
    loops = {"in one thread": one_thread}
    answer(arguments, compare("3", what, digits, epochs, arguments.rounds, loops))

    end_without("fashion", arguments)
    images = Images(arguments.fashion, 6_000 if arguments.quick else 60_000, 1_000)
    what = f"the same layers and tricks, {images.n_train:,} of 28 x 28, 1 epoch"
    loops = {"in parts": {}, "without parts, as many threads": {"in_parts": False}}
    answer(arguments, compare("3", what, images, 1, min(arguments.rounds, 3), loops))


if __name__ == "__main__":
    main()
