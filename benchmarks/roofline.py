"""The floors under every time: what this machine can do at best, and how much a model has to compute and to move.

    python benchmarks/roofline.py [--quick]

No program is faster than its operations at the machine's best rate, nor than its bytes at the machine's best rate. The
larger of the two times is the floor; what a program reaches of it is its share. benchmarks/README.md derives them.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
import tyro
from machine import TYPES, Machine, fastest, matmul_rate, measure_machine
from matplotlib.figure import Figure
from operations import (
    FLOAT,
    Work,
    forward_operations,
    inference_bytes,
    n_parameters,
    training_bytes,
    training_operations,
)
from results import FOLDER, Results, Row
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode
from turns import Side, in_turns, ratio, spread

from minitransformer import attention, dropout, feed_forward, kernels, losses, norm, optimizer
from minitransformer.doctor import random_batch_for
from minitransformer.models.bert import BertForPreTraining
from minitransformer.models.bert_config import BertConfig
from minitransformer.plots.drawing import BLUE, FAINT, INK, ORANGE, plain

__all__ = [
    "Floor",
    "Machine",
    "Work",
    "inference_token_floor",
    "measure_machine",
    "share_of_floor",
    "training_operations",
    "training_token_floor",
]

LENGTH = 128
KINDS = ("equations", "fused")
ROUNDING = 1e-5
"""Of float32, beside the largest entry."""
SAME_TWICE = ("linear", "attention", "layer_norm", "gelu", "cross_entropy")
"""Kernels that give the same for the same: dropout draws, and an update changes what it is given."""
SAME_OPERATIONS = 1e-9


@dataclass(frozen=True)
class Floor:
    """Seconds for each token that the operations take at least, and the bytes."""

    compute: float
    memory: float

    @property
    def seconds(self) -> float:
        """The larger of the two; a perfect program does one while it does the other."""
        return max(self.compute, self.memory)

    @property
    def limit(self) -> str:
        """Which of the two it is."""
        return "compute" if self.compute >= self.memory else "memory"


def training_token_floor(work: Work, machine: Machine, dtype: str = "float32") -> Floor:
    """The least that a token of a training step takes."""
    return floor_of(training_operations(work), training_bytes(work, dtype), work.n_tokens, machine, dtype)


def inference_token_floor(work: Work, machine: Machine, dtype: str = "float32") -> Floor:
    """The least that a token of a forward pass takes."""
    return floor_of(forward_operations(work), inference_bytes(work, dtype), work.n_tokens, machine, dtype)


def floor_of(
    operations: dict[str, float], moved: dict[str, float], n_tokens: int, machine: Machine, dtype: str
) -> Floor:
    """Both times, shared out among the tokens."""
    return Floor(
        sum(operations.values()) / machine.rate(dtype) / n_tokens, sum(moved.values()) / machine.copy / n_tokens
    )


def share_of_floor(seconds: float, floor: Floor) -> float:
    """What a program that takes some seconds for a token reaches of what the machine could do: 1 is perfect.

    >>> share_of_floor(4.0, Floor(compute=1.0, memory=0.5))
    0.25
    """
    return floor.seconds / seconds


Action = Callable[[], Any]


@dataclass(frozen=True)
class Kernel:
    """What there is to do at the sizes of a configuration, and how to do it by whichever kind is in use.

    Here an operation is any arithmetic, an exponential counted as one, and bytes are those of arguments and results.
    """

    name: str
    operations: float
    n_bytes: float
    action: Action

    @property
    def intensity(self) -> float:
        """Operations for each byte."""
        return self.operations / self.n_bytes

    def least_seconds(self, machine: Machine) -> float:
        """The roof above it."""
        return max(self.operations / machine.float32, self.n_bytes / machine.copy)

    def by(self, kind: str) -> Any:
        """What it gives by the equations, or by their fused twin."""
        with kernels.use(kind):
            return self.action()


@dataclass(frozen=True)
class Timed:
    """A kernel, and the seconds of each turn by both kinds."""

    kernel: Kernel
    seconds: dict[str, list[float]]

    def rate(self, kind: str) -> float:
        """Operations per second, in the median."""
        return self.kernel.operations / spread(self.seconds[kind])["median"]

    def row(self, machine: Machine) -> Row:
        """What was measured, and its share of the roof."""
        least = self.kernel.least_seconds(machine)
        return {
            "kernel": self.kernel.name,
            "operations a byte": f"{self.kernel.intensity:.1f}",
            **{f"{kind}, ms": spread([1e3 * turn for turn in self.seconds[kind]]) for kind in KINDS},
            "fused over equations": ratio(self.seconds["equations"], self.seconds["fused"]),
            **{f"{kind}, share of the roof": spread([least / turn for turn in self.seconds[kind]]) for kind in KINDS},
        }


def kernels_of(config: BertConfig, n_tokens: int, length: int) -> list[Kernel]:
    """Each kernel at the sizes of a configuration."""
    d, f, h, v = config.hidden_size, config.intermediate_size, config.num_attention_heads, config.vocab_size
    x, wide = torch.randn(n_tokens, d), torch.randn(n_tokens, f)
    gain, bias = torch.ones(d), torch.zeros(d)
    weight = torch.randn(f, d)
    heads = torch.randn(n_tokens // length, h, length, d // h)
    n_scored = max(1, round(0.15 * n_tokens))
    logits, target = torch.randn(n_scored, v), torch.randint(v, (n_scored,))
    n_weights = n_parameters(config)
    parameter, gradient, first, second = (torch.full((n_weights,), 0.5) for _ in range(4))

    def adamw_update() -> Tensor:
        optimizer.adamw_update([parameter], [gradient], [first], [second], 1, 1e-4, (0.9, 0.999), 1e-6, 0.01)
        return parameter

    return [
        Kernel(
            "linear",
            2 * n_tokens * d * f,
            FLOAT * (n_tokens * d + d * f + n_tokens * f),
            lambda: torch.nn.functional.linear(x, weight),
        ),
        Kernel(
            "attention",
            4 * n_tokens * length * d + 5 * n_tokens * length * h,
            FLOAT * 4 * n_tokens * d,
            lambda: attention.scaled_dot_product_attention(heads, heads, heads),
        ),
        Kernel("layer_norm", 8 * n_tokens * d, FLOAT * 2 * n_tokens * d, lambda: norm.layer_norm(x, gain, bias)),
        Kernel("gelu", 5 * n_tokens * f, FLOAT * 2 * n_tokens * f, lambda: feed_forward.gelu(wide)),
        Kernel("dropout", 3 * n_tokens * d, FLOAT * 2 * n_tokens * d, lambda: dropout.dropout(x, 0.1)),
        Kernel(
            "cross_entropy",
            4 * n_scored * v,
            FLOAT * n_scored * v,
            lambda: losses.token_cross_entropy(logits, target),
        ),
        Kernel("adamw_update", 14 * n_weights, 7 * FLOAT * n_weights, adamw_update),
    ]


def whole_step(config: BertConfig, n_sequences: int, length: int) -> Kernel:
    """A whole training step."""
    work = Work(config, [length] * n_sequences, predicted=max(1, round(0.15 * length)) / length)
    operations, n_bytes = sum(training_operations(work).values()), sum(training_bytes(work).values())
    return Kernel("training step", operations, n_bytes, training_step(config, n_sequences, length))


def check(results: Results, each: Sequence[Kernel]) -> None:
    """Demand that the fused twins compute what the equations say, and that a step has the operations of the formula."""
    for kernel in each:
        if kernel.name in SAME_TWICE:
            read, twin = kernel.by("equations"), kernel.by("fused")
            distance = float((read - twin).abs().max() / read.abs().max())
            results.check(f"{kernel.name} by equations and fused", distance, ROUNDING)
    step = next(kernel for kernel in each if kernel.name == "training step")
    with FlopCounterMode(display=False) as counter:
        step.by("equations")
    gap = math.fabs(counter.get_total_flops() / step.operations - 1)
    results.check("operations of a step, counted and by formula,", gap, SAME_OPERATIONS)
    results.require_checks()


def in_turns_by_both_kinds(kernel: Kernel, turns: int, seconds: float) -> Timed:
    """A kernel by the equations and by its fused twin; a turn repeats it until it takes seconds."""

    def side(kind: str) -> Side:
        repeats = max(1, round(seconds / fastest(lambda: kernel.by(kind), 0.0)))

        def turn() -> float:
            started = time.perf_counter()
            for _ in range(repeats):
                kernel.by(kind)
            return (time.perf_counter() - started) / repeats

        return turn

    with torch.no_grad() if kernel.name != "training step" else torch.enable_grad():
        return Timed(kernel, in_turns({kind: side(kind) for kind in KINDS}, turns))


def training_step(config: BertConfig, n_sequences: int, length: int) -> Action:
    """A step of pretraining on random tokens, 15 % of them predicted: loss, gradients, clipping, AdamW."""
    torch.manual_seed(0)
    model = BertForPreTraining(config)
    adamw = optimizer.AdamW(model.parameters(), lr=1e-4)
    batch = random_batch_for(model, n_sequences, length)

    def step() -> None:
        parts = model.training_losses(**batch)
        torch.stack([part.mean for part in parts.values()]).sum().backward()
        parameters = [parameter for parameter in model.parameters() if parameter.grad is not None]
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        for parameter, gradient in zip(parameters, optimizer.clip_global_norm(gradients, 1.0), strict=True):
            parameter.grad = gradient
        adamw.step()
        adamw.zero_grad()

    return step


@dataclass(frozen=True)
class Measurement:
    """How to measure."""

    quick: bool = False
    """Small sizes and few turns, to see that it runs; its figures mean nothing."""
    sizes: tuple[str, ...] = ("mini", "small", "base")
    """The published sizes to give floors for."""
    turns: int = 5
    """How often each kernel is measured."""
    folder: Path = FOLDER
    """Where roofline.json and roofline.png go."""


def floors_table(configs: dict[str, BertConfig], n_sequences: int, machine: Machine) -> list[dict[str, str]]:
    """The two floors of each size, in training and in inference."""
    rows = []
    for name, config in configs.items():
        for what, task, floor in (
            ("training", "pretraining", training_token_floor),
            ("inference", "encoding", inference_token_floor),
        ):
            for dtype in TYPES:
                found = floor(Work(config, [LENGTH] * n_sequences, task), machine, dtype)
                rows.append(
                    {
                        "model": name,
                        "in which pass": what,
                        "in": dtype,
                        "compute, µs a token": f"{1e6 * found.compute:.2f}",
                        "memory, µs a token": f"{1e6 * found.memory:.2f}",
                        "limit": found.limit,
                        "tokens/s at best": f"{1 / found.seconds:,.0f}",
                    }
                )
    return rows


def operations_table(configs: dict[str, BertConfig], n_sequences: int) -> list[dict[str, str]]:
    """What a training token costs, part by part, and what it would cost with everything computed at all positions."""
    columns: dict[str, dict[str, float]] = {}
    for name, config in configs.items():
        for where, everywhere in (("where asked", False), ("everywhere", True)):
            work = Work(config, [LENGTH] * n_sequences, everywhere=everywhere)
            counts = {part: count / work.n_tokens / 1e6 for part, count in training_operations(work).items()}
            columns[f"{name}, {where}"] = {**counts, "together": sum(counts.values())}
    parts = next(iter(columns.values()))
    return [{"part": part, **{name: f"{column[part]:.1f}" for name, column in columns.items()}} for part in parts]


def machine_table(machine: Machine, configs: dict[str, BertConfig], quick: bool) -> list[dict[str, str]]:
    """The machine's rates, where its ridge is, and what it reaches of its rate at the sizes of each model."""
    ridges = {dtype: f"{machine.ridge(dtype):.2g} operations a byte" for dtype in TYPES}
    rows = [
        {"what": "a product of matrices at best", **{dtype: per_second(machine.rate(dtype)) for dtype in TYPES}},
        {"what": "bytes through memory", "float32": f"{machine.copy / 1e9:.1f} GB/s", "bfloat16": ""},
        {"what": "the ridge between the two", **ridges},
    ]
    tokens, seconds = (64, 0.01) if quick else (4096, 0.1)
    for name, config in configs.items():
        d, f, v = config.hidden_size, config.intermediate_size, config.vocab_size
        for what, shape in (
            ("tokens × D × D", (tokens, d, d)),
            ("tokens × D × F", (tokens, d, f)),
            ("predicted × D × V", (round(0.15 * tokens), d, v)),
        ):
            rates = {dtype: per_second(matmul_rate(shape, dtype, machine.device, seconds)) for dtype in TYPES}
            rows.append({"what": f"{name}: {what} = {' × '.join(map(str, shape))}", **rates})
    return rows


def per_second(rate: float) -> str:
    """Operations per second, to read."""
    return f"{rate / 1e9:.1f} G operations/s"


def draw(figure: Figure, machine: Machine, measured: Sequence[Timed]) -> None:
    """The roofs, and what was measured below them."""
    figure.set_size_inches(9, 6)
    axes = figure.subplots()
    intensities = [2.0**power for power in range(-3, 13)]
    for dtype, colour in zip(TYPES, (BLUE, FAINT), strict=True):
        roof = [min(machine.rate(dtype), intensity * machine.copy) for intensity in intensities]
        axes.plot(intensities, roof, color=colour, linewidth=2, label=f"roof, {dtype}")
    for kind, marker, colour in (("fused", "o", BLUE), ("equations", "s", ORANGE)):
        rates = [timed.rate(kind) for timed in measured]
        where = [timed.kernel.intensity for timed in measured]
        axes.scatter(where, rates, marker=marker, color=colour, label=f"{kind}, float32", zorder=3)
    for timed in measured:
        axes.annotate(
            timed.kernel.name,
            (timed.kernel.intensity, timed.rate("fused")),
            xytext=(7, -11),
            textcoords="offset points",
            fontsize=9,
            color=INK,
        )
    axes.set(
        xscale="log",
        yscale="log",
        xlabel="operations for each byte that moves",
        ylabel="operations a second",
    )
    plain(axes)
    figure.legend(loc="outside lower left", frameon=False, ncols=4)


def measure(measurement: Measurement) -> None:
    """Check, measure the machine and the kernels, and write what came of it."""
    quick = measurement.quick
    machine = measure_machine(anew=True, quick=quick)
    configs = {name: BertConfig.preset(name) for name in measurement.sizes}
    small = BertConfig.preset("tiny", vocab_size=512)
    n_sequences, length = (2, 16) if quick else (32, LENGTH)
    shown = small if quick else BertConfig.preset("mini")
    results = Results("roofline", "Kernels and a training step of mini under the roofs of this machine")
    each = [*kernels_of(shown, n_sequences * length, length), whole_step(shown, n_sequences, length)]
    check(results, each)
    turns, seconds = (2, 0.005) if quick else (measurement.turns, 0.1)
    measured = [in_turns_by_both_kinds(kernel, turns, seconds) for kernel in each]
    for timed in measured:
        results.add(**timed.row(machine))
    results.tabulate("The machine at its best:", machine_table(machine, {"tiny": small} if quick else configs, quick))
    results.tabulate("Millions of operations of a training token, by formula:", operations_table(configs, 32))
    results.tabulate("The floors of a token, by both:", floors_table(configs, 32, machine))
    results.note(
        f"Kernels have the sizes of mini, with {n_sequences} sequences of {length} tokens, in float32. "
        "The rates of the machine are the fastest that were seen since it was started."
    )
    results.finish(measurement.folder, draw=partial(draw, machine=machine, measured=measured))


if __name__ == "__main__":
    measure(tyro.cli(Measurement))
