"""A function under judgement: remembered in what it is given and gives, and stopped where it has no manners."""

import copy
import inspect
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, is_dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

Function = Callable[..., Any]
MOST_REMEMBERED = 20
"""Of so many calls some are large enough to tell two functions apart."""


@dataclass(frozen=True)
class Call:
    """What a function was given, by the names of our arguments and as it was given, and what it gave."""

    arguments: dict[str, Any]
    result: Any = None
    args: tuple[Any, ...] = ()
    options: dict[str, Any] = field(default_factory=dict)


@dataclass
class Asked:
    """A function that a law hands over, in words and as code, and what it was asked when all was computed last.

    >>> double = Asked("2 · x", lambda x: 2 * x)
    >>> double(3), double.questions
    (6, [3])
    """

    words: str
    answer: Function
    questions: list[Any] = field(default_factory=list, compare=False)

    def __call__(self, question: Any) -> Any:
        """Answer, and remember the question."""
        self.questions.append(question)
        return self.answer(question)

    def __str__(self) -> str:
        return self.words


class NotOfferedError(Exception):
    """The function takes no such argument or type, so a law that gives one can't speak about it."""


class Guarded:
    """The function as a law calls it: in and out go tensors, lists of them or numbers; trailing None is left away.

    What breaks no law, but every caller's trust, is an AssertionError here: arguments changed in place, another answer
    to the same question (unless it may draw), another shape or type than `ours` returns, NaN where ours returns
    numbers, an end of the whole program.
    """

    def __init__(
        self, function: Function, ours: Function, needs_gradient: bool = False, may_draw: bool = False
    ) -> None:
        self.function = function
        self.ours = ours
        self.needs_gradient = needs_gradient
        self.may_draw = may_draw
        self.speaks_numpy = names_numpy(function)
        self.calls: list[Call] = []
        self.last_calls: deque[Call] = deque(maxlen=MOST_REMEMBERED)

    def __call__(self, *args: Any, **options: Any) -> Any:
        """Answer as the function does."""
        while args and args[-1] is None:
            args = args[:-1]
        if reason := reason_against(self.function, args, options):
            raise NotOfferedError(reason)
        names = inspect.signature(self.ours).parameters
        copies = [copy_of(argument) for argument in args]
        asked = {**dict(zip(names, copies, strict=False)), **options}
        self.calls.append(Call(asked, None, tuple(copies), options))
        result = self.answer(args, options)
        if isinstance(result, Iterator):
            result = list(result)
        self.calls[-1] = Call(asked, result, tuple(copies), options)
        self.last_calls.append(self.calls[-1])
        for name, before, now in zip(names, copies, args, strict=False):
            assert is_same(before, now), f"the function changed its argument {name} in place"
        self.require_form(result, copies, options)
        if not self.may_draw:
            assert is_same(self.answer(args, options), result), "the function gave two answers to the same arguments"
        return result

    def answer(self, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
        """Ask the function, in NumPy if that is what it speaks; the first call finds out."""
        each_part(forget_questions, args)
        try:
            if not self.speaks_numpy:
                try:
                    found = self.function(*args, **options)
                    if not is_of_numpy(found):
                        return found
                except (TypeError, AttributeError, ValueError, RuntimeError) as error:
                    if not speaks_numpy(self.function, args, options):
                        require_no_bfloat16(args, error)
                        raise
                self.speaks_numpy = True
            if self.needs_gradient:
                raise NotOfferedError("an array has no gradient")
            if has_bfloat16(args):
                raise NotOfferedError("NumPy has no bfloat16")
            found = self.function(*(as_numpy(argument) for argument in args), **options)
        except SystemExit as error:
            raise AssertionError("the function ended the program") from error
        return as_tensor(found, args)

    def require_form(self, found: Any, args: list[Any], options: dict[str, Any]) -> None:
        """Demand the form of what ours gives."""
        with torch.no_grad():
            expected = self.ours(*args, **options)
        require_like(found, expected)


def reason_against(function: Function, args: tuple[Any, ...], options: dict[str, Any]) -> str:
    """Why a function cannot be asked with these arguments, naming what it does take; nothing if it can.

    >>> reason_against(lambda x: x, (1, 2), {})
    'it takes (x): too many positional arguments'
    """
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # a function of C has none
        return ""
    try:
        signature.bind(*args, **options)
    except TypeError as error:
        plain = [parameter.replace(annotation=parameter.empty) for parameter in signature.parameters.values()]
        return f"it takes ({', '.join(map(str, plain))}): {error}"
    return ""


def require_like(found: Any, expected: Any, place: str = "") -> None:
    """Demand a tensor of the expected shape, a number for a number, or several of these; NaN only where expected.

    Raises: AssertionError in words.

    >>> require_like([torch.zeros(3), {"half": 0.5}], [torch.ones(3), {"half": 1.0}])
    """
    if isinstance(expected, Iterator):  # how many things come of it may be left to chance
        require_kind(found, list, "an iterator", place)
    elif isinstance(expected, nn.Module):  # what it has to be like, laws say
        require_kind(found, nn.Module, "a model", place)
    elif isinstance(expected, list | tuple):
        require_kind(found, list | tuple, "a list", place)
        assert len(found) == len(expected), (
            f"the function returned a list of length {len(found)}{place}, but {len(expected)} was expected"
        )
        for index, (part, expected_part) in enumerate(zip(found, expected, strict=True)):
            require_like(part, expected_part, f"{place} in place {index}")
    elif isinstance(expected, dict):
        require_kind(found, dict, "a dictionary", place)
        assert found.keys() == expected.keys(), (
            f"the function returned {', '.join(found)}{place}, but {', '.join(expected)} was expected"
        )
        for name, part in expected.items():
            require_like(found[name], part, f"{place} under {name!r}")
    elif isinstance(expected, Tensor):
        require_kind(found, Tensor, "a tensor", place)
        require_tensor_like(found, expected, place)
    else:
        # A tensor without axes is as good a number as Python's own.
        number = torch.tensor(found) if isinstance(found, int | float) else found
        is_number = isinstance(number, Tensor) and number.ndim == 0
        assert is_number, expectation(found, "a number", place)
        require_tensor_like(number, torch.tensor(expected), place)


def require_kind(found: Any, kind: Any, in_words: str, place: str) -> None:
    """Demand something of a kind."""
    assert isinstance(found, kind), expectation(found, in_words, place)


def expectation(found: Any, in_words: str, place: str) -> str:
    """What to say of something that is not of the kind expected."""
    return f"the function returned {type(found).__name__}{place}, but {in_words} was expected"


def require_tensor_like(found: Tensor, expected: Tensor, place: str) -> None:
    """Demand a shape, and no NaN where a number is expected."""
    assert found.shape == expected.shape, (
        f"the function returned shape {tuple(found.shape)}{place}, but {tuple(expected.shape)} was expected"
    )
    n_lost = int((found.isnan() & ~expected.isnan()).sum())
    assert not n_lost, f"the function returned NaN in {n_lost} of {found.numel()} places{place}"


def require_no_bfloat16(args: tuple[Any, ...], error: Exception) -> None:
    """Say of a function that raised whether it had been given bfloat16, which its own words may not tell.

    Raises: AssertionError in words.

    >>> require_no_bfloat16((torch.zeros(2),), TypeError("no such type"))
    """
    if has_bfloat16(args):
        first_line = (str(error).strip() or "without a word").split("\n")[0]
        raise AssertionError(f"the function, given bfloat16, raised {type(error).__name__}: {first_line}") from error


def has_bfloat16(value: Any) -> bool:
    """Whether a tensor is of a type that NumPy lacks, or any in a list.

    >>> has_bfloat16([torch.zeros(2), torch.zeros(2).bfloat16()])
    True
    """
    return any(tensor.dtype == torch.bfloat16 for tensor in tensors_in(value))


def each_part(change: Function, value: Any) -> Any:
    """A list, tuple or dictionary with each part changed; anything else changed itself.

    >>> each_part(abs, [-1, (-2, {"three": -3})])
    [1, (2, {'three': 3})]
    """
    if isinstance(value, dict):
        return {name: each_part(change, part) for name, part in value.items()}
    if isinstance(value, list):
        return [each_part(change, part) for part in value]
    return tuple(each_part(change, part) for part in value) if isinstance(value, tuple) else change(value)


def copy_of(value: Any) -> Any:
    """A copy of a tensor or of a record, or of each in a list; anything else as it is."""
    return each_part(copy_of_part, value)


def copy_of_part(part: Any) -> Any:
    """A copy of a tensor or a record, and a function handed over that nobody has asked yet; anything else as it is."""
    if isinstance(part, Asked):
        return Asked(part.words, part.answer)
    if isinstance(part, Tensor):
        return part.detach().clone()
    return copy.deepcopy(part) if is_dataclass(part) else part


def forget_questions(part: Any) -> None:
    """Let a function that a law hands over remember the coming questions alone."""
    if isinstance(part, Asked):
        part.questions.clear()


def is_same(before: Any, now: Any) -> bool:
    """Whether two values are the same, bit for bit; NaN is the same as NaN.

    >>> is_same([torch.tensor([float("nan")])], [torch.tensor([float("nan")])])
    True
    """
    if isinstance(before, dict) and isinstance(now, dict):
        return before.keys() == now.keys() and all(is_same(before[name], now[name]) for name in before)
    if isinstance(before, list | tuple) and isinstance(now, list | tuple):
        return len(before) == len(now) and all(map(is_same, before, now))
    if not isinstance(before, Tensor) or not isinstance(now, Tensor):
        return before is now or bool(before == now)
    if before.shape != now.shape or before.dtype != now.dtype:
        return False
    return bool(((before == now) | (before.isnan() & now.isnan())).all())


def as_numpy(value: Any) -> Any:
    """A tensor as an array, or each in a list; anything else as it is."""
    return each_part(lambda part: part.detach().numpy() if isinstance(part, Tensor) else part, value)


def as_tensor(found: Any, args: tuple[Any, ...]) -> Any:
    """An array or a fraction as a tensor, or each in a list, of the type of the arguments where both are fractional."""
    types = [tensor.dtype for tensor in tensors_in(args) if tensor.is_floating_point()]

    def convert(part: Any) -> Any:
        if not isinstance(part, np.ndarray | np.generic | float):
            return part
        tensor = torch.from_numpy(np.array(part))
        return tensor.to(types[0]) if types and tensor.is_floating_point() else tensor

    return each_part(convert, found)


def tensors_in(value: Any) -> list[Tensor]:
    """All tensors in a value, in lists of lists and in dictionaries too."""
    if isinstance(value, dict):
        return tensors_in(list(value.values()))
    if isinstance(value, list | tuple):
        return [tensor for part in value for tensor in tensors_in(part)]
    return [value] if isinstance(value, Tensor) else []


def is_of_numpy(found: Any) -> bool:
    """Whether something is an array or a number of NumPy, or begins with one.

    >>> is_of_numpy([np.zeros(2)]), is_of_numpy([2.0])
    (True, False)
    """
    if isinstance(found, list | tuple):
        return bool(found) and is_of_numpy(found[0])
    return isinstance(found, np.ndarray | np.generic)


def names_numpy(function: Function) -> bool:
    """Whether the code of a function names NumPy and not PyTorch, which answers to some calls with tensors of its own.

    >>> names_numpy(lambda x: np.equal(x, 0)), names_numpy(lambda x: x == 0)
    (True, False)
    """
    code = getattr(function, "__code__", None)
    used = [getattr(function, "__globals__", {}).get(name) for name in (code.co_names if code else ())]
    return any(thing is np for thing in used) and not any(thing is torch for thing in used)


def speaks_numpy(function: Function, args: tuple[Any, ...], options: dict[str, Any]) -> bool:
    """Whether a function that did not understand tensors answers to arrays, with arrays or a number."""
    arrays = each_part(copy_of_array, args)
    try:
        found = function(*arrays, **options)
    except Exception:
        return False
    return is_of_numpy(found) or isinstance(found, float)


def copy_of_array(value: Any) -> Any:
    """A tensor as an array of its own; bfloat16, which arrays don't have, in float32."""
    if not isinstance(value, Tensor):
        return value
    return np.array(as_numpy(value.float() if has_bfloat16(value) else value))
