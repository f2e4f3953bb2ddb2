"""Mutants of the start with a purpose."""

# ruff: noqa: ARG001 - an argument that is never used is a classic mistake

import math

import torch
from torch import Tensor

from minitransformer.laws.zoo.mutant import mutant


def distances(length: int, offset: int) -> Tensor:
    """How far each key lies beyond the offset of each query."""
    return torch.arange(length)[None, :] - torch.arange(length)[:, None] - offset


def of_segments(segments: Tensor) -> Tensor:
    """+1 in the first segment and −1 in the second."""
    return 1.0 - 2.0 * segments.double()


# Neighbours


@mutant("neighbour-score", symptom="The head for the next token reads the one before, and the other way round.")
def turned_the_other_way(length: int, offset: int, frequency: Tensor, c: float, d_k: int) -> Tensor:
    """The query is turned against the offset: the best key lies on the other side."""
    angles = distances(length, -offset)[..., None] * frequency
    return c**2 / math.sqrt(d_k) * angles.cos().sum(-1)


@mutant("neighbour-score", symptom="Heads begin by reading beside their neighbour, none of them sharply.")
def sine_for_cosine(length: int, offset: int, frequency: Tensor, c: float, d_k: int) -> Tensor:
    """Sine and cosine of the key are exchanged, so that the score is 0 where it should be greatest."""
    angles = distances(length, offset)[..., None] * frequency
    return c**2 / math.sqrt(d_k) * angles.sin().sum(-1)


@mutant("neighbour-score", symptom="Heads begin far too blurred or too sharp, unless the scale happens to be 1.")
def scale_of_the_query_alone(length: int, offset: int, frequency: Tensor, c: float, d_k: int) -> Tensor:
    """Only the query is multiplied by c, and the key is not."""
    angles = distances(length, offset)[..., None] * frequency
    return c / math.sqrt(d_k) * angles.cos().sum(-1)


@mutant("neighbour-score", symptom="The more frequencies a head has, the less sharply it reads.", difficulty="hard")
def width_of_the_frequencies(length: int, offset: int, frequency: Tensor, c: float, d_k: int) -> Tensor:
    """The root is of two columns for each frequency, in place of the width of the head."""
    angles = distances(length, offset)[..., None] * frequency
    return c**2 / math.sqrt(2 * len(frequency)) * angles.cos().sum(-1)


@mutant("neighbour-score", symptom="Heads begin as blurred as random ones; the start brings nothing.")
def mean_over_frequencies(length: int, offset: int, frequency: Tensor, c: float, d_k: int) -> Tensor:
    """The cosines are averaged over the frequencies, and not added up."""
    angles = distances(length, offset)[..., None] * frequency
    return c**2 / math.sqrt(d_k) * angles.cos().mean(-1)


@mutant("neighbour-score", symptom="Every head of the first block begins by reading its own token.", difficulty="easy")
def queries_and_keys_turned_alike(length: int, offset: int, frequency: Tensor, c: float, d_k: int) -> Tensor:
    """Keys are turned by the offset as well, which takes it out of the difference."""
    angles = distances(length, 0)[..., None] * frequency
    return c**2 / math.sqrt(d_k) * angles.cos().sum(-1)


@mutant("neighbour-score", symptom="All queries read the same few places at the beginning of the text.")
def the_key_alone(length: int, offset: int, frequency: Tensor, c: float, d_k: int) -> Tensor:
    """The angle is that of the key's position, whatever the query's is."""
    angles = (torch.arange(length).expand(length, length) - offset)[..., None] * frequency
    return c**2 / math.sqrt(d_k) * angles.cos().sum(-1)


# Segments


@mutant("segment-score", symptom="Both heads of a pair begin by reading the same segment; their difference is nothing.")
def sign_on_both_sides(segments: Tensor, sign: int, c: float, d_k: int) -> Tensor:
    """The sign stands before the query and before the key, and cancels."""
    signed = sign * of_segments(segments)
    return c**2 / math.sqrt(d_k) * signed[:, None] * signed[None, :]


@mutant("segment-score", symptom="Tokens of the first segment begin by reading everything alike.", difficulty="medium")
def zero_and_one(segments: Tensor, sign: int, c: float, d_k: int) -> Tensor:
    """The segments are 0 and 1 in place of + and −."""
    number = segments.double()
    return sign * c**2 / math.sqrt(d_k) * number[:, None] * number[None, :]


@mutant("segment-score", symptom="All tokens begin by reading the first segment, whichever they are in.")
def the_segment_of_the_key_alone(segments: Tensor, sign: int, c: float, d_k: int) -> Tensor:
    """The score is that of the key's segment, and no query has a part in it."""
    return sign * c**2 / math.sqrt(d_k) * of_segments(segments).expand(len(segments), len(segments))


@mutant("segment-score", symptom="The heads are half as sharp as they should be.", difficulty="hard")
def other_segment_scores_nothing(segments: Tensor, sign: int, c: float, d_k: int) -> Tensor:
    """The other segment scores 0, where it should score the opposite of one's own."""
    same = (segments[:, None] == segments[None, :]).double()
    return sign * c**2 / math.sqrt(d_k) * same


@mutant("segment-score", symptom="Wide heads begin blurred, as if the start were missing.", difficulty="medium")
def width_without_its_root(segments: Tensor, sign: int, c: float, d_k: int) -> Tensor:
    """It divides by the width of the head, and not by its root."""
    signed = of_segments(segments)
    return sign * c**2 / d_k * signed[:, None] * signed[None, :]


@mutant("segment-score", symptom="In long texts the far end of one's own segment is not read.", difficulty="medium")
def fading_with_the_distance(segments: Tensor, sign: int, c: float, d_k: int) -> Tensor:
    """The score is divided by the distance of the two positions."""
    signed = of_segments(segments)
    return sign * c**2 / math.sqrt(d_k) * signed[:, None] * signed[None, :] / (1 + distances(len(segments), 0).abs())


@mutant("segment-score", symptom="Both heads of a pair do the same.", difficulty="easy")
def sign_never_used(segments: Tensor, sign: int, c: float, d_k: int) -> Tensor:
    """The sign is taken as an argument and never used."""
    signed = of_segments(segments)
    return c**2 / math.sqrt(d_k) * signed[:, None] * signed[None, :]
