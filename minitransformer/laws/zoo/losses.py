"""Mutants of the other losses: of a yes or no, of an error, and of what BERT is pretrained on."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from minitransformer.laws.zoo.cross_entropy import at_class, log_shares_one_by_one, reduced
from minitransformer.laws.zoo.mutant import mutant
from minitransformer.laws.zoo.sums import half_for_bfloat16, one_by_one

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


@mutant(
    "binary-cross-entropy",
    symptom="Right in float32; in bfloat16 the loss gets smaller as batches get larger.",
    difficulty="hard",
)
def answers_added_one_by_one(logit: Tensor, target: Tensor) -> Tensor:
    """The losses of the answers are added one by one in their own type; in bfloat16 their sum comes to a stop."""
    each = F.binary_cross_entropy_with_logits(logit, target.to(logit.dtype), reduction="none")
    return one_by_one(each.flatten())[0] / each.numel()


@mutant(
    "binary-cross-entropy",
    symptom="Right for days of training in bfloat16, then NaN: one logit grew beyond 65,504.",
    difficulty="medium",
)
def logits_in_float16(logit: Tensor, target: Tensor) -> Tensor:
    """Bfloat16 is taken for float16, whose numbers end at 65,504."""
    half = half_for_bfloat16(logit)
    return F.binary_cross_entropy_with_logits(half, target.to(half.dtype)).to(logit.dtype)


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


@mutant(
    "mean-squared-error",
    symptom="Right in float32; in bfloat16 the loss gets smaller as batches get larger.",
    difficulty="hard",
)
def squares_added_one_by_one(prediction: Tensor, target: Tensor) -> Tensor:
    """The squares are added one by one in their own type; in bfloat16 their sum comes to a stop."""
    squares = (prediction - target).square().flatten()
    return one_by_one(squares)[0] / len(squares)


@mutant(
    "mean-squared-error",
    symptom="In bfloat16 the loss is infinite as soon as one error reaches 256.",
    difficulty="medium",
)
def squares_in_float16(prediction: Tensor, target: Tensor) -> Tensor:
    """Bfloat16 is taken for float16, in which 256² is infinite."""
    return half_for_bfloat16(prediction - target).square().mean().to(prediction.dtype)


@mutant(
    "mean-squared-error",
    symptom="The loss is right, and everything learns at half the rate that was asked for.",
    difficulty="hard",
)
def one_factor_without_a_gradient(prediction: Tensor, target: Tensor) -> Tensor:
    """One of the two factors of the square is detached, so that the gradient is half of what it should be."""
    error = prediction - target
    return (error * error.detach()).mean()


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


@mutant(
    "masked-lm-loss",
    symptom="Right in float32; in bfloat16 the loss at the start is ln 256, however large the vocabulary is.",
    difficulty="hard",
)
def words_added_one_by_one(logits: Tensor, labels: Tensor) -> Tensor:
    """The exponentials are added one by one in the type of the logits; in bfloat16 their sum stops at 256."""
    counts = labels != -100
    return reduced(-at_class(log_shares_one_by_one(logits), labels.where(counts, 0)), counts)


@mutant(
    "masked-lm-loss",
    symptom="Right in float32; in bfloat16 the loss gets smaller as batches get larger.",
    difficulty="hard",
)
def selected_words_added_one_by_one(logits: Tensor, labels: Tensor) -> Tensor:
    """The surprises at the selected words are added one by one in their own type, where a sum comes to a stop."""
    surprises = F.cross_entropy(logits.movedim(-1, 1), labels, reduction="none")[labels != -100]
    return one_by_one(surprises)[0] / len(surprises)


@mutant(
    "masked-lm-loss",
    symptom="Right for days of training in bfloat16, then NaN: one logit grew beyond 65,504.",
    difficulty="medium",
)
def words_in_float16(logits: Tensor, labels: Tensor) -> Tensor:
    """Bfloat16 is taken for float16, whose numbers end at 65,504."""
    half = half_for_bfloat16(logits)
    return F.cross_entropy(half.movedim(-1, 1), labels).to(logits.dtype)


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


@mutant(
    "next-sentence-loss",
    symptom="The loss is right; both logits grow for ever, and the answer depends on which grows faster.",
    difficulty="hard",
)
def no_logit_is_ever_lowered(logits: Tensor, labels: Tensor) -> Tensor:
    """The logarithm of the sum of exponentials is detached, so that only the logit of the label gets a gradient."""
    normaliser = logits.logsumexp(-1).detach()
    return (normaliser - at_class(logits, labels)).mean()
