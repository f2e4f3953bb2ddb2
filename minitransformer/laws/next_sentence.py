"""Laws of sentence pairs: spans that fill the room they have, half of them true.

A pair is two spans and a label; a span is a document, and where its tokens start and stop. Exact laws hold of every
corpus. Laws about chances count the pairs of long corpora, mostly of sentences of one token, which are never cut.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from hypothesis import strategies as st

from minitransformer.laws.cases import seeds
from minitransformer.laws.law import law
from minitransformer.laws.rates import assert_rate
from minitransformer.objectives.next_sentence import Pair, Span

Function = Callable[..., Iterable[Any]]

IS_NEXT, NOT_NEXT = 0, 1
SPECIALS_OF_A_PAIR = 3


@dataclass(frozen=True)
class CorpusCase:
    """The lengths of the sentences of each document, and the tokens of a pair: the special ones, and room for text.

    The two stand together, so that nobody makes the room smaller than a pair, or a law about chances, needs.
    """

    lengths: list[list[int]]
    specials_and_room: tuple[int, int]
    seed: int

    @property
    def max_length(self) -> int:
        """The tokens of a pair."""
        return sum(self.specials_and_room)

    @property
    def room(self) -> int:
        """The tokens of both spans together."""
        return self.specials_and_room[1]

    def n_tokens(self, document: int) -> int:
        """The tokens of one document."""
        return sum(self.lengths[document])

    def boundaries(self, document: int) -> set[int]:
        """Where a sentence of a document may start or stop."""
        return set(np.cumsum([0, *self.lengths[document]]).tolist())

    def is_whole(self, span: Span) -> bool:
        """Whether a span is made of whole sentences."""
        return {span.start, span.stop} <= self.boundaries(span.document)

    def generator(self, name: str = "") -> np.random.Generator:
        """A new source of chance, always in the same state."""
        return np.random.default_rng([self.seed, *name.encode()])


def has_two_texts(lengths: list[list[int]]) -> bool:
    """Whether two documents have any tokens, so that a false pair can be made."""
    return sum(any(document) for document in lengths) >= 2


any_corpus = st.lists(st.lists(st.integers(0, 9), max_size=7), min_size=2, max_size=5).filter(has_two_texts)
single_tokens = st.lists(st.integers(1, 17).map(lambda count: [1] * count), min_size=2, max_size=5)
corpora = st.builds(CorpusCase, any_corpus, st.tuples(st.just(SPECIALS_OF_A_PAIR), st.integers(2, 20)), seeds)
corpora_of_single_tokens = st.builds(
    CorpusCase, single_tokens, st.tuples(st.just(SPECIALS_OF_A_PAIR), st.integers(2, 10)), seeds
)


def long_corpora(*lengths: list[list[int]], max_length: int) -> st.SearchStrategy[CorpusCase]:
    """A few large counts, which say more than many small ones."""
    specials_and_room = SPECIALS_OF_A_PAIR, max_length - SPECIALS_OF_A_PAIR
    return st.builds(CorpusCase, st.sampled_from(lengths), st.just(specials_and_room), st.integers(0, 2))


def pairs_of(make_pairs: Function, case: CorpusCase, *short_probability: float, name: str = "") -> list[Pair]:
    """All pairs of a corpus, from a generator in the state of the case."""
    found = list(make_pairs(case.lengths, case.max_length, case.generator(name), *short_probability))
    try:
        pairs = [Pair(Span(*first), Span(*second), int(label)) for first, second, label in found]
    except (TypeError, ValueError) as error:
        raise AssertionError("each pair should be two spans (document, start, stop) and a label") from error
    assert pairs, "there should be pairs, but there are none"
    return pairs


def true_spans(pairs: list[Pair]) -> dict[int, list[Span]]:
    """The spans of each document that its own pairs are made of, in the order of the text."""
    spans: dict[int, list[Span]] = {}
    for first, second, label in pairs:
        spans.setdefault(first.document, []).append(first)
        if label == IS_NEXT:
            spans.setdefault(second.document, []).append(second)
    return {document: sorted(its) for document, its in spans.items()}


# What holds of every corpus


@law("next-sentence-pairs", given=corpora, equations=())
def the_second_span_of_a_true_pair_follows_the_first(make_pairs: Function, case: CorpusCase) -> None:
    """Where the label is 0 the second span comes after the first in one document, and right after it if nothing is cut.

    Kills: the polarity of the label; a sentence lost between the spans; the second span before the first.
    Hint: Which number stands for "is next" in BERT? And where does B begin, if A stops at token 7?
    """
    for pair in pairs_of(make_pairs, case):
        first, second, label = pair
        if label == IS_NEXT:
            assert first.document == second.document, f"{pair} is labelled as true, but comes from two documents"
            assert first.stop <= second.start, f"{pair} is labelled as true, but the second span does not come after"
            if first.length + second.length < case.room:
                assert first.stop == second.start, f"{pair} is labelled as true, but something lies between the spans"


@law("next-sentence-pairs", given=corpora, equations=())
def the_second_span_of_a_false_pair_comes_from_another_document(make_pairs: Function, case: CorpusCase) -> None:
    """Where the label is 1 the second span comes from another document, and so never truly continues the first.

    Kills: the negative is the true next sentence, once in n draws; a negative from the same document; the polarity.
    Hint: In a corpus of two documents, how often does your random choice fall on the one that you are in?
    """
    for pair in pairs_of(make_pairs, case):
        assert pair.label in (IS_NEXT, NOT_NEXT), f"a label should be 0 or 1, but is {pair.label}"
        if pair.label == NOT_NEXT:
            differ = pair.first.document != pair.second.document
            assert differ, f"{pair} is labelled as false, but both spans come from one document"


@law("next-sentence-pairs", given=corpora, equations=())
def a_pair_fits_with_its_special_tokens(make_pairs: Function, case: CorpusCase) -> None:
    """The two spans have at most the tokens that the special tokens [CLS] A [SEP] B [SEP] leave.

    Kills: room for the special tokens forgotten, or counted as two; no truncation; only one span truncated.
    Hint: Write down the tokens of a whole pair, special ones included. How many are not text?
    """
    for pair in pairs_of(make_pairs, case):
        total = pair.first.length + pair.second.length
        assert total <= case.room, f"{pair} has {total} tokens, and {case.max_length} leave room for {case.room}"


@law("next-sentence-pairs", given=corpora, equations=())
def each_span_lies_in_its_document_and_has_tokens(make_pairs: Function, case: CorpusCase) -> None:
    """Each span has at least one token, and starts and stops inside its document.

    Kills: empty spans from empty sentences or documents; spans that run over a document's end into the next one.
    Hint: What does your function do at the last sentence of a document, and at a document without any?
    """
    for pair in pairs_of(make_pairs, case):
        for span in (pair.first, pair.second):
            is_document = 0 <= span.document < len(case.lengths)
            assert is_document, f"{span} is of no document: there are {len(case.lengths)}"
            end = case.n_tokens(span.document)
            assert 0 <= span.start < span.stop <= end, f"{span} should have tokens between 0 and {end}"


@law("next-sentence-pairs", given=corpora, equations=())
def spans_are_whole_sentences_unless_they_are_cut(make_pairs: Function, case: CorpusCase) -> None:
    """A pair that does not fill its room is made of whole sentences.

    Kills: boundaries off by one token; pieces cut at the target length where the room would have held the sentence.
    Hint: Add up the lengths of the sentences. Are the sums where your spans start and stop?
    """
    for pair in pairs_of(make_pairs, case):
        if pair.first.length + pair.second.length < case.room:
            for span in (pair.first, pair.second):
                assert case.is_whole(span), f"{span} should start and stop between sentences: nothing had to be cut"


@law("next-sentence-pairs", given=corpora, equations=())
def pairs_fill_their_room_unless_a_document_ends(make_pairs: Function, case: CorpusCase) -> None:
    """Where no shorter length is aimed at, a pair fills its room, unless its second span reaches a document's end.

    Kills: short single sentences instead of packed spans; sentences collected as long as they fit whole.
    Hint: Set `short_probability` to 0 and look at the lengths of your pairs. What made the short ones stop?
    """
    for pair in pairs_of(make_pairs, case, 0.0):
        total = pair.first.length + pair.second.length
        at_end = pair.second.stop == case.n_tokens(pair.second.document)
        assert at_end or total >= case.room, f"{pair} has {total} tokens, though there is more text to fill {case.room}"


@law("next-sentence-pairs", given=corpora, equations=())
def the_longer_span_is_cut(make_pairs: Function, case: CorpusCase) -> None:
    """A span is cut only as long as it is the longer one: what is left of it is as long as the other, or longer.

    Kills: the second span alone cut; both cut by the same number; the first span kept and no token left for the second.
    Hint: A has 40 tokens, B has 3, and there is room for 20. How much of each is left in your pair?
    """
    for pair in pairs_of(make_pairs, case):
        for span, other in ((pair.first, pair.second), (pair.second, pair.first)):
            # Of an odd room one span has a token more.
            is_longer = span.length >= other.length - 1
            assert is_longer or case.is_whole(span), f"{span} was cut, though {other} is longer"


@law("next-sentence-pairs", given=corpora, equations=())
def no_token_is_in_two_true_spans(make_pairs: Function, case: CorpusCase) -> None:
    """The first spans of a document, and the second ones that truly follow them, share no token.

    Kills: sentences put back after a true pair; a second span that begins inside the first; documents read twice.
    Hint: After a true pair, at which sentence does the next pair begin?
    """
    for spans in true_spans(pairs_of(make_pairs, case)).values():
        for earlier, later in pairwise(spans):
            assert earlier.stop <= later.start, f"{earlier} and {later} share tokens"


@law("next-sentence-pairs", given=corpora_of_single_tokens, equations=())
def no_text_is_lost(make_pairs: Function, case: CorpusCase) -> None:
    """Where no span has to be cut, the true spans are the whole text: what a false pair leaves over is put back.

    Kills: sentences after a false pair skipped; the last sentence of a document dropped; a document never read.
    Hint: A false pair has used A. What has become of the sentences that were collected for B?
    """
    spans = true_spans(pairs_of(make_pairs, case))
    for document in range(len(case.lengths)):
        read = {token for span in spans.get(document, []) for token in range(span.start, span.stop)}
        lost = sorted(set(range(case.n_tokens(document))) - read)
        assert not lost, f"sentences {lost} of document {document} are in no pair of their own document"


@law("next-sentence-pairs", given=corpora, equations=())
def the_same_state_of_the_generator_gives_the_same_pairs(make_pairs: Function, case: CorpusCase) -> None:
    """All chance comes from the generator: in the same state it gives the same pairs.

    Kills: randomness from global state, for one of the draws or for all; an order that comes from a set.
    Hint: Look at each call that draws a number. Which of them knows your generator?
    """
    assert pairs_of(make_pairs, case) == pairs_of(make_pairs, case), "the same state gave other pairs"


# What holds of chances


@law("next-sentence-pairs", given=long_corpora([[1] * 301, [1] * 301], max_length=13), equations=())
def another_generator_gives_other_pairs(make_pairs: Function, case: CorpusCase) -> None:
    """With another generator the same text is parted into other pairs.

    Kills: a seed set inside; the generator made anew from a constant.
    Hint: Ask twice, with two generators. Where does your function take its random numbers from?
    """
    others = pairs_of(make_pairs, case, name="another")
    assert pairs_of(make_pairs, case) != others, "another generator gives the same pairs"


@law(
    "next-sentence-pairs",
    given=long_corpora([[2] * 6001, [2] * 6001], [[5, 5]] * 1001, [[60, 4, 60]] * 501, max_length=31),
    equations=(),
)
def half_of_the_pairs_are_true(make_pairs: Function, case: CorpusCase) -> None:
    """Half of the pairs are true, also where many documents end with a sentence that nothing can follow.

    Kills: a coin that isn't even; lone last sentences that tip it, to two false pairs in three.
    Hint: Count the labels of a corpus of documents with two sentences each. Which pairs had no choice?
    """
    pairs = pairs_of(make_pairs, case)
    assert_rate(sum(pair.label == NOT_NEXT for pair in pairs), len(pairs), 0.5, "false pairs")


@law("next-sentence-pairs", given=long_corpora([[1] * 12_001, [1] * 3], max_length=23), equations=())
def one_pair_in_ten_aims_short(make_pairs: Function, case: CorpusCase) -> None:
    """One pair in ten aims at a random length from 2 tokens to the whole room, so that short pairs are known too.

    Kills: no short pairs; a short length for most; the choice made once for a whole document.
    Hint: Count the true pairs that do not fill the room. One in ten aims short: are some of these full after all?
    """
    lengths = lengths_of_true_pairs(pairs_of(make_pairs, case), case)
    is_short = sum(length < case.room for length in lengths)
    # Of the lengths from 2 to the room, all as likely, one is the room itself.
    assert_rate(is_short, len(lengths), 0.1 * (case.room - 2) / (case.room - 1), "true pairs that aim short")


@law("next-sentence-pairs", given=long_corpora([[1] * 9001, [1] * 3], max_length=15), equations=())
def each_short_length_is_as_likely_as_any_other(make_pairs: Function, case: CorpusCase) -> None:
    """The random lengths that are aimed at are all as likely, from 2 tokens to the whole room.

    Kills: the whole room or the shortest pair never drawn; half of the room for all; lengths in place of targets.
    Hint: Set `short_probability` to 1 and count the true pairs of each length. Where does your random integer end?
    """
    lengths = lengths_of_true_pairs(pairs_of(make_pairs, case, 1.0), case)
    counts = Counter(lengths)
    for length in range(case.room + 1):
        expected = 1 / (case.room - 1) if length >= 2 else 0.0
        assert_rate(counts[length], len(lengths), expected, f"true pairs of {length} tokens")


@law("next-sentence-pairs", given=long_corpora([[1] * 3001, [1] * 3], max_length=9), equations=())
def the_spans_are_parted_anywhere(make_pairs: Function, case: CorpusCase) -> None:
    """What was collected is parted behind any of its sentences but the last, each as likely.

    Kills: always parted in the middle; one sentence in A and the rest in B; a place that is never drawn.
    Hint: Six sentences were collected. How many ways are there to part them, and which do you draw?
    """
    true_pairs = [pair for pair in pairs_of(make_pairs, case, 0.0) if is_true_and_complete(pair, case)]
    counts = Counter(pair.first.length for pair in true_pairs)
    for length in range(1, case.room):
        assert_rate(counts[length], len(true_pairs), 1 / (case.room - 1), f"first spans of {length} sentences")


@law("next-sentence-pairs", given=long_corpora([[1] * 901, [], [1] * 901, [0], [1] * 901], max_length=7), equations=())
def the_other_document_is_any_other_with_text(make_pairs: Function, case: CorpusCase) -> None:
    """The second span of a false pair comes from any other document that has text, each as likely.

    Kills: the neighbour always; the document itself; an empty document; more often the one after an empty one.
    Hint: For the false pairs of one document, count which documents the second spans come from.
    """
    with_text = [document for document, lengths in enumerate(case.lengths) if any(lengths)]
    pairs = pairs_of(make_pairs, case)
    for own in with_text:
        counts = Counter(pair.second.document for pair in pairs if pair.label and pair.first.document == own)
        for document in range(len(case.lengths)):
            expected = 1 / (len(with_text) - 1) if document in with_text and document != own else 0.0
            what = f"false pairs of document {own} with document {document}"
            assert_rate(counts[document], counts.total(), expected, what)


@law("next-sentence-pairs", given=long_corpora([[1] * 3001, [1] * 7], max_length=7), equations=())
def a_false_span_may_begin_at_any_sentence(make_pairs: Function, case: CorpusCase) -> None:
    """The second span of a false pair begins at any sentence of its document, each as likely.

    Kills: negatives always from a document's beginning, which a model could tell by their style; the last one never.
    Hint: Where do your false spans start? Could a model learn to know them by that, without reading A?
    """
    starts = Counter(pair.second.start for pair in pairs_of(make_pairs, case) if pair.label and pair.second.document)
    for start in range(case.n_tokens(1)):
        assert_rate(starts[start], starts.total(), 1 / case.n_tokens(1), f"false spans that begin at sentence {start}")


@law("next-sentence-pairs", given=long_corpora([[40, 40]] * 301, [[40, 40, 40]] * 301, max_length=23), equations=())
def each_token_is_cut_off_the_front_or_the_back(make_pairs: Function, case: CorpusCase) -> None:
    """Of the tokens cut off a long span, each comes off the front or the back with the same chance.

    Kills: truncation from one end only; a coin for the whole excess instead of each token.
    Hint: Of a long sentence, which tokens do your pairs never show, or never together with its middle?
    """
    # Two sentences are more than there is room for, so each span is what is left of one: 10 of 40 tokens.
    spans = [span for pair in pairs_of(make_pairs, case, 0.0) for span in (pair.first, pair.second)]
    off_the_front = [span.start % 40 for span in spans]
    cut = [40 - span.length for span in spans]
    assert_rate(sum(off_the_front), sum(cut), 1 / 2, "tokens cut off the front")
    one_ended = sum(front in (0, all_of_it) for front, all_of_it in zip(off_the_front, cut, strict=True))
    assert_rate(one_ended, len(spans), 2 * 0.5**30, "spans cut at one end alone")


def is_true_and_complete(pair: Pair, case: CorpusCase) -> bool:
    """Whether a pair is true, and not the last of its document, which takes what is left."""
    return pair.label == IS_NEXT and pair.second.stop < case.n_tokens(pair.second.document)


def lengths_of_true_pairs(pairs: list[Pair], case: CorpusCase) -> list[int]:
    """How many tokens each true pair has, without the last one of a document, which takes what is left."""
    return [pair.first.length + pair.second.length for pair in pairs if is_true_and_complete(pair, case)]
