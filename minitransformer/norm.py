"""Normalisation: give every position the same scale, whatever came before."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from minitransformer import kernels
from minitransformer.errors import InputError


@kernels.with_fused_twin
def layer_norm(
    x: Float[Tensor, "... D"], gain: Float[Tensor, " D"], bias: Float[Tensor, " D"], eps: float = 1e-12
) -> Float[Tensor, "... D"]:
    """Shift and scale each position to mean 0 and variance 1, then to a learned scale and offset.

    Equation eq:layer-norm:
        LayerNorm(x) = gain · (x − μ) / √(σ² + eps) + bias, μ = mean(x), σ² = mean((x − μ)²)

    The variance divides by d_model, not d_model − 1, and eps stands inside the root: at width 8 the other variance is
    6 % off.

    Source: Ba et al. 2016, §3, Eq. 3 and §5; eps as in BERT's published code (the paper has none).

    >>> layer_norm(torch.tensor([1.0, 3.0]), torch.ones(2), torch.zeros(2)).tolist()
    [-1.0, 1.0]
    """
    centred = x - x.mean(dim=-1, keepdim=True)
    variance = centred.square().mean(dim=-1, keepdim=True)
    return gain * centred / (variance + eps).sqrt() + bias


@kernels.with_fused_twin
def rms_norm(x: Float[Tensor, "... D"], gain: Float[Tensor, " D"], eps: float = 1e-6) -> Float[Tensor, "... D"]:
    """Scale each position to a mean square of 1, without moving its mean.

    Equation eq:rms-norm:
        RMSNorm(x) = gain · x / √(mean(x²) + eps)

    Source: Zhang and Sennrich 2019, §4, Eq. 4; eps as in T5's published code (the paper has none).

    >>> rms_norm(torch.tensor([2.0, -2.0]), torch.ones(2), eps=0.0).tolist()
    [1.0, -1.0]
    """
    return gain * x / (x.square().mean(dim=-1, keepdim=True) + eps).sqrt()


class LayerNorm(nn.Module):
    """Layer normalisation with its learned gain and bias.

    Raises: InputError for a width below 1.

    >>> LayerNorm(2)(torch.tensor([1.0, 3.0])).tolist()
    [-1.0, 1.0]
    """

    def __init__(self, d_model: int, eps: float = 1e-12) -> None:
        super().__init__()
        if d_model < 1:
            raise InputError(f"d_model={d_model} must be at least 1")
        self.gain = nn.Parameter(torch.ones(d_model))
        self.bias = nn.Parameter(torch.zeros(d_model))
        self.eps = eps

    def forward(self, x: Float[Tensor, "... D"]) -> Float[Tensor, "... D"]:
        """Apply eq:layer-norm."""
        return layer_norm(x, self.gain, self.bias, self.eps)

    def extra_repr(self) -> str:
        """Show the width and eps when printed."""
        return f"d_model={self.gain.numel()}, eps={self.eps}"


class RMSNorm(nn.Module):
    """Root-mean-square normalisation with its learned gain.

    Raises: InputError for a width below 1.

    >>> RMSNorm(2, eps=0.0)(torch.tensor([2.0, -2.0])).tolist()
    [1.0, -1.0]
    """

    def __init__(self, d_model: int, eps: float = 1e-6) -> None:
        super().__init__()
        if d_model < 1:
            raise InputError(f"d_model={d_model} must be at least 1")
        self.gain = nn.Parameter(torch.ones(d_model))
        self.eps = eps

    def forward(self, x: Float[Tensor, "... D"]) -> Float[Tensor, "... D"]:
        """Apply eq:rms-norm."""
        return rms_norm(x, self.gain, self.eps)

    def extra_repr(self) -> str:
        """Show the width and eps when printed."""
        return f"d_model={self.gain.numel()}, eps={self.eps}"
