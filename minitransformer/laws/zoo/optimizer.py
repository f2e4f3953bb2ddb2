"""Mutants of AdamW, of the schedules of the rate, and of clipping."""

# ruff: noqa: ARG001 - an argument that is never used is a classic mistake

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from minitransformer.laws.zoo.mutant import mutant
from minitransformer.optimizer import cosine_warmup, global_norm, inverse_square_root_warmup, linear_warmup

Betas = tuple[float, float]

# AdamW


@mutant(
    "adamw",
    symptom="The first ten steps are too short, as if there were a warm-up; later nobody sees a difference.",
    difficulty="easy",
)
def first_mean_not_corrected(
    parameter: Tensor, gradients: Sequence[Tensor], lr: float, betas: Betas, eps: float, weight_decay: float
) -> Tensor:
    """The first mean is used as it is: nothing divides it by 1 − β₁ᵗ."""
    first = second = torch.zeros_like(parameter)
    for step, gradient in enumerate(gradients, start=1):
        parameter = parameter * (1 - lr * weight_decay)
        first = betas[0] * first + (1 - betas[0]) * gradient
        second = betas[1] * second + (1 - betas[1]) * gradient**2
        corrected = first, second / (1 - betas[1] ** step)
        parameter = parameter - lr * corrected[0] / (corrected[1].sqrt() + eps)
    return parameter


@mutant(
    "adamw",
    symptom="The first steps are some thirty times as long as the rate: the loss jumps up before it falls.",
    difficulty="easy",
)
def second_mean_not_corrected(
    parameter: Tensor, gradients: Sequence[Tensor], lr: float, betas: Betas, eps: float, weight_decay: float
) -> Tensor:
    """The second mean is used as it is: nothing divides it by 1 − β₂ᵗ."""
    first = second = torch.zeros_like(parameter)
    for step, gradient in enumerate(gradients, start=1):
        parameter = parameter * (1 - lr * weight_decay)
        first = betas[0] * first + (1 - betas[0]) * gradient
        second = betas[1] * second + (1 - betas[1]) * gradient**2
        corrected = first / (1 - betas[0] ** step), second
        parameter = parameter - lr * corrected[0] / (corrected[1].sqrt() + eps)
    return parameter


@mutant(
    "adamw",
    symptom="The first steps are a little shorter or longer than the rate; nobody sees it in a long training.",
    difficulty="medium",
)
def steps_counted_from_two(
    parameter: Tensor, gradients: Sequence[Tensor], lr: float, betas: Betas, eps: float, weight_decay: float
) -> Tensor:
    """The correction takes the first step for the second."""
    first = second = torch.zeros_like(parameter)
    for step, gradient in enumerate(gradients, start=2):
        parameter = parameter * (1 - lr * weight_decay)
        first = betas[0] * first + (1 - betas[0]) * gradient
        second = betas[1] * second + (1 - betas[1]) * gradient**2
        corrected = first / (1 - betas[0] ** step), second / (1 - betas[1] ** step)
        parameter = parameter - lr * corrected[0] / (corrected[1].sqrt() + eps)
    return parameter


@mutant(
    "adamw",
    symptom="Weights with large gradients hardly decay at all; the best decay depends on the learning rate.",
    difficulty="medium",
)
def decay_in_the_gradient(
    parameter: Tensor, gradients: Sequence[Tensor], lr: float, betas: Betas, eps: float, weight_decay: float
) -> Tensor:
    """The decay is added to the gradient, as L2 does, and goes through both means."""
    first = second = torch.zeros_like(parameter)
    for step, gradient in enumerate(gradients, start=1):
        with_decay = gradient + weight_decay * parameter
        first = betas[0] * first + (1 - betas[0]) * with_decay
        second = betas[1] * second + (1 - betas[1]) * with_decay**2
        corrected = first / (1 - betas[0] ** step), second / (1 - betas[1] ** step)
        parameter = parameter - lr * corrected[0] / (corrected[1].sqrt() + eps)
    return parameter


@mutant(
    "adamw",
    symptom="All weights go to zero within some hundred steps; the loss stops at that of a constant guess.",
    difficulty="easy",
)
def decay_without_the_rate(
    parameter: Tensor, gradients: Sequence[Tensor], lr: float, betas: Betas, eps: float, weight_decay: float
) -> Tensor:
    """The parameter is multiplied by 1 − λ, without the rate: a decay a thousand times too strong."""
    first = second = torch.zeros_like(parameter)
    for step, gradient in enumerate(gradients, start=1):
        parameter = parameter * (1 - weight_decay)
        first = betas[0] * first + (1 - betas[0]) * gradient
        second = betas[1] * second + (1 - betas[1]) * gradient**2
        corrected = first / (1 - betas[0] ** step), second / (1 - betas[1] ** step)
        parameter = parameter - lr * corrected[0] / (corrected[1].sqrt() + eps)
    return parameter


@mutant(
    "adamw",
    symptom="A difference in the sixth digit to the published optimizer, and none that training shows.",
    difficulty="hard",
)
def decay_after_the_step(
    parameter: Tensor, gradients: Sequence[Tensor], lr: float, betas: Betas, eps: float, weight_decay: float
) -> Tensor:
    """The parameter decays after it was moved, so that the step decays too."""
    first = second = torch.zeros_like(parameter)
    for step, gradient in enumerate(gradients, start=1):
        first = betas[0] * first + (1 - betas[0]) * gradient
        second = betas[1] * second + (1 - betas[1]) * gradient**2
        corrected = first / (1 - betas[0] ** step), second / (1 - betas[1] ** step)
        parameter = parameter - lr * corrected[0] / (corrected[1].sqrt() + eps)
        parameter = parameter * (1 - lr * weight_decay)
    return parameter


@mutant(
    "adamw",
    symptom="The decay that was set makes no difference; weights grow for as long as the training lasts.",
    difficulty="easy",
)
def no_decay(
    parameter: Tensor, gradients: Sequence[Tensor], lr: float, betas: Betas, eps: float, weight_decay: float
) -> Tensor:
    """The decay is an argument that nothing uses."""
    first = second = torch.zeros_like(parameter)
    for step, gradient in enumerate(gradients, start=1):
        first = betas[0] * first + (1 - betas[0]) * gradient
        second = betas[1] * second + (1 - betas[1]) * gradient**2
        corrected = first / (1 - betas[0] ** step), second / (1 - betas[1] ** step)
        parameter = parameter - lr * corrected[0] / (corrected[1].sqrt() + eps)
    return parameter


@mutant(
    "adamw",
    symptom="Parameters with small gradients, such as those of rare words, move far too slowly.",
    difficulty="hard",
)
def eps_inside_the_root_of_the_mean(
    parameter: Tensor, gradients: Sequence[Tensor], lr: float, betas: Betas, eps: float, weight_decay: float
) -> Tensor:
    """Eps is added to the second mean, inside the root, where its own root counts."""
    first = second = torch.zeros_like(parameter)
    for step, gradient in enumerate(gradients, start=1):
        parameter = parameter * (1 - lr * weight_decay)
        first = betas[0] * first + (1 - betas[0]) * gradient
        second = betas[1] * second + (1 - betas[1]) * gradient**2
        corrected = first / (1 - betas[0] ** step), second / (1 - betas[1] ** step)
        parameter = parameter - lr * corrected[0] / (corrected[1] + eps).sqrt()
    return parameter


@mutant(
    "adamw",
    symptom="With a large eps the first steps are shorter than they should be; with a small one nothing shows.",
    difficulty="hard",
)
def eps_beside_the_uncorrected_mean(
    parameter: Tensor, gradients: Sequence[Tensor], lr: float, betas: Betas, eps: float, weight_decay: float
) -> Tensor:
    """Eps is added before the correction, and is divided with it: the order of the first paper."""
    first = second = torch.zeros_like(parameter)
    for step, gradient in enumerate(gradients, start=1):
        parameter = parameter * (1 - lr * weight_decay)
        first = betas[0] * first + (1 - betas[0]) * gradient
        second = betas[1] * second + (1 - betas[1]) * gradient**2
        corrections = (1 - betas[1] ** step) ** 0.5 / (1 - betas[0] ** step)
        parameter = parameter - lr * corrections * first / (second.sqrt() + eps)
    return parameter


@mutant(
    "adamw",
    symptom="Steps point where the gradient pointed a thousand steps ago: slow, and with waves in the loss.",
    difficulty="medium",
)
def betas_swapped(
    parameter: Tensor, gradients: Sequence[Tensor], lr: float, betas: Betas, eps: float, weight_decay: float
) -> Tensor:
    """Each mean has the beta of the other."""
    first = second = torch.zeros_like(parameter)
    for step, gradient in enumerate(gradients, start=1):
        parameter = parameter * (1 - lr * weight_decay)
        first = betas[1] * first + (1 - betas[1]) * gradient
        second = betas[0] * second + (1 - betas[0]) * gradient**2
        corrected = first / (1 - betas[1] ** step), second / (1 - betas[0] ** step)
        parameter = parameter - lr * corrected[0] / (corrected[1].sqrt() + eps)
    return parameter


@mutant(
    "adamw",
    symptom="Steps grow as the gradients shrink, and the loss explodes near its minimum.",
    difficulty="easy",
)
def no_root_of_the_mean(
    parameter: Tensor, gradients: Sequence[Tensor], lr: float, betas: Betas, eps: float, weight_decay: float
) -> Tensor:
    """It divides by the second mean itself: the root is missing."""
    first = second = torch.zeros_like(parameter)
    for step, gradient in enumerate(gradients, start=1):
        parameter = parameter * (1 - lr * weight_decay)
        first = betas[0] * first + (1 - betas[0]) * gradient
        second = betas[1] * second + (1 - betas[1]) * gradient**2
        corrected = first / (1 - betas[0] ** step), second / (1 - betas[1] ** step)
        parameter = parameter - lr * corrected[0] / (corrected[1] + eps)
    return parameter


@mutant(
    "adamw",
    symptom="Every entry moves by the whole rate at every step: the loss falls fast and then stays noisy.",
    difficulty="medium",
)
def means_not_kept(
    parameter: Tensor, gradients: Sequence[Tensor], lr: float, betas: Betas, eps: float, weight_decay: float
) -> Tensor:
    """Both means begin at zero with every step, so that nothing is remembered."""
    for gradient in gradients:
        parameter = parameter * (1 - lr * weight_decay)
        first = (1 - betas[0]) * gradient
        second = (1 - betas[1]) * gradient**2
        corrected = first / (1 - betas[0]), second / (1 - betas[1])
        parameter = parameter - lr * corrected[0] / (corrected[1].sqrt() + eps)
    return parameter


@mutant(
    "adamw",
    symptom="One burst of gradients, and the steps stay short for the rest of the training.",
    difficulty="hard",
)
def largest_second_mean(
    parameter: Tensor, gradients: Sequence[Tensor], lr: float, betas: Betas, eps: float, weight_decay: float
) -> Tensor:
    """It divides by the largest second mean so far, as AMSGrad does."""
    first = second = largest = torch.zeros_like(parameter)
    for step, gradient in enumerate(gradients, start=1):
        parameter = parameter * (1 - lr * weight_decay)
        first = betas[0] * first + (1 - betas[0]) * gradient
        second = betas[1] * second + (1 - betas[1]) * gradient**2
        largest = torch.maximum(largest, second)
        corrected = first / (1 - betas[0] ** step), largest / (1 - betas[1] ** step)
        parameter = parameter - lr * corrected[0] / (corrected[1].sqrt() + eps)
    return parameter


@mutant(
    "adamw",
    symptom="Rare words, whose gradients are small, learn nothing while frequent ones do.",
    difficulty="medium",
)
def one_second_mean_for_all(
    parameter: Tensor, gradients: Sequence[Tensor], lr: float, betas: Betas, eps: float, weight_decay: float
) -> Tensor:
    """The second mean is one number, the mean over all entries of the parameter."""
    first = second = torch.zeros_like(parameter)
    for step, gradient in enumerate(gradients, start=1):
        parameter = parameter * (1 - lr * weight_decay)
        first = betas[0] * first + (1 - betas[0]) * gradient
        second = betas[1] * second + (1 - betas[1]) * (gradient**2).mean()
        corrected = first / (1 - betas[0] ** step), second / (1 - betas[1] ** step)
        parameter = parameter - lr * corrected[0] / (corrected[1].sqrt() + eps)
    return parameter


@mutant(
    "adamw",
    symptom="The gradient that is logged after the step is not the one of the loss, and accumulation goes wrong.",
    difficulty="medium",
)
def gradient_squared_in_place(
    parameter: Tensor, gradients: Sequence[Tensor], lr: float, betas: Betas, eps: float, weight_decay: float
) -> Tensor:
    """The gradient is squared in place: the step is right, but what was the gradient is its square from now on."""
    first = second = torch.zeros_like(parameter)
    for step, gradient in enumerate(gradients, start=1):
        parameter = parameter * (1 - lr * weight_decay)
        first = betas[0] * first + (1 - betas[0]) * gradient
        second = betas[1] * second + (1 - betas[1]) * gradient.square_()
        corrected = first / (1 - betas[0] ** step), second / (1 - betas[1] ** step)
        parameter = parameter - lr * corrected[0] / (corrected[1].sqrt() + eps)
    return parameter


# Up in a line, down in a line


@mutant("linear-warmup", symptom="The first steps are far too large: the loss rises before it falls, or never falls.")
def full_rate_at_once(step: int, warmup_steps: int, total_steps: int) -> float:
    """There is no warm-up: the rate starts at its peak and falls from there."""
    return linear_warmup(step, 0, total_steps)


@mutant(
    "linear-warmup",
    symptom="Nobody sees it in a long training; a short one differs from the published curve from the first step on.",
    difficulty="hard",
)
def warm_up_counted_from_one(step: int, warmup_steps: int, total_steps: int) -> float:
    """The warm-up counts from 1, so that the first step has a rate already and the peak comes a step early."""
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    return linear_warmup(step, warmup_steps, total_steps)


@mutant("linear-warmup", symptom="The rate drops suddenly when the warm-up ends, the more the longer it was.")
def decay_counted_from_step_zero(step: int, warmup_steps: int, total_steps: int) -> float:
    """The way down counts from step 0: at the end of the warm-up a part of it is gone already."""
    if step < warmup_steps:
        return step / warmup_steps
    return max(0.0, 1 - step / total_steps)


@mutant("linear-warmup", symptom="A training that goes on after its last step unlearns: the model climbs the loss.")
def below_zero_after_the_end(step: int, warmup_steps: int, total_steps: int) -> float:
    """Nothing stops the line at 0: after the last step the rate is negative."""
    if step < warmup_steps:
        return step / warmup_steps
    return (total_steps - step) / max(1, total_steps - warmup_steps)


@mutant(
    "linear-warmup", symptom="The program ends with ZeroDivisionError when all steps are warm-up.", difficulty="hard"
)
def divides_by_the_steps_left(step: int, warmup_steps: int, total_steps: int) -> float:
    """It divides by the steps after the warm-up, of which there may be none."""
    if step < warmup_steps:
        return step / warmup_steps
    return max(0.0, (total_steps - step) / (total_steps - warmup_steps))


@mutant(
    "linear-warmup",
    symptom="Trains a little better or worse than the paper, because the middle of the way down is lower.",
    difficulty="easy",
)
def square_of_the_line(step: int, warmup_steps: int, total_steps: int) -> float:
    """The way down is the square of the line."""
    if step < warmup_steps:
        return step / warmup_steps
    return max(0.0, (total_steps - step) / max(1, total_steps - warmup_steps)) ** 2


@mutant("linear-warmup", symptom="The last updates are as good as lost: the rate is 0 before they begin.")
def zero_a_step_early(step: int, warmup_steps: int, total_steps: int) -> float:
    """The way down ends at the step before the last one."""
    return linear_warmup(min(step, total_steps), warmup_steps, max(warmup_steps, total_steps - 1))


@mutant("linear-warmup", symptom="The loss of the last steps is noisier than it should be, and never settles.")
def down_to_a_tenth(step: int, warmup_steps: int, total_steps: int) -> float:
    """The way down ends at a tenth of the peak, and not at 0."""
    if step < warmup_steps:
        return step / warmup_steps
    return max(0.1, 0.1 + 0.9 * (total_steps - step) / max(1, total_steps - warmup_steps))


@mutant("linear-warmup", symptom="Trains as well; only whoever compares with a published run finds another rate.")
def cosine_for_the_line(step: int, warmup_steps: int, total_steps: int) -> float:
    """The way down is half a cosine, not a line."""
    return cosine_warmup(step, warmup_steps, total_steps)


# Up in a line, down along a cosine


@mutant("cosine-warmup", symptom="Half way down the rate is much too large, and it falls steeply at the end.")
def quarter_of_a_cosine(step: int, warmup_steps: int, total_steps: int) -> float:
    """The way down is a quarter of a cosine: half of π is missing from the angle."""
    if step < warmup_steps:
        return step / warmup_steps
    if step >= total_steps:
        return 0.0
    return math.cos(math.pi / 2 * (step - warmup_steps) / (total_steps - warmup_steps))


@mutant("cosine-warmup", symptom="The rate hardly falls in the whole training, and is cut off at its end.")
def degrees_for_radians(step: int, warmup_steps: int, total_steps: int) -> float:
    """The angle runs from 0 to 1, as if a cosine counted in half turns; π is missing."""
    if step < warmup_steps:
        return step / warmup_steps
    if step >= total_steps:
        return 0.0
    return 0.5 * (1 + math.cos((step - warmup_steps) / (total_steps - warmup_steps)))


@mutant("cosine-warmup", symptom="The loss rises again when the training is continued past its planned end.")
def cosine_that_comes_back(step: int, warmup_steps: int, total_steps: int) -> float:
    """Nothing stops the cosine at its lowest point, so that the rate rises again after the last step."""
    if step < warmup_steps:
        return step / warmup_steps
    return 0.5 * (1 + math.cos(math.pi * (step - warmup_steps) / max(1, total_steps - warmup_steps)))


@mutant("cosine-warmup", symptom="In the second half of the training the loss goes up, for the rate is negative.")
def cosine_not_lifted(step: int, warmup_steps: int, total_steps: int) -> float:
    """The 1 that lifts the cosine above 0 is missing."""
    if step < warmup_steps:
        return step / warmup_steps
    if step >= total_steps:
        return 0.0
    return math.cos(math.pi * (step - warmup_steps) / (total_steps - warmup_steps))


@mutant("cosine-warmup", symptom="The rate drops suddenly when the warm-up ends, the more the longer it was.")
def angle_counted_from_step_zero(step: int, warmup_steps: int, total_steps: int) -> float:
    """The angle counts from step 0: at the end of the warm-up a part of the way down is gone already."""
    if step < warmup_steps:
        return step / warmup_steps
    return 0.5 * (1 + math.cos(math.pi * min(step, total_steps) / max(1, total_steps)))


@mutant("cosine-warmup", symptom="A little less of each rate than published; nobody sees it.", difficulty="hard")
def line_for_the_cosine(step: int, warmup_steps: int, total_steps: int) -> float:
    """The way down is a line, not half a cosine."""
    return linear_warmup(step, warmup_steps, total_steps)


@mutant("cosine-warmup", symptom="The first steps are larger than planned: the loss may jump before it falls.")
def cosine_on_the_way_up(step: int, warmup_steps: int, total_steps: int) -> float:
    """The warm-up follows half a cosine too, where a line is meant."""
    if step < warmup_steps:
        return 0.5 * (1 - math.cos(math.pi * step / warmup_steps))
    return cosine_warmup(step, warmup_steps, total_steps)


@mutant("cosine-warmup", symptom="Short trainings stop a step early; long ones look right.", difficulty="hard")
def last_step_left_out(step: int, warmup_steps: int, total_steps: int) -> float:
    """The way down is over at the step before the last one."""
    return cosine_warmup(step, warmup_steps, max(warmup_steps, total_steps - 1))


# Up in a line, down with the root


@mutant("inverse-square-root-warmup", symptom="The program ends with ZeroDivisionError at its first step.")
def root_of_step_zero(step: int, warmup_steps: int) -> float:
    """Both formulas are computed at step 0, where one of them divides by it."""
    return min(step / warmup_steps, math.sqrt(warmup_steps / step))


@mutant("inverse-square-root-warmup", symptom="The loss explodes: the rate only ever grows.", difficulty="easy")
def larger_of_the_two(step: int, warmup_steps: int) -> float:
    """The larger of the two formulas is taken, not the smaller."""
    return max(step / warmup_steps, math.sqrt(warmup_steps / max(1, step)))


@mutant("inverse-square-root-warmup", symptom="The rate falls steeply after the warm-up, and learning nearly stops.")
def root_from_the_end_of_the_warm_up(step: int, warmup_steps: int) -> float:
    """The root counts from the end of the warm-up, not from the first step."""
    if step <= warmup_steps:
        return step / warmup_steps
    return 1 / math.sqrt(1 + step - warmup_steps)


@mutant(
    "inverse-square-root-warmup", symptom="Late in a long training the rate is far too small; the loss stands still."
)
def one_over_the_step(step: int, warmup_steps: int) -> float:
    """The rate falls with one over the step: the root is missing."""
    return min(step / warmup_steps, warmup_steps / max(1, step))


@mutant(
    "inverse-square-root-warmup",
    symptom="A tiny rate, and the longer the warm-up the tinier: what was meant as a share of the peak is none.",
    difficulty="medium",
)
def peak_of_the_paper(step: int, warmup_steps: int) -> float:
    """It is not divided by its peak: it is the paper's rate at a width of 512, and at 1 it has never been."""
    return inverse_square_root_warmup(step, warmup_steps) / math.sqrt(512 * warmup_steps)


@mutant(
    "inverse-square-root-warmup",
    symptom="The first update is made at a rate that was never planned.",
    difficulty="hard",
)
def step_counted_from_one(step: int, warmup_steps: int) -> float:
    """It counts the steps from 1, as some loops do, so that each rate comes a step early."""
    return inverse_square_root_warmup(step + 1, warmup_steps)


# The norm of all gradients


@mutant("global-norm", symptom="Clipping sets in too early: with many parameters nearly every step is shortened.")
def sum_of_the_norms(gradients: Sequence[Tensor]) -> Tensor:
    """The lengths of the single gradients are added, as if all pointed the same way."""
    return torch.stack([gradient.square().sum().sqrt() for gradient in gradients]).sum()


@mutant("global-norm", symptom="Clipping sets in too late: no parameter alone is as long as all of them.")
def largest_of_the_norms(gradients: Sequence[Tensor]) -> Tensor:
    """The longest of the single gradients stands for all of them."""
    return torch.stack([gradient.square().sum().sqrt() for gradient in gradients]).max()


@mutant("global-norm", symptom="Gradients longer than 1 seem far longer, and are shortened far too much.")
def squared_norm(gradients: Sequence[Tensor]) -> Tensor:
    """The root is missing."""
    return torch.stack([gradient.square().sum() for gradient in gradients]).sum()


@mutant("global-norm", symptom="A large model is hardly ever clipped, a small one often, at the same bound.")
def mean_for_the_sum_of_squares(gradients: Sequence[Tensor]) -> Tensor:
    """The mean of the squares is taken, not their sum, so that zeros make the gradient shorter."""
    return torch.cat([gradient.flatten() for gradient in gradients]).square().mean().sqrt()


@mutant("global-norm", symptom="Nearly right for long gradients; the log shows a norm where there is no gradient.")
def small_number_under_the_root(gradients: Sequence[Tensor]) -> Tensor:
    """A small number is added under the root, for safety, and the norm of nothing is not 0."""
    return (torch.stack([gradient.square().sum() for gradient in gradients]).sum() + 1e-6).sqrt()


@mutant("global-norm", symptom="Clipping depends on the axes: gradients of one length are shortened differently.")
def absolute_values_for_squares(gradients: Sequence[Tensor]) -> Tensor:
    """Absolute values are added, not squares: that is another norm."""
    return torch.stack([gradient.abs().sum() for gradient in gradients]).sum()


@mutant("global-norm", symptom="An exploding embedding is not noticed, because only the last layer is looked at.")
def last_gradient_only(gradients: Sequence[Tensor]) -> Tensor:
    """The norm is overwritten by each parameter in turn, so that the last one remains."""
    norm = gradients[0].new_zeros(())
    for gradient in gradients:
        norm = gradient.square().sum().sqrt()
    return norm


# Clipping


@mutant("clip-global-norm", symptom="Steps turn towards the parameters with small gradients; training is slower.")
def each_parameter_clipped_alone(gradients: Sequence[Tensor], max_norm: float) -> list[Tensor]:
    """Each parameter is clipped to the bound by its own norm."""
    return [gradient * max_norm / global_norm([gradient]).clamp(min=max_norm) for gradient in gradients]


@mutant("clip-global-norm", symptom="Large entries are cut to one size: the steps lose their direction.")
def each_entry_clipped_alone(gradients: Sequence[Tensor], max_norm: float) -> list[Tensor]:
    """Each entry is cut to the bound, as clipping by value does."""
    return [gradient.clamp(-max_norm, max_norm) for gradient in gradients]


@mutant(
    "clip-global-norm", symptom="Near the minimum, where gradients are small, steps stay large and training is noisy."
)
def short_gradients_stretched(gradients: Sequence[Tensor], max_norm: float) -> list[Tensor]:
    """Gradients shorter than the bound are stretched to it: the maximum with the bound is missing."""
    norm = global_norm(gradients).clamp(min=1e-30)
    return [gradient * max_norm / norm for gradient in gradients]


@mutant(
    "clip-global-norm", symptom="Every step is a little shorter than it should be, by half where it is near the bound."
)
def bound_added_to_the_norm(gradients: Sequence[Tensor], max_norm: float) -> list[Tensor]:
    """The factor is bound / (norm + bound), which shortens what is short enough."""
    return [gradient * max_norm / (global_norm(gradients) + max_norm) for gradient in gradients]


@mutant("clip-global-norm", symptom="The longer a gradient, the shorter the step it gives: a burst stops the training.")
def share_of_the_squared_norm(gradients: Sequence[Tensor], max_norm: float) -> list[Tensor]:
    """The factor is that of the squared norm: bound² / norm²."""
    share = (max_norm / global_norm(gradients).clamp(min=max_norm)).square()
    return [gradient * share for gradient in gradients]


@mutant("clip-global-norm", symptom="Gradients are shortened, but not enough; a burst still throws the weights about.")
def root_of_the_share(gradients: Sequence[Tensor], max_norm: float) -> list[Tensor]:
    """The factor is the root of what it should be, so that clipping twice shortens twice."""
    share = (max_norm / global_norm(gradients).clamp(min=max_norm)).sqrt()
    return [gradient * share for gradient in gradients]


@mutant(
    "clip-global-norm",
    symptom="The bound that was set makes no difference; a search over it finds only noise.",
    difficulty="easy",
)
def always_clipped_to_one(gradients: Sequence[Tensor], max_norm: float) -> list[Tensor]:
    """The bound is 1, whatever was asked for."""
    norm = global_norm(gradients).clamp(min=1.0)
    return [gradient / norm for gradient in gradients]
