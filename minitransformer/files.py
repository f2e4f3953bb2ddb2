"""Files appear whole or not at all: everything is written beside its place, flushed, and renamed last.

What is not yet whole, or no longer needed, has a hidden name that tells whose it is: `.NAME.PROCESS.unfinished` while
it is filled, `.NAME.PROCESS.replaced` while a new one takes its place, `.NAME.PROCESS.removed` while it is deleted.
"""

import errno
import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

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
    unfinished = hidden(path, "unfinished")
    try:
        make_folder(path.parent)
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
    unfinished = hidden(path, "unfinished")
    try:
        clear_away(path.parent, re.escape(path.name))
        make_folder(path.parent)
        unfinished.mkdir()
        yield unfinished
        for file in sorted(unfinished.rglob("*")):
            flush(file)
        flush(unfinished)
        exchange_folder(unfinished, path)
    except OSError as error:
        raise cannot_write(path, error) from error
    except InputError as error:
        if isinstance(error.__cause__, OSError):  # A file in it could not be written: its place is what users know.
            raise cannot_write(path, error.__cause__) from error
        raise
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def exchange_folder(new: Path, path: Path) -> None:
    """Put a folder in the place of another; the old one goes only when the new one stands, and the disk knows it."""
    replaces = path.exists()
    if replaces and not path.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path))
    old = hidden(path, "replaced")
    if replaces:
        path.replace(old)
    try:
        new.replace(path)
        flush(path.parent)
    except OSError:
        if not new.exists():
            path.replace(new)
        if replaces:
            old.replace(path)
        raise
    shutil.rmtree(old, ignore_errors=True)  # What stays of it is hidden, and cleared away before the next writing.


def remove_folder(path: Path) -> None:
    """Let a folder vanish in one step, and delete what was in it after that.

    Raises: InputError if the folder cannot be taken away.

    >>> from tempfile import mkdtemp
    >>> parent = Path(mkdtemp())
    >>> (parent / "model").mkdir()
    >>> remove_folder(parent / "model")
    >>> list(parent.iterdir())
    []
    """
    removed = hidden(path, "removed")
    try:
        path.replace(removed)
        flush(path.parent)
    except OSError as error:
        with suppress(OSError):  # Where it still has its name, nothing has to be undone.
            removed.replace(path)
        raise InputError(
            f"cannot remove {path}: {error.strerror or error}; allow writing to {path.parent}, or remove it yourself"
        ) from error
    shutil.rmtree(removed, ignore_errors=True)  # What stays of it is hidden, and cleared away before the next writing.


class Leftover(NamedTuple):
    """A hidden folder, whose it would have been, and why it is hidden."""

    folder: Path
    name: str
    process: int
    kind: str


def hidden(path: Path, kind: str) -> Path:
    """The name under which something of this process stands beside its place.

    >>> hidden(Path("runs/model"), "removed").name == f".model.{os.getpid()}.removed"
    True
    """
    return path.with_name(f".{path.name}.{os.getpid()}.{kind}")


def leftovers(parent: Path, names: str) -> list[Leftover]:
    """What ended processes left hidden of folders whose names match a pattern."""
    pattern = re.compile(rf"\.(?P<name>{names})\.(?P<process>[0-9]+)\.(?P<kind>unfinished|replaced|removed)")
    found = [
        Leftover(path, match["name"], int(match["process"]), match["kind"])
        for path in (parent.iterdir() if parent.is_dir() else ())
        if (match := pattern.fullmatch(path.name))
    ]
    return [leftover for leftover in found if leftover.process == os.getpid() or not is_running(leftover.process)]


def put_back(parent: Path, names: str) -> None:
    """Give a folder its name again whose process ended after it had made room, and before the new one had come."""
    for leftover in leftovers(parent, names):
        place = parent / leftover.name
        if leftover.kind == "replaced" and not place.exists():
            with suppress(OSError):  # Where nothing may be renamed, or another process was faster, it is not there.
                leftover.folder.replace(place)


def clear_away(parent: Path, names: str) -> None:
    """Put back what is still needed of what ended processes left hidden, and delete the rest."""
    put_back(parent, names)
    for leftover in leftovers(parent, names):
        if leftover.kind != "replaced" or (parent / leftover.name).exists():
            shutil.rmtree(leftover.folder, ignore_errors=True)


def is_running(process: int) -> bool:
    """Whether a process of this number is there, whoever started it.

    >>> is_running(os.getpid())
    True
    """
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def make_folder(path: Path) -> None:
    """Make a folder, and those above it that are missing, and wait until the disk holds their names."""
    if path.is_dir():
        return
    make_folder(path.parent)
    path.mkdir(exist_ok=True)
    flush(path.parent)


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
    return parse_json(read_bytes(path), path)


def read_bytes(path: Path) -> bytes:
    """Read a whole file.

    Raises: InputError naming the file if it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise cannot_read(path, error) from error


def parse_json(text: bytes, path: Path) -> dict[str, Any]:
    """Read the JSON object that is the content of a file.

    Raises: InputError naming the file if it holds no JSON object.

    >>> parse_json(b'{"step": 3}', Path("state.json"))
    {'step': 3}
    """
    try:
        content = json.loads(text.decode("utf-8"))
    except RecursionError as error:
        raise InputError(f"{path} holds brackets within brackets, too deep to be read; write it again") from error
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


def cannot_read(path: Path, error: OSError) -> InputError:
    """Say what could not be read, and why."""
    return InputError(f"cannot read {path}: {error.strerror or error}")
