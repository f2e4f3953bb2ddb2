"""How uncertain a language model is about the next word."""

import numpy as np
from numpy.typing import ArrayLike

from minitransformer.errors import InputError


def perplexity(loss: ArrayLike | float | int, counts: ArrayLike | None = None) -> float:
    """Among how many equally likely words a choice would be as uncertain.

    Formula: exp(Σᵢ nᵢ ℓᵢ / Σᵢ nᵢ), the exponential of the mean surprise −ln p of a word, in nats.

    `loss` is that mean, or the surprises of all words, or the mean losses of batches with `counts` words each. The mean
    of the batches' perplexities, or of their losses without counts, would be another number. Beyond what a float holds
    it is infinite.

    Source: Jelinek et al. 1977.

    Raises: InputError for a loss that cannot be a mean of −ln p, and for counts that do not fit the losses.

    >>> round(perplexity(np.log(8)), 6)
    8.0
    >>> round(perplexity([np.log(2), np.log(16)], counts=[3, 1]), 6)
    3.363586
    """
    losses = np.asarray(loss, dtype=np.float64)
    weights = np.ones(losses.shape) if counts is None else np.asarray(counts, dtype=np.float64)
    if weights.shape != losses.shape or not losses.size:
        raise InputError(f"loss has shape {losses.shape} and counts {weights.shape}; give as many of both, and some")
    if (wrong := ~(losses >= 0)).any():
        raise InputError(f"loss holds {losses[wrong][0]}, but −ln p is 0 or more; turn the sign of ln p")
    if not ((weights >= 0) & np.isfinite(weights)).all() or weights.sum() == 0:
        raise InputError(
            f"counts holds {weights.min()} and sums to {weights.sum()}; say of how many words each loss is"
        )
    with np.errstate(over="ignore"):
        return float(np.exp(np.average(losses, weights=weights)))
