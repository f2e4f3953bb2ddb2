"""What runs write down: whole lines at any moment, numbers that come back, and the logs of others."""

import json
import logging
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from minitransformer import run_log
from minitransformer.errors import InputError
from minitransformer.run_log import LogFile, TensorBoardWriter, read_run, read_runs

ENTRIES = [{"step": step, "epoch": step / 4, "loss": 1 / 3 + 1 / step} for step in range(1, 5)]


def write(path: Path, content: object) -> Path:
    """A file of JSON, in a folder that need not be there; returns the folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content) + "\n", encoding="utf-8")
    return path.parent


def events(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """What TensorBoard shows: the steps and values of each name."""
    accumulator = EventAccumulator(str(folder)).Reload()
    names = accumulator.Tags()["scalars"]
    return {name: [(event.step, event.value) for event in accumulator.Scalars(name)] for name in names}


# Writing


def test_what_is_logged_comes_back_to_the_last_bit(tmp_path: Path) -> None:
    log = LogFile(tmp_path / "log.jsonl")
    log.start()
    for entry in ENTRIES:
        log.add(entry)
    assert read_run(tmp_path).entries == ENTRIES


def test_a_resumed_run_drops_what_was_logged_after_its_checkpoint(tmp_path: Path) -> None:
    log = LogFile(tmp_path / "log.jsonl")
    log.start(ENTRIES)
    log = LogFile(tmp_path / "log.jsonl")
    log.start(ENTRIES[:2])
    log.add({"step": 3, "loss": 9.0})
    assert read_run(tmp_path).entries == [*ENTRIES[:2], {"step": 3, "loss": 9.0}]


def test_a_log_can_be_read_while_it_is_written(tmp_path: Path) -> None:
    log = LogFile(tmp_path / "log.jsonl")
    log.start()
    for number, entry in enumerate(ENTRIES, start=1):
        log.add(entry)
        assert len(read_run(tmp_path).entries) == number


def test_a_process_that_is_killed_leaves_whole_lines(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from minitransformer.run_log import LogFile\n"
        "log = LogFile(Path(sys.argv[1]) / 'log.jsonl'); log.start()\n"
        "for step in range(10**9): log.add({'step': step, 'loss': 1 / 3, 'words': 'x' * 200})\n"
    )
    process = subprocess.Popen([sys.executable, "-c", program, str(tmp_path)])
    path = tmp_path / "log.jsonl"
    deadline = time.monotonic() + 60
    while not (path.is_file() and path.stat().st_size > 20_000) and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert path.read_text(encoding="utf-8").endswith("}\n")
    entries = read_run(tmp_path).entries
    assert [entry["step"] for entry in entries] == list(range(len(entries)))
    assert len(entries) > 50


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf, np.float32("nan"), torch.tensor(math.inf)])
def test_numbers_that_are_not_finite_are_strict_json_and_come_back(number: float, tmp_path: Path) -> None:
    log = LogFile(tmp_path / "log.jsonl")
    log.start([{"step": 1, "loss": number}])

    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is no JSON")

    json.loads(log.path.read_text(encoding="utf-8"), parse_constant=refuse)
    ((entry,),) = (read_run(tmp_path).entries,)
    assert str(entry["loss"]) == str(float(number))


def test_whatever_a_metric_gives_can_be_logged(tmp_path: Path) -> None:
    given = {
        "eval_f1": np.float32(0.5),
        "eval_count": np.int64(3),
        "eval_loss": torch.tensor(0.25),
        "eval_matrix": np.eye(2),
        "eval_report": {"sea": {"f1": np.float64("nan")}},
        "eval_path": Path("somewhere"),
        "eval_note": None,
    }
    log = LogFile(tmp_path / "log.jsonl")
    log.start()
    log.add({"step": 1, **given})
    (entry,) = read_run(tmp_path).entries
    assert (entry["eval_f1"], entry["eval_count"], entry["eval_loss"]) == (0.5, 3, 0.25)
    assert entry["eval_matrix"] == [[1, 0], [0, 1]]
    assert entry["eval_path"] == "somewhere"
    assert math.isnan(entry["eval_note"])


def test_a_log_that_cannot_be_written_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").mkdir()
    with pytest.raises(InputError, match=r"cannot write .*log\.jsonl: Is a directory"):
        LogFile(tmp_path / "log.jsonl").add({"step": 1})
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(InputError, match=r"cannot write .*log\.jsonl: File exists"):
        LogFile(tmp_path / "taken" / "log.jsonl").start()


# Reading


def test_a_last_line_that_was_cut_off_is_left_out_and_told_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    log = LogFile(tmp_path / "log.jsonl")
    log.start(ENTRIES)
    whole = log.path.read_bytes()
    last = whole.rindex(b"\n", 0, -1) + 1
    for length in range(last + 1, len(whole) - 1):
        log.path.write_bytes(whole[:length])
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            assert read_run(tmp_path).entries == ENTRIES[:-1]
        assert "the last line of" in caplog.text
    for length in (last, len(whole) - 1, len(whole)):  # nothing of a line, or all of it
        log.path.write_bytes(whole[:length])
        caplog.clear()
        assert read_run(tmp_path).entries == (ENTRIES[:-1] if length == last else ENTRIES)
        assert not caplog.text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "holds no figures yet"),
        ("\n\n", "holds no figures yet"),
        ('{"step": 1}\nnot JSON\n{"step": 2}\n', "line 2 is not JSON"),
        ("not JSON\n", "line 1 is not JSON"),
        ("[1, 2]\n", r"holds \[1, 2\] where an object with a step is needed"),
        ('{"loss": 2.5}\n', "where an object with a step is needed"),
        ('{"step": "NaN"}\n', "where an object with a step is needed"),
    ],
)
def test_a_log_that_is_none_is_one_clear_error(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "log.jsonl").write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=message):
        read_run(tmp_path)


def test_a_folder_without_a_log_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"there is no folder .*; give the output_dir of a run"):
        read_run(tmp_path / "none")
    with pytest.raises(InputError, match=r"holds no log\.jsonl and no trainer_state\.json"):
        read_run(tmp_path)
    write(tmp_path / "config.json", {"hidden_size": 3})
    with pytest.raises(InputError, match="holds no log_history"):
        read_run(tmp_path / "config.json")
    (tmp_path / "log.jsonl").write_bytes(b'{"step": 1, "name": "caf\xe9"}\n')
    with pytest.raises(InputError, match=r"log\.jsonl is not UTF-8: byte 24"):
        read_run(tmp_path)


@pytest.mark.parametrize("place", ["log.jsonl", "checkpoints/log.jsonl"])
def test_a_log_is_found_in_its_folder_or_one_below(tmp_path: Path, place: str) -> None:
    write(tmp_path / place, ENTRIES[0])
    write(tmp_path / "history.json", {"history": ENTRIES})
    assert read_run(tmp_path).entries == ENTRIES[:1]
    assert read_run(tmp_path / place).entries == ENTRIES[:1]


@pytest.mark.parametrize("between", ["", "checkpoints"])
def test_without_a_log_the_newest_checkpoint_knows(tmp_path: Path, between: str) -> None:
    for step in (2, 10, 9):
        place = tmp_path / between / f"checkpoint-{step}" / "trainer_state.json"
        write(place, {"log_history": [{"step": step, "loss": math.nan}]})
    (entry,) = read_run(tmp_path).entries
    assert entry["step"] == 10
    assert math.isnan(entry["loss"])
    assert read_run(tmp_path / between / "checkpoint-9").entries[0]["step"] == 9


def test_the_history_that_a_finished_run_kept_can_be_read(tmp_path: Path) -> None:
    assert read_run(write(tmp_path / "history.json", {"history": ENTRIES})).entries == ENTRIES
    assert read_run(write(tmp_path / "demo" / "model" / "history.json", {"history": ENTRIES}).parent).entries == ENTRIES


def test_a_folder_of_several_runs_asks_which(tmp_path: Path) -> None:
    for name in ("first", "second"):
        write(tmp_path / name / "log.jsonl", ENTRIES[0])
    with pytest.raises(InputError, match=r"holds several runs; name those you want: .*/first .*/second"):
        read_run(tmp_path)


def test_runs_are_named_by_as_much_of_their_path_as_tells_them_apart(tmp_path: Path) -> None:
    places = ["a/run", "b/run", "b/other"]
    folders = [write(tmp_path / place / "log.jsonl", ENTRIES[0]) for place in places]
    assert [run.name for run in read_runs(folders)] == places
    assert [run.name for run in read_runs(folders[1:])] == ["run", "other"]
    assert read_run(folders[0]).name == "run"
    assert read_run(folders[0] / "log.jsonl").name == "run"
    assert [run.name for run in read_runs([folders[0], folders[0]])] == ["run", "run"]


def test_the_log_of_hugging_faces_trainer_can_be_read(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    state = transformers.TrainerState(
        global_step=2, log_history=[{"step": 1, "loss": 2.5}, {"step": 2, "eval_f1": 0.5}]
    )
    (tmp_path / "checkpoint-2").mkdir()
    state.save_to_json(str(tmp_path / "checkpoint-2" / "trainer_state.json"))
    assert read_run(tmp_path).entries == [{"step": 1, "loss": 2.5}, {"step": 2, "eval_f1": 0.5}]


# TensorBoard


def test_tensorboard_reads_all_numbers_under_hugging_faces_names(tmp_path: Path) -> None:
    writer = TensorBoardWriter(tmp_path)
    writer.add({"step": 5, "epoch": 0.5, "loss": 2.5, "learning_rate": np.float32(0.25), "note": "words"})
    writer.add({"step": 10, "eval_loss": 1.5, "eval_masked_lm_loss": math.nan, "eval_matrix": [[1]]})
    found = events(tmp_path)  # before it is closed: a process that is killed has written all the same
    (lost,) = found.pop("eval/masked_lm_loss")
    assert lost[0] == 10
    assert math.isnan(lost[1])
    assert found == {
        "train/epoch": [(5, 0.5)],
        "train/loss": [(5, 2.5)],
        "train/learning_rate": [(5, 0.25)],
        "eval/loss": [(10, 1.5)],
    }
    writer.close()


def test_names_for_tensorboard_are_those_of_transformers() -> None:
    integrations = pytest.importorskip("transformers.integrations")
    names = ["loss", "eval_loss", "test_f1", "train_loss", "evaluated", "learning_rate", "eval_test_loss"]
    theirs = integrations.integration_utils.rewrite_logs(dict.fromkeys(names, 1.0))
    assert [run_log.name_for_tensorboard(name) for name in names] == list(theirs)


def test_a_resumed_run_goes_on_at_its_step_in_tensorboard(tmp_path: Path) -> None:
    writer = TensorBoardWriter(tmp_path)
    for step in (1, 2, 3, 4):
        writer.add({"step": step, "loss": 1.0})
    writer.close()
    writer = TensorBoardWriter(tmp_path, steps_before=2)
    writer.add({"step": 3, "loss": 2.0})
    writer.close()
    assert events(tmp_path) == {"train/loss": [(1, 1.0), (2, 1.0), (3, 2.0)]}


def test_a_run_that_begins_anew_hides_what_lies_in_its_folder(tmp_path: Path) -> None:
    for value in (1.0, 2.0):
        writer = TensorBoardWriter(tmp_path)
        writer.add({"step": 0 if value == 1 else 1, "loss": value})
        writer.close()
    assert events(tmp_path) == {"train/loss": [(1, 2.0)]}


def test_without_tensorboard_one_line_says_how_to_install_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("torch.utils.tensorboard")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(InputError, match=r"pip install 'minitransformer\[tensorboard\]'"):
        TensorBoardWriter(tmp_path)


def test_tensorboard_in_a_folder_that_cannot_be_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(InputError, match=r"cannot write .*taken"):
        TensorBoardWriter(tmp_path / "taken")


def test_nobody_loads_tensorboard_without_asking_for_it() -> None:
    program = "import sys, minitransformer.run_log; print('tensorboard' in sys.modules)"
    ended = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert ended.stdout == "False\n"


# Words


def test_the_text_of_a_bar_leaves_out_what_is_not_known() -> None:
    assert run_log.bar_text(math.nan) == "loss nan"
    assert run_log.bar_text(2.0, rate=0.0) == "loss 2.000, rate 0.0e+00"
    assert run_log.bar_text(2.0, tokens_per_second=999_951) == "loss 2.000, 1.0M tokens/s"


def test_a_table_has_a_row_for_each_entry_of_each_run() -> None:
    first = run_log.Run("a, with a comma", [{"step": 1, "loss": 0.1 + 0.2, "note": "words"}])
    second = run_log.Run("b", [{"step": 1, "eval_f1": np.float32(0.5)}])
    assert run_log.table([first, second]).splitlines() == [
        "run,step,loss,eval_f1",
        '"a, with a comma",1,0.30000000000000004,',
        "b,1,,0.5",
    ]
