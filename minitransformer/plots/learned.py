"""Pictures of what was learned, for the report, the doctor and the zoo."""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from minitransformer.plots.drawing import BLUE, FAINT, INK, ORANGE, plain

SMOOTHED_LOGS = 5
PANELS_IN_A_ROW = 4


def loss_curves(history: Sequence[Mapping[str, int | float]], vocabulary: int, unigram_entropy: float) -> Figure:
    """The two losses of pretraining over its steps, beside what chance and word counts alone would reach."""
    figure = Figure(figsize=(10, 4), layout="constrained")
    words, sentences = figure.subplots(1, 2)
    logs = [entry for entry in history if "masked_lm_loss" in entry]
    steps = [entry["step"] for entry in logs]
    curve(words, steps, [entry["masked_lm_loss"] for entry in logs], BLUE, "masked words")
    level(words, math.log(vocabulary), f"every word equally likely: ln V = {math.log(vocabulary):.2f}")
    level(words, unigram_entropy, f"only the words' frequencies: {unigram_entropy:.2f}")
    words.set(title="Masked words", xlabel="step", ylabel="loss in nats")
    curve(sentences, steps, [entry["next_sentence_loss"] for entry in logs], ORANGE, "next sentence")
    level(sentences, math.log(2), f"a coin: ln 2 = {math.log(2):.2f}")
    sentences.set(title="Next sentence", xlabel="step", ylabel="loss in nats")
    for axes in (words, sentences):
        plain(axes)
        axes.margins(x=0.02, y=0.12)
    return figure


def curve(axes: Axes, steps: Sequence[int | float], values: Sequence[float], colour: str, name: str) -> None:
    """A loss as logged, faint, and its running mean over it."""
    axes.plot(steps, values, color=colour, alpha=0.25, linewidth=1)
    width = min(SMOOTHED_LOGS, len(values))
    middles, means = (np.convolve(series, np.ones(width) / width, mode="valid") for series in (steps, values))
    axes.plot(middles, means, color=colour, linewidth=2, label=name)


def level(axes: Axes, height: float, name: str) -> None:
    """A line to compare with."""
    axes.axhline(height, color=FAINT, linestyle="--", linewidth=1)
    axes.annotate(
        name,
        xy=(1, height),
        xycoords=("axes fraction", "data"),
        xytext=(-4, 3),
        textcoords="offset points",
        ha="right",
        va="bottom",
        fontsize=9,
        color=INK,
    )


def attention_maps(weights: NDArray[Any], tokens: Sequence[str]) -> Figure:
    """How much each token (row) reads of each other (column), in every head of every block.

    `weights` has the axes (blocks, heads, queries, keys). A block with more than four heads takes more rows.
    """
    n_blocks, n_heads = weights.shape[:2]
    n_columns = min(n_heads, PANELS_IN_A_ROW)
    n_rows = math.ceil(n_heads / n_columns)
    figure = Figure(figsize=(0.5 + 2.6 * n_columns, 3.2 * n_rows * n_blocks), layout="compressed")
    grid: Any = figure.subplots(n_blocks * n_rows, n_columns, squeeze=False)
    for row, column in np.ndindex(grid.shape):
        block, head = row // n_rows, row % n_rows * n_columns + column
        if head < n_heads:
            attention_map(grid[row, column], weights[block, head], tokens, names_rows=column == 0)
            grid[row, column].set_title(f"block {block + 1}, head {head + 1}", fontsize=10, color=INK)
        else:
            grid[row, column].remove()
    return figure


def attention_map(axes: Axes, weights: NDArray[Any], tokens: Sequence[str], names_rows: bool) -> None:
    """One head; its rows are named where no other head to the left of it has them named."""
    size = min(8.0, 150 / len(tokens))
    axes.imshow(weights, cmap="Blues", vmin=0, vmax=1)
    axes.set_xticks(range(len(tokens)), tokens, rotation=90, fontsize=size)
    axes.set_yticks(range(len(tokens)), tokens if names_rows else [""] * len(tokens), fontsize=size)
    axes.tick_params(length=0)


def outcomes(accuracies: Mapping[str, Sequence[float]], chance: float) -> Figure:
    """The held-out accuracies of two ways to begin, a dot a seed, a bar their mean."""
    figure = Figure(figsize=(5.5, 4), layout="constrained")
    axes = figure.subplots()
    for place, values in enumerate(accuracies.values()):
        colour = (FAINT, BLUE)[place % 2]
        axes.bar(place, np.mean(values), width=0.55, color=colour, alpha=0.55)
        spread = np.linspace(-0.12, 0.12, len(values)) if len(values) > 1 else [0.0]
        axes.plot(place + np.asarray(spread), values, "o", color=INK, markersize=5)
        above = (place, max(*values, chance) if abs(np.mean(values) - chance) < 0.1 else max(values))
        axes.annotate(f"{np.mean(values):.1%}", above, (0, 7), textcoords="offset points", ha="center")
    axes.axhline(chance, color=FAINT, linestyle="--", linewidth=1)
    axes.annotate(
        "always the largest class", (1.47, chance), (0, 3), textcoords="offset points", ha="right", fontsize=9
    )
    axes.set_xticks(range(len(accuracies)), list(accuracies))
    axes.set(ylabel="held-out accuracy", ylim=(0, 1.1), xlim=(-0.5, len(accuracies) - 0.5))
    plain(axes)
    return figure


def confusion(counts: Sequence[Sequence[int]], labels: Sequence[str]) -> Figure:
    """How often each class (row) was taken for each class (column)."""
    matrix = np.asarray(counts)
    figure = Figure(figsize=(1.8 + 0.75 * len(labels), 1.2 + 0.7 * len(labels)), layout="constrained")
    axes = figure.subplots()
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for row, column in np.ndindex(matrix.shape):
        ink = "white" if shares[row, column] > 0.5 else INK
        axes.text(column, row, f"{matrix[row, column]}", ha="center", va="center", color=ink)
    axes.set_xticks(range(len(labels)), labels)
    axes.set_yticks(range(len(labels)), labels)
    axes.set(xlabel="predicted", ylabel="true")
    return figure


def sweep_picture(sweep: Mapping[float, Sequence[float]]) -> Figure:
    """How the loss of one batch goes at several learning rates: step by step, and where it ends."""
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    by_step, by_rate = figure.subplots(1, 2, sharey=True)
    starts = [losses[0] for losses in sweep.values() if losses and math.isfinite(losses[0])]
    if starts:  # a rate that is too high would else press all others into one line
        lowest = min(loss for losses in sweep.values() for loss in losses if math.isfinite(loss))
        by_step.set_ylim(min(0, 1.1 * lowest), max(1.3 * max(starts), 0.1))
        lines_of_rates(by_step, sweep)
        ends_of_rates(by_rate, sweep, max(starts))
    by_step.set(title="One batch, a line for each learning rate", xlabel="step", ylabel="loss in nats")
    by_rate.set(title=what_to_read_off(sweep), xlabel="learning rate")
    for axes in (by_step, by_rate):
        plain(axes)
    return figure


def two_trainings(
    healthy: tuple[Sequence[float], Mapping[int, float]],
    this: tuple[Sequence[float], Mapping[int, float]],
    breaks: bool,
) -> Figure:
    """The losses of a healthy model and of another, at each step and, as dots, on held-out text at some of them.

    What lies far beyond the healthy losses is drawn by powers of ten, so that both can be seen; a cross is where this
    one broke.
    """
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    kinds = ((healthy, BLUE, "healthy", 3.5), (this, ORANGE, "this model", 1.5))
    for (losses, held_out), colour, name, width in kinds:  # a thin line over a broad one, should they be the same
        if not losses:
            continue
        axes.plot(losses, color=colour, alpha=0.45, linewidth=1, label=f"{name}, training")
        steps, values = list(held_out), list(held_out.values())
        axes.plot(steps, values, "o-", color=colour, linewidth=width, markersize=4, label=f"{name}, held-out")
    if breaks:
        last = (len(this[0]) - 1, this[0][-1]) if this[0] else (0, healthy[0][0])
        axes.plot(*last, "X", color=INK, markersize=11, zorder=3, label=f"breaks at step {len(this[0])}")
    highest = 1.2 * max(healthy[0])
    least, most = min([*this[0], 0]), max([*this[0], highest])
    if most > 2 * highest or least < -highest:
        axes.set_yscale("symlog", linthresh=highest)
        sizes = [digit * 10**power for power in range(4) for digit in (1, 2, 5)]
        ticks = [tick for size in [0, *sizes] for tick in {size, -size} if least <= tick <= most]
        axes.set_yticks(ticks, [str(tick) for tick in ticks])
        axes.axhline(highest, color=FAINT, linestyle="--", linewidth=1, label="above: powers of ten")
    axes.set(title="Masked words", xlabel="step", ylabel="loss in nats")
    axes.margins(x=0.02)
    axes.legend(fontsize=9, frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    plain(axes)
    return figure


def lines_of_rates(axes: Axes, sweep: Mapping[float, Sequence[float]]) -> None:
    """A line for each rate with its name at its end, the slow ones faint, and those dashed that do not fall."""
    low, high = axes.get_ylim()
    ends = {}
    for place, (rate, losses) in enumerate(sweep.items(), start=1):
        falls = falls_at(losses)
        shade = {"color": BLUE, "alpha": 0.2 + 0.8 * place / len(sweep)} if falls else {"color": ORANGE}
        axes.plot(losses, linewidth=1.5, linestyle="-" if falls else "--", label=f"{rate:g}", **shade)
        finite = [loss for loss in losses if math.isfinite(loss)]
        ends[f"{rate:g}" if falls else f"{rate:g} \u2717"] = min(max(finite[-1] if finite else high, low), high)
    last = max(len(losses) for losses in sweep.values()) - 1
    heights = apart(list(ends.values()), 0.055 * (high - low), high)
    for (name, end), height in zip(ends.items(), heights, strict=True):
        axes.annotate(
            name,
            (last, end),
            xytext=(last * 1.08, height),
            va="center",
            fontsize=9,
            color=INK if "\u2717" not in name else ORANGE,
            arrowprops={"arrowstyle": "-", "color": FAINT, "linewidth": 0.6, "relpos": (0, 0.5)},
            annotation_clip=False,
        )
    axes.set_xlim(0, last * 1.2)


def ends_of_rates(axes: Axes, sweep: Mapping[float, Sequence[float]], start: float) -> None:
    """Where the loss ends at each rate, beside where it began; a cross at the top for each rate that does not fall."""
    falling = {rate: losses[-1] for rate, losses in sweep.items() if falls_at(losses)}
    others = [rate for rate in sweep if rate not in falling]
    low, high = axes.get_ylim()
    axes.set_xscale("log")
    axes.set_xlim(min(sweep) / 2, max(sweep) * 2)
    level(axes, start, "at the start")
    if others:
        axes.plot(
            others, [high - 0.05 * (high - low)] * len(others), "x", color=ORANGE, markersize=8, markeredgewidth=2
        )
        told = ("axes fraction", "axes fraction")
        axes.annotate("\u2717 ends higher, or at no number", (0.02, 0.85), xycoords=told, color=ORANGE, fontsize=9)
    if falling:
        axes.plot(list(falling), list(falling.values()), "o-", color=BLUE, linewidth=1.5)
        best = min(falling, key=lambda rate: falling[rate])
        here = (best, falling[best])
        axes.annotate(f"{best:g}", here, (-8, 0), textcoords="offset points", ha="right", va="center", color=INK)


def what_to_read_off(sweep: Mapping[float, Sequence[float]]) -> str:
    """The title of the ends: which rate is fastest, and which to choose."""
    falling = {losses[-1]: rate for rate, losses in sweep.items() if falls_at(losses)}
    if not falling:
        return "The loss falls at no rate"
    return f"Fastest at {falling[min(falling)]:g}: train at the lowest point, or left of it"


def falls_at(losses: Sequence[float]) -> bool:
    """Whether a loss ends lower than it began."""
    return bool(losses) and losses[-1] < losses[0]


def apart(heights: Sequence[float], gap: float, top: float) -> list[float]:
    """Heights for labels: moved up until none is nearer to the one below it than the gap, and down from the top again.

    >>> apart([3.0, 1.0, 1.0], gap=0.5, top=4.0), apart([4.0, 4.0], gap=0.5, top=4.0)
    ([3.0, 1.0, 1.5], [3.5, 4.0])
    """
    moved = list(heights)
    order = sorted(range(len(heights)), key=lambda place: heights[place])
    for below, above in pairwise(order):
        moved[above] = max(moved[above], moved[below] + gap)
    for room, place in enumerate(reversed(order)):
        moved[place] = min(moved[place], top - room * gap)
    return moved
