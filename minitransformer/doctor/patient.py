"""Who is examined: a model, a batch, and how the one is asked about the other."""

import inspect
import math
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from minitransformer.batches import Batch
from minitransformer.doctor.diagnosis import NotJudgedError
from minitransformer.errors import InputError
from minitransformer.laws.tolerances import LAYER, eps_of

Logits = tuple[Tensor, ...]
Adapter = Callable[[nn.Module, Batch], tuple[Tensor | None, Tensor | Logits]]

LABELS = ("labels", "next_sentence_label")
REMEDY = "give an adapter(model, batch) that returns (loss, logits)"


class UnfitError(InputError):
    """The model and the batch do not fit together without an adapter, or the adapter does not fit them."""


@dataclass
class Patient:
    """A model, and what to ask it; every check works on a copy of its own."""

    model: nn.Module
    batch: Batch
    adapter: Adapter
    vocab_size: int | None
    causal: bool
    trained: bool
    steps: int
    sweep: dict[float, list[float]] = field(default_factory=dict)
    raised: set[str] = field(default_factory=set)

    @property
    def n_examples(self) -> int:
        """The rows of the batch."""
        return len(self.batch["input_ids"])

    @property
    def length(self) -> int:
        """The columns of the batch."""
        return self.batch["input_ids"].shape[1]

    def copy(self) -> nn.Module:
        """The model once more, evaluating: dropout has no say in what is checked."""
        return deepcopy(self.model).eval()

    def ask(self, model: nn.Module, batch: Batch) -> tuple[Tensor | None, Logits]:
        """What the adapter makes of the model's answer.

        Raises: UnfitError for anything but a loss, or None, and logits.
        """
        return loss_and_logits(self.adapter(model, batch))

    def loss(self, model: nn.Module, batch: Batch | None = None) -> Tensor:
        """The loss of the batch, or of another one."""
        loss, _ = self.ask(model, self.batch if batch is None else batch)
        if loss is None:
            raise NotJudgedError("the model gives no loss; give it labels")
        return loss

    def finite_loss(self, model: nn.Module) -> Tensor:
        """The loss, for a check that makes no sense without a number."""
        loss = self.loss(model)
        if loss.dim() or not loss.isfinite():
            raise NotJudgedError("the loss is not finite" if not loss.dim() else "the loss is not one number")
        return loss

    @torch.no_grad()
    def logits(self, model: nn.Module, batch: Batch) -> Logits:
        """What the model answers to a batch, without being told the right answers if it can do without them."""
        try:
            _, logits = self.ask(model, {name: value for name, value in batch.items() if name not in LABELS})
        except Exception:
            if not any(name in batch for name in LABELS):
                raise
            _, logits = self.ask(model, batch)
        if not logits:
            raise NotJudgedError("the model gives no logits")
        return logits

    def steady_logits(self, model: nn.Module, batch: Batch) -> Logits:
        """The logits, for a check that compares them with others: they must be comparable with themselves."""
        first, second = self.logits(model, batch), self.logits(model, batch)
        if not all(logits.isfinite().all() for logits in first):
            raise NotJudgedError("the logits are not finite")
        if all((logits == logits.flatten()[0]).all() for logits in first):
            raise NotJudgedError("all logits are equal, so nothing can be seen in them; is the last layer zero?")
        if largest_change(first, second) > 0:
            raise NotJudgedError("two calls on the same batch differ, so nothing can be compared")
        return first


def read_output(model: nn.Module, batch: Batch) -> tuple[Tensor | None, Logits]:
    """The loss and the logits of a model that takes the batch as keyword arguments and names its results.

    Raises: UnfitError if the names differ, or the results have none.
    """
    require_arguments(model, batch)
    output = model(**batch)
    if isinstance(output, Tensor) or not (hasattr(output, "items") or hasattr(output, "__dict__")):
        raise UnfitError(f"the model returns a {type(output).__name__}, not results by name; {REMEDY}")
    named = dict(output.items() if hasattr(output, "items") else vars(output))
    logits = tuple(value for name, value in named.items() if name.endswith("logits") and value is not None)
    return named.get("loss"), logits


def require_arguments(model: nn.Module, batch: Batch) -> None:
    """Refuse a model whose arguments bear other names than the entries of the batch."""
    signature = inspect.signature(model.forward)
    try:
        signature.bind(**batch)
    except TypeError as error:
        takes, holds = ", ".join(signature.parameters), ", ".join(batch)
        raise UnfitError(f"the model takes ({takes}) and the batch holds ({holds}): {error}; {REMEDY}") from None


def loss_and_logits(answer: Any) -> tuple[Tensor | None, Logits]:
    """An adapter's answer, with the logits as a tuple.

    Raises: UnfitError for anything but (loss, logits).
    """
    if not isinstance(answer, tuple | list) or len(answer) != 2:
        raise UnfitError(f"the adapter returns {kind_of(answer)}, and must return (loss, logits)")
    loss, logits = answer
    if loss is not None and not isinstance(loss, Tensor):
        raise UnfitError(f"the loss is {kind_of(loss)}, and must be a tensor, or None without labels")
    logits = (logits,) if isinstance(logits, Tensor) else tuple(logits or ())
    if not all(isinstance(each, Tensor) for each in logits):
        raise UnfitError(f"the logits are {', '.join(kind_of(each) for each in logits)}, and must be tensors")
    if loss is not None and loss.dim() and any(not each.dim() for each in logits):
        raise UnfitError("the loss has axes and the logits have none; the adapter must return (loss, logits)")
    return loss, logits


def kind_of(value: object) -> str:
    """The type of a value, in words.

    >>> kind_of(7), kind_of((1, 2, 3))
    ('an int', 'a tuple of 3')
    """
    name = type(value).__name__
    article = "an" if name[0].lower() in "aeiou" else "a"
    return f"{article} {name}" + (f" of {len(value)}" if isinstance(value, tuple | list) else "")


def largest_change(first: Logits, second: Logits) -> float:
    """How far two answers are apart; not at all alike if their shapes differ."""
    if [logits.shape for logits in first] != [logits.shape for logits in second]:
        return math.inf
    pairs = zip(first, second, strict=True)
    return max((float((one - other).abs().max()) for one, other in pairs if one.numel()), default=0.0)


def tolerance(wanted: Logits) -> float:
    """How far rounding alone may move the logits."""
    return max(LAYER * eps_of(logits) * float(logits.abs().max()) for logits in wanted)
