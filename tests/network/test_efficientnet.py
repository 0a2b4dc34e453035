"""EfficientNet-Lite: shapes, padding as TensorFlow's, and the widths and depths of its variants."""

import numpy as np
import pytest
import torch

from sklearn_cnn.network.efficientnet import SameConv2d, efficientnet_lite


def test_an_odd_zero_stands_below_and_to_the_right():
    conv = SameConv2d(1, 1, 3, stride=2, bias=False)
    with torch.no_grad():
        conv.weight.copy_(torch.arange(1.0, 10).reshape(1, 1, 3, 3))
        maps = conv(torch.arange(16.0).reshape(1, 1, 4, 4))

    # of a side of 4, windows begin at 0 and 2, and the last one takes one zero: 5 values for 4
    by_hand = np.zeros((2, 2))
    padded = np.pad(np.arange(16.0).reshape(4, 4), ((0, 1), (0, 1)))
    for row in range(2):
        for column in range(2):
            window = padded[2 * row : 2 * row + 3, 2 * column : 2 * column + 3]
            by_hand[row, column] = (window * np.arange(1.0, 10).reshape(3, 3)).sum()
    np.testing.assert_array_equal(maps.numpy()[0, 0], by_hand)


@pytest.mark.parametrize(("kernel", "stride"), [(1, 1), (2, 1), (3, 1), (3, 2), (5, 2), (5, 3)])
@pytest.mark.parametrize("side", [1, 2, 5, 6, 7])
def test_the_maps_are_the_image_divided_by_the_stride_rounded_up(kernel, stride, side):
    maps = SameConv2d(1, 1, kernel, stride)(torch.zeros(1, 1, side, side + 1))

    assert maps.shape[2:] == (-(-side // stride), -(-(side + 1) // stride))


def test_without_a_stride_it_is_torchs_own_same_padding():
    ours, theirs = SameConv2d(2, 3, 3), torch.nn.Conv2d(2, 3, 3, padding="same")
    theirs.load_state_dict(ours.state_dict())
    images = torch.randn(2, 2, 5, 6, generator=torch.Generator().manual_seed(0))

    torch.testing.assert_close(ours(images), theirs(images))


@pytest.mark.parametrize(
    ("width", "depth", "blocks", "channels"),
    [
        (1.0, 1.0, [1, 2, 2, 3, 3, 4, 1], [16, 24, 40, 80, 112, 192, 320]),
        (1.0, 1.1, [1, 3, 3, 4, 4, 5, 1], [16, 24, 40, 80, 112, 192, 320]),
        (1.1, 1.2, [1, 3, 3, 4, 4, 5, 1], [16, 24, 48, 88, 120, 208, 352]),
    ],
)
def test_the_variants_are_those_of_the_blog(width, depth, blocks, channels):
    network = efficientnet_lite(width, depth)

    stages = [network.get_submodule(f"stage{number}") for number in range(1, 8)]
    assert [len(stage) for stage in stages] == blocks
    assert [stage[-1].project.out_channels for stage in stages] == channels
    assert [name for name, _ in network.named_children()] == [
        "stem", *(f"stage{number}" for number in range(1, 8)), "head",
    ]  # fmt: skip


def test_a_block_adds_its_input_where_it_fits():
    network = efficientnet_lite()

    first, second = network.stage2
    assert not first.is_residual
    assert second.is_residual
    maps = torch.rand(1, 24, 4, 4, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        inside = torch.nn.Sequential.forward(second.eval(), maps)
        torch.testing.assert_close(second(maps), maps + inside)
