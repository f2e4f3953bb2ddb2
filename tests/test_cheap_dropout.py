"""Dropout with 16 random bits for each entry: a coin as fair as PyTorch's own."""

import math

import pytest
import torch

from minitransformer import kernels
from minitransformer.dropout import dropout

N_ENTRIES = 2**20
FAR = 6.2
"""Standard deviations that a fair coin leaves in one of 10⁹ cases."""


@pytest.mark.equation("dropout")
@pytest.mark.parametrize("rate", [0.01, 0.1, 0.5, 0.9])
def test_the_share_that_is_dropped_is_the_rate_and_the_rest_is_rescaled(rate: float) -> None:
    """Kills: bytes in place of 16 bits, which would make 0.1016 of 0.1, and a scale that forgets the rounding."""
    torch.manual_seed(0)
    assert kernels.fused.draws_cheaply(torch.ones(1), rate)
    found = dropout(torch.ones(N_ENTRIES, dtype=torch.float64), rate)
    kept = found[found != 0]
    assert abs(N_ENTRIES - len(kept) - rate * N_ENTRIES) <= FAR * math.sqrt(N_ENTRIES * rate * (1 - rate))
    assert (kept == kept[0]).all()
    assert abs(kept[0].item() * (1 - rate) - 1) <= 1e-15


@pytest.mark.equation("dropout")
def test_two_draws_are_independent_and_a_seed_repeats_them() -> None:
    """Kills: one pool of bits that every step begins anew."""
    x = torch.ones(N_ENTRIES)
    torch.manual_seed(5)
    first, second = dropout(x, 0.5) != 0, dropout(x, 0.5) != 0
    torch.manual_seed(5)
    assert torch.equal(dropout(x, 0.5) != 0, first)
    assert torch.equal(dropout(x, 0.5) != 0, second)
    for other in (second, first.roll(1), first.roll(4), first.roll(64)):
        assert abs(int((first & other).sum()) - N_ENTRIES / 4) <= FAR * math.sqrt(N_ENTRIES * 3 / 16)


@pytest.mark.equation("dropout")
def test_what_is_dropped_learns_nothing_and_the_rest_by_its_scale() -> None:
    x = torch.randn(999, dtype=torch.float64, requires_grad=True)
    found = dropout(x, 0.25)
    found.sum().backward()
    assert x.grad is not None
    assert torch.equal(x.grad * x.detach(), found.detach())
