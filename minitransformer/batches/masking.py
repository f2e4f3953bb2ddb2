"""Masking: examples to batches with hidden words, or with the next words to guess."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor
from torch.utils.data import get_worker_info

from minitransformer.batches.examples import Batch, columns
from minitransformer.batches.padding import PaddingCollator, pad_columns, require_padding, require_pytorch
from minitransformer.errors import InputError
from minitransformer.objectives.masked_lm import (
    IGNORED,
    Draws,
    check_shares,
    draw,
    draw_by_seeds,
    mask_as_drawn,
    maskable_tokens,
    replacement_ids,
    seed_of_row,
)
from minitransformer.wordpiece import CONTINUES_WORD


class MaskedLanguageCollator:
    """Examples to a batch with hidden words: padded, masked as BERT does, other keys such as the pair's label kept.

    Words are drawn anew at each visit (dynamic), or, with `static_seed`, the same text always loses the same words.
    In a data loader's worker process the draws come from the seed of that worker and epoch: copies of `generator` would
    give all workers the same draws, in every epoch.

    Raises: InputError if a probability is out of range.
    """

    def __init__(
        self,
        tokenizer: Any,
        probability: float = 0.15,
        mask_share: float = 0.8,
        random_share: float = 0.1,
        whole_words: bool = False,
        static_seed: int | None = None,
        length: int | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        check_shares(probability, mask_share, random_share)
        if getattr(tokenizer, "mask_token_id", None) is None:
            raise InputError("the tokenizer has no mask token to hide words with; give one that has mask_token_id")
        self.pad = PaddingCollator(tokenizer, length)
        self.special_ids = special_ids(tokenizer)
        self.mask_token_id = tokenizer.mask_token_id
        self.replacements = replacement_ids(len(tokenizer), self.special_ids)
        self.whole_words = whole_words
        self.continuation_ids = continuation_ids(tokenizer) if whole_words else None
        self.shares = (probability, mask_share, random_share)
        self.static_seed = static_seed
        self.generator = generator
        self.worker_generator: torch.Generator | None = None

    def __call__(self, examples: Sequence[Any], seeds: Sequence[int] | None = None) -> Batch:
        """Make a batch with hidden words, and the labels that ask for them.

        With `seeds`, one for each example, the same example and seed give the same words in whichever batch.
        """
        return self.mask(self.pad(examples), seeds)

    def mask(self, batch: Batch, seeds: Sequence[int] | None = None) -> Batch:
        """Hide words of a padded batch.

        Raises: InputError if there is not one seed for each example.
        """
        batch = dict(batch)
        ids = batch["input_ids"]
        maskable = maskable_tokens(ids, self.special_ids, batch["attention_mask"])
        if "special_tokens_mask" in batch:
            maskable &= batch.pop("special_tokens_mask") == 0
        offsets = batch.pop("offset_mapping", None)
        continues = self.continues_word(ids, offsets) if self.whole_words else None
        draws = self.draw(ids, maskable, seeds)
        batch["input_ids"], batch["labels"] = mask_as_drawn(
            ids, maskable, self.mask_token_id, self.replacements, draws, *self.shares, continues
        )
        return batch

    def continues_word(self, ids: Int[Tensor, "B L"], offsets: Int[Tensor, "B L 2"] | None) -> Bool[Tensor, "B L"]:
        """Say which tokens belong to the word before: by their places in the text, if known, or by their spelling.

        Raises: InputError if neither is known.
        """
        if offsets is not None:
            return offsets[..., 0] == offsets[..., 1].roll(1, dims=1)
        if self.continuation_ids is None:
            raise InputError(
                f"the tokenizer marks no piece with {CONTINUES_WORD!r}, so that whole words can't be told; tokenise "
                "with return_offsets_mapping=True and keep the field offset_mapping"
            )
        return torch.isin(ids, self.continuation_ids)

    def draw(self, ids: Int[Tensor, "B L"], maskable: Bool[Tensor, "B L"], seeds: Sequence[int] | None) -> Draws:
        """Draw by the text, by the seeds of the examples, or by the generator of this process."""
        n_replacements = len(self.replacements)
        if self.static_seed is not None:
            texts = zip(ids, maskable, strict=True)
            seeds = [seed_of_row(row[may_ask], self.static_seed) for row, may_ask in texts]
        if seeds is None:
            return draw(maskable, n_replacements, self.generator_here())
        if len(seeds) != len(ids):
            raise InputError(f"{len(seeds)} seeds don't match {len(ids)} examples; give one for each")
        return draw_by_seeds(maskable, n_replacements, np.array([int(seed) % 2**64 for seed in seeds], dtype=np.uint64))

    def generator_here(self) -> torch.Generator | None:
        """Give the generator of this process."""
        worker = get_worker_info()
        if worker is None:
            return self.generator
        if self.worker_generator is None:
            self.worker_generator = torch.Generator().manual_seed(worker.seed)
        return self.worker_generator


def special_ids(tokenizer: Any) -> tuple[int, ...]:
    """List the special tokens of a tokenizer, ours or one of `transformers`.

    Raises: InputError if it doesn't say which they are.
    """
    for name in ("special_ids", "all_special_ids"):
        if hasattr(tokenizer, name):
            return tuple(getattr(tokenizer, name))
    raise InputError(
        f"tokenizer is of the type {type(tokenizer).__name__}, which doesn't name its special tokens; give one with "
        "special_ids or all_special_ids"
    )


def continuation_ids(tokenizer: Any) -> Int[Tensor, " V"] | None:
    """List the pieces that continue a word, or None if a tokenizer of `transformers` doesn't mark them."""
    if hasattr(tokenizer, "continuation_ids"):
        return torch.tensor(tokenizer.continuation_ids, dtype=torch.long)
    marked = [number for token, number in tokenizer.get_vocab().items() if token.startswith(CONTINUES_WORD)]
    return torch.tensor(marked) if marked else None


@dataclass(frozen=True)
class DataCollatorForLanguageModeling:
    """Examples to a batch with hidden words or, with `mlm=False`, with every word to guess from those before.

    The name and the settings are those of `transformers`, and the masking is ours: 15 % of each row and at least one
    token, replacements that are never special, and with `whole_word_mask` the same three fates. Labels stand at the
    tokens that they ask for: a causal model shifts them itself. Other fields are kept, so that this is also the
    collator of pretraining with a `next_sentence_label`.

    Raises: InputError if a setting can't be; when called, if the examples don't fit together.

    >>> from minitransformer.tokenizer import Tokenizer
    >>> collate = DataCollatorForLanguageModeling(Tokenizer.from_vocabulary(["land", "sea", "sky"]), mlm=False)
    >>> collate([{"input_ids": [6]}, {"input_ids": [5, 7]}])["labels"].tolist()
    [[6, -100], [5, 7]]
    """

    tokenizer: Any
    mlm: bool = True
    whole_word_mask: bool = False
    mlm_probability: float = 0.15
    mask_replace_prob: float = 0.8
    random_replace_prob: float = 0.1
    pad_to_multiple_of: int | None = None
    return_tensors: str = "pt"
    seed: int | None = None
    masking: MaskedLanguageCollator | None = field(default=None, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        require_padding(self.tokenizer, True, None, self.pad_to_multiple_of)
        require_pytorch(self.return_tensors)
        if self.whole_word_mask and not self.mlm:
            raise InputError("whole_word_mask=True hides words, and mlm=False hides none; choose one of the two")
        if self.mlm:
            object.__setattr__(self, "masking", self.make_masking())  # the settings can't change, so this is done once

    def make_masking(self) -> MaskedLanguageCollator:
        """Make our collator with these settings."""
        shares = (self.mlm_probability, self.mask_replace_prob, self.random_replace_prob)
        check_shares(*shares, names=("mlm_probability", "mask_replace_prob", "random_replace_prob"))
        if getattr(self.tokenizer, "mask_token_id", None) is None:
            raise InputError("mlm=True needs a tokenizer with a mask token; pass mlm=False to guess the next words")
        generator = None if self.seed is None else torch.Generator().manual_seed(self.seed)
        return MaskedLanguageCollator(self.tokenizer, *shares, self.whole_word_mask, generator=generator)

    def __call__(self, examples: Sequence[Any], seeds: Sequence[int] | None = None) -> Batch:
        """Make a batch and its labels; with `seeds` an example's words don't depend on the batch it stands in."""
        rows = [example if isinstance(example, Mapping) else {"input_ids": example} for example in examples]
        fields = columns(rows)
        fields.pop("labels", None)  # they are made here
        batch = pad_columns(self.tokenizer, fields, True, None, self.pad_to_multiple_of)
        if self.masking is not None:
            return self.masking.mask(batch, seeds)
        is_padding = batch["attention_mask"] == 0
        asked = {name: rows for name, rows in batch.items() if name not in ("special_tokens_mask", "offset_mapping")}
        return {**asked, "labels": batch["input_ids"].masked_fill(is_padding, IGNORED)}


@dataclass(frozen=True)
class DataCollatorForWholeWordMask(DataCollatorForLanguageModeling):
    """The same with whole words hidden: all pieces of a word or none."""

    whole_word_mask: bool = True
