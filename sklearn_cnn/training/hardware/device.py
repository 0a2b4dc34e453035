"""Which device a network computes on, and how pixels get there."""

from typing import Any

import torch

from sklearn_cnn._checks import did_you_mean


def resolve_device(device: Any) -> torch.device:
    """Return the torch device that the ``device`` parameter asks for.

    Parameters
    ----------
    device : str or torch.device
        "auto" takes CUDA where there is one, then MPS, then the CPU.

    Returns
    -------
    torch.device
        One that is present.

    Raises
    ------
    ValueError
        If torch knows no such device, or this machine has none.
    """
    if device == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda", torch.cuda.current_device())
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        found = torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise ValueError(
            f"device must be 'auto', 'cpu', 'cuda', 'cuda:0', 'mps', or a torch.device. "
            f"Got device={device!r}.{did_you_mean(device, ('auto', 'cpu', 'cuda', 'mps'))}"
        ) from error
    if found.type == "cuda" and (found.index or 0) >= torch.cuda.device_count():
        raise ValueError(
            f"device={device!r} was asked for, but torch sees {torch.cuda.device_count()} CUDA "
            "devices. Use device='auto' or device='cpu'."
        )
    if found.type == "mps" and not torch.backends.mps.is_available():
        raise ValueError(
            f"device={device!r} was asked for, but torch sees no MPS device. Use device='auto' or "
            "device='cpu'."
        )
    if found.type not in ("cpu", "cuda", "mps"):
        _check_that_it_computes(found)
    return found


def _check_that_it_computes(device: torch.device) -> None:
    try:
        torch.zeros(1, device=device).item()
    except Exception as error:  # of any type: not compiled in, no driver, no data
        reason = str(error).splitlines()[0].rstrip(".")
        raise ValueError(
            f"device='{device}' was asked for, but torch cannot compute there: {reason}. Use "
            "device='auto' or device='cpu'."
        ) from error


def send(values: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Move values to a device in their own dtype, or in float32 where it has no float64.

    To a CUDA device they go by way of pinned memory, so that the next batch is gathered while the
    device still computes. Elsewhere the copy blocks: on MPS another may read what has been
    overwritten since.
    """
    if values.device == device:
        return values
    if device.type == "mps" and values.dtype == torch.float64:
        values = values.to(torch.float32)
    if device.type == "cuda" and values.device.type == "cpu":
        return values.pin_memory().to(device, non_blocking=True)
    return values.to(device)
