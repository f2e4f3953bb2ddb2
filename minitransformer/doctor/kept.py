"""A kept model of ours: a batch with labels, as its own training has them."""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from minitransformer.batches import Batch, Example, MaskedLanguageCollator, PaddingCollator, assemble_pairs
from minitransformer.doctor.diagnosis import Diagnosis
from minitransformer.doctor.examining import examine
from minitransformer.errors import InputError
from minitransformer.losses import IGNORED
from minitransformer.models.bert import BertForPreTraining, BertForSequenceClassification, BertPreTrainedModel
from minitransformer.tokenizer import Tokenizer

SENTENCES = (
    "The old man went down to the sea and looked for his boat.",
    "It was gone.",
    "She put the bread on the table, and the children ate it.",
    "In winter the days are short and the nights are long.",
    "Nobody knew who had opened the door.",
    "They walked through the town until the rain stopped.",
)
PREDICTED = 0.15
MOST_SENTENCES = 8
MOST_TOKENS = 32


def sentences_of(text: str) -> list[str]:
    """The sentences of a text, or of the file of that name.

    Raises: InputError if there is none.

    >>> sentences_of("It rains. Who is there? Nobody")
    ['It rains.', 'Who is there?', 'Nobody']
    """
    content = read_if_file(text)
    sentences = [part.strip() for part in re.split(r"(?<=[.!?])\s+|\n", content) if part.strip()]
    if not sentences:
        raise InputError(f"text={text!r} holds no sentence; give a text, or a file of one")
    return sentences


def read_if_file(text: str) -> str:
    """What the file of that name holds; the text itself if there is none."""
    try:
        return Path(text).read_text(encoding="utf-8") if Path(text).is_file() else text
    except UnicodeDecodeError as error:
        raise InputError(f"{text} is not UTF-8 text ({error.reason}); save it as UTF-8") from error
    except OSError:  # a text too long to be a name
        return text


def batch_for(
    model: BertPreTrainedModel, tokenizer: Tokenizer, sentences: Sequence[str] = SENTENCES, seed: int = 0
) -> Batch:
    """A small batch with labels, as the model's own training has them.

    Raises: InputError if no word of the sentences can be asked for.
    """
    ids = [row for row in tokenizer.encode_sentences(list(sentences[:MOST_SENTENCES])) if row]
    length = min(MOST_TOKENS, model.config.max_position_embeddings)
    examples = [example_for(model, tokenizer, ids, number, length) for number in range(len(ids))]
    if isinstance(model, BertForSequenceClassification):
        labels = torch.stack([some_label(model, number) for number in range(len(ids))])
        return {**PaddingCollator(tokenizer)(examples), "labels": labels}
    batch = MaskedLanguageCollator(tokenizer, generator=torch.Generator().manual_seed(seed))(examples)
    if (batch["labels"] == IGNORED).all():
        raise InputError("the model's vocabulary knows no word of the text; give --text with words that it knows")
    return batch


def example_for(
    model: BertPreTrainedModel, tokenizer: Tokenizer, ids: Sequence[Sequence[int]], number: int, length: int
) -> Example:
    """A sentence, or for a model of pairs two of them, which follow each other in every other example."""
    edges = (tokenizer.cls_token_id, tokenizer.sep_token_id)
    if isinstance(model, BertForPreTraining):
        room, is_random = (length - 3) // 2, number % 2
        second = ids[(number + 1 + is_random) % len(ids)]
        both = [ids[number][:room], second[:room]]
        pair = assemble_pairs(np.concatenate(both), np.array([list(map(len, both))]), *edges)[0]
        return {**pair, "next_sentence_label": torch.tensor(is_random)}
    row = torch.tensor([edges[0], *ids[number][: length - 2], edges[1]])
    return {"input_ids": row, "token_type_ids": torch.zeros_like(row)}


def random_batch_for(model: BertPreTrainedModel, batch_size: int, length: int, seed: int = 0) -> Batch:
    """Random words with labels, as many in each sequence as in every other, to see what a model does and how fast.

    Raises: InputError for sizes below 1, and for sequences longer than the model's positions.
    """
    longest = model.config.max_position_embeddings
    if batch_size < 1 or not 1 <= length <= longest:
        raise InputError(f"batch_size={batch_size} must be at least 1, and length={length} from 1 to {longest}")
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(model.config.vocab_size, (batch_size, length), generator=generator)
    if isinstance(model, BertForSequenceClassification):
        return {"input_ids": ids, "labels": torch.stack([some_label(model, number) for number in range(batch_size)])}
    labels = torch.full_like(ids, IGNORED)
    n_predicted = max(1, round(PREDICTED * length))
    labels[:, -n_predicted:] = ids[:, -n_predicted:]
    if isinstance(model, BertForPreTraining):
        return {"input_ids": ids, "labels": labels, "next_sentence_label": torch.arange(batch_size) % 2}
    return {"input_ids": ids, "labels": labels}


def some_label(model: BertForSequenceClassification, number: int) -> Tensor:
    """A label of the kind that the task has; which one means nothing, for the batch is only learned by heart."""
    n_labels: int = model.config.num_labels
    if model.config.problem_type == "multi_label_classification":
        return (torch.arange(n_labels) == number % n_labels).float()
    if n_labels == 1 or model.config.problem_type == "regression":
        return torch.full((n_labels,), float(number % 2))
    return torch.tensor(number % n_labels)


def examine_kept(
    model: BertPreTrainedModel, tokenizer: Tokenizer, sentences: Sequence[str] = SENTENCES, steps: int = 60
) -> Diagnosis:
    """Examine one of our models on sentences; its first loss is only told, for it may have learned from others."""
    return examine(model, batch_for(model, tokenizer, sentences), trained=True, steps=steps)
