"""Attention: each query reads a mean of the values, weighted by how well the keys fit."""

import math
from collections.abc import Sequence

from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor, nn

from minitransformer import kernels
from minitransformer.dropout import dropout
from minitransformer.errors import InputError
from minitransformer.rows import Rows
from minitransformer.visibility import require_boolean


@kernels.with_fused_twin
def softmax(x: Float[Tensor, "..."], axis: int = -1) -> Float[Tensor, "..."]:
    """Turn scores into shares that are positive and sum to one.

    Equation eq:softmax:
        softmax(x)ᵢ = exp(xᵢ − max x) / Σⱼ exp(xⱼ − max x)

    Subtracting the maximum changes nothing in the quotient and keeps every exponential at most 1.

    Source: Bridle 1990, §2, Eq. 2; the shift by the maximum is the usual one against overflow.

    >>> softmax(torch.tensor([0.0, 0.0])).tolist()
    [0.5, 0.5]
    """
    exponential = (x - x.amax(dim=axis, keepdim=True).detach()).exp()
    return exponential / exponential.sum(dim=axis, keepdim=True)


@kernels.with_fused_twin
def log_softmax(x: Float[Tensor, "..."], axis: int = -1) -> Float[Tensor, "..."]:
    """The logarithm of the softmax, without ever taking the logarithm of a rounded zero.

    Equation eq:log-softmax:
        log softmax(x)ᵢ = xᵢ − max x − ln Σⱼ exp(xⱼ − max x)

    Source: the logarithm of eq:softmax; Goodfellow et al. 2016, §6.2.2.3.

    >>> log_softmax(torch.tensor([0.0, 0.0])).tolist()
    [-0.6931471824645996, -0.6931471824645996]
    """
    shifted = x - x.amax(dim=axis, keepdim=True).detach()
    return shifted - shifted.exp().sum(dim=axis, keepdim=True).log()


def attention_weights(
    query: Float[Tensor, "... L K"],
    key: Float[Tensor, "... M K"],
    may_attend: Bool[Tensor, "..."] | None = None,
    scale: float | None = None,
) -> Float[Tensor, "... L M"]:
    """How much of each value each query reads.

    Equation eq:attention-weights:
        A = softmax(Q Kᵀ / √d_k), over the keys that may be read; a row that may read nothing is 0

    The scale keeps the variance of a score at 1 whatever the width, so that the softmax is not saturated at the start.
    Hidden keys score −∞, never a large negative number, which a model could learn to outweigh.

    Source: Vaswani et al. 2017, §3.2.1, Eq. 1 and footnote 4. The paper is silent on a row that may read nothing.

    Raises: InputError for a visibility that is not boolean.

    >>> attention_weights(torch.zeros(1, 2), torch.zeros(4, 2)).tolist()
    [[0.25, 0.25, 0.25, 0.25]]
    """
    require_boolean(may_attend)
    if scale is None:
        scale = 1 / math.sqrt(query.shape[-1])
    score = query @ key.transpose(-2, -1) * scale
    if may_attend is None:
        return softmax(score)
    sees_nothing = ~may_attend.any(dim=-1, keepdim=True)
    # A row of −∞ alone would be NaN, and so would its gradient; any finite row does, for it is then erased.
    score = score.masked_fill(~may_attend, -math.inf).masked_fill(sees_nothing, 0.0)
    return softmax(score).masked_fill(sees_nothing, 0.0)


@kernels.with_fused_twin
def scaled_dot_product_attention(
    query: Float[Tensor, "... L K"],
    key: Float[Tensor, "... M K"],
    value: Float[Tensor, "... M E"],
    may_attend: Bool[Tensor, "..."] | None = None,
    scale: float | None = None,
    dropout_rate: float = 0.0,
) -> Float[Tensor, "... L E"]:
    """Each query reads the mean of the values under its weights.

    Equation eq:attention:
        Attention(Q, K, V) = softmax(Q Kᵀ / √d_k) V

    Dropout, where asked for, falls on the weights: a query forgets some of what it reads.

    Source: Vaswani et al. 2017, §3.2.1, Eq. 1; dropout on the weights as in their published code.

    Raises: InputError for a visibility that is not boolean.

    >>> values = torch.tensor([[1.0], [3.0]])
    >>> scaled_dot_product_attention(torch.zeros(1, 2), torch.zeros(2, 2), values).tolist()
    [[2.0]]
    """
    weights = attention_weights(query, key, may_attend, scale)
    return dropout(weights, dropout_rate) @ value


@kernels.with_fused_twin
def linear_together(x: Float[Tensor, "... D"], layers: Sequence[nn.Linear]) -> list[Float[Tensor, "... E"]]:
    """What several linear layers make of the same input.

    >>> first, second = linear_together(torch.zeros(1, 2), (nn.Linear(2, 3), nn.Linear(2, 3)))
    >>> first.shape, second.shape
    (torch.Size([1, 3]), torch.Size([1, 3]))
    """
    return [layer(x) for layer in layers]


class MultiHeadAttention(nn.Module):
    """Several attentions side by side, each with its own view of the input.

    Equation eq:multi-head-attention:
        MultiHead(X, Y) = Concat(head₁, …, head_h) W_O + b_O,
        headᵢ = Attention(X W_Qⁱ + b_Qⁱ, Y W_Kⁱ + b_Kⁱ, Y W_Vⁱ + b_Vⁱ)

    X asks and Y, the memory, answers; without a memory the input answers itself. The projections of all heads stand in
    one matrix each, split by columns.

    Source: Vaswani et al. 2017, §3.2.2. The biases are BERT's; the paper has none.

    Raises: InputError if the width does not divide among the heads.

    >>> MultiHeadAttention(d_model=6, n_heads=2)(torch.zeros(1, 3, 6)).shape
    torch.Size([1, 3, 6])
    """

    def __init__(self, d_model: int, n_heads: int, dropout: float = 0.0) -> None:
        super().__init__()
        if n_heads < 1 or d_model % n_heads:
            raise InputError(f"d_model={d_model} must be a multiple of n_heads={n_heads}")
        self.n_heads = n_heads
        self.query = nn.Linear(d_model, d_model)
        self.key = nn.Linear(d_model, d_model)
        self.value = nn.Linear(d_model, d_model)
        self.output = nn.Linear(d_model, d_model)
        self.dropout_rate = dropout

    def forward(
        self,
        x: Float[Tensor, "B L D"],
        memory: Float[Tensor, "_ M D"] | None = None,
        may_attend: Bool[Tensor, "..."] | None = None,
        rows: Rows | None = None,
    ) -> Float[Tensor, "B L D"]:
        """Read the memory, or the input itself where none is given; what is read may be packed in `rows`.

        A packed input reads, of each row, the tokens of that row, whatever else `may_attend` says.
        """
        require_four_axes(may_attend)
        if memory is None:
            query, key, value = linear_together(x, (self.query, self.key, self.value))
        else:
            query = self.query(x)
            key, value = linear_together(memory, (self.key, self.value))
        if rows is None:
            read = self.read(query, key, value, may_attend)
        elif memory is not None:
            read = self.read(query, rows.unpack(key), rows.unpack(value), may_attend)
        else:
            grids = zip(rows.apart(query), rows.apart(key), rows.apart(value), rows.grids, strict=True)
            read = rows.together([self.read(q, k, v, grid.may_attend) for q, k, v, grid in grids])
        return self.output(read)  # type: ignore[no-any-return]

    def read(
        self,
        query: Float[Tensor, "B L D"],
        key: Float[Tensor, "B M D"],
        value: Float[Tensor, "B M D"],
        may_attend: Bool[Tensor, "..."] | None,
    ) -> Float[Tensor, "B L D"]:
        """What the heads read, side by side."""
        read_BHLK = scaled_dot_product_attention(
            self.split_heads(query),
            self.split_heads(key),
            self.split_heads(value),
            may_attend,
            dropout_rate=self.dropout_rate if self.training else 0.0,
        )
        return rearrange(read_BHLK, "B H L K -> B L (H K)")

    def weights(
        self,
        x: Float[Tensor, "B L D"],
        memory: Float[Tensor, "B M D"] | None = None,
        may_attend: Bool[Tensor, "..."] | None = None,
    ) -> Float[Tensor, "B H L M"]:
        """The weights of each head, computed anew: the fused kernels never hold them."""
        require_four_axes(may_attend)
        answers = x if memory is None else memory
        return attention_weights(self.split_heads(self.query(x)), self.split_heads(self.key(answers)), may_attend)

    def split_heads(self, x: Float[Tensor, "B L D"]) -> Float[Tensor, "B H L K"]:
        """Give each head its own columns."""
        return rearrange(x, "B L (H K) -> B H L K", H=self.n_heads)


def require_four_axes(may_attend: Tensor | None) -> None:
    """Refuse a visibility of three axes: batch and heads could be taken for each other where they are equal.

    Raises: InputError naming the shape found.

    >>> require_four_axes(torch.ones(2, 5, 5, dtype=torch.bool))
    Traceback (most recent call last):
        ...
    minitransformer.errors.InputError: may_attend has shape (2, 5, 5) and must be (queries, keys) or \
(batch, heads, queries, keys); write may_attend[:, None] for one rule per example
    """
    require_boolean(may_attend)
    if may_attend is not None and may_attend.ndim not in (2, 4):
        raise InputError(
            f"may_attend has shape {tuple(may_attend.shape)} and must be (queries, keys) or "
            "(batch, heads, queries, keys); write may_attend[:, None] for one rule per example"
        )
