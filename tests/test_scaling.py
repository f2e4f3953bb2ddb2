"""How a training step's cost grows: the fit finds an exponent that is known, and the benchmark runs."""

import json
from pathlib import Path

import pytest
from machine import Machine
from operations import forward_operations
from scaling import SMALL, Measurement, Size, floors, measure, row, slope

KNOWN = Machine("a processor", "cpu", 1, "2", "", float32=2e9, bfloat16=8e9, copy=1e9)


def test_a_fit_over_several_sizes_finds_the_exponent_and_its_spread() -> None:
    sizes = {value: SMALL.with_one("batch", value) for value in (2, 4, 8)}
    found = row("batch", sizes, {value: [value**1.5, 2 * value**1.0] for value in sizes}, KNOWN)
    assert found["exponent"] == pytest.approx({"median": 1.25, "low": 1.0, "high": 1.5})
    assert found["by operations"] == "1.00"
    assert found["last over first"]["low"] == pytest.approx(4)


def test_the_formula_grows_as_its_terms_do() -> None:
    wide, wider = (sum(forward_operations(Size(width=width).work()).values()) for width in (8192, 16384))
    assert slope([1, 2], [wide, wider]) == pytest.approx(2, abs=0.05)
    long, longer = (forward_operations(Size(length=n).work())["scores and reading"] for n in (4096, 8192))
    assert slope([1, 2], [long, longer]) == pytest.approx(2, abs=0.01)
    operations, both = floors(SMALL, KNOWN)
    assert 0 < operations < both


def test_the_benchmark_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    measure(Measurement(quick=True, folder=tmp_path))
    assert "what grows" in capsys.readouterr().out
    written = json.loads((tmp_path / "scaling.json").read_text("utf-8"))
    assert [entry["what grows"].split(",")[0] for entry in written["rows"]] == [
        "width",
        "depth",
        "length",
        "vocabulary",
        "batch",
    ]
    assert written["checks"][0]["passed"]
    assert (tmp_path / "scaling.png").stat().st_size > 10_000
