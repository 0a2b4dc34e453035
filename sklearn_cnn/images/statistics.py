"""Mean and standard deviation of the training pixels, channel by channel."""

from math import prod

import numpy as np

from sklearn_cnn.images.scale import row_blocks


def channel_statistics(
    images: np.ndarray, rows: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Compute each channel's weighted mean and standard deviation, in two passes.

    Parameters
    ----------
    images : ndarray of shape (n_images, height, width, channels), any real dtype
        All images; they are read block by block and never copied whole.
    rows : ndarray of shape (n_rows,), int
        Which images count.
    weights : ndarray of shape (n_rows,), float64
        Their weights: a weight of 2 equals the image given twice.

    Returns
    -------
    mean, std : ndarray of shape (channels,), float64
        A channel that is constant, as far as float32 can tell, has a standard deviation of 1.
    """
    mean = _weighted_mean(images, rows, weights)
    std = np.sqrt(_weighted_mean(images, rows, weights, centre=mean, power=2))
    float32 = np.finfo(np.float32)
    return mean, np.where(std > np.maximum(float32.eps * np.abs(mean), float32.tiny), std, 1.0)


def _weighted_mean(
    images: np.ndarray,
    rows: np.ndarray,
    weights: np.ndarray,
    centre: np.ndarray | float = 0.0,
    power: int = 1,
) -> np.ndarray:
    """Mean over images and positions of ``(pixel - centre) ** power``, for each channel."""
    _, height, width, channels = images.shape
    total = np.zeros(channels)
    for block in row_blocks(len(rows), prod(images.shape[1:])):
        values = images[rows[block]].astype(np.float64)
        values -= centre
        values **= power
        total += weights[block] @ values.sum(axis=(1, 2))
    mean: np.ndarray = total / (weights.sum() * height * width)
    return mean
