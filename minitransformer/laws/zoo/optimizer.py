"""Mutants of AdamW and of clipping."""

# ruff: noqa: ARG001 - an argument that is never used is a classic mistake

from collections.abc import Sequence

import torch
from torch import Tensor

from minitransformer.laws.zoo.mutant import mutant
from minitransformer.optimizer import global_norm

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
