"""Mutants of cross-entropy: of the surprise at each token, and of the loss of a batch."""

# ruff: noqa: ARG001 - an argument that is never used is a classic mistake

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from minitransformer.laws.zoo.mutant import mutant
from minitransformer.laws.zoo.sums import one_by_one


def at_class(log_probability: Tensor, target: Tensor) -> Tensor:
    """What is right in most mutants: the entry of the target at each position."""
    return log_probability.gather(-1, target[..., None])[..., 0]


def reduced(loss: Tensor, counts: Tensor, reduction: str = "mean") -> Tensor:
    """What is right in most mutants: each loss, their sum, or their mean over those that count; 0 where ignored."""
    loss = loss.where(counts, 0.0)
    if reduction == "none":
        return loss
    return loss.sum() if reduction == "sum" else loss.sum() / counts.sum()


def log_shares_one_by_one(logits: Tensor) -> Tensor:
    """What is wrong in some mutants: a log-softmax whose exponentials are added one by one in their own type."""
    shifted = logits - logits.amax(-1, keepdim=True)
    return shifted - one_by_one(shifted.exp()).log()


# The surprise at each token


@mutant("token-cross-entropy", symptom="The loss stops far above 0: no answer can be surer than e / (e + V − 1).")
def softmax_of_a_softmax(logits: Tensor, target: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """The loss takes a softmax of what is a softmax already."""
    log_probability = logits.softmax(-1).log_softmax(-1)
    return -(1 - label_smoothing) * at_class(log_probability, target) - label_smoothing * log_probability.mean(-1)


@mutant(
    "token-cross-entropy",
    symptom="Losses are 44 % higher than everyone else's; nothing else is wrong.",
    difficulty="easy",
)
def bits_for_nats(logits: Tensor, target: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """Logarithms are to base 2."""
    log_probability = logits.log_softmax(-1) / math.log(2)
    return -(1 - label_smoothing) * at_class(log_probability, target) - label_smoothing * log_probability.mean(-1)


@mutant("token-cross-entropy", symptom="A loss far below zero that falls for ever.", difficulty="easy")
def logits_not_normalised(logits: Tensor, target: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """The logits are taken for logarithms of probabilities as they are."""
    return -(1 - label_smoothing) * at_class(logits, target) - label_smoothing * logits.mean(-1)


@mutant(
    "token-cross-entropy", symptom="The loss depends on who else is in the sequence; it falls, and samples are noise."
)
def softmax_over_the_positions(logits: Tensor, target: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """Probabilities sum to 1 over the positions and not over the classes."""
    log_probability = logits.log_softmax(-2)
    return -(1 - label_smoothing) * at_class(log_probability, target) - label_smoothing * log_probability.mean(-1)


@mutant(
    "token-cross-entropy",
    symptom="A slightly different best loss than the published one, at the same ε.",
    difficulty="hard",
)
def smoothing_over_the_others(logits: Tensor, target: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """ε is shared by the V − 1 other classes, and the target gets none of it."""
    log_probability = logits.log_softmax(-1)
    right = at_class(log_probability, target)
    others = (log_probability.sum(-1) - right) / max(1, logits.shape[-1] - 1)
    return -(1 - label_smoothing) * right - label_smoothing * others


@mutant(
    "token-cross-entropy",
    symptom="Losses are a little too high, as if there were more than one whole target.",
    difficulty="medium",
)
def smoothing_on_top(logits: Tensor, target: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """The smoothed part is added to the whole loss: the factor 1 − ε is missing."""
    log_probability = logits.log_softmax(-1)
    return -at_class(log_probability, target) - label_smoothing * log_probability.mean(-1)


@mutant("token-cross-entropy", symptom="Label smoothing makes no difference, whatever ε is.", difficulty="easy")
def smoothing_that_changes_nothing(logits: Tensor, target: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """ε is taken as an argument and never used."""
    return -at_class(logits.log_softmax(-1), target)


@mutant("token-cross-entropy", symptom="The loss never exceeds 20.7, and confident mistakes are never corrected.")
def bounded_by_a_small_number(logits: Tensor, target: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """A small number is added before the logarithm."""
    log_probability = (logits.softmax(-1) + 1e-9).log()
    return -(1 - label_smoothing) * at_class(log_probability, target) - label_smoothing * log_probability.mean(-1)


@mutant(
    "token-cross-entropy", symptom="Trains to a low loss, and every prediction is one word off.", difficulty="medium"
)
def class_before_the_target(logits: Tensor, target: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """Classes are counted from 1, so that each target is looked up one place too early."""
    log_probability = logits.log_softmax(-1)
    right = at_class(log_probability, (target - 1) % logits.shape[-1])
    return -(1 - label_smoothing) * right - label_smoothing * log_probability.mean(-1)


@mutant(
    "token-cross-entropy",
    symptom="Right in float32; in bfloat16 the loss of a large vocabulary is far too low.",
    difficulty="hard",
)
def classes_added_one_by_one(logits: Tensor, target: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """The exponentials are added one by one in the type of the logits; in bfloat16 their sum stops at 256."""
    log_probability = log_shares_one_by_one(logits)
    return -(1 - label_smoothing) * at_class(log_probability, target) - label_smoothing * log_probability.mean(-1)


@mutant(
    "token-cross-entropy",
    symptom="The loss is right; the logits of the targets grow for ever, and nothing pushes the others down.",
    difficulty="hard",
)
def normaliser_left_autograd(logits: Tensor, target: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """The logarithm of the sum of exponentials is detached."""
    log_probability = logits - logits.logsumexp(-1, keepdim=True).detach()
    return -(1 - label_smoothing) * at_class(log_probability, target) - label_smoothing * log_probability.mean(-1)


# Cross-entropy of a batch


@mutant(
    "cross-entropy",
    symptom="The loss is lower the more padding a batch has, and short sentences are hardly learned.",
    source="dhlee347/pytorchic-bert#24",
    difficulty="medium",
)
def mean_over_all_positions(
    logits: Tensor, target: Tensor, ignore_index: int = -100, label_smoothing: float = 0.0, reduction: str = "mean"
) -> Tensor:
    """The mean divides by all positions and not by those that count."""
    counts = target != ignore_index
    each = F.cross_entropy(
        logits.movedim(-1, 1), target.where(counts, 0), label_smoothing=label_smoothing, reduction="none"
    )
    each = each * counts
    return each.mean() if reduction == "mean" else reduced(each, counts, reduction)


@mutant(
    "cross-entropy", symptom="The gradient grows with the batch; the usual learning rate diverges.", difficulty="easy"
)
def sum_for_the_mean(
    logits: Tensor, target: Tensor, ignore_index: int = -100, label_smoothing: float = 0.0, reduction: str = "mean"
) -> Tensor:
    """The mean is a sum."""
    counts = target != ignore_index
    each = F.cross_entropy(
        logits.movedim(-1, 1), target.where(counts, 0), label_smoothing=label_smoothing, reduction="none"
    )
    return reduced(each, counts, "none" if reduction == "none" else "sum")


@mutant(
    "cross-entropy",
    symptom="The model learns to say class 0 wherever nobody asked: padding is trained on.",
    difficulty="medium",
)
def ignored_positions_as_class_zero(
    logits: Tensor, target: Tensor, ignore_index: int = -100, label_smoothing: float = 0.0, reduction: str = "mean"
) -> Tensor:
    """Ignored targets are replaced by 0 so that they can be looked up, and then count as class 0."""
    target = target.where(target != ignore_index, 0)
    each = F.cross_entropy(logits.movedim(-1, 1), target, label_smoothing=label_smoothing, reduction="none")
    return reduced(each, torch.ones_like(target, dtype=torch.bool), reduction)


@mutant(
    "cross-entropy",
    symptom="The weights of the positions change nothing, and padding is trained on.",
    source="d2l-ai/d2l-en#2582",
    difficulty="hard",
)
def weights_that_cancel(
    logits: Tensor, target: Tensor, ignore_index: int = -100, label_smoothing: float = 0.0, reduction: str = "mean"
) -> Tensor:
    """The mask multiplies what is a mean already, and then cancels in the division by its sum."""
    counts = target != ignore_index
    flat, kept = logits.flatten(0, -2), target.where(counts, 0).flatten()
    if reduction != "mean":
        each = F.cross_entropy(flat, kept, label_smoothing=label_smoothing, reduction="none").view_as(target)
        return reduced(each, counts, reduction)
    mean = F.cross_entropy(flat, kept, label_smoothing=label_smoothing)
    return (mean * counts).sum() / counts.sum()


@mutant("cross-entropy", symptom="Works until a vocabulary has its padding at 0, and is then trained on it.")
def always_minus_one_hundred(
    logits: Tensor, target: Tensor, ignore_index: int = -100, label_smoothing: float = 0.0, reduction: str = "mean"
) -> Tensor:
    """The ignored index is −100 whatever was asked for."""
    counts = target != -100
    each = F.cross_entropy(
        logits.movedim(-1, 1), target.where(counts, 0), label_smoothing=label_smoothing, reduction="none"
    )
    return reduced(each, counts, reduction)


@mutant(
    "cross-entropy",
    symptom="Word 0 is never learned, and nobody looks for it.",
    source="codertimo/BERT-pytorch#32",
    difficulty="medium",
)
def class_zero_never_counts(
    logits: Tensor, target: Tensor, ignore_index: int = -100, label_smoothing: float = 0.0, reduction: str = "mean"
) -> Tensor:
    """Class 0 is taken for padding, and left out of the sum though not of the count."""
    counts = target != ignore_index
    each = F.cross_entropy(
        logits.movedim(-1, 1), target.where(counts, 0), label_smoothing=label_smoothing, reduction="none"
    )
    each = each.where(target != 0, 0.0)
    return reduced(each, counts, reduction)


@mutant(
    "cross-entropy",
    symptom="Words in short sentences weigh more than those in long ones; losses of other batch sizes don't compare.",
    source="huggingface/transformers#46731",
    difficulty="hard",
)
def mean_of_the_means_of_rows(
    logits: Tensor, target: Tensor, ignore_index: int = -100, label_smoothing: float = 0.0, reduction: str = "mean"
) -> Tensor:
    """Each row has its own mean, and the result is the mean of these."""
    counts = target != ignore_index
    each = F.cross_entropy(
        logits.movedim(-1, 1), target.where(counts, 0), label_smoothing=label_smoothing, reduction="none"
    )
    if reduction != "mean":
        return reduced(each, counts, reduction)
    total, number = each.where(counts, 0.0).sum(-1), counts.sum(-1)
    return (total / number.clamp(min=1)).sum() / (number > 0).sum()


@mutant("cross-entropy", symptom="Fine for days, then NaN: one logit grew beyond 88.", difficulty="easy")
def loss_that_overflows(
    logits: Tensor, target: Tensor, ignore_index: int = -100, label_smoothing: float = 0.0, reduction: str = "mean"
) -> Tensor:
    """The exponentials are written out without subtracting the maximum."""
    counts = target != ignore_index
    log_probability = (logits.exp() / logits.exp().sum(-1, keepdim=True)).log()
    each = -(1 - label_smoothing) * at_class(log_probability, target.where(counts, 0))
    return reduced(each - label_smoothing * log_probability.mean(-1), counts, reduction)


@mutant("cross-entropy", symptom="A model that is sure and wrong gets no gradient, and stays so.", difficulty="medium")
def small_number_before_the_logarithm(
    logits: Tensor, target: Tensor, ignore_index: int = -100, label_smoothing: float = 0.0, reduction: str = "mean"
) -> Tensor:
    """A small number is added to each probability before its logarithm is taken."""
    counts = target != ignore_index
    log_probability = (logits.softmax(-1) + 1e-9).log()
    each = -(1 - label_smoothing) * at_class(log_probability, target.where(counts, 0))
    return reduced(each - label_smoothing * log_probability.mean(-1), counts, reduction)


@mutant(
    "cross-entropy",
    symptom="A loss from −1 to 0; the model learns very slowly from what it gets wrong.",
    difficulty="medium",
)
def probability_for_its_logarithm(
    logits: Tensor, target: Tensor, ignore_index: int = -100, label_smoothing: float = 0.0, reduction: str = "mean"
) -> Tensor:
    """A loss that wants logarithms is given probabilities."""
    counts = target != ignore_index
    probability = logits.softmax(-1)
    each = -(1 - label_smoothing) * at_class(probability, target.where(counts, 0))
    return reduced(each - label_smoothing * probability.mean(-1), counts, reduction)


@mutant(
    "cross-entropy",
    symptom="The loss at the start is V ln 2 and not ln V; probabilities don't sum to 1.",
    difficulty="easy",
)
def a_yes_or_no_for_each_class(
    logits: Tensor, target: Tensor, ignore_index: int = -100, label_smoothing: float = 0.0, reduction: str = "mean"
) -> Tensor:
    """Each class is a yes or no of its own, and nothing makes their probabilities sum to 1."""
    counts = target != ignore_index
    wanted = F.one_hot(target.where(counts, 0), logits.shape[-1]).to(logits.dtype)
    wanted = (1 - label_smoothing) * wanted + label_smoothing / logits.shape[-1]
    each = F.binary_cross_entropy_with_logits(logits, wanted, reduction="none").sum(-1)
    return reduced(each, counts, reduction)


@mutant(
    "cross-entropy",
    symptom="A slightly wrong best loss: ε is shared by two classes too few.",
    source="harvardnlp/annotated-transformer#38",
    difficulty="hard",
)
def smoothing_over_two_fewer(
    logits: Tensor, target: Tensor, ignore_index: int = -100, label_smoothing: float = 0.0, reduction: str = "mean"
) -> Tensor:
    """ε is divided by V − 2, for a target and a padding class, but given to all V classes."""
    counts = target != ignore_index
    log_probability = logits.log_softmax(-1)
    right = at_class(log_probability, target.where(counts, 0))
    each_share = label_smoothing / max(1, logits.shape[-1] - 2)
    return reduced(-(1 - label_smoothing) * right - each_share * log_probability.sum(-1), counts, reduction)


@mutant(
    "cross-entropy", symptom="With smoothing, padding is pulled towards the uniform distribution.", difficulty="hard"
)
def smoothing_of_ignored_positions(
    logits: Tensor, target: Tensor, ignore_index: int = -100, label_smoothing: float = 0.0, reduction: str = "mean"
) -> Tensor:
    """Ignored positions are left out of the first term of a smoothed loss, but not of the second."""
    counts = target != ignore_index
    log_probability = logits.log_softmax(-1)
    right = at_class(log_probability, target.where(counts, 0)).where(counts, 0.0)
    each = -(1 - label_smoothing) * right - label_smoothing * log_probability.mean(-1)
    if reduction == "none":
        return each
    return each.sum() if reduction == "sum" else each.sum() / counts.sum()


@mutant("cross-entropy", symptom="The printed loss is right, and never changes.", difficulty="medium")
def loss_without_a_gradient(
    logits: Tensor, target: Tensor, ignore_index: int = -100, label_smoothing: float = 0.0, reduction: str = "mean"
) -> Tensor:
    """The logits are detached, so that the loss is a number and teaches nothing."""
    counts = target != ignore_index
    each = F.cross_entropy(
        logits.detach().movedim(-1, 1), target.where(counts, 0), label_smoothing=label_smoothing, reduction="none"
    )
    return reduced(each, counts, reduction)


@mutant(
    "cross-entropy",
    symptom="Right in float32; in bfloat16 the loss gets smaller as batches get larger.",
    difficulty="hard",
)
def losses_added_one_by_one(
    logits: Tensor, target: Tensor, ignore_index: int = -100, label_smoothing: float = 0.0, reduction: str = "mean"
) -> Tensor:
    """The losses of the positions are added one by one in their own type; in bfloat16 their sum comes to a stop."""
    counts = target != ignore_index
    each = F.cross_entropy(
        logits.movedim(-1, 1), target.where(counts, 0), label_smoothing=label_smoothing, reduction="none"
    )
    each = each.where(counts, 0.0)
    if reduction == "none":
        return each
    total = one_by_one(each.flatten())[0]
    return total if reduction == "sum" else total / counts.sum()


@mutant(
    "cross-entropy",
    symptom="Right in float32; in bfloat16 the loss at the start is ln 256, however large the vocabulary is.",
    difficulty="hard",
)
def vocabulary_added_one_by_one(
    logits: Tensor, target: Tensor, ignore_index: int = -100, label_smoothing: float = 0.0, reduction: str = "mean"
) -> Tensor:
    """The exponentials are added one by one in the type of the logits; in bfloat16 their sum stops at 256."""
    counts = target != ignore_index
    log_probability = log_shares_one_by_one(logits)
    each = -(1 - label_smoothing) * at_class(log_probability, target.where(counts, 0))
    return reduced(each - label_smoothing * log_probability.mean(-1), counts, reduction)
