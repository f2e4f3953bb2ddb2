"""What the laws of blocks and stacks leave unsaid: options, dropout, answers at some positions, errors."""

from functools import partial

import pytest
import torch
from hypothesis import given
from torch import Tensor, nn

from minitransformer import reference
from minitransformer.blocks import Decoder, DecoderBlock, Encoder, EncoderBlock, PostNorm, PreNorm, Residual
from minitransformer.errors import InputError
from minitransformer.feed_forward import gelu
from minitransformer.laws.cases import (
    SequenceCase,
    few_examples,
    parameters_of,
    randomise,
    sequence_cases,
    shuffled,
)
from minitransformer.laws.tolerances import STACK, SUM, as_array, assert_close, assert_same
from minitransformer.norm import LayerNorm, RMSNorm
from minitransformer.visibility import causal

pytestmark = pytest.mark.usefixtures("kernels_in_use")

block_cases = partial(sequence_cases, narrow_heads=False)

RESIDUALS = [PostNorm, PreNorm]
REFERENCES = {PostNorm: reference.blocks.post_norm, PreNorm: reference.blocks.pre_norm}


def encoder_block(case: SequenceCase, residual: Residual = PostNorm) -> EncoderBlock:
    """An encoder block with numbers of its own."""
    block = EncoderBlock(case.d_model, case.n_heads, case.d_ff, residual=residual)
    return randomise(block, case.seed, case.dtype)


def decoder_block(case: SequenceCase, residual: Residual = PostNorm) -> DecoderBlock:
    """A decoder block with numbers of its own."""
    block = DecoderBlock(case.d_model, case.n_heads, case.d_ff, residual=residual)
    return randomise(block, case.seed, case.dtype)


def encoder(case: SequenceCase, residual: Residual = PostNorm, n_blocks: int = 2) -> Encoder:
    """A stack of encoder blocks with numbers of their own."""
    stack = Encoder(n_blocks, case.d_model, case.n_heads, case.d_ff, activation=gelu, residual=residual)
    return randomise(stack, case.seed, case.dtype)


def decoder(case: SequenceCase, residual: Residual = PostNorm, n_blocks: int = 2) -> Decoder:
    """A stack of decoder blocks with numbers of their own."""
    stack = Decoder(n_blocks, case.d_model, case.n_heads, case.d_ff, activation=gelu, residual=residual)
    return randomise(stack, case.seed, case.dtype)


def norm_scale(*values: Tensor) -> float:
    """How much a norm can magnify the rounding of what it is given: by one over the least deviation in it."""
    least = min(float(value.double().std(dim=-1, correction=0).min()) for value in values)
    return 1 + 4 / max(least, 1e-6)


def array_or_none(rule: Tensor | None) -> object:
    """A rule as the reference takes it."""
    return None if rule is None else rule.numpy()


# Residual connections


@pytest.mark.equation("post-norm", "pre-norm")
@pytest.mark.parametrize("residual", RESIDUALS)
@few_examples
@given(case=block_cases(visibilities=("all",)))
def test_residuals_agree_with_the_reference(residual: Residual, case: SequenceCase) -> None:
    """Both residual connections agree with the reference, around layer norm and around RMS norm."""
    for norm, theirs in (
        (LayerNorm, reference.norm.learned_layer_norm),
        (RMSNorm, reference.norm.learned_rms_norm),
    ):
        module = randomise(residual(norm(case.d_model)), case.seed, case.dtype)
        expected = REFERENCES[residual](parameters_of(module), as_array(case.x), lambda x: 3 * x, theirs)
        assert_close(module(case.x, lambda x: 3 * x), expected, SUM, 4 * norm_scale(case.x))
        given_to_sublayer = module.sublayer_input(case.x)
        assert_same(given_to_sublayer, module.norm(case.x) if residual is PreNorm else case.x)


@pytest.mark.equation("post-norm", "pre-norm", "dropout")
@pytest.mark.parametrize("residual", RESIDUALS)
def test_dropout_falls_on_the_sublayer_and_never_on_the_input(residual: Residual) -> None:
    """What is dropped is the sublayer's answer: where it is forgotten, the input still passes.

    Kills: dropout on the sum; dropout on the residual path; dropout left on in evaluation.
    """
    torch.manual_seed(1)
    module = residual(nn.Identity(), dropout=0.5)
    x = torch.ones(2, 5, 7)
    changed = module(x, torch.ones_like) - x
    assert set(changed.unique().tolist()) == {0.0, 2.0}
    assert_same(module.eval()(x, torch.ones_like), 2 * x)


# Blocks


@pytest.mark.equation("encoder", "decoder")
@pytest.mark.parametrize("residual", RESIDUALS)
@few_examples
@given(case=block_cases())
def test_stacks_agree_with_the_reference_under_another_activation(residual: Residual, case: SequenceCase) -> None:
    """Stacks whose networks use the GELU agree with the reference."""
    rules = array_or_none(case.may_attend), array_or_none(case.may_attend_memory)
    x, memory = as_array(case.x), as_array(case.memory)
    options = {"residual": REFERENCES[residual], "activation": reference.feed_forward.gelu}
    stack = encoder(case, residual)
    expected = reference.blocks.encoder(parameters_of(stack), case.n_heads, x, rules[0], **options)
    assert_close(stack(case.x, case.may_attend), expected, STACK)
    deep = decoder(case, residual)
    expected = reference.blocks.decoder(parameters_of(deep), case.n_heads, x, memory, *rules, **options)
    assert_close(deep(case.x, case.memory, case.may_attend, case.may_attend_memory), expected, STACK)


# Stacks


@pytest.mark.equation("encoder")
@pytest.mark.parametrize("residual", RESIDUALS)
@few_examples
@given(case=block_cases())
def test_the_hidden_states_are_the_input_and_what_each_block_makes_of_it(
    residual: Residual, case: SequenceCase
) -> None:
    """The hidden states of a stack are its input, then what each block makes of it; the last one is its answer."""
    module = encoder(case, residual)
    first, second, last = module.hidden_states(case.x, case.may_attend)
    assert_same(first, case.x)
    assert_same(second, module.blocks[0](case.x, case.may_attend))
    assert_same(last, module(case.x, case.may_attend))


@pytest.mark.equation("encoder", "decoder")
@few_examples
@given(case=block_cases())
def test_a_stack_of_no_blocks_passes_its_input_on(case: SequenceCase) -> None:
    """A post-norm stack of no blocks is the identity."""
    assert_same(encoder(case, n_blocks=0)(case.x), case.x)
    assert_same(decoder(case, n_blocks=0)(case.x, case.memory), case.x)


@pytest.mark.equation("encoder-block", "attention-weights")
@pytest.mark.parametrize("residual", RESIDUALS)
@few_examples
@given(case=block_cases())
def test_a_block_shows_the_weights_that_it_reads_with(residual: Residual, case: SequenceCase) -> None:
    """The weights that a block shows are those of its attention, asked with what the sublayer is given."""
    block = encoder_block(case, residual)
    asked = block.attention_residual.norm(case.x) if residual is PreNorm else case.x
    assert_same(block.attention_weights(case.x, case.may_attend), block.attention.weights(asked, None, case.may_attend))


@pytest.mark.parametrize("stack", [Encoder, Decoder])
def test_fewer_blocks_than_none_are_refused(stack: type[Encoder] | type[Decoder]) -> None:
    with pytest.raises(InputError, match="n_blocks=-1 must be 0 or more"):
        stack(-1, 6, 2, 5)


@pytest.mark.equation("encoder-block")
def test_sizes_that_cannot_be_are_refused() -> None:
    with pytest.raises(InputError, match="d_model=10 must be a multiple of n_heads=3"):
        EncoderBlock(10, 3, 5)
    with pytest.raises(InputError, match="d_ff=0 must be at least 1"):
        DecoderBlock(6, 3, 0)


# Answers at some positions


@pytest.mark.equation("encoder", "encoder-block")
@few_examples
@pytest.mark.parametrize("residual", RESIDUALS)
@pytest.mark.parametrize("n_blocks", [0, 1, 2])
@given(case=block_cases(visibilities=("all", "padding")))
def test_answers_at_some_positions_are_those_of_the_whole(
    n_blocks: int, residual: Residual, case: SequenceCase
) -> None:
    """A last block that computes some positions alone gives there what it gives as a part of all, in any order.

    Kills: positions that read only each other; the memory not normalised in pre-norm; the closing norm left out.
    """
    stack = encoder(case, residual, n_blocks)
    rule = None if case.may_attend is None else case.may_attend[:, :, :1]
    positions = torch.stack([shuffled(case.seed, f"row {row}", case.length) for row in range(case.batch)])
    positions = positions[:, : 1 + case.seed % case.length]
    whole = stack(case.x, rule)
    expected = torch.stack([whole[row, positions[row]] for row in range(case.batch)])
    assert_close(stack.answers_at(positions, case.x, rule), expected, STACK, norm_scale(case.x, whole.detach()))


def test_a_rule_for_each_query_is_refused_where_only_some_ask() -> None:
    block = EncoderBlock(d_model=6, n_heads=2, d_ff=5)
    with pytest.raises(InputError, match=r"may_attend has shape \(3, 3\), but some positions alone need one rule"):
        block.answers_at(torch.tensor([[1]]), torch.zeros(1, 3, 6), causal(3))
