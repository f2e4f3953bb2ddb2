"""How the cost of a training step grows with width, depth, length, vocabulary and batch, beside what the formula says.

    python benchmarks/scaling.py [--quick]

One size grows at a time, from that of the model in the middle. If a step takes c xᵏ seconds, its logarithm is a line
over that of x, whose slope is the exponent k. It is fitted in each turn by least squares; shown are the median, the
lowest and the highest. Beside it stand the slopes of the formula over the same sizes: of the operations alone, and of
operations and bytes one after the other, as on a processor that waits for its memory.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from machine import Machine, measure_machine
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from operations import Work, training_operations
from results import FOLDER, Results
from roofline import training_step, training_token_floor
from torch.utils.flop_counter import FlopCounterMode
from turns import in_turns, ratio, spread

from minitransformer import kernels
from minitransformer.doctor import random_batch_for
from minitransformer.models.bert import BertForPreTraining
from minitransformer.models.bert_config import BertConfig
from minitransformer.plots.drawing import BLUE, FAINT, ORANGE, plain

HEAD_WIDTH = 64


@dataclass(frozen=True)
class Size:
    """A model and a batch."""

    width: int = 256
    depth: int = 4
    length: int = 128
    vocabulary: int = 8192
    batch: int = 8

    def with_one(self, name: str, value: int) -> "Size":
        """The same, but for one of its sizes."""
        return Size(**{**vars(self), name: value})

    def config(self) -> BertConfig:
        """The configuration of the model."""
        return BertConfig(
            vocab_size=self.vocabulary,
            hidden_size=self.width,
            num_hidden_layers=self.depth,
            num_attention_heads=max(1, self.width // HEAD_WIDTH),
            intermediate_size=4 * self.width,
            max_position_embeddings=self.length,
        )

    def work(self) -> Work:
        """What there is to compute."""
        predicted = max(1, round(0.15 * self.length)) / self.length
        return Work(self.config(), [self.length] * self.batch, predicted=predicted)


MIDDLE = Size()
GROWING: dict[str, tuple[int, ...]] = {
    "width": (64, 128, 256, 512),
    "depth": (1, 2, 4, 8),
    "length": (32, 64, 128, 256, 512),
    "vocabulary": (2048, 8192, 32768),
    "batch": (2, 4, 8, 16, 32),
}
SMALL = Size(width=64, depth=1, length=16, vocabulary=64, batch=2)
GROWING_A_LITTLE = {name: (getattr(SMALL, name), 2 * getattr(SMALL, name)) for name in GROWING}


@dataclass(frozen=True)
class Measurement:
    """How to measure."""

    quick: bool = False
    """Small sizes and few turns, to see that it runs; its figures mean nothing."""
    turns: int = 5
    """How often each size is measured."""
    folder: Path = FOLDER
    """Where scaling.json and scaling.png go."""


def slope(sizes: Sequence[int], costs: Sequence[float]) -> float:
    """The exponent of a cost, by least squares over logarithms.

    >>> round(slope([1, 2, 4], [3.0, 12.0, 48.0]), 3)
    2.0
    """
    return float(np.polyfit(np.log(sizes), np.log(costs), 1)[0])


def counted_operations(size: Size) -> int:
    """The operations of a step as PyTorch counts them."""
    torch.manual_seed(0)
    model = BertForPreTraining(size.config())
    with FlopCounterMode(display=False) as counter, kernels.use("equations"):
        parts = model.training_losses(**random_batch_for(model, size.batch, size.length))
        torch.stack([part.mean for part in parts.values()]).sum().backward()
    return int(counter.get_total_flops())


def floors(size: Size, machine: Machine) -> tuple[float, float]:
    """The seconds of a step that its operations take at least, and its operations and bytes one after the other."""
    work = size.work()
    floor = training_token_floor(work, machine)
    return floor.compute * work.n_tokens, (floor.compute + floor.memory) * work.n_tokens


def measured(sizes: dict[int, Size], turns: int, warmups: int) -> dict[int, list[float]]:
    """The seconds of a step at each size, in turns."""
    steps = {str(value): training_step(size.config(), size.batch, size.length) for value, size in sizes.items()}
    return {int(value): seconds for value, seconds in in_turns(steps, turns=turns, warmups=warmups).items()}


def row(name: str, sizes: dict[int, Size], seconds: dict[int, list[float]], machine: Machine) -> dict[str, Any]:
    """What came of one size that grows."""
    values = list(sizes)
    each_turn = [slope(values, turn) for turn in zip(*seconds.values(), strict=True)]
    by_operations, by_both = zip(*(floors(size, machine) for size in sizes.values()), strict=True)
    return {
        "what grows": f"{name}, {values[0]:,} to {values[-1]:,}",
        "exponent": spread(each_turn),
        "by operations": f"{slope(values, by_operations):.2f}",
        "by operations and bytes": f"{slope(values, by_both):.2f}",
        "last over first": ratio(seconds[values[-1]], seconds[values[0]]),
        "by both": f"{by_both[-1] / by_both[0]:.2f}",
    }


@dataclass(frozen=True)
class Growth:
    """One size that grows: the steps' seconds in each turn, and what the machine could do at best."""

    name: str
    sizes: dict[int, Size]
    seconds: dict[int, list[float]]
    machine: Machine


def draw(figure: Figure, growths: Sequence[Growth]) -> None:
    """A panel for each size that grows, all with the same axis of seconds."""
    figure.set_size_inches(3 * len(growths), 4.2)
    panels: Any = figure.subplots(1, len(growths), sharey=True)
    for axes, growth in zip(panels, growths, strict=True):
        draw_growth(axes, growth)
    panels[0].set_ylabel("seconds of a training step")
    figure.legend(*panels[0].get_legend_handles_labels(), frameon=False, loc="outside lower left", ncols=3)


def draw_growth(axes: Axes, growth: Growth) -> None:
    """The measured steps over the two floors."""
    values = list(growth.sizes)
    by_operations, by_both = zip(*(floors(size, growth.machine) for size in growth.sizes.values()), strict=True)
    found = [spread(growth.seconds[value]) for value in values]
    middles = [each["median"] for each in found]
    reach = [[each["median"] - each["low"] for each in found], [each["high"] - each["median"] for each in found]]
    axes.errorbar(values, middles, yerr=reach, marker="o", color=BLUE, label="measured")
    axes.plot(values, by_both, color=ORANGE, linestyle="--", label="floor: operations and bytes")
    axes.plot(values, by_operations, color=FAINT, linestyle="--", label="floor: operations")
    axes.set(xscale="log", yscale="log", xlabel=growth.name, title=f"exponent {slope(values, middles):.2f}")
    axes.set_xticks(values, [f"{value:,}" for value in values])
    axes.tick_params(axis="x", which="minor", bottom=False, labelbottom=False)
    plain(axes)


def measure(measurement: Measurement) -> None:
    """Check, measure, fit, and draw."""
    quick = measurement.quick
    middle, growing = (SMALL, GROWING_A_LITTLE) if quick else (MIDDLE, GROWING)
    machine = measure_machine(quick=quick)
    results = Results("scaling", "How the seconds of a training step grow with one size at a time")
    expected = sum(training_operations(middle.work()).values())
    results.check("operations, counted and by formula,", math.fabs(counted_operations(middle) / expected - 1), 1e-9)
    results.require_checks()
    growths = []
    for name, values in growing.items():
        sizes = {value: middle.with_one(name, value) for value in values}
        seconds = measured(sizes, turns=2 if quick else measurement.turns, warmups=1)
        results.add(**row(name, sizes, seconds, machine))
        growths.append(Growth(name, sizes, seconds, machine))
    results.note(
        f"One size grows at a time from width {middle.width}, depth {middle.depth}, length {middle.length}, "
        f"vocabulary {middle.vocabulary:,} and batch {middle.batch}; dropout 0.1, float32, fused kernels."
    )
    results.finish(measurement.folder, draw=partial(draw, growths=growths))


if __name__ == "__main__":
    measure(tyro.cli(Measurement))
