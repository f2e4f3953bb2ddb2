"""The debugging game: the healthy model learns, one function of each folder is wrong, and nothing tells which."""

import ast
import hashlib
import math
import subprocess
import sys
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch

from minitransformer.errors import InputError
from minitransformer.laws.checking import check_file
from minitransformer.laws.claims import CLAIMS
from minitransformer.laws.zoo.game import chosen, debug, small_model
from minitransformer.laws.zoo.game.debugging import MODEL, PICTURE, QUESTION, TABLE, module_of
from minitransformer.laws.zoo.game.model_file import (
    debuggable,
    debuggable_claims,
    equations,
    model_file,
    mutated,
    name_of,
)
from minitransformer.laws.zoo.matrix import mutants_of, ordinary_arguments
from minitransformer.laws.zoo.mutant import Mutant
from minitransformer.laws.zoo.showing import find_mutant

NOT_IN_A_MODEL_OF_HIDDEN_WORDS = "causal-visibility"
FEW_EXAMPLES = 20
by_claim = pytest.mark.parametrize("claim", debuggable_claims())


def answer_of(function: Any, claim: str) -> Any:
    """What a function answers in an ordinary case, or the kind of its error."""
    arguments = [each.clone() if isinstance(each, torch.Tensor) else each for each in ordinary_arguments(claim)]
    torch.manual_seed(0)
    options = {"generator": torch.Generator().manual_seed(3)} if claim == "masking" else {}
    try:
        return function(*arguments, **options)
    except Exception as error:
        return type(error)


file_of = cache(model_file)


def functions_of(text: str) -> dict[str, str]:
    """Each function and class of a file as a tree, which has no comments and no lines."""
    nodes = ast.parse(text).body
    return {getattr(node, "name", ast.dump(node)): ast.dump(node) for node in nodes}


def first_of(claim: str) -> Mutant:
    """The first mutant of a claim."""
    return mutants_of(claim)[0]


# The healthy model


def test_the_small_model_learns() -> None:
    losses = [loss for _, loss, _ in islice(small_model.training(), 70)]
    assert losses[0] == pytest.approx(math.log(len(small_model.WORDS)), rel=0.1)
    assert sum(losses[-10:]) / 10 < 0.7 * losses[0]


def test_the_healthy_file_trains_as_the_small_model_does() -> None:
    text = model_file(None).replace(f"SEED = {module_of(model_file(None)).SEED}", "SEED = 0")
    ours = [loss for _, loss, _ in islice(small_model.training(), 5)]
    theirs = [loss for _, loss, _ in islice(module_of(text).training(), 5)]
    assert theirs == pytest.approx(ours, rel=1e-4)


@by_claim
def test_a_function_of_the_healthy_file_answers_as_ours_does(claim: str) -> None:
    function = getattr(module_of(model_file(None)), name_of(claim))
    torch.testing.assert_close(answer_of(function, claim), answer_of(CLAIMS[claim], claim), check_dtype=False)


# The file with a mistake


@by_claim
def test_the_mutant_in_the_file_answers_as_the_mutant_of_the_zoo_does(claim: str) -> None:
    for each in mutants_of(claim):
        found = answer_of(getattr(module_of(file_of(each)), name_of(claim)), claim)
        expected = answer_of(each.function, claim)
        if isinstance(expected, type):
            assert found == expected, each.name
        else:
            torch.testing.assert_close(
                found, expected, check_dtype=False, equal_nan=True, msg=lambda text, each=each: f"{each.name}: {text}"
            )


@by_claim
def test_only_one_function_differs_and_nothing_tells_which(claim: str) -> None:
    healthy = functions_of(file_of(None))
    for each in mutants_of(claim):
        text, (name, node) = file_of(each), mutated(each)
        this = functions_of(text)
        assert list(healthy) == list(this)
        assert [found for found in healthy if healthy[found] != this[found]] == [name]
        assert ast.get_docstring(node) == ast.get_docstring(equations()[name])
        assert each.name not in text
        assert each.answer not in text
        assert not any(word in text for word in ("mutant", "zoo", "jaxtyping", "InputError", "type: ignore"))


def test_files_of_all_claims_run_from_any_folder(tmp_path: Path) -> None:
    for claim in debuggable_claims():
        (tmp_path / f"{name_of(claim)}_wrong.py").write_text(model_file(first_of(claim)), encoding="utf-8")
    code = """
import importlib, pathlib, warnings
for path in sorted(pathlib.Path().glob("*.py")):
    losses = [loss for _, loss, _ in importlib.import_module(path.stem).training(2)]
    print(path.stem, losses)
"""
    run = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert run.stderr == ""
    assert len(run.stdout.splitlines()) == len(debuggable_claims())


# The folder


def test_a_folder_holds_a_model_a_picture_a_table_and_a_question(tmp_path: Path) -> None:
    mutant = find_mutant("mean_not_subtracted")
    debug(mutant.name, None, tmp_path / "game", steps=3)
    folder = tmp_path / "game"
    assert sorted(file.name for file in folder.iterdir()) == sorted([MODEL, PICTURE, TABLE, QUESTION])
    assert (folder / MODEL).read_text(encoding="utf-8") == model_file(mutant)
    assert (folder / PICTURE).read_bytes().startswith(b"\x89PNG")
    lines = (folder / TABLE).read_text(encoding="utf-8").splitlines()
    assert lines[0] == "step,healthy,healthy_held_out,this_model,this_model_held_out"
    assert len(lines) == 4
    question = (folder / QUESTION).read_text(encoding="utf-8")
    assert "minitransformer check model.py" in question
    assert all(f"`{name_of(claim)}`" in question for claim in debuggable_claims())
    assert mutant.name not in question
    assert mutant.symptom not in question


def test_the_same_seed_gives_the_same_folder_and_another_seed_another(tmp_path: Path) -> None:
    for name, seed in (("first", 3), ("again", 3), ("other", 4)):
        debug("", seed, tmp_path / name, steps=2)
    sums = {
        folder: [hashlib.sha256((tmp_path / folder / name).read_bytes()).digest() for name in (MODEL, PICTURE, TABLE)]
        for folder in ("first", "again", "other")
    }
    assert sums["first"] == sums["again"]
    assert sums["first"][0] != sums["other"][0]


def test_seeds_in_a_row_draw_every_mutant_once() -> None:
    drawn = [chosen("", seed).name for seed in range(len(debuggable()))]
    assert len(set(drawn)) == len(drawn)


def test_a_seed_draws_other_names_too() -> None:
    assert "class SmallModel" not in model_file(None, seed=1)
    assert set(functions_of(model_file(None, seed=1))) != set(functions_of(model_file(None, seed=2)))


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("probabilities_left_autograd", "does not even make its first step: `RuntimeError: element 0 of tensors"),
        ("one_selection_for_all_rows", "breaks at step"),
        ("no_eps_at_all", "the curve shows nothing, and the mistake is there"),
    ],
)
def test_the_question_tells_what_the_curve_shows(tmp_path: Path, name: str, complaint: str) -> None:
    debug(name, None, tmp_path / "game", steps=6)
    question = " ".join((tmp_path / "game" / QUESTION).read_text(encoding="utf-8").split())
    assert complaint in question
    assert (tmp_path / "game" / PICTURE).exists()


def test_check_finds_the_wrong_function_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / MODEL
    path.write_text(model_file(find_mutant("scaled_by_the_width")), encoding="utf-8")
    names = ("attention_weights", "softmax", "masked_lm_loss", "linear_warmup")
    passed = {name: check_file(path, name=name, max_examples=FEW_EXAMPLES)[0].passed for name in names}
    assert passed == {name: name != "attention_weights" for name in names}


# What cannot be


def test_what_the_model_does_not_use_is_refused(tmp_path: Path) -> None:
    mutant = first_of(NOT_IN_A_MODEL_OF_HIDDEN_WORDS)
    with pytest.raises(InputError, match="which the small model does not use; choose a mutant that claims to be mask"):
        debug(mutant.name, None, tmp_path / "game")


def test_neither_a_mutant_nor_a_seed_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="or --seed N to draw one"):
        debug("", None, tmp_path / "game")


def test_a_seed_below_zero_is_refused() -> None:
    with pytest.raises(InputError, match="seed=-1 must be 0 or more"):
        chosen("", -1)


def test_a_folder_that_holds_something_is_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(InputError, match="is there already, and is not empty; choose another --output-dir"):
        debug("", 1, tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["mine.txt"]


def test_nothing_is_left_of_a_folder_that_was_interrupted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("minitransformer.laws.zoo.game.debugging.table", interrupt)
    with pytest.raises(KeyboardInterrupt):
        debug("", 1, tmp_path / "game", steps=1)
    assert list(tmp_path.iterdir()) == []
