"""Heads: from what a position means to what is asked about it."""

import numpy as np
from jaxtyping import Float

from minitransformer.reference.blocks import Norm
from minitransformer.reference.feed_forward import Activation, gelu, linear
from minitransformer.reference.norm import learned_layer_norm
from minitransformer.reference.parameters import Parameters, part


def pooler(parameters: Parameters, x: Float[np.ndarray, "... L D"]) -> Float[np.ndarray, "... D"]:
    """One vector for the whole sequence, read at its first token.

    Equation eq:pooler:
        p = tanh(x₀ W + b)

    Source: Devlin et al. 2019, §3 (C, the final vector of [CLS]); the dense layer and tanh stand only in the published
    code.

    >>> pooler({"dense.weight": np.eye(2), "dense.bias": np.zeros(2)}, np.array([[100.0, 0.0], [5.0, 7.0]])).tolist()
    [1.0, 0.0]
    """
    return np.tanh(linear(x[..., 0, :], parameters["dense.weight"], parameters["dense.bias"]))


def masked_word_head(
    parameters: Parameters,
    x: Float[np.ndarray, "... D"],
    activation: Activation = gelu,
    norm: Norm = learned_layer_norm,
) -> Float[np.ndarray, "... V"]:
    """A score for every word of the vocabulary, at every position.

    Equation eq:masked-word-head:
        logits = LayerNorm(GELU(x W + b)) Eᵀ + c

    Source: Devlin et al. 2019, §3.1, Task 1; the transform before the tied decoder stands only in the published code.

    >>> dense = {"dense.weight": np.eye(2), "dense.bias": np.zeros(2)}
    >>> norm = {"norm.gain": np.ones(2), "norm.bias": np.zeros(2)}
    >>> decoder = {"decoder.weight": np.eye(2), "decoder.bias": np.array([0.0, 10.0])}
    >>> masked_word_head(dense | norm | decoder, np.array([100.0, 300.0])).round(6).tolist()
    [-1.0, 11.0]
    """
    dense = linear(x, parameters["dense.weight"], parameters["dense.bias"])
    word_like = norm(part(parameters, "norm"), activation(dense))
    return linear(word_like, parameters["decoder.weight"], parameters["decoder.bias"])


def next_sentence_head(parameters: Parameters, pooled: Float[np.ndarray, "... D"]) -> Float[np.ndarray, "... 2"]:
    """Two scores: the second segment follows the first, or it does not.

    Equation eq:next-sentence-head:
        (is next, is not next) = p W + b

    Source: Devlin et al. 2019, §3.1, Task 2; in the published code 0 is the label of "is next".

    >>> next_sentence_head({"dense.weight": np.array([[1.0], [2.0]]), "dense.bias": np.zeros(2)}, np.ones(1)).tolist()
    [1.0, 2.0]
    """
    return linear(pooled, parameters["dense.weight"], parameters["dense.bias"])


def classification_head(parameters: Parameters, x: Float[np.ndarray, "... D"]) -> Float[np.ndarray, "... N"]:
    """One score for each class, from one vector.

    Equation eq:classification-head:
        logits = Dropout(p) W + b

    The reference evaluates, so its dropout passes everything on.

    Source: Devlin et al. 2019, §4.1; the dropout stands only in the published code.

    >>> classification_head({"dense.weight": np.array([[2.0]]), "dense.bias": np.ones(1)}, np.ones(1)).tolist()
    [3.0]
    """
    return linear(x, parameters["dense.weight"], parameters["dense.bias"])
