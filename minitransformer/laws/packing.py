"""Laws of packing: tokens of all rows one after the other, rows again, and attention that keeps rows apart."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor

from minitransformer import reference
from minitransformer.laws.cases import Draw, coins, distinct_sizes, dtypes, numbers, seeds, shuffled, whole_numbers
from minitransformer.laws.gradients import gradients_through
from minitransformer.laws.law import law
from minitransformer.laws.tolerances import SUM, as_array, assert_close, assert_same

Function = Callable[..., Any]

PADDINGS = ("none", "right", "left", "anywhere", "empty row")


@dataclass(frozen=True)
class PackingCase:
    """Rows of vectors, some of which are padding, on one side or anywhere."""

    batch: int
    length: int
    width: int
    padding: str
    dtype: torch.dtype
    seed: int

    @cached_property
    def is_token(self) -> Tensor:
        """Where tokens stand: in each row, but for one that may be empty."""
        place = torch.arange(self.length)
        if self.padding == "anywhere":
            chosen = whole_numbers(self.seed, "chosen", 0, self.length, self.batch, 1)
            return coins(self.seed, "token", self.batch, self.length) | (place == chosen)
        lengths = whole_numbers(self.seed, "lengths", 1, self.length + 1, self.batch, 1)
        if self.padding == "empty row":
            lengths[self.seed % self.batch] = 0
            lengths[(self.seed + 1) % self.batch] = self.length
        if self.padding == "left":
            return place >= self.length - lengths
        return (place < lengths) | (self.padding == "none")

    @cached_property
    def attention_mask(self) -> Tensor:
        """1 for a token, 0 for padding."""
        return self.is_token.long()

    @cached_property
    def row(self) -> Tensor:
        """The row of each token."""
        return self.is_token.nonzero()[:, 0]

    @cached_property
    def column(self) -> Tensor:
        """The position of each token in its row."""
        return self.is_token.nonzero()[:, 1]

    @property
    def chosen(self) -> Tensor:
        """Which tokens stand in the row that is looked at while all others change."""
        return self.row == self.row[self.seed % len(self.row)]

    @cached_property
    def x(self) -> Tensor:
        """One vector for each position, at padding too."""
        return numbers(self.seed, "x", self.batch, self.length, self.width, dtype=self.dtype)

    def packed(self, name: str) -> Tensor:
        """One vector for each token."""
        return numbers(self.seed, name, len(self.row), self.width, dtype=self.dtype)

    @cached_property
    def questions(self) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values."""
        return self.packed("query"), self.packed("key"), self.packed("value")

    @cached_property
    def scale(self) -> float:
        """The size of a score, whose rounding the softmax passes on, times that of a value."""
        query, key, value = (float(vectors.abs().max()) for vectors in self.questions)
        return (1 + query * key * math.sqrt(self.width)) * (1 + value)


@st.composite
def packing_cases(draw: Draw, paddings: tuple[str, ...] = PADDINGS) -> PackingCase:
    """Rows down to a single one, a single position and a width of 1."""
    batch, length, width = draw(distinct_sizes(3, may_be_one=(0, 1, 2)))
    padding = draw(st.sampled_from(paddings))
    return PackingCase(batch, length, width, padding, dtype=draw(dtypes), seed=draw(seeds))


def with_an_empty_row(case: PackingCase) -> tuple[int, Tensor]:
    """A row that is empty, somewhere, and the mask with it."""
    place = case.seed % (case.batch + 1)
    empty = torch.zeros(1, case.length, dtype=torch.long)
    return place, torch.cat([case.attention_mask[:place], empty, case.attention_mask[place:]])


def without_row(x: Tensor, place: int) -> Tensor:
    """All rows but one."""
    return torch.cat([x[:place], x[place + 1 :]])


# Out of the rows


@law("packing", given=packing_cases(), equations=())
def tokens_stand_in_the_order_in_which_they_are_read(packing: Function, case: PackingCase) -> None:
    """All tokens of the first row stand before all of the second, in the order that they had, and no padding.

    Kills: tokens column by column; padding on the left taken for padding on the right.
    Hint: Pack two rows of which the first begins with padding. Which of the vectors in your result is no token?
    """
    token, _, _ = packing(case.x, case.attention_mask)
    wanted = [vectors[kept] for vectors, kept in zip(case.x, case.is_token, strict=True)]
    assert_same(token, torch.cat(wanted), what="what is packed")


@law("packing", given=packing_cases(), equations=())
def a_token_keeps_the_position_that_it_had(packing: Function, case: PackingCase) -> None:
    """The position of a token is the one that it has in its row, wherever the row begins.

    Kills: positions that run on from row to row; positions counted from the first token of a row.
    Hint: The second row begins with its own first word. Which position has it in your result, and which beside padding?
    """
    _, position, _ = packing(case.x, case.attention_mask)
    assert_same(position, case.column, what="the position of a token")


@law("packing", given=packing_cases(), equations=())
def a_row_begins_where_its_first_token_stands(packing: Function, case: PackingCase) -> None:
    """A row begins where the tokens of all rows before it end.

    Kills: beginnings as far apart as padded rows; where a row ends taken for where it begins; rows without tokens.
    Hint: [CLS] is the first token of each row. Where does that of the second row stand among all tokens?
    """
    _, _, start = packing(case.x, case.attention_mask)
    lengths = case.is_token.sum(1)
    has_tokens = lengths > 0
    before = torch.stack([lengths[:row].sum() for row in range(case.batch)])
    assert_same(start[has_tokens], before[has_tokens], what="where a row begins")


@law("packing", given=packing_cases(), equations=())
def a_row_without_tokens_moves_nothing(packing: Function, case: PackingCase) -> None:
    """A row of padding alone, wherever it stands, leaves all tokens, their positions and other beginnings as they are.

    Kills: a row without tokens that counts for one; beginnings of those rows alone that have tokens.
    Hint: Put a row of padding before all others. How many tokens stand before the row that was the first?
    """
    place, mask = with_an_empty_row(case)
    longer = torch.cat([case.x[:place], case.x[:1], case.x[place:]])
    before, after = packing(case.x, case.attention_mask), packing(longer, mask)
    has_tokens = case.is_token.any(1)
    assert_same(after[0], before[0], what="what is packed beside a row without tokens")
    assert_same(after[1], before[1], what="the position of a token beside a row without tokens")
    start = without_row(after[2], place)
    assert_same(start[has_tokens], before[2][has_tokens], what="where another row begins")


@law("packing", given=packing_cases(), equations=(), needs_gradient=True)
def padding_gets_no_gradient(packing: Function, case: PackingCase) -> None:
    """A token gets the gradient of its place, bit for bit, and padding none.

    Kills: a gradient for padding; tokens that are cut off from what they came from.
    Hint: Padding was left out. What does the loss gain if it changes, and what do you pass back to it?
    """
    upstream = case.packed("upstream")
    (found,) = gradients_through(lambda x: packing(x, case.attention_mask)[0], [case.x], upstream)
    wanted = torch.zeros_like(case.x)
    wanted[case.is_token] = upstream
    assert_same(found, wanted, what="the gradient of tokens and of padding")


# Into rows again


@law("unpacking", given=packing_cases(), equations=())
def a_token_comes_back_to_its_place(unpacking: Function, case: PackingCase) -> None:
    """Each token stands again where it stood, bit for bit, on whichever side the padding is.

    Kills: padding on the left taken for padding on the right; rows filled column by column.
    Hint: Unpack one token in a row of two, whose first place is padding. Where does it stand?
    """
    packed = case.packed("token")
    found = unpacking(packed, case.attention_mask)
    assert_same(found[case.is_token], packed, what="what stands where a token stood")


@law("unpacking", given=packing_cases(), equations=())
def the_padding_of_a_row_holds_nothing_of_another(unpacking: Function, case: PackingCase) -> None:
    """When the tokens of all other rows change, a row with tokens stays as it was, bit for bit, its padding too.

    Kills: rows cut out at a fixed length, so that a short one goes on with the next; rows of one length.
    Hint: Let one row be NaN. In which rows of your result does it turn up, and what becomes of 0 · NaN in attention?
    """
    packed = case.packed("token")
    changed = packed.where(case.chosen[:, None], 1 + packed.abs())
    before, after = (unpacking(vectors, case.attention_mask) for vectors in (packed, changed))
    row = int(case.row[case.chosen][0])
    assert_same(after[row], before[row], what="a row while others change")


@law("unpacking", given=packing_cases(), equations=())
def beside_a_row_without_tokens_every_row_keeps_its_own(unpacking: Function, case: PackingCase) -> None:
    """A row of padding alone, wherever it stands, leaves all tokens in their rows.

    Kills: a row without tokens that takes those of the next; rows counted only where there are tokens.
    Hint: Put a row of padding before all others. Which tokens does your first row hold?
    """
    packed = case.packed("token")
    place, mask = with_an_empty_row(case)
    found = without_row(unpacking(packed, mask), place)
    assert_same(found[case.is_token], packed, what="what stands where a token stood, beside a row without tokens")


@law("unpacking", given=packing_cases(), equations=(), needs_gradient=True)
def nothing_comes_back_from_padding(unpacking: Function, case: PackingCase) -> None:
    """A token gets the gradient of its own place, bit for bit, and nothing of what is passed back to padding.

    Kills: a gradient of padding that is added to the token repeated there; tokens that are cut off.
    Hint: Which of your tokens stands at padding, and how many gradients does it collect?
    """
    upstream = numbers(case.seed, "upstream", case.batch, case.length, case.width, dtype=case.dtype)
    (found,) = gradients_through(
        lambda packed: unpacking(packed, case.attention_mask), [case.packed("token")], upstream
    )
    assert_same(found, upstream[case.is_token], what="the gradient of a token")


# Attention that keeps rows apart


@law("packed-attention", given=packing_cases(), equations=())
def each_row_reads_as_it_would_alone(packed_attention: Function, case: PackingCase) -> None:
    """What the tokens of a row read agrees with the reference, asked for that row alone.

    Kills: no row told from another; padding that is read as zeros; rows cut at the length of padded ones.
    Hint: Pack a row of two tokens and one of three. How many keys has the first token, and how many should it have?
    """
    found = packed_attention(*case.questions, case.attention_mask)
    for row in sorted(set(case.row.tolist())):
        query, key, value = (as_array(vectors[case.row == row]) for vectors in case.questions)
        wanted = reference.attention.scaled_dot_product_attention(query, key, value)
        assert_close(found[case.row == row], wanted, SUM, case.scale, what=f"what row {row} reads")


@law("packed-attention", given=packing_cases(), equations=())
def what_stands_in_other_rows_changes_nothing(packed_attention: Function, case: PackingCase) -> None:
    """When keys and values of all other rows change, what a row reads stays as it was, bit for bit.

    Kills: attention across rows, all of them, neighbours, or rows of one length.
    Hint: Change one word of the second row. Which rows of your result may notice?
    """
    query, key, value = case.questions
    other = [vectors.where(case.chosen[:, None], 1 - vectors) for vectors in (key, value)]
    before = packed_attention(query, key, value, case.attention_mask)
    after = packed_attention(query, *other, case.attention_mask)
    assert_same(after[case.chosen], before[case.chosen], what="what a row reads while others change")


@law("packed-attention", given=packing_cases(), equations=(), needs_gradient=True)
def a_row_passes_nothing_back_to_others(packed_attention: Function, case: PackingCase) -> None:
    """What one row reads passes gradients back to its own keys and values, and zeros to all others.

    Kills: attention across rows; keys of one row counted to the row before.
    Hint: Let the loss be what the first row reads. Which values may get a gradient?
    """
    upstream = case.packed("upstream").where(case.chosen[:, None], 0.0)
    found = gradients_through(lambda *each: packed_attention(*each, case.attention_mask), case.questions, upstream)
    for name, gradient in zip(("queries", "keys", "values"), found, strict=True):
        assert not gradient[~case.chosen].any(), f"the {name} of other rows should get a gradient of zeros"
    assert found[2][case.chosen].any(), "the values of the row itself should get a gradient"


@law("packed-attention", given=packing_cases(), equations=())
def a_token_alone_in_its_row_reads_itself(packed_attention: Function, case: PackingCase) -> None:
    """Where each row has one token, each token reads its own value.

    Kills: padding that is read as zeros; no row told from another.
    Hint: Give each row a single word and much padding. Over how many keys do your weights spread?
    """
    mask = torch.zeros_like(case.attention_mask)
    mask[:, case.seed % case.length] = 1
    query, key, value = (
        numbers(case.seed, name, case.batch, case.width, dtype=case.dtype) for name in ("query", "key", "value")
    )
    scale = 1 + float(value.abs().max())
    assert_close(packed_attention(query, key, value, mask), value, SUM, scale, what="what a lonely token reads")


@law("packed-attention", given=packing_cases(), equations=())
def rows_in_another_order_read_the_same(packed_attention: Function, case: PackingCase) -> None:
    """When the rows change places, each token reads what it read before.

    Kills: rows cut at the length of padded ones; the first token of a row counted to the row before.
    Hint: Exchange two rows of different length. Does any token of your result notice?
    """
    order = shuffled(case.seed, "order", case.batch)
    moved = torch.cat([(case.row == row).nonzero()[:, 0] for row in order])
    before = packed_attention(*case.questions, case.attention_mask)
    after = packed_attention(*(vectors[moved] for vectors in case.questions), case.attention_mask[order])
    assert_close(after, before[moved], SUM, case.scale, what="what a token reads after rows changed places")
