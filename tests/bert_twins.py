"""The same BERT twice, ours and that of `transformers`, and batches for both.

Every parameter is drawn anew, gains and biases too: at their first values a forgotten bias or two exchanged norms would
change nothing. All sizes differ, so that no two axes can be taken for each other.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jaxtyping
import pytest
import torch
from torch import Tensor

from minitransformer.laws.cases import numbers, randomise, whole_numbers
from minitransformer.laws.tolerances import assert_close
from minitransformer.models import bert
from minitransformer.models.bert_config import BertConfig

transformers = pytest.importorskip("transformers", reason="transformers judges here: pip install transformers")
transformers.utils.logging.disable_progress_bar()

CLASSES = (
    "BertModel",
    "BertForPreTraining",
    "BertForMaskedLM",
    "BertForNextSentencePrediction",
    "BertForSequenceClassification",
    "BertForTokenClassification",
    "BertForQuestionAnswering",
    "BertForMultipleChoice",
)

BATCH, LENGTH, CHOICES, LABELS = 5, 11, 3, 7

SMALL: dict[str, Any] = {
    "vocab_size": 23,
    "hidden_size": 15,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 13,
    "max_position_embeddings": 17,
    "type_vocab_size": 4,
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
}

PROMISED = 1e-5 / torch.finfo(torch.float32).eps
"""Roundings of size 1 in float32 that make the promised 1e-5, whatever the result's size."""


def settings(name: str, **overrides: Any) -> dict[str, Any]:
    """A small configuration; a question's answer has two ends, so its model has two labels."""
    n_labels = 2 if name == "BertForQuestionAnswering" else LABELS
    return {**SMALL, "num_labels": n_labels, **overrides}


def theirs(name: str, seed: int = 0, **overrides: Any) -> Any:
    """A model of transformers that looks at every weight it computes, with random parameters throughout."""
    config = transformers.BertConfig(**settings(name, **overrides))
    model = getattr(transformers, name)._from_config(config, attn_implementation="eager")
    with torch.no_grad():
        for parameter_name, parameter in model.named_parameters():
            drawn = numbers(seed, parameter_name, *parameter.shape, dtype=torch.float32)
            parameter.copy_(1 + drawn / 4 if parameter_name.endswith("LayerNorm.weight") else drawn / 3)
    return model.eval()


def ours(name: str, seed: int = 0, dtype: torch.dtype = torch.float32, **overrides: Any) -> Any:
    """A model of ours with random parameters throughout."""
    return randomise(getattr(bert, name)(BertConfig(**settings(name, **overrides))), seed, dtype)


def opened_by_us(model: Any, folder: Path, name: str | None = None) -> Any:
    """What we read from the folder in which a model is kept."""
    model.save_pretrained(folder)
    return getattr(bert, name or type(model).__name__).from_pretrained(folder)


def opened_by_them(model: Any, folder: Path, name: str | None = None) -> Any:
    """What transformers reads from the folder in which a model is kept; it must not miss or refuse anything."""
    model.save_pretrained(folder)
    opened, report = getattr(transformers, name or type(model).__name__).from_pretrained(
        folder, attn_implementation="eager", output_loading_info=True
    )
    assert not any(report.values()), f"transformers reports {report}"
    return opened.eval()


def batch_for(name: str, seed: int = 0, length: int = LENGTH) -> dict[str, Any]:
    """Rows of different lengths with segments: [CLS] and the rest; for multiple choice, some rows for each example."""
    shape = (BATCH, CHOICES, length) if name == "BertForMultipleChoice" else (BATCH, length)
    kept = whole_numbers(seed, "kept", 1, length + 1, *shape[:-1], 1)
    kept[0] = length
    return {
        "input_ids": whole_numbers(seed, "input_ids", 0, SMALL["vocab_size"], *shape),
        "attention_mask": (torch.arange(length) < kept).long(),
        "token_type_ids": whole_numbers(seed, "token_type_ids", 0, SMALL["type_vocab_size"], *shape),
    }


def labels_for(name: str, seed: int = 0, length: int = LENGTH) -> dict[str, Any]:
    """The labels of a class, those that don't count among them; the bare encoder has none."""

    def drawn(argument: str, n_classes: int, *shape: int) -> Tensor:
        return whole_numbers(seed, argument, 0, n_classes, *shape)

    def some(argument: str, n_classes: int) -> Tensor:
        labels = drawn(argument, n_classes, BATCH, length)
        return labels.where(drawn(f"{argument} that count", 3, BATCH, length) == 0, -100)

    return {
        "BertModel": {},
        "BertForPreTraining": {
            "labels": some("labels", SMALL["vocab_size"]),
            "next_sentence_label": drawn("next", 2, BATCH),
        },
        "BertForMaskedLM": {"labels": some("labels", SMALL["vocab_size"])},
        "BertForNextSentencePrediction": {"labels": drawn("labels", 2, BATCH)},
        "BertForSequenceClassification": {"labels": drawn("labels", LABELS, BATCH)},
        "BertForTokenClassification": {"labels": some("labels", LABELS)},
        "BertForQuestionAnswering": {
            "start_positions": drawn("start", length, BATCH),
            "end_positions": drawn("end", length, BATCH),
        },
        "BertForMultipleChoice": {"labels": drawn("labels", CHOICES, BATCH)},
    }[name]


def results(output: Any) -> dict[str, Any]:
    """What an output holds; transformers' encoder adds that it has no cross-attentions, which ours leaves unsaid."""
    return {name: output[name] for name in output if not (name == "cross_attentions" and output[name] == ())}


def assert_agree(found: Any, expected: Any, c: float = PROMISED, scale: float | None = 1.0) -> None:
    """Fail unless both outputs hold the same names in the same order, and numbers within the promise."""
    assert list(found) == list(results(expected))
    for name, wanted in results(expected).items():
        if isinstance(wanted, Tensor):
            assert_close(found[name], wanted, c=c, scale=scale, what=name)
            continue
        assert len(found[name]) == len(wanted)
        for block, (one, other) in enumerate(zip(found[name], wanted, strict=True)):
            assert_close(one, other, c=c, scale=scale, what=f"{name}[{block}]")


@contextmanager
def as_users_run_it() -> Iterator[None]:
    """Run without the checks of types and shapes that only tests have, so that the model's own refusals are heard."""
    before = jaxtyping.config.jaxtyping_disable
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", before)
