"""Shards: a corpus on disk that reads as it was written."""

import copy
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minitransformer.errors import InputError
from minitransformer.shards import Shards
from minitransformer.tokenizer import Tokenizer

DOCUMENTS = [["sea sky land", "sky"], [], ["land land", "", "sea"], ["sky sea sky sea sky"]]
IDS = [[[5, 6, 7], [6]], [], [[7, 7], [5]], [[6, 5, 6, 5, 6]]]


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer.from_vocabulary(["sea", "sky", "land"])


def contents(shards):
    return [[sentence.tolist() for sentence in document] for document in shards]


@pytest.mark.parametrize("tokens_per_shard", [1, 5, 1000])
def test_shards_read_as_the_documents_were_written(tokenizer, tmp_path, tokens_per_shard):
    """Kills: a document lost or joined to its neighbour at the border of two shards; empty ones that shift numbers."""
    shards = Shards.build(tmp_path / "shards", DOCUMENTS, tokenizer, tokens_per_shard=tokens_per_shard)
    assert contents(shards) == IDS
    assert contents(Shards.open(tmp_path / "shards")) == IDS
    assert len(shards) == 4
    assert shards.token_count == 12
    assert [lengths.tolist() for lengths in shards.sentence_lengths()] == [[3, 1], [], [2, 1], [5]]
    assert (shards.cls_token_id, shards.sep_token_id) == (2, 3)


@given(st.lists(st.lists(st.integers(0, 5), max_size=4), min_size=1, max_size=7), st.integers(1, 9))
def test_any_documents_survive(tokenizer, tmp_path_factory, lengths, tokens_per_shard):
    documents = [["sea " * length for length in document] for document in lengths]
    if not sum(map(sum, lengths)):
        return
    folder = tmp_path_factory.mktemp("any") / "shards"
    shards = Shards.build(folder, documents, tokenizer, tokens_per_shard=tokens_per_shard)
    assert [[len(sentence) for sentence in document] for document in shards] == [
        [length for length in document if length] for document in lengths
    ]


def test_a_span_counts_from_the_beginning_of_its_document(tokenizer, tmp_path):
    """Kills: spans counted from the shard's beginning."""
    shards = Shards.build(tmp_path / "shards", DOCUMENTS, tokenizer, tokens_per_shard=5)
    spans = shards.spans(np.array([3, 0, 2]), np.array([0, 1, 1]), np.array([2, 4, 3]))
    assert spans.tolist() == [6, 5, 6, 7, 6, 7, 5]


def test_selected_documents_are_the_ones_asked_for(tokenizer, tmp_path):
    shards = Shards.build(tmp_path / "shards", DOCUMENTS, tokenizer, tokens_per_shard=5)
    some = shards.select([3, 0])
    assert contents(some) == [IDS[3], IDS[0]]
    assert some.spans(*np.array([[1], [3], [4]])).tolist() == [6]
    assert contents(some.select([1])) == [IDS[0]]
    assert contents(copy.copy(some)) == [IDS[3], IDS[0]]
    with pytest.raises(IndexError):
        some[2]


@pytest.mark.parametrize(("words", "kind"), [(2**16 - 5, "uint16"), (2**16 - 4, "uint32")])
def test_the_last_id_of_a_large_vocabulary_survives(tmp_path, words, kind):
    """Kills: ids that wrap around in 16 bits."""
    tokenizer = Tokenizer.from_vocabulary([f"w{number}" for number in range(words)])
    shards = Shards.build(tmp_path / "shards", [[f"w{words - 1}"]], tokenizer)
    assert shards[0][0].tolist() == [words + 4]
    assert shards[0][0].dtype == kind


def test_a_corpus_built_already_is_opened_without_reading_the_documents(tokenizer, tmp_path):
    def never_read():
        raise AssertionError("the documents were read again")
        yield

    Shards.build(tmp_path / "shards", DOCUMENTS, tokenizer, source="a")
    assert contents(Shards.build(tmp_path / "shards", never_read(), tokenizer, source="a")) == IDS


@pytest.mark.parametrize("what", ["source", "tokenizer", "unnamed"])
def test_a_changed_source_or_tokenizer_is_tokenised_anew(tokenizer, tmp_path, what):
    """Kills: stale ids of another vocabulary."""
    Shards.build(tmp_path / "shards", DOCUMENTS, tokenizer, source="" if what == "unnamed" else "a")
    other = Tokenizer.from_vocabulary(["sky", "sea"]) if what == "tokenizer" else tokenizer
    source = {"source": "b", "tokenizer": "a", "unnamed": ""}[what]
    shards = Shards.build(tmp_path / "shards", [["sea"]], other, source=source)
    assert contents(shards) == [[[6 if what == "tokenizer" else 5]]]
    assert [path.name for path in tmp_path.iterdir()] == ["shards"]


@pytest.mark.parametrize("built_before", [False, True])
def test_an_interrupted_build_leaves_what_was_there(tokenizer, tmp_path, built_before):
    """Kills: half a corpus in place of a good one."""

    def interrupted():
        yield DOCUMENTS[0]
        raise KeyboardInterrupt

    if built_before:
        Shards.build(tmp_path / "shards", DOCUMENTS, tokenizer)
    with pytest.raises(KeyboardInterrupt):
        Shards.build(tmp_path / "shards", interrupted(), tokenizer, tokens_per_shard=1)
    assert [path.name for path in tmp_path.iterdir()] == (["shards"] if built_before else [])
    if built_before:
        assert contents(Shards.open(tmp_path / "shards")) == IDS


def test_documents_without_a_token_are_refused(tokenizer, tmp_path):
    with pytest.raises(InputError, match="hold no token"):
        Shards.build(tmp_path / "shards", [[], ["", " "]], tokenizer)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_something_else_is_not_replaced(tokenizer, tmp_path):
    """Kills: `build` deleting the user's own folder."""
    (tmp_path / "precious.txt").write_text("keep me")
    with pytest.raises(InputError, match="holds something else"):
        Shards.build(tmp_path, DOCUMENTS, tokenizer)
    assert (tmp_path / "precious.txt").read_text() == "keep me"


def test_damage_is_named(tokenizer, tmp_path):
    with pytest.raises(InputError, match="holds no tokenised corpus"):
        Shards.open(tmp_path)
    Shards.build(tmp_path / "shards", DOCUMENTS, tokenizer)
    tokens = tmp_path / "shards" / "00000.tokens.npy"
    whole = tokens.read_bytes()
    tokens.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"shard 0 of .* is missing or damaged"):
        Shards.open(tmp_path / "shards")
    tokens.unlink()
    with pytest.raises(InputError, match=r"shard 0 of .* is missing or damaged"):
        Shards.open(tmp_path / "shards")


def test_pickled_arrays_are_never_loaded(tokenizer, tmp_path):
    """Kills: code execution through a corpus someone else made."""
    Shards.build(tmp_path / "shards", DOCUMENTS, tokenizer)
    np.save(tmp_path / "shards" / "00000.tokens.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match="missing or damaged"):
        Shards.open(tmp_path / "shards")


def test_another_layout_is_refused(tokenizer, tmp_path):
    Shards.build(tmp_path / "shards", DOCUMENTS, tokenizer)
    index = tmp_path / "shards" / "index.json"
    index.write_text(json.dumps(json.loads(index.read_text()) | {"layout": 99}))
    with pytest.raises(InputError, match="another version"):
        Shards.open(tmp_path / "shards")
