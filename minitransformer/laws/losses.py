"""Laws of the losses.

Laws about ignored positions, smoothing and reductions stand apart from those about a loss that has none of these. They
give such options by name, for a loss may have one of them without the others, or have them in another order.
"""

import math
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from minitransformer import reference
from minitransformer.laws.cases import LossCase, loss_cases, numbers, whole_numbers
from minitransformer.laws.law import law
from minitransformer.laws.tolerances import LAYER, SUM, as_array, assert_close, assert_same

Function = Callable[..., Tensor]

everything_counts = loss_cases(ignored=("none",))
equal_logits = loss_cases(scores=("equal",), ignored=("none",))
some_are_ignored = loss_cases(ignored=("some", "all but one"))
pairs_of_segments = loss_cases(scores=("ordinary",), ignored=("none",))


def at_class(logits: Tensor, classes: Tensor) -> Tensor:
    """The logit of one class at each position."""
    return logits.gather(-1, classes[..., None])[..., 0]


def yes_or_no(case: LossCase) -> tuple[Tensor, Tensor]:
    """One logit for each position, and a yes or no."""
    return case.logits[..., 0], whole_numbers(case.seed, "yes", 0, 2, case.batch, case.length).to(case.dtype)


def pair_and_label(case: LossCase) -> tuple[Tensor, Tensor]:
    """Two logits for each pair of segments, and which of them is right."""
    logits = 3 * numbers(case.seed, "pair", case.batch, 2, dtype=case.dtype)
    return logits, whole_numbers(case.seed, "next", 0, 2, case.batch)


def gradient_of(loss: Function, logits: Tensor, target: Tensor) -> Tensor:
    """What the loss gains per unit of each logit, as autograd finds it."""
    leaf = logits.clone().requires_grad_()
    result = loss(leaf, target)
    assert result.requires_grad, "the loss should pass a gradient back to its logits, but it is cut off from them"
    return torch.autograd.grad(result, leaf)[0]


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


# Yes or no


@law("binary-cross-entropy", given=everything_counts)
def yes_at_a_logit_is_no_at_its_opposite(binary_cross_entropy: Function, case: LossCase) -> None:
    """A "yes" at a logit costs what a "no" costs at its opposite, and the two differ by the logit.

    Kills: yes and no swapped; a probability in place of a logit; logarithms of a rounded 0.
    Hint: Is 1 − σ(z) the same as σ(−z) on paper, and is it on a computer when z is 50?
    """
    logit, target = yes_or_no(case)
    actual = binary_cross_entropy(-logit, 1 - target)
    assert_close(actual, binary_cross_entropy(logit, target), SUM, case.scale, what="the loss at the opposite")
    no, yes = (binary_cross_entropy(logit, torch.full_like(target, answer)) for answer in (0.0, 1.0))
    assert_close(no - yes, logit.mean(), SUM, case.scale, what="the loss of no minus that of yes")


@law("binary-cross-entropy", given=everything_counts)
def a_wrong_answer_costs_its_logit(binary_cross_entropy: Function, case: LossCase) -> None:
    """A wrong answer costs the size of its logit and a right one nothing, and at most ln 2 more, at ±10,000 too.

    Kills: exponentials that overflow; logarithms of a rounded 0; a small number added before the logarithm.
    Hint: Which of the two exponentials, exp(z) and exp(−z), is safe to compute, and does it depend on z?
    """
    logit, target = yes_or_no(case)
    cost = torch.where(target == 1, -logit, logit).clamp(min=0).mean()
    assert_between(binary_cross_entropy(logit, target), cost, cost + math.log(2), case.scale)


@law(
    "binary-cross-entropy",
    given=everything_counts,
    equations=("binary-cross-entropy", "cross-entropy", "next-sentence-loss"),
)
def two_logits_are_one(binary_cross_entropy: Function, case: LossCase) -> None:
    """BERT's softmax over two logits is binary cross-entropy on their difference, z₁ − z₀, with label 1 as "yes".

    Kills: the difference the wrong way round; the sum in place of the mean.
    Hint: Divide both terms of a softmax over two logits by one of them. Which function of z₁ − z₀ is left?
    """
    _, target = yes_or_no(case)
    pair = torch.stack([case.logits[..., 0], -case.logits[..., -1]], dim=-1)
    expected = torch.tensor(reference.losses.cross_entropy(as_array(pair), target.long().numpy()), dtype=case.dtype)
    actual = binary_cross_entropy(pair[..., 1] - pair[..., 0], target)
    assert_close(actual, expected, SUM, 2 * case.scale, what="the loss at the difference of two logits")


@law("binary-cross-entropy", given=everything_counts)
def a_share_of_a_yes_costs_its_share_of_both(binary_cross_entropy: Function, case: LossCase) -> None:
    """A target of three quarters costs three quarters of a "yes" and one quarter of a "no".

    Kills: targets compared with 1; targets rounded to a yes or no.
    Hint: Can your target be 0.75? What do both terms of the loss make of it?
    """
    logit, target = yes_or_no(case)
    actual = binary_cross_entropy(logit, 0.25 + target / 2)
    expected = 0.75 * binary_cross_entropy(logit, target) + 0.25 * binary_cross_entropy(logit, 1 - target)
    assert_close(actual, expected, SUM, case.scale, what="the loss at shares of a yes")


@law("binary-cross-entropy", given=everything_counts)
def the_binary_loss_agrees_with_the_reference(binary_cross_entropy: Function, case: LossCase) -> None:
    """Binary cross-entropy agrees with the reference.

    Kills: the sum in place of the mean; logarithms to base 2; one of the two terms forgotten.
    Hint: At z = 0 both answers cost the same. How many nats, and how many do you get?
    """
    logit, target = yes_or_no(case)
    expected = reference.losses.binary_cross_entropy(as_array(logit), as_array(target))
    assert_close(binary_cross_entropy(logit, target), expected, SUM, case.scale)


@law("binary-cross-entropy", given=everything_counts, needs_gradient=True)
def the_gradient_is_the_probability_minus_the_answer(binary_cross_entropy: Function, case: LossCase) -> None:
    """The gradient of binary cross-entropy is (σ(z) − t) / n, as derived by hand.

    Kills: the sign the wrong way round; the mean forgotten; a probability in place of the logit.
    Hint: The answer is yes. Should a step downhill raise the logit or lower it, and how far if σ(z) is nearly 1?
    """
    logit, target = yes_or_no(case)
    # At exactly 0, |z| and max(z, 0) have a kink each, whose slopes autograd chooses one by one.
    logit = logit + (case.scores == "equal")
    gradient = gradient_of(binary_cross_entropy, logit, target)
    expected = reference.losses.binary_cross_entropy_gradient(as_array(logit), as_array(target))
    assert_close(gradient, expected, LAYER, 1.0, what="the gradient")


# The squared error


@law("mean-squared-error", given=everything_counts)
def the_squared_error_splits_into_spread_and_distance(mean_squared_error: Function, case: LossCase) -> None:
    """The mean squared error to a constant is the variance plus the squared distance of the mean.

    Kills: the sum in place of the mean; half the square; the absolute value.
    Hint: Let all predictions be 5 and all targets 3. What is your loss?
    """
    constant = torch.full_like(case.logits, 3.0)
    expected = case.logits.var(correction=0) + (case.logits.mean() - 3.0) ** 2
    assert_close(mean_squared_error(case.logits, constant), expected, SUM, (3 + float(case.logits.abs().max())) ** 2)


@law("mean-squared-error", given=everything_counts)
def the_error_is_zero_only_at_the_targets(mean_squared_error: Function, case: LossCase) -> None:
    """The mean squared error is 0 where predictions hit their targets, and positive elsewhere.

    Kills: errors added up before they are squared; a root or a constant that is left over.
    Hint: One prediction is too high by 1 and another too low by 1. Do your errors cancel?
    """
    target = numbers(case.seed, "target", *case.logits.shape, dtype=case.dtype)
    assert not mean_squared_error(target, target), "the error at the targets should be exactly zero"
    above_and_below = torch.ones_like(target).flatten()
    above_and_below[::2] = -1
    error = mean_squared_error(target + above_and_below.view_as(target), target).to(case.dtype)
    scale = (2 + float(target.abs().max())) ** 2
    assert_close(error, torch.ones_like(error), SUM, scale, what="the error of predictions that are 1 off, up or down,")


@law("mean-squared-error", given=everything_counts)
def a_doubled_distance_costs_four_times_as_much(mean_squared_error: Function, case: LossCase) -> None:
    """Predictions twice as far from their targets have four times the error.

    Kills: the absolute value; the root of the mean square; a loss that is linear far away.
    Hint: How does your loss grow with the distance: does it double, or more?
    """
    target = whole_numbers(case.seed, "target", -8, 9, *case.logits.shape).to(case.dtype)
    distance = case.logits
    near, far = mean_squared_error(target + distance, target), mean_squared_error(target + 2 * distance, target)
    scale = (16 + 2 * float(distance.abs().max())) ** 2
    assert_close(far, 4 * near.to(case.dtype), SUM, scale, what="the error at twice the distance")


@law("mean-squared-error", given=everything_counts)
def only_the_distance_counts(mean_squared_error: Function, case: LossCase) -> None:
    """Only the distance of a prediction from its target counts: not where they lie, nor which of them is larger.

    Kills: errors relative to the target; division by the spread of the targets; only positive errors counted.
    Hint: Exchange predictions and targets. Which part of your loss treats the two differently?
    """
    target = numbers(case.seed, "target", *case.logits.shape, dtype=case.dtype)
    error = mean_squared_error(case.logits, target)
    scale = (1 + float(case.logits.abs().max()) + float(target.abs().max())) ** 2
    assert_close(mean_squared_error(target, case.logits), error, SUM, scale, what="the error with both exchanged")
    from_zero = mean_squared_error(case.logits - target, torch.zeros_like(target))
    assert_close(from_zero, error.to(case.dtype), SUM, scale, what="the error of the differences from zero")


@law("mean-squared-error", given=everything_counts)
def the_squared_error_agrees_with_the_reference(mean_squared_error: Function, case: LossCase) -> None:
    """The mean squared error agrees with the reference.

    Kills: the sum in place of the mean; the mean over one axis only; half the square.
    Hint: How many numbers does your result hold, and by how many did you divide?
    """
    target = numbers(case.seed, "target", *case.logits.shape, dtype=case.dtype)
    scale = float((case.logits - target).square().max()) + 1
    expected = reference.losses.mean_squared_error(as_array(case.logits), as_array(target))
    assert_close(mean_squared_error(case.logits, target), expected, SUM, scale)


# What BERT is pretrained on


@law("masked-lm-loss", given=loss_cases(scores=("ordinary", "equal")))
def only_selected_words_are_judged(masked_lm_loss: Function, case: LossCase) -> None:
    """The masked-word loss is the mean of −ln p over the selected words alone.

    Kills: the mean over all tokens; labels of −100 counted as the last word.
    Hint: Of 100 tokens 15 were selected. By which of the two numbers do you divide?
    """
    actual = masked_lm_loss(case.logits, case.target)
    chosen = case.logits[case.counts].double()
    expected = -at_class(torch.softmax(chosen, -1), case.target[case.counts]).log().mean()
    assert_close(actual, expected.to(case.dtype), SUM, case.scale, what="the mean over the selected words")


@law("masked-lm-loss", given=some_are_ignored)
def words_that_were_not_selected_cannot_matter(masked_lm_loss: Function, case: LossCase) -> None:
    """The logits at words that were not selected change nothing, bit for bit.

    Kills: a loss over all tokens; labels of −100 counted as the first or the last word.
    Hint: What is logits[..., −100], or the logit that you read in its place?
    """
    what_is_ignored_cannot_matter(masked_lm_loss, case)


@law("masked-lm-loss", given=some_are_ignored, needs_gradient=True)
def words_that_were_not_selected_have_no_gradient(masked_lm_loss: Function, case: LossCase) -> None:
    """Words that were not selected have a gradient of exactly zero, and those that were selected have one.

    Kills: a loss over all tokens; labels of −100 counted as a word; a detached loss.
    Hint: Should the model be taught anything at a word that it can simply copy?
    """
    what_is_ignored_has_no_gradient(masked_lm_loss, case)


@law("masked-lm-loss", given=loss_cases())
def each_selected_word_weighs_the_same(masked_lm_loss: Function, case: LossCase) -> None:
    """Each selected word weighs the same, whether its sequence has many of them or few.

    Kills: the mean of the means of the sequences; the mean over all tokens.
    Hint: In one sequence 1 word was selected, in another 9. How much does each of the ten count in your mean?
    """
    parts_weighed_by_their_counts_give_the_whole(masked_lm_loss, case)


@law("masked-lm-loss", given=loss_cases())
def the_masked_word_loss_agrees_with_the_reference(masked_lm_loss: Function, case: LossCase) -> None:
    """The masked-word loss agrees with the reference.

    Kills: exponentials that overflow; a softmax over the positions; the sum in place of the mean.
    Hint: Select a single word, and work out its −ln p by hand. Over what do its probabilities sum to 1?
    """
    expected = reference.losses.masked_lm_loss(as_array(case.logits), case.target.numpy())
    assert_close(masked_lm_loss(case.logits, case.target), expected, SUM, case.scale)


@law("next-sentence-loss", given=pairs_of_segments)
def both_answers_count(next_sentence_loss: Function, case: LossCase) -> None:
    """Both labels count alike: swapping the logits and the labels changes nothing, and each can be right or wrong.

    Kills: an ignored index of 0, with which a constant answer has no loss; labels the wrong way round.
    Hint: Let every label be 0, and answer wrongly. What is your loss, and what if every label is 1?
    """
    logits, labels = pair_and_label(case)
    loss = next_sentence_loss(logits, labels)
    swapped = next_sentence_loss(logits.flip(-1), 1 - labels)
    assert_close(swapped, loss, SUM, 8, what="the loss with both logits and labels swapped")
    for label in (0, 1):
        all_equal = torch.full_like(labels, label)
        right = torch.tensor([100.0, -100.0] if label == 0 else [-100.0, 100.0], dtype=case.dtype).expand(case.batch, 2)
        assert_close(next_sentence_loss(right, all_equal), torch.zeros((), dtype=case.dtype), SUM, what="no surprise")
        wrong = torch.full((), 200.0, dtype=case.dtype)
        assert_close(next_sentence_loss(right.flip(-1), all_equal), wrong, SUM, what="the greatest surprise")


@law("next-sentence-loss", given=pairs_of_segments)
def each_pair_of_segments_weighs_the_same(next_sentence_loss: Function, case: LossCase) -> None:
    """The loss of a batch is the mean of the losses of its pairs of segments.

    Kills: the sum in place of the mean; a softmax over the batch; only one of the labels counted.
    Hint: Compute the loss of each pair alone. How do these numbers make the loss of the batch?
    """
    logits, labels = pair_and_label(case)
    alone = [next_sentence_loss(logits[index, None], labels[index, None]) for index in range(case.batch)]
    expected = torch.stack(alone).mean()
    assert_close(next_sentence_loss(logits, labels), expected, SUM, 16, what="the mean over the pairs")


@law(
    "next-sentence-loss",
    given=pairs_of_segments,
    equations=("binary-cross-entropy", "cross-entropy", "next-sentence-loss"),
)
def two_answers_are_one_yes_or_no(next_sentence_loss: Function, case: LossCase) -> None:
    """The loss is binary cross-entropy on the difference of the two logits, z₁ − z₀, with label 1 as "yes".

    Kills: the difference the wrong way round; two binary cross-entropies in place of a softmax.
    Hint: Raise both logits by 5. Has the model changed its mind?
    """
    logits, labels = pair_and_label(case)
    difference = as_array(logits[:, 1]) - as_array(logits[:, 0])
    expected = reference.losses.binary_cross_entropy(difference, labels.numpy())
    assert_close(next_sentence_loss(logits, labels), expected, SUM, 16, what="the loss of two logits")


@law("next-sentence-loss", given=pairs_of_segments)
def the_next_sentence_loss_agrees_with_the_reference(next_sentence_loss: Function, case: LossCase) -> None:
    """The next-sentence loss agrees with the reference.

    Kills: labels the wrong way round; the sum in place of the mean; logarithms to base 2.
    Hint: Label 0 says "is next". Which of the two logits belongs to it?
    """
    logits, labels = pair_and_label(case)
    expected = reference.losses.next_sentence_loss(as_array(logits), labels.numpy())
    assert_close(next_sentence_loss(logits, labels), expected, SUM, 8)
