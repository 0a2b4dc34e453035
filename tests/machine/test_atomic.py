"""A file is the former one or the new one, whole: killed, interrupted, or on a full disk."""

import os
import resource
import signal
import stat
import subprocess
import sys
import textwrap
import time

import pytest

from sklearn_cnn.machine import atomic
from sklearn_cnn.machine.atomic import write_atomically


def test_a_file_is_written_and_replaced(tmp_path):
    path = tmp_path / "model"
    write_atomically(path, b"one")
    write_atomically(str(path), b"two and more")
    assert path.read_bytes() == b"two and more"
    assert [p.name for p in tmp_path.iterdir()] == ["model"]


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_the_mode_follows_the_umask(tmp_path, mask):
    """Catches the mode of temporary files, which only their owner reads."""
    before = os.umask(mask)
    try:
        write_atomically(tmp_path / "model", b"x")
        assert os.umask(mask) == mask
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "model").stat().st_mode) == 0o666 & ~mask


def test_a_link_stays_a_link(tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "there" / "model")
    write_atomically(tmp_path / "link", b"x")
    assert (tmp_path / "there" / "model").read_bytes() == b"x"
    assert (tmp_path / "link").is_symlink()


@pytest.mark.parametrize("where", ["fsync", "replace"])
@pytest.mark.parametrize("error", [OSError("no space"), KeyboardInterrupt()])
def test_a_failure_leaves_the_former_file(tmp_path, monkeypatch, where, error):
    path = tmp_path / "model"
    path.write_bytes(b"former")

    def fail(*_):
        raise error

    monkeypatch.setattr(atomic.os, where, fail)
    with pytest.raises(type(error)):
        write_atomically(path, b"new" * 1000)
    assert path.read_bytes() == b"former"
    assert len(list(tmp_path.iterdir())) == 1


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError):
        write_atomically(tmp_path / "none" / "model", b"x")


WRITER = """
import importlib.util, sys, types
spec = importlib.util.spec_from_file_location("atomic", sys.argv[2])
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
print("ready", flush=True)
number = 0
while True:
    number += 1
    module.write_atomically(sys.argv[1], bytes([number % 256]) * 3_000_000)
"""
"""Without the package, whose import takes longer than all the rest."""


@pytest.mark.skipif(sys.platform == "win32", reason="kills by a signal")
def test_killed_at_twenty_moments(tmp_path):
    """A writer that writes without end; catches a file that is half the one and half the other."""
    path = tmp_path / "model"
    write_atomically(path, b"\0" * 3_000_000)
    for moment in range(20):
        writer = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(WRITER), path, atomic.__file__],
            stdout=subprocess.PIPE,
        )
        writer.stdout.readline()
        time.sleep(0.002 * moment)
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        writer.stdout.close()
        content = path.read_bytes()
        assert len(content) == 3_000_000
        assert content == content[:1] * 3_000_000


@pytest.mark.skipif(sys.platform == "win32", reason="limits the size of files")
def test_a_full_disk(tmp_path):
    """As a limit on the size of files has it: an error, and the former file."""
    path = tmp_path / "model"
    path.write_bytes(b"former")
    code = textwrap.dedent(WRITER).split("print")[0] + (
        "import resource, signal\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))\n"
        "module.write_atomically(sys.argv[1], bytes(3_000_000))\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, path, atomic.__file__], capture_output=True, text=True
    )
    assert "OSError: [Errno 27] File too large" in run.stderr
    assert path.read_bytes() == b"former"
    assert len(list(tmp_path.iterdir())) == 1
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 1_000_000
