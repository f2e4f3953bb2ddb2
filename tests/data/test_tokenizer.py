"""The tokenizer: deterministic, honest about its specials, and the same in `transformers`."""

import json
import subprocess
import sys

import pytest
import tokenizers
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import models, pre_tokenizers
from transformers import AutoTokenizer, BertTokenizer

from minitransformer.corpora import fetch, is_fetched
from minitransformer.errors import InputError
from minitransformer.tokenizer import Tokenizer

CORPUS = [
    ["In the beginning God created the heaven and the earth.", "And the earth was without form, and void;"],
    ["Naïve cafés serve crêpes!", "桃园三结义，天下大势。", "UPPER lower 1234 e-mail's"],
]
TEXTS = [
    "In the beginning was the word.",
    "the  heaven\tand\nthe EARTH",
    "天下the大势",
    "naïve CAFÉ",
    "unknown ☃ and 𝔘nicode",
    "a[MASK]b [SEP] [CLS]",
    "e-mail's 12.5%",
    "",
]


@pytest.fixture(scope="module", params=[True, False], ids=["lowercase", "cased"])
def trained(request):
    return Tokenizer.train(CORPUS, vocab_size=180, lowercase=request.param)


def test_the_specials_have_the_first_ids(trained):
    assert trained.tokens[:5] == ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    ids = (trained.pad_token_id, trained.unk_token_id, trained.cls_token_id, trained.sep_token_id)
    assert (*ids, trained.mask_token_id) == trained.special_ids == (0, 1, 2, 3, 4)


@settings(max_examples=30)
@given(st.text(max_size=30), st.text(max_size=30))
def test_encoding_is_what_transformers_does(trained_folder, text, text_pair):
    """Kills: another splitter, another template, other ids after saving."""
    ours, theirs = trained_folder
    assert ours.encode(text) == theirs(text)["input_ids"]
    pair = ours([text], [text_pair])
    assert dict(pair) == dict(theirs([text], [text_pair]))


@pytest.fixture(scope="module")
def trained_folder(trained, tmp_path_factory):
    folder = trained.save_pretrained(tmp_path_factory.mktemp("tokenizer"))
    return trained, AutoTokenizer.from_pretrained(folder)


def test_transformers_opens_what_we_save(trained_folder):
    ours, theirs = trained_folder
    assert isinstance(theirs, BertTokenizer)
    assert theirs.vocab_size == ours.vocab_size
    assert sorted(theirs.all_special_ids) == list(ours.special_ids)
    for text in TEXTS:
        assert ours.encode(text) == theirs(text)["input_ids"], text
        assert ours.tokenize(text) == theirs.tokenize(text), text
    for max_length in (5, 7, 9):
        options = {"truncation": True, "max_length": max_length, "padding": "max_length", "return_tensors": "pt"}
        batch, same = ours(TEXTS, TEXTS[::-1], **options), theirs(TEXTS, TEXTS[::-1], **options)
        assert all(torch.equal(batch[name], same[name]) for name in ("input_ids", "token_type_ids", "attention_mask"))


@pytest.mark.parametrize("only_vocabulary", [False, True])
def test_we_open_what_transformers_saves(trained, tmp_path, only_vocabulary):
    """Kills: special tokens assumed at 0 to 4; the lower-casing option lost."""
    words = ["the", "[MASK]", "[SEP]", "##s", "[CLS]", "[UNK]", "heaven", "The", "[PAD]", "天"]
    (tmp_path / "vocab.txt").write_text("\n".join(words) + "\n", encoding="utf-8")
    theirs = BertTokenizer(vocab={word: number for number, word in enumerate(words)}, do_lower_case=trained.lowercase)
    if only_vocabulary:
        (tmp_path / "tokenizer_config.json").write_text(json.dumps({"do_lower_case": trained.lowercase}))
    else:
        theirs.save_pretrained(tmp_path)
    ours = Tokenizer.from_pretrained(tmp_path)
    assert ours.lowercase == trained.lowercase
    assert ours.special_ids == (1, 2, 4, 5, 8)
    assert (ours.pad_token_id, ours.mask_token_id) == (8, 1)
    for text in ("The heavens 天the", "the [MASK] heaven", ""):
        assert ours.encode(text) == theirs(text)["input_ids"]


def test_loading_what_we_saved_changes_nothing(trained, tmp_path):
    loaded = Tokenizer.from_pretrained(trained.save_pretrained(tmp_path))
    assert loaded.fingerprint() == trained.fingerprint()
    assert loaded.special_tokens == trained.special_tokens
    assert (tmp_path / "vocab.txt").read_text(encoding="utf-8").splitlines() == trained.tokens
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "special_tokens_map.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "vocab.txt",
    ]


def test_truncation_and_padding_stored_in_a_file_are_not_applied(trained, tmp_path):
    """Kills: a folder's own `max_length` that cuts every text, as the published MiniLM's does at 128."""
    trained.save_pretrained(tmp_path)
    backend = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    backend.enable_truncation(4)
    backend.enable_padding(length=4)
    backend.save(str(tmp_path / "tokenizer.json"))
    assert Tokenizer.from_pretrained(tmp_path).encode(TEXTS[0]) == trained.encode(TEXTS[0])


def test_training_gives_the_same_vocabulary_in_every_process():
    """Kills: ties broken by the order of a hash map, so that no two runs agree."""
    command = (
        "from minitransformer.tokenizer import Tokenizer;"
        "documents = [[chr(97 + i % 26) + chr(97 + i % 7) + chr(97 + i % 11) for i in range(500)]];"
        "print(Tokenizer.train(documents, 120).fingerprint())"
    )
    runs = {subprocess.run([sys.executable, "-c", command], capture_output=True, check=True).stdout for _ in range(2)}
    assert len(runs) == 1


@pytest.mark.parametrize("vocab_size", [6, 13, 40, 61])
def test_a_vocabulary_has_at_most_the_size_asked_for(vocab_size):
    assert Tokenizer.train(CORPUS, vocab_size).vocab_size <= vocab_size


def test_frequent_words_become_one_token_and_rare_ones_pieces():
    tokenizer = Tokenizer.train([["the cat sat on the mat", "the catalogue"]] * 9, vocab_size=40)
    assert tokenizer.tokenize("the") == ["the"]
    pieces = tokenizer.tokenize("catthe")
    assert len(pieces) > 1
    assert all(piece.startswith("##") for piece in pieces[1:])
    assert tokenizer.decode(tokenizer.encode("catthe"), skip_special_tokens=True) == "catthe"


def test_training_counts_words_as_the_library_does():
    """Kills: words cut or joined by our own counting. Where no ties are, the library's own training gives the same."""
    text = [["aab aab aab aac, aac aac.ad 天天 AAB"]]
    ours = set(Tokenizer.train(text, 60).tokens)
    backend = tokenizers.Tokenizer(models.WordPiece())
    backend.normalizer = tokenizers.normalizers.BertNormalizer()
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    backend.train_from_iterator(
        text[0], tokenizers.trainers.WordPieceTrainer(vocab_size=60, special_tokens=specials, show_progress=False)
    )
    assert ours == set(backend.get_vocab())


def test_chinese_characters_are_words_of_their_own(trained):
    assert trained.tokenize("天下三") == ["天", "下", "三"]


def test_lower_casing_is_an_option():
    cased, uncased = (Tokenizer.train([["God and god and GOD"]], 60, lowercase=option) for option in (False, True))
    assert "GOD" in cased.tokens
    assert uncased.tokenize("GoD") == ["god"]
    assert cased.tokenize("GOD") != cased.tokenize("god")


def test_ids_and_tokens_convert_into_each_other(trained):
    tokens = trained.tokenize(TEXTS[0])
    assert trained.convert_ids_to_tokens(trained.convert_tokens_to_ids(tokens)) == tokens
    assert trained.convert_tokens_to_ids(["nowhere"]) == [trained.unk_token_id]
    with pytest.raises(InputError, match="id 9999 names no token; ids must lie between 0 and"):
        trained.convert_ids_to_tokens([9999])


def test_a_batch_is_padded_and_marked(trained):
    batch = trained(["the earth", "the"], padding=True, return_tensors="pt")
    length = batch["input_ids"].shape[1]
    assert batch["attention_mask"].sum(dim=1).tolist() == [length, len(trained.encode("the"))]
    assert batch["input_ids"].dtype == torch.long


@pytest.mark.parametrize("vocab_size", [-1, 0, 5])
def test_a_vocabulary_smaller_than_the_specials_is_refused(vocab_size):
    with pytest.raises(InputError, match=f"vocab_size={vocab_size} must be greater than the 5 special tokens"):
        Tokenizer.train(CORPUS, vocab_size)


@pytest.mark.parametrize("documents", [[], [[]], [["", " \n"]]])
def test_training_on_nothing_is_refused(documents):
    with pytest.raises(InputError, match="hold no text"):
        Tokenizer.train(documents)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"text": []}, "0 texts and 0 pairs don't match"),
        ({"text": ["a", "b"], "text_pair": ["c"]}, "2 texts and 1 pairs don't match"),
        ({"text": "a", "truncation": True, "max_length": 2}, "max_length=2 must be at least 3"),
        ({"text": "a", "text_pair": "b", "truncation": True, "max_length": 4}, "max_length=4 must be at least 5"),
        ({"text": ["the", "the earth"], "return_tensors": "pt"}, "rows of .* tokens make no tensor; pass padding=True"),
        ({"text": ["the"], "padding": "most"}, "padding='most' is not one of"),
        ({"text": ["the"], "truncation": "first"}, "truncation='first' is not one of"),
        ({"text": ["the"], "return_tensors": "tf"}, "return_tensors='tf' is not one of"),
        ({"text": ["the", None]}, "text 1 is None, but each must be a text"),
        ({"text": [["the"], "earth"], "is_split_into_words": True}, "needs lists of words"),
        (
            {"text": "the", "text_pair": "the earth " * 9, "truncation": "only_first", "max_length": 7},
            "can't be encoded with .*only_first.*too short",
        ),
    ],
)
def test_impossible_batches_are_refused(trained, options, message):
    with pytest.raises(InputError, match=message):
        trained(**options)


def test_bad_folders_are_named(trained, tmp_path):
    with pytest.raises(InputError, match=r"holds no tokenizer\.json and no vocab\.txt"):
        Tokenizer.from_pretrained(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(InputError, match=r"tokenizer\.json is not a tokenizer file"):
        Tokenizer.from_pretrained(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text("{")
    with pytest.raises(InputError, match=r"tokenizer_config\.json is not JSON"):
        Tokenizer.from_pretrained(tmp_path)
    with pytest.raises(InputError, match="can't be written"):
        trained.save_pretrained(tmp_path / "tokenizer.json" / "inside")
    with pytest.raises(InputError, match="token 'sea' is listed twice"):
        Tokenizer.from_vocabulary(["sea", "sky", "sea"])
    (tmp_path / "tokenizer_config.json").unlink()
    (tmp_path / "tokenizer.json").unlink()
    (tmp_path / "vocab.txt").write_text("a\nb\n")
    with pytest.raises(InputError, match="lacks the special tokens"):
        Tokenizer.from_pretrained(tmp_path)


@pytest.mark.real_weights
@pytest.mark.parametrize("name", ["bert-tiny", "minilm"])
def test_published_tokenizers_give_the_ids_that_transformers_gives(name):
    if not is_fetched(name):
        pytest.skip(f"{name} is not fetched; run `minitransformer data get {name}`")
    ours, theirs = Tokenizer.from_pretrained(fetch(name)), AutoTokenizer.from_pretrained(fetch(name))
    assert (ours.vocab_size, ours.special_ids) == (30522, (0, 100, 101, 102, 103))
    for text in [*TEXTS, "a long text " * 200]:
        assert ours.encode(text) == theirs(text, truncation=False)["input_ids"]
