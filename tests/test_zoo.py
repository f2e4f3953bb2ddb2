"""The bug zoo: what a mutant must be, that laws notice them, and that they notice nothing in ours."""

from collections import Counter
from inspect import signature

import pytest

from minitransformer.errors import InputError
from minitransformer.laws import CLAIMS, laws_of
from minitransformer.laws.claims import HEAVY
from minitransformer.laws.judging import is_broken
from minitransformer.laws.zoo import ZOO, Mutant, Survey, kills, matrix_page, mutant
from minitransformer.laws.zoo.matrix import (
    EXAMPLES_OF_HEAVY,
    claims_of_the_zoo,
    claims_without_mutants,
    mutants_of,
    names_of_laws,
    ordinary_arguments,
    passes_shape_only,
)
from minitransformer.laws.zoo.mutant import DIFFICULTIES

FEWEST_MUTANTS = 60
FEWEST_OF_A_CLAIM = 4
SHORTEST_SYMPTOM = 10
FEW_EXAMPLES = 20
FEWER_EXAMPLES, FEWEST_EXAMPLES = 12, 3
"""For our own functions, which keep the laws on many more cases elsewhere; the second where a case is heavy."""
EVERY = 20
by_name = pytest.mark.parametrize("each", ZOO, ids=lambda each: each.name)
by_claim = pytest.mark.parametrize("claim", claims_of_the_zoo())


def every_survived() -> Survey:
    """A survey in which no law has killed anything."""
    killed_by = {each.name: dict.fromkeys(names_of_laws(each.claim), False) for each in ZOO}
    return Survey(killed_by, {each.name: True for each in ZOO}, seconds=1.0)


def test_the_zoo_is_large_enough() -> None:
    assert len(ZOO) >= FEWEST_MUTANTS


def test_every_claim_has_mutants() -> None:
    assert not claims_without_mutants()


@by_claim
def test_every_claim_has_mutants_enough(claim: str) -> None:
    assert len(mutants_of(claim)) >= FEWEST_OF_A_CLAIM


def test_no_two_mutants_share_a_name() -> None:
    assert [name for name, count in Counter(each.name for each in ZOO).items() if count > 1] == []


@by_name
def test_a_mutant_says_what_is_wrong_and_what_it_looks_like(each: Mutant) -> None:
    assert each.answer.endswith(".")
    assert "\n" not in each.answer
    assert len(each.symptom) > SHORTEST_SYMPTOM
    assert each.symptom.endswith(".")
    assert each.difficulty in DIFFICULTIES
    assert not each.source or each.source.split("#")[1].isdigit()


@by_name
def test_a_mutant_takes_what_ours_takes(each: Mutant) -> None:
    ours = list(signature(CLAIMS[each.claim]).parameters.values())
    theirs = list(signature(each.function).parameters.values())
    # Attention's dropout and its past have tests elsewhere; what builds a module is no part of what it computes.
    elsewhere = ("dropout_rate", "seed", "kept", "causal", "build")
    names = [parameter.name for parameter in ours if parameter.name not in elsewhere]
    assert [parameter.name for parameter in theirs] == names
    assert [parameter.default for parameter in theirs] == [parameter.default for parameter in ours[: len(theirs)]]


@pytest.mark.filterwarnings("ignore")  # wrong functions overflow and divide by zero
@pytest.mark.parametrize("each", ZOO[::EVERY], ids=lambda each: each.name)
def test_some_law_kills_the_mutant(each: Mutant) -> None:
    n_examples = EXAMPLES_OF_HEAVY if each.claim in HEAVY else FEW_EXAMPLES
    assert any(is_broken(law, each.function, n_examples) for law in laws_of(each.claim))


@by_claim
def test_nothing_kills_our_own_function(claim: str) -> None:
    ours = Mutant(claim, CLAIMS[claim], symptom="none", source="", difficulty="easy")
    assert not any(kills(ours, FEWEST_EXAMPLES if claim in HEAVY else FEWER_EXAMPLES).values())
    assert passes_shape_only(ours)


@by_claim
def test_an_ordinary_case_suits_our_function(claim: str) -> None:
    CLAIMS[claim](*ordinary_arguments(claim))


def test_a_test_of_shape_notices_a_shape_and_nothing_else() -> None:
    passes = {each.name: passes_shape_only(each) for each in mutants_of("packed-visibility")}
    assert not passes["heads_taken_for_examples"]
    assert passes["earlier_segments_visible"]


def test_a_survey_names_survivors_and_idle_laws() -> None:
    survey = every_survived()
    assert len(survey.survivors) == len(ZOO)
    assert len(survey.idle_laws) == survey.n_laws
    first = ZOO[0]
    survey.killed_by[first.name][names_of_laws(first.claim)[0]] = True
    assert first.name not in survey.survivors
    assert len(survey.idle_laws) == survey.n_laws - 1


def test_the_page_has_a_row_for_each_mutant_and_a_mark_for_each_death() -> None:
    survey = every_survived()
    survey.killed_by["powers_of_two"] = dict.fromkeys(names_of_laws("softmax"), True)
    page = matrix_page(survey)
    (line,) = [line for line in page.splitlines() if line.startswith("| powers of two |")]
    assert line.count("✗") == len(names_of_laws("softmax"))
    assert f"- {len(ZOO)} mutants of {len(claims_of_the_zoo())} functions" in page
    assert all(f"## {claim}\n" in page for claim in claims_of_the_zoo())


def test_a_difficulty_must_be_one_of_three() -> None:
    with pytest.raises(InputError, match="difficulty='fiendish' is not one of easy, medium, hard; choose one of them"):
        mutant("relu", symptom="None.", difficulty="fiendish")
