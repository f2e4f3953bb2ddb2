"""One forward pass, every intermediate by its name, shape and equation."""

import inspect
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from difflib import get_close_matches
from fnmatch import fnmatchcase
from types import FrameType
from typing import Any

import torch
from torch import Tensor, nn

from minitransformer import kernels
from minitransformer.errors import InputError
from minitransformer.tracing.axes import (
    UNKNOWN,
    Axes,
    annotated,
    axes_from_annotation,
    axes_from_name,
    axes_like,
    sizes_in,
)
from minitransformer.tracing.intermediate import ARGUMENT, RESULT, STEP, Intermediate
from minitransformer.tracing.watching import equation_of, is_equation, watching

ROUNDS = 3
"""How often axes are found by those of others, which may have to be found first."""


class Trace:
    """The intermediates of a pass, in the order of the data flow; each is asked for by its name.

    The end of a name is enough where no other name ends so: `trace["blocks.0.attention.weights"]`.
    """

    def __init__(self, intermediates: Sequence[Intermediate], output: Any) -> None:
        self.intermediates = tuple(intermediates)
        self.output = output
        self._by_name = {each.name: each for each in intermediates}
        for each in intermediates:
            for alias in each.aliases:
                self._by_name.setdefault(alias, each)

    def __getitem__(self, name: str) -> Tensor:
        return self.find(name).value

    def __iter__(self) -> Iterator[Intermediate]:
        return iter(self.intermediates)

    def __len__(self) -> int:
        return len(self.intermediates)

    def find(self, name: str) -> Intermediate:
        """The intermediate of a name.

        Raises: InputError for a name that none has, or several end with.
        """
        if name in self._by_name:
            return self._by_name[name]
        ending = {id(each): known for known, each in self._by_name.items() if known.endswith(f".{name}")}
        if len(ending) == 1:
            return self._by_name[next(iter(ending.values()))]
        near = list(ending.values()) or get_close_matches(name, self._by_name, n=3, cutoff=0.4)
        rule = f"is the end of {len(ending)} names" if ending else "names no intermediate of the trace"
        raise InputError(f"{name!r} {rule}; it has {', '.join(map(repr, near[:3])) or 'others'}")

    def only(self, pattern: str) -> "Trace":
        """Those whose name fits a pattern, in which * stands for anything.

        Raises: InputError if none fits.
        """
        found = [each for each in self if any(fnmatchcase(name, pattern) for name in (each.name, *each.aliases))]
        if not found:
            raise InputError(f"only={pattern!r} fits no name of the trace; try '*.attention.*'")
        return Trace(found, self.output)

    def __str__(self) -> str:
        cells = [("name", "equation", "shape", "type", "least … mean … largest")]
        for each in self:
            equation = f"eq:{each.equation}" if each.equation else ""
            dtype = str(each.value.dtype).removeprefix("torch.")
            cells.append((each.name, equation, each.shape, dtype, each.summary))
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        rows = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in cells)
        return "\n".join(row.rstrip() for row in rows)

    def page(self, title: str) -> str:
        """A page of pictures, which needs no network."""
        from minitransformer.tracing.page import trace_page  # noqa: PLC0415 - it draws, which takes long to load

        return trace_page(self, title)

    def _repr_html_(self) -> str:
        from minitransformer.tracing.page import trace_table  # noqa: PLC0415 - it draws, which takes long to load

        return trace_table(self)


def trace(model: nn.Module, **inputs: Any) -> Trace:
    """Run a model once by its equations, and keep every intermediate.

    The model runs in the mode that it is in. Nothing is left of it: no hook, no gradient, no random number drawn.

    >>> from minitransformer import Encoder
    >>> encoder = Encoder(n_blocks=1, d_model=6, n_heads=2, d_ff=5)
    >>> traced = trace(encoder, x=torch.zeros(1, 3, 6))
    >>> traced["blocks.0.attention.weights"].shape, traced.find("blocks.0.attention.weights").equation
    (torch.Size([1, 2, 3, 3]), 'attention-weights')
    """
    recorder = Recorder(model)
    watched = watching(recorder.called, recorder.returned)
    with left_as_it_was(model), torch.no_grad(), kernels.use("equations"), watched:
        output = model(**inputs)
    return Trace(recorder.named(), output)


@contextmanager
def left_as_it_was(model: nn.Module) -> Iterator[None]:
    """Give a model its buffers back after the block, and the generator its state."""
    before = [buffer.clone() for buffer in model.buffers()]
    with torch.random.fork_rng():
        yield
    with torch.no_grad():
        for buffer, value in zip(model.buffers(), before, strict=True):
            buffer.copy_(value)


@dataclass(eq=False)
class Call:
    """A part of the model, or an equation, while it computes."""

    frame: FrameType
    path: str
    """The part of the model, such as encoder.blocks.0.attention."""
    function: str
    """The equation's function; empty for the part itself."""
    equation: str
    spelled: Mapping[str, str]
    """The axes of arguments and result ("return"), as annotated."""
    arguments: Mapping[str, Any]
    depth: int
    tensors: list[Intermediate] = field(default_factory=list)
    """What it was given, computed and gave."""


class Recorder:
    """What takes down each tensor of a pass, when it first appears."""

    def __init__(self, model: nn.Module) -> None:
        self.paths = {id(module): path for path, module in model.named_modules()}
        self.sizes = sizes_in(model)
        self.calls: list[Call] = []
        self.done: list[Call] = []
        self.found: list[Intermediate] = []
        self.of_tensor: dict[int, Intermediate] = {}
        self.parameters = {id(tensor): name for name, tensor in (*model.named_parameters(), *model.named_buffers())}
        self.taken: dict[str, Intermediate] = {}

    def called(self, frame: FrameType) -> None:
        """Take down the arguments that are new, and before them the steps that led to them."""
        code = frame.f_code
        if code.co_name == "forward" and id(frame.f_locals.get("self")) in self.paths:
            path, function = self.paths[id(frame.f_locals["self"])], ""
            spelled = spelled_out(type(frame.f_locals["self"]).forward)
        elif self.calls and is_equation(code):
            path, function = self.calls[-1].path, code.co_name
            spelled = spelled_out(frame.f_globals.get(code.co_name))
        else:
            return
        if self.calls:
            self.take_steps(self.calls[-1])
        equation = equation_of(code) or (self.calls[-1].equation if self.calls else "")
        arguments = {name: value for name, value in frame.f_locals.items() if name != "self"}
        call = Call(frame, path, function, equation, spelled, arguments, len(self.calls))
        self.calls.append(call)
        for name, value in arguments.items():
            if isinstance(value, Tensor):
                self.take_argument(call, name, value)

    def take_argument(self, call: Call, name: str, value: Tensor) -> None:
        """Take down an argument, unless it is known already."""
        axes = axes_from_annotation(call.spelled.get(name, ""), value.shape, self.sizes)
        if axes and not call.function:
            self.sizes |= {axis: size for axis, size in zip(axes, value.shape, strict=True) if axis.isalpha()}
        if id(value) in self.parameters:
            return
        if id(value) not in self.of_tensor:
            self.add(call, Intermediate(name, value, call.equation, ARGUMENT, call.depth, axes=axes))
        else:
            call.tensors.append(self.of_tensor[id(value)])

    def take_steps(self, call: Call) -> None:
        """Take down the locals of a call that are new; an equation's result is called as the local that it became."""
        for name, value in call.frame.f_locals.items():
            if not isinstance(value, Tensor) or id(value) in self.parameters or call.arguments.get(name) is value:
                continue
            known = self.of_tensor.get(id(value))
            if known is None:
                axes = axes_from_name(name, value.shape)
                self.add(call, Intermediate(name, value, call.equation, STEP, call.depth + 1, axes=axes))
            elif known.function and known.name == self.joined(call.path, known.function):
                self.rename(known, self.joined(call.path, name))
            else:
                self.also_call(known, self.joined(call.path, name))

    def returned(self, frame: FrameType, result: Any) -> None:
        """Take down what a call gives, unless it gives back what it was given."""
        if not self.calls or self.calls[-1].frame is not frame:
            return
        call = self.calls[-1]
        self.take_steps(call)
        self.calls.pop()
        self.done.append(call)
        if isinstance(result, Tensor):
            self.take_result(call, result)
        elif not call.function:
            for name, value in fields_of(result):
                self.take_field(call, name, value)

    def take_result(self, call: Call, result: Tensor) -> None:
        """Take down a result; a part that only hands on an equation's result gives it the part's name."""
        known = self.of_tensor.get(id(result))
        name = call.function or call.path or "output"
        if any(result is argument for argument in call.arguments.values()) or id(result) in self.parameters:
            if known is not None and not call.function:
                self.also_call(known, name)
            return
        axes = axes_from_annotation(call.spelled.get("return", ""), result.shape, self.sizes)
        own = equation_of(call.frame.f_code)
        is_handed_on = known is not None and known.depth == call.depth + 1 and known.kind == RESULT
        if known is not None and is_handed_on and not call.function and not (own and known.has_equation):
            self.hand_on(call, known, name, axes, own)
            return
        found = Intermediate(name, result, call.equation, RESULT, call.depth, call.function, call.arguments, axes=axes)
        found.has_equation = bool(own)
        self.add(call, found)

    def hand_on(self, call: Call, found: Intermediate, name: str, axes: Axes | None, equation: str) -> None:
        """Let the result of a part's last step be that of the part: one of the two has no equation of its own."""
        self.rename(found, name)
        found.axes, found.depth, found.within = found.axes or axes, call.depth, ""
        found.equation, found.has_equation = equation or found.equation, bool(equation) or found.has_equation
        self.join(call, found)

    def take_field(self, call: Call, name: str, value: Tensor) -> None:
        """Take down one of several results."""
        if id(value) in self.of_tensor:
            self.also_call(self.of_tensor[id(value)], self.joined(call.path, name))
        elif id(value) not in self.parameters:
            self.add(call, Intermediate(name, value, call.equation, RESULT, call.depth))

    def add(self, call: Call, found: Intermediate) -> None:
        """Take down a tensor under a name that no other has; a part's own names come before those of functions."""
        is_part = found.kind == RESULT and found.name == call.path
        plain = found.name if is_part else self.joined(call.path, found.name)
        longer = ".".join(part for part in (call.path, call.function, found.name) if part)
        found.within = call.function
        holder = self.taken.get(plain)
        if holder is not None and holder.name == plain and holder.within and not call.function:
            holder.name = self.free(self.joined(call.path, f"{holder.within}.{found.name}"))
            self.taken[holder.name] = holder
            del self.taken[plain]
        found.name = self.free(plain if plain not in self.taken else longer)
        self.taken[found.name] = found
        self.found.append(found)
        self.of_tensor[id(found.value)] = found
        self.join(call, found)

    def join(self, call: Call, found: Intermediate) -> None:
        """Count a tensor among those of a call, and of the one around it."""
        call.tensors.append(found)
        if found.kind == RESULT and self.calls and self.calls[-1] is not call:
            self.calls[-1].tensors.append(found)

    def rename(self, found: Intermediate, name: str) -> None:
        """Give a tensor a better name, and keep the old one beside it."""
        if name not in self.taken:
            found.aliases.append(found.name)
            found.name = name
            self.taken[name] = found

    def also_call(self, found: Intermediate, name: str) -> None:
        """Give a tensor a second name, if it is free."""
        if name not in self.taken:
            found.aliases.append(name)
            self.taken[name] = found

    def free(self, name: str) -> str:
        """The name, with a number if it is taken."""
        number = 2
        free = name
        while free in self.taken:
            free, number = f"{name}#{number}", number + 1
        return free

    @staticmethod
    def joined(path: str, name: str) -> str:
        """A name within a part of the model."""
        return f"{path}.{name}" if path else name

    def named(self) -> list[Intermediate]:
        """All that was taken down, with the axes that follow from others, and the names of what was read."""
        for _ in range(ROUNDS):
            for call in self.done:
                self.complete_axes(call)
        names = self.parameters | {key: found.name for key, found in self.of_tensor.items()}
        for found in self.found:
            read = (names.get(id(value)) for value in found.arguments.values() if isinstance(value, Tensor))
            found.reads = tuple(name for name in read if name)
        return self.found

    def complete_axes(self, call: Call) -> None:
        """Find axes by those of the other tensors of a call, first of all by those of the same shape."""
        for found in call.tensors:
            if found.axes is None:
                known = [other for other in call.tensors if other.axes is not None and UNKNOWN not in other.axes]
                known.sort(key=lambda other: other.value.shape != found.value.shape)
                guesses = (
                    axes_like(found.value.shape, each.value.shape, each.axes or (), self.sizes) for each in known
                )
                found.axes = next((guess for guess in guesses if guess is not None), None)


def spelled_out(function: Any) -> dict[str, str]:
    """The axes of a function's arguments and of its result, as annotated."""
    annotations = inspect.unwrap(function).__annotations__ if callable(function) else {}
    return {name: annotated(annotation) for name, annotation in annotations.items()}


def fields_of(result: Any) -> Iterator[tuple[str, Tensor]]:
    """The tensors among several results, by name, or by number."""
    if hasattr(result, "items"):
        pairs = result.items()
    elif isinstance(result, tuple | list):
        pairs = ((str(number), value) for number, value in enumerate(result))
    else:
        return
    for name, value in pairs:
        if isinstance(value, Tensor):
            yield name, value
        elif isinstance(value, tuple | list):
            yield from ((f"{name}.{number}", tensor) for number, tensor in fields_of(value))
