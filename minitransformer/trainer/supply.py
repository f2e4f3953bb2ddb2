"""What a run learns from: its examples in their order, update by update, from wherever the run is."""

import logging
import math
from collections.abc import Iterator
from typing import Any

from minitransformer.errors import InputError
from minitransformer.trainer.order import Order, begin_pass, is_stream, lengths_of
from minitransformer.trainer.processes import Processes
from minitransformer.trainer.reading import Collation, ReadUpdate, UpdatesOfPass, UpdatesOfStream, in_workers
from minitransformer.trainer.state import TrainerState
from minitransformer.training_arguments import TrainingArguments

logger = logging.getLogger(__name__)


class Supply:
    """The examples of a run, and how far it has come with them.

    `state` is told how long the run is, and how large its updates are.

    Raises: InputError for sizes of batches that cannot make up the updates that the run was begun with.
    """

    def __init__(
        self, dataset: Any, collation: Collation, args: TrainingArguments, processes: Processes, state: TrainerState
    ) -> None:
        self.dataset, self.collation, self.args, self.processes, self.state = dataset, collation, args, processes, state
        begin_pass(dataset, 0)
        self.settle_update_size()
        self.order: Order | None = None  # a stream has none but its own
        if not is_stream(dataset):
            self.order = Order(len(dataset), state.train_batch_size, args.seed_of_data, self.drop_last_below)
        self.settle_length()

    @property
    def batch_of_all(self) -> int:
        """How many examples all processes compute at once."""
        return self.args.per_device_train_batch_size * self.processes.n_processes

    @property
    def drop_last_below(self) -> int:
        """A rest of a pass that is no multiple of this is left out."""
        return self.batch_of_all if self.args.dataloader_drop_last else 1

    def settle_update_size(self) -> None:
        """Keep the size of an update over a resume: each step's number tells its examples by it.

        Raises: InputError if the batches of these processes do not make up such an update.
        """
        state, n_processes, size = self.state, self.processes.n_processes, self.args.per_device_train_batch_size
        kept = state.train_batch_size or self.batch_of_all * self.args.gradient_accumulation_steps
        if kept % self.batch_of_all:
            raise InputError(
                f"the run was begun with updates of {kept} examples, which {n_processes} processes with "
                f"per_device_train_batch_size={size} cannot make up; choose sizes whose product divides {kept}"
            )
        if state.train_batch_size and (state.n_processes, state.batch_of_process) != (n_processes, size):
            self.tell_of_other_sizes(kept)
        state.train_batch_size, state.n_processes, state.batch_of_process = kept, n_processes, size

    def tell_of_other_sizes(self, kept: int) -> None:
        """Say what stays exact when a run goes on in batches of another size, or in another number of processes."""
        if self.processes.is_first:
            logger.warning(
                "the run was begun by %d processes with %d examples at once, and goes on with %d and %d. Its updates "
                "keep their %d examples, and read the same ones in the same order; its numbers are equal up to "
                "rounding, and with dropout not the same",
                self.state.n_processes,
                self.state.batch_of_process,
                self.processes.n_processes,
                self.args.per_device_train_batch_size,
                kept,
            )

    def settle_length(self) -> None:
        """How many steps and passes there will be."""
        args, state, order = self.args, self.state, self.order
        if order is not None and not order.updates_per_pass:
            raise InputError(
                f"dataloader_drop_last=True leaves nothing of {order.n_examples} examples in batches of "
                f"{self.batch_of_all}; lower per_device_train_batch_size"
            )
        state.max_steps = args.max_steps
        if args.max_steps < 1 and order is not None:
            state.max_steps = math.ceil(args.num_train_epochs * order.updates_per_pass)
        state.num_train_epochs = 1 if order is None else math.ceil(state.max_steps / order.updates_per_pass)

    @property
    def updates_per_pass(self) -> int:
        """How many updates a pass makes; a stream is taken to be one."""
        return self.state.max_steps if self.order is None else self.order.updates_per_pass

    @property
    def is_at_end_of_pass(self) -> bool:
        """Whether the pass is complete; of a stream nobody knows before it ends."""
        return self.order is not None and self.state.updates_of_this_pass == self.updates_per_pass

    def updates_of_pass(self) -> Iterator[ReadUpdate]:
        """The updates that are left of this pass; what earlier ones read is not read again."""
        args, state, order, dataset, collation = self.args, self.state, self.order, self.dataset, self.collation
        begin_pass(dataset, state.passes)
        here = {"rank": self.processes.rank, "n_processes": self.processes.n_processes}
        number, size = state.passes + 1, args.per_device_train_batch_size
        if order is None:
            stream = UpdatesOfStream(
                dataset,
                collation,
                number,
                size,
                state.train_batch_size,
                state.examples_of_this_pass,
                self.drop_last_below,
                **here,
            )
            return in_workers(stream, args.dataloader_num_workers)
        lengths = None
        if args.train_sampling_strategy == "group_by_length":
            lengths = lengths_of(dataset, args.disable_tqdm or not self.processes.is_first)
        updates = order.updates(state.passes, len(dataset), lengths, first=state.updates_of_this_pass)
        updates = updates[: state.max_steps - state.global_step]
        return in_workers(UpdatesOfPass(dataset, collation, updates, number, size, **here), args.dataloader_num_workers)
