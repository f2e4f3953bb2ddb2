"""Attention tile by tile: what is read is the same, and the matrix of all queries by all keys is never held.

With L queries and M keys the scores are L · M numbers, and the way back needs them again: at length 16,384 one head
has a gigabyte of them. But no score is wanted for its own sake. A softmax needs the largest of a row and a sum over it,
and both can be carried from one tile of keys to the next (`online_softmax`). So a tile of scores is made, used and
forgotten (`tiled_attention`). Of each query is kept what it read and one number, the logarithm of its sum; on the way
back these give every weight anew, again tile by tile (`tiled_attention_gradient`). What is held grows with L + M. What
is computed is that of the equation, and the scores once more.

Source: Milakov and Gimelshein 2018 for the softmax; Rabe and Staats 2021 for attention in linear memory; Dao et al.
2022 (FlashAttention) for the tiles and the way back; Dao 2023 for the logarithm of the sum.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from minitransformer.errors import InputError
from minitransformer.visibility import require_boolean

TILE = (512, 512)
"""Queries by keys. On CPUs 256 to 1,024 of each are about as fast; smaller ones lose time between the operations,
larger ones leave the processor's caches."""

Place = tuple[int | slice, ...]


def scaled_dot_product_attention(
    query: Float[Tensor, "... L K"],
    key: Float[Tensor, "... M K"],
    value: Float[Tensor, "... M E"],
    may_attend: Bool[Tensor, "..."] | None = None,
    scale: float | None = None,
    dropout_rate: float = 0.0,
) -> Float[Tensor, "... L E"]:
    """Tiled twin of `attention.scaled_dot_product_attention`.

    Raises: InputError for a visibility that is not boolean, and for a rate outside [0, 1).

    >>> values = torch.tensor([[1.0], [3.0]])
    >>> scaled_dot_product_attention(torch.zeros(1, 2), torch.zeros(2, 2), values).tolist()
    [[2.0]]
    """
    return read_by_tiles(query, key, value, may_attend, scale, dropout_rate)


def read_by_tiles(
    query: Float[Tensor, "... L K"],
    key: Float[Tensor, "... M K"],
    value: Float[Tensor, "... M E"],
    may_attend: Bool[Tensor, "..."] | None = None,
    scale: float | None = None,
    dropout_rate: float = 0.0,
    causal: bool = False,
    tile: tuple[int, int] = TILE,
) -> Float[Tensor, "... L E"]:
    """The same with tiles of one's own; `causal` hides the future without a matrix that says so.

    >>> read_by_tiles(torch.zeros(2, 1), torch.zeros(2, 1), torch.tensor([[1.0], [3.0]]), causal=True).tolist()
    [[1.0], [2.0]]
    """
    require_boolean(may_attend)
    if not 0 <= dropout_rate < 1:
        raise InputError(f"dropout_rate={dropout_rate} must be at least 0 and below 1; 0.1 is usual")
    seed = int(torch.randint(2**62, ())) if dropout_rate else 0
    shapes = (*(x.shape[:-2] for x in (query, key, value)), rule_shape(may_attend)[:-2])
    leading = torch.broadcast_shapes(*shapes)  # type: ignore[no-untyped-call]
    inputs = (x.expand(*leading, *x.shape[-2:]) for x in (query, key, value))
    return TiledAttention.apply(*inputs, may_attend, scale, tile, causal, dropout_rate, seed)  # type: ignore[no-any-return, no-untyped-call]


class TiledAttention(torch.autograd.Function):
    """What goes forward, and what goes back, as autograd takes them."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, may_attend: Tensor | None, *how: Any) -> Tensor:
        """Read, and keep what the way back needs: nothing of the size of the matrix."""
        with torch.autocast(query.device.type, enabled=False):  # which would take the sums back to 16 bits
            read, log_sum = tiled_attention(query, key, value, may_attend, *how)
        ctx.save_for_backward(query, key, value, read, log_sum, may_attend)
        ctx.how = how
        return read

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        """Pass back to queries, keys and values."""
        query, key, value, read, log_sum, may_attend = ctx.saved_tensors
        with torch.autocast(query.device.type, enabled=False):
            gradients = tiled_attention_gradient(upstream, query, key, value, read, log_sum, may_attend, *ctx.how)
        return *gradients, None, *(None for _ in ctx.how)


def tiled_attention(
    query: Float[Tensor, "... L K"],
    key: Float[Tensor, "... M K"],
    value: Float[Tensor, "... M E"],
    may_attend: Bool[Tensor, "..."] | None = None,
    scale: float | None = None,
    tile: tuple[int, int] = TILE,
    causal: bool = False,
    dropout_rate: float = 0.0,
    seed: int = 0,
) -> tuple[Float[Tensor, "... L E"], Float[Tensor, "... L 1"]]:
    """What each query reads, and the logarithm of its sum of exponentials.

    Equation eq:tiled-attention:
        O = o / ℓ, λ = m + ln ℓ, where (m, ℓ, o) goes from (−∞, 0, 0) through eq:online-softmax, one tile after another

    The order of the tiles doesn't matter, nor does their size. A query that may read nothing has ℓ = 0: it reads 0, and
    its λ is set to 0, which is as good as any other number.

    Source: Dao et al. 2022, Algorithm 1; Dao 2023, §3.1.1 for λ and for dividing once, at the end.

    >>> read, log_sum = tiled_attention(torch.zeros(1, 2), torch.zeros(4, 2), torch.ones(4, 3), tile=(1, 3))
    >>> read.tolist(), log_sum.exp().tolist()
    ([[1.0, 1.0, 1.0]], [[4.0]])
    """
    wide = torch.promote_types(query.dtype, torch.float32)
    largest = query.new_full((*query.shape[:-1], 1), -math.inf, dtype=wide)
    total = torch.zeros_like(largest)
    read = query.new_zeros((*query.shape[:-1], value.shape[-1]), dtype=wide)
    for part in tiles(query, key, value, may_attend, scale, tile, causal, dropout_rate, seed):
        at = part.queries
        largest[at], total[at], read[at] = online_softmax(
            largest[at], total[at], read[at], part.score, part.value, part.kept
        )
    sees_nothing = total == 0
    log_sum = (largest + total.log()).masked_fill(sees_nothing, 0.0)
    return read.div_(total.masked_fill(sees_nothing, 1.0)).to(query.dtype), log_sum


def online_softmax(
    largest: Float[Tensor, "... L 1"],
    total: Float[Tensor, "... L 1"],
    read: Float[Tensor, "... L E"],
    score: Float[Tensor, "... L M"],
    value: Float[Tensor, "... M E"],
    kept: Float[Tensor, "... L M"] | None = None,
) -> tuple[Float[Tensor, "... L 1"], Float[Tensor, "... L 1"], Float[Tensor, "... L E"]]:
    """Read one more tile: the largest score so far, the sum of exponentials, and the sum of values under them.

    Equation eq:online-softmax:
        m′ = max(m, max s), ℓ′ = exp(m − m′) ℓ + Σⱼ exp(sⱼ − m′), o′ = exp(m − m′) o + Σⱼ exp(sⱼ − m′) vⱼ

    All exponentials so far were taken under the old maximum m. Where the new tile has a larger one, they are all too
    large by the same factor, and one product mends them. Dropout multiplies what is read by `kept`, and not the sum.

    Source: Milakov and Gimelshein 2018, Algorithm 3 for m and ℓ; Dao et al. 2022, Algorithm 1, lines 10 to 12, for o.
    While a row has seen hidden keys only, m is −∞, about which they are silent: then 0 is subtracted.

    >>> seen = (torch.tensor([[0.0]]), torch.tensor([[1.0]]), torch.tensor([[6.0]]))  # one key with score 0 and value 6
    >>> online_softmax(*seen, score=torch.tensor([[math.log(2)]]), value=torch.tensor([[9.0]]))[1:]
    (tensor([[1.5000]]), tensor([[12.]]))
    """
    new_largest = torch.maximum(largest, score.amax(dim=-1, keepdim=True))
    subtracted = new_largest.masked_fill(new_largest == -math.inf, 0.0)
    mended = (largest - subtracted).exp()
    exponential = (score - subtracted).exp_()
    new_total = mended * total + exponential.sum(dim=-1, keepdim=True)
    return new_largest, new_total, mended * read + (exponential if kept is None else exponential * kept) @ value


def tiled_attention_gradient(
    upstream: Float[Tensor, "... L E"],
    query: Float[Tensor, "... L K"],
    key: Float[Tensor, "... M K"],
    value: Float[Tensor, "... M E"],
    read: Float[Tensor, "... L E"],
    log_sum: Float[Tensor, "... L 1"],
    may_attend: Bool[Tensor, "..."] | None = None,
    scale: float | None = None,
    tile: tuple[int, int] = TILE,
    causal: bool = False,
    dropout_rate: float = 0.0,
    seed: int = 0,
) -> tuple[Float[Tensor, "... L K"], Float[Tensor, "... M K"], Float[Tensor, "... M E"]]:
    """What the loss gains per unit of each query, key and value, with every weight computed once more.

    Equation eq:tiled-attention-gradient:
        A = exp(S − λ), δ = Σₑ Oₑ ∂Oₑ, ∂V = Aᵀ ∂O, ∂S = A ∘ (∂O Vᵀ − δ), ∂Q = ∂S K / √d_k, ∂K = ∂Sᵀ Q / √d_k

    The softmax passes back A ∘ (∂A − Σⱼ Aⱼ ∂Aⱼ), and that sum runs over all keys, where a tile has only some. But
    ∂Aⱼ = ∂O · vⱼ, so Σⱼ Aⱼ ∂Aⱼ = ∂O · Σⱼ Aⱼ vⱼ = ∂O · O, which is known from the start: δ. With it no tile needs
    another. Dropout multiplies weights and ∂A by what was kept, and leaves δ as it is.

    Source: Dao et al. 2022, Algorithm 4 and Appendix B.2, Eq. 4; Dao 2023, Algorithm 2.

    >>> one = torch.ones(1, 1)
    >>> [gradient.item() for gradient in tiled_attention_gradient(one, one, one, one, read=one, log_sum=one)]
    [0.0, 0.0, 1.0]
    """
    wide = log_sum.dtype
    for_query, for_key, for_value = (torch.zeros_like(x, dtype=wide) for x in (query, key, value))
    for part in tiles(query, key, value, may_attend, scale, tile, causal, dropout_rate, seed):
        of_queries, of_keys = part.queries, part.keys
        for_read = upstream[of_queries].to(wide)
        delta = (read[of_queries].to(wide) * for_read).sum(dim=-1, keepdim=True)
        weight = (part.score - log_sum[of_queries]).exp_()
        for_weight = for_read @ part.value.mT
        kept_weight = weight
        if part.kept is not None:
            kept_weight, for_weight = weight * part.kept, for_weight * part.kept
        for_score = (for_weight - delta).mul_(weight)
        for_value[of_keys] += kept_weight.mT @ for_read
        for_query[of_queries] += for_score @ part.key
        for_key[of_keys] += for_score.mT @ part.query
    for_query *= scale_of(query, scale)
    return for_query.to(query.dtype), for_key.to(key.dtype), for_value.to(value.dtype)


@dataclass(frozen=True)
class Tile:
    """Some queries by some keys."""

    queries: Place
    """Where the queries stand."""
    keys: Place
    """Where the keys stand, and their values."""
    query: Float[Tensor, "... L K"]
    """The queries, times the scale."""
    key: Float[Tensor, "... M K"]
    value: Float[Tensor, "... M E"]
    score: Float[Tensor, "... L M"]
    """−∞ where a key is hidden."""
    kept: Float[Tensor, "... L M"] | None
    """What dropout multiplies each weight by, if there is dropout."""


def tiles(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    may_attend: Tensor | None,
    scale: float | None,
    tile: tuple[int, int],
    causal: bool,
    dropout_rate: float,
    seed: int,
) -> Iterator[Tile]:
    """Every tile in which something may be read, one after another; the same ones, with the same draws, each time."""
    wide, factor = torch.promote_types(query.dtype, torch.float32), scale_of(query, scale)
    drawn = torch.Generator(query.device).manual_seed(seed)
    for queries, keys in places(query.shape, key.shape[-2], tile):
        rule = rule_of(may_attend, causal, queries, keys, query.device)
        if rule is not None and not rule.any():
            continue
        asks, answers, read = query[queries].to(wide) * factor, key[keys].to(wide), value[keys].to(wide)
        if rule is not None:
            # A weight of 0 does not silence inf or NaN: what no query of the tile may read is not there at all.
            unseen = ~rule.any(dim=-2)[..., None]
            answers, read = answers.masked_fill(unseen, 0.0), read.masked_fill(unseen, 0.0)
        score = asks @ answers.mT
        if rule is not None:
            score.masked_fill_(~rule, -math.inf)
        kept = None
        if dropout_rate:
            draw = torch.rand(score.shape, generator=drawn, device=score.device)
            kept = (draw >= dropout_rate).to(wide) / (1 - dropout_rate)
        yield Tile(queries, keys, asks, answers, read, score, kept)


def places(shape: torch.Size, n_keys: int, tile: tuple[int, int]) -> Iterator[tuple[Place, Place]]:
    """Where the queries and the keys of each tile stand.

    Short sequences make small tiles, so several examples or heads, along the last leading axis, share one.

    >>> [(queries[0].start, keys[0].start) for queries, keys in places(torch.Size([3, 5]), n_keys=4, tile=(2, 4))]
    [(0, 0), (2, 0)]
    """
    *leading, n_queries, _ = shape
    at_once = max(1, math.prod(tile) // max(1, min(tile[0], n_queries) * min(tile[1], n_keys)))
    steps: list[list[Any]] = [list(range(size)) for size in leading[:-1]]
    steps += [spans(leading[-1], at_once)] if leading else []
    for *which, rows, columns in product(*steps, spans(n_queries, tile[0]), spans(n_keys, tile[1])):
        yield (*which, rows), (*which, columns)


def spans(length: int, step: int) -> list[slice]:
    """A length cut into steps, of which the last may be shorter.

    >>> spans(5, 2)
    [slice(0, 2, None), slice(2, 4, None), slice(4, 5, None)]
    """
    return [slice(start, min(start + step, length)) for start in range(0, length, step)]


def rule_of(
    may_attend: Tensor | None, causal: bool, queries: Place, keys: Place, device: torch.device
) -> Bool[Tensor, "..."] | None:
    """Who may attend to whom within a tile: its part of the rule, which is never spread out, and of the past."""
    rule = None
    if may_attend is not None:
        whole = may_attend.reshape(rule_shape(may_attend, len(queries) + 1))
        rule = whole[tuple(map(within, whole.shape, (*queries, keys[-1])))]
    if not causal:
        return rule
    position, of_key = (torch.arange(at[-1].start, at[-1].stop, device=device) for at in (queries, keys))  # type: ignore[union-attr]
    past = of_key <= position[:, None]
    return past if rule is None else rule & past


def within(size: int, place: int | slice) -> int | slice:
    """A place along an axis; all of it, where the axis has a size of 1 and stands for every place.

    >>> within(8, slice(2, 4)), within(1, slice(2, 4)), within(1, 5)
    (slice(2, 4, None), slice(None, None, None), 0)
    """
    if size > 1:
        return place
    return slice(None) if isinstance(place, slice) else 0


def rule_shape(may_attend: Tensor | None, n_axes: int = 2) -> tuple[int, ...]:
    """The shape of a rule with as many axes at least, which broadcasts alike.

    >>> rule_shape(torch.ones(7), 3), rule_shape(None)
    ((1, 1, 7), (1, 1))
    """
    shape = () if may_attend is None else tuple(may_attend.shape)
    return (1,) * (n_axes - len(shape)) + shape


def scale_of(query: Tensor, scale: float | None) -> float:
    """What a score is multiplied by.

    >>> scale_of(torch.zeros(1, 4), None), scale_of(torch.zeros(1, 4), 0.3)
    (0.5, 0.3)
    """
    return 1 / math.sqrt(query.shape[-1]) if scale is None else scale
