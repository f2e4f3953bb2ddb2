"""Word vectors from the company that words keep: counted, weighed, compressed; all before the first update."""

import math

import numpy as np
from jaxtyping import Float, Int


def positive_pmi(counts: Int[np.ndarray, "V C"], smoothing: float = 0.75) -> Float[np.ndarray, "V C"]:
    """How much more often than by chance two words meet, as a logarithm; less often counts as 0.

    Equation eq:positive-pmi:
        PPMI(w, c) = max(0, ln(n(w, c) / n(w)) − ln(n(c)^α / Σ_c′ n(c′)^α)), and 0 where n(w, c) = 0

    Source: Levy, Goldberg and Dagan 2015, §2.1 (PPMI) and §3.2 (smoothing, α = 0.75).

    >>> np.exp(positive_pmi(np.array([[3, 0], [0, 3]]))).round(12).tolist()
    [[2.0, 1.0], [1.0, 2.0]]
    """
    association = np.zeros(counts.shape)
    of_word, of_context = counts.sum(axis=1), counts.sum(axis=0) ** smoothing
    for w, row in enumerate(counts):
        for c, n in enumerate(row):
            if n > 0:
                pmi = math.log(n / of_word[w]) - math.log(of_context[c] / of_context.sum())
                association[w, c] = max(0.0, pmi)
    return association


def word_vectors(association: Float[np.ndarray, "V C"], n_columns: int) -> Float[np.ndarray, "V _"]:
    """The rows of a matrix in fewer columns, as much alike as before.

    Equation eq:word-vectors:
        W = U_d Σ_d^½,  where M ≈ U_d Σ_d V_dᵀ is the best approximation of rank d

    Source: Levy, Goldberg and Dagan 2015, §2.2 and §3.3; that skip-grams learn nearly this is Levy and Goldberg 2014,
    §3.

    >>> np.abs(word_vectors(np.array([[4.0, 0.0], [0.0, 1.0]]), n_columns=1)).tolist()
    [[2.0], [0.0]]
    """
    left, singular_values, _ = np.linalg.svd(association, full_matrices=False)
    return (left * np.sqrt(singular_values))[:, :n_columns]
