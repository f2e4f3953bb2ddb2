"""Cases for the laws of the heads."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from hypothesis import strategies as st
from torch import Tensor

from minitransformer import reference
from minitransformer.heads import ClassificationHead, MaskedWordHead, NextSentenceHead, Pooler
from minitransformer.laws.cases import Draw, distinct_sizes, dtypes, numbers, randomise, seeds
from minitransformer.laws.modules import Parameters
from minitransformer.laws.tolerances import as_array, as_arrays

Function = Callable[[Parameters, Tensor], Tensor]

EPS = 1e-12
"""What the norm adds to the variance."""


@dataclass(frozen=True)
class SequencesCase:
    """Sequences for the pooler."""

    batch: int
    length: int
    d_model: int
    dtype: torch.dtype
    seed: int

    @cached_property
    def x(self) -> Tensor:
        """One vector for each position."""
        return numbers(self.seed, "x", self.batch, self.length, self.d_model, dtype=self.dtype)

    @cached_property
    def parameters(self) -> Parameters:
        """Parameters of a pooler."""
        return dict(randomise(Pooler(self.d_model), self.seed, self.dtype).state_dict())


@dataclass(frozen=True)
class WordsCase:
    """Sequences whose words are guessed, among a vocabulary."""

    batch: int
    length: int
    d_model: int
    vocab_size: int
    dtype: torch.dtype
    seed: int

    @cached_property
    def x(self) -> Tensor:
        """One vector for each position."""
        return numbers(self.seed, "x", self.batch, self.length, self.d_model, dtype=self.dtype)

    @cached_property
    def parameters(self) -> Parameters:
        """Parameters of a head with a table of words."""
        head = MaskedWordHead(self.d_model, None, self.vocab_size)
        return dict(randomise(head, self.seed, self.dtype).state_dict())

    @property
    def word(self) -> int:
        """The word that is looked at."""
        return self.seed % self.vocab_size

    @cached_property
    def deviation(self) -> float:
        """The smallest number that the norm divides by, which magnifies what was rounded before."""
        parameters = as_arrays(self.parameters)
        dense = reference.feed_forward.linear(as_array(self.x), parameters["dense.weight"], parameters["dense.bias"])
        return math.sqrt(float(reference.feed_forward.gelu(dense).var(-1).min()) + EPS)

    @property
    def scale(self) -> float:
        """The size of a normalised entry, times the number of entries in a sum."""
        return (1 + 1 / self.deviation) * (1 + float(self.x.abs().max())) * self.d_model


@dataclass(frozen=True)
class PooledCase:
    """Pooled vectors, of which two scores are asked."""

    batch: int
    d_model: int
    dtype: torch.dtype
    seed: int

    @cached_property
    def x(self) -> Tensor:
        """One vector for each example."""
        return numbers(self.seed, "x", self.batch, self.d_model, dtype=self.dtype)

    @cached_property
    def parameters(self) -> Parameters:
        """Parameters of a next-sentence head."""
        return dict(randomise(NextSentenceHead(self.d_model), self.seed, self.dtype).state_dict())

    def without_bias(self) -> Parameters:
        """The same with a bias of 0."""
        return self.parameters | {"dense.bias": torch.zeros_like(self.parameters["dense.bias"])}

    @property
    def n_scores(self) -> int:
        """How many scores there are."""
        return len(self.parameters["dense.bias"])


@dataclass(frozen=True)
class ClassesCase(PooledCase):
    """Vectors of which one score for each class is asked."""

    n_classes: int

    @cached_property
    def parameters(self) -> Parameters:
        """Parameters of a classification head."""
        return dict(randomise(ClassificationHead(self.d_model, self.n_classes), self.seed, self.dtype).state_dict())


@st.composite
def sequences_cases(draw: Draw) -> SequencesCase:
    """Sequences down to a single position, and a width of 1."""
    batch, length, d_model = draw(distinct_sizes(3, may_be_one=(0, 1, 2)))
    return SequencesCase(batch, length, d_model, dtype=draw(dtypes), seed=draw(seeds))


@st.composite
def words_cases(draw: Draw, narrowest: int = 2) -> WordsCase:
    """Sequences down to a single position, and a vocabulary of one word."""
    batch, length, d_model, vocab_size = draw(distinct_sizes(4, may_be_one=(0, 1, 3)))
    return WordsCase(batch, length, max(d_model, narrowest), vocab_size, dtype=draw(dtypes), seed=draw(seeds))


@st.composite
def pooled_cases(draw: Draw) -> PooledCase:
    """Pooled vectors down to a single one, and to a width of 1."""
    batch, d_model = draw(distinct_sizes(2, may_be_one=(0, 1)))
    return PooledCase(batch, d_model, dtype=draw(dtypes), seed=draw(seeds))


@st.composite
def classes_cases(draw: Draw) -> ClassesCase:
    """Vectors down to a single one, a width of 1 and a single class."""
    batch, d_model, n_classes = draw(distinct_sizes(3, may_be_one=(0, 1, 2)))
    return ClassesCase(batch, d_model, dtype=draw(dtypes), seed=draw(seeds), n_classes=n_classes)


Case = SequencesCase | WordsCase | PooledCase


def other_numbers(case: Case) -> Tensor:
    """An input of the same shape with other numbers."""
    return numbers(case.seed, "other", *case.x.shape, dtype=case.dtype)


def upstream_of(case: Case, *shape: int) -> Tensor:
    """What the loss gains per unit of the result."""
    return numbers(case.seed, "upstream", *shape, dtype=case.dtype)
