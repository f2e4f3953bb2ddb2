"""The checker of equation tags: each missing place is named, with its tag and a remedy."""

import re
import shutil
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
OTHER_LAW = '''

@law("half", given=numbers())
def {name}(halve, x):
    """A half {sentence}.

    Kills: the other half.
    Hint: Which half?
    """
'''
OTHER_LAWS = {"a_half_is_less": "is less", "a_half_is_a_number": "is a number", "a_half_has_the_sign": "has the sign"}
LAWS = LAW + "".join(OTHER_LAW.format(name=name, sentence=sentence) for name, sentence in OTHER_LAWS.items())
ZOO = '''"""Halves that are none."""

from minitransformer.laws.zoo.mutant import mutant


@mutant("half", symptom="Everything is too small.", difficulty="easy")
def a_third_for_a_half(x):
    """A third is taken."""
    return x / 3


@mutant("half", source="euclid/elements#10", symptom="Everything is " "too large.")
def twice_for_half(x):
    return 2 * x


@zoo.mutant(claim="half", symptom="Odd numbers shrink.")
def rounded_down(x):
    return x // 2


@mutant("half", symptom="Nothing is left.")
def nothing(x):
    return 0
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
def tree_with_laws(tree: Path) -> Path:
    """The same project, with laws and mutants in the package and no law among the tests."""
    (tree / "tests" / "test_parts.py").unlink()
    (tree / "minitransformer" / "laws" / "zoo").mkdir(parents=True)
    (tree / "minitransformer" / "laws" / "halves.py").write_text(LAWS, "utf-8")
    (tree / "minitransformer" / "laws" / "zoo" / "halves.py").write_text(ZOO, "utf-8")
    assert run(tree, "--write") == 0
    return tree


@pytest.fixture
def copy_of_ours(tmp_path: Path) -> Path:
    """A copy of this project, as far as the checker reads it."""
    for folder in ("minitransformer", "tests", "notebooks", "docs"):
        ignored = shutil.ignore_patterns("__pycache__", "*.ipynb", "data")
        shutil.copytree(check_equations.ROOT / folder, tmp_path / folder, ignore=ignored)
    return tmp_path


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
    assert "1 equations in their five places, 1 laws, 0 mutants" in capsys.readouterr().out


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


def test_laws_of_the_package_need_no_test_of_their_own(
    tree_with_laws: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tree_with_laws) == 0
    assert "1 equations in their five places, 4 laws, 4 mutants" in capsys.readouterr().out


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
def test_a_law_speaks_about_its_equations_or_else_its_claim(tree_with_laws: Path, decorator: str) -> None:
    replace(tree_with_laws, "minitransformer/laws/halves.py", '@law("half", given=numbers())', decorator)
    assert run(tree_with_laws, "--write") == 0
    assert "- Twice the half is the whole." in (tree_with_laws / "docs" / "equations.md").read_text("utf-8")


@pytest.mark.parametrize(
    ("decorator", "claim"),
    [('@law("rounding", given=numbers(), equations=())', "rounding"), ('@law("half", numbers(), ())', "half")],
)
def test_a_law_without_an_equation_is_listed_under_its_claim(tree: Path, decorator: str, claim: str) -> None:
    (tree / "minitransformer" / "laws").mkdir()
    law = LAW.replace('@law("half", given=numbers())', decorator)
    (tree / "minitransformer" / "laws" / "halves.py").write_text(law, "utf-8")
    assert run(tree, "--write") == 0
    page = (tree / "docs" / "laws.md").read_text("utf-8")
    assert f"*Add your two halves. What do you get?* ({claim}; `twice_the_half_is_the_whole`)" in page
    assert "twice_the_half" not in (tree / "docs" / "equations.md").read_text("utf-8")


def test_a_law_with_equations_does_not_speak_about_its_claim(
    tree_with_laws: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    replace(tree_with_laws, "minitransformer/laws/halves.py", "numbers())", 'numbers(), equations=("third",))')
    assert run(tree_with_laws) == 1
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
    tree_with_laws: Path, capsys: pytest.CaptureFixture[str], old: str, new: str, complaint: str
) -> None:
    replace(tree_with_laws, "minitransformer/laws/halves.py", old, new)
    assert run(tree_with_laws) == 1
    complaints = capsys.readouterr().err
    start = "law twice_the_half_is_the_whole in minitransformer/laws/halves.py: "
    assert start + complaint in complaints
    assert complaints.count(start) == 1
    assert "docs/laws.md: out of date; run make docs" in complaints


def test_laws_that_lose_their_decorators_leave_their_equation_without_one(
    tree_with_laws: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    replace(tree_with_laws, "minitransformer/laws/halves.py", '@law("half", given=numbers())\n', "")
    assert run(tree_with_laws, "--write") == 1
    assert "eq:half: no law of minitransformer/laws speaks about it" in capsys.readouterr().err
    assert "twice_the_half" not in (tree_with_laws / "docs" / "laws.md").read_text("utf-8")


@pytest.mark.parametrize(("old", "new"), [("is the whole.\n", "is all of it.\n"), ("What do you get?", "What now?")])
def test_a_page_with_an_old_law_is_stale(
    tree_with_laws: Path, capsys: pytest.CaptureFixture[str], old: str, new: str
) -> None:
    replace(tree_with_laws, "minitransformer/laws/halves.py", old, new)
    assert run(tree_with_laws) == 1
    assert "docs/laws.md: out of date; run make docs" in capsys.readouterr().err
    assert run(tree_with_laws, "--write") == 0
    assert run(tree_with_laws) == 0


def test_an_equation_with_laws_needs_four_of_them(tree_with_laws: Path, capsys: pytest.CaptureFixture[str]) -> None:
    replace(
        tree_with_laws,
        "minitransformer/laws/halves.py",
        OTHER_LAW.format(name="a_half_is_less", sentence="is less"),
        "",
    )
    assert run(tree_with_laws, "--write") == 1
    complaint = "eq:half: only 3 of at least 4 laws in minitransformer/laws speak about it; write more there\n"
    assert capsys.readouterr().err == complaint


def test_a_marked_test_is_not_one_of_the_four(tree_with_laws: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tree_with_laws / "tests" / "test_parts.py").write_text(TEST, "utf-8")
    (tree_with_laws / "minitransformer" / "laws" / "halves.py").write_text(LAW, "utf-8")
    assert run(tree_with_laws, "--write") == 1
    assert "eq:half: only 1 of at least 4 laws" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('@mutant("half", symptom="Nothing is left.")\n', ""),
        ('@mutant("half", symptom="Nothing is left.")', '@mutant("none", symptom="Nothing is left.")'),
    ],
)
def test_an_equation_with_laws_needs_four_mutants(
    tree_with_laws: Path, capsys: pytest.CaptureFixture[str], old: str, new: str
) -> None:
    replace(tree_with_laws, "minitransformer/laws/zoo/halves.py", old, new)
    assert run(tree_with_laws, "--write") == 1
    complaint = "eq:half: only 3 of at least 4 mutants in minitransformer/laws/zoo claim to be it; write more there"
    assert capsys.readouterr().err.startswith(complaint)


@pytest.mark.parametrize("new", ['@mutant(HALF, symptom="Nothing', '@mutant("half", symptom=NOTHING + "'])
def test_a_mutant_that_cannot_be_read_is_named(
    tree_with_laws: Path, capsys: pytest.CaptureFixture[str], new: str
) -> None:
    replace(tree_with_laws, "minitransformer/laws/zoo/halves.py", '@mutant("half", symptom="Nothing', new)
    replace(tree_with_laws, "minitransformer/laws/zoo/halves.py", ' is left."', '"')
    assert run(tree_with_laws) == 1
    start = "mutant nothing in minitransformer/laws/zoo/halves.py: no claim or no symptom; write both as strings"
    assert start in capsys.readouterr().err


def test_a_module_of_laws_is_neither_one_of_equations_nor_one_of_tests(tree_with_laws: Path) -> None:
    marked = '\n\n@pytest.mark.equation("third")\ndef test_a_third():\n    """A third is less than a half."""\n'
    (tree_with_laws / "minitransformer" / "laws" / "test_others.py").write_text(DOCSTRING + marked, "utf-8")
    assert run(tree_with_laws) == 0


def test_the_page_of_equations_gathers_every_place(tree: Path) -> None:
    page = (tree / "docs" / "equations.md").read_text("utf-8")
    for expected in (
        "### eq:half\n\nTake half of it.",
        "$$\n\\frac{x}{2}\n$$",
        "half(x) = x / 2",
        "Source: Euclid 300 BC, Book I, Proposition 10.",
        "# Every equation\n\nGenerated by",
        "- parts: [half](#eqhalf)\n",
        "PyTorch: `halve` in [`minitransformer/parts.py:4`](../minitransformer/parts.py#L4)\n",
        "NumPy: `halve_array` in [`minitransformer/reference/parts.py:4`](../minitransformer/reference/parts.py#L4)\n",
        "[notebooks/01_parts.ipynb](../notebooks/01_parts.ipynb), “Halving”",
        "Tests of ours:\n\n- Two halves make the whole. ([test_two_halves_are_the_whole](../tests/test_parts.py))\n",
    ):
        assert expected in page
    assert "mutants" not in page


def test_the_page_of_equations_names_mutants_with_what_they_look_like(tree_with_laws: Path) -> None:
    page = (tree_with_laws / "docs" / "equations.md").read_text("utf-8")
    assert page.endswith(
        "[4 mutants](zoo.md#half), and what they look like in training:\n\n"
        "- *a third for a half*: Everything is too small.\n"
        "- *twice for half*: Everything is too large.\n"
        "- *rounded down*: Odd numbers shrink.\n"
        "- *nothing*: Nothing is left.\n"
    )


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("minitransformer/laws/zoo/halves.py", "Odd numbers shrink.", "Odd numbers grow."),
        ("minitransformer/laws/zoo/halves.py", "def rounded_down", "def rounded"),
        ("minitransformer/parts.py", "\n\ndef halve", "\n\n\ndef halve"),
        ("minitransformer/reference/parts.py", "\n\ndef halve", "\n\n\ndef halve"),
    ],
)
def test_a_page_with_old_mutants_or_lines_is_stale(
    tree_with_laws: Path, capsys: pytest.CaptureFixture[str], name: str, old: str, new: str
) -> None:
    replace(tree_with_laws, name, old, new)
    assert run(tree_with_laws) == 1
    assert capsys.readouterr().err == "docs/equations.md: out of date; run make docs\n"


def test_the_page_of_laws_gives_a_source_where_a_law_has_its_own(tree_with_laws: Path) -> None:
    source = "\n    Source: Euclid 300 BC, Book V.\n    Hint: Add"
    replace(tree_with_laws, "minitransformer/laws/halves.py", "\n    Hint: Add", source)
    assert run(tree_with_laws, "--write") == 0
    page = (tree_with_laws / "docs" / "laws.md").read_text("utf-8")
    assert page.count("Source:") == 1
    assert "*Add your two halves. What do you get?* Source: Euclid 300 BC, Book V. (eq:half; `twice_the_half" in page


def test_the_page_of_laws_gives_sentence_mutants_and_tags(tree: Path) -> None:
    page = (tree / "docs" / "laws.md").read_text("utf-8")
    assert "## Laws of halving." in page
    assert "- **Two halves make the whole.** Kills: half-of-half. (eq:half; `test_two_halves_are_the_whole`)" in page


def test_the_pages_give_laws_of_the_package_first_with_their_hints(tree_with_laws: Path) -> None:
    (tree_with_laws / "tests" / "test_parts.py").write_text(TEST, "utf-8")
    assert run(tree_with_laws, "--write") == 0
    laws, equations = ((tree_with_laws / "docs" / name).read_text("utf-8") for name in ("laws.md", "equations.md"))
    law = (
        "## Laws of halves.\n\n[minitransformer/laws/halves.py](../minitransformer/laws/halves.py)\n\n"
        "- **Twice the half is the whole.** Kills: a third for a half; half of half. "
        "*Add your two halves. What do you get?* (eq:half; `twice_the_half_is_the_whole`)\n"
    )
    assert laws.index(law) < laws.index("## Laws of halving.")
    name = "[twice_the_half_is_the_whole](../minitransformer/laws/halves.py)"
    marked = "- Two halves make the whole. ([test_two_halves_are_the_whole](../tests/test_parts.py))"
    assert equations.index(f"- Twice the half is the whole. ({name})\n") < equations.index(marked)


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


def test_mutants_read_as_text_are_those_of_the_zoo() -> None:
    from minitransformer.laws.zoo import ZOO

    read = check_equations.read_project(check_equations.ROOT).mutants
    assert {(each.claim, each.name, each.symptom) for each in read} == {
        (each.claim, each.name, each.symptom) for each in ZOO
    }


def test_every_mutant_links_to_a_section_of_the_zoo() -> None:
    project = check_equations.read_project(check_equations.ROOT)
    sections = re.findall(r"^## (.*)$", (check_equations.ROOT / "docs" / "zoo.md").read_text("utf-8"), re.MULTILINE)
    assert {mutant.claim for mutant in project.mutants} <= set(sections)


# What must not slip through in this project.


@pytest.mark.parametrize("name", ["minitransformer/attention.py", "minitransformer/reference/attention.py"])
def test_a_transpose_dropped_from_one_docstring_is_noticed(
    copy_of_ours: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    replace(
        copy_of_ours, name, "Attention(Q, K, V) = softmax(Q Kᵀ / √d_k) V", "Attention(Q, K, V) = softmax(Q K / √d_k) V"
    )
    assert run(copy_of_ours) == 1
    complaint = "eq:attention: the formulas of minitransformer/attention.py (scaled_dot_product_attention) and"
    assert complaint in capsys.readouterr().err


def test_a_law_that_loses_its_decorator_is_noticed(copy_of_ours: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = "minitransformer/laws/optimizer.py"
    laws = re.findall(r"(@law\(\"global-norm\".*\n)(def (\w+).*\n)", (copy_of_ours / file).read_text("utf-8"))
    for decorator, definition, _ in laws[3:]:
        replace(copy_of_ours, file, decorator + definition, definition)
    assert run(copy_of_ours) == 1
    complaints = capsys.readouterr().err
    assert f"law {laws[3][2]} in {file}: no claim; write it" in complaints
    assert "eq:global-norm: only 3 of at least 4 laws" in complaints


def test_marked_tests_that_lose_their_marks_are_noticed(copy_of_ours: Path, capsys: pytest.CaptureFixture[str]) -> None:
    complaint = "eq:embeddings: no law of minitransformer/laws speaks about it and no test is marked with it"
    shutil.rmtree(copy_of_ours / "minitransformer" / "laws")
    run(copy_of_ours)
    assert complaint not in capsys.readouterr().err
    for file in (copy_of_ours / "tests").glob("test_*.py"):
        text = file.read_text("utf-8")
        file.write_text(text.replace('mark.equation("embeddings"', 'mark.equation("encoder"'), "utf-8")
    assert run(copy_of_ours) == 1
    assert complaint in capsys.readouterr().err


def test_a_mutant_that_leaves_the_zoo_is_noticed(copy_of_ours: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = "minitransformer/laws/zoo/softmax.py"
    replace(copy_of_ours, file, '@mutant("softmax", ', '@mutant("log-softmax", ')
    replace(copy_of_ours, file, '@mutant(\n    "softmax",', '@mutant(\n    "log-softmax",')
    assert run(copy_of_ours) == 1
    complaints = capsys.readouterr().err
    assert "eq:softmax: only 0 of at least 4 mutants" in complaints
    assert "docs/equations.md: out of date; run make docs" in complaints
