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
from minitransformer.trainer.randomness import seed_of

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
        self, number: int, n_available: int, lengths: Sequence[int] | None = None, first: int = 0
    ) -> Sequence[Int[np.ndarray, " _"]]:
        """The examples of each update of a pass, from its `first` update on.

        >>> [update.tolist() for update in Order(3, examples_per_update=2, seed=0).updates(0, n_available=3)]
        [[2, 0], [1]]
        """
        if lengths is None and n_available > SHUFFLED_IN_MEMORY:
            return UpdatesFound(self, number, n_available, range(first, self.updates_per_pass))
        shuffled = np.random.default_rng([self.seed, number]).permutation(n_available)
        if lengths is not None:
            shuffled = longest_first_in_groups(shuffled, np.asarray(lengths), self.examples_per_update * LENGTH_GROUPS)
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


def longest_first_in_groups(
    order: Int[np.ndarray, " n"], lengths: Int[np.ndarray, " n"], group: int
) -> Int[np.ndarray, " n"]:
    """Sort each group of a shuffled order by length; the longest of all comes first, to show at once if it fits.

    >>> longest_first_in_groups(np.array([2, 0, 1, 3]), np.array([5, 9, 7, 8]), group=2).tolist()
    [1, 0, 2, 3]
    """
    groups = [order[start : start + group] for start in range(0, len(order), group)]
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


def shared(batch_size: int, n_processes: int) -> int:
    """How many examples of an update each of several processes computes, if they share them evenly.

    Raises: InputError if they cannot.

    >>> shared(16, n_processes=2)
    8
    """
    if batch_size % n_processes:
        raise InputError(f"batch_size={batch_size} must be a multiple of the {n_processes} processes that share it")
    return batch_size // n_processes


def lengths_of(dataset: MapDataset, hide_progress: bool = True) -> list[int]:
    """How long each example is: by a column `length`, an attribute `lengths`, or the `input_ids` of each.

    Raises: InputError for examples without `input_ids`.
    """
    if "length" in (getattr(dataset, "column_names", None) or ()):
        return [int(length) for length in dataset["length"]]  # type: ignore[index] # a column by its name
    if hasattr(dataset, "lengths"):
        return [int(length) for length in dataset.lengths]
    lengths = []
    for index in tqdm(range(len(dataset)), desc="measuring examples", disable=hide_progress, leave=False):
        example = dataset[index]
        if "input_ids" not in example:
            raise InputError(
                f"group_by_length=True needs input_ids, but example {index} has {sorted(example)}; "
                "give the dataset a column `length`"
            )
        lengths.append(len(example["input_ids"]))
    return lengths


def is_stream(dataset: Any) -> bool:
    """Whether examples can only be read as they come, and not by number.

    >>> is_stream(["one", "two"]), is_stream(iter(["one", "two"]))
    (False, True)
    """
    return isinstance(dataset, IterableDataset) or not hasattr(dataset, "__len__")


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
