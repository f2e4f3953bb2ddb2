"""Laws of dropout."""

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from minitransformer import reference
from minitransformer.dropout import Dropout, dropout
from minitransformer.errors import InputError
from minitransformer.laws.cases import VectorsCase, numbers, seeds, vectors_cases
from minitransformer.laws.tolerances import ROUNDING, as_array, assert_close, assert_same

pytestmark = pytest.mark.usefixtures("kernels_in_use")

Function = Callable[[Tensor, float], Tensor]
rates = st.sampled_from([0.1, 0.25, 0.5, 0.9])


def each_entry_is_dropped_or_scaled(dropout: Function, case: VectorsCase, rate: float) -> None:
    torch.manual_seed(case.seed)
    x = case.x + case.x.sign() + 0.5
    after = dropout(x, rate)
    kept = after != 0
    expected = reference.dropout.dropout(as_array(x), rate, kept.numpy())
    scale = float(x.abs().max()) / (1 - rate)
    assert_close(after, expected, ROUNDING, scale, what="what is left of an entry")


@pytest.mark.equation("dropout")
@given(case=vectors_cases(kinds=("ordinary",)), rate=rates)
def test_each_entry_is_dropped_or_scaled(case: VectorsCase, rate: float) -> None:
    """Each entry is either 0 or divided by 1 − rate, as in the reference with the same entries kept.

    Kills: no rescaling; division by the rate; noise that is added.
    """
    each_entry_is_dropped_or_scaled(dropout, case, rate)


def the_share_that_is_dropped_is_the_rate(dropout: Function, seed: int, rate: float) -> None:
    torch.manual_seed(seed)
    n_entries = 20_000
    dropped = (dropout(torch.ones(n_entries), rate) == 0).float().mean().item()
    deviation = math.sqrt(rate * (1 - rate) / n_entries)
    assert abs(dropped - rate) < 6 * deviation, f"a share of {rate} should be dropped, not {dropped}"


@pytest.mark.equation("dropout")
@given(seed=seeds, rate=rates)
def test_the_share_that_is_dropped_is_the_rate(seed: int, rate: float) -> None:
    """Of 20,000 entries a share of the rate is dropped, within six standard deviations.

    Kills: the rate taken for the share that is kept.
    """
    the_share_that_is_dropped_is_the_rate(dropout, seed, rate)


def entries_are_dropped_one_by_one(dropout: Function, seed: int) -> None:
    torch.manual_seed(seed)
    kept = dropout(torch.ones(30, 40, 50), 0.5) != 0
    for axis in range(3):
        assert kept.any(axis).all(), f"no whole row along axis {axis} should be dropped"
        assert not kept.all(axis).any(), f"no whole row along axis {axis} should be kept"


@pytest.mark.equation("dropout")
@given(seed=seeds)
def test_entries_are_dropped_one_by_one(seed: int) -> None:
    """No axis is dropped as a whole: every row and column keeps some entries and loses some.

    Kills: one draw for all positions; one draw for all columns.
    """
    entries_are_dropped_one_by_one(dropout, seed)


@pytest.mark.equation("dropout")
@given(case=vectors_cases(), rate=rates)
def test_the_seed_decides_the_draw(case: VectorsCase, rate: float) -> None:
    """The same seed drops the same entries, and the input is left alone.

    Kills: a generator of its own; dropout in place.
    """
    x = case.x.clone()
    draws = []
    for _ in range(2):
        torch.manual_seed(case.seed)
        draws.append(dropout(x, rate))
    assert_same(draws[1], draws[0])
    assert_same(x, case.x, what="the input")


@pytest.mark.equation("dropout")
@given(case=vectors_cases(), rate=rates)
def test_evaluation_forgets_nothing(case: VectorsCase, rate: float) -> None:
    """A rate of 0, and any rate in evaluation, pass everything on, bit for bit.

    Kills: dropout left on in evaluation; rescaling in evaluation.
    """
    assert_same(dropout(case.x, 0.0), case.x)
    assert_same(Dropout(rate).eval()(case.x), case.x)


@pytest.mark.equation("dropout")
@given(seed=seeds, rate=rates)
def test_gradients_pass_where_entries_were_kept(seed: int, rate: float) -> None:
    """The gradient is 1 / (1 − rate) where an entry was kept, and 0 elsewhere."""
    x = (numbers(seed, "x", 50).abs() + 1).requires_grad_()
    torch.manual_seed(seed)
    after = Dropout(rate)(x)
    (gradient,) = torch.autograd.grad(after.sum(), x)
    assert_close(gradient, (after != 0).double() / (1 - rate), ROUNDING, 1 / (1 - rate))


@pytest.mark.parametrize("rate", [-0.1, 1.0, math.nan])
def test_a_rate_outside_zero_and_one_is_refused(rate: float) -> None:
    with pytest.raises(InputError, match=f"rate={rate} must be at least 0 and below 1; 0.1 is usual"):
        Dropout(rate)


def test_the_rate_is_shown_when_printed() -> None:
    assert str(Dropout(0.25)) == "Dropout(rate=0.25)"
