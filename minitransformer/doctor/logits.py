"""The rungs of the logits: what they may depend on, and what not."""

import torch
from torch import Tensor, nn

from minitransformer.doctor.changing import columns, other_ids, rows
from minitransformer.doctor.diagnosis import NotJudgedError
from minitransformer.doctor.patient import Logits, Patient, largest_change, tolerance
from minitransformer.doctor.rung import rung

HIDDEN = 2
"""How many columns are turned into padding, to see whether they can still be seen."""


@rung(
    "evaluation",
    "dropout that stays on: F.dropout without training=self.training, or a module kept where eval() does not reach it.",
)
def evaluation(patient: Patient) -> tuple[bool, str]:
    """While evaluating, nothing is left to chance."""
    model = patient.copy()
    first, second = patient.logits(model, patient.batch), patient.logits(model, patient.batch)
    if not all(logits.isfinite().all() for logits in first):
        raise NotJudgedError("the logits are not finite")
    change = largest_change(first, second)
    return change == 0, "two calls agree" if change == 0 else f"two calls differ by {change:.2g}"


@rung(
    "dropout",
    "a module that is set and never called, or whose result is thrown away.",
)
def dropout(patient: Patient) -> tuple[bool | None, str]:
    """While training, dropout that is set makes a difference; where it does not, that is a hint and no failure."""
    rates = rates_of_dropout(patient.model)
    if not rates:
        raise NotJudgedError("no dropout is set")
    model = patient.copy().train()
    first, second = patient.logits(model, patient.batch), patient.logits(model, patient.batch)
    is_set = f"dropout is set to {' and '.join(f'{rate:g}' for rate in rates)}"
    if largest_change(first, second) == 0:
        return None, f"{is_set}, yet two calls agree while training; is it called, and its result used?"
    return True, f"{is_set}, and two calls differ while training"


def rates_of_dropout(model: nn.Module) -> list[float]:
    """The rates above 0 that modules of a model are set to.

    >>> rates_of_dropout(nn.Sequential(nn.Dropout(0.1), nn.MultiheadAttention(4, 1, dropout=0.2), nn.Dropout(0.0)))
    [0.1, 0.2]
    """
    rates = set()
    for module in model.modules():
        names = ("p", "rate") if "dropout" in type(module).__name__.lower() else ("dropout",)
        found = [getattr(module, name, 0) for name in names]
        rates |= {float(rate) for rate in found if isinstance(rate, int | float) and rate > 0}
    return sorted(rates)


@rung(
    "inputs",
    "the embedding of the ids is computed and not used, or another tensor is read in its place.",
)
def inputs_are_read(patient: Patient) -> tuple[bool, str]:
    """Other ids, other logits."""
    model = patient.copy()
    wanted = patient.steady_logits(model, patient.batch)
    found = patient.logits(model, {**patient.batch, "input_ids": other_ids(patient.batch["input_ids"])})
    if largest_change(wanted, found) == 0:
        return False, "other ids leave all logits as they are"
    return True, "other ids change the logits"


@rung(
    "padding",
    "the attention mask is not passed on to every block, means the opposite there, masks queries where it should mask "
    "keys, or a mean over positions counts padding.",
)
def padding_is_invisible(patient: Patient) -> tuple[bool, str]:
    """What stands at padding, and whether there is any, changes nothing at real positions.

    The last columns are turned into padding and not added, so that no position beyond the model's is needed.
    """
    if "attention_mask" not in patient.batch:
        raise NotJudgedError("the batch holds no attention_mask")
    kept = patient.length - HIDDEN
    if kept < 1:
        raise NotJudgedError(f"the batch has {patient.length} positions, and {HIDDEN + 1} are needed")
    is_real = patient.batch["attention_mask"][:, :kept] > 0
    if not is_real.any(dim=1).all():
        raise NotJudgedError("a row of the batch has no token before its last positions")
    model = patient.copy()
    padded = {name: value.clone() for name, value in patient.batch.items()}
    padded["attention_mask"][:, kept:] = 0
    refilled = {**padded, "input_ids": padded["input_ids"].clone()}
    refilled["input_ids"][:, kept:] = other_ids(padded["input_ids"])[:, kept:]
    wanted = patient.steady_logits(model, padded)
    real = at_positions(wanted, is_real, patient.length)
    by_ids = largest_change(real, at_positions(patient.logits(model, refilled), is_real, patient.length))
    shortened = patient.logits(model, columns(padded, slice(kept)))
    by_length = largest_change(real, at_positions(shortened, is_real, kept))
    if not by_ids <= tolerance(wanted):
        return False, f"other ids at padding move the logits of real positions by {by_ids:.2g}"
    if not by_length <= tolerance(wanted):
        return False, f"more padding moves the logits of real positions by {by_length:.2g}"
    return True, f"no real position sees it (changes below {tolerance(wanted):.1g})"


@rung(
    "later tokens",
    "no causal mask, one that is shifted by a position or transposed, or labels that were shifted once too often.",
)
def later_tokens(patient: Patient) -> tuple[bool, str]:
    """In a causal model, the tokens of the second half do not change the logits of the first."""
    if not patient.causal:
        raise NotJudgedError("the model is not said to be causal")
    middle = patient.length // 2
    if middle < 1:
        raise NotJudgedError("the batch has one position")
    model = patient.copy()
    batch = dict(patient.batch)
    if "attention_mask" in batch:
        batch["attention_mask"] = torch.ones_like(batch["attention_mask"])  # what is hidden could not be seen anyway
    changed = {**batch, "input_ids": batch["input_ids"].clone()}
    changed["input_ids"][:, middle:] = other_ids(batch["input_ids"])[:, middle:]
    wanted, found = patient.steady_logits(model, batch), patient.logits(model, changed)
    if not all(has_positions(logits, patient.length) for logits in wanted):
        shapes = ", ".join(str(tuple(logits.shape)) for logits in wanted)
        raise NotJudgedError(f"the model has no logits of single positions, but of shape {shapes}")
    is_earlier = torch.ones_like(batch["input_ids"][:, :middle], dtype=torch.bool)
    change = largest_change(*(at_positions(logits, is_earlier, patient.length) for logits in (wanted, found)))
    if not change <= tolerance(wanted):
        return False, f"tokens from position {middle} on move earlier logits by {change:.2g}"
    return True, "they do not change earlier logits"


@rung(
    "order of the batch",
    "a view or reshape that mixes the axes where a transpose was meant, something that is added along the batch, or a "
    "state that is carried from row to row.",
)
def order_of_the_batch(patient: Patient) -> tuple[bool, str]:
    """The rows turned around, the logits come turned around."""
    if patient.n_examples < 2:
        raise NotJudgedError("the batch has one example")
    model = patient.copy()
    wanted = patient.steady_logits(model, patient.batch)
    found = patient.logits(model, rows(patient.batch, torch.arange(patient.n_examples).flip(0)))
    change = largest_change(wanted, tuple(logits.flip(0) for logits in found))
    if not change <= tolerance(wanted):
        return False, f"the rows turned around, their logits change by {change:.2g}"
    return True, "the logits move with their rows"


@rung(
    "size of the batch",
    "a mean, norm or softmax over the axis of the examples, nn.MultiheadAttention without batch_first, BatchNorm that "
    "uses the batch's own statistics, or a squeeze() that loses an axis of size 1.",
)
def size_of_the_batch(patient: Patient) -> tuple[bool, str]:
    """An example alone gets the logits that it gets in company."""
    if patient.n_examples < 2:
        raise NotJudgedError("the batch has one example")
    model = patient.copy()
    wanted = patient.steady_logits(model, patient.batch)
    alone = patient.logits(model, rows(patient.batch, torch.tensor([0])))
    change = largest_change(tuple(logits[:1] for logits in wanted), alone)
    if not change <= tolerance(wanted):
        return False, f"the first example alone gets logits that differ by {change:.2g}"
    return True, "an example alone gets its row"


def has_positions(logits: Tensor, length: int) -> bool:
    """Whether there are logits for each position, and not for a whole sequence only."""
    return logits.dim() >= 2 and logits.shape[1] == length


def at_positions(answer: Logits, chosen: Tensor, length: int) -> Logits:
    """The logits of some of the first positions of a batch of that length; those of whole sequences as they are."""
    n_first = chosen.shape[1]
    return tuple(logits[:, :n_first][chosen] if has_positions(logits, length) else logits for logits in answer)
