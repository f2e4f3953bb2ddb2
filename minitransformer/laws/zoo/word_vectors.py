"""Mutants of word vectors: of the association that is counted, and of its compression."""

# ruff: noqa: ARG001 - an argument that is never used is a classic mistake

import torch
from torch import Tensor

from minitransformer.laws.zoo.mutant import mutant
from minitransformer.word_vectors import positive_pmi


def decomposed(association: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The left vectors as columns, the singular values, the right vectors as columns; by the exact decomposition."""
    left, singular_values, right = torch.linalg.svd(association, full_matrices=False)
    return left, singular_values, right.T


def smoothed_shares(counts: Tensor, smoothing: float) -> tuple[Tensor, Tensor]:
    """How large a share of a word's company each context is, and of all company after smoothing."""
    found = counts.to(torch.get_default_dtype())
    of_context = found.sum(0) ** smoothing
    return found / found.sum(1, keepdim=True), of_context / of_context.sum()


# Weighing


@mutant("positive-pmi", symptom="All vectors point at the most frequent words, for only these are counted.")
def never_divided_by_chance(counts: Tensor, smoothing: float = 0.75) -> Tensor:
    """The logarithm of the counts is taken as they are, without what chance would give."""
    return torch.where(counts > 0, counts.to(torch.get_default_dtype()).log(), 0.0).clamp(min=0.0)


@mutant("positive-pmi", symptom="Large numbers everywhere; the vectors of a few rare words drown all others.")
def quotient_without_its_logarithm(counts: Tensor, smoothing: float = 0.75) -> Tensor:
    """The quotient of found and expected is returned itself: the logarithm is missing."""
    found, expected = smoothed_shares(counts, smoothing)
    return torch.where(counts > 0, found / expected, 0.0)


@mutant("positive-pmi", symptom="Words that merely avoid each other are pushed apart, on the evidence of a few counts.")
def negative_ones_kept(counts: Tensor, smoothing: float = 0.75) -> Tensor:
    """Associations below 0 are kept: it is PMI, not positive PMI."""
    found, expected = smoothed_shares(counts, smoothing)
    return torch.where(counts > 0, (found / expected).log(), 0.0)


@mutant("positive-pmi", symptom="The decomposition gives NaN for a vocabulary with a word that the text never has.")
def lonely_words_divided_by_zero(counts: Tensor, smoothing: float = 0.75) -> Tensor:
    """What never met is not looked after, so that a word without company is 0 divided by 0."""
    found, expected = smoothed_shares(counts, smoothing)
    return (found / expected).log().clamp(min=0.0)


@mutant(
    "positive-pmi",
    symptom="Words that never met are slightly associated, and the longer the text the less; vectors blur.",
    difficulty="medium",
)
def one_added_to_each_count(counts: Tensor, smoothing: float = 0.75) -> Tensor:
    """One is added to every count, so that no logarithm of 0 is taken."""
    return positive_pmi(counts + 1, smoothing)


@mutant("positive-pmi", symptom="Rare contexts weigh most: neighbours of a word are misspellings and names.")
def contexts_never_smoothed(counts: Tensor, smoothing: float = 0.75) -> Tensor:
    """The smoothing is taken as an argument and never used."""
    return positive_pmi(counts, 1.0)


@mutant(
    "positive-pmi",
    symptom="Right with the default; whoever tries another smoothing finds that it makes no difference.",
    difficulty="hard",
)
def a_smoothing_of_its_own(counts: Tensor, smoothing: float = 0.75) -> Tensor:
    """The smoothing is 0.75, whatever was asked for."""
    return positive_pmi(counts, 0.75)


@mutant("positive-pmi", symptom="All associations are too small, and the weak ones vanish.")
def smoothed_shares_that_exceed_one(counts: Tensor, smoothing: float = 0.75) -> Tensor:
    """The share of a context is smoothed after the division, and the shares don't add up to 1 any more."""
    found, share = smoothed_shares(counts, 1.0)
    return torch.where(counts > 0, (found / share**smoothing).log(), 0.0).clamp(min=0.0)


@mutant(
    "positive-pmi", symptom="Rare contexts still weigh most, for the smoothing helps the wrong side.", difficulty="hard"
)
def words_smoothed_for_contexts(counts: Tensor, smoothing: float = 0.75) -> Tensor:
    """The words are smoothed, not the contexts: rows and columns are confused."""
    return positive_pmi(counts.T, smoothing).T


@mutant("positive-pmi", symptom="Vectors are all longer by a fifth; their directions are right.", difficulty="hard")
def bits_of_association(counts: Tensor, smoothing: float = 0.75) -> Tensor:
    """The logarithm is to base 2, not the natural one."""
    found, expected = smoothed_shares(counts, smoothing)
    return torch.where(counts > 0, (found / expected).log2(), 0.0).clamp(min=0.0)


@mutant("positive-pmi", symptom="One word of the vocabulary, always the same, has company that makes no sense.")
def first_context_left_out(counts: Tensor, smoothing: float = 0.75) -> Tensor:
    """The first context is taken for padding and left at 0."""
    association = positive_pmi(counts, smoothing)
    return torch.cat([torch.zeros_like(association[:, :1]), association[:, 1:]], dim=1)


@mutant("positive-pmi", symptom="Early words of the vocabulary are associated with all, late ones with nothing.")
def sums_that_run_on(counts: Tensor, smoothing: float = 0.75) -> Tensor:
    """The sum of a row runs on from the rows before: it is never set back to 0."""
    _, expected = smoothed_shares(counts, smoothing)
    found = counts / counts.sum(1, keepdim=True).cumsum(0)
    return torch.where(counts > 0, (found / expected).log(), 0.0).clamp(min=0.0)


# Compressing


@mutant("word-vectors", symptom="The first columns drown the others: all words look alike.")
def singular_values_whole(association: Tensor, n_columns: int) -> Tensor:
    """The singular values are multiplied whole: their root is missing."""
    left, singular_values, _ = decomposed(association)
    return (left * singular_values)[:, :n_columns]


@mutant("word-vectors", symptom="Columns that hold noise weigh as much as those that hold the meaning.")
def singular_values_left_out(association: Tensor, n_columns: int) -> Tensor:
    """The left vectors are returned as they are, without the singular values."""
    left, _, _ = decomposed(association)
    return left[:, :n_columns]


@mutant(
    "word-vectors", symptom="Vectors of contexts are taken for those of words; with as many of both, nobody notices."
)
def right_vectors_for_left(association: Tensor, n_columns: int) -> Tensor:
    """The vectors of the contexts are returned, not those of the words."""
    _, singular_values, right = decomposed(association)
    return (right * singular_values.sqrt())[:, :n_columns]


@mutant("word-vectors", symptom="Neighbours of a word are found by its least important traits.")
def smallest_columns_first(association: Tensor, n_columns: int) -> Tensor:
    """The columns are in ascending order, as eigenvalues often come, and the least important are kept."""
    left, singular_values, _ = decomposed(association)
    return (left * singular_values.sqrt()).flip(1)[:, :n_columns]


@mutant(
    "word-vectors", symptom="Frequent words and rare ones have vectors of one length; a word without company has NaN."
)
def vectors_of_length_one(association: Tensor, n_columns: int) -> Tensor:
    """Each vector is divided by its length."""
    left, singular_values, _ = decomposed(association)
    vectors = (left * singular_values.sqrt())[:, :n_columns]
    return vectors / vectors.square().sum(1, keepdim=True).sqrt()


@mutant("word-vectors", symptom="The vectors change when the vocabulary is sorted another way.", difficulty="easy")
def first_columns_of_the_matrix(association: Tensor, n_columns: int) -> Tensor:
    """The first contexts are taken for the most important ones, and nothing is decomposed."""
    return association[:, :n_columns]


@mutant("word-vectors", symptom="Slightly different neighbours than the published ones.", difficulty="hard")
def centred_contexts(association: Tensor, n_columns: int) -> Tensor:
    """The mean of each column is subtracted first, as principal components do."""
    left, singular_values, _ = decomposed(association - association.mean(0))
    return (left * singular_values.sqrt())[:, :n_columns]


@mutant("word-vectors", symptom="One dimension of the model starts at 0 for every word.")
def one_column_lost(association: Tensor, n_columns: int) -> Tensor:
    """One column fewer is computed than asked for, and the last one stays 0."""
    left, singular_values, _ = decomposed(association)
    vectors = (left * singular_values.sqrt())[:, :n_columns]
    return torch.cat([vectors[:, :-1], torch.zeros_like(vectors[:, :1])], dim=1)
