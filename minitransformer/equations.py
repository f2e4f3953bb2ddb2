"""What the docstrings say about each equation, and where it stands. Sources are read as text, never imported."""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from inspect import cleandoc
from pathlib import Path

PACKAGE = Path(__file__).parent
BLOCK = re.compile(r"^(?:Equation eq|Gradient grad):(?P<tag>[a-z0-9-]+):\n(?P<formula>(?: {4}.+\n?)*)", re.MULTILINE)
PARAGRAPH = re.compile(r"^(?:Source|Kills|Hint|Raises|Args):\s", re.MULTILINE)
MENTION = re.compile(r"\beq:([a-z0-9][a-z0-9-]*)")


@dataclass(frozen=True)
class Equation:
    """One docstring's account of an equation, or of its gradient."""

    tag: str
    title: str
    formula: str
    source: str
    name: str
    """The function or class that computes it."""
    path: str
    """Its file, from the folder that holds the package."""
    line: int
    is_gradient: bool = False

    @property
    def place(self) -> str:
        """Where it stands, as editors open it."""
        return f"{self.path}:{self.line}"

    @property
    def is_in_reference(self) -> bool:
        """Whether it is written in NumPy."""
        return "reference" in Path(self.path).parts


@cache
def in_torch() -> dict[str, Equation]:
    """Every equation as PyTorch has it, by its tag.

    >>> in_torch()["relu"].formula
    'ReLU(x) = max(0, x)'
    """
    return {each.tag: each for each in read_package(PACKAGE) if not each.is_gradient and not each.is_in_reference}


@cache
def in_numpy() -> dict[str, Equation]:
    """Every equation as NumPy has it, by its tag.

    >>> in_numpy()["relu"].path
    'minitransformer/reference/feed_forward.py'
    """
    return {each.tag: each for each in read_package(PACKAGE) if not each.is_gradient and each.is_in_reference}


def read_package(package: Path) -> Iterator[Equation]:
    """Every equation and gradient of a package; its laws speak about equations, and state none."""
    for file in sorted(package.rglob("*.py")):
        if package / "laws" not in file.parents:
            yield from equations_in(file.read_text("utf-8"), file.relative_to(package.parent).as_posix())


def equations_in(source: str, path: str) -> Iterator[Equation]:
    """The equations and gradients in the docstrings of one file.

    >>> file = 'def half(x):\\n    \"\"\"Halve it.\\n\\n    Equation eq:half:\\n        h(x) = x / 2\\n    \"\"\"'
    >>> [(each.tag, each.title, each.formula, each.place) for each in equations_in(file, "halves.py")]
    [('half', 'Halve it.', 'h(x) = x / 2', 'halves.py:1')]
    """
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            text = ast.get_docstring(node) or ""
            for match in BLOCK.finditer(text):
                yield Equation(
                    tag=match["tag"],
                    title=text.split("\n")[0],
                    formula=cleandoc(match["formula"]),
                    source=paragraph(text, "Source"),
                    name=node.name,
                    path=path,
                    line=node.lineno,
                    is_gradient=match[0].startswith("Gradient"),
                )


def paragraph(text: str, name: str) -> str:
    """The paragraph that begins with a name and a colon, on one line, up to an empty line or another such name.

    >>> paragraph("What holds.\\n\\nKills: this\\nand that.\\nHint: Look closer.", "Kills")
    'this and that.'
    """
    match = re.search(rf"^{name}:\s+(.*?)(?:\n\s*\n|\Z)", text, re.MULTILINE | re.DOTALL)
    return " ".join(PARAGRAPH.split(match[1])[0].split()) if match else ""


def about(source: str, otherwise: str) -> str:
    """What a module says it is about.

    >>> about('\"\"\"Half of everything.\"\"\"', otherwise="halves")
    'Half of everything.'
    """
    return (ast.get_docstring(ast.parse(source)) or otherwise).split("\n")[0]


def headings_by_tag(notebook: str, title: str) -> dict[str, str]:
    """For every tag that a notebook mentions, the heading of the first mention, or else the notebook's title.

    >>> headings_by_tag("# ## Halving (eq:half)\\n# Twice eq:half is eq:whole.", title="parts")
    {'half': 'Halving', 'whole': 'Halving'}
    """
    headings: dict[str, str] = {}
    for line in notebook.splitlines():
        if match := re.match(r"# #+ (.*)", line):
            title = re.sub(r"\s*\([^()]*\beq:[^()]*\)", "", match[1])
        for tag in MENTION.findall(line):
            headings.setdefault(tag, title)
    return headings
