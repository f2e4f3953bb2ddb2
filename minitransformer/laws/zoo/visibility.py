"""Mutants of the visibility."""

import math

import torch
from torch import Tensor

from minitransformer.laws.zoo.mutant import mutant

Device = torch.device | str | None

# Causal


@mutant("causal-visibility", symptom="A training loss near 0 within minutes, and generated text that is noise.")
def next_token_visible(length: int, device: Device = None) -> Tensor:
    """The diagonal is off by one: each position sees the next one, which it is to predict."""
    return torch.ones(length, length, dtype=torch.bool, device=device).tril(diagonal=1)


@mutant("causal-visibility", symptom="NaN in the first row, or a model that never knows its own token.")
def own_token_hidden(length: int, device: Device = None) -> Tensor:
    """The diagonal is off by one: no position sees itself, and the first one sees nothing."""
    return torch.ones(length, length, dtype=torch.bool, device=device).tril(diagonal=-1)


@mutant(
    "causal-visibility",
    symptom="A low training loss and useless samples: the model attends only to the future.",
    source="rasbt/LLMs-from-scratch#1061",
    difficulty="easy",
)
def triangle_upside_down(length: int, device: Device = None) -> Tensor:
    """The triangle is the upper one, as `nn.MultiheadAttention` wants it, where True means hidden."""
    return torch.ones(length, length, dtype=torch.bool, device=device).triu(diagonal=1)


@mutant("causal-visibility", symptom="Each token sees itself and the future; samples are noise.", difficulty="easy")
def queries_and_keys_swapped_in_the_rule(length: int, device: Device = None) -> Tensor:
    """The two axes are swapped, so that keys are later than queries and not earlier."""
    position = torch.arange(length, device=device)
    return position[:, None] <= position[None, :]


@mutant(
    "causal-visibility",
    symptom="`~rule` is nonsense, and an additive use of it moves scores by 1: the future is nearly as visible.",
    difficulty="medium",
)
def ones_and_zeros(length: int, device: Device = None) -> Tensor:
    """The rule holds ones and zeros, which are no booleans."""
    return torch.ones(length, length, device=device).tril()


@mutant(
    "causal-visibility",
    symptom="Uniform attention over the past, which looks plausible, or attention to the future alone.",
    source="harvard-edge/cs249r_book#1785",
    difficulty="medium",
)
def numbers_to_be_added(length: int, device: Device = None) -> Tensor:
    """The rule holds 0 and −∞, to be added to scores, where True and False were asked for."""
    return torch.full((length, length), -math.inf, device=device).triu(diagonal=1)


@mutant(
    "causal-visibility",
    symptom="Short texts are as good as ever; in long ones the model forgets how they began.",
    difficulty="hard",
)
def a_window_of_four(length: int, device: Device = None) -> Tensor:
    """Only the last four positions are visible."""
    position = torch.arange(length, device=device)
    distance = position[:, None] - position[None, :]
    return (distance >= 0) & (distance < 4)


@mutant(
    "causal-visibility",
    symptom="Right for a cache that is full, and wrong for every text of another length.",
    source="rasbt/LLMs-from-scratch#697",
    difficulty="medium",
)
def places_counted_from_the_end(length: int, device: Device = None) -> Tensor:
    """Places of keys are counted from the end, so that the first query sees the last key."""
    position = torch.arange(length, device=device)
    return position.flip(0)[None, :] <= position[:, None]


# Padding


@mutant(
    "padding-visibility",
    symptom="Trains; real tokens give a good part of their attention to padding, so results change with the batch.",
    source="hyunwoongko/transformer#40",
    difficulty="hard",
)
def padding_on_the_query_axis(attention_mask: Tensor) -> Tensor:
    """The mask stands on the axis of queries: padding asks nothing, but everyone reads it."""
    return (attention_mask != 0)[:, None, :, None].expand(-1, 1, -1, attention_mask.shape[-1])


@mutant(
    "padding-visibility",
    symptom="The model attends to padding alone; the loss stops at that of word frequencies.",
    source="lucidrains/reformer-pytorch#87",
    difficulty="easy",
)
def true_for_hidden(attention_mask: Tensor) -> Tensor:
    """True means hidden, the other way round than may_attend."""
    return (attention_mask == 0)[:, None, None, :]


@mutant("padding-visibility", symptom="The same sentence gets another vector in every batch.", difficulty="easy")
def no_padding_hidden(attention_mask: Tensor) -> Tensor:
    """Everything is visible, padding too: the mask gives its shape alone."""
    return torch.ones_like(attention_mask, dtype=torch.bool)[:, None, None, :]


@mutant(
    "padding-visibility",
    symptom="Fine with padding at the end; batched generation, which pads in front, is noise.",
    difficulty="hard",
)
def padding_at_the_end_only(attention_mask: Tensor) -> Tensor:
    """Tokens are counted, and padding is taken to stand behind them."""
    n_tokens = attention_mask.sum(-1, keepdim=True)
    return (torch.arange(attention_mask.shape[-1]) < n_tokens)[:, None, None, :]


@mutant(
    "padding-visibility",
    symptom="An error unless batch = heads; then no error, and each head reads under another example's rule.",
    source="ml-explore/mlx-lm#1903",
    difficulty="hard",
)
def an_axis_forgotten(attention_mask: Tensor) -> Tensor:
    """The axis of heads is missing, so that examples stand where heads are counted."""
    return (attention_mask != 0)[:, None, :]


@mutant(
    "padding-visibility", symptom="Hidden only as far as −10,000 hides; and `~rule` is an error.", difficulty="medium"
)
def ten_thousand_to_be_added(attention_mask: Tensor) -> Tensor:
    """The rule holds 0 and −10,000, to be added to scores, as in BERT's published code."""
    return (1.0 - attention_mask[:, None, None, :].float()) * -10_000.0


@mutant(
    "padding-visibility",
    symptom="Padding is visible as if there were no rule, and the code looks as if it hid it twice.",
)
def inverted_bit_by_bit(attention_mask: Tensor) -> Tensor:
    """`~` is taken of whole numbers, where it makes −2 of 1, and neither 0 nor 1 comes out as 0."""
    hidden = ~attention_mask.to(torch.int64)
    return (hidden != 0)[:, None, None, :]


@mutant("padding-visibility", symptom="Works until someone's attention mask holds floats.", difficulty="medium")
def whole_numbers_only(attention_mask: Tensor) -> Tensor:
    """Bits are compared, which floats do not have."""
    return (attention_mask & 1).bool()[:, None, None, :]


@mutant("padding-visibility", symptom="Right in batches of one; in larger ones tokens vanish at random.")
def rule_of_the_neighbour(attention_mask: Tensor) -> Tensor:
    """Each example gets the rule of the one before it."""
    return (attention_mask != 0).roll(1, dims=0)[:, None, None, :]


# Packed sequences


@mutant("packed-visibility", symptom="A loss that is too good: later segments read earlier ones.", difficulty="medium")
def earlier_segments_visible(segment_ids: Tensor) -> Tensor:
    """≥ stands where = is meant, so that a segment sees all those with smaller numbers."""
    return (segment_ids[:, :, None] >= segment_ids[:, None, :])[:, None]


@mutant("packed-visibility", symptom="The first segment of each row is never learned.", difficulty="medium")
def segment_zero_as_padding(segment_ids: Tensor) -> Tensor:
    """Segment 0 is taken for padding, which nobody may read."""
    same = segment_ids[:, :, None] == segment_ids[:, None, :]
    return (same & (segment_ids != 0)[:, None, :])[:, None]


@mutant(
    "packed-visibility", symptom="Two neighbouring texts in a row know of each other; the loss is a little too good."
)
def near_segments_equal(segment_ids: Tensor) -> Tensor:
    """Numbers that differ by 1 are taken for equal."""
    distance = (segment_ids[:, :, None] - segment_ids[:, None, :]).abs()
    return (distance <= 1)[:, None]


@mutant("packed-visibility", symptom="Right in batches of one; in larger ones texts are cut where another row's are.")
def segments_of_the_first_row(segment_ids: Tensor) -> Tensor:
    """Keys are compared by the numbers of the first row of the batch."""
    return (segment_ids[:, :, None] == segment_ids[:1, None, :])[:, None]


@mutant(
    "packed-visibility", symptom="BERT's objective on a model that only looks back: a worse loss.", difficulty="easy"
)
def causal_within_the_segment(segment_ids: Tensor) -> Tensor:
    """The future is hidden as well, which nobody asked for."""
    same = segment_ids[:, :, None] == segment_ids[:, None, :]
    return same.tril()[:, None]


@mutant(
    "packed-visibility",
    symptom="An error unless batch = heads; then no error, and heads read under the rules of examples.",
    source="ml-explore/mlx-lm#1903",
    difficulty="hard",
)
def heads_taken_for_examples(segment_ids: Tensor) -> Tensor:
    """The axis of heads is missing."""
    return segment_ids[:, :, None] == segment_ids[:, None, :]


@mutant(
    "packed-visibility", symptom="`~rule` is nonsense, and a product with it moves no score to −∞.", difficulty="easy"
)
def ones_for_the_same_segment(segment_ids: Tensor) -> Tensor:
    """The rule holds ones and zeros, which are no booleans."""
    return (segment_ids[:, :, None] == segment_ids[:, None, :])[:, None].float()


@mutant(
    "packed-visibility",
    symptom="Loss as without packing, until a text is longer than its neighbour.",
    difficulty="hard",
)
def neighbours_always_visible(segment_ids: Tensor) -> Tensor:
    """A position sees the one before it in any case, even across a boundary."""
    position = torch.arange(segment_ids.shape[-1])
    before = position[:, None] == position[None, :] + 1
    return ((segment_ids[:, :, None] == segment_ids[:, None, :]) | before)[:, None]
