"""Mutants of stacks of encoder blocks."""

# ruff: noqa: ARG001 - an argument that is never used is a classic mistake

import torch
import torch.nn.functional as F
from torch import Tensor

from minitransformer.laws.modules import Parameters
from minitransformer.laws.zoo.mutant import mutant
from minitransformer.laws.zoo.parts import (
    attend,
    blocks_of,
    encoder_block,
    network,
    norm,
    normalise,
    pre_norm_encoder_block,
    shares_or_nan,
)

# Stacks that normalise after


@mutant(
    "encoder",
    symptom="Padding shows from the second block on: results change with the batch, a little.",
    difficulty="hard",
)
def rule_for_the_first_block_only(
    parameters: Parameters, n_heads: int, x: Tensor, may_attend: Tensor | None = None
) -> Tensor:
    """The rule is given to the first block, and forgotten behind it."""
    for index, block in enumerate(blocks_of(parameters)):
        x = encoder_block(block, n_heads, x, may_attend if index == 0 else None)
    return x


@mutant("encoder", symptom="The last block never moves; the model is one block shallower than it says.")
def last_block_skipped(parameters: Parameters, n_heads: int, x: Tensor, may_attend: Tensor | None = None) -> Tensor:
    """The loop ends before the last block."""
    for block in blocks_of(parameters)[:-1]:
        x = encoder_block(block, n_heads, x, may_attend)
    return x


@mutant("encoder", symptom="A model of twelve blocks that learns as one with a twelfth of its parameters.")
def one_block_many_times(parameters: Parameters, n_heads: int, x: Tensor, may_attend: Tensor | None = None) -> Tensor:
    """The first block is used as often as there are blocks: a list was filled with one and the same module."""
    blocks = blocks_of(parameters)
    for _ in blocks:
        x = encoder_block(blocks[0], n_heads, x, may_attend)
    return x


@mutant("encoder", symptom="Trains as well; loaded weights give nonsense.", difficulty="medium")
def blocks_in_reverse_order(
    parameters: Parameters, n_heads: int, x: Tensor, may_attend: Tensor | None = None
) -> Tensor:
    """The last block comes first."""
    for block in reversed(blocks_of(parameters)):
        x = encoder_block(block, n_heads, x, may_attend)
    return x


@mutant(
    "encoder",
    symptom="Trains as well; weights of BERT give vectors of another length.",
    source="harvardnlp/annotated-transformer#13",
    difficulty="medium",
)
def closing_norm_after_post_norm(
    parameters: Parameters, n_heads: int, x: Tensor, may_attend: Tensor | None = None
) -> Tensor:
    """A norm closes the stack, though its last block has normalised already."""
    for block in blocks_of(parameters):
        x = encoder_block(block, n_heads, x, may_attend)
    return F.layer_norm(x, x.shape[-1:], eps=1e-12)


@mutant("encoder", symptom="Depth brings nothing: all blocks read the embeddings.", difficulty="hard")
def every_block_reads_the_input(
    parameters: Parameters, n_heads: int, x: Tensor, may_attend: Tensor | None = None
) -> Tensor:
    """Each block is given the input of the stack, and the last one's answer is returned."""
    answer = x
    for block in blocks_of(parameters):
        answer = encoder_block(block, n_heads, x, may_attend)
    return answer


@mutant("encoder", symptom="Masked words are predicted as if nothing came after them.", difficulty="easy")
def stack_that_reads_the_past_alone(
    parameters: Parameters, n_heads: int, x: Tensor, may_attend: Tensor | None = None
) -> Tensor:
    """A causal rule is joined to the one that was given."""
    past = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).tril()
    for block in blocks_of(parameters):
        x = encoder_block(block, n_heads, x, past if may_attend is None else past & may_attend)
    return x


@mutant("encoder", symptom="Trains; weights of BERT give nonsense.", difficulty="easy")
def stack_of_blocks_that_normalise_first(
    parameters: Parameters, n_heads: int, x: Tensor, may_attend: Tensor | None = None
) -> Tensor:
    """The blocks are pre-norm blocks."""
    for block in blocks_of(parameters):
        x = pre_norm_encoder_block(block, n_heads, x, may_attend)
    return x


@mutant("encoder", symptom="One sentence changes what is said of another.", difficulty="medium")
def sentences_mixed_between_blocks(
    parameters: Parameters, n_heads: int, x: Tensor, may_attend: Tensor | None = None
) -> Tensor:
    """Between the blocks, the mean over the batch is subtracted, as a batch norm does."""
    for block in blocks_of(parameters):
        x = encoder_block(block, n_heads, x - x.mean(0, keepdim=True), may_attend)
    return x


@mutant("encoder", symptom="An empty sentence turns its example into NaN from the first block on.")
def empty_sentence_makes_the_stack_nan(
    parameters: Parameters, n_heads: int, x: Tensor, may_attend: Tensor | None = None
) -> Tensor:
    """Where a position may read nothing, the softmax of its scores is 0 / 0, in every block."""
    for block in blocks_of(parameters):
        read = attend(block, "attention", n_heads, x, x, may_attend, shares_or_nan)
        x = normalise(block, "attention", x + read)
        x = normalise(block, "feed_forward", x + network(block, x))
    return x


@mutant("encoder", symptom="The lower half of the stack stays as it was initialised.", difficulty="hard")
def gradient_stopped_between_blocks(
    parameters: Parameters, n_heads: int, x: Tensor, may_attend: Tensor | None = None
) -> Tensor:
    """Each block is given a detached input, as where hidden states are collected for looking at."""
    for block in blocks_of(parameters):
        x = encoder_block(block, n_heads, x.detach(), may_attend)
    return x


# Stacks that normalise first


def closed(parameters: Parameters, x: Tensor) -> Tensor:
    """What is right in most mutants: the closing norm."""
    return norm(parameters, "norm", x)


@mutant(
    "pre-norm-encoder",
    symptom="Heads get vectors that grow with depth; weights of ViT give nonsense.",
    source="harvardnlp/annotated-transformer#1",
)
def closing_norm_missing(parameters: Parameters, n_heads: int, x: Tensor, may_attend: Tensor | None = None) -> Tensor:
    """The sum leaves the last block, and no norm closes the stack."""
    for block in blocks_of(parameters):
        x = pre_norm_encoder_block(block, n_heads, x, may_attend)
    return x


@mutant("pre-norm-encoder", symptom="Trains as well; loaded weights come out a little off.", difficulty="hard")
def closing_norm_twice(parameters: Parameters, n_heads: int, x: Tensor, may_attend: Tensor | None = None) -> Tensor:
    """The stack closes with its norm, and so does the last block."""
    for block in blocks_of(parameters):
        x = pre_norm_encoder_block(block, n_heads, x, may_attend)
    return closed(parameters, closed(parameters, x))


@mutant("pre-norm-encoder", symptom="Deep stacks train no better than post-norm ones.", difficulty="medium")
def closing_norm_after_every_block(
    parameters: Parameters, n_heads: int, x: Tensor, may_attend: Tensor | None = None
) -> Tensor:
    """The closing norm stands inside the loop."""
    for block in blocks_of(parameters):
        x = closed(parameters, pre_norm_encoder_block(block, n_heads, x, may_attend))
    return x


@mutant("pre-norm-encoder", symptom="Trains, with a warm-up; weights of ViT give nonsense.", difficulty="easy")
def stack_of_blocks_that_normalise_after(
    parameters: Parameters, n_heads: int, x: Tensor, may_attend: Tensor | None = None
) -> Tensor:
    """The blocks are post-norm blocks, with a norm at the end."""
    for block in blocks_of(parameters):
        x = encoder_block(block, n_heads, x, may_attend)
    return closed(parameters, x)


@mutant("pre-norm-encoder", symptom="Results change with the padding, less than without any rule.", difficulty="hard")
def rule_for_the_last_block_only(
    parameters: Parameters, n_heads: int, x: Tensor, may_attend: Tensor | None = None
) -> Tensor:
    """The rule is given to the last block alone."""
    *earlier, last = blocks_of(parameters)
    for block in earlier:
        x = pre_norm_encoder_block(block, n_heads, x)
    return closed(parameters, pre_norm_encoder_block(last, n_heads, x, may_attend))


@mutant("pre-norm-encoder", symptom="All blocks but the first stay as they were initialised.", difficulty="medium")
def first_block_all_the_way(
    parameters: Parameters, n_heads: int, x: Tensor, may_attend: Tensor | None = None
) -> Tensor:
    """The first block is used as often as there are blocks."""
    blocks = blocks_of(parameters)
    for _ in blocks:
        x = pre_norm_encoder_block(blocks[0], n_heads, x, may_attend)
    return closed(parameters, x)


@mutant("pre-norm-encoder", symptom="The model is one block shallower than its configuration says.")
def stack_without_its_last_block(
    parameters: Parameters, n_heads: int, x: Tensor, may_attend: Tensor | None = None
) -> Tensor:
    """The loop ends before the last block, and the norm closes what is there."""
    for block in blocks_of(parameters)[:-1]:
        x = pre_norm_encoder_block(block, n_heads, x, may_attend)
    return closed(parameters, x)


@mutant("pre-norm-encoder", symptom="Trains as well; loaded weights give nonsense.", difficulty="medium")
def last_block_first(parameters: Parameters, n_heads: int, x: Tensor, may_attend: Tensor | None = None) -> Tensor:
    """The blocks come in reverse order."""
    for block in reversed(blocks_of(parameters)):
        x = pre_norm_encoder_block(block, n_heads, x, may_attend)
    return closed(parameters, x)


@mutant("pre-norm-encoder", symptom="The embeddings count twice, and the first blocks for little.")
def input_added_once_more(parameters: Parameters, n_heads: int, x: Tensor, may_attend: Tensor | None = None) -> Tensor:
    """The input of the stack is added to what its blocks say, which hold it already."""
    y = x
    for block in blocks_of(parameters):
        y = pre_norm_encoder_block(block, n_heads, y, may_attend)
    return closed(parameters, y + x.mean(1, keepdim=True))


@mutant("pre-norm-encoder", symptom="Small inputs, as at the start of training, come out too small.", difficulty="hard")
def closing_norm_with_another_eps(
    parameters: Parameters, n_heads: int, x: Tensor, may_attend: Tensor | None = None
) -> Tensor:
    """The closing norm uses PyTorch's eps of 1e-5, and not 1e-12."""
    for block in blocks_of(parameters):
        x = pre_norm_encoder_block(block, n_heads, x, may_attend)
    return norm(parameters, "norm", x, eps=1e-5)


@mutant("pre-norm-encoder", symptom="A patch knows its place before anybody told it.", difficulty="medium")
def places_added_between_blocks(
    parameters: Parameters, n_heads: int, x: Tensor, may_attend: Tensor | None = None
) -> Tensor:
    """The last column of every position is given its place before each block."""
    place = F.pad(torch.arange(x.shape[1], dtype=x.dtype)[:, None], (x.shape[-1] - 1, 0))
    for block in blocks_of(parameters):
        x = pre_norm_encoder_block(block, n_heads, x + place, may_attend)
    return closed(parameters, x)


@mutant("pre-norm-encoder", symptom="The vectors of a sentence change with what else is in the batch.")
def stack_that_reads_other_sentences(
    parameters: Parameters, n_heads: int, x: Tensor, may_attend: Tensor | None = None
) -> Tensor:
    """The blocks want the length first and are given the batch first, and the rule does not fit."""
    for block in blocks_of(parameters):
        x = pre_norm_encoder_block(block, n_heads, x.transpose(0, 1)).transpose(0, 1)
    return closed(parameters, x)


@mutant("pre-norm-encoder", symptom="One padded-out example, and the loss of its batch is NaN.", difficulty="medium")
def nan_through_the_whole_stack(
    parameters: Parameters, n_heads: int, x: Tensor, may_attend: Tensor | None = None
) -> Tensor:
    """Where a position may read nothing, the softmax of its scores is 0 / 0, in every block."""
    for block in blocks_of(parameters):
        asked = normalise(block, "attention", x)
        x = x + attend(block, "attention", n_heads, asked, asked, may_attend, shares_or_nan)
        x = x + network(block, normalise(block, "feed_forward", x))
    return closed(parameters, x)
