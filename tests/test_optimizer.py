"""Laws of the optimizer: AdamW, its schedules, and clipping."""

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

warmups = st.integers(0, 40)
SCHEDULES = {"linear": linear_warmup, "cosine": cosine_warmup}
Schedule = Callable[[int, int, int], float]


def a_schedule_rises_in_a_line_and_falls_to_zero(schedule: Schedule, warmup: int, more: int) -> None:
    total = warmup + more
    rates = [schedule(step, warmup, total) for step in range(total + 3)]
    for step in range(warmup):
        assert rates[step] == step / warmup, f"the rate at step {step} of the warm-up should be on the line"
    assert all(before >= after for before, after in zip(rates[warmup:], rates[warmup + 1 :], strict=False))
    assert rates[total:] == [0.0, 0.0, 0.0], "the rate should be 0 from the last step on"
    if more:
        assert rates[warmup] == max(rates) == 1.0, "the rate should be whole right after the warm-up"


@pytest.mark.equation("linear-warmup", "cosine-warmup")
@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
@given(warmup=warmups, more=warmups)
def test_a_schedule_rises_in_a_line_and_falls_to_zero(schedule: Schedule, warmup: int, more: int) -> None:
    """The rate starts at 0, rises in a line to its peak at the end of the warm-up, and falls to 0 at the last step.

    Kills: the full rate at the first step; a warm-up off by one; a decay that counts from step 0.
    """
    a_schedule_rises_in_a_line_and_falls_to_zero(schedule, warmup, more)


def half_way_down_is_half_the_rate(schedule: Schedule, warmup: int, half: int, straight: bool) -> None:
    total = warmup + 2 * half
    for step in range(half + 1):
        sum_of_two = schedule(warmup + step, warmup, total) + schedule(total - step, warmup, total)
        assert sum_of_two == pytest.approx(1.0), "the way down should be symmetric about its middle"
    quarter = schedule(warmup + half, warmup, warmup + 4 * half)
    expected = 0.75 if straight else (2 + math.sqrt(2)) / 4
    assert quarter == pytest.approx(expected), "a quarter of the way down"


@pytest.mark.equation("linear-warmup", "cosine-warmup")
@pytest.mark.parametrize("name", ["linear", "cosine"])
@given(warmup=warmups, half=st.integers(1, 20))
def test_half_way_down_is_half_the_rate(name: str, warmup: int, half: int) -> None:
    """The way down is symmetric about its middle; a quarter down stands 3/4, or (2 + √2)/4 on the cosine.

    Kills: a quarter of a cosine for half of one; the line for the cosine.
    """
    half_way_down_is_half_the_rate(SCHEDULES[name], warmup, half, straight=name == "linear")


def four_times_the_steps_halve_the_rate(schedule: Callable[[int, int], float], warmup: int, step: int) -> None:
    assert schedule(0, warmup) == 0.0
    assert schedule(warmup, warmup) == 1.0, "the rate should be whole at the end of the warm-up"
    if step <= warmup:
        assert schedule(step, warmup) == step / warmup
    after = warmup + step
    assert schedule(4 * after, warmup) == pytest.approx(schedule(after, warmup) / 2)


@pytest.mark.equation("inverse-square-root-warmup")
@given(warmup=st.integers(1, 40), step=st.integers(0, 200))
def test_four_times_the_steps_halve_the_rate(warmup: int, step: int) -> None:
    """After a straight warm-up, four times as many steps halve the rate.

    Kills: one over the step; the root counted from the end of the warm-up.
    """
    four_times_the_steps_halve_the_rate(inverse_square_root_warmup, warmup, step)


@pytest.mark.equation("linear-warmup", "cosine-warmup", "inverse-square-root-warmup")
@given(warmup=st.integers(1, 40), more=st.integers(1, 40))
def test_schedules_agree_with_the_reference_and_with_transformers(warmup: int, more: int) -> None:
    """The schedules agree with the reference and with those of `transformers`."""
    total = warmup + more
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=1.0)
    theirs = {
        linear_warmup: transformers.get_linear_schedule_with_warmup(optimizer, warmup, total),
        cosine_warmup: transformers.get_cosine_schedule_with_warmup(optimizer, warmup, total),
    }
    inverse = transformers.get_inverse_sqrt_schedule(optimizer, warmup).lr_lambdas[0]
    for step in range(total + 1):
        for ours, scheduler in theirs.items():
            rate = ours(step, warmup, total)
            assert rate == pytest.approx(getattr(reference.optimizer, ours.__name__)(step, warmup, total))
            assert rate == pytest.approx(scheduler.lr_lambdas[0](step))
        rate = inverse_square_root_warmup(step, warmup)
        assert rate == pytest.approx(reference.optimizer.inverse_square_root_warmup(step, warmup))
        assert rate == pytest.approx(inverse(step))


@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
def test_a_warm_up_longer_than_the_training_is_refused(schedule: Schedule) -> None:
    with pytest.raises(InputError, match="warmup_steps=5 must lie from 0 to total_steps=3"):
        schedule(1, 5, 3)
    with pytest.raises(InputError, match="warmup_steps=-1 must lie from 0 to total_steps=3"):
        schedule(1, -1, 3)
    with pytest.raises(InputError, match="warmup_steps=0 must be at least 1: the rate falls from its end on"):
        inverse_square_root_warmup(1, 0)


# Clipping


def gradients_of(case: TrainingCase, size: float) -> list[Tensor]:
    """Gradients of a certain size; a size of 0 makes them all zero."""
    return [size * gradient for gradient in case.gradients(1)]


sizes = st.sampled_from([0.0, 1e-4, 1.0, 1e4])
Norm = Callable[[Sequence[Tensor]], Tensor]
Clip = Callable[[Sequence[Tensor], float], list[Tensor]]


def the_norm_is_that_of_one_long_vector(global_norm: Norm, case: TrainingCase, size: float) -> None:
    gradients = gradients_of(case, size)
    joined = torch.cat([gradient.flatten() for gradient in gradients])
    expected = (joined @ joined).sqrt()
    assert_close(global_norm(gradients), expected, SUM, float(expected), what="the norm of all gradients")
    assert_close(global_norm([joined]), expected, SUM, float(expected), what="the norm of one long vector")
    if size:
        assert_close(global_norm(gradients_of(case, -3 * size)), 3 * expected, SUM, 3 * float(expected))


@with_both_kernels
@pytest.mark.equation("global-norm")
@given(case=training_cases(), size=sizes)
def test_the_norm_is_that_of_one_long_vector(case: TrainingCase, size: float) -> None:
    """The norm is the same however the entries are shared out among parameters, and grows in proportion.

    Kills: the sum, or the largest, of the single norms; no root.
    """
    the_norm_is_that_of_one_long_vector(global_norm, case, size)


def clipping_shortens_and_keeps_the_direction(clip: Clip, case: TrainingCase, size: float, bound: float) -> None:
    gradients = gradients_of(case, size)
    before = math.sqrt(sum(float(gradient.double().square().sum()) for gradient in gradients))
    clipped = clip(gradients, bound)
    length = math.sqrt(sum(float(gradient.double().square().sum()) for gradient in clipped))
    eps = torch.finfo(case.dtype).eps
    assert length <= bound * (1 + SUM * eps), "the clipped gradients should not be longer than allowed"
    if before <= bound * (1 - SUM * eps):
        for gradient, kept in zip(gradients, clipped, strict=True):
            assert_same(kept, gradient, what="a gradient that is short enough")
    elif before >= bound:
        share = bound / before
        for gradient, kept in zip(gradients, clipped, strict=True):
            assert_close(kept, share * gradient, SUM, bound, what="a clipped gradient")


@with_both_kernels
@pytest.mark.equation("clip-global-norm")
@given(case=training_cases(), size=sizes, bound=st.sampled_from([1e-3, 1.0, 1e3]))
def test_clipping_shortens_and_keeps_the_direction(case: TrainingCase, size: float, bound: float) -> None:
    """Gradients longer than the bound are shortened to it by one common factor; shorter ones stay, bit for bit.

    Kills: clipping per parameter or per entry; the share of the squared norm; stretching of short gradients.
    """
    clipping_shortens_and_keeps_the_direction(clip_global_norm, case, size, bound)


@with_both_kernels
@pytest.mark.equation("global-norm", "clip-global-norm")
@given(case=training_cases(), size=sizes, bound=st.sampled_from([1e-3, 1.0, 1e3]))
def test_clipping_agrees_with_the_reference_and_with_torch(case: TrainingCase, size: float, bound: float) -> None:
    """Norm and clipping agree with the reference, and with PyTorch's own, which adds 10⁻⁶ to the norm."""
    gradients = gradients_of(case, size)
    arrays = [as_array(gradient) for gradient in gradients]
    norm = reference.optimizer.global_norm(arrays)
    assert_close(global_norm(gradients), norm, SUM, norm)
    parameters = [torch.nn.Parameter(start.clone()) for start in case.start]
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = gradient.clone()
    assert_close(torch.nn.utils.clip_grad_norm_(parameters, bound), norm, SUM, norm)
    theirs_is_shorter = (norm + 1e-6) / norm if norm >= bound else 1.0
    clipped = zip(
        clip_global_norm(gradients, bound),
        reference.optimizer.clip_global_norm(arrays, bound),
        (parameter.grad for parameter in parameters),
        strict=True,
    )
    for ours, expected, theirs in clipped:
        assert_close(ours, expected, SUM, bound)
        if norm >= bound or norm + 1e-6 <= bound:
            assert_close(ours, theirs * theirs_is_shorter, SUM, bound)


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
