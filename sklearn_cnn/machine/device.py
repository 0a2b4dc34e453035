"""The machine: its devices, how many images fit in memory, and which arithmetic is fast.

None of this is fitted. It is computed when it is used, from the layers, the device and the
precision.
"""

import os
import platform

import torch

from sklearn_cnn._messages import did_you_mean


def resolve_device(device: str | torch.device) -> torch.device:
    """Return the device of the ``device`` parameter; "auto" prefers CUDA, then MPS.

    Raises
    ------
    ValueError
        If torch does not know the device, or this machine does not have it.
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
            f"device={device!r} is not available: torch finds {torch.cuda.device_count()} CUDA "
            "devices. Use device='auto' or device='cpu'."
        )
    if found.type == "mps" and not torch.backends.mps.is_available():
        raise ValueError(
            f"device={device!r} is not available: torch finds no MPS device. Use device='auto' or "
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
            f"device='{device}' is not available: torch cannot compute there: {reason}. Use "
            "device='auto' or device='cpu'."
        ) from error


def send(values: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Move values to a device in their own dtype, or in float32 if it has no float64.

    The copy to a CUDA device uses pinned memory, so that the next batch is gathered while the
    device computes. On other devices the copy blocks, because MPS may read values after they have
    been overwritten.
    """
    if values.device == device:
        return values
    if device.type == "mps" and values.dtype == torch.float64:
        values = values.to(torch.float32)
    if device.type == "cuda" and values.device.type == "cpu":
        return values.pin_memory().to(device, non_blocking=True)
    return values.to(device)


MEMORY_FOR_ACTIVATIONS = 2 << 30
"""Bytes that the feature maps of one pass through the network may take."""

CHUNK = 64
"""Maximum number of images per pass at prediction: enough for the fastest arithmetic."""

CHUNK_ON_A_GPU = 1024
"""The same on a GPU, which has many more units, and no cache in which maps should fit."""

LARGEST_MAPS = 8 << 20
"""Maximum bytes of the largest feature maps of a chunk on a CPU, so that they fit in cache."""

SHARE_OF_FREE_MEMORY = 0.5
"""Fraction of the free memory of a GPU that the training images may take during training."""


def images_per_pass(values_per_image: int, dtype: torch.dtype, passes: int = 1) -> int:
    """Return how many images fit in ``MEMORY_FOR_ACTIVATIONS`` at once, at least one.

    ``values_per_image`` is the number of values in all feature maps. Each is stored ``passes``
    times: once at prediction, three times in training (itself, for the gradient, and the gradient).
    """
    return max(1, MEMORY_FOR_ACTIVATIONS // (values_per_image * dtype.itemsize * passes))


def images_per_chunk(values_of_maps: list[int], dtype: torch.dtype, device: torch.device) -> int:
    """Return the number of images per chunk of prediction on a device, at least one.

    ``values_of_maps`` holds the number of values in the feature maps of one image, layer by layer.
    """
    if device.type != "cpu":
        return min(CHUNK_ON_A_GPU, images_per_pass(sum(values_of_maps), dtype))
    return max(1, min(CHUNK, LARGEST_MAPS // (max(values_of_maps) * dtype.itemsize)))


def lies_on(device: torch.device, n_bytes: int) -> bool:
    """Tell whether a device should hold the whole data set instead of receiving batches."""
    if device.type != "cuda":
        return False
    free, _ = torch.cuda.mem_get_info(device)
    return n_bytes <= SHARE_OF_FREE_MEMORY * free


def is_out_of_memory(error: RuntimeError) -> bool:
    """Tell whether a GPU ran out of memory; on MPS, only the message says so."""
    return isinstance(error, torch.OutOfMemoryError) or "MPS backend out of memory" in str(error)


WEIGHT_DTYPES = {
    "auto": torch.float32,
    "float32": torch.float32,
    "bfloat16": torch.float32,
    "float64": torch.float64,
}
"""Dtype of the weights and of prediction, for each value of ``precision``."""

WORTH_IT = 1_000_000
"""Multiplications per image below which faster arithmetic and threads do not pay off."""


def weights_dtype(precision: str, device: torch.device) -> torch.dtype:
    """Return the floating-point type of the weights on a device."""
    if precision == "float64" and device.type == "mps":
        raise ValueError(
            "precision='float64' is not available on MPS devices, which support at most float32. "
            "Use device='cpu' or precision='float32'."
        )
    return WEIGHT_DTYPES[precision]


def name_of_dtype(precision: str) -> str:
    """Return NumPy's name of the floating-point type of the weights."""
    return str(WEIGHT_DTYPES[precision]).removeprefix("torch.")


def trains_in_bfloat16(
    precision: str, device: torch.device, multiplications: int, hazard: str | None = None
) -> bool:
    """Tell whether convolutions and dense layers use bfloat16 in training.

    bfloat16 is float32 with 8 bits of precision instead of 24. On processors that support it
    natively, convolutions train about twice as fast. Weights, norms and the loss stay float32.

    Parameters
    ----------
    precision : {"auto", "float32", "bfloat16", "float64"}
        "auto" uses bfloat16 if the device is fast at it, the network is large enough to gain from
        it, and no layer is a hazard.
    device : torch.device
        Device on which the network trains.
    multiplications : int
        Number of multiplications per image.
    hazard : str or None, default=None
        Name of a layer that is wrong or slow in bfloat16 on CPUs.

    Raises
    ------
    ValueError
        If precision is "bfloat16" and a layer is a hazard.
    """
    is_hazardous = hazard is not None and device.type == "cpu"
    if precision == "bfloat16":
        if is_hazardous:
            raise ValueError(
                f"precision='bfloat16' is not available for this network: on CPUs, torch computes "
                f"the layer {hazard!r} wrongly or slowly in bfloat16. Its stride exceeds its "
                "kernel, or it is dilated or grouped, or it strides to maps one pixel wide. Use "
                "precision='auto' or 'float32'."
            )
        return True
    is_large = multiplications >= WORTH_IT
    return precision == "auto" and not is_hazardous and is_large and _is_fast_at_bfloat16(device)


def _is_fast_at_bfloat16(device: torch.device) -> bool:
    if device.type == "cpu":
        has: dict[str, bool] = getattr(
            torch.cpu, "get_capabilities", dict
        )()  # not in older versions
        return bool(has.get("amx_bf16") or has.get("avx512_bf16"))
    return device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0)


COUNTS_OF_CPUS = ("num_logical_cores", "num_physical_cores", "num_sockets")
"""Properties of a processor that do not change results."""


def processor(device: torch.device) -> str:
    """Describe the processor of a device by the properties that determine its rounding."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    told: dict[str, object] = getattr(
        torch.cpu, "get_capabilities", dict
    )()  # not in older versions
    kind = {name: value for name, value in sorted(told.items()) if name not in COUNTS_OF_CPUS}
    limits = os.environ.get("ONEDNN_MAX_CPU_ISA", "all")
    level = torch.backends.cpu.get_cpu_capability()
    return f"{device.type} {platform.machine()} {level} {limits} {kind}"
