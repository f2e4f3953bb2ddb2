"""Pictures of runs: a panel for each figure that was logged, and in it all runs over each other."""

import math
from collections.abc import Sequence
from difflib import get_close_matches
from itertools import accumulate
from typing import Any, Literal, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter, LogLocator, MaxNLocator, NullLocator
from numpy.typing import NDArray

from minitransformer.errors import InputError
from minitransformer.plots.drawing import INK, plain
from minitransformer.run_log import Run, numbers_of

Place = Literal["step", "epoch", "tokens"]
Values = NDArray[np.float64]
Look = dict[str, Any]

# Okabe and Ito's colours, which the colour-blind tell apart too; their yellow is too pale for a line. Seven colours and
# four kinds of line have no common divisor, so that 28 runs are all different.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
DASHES = ("-", "--", "-.", ":")

PLACES = {"step": "step", "epoch": "epoch", "tokens": "num_input_tokens_seen"}
"""Where each kind of place stands in an entry."""
ASIDE = ("runtime", "samples_per_second", "steps_per_second", "preparation_time", "total_flos", "skipped_updates")
"""How figures end that are drawn only if asked for."""
LAST = ("learning_rate", "grad_norm", "tokens_per_second")
TITLES = {"learning_rate": "Learning rate", "grad_norm": "Gradient norm", "tokens_per_second": "Speed"}
UNITS = {"grad_norm": "before clipping", "tokens_per_second": "tokens per second"}
LESS_IS_BETTER = {"loss", "error", "perplexity", "mse", "rmse", "mae", "wer", "brier"}
MANY = 20
"""So many logs make a line that is smoothed, and so many evaluations one with small dots."""

MARKS: dict[str, Look] = {
    "each log": {"linewidth": 0.8, "alpha": 0.35},
    "training": {"linewidth": 1.8},
    "evaluation": {"linewidth": 1.2, "marker": "o", "markersize": 5, "markerfacecolor": "white"},
    "best evaluation": {"linestyle": "", "marker": "*", "markersize": 11, "markeredgecolor": INK},
    "skipped, or no number": {"linestyle": "", "marker": "x", "markersize": 6, "markeredgewidth": 1.6},
}
"""What a line shows, and how it looks beside the colour of its run."""


class Points(NamedTuple):
    """Where a figure was logged, and what it was."""

    places: Values
    values: Values


def runs_picture(
    runs: Sequence[Run],
    x: Place = "step",
    smooth: int | float = 0.9,
    metrics: Sequence[str] = (),
    log_loss: bool = False,
) -> Figure:
    """The losses, metrics, rate and speed of runs, each in a panel, over their steps, epochs or tokens.

    A line of many logs is drawn thin, and its mean, in which neighbours count by the factor `smooth`, thick. `metrics`
    are the panels to draw, if not all are wanted. Losses that are not above 0 have no logarithm, and stay as they are.

    Raises: InputError for a metric that no run has logged, and for runs that cannot be drawn.
    """
    if not 0 <= smooth < 1:
        raise InputError(f"smooth={smooth} must be at least 0 and below 1; 0 draws each log as it is")
    require_places(runs, x)
    runs = [Run(run.name, [numbers_of(entry) for entry in run.entries]) for run in runs]
    names = panels_of(runs, x, metrics)
    n_columns = 2 if len(names) == 4 else min(3, len(names))
    n_rows = math.ceil(len(names) / n_columns)
    figure = Figure(figsize=(max(7.0, 4.2 * n_columns), 3 * n_rows), layout="constrained")
    grid: list[Axes] = list(figure.subplots(n_rows, n_columns, sharex=True, squeeze=False).flat)
    for axes, name in zip(grid, names, strict=False):
        draw_panel(axes, runs, name, x, smooth, log_loss)
    for axes in grid[len(names) :]:
        axes.remove()
    draw_legends(figure, runs)
    return figure


# What is drawn


def require_places(runs: Sequence[Run], x: Place) -> None:
    """Refuse runs that do not say where their figures belong."""
    if not runs:
        raise InputError("there is no run to draw; give at least one")
    for run in runs:
        if not any(PLACES[x] in entry for entry in run.entries):
            raise InputError(f"{run.name} has logged nothing with {PLACES[x]}; choose another x than {x!r}")


def panels_of(runs: Sequence[Run], x: Place, metrics: Sequence[str]) -> list[str]:
    """The names of the panels: those that were asked for, or all that tell something.

    Raises: InputError for a name that no run has logged, and if nothing is left to draw.

    >>> run = Run("first", [{"step": 1, "learning_rate": 0.1, "loss": 2.5}, {"step": 1, "eval_f1": 0.5}])
    >>> panels_of([run], "step", ()), panels_of([run], "step", ["eval_f1"])
    (['loss', 'f1', 'learning_rate'], ['f1'])
    """
    there = logged_names(runs, x)
    for name in metrics:
        if panel_of(name) not in there:
            nearest = get_close_matches(panel_of(name), there, n=1)
            suggestion = f"did you mean {nearest[0]!r}? " if nearest else ""
            raise InputError(f"no run has logged {name!r}; {suggestion}there are: {', '.join(sorted(there))}")
    if metrics:
        return list(dict.fromkeys(map(panel_of, metrics)))
    names = [name for name in there if not is_aside(name) and not is_loss_again(runs, name, x)]
    if not names:
        raise InputError(f"no figure of {' '.join(run.name for run in runs)} tells how a training went; log the loss")
    return sorted(names, key=rank)


def rank(name: str) -> tuple[bool, bool, int]:
    """Losses come first, then metrics, and last how the training went.

    >>> sorted(["grad_norm", "f1", "word_loss", "loss", "learning_rate"], key=rank)
    ['loss', 'word_loss', 'f1', 'learning_rate', 'grad_norm']
    """
    return name != "loss", not name.endswith("_loss"), LAST.index(name) + 1 if name in LAST else 0


def logged_names(runs: Sequence[Run], x: Place) -> list[str]:
    """All that was logged, an evaluation under the same name as the training, in order."""
    entries = [entry for run in runs for entry in run.entries if PLACES[x] in entry]
    names = dict.fromkeys(panel_of(name) for entry in entries for name in entry)
    return [name for name in names if name not in PLACES.values()]


def panel_of(name: str) -> str:
    """The panel in which a figure is drawn.

    >>> panel_of("eval_loss"), panel_of("loss")
    ('loss', 'loss')
    """
    return name.removeprefix("eval_")


def is_aside(name: str) -> bool:
    """Whether a figure tells of the machine, or sums up the whole run."""
    return name.startswith("train_") or name.endswith(ASIDE)


def is_loss_again(runs: Sequence[Run], name: str, x: Place) -> bool:
    """Whether a part of the loss is all of it."""
    if name == "loss" or not name.endswith("_loss"):
        return False
    pairs = [
        (points_of(run, f"{prefix}{name}", x), points_of(run, f"{prefix}loss", x))
        for run in runs
        for prefix in ("", "eval_")
    ]
    return all(np.array_equal(part, whole, equal_nan=True) for part, whole in pairs)


def points_of(run: Run, name: str, x: Place) -> Points:
    """All values of a figure in a run."""
    pairs = [(entry[PLACES[x]], entry[name]) for entry in run.entries if name in entry and PLACES[x] in entry]
    places, values = np.array(pairs, dtype=np.float64).reshape(-1, 2).T
    return Points(places, values)


# How it is drawn


def draw_panel(axes: Axes, runs: Sequence[Run], name: str, x: Place, smooth: int | float, log_loss: bool) -> None:
    """One figure of all runs, in training and in evaluations."""
    title = TITLES.get(name, shortened(name.replace("_", " "), 36))
    axes.set_title(in_plain_text(title[:1].upper() + title[1:]), loc="left", fontsize=11, color=INK)
    axes.set(xlabel=x, ylabel=UNITS.get(name, ""))
    axes.tick_params(labelbottom=True)
    evaluations = [points_of(run, f"eval_{name}", x) for run in runs]
    for number, (run, evaluated) in enumerate(zip(runs, evaluations, strict=True)):
        logged = points_of(run, name, x)
        draw_training(axes, run, number, logged, 0.0 if name == "learning_rate" else smooth)
        draw_evaluation(axes, run, number, evaluated, best_place(name, evaluated.values))
        skipped = points_of(run, "skipped_updates", x) if name == "loss" else Points(*np.empty((2, 0)))
        draw_gaps(axes, run, number, [logged, evaluated], skipped)
    tell_best(axes, name, evaluations)
    scale(axes, name, x, log_loss)
    plain(axes)


def draw_training(axes: Axes, run: Run, number: int, logged: Points, smooth: int | float) -> None:
    """What was logged while training; a point that no line reaches becomes a dot."""
    values = finite_or_gap(logged.values)
    if not np.isfinite(values).any():
        return
    if smooth and len(values) >= MANY:
        draw(axes, run, number, "each log", logged.places, values, linestyle="-")
        values = smoothed(values, smooth)
    draw(axes, run, number, "training", logged.places, values)
    alone = is_alone(values)
    if alone.any():
        draw(axes, run, number, "training", logged.places[alone], values[alone], linestyle="", marker=".", markersize=8)


def draw_evaluation(axes: Axes, run: Run, number: int, evaluated: Points, best: int | None) -> None:
    """What the evaluations found, a dot each, and the best of them a star."""
    size = {"markersize": 2.5} if len(evaluated.values) > MANY else {}
    if len(evaluated.values):
        draw(axes, run, number, "evaluation", evaluated.places, finite_or_gap(evaluated.values), **size)
    if best is not None:
        draw(axes, run, number, "best evaluation", evaluated.places[[best]], evaluated.values[[best]], zorder=4)


def draw_gaps(axes: Axes, run: Run, number: int, lines: Sequence[Points], skipped: Points) -> None:
    """A cross at the bottom wherever a figure was no number, or updates were skipped."""
    gaps = [line.places[~np.isfinite(line.values)] for line in lines]
    places = np.unique(np.concatenate([*gaps, skipped.places[skipped.values > 0]]))
    if len(places):
        heights = np.full(len(places), 0.04 + 0.05 * (number % 6))
        mark = "skipped, or no number"
        draw(axes, run, number, mark, places, heights, transform=axes.get_xaxis_transform(), clip_on=False)


def draw(axes: Axes, run: Run, number: int, mark: str, places: Values, values: Values, **look: Any) -> None:
    """A line of a run, labelled with the run's name, and with what it shows as its gid."""
    axes.plot(places, values, **{**look_of(number), **MARKS[mark], **look}, label=run.name, gid=mark)


def look_of(number: int) -> Look:
    """The colour and the kind of line of a run.

    >>> look_of(0), look_of(8)["linestyle"]
    ({'color': '#0072b2', 'linestyle': '-'}, '-')
    """
    return {"color": COLOURS[number % len(COLOURS)], "linestyle": DASHES[number % len(DASHES)]}


def tell_best(axes: Axes, name: str, evaluations: Sequence[Points]) -> None:
    """Write the best evaluation of all runs above the panel."""
    values = np.concatenate([evaluated.values for evaluated in evaluations])
    best = best_place(name, values)
    if best is not None:
        axes.set_title(f"best {values[best]:.4g}", loc="right", fontsize=9, color=INK)


def scale(axes: Axes, name: str, x: Place, log_loss: bool) -> None:
    """Ticks that can be read, and logarithms where they are asked for, or where peaks would press the rest flat."""
    axes.margins(x=0.03, y=0.12)
    if x != "epoch":
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.yaxis.set_major_formatter(EngFormatter(sep="") if name == "tokens_per_second" else "{x:g}")
    lines = [line for line in axes.lines if line.get_gid() != "skipped, or no number"]
    values = np.concatenate([np.asarray(line.get_ydata(), dtype=np.float64) for line in lines] or [np.empty(0)])
    values = values[np.isfinite(values)]
    if not len(values):
        axes.set_yticks([])
        axes.text(0.5, 0.5, "no number anywhere", transform=axes.transAxes, ha="center", color=INK)
        return
    is_loss = name.endswith("loss")
    has_peaks = name == "grad_norm" and values.max() > 20 * np.median(values)
    if values.min() > 0 and ((is_loss and log_loss) or has_peaks):
        axes.set_yscale("log")
        is_wide = values.max() > 5 * values.min()
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)) if is_wide else MaxNLocator(6))
        axes.yaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_formatter("{x:g}")


def draw_legends(figure: Figure, runs: Sequence[Run]) -> None:
    """Above the panels which run is which, below them what the lines and marks mean."""
    names = [(in_plain_text(shortened(run.name)), look_of(number)) for number, run in enumerate(runs)]
    marks = {line.get_gid() for axes in figure.axes for line in axes.lines}
    words = {"training": "training, smoothed"} if "each log" in marks else {}
    meanings = [(words.get(mark, mark), {"color": INK, **look}) for mark, look in MARKS.items() if mark in marks]
    n_lines = draw_legend(figure, "outside upper center", names) + draw_legend(figure, "outside lower center", meanings)
    width, height = figure.get_size_inches()
    figure.set_size_inches(width, height + 0.25 * n_lines)


def draw_legend(
    figure: Figure, place: Literal["outside upper center", "outside lower center"], entries: Sequence[tuple[str, Look]]
) -> int:
    """What looks how, side by side as far as the figure is wide; returns the lines of text that it takes."""
    longest = max(len(name) for name, _ in entries)
    n_columns = max(1, min(len(entries), int(figure.get_figwidth() / (0.08 * longest + 0.8))))
    handles = [Line2D([], [], **{"linewidth": 1.8, **look}) for _, look in entries]
    names = [name for name, _ in entries]
    figure.legend(handles, names, loc=place, ncols=n_columns, frameon=False, fontsize=10, handlelength=3)
    return math.ceil(len(entries) / n_columns)


# Numbers and words


def smoothed(values: Values, weight: int | float) -> Values:
    """A mean over all values in which each neighbour counts `weight` times as much as the one nearer; gaps stay gaps.

    Being over both sides, it does not lag behind.

    >>> smoothed(np.array([1.0, 4.0]), 0.5).tolist(), smoothed(np.array([1.0, np.nan]), 0.5).tolist()
    ([2.0, 3.0], [1.0, nan])
    """
    finite = np.isfinite(values)
    known = values[finite]
    totals, counts = (
        fading(series, weight) + fading(series[::-1], weight)[::-1] - series for series in (known, np.ones_like(known))
    )
    means = np.full_like(values, np.nan)
    means[finite] = totals / counts
    return means


def fading(values: Values, weight: int | float) -> Values:
    """The sums of the values so far, of which each step leaves the share `weight`.

    >>> fading(np.array([1.0, 0.0, 4.0]), 0.5).tolist()
    [1.0, 0.5, 4.25]
    """
    return np.array(list(accumulate(values, lambda total, value: weight * total + value)))


def finite_or_gap(values: Values) -> Values:
    """The values, but for those that are infinite, at which a line would end anywhere."""
    return np.where(np.isfinite(values), values, np.nan)


def is_alone(values: Values) -> NDArray[np.bool_]:
    """Which values have a gap, or nothing, on both sides.

    >>> is_alone(np.array([1.0, np.nan, 2.0, 3.0])).tolist()
    [True, False, False, False]
    """
    finite = np.isfinite(values)
    beside = np.pad(finite, 1)
    alone: NDArray[np.bool_] = finite & ~beside[:-2] & ~beside[2:]
    return alone


def best_place(name: str, values: Values) -> int | None:
    """Which of the evaluations is the best, if any is a number.

    >>> best_place("accuracy", np.array([0.5, 0.7, np.nan])), best_place("loss", np.array([0.5, 0.7, np.nan]))
    (1, 0)
    """
    if not np.isfinite(values).any():
        return None
    signed = values if is_less_better(name) else -values
    return int(np.argmin(np.where(np.isfinite(values), signed, np.inf)))


def is_less_better(name: str) -> bool:
    """Whether a metric falls when a model learns.

    >>> is_less_better("masked_lm_loss"), is_less_better("accuracy")
    (True, False)
    """
    return not LESS_IS_BETTER.isdisjoint(name.split("_"))


def shortened(name: str, longest: int = 60) -> str:
    """A name with its middle left out, if it is too long.

    >>> shortened("a-very-long-name", 9)
    'a-ve…name'
    """
    half = (longest - 1) // 2
    return name if len(name) <= longest else f"{name[:half]}…{name[-half:]}"


def in_plain_text(name: str) -> str:
    """A name in which a dollar sign begins no formula."""
    return name.replace("$", r"\$")
