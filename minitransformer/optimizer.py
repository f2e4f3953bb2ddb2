"""The optimizer: which way to step, and never too far at once.

How far at each step of training, the schedules say; three of them are known under this name too.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, overload

import torch
from jaxtyping import Float
from torch import Tensor

from minitransformer import kernels
from minitransformer.errors import InputError
from minitransformer.schedules import cosine_warmup, inverse_square_root_warmup, linear_warmup

__all__ = [
    "AdamW",
    "adamw_update",
    "clip_global_norm",
    "cosine_warmup",
    "global_norm",
    "inverse_square_root_warmup",
    "linear_warmup",
]


@kernels.with_fused_twin
def adamw_update(
    parameters: Sequence[Tensor],
    gradients: Sequence[Tensor],
    first_moments: Sequence[Tensor],
    second_moments: Sequence[Tensor],
    step: int,
    lr: float,
    betas: tuple[float, float],
    eps: float,
    weight_decay: float,
) -> None:
    """Move the parameters, and both running means, by one step. In place: this is what an optimizer is for.

    Equation eq:adamw:
        θ ← θ − lr · λ · θ
        m ← β₁ m + (1 − β₁) g, v ← β₂ v + (1 − β₂) g²
        θ ← θ − lr · (m / (1 − β₁ᵗ)) / (√(v / (1 − β₂ᵗ)) + eps)

    The decay λ acts on the parameter itself, not through the gradient, where v would divide it away. The division by
    1 − βᵗ removes the pull of the zeros that both means start from.

    Source: Loshchilov and Hutter 2019, Algorithm 2, with the schedule inside lr; Kingma and Ba 2015, Algorithm 1.
    """
    beta_1, beta_2 = betas
    for parameter, gradient, first_moment, second_moment in zip(
        parameters, gradients, first_moments, second_moments, strict=True
    ):
        parameter.mul_(1 - lr * weight_decay)
        first_moment.mul_(beta_1).add_(gradient, alpha=1 - beta_1)
        second_moment.mul_(beta_2).add_(gradient.square(), alpha=1 - beta_2)
        corrected_first = first_moment / (1 - beta_1**step)
        corrected_second = second_moment / (1 - beta_2**step)
        parameter.sub_(lr * corrected_first / (corrected_second.sqrt() + eps))


class AdamW(torch.optim.Optimizer):
    """Adam with decoupled weight decay: eq:adamw for each parameter.

    Source: Loshchilov and Hutter 2019, Algorithm 2.

    Raises: InputError for a negative rate or decay, or betas outside [0, 1).

    >>> parameter = torch.nn.Parameter(torch.tensor([1.0]))
    >>> optimizer = AdamW([parameter], lr=0.5, weight_decay=0.0)
    >>> parameter.grad = torch.tensor([3.0])
    >>> optimizer.step()
    >>> round(parameter.item(), 4)
    0.5
    """

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
    ) -> None:
        if lr < 0 or eps < 0 or weight_decay < 0:
            raise InputError(f"lr={lr}, eps={eps} and weight_decay={weight_decay} must not be negative")
        if not all(0 <= beta < 1 for beta in betas):
            raise InputError(f"betas={betas} must lie in [0, 1); (0.9, 0.999) is usual")
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay})

    @overload
    def step(self, closure: None = None) -> None: ...
    @overload
    def step(self, closure: Callable[[], float]) -> float: ...
    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Move every parameter that has a gradient by one step."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            self.update_group(group)
        return loss

    def update_group(self, group: dict[str, Any]) -> None:
        """Apply eq:adamw to the parameters of one group that have come equally far."""
        by_step: dict[int, list[Tensor]] = {}
        for parameter in group["params"]:
            if parameter.grad is not None:
                by_step.setdefault(self.count_step(parameter), []).append(parameter)
        for step, parameters in by_step.items():
            adamw_update(
                [held_here(parameter) for parameter in parameters],
                [held_here(parameter.grad) for parameter in parameters],  # type: ignore[arg-type] # chosen for it
                [held_here(self.state[parameter]["first_moment"]) for parameter in parameters],
                [held_here(self.state[parameter]["second_moment"]) for parameter in parameters],
                step,
                group["lr"],
                group["betas"],
                group["eps"],
                group["weight_decay"],
            )

    def count_step(self, parameter: Tensor) -> int:
        """The number of this step for the parameter; its means begin at zero with the first."""
        state = self.state[parameter]
        if not state:
            state["step"] = 0
            state["first_moment"] = torch.zeros_like(parameter)
            state["second_moment"] = torch.zeros_like(parameter)
        state["step"] += 1
        return int(state["step"])


def held_here(tensor: Tensor) -> Tensor:
    """The part of a tensor that this process holds: all of it, unless several processes share it out.

    >>> held_here(torch.tensor([1.0])).tolist()
    [1.0]
    """
    return tensor.to_local() if hasattr(tensor, "to_local") else tensor


@kernels.with_fused_twin
def global_norm(gradients: Sequence[Float[Tensor, "..."]]) -> Float[Tensor, ""]:
    """The length of all gradients taken as one vector.

    Equation eq:global-norm:
        ‖g‖ = √(Σₚ Σᵢ gₚᵢ²)

    Source: Pascanu et al. 2013, §3.2.

    >>> global_norm([torch.tensor([3.0]), torch.tensor([4.0])]).item()
    5.0
    """
    return torch.stack([gradient.square().sum() for gradient in gradients]).sum().sqrt()


def clip_global_norm(gradients: Sequence[Float[Tensor, "..."]], max_norm: float) -> list[Float[Tensor, "..."]]:
    """Shorten the gradients together, so that their direction stays.

    Equation eq:clip-global-norm:
        gₚ ← gₚ · max_norm / max(‖g‖, max_norm)

    Clipping each parameter alone would turn the step towards the parameters with small gradients.

    Source: Pascanu et al. 2013, §3.2, Algorithm 1.

    Raises: InputError unless max_norm is positive.

    >>> [gradient.tolist() for gradient in clip_global_norm([torch.tensor([3.0]), torch.tensor([4.0])], max_norm=1.0)]
    [[0.6000000238418579], [0.800000011920929]]
    """
    if not max_norm > 0:
        raise InputError(f"max_norm={max_norm} must be positive; leave clipping out to allow any norm")
    norm = global_norm(gradients)
    share = norm.new_tensor(max_norm) / norm.clamp(min=max_norm)  # a number over a tensor would be rounded twice
    return [gradient * share for gradient in gradients]
