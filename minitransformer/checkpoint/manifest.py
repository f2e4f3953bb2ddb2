"""The manifest of a checkpoint: what every file was when it was written, and a digest of the manifest itself."""

import hashlib
import json
from pathlib import Path
from typing import Any

from minitransformer import files
from minitransformer.errors import InputError

MANIFEST_FILE = "manifest.json"
PICKLES = (".pt", ".pth", ".bin", ".pkl", ".pickle", ".ckpt")


def write_manifest(folder: Path) -> None:
    """Write down the size and the sha256 sum of every file in a folder."""
    entries = {
        file.relative_to(folder).as_posix(): describe(file) for file in sorted(folder.rglob("*")) if file.is_file()
    }
    (folder / MANIFEST_FILE).write_bytes(canonical(entries))


def describe(file: Path) -> dict[str, Any]:
    """A file's entry in the manifest."""
    return {"sha256": sha256(file), "size": file.stat().st_size}


def canonical(entries: dict[str, Any]) -> bytes:
    """The one way to write a manifest of these entries: it holds a digest of them, and no byte that is free to change.

    >>> canonical({}) == canonical(json.loads(canonical({}))["files"])
    True
    """
    digest = hashlib.sha256(json.dumps(entries, sort_keys=True).encode()).hexdigest()
    return (json.dumps({"files": entries, "sha256_of_files": digest}, indent=2, sort_keys=True) + "\n").encode()


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest's entries by the files' names.

    Raises: InputError if the manifest is missing, is not byte for byte as it was written, or names a file that a
    checkpoint may not hold.
    """
    path = folder / MANIFEST_FILE
    if not path.is_file():
        raise InputError(f"{path} is missing{instead(folder)}")
    content = files.read_bytes(require_inside(folder, MANIFEST_FILE))
    try:
        entries = files.parse_json(content, path)["files"]
        is_as_written = isinstance(entries, dict) and canonical(entries) == content
    except (InputError, KeyError, TypeError, ValueError, RecursionError):
        is_as_written = False
    if not is_as_written:
        raise InputError(f"{path} is not as it was written")
    for name, entry in entries.items():
        require_entry(path, name, entry)
    return dict(entries)


def require_entry(path: Path, name: str, entry: Any) -> None:
    """Refuse an entry that names a file outside the folder or a pickle, or that is no entry.

    Raises: InputError naming the manifest and the file.

    >>> require_entry(Path("manifest.json"), "../secret", {"sha256": "", "size": 0})
    Traceback (most recent call last):
        ...
    minitransformer.errors.InputError: manifest.json names '../secret', which lies outside the checkpoint
    """
    if any(part in ("", ".", "..") for part in name.split("/")) or "\\" in name or not name.isprintable():
        raise InputError(f"{path} names {name!r}, which lies outside the checkpoint")
    if name.endswith(PICKLES):
        raise InputError(
            f"{path} names {name!r}, a pickle, which can run code when opened; a checkpoint has no use for it"
        )
    if not isinstance(entry, dict) or entry.keys() != {"sha256", "size"} or not isinstance(entry["size"], int):
        raise InputError(f"{path} says {entry!r} of {name!r} where its sha256 and size are needed")


def require_inside(folder: Path, name: str) -> Path:
    """The path of a checkpoint's file, which must not be a link to somewhere else.

    Raises: InputError naming the link.
    """
    path = folder
    try:
        for part in name.split("/"):
            path = path / part
            if path.is_symlink():
                raise InputError(f"{path} is a link; a checkpoint holds its files itself")
    except OSError as error:
        raise files.cannot_read(path, error) from error
    return path


def read_as_written(folder: Path, name: str, entry: dict[str, Any]) -> bytes:
    """The content of a file, once it has been compared with the manifest.

    Raises: InputError naming the file that is missing, truncated or changed.
    """
    path = require_size(folder, name, entry)
    content = files.read_bytes(path)
    if hashlib.sha256(content).hexdigest() != entry["sha256"]:
        raise changed(path)
    return content


def require_as_written(folder: Path, name: str, entry: dict[str, Any]) -> None:
    """Compare a file with the manifest without holding it in memory.

    Raises: InputError naming the file that is missing, truncated or changed.
    """
    path = require_size(folder, name, entry)
    if sha256(path) != entry["sha256"]:
        raise changed(path)


def require_size(folder: Path, name: str, entry: dict[str, Any]) -> Path:
    """The path of a file that is there, and as long as it was when it was written.

    Raises: InputError naming the file that is missing or has another length.
    """
    path = require_inside(folder, name)
    if not path.is_file():
        raise InputError(f"{path} is missing{instead(folder)}")
    size = path.stat().st_size
    if size != entry["size"]:
        verb = "is truncated: it has" if size < entry["size"] else "has grown: it has"
        raise InputError(f"{path} {verb} {size} of {entry['size']} bytes")
    return path


def instead(folder: Path) -> str:
    """What lies in a folder where a checkpoint's file is missing: pickles are named, and not opened."""
    pickles = sorted(file.name for file in folder.iterdir() if file.name.endswith(PICKLES))
    return f"; {pickles[0]} is a pickle, which can run code when opened, and is not read" if pickles else ""


def changed(path: Path) -> InputError:
    """Say that a file is not what was written."""
    return InputError(f"{path} is not as it was written: its sha256 differs")


def sha256(path: Path) -> str:
    """The sha256 sum of a file.

    Raises: InputError if the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise files.cannot_read(path, error) from error
