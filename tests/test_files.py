"""Files appear whole or not at all, whatever goes wrong on the way."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from minitransformer import files
from minitransformer.errors import InputError


class BrokenOffError(Exception):
    """Something that goes wrong in the middle of writing."""


def names_in(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def one_line(refusal: pytest.ExceptionInfo[InputError]) -> str:
    assert "\n" not in str(refusal.value)
    return str(refusal.value)


# One file


def test_a_file_takes_the_place_of_the_old_one(tmp_path: Path) -> None:
    place = tmp_path / "new" / "folders" / "note.txt"
    files.write_text(place, "first")
    files.write_text(place, "zweite: größer, 三國")
    assert place.read_text("utf-8") == "zweite: größer, 三國"
    assert names_in(tmp_path) == ["new", "new/folders", "new/folders/note.txt"]


def test_until_all_is_written_the_old_file_stands(tmp_path: Path) -> None:
    place = tmp_path / "note.txt"
    place.write_text("good", "utf-8")
    with files.replacing(place) as unfinished:
        unfinished.write_text("half", "utf-8")
        assert place.read_text("utf-8") == "good"
        assert unfinished.parent == place.parent, "a rename is one step only within a folder"
    assert place.read_text("utf-8") == "half"


def break_off(unfinished: Path) -> None:
    raise BrokenOffError


def press_ctrl_c(unfinished: Path) -> None:
    raise KeyboardInterrupt


def fill_the_disk(unfinished: Path) -> None:
    raise OSError(28, os.strerror(28))


def write_nothing(unfinished: Path) -> None:
    """Leave before anything is written."""


FAILURES: list[tuple[Callable[[Path], None], type[BaseException]]] = [
    (break_off, BrokenOffError),
    (press_ctrl_c, KeyboardInterrupt),
    (fill_the_disk, InputError),
]


def half_a_file(place: Path, fail: Callable[[Path], None]) -> None:
    with files.replacing(place) as unfinished:
        unfinished.write_text("half", "utf-8")
        fail(unfinished)


@pytest.mark.parametrize(("fail", "error"), FAILURES)
def test_a_failure_leaves_the_old_file_and_nothing_else(
    fail: Callable[[Path], None], error: type[BaseException], tmp_path: Path
) -> None:
    place = tmp_path / "note.txt"
    place.write_text("good", "utf-8")
    with pytest.raises(error):
        half_a_file(place, fail)
    assert place.read_text("utf-8") == "good"
    assert names_in(tmp_path) == ["note.txt"]


def test_a_file_that_was_never_written_replaces_nothing(tmp_path: Path) -> None:
    place = tmp_path / "note.txt"
    place.write_text("good", "utf-8")
    with pytest.raises(InputError, match="cannot write"), files.replacing(place) as unfinished:
        write_nothing(unfinished)
    assert place.read_text("utf-8") == "good"


def test_a_full_disk_is_named_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError) as refusal, files.replacing(tmp_path / "note.txt") as unfinished:
        fill_the_disk(unfinished)
    assert one_line(refusal) == (
        f"cannot write {tmp_path / 'note.txt'}: No space left on device; choose a folder that you may write to"
    )


def test_a_file_where_a_folder_should_be_is_named_and_kept(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("a file", "utf-8")
    with pytest.raises(InputError) as refusal:
        files.write_text(tmp_path / "runs" / "note.txt", "text")
    assert one_line(refusal).startswith(f"cannot write {tmp_path / 'runs' / 'note.txt'}: ")
    assert (tmp_path / "runs").read_text("utf-8") == "a file"


def test_a_folder_where_the_file_should_be_is_named_and_kept(tmp_path: Path) -> None:
    (tmp_path / "note.txt").mkdir()
    with pytest.raises(InputError) as refusal:
        files.write_text(tmp_path / "note.txt", "text")
    assert one_line(refusal).startswith(f"cannot write {tmp_path / 'note.txt'}: ")
    assert names_in(tmp_path) == ["note.txt"]


def test_a_file_is_on_the_disk_before_it_gets_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = []
    replace, fsync = Path.replace, os.fsync

    def watched_replace(source: Path, target: Path) -> Path:
        steps.append("rename")
        return replace(source, target)

    def watched_fsync(descriptor: int) -> None:
        steps.append("flush")
        fsync(descriptor)

    monkeypatch.setattr(Path, "replace", watched_replace)
    monkeypatch.setattr(os, "fsync", watched_fsync)
    files.write_text(tmp_path / "note.txt", "text")
    assert steps == ["flush", "rename", "flush"]


# A folder


def fill(folder: Path, text: str) -> None:
    (folder / "part").mkdir()
    (folder / "part" / "note.txt").write_text(text, "utf-8")


def test_a_folder_takes_the_place_of_the_old_one(tmp_path: Path) -> None:
    place = tmp_path / "new" / "model"
    for text in ("first", "second"):
        with files.replacing_folder(place) as unfinished:
            fill(unfinished, text)
            (unfinished / text).write_text("", "utf-8")
    assert names_in(tmp_path / "new") == ["model", "model/part", "model/part/note.txt", "model/second"]
    assert (place / "part" / "note.txt").read_text("utf-8") == "second"


def half_a_folder(place: Path, fail: Callable[[Path], None]) -> None:
    with files.replacing_folder(place) as unfinished:
        fill(unfinished, "half")
        fail(unfinished)


@pytest.mark.parametrize(("fail", "error"), FAILURES)
def test_a_failure_leaves_the_old_folder_and_nothing_else(
    fail: Callable[[Path], None], error: type[BaseException], tmp_path: Path
) -> None:
    place = tmp_path / "model"
    place.mkdir()
    fill(place, "good")
    before = names_in(tmp_path)
    with pytest.raises(error):
        half_a_folder(place, fail)
    assert names_in(tmp_path) == before
    assert (place / "part" / "note.txt").read_text("utf-8") == "good"


def test_a_folder_that_cannot_get_its_name_brings_the_old_one_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "model"
    place.mkdir()
    fill(place, "good")
    replace = Path.replace

    def only_the_old_one(source: Path, target: Path) -> Path:
        if source.name.endswith(".unfinished"):
            fill_the_disk(source)
        return replace(source, target)

    monkeypatch.setattr(Path, "replace", only_the_old_one)
    with pytest.raises(InputError, match="No space left on device"), files.replacing_folder(place) as unfinished:
        fill(unfinished, "new")
    assert names_in(tmp_path) == ["model", "model/part", "model/part/note.txt"]
    assert (place / "part" / "note.txt").read_text("utf-8") == "good"


def test_what_an_earlier_failure_left_behind_is_cleared_away(tmp_path: Path) -> None:
    place = tmp_path / "model"
    left = tmp_path / f".model.{os.getpid()}.unfinished"
    left.mkdir()
    (left / "stale.txt").write_text("stale", "utf-8")
    with files.replacing_folder(place) as unfinished:
        fill(unfinished, "new")
    assert names_in(tmp_path) == ["model", "model/part", "model/part/note.txt"]


def test_a_file_is_not_taken_for_an_old_folder(tmp_path: Path) -> None:
    (tmp_path / "model").write_text("a file", "utf-8")
    with pytest.raises(InputError) as refusal, files.replacing_folder(tmp_path / "model") as unfinished:
        fill(unfinished, "new")
    assert one_line(refusal).startswith(f"cannot write {tmp_path / 'model'}: Not a directory")
    assert names_in(tmp_path) == ["model"]
    assert (tmp_path / "model").read_text("utf-8") == "a file"


def test_a_file_where_the_parent_should_be_is_named(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("a file", "utf-8")
    with pytest.raises(InputError, match="cannot write"), files.replacing_folder(tmp_path / "runs" / "model"):
        pytest.fail("nothing can be filled here")


# JSON


def test_json_is_read_as_it_was_written(tmp_path: Path) -> None:
    content = {"name": "三國", "sizes": [2, 3], "empty": None, "nested": {"share": 0.5}}
    files.write_json(tmp_path / "config.json", content)
    assert files.read_json(tmp_path / "config.json") == content
    assert "三國" in (tmp_path / "config.json").read_text("utf-8"), "people read these files too"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"config\.json is not valid JSON \(Expecting value"),
        (b'{"hidden_size": 24,', r"config\.json is not valid JSON \(Expecting property name"),
        (b"\xff\xfe\x00", r"config\.json is not valid JSON \('utf-8' codec can't decode"),
        (b"[1, 2]", r"config\.json holds list where a JSON object is needed"),
        (b"null", r"config\.json holds NoneType where a JSON object is needed"),
    ],
)
def test_what_is_no_json_object_is_refused_by_name(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(InputError, match=message) as refusal:
        files.read_json(tmp_path / "config.json")
    assert str(tmp_path / "config.json") in one_line(refusal)


def test_a_missing_json_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError) as refusal:
        files.read_json(tmp_path / "config.json")
    assert one_line(refusal) == f"cannot read {tmp_path / 'config.json'}: No such file or directory"


def test_a_folder_in_place_of_a_json_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError) as refusal:
        files.read_json(tmp_path)
    assert one_line(refusal) == f"cannot read {tmp_path}: Is a directory"
