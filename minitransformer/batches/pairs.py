"""Where the pairs of an epoch lie in a corpus: all drawn beforehand, or each found by its number alone.

`make_pairs` goes through a corpus from its beginning, and each of its pairs begins where the last one ended. That takes
a while, and memory for each pair: too much for a large corpus. There a document is cut into equal cells, one for each
pair that begins in it, and all that chance decides about a pair is a hash of the seed, the epoch and the pair's number.
So pairs from anywhere are found together, by a few searches in the arrays that say where sentences and documents start,
and nothing is kept.

What differs then: pairs that neighbour may share some tokens, or leave some out between them, though over the epochs
all are read about equally often, but for a document's last sentence, which comes about half as often. What doesn't:
half are true, one in ten aims short, false ones come from any other document, and all fill their room, parted and cut
in the same way.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64

from minitransformer.chance import heads, uniform
from minitransformer.objectives.next_sentence import IS_NEXT, NOT_NEXT, SHORTEST_PAIR, Pair
from minitransformer.shards import Layout, Shards
from minitransformer.stored import Numbers

READ_OF_A_PAIR = 0.75
"""How much of a pair's room its own document fills on average: all of it if B is next, and A, half of it, if not."""

SENTENCES_OF_A_LOOK = 64
"""Of a document with more sentences it is found out first about where to look."""
FIRST_CUT, SECOND_CUT = -1, -2
"""Beside the kinds of chances, which are numbered from 0."""


@dataclass(frozen=True)
class Spans:
    """Tokens of documents, from each start to its stop, counted from the beginning of the document."""

    documents: Numbers
    starts: Numbers
    stops: Numbers

    @property
    def lengths(self) -> Numbers:
        """How many tokens each has."""
        return np.asarray(self.stops - self.starts)

    def replaced(self, places: Numbers, others: "Spans") -> "Spans":
        """The same, with others in some places."""
        parts = zip(vars(self).values(), vars(others).values(), strict=True)
        return Spans(*(replaced(part, places, other) for part, other in parts))


class Chances(NamedTuple):
    """A number from 0 to 1 for all that is left to chance about each pair, but for how it is cut."""

    beginning: Float64[np.ndarray, " n"]
    is_short: Float64[np.ndarray, " n"]
    target: Float64[np.ndarray, " n"]
    follows: Float64[np.ndarray, " n"]
    parting: Float64[np.ndarray, " n"]
    other_document: Float64[np.ndarray, " n"]
    other_sentence: Float64[np.ndarray, " n"]


class PairsDrawn:
    """The pairs of an epoch that were drawn beforehand: document, start and stop of both spans, and the label."""

    def __init__(self, pairs: Iterable[Pair]) -> None:
        numbers = (number for pair in pairs for number in (*pair.first, *pair.second, pair.label))
        self.table = np.fromiter(numbers, dtype=np.int64).reshape(-1, 7)

    def __len__(self) -> int:
        return len(self.table)

    def places(self, numbers: Numbers) -> tuple[Spans, Spans, Numbers]:
        """Where both spans of some pairs lie, and their labels."""
        columns = self.table[numbers].T
        return Spans(*columns[:3]), Spans(*columns[3:6]), columns[6]


@dataclass(frozen=True)
class PairsByPlace:
    """The pairs of an epoch of documents that all have text, each found by its number."""

    shards: Shards
    room: int
    seed: int
    epoch: int
    short_probability: float

    @cached_property
    def count(self) -> int:
        """How many pairs an epoch has: one for each document, and one more for what each pair reads on average."""
        return len(self.shards) + int(self.shards.token_count / (READ_OF_A_PAIR * self.room))

    def __len__(self) -> int:
        return self.count

    def places(self, numbers: Numbers) -> tuple[Spans, Spans, Numbers]:
        """Where both spans of some pairs lie, and their labels."""
        kinds = np.arange(len(Chances._fields))[:, None]
        chances = Chances(*uniform(self.seed, self.epoch, kinds, numbers))
        documents = self.documents_of(numbers)
        layout = self.shards.layout(documents)
        windows, first = self.beginnings(numbers, documents, layout, chances)
        drawn = SHORTEST_PAIR + below(self.room + 1 - SHORTEST_PAIR, chances.target)
        target = np.where(chances.is_short < self.short_probability, drawn, self.room)
        stop = np.minimum(windows.last, np.maximum(first + 2, windows.reached(first, target)))
        is_lone = stop == first + 1
        is_next = ~is_lone & (chances.follows < self.share_of_choices)
        middle = np.where(is_lone, stop, first + 1 + below(stop - first - 1, chances.parting))
        bounds = [windows.place(sentence) - layout.begin for sentence in (first, middle, stop)]
        first_span, following = Spans(documents, *bounds[:2]), Spans(documents, *bounds[1:])
        false = np.flatnonzero(~is_next)
        elsewhere = self.spans_from_elsewhere(documents[false], (target - first_span.lengths)[false], chances, false)
        second_span = following.replaced(false, elsewhere)
        return *self.truncated(first_span, second_span, numbers), np.where(is_next, IS_NEXT, NOT_NEXT)

    @cached_property
    def stride(self) -> float:
        """For how many tokens there is a pair."""
        return self.shards.token_count / self.count

    @cached_property
    def shift(self) -> float:
        """Where in the stride the epoch begins."""
        return float(uniform(self.seed, self.epoch)[0])

    def documents_of(self, numbers: Numbers) -> Numbers:
        """The document of each pair: the tokens of all documents are divided evenly among the pairs."""
        return self.shards.document_at(((numbers + self.shift) * self.stride).astype(np.int64))

    def beginnings(
        self, numbers: Numbers, documents: Numbers, layout: Layout, chances: Chances
    ) -> tuple["Windows", Numbers]:
        """Where each pair begins: the pairs of a document evenly in it, and never where nothing follows.

        The first begins at the first sentence, each other one up to half a cell before or behind its own. None begins
        at a document's last sentence, unless it is the only one.
        """
        begin, end = self.shards.starts[documents], self.shards.starts[documents + 1]
        first_pair, next_pair = (np.ceil(place / self.stride - self.shift) for place in (begin, end))
        cell = layout.n_tokens / np.maximum(1, next_pair - first_pair)
        number = numbers - first_pair
        offset = np.where(number > 0, (number - 0.5 + chances.beginning) * cell, 0.0)
        token = layout.begin + np.clip(offset.astype(np.int64), 0, layout.n_tokens - 1)
        windows = self.windows_around(layout, token)
        return windows, np.maximum(0, np.minimum(windows.holding(token), windows.last - 2))

    def windows_around(self, layout: Layout, tokens: Numbers) -> "Windows":
        """The sentences around each token of a document: what is halved until few are left, and room behind them."""
        first, last = layout.first.copy(), layout.last.copy()
        while (long := np.flatnonzero(last - first > SENTENCES_OF_A_LOOK)).size:
            middle = (first[long] + last[long]) // 2
            is_behind = self.shards.sentence_starts(layout.shard_of[long], middle, middle) <= tokens[long]
            first[long], last[long] = np.where(is_behind, middle, first[long]), np.where(is_behind, last[long], middle)
        first, last = np.maximum(layout.first, first - 1), np.minimum(layout.last, last + self.room)
        return self.windows(layout, first, last)

    def windows(self, layout: Layout, first: Numbers, last: Numbers) -> "Windows":
        """The sentences of documents from a first one to the one after a last one."""
        return Windows(self.shards.sentence_starts(layout.shard_of, first, last), last + 1 - first)

    @cached_property
    def share_of_choices(self) -> float:
        """How often a pair that can be true is: half of all pairs, those with a lone sentence among them, are to be."""
        lone = self.shards.n_alone / self.shards.token_count
        return min(1.0, 0.5 / (1 - lone)) if lone < 1 else 0.0

    def spans_from_elsewhere(self, documents: Numbers, targets: Numbers, chances: Chances, pairs: Numbers) -> Spans:
        """Draw another document for each pair and a sentence in it, and take sentences until the target is reached."""
        other = below(len(self.shards) - 1, chances.other_document[pairs])
        other += other >= documents
        layout = self.shards.layout(other)
        first = layout.first + below(layout.n_sentences, chances.other_sentence[pairs])
        last = np.minimum(layout.last, first + self.room)
        windows = self.windows(layout, first, last)
        beginning = np.zeros_like(first)
        stop = windows.reached(beginning, targets)
        return Spans(other, windows.place(beginning) - layout.begin, windows.place(stop) - layout.begin)

    def truncated(self, first: Spans, second: Spans, numbers: Numbers) -> tuple[Spans, Spans]:
        """Shorten both spans to the room they have, as `truncate` of the objective does."""
        half = self.room // 2
        first_length = np.minimum(first.lengths, np.maximum(self.room - half, self.room - second.lengths))
        second_length = np.minimum(second.lengths, np.maximum(half, self.room - first.lengths))
        return (
            self.shortened(first, first_length, FIRST_CUT, numbers),
            self.shortened(second, second_length, SECOND_CUT, numbers),
        )

    def shortened(self, spans: Spans, lengths: Numbers, cut: int, numbers: Numbers) -> Spans:
        """Take tokens off both ends, each off the front or the back by a coin, until so many are left."""
        starts = spans.starts + heads(spans.lengths - lengths, self.seed, self.epoch, cut, numbers)
        return Spans(spans.documents, starts, starts + lengths)


def replaced(numbers: Numbers, places: Numbers, others: Numbers) -> Numbers:
    """Numbers with others in some places.

    >>> replaced(np.array([5, 6, 7]), np.array([1]), np.array([9])).tolist()
    [5, 9, 7]
    """
    numbers = numbers.copy()
    numbers[places] = others
    return numbers


class Windows:
    """Where a few sentences start, one row of them for each pair, each with its place in the shard.

    The rows stand one after another, each raised above the one before, so that one search looks in all of them.

    >>> windows = Windows(np.array([10, 14, 20, 3, 5]), lengths=np.array([3, 2]))
    >>> windows.holding(np.array([15, 3])).tolist(), windows.place(windows.last).tolist()
    ([1, 0], [20, 5])
    """

    def __init__(self, starts: Numbers, lengths: Numbers) -> None:
        self.starts = starts
        self.first = np.cumsum(lengths) - lengths
        self.last = lengths - 1
        begin = starts[self.first]
        self.raised = np.arange(len(lengths)) * (1 + (self.place(self.last) - begin).max(initial=0)) - begin
        self.keys = starts + np.repeat(self.raised, lengths)

    def place(self, sentences: Numbers) -> Numbers:
        """Where a sentence of each row starts."""
        return np.asarray(self.starts[self.first + sentences])

    def holding(self, tokens: Numbers) -> Numbers:
        """Which sentence of its row holds each token."""
        return np.asarray(np.searchsorted(self.keys, tokens + self.raised, side="right") - 1 - self.first)

    def reached(self, sentences: Numbers, targets: Numbers) -> Numbers:
        """Before which sentence there are so many tokens from a sentence of each row on, or where the row ends."""
        wanted = np.minimum(self.place(sentences) + np.maximum(targets, 1), self.place(self.last))
        return self.holding(wanted - 1) + 1


def below(limits: int | Numbers, chances: Float64[np.ndarray, " n"]) -> Numbers:
    """Whole numbers from 0 up to but not a limit, by numbers from 0 to 1.

    >>> below(10, np.array([0.0, 0.57])).tolist()
    [0, 5]
    """
    return (chances * limits).astype(np.int64)
