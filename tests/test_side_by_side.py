"""Side by side: step by step the numbers of the trainer of `transformers`, but where that one is wrong."""

from pathlib import Path
from typing import Any

import pytest
import torch
from both_trainers import TASKS
from side_by_side import (
    HEADS,
    SCHEDULES,
    SMOOTHED,
    WARMUPS,
    accumulated,
    both,
    differences,
    evaluated,
    is_kept,
    resumed,
    spoilt_by_a_nan,
)


def runs() -> list[Any]:
    """Every head, schedule and warm-up once at least, and smoothed labels."""
    heads, warmups = HEADS * 3, [*WARMUPS] * 4
    varied = [(heads[n], schedule, warmups[n], {}) for n, schedule in enumerate(SCHEDULES)]
    return [*varied, ("BertForMaskedLM", "linear", "a ratio of 0.15", SMOOTHED)]


@pytest.mark.parametrize(("head", "schedule", "warmup", "changes"), runs())
def test_losses_norms_and_rates_are_those_of_transformers(
    head: str, schedule: str, warmup: str, changes: dict[str, Any], tmp_path: Path
) -> None:
    pair = both(TASKS[head], tmp_path, torch.float64, schedule, warmup, **changes)
    row = {"in": "float64", **differences(pair)}
    assert is_kept(row), row
    assert 0 < row["clipped"] < row["steps"] == 12, "the clipping has something to do, and not always"
    assert len(pair.ours.batches[-1]["labels"]) == 2, "the last batch is smaller"
    assert row["weights at the end"] < 1e-6


def test_two_runs_that_differ_are_found_out(tmp_path: Path) -> None:
    pair = both(TASKS["BertForMaskedLM"], tmp_path, torch.float64, "linear", "5 steps")
    other = pair.ours._replace(losses=[loss + 1e-6 for loss in pair.ours.losses])
    assert not is_kept({"in": "float64", **differences(pair._replace(ours=other))})
    other = pair.ours._replace(rates=[rate * (1 + 1e-15) for rate in pair.ours.rates])
    assert not is_kept({"in": "float64", **differences(pair._replace(ours=other))})


def test_small_batches_are_one_large_batch_here_and_not_there(tmp_path: Path) -> None:
    for row in accumulated("BertForPreTraining", tmp_path):
        assert row["ours"] == pytest.approx([1, 1], abs=1e-12)
        assert row["theirs"] == pytest.approx([3, 4], rel=0.1), "three or four batches, and the losses added up"


def test_a_nan_is_an_error_here_and_a_loss_of_zero_there(tmp_path: Path) -> None:
    said, lost = spoilt_by_a_nan(tmp_path)
    assert said["ours"].startswith("stops: the loss is nan with a gradient norm of nan at step 1, on the examples")
    assert said["theirs"] == "loss 0.0 at the last of 12 steps"
    assert lost["ours"] == "0%"
    assert lost["theirs"] == "100%"


def test_an_evaluation_is_over_tokens_here_and_over_batches_there(tmp_path: Path) -> None:
    (row,) = evaluated("BertForTokenClassification", tmp_path)
    assert row["ours"] < 1e-12
    assert row["theirs"] > 1e-3


def test_a_resumed_run_masks_the_same_words_here_and_others_there(tmp_path: Path) -> None:
    (row,) = resumed("shuffled, words masked anew", tmp_path)
    assert row["ours"] == 0
    assert row["theirs"] > 1e-4
