"""Training checkpoints: a folder that is whole or not there, from which training goes on as if it had never stopped."""

import hashlib
import json
import re
import shutil
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from minitransformer import files
from minitransformer.errors import InputError
from minitransformer.pretrained import PretrainedModel, read_tensors, write_tensors

STATE_FILE = "trainer_state.json"
MODEL_FILE = "training_model.safetensors"
OPTIMIZER_FILE = "optimizer.safetensors"
MANIFEST_FILE = "manifest.json"
PLAN_FILE = "plan.json"


def save_checkpoint(
    output_dir: Path, model: nn.Module, optimizer: torch.optim.Optimizer, state: dict[str, Any], keep: int | None = None
) -> Path:
    """Write `checkpoint-STEP` beside the others: staged, flushed, given a manifest of sha256 sums, renamed last.

    Where `keep` is given, only this one and the newest before it stay, so many in all.

    Raises: InputError if the folder cannot be written to; the checkpoints before it are untouched.
    """
    folder = output_dir / f"checkpoint-{state['global_step']}"
    with files.replacing_folder(folder) as unfinished:
        if isinstance(model, PretrainedModel):
            model.save_pretrained(unfinished)
        write_tensors(unfinished / MODEL_FILE, unique_tensors(model))
        write_tensors(unfinished / OPTIMIZER_FILE, optimizer_tensors(model, optimizer))
        (unfinished / STATE_FILE).write_text(json.dumps(state), encoding="utf-8")
        manifest = {file.name: sha256(file) for file in sorted(unfinished.iterdir())}
        (unfinished / MANIFEST_FILE).write_text(json.dumps(manifest, indent=2), encoding="utf-8")
    if keep is not None:
        remove_all_but(keep, folder)
    return folder


def remove_all_but(keep: int, written: Path) -> None:
    """Remove all checkpoints but the one just written and the newest before it; later ones are of a run given up."""
    found = checkpoints(written.parent)
    up_to_here = found[: found.index(written) + 1]
    for folder in found:
        if folder not in up_to_here[-keep:]:
            shutil.rmtree(folder)


def load_checkpoint(folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """Put model and optimizer back to where the checkpoint was written, and give the trainer's state.

    Raises: InputError naming the file that is missing or damaged, or the parameter that does not fit.
    """
    require_whole(folder)
    tensors = read_tensors(folder / MODEL_FILE)
    expected = unique_tensors(model)
    if differing := tensors.keys() ^ expected.keys():
        raise InputError(f"{folder} belongs to another model: {sorted(differing)[0]!r} is in only one of the two")
    for name, tensor in tensors.items():
        if tensor.shape != expected[name].shape:
            raise InputError(
                f"{folder} belongs to another model: {name!r} has shape {tuple(tensor.shape)} there, "
                f"and {tuple(expected[name].shape)} here"
            )
    moments = read_tensors(folder / OPTIMIZER_FILE)
    model.load_state_dict(tensors, strict=False)
    for name, parameter in model.named_parameters():
        if f"{name}.step" in moments:
            optimizer.state[parameter] = {
                "step": int(moments[f"{name}.step"]),
                "first_moment": moments[f"{name}.first_moment"].to(parameter.device),
                "second_moment": moments[f"{name}.second_moment"].to(parameter.device),
            }
    return files.read_json(folder / STATE_FILE)


def require_same_plan(folder: Path, plan: dict[str, Any]) -> None:
    """Refuse to mix a run with one of another plan in the same folder.

    Raises: InputError naming the entry that differs.
    """
    if not (folder / PLAN_FILE).is_file():
        return
    for name, before in files.read_json(folder / PLAN_FILE).items():
        if plan.get(name) != before:
            raise InputError(
                f"{folder} was begun with {name}={before!r}, not {plan.get(name)!r}; "
                "choose another output folder, or delete this one"
            )


def newest_checkpoint(output_dir: Path) -> Path | None:
    """The newest checkpoint, if there is one."""
    found = checkpoints(output_dir)
    return found[-1] if found else None


def checkpoints(output_dir: Path) -> list[Path]:
    """All checkpoints of a run, oldest first."""
    numbered = {
        int(match[1]): folder
        for folder in (output_dir.iterdir() if output_dir.is_dir() else ())
        if (match := re.fullmatch(r"checkpoint-(\d+)", folder.name))
    }
    return [numbered[step] for step in sorted(numbered)]


def require_whole(folder: Path) -> None:
    """Refuse a checkpoint that is not as it was written.

    Raises: InputError naming the file that is missing or has changed.
    """
    if not folder.is_dir():
        raise InputError(f"there is no checkpoint {folder}; leave resume_from_checkpoint out to start anew")
    for name, written in files.read_json(folder / MANIFEST_FILE).items():
        if not (folder / name).is_file():
            raise InputError(f"{folder} has lost {name}; resume from an earlier checkpoint")
        if sha256(folder / name) != written:
            raise InputError(f"{folder / name} is not as it was written (sha256 differs); resume from an earlier one")


def sha256(path: Path) -> str:
    """The sha256 sum of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def unique_tensors(model: nn.Module) -> dict[str, Tensor]:
    """A model's tensors by name, a tied one only under its first name."""
    seen: set[int] = set()
    unique = {}
    for name, tensor in model.state_dict(keep_vars=True).items():
        if id(tensor) not in seen:
            unique[name] = tensor.detach().contiguous()
        seen.add(id(tensor))
    return unique


def optimizer_tensors(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimizer's running means by the names of the parameters that they belong to."""
    return {
        f"{name}.{kind}": torch.as_tensor(value).contiguous()
        for name, parameter in model.named_parameters()
        for kind, value in optimizer.state.get(parameter, {}).items()
    }
