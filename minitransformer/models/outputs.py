"""What models return: named results that can also be counted, as users of Hugging Face's interface expect."""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any

from torch import Tensor


@dataclass
class ModelOutput:
    """Results by name; by number and by `keys()` only those that are not None.

    >>> import torch
    >>> output = MaskedLMOutput(logits=torch.tensor([3.0]))
    >>> output[0], output["logits"], output.logits, output.loss
    (tensor([3.]), tensor([3.]), tensor([3.]), None)
    >>> list(output)
    ['logits']
    """

    def keys(self) -> tuple[str, ...]:
        """The names of what is there."""
        return tuple(field.name for field in fields(self) if getattr(self, field.name) is not None)

    def values(self) -> tuple[Any, ...]:
        """What is there, in order."""
        return tuple(getattr(self, name) for name in self.keys())

    def items(self) -> tuple[tuple[str, Any], ...]:
        """Names and what is there."""
        return tuple(zip(self.keys(), self.values(), strict=True))

    def to_tuple(self) -> tuple[Any, ...]:
        """What is there, in order."""
        return self.values()

    def __getitem__(self, key: int | slice | str) -> Any:
        if not isinstance(key, str):
            return self.values()[key]
        if key not in self.keys():
            raise KeyError(key)
        return getattr(self, key)

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys())

    def __contains__(self, name: object) -> bool:
        return name in self.keys()

    def __len__(self) -> int:
        return len(self.keys())


@dataclass
class BaseModelOutputWithPooling(ModelOutput):
    """What the encoder says of every position, and of the whole."""

    last_hidden_state: Tensor | None = None
    pooler_output: Tensor | None = None
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None


@dataclass
class BertForPreTrainingOutput(ModelOutput):
    """Scores for words and for "is next"."""

    loss: Tensor | None = None
    prediction_logits: Tensor | None = None
    seq_relationship_logits: Tensor | None = None
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None


@dataclass
class LogitsOutput(ModelOutput):
    """Scores for one question."""

    loss: Tensor | None = None
    logits: Tensor | None = None
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None


class MaskedLMOutput(LogitsOutput):
    """Scores for words at every position."""


class NextSentencePredictorOutput(LogitsOutput):
    """Scores for "is next" (0) and "is not next" (1)."""


class SequenceClassifierOutput(LogitsOutput):
    """Scores for the classes of a whole sequence."""


class TokenClassifierOutput(LogitsOutput):
    """Scores for the classes of every position."""


@dataclass
class QuestionAnsweringModelOutput(ModelOutput):
    """Scores for where an answer starts and ends."""

    loss: Tensor | None = None
    start_logits: Tensor | None = None
    end_logits: Tensor | None = None
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None


class MultipleChoiceModelOutput(LogitsOutput):
    """Scores for the choices."""
