"""The benchmark of attention by length runs, and measures what it says."""

from pathlib import Path

import attention as benchmark
import pytest
import torch

from minitransformer import files


def test_it_checks_measures_and_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    benchmark.main(benchmark.Comparison(quick=True, folder=tmp_path))
    found = files.read_json(tmp_path / "attention.json")
    assert [row["length"] for row in found["rows"]] == [64, 128]
    assert len(found["checks"]) == 8
    assert all(check["passed"] for check in found["checks"])
    assert found["rows"][-1]["equations, MiB"].endswith("foretold")
    assert (tmp_path / "attention.png").stat().st_size > 0
