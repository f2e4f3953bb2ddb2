"""Laws of AdamW and of clipping.

An optimizer remembers and moves its parameters; asked for all its steps at once, it is a function of what it is given.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor

from minitransformer import reference
from minitransformer.laws.cases import Draw, distinct_sizes, dtypes, numbers, seeds
from minitransformer.laws.law import law
from minitransformer.laws.tolerances import LAYER, ROUNDING, SUM, as_array, assert_close

Function = Callable[..., Any]


@dataclass(frozen=True)
class StepsCase:
    """A parameter, its gradient at each step, and the settings of the optimizer."""

    height: int
    width: int
    n_steps: int
    lr: float
    betas: tuple[float, float]
    eps: float
    weight_decay: float
    dtype: torch.dtype
    seed: int

    @cached_property
    def start(self) -> Tensor:
        """The parameter before the first step."""
        return numbers(self.seed, "start", self.height, self.width, dtype=self.dtype)

    @cached_property
    def gradients(self) -> list[Tensor]:
        """The gradient of each step."""
        return [
            numbers(self.seed, f"gradient {step}", *self.start.shape, dtype=self.dtype) for step in range(self.n_steps)
        ]

    @cached_property
    def signs(self) -> Tensor:
        """Where the first gradient points: 1 or −1 for each entry."""
        return torch.where(self.gradients[0] < 0, -1.0, 1.0).to(self.dtype)

    @property
    def size(self) -> float:
        """The largest number that a step meets: an entry of the parameter, or how far it moves."""
        return 1 + float(self.start.abs().max()) + self.n_steps

    @property
    def memory(self) -> float:
        """How many gradients the longer of the two means runs over: its rounding is that of a long sum."""
        return 4 * self.n_steps / (1 - max(self.betas))


@st.composite
def steps_cases(draw: Draw, /, **fixed: Any) -> StepsCase:
    """Some steps of the optimizer, down to a single one of a single entry."""
    height, width, n_steps = draw(distinct_sizes(3, may_be_one=(0, 1, 2)))
    drawn = {
        "n_steps": n_steps,
        "lr": draw(st.sampled_from([1e-3, 0.1])),
        "betas": draw(st.sampled_from([(0.9, 0.999), (0.0, 0.5), (0.5, 0.0)])),
        "eps": draw(st.sampled_from([1e-8, 1e-2])),
        "weight_decay": draw(st.sampled_from([0.0, 0.01, 0.5])),
        "dtype": draw(dtypes),
        "seed": draw(seeds),
    }
    return StepsCase(height, width, **(drawn | fixed))


@dataclass(frozen=True)
class GradientsCase:
    """The gradients of two parameters, their size, and the norm that is allowed."""

    width: int
    height: int
    size: float
    max_norm: float
    dtype: torch.dtype
    seed: int

    @cached_property
    def gradients(self) -> list[Tensor]:
        """A matrix and a vector; at size 0 all entries are 0."""
        shapes = ((self.height, self.width), (self.width,))
        return [self.size * numbers(self.seed, f"{len(shape)}", *shape, dtype=self.dtype) for shape in shapes]

    @cached_property
    def norm(self) -> float:
        """The length of both together."""
        return norm_of(self.gradients)


@st.composite
def gradients_cases(draw: Draw, sizes: tuple[float, ...] = (0.0, 1e-4, 1.0, 1e4)) -> GradientsCase:
    """Gradients that may be nothing, tiny or huge, under bounds that may be far above or below."""
    width, height = draw(distinct_sizes(2, may_be_one=(0, 1)))
    size, max_norm = draw(st.sampled_from(sizes)), draw(st.sampled_from([1e-3, 1.0, 1e3]))
    return GradientsCase(width, height, size, max_norm, draw(dtypes), draw(seeds))


def norm_of(gradients: list[Tensor]) -> float:
    """The length of gradients taken as one vector."""
    return math.sqrt(sum(float(gradient.double().square().sum()) for gradient in gradients))


# AdamW


@law("adamw", given=steps_cases(eps=0.0, weight_decay=0.0))
def a_constant_gradient_moves_by_the_rate(adamw: Function, case: StepsCase) -> None:
    """A constant gradient of any size moves each entry by exactly the rate at every step, the first one included.

    Kills: no bias correction, of either mean; the correction with t − 1; the gradient itself as the step.
    Hint: Both means start at 0. After the first step, what share of the gradient does each of them hold?
    """
    for size in (1e-3, 1e3):
        after = adamw(case.start, case.n_steps * [size * case.signs], case.lr, case.betas, case.eps, case.weight_decay)
        expected = case.start - case.n_steps * case.lr * case.signs
        assert_close(after, expected, LAYER, case.size, what=f"the parameter under gradients of size {size:g}")


@law("adamw", given=steps_cases(weight_decay=0.5))
def decay_is_decoupled_from_the_gradient(adamw: Function, case: StepsCase) -> None:
    """Without gradients, each step multiplies the parameter by 1 − lr · λ and does nothing else.

    Kills: L2 decay in the gradient, which the second mean divides away; decay without the rate; no decay.
    Hint: With a gradient of 0, how far does the decay alone move a parameter of 1? And one of 100?
    """
    still = torch.zeros_like(case.start)
    after = adamw(case.start, case.n_steps * [still], case.lr, case.betas, case.eps, case.weight_decay)
    shrunk = (1 - case.lr * case.weight_decay) ** case.n_steps
    assert_close(after, case.start * shrunk, SUM, 4 * case.n_steps, what="a parameter that only decays")


@law("adamw", given=steps_cases(n_steps=1))
def decay_and_step_add_up(adamw: Function, case: StepsCase) -> None:
    """A step with decay is the step without it, minus lr · λ times the parameter as it was.

    Kills: L2 decay in the gradient; decay of the parameter after the step; decay that is multiplied in twice.
    Hint: Which parameter decays: the one from before the step, or the one that has just been moved?
    """
    with_decay = adamw(case.start, case.gradients, case.lr, case.betas, case.eps, case.weight_decay)
    without = adamw(case.start, case.gradients, case.lr, case.betas, case.eps, 0.0)
    expected = without - case.lr * case.weight_decay * case.start
    assert_close(with_decay, expected, SUM, 4, what="a step with decay")


@law("adamw", given=steps_cases(eps=0.0))
def the_size_of_the_gradients_does_not_matter(adamw: Function, case: StepsCase) -> None:
    """Multiplying all gradients by a number changes nothing when eps is 0.

    Kills: L2 decay in the gradient; no root of the second mean; plain gradient descent.
    Hint: Double every gradient. What happens to the first mean, to the second one, and to the step?
    """
    settings = case.lr, case.betas, case.eps, case.weight_decay
    expected = adamw(case.start, case.gradients, *settings)
    stretched = adamw(case.start, [64 * gradient for gradient in case.gradients], *settings)
    assert_close(stretched, expected, LAYER, 4 * case.n_steps, what="the parameter under gradients 64 times as large")


@law("adamw", given=steps_cases(n_steps=1, weight_decay=0.0, eps=1e-2))
def eps_is_added_to_the_root(adamw: Function, case: StepsCase) -> None:
    """The first step moves by lr · g / (|g| + eps): eps stands beside the size of the gradient, outside the root.

    Kills: eps inside the root; eps beside the mean before its correction; no eps at all.
    Hint: Let the gradient be as small as eps. After the first step, is it the root that you add eps to, or the square?
    """
    gradient = case.eps * case.gradients[0]
    after = adamw(case.start, [gradient], case.lr, case.betas, case.eps, case.weight_decay)
    expected = case.start - case.lr * gradient / (gradient.abs() + case.eps)
    assert_close(after, expected, LAYER, case.size, what="the parameter after a step by a gradient as small as eps")


@law("adamw", given=steps_cases(n_steps=2, betas=(0.5, 0.9), eps=0.0, weight_decay=0.0))
def each_mean_forgets_at_its_own_rate(adamw: Function, case: StepsCase) -> None:
    """After one gradient and then none, the second step is β₁/(1 + β₁) of the rate, over the root of β₂/(1 + β₂).

    Kills: swapped betas; means that are not kept between steps; the largest second mean for the last (AMSGrad).
    Hint: After a gradient g and then 0, what do the two means hold? Which beta fades which of them?
    """
    beta_1, beta_2 = case.betas
    gradients = [case.gradients[0], torch.zeros_like(case.start)]
    after = adamw(case.start, gradients, case.lr, case.betas, case.eps, case.weight_decay)
    second_step = beta_1 / (1 + beta_1) / math.sqrt(beta_2 / (1 + beta_2))
    expected = case.start - case.lr * (1 + second_step) * case.signs
    assert_close(after, expected, LAYER, case.size, what="the parameter after a gradient and then none")


@law("adamw", given=steps_cases())
def each_entry_moves_by_itself(adamw: Function, case: StepsCase) -> None:
    """A row of the parameter moves as it would alone, whatever gradients the others have.

    Kills: one second mean for the whole parameter; a gradient that is divided by its norm.
    Hint: Make the gradients of one row a hundred times as large. May any other row move differently?
    """
    settings = case.lr, case.betas, case.eps, case.weight_decay
    whole = adamw(case.start, case.gradients, *settings)
    alone = adamw(case.start[:1], [gradient[:1] for gradient in case.gradients], *settings)
    assert_close(whole[:1], alone, SUM, case.memory, what="the first row")


@law("adamw", given=steps_cases())
def the_steps_agree_with_the_reference(adamw: Function, case: StepsCase) -> None:
    """Some steps agree with those of the reference, one after another.

    Kills: a step that is counted from 0; a mean with the wrong share of the new gradient; all that the others overlook.
    Hint: Take one entry and two steps, and write down m, v and the parameter after each. Which differs first?
    """
    parameter = as_array(case.start)
    first, second = 0.0 * parameter, 0.0 * parameter
    settings = case.lr, case.betas, case.eps, case.weight_decay
    for step, gradient in enumerate(case.gradients, start=1):
        parameter, first, second = reference.optimizer.adamw_update(
            parameter, as_array(gradient), first, second, step, *settings
        )
    after = adamw(case.start, case.gradients, *settings)
    assert_close(after, parameter, SUM, case.memory, what="the parameter after all steps")


# The norm of all gradients


@law("global-norm", given=gradients_cases())
def the_norm_is_that_of_one_long_vector(global_norm: Function, case: GradientsCase) -> None:
    """The norm is the same however the entries are shared out among parameters.

    Kills: the sum, or the largest, of the single norms; no root.
    Hint: Two gradients, [3] and [4], are the vector [3, 4]. How long is it, and what do you do with two lengths?
    """
    joined = torch.cat([gradient.flatten() for gradient in case.gradients])
    assert_close(global_norm([joined]), case.norm, SUM, case.norm, what="the norm of one long vector")
    assert_close(global_norm(case.gradients), case.norm, SUM, case.norm, what="the norm of all gradients")


@law("global-norm", given=gradients_cases())
def the_norm_grows_in_proportion(global_norm: Function, case: GradientsCase) -> None:
    """Gradients times −3 have three times the norm.

    Kills: no root; the sum of the entries, whose signs cancel; a constant added for safety.
    Hint: Multiply every gradient by 10. By what does your norm grow: 10, 100, or something in between?
    """
    expected = 3 * global_norm(case.gradients)
    stretched = global_norm([-3 * gradient for gradient in case.gradients])
    assert_close(stretched, expected, SUM, float(expected), what="the norm of gradients times −3")


@law("global-norm", given=gradients_cases())
def parameters_without_a_slope_add_nothing(global_norm: Function, case: GradientsCase) -> None:
    """A parameter whose gradient is 0 everywhere leaves the norm as it was; zeros alone have norm 0.

    Kills: the mean over entries or parameters; a constant added for safety.
    Hint: Add a long gradient of zeros. Does your norm know how many entries or parameters there are?
    """
    zeros = torch.zeros(case.height, dtype=case.dtype)
    assert_close(global_norm([zeros]), 0.0, SUM, 0.0, what="the norm of zeros")
    expected = global_norm(case.gradients)
    assert_close(
        global_norm([zeros, *case.gradients]), expected, SUM, float(expected), what="the norm with zeros beside it"
    )


@law("global-norm", given=gradients_cases())
def the_norm_agrees_with_the_reference(global_norm: Function, case: GradientsCase) -> None:
    """The norm agrees with the reference.

    Kills: absolute values for squares; the last or the first gradient only; all else that the other laws overlook.
    Hint: Take gradients of one entry each, so that you can do it in your head: [3] and [4] give 5.
    """
    expected = reference.optimizer.global_norm([as_array(gradient) for gradient in case.gradients])
    assert_close(global_norm(case.gradients), expected, SUM, expected, what="the norm")


# Clipping


@law("clip-global-norm", given=gradients_cases())
def clipped_gradients_are_not_longer_than_allowed(clip: Function, case: GradientsCase) -> None:
    """However long the gradients are, clipped they are no longer than the bound.

    Kills: clipping per parameter or per entry; one over the norm, without the bound; a bound for the squared norm.
    Hint: Clip [3] and [4] to a norm of 1, and measure both together. Is it 1?
    """
    clipped = norm_of(clip(case.gradients, case.max_norm))
    rounding = SUM * torch.finfo(case.dtype).eps
    assert clipped <= case.max_norm * (1 + rounding), (
        f"the clipped gradients have norm {clipped:.6g}, but {case.max_norm:g} is allowed"
    )


@law("clip-global-norm", given=gradients_cases(sizes=(1.0, 1e4)))
def long_gradients_are_shortened_by_one_common_factor(clip: Function, case: GradientsCase) -> None:
    """Gradients longer than the bound are shortened to it by one common factor, so that their direction stays.

    Kills: clipping per parameter or per entry; the share of the squared norm; 10⁻⁶ added to the norm.
    Hint: Divide each clipped entry by what it was. Is it the same number everywhere, in every parameter?
    """
    if case.norm < case.max_norm:
        return
    share = case.max_norm / case.norm
    for gradient, clipped in zip(case.gradients, clip(case.gradients, case.max_norm), strict=True):
        assert_close(clipped, share * gradient, SUM, case.max_norm, what="a clipped gradient")


@law("clip-global-norm", given=gradients_cases())
def short_gradients_stay_as_they_are(clip: Function, case: GradientsCase) -> None:
    """Gradients that are no longer than the bound stay as they are.

    Kills: stretching of short gradients; 0/0 where all gradients are 0; a factor that always shortens.
    Hint: Your factor is the bound over the norm. What is it when the norm is half the bound, and what should it be?
    """
    if case.norm > case.max_norm * (1 - SUM * torch.finfo(case.dtype).eps):
        return
    for gradient, kept in zip(case.gradients, clip(case.gradients, case.max_norm), strict=True):
        assert_close(kept, gradient, ROUNDING, case.max_norm, what="a gradient that is short enough")


@law("clip-global-norm", given=gradients_cases())
def clipping_again_changes_nothing(clip: Function, case: GradientsCase) -> None:
    """What is clipped to a bound is short enough for it: clipping it again changes nothing.

    Kills: max_norm / (‖g‖ + max_norm), which shortens what is short enough; the root of the share.
    Hint: After the first time the norm is the bound. Which factor do you compute then?
    """
    once = clip(case.gradients, case.max_norm)
    for before, after in zip(once, clip(once, case.max_norm), strict=True):
        assert_close(after, before, SUM, case.max_norm, what="a gradient that is clipped again")


@law("clip-global-norm", given=gradients_cases())
def the_clipped_gradients_agree_with_the_reference(clip: Function, case: GradientsCase) -> None:
    """The clipped gradients agree with the reference.

    Kills: the gradients of another parameter; the factor of one parameter for all; a bound that is ignored.
    Hint: Print the norm and the factor, before you look at the gradients. Which of them is the first that differs?
    """
    arrays = [as_array(gradient) for gradient in case.gradients]
    expected = reference.optimizer.clip_global_norm(arrays, case.max_norm)
    for clipped, by_hand in zip(clip(case.gradients, case.max_norm), expected, strict=True):
        assert_close(clipped, by_hand, SUM, case.max_norm, what="a clipped gradient")
