"""Recognising a classic mistake: a mutant of the zoo that answers as the function did, where ours answers otherwise."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from minitransformer.laws.claims import CLAIMS, MAY_DRAW
from minitransformer.laws.guarding import Call, Guarded, copy_of, each_part, is_same, tensors_in
from minitransformer.laws.tolerances import LAYER, ROUNDING, eps_of
from minitransformer.laws.zoo import ZOO, Mutant

Function = Callable[..., Any]
Calls = Mapping[str, Sequence[Call]]
"""For each law, by name, what the function was asked and answered: where it broke the law, or last where it held."""


def recognise(claim: str, function: Function, broken: Calls, held: Calls) -> dict[str, Mutant]:
    """For each broken law the mutant that answers there as the function did.

    Of several the one that explains most laws; and of those the one that answers most often alike under laws that held.
    """
    if claim in MAY_DRAW:  # nobody answers as somebody else did
        return {}
    by_number: dict[int, list[tuple[Mutant, set[str]]]] = {}
    for mutant in (mutant for mutant in ZOO if mutant.claim == claim):
        laws = {law for law, calls in broken.items() if explains(mutant.function, CLAIMS[claim], function, calls)}
        by_number.setdefault(len(laws), []).append((mutant, laws))
    found: dict[str, Mutant] = {}
    for n_laws in sorted(by_number.keys() - {0}):
        equals = by_number[n_laws]
        if len(equals) > 1:
            equals.sort(key=lambda candidate: n_alike(candidate[0].function, held))
        found |= {law: mutant for mutant, laws in equals for law in laws}
    return found


def n_alike(mutant: Function, held: Calls) -> int:
    """How often a mutant answers as the function did."""
    return sum(is_alike(values_of(mutant, call), call.result) for calls in held.values() for call in calls)


def explains(mutant: Function, ours: Function, theirs: Function, calls: Sequence[Call]) -> bool:
    """Whether a mutant answers as theirs does, and ours otherwise: in values, or if all agree there in gradients."""
    for look in (values_of, values_and_gradients_of):
        wanted = [look(theirs, call) for call in calls]
        if not is_alike([look(ours, call) for call in calls], wanted):
            return is_alike([look(mutant, call) for call in calls], wanted)
    return False


def values_of(function: Function, call: Call) -> Any:
    """What a function answers to a call, or the error that it raises; no argument asks for a gradient."""
    try:
        args, options = copy_of((call.args, call.options))
        return Guarded(function, function).answer(args, options)
    except Exception as error:
        return error


def values_and_gradients_of(function: Function, call: Call) -> tuple[Any, list[Tensor]]:
    """What a function answers to a call, and what autograd passes back to each argument."""
    try:
        args, options = each_part(as_leaf, (call.args, call.options))
        result = Guarded(function, function).answer(args, options)
        return result, gradients_of(result, tensors_in([args, options]))
    except Exception as error:
        return error, []


def as_leaf(value: Any) -> Any:
    """A tensor of fractions as one that asks for a gradient; anything else as it is."""
    if not isinstance(value, Tensor):
        return value
    return value.clone().requires_grad_(value.is_floating_point())


def gradients_of(result: Any, leaves: Sequence[Tensor]) -> list[Tensor]:
    """What is passed back to the leaves from a fixed gradient of the result, or nothing where there is no way back."""
    results = [tensor for tensor in tensors_in([result]) if tensor.requires_grad]
    wanted = [leaf for leaf in leaves if leaf.requires_grad]
    if not results or not wanted:
        return []
    upstream = [torch.arange(1.0, tensor.numel() + 1, dtype=tensor.dtype).reshape(tensor.shape) for tensor in results]
    gradients = torch.autograd.grad(results, wanted, upstream, allow_unused=True, materialize_grads=True)
    return list(gradients)


def is_alike(first: Any, second: Any) -> bool:
    """Whether two answers differ by rounding alone.

    >>> is_alike([torch.ones(2)], [torch.ones(2) + 1e-7]), is_alike(torch.ones(2), torch.zeros(2))
    (True, False)
    """
    if isinstance(first, list | tuple) and isinstance(second, list | tuple):
        return len(first) == len(second) and all(map(is_alike, first, second))
    if isinstance(first, int | float | Tensor) and isinstance(second, int | float | Tensor):
        first, second = torch.as_tensor(first), torch.as_tensor(second)
        if first.shape != second.shape or first.dtype != second.dtype:
            return False
        if not first.is_floating_point():
            return bool((first == second).all())
        size = max([1.0, *second.detach().abs().nan_to_num(posinf=0.0).flatten().tolist()])
        c = ROUNDING if second.dtype == torch.bfloat16 else LAYER  # of so few digits rounding may not take all
        return torch.allclose(first, second, rtol=0.0, atol=c * eps_of(second) * size, equal_nan=True)
    return False if isinstance(first, Exception) else is_same(first, second)


def in_words(mutant: Mutant) -> str:
    """What a learner is told of the mutant: what it looks like, and where to read on, and not what is wrong."""
    number = ZOO.index(mutant) + 1
    return (
        f"Looks like classic mistake {number}, which gives the same numbers in this case. "
        f"In training: {mutant.symptom} (`minitransformer zoo show {number}`; `zoo answer {number}` tells what it is)"
    )
