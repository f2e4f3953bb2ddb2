# Needs Python 3.11 or later and make, nothing else: the first target sets up .venv with the versions of constraints.txt.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
# One thread per worker: two workers with two threads each would fight for two cores.
ONE_THREAD := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1

.PHONY: help demo test check format docs notebooks zoo bench clean

help:
	@echo "make demo       pretrain a small BERT, fine-tune it, and write runs/demo/report.html"
	@echo "make test       run all tests"
	@echo "make check      formatting, lint, types, import contracts, equation tags"
	@echo "make format     put the code into the project's format"
	@echo "make docs       write the generated pages anew: docs/equations.md, docs/laws.md"
	@echo "make notebooks  run the notebooks and write their .ipynb files"
	@echo "make zoo        hold every classic mistake against every law, and write docs/zoo.md"
	@echo "make bench      measure all that is said to be fast, side by side with others, in about 15 minutes"
	@echo "make clean      remove .venv and the caches"

demo: .venv/runtime.stamp
	$(BIN)/minitransformer demo

test: .venv/developer.stamp
	$(ONE_THREAD) $(BIN)/python -m pytest -n 2 --dist worksteal

check: .venv/developer.stamp
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/mypy tools
	$(BIN)/lint-imports
	$(BIN)/python tools/check_equations.py

format: .venv/developer.stamp
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: .venv/developer.stamp
	$(BIN)/python tools/check_equations.py --write

notebooks: .venv/developer.stamp
	$(ONE_THREAD) $(BIN)/python tools/run_notebooks.py

zoo: .venv/developer.stamp
	$(ONE_THREAD) $(BIN)/python -m minitransformer.laws.zoo docs/zoo.md

bench: .venv/developer.stamp
	$(BIN)/python benchmarks/all.py

clean:
	rm -rf .venv build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis

.venv/bin/python:
	@test -n "$(PYTHON)" || { echo "error: no python3.11 or python3 found; install Python 3.11, or say make PYTHON=..."; exit 2; }
	@"$(PYTHON)" -c "import sys; sys.exit(sys.version_info < (3, 11))" || \
		{ echo "error: $(PYTHON) is no Python 3.11 or later; install Python 3.11, or say make PYTHON=..."; exit 2; }
	"$(PYTHON)" -m venv .venv || { rm -rf .venv; exit 2; }

.venv/runtime.stamp: pyproject.toml constraints.txt | .venv/bin/python
	$(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt -e .
	@touch $@

.venv/developer.stamp: pyproject.toml constraints.txt | .venv/bin/python
	$(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt -e '.[test,check,notebooks]'
	@touch $@ .venv/runtime.stamp
