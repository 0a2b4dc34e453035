"""A batch in parts: equal for any number of threads, right by hand, and nothing left behind."""

import pickle
import signal
import threading
import weakref
from copy import deepcopy

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from skorch.callbacks import Callback
from torch import nn

from sklearn_cnn import (
    BatchNorm,
    CNNClassifier,
    Conv,
    Dense,
    Dropout,
    Flatten,
    Pool,
    RandomErasing,
    RandomFlip,
    RandomRotation,
    RandomShift,
)
from sklearn_cnn.machine import device as memory
from sklearn_cnn.network.build import build_network
from sklearn_cnn.training import parts
from sklearn_cnn.training.parts import (
    PART,
    REPLICAS,
    Replicas,
    add_as_tree,
    images_per_part,
)

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (150, 16, 16), dtype=np.uint8)
IMAGES.flags.writeable = False
TARGET = np.arange(150) % 3


@pytest.fixture(autouse=True)
def _threads_as_found():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def large(**parameters):
    """A classifier whose batches are cut, and whose fit takes a moment: 130 images, 2 epochs."""
    quick = {
        "conv_channels": (32, 64),
        "dense_units": 16,
        "learning_rate": 0.01,
        "batch_size": 75,
        "max_epochs": 2,
        "precision": "float32",
        "random_state": 0,
    }
    return CNNClassifier(**{**quick, **parameters})


def with_threads(n, train, **parameters):
    """Train in n threads; return the classifier."""
    torch.set_num_threads(n)
    model = train(large(**parameters))
    assert model.net_.is_cut  # otherwise the test would say nothing
    assert torch.get_num_threads() == n
    return model


def assert_equal_models(one, other):
    """The same weights, running statistics and losses, bit for bit."""
    states = [model.net_.module_.state_dict() for model in (one, other)]
    assert states[0].keys() == states[1].keys()
    for name, value in states[0].items():
        assert_array_equal(states[1][name], value, err_msg=name)
    assert one.loss_curve_ == other.loss_curve_
    assert one.validation_scores_ == other.validation_scores_
    if one.validation_scores_ is not None:
        assert one.history_[:, "valid_loss"] == other.history_[:, "valid_loss"]


def plainly(model):
    return model.fit(IMAGES, TARGET)


def weighted(model):
    return model.fit(IMAGES, TARGET, sample_weight=np.linspace(0.1, 3, 150))


def further(model):
    for start in (0, 50, 100):
        model.partial_fit(IMAGES[start : start + 50], TARGET[start : start + 50], classes=[0, 1, 2])
    return model


def warmly(model):
    return model.set_params(warm_start=True).fit(IMAGES, TARGET).fit(IMAGES, TARGET)


AUGMENT = (RandomFlip(), RandomShift(), RandomErasing(), RandomRotation())


@pytest.mark.parametrize(
    ("train", "parameters"),
    [
        (plainly, {}),
        (plainly, {"precision": "bfloat16", "max_epochs": 1}),
        (plainly, {"precision": "float64"}),
        (plainly, {"dropout": 0.5}),
        (plainly, {"augment": AUGMENT}),
        (plainly, {"dropout": 0.3, "augment": AUGMENT, "pooling": "mean"}),
        (plainly, {"early_stopping": True, "validation_fraction": 0.4}),
        (plainly, {"optimizer": "sgd", "batch_size": 150, "batch_norm": False}),
        (plainly, {"batch_size": 33}),
        (weighted, {"class_weight": "balanced"}),
        (further, {"dropout": 0.3, "augment": AUGMENT}),
        (warmly, {"dropout": 0.3, "augment": AUGMENT}),
    ],
)
def test_the_number_of_threads_changes_nothing(train, parameters):
    """1, 2 and 3 threads: the same weights, statistics and losses, to the last bit.

    Catches gradients that are added as they come, dropout from a generator that threads share, and
    a cut that follows the number of threads.
    """
    first, *others = (with_threads(n, train, **parameters) for n in (1, 2, 3))
    for other in others:
        assert_equal_models(first, other)


def test_more_threads_than_parts_and_more_parts_than_replicas(monkeypatch):
    """Parts of 5 images: 15 parts for 8 replicas. Catches a second part that is lost or late."""
    monkeypatch.setattr(parts, "PART", 5)
    first, *others = (with_threads(n, plainly, dropout=0.3) for n in (1, 2, 3, 20))
    for other in others:
        assert_equal_models(first, other)


def test_other_dropout_in_each_replica_and_each_epoch(monkeypatch):
    """Catches replicas that drop the same units, which would be one part eight times over.

    Fifty equal images in five parts: without dropout their losses are equal, with it they are not.
    """
    monkeypatch.setattr(parts, "PART", 10)
    losses = []

    class Watched(Replicas):
        def run(self, compute, n_images):
            results, gradients = super().run(compute, n_images)
            losses.append([float(loss) for loss, *_ in results])
            return results, gradients

    monkeypatch.setattr("sklearn_cnn.training.net.Replicas", Watched)
    images = np.repeat(IMAGES[:1], 51, axis=0)
    images[50] = 0
    layers = [Conv(32), Pool(), Conv(64), Pool(), Flatten(), Dense(32), Dropout(0.5)]
    options = {"layers": layers, "batch_size": 51, "label_smoothing": 0}
    large(**options).set_params(learning_rate=1e-30).fit(images, np.arange(51) == 50)
    assert [len(each) for each in losses] == [6, 6]
    assert len({loss for each in losses for loss in each}) == 12


class KeepGradients(Callback):
    """Keep the gradients of the first step."""

    def on_grad_computed(self, net, named_parameters, **_):
        if not hasattr(net, "first_gradients"):
            net.first_gradients = {name: p.grad.clone() for name, p in named_parameters}


class NotCut(Callback):
    """Have the net compute its batches whole."""

    def on_train_begin(self, net, **_):
        net.may_be_cut = False


@pytest.mark.parametrize("batch_size", [31, 33, 64, 67, 150, 1000])
@pytest.mark.parametrize("n_threads", [2])
def test_gradients_of_the_parts_are_those_of_the_whole(batch_size, n_threads):
    """Batches that parts divide and that they do not, and images of all weights.

    Catches a mean of means, a part that is counted twice, and a loss that is only the last part's.
    """
    torch.set_num_threads(n_threads)

    def first_step(callbacks):
        model = large(
            batch_norm=False,
            batch_size=batch_size,
            precision="float64",
            max_epochs=1,
            callbacks=callbacks,
        ).fit(IMAGES, TARGET, sample_weight=np.linspace(0.1, 3, 150))
        return model, model.net_.first_gradients

    cut, in_parts = first_step([KeepGradients()])
    whole, at_once = first_step([NotCut(), KeepGradients()])
    assert cut.net_.is_cut
    assert not whole.net_.is_cut
    assert_allclose(cut.loss_curve_, whole.loss_curve_, rtol=1e-9)
    assert in_parts.keys() == at_once.keys()
    for name, gradient in at_once.items():
        assert gradient.any()
        assert_allclose(in_parts[name], gradient, atol=1e-12, err_msg=name)


def described(layers, image_shape=(4, 4, 1), dtype=torch.float64):
    mean, std = np.zeros(image_shape[2]), np.ones(image_shape[2])
    return build_network(layers, image_shape, 2, mean, std, dtype)


def replicas_of(network, largest, per_pass, n_threads=1):
    made = Replicas(network, largest, per_pass, n_threads)
    assert made.n_threads <= max(1, per_pass // images_per_part(per_pass))
    return made


def results_of(made, compute, n_images):
    """What the parts give, without gradients."""
    results, gradients = made.run(lambda replica, rows: (compute(replica, rows), ()), n_images)
    assert gradients == ()
    return results


def rows_of(made, n_images):
    """The parts of a batch, in their order, and which replica computed each."""
    places = {id(replica): number for number, replica in enumerate(made.replicas)}
    return results_of(
        made, lambda network, rows: (rows.start, rows.stop, places[id(network)]), n_images
    )


@pytest.mark.parametrize(
    ("largest", "n_images", "sizes"),
    [
        (1, 1, [1]),
        (32, 32, [32]),
        (33, 33, [16, 17]),
        (33, 17, [8, 9]),
        (64, 64, [32, 32]),
        (65, 65, [21, 22, 22]),
        (128, 67, [16, 17, 17, 17]),
    ],
)
@pytest.mark.parametrize("n_threads", [1, 2, 3])
def test_the_cut_by_hand(largest, n_images, sizes, n_threads):
    """Nearly equal parts, all images once, in order. Catches a part of one image, or of 33."""
    made = replicas_of(described([Conv(2), Flatten()]), largest, 1000, n_threads)
    try:
        found = rows_of(made, n_images)
    finally:
        made.close()
    assert [stop - start for start, stop, _ in found] == sizes
    assert [start for start, _, _ in found] == list(np.cumsum([0, *sizes[:-1]]))
    assert found[-1][1] == n_images


@pytest.mark.parametrize("n_threads", [1, 2, 3, 50])
def test_each_part_has_its_replica_whatever_the_threads(n_threads):
    """20 parts for 8 replicas: part k belongs to replica k modulo 8."""
    made = replicas_of(described([Conv(2), Flatten()]), 20 * PART, 10_000, n_threads)
    try:
        found = rows_of(made, 20 * PART)
    finally:
        made.close()
    assert made.n_threads == min(n_threads, REPLICAS)
    assert [number for *_, number in found] == [part % REPLICAS for part in range(20)]


@pytest.mark.parametrize(
    ("per_pass", "size"), [(2, 1), (3, 1), (4, 2), (63, 31), (64, 32), (65, 32), (10**6, 32)]
)
def test_a_small_memory_makes_smaller_parts(per_pass, size):
    """Two parts at once fit. Catches as many parts in memory at once as there are threads."""
    assert images_per_part(per_pass) == size
    assert 2 * size <= per_pass
    made = replicas_of(described([Conv(2), Flatten()]), 128, per_pass, n_threads=8)
    try:
        found = rows_of(made, 128)
    finally:
        made.close()
    assert max(stop - start for start, stop, _ in found) <= size
    assert made.n_threads * size <= per_pass


def test_one_image_at_a_time_is_not_cut():
    """Catches a part of no images, and a loop without end."""
    assert images_per_part(1) == 0


@pytest.mark.parametrize("per_pass", [1, 2, 7, 40])
def test_a_fit_in_a_small_memory_equals_one_in_a_large_one(monkeypatch, per_pass):
    """Without batch normalisation the cut is no matter, whatever fits. float64.

    Catches images that are lost where a part is a single image, or where nothing can be cut.
    """
    options = {"batch_norm": False, "precision": "float64"}
    expected = large(**options).fit(IMAGES, TARGET)
    values = sum(int(np.prod(row.output_shape)) for row in expected.layers_)
    monkeypatch.setattr(memory, "MEMORY_FOR_ACTIVATIONS", per_pass * values * 8 * 3)
    model = with_threads(3, plainly, **options)
    assert model.net_.images_per_pass == per_pass
    assert_allclose(model.loss_curve_, expected.loss_curve_, rtol=1e-9)
    assert_allclose(model.predict_proba(IMAGES), expected.predict_proba(IMAGES), atol=1e-9)


def test_the_tree_by_hand():
    """A small number is lost beside a large one, so that the order shows in the sum.

    Catches a sum of one after another, which gives -1 here, and an odd one out that is lost.
    """
    branches = [torch.tensor([value]) for value in (1e8, -1e8, 1.0, -1.0, 1.0)]
    assert add_as_tree(branches).item() == 1
    branches = [torch.tensor([value]) for value in (1e8, 1.0, -1e8, -1.0)]
    assert add_as_tree(branches).item() == 0


@pytest.mark.parametrize("n", range(1, 9))
@pytest.mark.parametrize("n_branches", [1, 2, 4, 8])
def test_branches_of_the_tree_give_its_bits(n, n_branches):
    """Contiguous leaves of the tree padded to 8, then the sums. Catches zeros that are added."""
    leaves = torch.from_numpy(np.random.default_rng(n).standard_normal((n, 1000))).float()
    leaves *= 10.0 ** torch.arange(n)[:, None]
    leaves[:, 0] = -0.0
    size = 8 // n_branches
    shares = [leaves[i * size : (i + 1) * size].clone() for i in range(n_branches)]
    sums = [add_as_tree(list(share)) for share in shares if len(share)]
    whole = add_as_tree(list(leaves.clone()))
    assert_array_equal(add_as_tree(sums).numpy().view(np.int32), whole.numpy().view(np.int32))


class ScaledAsAWhole(nn.Sequential):
    """A module with a weight that has no axis."""

    trains_in_parts = True

    def __init__(self, image_shape, n_outputs):
        height, width, channels = image_shape
        convolution = nn.Conv2d(channels, 64, 3, padding=1)
        dense = nn.Linear(64 * height * width, n_outputs)
        super().__init__(convolution, nn.ReLU(), nn.Flatten(), dense)
        self.scale = nn.Parameter(torch.tensor(1.0))

    def forward(self, pixels):
        return super().forward(pixels) * self.scale


def test_a_weight_without_axes_is_cut_as_others_are():
    """Catches the length of a scalar, which has none."""
    images = np.random.default_rng(0).integers(0, 256, (130, 48, 48), dtype=np.uint8)
    model = CNNClassifier(layers=ScaledAsAWhole, max_epochs=1, random_state=0, learning_rate=1e-3)
    model.fit(images, np.arange(130) % 3)
    assert model.net_.is_cut
    assert model.net_.module_.network.scale.item() != 1


def set_weights(network):
    with torch.no_grad():
        network.conv1.weight.fill_(1.0)
        network.conv1.bias.zero_()


def test_running_statistics_are_the_means_over_the_parts_by_hand():
    """One step of 8 images of 2 pixels in 4 parts, then another.

    A part's variance is unbiased; the second step weighs one half. Catches the statistics of the
    first part alone, those of the whole batch, and counts that are averaged or added up.
    """
    network = described([Conv(1, 1), BatchNorm(), Flatten()], (1, 2, 1))
    set_weights(network)
    made = replicas_of(network, 8, 4, n_threads=2)  # 4 at once: parts of 2
    assert made.n_parts == 4
    steps = np.random.default_rng(1).uniform(0, 9, (2, 8, 1, 1, 2))
    try:
        for step in steps:
            batch = torch.from_numpy(step)
            results_of(made, lambda replica, rows, batch=batch: replica(batch[rows]), 8)
        assert network.norm1.running_mean.item() == 0  # until they are merged
        made.merge_statistics()
    finally:
        made.close()
    by_part = steps.reshape(2, 4, 4)
    for norm in (network.norm1, *(replica.norm1 for replica in made.replicas)):
        assert_allclose(norm.running_mean, [by_part.mean()])
        assert_allclose(norm.running_var, [by_part.var(axis=2, ddof=1).mean()])
        assert int(norm.num_batches_tracked) == 2


def test_nine_parts_in_eight_replicas():
    """One batch: the first replica has two parts, which weigh as much as one of another.

    Catches a replica for each part, or one that keeps the statistics of its first part alone.
    """
    network = described([Conv(1, 1), BatchNorm(), Flatten()], (1, 2, 1))
    set_weights(network)
    made = replicas_of(network, 18, 4, n_threads=2)
    assert (made.n_parts, len(made.replicas)) == (9, 8)
    batch = torch.from_numpy(np.random.default_rng(1).uniform(0, 9, (18, 1, 1, 2)))
    try:
        found = rows_of(made, 18)
        results_of(made, lambda replica, rows: replica(batch[rows]), 18)
        made.merge_statistics()
    finally:
        made.close()
    assert [number for _, _, number in found] == [0, 1, 2, 3, 4, 5, 6, 7, 0]
    means = batch.reshape(9, 4).numpy().mean(axis=1)
    expected = np.mean([(means[0] + means[8]) / 2, *means[1:8]])
    assert_allclose(network.norm1.running_mean, [expected])


def test_running_statistics_where_some_parts_are_empty():
    """Parts of one image, 8 of them; batches of 4 images fill every other part.

    Catches a mean over replicas that takes in the zeros and ones of those that saw no image.
    """
    network = described([Conv(1, 1), BatchNorm(), Flatten()], (1, 2, 1))
    set_weights(network)
    made = replicas_of(network, 8, 2)
    batch = torch.full((4, 1, 1, 2), 6.0, dtype=torch.float64)
    batch[..., 1] = 8
    try:
        computed = results_of(made, lambda replica, rows: len(replica(batch[rows])), 4)
        made.merge_statistics()
    finally:
        made.close()
    assert sum(computed) == 4
    assert_allclose(network.norm1.running_mean, [7.0])
    assert_allclose(network.norm1.running_var, [2.0])
    assert int(network.norm1.num_batches_tracked) == 1


def test_running_statistics_of_a_fit_are_those_of_its_parts():
    """A learning rate of nearly zero and one batch an epoch: the statistics by hand.

    Catches statistics that are never merged, of which prediction would know nothing.
    """
    model = large(batch_size=150, learning_rate=1e-30, weight_decay=0, max_epochs=1)
    model.fit(IMAGES, TARGET)
    network = deepcopy(model.net_.module_).train()
    norm = network.norm1
    sums = []
    order = np.random.default_rng(derived_seed()).permutation(150)
    hook = norm.register_forward_pre_hook(lambda _, inputs: sums.append(inputs[0].double()))
    with torch.no_grad():
        for part in range(5):
            rows = order[150 * part // 5 : 150 * (part + 1) // 5]
            network(torch.from_numpy(IMAGES[rows])[:, None])
    hook.remove()
    fitted = model.net_.module_.norm1
    means = torch.stack([maps.mean(dim=(0, 2, 3)) for maps in sums])
    variances = torch.stack([maps.var(dim=(0, 2, 3)) for maps in sums])
    assert len(sums) == 5
    assert_allclose(fitted.running_mean, means.mean(dim=0), rtol=1e-4, atol=1e-5)
    assert_allclose(fitted.running_var, variances.mean(dim=0), rtol=1e-4)


def derived_seed():
    """The seed of the order of the images in the first epoch of random_state=0."""
    first = int(np.random.RandomState(0).randint(2**31 - 1))
    return int(np.random.SeedSequence([first, 1]).generate_state(1)[0])


def test_replicas_share_the_weights_and_nothing_else():
    """Catches replicas that keep the weights of the beginning, and statistics that they share."""
    network = described([Conv(2), BatchNorm(), Flatten(), Dense(3), Dropout(0.5)])
    made = replicas_of(network, 100, 1000)
    made.seed_dropout(0)
    assert len(made.replicas) == 4
    generators = {id(replica.dropout1.generator) for replica in made.replicas}
    assert len(generators) == 4
    assert network.dropout1.generator is None
    for replica in made.replicas:
        assert replica.training
        for one, other in zip(network.parameters(), replica.parameters(), strict=True):
            assert one is other
        assert replica.norm1.running_mean is not network.norm1.running_mean
    made.close()


@pytest.mark.parametrize("n_threads", [1, 2, 3])
def test_gradients_are_added_in_the_order_of_the_replicas(n_threads):
    """1e16 + 1 - 1e16 is 0, and 1e16 - 1e16 + 1 is 1. Catches the order in which threads end."""
    for values, total in (([1e16, 1, -1e16], 0), ([1e16, -1e16, 1], 1), ([3], 3)):
        made = replicas_of(described([Conv(2), Flatten()]), 32 * len(values), 1000, n_threads)
        given = [(torch.tensor([value], dtype=torch.float64),) for value in values]
        try:
            results, gradients = made.run(
                lambda _, rows, given=given: (rows.start, given[rows.start // 32]), 32 * len(values)
            )
        finally:
            made.close()
        assert results == [0, 32, 64][: len(values)]
        assert [gradient.item() for gradient in gradients] == [total]


def test_a_replica_adds_its_parts_before_the_replicas_are_added():
    """Nine parts, eight replicas: part 8 goes to replica 0, so 1e16 - 1e16 precedes the ones."""
    values = [1e16, 1, 1, 1, 1, 1, 1, 1, -1e16]
    made = replicas_of(described([Conv(2), Flatten()]), 9 * 32, 1000)
    given = [(torch.tensor([value], dtype=torch.float64),) for value in values]
    try:
        _, gradients = made.run(lambda _, rows: (None, given[rows.start // 32]), 9 * 32)
    finally:
        made.close()
    assert gradients[0].item() == 7


def test_gradients_of_many_parts_are_not_all_held_at_once(monkeypatch):
    """30 parts in 8 replicas and 2 threads: each is as large as the weights.

    Catches memory that grows with the size of a batch, which is in parts so that it does not.
    """
    monkeypatch.setattr(parts, "PART", 5)
    alive, counts = weakref.WeakSet(), []
    grad = torch.autograd.grad

    class Gradient:
        """What a part's gradients are held by: as long as the first of them is there."""

    def counting(*args, **options):
        gradients = grad(*args, **options)
        mark = gradients[0].mark = Gradient()
        alive.add(mark)
        counts.append(len(alive))
        return gradients

    monkeypatch.setattr(torch.autograd, "grad", counting)
    with_threads(2, plainly, batch_size=150, max_epochs=1)
    assert len(counts) == 30
    assert max(counts) <= REPLICAS + 2


class Fails(Exception):
    """What a part raises on purpose."""


def ours():
    """Threads of ours that are alive: those of a pool."""
    return [t for t in threading.enumerate() if t.name.startswith("ThreadPoolExecutor")]


@pytest.mark.parametrize("error", [Fails, KeyboardInterrupt, torch.OutOfMemoryError])
@pytest.mark.parametrize(("part", "n_threads"), [(0, 1), (0, 2), (1, 2), (4, 3)])
def test_an_error_in_a_part_ends_the_fit_and_leaves_no_thread(monkeypatch, error, part, n_threads):
    """The first part is this thread's, the others are other threads'. The fit was a second one.

    Catches an error of a thread that nobody reads, parts that compute on, and a model half trained.
    """
    model = with_threads(n_threads, plainly, batch_size=150)
    expected = model.predict_proba(IMAGES)
    before = dict(vars(model))
    running = threading.active_count()
    run = Replicas.run
    computing = []

    def failing(self, compute, n_images):
        def compute_or_fail(network, rows):
            if rows.start == n_images * part // 5:
                raise error("on purpose")
            computing.append(rows.start)
            try:
                return compute(network, rows)
            finally:
                computing.pop()

        return run(self, compute_or_fail, n_images)

    monkeypatch.setattr(Replicas, "run", failing)
    for train in (model.fit, model.partial_fit, model.set_params(warm_start=True).fit):
        with pytest.raises(error, match="on purpose"):
            train(IMAGES, TARGET)
        assert not computing
        assert not ours()
        assert threading.active_count() == running
        assert torch.get_num_threads() == n_threads
        assert model.net_.replicas_ is None
        assert_array_equal(model.predict_proba(IMAGES), expected)
    assert {**vars(model), "warm_start": False} == before
    monkeypatch.setattr(Replicas, "run", run)
    assert model.fit(IMAGES, TARGET).n_iter_ == 4


def test_ctrl_c_in_the_middle_of_a_batch(monkeypatch):
    """A signal comes to the main thread while others compute. Catches threads that compute on."""
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    run = Replicas.run

    def interrupted(self, compute, n_images):
        def compute_and_press(network, rows):
            if rows.start == 0:
                signal.raise_signal(signal.SIGINT)
            return compute(network, rows)

        return run(self, compute_and_press, n_images)

    monkeypatch.setattr(Replicas, "run", interrupted)
    torch.set_num_threads(2)
    model = large()
    try:
        with pytest.raises(KeyboardInterrupt):
            model.fit(IMAGES, TARGET)
    finally:
        signal.signal(signal.SIGINT, handler)
    assert not ours()
    assert not hasattr(model, "classes_")


def test_no_result_comes_before_all_parts_have_ended():
    """The first part fails while another is at work. Catches an error that overtakes it."""
    made = replicas_of(described([Conv(2), Flatten()]), 64, 1000, n_threads=2)
    began, may_end, ended = threading.Event(), threading.Event(), []

    def compute(network, rows):
        if rows.start == 0:
            assert began.wait(60)
            threading.Timer(0.05, may_end.set).start()
            raise Fails
        began.set()
        assert may_end.wait(60)
        ended.append(rows.start)

    try:
        with pytest.raises(Fails):
            results_of(made, compute, 64)
        assert ended == [32]
    finally:
        made.close()


def test_two_threads_compute_at_once():
    """Each of two parts waits for the other to begin. Catches parts that are computed in turn."""
    made = replicas_of(described([Conv(2), Flatten()]), 64, 1000, n_threads=2)
    meeting = threading.Barrier(2, timeout=60)
    try:
        assert len(results_of(made, lambda network, rows: meeting.wait() + 1, 64)) == 2
    finally:
        made.close()


def test_every_part_computes_in_one_thread_of_torchs(monkeypatch):
    """Catches a pool whose threads take torch's default, so that 8 threads become 64."""
    torch.set_num_threads(3)
    seen = []

    run = Replicas.run

    def noting(self, compute, n_images):
        def compute_and_note(network, rows):
            seen.append((threading.get_ident(), torch.get_num_threads()))
            return compute(network, rows)

        return run(self, compute_and_note, n_images)

    monkeypatch.setattr(Replicas, "run", noting)
    large().fit(IMAGES, TARGET)
    assert {n for _, n in seen} == {1}
    assert len({thread for thread, _ in seen}) > 1
    assert torch.get_num_threads() == 3
    found = []
    later = threading.Thread(target=lambda: found.append(torch.get_num_threads()))
    later.start()
    later.join()
    assert found == [3]


def test_fits_leave_no_threads_behind():
    """Five fits. Catches a pool that is never shut down."""
    torch.set_num_threads(2)
    model = large(max_epochs=1, early_stopping=True, validation_fraction=0.4)
    model.fit(IMAGES, TARGET)
    before = threading.active_count()
    for _ in range(5):
        model.fit(IMAGES[:80], TARGET[:80])
        assert threading.active_count() == before


def test_a_pickle_holds_no_replicas():
    """As many bytes as one in which nothing was ever cut, but for a few. 8 replicas are 5 times it.

    Catches replicas that stay in the fitted net.
    """
    cut = with_threads(2, plainly, batch_size=150)
    assert cut.net_.replicas_ is None
    whole = large(batch_size=150, callbacks=[NotCut()]).fit(IMAGES, TARGET)
    assert abs(len(pickle.dumps(cut.net_)) - len(pickle.dumps(whole.net_))) < 1000
    loaded = pickle.loads(pickle.dumps(cut))
    assert_array_equal(loaded.predict_proba(IMAGES), cut.predict_proba(IMAGES))
    assert loaded.net_.is_cut
    assert_equal_models(loaded.partial_fit(IMAGES, TARGET), cut.partial_fit(IMAGES, TARGET))


class PickleTheNet(Callback):
    """Pickle and copy the net while it trains, as skorch's Checkpoint(f_pickle=...) does."""

    def on_epoch_end(self, net, **_):
        self.copies = (pickle.loads(pickle.dumps(net)), deepcopy(net))
        pixels = IMAGES[:20, ..., None]
        expected = net.predict_proba(pixels)
        for copy in self.copies:
            assert_array_equal(copy.predict_proba(pixels), expected)
        net.history.record("copied", True)


@pytest.mark.parametrize("parameters", [{}, {"augment": AUGMENT}, {"conv_channels": 4}])
def test_a_net_can_be_pickled_and_copied_while_it_trains(parameters):
    """Catches threads and generators, which cannot, in what skorch's checkpoints write."""
    options = {"callbacks": [PickleTheNet()], "max_epochs": 1, **parameters}
    assert large(**options).fit(IMAGES, TARGET).history_[:, "copied"] == [True]


def own_module(image_shape, n_outputs):
    height, width, channels = image_shape
    return nn.Sequential(
        nn.Conv2d(channels, 64, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(64, 64, 3, padding=1),
        nn.Flatten(),
        nn.Dropout(0.5),
        nn.Linear(64 * height * width, n_outputs),
    )


def test_a_convolution_before_a_dense_layer_is_too_small_to_be_cut():
    """320 x 28 x 28 + 32 x 28 x 28 x 10 multiplications: half a million.

    Catches a dense layer that is counted once for each pixel.
    """
    images = np.random.default_rng(0).integers(0, 256, (20, 28, 28), dtype=np.uint8)
    model = large(layers=[Conv(32), Flatten()], max_epochs=1)
    assert not model.fit(images, np.arange(20) % 10).net_.is_cut


def test_a_gradient_lies_in_memory_as_its_weight_does(monkeypatch):
    """torch's fused optimizers go through memory, not along axes. Catches weights mixed up."""
    differentiate = torch.autograd.grad
    trained = []
    for twist in (False, True):

        def turned(loss, weights, twist=twist, **options):
            gradients = differentiate(loss, weights, **options)
            turn = torch.contiguous_format if twist else torch.preserve_format
            return tuple(gradient.clone(memory_format=turn) for gradient in gradients)

        monkeypatch.setattr(torch.autograd, "grad", turned)
        model = large(max_epochs=1).fit(IMAGES, TARGET)
        assert model.net_.is_cut
        trained.append(model.predict_proba(IMAGES))
        for weight in model.net_.module_.parameters():
            assert weight.grad.stride() == weight.stride()
    assert_array_equal(*trained)


@pytest.mark.parametrize("parameters", [{"conv_channels": 4}, {"layers": own_module}])
def test_small_networks_and_modules_of_the_users_are_not_cut(monkeypatch, parameters):
    """A module may hold what bears no copy, and draws from torch's own generator.

    Catches a Replicas that is made all the same. The result does not depend on threads either.
    """

    def refuse(*_):
        raise AssertionError("it was cut")

    monkeypatch.setattr("sklearn_cnn.training.net.Replicas", refuse)
    losses = []
    for n_threads in (1, 3):
        torch.set_num_threads(n_threads)
        model = large(**parameters, max_epochs=1).fit(IMAGES, TARGET)
        assert not model.net_.is_cut
        losses.append(model.loss_curve_)
    assert losses[0] == losses[1]


def test_predictions_within_an_epoch_do_not_move_the_statistics():
    """A callback predicts after each epoch. Catches replicas and network that part for good."""

    class Predict(Callback):
        def on_epoch_end(self, net, **_):
            net.predict_proba(IMAGES[..., None])

    assert_equal_models(plainly(large(callbacks=[Predict()])), plainly(large()))


def test_a_cut_network_learns():
    """Bright rows against bright columns. Catches weights that the optimizer never steps."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 100, (120, 16, 16), dtype=np.uint8)
    target = np.arange(120) % 2
    for image, label in zip(images, target, strict=True):
        image[(slice(None), rng.integers(16)) if label else rng.integers(16)] = 250
    model = large(max_epochs=6, batch_size=40).fit(images[:80], target[:80])
    assert model.net_.is_cut
    assert model.score(images[80:], target[80:]) > 0.9


@pytest.mark.parametrize(("batch_size", "n_parts"), [(30, [1]), (150, [5])])
def test_parts_follow_a_batch_size_that_a_callback_sets(monkeypatch, batch_size, n_parts):
    """Catches parts of more images than memory is counted for, and more parts than it takes."""
    found = set()

    class Watched(Replicas):
        def run(self, compute, n_images):
            results, gradients = super().run(compute, n_images)
            found.add(len(results))
            return results, gradients

    class SetBatchSize(Callback):
        def on_train_begin(self, net, **_):
            net.batch_size = batch_size

    monkeypatch.setattr("sklearn_cnn.training.net.Replicas", Watched)
    large(callbacks=[SetBatchSize()]).fit(IMAGES, TARGET)
    assert sorted(found) == n_parts
