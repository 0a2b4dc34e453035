"""A file is written whole, or not at all."""

import os
import tempfile
from contextlib import suppress
from pathlib import Path


def write_atomically(path: str | os.PathLike[str], content: bytes) -> None:
    """Write a file under a temporary name beside it, sync it, and rename it.

    Whatever happens meanwhile, a file of that name is the former one or the new one, whole. Its
    mode is that of other new files, by the umask.

    Parameters
    ----------
    path : str or path
        Name of the file, in a folder that exists.
    content : bytes
        What it holds.

    Raises
    ------
    OSError
        If it cannot be written. The former file stays.
    """
    path = Path(path)
    # an existing link is followed, as open() would
    target = Path(os.path.realpath(path))
    handle, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".tmp", dir=target.parent)
    temporary = Path(name)
    try:
        with open(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o666 & ~_umask())
        os.replace(temporary, target)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise
    _sync_folder(target.parent)


def _umask() -> int:
    """Return the umask, which the operating system tells only when it is set."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def _sync_folder(folder: Path) -> None:
    """Have the new name on the disk, too, where folders can be synced."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
