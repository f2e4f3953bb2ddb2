"""The floors under every time: what this machine can do at best, and how much a model has to compute and to move.

    python benchmarks/roofline.py [--quick]

No program is faster than its operations at the machine's best rate, nor than its bytes at the machine's best rate. The
larger of the two times is the floor; what a program reaches of it is its share. benchmarks/README.md derives them.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

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
from tables import as_table

from minitransformer import attention, dropout, feed_forward, files, kernels, losses, norm, optimizer
from minitransformer.doctor import random_batch_for
from minitransformer.models.bert import BertForPreTraining
from minitransformer.models.bert_config import BertConfig
from minitransformer.plots.drawing import BLUE, FAINT, INK, ORANGE, plain, png

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

FOLDER = Path(__file__).parent.parent / "runs" / "bench"
LENGTH = 128


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


@dataclass(frozen=True)
class Point:
    """A kernel, or a whole step, as measured."""

    name: str
    kind: str
    operations: float
    n_bytes: float
    seconds: float

    @property
    def intensity(self) -> float:
        """Operations for each byte."""
        return self.operations / self.n_bytes

    @property
    def rate(self) -> float:
        """Operations per second."""
        return self.operations / self.seconds

    def share(self, machine: Machine) -> float:
        """What it reaches of the roof above it."""
        return max(self.operations / machine.float32, self.n_bytes / machine.copy) / self.seconds


Action = Callable[[], object]


def kernels_of(config: BertConfig, n_tokens: int, length: int) -> list[tuple[str, float, float, Action]]:
    """Each kernel at the sizes of a configuration: its name, operations, bytes, and how to run it.

    Here an operation is any arithmetic, an exponential counted as one, and bytes are those of arguments and results.
    """
    d, f, h, v = config.hidden_size, config.intermediate_size, config.num_attention_heads, config.vocab_size
    x, wide = torch.randn(n_tokens, d), torch.randn(n_tokens, f)
    gain, bias = torch.ones(d), torch.zeros(d)
    weight = torch.randn(f, d)
    heads = torch.randn(n_tokens // length, h, length, d // h)
    n_scored = max(1, round(0.15 * n_tokens))
    logits, target = torch.randn(n_scored, v), torch.randint(v, (n_scored,))
    n_weights = n_parameters(config)
    parameter, gradient, first, second = (torch.full((n_weights,), 0.5) for _ in range(4))
    return [
        (
            "linear",
            2 * n_tokens * d * f,
            FLOAT * (n_tokens * d + d * f + n_tokens * f),
            lambda: torch.nn.functional.linear(x, weight),
        ),
        (
            "attention",
            4 * n_tokens * length * d + 5 * n_tokens * length * h,
            FLOAT * 4 * n_tokens * d,
            lambda: attention.scaled_dot_product_attention(heads, heads, heads),
        ),
        ("layer_norm", 8 * n_tokens * d, FLOAT * 2 * n_tokens * d, lambda: norm.layer_norm(x, gain, bias)),
        ("gelu", 5 * n_tokens * f, FLOAT * 2 * n_tokens * f, lambda: feed_forward.gelu(wide)),
        ("dropout", 3 * n_tokens * d, FLOAT * 2 * n_tokens * d, lambda: dropout.dropout(x, 0.1)),
        (
            "cross_entropy",
            4 * n_scored * v,
            FLOAT * n_scored * v,
            lambda: losses.token_cross_entropy(logits, target),
        ),
        (
            "adamw_update",
            14 * n_weights,
            7 * FLOAT * n_weights,
            lambda: optimizer.adamw_update(
                [parameter], [gradient], [first], [second], 1, 1e-4, (0.9, 0.999), 1e-6, 0.01
            ),
        ),
    ]


COMPARED = ("equations", "fused")
"""The kinds of kernels that are measured."""


def measured_kernels(config: BertConfig, n_tokens: int, length: int, seconds: float) -> list[Point]:
    """Every kernel, by its equation and by its fused twin."""
    points = []
    for name, operations, n_bytes, action in kernels_of(config, n_tokens, length):
        for kind in COMPARED:
            with kernels.use(kind), torch.no_grad():
                points.append(Point(name, kind, operations, n_bytes, fastest(action, seconds)))
    return points


def measured_steps(config: BertConfig, n_sequences: int, length: int, seconds: float) -> list[Point]:
    """A whole training step, by the equations and by their fused twins."""
    work = Work(config, [length] * n_sequences)
    operations, n_bytes = sum(training_operations(work).values()), sum(training_bytes(work).values())
    points = []
    for kind in COMPARED:
        with kernels.use(kind):
            step = training_step(config, n_sequences, length)
            points.append(Point("training step", kind, operations, n_bytes, fastest(step, seconds)))
    return points


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
    """Small sizes and seconds, to see that it runs; its figures mean nothing."""
    sizes: tuple[str, ...] = ("mini", "small", "base")
    """The published sizes to give floors for."""
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
                        "": what,
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
    works = {name: Work(config, [LENGTH] * n_sequences) for name, config in configs.items()}
    rows = []
    for name, work in works.items():
        everywhere = Work(work.config, work.lengths, everywhere=True)
        for part, count in training_operations(work).items():
            rows.append(
                {
                    "model": name,
                    "part": part,
                    "million operations a token": f"{count / work.n_tokens / 1e6:.3f}",
                    "computed at all positions": f"{training_operations(everywhere)[part] / work.n_tokens / 1e6:.3f}",
                }
            )
    return rows


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


def points_table(points: Sequence[Point], machine: Machine) -> list[dict[str, str]]:
    """What was measured, and its share of the roof."""
    return [
        {
            "kernel": point.name,
            "by": point.kind,
            "operations a byte": f"{point.intensity:.1f}",
            "G operations/s": f"{point.rate / 1e9:.2f}",
            "ms": f"{1e3 * point.seconds:.2f}",
            "share of the roof": f"{point.share(machine):.0%}",
        }
        for point in points
    ]


def roofline_picture(machine: Machine, points: Sequence[Point]) -> Figure:
    """The roofs, and what was measured below them."""
    figure = Figure(figsize=(9, 5.5), layout="constrained")
    axes = figure.subplots()
    intensities = [2.0**power for power in range(-3, 13)]
    for dtype, colour in zip(TYPES, (BLUE, FAINT), strict=True):
        roof = [min(machine.rate(dtype), intensity * machine.copy) for intensity in intensities]
        axes.plot(intensities, roof, color=colour, linewidth=2, label=f"roof, {dtype}")
    for kind, marker, colour in (("fused", "o", BLUE), ("equations", "s", ORANGE)):
        of_kind = [point for point in points if point.kind == kind]
        axes.scatter(
            [point.intensity for point in of_kind],
            [point.rate for point in of_kind],
            marker=marker,
            color=colour,
            label=kind,
            zorder=3,
        )
    for point in points:
        if point.kind == "fused":
            axes.annotate(
                point.name,
                (point.intensity, point.rate),
                xytext=(6, -4),
                textcoords="offset points",
                fontsize=9,
                color=INK,
            )
    axes.set(
        xscale="log",
        yscale="log",
        xlabel="operations for each byte that moves",
        ylabel="operations per second",
        title=f"{machine.processor}, {machine.n_threads} threads",
    )
    plain(axes)
    axes.legend(loc="lower right", frameon=False)
    return figure


def measure(measurement: Measurement) -> None:
    """Measure, print the tables, and write the figures and the picture."""
    machine = measure_machine(anew=True, quick=measurement.quick)
    names = measurement.sizes
    configs = {name: BertConfig.preset(name) for name in names}
    small = BertConfig.preset("tiny", vocab_size=512)
    quick = measurement.quick
    n_sequences, length, seconds = (2, 16, 0.01) if quick else (32, LENGTH, 0.5)
    shown = small if quick else BertConfig.preset("mini")
    points = measured_kernels(shown, n_sequences * length, length, seconds)
    points += measured_steps(shown, n_sequences, length, 4 * seconds)
    tables = {
        "machine": machine_table(machine, {"tiny": small} if quick else configs, quick),
        "operations": operations_table(configs, 32),
        "floors": floors_table(configs, 32, machine),
        "points": points_table(points, machine),
    }
    for rows in tables.values():
        print(as_table(rows), end="\n\n")
    measurement.folder.mkdir(parents=True, exist_ok=True)
    written = {"machine": asdict(machine), "points": [asdict(point) for point in points], "tables": tables}
    files.write_text(measurement.folder / "roofline.json", json.dumps(written, indent=2, ensure_ascii=False) + "\n")
    with files.replacing(measurement.folder / "roofline.png") as unfinished:
        unfinished.write_bytes(png(roofline_picture(machine, points)))
    print(f"Look at {measurement.folder / 'roofline.png'}")


if __name__ == "__main__":
    measure(tyro.cli(Measurement))
