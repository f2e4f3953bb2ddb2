"""Blocks: attention and feed-forward, each with its residual connection; and stacks of blocks."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Bool, Float

from minitransformer.reference.attention import multi_head_attention
from minitransformer.reference.feed_forward import Activation, feed_forward, relu
from minitransformer.reference.norm import learned_layer_norm
from minitransformer.reference.parameters import Parameters, part
from minitransformer.reference.visibility import causal

Sublayer = Callable[[np.ndarray], np.ndarray]
Norm = Callable[[Parameters, np.ndarray], np.ndarray]
Residual = Callable[[Parameters, np.ndarray, Sublayer, Norm], np.ndarray]


def post_norm(
    parameters: Parameters, x: Float[np.ndarray, "... L D"], sublayer: Sublayer, norm: Norm = learned_layer_norm
) -> Float[np.ndarray, "... L D"]:
    """Add what the sublayer says to its input, then normalise the sum.

    Equation eq:post-norm:
        y = Norm(x + Dropout(Sublayer(x)))

    The reference evaluates, so its dropout passes everything on.

    Source: Vaswani et al. 2017, §3.1 and §5.4. BERT, RoBERTa and BART keep this order.

    >>> parameters = {"norm.gain": np.ones(2), "norm.bias": np.zeros(2)}
    >>> post_norm(parameters, np.array([[1.0, 3.0]]), lambda x: 0 * x).round(6).tolist()
    [[-1.0, 1.0]]
    """
    return norm(part(parameters, "norm"), x + sublayer(x))


def pre_norm(
    parameters: Parameters, x: Float[np.ndarray, "... L D"], sublayer: Sublayer, norm: Norm = learned_layer_norm
) -> Float[np.ndarray, "... L D"]:
    """Add to the input what the sublayer says about its normalised form.

    Equation eq:pre-norm:
        y = x + Dropout(Sublayer(Norm(x)))

    The reference evaluates, so its dropout passes everything on.

    Source: Xiong et al. 2020, §3.1 and Table 1; GPT-2, T5 and ViT keep this order.

    >>> parameters = {"norm.gain": np.ones(2), "norm.bias": np.zeros(2)}
    >>> pre_norm(parameters, np.array([[1.0, 3.0]]), lambda x: x).round(6).tolist()
    [[0.0, 4.0]]
    """
    return x + sublayer(norm(part(parameters, "norm"), x))


def encoder_block(
    parameters: Parameters,
    n_heads: int,
    x: Float[np.ndarray, "... L D"],
    may_attend: Bool[np.ndarray, "..."] | None = None,
    activation: Activation = relu,
    residual: Residual = post_norm,
    norm: Norm = learned_layer_norm,
) -> Float[np.ndarray, "... L D"]:
    """Self-attention, then the feed-forward network, each inside its residual connection.

    Equation eq:encoder-block:
        y = Residual₁(x, SelfAttention), z = Residual₂(y, FFN)

    Source: Vaswani et al. 2017, §3.1, Encoder.
    """

    def self_attention(asked: np.ndarray) -> np.ndarray:
        return multi_head_attention(part(parameters, "attention"), n_heads, asked, None, may_attend)

    def network(asked: np.ndarray) -> np.ndarray:
        return feed_forward(part(parameters, "feed_forward"), asked, activation)

    y = residual(part(parameters, "attention_residual"), x, self_attention, norm)
    return residual(part(parameters, "feed_forward_residual"), y, network, norm)


def decoder_block(
    parameters: Parameters,
    n_heads: int,
    x: Float[np.ndarray, "... L D"],
    memory: Float[np.ndarray, "... M D"],
    may_attend: Bool[np.ndarray, "..."] | None = None,
    may_attend_memory: Bool[np.ndarray, "..."] | None = None,
    activation: Activation = relu,
    residual: Residual = post_norm,
    norm: Norm = learned_layer_norm,
) -> Float[np.ndarray, "... L D"]:
    """Causal self-attention, attention to the memory, then the feed-forward network.

    Equation eq:decoder-block:
        u = Residual₁(x, CausalSelfAttention), y = Residual₂(u, CrossAttention(·, memory)), z = Residual₃(y, FFN)

    Source: Vaswani et al. 2017, §3.1, Decoder, and §3.2.3.
    """
    visible = causal(x.shape[-2])
    if may_attend is not None:
        visible = visible & may_attend

    def self_attention(asked: np.ndarray) -> np.ndarray:
        return multi_head_attention(part(parameters, "attention"), n_heads, asked, None, visible)

    def cross_attention(asked: np.ndarray) -> np.ndarray:
        return multi_head_attention(part(parameters, "cross_attention"), n_heads, asked, memory, may_attend_memory)

    def network(asked: np.ndarray) -> np.ndarray:
        return feed_forward(part(parameters, "feed_forward"), asked, activation)

    u = residual(part(parameters, "attention_residual"), x, self_attention, norm)
    y = residual(part(parameters, "cross_attention_residual"), u, cross_attention, norm)
    return residual(part(parameters, "feed_forward_residual"), y, network, norm)


def encoder(
    parameters: Parameters,
    n_heads: int,
    x: Float[np.ndarray, "... L D"],
    may_attend: Bool[np.ndarray, "..."] | None = None,
    activation: Activation = relu,
    residual: Residual = post_norm,
    norm: Norm = learned_layer_norm,
) -> Float[np.ndarray, "... L D"]:
    """A stack of encoder blocks.

    Equation eq:encoder:
        x₀ = x, xᵢ = EncoderBlockᵢ(xᵢ₋₁), Encoder(x) = ClosingNorm(x_N)

    Only blocks that normalise first need the closing norm, and bring parameters for one.

    Source: Vaswani et al. 2017, §3.1; the closing norm: Xiong et al. 2020, Table 1.

    >>> encoder({}, n_heads=1, x=np.array([[5.0, 7.0]])).tolist()
    [[5.0, 7.0]]
    """
    for index in range(count_blocks(parameters)):
        block = part(parameters, f"blocks.{index}")
        x = encoder_block(block, n_heads, x, may_attend, activation, residual, norm)
    closing = part(parameters, "norm")
    return norm(closing, x) if closing else x


def decoder(
    parameters: Parameters,
    n_heads: int,
    x: Float[np.ndarray, "... L D"],
    memory: Float[np.ndarray, "... M D"],
    may_attend: Bool[np.ndarray, "..."] | None = None,
    may_attend_memory: Bool[np.ndarray, "..."] | None = None,
    activation: Activation = relu,
    residual: Residual = post_norm,
    norm: Norm = learned_layer_norm,
) -> Float[np.ndarray, "... L D"]:
    """A stack of decoder blocks.

    Equation eq:decoder:
        x₀ = x, xᵢ = DecoderBlockᵢ(xᵢ₋₁, memory), Decoder(x, memory) = ClosingNorm(x_N)

    Source: Vaswani et al. 2017, §3.1; the closing norm: Xiong et al. 2020, Table 1.

    >>> decoder({}, n_heads=1, x=np.array([[5.0, 7.0]]), memory=np.zeros((3, 2))).tolist()
    [[5.0, 7.0]]
    """
    for index in range(count_blocks(parameters)):
        block = part(parameters, f"blocks.{index}")
        x = decoder_block(block, n_heads, x, memory, may_attend, may_attend_memory, activation, residual, norm)
    closing = part(parameters, "norm")
    return norm(closing, x) if closing else x


def count_blocks(parameters: Parameters) -> int:
    """How many blocks a stack has parameters for.

    >>> count_blocks({"blocks.0.norm.gain": np.ones(2), "blocks.1.norm.gain": np.ones(2), "norm.gain": np.ones(2)})
    2
    """
    return len({name.split(".")[1] for name in parameters if name.startswith("blocks.")})
