"""Fine-tuning on sentences of unequal length: ours beside `transformers`, in arrival order and sorted by length.

    python benchmarks/finetune.py

A classifier of sentences learns from verses of the Bible, one pass over them in each turn. In arrival order every batch
is as wide as its longest sentence. Sorting a thousand sentences by length leaves hardly any padding, and is the best
that grouping by length could come to; a batch then holds only sentences of one length, which is not what one would
choose to learn from. Ours reads in arrival order.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import transformers
import tyro
from both_trainers import OurOrder, TheirTrainer, largest_difference
from real_text import VOCABULARY, Text, real_text
from results import FOLDER, Results, Row
from roofline import Work, measure_machine, training_token_floor
from torch import Tensor, nn
from training_speed import (
    OurLosses,
    Side,
    TheirLosses,
    batches_of,
    folder_of,
    losses_of,
    our_side,
    our_trainer,
    their_side,
    their_trainer,
)
from turns import in_turns, of_more, rate, ratio, spread

from minitransformer.batches import DataCollatorWithPadding, Example
from minitransformer.models.bert import BertForSequenceClassification
from minitransformer.models.bert_config import BertConfig

SIZES = {"mini": (256, 4, 4), "minilm": (384, 6, 12), "tiny": (32, 2, 2)}
"""Width, blocks and heads; the feed-forward network is four times as wide."""
N_SENTENCES = {"mini": 192, "minilm": 128, "tiny": 8}
ROUNDING = {"loss": 1e-6, "gradients": 1e-5, "curve": 2e-3}
"""What float32 leaves of equality, relative to the loss and to the longest gradient; and after some updates."""
CURVE_STEPS, CURVE_BATCH = 12, 4


@dataclass(frozen=True)
class Comparison:
    """What to compare."""

    config: tuple[Literal["mini", "minilm", "tiny"], ...] = ("mini", "minilm")
    """Sizes of the model."""
    dropout: float = 0.1
    """Rate of dropout."""
    length: int = 128
    """Tokens of a sentence at most."""
    batch_size: int = 32
    """Sentences of an update."""
    turns: int = 5
    """How often each side trains."""
    quick: bool = False
    """A tiny model, twice, to see that all of this runs."""
    folder: Path = FOLDER
    """Where results go."""

    def as_asked(self) -> "Comparison":
        """With `quick`, as little as there can be."""
        return replace(self, config=("tiny",), length=32, batch_size=4, turns=2) if self.quick else self


@dataclass
class ByLength(OurOrder):
    """All examples from the longest to the shortest, for a data loader."""

    lengths: Sequence[int] = ()

    def __iter__(self) -> Any:
        return iter(np.argsort([-length for length in self.lengths], kind="stable").tolist())


class TheirTrainerSorted(TheirTrainer):
    """The trainer of `transformers`, with examples sorted by length."""

    def _get_train_sampler(self, train_dataset: Any = None) -> OurOrder:
        order = super()._get_train_sampler(train_dataset).order
        return ByLength(order, lengths=[len(example["input_ids"]) for example in self.train_dataset])


def main(comparison: Comparison) -> None:
    """Check that both sides compute the same, measure them in turns, and write what came of it."""
    comparison = comparison.as_asked()
    text = real_text(comparison.folder / "text", comparison.quick)
    results = Results("finetune", "Fine-tuning on ragged sentences: ours over transformers, in real tokens a second")
    for size in comparison.config:
        check(results, size, comparison, text)
    results.require_checks()
    for size in comparison.config:
        results.add(**measured(size, comparison, text))
    results.note(
        f"Sentences are from {text.name}, in batches of {comparison.batch_size}, with dropout {comparison.dropout:g}."
    )
    results.finish(comparison.folder)


def config_of(size: str, dropout: float, length: int, padding_id: int) -> BertConfig:
    """The configuration of all models."""
    width, n_blocks, n_heads = SIZES[size]
    return BertConfig(
        vocab_size=VOCABULARY,
        hidden_size=width,
        num_hidden_layers=n_blocks,
        num_attention_heads=n_heads,
        intermediate_size=4 * width,
        max_position_embeddings=length,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
        pad_token_id=padding_id,
    )


def start_of(size: str, dropout: float, length: int, text: Text) -> Path:
    """A folder with the weights that all sides begin with."""
    torch.manual_seed(0)
    return folder_of(BertForSequenceClassification(config_of(size, dropout, length, text.tokenizer.pad_token_id)))


def labelled(rows: Sequence[list[int]]) -> list[Example]:
    """Sentences with one of two classes, drawn: what is learned makes no difference to the time."""
    classes = np.random.default_rng(0).integers(0, 2, len(rows))
    return [
        {"input_ids": torch.tensor(row), "labels": torch.tensor(int(number))}
        for row, number in zip(rows, classes, strict=True)
    ]


# The same thing


def check(results: Results, size: str, comparison: Comparison, text: Text) -> None:
    """Whether both sides compute the same: a loss and its gradients, and how the loss falls."""
    start = start_of(size, 0.0, comparison.length, text)
    n_steps = 3 if comparison.quick else CURVE_STEPS
    examples = labelled(text.sentences(n_steps * CURVE_BATCH, comparison.length))
    loss, gradients = differences_of_a_batch(start, DataCollatorWithPadding(text.tokenizer)(examples[:CURVE_BATCH]))
    results.check(f"{size}: losses of a batch", loss, ROUNDING["loss"])
    results.check(f"{size}: gradients of a batch", gradients, ROUNDING["gradients"])
    steps = (n_steps, CURVE_BATCH)
    pads = DataCollatorWithPadding(text.tokenizer)
    ours = losses_of(our_trainer, OurLosses(), opened_by_us(start), examples, pads, *steps, use_cpu=True)
    theirs = losses_of(their_trainer, TheirLosses(), opened_by_them(start), examples, pads, *steps, use_cpu=True)
    results.check(f"{size}: losses of {n_steps} steps", largest_difference(ours, theirs), ROUNDING["curve"])


def differences_of_a_batch(start: Path, batch: dict[str, Tensor]) -> tuple[float, float]:
    """How far the losses and the gradients of both models are apart, by the size of theirs."""
    ours, theirs = opened_by_us(start).train(), opened_by_them(start).train()
    our_loss, their_loss = ours(**batch).loss, theirs(**batch).loss
    our_loss.backward()
    their_loss.backward()
    wanted = dict(theirs.named_parameters(remove_duplicate=False))
    pairs = [(parameter.grad, wanted[ours.name_on_disk(name)].grad) for name, parameter in ours.named_parameters()]
    gap = max((found - right).abs().max().item() for found, right in pairs)
    longest = max(right.abs().max().item() for _, right in pairs)
    return abs(our_loss.item() - their_loss.item()) / their_loss.item(), gap / longest


# How fast


def measured(size: str, comparison: Comparison, text: Text) -> Row:
    """The row of a size."""
    arrived = text.sentences(N_SENTENCES[size], comparison.length)
    in_order = text.sorted_sentences(N_SENTENCES[size], comparison.length, comparison.batch_size)
    lengths, lengths_in_order = [len(row) for row in arrived], [len(row) for row in in_order]
    sides = sides_of(size, labelled(arrived), labelled(in_order), comparison, text)
    turns = {name: side.turn for name, side in sides.items()}
    turns["theirs, sorted"] = of_more(turns["theirs, sorted"], sum(lengths) / sum(lengths_in_order))
    seconds = in_turns(turns, comparison.turns)
    n_steps = len(arrived) // comparison.batch_size
    batches = batches_of(lengths, n_steps, comparison.batch_size)
    by_length = [lengths_in_order[step * comparison.batch_size :][: comparison.batch_size] for step in range(n_steps)]
    least = least_seconds(size, lengths, n_steps, comparison)
    return {
        "case": f"{size}, {len(arrived)} sentences",
        "padding in arrival order": padding_of(batches),
        "padding, sorted": padding_of(by_length),
        **{f"{name}, tokens/s": rate(sum(lengths), of_side) for name, of_side in seconds.items()},
        "ours over theirs": ratio(seconds["theirs"], seconds["ours"]),
        "ours over theirs, sorted": ratio(seconds["theirs, sorted"], seconds["ours"]),
        "our share of the roofline": spread([least / of_turn for of_turn in seconds["ours"]]),
    }


def padding_of(batches: Sequence[Sequence[int]]) -> str:
    """Which share of all places holds no token, for the lengths of each batch.

    >>> padding_of([[4, 2], [2, 2]])
    '17%'
    """
    n_places = sum(max(batch) * len(batch) for batch in batches)
    return f"{1 - sum(map(sum, batches)) / n_places:.0%}"


def least_seconds(size: str, lengths: Sequence[int], n_steps: int, comparison: Comparison) -> float:
    """The least time that this machine could take for a pass."""
    machine = measure_machine(quick=comparison.quick, device="cpu")
    batches = batches_of(lengths, n_steps, comparison.batch_size)
    config = config_of(size, comparison.dropout, comparison.length, padding_id=0)
    floors = [training_token_floor(Work(config, batch, "classification"), machine).seconds for batch in batches]
    return sum(floor * sum(batch) for floor, batch in zip(floors, batches, strict=True))


def sides_of(
    size: str, arrived: Sequence[Example], in_order: Sequence[Example], comparison: Comparison, text: Text
) -> dict[str, Side]:
    """Whoever trains, all from the same weights, one pass a turn."""
    start = start_of(size, comparison.dropout, comparison.length, text)
    steps = (len(arrived) // comparison.batch_size, comparison.batch_size)
    pad = transformers.DataCollatorWithPadding(text.their_tokenizer)
    by_length = {"kind": TheirTrainerSorted, "use_cpu": True}
    return {
        "theirs": their_side(opened_by_them(start), in_lists(arrived), pad, *steps, use_cpu=True),
        "theirs, sorted": their_side(opened_by_them(start), in_lists(in_order), pad, *steps, **by_length),
        "ours": our_side(opened_by_us(start), arrived, DataCollatorWithPadding(text.tokenizer), *steps, use_cpu=True),
    }


def in_lists(examples: Sequence[Example]) -> list[dict[str, Any]]:
    """The same as lists, which their collator need not convert."""
    return [{name: column.tolist() for name, column in example.items()} for example in examples]


def opened_by_us(start: Path) -> BertForSequenceClassification:
    """Our model."""
    return BertForSequenceClassification.from_pretrained(start)


def opened_by_them(start: Path) -> nn.Module:
    """The model of `transformers` with its fastest attention."""
    return transformers.BertForSequenceClassification.from_pretrained(start, attn_implementation="sdpa")


if __name__ == "__main__":
    main(tyro.cli(Comparison))
