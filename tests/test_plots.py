"""Pictures: the right panels, titles and labels, and numbers where they belong."""

import base64
import math

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

from minitransformer import plots
from minitransformer.plots import learned

HISTORY = [{"step": step, "masked_lm_loss": 9 - step / 100, "next_sentence_loss": 0.7} for step in range(50, 600, 50)]
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def attention_figure(n_blocks: int = 2, n_heads: int = 3) -> Figure:
    """Heads that read themselves."""
    weights = np.broadcast_to(np.eye(4), (n_blocks, n_heads, 4, 4))
    return plots.attention_maps(weights, ["[CLS]", "a", "b", "[SEP]"])


def lines(figure: Figure, panel: int) -> list[list[float]]:
    """What the lines of a panel show."""
    return [list(line.get_ydata()) for line in figure.axes[panel].lines]


def words(figure: Figure, panel: int = 0) -> str:
    """All text in a panel."""
    return " ".join(text.get_text() for text in figure.axes[panel].texts)


def test_both_losses_have_a_panel_with_title_labels_and_levels_to_compare_with() -> None:
    figure = plots.loss_curves(HISTORY, vocabulary=100, unigram_entropy=3.25)
    assert [axes.get_title() for axes in figure.axes] == ["Masked words", "Next sentence"]
    assert {axes.get_xlabel() for axes in figure.axes} == {"step"}
    assert {axes.get_ylabel() for axes in figure.axes} == {"loss in nats"}
    assert lines(figure, 0)[0] == [entry["masked_lm_loss"] for entry in HISTORY]
    assert [math.log(100)] * 2 in lines(figure, 0)
    assert [3.25] * 2 in lines(figure, 0)
    assert [math.log(2)] * 2 in lines(figure, 1)
    assert f"{math.log(100):.2f}" in words(figure)
    assert "3.25" in words(figure)


def test_the_running_mean_stands_in_the_middle_of_the_logs_it_is_over() -> None:
    figure = plots.loss_curves(HISTORY, vocabulary=100, unigram_entropy=3.25)
    smooth = figure.axes[0].lines[1]
    values, steps = [entry["masked_lm_loss"] for entry in HISTORY], [entry["step"] for entry in HISTORY]
    width = learned.SMOOTHED_LOGS
    assert len(smooth.get_xdata()) == len(HISTORY) - width + 1
    for series, drawn in ((steps, smooth.get_xdata()), (values, smooth.get_ydata())):
        assert drawn[0] == pytest.approx(np.mean(series[:width]))
        assert drawn[-1] == pytest.approx(np.mean(series[-width:]))


@pytest.mark.parametrize("n_logs", [1, 3])
def test_a_short_history_can_be_drawn(n_logs: int) -> None:
    figure = plots.loss_curves(HISTORY[:n_logs], vocabulary=100, unigram_entropy=3.25)
    assert len(lines(figure, 0)[1]) == 1


def test_logs_of_an_evaluation_are_left_out_of_the_curves() -> None:
    figure = plots.loss_curves([*HISTORY, {"step": 600, "eval_loss": 3.0}], vocabulary=100, unigram_entropy=3.25)
    assert len(lines(figure, 0)[0]) == len(HISTORY)


@pytest.mark.parametrize("n_heads", [1, 3, 4, 6, 8])
def test_every_head_of_every_block_has_a_panel_with_its_tokens(n_heads: int) -> None:
    weights = np.random.default_rng(0).dirichlet(np.ones(4), size=(2, n_heads, 4))
    tokens = ["[CLS]", "a", "b", "[SEP]"]
    figure = plots.attention_maps(weights, tokens)
    places = [(block, head) for block in range(2) for head in range(n_heads)]
    assert len(figure.axes) == len(places)
    for axes, (block, head) in zip(figure.axes, places, strict=True):
        assert axes.get_title() == f"block {block + 1}, head {head + 1}"
        assert [label.get_text() for label in axes.get_xticklabels()] == tokens
        assert np.array_equal(axes.images[0].get_array(), weights[block, head])
        assert axes.images[0].get_clim() == (0, 1)
        names = tokens if head % learned.PANELS_IN_A_ROW == 0 else [""] * 4
        assert [label.get_text() for label in axes.get_yticklabels()] == names


@pytest.mark.parametrize("n_heads", [2, 8])
def test_no_title_or_token_of_one_head_covers_those_of_another(n_heads: int) -> None:
    figure = plots.attention_maps(np.full((2, n_heads, 3, 3), 1 / 3), ["[CLS]", "stargazers", "[SEP]"])
    figure.draw_without_rendering()
    boxes = [axes.get_tightbbox() for axes in figure.axes]
    for number, box in enumerate(boxes):
        assert figure.bbox.x0 <= box.x0 < box.x1 <= figure.bbox.x1
        assert figure.bbox.y0 <= box.y0 < box.y1 <= figure.bbox.y1
        for other in boxes[:number]:
            assert not box.overlaps(other)


def test_outcomes_have_a_bar_for_each_mean_and_a_dot_for_each_seed() -> None:
    figure = plots.outcomes({"from scratch": [0.6, 0.7, 0.8], "pretrained": [0.9, 0.9, 0.93]}, chance=0.55)
    axes = figure.axes[0]
    assert [bar.get_height() for bar in axes.patches] == pytest.approx([0.7, 0.91])
    assert lines(figure, 0)[:2] == [[0.6, 0.7, 0.8], [0.9, 0.9, 0.93]]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["from scratch", "pretrained"]
    assert axes.get_ylabel() == "held-out accuracy"
    assert "70.0%" in words(figure)
    assert "91.0%" in words(figure)


@pytest.mark.parametrize("accuracies", [[0.05, 0.2], [1.0, 1.0]])
def test_every_seed_lies_inside_the_picture(accuracies: list[float]) -> None:
    axes = plots.outcomes({"from scratch": accuracies, "pretrained": accuracies}, chance=0.2).axes[0]
    low, high = axes.get_ylim()
    assert low <= min(accuracies)
    assert max(accuracies) < high


def test_a_confusion_matrix_shows_its_counts_with_the_true_class_in_the_row() -> None:
    figure = plots.confusion([[5, 1, 0], [2, 7, 0], [0, 0, 0]], ["farm", "sea", "sky"])
    axes = figure.axes[0]
    assert words(figure) == "5 1 0 2 7 0 0 0 0"
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted", "true")
    assert [label.get_text() for label in axes.get_yticklabels()] == ["farm", "sea", "sky"]
    assert np.allclose(axes.images[0].get_array()[1], [2 / 9, 7 / 9, 0])


FIGURES = {
    "losses": lambda: plots.loss_curves(HISTORY, 100, 3.25),
    "attention": attention_figure,
    "outcomes": lambda: plots.outcomes({"from scratch": [0.6], "pretrained": [0.9]}, 0.5),
    "confusion": lambda: plots.confusion([[1, 0], [0, 1]], ["a", "b"]),
    "sweep": lambda: plots.sweep_picture({0.01: [3.0, 2.0], 0.1: [3.0, 2.5]}),
}


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_becomes_a_png_that_a_page_can_hold(name: str) -> None:
    figure = FIGURES[name]()
    picture = plots.png(figure)
    assert picture.startswith(PNG_SIGNATURE)
    address = plots.data_address(figure)
    assert address.startswith("data:image/png;base64,")
    assert base64.b64decode(address.partition(",")[2]).startswith(PNG_SIGNATURE)


def test_a_training_that_breaks_is_marked_where_it_does() -> None:
    healthy = ([5.0, 4.0, 3.0], {0: 5.0, 2: 3.0})
    figure = plots.two_trainings(healthy, ([5.0, 4.5], {0: 5.0}), breaks=True)
    assert lines(figure, 0) == [[5.0, 4.0, 3.0], [5.0, 3.0], [5.0, 4.5], [5.0], [4.5]]
    assert figure.axes[0].get_legend_handles_labels()[1][-1] == "breaks at step 2"
    assert lines(plots.two_trainings(healthy, ([], {}), breaks=True), 0)[-1] == [5.0]


@pytest.mark.parametrize("far", [900.0, -900.0])
def test_losses_far_from_the_healthy_ones_are_drawn_by_powers_of_ten(far: float) -> None:
    healthy = ([5.0, 4.0], {0: 5.0, 1: 4.0})
    (axes,) = plots.two_trainings(healthy, ([far, 5.0], {0: far}), breaks=False).axes
    assert axes.get_yscale() == "symlog"
    assert max(axes.get_yticks(), key=abs) == np.sign(far) * 500
    (axes,) = plots.two_trainings(healthy, ([6.0, 5.0], {0: 6.0}), breaks=False).axes
    assert axes.get_yscale() == "linear"


def test_the_sweep_has_a_named_line_for_each_rate_and_its_ends_over_the_rates() -> None:
    figure = plots.sweep_picture({0.001: [3.0, 2.9], 0.01: [3.0, 2.0], 0.1: [3.0, 90.0], 1.0: [3.0, math.nan]})
    by_step, by_rate = figure.axes
    assert lines(figure, 0)[:3] == [[3.0, 2.9], [3.0, 2.0], [3.0, 90.0]]
    assert [text.get_text() for text in by_step.texts] == ["0.001", "0.01", "0.1 ✗", "1 ✗"]
    assert by_rate.get_xscale() == "log"
    assert [2.9, 2.0] in lines(figure, 1)
    (crosses,) = (line for line in by_rate.lines if line.get_marker() == "x")
    assert list(crosses.get_xdata()) == [0.1, 1.0]
    assert by_rate.get_title() == "Fastest at 0.01: train at the lowest point, or left of it"
    assert (by_step.get_xlabel(), by_rate.get_xlabel()) == ("step", "learning rate")
    assert by_step.get_ylabel() == "loss in nats"
    assert by_step.get_ylim() == pytest.approx((0, 3.9)), "a rate that is too high should not press the others flat"


def test_names_of_lines_that_end_together_stay_apart_and_inside() -> None:
    ends = {0.001: 2.9, 0.003: 2.9, 0.01: 2.9, 0.03: 99.0, 0.1: 99.0, 0.3: 99.0}
    figure = plots.sweep_picture({rate: [3.0, end] for rate, end in ends.items()})
    by_step = figure.axes[0]
    figure.draw_without_rendering()
    boxes = [Text.get_window_extent(text) for text in by_step.texts]  # without its line to the end of a line
    for number, box in enumerate(boxes):
        assert figure.bbox.y0 <= box.y0 < box.y1 <= figure.bbox.y1
        assert not any(box.overlaps(other) for other in boxes[:number])


def test_a_sweep_in_which_nothing_falls_says_so_and_an_empty_one_can_be_drawn() -> None:
    assert plots.sweep_picture({0.1: [3.0, 4.0]}).axes[1].get_title() == "The loss falls at no rate"
    assert not plots.sweep_picture({}).axes[0].lines
    assert plots.sweep_picture({0.1: [-3.0, -4.0]}).axes[0].get_ylim()[0] < -4
