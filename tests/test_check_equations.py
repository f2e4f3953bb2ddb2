"""The checker of equation tags: each missing place is named, with its tag and a remedy."""

import re
from pathlib import Path

import check_equations
import pytest

DOCSTRING = '''"""Half and half."""


def halve(x):
    """Take half of it.

    Equation eq:half:
        half(x) = x / 2

    Source: Euclid 300 BC, Book I, Proposition 10.
    """
    return x / 2
'''
TEST = '''"""Laws of halving."""

import pytest


@pytest.mark.equation("half")
def test_two_halves_are_the_whole():
    """Two halves make the whole. They do so in every type.

    Kills: half-of-half.
    """
    assert True
'''
LAW = '''"""Laws of halves."""

from minitransformer.laws.law import law


@law("half", given=numbers())
def twice_the_half_is_the_whole(halve, x):
    """Twice the half is the whole.

    Kills: a third for a half;
    half of half.
    Hint: Add your two halves.
    What do you get?
    """
    assert 2 * halve(x) == x
'''


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A tiny project in which every place is filled and every page is fresh."""
    files = {
        "minitransformer/parts.py": DOCSTRING,
        "minitransformer/reference/parts.py": DOCSTRING.replace("def halve", "def halve_array"),
        "tests/test_parts.py": TEST,
        "notebooks/01_parts.py": "# %% [markdown]\n# ## Halving (eq:half)\n# %%\nhalve(2)\n",
        "docs/equations.toml": "half = '''\\frac{x}{2}'''\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, "utf-8")
    assert run(tmp_path, "--write") == 0
    return tmp_path


@pytest.fixture
def tree_with_law(tree: Path) -> Path:
    """The same project, with a law in the package and none among the tests."""
    (tree / "tests" / "test_parts.py").unlink()
    (tree / "minitransformer" / "laws").mkdir()
    (tree / "minitransformer" / "laws" / "halves.py").write_text(LAW, "utf-8")
    assert run(tree, "--write") == 0
    return tree


def run(tree: Path, *options: str) -> int:
    """Run the checker over a tree."""
    return check_equations.main(["--root", str(tree), *options])


def replace(tree: Path, name: str, old: str, new: str) -> None:
    """Change one file, and make sure that something changed."""
    text = (tree / name).read_text("utf-8")
    assert old in text
    (tree / name).write_text(text.replace(old, new), "utf-8")


def test_a_complete_tree_passes(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tree) == 0
    assert "1 equations in their five places, 1 laws" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "old", "new", "complaint"),
    [
        ("minitransformer/parts.py", "Equation eq:half:", "Equation:", "no PyTorch docstring in minitransformer"),
        ("minitransformer/reference/parts.py", "Equation eq:half:", "Equation:", "no NumPy docstring"),
        ("tests/test_parts.py", '@pytest.mark.equation("half")', "", "and no test is marked with it; write a law with"),
        ("notebooks/01_parts.py", "(eq:half)", "", "no cell of notebooks/*.py mentions it"),
        ("docs/equations.toml", "half =", "#", "no LaTeX in docs/equations.toml"),
        ("minitransformer/parts.py", "        half(x) = x / 2\n", "", "no formula in minitransformer/parts.py (halve)"),
        ("minitransformer/parts.py", "Source:", "From:", "no source in minitransformer/parts.py (halve)"),
    ],
)
def test_a_missing_place_is_named(
    tree: Path, capsys: pytest.CaptureFixture[str], name: str, old: str, new: str, complaint: str
) -> None:
    replace(tree, name, old, new)
    assert run(tree) == 1
    complaints = capsys.readouterr().err.splitlines()
    assert any(line.startswith("eq:half: ") and complaint in line for line in complaints), complaints


def test_formulas_must_agree_letter_for_letter(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    replace(tree, "minitransformer/reference/parts.py", "half(x) = x / 2", "half(x) = x/2")
    assert run(tree) == 1
    found = capsys.readouterr().err
    assert "minitransformer/parts.py (halve) and minitransformer/reference/parts.py (halve_array) differ" in found


@pytest.mark.parametrize("page", ["docs/equations.md", "docs/laws.md"])
def test_a_stale_page_is_named_and_written_anew(tree: Path, capsys: pytest.CaptureFixture[str], page: str) -> None:
    replace(tree, page, "Generated", "Written")
    assert run(tree) == 1
    assert f"{page}: out of date; run make docs" in capsys.readouterr().err
    assert run(tree, "--write") == 0
    assert run(tree) == 0


def test_a_tag_that_stands_twice_is_named(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tree / "minitransformer" / "twice.py").write_text(DOCSTRING, "utf-8")
    assert run(tree) == 1
    assert "eq:half: stands twice" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("tests/test_other.py", 'import pytest\npytestmark = pytest.mark.equation("third")\ndef test_it(): ...\n'),
        ("minitransformer/laws/thirds.py", LAW.replace('"half"', '"third"')),
        ("notebooks/02_other.py", "# eq:third\n"),
        ("docs/equations.toml", "third = 'x/3'\n"),
    ],
)
def test_an_unknown_tag_is_named_with_its_place(
    tree: Path, capsys: pytest.CaptureFixture[str], name: str, text: str
) -> None:
    (tree / name).parent.mkdir(exist_ok=True)
    (tree / name).write_text(text, "utf-8")
    assert run(tree) == 1
    assert re.search(rf"eq:third: no PyTorch docstring .* remove it from {name}", capsys.readouterr().err)


def test_marks_are_found_on_parametrised_cases(tree: Path) -> None:
    cases = 'CASES = [pytest.param(2, marks=pytest.mark.equation("half"))]\n\n\n@pytest.mark.parametrize("x", CASES)'
    replace(tree, "tests/test_parts.py", '@pytest.mark.equation("half")', cases)
    assert run(tree) == 0


def test_a_law_of_the_package_needs_no_test_of_its_own(tree_with_law: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tree_with_law) == 0
    assert "1 equations in their five places, 1 laws" in capsys.readouterr().out


@pytest.mark.parametrize(
    "decorator",
    [
        '@laws.law(claim="half", given=numbers())',
        '@law("division", given=numbers(), equations=("half",))',
        '@law("division", numbers(), ("half",), needs_gradient=True)',
        '@law("half", given=numbers(), equations=("half",))',
        '@law("half", given=numbers("third"))\n@settings(max_examples=2)',
    ],
)
def test_a_law_speaks_about_its_equations_or_else_its_claim(tree_with_law: Path, decorator: str) -> None:
    replace(tree_with_law, "minitransformer/laws/halves.py", '@law("half", given=numbers())', decorator)
    assert run(tree_with_law) == 0


@pytest.mark.parametrize(
    "decorator", ['@law("rounding", given=numbers(), equations=())', '@law("half", numbers(), ())']
)
def test_a_law_without_an_equation_is_listed_without_a_tag(tree: Path, decorator: str) -> None:
    (tree / "minitransformer" / "laws").mkdir()
    law = LAW.replace('@law("half", given=numbers())', decorator)
    (tree / "minitransformer" / "laws" / "halves.py").write_text(law, "utf-8")
    assert run(tree, "--write") == 0
    page = (tree / "docs" / "laws.md").read_text("utf-8")
    assert "*Add your two halves. What do you get?* (`twice_the_half_is_the_whole`)" in page
    assert "twice_the_half" not in (tree / "docs" / "equations.md").read_text("utf-8")


def test_a_law_with_equations_does_not_speak_about_its_claim(
    tree_with_law: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    replace(tree_with_law, "minitransformer/laws/halves.py", "numbers())", 'numbers(), equations=("third",))')
    assert run(tree_with_law) == 1
    complaints = capsys.readouterr().err
    assert "eq:half: no law of minitransformer/laws speaks about it" in complaints
    assert "eq:third: no PyTorch docstring in minitransformer carries it" in complaints


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        (
            '@law("half", given=numbers())\n',
            "",
            'no claim; write it as a string into a decorator above the function, @law("',
        ),
        ('@law("half", ', "@law(HALF, ", "no claim; write it as a string"),
        ("Twice the half is the whole.\n\n    ", "", "no sentence; begin its docstring with one"),
        ("    Kills: a third for a half;\n    half of half.\n", "", 'no Kills; add "Kills: ..." to its docstring'),
        ("    Hint: Add your two halves.\n    What do you get?\n", "", 'no Hint; add "Hint: ..." to its docstring'),
    ],
)
def test_a_missing_part_of_a_law_is_named(
    tree_with_law: Path, capsys: pytest.CaptureFixture[str], old: str, new: str, complaint: str
) -> None:
    replace(tree_with_law, "minitransformer/laws/halves.py", old, new)
    assert run(tree_with_law) == 1
    complaints = capsys.readouterr().err
    start = "law twice_the_half_is_the_whole in minitransformer/laws/halves.py: "
    assert start + complaint in complaints
    assert complaints.count(start) == 1
    assert "docs/laws.md: out of date; run make docs" in complaints


def test_a_law_that_loses_its_decorator_leaves_its_equation_without_one(
    tree_with_law: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    replace(tree_with_law, "minitransformer/laws/halves.py", '@law("half", given=numbers())\n', "")
    assert run(tree_with_law, "--write") == 1
    assert "eq:half: no law of minitransformer/laws speaks about it" in capsys.readouterr().err
    assert "twice_the_half" not in (tree_with_law / "docs" / "laws.md").read_text("utf-8")


@pytest.mark.parametrize(("old", "new"), [("is the whole.\n", "is all of it.\n"), ("What do you get?", "What now?")])
def test_a_page_with_an_old_law_is_stale(
    tree_with_law: Path, capsys: pytest.CaptureFixture[str], old: str, new: str
) -> None:
    replace(tree_with_law, "minitransformer/laws/halves.py", old, new)
    assert run(tree_with_law) == 1
    assert "docs/laws.md: out of date; run make docs" in capsys.readouterr().err
    assert run(tree_with_law, "--write") == 0
    assert run(tree_with_law) == 0


def test_a_module_of_laws_is_neither_one_of_equations_nor_one_of_tests(tree_with_law: Path) -> None:
    marked = '\n\n@pytest.mark.equation("third")\ndef test_a_third():\n    """A third is less than a half."""\n'
    (tree_with_law / "minitransformer" / "laws" / "test_others.py").write_text(DOCSTRING + marked, "utf-8")
    assert run(tree_with_law) == 0


def test_the_page_of_equations_gathers_every_place(tree: Path) -> None:
    page = (tree / "docs" / "equations.md").read_text("utf-8")
    for expected in (
        "### eq:half\n\nTake half of it.",
        "$$\n\\frac{x}{2}\n$$",
        "half(x) = x / 2",
        "Source: Euclid 300 BC, Book I, Proposition 10.",
        "[`halve`](../minitransformer/parts.py)",
        "[`halve_array`](../minitransformer/reference/parts.py)",
        "[notebooks/01_parts.py](../notebooks/01_parts.ipynb), “Halving”",
        "Law: Two halves make the whole. ([test_two_halves_are_the_whole](../tests/test_parts.py))",
    ):
        assert expected in page


def test_the_page_of_laws_gives_sentence_mutants_and_tags(tree: Path) -> None:
    page = (tree / "docs" / "laws.md").read_text("utf-8")
    assert "## Laws of halving." in page
    assert "- **Two halves make the whole.** Kills: half-of-half. (eq:half; `test_two_halves_are_the_whole`)" in page


def test_the_pages_give_laws_of_the_package_first_with_their_hints(tree_with_law: Path) -> None:
    (tree_with_law / "tests" / "test_parts.py").write_text(TEST, "utf-8")
    assert run(tree_with_law, "--write") == 0
    laws, equations = ((tree_with_law / "docs" / name).read_text("utf-8") for name in ("laws.md", "equations.md"))
    law = (
        "## Laws of halves.\n\n[minitransformer/laws/halves.py](../minitransformer/laws/halves.py)\n\n"
        "- **Twice the half is the whole.** Kills: a third for a half; half of half. "
        "*Add your two halves. What do you get?* (eq:half; `twice_the_half_is_the_whole`)\n"
    )
    assert laws.index(law) < laws.index("## Laws of halving.")
    name = "[twice_the_half_is_the_whole](../minitransformer/laws/halves.py)"
    marked = "- Law: Two halves make the whole. ([test_two_halves_are_the_whole](../tests/test_parts.py))"
    assert f"- Law: Twice the half is the whole. ({name})\n{marked}" in equations


def test_what_is_read_as_text_is_what_the_catalogue_says() -> None:
    from minitransformer.laws import CATALOGUE

    said = {
        (law.check.__module__, law.name, law.sentence, law.kills, law.hint, tag)
        for law in CATALOGUE
        for tag in law.equations
        if law.check.__module__.startswith("minitransformer.laws.")
    }
    read = {
        (law.path.removesuffix(".py").replace("/", "."), law.name, law.sentence, law.kills, law.hint, tag)
        for law in check_equations.read_project(check_equations.ROOT).laws
        for tag in law.tags
        if law.path.startswith("minitransformer/")
    }
    assert read == said
