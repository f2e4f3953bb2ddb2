"""All benchmarks one after another, and what became of each.

    python benchmarks/all.py [--quick] [--only pretrain encode]

One that fails does not stop the others; the program ends with 1 if any did.
"""

import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro
from tables import as_table

HERE = Path(__file__).parent
SCRIPTS = (
    "roofline",
    "attention",
    "startup",
    "data",
    "encode",
    "finetune",
    "equations",
    "pretrain",
    "scaling",
    "gpu",
)
"""The floors are measured first, for the others tell their share of them."""
LONGEST = 600
"""Seconds after which a script is taken to hang."""


@dataclass(frozen=True)
class Selection:
    """What to run."""

    only: tuple[str, ...] = SCRIPTS
    """Names of benchmarks."""
    quick: bool = False
    """See that each runs, in seconds, and measure nothing that counts."""


def main(selection: Selection) -> int:
    """Run them, and print a row for each."""
    started = time.perf_counter()
    rows = [run(name, ["--quick"] if selection.quick else []) for name in selection.only]
    rows.append({"benchmark": "together", "ended": "well", "seconds": f"{time.perf_counter() - started:.0f}"})
    print(f"\n{as_table(rows)}")
    return int(any(row["ended"] != "well" for row in rows))


def run(name: str, options: Sequence[str]) -> dict[str, str]:
    """Run one as people do, and say how it ended."""
    print(f"\n== {name}", flush=True)
    started = time.perf_counter()
    try:
        command = [sys.executable, str(HERE / f"{name}.py"), *options]
        code = subprocess.run(command, check=False, timeout=LONGEST).returncode  # noqa: S603 - scripts of this folder
        ended = "well" if code == 0 else f"with {code}"
    except subprocess.TimeoutExpired:
        ended = f"not within {LONGEST} s"
    return {"benchmark": name, "ended": ended, "seconds": f"{time.perf_counter() - started:.0f}"}


if __name__ == "__main__":
    raise SystemExit(main(tyro.cli(Selection)))
