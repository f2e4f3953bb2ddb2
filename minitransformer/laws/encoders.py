"""Laws of encoder blocks and stacks of them, which read a sequence whole."""

from functools import partial

import torch

from minitransformer.laws.block_cases import BlockCase, Function, answer_to, cases_of
from minitransformer.laws.cases import shuffled
from minitransformer.laws.law import law
from minitransformer.laws.residuals import norm_scale
from minitransformer.laws.tolerances import STACK, assert_close, assert_same

padded = partial(cases_of, visibilities=("padding",))


@law("encoder-block", given=cases_of("encoder-block"))
@law("pre-norm-encoder-block", given=cases_of("pre-norm-encoder-block"), equations=("encoder-block",))
@law("encoder", given=cases_of("encoder"))
@law("pre-norm-encoder", given=cases_of("pre-norm-encoder"), equations=("encoder",))
def an_encoder_does_not_know_the_order(encoder: Function, case: BlockCase) -> None:
    """Shuffling the positions, and the rule with them, shuffles what is said of them.

    Kills: a causal rule in the encoder; positions added inside a block; a rule on the axis of the queries.
    Hint: Without position vectors a sentence is a bag of words. What in your code knows which word is the first?
    """
    order = shuffled(case.seed, "order", case.length)
    rule = None if case.may_attend is None else case.may_attend[:, :, order][..., order]
    expected = answer_to(encoder, case)[:, order]
    actual = encoder(case.parameters, case.n_heads, case.x[:, order], rule)
    assert_close(actual, expected, STACK, norm_scale(case.x), what="what is said of a shuffled sequence")


@law("encoder-block", given=padded("encoder-block"), equations=("encoder-block", "padding-visibility"))
@law("pre-norm-encoder-block", given=padded("pre-norm-encoder-block"), equations=("encoder-block",))
@law("encoder", given=padded("encoder"), equations=("encoder", "padding-visibility"))
@law("pre-norm-encoder", given=padded("pre-norm-encoder"), equations=("encoder",))
def what_stands_in_the_padding_cannot_matter(encoder: Function, case: BlockCase) -> None:
    """Whatever stands in the padding, what is said of the words stays the same, bit for bit.

    Kills: the rule dropped, or given to the first block or to the last one only; a rule on the axis of the queries.
    Hint: Put 100 into the padding. In which block is it read first, and which rule was that block given?
    """
    assert case.may_attend is not None
    is_word = case.may_attend[:, 0, 0, :, None]
    noise = torch.where(is_word, case.x, 100 * case.other("noise", case.x))
    changed = (answer_to(encoder, case, x=noise) != answer_to(encoder, case)) & is_word
    assert_same(changed, torch.zeros_like(changed), what="what is said of the words when the padding changes")


@law("encoder-block", given=padded("encoder-block"), equations=("encoder-block", "padding-visibility"))
@law("pre-norm-encoder-block", given=padded("pre-norm-encoder-block"), equations=("encoder-block",))
@law("encoder", given=padded("encoder"), equations=("encoder", "padding-visibility"))
@law("pre-norm-encoder", given=padded("pre-norm-encoder"), equations=("encoder",))
def a_sentence_is_encoded_alone_as_in_a_padded_batch(encoder: Function, case: BlockCase) -> None:
    """A sentence alone, without padding and without a rule, is encoded as in a padded batch.

    Kills: the rule dropped or on the axis of the queries; a norm over the length; attention over the batch.
    Hint: Cut off the padding of one sentence and encode it alone. Which step of yours knows how long the batch is?
    """
    assert case.may_attend is not None
    lengths = case.may_attend[:, 0, 0].sum(-1).tolist()
    together = answer_to(encoder, case)
    for example, length in enumerate(lengths):
        alone = encoder(case.parameters, case.n_heads, case.x[example : example + 1, :length])
        scale = norm_scale(case.x)
        assert_close(alone[0], together[example, :length], STACK, scale, what="what is said of a sentence alone")
