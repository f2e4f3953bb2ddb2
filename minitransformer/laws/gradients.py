"""What autograd passes back, for laws about derivatives."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from minitransformer.laws.modules import Parameters

Function = Callable[..., Tensor]


def gradients_through(function: Function, inputs: Sequence[Tensor], upstream: Tensor) -> list[Tensor]:
    """What autograd passes back to each input; zeros where it passes nothing, for that means the same."""
    leaves = [tensor.clone().requires_grad_() for tensor in inputs]
    result = function(*leaves)
    assert result.shape == upstream.shape, (
        f"the result should have shape {tuple(upstream.shape)}, but has {tuple(result.shape)}"
    )
    if not result.requires_grad:
        return [torch.zeros_like(leaf) for leaf in leaves]
    gradients = torch.autograd.grad(result, leaves, upstream, allow_unused=True)
    return [
        torch.zeros_like(leaf) if gradient is None else gradient
        for leaf, gradient in zip(leaves, gradients, strict=True)
    ]


def gradients_by_name(function: Function, parameters: Parameters, upstream: Tensor, **inputs: Tensor) -> Parameters:
    """What autograd passes back to each parameter of `function(parameters, *inputs)`, and to each of these inputs.

    >>> three, two, one = torch.tensor([3.0, 2.0, 1.0])
    >>> gradients_by_name(lambda parameters, x: parameters["gain"] * x, {"gain": three}, one, x=two)
    {'gain': tensor(2.), 'x': tensor(3.)}
    """

    def apply(*leaves: Tensor) -> Tensor:
        own, given = leaves[: len(parameters)], leaves[len(parameters) :]
        return function(dict(zip(parameters, own, strict=True)), *given)

    named = {**parameters, **inputs}
    return dict(zip(named, gradients_through(apply, list(named.values()), upstream), strict=True))
