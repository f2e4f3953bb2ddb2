"""Each law is given functions with a classic mistake in them, and has to notice."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import test_attention
import test_blocks
import test_dropout
import test_embeddings
import test_feed_forward
import test_gradients
import test_heads
import test_optimizer
import torch
import torch.nn.functional as F
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from minitransformer import reference
from minitransformer.attention import MultiHeadAttention
from minitransformer.blocks import PostNorm, PreNorm
from minitransformer.feed_forward import FeedForward, gelu, gelu_tanh, relu
from minitransformer.heads import MaskedWordHead, Pooler
from minitransformer.laws import attention as attention_laws
from minitransformer.laws import feed_forward as activation_laws
from minitransformer.laws import losses as loss_laws
from minitransformer.laws import norm as norm_laws
from minitransformer.laws import optimizer as optimizer_laws
from minitransformer.laws import positions as position_laws
from minitransformer.laws import visibility as visibility_laws
from minitransformer.laws import word_vectors as word_vector_laws
from minitransformer.laws.cases import (
    attention_cases,
    loss_cases,
    numbers,
    randomise,
    seeds,
    sequence_cases,
    vectors_cases,
)
from minitransformer.norm import LayerNorm, layer_norm, rms_norm
from minitransformer.optimizer import cosine_warmup, inverse_square_root_warmup, linear_warmup
from minitransformer.positions import sinusoids

Check = Callable[..., None]
Mistakes = dict[str, tuple[Check, st.SearchStrategy[Any]]]


def notices(check: Check, cases: st.SearchStrategy[Any]) -> bool:
    """Whether a check fails, as a check fails, on one of the cases that are drawn."""

    @settings(max_examples=100, derandomize=True, database=None, phases=[Phase.generate], report_multiple_bugs=False)
    @given(case=cases)
    def check_all(case: Any) -> None:
        check(*case) if isinstance(case, tuple) else check(case)

    try:
        check_all()
    except AssertionError:
        return True
    return False


def of(law: Check, *wrong: object) -> Check:
    """The law, with the wrong function in its first place."""
    return lambda *case: law(*wrong, *case)


# Attention


def weights(
    hide: Callable[[Tensor, Tensor], Tensor] = lambda score, rule: score.masked_fill(~rule, -math.inf),
    normalise: Callable[[Tensor], Tensor] = lambda score: score.softmax(-1).nan_to_num(0.0),
    scale_of: Callable[[Tensor], float] = lambda query: query.shape[-1] ** -0.5,
) -> Callable[..., Tensor]:
    """Attention weights with one part exchanged."""

    def attention_weights(query: Tensor, key: Tensor, rule: Tensor | None = None, scale: float | None = None) -> Tensor:
        score = query @ key.mT * (scale_of(query) if scale is None else scale)
        return normalise(score if rule is None else hide(score, rule))

    return attention_weights


def attention(wrong: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Attention that reads with wrong weights."""
    return lambda query, key, value, rule=None, scale=None: wrong(query, key, rule, scale) @ value


def masked_after(query: Tensor, key: Tensor, rule: Tensor | None = None, scale: float | None = None) -> Tensor:
    """Weights whose visibility is applied after the softmax."""
    return weights()(query, key, None, scale) * (1 if rule is None else rule)


def scaled_twice(query: Tensor, key: Tensor, rule: Tensor | None = None, scale: float | None = None) -> Tensor:
    """Weights under a scale of one's own that does not replace the usual one."""
    return weights()(query if scale is None else query * scale, key, rule)


ADDED_INFINITY = weights(lambda score, rule: score + torch.zeros_like(score).masked_fill(~rule, -math.inf))
LARGE_NEGATIVE = weights(lambda score, rule: score.masked_fill(~rule, -1e4))
ADDED_NEGATIVE = weights(lambda score, rule: score - 1e4 * ~rule)
INVERTED = weights(lambda score, rule: score.masked_fill(rule, -math.inf))
DROPPED = weights(lambda score, rule: score)
OVER_QUERIES = weights(normalise=lambda score: score.softmax(-2).nan_to_num(0.0))
NAN_ROWS = weights(normalise=lambda score: score.softmax(-1))
UNSCALED = weights(scale_of=lambda query: 1.0)
BY_WIDTH = weights(scale_of=lambda query: 1 / query.shape[-1])
UNNORMALISED = weights(normalise=lambda score: (score - score.amax(-1, keepdim=True).clamp(min=-1e30)).exp())
POSITIONAL = weights(normalise=lambda score: (score - torch.arange(score.shape[-1])).softmax(-1).nan_to_num(0.0))

ATTENTION: Mistakes = {
    "softmax over another axis": (
        of(attention_laws.shares_are_positive_and_sum_to_one, lambda x, axis=-1: x.softmax(0)),
        vectors_cases(),
    ),
    "softmax without its maximum": (
        of(attention_laws.a_constant_added_to_all_scores_changes_nothing, lambda x: x.exp() / x.exp().sum(-1, True)),
        vectors_cases(),
    ),
    "softmax in powers of two": (
        of(
            attention_laws.the_ratio_of_two_shares_is_the_exponential_of_their_difference,
            lambda x: (x * math.log(2)).softmax(-1),
        ),
        vectors_cases(),
    ),
    "logarithm of a rounded softmax": (
        of(attention_laws.log_softmax_is_finite_where_the_softmax_rounds_to_zero, lambda x: x.softmax(-1).log()),
        vectors_cases(),
    ),
    "weights over the queries": (
        of(attention_laws.rows_of_weights_sum_to_one_or_zero, OVER_QUERIES),
        attention_cases(),
    ),
    "-10,000 for infinity in the weights": (
        of(attention_laws.rows_of_weights_sum_to_one_or_zero, LARGE_NEGATIVE),
        attention_cases(),
    ),
    "-10,000 that other scores fall below": (
        of(attention_laws.a_constant_added_to_all_scores_of_a_query_changes_nothing, LARGE_NEGATIVE),
        attention_cases(),
    ),
    "-10,000 added, as BERT does": (
        of(attention_laws.a_hidden_key_cannot_matter, attention(ADDED_NEGATIVE)),
        attention_cases(),
    ),
    "visibility after the softmax": (
        of(attention_laws.rows_of_weights_sum_to_one_or_zero, masked_after),
        attention_cases(),
    ),
    "visibility after the softmax, seen in what is read": (
        of(attention_laws.a_hidden_key_cannot_matter, attention(masked_after)),
        attention_cases(),
    ),
    "visibility inverted": (of(attention_laws.a_hidden_key_cannot_matter, attention(INVERTED)), attention_cases()),
    "visibility dropped": (
        of(attention_laws.the_only_visible_value_is_read_as_it_is, attention(DROPPED)),
        attention_cases(),
    ),
    "no scale": (of(attention_laws.the_log_odds_of_two_keys_are_their_scaled_difference, UNSCALED), attention_cases()),
    "scale by d_k": (
        of(attention_laws.the_log_odds_of_two_keys_are_their_scaled_difference, BY_WIDTH),
        attention_cases(),
    ),
    "NaN from a row that sees nothing": (
        of(attention_laws.a_query_that_sees_nothing_reads_zeros, attention(NAN_ROWS)),
        attention_cases(visibilities=("one row sees nothing", "nothing")),
    ),
    "NaN replaced after the softmax, which is still passed back": (
        of(attention_laws.a_query_that_sees_nothing_passes_no_gradient, attention(ADDED_INFINITY)),
        attention_cases(visibilities=("one row sees nothing", "nothing")),
    ),
    "the mean from a row of -10,000": (
        of(attention_laws.a_query_that_sees_nothing_reads_zeros, attention(LARGE_NEGATIVE)),
        attention_cases(visibilities=("one row sees nothing", "nothing")),
    ),
    "the gradient of the mean from a row of -10,000": (
        of(attention_laws.a_query_that_sees_nothing_passes_no_gradient, attention(LARGE_NEGATIVE)),
        attention_cases(visibilities=("one row sees nothing", "nothing")),
    ),
    "weights that are not divided": (
        of(attention_laws.what_is_read_lies_among_the_visible_values, attention(UNNORMALISED)),
        attention_cases(),
    ),
    "equal keys told apart by their place": (
        of(attention_laws.equal_keys_read_the_mean, attention(POSITIONAL)),
        attention_cases(scores=("equal",)),
    ),
    "keys told apart by their place": (
        of(attention_laws.permuting_keys_and_values_together_changes_nothing, attention(POSITIONAL)),
        attention_cases(),
    ),
    "queries that share": (
        of(
            attention_laws.permuting_queries_permutes_what_is_read,
            attention(weights(normalise=lambda score: score.softmax(-1).nan_to_num(0.0).cumsum(-2))),
        ),
        attention_cases(),
    ),
    "a softmax of what was read": (
        of(attention_laws.reading_is_linear_in_the_values, lambda *inputs: attention(weights())(*inputs).softmax(-1)),
        attention_cases(),
    ),
}


ordinary_vectors = vectors_cases(kinds=("ordinary",))
ordinary_queries = attention_cases(scores=("ordinary",))

ATTENTION |= {
    "a softmax that ignores the axis": (
        of(attention_laws.shares_sum_to_one_along_the_axis_asked_for, lambda x, axis: x.softmax(-1)),
        vectors_cases(),
    ),
    "a softmax along the first axis, whichever is asked for": (
        of(attention_laws.shares_along_any_axis_agree_with_the_reference, lambda x, axis: x.softmax(0)),
        vectors_cases(),
    ),
    "softmax with one maximum for all rows": (
        of(
            attention_laws.the_shares_agree_with_the_reference,
            lambda x: (x - x.max()).exp() / (x - x.max()).exp().sum(-1, True),
        ),
        vectors_cases(),
    ),
    "softmax with a detached sum": (
        of(
            attention_laws.a_share_passes_its_gradient_to_every_score,
            lambda x: x.exp() / x.exp().sum(-1, True).detach(),
        ),
        ordinary_vectors,
    ),
    "softmax outside of autograd": (
        of(attention_laws.a_share_passes_its_gradient_to_every_score, lambda x: x.detach().softmax(-1)),
        ordinary_vectors,
    ),
    "the maximum taken off in the sum only": (
        of(
            attention_laws.a_constant_added_to_all_scores_changes_no_logarithm,
            lambda x: x - (x - x.amax(-1, True)).exp().sum(-1, True).log(),
        ),
        vectors_cases(),
    ),
    "logarithms to the base of two": (
        of(attention_laws.log_softmax_of_itself_is_itself, lambda x: x.log_softmax(-1) / math.log(2)),
        vectors_cases(),
    ),
    "log-softmax over another axis": (
        of(attention_laws.the_logarithms_agree_with_the_reference, lambda x: x.log_softmax(0)),
        vectors_cases(),
    ),
    "a log-softmax that ignores the axis": (
        of(attention_laws.logarithms_along_any_axis_agree_with_the_reference, lambda x, axis: x.log_softmax(-1)),
        vectors_cases(),
    ),
    "log-softmax with a detached sum": (
        of(
            attention_laws.a_logarithm_passes_its_gradient_to_every_score,
            lambda x: x - x.logsumexp(-1, True).detach(),
        ),
        vectors_cases(),
    ),
    "scale by d_k, beside the reference": (
        of(attention_laws.the_weights_agree_with_the_reference, BY_WIDTH),
        ordinary_queries,
    ),
    "a scale on top of the scale": (
        of(attention_laws.weights_under_a_scale_of_ones_own_agree_with_the_reference, scaled_twice),
        ordinary_queries,
    ),
    "weights that pass NaN back": (
        of(attention_laws.the_gradient_of_the_weights_agrees_with_the_one_derived_by_hand, ADDED_INFINITY),
        attention_cases(scores=("ordinary",), visibilities=("one row sees nothing",)),
    ),
    "keys counted from the front": (
        of(
            attention_laws.leading_axes_are_examples_of_their_own,
            attention(weights(normalise=lambda score: score.softmax(min(2, score.ndim - 1)).nan_to_num(0.0))),
        ),
        ordinary_queries,
    ),
    "no scale in what is read": (
        of(attention_laws.what_is_read_agrees_with_the_reference, attention(UNSCALED)),
        ordinary_queries,
    ),
    "a scale on top of the scale in what is read": (
        of(
            attention_laws.what_is_read_under_a_scale_of_ones_own_agrees_with_the_reference,
            attention(scaled_twice),
        ),
        ordinary_queries,
    ),
    "queries outside of autograd": (
        of(
            attention_laws.the_gradient_of_attention_agrees_with_the_one_derived_by_hand,
            lambda query, *others: attention(weights())(query.detach(), *others),
        ),
        attention_cases(scores=("ordinary",), visibilities=("all",)),
    ),
    "a scale on top of the scale on the way back": (
        of(
            attention_laws.the_gradient_under_a_scale_of_ones_own_agrees_with_the_one_derived_by_hand,
            attention(scaled_twice),
        ),
        attention_cases(scores=("ordinary",), visibilities=("all",)),
    ),
}


def dropout_on_scores(query: Tensor, key: Tensor, value: Tensor, dropout_rate: float) -> Tensor:
    """Attention that forgets scores, which then count as 0."""
    return F.dropout(query @ key.mT / query.shape[-1] ** 0.5, dropout_rate).softmax(-1) @ value


def dropout_on_what_is_read(query: Tensor, key: Tensor, value: Tensor, dropout_rate: float) -> Tensor:
    """Attention that forgets what it has read."""
    return F.dropout(F.scaled_dot_product_attention(query, key, value), dropout_rate)


def padding_rule(wrong: Callable[[Tensor], Tensor]) -> Check:
    """The law of padding, with a wrong rule."""
    return lambda case: test_attention.padding_is_invisible(wrong, test_attention.multi_head(case), case)


DROPOUT_LAW = test_attention.dropout_falls_on_the_weights
equal_keys = attention_cases(scores=("equal",), visibilities=("all",))
LATER_LAW = test_attention.later_tokens_cannot_change_earlier_outputs
plain_cases = attention_cases(scores=("ordinary",), visibilities=("all",))
padded = sequence_cases(visibilities=("padding",))

ATTENTION |= {
    "dropout on the scores": (of(DROPOUT_LAW, dropout_on_scores), equal_keys),
    "dropout on what is read": (of(DROPOUT_LAW, dropout_on_what_is_read), equal_keys),
    "a causal rule that shows the next token": (
        of(LATER_LAW, lambda length: torch.ones(length, length).tril(1).bool()),
        plain_cases,
    ),
    "a causal rule that hides the token itself": (
        of(LATER_LAW, lambda length: torch.ones(length, length).tril(-1).bool()),
        plain_cases,
    ),
    "a causal rule upside down": (of(LATER_LAW, lambda length: torch.ones(length, length).triu().bool()), plain_cases),
    "padding that queries cannot ask from": (padding_rule(lambda mask: mask.bool()[:, None, :, None]), padded),
    "no padding rule": (padding_rule(lambda mask: torch.ones_like(mask).bool()[:, None, None]), padded),
    "the padding of another example": (padding_rule(lambda mask: mask.bool().roll(1, 0)[:, None, None]), padded),
}


class MergedByReshape(MultiHeadAttention):
    """Heads split and merged by a reshape, without a transposition."""

    def split_heads(self, x: Tensor) -> Tensor:
        """Cut the numbers where they fall."""
        return x.reshape(x.shape[0], self.n_heads, x.shape[1], -1)


class SwappedProjections(MultiHeadAttention):
    """Keys and values from each other's projection."""

    def forward(self, x: Tensor, memory: Tensor | None = None, may_attend: Tensor | None = None) -> Tensor:
        """Swap them, read, and swap them back."""
        self.key, self.value = self.value, self.key
        read = super().forward(x, memory, may_attend)
        self.key, self.value = self.value, self.key
        return read


def heads(wrong: type[MultiHeadAttention], law: Check) -> Check:
    """A law of several heads, applied to a wrong module."""
    return lambda case: law(randomise(wrong(case.d_model, case.n_heads), case.seed, case.dtype), case)


ATTENTION |= {
    "heads without a transposition": (
        heads(MergedByReshape, test_attention.each_head_has_its_own_columns),
        sequence_cases(),
    ),
    "heads without a transposition, seen in the whole": (
        heads(MergedByReshape, test_attention.the_whole_is_the_sum_of_what_each_head_contributes),
        sequence_cases(),
    ),
    "keys and values swapped": (
        heads(SwappedProjections, test_attention.the_whole_is_the_sum_of_what_each_head_contributes),
        sequence_cases(),
    ),
}


# Norms and activations


def norm_with(
    centre: Callable[[Tensor], Tensor] = lambda x: x - x.mean(-1, keepdim=True),
    divide: Callable[[Tensor, float], Tensor] = lambda x, eps: x / (x.square().mean(-1, keepdim=True) + eps).sqrt(),
    learn: Callable[..., Tensor] = lambda normal, gain, bias: gain * normal + bias,
) -> Callable[..., Tensor]:
    """Layer norm with one part exchanged."""
    return lambda x, gain, bias, eps: learn(divide(centre(x), eps), gain, bias)


def sample_deviation(x: Tensor, eps: float) -> Tensor:
    """Divide by the deviation that divides by D − 1."""
    return x / (x.square().sum(-1, keepdim=True) / (x.shape[-1] - 1) + eps).sqrt()


def eps_outside(x: Tensor, eps: float) -> Tensor:
    """Add eps to the deviation in place of the variance."""
    return x / (x.square().mean(-1, keepdim=True).sqrt() + eps)


VARIANCE_LAW = norm_laws.every_position_has_mean_zero_and_the_variance_left_by_eps
GAIN_LAW = norm_laws.gain_and_bias_act_on_the_normalised_position

NORMS: Mistakes = {
    "variance over D - 1": (of(VARIANCE_LAW, norm_with(divide=sample_deviation)), vectors_cases(kinds=("ordinary",))),
    "eps outside the root": (of(VARIANCE_LAW, norm_with(divide=eps_outside)), vectors_cases(kinds=("ordinary",))),
    "eps outside the root, seen in a stretch": (
        of(norm_laws.multiplying_a_position_changes_nothing, norm_with(divide=eps_outside)),
        vectors_cases(),
    ),
    "the mean not subtracted": (
        of(norm_laws.adding_a_number_to_a_position_changes_nothing, norm_with(centre=lambda x: x)),
        vectors_cases(),
    ),
    "no eps": (
        of(
            norm_laws.equal_entries_give_the_bias, norm_with(divide=lambda x, eps: x / x.square().mean(-1, True).sqrt())
        ),
        vectors_cases(kinds=("equal",)),
    ),
    "the gain forgotten": (of(GAIN_LAW, norm_with(learn=lambda normal, gain, bias: normal + bias)), vectors_cases()),
    "the gain on the bias too": (
        of(GAIN_LAW, norm_with(learn=lambda normal, gain, bias: gain * (normal + bias))),
        vectors_cases(),
    ),
    "the wrong axis": (
        of(
            norm_laws.positions_do_not_know_each_other,
            lambda x, gain, bias, eps: (x - x.mean(1, True)) / (x.var(1, correction=0, keepdim=True) + eps).sqrt(),
        ),
        vectors_cases(),
    ),
    "a variance that loses its digits": (
        of(
            norm_laws.adding_a_number_to_a_position_changes_nothing,
            lambda x, gain, bias, eps: (
                gain * (x - x.mean(-1, True)) / (x.square().mean(-1, True) - x.mean(-1, True).square() + eps).sqrt()
                + bias
            ),
        ),
        vectors_cases(),
    ),
    "a deviation that passes no gradient": (
        of(
            norm_laws.the_gradient_of_layer_norm_is_the_one_derived_by_hand,
            norm_with(divide=lambda x, eps: x / (x.square().mean(-1, True) + eps).sqrt().detach()),
        ),
        vectors_cases(kinds=("ordinary",)).filter(lambda case: case.width > 1),
    ),
    "an eps of its own": (
        of(norm_laws.layer_norm_agrees_with_the_reference, lambda x, gain, bias, eps: layer_norm(x, gain, bias, 1e-5)),
        vectors_cases(),
    ),
    "the mean square over all positions": (
        of(
            norm_laws.rms_norm_looks_at_one_position_at_a_time,
            lambda x, gain, eps: gain * x / (x.square().mean() + eps).sqrt(),
        ),
        vectors_cases(),
    ),
    "1 + gain in RMS norm": (
        of(norm_laws.rms_norm_agrees_with_the_reference, lambda x, gain, eps: rms_norm(x, 1 + gain, eps)),
        vectors_cases(),
    ),
    "the sum for the mean in RMS norm of a centred position": (
        of(
            norm_laws.rms_norm_of_the_centred_position_is_layer_norm,
            lambda x, gain, eps: gain * x / (x.square().sum(-1, True) + eps).sqrt(),
        ),
        vectors_cases(kinds=("ordinary",)),
    ),
    "the sum for the mean in RMS norm": (
        of(
            norm_laws.the_mean_square_is_what_eps_leaves,
            lambda x, gain, eps: gain * x / (x.square().sum(-1, True) + eps).sqrt(),
        ),
        vectors_cases(),
    ),
    "eps outside the root of RMS norm": (
        of(norm_laws.the_mean_square_is_what_eps_leaves, lambda x, gain, eps: gain * eps_outside(x, eps)),
        vectors_cases(),
    ),
    "layer norm for RMS norm": (
        of(
            norm_laws.rms_norm_keeps_the_direction,
            lambda x, gain, eps: layer_norm(x, gain, torch.zeros_like(gain), eps),
        ),
        vectors_cases(),
    ),
    "RMS norm for layer norm": (
        of(VARIANCE_LAW, lambda x, gain, bias, eps: rms_norm(x, gain, eps) + bias),
        vectors_cases(kinds=("ordinary",)),
    ),
}

HALVES_LAW = activation_laws.what_passes_of_a_number_and_of_its_opposite_is_the_number
SHARE_LAW = activation_laws.gelu_passes_the_share_of_a_normal_distribution
NEAR_LAW = activation_laws.the_approximation_is_near_the_gelu_and_is_not_it


def polynomial(x: Tensor, factor: float = 0.044715) -> Tensor:
    """What the approximation of the GELU takes the tanh of."""
    return (2 / math.pi) ** 0.5 * (x + factor * x**3)


def tanh_of(x: Tensor, factor: float = 0.044715) -> Tensor:
    """The tanh in the approximation of the GELU."""
    return polynomial(x, factor).tanh()


ACTIVATIONS: Mistakes = {
    "the tanh form for the GELU": (of(SHARE_LAW, gelu_tanh), vectors_cases()),
    "the sigmoid form for the GELU": (of(SHARE_LAW, lambda x: x * (1.702 * x).sigmoid()), vectors_cases()),
    "erf without the root of two": (of(SHARE_LAW, lambda x: x * 0.5 * (1 + x.erf())), vectors_cases()),
    "erf without the one": (of(HALVES_LAW, lambda x: x * 0.5 * (x / 2**0.5).erf()), vectors_cases()),
    "the GELU for its tanh form": (of(NEAR_LAW, gelu), activation_laws.fine_grid),
    "the square for the cube": (
        of(NEAR_LAW, lambda x: 0.5 * x * (1 + ((2 / math.pi) ** 0.5 * (x + 0.044715 * x**2)).tanh())),
        activation_laws.fine_grid,
    ),
    "a few digits of the root of two": (
        of(activation_laws.gelu_agrees_with_the_reference, lambda x: x * 0.5 * (1 + (x / 1.414).erf())),
        vectors_cases(),
    ),
    "a few digits of the approximation": (
        of(activation_laws.gelu_tanh_agrees_with_the_reference, lambda x: 0.5 * x * (1 + tanh_of(x, factor=0.0447))),
        vectors_cases(),
    ),
    "a tanh written out": (
        of(
            activation_laws.far_from_zero_everything_or_nothing_passes,
            lambda x: 0.5 * x * (1 + (polynomial(x).exp() - (-polynomial(x)).exp()) / (2 * polynomial(x).cosh())),
        ),
        activation_laws.far_from_zero,
    ),
    "a share that overflows on the way back": (
        of(activation_laws.far_from_zero_the_slope_is_one_or_zero, lambda x: x / (1 + (-1.702 * x).exp())),
        activation_laws.far_from_zero,
    ),
    "a share of the GELU that passes no gradient": (
        of(
            activation_laws.the_gradient_of_gelu_is_the_one_derived_by_hand,
            lambda x: x * torch.special.ndtr(x).detach(),
        ),
        vectors_cases(kinds=("ordinary", "small")),
    ),
    "a share of its tanh form that passes no gradient": (
        of(
            activation_laws.the_gradient_of_gelu_tanh_is_the_one_derived_by_hand,
            lambda x: 0.5 * x * (1 + tanh_of(x).detach()),
        ),
        vectors_cases(kinds=("ordinary", "small")),
    ),
    "a bound above for ReLU": (of(activation_laws.relu_agrees_with_the_reference, F.relu6), vectors_cases()),
    "a slope below zero": (
        of(activation_laws.the_slope_of_relu_is_one_above_zero_and_zero_below, F.leaky_relu),
        vectors_cases(),
    ),
    "a leak below zero": (of(activation_laws.relu_keeps_what_is_positive, F.leaky_relu), vectors_cases()),
    "an absolute value": (of(HALVES_LAW, torch.abs), vectors_cases()),
    "a smooth activation for ReLU": (of(activation_laws.relu_keeps_what_is_positive, gelu), vectors_cases()),
    "a linear map over the length": (
        lambda case: test_feed_forward.changing_other_positions_changes_nothing_here(lambda x: x.cumsum(1), case),
        sequence_cases(),
    ),
    "an activation that mixes the units": (
        lambda case: test_feed_forward.inner_units_have_no_order(
            randomise(FeedForward(case.d_model, case.d_ff, lambda x: x.cumsum(-1)), case.seed, case.dtype), case
        ),
        sequence_cases(),
    ),
}


# Positions, visibility, embeddings


def table(angle: Callable[[Tensor, int], Tensor], waves: tuple[Check, Check] = (torch.sin, torch.cos)) -> Check:
    """Sinusoids with one part exchanged."""

    def wrong(length: int, d_model: int) -> Tensor:
        column = torch.arange(d_model, dtype=torch.float64)
        angles = torch.arange(length, dtype=torch.float64)[:, None] * angle(column, d_model)
        return torch.where(column % 2 == 0, waves[0](angles), waves[1](angles)).float()

    return wrong


def right_angle(column: Tensor, d_model: int) -> Tensor:
    """The angle by which a pair turns at each position."""
    return 10_000.0 ** (-2 * (column // 2) / d_model)


tables = position_laws.table_cases()
even_tables = position_laws.table_cases(position_laws.EVEN_WIDTHS, shortest=2)
rows = visibility_laws.rows_cases()

POSITIONS: Mistakes = {
    "sine and cosine swapped": (
        of(position_laws.position_zero_is_zero_and_one, table(right_angle, (torch.cos, torch.sin))),
        tables,
    ),
    "all sines before all cosines": (
        of(position_laws.position_zero_is_zero_and_one, lambda *sizes: torch.cat(sinusoids(*sizes).T.split(1)[::2]).T),
        tables,
    ),
    "columns counted in place of pairs": (
        of(position_laws.a_shift_turns_each_pair, table(lambda column, width: 10_000.0 ** (-column / width))),
        even_tables,
    ),
    "the exponent half as large": (
        of(
            position_laws.wavelengths_grow_by_a_constant_factor,
            table(lambda column, width: 10_000.0 ** (-(column // 2) / width)),
        ),
        even_tables,
    ),
    "a product for the power": (
        of(
            position_laws.wavelengths_grow_by_a_constant_factor,
            table(lambda column, width: 1 / (10_000 * 2 * (column // 2) / width).clamp(min=1)),
        ),
        even_tables,
    ),
    "padding on the query axis": (
        of(
            visibility_laws.exactly_the_padded_keys_are_hidden,
            lambda mask: mask.bool()[:, None, :, None],
        ),
        rows,
    ),
    "padding with True for hidden": (
        of(visibility_laws.exactly_the_padded_keys_are_hidden, lambda mask: (mask == 0)[:, None, None]),
        rows,
    ),
    "the diagonal hidden": (
        of(visibility_laws.each_position_sees_itself_and_all_before, lambda n: torch.ones(n, n).tril(-1).bool()),
        visibility_laws.lengths,
    ),
    "the next position visible": (
        of(visibility_laws.each_position_sees_itself_and_all_before, lambda n: torch.ones(n, n).tril(1).bool()),
        visibility_laws.lengths,
    ),
    "the triangle upside down": (
        of(visibility_laws.each_position_sees_itself_and_all_before, lambda n: torch.ones(n, n).triu().bool()),
        visibility_laws.lengths,
    ),
    "packed sequences that see those before": (
        of(visibility_laws.seeing_is_mutual_within_a_segment, lambda ids: (ids[:, :, None] >= ids[:, None])[:, None]),
        rows,
    ),
    "positions scaled by the length": (
        of(
            position_laws.a_longer_table_begins_with_the_shorter_one,
            lambda length, d_model: sinusoids(length, d_model) * torch.arange(length)[:, None] / length,
        ),
        tables,
    ),
    "angles in degrees": (
        of(
            position_laws.each_pair_is_the_parts_of_a_complex_number,
            table(lambda column, width: right_angle(column, width) * math.pi / 180),
        ),
        even_tables,
    ),
    "the width made even in the exponent": (
        of(
            position_laws.the_table_agrees_with_the_reference,
            lambda length, d_model: sinusoids(length, d_model + d_model % 2)[:, :d_model],
        ),
        tables,
    ),
    "positions counted from the end": (
        of(visibility_laws.a_longer_rule_begins_with_the_shorter_one, lambda n: torch.ones(n, n).tril().flip(0).bool()),
        visibility_laws.lengths,
    ),
    "the next position visible, layer by layer": (
        of(visibility_laws.a_second_layer_shows_nothing_of_the_future, lambda n: torch.ones(n, n).tril(1).bool()),
        visibility_laws.lengths,
    ),
    "ones and zeros for a causal rule": (
        of(visibility_laws.the_causal_rule_is_true_or_false, lambda n: torch.ones(n, n).tril()),
        visibility_laws.lengths,
    ),
    "queries and keys swapped": (
        of(visibility_laws.the_causal_rule_agrees_with_the_reference, lambda n: torch.ones(n, n).tril().T.bool()),
        visibility_laws.lengths,
    ),
    "padding taken to stand at the end": (
        of(
            visibility_laws.padding_may_stand_anywhere,
            lambda mask: (torch.arange(mask.shape[1]) < mask.sum(-1, keepdim=True))[:, None, None],
        ),
        rows,
    ),
    "a mask of floats taken for one that is added": (
        of(
            visibility_laws.a_mask_of_any_type_gives_the_same_rule,
            lambda mask: (mask == (0 if mask.is_floating_point() else 1))[:, None, None],
        ),
        rows,
    ),
    "the attention mask as it came": (
        of(visibility_laws.the_padding_rule_is_true_or_false, lambda mask: mask[:, None, None]),
        rows,
    ),
    "a rule of padding without an axis for heads": (
        of(visibility_laws.the_padding_rule_agrees_with_the_reference, lambda mask: mask.bool()[:, None]),
        rows,
    ),
    "products of the numbers of segments": (
        of(
            visibility_laws.the_numbers_of_the_segments_do_not_matter,
            lambda ids: (ids[:, :, None] * ids[:, None] > 0)[:, None],
        ),
        rows,
    ),
    "near segments taken for one": (
        of(
            visibility_laws.a_second_layer_shows_nothing_of_other_segments,
            lambda ids: ((ids[:, :, None] - ids[:, None]).abs() < 2)[:, None],
        ),
        rows,
    ),
    "ones and zeros for packed sequences": (
        of(
            visibility_laws.the_packed_rule_is_true_or_false,
            lambda ids: (ids[:, :, None] == ids[:, None]).int()[:, None],
        ),
        rows,
    ),
    "a rule of packed sequences without an axis for heads": (
        of(
            visibility_laws.the_packed_rule_agrees_with_the_reference,
            lambda ids: ids[:, :, None] == ids[:, None],
        ),
        rows,
    ),
}


def embed(law: Check, wrong: Callable[..., Tensor]) -> Check:
    """A law of embeddings, with a wrong sum."""

    def check(case: test_embeddings.TokensCase) -> None:
        tables = case.plain()
        law(lambda tokens, segments: wrong(tables, tokens, segments), tables, case)

    return check


SUM_LAW = test_embeddings.word_position_and_segment_add_up

EMBEDDINGS: Mistakes = {
    "the segment forgotten": (
        embed(SUM_LAW, lambda tables, tokens, segments: tables(tokens)),
        test_embeddings.tokens_cases(),
    ),
    "positions from one": (
        embed(
            SUM_LAW, lambda tables, tokens, segments: tables(tokens, segments, torch.arange(tokens.shape[1])[None] + 1)
        ),
        test_embeddings.tokens_cases(),
    ),
    "words scaled by the root of the width": (
        embed(
            SUM_LAW,
            lambda tables, tokens, segments: tables(
                segment_ids=segments, word_vectors=tables.word(tokens) * tables.word.embedding_dim**0.5
            ),
        ),
        test_embeddings.tokens_cases(),
    ),
}


# Losses


def loss_over(
    reduce: Callable[[Tensor, Tensor], Tensor] = lambda each, counts: each.sum() / counts.sum(),
    counted: Callable[[Tensor], Tensor] = lambda target: target != -100,
    each_class: Callable[[Tensor], Tensor] = lambda logits: logits.log_softmax(-1),
    spread: Callable[[Tensor, Tensor], Tensor] = lambda logarithm, at_target: logarithm.mean(-1),
) -> Callable[..., Tensor]:
    """Cross-entropy with one part exchanged."""

    def cross_entropy(logits: Tensor, target: Tensor, label_smoothing: float = 0.0, reduction: str = "mean") -> Tensor:
        counts, logarithm = counted(target), each_class(logits)
        at_target = logarithm.gather(-1, target.where(target >= 0, 0)[..., None])[..., 0]
        each = -(1 - label_smoothing) * at_target - label_smoothing * spread(logarithm, at_target)
        each = each * counts
        return {"none": lambda: each, "sum": each.sum, "mean": lambda: reduce(each, counts)}[reduction]()

    return cross_entropy


OVER_ALL = loss_over(reduce=lambda each, counts: each.mean())
EQUAL_LAW = loss_laws.the_loss_at_equal_logits_is_the_logarithm_of_the_number_of_classes
IGNORED_LAW = loss_laws.what_is_ignored_cannot_matter


def mean_of_row_means(each: Tensor, counts: Tensor) -> Tensor:
    """The mean of the means of the rows."""
    return (each.sum(-1) / counts.sum(-1).clamp(min=1)).sum() / counts.any(-1).sum() if each.ndim > 1 else each.mean()


def only_others(logarithm: Tensor, at_target: Tensor) -> Tensor:
    """The mean over the V − 1 other classes."""
    return (logarithm.sum(-1) - at_target) / max(1, logarithm.shape[-1] - 1)


def token_loss(wrong: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """The loss at each target."""
    return lambda logits, target, label_smoothing=0.0: wrong(logits, target, label_smoothing, "none")


NAIVE = loss_over(each_class=lambda logits: (logits.exp() / logits.exp().sum(-1, keepdim=True)).log())
PADDED_LOGARITHM = loss_over(each_class=lambda logits: (logits.softmax(-1) + 1e-9).log())
SUMMED = loss_over(reduce=lambda each, counts: each.sum())
ROW_MEANS = loss_over(reduce=mean_of_row_means)
ALL_COUNTED = loss_over(counted=lambda target: torch.ones_like(target, dtype=torch.bool))

LOSSES: Mistakes = {
    "the mean over all tokens": (
        of(loss_laws.the_mean_is_over_the_positions_that_count, OVER_ALL),
        loss_cases(scores=("equal",)),
    ),
    "the mean over all tokens, seen in parts": (
        of(loss_laws.parts_weighed_by_their_counts_give_the_whole, OVER_ALL),
        loss_cases(),
    ),
    "the mean over all tokens, seen beside the sum": (
        of(loss_laws.the_reductions_agree_with_each_other, OVER_ALL),
        loss_cases(),
    ),
    "the mean of the rows' means": (
        of(loss_laws.parts_weighed_by_their_counts_give_the_whole, ROW_MEANS),
        loss_cases(),
    ),
    "ignored tokens counted as class 0": (
        of(IGNORED_LAW, ALL_COUNTED),
        loss_laws.some_are_ignored,
    ),
    "class 0 never counted": (
        of(
            EQUAL_LAW,
            lambda logits, target: (
                F.cross_entropy(logits.flatten(0, 1), target.flatten().clamp(min=0), ignore_index=0, reduction="sum")
                / (target >= 0).sum()
            ),
        ),
        loss_cases(scores=("equal",), ignored=("none",)),
    ),
    "logarithms to base 2": (
        of(EQUAL_LAW, loss_over(each_class=lambda logits: logits.log_softmax(-1) / math.log(2))),
        loss_cases(scores=("equal",)),
    ),
    "logits that are not normalised": (
        of(loss_laws.a_constant_added_to_the_logits_changes_nothing, loss_over(each_class=lambda logits: logits)),
        loss_cases(),
    ),
    "a softmax of a softmax": (
        of(
            loss_laws.smoothing_mixes_the_target_with_all_classes,
            lambda logits, target, smoothing=0.0: (
                token_loss(loss_over())(logits.softmax(-1), target, smoothing) + smoothing * logits.sum(-1)
            ),
        ),
        loss_cases(),
    ),
    "a softmax over the positions": (
        of(
            loss_laws.the_surprises_of_all_classes_are_those_of_a_distribution,
            token_loss(loss_over(each_class=lambda logits: logits.log_softmax(-2))),
        ),
        loss_cases(),
    ),
    "smoothing over the other classes only": (
        of(loss_laws.smoothing_mixes_the_target_with_all_classes, token_loss(loss_over(spread=only_others))),
        loss_cases(),
    ),
    "yes and no swapped": (
        of(
            loss_laws.yes_at_a_logit_is_no_at_its_opposite,
            lambda logit, target: F.binary_cross_entropy_with_logits(logit, 1 - target),
        ),
        loss_cases(),
    ),
    "the logarithm of a rounded sigmoid": (
        of(
            loss_laws.yes_at_a_logit_is_no_at_its_opposite,
            lambda logit, target: -(target * logit.sigmoid().log() + (1 - target) * (1 - logit.sigmoid()).log()).mean(),
        ),
        loss_cases(),
    ),
    "the difference of two logits the wrong way round": (
        of(
            loss_laws.two_logits_are_one,
            lambda logit, target: F.binary_cross_entropy_with_logits(-logit, target),
        ),
        loss_cases(),
    ),
    "half the squared error": (
        of(
            loss_laws.the_squared_error_splits_into_spread_and_distance,
            lambda prediction, target: F.mse_loss(prediction, target) / 2,
        ),
        loss_cases(),
    ),
    "masked words judged over all tokens": (of(loss_laws.only_selected_words_are_judged, OVER_ALL), loss_cases()),
    "the next sentence with class 0 ignored": (
        of(
            loss_laws.both_answers_count,
            lambda logits, labels: F.cross_entropy(logits, labels, ignore_index=0, reduction="sum") / len(labels),
        ),
        loss_cases(),
    ),
    "the next sentence with its labels reversed": (
        of(loss_laws.both_answers_count, lambda logits, labels: F.cross_entropy(logits, 1 - labels)),
        loss_cases(),
    ),
    "logits divided by the root of V": (
        of(
            loss_laws.two_surprises_differ_as_their_logits_do,
            token_loss(loss_over(each_class=lambda logits: (logits / logits.shape[-1] ** 0.5).log_softmax(-1))),
        ),
        loss_laws.everything_counts,
    ),
    "a softmax over the positions, seen at one of them": (
        of(
            loss_laws.each_position_has_a_surprise_of_its_own,
            token_loss(loss_over(each_class=lambda logits: logits.log_softmax(-2))),
        ),
        loss_laws.everything_counts,
    ),
    "a token's loss whose exponentials overflow": (
        of(loss_laws.each_surprise_agrees_with_the_reference, token_loss(NAIVE)),
        loss_laws.everything_counts,
    ),
    "a token's loss whose smoothing is forgotten": (
        of(
            loss_laws.each_smoothed_surprise_agrees_with_the_reference,
            lambda logits, target, label_smoothing: token_loss(loss_over())(logits, target),
        ),
        loss_laws.everything_counts,
    ),
    "a loss whose exponentials overflow": (
        of(loss_laws.the_loss_is_how_far_the_target_lies_behind, NAIVE),
        loss_laws.everything_counts,
    ),
    "a small number added before the logarithm": (
        of(loss_laws.the_loss_is_how_far_the_target_lies_behind, PADDED_LOGARITHM),
        loss_laws.everything_counts,
    ),
    "the sum of the losses": (of(loss_laws.the_loss_agrees_with_the_reference, SUMMED), loss_laws.everything_counts),
    "the gradient of the sum": (
        of(loss_laws.the_gradient_is_the_share_minus_the_target, SUMMED),
        loss_laws.everything_counts,
    ),
    "a detached loss": (
        of(
            loss_laws.the_gradient_is_the_share_minus_the_target,
            lambda logits, target: loss_over()(logits.detach(), target),
        ),
        loss_laws.everything_counts,
    ),
    "a gradient at ignored tokens": (
        of(loss_laws.what_is_ignored_has_no_gradient, ALL_COUNTED),
        loss_laws.some_are_ignored,
    ),
    "an ignored index of -100 whatever was asked for": (
        of(
            loss_laws.any_class_can_be_the_ignored_one,
            lambda logits, target, ignore_index=-100: loss_over()(logits, target),
        ),
        loss_laws.everything_counts,
    ),
    "a smoothed target that is more than one": (
        of(
            loss_laws.smoothing_leaves_the_loss_at_equal_logits_alone,
            loss_over(spread=lambda logarithm, at_target: logarithm.sum(-1) / max(1, logarithm.shape[-1] - 1)),
        ),
        loss_cases(scores=("equal",)),
    ),
    "smoothing at ignored tokens": (
        of(
            loss_laws.smoothing_touches_no_ignored_position,
            lambda logits, target, label_smoothing=0.0: (
                (1 - label_smoothing) * loss_over()(logits, target) - label_smoothing * logits.log_softmax(-1).mean()
            ),
        ),
        loss_laws.some_are_ignored,
    ),
    "the smoothed gradient of the mean over all tokens": (
        of(loss_laws.the_smoothed_gradient_agrees_with_the_one_derived_by_hand, OVER_ALL),
        loss_cases(),
    ),
    "a gradient without the smoothing": (
        of(
            loss_laws.the_smoothed_gradient_agrees_with_the_one_derived_by_hand,
            lambda logits, target, label_smoothing: loss_over()(logits, target),
        ),
        loss_cases(),
    ),
    "a reduction that is overlooked": (
        of(
            loss_laws.every_reduction_agrees_with_the_reference,
            lambda logits, target, label_smoothing, reduction: loss_over()(logits, target, label_smoothing),
        ),
        loss_cases(),
    ),
    "a small number added to the probability of a yes": (
        of(
            loss_laws.a_wrong_answer_costs_its_logit,
            lambda logit, target: (
                -(target * (logit.sigmoid() + 1e-9).log() + (1 - target) * ((-logit).sigmoid() + 1e-9).log()).mean()
            ),
        ),
        loss_laws.everything_counts,
    ),
    "shares of a yes taken for a no": (
        of(
            loss_laws.a_share_of_a_yes_costs_its_share_of_both,
            lambda logit, target: F.binary_cross_entropy_with_logits(logit, (target == 1).to(logit.dtype)),
        ),
        loss_laws.everything_counts,
    ),
    "the sum over yes and no": (
        of(
            loss_laws.the_binary_loss_agrees_with_the_reference,
            lambda logit, target: F.binary_cross_entropy_with_logits(logit, target, reduction="sum"),
        ),
        loss_laws.everything_counts,
    ),
    "the gradient of yes and no swapped": (
        of(
            loss_laws.the_gradient_is_the_probability_minus_the_answer,
            lambda logit, target: F.binary_cross_entropy_with_logits(logit, 1 - target),
        ),
        loss_laws.everything_counts,
    ),
    "errors added up before they are squared": (
        of(
            loss_laws.the_error_is_zero_only_at_the_targets,
            lambda prediction, target: (prediction - target).mean().square(),
        ),
        loss_laws.everything_counts,
    ),
    "the absolute error": (
        of(loss_laws.a_doubled_distance_costs_four_times_as_much, F.l1_loss),
        loss_laws.everything_counts,
    ),
    "errors relative to the spread of the targets": (
        of(
            loss_laws.only_the_distance_counts,
            lambda prediction, target: F.mse_loss(prediction, target) / (1 + target.var(correction=0)),
        ),
        loss_laws.everything_counts,
    ),
    "the squared error summed over an axis": (
        of(
            loss_laws.the_squared_error_agrees_with_the_reference,
            lambda prediction, target: (prediction - target).square().sum(-1).mean(),
        ),
        loss_laws.everything_counts,
    ),
    "masked words judged with the others": (
        of(loss_laws.words_that_were_not_selected_cannot_matter, ALL_COUNTED),
        loss_laws.some_are_ignored,
    ),
    "masked words that teach the others": (
        of(loss_laws.words_that_were_not_selected_have_no_gradient, ALL_COUNTED),
        loss_laws.some_are_ignored,
    ),
    "the mean of the sequences' means": (of(loss_laws.each_selected_word_weighs_the_same, ROW_MEANS), loss_cases()),
    "masked words whose exponentials overflow": (
        of(loss_laws.the_masked_word_loss_agrees_with_the_reference, NAIVE),
        loss_cases(),
    ),
    "the sum over the pairs of segments": (
        of(loss_laws.each_pair_of_segments_weighs_the_same, SUMMED),
        loss_laws.pairs_of_segments,
    ),
    "two yes-or-no questions in place of one softmax": (
        of(
            loss_laws.two_answers_are_one_yes_or_no,
            lambda logits, labels: F.binary_cross_entropy_with_logits(logits, F.one_hot(labels, 2).to(logits.dtype)),
        ),
        loss_laws.pairs_of_segments,
    ),
    "the next sentence in bits": (
        of(
            loss_laws.the_next_sentence_loss_agrees_with_the_reference,
            loss_over(each_class=lambda logits: logits.log_softmax(-1) / math.log(2)),
        ),
        loss_laws.pairs_of_segments,
    ),
}


# The optimizer


class WrongAdamW(torch.optim.Optimizer):
    """AdamW with a mistake that can be chosen."""

    def __init__(self, params: Any, mistake: str, **settings: Any) -> None:
        super().__init__(params, settings)
        self.mistake = mistake
        self.steps = 0

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        """Move every parameter by one wrong step."""
        self.steps += 1
        group = self.param_groups[0]
        for parameter in group["params"]:
            self.move(parameter, group["lr"], *group["betas"], group["eps"], group["weight_decay"])

    def move(self, parameter: Tensor, lr: float, beta_1: float, beta_2: float, eps: float, decay: float) -> None:
        """Move one parameter."""
        state, gradient = self.state[parameter], parameter.grad
        t = self.steps + (self.mistake == "counts from the second step")
        first = state["first"] = beta_1 * state.get("first", 0.0) + (1 - beta_1) * gradient
        second = state["second"] = beta_2 * state.get("second", 0.0) + (1 - beta_2) * gradient**2
        corrected = self.mistake != "no bias correction"
        first = first / (1 - beta_1**t) if corrected else first
        second = second / (1 - beta_2**t) if corrected else second
        root = second if self.mistake == "no root" else second.sqrt()
        if self.mistake != "decays after the step":
            parameter.mul_(1 - (1 if self.mistake == "decays without the rate" else lr) * decay)
        parameter.sub_(lr * first / (root + eps))
        if self.mistake == "decays after the step":
            parameter.mul_(1 - lr * decay)


def adamw(mistake: str) -> Callable[..., torch.optim.Optimizer]:
    """The class of a wrong optimizer."""
    return lambda parameters, **options: WrongAdamW(parameters, mistake, **options)


CONSTANT_LAW = test_optimizer.constant_gradients_move_by_the_rate
training = test_optimizer.training_cases
two_gradients = optimizer_laws.gradients_cases()


def cosine_to(end: float) -> Callable[[int, int, int], float]:
    """A schedule that goes down along a cosine as far as an angle, without a warm-up."""
    return lambda step, warmup, total: math.cos(end * max(0, step - warmup) / (total - warmup))


def norm_of(gradients: list[Tensor]) -> Tensor:
    """The norm of all gradients."""
    return torch.cat([gradient.flatten() for gradient in gradients]).norm()


OPTIMIZERS: Mistakes = {
    "no bias correction": (of(CONSTANT_LAW, adamw("no bias correction")), training(eps=0.0, weight_decay=0.0)),
    "bias correction off by a step": (
        of(CONSTANT_LAW, adamw("counts from the second step")),
        training(eps=0.0, weight_decay=0.0),
    ),
    "plain descent": (
        of(CONSTANT_LAW, lambda parameters, lr, **_: torch.optim.SGD(parameters, lr)),
        training(eps=0.0, weight_decay=0.0),
    ),
    "L2 decay in the gradient": (
        of(test_optimizer.decay_is_decoupled, torch.optim.Adam),
        training(weight_decay=0.5),
    ),
    "L2 decay in the gradient, seen in a step": (
        of(test_optimizer.decay_and_step_add_up, torch.optim.Adam),
        training(weight_decay=0.5),
    ),
    "decay without the rate": (
        of(test_optimizer.decay_is_decoupled, adamw("decays without the rate")),
        training(weight_decay=0.5),
    ),
    "decay after the step": (
        of(test_optimizer.decay_and_step_add_up, adamw("decays after the step")),
        training(weight_decay=0.5),
    ),
    "no root of the second mean": (
        of(test_optimizer.the_sizes_of_gradients_do_not_matter, adamw("no root")),
        training(eps=0.0),
    ),
    "the full rate at the first step": (
        of(
            optimizer_laws.the_rate_rises_in_a_line,
            lambda step, warmup, total: min(1.0, (step + 1) / warmup) if step < total else 0.0,
        ),
        optimizer_laws.with_a_warmup,
    ),
    "a decay that counts from step 0": (
        of(
            optimizer_laws.the_rate_is_whole_right_after_the_warm_up_and_then_falls,
            lambda step, warmup, total: step / warmup if step < warmup else max(0.0, 1 - step / total),
        ),
        optimizer_laws.with_a_warmup,
    ),
    "a line that goes on below 0": (
        of(
            optimizer_laws.the_rate_is_zero_from_the_last_step_on,
            lambda step, warmup, total: (total - step) / max(1, total - warmup),
        ),
        optimizer_laws.all_may_be_warmup,
    ),
    "a quarter of a cosine": (
        of(optimizer_laws.the_way_down_is_symmetric_about_its_middle, cosine_to(math.pi / 2)),
        optimizer_laws.schedule_cases(),
    ),
    "an end that is off by one": (
        of(
            optimizer_laws.a_training_twice_as_long_stretches_the_schedule,
            lambda step, warmup, total: linear_warmup(step, warmup, max(warmup, total - 1)),
        ),
        optimizer_laws.schedule_cases(),
    ),
    "the cosine for the line": (
        of(optimizer_laws.a_quarter_down_the_line_stand_three_quarters, cosine_warmup),
        optimizer_laws.schedule_cases(),
    ),
    "the line for the cosine": (
        of(optimizer_laws.a_quarter_down_the_cosine_stands_more_than_on_the_line, linear_warmup),
        optimizer_laws.schedule_cases(),
    ),
    "a line from the first step to the last": (
        of(optimizer_laws.the_linear_rate_agrees_with_the_reference, lambda step, warmup, total: 1 - step / total),
        optimizer_laws.schedule_cases(),
    ),
    "a cosine that isn't lifted": (
        of(optimizer_laws.the_cosine_rate_agrees_with_the_reference, cosine_to(math.pi)),
        optimizer_laws.schedule_cases(),
    ),
    "the root from the first step on": (
        of(optimizer_laws.the_rate_rises_in_a_line_to_its_peak, lambda step, warmup: (warmup / max(step, 1)) ** 0.5),
        optimizer_laws.with_a_warmup,
    ),
    "one over the step": (
        of(
            optimizer_laws.four_times_the_steps_halve_the_rate,
            lambda step, warmup: min(step, warmup**2 / max(step, 1)) / warmup,
        ),
        optimizer_laws.with_a_warmup,
    ),
    "steps counted from 1": (
        of(
            optimizer_laws.a_warm_up_twice_as_long_stretches_the_schedule,
            lambda step, warmup: inverse_square_root_warmup(step + 1, warmup),
        ),
        optimizer_laws.with_a_warmup,
    ),
    "the larger for the smaller": (
        of(
            optimizer_laws.the_rate_agrees_with_the_reference,
            lambda step, warmup: max(step / warmup, (warmup / max(step, 1)) ** 0.5),
        ),
        optimizer_laws.with_a_warmup,
    ),
    "the sum of the norms": (
        of(optimizer_laws.the_norm_is_that_of_one_long_vector, lambda gradients: sum(g.norm() for g in gradients)),
        two_gradients,
    ),
    "no root of the sum of squares": (
        of(optimizer_laws.the_norm_grows_in_proportion, lambda gradients: norm_of(gradients) ** 2),
        two_gradients,
    ),
    "the root of the mean square": (
        of(
            optimizer_laws.parameters_without_a_slope_add_nothing,
            lambda gradients: torch.cat([gradient.flatten() for gradient in gradients]).square().mean().sqrt(),
        ),
        two_gradients,
    ),
    "absolute values for squares": (
        of(
            optimizer_laws.the_norm_agrees_with_the_reference,
            lambda gradients: sum(gradient.abs().sum() for gradient in gradients),
        ),
        two_gradients,
    ),
    "clipping per parameter": (
        of(
            optimizer_laws.clipped_gradients_are_not_longer_than_allowed,
            lambda gradients, bound: [g * bound / g.norm().clamp(min=bound) for g in gradients],
        ),
        two_gradients,
    ),
    "clipping per entry": (
        of(
            optimizer_laws.long_gradients_are_shortened_by_one_common_factor,
            lambda gradients, bound: [g.clamp(-bound, bound) for g in gradients],
        ),
        two_gradients,
    ),
    "stretching of short gradients": (
        of(
            optimizer_laws.short_gradients_stay_as_they_are,
            lambda gradients, bound: [g * bound / norm_of(gradients) for g in gradients],
        ),
        two_gradients,
    ),
    "a factor that always shortens": (
        of(
            optimizer_laws.clipping_again_changes_nothing,
            lambda gradients, bound: [g * bound / (norm_of(gradients) + bound) for g in gradients],
        ),
        two_gradients,
    ),
    "a bound that is ignored": (
        of(optimizer_laws.the_clipped_gradients_agree_with_the_reference, lambda gradients, bound: gradients),
        two_gradients,
    ),
}


# Word vectors


def association(
    by_word: Callable[[Tensor], Tensor] = lambda found: found.sum(1, keepdim=True),
    share_of_context: Callable[[Tensor, float], Tensor] = lambda of_context, alpha: (
        of_context**alpha / (of_context**alpha).sum()
    ),
    logarithm: Callable[[Tensor], Tensor] = torch.log,
    finish: Callable[[Tensor], Tensor] = lambda pmi: pmi.nan_to_num(0.0).clamp(min=0.0),
    added: float = 0.0,
) -> Callable[..., Tensor]:
    """Positive PMI with one part exchanged."""

    def positive_pmi(counts: Tensor, smoothing: float = 0.75) -> Tensor:
        found = counts + added
        return finish(logarithm(found / by_word(found)) - logarithm(share_of_context(found.sum(0), smoothing)))

    return positive_pmi


def vectors(
    kept: Callable[[Tensor], Tensor] = torch.sqrt, side: int = 0, order: Callable[[Tensor], Tensor] = lambda w: w
) -> Callable[..., Tensor]:
    """Word vectors with one part exchanged."""

    def word_vectors(association: Tensor, n_columns: int) -> Tensor:
        left, values, right = torch.linalg.svd(association, full_matrices=False)
        return order((left, right.T)[side] * kept(values))[:, :n_columns]

    return word_vectors


WORD_VECTORS: Mistakes = {
    "joint counts that are not divided": (
        of(
            word_vector_laws.words_that_meet_by_chance_only_are_not_associated,
            association(by_word=lambda found: torch.ones(())),
        ),
        word_vector_laws.counts_cases(),
    ),
    "one is added to each count": (
        of(word_vector_laws.a_text_read_several_times_associates_as_one_read_once, association(added=1.0)),
        word_vector_laws.counts_cases(),
    ),
    "negative associations": (
        of(
            word_vector_laws.what_never_met_stays_at_zero_and_nothing_is_below,
            association(finish=lambda pmi: pmi.nan_to_num(0.0, neginf=0.0)),
        ),
        word_vector_laws.counts_cases(),
    ),
    "0/0 for a word without company": (
        of(
            word_vector_laws.a_word_without_any_company_has_no_association,
            association(finish=lambda pmi: pmi.clamp(min=0.0)),
        ),
        word_vector_laws.counts_cases(),
    ),
    "sums that run on from row to row": (
        of(
            word_vector_laws.permuting_words_and_contexts_permutes_the_association,
            association(by_word=lambda found: found.sum(1, keepdim=True).cumsum(0)),
        ),
        word_vector_laws.counts_cases(),
    ),
    "the association in bits": (
        of(word_vector_laws.the_association_agrees_with_the_reference, association(logarithm=torch.log2)),
        word_vector_laws.counts_cases(),
    ),
    "the share smoothed, and not the counts": (
        of(
            word_vector_laws.the_association_under_a_smoothing_of_ones_own_agrees_with_the_reference,
            association(share_of_context=lambda of_context, alpha: (of_context / of_context.sum()) ** alpha),
        ),
        word_vector_laws.counts_cases(),
    ),
    "the root of the root": (
        of(word_vector_laws.a_matrix_of_low_rank_loses_nothing, vectors(kept=lambda values: values**0.25)),
        word_vector_laws.matrix_cases(),
    ),
    "the smallest first": (
        of(
            word_vector_laws.columns_stand_at_right_angles_the_longest_first, vectors(order=lambda words: words.flip(1))
        ),
        word_vector_laws.matrix_cases(),
    ),
    "vectors of the contexts": (
        of(word_vector_laws.contexts_may_be_turned_and_nothing_changes, vectors(side=1)),
        word_vector_laws.matrix_cases(),
    ),
    "rows sorted": (
        of(
            word_vector_laws.permuting_words_permutes_their_vectors,
            vectors(order=lambda words: words[words.norm(dim=1).argsort()]),
        ),
        word_vector_laws.matrix_cases(),
    ),
    "singular values whole": (
        of(word_vector_laws.four_times_the_association_doubles_the_vectors, vectors(kept=lambda values: values)),
        word_vector_laws.matrix_cases(),
    ),
    "singular values left out": (
        of(word_vector_laws.the_vectors_agree_with_the_reference_up_to_signs, vectors(kept=torch.ones_like)),
        word_vector_laws.matrix_cases(),
    ),
}


# Dropout, blocks, heads


def post_norm(wrong: Callable[..., Tensor], law: Check, kind: type[PostNorm] | type[PreNorm]) -> Check:
    """A law of a residual connection, with a wrong order."""

    def check(case: Any) -> None:
        module = randomise(kind(LayerNorm(case.d_model)), case.seed, case.dtype)
        law(lambda x, sublayer: wrong(module.norm, x, sublayer), module.norm, case)

    return check


POST_LAW, PRE_LAW = test_blocks.post_norm_normalises_the_sum, test_blocks.pre_norm_leaves_the_sum_alone
wide = test_blocks.block_cases


def pooling(wrong: Callable[[Tensor], Tensor]) -> Check:
    """The law of the pooler, applied to a wrong one."""
    return lambda case: test_heads.only_the_first_token_is_read(
        lambda x: wrong(x) if callable(wrong) else randomise(Pooler(case.d_model), case.seed)(x), case
    )


def untied(case: Any) -> None:
    """A head whose decoder holds a copy of the table."""
    words = randomise(nn.Embedding(test_heads.VOCAB_SIZE, case.d_model), case.seed, case.dtype)
    head = randomise(MaskedWordHead(case.d_model, None, test_heads.VOCAB_SIZE), case.seed, case.dtype)
    test_heads.a_word_is_predicted_by_the_vector_it_is_read_by(head, words, case.x)


BLOCKS: Mistakes = {
    "dropout without rescaling": (
        of(test_dropout.each_entry_is_dropped_or_scaled, lambda x, rate: x * (torch.rand_like(x) >= rate)),
        st.tuples(vectors_cases(kinds=("ordinary",)), test_dropout.rates),
    ),
    "the rate taken for what is kept": (
        of(test_dropout.the_share_that_is_dropped_is_the_rate, lambda x, rate: x * (torch.rand_like(x) < rate)),
        st.tuples(seeds, test_dropout.rates),
    ),
    "one draw for all columns": (
        of(test_dropout.entries_are_dropped_one_by_one, lambda x, rate: x * (torch.rand_like(x[..., :1]) >= rate)),
        seeds,
    ),
    "the norm before the sublayer in post-norm": (
        post_norm(lambda norm, x, sublayer: norm(x + sublayer(norm(x))), POST_LAW, PostNorm),
        wide(),
    ),
    "no residual": (post_norm(lambda norm, x, sublayer: norm(0 * x + sublayer(x)), POST_LAW, PostNorm), wide()),
    "the norm of the sublayer alone": (
        post_norm(lambda norm, x, sublayer: x + norm(sublayer(x)), POST_LAW, PostNorm),
        wide(),
    ),
    "the residual from the normalised input": (
        post_norm(lambda norm, x, sublayer: norm(x) + sublayer(norm(x)), PRE_LAW, PreNorm),
        wide(),
    ),
    "post-norm for pre-norm": (post_norm(lambda norm, x, sublayer: norm(x + sublayer(x)), PRE_LAW, PreNorm), wide()),
    "a post-norm block that says nothing": (
        lambda case: test_blocks.zeroed_sublayers_leave_the_input(test_blocks.encoder_block(case, PostNorm), case),
        wide(),
    ),
    "positions inside the encoder": (
        lambda case: test_blocks.an_encoder_without_positions_does_not_know_the_order(
            lambda x, rule: test_blocks.encoder(case)(x + torch.arange(case.length)[:, None], rule), case
        ),
        wide(),
    ),
    "an encoder in place of a decoder": (
        lambda case: test_blocks.later_tokens_cannot_change_earlier_outputs(
            lambda x, memory, rule, rule_of_memory: test_blocks.encoder(case)(x, rule), case
        ),
        wide(),
    ),
    "the last token pooled": (pooling(lambda x: x[:, -1].tanh()), test_heads.everything),
    "the mean pooled": (pooling(lambda x: x.mean(1).tanh()), test_heads.everything),
    "a pooler without tanh": (pooling(lambda x: x[:, 0]), test_heads.everything),
    "an untied decoder": (untied, test_heads.everything),
    "an activation in a head": (
        lambda case: test_heads.a_head_is_affine(relu, case.x[:, 0], case.x[:, -1]),
        test_heads.everything,
    ),
}


# Gradients derived by hand


def layer_norm_slopes(wrong: Callable[..., Any]) -> Check:
    """Central differences against a wrong gradient of layer norm."""

    def check(seed: int) -> None:
        x, gain, upstream = (numbers(seed, name, 5).numpy() for name in ("x", "gain", "upstream"))
        function = lambda x: reference.norm.layer_norm(x, gain, np.zeros(5), 0.1)  # noqa: E731 - a curve, not a name
        test_gradients.assert_slopes([wrong(upstream * gain, x)], function, [x], upstream)

    return check


def attention_slopes(wrong: Callable[..., Any]) -> Check:
    """Central differences against a wrong gradient of attention, for the queries."""

    def check(seed: int) -> None:
        query, key, value = (numbers(seed, name, 3, 5).numpy() for name in ("query", "key", "value"))
        upstream = numbers(seed, "upstream", 3, 5).numpy()
        function = lambda query: reference.attention.scaled_dot_product_attention(query, key, value)  # noqa: E731
        weight = reference.attention.attention_weights(query, key)
        test_gradients.assert_slopes([wrong(weight, upstream @ value.T, key)], function, [query], upstream)

    return check


def deviation_of(x: np.ndarray) -> np.ndarray:
    """What layer norm divides by."""
    return np.sqrt(x.var() + 0.1)


GRADIENTS: Mistakes = {
    "mean and deviation held constant": (layer_norm_slopes(lambda for_normal, x: for_normal / deviation_of(x)), seeds),
    "the deviation held constant": (
        layer_norm_slopes(lambda for_normal, x: (for_normal - for_normal.mean()) / deviation_of(x)),
        seeds,
    ),
    "the softmax taken entry by entry": (
        attention_slopes(lambda weight, for_weight, key: weight * (1 - weight) * for_weight @ key / 5**0.5),
        seeds,
    ),
    "the scale forgotten on the way back": (
        attention_slopes(
            lambda weight, for_weight, key: (weight * (for_weight - (weight * for_weight).sum(-1, keepdims=True))) @ key
        ),
        seeds,
    ),
}

ALL = ATTENTION | NORMS | ACTIVATIONS | POSITIONS | EMBEDDINGS | LOSSES | OPTIMIZERS | WORD_VECTORS | BLOCKS | GRADIENTS


@pytest.mark.parametrize("mistake", ALL)
@pytest.mark.filterwarnings("ignore")  # wrong functions overflow and divide by zero
def test_the_law_notices(mistake: str, without_shape_checks: None) -> None:
    """Each of these mistakes breaks the law that it is given to."""
    assert notices(*ALL[mistake]), f"no case shows the mistake: {mistake}"


def test_a_mistake_that_is_none_goes_unnoticed() -> None:
    """The table itself can tell: right functions in the same frames break nothing."""
    assert not notices(of(attention_laws.rows_of_weights_sum_to_one_or_zero, weights()), attention_cases())
    assert not notices(of(attention_laws.a_hidden_key_cannot_matter, attention(weights())), attention_cases())
    assert not notices(
        of(attention_laws.the_gradient_of_attention_agrees_with_the_one_derived_by_hand, attention(weights())),
        attention_cases(scores=("ordinary",), visibilities=("all",)),
    )
    assert not notices(of(VARIANCE_LAW, norm_with()), vectors_cases(kinds=("ordinary",)))
    assert not notices(of(EQUAL_LAW, loss_over()), loss_cases(scores=("equal",)))
    assert not notices(of(IGNORED_LAW, loss_over()), loss_cases())
    assert not notices(of(CONSTANT_LAW, adamw("none")), training(eps=0.0, weight_decay=0.0))
    assert not notices(of(position_laws.a_shift_turns_each_pair, table(right_angle)), even_tables)
    clipped = of(
        optimizer_laws.clipped_gradients_are_not_longer_than_allowed,
        lambda gradients, bound: [g * (bound / norm_of(gradients).clamp(min=bound)) for g in gradients],
    )
    assert not notices(clipped, two_gradients)
    chance_law = word_vector_laws.the_association_under_a_smoothing_of_ones_own_agrees_with_the_reference
    assert not notices(of(chance_law, association()), word_vector_laws.counts_cases())
    vectors_law = word_vector_laws.the_vectors_agree_with_the_reference_up_to_signs
    assert not notices(of(vectors_law, vectors()), word_vector_laws.matrix_cases())


def test_there_are_as_many_mistakes_as_names() -> None:
    parts = (ATTENTION, NORMS, ACTIVATIONS, POSITIONS, EMBEDDINGS, LOSSES, OPTIMIZERS, WORD_VECTORS, BLOCKS, GRADIENTS)
    assert len(ALL) == sum(len(part) for part in parts)
