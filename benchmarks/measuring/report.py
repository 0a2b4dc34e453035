"""Run all benchmarks, and write what they found to RESULTS.md, with the machine and the versions.

Run by ``scripts/bench [ROUNDS] [--quick] [--all] [--fashion FOLDER] [--cifar FOLDER]
[--photos FOLDER]``. A quick run writes RESULTS-quick.md. The program fails at the end if a
benchmark did.

With ``--results FILE``, what was measured is kept there, and benchmarks that it holds are not run
again: so an interrupted run goes on where it was.
"""

import os
import platform
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from measuring.results import FOLDERS, NOT_INSTALLED, add, ask, read

HERE = Path(__file__).parents[1]

TABLE = (
    "fashion_mnist.py",
    "raw_loop.py",
    "prediction.py",
    "tiny_images.py",
    "memory_of_fit.py",
    "digits_accuracy.py",
    "image_folder.py",
    "search.py",
    "arithmetic.py",
    "accuracy_against_seconds.py",
)
"""Benchmarks that answer with rows of the table."""

OTHERS = (
    "threads.py",
    "reading.py",
    "memory_of_reading.py",
    "pretrained.py",
    "targets.py",
    "keeping.py",
)
"""Benchmarks with tables of their own, which run with ``--all``."""

LIBRARIES = (
    "sklearn-cnn",
    "torch",
    "skorch",
    "scikit-learn",
    "numpy",
    "tensorflow",
    "keras",
    "torchvision",
    "scikit-image",
    "simplejpeg",
)


FAST_AT = {"AMX": "amx_bf16", "AVX512-BF16": "avx512_bf16"}
"""What multiplies bfloat16, and its name in torch."""


def describe_machine() -> list[str]:
    """Name the processor, what it is fast at, the load before the run, and the versions."""
    import torch

    has = getattr(torch.cpu, "get_capabilities", dict)()
    fast = [f"{name}: {'yes' if has.get(key) else 'no'}" for name, key in FAST_AT.items()]
    load = f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "unknown"
    return [
        f"- date: {datetime.now(UTC):%Y-%m-%d}",
        f"- processor: {processor()}, {os.cpu_count()} cores; {', '.join(fast)}",
        f"- load before the run: {load} (a quiet machine is near 0)",
        f"- versions: Python {platform.python_version()}, "
        + ", ".join(f"{name} {installed(name)}" for name in LIBRARIES),
    ]


def processor() -> str:
    """Return the model of the processor."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()


def installed(library: str) -> str:
    """Return the version of a library, if it is there."""
    try:
        return version(library)
    except PackageNotFoundError:
        return NOT_INSTALLED


def run(benchmark: str, options: list[str]) -> tuple[str, bool]:
    """Run a benchmark; return what it printed, and whether it ended well."""
    print(f"== {benchmark}", flush=True)
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, str(HERE / benchmark), *options], stdout=subprocess.PIPE, text=True
    )
    print(f"{done.stdout}({time.perf_counter() - start:.0f} s)", flush=True)
    return done.stdout, done.returncode == 0


def table(results: Path) -> list[str]:
    """Write the rows in the order of their numbers, those without one last."""
    lines = [
        "| # | measure | ours | theirs | ratio (range) | target | reached | command |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    found = read(results, "row")
    for line in sorted(found, key=lambda line: int(line["content"]["number"] or 99)):
        row = line["content"]
        cells = [row[key] for key in ("number", "measure", "ours", "theirs", "ratio", "target")]
        cells.append({True: "yes", False: "**no**", None: ""}[row["is_met"]])
        lines.append("| " + " | ".join([*cells, f"`{line['command']}`"]) + " |")
    return lines


def main() -> int:
    """Run everything, write the report, and return how many benchmarks failed."""
    arguments = ask(__doc__, rounds=0, all={"action": "store_true"})
    start, machine, failed = time.perf_counter(), describe_machine(), []
    rounds = [str(arguments.rounds)] if arguments.rounds else []
    options = rounds + ["--quick"] * arguments.quick
    command = ["scripts/bench", *options, *(["--all"] * arguments.all)]
    for name, (variable, _) in FOLDERS.items():
        folder = getattr(arguments, name)
        if folder:  # the benchmarks with tables of their own look there
            os.environ[variable] = folder
        options += [f"--{name}", folder] if folder else []
        command += [f"--{name} FOLDER"] if folder else []
    texts = {}
    with tempfile.TemporaryDirectory() as temporary:
        arguments.results = arguments.results or Path(temporary, "results.jsonl")
        results = arguments.results.absolute()
        done = [line["content"] for line in read(results, "done")]
        for benchmark in TABLE:
            if benchmark in done:
                continue
            _, is_well = run(benchmark, [*options, "--results", str(results)])
            if is_well:
                add(arguments, "done", benchmark)
            else:
                failed.append(benchmark)
        for benchmark in OTHERS if arguments.all else ():
            texts[benchmark], is_well = run(benchmark, rounds)
            failed += [] if is_well else [benchmark]
        rows = table(results)
        left_out = [
            f"- `{line['command']}`: {line['content']}" for line in read(results, "left out")
        ]
    minutes = (time.perf_counter() - start) / 60
    quick = "**A quick run, of fewer images, epochs and rounds: its figures mean little.**\n"
    lines = [
        "# Results of the benchmarks",
        "",
        *([quick] if arguments.quick else []),
        *machine,
        f"- written by `{' '.join(command)}` in {minutes:.0f} minutes",
        "",
        "Both sides in one run, taking turns, each in a process of its own, with all cores; "
        "medians, and the ratio's range over the rounds. Imports, first uses and the scoring of "
        "test images are outside the clock. A ratio is theirs to ours where its target says `at "
        "least`, and ours to theirs where it says `at most`. The rows of `arithmetic.py` are of "
        "one process. A command goes behind `python benchmarks/`.",
        "",
        *rows,
        *(["", *left_out] if left_out else []),
        *(f"\n**{benchmark} failed.**" for benchmark in failed),
        "",
        f"![Accuracy against seconds](accuracy_against_seconds{'-quick' * arguments.quick}.png)",
    ]
    for benchmark, text in texts.items():
        lines += ["", f"## {benchmark}", "", "```text", text.strip(), "```"]
    report = HERE / ("RESULTS-quick.md" if arguments.quick else "RESULTS.md")
    report.write_text("\n".join(lines) + "\n")
    print(f"written: {report.relative_to(HERE.parent)}")
    for benchmark in failed:
        print(f"{benchmark} failed", file=sys.stderr)
    return len(failed)


if __name__ == "__main__":
    sys.exit(min(main(), 1))
