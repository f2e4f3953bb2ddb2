"""Accumulation: however an update is cut into batches, it is that of one large batch."""

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from accumulation import CASES, SPLITS, distances, is_at_most
from both_trainers import largest_difference

from minitransformer.trainer.loss_parts import asks_for_the_next

INEXACT_THERE = ("BertForPreTraining", "BertForQuestionAnswering", "any module", "compute_loss overridden, a mean")


def found(whose: str, name: str, folder: Path, splits: Any = SPLITS) -> dict[str, Any]:
    """How far the runs of small batches are from that of large ones."""
    case = CASES[name]
    case.task.write(folder / "model")
    return distances(getattr(case, whose), folder, torch.float64, splits)


@pytest.mark.parametrize("name", CASES)
def test_losses_gradients_and_parameters_are_those_of_one_large_batch(name: str, tmp_path: Path) -> None:
    rest = {} if name == "BertForPreTraining" else {"splits": [(2, 4)]}
    differences = found("ours", name, tmp_path, **rest)
    assert all(is_at_most(differences[what], CASES[name].rounding) for what in ("losses", "norms", "weights")), (
        differences
    )


@pytest.mark.parametrize("name", INEXACT_THERE)
def test_the_trainer_of_transformers_shows_that_the_cases_could_fail(name: str, tmp_path: Path) -> None:
    differences = found("theirs", name, tmp_path, splits=[(2, 4)])
    assert not any(is_at_most(differences[what], CASES[name].rounding) for what in ("losses", "norms", "weights")), (
        differences
    )


def test_the_cases_cover_all_heads_and_unequal_counts() -> None:
    kinds = {case.task.kind for case in CASES.values()}
    assert len([kind for kind in kinds if kind.startswith("BertFor")]) == 7
    for name in ("BertForPreTraining", "BertForMaskedLM", "BertForTokenClassification"):
        counts = {int((example["labels"] >= 0).sum()) for example in CASES[name].task.examples()}
        assert len(counts) > 2


def test_the_smoothed_loss_of_a_model_that_writes_on_is_that_of_transformers(tmp_path: Path) -> None:
    case = CASES["the same, labels smoothed"]
    case.task.write(tmp_path / "model")
    ours, theirs = (train(tmp_path, torch.float64, num_train_epochs=1) for train in (case.ours, case.theirs))
    assert largest_difference(ours.losses, theirs.losses) < 5e-7
    assert largest_difference(ours.norms, theirs.norms) < 5e-6


def test_models_that_write_on_are_told_from_those_that_do_not() -> None:
    small = {"vocab_size": 9, "num_hidden_layers": 1, "num_attention_heads": 2}
    gpt = transformers.GPT2LMHeadModel(transformers.GPT2Config(**small, n_embd=8))
    t5 = transformers.T5ForConditionalGeneration(transformers.T5Config(**small, d_model=8, d_kv=4, d_ff=8, num_heads=2))
    config = transformers.BertConfig(**small, hidden_size=8, intermediate_size=8)
    berts = [
        getattr(transformers, kind)(config)
        for kind in ("BertForPreTraining", "BertForMaskedLM", "BertForNextSentencePrediction")
    ]
    assert asks_for_the_next(gpt)
    assert not any(asks_for_the_next(model) for model in (t5, *berts))
