"""Dropout: forget a random part while training, so that nothing is leant on too much."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from minitransformer import kernels
from minitransformer.errors import InputError


@kernels.with_fused_twin
def dropout(x: Float[Tensor, "..."], rate: float) -> Float[Tensor, "..."]:
    """Set each entry to zero with probability `rate`, and scale the others so that the mean stays.

    Equation eq:dropout:
        dropout(x)ᵢ = xᵢ · keepᵢ / (1 − rate), keepᵢ ~ Bernoulli(1 − rate)

    The draw comes from PyTorch's generator: `torch.manual_seed` repeats it.

    Source: Srivastava et al. 2014, §4 and §10, in the form that rescales during training.

    >>> dropout(torch.ones(3), rate=0.0).tolist()
    [1.0, 1.0, 1.0]
    """
    if rate == 0:
        return x
    keep = torch.rand(x.shape, device=x.device) >= rate  # not in x's type: bfloat16 is too coarse for a draw
    return torch.where(keep, x / (1 - rate), 0.0)


class Dropout(nn.Module):
    """Dropout while training; nothing while evaluating.

    Raises: InputError for a rate outside [0, 1).

    >>> Dropout(0.5).eval()(torch.ones(2)).tolist()
    [1.0, 1.0]
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        if not 0 <= rate < 1:
            raise InputError(f"rate={rate} must be at least 0 and below 1; 0.1 is usual")
        self.rate = rate

    def forward(self, x: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """Drop, or pass on."""
        return dropout(x, self.rate) if self.training else x

    def extra_repr(self) -> str:
        """Show the rate when printed."""
        return f"rate={self.rate}"
