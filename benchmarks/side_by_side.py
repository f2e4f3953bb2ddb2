"""The same training by two trainers, step by step, and what comes of the cases in which the usual one goes wrong.

    python benchmarks/side_by_side.py --output-file side_by_side.json

Ours and the one of `transformers` open the same folder and read the same batches, without dropout. Both log each step:
its loss, the norm of its gradient before clipping, and the learning rate, which in both is the one that the step was
made with. It ends with 1 if in float64 a loss differs by more than 5e-7, a norm by more than 5e-6, or a rate at all.

In float64 what is left is theirs: their trainer adds losses up in float32, where neighbours of 5 are 4.8e-7 apart, and
it divides a gradient that is too long by its norm and 1e-6 more.
"""

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
import transformers
import tyro
from both_trainers import (
    N_EXAMPLES,
    TASKS,
    Batch,
    Collator,
    Example,
    Run,
    Task,
    largest,
    largest_difference,
    largest_difference_of_weights,
    our_trainer,
    run_of,
    their_trainer,
)
from safetensors.torch import load_file
from tables import as_table
from torch import Tensor
from tqdm import tqdm

from minitransformer import files
from minitransformer.errors import InputError
from minitransformer.losses import IGNORED

LARGEST_LOSS, LARGEST_NORM = 5e-7, 5e-6
"""How far losses and norms may be apart."""
CLIPPED_ABOVE = 2.5
"""A norm that some gradients of these tasks exceed, and others don't."""
DISTANCES = ("loss", "gradient norm", "weights at the end")
HEADS = ("BertForSequenceClassification", "BertForMaskedLM", "BertForPreTraining")
SCHEDULES: dict[str, dict[str, Any]] = {
    "linear": {},
    "cosine": {"num_cycles": 0.7},
    "cosine_with_restarts": {"num_cycles": 3},
    "polynomial": {"power": 2.0, "lr_end": 1e-4},
    "constant": {},
    "constant_with_warmup": {},
    "inverse_sqrt": {"timescale": 4},
}
WARMUPS: dict[str, dict[str, Any]] = {"5 steps": {"warmup_steps": 5}, "a ratio of 0.15": {"warmup_ratio": 0.15}}
SMOOTHED: dict[str, Any] = {"label_smoothing_factor": 0.1}


@dataclass(frozen=True)
class Comparison:
    """What to write."""

    output_file: Path | None = None
    """Where the figures go, as JSON."""


def main(comparison: Comparison) -> None:
    """Print the tables, and end with 1 if the two sides differ."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as place:
        rows = list(table_of_equal_runs(Path(place)))
        themselves = [against_themselves(head, Path(place)) for head in HEADS]
        findings = list(table_of_findings(Path(place)))
    tables = {
        "the same run, side by side": rows,
        "the same, the largest differences of each head": by_head(rows),
        "theirs against itself, with another kernel of attention": themselves,
        "what the usual trainer gets wrong": findings,
    }
    for title, table in tables.items():
        print(f"\n{title}\n\n{as_table(table)}")
    if comparison.output_file is not None:
        versions = {"torch": torch.__version__, "transformers": transformers.__version__}
        files.write_json(comparison.output_file, {**versions, "tables": tables})
    if not all(is_kept(row) for row in rows):
        raise SystemExit("the two trainers differ: see the rows in float64")


# The same run


class Pair(NamedTuple):
    """A run by each of the two trainers."""

    ours: Run
    theirs: Run


def table_of_equal_runs(folder: Path) -> Iterator[dict[str, Any]]:
    """Each head with each schedule and warm-up, and with smoothed labels, in both types."""
    plans = [(head, schedule, warmup, {}) for head in HEADS for schedule in SCHEDULES for warmup in WARMUPS] + [
        (head, "linear", "5 steps", SMOOTHED) for head in HEADS[:2]
    ]
    for number, (head, schedule, warmup, changes) in enumerate(tqdm(plans, desc="side by side")):
        for dtype in (torch.float64, torch.float32):
            pair = both(TASKS[head], folder / f"{number}-{dtype}", dtype, schedule, warmup, **changes)
            name = f"{head}, labels smoothed" if changes else head
            yield {"head": name, "schedule": schedule, "warm-up": warmup, "in": str(dtype)[6:], **differences(pair)}


def both(task: Task, folder: Path, dtype: torch.dtype, schedule: str, warmup: str, **changes: Any) -> Pair:
    """The same run twice: two groups of parameters, clipping, two passes whose last batch is smaller."""
    start = task.write(folder / "model")
    arguments = {
        "lr_scheduler_type": schedule,
        "lr_scheduler_kwargs": SCHEDULES[schedule],
        "max_grad_norm": CLIPPED_ABOVE,
        **WARMUPS[warmup],
        **changes,
    }
    ours = our_trainer(
        task.opened_by_us(start, dtype), task.examples(), folder / "ours", data_collator=Collator(dtype), **arguments
    )
    theirs = their_trainer(
        task.opened_by_them(start, dtype),
        task.examples(),
        folder / "theirs",
        data_collator=Collator(dtype),
        **arguments,
    )
    pair = Pair(run_of(ours), run_of(theirs))
    require_same_material(pair)
    return Pair(*(run._replace(weights=kept(trainer)) for run, trainer in zip(pair, (ours, theirs), strict=True)))


def kept(trainer: Any) -> dict[str, Tensor]:
    """The parameters of a trainer's model under the names that both libraries keep them by."""
    folder = Path(trainer.args.output_dir) / "end"
    trainer.model.save_pretrained(folder)
    return load_file(folder / "model.safetensors")


def require_same_material(pair: Pair) -> None:
    """End unless both trainers read the same batches, in groups of parameters of the same sizes and decay."""
    if pair.ours.groups != pair.theirs.groups:
        raise SystemExit(f"the groups of parameters are {pair.ours.groups} and {pair.theirs.groups}")
    if len(pair.ours.batches) != len(pair.theirs.batches):
        raise SystemExit("the trainers did not read equally many batches")
    for ours, theirs in zip(pair.ours.batches, pair.theirs.batches, strict=True):
        if ours.keys() != theirs.keys() or not all(torch.equal(ours[name], theirs[name]) for name in ours):
            raise SystemExit("the trainers did not read the same batches")


def differences(pair: Pair) -> dict[str, Any]:
    """How far the two runs are apart, where they are farthest."""
    ours, theirs = pair
    return {
        "steps": len(ours.losses),
        "clipped": sum(norm > CLIPPED_ABOVE for norm in ours.norms),
        "loss": largest_difference(ours.losses, theirs.losses),
        "gradient norm": largest_difference(ours.norms, theirs.norms),
        "weights at the end": largest_difference_of_weights(ours.weights, theirs.weights),
        "rates are equal": ours.rates == theirs.rates,
        "and those used": ours.rates == ours.rates_used and theirs.rates == theirs.rates_used,
    }


def is_kept(row: dict[str, Any]) -> bool:
    """Whether a row keeps the promise, which is about float64; rates are equal in every type."""
    is_close = row["loss"] <= LARGEST_LOSS and row["gradient norm"] <= LARGEST_NORM
    return row["rates are equal"] and row["and those used"] and (is_close or row["in"] != "float64")


def by_head(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The largest differences over all schedules and warm-ups."""
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["head"], row["in"]), []).append(row)
    return [
        {
            "head": head,
            "in": dtype,
            "runs": len(group),
            "steps": sum(row["steps"] for row in group),
            "clipped": sum(row["clipped"] for row in group),
            **{name: largest(row[name] for row in group) for name in DISTANCES},
            **{name: all(row[name] for row in group) for name in ("rates are equal", "and those used")},
        }
        for (head, dtype), group in groups.items()
    ]


def against_themselves(head: str, folder: Path) -> dict[str, Any]:
    """How far their trainer is from itself in float32, where two kernels only round differently."""
    place = folder / f"themselves-{head}"
    start = TASKS[head].write(place / "model")
    runs = [
        run_of(
            their_trainer(
                TASKS[head].opened_by_them(start, torch.float32, attention),
                TASKS[head].examples(),
                place / attention,
                data_collator=Collator(torch.float32),
                lr_scheduler_type="constant",
                max_grad_norm=CLIPPED_ABOVE,
            )
        )
        for attention in ("eager", "sdpa")
    ]
    found = differences(Pair(*runs))
    return {"head": head, "in": "float32", **{name: found[name] for name in ("steps", *DISTANCES)}}


# What the usual trainer gets wrong


def table_of_findings(folder: Path) -> Iterator[dict[str, Any]]:
    """What is right, what their trainer gives, and what ours gives."""
    questions: list[Callable[[Path], list[dict[str, Any]]]] = [
        *(partial(accumulated, head) for head in (*HEADS, "BertForTokenClassification")),
        spoilt_by_a_nan,
        *(partial(evaluated, head) for head in ("BertForSequenceClassification", "BertForTokenClassification")),
        *(partial(resumed, way) for way in RESUMED),
    ]
    for number, question in enumerate(tqdm(questions, desc="findings")):
        yield from question(folder / f"finding-{number}")


def accumulated(head: str, folder: Path) -> list[dict[str, Any]]:
    """Four batches of 2 for one of 8, of each update, and three for the last one of a pass, which has 6 examples."""
    ratios = []
    for opened, trainer in sides(TASKS[head], folder):
        runs = []
        for size, n_batches in ((8, 1), (2, 4)):
            sizes = {"per_device_train_batch_size": size, "gradient_accumulation_steps": n_batches}
            # At a rate of zero all updates begin at the same parameters, so that each is compared by itself.
            runs.append(run_of(trainer(opened(), folder=folder / f"{size}", learning_rate=0.0, **sizes)))
        whole, parts = runs
        ratios.append([quotients(parts.losses, whole.losses), quotients(parts.norms, whole.norms)])
    return [
        {"what": f"{what} of 2 × 4 over that of 8 × 1, {head}", "right": "1", "theirs": theirs, "ours": ours}
        for what, theirs, ours in zip(("loss", "gradient norm"), *ratios, strict=True)
    ]


def quotients(found: list[float], wanted: list[float]) -> list[float]:
    """The smallest and the largest quotient of two sequences.

    >>> quotients([2.0, 9.0], [1.0, 3.0])
    [2.0, 3.0]
    """
    ratios = [one / other for one, other in zip(found, wanted, strict=True)]
    return [min(ratios), max(ratios)]


def spoilt_by_a_nan(folder: Path) -> list[dict[str, Any]]:
    """One label of a regression is no number."""
    task = TASKS["the same, a number"]
    examples = task.examples()
    examples[3]["labels"] = torch.tensor(float("nan"), dtype=torch.float64)
    said, lost = [], []
    for opened, trainer in sides(task, folder, examples):
        learning = trainer(opened(), folder=folder / "out")
        try:
            learning.train()
            losses = [entry["loss"] for entry in learning.state.log_history if "loss" in entry]
            said.append(f"loss {losses[-1]} at the last of {len(losses)} steps")
        except InputError as error:
            said.append(f"stops: {str(error).split(';')[0]}")
        numbers = torch.cat([parameter.detach().flatten() for parameter in learning.model.parameters()])
        lost.append(f"{numbers.isnan().double().mean().item():.0%}")
    return [
        {"what": "one label is NaN: what is said", "right": "an error", "theirs": said[0], "ours": said[1]},
        {"what": "one label is NaN: parameters lost by it", "right": "0%", "theirs": lost[0], "ours": lost[1]},
    ]


def evaluated(head: str, folder: Path) -> list[dict[str, Any]]:
    """The loss of an evaluation in batches of 4 and in one batch."""
    gaps = []
    for opened, trainer in sides(TASKS[head], folder):
        in_batches, at_once = (
            trainer(opened(), folder=folder / "out", per_device_eval_batch_size=size).evaluate(TASKS[head].examples())
            for size in (4, N_EXAMPLES)
        )
        gaps.append(abs(evaluation_loss(in_batches) - evaluation_loss(at_once)))
    what = f"evaluation loss in batches of 4 and in one, {head}: difference"
    return [{"what": what, "right": "0", "theirs": gaps[0], "ours": gaps[1]}]


def evaluation_loss(figures: dict[str, Any]) -> float:
    """The loss among the figures of an evaluation."""
    return float(figures["eval_loss"])


@dataclass
class MaskingCollator:
    """Words masked anew at each visit, by draws from the global generator."""

    pad: Collator

    def __call__(self, examples: list[Example]) -> Batch:
        """A padded batch some words of which are to be guessed."""
        batch = self.pad(examples)
        asked = (torch.rand(batch["input_ids"].shape) < 0.3) & (batch["attention_mask"] == 1)
        asked[:, 0] = True
        return {
            **batch,
            "labels": batch["input_ids"].where(asked, IGNORED),
            "input_ids": batch["input_ids"].masked_fill(asked, 1),
        }


RESUMED: dict[str, tuple[bool, dict[str, Any]]] = {
    "shuffled": (False, {}),
    "shuffled, words masked anew": (True, {}),
    "shuffled, grouped by length": (False, {"train_sampling_strategy": "group_by_length"}),
}
"""For each way to train whether words are masked anew, and what else the trainers are told."""


def resumed(way: str, folder: Path) -> list[dict[str, Any]]:
    """A run that goes on in the middle of its second pass, and one that never stopped: how far their weights part."""
    masks_anew, changes = RESUMED[way]
    gaps = []
    collate: Any = MaskingCollator(Collator(torch.float64)) if masks_anew else Collator(torch.float64)
    for number, (opened, trainer) in enumerate(
        sides(TASKS["BertForMaskedLM"], folder, data_collator=collate, in_our_order=False)
    ):
        saving = {"save_strategy": "steps", "save_steps": 4, **changes}
        place = folder / f"{number}"
        whole = trainer(opened(), folder=place, **saving)
        whole.train()
        again = trainer(opened(), folder=place, **saving)
        again.train(resume_from_checkpoint=str(place / "checkpoint-8"))
        gaps.append(largest_difference_of_weights(again.model.state_dict(), whole.model.state_dict()))
    what = f"resumed at step 8 of 12, {way}: largest difference of a weight at the end"
    return [{"what": what, "right": "0", "theirs": gaps[0], "ours": gaps[1]}]


def sides(
    task: Task, folder: Path, examples: list[Example] | None = None, in_our_order: bool = True, **options: Any
) -> Iterator[tuple[Callable[[], Any], Callable[..., Any]]]:
    """For their side and then for ours, what opens the model and what makes a trainer."""
    start = task.write(folder / "model")
    given = {"examples": examples or task.examples(), "data_collator": Collator(torch.float64), **options}
    theirs = their_trainer if in_our_order else partial(their_trainer, kind=transformers.Trainer)
    yield partial(task.opened_by_them, start, torch.float64), partial(theirs, **given)
    yield partial(task.opened_by_us, start, torch.float64), partial(our_trainer, **given)


if __name__ == "__main__":
    main(tyro.cli(Comparison))
