"""The strategies can produce the hard cases; a law that never meets them proves nothing."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import find, given, settings
from hypothesis import strategies as st

from minitransformer.laws.cases import (
    SIZES,
    AttentionCase,
    LossCase,
    SequenceCase,
    VectorsCase,
    attention_cases,
    coins,
    distinct_sizes,
    loss_cases,
    numbers,
    parameters_of,
    randomise,
    sequence_cases,
    shuffled,
    vectors_cases,
)

HARD_ATTENTION: dict[str, Callable[[AttentionCase], bool]] = {
    "a row that sees nothing": lambda case: bool((~case.visible.any(-1)).any() and case.visible.any()),
    "nothing is visible at all": lambda case: not case.visible.any(),
    "a single query": lambda case: case.length == 1,
    "a single key": lambda case: case.memory == 1,
    "keys of width 1": lambda case: case.d_k == 1,
    "scores of 10,000": lambda case: case.scores == "large" and case.score_size > 1e4,
    "equal keys": lambda case: case.memory > 1 and torch.equal(case.key[:, :1].expand_as(case.key), case.key),
    "each query hides another key": lambda case: bool((case.visible[:, :1] != case.visible).any()),
}
HARD_SEQUENCE: dict[str, Callable[[SequenceCase], bool]] = {
    "a single head": lambda case: case.n_heads == 1,
    "heads of width 1": lambda case: case.d_k == 1,
    "a single position": lambda case: case.length == 1,
    "a batch of one": lambda case: case.batch == 1,
    "a position that sees nothing": lambda case: case.visibility == "one row sees nothing",
}
HARD_VECTORS: dict[str, Callable[[VectorsCase], bool]] = {
    "width 1": lambda case: case.width == 1,
    "equal entries": lambda case: case.width > 1 and bool((case.x == case.x[..., :1]).all()),
    "entries of 10,000": lambda case: float(case.x.abs().max()) > 1e4,
    "an eps that matters": lambda case: case.eps == 1.0,
}
HARD_LOSS: dict[str, Callable[[LossCase], bool]] = {
    "one position counts": lambda case: int(case.counts.sum()) == 1 and case.counts.numel() > 1,
    "a single class": lambda case: case.n_classes == 1,
    "scores of 10,000": lambda case: float(case.logits.abs().max()) > 1e4,
    "equal scores": lambda case: case.n_classes > 1 and not case.logits.any(),
    "full label smoothing": lambda case: case.label_smoothing == 1.0,
}


@pytest.mark.parametrize(
    ("cases", "is_hard"),
    [
        pytest.param(strategy, is_hard, id=f"{family}: {name}")
        for family, strategy, predicates in (
            ("attention", attention_cases(), HARD_ATTENTION),
            ("sequence", sequence_cases(), HARD_SEQUENCE),
            ("vectors", vectors_cases(), HARD_VECTORS),
            ("loss", loss_cases(), HARD_LOSS),
        )
        for name, is_hard in predicates.items()
    ],
)
def test_the_hard_case_is_drawn(cases: st.SearchStrategy[object], is_hard: Callable[[object], bool]) -> None:
    find(cases, is_hard, settings=settings(max_examples=500, derandomize=True, database=None))


@given(sizes=distinct_sizes(5, may_be_one=(0, 4)))
def test_no_two_sizes_agree(sizes: tuple[int, ...]) -> None:
    assert len(set(sizes)) == 5
    assert set(sizes) <= {*SIZES, 1}
    assert 1 not in sizes[1:4]


@given(case=loss_cases())
def test_something_always_counts(case: LossCase) -> None:
    assert case.counts.any()


def test_a_seed_and_a_name_give_the_same_numbers_again() -> None:
    assert torch.equal(numbers(3, "x", 2, 5), numbers(3, "x", 2, 5))
    assert not torch.equal(numbers(3, "x", 2, 5), numbers(3, "y", 2, 5))
    assert not torch.equal(numbers(3, "x", 2, 5), numbers(4, "x", 2, 5))
    assert coins(3, "x", 100).float().mean().item() == pytest.approx(0.5, abs=0.25)
    assert sorted(shuffled(3, "x", 7).tolist()) == list(range(7))


def test_every_parameter_of_a_module_gets_numbers_of_its_own() -> None:
    module = randomise(torch.nn.Linear(3, 2), seed=1)
    assert not module.training
    assert all(parameter.unique().numel() == parameter.numel() for parameter in module.parameters())
    assert parameters_of(module).keys() == {"weight", "bias"}
