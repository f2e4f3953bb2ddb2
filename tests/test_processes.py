"""Several processes: the run that one does alone, and what becomes of it when one of them fails."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import shared_runs
import tiny_runs
from several_processes import Crew

from minitransformer.cli import main
from minitransformer.errors import InputError
from minitransformer.laws.tolerances import STACK, assert_close, assert_same
from minitransformer.losses import IGNORED
from minitransformer.pretraining import pretrain


@pytest.fixture(scope="module", params=[2, 4])
def crew(request: pytest.FixtureRequest) -> Iterator[Crew]:
    """Two processes, and then four."""
    processes = Crew(request.param)
    yield processes
    assert processes.end() == [0] * request.param


in_two_processes = pytest.mark.parametrize("crew", [2], indirect=True)


def share_of(updates: list[list[int]], rank: int, n_processes: int) -> list[int]:
    """What a process reads of some updates: every n-th example, or the first where nothing is left for it."""
    return [number for update in updates for number in update[rank::n_processes] or update[:1]]


def cut(numbers: list[int], *sizes: int) -> list[list[int]]:
    """Numbers in pieces of these sizes."""
    return [numbers[sum(sizes[:k]) : sum(sizes[: k + 1])] for k in range(len(sizes))]


def assert_close_runs(found: dict[str, Any], wanted: dict[str, Any]) -> None:
    """Fail unless two runs logged the same and ended with the same parameters, but for rounding."""
    assert len(found["logs"]) == len(wanted["logs"])
    for ours, theirs in zip(found["logs"], wanted["logs"], strict=True):
        assert ours.keys() == theirs.keys()
        for name, value in theirs.items():
            assert_close(ours[name], value, c=STACK, what=f"{name} at step {theirs['step']}")
    assert found["tensors"].keys() == wanted["tensors"].keys()
    for name, tensor in wanted["tensors"].items():
        assert_close(found["tensors"][name], tensor, c=STACK, what=name)


RUNS = {
    "pretraining": shared_runs.pretrain,
    "classification": shared_runs.classify,
    "uneven updates": shared_runs.learn_uneven_updates,
    "a budget of tokens": shared_runs.learn_by_tokens,
    "an idle part": shared_runs.learn_with_an_idle_part,
}


@pytest.mark.parametrize("run", RUNS.values(), ids=RUNS.keys())
def test_several_processes_compute_the_run_that_one_does_alone(
    crew: Crew, run: Callable[[Path], dict[str, Any]], tmp_path: Path
) -> None:
    alone = run(tmp_path)
    for together in crew.do(run, tmp_path):
        assert_close_runs(together, alone)


def test_gradients_are_sent_once_in_an_update_however_many_batches_it_has(crew: Crew, tmp_path: Path) -> None:
    assert crew.do(shared_runs.count_sent_gradients, tmp_path) == [[1, 1]] * crew.n_processes


@pytest.mark.parametrize("count", [11, 3])
def test_several_processes_judge_each_example_once_and_find_the_same(crew: Crew, count: int, tmp_path: Path) -> None:
    alone = shared_runs.evaluate(tmp_path, count)
    answers = crew.do(shared_runs.evaluate, tmp_path, count)
    size = 2 * crew.n_processes
    chunks = [list(range(first, min(first + size, count))) for first in range(0, count, size)]
    assert [answer["read"] for answer in answers] == [
        share_of(chunks, rank, crew.n_processes) for rank in range(crew.n_processes)
    ]
    for found in answers:
        assert found["figures"].keys() == alone["figures"].keys()
        for name, value in alone["figures"].items():
            assert_close(found["figures"][name], value, c=STACK, what=name)
        assert_same(found["truths"], alone["truths"])
        counts = alone["truths"] != IGNORED  # the scores at padding depend on what stands beside it
        assert_close(found["scores"][counts], alone["scores"][counts], what="the scores")


def test_what_a_callback_of_one_process_asks_for_all_do(crew: Crew, tmp_path: Path) -> None:
    assert crew.do(shared_runs.stop_when_one_asks, tmp_path) == [3] * crew.n_processes


def test_all_stop_early_together_though_they_measure_differently(crew: Crew, tmp_path: Path) -> None:
    answers = crew.do(shared_runs.stop_early, tmp_path)
    assert answers == [{"step": 3, "best": 0.0}] * crew.n_processes


def test_a_number_that_is_none_in_one_process_stops_all_with_one_message(crew: Crew, tmp_path: Path) -> None:
    answers = crew.do(shared_runs.meet_a_nan, tmp_path)
    assert len({answer["said"] for answer in answers}) == 1
    assert "the loss is nan" in answers[0]["said"]
    assert "at step 1" in answers[0]["said"]
    assert all(answer["same"] for answer in answers)
    assert sum(answer["tells"] for answer in answers) == 1


@pytest.mark.parametrize("in_evaluation", [False, True])
def test_a_signal_to_one_process_stops_all_and_the_run_goes_on_bit_for_bit(
    crew: Crew, in_evaluation: bool, tmp_path: Path
) -> None:
    answers = crew.do(shared_runs.interrupt, tmp_path, in_evaluation)
    assert {(answer["code"], answer["checkpoint"]) for answer in answers} == {(0, "checkpoint-2")}
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["checkpoint-2", "log.jsonl"]
    assert answers[0]["told"].count("interrupted;") == 1
    assert all(not answer["told"] for answer in answers[1:])
    for answer in answers:
        assert answer["resumed"]["logs"] == answer["whole"]["logs"]
        for name, tensor in answer["whole"]["tensors"].items():
            assert_same(answer["resumed"]["tensors"][name], tensor, name)


def test_only_the_first_process_writes_and_shows(crew: Crew, tmp_path: Path) -> None:
    first, *others = crew.do(shared_runs.write_and_show, tmp_path)
    assert "training" in first["shown"]
    assert "evaluating" in first["shown"]
    assert first["wrote"]
    assert others == [{"shown": "", "wrote": False}] * len(others)


def test_each_process_reads_only_its_own_examples(crew: Crew, tmp_path: Path) -> None:
    alone = shared_runs.read_what(tmp_path / "alone", steps=6)["read"]
    answers = crew.do(shared_runs.read_what, tmp_path / "together", 6)
    assert [answer["read"] for answer in answers] == [
        share_of(cut(alone, 4, 4, 4, 4, 4, 1), rank, crew.n_processes) for rank in range(crew.n_processes)
    ]


def test_what_the_first_one_cannot_do_fails_in_all(crew: Crew, tmp_path: Path) -> None:
    assert crew.do(shared_runs.ask_first, tmp_path) == ["the disk is full; make room"] * crew.n_processes


def test_a_run_goes_on_with_fewer_processes_and_with_more_again(
    crew: Crew, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    whole = shared_runs.read_what(tmp_path / "whole", steps=9)
    updates = cut(whole["read"], 4, 4, 4, 4, 4, 1, 4, 4, 4)
    crew.do(shared_runs.read_what, tmp_path / "run", 2)
    alone = shared_runs.read_what(tmp_path / "run", steps=5, resume=True)
    assert alone["read"] == share_of(updates[2:5], rank=0, n_processes=1)
    assert "equal up to rounding, and with dropout not the same" in caplog.text
    answers = crew.do(shared_runs.read_what, tmp_path / "run", 9, True)
    for rank, answer in enumerate(answers):
        assert answer["read"] == share_of(updates[5:], rank, crew.n_processes)
        assert_close_runs(answer, whole)


def test_a_process_that_dies_ends_the_others_with_a_clear_line(tmp_path: Path) -> None:
    crew = Crew(2)
    crew.channels[1].send((shared_runs.lose_one, (tmp_path,)))
    crew.channels[0].send((shared_runs.lose_one, (tmp_path,)))
    assert crew.channels[0].poll(60)
    is_right, answer = crew.channels[0].recv()
    assert is_right, answer
    assert answer["code"] == 1
    assert answer["told"].startswith("minitransformer: process 0 of 2 has lost the others")
    assert (tmp_path / "checkpoint-2").is_dir()
    crew.processes[1].join()
    assert crew.end() == [0, 7]


def test_the_first_process_prepares_the_text_and_the_others_only_read_their_pairs(crew: Crew, tmp_path: Path) -> None:
    corpus = str(tiny_runs.write_corpus(tmp_path))
    figures = crew.do(shared_runs.pretrain_from_text, tmp_path, corpus)
    assert figures == [json.loads((tmp_path / "model" / "metrics.json").read_text("utf-8"))] * crew.n_processes
    assert figures[0]["steps"] == 12
    assert pretrain(corpus, tmp_path / "model", tiny_runs.plan()) == figures[0], "one process finds it finished"


def test_several_processes_fine_tune_as_one_does(crew: Crew, tmp_path: Path) -> None:
    model, labelled = tiny_runs.pretrained(tmp_path), tiny_runs.write_labelled(tmp_path)
    alone = shared_runs.finetune(tmp_path, model, labelled)
    assert crew.do(shared_runs.finetune, tmp_path, model, labelled) == [alone] * crew.n_processes
    assert not (tmp_path / f"classifier-of-{crew.n_processes}" / "checkpoints").exists()


def test_processes_that_share_a_model_out_compute_the_run_of_one_and_hold_less(crew: Crew, tmp_path: Path) -> None:
    alone = shared_runs.pretrain_shared_out(tmp_path / "alone")
    answers = crew.do(shared_runs.pretrain_shared_out, tmp_path / "together")
    for answer in answers:
        assert_close_runs(answer, alone)
        assert answer["bytes"] < 1.2 * alone["bytes"] / crew.n_processes
    assert sum(answer["bytes"] for answer in answers) == alone["bytes"]


@in_two_processes
def test_a_run_goes_on_with_a_model_that_is_shared_out_and_without(crew: Crew, tmp_path: Path) -> None:
    run = shared_runs.pretrain_shared_out
    whole = run(tmp_path / "whole")
    crew.do(run, tmp_path / "first", 2)
    assert_close_runs(run(tmp_path / "first", resume=True), whole)
    run(tmp_path / "then", steps=2)
    for answer in crew.do(run, tmp_path / "then", 4, True):
        assert_close_runs(answer, whole)


@in_two_processes
def test_a_shared_out_model_resumes_bit_for_bit_in_as_many_processes(crew: Crew, tmp_path: Path) -> None:
    whole = crew.do(partial(shared_runs.pretrain_shared_out, dropout=0.1), tmp_path / "whole")
    crew.do(partial(shared_runs.pretrain_shared_out, dropout=0.1), tmp_path / "run", 2)
    for answer, wanted in zip(
        crew.do(partial(shared_runs.pretrain_shared_out, dropout=0.1), tmp_path / "run", 4, True), whole, strict=True
    ):
        assert answer["logs"] == wanted["logs"]
        for name, tensor in wanted["tensors"].items():
            assert_same(answer["tensors"][name], tensor, name)


@in_two_processes
def test_a_shared_out_model_ends_with_the_best(crew: Crew, tmp_path: Path) -> None:
    alone = shared_runs.end_with_the_best(tmp_path / "alone")
    assert alone["best"] == 1, "the loss falls, and its largest value was said to be the best"
    for answer in crew.do(shared_runs.end_with_the_best, tmp_path / "together"):
        assert_close(answer["eval_loss"], alone["eval_loss"], c=STACK)


@in_two_processes
def test_what_a_shared_out_model_cannot_be_given_is_refused_in_all(crew: Crew, tmp_path: Path) -> None:
    for said in crew.do(shared_runs.refuse_with_fsdp, tmp_path):
        assert len(said) == 2
        assert "leave optimizers out" in said[0]
        assert "there is no checkpoint" in said[1]


@pytest.mark.parametrize("shared_out", [False, True])
def test_the_formula_of_memory_is_what_a_process_holds(crew: Crew, shared_out: bool, tmp_path: Path) -> None:
    for expected, found in crew.do(shared_runs.memory_of, tmp_path, shared_out):
        assert expected.keys() == found.keys()
        for kind, n_bytes in expected.items():
            assert found[kind] == pytest.approx(n_bytes, rel=0.03), kind


def test_a_command_whose_work_cannot_be_shared_is_for_one_process(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(sys, "argv", ["minitransformer", "explain", "attention"])
    with pytest.raises(SystemExit, match="2"):
        main()
    assert "2 processes cannot share the work of explain; start it without torchrun" in capsys.readouterr().err
    monkeypatch.setenv("LOCAL_RANK", "1")
    with pytest.raises(SystemExit, match="2"):
        main()
    assert not capsys.readouterr().err, "the first process of the machine has told it"


def test_an_update_that_processes_cannot_share_evenly_is_refused() -> None:
    with pytest.raises(InputError, match="batch_size=16 must be a multiple of the 3 processes"):
        tiny_runs.plan(batch_size=16).training_arguments(Path(), n_processes=3)


# What torchrun starts


def torchrun(*command: str) -> subprocess.Popen[str]:
    """Start two processes as users do."""
    line = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([*line, "-m", "minitransformer", *command], env=environment, **pipes)  # type: ignore[call-overload, no-any-return]


def workers_of(agent: subprocess.Popen[str]) -> list[int]:
    """The processes that torchrun has started."""
    return [int(pid) for pid in Path(f"/proc/{agent.pid}/task/{agent.pid}/children").read_text().split()]


def test_a_killed_worker_ends_the_run_with_a_clear_line_and_the_same_command_goes_on(tmp_path: Path) -> None:
    plan = {"vocab-size": 200, "max-length": 20, "hidden-size": 16, "num-hidden-layers": 1, "num-attention-heads": 2}
    plan |= {"max-steps": 150, "batch-size": 4, "warmup-steps": 2, "save-steps": 10}
    options = [word for name, value in plan.items() for word in (f"--{name}", str(value))]
    command = ["pretrain", str(tiny_runs.write_corpus(tmp_path)), "--output-dir", str(tmp_path / "run"), *options]
    agent = torchrun(*command)
    deadline = time.monotonic() + 60
    while not list((tmp_path / "run").glob("checkpoints/checkpoint-*")):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.kill(workers_of(agent)[-1], signal.SIGKILL)
    _, told = agent.communicate(timeout=60)
    assert agent.returncode
    assert "minitransformer: process 0 of 2 has lost the others" in told
    assert "Error" not in told.partition("ChildFailedError")[0].replace("torch.distributed.elastic", "")
    assert not (tmp_path / "run" / "metrics.json").exists()
    shown, told = torchrun(*command).communicate(timeout=60)
    assert shown.count("Kept in") == 1
    assert json.loads((tmp_path / "run" / "metrics.json").read_text("utf-8"))["steps"] == 150
    assert "Warning" not in told
