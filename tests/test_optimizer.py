"""The optimizer: laws of AdamW, and what the laws of schedules and clipping don't say."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pytest
import torch
import transformers
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from minitransformer import reference
from minitransformer.errors import InputError
from minitransformer.laws.cases import distinct_sizes, dtypes, numbers, seeds
from minitransformer.laws.optimizer import GradientsCase, gradients_cases
from minitransformer.laws.tolerances import LAYER, ROUNDING, SUM, as_array, assert_close, assert_same
from minitransformer.optimizer import (
    AdamW,
    clip_global_norm,
    cosine_warmup,
    global_norm,
    inverse_square_root_warmup,
    linear_warmup,
)

with_both_kernels = pytest.mark.usefixtures("kernels_in_use")


@dataclass(frozen=True)
class TrainingCase:
    """Two parameters, their gradients at each step, and the settings of the optimizer."""

    width: int
    height: int
    n_steps: int
    lr: float
    betas: tuple[float, float]
    eps: float
    weight_decay: float
    dtype: torch.dtype
    seed: int

    @cached_property
    def start(self) -> list[Tensor]:
        """The parameters before the first step."""
        shapes = ((self.height, self.width), (self.width,))
        return [numbers(self.seed, f"start {len(shape)}", *shape, dtype=self.dtype) for shape in shapes]

    def gradients(self, step: int) -> list[Tensor]:
        """The gradients at one step."""
        return [
            numbers(self.seed, f"gradient {step} {index}", *parameter.shape, dtype=self.dtype)
            for index, parameter in enumerate(self.start)
        ]

    @property
    def settings(self) -> dict[str, object]:
        """The settings under their public names."""
        return {"lr": self.lr, "betas": self.betas, "eps": self.eps, "weight_decay": self.weight_decay}


@st.composite
def training_cases(draw: st.DrawFn, **fixed: object) -> TrainingCase:
    """Training runs of a few steps."""
    width, height, n_steps = draw(distinct_sizes(3, may_be_one=(0, 1, 2)))
    drawn = {
        "lr": draw(st.sampled_from([1e-3, 0.1])),
        "betas": draw(st.sampled_from([(0.9, 0.999), (0.0, 0.5), (0.5, 0.0)])),
        "eps": draw(st.sampled_from([1e-8, 1e-2])),
        "weight_decay": draw(st.sampled_from([0.0, 0.01, 0.5])),
    }
    return TrainingCase(
        width=width, height=height, n_steps=n_steps, dtype=draw(dtypes), seed=draw(seeds), **(drawn | fixed)
    )


Optimizer = Callable[..., torch.optim.Optimizer]
Gradients = Callable[[int], Sequence[Tensor]]


def train(optimizer_class: Optimizer, case: TrainingCase, gradients: Gradients, **settings: object) -> list[Tensor]:
    """The parameters after all steps."""
    parameters = [torch.nn.Parameter(start.clone()) for start in case.start]
    optimizer = optimizer_class(parameters, **(case.settings | settings))
    for step in range(1, case.n_steps + 1):
        for parameter, gradient in zip(parameters, gradients(step), strict=True):
            parameter.grad = gradient.clone()
        optimizer.step()
    return [parameter.detach() for parameter in parameters]


def constant_gradients_move_by_the_rate(optimizer_class: Optimizer, case: TrainingCase) -> None:
    signs = [torch.where(gradient < 0, -1.0, 1.0).to(case.dtype) for gradient in case.gradients(1)]
    for size in (1e-3, 1e3):
        after = train(optimizer_class, case, lambda step, size=size: [size * sign for sign in signs])
        for start, sign, parameter in zip(case.start, signs, after, strict=True):
            expected = start - case.n_steps * case.lr * sign
            assert_close(parameter, expected, LAYER, 1 + float(start.abs().max()) + case.n_steps, what="a parameter")


@with_both_kernels
@pytest.mark.equation("adamw")
@given(case=training_cases(eps=0.0, weight_decay=0.0))
def test_constant_gradients_move_by_the_rate(case: TrainingCase) -> None:
    """A constant gradient of any size moves each entry by exactly the rate at every step, the first one included.

    Kills: no bias correction, of either mean; the correction with t − 1; the gradient itself as the step.
    """
    constant_gradients_move_by_the_rate(AdamW, case)


def decay_is_decoupled(optimizer_class: Optimizer, case: TrainingCase) -> None:
    zeros = [torch.zeros_like(start) for start in case.start]
    after = train(optimizer_class, case, lambda step: zeros)
    shrunk = (1 - case.lr * case.weight_decay) ** case.n_steps
    for start, parameter in zip(case.start, after, strict=True):
        assert_close(parameter, start * shrunk, SUM, 4 * case.n_steps, what="a parameter that only decays")


@with_both_kernels
@pytest.mark.equation("adamw")
@given(case=training_cases(weight_decay=0.5))
def test_decay_is_decoupled(case: TrainingCase) -> None:
    """Without gradients, each step multiplies the parameters by 1 − lr · λ and does nothing else.

    Kills: L2 decay in the gradient, which the second mean divides away; decay without lr.
    """
    decay_is_decoupled(AdamW, case)


def decay_and_step_add_up(optimizer_class: Optimizer, case: TrainingCase) -> None:
    once = TrainingCase(**{**case.__dict__, "n_steps": 1})
    with_decay = train(optimizer_class, once, case.gradients)
    without = train(optimizer_class, once, case.gradients, weight_decay=0.0)
    for start, decayed, plain in zip(case.start, with_decay, without, strict=True):
        expected = plain - case.lr * case.weight_decay * start
        assert_close(decayed, expected, SUM, 4, what="a step with decay")


@with_both_kernels
@pytest.mark.equation("adamw")
@given(case=training_cases())
def test_decay_and_step_add_up(case: TrainingCase) -> None:
    """A step with decay is the step without it, minus lr · λ times the parameter as it was.

    Kills: L2 decay in the gradient; decay of the parameter after the step.
    """
    decay_and_step_add_up(AdamW, case)


def the_sizes_of_gradients_do_not_matter(optimizer_class: Optimizer, case: TrainingCase) -> None:
    expected = train(optimizer_class, case, case.gradients)
    stretched = train(optimizer_class, case, lambda step: [64 * gradient for gradient in case.gradients(step)])
    for parameter, other in zip(expected, stretched, strict=True):
        assert_close(other, parameter, LAYER, 4 * case.n_steps, what="a parameter under stretched gradients")


@with_both_kernels
@pytest.mark.equation("adamw")
@given(case=training_cases(eps=0.0))
def test_the_sizes_of_gradients_do_not_matter(case: TrainingCase) -> None:
    """Multiplying all gradients by a number changes nothing when eps is 0.

    Kills: L2 decay in the gradient; no root of the second mean; plain gradient descent.
    """
    the_sizes_of_gradients_do_not_matter(AdamW, case)


@with_both_kernels
@pytest.mark.equation("adamw")
@given(case=training_cases())
def test_adamw_agrees_with_the_reference_and_with_torch(case: TrainingCase) -> None:
    """Some steps of AdamW agree with the reference and with `torch.optim.AdamW`."""
    ours = train(AdamW, case, case.gradients)
    theirs = train(torch.optim.AdamW, case, case.gradients)
    for index, start in enumerate(case.start):
        parameter = as_array(start)
        first, second = np.zeros_like(parameter), np.zeros_like(parameter)
        for step in range(1, case.n_steps + 1):
            parameter, first, second = reference.optimizer.adamw_update(
                parameter, as_array(case.gradients(step)[index]), first, second, step, **case.settings
            )
        scale = 4 * case.n_steps / (1 - max(case.betas))
        assert_close(ours[index], parameter, SUM, scale)
        assert_close(ours[index], theirs[index], SUM, scale)


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


# Schedules

SCHEDULES = {"linear": linear_warmup, "cosine": cosine_warmup}
Schedule = Callable[[int, int, int], float]


@pytest.mark.equation("linear-warmup", "cosine-warmup", "inverse-square-root-warmup")
@given(warmup=st.integers(1, 40), more=st.integers(1, 40))
def test_schedules_agree_with_those_of_transformers(warmup: int, more: int) -> None:
    """The schedules agree with those of `transformers`."""
    total = warmup + more
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=1.0)
    theirs = {
        linear_warmup: transformers.get_linear_schedule_with_warmup(optimizer, warmup, total),
        cosine_warmup: transformers.get_cosine_schedule_with_warmup(optimizer, warmup, total),
    }
    inverse = transformers.get_inverse_sqrt_schedule(optimizer, warmup).lr_lambdas[0]
    for step in range(total + 1):
        for ours, scheduler in theirs.items():
            assert ours(step, warmup, total) == pytest.approx(scheduler.lr_lambdas[0](step))
        assert inverse_square_root_warmup(step, warmup) == pytest.approx(inverse(step))


@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
def test_a_warm_up_longer_than_the_training_is_refused(schedule: Schedule) -> None:
    with pytest.raises(InputError, match="warmup_steps=5 must lie from 0 to total_steps=3"):
        schedule(1, 5, 3)
    with pytest.raises(InputError, match="warmup_steps=-1 must lie from 0 to total_steps=3"):
        schedule(1, -1, 3)
    with pytest.raises(InputError, match="warmup_steps=0 must be at least 1: the rate falls from its end on"):
        inverse_square_root_warmup(1, 0)


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
