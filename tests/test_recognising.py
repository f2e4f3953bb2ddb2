"""Which classic mistake a wrong function looks like: the one that gives the same numbers, or none."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from minitransformer.laws import check
from minitransformer.laws.claims import CLAIMS, MAY_DRAW
from minitransformer.laws.guarding import Call
from minitransformer.laws.judging import BROKEN, HELD, NOT_JUDGED, judge_and_remember
from minitransformer.laws.law import laws_of
from minitransformer.laws.recognising import Function, explains, in_words, recognise, values_of
from minitransformer.laws.zoo import ZOO, Mutant
from minitransformer.losses import IGNORED

FEW = 20
EVERY = 46
SAMPLE = [mutant for mutant in ZOO if mutant.claim not in MAY_DRAW][::EVERY]
MicroBatches = Sequence[tuple[Tensor, Tensor]]
pytestmark = [pytest.mark.usefixtures("without_shape_checks"), pytest.mark.filterwarnings("ignore")]


def calls_of(function: Function, claim: str) -> dict[str, dict[str, Sequence[Call]]]:
    """For each verdict and each law, what a function was asked and answered."""
    calls: dict[str, dict[str, Sequence[Call]]] = {BROKEN: {}, HELD: {}, NOT_JUDGED: {}}
    for law in laws_of(claim):
        finding, remembered = judge_and_remember(law, function, FEW)
        calls[finding.verdict][law.name] = remembered
    return calls


@pytest.mark.parametrize("mutant", SAMPLE, ids=lambda mutant: mutant.name)
def test_a_mutant_is_taken_for_itself_or_for_one_that_gives_the_same_numbers(mutant: Mutant) -> None:
    calls = calls_of(mutant.function, mutant.claim)
    failures = calls[BROKEN]
    found = recognise(mutant.claim, mutant.function, failures, calls[HELD])
    answers = [values_of(mutant.function, call) for calls in failures.values() for call in calls]
    assert found or any(isinstance(answer, Exception) for answer in answers)
    assert mutant in found.values() or all(
        explains(other.function, CLAIMS[mutant.claim], mutant.function, failures[law]) for law, other in found.items()
    )


def softer_softmax(x: Tensor, axis: int = -1) -> Tensor:
    """The mistake of the zoo in other words."""
    return torch.softmax(x * torch.tensor(2.0, dtype=x.dtype).log(), axis)


def test_a_classic_mistake_in_other_words_is_recognised_and_not_given_away() -> None:
    report = check(softer_softmax, "softmax", max_examples=FEW)
    assert {failure.mutant for failure in report.failures if "bfloat16" not in failure.law} == {"powers_of_two"}
    number = next(number for number, mutant in enumerate(ZOO, start=1) if mutant.name == "powers_of_two")
    text = str(report)
    assert f"Looks like classic mistake {number}" in text
    assert f"minitransformer zoo show {number}" in text
    assert "powers_of_two" not in text, "the answer is left to the learner"


def numpy_softmax_in_powers_of_two(scores: np.ndarray, dim: int = -1) -> np.ndarray:
    """The same mistake in NumPy, with names of its own."""
    power = 2.0 ** (scores - scores.max(dim, keepdims=True))
    return power / power.sum(dim, keepdims=True)


def test_a_classic_mistake_is_recognised_in_numpy_and_under_other_names() -> None:
    report = check(numpy_softmax_in_powers_of_two, "softmax", max_examples=FEW)
    assert {failure.mutant for failure in report.failures} == {"powers_of_two"}


def test_a_mistake_in_the_gradient_alone_is_recognised() -> None:
    def detached(x: Tensor, axis: int = -1) -> Tensor:
        power = (x - x.amax(axis, keepdim=True)).exp()
        return power / power.sum(axis, keepdim=True).detach()

    report = check(detached, "softmax", max_examples=FEW)
    assert {failure.mutant for failure in report.failures} == {"sum_without_a_gradient"}


def mean_of_means(weight: Tensor, micro_batches: MicroBatches) -> Tensor:
    """The mistake of the zoo, with gradients as an optimizer finds them."""
    weight = weight.clone().requires_grad_()
    for inputs, labels in micro_batches:
        if (labels != IGNORED).any():
            F.cross_entropy(inputs @ weight.T, labels).backward()  # type: ignore[no-untyped-call]
    return torch.zeros_like(weight) if weight.grad is None else weight.grad / len(micro_batches)


@pytest.mark.parametrize("max_examples", [FEW, 100])
def test_of_two_mutants_that_explain_all_failures_the_one_that_agrees_elsewhere_is_named(max_examples: int) -> None:
    report = check(mean_of_means, "accumulation", max_examples=max_examples)
    assert report.failures
    assert {failure.mutant for failure in report.failures} == {"mean_of_micro_batch_means"}


def test_a_mistake_of_ones_own_is_taken_for_none() -> None:
    report = check(lambda x, axis=-1: torch.softmax(x, axis) + 0.01, "softmax", max_examples=FEW)
    assert report.failures
    assert {failure.mutant for failure in report.failures} == {""}
    assert all(failure.looks_like.startswith("Known mistakes of this kind: ") for failure in report.failures)


def test_what_raises_is_taken_for_no_mistake() -> None:
    report = check(lambda x, axis=-1: 1 / 0, "softmax", max_examples=FEW)
    assert report.failures
    assert {failure.mutant for failure in report.failures} == {""}


def test_what_may_draw_is_taken_for_no_mistake() -> None:
    assert recognise("masking", softer_softmax, {"any law": []}, {}) == {}


def test_what_is_told_of_a_mutant_does_not_name_it() -> None:
    assert all(mutant.name not in in_words(mutant) and mutant.answer not in in_words(mutant) for mutant in ZOO)
