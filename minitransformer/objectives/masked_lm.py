"""Masked language modelling: hide some words, and ask for them back."""

import zlib
from collections.abc import Sequence

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from minitransformer.errors import InputError

IGNORED = -100


def maskable_tokens(
    input_ids: Int[Tensor, "B L"], special_ids: Sequence[int], attention_mask: Int[Tensor, "B L"] | None = None
) -> Bool[Tensor, "B L"]:
    """Say which tokens may be asked for: all but special tokens, [UNK] among them, and padding.

    >>> maskable_tokens(torch.tensor([[2, 7, 8, 3]]), special_ids=(0, 1, 2, 3, 4)).tolist()
    [[False, True, True, False]]
    """
    maskable = torch.isin(input_ids, torch.tensor(special_ids, device=input_ids.device), invert=True)
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
    check_shares(probability, mask_share, random_share)
    if random_share and not len(replacements):
        raise InputError("replacements is empty, and random_share needs tokens to draw from; give the non-special ids")
    selected = select_tokens(maskable, probability, continues_word, generator)
    labels = torch.where(selected, input_ids, IGNORED)
    fate = torch.rand(input_ids.shape, generator=generator, device=input_ids.device)
    masked_ids = torch.where(selected & (fate < mask_share), mask_token_id, input_ids)
    if random_share:
        drawn = torch.randint(len(replacements), input_ids.shape, generator=generator, device=input_ids.device)
        is_random = selected & (fate >= mask_share) & (fate < mask_share + random_share)
        replacement = replacements.to(input_ids).index_select(0, drawn.flatten()).view_as(input_ids)
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
    unit = token_units(maskable, continues_word)
    unit_is_maskable = torch.zeros_like(maskable).scatter_reduce(1, unit, maskable, reduce="amax")
    # In double precision two draws are never equal, and 15 % of 20, after rounding, is 3 and not 3.0000000000000004.
    draws, rounding = torch.rand(2, *maskable.shape, generator=generator, device=maskable.device, dtype=torch.float64)
    draws = draws.masked_fill(~unit_is_maskable, 2.0)
    wanted = (probability * unit_is_maskable.sum(dim=1, keepdim=True, dtype=torch.float64)).round(decimals=9)
    count = (wanted + 1 - rounding[:, :1]).floor().long().clamp(min=1)
    largest_selected = draws.sort(dim=1).values.gather(1, count - 1)
    unit_is_selected = unit_is_maskable & (draws <= largest_selected)
    return torch.gather(unit_is_selected, 1, unit) & maskable


def token_units(maskable: Bool[Tensor, "B L"], continues_word: Bool[Tensor, "B L"] | None = None) -> Int[Tensor, "B L"]:
    """Number what is selected as one: each token, or each word with its continuing pieces.

    >>> token_units(torch.ones(1, 4, dtype=torch.bool), torch.tensor([[False, True, False, True]])).tolist()
    [[0, 0, 1, 1]]
    """
    if continues_word is None:
        return torch.arange(maskable.shape[1], device=maskable.device).expand(maskable.shape)
    word = (~continues_word).cumsum(dim=1)
    return word - word[:, :1]  # from 0, even if the row was cut inside a word


def check_shares(probability: float, mask_share: float, random_share: float) -> None:
    """Check that the probabilities are probabilities.

    Raises: InputError if one is not.
    """
    if not 0 < probability <= 1:
        raise InputError(f"probability={probability} must lie above 0 and at most 1; BERT uses 0.15")
    if min(mask_share, random_share) < 0 or mask_share + random_share > 1 + 1e-9:
        raise InputError(
            f"mask_share={mask_share} and random_share={random_share} must be at least 0 and together at most 1; "
            "BERT uses 0.8 and 0.1"
        )


def row_generator(row: Int[Tensor, " L"], seed: int) -> torch.Generator:
    """Give a generator that depends only on a row's tokens and a seed: the same text is always masked the same way.

    That is static masking: BERT masked its data once, before training. Source: Liu et al. 2019 (RoBERTa), §4.1.
    """
    content = row.to(torch.int64).cpu().numpy().tobytes()
    # One number of 32 bits, because torch's generator looks at no more than these.
    return torch.Generator().manual_seed(zlib.crc32(content, seed))
