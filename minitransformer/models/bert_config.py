"""What a BERT is made of, and the sizes that were published."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Self

from minitransformer.errors import InputError
from minitransformer.feed_forward import Activation, gelu, gelu_tanh, relu
from minitransformer.pretrained import PretrainedConfig

ACTIVATIONS: dict[str, Activation] = {"gelu": gelu, "gelu_new": gelu_tanh, "gelu_pytorch_tanh": gelu_tanh, "relu": relu}

PROBLEM_TYPES = ("regression", "single_label_classification", "multi_label_classification")

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
    pad_token_id: int = 0
    classifier_dropout: float | None = None
    tie_word_embeddings: bool = True
    problem_type: str | None = None
    num_labels: int = 2
    id2label: dict[int, str] | None = None

    def __post_init__(self) -> None:
        for name in ("vocab_size", "hidden_size", "num_attention_heads", "intermediate_size", "num_labels"):
            require_at_least(name, getattr(self, name), 1)
        for name in ("max_position_embeddings", "type_vocab_size"):
            require_at_least(name, getattr(self, name), 1)
        require_at_least("num_hidden_layers", self.num_hidden_layers, 0)
        if self.hidden_size % self.num_attention_heads:
            raise InputError(
                f"hidden_size={self.hidden_size} must be a multiple of num_attention_heads={self.num_attention_heads}"
            )
        if self.hidden_act not in ACTIVATIONS:
            raise InputError(f"hidden_act={self.hidden_act!r} is not one of {sorted(ACTIVATIONS)}")
        if not 0 <= self.pad_token_id < self.vocab_size:
            raise InputError(f"pad_token_id={self.pad_token_id} must lie from 0 to {self.vocab_size - 1}")
        if self.problem_type not in (None, *PROBLEM_TYPES):
            raise InputError(f"problem_type={self.problem_type!r} is not one of {list(PROBLEM_TYPES)}")

    @classmethod
    def preset(cls, size: str, **overrides: Any) -> Self:
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
    def from_dict(cls, content: Mapping[str, Any]) -> Self:
        """Read config.json's entries; those that change nothing in BERT's arithmetic are passed over.

        Raises: InputError for an entry that asks for another arithmetic than BERT's.
        """
        for name, usual in (("position_embedding_type", "absolute"), ("is_decoder", False)):
            if content.get(name, usual) != usual:
                raise InputError(f"{name}={content[name]!r} is not BERT as published, which has {name}={usual!r}")
        known = {field.name for field in fields(cls)}
        entries = {name: value for name, value in content.items() if name in known}
        if entries.get("id2label"):
            entries["id2label"] = {int(number): label for number, label in entries["id2label"].items()}
            entries.setdefault("num_labels", len(entries["id2label"]))
        return cls(**entries)

    def to_dict(self) -> dict[str, Any]:
        """The entries of config.json; the number of labels stands in their names, as Hugging Face writes it."""
        content = super().to_dict()
        names = self.id2label or {number: f"LABEL_{number}" for number in range(content.pop("num_labels"))}
        content["id2label"] = {str(number): name for number, name in names.items()}
        content["label2id"] = {name: number for number, name in names.items()}
        content.pop("num_labels", None)
        return content


def require_at_least(name: str, value: int, least: int) -> None:
    """Refuse a size that is too small.

    >>> require_at_least("vocab_size", 0, 1)
    Traceback (most recent call last):
        ...
    minitransformer.errors.InputError: vocab_size=0 must be at least 1
    """
    if value < least:
        raise InputError(f"{name}={value} must be at least {least}")
