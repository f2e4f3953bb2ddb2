"""Laws of word vectors made from the company that words keep."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from minitransformer import reference, word_vectors
from minitransformer.laws.cases import SIZES, few_examples, numbers, seeds, shuffled, whole_numbers
from minitransformer.laws.tolerances import LAYER, ROUNDING, SUM, assert_close, assert_same
from minitransformer.word_vectors import count_company, positive_pmi, vectors_from_company

sizes = st.sampled_from(SIZES)


def counts_of(seed: int, n_words: int, n_contexts: int) -> torch.Tensor:
    """How often words met contexts, many of them never; each context was met at least once, as in a text."""
    counts = (whole_numbers(seed, "counts", -5, 9, n_words, n_contexts)).clamp(min=0)
    counts[0] += 1
    return counts


# Counting.


def counted_one_by_one(documents: list[list[int]], n_words: int, contexts: list[int], window: int) -> np.ndarray:
    """The same counts by the definition."""
    counts = np.zeros((n_words, len(contexts)), dtype=np.int64)
    for document in documents:
        for i, word in enumerate(document):
            for j, other in enumerate(document):
                if 0 < abs(i - j) <= window and other in contexts:
                    counts[word, contexts.index(other)] += 1
    return counts


@given(
    documents=st.lists(st.lists(st.integers(0, 4), max_size=9), max_size=4),
    contexts=st.permutations(range(5)).flatmap(lambda ids: st.integers(1, 5).map(lambda n: ids[:n])),
    window=st.integers(1, 12),
)
def test_company_is_whoever_stands_within_the_window_of_the_same_document(
    documents: list[list[int]], contexts: list[int], window: int
) -> None:
    """Counting by shifts of the whole document finds what counting pair by pair does.

    Kills: a word as its own company; company across documents; one side only; the window off by one; contexts by id.
    """
    arrays = [np.array(document, dtype=np.uint16) for document in documents]
    found = count_company(arrays, 5, np.array(contexts), window)
    assert_same(found, counted_one_by_one(documents, 5, contexts, window), "the counts")


# Weighing.


@pytest.mark.equation("positive-pmi")
@given(seed=seeds, n_words=sizes, n_contexts=sizes, smoothing=st.floats(0.1, 1.0))
def test_positive_pmi_matches_reference(seed: int, n_words: int, n_contexts: int, smoothing: float) -> None:
    """PyTorch and NumPy give the same association.

    Kills: rows and columns confused; smoothing of the words in place of the contexts; logarithms of base 2.
    """
    counts = counts_of(seed, n_words, n_contexts)
    expected = reference.word_vectors.positive_pmi(counts.numpy(), smoothing)
    assert_close(positive_pmi(counts, smoothing), expected, SUM, scale=8.0, what="the association")


@pytest.mark.equation("positive-pmi")
@given(seed=seeds, n_words=sizes, n_contexts=sizes)
def test_words_that_meet_by_chance_only_are_not_associated(seed: int, n_words: int, n_contexts: int) -> None:
    """Where counts are the product of two frequencies, nothing is associated with anything.

    Kills: joint counts without the division by the single ones; a missing logarithm.
    """
    of_words, of_contexts = whole_numbers(seed, "w", 1, 9, n_words, 1), whole_numbers(seed, "c", 1, 9, 1, n_contexts)
    association = positive_pmi(of_words * of_contexts, smoothing=1.0)
    assert_close(association, torch.zeros(n_words, n_contexts), ROUNDING, scale=8.0)


@pytest.mark.equation("positive-pmi")
@given(seed=seeds, n_words=sizes, n_contexts=sizes, factor=st.sampled_from([2, 3, 8]))
def test_a_text_read_several_times_associates_as_one_read_once(
    seed: int, n_words: int, n_contexts: int, factor: int
) -> None:
    """All counts times a factor give the same association; what never met stays at 0, and nothing is below 0.

    Kills: a constant added to the counts; negative associations; −∞ or NaN where nothing was found.
    """
    counts = counts_of(seed, n_words, n_contexts)
    once, often = positive_pmi(counts), positive_pmi(factor * counts)
    assert_close(often, once, SUM, scale=8.0)
    assert (once[counts == 0] == 0).all(), "words that never met should have association 0"
    assert (once >= 0).all(), "no association should be negative"


def test_a_word_without_any_company_has_no_association() -> None:
    association = positive_pmi(torch.tensor([[0, 0], [2, 1]]))
    assert_same(association[0], torch.zeros(2))


# Compressing.


def matrix_with_distances(seed: int, n_words: int, n_contexts: int) -> torch.Tensor:
    """A matrix whose singular values lie one apart, for vectors of nearly equal ones are nearly free to turn."""
    rank = min(n_words, n_contexts)
    left, right = (
        torch.linalg.qr(numbers(seed, name, size, rank)).Q for name, size in (("w", n_words), ("c", n_contexts))
    )
    return left * torch.arange(rank, 0, -1) @ right.T


@pytest.mark.equation("word-vectors")
@few_examples
@given(seed=seeds, n_words=sizes, n_contexts=sizes, n_columns=st.integers(3, 13))
def test_word_vectors_match_reference(seed: int, n_words: int, n_contexts: int, n_columns: int) -> None:
    """Each column is the reference's up to its sign, which a singular vector leaves open.

    With three columns and the spare dimensions no matrix of these sizes is approximated.

    Kills: the singular values whole or left out; the right vectors in place of the left; columns in another order.
    """
    association = matrix_with_distances(seed, n_words, n_contexts)
    found = word_vectors.word_vectors(association, n_columns)
    expected = torch.from_numpy(reference.word_vectors.word_vectors(association.numpy(), n_columns))
    assert found.shape == (n_words, min(n_columns, n_words, n_contexts))
    sign = (found * expected).sum(0).sign()
    assert_close(found * sign, expected, LAYER, what="the vectors")


@pytest.mark.equation("word-vectors")
@pytest.mark.parametrize("seed", range(5))
def test_a_larger_matrix_is_approximated_as_well_as_a_training_needs(seed: int) -> None:
    """Where spare dimensions are too few for exactness, and the k-th singular value is 1/k, a percent is not missed.

    Kills: no repetition of the multiplication, with which small singular values drown large ones.
    """
    torch.manual_seed(seed)
    left, right = (torch.linalg.qr(numbers(seed, name, size, 150)).Q for name, size in (("w", 200), ("c", 170)))
    association = left / torch.arange(1, 151) @ right.T
    found = word_vectors.word_vectors(association, 20)
    expected = torch.from_numpy(reference.word_vectors.word_vectors(association.numpy(), 20))
    difference = (found @ found.T - expected @ expected.T).norm() / (expected @ expected.T).norm()
    assert difference < 0.01, f"the likeness should be right to a percent, but is off by {difference:.2%}"


@pytest.mark.equation("word-vectors")
@few_examples
@given(seed=seeds, rank=st.sampled_from([2, 3, 5]))
def test_a_matrix_of_low_rank_loses_nothing(seed: int, rank: int) -> None:
    """If M is symmetric, positive and of rank d, the vectors in d columns give it back: W Wᵀ = M.

    Kills: vectors normalised; one column too few; the root of the root.
    """
    root = numbers(seed, "root", 13, rank)
    vectors = word_vectors.word_vectors(root @ root.T, rank)
    assert_close(vectors @ vectors.T, root @ root.T, LAYER, what="the matrix")


@pytest.mark.equation("positive-pmi", "word-vectors")
@few_examples
@given(seed=seeds)
def test_words_of_one_matter_come_closer_than_words_of_two(seed: int) -> None:
    """In documents that each speak of one of two matters, words of the same matter have the more similar vectors.

    Kills: vectors of contexts by position; company counted in other documents; words numbered by frequency.
    """
    of_land, of_sea = whole_numbers(seed, "land", 0, 5, 20, 30), whole_numbers(seed, "sea", 5, 10, 20, 30)
    documents = [document.numpy() for document in torch.cat([of_land, of_sea])[shuffled(seed, "order", 40)]]
    word_counts = np.bincount(np.concatenate(documents), minlength=10)
    torch.manual_seed(seed % 2**31)
    vectors = vectors_from_company(documents, word_counts, n_columns=3)
    likeness = torch.nn.functional.normalize(vectors, dim=1) @ torch.nn.functional.normalize(vectors, dim=1).T
    assert likeness[:5, :5].min() > likeness[:5, 5:].max(), "land should be nearer to land than to the sea"


def test_only_the_most_frequent_words_are_contexts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(word_vectors, "N_CONTEXTS", 2)
    asked: list[list[int]] = []
    count = word_vectors.count_company
    monkeypatch.setattr(
        word_vectors,
        "count_company",
        lambda documents, n_words, contexts: asked.append(contexts.tolist()) or count(documents, n_words, contexts),
    )
    vectors = vectors_from_company([np.array([0, 1, 2, 2, 1, 2])], np.array([1, 2, 3]), n_columns=5)
    assert asked == [[2, 1]]
    assert vectors.shape == (3, 2)
