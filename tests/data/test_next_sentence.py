"""Sentence pairs: truncation, errors, and whether the laws about chances notice a mistake.

That our function keeps the laws is tested with all others, in test_laws.py.
"""

from collections import Counter

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from minitransformer.errors import InputError
from minitransformer.laws import CATALOGUE
from minitransformer.objectives.next_sentence import (
    IS_NEXT,
    NOT_NEXT,
    Sentences,
    Span,
    make_pairs,
    pairs_of_document,
    truncate,
)


def pairs_of(lengths, max_length, seed=0, **options):
    return list(make_pairs(lengths, max_length, np.random.default_rng(seed), **options))


def test_the_label_of_a_true_pair_is_zero():
    """Kills: the polarity of the label."""
    assert (IS_NEXT, NOT_NEXT) == (0, 1)


def truncate_one_by_one(lengths, room, generator):
    """The published script's loop."""
    ends = [[0, lengths[0]], [0, lengths[1]]]
    while (ends[0][1] - ends[0][0]) + (ends[1][1] - ends[1][0]) > room:
        longer = ends[0] if ends[0][1] - ends[0][0] > ends[1][1] - ends[1][0] else ends[1]
        if generator.random() < 0.5:
            longer[0] += 1
        else:
            longer[1] -= 1
    return ends


@given(st.integers(1, 40), st.integers(1, 40), st.integers(2, 30), st.integers(0, 1000))
def test_truncation_leaves_what_the_published_loop_leaves(first, second, room, seed):
    """Kills: cutting the second span only; the tie going to the wrong span."""
    ours = truncate(Span(0, 3, 3 + first), Span(1, 5, 5 + second), room, np.random.default_rng(seed))
    theirs = truncate_one_by_one((first, second), room, np.random.default_rng(seed))
    assert [span.length for span in ours] == [stop - start for start, stop in theirs]


def test_truncation_takes_from_front_and_back_as_the_published_loop_does(assert_rate):
    """Kills: truncation from one end only; a coin for the whole excess instead of each token."""
    generator, trials = np.random.default_rng(0), 5003
    ours = Counter(truncate(Span(0, 0, 12), Span(1, 0, 4), 12, generator)[0].start for _ in range(trials))
    theirs = Counter(truncate_one_by_one((12, 4), 12, generator)[0][0] for _ in range(trials))
    for start, probability in enumerate([1 / 16, 4 / 16, 6 / 16, 4 / 16, 1 / 16]):
        assert_rate(ours[start], trials, probability)
        assert_rate(theirs[start], trials, probability)


@pytest.mark.parametrize("lengths", [[], [[3, 4]], [[3, 4], [], [0, 0]]])
def test_fewer_than_two_documents_with_text_are_refused(lengths):
    """Kills: negatives from the only document, which are its true continuation."""
    with pytest.raises(InputError, match=r"need two documents with text, and there are [01]"):
        pairs_of(lengths, max_length=16)


@pytest.mark.parametrize("max_length", [0, 4])
def test_a_length_without_room_for_a_pair_is_refused(max_length):
    with pytest.raises(InputError, match=f"max_length={max_length} must be at least 5"):
        pairs_of([[1], [1]], max_length)


def test_a_wrong_probability_is_refused():
    with pytest.raises(InputError, match=r"short_probability=1\.1"):
        pairs_of([[1], [1]], 9, short_probability=1.1)


def changed(change):
    """Our function, with each of its pairs changed, or left out where the change gives nothing."""
    return lambda *args: [pair for pair in map(change, make_pairs(*args)) if pair]


def begin_at_the_beginning(pair):
    return pair._replace(second=Span(pair.second.document, 0, pair.second.length)) if pair.label else pair


def only_the_neighbour(pair):
    return pair if pair.label == IS_NEXT or pair.second.document == (pair.first.document + 2) % 6 else None


def start_at(span, offset):
    start = span.start - span.start % 40 + offset
    return Span(span.document, start, start + span.length)


def cut_off_the_back(pair):
    return pair._replace(first=start_at(pair.first, 0), second=start_at(pair.second, 0))


def cut_by_one_coin(pair):
    first, second = (start_at(span, 30 * (span.start % 40 > 15)) for span in pair[:2])
    return pair._replace(first=first, second=second)


def without_making_up(lengths, max_length, generator, short_probability=0.1):
    """The lone last sentences of documents tip the balance."""
    sentences = Sentences.from_lengths(lengths)
    for place in range(len(sentences.with_text)):
        yield from pairs_of_document(sentences, place, max_length - 3, short_probability, 0, generator)


def short_with(probability):
    return lambda lengths, max_length, generator: make_pairs(lengths, max_length, generator, probability)


MISTAKES = {
    "lone sentences tip the balance": ("half_of_the_pairs_are_true", without_making_up),
    "no short pairs": ("one_pair_in_ten_aims_short", short_with(0.0)),
    "twice as many short pairs": ("one_pair_in_ten_aims_short", short_with(0.2)),
    "the shortest never": (
        "each_short_length_is_as_likely_as_any_other",
        changed(lambda pair: pair if pair.first.length + pair.second.length > 2 else None),
    ),
    "never a single sentence in front": (
        "the_spans_are_parted_anywhere",
        changed(lambda pair: pair if pair.first.length > 1 else None),
    ),
    "only the neighbour": ("the_other_document_is_any_other_with_text", changed(only_the_neighbour)),
    "always from the beginning": ("a_false_span_may_begin_at_any_sentence", changed(begin_at_the_beginning)),
    "cut off the back": ("each_token_is_cut_off_the_front_or_the_back", changed(cut_off_the_back)),
    "one coin for the whole excess": ("each_token_is_cut_off_the_front_or_the_back", changed(cut_by_one_coin)),
    "a seed inside": (
        "another_generator_gives_other_pairs",
        lambda lengths, max_length, _: make_pairs(lengths, max_length, np.random.default_rng(0)),
    ),
    "a generator of its own": (
        "the_same_state_of_the_generator_gives_the_same_pairs",
        lambda lengths, max_length, _: make_pairs(lengths, max_length, np.random.default_rng()),
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_law_about_chances_notices_a_mistake(mistake):
    name, wrong = MISTAKES[mistake]
    (law,) = [law for law in CATALOGUE if (law.claim, law.name) == ("next-sentence-pairs", name)]

    @settings(max_examples=20, derandomize=True, database=None, phases=[Phase.generate], report_multiple_bugs=False)
    @given(case=law.cases)
    def check(case):
        law.check(wrong, case)

    with pytest.raises(AssertionError):
        check()
