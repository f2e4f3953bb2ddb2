"""How mutants compute in the wrong type: sums that a loop takes in the type of its terms, and other detours."""

import torch
from torch import Tensor


def one_by_one(x: Tensor, axis: int = -1) -> Tensor:
    """The sum along an axis, which stays, each term added to what there is, in the type of the terms.

    >>> one_by_one(torch.ones(300)).tolist(), one_by_one(torch.ones(300).bfloat16()).tolist()
    ([300.0], [256.0])
    """
    total = torch.zeros_like(x.select(axis, 0))
    for term in x.unbind(axis):
        total = total + term
    return total.unsqueeze(axis)


def half_for_bfloat16(x: Tensor) -> Tensor:
    """Float16 where bfloat16 was given, as if the two were the same; anything else as it is.

    >>> half_for_bfloat16(torch.tensor([1.0, 1e5]).bfloat16())
    tensor([1., inf], dtype=torch.float16)
    """
    return x.half() if x.dtype == torch.bfloat16 else x


def widened(x: Tensor) -> Tensor:
    """At least float32.

    >>> widened(torch.zeros(1).bfloat16()).dtype, widened(torch.zeros(1).double()).dtype
    (torch.float32, torch.float64)
    """
    return x.to(torch.promote_types(x.dtype, torch.float32))
