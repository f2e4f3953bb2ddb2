"""The whole catalogue, held against our own functions; and what a catalogue must be."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minitransformer import kernels
from minitransformer.equations import in_torch
from minitransformer.laws import CATALOGUE, CLAIMS, Law, laws_of
from minitransformer.laws.cases import few_examples
from minitransformer.laws.claims import HEAVY
from minitransformer.laws.zoo import ZOO
from minitransformer.laws.zoo.matrix import MAX_EXAMPLES

by_name = pytest.mark.parametrize("law", CATALOGUE, ids=lambda law: f"{law.claim}:{law.name}")
FEWEST_LAWS = FEWEST_MUTANTS = 4
DEEP = 1_000
"""From so many cases on a profile asks for more than what suffices."""
BY_NO_KERNEL = {
    "sinusoids",
    "causal-visibility",
    "padding-visibility",
    "packed-visibility",
    "linear-warmup",
    "cosine-warmup",
    "cosine-restarts-warmup",
    "polynomial-warmup",
    "constant-rate",
    "constant-warmup",
    "inverse-square-root-warmup",
    "positive-pmi",
    "word-vectors",
    "masking",
    "next-sentence-pairs",
    "neighbour-score",
    "segment-score",
    "saving",
    "online-softmax",
    "tiled-attention",
    "tiled-attention-gradient",
    "packing",
    "unpacking",
}
"""What is computed by no kernel, or is one, so that it need not be asked under each of them."""
BY_TILES = {"attention", "multi-head-attention"}
"""What is computed otherwise by tiles."""


def kinds_of(claim: str) -> tuple[str, ...]:
    """The kernels under which a claim's laws are asked."""
    if claim in BY_NO_KERNEL:
        return ("fused",)
    return ("equations", "fused", "tiled") if claim in BY_TILES else ("equations", "fused")


def as_often_as_needed(law: Law) -> settings:
    """As many cases as the zoo's survey tries, in which no mutant lives, unless the profile goes deeper on purpose."""
    if law.claim in HEAVY:
        return few_examples
    asked = settings().max_examples
    return settings(max_examples=asked if asked >= DEEP else min(asked, MAX_EXAMPLES))


@pytest.mark.parametrize(
    ("law", "kind"),
    [(law, kind) for law in CATALOGUE for kind in kinds_of(law.claim)],
    ids=lambda part: f"{part.claim}:{part.name}" if isinstance(part, Law) else part,
)
def test_our_function_keeps_the_law(law: Law, kind: str) -> None:
    @as_often_as_needed(law)
    @given(case=law.cases)
    def keeps(case: object) -> None:
        law.check(CLAIMS[law.claim], case)

    with kernels.use(kind):
        keeps()


@by_name
def test_a_law_says_what_it_is_what_it_notices_and_what_to_think_about(law: Law) -> None:
    assert law.sentence.endswith(".")
    assert law.kills
    assert law.hint
    assert "\n" not in law.sentence + law.kills + law.hint


@pytest.mark.parametrize("claim", CLAIMS)
def test_every_claim_has_laws_enough(claim: str) -> None:
    names = Counter(law.name for law in CATALOGUE if law.claim == claim)
    assert len(names) >= FEWEST_LAWS
    assert set(names.values()) == {1}, "no law should stand twice"


@pytest.mark.parametrize("claim", ["encoder-block", "pre-norm-decoder-block", "encoder", "pre-norm-decoder"])
def test_the_law_that_says_least_of_blocks_is_reported_last(claim: str) -> None:
    assert laws_of(claim)[-1].name == "the_answer_agrees_with_the_reference"


@pytest.mark.parametrize("tag", in_torch())
def test_every_equation_has_laws_and_mutants_enough(tag: str) -> None:
    laws = {(law.claim, law.name) for law in CATALOGUE if tag in law.equations}
    assert len(laws) >= FEWEST_LAWS
    assert sum(mutant.claim == tag for mutant in ZOO) >= FEWEST_MUTANTS


def test_a_law_is_read_from_its_docstring() -> None:
    def check(function: object, case: object) -> None:
        """What is said
        holds.

        Kills: this; that, over
        two lines.
        Hint: Look here.
        """

    law = Law("softmax", check, st.just(0), ("softmax",))
    assert (law.name, law.sentence) == ("check", "What is said holds.")
    assert (law.kills, law.hint) == ("this; that, over two lines.", "Look here.")
