"""Laws of word vectors made from the company that words keep."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from minitransformer import reference, word_vectors
from minitransformer.laws.cases import few_examples, numbers, seeds, shuffled, whole_numbers
from minitransformer.laws.tolerances import assert_same
from minitransformer.word_vectors import count_company, vectors_from_company

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


# From documents to vectors.


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


@pytest.mark.equation("word-vectors")
@pytest.mark.parametrize("seed", range(5))
def test_a_larger_matrix_is_approximated_as_well_as_a_training_needs(seed: int) -> None:
    """Where spare dimensions are too few for exactness, and the k-th singular value is 1/k, a percent is not missed.

    Kills: no repetition of the multiplication, with which small singular values drown large ones.
    """
    left, right = (torch.linalg.qr(numbers(seed, name, size, 150)).Q for name, size in (("w", 200), ("c", 170)))
    association = left / torch.arange(1, 151) @ right.T
    found = word_vectors.word_vectors(association, 20)
    expected = torch.from_numpy(reference.word_vectors.word_vectors(association.numpy(), 20))
    difference = (found @ found.T - expected @ expected.T).norm() / (expected @ expected.T).norm()
    assert difference < 0.01, f"the likeness should be right to a percent, but is off by {difference:.2%}"
