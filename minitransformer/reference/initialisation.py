"""How a model begins: where a small one learns fast."""

import math

import numpy as np
from jaxtyping import Float, Int


def neighbour_score(
    length: int, offset: int, frequency: Float[np.ndarray, " P"], c: float, d_k: int
) -> Float[np.ndarray, "L L"]:
    """How well the key at each position fits the query at each position, when training starts.

    Equation eq:neighbour-score:
        score(i, j) = c² / √d_k · Σ_p cos(ω_p (j − i − offset))

    Source: Vaswani et al. 2017, §3.5 has the linear map between positions; to begin with it is ours.

    >>> neighbour_score(length=2, offset=1, frequency=np.array([math.pi]), c=1.0, d_k=1).tolist()
    [[-1.0, 1.0], [1.0, -1.0]]
    """
    score = np.zeros((length, length))
    for i in range(length):
        for j in range(length):
            score[i, j] = c**2 / math.sqrt(d_k) * sum(math.cos(omega * (j - i - offset)) for omega in frequency)
    return score


def segment_score(segments: Int[np.ndarray, " L"], sign: int, c: float, d_k: int) -> Float[np.ndarray, "L L"]:
    """How well the key at each position fits the query at each position of the head with this sign.

    Equation eq:segment-score:
        score(i, j) = ± c² / √d_k · s_i s_j,  with s = +1 in the first segment and −1 in the second

    Source: ours.

    >>> segment_score(np.array([0, 1]), sign=1, c=2.0, d_k=4).tolist()
    [[2.0, -2.0], [-2.0, 2.0]]
    """
    score = np.zeros((len(segments), len(segments)))
    for i, segment_of_query in enumerate(segments):
        for j, segment_of_key in enumerate(segments):
            score[i, j] = sign * c**2 / math.sqrt(d_k) * (1 if segment_of_query == segment_of_key else -1)
    return score
