"""Laws of blocks and stacks of blocks."""

from collections.abc import Callable
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
    numbers,
    parameters_of,
    randomise,
    sequence_cases,
    shuffled,
)
from minitransformer.laws.tolerances import STACK, SUM, as_array, assert_close, assert_same
from minitransformer.norm import LayerNorm, RMSNorm, layer_norm
from minitransformer.visibility import causal, padding

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

Step = Callable[[Tensor, Callable[[Tensor], Tensor]], Tensor]


def post_norm_normalises_the_sum(post_norm: Step, norm: nn.Module, case: SequenceCase) -> None:
    asked: list[Tensor] = []

    def sublayer(x: Tensor) -> Tensor:
        asked.append(x)
        return 2 * case.memory[:, :1]

    actual = post_norm(case.x, sublayer)
    assert_same(asked[0], case.x, what="what the sublayer is given")
    total = case.x + 2 * case.memory[:, :1]
    assert_close(actual, norm(total), SUM, norm_scale(total), what="the normalised sum")


@pytest.mark.equation("post-norm")
@given(case=block_cases(visibilities=("all",)))
def test_post_norm_normalises_the_sum(case: SequenceCase) -> None:
    """Post-norm gives the sublayer the input as it is, and normalises the sum of both.

    Kills: the norm before the sublayer; the norm of the sublayer alone; no residual.
    """
    module = randomise(PostNorm(LayerNorm(case.d_model)), case.seed, case.dtype)
    post_norm_normalises_the_sum(module, module.norm, case)


def pre_norm_leaves_the_sum_alone(pre_norm: Step, norm: nn.Module, case: SequenceCase) -> None:
    asked: list[Tensor] = []

    def sublayer(x: Tensor) -> Tensor:
        asked.append(x)
        return 2 * case.memory[:, :1]

    actual = pre_norm(case.x, sublayer)
    assert_same(asked[0], norm(case.x), what="what the sublayer is given")
    assert_same(actual, case.x + 2 * case.memory[:, :1], what="the plain sum")


@pytest.mark.equation("pre-norm")
@given(case=block_cases(visibilities=("all",)))
def test_pre_norm_leaves_the_sum_alone(case: SequenceCase) -> None:
    """Pre-norm gives the sublayer the normalised input, and adds the answer to the input as it was, bit for bit.

    Kills: the residual taken from the normalised input; the sum normalised; the sublayer given the input as it was.
    """
    module = randomise(PreNorm(LayerNorm(case.d_model)), case.seed, case.dtype)
    pre_norm_leaves_the_sum_alone(module, module.norm, case)


@pytest.mark.equation("post-norm", "pre-norm")
@pytest.mark.parametrize("residual", RESIDUALS)
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


def zeroed_sublayers_leave_the_input(module: nn.Module, case: SequenceCase) -> None:
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if ".output." in name or ".outer." in name or name.startswith("output."):
                parameter.zero_()
    inputs = (case.memory,) if isinstance(module, DecoderBlock | Decoder) else ()
    assert_same(module(case.x, *inputs), case.x, what="the output of a block that says nothing")


@pytest.mark.equation("pre-norm", "encoder-block", "decoder-block")
@pytest.mark.parametrize("make", [encoder_block, decoder_block])
@few_examples
@given(case=block_cases(visibilities=("all",)))
def test_a_pre_norm_block_with_zeroed_sublayers_is_the_identity(
    make: Callable[[SequenceCase, Residual], nn.Module], case: SequenceCase
) -> None:
    """A pre-norm block whose sublayers say nothing passes its input on, bit for bit.

    Kills: post-norm in place of pre-norm; the residual taken from the normalised input; a norm too many.
    """
    zeroed_sublayers_leave_the_input(make(case, PreNorm), case)


@pytest.mark.equation("post-norm", "encoder-block")
@few_examples
@given(case=block_cases())
def test_the_output_of_a_post_norm_block_is_normalised(case: SequenceCase) -> None:
    """What leaves a post-norm block has passed through its last norm: undone, its mean is 0 and its mean square 1."""
    without_eps = partial(LayerNorm, eps=0.0)
    block = EncoderBlock(case.d_model, case.n_heads, case.d_ff, norm=without_eps)
    norm = randomise(block, case.seed, case.dtype).feed_forward_residual.norm
    with torch.no_grad():
        norm.gain.fill_(1.0)
        norm.bias.zero_()
    leaving = block(case.x, case.may_attend)
    ones = torch.ones(case.batch, case.length, dtype=case.dtype)
    assert_close(leaving.mean(-1), 0 * ones, SUM, 8, what="the mean")
    assert_close(leaving.square().mean(-1), ones, SUM, 8, what="the mean square")


@pytest.mark.equation("encoder-block", "encoder")
@pytest.mark.parametrize("residual", RESIDUALS)
@few_examples
@given(case=block_cases())
def test_an_encoder_block_agrees_with_the_reference(residual: Residual, case: SequenceCase) -> None:
    """An encoder block, and a stack of two, agree with the reference."""
    rule = array_or_none(case.may_attend)
    options = {"residual": REFERENCES[residual]}
    block = encoder_block(case, residual)
    expected = reference.blocks.encoder_block(parameters_of(block), case.n_heads, as_array(case.x), rule, **options)
    assert_close(block(case.x, case.may_attend), expected, STACK)
    stack = encoder(case, residual)
    options["activation"] = reference.feed_forward.gelu
    expected = reference.blocks.encoder(parameters_of(stack), case.n_heads, as_array(case.x), rule, **options)
    assert_close(stack(case.x, case.may_attend), expected, STACK)


@pytest.mark.equation("decoder-block", "decoder")
@pytest.mark.parametrize("residual", RESIDUALS)
@few_examples
@given(case=block_cases())
def test_a_decoder_block_agrees_with_the_reference(residual: Residual, case: SequenceCase) -> None:
    """A decoder block, and a stack of two, agree with the reference."""
    rules = array_or_none(case.may_attend), array_or_none(case.may_attend_memory)
    arrays = as_array(case.x), as_array(case.memory)
    options = {"residual": REFERENCES[residual]}
    block = decoder_block(case, residual)
    expected = reference.blocks.decoder_block(parameters_of(block), case.n_heads, *arrays, *rules, **options)
    actual = block(case.x, case.memory, case.may_attend, case.may_attend_memory)
    assert_close(actual, expected, STACK)
    stack = decoder(case, residual)
    options["activation"] = reference.feed_forward.gelu
    expected = reference.blocks.decoder(parameters_of(stack), case.n_heads, *arrays, *rules, **options)
    actual = stack(case.x, case.memory, case.may_attend, case.may_attend_memory)
    assert_close(actual, expected, STACK)


def copy_attention(theirs: nn.MultiheadAttention, ours: nn.Module) -> None:
    """Give PyTorch's attention the numbers of ours."""
    theirs.in_proj_weight.copy_(torch.cat([ours.query.weight, ours.key.weight, ours.value.weight]))
    theirs.in_proj_bias.copy_(torch.cat([ours.query.bias, ours.key.bias, ours.value.bias]))
    theirs.out_proj.load_state_dict(ours.output.state_dict())


def copy_norm(theirs: nn.LayerNorm, ours: nn.Module) -> None:
    """Give PyTorch's norm the numbers of ours."""
    theirs.weight.copy_(ours.norm.gain)
    theirs.bias.copy_(ours.norm.bias)


@pytest.mark.equation("encoder-block", "decoder-block")
@pytest.mark.parametrize("residual", RESIDUALS)
@few_examples
@given(case=block_cases(visibilities=("all", "padding")))
def test_blocks_agree_with_torch(residual: Residual, case: SequenceCase) -> None:
    """Both blocks agree with `nn.TransformerEncoderLayer` and `nn.TransformerDecoderLayer`, whose True hides."""
    options = {"batch_first": True, "norm_first": residual is PreNorm, "layer_norm_eps": 1e-12, "dtype": case.dtype}
    shape = (case.d_model, case.n_heads, case.d_ff, 0.0)
    ours, theirs = encoder_block(case, residual), nn.TransformerEncoderLayer(*shape, **options)
    ours_2, theirs_2 = decoder_block(case, residual), nn.TransformerDecoderLayer(*shape, **options)
    with torch.no_grad():
        for mine, yours in ((ours, theirs), (ours_2, theirs_2)):
            copy_attention(yours.self_attn, mine.attention)
            copy_norm(yours.norm1, mine.attention_residual)
            yours.linear1.load_state_dict(mine.feed_forward.inner.state_dict())
            yours.linear2.load_state_dict(mine.feed_forward.outer.state_dict())
        copy_norm(theirs.norm2, ours.feed_forward_residual)
        copy_attention(theirs_2.multihead_attn, ours_2.cross_attention)
        copy_norm(theirs_2.norm2, ours_2.cross_attention_residual)
        copy_norm(theirs_2.norm3, ours_2.feed_forward_residual)
    hidden = None if case.may_attend is None else ~case.may_attend[:, 0, 0]
    assert_close(ours(case.x, case.may_attend), theirs(case.x, src_key_padding_mask=hidden), STACK)
    hidden = None if case.may_attend_memory is None else ~case.may_attend_memory[:, 0, 0]
    expected = theirs_2(
        case.x, case.memory, tgt_mask=~causal(case.length), memory_key_padding_mask=hidden, tgt_is_causal=False
    )
    assert_close(ours_2(case.x, case.memory, None, case.may_attend_memory), expected, STACK)


# Stacks


def an_encoder_without_positions_does_not_know_the_order(module: nn.Module, case: SequenceCase) -> None:
    order = shuffled(case.seed, "order", case.length)
    rule = None if case.may_attend is None else case.may_attend[:, :, order][..., order]
    expected = module(case.x, case.may_attend)[:, order]
    assert_close(module(case.x[:, order], rule), expected, STACK, what="the encoding of a shuffled sequence")


@pytest.mark.equation("encoder", "encoder-block")
@pytest.mark.parametrize("residual", RESIDUALS)
@few_examples
@given(case=block_cases())
def test_an_encoder_without_positions_does_not_know_the_order(residual: Residual, case: SequenceCase) -> None:
    """Shuffling the positions, and the rule with them, shuffles what an encoder says of them.

    Kills: a causal rule in the encoder; a linear map over the length; positions added inside a block.
    """
    an_encoder_without_positions_does_not_know_the_order(encoder(case, residual), case)


def later_tokens_cannot_change_earlier_outputs(module: nn.Module, case: SequenceCase) -> None:
    first_changed = case.seed % case.length
    later = (torch.arange(case.length) >= first_changed)[:, None]
    changed = torch.where(later, numbers(case.seed, "later", *case.x.shape, dtype=case.dtype), case.x)
    before = module(case.x, case.memory, case.may_attend, case.may_attend_memory)
    after = module(changed, case.memory, case.may_attend, case.may_attend_memory)
    assert_same(after[:, :first_changed], before[:, :first_changed], what="what is said before the change")


@pytest.mark.equation("decoder", "decoder-block", "causal-visibility")
@pytest.mark.parametrize("residual", RESIDUALS)
@few_examples
@given(case=block_cases())
def test_later_tokens_cannot_change_earlier_outputs(residual: Residual, case: SequenceCase) -> None:
    """Changing later tokens changes nothing that a decoder says of earlier ones, bit for bit.

    Kills: no causal rule; the diagonal off by one; a rule of the caller in place of the causal one.
    """
    later_tokens_cannot_change_earlier_outputs(decoder(case, residual), case)


@pytest.mark.equation("decoder", "decoder-block")
@pytest.mark.parametrize("residual", RESIDUALS)
@few_examples
@given(case=block_cases(visibilities=("padding",)))
def test_a_decoder_reads_the_memory_and_nothing_hidden_in_it(residual: Residual, case: SequenceCase) -> None:
    """Changing what is hidden in the memory changes nothing, bit for bit; changing what is visible does.

    Kills: the memory ignored; the rule of the memory dropped, or taken for that of the sequence.
    """
    module = decoder(case, residual)
    assert case.may_attend_memory is not None
    visible = case.may_attend_memory[:, 0, 0, :, None]
    other = numbers(case.seed, "other", *case.memory.shape, dtype=case.dtype)
    before = module(case.x, case.memory, None, case.may_attend_memory)
    hidden_changed = module(case.x, torch.where(visible, case.memory, other), None, case.may_attend_memory)
    visible_changed = module(case.x, torch.where(visible, other, case.memory), None, case.may_attend_memory)
    assert_same(hidden_changed, before, what="the output when the hidden part of the memory changes")
    assert (visible_changed != before).flatten(1).any(1).all(), "a change in the visible memory should be seen"


@pytest.mark.equation("encoder", "padding-visibility")
@pytest.mark.parametrize("residual", RESIDUALS)
@few_examples
@given(case=block_cases(visibilities=("padding",)))
def test_padding_is_invisible(residual: Residual, case: SequenceCase) -> None:
    """A sequence alone is encoded as in any padded batch, whatever stands in the padding.

    Kills: padding hidden on the query axis; no padding rule; the rule given to the first block only.
    """
    module = encoder(case, residual)
    assert case.may_attend is not None
    attention_mask = case.may_attend[:, 0, 0].long()
    together = module(case.x, padding(attention_mask))
    noise = numbers(case.seed, "noise", *case.x.shape, dtype=case.dtype)
    with_noise = module(torch.where(attention_mask[..., None] == 1, case.x, noise), padding(attention_mask))
    for example, length in enumerate(attention_mask.sum(-1).tolist()):
        alone = module(case.x[example : example + 1, :length])[0]
        assert_close(alone, together[example, :length], STACK, what="a sequence alone")
        assert_same(with_noise[example, :length], together[example, :length], what="a sequence with other padding")


@pytest.mark.equation("encoder", "decoder")
@pytest.mark.parametrize("residual", RESIDUALS)
@few_examples
@given(case=block_cases())
def test_a_stack_is_its_blocks_one_after_another_and_the_closing_norm(residual: Residual, case: SequenceCase) -> None:
    """A stack gives what its blocks give one after another; only a pre-norm stack closes with a norm.

    Kills: the closing norm missing or doubled; one block used twice; the memory passed from block to block.
    """
    module = encoder(case, residual)
    x = module.blocks[1](module.blocks[0](case.x, case.may_attend), case.may_attend)
    closed = x if residual is PostNorm else layer_norm(x, module.norm.gain, module.norm.bias)
    assert_same(module(case.x, case.may_attend), closed)
    hidden_states = list(module.hidden_states(case.x, case.may_attend))
    assert len(hidden_states) == 3
    assert_same(hidden_states[0], case.x)
    assert_same(hidden_states[1], module.blocks[0](case.x, case.may_attend))
    assert_same(hidden_states[2], closed)
    deep = decoder(case, residual)
    rules = (case.may_attend, case.may_attend_memory)
    x = deep.blocks[1](deep.blocks[0](case.x, case.memory, *rules), case.memory, *rules)
    closed = x if residual is PostNorm else layer_norm(x, deep.norm.gain, deep.norm.bias)
    assert_same(deep(case.x, case.memory, *rules), closed)


@pytest.mark.equation("encoder", "decoder")
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
