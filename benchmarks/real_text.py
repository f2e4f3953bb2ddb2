"""Text to train on, as long and as uneven as real text is: the King James Bible, as both libraries read it.

Where the Bible cannot be fetched, a generated language takes its place, each sentence as long as one of its verses may
be; results say which of the two it was.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import transformers
from training_speed import scratch

from minitransformer import corpora
from minitransformer.batches import Example, NextSentencePairs
from minitransformer.errors import InputError
from minitransformer.shards import Shards
from minitransformer.tokenizer import Tokenizer

FOLDER = Path("runs/bench/text")
VOCABULARY = 30_522
"""That of BERT, and of all models here; a tokenizer trained on one book knows fewer words."""
POOL = 1024
"""Sentences that are sorted to choose some."""
VERSE_WORDS = {"mean of the logarithm": 3.14, "deviation": 0.45}
"""The words of a verse: their logarithm is about normal."""


@dataclass(frozen=True)
class Text:
    """A corpus with its tokenizer, for both libraries."""

    name: str
    folder: Path
    documents: Sequence[corpora.Document]

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """Our tokenizer, trained on the text."""
        if not (self.folder / "tokenizer_config.json").is_file():
            Tokenizer.train(iter(self.documents), VOCABULARY).save_pretrained(self.folder)
        return Tokenizer.from_pretrained(self.folder)

    @cached_property
    def their_tokenizer(self) -> Any:
        """The same, opened by `transformers`."""
        return transformers.AutoTokenizer.from_pretrained(self.folder if self.tokenizer else None)

    @cached_property
    def shards(self) -> Shards:
        """Every tenth document as ids, which is enough for the pairs of a turn."""
        some = self.documents[:: min(10, len(self.documents) // 6)]
        return Shards.build(scratch() / "shards", iter(some), self.tokenizer)

    def pairs(self, n_pairs: int, max_length: int) -> list[Example]:
        """Pairs of segments to pretrain on, read and ready."""
        pairs = NextSentencePairs(self.shards, max_length, seed=0)
        chosen = np.random.default_rng(0).permutation(len(pairs))
        return [pairs[int(chosen[number % len(pairs)])] for number in range(n_pairs)]

    def sentences(self, n_sentences: int, max_length: int) -> list[list[int]]:
        """Sentences in an order that has nothing to do with their length, as [CLS] … [SEP]."""
        all_of_them = [sentence for document in self.documents for sentence in document]
        chosen = np.random.default_rng(0).permutation(len(all_of_them))[:n_sentences]
        rows = self.tokenizer.encode_sentences([all_of_them[number] for number in chosen])
        first, last = self.tokenizer.cls_token_id, self.tokenizer.sep_token_id
        return [[first, *row[: max_length - 2], last] for row in rows]

    def sorted_sentences(self, n_sentences: int, max_length: int, batch_size: int) -> list[list[int]]:
        """Of the batches into which a thousand sentences can be sorted by length some, evenly spread over them.

        Sorting so few sentences alone would leave more padding than sorting a large corpus does.
        """
        rows = sorted(self.sentences(POOL, max_length), key=len)
        n_batches, n_chosen = len(rows) // batch_size, n_sentences // batch_size
        firsts = batch_size * ((np.arange(n_chosen) + 0.5) * n_batches / n_chosen).astype(int)
        return [row for first in firsts for row in rows[first : first + batch_size]]


def real_text(folder: Path = FOLDER, quick: bool = False) -> Text:
    """The Bible, or what takes its place; with `quick` always the latter, and little of it."""
    if quick:
        return Text("a generated language", folder / "quick", generated_documents(n_documents=12))
    try:
        corpora.fetch("kjv")
    except InputError as error:
        print(f"the King James Bible is not at hand: {error}")
        name = "a generated language with the Bible's lengths of sentences"
        return Text(name, folder / "generated", generated_documents(n_documents=400))
    return Text("the King James Bible", folder / "kjv", list(corpora.documents("kjv")))


def generated_documents(n_documents: int) -> list[corpora.Document]:
    """Documents of 26 sentences, as a chapter has verses; frequent words are as frequent as Zipf says."""
    drawn = np.random.default_rng(0)
    lengths = drawn.lognormal(*VERSE_WORDS.values(), size=(n_documents, 26)).clip(2, 90).astype(int)
    return [
        [" ".join(f"w{word}" for word in drawn.zipf(1.3, length).clip(max=12_000)) for length in of_document]
        for of_document in lengths
    ]
