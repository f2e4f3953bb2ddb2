"""Attention tile by tile on a GPU: the algorithm of `kernels/tiled.py`, with one program for each tile.

There, PyTorch takes a step on every number of a tile before the next step begins, and each step goes through memory.
Here a program takes all steps on its own tile, which never leaves the processor that computes it. Programs run side by
side and share nothing, so the way back needs two kernels: of a tile of keys, one program adds up what all queries pass
back to it; of a tile of queries, another adds up what all keys do.

The kernels know two rules: a row of keys that may be read, the same for all queries of an example, such as padding; and
the past alone. They know no dropout, and float64 is not for them. What they don't know is left to `kernels/tiled.py`.

Source: as there; the parting of the way back in two is that of Tillet's tutorial on fused attention in Triton.
"""

import math
from typing import Any

import torch
import triton
import triton.language as tl
from jaxtyping import Bool, Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from minitransformer.errors import InputError
from minitransformer.kernels import tiled
from minitransformer.visibility import require_boolean

BLOCK = 64
"""Queries and keys of a tile."""
NARROWEST = 16
"""A GPU multiplies matrices of this width at least; narrower heads are filled up with zeros."""
WIDEST = 256
"""Wider heads don't fit beside each other into what a processor holds."""
INTERPRETED: tl.constexpr = tl.constexpr(triton.knobs.runtime.interpret)
"""Whether Triton's interpreter runs the kernels, on a CPU and slowly: `TRITON_INTERPRET=1` before it is imported."""


def scaled_dot_product_attention(
    query: Float[Tensor, "... L K"],
    key: Float[Tensor, "... M K"],
    value: Float[Tensor, "... M E"],
    may_attend: Bool[Tensor, "..."] | None = None,
    scale: float | None = None,
    dropout_rate: float = 0.0,
) -> Float[Tensor, "... L E"]:
    """Twin of `attention.scaled_dot_product_attention` for GPUs; what the kernels don't know is read by tiles.

    Raises: InputError for a visibility that is not boolean, and for tensors that are not on a GPU.
    """
    require_boolean(may_attend)
    is_known = not dropout_rate and (may_attend is None or may_attend.ndim < 2 or may_attend.shape[-2] == 1)
    if is_known and query.dtype != torch.float64 and max(query.shape[-1], value.shape[-1]) <= WIDEST:
        return read_on_gpu(query, key, value, may_attend, scale)
    return tiled.scaled_dot_product_attention(query, key, value, may_attend, scale, dropout_rate)


def read_on_gpu(
    query: Float[Tensor, "... L K"],
    key: Float[Tensor, "... M K"],
    value: Float[Tensor, "... M E"],
    may_attend: Bool[Tensor, "..."] | None = None,
    scale: float | None = None,
    causal: bool = False,
) -> Float[Tensor, "... L E"]:
    """The same for what the kernels know; `causal` hides the future without a matrix that says so.

    Raises: InputError for tensors that are not on a GPU.
    """
    if query.device.type != "cuda" and not INTERPRETED.value:
        raise InputError(
            f"query is on device={query.device.type!r}, and kind='triton' computes on GPUs; "
            "move the model there, or use kernels.use('fused')"
        )
    rule = torch.ones((), dtype=torch.bool, device=query.device) if may_attend is None else may_attend
    rule = torch.atleast_2d(rule)[..., 0, :]
    leading = torch.broadcast_shapes(*(x.shape[:-2] for x in (query, key, value)), rule.shape[:-1])
    inputs = (x.expand(*leading, *x.shape[-2:]).flatten(0, -3) if leading else x[None] for x in (query, key, value))
    visible = None if may_attend is None else rule.expand(*leading, key.shape[-2]).reshape(-1, key.shape[-2])
    factor = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
    read = TritonAttention.apply(*inputs, visible, factor, causal)
    return read.reshape(*leading, query.shape[-2], value.shape[-1])  # type: ignore[no-any-return]


class TritonAttention(torch.autograd.Function):
    """What goes forward, and what goes back, as autograd takes them: examples, rows and columns, without gaps."""

    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, visible: Tensor | None, scale: float, causal: bool
    ) -> Tensor:
        """Read, and keep what each query read and the logarithm of its sum of exponentials."""
        query, key, value = (x.contiguous() for x in (query, key, value))
        read = query.new_empty((*query.shape[:-1], value.shape[-1]))
        log_sum = query.new_empty(query.shape[:-1], dtype=torch.float32)
        of_queries = (triton.cdiv(query.shape[-2], BLOCK), len(query))
        read_kernel[of_queries](query, key, value, visible, read, log_sum, *sizes(query, key, value, scale, causal))
        ctx.save_for_backward(query, key, value, visible, read, log_sum)
        ctx.scale, ctx.causal = scale, causal
        return read

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        """Pass back to queries, keys and values."""
        query, key, value, visible, read, log_sum = ctx.saved_tensors
        upstream = upstream.contiguous()
        delta = (read.float() * upstream.float()).sum(dim=-1)
        for_query, for_key, for_value = (torch.empty_like(x) for x in (query, key, value))
        given = (query, key, value, visible, upstream, log_sum, delta)
        how = sizes(query, key, value, ctx.scale, ctx.causal)
        of_keys, of_queries = ((triton.cdiv(x.shape[-2], BLOCK), len(x)) for x in (key, query))
        keys_kernel[of_keys](*given, for_key, for_value, *how)
        queries_kernel[of_queries](*given, for_query, *how)
        return for_query, for_key, for_value, None, None, None


def sizes(query: Tensor, key: Tensor, value: Tensor, scale: float, causal: bool) -> tuple[Any, ...]:
    """What the kernels have to know beside the tensors, in their order."""
    d_k, d_v = query.shape[-1], value.shape[-1]
    widths = (max(NARROWEST, triton.next_power_of_2(width)) for width in (d_k, d_v))
    return (scale, query.shape[-2], key.shape[-2], d_k, d_v, *widths, causal, BLOCK)


@triton.jit
def read_kernel(
    query,
    key,
    value,
    visible,
    read,
    log_sum,
    scale,
    n_queries,
    n_keys,
    d_k,
    d_v,
    WIDTH_K: tl.constexpr,
    WIDTH_V: tl.constexpr,
    CAUSAL: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Read with one tile of queries: eq:tiled-attention, with eq:online-softmax as the body of its loop."""
    example, row = tl.program_id(1).to(tl.int64), tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    query_LK = load_rows(query, example, row, row < n_queries, n_queries, d_k, WIDTH_K)
    largest_L = tl.full([BLOCK], float("-inf"), tl.float32)
    total_L = tl.zeros([BLOCK], tl.float32)
    read_LE = tl.zeros([BLOCK, WIDTH_V], tl.float32)
    for start in range(0, end_of_past(tl.program_id(0), n_keys, CAUSAL, BLOCK), BLOCK):
        column = start + tl.arange(0, BLOCK)
        is_seen = seen_keys(visible, example, column, n_keys)
        key_MK = load_rows(key, example, column, is_seen, n_keys, d_k, WIDTH_K)
        value_ME = load_rows(value, example, column, is_seen, n_keys, d_v, WIDTH_V)
        score_LM = scores(query_LK, key_MK, scale, row, column, is_seen, CAUSAL)
        new_largest_L = tl.maximum(largest_L, tl.max(score_LM, 1))
        subtracted_L = tl.where(new_largest_L == float("-inf"), 0.0, new_largest_L)
        mended_L = tl.exp(largest_L - subtracted_L)
        exponential_LM = tl.exp(score_LM - subtracted_L[:, None])
        total_L = mended_L * total_L + tl.sum(exponential_LM, 1)
        read_LE = mended_L[:, None] * read_LE + product(exponential_LM.to(value_ME.dtype), value_ME)
        largest_L = new_largest_L
    sees_nothing = total_L == 0.0
    read_LE = read_LE / tl.where(sees_nothing, 1.0, total_L)[:, None]
    log_sum_L = tl.where(sees_nothing, 0.0, largest_L + tl.log(tl.where(sees_nothing, 1.0, total_L)))
    store_rows(read, read_LE, example, row, n_queries, d_v, WIDTH_V)
    tl.store(log_sum + example * n_queries + row, log_sum_L, mask=row < n_queries)


@triton.jit
def keys_kernel(
    query,
    key,
    value,
    visible,
    upstream,
    log_sum,
    delta,
    for_key,
    for_value,
    scale,
    n_queries,
    n_keys,
    d_k,
    d_v,
    WIDTH_K: tl.constexpr,
    WIDTH_V: tl.constexpr,
    CAUSAL: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Add up what all queries pass back to one tile of keys, and to its values: eq:tiled-attention-gradient."""
    example, column = tl.program_id(1).to(tl.int64), tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    is_seen = seen_keys(visible, example, column, n_keys)
    key_MK = load_rows(key, example, column, is_seen, n_keys, d_k, WIDTH_K)
    value_ME = load_rows(value, example, column, is_seen, n_keys, d_v, WIDTH_V)
    for_key_MK = tl.zeros([BLOCK, WIDTH_K], tl.float32)
    for_value_ME = tl.zeros([BLOCK, WIDTH_V], tl.float32)
    first = tl.program_id(0) * BLOCK if CAUSAL else 0  # earlier queries see none of these keys
    for start in range(first, n_queries, BLOCK):
        row = start + tl.arange(0, BLOCK)
        query_LK = load_rows(query, example, row, row < n_queries, n_queries, d_k, WIDTH_K)
        upstream_LE = load_rows(upstream, example, row, row < n_queries, n_queries, d_v, WIDTH_V)
        log_sum_L = tl.load(log_sum + example * n_queries + row, mask=row < n_queries, other=0.0)
        delta_L = tl.load(delta + example * n_queries + row, mask=row < n_queries, other=0.0)
        score_LM = scores(query_LK, key_MK, scale, row, column, is_seen, CAUSAL)
        weight_LM = tl.exp(score_LM - log_sum_L[:, None])
        for_weight_LM = product(upstream_LE, tl.trans(value_ME))
        for_score_LM = weight_LM * (for_weight_LM - delta_L[:, None])
        for_value_ME += product(tl.trans(weight_LM.to(upstream_LE.dtype)), upstream_LE)
        for_key_MK += product(tl.trans(for_score_LM.to(query_LK.dtype)), query_LK)
    store_rows(for_key, for_key_MK * scale, example, column, n_keys, d_k, WIDTH_K)
    store_rows(for_value, for_value_ME, example, column, n_keys, d_v, WIDTH_V)


@triton.jit
def queries_kernel(
    query,
    key,
    value,
    visible,
    upstream,
    log_sum,
    delta,
    for_query,
    scale,
    n_queries,
    n_keys,
    d_k,
    d_v,
    WIDTH_K: tl.constexpr,
    WIDTH_V: tl.constexpr,
    CAUSAL: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Add up what all keys pass back to one tile of queries: eq:tiled-attention-gradient."""
    example, row = tl.program_id(1).to(tl.int64), tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    query_LK = load_rows(query, example, row, row < n_queries, n_queries, d_k, WIDTH_K)
    upstream_LE = load_rows(upstream, example, row, row < n_queries, n_queries, d_v, WIDTH_V)
    log_sum_L = tl.load(log_sum + example * n_queries + row, mask=row < n_queries, other=0.0)
    delta_L = tl.load(delta + example * n_queries + row, mask=row < n_queries, other=0.0)
    for_query_LK = tl.zeros([BLOCK, WIDTH_K], tl.float32)
    for start in range(0, end_of_past(tl.program_id(0), n_keys, CAUSAL, BLOCK), BLOCK):
        column = start + tl.arange(0, BLOCK)
        is_seen = seen_keys(visible, example, column, n_keys)
        key_MK = load_rows(key, example, column, is_seen, n_keys, d_k, WIDTH_K)
        value_ME = load_rows(value, example, column, is_seen, n_keys, d_v, WIDTH_V)
        score_LM = scores(query_LK, key_MK, scale, row, column, is_seen, CAUSAL)
        weight_LM = tl.exp(score_LM - log_sum_L[:, None])
        for_weight_LM = product(upstream_LE, tl.trans(value_ME))
        for_score_LM = weight_LM * (for_weight_LM - delta_L[:, None])
        for_query_LK += product(for_score_LM.to(key_MK.dtype), key_MK)
    store_rows(for_query, for_query_LK * scale, example, row, n_queries, d_k, WIDTH_K)


@triton.jit
def scores(query_LK, key_MK, scale, row, column, is_seen, CAUSAL: tl.constexpr):
    """The scores of a tile, −∞ where a key is hidden."""
    is_visible = is_seen[None, :]
    if CAUSAL:
        is_visible = is_visible & (column[None, :] <= row[:, None])
    return tl.where(is_visible, product(query_LK, tl.trans(key_MK)) * scale, float("-inf"))


@triton.jit
def seen_keys(visible, example, column, n_keys):
    """Which keys of a tile are there and may be read."""
    is_seen = column < n_keys
    if visible is not None:
        is_seen = is_seen & (tl.load(visible + example * n_keys + column, mask=is_seen, other=0) != 0)
    return is_seen


@triton.jit
def end_of_past(tile, n_keys, CAUSAL: tl.constexpr, BLOCK: tl.constexpr):
    """Where the keys end that a tile of queries has to look at."""
    return tl.minimum(n_keys, (tile + 1) * BLOCK) if CAUSAL else n_keys


@triton.jit
def product(left, right):
    """The product of two matrices, added up in float32; float32 itself is not rounded to fewer bits before."""
    if INTERPRETED:  # it would multiply the bits of bfloat16 as if they were whole numbers
        left, right = left.to(tl.float32), right.to(tl.float32)
    return tl.dot(left, right, input_precision="ieee")


@triton.jit
def load_rows(matrices, example, row, is_wanted, n_rows, width, WIDTH: tl.constexpr):
    """Some rows of the matrix of an example, filled up with zeros; rows that are not wanted are zeros too."""
    column = tl.arange(0, WIDTH)
    place = matrices + example * n_rows * width + row[:, None] * width + column[None, :]
    return tl.load(place, mask=is_wanted[:, None] & (column[None, :] < width), other=0.0)


@triton.jit
def store_rows(matrices, tile, example, row, n_rows, width, WIDTH: tl.constexpr):
    """Write some rows of the matrix of an example, without what they were filled up with."""
    column = tl.arange(0, WIDTH)
    place = matrices + example * n_rows * width + row[:, None] * width + column[None, :]
    is_there = (row[:, None] < n_rows) & (column[None, :] < width)
    tl.store(place, tile.to(matrices.dtype.element_ty), mask=is_there)
