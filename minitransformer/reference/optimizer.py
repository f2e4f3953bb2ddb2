"""The optimizer: which way to step, how far at each step of training, and never too far at once."""

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float


def adamw_update(
    parameter: Float[np.ndarray, "..."],
    gradient: Float[np.ndarray, "..."],
    first_moment: Float[np.ndarray, "..."],
    second_moment: Float[np.ndarray, "..."],
    step: int,
    lr: float,
    betas: tuple[float, float],
    eps: float,
    weight_decay: float,
) -> tuple[Float[np.ndarray, "..."], Float[np.ndarray, "..."], Float[np.ndarray, "..."]]:
    """Move one parameter, and both its running means, by one step; the arguments stay as they were.

    Equation eq:adamw:
        θ ← θ − lr · λ · θ
        m ← β₁ m + (1 − β₁) g, v ← β₂ v + (1 − β₂) g²
        θ ← θ − lr · (m / (1 − β₁ᵗ)) / (√(v / (1 − β₂ᵗ)) + eps)

    Source: Loshchilov and Hutter 2019, Algorithm 2, with the schedule inside lr; Kingma and Ba 2015, Algorithm 1.

    >>> one, zero = np.ones(1), np.zeros(1)
    >>> new, _, _ = adamw_update(one, 3 * one, zero, zero, 1, lr=0.5, betas=(0.9, 0.999), eps=0.0, weight_decay=0.0)
    >>> new.round(6).tolist()
    [0.5]
    """
    beta_1, beta_2 = betas
    decayed = parameter - lr * weight_decay * parameter
    first_moment = beta_1 * first_moment + (1 - beta_1) * gradient
    second_moment = beta_2 * second_moment + (1 - beta_2) * gradient**2
    direction = (first_moment / (1 - beta_1**step)) / (np.sqrt(second_moment / (1 - beta_2**step)) + eps)
    return decayed - lr * direction, first_moment, second_moment


def linear_warmup(step: int, warmup_steps: int, total_steps: int) -> float:
    """The share of the peak rate: up in a straight line, then down in a straight line to zero.

    Equation eq:linear-warmup:
        rate(s) = s / w for s < w, else max(0, (T − s) / (T − w))

    Source: Devlin et al. 2019, §A.2.

    >>> [linear_warmup(step, warmup_steps=2, total_steps=6) for step in (0, 1, 2, 4, 6)]
    [0.0, 0.5, 1.0, 0.5, 0.0]
    """
    if step < warmup_steps:
        return step / warmup_steps
    if step >= total_steps:
        return 0.0
    return (total_steps - step) / (total_steps - warmup_steps)


def cosine_warmup(step: int, warmup_steps: int, total_steps: int) -> float:
    """The share of the peak rate: up in a straight line, then down along half a cosine to zero.

    Equation eq:cosine-warmup:
        rate(s) = s / w for s < w, else ½ (1 + cos(π (s − w) / (T − w))), and 0 from T on

    Source: Loshchilov and Hutter 2017, §3, Eq. 5, without restarts; the warm-up as in eq:linear-warmup.

    >>> [round(cosine_warmup(step, warmup_steps=2, total_steps=6), 3) for step in (0, 1, 2, 4, 6)]
    [0.0, 0.5, 1.0, 0.5, 0.0]
    """
    if step < warmup_steps:
        return step / warmup_steps
    if step >= total_steps:
        return 0.0
    return (1 + math.cos(math.pi * (step - warmup_steps) / (total_steps - warmup_steps))) / 2


def inverse_square_root_warmup(step: int, warmup_steps: int) -> float:
    """The share of the peak rate: up in a straight line, then down with one over the root of the step.

    Equation eq:inverse-square-root-warmup:
        rate(s) = min(s / w, √(w / s))

    Source: Vaswani et al. 2017, §5.3, Eq. 3, divided by its peak, 1 / √(d_model · w).

    >>> [inverse_square_root_warmup(step, warmup_steps=4) for step in (0, 2, 4, 16)]
    [0.0, 0.5, 1.0, 0.5]
    """
    return step / warmup_steps if step <= warmup_steps else math.sqrt(warmup_steps / step)


def global_norm(gradients: Sequence[Float[np.ndarray, "..."]]) -> float:
    """The length of all gradients taken as one vector.

    Equation eq:global-norm:
        ‖g‖ = √(Σₚ Σᵢ gₚᵢ²)

    Source: Pascanu et al. 2013, §3.2.

    >>> global_norm([np.array([3.0]), np.array([4.0])])
    5.0
    """
    return math.sqrt(sum(float(np.sum(gradient**2)) for gradient in gradients))


def clip_global_norm(gradients: Sequence[Float[np.ndarray, "..."]], max_norm: float) -> list[Float[np.ndarray, "..."]]:
    """Shorten the gradients together, so that their direction stays.

    Equation eq:clip-global-norm:
        gₚ ← gₚ · max_norm / max(‖g‖, max_norm)

    Source: Pascanu et al. 2013, §3.2, Algorithm 1.

    >>> [gradient.round(6).tolist() for gradient in clip_global_norm([np.array([3.0]), np.array([4.0])], max_norm=1.0)]
    [[0.6], [0.8]]
    """
    length = global_norm(gradients)
    return [gradient * max_norm / max(length, max_norm) for gradient in gradients]
