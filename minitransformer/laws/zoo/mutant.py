"""What a mutant is: a function with one mistake in it, what the mistake is, and what it looks like in training."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from inspect import cleandoc, signature
from typing import Any, TypeVar

from minitransformer.errors import InputError
from minitransformer.laws.claims import CLAIMS

Function = TypeVar("Function", bound=Callable[..., Any])
Part = Callable[..., Any]

DIFFICULTIES = ("easy", "medium", "hard")


@dataclass(frozen=True)
class Mutant:
    """A wrong function that claims to be one of ours, and that some law must notice."""

    claim: str
    """What it claims to be."""
    function: Callable[..., Any]
    symptom: str
    """What it looks like to someone who trains a model with it."""
    source: str
    """Where it was found: `owner/repository#number` is an issue or a pull request; empty where it is common lore."""
    difficulty: str
    """How hard it is to see in the code."""

    @property
    def name(self) -> str:
        """The name of its function, which says what is wrong."""
        return self.function.__name__

    @property
    def answer(self) -> str:
        """What is wrong, in a sentence: the first one of its docstring."""
        return " ".join(cleandoc(self.function.__doc__ or "").split("\n\n")[0].split())


ZOO: list[Mutant] = []


def mutant(claim: str, *, symptom: str, source: str = "", difficulty: str = "medium") -> Callable[[Function], Function]:
    """Enter a function into the zoo; it stays an ordinary function.

    Raises: InputError for a claim that no law speaks about, and for a difficulty that does not exist.

    >>> mutant("attenton", symptom="The loss stays where it is.")
    Traceback (most recent call last):
        ...
    minitransformer.errors.InputError: claim='attenton' is none of the claims that laws speak about; \
minitransformer.laws.CLAIMS lists them
    """
    if claim not in CLAIMS:
        raise InputError(
            f"claim={claim!r} is none of the claims that laws speak about; minitransformer.laws.CLAIMS lists them"
        )
    if difficulty not in DIFFICULTIES:
        raise InputError(f"difficulty={difficulty!r} is not one of {', '.join(DIFFICULTIES)}; choose one of them")

    def enter(function: Function) -> Function:
        ZOO.append(Mutant(claim, function, symptom, source, difficulty))
        return function

    return enter


def part_of(build: Callable[[Part], Part], ours: Part) -> Callable[[Part], Part]:
    """Build a whole function around a part; it has the name, the docstring and the source of the part."""

    def around(part: Part) -> Part:
        whole = wraps(part)(build(part))
        whole.__signature__ = signature(ours)  # type: ignore[attr-defined] # else it is that of the part
        return whole

    return around
