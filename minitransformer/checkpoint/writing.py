"""Write a checkpoint, and go on from one."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from torch import nn

from minitransformer import files
from minitransformer.checkpoint.keeping import NAMES, instead_of, remove_all_but, require_whole
from minitransformer.checkpoint.manifest import instead, write_manifest
from minitransformer.checkpoint.model_state import (
    keep_tensors,
    parse_tensors,
    put_back_tensors,
    require_same_tensors,
    unique_tensors,
)
from minitransformer.checkpoint.optimizer_state import (
    keep_optimizer,
    kind_of,
    read_groups,
    read_state,
    require_same_groups,
)
from minitransformer.checkpoint.values import from_json, json_text, to_json
from minitransformer.errors import InputError
from minitransformer.hub import WEIGHTS_FILE
from minitransformer.pretrained import PretrainedModel

MODEL_FILE = WEIGHTS_FILE
OPTIMIZER_FILE = "optimizer.safetensors"
OPTIMIZER_SETTINGS_FILE = "optimizer.json"
STATE_FILE = "trainer_state.json"
SCHEDULER_FILE = "scheduler.json"
SCALER_FILE = "scaler.json"
ARGUMENTS_FILE = "training_args.json"
NEEDED = (MODEL_FILE, OPTIMIZER_FILE, OPTIMIZER_SETTINGS_FILE, STATE_FILE)


@runtime_checkable
class Stateful(Protocol):
    """A schedule or a scaler: something whose state is a dictionary."""

    def state_dict(self) -> dict[str, Any]:
        """All that it remembers."""

    def load_state_dict(self, state_dict: dict[str, Any], /) -> Any:
        """Remember something else."""


def save_checkpoint(
    output_dir: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    state: Mapping[str, Any],
    keep: int | None = None,
    best: Path | None = None,
    scheduler: Stateful | None = None,
    scaler: Stateful | None = None,
    processing_class: Any = None,
    arguments: Mapping[str, Any] | None = None,
) -> Path:
    """Write `checkpoint-STEP` beside the others: staged, flushed, given a manifest of sha256 sums, renamed last.

    Where `keep` is given, so many checkpoints stay in all: this one, the best, and the newest before it.

    Raises: InputError if the folder cannot be written to, or something cannot be kept without a pickle; the
    checkpoints before it are untouched.
    """
    settings, tensors = keep_optimizer(model, optimizer)
    texts = {
        OPTIMIZER_SETTINGS_FILE: json_text(settings, OPTIMIZER_SETTINGS_FILE),
        STATE_FILE: json_text(state, STATE_FILE),
    }
    for name, part in ((SCHEDULER_FILE, scheduler), (SCALER_FILE, scaler)):
        if part is not None:
            texts[name] = json_text({"kind": kind_of(part), "state": to_json(part.state_dict(), name)}, name)
    if arguments is not None:
        texts[ARGUMENTS_FILE] = json_text(arguments, ARGUMENTS_FILE)
    folder = output_dir / f"checkpoint-{state['global_step']}"
    files.clear_away(output_dir, NAMES)
    with files.replacing_folder(folder) as unfinished:
        if hasattr(processing_class, "save_pretrained"):
            processing_class.save_pretrained(unfinished)
        save_model(unfinished, model)
        keep_tensors(unfinished / OPTIMIZER_FILE, tensors)
        for name, text in texts.items():
            (unfinished / name).write_text(text, encoding="utf-8")
        write_manifest(unfinished)
    if keep is not None:
        remove_all_but(keep, folder, best)
    return folder


def save_model(folder: Path, model: nn.Module) -> None:
    """Write a model's tensors, and the configuration of one that has it."""
    if isinstance(model, PretrainedModel):
        model.save_pretrained(folder)
    else:
        keep_tensors(folder / MODEL_FILE, unique_tensors(model))


def load_checkpoint(
    folder: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    scheduler: Stateful | None = None,
    scaler: Stateful | None = None,
) -> dict[str, Any]:
    """Put everything back to where the checkpoint was written, and give the trainer's state.

    Nothing is touched before every file is compared with the manifest, and read, and found to fit.

    Raises: InputError naming the file that is missing or damaged, or the parameter that does not fit.
    """
    further = {SCHEDULER_FILE: scheduler, SCALER_FILE: scaler}
    needed = [*NEEDED, *(name for name, part in further.items() if part is not None)]
    contents = require_whole(folder, needed)
    for name in needed:
        if name not in contents:
            raise InputError(f"{folder} has no {name}{instead(folder)}; {instead_of(folder)}")
    tensors = parse_tensors(contents.pop(MODEL_FILE), folder / MODEL_FILE)
    with refused_as(f"{folder} belongs to another model"):
        require_same_tensors(tensors, model)
    moments = parse_tensors(contents.pop(OPTIMIZER_FILE), folder / OPTIMIZER_FILE)
    settings, state, *parts = (files.parse_json(contents[name], folder / name) for name in needed[2:])
    with refused_as(f"{folder} belongs to another optimizer"), understood(folder / OPTIMIZER_SETTINGS_FILE):
        require_same_groups(settings, model, optimizer)
        groups, remembered = read_groups(settings, moments), read_state(settings, moments, model)
    for name, kept in zip(needed[len(NEEDED) :], parts, strict=True):
        with understood(folder / name):
            put_back(kept, further[name], folder / name)
    put_back_tensors(tensors, model)
    for group, values in zip(optimizer.param_groups, groups, strict=True):
        group.update(values)
    optimizer.state.clear()
    optimizer.state.update(remembered)
    return state


def load_weights(folder: Path, model: nn.Module) -> None:
    """Give a model the parameters of a checkpoint, and nothing else of it.

    Raises: InputError naming the file that is missing or damaged, or the parameter that does not fit.
    """
    tensors = parse_tensors(require_whole(folder, [MODEL_FILE])[MODEL_FILE], folder / MODEL_FILE)
    with refused_as(f"{folder} belongs to another model"):
        require_same_tensors(tensors, model)
    put_back_tensors(tensors, model)


def put_back(kept: dict[str, Any], part: Any, path: Path) -> None:
    """Give a schedule or a scaler the state that one of its kind had.

    Raises: InputError if it was of another kind.
    """
    if kept["kind"] != kind_of(part):
        raise InputError(f"{path} holds the state of {kept['kind']}, and here is {kind_of(part)}; use the same kind")
    part.load_state_dict(from_json(kept["state"]))


@contextmanager
def refused_as(what: str) -> Iterator[None]:
    """Say what is wrong as a whole before the detail."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{what}: {error}") from error


@contextmanager
def understood(path: Path) -> Iterator[None]:
    """Refuse a file that is whole, and yet not what is written here."""
    try:
        yield
    except InputError:
        raise
    except (AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError) as error:
        raise InputError(f"{path} does not say what a checkpoint says ({error!r}); go on from another one") from error
