"""Adapters of one word, for code with other conventions than ours.

Each takes a function and gives one that can be judged: `check(adapters.mask_hides(theirs), "attention")`. For anything
else a lambda does it: `lambda query, key, value: theirs(value, key, query)`.
"""

import math
from collections.abc import Callable
from functools import wraps
from typing import Any

import torch
from torch import Tensor

Function = Callable[..., Any]


def mask_hides(attention: Function) -> Function:
    """For a boolean mask in which True means: may not be read, as in `nn.MultiheadAttention`.

    >>> mask_hides(lambda query, key, value, mask: mask)(0, 0, 0, torch.tensor([True, False])).tolist()
    [False, True]
    """
    return lambda query, key, value, may_attend=None: attention(
        *with_mask(query, key, value, may_attend, torch.logical_not)
    )


def mask_is_added(attention: Function) -> Function:
    """For a mask of 0 and −∞ that is added to the scores.

    >>> mask_is_added(lambda query, key, value, mask: mask)(torch.ones(1), 0, 0, torch.tensor([True, False])).tolist()
    [0.0, -inf]
    """

    def as_addend(may_attend: Tensor) -> Tensor:
        return torch.zeros(may_attend.shape).masked_fill(~may_attend, -math.inf)

    return lambda query, key, value, may_attend=None: attention(*with_mask(query, key, value, may_attend, as_addend))


def with_mask(
    query: Tensor, key: Tensor, value: Tensor, may_attend: Tensor | None, convert: Callable[[Tensor], Tensor]
) -> tuple[Tensor, ...]:
    """The arguments, with the mask converted if there is one."""
    if may_attend is None:
        return query, key, value
    mask = convert(may_attend)
    return query, key, value, mask.to(query.dtype) if mask.is_floating_point() else mask


def first_result(function: Function) -> Function:
    """For a function that returns several things, of which the first is judged.

    >>> first_result(lambda x: (x, "weights"))(3)
    3
    """
    return wraps(function)(lambda *args, **options: function(*args, **options)[0])


def second_result(function: Function) -> Function:
    """For a function that returns several things, of which the second is judged, such as (weights, what is read).

    >>> second_result(lambda x: ("weights", x))(3)
    3
    """
    return wraps(function)(lambda *args, **options: function(*args, **options)[1])


def heads_inside(attention: Function) -> Function:
    """For tensors of the axes (batch, length, heads, width): the batch is judged with one head.

    >>> query, key = torch.zeros(2, 3, 5), torch.zeros(2, 7, 5)
    >>> heads_inside(lambda query, key, value: query)(query, key, key).shape
    torch.Size([2, 3, 5])
    """

    def judged(query: Tensor, key: Tensor, value: Tensor, may_attend: Tensor | None = None) -> Tensor:
        mask = () if may_attend is None else (may_attend[:, None],)
        return attention(query[:, :, None], key[:, :, None], value[:, :, None], *mask)[:, :, 0]  # type: ignore[no-any-return]

    return judged


def classes_second(loss: Function) -> Function:
    """For a loss that wants the classes in the second axis, as `torch.nn.functional.cross_entropy` does.

    >>> classes_second(lambda logits, target: logits.shape)(torch.zeros(2, 3, 5), torch.zeros(2, 3))
    torch.Size([2, 5, 3])
    """
    return lambda logits, target, **options: loss(logits.movedim(-1, 1), target, **options)


ADAPTERS = {
    "mask-hides": mask_hides,
    "mask-is-added": mask_is_added,
    "first-result": first_result,
    "second-result": second_result,
    "heads-inside": heads_inside,
    "classes-second": classes_second,
}
"""What the command line offers."""
