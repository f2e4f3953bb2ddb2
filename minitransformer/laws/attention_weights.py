"""Laws of the weights of attention: how much each key counts for a query."""

import math
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from torch import Tensor

from minitransformer import reference
from minitransformer.laws.cases import (
    COARSE,
    SEEING,
    AttentionCase,
    ManyCase,
    attention_cases,
    many_cases,
    numbers,
    whole_numbers,
)
from minitransformer.laws.gradients import gradients_through
from minitransformer.laws.law import law
from minitransformer.laws.tolerances import LAYER, ROUNDING, SUM, as_array, assert_close, assert_same_type

Function = Callable[..., Tensor]

seeing_cases = partial(attention_cases, visibilities=SEEING)
"""What becomes of a query that may read nothing is said by laws of its own, so that one mistake breaks few laws."""

sees_nothing = attention_cases(visibilities=("random", "one row sees nothing", "nothing"))

OWN_SCALE = 0.3
"""A scale that is 1/√d_k for no width."""

FAR_BELOW = -1e5
"""A score that lies below every number of float16, and that bfloat16 can hold."""


def small_whole(case: AttentionCase) -> tuple[Tensor, Tensor]:
    """Queries and keys of −1, 0 and 1, whose dot products bfloat16 computes exactly."""
    query = whole_numbers(case.seed, "query", -1, 2, *case.query.shape)
    return query.to(case.dtype), whole_numbers(case.seed, "key", -1, 2, *case.key.shape).to(case.dtype)


def all_far_below(case: AttentionCase) -> tuple[Tensor, Tensor]:
    """Queries and keys whose scores are all the same, and lie far below zero."""
    return torch.full_like(case.query, FAR_BELOW / math.sqrt(case.d_k)), torch.ones_like(case.key)


def rule_of(case: AttentionCase) -> np.ndarray | None:
    """Who may attend to whom, as the reference takes it."""
    return None if case.may_attend is None else as_array(case.may_attend)


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
    expected = reference.attention.attention_weights_gradient(
        as_array(upstream), as_array(case.query), as_array(case.key), rule_of(case)
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


@law("attention-weights", given=seeing_cases(scores=("ordinary",), types=COARSE))
def in_bfloat16_the_weights_agree_with_the_reference(attention_weights: Function, case: AttentionCase) -> None:
    """In bfloat16 the weights agree with the reference, hidden ones bit for bit, and are bfloat16 themselves.

    Kills: a rule that is not applied, or too late; weights in float32 whatever the queries are in.
    Hint: Which step of your function makes a tensor of its own, and of which type is it? What do the two types give
    together?
    """
    query, key = small_whole(case)
    weights = attention_weights(query, key, case.may_attend)
    assert_same_type(weights, query)
    assert not weights[~case.visible].any(), "a hidden key should weigh exactly nothing"
    expected = reference.attention.attention_weights(as_array(query), as_array(key), rule_of(case))
    assert_close(weights, expected, ROUNDING, 1.0, what="the weights")


@law("attention-weights", given=seeing_cases(types=COARSE))
def in_bfloat16_hidden_keys_weigh_nothing_however_low_all_scores_are(
    attention_weights: Function, case: AttentionCase
) -> None:
    """In bfloat16, where all scores are −100,000, visible keys share alike and hidden ones weigh exactly nothing.

    Kills: −10,000 for −∞; the least number of float16 for −∞; scores in float16, where −100,000 is −∞ itself.
    Hint: bfloat16 is as coarse as it is wide. Which of its numbers is below all others, and did you use that one?
    """
    query, key = all_far_below(case)
    weights = attention_weights(query, key, case.may_attend)
    assert not weights[~case.visible].any(), "a hidden key should weigh exactly nothing"
    expected = (case.visible.double() / case.visible.sum(-1, keepdim=True)).to(case.dtype)
    assert_close(weights, expected, ROUNDING, 1.0, what="the weights of equal scores far below zero")


@law("attention-weights", given=many_cases())
def in_bfloat16_many_equal_keys_weigh_alike(attention_weights: Function, case: ManyCase) -> None:
    """In bfloat16 each of n equal keys, up to 2,048, weighs 1/n.

    Kills: a sum of exponentials that is kept in bfloat16 while it grows, and stops at 256.
    Hint: Add up the weights of 1,024 equal keys in a wider type. Is it 1, and if it is 4, where did a sum stop?
    """
    query, key = torch.zeros(1, 2, 3).bfloat16(), torch.ones(1, case.count, 3).bfloat16()
    weights = attention_weights(query, key)
    assert_close(weights * case.count, torch.ones_like(weights), ROUNDING, 1.0, what="a weight, times their number,")
