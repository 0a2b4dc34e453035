"""Descriptions of layers: immutable values that refuse what no layer can be."""

import copy
import pickle
import re
from dataclasses import FrozenInstanceError

import numpy as np
import pytest

from sklearn_cnn.network.layers import (
    ACTIVATION_NAMES,
    LAYER_KINDS,
    Activation,
    Backbone,
    BatchNorm,
    Conv,
    Dense,
    Dropout,
    Flatten,
    Pool,
    as_pair,
    is_count,
)

ALL = [
    (Conv(8), "Conv(channels=8, kernel_size=3, stride=1, padding='same', bias=True)"),
    (
        Conv(8, (3, 5), 2, "valid", False),
        "Conv(channels=8, kernel_size=(3, 5), stride=2, padding='valid', bias=False)",
    ),
    (Pool(), "Pool(kind='max', size=2, stride=None)"),
    (Pool("mean", (2, 1), 1), "Pool(kind='mean', size=(2, 1), stride=1)"),
    (Flatten(), "Flatten()"),
    (Dense(8), "Dense(units=8)"),
    (Dropout(0.5), "Dropout(rate=0.5)"),
    (BatchNorm(), "BatchNorm()"),
    (Activation(), "Activation(name='relu')"),
    (Backbone(), "Backbone(network='efficientnet_lite0', weights=None, trainable=0)"),
]
LAYERS = [layer for layer, _ in ALL]


def test_every_kind_is_tested_here():
    """Would catch a new kind of layer that the tests below leave out."""
    assert {type(layer) for layer in LAYERS} == set(LAYER_KINDS)


@pytest.mark.parametrize(("layer", "text"), ALL)
def test_a_layer_prints_as_it_is_written(layer, text):
    """Would catch a lost default or an order of arguments that has changed."""
    assert repr(layer) == text
    assert eval(text) == layer


@pytest.mark.parametrize("layer", LAYERS, ids=repr)
def test_a_layer_is_a_value(layer):
    """Would catch layers compared by identity, which breaks cloning and pickling."""
    for twin in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert twin == layer
        assert hash(twin) == hash(layer)
    assert [other for other in LAYERS if other == layer] == [layer]


@pytest.mark.parametrize("layer", LAYERS, ids=repr)
def test_a_layer_cannot_be_changed(layer):
    """Would catch a description that changes unseen under a fitted estimator."""
    for name in vars(layer):
        with pytest.raises(FrozenInstanceError):
            setattr(layer, name, 1)


@pytest.mark.parametrize(
    ("listed", "paired"),
    [
        (Conv(8, kernel_size=[3, 5]), Conv(8, kernel_size=(3, 5))),
        (Conv(8, stride=[1, 2]), Conv(8, stride=(1, 2))),
        (Pool(size=[2, 3]), Pool(size=(2, 3))),
        (Pool(stride=[2, 3]), Pool(stride=(2, 3))),
    ],
)
def test_a_size_in_a_list_is_a_value_too(listed, paired):
    """Would catch a list kept inside a frozen description: unhashable, and open to change."""
    assert listed == paired
    assert hash(listed) == hash(paired)


@pytest.mark.parametrize(
    ("size", "pair"),
    [
        (1, (1, 1)),
        (7, (7, 7)),
        ((3, 5), (3, 5)),
        ([3, 5], (3, 5)),
        (np.int64(4), (4, 4)),
        ((np.uint8(4), 2), (4, 2)),
    ],
)
def test_sizes_become_pairs(size, pair):
    """Would catch height and width swapped, or NumPy integers that stay NumPy's."""
    found = as_pair(size, "size")
    assert found == pair
    assert all(type(side) is int for side in found)


NO_SIZES = [0, -1, 2.0, "3", None, True, (), (3,), (3, 3, 3), (3, 0), (0, 3), (3, 2.5), (True, 3)]


@pytest.mark.parametrize("size", NO_SIZES, ids=repr)
@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda size: as_pair(size, "pool_size"), "pool_size"),
        (lambda size: Conv(8, kernel_size=size), "kernel_size"),
        (lambda size: Conv(8, stride=size), "stride"),
        (lambda size: Pool(size=size), "size"),
    ],
    ids=["as_pair", "kernel_size", "stride", "size"],
)
def test_invalid_sizes(make, name, size):
    """Would catch a size that only fails inside torch, far from where it was written."""
    text = (
        f"{name} must be a whole number of at least 1, or a pair of them (height, width). Got "
        f"{name}={size!r}."
    )
    with pytest.raises(ValueError, match=f"^{re.escape(text)}$"):
        make(size)


@pytest.mark.parametrize("stride", [stride for stride in NO_SIZES if stride is not None], ids=repr)
def test_invalid_pool_strides(stride):
    """Would catch a stride that is not checked since None is allowed."""
    with pytest.raises(ValueError, match=re.escape(f"Got stride={stride!r}.")):
        Pool(stride=stride)


@pytest.mark.parametrize("count", [1, 2, np.int32(1), np.uint8(255)])
def test_counts(count):
    """Would catch NumPy integers, or 1 itself, refused."""
    assert is_count(count)
    assert Dense(count).units == count
    assert Conv(count).channels == count


@pytest.mark.parametrize("count", [0, -1, 1.0, True, np.True_, "1", None, (1,)], ids=repr)
@pytest.mark.parametrize(("kind", "name"), [(Dense, "units"), (Conv, "channels")])
def test_invalid_counts(kind, name, count):
    """Would catch a True that counts as 1, or a 1.0."""
    assert not is_count(count)
    text = f"{name} must be a whole number of at least 1. Got {name}={count!r}."
    with pytest.raises(ValueError, match=f"^{re.escape(text)}$"):
        kind(count)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: Conv(8, padding="full"), "padding must be one of same, valid. Got padding='full'"),
        (lambda: Conv(8, padding=1), "padding must be one of same, valid. Got padding=1"),
        (lambda: Pool("avg"), "kind must be one of max, mean. Got kind='avg'"),
        (lambda: Pool(2), "kind must be one of max, mean. Got kind=2"),
        (lambda: Activation("RELU"), f"{', '.join(ACTIVATION_NAMES)}. Got name='RELU'"),
        (lambda: Activation(None), f"{', '.join(ACTIVATION_NAMES)}. Got name=None"),
    ],
)
def test_invalid_choices(make, text):
    """Would catch a message that does not list what there is."""
    with pytest.raises(ValueError, match=re.escape(text)):
        make()


@pytest.mark.parametrize("rate", [0, 0.0, 0.5, np.nextafter(1, 0), np.float32(0.25)])
def test_dropout_rates(rate):
    """Would catch 0 refused, or the largest rate below 1."""
    assert Dropout(rate).rate == rate


@pytest.mark.parametrize(
    "rate", [1, 1.0, 1.5, -np.nextafter(0, 1), float("nan"), "0.5", None], ids=repr
)
def test_invalid_dropout_rates(rate):
    """Would catch 1, which leaves nothing, and NaN, which compares with nothing."""
    text = f"rate must be at least 0 and below 1. Got rate={rate!r}."
    with pytest.raises(ValueError, match=f"^{re.escape(text)}$"):
        Dropout(rate)


@pytest.mark.parametrize(
    ("kernel", "stride", "padding"),
    [(3, 2, "same"), (2, 1, "same"), (2, 2, "same"), (2, 2, "valid"), ((3, 2), (1, 2), "same")],
)
def test_even_kernels_where_they_can_be_padded(kernel, stride, padding):
    """Would catch a refusal of more than needs refusing."""
    Conv(8, kernel, stride, padding)
