"""ImageReader among threads, interrupts and hundreds of calls: nothing is left, nothing changed."""

import gc
import os
import pickle
import random
import signal
import subprocess
import sys
import textwrap
import threading
import time
import tracemalloc
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageFile
from sklearn.pipeline import make_pipeline

import sklearn_cnn
from sklearn_cnn import ImageReader

SIZE = 8
PACKAGE = Path(sklearn_cnn.__file__).parent


@pytest.fixture
def files(tmp_path):
    """Paths of 40 images of noise."""
    folder = tmp_path / "images of the training"
    folder.mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (40, SIZE, SIZE, 3), dtype=np.uint8)
    paths = [str(folder / f"{number}.png") for number in range(len(noise))]
    for path, pixels in zip(paths, noise, strict=True):
        Image.fromarray(pixels).save(path)
    return paths


@pytest.fixture(params=["no cache", "cache"])
def reader(request, tmp_path):
    """One that decodes in two threads, with and without a cache."""
    cache = tmp_path / "cache" if request.param == "cache" else None
    return ImageReader(SIZE, n_jobs=2, cache=cache)


def plain(paths):
    """The pixels, without a reader."""
    return np.stack([np.asarray(Image.open(path)) for path in paths])


# The state of the process


def state_of_the_process():
    return {
        "warning filters": (id(warnings.filters), list(map(id, warnings.filters))),
        "pixels of a bomb": Image.MAX_IMAGE_PIXELS,
        "truncated images": ImageFile.LOAD_TRUNCATED_IMAGES,
        "numpy generator": str(np.random.mtrand._rand.get_state()),
        "python generator": random.getstate(),
        "torch generator": torch.get_rng_state().numpy().tobytes(),
        "torch threads": torch.get_num_threads(),
        "numpy errors": np.geterr(),
        "folder": os.getcwd(),
        "environment": dict(os.environ),
        "SIGINT": signal.getsignal(signal.SIGINT),
    }


def test_fifty_transforms_leave_the_process_as_it_was(reader, files):
    """Would catch a setting of the process that a thread sets and puts back: others see it in
    between, and two of them put it back in the wrong order, which a quick switch brings about."""
    reader.transform(files[:4])
    before, interval = state_of_the_process(), sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        for _ in range(50):
            reader.transform(files * 3)  # enough for several tasks a thread
    finally:
        sys.setswitchinterval(interval)
    assert state_of_the_process() == before


def test_a_failing_transform_leaves_the_process_as_it_was(reader, files):
    Path(files[3]).write_bytes(Path(files[3]).read_bytes()[:-40])
    reader.transform(files[:3])
    before = state_of_the_process()
    with pytest.raises(ValueError, match=r"1 of 40 images cannot be read:\n.*3\.png"):
        reader.transform(files)
    assert state_of_the_process() == before


# What is left


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="reads Linux's /proc")
def test_three_hundred_transforms_do_not_grow(reader, files):
    """A handle or a thread a transform would show, and so would 2 kB of memory."""

    def resources():
        """Handles, threads, and bytes allocated by the package or for it: pytest-xdist receives
        lists of megabytes in a thread of its own meanwhile."""
        gc.collect()
        ours = tracemalloc.Filter(True, f"{PACKAGE}/*", all_frames=True)
        traces = tracemalloc.take_snapshot().filter_traces([ours]).statistics("traceback")
        n_bytes = sum(trace.size for trace in traces)
        largest[:] = ["\n".join(trace.traceback.format()) for trace in traces[:3]]
        handles = len(os.listdir("/proc/self/fd"))
        return handles, threading.active_count(), len(os.listdir("/proc/self/task")), n_bytes

    largest = []

    def transform(times):
        for number in range(times):
            some = files[number % 30 : number % 30 + 4]
            assert len(reader.transform(some[:: -1 if number % 2 else 1])) == 4

    def excess():
        """What 150 transforms leave."""
        before = resources()
        transform(150)
        for _ in range(100):  # joblib's threads, and what they hold, end a moment later
            found = np.subtract(resources(), before)
            if (found <= (0, 0, 0, 300_000)).all():
                break
            time.sleep(0.05)
        return found

    transform(30)
    tracemalloc.start(8)
    try:
        transform(30)
        # twice, since the process's table of interned strings may grow once, by megabytes
        least = np.minimum(excess(), excess())
    finally:
        tracemalloc.stop()
    assert (least <= (0, 0, 0, 300_000)).all(), "\n\n".join([f"{least}", *largest])


def test_a_pickled_pipeline_holds_neither_pixels_nor_paths(reader, files, small):
    model = make_pipeline(reader, small(max_epochs=1))
    content = pickle.dumps(model.fit(files, np.arange(40) % 2))
    assert b"images of the training" not in content
    assert b".png" not in content
    for pixels in plain(files):
        assert pixels.tobytes()[:32] not in content
    again = pickle.loads(content)
    np.testing.assert_array_equal(again.predict_proba(files), model.predict_proba(files))


# Many threads


def test_sixteen_threads_read_as_one(reader, files):
    """All with one reader, different images in different orders, all at once."""
    expected, start, wrong = plain(files), threading.Barrier(16), []

    def read(seed):
        try:
            start.wait()
            some = np.random.default_rng(seed).choice(40, 20, replace=False)
            pixels = reader.transform([files[i] for i in some])
            np.testing.assert_array_equal(pixels, expected[some])
        except BaseException as error:
            wrong.append(error)

    threads = [threading.Thread(target=read, args=(seed,)) for seed in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


# In a process of its own


def run(code, *arguments, **environment):
    """Run a script, and return the lines it prints; one that hangs is killed."""
    kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *arguments],
        env={**kept, **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


CTRL_C = """
import os, signal, sys, threading, time
import numpy as np
from sklearn_cnn import ImageReader
from sklearn_cnn.files import cache
from sklearn_cnn.files import read_many as read

folder, *files = sys.argv[1:]
signal.signal(signal.SIGINT, signal.default_int_handler)
cache.BLOCK_BYTES = 10 * 8 * 8 * 3
decode, n_decoded, lock = read.decode, 0, threading.Lock()

def decode_slowly(source, reading, notes=None):
    global n_decoded
    with lock:
        n_decoded += 1
        if n_decoded == 15:
            os.kill(os.getpid(), signal.SIGINT)
    time.sleep(0.005)
    return decode(source, reading)

reader = ImageReader(8, n_jobs=2, cache=folder or None)
expected = ImageReader(8).transform(files)
read.decode = decode_slowly
try:
    reader.transform(files * 100 if not folder else files)
except KeyboardInterrupt:
    print("interrupted", n_decoded < (2000 if not folder else 40))
read.decode = decode
for _ in range(2):
    print(np.array_equal(reader.transform(files), expected))
print([thread.name for thread in threading.enumerate() if not thread.daemon])
"""


@pytest.mark.parametrize("cache", ["", "cache"])
def test_ctrl_c_while_files_are_decoded(files, tmp_path, cache):
    """Would catch an interrupt that waits for all images, is taken for a damaged file, or leaves a
    lock or half a block behind: the next read has the right pixels."""
    lines = run(CTRL_C, cache and str(tmp_path / cache), *files)
    assert lines == ["interrupted True", "True", "True", "['MainThread']"]


READ_ONLY = """
import os, sys
import numpy as np
import sklearn_cnn.files.read_many  # importing may write byte code
from sklearn_cnn import ImageReader

def deny(event, args):
    writes = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_TRUNC
    if event in ("os.mkdir", "os.rename") or event == "open" and args[2] & writes:
        if not str(args[0]).startswith((os.devnull, allowed)):
            raise PermissionError(f"read-only: {event} {args}")

allowed, *files = sys.argv[1:]
sys.addaudithook(deny)
for cache in (None, allowed):
    print(ImageReader(8, n_jobs=2, cache=cache).fit_transform(files).shape)
try:
    open("file", "w")
except PermissionError:
    print("writes are denied")
"""


def test_reading_works_without_a_home_and_writes_to_its_cache_alone(files, tmp_path):
    """No temporary file, no folder of joblib's: only the folder that the user named."""
    lines = run(READ_ONLY, str(tmp_path / "cache"), *files, TMPDIR=str(tmp_path / "none"))
    assert lines == ["(40, 8, 8, 3)", "(40, 8, 8, 3)", "writes are denied"]
