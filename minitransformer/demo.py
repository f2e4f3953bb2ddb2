"""The main job, from real text to a report: pretrain, keep, fine-tune, judge, look."""

import os
import re
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from minitransformer import corpora, files
from minitransformer.checkpoint import PLAN_FILE, require_same_plan
from minitransformer.corpora import LabelledTexts
from minitransformer.finetuning import (
    FinetuningPlan,
    choose_examples,
    classifier_from,
    classifier_from_scratch,
    train_classifier,
)
from minitransformer.models.bert import BertForMaskedLM
from minitransformer.prediction import MASK, attention_of, fill_masks
from minitransformer.pretraining import PretrainingPlan, pretrain
from minitransformer.report import SCORES, Attention, FilledText, report
from minitransformer.tokenizer import Tokenizer

SEEDS = (0, 1, 2)
N_FILLED = 8


@dataclass(frozen=True)
class DemoPlan:
    """A corpus, a task on the same kind of text, and how to learn both."""

    corpus: str = "kjv"
    labelled: str = "kjv-genre"
    task: str = "From which kind of book is a verse: law, history, poetry, prophecy, gospel or letter?"
    sentence: str = "And God said, Let there be light: and there was light."
    pretraining: PretrainingPlan = field(default_factory=PretrainingPlan)
    finetuning: FinetuningPlan = field(
        default_factory=lambda: FinetuningPlan(n_examples=500, num_train_epochs=6.0, learning_rate=1e-3)
    )


def run_demo(folder: Path, plan: DemoPlan) -> dict[str, Any]:
    """Run what is not done yet, and give the figures of `metrics.json`.

    Raises: InputError without a network or a place to write; TrainingInterruptedError after Ctrl-C.
    """
    require_same_plan(folder, entries_of(plan))
    if (folder / "metrics.json").is_file():
        return files.read_json(folder / "metrics.json")
    fetch(plan)
    files.write_json(folder / PLAN_FILE, entries_of(plan))
    with timed(folder):
        say(f"Pretraining on {plan.corpus}: {plan.pretraining.max_steps} steps")
        learned = pretrain(plan.corpus, folder / "model", plan.pretraining)
        runs = {name: finetunings(name, folder, plan) for name in ("finetuned", "scratch")}
    figures = {**learned, **outcome_figures(runs, plan), "seconds": seconds_so_far(folder), "cores": os.cpu_count()}
    with timed(folder):
        files.write_text(folder / "report.html", draw_report(folder, plan, figures))
    figures["seconds"] = seconds_so_far(folder)
    files.write_json(folder / "metrics.json", figures)
    return figures


def entries_of(plan: DemoPlan) -> dict[str, Any]:
    """What a folder is remembered by; the entries of inner plans stand beside the others."""
    entries = asdict(plan)
    for name in ("pretraining", "finetuning"):
        entries |= {f"{name}.{entry}": value for entry, value in entries.pop(name).items()}
    return entries


def fetch(plan: DemoPlan) -> None:
    """Bring the data into the cache, so that its download is not counted."""
    for name in (plan.corpus, plan.labelled):
        if not corpora.is_fetched(name):
            corpora.fetch(name)


def finetunings(start: str, folder: Path, plan: DemoPlan) -> list[dict[str, Any]]:
    """Fine-tune from one start with each seed; results that are there are not made again."""
    texts = corpora.labelled(plan.labelled)
    training, held_out = corpora.split_labelled(texts, plan.pretraining.held_out, plan.pretraining.seed)
    results = []
    for seed in SEEDS:
        path = folder / "finetuning" / f"{start}-{seed}.json"
        if not path.is_file():
            say(f"Fine-tuning on {plan.finetuning.n_examples} labels, {start}, seed {seed}")
            files.write_json(path, one_finetuning(start, seed, folder, plan, training, held_out))
        results.append(files.read_json(path))
        say(f"  {results[-1]['accuracy']:.1%} of {results[-1]['examples']} held-out texts right")
    return results


def one_finetuning(
    start: str, seed: int, folder: Path, plan: DemoPlan, training: LabelledTexts, held_out: LabelledTexts
) -> dict[str, Any]:
    """Fine-tune once and judge; the first classifier with a pretrained encoder is kept."""
    begin = classifier_from if start == "finetuned" else classifier_from_scratch
    finetuning = replace(plan.finetuning, seed=seed)
    model = begin(folder / "model", training.label_names, finetuning)
    tokenizer = Tokenizer.from_pretrained(folder / "model")
    chosen = choose_examples(training, finetuning)
    checkpoints = folder / "finetuning" / f"{start}-{seed}"
    figures = train_classifier(model, tokenizer, chosen, held_out, finetuning, checkpoints)
    if start == "finetuned" and seed == SEEDS[0]:
        model.save_pretrained(folder / "classifier")
        tokenizer.save_pretrained(folder / "classifier")
    return figures


def outcome_figures(runs: dict[str, list[dict[str, Any]]], plan: DemoPlan) -> dict[str, Any]:
    """Both outcomes, as lists over seeds."""
    scores = {name: {score: [run[score] for run in results] for score in SCORES} for name, results in runs.items()}
    first = runs["finetuned"][0]
    return {
        "finetuned_accuracy": scores["finetuned"]["accuracy"],
        "scratch_accuracy": scores["scratch"]["accuracy"],
        **scores,
        "labelled_examples": plan.finetuning.n_examples,
        **{name: first[name] for name in ("confusion_matrix", "labels", "averaged", "examples")},
    }


def draw_report(folder: Path, plan: DemoPlan, figures: dict[str, Any]) -> str:
    """The page that shows it all."""
    model = BertForMaskedLM.from_pretrained(folder / "model")
    tokenizer = Tokenizer.from_pretrained(folder / "model")
    weights, tokens = attention_of(model, tokenizer, plan.sentence)
    readable = [text for text in held_out_sentences(plan) if len(tokenizer.encode(text)) <= plan.pretraining.max_length]
    hidden_words = hide_words(readable, tokenizer, plan.pretraining.seed)
    filled = [
        FilledText(before, word, after, fill_masks(model, tokenizer, before + MASK + after)[0])
        for before, word, after in hidden_words
    ]
    return report(
        title="What a small BERT learned",
        lead=f"Pretrained on {plan.corpus} for {figures['steps']:,.0f} steps, then fine-tuned.",
        metrics=figures,
        history=files.read_json(folder / "model" / "history.json")["history"],
        attention=Attention(weights.numpy(), tokens),
        filled=filled,
        task=plan.task,
    )


def held_out_sentences(plan: DemoPlan) -> list[str]:
    """Sentences of a readable length from documents that were not trained on."""
    documents = list(corpora.documents(plan.corpus))
    _, held_out = corpora.split_documents(documents, plan.pretraining.held_out, plan.pretraining.seed)
    return [sentence for document in held_out for sentence in document if 6 <= len(sentence.split()) <= 18]


def hide_words(sentences: Sequence[str], tokenizer: Tokenizer, seed: int) -> Iterator[tuple[str, str, str]]:
    """Draw sentences, and of each what stands before a drawn word, that word (a single token), and what follows it."""
    generator = np.random.default_rng(seed)
    n_found = 0
    for number in generator.permutation(len(sentences)):
        words = [
            match for match in re.finditer(r"[^\W\d_]{3,}", sentences[number]) if len(tokenizer.tokenize(match[0])) == 1
        ]
        if words and n_found < N_FILLED:
            n_found += 1
            word = words[generator.integers(len(words))]
            yield sentences[number][: word.start()], word[0], sentences[number][word.end() :]


@contextmanager
def timed(folder: Path) -> Iterator[None]:
    """Add the seconds inside the block to those of the run, also if it is interrupted."""
    started = time.perf_counter()
    try:
        yield
    finally:
        files.write_json(folder / "seconds.json", {"seconds": seconds_so_far(folder) + time.perf_counter() - started})


def seconds_so_far(folder: Path) -> float:
    """How long the run has taken, all its parts together."""
    path = folder / "seconds.json"
    return float(files.read_json(path)["seconds"]) if path.is_file() else 0.0


def say(line: str) -> None:
    """Tell what happens now, beside the progress bars."""
    print(line, file=sys.stderr, flush=True)
