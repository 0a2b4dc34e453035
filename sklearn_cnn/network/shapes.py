"""The shape that each described layer gives, worked out before anything is built."""

from collections.abc import Sequence

from sklearn_cnn.network.layers import (
    LAYER_KINDS,
    Conv,
    Dense,
    Flatten,
    Layer,
    Pool,
    as_pair,
)

Shape = tuple[int, ...]
"""(channels, height, width) of feature maps, or (values,) of a vector."""


def check_layers(layers: Sequence[Layer]) -> tuple[Layer, ...]:
    """Return ``layers`` as a tuple, or say which element is no layer description."""
    for position, layer in enumerate(layers):
        if not isinstance(layer, LAYER_KINDS):
            kinds = ", ".join(kind.__name__ for kind in LAYER_KINDS)
            raise ValueError(
                f"layers[{position}] must be one of {kinds}. Got {layer!r}. To use PyTorch "
                "modules, pass a callable (image_shape, n_outputs) -> torch.nn.Module as layers."
            )
    return tuple(layers)


def output_shapes(layers: Sequence[Layer], image_shape: tuple[int, int, int]) -> list[Shape]:
    """Work out the output shape of each layer.

    Parameters
    ----------
    layers : sequence of layer descriptions
        The network without its output layer.
    image_shape : tuple of int
        Height, width, channels.

    Returns
    -------
    list of tuple of int
        (channels, height, width) or (values,), one for each layer.

    Raises
    ------
    ValueError
        If a layer cannot follow the one before it: a pool larger than its maps, a Dense layer
        without Flatten, a network that ends without a vector.
    """
    height, width, channels = image_shape
    shape: Shape = (channels, height, width)
    shapes = []
    if not layers:
        raise ValueError("layers is empty. The least network is layers=[Flatten()].")
    for position, layer in enumerate(check_layers(layers)):
        shape = _output_shape(layer, shape, f"layers[{position}] = {layer}")
        shapes.append(shape)
    if len(shape) != 1:
        raise ValueError(
            f"layers must end in a vector for the output layer, but the last one gives feature "
            f"maps of shape {shape} (channels, height, width). Add Flatten() at the end."
        )
    return shapes


def _output_shape(layer: Layer, shape: Shape, where: str) -> Shape:
    match layer:
        case Conv() | Pool() | Flatten() if len(shape) != 3:
            raise ValueError(
                f"{where} needs feature maps, but it stands behind Flatten(), which gives a "
                f"vector of {shape[0]} values. Put it in front of Flatten()."
            )
        case Conv(channels=channels, padding=padding):
            kernel = as_pair(layer.kernel_size, "kernel_size")
            stride = as_pair(layer.stride, "stride")
            if padding == "same":
                sides = tuple(-(-side // s) for side, s in zip(shape[1:], stride, strict=True))
            else:
                sides = _slide(kernel, stride, shape, where)
            return (channels, *sides)
        case Pool():
            window = as_pair(layer.size, "size")
            stride = window if layer.stride is None else as_pair(layer.stride, "stride")
            return (shape[0], *_slide(window, stride, shape, where))
        case Flatten():
            return (shape[0] * shape[1] * shape[2],)
        case Dense(units=units):
            if len(shape) != 1:
                raise ValueError(
                    f"{where} needs a vector, but the layer before it gives feature maps of shape "
                    f"{shape} (channels, height, width). Put Flatten() in front of it."
                )
            return (units,)
        case _:
            return shape


def _slide(
    window: tuple[int, int], stride: tuple[int, int], shape: Shape, where: str
) -> tuple[int, ...]:
    """Return the sides of what a sliding window gives without padding."""
    if window[0] > shape[1] or window[1] > shape[2]:
        raise ValueError(
            f"{where} does not fit: its window is {window[0]} x {window[1]}, and the maps that "
            f"reach it are {shape[1]} x {shape[2]}. Make it smaller, or leave out a layer that "
            "shrinks the maps."
        )
    return tuple((side - w) // s + 1 for side, w, s in zip(shape[1:], window, stride, strict=True))
