"""Pictures with matplotlib, which is slow to import: of runs, of what was learned, of a model at work.

They know nothing of models.
"""

from matplotlib.figure import Figure

from minitransformer.plots.drawing import data_address, png
from minitransformer.plots.learned import (
    attention_maps,
    confusion,
    loss_curves,
    outcomes,
    sweep_picture,
    two_trainings,
)
from minitransformer.plots.runs import runs_picture
from minitransformer.plots.traces import small_map, times_picture

__all__ = [
    "Figure",
    "attention_maps",
    "confusion",
    "data_address",
    "loss_curves",
    "outcomes",
    "png",
    "runs_picture",
    "small_map",
    "sweep_picture",
    "times_picture",
    "two_trainings",
]
