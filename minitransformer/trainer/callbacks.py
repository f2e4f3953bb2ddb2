"""Who is told what happens in a run, and may ask for more: callbacks, with the events of Hugging Face's."""

import time
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tqdm import tqdm

from minitransformer.errors import InputError
from minitransformer.losses import LossPart
from minitransformer.run_log import LOG_FILE, LogFile, TensorBoardWriter, bar_text
from minitransformer.trainer.state import Figures, TrainerControl, TrainerState
from minitransformer.training_arguments import TrainingArguments

EVENTS = (
    "on_init_end",
    "on_train_begin",
    "on_train_end",
    "on_epoch_begin",
    "on_epoch_end",
    "on_step_begin",
    "on_pre_optimizer_step",
    "on_optimizer_step",
    "on_substep_end",
    "on_step_end",
    "on_evaluate",
    "on_predict",
    "on_save",
    "on_log",
    "on_prediction_step",
)


class TrainerCallback:
    """Told what happens; subclass it and write the methods you need.

    Each is given the arguments, the state and the control of the trainer, and by name `model`, `optimizer`,
    `lr_scheduler`, `processing_class`, `train_dataset`, `eval_dataset`; `on_log` also `logs`, `on_evaluate` and
    `on_predict` also `metrics`, `on_save` also `checkpoint`. Set `control.should_training_stop` and its like to ask for
    something. What a callback's `state_dict()` gives, and its `load_state_dict` takes, is kept with checkpoints.
    """

    def on_init_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **given: Any) -> None:
        """The trainer is ready."""

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **given: Any
    ) -> None:
        """The training begins, or goes on."""

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **given: Any) -> None:
        """The training has ended."""

    def on_epoch_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **given: Any
    ) -> None:
        """A pass over the data begins."""

    def on_epoch_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **given: Any) -> None:
        """A pass over the data has ended."""

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **given: Any
    ) -> None:
        """An update begins."""

    def on_substep_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **given: Any
    ) -> None:
        """The gradients of a batch that is not the last of its update were added."""

    def on_pre_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **given: Any
    ) -> None:
        """The gradients are complete and clipped."""

    def on_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **given: Any
    ) -> None:
        """The parameters have moved, and the gradients are still there."""

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **given: Any) -> None:
        """An update is complete."""

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **given: Any) -> None:
        """Figures were logged: `logs`."""

    def on_evaluate(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **given: Any) -> None:
        """The model was evaluated: `metrics`."""

    def on_predict(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **given: Any) -> None:
        """The model was asked for predictions: `metrics`."""

    def on_prediction_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **given: Any
    ) -> None:
        """A batch was evaluated."""

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **given: Any) -> None:
        """A checkpoint was written: `checkpoint`."""


class EarlyStoppingCallback(TrainerCallback):
    """Stop after `early_stopping_patience` evaluations in a row that are not better than the best before them.

    Better means by more than `early_stopping_threshold`, in `metric_for_best_model`.

    Source: Prechelt 1998, "Early stopping — but when?", criterion UP.
    """

    def __init__(self, early_stopping_patience: int = 1, early_stopping_threshold: int | float = 0.0) -> None:
        if early_stopping_patience < 1 or early_stopping_threshold < 0:
            raise InputError(
                f"early_stopping_patience={early_stopping_patience} must be at least 1, and "
                f"early_stopping_threshold={early_stopping_threshold} not negative"
            )
        self.patience = early_stopping_patience
        self.threshold = early_stopping_threshold
        self.evaluations_without_progress = 0

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **given: Any
    ) -> None:
        """Refuse to watch a run that is never evaluated, or that has nothing to be judged by."""
        if args.eval_strategy == "no":
            raise InputError("EarlyStoppingCallback needs evaluations; give eval_strategy='steps' or 'epoch'")
        if args.metric_for_best_model is None:
            raise InputError("EarlyStoppingCallback needs metric_for_best_model, such as 'loss' or 'accuracy'")

    def on_evaluate(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **given: Any) -> None:
        """Compare with the best evaluation before this one, unless it was of other data, under other names."""
        name = str(args.metric_for_best_model)
        if given["metrics"].keys().isdisjoint((name, f"eval_{name}")):
            return
        value = metric_to_watch(given["metrics"], name)
        best = state.best_metric
        is_progress = best is None or (args.is_better(value, best) and abs(value - best) > self.threshold)
        self.evaluations_without_progress = 0 if is_progress else self.evaluations_without_progress + 1
        if self.evaluations_without_progress >= self.patience:
            control.should_training_stop = True

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run has to know."""
        return {"evaluations_without_progress": self.evaluations_without_progress}

    def load_state_dict(self, entries: Mapping[str, Any]) -> None:
        """Go on where the run that was stopped was."""
        self.evaluations_without_progress = int(entries["evaluations_without_progress"])


class ProgressCallback(TrainerCallback):
    """A bar over all updates, those before a resume among them, with the loss, the rate and the speed."""

    def __init__(self) -> None:
        self.bar: tqdm[Any] | None = None

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **given: Any
    ) -> None:
        """Show the bar."""
        self.bar = tqdm(
            total=state.max_steps,
            initial=state.global_step,
            desc="training",
            unit="step",
            disable=args.disable_tqdm or not state.is_world_process_zero,
        )

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **given: Any) -> None:
        """One step further."""
        if self.bar is not None:
            self.bar.update(state.global_step - self.bar.n)

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **given: Any) -> None:
        """Show the newest figures."""
        if self.bar is not None and "loss" in given["logs"]:
            logs = given["logs"]
            self.bar.set_postfix_str(bar_text(logs["loss"], logs.get("learning_rate"), logs.get("tokens_per_second")))

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **given: Any) -> None:
        """Leave the bar as it is."""
        if self.bar is not None:
            self.bar.close()
            self.bar = None


class LogFileCallback(TrainerCallback):
    """Writes what is logged into `log.jsonl`, line by line; a resumed run drops the lines after its checkpoint."""

    def __init__(self) -> None:
        self.log: LogFile | None = None

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **given: Any
    ) -> None:
        """Begin with what was logged up to here."""
        if state.is_world_process_zero:
            self.log = LogFile(Path(args.output_dir) / LOG_FILE)
            self.log.start(state.log_history)

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **given: Any) -> None:
        """One line more."""
        if self.log is not None:
            self.log.add(given["logs"])

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **given: Any) -> None:
        """What is logged from here on is not of this training."""
        self.log = None


class TensorBoardCallback(TrainerCallback):
    """Writes what is logged where TensorBoard shows it: `logging_dir`, or the folder `tensorboard` of the run."""

    def __init__(self) -> None:
        self.writer: TensorBoardWriter | None = None

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **given: Any
    ) -> None:
        """Hide what was logged after the checkpoint that the run goes on from."""
        if state.is_world_process_zero:
            folder = Path(args.logging_dir or Path(args.output_dir) / "tensorboard")
            self.writer = TensorBoardWriter(folder, steps_before=state.global_step)

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **given: Any) -> None:
        """Write the numbers of an entry."""
        if self.writer is not None:
            self.writer.add(given["logs"])

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **given: Any) -> None:
        """Write what is left."""
        if self.writer is not None:
            self.writer.close()
            self.writer = None


def reporting_callbacks(args: TrainingArguments) -> list[TrainerCallback]:
    """Who shows and writes what a run logs: the bar, the log, and TensorBoard where it was asked for.

    A `logging_dir` alone asks for TensorBoard as Hugging Face's fourth version does: wherever it is installed.
    """
    callbacks: list[TrainerCallback] = [ProgressCallback(), LogFileCallback()]
    asked_by_folder = args.report_to is None and args.logging_dir is not None
    if "tensorboard" in args.reporters or (asked_by_folder and find_spec("tensorboard") is not None):
        callbacks.append(TensorBoardCallback())
    return callbacks


def metric_to_watch(metrics: Mapping[str, Any], name: str) -> float:
    """A metric of an evaluation, with or without `eval_` before its name.

    Raises: InputError listing those there are.

    >>> metric_to_watch({"eval_loss": 0.5}, "loss")
    0.5
    """
    for candidate in (name, f"eval_{name}"):
        if candidate in metrics:
            return float(metrics[candidate])
    raise InputError(f"metric_for_best_model={name!r} is none of the evaluation's: {', '.join(sorted(metrics))}")


class LogWindow:
    """What happened since the last log: the mean of each part of the loss, and the speed.

    `sums` holds the sum and the count of each part, and is kept with the checkpoints.
    """

    def __init__(self, sums: dict[str, list[int | float]]) -> None:
        self.sums = sums
        self.norm = 0.0
        self.n_tokens = 0
        self.n_skipped = 0
        self.started = time.perf_counter()

    def add(self, parts: Mapping[str, LossPart], norm: float, n_tokens: int) -> None:
        """Count one update in."""
        for name, part in parts.items():
            total, count = self.sums.get(name, (0.0, 0))
            self.sums[name] = [total + part.total.item(), count + part.count]
        self.norm = norm
        self.n_tokens += n_tokens

    def is_empty(self) -> bool:
        """Whether nothing happened since the last log."""
        return not self.sums and not self.n_skipped

    def close(self) -> Figures:
        """The figures of the window, which begins anew."""
        means = {name: total / count for name, (total, count) in self.sums.items()}
        if means and "loss" not in means:
            means = {"loss": sum(means.values()), **means}
        seconds = time.perf_counter() - self.started
        figures: Figures = {**means, "grad_norm": self.norm, "tokens_per_second": self.n_tokens / seconds}
        if self.n_skipped:
            figures["skipped_updates"] = self.n_skipped
        self.sums.clear()
        self.n_tokens = self.n_skipped = 0
        self.started = time.perf_counter()
        return figures
