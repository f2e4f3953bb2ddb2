"""Labels beside their tokens: one for each token, a sequence of their own, or one for several choices."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jaxtyping import Int
from torch import Tensor

from minitransformer.batches.examples import (
    NAMES_OF_LABELS,
    Batch,
    columns,
    require_same_fields,
    shortened,
    stack,
)
from minitransformer.batches.padding import (
    default_data_collator,
    pad,
    pad_columns,
    require_along_tokens,
    require_input_ids,
    require_padding,
    require_pytorch,
    round_up,
)
from minitransformer.errors import InputError
from minitransformer.objectives.masked_lm import IGNORED


@dataclass
class DataCollatorForTokenClassification:
    """Examples with a label for each token to a batch: labels are padded beside their tokens, with −100.

    The name and the settings are those of `transformers`; the padding is that of `DataCollatorWithPadding`.

    Raises: InputError if a setting can't be; when called, if the examples don't fit together.

    >>> from minitransformer.tokenizer import Tokenizer
    >>> collate = DataCollatorForTokenClassification(Tokenizer.from_vocabulary(["land", "sea", "sky"]))
    >>> collate([{"input_ids": [6], "labels": [1]}, {"input_ids": [5, 7], "labels": [0, 1]}])["labels"].tolist()
    [[1, -100], [0, 1]]
    """

    tokenizer: Any
    padding: bool | str = True
    max_length: int | None = None
    pad_to_multiple_of: int | None = None
    label_pad_token_id: int = IGNORED
    return_tensors: str = "pt"

    def __post_init__(self) -> None:
        require_padding(self.tokenizer, self.padding, self.max_length, self.pad_to_multiple_of)
        require_pytorch(self.return_tensors)

    def __call__(self, examples: Sequence[Any]) -> Batch:
        """Make a batch of the examples' fields."""
        fields = columns(examples)
        require_input_ids(fields)
        labels = fields.pop("labels", None)
        batch = pad_columns(self.tokenizer, fields, self.padding, self.max_length, self.pad_to_multiple_of)
        if labels is not None:
            require_along_tokens({**fields, "labels": labels}, ["labels"])
            side = getattr(self.tokenizer, "padding_side", "right")
            batch["labels"] = pad(labels, self.label_pad_token_id, batch["input_ids"].shape[1], side)
        return batch


@dataclass
class DataCollatorForSeq2Seq:
    """Examples with a sequence to answer with to a batch: labels are padded for themselves, with −100.

    A model that has `prepare_decoder_input_ids_from_labels` gives the `decoder_input_ids`. The name and the settings
    are those of `transformers`; the padding is that of `DataCollatorWithPadding`.

    Raises: InputError if a setting can't be; when called, if the examples don't fit together.

    >>> from minitransformer.tokenizer import Tokenizer
    >>> collate = DataCollatorForSeq2Seq(Tokenizer.from_vocabulary(["land", "sea", "sky"]))
    >>> collate([{"input_ids": [6], "labels": [5, 6, 7]}, {"input_ids": [5], "labels": [7]}])["labels"].tolist()
    [[5, 6, 7], [7, -100, -100]]
    """

    tokenizer: Any
    model: Any = None
    padding: bool | str = True
    max_length: int | None = None
    pad_to_multiple_of: int | None = None
    label_pad_token_id: int = IGNORED
    return_tensors: str = "pt"

    def __post_init__(self) -> None:
        require_padding(self.tokenizer, self.padding, self.max_length, self.pad_to_multiple_of)
        require_pytorch(self.return_tensors)

    def __call__(self, examples: Sequence[Any]) -> Batch:
        """Make a batch of the examples' fields."""
        fields = columns(without_empty_labels(examples))
        labels = fields.pop("labels", None)
        batch = pad_columns(self.tokenizer, fields, self.padding, self.max_length, self.pad_to_multiple_of)
        if labels is not None:
            batch["labels"] = self.pad_labels(labels)
            if hasattr(self.model, "prepare_decoder_input_ids_from_labels"):
                batch["decoder_input_ids"] = self.model.prepare_decoder_input_ids_from_labels(labels=batch["labels"])
        return batch

    def pad_labels(self, labels: Sequence[Tensor]) -> Int[Tensor, "B L"]:
        """Pad labels to the longest of them, or to `max_length` where everything is.

        Raises: InputError if one is longer than that, or they differ in length and aren't to be padded.
        """
        if self.padding in (False, "do_not_pad"):
            return stack("labels", labels)
        wanted = self.max_length if self.padding == "max_length" else None
        length = round_up(wanted or max(label.numel() for label in labels), self.pad_to_multiple_of)
        for number, label in enumerate(labels):
            if label.dim() != 1 or len(label) > length:
                raise InputError(
                    f"field 'labels' of example {number} has the shape {tuple(label.shape)}; give one row of ids, "
                    f"no longer than {length}: truncate when you tokenise, or allow more"
                )
        return pad(labels, self.label_pad_token_id, length, getattr(self.tokenizer, "padding_side", "right"))


def without_empty_labels(examples: Sequence[Any]) -> list[Any]:
    """Leave the labels out where every example has None for them.

    >>> without_empty_labels([{"input_ids": [5], "labels": None}])
    [{'input_ids': [5]}]
    """
    if any(isinstance(example, Mapping) and example.get("labels") is not None for example in examples):
        return list(examples)
    return [
        {name: value for name, value in example.items() if name != "labels"}
        if isinstance(example, Mapping)
        else example
        for example in examples
    ]


@dataclass
class DataCollatorForMultipleChoice:
    """Examples with several choices each to a batch of [example, choice, token]: all choices are padded alike.

    The name and the settings are those of `transformers`; the padding is that of `DataCollatorWithPadding`.

    Raises: InputError if a setting can't be; when called, if the examples don't fit together.

    >>> from minitransformer.tokenizer import Tokenizer
    >>> collate = DataCollatorForMultipleChoice(Tokenizer.from_vocabulary(["land", "sea", "sky"]))
    >>> batch = collate([{"input_ids": [[5], [6, 7]], "label": 1}, {"input_ids": [[7], [5]], "label": 0}])
    >>> batch["input_ids"].tolist(), batch["labels"].tolist()
    ([[[5, 0], [6, 7]], [[7, 0], [5, 0]]], [1, 0])
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
        require_same_fields(examples)
        nested = [name for name in examples[0] if name not in NAMES_OF_LABELS]
        n_choices = count_choices(examples, nested)
        choices = [
            {name: example[name][choice] for name in nested} for example in examples for choice in range(n_choices)
        ]
        try:
            batch = pad_columns(
                self.tokenizer, columns(choices), self.padding, self.max_length, self.pad_to_multiple_of
            )
        except InputError as error:
            raise InputError(f"with each of the {n_choices} choices counted as an example: {error}") from error
        batch = {name: rows.view(len(examples), n_choices, *rows.shape[1:]) for name, rows in batch.items()}
        labels = [{name: example[name] for name in NAMES_OF_LABELS if name in example} for example in examples]
        return batch | default_data_collator(labels)


def count_choices(examples: Sequence[Mapping[str, Any]], names: Sequence[str]) -> int:
    """Count the choices of the examples.

    Raises: InputError if a field is no list of choices, or their number differs.
    """
    n_choices = None
    for number, example in enumerate(examples):
        for name in names:
            is_list = hasattr(example[name], "__len__") and not isinstance(example[name], str)
            n_choices = len(example[name]) if n_choices is None and is_list else n_choices
            if not is_list or len(example[name]) != n_choices:
                raise InputError(
                    f"field {name!r} of example {number} is {shortened(example[name])}; give a row for each "
                    f"choice, and as many choices in each example and field, or leave the field out"
                )
    return n_choices or 0
