"""One fit of several processes, started by torchrun itself, on one host and on two."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import joint_fits
import pytest

ROOT = Path(__file__).parents[2]
FITS = Path(joint_fits.__file__).parent
ENVIRONMENT = {
    **os.environ,
    "PYTHON": sys.executable,
    "PYTHONPATH": f"{ROOT}{os.pathsep}{FITS}",
    "OMP_NUM_THREADS": "1",
}
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
WHAT = [FITS / "joint_fits.py", "some bits", "1"]


@pytest.fixture(scope="module")
def alone():
    return joint_fits.all_bits(["plain", "early stopping", "augmented"])


def printed(command):
    """Return what the processes printed, a dict for each."""
    found = subprocess.run(
        list(map(str, command)), env=ENVIRONMENT, capture_output=True, text=True, timeout=300
    )
    if found.returncode == 77:
        pytest.skip(found.stderr.strip())
    assert found.returncode == 0, found.stderr[-3000:]
    # processes may print at once, on one line
    results = [json.loads(text) for text in re.findall(r"\{[^{}]*\}", found.stdout)]
    assert sorted(result["rank"] for result in results) == [0, 1]
    return results


@pytest.mark.parametrize(
    "command", [[*TORCHRUN, *WHAT], [ROOT / "scripts" / "two-hosts", *WHAT]], ids=["one", "two"]
)
def test_hosts_end_with_the_bits_of_one_process(alone, command):
    for result in printed(command):
        assert {name: result[name] for name in alone} == alone


FOREVER = r"""
import os, sys
import joint_fits
from sklearn_cnn import CNNClassifier, data_parallel

os.write(1, f"{os.getpid()}\n".encode())  # in one piece: two processes share the pipe
with data_parallel():
    CNNClassifier(**{**joint_fits.LARGE, "max_epochs": 100_000}).fit(
        joint_fits.IMAGES, joint_fits.TARGET)
"""


def is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return "Z" not in Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]


@pytest.mark.parametrize("which", [0, 1])
def test_all_end_when_one_is_killed(tmp_path, which):
    """Within 30 seconds, and none is left."""
    script = tmp_path / "train.py"
    script.write_text(FOREVER)
    launched = subprocess.Popen(
        [*TORCHRUN, str(script)],
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    with launched:
        try:
            pids = [int(launched.stdout.readline()) for _ in range(2)]
            time.sleep(8)  # training has begun
            assert all(map(is_alive, pids))
            os.kill(pids[which], signal.SIGKILL)
            assert launched.wait(timeout=30) == 1
        finally:
            launched.terminate()  # ends its processes, which would train for an hour
    deadline = time.monotonic() + 5
    while any(map(is_alive, pids)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not any(map(is_alive, pids))
