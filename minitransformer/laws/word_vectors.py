"""Laws of the association of words with the company they keep, and of the vectors made from it.

A singular vector is as good as its opposite, so a law about word vectors leaves the sign of each column open.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from hypothesis import strategies as st
from torch import Tensor

from minitransformer import reference
from minitransformer.laws.cases import Draw, distinct_sizes, numbers, seeds, shuffled, whole_numbers
from minitransformer.laws.law import law
from minitransformer.laws.tolerances import LAYER, ROUNDING, SUM, as_array, assert_close

Function = Callable[..., Tensor]

LARGEST_ASSOCIATION = 8.0
"""No logarithm of the counts that are drawn is larger: it is the scale of what is computed with them."""


@dataclass(frozen=True)
class CountsCase:
    """How often words met contexts, many of them never; each context was met at least once, as in a text."""

    n_words: int
    n_contexts: int
    smoothing: float
    factor: int
    seed: int

    @cached_property
    def counts(self) -> Tensor:
        """A row for each word, a column for each context."""
        counts = whole_numbers(self.seed, "counts", -5, 9, self.n_words, self.n_contexts).clamp(min=0)
        counts[0] += 1
        return counts


@st.composite
def counts_cases(draw: Draw) -> CountsCase:
    """Small tables of counts."""
    n_words, n_contexts = draw(distinct_sizes(2))
    return CountsCase(
        n_words, n_contexts, draw(st.sampled_from([0.25, 0.5, 1.0])), draw(st.sampled_from([2, 3, 8])), draw(seeds)
    )


@dataclass(frozen=True)
class MatrixCase:
    """A matrix to compress, and the number of columns that may be left."""

    n_words: int
    n_contexts: int
    n_columns: int
    seed: int

    @property
    def rank(self) -> int:
        """How many columns lose nothing."""
        return min(self.n_words, self.n_contexts)

    @cached_property
    def singular_values(self) -> Tensor:
        """They lie one apart, for vectors of nearly equal ones are nearly free to turn."""
        return torch.arange(self.rank, 0, -1, dtype=torch.float64)

    @cached_property
    def matrix(self) -> Tensor:
        """A row for each word."""
        left = orthonormal(self.seed, "words", self.n_words, self.rank)
        return left * self.singular_values @ orthonormal(self.seed, "contexts", self.n_contexts, self.rank).T


@st.composite
def matrix_cases(draw: Draw) -> MatrixCase:
    """Matrices that are compressed to fewer columns, or to as many as they have."""
    n_words, n_contexts = draw(distinct_sizes(2))
    return MatrixCase(n_words, n_contexts, draw(st.integers(1, min(n_words, n_contexts))), draw(seeds))


def orthonormal(seed: int, name: str, height: int, width: int) -> Tensor:
    """Columns of length 1 at right angles."""
    columns: Tensor = torch.linalg.qr(numbers(seed, name, height, width)).Q
    return columns


def assert_close_up_to_signs(actual: Tensor, expected: Tensor, case: MatrixCase, what: str) -> None:
    """Fail unless each column is the expected one or its opposite.

    A rounding of the largest singular value turns a vector by that rounding over the gap to the next one: `rank` to 1.
    """
    assert actual.shape == expected.shape, f"{what} have shape {tuple(actual.shape)}, not {tuple(expected.shape)}"
    signs = torch.where((actual * expected).sum(0) < 0, -1.0, 1.0).to(actual.dtype)
    scale = case.rank * max(1.0, float(expected.abs().max()))
    assert_close(actual * signs, expected, LAYER, scale, what=f"{what}, with the sign of each column chosen to fit,")


# Weighing


@law("positive-pmi", given=counts_cases())
def words_that_meet_by_chance_only_are_not_associated(positive_pmi: Function, case: CountsCase) -> None:
    """Where counts are the product of two frequencies, nothing is associated with anything.

    Kills: joint counts without the division by the single ones; a missing logarithm.
    Hint: If every word met every context twice, how often would they have met by chance? What is the quotient?
    """
    of_words = whole_numbers(case.seed, "w", 1, 9, case.n_words, 1)
    of_contexts = whole_numbers(case.seed, "c", 1, 9, 1, case.n_contexts)
    association = positive_pmi(of_words * of_contexts, 1.0)
    nothing = torch.zeros_like(association)
    assert_close(association, nothing, ROUNDING, LARGEST_ASSOCIATION, what="the association without smoothing")


@law("positive-pmi", given=counts_cases())
def a_text_read_several_times_associates_as_one_read_once(positive_pmi: Function, case: CountsCase) -> None:
    """All counts times a factor give the same association.

    Kills: a constant added to the counts; counts that are not divided by their sums.
    Hint: Reading the same text twice doubles every count. Which of your numbers are shares, and which still count?
    """
    once = positive_pmi(case.counts)
    often = positive_pmi(case.factor * case.counts)
    assert_close(often, once, SUM, LARGEST_ASSOCIATION, what=f"the association at {case.factor} times the counts")


@law("positive-pmi", given=counts_cases())
def what_never_met_stays_at_zero_and_nothing_is_below(positive_pmi: Function, case: CountsCase) -> None:
    """What never met stays at 0, and nothing is below 0.

    Kills: negative associations; −∞ or NaN where nothing was found; a constant added to the counts.
    Hint: What is the logarithm of 0, and what does your function make of it? And what of a quotient below 1?
    """
    association = positive_pmi(case.counts)
    assert (association[case.counts == 0] == 0).all(), "words that never met should have association 0"
    assert (association >= 0).all(), "no association should be negative"


@law("positive-pmi", given=counts_cases())
def a_word_without_any_company_has_no_association(positive_pmi: Function, case: CountsCase) -> None:
    """A word that met nobody has association 0 with everyone, and takes none from the other words.

    Kills: 0/0 in the row of a word that never occurs; a constant added to the counts; a mean over the words.
    Hint: Put a row of zeros into the counts. What do you divide it by?
    """
    lonely = torch.cat([torch.zeros_like(case.counts[:1]), case.counts])
    association = positive_pmi(lonely)
    assert not association[0].any(), "a word without company should have association 0"
    expected = positive_pmi(case.counts)
    assert_close(association[1:], expected, SUM, LARGEST_ASSOCIATION, what="the association of the other words")


@law("positive-pmi", given=counts_cases())
def permuting_words_and_contexts_permutes_the_association(positive_pmi: Function, case: CountsCase) -> None:
    """Words and contexts in another order have the same association, in that order.

    Kills: sums that run on from row to row; the first word or context treated apart.
    Hint: The number of a word means nothing. What in your function knows which row or column comes first?
    """
    words, contexts = shuffled(case.seed, "words", case.n_words), shuffled(case.seed, "contexts", case.n_contexts)
    shuffled_first = positive_pmi(case.counts[words][:, contexts])
    expected = positive_pmi(case.counts)[words][:, contexts]
    assert_close(shuffled_first, expected, SUM, LARGEST_ASSOCIATION, what="the association of shuffled words")


@law("positive-pmi", given=counts_cases())
def the_association_agrees_with_the_reference(positive_pmi: Function, case: CountsCase) -> None:
    """The association agrees with the reference, which smooths by 0.75 unless told otherwise.

    Kills: rows and columns confused; no smoothing; smoothing of the words in place of the contexts; base 2.
    Hint: Two words that only ever met their own context, three times each, have association ln 2. What are yours?
    """
    expected = reference.word_vectors.positive_pmi(as_array(case.counts))
    assert_close(positive_pmi(case.counts), expected, SUM, LARGEST_ASSOCIATION, what="the association")


@law("positive-pmi", given=counts_cases())
def the_association_under_a_smoothing_of_ones_own_agrees_with_the_reference(
    positive_pmi: Function, case: CountsCase
) -> None:
    """The association agrees with the reference under a smoothing of one's own.

    Kills: smoothing that is ignored; the root of the share in place of the share of the roots.
    Hint: After the smoothing the chances of all contexts should add up to 1 again. Do yours?
    """
    expected = reference.word_vectors.positive_pmi(as_array(case.counts), case.smoothing)
    actual = positive_pmi(case.counts, case.smoothing)
    assert_close(actual, expected, SUM, LARGEST_ASSOCIATION, what="the association")


# Compressing


@law("word-vectors", given=matrix_cases())
def a_matrix_of_low_rank_loses_nothing(word_vectors: Function, case: MatrixCase) -> None:
    """If M is symmetric, positive and of rank d, the vectors in d columns give it back: W Wᵀ = M.

    Kills: vectors normalised; one column too few; the root of the root.
    Hint: M = U Σ Uᵀ, and W Wᵀ should be the same. How much of Σ belongs into each of the two W?
    """
    left = orthonormal(case.seed, "words", case.n_words, case.rank)
    matrix = left * case.singular_values @ left.T
    vectors = word_vectors(matrix, case.rank)
    assert_close(vectors @ vectors.T, matrix, LAYER, what="the matrix that the vectors give back")


@law("word-vectors", given=matrix_cases())
def columns_stand_at_right_angles_the_longest_first(word_vectors: Function, case: MatrixCase) -> None:
    """Columns stand at right angles, and the squares of their lengths are the largest singular values, in order.

    Kills: the singular values whole or left out; columns in another order; the first columns of M itself.
    Hint: Compute Wᵀ W. What stands beside the diagonal, and what on it?
    """
    vectors = word_vectors(case.matrix, case.n_columns)
    expected = torch.diag(case.singular_values[: case.n_columns])
    assert_close(vectors.T @ vectors, expected, LAYER, what="Wᵀ W")


@law("word-vectors", given=matrix_cases())
def contexts_may_be_turned_and_nothing_changes(word_vectors: Function, case: MatrixCase) -> None:
    """If the axes of the contexts are turned, the vectors of the words stay, up to the signs of their columns.

    Kills: the right vectors in place of the left; contexts centred or normalised one by one.
    Hint: A decomposition gives vectors for the rows and vectors for the columns. Which are the words?
    """
    turn = orthonormal(case.seed, "turn", case.n_contexts, case.n_contexts)
    expected = word_vectors(case.matrix, case.n_columns)
    turned = word_vectors(case.matrix @ turn, case.n_columns)
    assert_close_up_to_signs(turned, expected, case, "the vectors under turned contexts")


@law("word-vectors", given=matrix_cases())
def permuting_words_permutes_their_vectors(word_vectors: Function, case: MatrixCase) -> None:
    """Words in another order have the same vectors, in that order, up to the signs of the columns.

    Kills: the right vectors in place of the left; the first words taken for the most important; rows sorted.
    Hint: Swap two rows of M. Which rows of your result are swapped, if any?
    """
    order = shuffled(case.seed, "order", case.n_words)
    expected = word_vectors(case.matrix, case.n_columns)[order]
    assert_close_up_to_signs(
        word_vectors(case.matrix[order], case.n_columns), expected, case, "the vectors of shuffled words"
    )


@law("word-vectors", given=matrix_cases())
def four_times_the_association_doubles_the_vectors(word_vectors: Function, case: MatrixCase) -> None:
    """Four times the association gives vectors twice as long.

    Kills: the singular values whole or left out; vectors normalised.
    Hint: M is made of two factors, words and contexts, and you keep one. How does it grow with M?
    """
    expected = 2 * word_vectors(case.matrix, case.n_columns)
    stretched = word_vectors(4 * case.matrix, case.n_columns)
    assert_close_up_to_signs(stretched, expected, case, "the vectors of four times the association")


@law("word-vectors", given=matrix_cases())
def the_vectors_agree_with_the_reference_up_to_signs(word_vectors: Function, case: MatrixCase) -> None:
    """Each column is the reference's up to its sign, which a singular vector leaves open.

    Kills: the singular values whole or left out; the right vectors in place of the left; columns in another order.
    Hint: Try a matrix with 4 and 1 on its diagonal and 0 beside it. Which vectors should its two words have?
    """
    expected = reference.word_vectors.word_vectors(as_array(case.matrix), case.n_columns)
    assert_close_up_to_signs(word_vectors(case.matrix, case.n_columns), torch.from_numpy(expected), case, "the vectors")
