"""Word vectors from the company that words keep: counted, weighed, compressed; all before the first update.

A model that draws its word vectors at random spends its first thousand updates on finding out which words go together.
The text says so at once, to whoever counts.
"""

from collections.abc import Iterable

import numpy as np
import torch
from jaxtyping import Float, Int, Integer
from torch import Tensor

WINDOW = 40
"""Tokens on either side that count as company: a few sentences, so that words of one matter come close."""
N_CONTEXTS = 2048
"""The most frequent words say enough about the company of all; it keeps the table of counts small."""
SPARE_DIMENSIONS = 10
"""More dimensions than asked for make the approximation accurate. Source: Halko et al. 2011, §4.3."""


def vectors_from_company(
    documents: Iterable[Integer[np.ndarray, " _"]], word_counts: Int[np.ndarray, " V"], n_columns: int
) -> Float[Tensor, "V _"]:
    """A vector for each word such that words of like company have like vectors.

    There are fewer columns than asked for if the vocabulary is smaller.

    >>> hill, plain, wave, boat = 0, 1, 2, 3
    >>> documents = [np.array([hill, plain, hill, hill, plain]), np.array([wave, boat, wave, boat, boat])]
    >>> vectors = vectors_from_company(documents, word_counts=np.array([3, 2, 2, 3]), n_columns=2)
    >>> bool(vectors[hill] @ vectors[plain] > vectors[hill] @ vectors[boat])
    True
    """
    contexts = np.argsort(-word_counts, kind="stable")[:N_CONTEXTS]
    counts = count_company(documents, len(word_counts), contexts)
    return word_vectors(positive_pmi(torch.from_numpy(counts)), n_columns)


def count_company(
    documents: Iterable[Integer[np.ndarray, " _"]], n_words: int, contexts: Int[np.ndarray, " C"], window: int = WINDOW
) -> Int[np.ndarray, "V C"]:
    """How often each word stands within `window` tokens of each context word of the same document.

    >>> count_company([np.array([0, 1, 1]), np.array([2])], n_words=3, contexts=np.array([0, 1]), window=2)
    array([[0, 2],
           [2, 2],
           [0, 0]])
    """
    column = np.full(n_words, -1)
    column[contexts] = np.arange(len(contexts))
    counts = np.zeros(n_words * len(contexts), dtype=np.int64)
    for document in documents:
        for distance in range(1, min(window, len(document) - 1) + 1):
            before, after = document[:-distance].astype(np.int64), document[distance:].astype(np.int64)
            for words, company in ((before, after), (after, before)):
                is_context = column[company] >= 0
                np.add.at(counts, words[is_context] * len(contexts) + column[company[is_context]], 1)
    return counts.reshape(n_words, len(contexts))


def positive_pmi(counts: Int[Tensor, "V C"], smoothing: float = 0.75) -> Float[Tensor, "V C"]:
    """How much more often than by chance two words meet, as a logarithm; less often counts as 0.

    Equation eq:positive-pmi:
        PPMI(w, c) = max(0, ln(n(w, c) / n(w)) − ln(n(c)^α / Σ_c′ n(c′)^α)), and 0 where n(w, c) = 0

    Smoothing by α lifts the chance of rare contexts, whose few meetings would otherwise weigh most.

    Source: Levy, Goldberg and Dagan 2015, §2.1 (PPMI) and §3.2 (smoothing, α = 0.75).

    >>> positive_pmi(torch.tensor([[3, 0], [0, 3]])).exp().tolist()
    [[2.0, 1.0], [1.0, 2.0]]
    """
    found = counts.to(torch.get_default_dtype())
    of_word, of_context = found.sum(1, keepdim=True), found.sum(0) ** smoothing
    pmi = (found / of_word).log() - (of_context / of_context.sum()).log()
    return torch.where(counts > 0, pmi, 0.0).clamp(min=0.0)


def word_vectors(association: Float[Tensor, "V C"], n_columns: int) -> Float[Tensor, "V _"]:
    """The rows of a matrix in fewer columns, as much alike as before.

    Equation eq:word-vectors:
        W = U_d Σ_d^½,  where M ≈ U_d Σ_d V_dᵀ is the best approximation of rank d

    The singular values say how much each column matters; the root keeps the first few from drowning the others.

    Source: Levy, Goldberg and Dagan 2015, §2.2 and §3.3; that skip-grams learn nearly this is Levy and Goldberg 2014,
    §3. The approximation of the decomposition is Halko et al. 2011, Algorithm 4.4, begun from the same draw each time.

    >>> word_vectors(torch.tensor([[4.0, 0.0], [0.0, 1.0]]), n_columns=1).abs().round(decimals=4).tolist()
    [[2.0], [0.0]]
    """
    rank = min(n_columns + SPARE_DIMENSIONS, *association.shape)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        left, singular_values, _ = torch.svd_lowrank(association, q=rank, niter=4)
    return (left * singular_values.sqrt())[:, :n_columns]
