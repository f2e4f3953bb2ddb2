"""What is right in most mutants of heads and blocks: norms, attentions and networks, from their parameters."""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from minitransformer.laws.modules import Parameters
from minitransformer.laws.zoo.attention_weights import shares

BERT_EPS = 1e-12


def norm(parameters: Parameters, name: str, x: Tensor, eps: float = BERT_EPS) -> Tensor:
    """The norm of each position, with the gain and the bias of a part."""
    return F.layer_norm(x, x.shape[-1:], parameters[f"{name}.gain"], parameters[f"{name}.bias"], eps)


def normalise(parameters: Parameters, sublayer: str, x: Tensor, eps: float = BERT_EPS) -> Tensor:
    """The norm beside a sublayer."""
    return norm(parameters, f"{sublayer}_residual.norm", x, eps)


def linear(parameters: Parameters, name: str, x: Tensor) -> Tensor:
    """A linear map."""
    return F.linear(x, parameters[f"{name}.weight"], parameters[f"{name}.bias"])


def split(x: Tensor, n_heads: int) -> Tensor:
    """Each head gets its own columns, and an axis of its own before the positions."""
    return x.reshape(*x.shape[:-1], n_heads, -1).transpose(-3, -2)


def merge(heads: Tensor) -> Tensor:
    """The columns of the heads stand side by side again."""
    return heads.transpose(-3, -2).flatten(-2)


def shares_or_nan(score: Tensor, may_attend: Tensor | None) -> Tensor:
    """A plain softmax over the keys that may be read, which is 0 / 0 where a query may read nothing."""
    return score.softmax(-1) if may_attend is None else score.masked_fill(~may_attend, -math.inf).softmax(-1)


def attend(
    parameters: Parameters,
    name: str,
    n_heads: int,
    x: Tensor,
    memory: Tensor,
    may_attend: Tensor | None = None,
    weigh: Callable[[Tensor, Tensor | None], Tensor] = shares,
) -> Tensor:
    """What a sequence reads of a memory, by an attention of several heads."""
    query, key, value = (
        split(linear(parameters, f"{name}.{projection}", vectors), n_heads)
        for projection, vectors in (("query", x), ("key", memory), ("value", memory))
    )
    weights = weigh(query @ key.mT / math.sqrt(query.shape[-1]), may_attend)
    return linear(parameters, f"{name}.output", merge(weights @ value))


def attend_itself(parameters: Parameters, n_heads: int, x: Tensor, may_attend: Tensor | None = None) -> Tensor:
    """What a sequence reads of itself."""
    return attend(parameters, "attention", n_heads, x, x, may_attend)


def attend_memory(
    parameters: Parameters, n_heads: int, x: Tensor, memory: Tensor, may_attend: Tensor | None = None
) -> Tensor:
    """What a sequence reads of the memory."""
    return attend(parameters, "cross_attention", n_heads, x, memory, may_attend)


def network(parameters: Parameters, x: Tensor, activation: Callable[[Tensor], Tensor] = torch.relu) -> Tensor:
    """What the network of a block says of each position."""
    return linear(parameters, "feed_forward.outer", activation(linear(parameters, "feed_forward.inner", x)))


def causal_and(may_attend: Tensor | None, length: int) -> Tensor:
    """Nothing later, and nothing that a rule hides."""
    earlier = torch.ones(length, length, dtype=torch.bool).tril()
    return earlier if may_attend is None else earlier & may_attend


def encoder_block(parameters: Parameters, n_heads: int, x: Tensor, may_attend: Tensor | None = None) -> Tensor:
    """A right block that normalises after."""
    x = normalise(parameters, "attention", x + attend_itself(parameters, n_heads, x, may_attend))
    return normalise(parameters, "feed_forward", x + network(parameters, x))


def pre_norm_encoder_block(parameters: Parameters, n_heads: int, x: Tensor, may_attend: Tensor | None = None) -> Tensor:
    """A right block that normalises first."""
    x = x + attend_itself(parameters, n_heads, normalise(parameters, "attention", x), may_attend)
    return x + network(parameters, normalise(parameters, "feed_forward", x))


def self_attention_first(parameters: Parameters, n_heads: int, x: Tensor, may_attend: Tensor | None = None) -> Tensor:
    """The right first half of a block that normalises after."""
    rule = causal_and(may_attend, x.shape[1])
    return normalise(parameters, "attention", x + attend_itself(parameters, n_heads, x, rule))


def after_self_attention(
    parameters: Parameters,
    n_heads: int,
    x: Tensor,
    memory: Tensor,
    may_attend_memory: Tensor | None = None,
) -> Tensor:
    """The right second half of a block that normalises after: cross-attention and the network."""
    x = normalise(parameters, "cross_attention", x + attend_memory(parameters, n_heads, x, memory, may_attend_memory))
    return normalise(parameters, "feed_forward", x + network(parameters, x))


def decoder_block(
    parameters: Parameters,
    n_heads: int,
    x: Tensor,
    memory: Tensor,
    may_attend: Tensor | None = None,
    may_attend_memory: Tensor | None = None,
) -> Tensor:
    """A right block that normalises after."""
    x = self_attention_first(parameters, n_heads, x, may_attend)
    return after_self_attention(parameters, n_heads, x, memory, may_attend_memory)


def self_attention_normalised_first(
    parameters: Parameters, n_heads: int, x: Tensor, may_attend: Tensor | None = None
) -> Tensor:
    """The right first half of a block that normalises first."""
    rule = causal_and(may_attend, x.shape[1])
    return x + attend_itself(parameters, n_heads, normalise(parameters, "attention", x), rule)


def after_self_attention_normalised_first(
    parameters: Parameters,
    n_heads: int,
    x: Tensor,
    memory: Tensor,
    may_attend_memory: Tensor | None = None,
) -> Tensor:
    """The right second half of a block that normalises first."""
    question = normalise(parameters, "cross_attention", x)
    x = x + attend_memory(parameters, n_heads, question, memory, may_attend_memory)
    return x + network(parameters, normalise(parameters, "feed_forward", x))


def pre_norm_decoder_block(
    parameters: Parameters,
    n_heads: int,
    x: Tensor,
    memory: Tensor,
    may_attend: Tensor | None = None,
    may_attend_memory: Tensor | None = None,
) -> Tensor:
    """A right block that normalises first."""
    x = self_attention_normalised_first(parameters, n_heads, x, may_attend)
    return after_self_attention_normalised_first(parameters, n_heads, x, memory, may_attend_memory)


def blocks_of(parameters: Parameters) -> list[Parameters]:
    """The parameters of each block of a stack, under the names that a block uses.

    >>> blocks_of({"blocks.0.gain": torch.ones(1), "norm.gain": torch.ones(1)})
    [{'gain': tensor([1.])}]
    """
    count = len({name.split(".")[1] for name in parameters if name.startswith("blocks.")})
    return [
        {
            name.removeprefix(f"blocks.{index}."): tensor
            for name, tensor in parameters.items()
            if name.startswith(f"blocks.{index}.")
        }
        for index in range(count)
    ]
