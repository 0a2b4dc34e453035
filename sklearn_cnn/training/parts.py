"""A batch divided into parts, computed in parallel by replicas of the network.

The division only depends on the batch. Each part is computed in one thread, and the gradients of
the replicas are summed as a balanced binary tree. The result is therefore bit-identical for any
number of threads, and of processes that each hold a branch of the tree.

Batch normalisation uses the statistics of each part, as in "ghost batch normalisation" (Hoffer,
Hubara and Soudry, "Train longer, generalize better", NeurIPS 2017).
"""

from collections.abc import Callable, Iterator, Sequence
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
"""Number of images per part: enough for efficient arithmetic, few enough for the cache."""

REPLICAS = 8
"""Maximum number of replicas of the network, and thereby of threads."""


def images_per_part(images_per_pass: int) -> int:
    """Return the number of images per part, so that two parts fit in memory; 0 if none do."""
    return min(PART, images_per_pass // 2)


Result = TypeVar("Result")
Gradients = tuple[torch.Tensor, ...]


class Replicas:
    """Replicas of a network that share its weights and the parts of a batch.

    Part k belongs to replica k modulo the number of replicas.

    Parameters
    ----------
    network : torch.nn.Module
        Network of layer descriptions, or a module that declares that it may be replicated.
    largest_batch : int
        Number of images in the largest batch.
    images_per_pass : int
        Number of images that fit in memory at once.
    n_threads : int
        Number of available threads.
    """

    def __init__(
        self, network: nn.Module, largest_batch: int, images_per_pass: int, n_threads: int
    ) -> None:
        size = images_per_part(images_per_pass)
        self.network = network
        self.n_parts = -(-largest_batch // size)
        self.n_replicas = min(REPLICAS, self.n_parts)
        self.numbers = self._own_numbers()
        weights = {id(weight): weight for weight in network.parameters()}
        self.replicas = [deepcopy(network, dict(weights)) for _ in self.numbers]
        self.has_seen = [False] * self.n_replicas
        self.set_training()
        self.n_threads = max(1, min(n_threads, len(self.replicas), images_per_pass // size))
        self.pool = ThreadPoolExecutor(max(1, self.n_threads - 1), initializer=begin_in_one_thread)

    def _own_numbers(self) -> range:
        """Return the numbers of the replicas of this process, which are all replicas."""
        return range(self.n_replicas)

    def seed_dropout(self, seed: int) -> None:
        """Let the dropout of each replica draw from its own generator."""
        for number, replica in zip(self.numbers, self.replicas, strict=True):
            seed_dropout(replica, derive_seed(seed, number))

    def set_training(self) -> None:
        """Set the replicas to training mode, without updating the statistics of frozen parts."""
        if any(self.has_seen):
            self.merge_statistics()
        for replica in self.replicas:
            keep_frozen_statistics(replica.train())

    def edges(self, n_images: int) -> list[int]:
        """Return the starts of the parts of a batch, and the end of the last part."""
        n_parts = min(self.n_parts, n_images)
        return [n_images * part // n_parts for part in range(n_parts + 1)]

    def run(
        self, differentiate: Callable[[nn.Module, slice], tuple[Result, Gradients]], n_images: int
    ) -> tuple[list[Result], Gradients]:
        """Compute all parts of a batch.

        Parameters
        ----------
        differentiate : callable (replica, rows) -> (result, gradients)
            Function that computes one part. Its gradients are added up in place.
        n_images : int
            Number of images in the batch.

        Returns
        -------
        results : list
            Results in the order of the parts.
        gradients : tuple of tensor
            Sums of the gradients over the parts of each replica, then over the replicas, as a tree.
        """
        edges = self.edges(n_images)
        n_parts = len(edges) - 1
        for number in range(min(n_parts, self.n_replicas)):
            self.has_seen[number] = True
        results: dict[int, Result] = {}
        sums: list[Gradients] = [()] * len(self.replicas)

        def run_thread(thread: int) -> None:
            for place in range(thread, len(self.replicas), self.n_threads):
                for part in range(self.numbers[place], n_parts, self.n_replicas):
                    rows = slice(edges[part], edges[part + 1])
                    results[part], gradients = differentiate(self.replicas[place], rows)
                    sums[place] = _added(sums[place], gradients)
                    del gradients  # not held while the next part is computed

        with self._others_at_work(run_thread):
            run_thread(0)
        branches = [gradients for gradients in sums if gradients]

        def add_share(thread: int) -> None:
            """Add some rows of each gradient, replica by replica."""
            for gradients in zip(*branches, strict=True):
                rows = [g.unsqueeze(0) if g.ndim == 0 else g for g in gradients]
                first, last = (len(rows[0]) * i // self.n_threads for i in (thread, thread + 1))
                add_as_tree([row[first:last] for row in rows])

        if len(branches) > 1:
            with self._others_at_work(add_share):
                add_share(0)
        return [results[part] for part in sorted(results)], branches[0] if branches else ()

    @contextmanager
    def _others_at_work(self, work: Callable[[int], None]) -> Iterator[None]:
        """Let all threads except this one, number 0, call ``work`` with their numbers."""
        others = [self.pool.submit(work, thread) for thread in range(1, self.n_threads)]
        try:
            yield
        finally:
            wait(others)  # nothing continues computing after an error
        for other in others:
            other.result()

    def merge_statistics(self) -> None:
        """Set the running statistics of the network and every replica to the replicas' mean.

        They are linear in the statistics of the batches. The mean over replicas with equal numbers
        of parts is therefore that of one network which averages the statistics of the parts.
        """
        learning = [norm.training for norm in _norms(self.replicas[0])]  # not of a frozen part
        held = [
            [
                value
                for norm, learns in zip(_norms(network), learning, strict=True)
                if learns
                for value in norm.buffers()
            ]
            for network in (*self.replicas, self.network)
        ]
        *of_replicas, _ = held
        for place, found in enumerate(zip(*self._seen(of_replicas), strict=True)):
            stacked = torch.stack(found)
            is_count = not stacked.is_floating_point()
            merged = stacked.amax(dim=0) if is_count else stacked.mean(dim=0)
            for values in held:
                values[place].copy_(merged)
        self.has_seen = [False] * self.n_replicas

    def _seen(self, of_replicas: list[list[torch.Tensor]]) -> list[list[torch.Tensor]]:
        """Return the statistics of the replicas that saw images."""
        return [v for v, has_seen in zip(of_replicas, self.has_seen, strict=True) if has_seen]

    def close(self) -> None:
        """Shut down the threads."""
        self.pool.shutdown()


def _added(total: Gradients, more: Gradients) -> Gradients:
    """Add gradients to a sum in place, or start a sum with them."""
    if not total:
        return more
    for mine, other in zip(total, more, strict=True):
        mine.add_(other)
    return total


def add_as_tree(branches: Sequence[torch.Tensor]) -> torch.Tensor:
    """Add tensors into the first one, pair by pair, then pairs of pairs; a single one waits.

    The order is that of a tree padded to a power of two, so that the sums of its branches, added
    as a tree, give the same bits.
    """
    stride = 1
    while stride < len(branches):
        for first in range(0, len(branches) - stride, 2 * stride):
            branches[first].add_(branches[first + stride])
        stride *= 2
    return branches[0]


def _norms(network: nn.Module) -> list[nn.Module]:
    return [module for module in network.modules() if isinstance(module, _NormBase)]
