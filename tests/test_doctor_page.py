"""The worked example of docs/doctor.md: its changes are made one by one, and what is said is what is shown."""

import re
from pathlib import Path

import pytest

from minitransformer.doctor import LADDER, examine_file

pytestmark = pytest.mark.usefixtures("without_shape_checks")

PAGE = (Path(__file__).parents[1] / "docs" / "doctor.md").read_text("utf-8")
NUMBER = re.compile(r"\d+(?:\.\d+)?(?:e-\d+)?")
ROUNDING = 0.1
"""Other machines round otherwise, and dozens of steps make more of it; the words are compared letter for letter."""


def blocks(language: str) -> list[str]:
    """The code blocks of the page in one language."""
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


def changed(code: str, diff: str) -> str:
    """Code with one line exchanged."""
    (old,), (new,) = (re.findall(rf"^\{sign}(.*)$", diff, re.MULTILINE) for sign in "-+")
    assert code.count(old) == 1
    return code.replace(old, new)


def written(code: str, folder: Path) -> Path:
    """A file with this code."""
    path = folder / "mine.py"
    path.write_text(code, encoding="utf-8")
    return path


def said_of(code: str, folder: Path) -> str:
    """What the doctor says of a file with this code."""
    return str(examine_file(written(code, folder)))


def n_failures(said: str) -> int:
    """How many checks failed."""
    return sum(line.startswith("✗") for line in said.splitlines())


def assert_said(said: str, shown: str) -> None:
    """Fail unless each line shown was said, up to the rounding of its numbers."""
    by_words = {NUMBER.sub("#", line): line for line in said.splitlines()}
    for line in shown.splitlines():
        words = NUMBER.sub("#", line)
        assert words in by_words, f"not said: {line}\n{said}"
        numbers, expected = ([float(number) for number in NUMBER.findall(text)] for text in (by_words[words], line))
        assert numbers == pytest.approx(expected, rel=ROUNDING)


def test_what_the_doctor_says_before_and_after_each_change_is_what_the_page_shows(tmp_path: Path) -> None:
    code, (first, *others) = blocks("python")[0], blocks("text")
    said = said_of(code, tmp_path)
    assert len(said.splitlines()) == len(first.splitlines())
    assert_said(said, first)
    failures = [n_failures(said)]
    for diff, shown in zip(blocks("diff"), others, strict=True):
        code = changed(code, diff)
        said = said_of(code, tmp_path)
        assert_said(said, shown)
        failures.append(n_failures(said))
    assert failures == [3, 2, 1, 0]


def test_the_other_examples_of_the_page_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    mine, adapter, in_python = blocks("python")
    written(mine, tmp_path)
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for code in (mine, adapter, in_python):
        exec(compile(code, "doctor.md", "exec"), names)  # noqa: S102 - it is our own page
    assert "✗ later tokens" in capsys.readouterr().out
    assert callable(names["adapter"])


def test_the_page_has_every_rung_in_order(tmp_path: Path) -> None:
    rows = re.findall(r"^\| ([a-z0-9 ]+) \|", PAGE.split("## The ladder")[1].split("## ")[0], re.MULTILINE)[1:]
    checks = examine_file(written(blocks("python")[0], tmp_path), steps=1).checks
    assert rows == [check.name for check in checks]
    assert len(rows) == len(LADDER)
