"""The notebooks run from top to bottom, and what is shown on the web is what their sources say."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.py"))


def run_notebooks(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run tools/run_notebooks.py as `make notebooks` does."""
    command = [sys.executable, ROOT / "tools" / "run_notebooks.py", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)


def test_the_first_two_notebooks_are_there() -> None:
    assert [path.name for path in NOTEBOOKS][:2] == ["01_attention.py", "02_every_equation.py"]


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_cell_runs_and_the_written_notebook_is_up_to_date(notebook: Path) -> None:
    finished = run_notebooks("--check", notebook)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert f"{notebook.name}: every cell ran" in finished.stdout


def test_a_failing_cell_is_shown(tmp_path: Path) -> None:
    notebook = tmp_path / "failing.py"
    notebook.write_text("# %%\nx = 1\n\n# %%\nassert x == 2, 'one is not two'\n", "utf-8")
    finished = run_notebooks(notebook)
    assert finished.returncode == 1
    assert "one is not two" in finished.stderr
    assert not notebook.with_suffix(".ipynb").exists()


def test_an_old_notebook_is_named_and_written_anew(tmp_path: Path) -> None:
    notebook = tmp_path / "changing.py"
    notebook.write_text("# %%\n1 + 1\n", "utf-8")
    assert run_notebooks(notebook).returncode == 0
    assert run_notebooks("--check", notebook).returncode == 0
    notebook.write_text("# %%\n1 + 2\n", "utf-8")
    finished = run_notebooks("--check", notebook)
    assert finished.returncode == 1
    assert "changing.ipynb: does not show changing.py as it is now; run make notebooks" in finished.stderr


def test_running_twice_writes_the_same_bytes(tmp_path: Path) -> None:
    notebook = tmp_path / "stable.py"
    notebook.write_text("# %% [markdown]\n# A *sum*.\n\n# %%\nprint(1 + 1)\n", "utf-8")
    written = []
    for _ in range(2):
        assert run_notebooks(notebook).returncode == 0
        written.append(notebook.with_suffix(".ipynb").read_bytes())
    assert written[0] == written[1]
