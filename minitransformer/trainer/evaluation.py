"""A pass over data without learning, and without a trace: mode, gradients and random state are as before."""

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor, nn
from torch.utils.data import Dataset
from tqdm import tqdm

from minitransformer.errors import InputError
from minitransformer.losses import IGNORED, LossPart
from minitransformer.trainer.learner import Learner
from minitransformer.trainer.loss_parts import LossInParts, add_parts, in_parts, with_any_labels
from minitransformer.trainer.order import Order, is_stream, lengths_of, longest_first, require_no_stream
from minitransformer.trainer.randomness import seed_of
from minitransformer.trainer.reading import (
    EVALUATION,
    Batch,
    Collation,
    Reading,
    ReadUpdate,
    UpdatesOfPass,
    UpdatesOfStream,
    columns_read_by,
    count_examples,
    in_workers,
    to_device,
)

NO_SCORES = ("loss", "hidden_states", "attentions", "past_key_values", "mems")
"""Parts of an output that are not predictions."""
Preprocess = Callable[[Any, Any], Any]


@dataclass
class Evaluation:
    """What a pass over data gave: sums of the loss, and scores and truths batch by batch."""

    sums: dict[str, LossPart] = field(default_factory=dict)
    scores: list[tuple[Tensor, ...]] = field(default_factory=list)
    truths: list[tuple[Tensor, ...]] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)
    """The numbers of the examples, in the order in which they were judged."""
    n_examples: int = 0
    n_steps: int = 0

    def losses(self, prefix: str) -> dict[str, float]:
        """The mean of each part of the loss over all that counts, and the loss itself."""
        figures = {f"{prefix}_{name}": part.mean.item() for name, part in self.sums.items()}
        if figures and f"{prefix}_loss" not in figures:
            figures[f"{prefix}_loss"] = sum(figures.values())
        return figures


@dataclass(frozen=True)
class Questions:
    """What a pass over data is to find out."""

    loss: bool
    scores: bool
    label_names: Sequence[str]
    ignore_keys: Sequence[str] = ()
    preprocess: Preprocess | None = None
    """What to make of the scores of a batch, and its labels, before they are kept: less, mostly."""
    loss_is_needed: bool = True
    """Whether data without labels is a mistake."""

    def wants_loss(self, batch: Batch) -> bool:
        """Whether to compute the loss of a batch."""
        return self.loss and (self.loss_is_needed or all(name in batch for name in self.label_names))


class Evaluator:
    """A model, its loss, and how a pass over data is made with them.

    `after_batch` is called after each batch, and may end the pass by an error of its own.
    """

    def __init__(
        self, learner: Learner, collate: Callable[..., Batch], after_batch: Callable[[], None] = lambda: None
    ) -> None:
        self.losses, self.args, self.processes = learner.losses, learner.args, learner.processes
        self.device, self.precision = learner.device, learner.precision
        self.is_shared_out = learner.whole is not None
        self.collate = collate
        self.after_batch = after_batch

    def run(self, dataset: Any, questions: Questions) -> Evaluation:
        """Pass over the data without learning, and without a trace: mode and random state are as before."""
        found = Evaluation()
        with (
            evaluating(self.losses.model),
            torch.random.fork_rng(),
            torch.no_grad(),
            self.precision(),
            closing(self.updates(dataset)) as updates,
        ):
            for update in updates:
                self.judge(update, questions, found)
        found.sums = self.over_all_processes(found.sums)
        return found

    def judge(self, update: ReadUpdate, questions: Questions, found: Evaluation) -> None:
        """Add what the batches of this process say."""
        for batch, counts in update.micro_batches:
            if counts or self.is_shared_out:
                add_to = found if counts else Evaluation()
                evaluate_batch(self.losses, to_device(batch, self.device), questions, add_to, self.is_shared_out)
            self.after_batch()
        found.numbers += update.read_here
        found.n_steps += 1

    def columns(self, found: Evaluation, batches: Sequence[tuple[Tensor, ...]]) -> Any:
        """Each column of all batches as one array, from all processes; one column comes alone, and none as None.

        Its rows are in the order of the examples.
        """
        n_columns = int(self.processes.largest([len(batches[0]) if batches else 0])[0])
        here = [join(column) for column in zip(*batches, strict=True)] if batches else [None] * n_columns
        columns = [self.processes.gather_rows(column) for column in here]
        if self.args.max_tokens is not None:
            numbers = self.processes.gather_rows(torch.tensor(found.numbers) if found.numbers else None)
            columns = [in_order_of(numbers, column) for column in columns]
        return alone_or_all([column.numpy() for column in columns])

    def over_all_processes(self, sums: Mapping[str, LossPart]) -> dict[str, LossPart]:
        """The parts of the loss of all processes together."""
        if self.processes.n_processes == 1:
            return dict(sums)
        names = self.processes.names_in_any(sums)
        nothing = LossPart(torch.zeros(()), 0)
        parts = [sums.get(name, nothing) for name in names]
        totals = self.processes.sums([part.total.item() for part in parts])
        counts = self.processes.sums([part.count for part in parts])
        return {
            name: LossPart(torch.tensor(total, dtype=torch.float64), int(count))
            for name, total, count in zip(names, totals, counts, strict=True)
        }

    def updates(self, dataset: Any) -> Reading:
        """The share of this process of all examples, one batch after the other.

        What is drawn for each example is the same in every evaluation.
        """
        args, processes = self.args, self.processes
        hide = args.disable_tqdm or not processes.is_first
        columns = columns_read_by(self.losses.model, args.label_names or ()) if args.remove_unused_columns else None
        collation = Collation(self.collate, args.seed_of_data, columns)
        here = {"rank": processes.rank, "n_processes": processes.n_processes}
        size = args.per_device_eval_batch_size
        updates: Dataset[Any]
        if args.max_tokens is not None:
            require_no_stream(dataset, "the dataset", args.max_tokens)
            lengths = lengths_of(dataset, f"max_tokens={args.max_tokens}", hide)
            chunks = longest_first(lengths, args.max_tokens, size, processes.n_processes)
            updates = UpdatesOfPass(dataset, collation, chunks, EVALUATION, size, **here)
        elif not is_stream(dataset):
            in_order = Order.in_order(len(dataset), size * processes.n_processes)
            updates = UpdatesOfPass(dataset, collation, in_order, EVALUATION, size, **here)
        else:
            updates = UpdatesOfStream(dataset, collation, EVALUATION, size, size * processes.n_processes, **here)
        n_batches = len(updates) if isinstance(updates, UpdatesOfPass) else None
        with closing(in_workers(updates, **processes.how_to_read(args))) as read:
            for update in tqdm(read, "evaluating", n_batches, disable=hide, leave=False):
                torch.manual_seed(seed_of(args.seed, *update.indices.tolist()))
                yield update


def evaluate_batch(
    losses: LossInParts, batch: Batch, questions: Questions, found: Evaluation, in_step: bool = False
) -> None:
    """Add what a batch says to what was found before.

    Processes that share a model out compute it in step: a batch without labels that count goes through it too.
    """
    found.n_examples += count_examples(batch)
    output = None
    counts = losses.counts(batch) if questions.wants_loss(batch) else {}
    has_labels = any(counts.values())
    if has_labels or (counts and in_step):
        asked, count = batch if has_labels else with_any_labels(batch), counts.get("loss", 0)
        totals, output = losses.with_output(asked, count) if questions.scores else (losses(asked, count), None)
        if has_labels:
            found.sums = add_parts(found.sums, in_parts(totals, counts))
    if not questions.scores:
        return
    if output is None:
        output = losses.outputs({name: value for name, value in batch.items() if name not in questions.label_names})
    scores = scores_of(output, questions.ignore_keys)
    truths = tuple(batch[name] for name in questions.label_names if name in batch)
    if questions.preprocess is not None:
        scores = as_tuple(questions.preprocess(alone_or_all(scores), alone_or_all(truths)))
    found.scores.append(
        tuple(score.detach().float().cpu() if score.is_floating_point() else score.cpu() for score in scores)
    )
    found.truths.append(tuple(truth.cpu() for truth in truths))


def scores_of(output: Any, ignore_keys: Sequence[str] = ()) -> tuple[Tensor, ...]:
    """The scores in a model's output, in its order.

    Raises: InputError if there are none.

    >>> scores_of({"loss": torch.zeros(()), "logits": torch.ones(1)})
    (tensor([1.]),)
    """
    if hasattr(output, "items"):
        parts = [value for name, value in output.items() if name not in (*NO_SCORES, *ignore_keys)]
    elif isinstance(output, tuple | list):
        parts = [value for value in output if isinstance(value, Tensor) and value.ndim]
    else:
        parts = [getattr(output, "logits", output)]
    scores = tuple(part for part in parts if isinstance(part, Tensor))
    if not scores:
        raise InputError(f"{type(output).__name__} has no logits to predict with")
    return scores


def label_names_of(model: nn.Module) -> list[str]:
    """What a model calls its labels.

    >>> label_names_of(nn.Linear(1, 1))
    ['labels']
    """
    return labels_read_by(model) or ["labels"]


def labels_read_by(model: nn.Module) -> list[str]:
    """The parameters of a model's `forward` that are labels."""
    return [
        name
        for name in inspect.signature(model.forward).parameters
        if "label" in name or name in ("start_positions", "end_positions")
    ]


def as_tuple(value: Any) -> tuple[Any, ...]:
    """One thing, or several."""
    return tuple(value) if isinstance(value, tuple | list) else (value,)


def alone_or_all(values: Sequence[Any]) -> Any:
    """The only one of a sequence by itself, none as None, several as a tuple.

    >>> alone_or_all([3]), alone_or_all([]), alone_or_all([3, 4])
    (3, None, (3, 4))
    """
    if not values:
        return None
    return values[0] if len(values) == 1 else tuple(values)


def join(pieces: Sequence[Tensor]) -> Tensor:
    """The batches one under the other; positions beyond a shorter batch's length are marked as ignored.

    >>> join([torch.ones(1, 1), torch.ones(1, 2)]).tolist()
    [[1.0, -100.0], [1.0, 1.0]]
    """
    if pieces[0].ndim > 1 and len({piece.shape[1] for piece in pieces}) > 1:
        length = max(piece.shape[1] for piece in pieces)
        pieces = [as_long(piece, length) for piece in pieces]
    return torch.cat(list(pieces))


def in_order_of(numbers: Int[Tensor, " n"], rows: Tensor) -> Tensor:
    """Rows of examples in the order of their numbers.

    Raises: InputError if there is not one row for each example.

    >>> in_order_of(torch.tensor([2, 0, 1]), torch.tensor([7.0, 5.0, 6.0]))
    tensor([5., 6., 7.])
    """
    if len(rows) != len(numbers):
        raise InputError(
            f"max_tokens sorts the {len(numbers)} examples, and {len(rows)} rows cannot be put back into their order; "
            "let preprocess_logits_for_metrics give a row for each example, or leave max_tokens out"
        )
    return rows[numbers.argsort()]


def as_long(rows: Tensor, length: int) -> Tensor:
    """Rows filled up to a length, with what counts for nothing."""
    missing = rows.new_full((len(rows), length - rows.shape[1], *rows.shape[2:]), IGNORED)
    return torch.cat([rows, missing], dim=1)


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluate inside the block, and go on as before after it."""
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)


def with_prefix(figures: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    """Figures under names that begin with a prefix, and as Python's own numbers, which can be written down.

    >>> with_prefix({"accuracy": np.float32(0.5), "eval_f1": 0.4}, "eval")
    {'eval_accuracy': 0.5, 'eval_f1': 0.4}
    """
    return {
        name if name.startswith(f"{prefix}_") else f"{prefix}_{name}": value.tolist()
        if hasattr(value, "tolist")
        else value
        for name, value in figures.items()
    }


def speed_of(prefix: str, seconds: float, n_examples: int, n_steps: int) -> dict[str, float]:
    """How long something took, and how fast it was.

    >>> speed_of("eval", seconds=2.0, n_examples=10, n_steps=4)
    {'eval_runtime': 2.0, 'eval_samples_per_second': 5.0, 'eval_steps_per_second': 2.0}
    """
    return {
        f"{prefix}_runtime": seconds,
        f"{prefix}_samples_per_second": n_examples / seconds,
        f"{prefix}_steps_per_second": n_steps / seconds,
    }
