"""One seed in, the same fit out; the global generators stay as they were found."""

import random
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal
from skorch.callbacks import Callback

from sklearn_cnn.machine.isolation import derive_seed, draw_seed, isolated

CPU = torch.device("cpu")


def global_states():
    kind, keys, *rest = np.random.get_state()  # noqa: NPY002
    numpy_state = (kind, keys.tobytes(), *rest)
    return torch.get_rng_state().numpy().tobytes(), numpy_state, random.getstate()


class Fail(Callback):
    """Draw from torch, then fail in the second epoch."""

    def on_epoch_end(self, net, **_):
        torch.rand(3)
        if len(net.history) == 2:
            raise RuntimeError("on purpose")


@pytest.mark.parametrize("random_state", [None, 0, np.random.RandomState(0)], ids=type)
def test_global_states_stay_as_they_were(small, bars, random_state):
    """Dropout, shuffling, splitting and first weights draw. Catches a global draw."""
    before = global_states()
    classifier = small(random_state=random_state, dropout=0.5, early_stopping=True)
    classifier.fit(*bars).predict(bars[0])
    assert global_states() == before


def test_global_states_stay_as_they_were_after_an_error(small, bars):
    """Catches a restore that is not in a finally."""
    before = global_states()
    with pytest.raises(RuntimeError, match="on purpose"):
        small(callbacks=[Fail()]).fit(*bars)
    assert global_states() == before


def test_global_states_do_not_matter(small, bars):
    """Catches a draw from a global generator where random_state is a number."""
    images, target = bars
    torch_state = torch.get_rng_state()
    try:
        results = []
        for seed in (1, 2):
            torch.manual_seed(seed)
            results.append(small(dropout=0.5).fit(images, target).predict_proba(images))
    finally:
        torch.set_rng_state(torch_state)
    assert_array_equal(*results)


def test_no_random_state_is_new_each_time_and_leaves_numpy_alone():
    """Catches ``np.random.mtrand._rand``, which check_random_state(None) would draw from."""
    before = global_states()
    seeds = {draw_seed(None) for _ in range(20)}
    assert len(seeds) == 20
    assert min(seeds) >= 0
    assert global_states() == before


@pytest.mark.parametrize("random_state", [0, 7, np.int64(7), 2**32 - 1])
def test_a_number_always_draws_the_same(random_state):
    expected = np.random.RandomState(random_state).randint(2**31 - 1)
    assert draw_seed(random_state) == draw_seed(random_state) == expected


def test_an_instance_moves_on():
    """Catches an instance copied, so that every fit of a loop is the same."""
    instance, same = np.random.RandomState(3), np.random.RandomState(3)
    first, second = draw_seed(instance), draw_seed(instance)
    assert first != second
    assert [draw_seed(same), draw_seed(same)] == [first, second]


def test_two_fits_with_an_instance_differ_and_with_a_number_do_not(small, bars):
    images, target = bars
    instance = small(random_state=np.random.RandomState(0))
    first = instance.fit(images, target).predict_proba(images)
    assert not np.array_equal(instance.fit(images, target).predict_proba(images), first)
    number = small(random_state=0)
    first = number.fit(images, target).predict_proba(images)
    assert_array_equal(number.fit(images, target).predict_proba(images), first)


@pytest.mark.parametrize("random_state", [1, 2])
def test_another_number_gives_another_fit(small, bars, random_state):
    """Catches a seed that is accepted and not used."""
    first, other = (small(random_state=state).fit(*bars).loss_curve_ for state in (0, random_state))
    assert first != other


def test_derived_seeds_depend_on_both_numbers():
    """Catches a sum of the two, under which (1, 2) and (2, 1) would be the same."""
    seeds = {derive_seed(seed, n) for seed in range(10) for n in range(10)}
    assert len(seeds) == 100
    assert derive_seed(5, 3) == derive_seed(5, 3)


def test_isolation_seeds_inside_and_restores_outside():
    before = torch.get_rng_state()
    draws = []
    for _ in range(2):
        with isolated(CPU, 11):
            draws.append(torch.rand(4))
    assert_array_equal(*draws)
    assert_array_equal(draws[0], torch.rand(4, generator=torch.Generator().manual_seed(11)))
    assert_array_equal(torch.get_rng_state(), before)


def test_isolation_nests_and_restores_after_an_error():
    """Catches a lock that a callback which fits another estimator would wait for for ever."""
    before = torch.get_rng_state()

    def fail_inside():
        with isolated(CPU, 1):
            expected = torch.rand(1, generator=torch.Generator().manual_seed(1))
            with isolated(CPU, 2):
                torch.rand(5)
            assert_array_equal(torch.rand(1), expected)
            raise RuntimeError("on purpose")

    with pytest.raises(RuntimeError, match="on purpose"):
        fail_inside()
    assert_array_equal(torch.get_rng_state(), before)
    with isolated(CPU, 3):  # the lock is free again
        pass


@pytest.mark.parametrize("seed", [0, 2**31, 2**32 - 1])
def test_torch_takes_every_seed_that_is_drawn(seed):
    with isolated(CPU, seed):
        torch.rand(1)


def test_two_fits_at_once_equal_one_after_the_other(small, bars):
    """Catches two threads that draw in turn from the one generator of the process."""
    images, target = bars

    def fit(seed):
        classifier = small(random_state=seed, dropout=0.3, max_epochs=6, batch_size=20)
        return classifier.fit(images, target).predict_proba(images)

    seeds = [0, 1, 2, 3]
    expected = [fit(seed) for seed in seeds]
    before = global_states()
    with ThreadPoolExecutor(2) as pool:
        at_once = list(pool.map(fit, seeds))
    assert_array_equal(at_once, expected)
    assert global_states() == before
