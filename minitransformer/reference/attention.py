"""Attention: each query reads a mean of the values, weighted by how well the keys fit."""

import math

import numpy as np
from jaxtyping import Bool, Float

from minitransformer.reference.feed_forward import linear, linear_gradient
from minitransformer.reference.parameters import Parameters


def softmax(x: Float[np.ndarray, "..."], axis: int = -1) -> Float[np.ndarray, "..."]:
    """Turn scores into shares that are positive and sum to one.

    Equation eq:softmax:
        softmax(x)ᵢ = exp(xᵢ − max x) / Σⱼ exp(xⱼ − max x)

    Source: Bridle 1990, §2, Eq. 2; the shift by the maximum is the usual one against overflow.

    >>> softmax(np.array([0.0, 0.0])).tolist()
    [0.5, 0.5]
    """
    exponential = np.exp(x - np.max(x, axis=axis, keepdims=True))
    return exponential / np.sum(exponential, axis=axis, keepdims=True)


def softmax_gradient(
    upstream: Float[np.ndarray, "..."], x: Float[np.ndarray, "..."], axis: int = -1
) -> Float[np.ndarray, "..."]:
    """What the loss gains per unit of each score.

    Gradient grad:softmax:
        ∂xᵢ = pᵢ (gᵢ − Σⱼ pⱼ gⱼ), p = softmax(x)
        with g = ∂L/∂p, pⱼ = exp(xⱼ) / Z, Z = Σᵢ exp(xᵢ).
        A score moves its own exponential, and Z for all of them: ∂pⱼ/∂xᵢ = pⱼ δᵢⱼ − pⱼ pᵢ, because ∂Z/∂xᵢ = exp(xᵢ).
        Hence ∂xᵢ = Σⱼ gⱼ pⱼ (δᵢⱼ − pᵢ). The maximum is a constant in numerator and denominator, and cancels.

    >>> softmax_gradient(np.array([1.0, 0.0]), np.zeros(2)).tolist()
    [0.25, -0.25]
    """
    share = softmax(x, axis)
    return share * (upstream - np.sum(share * upstream, axis=axis, keepdims=True))


def log_softmax(x: Float[np.ndarray, "..."], axis: int = -1) -> Float[np.ndarray, "..."]:
    """The logarithm of the softmax, without ever taking the logarithm of a rounded zero.

    Equation eq:log-softmax:
        log softmax(x)ᵢ = xᵢ − max x − ln Σⱼ exp(xⱼ − max x)

    Source: the logarithm of eq:softmax; Goodfellow et al. 2016, §6.2.2.3.

    >>> log_softmax(np.array([0.0, 0.0])).round(3).tolist()
    [-0.693, -0.693]
    """
    largest = np.max(x, axis=axis, keepdims=True)
    return x - largest - np.log(np.sum(np.exp(x - largest), axis=axis, keepdims=True))


def log_softmax_gradient(
    upstream: Float[np.ndarray, "..."], x: Float[np.ndarray, "..."], axis: int = -1
) -> Float[np.ndarray, "..."]:
    """What the loss gains per unit of each score, through the logarithms of the shares.

    Gradient grad:log-softmax:
        ∂xᵢ = gᵢ − softmax(x)ᵢ · Σⱼ gⱼ
        with g = ∂L/∂y, yⱼ = xⱼ − ln Σᵢ exp(xᵢ).
        Each y has the slope 1 in its own score, and −exp(xᵢ) / Σ exp(x) = −softmax(x)ᵢ in every score i.

    >>> log_softmax_gradient(np.array([1.0, 0.0]), np.zeros(2)).tolist()
    [0.5, -0.5]
    """
    return upstream - softmax(x, axis) * np.sum(upstream, axis=axis, keepdims=True)


def attention_weights(
    query: Float[np.ndarray, "... L K"],
    key: Float[np.ndarray, "... M K"],
    may_attend: Bool[np.ndarray, "..."] | None = None,
    scale: float | None = None,
) -> Float[np.ndarray, "... L M"]:
    """How much of each value each query reads.

    Equation eq:attention-weights:
        A = softmax(Q Kᵀ / √d_k), over the keys that may be read; a row that may read nothing is 0

    Source: Vaswani et al. 2017, §3.2.1, Eq. 1 and footnote 4. The paper is silent on a row that may read nothing.

    >>> attention_weights(np.zeros((1, 2)), np.zeros((4, 2)), np.array([True, True, False, False])).tolist()
    [[0.5, 0.5, 0.0, 0.0]]
    """
    d_k = query.shape[-1]
    score = (query @ key.mT) * (1 / math.sqrt(d_k) if scale is None else scale)
    visible = np.broadcast_to(True if may_attend is None else may_attend, score.shape)
    weights = np.zeros_like(score)
    for row in np.ndindex(score.shape[:-1]):
        readable = visible[row]
        if readable.any():
            weights[row][readable] = softmax(score[row][readable])
    return weights


def attention_weights_gradient(
    upstream: Float[np.ndarray, "... L M"],
    query: Float[np.ndarray, "... L K"],
    key: Float[np.ndarray, "... M K"],
    may_attend: Bool[np.ndarray, "..."] | None = None,
    scale: float | None = None,
) -> tuple[Float[np.ndarray, "... L K"], Float[np.ndarray, "... M K"]]:
    """What the loss gains per unit of each query and key, through the weights.

    Gradient grad:attention-weights:
        ∂S = A ∘ (G − Σⱼ Aⱼ Gⱼ), ∂Q = ∂S K / √d_k, ∂K = ∂Sᵀ Q / √d_k
        with G = ∂L/∂A, A = softmax(S), S = Q Kᵀ / √d_k.
        The softmax has ∂Aⱼ/∂Sᵢ = Aⱼ (δᵢⱼ − Aᵢ), so ∂Sᵢ = Σⱼ Gⱼ Aⱼ (δᵢⱼ − Aᵢ) = Aᵢ (Gᵢ − Σⱼ Aⱼ Gⱼ).
        S is a product, and d(Q Kᵀ) = dQ Kᵀ + Q dKᵀ gives ∂Q and ∂K.
        A hidden key has Aᵢ = 0, hence ∂Sᵢ = 0; a row that sees nothing is 0 throughout and passes nothing on.

    >>> halves = attention_weights_gradient(np.array([[1.0, 0.0]]), np.ones((1, 1)), np.array([[0.0], [0.0]]))
    >>> [gradient.tolist() for gradient in halves]
    [[[0.0]], [[0.25], [-0.25]]]
    """
    factor = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
    weights = attention_weights(query, key, may_attend, scale)
    for_score = weights * (upstream - np.sum(weights * upstream, axis=-1, keepdims=True))
    return factor * for_score @ key, factor * for_score.mT @ query


def scaled_dot_product_attention(
    query: Float[np.ndarray, "... L K"],
    key: Float[np.ndarray, "... M K"],
    value: Float[np.ndarray, "... M E"],
    may_attend: Bool[np.ndarray, "..."] | None = None,
    scale: float | None = None,
) -> Float[np.ndarray, "... L E"]:
    """Each query reads the mean of the values under its weights.

    Equation eq:attention:
        Attention(Q, K, V) = softmax(Q Kᵀ / √d_k) V

    Source: Vaswani et al. 2017, §3.2.1, Eq. 1.

    >>> scaled_dot_product_attention(np.zeros((1, 2)), np.zeros((2, 2)), np.array([[1.0], [3.0]])).tolist()
    [[2.0]]
    """
    return attention_weights(query, key, may_attend, scale) @ value


def attention_gradient(
    upstream: Float[np.ndarray, "... L E"],
    query: Float[np.ndarray, "... L K"],
    key: Float[np.ndarray, "... M K"],
    value: Float[np.ndarray, "... M E"],
    may_attend: Bool[np.ndarray, "..."] | None = None,
    scale: float | None = None,
) -> tuple[Float[np.ndarray, "... L K"], Float[np.ndarray, "... M K"], Float[np.ndarray, "... M E"]]:
    """What the loss gains per unit of each query, key and value.

    Gradient grad:attention:
        ∂V = Aᵀ G, ∂A = G Vᵀ, ∂S = A ∘ (∂A − Σⱼ Aⱼ ∂Aⱼ), ∂Q = ∂S K / √d_k, ∂K = ∂Sᵀ Q / √d_k
        with G = ∂L/∂O, O = A V, A = softmax(S), S = Q Kᵀ / √d_k.
        O is a product, and d(A V) = dA V + A dV gives ∂A and ∂V; from ∂A on it is the gradient of the weights.

    >>> ones = np.ones((1, 1))
    >>> [gradient.item() for gradient in attention_gradient(ones, ones, ones, ones)]
    [0.0, 0.0, 1.0]
    """
    for_query, for_key = attention_weights_gradient(upstream @ value.mT, query, key, may_attend, scale)
    return for_query, for_key, attention_weights(query, key, may_attend, scale).mT @ upstream


def multi_head_attention(
    parameters: Parameters,
    n_heads: int,
    x: Float[np.ndarray, "... L D"],
    memory: Float[np.ndarray, "... M D"] | None = None,
    may_attend: Bool[np.ndarray, "..."] | None = None,
) -> Float[np.ndarray, "... L D"]:
    """Several attentions side by side, each with its own view of the input.

    Equation eq:multi-head-attention:
        MultiHead(X, Y) = Concat(head₁, …, head_h) W_O + b_O,
        headᵢ = Attention(X W_Qⁱ + b_Qⁱ, Y W_Kⁱ + b_Kⁱ, Y W_Vⁱ + b_Vⁱ)

    Source: Vaswani et al. 2017, §3.2.2. The biases are BERT's; the paper has none.

    >>> matrices = {f"{name}.weight": np.eye(2) for name in ("query", "key", "value", "output")}
    >>> biases = {f"{name}.bias": np.zeros(2) for name in ("query", "key", "value", "output")}
    >>> multi_head_attention(matrices | biases, 2, np.array([[5.0, 7.0]])).tolist()
    [[5.0, 7.0]]
    """
    memory = x if memory is None else memory
    query_HLK = split_heads(linear(x, parameters["query.weight"], parameters["query.bias"]), n_heads)
    key_HMK = split_heads(linear(memory, parameters["key.weight"], parameters["key.bias"]), n_heads)
    value_HMK = split_heads(linear(memory, parameters["value.weight"], parameters["value.bias"]), n_heads)
    read_HLK = scaled_dot_product_attention(query_HLK, key_HMK, value_HMK, may_attend)
    return linear(merge_heads(read_HLK), parameters["output.weight"], parameters["output.bias"])


def multi_head_attention_gradient(
    upstream: Float[np.ndarray, "... L D"],
    parameters: Parameters,
    n_heads: int,
    x: Float[np.ndarray, "... L D"],
    memory: Float[np.ndarray, "... M D"],
    may_attend: Bool[np.ndarray, "..."] | None = None,
) -> dict[str, Float[np.ndarray, "..."]]:
    """What the loss gains per unit of each parameter, of the input and of the memory, by their names.

    Gradient grad:multi-head-attention:
        ∂W_O, ∂b_O, ∂R by grad:linear at the heads side by side, R = Concat(head₁, …, head_h)
        ∂Qⁱ, ∂Kⁱ, ∂Vⁱ by grad:attention with G = ∂headᵢ, the columns of ∂R that are head i's
        ∂W, ∂b of W_Q, W_K, W_V by grad:linear at X, Y, Y; ∂X from the queries, ∂Y from keys and values together.
        The chain rule, from the output backwards; a head passes nothing to the columns of another.

    >>> matrices = {f"{name}.weight": np.eye(1) for name in ("query", "key", "value", "output")}
    >>> biases = {f"{name}.bias": np.zeros(1) for name in ("query", "key", "value", "output")}
    >>> one = np.ones((1, 1))
    >>> gradient = multi_head_attention_gradient(one, matrices | biases, 1, one, one)
    >>> [gradient[name].item() for name in ("value.weight", "output.bias", "x", "memory")]
    [1.0, 1.0, 0.0, 1.0]
    """
    asked = {"query": x, "key": memory, "value": memory}
    projected = {name: linear(asked[name], parameters[f"{name}.weight"], parameters[f"{name}.bias"]) for name in asked}
    query_HLK, key_HMK, value_HMK = (split_heads(projected[name], n_heads) for name in asked)
    read = merge_heads(scaled_dot_product_attention(query_HLK, key_HMK, value_HMK, may_attend))
    for_read, *for_output = linear_gradient(upstream, read, parameters["output.weight"])
    for_heads = attention_gradient(split_heads(for_read, n_heads), query_HLK, key_HMK, value_HMK, may_attend)
    gradient = dict(zip(("output.weight", "output.bias"), for_output, strict=True))
    passed_on = {}
    for name, for_head in zip(asked, for_heads, strict=True):
        passed_on[name], gradient[f"{name}.weight"], gradient[f"{name}.bias"] = linear_gradient(
            merge_heads(for_head), asked[name], parameters[f"{name}.weight"]
        )
    return {**gradient, "x": passed_on["query"], "memory": passed_on["key"] + passed_on["value"]}


def split_heads(x: Float[np.ndarray, "... L D"], n_heads: int) -> Float[np.ndarray, "... H L K"]:
    """Give each head its own columns.

    >>> split_heads(np.array([[1.0, 2.0, 3.0, 4.0]]), n_heads=2).tolist()
    [[[1.0, 2.0]], [[3.0, 4.0]]]
    """
    return np.stack(np.split(x, n_heads, axis=-1), axis=-3)


def merge_heads(x: Float[np.ndarray, "... H L K"]) -> Float[np.ndarray, "... L D"]:
    """Put the columns of the heads side by side.

    >>> merge_heads(np.array([[[1.0, 2.0]], [[3.0, 4.0]]])).tolist()
    [[1.0, 2.0, 3.0, 4.0]]
    """
    return np.concatenate([x[..., head, :, :] for head in range(x.shape[-3])], axis=-1)
