"""Pairs found by their numbers: they keep all laws of pairs but two, and read all text about as often."""

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minitransformer.batches import NextSentencePairs, datasets
from minitransformer.batches import pairs as by_number
from minitransformer.batches.pairs import PairsByPlace
from minitransformer.errors import InputError
from minitransformer.laws import CATALOGUE
from minitransformer.laws.judging import judge
from minitransformer.objectives.next_sentence import Pair, Span
from minitransformer.shards import Shards
from minitransformer.tokenizer import Tokenizer

ONE_AFTER_ANOTHER = {"no_token_is_in_two_true_spans", "no_text_is_lost"}
"""What is promised of pairs that are made by going through the text."""
TOKENIZER = Tokenizer.from_vocabulary(["word"])


@pytest.fixture
def by_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take every corpus for a large one."""
    monkeypatch.setattr(datasets, "DRAWN_BEFOREHAND", 0)


@pytest.fixture
def without_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Don't wait for the disk."""
    monkeypatch.setattr(os, "fsync", lambda _: None)


def shards_of(lengths: list[list[int]], folder: Path, tokens_per_shard: int = 500) -> Shards:
    """A corpus of sentences of these lengths."""
    documents = [["word " * length for length in document] for document in lengths]
    return Shards.build(folder, documents, TOKENIZER, tokens_per_shard=tokens_per_shard)


def pairs_in(data: NextSentencePairs) -> list[Pair]:
    """All pairs of an epoch, with the numbers that documents have in the whole corpus."""
    first, second, labels = data.pairs.places(np.arange(len(data)))
    spans = [
        [Span(*span) for span in zip(data.shards.in_corpus(part.documents), part.starts, part.stops, strict=True)]
        for part in (first, second)
    ]
    return [Pair(*pair) for pair in zip(*spans, labels.tolist(), strict=True)]


LAWS = [law for law in CATALOGUE if law.claim == "next-sentence-pairs" and law.name not in ONE_AFTER_ANOTHER]


@pytest.mark.usefixtures("by_place", "without_waiting", "without_shape_checks")
@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.name)
def test_pairs_by_place_keep_the_laws_of_pairs(law: Any, tmp_path: Path) -> None:
    def pairs(
        lengths: list[list[int]], max_length: int, generator: np.random.Generator, short_probability: float = 0.1
    ) -> Iterator[Pair]:
        shards = shards_of(lengths, tmp_path / "shards", tokens_per_shard=4001)
        return iter(pairs_in(NextSentencePairs(shards, max_length, int(generator.integers(2**62)), short_probability)))

    finding = judge(law, pairs, max_examples=8)
    assert finding.verdict == "held", finding.message


def test_a_pair_is_a_function_of_seed_epoch_and_number(by_place: None, without_waiting: None, tmp_path: Path) -> None:
    """Kills: chance that depends on the batch; pairs of an epoch that return in the next one."""
    data = NextSentencePairs(shards_of([[3, 4, 5] * 7] * 23, tmp_path), max_length=29, seed=5)
    assert isinstance(data.pairs, PairsByPlace)
    together = pairs_in(data)
    first, second, labels = data.pairs.places(np.array([7]))
    assert (*first.starts, *first.stops, *second.starts, *labels) == (
        together[7].first.start,
        together[7].first.stop,
        together[7].second.start,
        together[7].label,
    )
    assert [data[7]["input_ids"].tolist()] == [data.__getitems__([3, 7])[1]["input_ids"].tolist()]
    data.set_epoch(1)
    assert pairs_in(data) != together
    data.set_epoch(0)
    assert pairs_in(data) == together
    assert pairs_in(NextSentencePairs(data.shards, max_length=29, seed=6)) != together
    with pytest.raises(IndexError):
        data[len(data)]


def test_every_document_is_read_evenly_from_end_to_end(by_place: None, without_waiting: None, tmp_path: Path) -> None:
    """Kills: sentences that no pair reads; beginnings read again and again; long documents read in part."""
    lengths = [[5] * 40, [5] * 7, [5] * 120] * 3
    data = NextSentencePairs(shards_of(lengths, tmp_path), max_length=43, seed=1)
    read: Counter[tuple[int, int]] = Counter()
    n_epochs = 60
    for epoch in range(n_epochs):
        data.set_epoch(epoch)
        for pair in pairs_in(data):
            for span in (pair.first, pair.second)[: 2 - pair.label]:
                read.update((span.document, sentence) for sentence in range(span.start // 5, -(-span.stop // 5)))
    shares = np.array(
        [read[document, sentence] / n_epochs for document in range(9) for sentence in range(len(lengths[document]))]
    )
    assert 0.4 * shares.mean() < shares.min(), "the last sentence of a document is read least"
    assert shares.max() < 2 * shares.mean()
    assert 0.8 < shares.mean() < 1.5, "an epoch should read about the whole text"


def test_documents_without_text_and_a_selection_change_nothing(
    by_place: None, without_waiting: None, tmp_path: Path
) -> None:
    """Kills: false pairs of empty documents; places counted in the whole corpus, where some of it was selected."""
    lengths = [[3, 4, 5] * 7, [], [6] * 9, [0], [2] * 31]
    all_of_them = shards_of(lengths, tmp_path / "all", tokens_per_shard=50)
    with_text = shards_of([lengths[number] for number in (0, 2, 4)], tmp_path / "text")
    number_of = {0: 0, 1: 2, 2: 4}
    expected = pairs_in(NextSentencePairs(with_text, max_length=19, seed=3))
    assert [
        pair._replace(
            first=pair.first._replace(document=number_of[pair.first.document]),
            second=pair.second._replace(document=number_of[pair.second.document]),
        )
        for pair in expected
    ] == pairs_in(NextSentencePairs(all_of_them, max_length=19, seed=3))
    with pytest.raises(InputError, match="need two documents with text, and there are 1"):
        NextSentencePairs(all_of_them.select([0, 1]))


def test_a_long_document_is_looked_up_as_a_short_one(
    by_place: None, without_waiting: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kills: halving that ends beside the sentence; a look that ends before the pair does."""
    data = NextSentencePairs(shards_of([[3, 4, 5] * 100, [2] * 170, [6]], tmp_path), max_length=29)
    expected = pairs_in(data)
    monkeypatch.setattr(by_number, "SENTENCES_OF_A_LOOK", 1)
    assert pairs_in(data) == expected
    monkeypatch.setattr(by_number, "SENTENCES_OF_A_LOOK", 1000)
    assert pairs_in(data) == expected
