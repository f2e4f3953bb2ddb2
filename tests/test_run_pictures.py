"""Pictures of runs: the right panels, every number where it belongs, and nothing that covers anything else."""

import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from minitransformer.errors import InputError
from minitransformer.plots import png, runs
from minitransformer.plots.runs import runs_picture
from minitransformer.run_log import Run


def run_of(name: str = "first", n_logs: int = 4, **figures: Any) -> Run:
    """A run that logs each step, and evaluates every second one."""
    entries: list[dict[str, Any]] = []
    for step in range(1, n_logs + 1):
        around = {"step": step, "epoch": step / 2, "num_input_tokens_seen": step * 64}
        training = {"loss": 3.0 / step, "learning_rate": 0.1 / step, "grad_norm": 1.0 + step, "tokens_per_second": 5e3}
        entries.append({**around, **training, **figures})
        if step % 2 == 0:
            entries.append({**around, "eval_loss": 4.0 / step, "eval_accuracy": step / 10, "eval_runtime": 2.0})
    return Run(name, [*entries, {"step": n_logs, "epoch": n_logs / 2, "train_loss": 2.0, "train_runtime": 9.0}])


def titles(figure: Figure) -> list[str]:
    """What the panels are called."""
    return [axes.get_title(loc="left") for axes in figure.axes]


def panel(figure: Figure, title: str) -> Axes:
    """The panel of this name."""
    return figure.axes[titles(figure).index(title)]


def lines(axes: Axes, mark: str, run: str = "first") -> list[Line2D]:
    """What shows this of a run."""
    return [line for line in axes.lines if (line.get_gid(), line.get_label()) == (mark, run)]


def points(axes: Axes, mark: str, run: str = "first") -> list[tuple[float, float]]:
    """The places and values of the only line that shows this of a run."""
    (line,) = lines(axes, mark, run)
    return list(zip(np.asarray(line.get_xdata()).tolist(), np.asarray(line.get_ydata()).tolist(), strict=True))


# What is drawn


def test_each_figure_has_a_panel_losses_first_and_what_tells_of_the_machine_last() -> None:
    figure = runs_picture([run_of()])
    assert titles(figure) == ["Loss", "Accuracy", "Learning rate", "Gradient norm", "Speed"]
    assert {axes.get_xlabel() for axes in figure.axes} == {"step"}
    assert panel(figure, "Speed").get_ylabel() == "tokens per second"
    assert all(axes.lines for axes in figure.axes), "no panel should be empty"


def test_training_and_evaluation_stand_in_one_panel() -> None:
    figure = runs_picture([run_of()])
    assert points(panel(figure, "Loss"), "training") == [(step, 3.0 / step) for step in (1, 2, 3, 4)]
    assert points(panel(figure, "Loss"), "evaluation") == [(2, 2.0), (4, 1.0)]
    assert points(panel(figure, "Accuracy"), "evaluation") == [(2, 0.2), (4, 0.4)]
    assert not lines(panel(figure, "Accuracy"), "training")
    assert points(panel(figure, "Learning rate"), "training") == [(step, 0.1 / step) for step in (1, 2, 3, 4)]


@pytest.mark.parametrize(("x", "factor"), [("step", 1), ("epoch", 0.5), ("tokens", 64)])
def test_figures_are_drawn_over_steps_epochs_or_tokens(x: runs.Place, factor: float) -> None:
    figure = runs_picture([run_of()], x=x)
    assert points(panel(figure, "Loss"), "training") == [(step * factor, 3.0 / step) for step in (1, 2, 3, 4)]
    assert points(panel(figure, "Loss"), "evaluation") == [(2 * factor, 2.0), (4 * factor, 1.0)]
    assert {axes.get_xlabel() for axes in figure.axes} == {x}


def test_parts_of_the_loss_have_panels_where_there_are_several() -> None:
    figure = runs_picture([run_of(masked_lm_loss=2.0, next_sentence_loss=0.7)])
    assert titles(figure)[:3] == ["Loss", "Masked lm loss", "Next sentence loss"]
    alone = run_of()
    alone = Run("alone", [{**entry, "masked_lm_loss": entry.get("loss", math.nan)} for entry in alone.entries[:1]])
    assert titles(runs_picture([alone])) == ["Loss", "Learning rate", "Gradient norm", "Speed"]


def test_the_loss_of_a_data_set_of_its_own_name_is_drawn() -> None:
    entries = [{"step": 1, "loss": 2.0}, {"step": 1, "eval_news_loss": 2.5}]
    figure = runs_picture([Run("first", entries)])
    assert titles(figure) == ["Loss", "News loss"]
    assert points(panel(figure, "News loss"), "evaluation") == [(1, 2.5)]


def test_only_what_was_asked_for_is_drawn_in_that_order() -> None:
    figure = runs_picture([run_of()], metrics=["accuracy", "eval_loss", "loss", "runtime"])
    assert titles(figure) == ["Accuracy", "Loss", "Runtime"]


def test_what_no_run_has_logged_is_refused_with_what_there_is() -> None:
    with pytest.raises(InputError, match=r"no run has logged 'acuracy'; did you mean 'accuracy'\? there are: acc"):
        runs_picture([run_of()], metrics=["acuracy"])
    with pytest.raises(InputError, match="no run has logged 'step'"):
        runs_picture([run_of()], metrics=["step"])


def test_runs_that_cannot_be_drawn_are_refused() -> None:
    with pytest.raises(InputError, match="there is no run to draw"):
        runs_picture([])
    with pytest.raises(InputError, match="no figure of first tells how a training went"):
        runs_picture([Run("first", [{"step": 1, "train_loss": 2.0, "note": "words"}])])
    with pytest.raises(InputError, match="bare has logged nothing with epoch; choose another x than 'epoch'"):
        runs_picture([run_of(), Run("bare", [{"step": 1, "loss": 2.0}])], x="epoch")
    for smooth in (1.0, -0.1, math.nan):
        with pytest.raises(InputError, match="must be at least 0 and below 1"):
            runs_picture([run_of()], smooth=smooth)


# Several runs


def test_runs_are_told_apart_by_colour_and_by_the_kind_of_line() -> None:
    many = [run_of(f"run {number}") for number in range(28)]
    figure = runs_picture(many, metrics=["loss"])
    looks = [lines(figure.axes[0], "training", run.name)[0] for run in many]
    assert len({(line.get_color(), line.get_linestyle()) for line in looks}) == 28
    for first, second in pairwise(looks):
        assert first.get_color() != second.get_color()
        assert first.get_linestyle() != second.get_linestyle()


def test_the_legends_name_each_run_and_each_mark_that_is_there() -> None:
    figure = runs_picture([run_of("$first$"), run_of("_second"), run_of("_second")])
    names, marks = ([text.get_text() for text in legend.get_texts()] for legend in figure.legends)
    assert names == [r"\$first\$", "_second", "_second"]
    assert marks == ["training", "evaluation", "best evaluation"]
    figure = runs_picture([Run("first", [{"step": step, "loss": math.nan if step == 3 else 2} for step in range(50)])])
    assert [text.get_text() for text in figure.legends[1].get_texts()] == [
        "each log",
        "training, smoothed",
        "skipped, or no number",
    ]


def test_a_run_that_lacks_a_figure_is_left_out_of_its_panel_alone() -> None:
    figure = runs_picture([run_of(), Run("bare", [{"step": 1, "loss": 2.0}, {"step": 2, "loss": 1.0}])])
    assert points(panel(figure, "Loss"), "training", "bare") == [(1, 2.0), (2, 1.0)]
    assert not lines(panel(figure, "Accuracy"), "evaluation", "bare")


def test_all_panels_cover_the_same_steps() -> None:
    figure = runs_picture([run_of(), run_of("longer", n_logs=9)])
    assert len({axes.get_xlim() for axes in figure.axes}) == 1


# Smoothing


def test_many_logs_are_drawn_thin_and_smoothed() -> None:
    figure = runs_picture([run_of(n_logs=60)], smooth=0.5)
    axes = panel(figure, "Loss")
    assert points(axes, "each log") == [(step, 3.0 / step) for step in range(1, 61)]
    smooth = [value for _, value in points(axes, "training")]
    weights = 0.5 ** np.abs(np.arange(60) - 29)
    assert smooth[29] == pytest.approx(np.average(3.0 / np.arange(1, 61), weights=weights))
    assert not lines(panel(figure, "Learning rate"), "each log"), "a schedule is exact"
    assert not lines(panel(runs_picture([run_of(n_logs=60)], smooth=0), "Loss"), "each log")
    assert not lines(panel(runs_picture([run_of(n_logs=runs.MANY - 1)]), "Loss"), "each log")


def test_smoothing_keeps_a_line_that_is_straight_or_has_a_gap() -> None:
    assert runs.smoothed(np.full(30, 2.0), 0.9) == pytest.approx(np.full(30, 2.0))
    middle = runs.smoothed(np.arange(101.0), 0.9)[50]
    assert middle == pytest.approx(50), "it should not lag behind"
    with_gap = runs.smoothed(np.array([1.0, np.nan, 1.0, np.inf, 1.0]), 0.9)
    assert np.array_equal(np.isnan(with_gap), [False, True, False, True, False])


# Marks


def test_the_best_evaluation_of_each_run_is_a_star_and_the_best_of_all_is_told() -> None:
    figure = runs_picture([run_of(), run_of("longer", n_logs=6)])
    loss, accuracy = panel(figure, "Loss"), panel(figure, "Accuracy")
    assert points(loss, "best evaluation") == [(4, 1.0)]
    assert points(loss, "best evaluation", "longer") == [(6, pytest.approx(2 / 3))]
    assert points(accuracy, "best evaluation", "longer") == [(6, 0.6)]
    assert (loss.get_title(loc="right"), accuracy.get_title(loc="right")) == ("best 0.6667", "best 0.6")
    assert panel(figure, "Speed").get_title(loc="right") == ""


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_no_number_is_a_gap_with_a_cross_below_it(number: float) -> None:
    losses = [3.0, 2.0, number, 1.0, number, 4.0]
    figure = runs_picture([Run("first", [{"step": step, "loss": loss} for step, loss in enumerate(losses)])])
    (axes,) = figure.axes
    drawn, dots = lines(axes, "training")
    assert np.array_equal(drawn.get_ydata(), [3.0, 2.0, math.nan, 1.0, math.nan, 4.0], equal_nan=True)
    assert list(dots.get_xdata()) == [3, 5], "a point between two gaps should be seen"
    assert [step for step, _ in points(axes, "skipped, or no number")] == [2, 4]


def test_skipped_updates_are_marked_in_the_panel_of_the_loss() -> None:
    entries = [{"step": step, "loss": 2.0, "grad_norm": 1.0, "skipped_updates": step % 2} for step in range(4)]
    figure = runs_picture([Run("first", entries)])
    assert [step for step, _ in points(panel(figure, "Loss"), "skipped, or no number")] == [1, 3]
    assert not lines(panel(figure, "Gradient norm"), "skipped, or no number")


def test_a_run_that_never_was_a_number_says_so() -> None:
    figure = runs_picture(
        [Run("first", [{"step": step, "loss": math.nan, "eval_loss": math.nan} for step in range(30)])]
    )
    (axes,) = figure.axes
    assert len(points(axes, "skipped, or no number")) == 30
    assert [text.get_text() for text in axes.texts] == ["no number anywhere"]
    assert not list(axes.get_yticks())


def test_a_run_of_one_log_is_a_dot() -> None:
    figure = runs_picture([Run("first", [{"step": 50, "loss": 2.5}])])
    assert [line.get_marker() for line in lines(figure.axes[0], "training")] == ["None", "."]
    assert [list(line.get_ydata()) for line in lines(figure.axes[0], "training")] == [[2.5], [2.5]]


# Scales


def test_losses_are_drawn_by_their_logarithms_if_they_have_any() -> None:
    figure = runs_picture([run_of(masked_lm_loss=2.0, contrast_loss=-1.0)], log_loss=True)
    scales = dict(zip(titles(figure), (axes.get_yscale() for axes in figure.axes), strict=True))
    assert (scales["Loss"], scales["Masked lm loss"]) == ("log", "log")
    assert {scales["Contrast loss"], scales["Accuracy"], scales["Learning rate"]} == {"linear"}
    assert {axes.get_yscale() for axes in runs_picture([run_of()]).axes} == {"linear"}


def test_a_gradient_that_explodes_does_not_press_all_others_flat() -> None:
    norms = [1.0, 1.2, 500.0, 0.9, 1.1]
    (axes,) = runs_picture([Run("first", [{"step": step, "grad_norm": norm} for step, norm in enumerate(norms)])]).axes
    assert axes.get_yscale() == "log"


@pytest.mark.parametrize("losses", [[3.2, 3.3], [0.001, 900.0], [2.0, 2.0]])
def test_a_scale_of_logarithms_has_ticks_to_read(losses: list[float]) -> None:
    run = Run("first", [{"step": step, "loss": loss} for step, loss in enumerate(losses)])
    figure = runs_picture([run], log_loss=True)
    figure.draw_without_rendering()
    low, high = figure.axes[0].get_ylim()
    seen = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    ticks = [tick for tick, text in zip(figure.axes[0].get_yticks(), seen, strict=True) if low <= tick <= high and text]
    assert len(ticks) >= 2


LONG = "a-run-with-a-name-that-says-everything-about-learning-rate-and-batch-size-and-seed"
PICTURES = {
    "one run": [run_of(n_logs=60)],
    "parts": [run_of(n_logs=60, masked_lm_loss=2.0, next_sentence_loss=0.7)],
    "one log": [run_of(n_logs=1)],
    "many runs": [run_of(f"seed {number}", n_logs=9 + number) for number in range(15)],
    "long names": [run_of(LONG), run_of(f"{LONG}-2", a_metric_of_whose_name_nobody_sees_the_end_in_a_panel=1e-7)],
    "large numbers": [run_of(n_logs=3, loss=1e9, learning_rate=1e-9, perplexity=1.5e30)],
    "a single panel": [Run("first", [{"step": 1, "loss": 2.0}])],
}


@pytest.mark.parametrize("name", PICTURES)
def test_no_text_covers_another_or_leaves_the_picture(name: str) -> None:
    figure = runs_picture(PICTURES[name])
    figure.draw_without_rendering()
    boxes = [axes.get_tightbbox() for axes in figure.axes]
    boxes += [legend.get_window_extent() for legend in figure.legends]
    for number, box in enumerate(boxes):
        assert figure.bbox.x0 - 1 <= box.x0 < box.x1 <= figure.bbox.x1 + 1
        assert figure.bbox.y0 - 1 <= box.y0 < box.y1 <= figure.bbox.y1 + 1
        for other in boxes[:number]:
            assert not box.overlaps(other)
    for axes in figure.axes:
        left, right = axes._left_title, axes._right_title  # matplotlib gives their texts, but not their boxes
        assert not right.get_text() or left.get_window_extent().x1 < right.get_window_extent().x0


def test_a_picture_becomes_a_file(tmp_path: Path) -> None:
    (tmp_path / "plot.png").write_bytes(png(runs_picture([run_of()])))
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")
