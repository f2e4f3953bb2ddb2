"""What is found: a check for each rung of the ladder, and the diagnosis of them all."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

MARKS = {True: "✓", False: "✗", None: "–"}


@dataclass(frozen=True)
class Check:
    """One rung: whether it holds (None where that can't be told), what was found, what a failure usually means."""

    name: str
    passed: bool | None
    found: str
    means: str

    def __str__(self) -> str:
        line = f"{MARKS[self.passed]} {self.name}: {self.found}"
        return f"{line}\n    Usually: {self.means}" if self.passed is False else line


@dataclass(frozen=True)
class Diagnosis:
    """What came of all checks; printed it is plain text, and `to_json()` is for programs.

    `sweep` has the losses of a few steps at each learning rate, for a picture.
    """

    checks: Sequence[Check]
    sweep: Mapping[float, Sequence[float]]

    @property
    def failures(self) -> list[Check]:
        """The checks that failed, the one to look at first in front."""
        return [check for check in self.checks if check.passed is False]

    @property
    def passed(self) -> bool:
        """Whether no check failed, and at least one could be judged."""
        return not self.failures and any(check.passed for check in self.checks)

    def __str__(self) -> str:
        lines = [str(check) for check in self.checks]
        if self.failures:
            lines += ["", f"Begin with the first ✗, {self.failures[0].name}: those below it often follow from it."]
        return "\n".join(lines)

    def to_json(self) -> str:
        """Everything; a loss that is no number becomes null."""
        sweep = [
            {"rate": rate, "losses": [loss if math.isfinite(loss) else None for loss in losses]}
            for rate, losses in self.sweep.items()
        ]
        entries = {"passed": self.passed, "checks": [asdict(check) for check in self.checks], "sweep": sweep}
        return json.dumps(entries, ensure_ascii=False, indent=2)


class NotJudgedError(Exception):
    """A check cannot tell anything here, and the reason."""


def listed(names: Sequence[str], most: int = 5) -> str:
    """Some names in one line.

    >>> listed(["a", "b", "c"], most=2)
    'a, b and 1 more'
    """
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + rest
