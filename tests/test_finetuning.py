"""Fine-tuning: what is learned from, what is judged on, and what the figures are."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_runs
from hypothesis import given
from hypothesis import strategies as st

from minitransformer import corpora, metrics
from minitransformer.corpora import LabelledTexts
from minitransformer.errors import InputError
from minitransformer.finetuning import (
    FinetuningPlan,
    choose_examples,
    classifier_from,
    classifier_from_scratch,
    draw_evenly,
    evaluate_classifier,
    finetune,
    numbered_as_by,
)
from minitransformer.laws.tolerances import STACK, assert_close, assert_same
from minitransformer.models.bert import BertForPreTraining, BertForSequenceClassification
from minitransformer.prediction import classify
from minitransformer.tokenizer import Tokenizer
from minitransformer.trainer import Trainer, TrainingInterruptedError


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pretrained model."""
    return tiny_runs.pretrained(tmp_path_factory.mktemp("pretrained"))


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Labelled texts of the user's own."""
    return str(tiny_runs.write_labelled(tmp_path_factory.mktemp("table")))


@pytest.fixture(scope="module")
def folder(model: Path, table: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished fine-tuning."""
    path = tmp_path_factory.mktemp("finetuned") / "run"
    finetune(model, table, path, tiny_runs.finetuning_plan())
    return path


def metrics_of(folder: Path) -> dict[str, Any]:
    """The figures that a run has kept."""
    return json.loads((folder / "metrics.json").read_text(encoding="utf-8"))


# A whole run.


def test_a_finetuned_folder_opens_in_transformers_with_the_same_scores_and_class_names(folder: Path) -> None:
    transformers = pytest.importorskip("transformers")
    theirs = transformers.AutoModelForSequenceClassification.from_pretrained(folder).eval()
    ours = BertForSequenceClassification.from_pretrained(folder)
    texts = ["this salty sailor steers its boat", "these farmers"]
    tokens = Tokenizer.from_pretrained(folder)(texts, padding=True, return_tensors="pt")
    assert_close(ours(**tokens).logits, theirs(**tokens).logits, c=84, what="the scores")
    assert theirs.config.id2label == ours.config.id2label == {0: "farm", 1: "kitchen", 2: "sea"}


def test_the_figures_are_those_of_the_kept_model_on_the_held_out_texts(folder: Path, table: str) -> None:
    plan = tiny_runs.finetuning_plan()
    _, held_out = corpora.split_labelled(corpora.labelled(table), plan.held_out, plan.split_seed)
    opened, tokenizer = BertForSequenceClassification.from_pretrained(folder), Tokenizer.from_pretrained(folder)
    answers = [classify(opened, tokenizer, text)[0].answer for text in held_out.texts]
    truth = [held_out.label_names[label] for label in held_out.labels]
    kept = metrics_of(folder)
    assert kept["accuracy"] == np.mean([answer == true for answer, true in zip(answers, truth, strict=True)])
    assert kept["labels"] == ["farm", "kitchen", "sea"]
    assert kept["confusion_matrix"] == [
        [sum(pair == (true, answer) for pair in zip(truth, answers, strict=True)) for answer in kept["labels"]]
        for true in kept["labels"]
    ]
    assert kept["examples"] == len(held_out) == sum(map(sum, kept["confusion_matrix"]))
    judged = evaluate_classifier(opened, tokenizer, held_out)
    assert {name: kept[name] for name in judged} == judged


def test_the_same_plan_gives_the_same_model_and_another_seed_another(
    model: Path, table: str, folder: Path, tmp_path: Path
) -> None:
    finetune(model, table, tmp_path / "same", tiny_runs.finetuning_plan())
    finetune(model, table, tmp_path / "other", tiny_runs.finetuning_plan(seed=1))
    weights = [path / "model.safetensors" for path in (folder, tmp_path / "same", tmp_path / "other")]
    assert weights[0].read_bytes() == weights[1].read_bytes() != weights[2].read_bytes()


def test_a_run_that_was_stopped_goes_on_to_the_same_end(
    model: Path, table: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop_at_four(self: Trainer) -> None:
        if self.state.global_step == 4:
            raise TrainingInterruptedError(self.save_checkpoint())

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "stop_if_asked", stop_at_four)
        with pytest.raises(TrainingInterruptedError):
            finetune(model, table, tmp_path, tiny_runs.finetuning_plan())
    assert (tmp_path / "checkpoints" / "checkpoint-4").is_dir()
    with pytest.raises(InputError, match=r"was begun with dropout=0\.1, not 0\.2"):
        finetune(model, table, tmp_path, tiny_runs.finetuning_plan(dropout=0.2))
    finetune(model, table, tmp_path, tiny_runs.finetuning_plan())
    assert (tmp_path / "model.safetensors").read_bytes() == (folder / "model.safetensors").read_bytes()
    assert metrics_of(tmp_path) == metrics_of(folder)
    assert not (tmp_path / "checkpoints").exists(), "a finished run needs no checkpoints"


def test_a_classifier_begins_with_the_encoder_of_the_folder_or_with_none_of_it(model: Path) -> None:
    plan, names = tiny_runs.finetuning_plan(dropout=0.25), ("no", "yes")
    pretrained = BertForPreTraining.from_pretrained(model).bert.state_dict()
    informed, ignorant = classifier_from(model, names, plan), classifier_from_scratch(model, names, plan)
    assert informed.config.hidden_dropout_prob == ignorant.config.hidden_dropout_prob == 0.25
    for name, tensor in pretrained.items():
        assert_same(informed.bert.state_dict()[name], tensor, name)
        if tensor.ndim > 1:
            assert (ignorant.bert.state_dict()[name] != tensor).float().mean() > 0.9, name
    assert_same(classifier_from(model, names, plan).classifier.dense.weight, informed.classifier.dense.weight)


# Which texts.


def texts_of(labels: list[int], n_classes: int) -> LabelledTexts:
    """Texts with these labels."""
    names = tuple(f"class {number}" for number in range(n_classes))
    return LabelledTexts([f"text {number}" for number in range(len(labels))], labels, names, list(range(len(labels))))


@given(
    labels=st.lists(st.integers(0, 2), min_size=3, max_size=40).filter(lambda labels: len(set(labels)) == 3),
    share=st.floats(0, 1),
    seed=st.integers(0, 2**32 - 1),
)
def test_examples_are_drawn_once_each_and_as_evenly_as_the_classes_reach(
    labels: list[int], share: float, seed: int
) -> None:
    texts, n_examples = texts_of(labels, 3), 3 + int(share * (len(labels) - 3))
    chosen = draw_evenly(texts, n_examples, seed)
    assert len(chosen) == len(set(chosen.texts)) == n_examples
    assert set(zip(chosen.texts, chosen.labels, strict=True)) <= set(zip(texts.texts, texts.labels, strict=True))
    there, drawn = Counter(labels), Counter(chosen.labels)
    largest = max(drawn.values())
    assert all(drawn[label] >= min(largest - 1, there[label]) for label in range(3))
    assert draw_evenly(texts, n_examples, seed) == chosen


def test_another_seed_draws_other_examples() -> None:
    texts = texts_of([0, 1] * 50, 2)
    assert draw_evenly(texts, 10, seed=0).texts != draw_evenly(texts, 10, seed=1).texts
    assert choose_examples(texts, FinetuningPlan()) is texts


@pytest.mark.parametrize("n_examples", [-1, 0, 1, 5])
def test_fewer_examples_than_classes_or_more_than_there_are_are_refused(n_examples: int) -> None:
    with pytest.raises(InputError, match=rf"n_examples={n_examples} must lie from 2 \(one a class\) to 4 \(all\)"):
        draw_evenly(texts_of([0, 1, 0, 1], 2), n_examples, seed=0)


# Judging.


def test_texts_are_judged_by_the_names_of_their_classes_not_by_their_numbers(folder: Path) -> None:
    model, tokenizer = BertForSequenceClassification.from_pretrained(folder), Tokenizer.from_pretrained(folder)
    texts = LabelledTexts(["this boat", "that bread", "these boats"], [0, 1, 0], ("sea", "kitchen"), [0, 1, 2])
    renamed = numbered_as_by(model, texts)
    assert (renamed.labels, renamed.label_names) == ([2, 1, 2], ("farm", "kitchen", "sea"))
    judged = evaluate_classifier(model, tokenizer, texts)
    answers = [classify(model, tokenizer, text)[0].answer for text in texts.texts]
    assert judged["accuracy"] == np.mean([answers[0] == "sea", answers[1] == "kitchen", answers[2] == "sea"])
    assert np.asarray(judged["confusion_matrix"]).sum(axis=1).tolist() == [0, 1, 2]


def test_classes_that_the_model_does_not_know_are_refused(folder: Path) -> None:
    model, tokenizer = BertForSequenceClassification.from_pretrained(folder), Tokenizer.from_pretrained(folder)
    texts = LabelledTexts(["this boat", "that song"], [0, 1], ("sea", "music"), [0, 1])
    with pytest.raises(InputError, match=r"classes \['sea', 'music'\], but the model knows \['farm', 'kitchen', 'sea'"):
        evaluate_classifier(model, tokenizer, texts)


def test_with_two_classes_precision_and_recall_are_of_the_second(model: Path) -> None:
    texts = LabelledTexts(
        ["this boat", "that field", "a barn", "its raft"], [1, 0, 0, 1], ("farm", "sea"), [0, 1, 2, 3]
    )
    classifier = classifier_from(model, texts.label_names, tiny_runs.finetuning_plan()).eval()
    judged = evaluate_classifier(classifier, Tokenizer.from_pretrained(model), texts)
    answers = [classify(classifier, Tokenizer.from_pretrained(model), text)[0].answer == "sea" for text in texts.texts]
    precision, recall, f1, _ = metrics.precision_recall_fscore_support(
        texts.labels, [int(answer) for answer in answers], average="binary", zero_division=0.0
    )
    assert judged["averaged"] == "of 'sea'"
    assert_close([judged[name] for name in ("precision", "recall", "f1")], [precision, recall, f1], c=STACK)


# What is refused.


@pytest.mark.parametrize(
    ("entry", "value"),
    [("batch_size", 0), ("max_length", 2), ("dropout", 1.0), ("held_out", 1.0), ("learning_rate", -1.0)],
)
def test_a_plan_that_cannot_be_is_refused_at_once(entry: str, value: float) -> None:
    with pytest.raises(InputError, match=f"^{entry}={value} "):
        FinetuningPlan(**{entry: value})


def test_texts_of_one_class_are_refused(model: Path, tmp_path: Path) -> None:
    (tmp_path / "one.csv").write_text("text,label\nthis boat,sea\nthat boat,sea\n")
    with pytest.raises(InputError, match="all 2 texts have the class 'sea'"):
        finetune(model, str(tmp_path / "one.csv"), tmp_path / "run", tiny_runs.finetuning_plan())
    assert not (tmp_path / "run").exists()


def test_an_output_folder_that_cannot_be_is_refused_before_any_training(
    model: Path, table: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def train(self: Trainer, *arguments: Any, **options: Any) -> None:
        raise AssertionError("training should not begin")

    monkeypatch.setattr(Trainer, "train", train)
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(InputError, match=r"cannot write .*taken"):
        finetune(model, table, tmp_path / "taken", tiny_runs.finetuning_plan())
    assert (tmp_path / "taken").read_text() == "a file"
