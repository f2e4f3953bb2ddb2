"""Sentence pairs: spans packed as BERT packs them, half of them true."""

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minitransformer.errors import InputError
from minitransformer.objectives.next_sentence import IS_NEXT, NOT_NEXT, Span, make_pairs, truncate

corpora = st.lists(st.lists(st.integers(0, 9), max_size=7), min_size=2, max_size=5).filter(
    lambda documents: sum(any(document) for document in documents) >= 2
)


def pairs_of(lengths, max_length, seed=0, **options):
    return list(make_pairs(lengths, max_length, np.random.default_rng(seed), **options))


@given(corpora, st.integers(5, 23), st.integers(0, 1000))
def test_a_true_pair_follows_and_a_false_one_comes_from_another_document(lengths, max_length, seed):
    """Kills: the negative is the true next sentence; the polarity of the label; a negative from the same document."""
    for first, second, label in pairs_of(lengths, max_length, seed):
        if label == IS_NEXT:
            assert first.document == second.document
            assert first.stop <= second.start
        else:
            assert first.document != second.document


def test_the_label_of_a_true_pair_is_zero():
    """Kills: the polarity of the label."""
    assert (IS_NEXT, NOT_NEXT) == (0, 1)


@given(corpora, st.integers(5, 23), st.integers(0, 1000))
def test_pairs_fit_and_both_spans_have_tokens_of_their_document(lengths, max_length, seed):
    """Kills: room for the special tokens forgotten; empty spans; spans that run over a document's end."""
    for first, second, _ in pairs_of(lengths, max_length, seed):
        assert first.length + second.length <= max_length - 3
        for span in (first, second):
            assert 0 <= span.start < span.stop <= sum(lengths[span.document])


@given(corpora, st.integers(5, 23), st.integers(0, 1000))
def test_spans_are_whole_sentences_unless_they_were_truncated(lengths, max_length, seed):
    """Kills: boundaries off by one token."""
    for first, second, _ in pairs_of(lengths, max_length, seed):
        if first.length + second.length < max_length - 3:
            for span in (first, second):
                starts = np.cumsum([0, *lengths[span.document]]).tolist()
                assert span.start in starts
                assert span.stop in starts


@given(st.lists(st.integers(1, 17), min_size=2, max_size=5), st.integers(5, 13), st.integers(0, 1000))
def test_unused_sentences_are_put_back(sentence_counts, max_length, seed):
    """Kills: sentences after a false pair skipped, so that text is lost. One-token sentences are never truncated."""
    lengths = [[1] * count for count in sentence_counts]
    used: dict[int, list[Span]] = {document: [] for document in range(len(lengths))}
    for first, second, label in pairs_of(lengths, max_length, seed):
        used[first.document].append(first)
        if label == IS_NEXT:
            used[second.document].append(second)
    for document, spans in used.items():
        assert spans[0].start == 0
        assert spans[-1].stop == sentence_counts[document]
        assert all(earlier.stop == later.start for earlier, later in pairwise(spans))


@given(corpora, st.integers(5, 23), st.integers(0, 1000))
def test_pairs_depend_on_the_generator_alone(lengths, max_length, seed):
    """Kills: randomness from global state."""
    assert pairs_of(lengths, max_length, seed) == pairs_of(lengths, max_length, seed)


def test_spans_are_packed_to_the_length():
    """Kills: short single sentences instead of packed spans."""
    pairs = pairs_of([[3] * 401, [3] * 397], max_length=63, short_probability=0.0)
    full = sum(first.length + second.length == 60 for first, second, _ in pairs)
    assert full >= 0.9 * len(pairs)


def test_half_of_the_pairs_are_true(assert_rate):
    """Kills: a coin that isn't even; lone last sentences that tip it (to two false pairs in three)."""
    for lengths in ([[2] * 9001, [2] * 9001], [[5, 5]] * 5001, [[60, 4, 60]] * 3001):
        labels = Counter(pair.label for pair in pairs_of(lengths, max_length=31))
        assert_rate(labels[NOT_NEXT], labels.total(), 0.5)


def test_one_pair_in_ten_aims_short(assert_rate):
    """Kills: no short pairs, or a short length for most. One-token sentences reach any target exactly."""
    room, pairs = 20, pairs_of([[1] * 90_001, [1] * 3], max_length=23)
    true_pairs = [first.length + second.length for first, second, label in pairs if label == IS_NEXT]
    short = Counter(length for length in true_pairs if length < room)
    assert_rate(short.total(), len(true_pairs), 0.1 * (room - 2) / (room - 1))
    for length in range(2, room):
        assert_rate(short[length], len(true_pairs), 0.1 / (room - 1))


def test_the_other_document_is_any_other_with_text(assert_rate):
    """Kills: the neighbour always; the document itself; an empty document."""
    pairs = pairs_of([[1] * 3001, [], [1] * 3001, [0], [1] * 3001], max_length=7, short_probability=0.0)
    for own, others in ((0, (2, 4)), (2, (0, 4)), (4, (0, 2))):
        count = Counter(second.document for first, second, label in pairs if label and first.document == own)
        assert set(count) == set(others)
        assert_rate(count[others[0]], count.total(), 0.5)


def test_a_false_span_may_begin_anywhere_in_its_document(assert_rate):
    """Kills: negatives always from a document's beginning, which a model could tell by position."""
    pairs = pairs_of([[1] * 20_001, [1] * 7], max_length=7, short_probability=0.0)
    starts = Counter(second.start for _, second, label in pairs if label and second.document == 1)
    for start in range(7):
        assert_rate(starts[start], starts.total(), 1 / 7)


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
