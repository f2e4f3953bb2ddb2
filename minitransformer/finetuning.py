"""Fine-tuning: a task layer on a pretrained encoder, trained on labelled texts and judged on others."""

import shutil
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from minitransformer import corpora, files, metrics
from minitransformer.batches import PaddingCollator, TextClassification
from minitransformer.checkpoint import PLAN_FILE, require_same_plan, sha256
from minitransformer.corpora import LabelledTexts
from minitransformer.errors import InputError
from minitransformer.initialisation import start_with_a_purpose
from minitransformer.models.bert import BertForSequenceClassification
from minitransformer.models.bert_config import BertConfig
from minitransformer.pretrained import require_folder, require_weights
from minitransformer.run_log import LOG_FILE
from minitransformer.tokenizer import Tokenizer
from minitransformer.trainer import Processes, Trainer, shared
from minitransformer.training_arguments import TrainingArguments, require_positive


@dataclass(frozen=True)
class FinetuningPlan:
    """How long and how fast to fine-tune, and on how much.

    Raises: InputError naming what cannot be.
    """

    n_examples: int | None = None
    """Labelled texts to learn from, drawn evenly from the classes; all of them unless given."""
    num_train_epochs: float = 10.0
    """Passes over them."""
    batch_size: int = 16
    """Texts of each update."""
    max_tokens: int | None = None
    """Tokens of each update of a process, padding among them; where given, it overrides the number of texts."""
    learning_rate: float = 3e-4
    """Highest rate, after the warm-up."""
    dropout: float = 0.1
    """Share of the activations that is dropped."""
    max_length: int = 64
    """Tokens of a text, with [CLS] and [SEP]; longer ones are cut."""
    held_out: float = 0.1
    """Share of the documents whose texts are never learned from."""
    split_seed: int = 0
    """Decides which documents are held out."""
    seed: int = 0
    """Decides everything else that is left to chance."""

    def __post_init__(self) -> None:
        require_positive("batch_size", self.batch_size)
        if self.max_length < 3:
            raise InputError(f"max_length={self.max_length} must be at least 3: [CLS], a token and [SEP]")
        if self.max_tokens is not None and self.max_tokens < self.max_length:
            raise InputError(
                f"max_tokens={self.max_tokens} must be at least max_length={self.max_length}, so that each text fits"
            )
        if not 0 <= self.dropout < 1:
            raise InputError(f"dropout={self.dropout} must be at least 0 and below 1")
        if not 0 < self.held_out < 1:
            raise InputError(f"held_out={self.held_out} must lie between 0 and 1; it is a share of the documents")
        self.training_arguments(Path(), quiet=True)

    def training_arguments(self, output_dir: Path, quiet: bool, n_processes: int = 1) -> TrainingArguments:
        """How the trainer is to run; several processes share the texts of an update."""
        sizes: dict[str, Any] = {"max_tokens": self.max_tokens}
        if self.max_tokens is None:
            sizes = {"per_device_train_batch_size": shared(self.batch_size, n_processes)}
            sizes |= {"per_device_eval_batch_size": 128}
        return TrainingArguments(
            str(output_dir),
            num_train_epochs=self.num_train_epochs,
            **sizes,
            learning_rate=self.learning_rate,
            weight_decay=0.01,
            lr_scheduler_type="linear",
            warmup_steps=20,
            save_strategy="no",
            logging_steps=20,
            seed=self.seed,
            disable_tqdm=quiet,
        )


def finetune(model_folder: Path, data: str, folder: Path, plan: FinetuningPlan, **columns: str) -> dict[str, Any]:
    """Fine-tune a folder's encoder on labelled texts, judge it on held-out ones, and keep it in another folder.

    A run that was stopped goes on from its checkpoint; one with another plan needs another folder. Of several processes
    the first one writes.

    Raises: InputError for a model or data that cannot be used; TrainingInterruptedError after Ctrl-C.
    """
    processes = Processes.of_this_run(plan.training_arguments(folder, quiet=True))
    weights = sha256(require_weights(require_folder(model_folder)))
    entries = {"model_sha256": weights, "data": corpora.fingerprint(data), **columns, **asdict(plan)}
    processes.by_first(lambda: require_same_plan(folder, entries))
    tokenizer = Tokenizer.from_pretrained(model_folder)
    texts = corpora.labelled(data, **columns)
    require_two_classes(texts)
    training, held_out = corpora.split_labelled(texts, plan.held_out, plan.split_seed)
    chosen = choose_examples(training, plan)
    model = classifier_from(model_folder, texts.label_names, plan)
    processes.by_first(lambda: files.write_json(folder / PLAN_FILE, entries))
    figures = train_classifier(model, tokenizer, chosen, held_out, plan, folder / "checkpoints")
    processes.by_first(lambda: keep(folder, model, tokenizer, {"plan": asdict(plan), **figures}))
    return figures


def keep(folder: Path, model: BertForSequenceClassification, tokenizer: Tokenizer, contents: dict[str, Any]) -> None:
    """Keep a classifier with its tokenizer, and how well it does."""
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    files.write_json(folder / "metrics.json", contents)


def classifier_from(
    model_folder: Path, label_names: tuple[str, ...], plan: FinetuningPlan
) -> BertForSequenceClassification:
    """A classifier with a folder's encoder and a new task layer."""
    torch.manual_seed(plan.seed)
    return BertForSequenceClassification.from_pretrained(model_folder, **task_entries(label_names, plan))


def classifier_from_scratch(
    model_folder: Path, label_names: tuple[str, ...], plan: FinetuningPlan
) -> BertForSequenceClassification:
    """The same classifier without what the encoder has learned: it starts as pretraining did, but has seen no text."""
    torch.manual_seed(plan.seed)
    model = BertForSequenceClassification(BertConfig.from_pretrained(model_folder, **task_entries(label_names, plan)))
    start_with_a_purpose(model.bert.embeddings, model.bert.encoder)
    return model


def task_entries(label_names: tuple[str, ...], plan: FinetuningPlan) -> dict[str, Any]:
    """What a task changes in an encoder's configuration."""
    return {
        "id2label": dict(enumerate(label_names)),
        "num_labels": len(label_names),
        "hidden_dropout_prob": plan.dropout,
        "attention_probs_dropout_prob": plan.dropout,
    }


def train_classifier(
    model: BertForSequenceClassification,
    tokenizer: Tokenizer,
    chosen: LabelledTexts,
    held_out: LabelledTexts,
    plan: FinetuningPlan,
    checkpoints: Path,
    quiet: bool = False,
) -> dict[str, Any]:
    """Train on the chosen texts, from a checkpoint if the run was stopped, and judge on the held-out ones."""
    max_length = min(plan.max_length, model.config.max_position_embeddings)
    dataset = TextClassification(chosen.texts, chosen.labels, tokenizer, max_length)
    processes = Processes.of_this_run(plan.training_arguments(checkpoints, quiet))
    arguments = plan.training_arguments(checkpoints, quiet, processes.n_processes)
    trainer = Trainer(model, arguments, train_dataset=dataset, data_collator=PaddingCollator(tokenizer))
    trainer.train(resume_from_checkpoint=True)
    figures = judge(trainer, TextClassification(held_out.texts, held_out.labels, tokenizer, max_length), held_out)
    processes.by_first(partial(tidy_up, checkpoints))
    return figures


def tidy_up(checkpoints: Path) -> None:
    """Keep the log of a finished run, which needs no checkpoints any more."""
    (checkpoints / LOG_FILE).replace(checkpoints.with_name(LOG_FILE))
    shutil.rmtree(checkpoints, ignore_errors=True)


def require_two_classes(texts: LabelledTexts) -> None:
    """Refuse texts that leave nothing to tell apart."""
    if len(texts.label_names) < 2:
        raise InputError(f"all {len(texts)} texts have the class {texts.label_names[0]!r}; give texts of two or more")


def choose_examples(training: LabelledTexts, plan: FinetuningPlan) -> LabelledTexts:
    """The texts to learn from."""
    return training if plan.n_examples is None else draw_evenly(training, plan.n_examples, plan.seed)


def draw_evenly(texts: LabelledTexts, n_examples: int, seed: int) -> LabelledTexts:
    """Draw as many texts of each class as of any other, as far as they reach.

    Raises: InputError for fewer examples than classes, or more than there are.
    """
    n_classes = len(texts.label_names)
    if not n_classes <= n_examples <= len(texts):
        raise InputError(f"n_examples={n_examples} must lie from {n_classes} (one a class) to {len(texts)} (all)")
    order = np.random.default_rng([seed, n_examples]).permutation(len(texts))
    labels = np.asarray(texts.labels)[order]
    rank_in_class = np.zeros(len(texts), dtype=np.int64)
    for label in range(n_classes):
        rank_in_class[labels == label] = np.arange((labels == label).sum())
    return texts.select(order[np.argsort(rank_in_class, kind="stable")[:n_examples]].tolist())


def evaluate_classifier(
    model: BertForSequenceClassification, tokenizer: Tokenizer, texts: LabelledTexts
) -> dict[str, Any]:
    """Judge a kept classifier on labelled texts, whose classes it must know by the same names.

    Raises: InputError if a class of the texts is none of the model's.
    """
    texts = numbered_as_by(model, texts)
    dataset = TextClassification(texts.texts, texts.labels, tokenizer, model.config.max_position_embeddings)
    arguments = TrainingArguments("unused", per_device_eval_batch_size=128)
    return judge(Trainer(model, arguments, data_collator=PaddingCollator(tokenizer)), dataset, texts)


def numbered_as_by(model: BertForSequenceClassification, texts: LabelledTexts) -> LabelledTexts:
    """The same texts, their classes numbered as a model numbers them.

    Raises: InputError if a class of the texts is none of the model's.
    """
    known = tuple((model.config.id2label or {}).values())
    if not set(texts.label_names) <= set(known):
        raise InputError(f"the texts have the classes {list(texts.label_names)}, but the model knows {list(known)}")
    labels = [known.index(texts.label_names[label]) for label in texts.labels]
    return replace(texts, labels=labels, label_names=known)


def judge(trainer: Trainer, dataset: TextClassification, texts: LabelledTexts) -> dict[str, Any]:
    """Accuracy, precision, recall, F1 and the confusion matrix on texts with known classes."""
    scores, truth, _ = trainer.predict(dataset)
    predicted = scores.argmax(-1)
    average = "binary" if len(texts.label_names) == 2 else "macro"
    precision, recall, f1, _ = metrics.precision_recall_fscore_support(
        truth, predicted, average=average, zero_division=0.0
    )
    classes = list(range(len(texts.label_names)))
    return {
        "accuracy": metrics.accuracy_score(truth, predicted),
        "precision": precision,
        "recall": recall,
        "f1": f1,
        "averaged": f"of {texts.label_names[1]!r}" if average == "binary" else "over the classes",
        "confusion_matrix": metrics.confusion_matrix(truth, predicted, labels=classes).tolist(),
        "labels": list(texts.label_names),
        "examples": len(texts),
    }
