"""Runs the notebooks, and writes what they show beside their sources.

- `python tools/run_notebooks.py` runs notebooks/*.py and writes each .ipynb
- `python tools/run_notebooks.py --check` runs them, writes nothing, and fails on an error or an old .ipynb
- `python tools/run_notebooks.py notebooks/01_attention.py` does the same for one of them
"""

import argparse
import os
import sys
from pathlib import Path

import jupytext
import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbformat import NotebookNode

NOTEBOOKS = Path(__file__).resolve().parent.parent / "notebooks"
SECONDS = 120
"""How long one cell may take."""


def read_source(source: Path) -> NotebookNode:
    """The cells of a py:percent file, numbered, with metadata that stays the same from run to run."""
    notebook: NotebookNode = jupytext.read(source)
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number}"
        cell.metadata = {}
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook.metadata = NotebookNode(kernelspec=kernel, language_info={"name": "python"})
    return notebook


def execute(source: Path) -> NotebookNode:
    """Run every cell of a notebook in a fresh kernel.

    Raises: CellExecutionError for the first cell that fails.
    """
    notebook = read_source(source)
    NotebookClient(
        notebook,
        timeout=SECONDS,
        kernel_name="python3",
        record_timing=False,
        extra_arguments=["--log-level=ERROR"],
        resources={"metadata": {"path": str(source.parent)}},
    ).execute()
    notebook.metadata.language_info = {"name": "python"}
    return notebook


def is_old(written: Path, notebook: NotebookNode) -> bool:
    """Whether the cells on disk are not those of the source."""
    if not written.exists():
        return True
    on_disk = nbformat.read(written, as_version=4)
    return [cell.source for cell in on_disk.cells] != [cell.source for cell in notebook.cells]


def run(source: Path, check: bool) -> str | None:
    """Run one notebook and write it, or compare it; what is wrong, if anything."""
    written = source.with_suffix(".ipynb")
    try:
        notebook = execute(source)
    except CellExecutionError as error:
        return f"{source.name}: a cell failed\n{error}"
    if not check:
        nbformat.write(notebook, written)
    elif is_old(written, notebook):
        return f"{written.name}: does not show {source.name} as it is now; run make notebooks"
    return None


def main(arguments: list[str] | None = None) -> int:
    """Run the notebooks; 1 if one of them fails."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("sources", nargs="*", type=Path, help="the py:percent files to run; all of notebooks/ if none")
    parser.add_argument("--check", action="store_true", help="write nothing; fail on an error or an old .ipynb")
    chosen = parser.parse_args(arguments)
    os.environ["PYDEVD_DISABLE_FILE_VALIDATION"] = "1"  # otherwise the kernel warns about its debugger
    problems = []
    for source in chosen.sources or sorted(NOTEBOOKS.glob("*.py")):
        problem = run(source.resolve(), chosen.check)
        print(problem or f"{source.name}: every cell ran", file=sys.stderr if problem else sys.stdout)
        problems += [problem] if problem else []
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
