"""Modules as functions of their parameters, as the reference has them: so that laws can say what a module computes.

`parameters` has the names of our module's `state_dict()`. What builds the module is an argument, ours unless another is
given: so anyone's class is asked the same questions.
"""

from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from minitransformer.attention import MultiHeadAttention
from minitransformer.blocks import Decoder, DecoderBlock, Encoder, EncoderBlock, PostNorm, PreNorm
from minitransformer.dropout import Dropout
from minitransformer.embeddings import Embeddings
from minitransformer.feed_forward import FeedForward
from minitransformer.heads import ClassificationHead, MaskedWordHead, NextSentenceHead, Pooler
from minitransformer.laws.guarding import NotOfferedError, reason_against
from minitransformer.norm import LayerNorm

Parameters = dict[str, Tensor]
Run = Callable[..., Tensor]
Build = Callable[..., Run]
"""From the sizes of a module to a function of its parameters and its inputs."""


class Called(nn.Module):
    """A module that is called in a way of its own."""

    def __init__(self, theirs: nn.Module, call: Callable[..., Any]) -> None:
        super().__init__()
        self.theirs = theirs
        self.call = call

    def forward(self, *inputs: Any) -> Any:
        """Call it."""
        return self.call(self.theirs, *inputs)


def of_class(
    module_class: Callable[..., nn.Module],
    translate: Callable[[Parameters], Mapping[str, Tensor]] = dict,
    call: Callable[..., Any] | None = None,
) -> Build:
    """Build modules of a class, evaluating if not told otherwise; `translate` gives parameters the names of the class.

    >>> linear = of_class(nn.Linear)(2, 1)
    >>> linear({"weight": torch.ones(1, 2), "bias": torch.ones(1)}, torch.tensor([3.0, 4.0])).tolist()
    [8.0]
    """

    @lru_cache(maxsize=8)
    def build(*sizes: float) -> Run:
        with torch.device("meta"):  # every number comes with the parameters
            module = module_class(*sizes)
        if any(True for _ in module.buffers()):  # whose numbers it makes itself
            module = module_class(*sizes)
        if call is not None:
            module = Called(module, call)
        prefix = "" if call is None else "theirs."

        def run(parameters: Parameters, *inputs: Any, training: bool = False) -> Tensor:
            named = {prefix + name: tensor for name, tensor in translate(parameters).items()}
            require_names(module, named)
            given = without_what_is_not_taken(module.forward if call is None else partial(call, module), inputs)
            return torch.func.functional_call(module.train(training), named, given)  # type: ignore[no-any-return]

        return run

    return build


def without_what_is_not_taken(call: Callable[..., Any], inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    """The inputs without those at the end that are None and that a module does not take.

    Raises: NotOfferedError for another input that it does not take.

    >>> without_what_is_not_taken(lambda x: x, (1, None, None))
    (1,)
    """
    while inputs and inputs[-1] is None and reason_against(call, inputs, {}):
        inputs = inputs[:-1]
    if reason := reason_against(call, inputs, {}):
        raise NotOfferedError(reason)
    return inputs


def require_names(module: nn.Module, named: Mapping[str, Tensor]) -> None:
    """Refuse a module whose parameters have other names than those that are given.

    Raises: NotOfferedError that says which are missing, and which are there in their place.
    """
    theirs = {name for name, _ in module.named_parameters(remove_duplicate=False)}
    if theirs != named.keys():
        missing, more = (
            ", ".join(sorted(name.removeprefix("theirs.") for name in names))
            for names in (named.keys() - theirs, theirs - named.keys())
        )
        raise NotOfferedError(
            f"of the parameters it lacks: {missing or 'none'}; it has beside them: {more or 'none'}; "
            "say what yours are called, as query=w_q, with --rename or adapters.module(Theirs, {'query': 'w_q'})"
        )


# What reads


def multi_head_attention(
    parameters: Parameters,
    n_heads: int,
    x: Float[Tensor, "B L D"],
    memory: Float[Tensor, "B M D"] | None = None,
    may_attend: Bool[Tensor, "..."] | None = None,
    *,
    build: Build = of_class(MultiHeadAttention),
) -> Float[Tensor, "B L D"]:
    """Several attentions side by side, each with its own view of the input; built from d_model and n_heads."""
    return build(x.shape[-1], n_heads)(parameters, x, memory, may_attend)


def feed_forward(
    parameters: Parameters, x: Float[Tensor, "B L D"], *, build: Build = of_class(FeedForward)
) -> Float[Tensor, "B L D"]:
    """The same small network at every position, with the ReLU; built from d_model and d_ff."""
    return build(x.shape[-1], parameters["inner.weight"].shape[0])(parameters, x)


# Blocks and stacks


def post_norm(
    parameters: Parameters,
    x: Float[Tensor, "B L D"],
    sublayer: Callable[[Tensor], Tensor],
    *,
    build: Build = of_class(lambda d_model: PostNorm(LayerNorm(d_model))),
) -> Float[Tensor, "B L D"]:
    """Add what the sublayer says to its input, then normalise the sum; built from d_model."""
    return build(x.shape[-1])(parameters, x, sublayer)


def pre_norm(
    parameters: Parameters,
    x: Float[Tensor, "B L D"],
    sublayer: Callable[[Tensor], Tensor],
    *,
    build: Build = of_class(lambda d_model: PreNorm(LayerNorm(d_model))),
) -> Float[Tensor, "B L D"]:
    """Add to the input what the sublayer says about its normalised form; built from d_model."""
    return build(x.shape[-1])(parameters, x, sublayer)


def encoder_block(
    parameters: Parameters,
    n_heads: int,
    x: Float[Tensor, "B L D"],
    may_attend: Bool[Tensor, "..."] | None = None,
    *,
    build: Build = of_class(EncoderBlock),
) -> Float[Tensor, "B L D"]:
    """Self-attention, then the network with the ReLU, each normalised after; built from d_model, n_heads and d_ff."""
    return build(x.shape[-1], n_heads, width_of_network(parameters))(parameters, x, may_attend)


def decoder_block(
    parameters: Parameters,
    n_heads: int,
    x: Float[Tensor, "B L D"],
    memory: Float[Tensor, "B M D"],
    may_attend: Bool[Tensor, "..."] | None = None,
    may_attend_memory: Bool[Tensor, "..."] | None = None,
    *,
    build: Build = of_class(DecoderBlock),
) -> Float[Tensor, "B L D"]:
    """Causal self-attention, attention to the memory, the network; built from d_model, n_heads and d_ff."""
    run = build(x.shape[-1], n_heads, width_of_network(parameters))
    return run(parameters, x, memory, may_attend, may_attend_memory)


def encoder(
    parameters: Parameters,
    n_heads: int,
    x: Float[Tensor, "B L D"],
    may_attend: Bool[Tensor, "..."] | None = None,
    *,
    build: Build = of_class(Encoder),
) -> Float[Tensor, "B L D"]:
    """A stack of encoder blocks; built from n_blocks, d_model, n_heads and d_ff."""
    run = build(count_blocks(parameters), x.shape[-1], n_heads, width_of_network(parameters))
    return run(parameters, x, may_attend)


def decoder(
    parameters: Parameters,
    n_heads: int,
    x: Float[Tensor, "B L D"],
    memory: Float[Tensor, "B M D"],
    may_attend: Bool[Tensor, "..."] | None = None,
    may_attend_memory: Bool[Tensor, "..."] | None = None,
    *,
    build: Build = of_class(Decoder),
) -> Float[Tensor, "B L D"]:
    """A stack of decoder blocks; built from n_blocks, d_model, n_heads and d_ff."""
    run = build(count_blocks(parameters), x.shape[-1], n_heads, width_of_network(parameters))
    return run(parameters, x, memory, may_attend, may_attend_memory)


def pre_norm_encoder_block(
    parameters: Parameters,
    n_heads: int,
    x: Float[Tensor, "B L D"],
    may_attend: Bool[Tensor, "..."] | None = None,
    *,
    build: Build = of_class(partial(EncoderBlock, residual=PreNorm)),
) -> Float[Tensor, "B L D"]:
    """The encoder block that normalises what each sublayer is given; built from d_model, n_heads and d_ff.

    Source: Xiong et al. 2020, §3.1 and Table 1.
    """
    return encoder_block(parameters, n_heads, x, may_attend, build=build)


def pre_norm_decoder_block(
    parameters: Parameters,
    n_heads: int,
    x: Float[Tensor, "B L D"],
    memory: Float[Tensor, "B M D"],
    may_attend: Bool[Tensor, "..."] | None = None,
    may_attend_memory: Bool[Tensor, "..."] | None = None,
    *,
    build: Build = of_class(partial(DecoderBlock, residual=PreNorm)),
) -> Float[Tensor, "B L D"]:
    """The decoder block that normalises what each sublayer is given; built from d_model, n_heads and d_ff.

    Source: Xiong et al. 2020, §3.1 and Table 1.
    """
    return decoder_block(parameters, n_heads, x, memory, may_attend, may_attend_memory, build=build)


def pre_norm_encoder(
    parameters: Parameters,
    n_heads: int,
    x: Float[Tensor, "B L D"],
    may_attend: Bool[Tensor, "..."] | None = None,
    *,
    build: Build = of_class(partial(Encoder, residual=PreNorm)),
) -> Float[Tensor, "B L D"]:
    """A stack of encoder blocks that normalise first, and a closing norm; from n_blocks, d_model, n_heads and d_ff.

    Source: Xiong et al. 2020, §3.1 and Table 1.
    """
    return encoder(parameters, n_heads, x, may_attend, build=build)


def pre_norm_decoder(
    parameters: Parameters,
    n_heads: int,
    x: Float[Tensor, "B L D"],
    memory: Float[Tensor, "B M D"],
    may_attend: Bool[Tensor, "..."] | None = None,
    may_attend_memory: Bool[Tensor, "..."] | None = None,
    *,
    build: Build = of_class(partial(Decoder, residual=PreNorm)),
) -> Float[Tensor, "B L D"]:
    """A stack of decoder blocks that normalise first, and a closing norm; from n_blocks, d_model, n_heads and d_ff.

    Source: Xiong et al. 2020, §3.1 and Table 1.
    """
    return decoder(parameters, n_heads, x, memory, may_attend, may_attend_memory, build=build)


def width_of_network(parameters: Parameters) -> int:
    """The width d_ff of the network in a block, or in a stack of them."""
    return next(tensor.shape[0] for name, tensor in parameters.items() if name.endswith("feed_forward.inner.weight"))


def count_blocks(parameters: Parameters) -> int:
    """How many blocks a stack has parameters for."""
    return len({name.split(".")[1] for name in parameters if name.startswith("blocks.")})


# Embeddings and heads


def embeddings(
    parameters: Parameters,
    token_ids: Int[Tensor, "B L"],
    segment_ids: Int[Tensor, "B L"] | None = None,
    *,
    build: Build = of_class(Embeddings),
) -> Float[Tensor, "B L D"]:
    """The sum of a word, a position and a segment vector, normalised.

    Built from vocab_size, max_positions, n_segments and d_model.
    """
    vocab_size, d_model = parameters["word.weight"].shape
    sizes = vocab_size, len(parameters["position.weight"]), len(parameters["segment.weight"]), d_model
    return build(*sizes)(parameters, token_ids, segment_ids)


def pooler(
    parameters: Parameters, x: Float[Tensor, "B L D"], *, build: Build = of_class(Pooler)
) -> Float[Tensor, "B D"]:
    """One vector for the whole sequence, read at its first token; built from d_model."""
    return build(x.shape[-1])(parameters, x)


def masked_word_head(
    parameters: Parameters,
    x: Float[Tensor, "B L D"],
    *,
    build: Build = of_class(lambda d_model, vocab_size: MaskedWordHead(d_model, None, vocab_size)),
) -> Float[Tensor, "B L V"]:
    """A score for every word of the vocabulary, at every position; built from d_model and vocab_size."""
    return build(x.shape[-1], len(parameters["decoder.bias"]))(parameters, x)


def next_sentence_head(
    parameters: Parameters, pooled: Float[Tensor, "B D"], *, build: Build = of_class(NextSentenceHead)
) -> Float[Tensor, "B 2"]:
    """Two scores: the second segment follows the first, or it does not; built from d_model."""
    return build(pooled.shape[-1])(parameters, pooled)


def classification_head(
    parameters: Parameters, x: Float[Tensor, "B D"], *, build: Build = of_class(ClassificationHead)
) -> Float[Tensor, "B N"]:
    """One score for each class, from one vector; built from d_model and n_classes."""
    return build(x.shape[-1], len(parameters["dense.bias"]))(parameters, x)


# Functions that others write as modules


def layer_norm(
    x: Float[Tensor, "... D"], gain: Float[Tensor, " D"], bias: Float[Tensor, " D"], eps: float = 1e-12, *, build: Build
) -> Float[Tensor, "... D"]:
    """Layer normalisation by a module with a gain and a bias, built from d_model and eps."""
    return build(x.shape[-1], eps)({"gain": gain, "bias": bias}, x)


def rms_norm(
    x: Float[Tensor, "... D"], gain: Float[Tensor, " D"], eps: float = 1e-6, *, build: Build
) -> Float[Tensor, "... D"]:
    """RMS normalisation by a module with a gain, built from d_model and eps."""
    return build(x.shape[-1], eps)({"gain": gain}, x)


def activation(x: Float[Tensor, "..."], *, build: Build) -> Float[Tensor, "..."]:
    """An activation by a module without parameters, built from nothing."""
    return build()({}, x)


def dropout(x: Float[Tensor, "..."], rate: float, *, build: Build) -> Float[Tensor, "..."]:
    """Dropout by a module that trains, built from the rate."""
    return build(rate)({}, x, training=True)


def dropout_layer(
    x: Float[Tensor, "..."], rate: float, training: bool, *, build: Build = of_class(Dropout)
) -> Float[Tensor, "..."]:
    """Dropout by a module that knows whether it trains, built from the rate.

    Source: Srivastava et al. 2014, §4 and §10, in the form that rescales during training.
    """
    return build(rate)({}, x, training=training)


BUILT: dict[str, Callable[..., Any]] = {
    "multi-head-attention": multi_head_attention,
    "feed-forward": feed_forward,
    "post-norm": post_norm,
    "pre-norm": pre_norm,
    "encoder-block": encoder_block,
    "pre-norm-encoder-block": pre_norm_encoder_block,
    "decoder-block": decoder_block,
    "pre-norm-decoder-block": pre_norm_decoder_block,
    "encoder": encoder,
    "pre-norm-encoder": pre_norm_encoder,
    "decoder": decoder,
    "pre-norm-decoder": pre_norm_decoder,
    "embeddings": embeddings,
    "pooler": pooler,
    "masked-word-head": masked_word_head,
    "next-sentence-head": next_sentence_head,
    "classification-head": classification_head,
    "layer-norm": layer_norm,
    "rms-norm": rms_norm,
    "gelu": activation,
    "gelu-tanh": activation,
    "relu": activation,
    "dropout": dropout,
    "dropout-layer": dropout_layer,
}
"""For each claim that a module can make, the function that asks a module."""
