"""The notebooks run from top to bottom, and what is shown on the web is what their sources say."""

from collections.abc import Callable
from pathlib import Path

import pytest
import run_notebooks

ROOT = Path(__file__).parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.py"))


Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run tools/run_notebooks.py as `make notebooks` does: how it ended, what it printed, and what it complained of."""
    monkeypatch.setenv("PYDEVD_DISABLE_FILE_VALIDATION", "1")  # which it sets itself, and which is taken back here

    def told(*arguments: str | Path) -> tuple[int, str, str]:
        code = run_notebooks.main([str(argument) for argument in arguments])
        return code, *capsys.readouterr()

    return told


def test_the_first_two_notebooks_are_there() -> None:
    assert [path.name for path in NOTEBOOKS][:2] == ["01_attention.py", "02_every_equation.py"]


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_cell_runs_and_the_written_notebook_is_up_to_date(run: Run, notebook: Path) -> None:
    assert run("--check", notebook) == (0, f"{notebook.name}: every cell ran\n", "")


def test_a_failing_cell_is_shown(run: Run, tmp_path: Path) -> None:
    notebook = tmp_path / "failing.py"
    notebook.write_text("# %%\nx = 1\n\n# %%\nassert x == 2, 'one is not two'\n", "utf-8")
    code, _, complaint = run(notebook)
    assert code == 1
    assert "one is not two" in complaint
    assert not notebook.with_suffix(".ipynb").exists()


def test_an_old_notebook_is_named_and_written_anew(run: Run, tmp_path: Path) -> None:
    notebook = tmp_path / "changing.py"
    notebook.write_text("# %%\n1 + 1\n", "utf-8")
    assert run(notebook)[0] == 0
    assert run("--check", notebook)[0] == 0
    notebook.write_text("# %%\n1 + 2\n", "utf-8")
    complaint = "changing.ipynb: does not show changing.py as it is now; run make notebooks\n"
    assert run("--check", notebook) == (1, "", complaint)


def test_running_twice_writes_the_same_bytes(run: Run, tmp_path: Path) -> None:
    notebook = tmp_path / "stable.py"
    notebook.write_text("# %% [markdown]\n# A *sum*.\n\n# %%\nprint(1 + 1)\n", "utf-8")
    written = []
    for _ in range(2):
        assert run(notebook)[0] == 0
        written.append(notebook.with_suffix(".ipynb").read_bytes())
    assert written[0] == written[1]
