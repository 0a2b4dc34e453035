"""What several processes, checkpoints and clusters cost: ratios, and bytes over the network.

    python benchmarks/scale.py [processes] [hosts] [checkpoint] [dask] [map]

Everything without arguments. ``hosts`` needs the right to make network namespaces; ``dask`` needs
the extra "scale". Each ratio is the median of several runs, both sides in turn; a search, and an
epoch from a map, run once.
"""

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np
import torch
from measuring.report import describe_machine

from sklearn_cnn import CNNClassifier, data_parallel

ROOT = Path(__file__).parents[1]
PAIRS = 5


def images(n, side, channels=3):
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (n, side, side, channels), dtype=np.uint8), np.arange(n) % 10


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


# One fit of several processes


def timed_fits(side, n_threads, precision):
    """Print the seconds of fits, one each time that a line arrives."""
    torch.set_num_threads(n_threads)
    X, y = images(1280 if side > 40 else 2560, side)
    make = partial(CNNClassifier, random_state=0, precision=precision)
    with data_parallel() as processes:
        make(max_epochs=1).fit(X[:256], y[:256])
        for _ in range(PAIRS):
            if processes is None or processes.rank == 0:
                sys.stdin.readline()
            begin = time.perf_counter()
            model = make(max_epochs=1).fit(X, y)
            seconds = time.perf_counter() - begin
            if processes is None or processes.rank == 0:
                print(json.dumps([seconds, model.loss_curve_[-1]]), flush=True)


def start(n, *arguments):
    """Start processes that wait for a line; the first of them answers."""
    common = {
        **os.environ,
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(free_port()),
        "WORLD_SIZE": str(n),
    }
    return [
        subprocess.Popen(
            [sys.executable, __file__, "--fits", *map(str, arguments)],
            env={**common, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in range(n)
    ]


def processes():
    print("\nOne epoch in two processes of one thread, over one process of two threads, and of one")
    for precision in ("float32", "auto"):
        for side in (32, 64):
            sides = {
                "two processes": start(2, side, 1, precision),
                "two threads": start(1, side, 2, precision),
                "one thread": start(1, side, 1, precision),
            }
            found = {name: [] for name in sides}
            for _ in range(PAIRS):
                for name, (first, *_) in sides.items():
                    first.stdin.write("\n")
                    first.stdin.flush()
                    seconds, loss = json.loads(first.stdout.readline())
                    found[name].append((seconds, loss))
            losses = {loss for runs in found.values() for _, loss in runs}
            assert len(losses) == 1, losses
            for other in ("two threads", "one thread"):
                ratios = [
                    a / b
                    for (a, _), (b, _) in zip(found["two processes"], found[other], strict=True)
                ]
                print(
                    f"{side} x {side} x 3, {precision}: {median(ratios):.2f} of {other} "
                    f"({min(ratios):.2f} to {max(ratios):.2f})"
                )
            for started in sides.values():
                for process in started:
                    process.communicate(timeout=60)


# Two hosts


def hosts():
    """One epoch over a cable, as fast as memory and slowed to 1 Gbit/s."""
    print("\nOne epoch of 2,560 images of 32 x 32 x 3 on two hosts, one thread each")
    script = [str(Path(__file__).resolve()), "--epoch"]
    for name, rate in (("as fast as memory", []), ("1 Gbit/s", ["--rate", "1gbit"])):
        done = subprocess.run(
            [str(ROOT / "scripts" / "two-hosts"), *rate, *script],
            env={**os.environ, "PYTHON": sys.executable},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode == 77:
            print("not allowed on this machine")
            return
        print(f"{name}: {done.stdout.strip()}; {done.stderr.strip().splitlines()[-1]}")


def one_epoch():
    torch.set_num_threads(1)
    X, y = images(2560, 32)
    with data_parallel() as found:
        CNNClassifier(max_epochs=1, random_state=0).fit(X[:256], y[:256])
        begin = time.perf_counter()
        model = CNNClassifier(max_epochs=1, random_state=0).fit(X, y)
        seconds = time.perf_counter() - begin
        if found is None or found.rank == 0:
            n_bytes = model.net_.n_parameters * 4
            print(f"{seconds:.2f} s, {n_bytes:,} bytes of gradient a step and process", flush=True)


# Checkpoints


def checkpoint():
    """A fit with checkpoints over one without; written at the end, and in each epoch."""
    from sklearn_cnn.training import checkpoints

    X, y = images(5000, 32)
    make = partial(CNNClassifier, random_state=0, max_epochs=3)
    for name, seconds in (("every 10 s", 10.0), ("every epoch", 0.0)):
        checkpoints.SECONDS, ratios = seconds, []
        for _ in range(PAIRS):
            with tempfile.TemporaryDirectory() as folder:
                begin = time.perf_counter()
                make(checkpoint=folder).fit(X, y)
                middle = time.perf_counter()
                make().fit(X, y)
                ratios.append((middle - begin) / (time.perf_counter() - middle))
        print(
            f"\nfit with checkpoint, {name}, over without: {median(ratios):.3f} "
            f"({min(ratios):.3f} to {max(ratios):.3f})"
        )


# Searches on a cluster


def bytes_of_loopback():
    for line in Path("/proc/net/dev").read_text().splitlines():
        if line.strip().startswith("lo:"):
            return int(line.split(":")[1].split()[8])
    return 0


def write_images(folder, X):
    from PIL import Image

    names = [str(folder / f"{number}.png") for number in range(len(X))]
    for name, pixels in zip(names, X, strict=True):
        Image.fromarray(pixels).save(name)
    return np.array(names)


def dask():
    """Bytes and seconds of a search: arrays scattered, paths with a cache, and loky."""
    import joblib
    from dask import config
    from dask.distributed import Client, LocalCluster
    from sklearn.base import clone
    from sklearn.model_selection import GridSearchCV
    from sklearn.pipeline import make_pipeline

    from sklearn_cnn import ImageReader

    X, y = images(3_830, 64)
    print(f"\nA search over arrays of {X.nbytes / 1e6:.0f} MB")
    small = CNNClassifier((8, 16), dense_units=16, max_epochs=2, random_state=0)
    torch.set_num_threads(1)  # loky gives each worker as many as there are cores for it
    with (
        tempfile.TemporaryDirectory() as name,
        # else workers, and what is begun after them, return memory that the next step needs again
        config.set({"distributed.nanny.pre-spawn-environ.MALLOC_TRIM_THRESHOLD_": None}),
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster),
    ):
        folder = Path(name)
        paths = write_images(folder, X)
        files = make_pipeline(ImageReader(64, cache=folder / "cache"), small)
        # Fills the cache. A clone: a search sends a fitted model's weights with each task.
        clone(files).fit(paths, y)

        def search(n_tasks, model, prefix, backend, data, **options):
            rates = [0.001 * (i + 1) for i in range(n_tasks // 3)]
            grid = GridSearchCV(model, {f"{prefix}learning_rate": rates}, cv=3, refit=False)
            if backend == "one":
                grid.set_params(n_jobs=1)
            elif backend == "loky":
                grid.set_params(n_jobs=2)
            before, begin = bytes_of_loopback(), time.perf_counter()
            if backend == "dask":
                with joblib.parallel_config("dask", **options):
                    grid.fit(*data)
            else:
                grid.fit(*data)
            seconds, sent = time.perf_counter() - begin, bytes_of_loopback() - before
            return sent, seconds, grid.cv_results_["mean_test_score"]

        before = bytes_of_loopback()
        time.sleep(10)
        print(f"an idle cluster: {(bytes_of_loopback() - before) / 10 / 1e6:.3f} MB a second")
        for n_tasks in (12, 24):
            cases = {
                "dask, scattered": (small, "", "dask", (X, y), {"scatter": [X, y]}),
                "dask, paths": (
                    files,
                    "cnnclassifier__",
                    "dask",
                    (paths, y),
                    {"scatter": [paths, y]},
                ),
                "loky": (small, "", "loky", (X, y), {}),
                "one thread": (small, "", "one", (X, y), {}),
            }
            scores = {}
            for case, (model, prefix, backend, data, options) in cases.items():
                search(6, model, prefix, backend, data, **options)  # workers are warm
                found = search(n_tasks, model, prefix, backend, data, **options)
                sent, seconds, scores[case] = found
                print(f"{n_tasks} tasks, {case}: {sent / 1e6:.1f} MB, {seconds:.1f} s")
            assert len({value.tobytes() for value in scores.values()}) == 1, scores


# Larger than memory

GATHER = """
import sys, time
import numpy as np
from sklearn_cnn.training.examples import Examples, IndexedBatches
from sklearn_cnn.training.read_ahead import MappedRows

if sys.argv[2] == "as it is":
    MappedRows.of = classmethod(lambda cls, array: None)
X = np.load(sys.argv[1], mmap_mode="r")
rng = np.random.default_rng(int(sys.argv[3]))
rows = np.sort(rng.choice(len(X), 20 * 128, replace=False))
examples = Examples(X, rows, np.zeros(len(rows), int), np.ones(len(rows)))
begin = time.perf_counter()
for _ in IndexedBatches(examples, 128, rng.permutation):
    pass
print((time.perf_counter() - begin) / 20 * 1000)
"""

EPOCH = """
import sys
import numpy as np
from sklearn_cnn import CNNClassifier

X = np.load(sys.argv[1], mmap_mode="r" if sys.argv[2] == "map" else None)
model = CNNClassifier((8, 16), dense_units=16, max_epochs=1, random_state=0)
model.fit(X, np.arange(len(X)) % 10)
print(model.net_.history[-1]["dur"], model.loss_curve_[-1])
"""

FREES = {
    "MALLOC_TRIM_THRESHOLD_": "65536",
    "MALLOC_MMAP_THRESHOLD_": "65536",
    "MALLOC_ARENA_MAX": "2",
}
"""Has glibc return what is freed: else it may keep gigabytes, which no limit allows."""

ALLOWED = 560 << 20
"""Bytes of memory, of which the process itself takes some 300 MB."""


def map_of_images():
    """Gather batches from a map of four times the memory allowed, told in advance and not."""
    shape = (4 * ALLOWED // (64 * 64 * 3), 64, 64, 3)
    group = memory_group(ALLOWED)
    if group is None:
        print("\na limit of memory is not allowed on this machine")
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "images.npy"
        array = np.lib.format.open_memmap(path, "w+", np.uint8, shape)
        rng = np.random.default_rng(0)
        for begin in range(0, len(array), 5000):
            block = array[begin : begin + 5000]
            block[:] = rng.integers(0, 256, block.shape, np.uint8)
        array.flush()
        print(f"\nA batch of 128 images from a map of {array.nbytes / 1e6:.0f} MB, shuffled, with")
        print(f"{ALLOWED / 1e6:.0f} MB of memory for the process")
        del array, block
        found = {"as it is": [], "read ahead": []}
        for seed in range(PAIRS):
            # in turn, since a host may keep in its memory what the first has read
            for how, times in [*found.items()][:: 1 if seed % 2 else -1]:
                drop_caches()
                command = [sys.executable, "-c", GATHER, str(path), how, str(seed)]
                command = within(group, command)
                done = subprocess.run(command, capture_output=True, text=True, check=True)
                times.append(float(done.stdout))
        for how, times in found.items():
            print(f"{how}: {median(times):.1f} ms ({min(times):.1f} to {max(times):.1f})")
        for how in ("map", "memory"):
            drop_caches()
            command = [sys.executable, "-c", EPOCH, str(path), how]
            if how == "map":
                command = within(group, command)
            done = subprocess.run(
                command, capture_output=True, text=True, env={**os.environ, **FREES}, check=False
            )
            seconds_and_loss = done.stdout.strip() or f"ended with {done.returncode}"
            print(f"seconds and loss of an epoch, {how}: {seconds_and_loss}", flush=True)
    group.rmdir()


def drop_caches():
    """Have the operating system forget the file that was just written."""
    os.sync()
    Path("/proc/sys/vm/drop_caches").write_text("3")


def within(group, command):
    """Have a command join the group before it starts."""
    return ["bash", "-c", f'echo $$ >{group}/cgroup.procs; exec "$@"', "-", *command]


def memory_group(n_bytes):
    """Make a control group that limits memory; None where that is not allowed."""
    for root, name in (("memory/", "memory.limit_in_bytes"), ("", "memory.max")):
        group = Path(f"/sys/fs/cgroup/{root}sklearn-cnn-{os.getpid()}")
        try:
            group.mkdir(exist_ok=True)
            (group / name).write_text(str(n_bytes))
        except OSError:
            continue
        return group
    return None


PARTS = {
    "processes": processes,
    "hosts": hosts,
    "checkpoint": checkpoint,
    "dask": dask,
    "map": map_of_images,
}

if __name__ == "__main__":
    match sys.argv[1:]:
        case ["--fits", side, n_threads, precision]:
            timed_fits(int(side), int(n_threads), precision)
        case ["--epoch"]:
            one_epoch()
        case chosen:
            print("\n".join(describe_machine()))
            for part in chosen or PARTS:
                PARTS[part]()
