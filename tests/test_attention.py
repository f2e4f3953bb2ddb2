"""Laws of attention: softmax, weights, what a query reads, and several heads side by side."""

import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from strategies import (
    AttentionCase,
    SequenceCase,
    VectorsCase,
    attention_cases,
    numbers,
    parameters_of,
    randomise,
    sequence_cases,
    shuffled,
    vectors_cases,
)
from tolerances import LAYER, ROUNDING, SUM, as_array, assert_close, assert_same
from torch import Tensor, nn

from minitransformer import reference, visibility
from minitransformer.attention import (
    MultiHeadAttention,
    attention_weights,
    log_softmax,
    scaled_dot_product_attention,
    softmax,
)
from minitransformer.errors import InputError

pytestmark = pytest.mark.usefixtures("kernels_in_use")

Function = Callable[..., Tensor]


# Softmax


def shares_are_positive_and_sum_to_one(softmax: Function, case: VectorsCase) -> None:
    for axis in (0, 1, 2, -1):
        shares = softmax(case.x, axis)
        assert (shares >= 0).all(), "shares should not be negative"
        assert_close(shares.sum(axis), torch.ones_like(shares.sum(axis)), SUM, what="the sum of the shares")


@pytest.mark.equation("softmax")
@given(case=vectors_cases())
def test_shares_are_positive_and_sum_to_one(case: VectorsCase) -> None:
    """Shares are positive and sum to one along the axis asked for.

    Kills: softmax over another axis.
    """
    shares_are_positive_and_sum_to_one(softmax, case)


def a_constant_added_to_all_scores_changes_nothing(softmax: Function, case: VectorsCase) -> None:
    for constant in (-1e4, 1e4):
        shifted = softmax(case.x + constant)
        scale = 1 + float(case.x.abs().max()) + 1e4
        assert_close(shifted, softmax(case.x), ROUNDING, scale, what="the softmax of shifted scores")


@pytest.mark.equation("softmax")
@given(case=vectors_cases())
def test_a_constant_added_to_all_scores_changes_nothing(case: VectorsCase) -> None:
    """Adding a constant to all scores changes no share.

    Kills: no subtraction of the maximum, which overflows; powers of another kind than the exponential.
    """
    a_constant_added_to_all_scores_changes_nothing(softmax, case)


def the_ratio_of_two_shares_is_the_exponential_of_their_difference(softmax: Function, case: VectorsCase) -> None:
    scores = case.x.clamp(-10, 10)
    expected = (scores - scores[..., :1]).exp() * softmax(scores)[..., :1]
    assert_close(softmax(scores), expected, SUM, what="a share, from the first one")


@pytest.mark.equation("softmax")
@given(case=vectors_cases())
def test_the_ratio_of_two_shares_is_the_exponential_of_their_difference(case: VectorsCase) -> None:
    """The ratio of two shares is the exponential of the difference of their scores.

    Kills: powers of two, a temperature, shares in proportion to the scores.
    """
    the_ratio_of_two_shares_is_the_exponential_of_their_difference(softmax, case)


@pytest.mark.equation("softmax", "log-softmax")
@given(case=vectors_cases())
def test_softmax_agrees_with_the_reference_and_with_torch(case: VectorsCase) -> None:
    """Softmax and log-softmax agree with the reference and with PyTorch's own, along every axis."""
    scale = 1 + float(case.x.abs().max())
    for axis in (0, 1, 2, -1):
        assert_close(softmax(case.x, axis), reference.attention.softmax(as_array(case.x), axis), SUM, scale)
        assert_close(softmax(case.x, axis), torch.softmax(case.x, axis), SUM, scale)
        assert_close(log_softmax(case.x, axis), reference.attention.log_softmax(as_array(case.x), axis), SUM, scale)
        assert_close(log_softmax(case.x, axis), torch.log_softmax(case.x, axis), SUM, scale)


def log_softmax_is_finite_where_the_softmax_rounds_to_zero(log_softmax: Function, case: VectorsCase) -> None:
    logarithm = log_softmax(case.x)
    scale = 1 + float(case.x.abs().max())
    assert torch.isfinite(logarithm).all(), "the logarithm of a small share should be finite"
    assert_close(logarithm.exp().sum(-1), torch.ones_like(logarithm[..., 0]), SUM, scale, what="the sum of the shares")
    difference = logarithm - logarithm[..., :1]
    assert_close(difference, case.x - case.x[..., :1], ROUNDING, scale, what="the difference of two logarithms")


@pytest.mark.equation("log-softmax")
@given(case=vectors_cases())
def test_log_softmax_is_finite_where_the_softmax_rounds_to_zero(case: VectorsCase) -> None:
    """Log-softmax is finite however small the share, and its differences are those of the scores.

    Kills: the logarithm of a softmax that was rounded to 0.
    """
    log_softmax_is_finite_where_the_softmax_rounds_to_zero(log_softmax, case)


# Weights


def rows_of_weights_sum_to_one_or_zero(attention_weights: Function, case: AttentionCase) -> None:
    weights = attention_weights(case.query, case.key, case.may_attend)
    assert (weights >= 0).all(), "weights should not be negative"
    assert not weights[~case.visible].any(), "a hidden key should weigh exactly nothing"
    sums = case.visible.any(-1).to(case.dtype)
    assert_close(weights.sum(-1), sums, SUM, what="the sum of each row of weights")


@pytest.mark.equation("attention-weights")
@given(case=attention_cases())
def test_rows_of_weights_sum_to_one_or_zero(case: AttentionCase) -> None:
    """Each row of weights sums to 1, or to 0 where the query may read nothing, and hidden keys weigh nothing.

    Kills: softmax over the queries; visibility applied after the softmax; −10,000 for −∞; visibility inverted.
    """
    rows_of_weights_sum_to_one_or_zero(attention_weights, case)


def the_log_odds_of_two_keys_are_their_scaled_difference(attention_weights: Function, case: AttentionCase) -> None:
    query, key = case.query.clamp(-2, 2), case.key.clamp(-2, 2)
    weights = attention_weights(query, key)
    score = torch.einsum("blk,bmk->blm", query, key) / math.sqrt(case.d_k)
    expected = (score - score[..., :1]).exp() * weights[..., :1]
    assert_close(weights, expected, SUM, 1 + 4 * math.sqrt(case.d_k), what="a weight, from the first one")


@pytest.mark.equation("attention-weights")
@given(case=attention_cases(scores=("ordinary",)))
def test_the_log_odds_of_two_keys_are_their_scaled_difference(case: AttentionCase) -> None:
    """The logarithm of the ratio of two weights is the difference of the dot products, over √d_k.

    Kills: no scale; 1/d_k; √d_model or √d_v for √d_k; scaling twice.
    """
    the_log_odds_of_two_keys_are_their_scaled_difference(attention_weights, case)


def a_constant_added_to_all_scores_of_a_query_changes_nothing(attention_weights: Function, case: AttentionCase) -> None:
    scale = 1 / math.sqrt(case.d_k)
    constant = torch.full((case.batch, case.length, 1), -3e4, dtype=case.dtype)
    longer_query = torch.cat([case.query, constant], dim=-1)
    longer_key = torch.cat([case.key, torch.ones_like(case.key[..., :1])], dim=-1)
    shifted = attention_weights(longer_query, longer_key, case.may_attend, scale)
    expected = attention_weights(case.query, case.key, case.may_attend, scale)
    assert_close(shifted, expected, SUM, case.score_size + 3e4, what="the weights of shifted scores")


@pytest.mark.equation("attention-weights")
@given(case=attention_cases())
def test_a_constant_added_to_all_scores_of_a_query_changes_nothing(case: AttentionCase) -> None:
    """Adding a constant to all scores of a query changes none of its weights.

    Kills: hidden scores set to a number that visible ones can fall below.
    """
    a_constant_added_to_all_scores_of_a_query_changes_nothing(attention_weights, case)


@pytest.mark.equation("attention-weights")
@given(case=attention_cases())
def test_weights_agree_with_the_reference(case: AttentionCase) -> None:
    """The weights agree with the reference, with and without a scale of one's own."""
    query, key = as_array(case.query), as_array(case.key)
    may_attend = None if case.may_attend is None else case.may_attend.numpy()
    for scale in (None, 0.3):
        actual = attention_weights(case.query, case.key, case.may_attend, scale)
        expected = reference.attention.attention_weights(query, key, may_attend, scale)
        assert_close(actual, expected, SUM, case.score_size * math.sqrt(case.d_k))


# What a query reads


def a_hidden_key_cannot_matter(attention: Function, case: AttentionCase) -> None:
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


@pytest.mark.equation("attention")
@given(case=attention_cases())
def test_a_hidden_key_cannot_matter(case: AttentionCase) -> None:
    """Whatever stands in hidden keys and values, what a query reads stays the same, bit for bit.

    Kills: −10,000 for −∞; visibility inverted, on the query axis, dropped or applied after the softmax.
    """
    a_hidden_key_cannot_matter(scaled_dot_product_attention, case)


def permuting_keys_and_values_together_changes_nothing(attention: Function, case: AttentionCase) -> None:
    order = shuffled(case.seed, "order", case.memory)
    may_attend = None if case.may_attend is None else case.may_attend[..., order]
    before = attention(case.query, case.key, case.value, case.may_attend)
    after = attention(case.query, case.key[:, order], case.value[:, order], may_attend)
    assert_close(after, before, SUM, case.scale, what="what is read from shuffled keys and values")


@pytest.mark.equation("attention")
@given(case=attention_cases())
def test_permuting_keys_and_values_together_changes_nothing(case: AttentionCase) -> None:
    """Permuting keys, values and their visibility together changes nothing that is read.

    Kills: weights that depend on the place of a key, such as a wrong diagonal or the mask of another key.
    """
    permuting_keys_and_values_together_changes_nothing(scaled_dot_product_attention, case)


def permuting_queries_permutes_what_is_read(attention: Function, case: AttentionCase) -> None:
    order = shuffled(case.seed, "order", case.length)
    may_attend = None if case.may_attend is None else case.may_attend[:, order]
    before = attention(case.query, case.key, case.value, case.may_attend)
    after = attention(case.query[:, order], case.key, case.value, may_attend)
    assert_close(after, before[:, order], SUM, case.scale, what="what shuffled queries read")


@pytest.mark.equation("attention")
@given(case=attention_cases())
def test_permuting_queries_permutes_what_is_read(case: AttentionCase) -> None:
    """Permuting the queries permutes what they read.

    Kills: softmax over the queries; queries that see each other.
    """
    permuting_queries_permutes_what_is_read(scaled_dot_product_attention, case)


def equal_keys_read_the_mean(attention: Function, case: AttentionCase) -> None:
    shares = case.visible.double() / case.visible.sum(-1, keepdim=True).clamp(min=1)
    expected = (shares @ case.value.double()).to(case.dtype)
    read = attention(case.query, case.key, case.value, case.may_attend)
    assert_close(read, expected, SUM, case.scale, what="what is read from equal keys")


@pytest.mark.equation("attention")
@given(case=attention_cases(scores=("equal",)))
def test_equal_keys_read_the_mean(case: AttentionCase) -> None:
    """A query that cannot tell the keys apart reads the mean of the visible values.

    Kills: weights that are not normalised over the visible keys; values from another projection; queries over keys.
    """
    equal_keys_read_the_mean(scaled_dot_product_attention, case)


def what_is_read_lies_among_the_visible_values(attention: Function, case: AttentionCase) -> None:
    read = attention(case.query, case.key, case.value, case.may_attend)
    some = case.visible.any(-1)[..., None]
    visible, value = case.visible[..., None], case.value[:, None]
    lowest = value.where(visible, math.inf).amin(-2).where(some, 0.0)
    highest = value.where(visible, -math.inf).amax(-2).where(some, 0.0)
    beyond = torch.maximum(lowest - read, read - highest).clamp(min=0)
    assert_close(beyond, torch.zeros_like(beyond), SUM, case.scale, what="the distance to the visible values")


@pytest.mark.equation("attention")
@given(case=attention_cases())
def test_what_is_read_lies_among_the_visible_values(case: AttentionCase) -> None:
    """What is read lies between the least and the greatest visible value, in each column.

    Kills: weights that sum to more than 1; exponentials that are not divided.
    """
    what_is_read_lies_among_the_visible_values(scaled_dot_product_attention, case)


def a_query_that_sees_nothing_reads_zeros_and_passes_no_gradient(attention: Function, case: AttentionCase) -> None:
    query, key, value = (tensor.clone().requires_grad_() for tensor in (case.query, case.key, case.value))
    read = attention(query, key, value, case.may_attend)
    blind = ~case.visible.any(-1)
    assert not read[blind].any(), "a query that sees nothing should read exact zeros"
    blind_only = torch.where(blind[..., None], read, 0.0).sum()
    for gradient in torch.autograd.grad(blind_only, (query, key, value), allow_unused=True, retain_graph=True):
        assert gradient is None or not gradient.any(), "a query that sees nothing should pass no gradient"
    for gradient in torch.autograd.grad(read.sum(), (query, key, value)):
        assert torch.isfinite(gradient).all(), "every gradient should be finite"


@pytest.mark.equation("attention", "attention-weights")
@given(case=attention_cases(visibilities=("random", "one row sees nothing", "nothing")))
def test_a_query_that_sees_nothing_reads_zeros_and_passes_no_gradient(case: AttentionCase) -> None:
    """A query that may read nothing reads zeros and passes no gradient; all others pass finite ones.

    Kills: NaN from a row of −∞; the plain mean from a row of −10,000.
    """
    a_query_that_sees_nothing_reads_zeros_and_passes_no_gradient(scaled_dot_product_attention, case)


def the_only_visible_value_is_read_as_it_is(attention: Function, case: AttentionCase) -> None:
    only = torch.randint(case.memory, (case.batch, case.length), generator=torch.Generator().manual_seed(case.seed))
    may_attend = F.one_hot(only, case.memory).bool()
    read = attention(case.query, case.key, case.value, may_attend)
    expected = torch.stack([value[keys] for value, keys in zip(case.value, only, strict=True)])
    assert_same(read, expected, what="the only visible value")


@pytest.mark.equation("attention")
@given(case=attention_cases())
def test_the_only_visible_value_is_read_as_it_is(case: AttentionCase) -> None:
    """The only visible value is read as it is, bit for bit, whatever the scores are.

    Kills: visibility inverted, transposed or off by one; keys read in place of values.
    """
    the_only_visible_value_is_read_as_it_is(scaled_dot_product_attention, case)


def reading_is_linear_in_the_values(attention: Function, case: AttentionCase) -> None:
    other = numbers(case.seed, "other value", *case.value.shape, dtype=case.dtype)
    together = attention(case.query, case.key, case.value - 2 * other, case.may_attend)
    apart = attention(case.query, case.key, case.value, case.may_attend) - 2 * attention(
        case.query, case.key, other, case.may_attend
    )
    scale = case.score_size * float(case.value.abs().max() + 2 * other.abs().max())
    assert_close(together, apart, SUM, scale, what="what is read from a sum of values")


@pytest.mark.equation("attention")
@given(case=attention_cases())
def test_reading_is_linear_in_the_values(case: AttentionCase) -> None:
    """What is read from a sum of values is the sum of what is read from each.

    Kills: a softmax after the values; weights that depend on the values.
    """
    reading_is_linear_in_the_values(scaled_dot_product_attention, case)


def later_tokens_cannot_change_earlier_outputs(causal: Callable[[int], Tensor], case: AttentionCase) -> None:
    query = numbers(case.seed, "as many queries", case.batch, case.memory, case.d_k, dtype=case.dtype)
    before = scaled_dot_product_attention(query, case.key, case.value, causal(case.memory))
    first_changed = case.seed % case.memory
    later = (torch.arange(case.memory) >= first_changed)[:, None]
    key = torch.where(later, numbers(case.seed, "later key", *case.key.shape, dtype=case.dtype), case.key)
    value = torch.where(later, numbers(case.seed, "later value", *case.value.shape, dtype=case.dtype), case.value)
    after = scaled_dot_product_attention(query, key, value, causal(case.memory))
    assert_same(after[:, :first_changed], before[:, :first_changed], what="what is read before the change")
    assert (after[:, first_changed] != before[:, first_changed]).any(), "a position should see itself"


@pytest.mark.equation("attention", "causal-visibility")
@given(case=attention_cases(scores=("ordinary",), visibilities=("all",)))
def test_later_tokens_cannot_change_earlier_outputs(case: AttentionCase) -> None:
    """Under causal visibility, changing later keys and values changes nothing that was read before, bit for bit.

    Kills: the diagonal off by one; the triangle upside down; a causal rule in the wrong axes.
    """
    later_tokens_cannot_change_earlier_outputs(visibility.causal, case)


@pytest.mark.equation("attention")
@given(case=attention_cases())
def test_attention_agrees_with_the_reference(case: AttentionCase) -> None:
    """Attention agrees with the reference in both float types, with and without a scale of one's own."""
    arrays = (as_array(tensor) for tensor in (case.query, case.key, case.value))
    query, key, value = arrays
    may_attend = None if case.may_attend is None else case.may_attend.numpy()
    for scale in (None, 0.3):
        actual = scaled_dot_product_attention(case.query, case.key, case.value, case.may_attend, scale)
        expected = reference.attention.scaled_dot_product_attention(query, key, value, may_attend, scale)
        assert_close(actual, expected, SUM, case.scale * math.sqrt(case.d_k))


@pytest.mark.equation("attention")
@given(case=attention_cases(visibilities=("all", "padding")))
def test_attention_agrees_with_torch(case: AttentionCase) -> None:
    """Attention agrees with PyTorch's own wherever that one says what it does: True = may read in both."""
    actual = scaled_dot_product_attention(case.query, case.key, case.value, case.may_attend)
    expected = F.scaled_dot_product_attention(case.query, case.key, case.value, attn_mask=case.may_attend)
    assert_close(actual, expected, SUM, case.scale)


@pytest.mark.equation("attention")
@given(case=attention_cases())
def test_leading_axes_are_examples_of_their_own(case: AttentionCase) -> None:
    """Each example along the leading axes reads as it would alone.

    Kills: an axis counted from the front; a rule that broadcasts over the wrong axis.
    """
    together = scaled_dot_product_attention(case.query, case.key, case.value, case.may_attend)
    stacked = scaled_dot_product_attention(
        case.query[None, :, None], case.key[None, :, None], case.value[None, :, None], case.visible[:, None]
    )
    assert_close(stacked[0, :, 0], together, SUM, case.scale)
    for example in range(case.batch):
        alone = scaled_dot_product_attention(
            case.query[example], case.key[example], case.value[example], case.visible[example]
        )
        assert_close(alone, together[example], SUM, case.scale)


def dropout_falls_on_the_weights(attention: Function, case: AttentionCase) -> None:
    torch.manual_seed(case.seed)
    rate, n_queries = 0.5, 40
    query, value = case.query[:, :1].repeat(1, n_queries, 1), torch.ones_like(case.value[..., :1])
    kept = attention(query, case.key, value, dropout_rate=rate) * case.memory * (1 - rate)
    assert_close(kept, kept.round(), SUM, case.memory, what="the number of kept shares")
    if case.memory > 1:
        assert kept.round().unique().numel() > 2, "some rows should keep more than others, and most of them some"


@pytest.mark.equation("attention", "dropout")
@given(case=attention_cases(scores=("equal",), visibilities=("all",)))
def test_dropout_falls_on_the_weights(case: AttentionCase) -> None:
    """With equal keys and values of 1, what is read under dropout is a whole number of kept shares.

    Kills: dropout on the scores, which leaves the rows at 1; dropout without rescaling; dropout on what is read.
    """
    dropout_falls_on_the_weights(scaled_dot_product_attention, case)


@pytest.mark.parametrize(
    "ask",
    [
        lambda x, rule: attention_weights(x, x, rule),
        lambda x, rule: scaled_dot_product_attention(x, x, x, rule),
        lambda x, rule: MultiHeadAttention(3, 1)(x, may_attend=rule),
        lambda x, rule: MultiHeadAttention(3, 1).weights(x, may_attend=rule),
    ],
    ids=["weights", "attention", "module", "weights of the module"],
)
@pytest.mark.usefixtures("without_shape_checks")
def test_a_visibility_that_is_not_boolean_is_refused(ask: Callable[[Tensor, Tensor], Tensor]) -> None:
    """An additive mask of 0 and −∞ is refused with a sentence that says what to give instead."""
    message = "may_attend has dtype torch.float32 and must be torch.bool with True = may read; turn an additive mask"
    with pytest.raises(InputError, match=message):
        ask(torch.zeros(1, 2, 3), torch.tensor([[0.0, -math.inf]]))


# Several heads


def multi_head(case: SequenceCase) -> MultiHeadAttention:
    """A multi-head attention with numbers of its own."""
    return randomise(MultiHeadAttention(case.d_model, case.n_heads), case.seed, case.dtype)


def each_head_has_its_own_columns(module: MultiHeadAttention, case: SequenceCase) -> None:
    with torch.no_grad():
        module.output.weight.copy_(torch.eye(case.d_model))
        before = module(case.x, case.memory, case.may_attend_memory)
        head = case.seed % case.n_heads
        columns = slice(head * case.d_k, (head + 1) * case.d_k)
        module.value.bias[columns] += 1
        after = module(case.x, case.memory, case.may_attend_memory)
    blind = torch.zeros(1) if case.may_attend_memory is None else ~case.may_attend_memory[:, 0].any(-1, keepdim=True)
    expected = before.clone()
    expected[..., columns] += 1 - blind.to(case.dtype)
    assert_close(after, expected, LAYER, what="what is read after the values of one head grew by 1")


@pytest.mark.equation("multi-head-attention")
@given(case=sequence_cases())
def test_each_head_has_its_own_columns(case: SequenceCase) -> None:
    """Adding 1 to the values of one head adds 1 to the columns of this head, and to no other.

    Kills: heads split or merged by a reshape without a transposition; heads that are added up.
    """
    each_head_has_its_own_columns(multi_head(case), case)


def the_whole_is_the_sum_of_what_each_head_contributes(module: MultiHeadAttention, case: SequenceCase) -> None:
    whole = module(case.x, case.memory, case.may_attend_memory)
    parts = torch.zeros_like(whole)
    for head in range(case.n_heads):
        rows = slice(head * case.d_k, (head + 1) * case.d_k)
        query, key, value = (
            F.linear(asked, linear.weight[rows], linear.bias[rows])
            for asked, linear in ((case.x, module.query), (case.memory, module.key), (case.memory, module.value))
        )
        rule = None if case.may_attend_memory is None else case.may_attend_memory[:, 0]
        read = scaled_dot_product_attention(query, key, value, rule)
        parts = parts + F.linear(read, module.output.weight[:, rows])
    assert_close(whole, parts + module.output.bias, LAYER, what="the sum of what each head contributes")


@pytest.mark.equation("multi-head-attention")
@given(case=sequence_cases())
def test_the_whole_is_the_sum_of_what_each_head_contributes(case: SequenceCase) -> None:
    """The output is the sum of single attentions, each through its rows of W_Q, W_K, W_V and its columns of W_O.

    Kills: the scale of d_model in place of d_k; keys and values swapped; the output projection forgotten.
    """
    the_whole_is_the_sum_of_what_each_head_contributes(multi_head(case), case)


@pytest.mark.equation("multi-head-attention")
@given(case=sequence_cases())
def test_multi_head_attention_agrees_with_the_reference(case: SequenceCase) -> None:
    """Multi-head attention agrees with the reference, reading itself and reading a memory."""
    module = multi_head(case)
    parameters = parameters_of(module)
    for memory, rule in ((None, case.may_attend), (case.memory, case.may_attend_memory)):
        expected = reference.attention.multi_head_attention(
            parameters,
            case.n_heads,
            as_array(case.x),
            None if memory is None else as_array(memory),
            None if rule is None else rule.numpy(),
        )
        assert_close(module(case.x, memory, rule), expected, LAYER)


@pytest.mark.equation("multi-head-attention")
@given(case=sequence_cases(visibilities=("all", "padding")))
def test_multi_head_attention_agrees_with_torch(case: SequenceCase) -> None:
    """Multi-head attention agrees with `nn.MultiheadAttention`, whose True hides, and so do the weights."""
    ours = multi_head(case)
    theirs = nn.MultiheadAttention(case.d_model, case.n_heads, batch_first=True, dtype=case.dtype)
    with torch.no_grad():
        theirs.in_proj_weight.copy_(torch.cat([ours.query.weight, ours.key.weight, ours.value.weight]))
        theirs.in_proj_bias.copy_(torch.cat([ours.query.bias, ours.key.bias, ours.value.bias]))
        theirs.out_proj.load_state_dict(ours.output.state_dict())
    rule = case.may_attend_memory
    hidden = None if rule is None else ~rule[:, 0, 0]
    read, weights = theirs(case.x, case.memory, case.memory, key_padding_mask=hidden, average_attn_weights=False)
    assert_close(ours(case.x, case.memory, rule), read, LAYER)
    assert_close(ours.weights(case.x, case.memory, rule), weights, LAYER)


def padding_is_invisible(padding: Callable[[Tensor], Tensor], module: nn.Module, case: SequenceCase) -> None:
    assert case.may_attend is not None
    kept = case.may_attend[:, 0, 0]
    together = module(case.x, may_attend=padding(kept.long()))
    for example, length in enumerate(kept.sum(-1).tolist()):
        alone = module(case.x[example : example + 1, :length])
        assert_close(alone[0], together[example, :length], LAYER, what="a sequence alone")


@pytest.mark.equation("multi-head-attention", "padding-visibility")
@given(case=sequence_cases(visibilities=("padding",)))
def test_padding_is_invisible(case: SequenceCase) -> None:
    """A sequence alone gives what it gives in any padded batch.

    Kills: padding hidden on the query axis; no padding rule at all; the rule of another example.
    """
    padding_is_invisible(visibility.padding, multi_head(case), case)


@pytest.mark.equation("multi-head-attention")
@given(case=sequence_cases())
def test_each_head_shows_its_weights(case: SequenceCase) -> None:
    """The weights that a module shows are those that it reads with: they rebuild its output."""
    module = multi_head(case)
    weights = module.weights(case.x, case.memory, case.may_attend_memory)
    value = module.split_heads(module.value(case.memory))
    read = (weights @ value).transpose(1, 2).flatten(2)
    assert_close(module.output(read), module(case.x, case.memory, case.may_attend_memory), LAYER)


@pytest.mark.equation("dropout")
def test_a_module_drops_while_training_only() -> None:
    """Multi-head attention forgets some of what it reads while training, and nothing while evaluating."""
    module = MultiHeadAttention(6, 2, dropout=0.5)
    x = torch.randn(2, 5, 6, generator=torch.Generator().manual_seed(1))
    torch.manual_seed(2)
    assert (module(x) != module(x)).any()
    assert_same(module.eval()(x), module(x))


@pytest.mark.parametrize(("d_model", "n_heads"), [(10, 3), (10, 0), (10, -2)])
def test_a_width_that_does_not_divide_among_the_heads_is_refused(d_model: int, n_heads: int) -> None:
    """The message names both numbers and the rule."""
    with pytest.raises(InputError, match=f"d_model={d_model} must be a multiple of n_heads={n_heads}"):
        MultiHeadAttention(d_model, n_heads)


def test_a_rule_of_three_axes_is_refused() -> None:
    """With as many heads as examples, a rule of three axes could be taken for one or the other."""
    rule = torch.ones(2, 5, 5, dtype=torch.bool)
    for ask in (MultiHeadAttention(6, 2), MultiHeadAttention(6, 2).weights):
        with pytest.raises(InputError, match=r"may_attend has shape \(2, 5, 5\) .* write may_attend\[:, None\]"):
            ask(torch.zeros(2, 5, 6), may_attend=rule)
