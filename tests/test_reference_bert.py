"""BERT from the first embedding to the last logit: the NumPy reference against the PyTorch models."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from minitransformer import reference
from minitransformer.laws.cases import dtypes, few_examples, parameters_of, randomise, seeds, whole_numbers
from minitransformer.laws.tolerances import STACK, as_array, assert_close, assert_same
from minitransformer.models.bert import (
    BertForPreTraining,
    BertForQuestionAnswering,
    BertForSequenceClassification,
    BertModel,
)
from minitransformer.models.bert_config import BertConfig
from minitransformer.reference.models import bert as reference_bert

with_both_kernels = pytest.mark.usefixtures("kernels_in_use")

N_HEADS, BATCH, VOCAB_SIZE = 2, 3, 13
CONFIG = BertConfig(
    vocab_size=VOCAB_SIZE,
    hidden_size=10,
    num_hidden_layers=2,
    num_attention_heads=N_HEADS,
    intermediate_size=7,
    max_position_embeddings=11,
    num_labels=5,
)


@dataclass(frozen=True)
class TextsCase:
    """Pairs of segments, padded on the right."""

    length: int
    dtype: torch.dtype
    seed: int

    @cached_property
    def input_ids(self) -> Tensor:
        """A word for each position."""
        return whole_numbers(self.seed, "tokens", 1, VOCAB_SIZE, BATCH, self.length)

    @cached_property
    def attention_mask(self) -> Tensor:
        """1 for each token, 0 for padding; every text has a token."""
        n_tokens = whole_numbers(self.seed, "lengths", 1, self.length + 1, BATCH, 1)
        return (torch.arange(self.length) < n_tokens).long()

    @cached_property
    def token_type_ids(self) -> Tensor:
        """0 for the first segment and 1 for the second."""
        n_first = whole_numbers(self.seed, "first", 1, self.length + 1, BATCH, 1)
        return (torch.arange(self.length) >= n_first).long()

    @cached_property
    def labels(self) -> Tensor:
        """A word for the first position of each text, and for no other."""
        labels = torch.full((BATCH, self.length), -100)
        labels[:, 0] = self.input_ids[:, 0]
        return labels

    @property
    def inputs(self) -> dict[str, Tensor]:
        """What the models are given."""
        return {
            "input_ids": self.input_ids,
            "attention_mask": self.attention_mask,
            "token_type_ids": self.token_type_ids,
        }

    @property
    def arrays(self) -> tuple[np.ndarray, ...]:
        """What the reference is given."""
        return tuple(tensor.numpy() for tensor in self.inputs.values())


@st.composite
def texts_cases(draw: st.DrawFn) -> TextsCase:
    """Batches of texts of up to 11 tokens."""
    return TextsCase(length=draw(st.sampled_from([1, 5, 11])), dtype=draw(dtypes), seed=draw(seeds))


@with_both_kernels
@pytest.mark.equation("embeddings", "encoder", "pooler")
@few_examples
@given(case=texts_cases())
def test_the_encoder_agrees_with_the_reference(case: TextsCase) -> None:
    """BERT's hidden states and its pooled vector agree with the reference, padding and segments included."""
    model = randomise(BertModel(CONFIG), case.seed, case.dtype)
    parameters = parameters_of(model)
    output = model(**case.inputs)
    hidden = reference_bert.bert_model(parameters, N_HEADS, *case.arrays)
    assert_close(output.last_hidden_state, hidden, STACK)
    pooled = reference.heads.pooler(reference.parameters.part(parameters, "pooler"), hidden)
    assert_close(output.pooler_output, pooled, STACK)


@with_both_kernels
@pytest.mark.equation("masked-word-head", "next-sentence-head", "masked-lm-loss", "next-sentence-loss")
@few_examples
@given(case=texts_cases())
def test_pretraining_agrees_with_the_reference(case: TextsCase) -> None:
    """The scores for words and for the next sentence, and the sum of both losses, agree with the reference."""
    model = randomise(BertForPreTraining(CONFIG), case.seed, case.dtype)
    next_sentence_label = torch.tensor([0, 1, 1])
    output = model(**case.inputs, labels=case.labels, next_sentence_label=next_sentence_label)
    words, follows = reference_bert.bert_for_pre_training(parameters_of(model), N_HEADS, *case.arrays)
    assert_close(output.prediction_logits, words, STACK)
    assert_close(output.seq_relationship_logits, follows, STACK)
    loss = reference_bert.pre_training_loss(words, follows, case.labels.numpy(), next_sentence_label.numpy())
    assert_close(output.loss, loss, STACK)


@with_both_kernels
@pytest.mark.equation("classification-head")
@few_examples
@given(case=texts_cases())
def test_task_layers_agree_with_the_reference(case: TextsCase) -> None:
    """The scores of a classifier, and of the start and end of an answer, agree with the reference."""
    classifier = randomise(BertForSequenceClassification(CONFIG), case.seed, case.dtype)
    expected = reference_bert.bert_for_sequence_classification(parameters_of(classifier), N_HEADS, *case.arrays)
    assert_close(classifier(**case.inputs).logits, expected, STACK)
    pointer = randomise(BertForQuestionAnswering(CONFIG), case.seed, case.dtype)
    start, end = reference_bert.bert_for_question_answering(parameters_of(pointer), N_HEADS, *case.arrays)
    output = pointer(**case.inputs)
    assert_close(output.start_logits, start, STACK)
    assert_close(output.end_logits, end, STACK)


@pytest.mark.equation("encoder", "padding-visibility")
@few_examples
@given(case=texts_cases())
def test_the_reference_itself_cannot_see_padding(case: TextsCase) -> None:
    """In the reference too, each text alone gives what it gives in the padded batch, whatever the padding is.

    Kills: a reference that shares a mistake with the code it judges.
    """
    parameters = parameters_of(randomise(BertModel(CONFIG), case.seed))
    input_ids, attention_mask, token_type_ids = case.arrays
    together = reference_bert.bert_model(parameters, N_HEADS, *case.arrays)
    other_ids = np.where(attention_mask == 1, input_ids, 0)
    with_other_padding = reference_bert.bert_model(parameters, N_HEADS, other_ids, attention_mask, token_type_ids)
    for text in range(BATCH):
        tokens = attention_mask[text] == 1
        alone = reference_bert.bert_model(
            parameters, N_HEADS, input_ids[text, tokens], None, token_type_ids[text, tokens]
        )
        assert_close(alone, together[text, tokens], STACK)
        assert_same(with_other_padding[text, tokens], together[text, tokens])
    assert as_array(together).dtype == np.float64
