"""Mutants of decoder blocks that normalise after."""

# ruff: noqa: ARG001 - an argument that is never used is a classic mistake

import torch
import torch.nn.functional as F
from torch import Tensor

from minitransformer.laws.modules import Parameters
from minitransformer.laws.zoo.mutant import mutant
from minitransformer.laws.zoo.parts import (
    after_self_attention,
    after_self_attention_normalised_first,
    attend,
    attend_itself,
    attend_memory,
    causal_and,
    decoder_block,
    network,
    normalise,
    self_attention_first,
    self_attention_normalised_first,
    shares_or_nan,
)


@mutant(
    "decoder-block",
    symptom="A training loss near 0 within minutes, and samples that are noise.",
    difficulty="easy",
)
def future_visible(
    parameters: Parameters,
    n_heads: int,
    x: Tensor,
    memory: Tensor,
    may_attend: Tensor | None = None,
    may_attend_memory: Tensor | None = None,
) -> Tensor:
    """There is no causal rule: every token reads the one that it should predict."""
    x = normalise(parameters, "attention", x + attend_itself(parameters, n_heads, x, may_attend))
    return after_self_attention(parameters, n_heads, x, memory, may_attend_memory)


@mutant(
    "decoder-block",
    symptom="A training loss near 0, though a causal rule is plainly there.",
    difficulty="medium",
)
def next_token_visible_in_the_block(
    parameters: Parameters,
    n_heads: int,
    x: Tensor,
    memory: Tensor,
    may_attend: Tensor | None = None,
    may_attend_memory: Tensor | None = None,
) -> Tensor:
    """The diagonal of the causal rule is off by one: each token reads the next one."""
    one_too_many = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).tril(diagonal=1)
    rule = one_too_many if may_attend is None else one_too_many & may_attend
    x = normalise(parameters, "attention", x + attend_itself(parameters, n_heads, x, rule))
    return after_self_attention(parameters, n_heads, x, memory, may_attend_memory)


@mutant(
    "decoder-block",
    symptom="Trains a little worse; the first token reads nothing at all.",
    difficulty="hard",
)
def own_token_hidden_in_the_block(
    parameters: Parameters,
    n_heads: int,
    x: Tensor,
    memory: Tensor,
    may_attend: Tensor | None = None,
    may_attend_memory: Tensor | None = None,
) -> Tensor:
    """The diagonal of the causal rule is off by one the other way: no token reads itself."""
    strictly_earlier = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).tril(diagonal=-1)
    rule = strictly_earlier if may_attend is None else strictly_earlier & may_attend
    x = normalise(parameters, "attention", x + attend_itself(parameters, n_heads, x, rule))
    return after_self_attention(parameters, n_heads, x, memory, may_attend_memory)


@mutant(
    "decoder-block",
    symptom="Right in every test without padding; in training, the loss is far too good.",
    difficulty="hard",
)
def given_rule_for_the_causal_one(
    parameters: Parameters,
    n_heads: int,
    x: Tensor,
    memory: Tensor,
    may_attend: Tensor | None = None,
    may_attend_memory: Tensor | None = None,
) -> Tensor:
    """A rule that is given takes the place of the causal one."""
    rule = causal_and(None, x.shape[1]) if may_attend is None else may_attend
    x = normalise(parameters, "attention", x + attend_itself(parameters, n_heads, x, rule))
    return after_self_attention(parameters, n_heads, x, memory, may_attend_memory)


@mutant(
    "decoder-block",
    symptom="Left-padded batches are decoded in another way than sentences alone.",
    difficulty="medium",
)
def given_rule_not_handed_on(
    parameters: Parameters,
    n_heads: int,
    x: Tensor,
    memory: Tensor,
    may_attend: Tensor | None = None,
    may_attend_memory: Tensor | None = None,
) -> Tensor:
    """The causal rule stands alone: the one that is given is never joined to it."""
    x = normalise(parameters, "attention", x + attend_itself(parameters, n_heads, x, causal_and(None, x.shape[1])))
    return after_self_attention(parameters, n_heads, x, memory, may_attend_memory)


@mutant(
    "decoder-block",
    symptom="Fluent translations of nothing in particular.",
    difficulty="easy",
)
def memory_never_read(
    parameters: Parameters,
    n_heads: int,
    x: Tensor,
    memory: Tensor,
    may_attend: Tensor | None = None,
    may_attend_memory: Tensor | None = None,
) -> Tensor:
    """Cross-attention reads the sequence, and not the memory."""
    x = self_attention_first(parameters, n_heads, x, may_attend)
    return after_self_attention(parameters, n_heads, x, x)


@mutant(
    "decoder-block",
    symptom="Translations change with the batch that the source sentence stands in.",
    difficulty="medium",
)
def padding_of_the_memory_read(
    parameters: Parameters,
    n_heads: int,
    x: Tensor,
    memory: Tensor,
    may_attend: Tensor | None = None,
    may_attend_memory: Tensor | None = None,
) -> Tensor:
    """The rule of the memory is never given to cross-attention."""
    x = self_attention_first(parameters, n_heads, x, may_attend)
    return after_self_attention(parameters, n_heads, x, memory)


@mutant(
    "decoder-block",
    symptom="Right where source and target have one length, as in a task of copying; raises or leaks elsewhere.",
    difficulty="medium",
)
def rules_swapped(
    parameters: Parameters,
    n_heads: int,
    x: Tensor,
    memory: Tensor,
    may_attend: Tensor | None = None,
    may_attend_memory: Tensor | None = None,
) -> Tensor:
    """The two rules are handed on in the wrong order."""
    return decoder_block(parameters, n_heads, x, memory, may_attend_memory, may_attend)


@mutant(
    "decoder-block",
    symptom="The first words of a translation know the first words of the source only.",
    difficulty="medium",
)
def causal_rule_on_the_memory(
    parameters: Parameters,
    n_heads: int,
    x: Tensor,
    memory: Tensor,
    may_attend: Tensor | None = None,
    may_attend_memory: Tensor | None = None,
) -> Tensor:
    """The memory is read under a causal rule too."""
    x = self_attention_first(parameters, n_heads, x, may_attend)
    past = torch.ones(x.shape[1], memory.shape[1], dtype=torch.bool).tril()
    rule = past if may_attend_memory is None else past & may_attend_memory
    return after_self_attention(parameters, n_heads, x, memory, rule)


@mutant(
    "decoder-block",
    symptom="Trains as well; loaded weights give nonsense.",
    difficulty="easy",
)
def memory_read_first(
    parameters: Parameters,
    n_heads: int,
    x: Tensor,
    memory: Tensor,
    may_attend: Tensor | None = None,
    may_attend_memory: Tensor | None = None,
) -> Tensor:
    """Cross-attention comes before self-attention."""
    x = normalise(parameters, "cross_attention", x + attend_memory(parameters, n_heads, x, memory, may_attend_memory))
    x = self_attention_first(parameters, n_heads, x, may_attend)
    return normalise(parameters, "feed_forward", x + network(parameters, x))


@mutant(
    "decoder-block",
    symptom="Trains worse; the weights of cross-attention never move.",
    difficulty="medium",
)
def one_attention_for_both(
    parameters: Parameters,
    n_heads: int,
    x: Tensor,
    memory: Tensor,
    may_attend: Tensor | None = None,
    may_attend_memory: Tensor | None = None,
) -> Tensor:
    """The weights of self-attention read the memory too."""
    x = self_attention_first(parameters, n_heads, x, may_attend)
    read = attend(parameters, "attention", n_heads, x, memory, may_attend_memory)
    x = normalise(parameters, "cross_attention", x + read)
    return normalise(parameters, "feed_forward", x + network(parameters, x))


@mutant(
    "decoder-block",
    symptom="The decoder forgets its own words: it repeats what the source says.",
    difficulty="medium",
)
def residual_around_the_memory_forgotten(
    parameters: Parameters,
    n_heads: int,
    x: Tensor,
    memory: Tensor,
    may_attend: Tensor | None = None,
    may_attend_memory: Tensor | None = None,
) -> Tensor:
    """What is read of the memory takes the place of the sequence."""
    x = self_attention_first(parameters, n_heads, x, may_attend)
    x = normalise(parameters, "cross_attention", attend_memory(parameters, n_heads, x, memory, may_attend_memory))
    return normalise(parameters, "feed_forward", x + network(parameters, x))


@mutant(
    "decoder-block",
    symptom="The decoder learns a language, and the encoder nothing.",
    difficulty="hard",
)
def memory_without_a_gradient(
    parameters: Parameters,
    n_heads: int,
    x: Tensor,
    memory: Tensor,
    may_attend: Tensor | None = None,
    may_attend_memory: Tensor | None = None,
) -> Tensor:
    """The memory is detached, so that no gradient reaches the encoder."""
    return decoder_block(parameters, n_heads, x, memory.detach(), may_attend, may_attend_memory)


@mutant(
    "decoder-block",
    symptom="Trains, even without a warm-up; loaded weights give nonsense.",
    source="harvardnlp/annotated-transformer#92",
    difficulty="easy",
)
def decoder_block_that_normalises_first(
    parameters: Parameters,
    n_heads: int,
    x: Tensor,
    memory: Tensor,
    may_attend: Tensor | None = None,
    may_attend_memory: Tensor | None = None,
) -> Tensor:
    """All norms stand before their sublayers."""
    x = self_attention_normalised_first(parameters, n_heads, x, may_attend)
    return after_self_attention_normalised_first(parameters, n_heads, x, memory, may_attend_memory)


@mutant(
    "decoder-block",
    symptom="Trains as well; weights of the Transformer of 2017 come out wrong.",
    difficulty="medium",
)
def gelu_in_the_network_of_a_decoder(
    parameters: Parameters,
    n_heads: int,
    x: Tensor,
    memory: Tensor,
    may_attend: Tensor | None = None,
    may_attend_memory: Tensor | None = None,
) -> Tensor:
    """The network uses the GELU where the ReLU is meant."""
    x = self_attention_first(parameters, n_heads, x, may_attend)
    x = normalise(parameters, "cross_attention", x + attend_memory(parameters, n_heads, x, memory, may_attend_memory))
    return normalise(parameters, "feed_forward", x + network(parameters, x, F.gelu))


@mutant(
    "decoder-block",
    symptom="NaN for every word of a translation whose source is all padding.",
    source="pytorch/pytorch#103963",
    difficulty="medium",
)
def nan_from_an_empty_source(
    parameters: Parameters,
    n_heads: int,
    x: Tensor,
    memory: Tensor,
    may_attend: Tensor | None = None,
    may_attend_memory: Tensor | None = None,
) -> Tensor:
    """Where a position may read nothing of the memory, the softmax of its scores is 0 / 0."""
    x = self_attention_first(parameters, n_heads, x, may_attend)
    read = attend(parameters, "cross_attention", n_heads, x, memory, may_attend_memory, shares_or_nan)
    x = normalise(parameters, "cross_attention", x + read)
    return normalise(parameters, "feed_forward", x + network(parameters, x))


@mutant(
    "decoder-block",
    symptom="Sentences of one batch are translated into each other.",
    difficulty="hard",
)
def sequence_first_where_the_batch_is(
    parameters: Parameters,
    n_heads: int,
    x: Tensor,
    memory: Tensor,
    may_attend: Tensor | None = None,
    may_attend_memory: Tensor | None = None,
) -> Tensor:
    """Self-attention wants the length first and is given the batch first."""
    read = attend_itself(parameters, n_heads, x.transpose(0, 1), causal_and(None, x.shape[0])).transpose(0, 1)
    x = normalise(parameters, "attention", x + read)
    return after_self_attention(parameters, n_heads, x, memory, may_attend_memory)


@mutant(
    "decoder-block",
    symptom="Loaded weights give scores that are a little off.",
    difficulty="hard",
)
def decoder_block_with_another_eps(
    parameters: Parameters,
    n_heads: int,
    x: Tensor,
    memory: Tensor,
    may_attend: Tensor | None = None,
    may_attend_memory: Tensor | None = None,
) -> Tensor:
    """The norm behind self-attention uses PyTorch's eps of 1e-5, and not 1e-12."""
    rule = causal_and(may_attend, x.shape[1])
    x = normalise(parameters, "attention", x + attend_itself(parameters, n_heads, x, rule), eps=1e-5)
    return after_self_attention(parameters, n_heads, x, memory, may_attend_memory)


@mutant(
    "decoder-block",
    symptom="The forward pass is right; the embeddings of the target hardly learn.",
    difficulty="hard",
)
def input_of_the_decoder_detached(
    parameters: Parameters,
    n_heads: int,
    x: Tensor,
    memory: Tensor,
    may_attend: Tensor | None = None,
    may_attend_memory: Tensor | None = None,
) -> Tensor:
    """The input that self-attention's answer is added to is detached."""
    rule = causal_and(may_attend, x.shape[1])
    x = normalise(parameters, "attention", x.detach() + attend_itself(parameters, n_heads, x, rule))
    return after_self_attention(parameters, n_heads, x, memory, may_attend_memory)


@mutant(
    "decoder-block",
    symptom="Half precision saves no memory behind the first block.",
    difficulty="hard",
)
def decoder_block_left_in_float32(
    parameters: Parameters,
    n_heads: int,
    x: Tensor,
    memory: Tensor,
    may_attend: Tensor | None = None,
    may_attend_memory: Tensor | None = None,
) -> Tensor:
    """The block is computed in float32 at least, and its result is not brought back."""
    wide = torch.promote_types(x.dtype, torch.float32)
    widened = {name: tensor.to(wide) for name, tensor in parameters.items()}
    return decoder_block(widened, n_heads, x.to(wide), memory.to(wide), may_attend, may_attend_memory)
