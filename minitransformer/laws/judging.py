"""Judging: a function is held against every law of what it claims to be, and the smallest case it fails on is kept."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from inspect import cleandoc
from textwrap import shorten
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Flaky
from torch import Tensor

from minitransformer.laws.claims import CLAIMS, MAY_DRAW
from minitransformer.laws.guarding import Call, Guarded, NotOfferedError, tensors_in
from minitransformer.laws.law import Law

HELD, BROKEN, NOT_JUDGED = "held", "broken", "not judged"
MOST_NUMBERS = 60
"""Of a larger tensor the first examples are shown: nobody reads more."""
MOST_ROWS, MOST_LETTERS = 20, 300
"""Of a longer tensor or text the beginning is shown."""
MOST_CALLS = 2
"""A law compares what a function says to one case and to another; the last calls show both."""


@dataclass(frozen=True)
class Table:
    """A tensor of the counterexample, as rows and columns with names."""

    title: str
    columns: list[str]
    rows: list[tuple[str, list[str]]]


@dataclass(frozen=True)
class Finding:
    """What came of one law; texts and numbers only, so that it can leave the process it was found in."""

    law: str
    sentence: str
    equation: str
    hint: str
    looks_like: str
    verdict: str
    message: str = ""
    counterexample: list[Table] = field(default_factory=list)

    def entries(self) -> dict[str, Any]:
        """As JSON takes it."""
        return asdict(self)

    @classmethod
    def from_entries(cls, entries: dict[str, Any]) -> "Finding":
        """From JSON."""
        tables = [Table(table["title"], table["columns"], table["rows"]) for table in entries["counterexample"]]
        return cls(**{**entries, "counterexample": tables})


@dataclass(frozen=True)
class Failure:
    """A case on which a law was broken, how, and what the function was asked and answered."""

    case: Any
    error: Exception
    calls: list[Call]


def judge(law: Law, function: Callable[..., Any], max_examples: int = 100) -> Finding:
    """Look for a case on which the function breaks the law, and make it as small as it still does."""
    guarded = Guarded(function, CLAIMS[law.claim], law.needs_gradient, may_draw=law.claim in MAY_DRAW)
    failure: Failure | None = None

    @settings(
        max_examples=max_examples,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate, Phase.shrink],
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )
    @given(case=law.cases)
    def check(case: Any) -> None:
        nonlocal failure
        failure = failure_on(case, law, guarded)
        if failure is not None:
            raise failure.error

    try:
        check()
    except Flaky:
        return finding_of(law, BROKEN, "it broke the law once, and kept it on the same case later")
    except Exception:
        if failure is None:
            raise
        if isinstance(failure.error, NotOfferedError):
            return finding_of(law, NOT_JUDGED, str(failure.error))
        smallest = with_smaller_sizes(failure, law, guarded)
        return finding_of(law, BROKEN, in_words(smallest.error), tables_of(smallest.calls, law.claim))
    return finding_of(law, HELD)


def failure_on(case: Any, law: Law, guarded: Guarded) -> Failure | None:
    """How the function breaks the law on one case, or None."""
    guarded.calls.clear()
    try:
        law.check(guarded, case)
    except Exception as error:
        return Failure(case, error, list(guarded.calls))
    return None


def with_smaller_sizes(failure: Failure, law: Law, guarded: Guarded) -> Failure:
    """Make one size after another as small as it can be while the law is broken in the same way.

    The cases that laws draw have distinct sizes, so that no axis can be taken for another; to be read by a person, a
    case had better be small, and equal sizes do no harm.
    """
    if not is_dataclass(failure.case) or isinstance(failure.case, type):
        return failure
    for entry in fields(failure.case):
        size = getattr(failure.case, entry.name)
        if entry.name == "seed" or type(size) is not int:
            continue
        for smaller in range(1, size):
            found = failure_on(replace(failure.case, **{entry.name: smaller}), law, guarded)
            if found is not None and kind_of(found.error) == kind_of(failure.error):
                failure = found
                break
    return failure


def kind_of(error: Exception) -> tuple[type[Exception], str]:
    """What two failures have in common that are one: the type, and the words before the first number."""
    return type(error), re.split(r"[\d(]", str(error))[0]


def finding_of(law: Law, verdict: str, message: str = "", tables: Sequence[Table] = ()) -> Finding:
    """What is said of a law."""
    return Finding(law.name, law.sentence, equation_of(law), law.hint, law.kills, verdict, message, list(tables))


def equation_of(law: Law) -> str:
    """The equation that a law speaks about; where there is none, what a function of this claim does."""
    if not law.equations:
        return f"{law.claim}: {cleandoc(CLAIMS[law.claim].__doc__ or '').splitlines()[0]}"
    tag = law.equations[0]
    formula = FORMULAS.get(tag, "")
    return f"eq:{tag}: {formula}" if formula else f"eq:{tag}"


def in_words(error: Exception) -> str:
    """What went wrong: the law's own words, without its tolerance, or what the function raised.

    >>> in_words(AssertionError("it should be within c=8 · eps=2e-16 · scale=1 = 2e-15 of np.float64(1.0), but is 2"))
    'it should be 1, but is 2'
    """
    first_line = (str(error).strip() or "without a word").split("\n")[0]
    if not isinstance(error, AssertionError):
        return f"it raised {type(error).__name__}: {first_line}"
    plain = re.sub(r"within c=\S+ · eps=\S+ · scale=\S+ = \S+ of ", "", first_line)
    plain = re.sub(r"np\.float64\(([^)]*)\)", lambda match: f"{float(match[1]):.6g}", plain)
    return re.sub(r", which is \S+ away$", "", plain)


def formulas() -> Iterator[tuple[str, str]]:
    """The tag and the formula of every claim, as our docstrings have them."""
    for ours in CLAIMS.values():
        text = cleandoc(ours.__doc__ or "")
        for tag, formula in re.findall(r"^Equation eq:([a-z0-9-]+):\n((?: {4}.+\n?)+)", text, re.MULTILINE):
            yield tag, " ".join(formula.split())


FORMULAS = dict(formulas())


# The counterexample, as tables


def tables_of(calls: Sequence[Call], claim: str) -> list[Table]:
    """What the function was given in its last calls, and what it gave."""
    axes, shown = axes_of(claim), calls[-MOST_CALLS:]
    tables = []
    for number, call in enumerate(shown, start=1):
        place = f"call {number}: " if len(shown) > 1 else ""
        for name, value in {**call.arguments, "returned": call.result}.items():
            tables += list(table_of(place + name, value, axes.get(name, "")))
    return tables


def axes_of(claim: str) -> dict[str, str]:
    """The letters of the axes of each argument, from the annotations of ours."""
    axes = {}
    for name, annotation in getattr(CLAIMS[claim], "__annotations__", {}).items():
        for part in (annotation, *getattr(annotation, "__args__", ())):
            if hasattr(part, "dim_str"):
                axes["returned" if name == "return" else name] = part.dim_str
    return axes


def table_of(name: str, value: Any, axes: str) -> Iterator[Table]:
    """A tensor as tables, one for each example; a list as its parts; a number as a title alone."""
    if isinstance(value, list | tuple) and tensors_in(value):
        for index, part in enumerate(value):
            yield from table_of(f"{name}[{index}]", part, axes)
        return
    if not isinstance(value, Tensor):
        if value is not None:
            yield Table(shorten(f"{name} = {value}", MOST_LETTERS, placeholder=" ..."), [], [])
        return
    value = value.detach()
    letters = [axis for axis in axes.split() if axis.isalpha()]
    row, column = ["row", "column", *letters][-2:] if len(letters) != 1 else ["row", *letters]
    while value.ndim < 2:
        value = value[None]
    matrices = value.reshape(-1, *value.shape[-2:])
    n_shown = max(1, MOST_NUMBERS // max(1, matrices[0].numel()))
    for number, matrix in enumerate(matrices[:n_shown]):
        place = f" of example {number + 1} of {len(matrices)}" if len(matrices) > 1 else ""
        place += f", the first of {len(matrix)} rows" if len(matrix) > MOST_ROWS else ""
        shown = matrix[:MOST_ROWS, :MOST_ROWS]
        rows = [(f"{row} {i}", [in_figures(entry) for entry in entries]) for i, entries in enumerate(shown.tolist())]
        yield Table(f"{name}{place}", [f"{column} {j}" for j in range(shown.shape[-1])], rows)


def in_figures(entry: float | int | bool) -> str:
    """A number as a reader takes it in.

    >>> in_figures(0.123456), in_figures(True), in_figures(7)
    ('0.1235', 'yes', '7')
    """
    if isinstance(entry, bool):
        return "yes" if entry else "no"
    return f"{entry:.4g}"
