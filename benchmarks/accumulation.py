"""Small batches accumulated are one large batch: for every head, objective and way to give a loss.

    python benchmarks/accumulation.py --output-file accumulation.json

The same updates of 8 examples are made of 1 batch of 8, of 2 of 4, of 4 of 2, and of 8 of 1. Texts differ in length,
and in how many of their labels count; the last update of each pass has 6 examples. Compared are the losses, the norms
of the gradients before clipping, and the parameters after six updates, of our trainer and that of `transformers`.

In float64 nothing but rounding is allowed: it ends with 1 if ours differ by more than 1e-11, and 1e-6 where
a loss computes in float32 whatever it is given.
"""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
import tyro
from both_trainers import (
    IGNORED,
    N_CLASSES,
    N_WORDS,
    SEED,
    TASKS,
    Collator,
    OurTrainerWithALoss,
    Run,
    Task,
    TheirTrainerWithALoss,
    largest,
    largest_difference,
    largest_difference_of_weights,
    mean_at_labels_of_any_batch,
    our_trainer,
    run_of,
    some_tokens,
    sum_over_items,
    their_trainer,
)
from tables import as_table
from torch import Tensor, nn
from tqdm import tqdm

from minitransformer import files
from minitransformer.errors import InputError
from minitransformer.laws.cases import randomise

SPLITS = ((4, 2), (2, 4), (1, 8))
"""Sizes of a batch, and batches of an update, beside one batch of 8."""
ROUNDING, ROUNDING_OF_FLOAT32 = 1e-11, 1e-6
TYPES = (torch.float64, torch.float32)


@dataclass(frozen=True)
class Comparison:
    """What to write."""

    output_file: Path | None = None
    """Where the figures go, as JSON."""


class Tagger(nn.Module):
    """A model that knows nothing of either library: a class for each word, and the mean loss of those that count."""

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(7)
            self.words, self.classes = nn.Embedding(N_WORDS, 6), nn.Linear(6, N_CLASSES)
        self.to(dtype)

    def forward(self, input_ids: Tensor, labels: Tensor | None = None) -> dict[str, Tensor]:
        """Scores, and the loss where there are labels."""
        logits = self.classes(self.words(input_ids))
        if labels is None:
            return {"logits": logits}
        loss = nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=IGNORED)
        return {"loss": loss, "logits": logits}


class TagsWords(Task):
    """A task for a model that no library knows."""

    def write(self, folder: Path) -> Path:
        """There is nothing to be kept."""
        return folder

    def opened_by_us(self, _: Path, dtype: torch.dtype) -> nn.Module:
        """A new one; the parameters are always the same."""
        return Tagger(dtype)

    opened_by_them = opened_by_us


class ReadsTheirs(Task):
    """A task for a model of `transformers`, in both trainers."""

    def opened_by_us(self, folder: Path, dtype: torch.dtype) -> nn.Module:
        """Their model."""
        return self.opened_by_them(folder, dtype)


class WritesOn(Task):
    """A task for a model of `transformers` that compares each score with the label after it, in both trainers."""

    def write(self, folder: Path) -> Path:
        """A model folder that `transformers` opens."""
        sizes = {"hidden_size": 12, "intermediate_size": 13, "num_hidden_layers": 1, "num_attention_heads": 2}
        config = transformers.LlamaConfig(vocab_size=N_WORDS, num_key_value_heads=2, pad_token_id=0, **sizes)
        randomise(transformers.LlamaForCausalLM(config), SEED, torch.float32).save_pretrained(folder)
        return folder

    def opened_by_us(self, folder: Path, dtype: torch.dtype) -> nn.Module:
        """Their model."""
        return self.opened_by_them(folder, dtype)


@dataclass(frozen=True)
class Case:
    """A task, and how the loss is asked for."""

    task: Task
    changes: dict[str, Any] = field(default_factory=dict)
    has_a_loss_of_its_own: bool = False
    rounding: float = ROUNDING
    """What differs by less in float64 differs by rounding."""

    def ours(self, folder: Path, dtype: torch.dtype, **sizes: int) -> Run:
        """A run of our trainer."""
        kind = {"kind": OurTrainerWithALoss} if self.has_a_loss_of_its_own else {}
        model = self.task.opened_by_us(folder / "model", dtype)
        return self.run(our_trainer, model, folder, dtype, **kind, **sizes)

    def theirs(self, folder: Path, dtype: torch.dtype, **sizes: int) -> Run:
        """A run of theirs."""
        kind = {"kind": TheirTrainerWithALoss} if self.has_a_loss_of_its_own else {}
        model = self.task.opened_by_them(folder / "model", dtype)
        return self.run(their_trainer, model, folder, dtype, **kind, **sizes)

    def run(
        self, trainer: Callable[..., Any], model: nn.Module, folder: Path, dtype: torch.dtype, **changes: Any
    ) -> Run:
        """A run of either."""
        given = {"data_collator": Collator(dtype), "warmup_steps": 2, **self.changes, **changes}
        return run_of(trainer(model, self.task.examples(), folder / "out", **given))


STRANGER = TagsWords("Tagger", some_tokens(N_CLASSES))
TAGGING = TASKS["BertForTokenClassification"]
WRITING = WritesOn("LlamaForCausalLM", some_tokens(N_WORDS))
CASES: dict[str, Case] = {
    **{name: Case(task) for name, task in TASKS.items()},
    "any module": Case(STRANGER),
    "transformers' LlamaForCausalLM": Case(WRITING, rounding=ROUNDING_OF_FLOAT32),  # which its loss computes in
    "the same, labels smoothed": Case(WRITING, {"label_smoothing_factor": 0.1}),
    "transformers' BertForTokenClassification": Case(ReadsTheirs(TAGGING.kind, TAGGING.labels)),
    "BertForTokenClassification, labels smoothed": Case(TAGGING, {"label_smoothing_factor": 0.1}),
    "BertForMaskedLM, labels smoothed": Case(TASKS["BertForMaskedLM"], {"label_smoothing_factor": 0.1}),
    "compute_loss_func, a mean": Case(TAGGING, {"compute_loss_func": mean_at_labels_of_any_batch}),
    "compute_loss_func, a sum by num_items_in_batch": Case(TAGGING, {"compute_loss_func": sum_over_items}),
    "any module, compute_loss_func, a mean": Case(STRANGER, {"compute_loss_func": mean_at_labels_of_any_batch}),
    "compute_loss overridden, a mean": Case(TAGGING, has_a_loss_of_its_own=True),
    "any module, compute_loss overridden, a mean": Case(STRANGER, has_a_loss_of_its_own=True),
}


def main(comparison: Comparison) -> None:
    """Print the table, and end with 1 if ours is not the same for all splits."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as place:
        rows = list(table_of_cases(Path(place)))
    print(f"\nlargest differences from one batch of 8\n\n{as_table(rows)}")
    if comparison.output_file is not None:
        versions = {"torch": torch.__version__, "transformers": transformers.__version__}
        files.write_json(comparison.output_file, {**versions, "rows": rows})
    if not all(is_exact(row) for row in rows if row["in"] == "float64"):
        raise SystemExit("accumulated batches are not one large batch: see the rows in float64")


def table_of_cases(folder: Path) -> Iterator[dict[str, Any]]:
    """Each case in both types."""
    for number, (name, case) in enumerate(tqdm(CASES.items(), desc="cases")):
        place = folder / str(number)
        case.task.write(place / "model")
        for dtype in TYPES:
            yield {"head and loss": name, "in": str(dtype)[6:], **differences(case, place, dtype)}


def differences(case: Case, folder: Path, dtype: torch.dtype) -> dict[str, Any]:
    """How far the runs of small batches are from that of large ones, in our trainer and in theirs."""
    return {
        f"{whose} {name}": value
        for whose, train in (("our", case.ours), ("their", case.theirs))
        for name, value in distances(train, folder, dtype).items()
    }


def distances(
    train: Callable[..., Run], folder: Path, dtype: torch.dtype, splits: Sequence[tuple[int, int]] = SPLITS
) -> dict[str, Any]:
    """The largest differences over all splits, and by what the losses are multiplied."""
    whole = train(folder, dtype, per_device_train_batch_size=8)
    try:
        parts = [
            train(folder, dtype, per_device_train_batch_size=size, gradient_accumulation_steps=n_batches)
            for size, n_batches in splits
        ]
    except InputError:
        return dict.fromkeys(("losses", "norms", "weights", "losses by those of 8 × 1"), "refused")
    ratios = np.concatenate([np.divide(run.losses, whole.losses) for run in parts])
    return {
        "losses": largest(largest_difference(run.losses, whole.losses) for run in parts),
        "norms": largest(largest_difference(run.norms, whole.norms) for run in parts),
        "weights": largest(largest_difference_of_weights(run.weights, whole.weights) for run in parts),
        "losses by those of 8 × 1": [float(ratios.min()), float(ratios.max())],
    }


def is_exact(row: dict[str, Any]) -> bool:
    """Whether our runs of a row in float64 differ by rounding alone."""
    rounding = CASES[row["head and loss"]].rounding
    return all(is_at_most(row[f"our {name}"], rounding) for name in ("losses", "norms", "weights"))


def is_at_most(difference: Any, rounding: float) -> bool:
    """Whether a difference is none but for rounding.

    >>> is_at_most(1e-15, 1e-11), is_at_most(1e-3, 1e-11), is_at_most(float("nan"), 1), is_at_most("refused", 1)
    (True, False, False, False)
    """
    return isinstance(difference, float) and difference <= rounding


if __name__ == "__main__":
    main(tyro.cli(Comparison))
