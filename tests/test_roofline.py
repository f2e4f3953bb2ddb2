"""The floors under the benchmarks: their formula counts what PyTorch counts, and measurements are kept."""

import json
from pathlib import Path

import machine
import pytest
import torch
from operations import Work, forward_operations, n_parameters, training_bytes, training_operations
from results import Results
from roofline import (
    Floor,
    Measurement,
    inference_token_floor,
    measure,
    measure_machine,
    share_of_floor,
    training_token_floor,
)
from torch.utils.flop_counter import FlopCounterMode

from minitransformer import kernels
from minitransformer.doctor import random_batch_for
from minitransformer.models.bert import BertForMaskedLM, BertForPreTraining, BertForSequenceClassification, BertModel
from minitransformer.models.bert_config import BertConfig

CONFIG = BertConfig(
    vocab_size=53,
    hidden_size=22,
    num_hidden_layers=3,
    num_attention_heads=2,
    intermediate_size=35,
    max_position_embeddings=13,
    num_labels=5,
)
SEQUENCES, LENGTH, PREDICTED = 3, 13, 2
KNOWN = machine.Machine("a processor", "cpu", 1, "2", "", float32=2e9, bfloat16=8e9, copy=1e9)


def counted(model: torch.nn.Module, forward: bool = False, **batch: torch.Tensor) -> int:
    """The operations of a step as PyTorch counts them, product by product."""
    with FlopCounterMode(display=False) as counter, kernels.use("equations"):
        if forward:
            model(**batch)
        elif hasattr(model, "training_losses"):
            torch.stack([part.mean for part in model.training_losses(**batch).values()]).sum().backward()
        else:
            model(**batch).loss.backward()
    return int(counter.get_total_flops())


def work(task: str, predicted: int = PREDICTED, everywhere: bool = False, config: BertConfig = CONFIG) -> Work:
    """The work of a batch without padding."""
    return Work(config, [LENGTH] * SEQUENCES, task, predicted / LENGTH, everywhere)


@pytest.mark.parametrize(("task", "kind"), [("pretraining", BertForPreTraining), ("masked words", BertForMaskedLM)])
def test_the_formula_of_a_training_step_counts_each_product_that_pytorch_counts(
    task: str, kind: type[torch.nn.Module]
) -> None:
    batch = random_batch_for(kind(CONFIG), SEQUENCES, LENGTH)
    assert counted(kind(CONFIG), **batch) == pytest.approx(sum(training_operations(work(task)).values()), abs=1e-6)


def test_the_formula_knows_what_is_computed_everywhere() -> None:
    batch = random_batch_for(BertForPreTraining(CONFIG), SEQUENCES, LENGTH)
    expected = sum(forward_operations(work("pretraining", everywhere=True)).values())
    assert counted(BertForPreTraining(CONFIG), forward=True, **batch) == expected


def test_the_formula_counts_classifying_and_encoding() -> None:
    input_ids = torch.randint(CONFIG.vocab_size, (SEQUENCES, LENGTH))
    classifier = BertForSequenceClassification(CONFIG)
    classified = counted(classifier, input_ids=input_ids, labels=torch.tensor([4, 0, 3]))
    assert classified == sum(training_operations(work("classification")).values())
    encoder = BertModel(CONFIG, add_pooling_layer=False)
    assert counted(encoder, forward=True, input_ids=input_ids) == sum(forward_operations(work("encoding")).values())


@pytest.mark.parametrize("tied", [True, False])
def test_the_formula_counts_every_parameter(tied: bool) -> None:
    config = BertConfig(**{**vars(CONFIG), "tie_word_embeddings": tied})
    for task, model in (
        ("pretraining", BertForPreTraining(config)),
        ("masked words", BertForMaskedLM(config)),
        ("classification", BertForSequenceClassification(config)),
        ("encoding", BertModel(config, add_pooling_layer=False)),
    ):
        assert n_parameters(config, task) == sum(parameter.numel() for parameter in model.parameters()), task


def test_no_blocks_leave_the_head_alone() -> None:
    config = BertConfig(**{**vars(CONFIG), "num_hidden_layers": 0})
    batch = random_batch_for(BertForPreTraining(config), SEQUENCES, LENGTH)
    expected = sum(training_operations(work("pretraining", config=config)).values())
    assert counted(BertForPreTraining(config), **batch) == expected


def test_a_floor_is_the_larger_of_two_times_and_its_share_is_one_for_whoever_reaches_it() -> None:
    asked = work("pretraining")
    floor = training_token_floor(asked, KNOWN)
    assert floor.compute == pytest.approx(sum(training_operations(asked).values()) / 2e9 / asked.n_tokens)
    assert floor.memory == pytest.approx(sum(training_bytes(asked).values()) / 1e9 / asked.n_tokens)
    assert floor.seconds == max(floor.compute, floor.memory)
    assert share_of_floor(floor.seconds, floor) == 1
    assert Floor(1.0, 3.0).limit == "memory"
    assert Floor(3.0, 1.0).limit == "compute"
    assert training_token_floor(asked, KNOWN, "bfloat16").compute == pytest.approx(floor.compute / 4)
    assert inference_token_floor(work("encoding"), KNOWN).compute < floor.compute


def test_a_measurement_is_kept_until_the_machine_starts_anew(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(machine, "CACHE", tmp_path / "machine.json")
    rates = iter([3.0, 5.0, 4.0])
    monkeypatch.setattr(machine, "matmul_rate", lambda *_: rate[0])
    monkeypatch.setattr(machine, "copy_rate", lambda *_: rate[0])
    rate = [next(rates)]
    assert measure_machine().float32 == 3
    rate[0] = next(rates)
    assert measure_machine().float32 == 3, "kept"
    assert measure_machine(anew=True).float32 == 5, "the better of both"
    rate[0] = next(rates)
    assert measure_machine(anew=True).float32 == 5
    monkeypatch.setattr(machine, "boot", lambda: "another")
    assert measure_machine().float32 == 4
    assert len(json.loads((tmp_path / "machine.json").read_text())) == 1


def test_the_benchmark_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    measure(Measurement(quick=True, folder=tmp_path))
    shown = capsys.readouterr().out
    assert "tokens/s at best" in shown
    assert "training step" in shown
    written = Results.read(tmp_path / "roofline.json")
    assert {row["kernel"] for row in written.rows} >= {"linear", "attention", "adamw_update", "training step"}
    assert all(row["fused, ms"]["low"] > 0 for row in written.rows)
    assert len(written.checks) == 6
    assert len(written.tables) == 3
    assert (tmp_path / "roofline.png").stat().st_size > 10_000
