"""Laws of the losses."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from sklearn.metrics import log_loss
from strategies import LossCase, loss_cases, numbers, whole_numbers
from tolerances import SUM, as_array, assert_close, assert_same
from torch import Tensor

from minitransformer import reference
from minitransformer.errors import InputError
from minitransformer.losses import (
    LossPart,
    binary_cross_entropy,
    cross_entropy,
    masked_lm_loss,
    mean_squared_error,
    next_sentence_loss,
    token_cross_entropy,
)

pytestmark = pytest.mark.usefixtures("kernels_in_use")

Function = Callable[..., Tensor]


# Cross-entropy


def the_loss_at_equal_logits_is_the_logarithm_of_the_number_of_classes(cross_entropy: Function, case: LossCase) -> None:
    for label_smoothing in (0.0, case.label_smoothing):
        loss = cross_entropy(case.logits + 3.0, case.target, label_smoothing=label_smoothing)
        expected = torch.tensor(math.log(case.n_classes), dtype=case.dtype)
        assert_close(loss, expected, SUM, 4, what="the loss at equal logits")


@pytest.mark.equation("cross-entropy", "token-cross-entropy")
@given(case=loss_cases(scores=("equal",)))
def test_the_loss_at_equal_logits_is_the_logarithm_of_the_number_of_classes(case: LossCase) -> None:
    """At equal logits the loss is ln V, whatever the targets, the smoothing, and how many positions count.

    Kills: the mean over all positions; the sum; logarithms to base 2; smoothing over V − 1 or V − 2 classes.
    """
    the_loss_at_equal_logits_is_the_logarithm_of_the_number_of_classes(cross_entropy, case)


def a_constant_added_to_the_logits_changes_nothing(cross_entropy: Function, case: LossCase) -> None:
    offset = 100 * numbers(case.seed, "offset", case.batch, case.length, 1, dtype=case.dtype)
    shifted = cross_entropy(case.logits + offset, case.target, label_smoothing=case.label_smoothing)
    expected = cross_entropy(case.logits, case.target, label_smoothing=case.label_smoothing)
    scale = case.scale + float(offset.abs().max())
    assert_close(shifted, expected, SUM, scale, what="the loss at shifted logits")


@pytest.mark.equation("cross-entropy")
@given(case=loss_cases())
def test_a_constant_added_to_the_logits_changes_nothing(case: LossCase) -> None:
    """Adding a constant to all logits of a position changes nothing.

    Kills: the logit itself in place of its logarithmic share; binary cross-entropies of each class.
    """
    a_constant_added_to_the_logits_changes_nothing(cross_entropy, case)


def what_is_ignored_cannot_matter_and_has_no_gradient(cross_entropy: Function, case: LossCase) -> None:
    other = numbers(case.seed, "other", *case.logits.shape, dtype=case.dtype)
    changed = torch.where(case.counts[..., None], case.logits, other).requires_grad_()
    loss = cross_entropy(changed, case.target, label_smoothing=case.label_smoothing)
    before = cross_entropy(case.logits, case.target, label_smoothing=case.label_smoothing)
    assert_same(loss, before, what="the loss when ignored positions change")
    (gradient,) = torch.autograd.grad(loss, changed)
    assert not gradient[~case.counts].any(), "an ignored position should have a gradient of exactly zero"
    if case.scores == "ordinary" and case.n_classes > 1 and case.label_smoothing < 1:
        assert gradient[case.counts].any(-1).all(), "every position that counts should have a gradient"


@pytest.mark.equation("cross-entropy", "masked-lm-loss")
@given(case=loss_cases())
def test_what_is_ignored_cannot_matter_and_has_no_gradient(case: LossCase) -> None:
    """Ignored positions change nothing, bit for bit, and have a gradient of exactly zero.

    Kills: a loss over all tokens; class 0 counted for ignored positions; smoothing that touches ignored positions.
    """
    what_is_ignored_cannot_matter_and_has_no_gradient(cross_entropy, case)
    what_is_ignored_cannot_matter_and_has_no_gradient(
        lambda logits, target, label_smoothing: masked_lm_loss(logits, target), case
    )


def parts_weighed_by_their_counts_give_the_whole(cross_entropy: Function, case: LossCase) -> None:
    whole = cross_entropy(case.logits, case.target)
    parts, count = torch.zeros_like(whole), int(case.counts.sum())
    for logits, target, counts in zip(case.logits, case.target, case.counts, strict=True):
        if counts.any():
            parts = parts + cross_entropy(logits, target) * int(counts.sum()) / count
    assert_close(parts, whole, SUM, case.scale, what="the parts, weighed by their counts")


@pytest.mark.equation("cross-entropy", "masked-lm-loss")
@given(case=loss_cases())
def test_parts_weighed_by_their_counts_give_the_whole(case: LossCase) -> None:
    """Splitting a batch into parts with unequal counts, and weighing each by its count, gives the whole.

    Kills: the mean over all positions; the mean of the means of rows.
    """
    parts_weighed_by_their_counts_give_the_whole(cross_entropy, case)
    parts_weighed_by_their_counts_give_the_whole(masked_lm_loss, case)


def the_reductions_agree_with_each_other(cross_entropy: Function, case: LossCase) -> None:
    each = cross_entropy(case.logits, case.target, label_smoothing=case.label_smoothing, reduction="none")
    total = cross_entropy(case.logits, case.target, label_smoothing=case.label_smoothing, reduction="sum")
    mean = cross_entropy(case.logits, case.target, label_smoothing=case.label_smoothing)
    assert (each >= 0).all(), "no surprise should be negative"
    assert not each[~case.counts].any(), "an ignored position should have a loss of exactly zero"
    assert_close(total, each.sum(), SUM, case.scale, what="the sum")
    assert_close(mean, each.sum() / case.counts.sum(), SUM, case.scale, what="the mean")


@pytest.mark.equation("cross-entropy")
@given(case=loss_cases())
def test_the_reductions_agree_with_each_other(case: LossCase) -> None:
    """The sum is the sum of the single losses, and the mean divides it by how many positions count.

    Kills: `(loss * counts).mean()` in place of the sum over the count.
    """
    the_reductions_agree_with_each_other(cross_entropy, case)


def smoothing_mixes_the_target_with_all_classes(token_cross_entropy: Function, case: LossCase) -> None:
    sharp = token_cross_entropy(case.logits, case.classes, 0.0)
    each_class = torch.stack(
        [token_cross_entropy(case.logits, torch.full_like(case.classes, index), 0.0) for index in range(case.n_classes)]
    )
    expected = (1 - case.label_smoothing) * sharp + case.label_smoothing * each_class.mean(0)
    actual = token_cross_entropy(case.logits, case.classes, case.label_smoothing)
    assert_close(actual, expected, SUM, case.scale, what="the smoothed loss")


@pytest.mark.equation("token-cross-entropy")
@given(case=loss_cases())
def test_smoothing_mixes_the_target_with_all_classes(case: LossCase) -> None:
    """The smoothed loss is (1 − ε) times the loss at the target plus ε times the mean of those at every class.

    Kills: smoothing over V − 1 or V − 2 classes; (1 − ε) left out; entropy subtracted.
    """
    smoothing_mixes_the_target_with_all_classes(token_cross_entropy, case)


def the_surprises_of_all_classes_are_those_of_a_distribution(token_cross_entropy: Function, case: LossCase) -> None:
    total = sum(
        token_cross_entropy(case.logits, torch.full_like(case.classes, index)).neg().exp()
        for index in range(case.n_classes)
    )
    assert_close(total, torch.ones_like(total), SUM, 1 + float(case.logits.abs().max()), what="Σ exp(−ℓ)")


@pytest.mark.equation("token-cross-entropy")
@given(case=loss_cases())
def test_the_surprises_of_all_classes_are_those_of_a_distribution(case: LossCase) -> None:
    """The exponentials of the negative losses at each class add up to 1.

    Kills: no normalisation; a softmax over the positions; a softmax of a softmax.
    """
    the_surprises_of_all_classes_are_those_of_a_distribution(token_cross_entropy, case)


@pytest.mark.equation("cross-entropy", "token-cross-entropy")
@given(case=loss_cases())
def test_cross_entropy_agrees_with_the_reference_and_with_torch(case: LossCase) -> None:
    """Cross-entropy agrees with the reference and with PyTorch's own, in every reduction."""
    logits, target = as_array(case.logits), case.target.numpy()
    for reduction in ("mean", "sum", "none"):
        actual = cross_entropy(case.logits, case.target, -100, case.label_smoothing, reduction)
        expected = reference.losses.cross_entropy(logits, target, -100, case.label_smoothing, reduction)
        assert_close(actual, expected, SUM, case.scale)
        theirs = F.cross_entropy(
            case.logits.flatten(0, 1),
            case.target.flatten(),
            reduction=reduction,
            label_smoothing=case.label_smoothing,
        )
        assert_close(actual.flatten(), theirs.flatten(), SUM, case.scale)
    actual = token_cross_entropy(case.logits, case.classes, case.label_smoothing)
    expected = reference.losses.token_cross_entropy(logits, case.classes.numpy(), case.label_smoothing)
    assert_close(actual, expected, SUM, case.scale)


@pytest.mark.equation("cross-entropy")
@given(case=loss_cases(scores=("ordinary",), ignored=("none",), types=(torch.float64,)))
def test_cross_entropy_agrees_with_scikit_learn(case: LossCase) -> None:
    """Cross-entropy is the log loss that scikit-learn computes from probabilities."""
    if case.n_classes == 1:
        return
    probabilities = torch.softmax(case.logits, -1).flatten(0, 1).numpy()
    expected = log_loss(case.target.flatten().numpy(), probabilities, labels=range(case.n_classes))
    assert_close(cross_entropy(case.logits, case.target), expected, SUM, case.scale)


@pytest.mark.equation("cross-entropy")
@given(case=loss_cases())
def test_any_class_can_be_the_ignored_one(case: LossCase) -> None:
    """With a class as the ignored index, the positions of that class are left out, and only they."""
    ignored = case.n_classes - 1
    kept = case.classes != ignored
    actual = cross_entropy(case.logits, case.classes, ignore_index=ignored, reduction="sum")
    expected = cross_entropy(case.logits, case.classes, reduction="none")[kept].sum()
    assert_close(actual, expected, SUM, case.scale)


@pytest.mark.equation("cross-entropy")
def test_one_position_needs_no_axis_of_its_own() -> None:
    """The logits of a single position, and a target without axes, give a loss too."""
    logits = torch.tensor([1.0, 2.0, 4.0])
    assert_close(cross_entropy(logits, torch.tensor(2)), F.cross_entropy(logits, torch.tensor(2)), SUM)


@pytest.mark.equation("cross-entropy")
def test_a_surprise_of_ten_thousand_is_finite() -> None:
    """At logits of ±10,000 the loss is 20,000 or 0, and its gradient is finite."""
    logits = torch.tensor([[1e4, -1e4], [1e4, -1e4]], requires_grad=True)
    loss = cross_entropy(logits, torch.tensor([1, 0]), reduction="none")
    assert loss.tolist() == [2e4, 0.0]
    assert torch.autograd.grad(loss.sum(), logits)[0].tolist() == [[1.0, -1.0], [0.0, 0.0]]


@pytest.mark.parametrize(
    ("logits", "target", "options", "message"),
    [
        (torch.zeros(2, 3), torch.tensor([1, 3]), {}, "target holds 3, but a label must lie from 0 to 2 or be ignore"),
        (torch.zeros(2, 3), torch.tensor([-1, 1]), {}, "target holds -1, but a label must lie from 0 to 2"),
        (torch.zeros(2, 3), torch.tensor([-100, -100]), {}, "all 2 targets are ignore_index=-100, so the mean loss is"),
        (torch.zeros(2, 3), torch.tensor([0, 1]), {"reduction": "average"}, "reduction='average' is not one of 'mean'"),
        (torch.zeros(2, 3), torch.tensor([0, 1]), {"label_smoothing": 2.0}, r"label_smoothing=2.0 must lie from 0 to"),
    ],
)
def test_what_cannot_be_a_loss_is_refused(
    logits: Tensor, target: Tensor, options: dict[str, object], message: str
) -> None:
    """A target that is no class, nothing that counts, an unknown reduction or smoothing: each has its sentence."""
    with pytest.raises(InputError, match=message):
        cross_entropy(logits, target, **options)


def test_a_sum_over_nothing_is_zero() -> None:
    assert cross_entropy(torch.zeros(2, 3), torch.full((2,), -100), reduction="sum").item() == 0.0


def test_parts_of_a_loss_know_their_mean() -> None:
    assert LossPart(torch.tensor(6.0), 4).mean.item() == 1.5
    with pytest.raises(InputError, match="no label counts, so the mean loss is over nothing"):
        _ = LossPart(torch.tensor(0.0), 0).mean


# Yes or no


def yes_or_no(case: LossCase) -> tuple[Tensor, Tensor]:
    """One logit for each position, and a yes or no."""
    return case.logits[..., 0], whole_numbers(case.seed, "yes", 0, 2, case.batch, case.length).to(case.dtype)


def yes_at_a_logit_is_no_at_its_opposite(binary_cross_entropy: Function, case: LossCase) -> None:
    logit, target = yes_or_no(case)
    actual = binary_cross_entropy(-logit, 1 - target)
    assert_close(actual, binary_cross_entropy(logit, target), SUM, case.scale, what="the loss at the opposite")
    difference = binary_cross_entropy(logit, torch.zeros_like(target)) - binary_cross_entropy(
        logit, torch.ones_like(target)
    )
    assert_close(difference, logit.mean(), SUM, case.scale, what="the loss of no minus that of yes")


@pytest.mark.equation("binary-cross-entropy")
@given(case=loss_cases())
def test_yes_at_a_logit_is_no_at_its_opposite(case: LossCase) -> None:
    """ "Yes" at a logit costs what "no" costs at its opposite, and the two differ by the logit.

    Kills: yes and no swapped; a probability in place of a logit; logarithms of a rounded 0.
    """
    yes_at_a_logit_is_no_at_its_opposite(binary_cross_entropy, case)


def two_logits_are_one(binary_cross_entropy: Function, case: LossCase) -> None:
    pair = torch.stack([case.logits[..., 0], -case.logits[..., -1]], dim=-1)
    _, target = yes_or_no(case)
    expected = cross_entropy(pair, target.long())
    actual = binary_cross_entropy(pair[..., 1] - pair[..., 0], target)
    assert_close(actual, expected, SUM, 2 * case.scale, what="the loss at the difference of two logits")


@pytest.mark.equation("binary-cross-entropy", "cross-entropy", "next-sentence-loss")
@given(case=loss_cases())
def test_two_logits_are_one(case: LossCase) -> None:
    """BERT's softmax over two logits is binary cross-entropy on their difference, z₁ − z₀, with label 1 as "yes".

    Kills: the difference the wrong way round; the sum in place of the mean.
    """
    two_logits_are_one(binary_cross_entropy, case)
    pair = torch.stack([case.logits[..., 0], -case.logits[..., -1]], dim=-1).flatten(0, 1)
    target = yes_or_no(case)[1].flatten()
    actual = next_sentence_loss(pair, target.long())
    assert_close(actual, binary_cross_entropy(pair[:, 1] - pair[:, 0], target), SUM, 2 * case.scale)


@pytest.mark.equation("binary-cross-entropy")
@given(case=loss_cases())
def test_binary_cross_entropy_agrees_with_the_reference_and_with_torch(case: LossCase) -> None:
    """Binary cross-entropy agrees with the reference and with PyTorch's own; shares of a yes are allowed."""
    logit, target = yes_or_no(case)
    for answers in (target, 0.25 + target / 2):
        actual = binary_cross_entropy(logit, answers)
        expected = reference.losses.binary_cross_entropy(as_array(logit), as_array(answers))
        assert_close(actual, expected, SUM, case.scale)
        assert_close(actual, F.binary_cross_entropy_with_logits(logit, answers), SUM, case.scale)
    assert_same(binary_cross_entropy(logit, target.long()), binary_cross_entropy(logit, target))


@pytest.mark.equation("mean-squared-error")
@given(case=loss_cases())
def test_the_squared_error_splits_into_spread_and_distance(case: LossCase) -> None:
    """The mean squared error to a constant is the variance plus the squared distance of the mean.

    Kills: the sum in place of the mean; half the square; the absolute value.
    """
    the_squared_error_splits_into_spread_and_distance(mean_squared_error, case)


def the_squared_error_splits_into_spread_and_distance(mean_squared_error: Function, case: LossCase) -> None:
    constant = torch.full_like(case.logits, 3.0)
    expected = case.logits.var(correction=0) + (case.logits.mean() - 3.0) ** 2
    scale = (3 + float(case.logits.abs().max())) ** 2
    assert_close(mean_squared_error(case.logits, constant), expected, SUM, scale)


@pytest.mark.equation("mean-squared-error")
@given(case=loss_cases())
def test_the_squared_error_agrees_with_the_reference_and_with_torch(case: LossCase) -> None:
    """The mean squared error agrees with the reference and with PyTorch's own, and is 0 only at the targets."""
    target = numbers(case.seed, "target", *case.logits.shape, dtype=case.dtype)
    scale = float((case.logits - target).square().max()) + 1
    actual = mean_squared_error(case.logits, target)
    assert_close(actual, reference.losses.mean_squared_error(as_array(case.logits), as_array(target)), SUM, scale)
    assert_close(actual, F.mse_loss(case.logits, target), SUM, scale)
    assert actual > 0
    assert mean_squared_error(target, target).item() == 0.0


# What BERT is pretrained on


def only_selected_words_are_judged(masked_lm_loss: Function, case: LossCase) -> None:
    actual = masked_lm_loss(case.logits, case.target)
    chosen = case.logits[case.counts].double()
    shares = torch.softmax(chosen, -1)
    expected = -(shares[torch.arange(len(chosen)), case.target[case.counts]] + 1e-300).log().mean()
    assert_close(actual, expected.to(case.dtype), SUM, case.scale, what="the mean over the selected words")


@pytest.mark.equation("masked-lm-loss")
@given(case=loss_cases(scores=("ordinary", "equal")))
def test_only_selected_words_are_judged(case: LossCase) -> None:
    """The masked-word loss is the mean of −ln p over the selected words alone.

    Kills: the mean over all tokens; labels of −100 counted as the last word.
    """
    only_selected_words_are_judged(masked_lm_loss, case)


@pytest.mark.equation("masked-lm-loss")
@given(case=loss_cases())
def test_the_masked_word_loss_agrees_with_the_reference(case: LossCase) -> None:
    """The masked-word loss agrees with the reference."""
    expected = reference.losses.masked_lm_loss(as_array(case.logits), case.target.numpy())
    assert_close(masked_lm_loss(case.logits, case.target), expected, SUM, case.scale)


def both_answers_count(next_sentence_loss: Function, case: LossCase) -> None:
    logits = numbers(case.seed, "pair", case.batch, 2, dtype=case.dtype) * 3
    labels = whole_numbers(case.seed, "next", 0, 2, case.batch)
    loss = next_sentence_loss(logits, labels)
    swapped = next_sentence_loss(logits.flip(-1), 1 - labels)
    assert_close(swapped, loss, SUM, 8, what="the loss with both logits and labels swapped")
    for label in (0, 1):
        all_equal = torch.full_like(labels, label)
        right = torch.tensor([100.0, -100.0] if label == 0 else [-100.0, 100.0], dtype=case.dtype).expand(case.batch, 2)
        assert_close(next_sentence_loss(right, all_equal), torch.zeros((), dtype=case.dtype), SUM, what="no surprise")
        wrong = torch.full((), 200.0, dtype=case.dtype)
        assert_close(next_sentence_loss(right.flip(-1), all_equal), wrong, SUM, what="the greatest surprise")


@pytest.mark.equation("next-sentence-loss")
@given(case=loss_cases())
def test_both_answers_count(case: LossCase) -> None:
    """Both labels count alike: swapping the logits and the labels changes nothing, and each can be right or wrong.

    Kills: an ignored index of 0, with which a constant answer has no loss; labels the wrong way round.
    """
    both_answers_count(next_sentence_loss, case)


@pytest.mark.equation("next-sentence-loss")
@given(case=loss_cases())
def test_the_next_sentence_loss_agrees_with_the_reference(case: LossCase) -> None:
    """The next-sentence loss agrees with the reference."""
    logits = numbers(case.seed, "pair", case.batch, 2, dtype=case.dtype) * 3
    labels = whole_numbers(case.seed, "next", 0, 2, case.batch)
    expected = reference.losses.next_sentence_loss(as_array(logits), labels.numpy())
    assert_close(next_sentence_loss(logits, labels), expected, SUM, 8)


def test_a_next_sentence_label_other_than_zero_and_one_is_refused() -> None:
    with pytest.raises(InputError, match="target holds 2, but a label must lie from 0 to 1"):
        next_sentence_loss(torch.zeros(2, 2), torch.tensor([0, 2]))


def test_the_reference_takes_no_notice_of_torch() -> None:
    assert isinstance(reference.losses.token_cross_entropy(np.zeros((1, 2)), np.array([0])), np.ndarray)
