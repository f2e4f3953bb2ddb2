"""Laws of softmax and of its logarithm."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from minitransformer import reference
from minitransformer.laws.cases import COARSE, ManyCase, VectorsCase, many_cases, numbers, vectors_cases
from minitransformer.laws.gradients import gradients_through
from minitransformer.laws.law import law
from minitransformer.laws.tolerances import LAYER, ROUNDING, SUM, as_array, assert_close, assert_same_type

Function = Callable[..., Tensor]

AXES = (0, 1, 2, -1)
"""Every axis of the vectors of a case, the last one by both of its names."""

# Softmax


@law("softmax", given=vectors_cases())
def shares_are_positive_and_sum_to_one(softmax: Function, case: VectorsCase) -> None:
    """Shares are positive and sum to one.

    Kills: softmax over another axis; exponentials that are not divided; division by the sum of the scores.
    Hint: Add up the shares of one row, then those of one column. Which of the two sums should be 1?
    """
    shares = softmax(case.x)
    assert (shares >= 0).all(), "shares should not be negative"
    assert_close(shares.sum(-1), torch.ones_like(case.x[..., 0]), SUM, what="the sum of the shares")


@law("softmax", given=vectors_cases())
def shares_sum_to_one_along_the_axis_asked_for(softmax: Function, case: VectorsCase) -> None:
    """Shares are positive and sum to one along the axis asked for.

    Kills: an axis that is ignored; the maximum or the sum taken along another axis than the one asked for.
    Hint: Your function reduces its scores in more than one place. Do all of these places know which axis was asked for?
    """
    for axis in AXES:
        shares = softmax(case.x, axis)
        assert (shares >= 0).all(), "shares should not be negative"
        sums = torch.ones_like(case.x.select(axis, 0))
        assert_close(shares.sum(axis), sums, SUM, what=f"the sum of the shares along axis {axis}")


@law("softmax", given=vectors_cases())
def a_constant_added_to_all_scores_changes_nothing(softmax: Function, case: VectorsCase) -> None:
    """Adding a constant to all scores changes no share.

    Kills: no subtraction of the maximum, which overflows; powers of another kind than the exponential.
    Hint: What is exp(10000) in a computer? Which number could you take from every score before, at no cost?
    """
    for constant in (-1e4, 1e4):
        shifted = softmax(case.x + constant)
        scale = 1 + float(case.x.abs().max()) + 1e4
        assert_close(shifted, softmax(case.x), ROUNDING, scale, what="the softmax of shifted scores")


@law("softmax", given=vectors_cases())
def the_ratio_of_two_shares_is_the_exponential_of_their_difference(softmax: Function, case: VectorsCase) -> None:
    """The ratio of two shares is the exponential of the difference of their scores.

    Kills: powers of two, a temperature, shares in proportion to the scores.
    Hint: Give it two scores that differ by 1, and divide the larger share by the smaller. Which number should come out?
    """
    scores = case.x.clamp(-10, 10)
    expected = (scores - scores[..., :1]).exp() * softmax(scores)[..., :1]
    assert_close(softmax(scores), expected, SUM, what="a share, from the first one")


@law("softmax", given=vectors_cases())
def the_shares_agree_with_the_reference(softmax: Function, case: VectorsCase) -> None:
    """Softmax agrees with the reference.

    Kills: softmax over another axis; a temperature; a maximum over everything, under which distant rows are 0 / 0.
    Hint: Work out the shares of the scores 0 and ln 3 with a pencil. Then let a row of scores around 0 and a row of
    scores around 1000 stand in the same batch: does each row get what it gets alone?
    """
    scale = 1 + float(case.x.abs().max())
    assert_close(softmax(case.x), reference.attention.softmax(as_array(case.x)), SUM, scale)


@law("softmax", given=vectors_cases())
def shares_along_any_axis_agree_with_the_reference(softmax: Function, case: VectorsCase) -> None:
    """Softmax agrees with the reference along every axis.

    Kills: an axis that is ignored; axes counted from the wrong end; a result left with its axes swapped.
    Hint: Swap two axes of the scores, ask along the swapped one, and swap back. Does that change anything?
    """
    scale = 1 + float(case.x.abs().max())
    for axis in AXES:
        expected = reference.attention.softmax(as_array(case.x), axis)
        assert_close(softmax(case.x, axis), expected, SUM, scale, what=f"the softmax along axis {axis}")


@law("softmax", given=vectors_cases(), needs_gradient=True)
def a_share_passes_its_gradient_to_every_score(softmax: Function, case: VectorsCase) -> None:
    """The gradient of a score, derived by hand: its share, times what it passes back less the mean of all shares.

    Kills: a sum that is detached, as if each share depended on its own score alone; a result that left autograd.
    Hint: When one score grows, its share grows. What happens to all other shares, and does autograd get to know of it?
    """
    upstream = numbers(case.seed, "upstream", *case.x.shape, dtype=case.dtype)
    expected = reference.attention.softmax_gradient(as_array(upstream), as_array(case.x))
    (gradient,) = gradients_through(softmax, [case.x], upstream)
    scale = (1 + float(case.x.abs().max())) * (1 + float(upstream.abs().max()))
    assert_close(gradient, expected, LAYER, scale, what="the gradient of the scores")


@law("softmax", given=vectors_cases(types=COARSE))
def in_bfloat16_the_shares_agree_with_the_reference(softmax: Function, case: VectorsCase) -> None:
    """In bfloat16 softmax agrees with the reference at scores of any size, and gives bfloat16 back.

    Kills: a detour through float16, where 100,000 is ∞; shares in float32 whatever the scores are in.
    Hint: Put in scores of 100,000 and print the type and the value of every step. Does each type hold such a number?
    """
    shares = softmax(case.x)
    assert_same_type(shares, case.x)
    assert_close(shares, reference.attention.softmax(as_array(case.x)), ROUNDING, 1.0)


@law("softmax", given=many_cases())
def in_bfloat16_many_equal_scores_have_equal_shares(softmax: Function, case: ManyCase) -> None:
    """In bfloat16 each of up to 2,048 equal scores has its equal share.

    Kills: a sum of exponentials that is kept in bfloat16 while it grows, and stops at 256.
    Hint: Eight bits hold 256 and 258. What is 256 + 1 then, and how does your sum get from one term to the next?
    """
    shares = softmax(case.ones.expand(3, case.count))
    assert_close(shares * case.count, torch.ones_like(shares), ROUNDING, 1.0, what="a share, times their number,")


# The logarithm of the softmax


@law("log-softmax", given=vectors_cases())
def log_softmax_is_finite_where_the_softmax_rounds_to_zero(log_softmax: Function, case: VectorsCase) -> None:
    """Log-softmax is finite however small the share, and its differences are those of the scores.

    Kills: the logarithm of a softmax that was rounded to 0.
    Hint: Which share does the smaller of the scores 0 and 1000 get, to sixteen digits? What is the logarithm of that?
    """
    logarithm = log_softmax(case.x)
    scale = 1 + float(case.x.abs().max())
    assert torch.isfinite(logarithm).all(), "the logarithm of a small share should be finite"
    sums = torch.ones_like(case.x[..., 0])
    assert_close(logarithm.exp().sum(-1), sums, SUM, scale, what="the sum of the shares")
    difference = logarithm - logarithm[..., :1]
    assert_close(difference, case.x - case.x[..., :1], ROUNDING, scale, what="the difference of two logarithms")


@law("log-softmax", given=vectors_cases())
def a_constant_added_to_all_scores_changes_no_logarithm(log_softmax: Function, case: VectorsCase) -> None:
    """Adding a constant to all scores changes no logarithm of a share.

    Kills: no subtraction of the maximum, whose exponentials overflow; a maximum taken off once but not twice.
    Hint: The constant stands in the score and in the logarithm of the sum. Does it cancel, or is it too large for exp?
    """
    for constant in (-1e4, 1e4):
        shifted = log_softmax(case.x + constant)
        scale = 1 + float(case.x.abs().max()) + 1e4
        assert_close(shifted, log_softmax(case.x), SUM, scale, what="the log-softmax of shifted scores")


@law("log-softmax", given=vectors_cases())
def log_softmax_of_itself_is_itself(log_softmax: Function, case: VectorsCase) -> None:
    """The logarithms of shares are scores that get the same shares: taking them twice changes nothing.

    Kills: logarithms to the base of two or ten; a softmax in place of its logarithm; the sum added, not subtracted.
    Hint: Feed your result to the function once more. What should be left to subtract, if the shares already sum to 1?
    """
    once = log_softmax(case.x)
    scale = 1 + float(case.x.abs().max())
    assert_close(log_softmax(once), once, SUM, scale, what="the log-softmax of a log-softmax")


@law("log-softmax", given=vectors_cases())
def the_logarithms_agree_with_the_reference(log_softmax: Function, case: VectorsCase) -> None:
    """Log-softmax agrees with the reference.

    Kills: the sum over another axis; the maximum or the logarithm of the sum forgotten.
    Hint: Work out both logarithms for the scores 0 and ln 3 with a pencil. Which of the three terms differs from yours?
    """
    scale = 1 + float(case.x.abs().max())
    assert_close(log_softmax(case.x), reference.attention.log_softmax(as_array(case.x)), SUM, scale)


@law("log-softmax", given=vectors_cases())
def logarithms_along_any_axis_agree_with_the_reference(log_softmax: Function, case: VectorsCase) -> None:
    """Log-softmax agrees with the reference along every axis.

    Kills: an axis that is ignored; the maximum along one axis and the sum along another.
    Hint: Your function reduces its scores in more than one place. Do all of these places know which axis was asked for?
    """
    scale = 1 + float(case.x.abs().max())
    for axis in AXES:
        expected = reference.attention.log_softmax(as_array(case.x), axis)
        assert_close(log_softmax(case.x, axis), expected, SUM, scale, what=f"the log-softmax along axis {axis}")


@law("log-softmax", given=vectors_cases(), needs_gradient=True)
def a_logarithm_passes_its_gradient_to_every_score(log_softmax: Function, case: VectorsCase) -> None:
    """The gradient of a score, derived by hand: what its logarithm passes back, less its share of all that is passed.

    Kills: a sum that is detached; a gradient of NaN from the logarithm of a share that was rounded to 0.
    Hint: The sum of exponentials depends on every score. Can autograd follow it, even where one share is all but 0?
    """
    upstream = numbers(case.seed, "upstream", *case.x.shape, dtype=case.dtype)
    expected = reference.attention.log_softmax_gradient(as_array(upstream), as_array(case.x))
    (gradient,) = gradients_through(log_softmax, [case.x], upstream)
    scale = (1 + float(case.x.abs().max())) * (1 + float(upstream.abs().sum(-1).max()))
    assert_close(gradient, expected, LAYER, scale, what="the gradient of the scores")


@law("log-softmax", given=vectors_cases(types=COARSE))
def in_bfloat16_the_logarithms_agree_with_the_reference(log_softmax: Function, case: VectorsCase) -> None:
    """In bfloat16 log-softmax agrees with the reference at scores of any size, and gives bfloat16 back.

    Kills: the logarithm of a share that was rounded to 0; a detour through float16; a result in float32.
    Hint: Put in scores of 100,000 and print the type and the value of every step. Does each type hold such a number?
    """
    logarithm = log_softmax(case.x)
    assert_same_type(logarithm, case.x)
    scale = 1 + float(case.x.abs().max())
    assert_close(logarithm, reference.attention.log_softmax(as_array(case.x)), ROUNDING, scale)


@law("log-softmax", given=many_cases())
def in_bfloat16_many_equal_scores_have_the_logarithm_of_their_number(log_softmax: Function, case: ManyCase) -> None:
    """In bfloat16 each of n equal scores, up to 2,048, has a logarithm of −ln n.

    Kills: a sum of exponentials that is kept in bfloat16 while it grows, and stops at 256.
    Hint: Eight bits hold 256 and 258. What is 256 + 1 then, and how does your sum get from one term to the next?
    """
    logarithm = log_softmax(case.ones.expand(3, case.count))
    expected = torch.full_like(logarithm, -math.log(case.count))
    assert_close(logarithm, expected, ROUNDING, math.log(case.count), what="the logarithm of an equal share")
