"""Runs so small that they take a second, on a text of the synthetic language; nothing is fetched."""

import csv
from pathlib import Path
from typing import Any

from minitransformer.corpora import SyntheticLanguage
from minitransformer.finetuning import FinetuningPlan
from minitransformer.pretraining import PretrainingPlan, pretrain

LANGUAGE = SyntheticLanguage(topics=3, words=2)
N_DOCUMENTS = 30


def plan(**changes: Any) -> PretrainingPlan:
    """How to pretrain in a second."""
    entries = {"vocab_size": 200, "max_length": 20, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    entries |= {"max_steps": 12, "batch_size": 4, "warmup_steps": 2, "save_steps": 5, "held_out": 0.2}
    return PretrainingPlan(**{**entries, **changes})


def finetuning_plan(**changes: Any) -> FinetuningPlan:
    """How to fine-tune in a second."""
    return FinetuningPlan(**{"n_examples": 12, "num_train_epochs": 2.0, "batch_size": 4, "max_length": 20, **changes})


def write_corpus(folder: Path) -> Path:
    """A text file of the user's own: a sentence a line, a blank line between documents."""
    documents = LANGUAGE.documents(N_DOCUMENTS, seed=3, sentences=6)
    path = folder / "corpus.txt"
    path.write_text("\n\n".join("\n".join(document) for document in documents), encoding="utf-8")
    return path


def write_labelled(folder: Path, count: int = 40) -> Path:
    """A table of the user's own: sentences with their topics."""
    texts = LANGUAGE.labelled(count, seed=4)
    path = folder / "labelled.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(["text", "label"])
        table.writerows(
            [text, LANGUAGE.topic_names[label]] for text, label in zip(texts.texts, texts.labels, strict=True)
        )
    return path


def pretrained(folder: Path) -> Path:
    """A pretrained model's folder."""
    pretrain(str(write_corpus(folder)), folder / "model", plan())
    return folder / "model"
