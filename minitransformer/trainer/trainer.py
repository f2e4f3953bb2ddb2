"""The trainer: batches in, updates out, with everything that chance decides fixed by the seed and the step.

Each update draws its randomness (dropout) from a seed made of `seed` and its own number, each example (masking) from
one made of the seed, the pass and its number, and each pass its order from the seed and the pass's number. So a run
that stops and goes on is bit for bit the run that never stopped, and no generator's state has to be kept.
"""

import logging
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from minitransformer import files
from minitransformer.checkpoint import (
    keep_tensors,
    load_checkpoint,
    load_weights,
    newest_checkpoint,
    save_checkpoint,
    unique_tensors,
)
from minitransformer.errors import InputError
from minitransformer.hub import WEIGHTS_FILE
from minitransformer.pretrained import PretrainedModel
from minitransformer.run_log import Run
from minitransformer.trainer.callbacks import LogWindow, TrainerCallback, metric_to_watch, reporting_callbacks
from minitransformer.trainer.evaluation import (
    Evaluator,
    Preprocess,
    Questions,
    label_names_of,
    labels_read_by,
    speed_of,
    with_prefix,
)
from minitransformer.trainer.given import default_collator, new_model, require_optimizer_of_model
from minitransformer.trainer.interrupts import Interrupt, deferred_interrupts
from minitransformer.trainer.learner import Learned, Learner
from minitransformer.trainer.listeners import Listeners, made
from minitransformer.trainer.loss_parts import (
    LossFunction,
    LossOf,
    loss_by,
    mean_loss,
    takes,
)
from minitransformer.trainer.order import is_stream, require_examples, require_no_stream
from minitransformer.trainer.processes import Processes
from minitransformer.trainer.randomness import set_seed
from minitransformer.trainer.reading import (
    Batch,
    Collation,
    ReadUpdate,
    columns_read_by,
)
from minitransformer.trainer.state import (
    EvalPrediction,
    Figures,
    PredictionOutput,
    TrainerControl,
    TrainerState,
    TrainingInterruptedError,
    TrainOutput,
)
from minitransformer.trainer.supply import Supply
from minitransformer.training_arguments import TrainingArguments, interval

if TYPE_CHECKING:
    from matplotlib.figure import Figure

logger = logging.getLogger(__name__)


class StoppedInEvaluation(Exception):  # noqa: N818 - not an error: a signal that came while evaluating
    """A signal came while the model was evaluated."""


class Trainer(Listeners):
    """Train, evaluate and predict with a model that returns a loss.

    A model with `training_losses(**batch)` gives its loss in parts (sum and count of each), which are logged one by
    one, and says in `training_counts(**batch)` how many each will be over; of any other the `loss` of its output is
    used. Override `compute_loss`, or give `compute_loss_func`, for a loss of your own. Biases and the parameters of
    norms do not decay.

    Raises: InputError for data that cannot be trained on, a NaN loss, and a checkpoint of another model.

    >>> model = nn.Linear(1, 1)
    >>> Trainer(model, TrainingArguments("runs/none")).train()
    Traceback (most recent call last):
        ...
    minitransformer.errors.InputError: train_dataset is missing or empty; give at least one example to train on
    """

    def __init__(
        self,
        model: nn.Module | None = None,
        args: TrainingArguments | None = None,
        data_collator: Callable[..., Batch] | None = None,
        train_dataset: Any = None,
        eval_dataset: Any = None,
        processing_class: Any = None,
        model_init: Callable[..., nn.Module] | None = None,
        compute_loss_func: LossFunction | None = None,
        compute_metrics: Callable[[EvalPrediction], dict[str, float]] | None = None,
        callbacks: Sequence[TrainerCallback | type[TrainerCallback]] | None = None,
        optimizers: tuple[torch.optim.Optimizer | None, Any] = (None, None),
        preprocess_logits_for_metrics: Preprocess | None = None,
        *,
        tokenizer: Any = None,
    ) -> None:
        self.args = TrainingArguments() if args is None else args
        set_seed(self.args.seed) if model_init is not None else None
        self.model_init = model_init
        self.model = new_model(model, model_init)
        self.train_dataset = train_dataset
        self.eval_dataset = eval_dataset
        self.processing_class = processing_class if processing_class is not None else tokenizer
        self.data_collator = data_collator or default_collator(self.processing_class)
        self.compute_loss_func = compute_loss_func
        self.compute_metrics = compute_metrics
        self.preprocess_logits_for_metrics = preprocess_logits_for_metrics
        self.optimizers = optimizers
        require_optimizer_of_model(optimizers, self.model, model_init)
        self.callbacks = [*map(made, callbacks or ()), *reporting_callbacks(self.args)]
        self.state, self.control = TrainerState(), TrainerControl()
        self.checkpoint_of_this_step: Path | None = None
        self.interrupt: Interrupt | None = None
        self.processes = Processes.of_this_run(self.args)
        self.require_what_the_data_allows()
        self.learner = self.new_learner()
        self.tell("on_init_end")

    # What is trained

    def require_what_the_data_allows(self) -> None:
        """Refuse arguments that the data or the processes cannot follow."""
        args = self.args
        if args.eval_strategy != "no" and self.eval_dataset is None:
            raise InputError(f"eval_strategy={args.eval_strategy!r} needs an eval_dataset; give one, or say 'no'")
        if args.auto_find_batch_size and self.processes.n_processes > 1:
            raise InputError(
                "auto_find_batch_size=True is for one process: several would have to run out of memory together; "
                "lower per_device_train_batch_size and raise gradient_accumulation_steps instead"
            )
        if args.max_tokens is not None:
            for name, dataset in (("train_dataset", self.train_dataset), ("eval_dataset", self.eval_dataset)):
                require_no_stream(dataset, name, args.max_tokens)
        if self.train_dataset is None or not is_stream(self.train_dataset):
            return
        if args.max_steps < 1:
            raise InputError("a train_dataset that is a stream has no epochs to count; give max_steps")
        if args.train_sampling_strategy == "group_by_length":
            raise InputError("group_by_length=True needs a train_dataset that is no stream, to look ahead in")
        if args.dataloader_num_workers > 1:
            raise InputError(
                f"dataloader_num_workers={args.dataloader_num_workers} would each read the same stream; give 0 or 1"
            )

    def loss_of(self) -> LossOf | None:
        """The user's own loss, if there is one."""
        if type(self).compute_loss is not Trainer.compute_loss:
            return self.compute_loss_of
        return None if self.compute_loss_func is None else loss_by(self.compute_loss_func)

    def compute_loss_of(self, model: nn.Module, batch: Batch, count: int, return_outputs: bool = False) -> Any:
        """What an overridden `compute_loss` says; it need not know the number of items, nor give the outputs."""
        given: dict[str, Any] = {"num_items_in_batch": count} if takes(self.compute_loss, "num_items_in_batch") else {}
        if not return_outputs:
            return self.compute_loss(model, dict(batch), **given)
        if takes(self.compute_loss, "return_outputs"):
            return self.compute_loss(model, dict(batch), return_outputs=True, **given)
        return self.compute_loss(model, dict(batch), **given), None

    def compute_loss(
        self,
        model: nn.Module,
        inputs: Batch,
        return_outputs: bool = False,
        num_items_in_batch: int | None = None,  # noqa: ARG002 - for those who override it
    ) -> Any:
        """The mean loss of a batch; override it for a loss of your own.

        It is asked for the mean over the labels of one batch, of which there are `num_items_in_batch`; the trainer
        weighs it by them, so that batches that are accumulated are one large batch.
        """
        output = model(**inputs)
        loss = mean_loss(output, model)
        return (loss, output) if return_outputs else loss

    def collation(self) -> Collation:
        """How examples become batches."""
        args = self.args
        columns = columns_read_by(self.model, args.label_names or ()) if args.remove_unused_columns else None
        return Collation(self.data_collator, args.seed_of_data, columns)

    def new_learner(self) -> Learner:
        """What makes the updates of the model."""
        return Learner(self.model, self.args, self.processes, self.loss_of(), self.optimizers, self.tell)

    @property
    def optimizer(self) -> torch.optim.Optimizer:
        """The optimizer of the model."""
        return self.learner.optimizer

    @property
    def lr_scheduler(self) -> Any:
        """The schedule that was given with the optimizer; None while the arguments say the rates."""
        return self.learner.lr_scheduler

    # Training

    def train(self, resume_from_checkpoint: str | Path | bool | None = None) -> TrainOutput:
        """Train to the end; `resume_from_checkpoint=True` goes on from the newest checkpoint, if there is one.

        Raises: TrainingInterruptedError after Ctrl-C or SIGTERM, once a checkpoint is written.
        """
        dataset = require_examples(self.train_dataset)
        started = time.perf_counter()
        if self.model_init is not None:
            self.begin_anew()
        if resume_from_checkpoint is None:
            resume_from_checkpoint = self.args.resume_from_checkpoint
        self.state, self.control = self.resume(resume_from_checkpoint), TrainerControl()
        self.state.is_local_process_zero = self.processes.is_first_here
        self.state.is_world_process_zero = self.processes.is_first
        supply = Supply(dataset, self.collation(), self.args, self.processes, self.state)
        steps_before = self.state.global_step
        window = LogWindow(self.state.unlogged)
        noticing = self.processes.noticing_loss()
        with deferred_interrupts() as self.interrupt, self.learner.training(), self.told_of_the_end(), noticing:
            self.tell("on_train_begin")
            self.before_first_update(window)
            self.all_updates(supply, window)
        self.interrupt = None
        if self.args.load_best_model_at_end and self.state.best_model_checkpoint is not None:
            self.load_best_model()
        return self.outcome(time.perf_counter() - started, self.state.global_step - steps_before)

    @contextmanager
    def told_of_the_end(self) -> Iterator[None]:
        """Tell of the end, however it comes; a signal ends the program without a word of its own."""
        try:
            yield
        except TrainingInterruptedError as stop:
            self.tell("on_train_end")
            if self.processes.is_first:
                print(f"minitransformer: {stop}", file=sys.stderr)
            raise
        except BaseException:
            self.tell("on_train_end")
            raise
        self.tell("on_train_end")

    def begin_anew(self) -> None:
        """A new model for a new run."""
        set_seed(self.args.seed)
        self.model = new_model(None, self.model_init)
        self.learner = self.new_learner()

    def resume(self, resume_from_checkpoint: str | Path | bool | None) -> TrainerState:
        """The state to start from: a checkpoint's, or a new one."""
        folder: Path | None = None
        if resume_from_checkpoint is True:
            folder = newest_checkpoint(Path(self.args.output_dir))
        elif resume_from_checkpoint:
            folder = Path(resume_from_checkpoint)
        if folder is None:
            return TrainerState()
        entries = self.learner.restore_whole(
            partial(load_checkpoint, folder, scheduler=self.lr_scheduler, scaler=self.learner.scaler_if_any)
        )
        state = TrainerState.from_entries(entries)
        for callback in self.stateful_callbacks():
            if type(callback).__name__ in state.stateful_callbacks:
                callback.load_state_dict(state.stateful_callbacks[type(callback).__name__])
        return state

    def before_first_update(self, window: LogWindow) -> None:
        """Do what the last step still owes, if a signal stopped it, or what was asked for before the first."""
        self.control.should_evaluate = self.args.eval_on_start and self.state.global_step == 0
        self.control.ask_for(self.state.left_to_do)
        self.do_what_is_due(window)

    def all_updates(self, supply: Supply, window: LogWindow) -> None:
        """One update after the other, until there are enough."""
        state = self.state
        while not self.is_enough:
            if state.updates_of_this_pass == 0:
                self.control.should_epoch_stop = False
                self.tell("on_epoch_begin")
            pass_before = state.passes
            with closing(supply.updates_of_pass()) as updates:
                for update in updates:
                    self.step(update, window, supply)
                    if self.is_enough or state.passes > pass_before:
                        break
                else:
                    self.end_stream(window)

    @property
    def is_enough(self) -> bool:
        """Whether there are enough updates, or enough passes where these were asked for, or somebody says so."""
        state = self.state
        passes_are_over = self.args.max_steps < 1 and state.passes >= state.num_train_epochs
        return state.global_step >= state.max_steps or passes_are_over or self.control.should_training_stop

    def end_stream(self, window: LogWindow) -> None:
        """A pass over a dataset of unknown length ends where the dataset does.

        Raises: InputError if it gave nothing.
        """
        if not self.state.updates_of_this_pass:
            raise InputError("train_dataset ended before its first batch; give one that begins anew at each pass")
        self.control.forget()
        self.end_pass(is_complete=True)
        self.do_what_is_due(window, pass_has_ended=True)

    def step(self, update: ReadUpdate, window: LogWindow, supply: Supply) -> None:
        """One update, and what is due after it."""
        state = self.state
        self.checkpoint_of_this_step = None
        self.control.forget()
        self.tell("on_step_begin")
        self.learn(update, window)
        state.global_step += 1
        state.updates_of_this_pass += 1
        state.examples_of_this_pass += len(update.indices)
        state.epoch = state.passes + state.updates_of_this_pass / supply.updates_of_this_pass
        self.ask_for_what_is_due_at_steps()
        self.tell("on_step_end")
        is_complete = supply.is_at_end_of_pass
        pass_has_ended = is_complete or self.control.should_epoch_stop or self.is_enough
        if pass_has_ended:
            self.end_pass(is_complete)
        self.do_what_is_due(window, pass_has_ended)
        self.stop_if_asked()

    def learn(self, update: ReadUpdate, window: LogWindow) -> None:
        """Learn from the examples of an update, and count it.

        Raises: InputError if the loss or the gradient is no number, unless such updates are to be skipped.
        """
        learned = self.learner.learn(update.micro_batches, self.state.global_step, self.state.max_steps)
        if not learned.is_finite:
            self.refuse_or_skip(learned, update)
            window.n_skipped += 1
            return
        self.state.num_input_tokens_seen += learned.n_tokens
        self.state.total_loss += learned.loss
        window.add(learned.parts, learned.norm, learned.n_tokens)

    def refuse_or_skip(self, learned: Learned, update: ReadUpdate) -> None:
        """What becomes of an update that is no number: the model is not changed by it.

        Raises: InputError naming the step, the examples and the last good checkpoint, unless it is to be skipped.
        """
        what = (
            f"the loss is {learned.loss} with a gradient norm of {learned.norm} at step {self.state.global_step + 1}, "
            f"on the examples {in_short(update.indices.tolist())}"
        )
        if self.args.skip_nonfinite_updates or self.args.fp16:  # where the scale of the loss has to be found first
            logger.warning("%s; the update is skipped", what)
            return
        newest = newest_checkpoint(Path(self.args.output_dir))
        remedy = f"; the last good checkpoint is {newest}" if newest else ""
        raise InputError(
            f"{what}; the model was not changed by it{remedy}. Lower learning_rate={self.args.learning_rate}, look at "
            "the data, or give skip_nonfinite_updates=True"
        )

    # What is due after an update

    def ask_for_what_is_due_at_steps(self) -> None:
        """Set what this step's number calls for; callbacks may change it."""
        args, control, step = self.args, self.control, self.state.global_step
        control.should_log |= self.is_due(args.logging_strategy, args.logging_steps)
        control.should_log |= args.logging_strategy != "no" and self.state.global_step == self.state.max_steps
        control.should_log |= args.logging_first_step and step == 1
        control.should_evaluate |= self.is_due(args.eval_strategy, args.eval_steps or 1)
        control.should_save |= self.is_due(args.save_strategy, args.save_steps)

    def is_due(self, strategy: str, every: int | float) -> bool:
        """Whether a step's number calls for something."""
        step, last = self.state.global_step, self.state.max_steps
        return strategy == "steps" and (step % interval(every, last) == 0 or step == last)

    def end_pass(self, is_complete: bool) -> None:
        """A pass over the data ends: set what that calls for; callbacks may change it.

        One in whose middle the training ends is not over, so that a longer run could go on with it.
        """
        args, state, control = self.args, self.state, self.control
        if is_complete or control.should_epoch_stop:
            state.passes, state.updates_of_this_pass, state.examples_of_this_pass = state.passes + 1, 0, 0
        control.should_log |= args.logging_strategy == "epoch"
        control.should_evaluate |= args.eval_strategy == "epoch"
        control.should_save |= args.save_strategy == "epoch"
        self.tell("on_epoch_end")

    def do_what_is_due(self, window: LogWindow, pass_has_ended: bool = False) -> None:
        """Log, evaluate and save; a callback that is told of it may end the pass, which may call for more."""
        self.agree_on_control()
        self.log_evaluate_and_save(window)
        self.agree_on_control()
        wants_an_end = self.control.should_epoch_stop or self.control.should_training_stop
        if wants_an_end and not pass_has_ended and self.state.updates_of_this_pass:
            self.end_pass(is_complete=False)
            self.log_evaluate_and_save(window)

    def log_evaluate_and_save(self, window: LogWindow) -> None:
        """Do each if it is asked for; a signal in the middle is answered with a checkpoint that knows what is left."""
        actions: dict[str, Callable[[], Any]] = {
            "log": partial(self.log_window, window),
            "evaluate": self.evaluate_and_compare,
            "save": self.save_checkpoint,
        }
        for name, action in actions.items():
            if name not in self.control.asked_for():
                continue
            self.control.withdraw(name)
            self.state.left_to_do = self.control.asked_for()
            try:
                action()
            except StoppedInEvaluation:
                self.state.left_to_do = [name, *self.control.asked_for()]
                self.stop_if_asked()
        self.control.forget()
        self.state.left_to_do = []

    def log_window(self, window: LogWindow) -> None:
        """Log what happened since the last log, if anything did."""
        if window.is_empty():
            return
        tokens = self.state.num_input_tokens_seen
        self.log({**window.close(), "learning_rate": self.learner.rate, "num_input_tokens_seen": tokens})

    def log(self, figures: Mapping[str, Any]) -> None:
        """Remember figures with the step they belong to, and tell the callbacks."""
        entry: Figures = {"step": self.state.global_step, "epoch": round(self.state.epoch, 4), **figures}
        self.state.log_history.append(entry)
        self.tell("on_log", logs=entry)

    def evaluate_and_compare(self) -> None:
        """Evaluate, and remember the best."""
        figures = self.evaluate()
        name = self.args.metric_for_best_model
        if name is None:
            return
        value = self.processes.of_first(metric_to_watch(figures, name))
        if self.state.best_metric is None or self.args.is_better(value, self.state.best_metric):
            self.state.best_metric, self.state.best_global_step = value, self.state.global_step
            self.state.best_model_checkpoint = None
            if self.args.save_strategy == "best":
                self.control.should_save = True

    def save_checkpoint(self) -> Path:
        """Write a checkpoint of this step."""
        state, output_dir = self.state, Path(self.args.output_dir)
        folder = output_dir / f"checkpoint-{state.global_step}"
        if state.best_global_step == state.global_step and state.best_metric is not None:
            state.best_model_checkpoint = str(folder)
        for callback in self.stateful_callbacks():
            state.stateful_callbacks[type(callback).__name__] = callback.state_dict()
        write = partial(
            save_checkpoint,
            output_dir,
            state=state.entries(),
            keep=self.args.save_total_limit,
            best=None if state.best_model_checkpoint is None else Path(state.best_model_checkpoint),
            scheduler=self.lr_scheduler,
            scaler=self.learner.scaler_if_any,
            processing_class=self.processing_class,
            arguments=self.args.to_dict(),
        )
        self.learner.keep_whole(write)
        self.checkpoint_of_this_step = folder
        self.tell("on_save", checkpoint=folder)
        return folder

    def stop_if_asked(self) -> None:
        """End the run if a signal came, with a checkpoint of everything.

        Raises: TrainingInterruptedError that says where.
        """
        number = self.signal_that_came()
        if number:
            raise TrainingInterruptedError(self.checkpoint_of_this_step or self.save_checkpoint(), number)

    def signal_that_came(self) -> int:
        """The signal that came to any of the processes, or 0."""
        here = 0 if self.interrupt is None or self.interrupt.number is None else self.interrupt.number
        return int(self.processes.largest([here])[0])

    def agree_on_control(self) -> None:
        """Do what a callback of any process asks for in all of them."""
        if self.processes.n_processes > 1:
            names = [entry.name for entry in fields(self.control)]
            asked_for = self.processes.largest([getattr(self.control, name) for name in names])
            for name, is_asked_for in zip(names, asked_for, strict=True):
                setattr(self.control, name, bool(is_asked_for))

    def load_best_model(self) -> None:
        """Go back to the parameters of the best evaluation."""
        best = Path(str(self.state.best_model_checkpoint)).name  # the run's folder may have been moved
        self.learner.restore_whole(lambda model, _: load_weights(Path(self.args.output_dir) / best, model))

    def outcome(self, seconds: float, n_steps: int) -> TrainOutput:
        """How the training ended."""
        state = self.state
        mean_loss = state.total_loss / max(1, state.global_step)
        speed = speed_of("train", seconds, n_steps * state.train_batch_size, n_steps)
        return TrainOutput(state.global_step, mean_loss, {**speed, "train_loss": mean_loss, "epoch": state.epoch})

    # Evaluation

    def evaluate(
        self, eval_dataset: Any = None, ignore_keys: Sequence[str] | None = None, metric_key_prefix: str = "eval"
    ) -> dict[str, Any]:
        """The mean of each part of the loss over all that counts, and the metrics of `compute_metrics`.

        How fast it went is told beside them, and not logged: logs of equal runs are equal. Of several data sets, by
        name, each has its figures with its name in theirs.
        """
        dataset = eval_dataset if eval_dataset is not None else self.eval_dataset
        if isinstance(dataset, dict):
            figures: dict[str, Any] = {}
            for name, part in dataset.items():
                figures |= self.evaluate(part, ignore_keys, f"{metric_key_prefix}_{name}")
            return figures
        questions = self.questions(ignore_keys, loss=True, scores=self.compute_metrics is not None)
        output, speed = self.run(require_examples(dataset, "eval_dataset"), questions, metric_key_prefix)
        self.log(output.metrics)
        figures = {**output.metrics, **speed, "epoch": self.state.epoch}
        self.tell("on_evaluate", metrics=figures)
        return figures

    def predict(
        self, test_dataset: Any, ignore_keys: Sequence[str] | None = None, metric_key_prefix: str = "test"
    ) -> PredictionOutput:
        """The scores of every example in order, and where the data holds labels these, the loss and the metrics."""
        reads_labels = bool(self.args.label_names or labels_read_by(self.model))
        questions = self.questions(ignore_keys, loss=reads_labels, scores=True, loss_is_needed=False)
        output, speed = self.run(require_examples(test_dataset, "test_dataset"), questions, metric_key_prefix)
        output = output._replace(metrics=output.metrics | speed)
        self.tell("on_predict", metrics=output.metrics)
        return output

    def questions(
        self, ignore_keys: Sequence[str] | None, loss: bool, scores: bool, loss_is_needed: bool = True
    ) -> Questions:
        """What a pass over data is to find out."""
        label_names = self.args.label_names or label_names_of(self.model)
        return Questions(
            loss, scores, label_names, ignore_keys or (), self.preprocess_logits_for_metrics, loss_is_needed
        )

    def run(self, dataset: Any, questions: Questions, prefix: str) -> tuple[PredictionOutput, dict[str, float]]:
        """What a pass over data finds out, and how fast."""
        started = time.perf_counter()
        evaluator = Evaluator(self.learner, self.data_collator, self.after_evaluated_batch)
        with self.processes.noticing_loss():
            found = evaluator.run(dataset, questions)
            scores, truths = evaluator.columns(found, found.scores), evaluator.columns(found, found.truths)
        figures: dict[str, Any] = found.losses(prefix)
        if self.compute_metrics is not None and truths is not None:
            figures |= with_prefix(self.compute_metrics(EvalPrediction(scores, truths)), prefix)
        n_examples = int(self.processes.sums([found.n_examples])[0])
        speed = speed_of(prefix, time.perf_counter() - started, n_examples, found.n_steps)
        return PredictionOutput(scores, truths, figures), speed

    def after_evaluated_batch(self) -> None:
        """Tell of it, and look for a signal."""
        self.tell("on_prediction_step")
        if self.interrupt is not None and self.signal_that_came():
            raise StoppedInEvaluation

    # What is kept, and who is told

    def save_model(self, output_dir: str | Path | None = None) -> None:
        """Keep the model in a folder, one of this library so that `from_pretrained` opens it, with its tokenizer."""
        folder = Path(output_dir or self.args.output_dir)
        self.learner.keep_whole(lambda model, _: self.write_model(folder, model))

    def write_model(self, folder: Path, model: nn.Module) -> None:
        """Write a model with its tokenizer."""
        if isinstance(model, PretrainedModel):
            model.save_pretrained(folder)
        else:
            with files.replacing(folder / WEIGHTS_FILE) as unfinished:
                keep_tensors(unfinished, unique_tensors(model))
        if hasattr(self.processing_class, "save_pretrained"):
            self.processing_class.save_pretrained(folder)

    def plot(self, output_file: str | Path | None = None) -> "Figure":
        """Draw what was logged so far: losses, metrics, rate and speed; into a file as well if one is given."""
        from minitransformer import plots  # noqa: PLC0415 - matplotlib is slow to import

        figure = plots.runs_picture([Run(Path(self.args.output_dir).name, self.state.log_history)])
        if output_file is not None:
            with files.replacing(Path(output_file)) as unfinished:
                unfinished.write_bytes(plots.png(figure))
        return figure

    def tell(self, event: str, **given: Any) -> None:
        """Tell all callbacks of an event."""
        around = {
            "model": self.model,
            "processing_class": self.processing_class,
            "optimizer": self.optimizer,
            "lr_scheduler": self.lr_scheduler,
            "train_dataset": self.train_dataset,
            "eval_dataset": self.eval_dataset,
        }
        for callback in self.callbacks:
            answer = getattr(callback, event)(self.args, self.state, self.control, **around, **given)
            if isinstance(answer, TrainerControl):
                self.control = answer


def in_short(indices: Sequence[int]) -> str:
    """The numbers of examples, and how many more there are.

    >>> in_short([3, 1])
    '3, 1'
    """
    shown = ", ".join(str(int(index)) for index in indices[:16])
    return f"{shown} and {len(indices) - 16} more" if len(indices) > 16 else shown
