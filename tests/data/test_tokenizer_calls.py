"""Calling the tokenizer: the arguments and the results of Hugging Face's."""

from collections.abc import Mapping

import numpy as np
import pytest
import torch
import transformers

from minitransformer import AutoTokenizer, BatchEncoding
from minitransformer.errors import InputError
from minitransformer.tokenizer import Tokenizer

WORDS = ["the", "sea", "land", "##s", "is", "wide", "and", "deep", "a", "ship", "un", "##known", ",", "."]
FIRST = ["the sea is wide", "a ship", "lands and seas, the deep sea."]
SECOND = ["deep", "the land is wide and the sea is deep", "unknown ships"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokenizer")
    tokenizer = Tokenizer.from_vocabulary(WORDS)
    tokenizer.model_max_length = 12
    return tokenizer.save_pretrained(folder)


@pytest.fixture(scope="module")
def both(folder):
    return AutoTokenizer.from_pretrained(folder, use_fast=True), transformers.AutoTokenizer.from_pretrained(folder)


def same(found, expected):
    assert isinstance(found, BatchEncoding)
    assert isinstance(found, Mapping)
    assert set(found) == set(expected)
    for name, column in expected.items():
        if isinstance(column, (torch.Tensor, np.ndarray)):
            assert type(found[name]) is type(column)
            assert found[name].dtype == column.dtype
            assert found[name].tolist() == column.tolist(), name
        else:
            assert found[name] == column, name
        assert found[name] is getattr(found, name)


CALLS = [
    {},
    {"padding": True},
    {"padding": "longest", "return_tensors": "pt"},
    {"padding": True, "return_tensors": "np"},
    {"padding": "max_length"},
    {"padding": "max_length", "max_length": 25},
    {"padding": True, "pad_to_multiple_of": 8, "return_tensors": "pt"},
    {"truncation": True},
    {"truncation": True, "max_length": 6},
    {"max_length": 6},
    {"truncation": "longest_first", "max_length": 7, "padding": "max_length", "return_tensors": "pt"},
    {"truncation": False, "padding": "do_not_pad"},
    {"add_special_tokens": False},
    {"return_token_type_ids": False, "return_attention_mask": False},
    {"return_special_tokens_mask": True, "return_offsets_mapping": True, "padding": True},
    {"truncation": True, "max_length": 7, "return_overflowing_tokens": True, "stride": 1, "padding": True},
]


@pytest.mark.parametrize("call", CALLS, ids=str)
@pytest.mark.parametrize("paired", [False, True], ids=["texts", "pairs"])
def test_a_batch_is_encoded_as_transformers_does(both, call, paired):
    ours, theirs = both
    texts = (FIRST, SECOND) if paired else (FIRST,)
    same(ours(*texts, **call), theirs(*texts, **call))


@pytest.mark.parametrize("call", [call for call in CALLS if call.get("return_tensors") != "np"], ids=str)
def test_a_text_alone_gives_one_row_and_a_batch_only_in_tensors(both, call):
    ours, theirs = both
    same(ours(FIRST[2], **call), theirs(FIRST[2], **call))
    same(ours(FIRST[0], SECOND[1], **call), theirs(FIRST[0], SECOND[1], **call))


@pytest.mark.parametrize("truncation", ["only_first", "only_second"])
def test_one_text_of_a_pair_alone_can_be_shortened(both, truncation):
    ours, theirs = both
    texts = (FIRST[2], SECOND[1])
    call = {"truncation": truncation, "max_length": 14}
    same(ours(*texts, **call), theirs(*texts, **call))
    assert len(ours(*texts, **call).input_ids) == 14


def test_long_texts_can_be_cut_into_windows_that_overlap(both):
    """What question answering does with a context."""
    ours, theirs = both
    call = {"truncation": "only_second", "max_length": 9, "stride": 2, "return_overflowing_tokens": True}
    call |= {"return_offsets_mapping": True, "padding": "max_length"}
    found, expected = ours(["a ship", "the"], SECOND[:2], **call), theirs(["a ship", "the"], SECOND[:2], **call)
    same(found, expected)
    assert found.overflow_to_sample_mapping == [0, 1, 1, 1]
    assert [found.sequence_ids(row) for row in range(4)] == [expected.sequence_ids(row) for row in range(4)]


def test_words_that_were_split_before_keep_their_numbers(both):
    ours, theirs = both
    words = [["lands", "and", "unknown", "seas"], ["ships"]]
    found, expected = (tokenizer(words, is_split_into_words=True, padding=True) for tokenizer in both)
    same(found, expected)
    assert [found.word_ids(row) for row in (0, 1)] == [expected.word_ids(row) for row in (0, 1)]
    assert found.word_ids(0) == [None, 0, 0, 1, 2, 2, 3, 3, None]
    assert found.tokens(1) == expected.tokens(1)
    same(ours(words[0], is_split_into_words=True), theirs(words[0], is_split_into_words=True))


def test_sides_can_be_exchanged(folder):
    ours, theirs = Tokenizer.from_pretrained(folder), transformers.AutoTokenizer.from_pretrained(folder)
    for tokenizer in (ours, theirs):
        tokenizer.padding_side = tokenizer.truncation_side = "left"
    call = {"padding": True, "truncation": True, "max_length": 5}
    same(ours(FIRST, **call), theirs(FIRST, **call))
    rows = [{"input_ids": [2, 5, 3]}, {"input_ids": [2, 3]}]
    same(ours.pad(rows), theirs.pad(rows))


@pytest.mark.parametrize(
    "call",
    [
        {},
        {"return_tensors": "pt"},
        {"return_tensors": "np"},
        {"padding": "max_length", "max_length": 11},
        {"pad_to_multiple_of": 4, "return_tensors": "pt"},
        {"padding": False},
    ],
    ids=str,
)
def test_rows_are_padded_later_as_transformers_does(both, call):
    ours, theirs = both
    if call.get("return_tensors") is None:
        same(ours.pad(dict(ours(FIRST)), **call), theirs.pad(dict(theirs(FIRST)), **call))
    rows = [dict(ours(text, return_special_tokens_mask=True), label=number) for number, text in enumerate(FIRST)]
    copies = [dict(row) for row in rows]
    same(ours.pad(rows, **call), theirs.pad(copies, **call))
    assert rows[1]["input_ids"] == ours(FIRST[1])["input_ids"], "what was given is left as it was"
    alone = {"input_ids": [2, 6, 3]}
    if call.get("return_tensors") is None:
        same(ours.pad(alone, **call), theirs.pad(alone, **call))


def test_padding_rows_without_ids_is_refused(both):
    with pytest.raises(InputError, match=r"there are no input_ids to pad among \['label'\]"):
        both[0].pad([{"label": 3}])


def test_ids_become_text_and_tokens_again(both):
    ours, theirs = both
    ids = ours(FIRST, SECOND, padding=True)["input_ids"]
    for skip in (False, True):
        assert ours.batch_decode(ids, skip_special_tokens=skip) == theirs.batch_decode(ids, skip_special_tokens=skip)
        tokens = ours.convert_ids_to_tokens(ids[0], skip_special_tokens=skip)
        assert tokens == theirs.convert_ids_to_tokens(ids[0], skip_special_tokens=skip)
    assert ours.decode(torch.tensor(ids[0])) == theirs.decode(ids[0]) == ours.decode(np.array(ids[0]))
    assert ours.decode(6) == ours.decode(torch.tensor(6)) == theirs.decode(6) == "sea"
    assert ours.convert_ids_to_tokens(6) == theirs.convert_ids_to_tokens(6)
    assert ours.convert_tokens_to_ids("sea") == theirs.convert_tokens_to_ids("sea")
    assert (
        ours.encode("the seas", return_tensors="pt").tolist() == theirs.encode("the seas", return_tensors="pt").tolist()
    )
    assert ours.encode(FIRST[0], SECOND[1], truncation=True) == theirs.encode(FIRST[0], SECOND[1], truncation=True)


@pytest.mark.parametrize(
    "name",
    [f"{role}_token{ending}" for role in ("pad", "unk", "cls", "sep", "mask") for ending in ("", "_id")]
    + ["model_max_length", "padding_side", "truncation_side", "is_fast", "vocab_size"],
)
def test_a_tokenizer_tells_of_itself_what_transformers_tells(both, name):
    ours, theirs = both
    assert getattr(ours, name) == getattr(theirs, name)


def test_a_tokenizer_tells_its_vocabulary(both):
    ours, theirs = both
    assert len(ours) == len(theirs)
    assert ours.get_vocab() == theirs.get_vocab()
    assert set(ours.all_special_ids) == set(theirs.all_special_ids)
    assert set(ours.all_special_tokens) == set(theirs.all_special_tokens)
    assert [ours.num_special_tokens_to_add(pair) for pair in (False, True)] == [2, 3]


def test_without_a_limit_nothing_is_cut_and_nothing_filled(folder, tmp_path):
    (tmp_path / "vocab.txt").write_text((folder / "vocab.txt").read_text("utf-8"), "utf-8")
    ours, theirs = Tokenizer.from_pretrained(tmp_path), transformers.BertTokenizer.from_pretrained(tmp_path)
    assert ours.model_max_length == theirs.model_max_length
    long = "sea " * 700
    same(ours(long, truncation=True, padding="max_length"), theirs(long, truncation=True, padding="max_length"))
    assert len(ours(long, truncation=True).input_ids) == 702


def test_options_of_opening_are_those_of_transformers(folder):
    cased = AutoTokenizer.from_pretrained(folder, do_lower_case=False, model_max_length=5)
    assert cased.tokenize("The sea") == ["[UNK]", "sea"]
    assert len(cased(FIRST[0], truncation=True).input_ids) == 5


def test_a_tokenizer_keeps_its_limit(folder):
    assert Tokenizer.from_pretrained(folder).model_max_length == 12


def test_a_batch_moves_to_a_device_with_all_its_tensors(both):
    batch = both[0](FIRST, padding=True, return_tensors="pt")
    assert batch.to("meta") is batch
    assert {column.device.type for column in batch.values()} == {"meta"}
    assert both[0](FIRST).to("cpu").input_ids == both[1](FIRST).input_ids


def test_a_column_that_is_not_there_is_no_attribute(both):
    batch = both[0](FIRST)
    assert not hasattr(batch, "labels")
    batch["labels"] = [1, 0, 1]
    assert batch.labels == [1, 0, 1]


def test_the_class_that_chooses_is_not_built_itself():
    with pytest.raises(InputError, match=r"call AutoTokenizer\.from_pretrained\(folder\)"):
        AutoTokenizer()
