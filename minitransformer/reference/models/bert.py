"""BERT: an encoder that reads both ways, pretrained on masked words and next sentences (Devlin et al. 2019).

Every function evaluates, without dropout. `parameters` has the names of the PyTorch model's `state_dict()`.
"""

from functools import partial

import numpy as np
from jaxtyping import Float, Int, Num

from minitransformer.reference.blocks import encoder
from minitransformer.reference.embeddings import embeddings
from minitransformer.reference.feed_forward import Activation, gelu
from minitransformer.reference.heads import classification_head, masked_word_head, next_sentence_head, pooler
from minitransformer.reference.losses import masked_lm_loss, next_sentence_loss
from minitransformer.reference.norm import learned_layer_norm
from minitransformer.reference.parameters import Parameters, part
from minitransformer.reference.visibility import padding


def bert_model(
    parameters: Parameters,
    n_heads: int,
    input_ids: Int[np.ndarray, "... L"],
    attention_mask: Num[np.ndarray, "... L"] | None = None,
    token_type_ids: Int[np.ndarray, "... L"] | None = None,
    activation: Activation = gelu,
    eps: float = 1e-12,
) -> Float[np.ndarray, "... L D"]:
    """The encoder itself: embeddings, then a stack of post-norm blocks that see everything but padding.

    Source: Devlin et al. 2019, §3.
    """
    norm = partial(learned_layer_norm, eps=eps)
    may_attend = None if attention_mask is None else padding(attention_mask)
    x = embeddings(part(parameters, "embeddings"), input_ids, token_type_ids, norm)
    return encoder(part(parameters, "encoder"), n_heads, x, may_attend, activation, norm=norm)


def bert_for_pre_training(
    parameters: Parameters,
    n_heads: int,
    input_ids: Int[np.ndarray, "... L"],
    attention_mask: Num[np.ndarray, "... L"] | None = None,
    token_type_ids: Int[np.ndarray, "... L"] | None = None,
    activation: Activation = gelu,
    eps: float = 1e-12,
) -> tuple[Float[np.ndarray, "... L V"], Float[np.ndarray, "... 2"]]:
    """Scores for every word at every position, and for whether the second segment is the next one (label 0).

    Source: Devlin et al. 2019, §3.1.
    """
    bert = part(parameters, "bert")
    x = bert_model(bert, n_heads, input_ids, attention_mask, token_type_ids, activation, eps)
    norm = partial(learned_layer_norm, eps=eps)
    words = masked_word_head(part(parameters, "masked_word"), x, activation, norm)
    follows = next_sentence_head(part(parameters, "next_sentence"), pooler(part(bert, "pooler"), x))
    return words, follows


def pre_training_loss(
    prediction_logits: Float[np.ndarray, "B L V"],
    seq_relationship_logits: Float[np.ndarray, "B 2"],
    labels: Int[np.ndarray, "B L"],
    next_sentence_label: Int[np.ndarray, " B"],
) -> float:
    """The sum of both losses.

    Source: Devlin et al. 2019, §A.2: "the training loss is the sum of the mean masked LM likelihood and the mean next
    sentence prediction likelihood".

    >>> round(pre_training_loss(np.zeros((1, 1, 3)), np.zeros((1, 2)), np.array([[0]]), np.array([1])), 3)
    1.792
    """
    return masked_lm_loss(prediction_logits, labels) + next_sentence_loss(seq_relationship_logits, next_sentence_label)


def bert_for_sequence_classification(
    parameters: Parameters,
    n_heads: int,
    input_ids: Int[np.ndarray, "... L"],
    attention_mask: Num[np.ndarray, "... L"] | None = None,
    token_type_ids: Int[np.ndarray, "... L"] | None = None,
    activation: Activation = gelu,
    eps: float = 1e-12,
) -> Float[np.ndarray, "... N"]:
    """Scores for the classes of a whole sequence.

    Source: Devlin et al. 2019, §4.1.
    """
    bert = part(parameters, "bert")
    x = bert_model(bert, n_heads, input_ids, attention_mask, token_type_ids, activation, eps)
    return classification_head(part(parameters, "classifier"), pooler(part(bert, "pooler"), x))


def bert_for_question_answering(
    parameters: Parameters,
    n_heads: int,
    input_ids: Int[np.ndarray, "... L"],
    attention_mask: Num[np.ndarray, "... L"] | None = None,
    token_type_ids: Int[np.ndarray, "... L"] | None = None,
    activation: Activation = gelu,
    eps: float = 1e-12,
) -> tuple[Float[np.ndarray, "... L"], Float[np.ndarray, "... L"]]:
    """Scores of each position as the start, and as the end, of the answer.

    Source: Devlin et al. 2019, §4.2.
    """
    x = bert_model(part(parameters, "bert"), n_heads, input_ids, attention_mask, token_type_ids, activation, eps)
    scores = classification_head(part(parameters, "answer_span"), x)
    return scores[..., 0], scores[..., 1]
