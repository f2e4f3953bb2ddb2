"""Masked words: which are asked for, and what stands in their place."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from minitransformer.errors import InputError
from minitransformer.objectives.masked_lm import (
    IGNORED,
    mask_tokens,
    maskable_tokens,
    replacement_ids,
    row_generator,
    select_tokens,
)

SPECIALS = (0, 1, 2, 3, 4)
MASK = 4
VOCABULARY = 31


@st.composite
def rows(draw):
    """Ids of any kind, specials and padding among them, in an odd shape."""
    batch, length = draw(st.sampled_from([1, 2, 5])), draw(st.sampled_from([1, 3, 7, 13]))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 10_000)))
    return torch.randint(draw(st.sampled_from([0, 0, 5])), VOCABULARY, (batch, length), generator=generator)


def hide(ids, seed=0, **options):
    return mask_tokens(
        ids,
        maskable_tokens(ids, SPECIALS),
        MASK,
        replacement_ids(VOCABULARY, SPECIALS),
        generator=torch.Generator().manual_seed(seed),
        **options,
    )


@given(rows(), st.integers(0, 1000))
def test_specials_and_padding_are_never_asked_for(ids, seed):
    """Kills: [CLS], [SEP] or [PAD] selected like any other token."""
    masked_ids, labels = hide(ids, seed)
    special = ids <= 4
    assert (labels[special] == IGNORED).all()
    assert torch.equal(masked_ids[special], ids[special])


@given(rows(), st.integers(0, 1000))
def test_labels_are_the_hidden_ids_and_other_tokens_stay(ids, seed):
    """Kills: labels taken from the masked ids; labels on all tokens; tokens changed without being asked for."""
    before = ids.clone()
    masked_ids, labels = hide(ids, seed)
    asked = labels != IGNORED
    assert torch.equal(labels[asked], ids[asked])
    assert torch.equal(masked_ids[~asked], ids[~asked])
    assert torch.equal(ids, before), "the caller's batch was changed"


@given(rows(), st.floats(0.01, 1.0), st.integers(0, 1000))
def test_each_row_is_asked_for_its_share_rounded_up_or_down_but_at_least_one(ids, probability, seed):
    """Kills: selection with replacement, which asks for too few; rows never asked; a crash where nothing may be."""
    maskable = maskable_tokens(ids, SPECIALS)
    count = select_tokens(maskable, probability, generator=torch.Generator().manual_seed(seed)).sum(dim=1)
    for selected, possible in zip(count.tolist(), maskable.sum(dim=1).tolist(), strict=True):
        share = round(probability * possible, 9)
        low = min(possible, max(1, math.floor(share)))
        assert low <= selected <= max(low, math.ceil(share))


def test_a_row_without_maskable_tokens_passes_unchanged():
    """Kills: division by zero, or [CLS] taken because something has to be."""
    ids = torch.tensor([[2, 3, 0, 0, 0], [2, 9, 3, 0, 0]])
    masked_ids, labels = hide(ids)
    assert torch.equal(masked_ids[0], ids[0])
    assert (labels[0] == IGNORED).all()
    assert (labels[1] != IGNORED).tolist() == [False, True, False, False, False]


@pytest.mark.parametrize("length", [7, 10, 61, 125])
def test_fifteen_in_a_hundred_are_asked_for_whatever_the_length(length, assert_rate):
    """Kills: a fixed rounding (20 % of ten tokens), 12 % instead of 15 %."""
    count = 20_011
    selected = select_tokens(torch.ones(count, length, dtype=torch.bool), generator=torch.Generator().manual_seed(1))
    wanted = 0.15 * length
    rounded_up = int(selected.sum()) - count * math.floor(wanted)
    assert_rate(rounded_up, count, wanted - math.floor(wanted))


def test_each_position_has_the_same_chance(assert_rate):
    """Kills: the first or last maskable token never selected, an off-by-one in the ranking."""
    count, length = 20_011, 11
    selected = select_tokens(torch.ones(count, length, dtype=torch.bool), generator=torch.Generator().manual_seed(2))
    for position in range(length):
        assert_rate(int(selected[:, position].sum()), count, 0.15)


def test_of_the_selected_80_10_10_are_masked_replaced_and_kept(assert_rate):
    """Kills: `p < p * 0.8` (0/0/100); two overlapping draws (81/10/9); replaced and kept exchanged."""
    ids = torch.full((3001, 61), 7)
    masked_ids, labels = hide(ids, seed=3)
    asked = labels != IGNORED
    total = int(asked.sum())
    # A random replacement is the token itself once in 26 times.
    kept = int((masked_ids[asked] == 7).sum())
    masked = int((masked_ids[asked] == MASK).sum())
    assert_rate(masked, total, 0.8)
    assert_rate(kept, total, 0.1 + 0.1 / (VOCABULARY - 5))
    assert_rate(total - kept - masked, total, 0.1 * (1 - 1 / (VOCABULARY - 5)))


def test_replacements_are_even_and_never_special(assert_rate):
    """Kills: replacements drawn from the whole vocabulary, [PAD] and [MASK] included; the last id never drawn."""
    ids = torch.full((701, 61), 7)
    masked_ids, _ = hide(ids, seed=4, probability=1.0, mask_share=0.0, random_share=1.0)
    for token in range(VOCABULARY):
        assert_rate(int((masked_ids == token).sum()), masked_ids.numel(), 0.0 if token <= 4 else 1 / (VOCABULARY - 5))


def test_the_fates_of_two_selected_tokens_are_independent(assert_rate):
    """Kills: one draw for the whole row, so that all its selected tokens share a fate."""
    ids = torch.full((9001, 2), 7)
    masked_ids, _ = hide(ids, seed=5, probability=1.0)
    both = int(((masked_ids == MASK).sum(dim=1) == 2).sum())
    assert_rate(both, len(ids), 0.8**2)


def test_masking_is_dynamic():
    """Kills: static masking where dynamic is claimed."""
    ids = torch.full((11, 61), 7)
    maskable, replacements = maskable_tokens(ids, SPECIALS), replacement_ids(VOCABULARY, SPECIALS)
    generator = torch.Generator().manual_seed(6)
    _, first = mask_tokens(ids, maskable, MASK, replacements, generator=generator)
    _, second = mask_tokens(ids, maskable, MASK, replacements, generator=generator)
    assert not torch.equal(first, second)


@given(st.integers(0, 1000))
def test_the_same_generator_state_gives_the_same_words(seed):
    """Kills: randomness from global state."""
    ids = torch.full((3, 13), 7)
    torch.manual_seed(seed)
    first = hide(ids, seed)
    torch.manual_seed(seed + 1)
    second = hide(ids, seed)
    assert torch.equal(first[0], second[0])
    assert torch.equal(first[1], second[1])


@given(st.integers(0, 1000), st.floats(0.05, 1.0))
def test_whole_words_are_selected_whole(seed, probability):
    """Kills: pieces of a word selected apart."""
    generator = torch.Generator().manual_seed(seed)
    continues = torch.rand(3, 13, generator=generator) < 0.4
    maskable = torch.ones(3, 13, dtype=torch.bool)
    maskable[:, [0, 7, 12]] = False
    continues &= maskable
    selected = select_tokens(maskable, probability, continues, generator)
    for row in range(3):
        for position in range(1, 13):
            if continues[row, position] and maskable[row, position - 1]:
                assert selected[row, position] == selected[row, position - 1]
    assert selected.any(dim=1).all()
    assert not selected[~maskable].any()


def test_whole_words_are_asked_for_as_often_as_tokens(assert_rate):
    """Kills: 15 % of the words' first pieces only."""
    continues = torch.tensor([False, True, False, False, True, True, False]).repeat(20_011, 1)
    maskable = torch.ones_like(continues)
    selected = select_tokens(maskable, 0.15, continues, torch.Generator().manual_seed(7))
    # Four words: at least one is always asked for, a quarter of the rows each.
    assert_rate(int(selected[:, 1].sum()), len(continues), 0.25)
    assert_rate(int(selected[:, 6].sum()), len(continues), 0.25)


def test_a_static_generator_depends_on_the_text_and_the_seed_only():
    """Kills: static masks that change with the batch or the epoch."""
    row = torch.tensor([5, 6, 7])

    def draws(row, seed):
        return torch.rand(3, generator=row_generator(row, seed)).tolist()

    assert draws(row, 1) == draws(row.int(), 1)
    assert draws(row, 1) != draws(row + 1, 1)
    assert draws(row, 1) != draws(row, 2)


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
