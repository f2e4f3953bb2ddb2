"""Benchmarks run, refuse to measure what differs, and the pages say what the results say."""

import importlib
import re
import sys
from pathlib import Path
from typing import Any

import pages
import pytest
import results as of_benchmarks
from all import HERE, SCRIPTS, Selection
from all import main as run_all
from pages import KEPT, ROOT, SECTION, pages_with_results, written_anew
from results import Results
from tables import as_table
from turns import in_turns, ratio

from minitransformer.errors import InputError

TRAINING = {"pretrain": "Comparison", "finetune": "Comparison", "encode": "Comparison", "equations": "Readable"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bench")


@pytest.mark.filterwarnings("ignore:.*nested tensors is in prototype")
@pytest.mark.parametrize(("name", "options"), [*TRAINING.items(), ("gpu", "Measurement")])
def test_each_benchmark_checks_measures_and_writes_what_it_found(name: str, options: str, folder: Path) -> None:
    script = importlib.import_module(name)
    script.main(getattr(script, options)(quick=True, folder=folder))
    found = Results.read(folder / f"{name}.json")
    assert found.checks
    assert all(check["passed"] for check in found.checks)
    (row,) = found.rows
    ratios = [cell for column, cell in row.items() if " over " in column]
    assert ratios
    assert all(0 < cell["low"] <= cell["median"] <= cell["high"] for cell in ratios)
    assert {"processor", "cores", "threads", "instruction_sets", "memory_gib"} <= set(found.machine)
    assert {"Python", "torch", "transformers", "numpy"} <= set(found.versions)
    assert (folder / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def test_what_differs_is_not_measured(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    finetune = importlib.import_module("finetune")
    monkeypatch.setattr(finetune, "differences_of_a_batch", lambda *_: (1e-3, 0.0))
    monkeypatch.setattr(finetune, "measured", lambda *_: pytest.fail("measured although the losses differ"))
    with pytest.raises(SystemExit) as ended:
        finetune.main(finetune.Comparison(quick=True, folder=folder))
    assert ended.value.code == 1
    assert capsys.readouterr().err == "finetune: tiny: losses of a batch: 1.0e-03, allowed 1.0e-06\n"


def test_a_difference_that_is_no_number_is_none_that_passes() -> None:
    results = Results("name", "title")
    results.check("losses", float("nan"), 1.0)
    with pytest.raises(SystemExit):
        results.require_checks()


def test_sides_take_turns_after_their_warm_up() -> None:
    said: list[str] = []
    seconds = in_turns({name: lambda name=name: said.append(name) for name in "ab"}, turns=2, warmups=1)
    assert "".join(said) == "ababab"
    assert [len(of_side) for of_side in seconds.values()] == [2, 2]


def test_a_ratio_compares_neighbours_in_time() -> None:
    slow_machine_in_the_second_turn = ratio([2.0, 20.0, 2.0], [1.0, 10.0, 1.0])
    assert slow_machine_in_the_second_turn == {"median": 2.0, "low": 2.0, "high": 2.0}


def test_rows_with_other_columns_share_a_table() -> None:
    assert as_table([{"a": 1}, {"b": 2}]).splitlines()[2:] == ["| 1 |  |", "|  | 2 |"]


def test_every_benchmark_of_make_bench_is_there() -> None:
    missing = [name for name in SCRIPTS if not (HERE / f"{name}.py").is_file()]
    assert not missing


def test_every_benchmark_of_make_bench_has_its_results_on_the_page() -> None:
    page = (ROOT / "benchmarks" / "README.md").read_text("utf-8")
    assert sorted(found["name"] for found in SECTION.finditer(page)) == sorted(SCRIPTS)


def test_a_table_of_its_own_stands_under_its_sentence() -> None:
    results = Results("name", "title", rows=[{"a": 1}])
    results.tabulate("What else there is:", [{"b": 2}])
    assert "\n\nWhat else there is:\n\n| b |\n| --- |\n| 2 |\n\n" in results.page()


def test_one_benchmark_that_fails_does_not_stop_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    for name, line in {"first": "raise SystemExit(3)", "second": "print('measured')"}.items():
        (tmp_path / f"{name}.py").write_text(line)
    monkeypatch.setattr(sys.modules["all"], "HERE", tmp_path)
    assert run_all(Selection(only=("first", "second"))) == 1
    said = capfd.readouterr().out
    assert "| first | with 3 |" in said
    assert "measured" in said
    assert "| second | well |" in said


def test_the_pages_say_what_the_results_say() -> None:
    shown = list(pages_with_results(ROOT))
    assert ROOT / "benchmarks" / "README.md" in shown
    for page in shown:
        assert written_anew(page.read_text("utf-8"), KEPT) == page.read_text("utf-8"), page


def test_a_figure_changed_by_hand_is_found_out() -> None:
    text = (ROOT / "benchmarks" / "README.md").read_text("utf-8")
    section = SECTION.search(text)
    assert section is not None
    changed = section[0].replace(" to ", " bis ", 1)
    assert written_anew(text.replace(section[0], changed), KEPT) == text


def test_nothing_to_take_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"holds none of the results .*pretrain.*; run make bench first"):
        pages.take(tmp_path, tmp_path / "kept")


def test_taking_results_keeps_only_those_that_a_page_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept, source = tmp_path / "kept", tmp_path / "new"
    name = re.findall(r"<!-- results: (\w+) -->", (ROOT / "benchmarks" / "README.md").read_text("utf-8"))[0]
    for each in (name, "another"):
        monkeypatch.setattr(of_benchmarks, "png", lambda _: b"picture")
        Results(each, "title", rows=[{"case": "one"}]).finish(source)
    pages.take(source, kept)
    assert sorted(file.name for file in kept.iterdir()) == [f"{name}.json", f"{name}.png"]
