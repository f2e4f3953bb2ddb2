"""Published weights: real sentences give what they give in `transformers`.

Run with `pytest -m real_weights`, once `minitransformer data get bert-tiny` and `minitransformer data get minilm` have
fetched them.
"""

from pathlib import Path
from typing import Any

import pytest
import torch
from bert_twins import assert_agree, transformers
from safetensors.torch import load_file

from minitransformer import corpora
from minitransformer.laws.tolerances import STACK
from minitransformer.models import bert
from minitransformer.tokenizer import Tokenizer

pytestmark = pytest.mark.real_weights

EVERYTHING = {"output_hidden_states": True, "output_attentions": True}

WEIGHTS = [("bert-tiny", "BertForMaskedLM"), ("minilm", "BertModel")]

SENTENCES = [
    "In the beginning God created the heaven and the earth.",
    "To be, or not to be: that is the question:",
    "Paris is the [MASK] of France.",
    "Jesus wept.",
    "Ünnecessary accents, 三國, e-mail@example.org & 3.14159 are split as they were split in training!",
    "It was the best of times, it was the worst of times, it was the age of wisdom, it was the age of foolishness.",
]
CONTINUATIONS = [
    "And the earth was without form, and void; and darkness was upon the face of the deep.",
    "Whether 'tis nobler in the mind to suffer",
    "It lies on the Seine.",
    "Then said the Jews, Behold how he loved him!",
    "",
    "It was the epoch of belief.",
]


def fetched(name: str) -> Path:
    """The folder of published weights, if it is there; nothing is fetched for a test."""
    if not corpora.is_fetched(name):
        pytest.skip(f"fetch it first: minitransformer data get {name}")
    return corpora.fetch(name)


def their_tokenizer(folder: Path) -> Any:
    """The tokenizer of transformers for a folder."""
    return transformers.AutoTokenizer.from_pretrained(folder)


@pytest.mark.parametrize("name", [name for name, _ in WEIGHTS])
@pytest.mark.parametrize("pairs", [None, CONTINUATIONS])
def test_real_sentences_have_the_ids_of_transformers(name: str, pairs: list[str] | None) -> None:
    folder = fetched(name)
    found = Tokenizer.from_pretrained(folder)(SENTENCES, pairs, padding=True, return_tensors="pt")
    expected = their_tokenizer(folder)(SENTENCES, pairs, padding=True, truncation=False, return_tensors="pt")
    for key in ("input_ids", "token_type_ids", "attention_mask"):
        assert found[key].tolist() == expected[key].tolist()
    assert not found["attention_mask"].all(), "some rows must be padded"


def opened(class_name: str, folder: Path) -> Any:
    """Our model of published weights."""
    return getattr(bert, class_name).from_pretrained(folder)


def both(name: str, class_name: str) -> tuple[Any, Any]:
    """Our model of published weights, and that of transformers."""
    folder = fetched(name)
    judge = getattr(transformers, class_name).from_pretrained(folder, attn_implementation="eager")
    return opened(class_name, folder), judge.eval()


@pytest.mark.parametrize(("name", "class_name"), WEIGHTS)
@pytest.mark.parametrize("pairs", [None, CONTINUATIONS])
def test_real_sentences_give_the_numbers_of_transformers(
    name: str, class_name: str, pairs: list[str] | None, kernels_in_use: str
) -> None:
    """To 1e-5 of the largest number: at logits of 32, the two attentions of transformers itself are 2e-5 apart."""
    model, judge = both(name, class_name)
    inputs = Tokenizer.from_pretrained(fetched(name))(SENTENCES, pairs, padding=True, return_tensors="pt")
    with torch.no_grad():
        assert_agree(model(**inputs, **EVERYTHING), judge(**inputs, **EVERYTHING), scale=None)


@pytest.mark.parametrize(("name", "class_name"), WEIGHTS)
@pytest.mark.parametrize("pairs", [None, CONTINUATIONS])
def test_with_the_settings_that_both_begin_with_the_numbers_are_within_1e_5(
    name: str, class_name: str, pairs: list[str] | None
) -> None:
    """Not relative to anything: fused kernels on both sides, and the sums in the same order."""
    folder = fetched(name)
    inputs = Tokenizer.from_pretrained(folder)(SENTENCES, pairs, padding=True, return_tensors="pt")
    judge = getattr(transformers, class_name).from_pretrained(folder).eval()
    assert judge.config._attn_implementation == "sdpa"
    with torch.no_grad():
        difference = opened(class_name, folder)(**inputs)[0] - judge(**inputs)[0]
    assert difference[inputs["attention_mask"].bool()].abs().max() <= 1e-5


@pytest.mark.parametrize(("name", "class_name"), WEIGHTS)
@pytest.mark.parametrize("pairs", [None, CONTINUATIONS])
def test_without_rounding_hardly_anything_is_left_between_the_two(
    name: str, class_name: str, pairs: list[str] | None, kernels_in_use: str
) -> None:
    """In float64 a difference would be one of arithmetic, and there is none."""
    model, judge = both(name, class_name)
    inputs = Tokenizer.from_pretrained(fetched(name))(SENTENCES, pairs, padding=True, return_tensors="pt")
    with torch.no_grad():
        found, expected = model.double()(**inputs, **EVERYTHING), judge.double()(**inputs, **EVERYTHING)
    assert found[0].dtype == expected[0].dtype == torch.float64
    assert_agree(found, expected, c=STACK, scale=None)


@pytest.mark.parametrize(("name", "class_name"), WEIGHTS)
def test_real_weights_are_read_whole(name: str, class_name: str, caplog: pytest.LogCaptureFixture) -> None:
    folder = fetched(name)
    model = opened(class_name, folder)
    assert not caplog.records
    held = {name for name in load_file(folder / "model.safetensors") if not name.endswith("position_ids")}
    assert len(held - {"cls.predictions.decoder.weight", "cls.predictions.decoder.bias"}) == len(
        list(model.parameters())
    )


def test_a_masked_word_is_filled_with_a_word_that_fits() -> None:
    folder = fetched("bert-tiny")
    tokenizer, model = Tokenizer.from_pretrained(folder), opened("BertForMaskedLM", folder)
    inputs = tokenizer("Paris is the capital of [MASK].", return_tensors="pt")
    with torch.no_grad():
        logits = model(**inputs).logits
    likely = logits[inputs["input_ids"] == tokenizer.mask_token_id][0].topk(20).indices
    assert "france" in tokenizer.convert_ids_to_tokens(likely.tolist())


def test_sentences_of_one_meaning_lie_close() -> None:
    folder = fetched("minilm")
    inputs = Tokenizer.from_pretrained(folder)(
        ["A man is eating food.", "Someone is having a meal.", "The stock market fell sharply today."],
        padding=True,
        return_tensors="pt",
    )
    with torch.no_grad():
        hidden = opened("BertModel", folder)(**inputs).last_hidden_state
    mask = inputs["attention_mask"][..., None]
    mean = (hidden * mask).sum(dim=1) / mask.sum(dim=1)
    eating, meal, market = mean / mean.norm(dim=-1, keepdim=True)
    assert eating @ meal > 0.5
    assert eating @ market < 0.2
