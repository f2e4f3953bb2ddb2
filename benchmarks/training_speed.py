"""Training by two trainers, timed: what a user of each would write, and a clock that both carry.

A turn is a whole training of some steps. The clock runs from where a trainer says that training begins to the end of
the last step: everything a step needs is in it (reading, masking, padding, the model, clipping, the optimizer), and
setting up is not.
"""

import atexit
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import transformers
from both_trainers import TheirTrainer
from torch import nn

from minitransformer.batches import Example
from minitransformer.trainer import Trainer, TrainerCallback
from minitransformer.trainer.order import Order
from minitransformer.training_arguments import TrainingArguments

SCRATCH = Path(tempfile.mkdtemp(prefix="benchmark-"))
atexit.register(shutil.rmtree, SCRATCH, ignore_errors=True)
TURN_SECONDS, MOST_STEPS = 1.5, 16
"""How long a turn of the first side should be, which is theirs and the slowest, and its steps at most."""
SEED = 0
SETTINGS: dict[str, Any] = {
    "learning_rate": 1e-4,
    "weight_decay": 0.01,
    "adam_epsilon": 1e-6,
    "max_grad_norm": 1.0,
    "save_strategy": "no",
    "logging_strategy": "no",
    "disable_tqdm": True,
    "seed": SEED,
}
"""What both trainers are told."""

Collate = Callable[[Sequence[Any]], Any]


class Clock:
    """When training began, and when its last step ended."""

    def __init__(self) -> None:
        self.began = self.ended = 0.0

    def on_train_begin(self, args: Any, *_: Any, **__: Any) -> None:
        """Start."""
        finish(args.use_cpu)
        self.began = time.perf_counter()

    def on_step_end(self, args: Any, state: Any, *_: Any, **__: Any) -> None:
        """Stop after the last step, on an accelerator when it is really over; in between nobody waits for it."""
        if state.global_step == state.max_steps:
            finish(args.use_cpu)
            self.ended = time.perf_counter()

    @property
    def seconds(self) -> float:
        """Between the two."""
        return self.ended - self.began


class OurClock(Clock, TrainerCallback):
    """As a callback of ours."""


class TheirClock(Clock, transformers.TrainerCallback):
    """As a callback of theirs."""


class Losses:
    """The loss of each step, as logged."""

    def __init__(self) -> None:
        self.values: list[float] = []

    def on_log(self, *_: Any, logs: dict[str, Any], **__: Any) -> None:
        """Keep it."""
        if "loss" in logs:
            self.values.append(logs["loss"])


class OurLosses(Losses, TrainerCallback):
    """As a callback of ours."""


class TheirLosses(Losses, transformers.TrainerCallback):
    """As a callback of theirs."""


def finish(use_cpu: bool) -> None:
    """Wait for an accelerator, if one computes."""
    if not use_cpu and torch.cuda.is_available():
        torch.cuda.synchronize()


@dataclass
class Side:
    """A trainer that trains anew at each turn, with its clock."""

    trainer: Any
    clock: Clock
    first_turn: float = field(default=0.0, init=False)
    """The seconds of the first turn, with whatever is done once, such as compiling."""

    def turn(self) -> float:
        """Train, and give the seconds of the steps."""
        self.trainer.train()
        self.first_turn = self.first_turn or self.clock.seconds
        return self.clock.seconds


def settle(sides: dict[str, Side], steps: int | None, most: int = MOST_STEPS) -> int:
    """Warm all sides up by a step, and agree on the steps of a turn, so that one of the first side takes seconds.

    Each side's first turn is one step; `first_turn` tells what it took.
    """
    for side in sides.values():
        side.trainer.args.max_steps = 1
        side.turn()
    pace = next(iter(sides.values())).turn()
    chosen = steps or max(1, min(most, round(TURN_SECONDS / pace)))
    for side in sides.values():
        side.trainer.args.max_steps = chosen
    return chosen


def our_side(
    model: nn.Module, examples: Sequence[Example], collate: Collate, n_steps: int, batch_size: int, **options: Any
) -> Side:
    """Our trainer as people run it."""
    clock = OurClock()
    return Side(our_trainer(model, examples, collate, n_steps, batch_size, clock, **options), clock)


def their_side(
    model: nn.Module, examples: Sequence[Example], collate: Collate, n_steps: int, batch_size: int, **options: Any
) -> Side:
    """Their trainer with the settings that are fastest."""
    clock = TheirClock()
    return Side(their_trainer(model, examples, collate, n_steps, batch_size, clock, **options), clock)


def our_trainer(
    model: nn.Module,
    examples: Sequence[Example],
    collate: Collate,
    n_steps: int,
    batch_size: int,
    *callbacks: Any,
    **options: Any,
) -> Trainer:
    """A trainer of ours."""
    arguments = TrainingArguments(
        scratch(), max_steps=n_steps, per_device_train_batch_size=batch_size, **{**SETTINGS, **options}
    )
    return Trainer(model, arguments, train_dataset=examples, data_collator=collate, callbacks=list(callbacks))


def their_trainer(
    model: nn.Module,
    examples: Sequence[Example],
    collate: Collate,
    n_steps: int,
    batch_size: int,
    *callbacks: Any,
    kind: type[transformers.Trainer] = TheirTrainer,
    **options: Any,
) -> transformers.Trainer:
    """A trainer of theirs, which reads the examples in our order unless it is another `kind`."""
    on_cpu = options.get("use_cpu", False)
    theirs = {"optim": "adamw_torch_fused", "report_to": "none", "dataloader_pin_memory": not on_cpu}
    arguments = transformers.TrainingArguments(
        scratch(),
        max_steps=n_steps,
        per_device_train_batch_size=batch_size,
        **{**SETTINGS, **theirs, **options},
    )
    trainer = kind(model, arguments, train_dataset=examples, data_collator=collate, callbacks=list(callbacks))
    trainer.remove_callback(transformers.trainer_callback.PrinterCallback)
    return trainer


def losses_of(make: Callable[..., Any], losses: Losses, *given: Any, **options: Any) -> list[float]:
    """Train, and give the loss of each step."""
    make(*given, losses, logging_strategy="steps", logging_steps=1, **options).train()
    return losses.values


def batches_of(lengths: Sequence[int], n_steps: int, batch_size: int) -> list[list[int]]:
    """The lengths of the examples of each step.

    >>> batches_of([5, 5, 5, 5], n_steps=2, batch_size=1)
    [[5], [5]]
    """
    order = Order(len(lengths), batch_size, SEED).updates(0, len(lengths))
    return [[lengths[number] for number in update] for update in order[:n_steps]]


def folder_of(model: Any) -> Path:
    """Keep a model of ours, so that both sides open the same weights."""
    folder = scratch()
    model.save_pretrained(folder)
    return folder


def scratch() -> Path:
    """A new folder that is gone when the program ends."""
    return Path(tempfile.mkdtemp(dir=SCRATCH))
