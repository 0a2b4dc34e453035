"""Checkpoints from which a fit resumes after a crash, in a folder that many fits may share.

The state of a fit at the end of an epoch is that of the network, the optimizer, the history and
the callbacks of this package. It has no random generator, because all draws of an epoch follow from
its number.
"""

import io
import os
import pickle
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any, Protocol, TypeGuard, runtime_checkable

import numpy as np
import torch
from skorch import NeuralNet
from skorch.callbacks import Callback

from sklearn_cnn.machine.atomic import write_atomically
from sklearn_cnn.training.callbacks import Progress, is_user_defined
from sklearn_cnn.training.fingerprint import Fingerprint, joined
from sklearn_cnn.training.processes import Processes, is_first

if TYPE_CHECKING:
    from sklearn_cnn.training.net import ConvNet

SECONDS = 10.0
"""Minimum time between two writes; the end of a fit always writes."""

State = dict[str, Any]


@runtime_checkable
class Stateful(Protocol):
    """A callback of this package with a state from which a fit resumes."""

    def state_dict(self) -> State:
        """Return the state at the end of an epoch, of plain values and tensors."""

    def load_state_dict(self, state: State, net: NeuralNet) -> None:
        """Continue from that state."""


class CheckpointFolder:
    """The files of one fit in a folder, named by the fingerprint of the fit and its epochs.

    Parameters
    ----------
    folder : str or path
        Path of the folder, which is created by the first write.
    fingerprint : dict of str to str
        Everything that determines the result of the fit.
    n_epochs : int
        Number of epochs of the whole fit. With a constant learning rate, the fingerprint omits it,
        so that a fit can continue one of fewer epochs.
    """

    def __init__(
        self, folder: str | os.PathLike[str], fingerprint: Fingerprint, n_epochs: int
    ) -> None:
        self.folder = Path(folder)
        self.stem = joined(fingerprint)[:40]
        self.n_epochs = n_epochs

    @property
    def path(self) -> Path:
        """Path of the file that this fit writes."""
        return self.folder / f"{self.stem}-{self.n_epochs}.pt"

    def newest(self) -> bytes | None:
        """Return the content of the file with the most epochs, or None if there is no file.

        Raises
        ------
        ValueError
            If a file is damaged.
        """
        best, most = None, -1
        for path in sorted(self.folder.glob(f"{self.stem}-*.pt")):
            content = path.read_bytes()
            try:
                n_done = len(read_state(content)["history"])
            except Exception as error:  # of any type, as the damage may be
                raise ValueError(
                    f"The checkpoint {path} is damaged. Remove it to start the fit again."
                ) from error
            if most < n_done <= self.n_epochs:
                best, most = content, n_done
        return best


def read_state(content: bytes) -> State:
    """Read the state of a fit, without running code in the file."""
    state: State = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    return state


class CheckpointWriter(Callback):
    """Write the state of a fit at the end of an epoch, at most every ``SECONDS``.

    It is the last callback, so that the others have seen the epoch.

    Parameters
    ----------
    folder : CheckpointFolder
        Folder to write to.
    n_entries : int
        Number of history entries before this fit, which are not written.
    processes : Processes or None
        Processes of the fit, of which only the first reads and writes.
    """

    def __init__(
        self, folder: CheckpointFolder, n_entries: int, processes: Processes | None
    ) -> None:
        self.folder = folder
        self.n_entries = n_entries
        self.processes = processes

    def go_on(self, net: "ConvNet") -> str | None:
        """Restore the newest state, if there is one, in a net whose training has begun.

        Return the name of the callback that had stopped training, if this fit also has it.
        """
        self.written_at_ = monotonic()
        content = self.folder.newest() if is_first(self.processes) else None
        if self.processes is not None:
            content = self.processes.content_of_first(content)
        if content is None:
            return None
        state = read_state(content)
        net.module_.load_state_dict(state["weights"])
        net.optimizer_.load_state_dict(state["optimizer"])
        net.history[self.n_entries :] = state["history"]
        callbacks = {type(callback).__name__: callback for _, callback in net.callbacks_}
        for name, callback in callbacks.items():
            if isinstance(callback, Progress):
                callback.skip(len(state["history"]))
            elif _is_kept(callback):
                callback.load_state_dict(state["callbacks"][name], net)
        stopped_by: str | None = state["stopped_by"]
        return stopped_by if stopped_by in callbacks else None

    def on_epoch_end(self, net: "ConvNet", **_: object) -> None:
        """Write the state if it is time."""
        if monotonic() - self.written_at_ >= SECONDS:
            self.write(net)

    def write(self, net: "ConvNet", stopped_by: str | None = None) -> None:
        """Write the state of a fit, and the name of the callback that has stopped it.

        Raises
        ------
        TypeError
            If the state of a user-defined optimizer cannot be saved without code.
        """
        if not is_first(self.processes):
            return
        file = io.BytesIO()
        torch.save(
            {
                "weights": net.module_.state_dict(),
                "optimizer": net.optimizer_.state_dict(),
                "history": [_plain(epoch) for epoch in net.history[self.n_entries :]],
                "callbacks": {
                    type(callback).__name__: _plain(callback.state_dict())
                    for _, callback in net.callbacks_
                    if _is_kept(callback)
                },
                "stopped_by": stopped_by,
            },
            file,
        )
        content = file.getvalue()
        if not hasattr(self, "is_plain_"):
            self.is_plain_ = _is_plain(content)
        if not self.is_plain_:
            raise TypeError(
                f"checkpoint={str(self.folder.folder)!r} cannot save the state of the optimizer "
                f"{type(net.optimizer_).__name__}, which is more than tensors, numbers, strings, "
                "and lists and dicts of them. Use another optimizer, or checkpoint=None."
            )
        self.folder.folder.mkdir(parents=True, exist_ok=True)
        write_atomically(self.folder.path, content)
        self.written_at_ = monotonic()


def _is_kept(callback: Callback) -> TypeGuard[Stateful]:
    return isinstance(callback, Stateful) and not is_user_defined(callback)


def _is_plain(content: bytes) -> bool:
    try:
        read_state(content)
    except pickle.UnpicklingError:
        return False
    return True


def _plain(value: object) -> object:
    """Return a value without NumPy's types and objects, which user-defined callbacks may record."""
    match value:
        case np.generic():
            return value.item()
        case dict():
            return {str(name): _plain(item) for name, item in value.items()}
        case list():
            return [_plain(item) for item in value]
        case tuple():
            return tuple(_plain(item) for item in value)
        case torch.Tensor() | bool() | int() | float() | str() | None:
            return value
    return repr(value)
