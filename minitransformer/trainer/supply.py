"""What a run learns from: its examples in their order, update by update, from wherever the run is."""

import logging
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Int

from minitransformer.errors import InputError
from minitransformer.trainer.order import (
    Batches,
    Order,
    OrderByTokens,
    begin_pass,
    is_stream,
    lengths_of,
    require_room,
)
from minitransformer.trainer.processes import Processes
from minitransformer.trainer.reading import Collation, Reading, UpdatesOfPass, UpdatesOfStream, in_workers
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
        self.measured: dict[int, Int[np.ndarray, " n"]] = {}  # the lengths of the examples of the newest pass
        self.counted: dict[int, int] = {}  # the updates of each pass that a budget of tokens has cut
        begin_pass(dataset, 0)
        self.require_same_budget()
        self.order: Order | OrderByTokens | None = None  # a stream has none but its own
        if args.max_tokens is not None:
            self.settle_batches_of_update(args.max_tokens)
        else:
            self.settle_update_size()
        self.settle_length()

    @property
    def batch_of_all(self) -> int:
        """How many examples all processes compute at once."""
        return self.args.per_device_train_batch_size * self.processes.n_processes

    @property
    def drop_last_below(self) -> int:
        """A rest of a pass that is no multiple of this is left out."""
        return self.batch_of_all if self.args.dataloader_drop_last else 1

    # How large an update is

    def require_same_budget(self) -> None:
        """Refuse to go on with batches that are cut otherwise than those that the run was begun with.

        Raises: InputError that says with which it was.
        """
        state, args = self.state, self.args
        if not state.train_batch_size or (state.max_tokens is None and args.max_tokens is None):
            return
        begun = {"max_tokens": state.max_tokens, "per_device_train_batch_size": state.batch_of_process}
        for name, value in begun.items():
            if getattr(args, name) != value:
                raise InputError(
                    f"{name}={getattr(args, name)} would cut other batches than {name}={value}, which the run was "
                    "begun with; give that one, or begin anew in another output_dir"
                )

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
            self.tell_of_other_sizes(f"{kept} examples")
        state.train_batch_size, state.n_processes, state.batch_of_process = kept, n_processes, size
        if not is_stream(self.dataset):
            self.order = Order(len(self.dataset), kept, self.args.seed_of_data, self.drop_last_below)

    def settle_batches_of_update(self, max_tokens: int) -> None:
        """Keep the number of batches of an update over a resume, for the same reason.

        Raises: InputError if these processes cannot share them evenly.
        """
        args, state, n_processes = self.args, self.state, self.processes.n_processes
        kept = state.batches_of_update or args.gradient_accumulation_steps * n_processes
        if kept % n_processes:
            raise InputError(
                f"the run was begun with updates of {kept} batches, which {n_processes} processes cannot share evenly; "
                f"start a number of them that divides {kept}"
            )
        if state.batches_of_update and state.n_processes != n_processes:
            self.tell_of_other_sizes(f"{kept} batches")
        self.order = OrderByTokens(max_tokens, args.per_device_train_batch_size, kept, args.seed_of_data)
        state.max_tokens, state.batches_of_update, state.n_processes = max_tokens, kept, n_processes
        state.batch_of_process = args.per_device_train_batch_size
        state.train_batch_size = round(len(self.dataset) / self.updates_in(0))

    def tell_of_other_sizes(self, kept: str) -> None:
        """Say what stays exact when a run goes on in batches of another size, or in another number of processes."""
        if self.processes.is_first:
            logger.warning(
                "the run was begun by %d processes with %d examples at once, and goes on with %d and %d. Its updates "
                "keep their %s, and read the same ones in the same order; its numbers are equal up to "
                "rounding, and with dropout not the same",
                self.state.n_processes,
                self.state.batch_of_process,
                self.processes.n_processes,
                self.args.per_device_train_batch_size,
                kept,
            )

    # How long the run is

    def settle_length(self) -> None:
        """How many steps and passes there will be.

        Where a budget of tokens cuts the batches, the updates of each pass are counted beforehand by cutting it.
        """
        args, state, order = self.args, self.state, self.order
        if isinstance(order, Order) and not order.updates_per_pass:
            raise InputError(
                f"dataloader_drop_last=True leaves nothing of {order.n_examples} examples in batches of "
                f"{self.batch_of_all}; lower per_device_train_batch_size"
            )
        state.max_steps, state.num_train_epochs = args.max_steps, 1
        if args.max_steps >= 1 and order is not None:
            state.num_train_epochs = math.ceil(args.max_steps / self.updates_in(0))
        elif order is not None:
            state.max_steps, state.num_train_epochs = self.updates_of_all_passes(), math.ceil(args.num_train_epochs)

    def updates_of_all_passes(self) -> int:
        """How many updates the passes have that were asked for, of which the last may be a part of one."""
        n_passes = self.args.num_train_epochs
        if isinstance(self.order, Order):
            return math.ceil(n_passes * self.order.updates_per_pass)
        whole = math.floor(n_passes)
        updates = sum(self.updates_in(number) for number in range(whole))
        return updates + (math.ceil((n_passes - whole) * self.updates_in(whole)) if n_passes > whole else 0)

    def updates_in(self, number: int) -> int:
        """How many updates a pass makes; a stream is taken to be one."""
        if self.order is None:
            return self.state.max_steps
        if isinstance(self.order, Order):
            return self.order.updates_per_pass
        if number not in self.counted:
            begin_pass(self.dataset, number)
            self.counted[number] = len(self.order.updates(number, self.lengths(number)))
        return self.counted[number]

    @property
    def updates_of_this_pass(self) -> int:
        """How many updates the pass makes that the run is in."""
        return self.updates_in(self.state.passes)

    @property
    def is_at_end_of_pass(self) -> bool:
        """Whether the pass is complete; of a stream nobody knows before it ends."""
        return self.order is not None and self.state.updates_of_this_pass == self.updates_of_this_pass

    # What is read

    def lengths(self, number: int) -> Int[np.ndarray, " n"]:
        """How long the examples of a pass are; they differ from pass to pass if the dataset is told which one begins.

        Raises: InputError for an example that no batch has room for.
        """
        args = self.args
        key = number if hasattr(self.dataset, "set_epoch") else 0
        if key not in self.measured:
            asked_by = "group_by_length=True" if args.max_tokens is None else f"max_tokens={args.max_tokens}"
            lengths = lengths_of(self.dataset, asked_by, args.disable_tqdm or not self.processes.is_first)
            if args.max_tokens is not None:
                require_room(lengths, args.max_tokens)
            self.measured = {key: lengths}
        return self.measured[key]

    def updates_of_pass(self) -> Reading:
        """The updates that are left of this pass; what earlier ones read is not read again."""
        args, state, dataset, collation = self.args, self.state, self.dataset, self.collation
        begin_pass(dataset, state.passes)
        here = {"rank": self.processes.rank, "n_processes": self.processes.n_processes}
        number, size = state.passes + 1, args.per_device_train_batch_size
        if self.order is None:
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
            return in_workers(stream, **self.processes.how_to_read(args))
        updates = self.updates_left(self.order)[: state.max_steps - state.global_step]
        of_pass = UpdatesOfPass(dataset, collation, updates, number, size, **here)
        return in_workers(of_pass, **self.processes.how_to_read(args))

    def updates_left(self, order: Order | OrderByTokens) -> Sequence[Int[np.ndarray, " _"]] | Sequence[Batches]:
        """Which examples, or which batches of them, the updates learn from that are left of this pass."""
        number, first = self.state.passes, self.state.updates_of_this_pass
        if isinstance(order, OrderByTokens):
            updates = order.updates(number, self.lengths(number))
            self.counted[number] = len(updates)
            return updates[first:]
        is_grouped = self.args.train_sampling_strategy == "group_by_length"
        return order.updates(number, len(self.dataset), self.lengths(number) if is_grouped else None, first)
