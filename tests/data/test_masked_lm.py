"""Masked words: errors, static masks, and whether the laws about chances notice a mistake.

That our function keeps the laws is tested with all others, in test_laws.py.
"""

import pytest
import torch
from hypothesis import Phase, given, settings

from minitransformer.errors import InputError
from minitransformer.laws import CATALOGUE
from minitransformer.objectives.masked_lm import (
    mask_tokens,
    maskable_tokens,
    replacement_ids,
    seed_of_row,
    select_tokens,
)

SPECIALS = (0, 1, 2, 3, 4)
MASK = 4
VOCABULARY = 31


def hide(ids, seed=0, **options):
    return mask_tokens(
        ids,
        maskable_tokens(ids, SPECIALS),
        MASK,
        replacement_ids(VOCABULARY, SPECIALS),
        generator=torch.Generator().manual_seed(seed),
        **options,
    )


def test_a_static_seed_depends_on_the_text_and_the_seed_only():
    """Kills: static masks that change with the batch or the epoch."""
    row = torch.tensor([5, 6, 7])
    assert seed_of_row(row, 1) == seed_of_row(row.int(), 1)
    assert seed_of_row(row, 1) != seed_of_row(row + 1, 1)
    assert seed_of_row(row, 1) != seed_of_row(row, 2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"probability": 0.0}, r"probability=0\.0 must lie above 0"),
        ({"probability": 1.5}, r"probability=1\.5"),
        ({"mask_share": 0.95}, r"mask_share=0\.95 and random_share=0\.1 must be at least 0 and together at most 1"),
        ({"random_share": -0.1}, r"random_share=-0\.1"),
    ],
)
def test_wrong_shares_are_named(options, message):
    with pytest.raises(InputError, match=message):
        hide(torch.full((2, 3), 7), **options)


def test_nothing_to_replace_with_is_named():
    ids = torch.full((2, 3), 7)
    with pytest.raises(InputError, match="replacements is empty"):
        mask_tokens(ids, ids > 4, MASK, torch.tensor([], dtype=torch.long))


def masks(select=select_tokens, fates=None, draw=None):
    """A function that masks, with a part of it exchanged: what is selected, its fate, or what it is replaced with."""

    def mask(input_ids, maskable, mask_id, replacements, probability, mask_share=0.8, random_share=0.1, **options):
        generator = options.get("generator")
        selected = select(maskable, probability, options.get("continues_word"), generator)
        fate = torch.rand(input_ids.shape, generator=generator)
        is_masked, is_random = fate < mask_share, (fate >= mask_share) & (fate < mask_share + random_share)
        if fates:
            is_masked, is_random = fates(fate, mask_share, random_share, generator)
        drawn = (draw or torch.randint)(len(replacements), input_ids.shape, generator=generator)
        masked_ids = torch.where(selected & is_random, replacements[drawn], input_ids)
        return masked_ids.masked_fill(selected & is_masked, mask_id), input_ids.where(selected, -100)

    return mask


def ranked(maskable, generator):
    """The maskable tokens of each row in a random order, from 1."""
    draws = torch.rand(maskable.shape, generator=generator).masked_fill(~maskable, 2.0)
    return draws.argsort(1).argsort(1) + 1


def rounded_up(maskable, probability, _, generator):
    return (ranked(maskable, generator) <= torch.ceil(probability * maskable.sum(1, keepdim=True))) & maskable


def with_replacement(maskable, probability, _, generator):
    count = round(probability * int(maskable[0].sum()))
    drawn = maskable.double().multinomial(count, replacement=True, generator=generator)
    return torch.zeros_like(maskable).scatter(1, drawn, 1)


def never_the_first(maskable, probability, _, generator):
    first = maskable.int().cumsum(1) == 1
    n_maskable = int(maskable[0].sum())
    return select_tokens(maskable & ~first, probability * n_maskable / (n_maskable - 1), None, generator)


def same_for_all_rows(maskable, probability, _, generator):
    return select_tokens(maskable[:1], probability, None, generator).expand(maskable.shape)


def words_of_selected_pieces(maskable, probability, continues_word, generator):
    selected = select_tokens(maskable, probability, None, generator)
    word = (~continues_word).cumsum(1)
    return torch.zeros_like(maskable).scatter_reduce(1, word, selected, "amax").gather(1, word) & maskable


def from_global_state(maskable, probability, _, generator):
    return select_tokens(maskable, probability)


def always_the_same(maskable, probability, _, generator):
    return select_tokens(maskable, probability, None, torch.Generator().manual_seed(1))


def overlapping(fate, mask_share, random_share, generator):
    second = torch.rand(fate.shape, generator=generator)
    return fate < mask_share, (fate >= mask_share) & (second < random_share)


MISTAKES = {
    "twenty percent of ten": ("as_many_are_asked_for_as_wanted_whatever_the_length", masks(rounded_up)),
    "with replacement": ("as_many_are_asked_for_as_wanted_whatever_the_length", masks(with_replacement)),
    "never the first": ("each_token_has_the_same_chance_to_be_asked_for", masks(never_the_first)),
    "p < p * 0.8": (
        "what_is_asked_for_is_masked_replaced_and_kept_in_the_shares_given",
        masks(fates=lambda p, mask, random, _: (p < p * mask, p < p * random)),
    ),
    "81/10/9": (
        "what_is_asked_for_is_masked_replaced_and_kept_in_the_shares_given",
        masks(fates=lambda p, mask, random, _: (p < mask + 0.01, (p >= mask + 0.01) & (p < mask + random + 0.01))),
    ),
    "overlapping draws": (
        "what_is_asked_for_is_masked_replaced_and_kept_in_the_shares_given",
        masks(fates=overlapping),
    ),
    "replaced and kept exchanged": (
        "what_is_asked_for_is_masked_replaced_and_kept_in_the_shares_given",
        masks(fates=lambda p, mask, random, _: (p < mask, p >= mask + random)),
    ),
    "the last one never drawn": (
        "each_replacement_is_as_likely_as_any_other",
        masks(draw=lambda count, shape, generator: torch.randint(count - 1, shape, generator=generator)),
    ),
    "one replacement for all": (
        "each_replacement_is_as_likely_as_any_other",
        masks(draw=lambda count, shape, generator: torch.randint(count, (1, 1), generator=generator).expand(shape)),
    ),
    "one fate for a row": (
        "the_fates_of_two_tokens_are_independent",
        masks(fates=lambda p, mask, _, __: (p[:, :1].expand_as(p) < mask, torch.zeros_like(p).bool())),
    ),
    "one fate for a column": (
        "the_fates_of_two_tokens_are_independent",
        masks(fates=lambda p, mask, _, __: (p[:1].expand_as(p) < mask, torch.zeros_like(p).bool())),
    ),
    "the same for all rows": ("the_same_text_is_hidden_differently_each_time", masks(same_for_all_rows)),
    "always the same": ("the_same_text_is_hidden_differently_each_time", masks(always_the_same)),
    "global state": ("the_same_state_of_the_generator_hides_the_same_words", masks(from_global_state)),
    "words of selected pieces": (
        "each_word_has_the_same_chance_whatever_its_pieces",
        masks(words_of_selected_pieces),
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_law_about_chances_notices_a_mistake(mistake):
    name, wrong = MISTAKES[mistake]
    (law,) = [law for law in CATALOGUE if (law.claim, law.name) == ("masking", name)]

    @settings(max_examples=20, derandomize=True, database=None, phases=[Phase.generate], report_multiple_bugs=False)
    @given(case=law.cases)
    def check(case):
        law.check(wrong, case)

    law_is_kept_by(law, masks())
    with pytest.raises(AssertionError):
        check()


def law_is_kept_by(law, function):
    """Check that what the mistakes are planted in has none of its own."""
    settings(max_examples=5, derandomize=True, database=None)(
        given(case=law.cases)(lambda case: law.check(function, case))
    )()
