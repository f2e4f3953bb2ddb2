"""The examination: one rung after another, from the simplest up."""

from collections.abc import Callable

import torch
from torch import nn

from minitransformer.batches import Batch
from minitransformer.doctor.diagnosis import Check, Diagnosis
from minitransformer.doctor.logits import (
    dropout,
    evaluation,
    inputs_are_read,
    later_tokens,
    order_of_the_batch,
    padding_is_invisible,
    size_of_the_batch,
)
from minitransformer.doctor.loss import (
    finite_loss,
    first_loss,
    first_loss_of_the_next_sentence,
    gradient,
    labels_are_read,
)
from minitransformer.doctor.patient import Adapter, Patient, read_output
from minitransformer.doctor.saving import saving
from minitransformer.doctor.training import learning_rates, one_batch_by_heart
from minitransformer.errors import InputError

LADDER: tuple[Callable[[Patient], Check], ...] = (
    finite_loss,
    first_loss,
    first_loss_of_the_next_sentence,
    labels_are_read,
    gradient,
    evaluation,
    dropout,
    inputs_are_read,
    padding_is_invisible,
    later_tokens,
    order_of_the_batch,
    size_of_the_batch,
    saving,
    learning_rates,
    one_batch_by_heart,
)


def examine(
    model: nn.Module,
    batch: Batch,
    vocab_size: int | None = None,
    causal: bool = False,
    seed: int = 0,
    *,
    adapter: Adapter = read_output,
    trained: bool = False,
    steps: int = 60,
) -> Diagnosis:
    """Check a model from the simplest up; nothing stops the examination, and the model stays as it is.

    The batch goes to the model as keyword arguments, with labels where the loss is wanted, and without them where only
    logits are, if the model can do without. The model gives its results by name: `loss`, and what ends in `logits`. An
    `adapter` from (model, batch) to (loss, logits) fits any other. `vocab_size` is the number of classes of the loss,
    else the last axis of the first logits tells it. With `causal` later tokens must not change earlier logits. Of a
    model that is `trained`, the first loss is told and not judged. `steps` is how long it may take to learn one batch
    by heart.

    Raises: InputError for a batch without input_ids of two axes, less than one class, and fewer than one step.
    """
    require_ids(batch)
    if vocab_size is not None and vocab_size < 1:
        raise InputError(f"vocab_size={vocab_size} must be at least 1; it is the number of classes of the loss")
    if steps < 1:
        raise InputError(f"steps={steps} must be at least 1; a healthy small model needs about 60")
    patient = Patient(model, batch, adapter, vocab_size, causal, trained, steps)
    checks = []
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        for check in LADDER:
            torch.manual_seed(seed)
            checks.append(check(patient))
    return Diagnosis(checks, patient.sweep)


def require_ids(batch: Batch) -> None:
    """Refuse a batch without rows of ids."""
    if "input_ids" not in batch or batch["input_ids"].dim() != 2 or not batch["input_ids"].numel():
        raise InputError(f"the batch holds {sorted(batch)}, and needs input_ids with the axes (examples, positions)")
