"""The benchmark of reading runs, at a tiny size: a fresh process, both sides in turns, and figures that are kept."""

import subprocess
import sys
from pathlib import Path

from results import Results

ROOT = Path(__file__).parents[1]


def test_the_benchmark_of_data_runs_and_leaves_its_figures_but_not_its_corpus(tmp_path: Path) -> None:
    command = [sys.executable, ROOT / "benchmarks" / "data.py", "--quick", "--folder", tmp_path]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert "Text becomes shards at" in printed
    found = Results.read(tmp_path / "data.json")
    assert [row["beside"].split()[-1] for row in found.rows] == ["lists", "numpy", "torch"]
    assert all(row["ours, million tokens/s"]["low"] > 0 for row in found.rows)
    assert len(found.checks) == 6
    (alone,) = found.tables.values()
    assert [row["corpus, MB"] for row in alone] == [0, 2]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data.json", "data.png"]
