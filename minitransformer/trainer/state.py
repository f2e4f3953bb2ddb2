"""What a run knows of itself: how far it has come, what it has logged, and how it ended."""

import signal
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, NamedTuple

Figures = dict[str, Any]


@dataclass
class TrainerState:
    """How far the training has come, and what was logged on the way; kept with every checkpoint.

    `epoch` counts passes over the data, and `train_batch_size` the examples of one update in all processes together, or
    with `max_tokens` how many these are on average.
    """

    global_step: int = 0
    max_steps: int = 0
    epoch: float = 0.0
    num_train_epochs: int = 0
    train_batch_size: int = 0
    n_processes: int = 1
    batch_of_process: int = 0
    """Examples that each of the processes computed at once; with other sizes sums are rounded otherwise."""
    max_tokens: int | None = None
    """What the batches were cut by; by something else they would have been others."""
    batches_of_update: int = 0
    """How many of these an update has in all processes together."""
    num_input_tokens_seen: int = 0
    log_history: list[Figures] = field(default_factory=list)
    best_metric: float | None = None
    best_global_step: int = 0
    best_model_checkpoint: str | None = None
    is_local_process_zero: bool = True
    is_world_process_zero: bool = True
    stateful_callbacks: dict[str, dict[str, Any]] = field(default_factory=dict)
    """What callbacks want to remember, by the name of their class."""
    total_loss: float = 0.0
    """The losses of all updates, one added to the other."""
    unlogged: dict[str, list[int | float]] = field(default_factory=dict)
    """For each part of the loss its sum and count since the last log, so that a resumed run logs the same means."""
    passes: int = 0
    """Passes over the data that are complete."""
    updates_of_this_pass: int = 0
    """Updates since the last of these."""
    examples_of_this_pass: int = 0
    """Examples since the last of these."""
    left_to_do: list[str] = field(default_factory=list)
    """What the last step still owes because a signal came first: `log`, `evaluate`, `save`."""

    def entries(self) -> dict[str, Any]:
        """All of it, ready to be written as JSON."""
        return asdict(self)

    @classmethod
    def from_entries(cls, entries: dict[str, Any]) -> "TrainerState":
        """The state that was written; what a later version added is left out.

        >>> TrainerState.from_entries({"global_step": 3, "unheard_of": 1}).global_step
        3
        """
        known = {entry.name for entry in fields(cls)}
        return cls(**{name: value for name, value in entries.items() if name in known})


@dataclass
class TrainerControl:
    """What callbacks may ask of the trainer: set one to True, and it is done after this step."""

    should_training_stop: bool = False
    should_epoch_stop: bool = False
    should_save: bool = False
    should_evaluate: bool = False
    should_log: bool = False

    def forget(self) -> None:
        """Ask for nothing, but for an end that was asked for."""
        self.should_save = self.should_evaluate = self.should_log = False

    def asked_for(self) -> list[str]:
        """What is to be done, in its order.

        >>> TrainerControl(should_save=True, should_log=True).asked_for()
        ['log', 'save']
        """
        wanted = {"log": self.should_log, "evaluate": self.should_evaluate, "save": self.should_save}
        return [name for name, is_wanted in wanted.items() if is_wanted]

    def ask_for(self, names: Sequence[str]) -> None:
        """Ask for these too."""
        for name in names:
            setattr(self, f"should_{name}", True)

    def withdraw(self, name: str) -> None:
        """No longer ask for this one."""
        setattr(self, f"should_{name}", False)


class EvalPrediction(NamedTuple):
    """What `compute_metrics` is given: scores and truths of all examples, in order."""

    predictions: Any
    label_ids: Any


class PredictionOutput(NamedTuple):
    """Scores and truths of all examples in order, and what was computed from them."""

    predictions: Any
    label_ids: Any
    metrics: dict[str, Any]


class TrainOutput(NamedTuple):
    """How a training ended: after how many steps, with which mean loss, and how fast."""

    global_step: int
    training_loss: float
    metrics: dict[str, float]


class TrainingInterruptedError(SystemExit):
    """A signal stopped the training between two updates, and a checkpoint of everything was written.

    Nobody has to catch it: a program that it ends exits with 130 after Ctrl-C, and with 0 after SIGTERM, which is how
    clusters ask for the machine back.
    """

    def __init__(self, checkpoint: Path, number: int = signal.SIGINT) -> None:
        super().__init__(0 if number == signal.SIGTERM else 128 + number)
        self.checkpoint = checkpoint
        self.signal = signal.Signals(number)

    def __str__(self) -> str:
        return f"interrupted; {self.checkpoint} holds everything, run the same command again to go on"
