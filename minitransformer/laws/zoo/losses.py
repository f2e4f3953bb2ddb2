"""Mutants of the losses."""

# ruff: noqa: ARG001 - an argument that is never used is a classic mistake

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from minitransformer.laws.zoo.mutant import mutant


def at_class(log_probability: Tensor, target: Tensor) -> Tensor:
    """What is right in most mutants: the entry of the target at each position."""
    return log_probability.gather(-1, target[..., None])[..., 0]


def reduced(loss: Tensor, counts: Tensor, reduction: str = "mean") -> Tensor:
    """What is right in most mutants: each loss, their sum, or their mean over those that count; 0 where ignored."""
    loss = loss.where(counts, 0.0)
    if reduction == "none":
        return loss
    return loss.sum() if reduction == "sum" else loss.sum() / counts.sum()


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


# Yes or no


@mutant("binary-cross-entropy", symptom="Fine for days, then inf or NaN at one confident mistake.", difficulty="easy")
def logarithm_of_a_rounded_sigmoid(logit: Tensor, target: Tensor) -> Tensor:
    """It takes the logarithm of a sigmoid that was rounded to 0 or 1."""
    yes = logit.sigmoid()
    return -(target * yes.log() + (1 - target) * (1 - yes).log()).mean()


@mutant("binary-cross-entropy", symptom="Confident mistakes cost at most 16 and have no gradient.", difficulty="medium")
def sigmoid_kept_from_zero(logit: Tensor, target: Tensor) -> Tensor:
    """The sigmoid is kept away from 0 and 1 by a small number, where its gradient is 0."""
    yes = logit.sigmoid().clamp(1e-7, 1 - 1e-7)
    return -(target * yes.log() + (1 - target) * (1 - yes).log()).mean()


@mutant("binary-cross-entropy", symptom="An accuracy below that of chance.", difficulty="easy")
def yes_and_no_swapped(logit: Tensor, target: Tensor) -> Tensor:
    """The two terms are swapped: a 1 means no."""
    return F.binary_cross_entropy_with_logits(logit, 1 - target)


@mutant("binary-cross-entropy", symptom="The model says yes to everything, at a loss near 0.", difficulty="medium")
def only_a_yes_counts(logit: Tensor, target: Tensor) -> Tensor:
    """The term of the no is missing."""
    return -(target * F.logsigmoid(logit)).mean()


@mutant("binary-cross-entropy", symptom="The gradient grows with the batch.", difficulty="easy")
def sum_of_the_answers(logit: Tensor, target: Tensor) -> Tensor:
    """The surprises are summed and not averaged."""
    return F.binary_cross_entropy_with_logits(logit, target.to(logit.dtype), reduction="sum")


@mutant("binary-cross-entropy", symptom="The loss never falls below 0.31: no answer is surer than σ(1).")
def sigmoid_taken_twice(logit: Tensor, target: Tensor) -> Tensor:
    """A loss that wants a logit is given its sigmoid."""
    return F.binary_cross_entropy_with_logits(logit.sigmoid(), target.to(logit.dtype))


@mutant(
    "binary-cross-entropy", symptom="Smoothed targets all count as no; hard ones are learned well.", difficulty="medium"
)
def target_compared_with_one(logit: Tensor, target: Tensor) -> Tensor:
    """The target is compared with 1, so that anything less is a no."""
    return torch.where(target == 1, F.softplus(-logit), F.softplus(logit)).mean()


@mutant("binary-cross-entropy", symptom="Right for logits below 88, and inf beyond.", difficulty="hard")
def exponential_of_the_logit(logit: Tensor, target: Tensor) -> Tensor:
    """ln(1 + eᶻ) is computed as it stands, and eᶻ overflows."""
    return (torch.log1p(logit.exp()) - logit * target).mean()


# The squared error


@mutant("mean-squared-error", symptom="The gradient grows with the batch.", difficulty="easy")
def sum_of_the_squares(prediction: Tensor, target: Tensor) -> Tensor:
    """The squares are summed and not averaged."""
    return (prediction - target).square().sum()


@mutant(
    "mean-squared-error", symptom="Losses are half of everyone else's, at half the learning rate.", difficulty="medium"
)
def half_the_square(prediction: Tensor, target: Tensor) -> Tensor:
    """The square is halved, as textbooks do to have a simpler gradient."""
    return (prediction - target).square().mean() / 2


@mutant("mean-squared-error", symptom="The median is learned and not the mean.", difficulty="easy")
def absolute_error(prediction: Tensor, target: Tensor) -> Tensor:
    """It is the absolute value of the error and not its square."""
    return (prediction - target).abs().mean()


@mutant("mean-squared-error", symptom="A loss in other units, and a gradient that never gets smaller near the goal.")
def root_of_the_mean_square(prediction: Tensor, target: Tensor) -> Tensor:
    """The root of the mean square is returned, which is the one to report and not the one to learn from."""
    return (prediction - target).square().mean().sqrt()


@mutant(
    "mean-squared-error",
    symptom="A loss near 0 at once; predictions are right on average and nowhere else.",
    difficulty="medium",
)
def square_of_the_mean(prediction: Tensor, target: Tensor) -> Tensor:
    """Errors are averaged before they are squared, so that they cancel."""
    return (prediction - target).mean().square()


@mutant("mean-squared-error", symptom="Learns well from small errors, and slowly from outliers.", difficulty="medium")
def linear_far_away(prediction: Tensor, target: Tensor) -> Tensor:
    """Beyond a distance of 1 the loss is linear, which makes it Huber's."""
    distance = (prediction - target).abs()
    return torch.where(distance < 1, distance.square(), 2 * distance - 1).mean()


@mutant("mean-squared-error", symptom="Predictions are too high, and the loss is 0.", difficulty="medium")
def only_what_is_too_low(prediction: Tensor, target: Tensor) -> Tensor:
    """An error counts only where the prediction is below its target."""
    return (target - prediction).clamp(min=0).square().mean()


@mutant(
    "mean-squared-error", symptom="Targets of different sizes are learned at different speeds.", difficulty="medium"
)
def relative_to_the_target(prediction: Tensor, target: Tensor) -> Tensor:
    """Errors are divided by the size of the target, plus 1."""
    return ((prediction - target) / (1 + target.abs())).square().mean()


# Masked words


@mutant(
    "masked-lm-loss",
    symptom="The loss falls to near 0 within an hour: most words can simply be copied.",
    source="lucidrains/mlm-pytorch#2",
    difficulty="easy",
)
def loss_over_all_tokens(logits: Tensor, labels: Tensor) -> Tensor:
    """Words that were not selected count too, with the label 0."""
    return F.cross_entropy(logits.flatten(0, -2), labels.clamp(min=0).flatten())


@mutant(
    "masked-lm-loss",
    symptom="A loss of 1.5 that should be 10 at the start, and a gradient a seventh of its size.",
    source="dhlee347/pytorchic-bert#24",
    difficulty="medium",
)
def divided_by_all_tokens(logits: Tensor, labels: Tensor) -> Tensor:
    """The sum over the selected words is divided by the number of all tokens."""
    return F.cross_entropy(logits.flatten(0, -2), labels.flatten(), reduction="sum") / labels.numel()


@mutant(
    "masked-lm-loss",
    symptom="Losses of other batch sizes don't compare, and words in short sentences weigh more.",
    source="huggingface/transformers#47688",
    difficulty="hard",
)
def mean_of_the_means_of_sequences(logits: Tensor, labels: Tensor) -> Tensor:
    """Each sequence has its own mean, and the result is the mean of these."""
    each = F.cross_entropy(logits.movedim(-1, 1), labels, reduction="none")
    number = (labels != -100).sum(-1)
    return (each.sum(-1) / number.clamp(min=1)).sum() / (number > 0).sum()


@mutant(
    "masked-lm-loss",
    symptom="A word near the end of the vocabulary is predicted wherever nobody asked.",
    difficulty="medium",
)
def labels_as_indices(logits: Tensor, labels: Tensor) -> Tensor:
    """−100 is taken for an index, which counts from the end of the vocabulary."""
    each = -at_class(logits.log_softmax(-1), labels % logits.shape[-1])
    return each.mean()


@mutant("masked-lm-loss", symptom="The loss falls, and the word predicted for a mask is noise.", difficulty="medium")
def words_compete_across_positions(logits: Tensor, labels: Tensor) -> Tensor:
    """The softmax runs over the positions and not over the words."""
    counts = labels != -100
    return reduced(-at_class(logits.log_softmax(-2), labels.where(counts, 0)), counts)


@mutant(
    "masked-lm-loss",
    symptom="Sequences with many masks count more; the usual learning rate diverges.",
    difficulty="easy",
)
def sum_over_the_selected(logits: Tensor, labels: Tensor) -> Tensor:
    """The surprises are summed and not averaged."""
    return F.cross_entropy(logits.flatten(0, -2), labels.flatten(), reduction="sum")


@mutant(
    "masked-lm-loss",
    symptom="Word 0 can be masked and is never learned.",
    source="codertimo/BERT-pytorch#32",
    difficulty="medium",
)
def word_zero_ignored(logits: Tensor, labels: Tensor) -> Tensor:
    """Word 0 is ignored beside −100, as if it were padding."""
    counts = labels > 0
    each = F.cross_entropy(logits.movedim(-1, 1), labels, reduction="none")
    return each.where(counts, 0.0).sum() / (labels != -100).sum()


@mutant("masked-lm-loss", symptom="The loss is right and never falls.", difficulty="medium")
def probabilities_left_autograd(logits: Tensor, labels: Tensor) -> Tensor:
    """The logarithms of the probabilities are copied out of autograd."""
    counts = labels != -100
    log_probability = torch.from_numpy(logits.detach().log_softmax(-1).numpy())
    return reduced(-at_class(log_probability, labels.where(counts, 0)), counts)


# The next sentence


@mutant(
    "next-sentence-loss",
    symptom="A loss near 0 at an accuracy of 50 %: a constant answer is enough.",
    source="codertimo/BERT-pytorch#32",
    difficulty="medium",
)
def label_zero_ignored(logits: Tensor, labels: Tensor) -> Tensor:
    """The loss is that of masked words, which ignores label 0: "is next" is never learned."""
    return F.cross_entropy(logits, labels, ignore_index=0, reduction="sum") / len(labels)


@mutant(
    "next-sentence-loss",
    symptom="Trains as well; published weights get every answer wrong.",
    source="google-research/bert#125",
    difficulty="hard",
)
def one_for_is_next(logits: Tensor, labels: Tensor) -> Tensor:
    """The labels are the wrong way round: 0 means "is next" in BERT."""
    return F.cross_entropy(logits, 1 - labels)


@mutant(
    "next-sentence-loss",
    symptom="The loss of the pairs outweighs that of the words, the more so in larger batches.",
    difficulty="easy",
)
def sum_over_the_pairs(logits: Tensor, labels: Tensor) -> Tensor:
    """The surprises are summed and not averaged."""
    return F.cross_entropy(logits, labels, reduction="sum")


@mutant("next-sentence-loss", symptom="Raising both logits changes the loss, though no opinion has changed.")
def two_yes_or_no_questions(logits: Tensor, labels: Tensor) -> Tensor:
    """Each logit is a yes or no of its own, and nothing makes the two probabilities sum to 1."""
    wanted = torch.stack([1 - labels, labels], dim=-1).to(logits.dtype)
    return F.binary_cross_entropy_with_logits(logits, wanted)


@mutant(
    "next-sentence-loss", symptom="The loss never falls below 0.31: no answer is surer than σ(1).", difficulty="medium"
)
def softmax_before_the_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """The head ends in a softmax, and the loss takes another one."""
    return F.cross_entropy(logits.softmax(-1), labels)


@mutant(
    "next-sentence-loss",
    symptom="The loss falls and predictions are noise: pairs compete with each other.",
    difficulty="medium",
)
def pairs_compete(logits: Tensor, labels: Tensor) -> Tensor:
    """The softmax runs over the batch and not over the two answers."""
    return -at_class(logits.log_softmax(0), labels).mean()


@mutant("next-sentence-loss", symptom="The same loss as others have, times 1.44.", difficulty="easy")
def surprise_in_bits(logits: Tensor, labels: Tensor) -> Tensor:
    """Logarithms are to base 2: the loss of a coin is 1."""
    return F.cross_entropy(logits, labels) / math.log(2)
