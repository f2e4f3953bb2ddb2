"""From the numbers of examples to batches: read, in this process or in others, and with a seed for each example."""

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, IterableDataset

from minitransformer.batches import Ragged
from minitransformer.errors import InputError
from minitransformer.trainer.interrupts import leave_signals_to_the_trainer
from minitransformer.trainer.order import share_of
from minitransformer.trainer.randomness import randomness_of_its_own, seed_of, seed_reading, seeds_of

Batch = dict[str, Any]
LABELS = ("labels", "label", "label_ids")

EVALUATION = 0
"""Stands for the pass in the seeds of an evaluation; those of training begin at 1."""


class MicroBatch(NamedTuple):
    """What is computed at once, and whether it counts: what a process only borrows to keep step does not."""

    batch: Batch
    counts: bool = True


class ReadUpdate(NamedTuple):
    """What an update learns from: the share of this process, and the numbers of the examples of all."""

    indices: Int[np.ndarray, " n"]
    micro_batches: list[MicroBatch]


@dataclass(frozen=True)
class Collation:
    """Examples to a batch: columns that the model does not read left out, and chance settled for each example."""

    collate: Callable[..., Batch]
    seed: int
    columns: frozenset[str] | None = None
    """The columns to keep; all of them unless given."""

    def read(self, dataset: Any, indices: Sequence[int], number: int) -> Sequence[Any]:
        """The examples with these numbers, in a pass that has a number too.

        Each is read with a seed of its own, unless the dataset says that reading leaves nothing to chance: then all at
        once.
        """
        if getattr(dataset, "is_read_without_chance", False):
            read: Callable[[Sequence[int]], Sequence[Any]] = dataset.__getitems__
            return read(indices)
        examples = []
        for index in indices:
            seed_reading(seed_of(self.seed, number, index))
            examples.append(dataset[index])
        return examples

    def batch(self, examples: Sequence[Any], indices: Sequence[int], number: int) -> Batch:
        """A batch of examples; what the collator draws follows from their numbers and the pass."""
        if self.columns is not None and isinstance(examples, Ragged):
            examples = examples.only(self.columns)
        elif self.columns is not None:
            examples = [only_columns(example, self.columns) for example in examples]
        seeds = seeds_of(seed_of(self.seed, number), indices)
        seed_reading(sum(seeds) % 2**63)
        if takes_seeds(self.collate):
            return self.collate(examples, seeds=seeds)
        return self.collate(examples)


@dataclass(frozen=True)
class UpdatesOfPass(Dataset[ReadUpdate]):
    """The updates that are left of a pass, by number."""

    dataset: Any
    collation: Collation
    updates: Sequence[Int[np.ndarray, " _"]]
    number: int
    batch_size: int
    rank: int = 0
    n_processes: int = 1

    def __len__(self) -> int:
        return len(self.updates)

    def __getitem__(self, update: int) -> ReadUpdate:
        indices = self.updates[update]
        shares = share_of(indices, self.rank, self.n_processes, self.batch_size)
        with randomness_of_its_own():
            return ReadUpdate(indices, [MicroBatch(self.read(share.tolist()), counts) for share, counts in shares])

    def read(self, indices: list[int]) -> Batch:
        """A batch of these examples."""
        examples = self.collation.read(self.dataset, indices, self.number)
        return self.collation.batch(examples, indices, self.number)


@dataclass(frozen=True)
class UpdatesOfStream(IterableDataset[ReadUpdate]):
    """The updates that are left of a dataset that can only be read from its beginning, numbered as they come."""

    dataset: Any
    collation: Collation
    number: int
    batch_size: int
    examples_per_update: int
    skipped: int = 0
    """Examples to pass over first: by the dataset's own `skip` where it has one."""
    drop_last_below: int = 1
    rank: int = 0
    n_processes: int = 1

    def __iter__(self) -> Iterator[ReadUpdate]:
        with randomness_of_its_own():
            examples = enumerate(self.numbered_examples(), start=self.skipped)
            while chunk := list(islice(examples, self.examples_per_update)):
                chunk = chunk[: len(chunk) - len(chunk) % self.drop_last_below]
                if not chunk:
                    return
                yield self.update(dict(chunk))

    def numbered_examples(self) -> Iterator[Any]:
        """The examples after those to pass over, each read with a seed of its own."""
        can_skip = hasattr(self.dataset, "skip") and self.skipped
        stream = iter(self.dataset.skip(self.skipped) if can_skip else self.dataset)
        position = self.skipped if can_skip else 0
        while True:
            seed_reading(seed_of(self.collation.seed, self.number, position))
            try:
                example = next(stream)
            except StopIteration:
                return
            if position >= self.skipped:
                yield example
            position += 1

    def update(self, examples: Mapping[int, Any]) -> ReadUpdate:
        """The share of this process in an update."""
        indices = np.array(list(examples))
        shares = share_of(indices, self.rank, self.n_processes, self.batch_size)
        return ReadUpdate(
            indices,
            [
                MicroBatch(
                    self.collation.batch([examples[i] for i in share.tolist()], share.tolist(), self.number), counts
                )
                for share, counts in shares
            ],
        )


def in_workers(updates: Dataset[ReadUpdate], n_workers: int) -> Iterator[ReadUpdate]:
    """Read in this process, or in others while this one computes; what is read is the same."""
    if n_workers == 0:
        return iter(updates) if isinstance(updates, IterableDataset) else one_by_one(updates)
    loader: DataLoader[ReadUpdate] = DataLoader(
        updates,
        batch_size=None,
        num_workers=n_workers,
        worker_init_fn=leave_signals_to_the_trainer,
        generator=torch.Generator(),  # else it would draw from the model's
    )
    return iter(loader)


def one_by_one(updates: Any) -> Iterator[ReadUpdate]:
    """The updates in their order, each read when it is asked for."""
    return (updates[number] for number in range(len(updates)))


def takes_seeds(collate: Callable[..., Batch]) -> bool:
    """Whether a collator draws for each example by a seed of its own.

    >>> takes_seeds(lambda examples: {}), takes_seeds(lambda examples, seeds=None: {})
    (False, True)
    """
    try:
        return "seeds" in inspect.signature(collate).parameters
    except (TypeError, ValueError):  # what is written in C tells nothing
        return False


def columns_read_by(model: nn.Module, label_names: Sequence[str]) -> frozenset[str] | None:
    """The columns that a model reads, by the parameters of its `forward`; None if it takes whatever comes."""
    parameters = inspect.signature(model.forward).parameters.values()
    named = [p.name for p in parameters if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)]
    if not named:
        return None
    return frozenset([*named, *LABELS, *label_names])


def only_columns(example: Any, columns: frozenset[str]) -> Any:
    """An example without the columns that nobody reads.

    Raises: InputError if none is left.

    >>> only_columns({"input_ids": [5], "title": "Moby-Dick"}, frozenset(["input_ids"]))
    {'input_ids': [5]}
    """
    if not isinstance(example, Mapping):
        return example
    kept = {name: value for name, value in example.items() if name in columns}
    if not kept:
        raise InputError(
            f"the model reads none of {sorted(example)}, but {', '.join(sorted(columns))}; rename the columns, or "
            "give remove_unused_columns=False and a data_collator that makes of them what the model reads"
        )
    return kept


def to_device(batch: Mapping[str, Any], device: torch.device) -> Batch:
    """Bring a batch to a device; what cannot be brought there stays as it is."""
    return {name: value.to(device) if hasattr(value, "to") else value for name, value in batch.items()}


def in_pieces(micro_batches: Sequence[MicroBatch], size: int) -> list[MicroBatch]:
    """The same batches in pieces of at most `size` examples, cut between examples.

    >>> [piece.batch["x"].tolist() for piece in in_pieces([MicroBatch({"x": torch.tensor([1, 2, 3])})], size=2)]
    [[1, 2], [3]]
    """
    pieces = []
    for batch, counts in micro_batches:
        n_examples = count_examples(batch)
        for first in range(0, n_examples, size):
            cut = partial(piece_of, n_examples=n_examples, first=first, size=size)
            pieces.append(MicroBatch({name: cut(value) for name, value in batch.items()}, counts))
    return pieces


def piece_of(value: Any, n_examples: int, first: int, size: int) -> Any:
    """Some examples of a column; what has no row for each example belongs to all of them."""
    has_rows = isinstance(value, Tensor) and value.ndim > 0 and len(value) == n_examples
    return value[first : first + size] if has_rows else value


def count_examples(batch: Mapping[str, Any]) -> int:
    """How many examples a batch holds.

    >>> count_examples({"input_ids": torch.zeros(2, 7)})
    2
    """
    return next((len(value) for value in batch.values() if isinstance(value, Tensor) and value.ndim), 1)


def count_tokens(batch: Mapping[str, Any]) -> int:
    """How many tokens a batch holds, padding not among them."""
    if isinstance(batch.get("attention_mask"), Tensor):
        return int(batch["attention_mask"].sum())
    return next((value.numel() for value in batch.values() if isinstance(value, Tensor)), 0)
