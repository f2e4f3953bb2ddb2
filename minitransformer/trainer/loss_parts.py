"""The loss in parts, each a sum and a count, so that a mean is over everything that counts, however it is cut up."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from minitransformer.errors import InputError
from minitransformer.losses import IGNORED, LossPart, cross_entropy
from minitransformer.trainer.reading import Batch, count_examples

Totals = dict[str, Tensor]
Counts = Mapping[str, int]
LossFunction = Callable[..., Tensor]
LossOf = Callable[..., Any]
"""The mean loss of a model on a batch, so many labels of which count; with `return_outputs=True` the output too."""


class LossInParts(nn.Module):
    """A model together with its loss: a batch in, the sum of each part of the loss out.

    A model with `training_losses(**batch)` gives its parts itself, and says in `training_counts(**batch)` how many each
    will be over. Of any other, the mean `loss` of its output is taken times the labels that count.
    """

    def __init__(
        self,
        model: nn.Module,
        loss_of: LossOf | None = None,
        label_smoothing: int | float = 0.0,
    ) -> None:
        super().__init__()
        self.model = model
        self.loss_of = loss_of
        self.label_smoothing = label_smoothing

    @property
    def has_parts(self) -> bool:
        """Whether the model gives its loss in parts itself."""
        return self.loss_of is None and not self.label_smoothing and hasattr(self.model, "training_losses")

    def has_one_part(self, batch: Batch) -> bool:
        """Whether the loss is of one part: then it is the mean that an output tells, times what it is over."""
        return list(self.counts(batch)) == ["loss"]

    def with_what_is_asked(self, batch: Batch) -> Batch:
        """A batch, and what its loss asks for, if the model can tell: found before the batch goes to an accelerator."""
        if not (self.has_parts and hasattr(self.model, "what_is_asked")):
            return batch
        return {**batch, "asked": self.model.what_is_asked(**batch)}  # type: ignore[operator]

    def counts(self, batch: Batch) -> dict[str, int]:
        """How many labels each part of the loss will be over; the labels say so before anything is computed.

        Raises: InputError for a model that gives its loss in parts and does not say it.
        """
        if not self.has_parts:
            return {"loss": count_labels(without_first_labels(batch) if asks_for_the_next(self.model) else batch)}
        if not hasattr(self.model, "training_counts"):
            raise InputError(
                f"{type(self.model).__name__} has training_losses, and needs training_counts(**batch) beside it"
            )
        return self.model.training_counts(**batch)  # type: ignore[operator, no-any-return]

    def forward(self, batch: Batch, count: int) -> Totals:
        """The sum of each part of the loss; a mean is one over `count` labels."""
        if self.has_parts:
            parts: dict[str, LossPart] = self.model.training_losses(**batch)  # type: ignore[operator]
            return {name: part.total for name, part in parts.items()}
        if self.loss_of is not None:
            return {"loss": self.loss_of(self.model, batch, count) * count}
        if self.label_smoothing:
            return {"loss": smoothed_loss(self.model, batch, self.label_smoothing)}
        return {"loss": mean_loss(self.model(**batch), self.model) * count}

    def with_output(self, batch: Batch, count: int) -> tuple[Totals, Any]:
        """The same, and the output that the loss is of, where one pass gives both; else None."""
        if self.loss_of is not None:
            loss, output = self.loss_of(self.model, batch, count, return_outputs=True)
            return {"loss": loss * count}, output
        if self.label_smoothing or (self.has_parts and not self.has_one_part(batch)):
            return self.forward(batch, count), None
        output = self.model(**batch)
        if self.has_parts and getattr(output, "loss", None) is None:
            return self.forward(batch, count), output
        return {"loss": mean_loss(output, self.model) * count}, output

    def outputs(self, batch: Batch) -> Any:
        """What the model says of a batch."""
        return self.model(**batch)


def mean_loss(output: Any, model: nn.Module) -> Tensor:
    """The loss of a model's output: by name, as an attribute, or as the first of a tuple.

    Raises: InputError if there is none.
    """
    if isinstance(output, Tensor) and output.ndim == 0:
        return output
    if isinstance(output, tuple | list) and not hasattr(output, "loss"):
        loss = output[0] if output and isinstance(output[0], Tensor) and output[0].ndim == 0 else None
    else:
        loss = output.get("loss") if isinstance(output, dict) else getattr(output, "loss", None)
    if loss is None:
        raise InputError(f"{type(model).__name__} returned no loss; do the examples hold labels?")
    return loss.mean() if loss.ndim else loss


def smoothed_loss(model: nn.Module, batch: Batch, label_smoothing: int | float) -> Tensor:
    """The sum of the smoothed cross-entropy at all labels that count.

    Raises: InputError for labels that are not classes, or an output without one score for each class.
    """
    labels = batch.get("labels")
    if labels is None or labels.is_floating_point():
        raise InputError("label_smoothing_factor is for labels that number a class; leave it out for this task")
    output = model(**{name: value for name, value in batch.items() if name != "labels"})
    logits = logits_of(output)
    if logits is None:
        raise InputError(f"label_smoothing_factor needs an output with logits; {type(model).__name__} gives none")
    if asks_for_the_next(model):
        logits, labels = logits[..., :-1, :], labels[..., 1:]
    return cross_entropy(logits, labels, label_smoothing=label_smoothing, reduction="sum")


def logits_of(output: Any) -> Tensor | None:
    """The scores in an output without a loss: by name, as an attribute, or the first of a tuple.

    >>> logits_of((torch.tensor([1.0]), torch.tensor([2.0])))
    tensor([1.])
    """
    if isinstance(output, tuple | list) and not hasattr(output, "logits"):
        return output[0] if output else None
    return output.get("logits") if isinstance(output, dict) else getattr(output, "logits", None)


def loss_by(function: LossFunction) -> LossOf:
    """A user's `compute_loss_func(outputs, labels, num_items_in_batch)` as the mean loss of a model on a batch.

    `num_items_in_batch` is how many labels count in the batch. So a function that divides by it and one that takes a
    mean both give the mean of the batch, which is then weighed by its labels.
    """
    takes_count = takes(function, "num_items_in_batch")

    def loss_of(model: nn.Module, batch: Batch, count: int, return_outputs: bool = False) -> Any:
        outputs = model(**{name: value for name, value in batch.items() if name != "labels"})
        labels = batch.get("labels")
        loss = function(outputs, labels, num_items_in_batch=count) if takes_count else function(outputs, labels)
        return (loss, outputs) if return_outputs else loss

    return loss_of


def takes(function: Callable[..., Any], name: str) -> bool:
    """Whether a function has a parameter of this name, or takes whatever it is given.

    >>> takes(lambda outputs, labels: 0, "labels"), takes(lambda outputs, labels: 0, "num_items_in_batch")
    (True, False)
    """
    parameters = inspect.signature(function).parameters.values()
    return any(p.name == name or p.kind is p.VAR_KEYWORD for p in parameters)


def count_labels(batch: Mapping[str, Any]) -> int:
    """How many labels a mean loss is over: those that are not ignored, and of fractional ones the examples.

    >>> count_labels({"labels": torch.tensor([[3, -100], [-100, 5]])})
    2
    """
    labels = batch.get("labels")
    if not isinstance(labels, Tensor) or labels.is_floating_point():
        return count_examples(batch)
    return int((labels != IGNORED).sum())


def asks_for_the_next(model: nn.Module) -> bool:
    """Whether a model compares each score with the label after it, as those of `transformers` that write on do.

    >>> asks_for_the_next(nn.Linear(1, 1))
    False
    """
    writes = hasattr(model, "can_generate") and model.can_generate()  # type: ignore[operator]
    has_encoder = getattr(getattr(model, "config", None), "is_encoder_decoder", False)
    loss = getattr(model, "loss_function", None)
    return bool(writes) and not has_encoder and getattr(loss, "__name__", None) == "ForCausalLMLoss"


def without_first_labels(batch: Batch) -> Batch:
    """A batch without the first label of each row, which nothing comes before that could foretell it.

    >>> without_first_labels({"labels": torch.tensor([[5, 6, 7]])})
    {'labels': tensor([[6, 7]])}
    """
    labels = batch.get("labels")
    return {**batch, "labels": labels[..., 1:]} if isinstance(labels, Tensor) and labels.ndim else batch


def require_labels(counts: Counts) -> None:
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


def with_any_labels(batch: Batch) -> Batch:
    """A batch that only keeps step, with labels whose loss can be computed: it is multiplied by zero."""
    return {
        name: value.clamp(min=0) if isinstance(value, Tensor) and name.endswith(("labels", "label")) else value
        for name, value in batch.items()
    }


def add_parts(sums: dict[str, LossPart], parts: Mapping[str, LossPart]) -> dict[str, LossPart]:
    """Put parts of equal name together: sums add up, and so do counts."""
    nothing = LossPart(torch.zeros(()), 0)
    return {
        name: LossPart(sums.get(name, nothing).total + part.total.detach(), sums.get(name, nothing).count + part.count)
        for name, part in parts.items()
    }


def in_parts(totals: Totals, counts: Counts) -> dict[str, LossPart]:
    """Sums and counts side by side."""
    return {name: LossPart(total.detach(), counts[name]) for name, total in totals.items()}


def total_loss(parts: Mapping[str, LossPart]) -> float:
    """The loss: the sum of the means of its parts."""
    return sum(part.mean.item() for part in parts.values())
