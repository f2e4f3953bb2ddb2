"""From the numbers of examples to batches: read, in this process or in others, and with a seed for each example."""

import inspect
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, IterableDataset

from minitransformer.batches import (
    DataCollatorForLanguageModeling,
    DataCollatorForMultipleChoice,
    DataCollatorForSeq2Seq,
    DataCollatorForTokenClassification,
    DataCollatorForWholeWordMask,
    DataCollatorWithPadding,
    MaskedLanguageCollator,
    PaddingCollator,
    Ragged,
    default_data_collator,
)
from minitransformer.errors import InputError
from minitransformer.trainer.interrupts import leave_signals_to_the_trainer
from minitransformer.trainer.order import Batches, share_of, share_of_batches
from minitransformer.trainer.randomness import randomness_of_its_own, seed_of, seed_reading, seeds_of

OUR_COLLATORS = (
    DataCollatorForLanguageModeling,
    DataCollatorForMultipleChoice,
    DataCollatorForSeq2Seq,
    DataCollatorForTokenClassification,
    DataCollatorForWholeWordMask,
    DataCollatorWithPadding,
    MaskedLanguageCollator,
    PaddingCollator,
)
Batch = dict[str, Any]
LABELS = ("labels", "label", "label_ids")

EVALUATION = 0
"""Stands for the pass in the seeds of an evaluation; those of training begin at 1."""


class MicroBatch(NamedTuple):
    """What is computed at once, and whether it counts: what a process only borrows to keep step does not."""

    batch: Batch
    counts: bool = True


class ReadUpdate(NamedTuple):
    """What an update learns from: the numbers of the examples of all, the share of this process, and its numbers."""

    indices: Int[np.ndarray, " n"]
    micro_batches: list[MicroBatch]
    read_here: list[int]
    """The numbers of those examples of this process that count, in their order."""


Reading = Generator[ReadUpdate, None, None]
"""Updates as they are read; what reads them ends when it is closed."""


@dataclass(frozen=True)
class Collation:
    """Examples to a batch: columns that the model does not read left out, and chance settled for each example."""

    collate: Callable[..., Batch]
    seed: int
    columns: frozenset[str] | None = None
    """The columns to keep; all of them unless given."""

    def leaves_generators_alone(self, dataset: Any) -> bool:
        """Whether nothing is drawn from generators that the model draws from too.

        That is so of datasets that say so, of lists of dicts, and of our collators, which draw by the examples' seeds.
        """
        is_list = type(dataset) in (list, tuple) and all(type(example) is dict for example in dataset)
        is_ours = type(self.collate) in OUR_COLLATORS or self.collate is default_data_collator
        return is_ours and (is_list or getattr(dataset, "is_read_without_chance", False))

    def read(self, dataset: Any, indices: Sequence[int], number: int, seeded: bool = True) -> Sequence[Any]:
        """The examples with these numbers, in a pass that has a number too.

        Each is read with a seed of its own, unless the dataset says that reading leaves nothing to chance: then all at
        once.
        """
        if getattr(dataset, "is_read_without_chance", False):
            read: Callable[[Sequence[int]], Sequence[Any]] = dataset.__getitems__
            return read(indices)
        examples = []
        for index in indices:
            if seeded:
                seed_reading(seed_of(self.seed, number, index))
            examples.append(dataset[index])
        return examples

    def batch(self, examples: Sequence[Any], indices: Sequence[int], number: int, seeded: bool = True) -> Batch:
        """A batch of examples; what the collator draws follows from their numbers and the pass."""
        if self.columns is not None and isinstance(examples, Ragged):
            examples = examples.only(self.columns)
        elif self.columns is not None:
            examples = [only_columns(example, self.columns) for example in examples]
        seeds = seeds_of(seed_of(self.seed, number), indices)
        if seeded:
            seed_reading(sum(seeds) % 2**63)
        if takes_seeds(self.collate):
            return self.collate(examples, seeds=seeds)
        return self.collate(examples)


@dataclass(frozen=True)
class UpdatesOfPass(Dataset[ReadUpdate]):
    """The updates that are left of a pass, by number; each has its examples, or batches that are cut already."""

    dataset: Any
    collation: Collation
    updates: Sequence[Int[np.ndarray, " _"]] | Sequence[Batches]
    number: int
    batch_size: int
    rank: int = 0
    n_processes: int = 1

    def __len__(self) -> int:
        return len(self.updates)

    def __getitem__(self, update: int) -> ReadUpdate:
        asked = self.updates[update]
        if isinstance(asked, list):
            indices, shares = np.concatenate(asked), share_of_batches(asked, self.rank, self.n_processes)
        else:
            indices, shares = asked, share_of(asked, self.rank, self.n_processes, self.batch_size)
        with nullcontext() if self.leaves_generators_alone else randomness_of_its_own():
            micro_batches = [MicroBatch(self.read(share.tolist()), counts) for share, counts in shares]
        return ReadUpdate(indices, micro_batches, those_that_count(shares))

    @cached_property
    def leaves_generators_alone(self) -> bool:
        """Whether reading draws nothing that could disturb the model's draws, nor be disturbed by them."""
        return self.collation.leaves_generators_alone(self.dataset)

    def read(self, indices: list[int]) -> Batch:
        """A batch of these examples."""
        seeded = not self.leaves_generators_alone
        examples = self.collation.read(self.dataset, indices, self.number, seeded)
        return self.collation.batch(examples, indices, self.number, seeded)


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
        micro_batches = [
            MicroBatch(self.collation.batch([examples[i] for i in share.tolist()], share.tolist(), self.number), counts)
            for share, counts in shares
        ]
        return ReadUpdate(indices, micro_batches, those_that_count(shares))


def those_that_count(shares: Sequence[tuple[Int[np.ndarray, " _"], bool]]) -> list[int]:
    """The numbers of the examples in batches that count.

    >>> those_that_count([(np.array([4, 2]), True), (np.array([7]), False)])
    [4, 2]
    """
    return [number for share, counts in shares if counts for number in share.tolist()]


def in_workers(updates: Dataset[ReadUpdate], n_workers: int, ahead: bool = False, pin: bool = False) -> Reading:
    """Read in this process, or in others while this one computes; what is read is the same.

    With `ahead` a thread of this process reads the next update meanwhile: for GPUs, since a model on a CPU has use for
    all its cores, and the thread cost more than it brought. Data that may draw from the generators of the process is
    read in line all the same, since a model that draws at the same time would change its draws. `pin` makes batches
    ready to be copied to a GPU without waiting.
    """
    if n_workers == 0:
        if ahead and isinstance(updates, UpdatesOfPass) and updates.leaves_generators_alone:
            return one_ahead(partial(read_one, updates, pin), len(updates))
        in_line = updates if isinstance(updates, IterableDataset) else one_by_one(updates)
        return (pinned(update) if pin else update for update in in_line)
    loader: DataLoader[ReadUpdate] = DataLoader(
        updates,
        batch_size=None,
        num_workers=n_workers,
        pin_memory=pin,
        worker_init_fn=leave_signals_to_the_trainer,
        generator=torch.Generator(),  # else it would draw from the model's
    )
    return (update for update in loader)


def read_one(updates: Any, pin: bool, number: int) -> ReadUpdate:
    """One of the updates."""
    return pinned(updates[number]) if pin else updates[number]


def one_ahead(read: Callable[[int], ReadUpdate], count: int) -> Reading:
    """What a function reads for each number, the next one in a thread while this one is used.

    The thread ends when this is closed. An error comes where its number would have come.

    >>> list(one_ahead(lambda number: 10 * number, 3))
    [0, 10, 20]
    """
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="reading") as thread:
        coming = [thread.submit(read, number) for number in range(count)[:1]]
        for number in range(count):
            update = coming.pop().result()
            if number + 1 < count:
                coming.append(thread.submit(read, number + 1))
            yield update


def pinned(update: ReadUpdate) -> ReadUpdate:
    """The same with its tensors in memory that stays where it is, from which a GPU copies by itself."""
    pin = [
        MicroBatch(
            {name: value.pin_memory() if isinstance(value, Tensor) else value for name, value in batch.items()}, counts
        )
        for batch, counts in update.micro_batches
    ]
    return update._replace(micro_batches=pin)


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
    """Bring a batch to a device, without waiting for a GPU; what cannot be brought there stays as it is."""
    on_gpu = device.type == "cuda"
    return {
        name: value.to(device, non_blocking=on_gpu) if hasattr(value, "to") else value for name, value in batch.items()
    }


def in_pieces(micro_batches: Sequence[MicroBatch], most: int) -> list[MicroBatch]:
    """The same batches in pieces of at most `most` places, cut between examples; one example is never cut.

    >>> [piece.batch["x"].tolist() for piece in in_pieces([MicroBatch({"x": torch.tensor([1, 2, 3])})], most=2)]
    [[1, 2], [3]]
    """
    pieces = []
    for batch, counts in micro_batches:
        n_examples = count_examples(batch)
        size = max(1, most * n_examples // count_places(batch))
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


def count_places(batch: Mapping[str, Any]) -> int:
    """How much a batch computes: the places of its widest rows of tokens, padding among them, or its examples.

    >>> count_places({"input_ids": torch.zeros(2, 7)})
    14
    """
    rows = [value.numel() for value in batch.values() if isinstance(value, Tensor) and value.ndim == 2]
    return max([count_examples(batch), *rows])


def count_tokens(batch: Mapping[str, Any]) -> int:
    """How many tokens a batch holds, padding not among them."""
    if isinstance(batch.get("attention_mask"), Tensor):
        return int(batch["attention_mask"].sum())
    return next((value.numel() for value in batch.values() if isinstance(value, Tensor)), 0)
