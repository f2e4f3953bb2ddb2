"""How our visibility relates to the conventions of others; its laws are in minitransformer/laws."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from torch import Tensor, nn

from minitransformer.attention import MultiHeadAttention, scaled_dot_product_attention
from minitransformer.errors import InputError
from minitransformer.laws.cases import numbers, randomise, seeds
from minitransformer.laws.tolerances import LAYER, SUM, assert_close, assert_same
from minitransformer.laws.visibility import lengths
from minitransformer.visibility import causal, padding, require_boolean, same_segment


@pytest.mark.equation("packed-visibility")
@pytest.mark.usefixtures("kernels_in_use")
@given(seed=seeds, first=lengths, second=lengths)
def test_packed_sequences_read_as_if_each_were_alone(seed: int, first: int, second: int) -> None:
    """Two sequences packed into one row read what each reads alone, also under a causal rule on top.

    Kills: packing without a rule.
    """
    x = numbers(seed, "x", 1, first + second, 6)
    segment_ids = (torch.arange(first + second) >= first).long()[None]
    module = randomise(MultiHeadAttention(6, 2), seed)
    packed = module(x, may_attend=same_segment(segment_ids) & causal(first + second))
    assert_close(packed[:, :first], module(x[:, :first], may_attend=causal(first)), LAYER)
    assert_close(packed[:, first:], module(x[:, first:], may_attend=causal(second)), LAYER)


@pytest.mark.equation("causal-visibility")
@given(length=lengths)
def test_the_causal_rule_is_numpys_lower_triangle(length: int) -> None:
    """The causal rule is the lower triangle of NumPy."""
    assert_same(causal(length), np.tri(length, dtype=bool))


@pytest.fixture
def reading() -> tuple[Tensor, Tensor, Tensor]:
    """Some keys of which one is padding, as `attention_mask` says it, and what is read without it."""
    x, attention_mask = numbers(1, "x", 1, 4, 6), torch.tensor([[1, 1, 0, 1]])
    return x, attention_mask, scaled_dot_product_attention(x, x, x, padding(attention_mask)[:, 0])


@pytest.mark.equation("padding-visibility")
def test_our_true_is_true_in_scaled_dot_product_attention(reading: tuple[Tensor, Tensor, Tensor]) -> None:
    """`F.scaled_dot_product_attention`: boolean, True = may read, as ours."""
    x, attention_mask, expected = reading
    assert_close(F.scaled_dot_product_attention(x, x, x, attn_mask=padding(attention_mask)[:, 0]), expected, SUM)


@pytest.mark.equation("padding-visibility")
def test_our_true_is_false_in_multihead_attention() -> None:
    """`nn.MultiheadAttention`: boolean, True = hidden, the opposite of ours."""
    ours, x, attention_mask = (
        randomise(MultiHeadAttention(6, 2), 1),
        numbers(1, "x", 1, 4, 6),
        torch.tensor([[1, 1, 0, 1]]),
    )
    theirs = nn.MultiheadAttention(6, 2, batch_first=True, dtype=torch.float64)
    with torch.no_grad():
        theirs.in_proj_weight.copy_(torch.cat([ours.query.weight, ours.key.weight, ours.value.weight]))
        theirs.in_proj_bias.copy_(torch.cat([ours.query.bias, ours.key.bias, ours.value.bias]))
        theirs.out_proj.load_state_dict(ours.output.state_dict())
    may_attend = padding(attention_mask)
    read, _ = theirs(x, x, x, key_padding_mask=~may_attend[:, 0, 0])
    assert_close(ours(x, may_attend=may_attend), read, LAYER)


@pytest.mark.equation("padding-visibility")
@pytest.mark.parametrize("hidden", [-10_000.0, -torch.inf])
def test_our_false_is_a_large_negative_number_in_bert(reading: tuple[Tensor, Tensor, Tensor], hidden: float) -> None:
    """BERT and `transformers`: added to the scores, 0 = may read, −10,000 or −∞ = hidden; the same at usual scores."""
    x, attention_mask, expected = reading
    additive = torch.where(attention_mask == 1, 0.0, hidden).to(x.dtype)
    weights = torch.softmax(x @ x.mT / 6**0.5 + additive[:, None], dim=-1)
    assert_close(weights @ x, expected, SUM)
    assert_same(additive == 0, padding(attention_mask)[:, 0, 0])


def test_an_attention_mask_of_other_numbers_is_refused() -> None:
    with pytest.raises(
        InputError, match="attention_mask holds values other than 0 and 1; give 1 for a token and 0 for"
    ):
        padding(torch.tensor([[0.0, -1e4]]))


def test_only_true_and_false_are_a_rule() -> None:
    require_boolean(None)
    require_boolean(torch.tensor([True]))
    with pytest.raises(InputError, match=r"may_attend has dtype torch\.int64 and must be torch\.bool with True = may"):
        require_boolean(torch.tensor([1]))
