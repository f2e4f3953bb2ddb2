"""The report: which laws a function kept, and for each one it broke the smallest case, the law, and a question."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from html import escape
from typing import Any

from minitransformer.laws.judging import BROKEN, HELD, NOT_JUDGED, Finding, Table

MARKS = {HELD: "✓", BROKEN: "✗", NOT_JUDGED: "–"}
SAME_MISTAKE = "Looks like the same mistake."


@dataclass(frozen=True)
class Report:
    """What came of all laws about one function.

    Printed it is plain text, in a notebook a page, and `to_json()` is for graders.
    """

    name: str
    claim: str
    findings: Sequence[Finding]

    @property
    def failures(self) -> list[Finding]:
        """The laws that were broken."""
        return self.with_verdict(BROKEN)

    @property
    def failures_to_read(self) -> list[Finding]:
        """The laws that were broken; what one looks like is not said again right after another of the kind."""
        return [
            replace(finding, looks_like=SAME_MISTAKE) if before and before.mutant == finding.mutant != "" else finding
            for before, finding in zip([None, *self.failures], self.failures, strict=False)
        ]

    @property
    def not_judged(self) -> list[Finding]:
        """The laws that count neither as held nor as broken, with the reason."""
        return self.with_verdict(NOT_JUDGED)

    @property
    def passed(self) -> bool:
        """Whether no law was broken, and at least one could be judged."""
        return not self.failures and bool(self.with_verdict(HELD))

    def with_verdict(self, verdict: str) -> list[Finding]:
        """The findings of one kind."""
        return [finding for finding in self.findings if finding.verdict == verdict]

    @property
    def summary(self) -> str:
        """One line."""
        counts = [f"{len(self.with_verdict(verdict))} {verdict}" for verdict in (HELD, BROKEN)]
        counts += [f"{len(self.not_judged)} not judged"] if self.not_judged else []
        return f"{self.name}, judged as {self.claim}: {', '.join(counts)}"

    @property
    def obstacle(self) -> str:
        """The one reason for which no law could be judged, if it is one."""
        reasons = {finding.message for finding in self.not_judged}
        return reasons.pop() if len(reasons) == 1 and len(self.not_judged) == len(self.findings) else ""

    def reason_of(self, finding: Finding) -> str:
        """Why a law was not judged, unless it is said once for all."""
        is_said_here = finding.verdict == NOT_JUDGED and not self.obstacle
        return f" (not judged: {finding.message})" if is_said_here else ""

    def __str__(self) -> str:
        lines = [self.summary, *([f"Nothing was judged: {self.obstacle}"] if self.obstacle else []), ""]
        lines += [f"{MARKS[finding.verdict]} {finding.sentence}{self.reason_of(finding)}" for finding in self.findings]
        for finding in self.failures_to_read:
            lines += ["", "─" * 80, *failure_lines(finding)]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td>{MARKS[finding.verdict]}</td><td>{escape(finding.sentence + self.reason_of(finding))}</td></tr>"
            for finding in self.findings
        )
        details = "".join(failure_html(finding) for finding in self.failures_to_read)
        obstacle = f"<p>Nothing was judged: {escape(self.obstacle)}</p>" if self.obstacle else ""
        return f"<p><b>{escape(self.summary)}</b></p>{obstacle}<table>{rows}</table>{details}"

    def entries(self) -> dict[str, Any]:
        """Everything, as JSON takes it."""
        findings = [finding.entries() for finding in self.findings]
        return {"name": self.name, "claim": self.claim, "passed": self.passed, "findings": findings}

    def to_json(self) -> str:
        """Everything, for a program."""
        return json.dumps(self.entries(), ensure_ascii=False, indent=2)


def failure_lines(finding: Finding) -> list[str]:
    """One broken law, to read in a terminal."""
    equation = finding.equation.replace("\n", "\n    ")
    lines = [f"✗ {finding.sentence}", f"  {equation}", "", f"  Found: {finding.message}"]
    if finding.counterexample:
        lines += ["", "  On the smallest case that shows it:"]
        for table in finding.counterexample:
            lines += ["", *(f"    {line}" for line in table_lines(table))]
    return [*lines, "", f"  Think: {finding.hint}", f"  {finding.looks_like}"]


def table_lines(table: Table) -> list[str]:
    """A table in columns as wide as they need to be.

    >>> table_lines(Table("query", ["K 0"], [("L 0", ["0.5"]), ("L 1", ["12"])]))
    ['query', '     K 0', 'L 0  0.5', 'L 1   12']
    """
    grid = [["", *table.columns], *([name, *numbers] for name, numbers in table.rows)]
    if len(grid) == 1:
        return [table.title]
    widths = [max(len(row[column]) for row in grid) for column in range(len(grid[0]))]
    first, *others = widths
    return [table.title] + [
        "  ".join([row[0].ljust(first), *(entry.rjust(width) for entry, width in zip(row[1:], others, strict=True))])
        for row in grid
    ]


def failure_html(finding: Finding) -> str:
    """One broken law, to read in a notebook."""
    tables = "".join(table_html(table) for table in finding.counterexample)
    return (
        f"<hr><p><b>✗ {escape(finding.sentence)}</b></p><pre>{escape(finding.equation)}</pre>"
        f"<p>Found: {escape(finding.message)}</p>"
        + (f"<p>On the smallest case that shows it:</p>{tables}" if tables else "")
        + f"<p><i>{escape(finding.hint)}</i></p><p>{escape(finding.looks_like)}</p>"
    )


def table_html(table: Table) -> str:
    """A table with its title above it."""
    head = "".join(f"<th>{escape(column)}</th>" for column in table.columns)
    rows = "".join(
        f"<tr><th>{escape(name)}</th>{''.join(f'<td>{number}</td>' for number in numbers)}</tr>"
        for name, numbers in table.rows
    )
    return f"<table><caption>{escape(table.title)}</caption><tr><th></th>{head}</tr>{rows}</table>"
