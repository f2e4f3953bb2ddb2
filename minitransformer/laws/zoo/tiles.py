"""Mutants of attention by tiles: of the softmax that is carried on, of what is read with it, and of what goes back."""

# ruff: noqa: ARG001 - an argument that is never used is a classic mistake

import math
from collections.abc import Callable

import torch
from torch import Tensor

from minitransformer.laws.zoo.attention_weights import scaled_scores
from minitransformer.laws.zoo.mutant import mutant

Three = tuple[Tensor, Tensor, Tensor]


def finite(largest: Tensor) -> Tensor:
    """What is right in most mutants: 0 is subtracted from a row that has seen hidden keys only."""
    return largest.masked_fill(largest == -math.inf, 0.0)


def one_more_tile(largest: Tensor, score: Tensor, value: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """What is right in most mutants: the new maximum, the factor that mends, and the sums of the new tile alone."""
    new = torch.maximum(largest, score.amax(-1, keepdim=True))
    exponential = (score - finite(new)).exp()
    return new, (largest - finite(new)).exp(), exponential.sum(-1, keepdim=True), exponential @ value


# The softmax that is carried from tile to tile


@mutant("online-softmax", symptom="Right in one tile; longer texts read too much of their beginning.")
def reading_not_mended(largest: Tensor, total: Tensor, read: Tensor, score: Tensor, value: Tensor) -> Three:
    """What was read before stays as it is under a new maximum."""
    new, mended, more, more_read = one_more_tile(largest, score, value)
    return new, mended * total + more, read + more_read


@mutant("online-softmax", symptom="Right in one tile; over longer texts activations shrink.", difficulty="hard")
def sum_not_mended(largest: Tensor, total: Tensor, read: Tensor, score: Tensor, value: Tensor) -> Three:
    """The sum stays as it is under a new maximum."""
    new, mended, more, more_read = one_more_tile(largest, score, value)
    return new, total + more, mended * read + more_read


@mutant(
    "online-softmax", symptom="Right for small scores; inf and NaN once an early key stands out.", difficulty="hard"
)
def maximum_of_the_last_tile(largest: Tensor, total: Tensor, read: Tensor, score: Tensor, value: Tensor) -> Three:
    """The maximum is that of the new tile, whatever came before."""
    new = finite(score.amax(-1, keepdim=True))
    exponential, mended = (score - new).exp(), (largest - new).exp()
    return new, mended * total + exponential.sum(-1, keepdim=True), mended * read + exponential @ value


@mutant("online-softmax", symptom="Longer texts overflow at once.", difficulty="easy")
def mended_the_wrong_way_round(largest: Tensor, total: Tensor, read: Tensor, score: Tensor, value: Tensor) -> Three:
    """The factor is exp(m′ − m) in place of exp(m − m′)."""
    new, mended, more, more_read = one_more_tile(largest, score, value)
    inverse = torch.where(total > 0, 1 / mended, 0.0)
    return new, inverse * total + more, inverse * read + more_read


@mutant("online-softmax", symptom="The longer the text, the larger the activations.", difficulty="easy")
def sum_of_the_last_tile(largest: Tensor, total: Tensor, read: Tensor, score: Tensor, value: Tensor) -> Three:
    """The sum is that of the new tile alone, while what is read comes from all of them."""
    new, mended, more, more_read = one_more_tile(largest, score, value)
    return new, more + 0 * total, mended * read + more_read


@mutant("online-softmax", symptom="NaN as soon as a whole tile is padding, or lies in the future.")
def hidden_tiles_are_nan(largest: Tensor, total: Tensor, read: Tensor, score: Tensor, value: Tensor) -> Three:
    """The maximum of a row that has seen hidden keys only, −∞, is subtracted from −∞."""
    new = torch.maximum(largest, score.amax(-1, keepdim=True))
    exponential, mended = (score - new).exp(), (largest - new).exp()
    return new, mended * total + exponential.sum(-1, keepdim=True), mended * read + exponential @ value


@mutant(
    "online-softmax",
    symptom="Nothing, until all scores of a query fall below −100; then it reads nothing at all.",
    difficulty="hard",
)
def maximum_begins_at_zero(largest: Tensor, total: Tensor, read: Tensor, score: Tensor, value: Tensor) -> Three:
    """The maximum is never below 0, as if a score of 0 had been seen before the first tile."""
    new = torch.maximum(largest, score.amax(-1, keepdim=True)).clamp(min=0.0)
    exponential, mended = (score - new).exp(), (largest - new).exp()
    return new, mended * total + exponential.sum(-1, keepdim=True), mended * read + exponential @ value


@mutant("online-softmax", symptom="The last tile of a text is all that seems to matter.", difficulty="medium")
def divided_after_each_tile(largest: Tensor, total: Tensor, read: Tensor, score: Tensor, value: Tensor) -> Three:
    """What is read is divided by the sum after each tile, and not multiplied by it again before the next."""
    new, mended, more, more_read = one_more_tile(largest, score, value)
    new_total = mended * total + more
    return new, new_total, (mended * read + more_read) / new_total.clamp(min=1e-30)


@mutant("online-softmax", symptom="Fine for days, then NaN: one score grew beyond 88.", difficulty="easy")
def without_a_maximum(largest: Tensor, total: Tensor, read: Tensor, score: Tensor, value: Tensor) -> Three:
    """Exponentials are taken of the scores themselves, which overflow."""
    exponential = score.exp()
    return torch.zeros_like(largest), total + exponential.sum(-1, keepdim=True), read + exponential @ value


# What is read by tiles


def by_tiles(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    rule: Callable[[slice, slice], Tensor] | None,
    scale: float | None,
    tile: tuple[int, int],
    wide: torch.dtype | None = None,
) -> tuple[Tensor, Tensor]:
    """What is right in most mutants: every tile, under the part of the rule that it is given."""
    wide = torch.promote_types(query.dtype, torch.float32) if wide is None else wide
    reads, log_sums = [], []
    for start in range(0, query.shape[-2], tile[0]):
        rows = slice(start, start + tile[0])
        asks = query[..., rows, :].to(wide)
        largest = torch.full_like(asks[..., :1], -math.inf)
        total, read = torch.zeros_like(largest), torch.zeros_like(largest).expand(*asks.shape[:-1], value.shape[-1])
        for first in range(0, key.shape[-2], tile[1]):
            columns = slice(first, first + tile[1])
            score = scaled_scores(asks, key[..., columns, :].to(wide), scale)
            if rule is not None:
                score = score.masked_fill(~rule(rows, columns), -math.inf)
            new, mended, more, more_read = one_more_tile(largest, score, value[..., columns, :].to(wide))
            largest, total, read = new, mended * total + more, mended * read + more_read
        reads.append((read / total).masked_fill(total == 0, 0.0).to(query.dtype))
        log_sums.append((largest + total.log()).masked_fill(total == 0, 0.0))
    log_sum = torch.cat(log_sums, -2)
    return torch.cat(reads, -2), log_sum.to(torch.promote_types(log_sum.dtype, torch.float32))


def cut(may_attend: Tensor | None) -> Callable[[slice, slice], Tensor] | None:
    """What is right in most mutants: of a rule, the rows and columns of a tile."""
    return None if may_attend is None else lambda rows, columns: may_attend[..., rows, columns]


@mutant("tiled-attention", symptom="Right at lengths of 512 and 1,024; at others the last words are never read.")
def last_tile_dropped(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    may_attend: Tensor | None = None,
    scale: float | None = None,
    tile: tuple[int, int] = (512, 512),
) -> tuple[Tensor, Tensor]:
    """A last tile of keys that is not whole is dropped, unless it is the only one."""
    n_keys = max(key.shape[-2] // tile[1] * tile[1], min(tile[1], key.shape[-2]))
    may_attend = None if may_attend is None else may_attend[..., :n_keys]
    return by_tiles(query, key[..., :n_keys, :], value[..., :n_keys, :], cut(may_attend), scale, tile)


@mutant("tiled-attention", symptom="Padding in later tiles is read, and words that stand below padding are not.")
def columns_of_the_first_tile(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    may_attend: Tensor | None = None,
    scale: float | None = None,
    tile: tuple[int, int] = (512, 512),
) -> tuple[Tensor, Tensor]:
    """Every tile of keys has the rule of the first one."""
    if may_attend is None:
        return by_tiles(query, key, value, None, scale, tile)
    return by_tiles(
        query,
        key,
        value,
        lambda rows, columns: may_attend[..., rows, : len(range(key.shape[-2])[columns])],
        scale,
        tile,
    )


@mutant(
    "tiled-attention", symptom="Beyond the first 512 words a decoder sees the future, or nothing.", difficulty="hard"
)
def rows_of_the_first_tile(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    may_attend: Tensor | None = None,
    scale: float | None = None,
    tile: tuple[int, int] = (512, 512),
) -> tuple[Tensor, Tensor]:
    """Every tile of queries has the rule of the first one."""
    if may_attend is None:
        return by_tiles(query, key, value, None, scale, tile)
    return by_tiles(
        query,
        key,
        value,
        lambda rows, columns: may_attend[..., : len(range(query.shape[-2])[rows]), columns],
        scale,
        tile,
    )


@mutant("tiled-attention", symptom="A word among few, in a last short tile, counts as much as hundreds of others.")
def mean_of_the_tiles(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    may_attend: Tensor | None = None,
    scale: float | None = None,
    tile: tuple[int, int] = (512, 512),
) -> tuple[Tensor, Tensor]:
    """Each tile of keys is read on its own, and the mean of all is taken."""
    _, log_sum = by_tiles(query, key, value, cut(may_attend), scale, tile)
    reads = []
    for first in range(0, key.shape[-2], tile[1]):
        columns = slice(first, first + tile[1])
        part = None if may_attend is None else may_attend[..., columns]
        reads.append(by_tiles(query, key[..., columns, :], value[..., columns, :], cut(part), scale, tile)[0])
    return torch.stack(reads).mean(0), log_sum


@mutant(
    "tiled-attention", symptom="What is read is right; gradients explode or vanish with the scores.", difficulty="hard"
)
def maximum_left_out_of_the_logarithm(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    may_attend: Tensor | None = None,
    scale: float | None = None,
    tile: tuple[int, int] = (512, 512),
) -> tuple[Tensor, Tensor]:
    """The logarithm is that of the sum under the maximum, which is not added."""
    read, log_sum = by_tiles(query, key, value, cut(may_attend), scale, tile)
    score = scaled_scores(query, key, scale)
    visible = score if may_attend is None else score.masked_fill(~may_attend, -math.inf)
    return read, log_sum - finite(visible.amax(-1, keepdim=True))


@mutant("tiled-attention", symptom="NaN in the rows of examples that are padding only.", difficulty="easy")
def nothing_divided_by_nothing(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    may_attend: Tensor | None = None,
    scale: float | None = None,
    tile: tuple[int, int] = (512, 512),
) -> tuple[Tensor, Tensor]:
    """What a query that sees nothing reads is divided by its sum, which is 0."""
    read, log_sum = by_tiles(query, key, value, cut(may_attend), scale, tile)
    return (read if may_attend is None else read.masked_fill(~may_attend.any(-1, keepdim=True), math.nan)), log_sum


@mutant("tiled-attention", symptom="What is read is right; the first backward pass is NaN where a row is padding only.")
def logarithm_of_an_empty_sum(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    may_attend: Tensor | None = None,
    scale: float | None = None,
    tile: tuple[int, int] = (512, 512),
) -> tuple[Tensor, Tensor]:
    """The logarithm of a query that sees nothing is −∞."""
    read, log_sum = by_tiles(query, key, value, cut(may_attend), scale, tile)
    return read, (log_sum if may_attend is None else log_sum.masked_fill(~may_attend.any(-1, keepdim=True), -math.inf))


@mutant("tiled-attention", symptom="Attention is far too flat, the more so the wider the heads.", difficulty="easy")
def scaled_in_the_tile_once_more(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    may_attend: Tensor | None = None,
    scale: float | None = None,
    tile: tuple[int, int] = (512, 512),
) -> tuple[Tensor, Tensor]:
    """Queries are scaled when a tile is cut, and its scores are scaled again."""
    factor = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
    return by_tiles(query * factor, key, value, cut(may_attend), factor, tile)


@mutant("tiled-attention", symptom="Right in float32; in bfloat16 long texts are read in part only.", difficulty="hard")
def carried_in_the_type_of_the_values(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    may_attend: Tensor | None = None,
    scale: float | None = None,
    tile: tuple[int, int] = (512, 512),
) -> tuple[Tensor, Tensor]:
    """What is carried from tile to tile has the type of the values, and its sums stop growing in bfloat16."""
    return by_tiles(query, key, value, cut(may_attend), scale, tile, wide=query.dtype)


# What goes back by tiles


def weights_again(
    query: Tensor, key: Tensor, log_sum: Tensor, may_attend: Tensor | None, scale: float | None
) -> Tensor:
    """What is right in most mutants: every weight, from its score and the logarithm of the sum."""
    score = scaled_scores(query, key, scale)
    return ((score if may_attend is None else score.masked_fill(~may_attend, -math.inf)) - log_sum).exp()


def through_scores(for_score: Tensor, query: Tensor, key: Tensor, scale: float | None) -> tuple[Tensor, Tensor]:
    """What is right in most mutants: from the scores back to queries and keys."""
    factor = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
    return factor * for_score @ key, factor * for_score.mT @ query


@mutant("tiled-attention-gradient", symptom="The model trains, badly: attention only ever sharpens.")
def delta_left_out(
    upstream: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    read: Tensor,
    log_sum: Tensor,
    may_attend: Tensor | None = None,
    scale: float | None = None,
    tile: tuple[int, int] = (512, 512),
) -> Three:
    """The gradient of a score is the weight times its gradient, as if no weight lost what another gains."""
    weight = weights_again(query, key, log_sum, may_attend, scale)
    return *through_scores(weight * (upstream @ value.mT), query, key, scale), weight.mT @ upstream


@mutant("tiled-attention-gradient", symptom="Right up to 512 keys; beyond, each tile learns as if it were alone.")
def delta_of_one_tile(
    upstream: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    read: Tensor,
    log_sum: Tensor,
    may_attend: Tensor | None = None,
    scale: float | None = None,
    tile: tuple[int, int] = (512, 512),
) -> Three:
    """δ is summed up over the keys of each tile, where all keys are meant."""
    weight = weights_again(query, key, log_sum, may_attend, scale)
    for_weight = upstream @ value.mT
    deltas = [part.sum(-1, keepdim=True).expand_as(part) for part in torch.split(weight * for_weight, tile[1], -1)]
    for_score = weight * (for_weight - torch.cat(deltas, -1))
    return *through_scores(for_score, query, key, scale), weight.mT @ upstream


@mutant("tiled-attention-gradient", symptom="Gradients grow with the length, until they are clipped at each step.")
def weights_not_divided(
    upstream: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    read: Tensor,
    log_sum: Tensor,
    may_attend: Tensor | None = None,
    scale: float | None = None,
    tile: tuple[int, int] = (512, 512),
) -> Three:
    """Weights are computed again under the maximum alone, and not divided by the sum."""
    score = scaled_scores(query, key, scale)
    score = score if may_attend is None else score.masked_fill(~may_attend, -math.inf)
    weight = (score - finite(score.amax(-1, keepdim=True))).exp()
    delta = (read * upstream).sum(-1, keepdim=True)
    for_score = weight * (upstream @ value.mT - delta)
    return *through_scores(for_score, query, key, scale), weight.mT @ upstream


@mutant(
    "tiled-attention-gradient",
    symptom="Trains; keys move too fast, the more so the wider the heads.",
    difficulty="hard",
)
def keys_passed_back_without_the_scale(
    upstream: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    read: Tensor,
    log_sum: Tensor,
    may_attend: Tensor | None = None,
    scale: float | None = None,
    tile: tuple[int, int] = (512, 512),
) -> Three:
    """What goes back to the keys is not multiplied by the scale."""
    weight = weights_again(query, key, log_sum, may_attend, scale)
    for_score = weight * (upstream @ value.mT - (read * upstream).sum(-1, keepdim=True))
    return through_scores(for_score, query, key, scale)[0], for_score.mT @ query, weight.mT @ upstream


@mutant("tiled-attention-gradient", symptom="What is read is right; padding and the future learn, and teach.")
def not_hidden_on_the_way_back(
    upstream: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    read: Tensor,
    log_sum: Tensor,
    may_attend: Tensor | None = None,
    scale: float | None = None,
    tile: tuple[int, int] = (512, 512),
) -> Three:
    """The rule is forgotten where the weights are computed again."""
    weight = weights_again(query, key, log_sum, None, scale)
    for_score = weight * (upstream @ value.mT - (read * upstream).sum(-1, keepdim=True))
    return *through_scores(for_score, query, key, scale), weight.mT @ upstream


@mutant("tiled-attention-gradient", symptom="Right up to 512 queries; beyond, keys learn from the last ones only.")
def replaced_by_the_last_tile(
    upstream: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    read: Tensor,
    log_sum: Tensor,
    may_attend: Tensor | None = None,
    scale: float | None = None,
    tile: tuple[int, int] = (512, 512),
) -> Three:
    """What the last tile of queries passes back to the keys replaces what the others did, and is not added."""
    weight = weights_again(query, key, log_sum, may_attend, scale)
    for_score = weight * (upstream @ value.mT - (read * upstream).sum(-1, keepdim=True))
    last = slice((query.shape[-2] - 1) // tile[0] * tile[0], None)
    _, for_key = through_scores(for_score[..., last, :], query[..., last, :], key, scale)
    return through_scores(for_score, query, key, scale)[0], for_key, weight.mT @ upstream


@mutant("tiled-attention-gradient", symptom="NaN in every gradient once a row is padding only.", difficulty="medium")
def logarithm_taken_again_of_an_empty_sum(
    upstream: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    read: Tensor,
    log_sum: Tensor,
    may_attend: Tensor | None = None,
    scale: float | None = None,
    tile: tuple[int, int] = (512, 512),
) -> Three:
    """The logarithm is taken again, and is −∞ for a query that sees nothing."""
    score = scaled_scores(query, key, scale)
    score = score if may_attend is None else score.masked_fill(~may_attend, -math.inf)
    weight = (score - score.logsumexp(-1, keepdim=True)).exp()
    for_score = weight * (upstream @ value.mT - (read * upstream).sum(-1, keepdim=True))
    return *through_scores(for_score, query, key, scale), weight.mT @ upstream
