"""The machine: which device computes, how many images its memory holds, which arithmetic is fast.

Nothing of it is fitted: all is worked out when it is used, from the layers, the device and the
precision.
"""

import os
import platform

import torch

from sklearn_cnn._messages import did_you_mean


def resolve_device(device: str | torch.device) -> torch.device:
    """Return the device that the ``device`` parameter asks for; "auto" prefers CUDA, then MPS.

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
    device still computes. Elsewhere the copy blocks: MPS may read values after they have been
    overwritten.
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
"""Images of one pass at prediction, at most: enough for the arithmetic to be at its best."""

CHUNK_ON_A_GPU = 1024
"""The same on a GPU, which has no cache to stay in and many more units to keep busy."""

LARGEST_MAPS = 8 << 20
"""Bytes of the largest feature maps of a chunk on a CPU, so that a cache may hold them."""

SHARE_OF_FREE_MEMORY = 0.5
"""Share of a GPU's free memory that the training images may take for a whole training."""


def images_per_pass(values_per_image: int, dtype: torch.dtype, passes: int = 1) -> int:
    """Return how many images fit in ``MEMORY_FOR_ACTIVATIONS`` at once, at least one.

    ``values_per_image`` counts those of all feature maps. Each is held ``passes`` times: once at
    prediction, three times in training (itself, for the gradient, and the gradient).
    """
    return max(1, MEMORY_FOR_ACTIVATIONS // (values_per_image * dtype.itemsize * passes))


def images_per_chunk(values_of_maps: list[int], dtype: torch.dtype, device: torch.device) -> int:
    """Return how many images a chunk of prediction holds on a device, at least one.

    ``values_of_maps`` counts the values in the feature maps of one image, layer by layer.
    """
    if device.type != "cpu":
        return min(CHUNK_ON_A_GPU, images_per_pass(sum(values_of_maps), dtype))
    return max(1, min(CHUNK, LARGEST_MAPS // (max(values_of_maps) * dtype.itemsize)))


def lies_on(device: torch.device, n_bytes: int) -> bool:
    """Tell whether a device is to hold a whole data set, rather than receive it in batches."""
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
"""The type of the weights, and of all of prediction, for each value of ``precision``."""

WORTH_IT = 1_000_000
"""Multiplications an image below which the overheads outweigh faster arithmetic, and threads."""


def weights_dtype(precision: str, device: torch.device) -> torch.dtype:
    """Return the floating-point type of the weights on a device."""
    if precision == "float64" and device.type == "mps":
        raise ValueError(
            "precision='float64' was asked for, but MPS devices compute in float32 at most. Use "
            "device='cpu' or precision='float32'."
        )
    return WEIGHT_DTYPES[precision]


def name_of_dtype(precision: str) -> str:
    """Return the name, as NumPy's, of the floating-point type of the weights."""
    return str(WEIGHT_DTYPES[precision]).removeprefix("torch.")


def trains_in_bfloat16(
    precision: str, device: torch.device, multiplications: int, hazard: str | None = None
) -> bool:
    """Tell whether convolutions and dense layers are to multiply bfloat16 in training.

    bfloat16 is float32 with 8 bits of precision in place of 24. Where a processor multiplies it
    natively, convolutions train about twice as fast; weights, norms and the loss stay float32.

    Parameters
    ----------
    precision : {"auto", "float32", "bfloat16", "float64"}
        "auto" takes bfloat16 where the device is fast at it, the network is large enough to gain
        from it, and no layer is a hazard.
    device : torch.device
        Where the network trains.
    multiplications : int
        How many one image takes.
    hazard : str or None, default=None
        Name of a layer that goes wrong in bfloat16 on CPUs.

    Raises
    ------
    ValueError
        If bfloat16 was asked for by name, and a layer is a hazard.
    """
    is_hazardous = hazard is not None and device.type == "cpu"
    if precision == "bfloat16":
        if is_hazardous:
            raise ValueError(
                f"precision='bfloat16' was asked for, but on CPUs torch computes the layer "
                f"{hazard!r} wrongly or slowly in it: its stride exceeds its kernel, or it is "
                "dilated or grouped, or strides to maps one pixel wide. Use precision='auto' or "
                "'float32'."
            )
        return True
    is_large = multiplications >= WORTH_IT
    return precision == "auto" and not is_hazardous and is_large and _is_fast_at_bfloat16(device)


def _is_fast_at_bfloat16(device: torch.device) -> bool:
    if device.type == "cpu":
        has: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()  # not in older ones
        return bool(has.get("amx_bf16") or has.get("avx512_bf16"))
    return device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0)


COUNTS_OF_CPUS = ("num_logical_cores", "num_physical_cores", "num_sockets")
"""What torch tells of a processor that changes no result."""


def processor(device: torch.device) -> str:
    """Describe the processor of a device by what decides how its kernels round."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    told: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()  # not in older ones
    kind = {name: value for name, value in sorted(told.items()) if name not in COUNTS_OF_CPUS}
    limits = os.environ.get("ONEDNN_MAX_CPU_ISA", "all")
    level = torch.backends.cpu.get_cpu_capability()
    return f"{device.type} {platform.machine()} {level} {limits} {kind}"
