"""Mutants of stacks of decoder blocks that normalise after."""

import torch
import torch.nn.functional as F
from torch import Tensor

from minitransformer.laws.modules import Parameters
from minitransformer.laws.zoo.mutant import mutant
from minitransformer.laws.zoo.parts import (
    after_self_attention,
    attend,
    attend_itself,
    blocks_of,
    causal_and,
    decoder_block,
    network,
    normalise,
    self_attention_first,
    shares_or_nan,
)


@mutant(
    "decoder",
    symptom="The loss is a little too good, and samples are worse than it promises.",
    difficulty="hard",
)
def causal_rule_in_the_first_block_only(
    parameters: Parameters,
    n_heads: int,
    x: Tensor,
    memory: Tensor,
    may_attend: Tensor | None = None,
    may_attend_memory: Tensor | None = None,
) -> Tensor:
    """All blocks but the first read the future."""
    for index, block in enumerate(blocks_of(parameters)):
        if index == 0:
            x = decoder_block(block, n_heads, x, memory, may_attend, may_attend_memory)
        else:
            x = normalise(block, "attention", x + attend_itself(block, n_heads, x, may_attend))
            x = after_self_attention(block, n_heads, x, memory, may_attend_memory)
    return x


@mutant(
    "decoder",
    symptom="Right in every test without padding; in training, the loss is far too good.",
    difficulty="medium",
)
def future_visible_where_a_rule_is_given(
    parameters: Parameters,
    n_heads: int,
    x: Tensor,
    memory: Tensor,
    may_attend: Tensor | None = None,
    may_attend_memory: Tensor | None = None,
) -> Tensor:
    """A rule that is given takes the place of the causal one, in every block."""
    for block in blocks_of(parameters):
        rule = causal_and(None, x.shape[1]) if may_attend is None else may_attend
        x = normalise(block, "attention", x + attend_itself(block, n_heads, x, rule))
        x = after_self_attention(block, n_heads, x, memory, may_attend_memory)
    return x


@mutant(
    "decoder",
    symptom="Trains as well; loaded weights give nonsense.",
    difficulty="hard",
)
def memory_changed_between_blocks(
    parameters: Parameters,
    n_heads: int,
    x: Tensor,
    memory: Tensor,
    may_attend: Tensor | None = None,
    may_attend_memory: Tensor | None = None,
) -> Tensor:
    """Each block passes the memory through its network, and the next one reads what comes out."""
    for block in blocks_of(parameters):
        x = decoder_block(block, n_heads, x, memory, may_attend, may_attend_memory)
        memory = normalise(block, "feed_forward", memory + network(block, memory))
    return x


@mutant(
    "decoder",
    symptom="All blocks but the first read themselves twice, and the source once.",
    difficulty="hard",
)
def own_words_for_the_memory(
    parameters: Parameters,
    n_heads: int,
    x: Tensor,
    memory: Tensor,
    may_attend: Tensor | None = None,
    may_attend_memory: Tensor | None = None,
) -> Tensor:
    """Behind the first block the sequence takes the place of the memory."""
    for index, block in enumerate(blocks_of(parameters)):
        if index == 0:
            x = decoder_block(block, n_heads, x, memory, may_attend, may_attend_memory)
        else:
            x = decoder_block(block, n_heads, x, x, may_attend)
    return x


@mutant(
    "decoder",
    symptom="Translations change with the batch that the source stands in, a little.",
    difficulty="hard",
)
def rule_of_the_memory_for_the_first_block_only(
    parameters: Parameters,
    n_heads: int,
    x: Tensor,
    memory: Tensor,
    may_attend: Tensor | None = None,
    may_attend_memory: Tensor | None = None,
) -> Tensor:
    """All blocks but the first read the padding of the memory."""
    for index, block in enumerate(blocks_of(parameters)):
        x = decoder_block(block, n_heads, x, memory, may_attend, may_attend_memory if index == 0 else None)
    return x


@mutant(
    "decoder",
    symptom="Left-padded batches are continued in another way, a little.",
    difficulty="hard",
)
def rule_of_the_sequence_for_the_first_block_only(
    parameters: Parameters,
    n_heads: int,
    x: Tensor,
    memory: Tensor,
    may_attend: Tensor | None = None,
    may_attend_memory: Tensor | None = None,
) -> Tensor:
    """Tokens that the rule hides are read by all blocks but the first."""
    for index, block in enumerate(blocks_of(parameters)):
        x = decoder_block(block, n_heads, x, memory, may_attend if index == 0 else None, may_attend_memory)
    return x


@mutant(
    "decoder",
    symptom="The last block never moves from where it began.",
    difficulty="medium",
)
def last_decoder_block_skipped(
    parameters: Parameters,
    n_heads: int,
    x: Tensor,
    memory: Tensor,
    may_attend: Tensor | None = None,
    may_attend_memory: Tensor | None = None,
) -> Tensor:
    """The loop ends before the last block."""
    for block in blocks_of(parameters)[:-1]:
        x = decoder_block(block, n_heads, x, memory, may_attend, may_attend_memory)
    return x


@mutant(
    "decoder",
    symptom="A model of six blocks that learns as one with a sixth of its parameters.",
    difficulty="medium",
)
def one_decoder_block_many_times(
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
        x = decoder_block(blocks[0], n_heads, x, memory, may_attend, may_attend_memory)
    return x


@mutant(
    "decoder",
    symptom="Trains as well; loaded weights give nonsense.",
    difficulty="medium",
)
def decoder_blocks_in_reverse_order(
    parameters: Parameters,
    n_heads: int,
    x: Tensor,
    memory: Tensor,
    may_attend: Tensor | None = None,
    may_attend_memory: Tensor | None = None,
) -> Tensor:
    """The last block comes first."""
    for block in reversed(blocks_of(parameters)):
        x = decoder_block(block, n_heads, x, memory, may_attend, may_attend_memory)
    return x


@mutant(
    "decoder",
    symptom="Trains as well; loaded weights give scores that are too small.",
    source="harvardnlp/annotated-transformer#13",
    difficulty="medium",
)
def closing_norm_after_a_post_norm_decoder(
    parameters: Parameters,
    n_heads: int,
    x: Tensor,
    memory: Tensor,
    may_attend: Tensor | None = None,
    may_attend_memory: Tensor | None = None,
) -> Tensor:
    """A norm closes the stack, though its last block has normalised already."""
    for block in blocks_of(parameters):
        x = decoder_block(block, n_heads, x, memory, may_attend, may_attend_memory)
    return F.layer_norm(x, x.shape[-1:], eps=1e-12)


@mutant(
    "decoder",
    symptom="Early words know the beginning of the source alone.",
    difficulty="medium",
)
def memory_in_the_order_of_the_sequence(
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
        x = decoder_block(block, n_heads, x, memory, may_attend, rule)
    return x


@mutant(
    "decoder",
    symptom="The encoder learns from the first block of the decoder alone.",
    difficulty="hard",
)
def memory_detached_behind_the_first_block(
    parameters: Parameters,
    n_heads: int,
    x: Tensor,
    memory: Tensor,
    may_attend: Tensor | None = None,
    may_attend_memory: Tensor | None = None,
) -> Tensor:
    """The memory is detached for the stack, as where it is kept in a cache."""
    memory = memory.detach()
    for block in blocks_of(parameters):
        x = decoder_block(block, n_heads, x, memory, may_attend, may_attend_memory)
    return x


@mutant(
    "decoder",
    symptom="An empty source, and the loss of its batch is NaN.",
    difficulty="medium",
)
def nan_through_the_whole_decoder(
    parameters: Parameters,
    n_heads: int,
    x: Tensor,
    memory: Tensor,
    may_attend: Tensor | None = None,
    may_attend_memory: Tensor | None = None,
) -> Tensor:
    """Where a position may read nothing of the memory, the softmax of its scores is 0 / 0."""
    for block in blocks_of(parameters):
        x = self_attention_first(block, n_heads, x, may_attend)
        read = attend(block, "cross_attention", n_heads, x, memory, may_attend_memory, shares_or_nan)
        x = normalise(block, "cross_attention", x + read)
        x = normalise(block, "feed_forward", x + network(block, x))
    return x


@mutant(
    "decoder",
    symptom="Fluent translations of the sentence before.",
    difficulty="medium",
)
def memory_of_another_sentence(
    parameters: Parameters,
    n_heads: int,
    x: Tensor,
    memory: Tensor,
    may_attend: Tensor | None = None,
    may_attend_memory: Tensor | None = None,
) -> Tensor:
    """The memory is shifted by one example, as where beams and batch are folded into one axis."""
    for block in blocks_of(parameters):
        x = decoder_block(block, n_heads, x, memory.roll(1, dims=0), may_attend, may_attend_memory)
    return x


@mutant(
    "decoder",
    symptom="Loaded weights give scores that are a little off.",
    difficulty="hard",
)
def decoder_with_another_eps(
    parameters: Parameters,
    n_heads: int,
    x: Tensor,
    memory: Tensor,
    may_attend: Tensor | None = None,
    may_attend_memory: Tensor | None = None,
) -> Tensor:
    """The last norm of each block uses PyTorch's eps of 1e-5, and its first one too."""
    for block in blocks_of(parameters):
        rule = causal_and(may_attend, x.shape[1])
        x = normalise(block, "attention", x + attend_itself(block, n_heads, x, rule), eps=1e-5)
        x = after_self_attention(block, n_heads, x, memory, may_attend_memory)
    return x
