"""What is told about an equation leads to where it stands, and to what holds it."""

import subprocess
import sys
from pathlib import Path

import pytest

from minitransformer import equations
from minitransformer.equations import in_numpy, in_torch
from minitransformer.errors import InputError
from minitransformer.laws import CATALOGUE, CLAIMS, Law, explaining
from minitransformer.laws.explaining import explain, listing
from minitransformer.laws.zoo import ZOO

ROOT = Path(__file__).parents[1]
N_EQUATIONS = 43
WITHOUT_EQUATION = [claim for claim in CLAIMS if claim not in in_torch()]
by_tag = pytest.mark.parametrize("tag", in_torch())
by_explained = pytest.mark.parametrize("tag", [*in_torch(), *WITHOUT_EQUATION])


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Look at the package where neither docs nor notebooks lie beside it."""
    (tmp_path / "minitransformer").symlink_to(ROOT / "minitransformer")
    for module in (equations, explaining):
        monkeypatch.setattr(module, "PACKAGE", tmp_path / "minitransformer")


def test_every_equation_is_found() -> None:
    assert len(in_torch()) >= N_EQUATIONS
    assert in_torch().keys() == in_numpy().keys()


def test_what_has_no_equation_is_explained_too() -> None:
    assert {"masking", "next-sentence-pairs"} <= set(WITHOUT_EQUATION)


@by_tag
def test_every_place_named_is_where_the_equation_stands(tag: str) -> None:
    text = explain(tag)
    places = [line.split(": ")[1] for line in text.splitlines() if line.startswith(("PyTorch: ", "NumPy: "))]
    assert len(places) == 2
    for place in places:
        file, line = place.split(":")
        first, *following = (ROOT / file).read_text("utf-8").splitlines()[int(line) - 1 :]
        assert first.startswith(("def ", "class "))
        assert any(row.strip() == f"Equation eq:{tag}:" for row in following[:40])


@by_tag
def test_formula_and_source_are_told(tag: str) -> None:
    beginning = explain(tag).split("\nLaws: ")[0]
    assert all(f"    {line}\n" in beginning for line in in_torch()[tag].formula.splitlines())
    assert f"\nSource: {in_torch()[tag].source}\n" in beginning


@by_explained
def test_laws_and_mutants_are_told(tag: str) -> None:
    _, laws, mutants = explain(tag).replace("\nMutants: ", "\nLaws: ").split("\nLaws: ")
    about_it = [law for law in CATALOGUE if tag in law.equations or (law.claim == tag and not law.equations)]
    assert laws.startswith(str(len(about_it) or "none yet"))
    assert all(f"  {law.sentence}\n    notices: {law.kills}\n" in laws for law in about_it)
    claiming = [(number, each) for number, each in enumerate(ZOO, start=1) if each.claim == tag]
    assert mutants.startswith(str(len(claiming) or "none yet"))
    rows = [line.split(maxsplit=1) for line in mutants.splitlines()[1:]]
    assert rows == [[str(number), each.name.replace("_", " ")] for number, each in claiming]


@pytest.mark.parametrize("claim", WITHOUT_EQUATION)
def test_what_has_no_equation_is_explained_without_a_formula(claim: str) -> None:
    text = explain(claim)
    assert text.startswith(f"{claim}: ")
    assert "eq:" not in text
    file, line = text.split("PyTorch: ")[1].splitlines()[0].split(":")
    first = (ROOT / file).read_text("utf-8").splitlines()[int(line) - 1]
    assert first.startswith(f"def {CLAIMS[claim].__name__}(")


def test_notebook_and_page_are_named_where_they_lie_beside_the_package() -> None:
    text = explain("eq:attention")
    assert "\nNotebook: notebooks/01_attention.ipynb, “3. Three words, by hand”\n" in text
    assert "\nPage: docs/equations.md, eq:attention\n" in text


@pytest.mark.usefixtures("installed")
def test_an_installed_package_explains_itself_without_them() -> None:
    text = explain("attention")
    assert "Notebook: " not in text
    assert "Page: " not in text
    assert "\nNumPy: minitransformer/reference/attention.py:" in text
    assert "minitransformer/attention.py: Attention: " in listing()


def test_every_equation_has_its_line_under_its_module() -> None:
    groups = {group.split(":")[0]: group.splitlines()[1:] for group in listing().split("\n\n")}
    for tag, equation in in_torch().items():
        assert any(line.split(maxsplit=1) == [tag, equation.title] for line in groups[equation.path])
    assert [line.split()[0] for line in groups["What has laws and is no equation"]] == WITHOUT_EQUATION
    assert sum(map(len, groups.values())) == len(in_torch()) + len(WITHOUT_EQUATION)


def test_an_unknown_equation_is_answered_with_the_nearest() -> None:
    with pytest.raises(InputError, match="no equation is called 'atention'; did you mean 'attention'"):
        explain("eq:atention")
    with pytest.raises(InputError, match="did you mean 'pooler'"):
        explain("poler")
    with pytest.raises(InputError, match="no equation is called 'xyzzy'; `minitransformer explain` lists them all"):
        explain("xyzzy")


def test_no_plots_are_loaded_to_explain_anything() -> None:
    program = "import sys, minitransformer.laws as laws; laws.explain('pooler'); print('matplotlib' in sys.modules)"
    ended = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert ended.stdout == "False\n"


# Where a law comes from.


@pytest.mark.parametrize("law", CATALOGUE, ids=lambda law: f"{law.claim}:{law.name}")
def test_every_law_has_a_source(law: Law) -> None:
    assert law.source
    assert "\n" not in law.source


def law_with(text: str, claim: str = "softmax", equations: tuple[str, ...] = ("softmax",)) -> Law:
    """A law of which nothing but the docstring matters."""

    def check() -> None: ...

    check.__doc__ = text
    return Law(claim, check, CATALOGUE[0].cases, equations)


def test_a_law_has_its_own_source_or_that_of_its_equations_or_that_of_what_it_speaks_about() -> None:
    assert law_with("It holds.\n\n    Source: Euclid,\n    Book V.\n    Hint: Look.").source == "Euclid, Book V."
    assert law_with("It holds.").source == in_torch()["softmax"].source
    both = law_with("It holds.", equations=("softmax", "relu")).source
    assert both == f"{in_torch()['softmax'].source} {in_torch()['relu'].source}"
    assert law_with("It holds.", "masking", equations=()).source.startswith("Devlin et al. 2019, §3.1")
