"""Asking a kept model: words, classes, and who reads whom."""

import json
import shutil
from pathlib import Path

import pytest
import tiny_runs
import torch

from minitransformer.errors import InputError
from minitransformer.finetuning import classifier_from
from minitransformer.laws.tolerances import LAYER, assert_close
from minitransformer.models.bert import BertForMaskedLM, BertForPreTraining, BertForSequenceClassification
from minitransformer.prediction import attention_of, classify, fill_masks, kind_of, open_model
from minitransformer.tokenizer import Tokenizer

TEXT = "this [MASK] sailor steers its [MASK]"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pretrained model."""
    return tiny_runs.pretrained(tmp_path_factory.mktemp("pretrained"))


@pytest.fixture(scope="module")
def model(folder: Path) -> BertForMaskedLM:
    """The model that fills in words."""
    return BertForMaskedLM.from_pretrained(folder)


@pytest.fixture(scope="module")
def tokenizer(folder: Path) -> Tokenizer:
    """Its tokenizer."""
    return Tokenizer.from_pretrained(folder)


@pytest.fixture(scope="module")
def classifier(folder: Path) -> BertForSequenceClassification:
    """A classifier that has not learned yet."""
    return classifier_from(folder, ("farm", "kitchen", "sea"), tiny_runs.finetuning_plan()).eval()


@torch.no_grad()
def test_every_mask_is_filled_with_the_likeliest_words_in_order(model: BertForMaskedLM, tokenizer: Tokenizer) -> None:
    found = fill_masks(model, tokenizer, TEXT, top_k=3)
    ids = torch.tensor([tokenizer.encode(TEXT)])
    probability = model(ids).logits[0].softmax(-1)
    places = [place for place, number in enumerate(ids[0]) if number == tokenizer.mask_token_id]
    assert len(found) == len(places) == 2
    for guesses, place in zip(found, places, strict=True):
        wanted, best = probability[place].sort(descending=True)
        assert [guess.answer for guess in guesses] == [tokenizer.tokens[number] for number in best[:3]]
        assert_close([guess.probability for guess in guesses], wanted[:3], c=LAYER)


def test_no_more_words_are_guessed_than_there_are(model: BertForMaskedLM, tokenizer: Tokenizer) -> None:
    (guesses,) = fill_masks(model, tokenizer, "this [MASK]", top_k=10_000)
    assert len({guess.answer for guess in guesses}) == tokenizer.vocab_size
    assert sum(guess.probability for guess in guesses) == pytest.approx(1, abs=1e-5)


@torch.no_grad()
def test_classes_come_with_their_probabilities_the_likeliest_first(
    classifier: BertForSequenceClassification, tokenizer: Tokenizer
) -> None:
    guesses = classify(classifier, tokenizer, "this boat")
    probability = classifier(torch.tensor([tokenizer.encode("this boat")])).logits[0].softmax(-1)
    names = ("farm", "kitchen", "sea")
    assert [guess.probability for guess in guesses] == sorted((guess.probability for guess in guesses), reverse=True)
    for guess in guesses:
        assert_close(guess.probability, probability[names.index(guess.answer)], c=LAYER)


def test_attention_comes_for_every_head_of_every_block_with_the_tokens(
    model: BertForMaskedLM, tokenizer: Tokenizer
) -> None:
    weights, tokens = attention_of(model, tokenizer, "this boat")
    assert tokens == ["[CLS]", *tokenizer.tokenize("this boat"), "[SEP]"]
    assert weights.shape == (1, 2, len(tokens), len(tokens))
    assert_close(weights.sum(-1), torch.ones(weights.shape[:-1]))


@pytest.mark.parametrize("top_k", [0, -1])
def test_fewer_guesses_than_one_are_refused(model: BertForMaskedLM, tokenizer: Tokenizer, top_k: int) -> None:
    with pytest.raises(InputError, match=f"top_k={top_k} must be at least 1"):
        fill_masks(model, tokenizer, TEXT, top_k)


def test_a_text_without_a_mask_is_refused(model: BertForMaskedLM, tokenizer: Tokenizer) -> None:
    with pytest.raises(InputError, match=r"'this boat' holds no \[MASK\]; put one where"):
        fill_masks(model, tokenizer, "this boat")


@pytest.mark.parametrize("text", ["", "  \n"])
def test_an_empty_text_is_refused(classifier: BertForSequenceClassification, tokenizer: Tokenizer, text: str) -> None:
    with pytest.raises(InputError, match="the text is empty"):
        classify(classifier, tokenizer, text)


def test_a_text_longer_than_the_positions_is_refused_with_both_lengths(
    model: BertForMaskedLM, classifier: BertForSequenceClassification, tokenizer: Tokenizer
) -> None:
    text = "boat " * 20
    n_tokens = len(tokenizer.encode(text))
    message = f"the text has {n_tokens} tokens, but the model reads at most 20"
    with pytest.raises(InputError, match=message):
        classify(classifier, tokenizer, text)
    with pytest.raises(InputError, match="the model reads at most 20"):
        fill_masks(model, tokenizer, text + "[MASK]")


def test_a_folder_opens_as_what_it_holds(folder: Path) -> None:
    assert kind_of(folder) == "BertForPreTraining"
    assert type(open_model(folder, BertForSequenceClassification, BertForPreTraining)) is BertForPreTraining
    assert type(open_model(folder, BertForMaskedLM)) is BertForMaskedLM
    with pytest.raises(InputError, match="holds a BertForPreTraining, but this needs a BertForSequenceClassification"):
        open_model(folder, BertForSequenceClassification)


@pytest.mark.parametrize("architectures", [None, []])
def test_a_folder_that_does_not_say_what_it_holds_is_refused(
    folder: Path, tmp_path: Path, architectures: list[str] | None
) -> None:
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "architectures": architectures}))
    with pytest.raises(InputError, match="holds a unknown"):
        open_model(tmp_path, BertForMaskedLM)


def test_a_folder_that_is_not_there_or_holds_no_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no folder"):
        kind_of(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"cannot read .*config\.json"):
        kind_of(tmp_path)


def test_a_truncated_model_is_refused_by_its_file(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(InputError, match=r"model\.safetensors is damaged or truncated"):
        open_model(tmp_path, BertForMaskedLM)
