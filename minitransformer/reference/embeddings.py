"""Embeddings: what a token is, where it stands, and which sentence it belongs to, added up."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float, Int

from minitransformer.reference.norm import learned_layer_norm
from minitransformer.reference.parameters import Parameters, part


def embeddings(
    parameters: Parameters,
    token_ids: Int[np.ndarray, "... L"],
    segment_ids: Int[np.ndarray, "... L"] | None = None,
    norm: Callable[[Parameters, np.ndarray], np.ndarray] = learned_layer_norm,
) -> Float[np.ndarray, "... L D"]:
    """The sum of a word, a position and a segment vector, normalised.

    Equation eq:embeddings:
        x_l = LayerNorm(word[token_l] + segment[s_l] + position[l])

    Source: Devlin et al. 2019, §3 and Figure 2. The norm stands only in the published code.

    >>> tables = {"word.weight": np.eye(2), "position.weight": np.zeros((3, 2)), "segment.weight": np.zeros((1, 2))}
    >>> embeddings(tables | {"norm.gain": np.ones(2), "norm.bias": np.zeros(2)}, np.array([1])).round(6).tolist()
    [[-1.0, 1.0]]
    """
    if segment_ids is None:
        segment_ids = np.zeros_like(token_ids)
    word = parameters["word.weight"][token_ids]
    position = parameters["position.weight"][np.arange(token_ids.shape[-1])]
    segment = parameters["segment.weight"][segment_ids]
    return norm(part(parameters, "norm"), word + position + segment)
