"""Examples to columns: each field of each example as a tensor, whatever it came as."""

from collections.abc import Container, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from minitransformer.errors import InputError

Example = dict[str, Tensor]
Batch = dict[str, Tensor]
Columns = dict[str, list[Tensor]]
ALONG_TOKENS = ("input_ids", "token_type_ids")
"""The columns of examples read together that have a number for each token."""

NAMES_OF_LABELS = ("label", "label_ids", "labels")


class Ragged(Sequence[Example]):
    """Examples that were read together: the rows of each column one after another, and how long those of each are.

    They are a sequence of examples as any other; who knows them can pad all rows at once.

    >>> Ragged({"input_ids": torch.tensor([5, 6, 7]), "label": torch.tensor([0, 1])}, torch.tensor([1, 2]))[1]
    {'input_ids': tensor([6, 7]), 'label': tensor(1)}
    """

    def __init__(self, flat: Batch, lengths: Int[Tensor, " B"]) -> None:
        self.flat = flat
        self.lengths = lengths
        self.starts = lengths.cumsum(0) - lengths

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, number: int) -> Example:  # type: ignore[override]
        start, length = int(self.starts[number]), int(self.lengths[number])
        return {
            name: column[start : start + length] if self.has_rows(name) else column[number]
            for name, column in self.flat.items()
        }

    def has_rows(self, name: str) -> bool:
        """Whether a column has a row for each example, and not a single number."""
        return name in ALONG_TOKENS

    def only(self, names: Container[str]) -> "Ragged":
        """The same without the columns of other names."""
        return Ragged({name: column for name, column in self.flat.items() if name in names}, self.lengths)


def columns(examples: Sequence[Any]) -> Columns:
    """List each field over all examples, as tensors; `label` and `label_ids` become `labels`.

    Raises: InputError if there is no example, their fields differ, or a value is not made of numbers.

    >>> columns([{"input_ids": [5], "label": 0}, {"input_ids": [6, 7], "label": 1}])
    {'input_ids': [tensor([5]), tensor([6, 7])], 'labels': [tensor(0), tensor(1)]}
    """
    require_same_fields(examples)
    listed = {}
    for name in examples[0]:
        column = [as_tensor(example[name], name, number) for number, example in enumerate(examples)]
        if name in NAMES_OF_LABELS:
            listed["labels"] = [label.float() if label.is_floating_point() else label.long() for label in column]
        else:
            listed[name] = column
    return listed


def require_same_fields(examples: Sequence[Any]) -> None:
    """Check that there are examples, and that all have the fields of the first, with labels under one name."""
    if not len(examples):
        raise InputError("there is no example to collate; a batch needs at least one")
    for number, example in enumerate(examples):
        if not isinstance(example, Mapping):
            raise InputError(
                f"example {number} is of the type {type(example).__name__}; give a dict of fields, such as input_ids"
            )
        for name in (*examples[0], *example):
            if name not in example or name not in examples[0]:
                lacking, other = (number, 0) if name not in example else (0, number)
                raise InputError(
                    f"example {lacking} has no field {name!r}, but example {other} has; give all the same fields"
                )
    labels = [name for name in NAMES_OF_LABELS if name in examples[0]]
    if len(labels) > 1:
        raise InputError(f"field {labels[0]!r} of example 0 stands beside {labels[1]!r}; keep one of the two")


def as_tensor(value: Any, name: str, number: int) -> Tensor:
    """Make a tensor of a value; arrays and tensors keep their type, other numbers become int64 or float32.

    Raises: InputError if it isn't made of numbers, in rows of equal length.
    """
    if isinstance(value, Tensor):
        return value
    try:
        array = np.asarray(value)
        if not array.size:
            array = array.astype(np.int64)
        elif not isinstance(value, np.ndarray) and array.dtype.kind in "if":
            array = array.astype(np.int64 if array.dtype.kind == "i" else np.float32)
        return torch.tensor(array)
    except (ValueError, TypeError, RuntimeError) as error:
        raise InputError(
            f"field {name!r} of example {number} is {shortened(value)}; give numbers, in rows of equal length, or "
            f"leave the field out, as in dataset.remove_columns({name!r})"
        ) from error


def shortened(value: Any) -> str:
    """Show a value in a few words.

    >>> shortened("so long a text that nobody would like to read all of it in an error")
    "'so long a text that nobody would like t…"
    """
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:40]}…"


def stack(name: str, column: Sequence[Tensor]) -> Tensor:
    """Put the values of a field one on the other.

    Raises: InputError if they differ in shape.
    """
    for number, value in enumerate(column):
        if value.shape != column[0].shape:
            raise InputError(
                f"field {name!r} of example {number} has the shape {tuple(value.shape)}, and that of example 0 "
                f"{tuple(column[0].shape)}; pad them alike (DataCollatorWithPadding pads ids, "
                "DataCollatorForTokenClassification and DataCollatorForSeq2Seq labels) or leave the field out"
            )
    return torch.stack(list(column))
