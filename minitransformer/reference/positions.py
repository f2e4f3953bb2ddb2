"""Positions: attention alone reads a set, so the order has to be added to the input."""

import math

import numpy as np
from jaxtyping import Float


def sinusoids(length: int, d_model: int) -> Float[np.ndarray, "L D"]:
    """Mark each position by waves of many lengths, a sine and a cosine of each.

    Equation eq:sinusoids:
        PE(pos, 2i) = sin(pos / 10000^(2i / d_model)), PE(pos, 2i + 1) = cos(pos / 10000^(2i / d_model))

    Source: Vaswani et al. 2017, §3.5. At an odd width the last sine has no cosine; the paper is silent on it.

    >>> sinusoids(2, 2)[0].tolist()
    [0.0, 1.0]
    """
    table = np.zeros((length, d_model))
    for position in range(length):
        for column in range(d_model):
            wave = math.cos if column % 2 else math.sin
            table[position, column] = wave(position / 10_000 ** (2 * (column // 2) / d_model))
    return table
