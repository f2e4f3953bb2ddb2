"""Mutants of softmax and of its logarithm."""

# ruff: noqa: ARG001 - an argument that is never used is a classic mistake

import math

from torch import Tensor

from minitransformer.laws.zoo.mutant import mutant
from minitransformer.laws.zoo.sums import half_for_bfloat16, one_by_one, widened

# Softmax


@mutant("softmax", symptom="Fine for days, then NaN: one score grew beyond 88.", difficulty="easy")
def maximum_not_subtracted(x: Tensor, axis: int = -1) -> Tensor:
    """The maximum is not subtracted, so that exponentials overflow."""
    return x.exp() / x.exp().sum(axis, keepdim=True)


@mutant("softmax", symptom="Fine alone; in a batch with a row of large scores, other rows turn NaN.", difficulty="hard")
def one_maximum_for_everything(x: Tensor, axis: int = -1) -> Tensor:
    """The maximum is that of the whole batch, under which the exponentials of a distant row are all 0."""
    exponential = (x - x.max()).exp()
    return exponential / exponential.sum(axis, keepdim=True)


@mutant("softmax", symptom="Everything trains; scores along another axis than the last one come out wrong.")
def axis_ignored(x: Tensor, axis: int = -1) -> Tensor:
    """The axis is taken as an argument and ignored: shares sum to 1 along the last one."""
    exponential = (x - x.amax(-1, keepdim=True)).exp()
    return exponential / exponential.sum(-1, keepdim=True)


@mutant(
    "softmax",
    symptom="Results change with the batch: examples share what positions should share.",
    difficulty="easy",
)
def softmax_over_the_batch(x: Tensor, axis: int = -1) -> Tensor:
    """Shares sum to 1 along the first axis, which is the batch."""
    exponential = (x - x.amax(0, keepdim=True)).exp()
    return exponential / exponential.sum(0, keepdim=True)


@mutant("softmax", symptom="Trains, a little softer than it should; loaded weights answer worse.", difficulty="medium")
def powers_of_two(x: Tensor, axis: int = -1) -> Tensor:
    """Shares are in proportion to powers of 2 and not of e."""
    power = 2 ** (x - x.amax(axis, keepdim=True))
    return power / power.sum(axis, keepdim=True)


@mutant(
    "softmax",
    symptom="Shares hardly differ, however sure the model is; low scores are never ruled out.",
    difficulty="easy",
)
def proportions_for_exponentials(x: Tensor, axis: int = -1) -> Tensor:
    """Scores are divided by their sum without an exponential, after a shift that makes them positive."""
    positive = x - x.amin(axis, keepdim=True) + 1
    return positive / positive.sum(axis, keepdim=True)


@mutant("softmax", symptom="Nothing, until someone adds up the shares: they sum to 0.9999.", difficulty="medium")
def small_number_in_the_sum(x: Tensor, axis: int = -1) -> Tensor:
    """A small number is added to the sum against a division by zero that can't happen."""
    exponential = (x - x.amax(axis, keepdim=True)).exp()
    return exponential / (exponential.sum(axis, keepdim=True) + 1e-4)


@mutant(
    "softmax",
    symptom="The forward pass is right; attention sharpens far too fast, since no key loses what another gains.",
    difficulty="hard",
)
def sum_without_a_gradient(x: Tensor, axis: int = -1) -> Tensor:
    """The sum of the exponentials is detached, as if each share depended on its own score alone."""
    exponential = (x - x.amax(axis, keepdim=True)).exp()
    return exponential / exponential.sum(axis, keepdim=True).detach()


@mutant(
    "softmax",
    symptom="Right in float32; in bfloat16 the shares of a long row sum to more than 1, and results grow with length.",
    difficulty="hard",
)
def exponentials_added_one_by_one(x: Tensor, axis: int = -1) -> Tensor:
    """The exponentials are added one by one in the type of the scores; in bfloat16 their sum stops at 256."""
    exponential = (x - x.amax(axis, keepdim=True)).exp()
    return exponential / one_by_one(exponential, axis)


@mutant("softmax", symptom="Under bfloat16 the model takes nearly as much memory as in float32.", difficulty="medium")
def shares_left_in_float32(x: Tensor, axis: int = -1) -> Tensor:
    """Scores are raised to float32, which is wise, and the shares are not brought back."""
    return widened(x).softmax(axis)


# Log-softmax


@mutant(
    "log-softmax", symptom="A loss of inf at the first word that the model is sure about and wrong.", difficulty="easy"
)
def logarithm_of_the_softmax(x: Tensor, axis: int = -1) -> Tensor:
    """It is the logarithm of a softmax whose small shares have been rounded to 0."""
    return x.softmax(axis).log()


@mutant("log-softmax", symptom="The loss never exceeds 20.7, and confident mistakes are not corrected.")
def small_number_in_the_logarithm(x: Tensor, axis: int = -1) -> Tensor:
    """A small number is added before the logarithm, which bounds it and cuts its gradient off."""
    return (x.softmax(axis) + 1e-9).log()


@mutant("log-softmax", symptom="Losses are 44 % too high, and nothing else is wrong.", difficulty="medium")
def logarithm_to_base_two(x: Tensor, axis: int = -1) -> Tensor:
    """Logarithms are to base 2: bits and not nats."""
    return x.log_softmax(axis) / math.log(2)


@mutant("log-softmax", symptom="Fine for days, then −inf or NaN: one logit grew beyond 88.", difficulty="easy")
def exponentials_that_overflow(x: Tensor, axis: int = -1) -> Tensor:
    """The maximum is not subtracted before the exponentials."""
    return x - x.exp().sum(axis, keepdim=True).log()


@mutant("log-softmax", symptom="A loss below zero.", difficulty="medium")
def maximum_taken_off_once(x: Tensor, axis: int = -1) -> Tensor:
    """The maximum is subtracted within the sum, but not from the score itself."""
    return x - (x - x.amax(axis, keepdim=True)).exp().sum(axis, keepdim=True).log()


@mutant("log-softmax", symptom="The losses of a batch with its classes on axis 1 come out wrong.", difficulty="medium")
def sum_along_the_last_axis(x: Tensor, axis: int = -1) -> Tensor:
    """The maximum is along the axis asked for, but the sum always along the last one."""
    shifted = x - x.amax(axis, keepdim=True)
    return shifted - shifted.exp().sum(-1, keepdim=True).log()


@mutant(
    "log-softmax",
    symptom="All logits grow without end: nothing pushes those of the other classes down.",
    difficulty="hard",
)
def normaliser_without_a_gradient(x: Tensor, axis: int = -1) -> Tensor:
    """The logarithm of the sum is detached."""
    return x - x.logsumexp(axis, keepdim=True).detach()


@mutant(
    "log-softmax",
    symptom="The loss is ln V too low, so that it can fall below zero; gradients are right.",
    difficulty="medium",
)
def mean_of_the_exponentials(x: Tensor, axis: int = -1) -> Tensor:
    """The mean of the exponentials stands where their sum is meant."""
    shifted = x - x.amax(axis, keepdim=True)
    return shifted - shifted.exp().mean(axis, keepdim=True).log()


@mutant(
    "log-softmax",
    symptom="Right in float32; in bfloat16 the loss of a large vocabulary is far too low, and probabilities exceed 1.",
    difficulty="hard",
)
def logarithm_of_a_running_sum(x: Tensor, axis: int = -1) -> Tensor:
    """The exponentials are added one by one in the type of the scores; in bfloat16 their sum stops at 256."""
    shifted = x - x.amax(axis, keepdim=True)
    return shifted - one_by_one(shifted.exp(), axis).log()


@mutant(
    "log-softmax",
    symptom="Right for days of training in bfloat16, then NaN: one logit grew beyond 65,504.",
    difficulty="medium",
)
def logarithms_by_way_of_float16(x: Tensor, axis: int = -1) -> Tensor:
    """Bfloat16 is taken for float16, whose numbers end at 65,504."""
    return half_for_bfloat16(x).log_softmax(axis).to(x.dtype)
