"""Padding: rows of different lengths to a rectangle, and which of its places are real tokens."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Int, Shaped
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from minitransformer.batches.examples import Batch, Columns, Ragged, columns, stack
from minitransformer.errors import InputError
from minitransformer.objectives.masked_lm import IGNORED

LONGEST_IMAGINABLE = 10**20
"""A tokenizer of transformers that knows no limit names one above this."""


def pad(
    rows: Sequence[Shaped[Tensor, "_ ..."]], padding: int, length: int | None = None, side: str = "right"
) -> Shaped[Tensor, "B L ..."]:
    """Fill rows up to the longest one, or to `length`, at their ends, or at their beginnings with `side="left"`.

    Raises: InputError if there is no row, or one is longer than `length`.

    >>> pad([torch.tensor([5]), torch.tensor([6, 7])], padding=0).tolist()
    [[5, 0], [6, 7]]
    """
    if not rows:
        raise InputError("there is no row to pad; a batch needs at least one example")
    longest = max(len(row) for row in rows)
    if length is not None and longest > length:
        raise InputError(f"a row of {longest} tokens doesn't fit length={length}; truncate it or allow more")
    padded = pad_sequence(list(rows), batch_first=True, padding_value=padding, padding_side=side)
    if length is None or longest == length:
        return padded
    filling = padded.new_full((len(rows), length - longest, *padded.shape[2:]), padding)
    return torch.cat([filling, padded] if side == "left" else [padded, filling], dim=1)


def mark_tokens(rows: Sequence[Tensor], length: int, side: str = "right") -> Int[Tensor, "B L"]:
    """Give the `attention_mask` of padded rows: 1 on tokens, 0 on padding.

    >>> mark_tokens([torch.tensor([5]), torch.tensor([6, 7])], length=3).tolist()
    [[1, 0, 0], [1, 1, 0]]
    """
    lengths = torch.tensor([[len(row)] for row in rows])
    position = torch.arange(length)
    return ((position < lengths) if side == "right" else (position >= length - lengths)).long()


class PaddingCollator:
    """Examples to a batch: rows padded to the longest or to `length`, single numbers stacked.

    `input_ids` get the padding token, `labels` of tokens −100, anything else 0; `attention_mask` is 1 on real tokens.

    >>> from minitransformer.tokenizer import Tokenizer
    >>> collate = PaddingCollator(Tokenizer.from_vocabulary(["land", "sea", "sky"]))
    >>> batch = collate([{"input_ids": torch.tensor([5])}, {"input_ids": torch.tensor([6, 7])}])
    >>> batch["input_ids"].tolist(), batch["attention_mask"].tolist()
    ([[5, 0], [6, 7]], [[1, 0], [1, 1]])
    """

    def __init__(self, tokenizer: Any, length: int | None = None) -> None:
        self.padding = {"input_ids": tokenizer.pad_token_id, "labels": IGNORED}
        self.length = length

    def __call__(self, examples: Sequence[Any]) -> Batch:
        """Make a batch of the examples' fields."""
        if isinstance(examples, Ragged):
            return self.pad_at_once(examples)
        fields = columns(examples)
        batch = {
            name: pad(column, self.padding.get(name, 0), self.length) if column[0].dim() == 1 else stack(name, column)
            for name, column in fields.items()
        }
        if "attention_mask" not in batch:
            batch["attention_mask"] = mark_tokens(fields["input_ids"], batch["input_ids"].shape[1])
        return batch

    def pad_at_once(self, examples: Ragged) -> Batch:
        """Make a batch of examples that were read together: each number goes to its row and column."""
        lengths = examples.lengths[:, None]
        longest = int(lengths.max())
        if self.length is not None and longest > self.length:
            raise InputError(f"a row of {longest} tokens doesn't fit length={self.length}; truncate it or allow more")
        is_token = torch.arange(self.length or longest) < lengths
        batch = dict(examples.flat)
        for name in filter(examples.has_rows, batch):
            padded = batch[name].new_full(is_token.shape, self.padding.get(name, 0))
            batch[name] = padded.masked_scatter_(is_token, batch[name])
        return {**batch, "attention_mask": is_token.long()}


def default_data_collator(examples: Sequence[Any], return_tensors: str = "pt") -> Batch:
    """Stack examples that are of one length already; what is a text or None is left out.

    The name and the rules are those of `transformers`: `label` and `label_ids` become `labels`.

    Raises: InputError if the examples have other fields than the first, or differ in length.

    >>> default_data_collator([{"input_ids": [5, 6], "label": 0}, {"input_ids": [7, 8], "label": 1}])
    {'input_ids': tensor([[5, 6],
            [7, 8]]), 'labels': tensor([0, 1])}
    """
    require_pytorch(return_tensors)
    numbers = [
        {name: value for name, value in example.items() if value is not None and not isinstance(value, str)}
        if isinstance(example, Mapping)
        else example
        for example in examples
    ]
    return {name: stack(name, column) for name, column in columns(numbers).items()}


@dataclass
class DataCollatorWithPadding:
    """Examples to a batch: what runs along the tokens is padded, all else stacked.

    The name and the settings are those of `transformers`. `padding`: True pads to the longest example, "max_length" to
    `max_length`, False not at all; `pad_to_multiple_of` rounds the length up. It takes any tokenizer that has a
    `pad_token_id`, ours and theirs, or a method `pad`.

    Raises: InputError if a setting is none of these; when called, if the examples don't fit together.

    >>> from minitransformer.tokenizer import Tokenizer
    >>> collate = DataCollatorWithPadding(Tokenizer.from_vocabulary(["land", "sea", "sky"]), pad_to_multiple_of=4)
    >>> collate([{"input_ids": [2, 6, 7, 3], "label": 1}, {"input_ids": [2, 3], "label": 0}])["attention_mask"].tolist()
    [[1, 1, 1, 1], [1, 1, 0, 0]]
    """

    tokenizer: Any
    padding: bool | str = True
    max_length: int | None = None
    pad_to_multiple_of: int | None = None
    return_tensors: str = "pt"

    def __post_init__(self) -> None:
        require_padding(self.tokenizer, self.padding, self.max_length, self.pad_to_multiple_of)
        require_pytorch(self.return_tensors)

    def __call__(self, examples: Sequence[Any]) -> Batch:
        """Make a batch of the examples' fields."""
        return pad_columns(self.tokenizer, columns(examples), self.padding, self.max_length, self.pad_to_multiple_of)


def require_pytorch(return_tensors: str) -> None:
    """Check that tensors of PyTorch are asked for.

    Raises: InputError if others are.
    """
    if return_tensors != "pt":
        raise InputError(f'return_tensors={return_tensors!r} must be "pt"; the models here read tensors of PyTorch')


def require_padding(
    tokenizer: Any, padding: bool | str, max_length: int | None, pad_to_multiple_of: int | None
) -> None:
    """Check a tokenizer, and the settings of a padding.

    Raises: InputError if one of them cannot be.
    """
    if not hasattr(tokenizer, "pad_token_id") and not hasattr(tokenizer, "pad"):
        raise InputError(
            f"tokenizer is of the type {type(tokenizer).__name__}; give one with pad_token_id, or with a method pad"
        )
    if padding not in (True, False, "longest", "max_length", "do_not_pad"):
        raise InputError(f'padding={padding!r} must be True ("longest"), "max_length", or False ("do_not_pad")')
    for name, value in (("max_length", max_length), ("pad_to_multiple_of", pad_to_multiple_of)):
        if value is not None and value < 1:
            raise InputError(f"{name}={value} must be at least 1, or None")


def pad_columns(
    tokenizer: Any, fields: Columns, padding: bool | str, max_length: int | None, pad_to_multiple_of: int | None
) -> Batch:
    """Make a batch of columns as a tokenizer pads: what runs along the tokens is padded, all else stacked.

    Raises: InputError if the examples don't fit together, or the tokenizer has no padding token and needs one.
    """
    if not hasattr(tokenizer, "pad_token_id"):
        rows = [dict(zip(fields, values, strict=True)) for values in zip(*fields.values(), strict=True)]
        options = {"padding": padding, "max_length": max_length, "pad_to_multiple_of": pad_to_multiple_of}
        return dict(tokenizer.pad(rows, **options, return_tensors="pt"))
    require_input_ids(fields)
    side = getattr(tokenizer, "padding_side", "right")
    fillings = fillings_of(tokenizer)
    require_along_tokens(fields, [name for name in fields if name in fillings])
    length = padded_length(tokenizer, fields["input_ids"], padding, max_length, pad_to_multiple_of)
    batch = {
        name: pad(column, fillings[name], length, side) if name in fillings else stack(name, column)
        for name, column in fields.items()
    }
    if "attention_mask" not in batch:
        batch["attention_mask"] = mark_tokens(fields["input_ids"], length, side)
    return batch


def require_input_ids(fields: Columns) -> None:
    """Check that examples have tokens.

    Raises: InputError if they haven't.
    """
    if "input_ids" not in fields:
        raise InputError(f"example 0 has no field 'input_ids', only {list(fields)}; turn its text into ids first")
    for number, ids in enumerate(fields["input_ids"]):
        if ids.dim() != 1:
            raise InputError(
                f"field 'input_ids' of example {number} has the shape {tuple(ids.shape)}; give one row of ids"
            )


def fillings_of(tokenizer: Any) -> dict[str, int]:
    """Say what fills up each of the fields that run along the tokens; only padding that is never needed has no id."""
    return {
        "input_ids": 0 if tokenizer.pad_token_id is None else tokenizer.pad_token_id,
        "attention_mask": 0,
        "token_type_ids": getattr(tokenizer, "pad_token_type_id", 0),
        "special_tokens_mask": 1,
        "offset_mapping": 0,
    }


def require_along_tokens(fields: Columns, names: Sequence[str]) -> None:
    """Check that fields have as many values as there are tokens, in each example.

    Raises: InputError naming the first one that hasn't.
    """
    for name in names:
        for number, (value, ids) in enumerate(zip(fields[name], fields["input_ids"], strict=True)):
            if not value.dim() or len(value) != len(ids):
                raise InputError(
                    f"field {name!r} of example {number} has {len(value) if value.dim() else 'a single'} value(s), and "
                    f"there are {len(ids)} tokens; give one for each token, or leave the field out"
                )


def padded_length(
    tokenizer: Any,
    rows: Sequence[Tensor],
    padding: bool | str,
    max_length: int | None,
    pad_to_multiple_of: int | None,
) -> int:
    """Give the length that rows are padded to.

    Raises: InputError if they don't fit it, or must be padded, and can't be.
    """
    lengths = [len(row) for row in rows]
    length = longest = max(lengths)
    if padding == "max_length":
        length = max_length or int(getattr(tokenizer, "model_max_length", LONGEST_IMAGINABLE))
        if length >= LONGEST_IMAGINABLE:
            raise InputError(
                'padding="max_length" needs max_length; the tokenizer names none. Give max_length=128, say'
            )
    if padding not in (False, "do_not_pad"):
        length = round_up(length, pad_to_multiple_of)
    if longest > length:
        raise InputError(
            f"field 'input_ids' of example {lengths.index(longest)} has {longest} tokens, more than "
            f"max_length={length}; truncate when you tokenise (truncation=True), or allow more"
        )
    short = next((number for number, n_tokens in enumerate(lengths) if n_tokens < length), None)
    if short is not None and padding in (False, "do_not_pad"):
        raise InputError(
            f"field 'input_ids' of example {short} has {lengths[short]} tokens, and another example {length}, but "
            f"padding={padding!r}; pass padding=True"
        )
    if short is not None and tokenizer.pad_token_id is None:
        raise InputError(
            f"field 'input_ids' of example {short} has {lengths[short]} tokens, and {length} are needed, but the "
            "tokenizer has no padding token; set one, as in tokenizer.pad_token = tokenizer.eos_token"
        )
    return length


def round_up(length: int, multiple: int | None) -> int:
    """Give the least multiple that is no less than a length; without `multiple` the length itself.

    >>> round_up(13, 8), round_up(16, 8), round_up(13, None)
    (16, 16, 13)
    """
    return length if multiple is None else -(-length // multiple) * multiple
