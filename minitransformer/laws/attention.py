"""Laws of attention: softmax and its logarithm, the weights of the keys, and what a query reads."""

import math
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from minitransformer import reference
from minitransformer.laws.cases import (
    SEEING,
    AttentionCase,
    VectorsCase,
    attention_cases,
    numbers,
    shuffled,
    vectors_cases,
)
from minitransformer.laws.law import law
from minitransformer.laws.tolerances import LAYER, ROUNDING, SUM, as_array, assert_close, assert_same

Function = Callable[..., Tensor]

AXES = (0, 1, 2, -1)
"""Every axis of the vectors of a case, the last one by both of its names."""

seeing_cases = partial(attention_cases, visibilities=SEEING)
"""What becomes of a query that may read nothing is said by laws of its own, so that one mistake breaks few laws."""

sees_nothing = attention_cases(visibilities=("random", "one row sees nothing", "nothing"))

OWN_SCALE = 0.3
"""A scale that is 1/√d_k for no width."""


def gradients_through(function: Function, inputs: Sequence[Tensor], upstream: Tensor) -> list[Tensor]:
    """What autograd passes back to each input; zeros where it passes nothing, for that means the same."""
    leaves = [tensor.clone().requires_grad_() for tensor in inputs]
    result = function(*leaves)
    assert result.shape == upstream.shape, (
        f"the result should have shape {tuple(upstream.shape)}, but has {tuple(result.shape)}"
    )
    if not result.requires_grad:
        return [torch.zeros_like(leaf) for leaf in leaves]
    gradients = torch.autograd.grad(result, leaves, upstream, allow_unused=True)
    return [
        torch.zeros_like(leaf) if gradient is None else gradient
        for leaf, gradient in zip(leaves, gradients, strict=True)
    ]


def rule_of(case: AttentionCase) -> np.ndarray | None:
    """Who may attend to whom, as the reference takes it."""
    return None if case.may_attend is None else as_array(case.may_attend)


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
    """The gradient of a score is its share times what its own share passes back, less the mean over all shares.

    Kills: a sum that is detached, as if each share depended on its own score alone; a result that left autograd.
    Hint: When one score grows, its share grows. What happens to all other shares, and does autograd get to know of it?
    """
    upstream = numbers(case.seed, "upstream", *case.x.shape, dtype=case.dtype)
    shares, passed_back = reference.attention.softmax(as_array(case.x)), as_array(upstream)
    expected = shares * (passed_back - np.sum(shares * passed_back, axis=-1, keepdims=True))
    (gradient,) = gradients_through(softmax, [case.x], upstream)
    scale = (1 + float(case.x.abs().max())) * (1 + float(upstream.abs().max()))
    assert_close(gradient, expected, LAYER, scale, what="the gradient of the scores")


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
    """The gradient of a score is what its own logarithm passes back, less its share of all that is passed back.

    Kills: a sum that is detached; a gradient of NaN from the logarithm of a share that was rounded to 0.
    Hint: The sum of exponentials depends on every score. Can autograd follow it, even where one share is all but 0?
    """
    upstream = numbers(case.seed, "upstream", *case.x.shape, dtype=case.dtype)
    shares, passed_back = reference.attention.softmax(as_array(case.x)), as_array(upstream)
    expected = passed_back - shares * np.sum(passed_back, axis=-1, keepdims=True)
    (gradient,) = gradients_through(log_softmax, [case.x], upstream)
    scale = (1 + float(case.x.abs().max())) * (1 + float(upstream.abs().sum(-1).max()))
    assert_close(gradient, expected, LAYER, scale, what="the gradient of the scores")


# Weights


@law("attention-weights", given=attention_cases())
def rows_of_weights_sum_to_one_or_zero(attention_weights: Function, case: AttentionCase) -> None:
    """Each row of weights sums to 1, or to 0 where the query may read nothing, and hidden keys weigh nothing.

    Kills: softmax over the queries; visibility applied after the softmax; −10,000 for −∞; visibility inverted.
    Hint: Add up each row of your weights. Do they sum to 1 across the keys, or down the queries?
    """
    weights = attention_weights(case.query, case.key, case.may_attend)
    assert (weights >= 0).all(), "weights should not be negative"
    assert not weights[~case.visible].any(), "a hidden key should weigh exactly nothing"
    sums = case.visible.any(-1).to(case.dtype)
    assert_close(weights.sum(-1), sums, SUM, what="the sum of each row of weights")


@law("attention-weights", given=seeing_cases(scores=("ordinary",)))
def the_log_odds_of_two_keys_are_their_scaled_difference(attention_weights: Function, case: AttentionCase) -> None:
    """The logarithm of the ratio of two weights is the difference of the dot products, over √d_k.

    Kills: no scale; 1/d_k; √d_model or √d_v for √d_k; scaling twice.
    Hint: Add up d products of independent numbers of variance 1: what is the variance of the sum? Which factor makes it
    1 again, and how often do you apply it?
    """
    query, key = case.query.clamp(-2, 2), case.key.clamp(-2, 2)
    weights = attention_weights(query, key)
    score = torch.einsum("blk,bmk->blm", query, key) / math.sqrt(case.d_k)
    expected = (score - score[..., :1]).exp() * weights[..., :1]
    assert_close(weights, expected, SUM, 1 + 4 * math.sqrt(case.d_k), what="a weight, from the first one")


@law("attention-weights", given=seeing_cases())
def a_constant_added_to_all_scores_of_a_query_changes_nothing(attention_weights: Function, case: AttentionCase) -> None:
    """Adding a constant to all scores of a query changes none of its weights.

    Kills: hidden scores set to a number that visible ones can fall below.
    Hint: Imagine that every visible key scores −30,000. Which key wins then, and which score did you give hidden ones?
    """
    # A column of ones in the keys adds to every score of a query whatever the query holds in that column.
    size = 3e4
    key = torch.cat([case.key, torch.ones_like(case.key[..., :1])], dim=-1)
    column = torch.full_like(case.query[..., :1], -size * math.sqrt(case.d_k + 1))
    before, after = (
        attention_weights(torch.cat([case.query, last], dim=-1), key, case.may_attend)
        for last in (torch.zeros_like(column), column)
    )
    assert_close(after, before, SUM, case.score_size + size, what="the weights of shifted scores")


@law("attention-weights", given=seeing_cases())
def the_weights_agree_with_the_reference(attention_weights: Function, case: AttentionCase) -> None:
    """The weights agree with the reference.

    Kills: no scale; queries and keys swapped; the rule of another example; NaN in a row that sees nothing.
    Hint: Ask with one query and two keys, and follow the numbers with a pencil: scores, scale, visibility, softmax.
    Which of them is the first to differ?
    """
    actual = attention_weights(case.query, case.key, case.may_attend)
    expected = reference.attention.attention_weights(as_array(case.query), as_array(case.key), rule_of(case))
    assert_close(actual, expected, SUM, case.score_size * math.sqrt(case.d_k), what="the weights")


@law("attention-weights", given=seeing_cases())
def weights_under_a_scale_of_ones_own_agree_with_the_reference(
    attention_weights: Function, case: AttentionCase
) -> None:
    """The weights agree with the reference under a scale of one's own, which takes the place of 1/√d_k.

    Kills: a scale that is ignored, that divides, or that comes on top of 1/√d_k.
    Hint: Ask with a scale of 1. By which number have your scores been multiplied in all?
    """
    actual = attention_weights(case.query, case.key, case.may_attend, OWN_SCALE)
    query, key = as_array(case.query), as_array(case.key)
    expected = reference.attention.attention_weights(query, key, rule_of(case), OWN_SCALE)
    assert_close(actual, expected, SUM, case.score_size * math.sqrt(case.d_k), what="the weights")


@law("attention-weights", given=seeing_cases(scores=("ordinary", "equal")), needs_gradient=True)
def the_gradient_of_the_weights_agrees_with_the_one_derived_by_hand(
    attention_weights: Function, case: AttentionCase
) -> None:
    """The gradient of the weights in queries and keys, derived by hand, agrees with autograd.

    Kills: a scale or a sum that is detached; weights that left autograd.
    Hint: Follow one score through the softmax and back. Is any step of it detached, or no longer a tensor's own?
    """
    upstream = numbers(case.seed, "upstream", case.batch, case.length, case.memory, dtype=case.dtype)
    # Under values that are the unit vectors, what is read are the weights themselves.
    units = np.broadcast_to(np.eye(case.memory), (case.batch, case.memory, case.memory))
    *expected, _ = reference.attention.attention_gradient(
        as_array(upstream), as_array(case.query), as_array(case.key), units, rule_of(case)
    )
    inputs = (case.query, case.key)
    gradients = gradients_through(lambda query, key: attention_weights(query, key, case.may_attend), inputs, upstream)
    largest = max(1.0, *(float(tensor.abs().max()) for tensor in inputs))
    scale = case.score_size * largest * (1 + float(upstream.abs().sum()))
    for name, actual, by_hand in zip(("queries", "keys"), gradients, expected, strict=True):
        assert_close(actual, by_hand, LAYER, scale, what=f"the gradient of the {name}")


@law("attention-weights", given=sees_nothing, needs_gradient=True)
def the_weights_of_a_query_that_sees_nothing_pass_no_gradient(attention_weights: Function, case: AttentionCase) -> None:
    """The weights of a query that may read nothing pass no gradient; all others pass finite ones.

    Kills: NaN from a row of −∞, even where its result was replaced by 0.
    Hint: Where a query sees nothing, its weights may look right while their gradient is NaN. What did the softmax of
    that row see, before its result was replaced?
    """
    upstream = numbers(case.seed, "upstream", case.batch, case.length, case.memory, dtype=case.dtype)
    blind_only = upstream.where(~case.visible.any(-1, keepdim=True), 0.0)

    def weigh(query: Tensor, key: Tensor) -> Tensor:
        return attention_weights(query, key, case.may_attend)

    for gradient in gradients_through(weigh, (case.query, case.key), blind_only):
        assert not gradient.any(), "a query that sees nothing should pass no gradient"
    for gradient in gradients_through(weigh, (case.query, case.key), upstream):
        assert torch.isfinite(gradient).all(), "every gradient should be finite"


# What a query reads


@law("attention", given=seeing_cases())
def a_hidden_key_cannot_matter(attention: Function, case: AttentionCase) -> None:
    """Whatever stands in hidden keys and values, what a query reads stays the same, bit for bit.

    Kills: −10,000 for −∞; visibility inverted, on the query axis, dropped or applied after the softmax.
    Hint: Put 100 in place of every hidden key. Which number of your function changes first: a score, a sum, a weight?
    """
    if case.may_attend is None:
        return
    before = attention(case.query, case.key, case.value, case.may_attend)
    for query in range(case.length):
        hidden = ~case.visible[:, query, :, None]
        key = torch.where(hidden, 100 * numbers(case.seed, "other key", *case.key.shape, dtype=case.dtype), case.key)
        value = torch.where(
            hidden, 100 * numbers(case.seed, "other value", *case.value.shape, dtype=case.dtype), case.value
        )
        after = attention(case.query, key, value, case.may_attend)
        assert_same(after[:, query], before[:, query], what="what is read when hidden keys and values change")


@law("attention", given=seeing_cases())
def permuting_keys_and_values_together_changes_nothing(attention: Function, case: AttentionCase) -> None:
    """Permuting keys, values and their visibility together changes nothing that is read.

    Kills: weights that depend on the place of a key, such as a wrong diagonal or the mask of another key.
    Hint: Attention reads a set, not a list. What in your function knows that a key is the first or the last one?
    """
    order = shuffled(case.seed, "order", case.memory)
    may_attend = None if case.may_attend is None else case.may_attend[..., order]
    before = attention(case.query, case.key, case.value, case.may_attend)
    after = attention(case.query, case.key[:, order], case.value[:, order], may_attend)
    assert_close(after, before, SUM, case.scale, what="what is read from shuffled keys and values")


@law("attention", given=seeing_cases())
def permuting_queries_permutes_what_is_read(attention: Function, case: AttentionCase) -> None:
    """Permuting the queries permutes what they read.

    Kills: softmax over the queries; queries that see each other.
    Hint: Ask with one query alone, then with a second one beside it. Does the first still read the same?
    """
    order = shuffled(case.seed, "order", case.length)
    may_attend = None if case.may_attend is None else case.may_attend[:, order]
    before = attention(case.query, case.key, case.value, case.may_attend)
    after = attention(case.query[:, order], case.key, case.value, may_attend)
    assert_close(after, before[:, order], SUM, case.scale, what="what shuffled queries read")


@law("attention", given=seeing_cases(scores=("equal",)))
def equal_keys_read_the_mean(attention: Function, case: AttentionCase) -> None:
    """A query that cannot tell the keys apart reads the mean of the visible values.

    Kills: weights that are not normalised over the visible keys; values from another projection; queries over keys.
    Hint: Of four equal keys two are visible. What does each of the four weigh, and which numbers do you divide by?
    """
    shares = case.visible.double() / case.visible.sum(-1, keepdim=True).clamp(min=1)
    expected = (shares @ case.value.double()).to(case.dtype)
    read = attention(case.query, case.key, case.value, case.may_attend)
    assert_close(read, expected, SUM, case.scale, what="what is read from equal keys")


@law("attention", given=seeing_cases())
def what_is_read_lies_among_the_visible_values(attention: Function, case: AttentionCase) -> None:
    """What is read lies between the least and the greatest visible value, in each column.

    Kills: weights that sum to more than 1; exponentials that are not divided.
    Hint: A mean never exceeds the largest of its numbers. What must be true of the weights, for yours to be a mean?
    """
    read = attention(case.query, case.key, case.value, case.may_attend)
    some = case.visible.any(-1)[..., None]
    visible, value = case.visible[..., None], case.value[:, None]
    lowest = value.where(visible, math.inf).amin(-2).where(some, 0.0)
    highest = value.where(visible, -math.inf).amax(-2).where(some, 0.0)
    beyond = torch.maximum(lowest - read, read - highest).clamp(min=0)
    assert_close(beyond, torch.zeros_like(beyond), SUM, case.scale, what="the distance to the visible values")


@law("attention", given=sees_nothing, equations=("attention", "attention-weights"))
def a_query_that_sees_nothing_reads_zeros(attention: Function, case: AttentionCase) -> None:
    """A query that may read nothing reads zeros.

    Kills: NaN from a row of −∞; the plain mean from a row of −10,000.
    Hint: Hide every key from one query. What does the softmax of its scores give, and what would you want it to read?
    """
    read = attention(case.query, case.key, case.value, case.may_attend)
    blind = ~case.visible.any(-1)
    assert not read[blind].any(), "a query that sees nothing should read exact zeros"


@law("attention", given=sees_nothing, equations=("attention", "attention-weights"), needs_gradient=True)
def a_query_that_sees_nothing_passes_no_gradient(attention: Function, case: AttentionCase) -> None:
    """A query that may read nothing passes no gradient; all others pass finite ones.

    Kills: NaN from a row of −∞, even where its result was replaced by 0; the plain mean from a row of −10,000.
    Hint: A NaN that is replaced after the softmax can still stand on the way back. Could that row be kept from ever
    being NaN?
    """
    inputs = (case.query, case.key, case.value)
    everyone = torch.ones(case.batch, case.length, case.d_v, dtype=case.dtype)
    blind_only = everyone.where(~case.visible.any(-1, keepdim=True), 0.0)

    def read(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        return attention(query, key, value, case.may_attend)

    for gradient in gradients_through(read, inputs, blind_only):
        assert not gradient.any(), "a query that sees nothing should pass no gradient"
    for gradient in gradients_through(read, inputs, everyone):
        assert torch.isfinite(gradient).all(), "every gradient should be finite"


@law("attention", given=seeing_cases())
def the_only_visible_value_is_read_as_it_is(attention: Function, case: AttentionCase) -> None:
    """The only visible value is read as it is, bit for bit, whatever the scores are.

    Kills: visibility inverted, transposed or off by one; keys read in place of values.
    Hint: Show each query one key only. Does it read the value of that key, or of the key that you meant to hide?
    """
    only = torch.randint(case.memory, (case.batch, case.length), generator=torch.Generator().manual_seed(case.seed))
    may_attend = F.one_hot(only, case.memory).bool()
    read = attention(case.query, case.key, case.value, may_attend)
    expected = torch.stack([value[keys] for value, keys in zip(case.value, only, strict=True)])
    assert_same(read, expected, what="the only visible value")


@law("attention", given=seeing_cases())
def reading_is_linear_in_the_values(attention: Function, case: AttentionCase) -> None:
    """What is read from a sum of values is the sum of what is read from each.

    Kills: a softmax after the values; weights that depend on the values.
    Hint: Double all values. What happens to what is read, and which step of your function comes after the values?
    """
    other = numbers(case.seed, "other value", *case.value.shape, dtype=case.dtype)
    together = attention(case.query, case.key, case.value - 2 * other, case.may_attend)
    apart = attention(case.query, case.key, case.value, case.may_attend) - 2 * attention(
        case.query, case.key, other, case.may_attend
    )
    scale = case.score_size * float(case.value.abs().max() + 2 * other.abs().max())
    assert_close(together, apart, SUM, scale, what="what is read from a sum of values")


@law("attention", given=seeing_cases())
def leading_axes_are_examples_of_their_own(attention: Function, case: AttentionCase) -> None:
    """Each example along the leading axes reads as it would alone.

    Kills: an axis counted from the front; a rule that broadcasts over the wrong axis.
    Hint: Ask without a batch, then with a batch, then with a batch and heads. Do you count the axes from an end that
    stays the same?
    """
    together = attention(case.query, case.key, case.value, case.may_attend)
    stacked = attention(
        case.query[None, :, None], case.key[None, :, None], case.value[None, :, None], case.visible[:, None]
    )
    assert_close(stacked, together[None, :, None], SUM, case.scale, what="what is read under more leading axes")
    for example in range(case.batch):
        alone = attention(case.query[example], case.key[example], case.value[example], case.visible[example])
        assert_close(alone, together[example], SUM, case.scale, what="what one example reads alone")


@law("attention", given=seeing_cases())
def what_is_read_agrees_with_the_reference(attention: Function, case: AttentionCase) -> None:
    """Attention agrees with the reference in both float types.

    Kills: no scale; weights transposed; keys read in place of values; NaN or a mean where a query sees nothing.
    Hint: Print your weights for one query and two keys, then multiply them with the values by hand. Is it the weights
    that differ, or what is read with them?
    """
    actual = attention(case.query, case.key, case.value, case.may_attend)
    arrays = (as_array(case.query), as_array(case.key), as_array(case.value))
    expected = reference.attention.scaled_dot_product_attention(*arrays, rule_of(case))
    assert_close(actual, expected, SUM, case.scale * math.sqrt(case.d_k), what="what is read")


@law("attention", given=seeing_cases())
def what_is_read_under_a_scale_of_ones_own_agrees_with_the_reference(attention: Function, case: AttentionCase) -> None:
    """Attention agrees with the reference under a scale of one's own, which takes the place of 1/√d_k.

    Kills: a scale that is ignored, that divides, or that comes on top of 1/√d_k.
    Hint: Ask with a scale of 1. By which number have your scores been multiplied in all?
    """
    actual = attention(case.query, case.key, case.value, case.may_attend, OWN_SCALE)
    arrays = (as_array(case.query), as_array(case.key), as_array(case.value))
    expected = reference.attention.scaled_dot_product_attention(*arrays, rule_of(case), OWN_SCALE)
    assert_close(actual, expected, SUM, case.scale * math.sqrt(case.d_k), what="what is read")


# Gradients derived by hand

differentiable = seeing_cases(scores=("ordinary", "equal"))


def assert_gradient_derived_by_hand(attention: Function, case: AttentionCase, scale: float | None = None) -> None:
    """Compare what autograd passes back through a function with what the derivation on paper says."""
    inputs = (case.query, case.key, case.value)
    upstream = numbers(case.seed, "upstream", case.batch, case.length, case.d_v, dtype=case.dtype)
    query, key, value = (as_array(tensor) for tensor in inputs)
    expected = reference.attention.attention_gradient(as_array(upstream), query, key, value, rule_of(case), scale)
    # A function that knows no scale but 1/√d_k is not handed one.
    options = () if scale is None else (scale,)
    gradients = gradients_through(lambda *leaves: attention(*leaves, case.may_attend, *options), inputs, upstream)
    largest = max(float(tensor.abs().max()) for tensor in inputs)
    size = case.scale * largest * float(upstream.abs().sum())
    for name, actual, by_hand in zip(("queries", "keys", "values"), gradients, expected, strict=True):
        assert_close(actual, by_hand, LAYER, size, what=f"the gradient of the {name}")


@law("attention", given=differentiable, equations=("attention", "attention-weights"), needs_gradient=True)
def the_gradient_of_attention_agrees_with_the_one_derived_by_hand(attention: Function, case: AttentionCase) -> None:
    """The gradient of attention, derived by hand, agrees with autograd.

    Kills: the softmax taken entry by entry; the scale forgotten on the way back; queries and keys swapped.
    Hint: Queries, keys and values each get a gradient: which of the three differs from the one derived by hand? Follow
    that input to the result, and ask at every step whether autograd can follow too.
    """
    assert_gradient_derived_by_hand(attention, case)


@law("attention", given=differentiable, equations=("attention", "attention-weights"), needs_gradient=True)
def the_gradient_under_a_scale_of_ones_own_agrees_with_the_one_derived_by_hand(
    attention: Function, case: AttentionCase
) -> None:
    """The gradient of attention under a scale of one's own, derived by hand, agrees with autograd.

    Kills: a scale that is ignored or that comes on top of 1/√d_k, on the way there or on the way back.
    Hint: The scale multiplies the scores once. How often does it appear in the gradient of the queries?
    """
    assert_gradient_derived_by_hand(attention, case, OWN_SCALE)
