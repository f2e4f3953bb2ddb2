"""Laws of all blocks and stacks of blocks, whether they encode or decode and wherever they normalise."""

from functools import partial

import numpy as np
import torch
from torch import Tensor

from minitransformer import reference
from minitransformer.laws.block_cases import (
    BLIND,
    BlockCase,
    Function,
    answer_to,
    assert_as_by_reference,
    cases_of,
    gradients_of,
    norms_in_order,
    silent,
    upstream_of,
)
from minitransformer.laws.law import law
from minitransformer.laws.residuals import norm_scale
from minitransformer.laws.tolerances import LAYER, STACK, as_array, assert_close, assert_same

COARSE = (torch.bfloat16,)
MORE_THAN_FLOAT16 = 1e5
SMALL = 1e-4

seeing_all = partial(cases_of, visibilities=("all",))
blind_cases = partial(cases_of, visibilities=BLIND)
coarse_cases = partial(cases_of, visibilities=("all",), types=COARSE)


def norms_one_after_another(case: BlockCase, x: Tensor) -> np.ndarray:
    """What is left of a sequence by all norms of what normalises after."""
    normal = as_array(x)
    for name in norms_in_order(case):
        gain, bias = (as_array(case.parameters[f"{name}.{part}"]) for part in ("gain", "bias"))
        normal = reference.norm.layer_norm(normal, gain, bias)
    return normal


@law("encoder-block", given=cases_of("encoder-block"))
@law("decoder-block", given=cases_of("decoder-block"))
@law("encoder", given=cases_of("encoder"))
@law("decoder", given=cases_of("decoder"))
def sublayers_that_say_nothing_leave_the_norms_one_after_another(function: Function, case: BlockCase) -> None:
    """Where all sublayers answer 0, the input is left, as all the norms leave it, one after another.

    Kills: pre-norm for post-norm; one norm for two sublayers; a norm or a residual forgotten; a norm at the end.
    Hint: Let every sublayer answer 0. How many norms should the input still pass through, and through which ones?
    """
    expected = norms_one_after_another(case, case.x)
    actual = answer_to(function, case, silent(case.parameters))
    assert_close(actual, expected, STACK, norm_scale(case.x), what="the input behind all norms")


@law("pre-norm-encoder-block", given=cases_of("pre-norm-encoder-block"), equations=("pre-norm", "encoder-block"))
@law("pre-norm-decoder-block", given=cases_of("pre-norm-decoder-block"), equations=("pre-norm", "decoder-block"))
def sublayers_that_say_nothing_leave_the_input(function: Function, case: BlockCase) -> None:
    """Where all sublayers answer 0, the input is left, bit for bit.

    Kills: post-norm for pre-norm; the residual taken from the normalised input; a norm on the way to the output.
    Hint: Let every sublayer answer 0. By which way does the input reach the output, and does a norm stand on it?
    """
    assert_same(answer_to(function, case, silent(case.parameters)), case.x, what="the input")


@law("pre-norm-encoder", given=cases_of("pre-norm-encoder"), equations=("encoder", "pre-norm"))
@law("pre-norm-decoder", given=cases_of("pre-norm-decoder"), equations=("decoder", "pre-norm"))
def sublayers_that_say_nothing_leave_one_norm(function: Function, case: BlockCase) -> None:
    """Where all sublayers answer 0, the closing norm of the input is left, taken once.

    Kills: the closing norm missing, doubled, or taken after every block; blocks that normalise after.
    Hint: Let every sublayer answer 0. How many norms stand between the input and the output, and whose are they?
    """
    x, gain, bias = (as_array(each) for each in (case.x, case.parameters["norm.gain"], case.parameters["norm.bias"]))
    actual = answer_to(function, case, silent(case.parameters))
    expected = reference.norm.layer_norm(x, gain, bias)
    assert_close(actual, expected, STACK, norm_scale(case.x), what="the closing norm of the input")


@law("encoder-block", given=cases_of("encoder-block"))
@law("pre-norm-encoder-block", given=cases_of("pre-norm-encoder-block"), equations=("encoder-block",))
@law("decoder-block", given=cases_of("decoder-block"))
@law("pre-norm-decoder-block", given=cases_of("pre-norm-decoder-block"), equations=("decoder-block",))
def self_attention_stands_in_its_place(function: Function, case: BlockCase) -> None:
    """Where all other sublayers answer 0, self-attention agrees with the reference, with its norm and its residual.

    Kills: keys from the input as it was; a rule dropped, turned around or off by one; its residual forgotten.
    Hint: Let all other sublayers answer 0. What does self-attention ask with, what does it read, and under which rule?
    """
    parameters = silent(case.parameters, but="attention")
    assert_as_by_reference(answer_to(function, case, parameters), case, parameters, what="self-attention in its place")


@law("encoder-block", given=cases_of("encoder-block"))
@law("pre-norm-encoder-block", given=cases_of("pre-norm-encoder-block"), equations=("encoder-block",))
@law("decoder-block", given=cases_of("decoder-block"))
@law("pre-norm-decoder-block", given=cases_of("pre-norm-decoder-block"), equations=("decoder-block",))
def the_network_stands_in_its_place(function: Function, case: BlockCase) -> None:
    """Where all other sublayers answer 0, the network agrees with the reference, with its norm and its residual.

    Kills: GELU for ReLU; the norm before the network forgotten; its residual forgotten or taken from elsewhere.
    Hint: Let all attention answer 0. What is the network given, which activation does it use, what is it added to?
    """
    parameters = silent(case.parameters, but="feed_forward")
    assert_as_by_reference(answer_to(function, case, parameters), case, parameters, what="the network in its place")


@law("encoder-block", given=seeing_all("encoder-block"), needs_gradient=True)
@law(
    "pre-norm-encoder-block",
    given=seeing_all("pre-norm-encoder-block"),
    equations=("encoder-block",),
    needs_gradient=True,
)
@law("decoder-block", given=seeing_all("decoder-block"), needs_gradient=True)
@law(
    "pre-norm-decoder-block",
    given=seeing_all("pre-norm-decoder-block"),
    equations=("decoder-block",),
    needs_gradient=True,
)
@law("encoder", given=seeing_all("encoder"), needs_gradient=True)
@law("pre-norm-encoder", given=seeing_all("pre-norm-encoder"), equations=("encoder",), needs_gradient=True)
@law("decoder", given=seeing_all("decoder"), needs_gradient=True)
@law("pre-norm-decoder", given=seeing_all("pre-norm-decoder"), equations=("decoder",), needs_gradient=True)
def every_parameter_and_every_input_gets_a_gradient(function: Function, case: BlockCase) -> None:
    """Every parameter gets a gradient, and so do the input and the memory; only the bias of the keys can't matter.

    Kills: one block, norm or attention used in place of another; a block skipped; a memory ignored or detached.
    Hint: What gets no gradient was never used, or was detached on the way. What stands in its place in your code?
    """
    if 1 in (case.length, case.memory_length):  # where there is one key, no weight can move
        return
    # Most units of the networks are open, so that their weights can matter.
    opened = {
        name: 4 + tensor.abs() if name.endswith("inner.bias") else tensor for name, tensor in case.parameters.items()
    }
    for name, gradient in gradients_of(function, case, opened).items():
        if not name.endswith("key.bias"):
            assert gradient is not None, f"{name} should get a gradient, but is cut off"
            assert gradient.any(), f"{name} should get a gradient, but nothing comes back to it"


@law("encoder-block", given=seeing_all("encoder-block"), equations=("encoder-block", "layer-norm"), needs_gradient=True)
@law("decoder-block", given=seeing_all("decoder-block"), equations=("decoder-block", "layer-norm"), needs_gradient=True)
def where_sublayers_say_nothing_the_gradient_comes_through_the_norms(function: Function, case: BlockCase) -> None:
    """Where all sublayers answer 0, the input gets the gradient that all norms pass back, derived by hand.

    Kills: a residual that is detached or forgotten; a norm without a gradient; pre-norm for post-norm.
    Hint: Let every sublayer answer 0. Can autograd follow the input through every sum and every norm?
    """
    name_and_input, normal = [], as_array(case.x)
    for name in norms_in_order(case):
        name_and_input.append((name, normal))
        gain, bias = (as_array(case.parameters[f"{name}.{part}"]) for part in ("gain", "bias"))
        normal = reference.norm.layer_norm(normal, gain, bias)
    expected = as_array(upstream_of(case))
    for name, given in reversed(name_and_input):
        expected, *_ = reference.norm.layer_norm_gradient(expected, given, as_array(case.parameters[f"{name}.gain"]))
    passed = gradients_of(function, case, silent(case.parameters))["x"]
    assert passed is not None, "the input should get a gradient, but is cut off"
    least = min(float(given.std(axis=-1).min()) for _, given in name_and_input)
    scale = norm_scale(case.x) * (1 + 1 / least) ** len(name_and_input) * (1 + float(abs(upstream_of(case)).max()))
    assert_close(passed, expected, LAYER, scale, what="the gradient of the input")


@law(
    "pre-norm-encoder-block",
    given=seeing_all("pre-norm-encoder-block"),
    equations=("pre-norm", "encoder-block"),
    needs_gradient=True,
)
@law(
    "pre-norm-decoder-block",
    given=seeing_all("pre-norm-decoder-block"),
    equations=("pre-norm", "decoder-block"),
    needs_gradient=True,
)
def where_sublayers_say_nothing_the_gradient_passes_undiminished(function: Function, case: BlockCase) -> None:
    """Where all sublayers answer 0, the input gets the gradient of the output as it is, bit for bit.

    Kills: a residual that is detached, scaled, or taken from the normalised input.
    Hint: Let every sublayer answer 0. The output is the input; what is the slope of x in x, and what is yours?
    """
    passed = gradients_of(function, case, silent(case.parameters))["x"]
    assert passed is not None, "the input should get a gradient, but is cut off"
    assert_same(passed, upstream_of(case), what="the gradient of the input")


@law("encoder-block", given=cases_of("encoder-block"))
@law("pre-norm-encoder-block", given=cases_of("pre-norm-encoder-block"), equations=("encoder-block",))
@law("decoder-block", given=cases_of("decoder-block"))
@law("pre-norm-decoder-block", given=cases_of("pre-norm-decoder-block"), equations=("decoder-block",))
@law("encoder", given=cases_of("encoder"))
@law("pre-norm-encoder", given=cases_of("pre-norm-encoder"), equations=("encoder",))
@law("decoder", given=cases_of("decoder"))
@law("pre-norm-decoder", given=cases_of("pre-norm-decoder"), equations=("decoder",))
def examples_do_not_know_each_other(function: Function, case: BlockCase) -> None:
    """Changing all other examples leaves what is said of an example as it was, bit for bit.

    Kills: attention or a norm over the batch, as where batch and length are taken for each other.
    Hint: Which axis of yours is the batch, and which the length? Ask with one sentence, then with two.
    """
    place = case.seed % case.batch
    others = (torch.arange(case.batch) != place)[:, None, None]
    beside = list(case.beside)
    if case.reads_memory:
        beside[0] = torch.where(others, case.other("other memory", case.memory), case.memory)
    changed = torch.where(others, case.other("other", case.x), case.x)
    after = function(case.parameters, case.n_heads, changed, *beside)
    assert_same(after[place], answer_to(function, case)[place], what="what is said of the only unchanged example")


@law("encoder-block", given=blind_cases("encoder-block"), equations=("encoder-block", "attention-weights"))
@law("pre-norm-encoder-block", given=blind_cases("pre-norm-encoder-block"), equations=("encoder-block",))
@law("decoder-block", given=blind_cases("decoder-block"), equations=("decoder-block", "attention-weights"))
@law("pre-norm-decoder-block", given=blind_cases("pre-norm-decoder-block"), equations=("decoder-block",))
@law("encoder", given=blind_cases("encoder"), equations=("encoder", "attention-weights"))
@law("pre-norm-encoder", given=blind_cases("pre-norm-encoder"), equations=("encoder",))
@law("decoder", given=blind_cases("decoder"), equations=("decoder", "attention-weights"))
@law("pre-norm-decoder", given=blind_cases("pre-norm-decoder"), equations=("decoder",))
def a_position_that_may_read_nothing_reads_zeros(function: Function, case: BlockCase) -> None:
    """Where a position may read nothing, its attention reads zeros: all is as if attention had never been asked.

    Kills: NaN from a row of −∞, which spreads from block to block; the plain mean from a row of −10,000.
    Hint: Hide every key from one position. What does the softmax of its scores give, and who reads it next?
    """
    quiet = silent(case.parameters)
    reading = {
        name: case.parameters[name] if name.endswith("attention.output.weight") else quiet[name] for name in quiet
    }
    actual = answer_to(function, case, reading)
    assert actual.isfinite().all(), "the answer should be finite at every position"
    blind = case.reads_nothing
    assert_same(actual[blind], answer_to(function, case, quiet)[blind], what="what is said of a blind position")


@law("encoder-block", given=cases_of("encoder-block"), equations=("encoder-block", "layer-norm"))
@law("pre-norm-encoder-block", given=cases_of("pre-norm-encoder-block"), equations=("encoder-block", "layer-norm"))
@law("decoder-block", given=cases_of("decoder-block"), equations=("decoder-block", "layer-norm"))
@law("pre-norm-decoder-block", given=cases_of("pre-norm-decoder-block"), equations=("decoder-block", "layer-norm"))
@law("encoder", given=cases_of("encoder"), equations=("encoder", "layer-norm"))
@law("pre-norm-encoder", given=cases_of("pre-norm-encoder"), equations=("encoder", "layer-norm"))
@law("decoder", given=cases_of("decoder"), equations=("decoder", "layer-norm"))
@law("pre-norm-decoder", given=cases_of("pre-norm-decoder"), equations=("decoder", "layer-norm"))
def a_small_input_is_normalised_like_any_other(function: Function, case: BlockCase) -> None:
    """The norm of a small input is as large as any other, as the reference has it: eps is 1e-12.

    Kills: PyTorch's eps of 1e-5, which is more than the variance of entries around 1e-4.
    Hint: The variance of entries around 1e-4 is 1e-8. Beside which number do your norms add it up?
    """
    # Behind a norm that comes after, the input is small only where the sublayers add nothing to it.
    parameters = case.parameters if case.normalises_first and not case.is_stack else silent(case.parameters)
    x = SMALL * case.x
    assert_as_by_reference(answer_to(function, case, parameters, x), case, parameters, x)


@law("encoder-block", given=coarse_cases("encoder-block"), needs_gradient=True)
@law(
    "pre-norm-encoder-block",
    given=coarse_cases("pre-norm-encoder-block"),
    equations=("encoder-block",),
    needs_gradient=True,
)
@law("decoder-block", given=coarse_cases("decoder-block"), needs_gradient=True)
@law(
    "pre-norm-decoder-block",
    given=coarse_cases("pre-norm-decoder-block"),
    equations=("decoder-block",),
    needs_gradient=True,
)
def in_bfloat16_a_block_stays_bfloat16(function: Function, case: BlockCase) -> None:
    """In bfloat16 the result is bfloat16 too, finite however large the input is, and so is every gradient.

    Kills: a result left in float32; a detour through float16, where 100,000 is ∞.
    Hint: Print the type of every step. Where did you go to another one, and where do you come back?
    """
    large = answer_to(function, case, x=MORE_THAN_FLOAT16 * case.x)
    assert large.dtype == case.dtype, f"the result should be bfloat16, as its input, but is {large.dtype}"
    assert large.isfinite().all(), "the answer to a large input should be finite"
    for name, gradient in gradients_of(function, case, case.parameters).items():
        assert gradient is None or gradient.isfinite().all(), f"the gradient of {name} should be finite"


# Stacks


def block_alone(case: BlockCase, index: int) -> dict[str, Tensor]:
    """The parameters of a stack of one block, the one at an index."""
    prefix = f"blocks.{index}."
    return {
        "blocks.0." + name.removeprefix(prefix): tensor
        for name, tensor in case.parameters.items()
        if name.startswith(prefix)
    }


@law("encoder", given=cases_of("encoder"))
@law("decoder", given=cases_of("decoder"))
def a_stack_is_its_blocks_one_after_another(function: Function, case: BlockCase) -> None:
    """A stack says what its blocks say alone, each asked about the answer of the one before.

    Kills: blocks in reverse order, left out or used again; the rule for some blocks only; a memory changed on the way.
    Hint: Ask a stack of your first block alone, then one of your second block alone. What does the second one read?
    """
    x = case.x
    for index in range(case.n_blocks):
        x = answer_to(function, case, block_alone(case, index), x)
    actual = answer_to(function, case)
    assert_close(actual, x, STACK, norm_scale(case.x), what="what the blocks say one after another")


@law("pre-norm-encoder", given=cases_of("pre-norm-encoder"), equations=("encoder",))
@law("pre-norm-decoder", given=cases_of("pre-norm-decoder"), equations=("decoder",))
def a_block_that_says_nothing_could_be_missing(function: Function, case: BlockCase) -> None:
    """A stack in which all blocks but one say nothing is a stack of that one block, whichever it is.

    Kills: blocks left out or used again; a norm after every block; the rule for some blocks only.
    Hint: Let all blocks but the last say nothing. Is its voice heard, and under the same rule as if it were the first?
    """
    for speaks in range(case.n_blocks):
        prefix = f"blocks.{speaks}."
        quiet = silent(case.parameters)
        parameters = {name: case.parameters[name] if name.startswith(prefix) else quiet[name] for name in quiet}
        closing = {name: case.parameters[name] for name in ("norm.gain", "norm.bias")}
        alone = answer_to(function, case, block_alone(case, speaks) | closing)
        actual = answer_to(function, case, parameters)
        assert_close(actual, alone, STACK, norm_scale(case.x), what=f"what block {speaks} says among silent ones")
