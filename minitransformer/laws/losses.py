"""Laws of the other losses: of a yes or no, of an error, and of what BERT is pretrained on."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from minitransformer import reference
from minitransformer.laws.cases import LossCase, ManyCase, loss_cases, many_cases, numbers, whole_numbers
from minitransformer.laws.cross_entropy import (
    BEYOND_HALF,
    assert_between,
    at_class,
    coarse_logits,
    everything_counts,
    gradient_of,
    parts_weighed_by_their_counts_give_the_whole,
    some_are_ignored,
    what_is_ignored_cannot_matter,
    what_is_ignored_has_no_gradient,
)
from minitransformer.laws.law import law
from minitransformer.laws.tolerances import LAYER, ROUNDING, SUM, as_array, assert_close

Function = Callable[..., Tensor]

pairs_of_segments = loss_cases(scores=("ordinary",), ignored=("none",))


def yes_or_no(case: LossCase) -> tuple[Tensor, Tensor]:
    """One logit for each position, and a yes or no."""
    return case.logits[..., 0], whole_numbers(case.seed, "yes", 0, 2, case.batch, case.length).to(case.dtype)


def pair_and_label(case: LossCase) -> tuple[Tensor, Tensor]:
    """Two logits for each pair of segments, and which of them is right."""
    logits = 3 * numbers(case.seed, "pair", case.batch, 2, dtype=case.dtype)
    return logits, whole_numbers(case.seed, "next", 0, 2, case.batch)


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


@law("binary-cross-entropy", given=coarse_logits)
def in_bfloat16_the_binary_loss_agrees_with_the_reference(binary_cross_entropy: Function, case: LossCase) -> None:
    """In bfloat16 binary cross-entropy agrees with the reference, at logits beyond ±65,504 too.

    Kills: exponentials that overflow; logarithms of a rounded 0; a detour through float16.
    Hint: What is the largest number of each type that your logits pass through?
    """
    logit, target = yes_or_no(case)
    logit = BEYOND_HALF * logit
    expected = reference.losses.binary_cross_entropy(as_array(logit), as_array(target))
    assert_close(binary_cross_entropy(logit, target), expected, ROUNDING, 1 + float(logit.abs().max()))


@law("binary-cross-entropy", given=many_cases())
def in_bfloat16_the_mean_over_many_answers_is_what_each_of_them_costs(
    binary_cross_entropy: Function, case: ManyCase
) -> None:
    """In bfloat16 up to 2,048 answers at a logit of 0 cost ln 2, as one of them does.

    Kills: a sum of losses that is kept in bfloat16 while it grows, and stops; the sum in place of the mean.
    Hint: Double the batch, with the same answers again. Which of your numbers no longer grows with it?
    """
    answers = (case.signs > 0).to(case.signs.dtype)
    actual = binary_cross_entropy(torch.zeros_like(answers), answers)
    expected = torch.full_like(actual, math.log(2))
    assert_close(actual, expected, ROUNDING, 1.0, what="the mean over many answers that cost the same")


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


@law("mean-squared-error", given=everything_counts, needs_gradient=True)
def the_gradient_of_the_squared_error_is_the_one_derived_by_hand(mean_squared_error: Function, case: LossCase) -> None:
    """The gradient of the mean squared error is 2 (y − t) / n, as derived by hand.

    Kills: half the square; the mean forgotten; one of the two factors of the square detached.
    Hint: Move one prediction by a little. How many factors of its square move along?
    """
    target = numbers(case.seed, "target", *case.logits.shape, dtype=case.dtype)
    gradient = gradient_of(mean_squared_error, case.logits, target)
    expected = reference.losses.mean_squared_error_gradient(as_array(case.logits), as_array(target))
    scale = 1 + float(case.logits.abs().max()) + float(target.abs().max())
    assert_close(gradient, expected, LAYER, scale, what="the gradient")


@law("mean-squared-error", given=coarse_logits)
def in_bfloat16_the_squared_error_agrees_with_the_reference(mean_squared_error: Function, case: LossCase) -> None:
    """In bfloat16 the mean squared error agrees with the reference, at errors whose squares exceed float16 too.

    Kills: squares in float16, where 256² is ∞; the sum in place of the mean; the mean over one axis only.
    Hint: Which is the largest error whose square your types can hold?
    """
    target = numbers(case.seed, "target", *case.logits.shape, dtype=case.dtype)
    scale = float((case.logits - target).square().max()) + 1
    expected = reference.losses.mean_squared_error(as_array(case.logits), as_array(target))
    assert_close(mean_squared_error(case.logits, target), expected, ROUNDING, scale)


@law("mean-squared-error", given=many_cases())
def in_bfloat16_many_errors_of_one_size_cost_its_square(mean_squared_error: Function, case: ManyCase) -> None:
    """In bfloat16 up to 2,048 errors of one size, up to 131,072, cost the square of that size.

    Kills: a sum of squares that is kept in bfloat16 while it grows, and stops; squares in float16, where 256² is ∞.
    Hint: Double the batch, with the same errors again. Which of your numbers no longer grows with it?
    """
    target = case.size.expand(case.count)
    error = mean_squared_error(target + case.size * case.signs, target) / case.size.square()
    assert_close(error, torch.ones_like(error), ROUNDING, 1.0, what="the error, over the square of its only size,")


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


@law("masked-lm-loss", given=loss_cases(), needs_gradient=True)
def the_gradient_at_the_selected_words_is_the_one_derived_by_hand(masked_lm_loss: Function, case: LossCase) -> None:
    """The gradient of the masked-word loss, derived by hand, agrees with autograd: (p − q) / |S|.

    Kills: the mean over all tokens; a detached loss; a gradient of NaN from a rounded logarithm.
    Hint: Which logits of a selected word should a step downhill lower, and by which number of words do you divide?
    """
    gradient = gradient_of(masked_lm_loss, case.logits, case.target)
    expected = reference.losses.masked_lm_loss_gradient(as_array(case.logits), case.target.numpy())
    assert_close(gradient, expected, LAYER, 1 + float(case.logits.abs().max()), what="the gradient")


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


@law("next-sentence-loss", given=pairs_of_segments, needs_gradient=True)
def the_gradient_of_the_next_sentence_loss_is_the_one_derived_by_hand(
    next_sentence_loss: Function, case: LossCase
) -> None:
    """The gradient of the next-sentence loss, derived by hand, agrees with autograd: one logit gains what one loses.

    Kills: the softmax's sum detached, so that no logit is ever lowered; labels the wrong way round.
    Hint: Add up the gradients of the two logits of a pair. What should the sum be, if only their difference counts?
    """
    logits, labels = pair_and_label(case)
    expected = reference.losses.next_sentence_loss_gradient(as_array(logits), labels.numpy())
    assert_close(gradient_of(next_sentence_loss, logits, labels), expected, LAYER, 8, what="the gradient")
