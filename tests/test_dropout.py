"""Dropout beyond the laws of its function: when it acts, and which rates it takes."""

import math

import pytest
import torch
from hypothesis import given

from minitransformer.dropout import Dropout, dropout
from minitransformer.errors import InputError
from minitransformer.laws.cases import VectorsCase, vectors_cases
from minitransformer.laws.tolerances import assert_same

pytestmark = pytest.mark.usefixtures("kernels_in_use")


@pytest.mark.equation("dropout")
@given(case=vectors_cases())
def test_evaluation_forgets_nothing(case: VectorsCase) -> None:
    """Any rate passes everything on in evaluation, bit for bit.

    Kills: dropout left on in evaluation; rescaling in evaluation.
    """
    assert_same(Dropout(0.5).eval()(case.x), case.x)


@given(case=vectors_cases())
def test_the_module_drops_as_the_function_does(case: VectorsCase) -> None:
    draws = []
    for drop in (Dropout(0.25), lambda x: dropout(x, 0.25)):
        torch.manual_seed(case.seed)
        draws.append(drop(case.x))
    assert_same(draws[0], draws[1])


@pytest.mark.parametrize("rate", [-0.1, 1.0, math.nan])
def test_a_rate_outside_zero_and_one_is_refused(rate: float) -> None:
    with pytest.raises(InputError, match=f"rate={rate} must be at least 0 and below 1; 0.1 is usual"):
        Dropout(rate)


def test_the_rate_is_shown_when_printed() -> None:
    assert str(Dropout(0.25)) == "Dropout(rate=0.25)"
