"""Rows without their padding: tokens of all sequences one after the other, so that nothing is computed for padding."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int, Num
from torch import Tensor
from torch.autograd.function import once_differentiable

LEAST_PADDING = 0.05
"""The share of padding from which on leaving it out saves more than moving rows costs."""
LEAST_SAVED = 0.1
"""The share of all scores from which on two grids save more than a second one costs."""


@dataclass(frozen=True, eq=False)
class Grid:
    """Some of the rows side by side, each from the left, as attention reads them: as wide as the longest of them."""

    is_token: Bool[Tensor, "B M"]
    token: Int[Tensor, " BM"]
    """Which token of all stands at each position; behind the end of a row its last one, for it is never read."""

    @property
    def may_attend(self) -> Bool[Tensor, "B 1 1 M"]:
        """Which positions may be read."""
        return self.is_token[:, None, None]

    @classmethod
    def of(cls, first: Int[Tensor, " B"], length: Int[Tensor, " B"]) -> "Grid":
        """Rows of which the first tokens are these, and the lengths."""
        position = torch.arange(int(length.max()), device=length.device)
        is_token = position < length[:, None]
        token = first[:, None] + position.minimum(length[:, None] - 1)
        return cls(is_token, token.flatten())

    def to(self, device: torch.device, non_blocking: bool = False) -> "Grid":
        """The same on a device."""
        return Grid(
            self.is_token.to(device, non_blocking=non_blocking), self.token.to(device, non_blocking=non_blocking)
        )


@dataclass(frozen=True, eq=False)
class Rows:
    """Where the tokens of a padded batch stand when they are packed one after the other.

    What is computed for each position alone (projections, norms, feed-forward networks) is computed for the T tokens
    only, as one sequence. Attention, which must not look from one sequence into another, sees the rows apart again: in
    one grid, or in two, one for the long rows and one for the short.

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
    grids: tuple[Grid, ...]
    place_in_grids: Int[Tensor, " T"]
    """Where each token stands among the positions of all grids, one grid after the other."""

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
        length = is_token.sum(dim=1)
        first = length.cumsum(0) - length
        token = first[:, None] + (is_token.cumsum(dim=1) - 1).clamp(min=0)
        grids = tuple(Grid.of(first[some], length[some]) for some in alike(length))
        in_grids = torch.cat([grid.token[grid.is_token.flatten()] for grid in grids])
        place_in_grids = torch.cat([grid.is_token.flatten() for grid in grids]).nonzero()[:, 0][in_grids.argsort()]
        return cls(is_token, place, token.clamp(max=len(place) - 1).flatten(), grids, place_in_grids)

    def to(self, device: torch.device, non_blocking: bool = False) -> "Rows":
        """The same on a device."""
        is_token, place, token, place_in_grids = (
            part.to(device, non_blocking=non_blocking)
            for part in (self.is_token, self.place, self.token, self.place_in_grids)
        )
        return Rows(is_token, place, token, tuple(grid.to(device, non_blocking) for grid in self.grids), place_in_grids)

    def pack(self, x: Num[Tensor, "B L ..."]) -> Num[Tensor, "1 T ..."]:
        """The tokens alone."""
        return Pack.apply(x, self)  # type: ignore[no-any-return, no-untyped-call]

    def unpack(self, x: Float[Tensor, "1 T D"]) -> Float[Tensor, "B L D"]:
        """Each sequence in a row of its own again; what stands at padding means nothing, and passes no gradient."""
        return Unpack.apply(x, self)  # type: ignore[no-any-return, no-untyped-call]

    def pack_if_given(self, x: Num[Tensor, "#B L ..."] | None) -> Num[Tensor, "1 T ..."] | None:
        """The tokens alone of something that there may be none of; one row of it is for all."""
        return None if x is None else self.pack(x.expand(*self.is_token.shape, *x.shape[2:]))

    def apart(self, x: Float[Tensor, "1 T D"]) -> tuple[Tensor, ...]:
        """The rows of each grid, side by side; what stands behind their ends means nothing, and passes no gradient."""
        return Apart.apply(x, self)  # type: ignore[no-any-return, no-untyped-call]

    def together(self, parts: Sequence[Float[Tensor, "_ _ D"]]) -> Float[Tensor, "1 T D"]:
        """The tokens of all grids, one after the other."""
        return Together.apply(self, *parts)  # type: ignore[no-any-return, no-untyped-call]

    def in_grids(self, x: Tensor) -> tuple[Tensor, ...]:
        """The tokens' entries in grids."""
        return tuple(x[0].index_select(0, grid.token).view(*grid.is_token.shape, *x.shape[2:]) for grid in self.grids)

    def out_of_grids(self, parts: Sequence[Tensor]) -> Tensor:
        """The tokens' entries of grids."""
        return torch.cat([part.flatten(0, 1) for part in parts]).index_select(0, self.place_in_grids)[None]

    def without_padding(self, x: Tensor) -> Tensor:
        """The tokens' entries of a padded tensor, as it stands."""
        return x.flatten(0, 1).index_select(0, self.place)[None]

    def with_padding(self, x: Tensor) -> Tensor:
        """The tokens' entries in rows of their own."""
        return x[0].index_select(0, self.token).view(*self.is_token.shape, *x.shape[2:])


def alike(length: Int[Tensor, " B"]) -> list[Int[Tensor, " _"]]:
    """The numbers of the rows with tokens, in one group or in two: cut by length, where the fewest scores are left.

    >>> [group.tolist() for group in alike(torch.tensor([9, 2, 0, 8, 2]))]
    [[0, 3], [1, 4]]
    """
    order = length.argsort(descending=True, stable=True)
    order = order[: int(length.count_nonzero())]
    square = length[order].double().square()
    n_before = torch.arange(len(order), device=length.device)
    n_scores = n_before * square[0] + (len(order) - n_before) * square
    cut = int(n_scores.argmin())
    return [order[:cut], order[cut:]] if n_scores[cut] < (1 - LEAST_SAVED) * n_scores[0] else [order]


class Apart(torch.autograd.Function):
    """Tokens into grids; from behind the end of a row nothing comes back."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, rows: Rows) -> tuple[Tensor, ...]:
        """Repeat a row's last token behind its end."""
        ctx.rows = rows
        return rows.in_grids(x)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        """Take the gradients of the tokens."""
        return ctx.rows.out_of_grids(gradients), None


class Together(torch.autograd.Function):
    """Tokens out of grids; behind the end of a row there is no gradient."""

    @staticmethod
    def forward(ctx: Any, rows: Rows, *parts: Tensor) -> Tensor:
        """Take the tokens."""
        ctx.rows = rows
        return rows.out_of_grids(parts)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """Give each token its gradient back."""
        spread = zip(ctx.rows.in_grids(gradient), ctx.rows.grids, strict=True)
        return None, *(part.masked_fill_(~grid.is_token[..., None], 0.0) for part, grid in spread)


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
