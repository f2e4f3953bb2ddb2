"""Mutants of sentence pairs.

Most are ours with one part exchanged. The part is what one reads: how much text is taken, or where the second span
comes from; `make_pairs` is built around it.
"""

# ruff: noqa: ARG001 - an argument that is never used is a classic mistake

from collections.abc import Callable, Iterable, Iterator

import numpy as np

from minitransformer.laws.zoo.mutant import Part, mutant, part_of
from minitransformer.objectives.next_sentence import (
    IS_NEXT,
    NOT_NEXT,
    SHORTEST_PAIR,
    SPECIALS_OF_A_PAIR,
    Pair,
    Sentences,
    Span,
    make_pairs,
    pairs_of_document,
    reach,
    span_from_elsewhere,
    truncate,
)

Lengths = Iterable[Iterable[int]]


# Sentence pairs, with one part exchanged


def our_target(room: int, short_probability: float, generator: np.random.Generator) -> int:
    """How many tokens a pair aims at."""
    if generator.random() < short_probability:
        return int(generator.integers(SHORTEST_PAIR, room + 1))
    return room


def our_middle(first: int, stop: int, generator: np.random.Generator) -> int:
    """The sentence that the second span begins with, of those from `first` to `stop`."""
    return int(generator.integers(first + 1, stop))


def our_next_first(is_next: bool, middle: int, stop: int) -> int:
    """The sentence that the next pair begins with: what a false pair did not use is put back."""
    return stop if is_next else middle


def pairing(
    target_of: Part = our_target,
    part: Part = our_middle,
    elsewhere: Part = span_from_elsewhere,
    cut: Part = truncate,
    go_on: Part = our_next_first,
) -> Part:
    """All of `make_pairs`, from its parts."""

    def pairs(
        sentence_lengths: Lengths, max_length: int, generator: np.random.Generator, short_probability: float = 0.1
    ) -> Iterator[Pair]:
        sentences = Sentences.from_lengths(sentence_lengths)
        room, owed = max_length - SPECIALS_OF_A_PAIR, 0
        for place, document in enumerate(sentences.with_text):
            starts, first = sentences.starts[document], 0
            while first < len(starts) - 1:
                target = target_of(room, short_probability, generator)
                stop = min(len(starts) - 1, max(first + 2, reach(starts, first, target)))
                is_lone = stop == first + 1
                is_next = not is_lone and (owed > 0 or generator.random() < 0.5)
                owed += is_lone - (is_next and owed > 0)
                middle = stop if is_lone else part(first, stop, generator)
                a, b = Span(document, starts[first], starts[middle]), Span(document, starts[middle], starts[stop])
                if not is_next:
                    b = elsewhere(sentences, place, target - a.length, generator)
                a, b = cut(a, b, room, generator)
                yield Pair(a, b, IS_NEXT if is_next else NOT_NEXT)
                first = go_on(is_next, middle, stop)

    return pairs


def pairs_changed(change: Callable[[Pair], Pair]) -> Part:
    """Our function, with something done to each of its pairs."""

    def pairs(
        sentence_lengths: Lengths, max_length: int, generator: np.random.Generator, short_probability: float = 0.1
    ) -> Iterator[Pair]:
        return map(change, make_pairs(sentence_lengths, max_length, generator, short_probability))

    return pairs


def beginning(span: Span, length: int) -> Span:
    """The first tokens of a span."""
    return span._replace(stop=span.start + length)


def ending(span: Span, length: int) -> Span:
    """The last tokens of a span."""
    return span._replace(start=span.stop - length)


aiming = part_of(lambda part: pairing(target_of=part), make_pairs)
parting = part_of(lambda part: pairing(part=part), make_pairs)
second_span = part_of(lambda part: pairing(elsewhere=part), make_pairs)
cutting = part_of(lambda part: pairing(cut=part), make_pairs)
going_on = part_of(lambda part: pairing(go_on=part), make_pairs)
each_pair = part_of(pairs_changed, make_pairs)

# Sentence pairs: the label and the negatives


@mutant(
    "next-sentence-pairs",
    symptom="Trains as well; but published weights say the opposite of what they mean.",
    source="google-research/bert#125",
    difficulty="hard",
)
@each_pair
def one_for_true(pair: Pair) -> Pair:
    """The label is 1 for a true pair and 0 for a false one: the polarity is reversed."""
    return pair._replace(label=1 - pair.label)


@mutant(
    "next-sentence-pairs",
    symptom="On a corpus of few documents the accuracy stays low, however long it trains.",
    source="codertimo/BERT-pytorch#110",
)
@second_span
def own_document_drawn_as_well(sentences: Sentences, place: int, target: int, generator: np.random.Generator) -> Span:
    """The second span of a false pair comes from any document, its own among them, and may be the true one."""
    document = sentences.with_text[int(generator.integers(len(sentences.with_text)))]
    starts = sentences.starts[document]
    first = int(generator.integers(len(starts) - 1))
    return Span(document, starts[first], starts[reach(starts, first, target)])


@mutant(
    "next-sentence-pairs",
    symptom="With few long documents many false pairs read on perfectly well, and nothing can be learned from them.",
    source="NVIDIA/DeepLearningExamples#421",
)
@second_span
def negative_from_the_same_document(
    sentences: Sentences, place: int, target: int, generator: np.random.Generator
) -> Span:
    """The second span of a false pair comes from its own document."""
    document = sentences.with_text[place]
    starts = sentences.starts[document]
    first = int(generator.integers(len(starts) - 1))
    return Span(document, starts[first], starts[reach(starts, first, target)])


@mutant(
    "next-sentence-pairs", symptom="The same two documents meet again and again; their subjects are learned by heart."
)
@second_span
def always_the_next_document(sentences: Sentences, place: int, target: int, generator: np.random.Generator) -> Span:
    """The second span of a false pair always comes from the document after."""
    document = sentences.with_text[(place + 1) % len(sentences.with_text)]
    starts = sentences.starts[document]
    first = int(generator.integers(len(starts) - 1))
    return Span(document, starts[first], starts[reach(starts, first, target)])


@mutant(
    "next-sentence-pairs",
    symptom="A suspiciously high accuracy: openings are told by their style, without reading the first span.",
)
@second_span
def negatives_are_openings(sentences: Sentences, place: int, target: int, generator: np.random.Generator) -> Span:
    """The second span of a false pair always begins where its document does."""
    elsewhere = span_from_elsewhere(sentences, place, target, generator)
    starts = sentences.starts[elsewhere.document]
    return Span(elsewhere.document, 0, starts[reach(starts, 0, target)])


@mutant("next-sentence-pairs", symptom="The program ends with ValueError at a file with two blank lines in a row.")
@second_span
def empty_documents_drawn_too(sentences: Sentences, place: int, target: int, generator: np.random.Generator) -> Span:
    """The other document is drawn from all, empty ones among them, and an empty one has no sentence to begin with."""
    own = sentences.with_text[place]
    document = int(generator.integers(len(sentences.starts) - 1))
    document += document >= own
    starts = sentences.starts[document]
    first = int(generator.integers(len(starts) - 1))
    return Span(document, starts[first], starts[reach(starts, first, target)])


@mutant(
    "next-sentence-pairs",
    symptom="Two in three pairs of short documents are false, and a model that always says so looks good.",
    difficulty="hard",
)
def lone_sentences_tip_the_balance(
    sentence_lengths: Lengths, max_length: int, generator: np.random.Generator, short_probability: float = 0.1
) -> Iterator[Pair]:
    """A document's last sentence, which nothing follows, makes a false pair, and no true one makes up for it."""
    sentences = Sentences.from_lengths(sentence_lengths)
    for place in range(len(sentences.with_text)):
        room, owed = max_length - SPECIALS_OF_A_PAIR, 0
        yield from pairs_of_document(sentences, place, room, short_probability, owed, generator)


# Sentence pairs: how much text


@mutant("next-sentence-pairs", symptom="A row now and then is one token too long, and the model refuses it.")
def two_special_tokens_counted(
    sentence_lengths: Lengths, max_length: int, generator: np.random.Generator, short_probability: float = 0.1
) -> Iterator[Pair]:
    """Room is left for two special tokens, where [CLS] A [SEP] B [SEP] has three."""
    return make_pairs(sentence_lengths, max_length + 1, generator, short_probability)


@mutant("next-sentence-pairs", symptom="Most of each row is padding: training is slow, and long texts stay unknown.")
def two_single_sentences(
    sentence_lengths: Lengths, max_length: int, generator: np.random.Generator, short_probability: float = 0.1
) -> Iterator[Pair]:
    """A pair is two single sentences, as the name says, where it should fill its room."""
    pairs: Iterator[Pair] = pairing(target_of=lambda *_: SHORTEST_PAIR)(sentence_lengths, max_length, generator)
    return pairs


@mutant("next-sentence-pairs", symptom="Long texts are fine; short ones, as in most tasks, have never been seen.")
@aiming
def never_short(room: int, short_probability: float, generator: np.random.Generator) -> int:
    """All pairs aim at the whole room: the one in ten that should be shorter is forgotten."""
    return room


@mutant("next-sentence-pairs", symptom="Short texts are known in one length only.", difficulty="medium")
@aiming
def half_the_room_for_all_short(room: int, short_probability: float, generator: np.random.Generator) -> int:
    """A pair that aims short aims at half of the room, and not at a random length."""
    return max(SHORTEST_PAIR, room // 2) if generator.random() < short_probability else room


@mutant("next-sentence-pairs", symptom="Some long documents are read in short pairs throughout; nine in ten never are.")
def short_once_for_all(
    sentence_lengths: Lengths, max_length: int, generator: np.random.Generator, short_probability: float = 0.1
) -> Iterator[Pair]:
    """Whether pairs aim short is drawn once, and holds for all of them."""
    is_short = generator.random() < short_probability
    return make_pairs(sentence_lengths, max_length, generator, 1.0 if is_short else 0.0)


@mutant("next-sentence-pairs", symptom="The model learns that both spans are equally long, and is at a loss elsewhere.")
@parting
def parted_in_the_middle(first: int, stop: int, generator: np.random.Generator) -> int:
    """What was collected is always parted in its middle."""
    return (first + stop) // 2


# Sentence pairs: where a span begins and ends


@mutant(
    "next-sentence-pairs",
    symptom="Beginnings are seen far more often than ends, which are never learned.",
    difficulty="hard",
)
@cutting
def cut_off_the_back_only(first: Span, second: Span, room: int, generator: np.random.Generator) -> tuple[Span, Span]:
    """What is too much is cut off the back alone, where each token should come off the front or the back."""
    short_first, short_second = truncate(first, second, room, generator)
    return beginning(first, short_first.length), beginning(second, short_second.length)


@mutant("next-sentence-pairs", symptom="The middle of a long sentence is never seen.", difficulty="hard")
@cutting
def one_coin_for_the_whole_cut(
    first: Span, second: Span, room: int, generator: np.random.Generator
) -> tuple[Span, Span]:
    """One coin says for all tokens whether they come off the front or the back."""
    short_first, short_second = truncate(first, second, room, generator)
    kept = beginning if generator.random() < 0.5 else ending
    return kept(first, short_first.length), kept(second, short_second.length)


@mutant(
    "next-sentence-pairs", symptom="A long first span leaves a token or none of the second: nothing can be learned."
)
@cutting
def only_the_second_span_cut(first: Span, second: Span, room: int, generator: np.random.Generator) -> list[Span]:
    """Only the second span is cut, however long the first one is."""
    return [first, second._replace(stop=min(second.stop, second.start + max(0, room - first.length)))]


@mutant(
    "next-sentence-pairs",
    symptom="Now and then a pair lacks a word between its spans; nobody notices.",
    difficulty="hard",
)
@each_pair
def a_token_lost_between_the_spans(pair: Pair) -> Pair:
    """The second span begins one token too late."""
    start = min(pair.second.start + 1, pair.second.stop - 1)
    return pair._replace(second=pair.second._replace(start=start))


@mutant("next-sentence-pairs", symptom="The first word of the next document ends this one; the last row crashes.")
@each_pair
def a_token_over_the_end(pair: Pair) -> Pair:
    """The end of the second span is taken for included: it has one token of what comes after."""
    return pair._replace(second=pair.second._replace(stop=pair.second.stop + 1))


# Sentence pairs: going on


@mutant("next-sentence-pairs", symptom="A quarter of the text is never a first span, and the corpus seems smaller.")
@going_on
def rest_of_a_false_pair_skipped(is_next: bool, middle: int, stop: int) -> int:
    """After a false pair the sentences that were collected for its second span are skipped, not put back."""
    return stop


@mutant("next-sentence-pairs", symptom="An epoch takes longer than it should, and the text is soon known by heart.")
@going_on
def second_span_read_again(is_next: bool, middle: int, stop: int) -> int:
    """After a true pair its second span is put back too, and is read again as a first one."""
    return middle


# Sentence pairs: chance


@mutant("next-sentence-pairs", symptom="Pairs are the same in every epoch and for every seed.", difficulty="easy")
def seed_set_inside(
    sentence_lengths: Lengths, max_length: int, generator: np.random.Generator, short_probability: float = 0.1
) -> Iterator[Pair]:
    """A generator is made inside from a constant, and the one that was given is not used."""
    return make_pairs(sentence_lengths, max_length, np.random.default_rng(0), short_probability)


@mutant("next-sentence-pairs", symptom="Two runs with one seed differ, and nobody finds out why.", difficulty="medium")
def chance_from_elsewhere(
    sentence_lengths: Lengths, max_length: int, generator: np.random.Generator, short_probability: float = 0.1
) -> Iterator[Pair]:
    """A generator without a seed is made inside, and the one that was given is not used."""
    return make_pairs(sentence_lengths, max_length, np.random.default_rng(), short_probability)
