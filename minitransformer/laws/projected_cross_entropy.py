"""Laws of the loss from hidden states: a layer that scores all classes, and their surprise, as one function."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from hypothesis import strategies as st
from torch import Tensor

from minitransformer import reference
from minitransformer.laws.cases import LARGE, Draw, coins, distinct_sizes, dtypes, numbers, seeds, whole_numbers
from minitransformer.laws.gradients import gradients_through
from minitransformer.laws.law import law
from minitransformer.laws.tolerances import LAYER, SUM, as_array, assert_close, assert_same
from minitransformer.losses import IGNORED

Function = Callable[..., Tensor]

UPSTREAM = -3.0
"""What a loss may count in a larger one; a power of two would only move the point."""


@dataclass(frozen=True)
class ProjectedCase:
    """Hidden states, the layer that scores classes, and which class is right; some positions may not count."""

    count: int
    width: int
    n_classes: int
    scores: str
    ignored: str
    dtype: torch.dtype
    seed: int

    @cached_property
    def x(self) -> Tensor:
        """One hidden state for each position; in the large kind the largest score is about ±10,000."""
        drawn = numbers(self.seed, "x", self.count, self.width, dtype=self.dtype)
        return drawn if self.scores == "ordinary" else drawn * LARGE / (drawn @ self.weight.T).abs().max()

    @cached_property
    def weight(self) -> Tensor:
        """One row for each class."""
        return numbers(self.seed, "weight", self.n_classes, self.width, dtype=self.dtype)

    @cached_property
    def bias(self) -> Tensor:
        """One offset for each class."""
        return 2 * numbers(self.seed, "bias", self.n_classes, dtype=self.dtype)

    @cached_property
    def classes(self) -> Tensor:
        """A class for each position, whether it counts or not."""
        return whole_numbers(self.seed, "target", 0, self.n_classes, self.count)

    @cached_property
    def counts(self) -> Tensor:
        """Which positions count: at least one of them."""
        if self.ignored == "none":
            return torch.ones(self.count, dtype=torch.bool)
        kept = coins(self.seed, "counts", self.count) & (self.ignored == "some")
        kept[self.seed % self.count] = True
        return kept

    @cached_property
    def target(self) -> Tensor:
        """The class of each position that counts, and −100 elsewhere."""
        return self.classes.where(self.counts, IGNORED)

    @property
    def given(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Everything that a loss is given."""
        return self.x, self.weight, self.bias, self.target

    @property
    def learning(self) -> tuple[Tensor, Tensor, Tensor]:
        """Everything that a loss passes gradients to."""
        return self.x, self.weight, self.bias

    @cached_property
    def scale(self) -> float:
        """The largest number on the way to a score, times the number of positions that a sum runs over."""
        size = float((self.x.abs() @ self.weight.abs().T + self.bias.abs()).max())
        return (1 + size) * self.count

    @cached_property
    def size_of_gradients(self) -> float:
        """The largest number on the way back: a share of a class is as uncertain as its score."""
        return self.scale * (1 + float(self.x.abs().max()) + float(self.weight.abs().max()))


@st.composite
def projected_cases(
    draw: Draw, scores: tuple[str, ...] = ("ordinary",), ignored: tuple[str, ...] = ("none", "some", "all but one")
) -> ProjectedCase:
    """Down to a single position, a single class and a width of 1."""
    count, width, n_classes = draw(distinct_sizes(3, may_be_one=(0, 1, 2)))
    kinds = draw(st.sampled_from(scores)), draw(st.sampled_from(ignored))
    return ProjectedCase(count, width, n_classes, *kinds, dtype=draw(dtypes), seed=draw(seeds))


some_are_ignored = projected_cases(ignored=("some", "all but one"))


def expected_loss(case: ProjectedCase) -> float:
    """The reference, which has all the scores before it."""
    logits = reference.feed_forward.linear(*map(as_array, case.learning))
    return float(reference.losses.cross_entropy(logits, case.target.numpy()))


def gradients_of(loss: Function, case: ProjectedCase, upstream: float = 1.0) -> list[Tensor]:
    """What is passed back to hidden states, weight and bias."""

    def of_these(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return loss(x, weight, bias, case.target)

    return gradients_through(of_these, case.learning, torch.tensor(upstream, dtype=case.dtype))


# The loss


@law("projected-cross-entropy", given=projected_cases(), equations=())
def the_loss_is_that_of_the_scores_of_the_layer(loss: Function, case: ProjectedCase) -> None:
    """The loss is the cross-entropy of x Wᵀ + b, over the positions that count, as the reference has it.

    Kills: the mean over all positions; a bias left out; a score that is read after it was overwritten.
    Hint: Compute the scores of one position with a pencil, then its surprise. Which number do you read twice?
    """
    assert_close(loss(*case.given), expected_loss(case), SUM, case.scale, what="the loss")


@law("projected-cross-entropy", given=projected_cases(scores=("large",)), equations=())
def however_large_the_scores_the_loss_is_a_number(loss: Function, case: ProjectedCase) -> None:
    """At scores of ±10,000 too the loss agrees with the reference.

    Kills: exponentials without a maximum, which overflow.
    Hint: Of scores as large as 10,000, which exponential is the largest, and what do you subtract before you take it?
    """
    assert_close(loss(*case.given), expected_loss(case), SUM, case.scale, what="the loss at large scores")


@law("projected-cross-entropy", given=some_are_ignored, equations=())
def hidden_states_that_are_not_asked_change_nothing(loss: Function, case: ProjectedCase) -> None:
    """Whatever stands at positions with −100, the loss is the same, bit for bit.

    Kills: ignored positions that are scored for some class and count.
    Hint: Which class do you look up at a position whose label is −100, and where do you take it out again?
    """
    other = case.x.where(case.counts[:, None], 1 - case.x)
    assert_same(loss(other, *case.given[1:]), loss(*case.given), what="the loss after what is not asked has changed")


@law("projected-cross-entropy", given=projected_cases(), equations=())
def a_constant_added_to_every_bias_changes_nothing(loss: Function, case: ProjectedCase) -> None:
    """The same number added to the bias of every class changes nothing, for no class gains on another.

    Kills: a probability subtracted where a score is meant; a score of the target that lacks its bias.
    Hint: Every score is 10 higher. By how much is the logarithm of the sum, and by how much the score of the target?
    """
    shifted = loss(case.x, case.weight, case.bias + 10, case.target)
    expected = loss(*case.given).to(case.dtype)
    assert_close(shifted, expected, SUM, case.scale + 10, what="the loss after all biases have grown")


# Its gradient


@law("projected-cross-entropy", given=projected_cases(), equations=(), needs_gradient=True)
def the_gradients_of_states_weight_and_bias_are_those_derived_by_hand(loss: Function, case: ProjectedCase) -> None:
    """Hidden states, weight and bias get the gradients that the formulas say, derived by hand.

    Kills: a bias that gets none; a weight turned into the other shape; the number of positions forgotten.
    Hint: softmax(z) minus 1 at the target is the gradient of the scores. Of which products is each other gradient made?
    """
    x, weight, bias = map(as_array, case.learning)
    share = as_array(case.counts) / int(case.counts.sum())
    logits = reference.feed_forward.linear(x, weight, bias)
    by_logits = reference.losses.token_cross_entropy_gradient(share, logits, case.classes.numpy())
    expected = reference.feed_forward.linear_gradient(by_logits, x, weight)
    for name, actual, by_hand in zip(("states", "weight", "bias"), gradients_of(loss, case), expected, strict=True):
        assert_close(actual, by_hand, LAYER, case.size_of_gradients, what=f"the gradient of the {name}")


@law("projected-cross-entropy", given=projected_cases(), equations=(), needs_gradient=True)
def a_loss_that_counts_for_more_passes_more_back(loss: Function, case: ProjectedCase) -> None:
    """A loss that is multiplied by −3 passes back −3 times as much.

    Kills: gradients that were computed with the loss, and given back whatever comes.
    Hint: Add a second loss, or divide by four for four batches. Where does your way back hear of it?
    """
    for name, once, more in zip(
        ("states", "weight", "bias"), gradients_of(loss, case), gradients_of(loss, case, UPSTREAM), strict=True
    ):
        assert_close(
            more, UPSTREAM * once, LAYER, case.size_of_gradients, what=f"the gradient of the {name}, times −3,"
        )


@law("projected-cross-entropy", given=some_are_ignored, equations=(), needs_gradient=True)
def hidden_states_that_are_not_asked_learn_nothing(loss: Function, case: ProjectedCase) -> None:
    """At positions with −100 the gradient is 0, exactly.

    Kills: ignored positions that learn some class, though the loss leaves them out.
    Hint: Let all labels but one be −100. How many rows of the gradient may be other than zero?
    """
    found = gradients_of(loss, case)[0][~case.counts]
    assert_same(found, torch.zeros_like(found), what="the gradient of what is not asked")


@law("projected-cross-entropy", given=projected_cases(), equations=(), needs_gradient=True)
def no_class_gains_unless_others_lose(loss: Function, case: ProjectedCase) -> None:
    """The gradients of all biases sum to zero.

    Kills: a softmax from which the target is not subtracted.
    Hint: All shares add up to 1. What must be taken off, so that what is passed back to all biases adds up to nothing?
    """
    total = gradients_of(loss, case)[2].sum()
    assert_close(total, 0.0, LAYER, case.scale, what="the sum of the gradients of all biases")


@law("projected-cross-entropy", given=projected_cases(), equations=(), needs_gradient=True)
def a_gradient_that_is_asked_for_twice_is_the_same_twice(loss: Function, case: ProjectedCase) -> None:
    """When the way back is taken a second time, the gradients are those of the first, bit for bit.

    Kills: what was kept for the way back overwritten on it.
    Hint: Of the tensors that your way back reads, which does it write to? What finds one who comes after?
    """
    leaves = [tensor.clone().requires_grad_() for tensor in case.learning]
    result = loss(*leaves, case.target)
    assert result.requires_grad, "the loss should pass gradients back, but is cut off from what it came from"
    upstream = torch.tensor(UPSTREAM, dtype=case.dtype)
    first, second = (
        torch.autograd.grad(result, leaves, upstream, retain_graph=True, materialize_grads=True) for _ in range(2)
    )
    for name, one, other in zip(("states", "weight", "bias"), first, second, strict=True):
        assert_same(other, one, what=f"the gradient of the {name}, asked for again")
