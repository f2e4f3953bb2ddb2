"""Checkpoints: whole or not there, and never taken for another's."""

import errno
import itertools
import json
import os
import re
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from killing import killed, watching
from torch import Tensor, nn

from minitransformer.checkpoint import (
    ARGUMENTS_FILE,
    MANIFEST_FILE,
    MODEL_FILE,
    OPTIMIZER_FILE,
    OPTIMIZER_SETTINGS_FILE,
    PLAN_FILE,
    STATE_FILE,
    checkpoints,
    load_checkpoint,
    newest_checkpoint,
    newest_whole_checkpoint,
    require_same_plan,
    require_whole,
    save_checkpoint,
)
from minitransformer.checkpoint.manifest import read_manifest
from minitransformer.errors import InputError
from minitransformer.laws.tolerances import assert_same
from minitransformer.models.bert import BertForMaskedLM
from minitransformer.models.bert_config import BertConfig
from minitransformer.optimizer import AdamW
from minitransformer.pretrained import read_tensors


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


def kept(
    folder: Path, step: int = 3, model: nn.Module | None = None, keep: int | None = None, best: Path | None = None
) -> Path:
    """A checkpoint in a folder."""
    model = model or small_bert()
    return save_checkpoint(folder, model, trained(model), {"global_step": step}, keep, best)


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
    names = [file.name for file in folder.rglob("*.safetensors")]
    assert sorted(names) == [MODEL_FILE, OPTIMIZER_FILE], "the parameters are written once"
    tensors = read_tensors(folder / MODEL_FILE)
    assert "bert.embeddings.word_embeddings.weight" in tensors
    assert "cls.predictions.decoder.weight" not in tensors


def test_any_module_can_be_checkpointed(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    folder = kept(tmp_path, model=model)
    other = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    load_checkpoint(folder, other, trained(other))
    for name, tensor in model.state_dict().items():
        assert_same(other.state_dict()[name], tensor, name)


class WithMore(BertForMaskedLM):
    """A model that a user has built upon: a head of its own, and counts beside the parameters."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__(config)
        self.head = nn.Linear(4, 2)
        self.heads = nn.ModuleList([nn.Linear(2, 2), nn.Linear(2, 2)])
        self.gamma = nn.Parameter(torch.ones(2))
        self.register_buffer("seen", torch.tensor([2**53 + 1, 7]))
        self.register_buffer("is_used", torch.tensor([True, False]))
        self.register_buffer("scratch", torch.zeros(2), persistent=False)


def test_what_a_user_adds_to_a_pretrained_model_is_kept_exactly(tmp_path: Path) -> None:
    model = WithMore(small_bert().config)
    folder = kept(tmp_path, model=model)
    other = WithMore(small_bert().config)
    other.seen.zero_()
    other.is_used.fill_(False)
    load_checkpoint(folder, other, trained(other))
    assert {name for name in model.state_dict() if "seen" in name or "used" in name} == {"seen", "is_used"}
    for name, tensor in model.state_dict().items():
        assert_same(other.state_dict()[name], tensor, name)
    assert BertForMaskedLM.from_pretrained(folder).config.hidden_size == 4


def test_a_model_with_a_decoder_of_its_own_comes_back_with_it(tmp_path: Path) -> None:
    def untied() -> BertForMaskedLM:
        model = small_bert()
        model.untie("masked_word.decoder.weight")
        return model

    model = untied()
    folder = kept(tmp_path, model=model)
    other = untied()
    load_checkpoint(folder, other, trained(other, steps=1))
    assert (other.masked_word.decoder.weight != other.bert.embeddings.word.weight).any()
    for name, tensor in model.state_dict().items():
        assert_same(other.state_dict()[name], tensor, name)
    tied = small_bert()
    with pytest.raises(InputError, match=r"belongs to another model: 'cls\.predictions\.decoder"):
        load_checkpoint(folder, tied, trained(tied))


class Sharing(nn.Module):
    """Tensors that are one, that overlap, and of many types."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(3, 3, dtype=torch.bfloat16)
        self.second = nn.Linear(3, 3, dtype=torch.bfloat16)
        self.second.weight = self.first.weight
        flat = torch.arange(10.0)
        self.register_buffer("head", flat[:6])
        self.register_buffer("tail", flat[4:])
        self.register_buffer("turned", torch.arange(6).view(2, 3).t())
        self.register_buffer("nothing", torch.zeros(0, 3, dtype=torch.int8))


def test_tied_overlapping_and_empty_tensors_of_any_type_come_back_exactly(tmp_path: Path) -> None:
    model = Sharing()
    folder = kept(tmp_path, model=model)
    assert "second.weight" not in read_tensors(folder / MODEL_FILE)
    other = Sharing()
    for buffer in other.buffers():
        buffer.zero_()
    load_checkpoint(folder, other, trained(other))
    assert other.second.weight is other.first.weight
    for name, tensor in model.state_dict().items():
        assert_same(other.state_dict()[name], tensor, name)


def test_the_type_of_a_parameter_is_part_of_the_model(tmp_path: Path) -> None:
    folder = kept(tmp_path, model=nn.Linear(2, 2))
    other = nn.Linear(2, 2, dtype=torch.float64)
    with pytest.raises(InputError, match=r"has type torch\.float32 there, and torch\.float64 here"):
        load_checkpoint(folder, other, trained(other))


@pytest.mark.parametrize("kind", ["complex", "sparse", "no tensor"])
def test_what_a_safetensors_file_cannot_hold_is_one_clear_error(tmp_path: Path, kind: str) -> None:
    class Odd(nn.Linear):
        def get_extra_state(self) -> object:
            return {"a": 1}

    model = Odd(2, 2) if kind == "no tensor" else nn.Linear(2, 2)
    if kind != "no tensor":
        odd = torch.zeros(2, dtype=torch.complex128) if kind == "complex" else torch.eye(2).to_sparse()
        model.register_buffer("odd", odd)
    with pytest.raises(
        InputError, match=r"only tensors can be kept|model\.safetensors cannot hold a tensor"
    ) as refusal:
        kept(tmp_path, model=model)
    assert "\n" not in str(refusal.value)
    assert list(tmp_path.iterdir()) == []


class Words:
    """Something that can be kept beside a model, in a folder of its own too."""

    def save_pretrained(self, folder: Path) -> None:
        (folder / "vocab.txt").write_text("[PAD]")
        (folder / "extra").mkdir()
        (folder / "extra" / "merges.txt").write_text("a b")


def test_what_prepares_the_data_and_the_arguments_are_kept_too(tmp_path: Path) -> None:
    model = small_bert()
    arguments = {"seed": np.int64(3), "learning_rate": np.float32(0.5), "output_dir": tmp_path}
    folder = save_checkpoint(
        tmp_path, model, trained(model), {"global_step": 1}, processing_class=Words(), arguments=arguments
    )
    assert json.loads((folder / ARGUMENTS_FILE).read_text()) == {
        "seed": 3,
        "learning_rate": 0.5,
        "output_dir": str(tmp_path),
    }
    assert {"vocab.txt", "extra/merges.txt"} <= set(read_manifest(folder))
    (folder / "extra" / "merges.txt").write_text("a c")
    with pytest.raises(InputError, match=r"extra/merges\.txt is not as it was written"):
        require_whole(folder)


def test_a_state_that_json_cannot_hold_is_one_clear_error(tmp_path: Path) -> None:
    model = small_bert()
    with pytest.raises(InputError, match=r"trainer_state\.json cannot hold a value of the type Words"):
        save_checkpoint(tmp_path, model, trained(model), {"global_step": 1, "best": Words()})
    assert list(tmp_path.iterdir()) == []


# Whole or not there.


def save_again(folder: Path, step: int = 9, keep: int | None = None) -> None:
    """Save with a model that is unlike that of `kept`, so that both can be told apart."""
    model = small_bert()
    save_checkpoint(folder, model, trained(model, steps=1), {"global_step": step}, keep, arguments={"seed": 1})


def save_a_line(folder: Path, step: int = 9, keep: int | None = None, steps: int = 1) -> None:
    """Save what has few tensors, so that it can be done often."""
    torch.manual_seed(1)
    model = nn.Linear(2, 2)
    save_checkpoint(folder, model, trained(model, steps), {"global_step": step}, keep, arguments={"seed": steps})


def all_of(folder: Path) -> dict[str, dict[str, bytes]]:
    """The contents of every folder in a folder."""
    return {path.name: contents(path) for path in folder.iterdir()}


class Run:
    """A run's folder, that can be put back to where it was, and what saving should make of it."""

    def __init__(self, parent: Path, steps: tuple[int, ...], keep: int | None) -> None:
        self.folder, self.template = parent / "run", parent / "template"
        self.template.mkdir()
        for step in steps:
            save_a_line(self.template, step, steps=2)
        save_a_line(parent / "undisturbed")
        self.save = partial(save_a_line, self.folder, keep=keep)
        self.before = all_of(self.template)
        self.written = {**self.before, **all_of(parent / "undisturbed")}
        self.new = self.written["checkpoint-9"]
        self.after = self.written if keep is None else {"checkpoint-9": self.new}

    def begin_again(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        shutil.copytree(self.template, self.folder)


RUNS: dict[str, tuple[tuple[int, ...], int | None]] = {
    "the first of a run": ((), None),
    "one beside another, which goes": ((2, 3), 1),
    "one in place of another of the same step": ((3, 9), None),
}


@pytest.mark.parametrize("name", list(RUNS)[1:])
def test_a_process_killed_at_any_operation_leaves_a_newest_whole_checkpoint(tmp_path: Path, name: str) -> None:
    run = Run(tmp_path, *RUNS[name])
    outcomes = []
    for number in itertools.count():
        run.begin_again()
        if not killed(run.save, run.folder, number):
            break
        found = checkpoints(run.folder)
        for folder in found:
            assert contents(folder) in (run.before.get(folder.name), run.written.get(folder.name)), f"at {number}"
        newest = newest_whole_checkpoint(run.folder)
        assert newest == newest_checkpoint(run.folder), "what is listed is whole"
        if newest is not None:
            model = nn.Linear(2, 2)
            assert load_checkpoint(newest, model, trained(model)) == {"global_step": int(newest.name[11:])}
        outcomes.append(newest is not None and contents(newest) == run.new)
        run.save()
        assert all_of(run.folder) == run.after, "what the killed process left is cleared away"
    assert len(outcomes) > 40
    assert outcomes == sorted(outcomes), "once the new checkpoint stands, it stays"
    assert set(outcomes) == {False, True}


def test_a_pretrained_model_killed_at_any_operation_leaves_the_checkpoint_before(tmp_path: Path) -> None:
    kept(tmp_path / "run", step=3)
    save_again(tmp_path / "undisturbed")
    whole = {**all_of(tmp_path / "run"), **all_of(tmp_path / "undisturbed")}
    for number in itertools.count():
        if not killed(partial(save_again, tmp_path / "run"), tmp_path, number):
            break
        newest = newest_whole_checkpoint(tmp_path / "run")
        assert newest == newest_checkpoint(tmp_path / "run")
        assert contents(newest) == whole[newest.name]
        shutil.rmtree(tmp_path / "run" / "checkpoint-9", ignore_errors=True)
    assert number > 50
    assert all_of(tmp_path / "run") == whole


def out_of_order() -> None:
    """An operation does not work."""
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("name", RUNS)
def test_an_operation_that_fails_is_an_error_and_leaves_the_earlier_checkpoints_and_nothing_else(
    tmp_path: Path, name: str
) -> None:
    run = Run(tmp_path, *RUNS[name])
    n_refused = 0
    for number in itertools.count():
        run.begin_again()
        refusal = None
        with watching(run.folder, number, out_of_order) as operations:
            try:
                run.save()
            except InputError as error:
                refusal = str(error)
        if len(operations) <= number:
            break
        left = all_of(run.folder)
        where = f"operation {number}: {operations[number]}"
        if refusal is None:
            hidden = {name for name in left if name.startswith(".")}
            assert {name: left[name] for name in left if name not in hidden} == run.after, where
            deletes = re.match(r"os\.remove|os\.rmdir|open \..*\.(replaced|removed)$", operations[number])
            assert not hidden or deletes, "only deleting may wait"
        elif refusal.startswith("cannot remove"):
            assert left.items() <= run.written.items(), where
            assert left["checkpoint-9"] == run.new, where
        else:
            assert re.fullmatch(r"cannot write .*checkpoint-9: No space left on device; .*", refusal), where
            assert left == run.before, where
        n_refused += refusal is not None
    assert n_refused > 30


@pytest.mark.parametrize("n_bytes", [0, 1, 100, 600, 1500, 2500])
def test_a_disk_that_is_full_is_an_error_and_leaves_the_earlier_checkpoints_and_nothing_else(
    tmp_path: Path, n_bytes: int
) -> None:
    kept(tmp_path)
    before = all_of(tmp_path)
    assert any(len(content) > n_bytes for content in before["checkpoint-3"].values())
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, limits[1]))
    try:
        with pytest.raises(InputError, match=r"cannot write .*checkpoint-9: .*File too large"):
            save_again(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert all_of(tmp_path) == before


def save_where_nothing_may_be_written(folder: Path) -> None:
    """Save as a user to whom the folder is read-only, and say how it ended."""
    if os.geteuid() == 0:
        os.setuid(NOBODY)
    with pytest.raises(InputError, match=r"cannot write .*checkpoint-9: Permission denied"):
        save_again(folder)
    assert newest_whole_checkpoint(folder) == folder / "checkpoint-3"


NOBODY = 65534


def test_a_folder_that_may_only_be_read_is_an_error_and_stays_as_it_is() -> None:
    with TemporaryDirectory() as parent:
        Path(parent).chmod(0o755)
        folder = Path(parent) / "run"
        kept(folder)
        before = all_of(folder)
        folder.chmod(0o555)
        assert not killed(partial(save_where_nothing_may_be_written, folder), folder, at=10**6)
        assert all_of(folder) == before
        folder.chmod(0o755)


def test_all_that_is_written_is_flushed_before_it_gets_its_name(tmp_path: Path) -> None:
    with watching(tmp_path, 10**6, out_of_order) as operations:
        save_again(tmp_path / "new" / "run")
    names = contents(tmp_path / "new" / "run" / "checkpoint-9")
    last_rename = max(number for number, name in enumerate(operations) if name.startswith("os.rename"))
    flushed = operations[:last_rename].count("fsync")
    assert flushed >= len(names) + 3, "every file, their folder, and the names of the two folders that were made"
    assert operations[last_rename + 1 :].count("fsync") == 1, "the new name"


# What a process left behind.


def ended_process() -> int:
    """The number of a process that is no more."""
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    return child.pid


def test_a_replaced_checkpoint_whose_successor_never_came_is_put_back(tmp_path: Path) -> None:
    folder = kept(tmp_path, step=9)
    before = contents(folder)
    folder.rename(tmp_path / f".checkpoint-9.{ended_process()}.replaced")
    assert checkpoints(tmp_path) == [folder]
    assert contents(folder) == before


def test_what_another_process_is_at_work_on_is_left_alone(tmp_path: Path) -> None:
    running = os.getppid()
    names = {
        f".checkpoint-{step}.{running}.{kind}" for step, kind in ((1, "unfinished"), (2, "replaced"), (3, "removed"))
    }
    for name in names:
        (tmp_path / name).mkdir()
    kept(tmp_path, step=9)
    assert {path.name for path in tmp_path.iterdir()} == {*names, "checkpoint-9"}
    assert checkpoints(tmp_path) == [tmp_path / "checkpoint-9"]


def test_what_ended_processes_left_is_cleared_away_and_nothing_else_is(tmp_path: Path) -> None:
    for process in (ended_process(), os.getpid(), 10**30):
        for kind in ("unfinished", "replaced", "removed"):
            (tmp_path / f".checkpoint-9.{process}.{kind}" / "part").mkdir(parents=True)
    others = {".hidden", f".notes.{ended_process()}.unfinished", "checkpoint-best", "checkpoint-8.old"}
    for name in others:
        (tmp_path / name).mkdir()
    kept(tmp_path, step=9)
    assert {path.name for path in tmp_path.iterdir()} == {*others, "checkpoint-9"}
    assert "config.json" in contents(tmp_path / "checkpoint-9")


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


@pytest.fixture(scope="module")
def two_checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run's folder with two checkpoints; whoever damages one mends it."""
    folder = tmp_path_factory.mktemp("run")
    kept(folder, step=6)
    save_again(folder)
    return folder


ALL_FILES = sorted(
    [MODEL_FILE, OPTIMIZER_FILE, OPTIMIZER_SETTINGS_FILE, STATE_FILE, ARGUMENTS_FILE, MANIFEST_FILE, "config.json"]
)


@contextmanager
def damaged(path: Path, content: bytes | None) -> Iterator[None]:
    """Give a file another content inside the block, or remove it."""
    whole = path.read_bytes()
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content)
    yield
    path.write_bytes(whole)


def test_the_manifest_lists_every_other_file(two_checkpoints: Path) -> None:
    folder = two_checkpoints / "checkpoint-9"
    assert sorted(file.name for file in folder.iterdir()) == ALL_FILES
    assert sorted([*read_manifest(folder), MANIFEST_FILE]) == ALL_FILES


@given(data=st.data(), name=st.sampled_from(ALL_FILES))
def test_any_byte_that_changes_is_noticed_and_the_file_named(
    two_checkpoints: Path, data: st.DataObject, name: str
) -> None:
    folder = two_checkpoints / "checkpoint-9"
    content = bytearray((folder / name).read_bytes())
    content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    with (
        damaged(folder / name, bytes(content)),
        pytest.raises(InputError, match=rf"checkpoint-9/{re.escape(name)} is not as it was written"),
    ):
        require_whole(folder)


@given(data=st.data(), name=st.sampled_from(ALL_FILES))
def test_any_length_at_which_a_file_ends_early_is_noticed_and_the_file_named(
    two_checkpoints: Path, data: st.DataObject, name: str
) -> None:
    folder = two_checkpoints / "checkpoint-9"
    content = (folder / name).read_bytes()
    shorter = content[: data.draw(st.integers(0, len(content) - 1))]
    with (
        damaged(folder / name, shorter),
        pytest.raises(
            InputError, match=rf"checkpoint-9/{re.escape(name)} is (truncated: it has|not as it was written)"
        ),
    ):
        require_whole(folder)


def test_every_single_byte_of_the_manifest_counts(two_checkpoints: Path) -> None:
    folder = two_checkpoints / "checkpoint-9"
    whole = (folder / MANIFEST_FILE).read_bytes()
    for place, byte in enumerate(whole):
        flipped = whole[:place] + bytes([byte ^ (1 << place % 8)]) + whole[place + 1 :]
        (folder / MANIFEST_FILE).write_bytes(flipped)
        with pytest.raises(InputError, match=r"manifest\.json is not as it was written"):
            read_manifest(folder)
    (folder / MANIFEST_FILE).write_bytes(whole)
    require_whole(folder)


@pytest.mark.parametrize("name", ALL_FILES)
@pytest.mark.parametrize("damage", ["flipped", "cut", "grown", "missing", "emptied", "a folder"])
def test_a_damaged_file_is_named_before_anything_changes_and_a_whole_checkpoint_is_offered(
    tmp_path: Path, name: str, damage: str
) -> None:
    kept(tmp_path, step=6)
    save_again(tmp_path)
    file = tmp_path / "checkpoint-9" / name
    whole = file.read_bytes()
    file.unlink()
    if damage == "a folder":
        file.mkdir()
    elif damage != "missing":
        middle = len(whole) // 2
        flipped = whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :]
        file.write_bytes({"flipped": flipped, "cut": whole[:-1], "grown": whole + b" ", "emptied": b""}[damage])
    model = small_bert()
    optimizer = trained(model, steps=4)
    before = tensors_of(model, optimizer)
    with pytest.raises(InputError) as refusal:
        load_checkpoint(tmp_path / "checkpoint-9", model, optimizer)
    reasons = {
        "cut": f"is truncated: it has {len(whole) - 1} of {len(whole)} bytes",
        "grown": f"has grown: it has {len(whole) + 1} of {len(whole)} bytes",
        "emptied": f"is truncated: it has 0 of {len(whole)} bytes",
        "flipped": "is not as it was written: its sha256 differs",
    }
    if name == MANIFEST_FILE:
        reasons = dict.fromkeys(reasons, "is not as it was written")
    offer = f"go on from the newest one that is whole with resume_from_checkpoint='{tmp_path / 'checkpoint-6'}'"
    assert str(refusal.value) == f"{file} {reasons.get(damage, 'is missing')}; {offer}"
    assert newest_checkpoint(tmp_path) == tmp_path / "checkpoint-9"
    assert newest_whole_checkpoint(tmp_path) == tmp_path / "checkpoint-6"
    for kept_name, tensor in tensors_of(model, optimizer).items():
        assert_same(tensor, before[kept_name], kept_name)


def test_where_no_other_checkpoint_is_whole_it_is_said(tmp_path: Path) -> None:
    for step in (6, 9):
        (kept(tmp_path, step) / MODEL_FILE).write_bytes(b"")
    with pytest.raises(InputError, match=r"no other checkpoint in .* is whole, so leave resume_from_checkpoint out"):
        require_whole(tmp_path / "checkpoint-9")
    assert newest_whole_checkpoint(tmp_path) is None


@pytest.mark.parametrize("content", ["", "[]", "5", '{"files": []}', '{"files": {}}', "[" * 10**5])
def test_what_is_no_manifest_is_refused(tmp_path: Path, content: str) -> None:
    folder = kept(tmp_path)
    (folder / MANIFEST_FILE).write_text(content)
    with pytest.raises(InputError, match=r"manifest\.json is not as it was written"):
        require_whole(folder)


def test_an_extra_file_is_nobodys_business(tmp_path: Path) -> None:
    folder = kept(tmp_path)
    (folder / "notes.txt").write_text("good one")
    require_whole(folder)


def test_a_checkpoint_that_is_not_there_is_refused_and_another_offered(tmp_path: Path) -> None:
    model = small_bert()
    with pytest.raises(InputError, match=r"there is no checkpoint .*checkpoint-5; no other checkpoint"):
        load_checkpoint(tmp_path / "checkpoint-5", model, trained(model))
    kept(tmp_path)
    with pytest.raises(InputError, match=r"there is no checkpoint .*checkpoint-5; go on from .*checkpoint-3'"):
        load_checkpoint(tmp_path / "checkpoint-5", model, trained(model))


def test_loading_reads_every_file_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = kept(tmp_path)
    read: list[str] = []
    opened = Path.open

    def remembered(path: Path, *arguments: Any, **options: Any) -> Any:
        read.append(path.name)
        return opened(path, *arguments, **options)

    monkeypatch.setattr(Path, "open", remembered)
    model = small_bert()
    load_checkpoint(folder, model, trained(model))
    assert sorted(read) == sorted(file.name for file in folder.iterdir())


# Of another model.


@pytest.mark.parametrize(
    ("other", "named"),
    [
        (small_bert(blocks=2), "encoder.layer.1"),
        (small_bert(hidden_size=6), r"has shape \(9, 4\) there, and \(9, 6\) here"),
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


@pytest.mark.parametrize("keep", [1, 2, 3, 9])
@pytest.mark.parametrize("best", [None, 2, 9, 10, 100])
def test_what_stays_is_what_stays_in_transformers(tmp_path: Path, keep: int, best: int | None) -> None:
    trainer_utils = pytest.importorskip("transformers.trainer_utils")
    for folder in (tmp_path / "ours", tmp_path / "theirs"):
        for step in (2, 9, 10):
            (folder / f"checkpoint-{step}").mkdir(parents=True)
    ours, theirs = (
        folder / f"checkpoint-{best}" if best else None for folder in (tmp_path / "ours", tmp_path / "theirs")
    )
    kept(tmp_path / "ours", step=100, keep=keep, best=ours)
    (tmp_path / "theirs" / "checkpoint-100").mkdir()
    trainer_utils.rotate_checkpoints(str(tmp_path / "theirs"), keep, str(theirs) if theirs else None)
    names = [[path.name for path in checkpoints(tmp_path / whose)] for whose in ("ours", "theirs")]
    assert names[0] == names[1]


def test_a_best_checkpoint_that_is_older_stays_beside_the_newest(tmp_path: Path) -> None:
    best = kept(tmp_path, step=2)
    for step in (9, 10):
        kept(tmp_path, step=step, keep=1, best=best)
    assert [folder.name for folder in checkpoints(tmp_path)] == ["checkpoint-2", "checkpoint-10"]


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
