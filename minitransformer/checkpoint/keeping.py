"""Which checkpoints a run has, which of them are whole, and which go to make room."""

import re
from collections.abc import Collection
from pathlib import Path
from typing import Any

from minitransformer import files
from minitransformer.checkpoint.manifest import read_as_written, read_manifest, require_as_written
from minitransformer.errors import InputError

PLAN_FILE = "plan.json"
NAMES = "checkpoint-[0-9]+"


def checkpoints(output_dir: Path) -> list[Path]:
    """All checkpoints of a run, oldest first, with one that was hidden when its process ended put back.

    Raises: InputError if the folder cannot be read.
    """
    try:
        files.put_back(output_dir, NAMES)
        found = [folder for folder in output_dir.iterdir() if re.fullmatch(NAMES, folder.name) and folder.is_dir()]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise files.cannot_read(output_dir, error) from error
    return sorted(found, key=lambda folder: (step_of(folder), folder.name))


def step_of(folder: Path) -> int:
    """The step after which a checkpoint was written.

    >>> step_of(Path("runs/checkpoint-12"))
    12
    """
    return int(folder.name.rpartition("-")[2])


def newest_checkpoint(output_dir: Path) -> Path | None:
    """The newest checkpoint by its name, if there is one."""
    return next(reversed(checkpoints(output_dir)), None)


def newest_whole_checkpoint(output_dir: Path) -> Path | None:
    """The newest checkpoint of which every file is as it was written, if there is one."""
    return newest_whole(checkpoints(output_dir))


def newest_whole(candidates: list[Path]) -> Path | None:
    """The last of these checkpoints, oldest first, that is whole."""
    return next((folder for folder in reversed(candidates) if is_whole(folder)), None)


def is_whole(folder: Path) -> bool:
    """Whether every file of a checkpoint is as it was written."""
    try:
        contents_of(folder)
    except InputError:
        return False
    return True


def require_whole(folder: Path, wanted: Collection[str] = ()) -> dict[str, bytes]:
    """Compare every file of a checkpoint with its manifest, reading each once, and give the contents of those wanted.

    Raises: InputError naming the file that is missing, truncated or changed, and the newest whole checkpoint beside it.
    """
    try:
        return contents_of(folder, wanted)
    except InputError as error:
        raise InputError(f"{error}; {instead_of(folder)}") from error


def contents_of(folder: Path, wanted: Collection[str] = ()) -> dict[str, bytes]:
    """Compare every file of a checkpoint with its manifest, and give the contents of those wanted.

    Raises: InputError naming the file that is missing, truncated or changed.
    """
    if not folder.is_dir():
        raise InputError(f"there is no checkpoint {folder}")
    contents = {}
    for name, entry in read_manifest(folder).items():
        if name in wanted:
            contents[name] = read_as_written(folder, name, entry)
        else:
            require_as_written(folder, name, entry)
    return contents


def instead_of(folder: Path) -> str:
    """Which checkpoint of the same run to go on from instead."""
    others = [other for other in checkpoints(folder.parent) if other.name != folder.name]
    whole = newest_whole(others)
    if whole is None:
        return f"no other checkpoint in {folder.parent} is whole, so leave resume_from_checkpoint out to start anew"
    return f"go on from the newest one that is whole with resume_from_checkpoint={str(whole)!r}"


def remove_all_but(keep: int, written: Path, best: Path | None = None) -> None:
    """Remove checkpoints until `keep` are left: the one just written, the best, and the newest before it.

    The first two stay whatever `keep` says. Later ones are of a run given up, and go first.

    Raises: InputError naming the checkpoint that cannot be removed.
    """
    always = {written.name} | ({best.name} if best is not None else set())
    found = checkpoints(written.parent)
    earlier = [folder for folder in found if step_of(folder) <= step_of(written)]
    spare = [folder for folder in earlier if folder.name not in always]
    room = max(0, keep - (len(earlier) - len(spare)))
    given_up = [folder for folder in found if folder not in earlier and folder.name not in always]
    for folder in given_up[::-1] + spare[: max(0, len(spare) - room)]:
        files.remove_folder(folder)


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
