"""Laws of dropout, and of a layer that drops while it trains.

Laws about chances count what happens to many entries, and call a function wrong only where the count can't be an
accident.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from hypothesis import strategies as st
from torch import Tensor

from minitransformer import reference
from minitransformer.laws.cases import LARGE, Draw, distinct_sizes, dtypes, numbers, seeds
from minitransformer.laws.gradients import gradients_through
from minitransformer.laws.law import law
from minitransformer.laws.rates import assert_rate
from minitransformer.laws.tolerances import ROUNDING, as_array, assert_close, assert_same

Function = Callable[[Tensor, float], Tensor]
Layer = Callable[[Tensor, float, bool], Tensor]

RATES = (0.1, 0.25, 0.5, 0.9)
BETWEEN_BYTES = 5 / 512
"""A rate in the middle of two multiples of 1/256."""


@dataclass(frozen=True)
class DropoutCase:
    """A few vectors, none of whose entries is 0, so that one can tell what was dropped."""

    batch: int
    length: int
    width: int
    kind: str
    rate: float
    dtype: torch.dtype
    seed: int

    @cached_property
    def x(self) -> Tensor:
        """One vector for each position; in the largest kind, numbers that just fit the type after rescaling."""
        drawn = away_from_zero(numbers(self.seed, "x", self.batch, self.length, self.width))
        largest = torch.finfo(self.dtype).max * (1 - self.rate) / 2
        size = {"ordinary": 1.0, "large": LARGE, "small": 1 / LARGE, "largest": largest / float(drawn.abs().max())}
        return (drawn * size[self.kind]).to(self.dtype)


@dataclass(frozen=True)
class DropoutCrowd:
    """Many short vectors, to count chances with; no number is 0.

    The sizes stand fast, so that nobody makes one of them smaller than the laws about chances allow.
    """

    rate: float
    seed: int

    @cached_property
    def x(self) -> Tensor:
        """5,000 examples of 4 positions with 5 entries each."""
        return away_from_zero(numbers(self.seed, "x", 5_000, 4, 5))

    def dropped(self, dropout: Function) -> Tensor:
        """Which entries a first call drops."""
        return seeded(dropout, self.x, self.rate, self.seed) == 0


@st.composite
def dropout_cases(draw: Draw, kinds: tuple[str, ...] = ("ordinary",)) -> DropoutCase:
    """Vectors down to a width of 1."""
    batch, length, width = draw(distinct_sizes(3, may_be_one=(0, 1, 2)))
    return DropoutCase(
        batch=batch,
        length=length,
        width=width,
        kind=draw(st.sampled_from(kinds)),
        rate=draw(st.sampled_from(RATES)),
        dtype=draw(dtypes),
        seed=draw(seeds),
    )


# A few large counts say more than many small ones. Hypothesis stops when it has seen all combinations.
few_seeds = st.integers(0, 2)
crowds = st.builds(DropoutCrowd, rate=st.sampled_from(RATES), seed=few_seeds)


def away_from_zero(x: Tensor) -> Tensor:
    """Numbers with their signs, each at least 1 from zero."""
    return torch.where(x < 0, x - 1, x + 1)


def seeded(dropout: Function, x: Tensor, rate: float, seed: int) -> Tensor:
    """What dropout leaves if the seed decides the draw, be it PyTorch's or NumPy's."""
    torch.manual_seed(seed)
    np.random.seed(seed)
    return dropout(x, rate)


# What holds of every draw


@law("dropout", given=dropout_cases(kinds=("ordinary", "large", "small", "largest")))
def each_entry_is_dropped_or_rescaled(dropout: Function, case: DropoutCase) -> None:
    """Each entry is exactly 0 or divided by 1 − rate, however large it is, as in the reference with the same draw.

    Kills: no rescaling; multiplication by 1 − rate; division by the rate, or by the share that happens to be kept;
    noise in place of zeros.
    Hint: Drop from a vector of ones at a rate of 0.75. Which two numbers should you see, so that the mean stays 1?
    """
    after = seeded(dropout, case.x, case.rate, case.seed)
    expected = reference.dropout.dropout(as_array(case.x), case.rate, as_array(after != 0))
    scale = float(case.x.abs().max()) / (1 - case.rate)
    assert_close(after, expected, ROUNDING, scale, what="an entry that is not 0")


@law("dropout", given=dropout_cases(kinds=("ordinary", "largest")))
def a_rate_of_zero_changes_nothing(dropout: Function, case: DropoutCase) -> None:
    """A rate of 0 passes everything on, bit for bit.

    Kills: the rate taken for the share that is kept; whole numbers drawn from 0 and compared with "less or equal".
    Hint: Which of your draws lies below a rate of 0? Which draws lie below it or at it?
    """
    assert_same(seeded(dropout, case.x, 0.0, case.seed), case.x, what="what a rate of 0 leaves")


@law("dropout", given=dropout_cases(), needs_gradient=True)
def the_gradient_goes_where_the_value_went(dropout: Function, case: DropoutCase) -> None:
    """The gradient of an entry is multiplied by 1 / (1 − rate) if it was kept, and 0 if it was dropped.

    Kills: a gradient that passes through what was dropped; one that is cut off; one that is not rescaled.
    Hint: Write y = x · m for one entry, where m is what you drew. What is the slope of y if m is 0?
    """
    leaf = case.x.clone().requires_grad_()
    after = seeded(dropout, leaf, case.rate, case.seed)
    assert after.requires_grad, "the result should pass gradients back, but is cut off from what it came from"
    upstream = numbers(case.seed, "upstream", *case.x.shape, dtype=case.dtype)
    (actual,) = torch.autograd.grad(after, [leaf], upstream, materialize_grads=True)
    expected = reference.dropout.dropout(as_array(upstream), case.rate, as_array(after != 0))
    scale = float(upstream.abs().max()) / (1 - case.rate)
    assert_close(actual, expected, ROUNDING, scale, what="the gradient of an entry")


@law("dropout", given=dropout_cases())
def the_same_seed_drops_the_same(dropout: Function, case: DropoutCase) -> None:
    """After the same seed the same entries are dropped.

    Kills: a generator that nobody can seed, so that no run can be repeated.
    Hint: Look at each call that draws a number. Which state does it draw from, and who can set it?
    """
    first, second = (seeded(dropout, case.x, case.rate, case.seed) for _ in range(2))
    assert_same(second, first, what="what is left after the same seed")


# What holds of chances


@law("dropout", given=crowds)
def the_share_that_is_dropped_is_the_rate(dropout: Function, case: DropoutCrowd) -> None:
    """Of many entries the share that is dropped is the rate.

    Kills: the rate taken for the share that is kept; off by one in a hundred; noise that drops nothing.
    Hint: Drop from ten thousand ones at a rate of 0.1, and count the zeros. Which side of the draw do you keep?
    """
    dropped = case.dropped(dropout)
    assert_rate(int(dropped.sum()), dropped.numel(), case.rate, "entries that are dropped")


@law("dropout", given=crowds)
def neighbours_are_dropped_independently(dropout: Function, case: DropoutCrowd) -> None:
    """Two entries of an example, side by side or one above the other, are both dropped in a share of rate · rate.

    Kills: whole positions dropped; the same columns dropped at every position; a fixed number dropped from each row.
    Hint: How many random numbers do you draw for one example, and what shape have they?
    """
    dropped = case.dropped(dropout)
    # Every other pair of neighbours, so that no entry is in two of them.
    side_by_side = dropped[..., :-1:2] & dropped[..., 1::2]
    above_each_other = dropped[:, :-1:2] & dropped[:, 1::2]
    for where, both in (("side by side", side_by_side), ("above each other", above_each_other)):
        assert_rate(int(both.sum()), both.numel(), case.rate**2, f"pairs of entries {where} that are both dropped")


@law("dropout", given=crowds)
def examples_are_dropped_from_independently(dropout: Function, case: DropoutCrowd) -> None:
    """The same entry of two examples is dropped from both in a share of rate · rate.

    Kills: one mask for the whole batch.
    Hint: Give it a batch of equal examples. Are they still equal afterwards, and should they be?
    """
    dropped = case.dropped(dropout)
    both = dropped[::2] & dropped[1::2]
    assert_rate(int(both.sum()), both.numel(), case.rate**2, "pairs of examples from which an entry is dropped twice")


@law("dropout", given=crowds)
def small_and_large_numbers_are_dropped_alike(dropout: Function, case: DropoutCrowd) -> None:
    """Whether an entry is dropped does not depend on what it is: small or large, negative or positive.

    Kills: the smallest numbers dropped in place of random ones.
    Hint: Does anything that decides what is dropped look at x?
    """
    dropped = case.dropped(dropout)
    is_small = case.x.abs() < case.x.abs().median()
    for kind, chosen in (("small", is_small), ("large", ~is_small), ("negative", case.x < 0), ("positive", case.x > 0)):
        among = dropped[chosen]
        assert_rate(int(among.sum()), among.numel(), case.rate, f"{kind} entries that are dropped")


@law("dropout", given=crowds)
def another_call_drops_others(dropout: Function, case: DropoutCrowd) -> None:
    """Two calls, one after the other, drop the same entry in a share of rate · rate: they know nothing of each other.

    Kills: a mask that is drawn once and kept; a seed that is set inside.
    Hint: Drop from the same vector twice. When is the draw made: at each call, or before the first?
    """
    both = case.dropped(dropout) & (dropout(case.x, case.rate) == 0)
    assert_rate(int(both.sum()), both.numel(), case.rate**2, "entries that two calls drop")


@law("dropout", given=few_seeds)
def in_bfloat16_the_rate_is_still_the_rate(dropout: Function, case: int) -> None:
    """In bfloat16 too, the share that is dropped is the rate.

    Kills: a draw in the type of x, which in bfloat16 is so coarse that 1.2 % are dropped where 1 % is meant.
    Hint: How many different numbers between 0 and 0.01 has the type that you draw in?
    """
    ones = torch.ones(100_000, 2, 2, dtype=torch.bfloat16)
    dropped = seeded(dropout, ones, 0.01, case) == 0
    assert_rate(int(dropped.sum()), dropped.numel(), 0.01, "entries in bfloat16 that are dropped")


@law("dropout", given=few_seeds)
def a_rate_between_two_bytes_is_met(dropout: Function, case: int) -> None:
    """Of 200,000 entries a share of 5/512 is dropped where this is the rate.

    Kills: a byte for each entry, which rounds the rate to 2/256 or 3/256; a few numbers repeated for all entries.
    Hint: How many random bits decide about an entry? Which rates can so many bits tell apart?
    """
    dropped = seeded(dropout, torch.ones(50_000, 2, 2), BETWEEN_BYTES, case) == 0
    assert_rate(int(dropped.sum()), dropped.numel(), BETWEEN_BYTES, "entries that are dropped")


# A layer, which knows whether it trains


@law("dropout-layer", given=dropout_cases(kinds=("ordinary", "largest")), equations=())
def in_evaluation_everything_passes(dropout_layer: Layer, case: DropoutCase) -> None:
    """In evaluation everything passes as it is, bit for bit, whatever the rate.

    Kills: dropout left on; evaluation rescaled, up or down; training and evaluation exchanged.
    Hint: Training kept the mean as it was. What is left for evaluation to make up for?
    """
    assert_same(dropout_layer(case.x, case.rate, False), case.x, what="what evaluation passes on")


@law("dropout-layer", given=dropout_cases(), equations=(), needs_gradient=True)
def in_evaluation_the_gradient_passes_too(dropout_layer: Layer, case: DropoutCase) -> None:
    """In evaluation the gradient comes back as it went in, bit for bit.

    Kills: a way back that is cut off in evaluation; evaluation rescaled or dropped from.
    Hint: Ask in evaluation which word an answer hangs on. Does a gradient reach the words?
    """
    upstream = numbers(case.seed, "upstream", *case.x.shape, dtype=case.dtype)
    (found,) = gradients_through(lambda x: dropout_layer(x, case.rate, False), [case.x], upstream)
    assert_same(found, upstream, what="the gradient in evaluation")


@law("dropout-layer", given=dropout_cases(), equations=())
def an_evaluation_between_two_steps_draws_nothing(dropout_layer: Layer, case: DropoutCase) -> None:
    """What a step drops is the same, bit for bit, whether or not there was an evaluation before it.

    Kills: a mask that is drawn in evaluation and thrown away; dropout left on.
    Hint: Evaluate once more than usual, with the same seed. Is your next step still the same?
    """
    wanted = seeded(lambda x, rate: dropout_layer(x, rate, True), case.x, case.rate, case.seed)

    def after_an_evaluation(x: Tensor, rate: float) -> Tensor:
        dropout_layer(x, rate, False)
        return dropout_layer(x, rate, True)

    found = seeded(after_an_evaluation, case.x, case.rate, case.seed)
    assert_same(found, wanted, what="what a step leaves after an evaluation")


@law("dropout-layer", given=dropout_cases(), equations=())
def in_training_what_is_kept_is_rescaled(dropout_layer: Layer, case: DropoutCase) -> None:
    """In training each entry is exactly 0 or divided by 1 − rate, as in the reference with the same draw.

    Kills: what is kept left as it was, to be made up for in evaluation; nothing dropped in training.
    Hint: Which of the two modes has lost something, and which one should pay for it?
    """
    after = seeded(lambda x, rate: dropout_layer(x, rate, True), case.x, case.rate, case.seed)
    expected = reference.dropout.dropout(as_array(case.x), case.rate, as_array(after != 0))
    scale = float(case.x.abs().max()) / (1 - case.rate)
    assert_close(after, expected, ROUNDING, scale, what="an entry that is not 0")


@law("dropout-layer", given=crowds, equations=())
def in_training_the_share_that_is_dropped_is_the_rate(dropout_layer: Layer, case: DropoutCrowd) -> None:
    """In training the share of many entries that is dropped is the rate.

    Kills: training and evaluation exchanged, so that training drops nothing.
    Hint: Count the zeros once in training and once in evaluation. In which of the two should there be any?
    """
    dropped = case.dropped(lambda x, rate: dropout_layer(x, rate, True))
    assert_rate(int(dropped.sum()), dropped.numel(), case.rate, "entries that are dropped in training")
