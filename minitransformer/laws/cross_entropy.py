"""Laws of cross-entropy: the surprise at each token, and the loss of a batch.

Laws about ignored positions, smoothing and reductions stand apart from those about a loss that has none of these. They
give such options by name, for a loss may have one of them without the others, or have them in another order.
"""

import math
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from minitransformer import reference
from minitransformer.laws.cases import COARSE, LossCase, ManyCase, loss_cases, many_cases, numbers
from minitransformer.laws.law import law
from minitransformer.laws.tolerances import LAYER, ROUNDING, SUM, as_array, assert_close, assert_same

Function = Callable[..., Tensor]

everything_counts = loss_cases(ignored=("none",))
equal_logits = loss_cases(scores=("equal",), ignored=("none",))
some_are_ignored = loss_cases(ignored=("some", "all but one"))
coarse_logits = loss_cases(ignored=("none",), types=COARSE)

BEYOND_HALF = 8
"""Logits of ±10,000 times this lie beyond what float16 can hold."""


def at_class(logits: Tensor, classes: Tensor) -> Tensor:
    """The logit of one class at each position."""
    return logits.gather(-1, classes[..., None])[..., 0]


def gradient_of(loss: Function, logits: Tensor, target: Tensor, upstream: Tensor | None = None) -> Tensor:
    """What the loss, or each one as it counts upstream, gains per unit of each logit, as autograd finds it."""
    leaf = logits.clone().requires_grad_()
    result = loss(leaf, target)
    assert result.requires_grad, "the loss should pass a gradient back to its logits, but it is cut off from them"
    return torch.autograd.grad(result, leaf, upstream)[0]


def assert_between(loss: Tensor, low: Tensor, high: Tensor, scale: float) -> None:
    """Fail unless a loss is a finite number from low to high, give or take the rounding."""
    assert torch.isfinite(loss), f"the loss should be a finite number, but is {loss}"
    nearest = loss.clamp(low, high).to(low.dtype)
    assert_close(loss, nearest, SUM, scale, what=f"the loss, which lies from {low:.6g} to {high:.6g},")


# The surprise at each token


@law("token-cross-entropy", given=everything_counts)
def the_surprises_of_all_classes_are_those_of_a_distribution(token_cross_entropy: Function, case: LossCase) -> None:
    """The exponentials of the negative losses at each class add up to 1.

    Kills: no normalisation; a softmax over the positions; a softmax of a softmax.
    Hint: exp(−loss) is the probability that you gave a class. Do those of all classes add up to 1 at each position?
    """
    losses = [token_cross_entropy(case.logits, torch.full_like(case.classes, index)) for index in range(case.n_classes)]
    total = torch.stack(losses).neg().exp().sum(0)
    expected = torch.ones_like(case.logits[..., 0])
    assert_close(total, expected, SUM, 1 + float(case.logits.abs().max()), what="Σ exp(−ℓ)")


@law("token-cross-entropy", given=everything_counts)
def two_surprises_differ_as_their_logits_do(token_cross_entropy: Function, case: LossCase) -> None:
    """The surprises at two classes differ by their logits: the class whose logit is 1 higher costs 1 nat less.

    Kills: a softmax of a softmax; logarithms to base 2; logits divided by √V; the sign forgotten.
    Hint: Raise the logit of the right class by 1 and change nothing else. Which part of your loss should follow it?
    """
    other = (case.classes + 1) % case.n_classes
    difference = token_cross_entropy(case.logits, case.classes) - token_cross_entropy(case.logits, other)
    expected = at_class(case.logits, other) - at_class(case.logits, case.classes)
    assert_close(difference, expected, SUM, case.scale, what="the difference of the losses at two classes")


@law("token-cross-entropy", given=everything_counts)
def each_position_has_a_surprise_of_its_own(token_cross_entropy: Function, case: LossCase) -> None:
    """There is one loss for each position, and it is the one that the position has when it is alone.

    Kills: a mean or a sum over the positions; a softmax over the positions; the targets of a batch mixed up.
    Hint: What is the shape of your result, and over which axis do your probabilities sum to 1?
    """
    together = token_cross_entropy(case.logits, case.classes)
    shape = tuple(together.shape)
    assert shape == case.classes.shape, f"there should be a loss for each target, but the result has shape {shape}"
    row, column = case.seed % case.batch, case.seed % case.length
    alone = token_cross_entropy(case.logits[row, None, column], case.classes[row, None, column])
    where = f"the loss of position ({row}, {column}) alone"
    assert_close(alone, together[row, None, column], SUM, case.scale, what=where)


@law("token-cross-entropy", given=everything_counts)
def each_surprise_agrees_with_the_reference(token_cross_entropy: Function, case: LossCase) -> None:
    """The loss of each token agrees with the reference, at logits of any size.

    Kills: exponentials that overflow; logarithms of a rounded 0; the wrong class gathered.
    Hint: Work out by hand one position with three classes. Then multiply its logits by 10,000: is it a number still?
    """
    expected = reference.losses.token_cross_entropy(as_array(case.logits), case.classes.numpy())
    assert_close(token_cross_entropy(case.logits, case.classes), expected, SUM, case.scale)


@law("token-cross-entropy", given=everything_counts)
def smoothing_mixes_the_target_with_all_classes(token_cross_entropy: Function, case: LossCase) -> None:
    """The smoothed loss is (1 − ε) times the loss at the target plus ε times the mean of those at every class.

    Kills: smoothing over V − 1 or V − 2 classes; (1 − ε) left out; entropy subtracted.
    Hint: How much of the target does each class get? Write the shares down for V = 3, and add them up.
    """
    sharp = token_cross_entropy(case.logits, case.classes)
    each_class = torch.stack(
        [token_cross_entropy(case.logits, torch.full_like(case.classes, index)) for index in range(case.n_classes)]
    )
    expected = (1 - case.label_smoothing) * sharp + case.label_smoothing * each_class.mean(0)
    actual = token_cross_entropy(case.logits, case.classes, case.label_smoothing)
    assert_close(actual, expected, SUM, case.scale, what="the smoothed loss")


@law("token-cross-entropy", given=everything_counts)
def each_smoothed_surprise_agrees_with_the_reference(token_cross_entropy: Function, case: LossCase) -> None:
    """The smoothed loss of each token agrees with the reference.

    Kills: the smoothing forgotten; the smoothed share given to the other classes only.
    Hint: Try ε = 0 and ε = 1 first. Which of the two ends is wrong?
    """
    logits, classes = as_array(case.logits), case.classes.numpy()
    expected = reference.losses.token_cross_entropy(logits, classes, case.label_smoothing)
    actual = token_cross_entropy(case.logits, case.classes, case.label_smoothing)
    assert_close(actual, expected, SUM, case.scale, what="the smoothed loss")


@law("token-cross-entropy", given=everything_counts, needs_gradient=True)
def the_gradient_of_each_surprise_is_the_one_derived_by_hand(token_cross_entropy: Function, case: LossCase) -> None:
    """The gradient of a token's loss is what is passed back to it times p − q, with q its target, and no other's.

    Kills: a sum that is detached; a gradient of NaN from a rounded logarithm; losses of several tokens mixed up.
    Hint: Send a gradient back to one token alone. Which logits should feel it, and what do their gradients add up to?
    """
    upstream = numbers(case.seed, "upstream", *case.classes.shape, dtype=case.dtype)
    expected = reference.losses.token_cross_entropy_gradient(
        as_array(upstream), as_array(case.logits), case.classes.numpy()
    )
    gradient = gradient_of(token_cross_entropy, case.logits, case.classes, upstream)
    scale = (1 + float(case.logits.abs().max())) * (1 + float(upstream.abs().max()))
    assert_close(gradient, expected, LAYER, scale, what="the gradient")


@law("token-cross-entropy", given=coarse_logits)
def in_bfloat16_each_surprise_agrees_with_the_reference(token_cross_entropy: Function, case: LossCase) -> None:
    """In bfloat16 the loss of each token agrees with the reference, at logits beyond ±65,504 too.

    Kills: logarithms of a rounded 0; a small number added before the logarithm; a detour through float16.
    Hint: What is the largest number of each type that your logits pass through?
    """
    logits = BEYOND_HALF * case.logits
    expected = reference.losses.token_cross_entropy(as_array(logits), case.classes.numpy())
    actual = token_cross_entropy(logits, case.classes)
    assert_close(actual, expected, ROUNDING, 1 + float(logits.abs().max()), what="the loss of a token")


@law("token-cross-entropy", given=many_cases())
def in_bfloat16_many_equal_logits_cost_the_logarithm_of_their_number(
    token_cross_entropy: Function, case: ManyCase
) -> None:
    """In bfloat16 equal logits of V classes cost ln V, for V up to 2,048.

    Kills: a sum of exponentials that is kept in bfloat16 while it grows, and stops at 256.
    Hint: Eight bits hold 256 and 258. What is 256 + 1 then, and how does your sum get from one class to the next?
    """
    loss = token_cross_entropy(case.ones.expand(2, case.count), torch.tensor([0, case.count - 1]))
    expected = torch.full_like(loss, math.log(case.count))
    assert_close(loss, expected, ROUNDING, math.log(case.count), what="the loss at equal logits")


# Cross-entropy of a batch


@law("cross-entropy", given=equal_logits, equations=("cross-entropy", "token-cross-entropy"))
def the_loss_at_equal_logits_is_the_logarithm_of_the_number_of_classes(cross_entropy: Function, case: LossCase) -> None:
    """At equal logits the loss is ln V, whatever the targets.

    Kills: the sum in place of the mean; logarithms to base 2; class 0 never counted.
    Hint: Someone who knows nothing gives each of V classes the same share. How surprised are they, in nats?
    """
    loss = cross_entropy(case.logits + 3.0, case.target)
    expected = torch.tensor(math.log(case.n_classes), dtype=case.dtype)
    assert_close(loss, expected, SUM, 4, what="the loss at equal logits")


@law("cross-entropy", given=everything_counts)
def a_constant_added_to_the_logits_changes_nothing(cross_entropy: Function, case: LossCase) -> None:
    """Adding a constant to all logits of a position changes nothing.

    Kills: the logit itself in place of its logarithmic share; binary cross-entropies of each class.
    Hint: A softmax can't tell z from z + 5. What in your loss can?
    """
    offset = 100 * numbers(case.seed, "offset", case.batch, case.length, 1, dtype=case.dtype)
    shifted = cross_entropy(case.logits + offset, case.target)
    expected = cross_entropy(case.logits, case.target).to(case.dtype)
    scale = case.scale + float(offset.abs().max())
    assert_close(shifted, expected, SUM, scale, what="the loss at shifted logits")


@law("cross-entropy", given=everything_counts)
def the_loss_is_how_far_the_target_lies_behind(cross_entropy: Function, case: LossCase) -> None:
    """The loss is how far the target's logit lies behind the largest, and at most ln V more, at logits of ±10,000 too.

    Kills: exponentials that overflow; logarithms of a rounded 0; a small number added before the logarithm.
    Hint: What does your computer say to exp(10,000), and to ln(exp(−10,000))?
    """
    behind = (case.logits.amax(-1) - at_class(case.logits, case.classes)).mean()
    loss = cross_entropy(case.logits, case.target)
    assert_between(loss, behind, behind + math.log(case.n_classes), case.scale)


@law("cross-entropy", given=everything_counts)
def the_loss_agrees_with_the_reference(cross_entropy: Function, case: LossCase) -> None:
    """The loss of a batch agrees with the reference.

    Kills: the sum in place of the mean; the mean over the classes too; the targets read along another axis.
    Hint: Compute the loss of a single position, then of two. What is the loss of both, and what did you divide by?
    """
    expected = reference.losses.cross_entropy(as_array(case.logits), case.target.numpy())
    assert_close(cross_entropy(case.logits, case.target), expected, SUM, case.scale)


@law("cross-entropy", given=everything_counts, needs_gradient=True)
def the_gradient_is_the_share_minus_the_target(cross_entropy: Function, case: LossCase) -> None:
    """The gradient of the loss is the softmax minus 1 at the target, divided by the number of positions.

    Kills: a detached loss; the sum in place of the mean; a gradient through a rounded logarithm.
    Hint: Which logit should a step downhill raise, and by how much if the model is right already?
    """
    gradient = gradient_of(cross_entropy, case.logits, case.target)
    expected = reference.losses.softmax_cross_entropy_gradient(as_array(case.logits), case.target.numpy())
    assert_close(gradient, expected, LAYER, 1 + float(case.logits.abs().max()), what="the gradient")


# Cross-entropy where some positions are ignored


@law("cross-entropy", given=loss_cases(scores=("equal",), ignored=("some", "all but one")))
def the_mean_is_over_the_positions_that_count(cross_entropy: Function, case: LossCase) -> None:
    """At equal logits the loss is ln V, however many positions count.

    Kills: the mean over all positions; class 0 counted for ignored positions.
    Hint: Ignore half of the positions. Does your loss get smaller, and by what is it divided?
    """
    loss = cross_entropy(case.logits + 3.0, case.target)
    expected = torch.tensor(math.log(case.n_classes), dtype=case.dtype)
    assert_close(loss, expected, SUM, 4, what="the loss at equal logits")


@law("cross-entropy", given=some_are_ignored)
def what_is_ignored_cannot_matter(cross_entropy: Function, case: LossCase) -> None:
    """Ignored positions change nothing, bit for bit.

    Kills: a loss over all tokens; class 0 counted for ignored positions.
    Hint: Change the logits of a position whose target is −100. Where do they enter your loss?
    """
    other = numbers(case.seed, "other", *case.logits.shape, dtype=case.dtype)
    changed = torch.where(case.counts[..., None], case.logits, other)
    loss, before = cross_entropy(changed, case.target), cross_entropy(case.logits, case.target)
    assert_same(loss, before, what="the loss when ignored positions change")


@law("cross-entropy", given=some_are_ignored, needs_gradient=True)
def what_is_ignored_has_no_gradient(cross_entropy: Function, case: LossCase) -> None:
    """Ignored positions have a gradient of exactly zero, and those that count have one.

    Kills: a loss over all tokens; class 0 counted for ignored positions; a detached loss.
    Hint: What would the model learn at a position whose target is −100?
    """
    gradient = gradient_of(cross_entropy, case.logits, case.target)
    assert not gradient[~case.counts].any(), "an ignored position should have a gradient of exactly zero"
    if case.scores == "ordinary" and case.n_classes > 1:
        assert gradient[case.counts].any(-1).all(), "every position that counts should have a gradient"


@law("cross-entropy", given=loss_cases())
def parts_weighed_by_their_counts_give_the_whole(cross_entropy: Function, case: LossCase) -> None:
    """Splitting a batch into parts with unequal counts, and weighing each by its count, gives the whole.

    Kills: the mean over all positions; the mean of the means of rows.
    Hint: One row has 2 positions that count, another has 6. How much should each row weigh in the mean?
    """
    whole = cross_entropy(case.logits, case.target).to(case.dtype)
    parts, count = torch.zeros_like(whole), int(case.counts.sum())
    for logits, target, counts in zip(case.logits, case.target, case.counts, strict=True):
        if counts.any():
            parts = parts + cross_entropy(logits, target) * int(counts.sum()) / count
    assert_close(parts, whole, SUM, case.scale, what="the parts, weighed by their counts")


@law("cross-entropy", given=everything_counts)
def any_class_can_be_the_ignored_one(cross_entropy: Function, case: LossCase) -> None:
    """With a class as the ignored index, the positions of that class are left out, and only they.

    Kills: an ignored index of −100 whatever was asked for; every negative target ignored in its place.
    Hint: Ignore class 2, say. Which number does your function compare the targets with?
    """
    ignored = case.n_classes - 1
    kept = case.classes != ignored
    if not kept.any():
        return
    actual = cross_entropy(case.logits, case.classes, ignore_index=ignored)
    expected = cross_entropy(case.logits[kept], case.classes[kept]).to(case.dtype)
    assert_close(actual, expected, SUM, case.scale, what=f"the loss with ignore_index={ignored}")


# Cross-entropy with a smoothed target


@law("cross-entropy", given=equal_logits, equations=("cross-entropy", "token-cross-entropy"))
def smoothing_leaves_the_loss_at_equal_logits_alone(cross_entropy: Function, case: LossCase) -> None:
    """At equal logits the loss is ln V, whatever the smoothing.

    Kills: ε / (V − 1) or ε / (V − 2) for each of the V classes; (1 − ε) left out.
    Hint: Add up the shares of the smoothed target. Is there still one whole target?
    """
    loss = cross_entropy(case.logits + 3.0, case.target, label_smoothing=case.label_smoothing)
    expected = torch.tensor(math.log(case.n_classes), dtype=case.dtype)
    assert_close(loss, expected, SUM, 4, what="the smoothed loss at equal logits")


@law("cross-entropy", given=some_are_ignored)
def smoothing_touches_no_ignored_position(cross_entropy: Function, case: LossCase) -> None:
    """Ignored positions change nothing, bit for bit, in a smoothed loss either.

    Kills: smoothing that touches ignored positions.
    Hint: A smoothed loss has two terms. Are ignored positions left out of both?
    """
    what_is_ignored_cannot_matter(partial(cross_entropy, label_smoothing=case.label_smoothing), case)


@law("cross-entropy", given=loss_cases(), equations=("cross-entropy", "token-cross-entropy"), needs_gradient=True)
def the_smoothed_gradient_agrees_with_the_one_derived_by_hand(cross_entropy: Function, case: LossCase) -> None:
    """The gradient of softmax cross-entropy is p − q over the count, with q the smoothed target, and 0 where ignored.

    Kills: the smoothing forgotten; division by all positions; a gradient at ignored positions.
    Hint: Where does the gradient vanish, if the target is smoothed? Is it where the model is certain?
    """
    smoothed = partial(cross_entropy, label_smoothing=case.label_smoothing)
    gradient = gradient_of(smoothed, case.logits, case.target)
    expected = reference.losses.softmax_cross_entropy_gradient(
        as_array(case.logits), case.target.numpy(), label_smoothing=case.label_smoothing
    )
    assert_close(gradient, expected, LAYER, 1 + float(case.logits.abs().max()), what="the gradient")


# Cross-entropy in other reductions


@law("cross-entropy", given=loss_cases())
def the_reductions_agree_with_each_other(cross_entropy: Function, case: LossCase) -> None:
    """The sum is the sum of the single losses, and the mean divides it by how many positions count.

    Kills: `(loss * counts).mean()` in place of the sum over the count.
    Hint: Add up the single losses yourself. By which number must you divide to arrive at your mean?
    """
    each = cross_entropy(case.logits, case.target, reduction="none")
    total = cross_entropy(case.logits, case.target, reduction="sum")
    mean = cross_entropy(case.logits, case.target)
    shape = tuple(each.shape)
    assert shape == case.target.shape, f"there should be a loss for each target, but the result has shape {shape}"
    assert (each >= 0).all(), "no surprise should be negative"
    assert not each[~case.counts].any(), "an ignored position should have a loss of exactly zero"
    assert_close(total, each.sum(), SUM, case.scale, what="the sum")
    assert_close(mean, each.sum() / case.counts.sum(), SUM, case.scale, what="the mean")


@law("cross-entropy", given=loss_cases(), equations=("cross-entropy", "token-cross-entropy"))
def every_reduction_agrees_with_the_reference(cross_entropy: Function, case: LossCase) -> None:
    """Cross-entropy agrees with the reference in every reduction, with smoothing and ignored positions.

    Kills: a reduction or a smoothing that is overlooked; ignored positions left out of the shape.
    Hint: Set ε to 0 and let everything count. Which of your options, turned on alone, makes the difference?
    """
    smoothing = case.label_smoothing
    for reduction in ("mean", "sum", "none"):
        actual = cross_entropy(case.logits, case.target, label_smoothing=smoothing, reduction=reduction)
        expected = reference.losses.cross_entropy(
            as_array(case.logits), case.target.numpy(), label_smoothing=smoothing, reduction=reduction
        )
        assert_close(actual, expected, SUM, case.scale, what=f"the loss with reduction={reduction!r}")


# Cross-entropy in bfloat16


@law("cross-entropy", given=coarse_logits)
@law("masked-lm-loss", given=coarse_logits)
def in_bfloat16_the_loss_agrees_with_the_reference(loss: Function, case: LossCase) -> None:
    """In bfloat16 the loss agrees with the reference, at logits beyond ±65,504 too.

    Kills: logarithms of a rounded 0; a small number added before the logarithm; a detour through float16.
    Hint: What is the largest number of each type that your logits pass through?
    """
    logits = BEYOND_HALF * case.logits
    expected = reference.losses.cross_entropy(as_array(logits), case.target.numpy())
    assert_close(loss(logits, case.target), expected, ROUNDING, 1 + float(logits.abs().max()))


@law("cross-entropy", given=many_cases())
@law("masked-lm-loss", given=many_cases())
def in_bfloat16_the_loss_at_many_equal_logits_is_the_logarithm_of_their_number(loss: Function, case: ManyCase) -> None:
    """In bfloat16 the loss at equal logits of V classes is ln V, for V up to 2,048.

    Kills: a sum of exponentials that is kept in bfloat16 while it grows, and stops at 256.
    Hint: Eight bits hold 256 and 258. What is 256 + 1 then, and how does your sum get from one class to the next?
    """
    actual = loss(case.ones.expand(1, 2, case.count), torch.tensor([[0, case.count - 1]]))
    expected = torch.full_like(actual, math.log(case.count))
    assert_close(actual, expected, ROUNDING, math.log(case.count), what="the loss at equal logits")


@law("cross-entropy", given=many_cases())
@law("masked-lm-loss", given=many_cases())
def in_bfloat16_the_mean_over_many_positions_is_what_each_of_them_costs(loss: Function, case: ManyCase) -> None:
    """In bfloat16 the loss of up to 2,048 positions with two equal logits each is ln 2, as that of one is.

    Kills: a sum of losses that is kept in bfloat16 while it grows, and stops; the sum in place of the mean.
    Hint: Double the batch, with the same positions again. Which of your numbers no longer grows with it?
    """
    actual = loss(case.ones[:, None].expand(1, case.count, 2), (case.signs[None] > 0).long())
    expected = torch.full_like(actual, math.log(2))
    assert_close(actual, expected, ROUNDING, 1.0, what="the mean over many positions that cost the same")
