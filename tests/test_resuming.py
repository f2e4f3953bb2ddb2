"""Resuming: a run that stops anywhere and goes on ends as the run that never stopped, bit for bit."""

from pathlib import Path
from typing import Any

import pytest
from trusted_runs import N_STEPS, SCENARIOS, Material, differences, outcome, resumed_after


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Material:
    """What all runs learn from."""
    return Material.prepare(tmp_path_factory.mktemp("material"))


@pytest.fixture(scope="module")
def undisturbed(material: Material, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """How each scenario ends when nothing stops it."""
    outcomes: dict[str, Any] = {}

    def outcome_of(name: str) -> Any:
        if name not in outcomes:
            trainer = SCENARIOS[name].build(material, tmp_path_factory.mktemp("undisturbed"))
            trainer.train()
            outcomes[name] = outcome(trainer)
        return outcomes[name]

    return outcome_of


@pytest.mark.parametrize("step", [1, 6, 7])
@pytest.mark.parametrize("name", SCENARIOS)
def test_a_run_that_stopped_and_went_on_ends_as_one_that_never_stopped(
    material: Material, undisturbed: Any, tmp_path: Path, name: str, step: int
) -> None:
    trainer = resumed_after(SCENARIOS[name], material, tmp_path, step)
    assert differences(outcome(trainer), undisturbed(name)) == []


def test_the_scenarios_are_what_they_say(undisturbed: Any) -> None:
    assert undisturbed("masks drawn anew, dropout, shuffled")["epoch"] > 1, "there should be a pass to end"
    assert undisturbed("early stopping")["global_step"] < N_STEPS, "it should have stopped early"
    step, best = (
        undisturbed("the best model at the end")["global_step"],
        undisturbed("the best model at the end")["best"],
    )
    assert best[1] < step, "the best should not be the last"


def test_reading_in_other_processes_changes_nothing(undisturbed: Any) -> None:
    for name in ("grouped by length", "a stream without numbers"):
        other = {"grouped by length": "grouped by length, two reading processes"}.get(
            name, "a stream, read in another process"
        )
        assert differences(undisturbed(other), undisturbed(name)) == []
    here, there = "masks drawn anew, dropout, shuffled", "two reading processes"
    assert differences(undisturbed(there), undisturbed(here)) == []
