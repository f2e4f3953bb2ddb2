"""Dropout: forget a random part while training, so that nothing is leant on too much."""

import numpy as np
from jaxtyping import Bool, Float


def dropout(x: Float[np.ndarray, "..."], rate: float, keep: Bool[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    """Set each entry to zero with probability `rate`, and scale the others so that the mean stays.

    Equation eq:dropout:
        dropout(x)ᵢ = xᵢ · keepᵢ / (1 − rate), keepᵢ ~ Bernoulli(1 − rate)

    The draw is an argument, so that the same entries can be kept here and in PyTorch.

    Source: Srivastava et al. 2014, §4 and §10, in the form that rescales during training.

    >>> dropout(np.array([3.0, 5.0]), rate=0.5, keep=np.array([True, False])).tolist()
    [6.0, 0.0]
    """
    return x * keep / (1 - rate)
