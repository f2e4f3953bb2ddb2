"""Checkpoints: whole or not there, and never taken for another's."""

import json
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from minitransformer import checkpoint, files
from minitransformer.checkpoint import (
    MANIFEST_FILE,
    MODEL_FILE,
    OPTIMIZER_FILE,
    PLAN_FILE,
    STATE_FILE,
    checkpoints,
    load_checkpoint,
    newest_checkpoint,
    require_same_plan,
    require_whole,
    save_checkpoint,
)
from minitransformer.errors import InputError
from minitransformer.laws.tolerances import assert_same
from minitransformer.models.bert import BertForMaskedLM
from minitransformer.models.bert_config import BertConfig
from minitransformer.optimizer import AdamW


def small_bert(hidden_size: int = 4, blocks: int = 1) -> BertForMaskedLM:
    """A model that can be kept, with a tied table."""
    torch.manual_seed(1)
    return BertForMaskedLM(
        BertConfig(
            vocab_size=9,
            hidden_size=hidden_size,
            num_hidden_layers=blocks,
            num_attention_heads=2,
            intermediate_size=6,
            max_position_embeddings=5,
        )
    )


def trained(model: nn.Module, steps: int = 2) -> AdamW:
    """An optimizer with some steps behind it."""
    optimizer = AdamW(model.parameters(), lr=0.1)
    for step in range(steps):
        for number, parameter in enumerate(model.parameters()):
            parameter.grad = torch.full_like(parameter, 0.1 * (1 + step + number))
        optimizer.step()
    return optimizer


def kept(folder: Path, step: int = 3, model: nn.Module | None = None, keep: int | None = None) -> Path:
    """A checkpoint in a folder."""
    model = model or small_bert()
    return save_checkpoint(folder, model, trained(model), {"global_step": step}, keep)


def contents(folder: Path) -> dict[str, bytes]:
    """All files of a folder."""
    return {str(file.relative_to(folder)): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}


def tensors_of(model: nn.Module, optimizer: AdamW) -> dict[str, Tensor]:
    """All numbers that a checkpoint keeps."""
    moments = {
        f"{name}.{kind}": torch.as_tensor(value)
        for name, parameter in model.named_parameters()
        for kind, value in optimizer.state[parameter].items()
    }
    return {name: tensor.clone() for name, tensor in {**model.state_dict(), **moments}.items()}


def test_model_optimizer_and_state_come_back_bit_for_bit(tmp_path: Path) -> None:
    model = small_bert()
    optimizer = trained(model)
    state = {"global_step": 7, "log_history": [{"loss": 0.1 + 0.2, "worst": float("inf")}]}
    folder = save_checkpoint(tmp_path, model, optimizer, state)
    other = small_bert(hidden_size=4)
    other_optimizer = trained(other, steps=5)
    assert load_checkpoint(folder, other, other_optimizer) == state
    found, wanted = tensors_of(other, other_optimizer), tensors_of(model, optimizer)
    assert found.keys() == wanted.keys()
    for name, tensor in wanted.items():
        assert_same(found[name], tensor, name)


def test_a_checkpoint_is_safetensors_and_json_with_a_tied_table_kept_once(tmp_path: Path) -> None:
    folder = kept(tmp_path)
    assert {file.suffix for file in folder.iterdir()} == {".safetensors", ".json"}
    tensors = checkpoint.read_tensors(folder / MODEL_FILE)
    assert "bert.embeddings.word.weight" in tensors
    assert "masked_word.decoder.weight" not in tensors


def test_any_module_can_be_checkpointed(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    folder = kept(tmp_path, model=model)
    other = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    load_checkpoint(folder, other, trained(other))
    for name, tensor in model.state_dict().items():
        assert_same(other.state_dict()[name], tensor, name)


# Whole or not there.


class PowerCutError(BaseException):
    """The machine stopped; nothing in the program may catch this."""


def fail_at(patch: pytest.MonkeyPatch, operation: int, error: type[BaseException]) -> list[str]:
    """Let the n-th operation on files fail, and list those that were begun; after a power cut none works any more."""
    begun: list[str] = []

    def counted(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any, **options: Any) -> Any:
            begun.append(name)
            if len(begun) == operation + 1 or (error is PowerCutError and len(begun) > operation):
                raise error(5, "out of order")
            return function(*arguments, **options)

        return run

    failing = [(Path, name) for name in ("mkdir", "replace", "write_text", "touch")]
    failing += [(os, "fsync"), (checkpoint, "write_tensors")]
    if error is PowerCutError:
        failing += [(shutil, "rmtree"), (Path, "unlink")]  # of the cleaning up, too, nothing happens
    for owner, name in failing:
        patch.setattr(owner, name, counted(name, getattr(owner, name)))
    return begun


def operations_of(folder: Path, error: type[BaseException]) -> list[str]:
    """The operations on files that a checkpoint takes."""
    folder.mkdir(parents=True)
    with pytest.MonkeyPatch.context() as patch:
        begun = fail_at(patch, operation=10**6, error=error)
        kept(folder, step=9)
    return begun


def last(name: str, operations: list[str]) -> int:
    """The number of the last operation of a name."""
    return len(operations) - 1 - operations[::-1].index(name)


@pytest.mark.parametrize("error", [OSError, PowerCutError])
def test_stopping_at_any_operation_leaves_the_checkpoint_before_whole_and_newest(
    tmp_path: Path, error: type[BaseException]
) -> None:
    before = contents(kept(tmp_path, step=3))
    operations = operations_of(tmp_path / "counted", error)
    assert {"mkdir", "write_tensors", "write_text", "fsync", "replace"} <= set(operations)
    for operation in range(len(operations)):
        with pytest.MonkeyPatch.context() as patch:
            fail_at(patch, operation, error)
            with suppress(InputError, PowerCutError):
                kept(tmp_path, step=9)
        newest = newest_checkpoint(tmp_path)
        require_whole(newest)
        assert (newest.name == "checkpoint-9") == (operation > last("replace", operations))
        assert contents(tmp_path / "checkpoint-3") == before, f"at operation {operation}"
        shutil.rmtree(tmp_path / "checkpoint-9", ignore_errors=True)


def test_an_operation_that_fails_while_a_step_is_kept_again_leaves_a_whole_checkpoint(tmp_path: Path) -> None:
    folder = kept(tmp_path, step=9)
    before = contents(folder)
    operations = operations_of(tmp_path / "counted", OSError)
    for operation in range(len(operations)):
        with pytest.MonkeyPatch.context() as patch:
            fail_at(patch, operation, OSError)
            with suppress(InputError):
                kept(tmp_path, step=9, model=small_bert(blocks=2))
        require_whole(folder)
        if operation <= last("replace", operations):
            assert contents(folder) == before, f"at operation {operation}"


def test_what_an_unfinished_writing_left_behind_is_no_checkpoint(tmp_path: Path) -> None:
    (tmp_path / ".checkpoint-7.123.unfinished").mkdir()
    (tmp_path / "checkpoint-best").mkdir()
    assert newest_checkpoint(tmp_path) is None
    assert newest_checkpoint(tmp_path / "nowhere") is None
    assert newest_checkpoint(kept(tmp_path).parent) == tmp_path / "checkpoint-3"


def test_a_place_that_cannot_be_written_to_is_named_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(InputError, match=r"cannot write .*taken.*checkpoint-3"):
        kept(tmp_path / "taken")
    assert (tmp_path / "taken").read_text() == "a file"


# Damage.


@pytest.mark.parametrize("name", [MODEL_FILE, OPTIMIZER_FILE, STATE_FILE, "model.safetensors", "config.json"])
@pytest.mark.parametrize("damage", ["flipped", "cut", "missing", "emptied"])
def test_a_damaged_file_is_found_and_named_before_anything_is_changed(tmp_path: Path, name: str, damage: str) -> None:
    folder = kept(tmp_path)
    whole = (folder / name).read_bytes()
    if damage == "missing":
        (folder / name).unlink()
    else:
        middle = len(whole) // 2
        flipped = whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :]
        (folder / name).write_bytes({"flipped": flipped, "cut": whole[:-1], "emptied": b""}[damage])
    model = small_bert()
    optimizer = trained(model, steps=4)
    before = tensors_of(model, optimizer)
    with pytest.raises(InputError, match=name.replace(".", r"\.")) as refusal:
        load_checkpoint(folder, model, optimizer)
    assert "resume from an earlier" in str(refusal.value)
    assert "\n" not in str(refusal.value)
    for kept_name, tensor in tensors_of(model, optimizer).items():
        assert_same(tensor, before[kept_name], kept_name)


@pytest.mark.parametrize("content", [None, "", "[]"])
def test_a_checkpoint_without_its_manifest_is_refused(tmp_path: Path, content: str | None) -> None:
    folder = kept(tmp_path)
    (folder / MANIFEST_FILE).unlink()
    if content is not None:
        (folder / MANIFEST_FILE).write_text(content)
    with pytest.raises(InputError, match=r"manifest\.json"):
        require_whole(folder)


def test_a_checkpoint_that_is_not_there_is_refused(tmp_path: Path) -> None:
    model = small_bert()
    with pytest.raises(InputError, match=r"there is no checkpoint .*checkpoint-5"):
        load_checkpoint(tmp_path / "checkpoint-5", model, trained(model))


def test_the_manifest_lists_every_other_file(tmp_path: Path) -> None:
    folder = kept(tmp_path)
    manifest = files.read_json(folder / MANIFEST_FILE)
    assert {file.name for file in folder.iterdir()} == {*manifest, MANIFEST_FILE}


# Of another model.


@pytest.mark.parametrize(
    ("other", "named"),
    [
        (small_bert(blocks=2), "encoder.blocks.1"),
        (small_bert(hidden_size=6), r"has shape \(4,\) there, and \(6,\) here"),
        (nn.Linear(2, 2), "belongs to another model"),
    ],
)
def test_a_checkpoint_of_another_model_is_refused_and_changes_nothing(
    tmp_path: Path, other: nn.Module, named: str
) -> None:
    folder = kept(tmp_path)
    optimizer = trained(other)
    before = tensors_of(other, optimizer)
    with pytest.raises(InputError, match=named):
        load_checkpoint(folder, other, optimizer)
    for name, tensor in tensors_of(other, optimizer).items():
        assert_same(tensor, before[name], name)


# Rotation.


def test_only_the_newest_checkpoints_stay(tmp_path: Path) -> None:
    for step in (2, 9, 10, 100):
        kept(tmp_path, step=step, keep=2)
    assert [folder.name for folder in checkpoints(tmp_path)] == ["checkpoint-10", "checkpoint-100"]


def test_without_a_limit_all_checkpoints_stay(tmp_path: Path) -> None:
    for step in (2, 9, 10):
        kept(tmp_path, step=step)
    assert [folder.name for folder in checkpoints(tmp_path)] == ["checkpoint-2", "checkpoint-9", "checkpoint-10"]


def test_the_checkpoint_just_written_stays_even_if_an_abandoned_run_had_come_further(tmp_path: Path) -> None:
    for step in (5, 100):
        kept(tmp_path, step=step)
    assert kept(tmp_path, step=10, keep=2).is_dir()
    assert [folder.name for folder in checkpoints(tmp_path)] == ["checkpoint-5", "checkpoint-10"]
    assert newest_checkpoint(tmp_path) == tmp_path / "checkpoint-10"


def test_rotation_leaves_other_files_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "checkpoint-best").mkdir()
    for step in (1, 2):
        kept(tmp_path, step=step, keep=1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint-2", "checkpoint-best", "notes.txt"]


# Plans.


def test_a_folder_without_a_plan_takes_any(tmp_path: Path) -> None:
    require_same_plan(tmp_path, {"max_steps": 3})
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_another_plan_is_refused_by_the_entry_that_differs(tmp_path: Path) -> None:
    (tmp_path / PLAN_FILE).write_text(json.dumps({"corpus": "kjv", "max_steps": 3}))
    require_same_plan(tmp_path, {"corpus": "kjv", "max_steps": 3})
    with pytest.raises(InputError, match=r"was begun with max_steps=3, not 4; choose another output folder"):
        require_same_plan(tmp_path, {"corpus": "kjv", "max_steps": 4})
    with pytest.raises(InputError, match=r"was begun with max_steps=3, not None"):
        require_same_plan(tmp_path, {"corpus": "kjv"})
