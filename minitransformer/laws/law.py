"""What a law is: a sentence that holds whatever the numbers are, and the check that finds out."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from inspect import cleandoc
from typing import Any

from hypothesis.strategies import SearchStrategy

Check = Callable[..., None]


@dataclass(frozen=True)
class Law:
    """A sentence about every function that claims to be the same thing.

    `check(function, case)` raises an AssertionError, in words, where the function breaks the law; `cases` draws cases.
    """

    claim: str
    """What a function has to claim to be, for the law to speak about it."""
    check: Check
    cases: SearchStrategy[Any]
    equations: tuple[str, ...]
    needs_gradient: bool = False
    """Whether the law speaks about derivatives, which a NumPy function doesn't have."""

    @property
    def name(self) -> str:
        """The name of its check, which reads as a sentence too."""
        return self.check.__name__

    @property
    def sentence(self) -> str:
        """What must hold."""
        return " ".join(self.text.split("\n\n")[0].split())

    @property
    def kills(self) -> str:
        """The classic mistakes that it notices."""
        return self.paragraph("Kills")

    @property
    def hint(self) -> str:
        """A question that leads to the mistake without naming it."""
        return self.paragraph("Hint")

    @property
    def text(self) -> str:
        """The docstring of the check."""
        return cleandoc(self.check.__doc__ or "")

    def paragraph(self, name: str) -> str:
        """The paragraph that begins with a name and a colon, on one line."""
        match = re.search(rf"^{name}: (.*?)(?=\n\w+: |\n\s*\n|\Z)", self.text, re.MULTILINE | re.DOTALL)
        return " ".join(match[1].split()) if match else ""


CATALOGUE: list[Law] = []


def law(
    claim: str, given: SearchStrategy[Any], equations: tuple[str, ...] | None = None, needs_gradient: bool = False
) -> Callable[[Check], Check]:
    """Enter a check into the catalogue, as a law about whatever claims to be this; it stays an ordinary function.

    The docstring's first sentence is the law; `Kills:` names mistakes, and `Hint:` asks a question. The equation is the
    one that bears the claim's name, unless others are given, or `()` for what has none.
    """

    def enter(check: Check) -> Check:
        tags = (claim,) if equations is None else equations
        CATALOGUE.append(Law(claim, check, given, tags, needs_gradient))
        return check

    return enter
