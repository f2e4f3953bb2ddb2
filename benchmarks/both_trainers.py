"""The same run by two trainers, ours and that of `transformers`: same model folder, same examples, same order.

A task is a head with labels for it. Lengths differ, and so does how many labels of an example count.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import transformers
from torch import Tensor, nn
from torch.utils.data import Sampler

from minitransformer.laws.cases import numbers, randomise, whole_numbers
from minitransformer.losses import IGNORED
from minitransformer.models import bert
from minitransformer.models.bert_config import BertConfig
from minitransformer.trainer import Trainer, TrainerCallback
from minitransformer.trainer.order import Order
from minitransformer.training_arguments import TrainingArguments

transformers.utils.logging.set_verbosity_error()
transformers.utils.logging.disable_progress_bar()

Example = dict[str, Tensor]
Batch = dict[str, Tensor]

N_EXAMPLES = 22
"""No multiple of a batch of 4 or of an update of 8: the last of each pass is smaller."""
SEED = 5
N_WORDS, N_CLASSES, N_CHOICES, LONGEST = 23, 5, 3, 11
BEYOND = 999
"""An answer's place that no text reaches: it does not count."""
SMALL: dict[str, Any] = {
    "vocab_size": N_WORDS,
    "hidden_size": 15,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 13,
    "max_position_embeddings": 17,
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
    "num_labels": N_CLASSES,
}
SETTINGS: dict[str, Any] = {
    "learning_rate": 1e-2,
    "weight_decay": 0.1,
    "max_grad_norm": 1.0,
    "adam_epsilon": 1e-6,
    "num_train_epochs": 2,
    "per_device_train_batch_size": 4,
    "logging_steps": 1,
    "save_strategy": "no",
    "seed": SEED,
    "use_cpu": True,
    "disable_tqdm": True,
}
"""What both trainers are told. BERT was published with this epsilon; at 1e-8 Adam makes steps of roundings."""


# What is learned


@dataclass(frozen=True)
class Task:
    """A model with a head, and labels for it."""

    kind: str
    labels: Callable[[int, int], Example]
    """The labels of the example with a number and a length."""
    settings: dict[str, Any] = field(default_factory=dict)
    n_texts: tuple[int, ...] = ()
    """How many texts an example has, where it has several."""
    padded_to: int = 0
    """How long all examples are; otherwise a batch is padded to its longest."""

    def examples(self) -> list[Example]:
        """Texts of unequal lengths with their labels."""
        return [self.example(number) for number in range(N_EXAMPLES)]

    def example(self, number: int) -> Example:
        """One of them."""
        length = 3 + int(whole_numbers(number, "length", 0, LONGEST - 2))
        shape = (*self.n_texts, length)
        text = {
            "input_ids": whole_numbers(number, "words", 1, N_WORDS, *shape),
            "token_type_ids": whole_numbers(number, "segments", 0, 2, *shape),
            "attention_mask": torch.ones(shape, dtype=torch.long),
        }
        padded = {name: filled_up(column, max(length, self.padded_to)) for name, column in text.items()}
        return {**padded, **self.labels(number, length)}

    def write(self, folder: Path) -> Path:
        """A model folder that both libraries open, every parameter of which is drawn, gains and biases too."""
        model = getattr(bert, self.kind)(BertConfig(**{**SMALL, **self.settings}))
        randomise(model, SEED, torch.float32).save_pretrained(folder)
        return folder

    def opened_by_us(self, folder: Path, dtype: torch.dtype) -> nn.Module:
        """Our model of the folder."""
        return getattr(bert, self.kind).from_pretrained(folder).to(dtype)

    def opened_by_them(self, folder: Path, dtype: torch.dtype, attention: str = "sdpa") -> nn.Module:
        """The model of `transformers`."""
        model = getattr(transformers, self.kind).from_pretrained(folder, attn_implementation=attention)
        return model.to(dtype)


def filled_up(column: Tensor, length: int, filling: int = 0) -> Tensor:
    """A column as long as was asked for.

    >>> filled_up(torch.tensor([5]), length=3).tolist()
    [5, 0, 0]
    """
    return nn.functional.pad(column, (0, length - column.shape[-1]), value=filling)


def one_of(n_classes: int) -> Callable[[int, int], Example]:
    """One class for each example."""
    return lambda number, _: {"labels": whole_numbers(number, "class", 0, n_classes)}


def some_tokens(n_classes: int) -> Callable[[int, int], Example]:
    """A class for some tokens of each example, one at least."""

    def labels(number: int, length: int) -> Example:
        drawn = whole_numbers(number, "classes", 0, n_classes, length)
        counts = whole_numbers(number, "that count", 0, 3, length) == 0
        counts[number % length] = True
        return {"labels": drawn.where(counts, IGNORED)}

    return labels


def words_and_next(number: int, length: int) -> Example:
    """Some words of each pair, and whether its second segment is the next one."""
    return {**some_tokens(N_WORDS)(number, length), "next_sentence_label": whole_numbers(number, "next", 0, 2)}


def several_at_once(number: int, _: int) -> Example:
    """Each class or not."""
    return {"labels": whole_numbers(number, "classes", 0, 2, N_CLASSES).double()}


def a_number(number: int, _: int) -> Example:
    """A number."""
    return {"labels": numbers(number, "target")}


def answer_span(number: int, length: int) -> Example:
    """Where an answer starts and ends; of some the start, the end or both are beyond the text."""
    places = whole_numbers(number, "span", 0, length, 2)
    places[whole_numbers(number, "beyond", 0, 4, 2) == 0] = BEYOND
    return {"start_positions": places[0], "end_positions": places[1]}


# The places of an answer are weighed against padding too, so that its loss is that of a text and of its length.
TASKS: dict[str, Task] = {
    "BertForPreTraining": Task("BertForPreTraining", words_and_next),
    "BertForMaskedLM": Task("BertForMaskedLM", some_tokens(N_WORDS)),
    "BertForNextSentencePrediction": Task("BertForNextSentencePrediction", one_of(2)),
    "BertForSequenceClassification": Task("BertForSequenceClassification", one_of(N_CLASSES)),
    "the same, several classes at once": Task(
        "BertForSequenceClassification", several_at_once, {"problem_type": "multi_label_classification"}
    ),
    "the same, a number": Task("BertForSequenceClassification", a_number, {"num_labels": 1}),
    "BertForTokenClassification": Task("BertForTokenClassification", some_tokens(N_CLASSES)),
    "BertForQuestionAnswering": Task("BertForQuestionAnswering", answer_span, {"num_labels": 2}, padded_to=LONGEST),
    "BertForMultipleChoice": Task("BertForMultipleChoice", one_of(N_CHOICES), n_texts=(N_CHOICES,)),
}


@dataclass
class Collator:
    """Examples to a batch, padded to the longest; it remembers its batches."""

    dtype: torch.dtype
    batches: list[Batch] = field(default_factory=list)

    def __call__(self, examples: Sequence[Example]) -> Batch:
        """A batch, which is remembered."""
        batch = {name: self.column(name, [example[name] for example in examples]) for name in examples[0]}
        self.batches.append(batch)
        return batch

    def column(self, name: str, values: Sequence[Tensor]) -> Tensor:
        """One column, filled up with what does not count; fractions are of the model's type."""
        if values[0].ndim:
            longest = max(value.shape[-1] for value in values)
            filling = IGNORED if name == "labels" else 0
            values = [filled_up(value, longest, filling) for value in values]
        column = torch.stack(list(values))
        return column.to(self.dtype) if column.is_floating_point() else column


# Who trains


class Run(NamedTuple):
    """What a training said and did, update by update."""

    losses: list[float]
    norms: list[float]
    rates: list[float]
    rates_used: list[float]
    """The rates that the optimizer stepped with."""
    groups: list[tuple[int, float]]
    """How many parameters each group has, and their decay."""
    weights: dict[str, Tensor]
    batches: list[Batch]


class RatesUsed:
    """Remember with which rate each step was made."""

    def __init__(self) -> None:
        self.rates: list[float] = []

    def on_optimizer_step(self, *_: Any, optimizer: Any, **__: Any) -> None:
        """Read the rate where the step has just been made."""
        self.rates.append(optimizer.param_groups[0]["lr"])


class RatesWeUsed(RatesUsed, TrainerCallback):
    """As a callback of ours."""


class RatesTheyUsed(RatesUsed, transformers.TrainerCallback):
    """As a callback of theirs."""


@dataclass
class OurOrder(Sampler[int]):
    """Our order of the examples, pass by pass, for a data loader."""

    order: Order
    passes: int = 0

    def __iter__(self) -> Iterator[int]:
        updates = self.order.updates(self.passes, self.order.n_examples)
        self.passes += 1
        return iter(np.concatenate(updates).tolist())

    def __len__(self) -> int:
        return self.order.n_examples


class TheirTrainer(transformers.Trainer):
    """The trainer of `transformers`, in our order."""

    def _get_train_sampler(self, train_dataset: Any = None) -> OurOrder:  # noqa: ARG002 - as theirs
        return OurOrder(Order(len(self.train_dataset), self.args.train_batch_size, self.args.seed))


class MeanOfTheBatch:
    """A loss of one's own: the mean over the labels of a batch that count, computed by hand."""

    def compute_loss(self, model: nn.Module, inputs: Batch, return_outputs: bool = False, **_: Any) -> Any:
        """The mean, and the outputs where they are asked for."""
        labels = inputs.pop("labels")
        outputs = model(**inputs)
        loss = mean_at_labels(outputs, labels)
        return (loss, outputs) if return_outputs else loss


class OurTrainerWithALoss(MeanOfTheBatch, Trainer):
    """Our trainer, with a loss of one's own."""


class TheirTrainerWithALoss(MeanOfTheBatch, TheirTrainer):
    """Their trainer, with a loss of one's own."""


def mean_at_labels(outputs: Any, labels: Tensor) -> Tensor:
    """A loss function that takes a mean."""
    return nn.functional.cross_entropy(outputs["logits"].flatten(0, -2), labels.flatten(), ignore_index=IGNORED)


def mean_at_labels_of_any_batch(outputs: Any, labels: Tensor, num_items_in_batch: Any = None) -> Tensor:  # noqa: ARG001
    """The same as a `compute_loss_func`, which does not look at the number of labels that it is given."""
    return mean_at_labels(outputs, labels)


def sum_over_items(outputs: Any, labels: Tensor, num_items_in_batch: Any = None) -> Tensor:
    """The same as a `compute_loss_func` that divides by the number of labels that it is given."""
    scores = outputs["logits"].flatten(0, -2)
    total = nn.functional.cross_entropy(scores, labels.flatten(), ignore_index=IGNORED, reduction="sum")
    return total / num_items_in_batch


def our_trainer(
    model: nn.Module, examples: Sequence[Example], folder: Path, kind: type[Trainer] = Trainer, **changes: Any
) -> Trainer:
    """A trainer of ours; what is no argument of training goes to the trainer itself."""
    options = {name: changes.pop(name) for name in ("data_collator", "compute_loss_func") if name in changes}
    arguments = TrainingArguments(str(folder), **{**SETTINGS, **changes})
    return kind(model, arguments, train_dataset=examples, callbacks=[RatesWeUsed()], **options)


def their_trainer(
    model: nn.Module,
    examples: Sequence[Example],
    folder: Path,
    kind: type[transformers.Trainer] = TheirTrainer,
    **changes: Any,
) -> transformers.Trainer:
    """The same of `transformers`; its fifth version knows a share of warm-up as `warmup_steps` below 1 only."""
    if "warmup_ratio" in changes:
        changes["warmup_steps"] = changes.pop("warmup_ratio")
    options = {name: changes.pop(name) for name in ("data_collator", "compute_loss_func") if name in changes}
    quiet = {"report_to": "none", "dataloader_pin_memory": False}
    arguments = transformers.TrainingArguments(str(folder), **{**SETTINGS, **quiet, **changes})
    trainer = kind(model, arguments, train_dataset=examples, callbacks=[RatesTheyUsed()], **options)
    trainer.remove_callback(transformers.trainer_callback.PrinterCallback)
    return trainer


def run_of(trainer: Any) -> Run:
    """Train, and say what came of it."""
    trainer.train()
    logged = [entry for entry in trainer.state.log_history if "grad_norm" in entry]
    callbacks = trainer.callbacks if isinstance(trainer, Trainer) else trainer.callback_handler.callbacks
    return Run(
        *([entry[name] for entry in logged] for name in ("loss", "grad_norm", "learning_rate")),
        next(callback.rates for callback in callbacks if isinstance(callback, RatesUsed)),
        [(len(group["params"]), group["weight_decay"]) for group in trainer.optimizer.param_groups],
        {name: tensor.detach().clone() for name, tensor in trainer.model.state_dict().items()},
        trainer.data_collator.batches if isinstance(trainer.data_collator, Collator) else [],
    )


# What is reported


def largest_difference(found: Sequence[float], wanted: Sequence[float]) -> float:
    """How far two sequences of numbers are apart where they are farthest.

    >>> largest_difference([1.0, 2.5], [1.0, 2.0])
    0.5
    """
    return largest(np.abs(np.subtract(found, wanted)))


def largest_difference_of_weights(found: dict[str, Tensor], wanted: dict[str, Tensor]) -> float:
    """The same of all tensors of a model."""
    return largest((tensor - wanted[name]).abs().max().item() for name, tensor in found.items())


def largest(values: Iterable[float]) -> float:
    """The largest of some numbers, or NaN if one of them is.

    >>> largest([1.0, float("nan"), 2.0])
    nan
    """
    return float(np.max(list(values)))
