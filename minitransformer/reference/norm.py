"""Normalisation: give every position the same scale, whatever came before."""

import numpy as np
from jaxtyping import Float

from minitransformer.reference.parameters import Parameters


def layer_norm(
    x: Float[np.ndarray, "... D"], gain: Float[np.ndarray, " D"], bias: Float[np.ndarray, " D"], eps: float = 1e-12
) -> Float[np.ndarray, "... D"]:
    """Shift and scale each position to mean 0 and variance 1, then to a learned scale and offset.

    Equation eq:layer-norm:
        LayerNorm(x) = gain · (x − μ) / √(σ² + eps) + bias, μ = mean(x), σ² = mean((x − μ)²)

    Source: Ba et al. 2016, §3, Eq. 3 and §5; eps as in BERT's published code (the paper has none).

    >>> layer_norm(np.array([1.0, 3.0]), np.ones(2), np.zeros(2)).round(6).tolist()
    [-1.0, 1.0]
    """
    mean = np.mean(x, axis=-1, keepdims=True)
    variance = np.mean((x - mean) ** 2, axis=-1, keepdims=True)
    return gain * (x - mean) / np.sqrt(variance + eps) + bias


def layer_norm_gradient(
    upstream: Float[np.ndarray, "... D"],
    x: Float[np.ndarray, "... D"],
    gain: Float[np.ndarray, " D"],
    eps: float = 1e-12,
) -> tuple[Float[np.ndarray, "... D"], Float[np.ndarray, " D"], Float[np.ndarray, " D"]]:
    """What the loss gains per unit of the input, the gain and the bias.

    Gradient grad:layer-norm:
        ∂x = (ĝ − mean(ĝ) − n · mean(ĝ · n)) / s, ∂gain = Σ g · n, ∂bias = Σ g
        with g = ∂L/∂y, y = gain · n + bias, ĝ = gain · g = ∂L/∂n, n = (x − μ) / s, s = √(σ² + eps).
        An input moves n in three ways: directly, by 1 / s; through μ, by −1 / (D s) for every entry;
        and through s, for ∂s/∂xᵢ = (xᵢ − μ) / (D s) = nᵢ / D and ∂nⱼ/∂s = −nⱼ / s.
        Summing ĝⱼ ∂nⱼ/∂xᵢ over j gives the three terms; gain and bias collect from every position.

    >>> [gradient.round(6).tolist() for gradient in layer_norm_gradient(np.ones(2), np.array([1.0, 3.0]), np.ones(2))]
    [[0.0, 0.0], [-1.0, 1.0], [1.0, 1.0]]
    """
    mean = np.mean(x, axis=-1, keepdims=True)
    deviation = np.sqrt(np.mean((x - mean) ** 2, axis=-1, keepdims=True) + eps)
    normal = (x - mean) / deviation
    for_normal = upstream * gain
    through_mean = np.mean(for_normal, axis=-1, keepdims=True)
    through_deviation = normal * np.mean(for_normal * normal, axis=-1, keepdims=True)
    positions = tuple(range(x.ndim - 1))
    for_gain = np.sum(upstream * normal, axis=positions)
    return (for_normal - through_mean - through_deviation) / deviation, for_gain, np.sum(upstream, axis=positions)


def rms_norm(
    x: Float[np.ndarray, "... D"], gain: Float[np.ndarray, " D"], eps: float = 1e-6
) -> Float[np.ndarray, "... D"]:
    """Scale each position to a mean square of 1, without moving its mean.

    Equation eq:rms-norm:
        RMSNorm(x) = gain · x / √(mean(x²) + eps)

    Source: Zhang and Sennrich 2019, §4, Eq. 4; eps as in T5's published code (the paper has none).

    >>> rms_norm(np.array([2.0, -2.0]), np.ones(2), eps=0.0).tolist()
    [1.0, -1.0]
    """
    return gain * x / np.sqrt(np.mean(x**2, axis=-1, keepdims=True) + eps)


def rms_norm_gradient(
    upstream: Float[np.ndarray, "... D"],
    x: Float[np.ndarray, "... D"],
    gain: Float[np.ndarray, " D"],
    eps: float = 1e-6,
) -> tuple[Float[np.ndarray, "... D"], Float[np.ndarray, " D"]]:
    """What the loss gains per unit of the input and the gain.

    Gradient grad:rms-norm:
        ∂x = (ĝ − n · mean(ĝ · n)) / s, ∂gain = Σ g · n
        with g = ∂L/∂y, y = gain · n, ĝ = gain · g = ∂L/∂n, n = x / s, s = √(mean(x²) + eps).
        An input moves n directly, by 1 / s, and through s, for ∂s/∂xᵢ = xᵢ / (D s) = nᵢ / D and ∂nⱼ/∂s = −nⱼ / s.
        Summing ĝⱼ ∂nⱼ/∂xᵢ over j gives the two terms; the gain collects from every position.

    >>> [gradient.tolist() for gradient in rms_norm_gradient(np.array([1.0, 0.0]), np.ones(2), np.ones(2), eps=0.0)]
    [[0.5, -0.5], [1.0, 0.0]]
    """
    size = np.sqrt(np.mean(x**2, axis=-1, keepdims=True) + eps)
    normal = x / size
    for_normal = upstream * gain
    through_size = normal * np.mean(for_normal * normal, axis=-1, keepdims=True)
    positions = tuple(range(x.ndim - 1))
    return (for_normal - through_size) / size, np.sum(upstream * normal, axis=positions)


def learned_layer_norm(
    parameters: Parameters, x: Float[np.ndarray, "... D"], eps: float = 1e-12
) -> Float[np.ndarray, "... D"]:
    """Layer normalisation with its learned gain and bias.

    >>> learned_layer_norm({"gain": np.ones(2), "bias": np.ones(2)}, np.array([1.0, 3.0])).round(6).tolist()
    [0.0, 2.0]
    """
    return layer_norm(x, parameters["gain"], parameters["bias"], eps)


def learned_rms_norm(
    parameters: Parameters, x: Float[np.ndarray, "... D"], eps: float = 1e-6
) -> Float[np.ndarray, "... D"]:
    """Root-mean-square normalisation with its learned gain.

    >>> learned_rms_norm({"gain": np.ones(2)}, np.array([2.0, -2.0]), eps=0.0).tolist()
    [1.0, -1.0]
    """
    return rms_norm(x, parameters["gain"], eps)
