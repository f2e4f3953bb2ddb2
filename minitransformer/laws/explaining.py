"""One equation with everything that belongs to it, for a reader in a terminal."""

import difflib
import re
from collections.abc import Callable, Iterator
from inspect import cleandoc, getsourcefile, getsourcelines, unwrap
from pathlib import Path
from textwrap import indent
from types import ModuleType
from typing import Any

from minitransformer import reference
from minitransformer.errors import InputError
from minitransformer.laws.claims import CLAIMS
from minitransformer.laws.law import CATALOGUE


def explain(tag: str) -> str:
    """The formula, its source, where it stands in PyTorch and in NumPy, and the laws that hold for it.

    Raises: InputError that names the nearest equation.

    >>> print(explain("relu").splitlines()[0])
    eq:relu: Keep what is positive.
    """
    tag = tag.removeprefix("eq:").replace("_", "-")
    if tag not in CLAIMS:
        nearest = difflib.get_close_matches(tag, CLAIMS, n=1, cutoff=0.5)
        suggestion = f"did you mean {nearest[0]!r}? " if nearest else ""
        raise InputError(f"no equation is called {tag!r}; {suggestion}there are: {', '.join(CLAIMS)}")
    text = cleandoc(CLAIMS[tag].__doc__ or "")
    lines = [f"eq:{tag}: {text.splitlines()[0]}", "", indent(formula_of(text), "    "), ""]
    lines += [f"Source: {paragraph_of(text, 'Source')}", f"PyTorch: {place_of(CLAIMS[tag])}"]
    lines += [f"NumPy: {place_of(twin)}" for twin in twins_of(CLAIMS[tag])]
    lines += ["", "Laws:"]
    lines += [f"  {law.sentence}\n    notices: {law.kills}" for law in CATALOGUE if law.claim == tag]
    return "\n".join(lines)


def formula_of(text: str) -> str:
    """The formula of a docstring.

    >>> formula_of("Words.\\n\\nEquation eq:x:\\n    x = 1\\n\\nMore words.")
    'x = 1'
    """
    match = re.search(r"^Equation eq:[a-z0-9-]+:\n((?: {4}.+\n?)+)", text, re.MULTILINE)
    return cleandoc(match[1]) if match else ""


def paragraph_of(text: str, name: str) -> str:
    """The paragraph that begins with a name, on one line."""
    match = re.search(rf"^{name}: (.*?)(?:\n\s*\n|\Z)", text, re.MULTILINE | re.DOTALL)
    return " ".join(match[1].split()) if match else ""


def place_of(function: Callable[..., Any]) -> str:
    """Where a function is written, as editors open it."""
    original = unwrap(function)
    file = Path(getsourcefile(original) or "")
    package = Path(reference.__file__).parents[2]
    return f"{file.relative_to(package)}:{getsourcelines(original)[1]}"


def twins_of(function: Callable[..., Any]) -> Iterator[Callable[..., Any]]:
    """The function of the same file and name in the reference, if there is one."""
    module: ModuleType | None = getattr(reference, function.__module__.rpartition(".")[2], None)
    if module is not None and hasattr(module, function.__name__):
        yield getattr(module, function.__name__)
