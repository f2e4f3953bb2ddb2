"""What a benchmark found: where, with which versions, checked how; as JSON, as a table and as a picture.

The form that all benchmarks share. A script checks first that the sides compute the same thing, and then measures:

    results = Results("pretrain", "Pretraining tokens a second")
    results.check("largest difference of the losses", found=3e-7, allowed=1e-5)
    results.require_checks()
    results.add(case="mini, float32", ours=rate(tokens, ours), ratio=ratio(theirs, ours))
    results.finish()
"""

import os
import platform
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from tables import as_table, in_short

from minitransformer import files
from minitransformer.plots.drawing import BLUE, FAINT, INK, ORANGE, plain, png

FOLDER = Path("runs/bench")
"""Where results go unless told otherwise."""
PACKAGES = ("torch", "transformers", "datasets", "numpy")
INSTRUCTION_SETS = ("avx", "avx2", "fma", "avx512f", "avx512_bf16", "amx_bf16", "asimd", "bf16", "sve")
"""Those that matter to matrix multiplication, as Linux spells them."""
COLOURS = (BLUE, ORANGE, INK, FAINT)

Row = dict[str, Any]
Draw = Callable[[Figure], None]


# Where


def this_machine() -> dict[str, Any]:
    """What the times depend on: processor, cores, threads, instruction sets and memory, and the GPU if there is one."""
    known = processor()
    here: dict[str, Any] = {
        "processor": known.get("model name") or platform.processor() or platform.machine(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": torch.get_num_threads(),
        "instruction_sets": instruction_sets(known.get("flags") or known.get("Features") or ""),
        "memory_gib": memory_gib(),
    }
    if torch.cuda.is_available():
        here["gpu"] = torch.cuda.get_device_name()
    return here


def processor() -> dict[str, str]:
    """What Linux says of its first processor; elsewhere nothing."""
    path = Path("/proc/cpuinfo")
    if not path.is_file():
        return {}
    lines = (line.partition(":") for line in path.read_text().split("\n\n")[0].splitlines())
    return {name.strip(): value.strip() for name, _, value in lines}


def instruction_sets(flags: str) -> list[str]:
    """Those of a processor's that matter here.

    >>> instruction_sets("fpu avx avx2 sha_ni")
    ['avx', 'avx2']
    """
    return [name for name in INSTRUCTION_SETS if name in flags.split()]


def memory_gib() -> float:
    """The machine's memory, to a tenth of a GiB."""
    return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)


def these_versions() -> dict[str, str]:
    """The versions of what is compared; what is not installed is not named."""
    found = {"Python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def in_a_sentence(machine: dict[str, Any]) -> str:
    """A machine in words.

    >>> in_a_sentence({"processor": "EPYC", "cores": 2, "threads": 2, "instruction_sets": ["avx2"], "memory_gib": 23.5})
    'EPYC (2 cores, 2 threads, avx2, 23.5 GiB)'
    """
    sets = " ".join(machine["instruction_sets"]) or "no vector instructions known"
    size = f"{machine['cores']} cores, {machine['threads']} threads, {sets}, {machine['memory_gib']} GiB"
    gpu = f"{machine['gpu']}, " if "gpu" in machine else ""
    return f"{gpu}{machine['processor']} ({size})"


# What


@dataclass
class Results:
    """What a benchmark found; `add` rows and `check` before, `finish` at the end.

    A cell of a row may be a text, a count, or what was measured in turns: `spread`, `ratio` and `rate` give that.
    """

    name: str
    title: str
    rows: list[Row] = field(default_factory=list)
    checks: list[Row] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    tables: dict[str, list[Row]] = field(default_factory=dict)
    machine: dict[str, Any] = field(default_factory=this_machine)
    versions: dict[str, str] = field(default_factory=these_versions)

    def check(self, what: str, found: float, allowed: float) -> None:
        """Note how far the sides are apart in something that they have to agree on."""
        self.checks.append({"what": what, "found": found, "allowed": allowed, "passed": bool(found <= allowed)})

    def require_checks(self) -> None:
        """End with 1 and a line for each disagreement: what differs is not worth measuring."""
        failed = [check for check in self.checks if not check["passed"]]
        for check in failed:
            print(
                f"{self.name}: {check['what']}: {check['found']:.1e}, allowed {check['allowed']:.1e}", file=sys.stderr
            )
        if failed:
            raise SystemExit(1)

    def add(self, **row: Any) -> None:
        """Add a row, and print it at once: a benchmark takes minutes."""
        self.rows.append(row)
        print(f"{self.name}: " + ", ".join(f"{name}: {in_short(cell)}" for name, cell in row.items()), flush=True)

    def tabulate(self, sentence: str, rows: list[Row]) -> None:
        """Add a table of its own, below the first one and under a sentence that says what it shows."""
        self.tables[sentence] = rows

    def note(self, sentence: str) -> None:
        """Say something that readers of the figures have to know."""
        self.notes.append(sentence)

    def finish(self, folder: Path = FOLDER, draw: Draw | None = None) -> None:
        """Print the tables, and write `NAME.json` and `NAME.png`; `draw` draws what is no column of ratios."""
        print(f"\n{self.page()}\n", flush=True)
        files.write_json(folder / f"{self.name}.json", asdict(self))
        with files.replacing(folder / f"{self.name}.png") as unfinished:
            unfinished.write_bytes(png(picture(self, draw)))

    @classmethod
    def read(cls, path: Path) -> "Results":
        """What a benchmark wrote.

        Raises: InputError for a file that cannot be read.
        """
        return cls(**files.read_json(path))

    def page(self) -> str:
        """The results as Markdown: table, checks, notes, and where they were measured."""
        parts = [as_table(self.rows) if self.rows else ""]
        for sentence, rows in self.tables.items():
            parts += [sentence, as_table(rows)]
        if self.checks:
            parts.append("Checked first: " + "; ".join(map(in_words, self.checks)) + ".")
        return "\n\n".join(part for part in (*parts, *self.notes, self.where) if part)

    @property
    def where(self) -> str:
        """The machine and the versions in a sentence."""
        names = ", ".join(f"{name} {number}" for name, number in self.versions.items())
        return f"Measured on {in_a_sentence(self.machine)}, with {names}."


def in_words(check: Row) -> str:
    """A check as a reader wants it.

    >>> in_words({"what": "losses", "found": 1e-7, "allowed": 1e-5, "passed": True})
    'losses differ by 1.0e-07 (allowed 1.0e-05)'
    """
    return f"{check['what']} differ by {in_short(float(check['found']))} (allowed {in_short(float(check['allowed']))})"


# The picture


def picture(results: Results, draw: Draw | None = None) -> Figure:
    """What is drawn under the title; bars of every column of ratios, unless something else is to be drawn."""
    figure = Figure(figsize=(8, max(2.5, 0.45 * len(results.rows) + 1.5)), layout="constrained")
    figure.suptitle(results.title, x=0.01, ha="left", color=INK, wrap=True)
    (draw or (lambda where: draw_ratios(where, results.rows)))(figure)
    return figure


def draw_ratios(figure: Figure, rows: list[Row]) -> None:
    """One bar for each ratio, one group for each row, with a line from the lowest turn to the highest."""
    axes = figure.add_subplot()
    plain(axes)
    names = list(dict.fromkeys(name for row in rows for name in row if "over" in name.split()))
    height = 0.8 / max(1, len(names))
    for place, name in enumerate(names):
        shown = [(number, row[name]) for number, row in enumerate(rows) if isinstance(row.get(name), dict)]
        middles = [ratio["median"] for _, ratio in shown]
        reach = [[r["median"] - r["low"] for _, r in shown], [r["high"] - r["median"] for _, r in shown]]
        heights = [number + place * height for number, _ in shown]
        axes.barh(heights, middles, height, xerr=reach, color=COLOURS[place % len(COLOURS)], label=name)
    axes.set_yticks(
        [number + 0.4 - height / 2 for number in range(len(rows))], [str(next(iter(row.values()))) for row in rows]
    )
    axes.invert_yaxis()
    axes.axvline(1, color=FAINT)
    axes.set_xlabel("times as fast (median, lowest and highest turn)")
    if names:
        figure.legend(frameon=False, loc="outside lower left", ncols=3)
