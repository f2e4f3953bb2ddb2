"""What a run writes down while it goes, and how it is read again: a JSON object a line, or events for TensorBoard."""

import csv
import io
import json
import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from pathlib import Path
from typing import Any

from minitransformer import files
from minitransformer.errors import InputError

logger = logging.getLogger(__name__)

Entry = dict[str, Any]

LOG_FILE = "log.jsonl"
PLACES = (  # where a log may lie in the folder of a run, the first that is found is read
    LOG_FILE,
    f"*/{LOG_FILE}",
    "trainer_state.json",
    "checkpoint-*/trainer_state.json",
    "history.json",
    "*/checkpoint-*/trainer_state.json",
    "*/history.json",
)
NOT_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


@dataclass(frozen=True)
class Run:
    """A run's name, and what it logged, in order."""

    name: str
    entries: Sequence[Mapping[str, Any]]


# Writing


class LogFile:
    """A file of one JSON object a line, which can be read at any time, whenever the process that writes it dies.

    >>> from tempfile import mkdtemp
    >>> log = LogFile(Path(mkdtemp()) / "log.jsonl")
    >>> log.start([{"step": 1, "loss": 2.5}])
    >>> log.add({"step": 2, "loss": math.nan})
    >>> print(log.path.read_text(), end="")
    {"step": 1, "loss": 2.5}
    {"step": 2, "loss": "NaN"}
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def start(self, entries: Iterable[Mapping[str, Any]] = ()) -> None:
        """Begin anew with these entries; what a run logged after the checkpoint that it goes on from is dropped.

        Raises: InputError if the file cannot be written.
        """
        files.write_text(self.path, "".join(map(to_line, entries)))

    def add(self, entry: Mapping[str, Any]) -> None:
        """Append one line.

        Raises: InputError if the file cannot be written.
        """
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(to_line(entry))
        except OSError as error:
            raise files.cannot_write(self.path, error) from error


def to_line(entry: Mapping[str, Any]) -> str:
    """An entry as a line of JSON that any program can read.

    >>> to_line({"step": 3, "eval_f1": np.float32(0.5), "loss": math.inf})
    '{"step": 3, "eval_f1": 0.5, "loss": "Infinity"}\\n'
    """
    return json.dumps(to_json(entry), allow_nan=False) + "\n"


def to_json(value: Any) -> Any:
    """A value in the words that JSON has; what it has no word for is told as text, for no log is worth a run."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, Mapping):
        return {str(name): to_json(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [to_json(part) for part in value]
    if isinstance(value, float) and not math.isfinite(value):
        return next(word for word, number in NOT_FINITE.items() if str(number) == str(float(value)))
    return value if value is None or isinstance(value, str | int | float) else str(value)


class TensorBoardWriter:
    """The same entries as events for TensorBoard, under the names that Hugging Face's trainer gives them.

    A run that goes on after `steps_before` steps hides what was logged beyond them, and one that begins anew hides all
    that lies in its folder.

    Raises: InputError without the package tensorboard, and for a folder that cannot be written to.
    """

    def __init__(self, folder: Path, steps_before: int = 0) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415 - nobody else needs it installed
        except ImportError as error:
            raise InputError("TensorBoard is not installed; pip install 'minitransformer[tensorboard]'") from error
        try:
            self.writer = SummaryWriter(str(folder), purge_step=steps_before + 1 if steps_before else 0)
        except OSError as error:
            raise files.cannot_write(folder, error) from error

    def add(self, entry: Mapping[str, Any]) -> None:
        """Write the numbers of an entry, for anyone to see at once."""
        for name, value in numbers_of(to_json(entry)).items():
            if name != "step":
                self.writer.add_scalar(name_for_tensorboard(name), value, entry["step"])
        self.writer.flush()

    def close(self) -> None:
        """Write what is left."""
        self.writer.close()


def name_for_tensorboard(name: str) -> str:
    """The name of a figure, behind what it was measured on.

    >>> name_for_tensorboard("loss"), name_for_tensorboard("eval_loss"), name_for_tensorboard("test_loss")
    ('train/loss', 'eval/loss', 'test/loss')
    """
    for part in ("eval", "test"):
        if name.startswith(f"{part}_"):
            return f"{part}/{name.removeprefix(f'{part}_')}"
    return f"train/{name}"


def numbers_of(entry: Mapping[str, Any]) -> dict[str, Any]:
    """The figures of an entry that are numbers, those among them that are not finite too.

    >>> numbers_of({"step": 3, "loss": "NaN", "name": "first", "eval_matrix": [[1, 0], [0, 1]]})
    {'step': 3, 'loss': nan}
    """
    figures = {name: as_number(value) for name, value in entry.items()}
    return {name: value for name, value in figures.items() if value is not None}


def as_number(value: Any) -> Any:
    """A figure as a number, or None if it is none; null and the words that stand for what is not finite are."""
    if value is None:
        return math.nan
    if isinstance(value, str):
        return NOT_FINITE.get(value)
    return value if isinstance(value, Real) else None


def bar_text(loss: int | float, rate: int | float | None = None, tokens_per_second: int | float | None = None) -> str:
    """The figures of a progress bar.

    >>> bar_text(2.3451, 1e-4, 5210.0)
    'loss 2.345, rate 1.0e-04, 5.2k tokens/s'
    """
    parts = [f"loss {loss:.3f}"]
    if rate is not None:
        parts.append(f"rate {rate:.1e}")
    if tokens_per_second is not None:
        parts.append(f"{in_thousands(tokens_per_second)} tokens/s")
    return ", ".join(parts)


def in_thousands(number: int | float) -> str:
    """A number of at most four digits, with k or M behind it.

    >>> in_thousands(74.6), in_thousands(5210), in_thousands(1_300_000)
    ('75', '5.2k', '1.3M')
    """
    if number < 999.5:
        return f"{number:.0f}"
    return f"{number / 1e3:.1f}k" if number < 999_950 else f"{number / 1e6:.1f}M"


# Reading


def read_runs(folders: Sequence[Path]) -> list[Run]:
    """The runs in these folders, named after them.

    Raises: InputError for a folder without a log.
    """
    names = short_names([folder_of(folder) for folder in folders])
    return [read_run(folder, name) for folder, name in zip(folders, names, strict=True)]


def read_run(folder: Path, name: str | None = None) -> Run:
    """What was logged by the run in a folder, ours or one of Hugging Face's trainer; a log itself may be given, too.

    Raises: InputError if there is no such folder, no log in it, or nothing in the log.
    """
    path = find_log(folder)
    entries = read_lines(path) if path.suffix == ".jsonl" else read_history(path)
    if not entries:
        raise InputError(f"{path} holds no figures yet; wait for the first log, or lower logging_steps")
    return Run(name or short_names([folder_of(folder)])[0], [from_json(entry, path) for entry in entries])


def folder_of(run: Path) -> Path:
    """The folder of a run, of which the folder or the log itself was given."""
    return run.parent if run.is_file() else run


def find_log(folder: Path) -> Path:
    """The log of the run in a folder; of several checkpoints the newest has it.

    Raises: InputError if there is none, or the logs of several runs.
    """
    if folder.is_file():
        return folder
    if not folder.is_dir():
        raise InputError(f"there is no folder {folder}; give the output_dir of a run")
    for place in PLACES:
        found = [path for path in sorted(folder.glob(place)) if path.is_file()]
        runs = {path.parent.parent if "checkpoint-" in place else path.parent for path in found}
        if len(runs) > 1:
            raise InputError(f"{folder} holds several runs; name those you want: {' '.join(map(str, sorted(runs)))}")
        if found:
            return max(found, key=lambda path: step_of(path.parent))
    raise InputError(f"{folder} holds no {LOG_FILE} and no trainer_state.json; give the output_dir of a run")


def step_of(checkpoint: Path) -> int:
    """The step in the name of a checkpoint.

    >>> step_of(Path("run/checkpoint-30")), step_of(Path("run"))
    (30, 0)
    """
    number = checkpoint.name.rpartition("-")[2]
    return int(number) if number.isdecimal() else 0


def read_lines(path: Path) -> list[Any]:
    """The entries of a log with one a line; a last line that was cut off by the end of its process is left out.

    Raises: InputError for any other line that is not JSON.
    """
    lines = read_text(path).split("\n")
    entries = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            entries.append(json.loads(line))
        except ValueError as error:
            if number < len(lines):
                raise InputError(f"{path}, line {number} is not JSON ({error}); delete it, or restore it") from error
            logger.warning("the last line of %s was cut off, and is left out", path)
    return entries


def read_text(path: Path) -> str:
    """The text of a log.

    Raises: InputError if it cannot be read.
    """
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8: byte {error.start} cannot be read; give the log of a run") from error


def read_history(path: Path) -> list[Any]:
    """The entries that a checkpoint remembers, or that a finished run kept.

    Raises: InputError for another file.
    """
    content = files.read_json(path)
    entries = content.get("log_history", content.get("history"))
    if not isinstance(entries, list):
        raise InputError(f"{path} holds no log_history; give the output_dir of a run")
    return entries


def from_json(entry: Any, path: Path) -> Entry:
    """An entry as it was logged; null is no number, too.

    Raises: InputError for what is no entry.
    """
    if not isinstance(entry, dict) or not isinstance(entry.get("step"), int):
        raise InputError(f"{path} holds {json.dumps(entry)[:60]} where an object with a step is needed")
    return {**entry, **numbers_of(entry)}


def short_names(folders: Sequence[Path]) -> list[str]:
    """The last part of each path, or as many parts as it takes to tell them apart.

    >>> short_names([Path("/a/first"), Path("/a/second")]), short_names([Path("/a/run"), Path("/b/run")])
    (['first', 'second'], ['a/run', 'b/run'])
    """
    parts = [folder.resolve().parts for folder in folders]
    longest = max(map(len, parts), default=0)
    for length in range(1, longest + 1):
        names = ["/".join(these[-length:]) for these in parts]
        if len(set(names)) == len(set(parts)):
            return names
    return []


def table(runs: Sequence[Run]) -> str:
    """All figures of runs as CSV: a row for each entry, a column for each name.

    >>> print(table([Run("first", [{"step": 1, "loss": 2.5}, {"step": 1, "eval_loss": math.nan}])]), end="")
    run,step,loss,eval_loss
    first,1,2.5,
    first,1,,nan
    """
    rows = [{"run": run.name, **numbers_of(entry)} for run in runs for entry in run.entries]
    text = io.StringIO()
    writer = csv.DictWriter(text, list(dict.fromkeys(name for row in rows for name in row)), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
