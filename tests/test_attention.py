"""Attention beyond its laws: PyTorch's opinion, visibility, dropout, and the weights that several heads show."""

import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from torch import Tensor, nn

from minitransformer import visibility
from minitransformer.attention import (
    MultiHeadAttention,
    attention_weights,
    log_softmax,
    scaled_dot_product_attention,
    softmax,
)
from minitransformer.errors import InputError
from minitransformer.laws.cases import (
    AttentionCase,
    SequenceCase,
    VectorsCase,
    attention_cases,
    few_examples,
    numbers,
    randomise,
    sequence_cases,
    vectors_cases,
)
from minitransformer.laws.tolerances import LAYER, SUM, assert_close, assert_same

pytestmark = [
    pytest.mark.usefixtures("kernels_in_use"),
    pytest.mark.parametrize("kernels_in_use", ["equations", "fused", "tiled"], indirect=True),
]

Function = Callable[..., Tensor]


# One head: the second opinion of PyTorch, and what the laws of the four functions leave out


@pytest.mark.equation("softmax", "log-softmax")
@given(case=vectors_cases())
def test_softmax_agrees_with_torch(case: VectorsCase) -> None:
    """Softmax and log-softmax agree with PyTorch's own, along every axis."""
    scale = 1 + float(case.x.abs().max())
    for axis in (0, 1, 2, -1):
        assert_close(softmax(case.x, axis), torch.softmax(case.x, axis), SUM, scale)
        assert_close(log_softmax(case.x, axis), torch.log_softmax(case.x, axis), SUM, scale)


@pytest.mark.equation("attention")
@given(case=attention_cases(visibilities=("all", "padding")))
def test_attention_agrees_with_torch(case: AttentionCase) -> None:
    """Attention agrees with PyTorch's own wherever that one says what it does: True = may read in both."""
    actual = scaled_dot_product_attention(case.query, case.key, case.value, case.may_attend)
    expected = F.scaled_dot_product_attention(case.query, case.key, case.value, attn_mask=case.may_attend)
    assert_close(actual, expected, SUM, case.scale)


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


@pytest.mark.equation("multi-head-attention")
@few_examples
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


@pytest.mark.equation("multi-head-attention")
@few_examples
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
