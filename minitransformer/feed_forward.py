"""The position-wise feed-forward network and its activations."""

import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from minitransformer import kernels
from minitransformer.errors import InputError

Activation = Callable[[Tensor], Tensor]


@kernels.with_fused_twin
def gelu(x: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """Pass each value on in the share of a normal distribution that lies below it.

    Equation eq:gelu:
        GELU(x) = x · Φ(x) = x · ½ (1 + erf(x / √2))

    Source: Hendrycks and Gimpel 2016, §2. Hugging Face runs BERT with this exact form; GPT-2 has the tanh one.

    >>> gelu(torch.tensor([0.0, 100.0])).tolist()
    [0.0, 100.0]
    """
    return x * 0.5 * (1 + torch.erf(x / math.sqrt(2)))


@kernels.with_fused_twin
def gelu_tanh(x: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """The GELU by its published approximation, within 0.0005 of it.

    Equation eq:gelu-tanh:
        GELU(x) ≈ ½ x (1 + tanh(√(2/π) (x + 0.044715 x³)))

    Source: Hendrycks and Gimpel 2016, §2.

    >>> gelu_tanh(torch.tensor([0.0, 100.0])).tolist()
    [0.0, 100.0]
    """
    return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


@kernels.with_fused_twin
def relu(x: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """Keep what is positive.

    Equation eq:relu:
        ReLU(x) = max(0, x)

    Source: Nair and Hinton 2010, §2; Vaswani et al. 2017, §3.3, Eq. 2. The slope at 0 is taken as 0.

    >>> relu(torch.tensor([-1.0, 2.0])).tolist()
    [0.0, 2.0]
    """
    return torch.where(x > 0, x, 0.0)


class FeedForward(nn.Module):
    """Two linear maps with an activation between, the same at every position.

    Equation eq:feed-forward:
        FFN(x) = f(x W₁ + b₁) W₂ + b₂

    Source: Vaswani et al. 2017, §3.3, Eq. 2, where f is the ReLU; BERT's f is the GELU.

    Raises: InputError for an inner width below 1.

    >>> FeedForward(d_model=2, d_ff=5)(torch.zeros(1, 3, 2)).shape
    torch.Size([1, 3, 2])
    """

    def __init__(self, d_model: int, d_ff: int, activation: Activation = relu) -> None:
        super().__init__()
        if d_ff < 1:
            raise InputError(f"d_ff={d_ff} must be at least 1; 4 * d_model = {4 * d_model} is usual")
        self.inner = nn.Linear(d_model, d_ff)
        self.activation = activation
        self.outer = nn.Linear(d_ff, d_model)

    def forward(self, x: Float[Tensor, "... D"]) -> Float[Tensor, "... D"]:
        """Apply eq:feed-forward."""
        return self.outer(self.activation(self.inner(x)))  # type: ignore[no-any-return]
