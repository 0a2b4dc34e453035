"""A batch cut into parts, computed side by side by replicas of the network.

The cut depends on the batch alone. Each part is computed in one thread, and the gradients are
added in a fixed order, so the result is equal bit for bit for any number of threads.

Batch normalisation takes the statistics of each part, as in "ghost batch normalisation" (Hoffer,
Hubara and Soudry, "Train longer, generalize better", NeurIPS 2017).
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from copy import deepcopy
from typing import TypeVar

import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from sklearn_cnn.machine.isolation import begin_in_one_thread, derive_seed
from sklearn_cnn.network.modules import keep_frozen_statistics, seed_dropout

PART = 32
"""Images of a part: enough for efficient arithmetic, few enough for the cache."""

REPLICAS = 8
"""The most replicas of the network, and so threads."""


def images_per_part(images_per_pass: int) -> int:
    """Return how many images a part holds, so that two at once fit in memory; 0 if none do."""
    return min(PART, images_per_pass // 2)


Result = TypeVar("Result")
Gradients = tuple[torch.Tensor, ...]


class Replicas:
    """Replicas of a network that share its weights, each with its own share of a batch's parts.

    Parameters
    ----------
    network : torch.nn.Module
        Built of layer descriptions, or a module that says it may be replicated.
    largest_batch : int
        Images of the largest batch.
    images_per_pass : int
        Images that fit in memory at once.
    n_threads : int
        Threads that are available.
    seed : int
        Seed of the replicas' dropout.
    """

    def __init__(
        self,
        network: nn.Module,
        largest_batch: int,
        images_per_pass: int,
        n_threads: int,
        seed: int,
    ) -> None:
        size = images_per_part(images_per_pass)
        self.network = network
        self.n_parts = -(-largest_batch // size)
        n_replicas = min(REPLICAS, self.n_parts)
        weights = {id(weight): weight for weight in network.parameters()}
        self.replicas = [deepcopy(network, dict(weights)) for _ in range(n_replicas)]
        for number, replica in enumerate(self.replicas):
            seed_dropout(replica, derive_seed(seed, number))
        self.has_seen = [False] * n_replicas
        self.set_training()
        self.n_threads = max(1, min(n_threads, n_replicas, images_per_pass // size))
        self.pool = ThreadPoolExecutor(max(1, self.n_threads - 1), initializer=begin_in_one_thread)

    def set_training(self) -> None:
        """Put the replicas into training, with the statistics of frozen parts kept as they are."""
        if any(self.has_seen):
            self.merge_statistics()
        for replica in self.replicas:
            keep_frozen_statistics(replica.train())

    def run(
        self, differentiate: Callable[[nn.Module, slice], tuple[Result, Gradients]], n_images: int
    ) -> tuple[list[Result], Gradients]:
        """Compute all parts of a batch.

        Parameters
        ----------
        differentiate : callable (replica, rows) -> (result, gradients)
            Computes one part. Its gradients are added up in place.
        n_images : int
            Images of the batch.

        Returns
        -------
        results : list
            In the order of the parts.
        gradients : tuple of tensor
            Their sums: over the parts of each replica, then over the replicas.
        """
        n_parts, n_replicas = min(self.n_parts, n_images), len(self.replicas)
        edges = [n_images * part // n_parts for part in range(n_parts + 1)]
        results: dict[int, Result] = {}
        sums: list[Gradients] = [()] * n_replicas

        def run_thread(thread: int) -> None:
            for number in range(thread, n_replicas, self.n_threads):
                for part in range(number, n_parts, n_replicas):
                    rows = slice(edges[part], edges[part + 1])
                    results[part], gradients = differentiate(self.replicas[number], rows)
                    sums[number] = _added(sums[number], gradients)
                    del gradients  # not held while the next part is computed
                    self.has_seen[number] = True

        with self._others_at_work(run_thread):
            run_thread(0)
        total, *more = filter(None, sums) if any(sums) else [()]

        def add_share(thread: int) -> None:
            """Add some rows of each gradient, replica by replica."""
            for mine, *others in zip(total, *more, strict=True):
                first, last = (len(mine) * i // self.n_threads for i in (thread, thread + 1))
                for other in others:
                    mine[first:last].add_(other[first:last])

        if more:
            with self._others_at_work(add_share):
                add_share(0)
        return [results[part] for part in range(n_parts)], total

    @contextmanager
    def _others_at_work(self, work: Callable[[int], None]) -> Iterator[None]:
        """Have all threads but this one, whose number is 0, call ``work`` with their numbers."""
        others = [self.pool.submit(work, thread) for thread in range(1, self.n_threads)]
        try:
            yield
        finally:
            wait(others)  # nothing goes on computing after an error
        for other in others:
            other.result()

    def merge_statistics(self) -> None:
        """Give the network, and every replica, the mean of the replicas' running statistics.

        They are linear in those of the batches. The mean over replicas with equal numbers of parts
        is therefore that of one network which averages the statistics of a batch's parts.
        """
        norms = [_norms(replica) for replica in self.replicas]
        for mine, *replicas in zip(_norms(self.network), *norms, strict=True):
            if not replicas[0].training:
                continue  # it belongs to a frozen part
            seen = [
                norm for norm, has_seen in zip(replicas, self.has_seen, strict=True) if has_seen
            ]
            for name, value in mine.named_buffers():
                stacked = torch.stack([norm.get_buffer(name) for norm in seen])
                merged = stacked.mean(dim=0) if value.is_floating_point() else stacked.amax(dim=0)
                for norm in (mine, *replicas):
                    norm.get_buffer(name).copy_(merged)
        self.has_seen = [False] * len(self.replicas)

    def close(self) -> None:
        """Let the threads go."""
        self.pool.shutdown()


def _added(total: Gradients, more: Gradients) -> Gradients:
    """Add gradients to a sum, in its place, or begin one with them."""
    if not total:
        return more
    for mine, other in zip(total, more, strict=True):
        mine.add_(other)
    return total


def _norms(network: nn.Module) -> list[nn.Module]:
    return [module for module in network.modules() if isinstance(module, _NormBase)]
