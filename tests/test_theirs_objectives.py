"""The masking of transformers, before the laws of masked words: which it keeps, and why it breaks the others."""

from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor

from minitransformer.laws import check
from minitransformer.laws.masked_lm import MASK, VOCABULARY

transformers = pytest.importorskip("transformers", reason="transformers is judged here: pip install transformers")


@cache
def tokenizer() -> Any:
    """A tokenizer of as many words as the laws have."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel

    words = [f"word {number}" for number in range(VOCABULARY)]
    model = WordLevel({word: number for number, word in enumerate(words)}, unk_token=words[1])
    return transformers.PreTrainedTokenizerFast(tokenizer_object=Tokenizer(model), mask_token=words[MASK])


def offsets_of(continues_word: Tensor) -> Tensor:
    """Where each token begins and ends in a text, in which a gap stands before each word."""
    start = torch.arange(continues_word.shape[1]) + (~continues_word).cumsum(1)
    return torch.stack([start, start + 1], dim=-1)


def transformers_masking(
    input_ids: Tensor,
    maskable: Tensor,
    mask_token_id: int,
    replacements: Tensor,
    probability: float = 0.15,
    mask_share: float = 0.8,
    random_share: float = 0.1,
    continues_word: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> tuple[Tensor, Tensor]:
    """`DataCollatorForLanguageModeling`, which masks the batch that it has put together, so here a copy.

    It takes the mask and the replacements from its tokenizer, and hides every token of a whole word.
    """
    whole_words = continues_word is not None
    collator = transformers.DataCollatorForLanguageModeling(
        tokenizer(),
        whole_word_mask=whole_words,
        mlm_probability=probability,
        mask_replace_prob=1.0 if whole_words else mask_share,
        random_replace_prob=0.0 if whole_words else random_share,
    )
    collator.generator = generator
    offsets = None if continues_word is None else offsets_of(continues_word)
    masked: tuple[Tensor, Tensor] = collator.torch_mask_tokens(input_ids.clone(), ~maskable, offsets)
    return masked


ANY_ID = "a replacement is any id of the vocabulary: [MASK], [CLS], [PAD] and the token itself too"
A_COIN = "each token, or word, has a coin of its own: a row may ask for none, and many"
EXCEPTIONS = {
    "what_is_asked_for_shows_the_mask_a_replacement_or_itself": ANY_ID,
    "each_replacement_is_as_likely_as_any_other": ANY_ID,
    "what_is_asked_for_is_masked_replaced_and_kept_in_the_shares_given": ANY_ID,
    "each_row_is_asked_for_its_share": A_COIN,
    "each_word_has_the_same_chance_whatever_its_pieces": A_COIN,
}


@pytest.mark.usefixtures("without_shape_checks", "imported_before_forking")
def test_the_masking_of_transformers_keeps_every_law_but_those_with_a_reason() -> None:
    report = check(transformers_masking, "masking", max_examples=30)
    assert {failure.law for failure in report.failures} == set(EXCEPTIONS), f"{report}"
    assert not report.not_judged
