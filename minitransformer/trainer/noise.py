"""NEFTune: noise on word vectors while fine-tuning, so that a model learns the meaning and not the wording."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn


def noisy(vectors: Float[Tensor, "B L D"], alpha: int | float) -> Float[Tensor, "B L D"]:
    """Word vectors with uniform noise, whose expected length is about α / √3 however long the text is.

    x + (α / √(L D)) u, with each uᵢ drawn evenly from [−1, 1].

    Source: Jain et al. 2023 (NEFTune), Algorithm 1.

    >>> noisy(torch.ones(1, 2, 3), alpha=0.0).tolist()
    [[[1.0, 1.0, 1.0], [1.0, 1.0, 1.0]]]
    """
    loudness = alpha / math.sqrt(vectors.shape[-2] * vectors.shape[-1])
    return vectors + torch.empty_like(vectors).uniform_(-loudness, loudness)


@contextmanager
def noisy_embeddings(embeddings: nn.Module, alpha: int | float) -> Iterator[None]:
    """Let a table of word vectors answer with noise inside the block, while it is training."""

    def add_noise(table: nn.Module, _given: Any, vectors: Tensor) -> Tensor:
        return noisy(vectors, alpha) if table.training else vectors

    hook = embeddings.register_forward_hook(add_noise)
    try:
        yield
    finally:
        hook.remove()
