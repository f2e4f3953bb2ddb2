"""Anyone's code, held against the laws: a function, or the functions of a file."""

import difflib
import importlib.util
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from minitransformer.errors import InputError
from minitransformer.laws.adapters import ADAPTERS
from minitransformer.laws.child import Entry, OutOfTimeError, entries_from_child, time_limit
from minitransformer.laws.claims import CLAIMS
from minitransformer.laws.judging import NOT_JUDGED, Finding, finding_of, judge
from minitransformer.laws.law import CATALOGUE, Law
from minitransformer.laws.report import Report

Function = Callable[..., Any]
SYNONYMS = {"scaled-dot-product-attention": "attention"}
SECONDS_TO_START = 60.0
"""What importing a file may take, beside the time of its laws."""
MOST_TIMEOUTS = 2
"""After so many laws without an answer the others are not tried."""


def check(function: Function, claim: str, max_examples: int = 100, seconds: float = 20.0) -> Report:
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
    laws = laws_of(claim)
    name = getattr(function, "__name__", type(function).__name__)

    def work(tell: Callable[[Entry], None]) -> None:
        judge_all(laws, function, max_examples, seconds, tell)

    return Report(name, claim, findings_of(laws, entries_from_child(work, seconds + SECONDS_TO_START)))


def check_file(
    path: Path,
    claim: str | None = None,
    name: str | None = None,
    adapters: Sequence[str] = (),
    max_examples: int = 100,
    seconds: float = 20.0,
) -> list[Report]:
    """Hold a function of a Python file, or each that bears the name of a claim, against its laws.

    The file is imported in the child only.

    Raises: InputError for a file that cannot be imported, or that lacks what was looked for.
    """
    require_limits(max_examples, seconds)
    if not path.is_file():
        raise InputError(f"there is no file {path}; give the path of a Python file")
    pairs = functions_to_check(path, claim, name)
    unknown = [adapter for adapter in adapters if adapter not in ADAPTERS]
    if unknown:
        raise InputError(f"adapter {unknown[0]!r} is not one of {', '.join(ADAPTERS)}")
    reports = []
    for function_name, function_claim in pairs:
        laws = laws_of(function_claim)

        def work(tell: Callable[[Entry], None], name: str = function_name, laws: list[Law] = laws) -> None:
            function = getattr(imported(path), name)
            for adapter in adapters:
                function = ADAPTERS[adapter](function)
            judge_all(laws, function, max_examples, seconds, tell)

        entries = entries_from_child(work, seconds + SECONDS_TO_START)
        reports.append(Report(function_name, function_claim, findings_of(laws, entries)))
    return reports


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
                module = imported(path)
        except OutOfTimeError:
            tell({"error": f"importing it takes longer than {SECONDS_TO_START / 2:g} seconds"})
        except BaseException as error:
            line = traceback.extract_tb(error.__traceback__)[-1].lineno
            line = error.lineno if isinstance(error, SyntaxError) else line
            tell({"error": f"line {line}: {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"})
        else:
            own = [name for name, value in vars(module).items() if callable(value) and not name.startswith("_")]
            tell({"names": [name for name in own if getattr(module, name).__module__ == module.__name__]})

    (entry, *_) = entries_from_child(work, SECONDS_TO_START)
    if "names" not in entry:
        raise InputError(f"{path} cannot be imported: {entry.get('error') or entry['ended']}")
    return list(entry["names"])


def imported(path: Path) -> Any:
    """A Python file as a module."""
    specification = importlib.util.spec_from_file_location(path.stem, path)
    if specification is None or specification.loader is None:
        raise ImportError(f"{path} is no Python file")
    module = importlib.util.module_from_spec(specification)
    sys.modules.setdefault(module.__name__, module)  # dataclasses look for their module there
    specification.loader.exec_module(module)
    return module


def claim_of(name: str) -> str | None:
    """The claim that a function's name makes.

    >>> claim_of("scaled_dot_product_attention"), claim_of("my_helper")
    ('attention', None)
    """
    tag = name.replace("_", "-")
    tag = SYNONYMS.get(tag, tag)
    return tag if tag in CLAIMS else None


def known_claim(claim: str) -> str:
    """A claim by its name, with hyphens or underscores.

    Raises: InputError that names the nearest one.

    >>> known_claim("layer_norm")
    'layer-norm'
    """
    found = claim_of(claim)
    if found is None:
        nearest = difflib.get_close_matches(claim.replace("_", "-"), CLAIMS, n=1, cutoff=0.5)
        suggestion = f"did you mean {nearest[0]!r}? " if nearest else ""
        raise InputError(f"no function can claim to be {claim!r}; {suggestion}there are: {', '.join(CLAIMS)}")
    return found


def laws_of(claim: str) -> list[Law]:
    """All laws about what claims to be this."""
    return [law for law in CATALOGUE if law.claim == claim]


def judge_all(
    laws: Sequence[Law], function: Function, max_examples: int, seconds: float, tell: Callable[[Entry], None]
) -> None:
    """Judge by one law after another, and tell each finding at once."""
    timeouts = 0
    for law in laws:
        if timeouts == MOST_TIMEOUTS:
            tell(finding_of(law, NOT_JUDGED, "not tried: laws before it ran out of time").entries())
            continue
        try:
            with time_limit(seconds):
                tell(judge(law, function, max_examples).entries())
        except OutOfTimeError:
            timeouts += 1
            tell(finding_of(law, NOT_JUDGED, f"no answer within {seconds:g} seconds").entries())


def findings_of(laws: Sequence[Law], entries: Iterator[Entry]) -> list[Finding]:
    """What the child found; laws that it did not come to are not judged, with its end as the reason."""
    findings: list[Finding] = []
    reason = "its process ended before"
    for entry in entries:
        if "ended" in entry:
            reason = entry["ended"]
        else:
            findings.append(Finding.from_entries(entry))
    return findings + [finding_of(law, NOT_JUDGED, reason) for law in laws[len(findings) :]]
