"""The doctor on models of ours: healthy ones pass, batches fit, and the command examines a kept one."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from doctor_patients import TOKENIZER, VOCABULARY, failed, found, not_judged, small_bert

from minitransformer import cli
from minitransformer.doctor import LADDER, batch_for, examine, examine_kept, other_ids, sentences_of
from minitransformer.errors import InputError
from minitransformer.models.bert import (
    BertForMaskedLM,
    BertForPreTraining,
    BertForSequenceClassification,
    BertPreTrainedModel,
)


def test_the_first_loss_of_a_kept_model_is_told_and_not_judged() -> None:
    model = small_bert(BertForMaskedLM, initializer_range=1.0)
    batch = batch_for(model, TOKENIZER)
    assert failed(examine(model, batch, steps=200)) == ["first loss"]
    assert "may be above on others" in found(examine_kept(model, TOKENIZER, steps=1), "first loss")


@pytest.mark.parametrize("kind", [BertForMaskedLM, BertForPreTraining, BertForSequenceClassification])
def test_our_models_are_healthy(kind: type[BertPreTrainedModel]) -> None:
    model = small_bert(kind)
    diagnosis = examine(model, batch_for(model, TOKENIZER))
    assert not failed(diagnosis), str(diagnosis)
    if kind is BertForPreTraining:
        assert not_judged(diagnosis) == ["later tokens"]
        assert f"ln {VOCABULARY} + ln 2" in found(diagnosis, "first loss")
        assert "ln 2 = 0.693" in found(diagnosis, "first loss of the next sentence")
    else:
        assert not_judged(diagnosis) == ["first loss of the next sentence", "later tokens"]


def test_one_of_our_models_that_comes_untied_from_its_folder_is_noticed() -> None:
    class Unties(BertForMaskedLM):
        def take_parameters(self, *arguments: Any) -> None:
            super().take_parameters(*arguments)
            self.untie("masked_word.decoder.weight")

    assert failed(examine_kept(small_bert(Unties), TOKENIZER)) == ["saving"]


@pytest.mark.parametrize(
    "task",
    [
        {"problem_type": "multi_label_classification", "num_labels": 3},
        {"problem_type": "regression", "num_labels": 1},
        {"num_labels": 5},
    ],
)
def test_classifiers_of_every_task_get_labels_that_they_take(task: dict[str, Any]) -> None:
    diagnosis = examine_kept(small_bert(BertForSequenceClassification, **task), TOKENIZER, steps=100)
    assert not failed(diagnosis), str(diagnosis)


def test_a_text_without_a_known_word_is_refused() -> None:
    with pytest.raises(InputError, match="knows no word of the text"):
        batch_for(small_bert(BertForMaskedLM), TOKENIZER, ["жук"])
    with pytest.raises(InputError, match="holds no sentence"):
        sentences_of(" \n")


def test_sentences_come_from_a_file_or_from_the_text_itself(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("One. Two!\nThree", encoding="utf-8")
    assert sentences_of(str(tmp_path / "text.txt")) == sentences_of("One. Two!\nThree") == ["One.", "Two!", "Three"]
    assert sentences_of("long " * 1000) == [("long " * 1000).strip()]
    (tmp_path / "latin.txt").write_bytes("café".encode("latin-1"))
    with pytest.raises(InputError, match="is not UTF-8 text"):
        sentences_of(str(tmp_path / "latin.txt"))


def test_batches_fit_the_model() -> None:
    for kind in (BertForMaskedLM, BertForPreTraining, BertForSequenceClassification):
        batch = batch_for(small_bert(kind, max_position_embeddings=12), TOKENIZER, ["one " * 50, "two"])
        assert batch["input_ids"].shape[1] <= 12
        assert len(batch["input_ids"]) == 2
    ids = torch.tensor([[5, 6, 9]])
    assert (other_ids(ids) != ids).all()


# The command


Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run the command: its exit code, what it printed, and what it complained of."""

    def command(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["minitransformer", "doctor", *arguments])
        code: Any = 0
        try:
            cli.main()
        except SystemExit as stop:
            code = stop.code
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return command


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A kept model with its tokenizer."""
    path = tmp_path_factory.mktemp("kept")
    small_bert(BertForPreTraining).save_pretrained(path)
    TOKENIZER.save_pretrained(path)
    return str(path)


def test_the_command_tells_all_checks_and_draws_the_sweep(run: Run, folder: str, tmp_path: Path) -> None:
    picture = tmp_path / "sweep.png"
    code, out, err = run(folder, "--text", "The sea. The boat was gone.", "--picture", str(picture))
    assert (code, err) == (0, "")
    assert out.count("✓") == len(LADDER) - 3
    assert f"Look at {picture}" in out
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_json_is_alone_on_the_standard_output(run: Run, folder: str, tmp_path: Path) -> None:
    code, out, err = run(folder, "--steps", "1", "--output", "json", "--picture", str(tmp_path / "sweep.png"))
    assert code == 1
    entries = json.loads(out)
    assert [check["name"] for check in entries["checks"] if check["passed"] is False] == ["one batch by heart"]
    assert err.startswith("\nLook at ")


def test_the_command_ends_with_1_if_a_check_fails(run: Run, folder: str) -> None:
    code, out, _ = run(folder, "--steps", "1")
    assert code == 1
    assert "✗ one batch by heart" in out


@pytest.mark.usefixtures("without_shape_checks")
def test_the_command_ends_with_2_for_what_is_no_model(run: Run, folder: str, tmp_path: Path) -> None:
    code, _, err = run(str(tmp_path / "nowhere"))
    assert code == 2
    assert err.startswith("minitransformer: there is no folder")
    code, _, err = run(folder, "--steps", "0")
    assert (code, err.count("\n")) == (2, 1)
    code, _, err = run(folder, "--causal")
    assert (code, err.count("\n")) == (2, 1)
    assert "are for a Python file" in err
