"""Batches: segments, padding, and what a data loader makes of them."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from minitransformer.batches import (
    MaskedLanguageCollator,
    NextSentencePairs,
    PaddingCollator,
    TextClassification,
    assemble_pairs,
    pad,
)
from minitransformer.errors import InputError
from minitransformer.shards import Shards
from minitransformer.tokenizer import Tokenizer
from minitransformer.trainer.reading import Collation, UpdatesOfPass, in_workers


@pytest.fixture(scope="module")
def shards(language, word_tokenizer, tmp_path_factory):
    folder = tmp_path_factory.mktemp("batches") / "shards"
    return Shards.build(folder, language.documents(23, seed=0), word_tokenizer, tokens_per_shard=200)


@pytest.fixture
def pairs(shards):
    return NextSentencePairs(shards, max_length=29, seed=5)


@given(st.lists(st.integers(5, 99), min_size=1, max_size=7), st.lists(st.integers(5, 99), min_size=1, max_size=5))
def test_a_pair_is_cls_a_sep_b_sep(first, second):
    """Kills: the first [SEP] counted to segment B; a [SEP] forgotten."""
    tokens, lengths = np.array([*first, *second, *second, *first]), np.array([len(first), len(second)])
    one, other = assemble_pairs(tokens, np.stack([lengths, lengths[::-1]]), cls_id=2, sep_id=3)
    assert one["input_ids"].tolist() == [2, *first, 3, *second, 3]
    assert other["input_ids"].tolist() == [2, *second, 3, *first, 3]
    assert one["token_type_ids"].tolist() == [0] * (len(first) + 2) + [1] * (len(second) + 1)
    assert other["token_type_ids"].tolist() == [0] * (len(second) + 2) + [1] * (len(first) + 1)


@given(st.lists(st.integers(1, 7), min_size=1, max_size=5), st.integers(0, 3))
def test_padding_only_adds(lengths, extra):
    """Kills: rows padded at the front, or shortened."""
    rows = [torch.arange(1, length + 1) for length in lengths]
    length = max(lengths) + extra
    for padded, row in zip(pad(rows, 9, length), rows, strict=True):
        assert padded.tolist() == row.tolist() + [9] * (length - len(row))


def test_impossible_batches_are_refused(word_tokenizer):
    with pytest.raises(InputError, match="no row to pad"):
        pad([], 0)
    with pytest.raises(InputError, match="a row of 3 tokens doesn't fit length=2"):
        pad([torch.tensor([1, 2, 3])], 0, length=2)
    with pytest.raises(InputError, match="no example to collate"):
        PaddingCollator(word_tokenizer)([])


def test_items_are_the_tokens_of_their_spans(pairs, shards):
    """Kills: spans read from the wrong document once there are several shards."""
    for index in range(len(pairs)):
        item, (document, start, stop, other, other_start, other_stop, label) = (
            pairs[index],
            pairs.pairs.table[index].tolist(),
        )
        first = np.concatenate(shards[document])[start:stop].tolist()
        second = np.concatenate(shards[other])[other_start:other_stop].tolist()
        assert item["input_ids"].tolist() == [2, *first, 3, *second, 3]
        assert int(item["next_sentence_label"]) == label
        assert len(item["input_ids"]) <= 29


def test_pairs_are_drawn_anew_each_epoch_and_repeat_with_it(pairs, shards):
    """Kills: the same pairs in every epoch; an epoch that can't be resumed."""
    first = pairs.pairs.table
    pairs.set_epoch(1)
    second = pairs.pairs.table
    pairs.set_epoch(0)
    assert np.array_equal(pairs.pairs.table, first)
    assert not np.array_equal(first, second)
    assert np.array_equal(NextSentencePairs(shards, max_length=29, seed=5).pairs.table, first)
    assert not np.array_equal(NextSentencePairs(shards, max_length=29, seed=6).pairs.table, first)


def test_one_document_is_refused(shards):
    with pytest.raises(InputError, match="need two documents with text, and there are 1"):
        NextSentencePairs(shards.select([4]))


def test_a_batch_has_hugging_faces_keys_and_its_mask_marks_the_tokens(pairs, word_tokenizer):
    """Kills: attention to padding; the pair's label lost on the way."""
    items = [pairs[index] for index in (0, 1, 2)]
    items[1] = {**items[1], **{name: items[1][name][:7] for name in ("input_ids", "token_type_ids")}}
    batch = MaskedLanguageCollator(word_tokenizer, generator=torch.Generator().manual_seed(0))(items)
    assert set(batch) == {"input_ids", "attention_mask", "token_type_ids", "labels", "next_sentence_label"}
    assert batch["attention_mask"].sum(dim=1).tolist() == [len(item["input_ids"]) for item in items]
    assert torch.equal(batch["input_ids"] == 0, batch["attention_mask"] == 0)
    assert (batch["labels"][batch["attention_mask"] == 0] == -100).all()
    assert batch["next_sentence_label"].tolist() == [int(item["next_sentence_label"]) for item in items]
    assert (batch["token_type_ids"][1, 7:] == 0).all()


def test_collating_leaves_the_examples_alone(pairs, word_tokenizer):
    """Kills: in-place masking, after which the second epoch asks about [MASK]."""
    items = [pairs[index] for index in range(5)]
    before = [item["input_ids"].clone() for item in items]
    collate = MaskedLanguageCollator(word_tokenizer, probability=1.0, generator=torch.Generator().manual_seed(0))
    collate(items)
    assert all(torch.equal(item["input_ids"], ids) for item, ids in zip(items, before, strict=True))


@pytest.mark.parametrize("whole_words", [False, True])
def test_static_masking_depends_on_the_text_only(pairs, word_tokenizer, whole_words):
    """Kills: static masks that change with the batch's width or order."""
    short = {name: value[:7] if value.dim() else value for name, value in pairs[0].items()}
    collate = MaskedLanguageCollator(word_tokenizer, static_seed=1, whole_words=whole_words)
    alone, together = collate([short]), collate([pairs[1], short, pairs[2]])
    for name in ("input_ids", "labels"):
        assert torch.equal(alone[name][0], together[name][1, :7])
    reseeded = MaskedLanguageCollator(word_tokenizer, static_seed=2)([pairs[index] for index in range(9)])
    assert not torch.equal(collate([pairs[index] for index in range(9)])["labels"], reseeded["labels"])


def test_whole_words_are_asked_for_whole():
    """Kills: the collator's option that changes nothing."""
    tokenizer = Tokenizer.from_vocabulary(["play", "##ing", "##s"])
    row = torch.tensor([2, *[5, 6, 7] * 9, 3])
    collate = MaskedLanguageCollator(tokenizer, whole_words=True, generator=torch.Generator().manual_seed(0))
    labels = collate([{"input_ids": row}])["labels"][0, 1:-1].reshape(9, 3)
    assert ((labels == -100).all(dim=1) | (labels != -100).all(dim=1)).all()
    assert 0 < (labels != -100).all(dim=1).sum() < 9


def test_workers_mask_differently_from_each_other_and_in_each_epoch(pairs, word_tokenizer):
    """Kills: one generator copied into every worker, so that all draw the same words in all epochs."""
    collate = MaskedLanguageCollator(word_tokenizer, generator=torch.Generator().manual_seed(0))
    same = [pairs[0]] * 4
    loader = DataLoader(
        same, batch_size=1, num_workers=2, collate_fn=collate, generator=torch.Generator().manual_seed(1)
    )
    labels = [tuple(batch["labels"][0].tolist()) for _ in range(2) for batch in loader]
    assert len(set(labels)) == len(labels)


def test_workers_read_the_same_pairs(pairs, word_tokenizer):
    """Kills: memory maps that forked workers can't share."""
    collate = PaddingCollator(word_tokenizer, length=29)
    here = [batch["input_ids"] for batch in DataLoader(pairs, batch_size=7, collate_fn=collate)]
    there = [batch["input_ids"] for batch in DataLoader(pairs, batch_size=7, num_workers=2, collate_fn=collate)]
    assert all(torch.equal(one, other) for one, other in zip(here, there, strict=True))


def test_texts_to_classify_are_cut_to_the_length(word_tokenizer, language):
    """Kills: [SEP] cut off with the end of the text; labels out of step."""
    labelled = language.labelled(5, seed=0)
    data = TextClassification(labelled.texts, labelled.labels, word_tokenizer, max_length=6)
    batch = PaddingCollator(word_tokenizer)([data[index] for index in range(len(data))])
    assert batch["input_ids"].shape == (5, 6)
    assert batch["input_ids"][:, 0].tolist() == [2] * 5
    assert batch["input_ids"][:, -1].tolist() == [3] * 5
    assert batch["labels"].tolist() == labelled.labels
    assert word_tokenizer.convert_ids_to_tokens(batch["input_ids"][3, 1:5]) == labelled.texts[3].split()[:4]


def test_impossible_classifications_are_refused(word_tokenizer):
    for texts, labels in ((["sea"], [0, 1]), ([], [])):
        with pytest.raises(InputError, match="labels don't match"):
            TextClassification(texts, labels, word_tokenizer)
    with pytest.raises(InputError, match="max_length=2 must be at least 3"):
        TextClassification(["sea"], [0], word_tokenizer, max_length=2)
    with pytest.raises(InputError, match="probability=0"):
        MaskedLanguageCollator(word_tokenizer, probability=0.0)


def test_labels_of_tokens_are_padded_with_the_ignored_label(word_tokenizer):
    """Kills: padding that counts as class 0."""
    examples = [{"input_ids": torch.tensor(ids), "labels": torch.tensor(ids)} for ids in ([7], [8, 9])]
    assert PaddingCollator(word_tokenizer)(examples)["labels"].tolist() == [[7, -100], [8, 9]]


@pytest.mark.parametrize("length", [None, 40])
def test_pairs_read_together_are_the_same_batch_as_one_by_one(pairs, word_tokenizer, length):
    """Kills: a row that begins in the one before; padding within a row; a number in another example's place."""
    together = pairs.__getitems__([5, 0, 3])
    collate = PaddingCollator(word_tokenizer, length)
    batch, expected = collate(together), collate([pairs[index] for index in (5, 0, 3)])
    assert set(batch) == set(expected)
    for name, values in expected.items():
        assert torch.equal(batch[name], values), name
    assert list(collate(together.only(["input_ids"]))) == ["input_ids", "attention_mask"]
    with pytest.raises(InputError, match="doesn't fit length=4"):
        PaddingCollator(word_tokenizer, length=4)(together)
    with pytest.raises(IndexError):
        together[3]


def test_what_is_read_at_once_is_what_is_read_one_by_one(pairs, word_tokenizer):
    """Kills: examples read at once with other masks, in another order, or with columns that nobody reads."""
    collation = Collation(MaskedLanguageCollator(word_tokenizer), 3, frozenset(["input_ids", "token_type_ids"]))
    updates = [np.array([4, 0, 7]), np.array([2])]
    at_once = UpdatesOfPass(pairs, collation, updates, number=1, batch_size=2)
    one_by_one = UpdatesOfPass([pairs[index] for index in range(8)], collation, updates, number=1, batch_size=2)
    for together, alone in zip(in_workers(at_once, 0), in_workers(one_by_one, 0), strict=True):
        assert len(together.micro_batches) == len(alone.micro_batches)
        for batch, expected in zip(together.micro_batches, alone.micro_batches, strict=True):
            assert set(batch.batch) == {"input_ids", "token_type_ids", "attention_mask", "labels"}
            assert all(torch.equal(batch.batch[name], values) for name, values in expected.batch.items())
