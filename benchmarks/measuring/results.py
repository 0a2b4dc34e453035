"""What a benchmark is asked, and what it answers: rows of one table."""

import argparse
import json
import os
import statistics
import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

NOT_INSTALLED = "not installed"

FOLDERS = {
    "fashion": (
        "FASHION_MNIST",
        "the four files of Fashion-MNIST (github.com/zalandoresearch/fashion-mnist), "
        "train-images-idx3-ubyte.gz and so on",
    ),
    "cifar": ("CIFAR_FOLDER", "colour images as files in train/CLASS and test/CLASS"),
    "photos": ("PHOTOS_FOLDER", "a folder of 300 photographs for each of two kinds"),
}
"""Images that are asked for: the variable that may name their folder, and what is in it."""


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes
    ----------
    number : str
        Of the measure.
    measure : str
        What was measured, and against whom.
    ours, theirs : str
        Both figures, with their units.
    ratio : str
        How they compare, with the range over the rounds.
    target : str
        What it should be; "" for none.
    is_met : bool or None
        Whether it is; None where there is no target, or nothing to compare with.
    """

    number: str
    measure: str
    ours: str
    theirs: str
    ratio: str = ""
    target: str = ""
    is_met: bool | None = None


def ratio_row(
    number: str,
    measure: str,
    ours: list[float],
    theirs: list[float],
    *,
    at_least: float | None = None,
    at_most: float | None = None,
    condition: tuple[str, bool] | None = None,
) -> Row:
    """Compare seconds of the same rounds: theirs / ours, or ours / theirs for ``at_most``.

    ``condition`` is what the target asks for besides, and whether it is so.
    """
    pairs = zip(ours, theirs, strict=True)
    ratios = [mine / other if at_most else other / mine for mine, other in pairs]
    middle = statistics.median(ratios)
    target, is_met = "", None
    if at_most is not None:
        target, is_met = f"at most {at_most:g}", middle <= at_most
    if at_least is not None:
        target, is_met = f"at least {at_least:g}", middle >= at_least
    if condition is not None:
        target, is_met = f"{target}, {condition[0]}", bool(is_met and condition[1])
    return Row(
        number,
        measure,
        format_seconds(ours),
        format_seconds(theirs),
        f"{middle:.2f} ({min(ratios):.2f} to {max(ratios):.2f})",
        target,
        is_met,
    )


def missing_row(number: str, measure: str, ours: str = "", target: str = "") -> Row:
    """Stand in for a comparison with what is not installed."""
    return Row(number, measure, ours, NOT_INSTALLED, target=target)


def format_seconds(times: list[float]) -> str:
    """Write the median."""
    middle = statistics.median(times)
    return f"{middle:.1f} s" if middle >= 10 else f"{middle:.3g} s"


def ask(
    description: str, *, rounds: int = 3, needs: str = "", **more: dict[str, Any]
) -> argparse.Namespace:
    """Read the command line.

    Parameters
    ----------
    description : str
        What the benchmark measures, in the first line.
    rounds : int
        How many unless told otherwise, or quick.
    needs : {"fashion", "cifar", "photos", ""}
        Images without which the program ends; see ``end_without``.
    **more : dict
        Further options by name, each as the arguments of ``add_argument``.
    """
    parser = argparse.ArgumentParser(description=description.partition("\n")[0])
    parser.add_argument("rounds", type=int, nargs="?", help=f"default: {rounds}, or 1 if quick")
    parser.add_argument("--quick", action="store_true", help="fewer images, epochs and rounds")
    parser.add_argument("--results", type=Path, help="file to add the results to, as JSON")
    for name, (variable, what) in FOLDERS.items():
        folder = os.environ.get(variable)
        parser.add_argument(f"--{name}", metavar="FOLDER", default=folder, help=f"with {what}")
    for name, options in more.items():
        parser.add_argument(f"--{name.replace('_', '-')}", **options)
    arguments = parser.parse_args()
    arguments.rounds = arguments.rounds or (1 if arguments.quick else rounds)
    arguments.command = f"{Path(sys.argv[0]).name} {arguments.rounds}{' --quick' * arguments.quick}"
    if needs:
        end_without(needs, arguments)
    return arguments


def end_without(name: str, arguments: argparse.Namespace) -> None:
    """End the program well, and say why, where a folder of images was not given."""
    arguments.command += f" --{name} FOLDER"
    if getattr(arguments, name):
        return
    variable, what = FOLDERS[name]
    line = f"left out: needs --{name} FOLDER, or {variable}=FOLDER in the environment, with {what}"
    print(line)
    add(arguments, "left out", line)
    sys.exit(0)


def answer(arguments: argparse.Namespace, rows: Iterable[Row]) -> None:
    """Print rows, and add them to the file of results; a quick run is not judged."""
    for row in rows:
        row = replace(row, is_met=None) if arguments.quick else row
        print(f"{row.number:>2}  {row.measure}")
        parts = {"ours": row.ours, "theirs": row.theirs, "ratio": row.ratio, "target": row.target}
        print("    " + "   ".join(f"{name} {value}" for name, value in parts.items() if value))
        add(arguments, "row", asdict(row))


def add(arguments: argparse.Namespace, kind: str, content: Any) -> None:
    """Add a line to the file of results."""
    if arguments.results:
        line = {"command": arguments.command, "kind": kind, "content": content}
        with arguments.results.open("a") as file:
            file.write(json.dumps(line) + "\n")


def read(path: Path | None, kind: str) -> list[dict[str, Any]]:
    """Return the lines of one kind in a file of results, if there is one."""
    if path is None or not path.exists():
        return []
    lines = map(json.loads, path.read_text().splitlines())
    return [line for line in lines if line["kind"] == kind]
