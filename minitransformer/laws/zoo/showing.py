"""The zoo to walk through: each mutant by its number, so that its name does not give the mistake away."""

import ast
import difflib
from inspect import getsource
from textwrap import dedent, fill

from minitransformer.errors import InputError
from minitransformer.laws.law import laws_of
from minitransformer.laws.zoo.matrix import kills
from minitransformer.laws.zoo.mutant import ZOO, Mutant

MAX_EXAMPLES = 50


def listing() -> str:
    """A line for each mutant: its number, what it claims to be, how hard it is to see, and what it looks like."""
    return "\n".join(
        f"{number:4}  {mutant.claim:27}{mutant.difficulty:8}{mutant.symptom}"
        for number, mutant in enumerate(ZOO, start=1)
    )


def specimen(wanted: str) -> str:
    """The code of a mutant, under the name that it claims, with the question what is wrong.

    Raises: InputError for a mutant that does not exist.
    """
    mutant = find_mutant(wanted)
    return f"{as_claimed(mutant)}\n\nIn training: {mutant.symptom}\nWhat is wrong, and which law would notice it?"


def answer(wanted: str) -> str:
    """What is wrong with a mutant, and the laws that kill it.

    Raises: InputError for a mutant that does not exist.
    """
    mutant = find_mutant(wanted)
    killed = kills(mutant, MAX_EXAMPLES)
    lines = [f"{mutant.name}, which claims to be {mutant.claim}", "", fill(mutant.answer, 100)]
    lines += [f"In training: {mutant.symptom}", *([f"Found in: {mutant.source}"] if mutant.source else [])]
    lines += ["", "Killed by:"]
    return "\n".join(lines + [f"  {law.sentence}" for law in laws_of(mutant.claim) if killed[law.name]])


def find_mutant(wanted: str) -> Mutant:
    """A mutant by its number in the listing, or by its name.

    Raises: InputError that names the nearest.
    """
    if wanted.isdigit():
        if not 1 <= int(wanted) <= len(ZOO):
            raise InputError(f"there is no mutant {wanted}; the zoo has 1 to {len(ZOO)}")
        return ZOO[int(wanted) - 1]
    by_name = {mutant.name: mutant for mutant in ZOO}
    if wanted not in by_name:
        nearest = difflib.get_close_matches(wanted, by_name, n=1, cutoff=0.5)
        suggestion = f"did you mean {nearest[0]!r}? " if nearest else ""
        raise InputError(f"no mutant is called {wanted!r}; {suggestion}`minitransformer zoo list` shows them by number")
    return by_name[wanted]


def as_claimed(mutant: Mutant) -> str:
    """The source of a mutant without its entry in the zoo and its docstring, under the name of what it claims to be.

    Other decorators stay: they say which part of the whole function is shown.
    """
    (function,) = ast.parse(dedent(getsource(mutant.function))).body
    if not isinstance(function, ast.FunctionDef):
        raise InputError(f"{mutant.name} is no plain function; only functions can be shown")
    function.name = mutant.claim.replace("-", "_")
    function.decorator_list = [
        decorator for decorator in function.decorator_list if not ast.unparse(decorator).startswith("mutant(")
    ]
    function.body = function.body[1:]
    return ast.unparse(function)
