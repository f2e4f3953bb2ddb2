"""Mutants of stacks of decoder blocks that normalise first."""

import torch
from torch import Tensor

from minitransformer.laws.modules import Parameters
from minitransformer.laws.zoo.mutant import mutant
from minitransformer.laws.zoo.parts import (
    after_self_attention_normalised_first,
    attend,
    attend_itself,
    blocks_of,
    causal_and,
    norm,
    normalise,
    pre_norm_decoder_block,
    shares_or_nan,
)


@mutant(
    "pre-norm-decoder",
    symptom="Scores grow with depth; loaded weights give samples that repeat one word.",
    source="harvardnlp/annotated-transformer#1",
    difficulty="medium",
)
def decoder_left_open(
    parameters: Parameters,
    n_heads: int,
    x: Tensor,
    memory: Tensor,
    may_attend: Tensor | None = None,
    may_attend_memory: Tensor | None = None,
) -> Tensor:
    """No norm closes the stack."""
    for block in blocks_of(parameters):
        x = pre_norm_decoder_block(block, n_heads, x, memory, may_attend, may_attend_memory)
    return x


@mutant(
    "pre-norm-decoder",
    symptom="Trains as well; loaded weights come out a little off.",
    difficulty="hard",
)
def decoder_closed_twice(
    parameters: Parameters,
    n_heads: int,
    x: Tensor,
    memory: Tensor,
    may_attend: Tensor | None = None,
    may_attend_memory: Tensor | None = None,
) -> Tensor:
    """The closing norm is taken twice."""
    for block in blocks_of(parameters):
        x = pre_norm_decoder_block(block, n_heads, x, memory, may_attend, may_attend_memory)
    return norm(parameters, "norm", norm(parameters, "norm", x))


@mutant(
    "pre-norm-decoder",
    symptom="Deep stacks train no better than post-norm ones.",
    difficulty="medium",
)
def decoder_closed_after_every_block(
    parameters: Parameters,
    n_heads: int,
    x: Tensor,
    memory: Tensor,
    may_attend: Tensor | None = None,
    may_attend_memory: Tensor | None = None,
) -> Tensor:
    """The closing norm stands inside the loop."""
    for block in blocks_of(parameters):
        x = pre_norm_decoder_block(block, n_heads, x, memory, may_attend, may_attend_memory)
        x = norm(parameters, "norm", x)
    return x


@mutant(
    "pre-norm-decoder",
    symptom="The loss is too good: what leaks in early blocks is read at once.",
    difficulty="hard",
)
def causal_rule_in_the_last_block_only(
    parameters: Parameters,
    n_heads: int,
    x: Tensor,
    memory: Tensor,
    may_attend: Tensor | None = None,
    may_attend_memory: Tensor | None = None,
) -> Tensor:
    """All blocks but the last read the future."""
    *earlier, last = blocks_of(parameters)
    for block in earlier:
        x = x + attend_itself(block, n_heads, normalise(block, "attention", x), may_attend)
        x = after_self_attention_normalised_first(block, n_heads, x, memory, may_attend_memory)
    x = pre_norm_decoder_block(last, n_heads, x, memory, may_attend, may_attend_memory)
    return norm(parameters, "norm", x)


@mutant(
    "pre-norm-decoder",
    symptom="Right without padding; with it, the loss is far too good.",
    difficulty="medium",
)
def given_rule_or_the_causal_one(
    parameters: Parameters,
    n_heads: int,
    x: Tensor,
    memory: Tensor,
    may_attend: Tensor | None = None,
    may_attend_memory: Tensor | None = None,
) -> Tensor:
    """A rule that is given is joined to the causal one by or, in every block."""
    earlier = causal_and(None, x.shape[1])
    rule = earlier if may_attend is None else earlier | may_attend
    for block in blocks_of(parameters):
        x = x + attend_itself(block, n_heads, normalise(block, "attention", x), rule)
        x = after_self_attention_normalised_first(block, n_heads, x, memory, may_attend_memory)
    return norm(parameters, "norm", x)


@mutant(
    "pre-norm-decoder",
    symptom="Trains as well; loaded weights give nonsense.",
    difficulty="hard",
)
def memory_closed_with_the_sequence(
    parameters: Parameters,
    n_heads: int,
    x: Tensor,
    memory: Tensor,
    may_attend: Tensor | None = None,
    may_attend_memory: Tensor | None = None,
) -> Tensor:
    """The closing norm is given to the memory too, before the first block."""
    memory = norm(parameters, "norm", memory)
    for block in blocks_of(parameters):
        x = pre_norm_decoder_block(block, n_heads, x, memory, may_attend, may_attend_memory)
    return norm(parameters, "norm", x)


@mutant(
    "pre-norm-decoder",
    symptom="The source is forgotten from block to block.",
    difficulty="medium",
)
def memory_for_the_first_block_only(
    parameters: Parameters,
    n_heads: int,
    x: Tensor,
    memory: Tensor,
    may_attend: Tensor | None = None,
    may_attend_memory: Tensor | None = None,
) -> Tensor:
    """All blocks but the first read the sequence in place of the memory."""
    for index, block in enumerate(blocks_of(parameters)):
        if index == 0:
            x = pre_norm_decoder_block(block, n_heads, x, memory, may_attend, may_attend_memory)
        else:
            x = pre_norm_decoder_block(block, n_heads, x, x, may_attend)
    return norm(parameters, "norm", x)


@mutant(
    "pre-norm-decoder",
    symptom="What is generated changes with the padding of the source, a little.",
    difficulty="hard",
)
def memory_rule_for_the_last_block_only(
    parameters: Parameters,
    n_heads: int,
    x: Tensor,
    memory: Tensor,
    may_attend: Tensor | None = None,
    may_attend_memory: Tensor | None = None,
) -> Tensor:
    """All blocks but the last read the padding of the memory."""
    *earlier, last = blocks_of(parameters)
    for block in earlier:
        x = pre_norm_decoder_block(block, n_heads, x, memory, may_attend)
    x = pre_norm_decoder_block(last, n_heads, x, memory, may_attend, may_attend_memory)
    return norm(parameters, "norm", x)


@mutant(
    "pre-norm-decoder",
    symptom="Left-padded batches are continued in another way, a little.",
    difficulty="hard",
)
def sequence_rule_for_the_last_block_only(
    parameters: Parameters,
    n_heads: int,
    x: Tensor,
    memory: Tensor,
    may_attend: Tensor | None = None,
    may_attend_memory: Tensor | None = None,
) -> Tensor:
    """Tokens that the rule hides are read by all blocks but the last."""
    *earlier, last = blocks_of(parameters)
    for block in earlier:
        x = pre_norm_decoder_block(block, n_heads, x, memory, None, may_attend_memory)
    x = pre_norm_decoder_block(last, n_heads, x, memory, may_attend, may_attend_memory)
    return norm(parameters, "norm", x)


@mutant(
    "pre-norm-decoder",
    symptom="The model is shallower than its configuration says.",
    difficulty="medium",
)
def second_block_never_asked(
    parameters: Parameters,
    n_heads: int,
    x: Tensor,
    memory: Tensor,
    may_attend: Tensor | None = None,
    may_attend_memory: Tensor | None = None,
) -> Tensor:
    """The loop ends before the last block."""
    for block in blocks_of(parameters)[:-1]:
        x = pre_norm_decoder_block(block, n_heads, x, memory, may_attend, may_attend_memory)
    return norm(parameters, "norm", x)


@mutant(
    "pre-norm-decoder",
    symptom="All blocks but the first stay as they were initialised.",
    difficulty="medium",
)
def first_decoder_block_all_the_way(
    parameters: Parameters,
    n_heads: int,
    x: Tensor,
    memory: Tensor,
    may_attend: Tensor | None = None,
    may_attend_memory: Tensor | None = None,
) -> Tensor:
    """The first block is used as often as there are blocks."""
    blocks = blocks_of(parameters)
    for _ in blocks:
        x = pre_norm_decoder_block(blocks[0], n_heads, x, memory, may_attend, may_attend_memory)
    return norm(parameters, "norm", x)


@mutant(
    "pre-norm-decoder",
    symptom="Trains as well; loaded weights give nonsense.",
    difficulty="medium",
)
def last_decoder_block_first(
    parameters: Parameters,
    n_heads: int,
    x: Tensor,
    memory: Tensor,
    may_attend: Tensor | None = None,
    may_attend_memory: Tensor | None = None,
) -> Tensor:
    """The blocks come in reverse order."""
    for block in reversed(blocks_of(parameters)):
        x = pre_norm_decoder_block(block, n_heads, x, memory, may_attend, may_attend_memory)
    return norm(parameters, "norm", x)


@mutant(
    "pre-norm-decoder",
    symptom="The encoder stays as it was initialised.",
    difficulty="hard",
)
def memory_kept_without_a_gradient(
    parameters: Parameters,
    n_heads: int,
    x: Tensor,
    memory: Tensor,
    may_attend: Tensor | None = None,
    may_attend_memory: Tensor | None = None,
) -> Tensor:
    """The memory is computed once and kept, without a gradient."""
    with torch.no_grad():
        kept = memory.clone()
    for block in blocks_of(parameters):
        x = pre_norm_decoder_block(block, n_heads, x, kept, may_attend, may_attend_memory)
    return norm(parameters, "norm", x)


@mutant(
    "pre-norm-decoder",
    symptom="Early words know the beginning of the source alone.",
    difficulty="medium",
)
def memory_read_in_the_order_of_writing(
    parameters: Parameters,
    n_heads: int,
    x: Tensor,
    memory: Tensor,
    may_attend: Tensor | None = None,
    may_attend_memory: Tensor | None = None,
) -> Tensor:
    """The memory is read under a causal rule in every block."""
    past = torch.ones(x.shape[1], memory.shape[1], dtype=torch.bool).tril()
    rule = past if may_attend_memory is None else past & may_attend_memory
    for block in blocks_of(parameters):
        x = pre_norm_decoder_block(block, n_heads, x, memory, may_attend, rule)
    return norm(parameters, "norm", x)


@mutant(
    "pre-norm-decoder",
    symptom="Left-padded prompts give NaN, from the padding on.",
    difficulty="medium",
)
def nan_from_a_hidden_prompt(
    parameters: Parameters,
    n_heads: int,
    x: Tensor,
    memory: Tensor,
    may_attend: Tensor | None = None,
    may_attend_memory: Tensor | None = None,
) -> Tensor:
    """Where a position may read nothing of the sequence, the softmax of its scores is 0 / 0."""
    rule = causal_and(may_attend, x.shape[1])
    for block in blocks_of(parameters):
        asked = normalise(block, "attention", x)
        x = x + attend(block, "attention", n_heads, asked, asked, rule, shares_or_nan)
        x = after_self_attention_normalised_first(block, n_heads, x, memory, may_attend_memory)
    return norm(parameters, "norm", x)


@mutant(
    "pre-norm-decoder",
    symptom="Fluent answers to the question before.",
    difficulty="medium",
)
def memory_of_the_example_before(
    parameters: Parameters,
    n_heads: int,
    x: Tensor,
    memory: Tensor,
    may_attend: Tensor | None = None,
    may_attend_memory: Tensor | None = None,
) -> Tensor:
    """The memory is shifted by one example."""
    for block in blocks_of(parameters):
        x = pre_norm_decoder_block(block, n_heads, x, memory.roll(1, dims=0), may_attend, may_attend_memory)
    return norm(parameters, "norm", x)


@mutant(
    "pre-norm-decoder",
    symptom="Small inputs, as at the start of training, give scores that are too small.",
    difficulty="hard",
)
def decoder_closed_with_another_eps(
    parameters: Parameters,
    n_heads: int,
    x: Tensor,
    memory: Tensor,
    may_attend: Tensor | None = None,
    may_attend_memory: Tensor | None = None,
) -> Tensor:
    """The closing norm uses PyTorch's eps of 1e-5, and not 1e-12."""
    for block in blocks_of(parameters):
        x = pre_norm_decoder_block(block, n_heads, x, memory, may_attend, may_attend_memory)
    return norm(parameters, "norm", x, eps=1e-5)
