"""The demo, in small: from text to report, with and without an interruption."""

import base64
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import tiny_runs

from minitransformer import cli, corpora, demo
from minitransformer.corpora import sources
from minitransformer.demo import DemoPlan, held_out_sentences, hide_words, run_demo
from minitransformer.errors import InputError
from minitransformer.models.bert import BertForMaskedLM, BertForSequenceClassification
from minitransformer.prediction import Guess
from minitransformer.pretraining import PretrainingPlan
from minitransformer.report import guess_cell
from minitransformer.tokenizer import Tokenizer

REPOSITORY = Path(__file__).parents[1]
SEEDS = 3


def plan(**changes: Any) -> DemoPlan:
    """The whole way in a few seconds."""
    entries = {"corpus": "synthetic", "labelled": "synthetic-topic", "task": "What is <it> about?"}
    entries |= {"sentence": "these salty sailors steer their boat", "finetuning": tiny_runs.finetuning_plan()}
    pretraining = tiny_runs.plan(vocab_size=400, held_out=0.2, max_steps=12)
    return DemoPlan(**{**entries, "pretraining": pretraining, **changes})


# Runs the command as a user does, with the plan above; `stop` presses Ctrl-C after so many updates.
SCRIPT = """
import os, signal, sys
from test_demo import plan
from minitransformer import cli, demo, trainer
from minitransformer.corpora import sources

stop, folder = int(sys.argv[1]), sys.argv[2]
stop_if_asked = trainer.Trainer.stop_if_asked

def ask_and_stop(self):
    if self.state.global_step == stop:
        os.kill(os.getpid(), signal.SIGINT)
    stop_if_asked(self)

trainer.Trainer.stop_if_asked = ask_and_stop
demo.DemoPlan = plan
sources.SYNTHETIC_DOCUMENTS = 60
sys.argv = ["minitransformer", "demo", "--output-dir", folder]
cli.main()
"""


def demo_command(folder: Path, stop: int) -> "subprocess.CompletedProcess[str]":
    """Run the demo as a command of its own."""
    paths = os.pathsep.join([str(REPOSITORY), str(REPOSITORY / "tests"), str(REPOSITORY / "tools")])
    return subprocess.run(
        [sys.executable, "-c", SCRIPT, str(stop), str(folder)],
        env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
        cwd=folder.parent,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


@pytest.fixture(scope="module", autouse=True)
def _few_documents() -> Iterator[None]:
    """Let the synthetic corpus be a small one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sources, "SYNTHETIC_DOCUMENTS", 60)
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A demo that nothing stopped."""
    path = tmp_path_factory.mktemp("whole") / "demo"
    run_demo(path, plan())
    return path


def metrics_of(folder: Path) -> dict[str, Any]:
    """The figures that a demo has kept."""
    return json.loads((folder / "metrics.json").read_text(encoding="utf-8"))


def test_the_figures_have_the_names_that_courses_rely_on(folder: Path) -> None:
    metrics = metrics_of(folder)
    for name in ("unigram_entropy", "masked_lm_loss", "next_sentence_accuracy", "seconds"):
        assert isinstance(metrics[name], float), name
        assert metrics[name] > 0, name
    for name in ("finetuned_accuracy", "scratch_accuracy"):
        assert len(metrics[name]) == SEEDS
        assert all(0 <= accuracy <= 1 for accuracy in metrics[name])
    for start in ("finetuned", "scratch"):
        assert metrics[start]["accuracy"] == metrics[f"{start}_accuracy"]
        assert all(len(metrics[start][score]) == SEEDS for score in ("precision", "recall", "f1"))


def test_the_models_open_and_the_classifier_is_the_first_seeds(folder: Path) -> None:
    BertForMaskedLM.from_pretrained(folder / "model")
    classifier = BertForSequenceClassification.from_pretrained(folder / "classifier")
    assert tuple(classifier.config.id2label.values()) == corpora.labelled("synthetic-topic").label_names
    Tokenizer.from_pretrained(folder / "classifier")
    first = json.loads((folder / "finetuning" / "finetuned-0.json").read_text())
    assert metrics_of(folder)["confusion_matrix"] == first["confusion_matrix"]
    assert not list((folder / "finetuning").glob("*/")), "finished fine-tunings need no checkpoints"


def test_running_the_demo_again_changes_nothing(folder: Path) -> None:
    before = {file: file.stat().st_mtime_ns for file in folder.rglob("*")}
    assert run_demo(folder, plan()) == metrics_of(folder)
    assert {file: file.stat().st_mtime_ns for file in folder.rglob("*")} == before


@pytest.mark.parametrize(
    ("changes", "entry"),
    [
        ({"labelled": "kjv-genre"}, "labelled='synthetic-topic', not 'kjv-genre'"),
        (
            {"pretraining": tiny_runs.plan(vocab_size=400, held_out=0.2, max_steps=13)},
            "pretraining.max_steps=12, not 13",
        ),
        ({"finetuning": tiny_runs.finetuning_plan(dropout=0.3)}, "finetuning.dropout=0.1, not 0.3"),
    ],
)
def test_a_different_plan_in_the_same_folder_is_refused(folder: Path, changes: dict[str, Any], entry: str) -> None:
    with pytest.raises(InputError, match=f"was begun with {re.escape(entry)}; choose another output folder"):
        run_demo(folder, plan(**changes))


def test_an_interrupted_demo_says_so_and_goes_on_to_the_same_figures(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stopped = demo_command(tmp_path / "demo", stop=7)
    assert stopped.returncode == 130, stopped.stderr
    assert "Traceback" not in stopped.stderr
    last_line = stopped.stderr.strip().splitlines()[-1]
    assert last_line.startswith("minitransformer: interrupted; ")
    assert "checkpoint-7 holds everything, run the same command again to go on" in last_line
    assert not (tmp_path / "demo" / "metrics.json").exists()
    monkeypatch.setattr(demo, "DemoPlan", plan)
    monkeypatch.setattr(sys, "argv", ["minitransformer", "demo", "--output-dir", str(tmp_path / "demo")])
    cli.main()
    assert "report.html" in capsys.readouterr().out
    found, wanted = metrics_of(tmp_path / "demo"), metrics_of(folder)
    assert found.pop("seconds") > 0
    assert found == {name: value for name, value in wanted.items() if name != "seconds"}


def test_a_finetuning_that_was_stopped_is_finished_and_the_others_are_not_made_again(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[tuple[str, int]] = []
    one_finetuning = demo.one_finetuning

    def count(start: str, seed: int, *rest: Any) -> dict[str, Any]:
        made.append((start, seed))
        if made[-1] == ("finetuned", 2) and made.count(("finetuned", 2)) == 1:
            raise KeyboardInterrupt
        return one_finetuning(start, seed, *rest)

    monkeypatch.setattr(demo, "one_finetuning", count)
    with pytest.raises(KeyboardInterrupt):
        run_demo(tmp_path, plan())
    assert json.loads((tmp_path / "seconds.json").read_text())["seconds"] > 0
    metrics = run_demo(tmp_path, plan())
    assert made == [("finetuned", 0), ("finetuned", 1), *2 * [("finetuned", 2)], *(("scratch", s) for s in range(3))]
    assert metrics["finetuned"] == metrics_of(folder)["finetuned"]


# The report.


class Resources(HTMLParser):
    """What a page loads or points at, and its open tags."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.open: list[str] = []
        self.void = {"meta", "img", "br", "link", "input", "hr"}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href", "action", "data", "srcset")]
        if tag not in self.void:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"</{tag}> closes something else"


@pytest.fixture(scope="module")
def page(folder: Path) -> str:
    """The report."""
    return (folder / "report.html").read_text(encoding="utf-8")


def test_the_report_is_one_file_that_loads_nothing_from_elsewhere(page: str) -> None:
    resources = Resources()
    resources.feed(page)
    assert resources.open == [], "every tag should be closed"
    assert len(resources.addresses) == 4
    assert all(address.startswith("data:image/png;base64,") for address in resources.addresses)
    without_pictures = re.sub(r"data:image/png;base64,[A-Za-z0-9+/=]+", "", page)
    assert not re.search(r"https?://|url\(|@import|<script|<link", without_pictures)


def test_the_report_holds_its_pictures(page: str) -> None:
    pictures = re.findall(r'src="data:image/png;base64,([^"]+)"', page)
    assert len(pictures) == 4
    for picture in pictures:
        assert base64.b64decode(picture, validate=True).startswith(b"\x89PNG\r\n\x1a\n")
    assert all(alt for alt in re.findall(r'alt="([^"]*)"', page))


def test_the_report_shows_the_figures_and_the_guesses(page: str, folder: Path) -> None:
    metrics = metrics_of(folder)
    assert f"{metrics['masked_lm_loss']:.2f} nats" in page
    assert f"{metrics['next_sentence_accuracy']:.1%}" in page
    assert page.count("<mark>") == 8
    assert page.count('class="guess"') == 8 * 5
    assert "What is &lt;it&gt; about?" in page, "text of the plan should be shown, not obeyed"


def test_the_right_guess_stands_out_whatever_its_capitals() -> None:
    assert "<b>Lord</b>" in guess_cell(Guess("Lord", 0.5), hidden="Lord")
    assert "<b>lord</b>" in guess_cell(Guess("lord", 0.5), hidden="Lord")
    assert "<b>" not in guess_cell(Guess("king", 0.5), hidden="Lord")


def test_hidden_words_are_single_tokens_of_held_out_sentences(folder: Path) -> None:
    tokenizer = Tokenizer.from_pretrained(folder / "model")
    sentences = held_out_sentences(plan())
    documents = list(corpora.documents("synthetic"))
    _, held_out = corpora.split_documents(documents, 0.2, seed=0)
    assert set(sentences) == {sentence for document in held_out for sentence in document}
    assert len(held_out) == 12
    hidden = list(hide_words(sentences, tokenizer, seed=0))
    assert len(hidden) == 8
    for before, word, after in hidden:
        assert before + word + after in sentences
        assert len(tokenizer.tokenize(word)) == 1
    assert list(hide_words(sentences, tokenizer, seed=0)) == hidden
    assert list(hide_words(["a b c", "1 2 3"], tokenizer, seed=0)) == []


def test_the_published_demo_is_a_plan_that_can_be() -> None:
    published = DemoPlan()
    assert isinstance(published.pretraining, PretrainingPlan)
    assert corpora.find(published.corpus).kind == "documents"
    assert corpora.find(published.labelled).kind == "labelled"
