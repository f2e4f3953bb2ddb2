"""The benchmark of reading runs, at a tiny size: a fresh process, both sides in turns, and figures that are kept."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_the_benchmark_of_data_runs_and_leaves_its_figures_but_not_its_corpus(tmp_path: Path) -> None:
    command = [sys.executable, ROOT / "benchmarks" / "data.py", "--quick", "--folder", tmp_path]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert "text to shards" in printed
    results = json.loads((tmp_path / "data.json").read_text())
    assert [row["side"] for row in results["reading"]] == [
        "ours",
        "datasets, lists",
        "datasets, numpy",
        "datasets, torch",
    ]
    assert all(float(row["million tokens/s"]) > 0 for row in results["reading"])
    assert [row["corpus, MB"] for row in results["alone"]] == [0, 2]
    assert [path.name for path in tmp_path.iterdir()] == ["data.json"]
