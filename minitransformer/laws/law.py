"""What a law is: a sentence that holds whatever the numbers are, and the check that finds out."""

from collections.abc import Callable
from dataclasses import dataclass
from inspect import cleandoc, getdoc
from typing import Any

from hypothesis.strategies import SearchStrategy

from minitransformer.equations import in_torch, paragraph
from minitransformer.laws.claims import CLAIMS

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
        return paragraph(self.text, "Kills")

    @property
    def hint(self) -> str:
        """A question that leads to the mistake without naming it."""
        return paragraph(self.text, "Hint")

    @property
    def source(self) -> str:
        """Who says so: its own source, or else that of its equations, or that of what it speaks about."""
        own = paragraph(self.text, "Source")
        of_equations = dict.fromkeys(in_torch()[tag].source for tag in self.equations)
        return own or " ".join(of_equations) or paragraph(getdoc(CLAIMS[self.claim]) or "", "Source")

    @property
    def text(self) -> str:
        """The docstring of the check."""
        return cleandoc(self.check.__doc__ or "")


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


def laws_of(claim: str) -> list[Law]:
    """All laws about what claims to be this."""
    return [law for law in CATALOGUE if law.claim == claim]
