"""The optimizer: what the laws of AdamW and of clipping don't say."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from minitransformer.errors import InputError
from minitransformer.laws.cases import numbers
from minitransformer.laws.optimizer import GradientsCase, StepsCase, gradients_cases, steps_cases
from minitransformer.laws.tolerances import ROUNDING, SUM, assert_close, assert_same
from minitransformer.laws.training_functions import adamw
from minitransformer.optimizer import AdamW, clip_global_norm, global_norm

with_both_kernels = pytest.mark.usefixtures("kernels_in_use")


@with_both_kernels
@pytest.mark.equation("adamw")
@given(case=steps_cases())
def test_adamw_agrees_with_torch(case: StepsCase) -> None:
    """Some steps of AdamW agree with `torch.optim.AdamW`."""
    settings = case.lr, case.betas, case.eps, case.weight_decay
    theirs = adamw(case.start, case.gradients, *settings, build=torch.optim.AdamW)
    assert_close(adamw(case.start, case.gradients, *settings), theirs, SUM, case.memory)


@with_both_kernels
@pytest.mark.equation("adamw")
def test_each_group_and_each_parameter_counts_for_itself() -> None:
    """A parameter without a gradient stays and is not counted; groups keep their own settings."""
    early, late, other = (torch.nn.Parameter(torch.ones(2)) for _ in range(3))
    optimizer = AdamW([{"params": [early, late]}, {"params": [other], "lr": 0.0}], lr=0.5, eps=0.0, weight_decay=0.0)
    early.grad = other.grad = torch.ones(2)
    optimizer.step()
    late.grad = torch.ones(2)
    optimizer.step()
    assert_close(early, torch.zeros(2), SUM)
    assert_close(late, torch.full((2,), 0.5), SUM, what="a parameter at its first step")
    assert other.tolist() == [1.0, 1.0]
    assert [optimizer.state[parameter]["step"] for parameter in (early, late, other)] == [2, 1, 2]


def test_a_closure_is_run_with_gradients() -> None:
    parameter = torch.nn.Parameter(torch.ones(1))
    optimizer = AdamW([parameter], lr=0.5)

    def closure() -> float:
        loss = parameter.square().sum()
        loss.backward()
        return loss.item()

    assert optimizer.step(closure) == 1.0
    assert parameter.item() < 1.0


@with_both_kernels
def test_an_optimizer_goes_on_from_its_state() -> None:
    """A run that is interrupted, saved and loaded gives the same parameters, bit for bit."""
    gradients = numbers(1, "gradients", 4, 3)
    whole, halved = (torch.nn.Parameter(torch.ones(3, dtype=torch.float64)) for _ in range(2))
    optimizers = [AdamW([whole]), AdamW([halved])]
    for step, gradient in enumerate(gradients):
        if step == 2:
            resumed = AdamW([halved])
            resumed.load_state_dict(optimizers[1].state_dict())
            optimizers[1] = resumed
        for parameter, optimizer in zip((whole, halved), optimizers, strict=True):
            parameter.grad = gradient.clone()
            optimizer.step()
    assert_same(halved, whole)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"lr": -1.0}, "lr=-1.0, eps=1e-08 and weight_decay=0.01 must not be negative"),
        ({"weight_decay": -0.1}, "weight_decay=-0.1 must not be negative"),
        ({"betas": (0.9, 1.0)}, r"betas=\(0.9, 1.0\) must lie in \[0, 1\); \(0.9, 0.999\) is usual"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        AdamW([torch.nn.Parameter(torch.ones(1))], **settings)


# Clipping


@with_both_kernels
@pytest.mark.equation("global-norm", "clip-global-norm")
@given(case=gradients_cases())
def test_clipping_agrees_with_torch(case: GradientsCase) -> None:
    """Norm and clipping agree with PyTorch's own, which adds 10⁻⁶ to the norm."""
    parameters = [torch.nn.Parameter(torch.zeros_like(gradient)) for gradient in case.gradients]
    for parameter, gradient in zip(parameters, case.gradients, strict=True):
        parameter.grad = gradient.clone()
    norm, bound = case.norm, case.max_norm
    assert_close(torch.nn.utils.clip_grad_norm_(parameters, bound), global_norm(case.gradients), SUM, norm)
    theirs_is_shorter = (norm + 1e-6) / norm if norm >= bound else 1.0
    for ours, parameter in zip(clip_global_norm(case.gradients, bound), parameters, strict=True):
        if norm >= bound or norm + 1e-6 <= bound:
            assert_close(ours, parameter.grad * theirs_is_shorter, SUM, bound)


@with_both_kernels
@pytest.mark.equation("clip-global-norm")
@given(case=gradients_cases(), room=st.floats(1.01, 1e3))
def test_gradients_that_are_short_enough_stay_bit_for_bit(case: GradientsCase, room: float) -> None:
    """Our clipping leaves gradients shorter than the bound without a rounding, whatever the bound.

    Kills: the bound divided by a tensor that equals it, which is 1 but for a rounding.
    """
    for gradient, kept in zip(case.gradients, clip_global_norm(case.gradients, room * case.norm + 1e-6), strict=True):
        assert_same(kept, gradient, what="a gradient that is short enough")


@with_both_kernels
@pytest.mark.equation("clip-global-norm")
def test_clipping_leaves_the_gradients_that_it_was_given() -> None:
    """Clipping gives new gradients and changes none."""
    gradient = torch.tensor([3.0, 4.0])
    (clipped,) = clip_global_norm([gradient], 1.0)
    assert gradient.tolist() == [3.0, 4.0]
    assert_close(clipped, torch.tensor([0.6, 0.8]), ROUNDING)


@pytest.mark.parametrize("bound", [0.0, -1.0, math.nan])
def test_a_bound_that_is_not_positive_is_refused(bound: float) -> None:
    with pytest.raises(InputError, match=f"max_norm={bound} must be positive; leave clipping out to allow any norm"):
        clip_global_norm([torch.ones(1)], bound)
