"""No hang in a forked process whose parent computed in several threads, and the same result.

OpenMP's threads do not survive a fork; torch in the child would wait for them for ever. What runs
in children has a time limit, which fails where it would hang.
"""

import multiprocessing
import threading
import time
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from joblib import Parallel, delayed
from PIL import Image
from sklearn.pipeline import make_pipeline

from sklearn_cnn import CNNClassifier, ImageReader
from sklearn_cnn._forks import forks_wait, tqdm
from sklearn_cnn.files import read_many as reading
from sklearn_cnn.machine import isolation
from sklearn_cnn.machine.isolation import isolated

SECONDS = 30

# Forking with threads is what the tests are about, and what newer Pythons warn of.
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")

needs_fork = pytest.mark.skipif(
    "fork" not in multiprocessing.get_all_start_methods(), reason="forks"
)


@pytest.fixture
def threaded():
    """Torch with two threads, both of which have computed."""
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    pixels = torch.ones(500, 500)
    pixels @ pixels + pixels
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def images():
    """40 colour images, large enough that torch shares their arithmetic among threads."""
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (40, 24, 24, 3), dtype=np.uint8), np.arange(40) % 2


@pytest.fixture
def files(tmp_path, images):
    """The paths of PNG files with these images."""
    paths = [str(tmp_path / f"{number}.png") for number in range(len(images[0]))]
    for path, pixels in zip(paths, images[0], strict=True):
        Image.fromarray(pixels).save(path)
    return paths, images[1]


def tiny():
    return CNNClassifier(8, dense_units=16, max_epochs=2, random_state=0)


def pipeline():
    return make_pipeline(ImageReader((8, 8), n_jobs=2), tiny())


def fit_and_predict(model, X, y):
    """The probabilities, and torch's threads before and after."""
    before = torch.get_num_threads()
    return model.fit(X, y).predict_proba(X), before, torch.get_num_threads()


def predict(model, X, y):
    before = torch.get_num_threads()
    return model.predict_proba(X), before, torch.get_num_threads()


def fit_in_parts(model, X, y):
    before = torch.get_num_threads()
    model.partial_fit(X, y, classes=[0, 1]).partial_fit(X, y)
    return model.predict_proba(X), before, torch.get_num_threads()


def fit_in_two_threads(model, X, y):
    """Two threads of the child, each with a model of its own."""
    fits = [threading.Thread(target=tiny().fit, args=(X, y)) for _ in range(2)]
    for fit in fits:
        fit.start()
    done = fit_and_predict(model, X, y)
    for fit in fits:
        fit.join()
    return done


def _send(connection, call, arguments):
    try:
        connection.send(call(*arguments))
    except BaseException as error:
        connection.send(error)
        raise


def in_process(method, call, *arguments):
    """Call in a new process; a hang is an error, and the process is killed."""
    context = multiprocessing.get_context(method)
    ours, theirs = context.Pipe()
    process = context.Process(target=_send, args=(theirs, call, arguments))
    process.start()
    try:
        if not ours.poll(SECONDS):
            raise TimeoutError(f"{call.__name__} hangs in a process made by {method}")
        result = ours.recv()
    finally:
        process.kill()
        process.join()
    if isinstance(result, BaseException):
        raise result
    return result


@needs_fork
@pytest.mark.parametrize("call", [fit_and_predict, fit_in_parts, fit_in_two_threads])
def test_a_forked_child_fits_as_its_parent(threaded, images, call):
    """Would catch any step of a fit that leaves one thread: its first weights, the table of its
    layers, training, prediction; and a child left with another number of threads."""
    expected = (fit_in_parts if call is fit_in_parts else fit_and_predict)(tiny(), *images)[0]
    proba, before, after = in_process("fork", call, tiny(), *images)
    np.testing.assert_array_equal(proba, expected)
    assert before == after == 2


@needs_fork
def test_a_forked_child_predicts_as_its_parent(threaded, images):
    """Of a model that the parent fitted, and predicted with in two threads."""
    model = tiny().fit(*images)
    expected = model.predict_proba(images[0])
    proba, before, after = in_process("fork", predict, model, *images)
    np.testing.assert_array_equal(proba, expected)
    assert before == after == 2


@needs_fork
def test_a_forked_child_reads_and_fits_as_its_parent(threaded, files):
    """Would catch threads of the decoding that a child waits for."""
    expected = fit_and_predict(pipeline(), *files)[0]
    proba, before, after = in_process("fork", fit_and_predict, pipeline(), *files)
    np.testing.assert_array_equal(proba, expected)
    assert before == after == 2


def read(images, **options):
    return ImageReader(8, n_jobs=2, **options).transform(images)


def slow_image(pixels, inside, leave):
    """An image that is being copied from ``inside`` to ``leave``."""
    image = Image.fromarray(pixels)

    def copy():
        inside.set()
        leave.wait(SECONDS)
        return Image.Image.copy(image)

    image.copy = copy
    return image


def draw_a_bar(inside, leave):
    with tqdm.get_lock():
        inside.set()
        leave.wait(SECONDS)


@needs_fork
@pytest.mark.parametrize("verbose", [0, 1])
@pytest.mark.parametrize("held", ["a copy of an image", "a bar"])
def test_a_child_forked_while_a_thread_holds_a_lock_reads(images, held, verbose, capsys):
    """Would catch a lock that the child inherits from a thread which it does not inherit."""
    inside, leave = threading.Event(), threading.Event()
    if held == "a bar":
        tqdm(total=1, disable=True).close()  # makes tqdm's lock
        thread = threading.Thread(target=draw_a_bar, args=(inside, leave))
    else:
        slow = slow_image(images[0][0], inside, leave)
        thread = threading.Thread(target=read, args=([slow],))
    thread.start()
    try:
        assert inside.wait(SECONDS)
        some = [Image.fromarray(pixels) for pixels in images[0][:3]]
        options = {"verbose": verbose} if held == "a bar" else {"mode": "L" if verbose else "RGB"}
        pixels = in_process("fork", _read, some, options)
    finally:
        leave.set()
        thread.join()
    np.testing.assert_array_equal(pixels, read(some, **options))


def _read(images, options):
    return read(images, **options)


@needs_fork
def test_a_child_forked_while_a_thread_fills_the_cache_reads(images, files, tmp_path, monkeypatch):
    """Would catch a child that waits for itself: it inherits the open file of the lock."""
    cache, inside, leave = tmp_path / "cache", threading.Event(), threading.Event()
    whole = reading.decode

    def decode(*arguments):
        inside.set()
        leave.wait(SECONDS)
        return whole(*arguments)

    monkeypatch.setattr(reading, "decode", decode)
    thread = threading.Thread(target=read, args=(files[0],), kwargs={"cache": cache})
    thread.start()
    assert inside.wait(SECONDS)
    monkeypatch.setattr(reading, "decode", whole)
    threading.Timer(1, leave.set).start()  # while the child waits for the lock
    pixels = in_process("fork", _read, files[0][:3], {"cache": cache})
    thread.join()
    np.testing.assert_array_equal(pixels, read(files[0][:3]))


@needs_fork
def test_a_child_is_not_forked_while_a_thread_imports_the_decoder():
    """Python keeps a lock for each module, which a child would wait for without end."""
    inside, done = threading.Event(), threading.Event()

    def import_slowly():
        with forks_wait:
            inside.set()
            time.sleep(0.2)
            done.set()

    thread = threading.Thread(target=import_slowly)
    thread.start()
    assert inside.wait(SECONDS)
    assert in_process("fork", done.is_set)
    thread.join()
    with forks_wait:  # by the thread that forks: it does not wait for itself
        assert in_process("fork", done.is_set)


def test_a_spawned_process_fits_as_its_parent(threaded, files):
    """loky's, which searches use: nothing is inherited, and the result is the same."""
    expected = fit_and_predict(pipeline(), *files)[0]
    with Parallel(n_jobs=2, backend="loky", timeout=4 * SECONDS) as parallel:
        for result in parallel(delayed(_fit_there)(*files) for _ in range(2)):
            np.testing.assert_array_equal(result, expected)


def _fit_there(paths, y):
    reader = ImageReader((8, 8), n_jobs=2)
    model = CNNClassifier(8, dense_units=16, max_epochs=2, random_state=0)
    return make_pipeline(reader, model).fit(paths, y).predict_proba(paths)


@pytest.mark.filterwarnings("ignore:User provided device_type of 'cuda'")
@pytest.mark.parametrize(("forked", "inside"), [(True, 1), (False, 2)])
def test_threads_are_put_back_after_an_error(threaded, monkeypatch, forked, inside):
    """Both kinds of process, on a GPU. Would catch one thread in all, or one that stays."""
    monkeypatch.setattr(isolation, "_is_forked", forked)
    counts = []

    def count_and_fail():
        with isolated(torch.device("cuda")):
            counts.append(torch.get_num_threads())
            raise RuntimeError("boom")

    with pytest.raises(RuntimeError, match="boom"):
        count_and_fail()
    assert counts == [inside]
    assert torch.get_num_threads() == 2


@contextmanager
def another_thread_inside():
    inside, leave = threading.Event(), threading.Event()

    def compute():
        with isolated(torch.device("cpu")), isolated(torch.device("cuda")):
            inside.set()
            leave.wait(SECONDS)

    thread = threading.Thread(target=compute)
    thread.start()
    try:
        assert inside.wait(SECONDS)
        yield
    finally:
        leave.set()
        thread.join()


def settings_found():
    """The numbers of threads of this one, and of a new one; and whether convolutions round."""
    number = []
    thread = threading.Thread(target=lambda: number.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    cudnn = torch.backends.cudnn  # names differ since torch 2.9
    rounds = cudnn.conv.fp32_precision != "ieee" if hasattr(cudnn, "conv") else cudnn.allow_tf32
    return torch.get_num_threads(), number[0], rounds


def settings_inside_and_afterwards():
    with isolated(torch.device("cpu")), isolated(torch.device("cuda")):
        inside = settings_found()
    return inside, settings_found()


@needs_fork
@pytest.mark.filterwarnings("ignore:User provided device_type of 'cuda'")
def test_a_child_does_not_wait_for_the_threads_that_were_inside(threaded):
    """They do not exist in it. Would catch a child that computes in TF32, or never leaves it."""
    assert settings_found() == (2, 2, True)
    with another_thread_inside():
        assert settings_found() == (2, 1, False)
        assert in_process("fork", settings_found) == (2, 2, True)
        found = in_process("fork", settings_inside_and_afterwards)
        assert found == ((1, 1, False), (2, 2, True))
    assert settings_found() == (2, 2, True)


@needs_fork
@pytest.mark.filterwarnings("ignore:User provided device_type of 'cuda'")
def test_a_child_of_a_thread_that_is_inside_is_inside(threaded):
    """Would catch a child that goes on computing in TF32, beside a thread that it lacks."""
    with another_thread_inside(), isolated(torch.device("cpu")), isolated(torch.device("cuda")):
        assert in_process("fork", settings_found) == (1, 1, False)
        found = in_process("fork", settings_inside_and_afterwards)
        assert found == ((1, 1, False), (1, 1, False))
    assert settings_found() == (2, 2, True)
