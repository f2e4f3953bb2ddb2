"""Encoded texts: ids and masks by name, of one text or of many, as lists or tensors, padded or not."""

from collections import UserDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tokenizers
import torch
from torch import Tensor

from minitransformer.errors import InputError

PADDINGS: dict[bool | str, str] = {
    False: "do_not_pad",
    True: "longest",
    "do_not_pad": "do_not_pad",
    "longest": "longest",
    "max_length": "max_length",
}
TRUNCATIONS: dict[bool | str | None, str | None] = {
    None: None,
    False: None,
    "do_not_truncate": None,
    True: "longest_first",
    "longest_first": "longest_first",
    "only_first": "only_first",
    "only_second": "only_second",
}
LONGEST_IMAGINABLE = 10**20
"""A tokenizer that knows no limit has one above this."""


class BatchEncoding(UserDict[str, Any]):
    """The columns of encoded texts under Hugging Face's names, also as attributes; and where each token came from.

    >>> batch = BatchEncoding({"input_ids": [[2, 3]]})
    >>> batch["input_ids"] == batch.input_ids
    True
    """

    def __init__(self, columns: Mapping[str, Any], encodings: Sequence[tokenizers.Encoding] = ()) -> None:
        super().__init__(columns)
        self.encodings = list(encodings)

    def __getattr__(self, name: str) -> Any:
        if name != "data" and name in self.data:
            return self.data[name]
        raise AttributeError(f"{type(self).__name__} has no column {name!r}")

    def to(self, device: str | int | torch.device, non_blocking: bool = False) -> "BatchEncoding":
        """Bring the tensors to a device."""
        for name, column in self.data.items():
            if isinstance(column, Tensor):
                self.data[name] = column.to(device, non_blocking=non_blocking)
        return self

    def tokens(self, row: int = 0) -> list[str]:
        """The tokens of a row."""
        return list(self.encodings[row].tokens)

    def word_ids(self, row: int = 0) -> list[int | None]:
        """For each token of a row the number of the word that it is a piece of; special tokens are of none."""
        return list(self.encodings[row].word_ids)

    def sequence_ids(self, row: int = 0) -> list[int | None]:
        """For each token of a row whether it is of the first text, 0, or of the second, 1, or of none."""
        return list(self.encodings[row].sequence_ids)


def choose(name: str, value: Any, choices: Mapping[Any, Any]) -> Any:
    """What a setting stands for.

    >>> choose("padding", "most", PADDINGS)
    Traceback (most recent call last):
        ...
    minitransformer.errors.InputError: padding='most' is not one of [False, True, 'do_not_pad', 'longest', 'max_length']
    """
    if value not in choices:
        raise InputError(f"{name}={value!r} is not one of {list(choices)}")
    return choices[value]


def length_to_fill(
    lengths: Sequence[int], padding: bool | str, max_length: int | None, pad_to_multiple_of: int | None
) -> int | None:
    """How long padded rows become; None where nothing is to be filled.

    >>> length_to_fill([3, 5], padding=True, max_length=None, pad_to_multiple_of=4)
    8
    """
    kind = choose("padding", padding, PADDINGS)
    if kind == "do_not_pad" or (kind == "max_length" and (max_length is None or max_length > LONGEST_IMAGINABLE)):
        return None
    length = max(lengths) if kind == "longest" else int(max_length or 0)
    return length if pad_to_multiple_of is None else -(-length // pad_to_multiple_of) * pad_to_multiple_of


def in_rows(
    text: str | Sequence[Any], text_pair: str | Sequence[Any] | None, is_alone: bool
) -> tuple[list[Any], list[Any] | None]:
    """One text as a batch of one, many as they are; and so their partners.

    >>> in_rows("land", "sea", is_alone=True)
    (['land'], ['sea'])
    """
    if text_pair is None:
        return [text] if is_alone else list(text), None
    if is_alone or isinstance(text_pair, str):
        return [text] if is_alone else list(text), [text_pair]
    return list(text), list(text_pair)


def require_texts(texts: Sequence[Any], is_split_into_words: bool) -> None:
    """Refuse what is no text, such as the gap that an empty cell of a table leaves.

    >>> require_texts(["sea", None], is_split_into_words=False)
    Traceback (most recent call last):
        ...
    minitransformer.errors.InputError: text 1 is None, but each must be a text (str); fill gaps with ""
    """
    for number, text in enumerate(texts):
        if not is_split_into_words and not isinstance(text, str):
            raise InputError(f'text {number} is {text!r}, but each must be a text (str); fill gaps with ""')
        if is_split_into_words and (isinstance(text, str) or not all(isinstance(word, str) for word in text)):
            raise InputError(f"text {number} is {text!r}, but is_split_into_words=True needs lists of words (str)")


def columns_of(encodings: Sequence[tokenizers.Encoding], names: Sequence[str]) -> dict[str, Any]:
    """What the library says of each row, under Hugging Face's names."""
    theirs = {"input_ids": "ids", "token_type_ids": "type_ids", "offset_mapping": "offsets"}
    return {name: [getattr(row, theirs.get(name, name)) for row in encodings] for name in names}


def first_of_each(columns: Mapping[str, Any]) -> dict[str, Any]:
    """The columns of a single text, which needs no batch.

    >>> first_of_each({"input_ids": [[2, 3]]})
    {'input_ids': [2, 3]}
    """
    return {name: column[0] for name, column in columns.items()}


def in_columns(rows: Any) -> dict[str, Any]:
    """Examples, each with its fields, as one list for each field; what is in columns already stays.

    Raises: InputError for examples without `input_ids`.

    >>> in_columns([{"input_ids": [2, 3]}, {"input_ids": [2, 5, 3]}])
    {'input_ids': [[2, 3], [2, 5, 3]]}
    """
    found = dict(rows) if isinstance(rows, Mapping) else {name: [row[name] for row in rows] for name in rows[0]}
    if "input_ids" not in found:
        raise InputError(f"there are no input_ids to pad among {list(found)}; give what the tokenizer returned")
    return {name: column.tolist() if hasattr(column, "tolist") else column for name, column in found.items()}


def filled(row: Any, length: int | None, filling: int, side: str) -> list[int]:
    """A row filled up to a length; a longer one stays as it is.

    >>> filled([2, 3], 4, filling=0, side="right")
    [2, 3, 0, 0]
    """
    numbers = row.tolist() if hasattr(row, "tolist") else list(row)
    missing = [filling] * ((length or 0) - len(numbers))
    return missing + numbers if side == "left" else numbers + missing


def in_tensors(columns: Mapping[str, Any], kind: str | None) -> dict[str, Any]:
    """Columns as tensors of PyTorch, "pt", as arrays of NumPy, "np", or as they are, None.

    Raises: InputError for another kind, and for rows of different lengths.
    """
    if kind is None:
        return dict(columns)
    makers: dict[str, Callable[[Any], Any]] = {"pt": torch.tensor, "np": np.array}
    if kind not in makers:
        raise InputError(f"return_tensors={kind!r} is not one of {list(makers)}, and None for lists")
    lengths = sorted({len(row) for row in columns["input_ids"]})
    if len(lengths) > 1:
        raise InputError(
            f"rows of {lengths[0]} to {lengths[-1]} tokens make no tensor; pass padding=True, "
            "and truncation=True where texts can be too long"
        )
    return {name: makers[kind](column) for name, column in columns.items()}
