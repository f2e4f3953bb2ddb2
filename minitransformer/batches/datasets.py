"""Datasets: examples of ids, read from shards or made of texts, with what is asked of them."""

from collections.abc import Sequence

import numpy as np
import torch
from torch.utils.data import Dataset

from minitransformer.batches.examples import Example
from minitransformer.errors import InputError
from minitransformer.objectives.next_sentence import Span, make_pairs
from minitransformer.shards import Shards
from minitransformer.tokenizer import Tokenizer


def assemble_pair(
    first: Sequence[int] | np.ndarray, second: Sequence[int] | np.ndarray, cls_id: int, sep_id: int
) -> tuple[np.ndarray, np.ndarray]:
    """Join two segments as [CLS] A [SEP] B [SEP], and number the segment of each token.

    Source: Devlin et al. 2019, Figure 2: [CLS] and the first [SEP] belong to segment A.

    >>> ids, segments = assemble_pair([7, 8], [9], cls_id=2, sep_id=3)
    >>> ids.tolist(), segments.tolist()
    ([2, 7, 8, 3, 9, 3], [0, 0, 0, 0, 1, 1])
    """
    ids = np.empty(len(first) + len(second) + 3, dtype=np.int64)
    ids[0], ids[1 + len(first)], ids[-1] = cls_id, sep_id, sep_id
    ids[1 : 1 + len(first)] = first
    ids[2 + len(first) : -1] = second
    segments = np.zeros(len(ids), dtype=np.int64)
    segments[2 + len(first) :] = 1
    return ids, segments


class NextSentencePairs(Dataset[Example]):
    """Pairs for pretraining, drawn anew by `set_epoch`, each epoch determined by the seed and its number.

    Only where the spans lie is kept, 56 bytes a pair; the tokens are read from the shards when a pair is asked for.

    Raises: InputError if fewer than two documents have text, or `max_length` has no room for a pair.
    """

    def __init__(self, shards: Shards, max_length: int = 128, seed: int = 0, short_probability: float = 0.1) -> None:
        self.shards = shards
        self.max_length = max_length
        self.seed = seed
        self.short_probability = short_probability
        self.set_epoch(0)

    def set_epoch(self, epoch: int) -> None:
        """Draw the pairs of an epoch."""
        generator = np.random.default_rng([self.seed, epoch])
        lengths = (document.tolist() for document in self.shards.sentence_lengths())
        pairs = make_pairs(lengths, self.max_length, generator, self.short_probability)
        self.epoch = epoch
        numbers = (number for pair in pairs for number in (*pair.first, *pair.second, pair.label))
        self.pairs = np.fromiter(numbers, dtype=np.int64).reshape(-1, 7)

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> Example:
        *places, label = self.pairs[index].tolist()
        first, second = (self.shards.span(*Span(*place)) for place in (places[:3], places[3:]))
        ids, segments = assemble_pair(first, second, self.shards.cls_token_id, self.shards.sep_token_id)
        return {
            "input_ids": torch.from_numpy(ids),
            "token_type_ids": torch.from_numpy(segments),
            "next_sentence_label": torch.tensor(label),
        }


class TextClassification(Dataset[Example]):
    """Texts with a class each, as [CLS] text [SEP], cut at the end to `max_length`.

    Raises: InputError if there is no text, a text has no label, or `max_length` has no room for a token.
    """

    def __init__(
        self, texts: Sequence[str], labels: Sequence[int], tokenizer: Tokenizer, max_length: int = 128
    ) -> None:
        if not texts or len(texts) != len(labels):
            raise InputError(f"{len(texts)} texts and {len(labels)} labels don't match; give at least one, with labels")
        if max_length < 3:
            raise InputError(f"max_length={max_length} must be at least 3: [CLS], a token and [SEP]")
        self.labels = torch.tensor(labels)
        self.rows = [
            torch.tensor([tokenizer.cls_token_id, *ids[: max_length - 2], tokenizer.sep_token_id])
            for ids in tokenizer.encode_sentences(list(texts))
        ]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Example:
        row = self.rows[index]
        return {"input_ids": row, "token_type_ids": torch.zeros_like(row), "labels": self.labels[index]}
