"""What belongs to the process: as it must be inside, for every thread, and as found afterwards."""

import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal
from skorch.callbacks import Callback
from torch.backends import cuda, cudnn

from sklearn_cnn.machine.isolation import begin_in_one_thread, isolated, shared_settings
from sklearn_cnn.training.prediction import predict_outputs

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


class NoteThreads(Callback):
    """Note the number of threads while training; then fail, if asked to."""

    def __init__(self, fail=False):
        self.fail = fail

    def on_epoch_end(self, net, **_):
        net.history.record("threads", torch.get_num_threads())
        if self.fail:
            raise RuntimeError("on purpose")


def test_training_runs_in_one_thread_and_gives_the_others_back(small, bars, three_threads):
    classifier = small(callbacks=[NoteThreads()]).fit(*bars)
    assert classifier.history_[:, "threads"] == [1, 1, 1]
    assert torch.get_num_threads() == 3


def test_threads_come_back_after_an_error(small, bars, three_threads):
    """Catches a process that is left with one thread by one failed fit."""
    with pytest.raises(RuntimeError, match="on purpose"):
        small(callbacks=[NoteThreads(fail=True)]).fit(*bars)
    assert torch.get_num_threads() == 3


def test_a_result_does_not_depend_on_the_threads(small, bars, three_threads):
    """Catches gradients summed in as many parts as there are threads."""
    first = small().fit(*bars).loss_curve_
    torch.set_num_threads(1)
    assert small().fit(*bars).loss_curve_ == first


@pytest.fixture
def quick_cudnn(monkeypatch):
    """A user's cuDNN settings that training on CUDA must change for its time."""
    monkeypatch.setattr(cudnn, "benchmark", True)
    monkeypatch.setattr(cudnn, "deterministic", False)


def cudnn_settings():
    return cudnn.enabled, cudnn.benchmark, cudnn.deterministic


@pytest.fixture
def without_cuda(monkeypatch):
    """Where there is no CUDA, its settings can be set all the same, but no generator."""
    fork_rng = torch.random.fork_rng
    monkeypatch.setattr(torch.random, "fork_rng", lambda devices: fork_rng(devices=[]))
    monkeypatch.setattr(torch.cuda, "device", nullcontext)
    monkeypatch.setattr(torch.cuda, "manual_seed", lambda seed: None)


about_cuda = pytest.mark.filterwarnings("ignore:User provided device_type of 'cuda'")


@about_cuda
@pytest.mark.usefixtures("quick_cudnn", "without_cuda")
@pytest.mark.parametrize(
    ("kind", "seed", "inside"),
    [("cpu", 0, (True, False)), ("cuda", 0, (False, True)), ("cuda", None, (True, False))],
)
def test_cudnn_is_deterministic_on_cuda_and_as_found_afterwards(kind, seed, inside):
    """Where there is a seed; also after an error. Catches a process that is left slow."""
    before = cudnn_settings()
    with isolated(torch.device(kind), seed):
        assert cudnn_settings() == (before[0], *inside)
    assert cudnn_settings() == before

    def fail_inside():
        with isolated(torch.device(kind), seed):
            raise RuntimeError("on purpose")

    with pytest.raises(RuntimeError, match="on purpose"):
        fail_inside()
    assert cudnn_settings() == before


@about_cuda
@pytest.mark.parametrize("kind", ["cpu", "cuda"])
def test_only_the_cpu_is_held_to_one_thread(three_threads, kind):
    with isolated(torch.device(kind)):
        assert torch.get_num_threads() == (1 if kind == "cpu" else 3)
    assert torch.get_num_threads() == 3


class Flags:
    """Settings of a process, as torch has them."""

    tf32, benchmark = "user's", True


@pytest.mark.parametrize("first_out", ["the first in", "the last in"])
def test_settings_are_restored_by_the_last_of_those_inside(first_out):
    """Catches a thread that puts back what another has set: the user's setting was lost for good,
    or a thread computed without its own."""
    flags = Flags()
    shared = shared_settings([(flags, "tf32", "off"), (flags, "benchmark", False)])
    entered, leave = [threading.Event() for _ in "ab"], [threading.Event() for _ in "ab"]

    def compute(number):
        with shared.held():
            entered[number].set()
            assert leave[number].wait(20)
            return flags.tf32, flags.benchmark

    order = (0, 1) if first_out == "the first in" else (1, 0)
    with ThreadPoolExecutor(2) as pool:
        threads = []
        for number in (0, 1):
            threads.append(pool.submit(compute, number))
            assert entered[number].wait(20)
        for number in order:
            assert (flags.tf32, flags.benchmark) == ("off", False)
            leave[number].set()
            assert threads[number].result() == ("off", False)
    assert (flags.tf32, flags.benchmark) == ("user's", True)


def test_settings_come_back_after_an_error_and_are_read_anew():
    """Also where the user changes them between two uses."""
    flags = Flags()
    shared = shared_settings([(flags, "tf32", "off")])

    def fail():
        with shared.held(), shared.held():
            assert flags.tf32 == "off"
            raise RuntimeError("on purpose")

    for setting in ("user's", "another"):
        flags.tf32 = setting
        with pytest.raises(RuntimeError, match="on purpose"):
            fail()
        assert flags.tf32 == setting


@pytest.mark.skipif(not hasattr(cudnn, "conv"), reason="torch had other names before 2.9")
def test_many_threads_with_the_settings_of_torch():
    """TF32, as threads that predict on a GPU switch it."""
    matmul = torch.backends.cuda.matmul
    before, matmul.fp32_precision = matmul.fp32_precision, "tf32"

    def compute(_):
        with isolated(CUDA):
            return matmul.fp32_precision

    try:
        with warnings.catch_warnings(), ThreadPoolExecutor(16) as pool:
            warnings.simplefilter("ignore")  # of autocast: there is no CUDA here
            assert set(pool.map(compute, range(400))) == {"ieee"}
        assert matmul.fp32_precision == "tf32"
    finally:
        matmul.fp32_precision = before


class Meeting(torch.nn.Module):
    """A network that notes torch's threads at a first image, and again once it may go on."""

    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.zeros(1))
        self.inside, self.go_on = threading.Event(), threading.Event()
        self.threads = []

    def forward(self, pixels):
        self.threads.append(torch.get_num_threads())
        self.inside.set()
        assert self.go_on.wait(20)
        self.threads.append(torch.get_num_threads())
        return pixels.flatten(1).float()


def number_of_a_new_thread():
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(torch.get_num_threads).result()


IMAGES = np.zeros((2, 2, 2, 1), np.uint8)


@pytest.mark.usefixtures("three_threads")
@pytest.mark.parametrize("first_out", [0, 1])
def test_two_threads_that_predict_at_once(first_out):
    """Whichever ends first. Catches the other computing in three threads since, and a process
    that is left with one."""
    networks = [Meeting(), Meeting()]

    def predict(network):
        torch.set_num_threads(3)
        predict_outputs(network.eval(), IMAGES, 2)
        return torch.get_num_threads()

    with ThreadPoolExecutor(2) as pool:
        threads = []
        for network in networks:
            threads.append(pool.submit(predict, network))
            assert network.inside.wait(20)
        for number in (first_out, 1 - first_out):
            assert number_of_a_new_thread() == 1
            networks[number].go_on.set()
            assert threads[number].result() == 3
    assert [network.threads for network in networks] == [[1, 1], [1, 1]]
    assert torch.get_num_threads() == number_of_a_new_thread() == 3


class During(Callback):
    """Do something at the end of the first epoch, and note torch's threads at the end of each."""

    def __init__(self, act):
        self.act = act

    def on_epoch_end(self, net, **_):
        if len(net.history) == 1:
            self.act()
        net.history.record("threads", torch.get_num_threads())


@pytest.mark.usefixtures("three_threads")
@pytest.mark.parametrize("first_out", ["prediction", "training"])
def test_a_thread_that_trains_while_another_predicts(small, bars, first_out):
    """Whichever ends first. Catches a training that goes on in three threads, which gives another
    model, and a prediction that does."""
    network, after = Meeting().eval(), []
    expected = small().fit(*bars).predict_proba(bars[0])

    def predict():
        torch.set_num_threads(3)
        predict_outputs(network, IMAGES, 2)
        after.append(torch.get_num_threads())

    thread = threading.Thread(target=predict)

    def meet():
        thread.start()
        assert network.inside.wait(20)
        if first_out == "prediction":
            network.go_on.set()
            thread.join()

    trained = small(callbacks=[During(meet)]).fit(*bars)
    assert torch.get_num_threads() == 3
    network.go_on.set()
    thread.join()
    assert trained.history_[:, "threads"] == [1, 1, 1]
    assert network.threads == [1, 1]
    assert after == [3]
    assert torch.get_num_threads() == number_of_a_new_thread() == 3
    assert_array_equal(trained.predict_proba(bars[0]), expected)


@pytest.mark.usefixtures("three_threads")
def test_a_callback_that_predicts_leaves_training_in_one_thread(small, bars):
    """Catches a prediction that puts back what was outside of the training."""
    other = small().fit(*bars)
    callback = During(lambda: other.predict(bars[0]))
    assert small(callbacks=[callback]).fit(*bars).history_[:, "threads"] == [1, 1, 1]
    assert torch.get_num_threads() == number_of_a_new_thread() == 3


@pytest.mark.usefixtures("three_threads")
def test_a_thread_of_one_thread_keeps_it():
    """Catches one that is given the number of others."""

    def compute():
        torch.get_num_threads()  # the thread takes its setting from the process here
        torch.set_num_threads(1)
        started.set()
        assert go_on.wait(20)
        with isolated(CPU) as n_threads:
            assert n_threads == 1
        return torch.get_num_threads()

    started, go_on = threading.Event(), threading.Event()
    with ThreadPoolExecutor(1) as pool:
        alone = pool.submit(compute)
        assert started.wait(20)
        torch.set_num_threads(3)
        go_on.set()
        assert alone.result() == 1
    assert torch.get_num_threads() == number_of_a_new_thread() == 3


@about_cuda
@pytest.mark.usefixtures("three_threads")
@pytest.mark.parametrize("device", [CPU, CUDA])
def test_a_pool_may_have_as_many_threads_as_torch_had_outside(device):
    """Also inside another. Catches training in one thread where fit is inside already."""
    with isolated(device) as n_threads, isolated(device, 0 if device == CPU else None) as n_inner:
        assert n_threads == n_inner == 3
    with isolated(CPU) as n_threads:
        torch.set_num_threads(2)
        with isolated(CPU):
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 2
    assert torch.get_num_threads() == number_of_a_new_thread() == 3


@about_cuda
@pytest.mark.usefixtures("quick_cudnn", "without_cuda")
def test_a_thread_that_trains_on_cuda_while_another_predicts():
    """Catches a prediction that puts TF32, or the settings of the training, back for both."""

    def settings():
        is_new = hasattr(cudnn, "conv")  # names differ since torch 2.9
        return cudnn.conv.fp32_precision if is_new else cudnn.allow_tf32, *cudnn_settings()

    def predict():
        with isolated(CUDA):
            return settings()

    before = settings()
    with isolated(CUDA, 0), ThreadPoolExecutor(1) as pool:
        inside = settings()
        assert inside == (before[0] and inside[0], before[1], False, True)
        assert pool.submit(predict).result() == inside
        assert settings() == inside
    assert settings() == before != inside


@pytest.mark.usefixtures("three_threads")
def test_a_thread_of_a_pool_computes_in_one_thread_whatever_others_set():
    """Catches one that takes the number of the process when it first computes."""
    with ThreadPoolExecutor(1, initializer=begin_in_one_thread) as pool:
        pool.submit(int).result()
        torch.set_num_threads(3)  # as a thread does that leaves meanwhile
        assert pool.submit(torch.get_num_threads).result() == 1


@pytest.fixture
def settings_put_back():
    """TF32 has settings for each backend and below it; all are put back, the upper ones first."""
    holders = [torch.backends, cudnn, cuda.matmul, cudnn.conv, cudnn.rnn]
    holders = [holder for holder in holders if hasattr(holder, "fp32_precision")]  # torch 2.9 on
    before = [holder.fp32_precision for holder in holders]
    legacy = cudnn.allow_tf32, cuda.matmul.allow_tf32
    yield
    for holder, value in zip(holders, before, strict=True):
        holder.fp32_precision = value
    cudnn.allow_tf32, cuda.matmul.allow_tf32 = legacy


def fail_isolated(device):
    with isolated(device):
        raise RuntimeError("on purpose")


@pytest.mark.usefixtures("settings_put_back")
@about_cuda
@pytest.mark.parametrize("before", [(True, False), (False, True), (True, True), (False, False)])
@pytest.mark.parametrize("kind", ["cpu", "cuda"])
def test_tf32_is_off_on_cuda_and_as_found_afterwards(kind, before):
    """Also after an error. Catches a process that is left slow, or a fit of 10 bits."""

    def settings():
        return cudnn.allow_tf32, cuda.matmul.allow_tf32

    def rounds():
        """Whether products of convolutions and of matrices are rounded, by the newest names."""
        if hasattr(cudnn, "conv"):
            holders = cudnn.conv, cuda.matmul
            return tuple(holder.fp32_precision == "tf32" for holder in holders)
        return settings()

    cudnn.allow_tf32, cuda.matmul.allow_tf32 = before
    with isolated(torch.device(kind)):
        assert rounds() == (before if kind == "cpu" else (False, False))
    assert settings() == before
    with pytest.raises(RuntimeError, match="on purpose"):
        fail_isolated(torch.device(kind))
    assert settings() == before


@pytest.mark.skipif(not hasattr(cudnn, "conv"), reason="older torch has one setting a backend")
@pytest.mark.usefixtures("settings_put_back")
@about_cuda
@pytest.mark.parametrize(
    ("chosen", "value"),
    [
        (lambda: cuda.matmul, "tf32"),
        (lambda: cuda.matmul, "ieee"),
        (lambda: cudnn.conv, "ieee"),
        (lambda: cudnn.conv, "tf32"),
        (lambda: torch.backends, "tf32"),
    ],
    ids=["matmul tf32", "matmul ieee", "conv ieee", "conv tf32", "all tf32"],
)
def test_tf32_set_by_torchs_newer_names(chosen, value):
    """torch raises where its old names are read after its new ones were set.

    Catches a GPU on which every fit and prediction of such a process fails.
    """

    def settings():
        return cuda.matmul.fp32_precision, cudnn.conv.fp32_precision

    chosen().fp32_precision = value
    before = settings()
    with isolated(CUDA):
        assert "tf32" not in settings()
    assert settings() == before
    with pytest.raises(RuntimeError, match="on purpose"):
        fail_isolated(CUDA)
    assert settings() == before
