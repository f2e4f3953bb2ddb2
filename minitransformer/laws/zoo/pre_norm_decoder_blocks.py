"""Mutants of decoder blocks that normalise first."""

# ruff: noqa: ARG001 - an argument that is never used is a classic mistake

import torch
from torch import Tensor

from minitransformer.laws.modules import Parameters
from minitransformer.laws.zoo.mutant import mutant
from minitransformer.laws.zoo.parts import (
    after_self_attention_normalised_first,
    attend,
    attend_itself,
    attend_memory,
    causal_and,
    network,
    normalise,
    pre_norm_decoder_block,
    self_attention_normalised_first,
    shares_or_nan,
)


@mutant(
    "pre-norm-decoder-block",
    symptom="The loss falls to nothing, and generation fails from the first word on.",
    difficulty="easy",
)
def future_visible_to_the_block(
    parameters: Parameters,
    n_heads: int,
    x: Tensor,
    memory: Tensor,
    may_attend: Tensor | None = None,
    may_attend_memory: Tensor | None = None,
) -> Tensor:
    """There is no causal rule."""
    x = x + attend_itself(parameters, n_heads, normalise(parameters, "attention", x), may_attend)
    return after_self_attention_normalised_first(parameters, n_heads, x, memory, may_attend_memory)


@mutant(
    "pre-norm-decoder-block",
    symptom="Right without a rule; with one for padding, padding and future are both read.",
    difficulty="hard",
)
def either_rule_will_do(
    parameters: Parameters,
    n_heads: int,
    x: Tensor,
    memory: Tensor,
    may_attend: Tensor | None = None,
    may_attend_memory: Tensor | None = None,
) -> Tensor:
    """The given rule and the causal one are joined by or, and not by and."""
    rule = causal_and(None, x.shape[1]) if may_attend is None else causal_and(None, x.shape[1]) | may_attend
    x = x + attend_itself(parameters, n_heads, normalise(parameters, "attention", x), rule)
    return after_self_attention_normalised_first(parameters, n_heads, x, memory, may_attend_memory)


@mutant(
    "pre-norm-decoder-block",
    symptom="Left-padded batches are continued in another way than prompts alone.",
    difficulty="medium",
)
def hidden_tokens_read_by_the_block(
    parameters: Parameters,
    n_heads: int,
    x: Tensor,
    memory: Tensor,
    may_attend: Tensor | None = None,
    may_attend_memory: Tensor | None = None,
) -> Tensor:
    """The rule that is given is never joined to the causal one."""
    x = self_attention_normalised_first(parameters, n_heads, x)
    return after_self_attention_normalised_first(parameters, n_heads, x, memory, may_attend_memory)


@mutant(
    "pre-norm-decoder-block",
    symptom="Trains as well; the memory, which its encoder has normalised, is so once more.",
    difficulty="hard",
)
def memory_normalised_with_the_question(
    parameters: Parameters,
    n_heads: int,
    x: Tensor,
    memory: Tensor,
    may_attend: Tensor | None = None,
    may_attend_memory: Tensor | None = None,
) -> Tensor:
    """The norm of cross-attention is given to the memory too."""
    x = self_attention_normalised_first(parameters, n_heads, x, may_attend)
    normal = normalise(parameters, "cross_attention", memory)
    return after_self_attention_normalised_first(parameters, n_heads, x, normal, may_attend_memory)


@mutant(
    "pre-norm-decoder-block",
    symptom="Trains, less stably the deeper the stack; one norm never moves.",
    difficulty="medium",
)
def question_to_the_memory_without_a_norm(
    parameters: Parameters,
    n_heads: int,
    x: Tensor,
    memory: Tensor,
    may_attend: Tensor | None = None,
    may_attend_memory: Tensor | None = None,
) -> Tensor:
    """Cross-attention asks with the sequence as it is."""
    x = self_attention_normalised_first(parameters, n_heads, x, may_attend)
    x = x + attend_memory(parameters, n_heads, x, memory, may_attend_memory)
    return x + network(parameters, normalise(parameters, "feed_forward", x))


@mutant(
    "pre-norm-decoder-block",
    symptom="Fluent summaries that have nothing to do with the text.",
    difficulty="easy",
)
def sequence_read_for_the_memory(
    parameters: Parameters,
    n_heads: int,
    x: Tensor,
    memory: Tensor,
    may_attend: Tensor | None = None,
    may_attend_memory: Tensor | None = None,
) -> Tensor:
    """Cross-attention reads its own question, and not the memory."""
    x = self_attention_normalised_first(parameters, n_heads, x, may_attend)
    question = normalise(parameters, "cross_attention", x)
    x = x + attend_memory(parameters, n_heads, question, question)
    return x + network(parameters, normalise(parameters, "feed_forward", x))


@mutant(
    "pre-norm-decoder-block",
    symptom="Summaries change with the batch that the text stands in.",
    difficulty="medium",
)
def rule_of_the_memory_not_handed_on(
    parameters: Parameters,
    n_heads: int,
    x: Tensor,
    memory: Tensor,
    may_attend: Tensor | None = None,
    may_attend_memory: Tensor | None = None,
) -> Tensor:
    """The rule of the memory is never given to cross-attention."""
    x = self_attention_normalised_first(parameters, n_heads, x, may_attend)
    return after_self_attention_normalised_first(parameters, n_heads, x, memory)


@mutant(
    "pre-norm-decoder-block",
    symptom="Deep stacks learn badly: the plain path is cut by three norms in each block.",
    source="datawhalechina/happy-llm#21",
    difficulty="hard",
)
def residuals_of_the_decoder_normalised(
    parameters: Parameters,
    n_heads: int,
    x: Tensor,
    memory: Tensor,
    may_attend: Tensor | None = None,
    may_attend_memory: Tensor | None = None,
) -> Tensor:
    """`x` is overwritten by its norm before each sublayer, and the answer is added to that."""
    x = normalise(parameters, "attention", x)
    x = x + attend_itself(parameters, n_heads, x, causal_and(may_attend, x.shape[1]))
    x = normalise(parameters, "cross_attention", x)
    x = x + attend_memory(parameters, n_heads, x, memory, may_attend_memory)
    x = normalise(parameters, "feed_forward", x)
    return x + network(parameters, x)


@mutant(
    "pre-norm-decoder-block",
    symptom="Trains nearly as well; loaded weights give nonsense.",
    difficulty="medium",
)
def network_beside_the_memory(
    parameters: Parameters,
    n_heads: int,
    x: Tensor,
    memory: Tensor,
    may_attend: Tensor | None = None,
    may_attend_memory: Tensor | None = None,
) -> Tensor:
    """The network is asked beside cross-attention, about what self-attention left, and not after it."""
    x = self_attention_normalised_first(parameters, n_heads, x, may_attend)
    question = normalise(parameters, "cross_attention", x)
    read = attend_memory(parameters, n_heads, question, memory, may_attend_memory)
    return x + read + network(parameters, normalise(parameters, "feed_forward", x))


@mutant(
    "pre-norm-decoder-block",
    symptom="The first words know the beginning of the text only.",
    difficulty="medium",
)
def memory_read_as_far_as_written(
    parameters: Parameters,
    n_heads: int,
    x: Tensor,
    memory: Tensor,
    may_attend: Tensor | None = None,
    may_attend_memory: Tensor | None = None,
) -> Tensor:
    """The memory is read under a causal rule too."""
    x = self_attention_normalised_first(parameters, n_heads, x, may_attend)
    past = torch.ones(x.shape[1], memory.shape[1], dtype=torch.bool).tril()
    rule = past if may_attend_memory is None else past & may_attend_memory
    return after_self_attention_normalised_first(parameters, n_heads, x, memory, rule)


@mutant(
    "pre-norm-decoder-block",
    symptom="The decoder learns a language, and the encoder stays as it was initialised.",
    difficulty="hard",
)
def memory_cut_off(
    parameters: Parameters,
    n_heads: int,
    x: Tensor,
    memory: Tensor,
    may_attend: Tensor | None = None,
    may_attend_memory: Tensor | None = None,
) -> Tensor:
    """The memory is detached."""
    return pre_norm_decoder_block(parameters, n_heads, x, memory.detach(), may_attend, may_attend_memory)


@mutant(
    "pre-norm-decoder-block",
    symptom="The forward pass is right; the blocks below hardly learn.",
    difficulty="hard",
)
def sum_of_the_decoder_block_detached(
    parameters: Parameters,
    n_heads: int,
    x: Tensor,
    memory: Tensor,
    may_attend: Tensor | None = None,
    may_attend_memory: Tensor | None = None,
) -> Tensor:
    """The input that self-attention's answer is added to is detached."""
    rule = causal_and(may_attend, x.shape[1])
    x = x.detach() + attend_itself(parameters, n_heads, normalise(parameters, "attention", x), rule)
    return after_self_attention_normalised_first(parameters, n_heads, x, memory, may_attend_memory)


@mutant(
    "pre-norm-decoder-block",
    symptom="Left-padded batches give NaN, from the padding on.",
    source="pytorch/pytorch#103963",
    difficulty="medium",
)
def nan_from_a_hidden_beginning(
    parameters: Parameters,
    n_heads: int,
    x: Tensor,
    memory: Tensor,
    may_attend: Tensor | None = None,
    may_attend_memory: Tensor | None = None,
) -> Tensor:
    """Where a position may read nothing of the sequence, the softmax of its scores is 0 / 0."""
    asked = normalise(parameters, "attention", x)
    rule = causal_and(may_attend, x.shape[1])
    x = x + attend(parameters, "attention", n_heads, asked, asked, rule, shares_or_nan)
    return after_self_attention_normalised_first(parameters, n_heads, x, memory, may_attend_memory)


@mutant(
    "pre-norm-decoder-block",
    symptom="What is generated changes with who else is in the batch.",
    difficulty="medium",
)
def other_sentences_read(
    parameters: Parameters,
    n_heads: int,
    x: Tensor,
    memory: Tensor,
    may_attend: Tensor | None = None,
    may_attend_memory: Tensor | None = None,
) -> Tensor:
    """The memory of the sentence before is read, for the batch was shifted by one."""
    return pre_norm_decoder_block(parameters, n_heads, x, memory.roll(1, dims=0), may_attend, may_attend_memory)


@mutant(
    "pre-norm-decoder-block",
    symptom="Loaded weights give scores that are a little off, most in the first block.",
    difficulty="hard",
)
def decoder_questions_with_another_eps(
    parameters: Parameters,
    n_heads: int,
    x: Tensor,
    memory: Tensor,
    may_attend: Tensor | None = None,
    may_attend_memory: Tensor | None = None,
) -> Tensor:
    """The norm before self-attention uses PyTorch's eps of 1e-5, and not 1e-12."""
    rule = causal_and(may_attend, x.shape[1])
    x = x + attend_itself(parameters, n_heads, normalise(parameters, "attention", x, eps=1e-5), rule)
    return after_self_attention_normalised_first(parameters, n_heads, x, memory, may_attend_memory)


@mutant(
    "pre-norm-decoder-block",
    symptom="∞ in the first large activation of half precision, then NaN.",
    difficulty="hard",
)
def decoder_block_by_way_of_float16(
    parameters: Parameters,
    n_heads: int,
    x: Tensor,
    memory: Tensor,
    may_attend: Tensor | None = None,
    may_attend_memory: Tensor | None = None,
) -> Tensor:
    """Half precision is taken for float16, whatever half it is: what exceeds 65,504 is ∞ there."""
    passed = x.half().to(x.dtype) if x.dtype == torch.bfloat16 else x
    return pre_norm_decoder_block(parameters, n_heads, passed, memory, may_attend, may_attend_memory)
