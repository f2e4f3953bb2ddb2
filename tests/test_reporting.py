"""Reporting: what a run writes down while it goes, for people, for programs and for TensorBoard."""

import json
import math
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure
from test_trainer import Examples, StopAt, StoppedError, line_trainer

from minitransformer.errors import InputError
from minitransformer.run_log import read_run
from minitransformer.trainer import Trainer
from minitransformer.trainer import callbacks as callbacks_module


def logged(folder: Path) -> list[dict[str, Any]]:
    """The lines of a run's log."""
    return [json.loads(line) for line in (folder / "log.jsonl").read_text("utf-8").splitlines()]


def test_the_log_has_a_line_for_each_entry_of_the_history(tmp_path: Path) -> None:
    trainer = line_trainer(tmp_path, eval_dataset=Examples(3), eval_strategy="epoch")
    trainer.train()
    assert logged(tmp_path) == trainer.state.log_history
    assert read_run(tmp_path).entries == trainer.state.log_history
    assert "eval_loss" in logged(tmp_path)[-1]


def test_a_resumed_run_drops_the_lines_after_its_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(StoppedError):
        line_trainer(tmp_path, save_steps=3, callbacks=[StopAt(3)]).train()
    resumed = line_trainer(tmp_path, learning_rate=0.01)
    resumed.train(resume_from_checkpoint=str(tmp_path / "checkpoint-3"))
    assert [entry["step"] for entry in logged(tmp_path)] == [1, 2, 3, 4]


def test_an_evaluation_outside_of_a_training_writes_no_file(tmp_path: Path) -> None:
    line_trainer(tmp_path / "none", eval_dataset=Examples(3)).evaluate()
    assert not (tmp_path / "none").exists()


def figures_in(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """What TensorBoard would show."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder))
    events.Reload()
    return {name: [(event.step, event.value) for event in events.Scalars(name)] for name in events.Tags()["scalars"]}


def test_tensorboard_is_told_what_is_logged(tmp_path: Path) -> None:
    trainer = line_trainer(tmp_path, report_to="tensorboard", eval_dataset=Examples(3), eval_strategy="epoch")
    trainer.train()
    shown = figures_in(tmp_path / "tensorboard")
    losses = [(entry["step"], entry["loss"]) for entry in trainer.state.log_history if "loss" in entry]
    assert [step for step, _ in shown["train/loss"]] == [step for step, _ in losses]
    assert all(math.isclose(a, b, rel_tol=1e-6) for (_, a), (_, b) in zip(shown["train/loss"], losses, strict=True))
    assert {"train/learning_rate", "train/grad_norm", "eval/loss"} <= shown.keys()


def test_a_folder_for_tensorboard_asks_for_it_and_none_of_its_files_where_it_was_refused(tmp_path: Path) -> None:
    line_trainer(tmp_path / "a", logging_dir=str(tmp_path / "logs")).train()
    assert figures_in(tmp_path / "logs")["train/loss"]
    line_trainer(tmp_path / "b", logging_dir=str(tmp_path / "others"), report_to="none").train()
    line_trainer(tmp_path / "c").train()
    assert not (tmp_path / "others").exists()
    assert not (tmp_path / "c" / "tensorboard").exists()


def test_a_folder_for_tensorboard_is_nothing_where_it_is_not_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(callbacks_module, "find_spec", lambda name: None if name == "tensorboard" else find_spec(name))
    line_trainer(tmp_path / "a", logging_dir=str(tmp_path / "logs")).train()
    assert not (tmp_path / "logs").exists()


def test_a_run_draws_itself(tmp_path: Path) -> None:
    trainer = line_trainer(tmp_path)
    with pytest.raises(InputError):
        trainer.plot()
    trainer.train()
    assert isinstance(trainer.plot(), Figure)
    trainer.plot(tmp_path / "plot.png")
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")


def test_the_bar_shows_loss_rate_and_speed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trainer = line_trainer(tmp_path)
    Trainer(trainer.model, trainer.args, train_dataset=Examples(7))
    trainer.args.disable_tqdm = False
    trainer.train()
    shown = capsys.readouterr().err
    assert "4/4" in shown
    assert "tokens/s" in shown
    assert f"loss {trainer.state.log_history[-1]['loss']:.3f}" in shown
