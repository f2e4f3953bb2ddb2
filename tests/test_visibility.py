"""Laws of visibility, and how our convention relates to those of others."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from strategies import numbers, randomise, seeds, whole_numbers
from tolerances import LAYER, SUM, assert_close, assert_same
from torch import Tensor, nn

from minitransformer import reference
from minitransformer.attention import MultiHeadAttention, scaled_dot_product_attention
from minitransformer.errors import InputError
from minitransformer.visibility import causal, padding, require_boolean, same_segment

lengths = st.integers(1, 13)


def exactly_the_padded_keys_are_hidden(padding: Callable[[Tensor], Tensor], seed: int) -> None:
    attention_mask = whole_numbers(seed, "mask", 0, 2, 3, 5)
    rule = padding(attention_mask).expand(3, 2, 7, 5)
    for example in range(3):
        for head in range(2):
            for query in range(7):
                assert_same(rule[example, head, query], attention_mask[example].bool(), what="what a query may read")


@pytest.mark.equation("padding-visibility")
@given(seed=seeds)
def test_exactly_the_padded_keys_are_hidden(seed: int) -> None:
    """Every query of an example, padded or not, may read exactly the tokens of that example.

    Kills: padding on the query axis; True for hidden; the rule of another example.
    """
    exactly_the_padded_keys_are_hidden(padding, seed)


def each_position_sees_itself_and_all_before(causal: Callable[[int], Tensor], length: int) -> None:
    rule = causal(length)
    assert rule.diagonal().all(), "every position should see itself"
    assert rule.sum(-1).tolist() == list(range(1, length + 1)), "position i should see i + 1 positions"
    assert rule[0].tolist() == [True] + [False] * (length - 1), "the first position should see only itself"


@pytest.mark.equation("causal-visibility")
@given(length=lengths)
def test_each_position_sees_itself_and_all_before(length: int) -> None:
    """Position i sees i + 1 positions: itself and all before it.

    Kills: the diagonal off by one, on either side; the triangle upside down.
    """
    each_position_sees_itself_and_all_before(causal, length)
    assert_same(causal(length + 3)[:length, :length], causal(length), what="a shorter rule within a longer one")


def seeing_is_mutual_within_a_segment(same_segment: Callable[[Tensor], Tensor], seed: int, length: int) -> None:
    segment_ids = whole_numbers(seed, "segments", 0, 3, 2, length)
    rule = same_segment(segment_ids)[:, 0]
    assert rule.diagonal(dim1=-2, dim2=-1).all(), "every position should see itself"
    assert_same(rule, rule.mT, what="the rule seen from the other side")
    for example in range(2):
        for number in range(3):
            inside = segment_ids[example] == number
            assert rule[example][inside][:, inside].all(), "positions of one segment should see each other"
            assert not rule[example][inside][:, ~inside].any(), "positions of two segments should not"


@pytest.mark.equation("packed-visibility")
@given(seed=seeds, length=lengths)
def test_seeing_is_mutual_within_a_segment(seed: int, length: int) -> None:
    """Positions of one segment see each other, and positions of two segments do not.

    Kills: only neighbours compared; segments of different examples compared; a causal rule in its place.
    """
    seeing_is_mutual_within_a_segment(same_segment, seed, length)


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


@pytest.mark.equation("padding-visibility", "causal-visibility", "packed-visibility")
@given(seed=seeds, length=lengths)
def test_rules_agree_with_the_reference(seed: int, length: int) -> None:
    """All three rules agree with the reference; the causal one also with the lower triangle of NumPy."""
    ids = whole_numbers(seed, "ids", 0, 2, 2, length)
    assert_same(padding(ids), reference.visibility.padding(ids.numpy()))
    assert_same(padding(ids.bool()), padding(ids))
    assert_same(padding(ids.float()), padding(ids))
    assert_same(same_segment(ids), reference.visibility.same_segment(ids.numpy()))
    assert_same(causal(length), reference.visibility.causal(length))
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
