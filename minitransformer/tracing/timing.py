"""Where the time of a training step goes: forward, backward and update, equation by equation.

Every moment of a step belongs to the innermost equation at work. Going back, a node of the graph belongs to the
equation that made it: nodes are numbered in the order in which they were made, so its number tells which one that was.
"""

import time
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from statistics import median
from types import FrameType
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import Node

from minitransformer import kernels
from minitransformer.errors import InputError
from minitransformer.tracing.watching import equation_of, tags, watching
from minitransformer.trainer.learner import Learner
from minitransformer.trainer.processes import Processes
from minitransformer.trainer.reading import MicroBatch
from minitransformer.training_arguments import TrainingArguments

FORWARD, BACKWARD, UPDATE = PHASES = ("forward", "backward", "update")
OUTSIDE = "outside any equation"
ADDING = "gradients added up"
GO_BACK = torch.Tensor.backward.__code__
NO_NUMBER = 2**63
"""Nodes with numbers from here on were made by no operation."""


@dataclass(frozen=True)
class EquationTime:
    """The seconds of a step that belong to one equation."""

    equation: str
    """Its tag, or that it is none."""
    forward: float
    backward: float
    update: float

    @property
    def name(self) -> str:
        """How the equation is called elsewhere."""
        return self.equation if " " in self.equation else f"eq:{self.equation}"

    @property
    def seconds(self) -> float:
        """All of them."""
        return self.forward + self.backward + self.update


@dataclass(frozen=True)
class StepTimes:
    """A training step by equation, the longest first, and what it takes when nobody watches."""

    kernels: str
    rows: tuple[EquationTime, ...]
    unwatched: float

    @property
    def seconds(self) -> float:
        """The whole step, while watched."""
        return sum(row.seconds for row in self.rows)

    def share(self, row: EquationTime) -> float:
        """What an equation takes of the step."""
        return row.seconds / self.seconds

    def entries(self) -> list[dict[str, Any]]:
        """The rows as plain values."""
        return [
            {"name": row.name, **{phase: getattr(row, phase) for phase in PHASES}, "share": self.share(row)}
            for row in self.rows
        ]

    def __str__(self) -> str:
        cells: list[tuple[str, ...]] = [(self.kernels, *PHASES, "together", "share")]
        phases = (sum(getattr(row, phase) for row in self.rows) for phase in PHASES)
        whole = EquationTime("a whole step", *phases)
        for row in (*self.rows, whole):
            times = [f"{1e3 * getattr(row, phase):.2f} ms" for phase in (*PHASES, "seconds")]
            cells.append((row.name, *times, f"{self.share(row):.1%}"))
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        lines = ["  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in cells]
        cost = self.seconds / self.unwatched - 1
        note = f"Unwatched, a step takes {1e3 * self.unwatched:.2f} ms: watching it costs {cost:.0%}."
        return "\n".join([*lines[:-1], "-" * len(lines[0]), lines[-1], "", note])


def time_step(
    model: nn.Module,
    batch: Mapping[str, Any],
    kind: str = "fused",
    steps: int = 5,
    warmups: int = 2,
    args: TrainingArguments | None = None,
) -> StepTimes:
    """The mean time of each equation in training steps of a copy of the model, as the trainer makes them.

    Watched and unwatched steps take turns. On an accelerator, watching waits for each equation to end.

    Raises: InputError for fewer than one step.
    """
    if steps < 1 or warmups < 0:
        raise InputError(f"steps={steps} must be at least 1, and warmups={warmups} at least 0")
    args = args or TrainingArguments("none", disable_tqdm=True, use_cpu=True)
    with torch.random.fork_rng(), kernels.use(kind):
        learner = Learner(deepcopy(model), args, Processes())
        watch = Watch(learner.device)
        unwatched = []
        n_steps = warmups + 2 * steps
        with learner.training():
            for number in range(n_steps):
                is_watched = number >= warmups and (number - warmups) % 2 == 0
                begin = watch.now()
                with watch.step() if is_watched else nullcontext():
                    learner.learn([MicroBatch(dict(batch))], step=number, max_steps=n_steps)
                if number >= warmups and not is_watched:
                    unwatched.append(watch.now() - begin)
    return StepTimes(kind, watch.rows(steps), median(unwatched))


class Watch:
    """A clock that knows which equation is at work."""

    def __init__(self, device: torch.device) -> None:
        tags()  # read before the clock runs
        self.device = device
        self.seconds: defaultdict[tuple[str, str], float] = defaultdict(float)
        self.last = 0.0
        self.phase = FORWARD
        self.at_work = [""]
        """The equations at work, the innermost last."""
        self.frames: list[FrameType] = []
        """The functions that compute them."""
        self.first_nodes = [0]
        """The numbers of nodes from which on others make them."""
        self.makers = [""]
        """The equations that make the nodes from each of these numbers on."""

    @contextmanager
    def step(self) -> Iterator[None]:
        """Watch a step."""
        self.phase, self.at_work, self.frames = FORWARD, [""], []
        self.first_nodes, self.makers = [0], [""]
        self.last = self.now()
        with watching(self.called, self.returned):
            yield
        self.book()

    def now(self) -> float:
        """The time, when an accelerator has done all that it was given."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()

    def book(self) -> None:
        """Count the time since the last change for the equation at work."""
        self.seconds[self.at_work[-1], self.phase] += self.now() - self.last

    def called(self, frame: FrameType) -> None:
        """Change to an equation that begins; what the watch itself needs counts for nobody."""
        equation = equation_of(frame.f_code)
        if not equation and frame.f_code is not GO_BACK:
            return
        self.book()
        self.frames.append(frame)
        self.at_work.append(equation)
        if frame.f_code is GO_BACK:
            self.phase = BACKWARD
            self.watch_nodes(frame.f_locals["self"])
        self.note_maker()
        self.last = self.now()

    def returned(self, frame: FrameType, _: Any) -> None:
        """Change back when an equation ends."""
        if not self.frames or self.frames[-1] is not frame:
            return
        self.book()
        self.frames.pop()
        self.at_work.pop()
        if frame.f_code is GO_BACK:
            self.phase = UPDATE
        self.note_maker()
        self.last = self.now()

    def note_maker(self) -> None:
        """Note that the nodes from here on are made by the equation at work."""
        self.first_nodes.append(torch._C._autograd._get_sequence_nr())
        self.makers.append(self.at_work[-1])

    def watch_nodes(self, loss: Tensor) -> None:
        """Have each node of a graph say when it begins and ends."""
        for node in nodes_of(loss):
            node.register_prehook(partial(self.node_begins, self.maker_of(node)))
            node.register_hook(self.node_ends)

    def maker_of(self, node: Node) -> str:
        """The equation that made a node; those that add to the gradients of parameters were made by none."""
        number = node._sequence_nr()
        if number >= NO_NUMBER:
            return ADDING
        return self.makers[bisect_right(self.first_nodes, number) - 1]

    def node_begins(self, equation: str, *_: Any) -> None:
        """Change to the equation of a node."""
        self.book()
        self.at_work.append(equation)
        self.last = self.now()

    def node_ends(self, *_: Any) -> None:
        """Change back from a node."""
        self.book()
        self.at_work.pop()
        self.last = self.now()

    def rows(self, steps: int) -> tuple[EquationTime, ...]:
        """The mean over some steps, the longest first."""
        names = dict.fromkeys(equation for equation, _ in self.seconds)
        found = [
            EquationTime(name or OUTSIDE, *(self.seconds[name, phase] / steps for phase in PHASES)) for name in names
        ]
        return tuple(sorted(found, key=lambda row: -row.seconds))


def nodes_of(loss: Tensor) -> Iterator[Node]:
    """Every node of the graph that leads to a loss, once."""
    waiting: list[Node | None] = [loss.grad_fn]
    seen: set[Node] = set()
    while waiting:
        node = waiting.pop()
        if node is not None and node not in seen:
            seen.add(node)
            yield node
            waiting += [before for before, _ in node.next_functions]
