"""Next sentence prediction: pairs of spans, of which the second really follows the first, or comes from elsewhere."""

import bisect
import itertools
from array import array
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from minitransformer.errors import InputError

IS_NEXT, NOT_NEXT = 0, 1
SPECIALS_OF_A_PAIR = 3  # [CLS] A [SEP] B [SEP]
SHORTEST_PAIR = 2  # a token each


class Span(NamedTuple):
    """The tokens from `start` to `stop` of a document, counted from its beginning across its sentences."""

    document: int
    start: int
    stop: int

    @property
    def length(self) -> int:
        """How many tokens the span has.

        >>> Span(0, start=3, stop=5).length
        2
        """
        return self.stop - self.start


class Pair(NamedTuple):
    """Two spans, and whether the second is the next one (0) or not (1), as BERT's published weights have it."""

    first: Span
    second: Span
    label: int


@dataclass(frozen=True)
class Sentences:
    """Where the sentences of the documents start: sentence s of document d from `starts[d][s]` to `starts[d][s + 1]`.

    Sentences without a token are passed over, and `with_text` lists the documents that have any. Arrays keep this at
    8 bytes a sentence.

    >>> Sentences.from_lengths([[3, 0, 2], []])
    Sentences(starts=[array('q', [0, 3, 5]), array('q', [0])], with_text=[0])
    """

    starts: list[Sequence[int]]
    with_text: list[int]

    @classmethod
    def from_lengths(cls, lengths: Iterable[Iterable[int]]) -> "Sentences":
        """Sum up the lengths of the sentences of each document."""
        starts: list[Sequence[int]] = [
            array("q", itertools.accumulate(filter(None, document), initial=0)) for document in lengths
        ]
        return cls(starts, [number for number, document in enumerate(starts) if len(document) > 1])


def make_pairs(
    sentence_lengths: Iterable[Iterable[int]],
    max_length: int,
    generator: np.random.Generator,
    short_probability: float = 0.1,
) -> Iterator[Pair]:
    """Go once through all documents and yield pairs that fill `max_length` tokens, special tokens included.

    From the front of a document sentences are collected until they reach the target length, or the document ends. They
    are parted at random: A, and the rest. Half of the time B is the rest. Otherwise B begins at a random sentence of
    another document, so never truly continues A, and the rest is put back.

    Source: Devlin et al. 2019, §A.2, and the published `create_pretraining_data`. Deviations: the one in ten that aims
    at a random shorter length is drawn for each pair, not each document, so that long documents aren't all short; the
    other document always differs, where the script gives up after ten tries; a sentence that fills the target alone is
    joined by the next one, and the next free choice makes up for a document's last sentence, which nothing can follow:
    the script labels both "not next" and so exceeds the paper's half.

    Raises: InputError if fewer than two documents have text, or a length or probability is out of range.

    >>> pairs = make_pairs([[5], [5]], max_length=8, generator=np.random.default_rng(0))
    >>> [pair.label for pair in pairs]  # a lone sentence has no next one
    [1, 1]
    """
    sentences = Sentences.from_lengths(sentence_lengths)
    check_pairs(max_length, short_probability, len(sentences.with_text))
    owed = 0
    for place in range(len(sentences.with_text)):
        room = max_length - SPECIALS_OF_A_PAIR
        owed = yield from pairs_of_document(sentences, place, room, short_probability, owed, generator)


def check_pairs(max_length: int, short_probability: float, n_with_text: int) -> None:
    """Check that pairs can be made.

    Raises: InputError if fewer than two documents have text, or a length or probability is out of range.
    """
    smallest = SPECIALS_OF_A_PAIR + SHORTEST_PAIR
    if max_length < smallest:
        raise InputError(f"max_length={max_length} must be at least {smallest}: three special tokens, one of each span")
    if not 0 <= short_probability <= 1:
        raise InputError(f"short_probability={short_probability} must lie between 0 and 1; BERT uses 0.1")
    if n_with_text < 2:
        raise InputError(
            f"next-sentence pairs need two documents with text, and there are {n_with_text}; "
            "separate documents by a blank line, or train on masked words only"
        )


def pairs_of_document(
    sentences: Sentences,
    place: int,
    room: int,
    short_probability: float,
    owed: int,
    generator: np.random.Generator,
) -> Generator[Pair, None, int]:
    """Yield the pairs whose first span comes from one document, the `place`-th of those with text.

    `owed` counts the lone sentences that became "not next" without a choice and are still to be made up for.
    """
    document = sentences.with_text[place]
    starts = sentences.starts[document]
    first, last = 0, len(starts) - 1
    while first < last:
        is_short = generator.random() < short_probability
        target = int(generator.integers(SHORTEST_PAIR, room + 1)) if is_short else room
        stop = min(last, max(first + 2, reach(starts, first, target)))
        is_lone = stop == first + 1
        is_next = not is_lone and (owed > 0 or generator.random() < 0.5)
        owed += is_lone - (is_next and owed > 0)
        middle = stop if is_lone else int(generator.integers(first + 1, stop))
        first_span = Span(document, starts[first], starts[middle])
        second_span = Span(document, starts[middle], starts[stop])
        if not is_next:
            second_span = span_from_elsewhere(sentences, place, target - first_span.length, generator)
        yield Pair(*truncate(first_span, second_span, room, generator), IS_NEXT if is_next else NOT_NEXT)
        first = stop if is_next else middle
    return owed


def reach(starts: Sequence[int], first: int, target: int) -> int:
    """Give where to stop so that the sentences from `first` have `target` tokens, or the document ends.

    >>> reach(array("q", [0, 5, 9, 20]), first=0, target=6)
    2
    """
    return bisect.bisect_left(starts, starts[first] + target, lo=first + 1, hi=len(starts) - 1)


def span_from_elsewhere(sentences: Sentences, place: int, target: int, generator: np.random.Generator) -> Span:
    """Draw another document and a sentence in it, and take sentences from there until the target is reached."""
    other = int(generator.integers(len(sentences.with_text) - 1))
    document = sentences.with_text[other + (other >= place)]
    starts = sentences.starts[document]
    first = int(generator.integers(len(starts) - 1))
    return Span(document, starts[first], starts[reach(starts, first, target)])


def truncate(first: Span, second: Span, room: int, generator: np.random.Generator) -> tuple[Span, Span]:
    """Shorten two spans to `room` tokens in all, the longer one first, each token off its front or back at random.

    The script takes tokens one by one, from the second span if both are equal. Its result is known beforehand: a span
    no longer than half the room stays whole, two longer ones end equal, and the number of tokens off the front is
    binomial.

    Source: `truncate_seq_pair` of the published `create_pretraining_data`.

    >>> both = truncate(Span(0, 0, 9), Span(1, 0, 2), room=6, generator=np.random.default_rng(0))
    >>> [span.length for span in both]
    [4, 2]
    """
    first_length = min(first.length, max(room - room // 2, room - second.length))
    second_length = min(second.length, max(room // 2, room - first.length))
    return shorten(first, first_length, generator), shorten(second, second_length, generator)


def shorten(span: Span, length: int, generator: np.random.Generator) -> Span:
    """Take tokens off both ends until `length` are left.

    >>> shorten(Span(0, 2, 5), length=3, generator=np.random.default_rng(0))
    Span(document=0, start=2, stop=5)
    """
    excess = span.length - length
    if excess == 0:
        return span
    start = span.start + int(generator.binomial(excess, 0.5))
    return Span(span.document, start, start + length)
