"""The law of whole blocks and stacks: it notices most and says least of what is wrong, so it comes after all others."""

from minitransformer.laws.block_cases import BlockCase, Function, answer_to, assert_as_by_reference, cases_of
from minitransformer.laws.law import law


@law("encoder-block", given=cases_of("encoder-block"))
@law("pre-norm-encoder-block", given=cases_of("pre-norm-encoder-block"), equations=("encoder-block", "pre-norm"))
@law("decoder-block", given=cases_of("decoder-block"))
@law("pre-norm-decoder-block", given=cases_of("pre-norm-decoder-block"), equations=("decoder-block", "pre-norm"))
@law("encoder", given=cases_of("encoder"))
@law("pre-norm-encoder", given=cases_of("pre-norm-encoder"), equations=("encoder",))
@law("decoder", given=cases_of("decoder"))
@law("pre-norm-decoder", given=cases_of("pre-norm-decoder"), equations=("decoder",))
def the_answer_agrees_with_the_reference(function: Function, case: BlockCase) -> None:
    """The whole agrees with the reference, where every position may read something.

    Kills: parts in another order; a residual, a norm or a rule in the wrong place; GELU for ReLU; dropout left on.
    Hint: Let all sublayers but one answer 0, by setting their last maps to 0. With which one do you part?
    """
    assert_as_by_reference(answer_to(function, case), case)
