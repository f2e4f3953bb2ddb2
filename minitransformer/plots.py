"""Pictures of what was learned. Nothing but the report, the command line and notebooks imports this."""

import base64
import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

INK = "#1f2933"
FAINT = "#9aa5b1"
BLUE = "#2563ab"
ORANGE = "#d9731a"
GREEN = "#2e8540"
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
    """How the loss goes over a few steps, a line for each learning rate, the slow ones faint and the fast ones dark."""
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    for place, (rate, losses) in enumerate(sweep.items(), start=1):
        axes.plot(losses, color=BLUE, alpha=place / len(sweep), linewidth=1.5, label=f"{rate:g}")
    starts = [losses[0] for losses in sweep.values() if losses and math.isfinite(losses[0])]
    if starts:  # a rate that is too high would else press all others into one line
        axes.set_ylim(0, 1.5 * max(starts))
        axes.legend(title="learning rate", fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    axes.set(title="The same batch at several rates", xlabel="step", ylabel="loss in nats")
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


def plain(axes: Axes) -> None:
    """Take away what tells nothing."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color=FAINT, alpha=0.25)


def png(figure: Figure) -> bytes:
    """A figure as the bytes of a PNG file."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=130)
    return buffer.getvalue()


def data_address(figure: Figure) -> str:
    """A figure as an address that holds the picture itself, so that a page needs no other file."""
    return "data:image/png;base64," + base64.b64encode(png(figure)).decode("ascii")
