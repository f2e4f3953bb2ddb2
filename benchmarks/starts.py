"""What each part of the start is worth: the same pretraining with parts of it left out.

    python benchmarks/starts.py --max-steps 1200

All runs read the same pairs in the same order and are judged on the same held-out documents. No time is compared.
"""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import tyro

from minitransformer.batches import MaskedLanguageCollator, NextSentencePairs
from minitransformer.initialisation import (
    keep_variance,
    position_columns,
    start_by_comparing_segments,
    start_by_reading_neighbours,
)
from minitransformer.models.bert import BertForPreTraining
from minitransformer.pretraining import (
    PreparedText,
    PretrainingPlan,
    evaluate_pretraining,
    prepare_text,
    start_from_company,
    start_from_frequencies,
)
from minitransformer.trainer import Trainer

Part = Callable[[BertForPreTraining, PreparedText], None]


@dataclass(frozen=True)
class Comparison:
    """What to compare on."""

    corpus: str = "kjv"
    """A named corpus, or a path."""
    max_steps: int = 1200
    """Updates of each run."""


def loudness(model: BertForPreTraining, _: PreparedText) -> None:
    """Matrices that speak as loud as their input."""
    keep_variance(model.bert.encoder)


def neighbours(model: BertForPreTraining, _: PreparedText) -> None:
    """Heads that read the words around them."""
    columns = position_columns(model.config.hidden_size)
    start_by_reading_neighbours(model.bert.embeddings, model.bert.encoder, columns=columns)


def segments(model: BertForPreTraining, _: PreparedText) -> None:
    """Heads that compare the segments."""
    start_by_comparing_segments(
        model.bert.embeddings, model.bert.encoder, first_column=position_columns(model.config.hidden_size)
    )


STARTS: dict[str, tuple[float, tuple[Part, ...]]] = {
    "random": (1e-3, (loudness,)),
    "neighbours": (1e-3, (neighbours,)),
    "neighbours, segments": (1e-3, (neighbours, segments)),
    "neighbours, words": (1e-3, (neighbours, start_from_company)),
    "neighbours, segments, words": (1e-3, (neighbours, segments, start_from_company)),
    "the same, at twice the rate": (2e-3, (neighbours, segments, start_from_company)),
}


def compare(comparison: Comparison) -> None:
    """Print a row for each start."""
    plan = PretrainingPlan(max_steps=comparison.max_steps)
    print("| start | masked-word loss | next-sentence loss | next-sentence accuracy |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        text = prepare_text(comparison.corpus, Path(folder), plan)
        for name, (rate, parts) in STARTS.items():
            figures = figures_of(text, replace(plan, learning_rate=rate), parts, Path(folder) / "none")
            columns = ("masked_lm_loss", "next_sentence_loss", "next_sentence_accuracy")
            print(f"| {name} | {' | '.join(f'{figures[column]:.3f}' for column in columns)} |", flush=True)


def figures_of(text: PreparedText, plan: PretrainingPlan, parts: tuple[Part, ...], folder: Path) -> dict[str, float]:
    """Pretrain from one start, and judge."""
    torch.manual_seed(plan.seed)
    model = BertForPreTraining(plan.config(text.tokenizer.vocab_size, text.tokenizer.pad_token_id))
    for part in (*parts, start_from_frequencies):
        part(model, text)
    arguments = replace(plan.training_arguments(folder), save_strategy="no")
    pairs = NextSentencePairs(text.training, plan.max_length, plan.seed)
    Trainer(model, arguments, train_dataset=pairs, data_collator=MaskedLanguageCollator(text.tokenizer)).train()
    return evaluate_pretraining(model, text.held_out, text.tokenizer, plan.max_length, plan.seed)


if __name__ == "__main__":
    compare(tyro.cli(Comparison))
