"""The position-wise feed-forward network and its activations."""

import math
from collections.abc import Callable

import numpy as np
from jaxtyping import Float

from minitransformer.reference.parameters import Parameters

Activation = Callable[[np.ndarray], np.ndarray]

erf = np.vectorize(math.erf, otypes=[float])


def linear(
    x: Float[np.ndarray, "... I"], weight: Float[np.ndarray, "O I"], bias: Float[np.ndarray, " O"]
) -> Float[np.ndarray, "... O"]:
    """The map y = x Wᵀ + b, with a row of W for each output, as PyTorch keeps it.

    >>> linear(np.array([1.0, 2.0]), np.array([[10.0, 1.0]]), np.array([0.5])).tolist()
    [12.5]
    """
    return x @ weight.T + bias


def linear_gradient(
    upstream: Float[np.ndarray, "... O"], x: Float[np.ndarray, "... I"], weight: Float[np.ndarray, "O I"]
) -> tuple[Float[np.ndarray, "... I"], Float[np.ndarray, "O I"], Float[np.ndarray, " O"]]:
    """What the loss gains per unit of the input, the weight and the bias.

    Gradient grad:linear:
        ∂x = g W, ∂W = Σ gᵀ x, ∂b = Σ g
        with g = ∂L/∂y, y = x Wᵀ + b.
        y_o = Σᵢ x_i W_oi + b_o, so ∂y_o/∂x_i = W_oi, ∂y_o/∂W_oi = x_i and ∂y_o/∂b_o = 1.
        Weight and bias serve every position, and collect from each.

    >>> [gradient.tolist() for gradient in linear_gradient(np.ones(1), np.array([1.0, 2.0]), np.array([[10.0, 1.0]]))]
    [[10.0, 1.0], [[1.0, 2.0]], [1.0]]
    """
    upstream_rows = upstream.reshape(-1, upstream.shape[-1])
    x_rows = x.reshape(-1, x.shape[-1])
    return upstream @ weight, upstream_rows.T @ x_rows, np.sum(upstream_rows, axis=0)


def gelu(x: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    """Pass each value on in the share of a normal distribution that lies below it.

    Equation eq:gelu:
        GELU(x) = x · Φ(x) = x · ½ (1 + erf(x / √2))

    Source: Hendrycks and Gimpel 2016, §2. BERT uses this exact form, GPT-2 the tanh one.

    >>> gelu(np.array([0.0, 100.0])).tolist()
    [0.0, 100.0]
    """
    return x * 0.5 * (1 + erf(x / math.sqrt(2)))


def gelu_gradient(upstream: Float[np.ndarray, "..."], x: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    """What the loss gains per unit of the input of the GELU.

    Gradient grad:gelu:
        ∂x = g · (Φ(x) + x φ(x)), φ(x) = exp(−x² / 2) / √(2π)
        with g = ∂L/∂y, y = x Φ(x): the product rule, and Φ' = φ, the density of the normal distribution.

    >>> gelu_gradient(np.ones(2), np.array([0.0, 100.0])).tolist()
    [0.5, 1.0]
    """
    share = 0.5 * (1 + erf(x / math.sqrt(2)))
    density = np.exp(-(x**2) / 2) / math.sqrt(2 * math.pi)
    return upstream * (share + x * density)


def gelu_tanh(x: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    """The GELU by its published approximation, within 0.0005 of it.

    Equation eq:gelu-tanh:
        GELU(x) ≈ ½ x (1 + tanh(√(2/π) (x + 0.044715 x³)))

    Source: Hendrycks and Gimpel 2016, §2.

    >>> gelu_tanh(np.array([0.0, 100.0])).tolist()
    [0.0, 100.0]
    """
    return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def gelu_tanh_gradient(upstream: Float[np.ndarray, "..."], x: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    """What the loss gains per unit of the input of the approximated GELU.

    Gradient grad:gelu-tanh:
        ∂x = g · (½ (1 + t) + ½ x (1 − t²) √(2/π) (1 + 3 · 0.044715 x²)), t = tanh(√(2/π) (x + 0.044715 x³))
        with g = ∂L/∂y, y = ½ x (1 + t): the product rule, tanh' = 1 − tanh², and the slope of the inner polynomial.

    >>> gelu_tanh_gradient(np.ones(2), np.array([0.0, 100.0])).tolist()
    [0.5, 1.0]
    """
    slope = math.sqrt(2 / math.pi)
    bend = np.tanh(slope * (x + 0.044715 * x**3))
    return upstream * (0.5 * (1 + bend) + 0.5 * x * (1 - bend**2) * slope * (1 + 3 * 0.044715 * x**2))


def relu(x: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    """Keep what is positive.

    Equation eq:relu:
        ReLU(x) = max(0, x)

    Source: Nair and Hinton 2010, §2; Vaswani et al. 2017, §3.3, Eq. 2.

    >>> relu(np.array([-1.0, 2.0])).tolist()
    [0.0, 2.0]
    """
    return np.maximum(0.0, x)


def relu_gradient(upstream: Float[np.ndarray, "..."], x: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    """What the loss gains per unit of the input of the ReLU.

    Gradient grad:relu:
        ∂x = g where x > 0, and 0 elsewhere
        with g = ∂L/∂y, y = max(0, x): above zero y is x itself, with slope 1, and below zero it is constant.
        At zero the two slopes differ and none of them is right; 0 is taken.

    >>> relu_gradient(np.ones(2), np.array([-1.0, 2.0])).tolist()
    [0.0, 1.0]
    """
    return np.where(x > 0, upstream, 0.0)


def feed_forward(
    parameters: Parameters, x: Float[np.ndarray, "... D"], activation: Activation = relu
) -> Float[np.ndarray, "... D"]:
    """Two linear maps with an activation between, the same at every position.

    Equation eq:feed-forward:
        FFN(x) = f(x W₁ + b₁) W₂ + b₂

    Source: Vaswani et al. 2017, §3.3, Eq. 2, where f is the ReLU; BERT's f is the GELU.

    >>> inner = {"inner.weight": np.array([[1.0], [-1.0]]), "inner.bias": np.zeros(2)}
    >>> outer = {"outer.weight": np.array([[1.0, 1.0]]), "outer.bias": np.zeros(1)}
    >>> feed_forward(inner | outer, np.array([[-3.0]])).tolist()
    [[3.0]]
    """
    inner = linear(x, parameters["inner.weight"], parameters["inner.bias"])
    return linear(activation(inner), parameters["outer.weight"], parameters["outer.bias"])


def feed_forward_gradient(
    upstream: Float[np.ndarray, "... D"], parameters: Parameters, x: Float[np.ndarray, "... D"]
) -> dict[str, Float[np.ndarray, "..."]]:
    """What the loss gains per unit of each parameter of the network with the ReLU, and of its input, by their names.

    Gradient grad:feed-forward:
        ∂W₂, ∂b₂, ∂h by grad:linear at h = f(a); ∂a by grad:relu; ∂W₁, ∂b₁, ∂x by grad:linear at x
        with a = x W₁ + b₁: the chain rule, from the output backwards.

    >>> inner = {"inner.weight": np.array([[2.0], [-2.0]]), "inner.bias": np.zeros(2)}
    >>> outer = {"outer.weight": np.array([[5.0, 7.0]]), "outer.bias": np.zeros(1)}
    >>> feed_forward_gradient(np.ones((1, 1)), inner | outer, np.array([[3.0]]))["x"].tolist()
    [[10.0]]
    """
    inner = linear(x, parameters["inner.weight"], parameters["inner.bias"])
    for_units, for_outer_weight, for_outer_bias = linear_gradient(upstream, relu(inner), parameters["outer.weight"])
    for_x, for_inner_weight, for_inner_bias = linear_gradient(
        relu_gradient(for_units, inner), x, parameters["inner.weight"]
    )
    return {
        "inner.weight": for_inner_weight,
        "inner.bias": for_inner_bias,
        "outer.weight": for_outer_weight,
        "outer.bias": for_outer_bias,
        "x": for_x,
    }
