"""The share of each process in a training step, and combining the results.

On CPUs, a process has the replicas of one branch of the tree in which gradients are summed. Its
message is the sum of its branch, with the losses and logits of its parts. Every process adds the
branches in the same order, so the result is bit-identical to that of a single process.
"""

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from sklearn_cnn.training.parts import REPLICAS, Gradients, Replicas, add_as_tree
from sklearn_cnn.training.processes import Processes

LossAndLogits = tuple[torch.Tensor, torch.Tensor]


class BranchOfReplicas(Replicas):
    """The replicas of one process, which own a branch of the tree.

    Parameters
    ----------
    processes : Processes
        Processes that share each batch.
    n_outputs : int
        Outputs of the network.
    network, largest_batch, images_per_pass, n_threads
        As for :class:`Replicas`.

    Raises
    ------
    ValueError
        If the number of processes is not 1, 2, 4 or 8.
    """

    def __init__(
        self,
        processes: Processes,
        n_outputs: int,
        network: nn.Module,
        largest_batch: int,
        images_per_pass: int,
        n_threads: int,
    ) -> None:
        if REPLICAS % processes.n_processes:
            raise ValueError(
                f"On CPUs, data_parallel() needs 1, 2, 4 or {REPLICAS} processes. Got "
                f"{processes.n_processes}. Change the number of processes with torchrun "
                "--nproc-per-node."
            )
        self.processes = processes
        self.n_outputs = n_outputs
        super().__init__(network, largest_batch, images_per_pass, n_threads)

    @property
    def size(self) -> int:
        """Number of replicas per branch, including those that pad the tree."""
        padded = self.processes.n_processes
        while padded < self.n_replicas:
            padded *= 2
        return padded // self.processes.n_processes

    def _numbers_of(self, rank: int) -> range:
        return range(rank * self.size, min((rank + 1) * self.size, self.n_replicas))

    def _own_numbers(self) -> range:
        """Return the replica numbers of the branch; if it is empty, a number without parts."""
        return self._numbers_of(self.processes.rank) or range(self.n_parts, self.n_parts + 1)

    def run(  # type: ignore[override]
        self,
        differentiate: Callable[[nn.Module, slice], tuple[LossAndLogits, Gradients]],
        n_images: int,
    ) -> tuple[list[LossAndLogits], Gradients]:
        """Compute the parts of the branch, and receive those of the others."""
        results, gradients = super().run(differentiate, n_images)
        weights = [weight for weight in self.network.parameters() if weight.requires_grad]
        edges = self.edges(n_images)
        rows = [stop - start for start, stop in pairwise(edges)]
        n_active = min(len(rows), self.n_replicas)
        parts_of = [
            [part for part in range(len(rows)) if part % self.n_replicas in self._numbers_of(rank)]
            for rank in range(self.processes.n_processes)
        ]
        n_values = sum(weight.numel() for weight in weights)
        lengths = [sum(1 + rows[part] * self.n_outputs for part in parts) for parts in parts_of]
        message = torch.zeros(n_values + max(lengths), dtype=weights[0].dtype)
        flat = [*gradients, *(loss for loss, _ in results), *(logits for _, logits in results)]
        if flat:
            torch.cat([value.reshape(-1) for value in flat], out=message[: _length(flat)])
        messages = self.processes.gather(message)
        n_branches = -(-n_active // self.size)
        total = add_as_tree([branch[:n_values] for branch in messages[:n_branches]])
        found: dict[int, LossAndLogits] = {}
        for parts, received in zip(parts_of, messages, strict=True):
            losses, logits = received[n_values:].split_with_sizes(
                [len(parts), len(received) - n_values - len(parts)]
            )
            sizes = [rows[part] * self.n_outputs for part in parts]
            for part, loss, of_part in zip(
                parts, losses, logits[: sum(sizes)].split_with_sizes(sizes), strict=True
            ):
                found[part] = loss, of_part.view(rows[part], self.n_outputs)
        sums = total.split_with_sizes([weight.numel() for weight in weights])
        shaped = tuple(s.view(weight.shape) for s, weight in zip(sums, weights, strict=True))
        return [found[part] for part in range(len(rows))], shaped

    def _seen(self, of_replicas: list[list[torch.Tensor]]) -> list[list[torch.Tensor]]:
        """Return the statistics of the replicas that saw images, in any process."""
        like = of_replicas[0]
        if not like:
            return []
        message = torch.zeros((self.size, _length(like)), dtype=torch.float64)  # counts are exact
        for place, values in enumerate(of_replicas):
            message[place] = torch.cat([value.double().reshape(-1) for value in values])
        by_number = torch.cat(self.processes.gather(message))[: self.n_replicas]
        sizes = [value.numel() for value in like]
        return [
            [
                value.view(other.shape).to(other.dtype)
                for value, other in zip(row.split_with_sizes(sizes), like, strict=True)
            ]
            for row, has_seen in zip(by_number, self.has_seen, strict=True)
            if has_seen
        ]


class SplitBatch:
    """The rows of each batch that one process computes, for a module without replicas.

    Parameters
    ----------
    processes : Processes
        Processes that share each batch.
    network : torch.nn.Module
        Module, of which each process has a copy.
    """

    def __init__(self, processes: Processes, network: nn.Module) -> None:
        self.processes = processes
        self.network = network

    def rows(self, n_images: int) -> slice:
        """Return the rows of a batch of this process."""
        rank, n = self.processes.rank, self.processes.n_processes
        return slice(n_images * rank // n, n_images * (rank + 1) // n)

    def join(self, results: list[LossAndLogits], n_images: int, n_outputs: int) -> LossAndLogits:
        """Add up the gradients of the weights, and the loss; join the logits."""
        weights = [weight for weight in self.network.parameters() if weight.requires_grad]
        gradients = [torch.zeros_like(w) if w.grad is None else w.grad for w in weights]
        loss = sum((loss for loss, _ in results), torch.zeros((), device=weights[0].device))
        flat = torch.cat([value.reshape(-1) for value in (*gradients, loss)])
        sums = self.processes.add(flat)
        by_weight = sums[:-1].split_with_sizes([weight.numel() for weight in weights])
        for weight, gradient, total in zip(weights, gradients, by_weight, strict=True):
            weight.grad = gradient.copy_(total.view(weight.shape))
        n = self.processes.n_processes
        ends = [n_images * rank // n for rank in range(n + 1)]
        rows = [stop - start for start, stop in pairwise(ends)]
        logits = [logits for _, logits in results]
        return sums[-1], gather_rows(self.processes, logits, rows, n_outputs, sums)

    def merge_statistics(self) -> None:
        """Set the running statistics of the norms to their mean over the processes."""
        held = [
            value
            for module in self.network.modules()
            if isinstance(module, _NormBase) and module.training
            for value in module.buffers()
            if value.is_floating_point()
        ]
        if not held:
            return
        total = self.processes.add(torch.cat([value.reshape(-1) for value in held]))
        means = (total / self.processes.n_processes).split_with_sizes(
            [value.numel() for value in held]
        )
        for value, mean in zip(held, means, strict=True):
            value.copy_(mean.view(value.shape))


def gather_rows(
    processes: Processes,
    own: list[torch.Tensor],
    rows: list[int],
    n_outputs: int,
    like: torch.Tensor,
) -> torch.Tensor:
    """Join the outputs of all processes, each of which has some rows.

    Parameters
    ----------
    processes : Processes
        The processes.
    own : list of tensor of shape (n, n_outputs)
        Outputs of this process.
    rows : list of int
        Number of rows of each process.
    n_outputs : int
        Number of outputs per row.
    like : tensor
        Tensor with the dtype and device of the outputs.
    """
    message = like.new_zeros((max(rows), n_outputs))
    if own:
        message[: rows[processes.rank]] = torch.cat(own)
    received = processes.gather(message)
    return torch.cat([values[:n] for values, n in zip(received, rows, strict=True)])


def _length(values: list[torch.Tensor]) -> int:
    return sum(value.numel() for value in values)
