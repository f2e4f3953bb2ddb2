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

from minitransformer.equations import in_torch
from minitransformer.laws.claims import CLAIMS, MAY_DRAW
from minitransformer.laws.guarding import Call, Guarded, NotOfferedError, is_same, tensors_in
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
    mutant: str = ""
    """The mutant of the zoo that answered as the function did, if there is one."""

    def entries(self) -> dict[str, Any]:
        """As JSON takes it."""
        return asdict(self)

    @classmethod
    def from_entries(cls, entries: dict[str, Any]) -> "Finding":
        """From JSON."""
        tables = [Table(**table) for table in entries["counterexample"]]
        return cls(**{**entries, "counterexample": tables})


@dataclass(frozen=True)
class Failure:
    """A case on which a law was broken, how, and what the function was asked and answered."""

    case: Any
    error: Exception
    calls: list[Call]


def judge(law: Law, function: Callable[..., Any], max_examples: int = 100) -> Finding:
    """Look for a case on which the function breaks the law, and make it as small as it still does."""
    return judge_and_remember(law, function, max_examples)[0]


def is_broken(law: Law, function: Callable[..., Any], max_examples: int = 100) -> bool:
    """Whether a case is found on which the function breaks the law, with no time spent on making it smaller."""
    try:
        failures = failures_found(law, guarded(law, function), max_examples, [Phase.generate])
    except Flaky:
        return True
    return bool(failures) and not isinstance(failures[-1].error, NotOfferedError)


def judge_and_remember(
    law: Law, function: Callable[..., Any], max_examples: int = 100
) -> tuple[Finding, Sequence[Call]]:
    """What came of a law, and the function's calls on the first and the smallest case that broke it, or the last."""
    asked = guarded(law, function)
    try:
        failures = failures_found(law, asked, max_examples, [Phase.generate, Phase.shrink])
    except Flaky:
        return finding_of(law, BROKEN, "it broke the law once, and kept it on the same case later"), ()
    if not failures:
        return finding_of(law, HELD), tuple(asked.last_calls)
    if isinstance(failures[-1].error, NotOfferedError):
        return finding_of(law, NOT_JUDGED, str(failures[-1].error)), ()
    smallest = with_smaller_sizes(failures[-1], law, asked)
    finding = finding_of(law, BROKEN, in_words(smallest.error), tables_of(smallest.calls, law.claim))
    return finding, (*failures[0].calls, *smallest.calls)


def guarded(law: Law, function: Callable[..., Any]) -> Guarded:
    """The function as a law asks it."""
    return Guarded(function, CLAIMS[law.claim], law.needs_gradient, may_draw=law.claim in MAY_DRAW)


def failures_found(law: Law, asked: Guarded, max_examples: int, phases: Sequence[Phase]) -> list[Failure]:
    """Every case, in order, on which the function broke the law while one was looked for and made smaller.

    Raises: Flaky if the last of them broke it once, and kept it later.
    """
    failures: list[Failure] = []

    @settings(
        max_examples=max_examples,
        derandomize=True,
        database=None,
        deadline=None,
        phases=phases,
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )
    @given(case=law.cases)
    def check(case: Any) -> None:
        failure = failure_on(case, law, asked)
        if failure is not None:
            failures.append(failure)
            raise failure.error

    try:
        check()
    except Flaky:
        raise
    except Exception:
        if not failures:
            raise
    return failures


def failure_on(case: Any, law: Law, asked: Guarded) -> Failure | None:
    """How the function breaks the law on one case, or None."""
    asked.calls.clear()
    try:
        law.check(asked, case)
    except Exception as error:
        return Failure(case, error, list(asked.calls))
    return None


def with_smaller_sizes(failure: Failure, law: Law, asked: Guarded) -> Failure:
    """Make one size after another as small as it can be while the law is broken in the same way.

    The cases that laws draw have distinct sizes, so that no axis can be taken for another; to be read by a person, a
    case had better be small, and equal sizes do no harm. But ours must keep the law on it: some don't speak about a
    width of 1, say. And a difference that was seen in the digits shown must still be seen.
    """
    ours = guarded(law, CLAIMS[law.claim])
    if not is_dataclass(failure.case) or isinstance(failure.case, type):
        return failure
    for entry in fields(failure.case):
        size = getattr(failure.case, entry.name)
        if entry.name == "seed" or type(size) is not int:
            continue
        for smaller in range(1, size):
            case = replace(failure.case, **{entry.name: smaller})
            found = failure_on(case, law, asked)
            if found is not None and is_as_clear(found.error, failure.error) and failure_on(case, law, ours) is None:
                failure = found
                break
    return failure


def is_as_clear(error: Exception, other: Exception) -> bool:
    """Whether two failures are one, of which the first shows its difference, unless the second doesn't either."""
    return kind_of(error) == kind_of(other) and (shows_a_difference(error) or not shows_a_difference(other))


def shows_a_difference(error: Exception) -> bool:
    """Whether what was found differs from what should be in the digits that are shown.

    >>> shows_a_difference(AssertionError("it should be np.float64(0.12345678) at (0,), but is np.float64(0.12345679)"))
    False
    """
    shown = re.search(r"should be (\S+) .*but is (\S+)$", in_words(error))
    return shown is None or shown[1] != shown[2]


def kind_of(error: Exception) -> tuple[type[Exception], str]:
    """What two failures have in common that are one: the type, and the words before the first number."""
    return type(error), re.split(r"[\d(]", str(error))[0]


def finding_of(law: Law, verdict: str, message: str = "", tables: Sequence[Table] = ()) -> Finding:
    """What is said of a law."""
    known = f"Known mistakes of this kind: {law.kills}"
    return Finding(law.name, law.sentence, equation_of(law), law.hint, known, verdict, message, list(tables))


def equation_of(law: Law) -> str:
    """The equation that a law speaks about; where there is none, what a function of this claim does."""
    if not law.equations:
        return f"{law.claim}: {cleandoc(CLAIMS[law.claim].__doc__ or '').splitlines()[0]}"
    tag = law.equations[0]
    return f"eq:{tag}: {in_torch()[tag].formula}"


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


# The counterexample, as tables


def tables_of(calls: Sequence[Call], claim: str) -> list[Table]:
    """What the function was given in its last calls, and what it gave."""
    axes, shown = axes_of(claim), calls[-MOST_CALLS:]
    tables: list[Table] = []
    before: dict[str, Any] = {}
    for number, call in enumerate(shown, start=1):
        place = f"call {number}: " if len(shown) > 1 else ""
        for name, value in {**call.arguments, "returned": call.result}.items():
            if tensors_in(value) and name in before and name != "returned" and is_same(before[name], value):
                tables.append(Table(f"{place}{name} as before", [], []))
            else:
                tables += table_of(place + name, value, axes.get(name, ""))
        before = call.arguments
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
    """A tensor as tables, one for each example; a list or dictionary as its parts; a number as a title alone."""
    if isinstance(value, dict):
        yield from tables_of_parameters(name, value)
        return
    if isinstance(value, list | tuple) and tensors_in(value):
        for index, part in enumerate(value):
            yield from table_of(f"{name}[{index}]", part, axes)
        return
    if not isinstance(value, Tensor):
        if value is not None:
            yield Table(shorten(f"{name} = {value}", MOST_LETTERS, placeholder=" ..."), [], [])
        return
    yield from tables_of_tensor(name, value.detach(), axes)


def tables_of_tensor(name: str, value: Tensor, axes: str) -> Iterator[Table]:
    """A tensor as tables, one for each example while there is room, and what is left out; one number as a title."""
    if value.numel() == 1:
        yield Table(f"{name} = {in_figures(value.item())}", [], [])
        return
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
    if n_left_out := max(0, len(matrices) - n_shown):
        left_out = "1 more example is" if n_left_out == 1 else f"{n_left_out} more examples are"
        yield Table(f"{name}: {left_out} not shown", [], [])


def tables_of_parameters(name: str, parameters: dict[str, Tensor]) -> Iterator[Table]:
    """Parameters as tables while they can be taken in; of more of them, what they are called and how large they are."""
    if sum(tensor.numel() for tensor in parameters.values()) <= MOST_NUMBERS:
        for parameter, tensor in parameters.items():
            yield from table_of(f"{name}[{parameter!r}]", tensor, "")
        return
    sizes = (f"{parameter} {tuple(tensor.shape)}" for parameter, tensor in parameters.items())
    yield Table(shorten(f"{name}: {', '.join(sizes)}", MOST_LETTERS, placeholder=" ..."), [], [])


def in_figures(entry: float | int | bool) -> str:
    """A number as a reader takes it in.

    >>> in_figures(0.123456), in_figures(True), in_figures(7)
    ('0.1235', 'yes', '7')
    """
    if isinstance(entry, bool):
        return "yes" if entry else "no"
    return f"{entry:.4g}"
