"""Losses: second opinions, and what is refused. Their laws are in `minitransformer.laws.cross_entropy` and `losses`."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from sklearn.metrics import log_loss
from torch import Tensor

from minitransformer import reference
from minitransformer.errors import InputError
from minitransformer.laws.cases import LossCase, loss_cases, numbers, whole_numbers
from minitransformer.laws.tolerances import SUM, assert_close, assert_same
from minitransformer.losses import (
    LossPart,
    binary_cross_entropy,
    cross_entropy,
    mean_squared_error,
    next_sentence_loss,
)

pytestmark = pytest.mark.usefixtures("kernels_in_use")


# Cross-entropy


@pytest.mark.equation("cross-entropy")
@given(case=loss_cases())
def test_cross_entropy_agrees_with_torch(case: LossCase) -> None:
    """Cross-entropy agrees with PyTorch's own, in every reduction."""
    for reduction in ("mean", "sum", "none"):
        actual = cross_entropy(case.logits, case.target, -100, case.label_smoothing, reduction)
        theirs = F.cross_entropy(
            case.logits.flatten(0, 1),
            case.target.flatten(),
            reduction=reduction,
            label_smoothing=case.label_smoothing,
        )
        assert_close(actual.flatten(), theirs.flatten(), SUM, case.scale)


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


@pytest.mark.equation("binary-cross-entropy")
@given(case=loss_cases())
def test_binary_cross_entropy_agrees_with_torch(case: LossCase) -> None:
    """Binary cross-entropy agrees with PyTorch's own; shares of a yes are allowed, and whole numbers."""
    logit = case.logits[..., 0]
    target = whole_numbers(case.seed, "yes", 0, 2, case.batch, case.length).to(case.dtype)
    for answers in (target, 0.25 + target / 2):
        actual = binary_cross_entropy(logit, answers)
        assert_close(actual, F.binary_cross_entropy_with_logits(logit, answers), SUM, case.scale)
    assert_same(binary_cross_entropy(logit, target.long()), binary_cross_entropy(logit, target))


@pytest.mark.equation("mean-squared-error")
@given(case=loss_cases())
def test_the_squared_error_agrees_with_torch(case: LossCase) -> None:
    """The mean squared error agrees with PyTorch's own."""
    target = numbers(case.seed, "target", *case.logits.shape, dtype=case.dtype)
    scale = float((case.logits - target).square().max()) + 1
    assert_close(mean_squared_error(case.logits, target), F.mse_loss(case.logits, target), SUM, scale)


# What BERT is pretrained on


def test_a_next_sentence_label_other_than_zero_and_one_is_refused() -> None:
    with pytest.raises(InputError, match="target holds 2, but a label must lie from 0 to 1"):
        next_sentence_loss(torch.zeros(2, 2), torch.tensor([0, 2]))


def test_the_reference_takes_no_notice_of_torch() -> None:
    assert isinstance(reference.losses.token_cross_entropy(np.zeros((1, 2)), np.array([0])), np.ndarray)
