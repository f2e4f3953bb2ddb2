"""What is told about an equation leads to where it stands."""

from pathlib import Path

import pytest

from minitransformer.errors import InputError
from minitransformer.laws import CATALOGUE, CLAIMS
from minitransformer.laws.explaining import explain

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("claim", [claim for claim in CLAIMS if any(claim in law.equations for law in CATALOGUE)])
def test_every_place_named_is_where_the_equation_stands(claim: str) -> None:
    text = explain(claim)
    places = [line.split(": ")[1] for line in text.splitlines() if line.startswith(("PyTorch: ", "NumPy: "))]
    assert len(places) == 2
    for place in places:
        file, line = place.split(":")
        following = (ROOT / file).read_text("utf-8").splitlines()[int(line) - 1 :]
        assert any(row.strip() == f"Equation eq:{claim}:" for row in following[:40])
    sentences = [law.sentence for law in CATALOGUE if law.claim == claim]
    assert all(sentence in text for sentence in sentences)


def test_an_unknown_equation_is_answered_with_the_nearest() -> None:
    with pytest.raises(InputError, match="no equation is called 'atention'; did you mean 'attention'"):
        explain("eq:atention")
