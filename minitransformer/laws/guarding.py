"""A function under judgement: remembered in what it is given and gives, and stopped where it has no manners."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

Function = Callable[..., Any]


@dataclass(frozen=True)
class Call:
    """What a function was given, by the names of our arguments, and what it gave."""

    arguments: dict[str, Any]
    result: Any = None


class NotOfferedError(Exception):
    """The function takes no such argument, so a law that gives one can't speak about it."""


class Guarded:
    """The function as a law calls it: tensors in and out, trailing arguments that are None left away.

    What breaks no law, but every caller's trust, is an AssertionError here: arguments changed in place, another answer
    to the same question, another shape or type than `ours` returns, NaN where ours returns numbers, an end of the whole
    program.
    """

    def __init__(self, function: Function, ours: Function, needs_gradient: bool = False) -> None:
        self.function = function
        self.ours = ours
        self.needs_gradient = needs_gradient
        self.speaks_numpy = False
        self.calls: list[Call] = []

    def __call__(self, *args: Any, **options: Any) -> Tensor:
        """Answer as the function does."""
        while args and args[-1] is None:
            args = args[:-1]
        self.require_arguments(args, options)
        names = inspect.signature(self.ours).parameters
        copies = [copy_of(argument) for argument in args]
        asked = {**dict(zip(names, copies, strict=False)), **options}
        self.calls.append(Call(asked))
        result = self.answer(args, options)
        self.calls[-1] = Call(asked, result)
        for name, before, now in zip(names, copies, args, strict=False):
            assert is_same(before, now), f"the function changed its argument {name} in place"
        self.require_form(result, copies, options)
        assert is_same(self.answer(args, options), result), "the function gave two answers to the same arguments"
        return result  # type: ignore[no-any-return]

    def answer(self, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
        """Ask the function, in NumPy if that is what it speaks; the first call finds out."""
        try:
            if not self.speaks_numpy:
                try:
                    found = self.function(*args, **options)
                    if not isinstance(found, np.ndarray | np.generic):
                        return found
                except (TypeError, AttributeError, ValueError, RuntimeError):
                    if not speaks_numpy(self.function, args, options):
                        raise
                self.speaks_numpy = True
            if self.needs_gradient:
                raise NotOfferedError("an array has no gradient")
            found = self.function(*(as_numpy(argument) for argument in args), **options)
        except SystemExit as error:
            raise AssertionError("the function ended the program") from error
        return as_tensor(found, args)

    def require_arguments(self, args: tuple[Any, ...], options: dict[str, Any]) -> None:
        """Refuse what the function cannot be asked.

        Raises: NotOfferedError naming what it does take.
        """
        try:
            signature = inspect.signature(self.function)
        except (TypeError, ValueError):  # a function of C has none
            return
        try:
            signature.bind(*args, **options)
        except TypeError as error:
            raise NotOfferedError(f"it takes {signature}: {error}") from error

    def require_form(self, found: Any, args: list[Any], options: dict[str, Any]) -> None:
        """Demand a tensor of the shape that ours has, and numbers where ours has numbers."""
        assert isinstance(found, Tensor), f"the function returned {type(found).__name__}, but a tensor was expected"
        with torch.no_grad():
            expected = self.ours(*args, **options)
        assert found.shape == expected.shape, (
            f"the function returned shape {tuple(found.shape)}, but {tuple(expected.shape)} was expected"
        )
        n_lost = int((found.isnan() & ~expected.isnan()).sum())
        assert not n_lost, f"the function returned NaN in {n_lost} of {found.numel()} places"


def copy_of(value: Any) -> Any:
    """A copy of a tensor; anything else as it is."""
    return value.detach().clone() if isinstance(value, Tensor) else value


def is_same(before: Any, now: Any) -> bool:
    """Whether two values are the same, bit for bit; NaN is the same as NaN.

    >>> is_same(torch.tensor([float("nan")]), torch.tensor([float("nan")]))
    True
    """
    if not isinstance(before, Tensor) or not isinstance(now, Tensor):
        return before is now or bool(before == now)
    if before.shape != now.shape or before.dtype != now.dtype:
        return False
    return bool(((before == now) | (before.isnan() & now.isnan())).all())


def as_numpy(value: Any) -> Any:
    """A tensor as an array; anything else as it is."""
    return value.detach().numpy() if isinstance(value, Tensor) else value


def as_tensor(found: Any, args: tuple[Any, ...]) -> Any:
    """An array as a tensor, of the type of the arguments where both are fractional; anything else as it is."""
    if not isinstance(found, np.ndarray | np.generic):
        return found
    tensor = torch.from_numpy(np.array(found))
    types = [argument.dtype for argument in args if isinstance(argument, Tensor) and argument.is_floating_point()]
    return tensor.to(types[0]) if types and tensor.is_floating_point() else tensor


def speaks_numpy(function: Function, args: tuple[Any, ...], options: dict[str, Any]) -> bool:
    """Whether a function that did not understand tensors answers to arrays, with an array."""
    try:
        found = function(*(copy_of_array(argument) for argument in args), **options)
    except Exception:
        return False
    return isinstance(found, np.ndarray | np.generic)


def copy_of_array(value: Any) -> Any:
    """A tensor as an array of its own."""
    return np.array(as_numpy(value)) if isinstance(value, Tensor) else value
