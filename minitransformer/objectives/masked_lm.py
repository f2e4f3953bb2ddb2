"""Masked language modelling: hide some words, and ask for them back."""

import zlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float64, Int, Real, UInt64
from torch import Tensor

from minitransformer.chance import hashed, uniform
from minitransformer.errors import InputError

IGNORED = -100


def maskable_tokens(
    input_ids: Int[Tensor, "B L"], special_ids: Sequence[int], attention_mask: Int[Tensor, "B L"] | None = None
) -> Bool[Tensor, "B L"]:
    """Say which tokens may be asked for: all but special tokens, [UNK] among them, and padding.

    >>> maskable_tokens(torch.tensor([[2, 7, 8, 3]]), special_ids=(0, 1, 2, 3, 4)).tolist()
    [[False, True, True, False]]
    """
    is_word = torch.ones(
        max(special_ids, default=-1) + 2, dtype=torch.bool
    )  # the last stands for all ids from there on
    is_word[list(special_ids)] = False
    maskable = is_word.to(input_ids.device)[input_ids.long().clamp(max=len(is_word) - 1)]
    return maskable if attention_mask is None else maskable & attention_mask.bool()


def replacement_ids(vocab_size: int, special_ids: Sequence[int]) -> Int[Tensor, " V"]:
    """List the ids a random replacement is drawn from: all but the special tokens.

    >>> replacement_ids(7, special_ids=(0, 1, 2, 3, 4)).tolist()
    [5, 6]
    """
    ids = torch.arange(vocab_size)
    return ids[torch.isin(ids, torch.tensor(special_ids), invert=True)]


def mask_tokens(
    input_ids: Int[Tensor, "B L"],
    maskable: Bool[Tensor, "B L"],
    mask_token_id: int,
    replacements: Int[Tensor, " V"],
    probability: float = 0.15,
    mask_share: float = 0.8,
    random_share: float = 0.1,
    continues_word: Bool[Tensor, "B L"] | None = None,
    generator: torch.Generator | None = None,
) -> tuple[Int[Tensor, "B L"], Int[Tensor, "B L"]]:
    """Give the ids with some tokens hidden, and labels: the hidden id, or −100 where nothing is asked.

    Of the tokens selected, `mask_share` become [MASK], `random_share` a random replacement (which may be the token
    itself, as in BERT), the rest stay; each is drawn on its own. With `continues_word` whole words are selected.

    Source: Devlin et al. 2019, §3.1, "Task #1", and §A.1; whole words: the authors' release of May 2019. Deviation: see
    `select_tokens` for how 15 % is rounded; the published script draws replacements from the special tokens too.

    Raises: InputError if a probability is out of range, or there is nothing to replace with.

    >>> ids, everything = torch.tensor([[7, 8]]), torch.tensor([[True, True]])
    >>> mask_tokens(ids, everything, 4, torch.tensor([9]), probability=1.0, mask_share=1.0, random_share=0.0)
    (tensor([[4, 4]]), tensor([[7, 8]]))
    """
    draws = draw(maskable, len(replacements), generator)
    shares = (probability, mask_share, random_share)
    return mask_as_drawn(input_ids, maskable, mask_token_id, replacements, draws, *shares, continues_word)


def mask_as_drawn(
    input_ids: Int[Tensor, "B L"],
    maskable: Bool[Tensor, "B L"],
    mask_token_id: int,
    replacements: Int[Tensor, " V"],
    draws: "Draws",
    probability: float = 0.15,
    mask_share: float = 0.8,
    random_share: float = 0.1,
    continues_word: Bool[Tensor, "B L"] | None = None,
) -> tuple[Int[Tensor, "B L"], Int[Tensor, "B L"]]:
    """Mask as `mask_tokens` does, with what chance decides drawn already.

    Raises: InputError if a probability is out of range, or there is nothing to replace with.
    """
    check_shares(probability, mask_share, random_share)
    if random_share and not len(replacements):
        raise InputError("replacements is empty, and random_share needs tokens to draw from; give the non-special ids")
    selected = select_as_drawn(maskable, draws.order, draws.rounding, probability, continues_word)
    labels = torch.where(selected, input_ids, IGNORED)
    masked_ids = torch.where(selected & (draws.fate < mask_share), mask_token_id, input_ids)
    if random_share:
        is_random = selected & (draws.fate >= mask_share) & (draws.fate < mask_share + random_share)
        replacement = replacements.to(input_ids).index_select(0, draws.replacement.flatten()).view_as(input_ids)
        masked_ids = torch.where(is_random, replacement, masked_ids)
    return masked_ids, labels


def select_tokens(
    maskable: Bool[Tensor, "B L"],
    probability: float = 0.15,
    continues_word: Bool[Tensor, "B L"] | None = None,
    generator: torch.Generator | None = None,
) -> Bool[Tensor, "B L"]:
    """Select a share of the maskable tokens of each row, without replacement, or of its whole words.

    Of n maskable tokens probability·n are selected, rounded up or down at random so that the mean is exact, and at
    least one if there is any. A fixed rounding, as published, would select 20 % of ten tokens; a coin for each token
    would select none in a fifth of such rows, and many in others. Each token has the same chance.

    >>> select_tokens(torch.ones(1, 20, dtype=torch.bool), probability=0.15).sum().item()
    3
    """
    order, rounding = draw_selection(maskable, generator)
    return select_as_drawn(maskable, order, rounding, probability, continues_word)


def select_as_drawn(
    maskable: Bool[Tensor, "B L"],
    order: Float64[Tensor, "B L"],
    rounding: Float64[Tensor, "B 1"],
    probability: float = 0.15,
    continues_word: Bool[Tensor, "B L"] | None = None,
) -> Bool[Tensor, "B L"]:
    """Select those that come first in the order drawn: as many as the share, rounded as drawn.

    >>> order, rounding = torch.tensor([[0.3, 0.1, 0.2]]).double(), torch.tensor([[0.5]]).double()
    >>> select_as_drawn(torch.tensor([[True, False, True]]), order, rounding, probability=0.5)
    tensor([[False, False,  True]])
    """
    if not maskable.numel():
        return maskable
    unit = token_units(maskable, continues_word)
    is_first_of_unit = maskable & (unit == torch.arange(maskable.shape[1], device=maskable.device))
    order = order.masked_fill(~is_first_of_unit, 2.0)
    # 15 % of 20, after rounding, is 3 and not 3.0000000000000004.
    wanted = (probability * is_first_of_unit.sum(dim=1, keepdim=True, dtype=torch.float64)).round(decimals=9)
    count = (wanted + 1 - rounding).floor().long().clamp(min=1)
    largest_selected = order.topk(int(count.max()), largest=False).values.gather(1, count - 1)
    unit_is_selected = is_first_of_unit & (order <= largest_selected)
    return torch.gather(unit_is_selected, 1, unit) & maskable


def token_units(maskable: Bool[Tensor, "B L"], continues_word: Bool[Tensor, "B L"] | None = None) -> Int[Tensor, "B L"]:
    """Number each token by the first of what is selected with it: itself, or its word.

    A word begins anew behind what may not be asked for, such as the [CLS] of a row that was cut inside a word.

    >>> token_units(torch.ones(1, 4, dtype=torch.bool), torch.tensor([[False, True, False, True]])).tolist()
    [[0, 0, 2, 2]]
    """
    position = torch.arange(maskable.shape[1], device=maskable.device).expand(maskable.shape)
    if continues_word is None:
        return position
    follows_its_word = continues_word & maskable.roll(1, dims=1) & (position > 0)
    return position.masked_fill(follows_its_word, 0).cummax(dim=1).values


class Draws(NamedTuple):
    """All that chance decides about the tokens of a batch, before anybody looks at what they are."""

    order: Float64[Tensor, "B L"]
    """The lowest are selected; in double precision two are never equal."""
    rounding: Float64[Tensor, "B 1"]
    """Whether the share of a row is rounded up or down."""
    fate: Real[Tensor, "B L"]
    """Hidden, replaced or kept."""
    replacement: Int[Tensor, "B L"]
    """Which of the replacements would stand there."""


def draw(maskable: Bool[Tensor, "B L"], n_replacements: int, generator: torch.Generator | None = None) -> Draws:
    """Draw for all tokens of a batch from one generator."""
    order, rounding = draw_selection(maskable, generator)
    fate = torch.rand(maskable.shape, generator=generator, device=maskable.device)
    replacement = torch.randint(max(1, n_replacements), maskable.shape, generator=generator, device=maskable.device)
    return Draws(order, rounding, fate, replacement)


def draw_selection(
    maskable: Bool[Tensor, "B L"], generator: torch.Generator | None = None
) -> tuple[Float64[Tensor, "B L"], Float64[Tensor, "B 1"]]:
    """Draw what decides which tokens are selected."""
    order, rounding = torch.rand(2, *maskable.shape, generator=generator, device=maskable.device, dtype=torch.float64)
    return order, rounding[:, :1]


def draw_by_seeds(
    maskable: Bool[Tensor, "B L"], n_replacements: int, seeds: UInt64[np.ndarray, " B"] | Int[np.ndarray, " B"]
) -> Draws:
    """Draw for each row from a seed of its own, by the places of the tokens among those that may be asked for.

    So what becomes of a row depends on its seed and itself alone, whatever it is padded with or stands beside.

    >>> alone = draw_by_seeds(torch.tensor([[True, True]]), 3, np.array([5]))
    >>> beside = draw_by_seeds(torch.tensor([[True, True, True], [False, True, True]]), 3, np.array([8, 5]))
    >>> torch.equal(beside.order[1, 1:], alone.order[0])
    True
    """
    place, row = maskable.cumsum(dim=1).cpu().numpy(), seeds[:, None]
    bits = hashed(row, 2, place)
    fate, share = (bits >> np.uint64(32)) * 2.0**-32, (bits % np.uint64(2**32)) * 2.0**-32
    drawn = (uniform(row, 0, place), uniform(row, 1), fate, (share * n_replacements).astype(np.int64))
    return Draws(*(torch.from_numpy(numbers).to(maskable.device) for numbers in drawn))


def check_shares(
    probability: float,
    mask_share: float,
    random_share: float,
    names: tuple[str, str, str] = ("probability", "mask_share", "random_share"),
) -> None:
    """Check that the probabilities are probabilities.

    Raises: InputError if one is not, under the name that the user knows it by.
    """
    if not 0 < probability <= 1:
        raise InputError(f"{names[0]}={probability} must lie above 0 and at most 1; BERT uses 0.15")
    if min(mask_share, random_share) < 0 or mask_share + random_share > 1 + 1e-9:
        raise InputError(
            f"{names[1]}={mask_share} and {names[2]}={random_share} must be at least 0 and together at most 1; "
            "BERT uses 0.8 and 0.1"
        )


def seed_of_row(row: Int[Tensor, " L"], seed: int) -> int:
    """Give a seed that depends only on a row's tokens and another one: the same text is always masked the same way.

    That is static masking: BERT masked its data once, before training. Source: Liu et al. 2019 (RoBERTa), §4.1.
    """
    return zlib.crc32(row.to(torch.int64).cpu().numpy().tobytes(), seed)
