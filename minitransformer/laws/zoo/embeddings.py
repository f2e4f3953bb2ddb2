"""Mutants of embeddings."""

# ruff: noqa: ARG001 - an argument that is never used is a classic mistake

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from minitransformer.laws.modules import Parameters
from minitransformer.laws.zoo.mutant import mutant

# What is right in most mutants


def words(parameters: Parameters, token_ids: Tensor) -> Tensor:
    """The vector of each word."""
    return parameters["word.weight"][token_ids]


def positions(parameters: Parameters, token_ids: Tensor) -> Tensor:
    """The vector of each position, counted from 0."""
    return parameters["position.weight"][: token_ids.shape[1]]


def segments(parameters: Parameters, token_ids: Tensor, segment_ids: Tensor | None) -> Tensor:
    """The vector of each segment, of the first one if none are given."""
    return parameters["segment.weight"][torch.zeros_like(token_ids) if segment_ids is None else segment_ids]


def normalised(parameters: Parameters, x: Tensor, eps: float = 1e-12) -> Tensor:
    """The learned norm."""
    return F.layer_norm(x, x.shape[-1:], parameters["norm.gain"], parameters["norm.bias"], eps)


# What is added up


@mutant(
    "embeddings",
    symptom="Trains nearly as well; but questions about two sentences stay at the level of guessing.",
    difficulty="easy",
)
def segment_dropped(parameters: Parameters, token_ids: Tensor, segment_ids: Tensor | None = None) -> Tensor:
    """The segment is taken as an argument and never used."""
    return normalised(parameters, words(parameters, token_ids) + positions(parameters, token_ids))


@mutant("embeddings", symptom="Fine on pairs; single texts through loaded weights are a little off.", difficulty="hard")
def no_segment_where_none_is_given(
    parameters: Parameters, token_ids: Tensor, segment_ids: Tensor | None = None
) -> Tensor:
    """Without segments no segment vector is added, where training has always added the first one."""
    total = words(parameters, token_ids) + positions(parameters, token_ids)
    if segment_ids is not None:
        total = total + segments(parameters, token_ids, segment_ids)
    return normalised(parameters, total)


@mutant(
    "embeddings",
    symptom="Loaded weights answer badly: beside words √d times as large, positions and segments are lost.",
)
def words_scaled_by_the_root_of_the_width(
    parameters: Parameters, token_ids: Tensor, segment_ids: Tensor | None = None
) -> Tensor:
    """Words are multiplied by √d, as in the Transformer of 2017 and not in BERT."""
    word = words(parameters, token_ids) * math.sqrt(parameters["word.weight"].shape[1])
    total = word + positions(parameters, token_ids) + segments(parameters, token_ids, segment_ids)
    return normalised(parameters, total)


# Which row is looked up


@mutant(
    "embeddings",
    symptom="Trains as well; loaded weights are off, and the longest sequences have one position too few.",
    difficulty="hard",
)
def table_of_positions_read_from_one(
    parameters: Parameters, token_ids: Tensor, segment_ids: Tensor | None = None
) -> Tensor:
    """Positions are counted from 1, and row 0 is never read."""
    position = parameters["position.weight"][1 : token_ids.shape[1] + 1]
    total = words(parameters, token_ids) + position + segments(parameters, token_ids, segment_ids)
    return normalised(parameters, total)


@mutant("embeddings", symptom="No order of words is learned, and results change with the place in the batch.")
def positions_along_the_batch(parameters: Parameters, token_ids: Tensor, segment_ids: Tensor | None = None) -> Tensor:
    """Positions are counted along the first axis, which is the batch."""
    table = parameters["position.weight"]
    position = table[torch.arange(token_ids.shape[0]) % len(table)][:, None]
    total = words(parameters, token_ids) + position + segments(parameters, token_ids, segment_ids)
    return normalised(parameters, total)


@mutant("embeddings", symptom="A bag of words: the loss stops falling where the order of words would help.")
def every_token_at_position_zero(
    parameters: Parameters, token_ids: Tensor, segment_ids: Tensor | None = None
) -> Tensor:
    """All tokens have position 0."""
    position = parameters["position.weight"][torch.zeros_like(token_ids)]
    total = words(parameters, token_ids) + position + segments(parameters, token_ids, segment_ids)
    return normalised(parameters, total)


@mutant("embeddings", symptom="A bag of words, whose table of positions has become a second one of words.")
def positions_looked_up_by_token(
    parameters: Parameters, token_ids: Tensor, segment_ids: Tensor | None = None
) -> Tensor:
    """The table of positions is indexed by the token ids."""
    table = parameters["position.weight"]
    total = words(parameters, token_ids) + table[token_ids % len(table)] + segments(parameters, token_ids, segment_ids)
    return normalised(parameters, total)


@mutant("embeddings", symptom="A bag of words in two halves: the third argument was meant for something else.")
def segment_ids_used_as_positions(
    parameters: Parameters, token_ids: Tensor, segment_ids: Tensor | None = None
) -> Tensor:
    """The segment ids arrive where position ids are expected, and every token belongs to the first segment."""
    table = parameters["position.weight"]
    position_ids = torch.arange(token_ids.shape[1]).expand_as(token_ids) if segment_ids is None else segment_ids
    total = words(parameters, token_ids) + table[position_ids % len(table)] + segments(parameters, token_ids, None)
    return normalised(parameters, total)


@mutant(
    "embeddings",
    symptom="Trains as well; BERT's weights are off as soon as a row has padding in front, or a word with id 0.",
    difficulty="hard",
)
def positions_counted_past_padding(
    parameters: Parameters, token_ids: Tensor, segment_ids: Tensor | None = None
) -> Tensor:
    """Positions are counted over tokens whose id isn't 0, as RoBERTa does with its padding."""
    position_ids = ((token_ids != 0).cumsum(1) - 1).clamp(min=0)
    position = parameters["position.weight"][position_ids]
    total = words(parameters, token_ids) + position + segments(parameters, token_ids, segment_ids)
    return normalised(parameters, total)


@mutant("embeddings", symptom="Nothing where padding is hidden anyway; but a word with id 0 is no word any more.")
def padding_set_to_zero(parameters: Parameters, token_ids: Tensor, segment_ids: Tensor | None = None) -> Tensor:
    """The vectors of tokens with id 0 are set to 0 at the end."""
    total = words(parameters, token_ids) + positions(parameters, token_ids)
    total = total + segments(parameters, token_ids, segment_ids)
    return normalised(parameters, total) * (token_ids != 0)[..., None]


# The norm


@mutant("embeddings", symptom="The first blocks are fed numbers of 0.02, and training takes a while to start.")
def sum_not_normalised(parameters: Parameters, token_ids: Tensor, segment_ids: Tensor | None = None) -> Tensor:
    """The sum goes on without the norm."""
    word = words(parameters, token_ids)
    return word + positions(parameters, token_ids) + segments(parameters, token_ids, segment_ids)


@mutant("embeddings", symptom="Before training, positions and segments are fifty times smaller than words.")
def words_normalised_before_the_sum(
    parameters: Parameters, token_ids: Tensor, segment_ids: Tensor | None = None
) -> Tensor:
    """The word alone is normalised, and position and segment are added after."""
    word = normalised(parameters, words(parameters, token_ids))
    return word + positions(parameters, token_ids) + segments(parameters, token_ids, segment_ids)


@mutant("embeddings", symptom="A good training loss; but a text's vectors change with the padding that follows it.")
def embeddings_normalised_over_the_sequence(
    parameters: Parameters, token_ids: Tensor, segment_ids: Tensor | None = None
) -> Tensor:
    """Mean and variance run over the positions as well as over the columns."""
    total = words(parameters, token_ids) + positions(parameters, token_ids)
    total = total + segments(parameters, token_ids, segment_ids)
    normal = F.layer_norm(total, total.shape[-2:], eps=1e-12)
    return parameters["norm.gain"] * normal + parameters["norm.bias"]


@mutant("embeddings", symptom="Loaded weights give slightly different vectors than they should.", difficulty="hard")
def eps_of_another_library(parameters: Parameters, token_ids: Tensor, segment_ids: Tensor | None = None) -> Tensor:
    """Eps is 1e-5, PyTorch's default, where BERT has 1e-12."""
    total = words(parameters, token_ids) + positions(parameters, token_ids)
    return normalised(parameters, total + segments(parameters, token_ids, segment_ids), eps=1e-5)


@mutant("embeddings", symptom="Trains as well; loaded weights are off by what their norm had learned.")
def norm_without_gain_and_bias(parameters: Parameters, token_ids: Tensor, segment_ids: Tensor | None = None) -> Tensor:
    """The sum is normalised, and gain and bias are forgotten."""
    total = words(parameters, token_ids) + positions(parameters, token_ids)
    total = total + segments(parameters, token_ids, segment_ids)
    return F.layer_norm(total, total.shape[-1:], eps=1e-12)


# The way back


@mutant("embeddings", symptom="Values are right; frequent words learn too slowly.", difficulty="hard")
def gradient_divided_by_the_count(
    parameters: Parameters, token_ids: Tensor, segment_ids: Tensor | None = None
) -> Tensor:
    """The gradient of a word is divided by how often it stands in the batch."""
    word = F.embedding(token_ids, parameters["word.weight"], scale_grad_by_freq=True)
    total = word + positions(parameters, token_ids) + segments(parameters, token_ids, segment_ids)
    return normalised(parameters, total)


@mutant("embeddings", symptom="The word with id 0 keeps the vector that it was drawn with.", difficulty="hard")
def first_word_never_learns(parameters: Parameters, token_ids: Tensor, segment_ids: Tensor | None = None) -> Tensor:
    """The word with id 0 is taken for padding, which has no gradient, in a vocabulary where it is a word."""
    word = F.embedding(token_ids, parameters["word.weight"], padding_idx=0)
    total = word + positions(parameters, token_ids) + segments(parameters, token_ids, segment_ids)
    return normalised(parameters, total)


@mutant("embeddings", symptom="Values are right; the table of positions stays as it was drawn.", difficulty="medium")
def positions_never_learn(parameters: Parameters, token_ids: Tensor, segment_ids: Tensor | None = None) -> Tensor:
    """Positions are held constant, as sinusoids are."""
    position = positions(parameters, token_ids).detach()
    total = words(parameters, token_ids) + position + segments(parameters, token_ids, segment_ids)
    return normalised(parameters, total)
