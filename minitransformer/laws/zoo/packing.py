"""Mutants of packing: of rows without their padding, of rows again, and of attention that keeps rows apart."""

# ruff: noqa: ARG001 - an argument that is never used is a classic mistake

import math
from typing import Any

import torch
from torch import Tensor

from minitransformer.laws.zoo.mutant import mutant

Packed = tuple[Tensor, Tensor, Tensor]


def tokens_and_positions(x: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor]:
    """What is right in most mutants: the tokens row after row, and the position of each in its row."""
    return x[attention_mask != 0], (attention_mask != 0).nonzero()[:, 1]


def starts(attention_mask: Tensor) -> Tensor:
    """What is right in most mutants: a row begins after the tokens of all rows before it."""
    lengths = (attention_mask != 0).sum(1)
    return lengths.cumsum(0) - lengths


# Out of the rows


@mutant("packing", symptom="The loss falls as with a bag of words: each row is a mixture of all texts.")
def tokens_column_by_column(x: Tensor, attention_mask: Tensor) -> Packed:
    """The axes of batch and length are exchanged before padding is left out, so that all first tokens come first."""
    by_column = (attention_mask != 0).T
    return x.transpose(0, 1)[by_column], by_column.nonzero()[:, 0], starts(attention_mask)


@mutant("packing", symptom="Right where padding stands on the right; on the left [PAD] is read, and words are lost.")
def left_padding_taken_for_right(x: Tensor, attention_mask: Tensor) -> Packed:
    """Of each row as many vectors are taken from its beginning as it has tokens, wherever these stand."""
    lengths = (attention_mask != 0).sum(1)
    is_taken = torch.arange(x.shape[1]) < lengths[:, None]
    return x[is_taken], is_taken.nonzero()[:, 1], starts(attention_mask)


@mutant(
    "packing",
    symptom="Far worse than with padding, or an index out of range: a batch is longer than the table of positions.",
    difficulty="easy",
)
def positions_run_on_across_rows(x: Tensor, attention_mask: Tensor) -> Packed:
    """Positions are counted over all tokens, as if the packed rows were one text."""
    token, position = tokens_and_positions(x, attention_mask)
    return token, torch.arange(len(position)), starts(attention_mask)


@mutant("packing", symptom="Nothing, until padding stands on the left: then packing changes what is said.")
def positions_from_the_first_token(x: Tensor, attention_mask: Tensor) -> Packed:
    """Positions are counted from the first token of a row, though beside padding they are counted from its start."""
    is_token = attention_mask != 0
    return x[is_token], (is_token.cumsum(1) - 1)[is_token], starts(attention_mask)


@mutant(
    "packing",
    symptom="The first example is classified well, all others by a word from somewhere in the batch.",
    difficulty="hard",
)
def first_tokens_at_batch_stride(x: Tensor, attention_mask: Tensor) -> Packed:
    """Row b is said to begin at b times the padded length, where it began before padding was left out."""
    token, position = tokens_and_positions(x, attention_mask)
    stride = torch.arange(len(x)) * x.shape[1]
    return token, position, stride.clamp(max=len(token) - 1)


@mutant("packing", symptom="Each example is classified by [CLS] of the one after it.", difficulty="medium")
def ends_taken_for_starts(x: Tensor, attention_mask: Tensor) -> Packed:
    """The lengths are summed up, and the row's own length is not taken off again."""
    token, position = tokens_and_positions(x, attention_mask)
    return token, position, (attention_mask != 0).sum(1).cumsum(0)


@mutant("packing", symptom="Nothing, until a row is empty: from there on each row begins one token late.")
def an_empty_row_counts_for_one(x: Tensor, attention_mask: Tensor) -> Packed:
    """Lengths are at least 1, so that nothing is divided by 0; a row without tokens moves all that follow."""
    token, position = tokens_and_positions(x, attention_mask)
    lengths = (attention_mask != 0).sum(1).clamp(min=1)
    return token, position, lengths.cumsum(0) - lengths


@mutant(
    "packing",
    symptom="Nothing, until a row is empty: it answers with the next one's token, and so do all after it.",
    difficulty="hard",
)
def starts_of_rows_with_tokens_alone(x: Tensor, attention_mask: Tensor) -> Packed:
    """A row begins where the number of the row changes, and a row without tokens is not among these numbers."""
    token, position = tokens_and_positions(x, attention_mask)
    row = (attention_mask != 0).nonzero()[:, 0]
    changes = (row.diff(prepend=row[:1] - 1) != 0).nonzero()[:, 0]
    return token, position, torch.cat([changes, changes.new_zeros(len(x) - len(changes))])


@mutant(
    "packing",
    symptom="[PAD] is learned, though nothing reads it: its vector grows until weight decay stops it.",
    difficulty="hard",
)
def padding_learns_from_its_neighbour(x: Tensor, attention_mask: Tensor) -> Packed:
    """On the way back rows are put together by repeating tokens, and their gradients are not taken off the padding."""

    class Pack(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor, is_token: Tensor) -> Tensor:
            ctx.token = (is_token.flatten().cumsum(0) - 1).clamp(min=0)
            ctx.shape = x.shape
            return x[is_token]

        @staticmethod
        def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
            return gradient[ctx.token].view(ctx.shape), None

    _, position = tokens_and_positions(x, attention_mask)
    return Pack.apply(x, attention_mask != 0), position, starts(attention_mask)  # type: ignore[no-untyped-call]


# Into rows again


@mutant(
    "unpacking",
    symptom="NaN in one example is NaN in two; where padding is not hidden, an example reads the next one.",
    difficulty="hard",
)
def rows_cut_at_a_fixed_length(packed: Tensor, attention_mask: Tensor) -> Tensor:
    """From the place where a row begins as many tokens are taken as the longest has, those of the next row too."""
    length = attention_mask.shape[1]
    going_on = torch.cat([packed, packed.new_zeros(length, packed.shape[1])])
    return torch.stack([going_on[start : start + length] for start in starts(attention_mask).tolist()])


@mutant("unpacking", symptom="Right where padding stands on the right; on the left the words move to other places.")
def moved_to_the_left(packed: Tensor, attention_mask: Tensor) -> Tensor:
    """Each row is filled from its beginning, though its padding may stand there."""
    lengths = (attention_mask != 0).sum(1)
    padded = packed.new_zeros(*attention_mask.shape, packed.shape[1])
    for row, tokens in enumerate(torch.split(packed, lengths.tolist())):
        padded[row, : len(tokens)] = tokens
    return padded


@mutant("unpacking", symptom="Nothing, until a row is empty: from there on every example answers for another one.")
def an_empty_row_takes_the_next(packed: Tensor, attention_mask: Tensor) -> Tensor:
    """Rows are filled in the order of those that have tokens, and one without is not left out in the result."""
    is_token = attention_mask != 0
    full, padded = is_token.any(1), packed.new_zeros(*is_token.shape, packed.shape[1])
    padded[: int(full.sum())][is_token[full]] = packed
    return padded


@mutant("unpacking", symptom="Every row is a mixture of all texts, as soon as there are two.", difficulty="easy")
def filled_column_by_column(packed: Tensor, attention_mask: Tensor) -> Tensor:
    """The first tokens of all rows are filled in before the second ones, as if they had been packed so."""
    by_column = (attention_mask != 0).T
    padded = packed.new_zeros(*by_column.shape, packed.shape[1])
    padded[by_column] = packed
    return padded.transpose(0, 1)


@mutant(
    "unpacking",
    symptom="The last word of each short text learns far too much, once for each place of padding.",
    difficulty="hard",
)
def padding_teaches_the_token_repeated_there(packed: Tensor, attention_mask: Tensor) -> Tensor:
    """Padding repeats a token of its row, and autograd gives that token the gradients of all its copies."""
    is_token = attention_mask != 0
    token = starts(attention_mask)[:, None] + (is_token.cumsum(1) - 1).clamp(min=0)
    return packed[token.clamp(max=len(packed) - 1)]


@mutant("unpacking", symptom="All layers before it stay as they were drawn.", difficulty="easy")
def filled_in_outside_of_autograd(packed: Tensor, attention_mask: Tensor) -> Tensor:
    """The rows are a buffer of zeros into which bare numbers are written."""
    padded = torch.zeros(*attention_mask.shape, packed.shape[1], dtype=packed.dtype)
    padded[attention_mask != 0] = packed.detach()
    return padded


# Attention that keeps rows apart


def read_within(query: Tensor, key: Tensor, value: Tensor, row: Tensor) -> Tensor:
    """What is right in most mutants: tokens read those whose row has the same number, and no other."""
    score = query @ key.T / math.sqrt(query.shape[-1])
    return score.masked_fill(row[:, None] != row, -math.inf).softmax(-1) @ value


@mutant("packed-attention", symptom="Learns far worse than with padding: each text reads all texts of the batch.")
def rows_not_told_apart(query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor) -> Tensor:
    """The packed tokens are one text for attention, with no rule that keeps rows apart."""
    return read_within(query, key, value, torch.zeros(len(query)))


@mutant("packed-attention", symptom="A batch without padding is right; with padding, texts read the end of others.")
def rows_at_batch_stride(query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor) -> Tensor:
    """The packed tokens are cut into pieces of the padded length, as if padding still stood among them."""
    return read_within(query, key, value, torch.arange(len(query)) // attention_mask.shape[1])


@mutant("packed-attention", symptom="Short texts among long ones read too little: zeros of padding get their share.")
def padding_read_as_zeros(query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor) -> Tensor:
    """Rows are filled up with zeros, and nothing hides these: a key of zeros has a score of 0, not of −∞."""
    is_token = attention_mask != 0
    in_rows = [packed.new_zeros(*is_token.shape, packed.shape[1]) for packed in (query, key, value)]
    for padded, packed in zip(in_rows, (query, key, value), strict=True):
        padded[is_token] = packed
    asks, offers, values = in_rows
    return ((asks @ offers.mT / math.sqrt(query.shape[-1])).softmax(-1) @ values)[is_token]


@mutant(
    "packed-attention",
    symptom="Right as long as no two texts have one length; sorted by length, learning is far worse.",
    difficulty="hard",
)
def rows_of_one_length_see_each_other(query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor) -> Tensor:
    """A row is known by its length, which is repeated for each of its tokens, and not by its number."""
    lengths = (attention_mask != 0).sum(1)
    return read_within(query, key, value, lengths.repeat_interleave(lengths))


@mutant(
    "packed-attention",
    symptom="[CLS] of each text but the first is that of the text before it.",
    difficulty="hard",
)
def first_token_counted_to_the_row_before(query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor) -> Tensor:
    """The row of a token is looked up among the ends of rows, and a token at an end is counted to the row before."""
    ends = (attention_mask != 0).sum(1).cumsum(0)
    return read_within(query, key, value, torch.searchsorted(ends, torch.arange(len(query))))


@mutant(
    "packed-attention",
    symptom="Right where padding stands on the right; on the left all texts of a batch read each other.",
    difficulty="medium",
)
def a_row_begins_at_position_zero(query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor) -> Tensor:
    """A new row is seen by a token at position 0, which padding on the left leaves no row."""
    position = (attention_mask != 0).nonzero()[:, 1]
    return read_within(query, key, value, (position == 0).cumsum(0))


@mutant(
    "packed-attention",
    symptom="Right where all texts are equally long; else tokens get what tokens of another text have read.",
    difficulty="medium",
)
def rows_left_in_the_order_of_their_lengths(
    query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor
) -> Tensor:
    """Rows are sorted so that those of similar length are read together, and never put back into their order."""
    is_token = attention_mask != 0
    row = is_token.nonzero()[:, 0]
    by_length = is_token.sum(1)[row].argsort(descending=True, stable=True)
    return read_within(query, key, value, row)[by_length]
