"""Writing files atomically: completely, or not at all."""

import os
import tempfile
from contextlib import suppress
from pathlib import Path


def write_atomically(path: str | os.PathLike[str], content: bytes) -> None:
    """Write a file under a temporary name in the same folder, sync it, and rename it.

    At any time, the file of that name is the complete previous one or the complete new one. Its
    mode is that of other new files, by the umask.

    Parameters
    ----------
    path : str or path
        Path of the file, in an existing folder.
    content : bytes
        Content of the file.

    Raises
    ------
    OSError
        If the file cannot be written. An existing file is then unchanged.
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
    """Return the umask, which can only be read by setting it."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def _sync_folder(folder: Path) -> None:
    """Also sync the new name to disk, if folders can be synced."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
