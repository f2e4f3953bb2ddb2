"""What was built for speed, as functions of plain tensors: no padding, layers side by side, a loss without scores."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int, Num
from torch import Tensor, nn

from minitransformer import attention, losses
from minitransformer.attention import scaled_dot_product_attention
from minitransformer.losses import IGNORED
from minitransformer.rows import Rows

# Rows without their padding


def packing(
    x: Float[Tensor, "B L D"], attention_mask: Num[Tensor, "B L"]
) -> tuple[Float[Tensor, "T D"], Int[Tensor, " T"], Int[Tensor, " B"]]:
    """The tokens of all rows one after the other, the position of each in its row, and where each row begins.

    Where a row without tokens begins means nothing.

    Source: a position's vector depends on no padding, so that without it nothing changes but the time it takes.

    >>> x = torch.tensor([[[1.0], [2.0], [9.0]], [[3.0], [4.0], [5.0]]])
    >>> token, position, start = packing(x, torch.tensor([[1, 1, 0], [1, 1, 1]]))
    >>> token.flatten().tolist(), position.tolist(), start.tolist()
    ([1.0, 2.0, 3.0, 4.0, 5.0], [0, 1, 0, 1, 2], [0, 2])
    """
    rows = Rows.of(attention_mask)
    position = torch.arange(attention_mask.shape[1]).expand(attention_mask.shape)
    return rows.pack(x)[0], rows.pack(position)[0], rows.token.view(attention_mask.shape)[:, 0]


def unpacking(packed: Float[Tensor, "T D"], attention_mask: Num[Tensor, "B L"]) -> Float[Tensor, "B L D"]:
    """The tokens of all rows in rows of their own again.

    What stands at padding means nothing, but comes from no other row that has tokens, and passes no gradient.

    Source: what packing did is undone.

    >>> unpacking(torch.tensor([[1.0], [2.0], [3.0]]), torch.tensor([[1, 0], [1, 1]]))[1].flatten().tolist()
    [2.0, 3.0]
    """
    return Rows.of(attention_mask).unpack(packed[None])


def packed_attention(
    query: Float[Tensor, "T K"],
    key: Float[Tensor, "T K"],
    value: Float[Tensor, "T V"],
    attention_mask: Num[Tensor, "B L"],
) -> Float[Tensor, "T V"]:
    """What tokens that stand packed one after the other read of those in their own row.

    Source: Vaswani et al. 2017, §3.2.1, Eq. 1, for each row by itself.

    >>> zeros, value = torch.zeros(3, 1), torch.tensor([[1.0], [2.0], [4.0]])
    >>> packed_attention(zeros, zeros, value, torch.tensor([[1, 0], [1, 1]])).flatten().tolist()
    [1.0, 3.0, 3.0]
    """
    rows = Rows.of(attention_mask)
    grids = zip(*(rows.apart(packed[None]) for packed in (query, key, value)), rows.grids, strict=True)
    return rows.together([scaled_dot_product_attention(q, k, v, grid.may_attend[:, 0]) for q, k, v, grid in grids])[0]


# Layers side by side


class LayersTogether(nn.Module):
    """Several linear layers that are asked about the same input."""

    def __init__(self, d_model: int, widths: Sequence[int]) -> None:
        super().__init__()
        # Every number comes with the call.
        self.layers = nn.ModuleList(nn.Linear(d_model, width, device="meta") for width in widths)

    def forward(self, x: Float[Tensor, "... D"]) -> list[Float[Tensor, "... _"]]:
        """What each layer says."""
        return attention.linear_together(x, list(self.layers))  # type: ignore[arg-type] # all of them are linear


def linear_together(
    x: Float[Tensor, "... D"], weights: Sequence[Float[Tensor, "_ D"]], biases: Sequence[Float[Tensor, " _"]]
) -> list[Float[Tensor, "... _"]]:
    """What several linear layers, as those of query, key and value, make of the same input: x Wᵀ + b for each.

    Source: a product with matrices that stand side by side is the products with each of them, side by side.

    >>> one, two = linear_together(torch.ones(1), [torch.ones(1, 1), torch.ones(2, 1)], [torch.ones(1), torch.zeros(2)])
    >>> one.tolist(), two.tolist()
    ([2.0], [1.0, 1.0])
    """
    given = {f"layers.{layer}.weight": weight for layer, weight in enumerate(weights)}
    given |= {f"layers.{layer}.bias": bias for layer, bias in enumerate(biases)}
    layers = LayersTogether(x.shape[-1], [len(bias) for bias in biases])
    return torch.func.functional_call(layers, given, (x,))  # type: ignore[no-any-return]


# A loss whose scores nobody else needs


class ProjectedLoss(nn.Module):
    """A layer that scores all classes, and the surprise under its scores."""

    def __init__(self, d_model: int, n_classes: int) -> None:
        super().__init__()
        self.layer = nn.Linear(d_model, n_classes, device="meta")  # every number comes with the call

    def forward(self, x: Float[Tensor, "N D"], target: Int[Tensor, " N"]) -> Float[Tensor, " N"]:
        """The surprise at each target."""
        return losses.projected_cross_entropy(x, self.layer, target)


def projected_cross_entropy(
    x: Float[Tensor, "N D"], weight: Float[Tensor, "V D"], bias: Float[Tensor, " V"], target: Int[Tensor, " N"]
) -> Float[Tensor, ""]:
    """The mean surprise at the targets that count, under the scores x Wᵀ + b; a target of −100 does not count.

    Source: Goodfellow et al. 2016, §5.5 and §6.2.1.1, for the scores of a linear layer.

    >>> x, weight, bias = torch.zeros(2, 3), torch.ones(2, 3), torch.zeros(2)
    >>> projected_cross_entropy(x, weight, bias, torch.tensor([0, -100])).item()
    0.6931471824645996
    """
    counts = target != IGNORED
    given = {"layer.weight": weight, "layer.bias": bias}
    asked = (x[counts], target[counts])
    return torch.func.functional_call(ProjectedLoss(x.shape[1], len(bias)), given, asked).mean()  # type: ignore[no-any-return]
