"""Attention tile by tile: the same reading, with scores that are made, used and forgotten."""

import math
from collections.abc import Iterator

import numpy as np
from jaxtyping import Bool, Float

TILE = (2, 3)
"""Queries by keys: so few that small examples have several tiles."""


def tiled_attention(
    query: Float[np.ndarray, "... L K"],
    key: Float[np.ndarray, "... M K"],
    value: Float[np.ndarray, "... M E"],
    may_attend: Bool[np.ndarray, "..."] | None = None,
    scale: float | None = None,
    tile: tuple[int, int] = TILE,
) -> tuple[Float[np.ndarray, "... L E"], Float[np.ndarray, "... L 1"]]:
    """What each query reads, and the logarithm of its sum of exponentials.

    Equation eq:tiled-attention:
        O = o / ℓ, λ = m + ln ℓ, where (m, ℓ, o) goes from (−∞, 0, 0) through eq:online-softmax, one tile after another

    Source: Dao et al. 2022, Algorithm 1; Dao 2023, §3.1.1 for λ and for dividing once, at the end.

    >>> read, log_sum = tiled_attention(np.zeros((1, 2)), np.zeros((4, 2)), np.ones((4, 3)))
    >>> read.tolist(), np.exp(log_sum).round(9).tolist()
    ([[1.0, 1.0, 1.0]], [[4.0]])
    """
    d_v = value.shape[-1]
    read, log_sum = np.zeros((*query.shape[:-1], d_v)), np.zeros((*query.shape[:-1], 1))
    for rows in spans(query.shape[-2], tile[0]):
        asks = query[..., rows, :]
        state = (np.full((*asks.shape[:-1], 1), -np.inf), np.zeros((*asks.shape[:-1], 1)), 0.0 * read[..., rows, :])
        for columns in spans(key.shape[-2], tile[1]):
            score = tile_of_scores(query, key, may_attend, scale, rows, columns)
            state = online_softmax(*state, score, value[..., columns, :])
        largest, total, summed = state
        sees = total > 0
        read[..., rows, :] = np.divide(summed, total, where=sees, out=np.zeros_like(summed))
        log_sum[..., rows, :] = np.where(sees, largest + np.log(total, where=sees, out=np.zeros_like(total)), 0.0)
    return read, log_sum


def online_softmax(
    largest: Float[np.ndarray, "... L 1"],
    total: Float[np.ndarray, "... L 1"],
    read: Float[np.ndarray, "... L E"],
    score: Float[np.ndarray, "... L M"],
    value: Float[np.ndarray, "... M E"],
) -> tuple[Float[np.ndarray, "... L 1"], Float[np.ndarray, "... L 1"], Float[np.ndarray, "... L E"]]:
    """Read one more tile: the largest score so far, the sum of exponentials, and the sum of values under them.

    Equation eq:online-softmax:
        m′ = max(m, max s), ℓ′ = exp(m − m′) ℓ + Σⱼ exp(sⱼ − m′), o′ = exp(m − m′) o + Σⱼ exp(sⱼ − m′) vⱼ

    Source: Milakov and Gimelshein 2018, Algorithm 3 for m and ℓ; Dao et al. 2022, Algorithm 1, lines 10 to 12, for o.
    While a row has seen hidden keys only, m is −∞, about which they are silent: then 0 is subtracted.

    >>> seen = (np.array([[0.0]]), np.array([[1.0]]), np.array([[6.0]]))
    >>> [part.tolist() for part in online_softmax(*seen, score=np.array([[0.0]]), value=np.array([[9.0]]))]
    [[[0.0]], [[2.0]], [[15.0]]]
    """
    new_largest = np.maximum(largest, np.max(score, axis=-1, keepdims=True))
    subtracted = np.where(np.isinf(new_largest), 0.0, new_largest)
    mended, exponential = np.exp(largest - subtracted), np.exp(score - subtracted)
    new_total = mended * total + np.sum(exponential, axis=-1, keepdims=True)
    return new_largest, new_total, mended * read + exponential @ value


def tiled_attention_gradient(
    upstream: Float[np.ndarray, "... L E"],
    query: Float[np.ndarray, "... L K"],
    key: Float[np.ndarray, "... M K"],
    value: Float[np.ndarray, "... M E"],
    read: Float[np.ndarray, "... L E"],
    log_sum: Float[np.ndarray, "... L 1"],
    may_attend: Bool[np.ndarray, "..."] | None = None,
    scale: float | None = None,
    tile: tuple[int, int] = TILE,
) -> tuple[Float[np.ndarray, "... L K"], Float[np.ndarray, "... M K"], Float[np.ndarray, "... M E"]]:
    """What the loss gains per unit of each query, key and value, with every weight computed once more.

    Equation eq:tiled-attention-gradient:
        A = exp(S − λ), δ = Σₑ Oₑ ∂Oₑ, ∂V = Aᵀ ∂O, ∂S = A ∘ (∂O Vᵀ − δ), ∂Q = ∂S K / √d_k, ∂K = ∂Sᵀ Q / √d_k

    Source: Dao et al. 2022, Algorithm 4 and Appendix B.2, Eq. 4; Dao 2023, Algorithm 2.

    >>> one = np.ones((1, 1))
    >>> [gradient.item() for gradient in tiled_attention_gradient(one, one, one, one, read=one, log_sum=one)]
    [0.0, 0.0, 1.0]
    """
    factor = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
    delta = np.sum(read * upstream, axis=-1, keepdims=True)
    for_query, for_key, for_value = np.zeros(query.shape), np.zeros(key.shape), np.zeros(value.shape)
    for rows in spans(query.shape[-2], tile[0]):
        for columns in spans(key.shape[-2], tile[1]):
            score = tile_of_scores(query, key, may_attend, scale, rows, columns)
            weight = np.exp(score - log_sum[..., rows, :])
            for_weight = upstream[..., rows, :] @ value[..., columns, :].mT
            for_score = weight * (for_weight - delta[..., rows, :])
            for_value[..., columns, :] += weight.mT @ upstream[..., rows, :]
            for_query[..., rows, :] += factor * for_score @ key[..., columns, :]
            for_key[..., columns, :] += factor * for_score.mT @ query[..., rows, :]
    return for_query, for_key, for_value


def tile_of_scores(
    query: Float[np.ndarray, "... L K"],
    key: Float[np.ndarray, "... M K"],
    may_attend: Bool[np.ndarray, "..."] | None,
    scale: float | None,
    rows: slice,
    columns: slice,
) -> Float[np.ndarray, "... l m"]:
    """The scores of some queries and some keys, −∞ where a key is hidden.

    >>> one_tile = tile_of_scores(np.ones((2, 1)), np.ones((3, 1)), np.eye(2, 3) > 0, None, slice(0, 1), slice(0, 2))
    >>> one_tile.tolist()
    [[1.0, -inf]]
    """
    factor = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
    score = query[..., rows, :] @ key[..., columns, :].mT * factor
    visible = np.broadcast_to(True if may_attend is None else may_attend, (*query.shape[:-1], key.shape[-2]))
    return np.where(visible[..., rows, columns], score, -np.inf)


def spans(length: int, step: int) -> Iterator[slice]:
    """A length cut into steps, of which the last may be shorter.

    >>> list(spans(3, 2))
    [slice(0, 2, None), slice(2, 3, None)]
    """
    return (slice(start, min(start + step, length)) for start in range(0, length, step))
