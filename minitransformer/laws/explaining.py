"""One equation with everything that belongs to it, for a reader in a terminal."""

import difflib
from collections.abc import Iterator
from inspect import getdoc, getsourcefile, getsourcelines, unwrap
from itertools import groupby
from pathlib import Path
from textwrap import indent

from minitransformer.equations import PACKAGE, Equation, about, headings_by_tag, in_numpy, in_torch, paragraph
from minitransformer.errors import InputError
from minitransformer.laws.claims import CLAIMS
from minitransformer.laws.law import CATALOGUE, Law
from minitransformer.laws.zoo.matrix import in_words
from minitransformer.laws.zoo.mutant import ZOO


def explain(tag: str) -> str:
    """The formula, its source, where it stands in PyTorch and in NumPy, its laws, and the mistakes that they notice.

    What has laws and no equation is explained too, without a formula.

    Raises: InputError that names the nearest equation.

    >>> print(explain("relu").splitlines()[0])
    eq:relu: Keep what is positive.
    """
    tag = tag.removeprefix("eq:").replace("_", "-")
    known = dict.fromkeys([*in_torch(), *CLAIMS])
    if tag not in known:
        nearest = difflib.get_close_matches(tag, known, n=1, cutoff=0.5)
        suggestion = f"did you mean {nearest[0]!r}? " if nearest else ""
        raise InputError(f"no equation is called {tag!r}; {suggestion}`minitransformer explain` lists them all")
    beginning = of_equation(tag) if tag in in_torch() else of_claim(tag)
    return "\n".join([*beginning, "", *its_laws(tag), "", *its_mutants(tag)])


def listing() -> str:
    """Every equation on a line of its own, under the module that it stands in; then what has laws and no equation.

    >>> listing().splitlines()[1]
    '  softmax                     Turn scores into shares that are positive and sum to one.'
    """
    parts = []
    for path, equations in groupby(in_torch().values(), key=lambda equation: equation.path):
        lines = [line_of(equation.tag, equation.title) for equation in equations]
        heading = about((PACKAGE.parent / path).read_text("utf-8"), otherwise=path)
        parts.append("\n".join([f"{path}: {heading}", *lines]))
    others = [line_of(claim, title_of(claim)) for claim in CLAIMS if claim not in in_torch()]
    return "\n\n".join([*parts, "\n".join(["What has laws and is no equation:", *others])])


def line_of(tag: str, title: str) -> str:
    """A line of the listing."""
    return f"  {tag:26}  {title}"


def of_equation(tag: str) -> Iterator[str]:
    """What an equation says, who found it, and every place where it stands."""
    ours = in_torch()[tag]
    yield f"eq:{tag}: {ours.title}"
    yield f"\n{indent(ours.formula, '    ')}\n"
    yield f"Source: {ours.source}"
    yield f"PyTorch: {ours.place}"
    if tag in in_numpy():
        yield f"NumPy: {in_numpy()[tag].place}"
    yield from beside_the_package(ours)


def beside_the_package(equation: Equation) -> Iterator[str]:
    """The notebooks and the page that tell about an equation; an installed package comes without them."""
    root = PACKAGE.parent
    for notebook in sorted((root / "notebooks").glob("*.py")):
        headings = headings_by_tag(notebook.read_text("utf-8"), notebook.stem)
        if equation.tag in headings:
            yield f"Notebook: notebooks/{notebook.stem}.ipynb, “{headings[equation.tag]}”"
    if (root / "docs" / "equations.md").exists():
        yield f"Page: docs/equations.md, eq:{equation.tag}"


def of_claim(claim: str) -> Iterator[str]:
    """What a function does that laws speak about, though it computes no equation."""
    original = unwrap(CLAIMS[claim])
    file = Path(getsourcefile(original) or "").relative_to(PACKAGE.parent)
    yield f"{claim}: {title_of(claim)}"
    yield f"\nSource: {paragraph(getdoc(original) or '', 'Source')}"
    yield f"PyTorch: {file.as_posix()}:{getsourcelines(original)[1]}"


def title_of(claim: str) -> str:
    """What a function of ours does, in a sentence.

    >>> title_of("relu")
    'Keep what is positive.'
    """
    return (getdoc(CLAIMS[claim]) or "").split("\n")[0]


def its_laws(tag: str) -> Iterator[str]:
    """The laws that speak about an equation, each with what it notices."""
    laws = laws_about(tag)
    yield f"Laws: {len(laws)}" if laws else "Laws: none yet; only tests of ours hold it"
    for law in laws:
        yield f"  {law.sentence}\n    notices: {law.kills}"


def laws_about(tag: str) -> list[Law]:
    """The laws that speak about an equation, or about what has none.

    >>> "relu" in laws_about("relu")[0].equations, laws_about("masking")[0].equations
    (True, ())
    """
    return [law for law in CATALOGUE if tag in (law.equations or (law.claim,))]


def its_mutants(tag: str) -> Iterator[str]:
    """The mutants of the zoo that claim to be an equation, each with the number that it is shown by."""
    mutants = [(number, mutant) for number, mutant in enumerate(ZOO, start=1) if mutant.claim == tag]
    how = ", to look at with `minitransformer zoo show NUMBER`" if mutants else ""
    yield f"Mutants: {len(mutants) or 'none yet'}{how}"
    for number, mutant in mutants:
        yield f"  {number:4}  {in_words(mutant.name)}"
