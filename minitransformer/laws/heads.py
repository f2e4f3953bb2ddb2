"""Laws of the heads: the pooler, the scores of words, and the scores of classes."""

import torch

from minitransformer import reference
from minitransformer.laws.cases import LARGE, numbers
from minitransformer.laws.gradients import gradients_by_name
from minitransformer.laws.head_cases import (
    EPS,
    Function,
    PooledCase,
    SequencesCase,
    WordsCase,
    classes_cases,
    other_numbers,
    pooled_cases,
    sequences_cases,
    upstream_of,
    words_cases,
)
from minitransformer.laws.law import law
from minitransformer.laws.tolerances import LAYER, as_array, as_arrays, assert_close, assert_same

# The pooler


@law("pooler", given=sequences_cases())
def the_pooler_agrees_with_the_reference(pooler: Function, case: SequencesCase) -> None:
    """The pooler agrees with the reference, entry by entry.

    Kills: the weight not transposed; the bias forgotten; all else that the other laws overlook.
    Hint: Pool a vector with a single 1 in it, without a bias. Is what you see the tanh of a row, or of a column?
    """
    parameters = as_arrays(case.parameters)
    expected = reference.heads.pooler(parameters, as_array(case.x))
    assert_close(pooler(case.parameters, case.x), expected, LAYER, what="a pooled vector")


@law("pooler", given=sequences_cases())
def only_the_first_token_is_read(pooler: Function, case: SequencesCase) -> None:
    """Changing all tokens but the first changes nothing, bit for bit.

    Kills: the last token; the mean, or the maximum, of all tokens.
    Hint: Which token was put in front of every text, and for what?
    """
    is_later = (torch.arange(case.length) > 0)[:, None]
    changed = torch.where(is_later, other_numbers(case), case.x)
    expected = pooler(case.parameters, case.x)
    assert_same(pooler(case.parameters, changed), expected, what="what is pooled when later tokens change")


@law("pooler", given=sequences_cases())
def examples_are_pooled_one_by_one(pooler: Function, case: SequencesCase) -> None:
    """Changing all other examples leaves what is pooled of an example as it was, bit for bit.

    Kills: the first example read in place of the first token; a mean over the batch.
    Hint: Which axis of x is the batch, and which the length? Which of the two do you index?
    """
    example = case.seed % case.batch
    changed = other_numbers(case)
    changed[example] = case.x[example]
    actual, expected = pooler(case.parameters, changed)[example], pooler(case.parameters, case.x)[example]
    assert_same(actual, expected, what="what is pooled of the only unchanged example")


@law("pooler", given=sequences_cases())
def without_a_bias_the_opposite_is_pooled_to_the_opposite(pooler: Function, case: SequencesCase) -> None:
    """Without a bias, the opposite of x is pooled to the opposite, because tanh(−z) = −tanh(z).

    Kills: ReLU, GELU or the sigmoid in place of tanh.
    Hint: Can a pooled entry of yours be negative? As often as it is positive?
    """
    unbiased = case.parameters | {"dense.bias": torch.zeros_like(case.parameters["dense.bias"])}
    assert_close(pooler(unbiased, -case.x), -pooler(unbiased, case.x), LAYER, what="what is pooled of the opposite")


@law("pooler", given=sequences_cases())
def a_bias_far_from_zero_gives_one_or_minus_one(pooler: Function, case: SequencesCase) -> None:
    """Where the bias is far from zero, the pooled entry is its sign, exactly 1 or −1, whatever x is.

    Kills: no tanh; tanh before the dense layer; an activation that has another bound, or none.
    Hint: Set a bias to 1000, and another one to −1000. Which step of yours keeps the result small, and is it the last?
    """
    sign = case.parameters["dense.bias"].sign()
    pooled = pooler(case.parameters | {"dense.bias": LARGE * sign}, case.x)
    assert_same(pooled, sign.expand_as(pooled), what="what is pooled under a bias far from zero")


@law("pooler", given=sequences_cases(), needs_gradient=True)
def the_gradient_of_the_pooler_is_the_one_derived_by_hand(pooler: Function, case: SequencesCase) -> None:
    """The gradient, g · (1 − p²) through the dense layer, agrees with autograd; no token but the first has any.

    Kills: the first token outside of autograd; the mean of all tokens; the activation left out.
    Hint: Which tokens of x should learn from what was pooled? Print the gradient of each of them.
    """
    upstream = upstream_of(case, case.batch, case.d_model)
    found = gradients_by_name(pooler, case.parameters, upstream, x=case.x)
    parameters = as_arrays(case.parameters)
    x = as_array(case.x)
    for_dense = as_array(upstream) * (1 - reference.heads.pooler(parameters, x) ** 2)
    for_first, for_weight, for_bias = reference.feed_forward.linear_gradient(
        for_dense, x[:, 0], parameters["dense.weight"]
    )
    scale = (1 + float(upstream.abs().sum())) * (1 + float(case.x.abs().max()))
    assert_same(found["x"][:, 1:], torch.zeros_like(case.x[:, 1:]), what="the gradient of later tokens")
    assert_close(found["x"][:, 0], for_first, LAYER, scale, what="the gradient of the first token")
    assert_close(found["dense.weight"], for_weight, LAYER, scale, what="the gradient of the weight")
    assert_close(found["dense.bias"], for_bias, LAYER, scale, what="the gradient of the bias")


# The masked-word head


@law("masked-word-head", given=words_cases())
def the_masked_word_head_agrees_with_the_reference(masked_word_head: Function, case: WordsCase) -> None:
    """The masked-word head agrees with the reference, entry by entry.

    Kills: the transform left out; GELU by its approximation; ReLU; an eps of its own; the table read by columns.
    Hint: There are four steps from x to the scores. Leave them out one at a time, in both. At which do you part?
    """
    parameters = as_arrays(case.parameters)
    expected = reference.heads.masked_word_head(parameters, as_array(case.x))
    assert_close(masked_word_head(case.parameters, case.x), expected, LAYER, case.scale, what="the score of a word")


@law("masked-word-head", given=words_cases())
def positions_are_scored_one_by_one(masked_word_head: Function, case: WordsCase) -> None:
    """Changing every other position leaves the scores at a position as they were, bit for bit.

    Kills: a norm over the length; scores that are compared with those of other positions.
    Hint: Which axes does your norm run over? Print the shape of its mean.
    """
    place = case.seed % case.batch, case.seed % case.length
    changed = other_numbers(case)
    changed[place] = case.x[place]
    actual = masked_word_head(case.parameters, changed)[place]
    expected = masked_word_head(case.parameters, case.x)[place]
    assert_same(actual, expected, what="the scores at the only unchanged position")


@law("masked-word-head", given=words_cases())
def a_word_is_scored_by_its_own_vector(masked_word_head: Function, case: WordsCase) -> None:
    """Changing the vector of a word in the table changes the score of this word and of no other.

    Kills: the table read by columns; scores that are compared, as by a softmax inside; a decoder that is not the table.
    Hint: Whose score should move if one row of the table of words changes? Whose does?
    """
    table = case.parameters["decoder.weight"].clone()
    table[case.word] += 1 + numbers(case.seed, "row", case.d_model, dtype=case.dtype).abs()
    before = masked_word_head(case.parameters, case.x)
    after = masked_word_head(case.parameters | {"decoder.weight": table}, case.x)
    others = torch.arange(case.vocab_size) != case.word
    assert_same(after[..., others], before[..., others], what="the scores of the other words")
    assert (after[..., case.word] != before[..., case.word]).any(), "the score of a word should follow its vector"


@law("masked-word-head", given=words_cases())
def the_bias_of_a_word_adds_to_its_score(masked_word_head: Function, case: WordsCase) -> None:
    """Numbers added to the biases of the words are added to their scores, at every position.

    Kills: the bias of the decoder forgotten; a log-softmax inside.
    Hint: A word is frequent, whatever stands around it. Which parameter can say so?
    """
    added = numbers(case.seed, "added", case.vocab_size, dtype=case.dtype)
    raised = case.parameters | {"decoder.bias": case.parameters["decoder.bias"] + added}
    expected = masked_word_head(case.parameters, case.x) + added
    assert_close(masked_word_head(raised, case.x), expected, LAYER, case.scale, what="the score plus what was added")


@law("masked-word-head", given=words_cases())
def without_biases_twice_the_table_gives_twice_the_scores(masked_word_head: Function, case: WordsCase) -> None:
    """Without biases of the words, scores are linear in the table: doubling it doubles them, bit for bit.

    Kills: vectors of words that are normalised first, as in a cosine; a log-softmax inside.
    Hint: A score is a dot product. What happens to it if one of the two vectors becomes twice as long?
    """
    unbiased = case.parameters | {"decoder.bias": torch.zeros_like(case.parameters["decoder.bias"])}
    doubled = unbiased | {"decoder.weight": 2 * unbiased["decoder.weight"]}
    actual, expected = masked_word_head(doubled, case.x), 2 * masked_word_head(unbiased, case.x)
    assert_same(actual, expected, what="the scores under twice the table")


@law("masked-word-head", given=words_cases())
def a_vector_of_equal_entries_is_scored_by_its_bias(masked_word_head: Function, case: WordsCase) -> None:
    """With a gain of 1 and a bias of 0 in the norm, a word whose vector has equal entries scores its own bias.

    Kills: no norm in the transform; the norm before the activation; the norm over the length.
    Hint: What is the sum of the entries of a vector that has just been normalised? Is it still that at the decoder?
    """
    table = case.parameters["decoder.weight"].clone()
    table[case.word] = 1.0
    plain = {"norm.gain": torch.ones(case.d_model, dtype=case.dtype), "decoder.weight": table}
    plain["norm.bias"] = torch.zeros_like(plain["norm.gain"])
    scores = masked_word_head(case.parameters | plain, case.x)[..., case.word]
    expected = case.parameters["decoder.bias"][case.word].expand_as(scores)
    assert_close(scores, expected, LAYER, case.scale, what="the score of a word whose vector has equal entries")


@law("masked-word-head", given=words_cases(narrowest=3), needs_gradient=True)
def the_gradient_of_the_masked_word_head_is_the_one_derived_by_hand(
    masked_word_head: Function, case: WordsCase
) -> None:
    """The gradients of the input, the transform, the table and the biases, derived by hand, agree with autograd.

    Kills: a copy of the table outside of autograd, which never learns from what is guessed; the input cut off.
    Hint: A word's vector is read in the embeddings and again here. Does it learn at both places?
    """
    upstream = upstream_of(case, case.batch, case.length, case.vocab_size)
    found = gradients_by_name(masked_word_head, case.parameters, upstream, x=case.x)
    parameters = as_arrays(case.parameters)
    x, weight, gain = as_array(case.x), parameters["dense.weight"], parameters["norm.gain"]
    dense = reference.feed_forward.linear(x, weight, parameters["dense.bias"])
    active = reference.feed_forward.gelu(dense)
    word_like = reference.norm.layer_norm(active, gain, parameters["norm.bias"], EPS)
    expected = {}
    linear_gradient = reference.feed_forward.linear_gradient
    for_word_like, expected["decoder.weight"], expected["decoder.bias"] = linear_gradient(
        as_array(upstream), word_like, parameters["decoder.weight"]
    )
    for_active, expected["norm.gain"], expected["norm.bias"] = reference.norm.layer_norm_gradient(
        for_word_like, active, gain, EPS
    )
    for_dense = reference.feed_forward.gelu_gradient(for_active, dense)
    expected["x"], expected["dense.weight"], expected["dense.bias"] = linear_gradient(for_dense, x, weight)
    scale = case.scale * (1 + 1 / case.deviation) * (1 + float(upstream.abs().sum()))
    for name, by_hand in expected.items():
        assert_close(found[name], by_hand, LAYER, scale, what=f"the gradient of {name}")


# The next-sentence head and the classification head


@law("next-sentence-head", given=pooled_cases())
@law("classification-head", given=classes_cases())
def scores_agree_with_the_reference(head: Function, case: PooledCase) -> None:
    """The scores agree with the reference, entry by entry.

    Kills: an activation in the head; the bias forgotten; all else that the other laws overlook.
    Hint: Ask for the scores of a vector of zeros, and then of one with a single 1. What do you see of your parameters?
    """
    parameters = as_arrays(case.parameters)
    expected = reference.heads.classification_head(parameters, as_array(case.x))
    assert_close(head(case.parameters, case.x), expected, LAYER, what="a score")


@law("next-sentence-head", given=pooled_cases())
@law("classification-head", given=classes_cases())
def scores_are_affine(head: Function, case: PooledCase) -> None:
    """The scores are affine: f(x + y) + f(0) = f(x) + f(y).

    Kills: a softmax, a sigmoid or a tanh in the head; a score made from another.
    Hint: A loss takes the softmax of what you return. What does it get if you have taken one already?
    """
    other = other_numbers(case)
    together = head(case.parameters, case.x + other) + head(case.parameters, torch.zeros_like(other))
    apart = head(case.parameters, case.x) + head(case.parameters, other)
    assert_close(together, apart, LAYER, 8, what="f(x + y) + f(0)")


@law("next-sentence-head", given=pooled_cases())
@law("classification-head", given=classes_cases())
def each_score_has_a_row_and_a_bias_of_its_own(head: Function, case: PooledCase) -> None:
    """Changing a row of the weight, and its bias, changes the score of the same number and no other.

    Kills: the two labels exchanged; a softmax inside; one score that is the opposite of the other.
    Hint: Of your scores, which is it that says "is next"? Which label has a pair of neighbours?
    """
    row = case.seed % case.n_scores
    changed = {name: tensor.clone() for name, tensor in case.parameters.items()}
    changed["dense.weight"][row] += 1.0
    changed["dense.bias"][row] += 1.0
    before, after = head(case.parameters, case.x), head(changed, case.x)
    others = torch.arange(case.n_scores) != row
    assert_same(after[:, others], before[:, others], what=f"the scores other than number {row}")
    assert (after[:, row] != before[:, row]).any(), f"score {row} should follow row {row} of the weight"


@law("next-sentence-head", given=pooled_cases())
@law("classification-head", given=classes_cases())
def what_is_added_to_the_bias_is_added_to_the_scores(head: Function, case: PooledCase) -> None:
    """Numbers added to the bias are added to the scores.

    Kills: the bias forgotten; a log-softmax inside, under which only differences count.
    Hint: Add 1 to all biases. Do all scores grow by 1, or does something take it off again?
    """
    added = numbers(case.seed, "added", case.n_scores, dtype=case.dtype)
    raised = case.parameters | {"dense.bias": case.parameters["dense.bias"] + added}
    expected = head(case.parameters, case.x) + added
    assert_close(head(raised, case.x), expected, LAYER, what="the score plus what was added")


@law("next-sentence-head", given=pooled_cases())
@law("classification-head", given=classes_cases())
def without_a_bias_twice_the_input_gives_twice_the_scores(head: Function, case: PooledCase) -> None:
    """Without a bias, doubling the input doubles the scores, bit for bit, also where they are large.

    Kills: a sigmoid, a tanh or a softmax inside; an input that is normalised, or pooled, once more.
    Hint: Between the input and the scores stands one matrix. What else have you put there?
    """
    large = LARGE * case.x
    actual, expected = head(case.without_bias(), 2 * large), 2 * head(case.without_bias(), large)
    assert_same(actual, expected, what="the scores of twice the input")


@law("next-sentence-head", given=pooled_cases())
@law("classification-head", given=classes_cases())
def examples_are_scored_one_by_one(head: Function, case: PooledCase) -> None:
    """Changing all other examples leaves the scores of an example as they were, bit for bit.

    Kills: the first example read for all; a softmax or a mean over the batch.
    Hint: What is x[0] here: the first token, or the first example?
    """
    example = case.seed % case.batch
    changed = other_numbers(case)
    changed[example] = case.x[example]
    actual, expected = head(case.parameters, changed)[example], head(case.parameters, case.x)[example]
    assert_same(actual, expected, what="the scores of the only unchanged example")


@law("next-sentence-head", given=pooled_cases(), needs_gradient=True)
@law("classification-head", given=classes_cases(), needs_gradient=True)
def the_gradient_of_the_scores_is_the_one_derived_by_hand(head: Function, case: PooledCase) -> None:
    """The gradients of the input, the weight and the bias, derived by hand, agree with autograd.

    Kills: an input outside of autograd, so that the encoder never learns; an activation inside; the bias forgotten.
    Hint: What does x gain if a score grows by 1? Does anything of it arrive?
    """
    upstream = upstream_of(case, case.batch, case.n_scores)
    found = gradients_by_name(head, case.parameters, upstream, x=case.x)
    parameters = as_arrays(case.parameters)
    by_hand = reference.feed_forward.linear_gradient(as_array(upstream), as_array(case.x), parameters["dense.weight"])
    scale = (1 + float(upstream.abs().sum())) * (1 + float(case.x.abs().max()))
    for name, expected in zip(("x", "dense.weight", "dense.bias"), by_hand, strict=True):
        assert_close(found[name], expected, LAYER, scale, what=f"the gradient of {name}")
