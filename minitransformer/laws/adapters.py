"""Adapters of one word, for code with other conventions than ours.

Each takes a function and gives one that can be judged: `check(adapters.mask_hides(theirs), "attention")`. For anything
else a lambda does it: `lambda query, key, value: theirs(value, key, query)`.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial, wraps
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from minitransformer.errors import InputError
from minitransformer.laws.modules import BUILT, Build, Parameters, of_class
from minitransformer.laws.training_functions import adamw

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


@dataclass(frozen=True)
class AdaptedModule:
    """A class of modules with what makes it answer to our names of parameters and to our arguments."""

    build: Build
    __name__: str

    def as_claimed(self, claim: str) -> Function:
        """The function that a claim asks for, which builds such a module and calls it.

        Raises: InputError for a claim that is no module's.
        """
        if claim not in BUILT:
            raise InputError(f"no module can claim to be {claim!r}; give a function, or one of {', '.join(BUILT)}")
        return partial(BUILT[claim], build=self.build)


def module(
    module_class: Callable[..., nn.Module],
    names: Mapping[str, str] = MappingProxyType({}),
    translate: Callable[[Parameters], Mapping[str, Tensor]] | None = None,
    call: Callable[..., Any] | None = None,
) -> AdaptedModule:
    """For a class of modules: `module(Theirs, {"query": "w_q"})` says that what we call query is called w_q there.

    The class is built from sizes alone (`minitransformer.laws.modules` has them for each claim). `translate` does more
    than renaming, from a dictionary of our parameters to one of theirs; `call(module, *inputs)` fits other arguments.

    >>> from minitransformer.laws import check
    >>> class Network(nn.Module):
    ...     def __init__(self, d_model, d_ff):
    ...         super().__init__()
    ...         self.fc1, self.fc2 = nn.Linear(d_model, d_ff), nn.Linear(d_ff, d_model)
    ...     def forward(self, x):
    ...         return self.fc2(self.fc1(x).relu())
    >>> check(module(Network, {"inner": "fc1", "outer": "fc2"}), "feed-forward", max_examples=10).passed
    True
    """

    def with_their_names(parameters: Parameters) -> Parameters:
        return {renamed(name, names): tensor for name, tensor in parameters.items()}

    build = of_class(module_class, translate or with_their_names, call)
    return AdaptedModule(build, getattr(module_class, "__name__", type(module_class).__name__))


def optimizer(optimizer_class: Callable[..., torch.optim.Optimizer]) -> Function:
    """For a class of optimizers, built as PyTorch's are: `check(optimizer(torch.optim.AdamW), "adamw")`.

    >>> optimizer(torch.optim.AdamW)(torch.zeros(1), [torch.ones(1)], 0.5, (0.9, 0.999), 1e-8, 0.0)
    tensor([-0.5000])
    """
    judged = partial(adamw, build=optimizer_class)
    judged.__name__ = getattr(optimizer_class, "__name__", "optimizer")  # type: ignore[attr-defined] # as reports call it
    return judged


def renamed(name: str, names: Mapping[str, str]) -> str:
    """The name of a parameter with its parts called as they are there.

    >>> renamed("attention.query.weight", {"query": "w_q", "attention": "mha"})
    'mha.w_q.weight'
    """
    return ".".join(names.get(part, part) for part in name.split("."))


ADAPTERS = {
    "mask-hides": mask_hides,
    "mask-is-added": mask_is_added,
    "first-result": first_result,
    "second-result": second_result,
    "heads-inside": heads_inside,
    "classes-second": classes_second,
}
"""What the command line offers."""
