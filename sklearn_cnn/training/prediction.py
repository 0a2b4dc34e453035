"""Outputs and features of images, in chunks of one size, so that rows are independent.

A matrix product may round differently for another number of rows. Every chunk therefore has the
same number of rows. The last chunk is padded with zeros, which are then dropped, or computed at a
smaller size if this changes no bit (:mod:`sklearn_cnn.training.small_chunks`).
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import nn

from sklearn_cnn.machine.device import is_out_of_memory, send
from sklearn_cnn.machine.isolation import begin_in_one_thread, isolated
from sklearn_cnn.network.outputs import LayerOutputs
from sklearn_cnn.training.examples import ROWS_OF_A_BLOCK, as_pixels
from sklearn_cnn.training.small_chunks import compute_filled, split_at_vectors

WORTH_SHARING = 20_000
"""Minimum number of pixel values for which threads share a chunk: a pool takes 1 ms."""


def predict_outputs(
    network: nn.Module, images: np.ndarray, chunk: int, n_at_once: int = 1
) -> np.ndarray:
    """Compute the outputs of a network for images: logits or numbers.

    Parameters
    ----------
    network : torch.nn.Module
        The network, which computes on its own device.
    images : ndarray of shape (n, height, width, channels), any real dtype
        The images, which are read chunk by chunk and never modified.
    chunk : int
        Number of images per chunk. It is halved if it does not fit in the memory of a GPU.
    n_at_once : int, default=1
        Maximum number of chunks that are computed in parallel on a CPU. Each is computed in one
        thread, so that rounding is the same for any number of threads.

    Returns
    -------
    ndarray of shape (n, n_outputs), float64
        Outputs of the network.

    Raises
    ------
    ValueError
        If the network returns a value that is not finite.
    torch.OutOfMemoryError
        If a GPU cannot hold a single image.
    """
    device = next(
        network.buffers()
    ).device  # outputs are few, and stay there until all are computed
    (outputs,) = _outputs(network, images, chunk, n_at_once, wait_on=device)
    return outputs.astype(np.float64)


def predict_layers(
    network: LayerOutputs, images: np.ndarray, chunk: int, n_at_once: int = 1
) -> list[np.ndarray]:
    """Compute the outputs of some layers for images.

    Parameters
    ----------
    network : LayerOutputs
        The layers of the network.
    images, chunk, n_at_once
        As for ``predict_outputs``.

    Returns
    -------
    list of ndarray of shape (n, height, width, channels) or (n, values)
        In the floating-point type of the network.

    Raises
    ------
    ValueError, torch.OutOfMemoryError
        As for ``predict_outputs``.
    """
    results = _outputs(network, images, chunk, n_at_once, wait_on=torch.device("cpu"))
    return [np.ascontiguousarray(result) for result in results]


def predict_maps(
    layers: nn.Module, images: np.ndarray, rows: np.ndarray, chunk: int, n_at_once: int
) -> np.ndarray:
    """Compute the output maps of the first layers for some rows of images.

    Parameters
    ----------
    layers : torch.nn.Module
        The first layers of a network.
    images : ndarray of shape (n_images, height, width, channels), any real dtype
        All images, which are never copied as a whole.
    rows : ndarray of shape (n,), int
        Indices of the images.
    chunk, n_at_once
        As for ``predict_outputs``.

    Returns
    -------
    ndarray of shape (n, height, width, channels)
        In the floating-point type of the layers.
    """
    cpu, blocks = torch.device("cpu"), []
    for start in range(0, len(rows), ROWS_OF_A_BLOCK):
        block = images[rows[start : start + ROWS_OF_A_BLOCK]]
        (maps,) = compute_in_chunks(layers, block, chunk, n_at_once, cpu)
        blocks.append(np.ascontiguousarray(maps.transpose(0, 2, 3, 1)))
    return np.concatenate(blocks)


def _outputs(
    network: nn.Module, images: np.ndarray, chunk: int, n_at_once: int, wait_on: torch.device
) -> list[np.ndarray]:
    results = compute_in_chunks(network, images, chunk, n_at_once, wait_on)
    for result in results:
        broken = broken_rows(result)
        if len(broken):
            raise ValueError(
                f"The outputs of the network are not finite for {len(broken)} of {len(images)} "
                f"images, the first of them X[{broken[0]}]. Its pixels are too far from those seen "
                "during fit. Scale them in the same way."
            )
    return results


def broken_rows(values: np.ndarray) -> np.ndarray:
    """Return the indices of the rows that hold a value that is not finite."""
    return np.flatnonzero(~np.isfinite(values.reshape(len(values), -1)).all(axis=1))


def compute_in_chunks(
    network: nn.Module,
    images: np.ndarray,
    chunk: int,
    n_at_once: int,
    wait_on: torch.device,
    *,
    n_threads: int | None = None,
    on_chunk: Callable[[int], object] | None = None,
) -> list[np.ndarray]:
    """Compute the outputs of a network for images: a tensor, or a tuple of tensors.

    Parameters
    ----------
    network, images, chunk, n_at_once
        As for ``predict_outputs``.
    wait_on : torch.device
        Device that holds the outputs of a chunk until all are computed.
    n_threads : int or None, default=None
        Number of available threads; None for torch's number.
    on_chunk : callable (n_images) or None, default=None
        Function that is called in this thread after each chunk.

    Returns
    -------
    list of ndarray of shape (n, ...)
    """
    device = next(network.buffers()).device
    if network.training:
        network.eval()
    with isolated(device) as n_available, torch.inference_mode():
        n_threads = min(n_at_once, n_threads or n_available)
        share = _images_of_a_share(network, images, chunk, n_threads)
        n_threads = min(n_threads, -(-len(images) // share))
        if device.type == "cpu" and n_threads > 1:
            chunks = _side_by_side(network, images, chunk, share, n_threads)
        else:
            chunks = _in_turn(network, images, chunk, device, wait_on)
        computed = []
        for outputs in chunks:
            computed.append(outputs)
            if on_chunk is not None:
                on_chunk(len(outputs[0]))
        parts = zip(*computed, strict=True)
        return [torch.cat(each).to("cpu").numpy() for each in parts]


def _images_of_a_share(network: nn.Module, images: np.ndarray, chunk: int, n_threads: int) -> int:
    """Return the number of images per thread: a chunk, or less if there are few images."""
    if n_threads < 2 or images.size < WORTH_SHARING or not split_at_vectors(network):
        return chunk
    return min(chunk, -(-len(images) // n_threads))


def _side_by_side(
    network: nn.Module, images: np.ndarray, chunk: int, share: int, n_threads: int
) -> Iterator[list[torch.Tensor]]:
    cpu = torch.device("cpu")

    def compute(start: int) -> list[torch.Tensor]:
        with torch.inference_mode():  # the mode is per thread
            return _chunk_outputs(network, images[start : start + share], chunk, cpu)

    pool = ThreadPoolExecutor(n_threads, initializer=begin_in_one_thread)
    try:
        yield from pool.map(compute, range(0, len(images), share))
    finally:
        pool.shutdown(cancel_futures=True)


def _in_turn(
    network: nn.Module,
    images: np.ndarray,
    chunk: int,
    device: torch.device,
    wait_on: torch.device,
) -> Iterator[list[torch.Tensor]]:
    start = 0
    while start < len(images):
        try:
            outputs = _chunk_outputs(network, images[start : start + chunk], chunk, device)
            kept = [output.to(wait_on) for output in outputs]
        except RuntimeError as error:
            if chunk == 1 or not is_out_of_memory(error):
                raise
            chunk = -(-chunk // 2)
            continue
        yield kept
        start += chunk


def _chunk_outputs(
    network: nn.Module, images: np.ndarray, chunk: int, device: torch.device
) -> list[torch.Tensor]:
    """Compute the outputs of the network for one chunk, on the device."""
    pixels = send(as_pixels(np.array(images, order="C")), device)
    outputs = compute_filled(network, pixels, chunk)
    tensors = outputs if isinstance(outputs, tuple) else (outputs,)
    return [tensor[: len(images)] for tensor in tensors]
