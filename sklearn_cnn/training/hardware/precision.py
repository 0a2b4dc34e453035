"""The floating-point types: of the weights, and of the arithmetic in training.

bfloat16 is float32 with 8 bits of precision in place of 24. Where a processor multiplies it
natively, convolutions train about twice as fast; weights, norms and the loss stay float32.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import nn

from sklearn_cnn.network.strided_pointwise import StridedPointwise
from sklearn_cnn.network.table import LayerRow

WEIGHTS = {
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
    return WEIGHTS[precision]


def name_of_dtype(precision: str) -> str:
    """Return the name, as NumPy's, of the floating-point type of the weights."""
    return str(WEIGHTS[precision]).removeprefix("torch.")


def trains_in_bfloat16(
    precision: str,
    device: torch.device,
    network: nn.Module,
    multiplications: int,
    layers: Sequence[LayerRow] = (),
) -> bool:
    """Tell whether convolutions and dense layers are to multiply bfloat16 in training.

    Parameters
    ----------
    precision : {"auto", "float32", "bfloat16", "float64"}
        "auto" does so where the device is fast at it, the network is large enough to gain from it,
        and holds no convolution that is known to go wrong.
    device : torch.device
        Where the network trains.
    network : torch.nn.Module
        The network.
    multiplications : int
        How many one image takes.
    layers : sequence of LayerRow, default=()
        The layers of the network, whose outputs tell of one more convolution that goes wrong.

    Returns
    -------
    bool

    Raises
    ------
    ValueError
        If bfloat16 was asked for by name, and a convolution would go wrong.
    """
    if precision not in ("auto", "bfloat16"):
        return False
    hazard = next(_hazards(network, layers), None) if device.type == "cpu" else None
    if precision == "bfloat16":
        if hazard is not None:
            raise ValueError(
                f"precision='bfloat16' was asked for, but on CPUs torch computes the layer "
                f"{hazard!r} wrongly or slowly in it: its stride exceeds its kernel, or it is "
                "dilated or grouped, or strides to maps one pixel wide. Use precision='auto' or "
                "'float32'."
            )
        return True
    return hazard is None and multiplications >= WORTH_IT and _is_fast_at_bfloat16(device)


def _is_fast_at_bfloat16(device: torch.device) -> bool:
    if device.type == "cpu":
        has: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()  # not in older ones
        return bool(has.get("amx_bf16") or has.get("avx512_bf16"))
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    return False


def _hazards(network: nn.Module, layers: Sequence[LayerRow]) -> Iterator[str]:
    one_pixel_wide = {row.name for row in layers if row.output_shape[1:-1] == (1,)}
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d) and not isinstance(module, StridedPointwise):
            steps_over = any(
                step > size for step, size in zip(module.stride, module.kernel_size, strict=True)
            )
            steps_to_a_line = name in one_pixel_wide and module.stride[1] > 1
            if steps_over or steps_to_a_line or module.groups > 1 or max(module.dilation) > 1:
                yield name
