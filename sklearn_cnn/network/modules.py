"""Our own layers, where they differ from torch's, and what is done to a network as it is."""

from collections.abc import Iterator
from copy import deepcopy
from functools import reduce
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import nn
from torch._ops import OpOverload
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm, _NormBase
from torch.nn.parameter import UninitializedBuffer
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torch.utils._python_dispatch import TorchDispatchMode

from sklearn_cnn._messages import warn

OTHER_RANGE = 10
"""Pixels whose means or deviations differ by more than this factor are on different scales."""

MOMENTUM = 0.1
"""Weight of a new batch in the running statistics, from the tenth batch on."""


class Normalize(nn.Module):
    """Subtract each channel's mean and divide by its standard deviation.

    The two are buffers, so they travel with the weights, and a model that is exported carries its
    own preprocessing.

    Parameters
    ----------
    mean, std : ndarray of shape (channels,), float64
        Statistics of the training pixels; ``std`` above 0.
    dtype : torch.dtype
        Floating-point type of the output.
    """

    mean: torch.Tensor
    scale: torch.Tensor
    is_contiguous_on_cpus = False
    """Whether the output is contiguous on CPUs, in place of channels_last."""

    is_left_to_another = False
    """Whether a later layer standardises, so that this one passes the pixels on."""

    def __init__(self, mean: np.ndarray, std: np.ndarray, dtype: torch.dtype) -> None:
        super().__init__()
        shape = (1, -1, 1, 1)
        self.register_buffer("mean", torch.tensor(mean, dtype=dtype).reshape(shape))
        self.register_buffer("scale", torch.tensor(1 / std, dtype=dtype).reshape(shape))

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Standardise pixels.

        Parameters
        ----------
        pixels : tensor of shape (n, channels, height, width), any real dtype

        Returns
        -------
        tensor of shape (n, channels, height, width), in the dtype of the network
        """
        if self.is_left_to_another:
            standardised = pixels.to(self.mean.dtype, copy=True)  # a module may write into it
        else:
            standardised = (pixels.to(self.mean.dtype) - self.mean) * self.scale
        if self.is_contiguous_on_cpus and standardised.device.type == "cpu":
            # not contiguous(), which leaves the strides of images of one channel as they are
            return standardised.clone(memory_format=torch.contiguous_format)
        return standardised

    def leave_to(self, other: "Normalize") -> None:
        """Hand pixels on as they are, to another layer that standardises; take its statistics.

        Raises
        ------
        ValueError
            If that layer is for another number of channels.
        """
        if other.mean.numel() != self.mean.numel():
            raise ValueError(
                f"The module that layers returned holds the normalisation of a fitted network, for "
                f"images of {other.mean.numel()} channels, and these have {self.mean.numel()}. "
                "Leave its layer 'normalize' out, or give it images of as many channels."
            )
        near, far = 1 / OTHER_RANGE, OTHER_RANGE
        ratio = other.scale / self.scale
        apart = (self.mean - other.mean).abs() * other.scale
        if (ratio < near).any() or (ratio > far).any() or (apart > far).any():
            warn(
                "The module that layers returned holds the normalisation of a fitted network, "
                f"whose pixels had a mean of {other.mean.mean():.3g} and a standard deviation of "
                f"{(1 / other.scale).mean():.3g}; these have {self.mean.mean():.3g} and "
                f"{(1 / self.scale).mean():.3g}. Scale X as that network's images were, or leave "
                "the layer 'normalize' of the module out."
            )
        self.is_left_to_another = True
        self.mean, self.scale = other.mean.clone(), other.scale.clone()

    def extra_repr(self) -> str:
        """Say how many channels there are, in the printed module."""
        return f"channels={self.mean.numel()}"


class _FromTheFirstBatch(_BatchNorm):
    """Batch normalisation for few and small batches.

    The running statistics are a plain mean over the first ten batches, before they become a moving
    one, so that a network predicts well after a single batch and not only once the zeros and ones
    that it began with have faded. And a batch of a single value for each channel, whose variance is
    zero, is normalised by the running statistics where torch raises: it comes up where a batch, or
    a part of one that fits in memory, is one image with maps of 1 x 1.
    """

    def __init__(
        self, num_features: int, eps: float = 1e-5, dtype: torch.dtype | None = None
    ) -> None:
        super().__init__(num_features, eps, momentum=1.0, dtype=dtype)
        self.register_load_state_dict_post_hook(_count_batches_again)  # type: ignore[no-untyped-call]

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Normalise by the batch while training, and by the running statistics otherwise."""
        if self.training and input.numel() == self.num_features:
            return functional.batch_norm(
                input, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps
            )
        if self.training and self.momentum != MOMENTUM and self.num_batches_tracked is not None:
            # batch number k weighs 1 / k, as in a mean; the device is asked for k ten times only
            self.momentum = max(MOMENTUM, 1 / (int(self.num_batches_tracked) + 1))
        return super().forward(input)


class BatchNorm2d(_FromTheFirstBatch, nn.BatchNorm2d):
    """Normalise maps of shape (n, channels, height, width)."""


class BatchNorm1d(_FromTheFirstBatch, nn.BatchNorm1d):
    """Normalise vectors of shape (n, values)."""


class Dropout(nn.Dropout):
    """Set a share of the values to zero while training, and scale the others up.

    Attributes
    ----------
    generator : torch.Generator or None
        What the draws come from, so that threads do not share one; None for torch's own.
    """

    generator: torch.Generator | None = None

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Draw which values to keep, and divide them by the share that is kept."""
        if not self.training or self.generator is None:
            return super().forward(input)
        share = 1 - self.p
        kept = torch.empty_like(input).bernoulli_(share, generator=self.generator)
        return input * kept.div_(share)


class Flatten(nn.Module):
    """Make a vector of each image's feature maps, pixel by pixel, as ``numpy.reshape`` does.

    It copies nothing where the maps lie in memory so, as those of convolutions do (torch's
    ``channels_last``). A vector in the order of channels, as :class:`torch.nn.Flatten` makes it,
    has to gather every value, and its gradient to scatter them.

    Examples
    --------
    >>> import torch
    >>> from sklearn_cnn.network.modules import Flatten
    >>> maps = torch.tensor([[[[0, 1]], [[10, 11]]]])  # an image of 1 x 2 pixels in two channels
    >>> Flatten()(maps)
    tensor([[ 0, 10,  1, 11]])
    """

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """Flatten maps of shape (n, channels, height, width) to (n, height * width * channels)."""
        return maps.permute(0, 2, 3, 1).flatten(1)


class MaxPool2d(nn.MaxPool2d):
    """Take the maximum of each window of maps of shape (n, channels, height, width).

    It is quick at prediction: without a gradient nobody asks where a maximum stood, and the maximum
    of a window is that of its columns' maxima. These are two or three passes over whole slices, in
    place of a search in every window.
    """

    kernel_size: tuple[int, int]
    stride: tuple[int, int]

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Pool; bit for bit the same with and without a gradient."""
        if torch.is_grad_enabled() or self.stride != self.kernel_size:
            searched: torch.Tensor = super().forward(input)
            return searched
        height, width = self.kernel_size
        below = input.shape[2] - input.shape[2] % height
        right = input.shape[3] - input.shape[3] % width
        rows = [input[:, :, row:below:height, :right] for row in range(height)]
        tallest = reduce(torch.maximum, rows)
        columns = [tallest[..., column::width] for column in range(width)]
        largest: torch.Tensor = reduce(torch.maximum, columns)
        return largest


class SamePaddedConv2d(nn.Conv2d):
    """Convolve with a kernel of even size, padded so that a stride of 1 keeps height and width.

    The odd zero stands below and to the right. torch's ``padding="same"`` does so too, but warns of
    the padded copy that it makes.
    """

    kernel_size: tuple[int, int]

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Convolve maps of shape (n, channels, height, width)."""
        height, width = self.kernel_size
        zeros = ((width - 1) // 2, width // 2, (height - 1) // 2, height // 2)
        return super().forward(functional.pad(input, zeros))


class StridedPointwise(nn.Conv2d):
    """Convolve with a kernel of 1 x 1 and any stride: leave pixels out, then take a stride of 1.

    torch's gradient of such a layer can end the process. Where the layer's input or weight lies in
    memory pixel by pixel (``channels_last``), the gradient of its weights writes beyond a buffer on
    CPUs: without AVX512 for 2 to 7 channels, and with AVX512 where the layer has a dilation.
    ``scripts/map_crashes`` maps the family. A user-defined module that holds one keeps to torch's
    default order of memory on CPUs, in which the gradient is sound; see :class:`ModuleWatch`.
    """

    stride: tuple[int, int]

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Convolve maps of shape (n, channels, height, width)."""
        rows, columns = self.stride
        return functional.conv2d(input[:, :, ::rows, ::columns], self.weight, self.bias)


class ModuleWatch(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """A context that notes strided pointwise convolutions and random draws, however called.

    Attributes
    ----------
    has_strided_pointwise : bool
        Whether one ran.
    is_unsound : bool
        Whether one ran with its input or weight in channels_last memory.
    draws : str
        An operation that drew random numbers from torch's own generator, or "".
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.has_strided_pointwise = self.is_unsound = False
        self.draws = ""

    def __torch_dispatch__(
        self, func: OpOverload, types: object, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> object:
        """Look at the arguments of a convolution, and run whatever it is."""
        if func is torch.ops.aten.convolution.default:
            images, weight, _, stride, _, _, is_transposed = args[:7]
            if tuple(weight.shape[2:]) == (1, 1) and max(stride) > 1 and not is_transposed:
                self.has_strided_pointwise = True
                self.is_unsound |= any(map(_is_pixel_by_pixel, (images, weight)))
        options = kwargs or {}
        if torch.Tag.nondeterministic_seeded in func.tags and options.get("generator") is None:
            self.draws = str(func)
        return func(*args, **options)


def copy_network(network: nn.Module) -> nn.Module:
    """Copy a network as it is, trained or not.

    A user-defined module may keep the maps of a training step as an attribute. torch copies no
    value with a gradient function, so the copy shares these with the network, until it runs.

    Examples
    --------
    >>> import torch
    >>> from sklearn_cnn.network.modules import copy_network
    >>> network = torch.nn.Linear(2, 1)
    >>> network.kept = network(torch.ones(1, 2))
    >>> copy_network(network)
    Linear(in_features=2, out_features=1, bias=True)
    """
    return deepcopy(network, _what_torch_does_not_copy(network))


def copy_together(network: nn.Module, *others: object) -> tuple[object, ...]:
    """Copy a network, and what refers to it, such as its optimizer, which refers to the copy."""
    return deepcopy((network, *others), _what_torch_does_not_copy(network))


def keep_frozen_statistics(module: nn.Module, is_frozen: bool = False) -> None:
    """Have the norms of frozen parts normalise by their running statistics, and keep those.

    A norm is frozen if all of its parameters are, and one without parameters if those of the module
    that holds it are. The rest of a network in training stays so.
    """
    weights = list(module.parameters())
    if weights:
        is_frozen = not any(weight.requires_grad for weight in weights)
    if is_frozen and isinstance(module, _NormBase):
        module.eval()
    for child in module.children():
        keep_frozen_statistics(child, is_frozen)


def fold_norms(network: nn.Module) -> None:
    """Fold each norm into the convolution before it, for prediction, in sequences of layers.

    The maps stay the same but for rounding: a norm in eval mode multiplies and adds.
    """
    for module in network.modules():
        if isinstance(module, nn.Sequential):
            layers = list(module.named_children())
            for (name, layer), (norm_name, norm) in pairwise(layers):
                if isinstance(layer, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                    dtype = layer.weight.dtype
                    folded = fuse_conv_bn_eval(layer.double(), norm.double())
                    setattr(module, name, folded.to(dtype))
                    delattr(module, norm_name)


def seed_dropout(network: nn.Module, seed: int) -> None:
    """Have all dropout of a network, torch's own layer included, draw from one new generator."""
    generator = torch.Generator().manual_seed(seed)
    for module in network.modules():
        if type(module) is nn.Dropout:
            module.__class__ = Dropout
        if isinstance(module, Dropout):
            module.generator = generator


def _count_batches_again(norm: _BatchNorm, _: object) -> None:
    """Let weights that were loaded say how many batches their statistics have seen."""
    norm.momentum = 1.0


def _what_torch_does_not_copy(network: nn.Module) -> dict[int, torch.Tensor]:
    """Return what takes the place of each such value in a copy, by the value's id."""
    kept = (value for module in network.modules() for value in _with_gradient(vars(module)))
    places = {id(value): value for value in kept}
    for buffer in network.buffers():
        if isinstance(buffer, UninitializedBuffer):  # of a lazy norm
            places[id(buffer)] = UninitializedBuffer(  # type: ignore[call-arg]
                device=buffer.device, dtype=buffer.dtype
            )
    return places


def _with_gradient(value: object) -> Iterator[torch.Tensor]:
    """Find the values that have a gradient function, in lists and dicts too."""
    if isinstance(value, torch.Tensor) and value.grad_fn is not None:
        yield value
    elif isinstance(value, dict | list | tuple):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _with_gradient(item)


def _is_pixel_by_pixel(values: torch.Tensor) -> bool:
    """Tell whether torch convolves in channels_last memory on account of these values.

    It looks at the strides alone, so that it may do so for what counts as contiguous, too: maps of
    one channel, and kernels of one pixel.
    """
    if values.ndim != 4 or values.stride(1) == 0:
        return False
    least = 0
    for axis in (1, 3, 2):
        if values.stride(axis) < least:
            return False
        least = values.stride(axis) * values.shape[axis]
    return values.stride(0) >= least and least != values.stride(1)
