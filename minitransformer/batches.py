"""Ids to batches: segments joined, rows padded, words masked."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import Dataset, get_worker_info

from minitransformer.errors import InputError
from minitransformer.objectives.masked_lm import (
    IGNORED,
    check_shares,
    mask_tokens,
    maskable_tokens,
    replacement_ids,
    row_generator,
)
from minitransformer.objectives.next_sentence import Span, make_pairs
from minitransformer.shards import Shards
from minitransformer.tokenizer import Tokenizer

Example = dict[str, Tensor]
Batch = dict[str, Tensor]


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


def pad(rows: Sequence[Int[Tensor, " _"]], padding: int, length: int | None = None) -> Int[Tensor, "B L"]:
    """Fill rows up to the longest one, or to `length`, at their ends.

    Raises: InputError if there is no row, or one is longer than `length`.

    >>> pad([torch.tensor([5]), torch.tensor([6, 7])], padding=0).tolist()
    [[5, 0], [6, 7]]
    """
    if not rows:
        raise InputError("there is no row to pad; a batch needs at least one example")
    longest = max(len(row) for row in rows)
    if length is not None and longest > length:
        raise InputError(f"a row of {longest} tokens doesn't fit length={length}; truncate it or allow more")
    padded = pad_sequence(list(rows), batch_first=True, padding_value=padding)
    if length is None or longest == length:
        return padded
    return torch.cat([padded, padded.new_full((len(rows), length - longest), padding)], dim=1)


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


class PaddingCollator:
    """Examples to a batch: rows padded to the longest or to `length`, single numbers stacked.

    `input_ids` get the padding token, `labels` of tokens −100, anything else 0; `attention_mask` is 1 on real tokens.

    >>> collate = PaddingCollator(Tokenizer.from_vocabulary(["land", "sea", "sky"]))
    >>> batch = collate([{"input_ids": torch.tensor([5])}, {"input_ids": torch.tensor([6, 7])}])
    >>> batch["input_ids"].tolist(), batch["attention_mask"].tolist()
    ([[5, 0], [6, 7]], [[1, 0], [1, 1]])
    """

    def __init__(self, tokenizer: Tokenizer, length: int | None = None) -> None:
        self.padding = {"input_ids": tokenizer.pad_token_id, "labels": IGNORED}
        self.length = length

    def __call__(self, examples: Sequence[Example]) -> Batch:
        """Make a batch of the examples' keys."""
        if not examples:
            raise InputError("there is no example to collate; a batch needs at least one")
        batch = {}
        for name, value in examples[0].items():
            column = [example[name] for example in examples]
            if value.dim() == 1:
                batch[name] = pad(column, self.padding.get(name, 0), self.length)
            else:
                batch[name] = torch.stack(column)
        if "attention_mask" not in batch:
            lengths = torch.tensor([[len(example["input_ids"])] for example in examples])
            batch["attention_mask"] = (torch.arange(batch["input_ids"].shape[1]) < lengths).long()
        return batch


class MaskedLanguageCollator:
    """Examples to a batch with hidden words: padded, masked as BERT does, other keys such as the pair's label kept.

    Words are drawn anew at each visit (dynamic), or, with `static_seed`, the same text always loses the same words.
    In a data loader's worker process the draws come from the seed of that worker and epoch: copies of `generator` would
    give all workers the same draws, in every epoch.

    Raises: InputError if a probability is out of range.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        probability: float = 0.15,
        mask_share: float = 0.8,
        random_share: float = 0.1,
        whole_words: bool = False,
        static_seed: int | None = None,
        length: int | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        check_shares(probability, mask_share, random_share)
        self.pad = PaddingCollator(tokenizer, length)
        self.special_ids = tokenizer.special_ids
        self.mask_token_id = tokenizer.mask_token_id
        self.replacements = replacement_ids(tokenizer.vocab_size, tokenizer.special_ids)
        self.continuation_ids = torch.tensor(tokenizer.continuation_ids, dtype=torch.long) if whole_words else None
        self.shares = (probability, mask_share, random_share)
        self.static_seed = static_seed
        self.generator = generator
        self.worker_generator: torch.Generator | None = None

    def __call__(self, examples: Sequence[Example]) -> Batch:
        """Make a batch with hidden words, and the labels that ask for them."""
        batch = self.pad(examples)
        ids = batch["input_ids"]
        maskable = maskable_tokens(ids, self.special_ids, batch["attention_mask"])
        continues = None if self.continuation_ids is None else torch.isin(ids, self.continuation_ids)
        if self.static_seed is None:
            batch["input_ids"], batch["labels"] = self.mask(ids, maskable, continues, self.generator_here())
        else:
            batch["input_ids"], batch["labels"] = self.mask_statically(ids, maskable, continues, self.static_seed)
        return batch

    def mask(
        self,
        ids: Int[Tensor, "B L"],
        maskable: Bool[Tensor, "B L"],
        continues: Bool[Tensor, "B L"] | None,
        generator: torch.Generator | None,
    ) -> tuple[Int[Tensor, "B L"], Int[Tensor, "B L"]]:
        """Mask with this collator's settings."""
        return mask_tokens(ids, maskable, self.mask_token_id, self.replacements, *self.shares, continues, generator)

    def mask_statically(
        self,
        ids: Int[Tensor, "B L"],
        maskable: Bool[Tensor, "B L"],
        continues: Bool[Tensor, "B L"] | None,
        seed: int,
    ) -> tuple[Int[Tensor, "B L"], Int[Tensor, "B L"]]:
        """Mask each row, without its padding, by a generator of its own."""
        masked_ids, labels = ids.clone(), torch.full_like(ids, IGNORED)
        for row in range(len(ids)):
            stop = int(maskable[row].nonzero().amax()) + 1 if maskable[row].any() else 0
            here = (slice(row, row + 1), slice(stop))
            part = None if continues is None else continues[here]
            drawn = self.mask(ids[here], maskable[here], part, row_generator(ids[row, :stop], seed))
            masked_ids[here], labels[here] = drawn
        return masked_ids, labels

    def generator_here(self) -> torch.Generator | None:
        """Give the generator of this process."""
        worker = get_worker_info()
        if worker is None:
            return self.generator
        if self.worker_generator is None:
            self.worker_generator = torch.Generator().manual_seed(worker.seed)
        return self.worker_generator
