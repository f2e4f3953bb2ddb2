"""Mutants of the loss from hidden states: of what is scored and counted, and of what goes back."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from minitransformer.laws.fast_functions import projected_cross_entropy
from minitransformer.laws.zoo.mutant import Part, mutant, part_of
from minitransformer.losses import IGNORED

Three = tuple[Tensor, Tensor, Tensor | None]


def class_of(target: Tensor) -> Tensor:
    """What is right in most mutants: a class to look up at every position, 0 where none counts."""
    return target.where(target != IGNORED, 0)


def at_class(scores: Tensor, target: Tensor) -> Tensor:
    """What is right in most mutants: the score of the target at each position."""
    return scores.gather(-1, class_of(target)[:, None])[:, 0]


def mean_where_asked(surprise: Tensor, target: Tensor) -> Tensor:
    """What is right in most mutants: the mean over the positions that count."""
    return surprise[target != IGNORED].mean()


# The loss


@mutant("projected-cross-entropy", symptom="A loss of 0.3 where others report 2: six of seven words are not asked.")
def mean_over_all_that_was_scored(x: Tensor, weight: Tensor, bias: Tensor, target: Tensor) -> Tensor:
    """The sum over the positions that count is divided by the number of all positions."""
    surprise = F.cross_entropy(F.linear(x, weight, bias), class_of(target), reduction="none")
    return surprise.where(target != IGNORED, 0.0).mean()


@mutant("projected-cross-entropy", symptom="Far too high a loss, and a model that says the first word of the list.")
def ignored_positions_count_as_the_first_class(x: Tensor, weight: Tensor, bias: Tensor, target: Tensor) -> Tensor:
    """−100 is set to 0, so that it can be looked up, and never left out of the mean."""
    return F.cross_entropy(F.linear(x, weight, bias), class_of(target))


@mutant(
    "projected-cross-entropy",
    symptom="The loss stands near the logarithm of the sum, and hardly depends on what is right.",
    difficulty="hard",
)
def target_read_after_the_scores_were_overwritten(x: Tensor, weight: Tensor, bias: Tensor, target: Tensor) -> Tensor:
    """The softmax is written over the scores to save memory, and the score of the target is read afterwards."""
    scores = F.linear(x, weight, bias)
    log_of_sum = scores.logsumexp(-1)
    scores = scores.softmax(-1)
    return mean_where_asked(log_of_sum - at_class(scores, target), target)


@mutant("projected-cross-entropy", symptom="Fine for days, then inf: one score grew beyond 88.", difficulty="easy")
def exponentials_without_a_maximum(x: Tensor, weight: Tensor, bias: Tensor, target: Tensor) -> Tensor:
    """The exponentials of the scores themselves are summed up, which overflow."""
    scores = F.linear(x, weight, bias)
    return mean_where_asked(scores.exp().sum(-1).log() - at_class(scores, target), target)


@mutant("projected-cross-entropy", symptom="Trains a little worse: frequent words have to be learned word by word.")
def bias_left_out(x: Tensor, weight: Tensor, bias: Tensor, target: Tensor) -> Tensor:
    """The scores are the product alone, as where the layer is tied to the word table, which has no bias."""
    return F.cross_entropy(x @ weight.T + 0 * bias, target)


@mutant(
    "projected-cross-entropy",
    symptom="The loss moves in steps of 0.03 late in training, and stops falling early.",
    difficulty="medium",
)
def scores_kept_in_bfloat16(x: Tensor, weight: Tensor, bias: Tensor, target: Tensor) -> Tensor:
    """The scores, the largest tensor of all, are rounded to eight bits."""
    return F.cross_entropy(F.linear(x, weight, bias).bfloat16().to(x.dtype), target)


# What goes back


class ScoresThatBecomeTheirGradient(torch.autograd.Function):
    """The loss, and softmax(z) − [v = t] in place of its scores; what becomes of it on the way back is an argument."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, target: Tensor, back: Callable[..., Three]
    ) -> Tensor:
        """What is right in all mutants of what goes back."""
        scores = F.linear(x, weight, bias)
        surprise = scores.logsumexp(-1) - at_class(scores, target)
        ones = torch.ones_like(scores[:, :1])
        ctx.kept = scores.softmax(-1).scatter_add_(-1, class_of(target)[:, None], -ones), x, weight, target
        ctx.back = back
        return mean_where_asked(surprise, target)

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        """What one mistake is in."""
        return *ctx.back(upstream, *ctx.kept), None, None


def whole(back: Part) -> Part:
    """A loss with a way back of its own."""
    return lambda x, weight, bias, target: ScoresThatBecomeTheirGradient.apply(x, weight, bias, target, back)  # type: ignore[no-untyped-call]


going_back = part_of(whole, projected_cross_entropy)


def share_of_each(upstream: Tensor, target: Tensor) -> Tensor:
    """What is right in most mutants: what comes back to the loss, shared among the positions that count."""
    counts = target != IGNORED
    return (upstream * counts / counts.sum())[:, None]


@mutant("projected-cross-entropy", symptom="The biases of the words stay as they were drawn.", difficulty="easy")
@going_back
def bias_forgotten(upstream: Tensor, by_scores: Tensor, x: Tensor, weight: Tensor, target: Tensor) -> Three:
    """Nothing is passed back to the bias."""
    by_scores = by_scores * share_of_each(upstream, target)
    return by_scores @ weight, by_scores.T @ x, None


@mutant(
    "projected-cross-entropy",
    symptom="The loss falls at first, then word vectors turn to noise: each gets what others should.",
    difficulty="hard",
)
@going_back
def reshaped_and_not_transposed(
    upstream: Tensor, by_scores: Tensor, x: Tensor, weight: Tensor, target: Tensor
) -> Three:
    """The gradient of the weight is xᵀ g, in the other layout, and brought into shape without a transposition."""
    by_scores = by_scores * share_of_each(upstream, target)
    return by_scores @ weight, (x.T @ by_scores).reshape(weight.shape), by_scores.sum(0)


@mutant(
    "projected-cross-entropy",
    symptom="Right alone; with accumulation, a scaler or a second loss the head learns many times too fast.",
)
@going_back
def upstream_ignored(upstream: Tensor, by_scores: Tensor, x: Tensor, weight: Tensor, target: Tensor) -> Three:
    """The gradient was computed with the loss, and is given back as it is, whatever the loss counts."""
    by_scores = by_scores * share_of_each(torch.ones_like(upstream), target)
    return by_scores @ weight, by_scores.T @ x, by_scores.sum(0)


@mutant("projected-cross-entropy", symptom="Gradients grow with the batch, and are clipped at each step.")
@going_back
def mean_forgotten_on_the_way_back(
    upstream: Tensor, by_scores: Tensor, x: Tensor, weight: Tensor, target: Tensor
) -> Three:
    """The loss is a mean, but what goes back is the gradient of the sum."""
    by_scores = by_scores * (upstream * (target != IGNORED))[:, None]
    return by_scores @ weight, by_scores.T @ x, by_scores.sum(0)


@mutant(
    "projected-cross-entropy",
    symptom="The loss is right, and yet the model comes to say the first word of the list, [PAD], everywhere.",
    difficulty="hard",
)
@going_back
def ignored_positions_learn_the_first_class(
    upstream: Tensor, by_scores: Tensor, x: Tensor, weight: Tensor, target: Tensor
) -> Three:
    """Positions that don't count were looked up as class 0, and their gradient is not taken out."""
    by_scores = by_scores * (upstream / (target != IGNORED).sum())
    return by_scores @ weight, by_scores.T @ x, by_scores.sum(0)


@mutant("projected-cross-entropy", symptom="All words become less likely at each step, and the loss grows.")
@going_back
def target_not_subtracted(upstream: Tensor, by_scores: Tensor, x: Tensor, weight: Tensor, target: Tensor) -> Three:
    """What goes back is the softmax alone, without the 1 at the target."""
    by_scores = by_scores.scatter_add(-1, class_of(target)[:, None], torch.ones_like(by_scores[:, :1]))
    by_scores = by_scores * share_of_each(upstream, target)
    return by_scores @ weight, by_scores.T @ x, by_scores.sum(0)


@mutant(
    "projected-cross-entropy",
    symptom="Right once; who asks for gradients twice, as for their norm at each example, gets others.",
    difficulty="hard",
)
@going_back
def overwritten_on_the_way_back(
    upstream: Tensor, by_scores: Tensor, x: Tensor, weight: Tensor, target: Tensor
) -> Three:
    """What was kept is multiplied in place, and the next one to come finds it multiplied already."""
    by_scores.mul_(share_of_each(upstream, target))
    return by_scores @ weight, by_scores.T @ x, by_scores.sum(0)
