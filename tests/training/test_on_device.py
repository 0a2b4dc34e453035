"""Images in the memory of a device: the same batches, the same fit; and no waiting in between."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal
from skorch.callbacks import Callback
from torch.utils._python_dispatch import TorchDispatchMode

from sklearn_cnn import CNNClassifier, RandomErasing, RandomFlip
from sklearn_cnn.machine.device import CHUNK, CHUNK_ON_A_GPU, images_per_chunk, lies_on
from sklearn_cnn.training import examples as batches
from sklearn_cnn.training.examples import Examples, ExamplesOnDevice, IndexedBatches, placed

CPU = torch.device("cpu")
DTYPES = [
    "bool",
    "uint8",
    "int8",
    "int16",
    "uint16",
    "int32",
    "uint32",
    "int64",
    "uint64",
    "float16",
    "float32",
    "float64",
    "longdouble",
    ">u2",
    ">i4",
    ">f4",
    ">f8",
]


def dataset(images, rows=None):
    rows = np.arange(len(images)) if rows is None else rows
    return Examples(images, rows, np.arange(len(rows)), np.linspace(1, 2, len(rows)))


def drawn(dtype, shape=(23, 4, 5, 3), seed=0):
    """Values up to the largest that the type holds."""
    dtype = np.dtype(dtype)
    rng = np.random.default_rng(seed)
    if dtype.kind == "f":
        return rng.uniform(-100, 100, shape).astype(dtype)
    if dtype.kind == "b":
        return rng.integers(0, 2, shape).astype(dtype)
    native = dtype.newbyteorder("=")
    limits = np.iinfo(native)
    return rng.integers(limits.min, limits.max, shape, dtype=native, endpoint=True).astype(dtype)


def assert_equal_batches(one, other):
    (inputs, targets), (others, other_targets) = one, other
    assert inputs.keys() == others.keys()
    for name, values in inputs.items():
        assert others[name].dtype == values.dtype
        assert torch.equal(others[name], values)
    assert other_targets.dtype == targets.dtype
    assert torch.equal(other_targets, targets)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rows", [None, [20, 3, 3, 7, 0, 22]])
def test_batches_are_those_of_the_array(dtype, rows):
    """Shuffled and in order; rows that are some of the images. Catches pixels by image number."""
    host = dataset(drawn(dtype), rows if rows is None else np.array(rows))
    there = ExamplesOnDevice(host, CPU)
    assert len(there) == len(host)
    for seed in (None, 0):
        order = [None if seed is None else np.random.default_rng(seed).permutation for _ in "ab"]
        sides = (IndexedBatches(host, 5, order[0]), IndexedBatches(there, 5, order[1]))
        for one, other in zip(*sides, strict=True):
            assert_equal_batches(one, other)


@pytest.mark.parametrize("block", [1, 7, 22, 23, 24])
def test_copying_goes_block_by_block(monkeypatch, block):
    """Both sides of all images. Catches a last block that is lost."""
    monkeypatch.setattr(batches, "ROWS_OF_A_BLOCK", block)
    host = dataset(drawn("uint8"))
    assert_equal_batches(host[np.arange(23)], ExamplesOnDevice(host, CPU)[np.arange(23)])


@pytest.mark.parametrize(
    "index", [4, [4], np.array([4]), np.array([], dtype=np.int64), [3, 3], torch.tensor([5, 1])]
)
def test_an_index_of_any_kind(index):
    """One number is a batch of one, as for an array of images."""
    host = dataset(drawn("uint8"))
    there = ExamplesOnDevice(host, CPU)
    assert_equal_batches(host[np.atleast_1d(np.asarray(index, dtype=np.int64))], there[index])


def test_the_copy_is_its_own():
    """Catches a view, through which a callable that works in place would change X."""
    images = drawn("uint8")
    before = images.copy()
    there = ExamplesOnDevice(dataset(images), CPU)
    there[np.arange(5)][0]["images"].zero_()
    assert_equal_batches(there[np.arange(23)], dataset(before)[np.arange(23)])
    there.pixels.zero_()
    assert_array_equal(images, before)


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_images_that_are_read_only_or_broadcast(dtype):
    """As a search's processes get them. Catches torch's warning about memory it may not write to.

    torch gives it once a process, so it is told to give it each time.
    """
    images = drawn(dtype, (23, 4, 5, 1))
    images.flags.writeable = False
    torch.set_warn_always(True)
    try:
        for view in (images, np.broadcast_to(images[:1], images.shape)):
            there = ExamplesOnDevice(dataset(view), CPU)
            assert_equal_batches(there[np.arange(23)], dataset(view)[np.arange(23)])
    finally:
        torch.set_warn_always(False)


@pytest.mark.parametrize("kind", ["cpu", "mps"])
def test_only_cuda_holds_images(monkeypatch, kind):
    """A CPU's memory holds them already. Catches a second copy of X."""
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (2**40, 2**40))
    assert not lies_on(torch.device(kind), 1)


@pytest.mark.parametrize(("n_bytes", "expected"), [(1, True), (500, True), (501, False)])
def test_images_take_half_of_the_free_memory_at_most(monkeypatch, n_bytes, expected):
    """Free, not built in: 1000 of 10,000. Catches a GPU without room for the network."""
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (1000, 10_000))
    assert lies_on(torch.device("cuda"), n_bytes) is expected


def test_what_is_counted_is_the_rows_that_are_used(monkeypatch):
    """Ten images of 60 bytes of float64, three of them used: 3 * 60 * 8."""
    asked = []
    monkeypatch.setattr(batches, "lies_on", lambda *arguments: asked.append(arguments))
    host = dataset(np.zeros((10, 4, 5, 3)), np.array([1, 5, 6]))
    assert placed(host, CPU) is host
    assert asked == [(CPU, 3 * 60 * 8)]
    for dtype, n_bytes in (("uint8", 1), ("uint16", 4), ("uint32", 8), (">i2", 2)):
        asked.clear()
        placed(dataset(np.zeros((10, 4, 5, 3), dtype)), CPU)
        assert asked == [(CPU, 10 * 60 * n_bytes)]  # once widened to what torch computes with
    monkeypatch.setattr(batches, "lies_on", lambda *_: True)
    assert isinstance(placed(host, CPU), ExamplesOnDevice)


@pytest.mark.parametrize(
    ("error", "passes"),
    [
        (torch.OutOfMemoryError("CUDA out of memory."), False),
        (RuntimeError("MPS backend out of memory"), False),
        (RuntimeError("CUDA error: device-side assert triggered"), True),
    ],
)
def test_images_that_do_not_fit_after_all_come_in_batches(monkeypatch, error, passes):
    """Memory is in pieces, or taken meanwhile. Catches a fit that fails where it need not."""

    def fail(*_):
        raise error

    monkeypatch.setattr(batches, "lies_on", lambda *_: True)
    monkeypatch.setattr(batches, "ExamplesOnDevice", fail)
    host = dataset(np.zeros((10, 4, 5, 3)))
    if passes:
        with pytest.raises(RuntimeError, match="device-side"):
            placed(host, CPU)
    else:
        assert placed(host, CPU) is host


@pytest.mark.parametrize(
    ("device", "values", "chunk"),
    [
        ("cpu", [1000, 10], CHUNK),
        ("cpu", [2**15, 2**15], 64),  # 2**23 / 4 / 2**15 = 64
        ("cpu", [10, 2**15 + 1], 63),
        ("cpu", [2**19, 2**20], 2),
        ("cpu", [2**40], 1),
        ("cuda", [1000], CHUNK_ON_A_GPU),
        ("mps", [1000], CHUNK_ON_A_GPU),
        ("cuda", [2**18, 2**18], 1024),  # 2**31 / 4 / 2**19 = 1024
        ("cuda", [2**19, 1], 1023),
        ("cuda", [2**40], 1),
    ],
)
def test_chunks_of_a_device(device, values, chunk):
    """The largest maps fill a cache of a CPU, and all of them the memory of a GPU."""
    assert images_per_chunk(values, torch.float32, torch.device(device)) == chunk


def gray_and_coloured():
    rng = np.random.default_rng(0)
    gray = rng.integers(0, 256, (70, 16, 16), dtype=np.uint8)
    return {"gray": gray, "coloured": rng.uniform(0, 1, (70, 6, 7, 3))}


@pytest.mark.parametrize("images", gray_and_coloured().values(), ids=gray_and_coloured())
@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"conv_channels": (32, 64)},
        {"early_stopping": True, "validation_fraction": 0.5},
        {"augment": (RandomFlip(), RandomErasing()), "dropout": 0.2},
    ],
)
def test_a_fit_equals_one_with_images_that_come_in_batches(monkeypatch, images, parameters):
    """Bit for bit: weights, losses, scores. Images of weight zero are left out of both."""
    placed_there = []

    def lies(device, n_bytes):
        placed_there.append(n_bytes)
        return True

    y = np.arange(70) % 2
    weights = np.where(np.arange(70) % 7 == 0, 0, np.linspace(0.5, 2, 70))
    options = {"conv_channels": 4, "dense_units": 8, "batch_size": 32, "random_state": 0}
    model = CNNClassifier(**{**options, "max_epochs": 2, "learning_rate": 0.01, **parameters})
    model.fit(images, y, sample_weight=weights)
    expected = {name: value.clone() for name, value in model.net_.module_.state_dict().items()}
    losses, scores = model.loss_curve_, model.validation_scores_
    monkeypatch.setattr(batches, "lies_on", lies)
    model.fit(images, y, sample_weight=weights)
    assert sum(placed_there) == 60 * images[0].nbytes
    assert model.loss_curve_ == losses
    assert model.validation_scores_ == scores
    for name, value in model.net_.module_.state_dict().items():
        assert_array_equal(value, expected[name], err_msg=name)


class CountHostReads(TorchDispatchMode):
    """Counts what waits for a device: each number that is read from a tensor."""

    def __init__(self):
        super().__init__()
        self.n = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.n += func is torch.ops.aten._local_scalar_dense.default
        return func(*args, **(kwargs or {}))


@pytest.fixture
def count_reads(monkeypatch):
    """A function that calls another and counts numbers read, lists and arrays made of tensors."""

    def count(call):
        counting = CountHostReads()

        def counted(method):
            def call_and_count(tensor, *args, **kwargs):
                counting.n += 1
                return method(tensor, *args, **kwargs)

            return call_and_count

        with monkeypatch.context() as patch:
            for name in ("tolist", "numpy", "cpu"):
                patch.setattr(torch.Tensor, name, counted(getattr(torch.Tensor, name)))
            with counting:
                call()
        return counting.n

    return count


def test_the_counter_counts(count_reads):
    """Otherwise the test below would show nothing."""
    values = torch.ones(3)
    for read in (
        lambda: values[0].item(),
        lambda: float(values.sum()),
        lambda: int(values[1]),
        lambda: bool(values.all()),
        lambda: values.tolist(),
        lambda: values.numpy(),
        lambda: values.cpu(),
    ):
        assert count_reads(read) >= 1
    assert count_reads(lambda: values + values) == 0


class ReadEachLoss(Callback):
    """What the net must not do itself."""

    def on_batch_end(self, net, loss=None, **_):
        loss.item()


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"augment": (RandomFlip(), RandomErasing()), "dropout": 0.2},
        {"optimizer": "sgd", "schedule": "constant"},
        {"precision": "bfloat16"},
    ],
)
@pytest.mark.parametrize("on_device", [False, True])
def test_nothing_is_read_from_the_device_within_an_epoch(
    small, bars, monkeypatch, count_reads, parameters, on_device
):
    """20 batches and 40 read as many numbers: those of the end of an epoch.

    Catches a loss, a gradient or a count that is read after each batch, for which a GPU stands
    still.
    """
    monkeypatch.setattr(batches, "lies_on", lambda *_: on_device)
    images, target = bars[0].copy(), bars[1]

    def reads(batch_size, **options):
        model = small(batch_size=batch_size, max_epochs=2, **parameters, **options)
        return count_reads(lambda: model.fit(images, target))

    few, many = reads(10), reads(5)
    assert few == many < 60
    assert reads(5, callbacks=[ReadEachLoss()]) == many + 80


def test_losses_of_batches_are_there_when_the_epoch_ends(small, bars):
    """As skorch's history has them. Catches losses of another batch, or of the epoch before."""
    seen = []

    class Note(Callback):
        def on_batch_end(self, net, loss=None, training=False, **_):
            seen.append((training, loss.detach().clone()))

    model = small(
        batch_size=50, callbacks=[Note()], early_stopping=True, validation_fraction=0.5
    ).fit(*bars)
    for key, kind in (("train", True), ("valid", False)):
        noted = [float(loss) for training, loss in seen if training is kind]
        in_history = [
            batch[f"{key}_loss"]
            for epoch in model.history_
            for batch in epoch["batches"]
            if f"{key}_loss" in batch
        ]
        assert in_history == noted
        assert len(noted) == 3 * 2
