"""Laws of the heads."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from torch import Tensor, nn

from minitransformer import reference
from minitransformer.feed_forward import gelu
from minitransformer.heads import ClassificationHead, MaskedWordHead, NextSentenceHead, Pooler
from minitransformer.laws.cases import SequenceCase, numbers, parameters_of, randomise, sequence_cases
from minitransformer.laws.tolerances import LAYER, STACK, as_array, assert_close, assert_same
from minitransformer.norm import RMSNorm

pytestmark = pytest.mark.usefixtures("kernels_in_use")

VOCAB_SIZE = 17
N_CLASSES = 19

everything = sequence_cases(visibilities=("all",), narrow_heads=False)


def only_the_first_token_is_read(pooler: Callable[[Tensor], Tensor], case: SequenceCase) -> None:
    others = (torch.arange(case.length) > 0)[:, None]
    changed = torch.where(others, numbers(case.seed, "other", *case.x.shape, dtype=case.dtype), case.x)
    assert_same(pooler(changed), pooler(case.x), what="what is pooled when later tokens change")
    assert (pooler(-case.x) != pooler(case.x)).any(), "the first token should matter"
    assert (pooler(1e4 * case.x).abs() <= 1).all(), "a pooled entry should lie from −1 to 1"
    assert (pooler(1e4 * case.x).abs() > 0.9).any(), "a pooled entry should be able to come near ±1"


@pytest.mark.equation("pooler")
@given(case=everything)
def test_only_the_first_token_is_read(case: SequenceCase) -> None:
    """The pooler reads the first token alone, bit for bit, and gives numbers from −1 to 1.

    Kills: the last token or the mean in place of the first; no tanh.
    """
    only_the_first_token_is_read(randomise(Pooler(case.d_model), case.seed, case.dtype), case)


@pytest.mark.equation("pooler")
@given(case=everything)
def test_the_pooler_agrees_with_the_reference(case: SequenceCase) -> None:
    """The pooler agrees with the reference."""
    module = randomise(Pooler(case.d_model), case.seed, case.dtype)
    assert_close(module(case.x), reference.heads.pooler(parameters_of(module), as_array(case.x)), LAYER)


def masked_word_head(case: SequenceCase) -> tuple[MaskedWordHead, nn.Embedding]:
    """A head with numbers of its own, tied to a table of words."""
    words = randomise(nn.Embedding(VOCAB_SIZE, case.d_model), case.seed, case.dtype)
    return randomise(MaskedWordHead(case.d_model, words), case.seed, case.dtype), words


def a_word_is_predicted_by_the_vector_it_is_read_by(head: MaskedWordHead, words: nn.Embedding, x: Tensor) -> None:
    word = 3
    before = head(x)
    with torch.no_grad():
        words.weight[word] += 1.0
    changed = head(x) - before
    others = torch.arange(VOCAB_SIZE) != word
    assert not changed[..., others].any(), "the scores of other words should stay"
    assert changed[..., word].any(), "the score of a word should follow its embedding"
    head(x).sum().backward()
    assert words.weight.grad is not None, "the table of words should learn from the head"
    assert words.weight.grad.any(), "the table of words should learn from the head"


@pytest.mark.equation("masked-word-head")
@given(case=everything)
def test_a_word_is_predicted_by_the_vector_it_is_read_by(case: SequenceCase) -> None:
    """Changing the embedding of a word changes the score of this word alone, and the table learns from the head.

    Kills: an untied decoder; a decoder that holds a copy; the table in the wrong orientation.
    """
    head, words = masked_word_head(case)
    a_word_is_predicted_by_the_vector_it_is_read_by(head, words, case.x)
    assert head.decoder.weight is words.weight


@pytest.mark.equation("masked-word-head")
@given(case=everything)
def test_the_bias_of_a_word_adds_to_its_score(case: SequenceCase) -> None:
    """Adding 1 to the bias of a word adds 1 to its score at every position, and to no other.

    Kills: the bias of the decoder forgotten.
    """
    head, _ = masked_word_head(case)
    before = head(case.x)
    with torch.no_grad():
        head.decoder.bias[3] += 1.0
    expected = before.clone()
    expected[..., 3] += 1.0
    assert_close(head(case.x), expected, LAYER)


@pytest.mark.equation("masked-word-head")
@given(case=everything)
def test_the_masked_word_head_agrees_with_the_reference(case: SequenceCase) -> None:
    """The masked-word head agrees with the reference, and scores chosen positions as it scores all.

    Kills: the transform without its norm or its activation; the norm before the activation.
    """
    head, _ = masked_word_head(case)
    expected = reference.heads.masked_word_head(parameters_of(head), as_array(case.x))
    assert_close(head(case.x), expected, STACK)
    assert_close(head(case.x[:, -1]), expected[:, -1], STACK)


def test_a_head_without_a_table_has_a_decoder_of_its_own() -> None:
    head = MaskedWordHead(4, None, vocab_size=7, activation=torch.tanh, norm=RMSNorm)
    assert head.decoder.weight.shape == (7, 4)
    assert head(torch.zeros(2, 3, 4)).shape == (2, 3, 7)
    assert MaskedWordHead(4, nn.Embedding(7, 4)).activation is gelu


def a_head_is_affine(head: Callable[[Tensor], Tensor], x: Tensor, other: Tensor) -> None:
    together = head(x + other) + head(torch.zeros_like(x))
    assert_close(together, head(x) + head(other), LAYER, 8, what="f(x + y) + f(0)")


@pytest.mark.equation("next-sentence-head", "classification-head")
@given(case=everything)
def test_a_head_is_affine(case: SequenceCase) -> None:
    """The next-sentence and the classification head are affine: f(x + y) + f(0) = f(x) + f(y).

    Kills: an activation, or a softmax, in the head.
    """
    pooled, other = case.x[:, 0], case.x[:, -1]
    a_head_is_affine(randomise(NextSentenceHead(case.d_model), case.seed, case.dtype), pooled, other)
    a_head_is_affine(randomise(ClassificationHead(case.d_model, N_CLASSES), case.seed, case.dtype), pooled, other)


@pytest.mark.equation("next-sentence-head", "classification-head")
@given(case=everything)
def test_the_other_heads_agree_with_the_reference(case: SequenceCase) -> None:
    """The next-sentence and the classification head agree with the reference.

    Kills: the bias forgotten; the classes in another order.
    """
    head = randomise(NextSentenceHead(case.d_model), case.seed, case.dtype)
    expected = reference.heads.next_sentence_head(parameters_of(head), as_array(case.x[:, 0]))
    assert_close(head(case.x[:, 0]), expected, LAYER)
    classifier = randomise(ClassificationHead(case.d_model, N_CLASSES), case.seed, case.dtype)
    expected = reference.heads.classification_head(parameters_of(classifier), as_array(case.x))
    assert_close(classifier(case.x), expected, LAYER)


@pytest.mark.equation("classification-head", "dropout")
def test_the_classification_head_drops_while_training_only() -> None:
    """The classification head forgets some of its input while training, and nothing while evaluating."""
    torch.manual_seed(1)
    head = ClassificationHead(50, 3, dropout=0.5)
    x = torch.ones(2, 50)
    assert (head(x) != head(x)).any()
    assert_same(head.eval()(x), head.dense(x))
