"""What a BERT is made of, and the sizes that were published."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar, TypeVar

from minitransformer.errors import InputError
from minitransformer.feed_forward import Activation, gelu, gelu_tanh, relu
from minitransformer.pretrained import PretrainedConfig

ACTIVATIONS: dict[str, Activation] = {"gelu": gelu, "gelu_new": gelu_tanh, "gelu_pytorch_tanh": gelu_tanh, "relu": relu}

PROBLEM_TYPES = ("regression", "single_label_classification", "multi_label_classification")

Config = TypeVar("Config", bound="BertConfig")

TABLE_SIZES = ("vocab_size", "max_position_embeddings", "type_vocab_size")

SIZES = {
    "tiny": (2, 128, 2),
    "mini": (4, 256, 4),
    "small": (4, 512, 8),
    "medium": (8, 512, 8),
    "base": (12, 768, 12),
    "large": (24, 1024, 16),
}
"""Blocks, width and heads of the published sizes (Turc et al. 2019, Table 1; Devlin et al. 2019, §3)."""


@dataclass
class BertConfig(PretrainedConfig):
    """What a BERT is made of, under the names of Hugging Face's config.json.

    Source: Devlin et al. 2019, §3 (the sizes), §A.2 (dropout); `initializer_range` and `layer_norm_eps` stand only in
    the published code.

    Raises: InputError naming the entry that cannot be.

    >>> BertConfig(hidden_size=10, num_attention_heads=3)
    Traceback (most recent call last):
        ...
    minitransformer.errors.InputError: hidden_size=10 must be a multiple of num_attention_heads=3
    """

    model_type: ClassVar[str] = "bert"

    vocab_size: int = 30522
    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    hidden_act: str = "gelu"
    hidden_dropout_prob: float = 0.1
    attention_probs_dropout_prob: float = 0.1
    max_position_embeddings: int = 512
    type_vocab_size: int = 2
    initializer_range: float = 0.02
    layer_norm_eps: float = 1e-12
    pad_token_id: int | None = 0
    classifier_dropout: float | None = None
    tie_word_embeddings: bool = True
    problem_type: str | None = None
    num_labels: int = 2
    id2label: dict[int, str] | None = None

    def __post_init__(self) -> None:
        for name in (*TABLE_SIZES, "hidden_size", "num_attention_heads", "intermediate_size", "num_labels"):
            require_at_least(name, getattr(self, name), 1)
        require_at_least("num_hidden_layers", self.num_hidden_layers, 0)
        for name in ("hidden_dropout_prob", "attention_probs_dropout_prob"):
            require_number(name, getattr(self, name), below=1.0)
        if self.classifier_dropout is not None:
            require_number("classifier_dropout", self.classifier_dropout, below=1.0)
        for name in ("initializer_range", "layer_norm_eps"):
            require_number(name, getattr(self, name))
        if self.hidden_size % self.num_attention_heads:
            raise InputError(
                f"hidden_size={self.hidden_size} must be a multiple of num_attention_heads={self.num_attention_heads}"
            )
        if self.hidden_act not in ACTIVATIONS:
            raise InputError(f"hidden_act={self.hidden_act!r} is not one of {sorted(ACTIVATIONS)}")
        if self.pad_token_id not in (None, *range(self.vocab_size)):
            raise InputError(f"pad_token_id={self.pad_token_id!r} must lie from 0 to {self.vocab_size - 1}, or be None")
        if self.problem_type not in (None, *PROBLEM_TYPES):
            raise InputError(f"problem_type={self.problem_type!r} is not one of {list(PROBLEM_TYPES)}")
        if self.id2label is None:
            self.id2label = numbered_names(self.num_labels)
        if sorted(self.id2label) != list(range(self.num_labels)):
            raise InputError(
                f"id2label names {sorted(self.id2label)}, but num_labels={self.num_labels} asks for a name for each "
                f"from 0 to {self.num_labels - 1}"
            )

    @classmethod
    def preset(cls: type[Config], size: str, **overrides: Any) -> Config:
        """A published size by its name.

        Raises: InputError for a name that was not published.

        >>> BertConfig.preset("tiny", vocab_size=4096).hidden_size
        128
        """
        if size not in SIZES:
            raise InputError(f"size={size!r} is not one of {list(SIZES)}")
        blocks, width, heads = SIZES[size]
        sizes = {
            "num_hidden_layers": blocks,
            "hidden_size": width,
            "num_attention_heads": heads,
            "intermediate_size": 4 * width,
        }
        return cls(**{**sizes, **overrides})

    @classmethod
    def from_dict(cls: type[Config], content: Mapping[str, Any]) -> Config:
        """Read config.json's entries; those that change nothing in BERT's arithmetic are passed over.

        Raises: InputError for an entry that asks for another arithmetic than BERT's.
        """
        for name, usual in (("position_embedding_type", "absolute"), ("is_decoder", False)):
            if content.get(name, usual) != usual:
                raise InputError(f"{name}={content[name]!r} is not BERT as published, which has {name}={usual!r}")
        known = {field.name for field in fields(cls)}
        entries = {name: value for name, value in content.items() if name in known}
        if entries.get("id2label"):
            entries["id2label"] = numbered(entries["id2label"])
            if entries.setdefault("num_labels", len(entries["id2label"])) != len(entries["id2label"]):
                del entries["id2label"]  # As in Hugging Face: a new number of labels leaves the old names behind.
        return cls(**entries)

    def to_dict(self) -> dict[str, Any]:
        """The entries of config.json; the number of labels stands in their names, as Hugging Face writes it."""
        content = super().to_dict()
        n_labels = content.pop("num_labels")
        names = self.id2label if self.id2label and len(self.id2label) == n_labels else numbered_names(n_labels)
        content["id2label"] = {str(number): name for number, name in names.items()}
        content["label2id"] = {name: number for number, name in names.items()}
        return content

    @property
    def label2id(self) -> dict[str, int]:
        """The numbers of labels by name.

        >>> BertConfig(id2label={0: "ham", 1: "spam"}).label2id
        {'ham': 0, 'spam': 1}
        """
        return {name: number for number, name in (self.id2label or {}).items()}


def numbered_names(n_labels: int) -> dict[int, str]:
    """What labels are called that were given no names, as in Hugging Face.

    >>> numbered_names(2)
    {0: 'LABEL_0', 1: 'LABEL_1'}
    """
    return {number: f"LABEL_{number}" for number in range(n_labels)}


def numbered(names: Mapping[Any, str]) -> dict[int, str]:
    """The names of labels by number; JSON keeps the numbers as text.

    >>> numbered({"0": "ham", "1": "spam"})
    {0: 'ham', 1: 'spam'}
    """
    try:
        return {int(number): name for number, name in names.items()}
    except (AttributeError, ValueError) as error:
        raise InputError(f"id2label={names!r} must give a name for each number, as in {{'0': 'ham'}}") from error


def require_at_least(name: str, value: int, least: int) -> None:
    """Refuse a size that is too small, or is no whole number.

    >>> require_at_least("vocab_size", 0, 1)
    Traceback (most recent call last):
        ...
    minitransformer.errors.InputError: vocab_size=0 must be at least 1
    """
    if not isinstance(value, int) or isinstance(value, bool):
        raise InputError(f"{name}={value!r} must be a whole number")
    if value < least:
        raise InputError(f"{name}={value} must be at least {least}")


def require_number(name: str, value: float, below: float = math.inf) -> None:
    """Refuse what is no number from 0 up.

    >>> require_number("hidden_dropout_prob", 1.5, below=1.0)
    Traceback (most recent call last):
        ...
    minitransformer.errors.InputError: hidden_dropout_prob=1.5 must be at least 0 and below 1
    """
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise InputError(f"{name}={value!r} must be a number")
    if not 0 <= value < below:
        raise InputError(f"{name}={value} must be at least 0 and below {below:g}")
