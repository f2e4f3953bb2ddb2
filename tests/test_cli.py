"""The command line: what each command prints, how it ends, and one clear line for whatever goes wrong."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import tiny_runs

from minitransformer import cli, corpora
from minitransformer.checkpoint import checkpoints
from minitransformer.finetuning import finetune
from minitransformer.laws.zoo import ZOO, game
from minitransformer.run_log import LogFile
from minitransformer.trainer import Trainer

pytestmark = pytest.mark.usefixtures("without_shape_checks")

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run the command as a user types it: its exit code, what it printed, and what it complained of."""

    def command(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["minitransformer", *arguments])
        capsys.readouterr()
        code = 0
        try:
            cli.main()
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return command


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Good and bad files and folders by name."""
    folder = tmp_path_factory.mktemp("places")
    model, table = tiny_runs.pretrained(folder), tiny_runs.write_labelled(folder)
    finetune(model, str(table), folder / "classifier", tiny_runs.finetuning_plan())
    texts = {
        "empty.txt": "",
        "blank.txt": "\n \n\n",
        "one.txt": "a single document\nof two sentences\n",
        "two.txt": "one document\n\nanother document\n",
        "columns.csv": "words,class\nthis boat,sea\n",
        "header.csv": "text,label\n",
        "hole.csv": "text,label\nthis boat,sea\n,farm\n",
        "one-class.csv": "text,label\nthis boat,sea\nthat boat,sea\n",
        "strangers.csv": "text,label\nthis song,music\nthat boat,sea\n",
        "broken.jsonl": '{"text": "this boat", "label": "sea"}\n{"text"\n',
        "empty.jsonl": "",
        "taken": "a file where a folder should go",
    }
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    (folder / "latin.txt").write_bytes("caf\u00e9 au lait".encode("latin-1"))
    shutil.copytree(model, folder / "truncated")
    weights = folder / "truncated" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-50])
    shutil.copytree(model, folder / "wordless")
    for file in ("tokenizer.json", "vocab.txt"):
        (folder / "wordless" / file).unlink()
    (folder / "bare").mkdir()
    (folder / "logged").mkdir()
    LogFile(folder / "logged" / "log.jsonl").start(
        [{"step": 1, "epoch": 0.5, "loss": 2.5}, {"step": 2, "epoch": 1.0, "eval_accuracy": 0.5}]
    )
    (folder / "old").mkdir()
    (folder / "old" / "pytorch_model.bin").write_bytes(b"")
    shutil.copy(model / "config.json", folder / "old")
    return {path.name: str(path) for path in folder.iterdir()}


def split(line: str, places: dict[str, str], output: Path) -> list[str]:
    """The arguments of a line; {name} is a place, OUT an output folder that is not there yet."""
    words = line.replace("OUT", str(output)).split(" ")
    return [places[word[1:-1]] if word.startswith("{") else word.replace("~", " ") for word in words]


# Commands that work.


@pytest.mark.parametrize("command", ["", *cli.COMMANDS])
def test_every_command_explains_itself(run: Run, command: str) -> None:
    code, out, err = run(*command.split(), "--help")
    assert (code, err) == (0, "")
    assert out.startswith(f"usage: minitransformer{' ' * bool(command)}{command}")
    document = cli.COMMANDS[command].__doc__ if command else "one clear line for whatever goes wrong"
    assert document.split("\n")[0][:40] in " ".join(out.split())


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_every_option_of_a_command_says_what_it_does(run: Run, command: str) -> None:
    out = run(command, "--help")[1]
    options = [line for line in out.splitlines() if line.lstrip("│ ").startswith("--")]
    lines = out.splitlines()
    for option in options:
        described = len(option.strip("│ ").split("  ")) > 1 or lines[lines.index(option) + 1].strip("│ ")
        assert described, f"{option} has no explanation"


def test_a_model_is_pretrained_finetuned_judged_and_asked(run: Run, places: dict[str, str], tmp_path: Path) -> None:
    sizes = "--vocab-size 200 --max-length 20 --hidden-size 16 --num-hidden-layers 1 --num-attention-heads 2"
    pretrain = f"pretrain {{corpus.txt}} --output-dir OUT {sizes} --max-steps 4 --batch-size 4 --held-out 0.2"
    code, out, err = run(*split(pretrain, places, tmp_path / "model"))
    assert code == 0, err
    assert "masked_lm_loss" in out
    assert f"Kept in {tmp_path / 'model'}" in out
    finetune_line = "finetune {labelled.csv} --output-dir OUT --n-examples 9 --num-train-epochs 1"
    arguments = split(finetune_line, places, tmp_path / "classifier")
    code, out, err = run(arguments[0], str(tmp_path / "model"), *arguments[1:])
    assert code == 0, err
    assert "accuracy" in out
    code, out, err = run("evaluate", str(tmp_path / "classifier"), places["labelled.csv"])
    assert code == 0, err
    assert "confusion_matrix" in out
    code, out, err = run("evaluate", str(tmp_path / "model"), places["corpus.txt"])
    assert code == 0, err
    assert "next_sentence_accuracy" in out
    code, out, err = run("predict", str(tmp_path / "classifier"), "this boat", "that bread")
    assert code == 0, err
    assert [line.split("\t")[1] for line in out.splitlines()] == ["this boat", "that bread"]
    assert all(name in line for name in ("farm", "kitchen", "sea") for line in out.splitlines())
    code, out, err = run("fill-mask", str(tmp_path / "model"), "this [MASK] sailor steers its [MASK]", "--top-k", "2")
    assert code == 0, err
    assert [line.count("%") for line in out.splitlines()] == [2, 2]


def test_columns_of_other_names_can_be_chosen(run: Run, places: dict[str, str], tmp_path: Path) -> None:
    table = tmp_path / "renamed.csv"
    table.write_text(Path(places["labelled.csv"]).read_text().replace("text,label", "words,class", 1))
    columns = ("--text-column", "words", "--label-column", "class")
    code, out, err = run("evaluate", places["classifier"], str(table), *columns)
    assert code == 0, err
    assert out == run("evaluate", places["classifier"], places["labelled.csv"])[1]


def test_data_sets_are_listed_with_kind_state_and_licence(run: Run) -> None:
    code, out, _ = run("data", "list")
    assert code == 0
    lines = out.splitlines()
    assert len(lines) == len(corpora.catalogue())
    for line, data_set in zip(lines, corpora.catalogue(), strict=True):
        assert line.split()[:2] == [data_set.name, data_set.kind]
        assert data_set.data_licence in line


def test_data_sets_that_are_generated_need_no_fetching(run: Run) -> None:
    assert "ready" in next(line for line in run("data", "list")[1].splitlines() if line.startswith("synthetic "))
    code, out, _ = run("data", "show", "synthetic")
    assert code == 0
    assert out.splitlines() == next(corpora.documents("synthetic"))[:10]
    code, out, _ = run("data", "show", "synthetic-topic")
    assert code == 0
    assert all(line.split("\t")[0] in corpora.labelled("synthetic-topic").label_names for line in out.splitlines())


def test_a_run_is_drawn_into_its_folder_and_several_into_a_file(
    run: Run, places: dict[str, str], tmp_path: Path
) -> None:
    shutil.copytree(places["logged"], tmp_path / "first")
    code, out, err = run("plot", str(tmp_path / "first"))
    assert (code, out, err) == (0, f"Look at {tmp_path / 'first' / 'plot.png'}\n", "")
    assert (tmp_path / "first" / "plot.png").read_bytes().startswith(b"\x89PNG")
    together = ("plot", str(tmp_path / "first"), places["model"], "--output-file")
    code, out, err = run(*together, str(tmp_path / "both.png"), "--x", "epoch", "--metric", "loss", "--smooth", "0.5")
    assert (code, out, err) == (0, f"Look at {tmp_path / 'both.png'}\n", "")
    assert (tmp_path / "both.png").read_bytes().startswith(b"\x89PNG")
    code, out, err = run(*together, str(tmp_path / "both.csv"))
    assert (code, out, err) == (0, f"Look at {tmp_path / 'both.csv'}\n", "")
    rows = (tmp_path / "both.csv").read_text(encoding="utf-8").splitlines()
    assert rows[0].startswith("run,step,epoch,loss,")
    assert [row.partition(",")[0] for row in rows[1:]] == ["first", "first", "model"]


def test_a_pass_is_traced_in_a_table_and_on_a_page(run: Run, places: dict[str, str], tmp_path: Path) -> None:
    page = tmp_path / "pass.html"
    code, out, err = run("trace", places["model"], "this boat", "--output-file", str(page))
    assert (code, err) == (0, "")
    assert "bert.encoder.blocks.0.attention.weights" in out
    assert "eq:attention-weights" in out
    assert "data:image/png;base64," in page.read_text("utf-8")
    assert run("trace", "tiny", "--only", "*.pooler")[1].count("\n") == 2, "a heading and a row"


@pytest.mark.parametrize("model", ["model", "classifier"])
def test_the_time_of_a_training_step_is_told_and_drawn(
    run: Run, places: dict[str, str], tmp_path: Path, model: str
) -> None:
    picture, sizes = tmp_path / "times.png", ["--batch-size", "2", "--length", "8", "--steps", "1"]
    code, out, err = run("trace", places[model], "--time", *sizes, "--output-file", str(picture))
    assert (code, err) == (0, "")
    assert out.count("a whole step") == 2, "by both kinds of kernels"
    assert out.count("100.0%") == 2
    assert picture.stat().st_size > 10_000
    if model == "model":
        text = "this boat is here. that boat is there."
        assert run("trace", places[model], text, "--time", "--steps", "1", "--kernels", "fused")[0] == 0


# Input that cannot be used.

TINY = "--vocab-size 200 --max-length 20 --hidden-size 16 --num-attention-heads 2 --max-steps 2 --held-out 0.2"
BAD = [
    ("pretrain synthetc --output-dir OUT", "did you mean 'synthetic'?"),
    ("pretrain synthetic-topic --output-dir OUT", "'synthetic-topic'"),
    ("pretrain nowhere.txt --output-dir OUT", "no file or folder nowhere.txt"),
    ("pretrain {bare} --output-dir OUT", "holds no .txt file"),
    ("pretrain {empty.txt} --output-dir OUT", "holds no text"),
    ("pretrain {blank.txt} --output-dir OUT", "holds no text"),
    ("pretrain {latin.txt} --output-dir OUT", "is not UTF-8: byte 3 is 0xe9"),
    ("pretrain {one.txt} --output-dir OUT", "separate documents by a blank line"),
    ("pretrain {two.txt} --output-dir OUT", "next sentences need two on each side"),
    ("pretrain {columns.csv} --output-dir OUT", "has no column 'text'; its columns are: words, class"),
    ("pretrain {corpus.txt} --output-dir OUT --vocab-size 5", "vocab_size=5 must be greater than the 5 special tokens"),
    ("pretrain {corpus.txt} --output-dir OUT --vocab-size -1", "vocab_size=-1 must be at least 1"),
    ("pretrain {corpus.txt} --output-dir OUT --max-length 7", "max_length=7 must be at least 8"),
    (
        "pretrain {corpus.txt} --output-dir OUT --hidden-size 30 --num-attention-heads 4",
        "multiple of num_attention_heads=4",
    ),
    ("pretrain {corpus.txt} --output-dir OUT --learning-rate -1", "learning_rate=-1.0 must not be negative"),
    ("pretrain {corpus.txt} --output-dir OUT --learning-rate nan", "learning_rate=nan must be a number"),
    ("pretrain {corpus.txt} --output-dir OUT --held-out 1.5", "held_out=1.5 must lie between 0 and 1"),
    ("pretrain {corpus.txt} --output-dir OUT --batch-size 0", "batch_size=0 must be at least 1"),
    ("pretrain {corpus.txt} --output-dir OUT --max-steps 0", "max_steps=0 must be at least 1"),
    (f"pretrain {{corpus.txt}} --output-dir {{taken}} {TINY}", "cannot write"),
    (f"pretrain {{corpus.txt}} --output-dir /proc/none {TINY}", "cannot write /proc/none"),
    (f"pretrain {{corpus.txt}} --output-dir {{model}} {TINY}", "was begun with"),
    (f"pretrain {{corpus.txt}} --output-dir OUT {TINY} --learning-rate 1e38 --warmup-steps 0", "Lower learning_rate="),
    ("demo --output-dir {model}", "was begun with"),
    ("finetune nowhere synthetic-topic --output-dir OUT", "no folder nowhere"),
    ("finetune {bare} synthetic-topic --output-dir OUT", "holds no model.safetensors"),
    ("finetune {old} synthetic-topic --output-dir OUT", "a pickle, which can run code"),
    ("finetune {truncated} {labelled.csv} --output-dir OUT", "is damaged or truncated"),
    ("finetune {wordless} {labelled.csv} --output-dir OUT", "holds no tokenizer.json and no vocab.txt"),
    ("finetune {model} synthetic --output-dir OUT", "'synthetic'"),
    ("finetune {model} {corpus.txt} --output-dir OUT", "not a .jsonl, .csv or .tsv file"),
    ("finetune {model} {columns.csv} --output-dir OUT", "has no column 'text'"),
    ("finetune {model} {labelled.csv} --output-dir OUT --label-column topic", "has no column 'topic'"),
    ("finetune {model} {header.csv} --output-dir OUT", "holds no row"),
    ("finetune {model} {hole.csv} --output-dir OUT", "line 3: column 'text' is empty"),
    ("finetune {model} {broken.jsonl} --output-dir OUT", "line 2 is not JSON"),
    ("finetune {model} {one-class.csv} --output-dir OUT", "all 2 texts have the class 'sea'"),
    ("finetune {model} {labelled.csv} --output-dir OUT --n-examples 2", "n_examples=2 must lie from 3"),
    ("finetune {model} {labelled.csv} --output-dir OUT --n-examples 999", "n_examples=999 must lie from 3"),
    ("finetune {model} {labelled.csv} --output-dir OUT --dropout 1", "dropout=1.0 must be at least 0 and below 1"),
    ("finetune {model} {labelled.csv} --output-dir {taken}", "cannot write"),
    ("finetune {model} {labelled.csv} --output-dir {model}", "was begun with corpus="),
    ("evaluate {classifier} {strangers.csv}", "the model knows ['farm', 'kitchen', 'sea']"),
    ("evaluate {classifier} {corpus.txt}", "not a .jsonl, .csv or .tsv file"),
    ("evaluate {model} {one.txt}", "two documents"),
    ("evaluate {truncated} {corpus.txt}", "is damaged or truncated"),
    ("evaluate {bare} {corpus.txt}", "cannot read"),
    ("predict {model} this~boat", "holds a BertForPreTraining, but this needs a BertForSequenceClassification"),
    ("predict nowhere this~boat", "there is no folder nowhere"),
    ("predict {taken} this~boat", "there is no folder"),
    ("predict {classifier} ~", "the text is empty"),
    (f"predict {{classifier}} {'boat~' * 30}", "but the model reads at most 20; shorten it"),
    ("fill-mask {model} this~boat", "holds no [MASK]; put one where a word is to be guessed"),
    ("fill-mask {model} this~[MASK] --top-k 0", "top_k=0 must be at least 1"),
    (f"fill-mask {{model}} [MASK]{'~boat' * 30}", "but the model reads at most 20; shorten it"),
    ("fill-mask {classifier} this~[MASK]", "but this needs a BertForMaskedLM"),
    ("fill-mask {wordless} this~[MASK]", "holds no tokenizer.json and no vocab.txt"),
    ("plot", "plot needs the folder of a run"),
    ("plot nowhere", "there is no folder nowhere"),
    ("plot {bare}", "holds no log.jsonl"),
    ("plot {empty.jsonl}", "holds no figures yet"),
    ("plot {corpus.txt}", "is not valid JSON"),
    ("plot {logged} {model}", "give --output-file"),
    ("plot {logged} --output-file OUT.svg", "must end in .png, or in .csv"),
    ("plot {logged} --output-file /proc/none.png", "cannot write /proc/none.png"),
    ("plot {logged} --metric acuracy", "did you mean 'accuracy'? there are: accuracy, loss"),
    ("plot {logged} --x tokens", "has logged nothing with num_input_tokens_seen"),
    ("plot {logged} --smooth 1", "smooth=1.0 must be at least 0 and below 1"),
    ("trace nowhere", "there is no folder nowhere"),
    ("trace {truncated}", "is damaged or truncated"),
    ("trace {model} ~", "the text is empty"),
    ("trace tiny this~boat", "a new tiny model knows no words"),
    ("trace {model} --only nothing", "only='nothing' fits no name of the trace"),
    ("trace {model} --output-file OUT.png", "must end in .html, for a page of the tensors"),
    ("trace {model} --time --output-file OUT.html", "must end in .png, for a picture of the times"),
    ("trace {model} --output-file /proc/none.html", "cannot write /proc/none.html"),
    ("trace {model} --time --length 99", "length=99 from 1 to 20"),
    ("trace {model} --time --length 8 --steps 0", "steps=0 must be at least 1"),
    ("data get", "data get needs a name"),
    ("data show", "data show needs a name"),
    ("data show sintetic", "did you mean 'synthetic'?"),
]


@pytest.mark.parametrize(("line", "message"), BAD, ids=[line[:60] for line, _ in BAD])
def test_input_that_cannot_be_used_ends_with_two_and_one_clear_line(
    run: Run, places: dict[str, str], tmp_path: Path, line: str, message: str
) -> None:
    code, out, err = run(*split(line, places, tmp_path / "out"))
    assert code == 2
    assert "Kept in" not in out
    # Progress bars end in a carriage return, and are no part of the complaint.
    complaint = [text for text in err.replace("\r", "\n").splitlines() if text.startswith("minitransformer: ")]
    assert len(complaint) == 1, err
    assert message in complaint[0]
    assert err.rstrip().endswith(complaint[0]), "the reason should be the last thing one reads"
    assert "Traceback" not in err
    assert not (tmp_path / "out" / "model.safetensors").exists()


def test_a_folder_that_bad_input_was_meant_for_is_free_for_good_input(
    run: Run, places: dict[str, str], tmp_path: Path
) -> None:
    line = f"pretrain {{corpus.txt}} --output-dir OUT {TINY}"
    assert run(*split(line.replace("--vocab-size 200", "--vocab-size 3"), places, tmp_path / "out"))[0] == 2
    assert run(*split(line, places, tmp_path / "out"))[0] == 0
    line = "finetune {model} {labelled.csv} --output-dir OUT --num-train-epochs 1 --n-examples"
    assert run(*split(f"{line} 1", places, tmp_path / "classifier"))[0] == 2
    assert run(*split(f"{line} 9", places, tmp_path / "classifier"))[0] == 0


@pytest.mark.parametrize(
    ("line", "messages"),
    [
        ("", ["demo", "pretrain"]),
        ("pretran kjv", ["pretran", "pretrain"]),
        ("pretrain --output-dir OUT", ["pretrain", "data set"]),
        ("pretrain synthetic", ["--output-dir"]),
        ("pretrain synthetic --output-dir OUT --max-steps many", ["--max-steps", "many"]),
        ("pretrain synthetic --output-dir OUT --stepz 3", ["--stepz"]),
        ("data buy kjv", ["buy", "list", "get", "show"]),
    ],
)
def test_a_line_that_cannot_be_read_is_answered_with_what_was_expected(
    run: Run, tmp_path: Path, line: str, messages: list[str]
) -> None:
    code, out, err = run(*split(line, {}, tmp_path / "out") if line else ())
    assert code == 2
    assert out == ""
    assert all(message in err for message in messages), err
    assert "Traceback" not in err
    assert "dummy" not in err


# Interrupts, and the process itself.


def test_an_interrupt_that_could_save_ends_with_130_and_says_how_to_go_on(
    run: Run, places: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = split(f"pretrain {{corpus.txt}} --output-dir OUT {TINY}", places, tmp_path / "out")
    stop_if_asked = Trainer.stop_if_asked

    def ask_and_stop(self: Trainer) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        stop_if_asked(self)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "stop_if_asked", ask_and_stop)
        code, _, err = run(*line)
    assert code == 130
    assert err.splitlines()[-1].startswith("minitransformer: interrupted; ")
    assert err.splitlines()[-1].endswith("run the same command again to go on")
    assert [folder.name for folder in checkpoints(tmp_path / "out" / "checkpoints")] == ["checkpoint-1"]
    assert run(*line)[0] == 0


def test_an_interrupt_before_there_is_anything_to_save_ends_with_130(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "pretrain", interrupt)
    code, _, err = run("pretrain", "synthetic", "--output-dir", str(tmp_path))
    assert (code, err.splitlines()) == (130, ["minitransformer: interrupted; run the same command again to go on"])


def command(*arguments: str, stdout: int = subprocess.PIPE) -> "subprocess.Popen[str]":
    """Start the command as a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "minitransformer", *arguments],
        cwd=Path(__file__).parents[1],
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_the_module_is_the_command() -> None:
    process = command("data", "show", "nothing-of-this-name")
    out, err = process.communicate(timeout=120)
    assert (process.returncode, out) == (2, "")
    assert len(err.splitlines()) == 1
    assert err.startswith("minitransformer: no data set is called 'nothing-of-this-name'")


def test_a_reader_that_goes_away_is_no_error_to_complain_of() -> None:
    process = command("data", "list")
    process.stdout.close()
    assert process.stderr.read() == ""
    assert process.wait(timeout=120) in (0, 1)
    process.stderr.close()


# Anyone's code.


def test_code_that_keeps_the_laws_ends_with_0_and_broken_code_with_1(run: Run, tmp_path: Path) -> None:
    right, wrong = tmp_path / "right.py", tmp_path / "wrong.py"
    right.write_text("def relu(x):\n    return x.clamp(min=0)\n", encoding="utf-8")
    wrong.write_text("def relu(x):\n    return x.clamp(min=0, max=6)\n", encoding="utf-8")
    code, printed, complaint = run("check", str(right), "--max-examples", "20")
    assert (code, complaint) == (0, "")
    assert "relu, judged as relu" in printed
    assert "0 broken" in printed
    code, printed, complaint = run("check", str(wrong), "--max-examples", "20", "--output", "json")
    assert (code, complaint) == (1, "")
    (report,) = json.loads(printed)
    assert report["passed"] is False
    assert run("check", str(wrong), "--max-examples", "20", "--output", "html")[1].startswith("<p><b>relu")


NETWORK = """
from torch import nn

class FeedForward(nn.Module):
    def __init__(self, d_model, d_ff):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(d_model, d_ff), nn.Linear(d_ff, d_model)

    def forward(self, x):
        return self.fc2(self.fc1(x).relu())
"""


def test_a_class_is_judged_under_its_own_names_of_parameters(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(NETWORK, encoding="utf-8")
    asked = ("check", str(path), "--max-examples", "20")
    code, printed, complaint = run(*asked, "--rename", "inner=fc1", "outer=fc2")
    assert (code, complaint) == (0, "")
    assert "FeedForward, judged as feed-forward" in printed
    assert "0 broken" in printed
    code, printed, _ = run(*asked)
    assert code == 1
    assert "it lacks: inner.bias, inner.weight, outer.bias, outer.weight; it has beside them: fc1.bias" in printed
    code, _, complaint = run(*asked, "--rename", "fc1")
    assert code == 2
    assert "rename='fc1' must be our name, =, and yours, such as query=w_q" in complaint


def test_a_file_that_cannot_be_checked_ends_with_2_and_one_line(run: Run, tmp_path: Path) -> None:
    code, printed, complaint = run("check", str(tmp_path / "none.py"))
    assert (code, printed) == (2, "")
    assert complaint.startswith("minitransformer: there is no file")
    assert complaint.count("\n") == 1


def test_an_equation_is_explained(run: Run) -> None:
    code, printed, _ = run("explain", "layer-norm")
    assert code == 0
    assert "eq:layer-norm: " in printed
    assert "minitransformer/reference/norm.py:" in printed
    assert "zoo show" in printed
    assert run("explain", "layernorm")[0] == 2


def test_without_a_tag_all_equations_are_listed(run: Run) -> None:
    code, printed, _ = run("explain")
    assert code == 0
    assert "minitransformer/norm.py: " in printed
    assert "  layer-norm  " in printed


def test_a_mutant_is_shown_without_its_mistake_and_answered_with_it(run: Run) -> None:
    code, printed, _ = run("zoo", "list")
    assert code == 0
    assert len(printed.splitlines()) >= 60
    mutant = ZOO[0]
    code, printed, _ = run("zoo", "show", "1")
    assert code == 0
    assert printed.startswith(f"def {mutant.claim.replace('-', '_')}(")
    assert mutant.name not in printed
    assert mutant.answer not in printed
    code, printed, _ = run("zoo", "answer", "1")
    assert code == 0
    assert mutant.name in printed
    assert "Killed by:" in printed


def test_a_game_is_written_and_its_answer_told_by_the_seed(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = game.chosen("", 7).name
    monkeypatch.setattr(game, "debug", partial(game.debug, steps=1))
    code, printed, _ = run("zoo", "debug", "--seed", "7", "--output-dir", str(tmp_path / "game"))
    assert (code, printed) == (0, f"Begin with {tmp_path / 'game' / 'question.md'}\n")
    assert drawn not in (tmp_path / "game" / "model.py").read_text(encoding="utf-8")
    code, printed, _ = run("zoo", "answer", "--seed", "7")
    assert code == 0
    assert printed.startswith(f"{drawn}, which claims to be")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("debug",), "say which mistake: the number of a mutant"),
        (("debug", "absolute_value"), "claims to be relu, which the small model does not use"),
        (("answer", "1", "--seed", "2"), "zoo answer takes '1' or --seed 2, not both"),
        (("answer", "--seed", "-2"), "seed=-2 must be 0 or more"),
        (("show",), "zoo show needs the number of a mutant"),
        (("show", "0"), "there is no mutant 0; the zoo has 1 to"),
        (("answer", ZOO[0].name + "x"), f"did you mean {ZOO[0].name!r}"),
    ],
)
def test_a_mutant_that_does_not_exist_is_refused_in_one_line(
    run: Run, arguments: tuple[str, ...], message: str
) -> None:
    code, _, complaint = run("zoo", *arguments)
    assert code == 2
    assert message in complaint
    assert complaint.count("\n") == 1
