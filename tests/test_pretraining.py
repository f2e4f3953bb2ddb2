"""Pretraining: from a corpus to a folder, and what the figures in it mean."""

import json
import math
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_runs
import torch

from minitransformer import corpora, pretraining
from minitransformer.batches import MaskedLanguageCollator, NextSentencePairs
from minitransformer.checkpoint import newest_checkpoint
from minitransformer.corpora import SyntheticLanguage
from minitransformer.errors import InputError
from minitransformer.initialisation import position_columns
from minitransformer.laws.tolerances import STACK, assert_close, assert_same
from minitransformer.models.bert import BertForMaskedLM, BertForPreTraining
from minitransformer.pretraining import (
    PretrainingPlan,
    evaluate_on_corpus,
    evaluate_pretraining,
    prepare_text,
    pretrain,
    unigram_entropy,
)
from minitransformer.shards import Shards
from minitransformer.tokenizer import Tokenizer
from minitransformer.trainer import Trainer, TrainingInterruptedError
from minitransformer.word_vectors import count_company

PARITY = 84  # c · eps = 1e-5 in float32


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run; its corpus lies beside it."""
    return tiny_runs.pretrained(tmp_path_factory.mktemp("run"))


def corpus_of(folder: Path) -> str:
    """The text that a run was pretrained on."""
    return str(folder.parent / "corpus.txt")


def metrics_of(folder: Path) -> dict[str, Any]:
    """The figures that a run has kept."""
    return json.loads((folder / "metrics.json").read_text(encoding="utf-8"))


# The folder.


@pytest.mark.parametrize("class_name", ["AutoModelForMaskedLM", "BertForPreTraining"])
def test_a_pretrained_folder_opens_in_transformers_with_the_same_scores(folder: Path, class_name: str) -> None:
    transformers = pytest.importorskip("transformers")
    theirs = getattr(transformers, class_name).from_pretrained(folder).eval()
    texts = ["this salty sailor steers its boat", "these brave pirates"]
    encoded = transformers.AutoTokenizer.from_pretrained(folder)(texts, padding=True, return_tensors="pt")
    ours = BertForPreTraining if class_name == "BertForPreTraining" else BertForMaskedLM
    tokens = Tokenizer.from_pretrained(folder)(texts, padding=True, return_tensors="pt")
    for name, ids in tokens.items():
        assert_same(encoded[name], ids, name)
    with torch.no_grad():
        found, wanted = ours.from_pretrained(folder)(**tokens), theirs(**encoded)
    for name in ("logits", "prediction_logits", "seq_relationship_logits"):
        if getattr(wanted, name, None) is not None:
            assert_close(getattr(found, name), getattr(wanted, name), c=PARITY, what=name)


def test_the_figures_and_the_history_are_kept(folder: Path) -> None:
    metrics = metrics_of(folder)
    assert metrics["steps"] == 12
    assert metrics["vocabulary"] == Tokenizer.from_pretrained(folder).vocab_size
    assert metrics["parameters"] == BertForPreTraining.from_pretrained(folder).num_parameters()
    assert metrics["masked_lm_perplexity"] == math.exp(metrics["masked_lm_loss"])
    history = json.loads((folder / "history.json").read_text(encoding="utf-8"))["history"]
    assert history[-1]["step"] == 12
    assert {"masked_lm_loss", "next_sentence_loss", "learning_rate"} <= history[-1].keys()


def test_running_again_changes_nothing(folder: Path) -> None:
    before = {file: file.stat().st_mtime_ns for file in folder.rglob("*")}
    assert pretrain(corpus_of(folder), folder, tiny_runs.plan()) == metrics_of(folder)
    assert {file: file.stat().st_mtime_ns for file in folder.rglob("*")} == before


def test_a_different_plan_in_the_same_folder_is_refused(folder: Path) -> None:
    with pytest.raises(InputError, match=r"was begun with max_steps=12, not 13; choose another output folder"):
        pretrain(corpus_of(folder), folder, tiny_runs.plan(max_steps=13))


def test_a_changed_corpus_in_the_same_folder_is_refused(folder: Path, tmp_path: Path) -> None:
    changed = tmp_path / "corpus.txt"
    changed.write_text(Path(corpus_of(folder)).read_text() + "\n\none more\n")
    with pytest.raises(InputError, match="was begun with corpus="):
        pretrain(str(changed), folder, tiny_runs.plan())


def test_a_run_that_was_stopped_goes_on_to_the_same_end(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop_at_seven(self: Trainer) -> None:
        if self.state.global_step == 7:
            raise TrainingInterruptedError(self.save_checkpoint())

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "stop_if_asked", stop_at_seven)
        with pytest.raises(TrainingInterruptedError):
            pretrain(corpus_of(folder), tmp_path, tiny_runs.plan())
    assert newest_checkpoint(tmp_path / "checkpoints").name == "checkpoint-7"
    assert not (tmp_path / "metrics.json").exists()
    with pytest.raises(InputError, match="was begun with seed=0, not 1"):
        pretrain(corpus_of(folder), tmp_path, tiny_runs.plan(seed=1))
    assert pretrain(corpus_of(folder), tmp_path, tiny_runs.plan()) == metrics_of(folder)
    for name in ("model.safetensors", "config.json", "tokenizer.json"):
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes()


def test_a_tokenizer_that_was_only_half_written_is_trained_again(folder: Path, tmp_path: Path) -> None:
    plan = tiny_runs.plan(lowercase=False)
    whole = prepare_text(corpus_of(folder), tmp_path, plan).tokenizer
    (tmp_path / "tokenizer_config.json").unlink()
    again = prepare_text(corpus_of(folder), tmp_path, plan).tokenizer
    assert again.lowercase is False
    assert again.tokens == whole.tokens
    assert (tmp_path / "tokenizer_config.json").is_file()


# What is held out.


def test_held_out_documents_share_none_with_training_and_together_they_are_all(folder: Path) -> None:
    text = prepare_text(corpus_of(folder), folder, tiny_runs.plan())
    training, held_out = (
        [[text.tokenizer.decode(sentence.tolist()) for sentence in document] for document in side]
        for side in (text.training, text.held_out)
    )
    documents = list(corpora.documents(corpus_of(folder)))
    assert len(documents) == tiny_runs.N_DOCUMENTS
    assert len(held_out) == 6
    assert sorted([*training, *held_out]) == sorted(documents)
    chosen = corpora.split_documents(documents, tiny_runs.plan().held_out, tiny_runs.plan().seed)
    assert (training, held_out) == tuple(chosen)


def test_the_tokenizer_never_saw_a_held_out_document(tmp_path: Path) -> None:
    words = ["aaaa", "bbbb", "cccc", "dddd", "eeee", "ffff", "gggg", "hhhh"]
    corpus = tmp_path / "corpus.txt"
    corpus.write_text("\n\n".join(f"{word} {word}\n{word} {word}" for word in words))
    text = prepare_text(str(corpus), tmp_path / "run", tiny_runs.plan(held_out=0.25, vocab_size=200))
    held_out = corpora.split_documents(words, 0.25, tiny_runs.plan().seed)[1]
    assert len(held_out) == 2
    for word in words:
        letters = any(token.removeprefix("##").startswith(word[0]) for token in text.tokenizer.tokens)
        assert letters == (word not in held_out), word


def test_the_figures_are_those_of_the_held_out_documents(folder: Path) -> None:
    plan = tiny_runs.plan()
    text = prepare_text(corpus_of(folder), folder, plan)
    model = BertForPreTraining.from_pretrained(folder)
    metrics = metrics_of(folder)
    judged = evaluate_pretraining(model, text.held_out, text.tokenizer, plan.max_length, plan.seed)
    assert {name: metrics[name] for name in judged} == judged
    assert metrics["unigram_entropy"] == unigram_entropy(text.held_out, text.tokenizer.vocab_size)
    trained_on = evaluate_pretraining(model, text.training, text.tokenizer, plan.max_length, plan.seed)
    assert trained_on["masked_lm_loss"] != judged["masked_lm_loss"]


# What the figures mean.


def shards_of(documents: list[list[str]], folder: Path) -> tuple[Shards, Tokenizer]:
    """Documents as the model reads them."""
    tokenizer = Tokenizer.train(documents, vocab_size=90)
    return Shards.build(folder / "shards", documents, tokenizer), tokenizer


def test_the_unigram_entropy_is_that_of_the_words_counted_by_hand(tmp_path: Path) -> None:
    documents = list(tiny_runs.LANGUAGE.documents(5, seed=9, sentences=4))
    shards, tokenizer = shards_of(documents, tmp_path)
    counts = Counter(token for document in documents for sentence in document for token in tokenizer.tokenize(sentence))
    n_tokens = sum(counts.values())
    by_hand = -sum(count / n_tokens * math.log(count / n_tokens) for count in counts.values())
    assert_close(unigram_entropy(shards, tokenizer.vocab_size), by_hand)
    part = Counter(token for sentence in documents[2] for token in tokenizer.tokenize(sentence))
    found = shards.select([2]).token_counts(tokenizer.vocab_size)
    assert {token: int(found[number]) for number, token in enumerate(tokenizer.tokens) if found[number]} == part


@torch.no_grad()
def test_losses_and_accuracies_are_over_all_that_counts_not_over_batches(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shards, tokenizer = shards_of(list(tiny_runs.LANGUAGE.documents(5, seed=9, sentences=5)), tmp_path)
    torch.manual_seed(1)
    model = BertForPreTraining(tiny_runs.plan().config(tokenizer.vocab_size, tokenizer.pad_token_id)).eval()
    monkeypatch.setattr(pretraining, "EVALUATION_BATCH", 4)
    batches: list[dict[str, torch.Tensor]] = []
    collate = MaskedLanguageCollator.__call__

    def remember(self: MaskedLanguageCollator, examples: list[Any]) -> dict[str, torch.Tensor]:
        batches.append(collate(self, examples))
        return batches[-1]

    monkeypatch.setattr(MaskedLanguageCollator, "__call__", remember)
    figures = evaluate_pretraining(model, shards, tokenizer, max_length=20)
    surprises, words_right, follows_right = [], [], []
    for batch in batches:
        output = model(batch["input_ids"], batch["attention_mask"], batch["token_type_ids"])
        counts = batch["labels"] != -100
        surprise = -output.prediction_logits.log_softmax(-1)
        surprises += surprise[counts].gather(1, batch["labels"][counts][:, None]).flatten().tolist()
        words_right += (output.prediction_logits.argmax(-1) == batch["labels"])[counts].tolist()
        follows_right += (output.seq_relationship_logits.argmax(-1) == batch["next_sentence_label"]).tolist()
    assert len(batches) > 2
    assert len(batches[-1]["labels"]) < 4, "the last batch should be a smaller one"
    assert figures["held_out_pairs"] == len(follows_right) == len(NextSentencePairs(shards, 20, 0))
    assert_close(np.float32(figures["masked_lm_loss"]), np.mean(surprises), c=STACK)
    assert figures["masked_lm_accuracy"] == np.mean(words_right)
    assert figures["next_sentence_accuracy"] == np.mean(follows_right)


def test_judging_twice_gives_the_same_figures_and_leaves_the_model_as_it_is(folder: Path, tmp_path: Path) -> None:
    text = prepare_text(corpus_of(folder), folder, tiny_runs.plan())
    model = BertForPreTraining.from_pretrained(folder).train()
    first = evaluate_pretraining(model, text.held_out, text.tokenizer, 20)
    assert model.training
    assert evaluate_pretraining(model, text.held_out, text.tokenizer, 20) == first
    whole = evaluate_on_corpus(model, text.tokenizer, corpus_of(folder))
    assert whole["held_out_pairs"] > first["held_out_pairs"]


def test_the_first_guess_is_the_frequency_of_the_words(folder: Path) -> None:
    text = prepare_text(corpus_of(folder), folder, tiny_runs.plan())
    model = pretraining.new_model(text, tiny_runs.plan())
    counts = text.training.token_counts(text.tokenizer.vocab_size)
    probability = model.masked_word.decoder.bias.double().softmax(-1)
    assert_close(probability.float(), (counts + 0.5) / (counts + 0.5).sum())
    assert counts.min() == 0, "some token, such as [MASK], should not occur, and yet have a finite bias"
    by_frequency = np.argsort(counts, kind="stable")
    assert (model.masked_word.decoder.bias[by_frequency].diff() >= 0).all()


def test_the_first_word_vectors_know_which_words_go_together(folder: Path) -> None:
    """Words of one topic of the synthetic language begin closer than words of two, and the same plan begins alike."""
    text = prepare_text(corpus_of(folder), folder, tiny_runs.plan())
    plan = tiny_runs.plan(hidden_size=32)
    words = pretraining.new_model(text, plan).bert.embeddings.word.weight
    assert_same(pretraining.new_model(text, plan).bert.embeddings.word.weight, words)
    first_column = position_columns(32)
    documents = [np.concatenate(text.training[number]) for number in range(len(text.training))]
    company = count_company(documents, text.tokenizer.vocab_size, np.arange(text.tokenizer.vocab_size))
    vectors = torch.nn.functional.normalize(words[:, first_column:-1], dim=1)
    likeness = (vectors @ vectors.T).detach().numpy()
    seen = np.flatnonzero(company.sum(1))
    meet, never_meet = (likeness[np.ix_(seen, seen)][rule[np.ix_(seen, seen)]] for rule in (company > 0, company == 0))
    assert meet.mean() > never_meet.mean() + 0.1


def test_of_a_large_corpus_evenly_spread_documents_are_counted(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = prepare_text(corpus_of(folder), folder, tiny_runs.plan())
    monkeypatch.setattr(pretraining, "COMPANY_TOKENS", text.training.token_count // 2 + 1)
    drawn = list(pretraining.evenly_drawn(text.training))
    assert [len(document) for document in drawn] == [
        sum(len(sentence) for sentence in text.training[number]) for number in range(0, len(text.training), 2)
    ]


@pytest.mark.parametrize("hidden_size", [8, 32, 36])
def test_a_new_model_begins_with_numbers_at_any_width(folder: Path, hidden_size: int) -> None:
    plan = tiny_runs.plan(hidden_size=hidden_size)
    model = pretraining.new_model(prepare_text(corpus_of(folder), folder, tiny_runs.plan()), plan)
    for name, parameter in model.named_parameters():
        assert parameter.isfinite().all(), name


# What is refused, before any training.


@pytest.mark.parametrize(
    ("entry", "value", "message"),
    [
        ("max_length", 7, "max_length=7 must be at least 8"),
        ("held_out", 0.0, "held_out=0.0 must lie between 0 and 1"),
        ("held_out", 1.0, "held_out=1.0 must lie between 0 and 1"),
        ("batch_size", 0, "batch_size=0 must be at least 1"),
        ("max_steps", 0, "max_steps=0 must be at least 1"),
        ("save_steps", 0, "save_steps=0 must be a whole number of updates"),
        ("learning_rate", -1.0, "learning_rate=-1.0 must not be negative"),
        ("warmup_steps", -1, "warmup_steps=-1 must not be negative"),
        ("hidden_size", 30, "hidden_size=30 must be a multiple of num_attention_heads=4"),
        ("num_attention_heads", 0, "num_attention_heads=0 must be at least 1"),
        ("num_hidden_layers", -1, "num_hidden_layers=-1 must be at least 0"),
        ("vocab_size", 0, "vocab_size=0 must be at least 1"),
    ],
)
def test_a_plan_that_cannot_be_is_refused_at_once(entry: str, value: float, message: str) -> None:
    with pytest.raises(InputError) as refusal:
        PretrainingPlan(**{"num_attention_heads": 4, entry: value})
    assert str(refusal.value).startswith(message)


@pytest.mark.parametrize(
    ("text", "changes", "message"),
    [
        ("one document\nof two lines", {}, "can't be split; separate documents by a blank line"),
        ("a b\n\nc d\n\ne f", {}, "next sentences need two on each side"),
        ("a b\n\nc d\n\ne f\n\ng h", {"held_out": 0.9}, "next sentences need two on each side"),
        ("a b\n\nc d\n\ne f\n\ng h", {"held_out": 0.5, "vocab_size": 4}, "vocab_size=4 must be greater than"),
        ("", {}, "holds no text"),
    ],
)
def test_a_corpus_that_cannot_be_used_is_refused_and_claims_no_folder(
    tmp_path: Path, text: str, changes: dict[str, Any], message: str
) -> None:
    (tmp_path / "corpus.txt").write_text(text)
    with pytest.raises(InputError, match=message):
        pretrain(str(tmp_path / "corpus.txt"), tmp_path / "run", tiny_runs.plan(**changes))
    assert not (tmp_path / "run").exists(), "a better plan should be welcome in the same folder"


# Learning.


@pytest.mark.usefixtures("without_shape_checks")
def test_a_short_pretraining_comes_close_to_the_best_that_the_synthetic_language_allows(tmp_path: Path) -> None:
    plan = PretrainingPlan(
        vocab_size=400,
        max_length=15,  # pairs of one whole sentence each, for which the optimum is exact
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_steps=800,
        batch_size=16,
        learning_rate=3e-3,
        warmup_steps=100,
        save_steps=1000,
    )
    metrics = pretrain("synthetic", tmp_path, plan)
    language = SyntheticLanguage()
    best = language.bayes_masked_word_loss(replacements=int(metrics["vocabulary"]) - 5)
    assert metrics["unigram_entropy"] == pytest.approx(language.unigram_entropy(), abs=0.05)
    assert best - 0.05 < metrics["masked_lm_loss"] < best + 0.3 < metrics["unigram_entropy"] - 3
    assert abs(metrics["next_sentence_accuracy"] - language.bayes_next_sentence_accuracy()) < 0.04
