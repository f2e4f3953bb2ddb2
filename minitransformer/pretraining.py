"""Pretraining: from a corpus to a folder that holds a model, its tokenizer, and the figures of what it learned."""

import math
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from minitransformer import corpora, files
from minitransformer.batches import MaskedLanguageCollator, NextSentencePairs
from minitransformer.checkpoint import PLAN_FILE, require_same_plan
from minitransformer.errors import InputError
from minitransformer.initialisation import position_columns, start_from_word_vectors, start_with_a_purpose
from minitransformer.losses import LossPart
from minitransformer.models.bert import BertForPreTraining
from minitransformer.models.bert_config import BertConfig
from minitransformer.shards import Shards
from minitransformer.tokenizer import Tokenizer
from minitransformer.trainer import Batch, Processes, Trainer, TrainerState, add_parts, evaluating, seed_of, shared
from minitransformer.training_arguments import TrainingArguments, require_positive
from minitransformer.word_vectors import vectors_from_company

EVALUATION_BATCH = 128
INITIALIZER_RANGE = 0.05  # BERT's 0.02 suits a width of 768; the loudness of a vector falls with its width
COMPANY_TOKENS = 5_000_000
"""Of a larger corpus only so many tokens are counted for the first word vectors."""
LAST_TOKENIZER_FILE = "tokenizer_config.json"
"""Where this one is, `Tokenizer.save_pretrained` has written them all."""


@dataclass(frozen=True)
class PretrainingPlan:
    """How large a BERT, and how long to pretrain it; the defaults take four minutes on two CPU cores.

    Raises: InputError naming what cannot be, before anything is read.
    """

    vocab_size: int = 4096
    """Words and pieces of words, the special tokens among them."""
    lowercase: bool = True
    """Read capitals as small letters."""
    max_length: int = 128
    """Tokens of a pair of segments, with [CLS] and both [SEP]."""
    hidden_size: int = 128
    """Width of the model."""
    num_hidden_layers: int = 2
    """Encoder blocks."""
    num_attention_heads: int = 8
    """Attention heads of each block."""
    max_steps: int = 3200
    """Updates of the parameters."""
    batch_size: int = 16
    """Pairs of each update."""
    learning_rate: float = 1e-3
    """Highest rate, after the warm-up."""
    warmup_steps: int = 200
    """Updates until the highest rate."""
    bf16: bool | Literal["auto"] = False
    """Compute in bfloat16; "auto" does so where the processor or the GPU has instructions for it."""
    held_out: float = 0.1
    """Share of the documents that is never trained on."""
    save_steps: int = 500
    """Updates between checkpoints."""
    seed: int = 0
    """Decides everything that is left to chance."""

    def __post_init__(self) -> None:
        if self.max_length < 8:
            raise InputError(f"max_length={self.max_length} must be at least 8: [CLS], two segments and two [SEP]")
        if not 0 < self.held_out < 1:
            raise InputError(f"held_out={self.held_out} must lie between 0 and 1; it is a share of the documents")
        for name in ("batch_size", "max_steps"):
            require_positive(name, getattr(self, name))
        self.config(self.vocab_size, padding_id=0)
        self.training_arguments(Path())

    def entries(self, corpus: str) -> dict[str, Any]:
        """What a folder is remembered by."""
        return {"corpus": corpora.fingerprint(corpus), **asdict(self)}

    def config(self, vocab_size: int, padding_id: int) -> BertConfig:
        """The model's configuration; the tokenizer may have found fewer words than it was allowed."""
        return BertConfig(
            vocab_size=vocab_size,
            hidden_size=self.hidden_size,
            num_hidden_layers=self.num_hidden_layers,
            num_attention_heads=self.num_attention_heads,
            intermediate_size=4 * self.hidden_size,
            max_position_embeddings=self.max_length,
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
            initializer_range=INITIALIZER_RANGE,
            pad_token_id=padding_id,
        )

    def training_arguments(self, output_dir: Path, n_processes: int = 1) -> TrainingArguments:
        """How the trainer is to run; several processes share the pairs of an update."""
        return TrainingArguments(
            str(output_dir),
            max_steps=self.max_steps,
            per_device_train_batch_size=shared(self.batch_size, n_processes),
            learning_rate=self.learning_rate,
            warmup_steps=min(self.warmup_steps, self.max_steps),
            weight_decay=0.01,
            adam_beta2=0.98,
            logging_steps=50,
            save_steps=self.save_steps,
            save_total_limit=2,
            bf16=self.bf16,
            seed=self.seed,
        )


@dataclass(frozen=True)
class PreparedText:
    """A corpus as the model reads it."""

    tokenizer: Tokenizer
    training: Shards
    held_out: Shards


def pretrain(corpus: str, folder: Path, plan: PretrainingPlan) -> dict[str, float]:
    """Pretrain a BERT on a corpus and keep it, with its tokenizer and its figures, in a folder.

    A run that was stopped goes on from its newest checkpoint; one with another plan needs another folder. Of several
    processes the first one prepares the text, and judges and keeps the model; each reads only its own pairs.

    Raises: InputError for a corpus that cannot be used; TrainingInterruptedError after Ctrl-C.
    """
    processes = Processes.of_this_run(plan.training_arguments(folder))
    arguments = plan.training_arguments(folder / "checkpoints", processes.n_processes)
    processes.by_first(lambda: require_same_plan(folder, plan.entries(corpus)))
    if processes.of_first((folder / "metrics.json").is_file()):
        return files.read_json(folder / "metrics.json")
    text = processes.by_first(lambda: prepare_text(corpus, folder, plan)) or open_text(folder)
    model = new_model(text, plan) if processes.is_first else model_without_start(text, plan)
    pairs = NextSentencePairs(text.training, plan.max_length, plan.seed)
    collate = MaskedLanguageCollator(text.tokenizer)
    trainer = Trainer(model, arguments, train_dataset=pairs, data_collator=collate)
    trainer.train(resume_from_checkpoint=True)
    processes.by_first(lambda: keep(folder, model, trainer.state, text, plan))
    return files.read_json(folder / "metrics.json")


def keep(
    folder: Path, model: BertForPreTraining, state: TrainerState, text: PreparedText, plan: PretrainingPlan
) -> None:
    """Keep a model that has learned, what was logged on the way, and how well it does on the held-out documents."""
    model.save_pretrained(folder)
    metrics = {
        "steps": float(state.global_step),
        "vocabulary": float(text.tokenizer.vocab_size),
        "parameters": float(model.num_parameters()),
        "unigram_entropy": unigram_entropy(text.held_out, text.tokenizer.vocab_size),
        **evaluate_pretraining(model, text.held_out, text.tokenizer, plan.max_length, plan.seed),
    }
    files.write_json(folder / "history.json", {"history": state.log_history})
    files.write_json(folder / "metrics.json", metrics)


def prepare_text(corpus: str, folder: Path, plan: PretrainingPlan) -> PreparedText:
    """Split the corpus by documents, train the tokenizer on the training ones, and turn all into shards.

    Held-out documents are unseen by the tokenizer too. The plan is remembered as soon as something follows from it.

    Raises: InputError for a corpus with too few documents.
    """
    n_documents = sum(1 for _ in corpora.documents(corpus))
    training, held_out = corpora.split_documents(range(n_documents), plan.held_out, seed=plan.seed)
    require_two_documents(len(training), len(held_out))
    if (folder / LAST_TOKENIZER_FILE).is_file():
        tokenizer = Tokenizer.from_pretrained(folder)
    else:
        tokenizer = Tokenizer.train(chosen_documents(corpus, set(training)), plan.vocab_size, plan.lowercase)
        files.write_json(folder / PLAN_FILE, plan.entries(corpus))
        tokenizer.save_pretrained(folder)
    for side, numbers in (("training", training), ("held_out", held_out)):
        source = f"{corpora.fingerprint(corpus)}:{side}:{plan.held_out}:{plan.seed}"
        documents = chosen_documents(corpus, set(numbers))
        Shards.build(folder / "shards" / side, documents, tokenizer, source, progress=True)
    return open_text(folder)


def open_text(folder: Path) -> PreparedText:
    """Open the text that was prepared in a folder; nothing of it is read before it is needed."""
    sides = (Shards.open(folder / "shards" / side) for side in ("training", "held_out"))
    return PreparedText(Tokenizer.from_pretrained(folder), *sides)


def require_two_documents(n_training: int, n_held_out: int) -> None:
    """Refuse, before any training, a split on which next sentences cannot be told from others.

    >>> require_two_documents(n_training=2, n_held_out=1)
    Traceback (most recent call last):
        ...
    minitransformer.errors.InputError: of 3 documents 1 would be held out, and 2 trained on, but next sentences need \
two on each side; add documents (a blank line separates them) or change held_out
    """
    if min(n_training, n_held_out) < 2:
        raise InputError(
            f"of {n_training + n_held_out} documents {n_held_out} would be held out, and {n_training} trained on, but "
            "next sentences need two on each side; add documents (a blank line separates them) or change held_out"
        )


def chosen_documents(corpus: str, numbers: set[int]) -> Iterator[corpora.Document]:
    """The documents of a corpus with these numbers, one at a time."""
    return (document for number, document in enumerate(corpora.documents(corpus)) if number in numbers)


def new_model(text: PreparedText, plan: PretrainingPlan) -> BertForPreTraining:
    """A BERT before its first update: it starts where learning is fast, from counts of the training text."""
    model = model_without_start(text, plan)
    start_with_a_purpose(model.bert.embeddings, model.bert.encoder)
    start_from_frequencies(model, text)
    start_from_company(model, text)
    return model


def model_without_start(text: PreparedText, plan: PretrainingPlan) -> BertForPreTraining:
    """A BERT of random numbers, which several processes replace by those of the first."""
    torch.manual_seed(plan.seed)
    return BertForPreTraining(plan.config(text.tokenizer.vocab_size, text.tokenizer.pad_token_id))


def start_from_frequencies(model: BertForPreTraining, text: PreparedText) -> None:
    """Begin the decoder's bias at the log frequencies, so that the first guess is the unigram distribution."""
    counts = text.training.token_counts(text.tokenizer.vocab_size) + 0.5
    with torch.no_grad():
        model.masked_word.decoder.bias.copy_(torch.from_numpy(np.log(counts / counts.sum())))


def start_from_company(model: BertForPreTraining, text: PreparedText) -> None:
    """Begin the word vectors so that words which occur together are alike; what says position or segment stays free."""
    d_model, counts = model.config.hidden_size, text.training.token_counts(text.tokenizer.vocab_size)
    first_column = position_columns(d_model)
    vectors = vectors_from_company(evenly_drawn(text.training), counts, n_columns=d_model - 1 - first_column)
    start_from_word_vectors(model.bert.embeddings, vectors, first_column, text.tokenizer.special_ids)


def evenly_drawn(shards: Shards) -> Iterator[np.ndarray]:
    """The tokens of documents spread evenly over a corpus, about `COMPANY_TOKENS` in all: more would say no more."""
    stride = math.ceil(shards.token_count / COMPANY_TOKENS)
    for document in range(0, len(shards), stride):
        yield shards.document(document)


def unigram_entropy(shards: Shards, vocab_size: int) -> float:
    """The lowest loss of a model that ignores the context: −Σ p ln p over the text's own frequencies, in nats.

    Source: Shannon 1948, §6.
    """
    counts = shards.token_counts(vocab_size)
    probability = counts[counts > 0] / counts.sum()
    return float(-(probability * np.log(probability)).sum())


def evaluate_on_corpus(model: BertForPreTraining, tokenizer: Tokenizer, corpus: str) -> dict[str, float]:
    """Judge a kept model on all documents of a corpus.

    Raises: InputError for a corpus that cannot be used.
    """
    with tempfile.TemporaryDirectory() as folder:
        shards = Shards.build(Path(folder) / "shards", corpora.documents(corpus), tokenizer)
        return {
            "unigram_entropy": unigram_entropy(shards, tokenizer.vocab_size),
            **evaluate_pretraining(model, shards, tokenizer, model.config.max_position_embeddings),
        }


def evaluate_pretraining(
    model: BertForPreTraining, shards: Shards, tokenizer: Tokenizer, max_length: int, seed: int = 0
) -> dict[str, float]:
    """The masked-word loss and the next-sentence accuracy on documents, by sums over all that counts."""
    pairs = NextSentencePairs(shards, max_length, seed)
    collate = MaskedLanguageCollator(tokenizer, generator=torch.Generator().manual_seed(seed_of(seed, len(pairs))))
    sums: dict[str, LossPart] = {}
    n_right = n_hits = 0
    with evaluating(model), torch.no_grad():
        for first in range(0, len(pairs), EVALUATION_BATCH):
            batch: dict[str, Any] = collate(pairs.__getitems__(range(first, min(first + EVALUATION_BATCH, len(pairs)))))
            sums = add_parts(sums, model.training_losses(**batch))
            words_right, follows_right = count_right(model, batch)
            n_hits, n_right = n_hits + words_right, n_right + follows_right
    return {
        "masked_lm_loss": sums["masked_lm_loss"].mean.item(),
        "masked_lm_perplexity": math.exp(sums["masked_lm_loss"].mean.item()),
        "masked_lm_accuracy": n_hits / sums["masked_lm_loss"].count,
        "next_sentence_loss": sums["next_sentence_loss"].mean.item(),
        "next_sentence_accuracy": n_right / len(pairs),
        "held_out_pairs": float(len(pairs)),
    }


def count_right(model: BertForPreTraining, batch: Batch) -> tuple[int, int]:
    """How many hidden words, and how many next sentences, the model guesses right."""
    labels, follows = batch["labels"], batch["next_sentence_label"]
    read = model.bert(batch["input_ids"], batch["attention_mask"], batch["token_type_ids"])
    words = model.masked_word(read.last_hidden_state[labels >= 0]).argmax(-1)
    return (
        int((words == labels[labels >= 0]).sum()),
        int((model.next_sentence(read.pooler_output).argmax(-1) == follows).sum()),
    )
