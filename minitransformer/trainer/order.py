"""The order of examples: a function of the seed and the pass, so that any step is found without the steps before."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, overload, runtime_checkable

import numpy as np
from jaxtyping import Int
from torch.utils.data import IterableDataset
from tqdm import tqdm

from minitransformer.chance import permuted
from minitransformer.errors import InputError
from minitransformer.trainer.randomness import randomness_of_its_own, seed_of

Batches = list[Int[np.ndarray, " _"]]
"""The numbers of the examples of each batch."""

SHUFFLED_IN_MEMORY = 2**20
"""Of more examples the shuffle is found number by number, in memory that does not grow with them."""
LENGTH_GROUPS = 50
"""Updates whose examples are sorted together when examples of similar length are to meet."""


@runtime_checkable
class MapDataset(Protocol):
    """Examples by number; one with `set_epoch` is told which pass begins."""

    def __getitem__(self, index: int) -> Any:
        """One example."""

    def __len__(self) -> int:
        """How many there are."""


@dataclass(frozen=True)
class Order:
    """Which examples each update learns from.

    Every pass is as long as the first, so that a step's number tells its pass. A dataset that has become longer is read
    in part, one that has become shorter begins again. The last update of a pass may have fewer examples.
    """

    n_examples: int
    examples_per_update: int
    seed: int
    drop_last_below: int = 1
    """A rest of fewer examples than a multiple of this is left out: the batches of all processes, or 1."""

    @property
    def examples_per_pass(self) -> int:
        """How many examples a pass reads."""
        return self.n_examples - self.n_examples % self.drop_last_below

    @property
    def updates_per_pass(self) -> int:
        """How many updates a pass makes.

        >>> Order(n_examples=10, examples_per_update=4, seed=0).updates_per_pass
        3
        """
        return math.ceil(self.examples_per_pass / self.examples_per_update)

    def updates(
        self, number: int, n_available: int, lengths: Int[np.ndarray, " n"] | None = None, first: int = 0
    ) -> Sequence[Int[np.ndarray, " _"]]:
        """The examples of each update of a pass, from its `first` update on.

        >>> [update.tolist() for update in Order(3, examples_per_update=2, seed=0).updates(0, n_available=3)]
        [[2, 0], [1]]
        """
        if lengths is None and n_available > SHUFFLED_IN_MEMORY:
            return UpdatesFound(self, number, n_available, range(first, self.updates_per_pass))
        shuffled = np.random.default_rng([self.seed, number]).permutation(n_available)
        if lengths is not None:
            shuffled = longest_first_in_groups(shuffled, lengths, self.examples_per_update * LENGTH_GROUPS)
        order = np.resize(shuffled, self.examples_per_pass)
        starts = range(first * self.examples_per_update, self.examples_per_pass, self.examples_per_update)
        return [order[start : start + self.examples_per_update] for start in starts]

    @staticmethod
    def in_order(n_examples: int, size: int) -> list[Int[np.ndarray, " _"]]:
        """All examples as they stand, so many at once.

        >>> [chunk.tolist() for chunk in Order.in_order(3, size=2)]
        [[0, 1], [2]]
        """
        return [np.arange(first, min(first + size, n_examples)) for first in range(0, n_examples, size)]


@dataclass(frozen=True)
class UpdatesFound(Sequence[Int[np.ndarray, " _"]]):
    """Updates of a pass over more examples than are shuffled in memory, each found when it is asked for."""

    order: Order
    number: int
    n_available: int
    updates: range

    def __len__(self) -> int:
        return len(self.updates)

    @overload
    def __getitem__(self, update: int) -> Int[np.ndarray, " _"]: ...
    @overload
    def __getitem__(self, update: slice) -> "UpdatesFound": ...
    def __getitem__(self, update: int | slice) -> "Int[np.ndarray, ' _'] | UpdatesFound":
        if isinstance(update, slice):
            return replace(self, updates=self.updates[update])
        start = self.updates[update] * self.order.examples_per_update
        places = np.arange(start, min(start + self.order.examples_per_update, self.order.examples_per_pass))
        return permuted(places % self.n_available, self.n_available, seed_of(self.order.seed, self.number))


@dataclass(frozen=True)
class OrderByTokens:
    """Which batches each update learns from, where a budget of tokens decides how many examples a batch holds.

    Each pass reads each example once. How many updates that makes depends on the lengths of its examples.
    """

    max_tokens: int
    most_examples: int
    """The examples of a batch at most, however short they are."""
    batches_per_update: int
    seed: int

    def updates(self, number: int, lengths: Int[np.ndarray, " n"]) -> list[Batches]:
        """The batches of each update of a pass; only the last update may have fewer.

        >>> order = OrderByTokens(max_tokens=6, most_examples=6, batches_per_update=1, seed=0)
        >>> [[batch.tolist() for batch in update] for update in order.updates(0, np.array([2, 3, 3, 1, 2]))]
        [[[2, 1]], [[4, 0, 3]]]
        """
        return in_pieces_of(self.batches(number, lengths), self.batches_per_update)

    def batches(self, number: int, lengths: Int[np.ndarray, " n"]) -> Batches:
        """The batches of a pass in a drawn order: as they were cut, their lengths would rise and fall over the pass.

        The most expensive of them comes first, to show at once if it fits.
        """
        chance = np.random.default_rng([self.seed, number])
        per_batch = max(1, self.max_tokens // max(1, math.ceil(lengths.mean())))
        group = LENGTH_GROUPS * self.batches_per_update * min(per_batch, self.most_examples)
        order = falling_and_rising(chance.permutation(len(lengths)), lengths, group)
        batches = cut_by_tokens(order, lengths, self.max_tokens, self.most_examples)
        drawn = chance.permutation(len(batches))
        costs = [len(batches[place]) * lengths[batches[place]].max() for place in drawn]
        dearest = int(np.argmax(costs))
        drawn[[0, dearest]] = drawn[[dearest, 0]]
        return [batches[place] for place in drawn]


def falling_and_rising(
    order: Int[np.ndarray, " n"], lengths: Int[np.ndarray, " n"], group: int
) -> Int[np.ndarray, " n"]:
    """Sort each group of a shuffled order by length, falling and rising in turn: where groups meet, similar ones do.

    >>> falling_and_rising(np.array([2, 0, 1, 3]), np.array([5, 9, 7, 8]), group=2).tolist()
    [2, 0, 3, 1]
    """
    falling = [part[np.argsort(-lengths[part], kind="stable")] for part in in_pieces_of(order, group)]
    return np.concatenate([part[::-1] if number % 2 else part for number, part in enumerate(falling)])


def cut_by_tokens(
    order: Int[np.ndarray, " n"], lengths: Int[np.ndarray, " n"], max_tokens: int, most_examples: int
) -> Batches:
    """Cut an order into batches, each with as many examples as fit: examples × the longest of them is what is computed.

    An example that doesn't fit makes a batch by itself.

    >>> batches = cut_by_tokens(np.array([0, 1, 2]), np.array([3, 4, 2]), max_tokens=8, most_examples=9)
    >>> [batch.tolist() for batch in batches]
    [[0, 1], [2]]
    """
    batches, start = [], 0
    while start < len(order):
        most = min(most_examples, max_tokens // max(1, lengths[order[start]]))
        ahead = order[start : start + max(1, most)]
        computed = np.maximum.accumulate(lengths[ahead]) * np.arange(1, len(ahead) + 1)
        size = max(1, int((computed <= max_tokens).sum()))
        batches.append(ahead[:size])
        start += size
    return batches


def longest_first(
    lengths: Int[np.ndarray, " n"], max_tokens: int, most_examples: int, n_processes: int = 1
) -> list[Batches]:
    """All examples by length, in batches of a budget, one for each process at once.

    >>> [[batch.tolist() for batch in chunk] for chunk in longest_first(np.array([1, 3, 1]), 3, most_examples=9)]
    [[[1]], [[0, 2]]]
    """
    order = np.argsort(-lengths, kind="stable")
    return in_pieces_of(cut_by_tokens(order, lengths, max_tokens, most_examples), n_processes)


def in_pieces_of(items: Any, size: int) -> list[Any]:
    """A sequence in pieces of one size, the last of which may be smaller.

    >>> in_pieces_of([1, 2, 3], 2)
    [[1, 2], [3]]
    """
    return [items[start : start + size] for start in range(0, len(items), size)]


def longest_first_in_groups(
    order: Int[np.ndarray, " n"], lengths: Int[np.ndarray, " n"], group: int
) -> Int[np.ndarray, " n"]:
    """Sort each group of a shuffled order by length; the longest of all comes first, to show at once if it fits.

    >>> longest_first_in_groups(np.array([2, 0, 1, 3]), np.array([5, 9, 7, 8]), group=2).tolist()
    [1, 0, 2, 3]
    """
    groups = in_pieces_of(order, group)
    grouped = np.concatenate([part[np.argsort(-lengths[part], kind="stable")] for part in groups])
    longest = int(np.argmax(lengths[grouped]))
    grouped[[0, longest]] = grouped[[longest, 0]]
    return grouped


def share_of(
    indices: Int[np.ndarray, " n"], rank: int, n_processes: int, batch_size: int
) -> list[tuple[Int[np.ndarray, " _"], bool]]:
    """What a process computes of an update: batches, each with whether it counts.

    All processes compute equally many batches, because they wait for each other in each. One that has nothing left
    borrows an example, which then does not count.

    >>> [(batch.tolist(), counts) for batch, counts in share_of(np.array([7, 8, 9]), 1, 2, batch_size=1)]
    [([8], True), ([7], False)]
    """
    mine = indices[rank::n_processes]
    n_batches = math.ceil(math.ceil(len(indices) / n_processes) / batch_size)
    batches = [mine[start : start + batch_size] for start in range(0, n_batches * batch_size, batch_size)]
    return [(batch, True) if len(batch) else (indices[:1], False) for batch in batches]


def share_of_batches(batches: Batches, rank: int, n_processes: int) -> list[tuple[Int[np.ndarray, " _"], bool]]:
    """What a process computes of an update whose batches are cut already, by the same rule.

    >>> [(batch.tolist(), counts) for batch, counts in share_of_batches([np.array([7, 8])], rank=1, n_processes=2)]
    [([7], False)]
    """
    mine = [(batch, True) for batch in batches[rank::n_processes]]
    n_missing = math.ceil(len(batches) / n_processes) - len(mine)
    return mine + [(batches[0][:1], False)] * n_missing


def shared(batch_size: int, n_processes: int) -> int:
    """How many examples of an update each of several processes computes, if they share them evenly.

    Raises: InputError if they cannot.

    >>> shared(16, n_processes=2)
    8
    """
    if batch_size % n_processes:
        raise InputError(f"batch_size={batch_size} must be a multiple of the {n_processes} processes that share it")
    return batch_size // n_processes


def lengths_of(dataset: MapDataset, asked_by: str, hide_progress: bool = True) -> Int[np.ndarray, " n"]:
    """How long each example is: by a column `length`, an attribute `lengths`, or the `input_ids` of each.

    Raises: InputError for examples without `input_ids`, in the name of the argument that asks for lengths.
    """
    if "length" in (getattr(dataset, "column_names", None) or ()):
        return np.asarray(dataset["length"], dtype=np.int64)  # type: ignore[index] # a column by its name
    if hasattr(dataset, "lengths"):
        return np.asarray(dataset.lengths, dtype=np.int64)
    numbers = tqdm(range(len(dataset)), desc="measuring examples", disable=hide_progress, leave=False)
    with randomness_of_its_own():
        return np.array([length_of(dataset[number], number, asked_by) for number in numbers])


def length_of(example: Any, number: int, asked_by: str) -> int:
    """How many tokens an example has.

    Raises: InputError if it has no `input_ids`.

    >>> length_of({"input_ids": [5, 6]}, 0, "max_tokens=64")
    2
    """
    if "input_ids" not in example:
        raise InputError(
            f"{asked_by} needs input_ids, but example {number} has {sorted(example)}; "
            "give the dataset a column `length`"
        )
    return len(example["input_ids"])


def require_room(lengths: Int[np.ndarray, " n"], max_tokens: int) -> None:
    """Refuse an example that is longer than a whole batch may be.

    >>> require_room(np.array([3, 9]), max_tokens=8)
    Traceback (most recent call last):
        ...
    minitransformer.errors.InputError: max_tokens=8 has no room for example 1, which has 9 tokens; give max_tokens=9 \
or more, or cut the examples
    """
    longest = int(np.argmax(lengths))
    if lengths[longest] > max_tokens:
        raise InputError(
            f"max_tokens={max_tokens} has no room for example {longest}, which has {lengths[longest]} tokens; give "
            f"max_tokens={lengths[longest]} or more, or cut the examples"
        )


def is_stream(dataset: Any) -> bool:
    """Whether examples can only be read as they come, and not by number.

    >>> is_stream(["one", "two"]), is_stream(iter(["one", "two"]))
    (False, True)
    """
    return isinstance(dataset, IterableDataset) or not hasattr(dataset, "__len__")


def require_no_stream(dataset: Any, name: str, max_tokens: int) -> None:
    """Refuse to look for examples of similar length where they can only be read as they come.

    >>> require_no_stream(iter(["one", "two"]), "train_dataset", max_tokens=64)
    Traceback (most recent call last):
        ...
    minitransformer.errors.InputError: max_tokens=64 needs train_dataset to be no stream, to look ahead in; give one \
with a length, or numbers of examples in place of max_tokens
    """
    if dataset is not None and is_stream(dataset):
        raise InputError(
            f"max_tokens={max_tokens} needs {name} to be no stream, to look ahead in; give one with a length, or "
            "numbers of examples in place of max_tokens"
        )


def begin_pass(dataset: Any, number: int) -> None:
    """Tell a dataset that wants to know it which pass begins."""
    if hasattr(dataset, "set_epoch"):
        dataset.set_epoch(number)


def require_examples(dataset: Any, name: str = "train_dataset") -> Any:
    """Refuse to run on nothing.

    >>> require_examples([], "eval_dataset")
    Traceback (most recent call last):
        ...
    minitransformer.errors.InputError: eval_dataset is missing or empty; give at least one example to train on
    """
    if dataset is None or (not is_stream(dataset) and not len(dataset)):
        raise InputError(f"{name} is missing or empty; give at least one example to train on")
    return dataset
