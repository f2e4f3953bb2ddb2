"""Pictures of a model at work: tensors as small maps, and where the time of a step goes."""

import base64
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.image import imsave
from numpy.typing import NDArray

from minitransformer.plots.drawing import BLUE, FAINT, INK, ORANGE, plain

MOST_CELLS = 64
PHASE_COLOURS = (BLUE, ORANGE, FAINT)


def small_map(values: NDArray[Any]) -> str:
    """The beginning of a matrix as a picture in an address, a pixel a value: blue below zero, red above."""
    matrix = np.atleast_2d(values.astype(np.float64))[:MOST_CELLS, :MOST_CELLS]
    finite = np.where(np.isfinite(matrix), matrix, np.nan)
    largest = np.nanmax(np.abs(finite)) if np.isfinite(finite).any() else 1.0
    buffer = io.BytesIO()
    imsave(buffer, finite, cmap="RdBu_r", vmin=-largest or -1.0, vmax=largest or 1.0, format="png")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def times_picture(steps: Mapping[str, Sequence[Mapping[str, Any]]], phases: Sequence[str]) -> Figure:
    """The milliseconds of a training step by equation, longest first, a panel for each kind of kernels.

    A row has a `name`, its `share` of the step, and the seconds of each phase.
    """
    longest = max(len(rows) for rows in steps.values())
    figure = Figure(figsize=(6.2 * len(steps), 1.2 + 0.3 * longest), layout="constrained")
    panels: Any = figure.subplots(1, len(steps), squeeze=False)
    for axes, (kind, rows) in zip(panels[0], steps.items(), strict=True):
        names = [row["name"] for row in rows]
        left = np.zeros(len(rows))
        for phase, colour in zip(phases, PHASE_COLOURS, strict=True):
            width = np.array([1e3 * row[phase] for row in rows])
            axes.barh(names, width, left=left, color=colour, label=phase)
            left += width
        for place, row in enumerate(rows):
            axes.annotate(
                f"{row['share']:.1%}",
                (left[place], place),
                xytext=(4, 0),
                textcoords="offset points",
                va="center",
                fontsize=8,
                color=INK,
            )
        axes.invert_yaxis()
        axes.margins(x=0.12)
        axes.set(title=kind, xlabel="milliseconds of a training step")
        plain(axes)
        axes.legend(frameon=False, loc="lower right")
    return figure
