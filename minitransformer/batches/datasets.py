"""Datasets: examples of ids, read from shards or made of texts, with what is asked of them."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Int
from torch.utils.data import Dataset

from minitransformer.batches.examples import Example, Ragged
from minitransformer.batches.pairs import PairsByPlace, PairsDrawn
from minitransformer.errors import InputError
from minitransformer.objectives.next_sentence import SPECIALS_OF_A_PAIR, check_pairs, make_pairs
from minitransformer.shards import Shards
from minitransformer.stored import Numbers
from minitransformer.tokenizer import Tokenizer

DRAWN_BEFOREHAND = 2**24
"""Tokens of a corpus whose pairs are drawn before they are read: for this many it takes five seconds and 10 MB."""


def assemble_pairs(tokens: np.ndarray, lengths: Int[np.ndarray, "B 2"], cls_id: int, sep_id: int) -> Ragged:
    """Join segments as [CLS] A [SEP] B [SEP], and number the segment of each token.

    Of each pair the tokens of both segments stand one after another, and `lengths` tells how many each has.

    Source: Devlin et al. 2019, Figure 2: [CLS] and the first [SEP] belong to segment A.

    >>> pair = assemble_pairs(np.array([7, 8, 9]), np.array([[2, 1]]), cls_id=2, sep_id=3)[0]
    >>> pair["input_ids"].tolist(), pair["token_type_ids"].tolist()
    ([2, 7, 8, 3, 9, 3], [0, 0, 0, 0, 1, 1])
    """
    with_specials = lengths + np.array([2, 1])
    ends = np.cumsum(with_specials)
    ids, is_special = np.empty(ends[-1], dtype=np.int64), np.zeros(ends[-1], dtype=bool)
    begins = ends[1::2] - with_specials.sum(axis=1)
    ids[begins], ids[ends - 1] = cls_id, sep_id
    is_special[begins] = is_special[ends - 1] = True
    ids[~is_special] = tokens
    segments = np.repeat(np.tile([0, 1], len(lengths)), with_specials.ravel())
    flat = {"input_ids": torch.from_numpy(ids), "token_type_ids": torch.from_numpy(segments)}
    return Ragged(flat, torch.from_numpy(with_specials.sum(axis=1)))


class NextSentencePairs(Dataset[Example]):
    """Pairs for pretraining, drawn anew by `set_epoch`, each epoch determined by the seed and its number.

    Of a corpus of up to `DRAWN_BEFOREHAND` tokens all pairs of an epoch are made by `make_pairs`, and where they lie is
    kept, 56 bytes a pair. In a larger one each is found when it is asked for: nothing is kept, and an epoch begins at
    once. The tokens are read from the shards in both cases.

    Raises: InputError if fewer than two documents have text, or `max_length` has no room for a pair.
    """

    is_read_without_chance = True

    def __init__(self, shards: Shards, max_length: int = 128, seed: int = 0, short_probability: float = 0.1) -> None:
        self.shards = shards if shards.token_count <= DRAWN_BEFOREHAND else shards.with_text()
        self.max_length = max_length
        self.seed = seed
        self.short_probability = short_probability
        check_pairs(max_length, short_probability, n_with_text=len(shards) - shards.n_without_text)
        self.set_epoch(0)

    def set_epoch(self, epoch: int) -> None:
        """Draw the pairs of an epoch, or get ready to find them."""
        self.epoch = epoch
        self.pairs: PairsDrawn | PairsByPlace
        if self.shards.token_count > DRAWN_BEFOREHAND:
            room = self.max_length - SPECIALS_OF_A_PAIR
            self.pairs = PairsByPlace(self.shards, room, self.seed, epoch, self.short_probability)
        else:
            generator = np.random.default_rng([self.seed, epoch])
            lengths = (document.tolist() for document in self.shards.sentence_lengths())
            self.pairs = PairsDrawn(make_pairs(lengths, self.max_length, generator, self.short_probability))

    def __len__(self) -> int:
        return len(self.pairs)

    @property
    def lengths(self) -> Numbers:
        """How many tokens each pair has, found without reading one."""
        first, second, _ = self.pairs.places(np.arange(len(self)))
        return np.asarray(first.lengths + second.lengths + SPECIALS_OF_A_PAIR)

    def __getitem__(self, index: int) -> Example:
        return self.__getitems__([range(len(self))[index]])[0]

    def __getitems__(self, indices: Sequence[int]) -> Ragged:
        """Read many pairs at once."""
        first, second, labels = self.pairs.places(np.asarray(indices, dtype=np.int64))
        # Both spans of the first pair, of the second, and so on.
        documents, starts, stops = (
            np.stack(both, axis=1).ravel() for both in zip(vars(first).values(), vars(second).values(), strict=True)
        )
        lengths = (stops - starts).reshape(-1, 2)
        tokens = self.shards.spans(documents, starts, stops)
        examples = assemble_pairs(tokens, lengths, self.shards.cls_token_id, self.shards.sep_token_id)
        return Ragged({**examples.flat, "next_sentence_label": torch.from_numpy(labels)}, examples.lengths)


class TextClassification(Dataset[Example]):
    """Texts with a class each, as [CLS] text [SEP], cut at the end to `max_length`.

    Raises: InputError if there is no text, a text has no label, or `max_length` has no room for a token.
    """

    is_read_without_chance = True

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
        self.lengths = [len(row) for row in self.rows]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Example:
        row = self.rows[index]
        return {"input_ids": row, "token_type_ids": torch.zeros_like(row), "labels": self.labels[index]}

    def __getitems__(self, indices: Sequence[int]) -> list[Example]:
        """Read many texts."""
        return [self[index] for index in indices]
