"""Attention by length: its time and its memory by the equations, by tiles, and by PyTorch's fused kernel.

    python benchmarks/attention.py

Forward and backward, in float32, for one example with some heads. Memory is what a fresh process holds at its peak more
than before, with queries, keys and values in place: what is read, the gradients, and everything on the way. Where the
equations would take too long, their memory is foretold: it is the matrix that counts, and it grows with the square.
With a GPU at hand, the kernel in Triton is measured too, in bfloat16, beside PyTorch's.
"""

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
import tyro
from matplotlib.figure import Figure
from results import FOLDER, Results, Row
from torch import Tensor
from turns import in_turns, ratio, spread

from minitransformer import attention, kernels
from minitransformer.laws.cases import numbers
from minitransformer.plots.drawing import BLUE, INK, ORANGE, plain

ROUNDING = 1e-4
"""Of float32, over sums of a thousand terms, beside the largest entry."""
MEBIBYTE = 2**20
COLOURS = {"equations": INK, "tiled": BLUE, "fused": ORANGE}


@dataclass(frozen=True)
class Comparison:
    """What to measure."""

    lengths: tuple[int, ...] = (1024, 4096, 16384)
    """How many queries and keys."""
    heads: int = 2
    """How many heads."""
    width: int = 64
    """How wide a head is."""
    longest_by_equations: int = 4096
    """The greatest length at which the equations are computed, and not foretold."""
    turns: int = 5
    """How often each side computes."""
    quick: bool = False
    """Two short lengths, once, to see that all of this runs."""
    folder: Path = FOLDER
    """Where results go."""

    def as_asked(self) -> "Comparison":
        """The same, in short where it should be quick."""
        return replace(self, lengths=(64, 128), longest_by_equations=64, turns=1) if self.quick else self

    def given(self, length: int, device: str = "cpu", dtype: torch.dtype = torch.float32) -> list[Tensor]:
        """Queries, keys, values, and what is passed back."""
        names = ("query", "key", "value", "upstream")
        shape = (1, self.heads, length, self.width)
        return [numbers(0, name, *shape, dtype=dtype).to(device) for name in names]


def main(comparison: Comparison) -> None:
    """Check, measure, and write what came of it."""
    comparison = comparison.as_asked()
    results = Results("attention", "Attention by length: equations, tiles, and PyTorch's fused kernel")
    check(results, comparison)
    held: dict[str, dict[int, float]] = {"equations": {}, "tiled": {}, "fused": {}}
    for length in comparison.lengths:
        results.add(**row_of(comparison, length, held))
    if torch.cuda.is_available():
        for length in comparison.lengths:
            results.add(**row_of_gpu(comparison, length))
    results.note(
        f"One example has {comparison.heads} heads of width {comparison.width}. Memory is the rise of the peak of a "
        "fresh process, with queries, keys and values in place before. "
        f"Beyond {comparison.longest_by_equations} that of the equations is foretold: four times as much at twice the "
        "length."
    )
    results.finish(comparison.folder, draw=partial(draw_memory, held=held))


def check(results: Results, comparison: Comparison) -> None:
    """Demand that all sides read the same and pass the same back."""
    kinds = ["equations", "tiled", "fused"]
    found = {kind: once(kind, comparison.given(comparison.lengths[0])) for kind in kinds}
    for kind in kinds[:2]:
        for part, ours, theirs in zip(("read", "queries", "keys", "values"), found[kind], found["fused"], strict=True):
            distance = float((ours - theirs).abs().max() / theirs.abs().max())
            results.check(f"{kind} and fused: {part}", distance, ROUNDING)
    results.require_checks()


def once(kind: str, given: list[Tensor]) -> list[Tensor]:
    """What is read, and what goes back to queries, keys and values."""
    *inputs, upstream = given
    leaves = [x.requires_grad_() for x in inputs]
    with kernels.use(kind):
        read = attention.scaled_dot_product_attention(*leaves)
        return [read.detach(), *torch.autograd.grad(read, leaves, upstream)]


# Time


class Clock:
    """One side: how long it reads, and how long it takes there and back."""

    def __init__(self, kind: str, given: list[Tensor], finish: Callable[[], None] = lambda: None) -> None:
        *inputs, self.upstream = given
        self.kind, self.leaves, self.finish = kind, [x.requires_grad_() for x in inputs], finish
        self.reading: list[float] = []

    def turn(self) -> float:
        """Read and pass back once."""
        started = time.perf_counter()
        with kernels.use(self.kind):
            read = attention.scaled_dot_product_attention(*self.leaves)
            self.finish()
            self.reading.append(time.perf_counter() - started)
            torch.autograd.grad(read, self.leaves, self.upstream)
            self.finish()
        return time.perf_counter() - started


def row_of(comparison: Comparison, length: int, held: dict[str, dict[int, float]]) -> Row:
    """Time and memory at one length, on the CPU."""
    kinds = ["equations", "tiled", "fused"][length > comparison.longest_by_equations :]
    clocks = {kind: Clock(kind, comparison.given(length)) for kind in kinds}
    warmups = int(length < max(comparison.lengths))
    seconds = in_turns({kind: clock.turn for kind, clock in clocks.items()}, comparison.turns, warmups)
    reading = {kind: clock.reading[warmups:] for kind, clock in clocks.items()}
    for kind in kinds:
        held[kind][length] = memory_of(comparison, kind, length)
    foretold = "equations" not in kinds
    if foretold:
        measured = max(length for length in comparison.lengths if length <= comparison.longest_by_equations)
        held["equations"][length] = held["equations"][measured] * (length / measured) ** 2
    return {
        "length": length,
        "fused, s": spread(seconds["fused"]),
        "tiled over fused, forward": ratio(reading["tiled"], reading["fused"]),
        "tiled over fused, forward and backward": ratio(seconds["tiled"], seconds["fused"]),
        "equations over fused": "–" if foretold else ratio(seconds["equations"], seconds["fused"]),
        **{f"{kind}, MiB": f"{held[kind][length]:,.0f}" for kind in ("fused", "tiled")},
        "tiled over fused, memory": f"{held['tiled'][length] / held['fused'][length]:.2f}",
        "equations, MiB": f"{held['equations'][length]:,.0f}{' foretold' if foretold else ''}",
    }


# Memory


def memory_of(comparison: Comparison, kind: str, length: int) -> float:
    """The MiB that a fresh process holds at its peak beside the inputs."""
    asked = f"import attention as a; print(a.rise({kind!r}, {length}, {comparison.heads}, {comparison.width}))"
    here, root = Path(__file__).parent, Path(kernels.__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(here), str(root)])}
    command = [sys.executable, "-c", asked]
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)  # noqa: S603 - this file
    return float(done.stdout) / MEBIBYTE


def rise(kind: str, length: int, heads: int, width: int) -> int:
    """By how many bytes the peak of this process rises while it reads and passes back once."""
    comparison = Comparison(heads=heads, width=width)
    once(kind, comparison.given(16))
    given = comparison.given(length)
    before = peak()
    once(kind, given)
    return peak() - before


def peak() -> int:
    """The most bytes that this process has held; Linux counts anew for a new program, which `getrusage` does not."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    if found is None:
        raise SystemExit("the kernel does not tell how much memory a process holds: VmHWM in /proc/self/status")
    return 1024 * int(found[1])


def draw_memory(figure: Figure, held: dict[str, dict[int, float]]) -> None:
    """Memory over length, both by doublings: a slope of 1 is linear, a slope of 2 the square."""
    figure.set_size_inches(8, 4)
    axes = figure.add_subplot()
    plain(axes)
    for kind, by_length in held.items():
        axes.plot(list(by_length), list(by_length.values()), marker="o", color=COLOURS[kind], label=kind)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log", base=2)
    lengths = list(held["fused"])
    axes.set_xticks(lengths, [f"{length:,}" for length in lengths])
    axes.set(xlabel="length: how many queries and keys", ylabel="MiB held at the peak")
    axes.legend(frameon=False)


# On a GPU


def row_of_gpu(comparison: Comparison, length: int) -> Row:
    """Time and memory at one length, of the kernel in Triton beside PyTorch's fused one, in bfloat16."""
    given = partial(comparison.given, length, "cuda", torch.bfloat16)
    clocks = {kind: Clock(kind, given(), torch.cuda.synchronize) for kind in ("triton", "fused")}
    warmups = 3
    seconds = in_turns({kind: clock.turn for kind, clock in clocks.items()}, 5 * comparison.turns, warmups)
    reading = {kind: clock.reading[warmups:] for kind, clock in clocks.items()}
    held = {kind: allocated(kind, given()) for kind in clocks}
    return {
        "length": f"{length} on a GPU",
        "fused, s": spread(seconds["fused"]),
        "triton over fused, forward": ratio(reading["triton"], reading["fused"]),
        "triton over fused, forward and backward": ratio(seconds["triton"], seconds["fused"]),
        **{f"{kind}, MiB": f"{held[kind]:,.0f}" for kind in ("fused", "triton")},
        "triton over fused, memory": f"{held['triton'] / held['fused']:.2f}",
    }


def allocated(kind: str, given: list[Tensor]) -> float:
    """The MiB that PyTorch holds on the GPU at its peak beside the inputs."""
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    once(kind, given)
    torch.cuda.synchronize()
    return (torch.cuda.max_memory_allocated() - before) / MEBIBYTE


if __name__ == "__main__":
    main(tyro.cli(Comparison))
