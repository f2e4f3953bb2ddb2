"""The rungs of the loss: it is a number, begins where a guess is, reads the labels, and reaches every parameter."""

import math

from torch import Tensor, nn

from minitransformer.doctor.changing import other_labels
from minitransformer.doctor.diagnosis import NotJudgedError, listed
from minitransformer.doctor.patient import LABELS, Patient
from minitransformer.doctor.rung import rung
from minitransformer.laws.tolerances import eps_of
from minitransformer.losses import cross_entropy
from minitransformer.optimizer import AdamW

NEAR = 0.5
"""How many nats a first loss may lie from that of a guess: the scores of an untrained head are not quite equal."""
COARSE = 1e-4
"""From this eps on, a loss has too few digits to show that a label was exchanged."""


@rung(
    "finite loss",
    "a division by zero, the logarithm of zero, a row in which nothing may be attended to, or no label that counts.",
)
def finite_loss(patient: Patient) -> tuple[bool, str]:
    """The loss is a number."""
    loss = patient.loss(patient.copy())
    if loss.dim():
        return False, f"the loss has shape {tuple(loss.shape)}, and must be one number"
    return bool(loss.isfinite()), f"{loss:.4g}"


@rung(
    "first loss",
    "the initialisation is too wide (an embedding drawn from N(0, 1) is, where it is tied to the output), the loss is "
    "a sum and not a mean, its sign is wrong, nll_loss gets logits where it wants log_softmax of them, or the labels "
    "belong to another vocabulary.",
)
def first_loss(patient: Patient) -> tuple[bool | None, str]:
    """Before training no class is likelier than another, which costs ln V.

    Where the next sentence is asked too, the words are also judged alone.
    """
    model = patient.copy()
    loss = patient.finite_loss(model).item()
    n_classes = number_of_classes(patient, model)
    if not all(name in patient.batch for name in LABELS):
        return compared(patient, loss, math.log(n_classes), f"ln {n_classes}")
    whole = compared(patient, loss, math.log(n_classes) + math.log(2), f"ln {n_classes} + ln 2")
    words = compared(patient, loss_of_part(patient, model, "labels"), math.log(n_classes), f"ln {n_classes}")
    return worse(whole[0], words[0]), f"{whole[1]}; of the words alone {words[1]}"


@rung(
    "first loss of the next sentence",
    "its logits have more than two classes, its loss is a sum and not a mean, or its head begins too wide.",
)
def first_loss_of_the_next_sentence(patient: Patient) -> tuple[bool | None, str]:
    """Before training "is next" is as likely as "is not next", which costs ln 2."""
    if "next_sentence_label" not in patient.batch:
        raise NotJudgedError("the batch holds no next_sentence_label")
    return compared(patient, loss_of_part(patient, patient.copy(), "next_sentence_label"), math.log(2), "ln 2")


def compared(patient: Patient, loss: float, guess: float, formula: str) -> tuple[bool | None, str]:
    """A first loss beside that of equally likely classes."""
    told = f"{loss:.3f}, where a guess has {formula} = {guess:.3f}"
    if loss < 0:
        return False, f"{told}; no cross-entropy is negative"
    if patient.trained:
        return None, f"{told}; not judged: a trained model is below it on texts of its kind, and may be above on others"
    if loss < guess - NEAR:
        return None, f"{told}; a trained model may be below it, but an untrained one sees the answer"
    return loss <= guess + NEAR, told


def worse(first: bool | None, second: bool | None) -> bool | None:
    """The verdict on both: failed if one is, and told only if one is.

    >>> worse(True, False), worse(True, None), worse(True, True)
    (False, None, True)
    """
    return False if False in (first, second) else None if None in (first, second) else True


def number_of_classes(patient: Patient, model: nn.Module) -> int:
    """How many classes a guess is among."""
    labels = patient.batch.get("labels")
    if labels is not None and labels.is_floating_point():
        raise NotJudgedError("the labels are not classes, so there is no ln V to compare with")
    n_classes = patient.vocab_size or patient.logits(model, patient.batch)[0].shape[-1]
    if n_classes < 2:
        raise NotJudgedError("there is one class, so there is no ln V to compare with")
    return n_classes


def loss_of_part(patient: Patient, model: nn.Module, name: str) -> float:
    """The loss of one kind of labels: as the model gives it for these alone, else the cross-entropy of its logits."""
    alone = {entry: value for entry, value in patient.batch.items() if entry == name or entry not in LABELS}
    try:
        loss, _ = patient.ask(model, alone)
    except Exception:  # many models insist on both
        loss = None
    if loss is None or loss.dim() or not loss.isfinite():
        loss = cross_entropy_of_part(patient, model, name)
    return loss.item()


def cross_entropy_of_part(patient: Patient, model: nn.Module, name: str) -> Tensor:
    """The cross-entropy of the logits that belong to one kind of labels."""
    logits, place = patient.logits(model, patient.batch), LABELS.index(name)
    if len(logits) != len(LABELS):
        raise NotJudgedError("the model has no logits of two questions, and gives no loss for these labels alone")
    labels = patient.batch[name]
    if logits[place].shape[:-1].numel() != labels.numel():
        raise NotJudgedError(f"logits of shape {tuple(logits[place].shape)} do not belong to these labels")
    return cross_entropy(logits[place].flatten(0, -2), labels.flatten())


@rung(
    "labels",
    "the loss is taken of something else (the ids that were read, a tensor that was overwritten), all labels count as "
    "ignored, or one of two losses is left out of the sum.",
)
def labels_are_read(patient: Patient) -> tuple[bool, str]:
    """Other labels, another loss."""
    names = [name for name in LABELS if name in patient.batch]
    if not names:
        raise NotJudgedError("the batch holds no labels")
    model = patient.copy()
    loss = patient.finite_loss(model)
    if eps_of(loss) > COARSE:
        raise NotJudgedError(f"a loss of {loss.dtype} has too few digits")
    if any((logits == logits.flatten()[0]).all() for logits in patient.steady_logits(model, patient.batch)):
        raise NotJudgedError("all logits of a question are equal, so each label costs the same")
    changed = {**patient.batch, **{name: other_labels(patient.batch[name]) for name in names}}
    unread = [name for name in names if patient.loss(model, {**patient.batch, name: changed[name]}).equal(loss)]
    if unread:
        return False, f"other {' and '.join(unread)} leave the loss at {loss:.4g}"
    return True, "other labels change the loss"


@rung(
    "gradient",
    "a layer that was built and never called, a detach() or .item() on the way, a plain list where nn.ModuleList or a "
    "tensor where nn.Parameter was meant, or a part that is multiplied by zero.",
)
def gradient(patient: Patient) -> tuple[bool, str]:
    """Every parameter takes part in the loss.

    The gradient is taken twice, with a step in between: what begins behind a zero may wait for one step.
    """
    model = patient.copy()
    learned = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    if not learned:
        return False, "no parameter asks for a gradient"
    unknown = unknown_to(model)
    if unknown:
        return False, f"{listed(unknown)} hold parameters that model.parameters() does not know"
    optimizer = AdamW(learned.values())
    reached: set[str] = set()
    for _ in range(2):
        optimizer.zero_grad()
        loss = patient.finite_loss(model)
        if not loss.requires_grad:
            return False, f"it reaches none of {len(learned)} parameters: the loss is cut off from them"
        loss.backward()  # type: ignore[no-untyped-call]
        gradients = {name: parameter.grad for name, parameter in learned.items() if parameter.grad is not None}
        broken = [name for name, value in gradients.items() if not value.isfinite().all()]
        if broken:
            return False, f"it is not finite at {listed(broken)}"
        reached |= {name for name, value in gradients.items() if value.any()}
        optimizer.step()
    missed = [name for name in learned if name not in reached]
    if missed:
        return False, f"it does not reach {listed(missed)}"
    return True, f"it reaches all {len(learned)} parameters"


def unknown_to(model: nn.Module) -> list[str]:
    """The attributes that no optimizer will find: modules in a plain list or dict, and tensors that are no parameters.

    >>> model = nn.Linear(2, 3)
    >>> model.blocks, model.scale = [nn.Linear(3, 3)], torch.ones(3, requires_grad=True)
    >>> unknown_to(model)
    ['blocks', 'scale']
    """
    known = set(model.modules())
    return [
        f"{name}.{attribute}".lstrip(".")
        for name, module in model.named_modules()
        for attribute, value in vars(module).items()
        if not attribute.startswith("_") and is_unknown(value, known)
    ]


def is_unknown(value: object, known: set[nn.Module]) -> bool:
    """Whether something holds what is learned without being registered."""
    if isinstance(value, Tensor):
        return value.requires_grad and value.is_leaf
    members = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else []
    strangers = [member for member in members if isinstance(member, nn.Module) and member not in known]
    return any(list(stranger.parameters()) for stranger in strangers)
