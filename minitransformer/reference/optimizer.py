"""The optimizer: which way to step, and never too far at once.

How far at each step of training, the schedules say; three of them are known under this name too.
"""

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from minitransformer.reference.schedules import cosine_warmup, inverse_square_root_warmup, linear_warmup

__all__ = [
    "adamw_update",
    "clip_global_norm",
    "cosine_warmup",
    "global_norm",
    "inverse_square_root_warmup",
    "linear_warmup",
]


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
