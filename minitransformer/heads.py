"""Heads: from what a position means to what is asked about it."""

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from minitransformer.dropout import Dropout
from minitransformer.embeddings import require_ids
from minitransformer.feed_forward import Activation, gelu
from minitransformer.losses import projected_cross_entropy
from minitransformer.norm import LayerNorm


class Pooler(nn.Module):
    """One vector for the whole sequence, read at its first token.

    Equation eq:pooler:
        p = tanh(x₀ W + b)

    The first token is [CLS], which stands for no word and is free to gather.

    Source: Devlin et al. 2019, §3 (C, the final vector of [CLS]); the dense layer and tanh stand only in the published
    code.

    >>> Pooler(d_model=2)(torch.zeros(3, 5, 2)).shape
    torch.Size([3, 2])
    """

    def __init__(self, d_model: int) -> None:
        super().__init__()
        self.dense = nn.Linear(d_model, d_model)

    def forward(self, x: Float[Tensor, "B L D"]) -> Float[Tensor, "B D"]:
        """Apply eq:pooler."""
        return torch.tanh(self.dense(x[:, 0]))


class MaskedWordHead(nn.Module):
    """A score for every word of the vocabulary, at every position.

    Equation eq:masked-word-head:
        logits = LayerNorm(GELU(x W + b)) Eᵀ + c

    E is the table of word embeddings itself (tied): a word is predicted by the vector that it is read by.

    Source: Devlin et al. 2019, §3.1, Task 1; the transform before the tied decoder stands only in the published code.

    >>> MaskedWordHead(d_model=2, words=nn.Embedding(7, 2))(torch.zeros(1, 3, 2)).shape
    torch.Size([1, 3, 7])
    """

    def __init__(
        self,
        d_model: int,
        words: nn.Embedding | None,
        vocab_size: int | None = None,
        activation: Activation = gelu,
        norm: Callable[[int], nn.Module] = LayerNorm,
    ) -> None:
        super().__init__()
        self.dense = nn.Linear(d_model, d_model)
        self.activation = activation
        self.norm = norm(d_model)
        self.decoder = nn.Linear(d_model, words.num_embeddings if words is not None else vocab_size or 0)
        if words is not None:
            self.decoder.weight = words.weight

    def forward(self, x: Float[Tensor, "... D"]) -> Float[Tensor, "... V"]:
        """Apply eq:masked-word-head."""
        return self.decoder(self.transform(x))  # type: ignore[no-any-return]

    def transform(self, x: Float[Tensor, "... D"]) -> Float[Tensor, "... D"]:
        """What the words are compared with."""
        return self.norm(self.activation(self.dense(x)))  # type: ignore[no-any-return]

    def surprise(self, x: Float[Tensor, "N D"], target: Int[Tensor, " N"]) -> Float[Tensor, " N"]:
        """The surprise at the words that were really there, without keeping a score for every word.

        Raises: InputError for a target that is no word.
        """
        require_ids("labels", target, self.decoder.out_features, "vocab_size")
        return projected_cross_entropy(self.transform(x), self.decoder, target)


class NextSentenceHead(nn.Module):
    """Two scores: the second segment follows the first, or it does not.

    Equation eq:next-sentence-head:
        (is next, is not next) = p W + b

    Source: Devlin et al. 2019, §3.1, Task 2; in the published code 0 is the label of "is next".

    >>> NextSentenceHead(d_model=2)(torch.zeros(3, 2)).shape
    torch.Size([3, 2])
    """

    def __init__(self, d_model: int) -> None:
        super().__init__()
        self.dense = nn.Linear(d_model, 2)

    def forward(self, pooled: Float[Tensor, "B D"]) -> Float[Tensor, "B 2"]:
        """Apply eq:next-sentence-head."""
        return self.dense(pooled)  # type: ignore[no-any-return]


class ClassificationHead(nn.Module):
    """One score for each class, from one vector.

    Equation eq:classification-head:
        logits = Dropout(p) W + b

    Source: Devlin et al. 2019, §4.1; the dropout stands only in the published code.

    >>> ClassificationHead(d_model=2, n_classes=3)(torch.zeros(5, 2)).shape
    torch.Size([5, 3])
    """

    def __init__(self, d_model: int, n_classes: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.dropout = Dropout(dropout)
        self.dense = nn.Linear(d_model, n_classes)

    def forward(self, x: Float[Tensor, "... D"]) -> Float[Tensor, "... N"]:
        """Apply eq:classification-head."""
        return self.dense(self.dropout(x))  # type: ignore[no-any-return]
