"""Which pixels a class score rests on: by its gradient, by the last maps, by covering parts up."""

from typing import Any

import numpy as np
import torch
from torch.nn import functional

from sklearn_cnn.machine.isolation import isolated
from sklearn_cnn.network.modules import copy_network
from sklearn_cnn.training.prediction import predict_logits


def gradient(network: torch.nn.Module, image: np.ndarray, target: int) -> np.ndarray:
    """Compute how fast a class score changes with each pixel.

    Parameters
    ----------
    network : torch.nn.Module
        The built network.
    image : ndarray of shape (1, height, width, channels), any real dtype
        The image.
    target : int
        Number of the class.

    Returns
    -------
    ndarray of shape (height, width), float64
        The largest absolute derivative of the logit among a pixel's channels.

    References
    ----------
    Simonyan, Vedaldi and Zisserman, "Deep inside convolutional networks: visualising image
    classification models and saliency maps", ICLR 2014 workshop, arXiv:1312.6034.
    """
    with isolated(next(network.buffers()).device):
        pixels = _as_input(network, image).requires_grad_()
        (derivative,) = torch.autograd.grad(copy_network(network)(pixels)[0, target], pixels)
        return derivative[0].abs().amax(dim=0).cpu().double().numpy()


def grad_cam(network: torch.nn.Module, image: np.ndarray, target: int, layer: str) -> np.ndarray:
    """Add up the maps of a layer by what each is worth for a class.

    Parameters
    ----------
    network : torch.nn.Module
        The built network.
    image : ndarray of shape (1, height, width, channels), any real dtype
        The image.
    target : int
        Number of the class.
    layer : str
        Name of a module that gives feature maps.

    Returns
    -------
    ndarray of shape (height, width), float64
        At least 0, interpolated to the size of the image.

    References
    ----------
    Selvaraju et al., "Grad-CAM: visual explanations from deep networks via gradient-based
    localization", ICCV 2017.
    """
    seen = []

    def keep(_: Any, __: Any, output: torch.Tensor) -> torch.Tensor:
        seen.append(output)
        return output.clone()  # the next layer may write into it

    with isolated(next(network.buffers()).device):
        copy = copy_network(network)
        copy.get_submodule(layer).register_forward_hook(keep)
        # so that a network of frozen weights has a gradient, too
        pixels = _as_input(network, image).requires_grad_()
        score = copy(pixels)[0, target]
        (derivative,) = torch.autograd.grad(score, seen[-1])
        worth = derivative.mean(dim=(2, 3), keepdim=True)
        heat = torch.relu((worth * seen[-1].detach()).sum(dim=1, keepdim=True))
        heat = functional.interpolate(heat, size=image.shape[1:3], mode="bilinear")
    return heat[0, 0].cpu().double().numpy()


def occlusion(
    network: torch.nn.Module,
    image: np.ndarray,
    target: int,
    window: tuple[int, int],
    stride: tuple[int, int],
    chunk: int,
) -> np.ndarray:
    """Cover the image up part by part, and see how far a class score falls.

    Parameters
    ----------
    network : torch.nn.Module
        The built network, whose first layer knows the mean of the training pixels, with which parts
        are covered up.
    image : ndarray of shape (1, height, width, channels), any real dtype
        The image.
    target : int
        Number of the class.
    window, stride : tuple of int
        Height and width of a part, and of the step from one to the next.
    chunk : int
        Images of a chunk of prediction.

    Returns
    -------
    ndarray of shape (height, width), float64
        Fall of the logit, a mean over the parts that a pixel is in; below 0 where the score rises.

    References
    ----------
    Zeiler and Fergus, "Visualizing and understanding convolutional networks", ECCV 2014.
    """
    mean: Any = network.get_submodule("normalize").mean
    covered_by = mean.reshape(-1).cpu().numpy()
    pixels = image.astype(covered_by.dtype)
    starts = [
        range(0, side - size + step, step) if side > size else range(1)
        for side, size, step in zip(image.shape[1:3], window, stride, strict=True)
    ]
    parts = [
        (slice(top, top + window[0]), slice(left, left + window[1]))
        for top in starts[0]
        for left in starts[1]
    ]
    whole = predict_logits(network, pixels, chunk)[0, target]
    fall, n_covers = np.zeros(image.shape[1:3]), np.zeros(image.shape[1:3])
    for first in range(0, len(parts), chunk):
        some = parts[first : first + chunk]
        covered = np.repeat(pixels, len(some), axis=0)
        for picture, part in zip(covered, some, strict=True):
            picture[part] = covered_by
        scores = predict_logits(network, covered, chunk)[:, target]
        for part, score in zip(some, scores, strict=True):
            fall[part] += whole - score
            n_covers[part] += 1
    return fall / np.maximum(n_covers, 1)


def _as_input(network: torch.nn.Module, image: np.ndarray) -> torch.Tensor:
    """Return pixels of shape (1, channels, height, width), as the network takes them."""
    mean = next(network.buffers())
    pixels = torch.from_numpy(np.array(image, dtype=np.float64)).permute(0, 3, 1, 2)
    pixels = pixels.to(mean.dtype).to(mean.device)  # in this order: MPS has no float64
    return pixels.contiguous(memory_format=torch.channels_last)
