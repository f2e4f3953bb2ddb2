"""Anyone's code, held against the laws: a function, or the functions of a file."""

import importlib.util
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from torch import nn
from torch.optim import Optimizer

from minitransformer.errors import InputError
from minitransformer.laws.adapters import ADAPTERS, AdaptedModule, module, optimizer
from minitransformer.laws.child import Entry, OutOfTimeError, entries_from_child, time_limit
from minitransformer.laws.claims import CLAIMS, claim_of, known_claim
from minitransformer.laws.guarding import Call
from minitransformer.laws.judging import BROKEN, HELD, NOT_JUDGED, Finding, finding_of, judge_and_remember
from minitransformer.laws.law import Law, laws_of
from minitransformer.laws.recognising import in_words, recognise
from minitransformer.laws.report import Report

Function = Callable[..., Any]
SECONDS_TO_START = 60.0
"""What importing a file may take, beside the time of its laws."""
MOST_TIMEOUTS = 2
"""After so many laws without an answer the others are not tried."""


def check(function: Function | AdaptedModule, claim: str, max_examples: int = 100, seconds: float = 20.0) -> Report:
    """Hold a function against every law of what it claims to be.

    PyTorch or NumPy, with the arguments of our function of that name; an adapter of one line fits others, such as
    `check(adapters.mask_hides(theirs), "attention")`. It runs in a process of its own, with `seconds` for each law and
    4 GiB of memory: accidents stay there, but it is no sandbox.

    Raises: InputError for a claim that nobody knows, and for limits that leave nothing to judge.

    >>> report = check(lambda x: x.exp() / x.exp().sum(-1, keepdim=True), "softmax", max_examples=20)
    >>> report.passed, "a_constant_added_to_all_scores_changes_nothing" in [failure.law for failure in report.failures]
    (False, True)
    """
    require_limits(max_examples, seconds)
    claim = known_claim(claim)
    name = getattr(function, "__name__", type(function).__name__)
    function = as_claimed(function, claim)

    def work(tell: Callable[[Entry], None]) -> None:
        judge_all(claim, function, max_examples, seconds, tell)

    return Report(name, claim, findings_of(laws_of(claim), entries_from_child(work, seconds + SECONDS_TO_START)))


def check_file(
    path: Path,
    claim: str | None = None,
    name: str | None = None,
    adapters: Sequence[str] = (),
    max_examples: int = 100,
    seconds: float = 20.0,
    renames: Sequence[str] = (),
) -> list[Report]:
    """Hold a function or class of a Python file, or each that bears the name of a claim, against its laws.

    The file is imported in the child only. `renames` say what the parameters of a class are called there: `query=w_q`.

    Raises: InputError for a file that cannot be imported, or that lacks what was looked for.
    """
    require_limits(max_examples, seconds)
    theirs = dict(map(names_of_rename, renames))
    if not path.is_file():
        raise InputError(f"there is no file {path}; give the path of a Python file")
    pairs = functions_to_check(path, claim, name)
    unknown = [adapter for adapter in adapters if adapter not in ADAPTERS]
    if unknown:
        raise InputError(f"adapter {unknown[0]!r} is not one of {', '.join(ADAPTERS)}")
    reports = []
    for function_name, function_claim in pairs:

        def work(tell: Callable[[Entry], None], name: str = function_name, claim: str = function_claim) -> None:
            function = getattr(imported(path), name)
            for adapter in adapters:
                function = ADAPTERS[adapter](function)
            function = as_claimed(function, claim, theirs)
            judge_all(claim, function, max_examples, seconds, tell)

        entries = entries_from_child(work, seconds + SECONDS_TO_START)
        reports.append(Report(function_name, function_claim, findings_of(laws_of(function_claim), entries)))
    return reports


def as_claimed(
    function: Function | AdaptedModule, claim: str, theirs: Mapping[str, str] = MappingProxyType({})
) -> Function:
    """The function to ask: a class of modules or of optimizers is asked through an adapter that builds it."""
    if isinstance(function, type) and issubclass(function, nn.Module):
        function = module(function, theirs)
    if isinstance(function, type) and issubclass(function, Optimizer):
        return optimizer(function)
    return function.as_claimed(claim) if isinstance(function, AdaptedModule) else function


def names_of_rename(rename: str) -> tuple[str, str]:
    """Our name and theirs.

    Raises: InputError for what does not say both.

    >>> names_of_rename("query=w_q")
    ('query', 'w_q')
    """
    ours, equals, theirs = rename.partition("=")
    if not (ours and equals and theirs):
        raise InputError(f"rename={rename!r} must be our name, =, and yours, such as query=w_q")
    return ours, theirs


def require_limits(max_examples: int, seconds: float) -> None:
    """Refuse to judge on no case, or in no time.

    >>> require_limits(max_examples=0, seconds=20.0)
    Traceback (most recent call last):
        ...
    minitransformer.errors.InputError: max_examples=0 must be at least 1; 100 cases for each law find most mistakes
    """
    if max_examples < 1:
        raise InputError(f"max_examples={max_examples} must be at least 1; 100 cases for each law find most mistakes")
    if not 0 < seconds < float("inf"):
        raise InputError(f"seconds={seconds} must be positive; 20 for each law are enough for most functions")


def functions_to_check(path: Path, claim: str | None, name: str | None) -> list[tuple[str, str]]:
    """The functions of a file to judge, each with its claim.

    Raises: InputError that says what was looked for and what was found.
    """
    there = names_in(path)
    if name is not None:
        if name not in there:
            raise InputError(f"{path} has no function {name!r}; it has: {', '.join(there) or 'none'}")
        return [(name, known_claim(claim or name))]
    claims = {found: claim_of(found) for found in there}
    wanted = None if claim is None else known_claim(claim)
    pairs = [(found, its) for found, its in claims.items() if its and wanted in (None, its)]
    if not pairs:
        looked_for = f"one that claims to be {wanted!r}" if wanted else f"one named after a claim ({', '.join(CLAIMS)})"
        raise InputError(
            f"{path} has no function to check: looked for {looked_for}, found: {', '.join(there) or 'no function'}; "
            "say --name FUNCTION --claim CLAIM"
        )
    return pairs


def names_in(path: Path) -> list[str]:
    """The public functions and classes that a file defines, found by a child that imports it.

    Raises: InputError in one line if the import fails, ends or hangs.
    """

    def work(tell: Callable[[Entry], None]) -> None:
        try:
            with time_limit(SECONDS_TO_START / 2):
                loaded = imported(path)
        except OutOfTimeError:
            tell({"error": f"importing it takes longer than {SECONDS_TO_START / 2:g} seconds"})
        except BaseException as error:
            line = traceback.extract_tb(error.__traceback__)[-1].lineno
            line = error.lineno if isinstance(error, SyntaxError) else line
            tell({"error": f"line {line}: {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"})
        else:
            own = [name for name, value in vars(loaded).items() if callable(value) and not name.startswith("_")]
            tell({"names": [name for name in own if getattr(loaded, name).__module__ == loaded.__name__]})

    (entry, *_) = entries_from_child(work, SECONDS_TO_START)
    if "names" not in entry:
        raise InputError(f"{path} cannot be imported: {entry.get('error') or entry['ended']}")
    return list(entry["names"])


def imported(path: Path) -> Any:
    """A Python file as a module."""
    specification = importlib.util.spec_from_file_location(path.stem, path)
    if specification is None or specification.loader is None:
        raise ImportError(f"{path} is no Python file")
    loaded = importlib.util.module_from_spec(specification)
    sys.modules.setdefault(loaded.__name__, loaded)  # dataclasses look for their module there
    specification.loader.exec_module(loaded)
    return loaded


def judge_all(claim: str, function: Function, max_examples: int, seconds: float, tell: Callable[[Entry], None]) -> None:
    """Judge by one law after another, and tell each finding at once; at the end, which mistakes were recognised."""
    timeouts = 0
    calls: dict[str, dict[str, Sequence[Call]]] = {BROKEN: {}, HELD: {}, NOT_JUDGED: {}}
    for law in laws_of(claim):
        if timeouts == MOST_TIMEOUTS:
            tell(finding_of(law, NOT_JUDGED, "not tried: laws before it ran out of time").entries())
            continue
        try:
            with time_limit(seconds):
                finding, remembered = judge_and_remember(law, function, max_examples)
                calls[finding.verdict][law.name] = remembered
                tell(finding.entries())
        except OutOfTimeError:
            timeouts += 1
            tell(finding_of(law, NOT_JUDGED, f"no answer within {seconds:g} seconds").entries())
    with suppress(OutOfTimeError), time_limit(seconds):
        for law_name, mutant in recognise(claim, function, calls[BROKEN], calls[HELD]).items():
            tell({"recognised": law_name, "looks_like": in_words(mutant), "mutant": mutant.name})


def findings_of(laws: Sequence[Law], entries: Iterator[Entry]) -> list[Finding]:
    """What the child found; laws that it did not come to are not judged, with its end as the reason."""
    findings: dict[str, Finding] = {}
    reason = "its process ended before"
    for entry in entries:
        if "ended" in entry:
            reason = entry["ended"]
        elif law := entry.pop("recognised", None):
            findings[law] = replace(findings[law], **entry)
        else:
            findings[entry["law"]] = Finding.from_entries(entry)
    return [findings.get(law.name) or finding_of(law, NOT_JUDGED, reason) for law in laws]
