"""Laws of the start with a purpose: how well keys fit queries before anything is learned."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor

from minitransformer import reference
from minitransformer.laws.cases import Draw, numbers, seeds, shuffled, whole_numbers
from minitransformer.laws.law import law
from minitransformer.laws.tolerances import SUM, assert_close

Function = Callable[..., Any]


@dataclass(frozen=True)
class NeighbourCase:
    """A head that is to read the token at an offset."""

    length: int
    offset: int
    n_frequencies: int
    c: float
    d_k: int
    seed: int

    @cached_property
    def frequency(self) -> Tensor:
        """The angle by which each pair turns from one position to the next."""
        return 0.1 + numbers(self.seed, "frequency", self.n_frequencies).abs()

    @property
    def scale(self) -> float:
        """The greatest score times the largest angle, whose rounding a cosine hands on."""
        turns = 1 + float(self.frequency.max()) * (self.length + abs(self.offset))
        return self.c**2 * self.n_frequencies * turns


@st.composite
def neighbour_cases(draw: Draw) -> NeighbourCase:
    """Down to one position and one frequency."""
    return NeighbourCase(
        length=draw(st.integers(1, 9)),
        offset=draw(st.integers(-4, 4)),
        n_frequencies=draw(st.integers(1, 4)),
        c=draw(st.sampled_from([0.5, 1.0, 3.0])),
        d_k=draw(st.sampled_from([1, 3, 8, 16])),
        seed=draw(seeds),
    )


@dataclass(frozen=True)
class SegmentCase:
    """A head that is to read its own segment, or the other one."""

    length: int
    sign: int
    c: float
    d_k: int
    seed: int

    @cached_property
    def segments(self) -> Tensor:
        """The segment of each position, 0 or 1."""
        return whole_numbers(self.seed, "segments", 0, 2, self.length)

    @property
    def scale(self) -> float:
        """The size of a score."""
        return 1 + self.c**2


@st.composite
def segment_cases(draw: Draw) -> SegmentCase:
    """Down to one position and heads of width 1."""
    sign, c = draw(st.sampled_from([1, -1])), draw(st.sampled_from([0.5, 1.0, 3.0]))
    return SegmentCase(draw(st.integers(1, 9)), sign, c, draw(st.sampled_from([1, 3, 8])), draw(seeds))


# Neighbours


@law("neighbour-score", given=neighbour_cases())
def the_score_is_greatest_at_the_offset(neighbour_score: Function, case: NeighbourCase) -> None:
    """The score of a key at the head's offset is c² / √d_k for each frequency, and no score is greater.

    Kills: a turn in the other direction; sines for cosines; the scale c for its square; another width under the root.
    Hint: A head that reads the next token has the offset 1. For the query at position 0, which key should fit best?
    """
    score = neighbour_score(case.length, case.offset, case.frequency, case.c, case.d_k)
    greatest = case.c**2 / math.sqrt(case.d_k) * case.n_frequencies
    assert float(score.max()) <= greatest + SUM * torch.finfo(score.dtype).eps * case.scale, (
        f"no score should be greater than {greatest:.6g}, but one is {float(score.max()):.6g}"
    )
    for i in range(case.length):
        if 0 <= i + case.offset < case.length:
            what = f"the score of query {i} and key {i + case.offset}"
            assert_close(score[i, i + case.offset], greatest, SUM, case.scale, what=what)


@law("neighbour-score", given=neighbour_cases())
def only_the_distance_counts(neighbour_score: Function, case: NeighbourCase) -> None:
    """A query and a key that both move on by one position have the same score.

    Kills: an angle of the key's position alone; a score that fades with the position; rows and columns mixed up.
    Hint: Is the score of positions 0 and 1 that of positions 1 and 2? Which of your angles knows where it stands?
    """
    score = neighbour_score(case.length, case.offset, case.frequency, case.c, case.d_k)
    assert_close(score[1:, 1:], score[:-1, :-1], SUM, case.scale, what="the score one position further")


@law("neighbour-score", given=neighbour_cases())
def the_opposite_offset_exchanges_queries_and_keys(neighbour_score: Function, case: NeighbourCase) -> None:
    """A head with the opposite offset scores as if queries and keys were exchanged.

    Kills: the size of the offset for the offset; an offset that is added to the score; no offset at all.
    Hint: Compare the heads for the token before and the token after. What is the one to the other?
    """
    score = neighbour_score(case.length, case.offset, case.frequency, case.c, case.d_k)
    opposite = neighbour_score(case.length, -case.offset, case.frequency, case.c, case.d_k)
    assert_close(opposite, score.T, SUM, case.scale, what="the score of the opposite offset")


@law("neighbour-score", given=neighbour_cases())
def each_frequency_adds_its_own_score(neighbour_score: Function, case: NeighbourCase) -> None:
    """The score of several frequencies is the sum of the scores of each of them alone.

    Kills: a mean over the frequencies; a product; a width under the root that follows from the frequencies.
    Hint: Give one frequency, then the same one twice. What should happen to the scores?
    """
    together = neighbour_score(case.length, case.offset, case.frequency, case.c, case.d_k)
    alone = [neighbour_score(case.length, case.offset, one, case.c, case.d_k) for one in case.frequency[:, None]]
    assert_close(together, torch.stack(alone).sum(0), SUM, case.scale, what="the score of all frequencies")


@law("neighbour-score", given=neighbour_cases())
def the_neighbour_score_agrees_with_the_reference(neighbour_score: Function, case: NeighbourCase) -> None:
    """The score agrees with the reference.

    Kills: a turn in the other direction; degrees for radians; all that the other laws overlook.
    Hint: Take two positions, the offset 1 and one frequency of π. The four scores are 1 and −1; which stands where?
    """
    frequency = case.frequency.numpy()
    expected = reference.initialisation.neighbour_score(case.length, case.offset, frequency, case.c, case.d_k)
    score = neighbour_score(case.length, case.offset, case.frequency, case.c, case.d_k)
    assert_close(score, expected, SUM, case.scale, what="the score")


# Segments


@law("segment-score", given=segment_cases())
def the_own_segment_scores_by_the_sign(segment_score: Function, case: SegmentCase) -> None:
    """Every position scores itself with ± c² / √d_k, whatever its segment is.

    Kills: the sign for queries and keys alike; 0 and 1 for + and −; the scale c for its square; d_k without the root.
    Hint: What does a token of the second segment score with itself? Minus times minus is plus.
    """
    score = segment_score(case.segments, case.sign, case.c, case.d_k)
    expected = torch.full((case.length,), case.sign * case.c**2 / math.sqrt(case.d_k), dtype=torch.float64)
    assert_close(score.diagonal(), expected, SUM, case.scale, what="the score of a position with itself")


@law("segment-score", given=segment_cases())
def both_segments_are_alike(segment_score: Function, case: SegmentCase) -> None:
    """Calling the first segment the second, and the second the first, changes nothing.

    Kills: one segment that everyone reads; 0 and 1 for + and −; the segment of the key alone.
    Hint: Exchange the two numbers of the segments. Which of your products change their sign?
    """
    score = segment_score(case.segments, case.sign, case.c, case.d_k)
    exchanged = segment_score(1 - case.segments, case.sign, case.c, case.d_k)
    assert_close(exchanged, score, SUM, case.scale, what="the score with the segments exchanged")


@law("segment-score", given=segment_cases())
def the_other_sign_reads_the_other_segment(segment_score: Function, case: SegmentCase) -> None:
    """The head with the other sign has the opposite score everywhere.

    Kills: a sign that nothing uses; the sign for queries and keys alike; a sign that hides a segment.
    Hint: Two heads share the work. Where does one of them score high, and what does the other score there?
    """
    score = segment_score(case.segments, case.sign, case.c, case.d_k)
    other = segment_score(case.segments, -case.sign, case.c, case.d_k)
    assert_close(other, -score, SUM, case.scale, what="the score of the head with the other sign")


@law("segment-score", given=segment_cases())
def the_order_of_positions_is_that_of_scores(segment_score: Function, case: SegmentCase) -> None:
    """Positions in another order have their scores in that order: only segments count, not places.

    Kills: a score that fades with the distance; a segment that is told from the position; a causal mask.
    Hint: Does your score know where a token stands, beside the segment it is in?
    """
    order = shuffled(case.seed, "order", case.length)
    score = segment_score(case.segments, case.sign, case.c, case.d_k)
    moved = segment_score(case.segments[order], case.sign, case.c, case.d_k)
    assert_close(moved, score[order][:, order], SUM, case.scale, what="the score in another order")


@law("segment-score", given=segment_cases())
def the_segment_score_agrees_with_the_reference(segment_score: Function, case: SegmentCase) -> None:
    """The score agrees with the reference.

    Kills: a segment other than one's own that scores 0; another width under the root; all that the others overlook.
    Hint: Take one token of each segment, c = 2 and d_k = 4. The four scores are 2 and −2; which stands where?
    """
    expected = reference.initialisation.segment_score(case.segments.numpy(), case.sign, case.c, case.d_k)
    score = segment_score(case.segments, case.sign, case.c, case.d_k)
    assert_close(score, expected, SUM, case.scale, what="the score")
