"""What may go wrong around the cache of ImageReader: files that change, processes that die, disks
that are full. Nothing half-written is used, and what was decoded stays."""

import errno
import os
import signal
import subprocess
import sys
import tempfile
import textwrap
import threading
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sklearn_cnn import ImageReader
from sklearn_cnn.files import cache as cache_module
from sklearn_cnn.files import read_many as read_module
from sklearn_cnn.files import segment as segment_module

SIZE = 8
IMAGE_BYTES = SIZE * SIZE * 3
STORED_BYTES = IMAGE_BYTES + 16

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")


def write_image(path, number):
    """An image of noise that only this number gives."""
    noise = np.random.default_rng(number).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    return noise


@pytest.fixture
def files(tmp_path):
    """Paths of twelve images."""
    folder = tmp_path / "images"
    folder.mkdir()
    paths = [str(folder / f"{number}.png") for number in range(12)]
    for number, path in enumerate(paths):
        write_image(path, number)
    return paths


@pytest.fixture
def folder(tmp_path):
    """Where the cache shall lie."""
    return tmp_path / "cache"


@pytest.fixture
def opened(files, monkeypatch):
    """Counts how often each image file is opened, by its number."""
    counts = Counter()
    system_open = os.open

    def counting(path, *arguments, **options):
        if isinstance(path, str) and path in files:
            counts[files.index(path)] += 1
        return system_open(path, *arguments, **options)

    monkeypatch.setattr(os, "open", counting)
    return counts


@pytest.fixture
def blocks_of_four(monkeypatch):
    """Four images are decoded and written at once; more than six are large."""
    monkeypatch.setattr(cache_module, "BLOCK_BYTES", 4 * IMAGE_BYTES)
    monkeypatch.setattr(cache_module, "IN_MEMORY_BYTES", 6 * IMAGE_BYTES)


def reader(folder, **parameters):
    return ImageReader(SIZE, cache=folder, **parameters)


def plain(paths):
    """The pixels, without any cache."""
    return np.stack([np.asarray(Image.open(path)) for path in paths])


def is_sound(folder, files):
    """Whether a further read of all gives the right pixels, and one after it opens no file."""
    np.testing.assert_array_equal(reader(folder).transform(files), plain(files))
    assert [path.name for path in Path(folder).glob("*/*.tmp")] == []
    for path in Path(folder).glob("*/*.keys"):
        n_bytes = path.with_suffix(".pixels").stat().st_size
        assert n_bytes * 16 == path.stat().st_size * IMAGE_BYTES


# Files that change


@pytest.mark.parametrize("nanoseconds", [1, -1, 10**9])
def test_a_changed_file_is_read_again(files, folder, opened, nanoseconds):
    """Would catch old pixels of a file with the same size, a nanosecond younger, or older: one
    restored from a backup."""
    for path in files[:2]:
        write_image(path, 0)
    np.testing.assert_array_equal(reader(folder).transform(files), plain(files))
    status, content = os.stat(files[1]), Path(files[1]).read_bytes()
    other = bytearray(content)
    write_image(files[1], 77)
    Path(files[1]).write_bytes(Path(files[1]).read_bytes().ljust(len(other), b"\0"))
    moment = status.st_mtime_ns + nanoseconds
    os.utime(files[1], ns=(moment, moment))
    opened.clear()
    np.testing.assert_array_equal(reader(folder).transform(files), plain(files))
    assert opened == Counter({1: 1})
    Path(files[1]).write_bytes(content)
    os.utime(files[1], ns=(status.st_mtime_ns, status.st_mtime_ns))
    np.testing.assert_array_equal(reader(folder).transform(files), plain(files))
    assert opened == Counter({1: 1})  # what it was before is still known


def test_files_renamed_in_each_other_s_place_are_read_again(files, folder):
    """Would catch the pixels of another file that has the same size and time, as archives leave
    them."""
    first, second = files[:2]
    size = max(Path(path).stat().st_size for path in (first, second))
    for path in (first, second):
        Path(path).write_bytes(Path(path).read_bytes().ljust(size, b"\0"))
        os.utime(path, ns=(10**18, 10**18))
    before = reader(folder).transform(files)
    aside = first + ".aside"
    os.rename(first, aside)
    os.rename(second, first)
    os.rename(aside, second)
    after = reader(folder).transform(files)
    np.testing.assert_array_equal(after, plain(files))
    np.testing.assert_array_equal(after[:2], before[1::-1])


def test_what_a_cache_gives_is_read_only_in_all_cases(files, folder):
    """Would catch a step that changes pixels in place, and fails only when the cache is warm."""
    for names in (files, files, files[::-1], files[:1]):
        assert not reader(folder).transform(names).flags.writeable


def test_folders_and_limits_of_a_cache(files, tmp_path, monkeypatch):
    """Would catch pixels among the user's files for cache='', a folder named '~', and a limit
    that cannot be lifted."""
    with pytest.raises(ValueError, match="cache='' is not a folder"):
        reader("").transform(files)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    pixels = reader("~/pixels").set_params(cache_limit=float("inf")).transform(files)
    np.testing.assert_array_equal(pixels, plain(files))
    assert (tmp_path / "home" / "pixels").is_dir()


@pytest.fixture
def changing(files, monkeypatch):
    """File 3 is written anew while it is decoded, once."""
    decode = read_module.decode

    def decode_and_change(source, options, notes=None):
        pixels = decode(source, options)
        if source == files[3]:
            monkeypatch.setattr(read_module, "decode", decode)
            write_image(source, 99)
            os.utime(source, (10, 10))
        return pixels

    monkeypatch.setattr(read_module, "decode", decode_and_change)


def test_a_file_changed_while_it_is_read_is_an_error(files, folder, opened, changing):
    """Would catch old pixels that are kept for the new file, or the reverse."""
    message = r"1 of 12 images cannot be read:\n  '.*3\.png': it changed while it was read\n.*"
    with pytest.raises(ValueError, match=message):
        reader(folder).transform(files)
    opened.clear()
    np.testing.assert_array_equal(reader(folder).transform(files), plain(files))
    assert opened == Counter([3])


def test_a_file_changed_while_it_is_read_can_be_skipped(files, folder, changing):
    """Would catch half of one image and half of another in the result."""
    with pytest.warns(UserWarning, match="it changed while it was read"):
        pixels = reader(folder, on_error="skip").transform(files)
    assert (pixels[3] == 255).all()
    is_sound(folder, files)


def test_a_file_removed_while_it_is_read(files, folder, monkeypatch):
    """Would catch pixels kept for a file that is no longer what it was when its key was made."""
    decode = read_module.decode

    def decode_and_remove(source, options, notes=None):
        pixels = decode(source, options)
        if source == files[3]:
            os.unlink(source)
        return pixels

    monkeypatch.setattr(read_module, "decode", decode_and_remove)
    with pytest.raises(ValueError, match=r"3\.png': it changed while it was read"):
        reader(folder).transform(files)
    with pytest.raises(ValueError, match=r"3\.png': No such file or directory"):
        reader(folder).transform(files)


@pytest.mark.parametrize("on_error", ["raise", "skip"])
@pytest.mark.parametrize("gone", [[3], [0, 11], list(range(12))], ids=str)
def test_a_file_that_appears_before_it_is_read(gone, on_error, files, folder, opened, monkeypatch):
    """It has no key when it is looked up, and pixels when it is decoded. Would catch pixels that
    are kept under no key, and then taken for those of every file that is missing."""
    expected = plain(files)
    contents = {files[i]: Path(files[i]).read_bytes() for i in gone}
    for path in contents:
        os.unlink(path)
    decode = read_module.decode

    def appear_and_decode(source, *arguments):
        if source in contents:
            Path(source).write_bytes(contents.pop(source))
        return decode(source, *arguments)

    monkeypatch.setattr(read_module, "decode", appear_and_decode)
    found = reader(folder, on_error=on_error)
    if on_error == "raise":
        with pytest.raises(ValueError, match="it changed while it was read"):
            found.transform(files)
    else:
        with pytest.warns(UserWarning, match=rf"^{len(gone)} of 12 images cannot be read"):
            pixels = found.transform(files)
        assert (pixels[gone] == 255).all()
    opened.clear()
    np.testing.assert_array_equal(reader(folder).transform(files), expected)
    assert opened == Counter(gone)
    missing = str(Path(files[0]).parent / "missing.png")
    with pytest.raises(ValueError, match=r"missing\.png': No such file or directory"):
        reader(folder).transform([*files, missing])


# Files that are damaged


def damage(path):
    content = Path(path).read_bytes()
    Path(path).write_bytes(content[: len(content) // 2])
    return content


def test_a_damaged_file_does_not_cost_the_good_ones(files, folder, opened, blocks_of_four):
    """Would catch hours of decoding that are lost to one file: when it is repaired, it alone is
    opened."""
    contents = {number: damage(files[number]) for number in (2, 9)}
    for _ in range(2):
        with pytest.raises(ValueError, match=r"(?s)2 of 12 images cannot.*\n.*2\.png.*\n.*9\.png"):
            reader(folder).transform(files)
    assert opened == Counter(range(12)) + Counter([2, 9])
    opened.clear()
    for number, content in contents.items():
        Path(files[number]).write_bytes(content)
    for _ in range(2):
        np.testing.assert_array_equal(reader(folder).transform(files), plain(files))
    assert opened == Counter([2, 9])


def test_damaged_files_are_named_although_a_copy_would_not_fit(files, folder, blocks_of_four):
    """Would catch an error about cache_limit that hides which files are damaged: the rest fits."""
    damage(files[4])
    limited = reader(folder, cache_limit=12 * STORED_BYTES)
    with pytest.raises(ValueError, match=r"1 of 12 images cannot be read:\n.*4\.png"):
        limited.transform(files)


@pytest.mark.parametrize("large", [False, True])
def test_the_background_of_a_skipped_file_is_not_kept(files, folder, opened, large, blocks_of_four):
    """Would catch background that is taken for the file's pixels the second time, without a word,
    also from a view."""
    files = files if large else files[:6]
    content = damage(files[2])
    status = os.stat(files[2])
    for _ in range(2):
        with pytest.warns(UserWarning, match=r"and are replaced by background.*:\n.*2\.png"):
            pixels = reader(folder, on_error="skip").transform(files)
        assert (pixels[2] == 255).all()
        rest = np.arange(len(files)) != 2
        np.testing.assert_array_equal(pixels[rest], plain(files[:2] + files[3:]))
    assert opened[2] == 2
    Path(files[2]).write_bytes(content)
    os.utime(files[2], ns=(status.st_mtime_ns, status.st_mtime_ns))
    pixels = reader(folder, on_error="skip").transform(files)
    np.testing.assert_array_equal(pixels, plain(files))


# Interrupts and full disks


@pytest.mark.parametrize("n_jobs", [None, 2])
def test_ctrl_c_keeps_what_is_finished(files, folder, opened, n_jobs, blocks_of_four, monkeypatch):
    """Would catch an interrupt that is swallowed, that holds the lock, or that costs the blocks
    which were finished: the two of four images before the last."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    decode = read_module.decode

    def decode_and_press(source, options, notes=None):
        if source == files[9]:
            signal.raise_signal(signal.SIGINT)
        return decode(source, options)

    monkeypatch.setattr(read_module, "decode", decode_and_press)
    try:
        with pytest.raises(KeyboardInterrupt):
            reader(folder, n_jobs=n_jobs).transform(files)
    finally:
        signal.signal(signal.SIGINT, before)
    monkeypatch.setattr(read_module, "decode", decode)
    opened.clear()
    is_sound(folder, files)
    assert opened == Counter(range(8, 12))


@contextmanager
def files_of_at_most(n_bytes):
    """The operating system stops a write there, as on a full disk, in the middle of it."""
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("n_bytes", [7, 16, 17, 16 * 5, IMAGE_BYTES * 4, IMAGE_BYTES * 6 + 10])
def test_a_write_that_stops_in_the_middle_is_not_used(
    files, folder, n_bytes, blocks_of_four, opened
):
    """Would catch half an image, or half a key, in the next read. The pixels stop first, in the
    first block or in the second."""
    with files_of_at_most(n_bytes), pytest.raises(OSError, match=r"cache=.*space for the pixels"):
        reader(folder).transform(files)
    opened.clear()
    is_sound(folder, files)
    assert opened == Counter(range(n_bytes // (4 * IMAGE_BYTES) * 4, 12))


def test_keys_that_stop_in_the_middle_are_not_used(files, folder, monkeypatch, opened):
    """Would catch a broken last key of a disk that filled up between pixels and keys."""
    reader(folder).transform(files[:2])
    append = segment_module.Segment.append

    def append_and_break(self, keys, pixels):
        append(self, keys, pixels)
        with open(self.path, "r+b") as file:
            file.truncate(self.path.stat().st_size - 7)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(segment_module.Segment, "append", append_and_break)
        with pytest.raises(OSError, match="No space left on device - in the folder of cache="):
            reader(folder).transform(files)
    opened.clear()
    is_sound(folder, files)
    assert opened == Counter([11])


def test_a_view_that_does_not_fit_on_the_disk(files, folder, blocks_of_four, opened):
    """Would catch an unfinished view that is left, or mapped."""
    reader(folder).transform(files)
    with files_of_at_most(5 * IMAGE_BYTES), pytest.raises(OSError, match="File too large - in"):
        reader(folder).transform(files[::-1])
    assert [path.suffix for path in folder.glob("*/*") if path.suffix in (".tmp", ".view")] == []
    np.testing.assert_array_equal(reader(folder).transform(files[::-1]), plain(files[::-1]))
    assert opened == Counter(range(12))


# Folders that cannot be written to


@pytest.fixture
def public():
    """A folder that everyone may look into, as pytest's own is not."""
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o755)
        yield Path(name)


@contextmanager
def as_a_stranger(*folders):
    """Permissions count, also where the tests are run by root."""
    for folder in folders:
        for path in [folder, *folder.rglob("*")]:
            path.chmod(0o555 if path.is_dir() else 0o444)
    is_root = os.geteuid() == 0
    if is_root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if is_root:
            os.seteuid(0)
        for folder in folders:
            for path in [folder, *folder.rglob("*")]:
                path.chmod(0o755)


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="permissions of Unix")
def test_a_cache_that_cannot_be_written_to_is_read(public, opened, blocks_of_four):
    """Would catch a lock, or a mark of use, that is asked for although nothing is to be written;
    and an error that does not name the folder and the parameter, when something is."""
    names = [str(public / f"{number}.png") for number in range(9)]
    for number, name in enumerate(names):
        write_image(name, number)
    folder = public / "cache"
    reader(folder).transform(names[:8])
    with as_a_stranger(public):
        for some in (names[:8], names[2:5], names[5:1:-1]):
            np.testing.assert_array_equal(reader(folder).transform(some), plain(some))
        message = r"Permission denied - in the folder of cache=.*cache.*must be a writable folder"
        for some in (names, names[7::-1]):  # one more image, and a view
            with pytest.raises(PermissionError, match=message):
                reader(folder).transform(some)
        with pytest.raises(PermissionError, match=message):
            reader(public / "another cache").transform(names)


def test_a_cache_that_is_a_file_is_named(files):
    """Would catch an error that is about a folder inside a file, unknown to the user."""
    with pytest.raises(OSError, match=r"Not a directory - in the folder of cache='.*0\.png'"):
        reader(files[0]).transform(files)


def test_images_that_do_not_fit_into_memory_point_to_the_cache(files, folder, monkeypatch):
    """Would catch NumPy's word, which tells neither how many images they are nor what to do."""
    message = (
        r"12 images of shape \(8, 8, 3\) take 0\.0 MB of memory\. Set cache=FOLDER to store them "
        "in a file instead, or choose a smaller size"
    )

    def allocate_nothing(self, positions):
        raise MemoryError("Unable to allocate")

    monkeypatch.setattr(read_module.ImageBatch, "decode", allocate_nothing)
    with pytest.raises(MemoryError, match=message):
        reader(None).transform(files)
    with pytest.raises(MemoryError, match=r"^Unable to allocate$"):
        reader(folder).transform(files)


# Several at once

PRELUDE = """
import os, random, signal, sys
from collections import Counter
import numpy as np
from sklearn_cnn import ImageReader
from sklearn_cnn.files import cache
from sklearn_cnn.files import read_many as read
from sklearn_cnn.files import segment

folder, *files = sys.argv[1:]
IMAGE_BYTES = 8 * 8 * 3
cache.BLOCK_BYTES = 4 * IMAGE_BYTES
cache.IN_MEMORY_BYTES = 6 * IMAGE_BYTES
expected = ImageReader(8).transform(files)

def in_processes(*tasks):
    \"\"\"Run each task in a process of its own, all at once; return how they ended.\"\"\"
    start, ready = os.pipe()
    children = []
    for task in tasks:
        child = os.fork()
        if child == 0:
            os.close(ready)
            os.read(start, 1)
            try:
                task()
            except BaseException as error:
                print(repr(error), flush=True)
                os._exit(1)
            os._exit(0)
        children.append(child)
    os.close(ready)
    return [os.waitpid(child, 0)[1] for child in children]
"""


def run(code, folder, files):
    """Run a script, and return the lines it prints."""
    done = subprocess.run(
        [sys.executable, "-c", PRELUDE + textwrap.dedent(code), str(folder), *files],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@needs_fork
def test_processes_share_the_work(files, folder):
    """Would catch a file decoded by two of four processes that begin at once, pixels that one reads
    while another writes them, and a cache that is unsound afterwards."""
    code = """
    log = os.open(folder + ".log", os.O_CREAT | os.O_APPEND | os.O_WRONLY)
    decode = read.decode

    def decode_and_tell(source, options, notes=None):
        os.write(log, f"{files.index(source)}\\n".encode())
        return decode(source, options)

    read.decode = decode_and_tell

    def task(seed):
        def read_all():
            rng = np.random.default_rng(seed)
            for n_images in (5, 12, 3, 12, 9):
                some = rng.choice(12, n_images, replace=seed % 2 == 0)
                pixels = ImageReader(8, cache=folder).transform([files[i] for i in some])
                np.testing.assert_array_equal(pixels, expected[some])
        return read_all

    print(in_processes(*map(task, range(4))))
    """
    assert run(code, folder, files) == ["[0, 0, 0, 0]"]
    decoded = Counter(map(int, Path(f"{folder}.log").read_text().split()))
    assert set(decoded.values()) == {1}
    is_sound(folder, files)


@needs_fork
def test_processes_that_make_room_do_not_disturb_each_other(files, folder):
    """Would catch rows looked up before another process removes them and writes others: three
    processes with room for seven of twelve images, each 40 times."""
    code = """
    cache.IN_MEMORY_BYTES = 3 * IMAGE_BYTES

    def task(seed):
        def read_some():
            rng = np.random.default_rng(seed)
            reader = ImageReader(8, cache=folder, cache_limit=7 * (IMAGE_BYTES + 16))
            for _ in range(40):
                first = rng.integers(12)
                some = (first + np.arange(rng.integers(1, 7))) % 12
                if rng.random() < 0.5:
                    some = some[::-1]
                pixels = reader.transform([files[i] for i in some])
                np.testing.assert_array_equal(pixels, expected[some])
        return read_some

    print(in_processes(*map(task, range(3))))
    """
    assert run(code, folder, files) == ["[0, 0, 0]"]
    is_sound(folder, files)


def test_threads_share_the_work(files, folder, opened):
    """Would catch a lock that lets in a second thread of the same process."""
    wrong, start = [], threading.Barrier(6)

    def read_some(seed):
        start.wait()
        try:
            rng = np.random.default_rng(seed)
            for _ in range(5):
                some = [files[i] for i in rng.choice(12, 8, replace=False)]
                pixels = reader(folder, n_jobs=2).transform(some)
                np.testing.assert_array_equal(pixels, plain(some))
        except BaseException as error:
            wrong.append(error)

    threads = [threading.Thread(target=read_some, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert opened == Counter(range(12))
    is_sound(folder, files)


@needs_fork
def test_a_killed_process_leaves_no_lock_and_nothing_half_written(files, folder, opened):
    """Would catch a read that waits for ever for the lock of a dead process, and the pixels of an
    image that was being decoded, written or copied when it died."""
    code = """
    def die(*_):
        os.kill(os.getpid(), signal.SIGKILL)

    def in_decode():
        decode = read.decode
        read.decode = lambda source, options, notes=None: (
            die() if source == files[9] else decode(source, options)
        )
        ImageReader(8, cache=folder + "/decode").transform(files)

    def between_pixels_and_keys():
        sync, calls = segment.sync, []

        def sync_or_die(file):
            sync(file)
            calls.append(file)
            if len(calls) == 3:
                die()

        segment.sync = sync_or_die
        ImageReader(8, cache=folder + "/append").transform(files)

    def in_view():
        ImageReader(8, cache=folder + "/view").transform(files)
        cache.sync = die
        ImageReader(8, cache=folder + "/view").transform(files[::-1])

    print(in_processes(in_decode, between_pixels_and_keys, in_view))
    """
    assert run(code, folder, files) == ["[9, 9, 9]"]
    assert len(list(folder.glob("view/*/*.tmp"))) == 1
    for stage, known in (("decode", 8), ("append", 4), ("view", 12)):
        opened.clear()
        np.testing.assert_array_equal(reader(folder / stage).transform(files), plain(files))
        assert opened == Counter(range(known, 12))
    write_image(files[0], 50)
    for stage in ("decode", "append", "view"):
        is_sound(folder / stage, files)
