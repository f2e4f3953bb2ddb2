"""Laws of attention: what a query reads."""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from minitransformer import reference
from minitransformer.laws.attention_weights import (
    OWN_SCALE,
    all_far_below,
    rule_of,
    seeing_cases,
    sees_nothing,
    small_whole,
)
from minitransformer.laws.cases import COARSE, AttentionCase, ManyCase, many_cases, numbers, shuffled, whole_numbers
from minitransformer.laws.gradients import gradients_through
from minitransformer.laws.law import law
from minitransformer.laws.tolerances import LAYER, ROUNDING, SUM, as_array, assert_close, assert_same, assert_same_type

Function = Callable[..., Tensor]

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


@law("attention", given=seeing_cases(scores=("ordinary",), types=COARSE))
def in_bfloat16_what_is_read_agrees_with_the_reference(attention: Function, case: AttentionCase) -> None:
    """In bfloat16 attention agrees with the reference, and what is read is bfloat16 too.

    Kills: no scale; keys or queries mixed up; what is read in float32 whatever the values are in.
    Hint: Which step of your function makes a tensor of its own, and of which type is it? What do the two types give
    together?
    """
    query, key = small_whole(case)
    read = attention(query, key, case.value, case.may_attend)
    assert_same_type(read, query)
    arrays = (as_array(query), as_array(key), as_array(case.value))
    expected = reference.attention.scaled_dot_product_attention(*arrays, rule_of(case))
    assert_close(read, expected, ROUNDING, 1 + float(case.value.abs().max()), what="what is read")


@law("attention", given=seeing_cases(types=COARSE))
def in_bfloat16_a_hidden_key_cannot_matter(attention: Function, case: AttentionCase) -> None:
    """In bfloat16, too, what stands in hidden keys and values changes nothing that is read, bit for bit.

    Kills: −10,000 for −∞; visibility inverted, dropped or applied after the softmax.
    Hint: Put 100 in place of every hidden key. Which number of your function changes first: a score, a sum, a weight?
    """
    a_hidden_key_cannot_matter(attention, case)


@law("attention", given=seeing_cases(types=COARSE))
def in_bfloat16_the_only_visible_value_is_read_however_low_its_score(attention: Function, case: AttentionCase) -> None:
    """In bfloat16 the only visible value is read as it is, bit for bit, where all scores are −100,000.

    Kills: the least number of float16 for −∞; scores in float16, where −100,000 is −∞ itself.
    Hint: bfloat16 is as coarse as it is wide. Which of its numbers is below all others, and did you use that one?
    """
    query, key = all_far_below(case)
    only = whole_numbers(case.seed, "only", 0, case.memory, case.batch, case.length)
    read = attention(query, key, case.value, F.one_hot(only, case.memory).bool())
    expected = torch.stack([value[keys] for value, keys in zip(case.value, only, strict=True)])
    assert_same(read, expected, what="the only visible value")


@law("attention", given=many_cases())
def in_bfloat16_many_equal_keys_with_one_value_read_that_value(attention: Function, case: ManyCase) -> None:
    """In bfloat16 up to 2,048 equal keys that all have one value give that value, and not a part of it.

    Kills: sums kept in bfloat16 while they grow: of the exponentials, which stops at 256, and of what is read.
    Hint: A thousand shares of one thousandth make a whole. What is ½ + 1/1,024 in eight bits?
    """
    query, key = torch.zeros(1, 2, 3).bfloat16(), torch.ones(1, case.count, 3).bfloat16()
    read = attention(query, key, case.size.expand(1, case.count, 5)) / case.size
    assert_close(read, torch.ones_like(read), ROUNDING, 1.0, what="what is read, over the only value there is,")


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
