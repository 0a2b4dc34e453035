"""How many images go through a network at once."""

import torch

MEMORY_FOR_ACTIVATIONS = 2 << 30
"""Bytes that the feature maps of one pass through the network may take."""

CHUNK = 64
"""Images of one pass at prediction, at most: enough for the arithmetic to be at its best."""

LARGEST_MAPS = 8 << 20
"""Bytes of the largest feature maps of a chunk on a CPU, so that a cache may hold them."""

CHUNK_ON_A_GPU = 1024
"""The same on a GPU, which has no cache to stay in and many more units to keep busy."""

SHARE_OF_FREE_MEMORY = 0.5
"""Share of a GPU's free memory that the training images may take, to lie there for good."""


def images_per_pass(values_per_image: int, dtype: torch.dtype, passes: int = 1) -> int:
    """Return how many images fit in ``MEMORY_FOR_ACTIVATIONS`` at once, at least one.

    Parameters
    ----------
    values_per_image : int
        Values in all feature maps of one image.
    dtype : torch.dtype
        Type of a value.
    passes : int, default=1
        How often each is held: 1 at prediction, 3 in training (itself, for the gradient, and the
        gradient).
    """
    return max(1, MEMORY_FOR_ACTIVATIONS // (values_per_image * dtype.itemsize * passes))


def images_per_chunk(values_of_maps: list[int], dtype: torch.dtype, device: torch.device) -> int:
    """Return how many images a chunk of prediction holds on a device, at least one.

    Parameters
    ----------
    values_of_maps : list of int
        Values in the feature maps of one image, layer by layer.
    dtype : torch.dtype
        Type of a value.
    device : torch.device
        Where to compute.
    """
    if device.type != "cpu":
        return min(CHUNK_ON_A_GPU, images_per_pass(sum(values_of_maps), dtype))
    return max(1, min(CHUNK, LARGEST_MAPS // (max(values_of_maps) * dtype.itemsize)))


def lies_on(device: torch.device, n_bytes: int) -> bool:
    """Tell whether a data set is to lie in the memory of a device, rather than come in batches."""
    if device.type != "cuda":
        return False
    free, _ = torch.cuda.mem_get_info(device)
    return n_bytes <= SHARE_OF_FREE_MEMORY * free


def is_out_of_memory(error: RuntimeError) -> bool:
    """Tell whether a GPU ran out of memory; on MPS it says so in words alone."""
    return isinstance(error, torch.OutOfMemoryError) or "MPS backend out of memory" in str(error)
