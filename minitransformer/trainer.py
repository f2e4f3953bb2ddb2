"""The trainer: batches in, updates out, with everything that chance decides fixed by the seed and the step.

Each update draws its randomness (masking, dropout) from a seed made of `seed` and its own number, and each epoch its
order from `seed` and the epoch's. So a run that stops and goes on is bit for bit the run that never stopped, and no
generator's state has to be kept.
"""

import math
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from minitransformer.checkpoint import load_checkpoint, newest_checkpoint, save_checkpoint
from minitransformer.errors import InputError
from minitransformer.losses import IGNORED, LossPart
from minitransformer.optimizer import AdamW, clip_global_norm, global_norm
from minitransformer.pretrained import PretrainedModel
from minitransformer.training_arguments import TrainingArguments

Batch = dict[str, Tensor]
Figures = dict[str, int | float]


@runtime_checkable
class MapDataset(Protocol):
    """Examples by number; one with `set_epoch` is told which epoch begins."""

    def __getitem__(self, index: int) -> Any:
        """One example."""

    def __len__(self) -> int:
        """How many there are."""


class EvalPrediction(NamedTuple):
    """What `compute_metrics` is given: scores and truths of all examples, in order."""

    predictions: Any
    label_ids: Any


@dataclass
class TrainerState:
    """How far the training has come, and what was logged on the way."""

    global_step: int = 0
    max_steps: int = 0
    epoch: float = 0.0
    log_history: list[Figures] = field(default_factory=list)
    unlogged: dict[str, list[int | float]] = field(default_factory=dict)
    """For each part of the loss its sum and count since the last log, so that a resumed run logs the same means."""


class TrainingInterruptedError(Exception):
    """Training was stopped between two updates, and can go on from the checkpoint that was written."""

    def __init__(self, checkpoint: Path) -> None:
        super().__init__(f"interrupted; {checkpoint} holds everything, run the same command again to go on")
        self.checkpoint = checkpoint


class TrainerCallback:
    """Told what happens; subclass it and write the methods you need."""

    def on_log(self, args: TrainingArguments, state: TrainerState, logs: Figures) -> None:
        """Figures were logged."""

    def on_evaluate(self, args: TrainingArguments, state: TrainerState, metrics: dict[str, float]) -> None:
        """The model was evaluated."""

    def on_save(self, args: TrainingArguments, state: TrainerState, checkpoint: Path) -> None:
        """A checkpoint was written."""


class Trainer:
    """Train, evaluate and predict with a model that returns a loss.

    A model with `training_losses(**batch)` gives its loss in parts (sum and count of each), which are logged one by
    one, and says in `training_counts(**batch)` how many each will be over; of any other the `loss` of its output is
    used. Biases and the parameters of norms do not decay.

    Raises: InputError for data that cannot be trained on, a NaN loss, and a checkpoint of another model.

    >>> model = nn.Linear(1, 1)
    >>> Trainer(model, TrainingArguments("runs/none")).train()
    Traceback (most recent call last):
        ...
    minitransformer.errors.InputError: train_dataset is missing or empty; give at least one example to train on
    """

    def __init__(
        self,
        model: nn.Module,
        args: TrainingArguments,
        train_dataset: MapDataset | None = None,
        eval_dataset: MapDataset | None = None,
        data_collator: Callable[[list[Any]], Batch] | None = None,
        compute_metrics: Callable[[EvalPrediction], dict[str, float]] | None = None,
        callbacks: Sequence[TrainerCallback] = (),
    ) -> None:
        self.model = model
        self.args = args
        self.train_dataset = train_dataset
        self.eval_dataset = eval_dataset
        self.data_collator = data_collator or stack_examples
        self.compute_metrics = compute_metrics
        self.callbacks = list(callbacks)
        self.state = TrainerState()
        self.checkpoint_of_this_step: Path | None = None
        self.optimizer = AdamW(
            decay_groups(model, args.weight_decay),
            lr=args.learning_rate,
            betas=(args.adam_beta1, args.adam_beta2),
            eps=args.adam_epsilon,
        )

    def train(self, resume_from_checkpoint: str | Path | bool | None = None) -> TrainerState:
        """Train to the end; `resume_from_checkpoint=True` goes on from the newest checkpoint, if there is one.

        Raises: TrainingInterruptedError after Ctrl-C, once a checkpoint is written.
        """
        dataset = require_examples(self.train_dataset)
        begin_epoch(dataset, 0)
        n_examples = len(dataset)
        updates_per_epoch = math.ceil(n_examples / self.args.examples_per_update)
        self.state = self.resume(resume_from_checkpoint)
        self.state.max_steps = self.args.max_steps
        if self.args.max_steps < 1:
            self.state.max_steps = math.ceil(self.args.num_train_epochs * updates_per_epoch)
        self.model.train()
        window = LogWindow(self.state.unlogged)
        with self.progress_bar() as bar, deferred_interrupt() as interrupted:
            for indices in self.remaining_updates(dataset, n_examples):
                self.checkpoint_of_this_step = None
                torch.manual_seed(step_seed(self.args.seed, self.state.global_step))
                parts, norm, n_tokens = self.update([dataset[int(index)] for index in indices])
                self.state.global_step += 1
                self.state.epoch = self.state.global_step / updates_per_epoch
                window.add(parts, norm, n_tokens)
                self.after_update(window, bar, ends_epoch=self.state.global_step % updates_per_epoch == 0)
                if interrupted.is_set():
                    raise TrainingInterruptedError(self.checkpoint_of_this_step or self.save_checkpoint())
        return self.state

    def resume(self, resume_from_checkpoint: str | Path | bool | None) -> TrainerState:
        """The state to start from: a checkpoint's, or a new one."""
        folder: Path | None = None
        if resume_from_checkpoint is True:
            folder = newest_checkpoint(Path(self.args.output_dir))
        elif resume_from_checkpoint:
            folder = Path(resume_from_checkpoint)
        if folder is None:
            return TrainerState()
        return TrainerState(**load_checkpoint(folder, self.model, self.optimizer))

    def remaining_updates(self, dataset: MapDataset, n_examples: int) -> Iterator[np.ndarray]:
        """The numbers of the examples of each update still to come; earlier ones are not read again.

        Every epoch is as long as the first, so that a step's number tells its epoch. A dataset that has become longer
        is read in part, one that has become shorter begins again. The last update of an epoch may have fewer examples.
        """
        size = self.args.examples_per_update
        updates_per_epoch = math.ceil(n_examples / size)
        while self.state.global_step < self.state.max_steps:
            epoch, first = divmod(self.state.global_step, updates_per_epoch)
            begin_epoch(dataset, epoch)
            shuffled = np.random.default_rng([self.args.seed, epoch]).permutation(len(dataset))
            order = np.resize(shuffled, n_examples)
            last = min(updates_per_epoch, first + self.state.max_steps - self.state.global_step)
            for update in range(first, last):
                yield order[update * size : (update + 1) * size]

    def update(self, examples: list[Any]) -> tuple[dict[str, LossPart], float, int]:
        """One step of the optimizer: the parts of the loss, the norm of the gradient, and the tokens read."""
        batches = self.micro_batches(examples)
        parts = self.accumulate_gradients(batches)
        loss, norm = sum(part.mean.item() for part in parts.values()), self.clip_gradients()
        if not math.isfinite(norm) or not math.isfinite(loss):
            raise InputError(
                f"the loss is {loss} with a gradient norm of {norm} at step {self.state.global_step + 1}; "
                f"the model was not changed by it. Lower learning_rate={self.args.learning_rate} or look at the data"
            )
        for group in self.optimizer.param_groups:
            group["lr"] = self.args.rate_at(self.state.global_step, self.state.max_steps)
        self.optimizer.step()
        return parts, norm, sum(map(count_tokens, batches))

    def micro_batches(self, examples: list[Any]) -> list[Batch]:
        """The examples of an update, as many at once as fit the memory."""
        size = self.args.per_device_train_batch_size
        return [self.data_collator(examples[first : first + size]) for first in range(0, len(examples), size)]

    def accumulate_gradients(self, batches: list[Batch]) -> dict[str, LossPart]:
        """Add up the gradients of micro-batches to that of one large batch, and give the parts of its loss.

        A mean of the micro-batches' means would weigh a label the more, the fewer there are beside it. So each sum is
        divided by the count of the whole update. The counts follow from the labels, before anything is computed: one
        pass forward and one back for each micro-batch are enough, however many parts the loss has.
        """
        counts = [part_counts(self.model, batch) for batch in batches]
        count_of_all = {name: sum(count[name] for count in counts) for name in counts[0]}
        require_labels(count_of_all)
        self.optimizer.zero_grad()
        sums: dict[str, LossPart] = {}
        for batch, count in zip(batches, counts, strict=True):
            if any(count.values()):
                with self.precision():
                    parts = loss_parts(self.model, self.to_device(batch))
                    loss = torch.stack([part.total / count_of_all[name] for name, part in parts.items()]).sum()
                if not loss.requires_grad:
                    raise InputError("the loss depends on no parameter that learns; is every one of them frozen?")
                loss.backward()  # type: ignore[no-untyped-call]
                sums = add_parts(sums, parts)
        return sums

    def clip_gradients(self) -> float:
        """Shorten the gradients to `max_grad_norm`, and give the norm from before."""
        learning = [parameter for parameter in self.model.parameters() if parameter.grad is not None]
        gradients = [parameter.grad for parameter in learning if parameter.grad is not None]
        norm = global_norm(gradients).item()
        if 0 < self.args.max_grad_norm < norm < math.inf:
            for parameter, gradient in zip(learning, clip_global_norm(gradients, self.args.max_grad_norm), strict=True):
                parameter.grad = gradient
        return norm

    def after_update(self, window: "LogWindow", bar: "tqdm[Any]", ends_epoch: bool) -> None:
        """Show, log, evaluate and save, where it is time to."""
        args, step = self.args, self.state.global_step
        ends_training = step == self.state.max_steps
        bar.update(1)
        if step % args.logging_steps == 0 or ends_training:
            logs = window.close()
            bar.set_postfix({name: f"{logs[name]:.3f}" for name in logs if name.endswith("loss")})
            self.log({**logs, "learning_rate": args.rate_at(step - 1, self.state.max_steps)})
        if is_due(args.eval_strategy, step % args.eval_steps == 0, ends_epoch) and self.eval_dataset is not None:
            self.evaluate()
        if is_due(args.save_strategy, step % args.save_steps == 0, ends_epoch):
            self.save_checkpoint()

    def log(self, figures: dict[str, float]) -> None:
        """Remember figures with the step they belong to, and tell the callbacks."""
        entry: Figures = {"step": self.state.global_step, "epoch": round(self.state.epoch, 4), **figures}
        self.state.log_history.append(entry)
        for callback in self.callbacks:
            callback.on_log(self.args, self.state, entry)

    def save_checkpoint(self) -> Path:
        """Write a checkpoint of this step."""
        folder = save_checkpoint(
            Path(self.args.output_dir), self.model, self.optimizer, asdict(self.state), self.args.save_total_limit
        )
        self.checkpoint_of_this_step = folder
        for callback in self.callbacks:
            callback.on_save(self.args, self.state, folder)
        return folder

    def save_model(self, output_dir: str | Path | None = None) -> None:
        """Keep the model in a folder that `from_pretrained` opens."""
        if not isinstance(self.model, PretrainedModel):
            raise InputError(
                f"{type(self.model).__name__} has no save_pretrained; keep its state_dict with safetensors"
            )
        self.model.save_pretrained(output_dir or self.args.output_dir)

    def evaluate(self, eval_dataset: MapDataset | None = None) -> dict[str, float]:
        """The mean of each part of the loss over all that counts, and the metrics of `compute_metrics`."""
        dataset = eval_dataset if eval_dataset is not None else self.eval_dataset
        figures, prediction = self.run(require_examples(dataset, "eval_dataset"), wants_loss=True)
        if self.compute_metrics is not None:
            figures |= {f"eval_{name}": value for name, value in self.compute_metrics(prediction).items()}
        self.log(figures)
        for callback in self.callbacks:
            callback.on_evaluate(self.args, self.state, figures)
        return figures

    def predict(self, test_dataset: MapDataset) -> EvalPrediction:
        """The scores, and the truths where the data holds them, of every example in order."""
        return self.run(require_examples(test_dataset, "test_dataset"), wants_loss=False)[1]

    def run(self, dataset: MapDataset, wants_loss: bool) -> tuple[dict[str, float], EvalPrediction]:
        """Pass over the data without learning, and without a trace: mode and random state are as before."""
        sums: dict[str, LossPart] = {}
        scores: list[Tensor] = []
        truths: list[Tensor] = []
        wants_scores = not wants_loss or self.compute_metrics is not None
        with evaluating(self.model), torch.random.fork_rng(), torch.no_grad(), self.precision():
            for batch in self.evaluation_batches(dataset):
                if wants_loss:
                    sums = add_parts(sums, loss_parts(self.model, batch))
                if wants_scores:
                    output = self.model(**{name: tensor for name, tensor in batch.items() if name != "labels"})
                    scores.append(first_scores(output).float().cpu())
                    if "labels" in batch:
                        truths.append(batch["labels"].cpu())
        figures = {f"eval_{name}": part.mean.item() for name, part in sums.items()}
        if sums and "eval_loss" not in figures:
            figures["eval_loss"] = sum(figures.values())
        joined = EvalPrediction(join(scores), join(truths))
        return figures, joined

    def evaluation_batches(self, dataset: MapDataset) -> Iterator[Batch]:
        """All examples in order; what is drawn for each batch is the same in every evaluation."""
        size = self.args.per_device_eval_batch_size
        for first in tqdm(range(0, len(dataset), size), desc="evaluating", disable=self.args.disable_tqdm, leave=False):
            torch.manual_seed(step_seed(self.args.seed, first // size))
            examples = [dataset[index] for index in range(first, min(first + size, len(dataset)))]
            yield self.to_device(self.data_collator(examples))

    def to_device(self, batch: Mapping[str, Tensor]) -> Batch:
        """Bring a batch to where the parameters are."""
        device = next(self.model.parameters()).device
        return {name: tensor.to(device) for name, tensor in batch.items()}

    def precision(self) -> torch.autocast:
        """Compute in bfloat16 where asked to."""
        device = next(self.model.parameters()).device
        return torch.autocast(device.type, dtype=torch.bfloat16, enabled=self.args.bf16)

    def progress_bar(self) -> "tqdm[Any]":
        """A bar over all updates, those before a resume among them."""
        return tqdm(
            total=self.state.max_steps,
            initial=self.state.global_step,
            desc="training",
            unit="step",
            disable=self.args.disable_tqdm,
        )


class LogWindow:
    """What happened since the last log: the mean of each part of the loss, and the speed.

    `sums` holds the sum and the count of each part, and is kept with the checkpoints.
    """

    def __init__(self, sums: dict[str, list[int | float]]) -> None:
        self.sums = sums
        self.norm = 0.0
        self.n_tokens = 0
        self.started = time.perf_counter()

    def add(self, parts: dict[str, LossPart], norm: float, n_tokens: int) -> None:
        """Count one update in."""
        for name, part in parts.items():
            total, count = self.sums.get(name, (0.0, 0))
            self.sums[name] = [total + part.total.item(), count + part.count]
        self.norm = norm
        self.n_tokens += n_tokens

    def close(self) -> dict[str, float]:
        """The figures of the window, which begins anew."""
        means = {name: total / count for name, (total, count) in self.sums.items()}
        if "loss" not in means:
            means = {"loss": sum(means.values()), **means}
        seconds = time.perf_counter() - self.started
        figures = {**means, "grad_norm": self.norm, "tokens_per_second": self.n_tokens / seconds}
        self.sums.clear()
        self.n_tokens = 0
        self.started = time.perf_counter()
        return figures


def loss_parts(model: nn.Module, batch: Batch) -> dict[str, LossPart]:
    """The loss of a batch in parts; a model that knows no parts gives one, weighted by the labels that count."""
    if hasattr(model, "training_losses"):
        return model.training_losses(**batch)  # type: ignore[operator, no-any-return]
    output = model(**batch)
    loss = output.get("loss") if isinstance(output, dict) else getattr(output, "loss", None)
    if loss is None:
        raise InputError(f"{type(model).__name__} returned no loss; do the examples hold labels?")
    count = count_labels(batch)
    return {"loss": LossPart(loss * count if count else torch.zeros_like(loss), count)}


def part_counts(model: nn.Module, batch: Batch) -> dict[str, int]:
    """How many labels each part of the loss will be over.

    Raises: InputError for a model that gives its loss in parts and does not say it.
    """
    if not hasattr(model, "training_losses"):
        return {"loss": count_labels(batch)}
    if not hasattr(model, "training_counts"):
        raise InputError(f"{type(model).__name__} has training_losses, and needs training_counts(**batch) beside it")
    return model.training_counts(**batch)  # type: ignore[operator, no-any-return]


def require_labels(counts: Mapping[str, int]) -> None:
    """Refuse an update for which a part of the loss is a mean over nothing.

    >>> require_labels({"masked_lm_loss": 0})
    Traceback (most recent call last):
        ...
    minitransformer.errors.InputError: no label counts for masked_lm_loss, which is a mean over nothing; \
give at least one label
    """
    for name, count in counts.items():
        if not count:
            raise InputError(f"no label counts for {name}, which is a mean over nothing; give at least one label")


def count_labels(batch: Batch) -> int:
    """How many labels a mean loss is over."""
    labels = batch.get("labels")
    if labels is None or labels.is_floating_point():
        return len(next(iter(batch.values())))
    return int((labels != IGNORED).sum())


def count_tokens(batch: Batch) -> int:
    """How many tokens a batch holds, padding not among them."""
    if "attention_mask" in batch:
        return int(batch["attention_mask"].sum())
    return next(iter(batch.values())).numel()


def add_parts(sums: dict[str, LossPart], parts: dict[str, LossPart]) -> dict[str, LossPart]:
    """Put parts of equal name together: sums add up, and so do counts."""
    nothing = LossPart(torch.zeros(()), 0)
    return {
        name: LossPart(sums.get(name, nothing).total + part.total.detach(), sums.get(name, nothing).count + part.count)
        for name, part in parts.items()
    }


def first_scores(output: Any) -> Tensor:
    """The scores of a model's output."""
    scores = output.get("logits") if isinstance(output, dict) else getattr(output, "logits", None)
    if not isinstance(scores, Tensor):
        raise InputError(f"{type(output).__name__} has no logits to predict with")
    return scores


def join(pieces: list[Tensor]) -> Any:
    """The batches one under the other; positions beyond a shorter batch's length are marked as ignored."""
    if not pieces:
        return None
    if pieces[0].ndim > 1 and len({piece.shape[1] for piece in pieces}) > 1:
        length = max(piece.shape[1] for piece in pieces)
        pieces = [
            torch.cat([piece, piece.new_full((len(piece), length - piece.shape[1], *piece.shape[2:]), IGNORED)], dim=1)
            for piece in pieces
        ]
    return torch.cat(pieces).numpy()


def decay_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Matrices decay; biases and the gains of norms, which are vectors, do not."""
    learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return [
        {"params": [parameter for parameter in learning if parameter.ndim > 1], "weight_decay": weight_decay},
        {"params": [parameter for parameter in learning if parameter.ndim <= 1], "weight_decay": 0.0},
    ]


def step_seed(seed: int, step: int) -> int:
    """A seed for one step, unlike that of any other.

    >>> step_seed(1, 2) == step_seed(1, 2), step_seed(1, 2) == step_seed(2, 1)
    (True, False)
    """
    return int(np.random.SeedSequence([seed, step]).generate_state(1, np.uint64)[0] >> 1)


def is_due(strategy: str, at_step: bool, at_epoch: bool) -> bool:
    """Whether a strategy asks for something now."""
    return (strategy == "steps" and at_step) or (strategy == "epoch" and at_epoch)


def begin_epoch(dataset: MapDataset, epoch: int) -> None:
    """Tell a dataset that wants to know it which epoch begins."""
    if hasattr(dataset, "set_epoch"):
        dataset.set_epoch(epoch)


def require_examples(dataset: MapDataset | None, name: str = "train_dataset") -> MapDataset:
    """Refuse to run on nothing."""
    if dataset is None or not len(dataset):
        raise InputError(f"{name} is missing or empty; give at least one example to train on")
    return dataset


def stack_examples(examples: list[Mapping[str, Any]]) -> Batch:
    """Examples of equal shapes one under the other."""
    return {name: torch.stack([torch.as_tensor(example[name]) for example in examples]) for name in examples[0]}


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluate inside the block, and go on as before after it."""
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)


@contextmanager
def deferred_interrupt() -> Iterator[threading.Event]:
    """Let Ctrl-C wait until the update is complete; a second one does not wait."""
    interrupted = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield interrupted
        return
    before = signal.getsignal(signal.SIGINT)

    def remember(_number: int, _frame: FrameType | None) -> None:
        if interrupted.is_set():
            raise KeyboardInterrupt
        interrupted.set()

    signal.signal(signal.SIGINT, remember)
    try:
        yield interrupted
    finally:
        signal.signal(signal.SIGINT, before)
