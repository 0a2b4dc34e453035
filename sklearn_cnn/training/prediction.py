"""Logits of images, in chunks of one fixed size, so that no row depends on its neighbours.

The arithmetic of a matrix product may round differently for another number of rows. Every chunk
therefore has the same number of them: the last is filled up with zeros, which are then dropped.
"""

import numpy as np
import torch
from torch import nn

from sklearn_cnn.training.batches import as_pixels
from sklearn_cnn.training.hardware.device import send
from sklearn_cnn.training.hardware.modes import ordinary_modes


def predict_logits(network: nn.Module, images: np.ndarray, chunk: int) -> np.ndarray:
    """Compute the logits of images.

    Parameters
    ----------
    network : torch.nn.Module
        The built network; it computes on the device it lies on.
    images : ndarray of shape (n, height, width, channels), any real dtype
        Read chunk by chunk, never written to.
    chunk : int
        Images of a chunk; it is halved where the memory of a GPU does not hold it.

    Returns
    -------
    ndarray of shape (n, n_classes), float64

    Raises
    ------
    ValueError
        If the network gives a value that is not finite.
    torch.OutOfMemoryError
        If a GPU cannot hold a single image.
    """
    device = next(network.buffers()).device
    if network.training:
        network.eval()
    start, logits = 0, []
    with ordinary_modes(device), torch.inference_mode():
        while start < len(images):
            try:
                logits.append(_chunk_logits(network, images[start : start + chunk], chunk, device))
            except torch.OutOfMemoryError:
                if chunk == 1:
                    raise
                chunk = -(-chunk // 2)
                continue
            start += chunk
        result = torch.cat(logits).to("cpu").numpy().astype(np.float64)
    broken = np.flatnonzero(~np.isfinite(result).all(axis=1))
    if len(broken):
        raise ValueError(
            f"The network gives values that are not finite for {len(broken)} of {len(images)} "
            f"images, X[{broken[0]}] the first of them. Its pixels lie too far from those seen at "
            "fit: scale them likewise."
        )
    return result


def _chunk_logits(
    network: nn.Module, images: np.ndarray, chunk: int, device: torch.device
) -> torch.Tensor:
    """Compute the logits of one chunk, on the device."""
    block = np.array(images, order="C")
    filled = len(block)
    if filled < chunk:
        block = np.concatenate([block, np.zeros((chunk - filled, *block.shape[1:]), block.dtype)])
    logits: torch.Tensor = network(send(as_pixels(block), device))
    return logits[:filled]
