"""Names from the hub: a folder, a kept download in the user's Hugging Face cache, or a new download, in this order."""

import os
import re
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from minitransformer.errors import InputError

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
MODEL_FILES = (CONFIG_FILE, WEIGHTS_FILE)
TOKENIZER_FILES = ("tokenizer.json", "vocab.txt", "tokenizer_config.json", "special_tokens_map.json")

NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?")
COMMIT = re.compile(r"[0-9a-f]{40}")
FIRST_OWNERS = {"bert-": "google-bert"}
"""Who owns today what was first published without an owner, by the beginnings of the names."""

YES = {"1", "ON", "YES", "TRUE"}

Holds = Callable[[Path], bool]


def holds_config(folder: Path) -> bool:
    """Whether a folder says which model it is."""
    return (folder / CONFIG_FILE).is_file()


def holds_model(folder: Path) -> bool:
    """Whether a folder holds a model with its parameters."""
    return all((folder / name).is_file() for name in MODEL_FILES)


def holds_tokenizer(folder: Path) -> bool:
    """Whether a folder holds a tokenizer."""
    return any((folder / name).is_file() for name in ("tokenizer.json", "vocab.txt"))


def folder_of(
    name: str | Path,
    holds: Holds = holds_model,
    cache_dir: str | Path | None = None,
    revision: str | None = None,
    local_files_only: bool = False,
) -> Path:
    """The folder that a name stands for: itself, or a snapshot of the hub that `holds` what is needed.

    A local folder comes first, then the cache, then a download through `huggingface_hub` where that is installed. A
    `Path` is a folder and nothing else. The arguments are those of Hugging Face's `from_pretrained`.

    Raises: InputError saying how to get a folder, if there is none.
    """
    path = Path(name)
    if path.is_dir():
        return path
    if isinstance(name, Path) or path.exists() or not NAME.fullmatch(name):
        raise InputError(f"there is no folder {path}; give a local folder that holds {CONFIG_FILE} and {WEIGHTS_FILE}")
    cache = Path(cache_dir).expanduser() if cache_dir is not None else cache_folder()
    for snapshot in kept_snapshots(name, cache, revision or "main"):
        if holds(snapshot):
            return snapshot
    snapshot = download(name, cache, revision, local_files_only)
    if not holds(snapshot):
        raise InputError(
            f"{name} on the hub lacks what is needed of {', '.join((*MODEL_FILES, *TOKENIZER_FILES))}; a pickle of "
            "parameters is not opened here: save it with transformers' save_pretrained, and give that folder"
        )
    return snapshot


def cache_folder() -> Path:
    """Where Hugging Face's libraries keep what they downloaded, by the environment variables that they obey."""
    for variable in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        if os.environ.get(variable):
            return Path(os.environ[variable]).expanduser()
    everybodys = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    home = os.environ.get("HF_HOME") or f"{everybodys}/huggingface"
    return Path(home).expanduser() / "hub"


def kept_snapshots(name: str, cache: Path, revision: str) -> Iterator[Path]:
    """The folders of a cache that hold a revision of a name: a branch, a tag, or a whole commit."""
    for spelling in spellings(name):
        repository = cache / f"models--{spelling.replace('/', '--')}"
        reference = repository / "refs" / revision
        commit = reference.read_text("utf-8").strip() if reference.is_file() else revision
        if COMMIT.fullmatch(commit) and (repository / "snapshots" / commit).is_dir():
            yield repository / "snapshots" / commit


def spellings(name: str) -> Sequence[str]:
    """A name, and the same name with or without the owner that it got later.

    >>> spellings("bert-base-uncased")
    ['bert-base-uncased', 'google-bert/bert-base-uncased']
    >>> spellings("somebody/bert")
    ['somebody/bert']
    """
    owner, _, model = name.rpartition("/")
    for beginning, first_owner in FIRST_OWNERS.items():
        if model.startswith(beginning) and owner in ("", first_owner):
            return [name, model if owner else f"{first_owner}/{model}"]
    return [name]


def download(name: str, cache: Path, revision: str | None, local_files_only: bool) -> Path:
    """Fetch configuration, tokenizer and parameters of a name into a cache; never a pickle.

    Raises: InputError if that is not possible here.
    """
    hindrance = why_not_online(local_files_only)
    if hindrance:
        raise cannot_get(name, cache, hindrance)
    hub = import_module("huggingface_hub")
    wanted = [*MODEL_FILES, *TOKENIZER_FILES]
    try:
        return Path(hub.snapshot_download(name, revision=revision, cache_dir=cache, allow_patterns=wanted))
    except Exception as error:  # the library's errors, and those of the ones underneath, have no class in common
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise cannot_get(name, cache, f"the download failed ({reason})") from error


def why_not_online(local_files_only: bool) -> str:
    """What keeps us from asking the hub, or nothing."""
    if local_files_only:
        return "local_files_only=True allows no download"
    for variable in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        if os.environ.get(variable, "").upper() in YES:
            return f"{variable}={os.environ[variable]} allows no download"
    if find_spec("huggingface_hub") is None:
        return "huggingface_hub, which could download it, is not installed"
    return ""


def cannot_get(name: str, cache: Path, hindrance: str) -> InputError:
    """Say that a name cannot be resolved, why, and how to get a folder."""
    return InputError(
        f"there is no folder {name}, and {cache} does not hold all of a model of this name; {hindrance}; on a machine "
        f"that is online run `hf download {name} --local-dir FOLDER`, and give FOLDER in place of the name"
    )
