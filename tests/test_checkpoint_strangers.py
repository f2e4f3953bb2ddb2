"""A checkpoint from a stranger, however crafted, is data: nothing in it runs, and nothing outside it is read."""

import json
import os
import pickle
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from minitransformer.checkpoint import (
    MANIFEST_FILE,
    MODEL_FILE,
    OPTIMIZER_FILE,
    OPTIMIZER_SETTINGS_FILE,
    SCHEDULER_FILE,
    STATE_FILE,
    load_checkpoint,
    newest_whole_checkpoint,
    require_whole,
    save_checkpoint,
)
from minitransformer.checkpoint.manifest import canonical, describe, write_manifest
from minitransformer.errors import InputError
from minitransformer.optimizer import AdamW

touched: list[str] = []
"""The files opened and the programs begun while a load is watched."""
watched: list[bool] = []
DANGEROUS = ("pickle.find_class", "subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "marshal.loads")


def remember(event: str, arguments: tuple[Any, ...]) -> None:
    if watched and event == "open" and isinstance(arguments[0], str | os.PathLike):
        touched.append(os.fspath(arguments[0]))
    elif watched and event in DANGEROUS:
        touched.append(event)


sys.addaudithook(remember)


@contextmanager
def watching_what_is_touched() -> Iterator[list[str]]:
    """The names of all files that are opened inside the block, and of all code that is run from data."""
    touched.clear()
    watched.append(True)
    try:
        yield touched
    finally:
        watched.clear()


class Trap:
    """What runs when it is unpickled."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return (os.mkdir, (str(self.place),))


def line(seed: int = 0) -> tuple[nn.Module, AdamW, Any]:
    """A model with an optimizer that has a step behind it, and a schedule."""
    torch.manual_seed(seed)
    model = nn.Linear(2, 2)
    optimizer = AdamW(model.parameters(), lr=0.1)
    model(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    return model, optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 / (1 + step))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A whole checkpoint with a secret beside the run's folder."""
    (tmp_path / "secret.json").write_text('{"global_step": 666}')
    model, optimizer, schedule = line()
    return save_checkpoint(tmp_path / "run", model, optimizer, {"global_step": 3}, scheduler=schedule)


def refused(folder: Path, match: str) -> None:
    """Loading is one clear line, opens nothing outside the run's folder, runs nothing and changes nothing."""
    model, optimizer, schedule = line(seed=1)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with watching_what_is_touched() as names, pytest.raises(InputError, match=match) as refusal:
        load_checkpoint(folder, model, optimizer, schedule)
    assert "\n" not in str(refusal.value)
    assert [name for name in names if not Path(name).is_relative_to(folder.parent)] == []
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def sign_again(folder: Path) -> None:
    """Write a manifest that fits what is in the folder now, as a stranger can."""
    (folder / MANIFEST_FILE).unlink()
    write_manifest(folder)


# Pickles.


@pytest.mark.parametrize("name", ["optimizer.pt", "training_args.bin", "rng_state.pth", "scheduler.pkl"])
def test_a_pickle_beside_a_whole_checkpoint_is_not_opened(folder: Path, tmp_path: Path, name: str) -> None:
    (folder / name).write_bytes(pickle.dumps(Trap(tmp_path / "sprung")))
    with watching_what_is_touched() as names:
        load_checkpoint(folder, *line(seed=1))
    assert str(folder / name) not in names
    assert not (tmp_path / "sprung").exists()


def test_a_pickle_that_the_manifest_names_is_refused_by_name(folder: Path, tmp_path: Path) -> None:
    (folder / "optimizer.pt").write_bytes(pickle.dumps(Trap(tmp_path / "sprung")))
    sign_again(folder)
    refused(folder, r"manifest\.json names 'optimizer\.pt', a pickle, which can run code when opened")
    assert not (tmp_path / "sprung").exists()


def test_a_checkpoint_that_holds_pickles_alone_is_refused_by_name(folder: Path, tmp_path: Path) -> None:
    for file in folder.iterdir():
        file.unlink()
    torch.save({"a": torch.ones(1)}, folder / "pytorch_model.bin")
    refused(folder, r"manifest\.json is missing; pytorch_model\.bin is a pickle, which can run code when opened")


@pytest.mark.parametrize("name", [MODEL_FILE, OPTIMIZER_FILE, OPTIMIZER_SETTINGS_FILE, STATE_FILE, SCHEDULER_FILE])
def test_a_pickle_under_the_name_of_another_file_is_not_unpickled(folder: Path, tmp_path: Path, name: str) -> None:
    (folder / name).write_bytes(pickle.dumps(Trap(tmp_path / "sprung")))
    sign_again(folder)
    refused(folder, name.replace(".", r"\."))
    assert not (tmp_path / "sprung").exists()


# Ways out of the folder.


@pytest.mark.parametrize(
    "name",
    [
        "../../secret.json",
        "/etc/passwd",
        "part/../../../secret.json",
        "",
        ".",
        "./config.json",
        "a//b",
        "..\\x",
        "a\0b",
    ],
)
def test_a_manifest_that_leads_out_of_the_folder_is_refused(folder: Path, name: str) -> None:
    (folder / MANIFEST_FILE).write_bytes(canonical({name: {"sha256": "0" * 64, "size": 20}}))
    refused(folder, r"manifest\.json names .*, which lies outside the checkpoint")


@pytest.mark.parametrize("name", [STATE_FILE, MODEL_FILE, MANIFEST_FILE])
def test_a_link_is_not_followed(folder: Path, tmp_path: Path, name: str) -> None:
    (folder / name).rename(tmp_path / "moved")
    (folder / name).symlink_to(tmp_path / "moved")
    refused(folder, rf"{name} is a link; a checkpoint holds its files itself")


def test_a_folder_that_is_a_link_is_not_followed(folder: Path, tmp_path: Path) -> None:
    (folder / "part").symlink_to(tmp_path)
    entries = {"part/secret.json": describe(tmp_path / "secret.json")}
    (folder / MANIFEST_FILE).write_bytes(canonical(entries))
    refused(folder, r"part is a link")


def test_a_pipe_does_not_hold_the_reader_up(folder: Path) -> None:
    (folder / STATE_FILE).unlink()
    os.mkfifo(folder / STATE_FILE)
    refused(folder, r"trainer_state\.json is missing")


# Manifests and contents that make no sense.


@pytest.mark.parametrize(
    ("entries", "named"),
    [
        ({"a": 5}, r"says 5 of 'a' where its sha256 and size are needed"),
        ({"a": {}}, r"says \{\} of 'a'"),
        ({"a": {"sha256": 1, "size": 2, "more": 3}}, r"says .* of 'a'"),
        ({"x" * 300: {"sha256": "", "size": 0}}, r"cannot read .*: File name too long"),
    ],
)
def test_entries_that_make_no_sense_are_refused(folder: Path, entries: dict[str, Any], named: str) -> None:
    (folder / MANIFEST_FILE).write_bytes(canonical(entries))
    refused(folder, named)


@pytest.mark.parametrize("size", ["20", None, [1], 1.5])
def test_a_size_that_is_no_number_is_refused(folder: Path, size: Any) -> None:
    (folder / MANIFEST_FILE).write_bytes(canonical({STATE_FILE: {"sha256": "", "size": size}}))
    refused(folder, r"manifest\.json says")


def test_a_manifest_that_leaves_out_a_needed_file_is_refused(folder: Path) -> None:
    (folder / MODEL_FILE).unlink()
    sign_again(folder)
    refused(folder, rf"has no {MODEL_FILE}")
    assert newest_whole_checkpoint(folder.parent) == folder, "it is as it was written, by whoever wrote it"


STATE = {"global_step": 3}
CRAFTED: list[tuple[str, Any]] = [
    (OPTIMIZER_SETTINGS_FILE, {}),
    (OPTIMIZER_SETTINGS_FILE, {"optimizer": "minitransformer.AdamW", "param_groups": 5, "state": {}}),
    (OPTIMIZER_SETTINGS_FILE, {"optimizer": "minitransformer.AdamW", "param_groups": [[]], "state": {}}),
    (
        OPTIMIZER_SETTINGS_FILE,
        {
            "optimizer": "minitransformer.AdamW",
            "param_groups": [{"params": ["weight", "bias"]}],
            "state": {"weight": {"step": {"object": ["os.system", "true"]}}},
        },
    ),
    (
        OPTIMIZER_SETTINGS_FILE,
        {
            "optimizer": "minitransformer.AdamW",
            "param_groups": [{"params": ["weight", "bias"]}],
            "state": {"__class__": {"step": {"tensor": "../../secret.json"}}},
        },
    ),
    (OPTIMIZER_SETTINGS_FILE, [1]),
    (STATE_FILE, [1]),
    (SCHEDULER_FILE, {"kind": "torch.LambdaLR", "state": {"dict": 5}}),
    (SCHEDULER_FILE, {"kind": "torch.LambdaLR", "state": {"eval": "print(1)"}}),
    (SCHEDULER_FILE, {}),
]


@pytest.mark.parametrize(("name", "content"), CRAFTED)
def test_crafted_json_is_refused_by_name(folder: Path, name: str, content: Any) -> None:
    (folder / name).write_text(json.dumps(content))
    sign_again(folder)
    refused(folder, name.replace(".", r"\."))


@pytest.mark.parametrize("name", [OPTIMIZER_SETTINGS_FILE, STATE_FILE, SCHEDULER_FILE])
def test_brackets_without_end_are_refused(folder: Path, name: str) -> None:
    (folder / name).write_text('{"a":' * 10**5 + "1" + "}" * 10**5)
    sign_again(folder)
    refused(folder, rf"{name} holds brackets within brackets")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff" * 64,
        (10**15).to_bytes(8, "little") + b"{}",
        (2).to_bytes(8, "little") + b"[]",
        (68).to_bytes(8, "little") + b'{"weight":{"dtype":"F32","shape":[2,2],"data_offsets":[0,999999999]}}'[:68],
        (70).to_bytes(8, "little")
        + b'{"weight":{"dtype":"F32","shape":[9,9],"data_offsets":[0,16]}}'.ljust(70)
        + b"\0" * 16,
        (70).to_bytes(8, "little")
        + b'{"weight":{"dtype":"X99","shape":[2,2],"data_offsets":[0,16]}}'.ljust(70)
        + b"\0" * 16,
    ],
)
@pytest.mark.parametrize("name", [MODEL_FILE, OPTIMIZER_FILE])
def test_crafted_safetensors_are_refused_by_name(folder: Path, name: str, content: bytes) -> None:
    (folder / name).write_bytes(content)
    sign_again(folder)
    refused(folder, rf"{name} is no safetensors file")


def test_a_whole_checkpoint_of_a_stranger_loads_and_touches_nothing_else(folder: Path) -> None:
    with watching_what_is_touched() as names:
        assert load_checkpoint(folder, *line(seed=1)) == STATE
        require_whole(folder)
    assert {Path(name).parent for name in names} == {folder}
