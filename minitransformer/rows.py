"""Rows without their padding: tokens of all sequences one after the other, so that nothing is computed for padding."""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int, Num
from torch import Tensor
from torch.autograd.function import once_differentiable

LEAST_PADDING = 0.05
"""The share of padding from which on leaving it out saves more than moving rows costs."""


@dataclass(frozen=True, eq=False)
class Rows:
    """Where the tokens of a padded batch stand when they are packed one after the other.

    What is computed for each position alone (projections, norms, feed-forward networks) is computed for the T tokens
    only, as one sequence. Attention, which must not look from one sequence into another, sees the rows apart again.

    >>> rows = Rows.of(torch.tensor([[1, 1, 0], [1, 1, 1]]))
    >>> x = torch.tensor([[[1.0], [2.0], [9.0]], [[3.0], [4.0], [5.0]]])
    >>> rows.pack(x).flatten().tolist()
    [1.0, 2.0, 3.0, 4.0, 5.0]
    >>> rows.unpack(rows.pack(x))[1].flatten().tolist()
    [3.0, 4.0, 5.0]
    """

    is_token: Bool[Tensor, "B L"]
    place: Int[Tensor, " T"]
    """Where each token stands among the B·L positions."""
    token: Int[Tensor, " BL"]
    """Which token stands at each position; at padding another one of its row, for it is never read."""

    @classmethod
    def worth_packing(cls, attention_mask: Num[Tensor, "B L"]) -> "Rows | None":
        """The rows of a batch of which enough is padding."""
        if torch.compiler.is_compiling():
            return None
        n_tokens = int(attention_mask.count_nonzero())
        is_worth = 0 < n_tokens <= (1 - LEAST_PADDING) * attention_mask.numel()
        return cls.of(attention_mask) if is_worth else None

    @classmethod
    def of(cls, attention_mask: Num[Tensor, "B L"]) -> "Rows":
        """The rows of a batch, whose tokens are where `attention_mask` is not 0."""
        is_token = attention_mask != 0
        place = is_token.flatten().nonzero()[:, 0]
        lengths = is_token.sum(dim=1, keepdim=True)
        first = lengths.cumsum(0) - lengths
        token = first + (is_token.cumsum(dim=1) - 1).clamp(min=0)
        return cls(is_token, place, token.clamp(max=len(place) - 1).flatten())

    def to(self, device: torch.device) -> "Rows":
        """The same on a device."""
        return Rows(*(part.to(device, non_blocking=True) for part in (self.is_token, self.place, self.token)))

    def pack(self, x: Num[Tensor, "B L ..."]) -> Num[Tensor, "1 T ..."]:
        """The tokens alone."""
        return Pack.apply(x, self)  # type: ignore[no-any-return, no-untyped-call]

    def unpack(self, x: Float[Tensor, "1 T D"]) -> Float[Tensor, "B L D"]:
        """Each sequence in a row of its own again; what stands at padding means nothing, and passes no gradient."""
        return Unpack.apply(x, self)  # type: ignore[no-any-return, no-untyped-call]

    def pack_if_given(self, x: Num[Tensor, "#B L ..."] | None) -> Num[Tensor, "1 T ..."] | None:
        """The tokens alone of something that there may be none of; one row of it is for all."""
        return None if x is None else self.pack(x.expand(*self.is_token.shape, *x.shape[2:]))

    def without_padding(self, x: Tensor) -> Tensor:
        """The tokens' entries of a padded tensor, as it stands."""
        return x.flatten(0, 1).index_select(0, self.place)[None]

    def with_padding(self, x: Tensor) -> Tensor:
        """The tokens' entries in rows of their own."""
        return x[0].index_select(0, self.token).view(*self.is_token.shape, *x.shape[2:])


class Pack(torch.autograd.Function):
    """Leave padding out; it gets no gradient. PyTorch's own would be added up row by row, as rows may come twice."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, rows: Rows) -> Tensor:
        """Take the tokens."""
        ctx.rows = rows
        return rows.without_padding(x)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        """Give each token its gradient back."""
        spread = ctx.rows.with_padding(gradient)
        return spread.masked_fill_(~ctx.rows.is_token[..., None], 0.0), None


class Unpack(torch.autograd.Function):
    """Put padding in; nothing comes back from it."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, rows: Rows) -> Tensor:
        """Repeat tokens where padding stands."""
        ctx.rows = rows
        return rows.with_padding(x)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        """Take the gradients of the tokens."""
        return ctx.rows.without_padding(gradient), None
