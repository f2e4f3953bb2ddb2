"""Laws of decoder blocks and stacks of them, which read what came before, and a memory."""

from functools import partial

import torch
from torch import Tensor

from minitransformer.laws.block_cases import (
    BlockCase,
    Function,
    answer_to,
    assert_as_by_reference,
    cases_of,
    gradients_of,
    silent,
)
from minitransformer.laws.cases import coins, shuffled
from minitransformer.laws.law import law
from minitransformer.laws.residuals import norm_scale
from minitransformer.laws.tolerances import STACK, assert_close, assert_same

seeing_all = partial(cases_of, visibilities=("all",))
padded = partial(cases_of, visibilities=("padding",))


def assert_later_tokens_cannot_matter(decoder: Function, case: BlockCase, may_attend: Tensor | None) -> None:
    """Change all tokens from one place on, and fail unless what is said before it stays."""
    first_changed = case.seed % case.length
    later = (torch.arange(case.length) >= first_changed)[:, None]
    changed = torch.where(later, case.other("later", case.x), case.x)
    before = decoder(case.parameters, case.n_heads, case.x, case.memory, may_attend)
    after = decoder(case.parameters, case.n_heads, changed, case.memory, may_attend)
    assert_same(after[:, :first_changed], before[:, :first_changed], what="what is said before the change")


@law("decoder-block", given=seeing_all("decoder-block"), equations=("decoder-block", "causal-visibility"))
@law("pre-norm-decoder-block", given=seeing_all("pre-norm-decoder-block"), equations=("decoder-block",))
@law("decoder", given=seeing_all("decoder"), equations=("decoder", "causal-visibility"))
@law("pre-norm-decoder", given=seeing_all("pre-norm-decoder"), equations=("decoder",))
def later_tokens_cannot_change_what_is_said_of_earlier_ones(decoder: Function, case: BlockCase) -> None:
    """Changing later tokens changes nothing that is said of earlier ones, bit for bit, without a rule being given.

    Kills: no causal rule; the diagonal off by one; a causal rule in some of the blocks only.
    Hint: Change the last token. Is anything said of the first one another, and through which block did it come?
    """
    assert_later_tokens_cannot_matter(decoder, case, None)


@law("decoder-block", given=seeing_all("decoder-block"), equations=("decoder-block", "causal-visibility"))
@law("pre-norm-decoder-block", given=seeing_all("pre-norm-decoder-block"), equations=("decoder-block",))
@law("decoder", given=seeing_all("decoder"), equations=("decoder", "causal-visibility"))
@law("pre-norm-decoder", given=seeing_all("pre-norm-decoder"), equations=("decoder",))
def no_rule_uncovers_later_tokens(decoder: Function, case: BlockCase) -> None:
    """A rule that would show everything uncovers no later token: the causal rule hides it still.

    Kills: the caller's rule in place of the causal one; the two joined by or in place of and.
    Hint: Give a rule that is True everywhere. What do you do with your own, causal one when a rule is given?
    """
    assert_later_tokens_cannot_matter(decoder, case, torch.ones(case.length, case.length, dtype=torch.bool))


@law("decoder-block", given=seeing_all("decoder-block"))
@law("pre-norm-decoder-block", given=seeing_all("pre-norm-decoder-block"), equations=("decoder-block",))
@law("decoder", given=seeing_all("decoder"))
@law("pre-norm-decoder", given=seeing_all("pre-norm-decoder"), equations=("decoder",))
def a_hidden_token_cannot_matter(decoder: Function, case: BlockCase) -> None:
    """Whatever stands in tokens that the rule hides, what is said of all others stays the same, bit for bit.

    Kills: the rule ignored where the causal one is; the rule for some of the blocks only.
    Hint: Hide the first token by a rule, and change it. Which attention reads it still, and which rules was it given?
    """
    hidden = coins(case.seed, "hidden", case.batch, case.length)
    itself = torch.eye(case.length, dtype=torch.bool)
    rule = (~hidden[:, None] | itself)[:, None]
    changed = torch.where(hidden[..., None], case.other("hidden token", case.x), case.x)
    before = decoder(case.parameters, case.n_heads, case.x, case.memory, rule)
    after = decoder(case.parameters, case.n_heads, changed, case.memory, rule)
    assert_same(after[~hidden], before[~hidden], what="what is said of visible tokens")


@law("decoder-block", given=padded("decoder-block"))
@law("pre-norm-decoder-block", given=padded("pre-norm-decoder-block"), equations=("decoder-block",))
@law("decoder", given=padded("decoder"))
@law("pre-norm-decoder", given=padded("pre-norm-decoder"), equations=("decoder",))
def what_is_hidden_in_the_memory_cannot_matter(decoder: Function, case: BlockCase) -> None:
    """Changing what is hidden in the memory changes nothing, bit for bit.

    Kills: the rule of the memory dropped, taken for that of the sequence, or given to some of the blocks only.
    Hint: Put 100 into the padding of the memory. Which attention reads it, and which of the two rules was it given?
    """
    assert case.may_attend_memory is not None
    visible = case.may_attend_memory[:, 0, 0, :, None]
    other = torch.where(visible, case.memory, 100 * case.other("other memory", case.memory))
    before = decoder(case.parameters, case.n_heads, case.x, case.memory, None, case.may_attend_memory)
    after = decoder(case.parameters, case.n_heads, case.x, other, None, case.may_attend_memory)
    assert_same(after, before, what="the output when the hidden part of the memory changes")


@law("decoder-block", given=padded("decoder-block"))
@law("pre-norm-decoder-block", given=padded("pre-norm-decoder-block"), equations=("decoder-block",))
@law("decoder", given=padded("decoder"))
@law("pre-norm-decoder", given=padded("pre-norm-decoder"), equations=("decoder",))
def what_is_visible_in_the_memory_is_read(decoder: Function, case: BlockCase) -> None:
    """Changing what is visible in the memory changes what is said of every position.

    Kills: the memory ignored; a causal rule on the memory, under which early positions read its beginning alone.
    Hint: Change the last visible vector of the memory. What does the first position of the sequence notice of it?
    """
    assert case.may_attend_memory is not None
    visible = case.may_attend_memory[:, 0, 0]
    last = visible.sum(-1, keepdim=True) - 1
    is_last = (torch.arange(case.memory_length) == last)[..., None]
    other = torch.where(is_last, case.memory + 1 + case.other("other memory", case.memory).abs(), case.memory)
    before = decoder(case.parameters, case.n_heads, case.x, case.memory, None, case.may_attend_memory)
    after = decoder(case.parameters, case.n_heads, case.x, other, None, case.may_attend_memory)
    assert (after != before).any(-1).all(), "a change in the visible memory should be seen at every position"


@law("decoder-block", given=cases_of("decoder-block"))
@law("pre-norm-decoder-block", given=cases_of("pre-norm-decoder-block"), equations=("decoder-block",))
@law("decoder", given=cases_of("decoder"))
@law("pre-norm-decoder", given=cases_of("pre-norm-decoder"), equations=("decoder",))
def the_order_of_the_memory_cannot_matter(decoder: Function, case: BlockCase) -> None:
    """Shuffling the memory, and its rule with it, changes nothing.

    Kills: a causal rule on the memory; positions added to it; the rule of the sequence taken for that of the memory.
    Hint: Attention reads the memory as a set. What in your code knows that one of its vectors is the first?
    """
    order = shuffled(case.seed, "order of the memory", case.memory_length)
    rule = None if case.may_attend_memory is None else case.may_attend_memory[..., order]
    actual = decoder(case.parameters, case.n_heads, case.x, case.memory[:, order], case.may_attend, rule)
    expected = answer_to(decoder, case)
    assert_close(actual, expected, STACK, norm_scale(case.x), what="what is said with a shuffled memory")


@law("decoder-block", given=cases_of("decoder-block"))
@law("pre-norm-decoder-block", given=cases_of("pre-norm-decoder-block"), equations=("decoder-block",))
def cross_attention_stands_in_its_place(decoder: Function, case: BlockCase) -> None:
    """Where all other sublayers answer 0, cross-attention agrees with the reference, with its norm and its residual.

    Kills: the input read in place of the memory; the memory normalised; the weights of self-attention used again.
    Hint: Let all other sublayers answer 0. Who asks in cross-attention, who answers, and with which of the weights?
    """
    parameters = silent(case.parameters, but="cross_attention")
    assert_as_by_reference(answer_to(decoder, case, parameters), case, parameters, what="cross-attention in its place")


@law("decoder-block", given=padded("decoder-block"), needs_gradient=True)
@law(
    "pre-norm-decoder-block", given=padded("pre-norm-decoder-block"), equations=("decoder-block",), needs_gradient=True
)
@law("decoder", given=padded("decoder"), needs_gradient=True)
@law("pre-norm-decoder", given=padded("pre-norm-decoder"), equations=("decoder",), needs_gradient=True)
def the_visible_memory_gets_a_gradient_and_the_hidden_one_none(decoder: Function, case: BlockCase) -> None:
    """What is visible in the memory gets a gradient, so that the encoder learns, and what is hidden gets exactly none.

    Kills: a memory that is detached; the rule of the memory dropped.
    Hint: The encoder learns through the memory alone. What comes back to each of its vectors?
    """
    assert case.may_attend_memory is not None
    visible = case.may_attend_memory[:, 0, 0]
    beside = (case.memory, None, case.may_attend_memory)
    passed = gradients_of(decoder, case, case.parameters, *beside)["memory"]
    assert passed is not None, "the memory should get a gradient, but is cut off"
    assert passed[visible].any(-1).all(), "every visible vector of the memory should get a gradient"
    assert not passed[~visible].any(), "what is hidden in the memory should get no gradient"
