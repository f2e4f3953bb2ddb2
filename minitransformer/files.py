"""Files appear whole or not at all: everything is written beside its place, flushed, and renamed last."""

import errno
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from minitransformer.errors import InputError


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a neighbour to write to; when all is written, it takes the place of `path` in one step.

    Raises: InputError if the folder cannot be written to.

    >>> from tempfile import mkdtemp
    >>> folder = Path(mkdtemp())
    >>> with replacing(folder / "note.txt") as unfinished:
    ...     _ = unfinished.write_text("whole")
    >>> [file.name for file in folder.iterdir()]
    ['note.txt']
    """
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.unfinished")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield unfinished
        flush(unfinished)
        unfinished.replace(path)
        flush(path.parent)
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        with suppress(OSError):  # Where nothing could be written, nothing is left to remove.
            unfinished.unlink()


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """Give an empty neighbour folder to fill; when all is written, it takes the place of `path`.

    Raises: InputError if the parent cannot be written to.

    >>> from tempfile import mkdtemp
    >>> parent = Path(mkdtemp())
    >>> with replacing_folder(parent / "model") as unfinished:
    ...     _ = (unfinished / "config.json").write_text("{}")
    >>> [str(file.relative_to(parent)) for file in parent.rglob("*.json")]
    ['model/config.json']
    """
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.unfinished")
    try:
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        yield unfinished
        for file in sorted(unfinished.rglob("*")):
            flush(file)
        flush(unfinished)
        exchange_folder(unfinished, path)
        flush(path.parent)
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def exchange_folder(new: Path, path: Path) -> None:
    """Put a folder in the place of another; the old one goes only when the new one stands."""
    if not path.exists():
        new.replace(path)
        return
    if not path.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path))
    old = path.with_name(f".{path.name}.{os.getpid()}.replaced")
    path.replace(old)
    try:
        new.replace(path)
    except OSError:
        old.replace(path)
        raise
    shutil.rmtree(old)


def write_text(path: Path, text: str) -> None:
    """Write a whole text file, or none."""
    with replacing(path) as unfinished:
        unfinished.write_text(text, encoding="utf-8")


def write_json(path: Path, content: Any) -> None:
    """Write a whole JSON file, or none."""
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises: InputError naming the file if it is missing, or holds no JSON object.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error
    except ValueError as error:
        raise InputError(f"{path} is not valid JSON ({error}); restore it or write it again") from error
    if not isinstance(content, dict):
        raise InputError(f"{path} holds {type(content).__name__} where a JSON object is needed")
    return content


def flush(path: Path) -> None:
    """Wait until the disk holds a file or a folder's entries."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def cannot_write(path: Path, error: OSError) -> InputError:
    """Say what could not be written, why, and what to do."""
    return InputError(f"cannot write {path}: {error.strerror or error}; choose a folder that you may write to")
