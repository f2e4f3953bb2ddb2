"""The import: nothing that is heavy and seldom needed comes with it, and its benchmark runs."""

import json
import subprocess
import sys
from pathlib import Path

from startup import Measurement, imported_by, measure

HEAVY = ("matplotlib", "hypothesis", "transformers", "tensorboard", "tyro", "pandas", "scipy", "sklearn", "datasets")
HEAVY += ("accelerate", "triton", "beartype", "IPython", "torch._dynamo", "torch._inductor", "minitransformer.laws")
OF_COMMANDS = ("matplotlib", "hypothesis", "minitransformer.laws", "minitransformer.plots")


def test_the_import_loads_nothing_heavy_beside_torch() -> None:
    program = (
        "import sys, torch; before = set(sys.modules); import minitransformer; "
        f"print(*[name for name in {HEAVY!r} if name in set(sys.modules) - before])"
    )
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert loaded.stdout.split() == []


def test_the_command_explains_itself_without_what_draws_and_what_judges() -> None:
    program = (
        "import sys; sys.argv = ['minitransformer', '--help']; from minitransformer import cli\n"
        "try: cli.main()\n"
        "except SystemExit: pass\n"
        f"print('loaded:', *[name for name in {OF_COMMANDS!r} if name in sys.modules])"
    )
    explained = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert explained.stdout.startswith("usage: minitransformer")
    assert explained.stdout.splitlines()[-1] == "loaded:"


def test_the_parts_of_the_import_are_named_with_their_times() -> None:
    times = dict(imported_by())
    assert "minitransformer.attention" in times
    assert "jaxtyping" in times
    assert "torch" not in times
    assert 0 < sum(times.values()) < 30


def test_the_benchmark_runs(tmp_path: Path) -> None:
    measure(Measurement(quick=True, folder=tmp_path))
    written = json.loads((tmp_path / "startup.json").read_text("utf-8"))
    assert [row["seconds"] for row in written["rows"]][1:] == [
        "what the import adds to it",
        "until the first step is done",
    ]
    assert all(check["passed"] for check in written["checks"])
    assert (tmp_path / "startup.png").exists()
