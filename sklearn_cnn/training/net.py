"""The skorch net: skorch's loop, history, callbacks and checkpoints over our batches and loss."""

import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy, deepcopy
from functools import partial
from itertools import islice
from math import prod
from pickle import PicklingError
from typing import Any

import numpy as np
import torch
from sklearn.utils import ClassifierTags, RegressorTags, Tags
from skorch import NeuralNet
from skorch.callbacks import Callback, EarlyStopping
from skorch.exceptions import SkorchException
from skorch.history import History
from skorch.utils import TeeGenerator, to_numpy
from torch import nn
from torch.nn.utils.parametrize import is_parametrized

from sklearn_cnn.augment.descriptions import Step
from sklearn_cnn.augment.transforms import BatchAugmentation, Transform
from sklearn_cnn.machine.device import (
    CHUNK,
    WORTH_IT,
    images_per_chunk,
    images_per_pass,
    resolve_device,
    send,
    trains_in_bfloat16,
)
from sklearn_cnn.machine.isolation import derive_seed, isolated, seed_generators
from sklearn_cnn.network.build import Design, may_train_in_parts
from sklearn_cnn.network.layers import Backbone
from sklearn_cnn.network.modules import (
    copy_network,
    copy_together,
    fold_norms,
    keep_frozen_statistics,
)
from sklearn_cnn.network.outputs import (
    LayerOutputs,
    LayerRow,
    Source,
    bfloat16_hazard,
    layer_table,
    n_multiplications,
)
from sklearn_cnn.network.stages import count_fixed, learning_stages, rate_shares
from sklearn_cnn.training.callbacks import (
    FiniteGuard,
    HeadFirst,
    LearningRateSchedule,
    Progress,
    Score,
    StopTraining,
    ValidationScore,
    is_user_defined,
)
from sklearn_cnn.training.checkpoints import CheckpointFolder, CheckpointWriter
from sklearn_cnn.training.examples import Batch, Examples, ImageDataset, IndexedBatches, placed
from sklearn_cnn.training.fingerprint import (
    Fingerprint,
    of_examples,
    of_machine,
    of_network,
    parameters_that_matter,
)
from sklearn_cnn.training.objectives import Objective
from sklearn_cnn.training.optimizer import FIRST_PHASE, SHARE, OptimizerRecipe, set_rate
from sklearn_cnn.training.parts import Gradients, Replicas, images_per_part
from sklearn_cnn.training.prediction import predict_layers, predict_maps, predict_outputs
from sklearn_cnn.training.processes import Processes, is_first, processes_of_fit
from sklearn_cnn.training.shares import (
    BranchOfReplicas,
    LossAndLogits,
    SplitBatch,
    gather_rows,
)

LossOfPart = Callable[[nn.Module, slice], LossAndLogits]
"""(network, rows) -> the share of some rows of a batch in its loss, and their logits."""

OF_ONE_TRAINING = (
    "augmentation_", "epoch_seed_", "frozen_", "images_per_pass_", "in_bfloat16_", "n_fixed_",
    "processes_", "replicas_", "seed_", "split_", "weights_",
)  # fmt: skip
"""Attributes that a net has while it trains, and that no copy of it has."""

BYTES_OF_MAPS = 1 << 30
"""What the maps of fixed layers may take in memory; where it is more, each step computes them."""

CALLS_NOTED = 32
"""Entries of the history that ``partial_fit`` keeps, so that its calls do not slow down."""


class ConvNet(NeuralNet):
    """A :class:`skorch.NeuralNet` that trains on indexed batches of weighted images.

    It differs from its parent in six ways: batches are gathered by index; the loss is weighted; a
    batch is computed in parts, side by side or in turn; the losses of batches stay on the device
    until the epoch ends; :class:`StopTraining` ends training and Ctrl-C is passed on; to a scorer
    it is a classifier of class numbers, or a regressor of standardised targets.

    Parameters
    ----------
    module : callable () -> torch.nn.Module
        Builds the network.
    design : tuple of layer descriptions, or callable
        What it is built of.
    optimizer : OptimizerRecipe
        Makes the optimizer.
    objective : Objective
        What the outputs mean, and their loss.
    batch_size : int
        Images of a training step, at most.
    device : torch.device
        Where to compute.
    precision : str
        As for the estimator.
    """

    layers_: tuple[LayerRow, ...] = ()
    """The layers of the network: their sizes tell how much memory and work an image takes."""

    may_be_cut = False
    """Whether replicas of the network may share a batch."""

    n_epochs_of_fits = 0
    """Entries of the history that ``forget_calls`` keeps."""

    device: torch.device
    optimizer: OptimizerRecipe
    augmentation_: BatchAugmentation | None = None
    epoch_seed_ = 0
    frozen_: list[bool] | None = None
    images_per_pass_: int | None = None
    in_bfloat16_ = False
    n_fixed_ = 0
    processes_: Processes | None = None
    replicas_: Replicas | None = None
    seed_ = 0
    split_: SplitBatch | None = None
    weights_: tuple[nn.Parameter, ...] = ()

    def __init__(
        self,
        module: Callable[[], nn.Module],
        *,
        design: Design,
        optimizer: OptimizerRecipe,
        objective: Objective,
        batch_size: int,
        device: torch.device,
        precision: str,
    ) -> None:
        criterion = objective.criterion
        super().__init__(
            module,
            criterion=criterion.func,
            optimizer=optimizer,
            batch_size=batch_size,
            device=device,
            train_split=None,
            predict_nonlinearity=objective.interpret,
            verbose=0,
            **{f"criterion__{name}": value for name, value in criterion.keywords.items()},
        )
        self.__dict__["design"] = design  # building refuses a module, and says why
        self.objective = objective
        self.precision = precision

    def __sklearn_tags__(self) -> Tags:
        tags: Tags = super().__sklearn_tags__()
        tags.estimator_type = self.objective.estimator_type
        if tags.estimator_type == "classifier":
            tags.classifier_tags = ClassifierTags()
        else:
            tags.regressor_tags = RegressorTags()
        return tags

    @property
    def classes_(self) -> np.ndarray | list[np.ndarray]:
        """The class numbers, or two classes for each of several labels."""
        return self.objective.classes

    def start(self, image_shape: tuple[int, int, int], seed: int) -> None:
        """Build the network, and draw its first weights.

        Raises
        ------
        ValueError, TypeError
            If the layers do not fit images of that shape.
        """
        # the first optimizer imports torch's compiler, which adds a warning filter permanently
        with (
            isolated(self.device, seed),
            torch.device("cpu"),  # built there, then moved, whatever the default device
            warnings.catch_warnings(),
        ):
            self.initialize()
            self.layers_ = layer_table(self.module_, image_shape)
        self.may_be_cut = not callable(self.design) or may_train_in_parts(self.module_.network)

    def resume(self, module: nn.Module, layers: tuple[LayerRow, ...], history: History) -> None:
        """Take a network that was trained before, with its layers and history."""
        build = self.__dict__["module"]
        self.module = lambda: module
        with isolated(self.device, 0), warnings.catch_warnings():
            self.initialize()
        self.module, self.layers_, self.history_ = build, layers, history
        self.may_be_cut = not callable(self.design) or may_train_in_parts(self.module_.network)
        self.module_.eval()

    def get_default_callbacks(self) -> list[tuple[str, Callback]]:
        """Return skorch's own callbacks, less the one that prints."""
        return [item for item in super().get_default_callbacks() if item[0] != "print_log"]

    def initialize_optimizer(self, triggered_directly: object = None) -> "ConvNet":
        """Make the optimizer of the network's parameters."""
        self.optimizer_ = self._new_optimizer()
        return self

    def _new_optimizer(self) -> torch.optim.Optimizer:
        shares = rate_shares(self.module_) if self.is_pretrained else {}
        return self.optimizer.make(self.get_all_learnable_params(), shares)

    @property
    def is_pretrained(self) -> bool:
        """Whether the network begins with the stages of a pretrained one."""
        return not callable(self.design) and isinstance(self.design[0], Backbone)

    @property
    def n_fixed(self) -> int:
        """How many of the first layers give the same for an image while none is unfrozen."""
        return count_fixed(self.module_) if self.is_pretrained else 0

    @property
    def n_epochs(self) -> int:
        """Epochs run, also those that the history has forgotten."""
        return self.history[-1]["epoch"] if self.history else 0

    @property
    def dtype(self) -> torch.dtype:
        """Floating-point type of the network, in which it predicts."""
        dtype: torch.dtype = next(self.module_.buffers()).dtype
        return dtype

    @property
    def n_parameters(self) -> int:
        """Number of values in the weights, also those that no layer's row has."""
        return sum(weight.numel() for weight in self.module_.parameters())

    @property
    def n_trainable(self) -> int:
        """Number of those that learn."""
        return sum(w.numel() for w in self.module_.parameters() if w.requires_grad)

    def rows_from(self, n_fixed: int) -> tuple[LayerRow, ...]:
        """Return the rows of the layers after the first ones of the network."""
        fixed = {name for name, _ in list(self.module_.named_children())[:n_fixed]}
        return tuple(row for row in self.layers_ if row.name.partition(".")[0] not in fixed)

    # Nothing about the machine is stored: these follow the layers and the current device.

    @property
    def _rows_that_run(self) -> tuple[LayerRow, ...]:
        """The rows of all layers; while the maps of fixed ones are known, of the others."""
        return self.rows_from(self.n_fixed_) if self.n_fixed_ else self.layers_

    @property
    def _values_of_maps(self) -> list[int]:
        return [prod(layer.output_shape) for layer in self._rows_that_run]

    @property
    def images_per_pass(self) -> int:
        """Images whose maps and gradients fit in memory at once."""
        if self.images_per_pass_ is not None:
            return self.images_per_pass_
        return images_per_pass(sum(self._values_of_maps), self.dtype, passes=3)

    @property
    def chunk(self) -> int:
        """Images of a chunk of prediction."""
        return images_per_chunk(self._values_of_maps, self.dtype, self.device)

    @property
    def is_large(self) -> bool:
        """Whether a step takes long enough for threads or processes to share it."""
        return n_multiplications(self._rows_that_run) >= WORTH_IT

    @property
    def is_cut(self) -> bool:
        """Whether a batch is cut into parts that threads compute side by side."""
        return self.may_be_cut and self.is_large and self.device.type == "cpu"

    @property
    def in_bfloat16(self) -> bool:
        """Whether convolutions and dense layers multiply bfloat16 in training."""
        hazard = bfloat16_hazard(self.module_, self.layers_)
        work = n_multiplications(self._rows_that_run)
        return trains_in_bfloat16(self.precision, self.device, work, hazard)

    def outputs(self, images: np.ndarray) -> np.ndarray:
        """Compute the outputs, of shape (n, n_outputs), of images (n, height, width, channels)."""
        return predict_outputs(self.module_, images, self.chunk, self._chunks_at_once)

    def layer_outputs(self, images: np.ndarray, sources: Sequence[Source]) -> list[np.ndarray]:
        """Compute what some layers give for images (n, height, width, channels)."""
        with isolated(self.device):  # copies the network
            network = LayerOutputs(self.module_, sources)
            return predict_layers(network, images, self.chunk, self._chunks_at_once)

    @property
    def _chunks_at_once(self) -> int:
        """How many chunks threads may compute side by side; a user-defined module is not shared."""
        return 1 if callable(self.design) else self.images_per_pass // self.chunk

    def on_epoch_begin(self, net: NeuralNet, **_: object) -> None:
        """Begin an entry of the history, numbered after the last one, and its draws.

        All that an epoch draws follows from the seed and its number, so that training may go on
        after any of them without the state of a generator.
        """
        number = self.n_epochs + 1
        self.history.new_epoch()
        self.history.record("epoch", number)
        seed = self.epoch_seed_ = derive_seed(self.seed_, number)
        rank = 0 if self.split_ is None else self.split_.processes.rank
        seed_generators(self.device, derive_seed(seed, rank) if rank else seed)
        if self.augmentation_ is not None:
            self.augmentation_.seed(seed)
        if self.replicas_ is not None:
            self.replicas_.seed_dropout(seed)

    def end_fit(self) -> None:
        """Keep the history for good, and the optimizer as a new one: its state may be large."""
        self.n_epochs_of_fits = len(self.history)
        fresh = self._new_optimizer()
        self.optimizer_.state.clear()
        self.optimizer_.state.update(fresh.state)

    def forget_calls(self) -> None:
        """Keep no more than the last entries of ``partial_fit`` in the history."""
        del self.history[self.n_epochs_of_fits : -CALLS_NOTED]

    def adjust(
        self,
        *,
        optimizer: OptimizerRecipe,
        objective: Objective,
        batch_size: int,
        precision: str,
        new_optimizer: bool,
        keep_rates: bool,
    ) -> None:
        """Follow the estimator's parameters, before the net is trained further.

        A partial fit goes on with the optimizer unless its parameters have changed; a warm start
        begins with a new one. ``keep_rates`` leaves the learning rates, and whatever else a
        scheduler has set, as they are, under the same condition.
        """
        self.batch_size, self.precision, self.objective = batch_size, precision, objective
        self.criterion_ = objective.criterion().to(self.device)
        former, self.optimizer = self.optimizer, optimizer
        has_same_rule, rate = former.rule == optimizer.rule, optimizer.learning_rate
        keep_rates = keep_rates and has_same_rule and former.learning_rate == rate
        groups = self.optimizer_.param_groups
        if new_optimizer or not has_same_rule:
            self.initialize_optimizer()
            if keep_rates:
                for group, before in zip(self.optimizer_.param_groups, groups, strict=True):
                    group.update({name: before[name] for name in before if name != "params"})
        elif not keep_rates:
            set_rate(self.optimizer_, rate, "lr", "initial_lr")
        for group in self.optimizer_.param_groups:  # a scheduler that goes on asks for it
            group.setdefault("initial_lr", rate * group.get(SHARE, 1.0))

    def train(
        self,
        training: Examples,
        validation: Examples | None,
        *,
        n_epochs: int,
        schedule: str,
        patience: int,
        tol: float,
        score: Score | None,
        callbacks: Sequence[object],
        augment: Sequence[Step],
        seed: int,
        verbose: int,
        parameters: Callable[[], Mapping[str, object]],
        checkpoint: str | os.PathLike[str] | None,
    ) -> list[Exception]:
        """Run epochs, from the weights as they are, unless a callback stops.

        ``patience`` is ``n_iter_no_change`` of the estimator; ``score`` is that of an epoch, None
        for the validation loss; ``callbacks`` come after those of this package; ``seed`` and the
        number of an epoch give the order of its images, their augmentation and dropout;
        ``parameters`` returns those of the estimator, for a fingerprint.

        Returns
        -------
        list of Exception
            What user-defined callbacks raised once training was done: the network is trained.

        Raises
        ------
        ValueError
            If training diverges.
        KeyboardInterrupt
            On Ctrl-C.
        """
        n_batches, rate = -(-len(training) // self.batch_size), self.optimizer.learning_rate
        is_tuned = not self.history and self.is_pretrained and bool(learning_stages(self.module_))
        n_first = int(FIRST_PHASE * n_epochs) if is_tuned else 0
        rates = LearningRateSchedule(schedule, rate, n_epochs * n_batches, n_first * n_batches)
        progress = Progress(n_epochs, n_batches)
        self.callbacks = [FiniteGuard(), rates]
        if validation is not None:
            self.callbacks.append(
                ValidationScore(patience, tol, rates, score, self.objective.score_names)
            )
        processes = processes_of_fit()
        if verbose and is_first(processes):
            self.callbacks.append(progress)
        self.callbacks += callbacks
        if n_first:
            self.callbacks.append(HeadFirst(n_first))
        writer = None
        if checkpoint is not None or processes is not None:
            fingerprint = self._fingerprint(training, validation, seed, parameters())
            if processes is not None:
                epochs = {"max_epochs": str(n_epochs)}
                processes.check_alike({**fingerprint, **epochs}, "were given unlike fits")
                if self.device.type == "cuda":
                    processes.check_own_gpu(self.device)
            if checkpoint is not None:
                if schedule != "constant" or n_first:  # epochs decide the shape of the rate
                    fingerprint["max_epochs"] = str(n_epochs)
                folder = CheckpointFolder(checkpoint, fingerprint, n_epochs)
                writer = CheckpointWriter(folder, len(self.history), processes)
                self.callbacks.append(writer)
        self.verbose = verbose
        self.lr, self.max_epochs = rate, n_epochs  # which loggers of skorch write down
        try:
            with isolated(self.device, seed) as n_threads:
                try:
                    examples, held_out = training, validation
                    if augment:
                        self.augmentation_ = BatchAugmentation(augment, seed, self.device)
                    else:
                        examples, held_out = self._with_maps(training, validation)
                    self.images_per_pass_ = self.images_per_pass
                    self.in_bfloat16_ = self.in_bfloat16
                    self.seed_ = seed
                    self.weights_ = tuple(self.module_.parameters())
                    self._initialize_callbacks()
                    self.notify("on_train_begin", X=training, y=None)
                    self._run_epochs(examples, held_out, n_epochs, n_threads, writer)
                    if processes is not None:
                        ended = {"weights": of_network(self.module_), "epochs": str(self.n_epochs)}
                        processes.check_alike(ended, "ended with unlike networks")
                finally:
                    if self.replicas_ is not None:
                        self.replicas_.close()
                    for name in OF_ONE_TRAINING:
                        self.__dict__.pop(name, None)
                return self._notify_of_end(training)
        finally:
            progress.close()
            self.module_.eval()

    def _fingerprint(
        self,
        training: Examples,
        validation: Examples | None,
        seed: int,
        parameters: Mapping[str, object],
    ) -> Fingerprint:
        """Hash what decides the outcome of a training from the weights as they are."""
        data = {"": of_examples(training), "validation ": of_examples(validation)}
        return {
            "parameters": parameters_that_matter(parameters),
            "random_state": str(seed),
            "epochs before": str(self.n_epochs),
            **{
                f"{prefix}{name}": value
                for prefix, of in data.items()
                for name, value in of.items()
            },
            "network": of_network(self.module_),
            **of_machine(self.device, self.in_bfloat16),
        }

    def _run_epochs(
        self,
        training: Examples,
        validation: Examples | None,
        n_epochs: int,
        n_threads: int,
        writer: CheckpointWriter | None,
    ) -> None:
        """Run the epochs that a checkpoint leaves, all without one, and write one at the end."""
        n_before, stopped_by = self.n_epochs, None
        if writer is not None:
            stopped_by = writer.go_on(self)
        n_left = n_epochs - (self.n_epochs - n_before)
        if stopped_by is not None or not n_left:
            return
        # a callback may have set the batch size
        largest = -(-len(training) // -(-len(training) // self.batch_size))
        self._share_work(largest, n_threads)
        try:
            with _missing_figures_explained(validation):
                self.fit_loop(training, validation, epochs=n_left)
        except StopTraining as stop:
            stopped_by = stop.by
        if writer is not None:
            writer.write(self, stopped_by)

    def _share_work(self, largest_batch: int, n_threads: int) -> None:
        """Have threads, and processes, share each batch where that is worth it."""
        processes, network, per_pass = processes_of_fit(), self.module_, self.images_per_pass
        in_parts = self.is_cut and images_per_part(per_pass) > 0
        if processes is None and in_parts:
            self.replicas_ = Replicas(network, largest_batch, per_pass, n_threads)
        elif processes is not None and in_parts:
            self.replicas_ = BranchOfReplicas(
                processes, self.objective.n_outputs, network, largest_batch, per_pass, n_threads
            )
        elif processes is not None and (self.is_large or self.device.type != "cpu"):
            self.split_ = SplitBatch(processes, network)
        if self.replicas_ is not None or self.split_ is not None:
            self.processes_ = processes

    def _with_maps(
        self, training: Examples, validation: Examples | None
    ) -> tuple[Examples, Examples | None]:
        """Give examples the maps of the fixed layers, which are computed once, if they fit."""
        n_fixed = self.n_fixed
        if not n_fixed:
            return training, validation
        layers = self.module_[:n_fixed]
        names = [name for name, _ in layers.named_children()]
        last = [row for row in self.layers_ if row.name.partition(".")[0] == names[-1]][-1]
        n_bytes = prod(last.output_shape) * self.dtype.itemsize
        if n_bytes * (len(training) + len(validation or ())) > BYTES_OF_MAPS:
            return training, validation
        layers = copy_network(layers)
        fold_norms(layers)
        compute = partial(predict_maps, layers, chunk=self.chunk, n_at_once=self._chunks_at_once)
        train = training.with_maps(compute(training.images, training.rows))
        valid = validation and validation.with_maps(compute(validation.images, validation.rows))
        self.n_fixed_ = n_fixed
        return train, valid

    def notify(self, method_name: str, **arguments: object) -> None:
        """Call every callback, then stop if one of them asked for it.

        skorch's ``EarlyStopping`` asks by raising KeyboardInterrupt. It is told from Ctrl-C by its
        count of misses.
        """
        getattr(self, method_name)(self, **arguments)
        stopped_by = None
        for name, callback in self.callbacks_:
            try:
                getattr(callback, method_name)(self, **arguments)
            except StopTraining:
                stopped_by = stopped_by or type(callback).__name__
            except KeyboardInterrupt:
                if method_name != "on_epoch_end" or not _has_lost_patience(callback):
                    raise
                stopped_by = stopped_by or type(callback).__name__
            except Exception as error:
                self._sign(error, name, callback, method_name)
                raise
        if stopped_by is not None:
            raise StopTraining(stopped_by)

    def _notify_of_end(self, training: Examples) -> list[Exception]:
        """Tell every callback that training is done, whatever a user-defined one raises."""
        late = []
        for name, callback in self.callbacks_:
            try:
                callback.on_train_end(self, X=training, y=None)
            except Exception as error:
                self._sign(error, name, callback, "on_train_end")
                if not is_user_defined(callback):
                    raise
                late.append(error)
        return late

    def _sign(self, error: Exception, name: str, callback: Callback, method_name: str) -> None:
        """Note in an error which user-defined callback raised it, and when."""
        if is_user_defined(callback):
            when = f" of epoch {self.n_epochs}" if "train" not in method_name else ""
            error.add_note(f"Raised by the callback {name!r} in its {method_name}{when}.")

    def get_dataset(self, X: object, y: object = None) -> object:
        """Wrap an array of images (n, height, width, channels); a data set stays as it is.

        A batch as :class:`skorch.callbacks.BatchScoring` hands it out is wrapped, too.
        """
        if isinstance(X, dict):
            holds = "maps" if "maps" in X else "images"
            return Examples.unlabelled(X[holds].permute(0, 2, 3, 1).cpu().numpy(), holds)
        return Examples.unlabelled(X) if isinstance(X, np.ndarray) else X

    def get_split_datasets(
        self, X: Examples, y: Examples | None = None, **_: object
    ) -> tuple[ImageDataset, ImageDataset | None]:
        """Return the two sets as they were split, in the memory of the device if they fit."""
        held_out = None if y is None else placed(y, self.device)
        return placed(X, self.device), held_out

    def get_iterator(self, dataset: ImageDataset, training: bool = False) -> IndexedBatches:
        """Iterate in batches: shuffled to train, in order to validate and predict."""
        if training:
            return IndexedBatches(dataset, self.batch_size, self._shuffled)
        return IndexedBatches(dataset, min(CHUNK, self.images_per_pass))

    def _shuffled(self, n: int) -> np.ndarray:
        """Return the order of the epoch."""
        return np.random.default_rng(self.epoch_seed_).permutation(n)

    def run_single_epoch(
        self,
        iterator: IndexedBatches | None,
        training: bool,
        prefix: str,
        step_fn: Callable[[Batch], dict[str, torch.Tensor]],
        **_: object,
    ) -> None:
        """Take a step a batch, and read the losses when all are queued.

        Reading a number waits until the device has computed it, so nothing is read in between.
        """
        if iterator is None:
            return
        losses = []
        outputs = None if training or self.processes_ is None else self._shared_outputs(iterator)
        for batch in iterator:
            self.notify("on_batch_begin", batch=batch, training=training)
            if outputs is None:
                step = step_fn(batch)
            else:
                y_pred = next(outputs)
                step = {"loss": self.get_loss(y_pred, batch[1], batch[0]), "y_pred": y_pred}
            losses.append(step["loss"].detach())
            self.history.record_batch(f"{prefix}_batch_size", len(batch[1]))
            self.notify("on_batch_end", batch=batch, training=training, **step)
        rows = self.history[-1]["batches"][-len(losses) :]
        for row, loss in zip(rows, torch.stack(losses).tolist(), strict=True):
            row[f"{prefix}_loss"] = loss / iterator.examples.mean_weight
        self.history.record(f"{prefix}_batch_count", len(losses))
        for shared in (self.replicas_, self.split_):
            if training and shared is not None:
                shared.merge_statistics()

    def _shared_outputs(self, iterator: IndexedBatches) -> Iterator[torch.Tensor]:
        """Compute some of the batches of validation images, and get the others' outputs."""
        assert self.processes_ is not None
        rank, n = self.processes_.rank, self.processes_.n_processes
        self._set_training(False)
        with torch.no_grad():
            own = [self.infer(inputs) for inputs, _ in islice(iterator, rank, None, n)]
        sizes = iterator.sizes
        rows = [sum(sizes[first::n]) for first in range(n)]
        like = torch.empty(0, dtype=self.dtype, device=self.device)
        by_rank = gather_rows(self.processes_, own, rows, self.objective.n_outputs, like)
        of_ranks = [
            iter(outputs.split_with_sizes(sizes[first::n]))
            for first, outputs in enumerate(by_rank.split_with_sizes(rows))
        ]
        return (next(of_ranks[number % n]) for number in range(len(sizes)))

    def infer(self, x: dict[str, torch.Tensor], **_: object) -> torch.Tensor:
        """Compute outputs of shape (n, n_outputs)."""
        network, values = self._entered(self.module_, x)
        logits: torch.Tensor = network(send(values, self.device))
        return logits

    def _entered(
        self, network: nn.Module, inputs: dict[str, torch.Tensor]
    ) -> tuple[nn.Module, torch.Tensor]:
        """Return the layers that a batch enters, and what enters them."""
        if "maps" in inputs:
            return nn.Sequential(*list(network.children())[self.n_fixed_ :]), inputs["maps"]
        return network, inputs["images"]

    def get_loss(
        self,
        y_pred: torch.Tensor,
        y_true: torch.Tensor,
        X: dict[str, torch.Tensor],
        training: bool = False,
    ) -> torch.Tensor:
        """Mean of weight * loss; the weights of a data set have a mean of 1."""
        losses: torch.Tensor = self.criterion_(y_pred, send(y_true, y_pred.device))
        weights = send(X["sample_weight"], losses.device).to(losses.dtype)
        return torch.mean(weights * losses)

    def train_step(self, batch: Batch, **_: object) -> dict[str, torch.Tensor]:
        """Take a step along the gradient of a batch.

        Only user-defined optimizers get a closure: none of torch's that is accepted needs one.
        """
        if not type(self.optimizer_).__module__.startswith("torch.optim."):
            step: dict[str, torch.Tensor] = super().train_step(batch)
            return step
        self.optimizer_.zero_grad()
        with torch.enable_grad():
            step = self.train_step_single(batch)
        named = TeeGenerator(self.get_all_learnable_params())
        self.notify("on_grad_computed", named_parameters=named, batch=batch, training=True)
        self.optimizer_.step()
        return step

    def train_step_single(self, batch: Batch, **_: object) -> dict[str, torch.Tensor]:
        """Compute loss and gradients of a batch, in parts that fit in memory."""
        self._set_parts_to_training()
        inputs, targets = batch
        name = "maps" if "maps" in inputs else "images"
        values, transforms = send(inputs[name], self.device), list[Transform]()
        if self.augmentation_ is not None:
            values, transforms = self.augmentation_.start(values)
        compute = partial(self._loss_of_part, {**inputs, name: values}, targets, transforms)
        if self.split_ is not None:
            results = self._in_turn(compute, self.split_.rows(len(targets)))
            results = [self.split_.join(results, len(targets), self.objective.n_outputs)]
        elif self.replicas_ is None:
            results = self._in_turn(compute, slice(0, len(targets)))
        else:
            weights = [weight for weight in self.weights_ if weight.requires_grad]
            differentiate = partial(_loss_and_gradients, compute, weights)
            results, gradients = self.replicas_.run(differentiate, len(targets))
            for weight, gradient in zip(weights, gradients, strict=True):
                if gradient.stride() != weight.stride():  # torch's fused optimizers do not look
                    gradient = torch.empty_like(weight).copy_(gradient)
                weight.grad = gradient
        losses, logits = zip(*results, strict=True)
        return {"loss": torch.stack(losses).sum(), "y_pred": torch.cat(logits)}

    def _set_parts_to_training(self) -> None:
        """Put the network into training; replicas and optimizer follow what a callback froze."""
        frozen = [not weight.requires_grad for weight in self.weights_]
        if self.module_.training and frozen == self.frozen_:
            return  # in a small network, the rest takes as long as a layer
        self._set_training(True)
        keep_frozen_statistics(self.module_)
        if frozen == self.frozen_:
            return
        if all(frozen):
            raise ValueError(
                "The network has nothing left to learn: a callback, such as skorch's Freezer, has "
                "frozen all of its parameters. Leave its last layer, at least, unfrozen."
            )
        if self.n_fixed < self.n_fixed_:
            raise ValueError(
                "A callback has unfrozen stages of the Backbone whose outputs were computed once, "
                "before training. Have them learn from the beginning, by Backbone(trainable=...)."
            )
        self.frozen_ = frozen
        if self.replicas_ is not None:
            self.replicas_.set_training()
        for group in self.optimizer_.param_groups:
            weights, state = group["params"], self.optimizer_.state
            if group.get("fused") and any("momentum_buffer" in state.get(w, ()) for w in weights):
                # torch's fused SGD fails on weights that it meets later than others
                for weight in weights:
                    state[weight].setdefault("momentum_buffer", torch.zeros_like(weight))

    def _loss_of_part(
        self,
        inputs: dict[str, torch.Tensor],
        targets: torch.Tensor,
        transforms: list[Transform],
        network: nn.Module,
        rows: slice,
    ) -> LossAndLogits:
        """Compute the share of some rows of a batch in its loss, and their logits."""
        part = {name: values[rows] for name, values in inputs.items()}
        layers, values = self._entered(network, part)
        values = BatchAugmentation.finish(values, transforms, rows)
        with torch.autocast(
            self.device.type, torch.bfloat16, enabled=self.in_bfloat16_, cache_enabled=False
        ):
            try:
                y_pred = layers(values)
            except ValueError as error:
                if "more than 1 value per channel" not in str(error):
                    raise
                raise ValueError(
                    f"Batch normalisation of the module that layers returned cannot learn from "
                    f"a single image at a time: {error}. Give more images at once, a "
                    "batch_size above 1, or use a norm that needs no batch, such as "
                    "torch.nn.GroupNorm."
                ) from error
        if self.in_bfloat16_:
            y_pred = y_pred.float()
        share = len(y_pred) / len(targets)
        return self.get_loss(y_pred, targets[rows], X=part, training=True) * share, y_pred

    def _in_turn(self, compute: LossOfPart, rows: slice) -> list[LossAndLogits]:
        """Compute as many images at once as fit in memory; the gradients add up in the weights."""
        results, size, n_images = [], self.images_per_pass, rows.stop - rows.start
        if n_images % size == 1 and size > 1:  # no pass of a single image, which has no variance
            size = -(-n_images // -(-n_images // size))
        for start in range(rows.start, rows.stop, size):
            loss, y_pred = compute(self.module_, slice(start, min(start + size, rows.stop)))
            torch.autograd.backward(loss)
            results.append((loss.detach(), y_pred.detach()))
        return results

    def predict(self, X: object) -> np.ndarray:
        """Predict what targets are, so that skorch's scoring callbacks can compare them."""
        return self.objective.decide(to_numpy(self.forward(X)))

    def score(
        self, X: object, y: np.ndarray | torch.Tensor, sample_weight: np.ndarray | None = None
    ) -> float:
        """Return the share of right predictions, or R2, for skorch's ``EpochScoring(None)``."""
        return self.objective.score(to_numpy(self.forward(X)), to_numpy(y), sample_weight)

    def as_if_stopped(self) -> "ConvNet":
        """Copy the net during training, or at its end, without its callbacks.

        The copy does not change any more. It has the weights that ``fit`` would keep: with early
        stopping, those of the best epoch.
        """
        net = self._copied()
        net.__dict__.update(callbacks=[], callbacks_=[], history_=copy(self.history))
        net.end_fit()
        for _, callback in self.callbacks_:
            if isinstance(callback, ValidationScore) and callback.weights_:
                net.module_.load_state_dict(callback.weights_)
        net.module_.eval()
        return net

    def copy_to(self, device: torch.device, dtype: torch.dtype) -> "ConvNet":
        """Copy the net to a device, in a floating-point type; its history is the same object.

        The net itself stays as it is, for threads that compute with it meanwhile.
        """
        with torch.inference_mode(False):
            net = self._copied()
            net.device, optimizer = device, net.optimizer_
            weights, state = list(net.module_.parameters()), optimizer.state_dict()
            net.module_.to(device, dtype)
            net.criterion_.to(device)
            # on some devices, the parameters are new objects
            moved = dict(zip(weights, net.module_.parameters(), strict=True))
            for group in optimizer.param_groups:
                group["params"] = [moved[weight] for weight in group["params"]]
            optimizer.state.clear()
            optimizer.load_state_dict(state)  # moves the moments to the weights
        return net

    def _copied(self) -> "ConvNet":
        names = ("module_", "criterion_", "optimizer_")
        copies = copy_together(*(getattr(self, name) for name in names))
        net: ConvNet = object.__new__(type(self))
        copied = dict(zip(names, copies, strict=True))
        net.__dict__.update(_without_training(vars(self)), **copied)
        return net

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what lives for one training only, and callbacks: they may hold anything."""
        parametrized = [n for n, m in self.module_.named_modules() if is_parametrized(m)]
        if parametrized:
            raise PicklingError(
                "torch cannot pickle parametrized layers (torch.nn.utils.parametrize), and the "
                f"module that layers returned has one, {parametrized[0]!r}. Save the values of "
                "net_.module_.state_dict() instead, or return layers without parametrizations."
            )
        kept = _without_training(super().__getstate__())
        return {**kept, "callbacks": [], "callbacks_": []}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Unpickle onto the former device, or onto the CPU if that is not available."""
        try:
            device = resolve_device(state["device"])
        except ValueError:
            device = torch.device("cpu")
        super().__setstate__({**state, "device": device})

    @contextmanager
    def rollback_on_error(self) -> Iterator[None]:
        """Put all back if training further fails: weights, optimizer, history and callbacks."""
        weights = deepcopy(self.module_.state_dict())
        learning = [weight.requires_grad for weight in self.module_.parameters()]
        names = (
            "objective", "optimizer", "optimizer_", "criterion_", "precision", "callbacks",
            "callbacks_",
        )  # fmt: skip
        settings = {name: getattr(self, name) for name in names}
        optimizer = deepcopy(self.optimizer_.state_dict())
        n_entries = len(self.history)
        try:
            yield
        except BaseException:
            self.module_.load_state_dict(weights)
            for weight, may_learn in zip(self.module_.parameters(), learning, strict=True):
                weight.requires_grad_(may_learn)
            self.__dict__.update(settings)
            self.optimizer_.load_state_dict(optimizer)
            del self.history[n_entries:]
            self.module_.eval()
            raise


@contextmanager
def _missing_figures_explained(validation: Examples | None) -> Iterator[None]:
    """Explain how to get the validation figures that a callback asks for in vain."""
    try:
        yield
    except (KeyError, ValueError, SkorchException) as error:
        is_missing = isinstance(error, KeyError) or "not found in history" in str(error)
        if validation is None and is_missing and "'valid" in str(error):
            raise ValueError(
                f"A callback asks for a figure of validation images, and there are none: {error}. "
                "Use early_stopping=True, which holds some out, or have the callback monitor "
                "'train_loss'."
            ) from error
        raise


def _loss_and_gradients(
    compute: LossOfPart, weights: list[nn.Parameter], network: nn.Module, rows: slice
) -> tuple[LossAndLogits, Gradients]:
    """Differentiate the loss of some rows; its network shares the weights."""
    loss, y_pred = compute(network, rows)
    # a user-defined module may hold a weight that it does not use
    gradients = torch.autograd.grad(loss, weights, allow_unused=True, materialize_grads=True)
    return (loss.detach(), y_pred.detach()), gradients


def _without_training(state: Mapping[str, object]) -> dict[str, object]:
    return {name: value for name, value in state.items() if name not in OF_ONE_TRAINING}


def _has_lost_patience(callback: Callback) -> bool:
    return isinstance(callback, EarlyStopping) and callback.misses_ >= callback.patience
