"""The rungs of training: some learning rate lets the loss fall, and one batch can be learned by heart."""

import math

import torch
from torch import Tensor

from minitransformer.doctor.diagnosis import NotJudgedError
from minitransformer.doctor.patient import Patient
from minitransformer.doctor.rung import rung
from minitransformer.laws.tolerances import LAYER, eps_of
from minitransformer.optimizer import AdamW

RATES = (1e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1)
SWEEP_STEPS = 8


@rung(
    "learning rates",
    "the gradient has the wrong sign, the targets change from call to call, or the loss does not depend on what the "
    "model answers.",
)
def learning_rates(patient: Patient) -> tuple[bool, str]:
    """At some rate the loss falls within a few steps."""
    for rate in RATES:
        patient.sweep[rate] = train(patient, rate, SWEEP_STEPS)
    falling = falling_rates(patient)
    if not falling:
        return False, f"at no rate from {RATES[0]:g} to {RATES[-1]:g} does the loss fall in {SWEEP_STEPS} steps"
    best = falling[0]
    first, last = patient.sweep[best][0], patient.sweep[best][-1]
    return True, (
        f"the loss falls up to a rate of {max(falling):g}, and fastest at {best:g}: "
        f"from {first:.3f} to {last:.3f} in {SWEEP_STEPS} steps"
    )


@rung(
    "one batch by heart",
    "softmax before a cross-entropy that has its own, labels that do not belong to their positions, examples that "
    "contradict each other, a model too small, or too few steps.",
)
def one_batch_by_heart(patient: Patient) -> tuple[bool, str]:
    """The model learns one batch by heart: its loss falls below a tenth, or below 0.1."""
    falling = falling_rates(patient)
    if not falling:
        raise NotJudgedError("no learning rate makes the loss fall")
    start = patient.sweep[falling[0]][0]
    enough = max(0.1, start / 10)
    if start < enough:
        raise NotJudgedError(f"the loss begins at {start:.3f}, and nothing is left to learn")
    # The rate that is fastest for a few steps can be too fast for many.
    for rate in (falling[0], falling[0] / 3):
        losses = train(patient, rate, patient.steps, enough)
        if losses[-1] < enough:
            return True, f"from {losses[0]:.3f} to {losses[-1]:.3f} in {len(losses) - 1} steps at a rate of {rate:.2g}"
    told = f"from {losses[0]:.3f} to {losses[-1]:.3f} in {len(losses) - 1} steps, and not below {enough:.3f}"
    if logits_are_probabilities(patient):
        told += "; the logits are probabilities already: each row sums to 1"
    return False, told


def logits_are_probabilities(patient: Patient) -> bool:
    """Whether all that the model answers has been through a softmax; not if it answers nothing."""
    try:
        return all(are_probabilities(logits) for logits in patient.logits(patient.copy(), patient.batch))
    except Exception:
        return False


def are_probabilities(logits: Tensor) -> bool:
    """Whether each row has been through a softmax.

    >>> are_probabilities(torch.tensor([[0.2, 0.8]])), are_probabilities(torch.tensor([[0.2, 0.9]]))
    (True, False)
    """
    sums = logits.sum(-1)
    return bool((logits >= 0).all()) and torch.allclose(sums, torch.ones_like(sums), atol=LAYER * eps_of(logits))


def falling_rates(patient: Patient) -> list[float]:
    """The rates of the sweep at which the loss ended lower than it began, the lowest end first."""
    falling = [rate for rate, losses in patient.sweep.items() if losses[-1] < losses[0]]
    return sorted(falling, key=lambda rate: patient.sweep[rate][-1])


def train(patient: Patient, rate: float, steps: int, enough: float = -math.inf) -> list[float]:
    """The loss of the one batch before each step and after the last; it ends early below `enough` and at no number."""
    model = patient.copy()
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if not parameters or not patient.finite_loss(model).requires_grad:
        raise NotJudgedError("there is no gradient to follow")
    optimizer = AdamW(parameters, lr=rate, weight_decay=0.0)
    losses = []
    for step in range(steps + 1):
        loss = patient.loss(model)
        losses.append(loss.item())
        if step == steps or losses[-1] < enough or not math.isfinite(losses[-1]):
            break
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return losses
