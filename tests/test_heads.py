"""The heads beyond the laws of what they compute: tied words, chosen positions, and dropout."""

import pytest
import torch
from hypothesis import given
from torch import nn

from minitransformer.feed_forward import gelu
from minitransformer.heads import ClassificationHead, MaskedWordHead
from minitransformer.laws.cases import randomise
from minitransformer.laws.head_cases import WordsCase, words_cases
from minitransformer.laws.tolerances import LAYER, assert_close, assert_same
from minitransformer.norm import RMSNorm

pytestmark = pytest.mark.usefixtures("kernels_in_use")


@pytest.mark.equation("masked-word-head")
@given(case=words_cases())
def test_a_word_is_predicted_by_the_vector_it_is_read_by(case: WordsCase) -> None:
    """The decoder of a head with a table of words is this table, not a copy, and learns with it.

    Kills: an untied decoder; a decoder that holds a copy.
    """
    words = randomise(nn.Embedding(case.vocab_size, case.d_model), case.seed, case.dtype)
    head = randomise(MaskedWordHead(case.d_model, words), case.seed, case.dtype)
    assert head.decoder.weight is words.weight
    head(case.x).sum().backward()
    assert words.weight.grad is not None, "the table of words should learn from the head"


@pytest.mark.equation("masked-word-head")
@given(case=words_cases())
def test_chosen_positions_are_scored_as_all_are(case: WordsCase) -> None:
    """A head that is given one position of each row, without an axis for the length, scores it as among all."""
    head = randomise(MaskedWordHead(case.d_model, None, case.vocab_size), case.seed, case.dtype)
    assert_close(head(case.x[:, -1]), head(case.x)[:, -1], LAYER, case.scale)


def test_a_head_without_a_table_has_a_decoder_of_its_own() -> None:
    head = MaskedWordHead(4, None, vocab_size=7, activation=torch.tanh, norm=RMSNorm)
    assert head.decoder.weight.shape == (7, 4)
    assert head(torch.zeros(2, 3, 4)).shape == (2, 3, 7)
    assert MaskedWordHead(4, nn.Embedding(7, 4)).activation is gelu


@pytest.mark.equation("classification-head", "dropout")
def test_the_classification_head_drops_while_training_only() -> None:
    """The classification head forgets some of its input while training, and nothing while evaluating."""
    torch.manual_seed(1)
    head = ClassificationHead(50, 3, dropout=0.5)
    x = torch.ones(2, 50)
    assert (head(x) != head(x)).any()
    assert_same(head.eval()(x), head.dense(x))
